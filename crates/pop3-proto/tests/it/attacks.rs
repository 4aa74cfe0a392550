//! Attacks by name.

use posthaste_pop3_proto::*;

use crate::{Seen, run_all_splits, run_pieces};

#[test]
fn a_bare_line_end_executes_nothing_behind_it() {
    for (wire, error) in [
        ("NOOP\nDELE 1\r\nQUIT\r\n", ProtocolError::BareLf),
        ("NOOP\rDELE 1\r\nQUIT\r\n", ProtocolError::BareCr),
        ("PASS x\0DELE 1\r\nQUIT\r\n", ProtocolError::Nul),
    ] {
        let seen = run_all_splits(Config::default(), wire.as_bytes());
        assert_eq!(seen, [Seen::Refused(error), Seen::Command(Command::Quit)], "{wire:?}");
    }
}

#[test]
fn stls_drops_what_came_in_the_clear_and_says_so() {
    let mut receiver = Receiver::new(Config::default());
    let mut input = b"STLS\r\nUSER evil\r\n".as_slice();
    assert_eq!(receiver.next(&mut input), Some(Event::Command(Command::Stls)));
    assert_eq!(receiver.start_tls(&mut input), 11);
    assert!(input.is_empty());
    assert_eq!(receiver.next(&mut b"NOOP\r\n".as_slice()), Some(Event::Command(Command::Noop)));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_skipped() {
    let config = Config { command_line_max: 16, ..Config::default() };
    let seen = run_all_splits(config, b"USER 123456789\r\nUSER 1234567890\r\nQUIT\r\n");
    let too_long = Seen::Refused(ProtocolError::LineTooLong { limit: 16 });
    assert_eq!(seen[1..], [too_long, Seen::Command(Command::Quit)]);
    assert!(matches!(&seen[0], Seen::Command(Command::User(_))));
}

#[test]
fn a_line_without_end_is_given_up_in_bounded_memory() {
    let config = Config { skip_limit: 1000, ..Config::default() };
    let piece = [b'x'; 997];
    let seen =
        run_pieces(config, std::iter::repeat_n(piece.as_slice(), 500).chain([b"\r\nQUIT\r\n".as_slice()]));
    let limits = [ProtocolError::LineTooLong { limit: 1024 }, ProtocolError::LineWithoutEnd { limit: 1000 }];
    assert_eq!(seen, limits.map(Seen::Refused));
}

#[test]
fn a_sasl_exchange_can_be_given_up() {
    let seen = run_all_splits(Config::default(), b"AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\nno!\r\nQUIT\r\n");
    assert_eq!(seen[1], Seen::Sasl(None));
    assert_eq!(seen[3..], [Seen::Refused(ProtocolError::BadSasl), Seen::Command(Command::Quit)]);
}

#[test]
fn huge_and_odd_numbers_are_refused_not_wrapped() {
    for line in [
        "RETR 4294967296",
        "DELE 99999999999999999999",
        "TOP 1 4294967296",
        "LIST -1",
        "UIDL +1",
        "RETR 1\u{b2}",
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(SyntaxError::BadNumber), "{line}");
    }
}

#[test]
fn nul_and_eight_bit_in_commands_are_refused() {
    let seen = run_all_splits(Config::default(), b"USER a\0b\r\nUSER \xff\r\nRETR \xff\r\nQUIT\r\n");
    assert_eq!(seen[0], Seen::Refused(ProtocolError::Nul));
    assert_eq!(seen[1], Seen::Refused(SyntaxError::BadArgument.into()));
    assert_eq!(seen[2], Seen::Refused(SyntaxError::BadNumber.into()));
    assert_eq!(seen[3], Seen::Command(Command::Quit));
}

/// The client's side: what came in the clear behind STLS's `+OK` is thrown away.
#[test]
fn a_response_injected_before_tls_is_not_read_after_it() {
    let mut receiver = ResponseReceiver::new(ClientConfig::default());
    receiver.expect(Shape::Single);
    let mut input = b"+OK hi\r\n+OK begin TLS\r\n+OK evil\r\n".as_slice();
    for _ in 0..2 {
        assert!(matches!(receiver.next(&mut input), Some(Ok(ClientEvent::Status(_)))));
    }
    assert_eq!(receiver.start_tls(&mut input), 10);
    assert!(input.is_empty());
    receiver.expect(Shape::Single);
    let mut inside = b"-ERR no\r\n".as_slice();
    assert_eq!(receiver.next(&mut inside), Some(Ok(ClientEvent::Status(Reply::err("no")))));
}

/// TOP's and RETR's text is stuffed: a line of one dot in a mail ends nothing.
#[test]
fn a_dot_in_a_mail_does_not_end_it() {
    let mut stuffer = Stuffer::new();
    let mut wire = b"+OK\r\n".to_vec();
    stuffer.stuff(b".\r\n+OK evil\r\n").for_each(|slice| wire.extend_from_slice(slice));
    wire.extend_from_slice(stuffer.finish());
    assert_eq!(wire, b"+OK\r\n..\r\n+OK evil\r\n.\r\n");
}
