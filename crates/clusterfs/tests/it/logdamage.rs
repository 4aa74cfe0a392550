//! The log and the superblocks, cut or flipped anywhere (R10).

use posthaste_clusterfs::{Dir, FormatError, Fs, OpenError, OpenOptions};

use crate::device::TestDevice;
use crate::workload::{SIZE, deliver, dump, format_options, formatted, open, options};

/// The log ring begins behind the first superblock.
const RING: u64 = 4096;
const BLOCK: u64 = 4096;

/// A volume with one record for the epoch and one for each of `messages` deliveries.
fn with_messages(messages: usize) -> TestDevice {
    let device = formatted();
    let fs = open(&device);
    for n in 0..messages {
        deliver(&fs, Dir::ROOT, &format!("m{n}"), format!("message {n}").as_bytes()).unwrap();
        fs.commit().unwrap();
    }
    device
}

fn reopen(image: Vec<u8>) -> Result<Fs, OpenError> {
    Fs::open_with(TestDevice::from_image(image, 2), options())
}

#[test]
fn a_flipped_byte_in_a_record_that_later_ones_know_committed_refuses_to_open() {
    let device = with_messages(3);
    let whole = device.image();
    // The epoch start, then m0: 64 bytes of header and a payload.
    for byte in 0..90 {
        let mut image = whole.clone();
        image[(RING + BLOCK) as usize + byte] ^= 0x40;
        match reopen(image.clone()) {
            Err(OpenError::LogCorrupt { position, sequence, .. }) => {
                assert_eq!((position, sequence), (BLOCK, 2), "byte {byte}");
            }
            // The two bytes that nothing reads and no hash covers do not exist.
            other => panic!("byte {byte}: {:?}", other.map(|fs| dump(&fs))),
        }
        // Refusing changed nothing.
        assert!(matches!(reopen(image), Err(OpenError::LogCorrupt { .. })));
    }
}

#[test]
fn a_flipped_byte_in_the_last_record_ends_the_log_before_it() {
    let device = with_messages(3);
    let whole = device.image();
    assert_eq!(dump(&reopen(whole.clone()).unwrap()).len(), 3);
    for byte in 0..90 {
        let mut image = whole.clone();
        image[(RING + 3 * BLOCK) as usize + byte] ^= 0x40;
        let fs = reopen(image).unwrap_or_else(|error| panic!("byte {byte}: {error}"));
        assert_eq!(dump(&fs).len(), 2, "byte {byte}");
        deliver(&fs, Dir::ROOT, "after", b"goes on").unwrap();
        fs.commit().unwrap();
    }
}

#[test]
fn a_log_cut_anywhere_opens_with_a_prefix() {
    let device = with_messages(4);
    let whole = device.image();
    for cut in (RING..RING + 6 * BLOCK).step_by(97) {
        let mut image = whole.clone();
        image[cut as usize..(RING + (1 << 20)) as usize].fill(0);
        let records = (cut - RING) / BLOCK; // the one that is cut may be whole all the same
        let names: Vec<_> = dump(&reopen(image).unwrap()).into_keys().collect();
        let expected: Vec<_> = (0..names.len()).map(|n| format!("/m{n}")).collect();
        assert_eq!(names, expected, "cut at {cut}");
        assert!(names.len() as u64 + 1 >= records.min(5), "cut at {cut}: {names:?}");
    }
}

#[test]
fn a_missing_body_of_the_last_record_was_never_acknowledged_but_an_earlier_one_is_damage() {
    let device = formatted();
    let fs = open(&device);
    let body = |byte: u8| vec![byte; 5000];
    deliver(&fs, Dir::ROOT, "first", &body(0xA1)).unwrap();
    fs.commit().unwrap();
    deliver(&fs, Dir::ROOT, "second", &body(0xB2)).unwrap();
    fs.commit().unwrap();
    drop(fs);
    let lose = |byte: u8| {
        let mut image = device.image();
        let at = image.windows(512).position(|sector| sector == vec![byte; 512]).unwrap();
        image[at..at + 512].fill(0);
        image
    };
    let fs = reopen(lose(0xB2)).unwrap();
    assert_eq!(dump(&fs).into_keys().collect::<Vec<_>>(), ["/first"]);
    assert!(fs.status().unwrap().cut);

    let fs = reopen(lose(0xA1)).unwrap();
    let error = crate::workload::read(&fs, Dir::ROOT, "first").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("first"), "{error}");
    assert_eq!(crate::workload::read(&fs, Dir::ROOT, "second").unwrap(), body(0xB2));
}

#[test]
fn one_damaged_superblock_does_no_harm_and_two_refuse_to_open() {
    let device = with_messages(1);
    let mut image = device.image();
    image[40] ^= 1;
    assert_eq!(dump(&reopen(image.clone()).unwrap()).len(), 1);
    let last = SIZE - BLOCK as usize;
    image[last + 40] ^= 1;
    assert!(matches!(reopen(image), Err(OpenError::SuperblockDamaged)));
}

#[test]
fn a_foreign_a_newer_a_truncated_and_another_volume_are_refused_each_by_its_name() {
    let image = with_messages(1).image();
    assert!(matches!(reopen(vec![0; SIZE]), Err(OpenError::NotFormatted)));
    assert!(matches!(reopen(Vec::new()), Err(OpenError::NotFormatted)));
    let truncated = image[..SIZE / 2].to_vec();
    assert!(matches!(reopen(truncated), Err(OpenError::WrongSize { .. })));

    let mut newer = image.clone();
    newer[8] = 2;
    let crc = crc32(&newer[..508]);
    newer[508..512].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(reopen(newer), Err(OpenError::NewerVersion { found: 2, .. })));

    let other = OpenOptions { expect_volume: Some("vol2".into()), ..options() };
    let opened = Fs::open_with(TestDevice::from_image(image.clone(), 2), other);
    assert!(matches!(opened, Err(OpenError::WrongVolume { found, .. }) if found == "vol1"));

    let formatted = Fs::format(TestDevice::from_image(image, 2), &format_options());
    assert!(matches!(formatted, Err(FormatError::AlreadyFormatted(name)) if name == "vol1"));
    let mut foreign = vec![0; SIZE];
    foreign[77] = 1;
    let formatted = Fs::format(TestDevice::from_image(foreign, 2), &format_options());
    assert!(matches!(formatted, Err(FormatError::NotEmpty)));
}

#[test]
fn a_late_handle_of_a_lower_epoch_is_refused() {
    let device = TestDevice::from_image(with_messages(1).image(), 7);
    drop(open(&device));
    let late = Fs::open_with(TestDevice::from_image(device.image(), 6), options());
    assert!(matches!(late, Err(OpenError::StaleEpoch { held: 6, seen: 7 })));
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
