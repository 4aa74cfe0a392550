//! The decoders: splits, literals, errors and what is skipped after them.

use posthaste_imap_proto::*;

/// An event, owned, chunks joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Command(Vec<u8>),
    Continue,
    Append(String, LiteralSpec),
    Message(Vec<u8>),
    MessageEnd,
    Line(Vec<u8>),
    Error(Option<String>, FrameErrorKind),
}

pub(crate) fn tight() -> Config {
    Config {
        pre_auth: FrameLimits { line_octets_max: 60, literal_octets_max: 10, command_octets_max: 80 },
        authenticated: FrameLimits { line_octets_max: 100, literal_octets_max: 20, command_octets_max: 150 },
        append_octets_max: 1000,
        literal_minus: false,
        append_more: false,
        parse: ParseLimits::default(),
    }
}

/// Feeds pieces; accepts messages; expects a raw line after IDLE.
pub(crate) fn run<'i>(authenticated: bool, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    run_with(tight(), authenticated, pieces)
}

fn run_with<'i>(
    config: Config,
    authenticated: bool,
    pieces: impl IntoIterator<Item = &'i [u8]>,
) -> Vec<Seen> {
    let mut decoder = CommandDecoder::new(config);
    decoder.set_authenticated(authenticated);
    let mut seen = Vec::new();
    for mut input in pieces {
        while feed(&mut decoder, &mut input, &mut seen) {}
        assert!(input.is_empty());
        assert!(decoder.held() <= 151);
    }
    seen
}

fn feed(decoder: &mut CommandDecoder, input: &mut &[u8], seen: &mut Vec<Seen>) -> bool {
    let mut accept = false;
    let mut line = false;
    match decoder.decode(input) {
        Event::NeedMore => return false,
        Event::Command(raw) => {
            line = raw.as_bytes().ends_with(b" IDLE");
            seen.push(Seen::Command(raw.as_bytes().to_vec()));
        }
        Event::Continue => seen.push(Seen::Continue),
        Event::Append(start) => {
            let parsed = start.parse(&ParseLimits::default());
            accept = parsed.is_ok();
            let text = parsed.map_or("refused".into(), |(tag, head)| format!("{tag} {:?}", head.mailbox));
            seen.push(Seen::Append(text, start.literal));
        }
        Event::MessageChunk(chunk) => match seen.last_mut() {
            Some(Seen::Message(all)) => all.extend_from_slice(chunk),
            _ => seen.push(Seen::Message(chunk.to_vec())),
        },
        Event::MessageEnd(_) => seen.push(Seen::MessageEnd),
        Event::Line(raw) => seen.push(Seen::Line(raw.as_bytes().to_vec())),
        Event::Error(error) => seen.push(Seen::Error(error.tag.map(|t| t.to_string()), error.kind)),
    }
    if accept {
        decoder.accept_message();
    }
    if line {
        decoder.expect_line();
    }
    true
}

fn command(text: &str) -> Seen {
    Seen::Command(text.as_bytes().to_vec())
}

fn error(tag: &str, kind: FrameErrorKind) -> Seen {
    Seen::Error(Some(tag.to_owned()), kind)
}

const DIALOGUE: &str = "a NOOP\r\nb LOGIN {5+}\r\nalice {6}\r\nsecret\r\n\
    c APPEND INBOX (\\Seen) {10}\r\n0123456789\r\nd APPEND {5+}\r\nINBOX {4+}\r\n\r\nx\n\r\n\
    e SELECT \"x {5}\"\r\nf LOGIN \"\\\"{5+}\r\ng IDLE\r\nDONE {5+}\r\n\
    h LOGIN {50+}\r\ni NOOP\r\nj NOOP\r\nk NOOP\r\nl NOOP\r\nm NOOP\r\nn NOOP\r\n1\r\n\
    o NOOP\nx NOOP {7+}\r\np NOOP \r\nq APPEND x {2000+}\r\n";

#[test]
fn any_split_of_a_dialogue_gives_the_same_events() {
    let mut text = DIALOGUE.as_bytes().to_vec();
    text.extend(std::iter::repeat_n(b'\n', 2000));
    text.extend(b"\r\nr BLA ");
    text.extend(std::iter::repeat_n(b'x', 200));
    text.extend(b" {8+}\r\ns NOOP\r\n\r\nt NOOP\r\n");
    let whole = run(true, [&text[..]]);
    assert_eq!(whole.last(), Some(&command("t NOOP")));
    assert!(!whole.contains(&command("s NOOP")), "{whole:?}");
    assert_eq!(run(true, text.chunks(1)), whole);
    for size in [2, 3, 7, 64] {
        assert_eq!(run(true, text.chunks(size)), whole, "{size}");
    }
    for cut in 1..text.len() {
        assert_eq!(run(true, [&text[..cut], &text[cut..]]), whole, "{cut}");
    }
}

#[test]
fn literals_are_put_in_place_and_asked_for() {
    let seen = run(true, [&b"b LOGIN {5+}\r\nalice {6}\r\nsecret\r\n"[..]]);
    assert_eq!(seen, [Seen::Continue, command("b LOGIN {5+}\r\nalice {6}\r\nsecret")]);
}

#[test]
fn the_message_of_an_append_streams_past_the_parser() {
    let spec = LiteralSpec { octets: 10, sync: true, binary: false };
    let seen = run(true, [&b"c APPEND INBOX (\\Seen) {10}\r\n0123\r\n\r\n\n\n\r\nd NOOP\r\n"[..]]);
    assert_eq!(
        seen,
        [
            Seen::Append("c Mailbox(INBOX)".into(), spec),
            Seen::Message(b"0123\r\n\r\n\n\n".to_vec()),
            Seen::MessageEnd,
            command("d NOOP")
        ]
    );
    let mailbox_as_literal = run(true, [&b"d APPEND {5+}\r\nINBOX {2+}\r\nhi\r\n"[..]]);
    let spec = LiteralSpec { octets: 2, sync: false, binary: false };
    assert_eq!(mailbox_as_literal[0], Seen::Append("d Mailbox(INBOX)".into(), spec));
    assert_eq!(mailbox_as_literal[2], Seen::MessageEnd);
}

#[test]
fn a_message_not_followed_by_crlf_never_ends_and_nothing_of_it_is_a_command() {
    let seen = run(true, [&b"c APPEND x {2+}\r\nhi {8+}\r\nd NOOP\r\n\r\ne NOOP\r\n"[..]]);
    assert_eq!(
        seen[1..],
        [Seen::Message(b"hi".to_vec()), error("c", FrameErrorKind::AfterMessage), command("e NOOP")]
    );
}

#[test]
fn a_refused_message_is_skipped() {
    for (input, left) in
        [(&b"c APPEND x {8+}\r\nd NOOP\r\n\r\ne NOOP\r\n"[..], 1), (b"c APPEND x {8}\r\ne NOOP\r\n", 1)]
    {
        let mut decoder = CommandDecoder::new(tight());
        decoder.set_authenticated(true);
        let mut rest = input;
        assert!(matches!(decoder.decode(&mut rest), Event::Append(_)));
        decoder.refuse_message();
        let mut commands = Vec::new();
        while let Event::Command(raw) = decoder.decode(&mut rest) {
            commands.push(raw.as_bytes().to_vec());
        }
        assert_eq!(commands.len(), left);
        assert_eq!(commands[0], b"e NOOP");
    }
}

#[test]
fn an_oversized_literal_is_discarded_and_never_parsed_as_commands() {
    let big = "d NOOP\r\n".repeat(10);
    for (text, sync) in [
        (format!("a LOGIN {{80+}}\r\n{big} x\r\ne NOOP\r\n"), false),
        ("a LOGIN {80}\r\ne NOOP\r\n".into(), true),
    ] {
        let seen = run(false, [text.as_bytes()]);
        let kind = FrameErrorKind::LiteralTooLarge { octets: 80, limit: 10 };
        assert_eq!(seen, [error("a", kind), command("e NOOP")], "sync {sync}");
    }
    let seen = run(true, [&b"a APPEND x {1001}\r\ne NOOP\r\n"[..]]);
    assert_eq!(seen[0], error("a", FrameErrorKind::MessageTooLarge { octets: 1001, limit: 1000 }));
}

#[test]
fn an_append_before_login_is_no_way_around_the_literal_limit() {
    let seen = run(false, [&b"a APPEND x {11+}\r\ne NOOP\r\nxyz\r\nf NOOP\r\n"[..]]);
    let kind = FrameErrorKind::LiteralTooLarge { octets: 11, limit: 10 };
    assert_eq!(seen, [error("a", kind), command("f NOOP")]);
}

#[test]
fn many_small_literals_reach_the_limit_of_the_whole_command() {
    let text = format!("a X{}\r\nb NOOP\r\n", " {19+}\r\n1234567890123456789".repeat(8));
    let seen = run(true, [text.as_bytes()]);
    assert!(
        matches!(&seen[..], [Seen::Error(_, FrameErrorKind::LiteralTooLarge { .. }), last] if *last == command("b NOOP"))
    );
}

#[test]
fn the_line_behind_small_literals_reaches_the_limit_of_the_whole_command_too() {
    let text = format!("a X{} {}\r\nb NOOP\r\n", " {20+}\r\n12345678901234567890".repeat(3), "y".repeat(68));
    let seen = run(true, [text.as_bytes()]);
    assert_eq!(seen, [error("a", FrameErrorKind::LineTooLong { limit: 150 }), command("b NOOP")]);
    assert_eq!(run(true, text.as_bytes().chunks(1)), seen);
}

#[test]
fn bare_lf_ends_no_line() {
    let seen = run(false, [&b"a NOOP\nb NOOP\r\nc NOOP\r\n\nd NOOP\r\ne NOOP\r\n"[..]]);
    let lf = FrameErrorKind::BareLf;
    assert_eq!(seen, [error("a", lf), command("c NOOP"), Seen::Error(None, lf), command("e NOOP")]);
}

/// Everything that `tight` has, and lines that end in LF alone.
fn with_bare_lf() -> Config {
    let quirks = Quirks::SERVER | Quirks::BARE_LF;
    Config { parse: ParseLimits { quirks, ..ParseLimits::default() }, ..tight() }
}

#[test]
fn bare_lf_ends_a_line_by_quirk_and_literals_stay_exact() {
    assert!(!Quirks::ALL.contains(Quirks::BARE_LF) && !Quirks::SERVER.contains(Quirks::BARE_LF));
    let text = b"a NOOP\nb LOGIN {5+}\na\nb\r\n {3}\n\nx\n\nc APPEND INBOX {8}\nab\r\ncd\n\n\nd IDLE\nDONE\n\
        e LOGIN {50+}\n0123456789\nx NOOP\n0123456789\nx NOOP\n0123456789abcdef\nf SELECT \"{9+}\"\r\ng NOOP\r\n";
    let seen = run_with(with_bare_lf(), true, [&text[..]]);
    let spec = LiteralSpec { octets: 8, sync: true, binary: false };
    assert_eq!(
        seen,
        [
            command("a NOOP"),
            Seen::Continue,
            command("b LOGIN {5+}\r\na\nb\r\n {3}\r\n\nx\n"),
            Seen::Append("c Mailbox(INBOX)".into(), spec),
            Seen::Message(b"ab\r\ncd\n\n".to_vec()),
            Seen::MessageEnd,
            command("d IDLE"),
            Seen::Line(b"DONE".to_vec()),
            error("e", FrameErrorKind::LiteralTooLarge { octets: 50, limit: 20 }),
            command("f SELECT \"{9+}\""),
            command("g NOOP"),
        ]
    );
    for cut in 1..text.len() {
        assert_eq!(run_with(with_bare_lf(), true, [&text[..cut], &text[cut..]]), seen, "{cut}");
    }
    for raw in [&b"b LOGIN {5+}\r\na\nb\r\n {3}\r\n\nx\n"[..], b"a NOOP"] {
        assert!(Command::parse(raw, &ParseLimits::default()).is_ok());
    }
}

#[test]
fn a_line_at_the_limit_is_the_same_in_any_split_with_bare_lf_allowed() {
    for (end, n) in ["\r\n", "\n"].into_iter().flat_map(|end| (50..64).map(move |n| (end, n))) {
        let text = format!("a X {}{end}b NOOP{end}", "y".repeat(n));
        let whole = run_with(with_bare_lf(), false, [text.as_bytes()]);
        assert_eq!(whole.last(), Some(&command("b NOOP")), "{n}");
        for cut in 1..text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(run_with(with_bare_lf(), false, [a, b]), whole, "{n} cut at {cut}");
        }
    }
}

#[test]
fn lines_that_end_in_crlf_are_the_same_with_bare_lf_allowed() {
    let text = DIALOGUE.replace("n NOOP\r\n1\r\n", "n NOOP\r\n12\r\n").replace("o NOOP\n", "");
    assert_eq!(run_with(with_bare_lf(), true, [text.as_bytes()]), run(true, [text.as_bytes()]));
}

#[test]
fn an_overlong_line_is_skipped_to_its_end_and_no_further() {
    for n in (40..70).chain([500]) {
        let text = format!("a X {}\r\nb NOOP\r\n", "y".repeat(n));
        let first = match n {
            0..=54 => command(&text[..n + 4]),
            _ => error("a", FrameErrorKind::LineTooLong { limit: 60 }),
        };
        for size in [1, 9, 1000] {
            let seen = run(false, text.as_bytes().chunks(size));
            assert_eq!(seen, [first.clone(), command("b NOOP")], "{n} in pieces of {size}");
        }
    }
}

#[test]
fn braces_within_a_quoted_string_announce_nothing() {
    let seen = run(false, [&b"a SELECT \"x {5}\"\r\nb LOGIN \"x {5+}\r\nc NOOP\r\n"[..]]);
    assert_eq!(seen, [command("a SELECT \"x {5}\""), command("b LOGIN \"x {5+}"), command("c NOOP")]);
}

#[test]
fn a_raw_line_is_taken_as_it_is() {
    let seen = run(true, [&b"g IDLE\r\nDONE {5+}\r\nh NOOP\r\n"[..]]);
    assert_eq!(seen, [command("g IDLE"), Seen::Line(b"DONE {5+}".to_vec()), command("h NOOP")]);
}

/// Feeds pieces to a decoder that takes several literals in an APPEND; each literal's head and its octets, and the command.
fn appends(text: &[u8], size: usize) -> Vec<String> {
    let mut decoder = CommandDecoder::new(Config { append_more: true, ..tight() });
    decoder.set_authenticated(true);
    let mut seen: Vec<String> = Vec::new();
    for mut input in text.chunks(size) {
        loop {
            let mut accept = false;
            let text = match decoder.decode(&mut input) {
                Event::NeedMore => break,
                Event::Append(start) => {
                    accept = true;
                    let (_, head) = start.parse(&ParseLimits::default()).unwrap();
                    let flags = head.flags.len();
                    format!("{:?} {} {flags} {:?} {:?}", head.kind, head.before, head.mailbox, head.replaces)
                }
                Event::MessageChunk(chunk) => {
                    let chunk = chunk.escape_ascii().to_string();
                    match seen.last_mut() {
                        Some(last) if last.starts_with("C ") => {
                            last.push_str(&chunk);
                            continue;
                        }
                        _ => format!("C {chunk}"),
                    }
                }
                Event::MessageEnd(raw) => match raw.parse(&ParseLimits::default()) {
                    Ok(Command { body: CommandBody::Append { messages, .. }, .. }) => {
                        format!("end {}", messages.len())
                    }
                    Ok(Command { body: CommandBody::Replace { .. }, .. }) => "end replace".into(),
                    other => format!("{:?}", other.map_err(|e| e.kind)),
                },
                Event::Command(raw) => format!("command {}", raw.as_bytes().escape_ascii()),
                Event::Continue => "+".into(),
                other => format!("{other:?}"),
            };
            seen.push(text);
            if accept {
                decoder.accept_message();
            }
        }
    }
    seen
}

#[test]
fn multiappend_catenate_utf8_and_replace_stream_each_literal() {
    let text = b"a APPEND x (\\Seen) {2}\r\nhi (\\Seen $b) {1+}\r\n.\r\n\
        b APPEND x CATENATE (URL /y TEXT {3+}\r\nabc URL {2}\r\n/z TEXT {1+}\r\nd)\r\n\
        c APPEND x UTF8 (~{2+}\r\n\0x)\r\nd UID REPLACE 7 x {1+}\r\nr\r\ne APPEND x {1+}\r\nq nonsense\r\nf NOOP\r\n";
    let whole = appends(text, text.len());
    assert_eq!(
        whole,
        [
            "Message 0 1 Mailbox(x) None",
            "C hi",
            "Message 1 2 Mailbox(x) None",
            "C .",
            "end 2",
            "Piece 0 0 Mailbox(x) None",
            "C abc",
            "+",
            "Piece 1 0 Mailbox(x) None",
            "C d",
            "end 1",
            "Utf8 0 0 Mailbox(x) None",
            "C \\x00x",
            "end 1",
            "Message 0 0 Mailbox(x) Some((true, Number(7)))",
            "C r",
            "end replace",
            "Message 0 0 Mailbox(x) None",
            "C q",
            "Err(Expected(\"a space\"))",
            "command f NOOP",
        ]
    );
    for size in 1..20 {
        assert_eq!(appends(text, size), whole, "{size}");
    }
}

#[test]
fn literal_minus_refuses_large_literals_sent_unasked_and_skips_them() {
    let mut decoder = CommandDecoder::new(Config { literal_minus: true, ..Config::default() });
    decoder.set_authenticated(true);
    let text =
        format!("a APPEND x {{4097+}}\r\n{}\r\nb NOOP\r\nc APPEND x {{4096+}}\r\n", "d NOOP\r\n".repeat(600));
    let text = text.replacen(&"d NOOP\r\n".repeat(600), &format!("{}x", "d NOOP\r\n".repeat(512)), 1);
    let mut input = text.as_bytes();
    let Event::Error(error) = decoder.decode(&mut input) else { panic!() };
    assert_eq!(
        (error.tag.unwrap().as_str(), error.kind),
        ("a", FrameErrorKind::NonSyncTooLarge { octets: 4097 })
    );
    assert!(matches!(decoder.decode(&mut input), Event::Command(raw) if raw.as_bytes() == b"b NOOP"));
    assert!(matches!(decoder.decode(&mut input), Event::Append(_)));
}

#[test]
fn a_literal8_is_collected_with_its_nuls() {
    let seen = run(true, [&b"a SETMETADATA x (/y ~{3}\r\n\0\r\n)\r\n"[..]]);
    assert_eq!(seen, [Seen::Continue, Seen::Command(b"a SETMETADATA x (/y ~{3}\r\n\0\r\n)".to_vec())]);
}

#[test]
fn bare_cr_ends_no_line_and_is_no_part_of_an_argument() {
    let seen = run(true, [&b"a LOGIN x\ry z\r\nb NOOP\r\n"[..]]);
    assert_eq!(seen, [command("a LOGIN x\ry z"), command("b NOOP")]);
    for text in [&b"a LOGIN x\ry z"[..], b"a LOGIN \"x\ry\" z", b"a NOOP\r"] {
        assert!(Command::parse(text, &ParseLimits::default()).is_err());
    }
}

#[test]
fn starttls_discards_what_was_pipelined_in_plain_text() {
    let mut decoder = CommandDecoder::new(tight());
    let mut input: &[u8] = b"a STARTTLS\r\nb LOGIN x y\r\nc";
    assert!(matches!(decoder.decode(&mut input), Event::Command(_)));
    assert_eq!(decoder.discard_plaintext(&mut input), 14);
    assert_eq!(decoder.decode(&mut input), Event::NeedMore);
    let mut input: &[u8] = b"d NO";
    assert_eq!(decoder.decode(&mut input), Event::NeedMore);
    assert_eq!(decoder.discard_plaintext(&mut input), 4);
    let mut input: &[u8] = b"e NOOP\r\n";
    assert!(matches!(decoder.decode(&mut input), Event::Command(raw) if raw.as_bytes() == b"e NOOP"));
}

#[test]
fn every_proper_prefix_of_a_command_is_incomplete() {
    for text in [&b"a LOGIN {5+}\r\nalice {3}\r\nfoo\r\n"[..], b"a SELECT \"x\"\r\n", b"\r\n"] {
        for cut in 0..text.len() {
            let seen = run(true, [&text[..cut]]);
            assert!(seen.iter().all(|s| *s == Seen::Continue), "{cut}: {seen:?}");
        }
        assert!(matches!(run(true, [text]).last(), Some(Seen::Command(_))));
    }
}

fn responses(config: &ResponseConfig, pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = ResponseDecoder::new(config.clone());
    let mut seen: Vec<String> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            let text = match decoder.decode(&mut input) {
                ResponseEvent::NeedMore => break,
                ResponseEvent::Response(raw) => {
                    raw.parse(&config.parse).expect("a response");
                    format!("R {}", raw.as_bytes().escape_ascii())
                }
                ResponseEvent::LiteralStart { so_far, octets } => {
                    format!("S {octets} {}", so_far.escape_ascii())
                }
                ResponseEvent::LiteralChunk(chunk) => {
                    let chunk = chunk.escape_ascii().to_string();
                    match seen.last_mut() {
                        Some(last) if last.starts_with("C ") => {
                            last.push_str(&chunk);
                            continue;
                        }
                        _ => format!("C {chunk}"),
                    }
                }
                ResponseEvent::Error(error) => {
                    seen.push(format!("E {error:?}"));
                    return seen;
                }
            };
            seen.push(text);
        }
    }
    seen
}

#[test]
fn any_split_of_responses_gives_the_same_events_and_large_literals_stream() {
    let text = b"* OK \"hi {5}\r\n* 1 FETCH (UID 7 BODY[] {12}\r\n0123\r\n)\n\"(\\\" FLAGS (\\Seen) BODY[1] {3}\r\nabc)\r\n\
        * LIST () \".\" {3}\r\na b\r\na OK {3}\r\n+ go\r\n";
    let config = ResponseConfig { literal_held_max: 10, ..ResponseConfig::default() };
    let whole = responses(&config, &[text]);
    assert_eq!(whole[1], "S 12 * 1 FETCH (UID 7 BODY[] ");
    assert_eq!(whole[2], "C 0123\\r\\n)\\n\\\"(\\\\\\\"");
    assert!(whole[3].starts_with("R * 1 FETCH (UID 7 BODY[] {12}\\x00 FLAGS"), "{}", whole[3]);
    assert_eq!(whole.len(), 7);
    for cut in 1..text.len() {
        assert_eq!(responses(&config, &[&text[..cut], &text[cut..]]), whole, "{cut}");
    }
}

#[test]
fn a_servers_broken_framing_is_an_error_for_good() {
    let config =
        ResponseConfig { response_octets_max: 40, literal_octets_max: 30, ..ResponseConfig::default() };
    for (text, error) in [
        (&b"* OK\nb OK\r\n"[..], "E BareLf"),
        (b"* 1 FETCH (BODY[] {31}\r\n", "E LiteralTooLarge"),
        (b"* 1 FETCH (BODY[] {30}\r\n", "E TooLong"),
        (b"* OK 123456789012345678901234567890123456789012345678\r\n", "E TooLong"),
        (b"* 1 FETCH (BODY[] {5}\0)\r\n", "E Nul"),
    ] {
        let seen = responses(&config, &[text, b"* OK\r\n"]);
        assert!(seen.len() == 1 && seen[0].starts_with(error), "{seen:?}");
    }
}
