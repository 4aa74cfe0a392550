//! Pages of the bitmaps.

use bytes::Bytes;

use super::{BITS_PER_PAGE, PAGE_HEAD, PAGE_LEN};
use crate::bitmap::Bitmap;
use crate::ids::DeviceId;

/// One page of a peer's bitmap.
pub(crate) fn encode_page(map: &Bitmap, device: DeviceId, page: u32) -> Bytes {
    let mut bytes = vec![0; PAGE_LEN as usize];
    map.export(page * BITS_PER_PAGE, &mut bytes[PAGE_HEAD..]);
    let crc = page_crc(&bytes, device, page);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes[4..8].copy_from_slice(&page.to_le_bytes());
    bytes.into()
}

/// Adds a page's bits to `map`; all of its bits when the page is damaged or of another device.
pub(crate) fn decode_page(map: &mut Bitmap, device: DeviceId, page: u32, bytes: &[u8]) {
    let stored = u32::from_le_bytes(bytes[..4].try_into().expect("a page has a head"));
    if stored == page_crc(bytes, device, page) {
        map.import(page * BITS_PER_PAGE, &bytes[PAGE_HEAD..]);
    } else {
        map.set_run(page * BITS_PER_PAGE, BITS_PER_PAGE);
    }
}

fn page_crc(bytes: &[u8], device: DeviceId, page: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&device.0);
    crc.update(&page.to_le_bytes());
    crc.update(&bytes[PAGE_HEAD..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_bitmap_page_counts_as_dirty() {
        let (mut map, device) = (Bitmap::new(BITS_PER_PAGE + 10), DeviceId([3; 16]));
        map.set(5);
        let mut page = encode_page(&map, device, 0).to_vec();
        let mut read = Bitmap::new(BITS_PER_PAGE + 10);
        decode_page(&mut read, device, 0, &page);
        assert_eq!(read, map);
        page[100] ^= 1;
        decode_page(&mut read, device, 0, &page);
        assert_eq!(read.count(), BITS_PER_PAGE);
    }
}
