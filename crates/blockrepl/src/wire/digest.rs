//! What verify compares in place of the bytes.

/// A digest of one chunk, as verify compares it: two functions that do not fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-32 (IEEE).
    pub crc: u32,
    /// A 64-bit multiply-and-fold over the words and the length.
    pub mix: u64,
}

impl Digest {
    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Digest { crc: crc32fast::hash(data), mix: mix64(data) }
    }
}

fn mix64(data: &[u8]) -> u64 {
    let fold = |a: u64, b: u64| {
        let wide = u128::from(a).wrapping_mul(b.into());
        (wide >> 64) as u64 ^ wide as u64
    };
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ data.len() as u64;
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), 0xD6E8_FEB8_6659_FD93) ^ state.rotate_left(23);
    }
    for byte in rest {
        state = fold(state ^ u64::from(*byte), 0xA076_1D64_78BD_642F);
    }
    fold(state, 0xE703_7ED1_A0B4_28DB)
}
