//! Addresses that are, and addresses that are not.

use super::*;

#[test]
fn addresses_parse_and_print_the_same() {
    for text in [
        "alice@example.org",
        "a.b+c@x",
        "\"a b\"@example.org",
        "\"quo\\\"te\\\\\"@example.org",
        "\"\"@example.org",
        "\"a..b\"@example.org",
        "x@[192.0.2.1]",
        "x@[IPv6:2001:db8::1]",
        "x@[x400:abc]",
        "grün@bücher.example",
    ] {
        assert_eq!(Mailbox::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn needless_quotes_are_not_part_of_the_name() {
    assert_eq!(Mailbox::parse("\"alice\"@x").unwrap(), Mailbox::parse("alice@x").unwrap());
    assert_eq!(Mailbox::parse("\"\\a\"@x").unwrap().to_string(), "a@x");
}

#[test]
fn malformed_addresses_are_refused() {
    for text in [
        "",
        "@",
        "a@",
        "@b",
        "a",
        "a b@c",
        "a@b c",
        "a..b@c",
        ".a@c",
        "a.@c",
        "a@b..c",
        "a@.b",
        "a@-b",
        "a@b-",
        "a@[1.2.3]",
        "a@[IPv6:zz]",
        "a@[",
        "\"a@b",
        "\"a\\",
        "\"a\"b@c",
        "a@b>",
        "<a@b>",
        "a@b.",
        "a@[x:]",
    ] {
        assert!(Mailbox::parse(text).is_err(), "{text:?}");
    }
}
