//! The mechanisms that passwords are checked by, PLAIN and LOGIN, as the protocols share them: base64 in, credentials out.
//!
//! `posthaste-sasl` has more; what a [`crate::Directory`] can check is a login and its password.

use std::fmt;

use posthaste_sasl::{Credentials as Said, Mechanism, Server, decode};

/// What a client proved itself by.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) login: String,
    pub(crate) password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

/// An exchange in progress.
#[derive(Debug)]
pub(crate) struct Exchange(Server);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this challenge (base64) and give the response to [`Exchange::respond`].
    Challenge(String),
    /// The client has said all.
    Done(Credentials),
}

/// The response is malformed; the exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The mechanisms of [`Exchange::new`].
pub(crate) const MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

impl Exchange {
    /// Begins; `None` if the mechanism is not one of [`MECHANISMS`].
    pub(crate) fn new(mechanism: &str) -> Option<Self> {
        let mechanism = Mechanism::parse(mechanism)?;
        matches!(mechanism, Mechanism::Plain | Mechanism::Login).then(|| Self(Server::new(mechanism)))
    }

    /// The challenge that asks for the first message.
    pub(crate) fn challenge(&self) -> Step {
        Step::Challenge(posthaste_sasl::encode(self.0.first_challenge()))
    }

    /// Takes a response in base64.
    pub(crate) fn respond(&mut self, base64: &[u8]) -> Result<Step, Malformed> {
        let response = decode(base64).map_err(|_| Malformed)?;
        match self.0.respond(&response).map_err(|_| Malformed)? {
            posthaste_sasl::Step::Challenge(challenge) => {
                Ok(Step::Challenge(posthaste_sasl::encode(&challenge)))
            }
            // Nobody may act for somebody else.
            posthaste_sasl::Step::Check(Said::Password { login, authzid: None, password }) => {
                Ok(Step::Done(Credentials { login, password: password.expose().to_vec() }))
            }
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn encode(text: &str) -> Vec<u8> {
        STANDARD.encode(text).into_bytes()
    }

    fn done(login: &str, password: &str) -> Result<Step, Malformed> {
        Ok(Step::Done(Credentials { login: login.into(), password: password.into() }))
    }

    #[test]
    fn sasl_plain_gives_login_and_password() {
        let respond = |text| Exchange::new("plain").unwrap().respond(&encode(text));
        assert_eq!(respond("\0tim\0tanstaaftanstaaf"), done("tim", "tanstaaftanstaaf"));
        assert_eq!(respond("tim\0tim\0 a b "), done("tim", " a b "));
        for bad in ["", "tim", "\0tim", "kurt\0tim\0x", "\0\0x", "\0tim\0x\0"] {
            assert_eq!(respond(bad), Err(Malformed), "{bad:?}");
        }
        assert_eq!(Exchange::new("PLAIN").unwrap().respond(b"AGE"), Err(Malformed));
    }

    #[test]
    fn sasl_login_asks_twice() {
        let mut exchange = Exchange::new("LOGIN").unwrap();
        assert_eq!(exchange.challenge(), Step::Challenge("VXNlcm5hbWU6".into()));
        assert_eq!(exchange.respond(&encode("tim")), Ok(Step::Challenge("UGFzc3dvcmQ6".into())));
        assert_eq!(exchange.respond(&encode("x y")), done("tim", "x y"));
        assert!(Exchange::new("CRAM-MD5").is_none());
    }
}
