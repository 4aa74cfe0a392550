//! Pages of checksums: one of each block of 4096 bytes.

use bytes::Bytes;

use super::{PAGE_HEAD, PAGE_LEN, SUMS_PER_PAGE};
use crate::ids::DeviceId;

/// The checksums of one page; 0 stands for a block of which nothing is known.
pub(crate) type SumsOfPage = Box<[u32; SUMS_PER_PAGE as usize]>;

/// The checksum of one whole block: its CRC-32, never 0.
pub(crate) fn block_sum(block: &[u8]) -> u32 {
    sum_of_crc(crc32fast::hash(block))
}

/// The checksum of a whole block of which this is the CRC-32.
pub(crate) fn sum_of_crc(crc: u32) -> u32 {
    crc.max(1)
}

pub(crate) fn no_sums() -> SumsOfPage {
    Box::new([0; SUMS_PER_PAGE as usize])
}

pub(crate) fn encode_sums(sums: &SumsOfPage, device: DeviceId, run: u64, page: u32) -> Bytes {
    let mut bytes = Vec::with_capacity(PAGE_LEN as usize);
    bytes.extend([0; 4]);
    bytes.extend(page.to_le_bytes());
    bytes.extend(run.to_le_bytes());
    sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
    let crc = page_crc(&bytes, device);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// None when the page is damaged, of another run or in the wrong place: nothing is known then.
pub(crate) fn decode_sums(bytes: &[u8], device: DeviceId, run: u64, page: u32) -> Option<SumsOfPage> {
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes")));
    let found_run = bytes.get(8..16).map(|b| u64::from_le_bytes(b.try_into().expect("8 bytes")))?;
    let whole = bytes.len() as u64 == PAGE_LEN && word(0)? == page_crc(bytes, device);
    if !whole || word(4)? != page || found_run != run {
        return None;
    }
    let mut sums = no_sums();
    for (sum, found) in sums.iter_mut().zip(bytes[PAGE_HEAD..].chunks_exact(4)) {
        *sum = u32::from_le_bytes(found.try_into().expect("chunks of 4"));
    }
    Some(sums)
}

fn page_crc(bytes: &[u8], device: DeviceId) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"sums");
    crc.update(&device.0);
    crc.update(&bytes[4..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_torn_of_another_run_or_in_another_place_knows_nothing() {
        let device = DeviceId([3; 16]);
        let mut sums = no_sums();
        sums.iter_mut().enumerate().for_each(|(i, sum)| *sum = i as u32 * 77);
        let page = encode_sums(&sums, device, 5, 9);
        assert_eq!(page.len() as u64, PAGE_LEN);
        assert_eq!(decode_sums(&page, device, 5, 9), Some(sums));
        assert_eq!(decode_sums(&page, device, 6, 9), None);
        assert_eq!(decode_sums(&page, device, 5, 8), None);
        assert_eq!(decode_sums(&page, DeviceId([4; 16]), 5, 9), None);
        assert_eq!(decode_sums(&[0; PAGE_LEN as usize], device, 0, 0), None, "a fresh file");
        for cut in (0..PAGE_LEN as usize).step_by(512).skip(1) {
            let mut torn = page.to_vec();
            torn[cut..].fill(0xEE);
            assert_eq!(decode_sums(&torn, device, 5, 9), None, "torn at {cut}");
        }
    }
}
