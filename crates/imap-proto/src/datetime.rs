//! Dates as IMAP writes them.

use crate::Quirks;
use crate::lex::{Ctx, In, Res, byte, expected, peek, sp};
use crate::own::into_owned;
use crate::write::Writer;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A calendar day: `1-Feb-1994`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "(u16, u8, u8)", into = "(u16, u8, u8)"))]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `None` unless the day exists; years 0 to 9999.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let valid = year <= 9999 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        valid.then_some(Self { year, month, day })
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        let (m, d) = (i64::from(self.month), i64::from(self.day));
        let y = i64::from(self.year) - i64::from(m <= 2);
        let era = y.div_euclid(400);
        let day_of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
        let year_of_era = y - era * 400;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The day that lies so many days after 1970-01-01; `None` outside years 0 to 9999.
    pub fn from_days(days: i64) -> Option<Self> {
        let z = days.checked_add(719_468)?;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = (mp + 2) % 12 + 1;
        let year = yoe + era * 400 + i64::from(month <= 2);
        Self::new(u16::try_from(year).ok()?, month as u8, (doy - (153 * mp + 2) / 5 + 1) as u8)
    }

    pub(crate) fn write(self, w: &mut Writer<'_>) {
        w.number(self.day);
        self.write_month_year(w);
    }

    fn write_month_year(self, w: &mut Writer<'_>) {
        w.raw("-");
        w.raw(MONTHS[usize::from(self.month - 1)]);
        w.raw("-");
        let y = self.year;
        w.raw([y / 1000, y / 100 % 10, y / 10 % 10, y % 10].map(|d| b'0' + d as u8));
    }
}

impl From<Date> for (u16, u8, u8) {
    fn from(date: Date) -> Self {
        (date.year, date.month, date.day)
    }
}

impl TryFrom<(u16, u8, u8)> for Date {
    type Error = &'static str;

    fn try_from((year, month, day): (u16, u8, u8)) -> Result<Self, &'static str> {
        Date::new(year, month, day).ok_or("no such day")
    }
}

impl From<DateTime> for (Date, u32, i16) {
    fn from(t: DateTime) -> Self {
        (t.date, t.second_of_day, t.zone_minutes)
    }
}

impl TryFrom<(Date, u32, i16)> for DateTime {
    type Error = &'static str;

    fn try_from((date, second_of_day, zone_minutes): (Date, u32, i16)) -> Result<Self, &'static str> {
        let valid = second_of_day < 86_400 && zone_minutes.unsigned_abs() < 24 * 60;
        valid.then_some(Self { date, second_of_day, zone_minutes }).ok_or("no such time")
    }
}

into_owned!(copy Date, DateTime);

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// An INTERNALDATE: `" 7-Feb-1994 22:43:04 -0800"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "(Date, u32, i16)", into = "(Date, u32, i16)"))]
pub struct DateTime {
    date: Date,
    second_of_day: u32,
    zone_minutes: i16,
}

impl DateTime {
    /// `None` for a time that no clock shows (a leap second counts as the second before) or a zone of a day or more.
    pub fn new(date: Date, hour: u8, minute: u8, second: u8, zone_minutes: i16) -> Option<Self> {
        let valid = hour < 24 && minute < 60 && second <= 60 && zone_minutes.unsigned_abs() < 24 * 60;
        let second_of_day = u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second.min(59));
        valid.then_some(Self { date, second_of_day, zone_minutes })
    }

    /// Seconds since 1970-01-01 00:00 UTC.
    pub fn unix(self) -> i64 {
        self.date.days() * 86_400 + i64::from(self.second_of_day) - i64::from(self.zone_minutes) * 60
    }

    /// The moment in UTC; `None` outside years 0 to 9999.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        let date = Date::from_days(seconds.div_euclid(86_400))?;
        Some(Self { date, second_of_day: seconds.rem_euclid(86_400) as u32, zone_minutes: 0 })
    }

    /// The day as its own zone counts it: what SEARCH SINCE compares ("disregarding time and timezone").
    pub fn date(self) -> Date {
        self.date
    }

    /// Minutes east of UTC.
    pub fn zone_minutes(self) -> i16 {
        self.zone_minutes
    }

    pub(crate) fn write(self, w: &mut Writer<'_>) {
        w.raw("\"");
        w.raw([if self.date.day < 10 { b' ' } else { b'0' + self.date.day / 10 }, b'0' + self.date.day % 10]);
        self.date.write_month_year(w);
        let s = self.second_of_day;
        w.raw(" ");
        w.raw(two(s / 3600));
        w.raw(":");
        w.raw(two(s / 60 % 60));
        w.raw(":");
        w.raw(two(s % 60));
        w.raw(if self.zone_minutes < 0 { " -" } else { " +" });
        let zone = u32::from(self.zone_minutes.unsigned_abs());
        w.raw(two(zone / 60));
        w.raw(two(zone % 60));
        w.raw("\"");
    }
}

fn two(n: u32) -> [u8; 2] {
    [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]
}

/// `date`: quoted or not, one or two digits of day.
pub(crate) fn date(i: In<'_>) -> Res<'_, Date> {
    if peek(i) == Some(b'"') {
        let (i, d) = date_text(&i[1..])?;
        let (i, ()) = byte(i, b'"', "a closing quote")?;
        return Ok((i, d));
    }
    date_text(i)
}

fn date_text(i: In<'_>) -> Res<'_, Date> {
    let n = if i.get(1).is_some_and(u8::is_ascii_digit) { 2 } else { 1 };
    let (rest, day) = digits(i, n)?;
    month_year(rest, day as u8)
}

fn month_year(i: In<'_>, day: u8) -> Res<'_, Date> {
    let (i, ()) = byte(i, b'-', "a date")?;
    let month = i.first_chunk().and_then(month);
    let Some(month) = month else { return expected(i, "a month") };
    let (rest, ()) = byte(&i[3..], b'-', "a date")?;
    let (rest, year) = digits(rest, 4)?;
    match Date::new(year, month as u8 + 1, day) {
        Some(date) => Ok((rest, date)),
        None => expected(i, "a day that exists"),
    }
}

/// A month by its name, 0 for January.
#[inline]
fn month(name: &[u8; 3]) -> Option<usize> {
    let name = name.map(|b| b | 0x20);
    MONTHS.iter().position(|month| month.map(|b| b | 0x20) == name)
}

fn digits(i: In<'_>, n: usize) -> Res<'_, u16> {
    match i.get(..n) {
        Some(d) if d.iter().all(u8::is_ascii_digit) => {
            Ok((&i[n..], d.iter().fold(0, |v, b| v * 10 + u16::from(b - b'0'))))
        }
        _ => expected(i, "digits"),
    }
}

/// `date-time`, with its quotes. A one-digit day may come without its leading space.
pub(crate) fn date_time(i: In<'_>, ctx: Ctx) -> Res<'_, DateTime> {
    let (i, ()) = byte(i, b'"', "a quoted date and time")?;
    let padded = i.strip_prefix(b" ");
    if padded.is_none() && !ctx.allows(Quirks::ONE_DIGIT_DAY) && !i.get(1).is_some_and(u8::is_ascii_digit) {
        return expected(i, "a day of two places");
    }
    let (i, date) = date_text(padded.unwrap_or(i))?;
    let (i, ()) = sp(i)?;
    let (i, hour) = digits(i, 2)?;
    let (i, ()) = byte(i, b':', ":")?;
    let (i, minute) = digits(i, 2)?;
    let (i, ()) = byte(i, b':', ":")?;
    let (i, second) = digits(i, 2)?;
    let (i, ()) = sp(i)?;
    let (i, zone) = zone(i)?;
    let (rest, ()) = byte(i, b'"', "a closing quote")?;
    match DateTime::new(date, hour as u8, minute as u8, second as u8, zone) {
        Some(t) => Ok((rest, t)),
        None => expected(i, "a time that exists"),
    }
}

fn zone(i: In<'_>) -> Res<'_, i16> {
    let sign = match peek(i) {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return expected(i, "a zone"),
    };
    let (rest, hours) = digits(&i[1..], 2)?;
    let (rest, minutes) = digits(rest, 2)?;
    if minutes > 59 || hours > 23 {
        return expected(i, "a zone");
    }
    Ok((rest, sign * (hours as i16 * 60 + minutes as i16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_convert_to_unix_time_and_back() {
        let (_, t) = date_time(b"\"17-Jul-1996 02:44:25 -0700\"", Ctx::CHECKED).unwrap();
        assert_eq!(t.unix(), 837_596_665);
        assert_eq!(DateTime::from_unix(0).unwrap().date(), Date::new(1970, 1, 1).unwrap());
        for days in [-719_528, -1, 0, 59, 11_016, 19_782, 2_932_896] {
            assert_eq!(Date::from_days(days).unwrap().days(), days);
        }
        assert!(Date::from_days(i64::MAX).is_none());
        assert!(DateTime::from_unix(i64::MIN).is_none());
    }

    #[test]
    fn impossible_dates_are_refused() {
        for bad in [
            "\"30-Feb-2024 00:00:00 +0000\"",
            "\"01-Jan-2024 24:00:00 +0000\"",
            "\"01-Foo-2024 00:00:00 +0000\"",
        ] {
            assert!(date_time(bad.as_bytes(), Ctx::CHECKED).is_err(), "{bad}");
        }
        assert!(date(b"29-Feb-2023").is_err());
        assert!(date(b"29-Feb-2024").is_ok());
    }
}
