//! The slower channels: the ticker, which is five things at once, candles, and liquidations.
//!
//! A ticker of a derivative begins with a snapshot; then come deltas, in which an absent field means "as before" and an empty one
//! "none". The statistics are merged and told whole with each message; mark price, index price, funding and open interest are told when a
//! message carries them. So their silence says nothing by itself: [`Session::pause_max`](crate::Session::pause_max).

use wholetape_model::{Bar, Body, Decimal, Funding, InstrumentIx, Kind, Liquidation, Period, Side, Ticker, Ts};

use super::Bybit;
use super::decode::{Message, Subject, side, time};
use super::frame::{CandleRow, LiquidationRow, TickerRow};
use super::limits::Market;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text, decimal};
use crate::plan::Channel;
use crate::rows::{difference, each, known, millis, number, push};
use crate::session::Out;

/// Which parts of the ticker somebody asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    statistics: bool,
    prices: bool,
    open_interest: bool,
}

impl Wanted {
    /// Of a recording everything is.
    pub fn of(channels: &[Channel], all: bool) -> Self {
        let has = |channel| all || channels.contains(&channel);
        Self { statistics: has(Channel::Ticker), prices: has(Channel::Mark), open_interest: has(Channel::OpenInterest) }
    }
}

/// One instrument's ticker as far as it was told on this connection; `None`: not known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Merged {
    /// A snapshot came: what is not known is not there.
    whole: bool,
    last: Option<Decimal>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
    turnover: Option<Decimal>,
    rate: Option<Decimal>,
    next: Option<Ts>,
    /// The venue prints one side of the open interest; the older field then counts both.
    single: bool,
}

const TICKERS: &str = "tickers";

/// Takes over a number that is printed; says whether one was.
fn merge(to: &mut Option<Decimal>, field: &'static str, text: &Option<Text<'_>>) -> Result<bool, ProtocolError> {
    let Some(text) = text else { return Ok(false) };
    *to = known(TICKERS, field, text)?;
    Ok(true)
}

impl Bybit {
    pub(super) fn tickers(
        &mut self,
        message: Message<'_>,
        data: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        let row: TickerRow<'_> = data.parse(TICKERS)?;
        let whole = match message.kind {
            "snapshot" => true,
            "delta" => false,
            _ => {
                self.reading.unknown("tickers type", message.frame.text, out);
                return Ok(TICKERS);
            }
        };
        let Some(ix) = self.admit(row.symbol.as_str()) else { return Ok(TICKERS) };
        let before = self.merged.get(ix as usize).copied().unwrap_or_default();
        let mut m = if whole { Merged { whole, ..Merged::default() } } else { before };
        merge(&mut m.last, "lastPrice", &row.last_price)?;
        merge(&mut m.open, "prevPrice24h", &row.prev_price24h)?;
        merge(&mut m.high, "highPrice24h", &row.high_price24h)?;
        merge(&mut m.low, "lowPrice24h", &row.low_price24h)?;
        merge(&mut m.volume, "volume24h", &row.volume24h)?;
        merge(&mut m.turnover, "turnover24h", &row.turnover24h)?;
        let ts = message.ts;
        // A change of what was never told whole says nothing of the rest.
        let statistics = if m.whole { Some(self.statistics(&m, ts)?) } else { None };
        let (mut mark, mut index) = (None, None);
        merge(&mut mark, "markPrice", &row.mark_price)?;
        merge(&mut index, "indexPrice", &row.index_price)?;
        let mut charged = merge(&mut m.rate, "fundingRate", &row.funding_rate)?;
        if let Some(text) = &row.next_funding_time {
            m.next = number(text).filter(|ms| *ms > 0).and_then(millis);
            charged = true;
        }
        let (mut both, mut single) = (None, None);
        merge(&mut both, "openInterest", &row.open_interest)?;
        m.single |= merge(&mut single, "singleOpenInterest", &row.single_open_interest)?;
        let open_interest = if m.single { single } else { both };
        self.remember(ix, m);
        let wanted = self.wanted;
        match statistics {
            Some(body) if wanted.statistics => push(out, ix, Kind::Ticker, ts, Body::Ticker(body)),
            Some(_) => {}
            None => self.reading.stats.filtered += 1,
        }
        if wanted.prices {
            if let Some(price) = mark {
                push(out, ix, Kind::Mark, ts, Body::MarkPrice(price));
            }
            if let Some(price) = index {
                push(out, ix, Kind::Index, ts, Body::IndexPrice(price));
            }
            if let (true, Some(rate), Some(next_ts)) = (charged, m.rate, m.next) {
                push(out, ix, Kind::Funding, ts, Body::Funding(Funding { rate, next_ts }));
            }
        }
        if let (true, Some(size)) = (wanted.open_interest, open_interest) {
            push(out, ix, Kind::OpenInterest, ts, Body::OpenInterest(size));
        }
        Ok(TICKERS)
    }

    fn remember(&mut self, ix: InstrumentIx, merged: Merged) {
        if self.merged.len() <= ix as usize {
            self.merged.resize(ix as usize + 1, Merged::default());
        }
        self.merged[ix as usize] = merged;
    }

    fn statistics(&self, m: &Merged, ts: Ts) -> Result<Ticker, ProtocolError> {
        let or_zero = |d: Option<Decimal>| d.unwrap_or(Decimal::ZERO);
        Ok(Ticker {
            last: or_zero(m.last),
            open: or_zero(m.open),
            high: or_zero(m.high),
            low: or_zero(m.low),
            volume: or_zero(m.volume),
            // Inverse contracts turn over their coin, which is no quote.
            quote_volume: if self.market == Market::Inverse { Decimal::ZERO } else { or_zero(m.turnover) },
            // Printed as a rounded fraction, but it is these two.
            change: match (m.last, m.open) {
                (Some(last), Some(open)) => difference(last, open).map_err(|source| ProtocolError::Number {
                    channel: TICKERS,
                    field: "change",
                    source,
                })?,
                _ => Decimal::ZERO,
            },
            trades: 0,
            open_ts: ts - std::time::Duration::from_secs(86_400),
            close_ts: ts,
        })
    }

    pub(super) fn candles(
        &mut self,
        subject: Subject<'_>,
        message: Message<'_>,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<Option<&'static str>, ProtocolError> {
        const CH: &str = "kline";
        let Some(period) = period(subject.parameter) else { return Ok(None) };
        each(CH, rows, |one| {
            let row: CandleRow<'_> = one.parse(CH)?;
            let turnover = decimal(CH, "turnover", &row.turnover)?;
            let bar = Bar {
                open_ts: time(CH, one.at, row.start)?,
                close_ts: time(CH, one.at, row.end)?,
                open: decimal(CH, "open", &row.open)?,
                high: decimal(CH, "high", &row.high)?,
                low: decimal(CH, "low", &row.low)?,
                close: decimal(CH, "close", &row.close)?,
                volume: decimal(CH, "volume", &row.volume)?,
                quote_volume: if self.market == Market::Inverse { Decimal::ZERO } else { turnover },
                taker_volume: Decimal::ZERO,
                taker_quote_volume: Decimal::ZERO,
                trades: 0,
                first_id: 0,
                last_id: 0,
                closed: row.confirm,
                period,
            };
            if let Some(ix) = self.admit(subject.symbol) {
                push(out, ix, Kind::Bar(period), message.ts, Body::Bar(bar));
            }
            Ok(())
        })?;
        Ok(Some(CH))
    }

    /// The venue prints the side of the position: a long that is closed is sold.
    pub(super) fn liquidations(
        &mut self,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "allLiquidation";
        let mut strange = false;
        each(CH, rows, |one| {
            let row: LiquidationRow<'_> = one.parse(CH)?;
            let (price, size) = (decimal(CH, "p", &row.p)?, decimal(CH, "v", &row.v)?);
            let ts = time(CH, one.at, row.time)?;
            let position = side(row.side.as_str());
            strange |= position.is_none();
            let side = position.map(|side| if side == Side::Buy { Side::Sell } else { Side::Buy });
            if let Some(ix) = self.admit(row.s.as_str()) {
                let body = Liquidation { side, price, average_price: Decimal::ZERO, size, order_size: size };
                push(out, ix, Kind::Liquidation, ts, Body::Liquidation(body));
            }
            Ok(())
        })?;
        if strange {
            self.reading.unknown("liquidation side", frame.text, out);
        }
        Ok(CH)
    }
}

/// The intervals of `kline`, and what they bring.
pub(super) const INTERVALS: [(&str, &str); 13] = [
    ("1", "1m"),
    ("3", "3m"),
    ("5", "5m"),
    ("15", "15m"),
    ("30", "30m"),
    ("60", "1h"),
    ("120", "2h"),
    ("240", "4h"),
    ("360", "6h"),
    ("720", "12h"),
    ("D", "1d"),
    ("W", "1w"),
    ("M", "1M"),
];

fn period(interval: &str) -> Option<Period> {
    let (_, period) = INTERVALS.iter().find(|(name, _)| *name == interval)?;
    Period::parse(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interval_names_a_period_of_its_own() {
        let all: std::collections::BTreeSet<Period> = INTERVALS.iter().map(|(name, _)| period(name).unwrap()).collect();
        assert_eq!(all.len(), INTERVALS.len());
        assert!(period("7").is_none() && period("").is_none());
    }
}
