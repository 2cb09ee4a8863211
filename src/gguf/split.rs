//! Models split into several files: `name-00001-of-00003.gguf` and so on, each with the keys `split.no` (from 0),
//! `split.count` and `split.tensors.count`. The first holds all other keys.

use std::path::{Path, PathBuf};

use super::Part;
use super::meta::Meta;
use crate::error::{Result, fail};

/// Files of one model at most: each is kept open.
const MAX_PARTS: i128 = 999;

/// What the first file says about the others. One file alone is its own only part.
pub(super) struct Split {
    pub count: usize,
    /// Of all parts.
    tensors: Option<i128>,
}

impl Split {
    pub fn read(meta: &Meta, first: &Part) -> Result<Split> {
        let file = &first.name;
        let Some(count) = int(meta, first, "split.count")? else { return Ok(Split { count: 1, tensors: None }) };
        let no = int(meta, first, "split.no")?.unwrap_or(0);
        if !(0..=MAX_PARTS).contains(&count) {
            fail!(Unsupported, "{file}: is part of a model of {count} files; at most {MAX_PARTS} are read");
        }
        if no != 0 {
            fail!(
                InvalidArgument,
                "{file}: is file {} of {count} of its model: open the first, its name ends in -00001-of-{count:05}.gguf",
                no.saturating_add(1)
            );
        }
        Ok(Split { count: count.max(1) as usize, tensors: int(meta, first, "split.tensors.count")? })
    }

    /// The path of part `no`, from that of the first.
    pub fn path(&self, first: &Path, no: usize) -> Result<PathBuf> {
        let count = self.count;
        let end = format!("-00001-of-{count:05}.gguf");
        let stem = first.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(&end));
        match stem {
            Some(stem) => Ok(first.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", no + 1))),
            None => fail!(
                InvalidArgument,
                "{}: is the first of {count} files, so its name must end in {end}: give all of them their names back",
                first.display()
            ),
        }
    }

    /// Whether the file that was found is that part.
    pub fn check(&self, no: usize, meta: &Meta, part: &Part) -> Result<()> {
        for (key, want) in [("split.no", no), ("split.count", self.count)] {
            let found = int(meta, part, key)?;
            if found != Some(want as i128) {
                let found = found.map_or("nothing".into(), |n| n.to_string());
                fail!(
                    Format,
                    "{}: key {key:?} is {found}, expected {want}: it is of another model, fetch it again",
                    part.name
                );
            }
        }
        Ok(())
    }

    /// Whether all parts together have the tensors that the first announced.
    pub fn check_total(&self, found: usize, file: &str) -> Result<()> {
        match self.tensors {
            Some(n) if n != found as i128 => fail!(
                Format,
                "{file}: announces {n} tensors in {} files, which have {found}: fetch all of them again",
                self.count
            ),
            _ => Ok(()),
        }
    }
}

fn int(meta: &Meta, part: &Part, key: &str) -> Result<Option<i128>> {
    let Some(value) = meta.get(key, &part.map) else { return Ok(None) };
    match value.int() {
        Some(n) => Ok(Some(n)),
        None => fail!(Format, "{}: key {key:?} is {value}, expected an integer", part.name),
    }
}
