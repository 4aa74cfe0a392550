//! The content of a disk in memory that is zero but for where it was written to: only that is looked at and copied.

use std::ops::{Deref, DerefMut};

const PIECE: usize = 16 << 10;

pub struct Image {
    bytes: Vec<u8>,
    /// By piece: whether anything was ever written there.
    touched: Vec<bool>,
}

impl Image {
    pub fn new(len: usize) -> Self {
        // The kernel's zeros, as long as nobody reads them.
        Image { bytes: vec![0; len], touched: vec![false; len.div_ceil(PIECE)] }
    }

    pub fn write(&mut self, at: usize, data: &[u8]) {
        self.bytes[at..at + data.len()].copy_from_slice(data);
        if !data.is_empty() {
            self.touched[at / PIECE..(at + data.len()).div_ceil(PIECE)].fill(true);
        }
    }

    /// To so many bytes; new ones are zeros.
    pub fn resize(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.touched.resize(len.div_ceil(PIECE), false);
    }

    /// To so many bytes, unless it has fewer.
    pub fn truncate(&mut self, len: usize) {
        self.resize(len.min(self.len()));
    }

    /// Becomes like the other one.
    pub fn copy_from(&mut self, other: &Image) {
        self.bytes.resize(other.len(), 0);
        self.touched.resize(other.touched.len(), false);
        for n in 0..self.touched.len() {
            if self.touched[n] || other.touched[n] {
                let span = span(n, other.len());
                self.bytes[span.clone()].copy_from_slice(&other.bytes[span]);
                self.touched[n] = other.touched[n];
            }
        }
    }

    /// Where the two differ first, as far as both go.
    pub fn differs(&self, other: &Image) -> Option<usize> {
        let len = self.len().min(other.len());
        let both = self.touched.iter().zip(&other.touched).enumerate();
        let mut spans = both.filter(|(_, (a, b))| **a || **b).map(|(n, _)| span(n, len));
        let differing = spans.find(|span| self.bytes[span.clone()] != other.bytes[span.clone()]);
        differing.and_then(|mut span| span.find(|at| self.bytes[*at] != other.bytes[*at]))
    }
}

fn span(piece: usize, len: usize) -> std::ops::Range<usize> {
    piece * PIECE..len.min((piece + 1) * PIECE)
}

impl Default for Image {
    fn default() -> Self {
        Image::new(0)
    }
}

impl Clone for Image {
    fn clone(&self) -> Self {
        let mut copy = Image::new(self.len());
        copy.copy_from(self);
        copy
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.differs(other).is_none()
    }
}

impl Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// For tests that change a byte here and there: it is not known where.
impl DerefMut for Image {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.touched.fill(true);
        &mut self.bytes
    }
}

#[test]
fn two_images_differ_wherever_one_of_them_was_changed() {
    let mut image = Image::new(3 * PIECE + 5);
    for at in [0, PIECE - 1, PIECE, 2 * PIECE + 7, 3 * PIECE, 3 * PIECE + 4] {
        let before = image.clone();
        image.write(at, &[9]);
        assert_eq!((image.differs(&before), before.differs(&image)), (Some(at), Some(at)));
        let mut other = before.clone();
        other[at] = 9;
        assert!(other == image && other.clone() == image);
        other.copy_from(&before);
        assert!(other == before && other[..] == before[..]);
    }
    let longer = |len: usize| {
        let mut longer = image.clone();
        longer.resize(len);
        longer
    };
    for len in [PIECE, 4 * PIECE + 1] {
        assert!(longer(len) != image && longer(len).differs(&image).is_none());
    }
    let mut short = longer(9);
    short.truncate(PIECE);
    assert_eq!(short.len(), 9);
    // What was cut off is zero when it grows again.
    let mut again = longer(PIECE / 2);
    again.resize(PIECE);
    assert!(again[PIECE / 2..].iter().all(|byte| *byte == 0) && again.differs(&image) == Some(PIECE - 1));
}
