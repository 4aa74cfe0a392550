//! Every example of the covered RFCs, transcribed into `tests/examples`: each session runs through the receivers of both sides
//! in several splits, each command, status line and line of a listing means what stands under it, and is sent again octet by
//! octet.
//!
//! In a transcript `## ` begins a session and names the section; `C: ` and `S: ` are lines of the client and of the server,
//! broken lines joined; `= ` is what the line above means; `# ` is a remark.

use posthaste_pop3_proto::*;

use crate::Seen;

/// Name, transcript, and how many lines of examples it has, so that none is lost.
const TRANSCRIPTS: [(&str, &str, usize); 6] = [
    ("RFC 1734", include_str!("../examples/rfc1734.txt"), 11),
    ("RFC 1939", include_str!("../examples/rfc1939.txt"), 106),
    ("RFC 2449", include_str!("../examples/rfc2449.txt"), 14),
    ("RFC 2595", include_str!("../examples/rfc2595.txt"), 4),
    ("RFC 5034", include_str!("../examples/rfc5034.txt"), 38),
    ("RFC 6856", include_str!("../examples/rfc6856.txt"), 25),
];

/// A line of an example.
#[derive(Debug)]
struct Step<'a> {
    is_client: bool,
    line: &'a str,
    meaning: Option<&'a str>,
}

fn sessions(transcript: &str) -> Vec<(&str, Vec<Step<'_>>)> {
    let mut sessions: Vec<(&str, Vec<Step<'_>>)> = Vec::new();
    for line in transcript.lines() {
        let (mark, rest) = line.split_at(2);
        match (mark, sessions.last_mut()) {
            ("##", _) => sessions.push((rest.trim(), Vec::new())),
            ("C:" | "S:", Some((_, steps))) => {
                let line = rest.strip_prefix(' ').unwrap_or(rest);
                steps.push(Step { is_client: mark == "C:", line, meaning: None });
            }
            ("= ", Some((_, steps))) => steps.last_mut().unwrap().meaning = Some(rest),
            ("# ", _) => {}
            _ => panic!("{line}"),
        }
    }
    sessions
}

fn wire(steps: &[Step<'_>], is_client: bool) -> Vec<u8> {
    let side = steps.iter().filter(|step| step.is_client == is_client);
    side.flat_map(|step| format!("{}\r\n", step.line).into_bytes()).collect()
}

#[test]
fn no_example_is_lost() {
    for (name, transcript, lines) in TRANSCRIPTS {
        let found: usize = sessions(transcript).iter().map(|(_, steps)| steps.len()).sum();
        assert_eq!(found, lines, "{name}");
    }
}

#[test]
fn every_session_of_the_rfcs_runs_on_both_sides() {
    for (name, transcript, _) in TRANSCRIPTS {
        for (section, steps) in sessions(transcript) {
            for piece in [1, 2, 7, usize::MAX] {
                let place = format!("{name} §{section} in {piece}");
                server_side(&steps, piece, &place);
                client_side(&steps, piece, &place);
            }
        }
    }
}

/// What the server makes of the client's lines, and that a client sends them for it.
fn server_side(steps: &[Step<'_>], piece: usize, place: &str) {
    let mut receiver = Receiver::new(Config::default());
    let client: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].is_client).collect();
    let mut lines = client.into_iter();
    for flight in wire(steps, true).split_inclusive(|b| *b == b'\n') {
        for mut input in flight.chunks(piece.min(flight.len())) {
            while let Some(event) = receiver.next(&mut input).map(crate::own) {
                let at = lines.next().unwrap();
                let step = &steps[at];
                let sent = match &event {
                    Seen::Command(command) => {
                        assert_eq!(Some(describe(command).as_str()), step.meaning, "{place}: {}", step.line);
                        let mut out = Vec::new();
                        command.encode(&mut out);
                        out
                    }
                    Seen::Sasl(Some(message)) => {
                        let mut out = Vec::new();
                        SaslResponse::Response(Secret::new(message.as_slice()).unwrap()).encode(&mut out);
                        out
                    }
                    other => panic!("{place}: {other:?}"),
                };
                assert_eq!(String::from_utf8(sent).unwrap(), format!("{}\r\n", step.line), "{place}");
                let answer = steps.get(at + 1).filter(|step| !step.is_client);
                if answer.is_some_and(|answer| answer.line.starts_with("+ ")) {
                    receiver.expect_sasl();
                } else if matches!(event, Seen::Command(Command::Stls)) {
                    assert_eq!(receiver.start_tls(&mut input), 0, "{place}: nothing came in the clear");
                }
            }
            assert!(input.is_empty(), "{place}");
        }
    }
    assert_eq!(lines.next(), None, "{place}: a line that was not read");
}

/// What the client makes of the server's lines.
fn client_side(steps: &[Step<'_>], piece: usize, place: &str) {
    let mut receiver =
        ResponseReceiver::after_tls(ClientConfig { quirks: Quirks::NONE, ..ClientConfig::default() });
    let mut asked: Option<Command<'_>> = None;
    let mut shape = Shape::Single;
    for (at, step) in steps.iter().enumerate() {
        if step.is_client {
            // A message of a SASL exchange is no command; its response is expected already.
            if let Ok(command) = Command::parse(step.line.as_bytes()) {
                shape = shape_of(&command);
                receiver.expect(shape);
                asked = Some(command);
            }
            continue;
        }
        let is_first = at == 0 || steps[at - 1].is_client;
        if !is_first && (shape == Shape::Single || asked.is_none()) {
            receiver.expect(Shape::Single); // lines that the RFC lists one under the other
            asked = None;
        } else if at == 0 {
            receiver.expect(Shape::Single);
        }
        read_line(&mut receiver, step, asked.as_ref(), piece, place);
    }
}

fn shape_of(command: &Command<'_>) -> Shape {
    match command {
        Command::Capa | Command::List(None) | Command::Uidl(None) | Command::Lang(None) => Shape::Lines,
        Command::Retr(_) | Command::Top { .. } => Shape::Message,
        _ => Shape::Single,
    }
}

fn read_line(
    receiver: &mut ResponseReceiver,
    step: &Step<'_>,
    asked: Option<&Command<'_>>,
    piece: usize,
    place: &str,
) {
    let octets = format!("{}\r\n", step.line);
    let (mut seen, mut text) = (Vec::new(), Vec::new());
    for mut input in octets.as_bytes().chunks(piece.min(octets.len())) {
        while let Some(event) = receiver.next(&mut input) {
            match event.unwrap_or_else(|error| panic!("{place}: {error}")) {
                ClientEvent::Status(reply) => {
                    let mut out = Vec::new();
                    reply.encode(&mut out);
                    assert_eq!(String::from_utf8(out).unwrap(), octets, "{place}");
                    assert_eq!(reply.is_ok(), step.line.starts_with("+OK"), "{place}");
                    assert_eq!(
                        meaning_of_status(&reply, asked).as_deref(),
                        step.meaning,
                        "{place}: {}",
                        step.line
                    );
                    seen.push("status");
                }
                ClientEvent::Challenge(secret) => {
                    assert_eq!(Some(secret.expose()), step.line.as_bytes().get(2..), "{place}");
                    seen.push("challenge");
                }
                ClientEvent::Line(line) => {
                    let line = std::str::from_utf8(line).unwrap();
                    assert_eq!(line, step.line, "{place}");
                    assert_eq!(Some(meaning_of_line(line, asked).as_str()), step.meaning, "{place}: {line}");
                    seen.push("line");
                }
                ClientEvent::Text(more) => text.extend_from_slice(more),
                ClientEvent::End => seen.push("end"),
            }
        }
    }
    match seen.as_slice() {
        // A line of the message: it was sent as it is, since it has no dot at its beginning.
        [] => assert_eq!(String::from_utf8(text).unwrap(), octets, "{place}"),
        ["end"] => assert_eq!(step.line, ".", "{place}"),
        [_] => {}
        more => panic!("{place}: {more:?}"),
    }
}

/// What a status line says beyond yes and no.
fn meaning_of_status(reply: &Reply, asked: Option<&Command<'_>>) -> Option<String> {
    if let Some(code) = reply.code() {
        return Some(format!("code {code:?}"));
    }
    if let Some(timestamp) = reply.apop_timestamp() {
        return Some(format!("APOP with {timestamp}"));
    }
    match asked? {
        _ if !reply.is_ok() => None,
        Command::Lang(Some(_)) => LangEntry::parse(reply.text()).map(|lang| format!("in {}", lang.tag)),
        Command::Stat => {
            Stat::parse(reply.text()).map(|s| format!("{} messages, {} octets", s.messages, s.octets))
        }
        Command::List(Some(asked)) => ListEntry::answer(*asked, reply.text(), Quirks::NONE)
            .map(|entry| format!("message {} of {} octets", entry.message, entry.octets)),
        Command::Uidl(Some(asked)) => UidlEntry::answer(*asked, reply.text(), Quirks::NONE)
            .map(|entry| format!("message {} is {}", entry.message, entry.id.as_str())),
        _ => None,
    }
}

/// What a line of a listing says; it is printed as it was.
fn meaning_of_line(line: &str, asked: Option<&Command<'_>>) -> String {
    let (printed, meaning) = match asked {
        Some(Command::List(_)) => {
            let entry = ListEntry::parse(line).unwrap();
            (entry.to_string(), format!("message {} of {} octets", entry.message, entry.octets))
        }
        Some(Command::Uidl(_)) => {
            let entry = UidlEntry::parse(line).unwrap();
            (entry.to_string(), format!("message {} is {}", entry.message, entry.id.as_str()))
        }
        Some(Command::Lang(_)) => {
            let entry = LangEntry::parse(line).unwrap();
            (entry.to_string(), format!("{:?} is {:?}", entry.tag, entry.name))
        }
        _ => {
            let capability = Capability::parse(line).unwrap();
            (capability.to_string(), format!("{capability:?}"))
        }
    };
    assert_eq!(printed, line);
    meaning
}

/// The typed value in words of its fields, so that nothing of the encoder is in it.
fn describe(command: &Command<'_>) -> String {
    match command {
        Command::User(name) => format!("User {:?}", name.as_str()),
        Command::Pass(secret) => format!("Pass of {} octets", secret.expose().len()),
        Command::Apop { name, digest } => {
            format!("Apop of {:?}, {} octets", name.as_str(), digest.expose().len())
        }
        Command::Auth { mechanism, initial } => {
            let mechanism = mechanism.as_ref().map(Word::as_str);
            format!(
                "Auth by {mechanism:?}, {:?} octets",
                initial.as_ref().map(|secret| secret.expose().len())
            )
        }
        Command::Top { message, lines } => format!("Top of {message}, {lines} lines"),
        Command::Retr(number) => format!("Retr {number}"),
        Command::Dele(number) => format!("Dele {number}"),
        other => format!("{other:?}"),
    }
}

/// RFC 2449 §6.7 lists these without a session.
#[test]
fn the_periods_of_rfc_2449_section_6_7() {
    for (line, keep, per_user) in [
        ("EXPIRE 5 USER", Expire::Days(5), true),
        ("EXPIRE 30", Expire::Days(30), false),
        ("EXPIRE NEVER", Expire::Never, false),
        ("EXPIRE 0", Expire::Days(0), false),
    ] {
        let capability = Capability::parse(line).unwrap();
        assert_eq!(capability, Capability::Expire { keep, per_user });
        assert_eq!(capability.to_string(), line);
    }
}
