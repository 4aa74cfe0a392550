//! Names of mechanisms.

use std::fmt;

/// A mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// RFC 4616. Only under TLS.
    Plain,
    /// Never standardized, but in use. Only under TLS.
    Login,
    /// RFC 7677
    ScramSha256,
    /// The same, bound to the TLS channel.
    ScramSha256Plus,
    /// RFC 7628. Only under TLS.
    OAuthBearer,
    /// Google's forerunner of it. Only under TLS.
    XOAuth2,
    /// RFC 4422 appendix A: what TLS's client certificate says.
    External,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Self; 7] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::External,
        Self::Plain,
        Self::Login,
    ];

    /// By its name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::External => "EXTERNAL",
        }
    }

    /// Whether who listens learns what lets him in.
    pub fn is_plaintext(self) -> bool {
        matches!(self, Self::Plain | Self::Login | Self::OAuthBearer | Self::XOAuth2)
    }

    /// Whether the server speaks first, so that there can be no initial response.
    pub fn server_first(self) -> bool {
        self == Self::Login
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
