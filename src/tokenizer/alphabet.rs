//! The alphabet of byte-level BPE (GPT-2): each byte is written as one printable character, so that a vocabulary is
//! valid UTF-8 text. Bytes that print stand for themselves; the other 68 are U+0100 and up, in order.

/// The byte that `c` stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    BYTES.get(c as usize).copied().filter(|&b| b >= 0).map(|b| b as u8)
}

const fn prints(byte: u32) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// By character, its byte or -1.
const BYTES: [i16; 256 + 68] = {
    let mut table = [-1; 256 + 68];
    let mut next = 256;
    let mut byte = 0;
    while byte < 256 {
        if prints(byte) {
            table[byte as usize] = byte as i16;
        } else {
            table[next] = byte as i16;
            next += 1;
        }
        byte += 1;
    }
    table
};

/// The bytes that the text `token` stands for, by its character; `None` for a character outside the alphabet.
pub(super) fn bytes(token: &str) -> impl Iterator<Item = Option<u8>> {
    token.chars().map(byte_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_bijection_with_known_members() {
        let mut seen = [false; 256];
        for c in '\0'..'\u{200}' {
            if let Some(b) = byte_of(c) {
                assert!(!std::mem::replace(&mut seen[b as usize], true), "{b} twice");
            }
        }
        assert!(seen.iter().all(|&s| s));
        assert_eq!(
            (byte_of('Ġ'), byte_of('Ċ'), byte_of('A'), byte_of(' ')),
            (Some(b' '), Some(b'\n'), Some(b'A'), None)
        );
        assert!(bytes("Ġaé").eq([Some(b' '), Some(b'a'), Some(0xe9)]));
    }
}
