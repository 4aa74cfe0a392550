//! A server's octets give the same replies however they are cut; a reply, and what EHLO said, comes
//! back from its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_smtp_proto::*;

fn run<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Result<Reply, ReplyError>> {
    let mut receiver = ReplyReceiver::new(ReplyConfig { line_max: 100, lines_max: 8 });
    let mut seen = Vec::new();
    for mut input in pieces {
        while let Some(reply) = receiver.next(&mut input) {
            let failed = reply.is_err();
            seen.push(reply);
            if failed {
                return seen;
            }
        }
        assert!(input.is_empty(), "None means that all input is taken");
    }
    seen
}

fn comes_back(reply: &Reply) {
    let mut octets = Vec::new();
    reply.encode(&mut octets);
    let mut receiver = ReplyReceiver::default();
    let mut input = &octets[..];
    let again = receiver.next(&mut input).expect("its own encoding").expect("its own encoding");
    assert!(input.is_empty());
    let mut twice = Vec::new();
    again.encode(&mut twice);
    // Control characters are written as blanks, which can make an enhanced code of what was none.
    let control = reply.lines().any(|line| line.bytes().any(|b| b < b' ' || b == 127));
    assert!(control || twice == octets, "{}", octets.escape_ascii());
    assert_eq!((again.code(), again.lines().count()), (reply.code(), reply.lines().count()));
    if let Some(ehlo) = Ehlo::parse(reply) {
        assert_eq!(Ehlo::parse(&ehlo.to_reply()), Some(ehlo));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, wire)) = seeded(data) else { return };
    let whole = run([wire]);
    assert_eq!(run(pieces(wire, seed)), whole);
    whole.iter().flatten().for_each(comes_back);
});
