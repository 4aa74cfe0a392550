//! Modified UTF-7, the encoding of mailbox names (RFC 3501 section 5.1.3).

use std::borrow::Cow;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// A name that is not canonical modified UTF-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Utf7Error {
    /// Between `&` and `-` stands an octet outside the alphabet, or `-` is missing.
    #[error("mailbox name has a broken &...- sequence at octet {at}")]
    BadShift {
        /// Position of the `&`.
        at: usize,
    },
    /// The sequence decodes, but its encoding is not the only one allowed: it holds printable ASCII, stray bits,
    /// follows another one directly, or is not valid UTF-16.
    #[error("mailbox name has a non-canonical &...- sequence at octet {at}")]
    NotCanonical {
        /// Position of the `&`.
        at: usize,
    },
    /// Octets above 127 that are not UTF-8, or a control character.
    #[error("mailbox name holds a forbidden octet at {at}")]
    BadOctet {
        /// Its position.
        at: usize,
    },
}

/// Encodes `name`; borrowed when there is nothing to encode.
pub fn encode(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'&') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    let mut units: Vec<u16> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            shift(&mut out, &mut units);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    shift(&mut out, &mut units);
    Cow::Owned(out)
}

fn shift(out: &mut String, units: &mut Vec<u16>) {
    if units.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0_u32, 0);
    for unit in units.drain(..) {
        bits = bits << 16 | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            out.push(digit(bits >> held));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push(digit(bits << (6 - held)));
    }
    out.push('-');
}

fn digit(bits: u32) -> char {
    char::from(ALPHABET[(bits & 63) as usize])
}

/// Decodes `name`; borrowed when nothing is encoded. Only canonical encodings pass, so that one mailbox
/// has one name.
pub fn decode(name: &[u8]) -> Result<Cow<'_, str>, Utf7Error> {
    if let Some(at) = name.iter().position(|&b| b < 0x20 || b == 0x7f) {
        return Err(Utf7Error::BadOctet { at });
    }
    let text = std::str::from_utf8(name).map_err(|e| Utf7Error::BadOctet { at: e.valid_up_to() })?;
    if !name.contains(&b'&') {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(at) = name.iter().position(|&b| b >= 0x80) {
        return Err(Utf7Error::BadOctet { at });
    }
    decode_shifted(text).map(Cow::Owned)
}

fn decode_shifted(text: &str) -> Result<String, Utf7Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_shift = false;
    while let Some(amp) = rest.find('&') {
        out.push_str(&rest[..amp]);
        let at = text.len() - rest.len() + amp;
        let body = &rest[amp + 1..];
        let end = body.find('-').ok_or(Utf7Error::BadShift { at })?;
        if end == 0 {
            out.push('&');
            after_shift = false;
        } else if after_shift && amp == 0 {
            return Err(Utf7Error::NotCanonical { at });
        } else {
            unshift(&body.as_bytes()[..end], at, &mut out)?;
            after_shift = true;
        }
        rest = &body[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn unshift(digits: &[u8], at: usize, out: &mut String) -> Result<(), Utf7Error> {
    let (mut bits, mut held) = (0_u32, 0);
    let mut units = Vec::with_capacity(digits.len() / 2);
    for &d in digits {
        let value = ALPHABET.iter().position(|&a| a == d).ok_or(Utf7Error::BadShift { at })?;
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push((bits >> held) as u16);
            bits &= (1 << held) - 1;
        }
    }
    if held >= 6 || bits != 0 {
        return Err(Utf7Error::NotCanonical { at });
    }
    for c in char::decode_utf16(units) {
        match c {
            Ok(c) if !(' '..='~').contains(&c) && c >= ' ' && c != '\x7f' => out.push(c),
            _ => return Err(Utf7Error::NotCanonical { at }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_names_encode_and_decode_as_in_rfc_3501() {
        for (utf8, wire) in [
            ("INBOX", "INBOX"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("a&b", "a&-b"),
            ("&", "&-"),
            ("😀", "&2D3eAA-"),
        ] {
            assert_eq!(encode(utf8), wire);
            assert_eq!(decode(wire.as_bytes()).unwrap(), utf8);
        }
    }

    #[test]
    fn non_canonical_names_are_refused() {
        for wire in
            ["&AGE-", "&AAA-", "&", "&U,BTFw", "&U,BTFx-", "&!-", "&2D0-", "&APw-&APw-", "&AP-", "a\u{1}"]
        {
            assert!(decode(wire.as_bytes()).is_err(), "{wire}");
        }
        assert!(decode(b"\xff").is_err());
        assert_eq!(decode("Entwürfe".as_bytes()).unwrap(), "Entwürfe");
    }
}
