//! The same as the portable loop of [`super::neighbours`], by the vector instructions of x86-64.
//!
//! The code is there once and compiled twice, with AVX2 alone, and with AVX-512 (F, BW and VL), whose ternary logic does the
//! same in a quarter fewer instructions. The vectors are of 32 octets in both.

use std::arch::is_x86_feature_detected;

/// What [`super::neighbours::remarkable`] says, or `None` if this processor has no such instructions.
#[inline(always)]
pub(super) fn remarkable(text: &[u8]) -> Option<Option<usize>> {
    let nowhere = std::ptr::null_mut();
    if has_avx512() {
        // SAFETY: the processor has what it takes; nothing is written where nothing is copied.
        Some(unsafe { avx512::remarkable::<false>(text, nowhere) })
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the same.
        Some(unsafe { avx2::remarkable::<false>(text, nowhere) })
    } else {
        None
    }
}

/// What [`super::neighbours::copy_to_remarkable`] does, or `None`, and nothing done, if this processor has no such
/// instructions.
#[inline(always)]
pub(super) fn copy_to_remarkable(text: &[u8], out: &mut Vec<u8>) -> Option<Option<usize>> {
    out.reserve(text.len());
    let behind = out.spare_capacity_mut().as_mut_ptr().cast();
    let found = if has_avx512() {
        // SAFETY: the processor has what it takes; there is room for all of `text` behind what `out` holds.
        unsafe { avx512::remarkable::<true>(text, behind) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the same.
        unsafe { avx2::remarkable::<true>(text, behind) }
    } else {
        return None;
    };
    let len = out.len() + found.map_or(text.len(), |at| at + 1);
    // SAFETY: so many are within the room, and were copied.
    unsafe { out.set_len(len) };
    Some(found)
}

/// Asked of the processor once; then this is a load and a test.
#[inline(always)]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx2")
}

/// A module for processors with some features; AVX2 must be among them.
macro_rules! for_processors_with {
    ($name:ident, $features:literal) => {
        mod $name {
            use std::arch::x86_64::{
                __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
                _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi8,
                _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_testz_si256,
                _mm256_xor_si256,
            };

            /// Pairs looked at by one instruction.
            const WIDTH: usize = 32;
            /// Pairs looked at between two branches.
            const BLOCK: usize = 4 * WIDTH;

            /// Where the first remarkable pair is. With `COPY`, `text` was copied to `to` through the first of the two, or all.
            ///
            /// # Safety
            ///
            /// The processor must have the features. With `COPY`, `text.len()` octets must be writable at `to`, and no part of `text`.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn remarkable<const COPY: bool>(text: &[u8], to: *mut u8) -> Option<usize> {
                let pairs = text.len().saturating_sub(1);
                let Some(last) = pairs.checked_sub(WIDTH) else {
                    if COPY {
                        // SAFETY: as many are writable, says our caller.
                        unsafe { to.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
                    }
                    return $crate::fast::neighbours::portable(text);
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
                    let marks =
                        unsafe { Marks::of::<COPY>(text.as_ptr().add(at), to.wrapping_add(at)) }.bits();
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
            /// The processor must have the features. `BLOCK` octets and one behind them must be readable at `text`; with `COPY`, `BLOCK`
            /// octets must be writable at `to`.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn block<const COPY: bool>(text: *const u8, to: *mut u8) -> Option<usize> {
                // SAFETY: `BLOCK` is four times `WIDTH`.
                let [a, b, c, d] = [0, 1, 2, 3]
                    .map(|n| unsafe { Marks::of::<COPY>(text.add(n * WIDTH), to.wrapping_add(n * WIDTH)) });
                if a.or(b).or(c.or(d)).is_none() {
                    return None;
                }
                let halves = [(a, b), (c, d)]
                    .map(|(low, high)| u64::from(low.bits()) | u64::from(high.bits()) << WIDTH);
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
                /// The processor must have the features. `WIDTH` octets and one behind them must be readable at `text`; with `COPY`,
                /// `WIDTH` octets must be writable at `to`.
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn of<const COPY: bool>(text: *const u8, to: *mut u8) -> Self {
                    // SAFETY: says our caller; these loads and this store may be anywhere.
                    let (a, b) =
                        unsafe { (_mm256_loadu_si256(text.cast()), _mm256_loadu_si256(text.add(1).cast())) };
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
                #[target_feature(enable = $features)]
                fn or(self, other: Self) -> Self {
                    Self {
                        ends: _mm256_or_si256(self.ends, other.ends),
                        dots: _mm256_or_si256(self.dots, other.dots),
                    }
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn all(self) -> __m256i {
                    _mm256_or_si256(_mm256_and_si256(self.ends, _mm256_set1_epi8(END)), self.dots)
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn is_none(self) -> bool {
                    let all = self.all();
                    _mm256_testz_si256(all, all) != 0
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn bits(self) -> u32 {
                    !_mm256_movemask_epi8(_mm256_cmpeq_epi8(self.all(), _mm256_setzero_si256())) as u32
                }
            }
        }
    };
}

for_processors_with!(avx2, "avx2");
for_processors_with!(avx512, "avx2,avx512f,avx512bw,avx512vl");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast::neighbours::portable;

    /// The processors that have more would never try AVX2 alone.
    #[test]
    fn avx2_alone_finds_and_copies_the_same() {
        if !is_x86_feature_detected!("avx2") {
            return;
        }
        for len in [0, 1, 32, 33, 64, 65, 129, 161, 300] {
            let plain = b"ab\r\nc.d\r\n-\xff".iter().copied().cycle().take(len).collect::<Vec<u8>>();
            for (at, b) in (0..len).flat_map(|at| [0, b'\r', b'\n', b'.'].map(|b| (at, b))) {
                let mut text = plain.clone();
                text[at] = b;
                let mut copy = vec![0; len];
                // SAFETY: the processor has AVX2, and `copy` is as long as `text`.
                let found = unsafe {
                    let found = avx2::remarkable::<false>(&text, std::ptr::null_mut());
                    assert_eq!(avx2::remarkable::<true>(&text, copy.as_mut_ptr()), found, "{len} {at} {b}");
                    found
                };
                assert_eq!(found, portable(&text), "{len} {at} {b}");
                let through = found.map_or(len, |found| found + 1);
                assert_eq!(copy[..through], text[..through], "{len} {at} {b}");
            }
        }
    }
}
