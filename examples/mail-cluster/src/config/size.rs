//! Sizes for people: `10 GiB`.

use std::fmt;

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write a number and B, KiB, MiB, GiB or TiB, like \"10 GiB\"")]
pub struct BadSize(String);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Bytes of `10 GiB`, `512MiB`, `4096 B` or `4096`; whole numbers only.
///
/// # Errors
/// [`BadSize`] for other text, and for more than 64 bits.
pub fn parse_size(text: &str) -> Result<u64, BadSize> {
    let bad = || BadSize(text.chars().take(40).collect());
    let trimmed = text.trim();
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?, *unit)))
        .unwrap_or((trimmed, 1));
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)
}

/// Shows bytes in the largest unit that keeps at least one whole: `1.5 GiB`.
pub fn show_size(bytes: u64) -> impl fmt::Display {
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| bytes >= *unit).unwrap_or(("B", 1));
    if bytes.is_multiple_of(unit) {
        format!("{} {name}", bytes / unit)
    } else {
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let value = bytes as f64 / unit as f64;
        format!("{value:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in
            [("4096", 4096), ("1 GiB", 1 << 30), ("512MiB", 512 << 20), (" 2 TiB ", 2 << 40), ("0 B", 0)]
        {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "GiB", "1.5 GiB", "-1", "1 GB", "99999999999 TiB", "+5"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
        assert_eq!(show_size(1536 << 20).to_string(), "1.5 GiB");
        assert_eq!(show_size(10 << 30).to_string(), "10 GiB");
        assert_eq!(show_size(0).to_string(), "0 B");
    }
}
