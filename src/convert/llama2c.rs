//! Checkpoints of llama2.c, version 0: seven numbers, then all weights in f32, and a tokenizer in a file of its own.
//!
//! Its attention turns neighbouring elements (2i, 2i + 1), as `llama` does in GGUF, so weights are taken as they lie.

use std::path::Path;

use super::{Data, OnProgress, Tensor, save};
use crate::Type;
use crate::error::{Result, fail};
use crate::gguf::Writer;
use crate::memory::map::Map;

/// Bytes before the weights.
const HEADER: usize = 7 * 4;

struct Shape {
    dim: u64,
    hidden: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    vocab: u64,
    seq_len: u64,
    /// The head is the embedding.
    tied: bool,
}

pub(super) fn convert(input: &Path, output: &Path, progress: OnProgress) -> Result<()> {
    let name = input.display().to_string();
    let map = Map::open(input)?;
    let shape = Shape::read(&map, &name)?;
    let tensors = tensors(&map, &shape, &name)?;
    let tokenizer = input.with_file_name("tokenizer.bin");
    let vocabulary = match Map::open(&tokenizer) {
        Ok(map) => Vocabulary::read(&map, shape.vocab as usize, &tokenizer.display().to_string())?,
        Err(e) => return Err(e.context(format_args!("the tokenizer of {name}"))),
    };
    let mut w = Writer::new();
    let title = input.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default();
    w.put("general.architecture", "llama")?.put("general.name", &*title)?.put("general.file_type", 0u32)?;
    w.put("llama.context_length", shape.seq_len as u32)?.put("llama.embedding_length", shape.dim as u32)?;
    w.put("llama.block_count", shape.layers as u32)?.put("llama.feed_forward_length", shape.hidden as u32)?;
    w.put("llama.attention.head_count", shape.heads as u32)?;
    w.put("llama.attention.head_count_kv", shape.kv_heads as u32)?;
    w.put("llama.rope.dimension_count", (shape.dim / shape.heads) as u32)?.put("llama.rope.freq_base", 10000f32)?;
    w.put("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?.put("llama.vocab_size", shape.vocab as u32)?;
    vocabulary.put(&mut w)?;
    save(w, &tensors, output, progress)
}

impl Shape {
    fn read(bytes: &[u8], file: &str) -> Result<Shape> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            fail!(Format, "{file}: has {} bytes, fewer than the header of a llama2.c checkpoint", bytes.len());
        };
        let mut numbers = [0i64; 7];
        for (n, b) in numbers.iter_mut().zip(header.chunks_exact(4)) {
            *n = i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        }
        match header {
            [b'G', b'G', b'U', b'F', ..] => {
                fail!(InvalidArgument, "{file}: is a GGUF file already; `quantize` changes its storage type")
            }
            [b'2', b'4', b'k', b'a', ..] => fail!(
                Unsupported,
                "{file}: is a llama2.c checkpoint of version {}; only version 0 is read: export it again",
                numbers[1]
            ),
            _ => {}
        }
        let [dim, hidden, layers, heads, kv_heads, vocab, seq_len] = numbers;
        let tied = vocab > 0;
        let vocab = vocab.abs();
        let small = |n: i64, most: i64| (1..=most).contains(&n);
        if !(small(dim, 1 << 20)
            && small(hidden, 1 << 24)
            && small(layers, 1 << 12)
            && small(heads, dim)
            && small(kv_heads, heads)
            && small(vocab, 1 << 24)
            && small(seq_len, 1 << 24)
            && dim % heads == 0
            && heads % kv_heads == 0
            && (dim / heads) % 2 == 0)
        {
            fail!(
                Unsupported,
                "{file}: is neither a directory of safetensors nor a llama2.c checkpoint; as the latter it would have width \
                 {dim}, feed-forward width {hidden}, {layers} layers, {heads} heads, {kv_heads} for keys, {vocab} tokens and \
                 {seq_len} positions"
            );
        }
        let u = |n: i64| n as u64; // positive
        Ok(Shape {
            dim: u(dim),
            hidden: u(hidden),
            layers: u(layers),
            heads: u(heads),
            kv_heads: u(kv_heads),
            vocab: u(vocab),
            seq_len: u(seq_len),
            tied,
        })
    }
}

/// All tensors, as slices of the checkpoint. There each kind lies for all layers in a row.
fn tensors<'a>(bytes: &'a [u8], s: &Shape, file: &str) -> Result<Vec<Tensor<'a>>> {
    let (d, kv, l) = (s.dim, s.dim / s.heads * s.kv_heads, s.layers as usize);
    // Kind, dimensions of one tensor, how many.
    let parts: [(&str, &[u64], usize); 13] = [
        ("token_embd", &[d, s.vocab], 1),
        ("attn_norm", &[d], l),
        ("attn_q", &[d, d], l),
        ("attn_k", &[d, kv], l),
        ("attn_v", &[d, kv], l),
        ("attn_output", &[d, d], l),
        ("ffn_norm", &[d], l),
        ("ffn_gate", &[d, s.hidden], l),
        ("ffn_down", &[s.hidden, d], l),
        ("ffn_up", &[d, s.hidden], l),
        ("output_norm", &[d], 1),
        // Two tables of angles that nobody needs.
        ("", &[s.seq_len, d / s.heads], 1),
        ("output", &[d, s.vocab], usize::from(!s.tied)),
    ];
    let size = |dims: &[u64]| dims.iter().product::<u64>() * 4; // at most 2^46
    let need: u64 = HEADER as u64 + parts.iter().map(|(_, dims, n)| size(dims) * *n as u64).sum::<u64>();
    if bytes.len() as u64 != need {
        fail!(
            Format,
            "{file}: has {} bytes, but a llama2.c checkpoint of its sizes has {need}: it is damaged, cut short, or something \
             else",
            bytes.len()
        );
    }
    let mut at = HEADER;
    let mut found = Vec::new();
    for (part, (kind, dims, n)) in parts.into_iter().enumerate() {
        let size = size(dims) as usize; // it is in the file
        for i in 0..n {
            let data = bytes.get(at..at + size).unwrap_or_default();
            at += size;
            if !kind.is_empty() {
                let name =
                    if (1..10).contains(&part) { format!("blk.{i}.{kind}.weight") } else { format!("{kind}.weight") };
                found.push((
                    i,
                    part,
                    Tensor { name, ty: Type::F32, dims: dims.to_vec(), data: Data::Bytes(data.into()) },
                ));
            }
        }
    }
    // Layer by layer, between embedding and head.
    let place = |part: usize, i: usize| match part {
        0 => 0,
        1..10 => 1 + i,
        _ => 1 + l,
    };
    found.sort_by_key(|(i, part, _)| (place(*part, *i), *part));
    Ok(found.into_iter().map(|(_, _, tensor)| tensor).collect())
}

struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    scores: Vec<f32>,
    types: Vec<i32>,
}

impl Vocabulary {
    /// Greatest length of a token, then for each its score, length and bytes. Pieces of SentencePiece, with spaces for
    /// its U+2581; the ids 3 to 258 are the bytes, either raw or written `<0x0A>`.
    fn read(bytes: &[u8], vocab: usize, file: &str) -> Result<Vocabulary> {
        let mut v = Vocabulary { tokens: Vec::new(), scores: Vec::new(), types: Vec::new() };
        let mut rest = bytes.get(4..).unwrap_or_default();
        let mut next = |n: usize, id: usize| -> Result<&[u8]> {
            let Some((taken, left)) = rest.split_at_checked(n) else {
                fail!(
                    Format,
                    "{file}: ends within token {id} of {vocab}: it is cut short, or of a model with another vocabulary"
                );
            };
            rest = left;
            Ok(taken)
        };
        for id in 0..vocab {
            let mut number = || next(4, id).map(|b| [b[0], b[1], b[2], b[3]]);
            let score = f32::from_le_bytes(number()?);
            let len = i32::from_le_bytes(number()?);
            let Ok(len) = usize::try_from(len) else {
                fail!(Format, "{file}: token {id} has the length {len}: it is no tokenizer of llama2.c");
            };
            let (token, ty) = piece(next(len, id)?, id);
            v.tokens.push(token);
            v.scores.push(score);
            v.types.push(ty);
        }
        if !rest.is_empty() {
            fail!(
                Format,
                "{file}: has {} bytes behind the {vocab} tokens of the model: it is of a model with another vocabulary",
                rest.len()
            );
        }
        Ok(v)
    }

    fn put(&self, w: &mut Writer) -> Result<()> {
        w.put("tokenizer.ggml.model", "llama")?.put("tokenizer.ggml.pre", "default")?;
        w.put_strings("tokenizer.ggml.tokens", &self.tokens)?;
        w.put("tokenizer.ggml.scores", &self.scores[..])?.put("tokenizer.ggml.token_type", &self.types[..])?;
        w.put("tokenizer.ggml.bos_token_id", 1u32)?.put("tokenizer.ggml.eos_token_id", 2u32)?;
        w.put("tokenizer.ggml.unknown_token_id", 0u32)?.put("tokenizer.ggml.add_bos_token", true)?;
        w.put("tokenizer.ggml.add_space_prefix", true)?;
        Ok(())
    }
}

/// A token's text and type in GGUF.
fn piece(bytes: &[u8], id: usize) -> (Vec<u8>, i32) {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    match id {
        0 => return (b"<unk>".to_vec(), UNKNOWN),
        1 => return (b"<s>".to_vec(), CONTROL),
        2 => return (b"</s>".to_vec(), CONTROL),
        3..259 => {
            let byte = (id - 3) as u8;
            let name = format!("<0x{byte:02X}>").into_bytes();
            // Some writers of tokenizer.bin took the byte for a character and encoded that.
            let character = char::from(byte).to_string();
            if bytes == [byte] || bytes == name || bytes == character.as_bytes() {
                return (name, BYTE);
            }
        }
        _ => {}
    }
    let mut text = Vec::with_capacity(bytes.len() + 2);
    for &b in bytes {
        if b == b' ' { text.extend("\u{2581}".as_bytes()) } else { text.push(b) }
    }
    (text, NORMAL)
}

#[cfg(test)]
mod tests {
    use super::piece;

    #[test]
    fn raw_bytes_and_spaces_are_written_as_gguf_has_them() {
        assert_eq!(piece(b"\n<s>\n", 1), (b"<s>".to_vec(), 3));
        assert_eq!(piece(b"\x0a", 13), (b"<0x0A>".to_vec(), 6));
        assert_eq!(piece(b" ", 35), (b"<0x20>".to_vec(), 6));
        assert_eq!(piece(b"\xff", 258), (b"<0xFF>".to_vec(), 6));
        assert_eq!(piece("\u{80}".as_bytes(), 131), (b"<0x80>".to_vec(), 6));
        assert_eq!(piece(b"<0x0A>", 13), (b"<0x0A>".to_vec(), 6));
        assert_eq!(piece(b" a", 263), ("\u{2581}a".as_bytes().to_vec(), 1));
        assert_eq!(piece(b" ", 300), ("\u{2581}".as_bytes().to_vec(), 1));
    }
}
