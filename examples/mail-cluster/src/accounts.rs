//! Users as the quorum keeps them: a password hash and the volume of the user's mail.
//!
//! Every voter stores the hashes, the witness too: protect it like a node.

use std::sync::LazyLock;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::config::VolumeId;

/// Memory of one hash, in KiB. OWASP's smallest choice has 7 MiB and five passes; mail clients log
/// in often and side by side, so memory is kept low and a right password is [`Remembered`].
const MEMORY_KIB: u32 = 8 * 1024;
/// Passes over that memory.
const PASSES: u32 = 5;
/// Threads of one hash: logins are parallel enough.
const LANES: u32 = 1;
/// Bytes of a password at most, so that nobody makes us hash megabytes.
pub const PASSWORD_MAX: usize = 1024;
/// Version of the stored form, its first byte.
const FORMAT: u8 = 1;

/// A user's record in the quorum's key-value space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Argon2id in PHC string form.
    pub hash: String,
    /// Where the user's mail is.
    pub volume: VolumeId,
}

/// A record cannot be read: it is damaged, or a newer version wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAccount {
    /// Written by a newer version of this program.
    #[error("the account has format {0}; this program knows up to {FORMAT}: update it")]
    Newer(u8),
    /// Damaged.
    #[error("the account's record is damaged")]
    Damaged,
}

/// A name or password that no account can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUser {
    /// Not of the form `local@domain`, or with characters that no mail address of ours has.
    #[error("{0:?} is no user name: write name@domain, with letters, digits and . - _ + in the name")]
    Name(String),
    /// The domain is not one of the cluster's.
    #[error("{domain:?} is not one of our domains, which are {ours}")]
    Domain {
        /// What was asked for.
        domain: String,
        /// What there is.
        ours: String,
    },
    /// Empty, or longer than [`PASSWORD_MAX`].
    #[error("a password has 1 to {PASSWORD_MAX} bytes")]
    Password,
}

/// The prefix of all accounts' keys.
pub const KEY_PREFIX: &str = "account/";

/// The key of the account `name`.
pub fn key(name: &str) -> String {
    format!("{KEY_PREFIX}{name}")
}

/// The name behind a key; `None` if it is no account's key.
pub fn name_of(key: &str) -> Option<&str> {
    key.strip_prefix(KEY_PREFIX)
}

/// The stored form.
pub fn encode(account: &Account) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    // Strings and a validated name: postcard has no error for these.
    bytes.extend(postcard::to_stdvec(account).unwrap_or_default());
    bytes
}

/// Reads the stored form.
///
/// # Errors
/// [`BadAccount`]; the account is then as good as locked.
pub fn decode(bytes: &[u8]) -> Result<Account, BadAccount> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| BadAccount::Damaged),
        Some((&newer, _)) if newer > FORMAT => Err(BadAccount::Newer(newer)),
        _ => Err(BadAccount::Damaged),
    }
}

/// The canonical form of a user's name: `local@domain`, lower case, the domain one of `domains`.
///
/// # Errors
/// [`BadUser`].
pub fn parse_name(name: &str, domains: &[String]) -> Result<String, BadUser> {
    let lower = name.trim().to_ascii_lowercase();
    let bad = || BadUser::Name(name.chars().take(80).collect());
    let (local, domain) = lower.rsplit_once('@').ok_or_else(bad)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    if !(1..=64).contains(&local.len()) || dots || !local.bytes().all(plain) {
        return Err(bad());
    }
    if !domains.iter().any(|ours| ours == domain) {
        return Err(BadUser::Domain { domain: domain.to_owned(), ours: domains.join(", ") });
    }
    Ok(lower)
}

/// Hashes a password with a new salt. Takes some 10 ms and 8 MiB: call it where blocking is allowed.
///
/// # Errors
/// [`BadUser::Password`] when it is empty or too long.
pub fn hash(password: &[u8]) -> Result<String, BadUser> {
    if password.is_empty() || password.len() > PASSWORD_MAX {
        return Err(BadUser::Password);
    }
    let salt = SaltString::generate(&mut OsRng);
    let hashed = hasher().hash_password(password, &salt).map_err(|_| BadUser::Password)?;
    Ok(hashed.to_string())
}

/// Whether `password` is the one behind `hash`. As costly as [`hash`].
pub fn verify(hash: &str, password: &[u8]) -> bool {
    if password.len() > PASSWORD_MAX {
        return false;
    }
    // The parameters come from the hash, so that older hashes go on working.
    PasswordHash::new(hash).is_ok_and(|parsed| hasher().verify_password(password, &parsed).is_ok())
}

/// Takes as long as [`verify`] and says no: for users that do not exist, so that time does not tell.
pub fn verify_nobody(password: &[u8]) -> bool {
    static NOBODY: LazyLock<String> = LazyLock::new(|| hash(b"nobody").unwrap_or_default());
    verify(&NOBODY, password);
    false
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A password that was right, remembered in memory only, so that a client that logs in again and
/// again does not cost an [`argon2`] hash each time. Salted SHA-256.
#[derive(Clone)]
pub struct Remembered {
    salt: [u8; 32],
    digest: Vec<u8>,
}

impl Remembered {
    /// Remembers `password`.
    pub fn new(password: &[u8]) -> Self {
        let mut salt = [0; 32];
        rand::rng().fill_bytes(&mut salt);
        Self { salt, digest: digest(&salt, password) }
    }

    /// Whether it is that password; in a time that does not depend on where it differs.
    pub fn matches(&self, password: &[u8]) -> bool {
        let digest = digest(&self.salt, password);
        let differing = self.digest.iter().zip(&digest).fold(0, |acc, (a, b)| acc | (a ^ b));
        differing == 0 && self.digest.len() == digest.len()
    }
}

fn digest(salt: &[u8; 32], password: &[u8]) -> Vec<u8> {
    let mut input = salt.to_vec();
    input.extend_from_slice(password);
    // SHA-256 from the TLS library that is here anyway.
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().expect("a TLS 1.3 suite").common.hash_provider;
    hash.hash(&input).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Vec<String> {
        vec!["example.org".into(), "example.net".into()]
    }

    #[test]
    fn a_password_is_verified_and_never_stored() {
        let hashed = hash(b"open sesame").unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=8192,t=5,p=1$"), "{hashed}");
        assert!(verify(&hashed, b"open sesame"));
        assert!(!verify(&hashed, b"open sesame "));
        assert!(!verify("no hash", b"open sesame"));
        assert!(!verify_nobody(b"nobody"));
        assert!(hash(b"").is_err() && hash(&[b'x'; PASSWORD_MAX + 1]).is_err());
        assert_ne!(hashed, hash(b"open sesame").unwrap(), "the salt is new each time");
    }

    #[test]
    fn a_remembered_password_matches_itself_only() {
        let remembered = Remembered::new(b"secret");
        assert!(remembered.matches(b"secret"));
        assert!(!remembered.matches(b"Secret") && !remembered.matches(b""));
    }

    #[test]
    fn accounts_keep_their_stored_form() {
        let account = Account { hash: "$x".into(), volume: VolumeId::parse("vol1").unwrap() };
        let bytes = encode(&account);
        assert_eq!(bytes, b"\x01\x02$x\x04vol1");
        assert_eq!(decode(&bytes), Ok(account));
        assert_eq!(decode(b"\x02new"), Err(BadAccount::Newer(2)));
        assert_eq!(decode(&bytes[..4]), Err(BadAccount::Damaged));
        assert_eq!(decode(b""), Err(BadAccount::Damaged));
        assert_eq!(name_of(&key("a@b")), Some("a@b"));
    }

    #[test]
    fn user_names_are_parsed_not_trusted() {
        assert_eq!(parse_name(" Alice@Example.ORG ", &domains()).unwrap(), "alice@example.org");
        for bad in [
            "alice",
            "@example.org",
            "a b@example.org",
            "../x@example.org",
            ".a@example.org",
            "a..b@example.org",
            "ä@example.org",
        ] {
            assert!(matches!(parse_name(bad, &domains()), Err(BadUser::Name(_))), "{bad:?}");
        }
        assert!(matches!(parse_name("a@example.com", &domains()), Err(BadUser::Domain { .. })));
    }
}
