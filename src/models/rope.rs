//! Frequencies of rotary embeddings, plain and stretched to longer contexts.

use super::Builder;
use crate::error::{Result, fail};
use crate::layers::RopeRows;
use crate::memory::Frame;
#[cfg(feature = "train")]
use crate::memory::Need;
use crate::ops::attend::Place;
use crate::ops::rope::RopeStyle;

/// One rotary embedding: pair i of a head turns by `position * freqs[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Which elements pair.
    pub style: RopeStyle,
    /// Radians per position, a pair each.
    freqs: Vec<f64>,
    /// Base and factor, where the frequencies follow from these alone.
    formula: Option<(f64, f64)>,
    /// Those of contexts longer than this many positions (LongRoPE, arXiv 2402.13753).
    long: Option<(usize, Vec<f64>)>,
    /// Factor of cosines and sines (YaRN's attention temperature).
    pub magnitude: f64,
}

impl Rope {
    /// `base^(-2i/dim) * scale` for each of the `dim / 2` pairs.
    pub fn plain(style: RopeStyle, dim: usize, base: f64, scale: f64) -> Rope {
        let freqs = (0..dim / 2).map(|i| base.powf(-2.0 * i as f64 / dim as f64) * scale).collect();
        Rope { style, freqs, formula: Some((base, scale)), long: None, magnitude: 1.0 }
    }

    /// As the file's `rope.*` keys and tensors say, for heads of `head_dim` elements. `base` serves where
    /// `rope.freq_base` is missing.
    pub fn from_metadata(b: &Builder, style: RopeStyle, head_dim: usize, base: f32) -> Result<Rope> {
        let name = b.gguf.name();
        let dim = b.count_opt("rope.dimension_count")?.unwrap_or(head_dim);
        if dim == 0 || dim % 2 != 0 || dim > head_dim {
            fail!(
                Format,
                "{name}: {} is {dim}, expected an even number up to {head_dim}",
                b.key("rope.dimension_count")
            );
        }
        let base = f64::from(b.number_opt("rope.freq_base")?.unwrap_or(base));
        if base <= 0.0 {
            fail!(Format, "{name}: {} is {base}, expected more than 0", b.key("rope.freq_base"));
        }
        let kind = b.gguf.str(&b.key("rope.scaling.type"))?.unwrap_or("linear");
        let factor = match b.number_opt("rope.scaling.factor")? {
            Some(f) => Some(f),
            None => b.number_opt("rope.scale_linear")?, // its name before YaRN
        };
        let factor = f64::from(factor.filter(|&f| f != 0.0).unwrap_or(1.0));
        if factor <= 0.0 {
            fail!(Format, "{name}: {} is {factor}, expected more than 0", b.key("rope.scaling.factor"));
        }
        let original = b.count_opt("rope.scaling.original_context_length")?;
        let magnitude = f64::from(b.number_opt("rope.scaling.attn_factor")?.unwrap_or(1.0));
        let mut rope = match kind {
            "none" | "longrope" => Rope::plain(style, dim, base, 1.0),
            "linear" => Rope::plain(style, dim, base, 1.0 / factor),
            "yarn" => {
                let trained = original.or(b.count_opt("context_length")?).unwrap_or(0);
                let fast = f64::from(b.number_opt("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0));
                let slow = f64::from(b.number_opt("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0));
                let mut rope = Rope::yarn(style, dim, base, factor, trained as f64, (fast, slow));
                rope.magnitude = 1.0 + 0.1 * factor.ln();
                rope
            }
            _ => fail!(Unsupported, "{name}: rope scaling {kind:?} is not known; none, linear, yarn and longrope are"),
        };
        rope.magnitude *= magnitude;
        // Files of other architectures say all this themselves.
        rope.formula = None;
        let plain = rope.freqs.clone();
        if let Some(factors) = factors(b, "rope_freqs.weight", dim)? {
            divide(&mut rope.freqs, &factors);
        }
        if let Some(factors) = factors(b, "rope_factors_short.weight", dim)? {
            divide(&mut rope.freqs, &factors);
        }
        if let Some(factors) = factors(b, "rope_factors_long.weight", dim)? {
            let mut long = plain;
            divide(&mut long, &factors);
            rope.long = Some((original.or(b.count_opt("context_length")?).unwrap_or(0), long));
        }
        Ok(rope)
    }

    /// YaRN (Peng et al., arXiv 2309.00071): slow pairs are interpolated by `factor`, fast ones kept, those that turn
    /// between `fast` and `slow` times over the trained context blended linearly.
    fn yarn(style: RopeStyle, dim: usize, base: f64, factor: f64, trained: f64, (fast, slow): (f64, f64)) -> Rope {
        let mut rope = Rope::plain(style, dim, base, 1.0);
        let pair_of =
            |turns: f64| dim as f64 * (trained / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * base.ln());
        let low = pair_of(fast).floor().max(0.0);
        let high = pair_of(slow).ceil().min(dim as f64 - 1.0);
        for (i, freq) in rope.freqs.iter_mut().enumerate() {
            let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            *freq = *freq / factor * ramp + *freq * (1.0 - ramp);
        }
        rope
    }

    /// Base of the frequencies and factor of the positions, where the frequencies follow from these alone.
    pub fn formula(&self) -> Option<(f64, f64)> {
        self.formula
    }

    /// Pairs that turn.
    pub fn half(&self) -> usize {
        self.freqs.len()
    }

    /// `Format` when a frequency is not a finite number.
    pub fn check(&self) -> Result<()> {
        let long = self.long.iter().flat_map(|l| &l.1);
        if self.freqs.iter().chain(long).any(|f| !f.is_finite()) {
            fail!(Format, "a factor of the rotary embedding is 0 or not a number");
        }
        Ok(())
    }

    /// Cosines and sines of a position, for a context of `ctx` positions: a pair each.
    pub fn fill(&self, pos: u32, ctx: usize, cos: &mut [f32], sin: &mut [f32]) {
        let freqs = match &self.long {
            Some((trained, long)) if ctx > *trained => long,
            _ => &self.freqs,
        };
        for ((freq, cos), sin) in freqs.iter().zip(cos).zip(sin) {
            let (s, c) = (f64::from(pos) * freq).sin_cos();
            *cos = (c * self.magnitude) as f32;
            *sin = (s * self.magnitude) as f32;
        }
    }
}

fn divide(freqs: &mut [f64], factors: &[f32]) {
    for (freq, &factor) in freqs.iter_mut().zip(factors) {
        *freq /= f64::from(factor);
    }
}

/// A factor for each pair from the tensor `name`, if it is there.
fn factors(b: &Builder, name: &str, dim: usize) -> Result<Option<Vec<f32>>> {
    let Some(info) = b.gguf.tensor(name) else { return Ok(None) };
    if info.ty != crate::Type::F32 || info.elements() != dim as u64 / 2 {
        fail!(
            Format,
            "{}: tensor {name} is {} with {} elements, expected {} of F32",
            b.gguf.name(),
            info.ty.name(),
            info.elements(),
            dim / 2
        );
    }
    let values = b.gguf.data(info).chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Ok(Some(values.collect()))
}

/// The most rotary embeddings of one model.
pub const MAX_ROPES: usize = 4;

/// Cosines and sines of each of at most [`MAX_ROPES`] rotary embeddings for rows at `places`, in a context of `ctx` positions.
pub fn rows<'f>(
    ropes: &[Rope],
    ctx: usize,
    places: &[Place],
    frame: &mut Frame<'f>,
) -> Result<[RopeRows<'f>; MAX_ROPES]> {
    let mut all = [RopeRows { style: RopeStyle::Norm, half: 0, cos: &[], sin: &[] }; MAX_ROPES];
    for (slot, rope) in all.iter_mut().zip(ropes) {
        let half = rope.half();
        let cos = frame.take::<f32>(places.len() * half)?;
        let sin = frame.take::<f32>(places.len() * half)?;
        for (i, place) in places.iter().enumerate() {
            let row = i * half..(i + 1) * half;
            rope.fill(place.pos, ctx, &mut cos[row.clone()], &mut sin[row]);
        }
        *slot = RopeRows { style: rope.style, half, cos, sin };
    }
    Ok(all)
}

/// What [`rows`] and then [`back`] take for `rows` rows.
#[cfg(feature = "train")]
pub fn train_need(ropes: &[Rope], rows: usize) -> Need {
    let each = |need: Need, rope: &Rope| need.take::<f32>(rows.saturating_mul(rope.half()));
    let need = ropes.iter().fold(Need::new(), |need, rope| each(each(need, rope), rope));
    ropes.iter().fold(need, each)
}

/// The same rotations the other way round: what gradients take.
#[cfg(feature = "train")]
pub fn back<'f>(
    ropes: &[RopeRows<'f>; MAX_ROPES],
    count: usize,
    frame: &mut Frame<'f>,
) -> Result<[RopeRows<'f>; MAX_ROPES]> {
    let mut all = *ropes;
    for rope in &mut all[..count] {
        let sin = frame.take::<f32>(rope.sin.len())?;
        sin.iter_mut().zip(rope.sin).for_each(|(back, sin)| *back = -sin);
        rope.sin = sin;
    }
    Ok(all)
}
