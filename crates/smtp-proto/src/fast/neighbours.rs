//! Neighbours in a text that are worth a look: bare CR, bare LF, NUL, and a dot at the start of a line, in one pass.

#[cfg(target_arch = "x86_64")]
use super::vectors;

/// Whether `b` behind `a` is: a CR without its LF, an LF without its CR, something behind NUL, or a dot behind LF.
#[inline(always)]
pub(crate) fn is_remarkable(a: u8, b: u8) -> bool {
    (a == b'\r') != (b == b'\n') || a == 0 || (a == b'\n' && b == b'.')
}

/// Where the first remarkable neighbours stand: the place of the first of the two. (What has no neighbour, because `text`
/// begins or ends with it, is for the caller to look at.)
pub(crate) fn remarkable(text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(found) = vectors::remarkable(text) {
        return found;
    }
    portable(text)
}

/// The same, and appends to `out` what was looked at: `text` through the first of the two, or all of it.
pub(crate) fn copy_to_remarkable(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(found) = vectors::copy_to_remarkable(text, out) {
        return found;
    }
    let found = portable(text);
    out.extend_from_slice(&text[..found.map_or(text.len(), |at| at + 1)]);
    found
}

/// By blocks without a branch, which the compiler turns into the vector instructions that all processors of a kind have.
pub(super) fn portable(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 512;
    let mut from = 0;
    while from + 1 < text.len() {
        let to = text.len().min(from + BLOCK + 1);
        if block_is_remarkable(&text[from..to - 1], &text[from + 1..to]) {
            return one_by_one(&text[from..]).map(|at| from + at);
        }
        from = to - 1;
    }
    None
}

fn block_is_remarkable(a: &[u8], b: &[u8]) -> bool {
    let mask = |holds: bool| if holds { 0xFF } else { 0 };
    let (mut bare, mut low) = (0u8, 0xFFu8);
    for (&a, &b) in a.iter().zip(b) {
        bare |= mask(a == b'\r') ^ mask(b == b'\n');
        low = low.min(a).min((a ^ b'\n') | (b ^ b'.'));
    }
    bare != 0 || low == 0
}

fn one_by_one(text: &[u8]) -> Option<usize> {
    text.windows(2).position(|pair| is_remarkable(pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where they are, found while copying, which appends what was looked at and nothing else.
    fn copied(text: &[u8]) -> Option<usize> {
        let mut out = b"before".to_vec();
        let found = copy_to_remarkable(text, &mut out);
        let expected = &text[..found.map_or(text.len(), |at| at + 1)];
        assert_eq!(out, [b"before", expected].concat(), "{}", text.len());
        found
    }

    #[test]
    fn remarkable_neighbours_are_found_at_every_place() {
        for len in [2, 3, 31, 32, 33, 127, 128, 129, 130, 256, 257, 300, 1100] {
            let plain = b"ab\r\nc.d\r\n-\xff".iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let plain_end = if plain.ends_with(b"\r") { len - 1 } else { len };
            assert_eq!(
                [remarkable, portable, copied].map(|find| find(&plain[..plain_end])),
                [None; 3],
                "{len}"
            );
            for at in 0..len {
                for b in [0, b'\r', b'\n', b'.'] {
                    let mut text = plain.clone();
                    text[at] = b;
                    let expected = one_by_one(&text);
                    assert_eq!(remarkable(&text), expected, "{len} {at} {b}");
                    assert_eq!(portable(&text), expected, "{len} {at} {b}");
                    assert_eq!(copied(&text), expected, "{len} {at} {b}");
                }
            }
        }
    }

    #[test]
    fn too_little_has_no_neighbours() {
        for text in [&b""[..], b"\n", b"\0"] {
            assert_eq!([remarkable, portable, copied].map(|find| find(text)), [None; 3]);
        }
    }
}
