//! The same commands and responses by imap-codec and by us.
//!
//! `cargo test -p posthaste-imap-proto-benches --test differential`

use imap_codec::decode::Decoder as _;
use imap_codec::encode::Encoder as _;
use posthaste_imap_proto::*;

#[path = "figures/corpus.rs"]
mod corpus;

/// What we take a command for must be what imap-codec takes it for, whichever of the two wrote it.
#[test]
fn commands_mean_the_same_to_imap_codec_and_to_us() {
    let codec = imap_codec::CommandCodec::new();
    let limits = ParseLimits::default();
    for seed in 0..20 {
        for line in corpus::commands(seed, 20) {
            let (rest, theirs) = codec.decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
            assert!(rest.is_empty());
            let ours =
                Command::parse(line.trim_end().as_bytes(), &limits).unwrap_or_else(|e| panic!("{line}: {e}"));
            let by_them = codec.encode(&theirs).dump();
            assert_eq!(Command::parse(&by_them[..by_them.len() - 2], &limits).as_ref(), Ok(&ours), "{line}");
            // imap-codec's types tell an atom from a quoted string: compared by what it writes.
            let by_us = ours.encode(Literals::NonSync).bytes;
            let (_, again) = codec.decode(&by_us).unwrap_or_else(|e| panic!("{line}: {e:?}"));
            let again = codec.encode(&again).dump();
            assert_eq!(Command::parse(&again[..again.len() - 2], &limits).as_ref(), Ok(&ours), "{line}");
        }
    }
}

#[test]
fn responses_mean_the_same_to_imap_codec_and_to_us() {
    let codec = imap_codec::ResponseCodec::new();
    let limits = ParseLimits::client();
    for seed in 0..20 {
        let lines =
            [corpus::flags(seed, 100), corpus::structures(seed, 30), vec![corpus::search(seed, 50)]].concat();
        for line in lines {
            let (_, theirs) = codec.decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
            let ours = Response::parse(line.trim_end().as_bytes(), &limits)
                .unwrap_or_else(|e| panic!("{line}: {e}"));
            let by_them = codec.encode(&theirs).dump();
            assert_eq!(Response::parse(&by_them[..by_them.len() - 2], &limits).as_ref(), Ok(&ours), "{line}");
            let mut by_us = Vec::new();
            ours.encode(&mut by_us);
            assert_eq!(codec.decode(&by_us).map(|(_, r)| r), Ok(theirs.clone()), "{line}");
            assert!(imap_proto::Response::parse(&by_us).is_ok_and(|(rest, _)| rest.is_empty()), "{line}");
        }
    }
}

/// Each difference, and why.
#[test]
fn where_imap_codec_and_we_differ_the_rfc_says_why() {
    let limits = ParseLimits::default();
    let codec = imap_codec::CommandCodec::new();
    for (text, theirs, ours) in [
        // RFC 3501 section 9, literal8 and extensions that imap-codec has not: RFC 3502, 4469, 4731, 8508.
        ("a SEARCH RETURN (MIN) ALL", false, true),
        ("a UID REPLACE 1 x {1+}\r\na", false, true),
        // RFC 3501 section 9: `nz-number`; zero is no message.
        ("a FETCH 0 FLAGS", false, false),
        // RFC 3501 section 9: date-day is 1*2DIGIT, and the day must exist.
        ("a SEARCH SINCE 31-Feb-2020", false, false),
        // RFC 3501 section 9: only one space separates.
        ("a NOOP ", false, false),
        ("a  NOOP", false, false),
    ] {
        let line = format!("{text}\r\n");
        let whole = codec.decode(line.as_bytes()).is_ok_and(|(rest, _)| rest.is_empty());
        assert_eq!(whole, theirs, "imap-codec: {text}");
        assert_eq!(Command::parse(text.as_bytes(), &limits).is_ok(), ours, "{text}");
    }
}
