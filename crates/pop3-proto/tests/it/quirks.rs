//! Each quirk: what it lets through, and that nothing does without it.

use posthaste_pop3_proto::*;

use crate::{Seen, run_all_splits};

const TWO: MessageNumber = MessageNumber::new(2).unwrap();

/// Every set without `quirk` refuses what the set with it alone takes.
fn only_with<T: PartialEq + std::fmt::Debug>(quirk: Quirks, meant: T, read: impl Fn(Quirks) -> Option<T>) {
    assert_eq!(read(Quirks::ALL.without(quirk)), None, "{quirk:?}");
    assert_eq!(read(Quirks::NONE), None, "{quirk:?}");
    assert_eq!(read(quirk), Some(meant), "{quirk:?}");
}

fn uidl(line: &str, quirks: Quirks) -> Option<String> {
    UidlEntry::parse_with(line, quirks).map(|entry| entry.to_string())
}

#[test]
fn blanks_in_listings() {
    let blanks = Quirks::LISTING_BLANKS;
    for line in ["2   abc", "2\tabc", " 2 abc", "2 abc  "] {
        only_with(blanks, "2 abc".to_owned(), |quirks| uidl(line, quirks));
    }
    let list = |line| move |quirks| ListEntry::parse_with(line, quirks);
    only_with(blanks, ListEntry { message: TWO, octets: 200 }, list("2  200"));
    only_with(blanks, ListEntry { message: TWO, octets: 200 }, list(" 2 200"));
    only_with(blanks, Stat { messages: 2, octets: 320 }, |quirks| Stat::parse_with("2  320", quirks));
}

#[test]
fn long_unique_ids() {
    let line = format!("2 {}", "x".repeat(288));
    only_with(Quirks::LONG_UNIQUE_IDS, line.clone(), |quirks| uidl(&line, quirks));
}

#[test]
fn numbers_left_out() {
    let quirk = Quirks::NUMBER_LEFT_OUT;
    let uidl = |quirks| UidlEntry::answer(TWO, "00001a1457b5a851", quirks).map(|entry| entry.to_string());
    only_with(quirk, "2 00001a1457b5a851".to_owned(), uidl);
    only_with(quirk, ListEntry { message: TWO, octets: 200 }, |quirks| ListEntry::answer(TWO, "200", quirks));
    // What is as it should be is read as it stands, whatever was asked.
    let three = UidlEntry::answer(TWO, "3 abc", quirk).unwrap();
    assert_eq!(three.message.get(), 3);
    assert_eq!(ListEntry::answer(TWO, "3 5", quirk).unwrap().message.get(), 3);
}

/// What a client makes of these octets behind the greeting; `None` after an error.
fn read(wire: &str, shape: Shape, quirks: Quirks) -> Option<Vec<String>> {
    let mut receiver = ResponseReceiver::new(ClientConfig { quirks, ..ClientConfig::default() });
    receiver.expect(shape);
    let (mut seen, mut text) = (Vec::new(), String::new());
    for mut input in format!("+OK\r\n{wire}").as_bytes().chunks(3) {
        while let Some(event) = receiver.next(&mut input) {
            match event.ok()? {
                ClientEvent::Status(reply) => seen.push(reply.to_string()),
                ClientEvent::Challenge(secret) => seen.push(format!("+ {}", secret.expose().escape_ascii())),
                ClientEvent::Line(line) => seen.push(String::from_utf8(line.to_vec()).unwrap()),
                ClientEvent::Text(more) => text.push_str(std::str::from_utf8(more).unwrap()),
                ClientEvent::End => seen.push(format!("end {}", std::mem::take(&mut text))),
            }
        }
    }
    Some(seen)
}

#[test]
fn text_for_a_challenge() {
    let seen = vec!["+OK".to_owned(), "+ ".to_owned()];
    only_with(Quirks::CHALLENGE_TEXT, seen, |quirks| read("+ go ahead\r\n", Shape::Single, quirks));
    let challenge = read("+ cGFzcw==\r\n", Shape::Single, Quirks::ALL).unwrap();
    assert_eq!(challenge[1], "+ cGFzcw==");
}

#[test]
fn empty_lines_in_a_listing() {
    let lines = |quirks| {
        let seen = read("+OK\r\n\r\n1 a\r\n\r\n2 b\r\n.\r\n", Shape::Lines, quirks)?;
        seen.iter().all(|line| !line.is_empty()).then(|| seen.join("|"))
    };
    only_with(Quirks::EMPTY_LINES, "+OK|+OK|1 a|2 b|end ".to_owned(), lines);
}

#[test]
fn lines_that_end_in_a_bare_line_feed() {
    let listing = |quirks| read("+OK\n1 a\n2 b\r\n.\n", Shape::Lines, quirks).map(|seen| seen.join("|"));
    only_with(Quirks::BARE_LF, "+OK|+OK|1 a|2 b|end ".to_owned(), listing);
    let config = Config { quirks: Quirks::BARE_LF, ..Config::default() };
    let seen = run_all_splits(config, b"NOOP\nSTAT\r\nUSER a\rb\nQUIT\r\nQUIT\n");
    let [noop, stat, refused, quit] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((noop, stat), (&Seen::Command(Command::Noop), &Seen::Command(Command::Stat)));
    assert_eq!(refused, &Seen::Refused(ProtocolError::BareCr), "and the line is skipped to its CRLF");
    assert_eq!(quit, &Seen::Command(Command::Quit));
}

/// The one end of a message does not change with any quirk.
#[test]
fn a_message_ends_at_crlf_dot_crlf_with_all_quirks() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n"] {
        let wire = format!("+OK\r\na{end}b\r\n.\r\n");
        let seen = read(&wire, Shape::Message, Quirks::ALL).unwrap();
        assert!(seen[2].ends_with("b\r\n") && seen.len() == 3, "{end:?}: {seen:?}");
    }
}

#[test]
fn sets_of_quirks_print_their_names() {
    let two = Quirks::LISTING_BLANKS | Quirks::BARE_LF;
    assert_eq!(format!("{two:?}"), "Quirks{\"LISTING_BLANKS\", \"BARE_LF\"}");
    assert!(Quirks::ALL.contains(two) && !Quirks::CLIENT.contains(two));
    assert_eq!(two.without(Quirks::BARE_LF), Quirks::LISTING_BLANKS);
}
