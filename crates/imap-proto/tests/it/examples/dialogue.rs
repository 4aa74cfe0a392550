//! Dialogues as the RFCs print them, and what is asked of each line.
//!
//! | A line that begins with | is |
//! |---|---|
//! | `@ ` | the section; a new connection begins |
//! | `C: `, `S: ` | a line of the client's or the server's, as printed (folded ones joined) |
//! | `C~ `, `S~ ` | one that is not printed so: it stands for lines that are marked by `!` or `-` |
//! | `C! `, `S! ` | one that is printed and is not what it seems; a note follows, in brackets what we answer: an error, or `opaque`, and the quirk by which it is read after all |
//! | `C- `, `S- ` | one that is printed and no octets of the protocol: a note with the reason follows |
//! | `= ` | how we write the message that ends on the line before, where that differs; a line for each of its lines |
//! | `; ` | a note |
//!
//! A space at the end of a line is written `␠`, and `⟨310⟩` is so many octets that are not printed.
//!
//! A message is parsed to the letter of the RFCs, without quirks. It must be the command or response that its words say, and nothing in it may
//! be opaque, unless a note that begins with `opaque` follows. It is written back to the same octets, or to those that `=` gives, which then
//! mean the same.

use posthaste_imap_proto::*;

use super::{names, opaque};

/// A test for each RFC: its name, the file, and the numbers of [`Examples`].
macro_rules! examples {
    ($($name:ident, $file:literal, $printed:expr, $wrong:expr;)*) => {$(
        #[test]
        fn $name() {
            use crate::examples::dialogue::{Examples, check};
            check(&Examples { file: $file, text: include_str!($file), printed: $printed, wrong: $wrong });
        }
    )*};
}

pub(in crate::examples) use examples;

/// The examples of one RFC.
pub(in crate::examples) struct Examples {
    pub(in crate::examples) file: &'static str,
    pub(in crate::examples) text: &'static str,
    /// Lines that the RFC prints: by the client, by the server.
    pub(in crate::examples) printed: (usize, usize),
    /// How many of them are wrong, and how many are no octets.
    pub(in crate::examples) wrong: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Section,
    Wire(Side),
    Supplement(Side),
    Wrong(Side),
    Aside(Side),
    Canonical,
    Note,
}

type Line = (Kind, &'static str);

fn line(text: &'static str) -> Line {
    let (mark, rest) = text.split_at(text.len().min(2));
    if let Some(text) = rest.strip_prefix(' ').or(rest.is_empty().then_some("")) {
        let kind = match mark {
            "C:" => Some(Kind::Wire(Side::Client)),
            "S:" => Some(Kind::Wire(Side::Server)),
            "C~" => Some(Kind::Supplement(Side::Client)),
            "S~" => Some(Kind::Supplement(Side::Server)),
            "C!" => Some(Kind::Wrong(Side::Client)),
            "S!" => Some(Kind::Wrong(Side::Server)),
            "C-" => Some(Kind::Aside(Side::Client)),
            "S-" => Some(Kind::Aside(Side::Server)),
            _ => None,
        };
        if let Some(kind) = kind {
            return (kind, text);
        }
    }
    match mark {
        "@ " => (Kind::Section, rest),
        "= " | "=" => (Kind::Canonical, rest),
        "; " => (Kind::Note, rest),
        _ => panic!("no line of a dialogue: {text:?}"),
    }
}

/// Checks every line, and that none was lost.
pub(in crate::examples) fn check(examples: &Examples) {
    let lines: Vec<Line> = examples.text.lines().map(line).collect();
    let printed = |side| {
        let of_rfc = [Kind::Wire(side), Kind::Wrong(side), Kind::Aside(side)];
        lines.iter().filter(|(kind, _)| of_rfc.contains(kind)).count()
    };
    let wrong = lines.iter().filter(|(kind, _)| matches!(kind, Kind::Wrong(_))).count();
    let asides = lines.iter().filter(|(kind, _)| matches!(kind, Kind::Aside(_))).count();
    let rfc = examples.file;
    assert_eq!((printed(Side::Client), printed(Side::Server)), examples.printed, "lines of {rfc}");
    assert_eq!((wrong, asides), examples.wrong, "lines of {rfc} that do not stand as printed");
    let mut section = "";
    let mut connection = Connection::new(String::new());
    for (n, (kind, text)) in lines.iter().enumerate() {
        let after = &lines[n + 1..];
        match *kind {
            Kind::Section => {
                section = text;
                connection.end();
            }
            Kind::Wire(side) | Kind::Supplement(side) => connection.line(side, text, &Expected::of(after)),
            Kind::Wrong(side) => refused(side, text, after),
            Kind::Aside(_) => assert!(has_note(after), "{rfc}: why is this no example? {text}"),
            Kind::Canonical | Kind::Note => {}
        }
        if *kind == Kind::Section {
            connection = Connection::new(format!("{rfc} section {section}"));
        }
    }
    connection.end();
}

/// What the lines after a message's last one say of it.
#[derive(Debug, Default)]
struct Expected {
    /// How it is written, if not as it was read.
    canonical: Option<String>,
    opaque: bool,
}

impl Expected {
    fn of(after: &[Line]) -> Self {
        let forms = after.iter().take_while(|(kind, _)| *kind == Kind::Canonical).count();
        let canonical: String = after[..forms].iter().map(|(_, text)| octets(text)).collect();
        Self {
            canonical: (!canonical.is_empty()).then_some(canonical),
            opaque: after
                .get(forms)
                .is_some_and(|(kind, text)| *kind == Kind::Note && text.starts_with("opaque")),
        }
    }
}

fn has_note(after: &[Line]) -> bool {
    after
        .iter()
        .find(|(kind, _)| !matches!(kind, Kind::Aside(_)))
        .is_some_and(|(kind, _)| *kind == Kind::Note)
}

/// A line that is wrong by its own RFC is refused as the note says: `; [our answer] why`.
fn refused(side: Side, text: &str, after: &[Line]) {
    let note = after.first().filter(|(kind, _)| *kind == Kind::Note).map(|(_, note)| *note);
    let (answer, why) = note
        .and_then(|note| note.strip_prefix('['))
        .and_then(|note| note.split_once("] "))
        .unwrap_or_else(|| panic!("what do we answer, and why? {text}"));
    assert!(!why.is_empty());
    let (answer, quirk) =
        answer.split_once("; ").map_or((answer, None), |(answer, quirk)| (answer, Some(quirk)));
    let said = match side {
        Side::Client => refused_command(text),
        Side::Server => refused_response(text),
    };
    assert_eq!(said, answer, "{text}");
    if let Some(quirk) = quirk {
        assert_eq!(quirk, "MISSING_TEXT", "{text}");
        let limits = ParseLimits { quirks: Quirks::MISSING_TEXT, ..ParseLimits::client() };
        Response::parse(text.as_bytes(), &limits).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

fn refused_command(text: &str) -> String {
    let octets = octets(text);
    let mut decoder = decoder();
    match decoder.decode(&mut octets.as_bytes()) {
        Event::Error(error) => error.to_string(),
        Event::Command(raw) => raw.parse(&strict()).expect_err(text).to_string(),
        Event::Append(start) => start.parse(&strict()).expect_err(text).to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

fn refused_response(text: &str) -> String {
    let octets = octets(text);
    let mut decoder = ResponseDecoder::new(ResponseConfig::default());
    match decoder.decode(&mut octets.as_bytes()) {
        ResponseEvent::Error(error) => error.to_string(),
        ResponseEvent::Response(raw) => match raw.parse(&strict()) {
            Err(error) => error.to_string(),
            Ok(response) if opaque::in_response(&response) => "opaque".to_owned(),
            Ok(response) => panic!("{text}: {response:?}"),
        },
        other => panic!("{text}: {other:?}"),
    }
}

fn octets(line: &str) -> String {
    let line = line.replace('␠', " ");
    match line.strip_prefix('⟨').and_then(|line| line.split_once('⟩')) {
        Some((n, rest)) => format!("{}{rest}\r\n", "x".repeat(n.parse().expect(rest))),
        None => format!("{line}\r\n"),
    }
}

fn strict() -> ParseLimits {
    ParseLimits { quirks: Quirks::NONE, ..ParseLimits::client() }
}

fn decoder() -> CommandDecoder {
    let mut decoder = CommandDecoder::new(Config { append_more: true, ..Config::default() });
    decoder.set_authenticated(true);
    decoder
}

/// What the client waits for before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    /// For `+`, to send a literal.
    Literal,
    /// For `+` after AUTHENTICATE or IDLE.
    Line,
}

/// Both ends of one connection.
struct Connection {
    name: String,
    commands: CommandDecoder,
    responses: ResponseDecoder,
    /// The command and the response under way.
    said: Vec<u8>,
    told: Vec<u8>,
    waits: Waits,
}

impl Connection {
    fn new(name: String) -> Self {
        Self {
            name,
            commands: decoder(),
            responses: ResponseDecoder::new(ResponseConfig::default()),
            said: Vec::new(),
            told: Vec::new(),
            waits: Waits::No,
        }
    }

    fn end(&self) {
        assert!(self.said.is_empty(), "{}: unfinished: {}", self.name, text(&self.said));
        assert!(self.told.is_empty(), "{}: unfinished: {}", self.name, text(&self.told));
    }

    fn line(&mut self, side: Side, text: &str, expected: &Expected) {
        let octets = octets(text);
        let complete = match side {
            Side::Client => self.client(octets.as_bytes(), expected),
            Side::Server => self.server(octets.as_bytes(), expected),
        };
        assert!(
            complete || (expected.canonical.is_none() && !expected.opaque),
            "{}: the message does not end here: {text}",
            self.name
        );
    }

    /// Whether the line ended a command.
    fn client(&mut self, mut octets: &[u8], expected: &Expected) -> bool {
        self.said.extend_from_slice(octets);
        let mut complete = false;
        loop {
            let mut accept = false;
            match self.commands.decode(&mut octets) {
                Event::NeedMore => return complete,
                Event::Continue => self.waits = Waits::Literal,
                Event::Append(start) => {
                    start
                        .parse(&strict())
                        .unwrap_or_else(|e| panic!("{}: {}: {e}", self.name, text(&self.said)));
                    if start.literal.sync {
                        // The server has the word: `decode` before its answer would refuse.
                        self.waits = Waits::Literal;
                        return false;
                    }
                    accept = true;
                }
                Event::MessageChunk(_) => {}
                Event::Line(line) => {
                    assert_eq!([line.as_bytes(), b"\r\n"].concat(), self.said, "{}", self.name);
                    self.said.clear();
                    complete = true;
                }
                Event::MessageEnd(raw) => {
                    raw.parse(&strict())
                        .unwrap_or_else(|e| panic!("{}: {}: {e}", self.name, text(raw.as_bytes())));
                    self.waits = command(&self.name, &self.said, expected);
                    self.said.clear();
                    complete = true;
                }
                Event::Command(raw) => {
                    assert_eq!([raw.as_bytes(), b"\r\n"].concat(), self.said, "{}", self.name);
                    self.waits = command(&self.name, &self.said, expected);
                    self.said.clear();
                    complete = true;
                }
                Event::Error(error) => panic!("{}: {}: {error}", self.name, text(&self.said)),
            }
            if accept {
                self.commands.accept_message();
            }
        }
    }

    /// Whether the line ended a response.
    fn server(&mut self, mut octets: &[u8], expected: &Expected) -> bool {
        if self.told.is_empty() && !octets.starts_with(b"* ") {
            self.answered(octets.starts_with(b"+"));
        }
        self.told.extend_from_slice(octets);
        match self.responses.decode(&mut octets) {
            ResponseEvent::NeedMore => return false,
            ResponseEvent::Response(raw) => {
                assert_eq!([raw.as_bytes(), b"\r\n"].concat(), self.told, "{}", self.name);
            }
            other => panic!("{}: {}: {other:?}", self.name, text(&self.told)),
        }
        response(&self.name, &self.told, expected);
        self.told.clear();
        true
    }

    /// The server asks for more of a command, or it has ended one.
    fn answered(&mut self, go_on: bool) {
        match (self.waits, go_on) {
            (Waits::Literal, true) => self.commands.accept_message(),
            (Waits::Literal, false) => {
                self.commands.refuse_message();
                self.said.clear();
            }
            (Waits::Line, true) => {
                self.commands.expect_line();
                return;
            }
            (Waits::No, true) => panic!("{}: nothing was to be continued", self.name),
            (Waits::No | Waits::Line, false) => {}
        }
        self.waits = Waits::No;
    }
}

fn text(octets: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(octets)
}

/// What is written must be the canonical form if that is given, and otherwise what was read.
fn written(place: &str, read: &[u8], out: &[u8], expected: &Expected) {
    let canonical = expected.canonical.as_deref();
    assert_eq!(text(out), canonical.map_or(text(read), Into::into), "{place}: is written back");
    assert!(canonical.is_none_or(|c| c.as_bytes() != read), "{place}: needs no other form: {}", text(read));
}

fn command(place: &str, octets: &[u8], expected: &Expected) -> Waits {
    let parse = |octets: &[u8]| {
        let whole = octets.strip_suffix(b"\r\n").expect("CRLF");
        let command = Command::parse(whole, &strict());
        command.unwrap_or_else(|e| panic!("{place}: {}: {e}", text(octets))).into_owned()
    };
    let command = parse(octets);
    assert_eq!(names::of_command(&command.body), names::in_command(octets), "{place}");
    assert_eq!(opaque::in_command(&command.body), expected.opaque, "{place}: opaque: {}", text(octets));
    let unasked = text(octets).contains("+}\r\n");
    let literals = if unasked { Literals::NonSync } else { Literals::Sync };
    let encoded = command.encode(literals);
    written(place, octets, &encoded.bytes, expected);
    assert_eq!(parse(&encoded.bytes), command, "{place}");
    match command.body {
        CommandBody::Authenticate { .. } | CommandBody::Idle => Waits::Line,
        _ => Waits::No,
    }
}

fn response(place: &str, octets: &[u8], expected: &Expected) {
    let parse = |octets: &[u8]| {
        let whole = octets.strip_suffix(b"\r\n").expect("CRLF");
        let response = Response::parse(whole, &strict());
        response.unwrap_or_else(|e| panic!("{place}: {}: {e}", text(octets))).into_owned()
    };
    let response = parse(octets);
    assert_eq!(names::of_response(&response), names::in_response(octets), "{place}");
    assert_eq!(opaque::in_response(&response), expected.opaque, "{place}: opaque: {}", text(octets));
    let mut out = Vec::new();
    response.encode(&mut out);
    written(place, octets, &out, expected);
    assert_eq!(parse(&out), response, "{place}");
}
