//! The functions of a level, made of the generic ones.

/// One generic function as a function of a level: compiled for its features, where its token can be made.
macro_rules! twin {
    ($cpu:tt, Unary, $f:path) => { twin!($cpu, fn(x: &mut [f32]), $f) };
    ($cpu:tt, Scaled, $f:path) => { twin!($cpu, fn(x: &mut [f32], a: f32), $f) };
    ($cpu:tt, Binary, $f:path) => { twin!($cpu, fn(y: &mut [f32], x: &[f32]), $f) };
    ($cpu:tt, Axpy, $f:path) => { twin!($cpu, fn(y: &mut [f32], a: f32, x: &[f32]), $f) };
    ($cpu:tt, Dot, $f:path) => { twin!($cpu, fn(a: &[f32], b: &[f32]) -> f32, $f) };
    ($cpu:tt, Rope, $f:path) => { twin!($cpu, fn(x: &mut [f32], cos: &[f32], sin: &[f32]), $f) };
    ($cpu:tt, RmsNorm, $f:path) => { twin!($cpu, fn(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]), $f) };
    ($cpu:tt, LayerNorm, $f:path) => {
        twin!($cpu, fn(x: &[f32], w: &[f32], b: Option<&[f32]>, eps: f32, y: &mut [f32]), $f)
    };
    ($cpu:tt, Dequantize, $f:path) => { twin!($cpu, fn(src: &[u8], dst: &mut [f32]), $f) };
    ($cpu:tt, MatmulF32, $f:path) => { twin!($cpu, fn(w: &[u8], x: &[f32], k: usize, y: &mut crate::TileMut), $f) };
    ($cpu:tt, Attend, $f:path) => { twin!($cpu, fn(block: &mut crate::AttendBlock), $f) };
    ($cpu:tt, AttendMerge, $f:path) => {
        twin!($cpu, fn(m: &mut [f32], s: &mut [f32], o: &mut [f32], m2: &[f32], s2: &[f32], o2: &[f32]), $f)
    };
    ($cpu:tt, Gemm, $f:path) => {
        twin!($cpu, fn(a: &crate::Mat, b: &crate::Mat, acc: bool, c: &mut crate::TileMut, stage: crate::gemm::Stage), $f)
    };
    ($cpu:tt, Reduce, $f:path) => { twin!($cpu, fn(x: &[f32]) -> f32, $f) };
    ($cpu:tt, Clamp, $f:path) => { twin!($cpu, fn(x: &mut [f32], scale: f32, limit: f32), $f) };
    ($cpu:tt, MseGrad, $f:path) => { twin!($cpu, fn(p: &[f32], t: &[f32], scale: f32, g: &mut [f32]), $f) };
    ($cpu:tt, CrossEntropy, $f:path) => {
        twin!($cpu, fn(x: crate::loss::Logits, t: crate::loss::Target, by: &crate::loss::Weighting) -> crate::loss::RowLoss, $f)
    };
    ($cpu:tt, Sgd, $f:path) => {
        twin!($cpu, fn(w: &mut [f32], g: &mut [f32], b: &mut [f32], step: &crate::optim::SgdStep), $f)
    };
    ($cpu:tt, Adam, $f:path) => {
        twin!($cpu, fn(w: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32], step: &crate::optim::AdamStep), $f)
    };
    ($cpu:tt, Adam8, $f:path) => {
        twin!(
            $cpu,
            fn(w: &mut [f32], g: &mut [f32], m: &mut [u8], v: &mut [u8], k: &mut [f32], step: &crate::optim::AdamStep),
            $f
        )
    };
    ($cpu:tt, RmsNormBackward, $f:path) => {
        twin!($cpu, fn(x: &[f32], w: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32]), $f)
    };
    ($cpu:tt, LayerNormBackward, $f:path) => {
        twin!(
            $cpu,
            fn(x: &[f32], w: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]),
            $f
        )
    };
    ($cpu:tt, GatedBackward, $f:path) => { twin!($cpu, fn(gate: &mut [f32], up: &mut [f32], d: &mut [f32]), $f) };
    (($token:ident, $features:literal), fn($($arg:ident: $ty:ty),*) $(-> $ret:ty)?, $f:path) => {{
        #[target_feature(enable = $features)]
        fn twin($($arg: $ty),*) $(-> $ret)? {
            $f($token::new(), $($arg),*)
        }
        twin
    }};
}

/// Declares the `ENTRIES` of a level: operation, type, signature, generic function. `tile` is that of
/// `matmul_f32.rs`: weight rows and activation rows whose sums stay in registers, activation rows where there are few, and
/// weight rows for a single activation row.
macro_rules! entries {
    ($token:ident, $isa:ident, $features:literal, tile: $rows:literal, $tokens:literal, $few:literal, $alone:literal) => {
        entries! { ENTRIES, ($token, $features), $isa,
            dequantize F16 Dequantize dequantize::floats::<_, stored::F16>;
            dequantize BF16 Dequantize dequantize::floats::<_, stored::BF16>;
            dequantize Q4_0 Dequantize dequantize::blocks::<_, blocks::Q4_0>;
            dequantize Q4_1 Dequantize dequantize::blocks::<_, blocks::Q4_1>;
            dequantize Q5_0 Dequantize dequantize::blocks::<_, blocks::Q5_0>;
            dequantize Q5_1 Dequantize dequantize::blocks::<_, blocks::Q5_1>;
            dequantize Q8_0 Dequantize dequantize::blocks::<_, blocks::Q8_0>;
            dequantize Q2_K Dequantize dequantize::blocks::<_, blocks::Q2_K>;
            dequantize Q3_K Dequantize dequantize::blocks::<_, blocks::Q3_K>;
            dequantize Q4_K Dequantize dequantize::blocks::<_, blocks::Q4_K>;
            dequantize Q5_K Dequantize dequantize::blocks::<_, blocks::Q5_K>;
            dequantize Q6_K Dequantize dequantize::blocks::<_, blocks::Q6_K>;
            silu F32 Unary activation::silu;
            gelu F32 Unary activation::gelu;
            gelu_erf F32 Unary activation::gelu_erf;
            relu F32 Unary activation::relu;
            softcap F32 Scaled activation::softcap;
            silu_mul F32 Binary activation::silu_mul;
            gelu_mul F32 Binary activation::gelu_mul;
            attend F32 Attend attend::attend::<_, stored::F32>;
            attend F16 Attend attend::attend::<_, stored::F16>;
            attend Q8_0 Attend attend::attend::<_, stored::Q8_0>;
            attend Q4_0 Attend attend::attend::<_, stored::Q4_0>;
            attend_merge F32 AttendMerge attend::attend_merge;
            matmul_f32 F32 MatmulF32 matmul_f32::matmul_f32::<_, stored::F32, $rows, $tokens, $few, $alone>;
            matmul_f32 F16 MatmulF32 matmul_f32::matmul_f32::<_, stored::F16, $rows, $tokens, $few, $alone>;
            matmul_f32 BF16 MatmulF32 matmul_f32::matmul_f32::<_, stored::BF16, $rows, $tokens, $few, $alone>;
            rmsnorm F32 RmsNorm norm::rmsnorm;
            layernorm F32 LayerNorm norm::layernorm;
            rope_norm F32 Rope rope::rope_norm;
            rope_neox F32 Rope rope::rope_neox;
            softmax F32 Scaled softmax::softmax;
            add F32 Binary vector::add;
            mul F32 Binary vector::mul;
            scale F32 Scaled vector::scale;
            axpy F32 Axpy vector::axpy;
            dot F32 Dot vector::dot;
        }
    };
    // Of what training alone needs, what has its own instructions.
    (bf16 train: $token:ident, $isa:ident, $features:literal, product: $rows:literal, $groups:literal) => {
        #[cfg(feature = "train")]
        entries! { BF16_TRAIN_ENTRIES, ($token, $features), $isa,
            gemm_bf16 F32 Gemm gemm::gemm::<_, gemm::Rounded, $rows, $groups>;
        }
    };
    // What training alone needs; `product`: rows and sixteens of columns of the tile of `gemm.rs`.
    (train: $token:ident, $isa:ident, $features:literal, product: $rows:literal, $groups:literal) => {
        #[cfg(feature = "train")]
        entries! { TRAIN_ENTRIES, ($token, $features), $isa,
            gemm F32 Gemm gemm::gemm::<_, gemm::Bare, $rows, $groups>;
            gemm_bf16 F32 Gemm gemm::gemm::<_, gemm::Rounded, $rows, $groups>;
            mse F32 Dot loss::mse;
            mse_grad F32 MseGrad loss::mse_grad;
            cross_entropy F32 CrossEntropy loss::cross_entropy;
            sum_squares F32 Reduce clip::sum_squares;
            clamp F32 Clamp clip::clamp;
            zero F32 Unary clip::zero;
            sgd F32 Sgd optim::sgd;
            adam F32 Adam optim::adam;
            adam8 F32 Adam8 optim::adam8;
            silu_backward F32 Binary activation::silu_backward;
            gelu_backward F32 Binary activation::gelu_backward;
            gelu_erf_backward F32 Binary activation::gelu_erf_backward;
            relu_backward F32 Binary activation::relu_backward;
            softcap_backward F32 Axpy activation::softcap_backward;
            silu_mul_backward F32 GatedBackward activation::silu_mul_backward;
            gelu_mul_backward F32 GatedBackward activation::gelu_mul_backward;
            rmsnorm_backward F32 RmsNormBackward norm::rmsnorm_backward;
            layernorm_backward F32 LayerNormBackward norm::layernorm_backward;
            softmax_backward F32 Axpy softmax::softmax_backward;
        }
    };
    // Products of bf16; `tile` is that of `matmul_bf16.rs`.
    (bf16: $token:ident, $isa:ident, $features:literal, tile: $rows:literal, $tokens:literal) => {
        entries! { BF16_ENTRIES, ($token, $features), $isa,
            matmul_bf16 BF16 MatmulF32 matmul_bf16::matmul_bf16::<_, $rows, $tokens>;
        }
    };
    ($list:ident, $cpu:tt, $isa:ident, $($op:ident $ty:ident $signature:ident $f:path;)*) => {
        /// The operations of [`crate::lanes`], at this level.
        pub const $list: &[Entry] = &[
            $(Entry::new(stringify!($op), Type::$ty, Isa::$isa, Func::$signature(twin!($cpu, $signature, $f))),)*
        ];
    };
}
