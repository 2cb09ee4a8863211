//! A model at other storage types: which tensor gets which, and how far its values move.

mod common;

use std::path::Path;

use common::dir::Dir;
use common::limits::peak;
use common::small;
use qorus::convert::{Recipe, quantize};
use qorus::engine::Runtime;
use qorus::gguf::{Gguf, Writer};
use qorus::{Code, Isa, Type};

const LAYERS: u32 = 16;

/// A llama whose rows are whole blocks of 256, but for `ffn_down` (rows of 96) and `odd` (rows of 10).
fn model(tied: bool) -> Gguf {
    let mut w = Writer::new();
    w.put("general.architecture", "llama").unwrap().put("general.file_type", 0u32).unwrap();
    w.put("llama.block_count", LAYERS).unwrap().put("split.count", 1u16).unwrap();
    w.tensor("token_embd.weight", Type::F32, &[256, 8]).unwrap();
    for i in 0..LAYERS {
        for (name, dims) in [
            ("attn_norm", &[256][..]),
            ("attn_q", &[256, 4]),
            ("attn_v", &[256, 3]),
            ("ffn_down", &[96, 4]),
            ("ffn_down_exps", &[256, 2, 3]),
            ("ffn_gate_inp", &[256, 3]),
            ("odd", &[10, 3]),
        ] {
            w.tensor(&format!("blk.{i}.{name}.weight"), Type::F32, dims).unwrap();
        }
        w.tensor(&format!("blk.{i}.attn_q.bias"), Type::F32, &[4]).unwrap();
    }
    w.tensor("output_norm.weight", Type::F16, &[256]).unwrap();
    if !tied {
        w.tensor("output.weight", Type::F32, &[256, 8]).unwrap();
    }
    Gguf::from_bytes(small::finish(w)).unwrap()
}

fn to(model: &Gguf, path: &Path, recipe: &str, runtime: &Runtime) -> qorus::Result<Gguf> {
    let recipe = Recipe::from_name(recipe).expect("a recipe of that name");
    quantize(model, path, recipe, runtime, &mut |_| true)?;
    Gguf::open(path)
}

/// Root mean square of the difference, over that of the values.
fn rmse(from: &Gguf, to: &Gguf, name: &str, runtime: &Runtime) -> f64 {
    let values = |file: &Gguf| {
        let t = file.tensor(name).unwrap();
        let mut x = vec![0f32; t.elements() as usize];
        match t.ty {
            Type::F32 => x.copy_from_slice(bytemuck::cast_slice(file.data(t))),
            ty => runtime.kernels.dequantize(ty, file.data(t), &mut x),
        }
        x
    };
    let (a, b) = (values(from), values(to));
    let sum = |f: &dyn Fn(usize) -> f32| (0..a.len()).map(|i| f64::from(f(i)).powi(2)).sum::<f64>();
    (sum(&|i| a[i] - b[i]) / sum(&|i| a[i])).sqrt()
}

#[test]
fn each_recipe_keeps_the_values() {
    let dir = Dir::new("recipes");
    let runtime = Runtime::new(2, None).unwrap();
    let model = model(true);
    // Name, file type, type of attn_q, limit of the relative error there.
    let recipes = [
        ("F32", 0, Type::F32, 0.0),
        ("F16", 1, Type::F16, 4e-4),
        ("BF16", 32, Type::BF16, 3e-3),
        ("Q8_0", 7, Type::Q8_0, 6e-3),
        ("Q6_K", 18, Type::Q6_K, 0.025),
        ("Q5_K", 16, Type::Q5_K, 0.05),
        ("Q5_K_M", 17, Type::Q5_K, 0.05),
        ("Q5_0", 8, Type::Q5_0, 0.05),
        ("Q5_1", 9, Type::Q5_1, 0.04),
        ("Q4_K", 14, Type::Q4_K, 0.09),
        ("Q4_K_M", 15, Type::Q4_K, 0.09),
        ("Q4_0", 2, Type::Q4_0, 0.1),
        ("Q4_1", 3, Type::Q4_1, 0.08),
    ];
    assert_eq!(Recipe::all().count(), recipes.len());
    for (name, number, ty, limit) in recipes {
        let made = to(&model, &dir.0.join("made.gguf"), &name.to_lowercase(), &runtime).unwrap();
        assert_eq!(made.u32("general.file_type").unwrap(), Some(number));
        assert_eq!(made.get("split.count"), None, "it is one file now");
        let names = |file: &Gguf| file.tensors().iter().map(|t| file.tensor_name(t).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&made), names(&model), "in the same order");
        assert_eq!(made.tensor("blk.3.attn_q.weight").unwrap().ty, ty, "{name}");
        for same in ["attn_norm.weight", "attn_q.bias", "ffn_gate_inp.weight"].map(|n| format!("blk.2.{n}")) {
            let of = |file: &Gguf| (file.tensor(&same).unwrap().ty, file.data(file.tensor(&same).unwrap()).to_vec());
            assert!(of(&made) == of(&model), "{name}: {same}");
        }
        assert_eq!(made.tensor("output_norm.weight").unwrap().ty, Type::F32);
        let odd = if ty.is_quantized() { Type::F16 } else { ty };
        assert_eq!(made.tensor("blk.3.odd.weight").unwrap().ty, odd, "{name}");
        for tensor in
            ["blk.3.attn_q.weight", "blk.3.ffn_down.weight", "blk.2.ffn_down_exps.weight", "token_embd.weight"]
        {
            let error = rmse(&model, &made, tensor, &runtime);
            assert!(error <= limit, "{name}: {tensor} is off by {error}");
        }
        let error = rmse(&model, &made, "blk.3.attn_q.weight", &runtime);
        assert!(error > limit / 8.0 || limit == 0.0, "{name}: the limit {limit} is too wide for {error}");
    }
}

#[test]
fn mixes_give_more_bits_to_what_matters() {
    let dir = Dir::new("mixes");
    let runtime = Runtime::new(1, None).unwrap();
    for tied in [true, false] {
        let model = model(tied);
        let made = to(&model, &dir.0.join("made.gguf"), "Q4_K_M", &runtime).unwrap();
        let ty = |name: &str| made.tensor(name).unwrap().ty;
        // Of 16 layers the first and last two, and each third of those between.
        let more = [0, 1, 4, 7, 10, 13, 14, 15];
        for i in 0..LAYERS {
            let (high, low) = if more.contains(&i) { (Type::Q6_K, Type::Q8_0) } else { (Type::Q4_K, Type::Q5_0) };
            assert_eq!(ty(&format!("blk.{i}.attn_v.weight")), high, "layer {i}");
            assert_eq!(ty(&format!("blk.{i}.ffn_down_exps.weight")), high, "layer {i}");
            assert_eq!(ty(&format!("blk.{i}.ffn_down.weight")), low, "layer {i}: rows of 96 take blocks of 32");
            assert_eq!(ty(&format!("blk.{i}.attn_q.weight")), Type::Q4_K);
        }
        assert_eq!(ty("token_embd.weight"), if tied { Type::Q6_K } else { Type::Q4_K });
        assert!(tied || ty("output.weight") == Type::Q6_K);
        let made = to(&model, &dir.0.join("made.gguf"), "Q8_0", &runtime).unwrap();
        assert_eq!(made.tensor("token_embd.weight").unwrap().ty, Type::Q8_0, "no head is smaller or larger than asked");
    }
}

#[test]
fn the_bits_do_not_depend_on_threads_or_level() {
    let dir = Dir::new("threads");
    let model = model(false);
    for recipe in ["Q8_0", "Q4_K_M"] {
        let mut first: Option<Vec<u8>> = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for threads in 1..=3 {
                let runtime = Runtime::new(threads, Some(isa)).unwrap();
                let path = dir.0.join("made.gguf");
                to(&model, &path, recipe, &runtime).unwrap();
                let bytes = std::fs::read(&path).unwrap();
                assert!(*first.get_or_insert(bytes.clone()) == bytes, "{recipe}, {threads} threads, {}", isa.name());
            }
        }
    }
}

#[test]
fn memory_does_not_grow_with_the_model() {
    let dir = Dir::new("memory");
    let runtime = Runtime::new(2, None).unwrap();
    let mut w = Writer::new();
    w.put("general.architecture", "llama").unwrap().tensor("token_embd.weight", Type::F32, &[1024, 20480]).unwrap();
    let path = dir.file("large.gguf", &small::finish(w));
    let model = Gguf::open(&path).unwrap();
    let recipe = Recipe::from_name("Q8_0").unwrap();
    let made = dir.0.join("made.gguf");
    let (result, bytes) = peak(|| quantize(&model, &made, recipe, &runtime, &mut |_| true));
    result.unwrap();
    assert!(bytes < 16 << 20, "{bytes} bytes for a tensor of 80 MB");
    assert!(rmse(&model, &Gguf::open(&made).unwrap(), "token_embd.weight", &runtime) < 6e-3);
}

#[test]
fn a_file_may_be_rewritten_in_place_and_again() {
    let dir = Dir::new("in-place");
    let runtime = Runtime::new(1, None).unwrap();
    let path = dir.file("m.gguf", &small::bytes());
    let model = Gguf::open(&path).unwrap();
    let made = to(&model, &path, "F16", &runtime).unwrap();
    assert_eq!(made.tensor("blk.0.attn_q.weight").unwrap().ty, Type::F16);
    assert_eq!(model.check_unchanged().err().map(|e| e.code()), Some(Code::FileChanged));
    let wide = to(&made, &dir.0.join("wide.gguf"), "F32", &runtime).unwrap();
    assert!(rmse(&model, &wide, "blk.0.attn_q.weight", &runtime) < 4e-4);

    let made = Gguf::open(&path).unwrap();
    let recipe = Recipe::from_name("Q8_0").unwrap();
    let error = quantize(&made, &path, recipe, &runtime, &mut |p| p.done < p.total / 2).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    made.check_unchanged().expect("cancelled, the old file stays");
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 2);
    assert!(Recipe::from_name("Q9_Z").is_none());
}
