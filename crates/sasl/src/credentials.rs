//! What a client proves itself by.

use std::fmt;

/// Octets that never show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps a password, token or key.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The octets, on purpose under a name that shows in review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What is to be checked by a server, or said by a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// A name and its password: PLAIN, LOGIN, and SCRAM's client.
    Password {
        /// Who proves himself.
        login: String,
        /// For whom he acts, if for another.
        authzid: Option<String>,
        /// The password.
        password: Secret,
    },
    /// A bearer token: OAUTHBEARER and XOAUTH2.
    Token {
        /// The user as the client names him; who he is says the token.
        login: Option<String>,
        /// The token.
        token: Secret,
    },
    /// TLS's client certificate says it: EXTERNAL.
    External {
        /// For whom he acts, if not for himself.
        authzid: Option<String>,
    },
}

impl Credentials {
    /// A name and its password.
    pub fn password(login: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        Self::Password { login: login.into(), authzid: None, password: Secret::new(password) }
    }

    /// A user's bearer token.
    pub fn token(login: impl Into<String>, token: impl Into<Vec<u8>>) -> Self {
        Self::Token { login: Some(login.into()), token: Secret::new(token) }
    }
}
