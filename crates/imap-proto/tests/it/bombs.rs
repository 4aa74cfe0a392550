//! Hostile input: refused in bounded time, stack and memory.

use posthaste_imap_proto::*;

fn command(text: &[u8]) -> Result<Command<'_>, ParseErrorKind> {
    Command::parse(text, &ParseLimits::default()).map_err(|e| e.kind)
}

fn response(text: &[u8]) -> Result<Response<'_>, ParseErrorKind> {
    Response::parse(text, &ParseLimits::default()).map_err(|e| e.kind)
}

#[test]
fn nesting_bombs_are_refused_at_the_depth_limit() {
    let deep = ParseErrorKind::TooDeep { limit: 100 };
    for open in ["(", "NOT ", "OR ALL ", "(NOT "] {
        let text = format!("a SEARCH {}", open.repeat(200_000));
        assert_eq!(command(text.as_bytes()), Err(deep), "{open}");
    }
    for head in ["* 1 FETCH (BODYSTRUCTURE ", "* 1 FETCH (X-FUTURE ", "* LIST () NIL x (x "] {
        let text = format!("{head}{}", "(".repeat(1_000_000));
        assert_eq!(response(text.as_bytes()), Err(deep), "{head}");
    }
    let message = "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 1 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ";
    let text = format!("* 1 FETCH (BODY {}", message.repeat(5000));
    assert_eq!(response(text.as_bytes()), Err(deep));
    let part = format!("a FETCH 1 BODY[{}1]", "1.".repeat(100_000));
    assert_eq!(command(part.as_bytes()), Err(deep));
}

#[test]
fn ninety_levels_of_real_nesting_are_accepted() {
    let text = format!("a SEARCH {}ALL{}", "(".repeat(90), ")".repeat(90));
    assert!(command(text.as_bytes()).is_ok());
    let leaf = "(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 1 1)";
    let text = format!("* 1 FETCH (BODY {}{leaf}{})", "(".repeat(90), " \"MIXED\")".repeat(90));
    let parsed = response(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    parsed.encode(&mut out);
    assert_eq!(out, format!("{text}\r\n").as_bytes());
}

#[test]
fn list_bombs_are_refused_at_the_item_limit() {
    let many = ParseErrorKind::TooManyItems { limit: 16 * 1024 };
    assert_eq!(command(format!("a FETCH {}1 FLAGS", "1,".repeat(20_000)).as_bytes()), Err(many));
    assert_eq!(command(format!("a SEARCH{}", " ALL".repeat(20_000)).as_bytes()), Err(many));
    assert_eq!(command(format!("a STORE 1 FLAGS (x{})", " x".repeat(20_000)).as_bytes()), Err(many));
}

#[test]
fn huge_numbers_are_refused_not_wrapped() {
    let large = Err(ParseErrorKind::NumberTooLarge);
    assert_eq!(command(b"a FETCH 4294967296 FLAGS"), large);
    assert_eq!(command(b"a SEARCH LARGER 18446744073709551616"), large);
    assert_eq!(command(b"a LOGIN {99999999999999999999}\r\nx"), large);
    assert!(command(b"a LOGIN {18446744073709551615}\r\nx").is_err());
    assert!(response(b"* 4294967296 EXISTS").is_err());
    assert!(command(b"a FETCH 1:4294967295 FLAGS").is_ok());
}

#[test]
fn a_declared_size_reserves_nothing() {
    let mut decoder = CommandDecoder::new(Config::default());
    decoder.set_authenticated(true);
    for text in ["a LOGIN {18446744073709551615+}\r\n", "x", "b APPEND x {99999999999999999999}\r\n"] {
        let mut input = text.as_bytes();
        while decoder.decode(&mut input) != Event::NeedMore {}
        assert!(decoder.held() < 64);
    }
}

#[test]
fn nul_is_refused_by_name() {
    let nul = Err(ParseErrorKind::Nul);
    assert_eq!(command(b"a LOGIN \"a\0\" b"), nul);
    assert_eq!(command(b"a LOGIN {2}\r\na\0 b"), nul);
}
