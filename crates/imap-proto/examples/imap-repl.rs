//! Explains IMAP as it is typed: what the decoder framed, what the parser understood, and how it would be encoded again.
//!
//! `cargo run -p posthaste-imap-proto --example imap-repl` reads commands, as a server does; with `client` behind `--` it reads
//! responses. Lines end in LF at a terminal; here they become CRLF, and literals may span lines.
//!
//! ```text
//! > a1 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])
//! ```

use std::io::{self, BufRead, Write};

use posthaste_imap_proto::*;

fn main() -> io::Result<()> {
    let client = std::env::args().skip(1).any(|arg| arg == "client");
    if client { explain(responses()) } else { explain(commands()) }
}

fn explain(mut repl: impl FnMut(&[u8])) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        repl(format!("{}\r\n", line?).as_bytes());
        io::stdout().flush()?;
    }
    Ok(())
}

/// A value as `Debug` has it, its octets as text and short things on one line.
fn shown(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:#?}");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find("[\n") {
        let (before, list) = rest.split_at(open);
        let end = list.find(']').unwrap_or(list.len() - 1);
        let octets: Option<Vec<u8>> = list[1..end]
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().ok())
            .collect();
        out.push_str(before);
        match octets {
            Some(octets) => {
                out.push_str(&format!("{:?}", String::from_utf8_lossy(&octets)));
                rest = &list[end + 1..];
            }
            None => {
                out.push('[');
                rest = &list[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The server's side.
fn commands() -> impl FnMut(&[u8]) {
    let config = Config { append_more: true, ..Config::default() };
    let limits = config.parse;
    let mut decoder = CommandDecoder::new(config);
    decoder.set_authenticated(true);
    move |mut input| {
        loop {
            let mut after = After::Nothing;
            match decoder.decode(&mut input) {
                Event::NeedMore => return,
                Event::Command(raw) => after = command(raw, &limits),
                Event::Continue => println!("  the client waits with a literal: say `+ OK`"),
                Event::Append(start) => {
                    after = After::Accept;
                    match start.parse(&limits) {
                        Ok((tag, head)) => println!(
                            "  {tag}: {} octets of {:?} for {head:#?}",
                            start.literal.octets, head.kind
                        ),
                        Err(error) => {
                            after = After::Refuse;
                            refuse(&error);
                        }
                    }
                }
                Event::MessageChunk(chunk) => println!("  {} octets of it, streamed", chunk.len()),
                Event::MessageEnd(raw) => drop(command(raw, &limits)),
                Event::Line(line) => println!("  a line as it is: {}", line.as_bytes().escape_ascii()),
                Event::Error(error) => {
                    println!(
                        "  the framing is broken: {error}; answer `{} BAD`",
                        tag_or_star(error.tag.as_ref())
                    );
                }
            }
            match after {
                After::Nothing => {}
                After::Accept => decoder.accept_message(),
                After::Refuse => decoder.refuse_message(),
                After::Line => decoder.expect_line(),
            }
        }
    }
}

/// What the decoder is to be told once the event is dealt with.
enum After {
    Nothing,
    Accept,
    Refuse,
    Line,
}

fn command(raw: RawCommand<'_>, limits: &ParseLimits) -> After {
    match raw.parse(limits) {
        Ok(command) => {
            println!("{}", shown(&command.body));
            let encoded = command.encode(Literals::NonSync);
            if !matches!(command.body, CommandBody::Login { .. } | CommandBody::Authenticate { .. }) {
                println!("  again: {}", encoded.bytes.escape_ascii());
            }
            match command.body {
                CommandBody::Idle | CommandBody::Authenticate { initial: None, .. } => After::Line,
                _ => After::Nothing,
            }
        }
        Err(error) => {
            refuse(&error);
            After::Nothing
        }
    }
}

fn refuse(error: &ParseError) {
    println!("  no command: {error}; answer `{} BAD`", tag_or_star(error.tag.as_ref()));
}

fn tag_or_star<'t>(tag: Option<&'t Tag<'_>>) -> &'t str {
    tag.map_or("*", Tag::as_str)
}

/// The client's side.
fn responses() -> impl FnMut(&[u8]) {
    let config = ResponseConfig::default();
    let limits = config.parse;
    let mut decoder = ResponseDecoder::new(config);
    move |mut input| {
        loop {
            match decoder.decode(&mut input) {
                ResponseEvent::NeedMore => return,
                ResponseEvent::Response(raw) => match raw.parse(&limits) {
                    Ok(response) => println!("{}", shown(&response)),
                    Err(error) => println!("  no response: {error}"),
                },
                ResponseEvent::LiteralStart { so_far, octets } => {
                    println!("  a literal of {octets} octets streams behind {}", so_far.escape_ascii());
                }
                ResponseEvent::LiteralChunk(chunk) => println!("  {} octets of it", chunk.len()),
                ResponseEvent::Error(error) => {
                    println!("  the framing is broken for good: {error}");
                    return;
                }
            }
        }
    }
}
