//! Each quirk: what it lets parse, and that nothing does without it.

use posthaste_imap_proto::*;

fn with(quirks: Quirks) -> ParseLimits {
    ParseLimits { quirks, ..ParseLimits::client() }
}

/// Parses by this quirk alone and not without, to the same value as `meant` has.
fn only_with(quirks: Quirks, text: &str, meant: &str) {
    let strict = Response::parse(text.as_bytes(), &with(Quirks::NONE));
    let limits = with(quirks);
    let lenient = Response::parse(text.as_bytes(), &limits).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_ne!(strict.as_ref().ok(), Some(&lenient), "{text}");
    assert_eq!(lenient, Response::parse(meant.as_bytes(), &limits).unwrap(), "{text}");
}

const BODY: &str = "NIL NIL \"7BIT\" 1 1";

#[test]
fn each_quirk_parses_what_it_is_named_after_and_is_needed_for_it() {
    let none = Quirks::NONE;
    let spaces = Quirks::TRAILING_SPACE;
    only_with(spaces, "* SEARCH 1 2 ", "* SEARCH 1 2");
    only_with(spaces, "* CAPABILITY IMAP4rev1 ", "* CAPABILITY IMAP4rev1");
    only_with(spaces, "* STATUS x (MESSAGES 1) ", "* STATUS x (MESSAGES 1)");
    only_with(spaces, "* FLAGS (\\Seen )", "* FLAGS (\\Seen)");
    only_with(spaces, "* 1 FETCH (UID 5 )", "* 1 FETCH (UID 5)");
    only_with(spaces, "* ID (\"a\" \"b\") ", "* ID (\"a\" \"b\")");
    let address = "(NIL NIL \"a\" \"b\")";
    let envelope = |list: &str| format!("* 1 FETCH (ENVELOPE (NIL NIL {list} NIL NIL NIL NIL NIL NIL NIL))");
    only_with(
        Quirks::SPACES_BETWEEN_ADDRESSES,
        &envelope(&format!("({address} {address})")),
        &envelope(&format!("({address}{address})")),
    );
    only_with(Quirks::EMPTY_ADDRESS_LIST, &envelope("()"), &envelope("NIL"));
    let body = |start: &str, rest: &str| format!("* 1 FETCH (BODY ({start} {rest}))");
    let text = "\"TEXT\" \"PLAIN\"";
    only_with(Quirks::NIL_ENCODING, &body(text, "NIL NIL NIL NIL 1 1"), &body(text, &format!("NIL {BODY}")));
    only_with(
        Quirks::NIL_PARAM_VALUE,
        &body(text, &format!("(\"CHARSET\" NIL) {BODY}")),
        &body(text, &format!("(\"CHARSET\" \"\") {BODY}")),
    );
    only_with(
        Quirks::NIL_MEDIA,
        &body("NIL NIL", &format!("NIL {BODY}")),
        &body("\"\" \"\"", &format!("NIL {BODY}")),
    );
    only_with(
        Quirks::NEGATIVE_NUMBERS,
        &body(text, "NIL NIL NIL \"7BIT\" -1 -1"),
        &body(text, "NIL NIL NIL \"7BIT\" 0 0"),
    );
    only_with(
        Quirks::BODY_SPACES,
        &body(text, &format!(" (\"CHARSET\" \"x\") {BODY}")),
        &body(text, &format!("(\"CHARSET\" \"x\") {BODY}")),
    );
    only_with(Quirks::MISSING_TEXT, "a OK", "a OK ");
    only_with(Quirks::MISSING_TEXT, "* OK [UNSEEN 1]", "* OK [UNSEEN 1] ");
    only_with(Quirks::MISSING_TEXT, "* OK [UNSEEN 1]first", "* OK [UNSEEN 1] first");
    only_with(Quirks::EMPTY_CONTINUE, "+", "+ ");
    let raw = Quirks::RAW_8BIT;
    only_with(raw, "* LIST () NIL \"\u{fc}\"", "* LIST () NIL {2}\r\n\u{fc}");
    only_with(Quirks::UNESCAPED_QUOTES, "* LIST () NIL \"a \"b c\"d\"", "* LIST () NIL \"a \\\"b c\\\"d\"");
    only_with(
        Quirks::QUOTA_SPACES,
        "* QUOTA x (STORAGE 1 2  MESSAGE 3 4)",
        "* QUOTA x (STORAGE 1 2 MESSAGE 3 4)",
    );
    only_with(Quirks::QUOTA_SPACES, "* QUOTA x (STORAGE  1   2)", "* QUOTA x (STORAGE 1 2)");
    only_with(
        Quirks::ONE_DIGIT_DAY,
        "* 1 FETCH (INTERNALDATE \"7-Jul-1996 02:44:25 -0700\")",
        "* 1 FETCH (INTERNALDATE \" 7-Jul-1996 02:44:25 -0700\")",
    );
    let loose = Quirks::LOOSE_KEYWORDS;
    let text = b"* FLAGS ([Gmail]/x)";
    assert!(Response::parse(text, &with(none)).is_err() && Response::parse(text, &with(loose)).is_ok());
}

#[test]
fn a_multipart_without_parts_is_one_by_quirk_wherever_it_stands() {
    let envelope = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
    let message = format!(
        "* 1 FETCH (BODYSTRUCTURE (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 9 {envelope} (\"MIXED\" (\"BOUNDARY\" \"b\") NIL NIL NIL) 3))"
    );
    // With NIL for its parameters the next but three would be a part's encoding.
    let extended = "* 1 FETCH (BODY (\"MIXED\" () NIL NIL \"there\" 30 92))";
    for text in ["* 1 FETCH (BODY (\"MIXED\"))", extended, &message] {
        assert!(Response::parse(text.as_bytes(), &with(Quirks::NONE)).is_err(), "{text}");
        let limits = with(Quirks::EMPTY_MULTIPART);
        let response = Response::parse(text.as_bytes(), &limits).unwrap_or_else(|e| panic!("{text}: {e}"));
        let Response::Data(Data::Fetch { items, .. }) = &response else { panic!("{text}") };
        let (FetchData::Body(body) | FetchData::BodyStructure(body)) = &items[0] else { panic!("{text}") };
        let root = body.root();
        let innermost = root.children().next().unwrap_or(root);
        let Part::Multi(multi) = innermost.part() else { panic!("{text}") };
        assert_eq!((&multi.subtype[..], innermost.children().count()), (&b"MIXED"[..], 0));
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(out, format!("{text}\r\n").into_bytes());
    }
}

#[test]
fn what_is_valid_means_the_same_with_all_quirks_and_with_none() {
    for text in [
        "* 1 FETCH (FLAGS (\\Seen $x) UID 7 ENVELOPE (\"d\" \"a \\\"b\\\" c\" NIL NIL NIL NIL NIL NIL NIL \"<i>\"))",
        "* LIST (\\HasChildren) \"/\" \"a (b) c\"",
        "* CAPABILITY IMAP4rev1 AUTH=PLAIN",
        "a NO [OVERQUOTA] full",
    ] {
        let strict = Response::parse(text.as_bytes(), &with(Quirks::NONE)).unwrap();
        assert_eq!(strict, Response::parse(text.as_bytes(), &with(Quirks::ALL)).unwrap());
    }
}

#[test]
fn a_status_needs_no_text_by_rfc_9051() {
    let strict = ParseLimits { quirks: Quirks::NONE, ..ParseLimits::client() };
    for (text, code) in [("a OK ", None), ("* BYE ", None), ("* OK [ALERT] ", Some(Code::Alert))] {
        let parsed = Response::parse(text.as_bytes(), &strict).unwrap();
        let (Response::Status(status) | Response::Tagged { status, .. }) = parsed else { panic!("{text}") };
        assert_eq!((status.code, &*status.text), (code, ""), "{text}");
    }
}
