//! The chain below the indexer: blocks, their heights and times, and what an event of a block is called.
//!
//! Blocks are counted in running time, so all markets of a venue see the same ones, and a restart goes on with the next. An event's name is
//! 24 hex digits: the block's height, the transaction's place in it, the event's in that. The truth orders trades by the same three
//! in 64 bits ([`place`]).

/// A block is made so often, ms.
pub const BLOCK_MS: u64 = 1_000;
/// The height at which running time begins.
const FIRST: u64 = 22_000_000;

/// How many blocks there are by this running time.
pub const fn blocks(run_ms: u64) -> u64 {
    run_ms / BLOCK_MS
}

/// The height of the newest block.
pub const fn height(run_ms: u64) -> u64 {
    FIRST + blocks(run_ms)
}

/// 32 bits of height, 16 of transaction, 16 of event.
pub const fn place(height: u64, transaction: u16, event: u16) -> u64 {
    height << 32 | (transaction as u64) << 16 | event as u64
}

pub const fn height_of(place: u64) -> u64 {
    place >> 32
}

/// The venue's name of an event.
pub fn name(place: u64) -> String {
    format!("{:08x}{:08x}{:08x}", height_of(place), place >> 16 & 0xffff, place & 0xffff)
}

/// The place of an event that [`name`] spelled.
pub fn place_of(name: &str) -> Option<u64> {
    let part = |at: usize| u64::from_str_radix(name.get(at..at + 8)?, 16).ok();
    let (height, transaction, event) = (part(0)?, u16::try_from(part(8)?).ok()?, u16::try_from(part(16)?).ok()?);
    (name.len() == 24).then(|| place(height, transaction, event))
}

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since the epoch as ISO 8601 in UTC, with three places.
pub fn iso(at_ms: i64) -> String {
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
    let (s, ms) = (of_day / 1_000, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3_600, s / 60 % 60, s % 60)
}

/// Reads what [`iso`] writes, with any number of places or none.
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
        assert_eq!(parse_iso("2024-08-08"), None);
    }

    #[test]
    fn an_event_is_found_by_its_name() {
        let at = place(22_127_283, 2, 14);
        assert_eq!(name(at), "0151a2b3000000020000000e");
        assert_eq!((place_of(&name(at)), height_of(at)), (Some(at), 22_127_283));
        assert_eq!(place_of("20f43950-d8dd-5b31-9112-a178eb6023af"), None);
        assert!(place(22_127_284, 0, 0) > at);
    }
}
