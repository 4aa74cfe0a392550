//! Commands with the values that they stand for, both ways.

use posthaste_pop3_proto::*;

fn parse(line: &str) -> Command<'_> {
    Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn commands_of_the_rfcs_parse_and_encode_the_same() {
    for line in [
        "USER mrose",
        "USER alice@example.org",
        "PASS secret",
        "APOP mrose c4c9334bac560ecc979e58001b3e22fb",
        "AUTH",
        "AUTH PLAIN",
        "AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=",
        "AUTH EXTERNAL =",
        "CAPA",
        "STLS",
        "STAT",
        "LIST",
        "LIST 2",
        "UIDL",
        "UIDL 4294967295",
        "RETR 1",
        "TOP 1 0",
        "TOP 10 4294967295",
        "DELE 1",
        "NOOP",
        "RSET",
        "QUIT",
        "UTF8",
        "LANG",
        "LANG MUL",
        "LANG es-419",
        "LANG *",
        "XCLIENT ADDR=192.0.2.1 PORT=4711 SESSION=x TTL=4 CLIENT-TRANSPORT=insecure",
        "XCLIENT DESTADDR=2001:db8::1 DESTPORT=995 DESTNAME=pop.example.org X-NEW=",
    ] {
        let command = parse(line);
        let mut out = Vec::new();
        command.encode(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\r\n"));
        assert_eq!(command.clone().into_owned(), command);
    }
}

#[test]
fn a_password_may_hold_blanks_anywhere() {
    for (line, password) in [("PASS my secret", "my secret"), ("PASS  x ", " x "), ("PASS ", "")] {
        let Command::Pass(secret) = parse(line) else { panic!() };
        assert_eq!(secret.expose(), password.as_bytes());
    }
    let Ok(Command::Pass(secret)) = Command::parse(b"pass \xff\xfe") else { panic!() };
    assert_eq!(secret.expose(), b"\xff\xfe");
}

#[test]
fn case_and_trailing_blanks_do_not_matter() {
    assert_eq!(parse("quit "), Command::Quit);
    assert_eq!(parse("list  7 "), parse("LIST 7"));
}

#[test]
fn bad_commands_are_refused_with_a_reason() {
    for (line, error) in [
        ("", SyntaxError::UnknownCommand),
        ("HELO", SyntaxError::UnknownCommand),
        ("STATUS", SyntaxError::UnknownCommand),
        ("PASS", SyntaxError::MissingArgument),
        ("USER", SyntaxError::MissingArgument),
        ("RETR", SyntaxError::MissingArgument),
        ("TOP", SyntaxError::MissingArgument),
        ("TOP 1", SyntaxError::BadNumber),
        ("RETR 0", SyntaxError::BadNumber),
        ("RETR -1", SyntaxError::BadNumber),
        ("RETR 4294967296", SyntaxError::BadNumber),
        ("RETR 1 2", SyntaxError::BadNumber),
        ("STAT 1", SyntaxError::UnexpectedArgument),
        ("APOP x", SyntaxError::MissingArgument),
        ("APOP x nothex", SyntaxError::BadArgument),
        ("AUTH PLAIN no!", SyntaxError::BadArgument),
        ("USER a\tb", SyntaxError::BadArgument),
        ("XCLIENT", SyntaxError::MissingArgument),
        ("XCLIENT ADDR=x", SyntaxError::BadArgument),
        ("XCLIENTS ADDR=::1", SyntaxError::UnknownCommand),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(error), "{line:?}");
        assert!(!error.reply().is_ok());
    }
}

#[test]
fn credentials_do_not_show_in_debug() {
    for line in ["PASS hunter2", "APOP x c0ffee", "AUTH PLAIN aHVudGVyMg=="] {
        let shown = format!("{:?}", parse(line));
        assert!(["hunter2", "c0ffee", "aHVu"].into_iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
