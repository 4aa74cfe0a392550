//! The messages of the mechanisms that are one message: PLAIN, OAUTHBEARER, XOAUTH2, EXTERNAL.

use crate::{Credentials, SaslError, Secret};

pub(crate) fn text(octets: &[u8]) -> Result<&str, SaslError> {
    std::str::from_utf8(octets).map_err(|_| SaslError::Malformed)
}

/// Empty is none.
fn optional(text: &str) -> Option<String> {
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

/// `[authzid] NUL authcid NUL password` (RFC 4616 §2).
pub(crate) fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut parts = message.splitn(3, |b| *b == 0);
    let (Some(authzid), Some(login), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(SaslError::Malformed);
    };
    if login.is_empty() || password.contains(&0) {
        return Err(SaslError::Malformed);
    }
    let (login, authzid) = (text(login)?.to_owned(), optional(text(authzid)?));
    let authzid = authzid.filter(|other| *other != login);
    Ok(Credentials::Password { login, authzid, password: Secret::new(password) })
}

pub(crate) fn put_plain(login: &str, authzid: Option<&str>, password: &Secret) -> Vec<u8> {
    [authzid.unwrap_or_default().as_bytes(), login.as_bytes(), password.expose()].join(&0)
}

/// What a client says with OAUTHBEARER.
pub(crate) enum OAuth {
    Token(Credentials),
    /// No token: it asks what a token would have to be good for (RFC 7628 §3.1).
    Query,
}

/// `n,a=user,^Akey=value^A…^A^A` (RFC 7628 §3.1).
pub(crate) fn oauth_bearer(message: &[u8]) -> Result<OAuth, SaslError> {
    let message = text(message)?;
    let (header, pairs) = message.split_once('\u{1}').ok_or(SaslError::Malformed)?;
    let authzid = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,"));
    let authzid = authzid.and_then(|rest| rest.strip_suffix(',')).ok_or(SaslError::Malformed)?;
    let login = match authzid.strip_prefix("a=") {
        Some(name) => optional(&crate::scram::unescape(name)?),
        None if authzid.is_empty() => None,
        None => return Err(SaslError::Malformed),
    };
    let pairs = pairs.strip_suffix('\u{1}').ok_or(SaslError::Malformed)?;
    if pairs.split('\u{1}').any(|pair| pair == "auth=") {
        return Ok(OAuth::Query);
    }
    Ok(OAuth::Token(Credentials::Token { login, token: bearer(pairs)? }))
}

/// `user=…^Aauth=Bearer …^A^A`
pub(crate) fn xoauth2(message: &[u8]) -> Result<Credentials, SaslError> {
    let pairs = text(message)?.strip_suffix('\u{1}').ok_or(SaslError::Malformed)?;
    let login = pairs.split('\u{1}').find_map(|pair| pair.strip_prefix("user=")).and_then(optional);
    Ok(Credentials::Token { login, token: bearer(pairs)? })
}

fn bearer(pairs: &str) -> Result<Secret, SaslError> {
    let auth =
        pairs.split('\u{1}').find_map(|pair| pair.strip_prefix("auth=")).ok_or(SaslError::Malformed)?;
    let (scheme, token) = auth.split_once(' ').ok_or(SaslError::Malformed)?;
    let fits = scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(|b| b > b' ');
    if fits { Ok(Secret::new(token)) } else { Err(SaslError::Malformed) }
}

pub(crate) fn put_oauth_bearer(login: Option<&str>, token: &Secret) -> Vec<u8> {
    let header = login.map_or("n,,".to_owned(), |login| format!("n,a={},", crate::scram::escape(login)));
    [header.as_bytes(), b"\x01auth=Bearer ", token.expose(), b"\x01\x01"].concat()
}

pub(crate) fn put_xoauth2(login: Option<&str>, token: &Secret) -> Vec<u8> {
    let login = login.unwrap_or_default();
    [b"user=".as_slice(), login.as_bytes(), b"\x01auth=Bearer ", token.expose(), b"\x01\x01"].concat()
}

pub(crate) fn external(message: &[u8]) -> Result<Credentials, SaslError> {
    let authzid = text(message)?;
    if authzid.contains('\0') {
        Err(SaslError::Malformed)
    } else {
        Ok(Credentials::External { authzid: optional(authzid) })
    }
}
