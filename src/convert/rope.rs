//! The rotary embedding in `config.json`: `rope_theta` and `rope_scaling`, or both in `rope_parameters`.

use std::f64::consts::PI;

use super::json::Json;
use crate::error::{Result, fail};
use crate::gguf::Writer;

/// How positions are scaled, and the object that says so.
struct Scaling<'a> {
    json: &'a Json,
    place: &'static str,
    kind: &'a str,
    base: f64,
}

impl<'a> Scaling<'a> {
    fn read(json: &'a Json) -> Result<Scaling<'a>> {
        let place = if json.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let kind = match json.str(&format!("{place}.rope_type"))? {
            Some(kind) => kind,
            None => json.str(&format!("{place}.type"))?.unwrap_or("default"),
        };
        let mut scaling = Scaling { json, place, kind, base: 10000.0 };
        let base = match scaling.number("rope_theta")? {
            Some(base) => Some(base),
            None => json.f64("rope_theta")?,
        };
        scaling.base = scaling.positive("rope_theta", base.or(Some(10000.0)))?;
        Ok(scaling)
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.json.f64(&format!("{}.{name}", self.place))
    }

    fn positive(&self, name: &str, found: Option<f64>) -> Result<f64> {
        match found {
            Some(n) if n > 0.0 && n.is_finite() => Ok(n),
            Some(n) => fail!(Format, "{}: {name:?} is {n}, expected more than 0", self.json.file),
            None => fail!(NotFound, "{}: {} has no {name:?}", self.json.file, self.place),
        }
    }

    fn need(&self, name: &str) -> Result<f64> {
        self.positive(name, self.number(name)?)
    }
}

/// Writes base and scaling; `key` makes a key of a name.
pub(super) fn put(json: &Json, positions: u32, key: &dyn Fn(&str) -> String, w: &mut Writer) -> Result<()> {
    let s = Scaling::read(json)?;
    w.put(&key("rope.freq_base"), s.base as f32)?;
    match s.kind {
        "default" | "llama3" => {}
        "linear" | "yarn" => {
            w.put(&key("rope.scaling.type"), s.kind)?;
            w.put(&key("rope.scaling.factor"), s.need("factor")? as f32)?;
        }
        other => fail!(
            Unsupported,
            "{}: scales its positions in the way {other:?}; linear, yarn and llama3 are converted",
            json.file
        ),
    }
    if s.kind == "yarn" {
        let original = json.u32(&format!("{}.original_max_position_embeddings", s.place))?;
        w.put(&key("rope.scaling.original_context_length"), original.unwrap_or(positions))?;
        for name in ["beta_fast", "beta_slow"] {
            if let Some(n) = s.number(name)? {
                w.put(&key(&format!("rope.scaling.yarn_{name}")), n as f32)?;
            }
        }
        for name in ["mscale", "mscale_all_dim", "attention_factor"] {
            if s.number(name)?.is_some() {
                fail!(Unsupported, "{}: {} has {name:?}, which is not converted", json.file, s.place);
            }
        }
    }
    Ok(())
}

/// What each of the `head_dim / 2` frequencies is divided by, for Llama 3.1 and its kind: short waves by 1, those
/// longer than the original context by `factor`, and those between the two in between.
pub(super) fn factors(json: &Json, head_dim: u32) -> Result<Option<Vec<f32>>> {
    let s = Scaling::read(json)?;
    if s.kind != "llama3" {
        return Ok(None);
    }
    let (factor, original) = (s.need("factor")?, s.need("original_max_position_embeddings")?);
    let (low, high) = (s.need("low_freq_factor")?, s.need("high_freq_factor")?);
    let divisor = |i: u32| {
        let wave = 2.0 * PI * s.base.powf(f64::from(2 * i) / f64::from(head_dim));
        if wave < original / high {
            1.0
        } else if wave > original / low {
            factor
        } else {
            let short = (original / wave - low) / (high - low);
            1.0 / ((1.0 - short) / factor + short)
        }
    };
    Ok(Some((0..head_dim / 2).map(|i| divisor(i) as f32).collect()))
}
