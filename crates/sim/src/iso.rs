//! Times as ISO 8601 in UTC, written and read.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since the epoch up to the whole second: `2024-08-08T23:54:16`.
pub fn seconds(at_ms: i64) -> String {
    let (days, of_day) = (at_ms.div_euclid(DAY_MS), at_ms.rem_euclid(DAY_MS));
    // Days of the civil calendar in eras of 400 years that begin with March (H. Hinnant, public domain).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + carry;
    let s = of_day / 1_000;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// With three places.
pub fn iso(at_ms: i64) -> String {
    format!("{}.{:03}Z", seconds(at_ms), at_ms.rem_euclid(1_000))
}

/// Reads what [`iso`] writes, with any number of places or none; what is below a millisecond is cut off.
pub fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let whole = |part: Option<&str>| part?.parse::<i64>().ok();
    let mut parts = date.split('-');
    let (year, month, day) = (whole(parts.next())?, whole(parts.next())?, whole(parts.next())?);
    let (clock, part) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.split(':');
    let (h, m, s) = (whole(parts.next())?, whole(parts.next())?, whole(parts.next())?);
    let ms: i64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    Some((era * 146_097 + of_era - 719_468) * DAY_MS + (h * 3_600 + m * 60 + s) * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_723_161_256_322, "2024-08-08T23:54:16.322Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso(ms), text);
            assert_eq!(parse_iso(text), Some(ms));
        }
        assert_eq!(parse_iso("2024-08-08T23:54:16Z"), Some(1_723_161_256_000));
        assert_eq!(parse_iso("2024-08-08T23:54:16.322987Z"), Some(1_723_161_256_322));
        assert_eq!(parse_iso("2024-08-08"), None);
    }
}
