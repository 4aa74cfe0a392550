//! Modified UTF-7 (RFC 3501 §5.1.3), in which Maildir++ folders are named on disk.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// UTF-8 to modified UTF-7.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut pending: Vec<u16> = Vec::new();
    for c in name.chars() {
        match c {
            ' '..='~' => {
                flush(&mut pending, &mut out);
                out.push(c);
                if c == '&' {
                    out.push('-');
                }
            }
            _ => pending.extend_from_slice(c.encode_utf16(&mut [0; 2])),
        }
    }
    flush(&mut pending, &mut out);
    out
}

/// Modified UTF-7 to UTF-8; `None` if it is not the one valid encoding of any name.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'&' => {
                let end = after.iter().position(|b| *b == b'-')?;
                decode_run(&after[..end], &mut out)?;
                &after[end + 1..]
            }
            b' '..=b'~' => {
                out.push(char::from(*byte));
                after
            }
            _ => return None,
        };
    }
    (encode(&out).as_bytes() == name).then_some(out)
}

fn flush(pending: &mut Vec<u16>, out: &mut String) {
    if pending.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0u32, 0);
    for unit in pending.drain(..) {
        bits = bits << 16 | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            out.push(digit(bits >> held));
        }
    }
    if held > 0 {
        out.push(digit(bits << (6 - held)));
    }
    out.push('-');
}

fn digit(bits: u32) -> char {
    char::from(ALPHABET[(bits & 63) as usize])
}

fn decode_run(run: &[u8], out: &mut String) -> Option<()> {
    if run.is_empty() {
        out.push('&');
        return Some(());
    }
    let mut units = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in run {
        bits = bits << 6 | ALPHABET.iter().position(|b| b == byte)? as u32;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push((bits >> held) as u16);
            bits &= (1 << held) - 1;
        }
    }
    out.push_str(&String::from_utf16(&units).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_3501s_examples() {
        assert_eq!(encode("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(encode("A & B"), "A &- B");
        assert_eq!(decode(b"Entw&APw-rfe").as_deref(), Some("Entwürfe"));
        assert_eq!(decode(b"&Jjo!"), None);
        assert_eq!(decode(b"&U,BTFw-&ZeVnLIqe-"), None, "two runs where one is due");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC*") {
            prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn any_bytes_decode_to_a_name_that_encodes_to_them_or_to_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(name) = decode(&bytes) {
                prop_assert_eq!(encode(&name).into_bytes(), bytes);
            }
        }
    }
}
