//! Values through serde.

use posthaste_imap_proto::*;

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn values_survive_serde() {
    let limits = ParseLimits::client();
    for text in [
        "a LOGIN alice secret",
        "a UID FETCH 1:5,* (FLAGS BODY[1.HEADER.FIELDS (a \"b c\")]<0.5>) (CHANGEDSINCE 5)",
        "a SEARCH RETURN (MIN) OR NOT SEEN (SUBJECT x LARGER 5) SINCE 1-Feb-1994",
        "a APPEND x (\\Seen) \" 7-Feb-1994 22:43:04 -0800\" CATENATE (TEXT {2}\r\nhi URL /x)",
        "a LIST (SUBSCRIBED) \"\" (a b) RETURN (STATUS (SIZE X-Y))",
    ] {
        let command = Command::parse(text.as_bytes(), &limits).unwrap().into_owned();
        assert_eq!(through_json(&command), command, "{text}");
    }
    for text in [
        "* 1 FETCH (FLAGS (\\Seen) ENVELOPE (NIL \"s\" NIL NIL NIL ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL) X-Y (1 \"2\"))",
        "* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 1 1 NIL NIL NIL NIL) \"MIXED\" (\"B\" \"x\") NIL NIL NIL))",
        "a OK [COPYUID 1 2:3 4,5] done",
        "* ESEARCH (TAG \"a\") UID PARTIAL (1:5 NIL) COUNT 5",
    ] {
        let response = Response::parse(text.as_bytes(), &limits).unwrap().into_owned();
        assert_eq!(through_json(&response), response, "{text}");
    }
}

#[test]
fn serde_makes_no_value_that_could_break_out_of_its_place() {
    assert!(serde_json::from_str::<Atom<'_>>("\"a\\r\\nb\"").is_err());
    assert!(serde_json::from_str::<Tag<'_>>("\"a b\"").is_err());
    assert!(serde_json::from_str::<Opaque<'_>>("[97, 32, 98]").is_err());
    assert!(serde_json::from_str::<DateTime>("[[2024, 2, 30], 5, 0]").is_err());
    assert!(serde_json::from_str::<SequenceSet>("\"0\"").is_err());
    let single = r#"{"nodes":2,"part":{"Multi":{"subtype":[65],"extension":null}}}"#;
    assert!(serde_json::from_str::<BodyStructure<'_>>(&format!("[{single}]")).is_err());
}
