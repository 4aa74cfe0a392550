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
