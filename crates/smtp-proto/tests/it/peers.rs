//! The corpus of the benchmark, parsed by us and by smtp-proto: they agree, or a test says why not.

use posthaste_smtp_proto::*;
use smtp_proto::Request;

use crate::corpus;

type Theirs = Result<Request<String>, smtp_proto::Error>;

fn theirs(line: &str) -> Theirs {
    Request::parse(&mut line.as_bytes().iter()).map(Request::into_owned)
}

fn ours(line: &str) -> Result<Command<'_>, SyntaxError> {
    Command::parse(line.strip_suffix("\r\n").unwrap().as_bytes())
}

fn path(text: &str) -> String {
    text.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// What both can say of a MAIL: sender, size, body, RET, ENVID, SMTPUTF8, REQUIRETLS, priority.
fn mail_of_theirs(line: &str) -> Option<(String, u64, u64, String, i64)> {
    let Ok(Request::Mail { from }) = theirs(line) else { return None };
    Some((from.address, from.size as u64, from.flags, from.env_id.unwrap_or_default(), from.mt_priority))
}

fn mail_of_ours(line: &str) -> Option<(String, u64, u64, String, i64)> {
    let Ok(Command::Mail { from, params }) = ours(line) else { return None };
    let mut flags = match params.body {
        None => 0,
        Some(Body::SevenBit) => smtp_proto::MAIL_BODY_7BIT,
        Some(Body::EightBitMime) => smtp_proto::MAIL_BODY_8BITMIME,
        Some(Body::BinaryMime) => smtp_proto::MAIL_BODY_BINARYMIME,
    };
    flags |= match params.ret {
        None => 0,
        Some(Ret::Full) => smtp_proto::MAIL_RET_FULL,
        Some(Ret::Headers) => smtp_proto::MAIL_RET_HDRS,
    };
    flags |= if params.smtputf8 { smtp_proto::MAIL_SMTPUTF8 } else { 0 };
    flags |= if params.requiretls { smtp_proto::MAIL_REQUIRETLS } else { 0 };
    let envid = params.envid.as_ref().map(|envid| envid.as_str().to_owned());
    let priority = i64::from(params.mt_priority.unwrap_or_default());
    Some((
        path(&from.to_string()),
        params.size.unwrap_or_default(),
        flags,
        envid.unwrap_or_default(),
        priority,
    ))
}

fn rcpt_of_theirs(line: &str) -> Option<(String, u64, String)> {
    let Ok(Request::Rcpt { to }) = theirs(line) else { return None };
    Some((to.address, to.flags, to.orcpt.unwrap_or_default()))
}

fn rcpt_of_ours(line: &str) -> Option<(String, u64, String)> {
    let Ok(Command::Rcpt { to, params }) = ours(line) else { return None };
    let flags = match params.notify {
        None => 0,
        Some(Notify::Never) => smtp_proto::RCPT_NOTIFY_NEVER,
        Some(Notify::On { success, failure, delay }) => {
            let flag = |wanted, flag| if wanted { flag } else { 0 };
            flag(success, smtp_proto::RCPT_NOTIFY_SUCCESS)
                | flag(failure, smtp_proto::RCPT_NOTIFY_FAILURE)
                | flag(delay, smtp_proto::RCPT_NOTIFY_DELAY)
        }
    };
    let orcpt = params.orcpt.as_ref().map(|orcpt| orcpt.address().to_owned());
    Some((path(&to.to_string()), flags, orcpt.unwrap_or_default()))
}

#[test]
fn the_corpus_means_the_same_to_smtp_proto() {
    for line in corpus::commands(5321, 5000) {
        let command = ours(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        match (&command, theirs(&line).unwrap_or_else(|error| panic!("{line:?}: {error:?}"))) {
            (Command::Mail { .. }, Request::Mail { .. }) => {
                assert_eq!(mail_of_ours(&line), mail_of_theirs(&line), "{line:?}");
            }
            (Command::Rcpt { .. }, Request::Rcpt { .. }) => {
                assert_eq!(rcpt_of_ours(&line), rcpt_of_theirs(&line), "{line:?}");
            }
            (Command::Ehlo(name), Request::Ehlo { host }) => assert_eq!(name.as_str(), host),
            (Command::Auth { initial, .. }, Request::Auth { initial_response, .. }) => {
                assert_eq!(initial.as_ref().map_or("", Secret::expose), initial_response);
            }
            (Command::Bdat { size, last }, Request::Bdat { chunk_size, is_last }) => {
                assert_eq!((*size, *last), (chunk_size as u64, is_last));
            }
            (Command::Noop(None), Request::Noop { value }) => assert_eq!(value, ""),
            (ours, theirs) => assert_eq!(ours.verb(), theirs.name()),
        }
    }
}

#[test]
fn replies_mean_the_same_to_smtp_proto() {
    let wire = corpus::replies(5321, 2000).concat().into_bytes();
    let (mut receiver, mut input) = (ReplyReceiver::default(), wire.as_slice());
    let mut theirs = wire.iter();
    for n in 0..2000 {
        let reply = receiver.next(&mut input).expect("a whole reply").expect("a good one");
        let peer =
            smtp_proto::response::parser::ResponseReceiver::default().parse(&mut theirs).expect("theirs");
        assert_eq!(reply.code(), peer.code, "{n}: {reply}");
        let [_, subject, detail] = peer.esc.map(u16::from);
        let enhanced = reply.enhanced().map_or((0, 0), |enhanced| (enhanced.subject, enhanced.detail));
        assert_eq!(enhanced, (subject, detail), "{n}: {reply}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&reply.lines().collect::<Vec<_>>().join(" ")), words(&peer.message), "{n}");
    }
    assert_eq!(receiver.next(&mut input), None);
}

/// Where one of both refuses a line that the other takes, and why we do as we do.
#[test]
fn differences_to_smtp_proto_have_a_reason() {
    for (line, we_take_it, they_take_it, reason) in [
        ("EHLO a b\r\n", false, true, "RFC 5321 §4.1.1.1: one domain"),
        ("DATA now\r\n", false, true, "RFC 5321 §4.1.1.4: no argument"),
        ("XCLIENT NAME=a\r\n", true, false, "Postfix's XCLIENT_README"),
        ("XFORWARD NAME=a\r\n", true, false, "Postfix's XFORWARD_README"),
        ("MAIL FROM:<a@b.c> X-NEW=1\r\n", true, false, "RFC 5321 §4.1.1.11: the session answers 555"),
        ("MAIL FROM:<a@b.c> BY=0;R\r\n", false, true, "RFC 2852 §4: return wants a time"),
    ] {
        assert_eq!(ours(line).is_ok(), we_take_it, "ours {line:?}: {reason}");
        assert_eq!(theirs(line).is_ok(), they_take_it, "theirs {line:?}: {reason}");
    }
}

/// Both un-stuff the same, and end in the same place, whatever the pieces.
#[test]
fn messages_are_unstuffed_as_by_smtp_proto() {
    for (seed, size) in [(1, 1), (2, 7), (3, 100), (4, 1460), (5, 16_384)] {
        let wire = [b"Subject: x\r\n".as_slice(), &corpus::message(seed, 50_000, Some(5))].concat();
        let (mut own, mut peers) = (Vec::new(), Vec::new());
        let mut receiver = Receiver::new(Config::default());
        receiver.accept_data();
        let mut peer = smtp_proto::request::receiver::DataReceiver::new();
        let (mut ended, mut peer_ended) = (false, false);
        for piece in wire.chunks(size) {
            let mut input = piece;
            while let Some(event) = receiver.next(&mut input) {
                match event {
                    Event::Body(text) => own.extend_from_slice(text),
                    Event::EndOfData { .. } => ended = true,
                    other => panic!("{other:?}"),
                }
            }
            peer_ended |= peer.ingest(&mut piece.iter(), &mut peers);
        }
        assert!(ended && peer_ended);
        assert!(own == peers, "in pieces of {size}");
    }
}

/// The CRLF of DATA counts as a line's end (RFC 5321 §4.1.1.4): a dot in the first line is stuffed, and may end an empty
/// message. smtp-proto leaves the first dot, and waits on.
#[test]
fn a_dot_in_the_first_line_is_another_difference() {
    let mut receiver = Receiver::new(Config::default());
    receiver.accept_data();
    assert_eq!(receiver.next(&mut b".\r\n".as_slice()), Some(Event::EndOfData { violation: None }));
    let mut peer = smtp_proto::request::receiver::DataReceiver::new();
    assert!(!peer.ingest(&mut b".\r\n".iter(), &mut Vec::new()));
}
