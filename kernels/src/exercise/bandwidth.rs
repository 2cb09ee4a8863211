//! How fast one thread can read: the limit of what streams weights.

use crate::Isa;

/// Reads all whole lines of `bytes` once, with the widest loads of the level, and returns something that depends on
/// all of them. A level that this CPU lacks reads as the scalar one.
pub fn read(isa: Isa, bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if isa.available() {
        match isa {
            Isa::Scalar => {}
            // SAFETY: the CPU has the level.
            Isa::Avx2 | Isa::AvxVnni => return unsafe { avx2(bytes) },
            // SAFETY: as above.
            Isa::Avx512 | Isa::Avx512Bf16 => return unsafe { avx512(bytes) },
        }
    }
    lines(bytes)
}

/// A sum over the bytes as integers, in lanes, so that reading is all it waits for.
#[inline(always)]
fn lines(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 32];
    for line in bytes.as_chunks::<256>().0 {
        for (lane, word) in lanes.iter_mut().zip(line.as_chunks::<8>().0) {
            *lane ^= u64::from_le_bytes(*word);
        }
    }
    lanes.iter().fold(0, |sum, lane| sum ^ lane)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(bytes: &[u8]) -> u64 {
    lines(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(bytes: &[u8]) -> u64 {
    lines(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_everything() {
        let mut bytes = vec![0u8; 4096];
        for at in (0..4096).step_by(7) {
            bytes[at] = 1 << (at % 8);
            let expected = lines(&bytes);
            assert!(Isa::ALL.iter().all(|&isa| read(isa, &bytes) == expected));
            bytes[at] ^= 0xff;
            assert_ne!(lines(&bytes), expected);
        }
    }
}
