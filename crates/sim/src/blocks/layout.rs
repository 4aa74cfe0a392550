//! The device and where clients write: few sectors, that meet every boundary there is.

use bytes::Bytes;
use posthaste_blockrepl::{Config, Zeros};

use super::name::is_zeros;
use crate::disk::{Image, SECTOR};
use crate::rng::Rng;

/// Bytes of the device: more extents than the activity log keeps hot.
pub const SIZE: u64 = 12 << 20;
const EXTENT: u64 = 1 << 20;
const GRANULE: u64 = 64 << 10;
/// Bytes that one checksum stands for.
pub const BLOCK: u64 = 4096;
/// Sectors of one place; a place lies across the boundary of two granules of the usual size, the last one of each extent but
/// one across that of two extents.
pub const PLACE: usize = 12;
const PLACES_PER_EXTENT: usize = 2;
/// Places in all.
pub const PLACES: usize = (SIZE / EXTENT) as usize * PLACES_PER_EXTENT - 1;
/// Sectors that clients write.
pub const SECTORS: usize = PLACES * PLACE;

/// Sectors of places on a device of `size` bytes; of the last place there may be a part.
pub fn sectors(size: u64) -> usize {
    let most = (size / EXTENT + 1) as usize * PLACES_PER_EXTENT * PLACE;
    (0..most).rev().find(|sector| offset(*sector) + SECTOR as u64 <= size).map_or(0, |last| last + 1)
}

/// Where a sector lies, in bytes.
pub fn offset(sector: usize) -> u64 {
    let (place, within) = (sector / PLACE, sector % PLACE);
    let (extent, which) = ((place / PLACES_PER_EXTENT) as u64, place % PLACES_PER_EXTENT);
    let middle = extent * EXTENT + if which == 0 { 3 * GRANULE } else { EXTENT };
    middle - (PLACE / 2 * SECTOR) as u64 + (within * SECTOR) as u64
}

/// The bytes from the first of `len` sectors to the end of the last one, in places that follow each other.
pub fn span(first: usize, len: usize) -> usize {
    (offset(first + len - 1) - offset(first)) as usize + SECTOR
}

/// Zeros for so many bytes; by the write's name they are discarded, or kept.
fn zeros(len: usize, id: u64) -> Bytes {
    let zeros = if id & 2 == 0 { Zeros::Kept } else { Zeros::Free };
    zeros.bytes(len)
}

/// The bytes of `len` sectors from `first` on, that a write called `id` puts there; of other than zeros within one place.
pub fn encode(first: usize, len: usize, id: u64) -> Bytes {
    if is_zeros(id) {
        return zeros(span(first, len), id);
    }
    let mut bytes = vec![0; len * SECTOR];
    for (at, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        sector[..8].copy_from_slice(&id.to_le_bytes());
        sector[8..16].copy_from_slice(&((first + at) as u64 + 1).to_le_bytes());
        sector[SECTOR - 8..].copy_from_slice(&(!id).to_le_bytes());
    }
    bytes.into()
}

/// Which write a sector of an image shows (0: none, or zeros); `None` for what no client can have written.
pub fn decode(image: &Image, sector: usize) -> Option<u64> {
    let mut bytes = [0; SECTOR];
    image.read(offset(sector), &mut bytes);
    decode_bytes(sector, &bytes)
}

/// The same of bytes that a reader was given.
pub fn decode_bytes(sector: usize, bytes: &[u8]) -> Option<u64> {
    let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let (id, tag, check) = (word(0), word(8), word(SECTOR - 8));
    match (id, tag) {
        (0, 0) => (check == 0).then_some(0),
        _ => (tag == sector as u64 + 1 && check == !id).then_some(id),
    }
}

/// A range of sectors to write among the first `sectors`, within one place: overlaps are the rule.
pub fn range(rng: &mut Rng, busy: usize, sectors: usize) -> (usize, usize) {
    let places = sectors / PLACE;
    let place = if rng.chance(300) { rng.below(places as u64) as usize } else { busy % places };
    let first = rng.below(PLACE as u64) as usize;
    let len = 1 + rng.below((PLACE - first) as u64) as usize;
    (place * PLACE + first, len)
}

/// A range of sectors to be zero, up to the next place; of whole places with `whole`.
pub fn zeros_range(rng: &mut Rng, busy: usize, sectors: usize, whole: bool) -> (usize, usize) {
    let (first, len) = range(rng, busy, sectors);
    let long = first / PLACE + 1 < sectors / PLACE && rng.chance(300);
    let end = first + len + if long { PLACE } else { 0 };
    match whole {
        true => (first / PLACE * PLACE, end.next_multiple_of(PLACE) - first / PLACE * PLACE),
        false => (first, end - first),
    }
}

/// A place's sectors in the two whole blocks that they lie in, for checksums: where these begin, and their bytes.
/// Zeros may be of several places.
pub fn whole_blocks(first: usize, len: usize, id: u64) -> (u64, Bytes) {
    let aside = (BLOCK as usize * 2 - PLACE * SECTOR) / 2;
    if is_zeros(id) {
        return (offset(first) - aside as u64, zeros(span(first, len) + 2 * aside, id));
    }
    let mut bytes = vec![0; BLOCK as usize * 2];
    bytes[aside..aside + PLACE * SECTOR].copy_from_slice(&encode(first, PLACE, id));
    (offset(first) - aside as u64, bytes.into())
}

/// The replicas' configuration: small, so that its limits are met; the seed chooses some.
pub fn config(rng: &mut Rng) -> Config {
    Config {
        hot_extents: 8,
        hot_ahead: rng.below(3) as u32,
        peer_window_bytes: rng.pick(&[64 << 10, 1 << 20, 8 << 20]),
        resync_window_bytes: rng.pick(&[64 << 10, 256 << 10, 2 << 20, 16 << 20]),
        unflushed_writes_max: rng.pick(&[8, 64, 16384]),
        granule_bytes: rng.pick(&[4096, 16 << 10, GRANULE, GRANULE, GRANULE, EXTENT]),
        undo_bytes: Some(rng.pick(&[4 * GRANULE, 1 << 20, SIZE])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_go_up_to_the_next_place_and_are_one_write() {
        let mut rng = Rng::new(3);
        for whole in [false, true] {
            let ranges: Vec<_> =
                (0..1000).map(|busy| zeros_range(&mut rng, busy, sectors(SIZE), whole)).collect();
            for (first, len) in &ranges {
                let (from, bytes) = match whole {
                    true => whole_blocks(*first, *len, 1),
                    false => (offset(*first), encode(*first, *len, 1)),
                };
                assert!(from + bytes.len() as u64 <= SIZE && first + len <= sectors(SIZE));
                let within = |s: &usize| offset(*s) >= from && offset(*s) < from + bytes.len() as u64;
                assert!((0..SECTORS).filter(within).eq(*first..first + len), "{first}+{len}");
                assert!(!whole || from.is_multiple_of(BLOCK) && (bytes.len() as u64).is_multiple_of(BLOCK));
            }
            assert!(ranges.iter().any(|(first, len)| span(*first, *len) > 64 << 10));
        }
    }

    #[test]
    fn places_do_not_overlap_and_come_back_from_an_image() {
        let mut image = Image::new(SIZE);
        for sector in 0..SECTORS {
            image.write(offset(sector) as usize, &encode(sector, 1, 8 + 2 * sector as u64));
        }
        (0..SECTORS).for_each(|s| assert_eq!(decode(&image, s), Some(8 + 2 * s as u64)));
        image.write(offset(3) as usize, &encode(4, 1, 8));
        assert_eq!(decode(&image, 3), None, "a sector of another place");
        assert!(offset(SECTORS - 1) + SECTOR as u64 <= SIZE);
        assert_eq!(sectors(SIZE) / PLACE, PLACES);
        assert_eq!((sectors(SIZE - 4096) / PLACE, sectors(SIZE - 4096) % PLACE), (PLACES, 0));
    }
}
