//! A context's sequences as bytes: saved, and restored into a context of the same shape.
//!
//! Layout, little-endian: magic, version, fingerprint of model and cache, `n_seqs` lengths, then for each attention layer
//! the keys and the values of each sequence's heads up to its length, then a CRC-32 of all before it.

use super::context::Context;
use crate::error::{Result, fail};

const MAGIC: [u8; 8] = *b"QORUSKV\x01";

impl Context {
    /// The bytes [`Context::save`] writes.
    pub fn state_bytes(&self) -> usize {
        let rows: usize = self.lens.iter().map(|&len| len as usize).sum();
        let per_row = |slot: &crate::layers::CacheSlot| 2 * slot.shape.n_kv * slot.shape.row_bytes().unwrap_or(0);
        let cache: usize = self.layout.slots.iter().map(|slot| rows * per_row(slot)).sum();
        MAGIC.len() + 4 + 4 * self.lens.len() + cache + 4
    }

    /// Writes the sequences to `out` and says how many bytes. `BufferTooSmall` names the need.
    pub fn save(&mut self, out: &mut [u8]) -> Result<usize> {
        let need = self.state_bytes();
        if out.len() < need {
            fail!(BufferTooSmall, "the state takes {need} bytes, the buffer has {}", out.len());
        }
        let fingerprint = self.fingerprint();
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&fingerprint.to_le_bytes());
        self.lens.iter().for_each(|len| put(&len.to_le_bytes()));
        each_row(&self.layout.slots, &self.lens, self.cache.bytes_mut(), |rows| put(rows));
        let crc = crc32fast::hash(&out[..at]);
        out[at..need].copy_from_slice(&crc.to_le_bytes());
        Ok(need)
    }

    /// Replaces the sequences by saved ones. On any error they are as before.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        let head = MAGIC.len() + 4 + 4 * self.lens.len();
        if state.len() < head + 4 || state[..MAGIC.len()] != MAGIC {
            fail!(Format, "these {} bytes are not a saved state", state.len());
        }
        let (body, crc) = state.split_at(state.len() - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            fail!(Format, "the saved state is damaged: its checksum does not match");
        }
        let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if word(MAGIC.len()) != self.fingerprint() {
            fail!(Format, "the saved state is of another model, or of a context of another shape");
        }
        let lens = |i: usize| word(MAGIC.len() + 4 + 4 * i);
        let n_ctx = self.layout.params.n_ctx;
        if (0..self.lens.len()).any(|i| lens(i) as usize > n_ctx) {
            fail!(ContextFull, "a saved sequence is longer than the context of {n_ctx}");
        }
        let rows: usize = (0..self.lens.len()).map(|i| lens(i) as usize).sum();
        let per_row = |slot: &crate::layers::CacheSlot| 2 * slot.shape.n_kv * slot.shape.row_bytes().unwrap_or(0);
        if body.len() - head != self.layout.slots.iter().map(|slot| rows * per_row(slot)).sum::<usize>() {
            fail!(Format, "the saved state has {} bytes, not what its lengths say", state.len());
        }
        (0..self.lens.len()).for_each(|i| self.lens[i] = lens(i));
        let mut rest = &body[head..];
        each_row(&self.layout.slots, &self.lens, self.cache.bytes_mut(), |rows| {
            let (from, left) = rest.split_at(rows.len());
            rows.copy_from_slice(from);
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
}

/// Calls `f` with the filled part of each head's keys and values, in the order of the file.
fn each_row(slots: &[crate::layers::CacheSlot], lens: &[u32], cache: &mut [u8], mut f: impl FnMut(&mut [u8])) {
    for slot in slots {
        let (keys, values) = slot.split(cache);
        for part in [keys, values] {
            for (seq, &len) in lens.iter().enumerate() {
                for head in 0..slot.shape.n_kv {
                    f(&mut part[slot.shape.offset(seq, head, 0)..slot.shape.offset(seq, head, len as usize)]);
                }
            }
        }
    }
}
