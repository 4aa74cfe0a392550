//! PLAIN (RFC 4616) and LOGIN as the protocols share them: base64 in, credentials out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
pub(crate) enum Exchange {
    /// Waits for PLAIN's one message.
    Plain,
    /// Waits for LOGIN's user name.
    LoginName,
    /// Waits for LOGIN's password.
    LoginPassword {
        /// The user name.
        login: String,
    },
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this challenge (base64) and give the response to [`Exchange::respond`].
    Challenge(&'static str),
    /// The client has said all.
    Done(Credentials),
}

/// The response is malformed; the exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The mechanisms of [`Exchange::new`].
pub(crate) const MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

impl Exchange {
    /// Begins; `None` if the mechanism is unknown.
    pub(crate) fn new(mechanism: &str) -> Option<Self> {
        match mechanism {
            m if m.eq_ignore_ascii_case("PLAIN") => Some(Self::Plain),
            m if m.eq_ignore_ascii_case("LOGIN") => Some(Self::LoginName),
            _ => None,
        }
    }

    /// The challenge that asks for what is waited for. The texts of LOGIN are what clients look for.
    pub(crate) fn challenge(&self) -> Step {
        Step::Challenge(match self {
            Self::Plain => "",
            Self::LoginName => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        })
    }

    /// Takes a response in base64.
    pub(crate) fn respond(&mut self, base64: &[u8]) -> Result<Step, Malformed> {
        let response = STANDARD.decode(base64).map_err(|_| Malformed)?;
        match self {
            Self::Plain => plain(&response).map(Step::Done),
            Self::LoginName => {
                let login = String::from_utf8(response).map_err(|_| Malformed)?;
                *self = Self::LoginPassword { login };
                Ok(self.challenge())
            }
            Self::LoginPassword { login } => {
                Ok(Step::Done(Credentials { login: std::mem::take(login), password: response }))
            }
        }
    }
}

/// `[authzid] NUL authcid NUL password`; nobody may act for somebody else.
fn plain(message: &[u8]) -> Result<Credentials, Malformed> {
    let mut parts = message.splitn(3, |b| *b == 0);
    let (Some(authorize), Some(login), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Malformed);
    };
    let other_identity = !authorize.is_empty() && authorize != login;
    if other_identity || login.is_empty() || password.contains(&0) {
        return Err(Malformed);
    }
    let login = String::from_utf8(login.to_vec()).map_err(|_| Malformed)?;
    Ok(Credentials { login, password: password.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Exchange::Plain.respond(b"AGE"), Err(Malformed));
    }

    #[test]
    fn sasl_login_asks_twice() {
        let mut exchange = Exchange::new("LOGIN").unwrap();
        assert_eq!(exchange.challenge(), Step::Challenge("VXNlcm5hbWU6"));
        assert_eq!(exchange.respond(&encode("tim")), Ok(Step::Challenge("UGFzc3dvcmQ6")));
        assert_eq!(exchange.respond(&encode("x y")), done("tim", "x y"));
        assert!(Exchange::new("CRAM-MD5").is_none());
    }
}
