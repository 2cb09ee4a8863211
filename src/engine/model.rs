//! A model that is ready to run: its layers, its weights where they lie, its tokenizer.

use super::runtime::Runtime;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::layers::Store;
use crate::models::Graph;
use crate::tokenizer::Tokenizer;
use std::path::Path;
use std::sync::Arc;

/// Immutable and shared: any number of contexts run on one model at once.
pub struct Model {
    /// Threads and kernels.
    pub runtime: Arc<Runtime>,
    /// The layers.
    pub graph: Graph,
    /// The weights.
    pub store: Store,
    /// The file, unless the model was built by hand.
    pub gguf: Option<Arc<Gguf>>,
    /// The tokenizer, where the file has one.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

impl Model {
    /// Maps the file at `path`.
    pub fn open(runtime: &Arc<Runtime>, path: &Path) -> Result<Arc<Model>> {
        Model::new(runtime, Arc::new(Gguf::open(path)?))
    }

    /// The model of an open file.
    pub fn new(runtime: &Arc<Runtime>, gguf: Arc<Gguf>) -> Result<Arc<Model>> {
        let graph = Graph::from_gguf(&gguf)?;
        for info in gguf.tensors() {
            let op = if info.ty.is_quantized() { "matmul_q8" } else { "matmul_f32" };
            if info.n_dims >= 2 && !runtime.kernels.has(op, info.ty) {
                let (file, tensor) = (gguf.name(), gguf.tensor_name(info));
                fail!(Unsupported, "{file}: tensor {tensor} is stored as {}, which has no kernel", info.ty.name());
            }
        }
        let store = graph.load(&gguf)?;
        let tokenizer = if has_tokenizer(&gguf) { Some(Arc::new(Tokenizer::new(Arc::clone(&gguf))?)) } else { None };
        Ok(Arc::new(Model { runtime: Arc::clone(runtime), graph, store, gguf: Some(gguf), tokenizer }))
    }

    /// The model of a graph that was built by hand.
    pub fn from_parts(runtime: &Arc<Runtime>, graph: Graph, store: Store) -> Arc<Model> {
        Arc::new(Model { runtime: Arc::clone(runtime), graph, store, gguf: None, tokenizer: None })
    }

    /// The tokenizer, or an error that says there is none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        match &self.tokenizer {
            Some(tokenizer) => Ok(tokenizer),
            None => fail!(State, "the model has no tokenizer"),
        }
    }
}

/// Whether a file carries a vocabulary.
pub(super) fn has_tokenizer(gguf: &Gguf) -> bool {
    gguf.get("tokenizer.ggml.tokens").is_some()
}
