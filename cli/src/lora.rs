//! The argument `--lora FILE[:WEIGHT]`, and the adapters it names.

use crate::failure::Result;
use qorus::adapter::Adapter;
use qorus::engine::{AdapterNeed, Context, ContextParams, LoadedAdapter, Model};
use qorus::gguf::Gguf;
use qorus::models::Graph;
use std::path::PathBuf;
use std::sync::Arc;

/// Adapters to put on a model.
#[derive(clap::Args)]
pub struct Lora {
    /// An adapter, as a GGUF file or a folder of PEFT, and how much of it [default: 1]; can be given several times
    #[arg(long = "lora", value_name = "FILE[:WEIGHT]", value_parser = weighted)]
    pub files: Vec<(PathBuf, f32)>,
    /// Take an adapter that was made for another base of the same shape
    #[arg(long)]
    pub any_base: bool,
}

impl Lora {
    /// Opens all of them for that base.
    pub fn open(&self, base: &Gguf) -> Result<Vec<(Adapter, f32)>> {
        let open = |(path, weight): &(PathBuf, f32)| {
            let adapter = Adapter::open(path, base)?;
            adapter.check(base, self.any_base)?;
            Ok((adapter, *weight))
        };
        self.files.iter().map(open).collect()
    }

    /// Puts all of them on a model.
    pub fn load(&self, model: &Arc<Model>) -> Result<Loaded> {
        let Some(gguf) = model.gguf.as_deref().filter(|_| !self.files.is_empty()) else {
            return Ok(Loaded(Vec::new()));
        };
        let load = |(adapter, weight): (Adapter, f32)| Ok((LoadedAdapter::new(model, &adapter)?, weight));
        Ok(Loaded(self.open(gguf)?.into_iter().map(load).collect::<Result<_>>()?))
    }

    /// What they will need, together and each at most. Whether they were made for this base is not asked: that takes reading all of it.
    pub fn need(&self, gguf: &Gguf, graph: &Graph) -> Result<AdapterNeed> {
        let mut all = AdapterNeed { bytes: 0, rank: 0 };
        for (path, _) in &self.files {
            let adapter = Adapter::open(path, gguf)?;
            adapter.check(gguf, true)?;
            let need = LoadedAdapter::need(gguf, graph, &adapter)?;
            all = AdapterNeed { bytes: all.bytes.saturating_add(need.bytes), rank: all.rank.max(need.rank) };
        }
        Ok(all)
    }
}

/// Adapters on a model, with their weights.
pub struct Loaded(Vec<(LoadedAdapter, f32)>);

impl Loaded {
    /// The parameters of a context that they go on.
    pub fn room(&self, params: ContextParams) -> ContextParams {
        let rank = self.0.iter().map(|(adapter, _)| adapter.rank()).max().unwrap_or(0);
        ContextParams { adapters: self.0.len(), rank, ..params }
    }

    /// Puts them on a context.
    pub fn attach(&self, ctx: &mut Context) -> Result<()> {
        let set: Vec<_> = self.0.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
        Ok(ctx.set_adapters(&set)?)
    }
}

/// A file and its weight. What follows the last colon is a weight where it is a number and no file is called so.
pub fn weighted(text: &str) -> std::result::Result<(PathBuf, f32), String> {
    if let Some((file, weight)) = text.rsplit_once(':')
        && let Ok(weight) = weight.parse::<f32>()
        && !std::path::Path::new(text).exists()
    {
        let given = weight.is_finite().then(|| (PathBuf::from(file), weight));
        return given.ok_or_else(|| format!("the weight is {weight}: give a finite number"));
    }
    Ok((PathBuf::from(text), 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_a_colon() {
        assert_eq!(weighted("a.gguf"), Ok(("a.gguf".into(), 1.0)));
        assert_eq!(weighted("a.gguf:0.5"), Ok(("a.gguf".into(), 0.5)));
        assert_eq!(weighted("C:/a.gguf:-2"), Ok(("C:/a.gguf".into(), -2.0)));
        assert_eq!(weighted("C:/a.gguf"), Ok(("C:/a.gguf".into(), 1.0)));
        assert!(weighted("a.gguf:inf").is_err());
    }
}
