//! A context's sequences as bytes: saved, and restored into a context of the same shape.
//!
//! Layout, little-endian: magic, version, fingerprint of model and cache, 8 bytes that tell what the model ran with apart (adapters with their
//! weights, trained values), `n_seqs` lengths, the tokens of each sequence, then for each attention layer the keys and the values of
//! each sequence's heads up to its length, `[position][head_dim]` as stored, then a CRC-32 of all before it. How the cache lays out
//! its blocks is not part of it.

use super::context::Context;
use crate::error::{Result, fail};
use qorus_kernels::{ATTEND_BLOCK, Type, load_key, store_key};

const MAGIC: [u8; 8] = *b"QORUSKV\x03";

/// Bytes before the lengths.
const HEAD: usize = MAGIC.len() + 4 + 8;

impl Context {
    /// The bytes [`Context::save`] writes.
    pub fn state_bytes(&self) -> usize {
        let rows: usize = self.lens.iter().map(|&len| len as usize).sum();
        let per_row = |slot: &crate::layers::CacheSlot| 2 * slot.shape.n_kv * slot.shape.row_bytes().unwrap_or(0);
        let cache: usize = self.layout.slots.iter().map(|slot| rows * per_row(slot)).sum();
        HEAD + 4 * self.lens.len() + 4 * rows + cache + 4
    }

    /// Writes the sequences to `out` and says how many bytes. `BufferTooSmall` names the need.
    pub fn save(&mut self, out: &mut [u8]) -> Result<usize> {
        let need = self.state_bytes();
        if out.len() < need {
            fail!(BufferTooSmall, "the state takes {need} bytes, the buffer has {}", out.len());
        }
        let (fingerprint, digest) = (self.fingerprint(), self.digest());
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&fingerprint.to_le_bytes());
        put(&digest);
        self.lens.iter().for_each(|len| put(&len.to_le_bytes()));
        (0..self.lens.len()).flat_map(|seq| self.tokens(seq)).for_each(|token| put(&token.to_le_bytes()));
        each_row(&self.layout.slots, &self.lens, self.cache.bytes_mut(), |row| {
            let out = &mut out[at..at + row.len];
            match row.key {
                Some((ty, j)) => load_key(ty, row.bytes, j, out),
                None => out.copy_from_slice(row.bytes),
            }
            at += row.len;
        });
        let crc = crc32fast::hash(&out[..at]);
        out[at..need].copy_from_slice(&crc.to_le_bytes());
        Ok(need)
    }

    /// Replaces the sequences by saved ones. On any error they are as before.
    ///
    /// Errors: `Format` for what is damaged or of another model or shape; `State` for what was saved with other adapters, other weights
    /// of them or other trained values than the context runs with now; `ContextFull`.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        let head = HEAD + 4 * self.lens.len();
        let (magic, version) = (&MAGIC[..7], MAGIC[7]);
        if state.len() < head + 4 || !state.starts_with(magic) {
            fail!(Format, "these {} bytes are not a saved state", state.len());
        }
        if state[7] != version {
            fail!(Format, "the saved state is of version {}, this reads {version}: compute it again", state[7]);
        }
        let (body, crc) = state.split_at(state.len() - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            fail!(Format, "the saved state is damaged: its checksum does not match");
        }
        let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if word(MAGIC.len()) != self.fingerprint() {
            fail!(Format, "the saved state is of another model, or of a context of another shape");
        }
        if body[MAGIC.len() + 4..HEAD] != self.digest() {
            fail!(
                State,
                "the saved state was computed with other adapters, other weights of them or other trained values than the context's \
                 (it runs with {} adapters now): attach what was attached then, in that order, and restore after that",
                self.adapters().len()
            );
        }
        let lens = |i: usize| word(HEAD + 4 * i);
        let n_ctx = self.layout.params.n_ctx;
        if (0..self.lens.len()).any(|i| lens(i) as usize > n_ctx) {
            fail!(ContextFull, "a saved sequence is longer than the context of {n_ctx}");
        }
        let rows: usize = (0..self.lens.len()).map(|i| lens(i) as usize).sum();
        let per_row = |slot: &crate::layers::CacheSlot| 2 * slot.shape.n_kv * slot.shape.row_bytes().unwrap_or(0);
        if body.len() - head != 4 * rows + self.layout.slots.iter().map(|slot| rows * per_row(slot)).sum::<usize>() {
            fail!(Format, "the saved state has {} bytes, not what its lengths say", state.len());
        }
        let (tokens, mut rest) = body[head..].split_at(4 * rows);
        let mut tokens = tokens.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let vocab = self.model.graph.vocab().max(1); // rows stand for token 0
        if let Some(id) = tokens.clone().find(|&id| id as usize >= vocab) {
            fail!(Format, "the saved state has token {id}, the vocabulary {vocab}");
        }
        (0..self.lens.len()).for_each(|i| self.lens[i] = lens(i));
        for seq in 0..self.lens.len() {
            let len = self.lens[seq] as usize;
            self.texts_mut()[seq * n_ctx..][..len].iter_mut().zip(&mut tokens).for_each(|(to, token)| *to = token);
        }
        each_row(&self.layout.slots, &self.lens, self.cache.bytes_mut(), |row| {
            let (from, left) = rest.split_at(row.len);
            match row.key {
                Some((ty, j)) => store_key(ty, from, row.bytes, j),
                None => row.bytes.copy_from_slice(from),
            }
            rest = left;
        });
        Ok(())
    }

    /// Tells models and cache shapes apart; not the number of positions, so a state fits a longer context.
    fn fingerprint(&self) -> u32 {
        let mut h = crc32fast::Hasher::new();
        h.update(self.model.graph.arch.as_bytes());
        let mut number = |n: usize| h.update(&(n as u64).to_le_bytes());
        number(self.model.graph.out_width());
        number(self.model.gguf.as_ref().map_or(0, |g| g.file_bytes() as usize));
        number(self.layout.params.kv.id() as usize);
        number(self.lens.len());
        for slot in &self.layout.slots {
            number(slot.shape.n_kv);
            number(slot.shape.head_dim);
        }
        h.finalize()
    }

    /// Tells apart what the model runs with: the numbers and the weight of each adapter that does anything, in their order, and trained
    /// values.
    fn digest(&self) -> [u8; 8] {
        let mut h = blake3::Hasher::new();
        for attached in self.adapters().iter().filter(|attached| attached.weight != 0.0) {
            h.update(&attached.adapter.digest());
            h.update(&attached.weight.to_le_bytes());
        }
        #[cfg(feature = "train")]
        if let Some(snapshot) = self.snapshot() {
            h.update(&snapshot.digest());
        }
        let mut digest = [0; 8];
        h.finalize_xof().fill(&mut digest);
        digest
    }
}

/// A position's key or value of one head.
struct Row<'a> {
    /// Of a key: its type, and which of the block it is.
    key: Option<(Type, usize)>,
    /// The key's block, or the value itself.
    bytes: &'a mut [u8],
    /// Bytes it is stored in.
    len: usize,
}

/// Calls `f` with the keys and values of the filled part of each head, in the order of the file.
fn each_row(slots: &[crate::layers::CacheSlot], lens: &[u32], cache: &mut [u8], mut f: impl FnMut(Row)) {
    for slot in slots {
        let (keys, values) = slot.split(cache);
        let (shape, row_bytes) = (&slot.shape, slot.shape.row_bytes().unwrap_or(0));
        for (part, keys) in [(keys, true), (values, false)] {
            for (seq, &len) in lens.iter().enumerate() {
                for head in 0..shape.n_kv {
                    let blocks = &mut part[shape.blocks(seq, head, len as usize)];
                    for pos in 0..len as usize {
                        let (block, j) = (pos / ATTEND_BLOCK * shape.block_bytes(), pos % ATTEND_BLOCK);
                        f(match keys {
                            true => {
                                let bytes = &mut blocks[block..block + shape.block_bytes()];
                                Row { key: Some((shape.ty, j)), bytes, len: row_bytes }
                            }
                            false => {
                                let bytes = &mut blocks[pos * row_bytes..][..row_bytes];
                                Row { key: None, bytes, len: row_bytes }
                            }
                        });
                    }
                }
            }
        }
    }
}
