//! What pre-tokenizers ask of a character: whether it is a letter, a number, punctuation, a symbol, a mark or white
//! space (the general categories L, N, P, S, M and the property White_Space of Unicode 15.1).

use super::unicode_table::RUNS;

/// The class of a character. White space is a class of its own; no letter, number, mark, symbol or punctuation is white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Other,
    Letter,
    Number,
    Punctuation,
    Symbol,
    Mark,
    White,
}

impl Class {
    const fn of_run(run: u32) -> Class {
        match run & 7 {
            1 => Class::Letter,
            2 => Class::Number,
            3 => Class::Punctuation,
            4 => Class::Symbol,
            5 => Class::Mark,
            6 => Class::White,
            _ => Class::Other,
        }
    }
}

const ASCII: [Class; 128] = {
    let mut table = [Class::Other; 128];
    let mut run = 0;
    let mut c = 0;
    while c < 128 {
        while RUNS[run + 1] >> 3 <= c {
            run += 1;
        }
        table[c as usize] = Class::of_run(RUNS[run]);
        c += 1;
    }
    table
};

/// The class of `c`.
pub(super) fn class(c: char) -> Class {
    let c = c as u32;
    if let Some(&class) = ASCII.get(c as usize) {
        return class;
    }
    // The last run that begins at or before `c`: a run's low bits are its class, so compare with the end of `c`.
    let after = RUNS.partition_point(|&run| run <= c << 3 | 7);
    Class::of_run(RUNS[after - 1])
}

pub(super) fn is_letter(c: char) -> bool {
    class(c) == Class::Letter
}

pub(super) fn is_number(c: char) -> bool {
    class(c) == Class::Number
}

pub(super) fn is_punctuation(c: char) -> bool {
    class(c) == Class::Punctuation
}

pub(super) fn is_white(c: char) -> bool {
    class(c) == Class::White
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (c, expected) in [
            ('a', Class::Letter),
            ('Z', Class::Letter),
            ('7', Class::Number),
            ('_', Class::Punctuation),
            ('$', Class::Symbol),
            ('`', Class::Symbol),
            (' ', Class::White),
            ('\u{b}', Class::White),
            ('\0', Class::Other),
            ('\u{1c}', Class::Other),
            ('\u{85}', Class::White),
            ('\u{a0}', Class::White),
            ('²', Class::Number),
            ('é', Class::Letter),
            ('\u{301}', Class::Mark),
            ('一', Class::Letter),
            ('\u{9fff}', Class::Letter),
            ('。', Class::Punctuation),
            ('\u{3000}', Class::White),
            ('\u{200b}', Class::Other),
            ('🦙', Class::Symbol),
            ('\u{2ebf0}', Class::Letter), // new in 15.1
            ('\u{2fffe}', Class::Other),
            ('\u{10ffff}', Class::Other),
        ] {
            assert_eq!(class(c), expected, "{c:?}");
        }
    }

    #[test]
    fn agrees_with_the_standard_library_where_both_know() {
        for c in '\0'..='\u{ffff}' {
            assert_eq!(is_white(c), c.is_whitespace(), "{c:?}");
            if is_letter(c) {
                assert!(c.is_alphabetic(), "{c:?}");
            }
        }
    }
}
