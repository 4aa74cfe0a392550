//! The corpus of the benchmark, parsed by us and by pop3-codec: they agree, or a test says why not.

use posthaste_pop3_proto::*;

use crate::corpus;

/// Its name for the command, and the line that it would send for it.
fn theirs(line: &str) -> Option<(&'static str, Vec<u8>)> {
    let (rest, command) = pop3_codec::parse::command(line.as_bytes()).ok()?;
    rest.is_empty().then(|| (command.name(), command.serialize()))
}

fn ours(line: &str) -> Result<Command<'_>, SyntaxError> {
    Command::parse(line.strip_suffix("\r\n").unwrap().as_bytes())
}

#[test]
fn the_corpus_means_the_same_to_pop3_codec() {
    for line in corpus::commands(1939, 2000) {
        let command = ours(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let (name, line_of_theirs) = theirs(&line).unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(command.keyword(), name.trim_end_matches("ALL"), "{line:?}");
        let mut wire = Vec::new();
        command.encode(&mut wire);
        assert_eq!(String::from_utf8_lossy(&wire), String::from_utf8_lossy(&line_of_theirs));
    }
}

/// Where one of both refuses a line that the other takes, and why we do as we do.
#[test]
fn differences_to_pop3_codec_have_a_reason() {
    for (line, we_take_it, they_take_it, reason) in [
        ("RETR 0\r\n", false, true, "RFC 1939 §4: messages are numbered from 1"),
        ("QUIT \r\n", true, false, "trailing blanks are common"),
        ("NOOP\n", false, true, "lines end in CRLF only: smuggling"),
    ] {
        let framed = line.ends_with("\r\n");
        assert_eq!(framed && ours(line).is_ok(), we_take_it, "ours {line:?}: {reason}");
        assert_eq!(theirs(line).is_some(), they_take_it, "theirs {line:?}: {reason}");
    }
}
