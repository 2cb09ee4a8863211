//! `q_builder`: a model from nothing, layer by layer.

use super::args;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::model::{Loaded, q_model};
use super::ops::{activation, q_rope_style, rope_style};
use super::params::{self, Params};
use super::runtime::{Shared, q_runtime};
use super::tensor::view;
use crate::engine::Model;
use crate::error::{Result, fail, try_vec};
use crate::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use crate::tensor::{Tensor, View, convert};
use qorus_kernels::Type;
use std::sync::Arc;

/// A model under construction. One call at a time.
///
/// Begin with q_builder_rows or q_builder_embedding, add layers, end with q_builder_finish. Weights are copied: they are
/// q_tensor of any storage type that products have, [out][in]; norms and biases are tensors of one dimension, of any
/// type that can be read. A call that fails leaves the builder as it was.
pub struct q_builder {
    _opaque: [u8; 0],
}

/// What a `q_builder` holds.
pub struct Bench {
    runtime: Arc<Shared>,
    hand: Hand,
}

impl Opaque for q_builder {
    type Value = Bench;
    type Side = ();
    const NAME: &'static str = "q_builder";
}

/// Causal self-attention. Fill it with q_attention_params_init first, then set heads and weights.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_attention_params {
    /// sizeof(q_attention_params), set by q_attention_params_init.
    pub size: u32,
    /// Query heads.
    pub n_head: u32,
    /// Key and value heads; 0: as many as query heads.
    pub n_kv: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// A row sees this many positions, its own included; 0: all before it.
    pub window: u32,
    /// Factor of the scores; 0: 1 / sqrt(head_dim).
    pub scale: f32,
    /// Soft-capping of the scores; 0: none.
    pub softcap: f32,
    /// A q_rope_style (Q_ROPE_NONE).
    pub rope_style: u32,
    /// Elements of a head that turn; 0: all.
    pub rope_dim: u32,
    /// Base of the frequencies (10000).
    pub rope_base: f32,
    /// Factor of the positions (1); 1 / n stretches a context n times.
    pub rope_scale: f32,
    /// Epsilon of q_norm and k_norm (1e-5).
    pub norm_eps: f32,
    /// Queries: [n_head * head_dim][width].
    pub q: *const Tensor,
    /// Keys: [n_kv * head_dim][width].
    pub k: *const Tensor,
    /// Values: [n_kv * head_dim][width].
    pub v: *const Tensor,
    /// Output: [any width][n_head * head_dim].
    pub o: *const Tensor,
    /// Bias of the queries, or NULL.
    pub q_bias: *const Tensor,
    /// Bias of the keys, or NULL.
    pub k_bias: *const Tensor,
    /// Bias of the values, or NULL.
    pub v_bias: *const Tensor,
    /// Bias of the output, or NULL.
    pub o_bias: *const Tensor,
    /// RMSNorm of each query head: [head_dim], or NULL.
    pub q_norm: *const Tensor,
    /// RMSNorm of each key head: [head_dim], or NULL.
    pub k_norm: *const Tensor,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_attention_params {
    const NAME: &'static str = "q_attention_params";

    fn defaults() -> Self {
        let null = std::ptr::null();
        q_attention_params {
            size: size_of::<Self>() as u32,
            n_head: 0,
            n_kv: 0,
            head_dim: 0,
            window: 0,
            scale: 0.0,
            softcap: 0.0,
            rope_style: q_rope_style::Q_ROPE_NONE as u32,
            rope_dim: 0,
            rope_base: 10000.0,
            rope_scale: 1.0,
            norm_eps: 1e-5,
            q: null,
            k: null,
            v: null,
            o: null,
            q_bias: null,
            k_bias: null,
            v_bias: null,
            o_bias: null,
            q_norm: null,
            k_norm: null,
        }
    }
}

impl Bench {
    /// The values of a matrix.
    unsafe fn matrix<'a>(&self, t: *const Tensor, name: &str) -> Result<Values<'a>> {
        // SAFETY: the host's pointer.
        let t: View<'a> = unsafe { view(t, name) }?;
        let [rows, cols] = *t.dims() else {
            fail!(Shape, "{name} has the dimensions {:?}, expected [out][in]", t.dims())
        };
        Ok(Values { ty: t.ty(), rows: rows as usize, cols: cols as usize, bytes: t.bytes(name)? })
    }

    /// The values of a vector, as f32; none for NULL.
    unsafe fn vector(&self, t: *const Tensor, name: &str) -> Result<Option<Vec<f32>>> {
        if t.is_null() {
            return Ok(None);
        }
        // SAFETY: the host's pointer.
        let t = unsafe { view(t, name) }?;
        let [len] = *t.dims() else { fail!(Shape, "{name} has the dimensions {:?}, expected one", t.dims()) };
        let mut values: Vec<f32> = try_vec(len as usize, name)?;
        values.resize(len as usize, 0.0);
        let own = Tensor::dense(Type::F32, &[len], values.as_mut_ptr().cast())?;
        let kernels = &self.runtime.engine.kernels;
        // SAFETY: `values` has the elements, and one row each is converted.
        unsafe {
            let own = own.view_mut(name)?;
            convert::check(kernels, &t, &own)?;
            convert::row(kernels, &t, &own, 0);
        }
        Ok(Some(values))
    }

    /// The values of a vector that must be there.
    unsafe fn vector_given(&self, t: *const Tensor, name: &str) -> Result<Vec<f32>> {
        args::pointer(t, name)?;
        // SAFETY: the host's pointer.
        Ok(unsafe { self.vector(t, name) }?.unwrap_or_default())
    }
}

/// Begins a model for `runtime`. Free it with q_builder_free; it keeps the runtime alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_create(runtime: *const q_runtime, out: *mut *mut q_builder) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        handle::check_out(out)?;
        let hand = Hand::new(&runtime.engine.kernels);
        handle::create(Bench { runtime: Arc::clone(&runtime), hand }, (), out)
    })
}

/// The model takes rows of `width` floats. Errors: Q_ERR_STATE when the input is settled already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_rows(builder: *mut q_builder, width: u32) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.rows(width as usize) })
}

/// The model takes tokens, a row of `table` [vocab][width] for each. Errors: as q_builder_rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_embedding(builder: *mut q_builder, table: *const Tensor) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let table = b.matrix(table, "table")?;
        b.hand.embedding(&table)
    })
}

/// y = x weight^T + bias; `bias` [out] may be NULL. Errors, of this and the layers below: Q_ERR_SHAPE when the widths do not
/// go together; Q_ERR_UNSUPPORTED for weights of integers; Q_ERR_STATE before the input is settled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_linear(
    builder: *mut q_builder,
    weight: *const Tensor,
    bias: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let (w, bias) = (b.matrix(weight, "weight")?, b.vector(bias, "bias")?);
        b.hand.linear(&LinearValues { w, bias: bias.as_deref() })
    })
}

/// y = x / sqrt(mean(x^2) + eps) * weight
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_rmsnorm(builder: *mut q_builder, weight: *const Tensor, eps: f32) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let weight = b.vector_given(weight, "weight")?;
        b.hand.rmsnorm(&weight, eps)
    })
}

/// y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; `bias` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_layernorm(
    builder: *mut q_builder,
    weight: *const Tensor,
    bias: *const Tensor,
    eps: f32,
) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let (weight, bias) = (b.vector_given(weight, "weight")?, b.vector(bias, "bias")?);
        b.hand.layernorm(&weight, bias.as_deref(), eps)
    })
}

/// y = activation(x), a q_activation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_activation(builder: *mut q_builder, activation: u32) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.activation(self::activation(activation)?) })
}

/// y = factor * x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_scale(builder: *mut q_builder, factor: f32) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.scale(factor) })
}

/// y = cap * tanh(x / cap)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_softcap(builder: *mut q_builder, cap: f32) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.softcap(cap) })
}

/// In training, elements become 0 with probability `rate` and the others larger; nothing in inference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_dropout(builder: *mut q_builder, rate: f32) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.dropout(rate) })
}

/// Rows of [numbers | a category for each table] become [numbers | a row of each table]: features of a table's columns. `tables` are
/// `n` matrices [categories][width], one after another; categories are whole numbers, held as floats. Errors: Q_ERR_SHAPE for more
/// tables than elements of a row; when the model runs, Q_ERR_INVALID_ARGUMENT for a number that is no category.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_features(builder: *mut q_builder, tables: *const Tensor, n: usize) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let tables = args::slice(tables, n, "tables")?;
        let mut values = try_vec(n, "tables")?;
        for table in tables {
            values.push(b.matrix(table, "tables")?);
        }
        b.hand.features(&values)
    })
}

/// Fills `params` with defaults. `size` is sizeof(q_attention_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_attention_params_init(params: *mut q_attention_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Causal self-attention with its projections: multi-head, or grouped-query with fewer key than query heads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_attention(
    builder: *mut q_builder,
    params: *const q_attention_params,
) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        args::pointer(params, "params")?;
        let p = params::read(params)?;
        let [q_bias, k_bias, v_bias, o_bias] = [
            b.vector(p.q_bias, "q_bias")?,
            b.vector(p.k_bias, "k_bias")?,
            b.vector(p.v_bias, "v_bias")?,
            b.vector(p.o_bias, "o_bias")?,
        ];
        let (q_norm, k_norm) = (b.vector(p.q_norm, "q_norm")?, b.vector(p.k_norm, "k_norm")?);
        let rope = rope_style(p.rope_style)?.map(|style| RopeValues {
            style,
            dim: if p.rope_dim == 0 { p.head_dim as usize } else { p.rope_dim as usize },
            base: p.rope_base.into(),
            scale: p.rope_scale.into(),
        });
        let values = AttentionValues {
            n_head: p.n_head as usize,
            n_kv: if p.n_kv == 0 { p.n_head as usize } else { p.n_kv as usize },
            head_dim: p.head_dim as usize,
            q: LinearValues { w: b.matrix(p.q, "q")?, bias: q_bias.as_deref() },
            k: LinearValues { w: b.matrix(p.k, "k")?, bias: k_bias.as_deref() },
            v: LinearValues { w: b.matrix(p.v, "v")?, bias: v_bias.as_deref() },
            o: LinearValues { w: b.matrix(p.o, "o")?, bias: o_bias.as_deref() },
            q_norm: q_norm.as_deref().map(|weight| (weight, p.norm_eps)),
            k_norm: k_norm.as_deref().map(|weight| (weight, p.norm_eps)),
            rope,
            window: p.window as usize,
            scale: p.scale,
            softcap: p.softcap,
        };
        b.hand.attention(&values)
    })
}

/// y = down activation(up x + up_bias) + down_bias: an MLP of one hidden layer. The biases may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_mlp(
    builder: *mut q_builder,
    activation: u32,
    up: *const Tensor,
    up_bias: *const Tensor,
    down: *const Tensor,
    down_bias: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let act = self::activation(activation)?;
        let (up, up_bias) = (b.matrix(up, "up")?, b.vector(up_bias, "up_bias")?);
        let (down, down_bias) = (b.matrix(down, "down")?, b.vector(down_bias, "down_bias")?);
        let (up, down) =
            (LinearValues { w: up, bias: up_bias.as_deref() }, LinearValues { w: down, bias: down_bias.as_deref() });
        b.hand.ffn(act, None, &up, &down)
    })
}

/// y = down (activation(gate x) * up x): SwiGLU with Q_ACTIVATION_SILU, GeGLU with Q_ACTIVATION_GELU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_glu(
    builder: *mut q_builder,
    activation: u32,
    gate: *const Tensor,
    up: *const Tensor,
    down: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        let act = self::activation(activation)?;
        let plain = |w| LinearValues { w, bias: None };
        let (gate, up, down) = (b.matrix(gate, "gate")?, b.matrix(up, "up")?, b.matrix(down, "down")?);
        b.hand.ffn(act, Some(&plain(gate)), &plain(up), &plain(down))
    })
}

/// The layers from here to q_builder_residual_end are f in y = x + f(x). They may nest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_residual_begin(builder: *mut q_builder) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.residual_begin() })
}

/// Ends the residual branch that began last. Errors: Q_ERR_SHAPE when it changed the width; Q_ERR_STATE when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_residual_end(builder: *mut q_builder) -> q_error_code {
    ffi!({ handle::exclusive(builder)?.hand.residual_end() })
}

/// The width of the rows after the layers so far, to `width`; 0 before the input is settled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_width(builder: *mut q_builder, width: *mut u32) -> q_error_code {
    ffi!({ args::put(width, handle::exclusive(builder)?.hand.width() as u32, "width") })
}

/// Makes the model. The builder is as new afterwards. Free the model with q_model_free.
/// Errors: Q_ERR_STATE for a residual branch that is open, or no layers; Q_ERR_BUDGET, and then the layers are lost.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_finish(builder: *mut q_builder, out: *mut *mut q_model) -> q_error_code {
    ffi!({
        let mut b = handle::exclusive(builder)?;
        handle::check_out(out)?;
        let (graph, store) = b.hand.finish()?;
        let engine = Model::from_parts(&b.runtime.engine, graph, store);
        handle::create(Loaded::new(&b.runtime, engine)?, (), out)
    })
}

/// Frees a builder; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_builder_free(builder: *mut q_builder) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(builder) }
}
