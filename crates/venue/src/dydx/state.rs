//! The slower channels: candles, and what a market is and costs.
//!
//! - **Candles** have no flag that says they are closed: one is when a later one begins. So the last of each is kept, and told once more,
//!   closed, when its successor comes. The first message holds up to a thousand: after a broken connection those missed are among them.
//! - **Markets** come whole first and then as what changed: what is absent stays as it was. The oracle's price is what margins are
//!   reckoned by, so it is mark and index in one.

use wholetape_model::{
    Bar, Body, Decimal, Funding, InstrumentDef, InstrumentIx, InstrumentKind, Kind, Period, Span, Status,
    TradingStatus, Ts,
};

use super::Dydx;
use super::decode::{Subject, nearest, push, time};
use super::frame::{CandleRow, Candles, MarketRow, Markets, OracleRow};
use super::symbol;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text, decimal, offset};
use crate::session::Out;

/// The venue's resolutions and our periods.
pub(super) const RESOLUTIONS: [(&str, &str); 7] = [
    ("1MIN", "1m"),
    ("5MINS", "5m"),
    ("15MINS", "15m"),
    ("30MINS", "30m"),
    ("1HOUR", "1h"),
    ("4HOURS", "4h"),
    ("1DAY", "1d"),
];

fn period(resolution: &str) -> Option<Period> {
    let (_, period) = RESOLUTIONS.iter().find(|(name, _)| *name == resolution)?;
    Period::parse(period)
}

/// The millisecond before the next bar opens.
fn last_instant(open: Ts, period: Period) -> Option<Ts> {
    let unit = match period.unit {
        b'm' => 60_000,
        b'h' => 3_600_000,
        _ => 86_400_000,
    };
    open.millis().checked_add(unit * i64::from(period.count) - 1).map(Ts::from_millis)
}

/// Words of `status` (indexer source of 2026-03, read 2026-11-20).
fn trading_status(word: &str) -> TradingStatus {
    match word {
        "ACTIVE" => TradingStatus::Trading,
        "PAUSED" => TradingStatus::Halted,
        "CANCEL_ONLY" => TradingStatus::CancelOnly,
        "POST_ONLY" | "INITIALIZING" => TradingStatus::PreTrading,
        "FINAL_SETTLEMENT" => TradingStatus::Settling,
        _ => TradingStatus::Unknown,
    }
}

/// What is known of one market, of which later messages say parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Market {
    tick: Decimal,
    step: Decimal,
    status: TradingStatus,
    word: String,
}

/// A text that says something.
fn given<'t, 'a>(text: &'t Option<Text<'a>>) -> Option<&'t Text<'a>> {
    text.as_ref().filter(|t| !t.as_str().is_empty())
}

/// Calls `f` with each key of an object and its value.
fn each(
    channel: &'static str,
    object: Piece<'_>,
    mut f: impl FnMut(&str, Piece<'_>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for member in sonic_rs::to_object_iter(object.text) {
        let (key, value) = member.map_err(|e| {
            let at = object.at + e.offset().min(object.text.len());
            ProtocolError::Malformed { channel, at, why: "no object of markets" }
        })?;
        let raw = value.as_raw_cow();
        f(&key, Piece { text: &raw, at: object.at + offset(object.text, &raw) })?;
    }
    Ok(())
}

impl Dydx {
    pub(super) fn candles(
        &mut self,
        subject: Subject<'_>,
        contents: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        const CH: &str = "v4_candles";
        if !subject.initial {
            let row: CandleRow<'_> = contents.parse(CH)?;
            return match bar(contents, &row)? {
                Some(bar) => {
                    if let Some(ix) = self.admit(row.ticker.as_str()) {
                        self.bar(ix, bar, out);
                    }
                    Ok(())
                }
                None => {
                    self.reading.unknown("candle resolution", frame.text, out);
                    Ok(())
                }
            };
        }
        let printed: Candles<'_> = contents.parse(CH)?;
        // Newest first.
        for (later, row) in printed.candles.iter().enumerate().rev() {
            let Some(bar) = bar(contents, row)? else {
                self.reading.unknown("candle resolution", frame.text, out);
                return Ok(());
            };
            let Some(ix) = self.admit(row.ticker.as_str()) else { continue };
            let told = self.bars.iter().find(|(of, told)| *of == ix && told.period == bar.period).map(|(_, told)| told);
            if told.is_some_and(|told| bar.open_ts < told.open_ts || told.closed && bar.open_ts == told.open_ts) {
                self.reading.stats.filtered += 1;
                continue;
            }
            self.bar(ix, Bar { closed: later > 0, ..bar }, out);
        }
        Ok(())
    }

    /// One state of a candle.
    fn bar(&mut self, ix: InstrumentIx, bar: Bar, out: &mut Out) {
        let mut tell = |bar: Bar| push(out, ix, Kind::Bar(bar.period), Ts::ZERO, Body::Bar(bar));
        let Some((_, told)) = self.bars.iter_mut().find(|(of, told)| *of == ix && told.period == bar.period) else {
            self.bars.push((ix, bar));
            return tell(bar);
        };
        if bar.open_ts < told.open_ts {
            // Of one that is closed already: a correction.
            return tell(Bar { closed: true, ..bar });
        }
        if bar.open_ts > told.open_ts && !told.closed {
            tell(Bar { closed: true, ..*told });
        }
        *told = bar;
        tell(bar);
    }

    pub(super) fn markets(
        &mut self,
        subject: Subject<'_>,
        contents: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        const CH: &str = "v4_markets";
        let printed: Markets<'_> = contents.parse(CH)?;
        let piece = |raw: &'_ str| offset(contents.text, raw) + contents.at;
        if let Some(markets) = &printed.markets {
            let raw = markets.as_raw_cow();
            self.whole_markets(CH, Piece { text: &raw, at: piece(&raw) }, true, frame, out)?;
        }
        if let Some(trading) = &printed.trading {
            let raw = trading.as_raw_cow();
            each(CH, Piece { text: &raw, at: piece(&raw) }, |ticker, one| {
                let row: MarketRow<'_> = one.parse(CH)?;
                match self.admit(ticker) {
                    Some(ix) => self.market(CH, ix, &row, true, frame, out),
                    None => Ok(()),
                }
            })?;
        }
        if let Some(prices) = &printed.oracle_prices {
            let raw = prices.as_raw_cow();
            each(CH, Piece { text: &raw, at: piece(&raw) }, |ticker, one| {
                let row: OracleRow<'_> = one.parse(CH)?;
                let (price, _) = nearest(CH, "oraclePrice", &row.oracle_price)?;
                let ts = row.effective_at.as_ref().map_or(Ok(Ts::ZERO), |t| time(CH, one.at, t))?;
                if let Some(ix) = self.admit(ticker) {
                    self.oracle(ix, price, ts, out);
                }
                Ok(())
            })?;
        }
        if printed.markets.is_none() && printed.trading.is_none() && printed.oracle_prices.is_none() {
            self.reading.unknown(subject.channel, frame.text, out);
        }
        Ok(())
    }

    /// All markets, of which only our own are read, also where symbols are discovered: hundreds that nobody trades in a recording would be
    /// of no use. `state`: what changes by the minute as well.
    pub(super) fn whole_markets(
        &mut self,
        channel: &'static str,
        markets: Piece<'_>,
        state: bool,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        each(channel, markets, |ticker, one| match self.symbols.find(ticker) {
            Some(ix) => self.market(channel, ix, &one.parse(channel)?, state, frame, out),
            None => Ok(()),
        })
    }

    fn oracle(&self, ix: InstrumentIx, price: Decimal, ts: Ts, out: &mut Out) {
        if self.wants.marks {
            push(out, ix, Kind::Mark, ts, Body::MarkPrice(price));
            push(out, ix, Kind::Index, ts, Body::IndexPrice(price));
        }
    }

    fn market(
        &mut self,
        channel: &'static str,
        ix: InstrumentIx,
        row: &MarketRow<'_>,
        state: bool,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        self.definition(channel, ix, row, frame, out)?;
        if !state {
            return Ok(());
        }
        let number = |field, text| nearest(channel, field, text).map(|(number, _)| number);
        // A market without an oracle's price prints none.
        if let Some(price) = given(&row.oracle_price) {
            self.oracle(ix, number("oraclePrice", price)?, Ts::ZERO, out);
        }
        if let Some(rate) = given(&row.next_funding_rate) {
            let rate = number("nextFundingRate", rate)?;
            if self.wants.marks {
                // An estimate of what the hour will charge; the venue does not print when that is.
                push(out, ix, Kind::Funding, Ts::ZERO, Body::Funding(Funding { rate, next_ts: Ts::ZERO }));
            }
        }
        if let Some(amount) = given(&row.open_interest) {
            let amount = number("openInterest", amount)?;
            if self.wants.open_interest {
                push(out, ix, Kind::OpenInterest, Ts::ZERO, Body::OpenInterest(amount));
            }
        }
        Ok(())
    }

    /// Rules and status, told when they are new or changed.
    fn definition(
        &mut self,
        channel: &'static str,
        ix: InstrumentIx,
        row: &MarketRow<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        if row.status.is_none() && row.tick_size.is_none() && row.step_size.is_none() {
            return Ok(());
        }
        if self.defined.len() <= ix as usize {
            self.defined.resize_with(ix as usize + 1, Market::default);
        }
        let before = &self.defined[ix as usize];
        let step = |field, text: &Option<Text<'_>>, known: Decimal| match text {
            Some(text) => decimal(channel, field, text).map(Decimal::canonical),
            None => Ok(known),
        };
        let (tick, step) =
            (step("tickSize", &row.tick_size, before.tick)?, step("stepSize", &row.step_size, before.step)?);
        let word = row.status.as_ref().map_or(before.word.as_str(), Text::as_str);
        let status = trading_status(word);
        let (new_rules, new_status) = ((tick, step) != (before.tick, before.step), word != before.word);
        if !new_rules && !new_status {
            return Ok(());
        }
        let market = Market { tick, step, status, word: word.to_owned() };
        // A part of a market of which nothing is known yet says no rules.
        if self.wants.definitions && !tick.is_zero() && !step.is_zero() {
            let symbol = self.symbols.symbol(ix).unwrap_or("");
            let body = Body::Instrument(define(symbol, &market)).map(|levels: Span| levels, |t| out.arena.text(t));
            push(out, ix, Kind::Instrument, Ts::ZERO, body);
        }
        if self.wants.definitions && new_status {
            let text = out.arena.text(&market.word);
            push(out, ix, Kind::Status, Ts::ZERO, Body::Status(Status { status, text }));
            if status == TradingStatus::Unknown {
                self.reading.unknown("market status", frame.text, out);
            }
        }
        self.defined[ix as usize] = market;
        Ok(())
    }
}

/// Linear, in the base coin, against and settled in USDC; no definition names the three.
fn define<'a>(symbol: &'a str, market: &'a Market) -> InstrumentDef<&'a str> {
    let (base, quote) = symbol::parts(symbol);
    InstrumentDef {
        kind: InstrumentKind::Perpetual,
        status: market.status,
        tick: market.tick,
        step: market.step,
        size_min: market.step,
        size_max: Decimal::ZERO,
        notional_min: Decimal::ZERO,
        multiplier: Decimal::new(1, 0),
        onboard: Ts::ZERO,
        expiry: Ts::ZERO,
        symbol,
        base,
        quote,
        settle: "USDC",
        status_text: &market.word,
    }
}

/// An open bar; `None` where we do not know its resolution.
fn bar(contents: Piece<'_>, row: &CandleRow<'_>) -> Result<Option<Bar>, ProtocolError> {
    const CH: &str = "v4_candles";
    let Some(period) = period(row.resolution.as_str()) else { return Ok(None) };
    let open_ts = time(CH, contents.at, &row.started_at)?;
    let why = "a time out of range";
    let close_ts =
        last_instant(open_ts, period).ok_or(ProtocolError::Malformed { channel: CH, at: contents.at, why })?;
    let number = |field, text| nearest(CH, field, text).map(|(number, _)| number);
    Ok(Some(Bar {
        open_ts,
        close_ts,
        open: number("open", &row.open)?,
        high: number("high", &row.high)?,
        low: number("low", &row.low)?,
        close: number("close", &row.close)?,
        volume: number("baseTokenVolume", &row.base_token_volume)?,
        quote_volume: number("usdVolume", &row.usd_volume)?,
        taker_volume: Decimal::ZERO,
        taker_quote_volume: Decimal::ZERO,
        trades: row.trades,
        first_id: 0,
        last_id: 0,
        closed: false,
        period,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_names_a_period() {
        let open = Ts::from_millis(1_790_000_040_000);
        let lengths = RESOLUTIONS.map(|(name, _)| last_instant(open, period(name).unwrap()).unwrap().millis());
        let minutes = [1, 5, 15, 30, 60, 240, 1_440];
        assert_eq!(lengths, minutes.map(|m| open.millis() + m * 60_000 - 1));
        assert!(period("2MINS").is_none());
    }
}
