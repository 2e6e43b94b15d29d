//! Names of folders and files, as NautilusTrader's catalogs have them: the interval of `ts_init` is the file's name.

use wholetape_model::Ts;
use wholetape_model::time::civil;

use crate::columns::Dialect;
use crate::table::Table;

const NS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// The folder of one instrument (or bar type): its id without the slashes.
#[must_use]
pub fn identifier(id: &str) -> String {
    id.replace('/', "")
}

/// `data/<table>/<identifier>`, relative to the catalog's root.
#[must_use]
pub fn folder(table: Table, dialect: Dialect, id: &str) -> String {
    format!("{}/{}", table.folder(dialect), identifier(id))
}

/// The table and dialect of a file by its place below the data directory.
#[must_use]
pub fn table_of(path: &str) -> Option<(Table, Dialect)> {
    let (root, rest) = path.split_once('/')?;
    let dialect = Dialect::ALL.into_iter().find(|d| d.root() == root)?;
    let (place, _file) = rest.rsplit_once('/')?;
    let (folder, _identifier) = place.rsplit_once('/')?;
    Some((Table::ALL.iter().copied().find(|t| t.folder(dialect) == folder)?, dialect))
}

/// `2026-01-02T00-00-00-000500000Z_2026-01-02T00-00-00-999500000Z.parquet`, both ends inclusive.
#[must_use]
pub fn file(from: Ts, to: Ts) -> String {
    format!("{}_{}.parquet", stamp(from), stamp(to))
}

/// The interval that a file's name tells; `None` for a name that is none of these.
#[must_use]
pub fn interval(file: &str) -> Option<(Ts, Ts)> {
    let (from, to) = file.strip_suffix(".parquet")?.split_once('_')?;
    // A third part may follow.
    let to = to.split_once('_').map_or(to, |(to, _)| to);
    let (from, to) = (unstamp(from)?, unstamp(to)?);
    (from <= to).then_some((from, to))
}

/// ISO 8601 with nine digits of a second, `-` for what a file name cannot hold.
#[must_use]
pub fn stamp(ts: Ts) -> String {
    let (s, ns) = (ts.0.div_euclid(NS), ts.0.rem_euclid(NS));
    let (day, s) = (s.div_euclid(DAY), s.rem_euclid(DAY));
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}T{:02}-{:02}-{:02}-{ns:09}Z", s / 3600, s / 60 % 60, s % 60)
}

fn unstamp(text: &str) -> Option<Ts> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, widths: &[usize]| -> Option<Vec<i64>> {
        let parts: Vec<&str> = text.split('-').collect();
        let fits = parts.len() == widths.len() && parts.iter().zip(widths).all(|(p, w)| p.len() == *w);
        fits.then(|| parts.iter().map(|p| p.bytes().all(|b| b.is_ascii_digit()).then(|| p.parse().ok())?).collect())?
    };
    let date = numbers(date, &[4, 2, 2])?;
    let time = numbers(time, &[2, 2, 2, 9])?;
    let day = days(date[0], date[1], date[2]);
    if civil(day) != (date[0], date[1], date[2]) || time[0] > 23 || time[1] > 59 || time[2] > 59 {
        return None;
    }
    let seconds = day * DAY + time[0] * 3600 + time[1] * 60 + time[2];
    seconds.checked_mul(NS)?.checked_add(time[3]).map(Ts)
}

/// The UTC day of a time, counted from 1970-01-01.
#[must_use]
pub fn day_of(ts: Ts) -> i64 {
    ts.0.div_euclid(NS * DAY)
}

/// The first instant of a day counted from 1970-01-01.
#[must_use]
pub const fn day_start(day: i64) -> Ts {
    Ts(day * NS * DAY)
}

/// `2026-01-02`.
#[must_use]
pub fn day_name(day: i64) -> String {
    let (y, m, d) = civil(day);
    format!("{y:04}-{m:02}-{d:02}")
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_nautilus_traders() {
        let from = Ts(1_767_312_000_000_500_000);
        let to = Ts(1_767_312_000_999_500_000);
        assert_eq!(file(from, to), "2026-01-02T00-00-00-000500000Z_2026-01-02T00-00-00-999500000Z.parquet");
        assert_eq!(folder(Table::Trade, Dialect::V2, "BTC/USDT.OKX"), "data/trades/BTCUSDT.OKX");
        assert_eq!(folder(Table::Trade, Dialect::V1, "BTCUSDT.BINANCE"), "data/trade_tick/BTCUSDT.BINANCE");
        assert_eq!(day_name(day_of(from)), "2026-01-02");
    }

    #[test]
    fn other_names_are_none() {
        for odd in [
            "part-0.parquet",
            "2026-01-02T00-00-00-000000000Z.parquet",
            "2026-02-30T00-00-00-000000000Z_2026-03-01T00-00-00-000000000Z.parquet",
            "2026-01-02T00-00-00-000000001Z_2026-01-02T00-00-00-000000000Z.parquet",
            "2026-01-02T24-00-00-000000000Z_2026-01-03T00-00-00-000000000Z.parquet",
        ] {
            assert_eq!(interval(odd), None, "{odd}");
        }
        let third = "2026-01-02T00-00-00-000000000Z_2026-01-02T00-00-01-000000000Z_0123456789abcdef.parquet";
        assert!(interval(third).is_some());
    }

    proptest! {
        #[test]
        fn a_name_tells_its_interval(a in 0_i64..i64::MAX, b in 0_i64..i64::MAX) {
            let (from, to) = (Ts(a.min(b)), Ts(a.max(b)));
            prop_assert_eq!(interval(&file(from, to)), Some((from, to)));
        }
    }
}
