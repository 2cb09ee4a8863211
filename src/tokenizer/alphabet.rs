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

/// By byte, its character.
const CHARS: [u16; 256] = {
    let mut table = [0; 256];
    let mut c = 0;
    while c < BYTES.len() {
        if BYTES[c] >= 0 {
            table[BYTES[c] as usize] = c as u16;
        }
        c += 1;
    }
    table
};

/// The UTF-8 of the character of `byte`, in `buffer`. All of the alphabet is below U+0800: one byte or two.
pub(super) fn encode_byte(byte: u8, buffer: &mut [u8; 2]) -> &[u8] {
    let c = CHARS[byte as usize];
    if c < 0x80 {
        buffer[0] = c as u8;
        return &buffer[..1];
    }
    *buffer = [0xc0 | (c >> 6) as u8, 0x80 | (c & 0x3f) as u8];
    buffer
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
        for b in 0..=255 {
            let text = encode_byte(b, &mut [0; 2]).to_vec();
            assert_eq!(str::from_utf8(&text).map(|t| byte_of(t.chars().next().unwrap())), Ok(Some(b)));
        }
    }
}
