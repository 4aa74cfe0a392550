//! Whole exchanges, and what an attacker may try.

use posthaste_sasl::*;

use crate::{nonce, text};

const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

fn pencil() -> ScramKeys {
    ScramKeys::new(b"pencil", &decode(SALT.as_bytes()).unwrap(), 4096).unwrap()
}

/// Runs SCRAM between a client and a server; the first error of either.
fn scram(
    (client_mechanism, client_binding): (Mechanism, Option<ChannelBinding>),
    (server_mechanism, server_binding): (Mechanism, Option<ChannelBinding>),
    password: &[u8],
) -> Result<(), SaslError> {
    let login = Credentials::password("u,s=er", password);
    let mut client = Client::new(client_mechanism, login, nonce("abc"), client_binding)?;
    let mut server = Server::scram(server_mechanism, nonce("def"), server_binding);
    let step = server.respond(&client.initial())?;
    assert_eq!(step, Step::Keys { login: "u,s=er".into() });
    let challenge = server.keys(pencil())?;
    let Step::Challenge(signature) = server.respond(&client.respond(&challenge)?)? else { panic!() };
    let Step::Done { login, .. } = server.respond(&client.respond(&signature)?)? else { panic!() };
    assert_eq!(login, "u,s=er");
    client.finish()
}

#[test]
fn scram_plus_binds_to_the_channel_and_shows_a_downgrade() {
    use Mechanism::{ScramSha256 as Bare, ScramSha256Plus as Plus};
    let channel = |data: &str| Some(Server::tls_exporter(data));
    assert_eq!(scram((Plus, channel("x")), (Plus, channel("x")), b"pencil"), Ok(()));
    assert_eq!(scram((Bare, None), (Bare, channel("x")), b"pencil"), Ok(()));
    assert_eq!(scram((Bare, channel("x")), (Bare, None), b"pencil"), Ok(()));
    let other_channel = scram((Plus, channel("x")), (Plus, channel("y")), b"pencil");
    assert_eq!(other_channel, Err(SaslError::WrongBinding), "somebody in the middle");
    let hidden_offer = scram((Bare, channel("x")), (Bare, channel("x")), b"pencil");
    assert_eq!(hidden_offer, Err(SaslError::WrongBinding), "the offer of -PLUS was hidden");
    assert_eq!(scram((Bare, None), (Plus, channel("x")), b"pencil"), Err(SaslError::WrongBinding));
}

#[test]
fn a_wrong_password_is_a_wrong_proof() {
    let bare = || (Mechanism::ScramSha256, None);
    assert_eq!(scram(bare(), bare(), b"pencil"), Ok(()));
    assert_eq!(scram(bare(), bare(), b"pencils"), Err(SaslError::WrongProof));
    assert!(pencil().fits(b"pencil") && !pencil().fits(b"Pencil"));
    let decoy = ScramKeys::decoy("nobody", b"secret", 4096);
    assert_eq!(decoy, ScramKeys::decoy("nobody", b"secret", 4096));
    assert_ne!(decoy, ScramKeys::decoy("noone", b"secret", 4096));
}

#[test]
fn a_client_trusts_no_server_that_asks_too_little_or_too_much() {
    for (challenge, error) in [
        ("r=abcdef,s=QUJD,i=1", SaslError::Iterations),
        ("r=abcdef,s=QUJD,i=4000000000", SaslError::Iterations),
        ("r=abc,s=QUJD,i=4096", SaslError::Malformed),
        ("r=xyz,s=QUJD,i=4096", SaslError::Malformed),
        ("r=abcdef,s=,i=4096", SaslError::Malformed),
        ("m=ext,r=abcdef,s=QUJD,i=4096", SaslError::Malformed),
        ("", SaslError::WrongSignature),
    ] {
        let login = Credentials::password("user", b"pencil");
        let mut client = Client::new(Mechanism::ScramSha256, login, nonce("abc"), None).unwrap();
        match challenge {
            "" => assert_eq!(client.finish(), Err(error)),
            challenge => assert_eq!(client.respond(challenge.as_bytes()), Err(error), "{challenge}"),
        }
    }
}

fn one_message(mechanism: Mechanism, message: &[u8]) -> Result<Step, SaslError> {
    Server::new(mechanism).respond(message)
}

#[test]
fn plain_gives_login_and_password() {
    let check = |login: &str, password: &str| Ok(Step::Check(Credentials::password(login, password)));
    assert_eq!(one_message(Mechanism::Plain, b"\0tim\0tanstaaftanstaaf"), check("tim", "tanstaaftanstaaf"));
    assert_eq!(one_message(Mechanism::Plain, b"tim\0tim\0 a b "), check("tim", " a b "));
    let Ok(Step::Check(Credentials::Password { authzid, .. })) =
        one_message(Mechanism::Plain, b"Ursel\0Kurt\0x")
    else {
        panic!()
    };
    assert_eq!(authzid.as_deref(), Some("Ursel"));
    for bad in [b"".as_slice(), b"tim", b"\0tim", b"\0\0x", b"\0tim\0x\0", b"\0\xff\0x"] {
        assert_eq!(one_message(Mechanism::Plain, bad), Err(SaslError::Malformed), "{bad:?}");
    }
}

#[test]
fn login_asks_twice() {
    let mut server = Server::new(Mechanism::Login);
    let login = Credentials::password("tim", b"x y");
    let mut client = Client::new(Mechanism::Login, login.clone(), nonce("n"), None).unwrap();
    let name = client.respond(server.first_challenge()).unwrap();
    let Ok(Step::Challenge(challenge)) = server.respond(&name) else { panic!() };
    assert_eq!(
        (encode(server.first_challenge()), encode(&challenge)),
        ("VXNlcm5hbWU6".into(), "UGFzc3dvcmQ6".into())
    );
    assert_eq!(server.respond(&client.respond(&challenge).unwrap()), Ok(Step::Check(login)));
    assert_eq!(client.finish(), Ok(()));
    assert_eq!(server.respond(b"x"), Err(SaslError::OutOfOrder));
}

#[test]
fn oauth_messages_of_rfc_7628_and_of_google() {
    let message =
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01";
    let expected = Ok(Step::Check(Credentials::token("user@example.com", b"vF9dft4qmT")));
    assert_eq!(one_message(Mechanism::OAuthBearer, message), expected);
    let message = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmT\x01\x01";
    let expected = Ok(Step::Check(Credentials::token("someuser@example.com", b"ya29.vF9dft4qmT")));
    assert_eq!(one_message(Mechanism::XOAuth2, message), expected);
    for mechanism in [Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        let token = Credentials::token("a=b,c@d", b"tok");
        let mut client = Client::new(mechanism, token.clone(), nonce("n"), None).unwrap();
        assert_eq!(one_message(mechanism, &client.initial()), Ok(Step::Check(token)));
        // Refused: it answers, so that the server may say so, and knows that it has failed.
        let refusal = Server::new(mechanism).refuse_token();
        assert!(client.respond(refusal).unwrap().len() <= 1);
        assert!(client.finish().is_err());
        for bad in
            ["", "n,,", "n,,\x01auth=Basic x\x01\x01", "n,,\x01auth=Bearer \x01\x01", "n,,\x01auth=Bearer x"]
        {
            assert_eq!(one_message(mechanism, bad.as_bytes()), Err(SaslError::Malformed), "{bad:?}");
        }
    }
}

#[test]
fn external_names_nobody_or_somebody() {
    for (message, authzid) in [("", None), ("fred@example.com", Some("fred@example.com".to_owned()))] {
        let credentials = Credentials::External { authzid };
        let client = Client::new(Mechanism::External, credentials.clone(), nonce("n"), None).unwrap();
        assert_eq!(text(&client.initial()), message);
        assert_eq!(one_message(Mechanism::External, message.as_bytes()), Ok(Step::Check(credentials)));
    }
}

#[test]
fn malformed_scram_messages_are_refused() {
    for bad in [
        "",
        "n",
        "n,,",
        "x,,n=u,r=a",
        "n,,n=,r=a",
        "n,,n=u,r=",
        "n,,n=u=2,r=a",
        "n,b=x,n=u,r=a",
        "n,,m=x,n=u,r=a",
        "p=,,n=u,r=a",
    ] {
        let mut server = Server::scram(Mechanism::ScramSha256, nonce("def"), None);
        assert!(server.respond(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let long = vec![b'x'; MESSAGE_MAX + 1];
    assert_eq!(one_message(Mechanism::Plain, &long), Err(SaslError::TooLong { limit: MESSAGE_MAX }));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let login = Credentials::password("user", b"hunter2");
    let mut client = Client::new(Mechanism::ScramSha256, login.clone(), nonce("abc"), None).unwrap();
    let _ = client.respond(b"r=abcdef,s=QUJD,i=4096");
    for shown in [format!("{login:?}"), format!("{client:?}"), format!("{:?}", pencil())] {
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}

#[test]
fn mechanisms_are_found_by_name_in_any_case() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::parse(&mechanism.name().to_ascii_lowercase()), Some(mechanism));
    }
    assert_eq!(Mechanism::parse("CRAM-MD5"), None);
}
