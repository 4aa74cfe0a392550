//! File names keep every byte but the flags that are changed; keyword files and folder names come
//! back from their rendering.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::seeded;
use posthaste_maildir::{FileName, Flags, Keywords, mutf7};

fn name(raw: &[u8], bits: u64) {
    let Ok(name) = FileName::parse(raw) else { return };
    assert_eq!(name.as_bytes(), raw);
    assert!(raw.starts_with(name.base_bytes()));
    assert_eq!(name.base().as_bytes(), name.base_bytes());
    let wanted = Flags::from_bits_truncate(bits);
    let changed = name.with_flags(wanted);
    assert_eq!(changed.flags(), wanted);
    assert_eq!(changed.base_bytes(), name.base_bytes());
    assert_eq!(changed.with_flags(wanted), changed);
    if let Ok(read) = FileName::parse(changed.as_bytes()) {
        assert_eq!(read, changed, "{}", raw.escape_ascii());
    }
    let canonical = FileName::new(&name.base(), wanted);
    assert_eq!((canonical.base(), canonical.flags()), (name.base(), wanted));
    let (_, micros) = name.base().arrival();
    let _ = (micros, name.base().size(), name.base().wire_size());
    if let Ok(sized) = name.base().with_sizes(5, 6) {
        assert!(sized.size().is_some() && sized.stem() == name.base().stem());
    }
}

fn keywords(text: &[u8]) {
    let read = Keywords::parse(text);
    let rendered = read.render();
    let again = Keywords::parse(&rendered);
    assert_eq!(again.render(), rendered);
    assert_eq!(again.all(), read.all());
    for keyword in read.all() {
        let flag = read.find(&keyword).expect("it is named");
        assert!(read.names(flag).contains(&keyword));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = seeded(data) else { return };
    name(text, u64::from(seed) * 0x0101_0101_0101);
    keywords(text);
    if let Some(folder) = mutf7::decode(text) {
        assert_eq!(mutf7::encode(&folder).as_bytes(), text);
    }
});
