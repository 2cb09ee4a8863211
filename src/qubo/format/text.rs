//! Files of numbers in lines, read from memory or a mapping: each error names the file, the line, what was expected there
//! and what was found.

use crate::error::{Result, fail};

/// The lines of a file that say something: blank ones and comments are passed over.
pub(super) struct Text<'a> {
    name: &'a str,
    rest: &'a [u8],
    number: u64,
    comment: u8,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    name: &'a str,
    /// Counted from 1.
    pub number: u64,
    pub text: &'a [u8],
}

/// A line without its end and the space around it, and what follows.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| b == b'\n');
    let (line, rest) = end.map_or((text, &text[text.len()..]), |at| (&text[..at], &text[at + 1..]));
    (line.trim_ascii(), rest)
}

impl<'a> Text<'a> {
    /// The lines of `bytes`; those that begin with `comment` are comments.
    pub fn new(name: &'a str, bytes: &'a [u8], comment: u8) -> Text<'a> {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Text { name, rest, number: 0, comment }
    }

    /// The next line that says something; None at the end.
    pub fn next(&mut self) -> Option<Line<'a>> {
        self.next_with(|_| {})
    }

    /// The same; `remark` is shown the comments on the way.
    pub fn next_with(&mut self, mut remark: impl FnMut(Line<'a>)) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            let (text, rest) = split(self.rest);
            self.rest = rest;
            self.number += 1;
            let line = Line { name: self.name, number: self.number, text };
            match text.first() {
                None => {}
                Some(&b) if b == self.comment => remark(line),
                Some(_) => return Some(line),
            }
        }
        None
    }

    /// The next line, which must be there because it is `what`.
    pub fn need(&mut self, what: &str) -> Result<Line<'a>> {
        match self.next() {
            Some(line) => Ok(line),
            None => fail!(
                Format,
                "{}:{}: the file ends here, expected {what}: it is cut, fetch it again",
                self.name,
                self.number.max(1)
            ),
        }
    }

    /// `Format` unless nothing follows but blank lines and comments.
    pub fn end(&mut self, after: &str) -> Result<()> {
        match self.next() {
            None => Ok(()),
            Some(line) => line.fail(&format!("the end of the file after {after}"), line.text),
        }
    }

    /// Bytes that are still to be read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Bytes of a file in a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(40)];
    let more = if cut.len() < bytes.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}

impl<'a> Line<'a> {
    /// `Format`: `want` was expected, `found` is there.
    pub fn fail<T>(&self, want: &str, found: &[u8]) -> Result<T> {
        let kind = if found.iter().any(|&b| !(b' '..=b'~').contains(&b) && b != b'\t') {
            ": it is no text file of this form"
        } else {
            ""
        };
        fail!(Format, "{}:{}: expected {want}, found {}{kind}", self.name, self.number, shown(found))
    }

    /// The fields of the line between spaces, tabs or commas.
    pub fn fields(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.text.split(|b| matches!(b, b' ' | b'\t' | b',')).filter(|field| !field.is_empty())
    }

    /// Exactly `N` fields, which are `what`.
    pub fn exactly<const N: usize>(&self, what: &str) -> Result<[&'a [u8]; N]> {
        let (mut found, mut count) = ([&[][..]; N], 0);
        for field in self.fields() {
            match found.get_mut(count) {
                Some(place) => *place = field,
                None => return self.fail(what, self.text),
            }
            count += 1;
        }
        if count == N { Ok(found) } else { self.fail(what, self.text) }
    }

    /// A whole number from 0 to 2^64-1.
    pub fn whole(&self, field: &[u8], what: &str) -> Result<u64> {
        let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
        match std::str::from_utf8(field).ok().filter(|_| digits).and_then(|text| text.parse().ok()) {
            Some(number) => Ok(number),
            None => self.fail(what, field),
        }
    }

    /// The index, from 0, of a variable that the file numbers from `first` on; there are `n`.
    pub fn index(&self, field: &[u8], first: u64, n: usize) -> Result<u32> {
        let last = (n as u64 + first).saturating_sub(1);
        let number = self.whole(field, &format!("a variable from {first} to {last}"))?;
        match number.checked_sub(first).and_then(|i| u32::try_from(i).ok()).filter(|&i| (i as usize) < n) {
            Some(index) => Ok(index),
            None => self.fail(&format!("a variable from {first} to {last}"), field),
        }
    }

    /// A finite number, and whether f64 holds it exactly when it is a whole one.
    pub fn value(&self, field: &[u8]) -> Result<(f64, bool)> {
        let plain = field.iter().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
        let text = std::str::from_utf8(field).ok().filter(|_| plain);
        match text.and_then(|text| text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| (x, text))) {
            Some((x, text)) => {
                let whole = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-'));
                Ok((x, !whole || x.abs() <= super::EXACT))
            }
            None => self.fail("a finite number", field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_comments_passed_over() {
        let mut text = Text::new("f", b"\xef\xbb\xbf# a\r\n\n 1  2\r\n#b\n3", b'#');
        let line = text.next().unwrap();
        assert_eq!((line.number, line.text), (3, &b"1  2"[..]));
        assert_eq!(line.exactly::<2>("two").unwrap(), [b"1", b"2"]);
        assert!(line.exactly::<1>("one number").unwrap_err().message().starts_with("f:3: expected one number"));
        assert!(line.exactly::<3>("three").is_err());
        let mut seen = 0;
        assert_eq!(text.next_with(|_| seen += 1).unwrap().number, 5);
        assert_eq!(seen, 1);
        assert!(text.need("more").err().unwrap().message().contains("f:5: the file ends here, expected more"));
    }

    #[test]
    fn numbers_are_checked() {
        let line = Line { name: "f", number: 1, text: b"" };
        assert_eq!(line.index(b"3", 1, 3).unwrap(), 2);
        for bad in ["0", "4", "-1", "x", "", "99999999999999999999", "1.0"] {
            assert!(line.index(bad.as_bytes(), 1, 3).is_err(), "{bad}");
        }
        assert_eq!(line.value(b"-2.5e1").unwrap(), (-25.0, true));
        assert_eq!(line.value(b"9007199254740993").unwrap(), (9007199254740992.0, true));
        assert!(!line.value(b"90071992547409930").unwrap().1);
        for bad in ["nan", "inf", "1e999", "--1", "", "0x1", "1_0"] {
            assert!(line.value(bad.as_bytes()).is_err(), "{bad}");
        }
        let e = line.value(b"\x00\xff").unwrap_err();
        assert!(e.message().contains("no text file"), "{e}");
    }
}
