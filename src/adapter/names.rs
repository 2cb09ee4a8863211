//! The names of matrices in Hugging Face's models, and in GGUF.

/// In a layer: the module, and the tensor's stem.
const LAYER: [(&str, &str); 12] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // Phi-3 has gate and up in one.
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
];

/// Of one expert: the places where experts stand, and the names of the three matrices there.
const EXPERTS: [(&str, [&str; 3]); 2] =
    [("mlp.experts", ["gate_proj", "up_proj", "down_proj"]), ("block_sparse_moe.experts", ["w1", "w3", "w2"])];

/// The stems of the same three in GGUF, all experts in one tensor.
const STEMS: [&str; 3] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"];

/// The tensor of a module, and which expert's it is; `module` as in `model.layers.0.self_attn.q_proj`.
pub(super) fn tensor(module: &str) -> Option<(String, Option<usize>)> {
    if module == "lm_head" {
        return Some(("output.weight".into(), None));
    }
    let (layer, inner) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let name = |stem: &str| format!("blk.{layer}.{stem}.weight");
    if let Some((_, stem)) = LAYER.iter().find(|(module, _)| *module == inner) {
        return Some((name(stem), None));
    }
    EXPERTS.iter().find_map(|(place, parts)| {
        let (expert, part) = inner.strip_prefix(place)?.strip_prefix('.')?.split_once('.')?;
        let at = parts.iter().position(|p| *p == part)?;
        Some((name(STEMS[at]), Some(expert.parse().ok()?)))
    })
}

/// The module of a tensor, in a model of that architecture.
pub(super) fn module(tensor: &str, expert: usize, arch: &str) -> Option<String> {
    if tensor == "output.weight" {
        return Some("lm_head".into());
    }
    let (layer, stem) = tensor.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    if let Some(at) = STEMS.iter().position(|s| *s == stem) {
        let (place, parts) = EXPERTS[usize::from(arch == "llama")];
        return Some(format!("model.layers.{layer}.{place}.{expert}.{}", parts[at]));
    }
    let stands = |module: &str| (module == "mlp.gate_up_proj") == (arch == "phi3" && stem == "ffn_up");
    let (module, _) = LAYER.iter().find(|(module, s)| *s == stem && stands(module))?;
    Some(format!("model.layers.{layer}.{module}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for (module_name, arch, expected) in [
            ("model.layers.0.self_attn.q_proj", "llama", ("blk.0.attn_q.weight", None)),
            ("model.layers.31.mlp.down_proj", "qwen2", ("blk.31.ffn_down.weight", None)),
            ("model.layers.2.mlp.up_proj", "gemma2", ("blk.2.ffn_up.weight", None)),
            ("model.layers.2.mlp.gate_up_proj", "phi3", ("blk.2.ffn_up.weight", None)),
            ("model.layers.7.mlp.experts.12.up_proj", "qwen3moe", ("blk.7.ffn_up_exps.weight", Some(12))),
            ("model.layers.7.block_sparse_moe.experts.3.w2", "llama", ("blk.7.ffn_down_exps.weight", Some(3))),
            ("lm_head", "llama", ("output.weight", None)),
        ] {
            let (name, expert) = tensor(module_name).unwrap();
            assert_eq!((name.as_str(), expert), expected);
            assert_eq!(module(&name, expert.unwrap_or(0), arch).unwrap(), module_name);
        }
        for bad in ["model.embed_tokens", "model.layers.x.self_attn.q_proj", "model.layers.0.mlp.gate", "q_proj", ""] {
            assert!(tensor(bad).is_none(), "{bad}");
        }
        for bad in ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q", "blk..attn_q.weight"] {
            assert!(module(bad, 0, "llama").is_none(), "{bad}");
        }
    }
}
