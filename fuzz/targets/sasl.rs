//! No octets let a client in that does not know the password, or a server be believed that does not know the keys; a message
//! that was changed on its way fails the exchange; what parses comes back from its encoding.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::seeded;
use posthaste_sasl::*;

const PASSWORD: &[u8] = b"correct horse battery staple";

fn nonce(text: &str) -> Nonce {
    Nonce::new(text).expect("a nonce")
}

/// Hashed once: it takes a millisecond.
fn keys() -> ScramKeys {
    static KEYS: OnceLock<ScramKeys> = OnceLock::new();
    KEYS.get_or_init(|| ScramKeys::new(PASSWORD, b"salt of sixteen!", ITERATIONS_MIN).expect("keys")).clone()
}

fn binding(data: &str) -> ChannelBinding {
    Server::tls_exporter(data)
}

/// What was understood is what our client sends for it, and the server reads it back.
fn comes_back(mechanism: Mechanism, credentials: Credentials) {
    let Ok(client) = Client::new(mechanism, credentials.clone(), nonce("n"), None) else {
        // LOGIN takes an empty name; our client says none.
        assert_eq!(mechanism, Mechanism::Login);
        return;
    };
    if mechanism != Mechanism::Login {
        let again = Server::new(mechanism).respond(&client.initial());
        assert_eq!(again, Ok(Step::Check(credentials)));
    }
}

/// Any octets from a client: never through, and nothing after an error.
fn server(mechanism: Mechanism, bound: bool, messages: &[&[u8]]) {
    let mut server = Server::scram(mechanism, nonce("server"), bound.then(|| binding("channel")));
    let mut over = false;
    for message in messages {
        let step = server.respond(message);
        assert!(!over || step.is_err(), "after an error, or after all was said");
        match step {
            Ok(Step::Done { .. }) => panic!("let in without the password"),
            Ok(Step::Check(credentials)) => {
                over = true;
                comes_back(mechanism, credentials);
            }
            Ok(Step::Keys { login }) => {
                assert!(!login.is_empty());
                server.keys(keys()).expect("keys that were asked for");
            }
            Ok(_) => {}
            Err(_) => over = true,
        }
    }
}

/// Whether a client would hash more often than a fuzzer has time for.
fn is_slow(challenge: &[u8]) -> bool {
    let text = String::from_utf8_lossy(challenge);
    let iterations = text.split(",i=").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
    iterations.is_some_and(|iterations| iterations > ITERATIONS_MIN)
}

/// Any octets from a server: never believed.
fn client(mechanism: Mechanism, messages: &[&[u8]]) {
    let credentials = match mechanism {
        Mechanism::OAuthBearer | Mechanism::XOAuth2 => Credentials::token("user", "token"),
        Mechanism::External => Credentials::External { authzid: None },
        _ => Credentials::password("user", PASSWORD),
    };
    let mut client =
        Client::new(mechanism, credentials, nonce("client"), Some(binding("channel"))).expect("a client");
    for message in messages.iter().filter(|message| !is_slow(message)) {
        if client.respond(message).is_err() {
            assert!(client.finish().is_err());
            assert!(client.respond(message).is_err(), "after an error");
        }
    }
    let is_scram = matches!(mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus);
    assert!(!is_scram || client.finish().is_err(), "believed without a proof");
}

/// Somebody in between, who changes the messages that `patches` say: each is XORed with its patch.
fn between(plus: bool, patches: &[&[u8]]) {
    let mechanism = if plus { Mechanism::ScramSha256Plus } else { Mechanism::ScramSha256 };
    let channel = || plus.then(|| binding("channel"));
    let login = Credentials::password("user", PASSWORD);
    let mut client = Client::new(mechanism, login, nonce("client"), channel()).expect("a client");
    let mut server = Server::scram(mechanism, nonce("server"), channel());
    let (mut patches, mut changed) = (patches.iter(), false);
    let mut pass = |message: Vec<u8>| {
        let patch = patches.next().copied().unwrap_or_default();
        let mut sent = message.clone();
        sent.iter_mut().zip(patch).for_each(|(octet, patch)| *octet ^= patch);
        sent.extend(patch.get(message.len()..).unwrap_or_default());
        changed |= sent != message;
        sent
    };
    let mut exchange = || -> Result<(), SaslError> {
        let Step::Keys { .. } = server.respond(&pass(client.initial()))? else { panic!("no keys") };
        let challenge = pass(server.keys(keys())?);
        if is_slow(&challenge) {
            return Err(SaslError::Iterations);
        }
        let proof = pass(client.respond(&challenge)?);
        let Step::Challenge(signature) = server.respond(&proof)? else { panic!("no signature") };
        let signature = pass(signature);
        let last = pass(client.respond(&signature)?);
        let Step::Done { login, authzid } = server.respond(&last)? else { panic!("not done") };
        assert_eq!((login.as_str(), authzid), ("user", None));
        client.finish()
    };
    let outcome = exchange();
    assert_eq!(outcome.is_err(), changed, "{outcome:?}");
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, data)) = seeded(data) else { return };
    let messages: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    let mechanism = Mechanism::ALL[usize::from(seed & 7) % Mechanism::ALL.len()];
    match seed >> 3 & 7 {
        0 => between(seed & 1 == 0, &messages),
        1 | 2 => client(mechanism, &messages),
        bound => server(mechanism, bound & 1 == 0, &messages),
    }
    if let Ok(message) = decode(data) {
        assert_eq!(encode(&message).as_bytes(), data, "one encoding for each message");
    }
});
