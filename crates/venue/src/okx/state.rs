//! The slower channels: statistics, prices of mark and index, funding, open interest, liquidations, candles, definitions, maintenance.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wholetape_model::time::civil;
use wholetape_model::{
    Alert, Bar, Body, Decimal, Funding, InstrumentIx, Kind, Liquidation, NO_INSTRUMENT, Period, Severity, Ticker, Ts,
};

use super::Okx;
use super::decode::{Subject, side, time};
use super::frame::{
    CandleRow, FundingRow, IndexRow, LiquidationRow, MaintenanceRow, MarkRow, OpenInterestRow, TickerRow,
};
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text, decimal};
use crate::rows::{difference, each, known, number, push};
use crate::session::Out;

/// A text that says something.
fn given<'t, 'a>(text: &'t Option<Text<'a>>) -> Option<&'t Text<'a>> {
    text.as_ref().filter(|t| !t.as_str().is_empty())
}

impl Okx {
    /// Reads the rows of one of these channels; `None` where it is none of them.
    pub(super) fn state(
        &mut self,
        subject: Subject<'_>,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<Option<&'static str>, ProtocolError> {
        match subject.channel {
            "tickers" => self.tickers(rows, out),
            "mark-price" => self.mark_price(rows, out),
            "index-tickers" => self.index_tickers(rows, out),
            "funding-rate" => self.funding_rate(rows, out),
            "open-interest" => self.open_interest("open-interest", rows, out),
            "liquidation-orders" => self.liquidations(rows, frame, out),
            "instruments" => self.definitions("instruments", rows, out).map(|()| "instruments"),
            "status" => self.maintenance(rows, out),
            name => match candle(name) {
                Some((name, period)) => self.candles(name, period, subject.symbol, rows, out),
                None => return Ok(None),
            },
        }
        .map(Some)
    }

    fn tickers(&mut self, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "tickers";
        each(CH, rows, |one| {
            let row: TickerRow<'_> = one.parse(CH)?;
            let number = |field, text| known(CH, field, text).map(|d| d.unwrap_or(Decimal::ZERO));
            let (last, open) = (known(CH, "last", &row.last)?, known(CH, "open24h", &row.open24h)?);
            let close_ts = time(CH, one.at, &row.ts)?;
            let body = Ticker {
                last: last.unwrap_or(Decimal::ZERO),
                open: open.unwrap_or(Decimal::ZERO),
                high: number("high24h", &row.high24h)?,
                low: number("low24h", &row.low24h)?,
                volume: number("vol24h", &row.vol24h)?,
                // Elsewhere it is in the base coin, which is no turnover.
                quote_volume: match row.inst_type.as_str() {
                    "SPOT" => number("volCcy24h", &row.vol_ccy24h)?,
                    _ => Decimal::ZERO,
                },
                // Not printed, but it is these two.
                change: match (last, open) {
                    (Some(last), Some(open)) => difference(last, open).map_err(|source| ProtocolError::Number {
                        channel: CH,
                        field: "change",
                        source,
                    })?,
                    _ => Decimal::ZERO,
                },
                trades: 0,
                open_ts: close_ts - Duration::from_secs(86_400),
                close_ts,
            };
            if let Some(ix) = self.admit(row.inst_id.as_str()) {
                push(out, ix, Kind::Ticker, close_ts, Body::Ticker(body));
            }
            Ok(())
        })?;
        Ok(CH)
    }

    fn mark_price(&mut self, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "mark-price";
        each(CH, rows, |one| {
            let row: MarkRow<'_> = one.parse(CH)?;
            let (price, ts) = (decimal(CH, "markPx", &row.mark_px)?, time(CH, one.at, &row.ts)?);
            if let Some(ix) = self.admit(row.inst_id.as_str()) {
                push(out, ix, Kind::Mark, ts, Body::MarkPrice(price));
            }
            Ok(())
        })?;
        Ok(CH)
    }

    /// An index is no instrument: its price goes to each of ours that stands on it. Of a recording, which names what it holds as it goes,
    /// it goes to the pair of the index's own name.
    fn index_tickers(&mut self, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "index-tickers";
        each(CH, rows, |one| {
            let row: IndexRow<'_> = one.parse(CH)?;
            let (price, ts) = (decimal(CH, "idxPx", &row.idx_px)?, time(CH, one.at, &row.ts)?);
            let index = row.inst_id.as_str();
            if self.discover {
                if let Some(ix) = self.admit(index) {
                    push(out, ix, Kind::Index, ts, Body::IndexPrice(price));
                }
                return Ok(());
            }
            let before = out.events.len();
            for (_, ix) in self.indexes.iter().filter(|(name, _)| name == index) {
                push(out, *ix, Kind::Index, ts, Body::IndexPrice(price));
            }
            self.reading.stats.filtered += u64::from(out.events.len() == before);
            Ok(())
        })?;
        Ok(CH)
    }

    fn funding_rate(&mut self, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "funding-rate";
        each(CH, rows, |one| {
            let row: FundingRow<'_> = one.parse(CH)?;
            let (Some(rate), Some(next)) = (given(&row.funding_rate), given(&row.funding_time)) else {
                // Between two intervals the venue may not know the rate.
                self.reading.stats.filtered += 1;
                return Ok(());
            };
            let body = Funding { rate: decimal(CH, "fundingRate", rate)?, next_ts: time(CH, one.at, next)? };
            let ts = given(&row.ts).map_or(Ok(Ts::ZERO), |ts| time(CH, one.at, ts))?;
            if let Some(ix) = self.admit(row.inst_id.as_str()) {
                push(out, ix, Kind::Funding, ts, Body::Funding(body));
            }
            Ok(())
        })?;
        Ok(CH)
    }

    /// By stream or REST.
    pub(super) fn open_interest(
        &mut self,
        channel: &'static str,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        each(channel, rows, |one| {
            let row: OpenInterestRow<'_> = one.parse(channel)?;
            let (contracts, ts) = (decimal(channel, "oi", &row.oi)?, time(channel, one.at, &row.ts)?);
            if let Some(ix) = self.admit(row.inst_id.as_str()) {
                push(out, ix, Kind::OpenInterest, ts, Body::OpenInterest(contracts));
            }
            Ok(())
        })?;
        Ok(channel)
    }

    /// All instruments of a type come by one stream, whose first message repeats some that are old: those told on an earlier connection are
    /// not told again, nor those from before this session was there, which another one told or nobody was to tell. A recording has no
    /// before.
    fn liquidations(
        &mut self,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "liquidation-orders";
        let mut strange = false;
        let before = self.told.first_message().filter(|_| !self.discover);
        each(CH, rows, |one| {
            let row: LiquidationRow<'_> = one.parse(CH)?;
            for detail in &row.details {
                let (price, size) = (decimal(CH, "bkPx", &detail.bk_px)?, decimal(CH, "sz", &detail.sz)?);
                let ts = time(CH, one.at, &detail.ts)?;
                let side = side(detail.side.as_str());
                let Some(ix) = self.admit(row.inst_id.as_str()) else { continue };
                let body = Liquidation { side, price, average_price: Decimal::ZERO, size, order_size: size };
                if before.is_some_and(|since| ts < since) || self.told.is_old(ix, ts, &body) {
                    self.reading.stats.filtered += 1;
                    continue;
                }
                strange |= side.is_none();
                push(out, ix, Kind::Liquidation, ts, Body::Liquidation(body));
            }
            Ok(())
        })?;
        if strange {
            self.reading.unknown("liquidation side", frame.text, out);
        }
        Ok(CH)
    }

    fn candles(
        &mut self,
        name: &'static str,
        period: Period,
        symbol: &str,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "candle";
        each(CH, rows, |one| {
            let malformed = |why| ProtocolError::Malformed { channel: CH, at: one.at, why };
            let row: CandleRow<'_> = one.parse(CH)?;
            let [ts, open, high, low, close, volume, _, rest @ ..] = row.columns() else {
                return Err(malformed("a candle of less than seven columns"));
            };
            let (quote_volume, confirm) = match rest {
                [quote, confirm, ..] => (known(CH, "volCcyQuote", quote)?, Some(confirm)),
                [confirm] => (None, Some(confirm)),
                [] => (None, None),
            };
            let open_ts = time(CH, one.at, ts)?;
            let bar = Bar {
                open_ts,
                close_ts: last_instant(open_ts, period).ok_or_else(|| malformed("a time out of range"))?,
                open: decimal(CH, "o", open)?,
                high: decimal(CH, "h", high)?,
                low: decimal(CH, "l", low)?,
                close: decimal(CH, "c", close)?,
                volume: decimal(CH, "vol", volume)?,
                quote_volume: quote_volume.unwrap_or(Decimal::ZERO),
                taker_volume: Decimal::ZERO,
                taker_quote_volume: Decimal::ZERO,
                trades: 0,
                first_id: 0,
                last_id: 0,
                closed: confirm.is_some_and(|c| c.as_str() == "1"),
                period,
            };
            if let Some(ix) = self.admit(symbol) {
                // The frame does not say when it was made.
                push(out, ix, Kind::Bar(period), Ts::ZERO, Body::Bar(bar));
            }
            Ok(())
        })?;
        Ok(name)
    }

    /// What the venue says of itself: people should know, and no instrument's status is changed by it.
    fn maintenance(&mut self, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "status";
        each(CH, rows, |one| {
            let row: MaintenanceRow<'_> = one.parse(CH)?;
            let at = |text: &Text<'_>| number(text).and_then(|ms| i64::try_from(ms).ok()).map(Ts::from_millis);
            let span = match (at(&row.begin), at(&row.end)) {
                (Some(begin), Some(end)) => format!(", {begin} to {end}"),
                (Some(begin), None) => format!(", from {begin}"),
                _ => String::new(),
            };
            let severity = match row.state.as_str() {
                "completed" | "canceled" => Severity::Info,
                _ => Severity::Warning,
            };
            let text = format!("{} ({}{span})", row.title.as_str(), row.state.as_str());
            let alert = Alert { severity, code: out.arena.text("maintenance"), text: out.arena.text(&text) };
            let ts = row.ts.as_ref().and_then(at).unwrap_or(Ts::ZERO);
            push(out, NO_INSTRUMENT, Kind::Alert, ts, Body::Alert(alert));
            Ok(())
        })?;
        Ok(CH)
    }
}

/// The candle channels, the names that counters have for them, and what they bring. Those of six hours and more open on days of UTC+8,
/// unless their name ends in `utc`: only these are asked for.
pub(super) const CANDLES: [(&str, &str); 27] = [
    ("candle1s", "1s"),
    ("candle1m", "1m"),
    ("candle3m", "3m"),
    ("candle5m", "5m"),
    ("candle15m", "15m"),
    ("candle30m", "30m"),
    ("candle1H", "1h"),
    ("candle2H", "2h"),
    ("candle4H", "4h"),
    ("candle6Hutc", "6h"),
    ("candle12Hutc", "12h"),
    ("candle1Dutc", "1d"),
    ("candle2Dutc", "2d"),
    ("candle3Dutc", "3d"),
    ("candle5Dutc", "5d"),
    ("candle1Wutc", "1w"),
    ("candle1Mutc", "1M"),
    ("candle3Mutc", "3M"),
    ("candle6H", "6h"),
    ("candle12H", "12h"),
    ("candle1D", "1d"),
    ("candle2D", "2d"),
    ("candle3D", "3d"),
    ("candle5D", "5d"),
    ("candle1W", "1w"),
    ("candle1M", "1M"),
    ("candle3M", "3M"),
];

fn candle(channel: &str) -> Option<(&'static str, Period)> {
    let (name, period) = CANDLES.iter().find(|(name, _)| *name == channel)?;
    Some((name, Period::parse(period)?))
}

/// The millisecond before the next bar opens; months have the days that they have.
fn last_instant(open: Ts, period: Period) -> Option<Ts> {
    const DAY: i64 = 86_400_000;
    let count = i64::from(period.count);
    let ms = match period.unit {
        b's' => 1_000 * count,
        b'm' => 60_000 * count,
        b'h' => 3_600_000 * count,
        b'd' => DAY * count,
        b'w' => 7 * DAY * count,
        // A month opens at midnight of UTC or of UTC+8; twelve hours later it is the same day in both.
        _ => DAY * days_of_months((open.millis() + DAY / 2).div_euclid(DAY), count),
    };
    open.millis().checked_add(ms - 1).map(Ts::from_millis)
}

/// How many days from `day` (since 1970) until the month has changed `count` times.
fn days_of_months(day: i64, count: i64) -> i64 {
    let month = |day| {
        let (year, month, _) = civil(day);
        year * 12 + month
    };
    let until = month(day) + count;
    (1..=31 * count).find(|n| month(day + n) >= until).unwrap_or(31 * count)
}

/// Liquidations that were told, as far back as a new subscription may repeat them. They have no ids.
#[derive(Debug, Default)]
pub(super) struct Told {
    seen: VecDeque<(u64, u32)>,
    connection: u32,
    /// When the session was opened first, and whether this connection's first message has come.
    since: Option<Ts>,
    began: bool,
}

/// The venue repeats a few dozen at most.
const TOLD_MAX: usize = 512;

impl Told {
    /// A new connection: what comes may have come before.
    pub fn opened(&mut self, now: Ts) {
        self.connection = self.connection.wrapping_add(1);
        self.since.get_or_insert(now);
        self.began = false;
    }

    /// Of the first message on a connection: since when the session is there.
    fn first_message(&mut self) -> Option<Ts> {
        if std::mem::replace(&mut self.began, true) { None } else { self.since }
    }

    /// Whether an earlier connection told it; two of one connection that look alike are two.
    fn is_old(&mut self, instrument: InstrumentIx, ts: Ts, body: &Liquidation) -> bool {
        let mut h = DefaultHasher::new();
        (instrument, ts, body).hash(&mut h);
        let hash = h.finish();
        if self.seen.iter().any(|(seen, connection)| *seen == hash && *connection != self.connection) {
            return true;
        }
        if self.seen.len() >= TOLD_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((hash, self.connection));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(open: i64, period: &str, last: i64) {
        let period = Period::parse(period).unwrap();
        assert_eq!(last_instant(Ts::from_millis(open), period), Some(Ts::from_millis(last)));
    }

    #[test]
    fn bars_end_a_millisecond_before_the_next_one() {
        check(1_790_000_040_000, "1m", 1_790_000_099_999);
        check(1_789_948_800_000, "1d", 1_790_035_199_999);
        // 2026-09-01 and 2024-02-01, UTC and UTC+8; the quarter from 2026-07-01.
        check(1_788_220_800_000, "1M", 1_790_812_799_999);
        check(1_788_192_000_000, "1M", 1_790_783_999_999);
        check(1_706_745_600_000, "1M", 1_709_251_199_999);
        check(1_782_864_000_000, "3M", 1_790_812_799_999);
    }

    #[test]
    fn every_candle_channel_names_a_period_once_per_day_boundary() {
        for (channel, _) in CANDLES {
            assert_eq!(candle(channel).unwrap().0, channel);
        }
        assert!(candle("candle7m").is_none() && candle("mark-price-candle1m").is_none());
    }
}
