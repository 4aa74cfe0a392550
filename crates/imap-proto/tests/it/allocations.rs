//! How often the parsers allocate, counted by the test's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use posthaste_imap_proto::*;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread while `act` runs.
fn during<T>(act: impl FnOnce() -> T) -> usize {
    let before = COUNT.with(Cell::get);
    let value = act();
    let count = COUNT.with(Cell::get) - before;
    drop(value);
    count
}

#[test]
fn everyday_commands_are_framed_parsed_and_read_without_an_allocation() {
    let text = b"a1 LOGIN alice@example.org \"pass word\"\r\n\
        a2 SELECT INBOX (CONDSTORE)\r\n\
        a3 UID FETCH 1:50,60,70:80,* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To Subject Date)] BODY[1.2]<0.100>)\r\n\
        a4 UID STORE 7 +FLAGS.SILENT (\\Seen \\Deleted $Junk)\r\n\
        a5 UID SEARCH UNSEEN SINCE 1-Feb-2026 OR FROM x NOT (SUBJECT \"a b\" LARGER 5)\r\n\
        a6 STATUS \"Sent Items\" (MESSAGES UIDNEXT UNSEEN)\r\n\
        a7 LIST \"\" \"*\" RETURN (SPECIAL-USE)\r\n\
        a8 UID MOVE 1:3 Trash\r\n\
        a9 IDLE\r\n";
    let limits = ParseLimits::default();
    let mut decoder = CommandDecoder::new(Config::default());
    let mut input = &text[..];
    let mut seen = 0;
    let count = during(|| {
        while let Event::Command(raw) = decoder.decode(&mut input) {
            read(&raw.parse(&limits).expect("a command"));
            seen += 1;
        }
    });
    assert_eq!((seen, count), (9, 0));
}

fn read(command: &Command<'_>) {
    match &command.body {
        CommandBody::Fetch { items: FetchItems::List(items), .. } => {
            for item in items {
                if let FetchItem::Section {
                    section: Section { text: Some(SectionText::HeaderFields(names)), .. },
                    ..
                } = item
                {
                    assert_eq!(names.iter().count(), 4);
                }
            }
        }
        CommandBody::Store { flags, .. } => assert_eq!(flags.iter().count(), 3),
        CommandBody::Search { keys, .. } => keys.iter().for_each(|key| search_key(&key)),
        CommandBody::Status { items, .. } => assert_eq!(items.iter().count(), 3),
        _ => {}
    }
}

fn search_key(key: &SearchKey<'_>) {
    match key {
        SearchKey::Not(key) => search_key(&key.get()),
        SearchKey::Or(a, b) => {
            search_key(&a.get());
            search_key(&b.get());
        }
        SearchKey::And(keys) => keys.iter().for_each(|key| search_key(&key)),
        _ => {}
    }
}

#[test]
fn an_envelope_with_a_structure_takes_two_allocations() {
    let part = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"utf-8\") NIL NIL \"7BIT\" 1152 23 NIL (\"INLINE\" (\"A\" \"b\")) NIL NIL)";
    let text = format!(
        "* 1 FETCH (UID 4 FLAGS (\\Seen) ENVELOPE (\"d\" \"s\" ((\"n\" NIL \"m\" \"h\")) NIL NIL NIL NIL NIL NIL \"<i>\") \
         BODYSTRUCTURE (({part}{part} \"ALTERNATIVE\" (\"BOUNDARY\" \"x\") NIL NIL NIL){part} \"MIXED\" (\"BOUNDARY\" \"y\") NIL NIL NIL))"
    );
    let limits = ParseLimits::client();
    let mut parsed = None;
    assert_eq!(during(|| parsed = Some(Response::parse(text.as_bytes(), &limits).expect("a response"))), 2);
    let Some(Response::Data(Data::Fetch { items, .. })) = parsed else { panic!() };
    let count = during(|| {
        let [_, _, FetchData::Envelope(envelope), FetchData::BodyStructure(body)] = &items[..] else {
            panic!()
        };
        assert_eq!(envelope.parse().from.iter().count(), 1);
        assert_eq!(body.root().children().map(|part| part.children().count()).sum::<usize>(), 2);
    });
    assert_eq!(count, 0);
}

#[test]
fn fetch_flags_encode_without_allocating() {
    let flags = [Flag::Seen, Flag::keyword("$Junk").expect("a keyword")];
    let mut out = Vec::with_capacity(256);
    let count = during(|| {
        let mut fetch = FetchWriter::new(&mut out, 7);
        fetch.flags(&flags);
        fetch.uid(u32::MAX);
        fetch.mod_seq(5);
        fetch.end();
    });
    assert_eq!(out, b"* 7 FETCH (FLAGS (\\Seen $Junk) UID 4294967295 MODSEQ (5))\r\n");
    assert_eq!(count, 0);
}
