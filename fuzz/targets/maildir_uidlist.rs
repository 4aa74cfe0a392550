//! A `dovecot-uidlist` reads the same in one piece and as it grows; UIDs ascend and none is given
//! twice; what is rewritten reads as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::seeded;
use posthaste_maildir::BaseName;
use posthaste_maildir::uidlist::UidList;

fn check(list: &UidList) {
    assert!(list.validity() != 0);
    let uids: Vec<u32> = list.records().map(|record| record.uid).collect();
    assert!(uids.windows(2).all(|pair| pair[0] < pair[1]), "{uids:?}");
    let floor = uids.last().map_or(1, |last| u64::from(*last) + 1);
    assert!(list.next_uid().is_none_or(|next| u64::from(next) >= floor));
    for record in list.records() {
        assert_eq!(list.uid(record.base), Some(record.uid));
    }
    let text = list.render();
    let (again, used) = UidList::parse(&text).expect("its own rendering");
    assert_eq!(used, text.len());
    assert_eq!((again.validity(), again.next_uid()), (list.validity(), list.next_uid()));
    assert!(again.records().eq(list.records()));
    assert_eq!(again.render(), text);
    assert!(!again.needs_rewrite());
}

fn a_new_message_gets_a_new_uid(mut list: UidList) {
    let base = BaseName::parse(b"1700000000.M1P1.fuzz-new").expect("a name");
    let (next, known) = (list.next_uid(), list.uid(base.as_bytes()));
    if known.is_none() {
        let before: Vec<u32> = list.records().map(|record| record.uid).collect();
        let got = list.assign(&base).map(|record| record.uid);
        assert_eq!(got, next);
        assert!(got.is_none_or(|uid| before.iter().all(|old| *old < uid)));
        check(&list);
        if got.is_some() {
            list.forget_last(1);
            assert!(list.next_uid() != next, "a UID that may have been seen is not given again");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = seeded(data) else { return };
    let Ok((whole, used)) = UidList::parse(text) else { return };
    assert!(used <= text.len());
    check(&whole);
    let end = text.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    let cut = end + usize::from(seed) * (text.len() - end) / 255;
    if let Ok((mut grown, read)) = UidList::parse(&text[..cut]) {
        // The reader comes back to what it could not use yet.
        grown.extend(&text[read..]);
        assert!(grown.records().eq(whole.records()));
        assert_eq!(grown.next_uid(), whole.next_uid());
    }
    a_new_message_gets_a_new_uid(whole);
});
