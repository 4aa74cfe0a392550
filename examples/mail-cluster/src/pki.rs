//! The cluster's certificate authority: who may speak to the members, and who is who.
//!
//! A member's certificate names it as `node-<id>.<cluster id>.posthaste`; nothing else about the
//! certificate is believed. The CA also signs the first certificate that mail clients see, so that
//! one file makes both trusted; operators will replace that one by a public CA's.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::config::{ClusterId, NodeId};

/// How long a certificate for mail clients holds: what Apple's programs accept of a CA that the user added.
const SERVICE_DAYS: u64 = 824;

/// A certificate could not be made; nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the certificate of {whose}: {cause}")]
pub struct PkiError {
    whose: String,
    cause: rcgen::Error,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its key; keep it secret.
    pub key_pem: String,
}

/// The CA of one cluster, with its key.
pub struct Authority {
    cluster: ClusterId,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new CA with a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(cluster: ClusterId) -> Result<Self, PkiError> {
        let name = format!("Posthaste cluster {cluster}");
        let failed = |cause| PkiError { whose: "the cluster's CA".into(), cause };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        Ok(Self { cluster, issuer: CertifiedIssuer::self_signed(params, key).map_err(failed)? })
    }

    /// Its certificate, which every member and every mail client needs (PEM).
    pub fn cert_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its key, which no daemon needs (PEM).
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A member's certificate: for both ends of a connection, without an end of validity, since a
    /// member that cannot join after a forgotten renewal is worse than a key that stays valid.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn issue_member(&self, id: NodeId, name: &str) -> Result<Issued, PkiError> {
        let mut params = named(name);
        params.subject_alt_names = self.dns(&member_dns(self.cluster, id), name)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name)
    }

    /// The certificate that mail clients see, for the host name and the addresses; valid for 824 days.
    ///
    /// # Errors
    /// When the name fits no certificate, or the system gives no randomness.
    pub fn issue_service(&self, hostname: &str, addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let mut params = named(hostname);
        params.subject_alt_names = self.dns(hostname, hostname)?;
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let today = days_since_1970();
        let (from, until) = (civil(today.saturating_sub(1)), civil(today + SERVICE_DAYS));
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        self.sign(params, hostname)
    }

    fn dns(&self, name: &str, whose: &str) -> Result<Vec<SanType>, PkiError> {
        let name = name.try_into().map_err(|cause| PkiError { whose: whose.into(), cause })?;
        Ok(vec![SanType::DnsName(name)])
    }

    fn sign(&self, params: CertificateParams, whose: &str) -> Result<Issued, PkiError> {
        let failed = |cause| PkiError { whose: whose.into(), cause };
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// The name in a member's certificate.
pub fn member_dns(cluster: ClusterId, id: NodeId) -> String {
    format!("node-{}.{cluster}.posthaste", id.0)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn days_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400)
}

/// Year, month and day of a count of days since 1970-01-01 (Hinnant's `civil_from_days`).
fn civil(days: u64) -> (i32, u8, u8) {
    let z = i64::try_from(days).unwrap_or(0) + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // All three are small: a year of a 64-bit clock in seconds fits after the clamp above.
    (i32::try_from(year).unwrap_or(9999), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_088), (2024, 12, 31));
        assert_eq!(civil(47_540), (2100, 2, 28));
        assert_eq!(civil(47_541), (2100, 3, 1));
    }
}
