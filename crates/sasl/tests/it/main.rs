//! Whole exchanges, what attackers may try, and every example of the RFCs.

mod examples;
mod exchanges;

use posthaste_sasl::Nonce;

fn nonce(text: &str) -> Nonce {
    Nonce::new(text).unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}
