//! Neighbours in a text that are worth a look: bare CR, bare LF, NUL, and a dot at the start of a line, in one pass.

/// Whether `b` behind `a` is: a CR without its LF, an LF without its CR, something behind NUL, or a dot behind LF.
#[inline(always)]
pub(crate) fn is_remarkable(a: u8, b: u8) -> bool {
    (a == b'\r') != (b == b'\n') || a == 0 || (a == b'\n' && b == b'.')
}

/// Where the first remarkable neighbours stand: the place of the first of the two. (What has no neighbour, because `text`
/// begins or ends with it, is for the caller to look at.)
pub(crate) fn remarkable(text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::remarkable(text) };
    }
    portable(text)
}

/// By blocks without a branch, which the compiler turns into the vector instructions that all processors of a kind have.
fn portable(text: &[u8]) -> Option<usize> {
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

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_xor_si256,
    };

    /// Pairs looked at by one instruction.
    const WIDTH: usize = 32;
    /// Pairs looked at between two branches.
    const BLOCK: usize = 8 * WIDTH;

    /// # Safety
    ///
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn remarkable(text: &[u8]) -> Option<usize> {
        // One octet more than the block, for the neighbour of its last.
        let Some(last) = text.len().checked_sub(BLOCK + 1) else { return super::portable(text) };
        let mut at = 0;
        loop {
            let block = text[at..].first_chunk::<{ BLOCK + 1 }>()?;
            // SAFETY: the processor has AVX2, says our caller.
            if unsafe { marks(block) } != 0 {
                // SAFETY: the same.
                return Some(at + unsafe { first_mark(block) });
            }
            if at == last {
                return None;
            }
            // The last block overlaps the one before it.
            at = last.min(at + BLOCK);
        }
    }

    /// The first marked pair of a block.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn first_mark(block: &[u8; BLOCK + 1]) -> usize {
        let mut first = 0;
        // From the end, and without a branch that could be guessed wrong.
        for at in [7, 6, 5, 4, 3, 2, 1, 0].map(|n| n * WIDTH) {
            // SAFETY: the processor has AVX2, says our caller.
            let marks = unsafe { marks(&block[at..at + WIDTH + 1]) };
            first = if marks == 0 { first } else { at + marks.trailing_zeros() as usize };
        }
        first
    }

    /// Marks, by bits, where remarkable pairs begin: where in each `WIDTH` of them, for all these alike.
    ///
    /// What may not stand behind an octet is looked up for the first of each pair, and held against the second: 0x7F wants
    /// an LF, 0 wants none, 0x80 wants none and no dot, and 0x55 wants what there is not.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn marks(pairs: &[u8]) -> u32 {
        // SAFETY: the processor has AVX2, says our caller; `a` and `b` are `WIDTH` octets each, anywhere.
        unsafe {
            #[rustfmt::skip]
            let behind = _mm256_setr_epi8(
                0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0x80, 0, 0, 0x7F, 0, 0,
                0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0x80, 0, 0, 0x7F, 0, 0,
            );
            // The table has 16 places; the octets from this one on want nothing special.
            let others = _mm256_set1_epi8(0x0E);
            let (lf, dot) = (_mm256_set1_epi8(b'\n' as i8), _mm256_set1_epi8(b'.' as i8));
            let (mut line_ends, mut dots) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (a, b) in pairs.chunks_exact(WIDTH).zip(pairs[1..].chunks_exact(WIDTH)) {
                let a: __m256i = _mm256_loadu_si256(a.as_ptr().cast());
                let b = _mm256_loadu_si256(b.as_ptr().cast());
                let wanted = _mm256_shuffle_epi8(behind, _mm256_min_epu8(a, others));
                let line_end = _mm256_xor_si256(wanted, _mm256_cmpeq_epi8(b, lf));
                line_ends = _mm256_or_si256(line_ends, line_end);
                dots = _mm256_or_si256(dots, _mm256_and_si256(wanted, _mm256_cmpeq_epi8(b, dot)));
            }
            let line_ends = _mm256_and_si256(line_ends, _mm256_set1_epi8(0x7F));
            let plain = _mm256_cmpeq_epi8(_mm256_or_si256(line_ends, dots), _mm256_setzero_si256());
            !_mm256_movemask_epi8(plain) as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarkable_neighbours_are_found_at_every_place() {
        for len in [2, 3, 31, 32, 33, 127, 128, 129, 130, 256, 257, 300, 1100] {
            let plain = b"ab\r\nc.d\r\n-\xff".iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let plain_end = if plain.ends_with(b"\r") { len - 1 } else { len };
            assert_eq!(
                (remarkable(&plain[..plain_end]), portable(&plain[..plain_end])),
                (None, None),
                "{len}"
            );
            for at in 0..len {
                for b in [0, b'\r', b'\n', b'.'] {
                    let mut text = plain.clone();
                    text[at] = b;
                    let expected = one_by_one(&text);
                    assert_eq!(remarkable(&text), expected, "{len} {at} {b}");
                    assert_eq!(portable(&text), expected, "{len} {at} {b}");
                }
            }
        }
    }

    #[test]
    fn too_little_has_no_neighbours() {
        assert_eq!((remarkable(b""), remarkable(b"\n"), remarkable(b"\0")), (None, None, None));
    }
}
