//! When a message is to be released or delivered: `HOLDFOR`, `HOLDUNTIL` (RFC 4865) and `BY` (RFC 2852).

use std::fmt;
use std::str::FromStr;

use crate::class::number;

/// Both RFCs allow one to nine digits.
pub(super) const SECONDS_MAX: u32 = 999_999_999;

/// What to do with a message that can't be delivered in time (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ByMode {
    /// `N`: go on, and tell the sender.
    Notify,
    /// `R`: return it.
    Return,
}

/// `BY=seconds;mode[T]` (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DeliverBy {
    /// Seconds from now, at most nine digits; 0 or less only with [`ByMode::Notify`].
    pub seconds: i32,
    /// What happens then.
    pub mode: ByMode,
    /// `T`: each relay that passes it on reports so.
    pub trace: bool,
}

impl DeliverBy {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (seconds, mode) = text.split_once(';')?;
        let digits = seconds.strip_prefix(['-', '+']).unwrap_or(seconds);
        let magnitude = i32::try_from(short_number(digits)?).ok()?;
        let seconds = if seconds.starts_with('-') { -magnitude } else { magnitude };
        let (mode, trace) = match mode.as_bytes() {
            [mode] => (mode, false),
            [mode, b'T' | b't'] => (mode, true),
            _ => return None,
        };
        let mode = match mode.to_ascii_uppercase() {
            b'N' => ByMode::Notify,
            b'R' if seconds > 0 => ByMode::Return,
            _ => return None,
        };
        Some(Self { seconds, mode, trace })
    }
}

fn short_number(digits: &str) -> Option<u32> {
    if digits.len() > 9 { None } else { number(digits)?.try_into().ok() }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Notify => 'N',
            ByMode::Return => 'R',
        };
        let max = i64::from(SECONDS_MAX);
        let seconds = i64::from(self.seconds).clamp(-max, max);
        write!(f, "{seconds};{mode}{}", if self.trace { "T" } else { "" })
    }
}

/// Until when submission keeps a message (RFC 4865 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Hold {
    /// `HOLDFOR=`: so many seconds, 1 to 999,999,999.
    For(u32),
    /// `HOLDUNTIL=`
    Until(UtcTime),
}

impl Hold {
    pub(crate) fn parse_for(text: &str) -> Option<Self> {
        short_number(text).filter(|seconds| *seconds > 0).map(Hold::For)
    }

    pub(crate) fn parse_until(text: &str) -> Option<Self> {
        text.parse().ok().map(Hold::Until)
    }
}

/// Text or numbers that are no time; nothing was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UTC time of RFC 3339, such as 2026-01-31T10:00:00Z")]
pub struct InvalidTime;

/// A second in UTC, `2026-01-31T10:00:00Z` (RFC 3339). Fractions are dropped when it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct UtcTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl UtcTime {
    /// Checks the calendar: year to 9999, the month's length, hour, minute, second (60 for a leap second).
    pub fn new(date: (u16, u8, u8), time: (u8, u8, u8)) -> Result<Self, InvalidTime> {
        let ((year, month, day), (hour, minute, second)) = (date, time);
        let date_fits =
            year <= 9999 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        let time_fits = hour < 24 && minute < 60 && second <= 60;
        if date_fits && time_fits {
            Ok(Self { year, month, day, hour, minute, second })
        } else {
            Err(InvalidTime)
        }
    }

    /// Year, month from 1, day from 1.
    pub fn date(&self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// Hour, minute, second.
    pub fn time(&self) -> (u8, u8, u8) {
        (self.hour, self.minute, self.second)
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for UtcTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let bytes = text.as_bytes();
        let digits = |at: usize, len: usize| {
            let all = bytes.get(at..at + len)?;
            all.iter().try_fold(0u16, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
        };
        let two = |at| digits(at, 2).and_then(|n| u8::try_from(n).ok()).ok_or(InvalidTime);
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if !separators.iter().all(|(at, b)| bytes.get(*at).is_some_and(|c| c.eq_ignore_ascii_case(b))) {
            return Err(InvalidTime);
        }
        if !is_utc_suffix(bytes.get(19..).unwrap_or_default()) {
            return Err(InvalidTime);
        }
        let year = digits(0, 4).ok_or(InvalidTime)?;
        Self::new((year, two(5)?, two(8)?), (two(11)?, two(14)?, two(17)?))
    }
}

/// `Z`, or `.` and digits before it.
fn is_utc_suffix(suffix: &[u8]) -> bool {
    match suffix {
        [b'Z' | b'z'] => true,
        [b'.', fraction @ .., b'Z' | b'z'] => !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(feature = "serde")]
impl TryFrom<String> for UtcTime {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

#[cfg(feature = "serde")]
impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliver_by_known_answers() {
        let by = DeliverBy::parse("120;R").unwrap();
        assert_eq!(by, DeliverBy { seconds: 120, mode: ByMode::Return, trace: false });
        assert_eq!(DeliverBy::parse("-5;nt").unwrap().to_string(), "-5;NT");
        for bad in ["", "1", "1;", "1;X", "0;R", "-1;R", "1;NTT", "1234567890;N", "x;N"] {
            assert!(DeliverBy::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_checked_by_the_calendar() {
        for text in ["2026-01-31T10:00:00Z", "2024-02-29T23:59:60Z", "0000-12-31T00:00:00Z"] {
            assert_eq!(text.parse::<UtcTime>().unwrap().to_string(), text);
        }
        assert_eq!("2026-01-31t10:00:00.25z".parse(), UtcTime::new((2026, 1, 31), (10, 0, 0)));
        for bad in [
            "",
            "2026-02-29T10:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T10:00:00",
            "2026-01-31T10:00:00+01:00",
            "2026-1-31T10:00:00Z",
            "2026-01-31 10:00:00Z",
            "2026-01-31T10:00:00.Z",
            "2026-13-01T10:00:00Z",
        ] {
            assert_eq!(bad.parse::<UtcTime>(), Err(InvalidTime), "{bad:?}");
        }
    }
}
