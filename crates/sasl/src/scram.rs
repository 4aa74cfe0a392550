//! SCRAM-SHA-256 (RFC 5802, RFC 7677): keys and messages.

use std::fmt;
use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

use crate::messages::text;
use crate::{SaslError, Secret, decode, encode};

/// RFC 7677 §4: a client must not accept fewer.
pub const ITERATIONS_MIN: u32 = 4096;
/// More would let a server burn its clients' processors.
pub const ITERATIONS_MAX: u32 = 2_000_000;

/// One side's random text: printable ASCII without comma, at least 18 octets of it random (RFC 5802 §7).
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Checks the characters; whether it is random is the caller's care.
    pub fn new(text: impl Into<String>) -> Result<Self, SaslError> {
        let text = text.into();
        let fits = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b',');
        if fits { Ok(Self(text)) } else { Err(SaslError::Unfit("nonce")) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce")
    }
}

/// What a TLS connection is known by to both its ends (RFC 5056), e.g. `tls-exporter` (RFC 9266).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelBinding {
    /// Its registered name.
    pub name: String,
    /// What TLS gives for it.
    pub data: Secret,
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) stored_key: [u8; 32],
    pub(crate) server_key: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// Hashes a password `iterations` times: milliseconds, so not on a thread that serves others.
    pub fn new(password: &[u8], salt: &[u8], iterations: u32) -> Result<Self, SaslError> {
        if salt.is_empty() {
            return Err(SaslError::Unfit("salt"));
        }
        let (client_key, server_key) = derive(password, salt, iterations)?;
        Ok(Self { salt: salt.to_vec(), iterations, stored_key: hash(&client_key), server_key })
    }

    /// From a store.
    pub fn from_parts(
        salt: Vec<u8>,
        iterations: u32,
        stored_key: [u8; 32],
        server_key: [u8; 32],
    ) -> Result<Self, SaslError> {
        let fits = !salt.is_empty() && (1..=ITERATIONS_MAX).contains(&iterations);
        if fits {
            Ok(Self { salt, iterations, stored_key, server_key })
        } else {
            Err(SaslError::Unfit("keys"))
        }
    }

    /// Salt, iterations, stored key, server key: for a store. Protect them like passwords.
    pub fn into_parts(self) -> (Vec<u8>, u32, [u8; 32], [u8; 32]) {
        (self.salt, self.iterations, self.stored_key, self.server_key)
    }

    /// Keys for a login that does not exist, which no password fits and which are the same each time: so that strangers
    /// can't find out who exists. `secret` is the server's own.
    pub fn decoy(login: &str, secret: &[u8], iterations: u32) -> Self {
        let of = |what: &str| mac(secret, format!("{what}\0{login}").as_bytes());
        Self {
            salt: of("salt")[..16].to_vec(),
            iterations,
            stored_key: of("stored"),
            server_key: of("server"),
        }
    }

    /// Whether this password has these keys.
    pub fn fits(&self, password: &[u8]) -> bool {
        derive(password, &self.salt, self.iterations)
            .is_ok_and(|(client_key, _)| same(&hash(&client_key), &self.stored_key))
    }
}

/// Client key and server key.
pub(crate) fn derive(
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> Result<([u8; 32], [u8; 32]), SaslError> {
    let count =
        NonZeroU32::new(iterations).filter(|n| n.get() <= ITERATIONS_MAX).ok_or(SaslError::Iterations)?;
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, salt, password, &mut salted);
    Ok((mac(&salted, b"Client Key"), mac(&salted, b"Server Key")))
}

pub(crate) fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

pub(crate) fn hash(octets: &[u8]) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, octets).as_ref())
}

fn array(octets: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(octets);
    array
}

/// In a time that does not tell where they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

pub(crate) fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// `,` and `=` in a name (RFC 5802 §5.1).
pub(crate) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

pub(crate) fn unescape(name: &str) -> Result<String, SaslError> {
    let mut parts = name.split('=');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match part.split_at_checked(2) {
            Some(("2C", rest)) => (',', rest),
            Some(("3D", rest)) => ('=', rest),
            _ => return Err(SaslError::Malformed),
        };
        out.push(c);
        out.push_str(rest);
    }
    Ok(out)
}

/// What a client says of channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gs2<'a> {
    /// `n`: it can't.
    Unable,
    /// `y`: it can, and thinks that the server can't.
    Unoffered,
    /// `p=name`
    Bound(&'a str),
}

/// The client's first message.
#[derive(Debug)]
pub(crate) struct ClientFirst<'a> {
    pub(crate) gs2: Gs2<'a>,
    /// With both its commas.
    pub(crate) header: &'a str,
    pub(crate) authzid: Option<String>,
    pub(crate) login: String,
    pub(crate) nonce: &'a str,
    pub(crate) bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, SaslError> {
        let message = text(message)?;
        let (flag, rest) = message.split_once(',').ok_or(SaslError::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(SaslError::Malformed)?;
        let gs2 = match flag {
            "n" => Gs2::Unable,
            "y" => Gs2::Unoffered,
            _ => Gs2::Bound(flag.strip_prefix("p=").ok_or(SaslError::Malformed)?),
        };
        let authzid = match authzid {
            "" => None,
            name => Some(unescape(name.strip_prefix("a=").ok_or(SaslError::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        let login = attribute(attributes.next(), "n=")?;
        let nonce = attribute(attributes.next(), "r=")?;
        if login.is_empty() || nonce.is_empty() {
            return Err(SaslError::Malformed);
        }
        let header = &message[..message.len() - bare.len()];
        Ok(Self { gs2, header, authzid, login: unescape(login)?, nonce, bare })
    }
}

/// The value of the next attribute, which must be this one.
pub(crate) fn attribute<'a>(part: Option<&'a str>, name: &str) -> Result<&'a str, SaslError> {
    part.and_then(|part| part.strip_prefix(name)).ok_or(SaslError::Malformed)
}

/// The server's first message.
pub(crate) struct ServerFirst<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    pub(crate) fn parse(message: &'a str) -> Result<Self, SaslError> {
        let mut attributes = message.split(',');
        let nonce = attribute(attributes.next(), "r=")?;
        let salt = decode(attribute(attributes.next(), "s=")?.as_bytes())?;
        let iterations = attribute(attributes.next(), "i=")?.parse().map_err(|_| SaslError::Malformed)?;
        if salt.is_empty() {
            return Err(SaslError::Malformed);
        }
        Ok(Self { nonce, salt, iterations })
    }

    pub(crate) fn text(nonce: &str, keys: &ScramKeys) -> String {
        format!("r={nonce},s={},i={}", encode(&keys.salt), keys.iterations)
    }
}

/// What `c=` says: the header of the first message, and the channel's data where it is bound.
pub(crate) fn binding_text(header: &str, binding: Option<&ChannelBinding>) -> String {
    let data = binding.map_or(b"".as_slice(), |binding| binding.data.expose());
    encode(&[header.as_bytes(), data].concat())
}
