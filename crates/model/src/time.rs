//! One time type for the whole of wholetape.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the Unix epoch, UTC. `Ts(0)` means "not known" where a venue prints no time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ts(pub i64);

impl Ts {
    /// The earliest time; also "not known".
    pub const ZERO: Self = Self(0);
    /// Later than any event.
    pub const MAX: Self = Self(i64::MAX);

    /// From the milliseconds that most venues print. Saturates instead of wrapping.
    #[inline]
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// From microseconds. Saturates instead of wrapping.
    #[inline]
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// Reads what most venues print, `2026-09-01T12:00:00.125Z`: UTC, with none to nine decimal places. `None` for everything else, and
    /// for what lies before 1970.
    #[must_use]
    pub fn parse_utc(text: &[u8]) -> Option<Self> {
        let (head, tail) = text.split_at_checked(19)?;
        let shape = head.iter().zip(b"dddd-dd-ddTdd:dd:dd");
        if shape.clone().any(|(b, s)| if *s == b'd' { !b.is_ascii_digit() } else { b != s }) {
            return None;
        }
        let number = |at: std::ops::Range<usize>| head[at].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (h, m, s) = (number(11..13), number(14..16), number(17..19));
        let date = days(year, month, day);
        // A day that its month does not have comes back as another one.
        if h > 23 || m > 59 || s > 59 || !(1..=12).contains(&month) || civil(date) != (year, month, day) {
            return None;
        }
        let places = match tail {
            b"Z" => &[][..],
            [b'.', places @ .., b'Z'] if (1..=9).contains(&places.len()) => places,
            _ => return None,
        };
        let mut nanos = 0;
        for at in 0..9 {
            let digit = places.get(at).map_or(0, |b| b.wrapping_sub(b'0'));
            if digit > 9 {
                return None;
            }
            nanos = nanos * 10 + i64::from(digit);
        }
        let seconds = ((date * 24 + h) * 60 + m) * 60 + s;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos).filter(|ns| *ns >= 0).map(Self)
    }

    /// Whole milliseconds, rounded towards the past.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole microseconds, rounded towards the past: the unit of the gateway's `ts`.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Ts {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Ts {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// RFC 3339 with nanoseconds, for people.
impl fmt::Display for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
    }
}

/// Days since 1970-01-01 to (year, month, day): Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// (year, month, day) to days since 1970-01-01, the reverse of [`civil`]: Howard Hinnant's `days_from_civil`.
#[must_use]
pub const fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_venues_print() {
        let ms = |text: &str| Ts::parse_utc(text.as_bytes()).map(Ts::millis);
        assert_eq!(ms("2024-08-08T23:54:16.322Z"), Some(1_723_161_256_322));
        assert_eq!(ms("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        assert_eq!(Ts::parse_utc(b"1970-01-01T00:00:00.000000001Z"), Some(Ts(1)));
        for bad in [
            "",
            "2024-08-08",
            "2024-08-08T23:54:16.322",
            "2024-08-08T23:54:16.Z",
            "2024-08-08T23:54:16.1234567890Z",
            "2024-08-08T23:54:16.3a2Z",
            "2024-08-08 23:54:16Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-08-08T24:00:00Z",
            "2024-08-08T23:60:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "2024-08-08T23:54:16+00:00",
        ] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(ns in 0..i64::MAX) {
            prop_assert_eq!(Ts::parse_utc(Ts(ns).to_string().as_bytes()), Some(Ts(ns)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..35)) {
            let _ = Ts::parse_utc(&bytes);
        }
    }

    #[test]
    fn prints_rfc3339() {
        assert_eq!(Ts::from_millis(1_723_161_256_322).to_string(), "2024-08-08T23:54:16.322000000Z");
        assert_eq!(Ts(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Ts(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(Ts::from_millis(951_782_400_000).to_string(), "2000-02-29T00:00:00.000000000Z");
    }

    #[test]
    fn does_not_wrap() {
        assert_eq!(Ts::from_millis(i64::MAX), Ts::MAX);
        assert_eq!(Ts::MAX + Duration::from_secs(1), Ts::MAX);
        assert_eq!(Ts(5).since(Ts(9)), Duration::ZERO);
    }
}
