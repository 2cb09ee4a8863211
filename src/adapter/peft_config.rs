//! `adapter_config.json` of a folder of PEFT: which kind of adapter it is, and at what scales.
//!
//! `rank_pattern` and `alpha_pattern` give a rank or alpha to the modules whose name is their key, or ends in a point and it. PEFT
//! takes keys as regular expressions; names with points, escaped or not, are read, other expressions refused.

use super::{Adapter, Kind};
use crate::error::{Result, fail};
use crate::memory::map::Map;
use serde_json::{Map as Object, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bytes of the file at most.
const MAX_BYTES: usize = 16 << 20;

pub(super) struct Config {
    pub kind: Kind,
    pub alpha: f32,
    rank: usize,
    ranks: Vec<(String, f64)>,
    alphas: Vec<(String, f64)>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Config> {
        let name = path.display().to_string();
        let map = Map::open(path)?;
        if map.len() > MAX_BYTES {
            fail!(Unsupported, "{name}: has {} bytes; at most {MAX_BYTES} are read", map.len());
        }
        let object = match serde_json::from_slice(&map) {
            Ok(Value::Object(object)) => object,
            Ok(_) => fail!(Format, "{name}: is JSON but no object: it is damaged, fetch it again"),
            Err(e) => fail!(Format, "{name}: is no JSON ({e}): it is damaged, fetch it again"),
        };
        Config::parse(&object).map_err(|e| e.context(&name))
    }

    fn parse(object: &Object<String, Value>) -> Result<Config> {
        let get = |key: &str| object.get(key).filter(|v| !v.is_null());
        match get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => fail!(Unsupported, "peft_type is {:?}; \"LORA\" is read", other.unwrap_or("")),
        }
        let is = |key: &str| get(key).and_then(Value::as_bool).unwrap_or(false);
        for key in ["fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"] {
            if is(key) {
                fail!(Unsupported, "{key} is true, which is not read");
            }
        }
        for key in ["modules_to_save", "alora_invocation_tokens", "trainable_token_indices", "target_parameters"] {
            let empty = |v: &Value| v.as_array().is_some_and(Vec::is_empty);
            if get(key).is_some_and(|v| !empty(v)) {
                fail!(Unsupported, "{key} is given; adapters that are pairs of matrices alone are read");
            }
        }
        if get("bias").is_some_and(|v| v.as_str() != Some("none")) {
            fail!(Unsupported, "bias is not \"none\"; adapters that train biases are not read");
        }
        let number = |key: &str| get(key).and_then(Value::as_f64).filter(|n| *n > 0.0 && n.is_finite());
        let (Some(rank), Some(alpha)) = (number("r"), number("lora_alpha")) else {
            fail!(Format, "r and lora_alpha are missing or no numbers above 0");
        };
        let kind = match (is("use_dora"), is("use_rslora")) {
            (false, false) => Kind::Lora,
            (false, true) => Kind::RsLora,
            (true, false) => Kind::Dora,
            (true, true) => fail!(Unsupported, "use_dora and use_rslora are both true; one of them is read"),
        };
        let (ranks, alphas) = (pattern(get("rank_pattern"))?, pattern(get("alpha_pattern"))?);
        Ok(Config { kind, alpha: alpha as f32, rank: rank as usize, ranks, alphas })
    }

    /// The scale of a module whose pair has that rank. `Shape` when the file says another rank.
    pub fn scale(&self, module: &str, rank: usize) -> Result<f32> {
        let of = |patterns: &[(String, f64)]| {
            let is = |key: &str| module.strip_suffix(key).is_some_and(|head| head.is_empty() || head.ends_with('.'));
            patterns.iter().find(|(key, _)| is(key)).map(|(_, n)| *n)
        };
        let stated = of(&self.ranks).map_or(self.rank, |n| n as usize);
        if stated != rank {
            fail!(
                Shape,
                "{module:?} has the rank {rank}, adapter_config.json says {stated}: they are not of one adapter"
            );
        }
        Ok(self.kind.scale(of(&self.alphas).map_or(self.alpha, |n| n as f32), rank))
    }
}

fn pattern(value: Option<&Value>) -> Result<Vec<(String, f64)>> {
    let Some(Value::Object(object)) = value else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    for (key, value) in object {
        let literal = key.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
        let plain = literal.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let Some(number) = value.as_f64().filter(|n| plain && *n > 0.0 && n.is_finite()) else {
            fail!(Unsupported, "the pattern {key:?}: {value} is not read; names of modules with a number above 0 are");
        };
        list.push((literal, number));
    }
    Ok(list)
}

/// What goes to the file.
pub(super) struct Scales<'a> {
    adapter: &'a Adapter,
    ranks: BTreeMap<String, usize>,
}

impl<'a> Scales<'a> {
    pub fn new(adapter: &'a Adapter) -> Scales<'a> {
        Scales { adapter, ranks: BTreeMap::new() }
    }

    pub fn module(&mut self, module: String, rank: usize) {
        self.ranks.insert(module, rank);
    }

    /// The file's text. The rank that most modules have is `r`, the others stand in `rank_pattern`.
    pub fn config(&self) -> String {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        self.ranks.values().for_each(|r| *counts.entry(*r).or_default() += 1);
        let rank = counts.iter().max_by_key(|(_, n)| **n).map_or(1, |(rank, _)| *rank);
        let others: Object<String, Value> =
            self.ranks.iter().filter(|(_, r)| **r != rank).map(|(m, r)| (m.clone(), json!(r))).collect();
        let text = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": rank,
            "lora_alpha": self.adapter.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "use_rslora": self.adapter.kind == Kind::RsLora,
            "use_dora": self.adapter.kind == Kind::Dora,
            "rank_pattern": others,
            "alpha_pattern": {},
            "modules_to_save": null,
            "target_modules": self.targets(),
        });
        serde_json::to_string_pretty(&text).unwrap_or_default() + "\n"
    }

    /// Names by which PEFT finds the modules: their last parts where every layer has them, whole ones otherwise.
    fn targets(&self) -> Vec<String> {
        let last = |module: &str| module.rsplit('.').next().unwrap_or_default().to_owned();
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        self.ranks.keys().for_each(|m| *count.entry(last(m)).or_default() += 1);
        let of_layers: BTreeSet<usize> = count.iter().filter(|(m, _)| *m != "lm_head").map(|(_, n)| *n).collect();
        let layers: BTreeSet<&str> = self.ranks.keys().filter_map(|m| m.split('.').nth(2)).collect();
        let dense = layers.iter().enumerate().all(|(i, l)| layers.contains(i.to_string().as_str()) && !l.is_empty());
        if dense && of_layers.iter().all(|n| *n == layers.len()) {
            return count.into_keys().collect();
        }
        self.ranks.keys().cloned().collect()
    }
}
