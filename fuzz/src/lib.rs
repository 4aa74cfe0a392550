//! What the fuzz targets share.

/// The input without its first octet, and that octet, which seeds the choices of a run.
pub fn seeded(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(seed, rest)| (*seed, rest))
}

/// Cuts `wire` into pieces, the same ones for the same seed: single octets for 0, else of up to
/// twice the seed.
pub fn pieces(wire: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) * 2_654_435 + 1;
    let mut rest = wire;
    let mut all = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = 1 + (state >> 16) as usize % (2 * usize::from(seed) + 1);
        let (piece, after) = rest.split_at(len.min(rest.len()));
        all.push(piece);
        rest = after;
    }
    all
}

/// Takes numbers off the front of the input; zeros when it is used up.
#[derive(Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Whether anything is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One octet.
    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().map_or((0, self.0), |(byte, rest)| (*byte, rest));
        self.0 = rest;
        byte
    }

    /// Two octets.
    pub fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// Up to `len` octets.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
