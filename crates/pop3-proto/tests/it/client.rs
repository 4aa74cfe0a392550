//! The client's side: what a server may send, and what it may not.

use posthaste_pop3_proto::*;

fn run(shapes: &[Shape], wire: &[u8], piece: usize) -> Vec<String> {
    let mut receiver = ResponseReceiver::new(ClientConfig { line_max: 64, ..ClientConfig::default() });
    shapes.iter().for_each(|shape| receiver.expect(*shape));
    let mut seen = Vec::new();
    let mut text = String::new();
    for mut input in wire.chunks(piece) {
        while let Some(event) = receiver.next(&mut input) {
            let event = match event {
                Ok(ClientEvent::Text(more)) => {
                    text.push_str(std::str::from_utf8(more).unwrap());
                    continue;
                }
                Ok(ClientEvent::Status(reply)) => reply.to_string(),
                Ok(ClientEvent::Challenge(secret)) => format!("+ {}", secret.expose().escape_ascii()),
                Ok(ClientEvent::Line(line)) => format!("line {}", line.escape_ascii()),
                Ok(ClientEvent::End) => format!("end {:?}", std::mem::take(&mut text)),
                Err(error) => format!("error {error}"),
            };
            let stop = event.starts_with("error");
            seen.push(event);
            if stop {
                return seen;
            }
        }
    }
    seen
}

#[test]
fn the_session_of_rfc_1939_section_10_reads_in_any_split() {
    let wire = b"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n+OK 2 320\r\n\
        +OK 2 messages (320 octets)\r\n1 120\r\n2 200\r\n.\r\n\
        +OK 120 octets\r\nSubject: x\r\n\r\n..dot\r\n.\r\n-ERR no such message\r\n+OK bye\r\n";
    let shapes = [Shape::Single, Shape::Lines, Shape::Message, Shape::Message, Shape::Single];
    let expected = [
        "+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>",
        "+OK 2 320",
        "+OK 2 messages (320 octets)",
        "line 1 120",
        "line 2 200",
        "end \"\"",
        "+OK 120 octets",
        "end \"Subject: x\\r\\n\\r\\n.dot\\r\\n\"",
        "-ERR no such message",
        "+OK bye",
    ];
    for piece in [1, 2, 3, 7, wire.len()] {
        assert_eq!(run(&shapes, wire, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn a_challenge_keeps_the_response_expected() {
    let seen = run(&[Shape::Single], b"+OK hi\r\n+ cGFzcw==\r\n+ \r\n+OK in\r\n", 5);
    assert_eq!(seen, ["+OK hi", "+ cGFzcw==", "+ ", "+OK in"]);
}

#[test]
fn senseless_responses_are_typed_errors() {
    assert_eq!(run(&[], b"220 smtp\r\n", 99), ["error malformed status line"]);
    assert_eq!(run(&[], b"+OK\r\n+OK\r\n", 99), ["+OK", "error response to no command"]);
    assert_eq!(run(&[], b"+OK\n", 99), ["error bare line feed in a command"]);
    assert_eq!(run(&[], &[b'x'; 65], 99), ["error line longer than 64 octets"]);
}

#[test]
fn only_crlf_dot_crlf_ends_a_message() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r"] {
        let wire = format!("+OK\r\n+OK\r\na{end}b\r\n.\r\n");
        let seen = run(&[Shape::Message], wire.as_bytes(), 1);
        assert_eq!(seen.len(), 3, "{end:?}");
        assert!(seen[2].ends_with("b\\r\\n\""), "{end:?}: {seen:?}");
    }
}
