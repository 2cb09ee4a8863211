//! Other formats to GGUF, and GGUF to smaller storage types.
//!
//! [`convert`] takes llama2.c checkpoints and directories of safetensors, [`quantize()`] a GGUF file, [`merge()`] one and adapters. All of them read
//! mapped files and write tensor by tensor, so the memory they hold does not grow with the model; the new file takes
//! its name only when it is whole.

mod config;
mod json;
mod llama2c;
mod merge;
mod names;
mod quantize;
mod rope;
mod safetensors;
mod vocab;

use std::borrow::Cow;
use std::path::Path;

use crate::Type;
use crate::error::{Result, fail};
use crate::gguf::{Output, Writer};
use crate::memory::save::SaveFile;
pub use merge::{Weighted, merge};
pub use quantize::{Recipe, quantize};

/// Where a conversion is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor under way.
    pub tensor: &'a str,
    /// Bytes of tensors that are written.
    pub done: u64,
    /// Bytes of all tensors.
    pub total: u64,
}

/// Called as a conversion proceeds; false ends it, with `Cancelled` and without a file.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// Converts the model at `input` to the GGUF file `output`, its weights as they are stored.
///
/// `input` is a directory with `config.json`, `tokenizer.json` and safetensors files of a llama, mistral, qwen2 or
/// qwen3 model; or a llama2.c checkpoint, with its `tokenizer.bin` in the same directory.
///
/// Errors: `Unsupported` for another kind of file or model, `Format` for a damaged one, `NotFound` for a file, key or
/// tensor that is missing, `Cancelled`, `Io`.
pub fn convert(input: &Path, output: &Path, progress: OnProgress) -> Result<()> {
    if input.is_dir() {
        return safetensors::convert(input, output, progress);
    }
    if input.extension().is_some_and(|e| e == "safetensors") {
        fail!(
            InvalidArgument,
            "{}: give the directory it is in, for its config.json and tokenizer.json are needed too",
            input.display()
        );
    }
    llama2c::convert(input, output, progress)
}

/// One tensor on its way to a file.
struct Tensor<'a> {
    name: String,
    ty: Type,
    /// Innermost first.
    dims: Vec<u64>,
    data: Data<'a>,
}

/// Its bytes.
enum Data<'a> {
    /// As they are.
    Bytes(Cow<'a, [u8]>),
    /// Rows of `row` bytes, `head_rows` to a head: in each head the rows (i, i + n/2) are to be (2i, 2i + 1).
    Interleaved { bytes: Cow<'a, [u8]>, row: usize, head_rows: usize },
}

/// Bytes written between two looks at the progress.
const CHUNK: usize = 4 << 20;

/// Writes the keys of `writer` and then the tensors.
fn save(mut writer: Writer, tensors: &[Tensor], path: &Path, progress: OnProgress) -> Result<()> {
    for t in tensors {
        writer.tensor(&t.name, t.ty, &t.dims)?;
    }
    let mut sink = Sink::new(writer.create(path)?, progress);
    for t in tensors {
        sink.begin(&t.name)?;
        match &t.data {
            Data::Bytes(bytes) => sink.write(bytes)?,
            Data::Interleaved { bytes, row, head_rows } => {
                for head in bytes.chunks(row * head_rows) {
                    let (a, b) = head.split_at(head.len() / 2);
                    for (a, b) in a.chunks(*row).zip(b.chunks(*row)) {
                        sink.write(a)?;
                        sink.write(b)?;
                    }
                }
            }
        }
    }
    sink.output.save()
}

/// The file under way, and who wants to know.
struct Sink<'a, 'b> {
    output: Output<SaveFile>,
    progress: OnProgress<'a>,
    tensor: &'b str,
    done: u64,
    total: u64,
}

impl<'a, 'b> Sink<'a, 'b> {
    fn new(output: Output<SaveFile>, progress: OnProgress<'a>) -> Self {
        let total = output.total();
        Sink { output, progress, tensor: "", done: 0, total }
    }

    /// `tensor` is next.
    fn begin(&mut self, tensor: &'b str) -> Result<()> {
        self.tensor = tensor;
        self.report()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.output.write(chunk)?;
            let before = self.done / CHUNK as u64;
            self.done += chunk.len() as u64;
            if self.done / CHUNK as u64 != before || self.done == self.total {
                self.report()?;
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<()> {
        if !(self.progress)(Progress { tensor: self.tensor, done: self.done, total: self.total }) {
            fail!(Cancelled, "cancelled at tensor {:?}: nothing was saved", self.tensor);
        }
        Ok(())
    }
}
