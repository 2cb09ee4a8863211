//! GGUF files from their first byte on, for what no writer writes.

/// A file from its first byte on, for what no writer writes.
pub struct Raw(pub Vec<u8>);

impl Raw {
    pub fn new(version: u32, tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }

    pub fn u32(mut self, v: u32) -> Raw {
        self.0.extend(v.to_le_bytes());
        self
    }

    pub fn u64(mut self, v: u64) -> Raw {
        self.0.extend(v.to_le_bytes());
        self
    }

    pub fn bytes(mut self, v: &[u8]) -> Raw {
        self.0.extend(v);
        self
    }

    pub fn string(self, s: &str) -> Raw {
        self.u64(s.len() as u64).bytes(s.as_bytes())
    }

    pub fn tensor(self, name: &str, ty: u32, dims: &[u64], offset: u64) -> Raw {
        let this = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(this, |this, &d| this.u64(d)).u32(ty).u64(offset)
    }

    /// Zeros up to `n` bytes.
    pub fn fill(mut self, n: usize) -> Vec<u8> {
        self.0.resize(n.max(self.0.len()), 0);
        self.0
    }
}
