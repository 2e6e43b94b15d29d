//! The slower channels: best prices with statistics, bars, the venue's own state.
//!
//! A bar is pushed while it runs, at each trade, and no message says that it is closed: it is when the next one begins. So the newest of each is
//! kept, and told again as closed by the first one behind it. After a broken connection the kept one is only closed if the new
//! subscription's first message has told it anew: else nobody knows how it ended.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wholetape_model::{
    Alert, Bar, Body, Decimal, DecimalError, InstrumentIx, Kind, NO_INSTRUMENT, Period, Severity, Ticker, Ts,
};

use super::Kraken;
use super::decode::{Message, number, time, time_if};
use super::frame::{CandleRow, SystemRow, TickerRow};
use crate::error::ProtocolError;
use crate::json::text::{Printed, Text};
use crate::levels::{self, QuoteParts};
use crate::rows::{difference, each, push};
use crate::session::Out;

/// What a ticker's message says of one instrument.
#[derive(Debug, Clone, Copy)]
pub(super) struct TickerParts {
    pub quote: QuoteParts,
    /// `None` where they are not printed.
    pub statistics: Option<Statistics>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Statistics {
    pub last: Decimal,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub volume: Decimal,
    pub change: Decimal,
    pub trades: u64,
}

impl Statistics {
    fn ticker(&self, close_ts: Ts) -> Ticker {
        Ticker {
            last: self.last,
            open: self.open,
            high: self.high,
            low: self.low,
            volume: self.volume,
            quote_volume: Decimal::ZERO,
            change: self.change,
            trades: self.trades,
            open_ts: if close_ts > Ts::ZERO { close_ts - Duration::from_secs(86_400) } else { Ts::ZERO },
            close_ts,
        }
    }
}

/// The opening price of what changed by `change` (not printed in v2, but it is that).
pub(super) fn opened(last: Decimal, change: Option<Decimal>) -> Result<Decimal, DecimalError> {
    change.map_or(Ok(Decimal::ZERO), |change| difference(last, change))
}

/// Statistics already told, by instrument: a stream of best prices repeats them with each.
#[derive(Debug, Default)]
pub(super) struct Told {
    seen: Vec<u64>,
}

impl Told {
    fn is_news(&mut self, ix: InstrumentIx, statistics: &Statistics) -> bool {
        let mut h = DefaultHasher::new();
        statistics.hash(&mut h);
        // 0 stands for nothing.
        let hash = h.finish() | 1;
        if self.seen.len() <= ix as usize {
            self.seen.resize(ix as usize + 1, 0);
        }
        std::mem::replace(&mut self.seen[ix as usize], hash) != hash
    }
}

/// The newest bar of each instrument and period.
#[derive(Debug, Default)]
pub(super) struct Running {
    bars: BTreeMap<(InstrumentIx, Period), (Bar, bool)>,
    /// Of the message at hand; empty between messages.
    pub rows: Vec<(InstrumentIx, Bar)>,
}

impl Running {
    /// A new connection: what was kept may be older than its end.
    pub fn doubt(&mut self) {
        self.bars.values_mut().for_each(|(_, certain)| *certain = false);
    }

    /// The next bar of an instrument; calls `tell` with what is to be told. False when it is one from before.
    fn next(&mut self, ix: InstrumentIx, bar: Bar, mut tell: impl FnMut(Bar)) -> bool {
        if let Some((kept, certain)) = self.bars.get(&(ix, bar.period)) {
            if bar.open_ts < kept.open_ts {
                return false;
            }
            if bar.open_ts > kept.open_ts && *certain {
                tell(Bar { closed: true, ..*kept });
            }
        }
        self.bars.insert((ix, bar.period), (bar, true));
        tell(bar);
        true
    }
}

/// The periods on offer: minutes of our own.
pub(super) const INTERVALS: [(u32, Period); 9] = [
    (1, period(1, b'm')),
    (5, period(5, b'm')),
    (15, period(15, b'm')),
    (30, period(30, b'm')),
    (60, period(1, b'h')),
    (240, period(4, b'h')),
    (1_440, period(1, b'd')),
    (10_080, period(1, b'w')),
    (21_600, period(15, b'd')),
];

const fn period(count: u16, unit: u8) -> Period {
    Period { count, unit }
}

/// A bar of so many minutes from `open_ts` on; `None` for a period that is not on offer, or a time out of range.
pub(super) fn bar(minutes: u32, open_ts: Ts, prices: [Decimal; 4], volume: Decimal, trades: u64) -> Option<Bar> {
    let (_, period) = INTERVALS.iter().find(|(m, _)| *m == minutes)?;
    let [open, high, low, close] = prices;
    let last_ms = open_ts.millis().checked_add(i64::from(minutes) * 60_000 - 1)?;
    Some(Bar {
        open_ts,
        close_ts: Ts::from_millis(last_ms),
        open,
        high,
        low,
        close,
        volume,
        quote_volume: Decimal::ZERO,
        taker_volume: Decimal::ZERO,
        taker_quote_volume: Decimal::ZERO,
        trades,
        first_id: 0,
        last_id: 0,
        closed: false,
        period: *period,
    })
}

impl Kraken {
    pub(super) fn tickers(&mut self, message: Message<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "ticker";
        each(CH, message.rows, |one| {
            let row: TickerRow<'_> = one.parse(CH)?;
            let ts_event = time_if(CH, one.at, row.timestamp.as_ref())?;
            let quote = QuoteParts {
                bid: number(CH, "bid", &row.bid)?,
                bid_size: number(CH, "bid_qty", &row.bid_qty)?,
                ask: number(CH, "ask", &row.ask)?,
                ask_size: number(CH, "ask_qty", &row.ask_qty)?,
                update_id: 0,
                ts_event,
            };
            let inexact = |source| ProtocolError::Number { channel: CH, field: "scale", source };
            let printed =
                |field, text: &Option<Printed<'_>>| text.as_ref().map(|text| number(CH, field, text)).transpose();
            let figure = |field, text| printed(field, text).map(|d| d.unwrap_or(Decimal::ZERO));
            let change = printed("change", &row.change)?;
            let statistics = match printed("last", &row.last)? {
                Some(last) => Some(Statistics {
                    last,
                    open: opened(last, change).map_err(inexact)?,
                    high: figure("high", &row.high)?,
                    low: figure("low", &row.low)?,
                    volume: figure("volume", &row.volume)?,
                    change: change.unwrap_or(Decimal::ZERO),
                    trades: 0,
                }),
                None => None,
            };
            let parts = TickerParts { quote, statistics };
            let Some(ix) = self.admit(row.symbol.as_str()) else { return Ok(()) };
            self.tell_ticker(ix, &parts, out).map_err(inexact)
        })?;
        Ok(CH)
    }

    /// The parts that were asked for. Instruments that never traded have no prices at all.
    pub(super) fn tell_ticker(
        &mut self,
        ix: InstrumentIx,
        parts: &TickerParts,
        out: &mut Out,
    ) -> Result<(), DecimalError> {
        let ts = parts.quote.ts_event;
        if self.wants.quotes {
            levels::quote(&mut out.events, ix, &parts.quote)?;
        }
        if let Some(statistics) = parts.statistics.filter(|_| self.wants.statistics)
            // With each change of best prices they come again and again.
            && (self.told.is_news(ix, &statistics) || !self.wants.by_best)
        {
            push(out, ix, Kind::Ticker, ts, Body::Ticker(statistics.ticker(ts)));
        }
        Ok(())
    }

    pub(super) fn candles(&mut self, message: Message<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "ohlc";
        self.running.rows.clear();
        each(CH, message.rows, |one| {
            let malformed = |why| ProtocolError::Malformed { channel: CH, at: one.at, why };
            let row: CandleRow<'_> = one.parse(CH)?;
            let open_ts = time(CH, one.at, &row.interval_begin)?;
            let prices = [
                number(CH, "open", &row.open)?,
                number(CH, "high", &row.high)?,
                number(CH, "low", &row.low)?,
                number(CH, "close", &row.close)?,
            ];
            let volume = number(CH, "volume", &row.volume)?;
            let bar = bar(row.interval, open_ts, prices, volume, row.trades);
            let bar = bar.ok_or_else(|| malformed("an interval that is not on offer, or a time out of range"))?;
            if let Some(ix) = self.admit(row.symbol.as_str()) {
                self.running.rows.push((ix, bar));
            }
            Ok(())
        })?;
        self.tell_bars(message.snapshot, message.ts, out);
        Ok(CH)
    }

    /// Tells the bars that were read of a message. Those of a first message that ended before this session was there are not told:
    /// another one told them, or nobody was to tell. A recording has no before.
    pub(super) fn tell_bars(&mut self, snapshot: bool, ts: Ts, out: &mut Out) {
        let rows = std::mem::take(&mut self.running.rows);
        let before = self.since.filter(|_| snapshot && !self.discover);
        for (ix, bar) in &rows {
            let tell = |bar: Bar| push(out, *ix, Kind::Bar(bar.period), ts, Body::Bar(bar));
            if before.is_some_and(|since| bar.close_ts < since) || !self.running.next(*ix, *bar, tell) {
                self.reading.stats.filtered += 1;
            }
        }
        self.running.rows = rows;
        self.running.rows.clear();
    }

    /// `status`: comes with each connection, and when it changes.
    pub(super) fn system(&mut self, message: Message<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "status";
        let mut last = None;
        each(CH, message.rows, |one| {
            let row: SystemRow<'_> = one.parse(CH)?;
            last = Some(row.system.as_str().to_owned());
            Ok(())
        })?;
        if let Some(word) = last {
            self.tell_system(&word, out);
        }
        Ok(CH)
    }

    /// What the venue says of itself is for people, where it is new; that it is online is no news at the beginning.
    pub(super) fn tell_system(&mut self, word: &str, out: &mut Out) {
        let before = self.system.as_deref().unwrap_or("online");
        if before == word {
            return;
        }
        let severity = if word == "online" { Severity::Info } else { Severity::Warning };
        let text = format!("the venue is {word}");
        let alert = Alert { severity, code: out.arena.text("maintenance"), text: out.arena.text(&text) };
        push(out, NO_INSTRUMENT, Kind::Alert, Ts::ZERO, Body::Alert(alert));
        self.system = Some(word.to_owned());
    }
}

/// A text that says something.
pub(super) fn given<'t, 'a>(text: Option<&'t Text<'a>>) -> &'t str {
    text.map_or("", Text::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: i64, close: i64) -> Bar {
        let price = Decimal::new(close, 0);
        bar(1, Ts::from_millis(n * 60_000), [price; 4], Decimal::new(1, 0), 1).unwrap()
    }

    fn tell(running: &mut Running, bar: Bar) -> Vec<(i64, i64, bool)> {
        let mut told = Vec::new();
        running.next(7, bar, |b| told.push((b.open_ts.millis() / 60_000, b.close.raw, b.closed)));
        told
    }

    #[test]
    fn a_bar_is_closed_when_the_next_one_begins() {
        let mut running = Running::default();
        assert_eq!(tell(&mut running, minute(5, 10)), [(5, 10, false)]);
        assert_eq!(tell(&mut running, minute(5, 11)), [(5, 11, false)]);
        assert_eq!(tell(&mut running, minute(7, 12)), [(5, 11, true), (7, 12, false)]);
        assert_eq!(tell(&mut running, minute(5, 11)), [], "it was closed");
    }

    #[test]
    fn what_a_broken_connection_left_open_is_closed_by_whom_has_seen_its_end() {
        let mut running = Running::default();
        tell(&mut running, minute(5, 10));
        running.doubt();
        assert_eq!(tell(&mut running, minute(6, 20)), [(6, 20, false)], "nobody knows how it ended");
        running.doubt();
        assert_eq!(tell(&mut running, minute(6, 21)), [(6, 21, false)]);
        assert_eq!(tell(&mut running, minute(7, 22)), [(6, 21, true), (7, 22, false)]);
    }

    #[test]
    fn bars_end_a_millisecond_before_the_next_one() {
        for (minutes, period) in INTERVALS {
            let of = |open| bar(minutes, Ts::from_millis(open), [Decimal::ZERO; 4], Decimal::ZERO, 0).unwrap();
            assert_eq!((of(0).close_ts.millis(), of(0).period), (i64::from(minutes) * 60_000 - 1, period));
            assert_eq!(Period::parse(&period.to_string()), Some(period));
        }
        assert_eq!(bar(7, Ts::ZERO, [Decimal::ZERO; 4], Decimal::ZERO, 0), None);
    }
}
