//! xtext (RFC 3461 §4): `+41` for a byte that may not stand in a parameter's value.

use std::borrow::Cow;

/// Decodes xtext; `None` where it is malformed or not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(if b == b'+' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { b });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// RFC 3461 §4: hexadecimal digits are upper case; we take lower case too.
fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

pub(crate) fn encode(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for b in text.bytes() {
        match b {
            b'+' | b'=' | 0..=32 | 127 => {
                out.extend([b'+', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
            }
            b => out.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_known_answers() {
        assert_eq!(decode("a+2Bb+3D").unwrap(), "a+b=");
        assert_eq!(decode("plain").unwrap(), "plain");
        assert!(["a+", "a+4", "a+4g", "+FF"].into_iter().all(|bad| decode(bad).is_none()));
        let mut out = Vec::new();
        encode("a+b= c", &mut out);
        assert_eq!(out, b"a+2Bb+3D+20c");
    }
}
