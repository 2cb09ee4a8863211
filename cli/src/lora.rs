//! The argument `--lora FILE[:WEIGHT]`, and the adapters it names.

use crate::failure::Result;
use qorus::adapter::Adapter;
use qorus::gguf::Gguf;
use std::path::PathBuf;

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
