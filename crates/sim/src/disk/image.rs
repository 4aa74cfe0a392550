//! A sparse image of a file.

const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// A sparse image: pages that were never written are zero.
#[derive(Debug, Default, Clone)]
pub struct Image {
    pages: Vec<Option<Box<[u8; PAGE]>>>,
}

impl Image {
    pub(crate) fn new(len: u64) -> Self {
        Self { pages: vec![None; (len as usize).div_ceil(PAGE)] }
    }

    /// Makes it longer, by zeros.
    pub(crate) fn grow(&mut self, len: u64) {
        let pages = (len as usize).div_ceil(PAGE).max(self.pages.len());
        self.pages.resize(pages, None);
    }

    /// All from `at` on is zero.
    pub(crate) fn cut(&mut self, at: usize) {
        let (page, within) = (at / PAGE, at % PAGE);
        self.pages.iter_mut().skip(page + usize::from(within > 0)).for_each(|page| *page = None);
        if let Some(Some(torn)) = self.pages.get_mut(page).filter(|_| within > 0) {
            torn[within..].fill(0);
        }
    }

    /// Writes at an offset.
    pub(crate) fn write(&mut self, mut offset: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let (page, within) = (offset / PAGE, offset % PAGE);
            let len = data.len().min(PAGE - within);
            let (head, rest) = data.split_at(len);
            let slot = &mut self.pages[page];
            if slot.is_some() || head != &ZEROS[..len] {
                slot.get_or_insert_with(|| Box::new([0; PAGE]))[within..within + len].copy_from_slice(head);
            }
            (offset, data) = (offset + len, rest);
        }
    }

    /// Fills `buf` from an offset.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        let mut offset = offset as usize;
        let mut rest = buf;
        while !rest.is_empty() {
            let (page, within) = (offset / PAGE, offset % PAGE);
            let len = rest.len().min(PAGE - within);
            let (head, tail) = rest.split_at_mut(len);
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => head.copy_from_slice(&bytes[within..within + len]),
                None => head.fill(0),
            }
            (offset, rest) = (offset + len, tail);
        }
    }

    /// The first byte at which two images differ.
    pub fn difference(&self, other: &Self) -> Option<u64> {
        self.difference_within(other, u64::MAX)
    }

    /// The first of the first `len` bytes, a multiple of a page, at which two images differ.
    pub fn difference_within(&self, other: &Self, len: u64) -> Option<u64> {
        let pages = (len / PAGE as u64).min(self.pages.len().max(other.pages.len()) as u64) as usize;
        (0..pages).find_map(|n| {
            let (a, b) = (self.page(n), other.page(n));
            if a == b {
                return None;
            }
            let at = a.iter().zip(b).position(|(x, y)| x != y)?;
            Some((n * PAGE + at) as u64)
        })
    }

    /// Where pages differ: the first byte of each, and how long a page is.
    pub fn differing_pages<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (u64, u64)> + 'a {
        let pages = 0..self.pages.len().max(other.pages.len());
        pages.filter(|n| self.page(*n) != other.page(*n)).map(|n| ((n * PAGE) as u64, PAGE as u64))
    }

    fn page(&self, n: usize) -> &[u8; PAGE] {
        self.pages.get(n).and_then(Option::as_deref).unwrap_or(&ZEROS)
    }
}
