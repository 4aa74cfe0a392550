//! Every example of the RFCs and of the vendors' documents for our mechanisms, as it stands there in base64 or in clear: what
//! the server makes of it, and what our client sends for the same. Examples of other mechanisms are named with their reason.

use posthaste_sasl::*;

use crate::{nonce, text};

/// An example that is one message of a client's.
struct Message {
    from: &'static str,
    mechanism: Mechanism,
    /// In base64 where it stands so.
    printed: Printed,
    means: Credentials,
    /// What our client sends for it, where that differs, and why.
    ours: Option<(&'static str, &'static str)>,
}

enum Printed {
    Base64(&'static str),
    Clear(&'static str),
}

impl Printed {
    fn octets(&self) -> Vec<u8> {
        match self {
            Printed::Base64(base64) => decode(base64.as_bytes()).unwrap(),
            Printed::Clear(clear) => clear.as_bytes().to_vec(),
        }
    }
}

fn for_another(authzid: &str, login: &str, password: &str) -> Credentials {
    let password = Secret::new(password);
    Credentials::Password { login: login.into(), authzid: Some(authzid.into()), password }
}

const SHORT: &str = "host and port are of no use to the server and left out";

fn messages() -> Vec<Message> {
    use Mechanism::{External, OAuthBearer, Plain, XOAuth2};
    let bearer = || Credentials::token("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    let clear = |from, mechanism, clear, means| Message {
        from,
        mechanism,
        printed: Printed::Clear(clear),
        means,
        ours: None,
    };
    let base64 = |from, mechanism, base64, means, ours| Message {
        from,
        mechanism,
        printed: Printed::Base64(base64),
        means,
        ours,
    };
    let short = "n,a=user@example.com,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
    vec![
        clear(
            "RFC 4616 §4",
            Plain,
            "\0tim\0tanstaaftanstaaf",
            Credentials::password("tim", "tanstaaftanstaaf"),
        ),
        clear("RFC 4616 §4", Plain, "Ursel\0Kurt\0xipj3plmq", for_another("Ursel", "Kurt", "xipj3plmq")),
        clear(
            "RFC 2595 §6",
            Plain,
            "\0tim\0tanstaaftanstaaf",
            Credentials::password("tim", "tanstaaftanstaaf"),
        ),
        base64(
            "RFC 4954 §4.1",
            Plain,
            "dGVzdAB0ZXN0ADEyMzQ=",
            Credentials::password("test", "1234"),
            Some(("\0test\x001234", "who acts for himself need not say so")),
        ),
        base64(
            "RFC 5034 §6",
            Plain,
            "dGVzdAB0ZXN0AHRlc3Q=",
            Credentials::password("test", "test"),
            Some(("\0test\0test", "who acts for himself need not say so")),
        ),
        base64(
            "RFC 4468 §3.4",
            Plain,
            "aGFycnkAaGFycnkAYWNjaW8=",
            Credentials::password("harry", "accio"),
            Some(("\0harry\0accio", "who acts for himself need not say so")),
        ),
        clear("RFC 4954 §4.1", External, "", Credentials::External { authzid: None }),
        base64(
            "RFC 7628 §4.1",
            OAuthBearer,
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI\
             HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
            bearer(),
            Some((short, SHORT)),
        ),
        base64(
            "RFC 7628 §4.1",
            OAuthBearer,
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyI\
             HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
            bearer(),
            Some((short, SHORT)),
        ),
        base64(
            "Google, OAuth 2.0 Mechanism",
            XOAuth2,
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1sem\
             RHRXVZMjl0Q2cBAQ==",
            Credentials::token("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"),
            None,
        ),
        base64(
            "Microsoft, Authenticate an IMAP, POP or SMTP connection using OAuth",
            XOAuth2,
            "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQl\
             daV0NjbFJDM0VvQUEBAQ==",
            Credentials::token("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA"),
            None,
        ),
    ]
}

#[test]
fn every_message_of_the_rfcs_means_what_it_says_on_both_sides() {
    let messages = messages();
    assert_eq!(messages.len(), 11, "none is lost");
    for Message { from, mechanism, printed, means, ours } in messages {
        let octets = printed.octets();
        let mut server = Server::new(mechanism);
        assert_eq!(server.respond(&octets), Ok(Step::Check(means.clone())), "{from}");
        let client = Client::new(mechanism, means.clone(), nonce("n"), None).unwrap();
        let sent = client.initial();
        let expected = ours.map_or(octets.as_slice(), |(clear, _)| clear.as_bytes());
        assert_eq!(text(&sent), text(expected), "{from}");
        // Whatever form ours has, it means the same.
        assert_eq!(Server::new(mechanism).respond(&sent), Ok(Step::Check(means)), "{from}");
        if let Printed::Base64(base64) = printed {
            assert_eq!(encode(&octets), base64, "{from}");
        }
    }
}

/// RFC 7628 §4.3: a client without a token asks what one would have to be good for.
#[test]
fn the_failed_exchange_of_rfc_7628_section_4_3() {
    let first = "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE=";
    let first = decode(first.as_bytes()).unwrap();
    assert_eq!(text(&first), "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01");
    let mut server = Server::new(Mechanism::OAuthBearer);
    let Ok(Step::Challenge(refusal)) = server.respond(&first) else { panic!() };
    assert_eq!(refusal, server.refuse_token());
    // AQ==, the acknowledgement that the RFC wants; the exchange has failed for good.
    assert_eq!(server.respond(&decode(b"AQ==").unwrap()), Err(SaslError::WrongProof));
    assert_eq!(server.respond(&first), Err(SaslError::OutOfOrder));
}

/// RFC 7628 §4.3 and §4.4, and Google's: a client acknowledges the refusal, and knows that it is one.
#[test]
fn a_client_acknowledges_the_refusals_of_the_documents() {
    for (from, mechanism, refusal, clear, answer) in [
        (
            "RFC 7628 §4.3",
            Mechanism::OAuthBearer,
            "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyYXRpb24iOiJodHRwczovL2V4\
             YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0=",
            r#"{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/.well-known/openid-configuration"}"#,
            "AQ==",
        ),
        (
            "RFC 7628 §4.4",
            Mechanism::OAuthBearer,
            "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NoZW1lcyI6ImJlYXJlciBtYWMiLCJzY29wZSI6Imh0dHBzOi8vbWFpbC5leGFtcGxlLmNvbS8ifQ==",
            r#"{"status":"invalid_token","schemes":"bearer mac","scope":"https://mail.example.com/"}"#,
            "AQ==",
        ),
        (
            "Google, OAuth 2.0 Mechanism",
            Mechanism::XOAuth2,
            "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K",
            "{\"status\":\"401\",\"schemes\":\"bearer mac\",\"scope\":\"https://mail.google.com/\"}\n",
            "",
        ),
    ] {
        let octets = decode(refusal.as_bytes()).unwrap();
        assert_eq!(text(&octets), clear, "{from}");
        let token = Credentials::token("user@example.com", "expired");
        let mut client = Client::new(mechanism, token, nonce("n"), None).unwrap();
        client.initial();
        assert_eq!(encode(&client.respond(&octets).unwrap()), answer, "{from}");
        assert!(client.finish().is_err(), "{from}");
    }
}

/// RFC 7677 §3, from both sides, octet by octet.
#[test]
fn the_scram_exchange_of_rfc_7677_section_3() {
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    let keys = ScramKeys::new(b"pencil", &decode(SALT.as_bytes()).unwrap(), 4096).unwrap();
    let login = Credentials::password("user", b"pencil");
    let mut client = Client::new(Mechanism::ScramSha256, login, nonce("rOprNGfwEbeRWgbNEkqO"), None).unwrap();
    let mut server = Server::scram(Mechanism::ScramSha256, nonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"), None);

    let first = client.initial();
    assert_eq!(text(&first), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    assert_eq!(server.respond(&first), Ok(Step::Keys { login: "user".into() }));
    let challenge = server.keys(keys).unwrap();
    assert_eq!(
        text(&challenge),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let proof = client.respond(&challenge).unwrap();
    assert_eq!(
        text(&proof),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let Ok(Step::Challenge(signature)) = server.respond(&proof) else { panic!() };
    assert_eq!(text(&signature), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(client.finish(), Err(SaslError::WrongSignature), "not before the server has shown it");
    let last = client.respond(&signature).unwrap();
    assert_eq!(server.respond(&last), Ok(Step::Done { login: "user".into(), authzid: None }));
    assert_eq!(client.finish(), Ok(()));
}

/// RFC 5802 §5 is an exchange by SHA-1, which is not ours. Its first messages have no hash in them and read the same on both
/// sides; its proof and its signature are refused as what they are: too short.
#[test]
fn the_scram_exchange_of_rfc_5802_section_5_as_far_as_it_goes_without_sha_1() {
    let own = "fyko+d2lbbFgONRv9qkxdawL";
    let first = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    let login = Credentials::password("user", b"pencil");
    let mut client = Client::new(Mechanism::ScramSha256, login, nonce(own), None).unwrap();
    assert_eq!(text(&client.initial()), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
    let proof = client.respond(first.as_bytes()).unwrap();
    assert!(text(&proof).starts_with("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p="));
    assert_eq!(client.respond(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Err(SaslError::WrongSignature));

    let keys = ScramKeys::new(b"pencil", &decode(b"QSXCR+Q6sek8bf92").unwrap(), 4096).unwrap();
    let mut server = Server::scram(Mechanism::ScramSha256, nonce("3rfcNHYJY1ZVvWVs7j"), None);
    let step = server.respond(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
    assert_eq!(step, Ok(Step::Keys { login: "user".into() }));
    assert_eq!(text(&server.keys(keys).unwrap()), first);
    let sha_1 = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    assert_eq!(server.respond(sha_1), Err(SaslError::Malformed));
}

/// Examples that break their own RFC, why, and what we say to them.
#[test]
fn examples_that_break_their_rfc_are_refused_for_that() {
    let refused: [(&str, Mechanism, &str, &str, SaslError); 1] = [(
        "RFC 7628 §4.4",
        Mechanism::OAuthBearer,
        "bix1c2VyPXNvbWV1c2VyQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB2RjlkZnQ0cW1UYzJOdmIzUmxja0JoZEhSaGRtbHpkR0V1WTI5dENnPT0BAQ==",
        "`n,user=…,` is no gs2-header (RFC 5801 §4): a name is `a=…`",
        SaslError::Malformed,
    )];
    for (from, mechanism, base64, why, error) in refused {
        let message = decode(base64.as_bytes()).unwrap();
        assert_eq!(Server::new(mechanism).respond(&message), Err(error), "{from}: {why}");
    }
}

/// Mechanisms whose examples stand in the same RFCs, and which we do not have: nobody is asked to speak them by us.
#[test]
fn mechanisms_of_other_examples_are_not_ours() {
    for (from, mechanism) in [
        ("RFC 7628 §4.2", "OAUTH10A"),
        ("RFC 5802 §5", "SCRAM-SHA-1"),
        ("RFC 2195 §2", "CRAM-MD5"),
        ("RFC 2831 §4", "DIGEST-MD5"),
        ("RFC 2222 §7.1, RFC 1734", "KERBEROS_V4"),
        ("RFC 2222 §7.3", "SKEY"),
        ("RFC 4505 §3", "ANONYMOUS"),
    ] {
        assert_eq!(Mechanism::parse(mechanism), None, "{from}");
    }
}
