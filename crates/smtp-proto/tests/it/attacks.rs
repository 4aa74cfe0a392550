//! Attacks by name: smuggling, injection at STARTTLS, lines without end, NULs.

use posthaste_smtp_proto::*;

use crate::{Seen, run, run_all_splits, run_pieces};

fn bodies(seen: &[Seen]) -> Vec<&[u8]> {
    seen.iter().filter_map(|s| if let Seen::Body(body) = s { Some(body.as_slice()) } else { None }).collect()
}

/// Every wrong end of data leaves us in the message: the smuggled commands are text, and the message is refused.
#[test]
fn smuggling_wrong_end_of_data_is_message_text() {
    let ends = [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\r.\r\n",
        "\r\r.\r\r",
        "\n\n.\n\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\n\x0b.\r\n",
        "\r\n.\r\r\n",
        "\n\r.\n\r",
        "\r\n .\r\n",
        "\r\n. \r\n",
    ];
    for end in ends {
        let smuggled = "MAIL FROM:<admin@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nfake\r\n";
        let wire = format!("DATA\r\nreal{end}{smuggled}.\r\nQUIT\r\n");
        let seen = run_all_splits(Config::default(), wire.as_bytes());
        let [
            Seen::Command(Command::Data),
            Seen::Body(body),
            Seen::EndOfData(violation),
            Seen::Command(Command::Quit),
        ] = seen.as_slice()
        else {
            panic!("{end:?} ended the message: {seen:?}")
        };
        assert!(body.ends_with(smuggled.as_bytes()), "{end:?}");
        let has_bare = end.replace("\r\n", "").contains(['\r', '\n', '\0']);
        assert_eq!(violation.is_some(), has_bare, "{end:?}");
    }
}

#[test]
fn smuggling_passes_no_wrong_end_even_where_bad_text_is_taken() {
    let config = Config { bad_text: BadText::Pass, ..Config::default() };
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r"] {
        let wire = format!("DATA\r\nreal{end}QUIT\r\n.\r\n");
        let seen = run_pieces(config.clone(), [wire.as_bytes()]);
        assert_eq!(seen.last(), Some(&Seen::EndOfData(None)), "{end:?}");
        assert_eq!(seen.len(), 3, "{end:?}");
    }
}

#[test]
fn smuggling_by_a_bare_line_end_in_a_command_executes_nothing() {
    for (wire, error) in [
        ("RCPT TO:<a@b.c>\nRCPT TO:<x@y.z>\r\nNOOP\r\n", ProtocolError::BareLf),
        ("RCPT TO:<a@b.c>\rRCPT TO:<x@y.z>\r\nNOOP\r\n", ProtocolError::BareCr),
        ("\nRCPT TO:<x@y.z>\r\nNOOP\r\n", ProtocolError::BareLf),
        ("RCPT TO:<a@b.c>\r\r\nNOOP\r\n", ProtocolError::BareCr),
        ("RCPT\0 TO:<a@b.c>\r\nNOOP\r\n", ProtocolError::Nul),
    ] {
        let seen = run_all_splits(Config::default(), wire.as_bytes());
        assert_eq!(seen, [Seen::Refused(error), Seen::Command(Command::Noop(None))], "{wire:?}");
    }
}

#[test]
fn smuggling_by_a_bdat_chunk_is_text_and_reported() {
    let seen = run_all_splits(Config::default(), b"BDAT 11\r\na\r\n.\r\nQUIT\rBDAT 3 LAST\r\n\nb\nNOOP\r\n");
    assert_eq!(bodies(&seen), [b"a\r\n.\r\nQUIT\r".as_slice(), b"\nb\n"]);
    assert_eq!(
        seen[seen.len() - 2..],
        [Seen::EndOfChunk(true, Some(Violation::BareLf)), Seen::Command(Command::Noop(None))]
    );
}

/// The session refuses BDAT (no recipient, say): the octets that are on their way are a chunk all the same.
#[test]
fn the_chunk_of_a_refused_bdat_is_no_command() {
    let chunk = "RCPT TO:<evil@example.org>\r\nDATA\r\n.\r\n";
    let wire = format!("BDAT {} LAST\r\n{chunk}NOOP\r\n", chunk.len());
    let seen = run_all_splits(Config::default(), wire.as_bytes());
    assert_eq!(bodies(&seen), [chunk.as_bytes()]);
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[2..], [Seen::EndOfChunk(true, None), Seen::Command(Command::Noop(None))]);
}

#[test]
fn starttls_drops_what_came_in_the_clear_and_says_so() {
    let mut receiver = Receiver::new(Config::default());
    let mut input = b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT".as_slice();
    assert_eq!(receiver.next(&mut input), Some(Event::Command(Command::StartTls)));
    assert_eq!(receiver.start_tls(&mut input), 34);
    assert!(input.is_empty());
    let mut inside = b"NOOP\r\n".as_slice();
    assert_eq!(receiver.next(&mut inside), Some(Event::Command(Command::Noop(None))));
}

#[test]
fn a_refused_starttls_leaves_the_next_commands_alone() {
    let seen = run(b"STARTTLS\r\nNOOP\r\n");
    assert_eq!(seen, [Seen::Command(Command::StartTls), Seen::Command(Command::Noop(None))]);
}

#[test]
fn a_refused_data_leaves_the_receiver_at_commands() {
    let mut receiver = Receiver::new(Config::default());
    let mut input = b"DATA\r\nQUIT\r\n".as_slice();
    assert_eq!(receiver.next(&mut input), Some(Event::Command(Command::Data)));
    assert_eq!(receiver.next(&mut input), Some(Event::Command(Command::Quit)));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_skipped() {
    let config = Config { command_line_max: 32, ..Config::default() };
    let fits = format!("NOOP {}\r\n", "x".repeat(25));
    let over = format!("NOOP {}\r\n", "x".repeat(26));
    let far_over = format!("NOOP {}\r\n", "x".repeat(100));
    let too_long = Seen::Refused(ProtocolError::LineTooLong { limit: 32 });
    let wire = format!("{over}QUIT\r\n{far_over}QUIT\r\n{fits}");
    let seen = run_all_splits(config, wire.as_bytes());
    assert_eq!(
        seen[..4],
        [too_long.clone(), Seen::Command(Command::Quit), too_long, Seen::Command(Command::Quit)]
    );
    assert!(matches!(&seen[4], Seen::Command(Command::Noop(Some(_)))));
}

#[test]
fn a_line_without_end_is_given_up_in_bounded_memory() {
    let config = Config { skip_limit: 1000, ..Config::default() };
    let mut receiver = Receiver::new(config);
    let mut refused = Vec::new();
    for _ in 0..1000 {
        let mut input = [b'x'; 997].as_slice();
        while let Some(Event::Refused(error)) = receiver.next(&mut input) {
            refused.push(error);
        }
    }
    let limits = [ProtocolError::LineTooLong { limit: 4096 }, ProtocolError::LineWithoutEnd { limit: 1000 }];
    assert_eq!(refused, limits);
    assert!(refused[1].is_fatal());
    assert_eq!(receiver.next(&mut b"\r\nQUIT\r\n".as_slice()), None);
}

#[test]
fn an_unreadable_chunk_size_ends_the_stream() {
    let seen = run_all_splits(Config::default(), b"BDAT 5x\r\nhelloQUIT\r\n");
    assert_eq!(seen, [Seen::Refused(ProtocolError::Syntax(SyntaxError::BadChunkSize))]);
}

#[test]
fn sasl_lines_have_a_limit_of_their_own() {
    let config = Config { command_line_max: 64, sasl_line_max: 128, ..Config::default() };
    let wire = format!("AUTH PLAIN\r\n{}\r\nQUIT\r\n", "A".repeat(126));
    let seen = run_all_splits(config.clone(), wire.as_bytes());
    assert_eq!(seen[1..], [Seen::Sasl(Some("A".repeat(126))), Seen::Command(Command::Quit)]);
    let wire = format!("AUTH PLAIN\r\n{}\r\nQUIT\r\n", "A".repeat(127));
    let seen = run_all_splits(config, wire.as_bytes());
    let too_long = Seen::Refused(ProtocolError::LineTooLong { limit: 128 });
    assert_eq!(seen[1..], [too_long, Seen::Command(Command::Quit)]);
}

#[test]
fn a_sasl_exchange_can_be_given_up() {
    let seen = run(b"AUTH LOGIN\r\n*\r\nQUIT\r\n");
    assert_eq!(seen[1..], [Seen::Sasl(None), Seen::Command(Command::Quit)]);
    let seen = run(b"AUTH LOGIN\r\nno base64!\r\nQUIT\r\n");
    assert_eq!(seen[1..], [Seen::Refused(ProtocolError::BadSasl), Seen::Command(Command::Quit)]);
}

#[test]
fn a_flood_of_unknown_parameters_is_refused() {
    let line = (0..100).fold("MAIL FROM:<a@b.c>".to_owned(), |line, n| format!("{line} X{n}=y"));
    let limit = OTHER_PARAMETERS_MAX;
    assert_eq!(Command::parse(line.as_bytes()), Err(SyntaxError::TooManyParameters { limit }));
}

#[test]
fn huge_numbers_are_refused_not_wrapped() {
    for line in [
        "MAIL FROM:<a@b.c> SIZE=18446744073709551616",
        "MAIL FROM:<a@b.c> SIZE=99999999999999999999999999",
        "MAIL FROM:<a@b.c> HOLDFOR=4294967297",
        "MAIL FROM:<a@b.c> BY=99999999999;N",
        "BDAT 18446744073709551616 LAST",
        "XCLIENT PORT=65536",
    ] {
        assert!(Command::parse(line.as_bytes()).is_err(), "{line}");
    }
    let Ok(Command::Bdat { size, .. }) = Command::parse(b"BDAT 18446744073709551615") else { panic!() };
    assert_eq!(size, u64::MAX, "counted off as it comes, never reserved");
}

/// Nothing that a client builds from what others told it can become a second command.
#[test]
fn no_command_can_be_built_that_injects_another() {
    for evil in ["a\r\nQUIT", "a\nQUIT", "a\rQUIT", "a\0"] {
        assert!(LocalPart::new(evil).is_err());
        assert!(DomainName::new(evil).is_err());
        assert!(GeneralLiteral::new(format!("x:{evil}")).is_err());
        assert!(Mailbox::parse(&format!("{evil}@b")).is_err());
        assert!(Text::new(evil).is_err() && Value::new(evil).is_err() && Keyword::new(evil).is_err());
        assert!(ClientName::new(evil).is_err() && Secret::new(evil).is_none());
    }
    let mut out = Vec::new();
    Reply::new(550, (1, 1), "no\rsuch\0user\x1b").encode(&mut out);
    assert_eq!(out, b"550 5.1.1 no such user \r\n");
}

#[test]
fn nul_and_eight_bit_in_commands_are_refused() {
    let seen = run_all_splits(Config::default(), b"MAIL FROM:<a\0@b>\r\nNOOP \xff\r\nQUIT\r\n");
    let refused = [ProtocolError::Nul, ProtocolError::Syntax(SyntaxError::NotUtf8)].map(Seen::Refused);
    assert_eq!(seen[..2], refused);
    assert_eq!(seen[2], Seen::Command(Command::Quit));
}

/// The client's side of STARTTLS injection: what came in the clear behind the 220 is thrown away with the receiver.
#[test]
fn a_reply_injected_before_tls_is_not_read_after_it() {
    let mut receiver = ReplyReceiver::default();
    let mut input = b"220 go ahead\r\n250-evil\r\n".as_slice();
    assert_eq!(receiver.next(&mut input).unwrap().unwrap().code(), 220);
    assert_eq!(receiver.start_tls(&mut input), 10);
    assert!(input.is_empty());
    let mut inside = b"250 mx\r\n".as_slice();
    assert_eq!(receiver.next(&mut inside).unwrap().unwrap(), Reply::plain(250, "mx"));
}
