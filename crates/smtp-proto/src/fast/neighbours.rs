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
        // SAFETY: the processor has AVX2; nothing is written where nothing is copied.
        return unsafe { avx2::remarkable::<false>(text, std::ptr::null_mut()) };
    }
    portable(text)
}

/// The same, and appends to `out` what was looked at: `text` through the first of the two, or all of it.
pub(crate) fn copy_to_remarkable(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        out.reserve(text.len());
        let behind = out.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: the processor has AVX2; there is room for all of `text` behind what `out` holds.
        let found = unsafe { avx2::remarkable::<true>(text, behind) };
        let len = out.len() + found.map_or(text.len(), |at| at + 1);
        // SAFETY: that many are within the room, and were copied.
        unsafe { out.set_len(len) };
        return found;
    }
    let found = portable(text);
    out.extend_from_slice(&text[..found.map_or(text.len(), |at| at + 1)]);
    found
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
        _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_testz_si256, _mm256_xor_si256,
    };

    /// Pairs looked at by one instruction.
    const WIDTH: usize = 32;
    /// Pairs looked at between two branches.
    const BLOCK: usize = 4 * WIDTH;

    /// Where the first remarkable pair is. With `COPY`, `text` was copied to `to` through the first of the two, or all.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2. With `COPY`, `text.len()` octets must be writable at `to`, and no part of `text`.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn remarkable<const COPY: bool>(text: &[u8], to: *mut u8) -> Option<usize> {
        let pairs = text.len().saturating_sub(1);
        let Some(last) = pairs.checked_sub(WIDTH) else {
            if COPY {
                // SAFETY: as many are writable, says our caller.
                unsafe { to.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
            }
            return super::portable(text);
        };
        // SAFETY: there are so many pairs, and as much room at `to`.
        let marks = unsafe { Marks::of::<COPY>(text.as_ptr(), to) }.bits();
        if marks != 0 {
            return Some(marks.trailing_zeros() as usize);
        }
        // From here on no load of the first octets of pairs crosses a cache line.
        let mut at = WIDTH - text.as_ptr().addr() % WIDTH;
        while at + BLOCK <= pairs {
            // SAFETY: the block and the octet behind it lie in `text`, so there is as much room at `to`.
            let marks = unsafe { block::<COPY>(text.as_ptr().add(at), to.wrapping_add(at)) };
            if let Some(found) = marks {
                return Some(at + found);
            }
            at += BLOCK;
        }
        while at < pairs {
            // The last overlaps what was looked at.
            at = at.min(last);
            // SAFETY: `last` is the last place with so many octets and one behind them; the same at `to`.
            let marks = unsafe { Marks::of::<COPY>(text.as_ptr().add(at), to.wrapping_add(at)) }.bits();
            if marks != 0 {
                return Some(at + marks.trailing_zeros() as usize);
            }
            at += WIDTH;
        }
        if COPY {
            // SAFETY: the last octet, which has no neighbour, has its room as all have.
            unsafe { to.add(pairs).write(text[pairs]) };
        }
        None
    }

    /// The first marked pair of a block.
    ///
    /// # Safety
    ///
    /// The processor must have AVX2. `BLOCK` octets and one behind them must be readable at `text`; with `COPY`, `BLOCK`
    /// octets must be writable at `to`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn block<const COPY: bool>(text: *const u8, to: *mut u8) -> Option<usize> {
        // SAFETY: `BLOCK` is four times `WIDTH`.
        let [a, b, c, d] = [0, 1, 2, 3]
            .map(|n| unsafe { Marks::of::<COPY>(text.add(n * WIDTH), to.wrapping_add(n * WIDTH)) });
        if a.or(b).or(c.or(d)).is_none() {
            return None;
        }
        let halves = [(a, b), (c, d)].map(|(low, high)| u64::from(low.bits()) | u64::from(high.bits()) << WIDTH);
        let first = u128::from(halves[0]) | u128::from(halves[1]) << (2 * WIDTH);
        Some(first.trailing_zeros() as usize)
    }

    /// Marks where remarkable pairs begin among `WIDTH` of them: by octets of `ends` with a bit of `END`, and by octets of
    /// `dots` that are not zero.
    #[derive(Clone, Copy)]
    struct Marks {
        ends: __m256i,
        dots: __m256i,
    }

    const END: i8 = 0x7F;

    impl Marks {
        /// What may not stand behind an octet is looked up for the first of each pair, and held against the second: 0x7F
        /// wants an LF, 0 wants none, 0x80 wants none and no dot, and 0x55 wants what there is not.
        ///
        /// # Safety
        ///
        /// The processor must have AVX2. `WIDTH` octets and one behind them must be readable at `text`; with `COPY`,
        /// `WIDTH` octets must be writable at `to`.
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn of<const COPY: bool>(text: *const u8, to: *mut u8) -> Self {
            // SAFETY: says our caller; these loads and this store may be anywhere.
            let (a, b) = unsafe { (_mm256_loadu_si256(text.cast()), _mm256_loadu_si256(text.add(1).cast())) };
            if COPY {
                // SAFETY: the same.
                unsafe { _mm256_storeu_si256(to.cast(), a) };
            }
            #[rustfmt::skip]
            let behind = _mm256_setr_epi8(
                0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0x80, 0, 0, 0x7F, 0, 0,
                0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0x80, 0, 0, 0x7F, 0, 0,
            );
            // The table has 16 places; the octets from this one on want nothing special.
            let others = _mm256_set1_epi8(0x0E);
            let wanted = _mm256_shuffle_epi8(behind, _mm256_min_epu8(a, others));
            let is = |b, octet: u8| _mm256_cmpeq_epi8(b, _mm256_set1_epi8(octet as i8));
            Self {
                ends: _mm256_xor_si256(wanted, is(b, b'\n')),
                dots: _mm256_and_si256(wanted, is(b, b'.')),
            }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn or(self, other: Self) -> Self {
            Self {
                ends: _mm256_or_si256(self.ends, other.ends),
                dots: _mm256_or_si256(self.dots, other.dots),
            }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn all(self) -> __m256i {
            _mm256_or_si256(_mm256_and_si256(self.ends, _mm256_set1_epi8(END)), self.dots)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn is_none(self) -> bool {
            let all = self.all();
            _mm256_testz_si256(all, all) != 0
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn bits(self) -> u32 {
            !_mm256_movemask_epi8(_mm256_cmpeq_epi8(self.all(), _mm256_setzero_si256())) as u32
        }
    }
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
