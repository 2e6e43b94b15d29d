//! The typed decoder: any documented shape, in any key order, by serde. It is the meaning of the protocol; the fast
//! scanner ([`super::scan`]) must agree with it on every frame that it does not decline.
//!
//! Here are frames as wholes, trades, books and best prices; [`super::state`] reads the slower channels.

use wholetape_model::{
    Body, Decimal, Event, InstrumentIx, Kind, Price, Scales, Side, Size, Trade, TradeCondition, TradeId, Ts,
};

use super::frame::{BookRow, Head, TradeRow};
use super::{Bybit, sequence};
use crate::error::ProtocolError;
use crate::json::text::{LevelText, Piece, Text, decimal, offset};
use crate::levels::{self, QuoteParts};
use crate::rows::{each, millis};
use crate::session::Out;

/// A topic's parts: `orderbook`, `200`, `BTCUSDT`. Channels without a parameter have an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    pub channel: &'a str,
    pub parameter: &'a str,
    pub symbol: &'a str,
}

impl<'a> Subject<'a> {
    pub fn of(topic: &'a str) -> Self {
        let (channel, rest) = topic.split_once('.').unwrap_or((topic, ""));
        match rest.split_once('.') {
            Some((parameter, symbol)) => Self { channel, parameter, symbol },
            None => Self { channel, parameter: "", symbol: rest },
        }
    }
}

/// What a frame says beside its rows.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub kind: &'a str,
    /// When it was made.
    pub ts: Ts,
    /// The matching engine's time, or that of the message where none is printed.
    pub engine: Ts,
    pub frame: Piece<'a>,
}

/// Milliseconds.
pub(super) fn time(channel: &'static str, at: usize, ms: u64) -> Result<Ts, ProtocolError> {
    millis(ms).ok_or(ProtocolError::Malformed { channel, at, why: "a time out of range" })
}

pub(super) fn side(word: &str) -> Option<Side> {
    match word {
        "Buy" => Some(Side::Buy),
        "Sell" => Some(Side::Sell),
        _ => None,
    }
}

/// Whether the depth of a book's stream is one level: best prices. `None` for the streams that are no books of levels (`rpi`, `full`).
#[inline]
pub(super) fn is_best(depth: &str) -> Option<bool> {
    let digits = !depth.is_empty() && depth.len() <= 4 && depth.bytes().all(|b| b.is_ascii_digit());
    digits.then_some(depth == "1")
}

/// One trade, read and checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct TradeParts {
    pub id: TradeId,
    pub price: Decimal,
    pub size: Decimal,
    pub aggressor: Option<Side>,
    pub block: bool,
    pub rpi: bool,
    pub time: Ts,
}

impl TradeParts {
    #[inline]
    pub fn event(&self, instrument: InstrumentIx) -> Event {
        let number = self.id.number().unwrap_or(0);
        Event {
            instrument,
            kind: Kind::Trade,
            ts_event: self.time,
            scales: Scales { price: self.price.scale, size: self.size.scale },
            body: Body::Trade(Trade {
                id: self.id,
                first_id: number,
                last_id: number,
                price: Price(self.price.raw),
                size: Size(self.size.raw),
                aggressor: self.aggressor,
                condition: match (self.block, self.rpi) {
                    (true, _) => TradeCondition::Block,
                    (_, true) => TradeCondition::Rpi,
                    _ => TradeCondition::Regular,
                },
            }),
        }
    }
}

/// Price and size of the best level of a side; zeros where it is empty.
pub(super) type Best = [Decimal; 2];

/// Best prices as last told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Top {
    pub bid: Best,
    pub ask: Best,
}

pub(super) const NONE: Best = [Decimal::ZERO; 2];

impl Top {
    pub fn quote(&self, update_id: u64, ts_event: Ts) -> QuoteParts {
        let Self { bid: [bid, bid_size], ask: [ask, ask_size] } = *self;
        QuoteParts { bid, bid_size, ask, ask_size, update_id, ts_event }
    }
}

impl Bybit {
    /// Decodes one whole frame.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let at = e.valid_up_to();
                return Err(ProtocolError::Malformed { channel: "unknown", at, why: "not utf-8" });
            }
        };
        let frame = Piece { text, at: 0 };
        if text.trim_ascii_start().starts_with('[') {
            // No message of the venue is a bare array.
            return self.not_ours("", frame, out);
        }
        let head: Head<'_> = frame.parse("unknown")?;
        if let Some(op) = &head.op {
            return self.control(op.as_str(), &head, frame, out);
        }
        let (Some(topic), Some(data)) = (&head.topic, &head.data) else { return self.not_ours("", frame, out) };
        let subject = Subject::of(topic.as_str());
        let raw = data.as_raw_cow();
        let rows = Piece { text: &raw, at: offset(text, &raw) };
        let channel = self.payload(subject, &head, rows, frame, out)?;
        self.reading.stats.count(channel);
        if self.reading.fast && super::is_hot(channel) {
            self.reading.stats.fallbacks += 1;
        }
        Ok(())
    }

    fn not_ours(&mut self, channel: &str, frame: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.reading.unknown(channel, frame.text, out);
        self.reading.stats.count("unknown");
        Ok(())
    }

    /// The rows of one data frame; returns the name that it is counted under.
    fn payload(
        &mut self,
        subject: Subject<'_>,
        head: &Head<'_>,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        let message = |channel| {
            let ts = head.ts.ok_or(ProtocolError::Malformed { channel, at: 0, why: "a message without its time" })?;
            let ts = time(channel, 0, ts)?;
            let engine = head.cts.map_or(Ok(ts), |cts| time(channel, 0, cts))?;
            Ok(Message { kind: head.kind.as_ref().map_or("", Text::as_str), ts, engine, frame })
        };
        let known = match subject.channel {
            "publicTrade" => Some(self.trades(rows, frame, out)?),
            "orderbook" => match is_best(subject.parameter) {
                Some(true) => self.best(message("orderbook")?, rows, out)?,
                Some(false) => self.book(message("orderbook")?, rows, out)?,
                None => None,
            },
            "tickers" => Some(self.tickers(message("tickers")?, rows, out)?),
            "kline" => self.candles(subject, message("kline")?, rows, out)?,
            "allLiquidation" => Some(self.liquidations(rows, frame, out)?),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| {
            self.reading.unknown(subject.channel, frame.text, out);
            "unknown"
        }))
    }

    fn trades(&mut self, rows: Piece<'_>, frame: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "publicTrade";
        let mut strange = false;
        each(CH, rows, |one| {
            let row: TradeRow<'_> = one.parse(CH)?;
            let malformed = |why| ProtocolError::Malformed { channel: CH, at: one.at, why };
            let aggressor = side(row.side.as_str());
            strange |= aggressor.is_none();
            let parts = TradeParts {
                id: TradeId::parse(row.i.bytes()).ok_or_else(|| malformed(NO_ID))?,
                price: decimal(CH, "p", &row.p)?,
                size: decimal(CH, "v", &row.v)?,
                aggressor,
                block: row.block.unwrap_or(false),
                rpi: row.rpi.unwrap_or(false),
                time: time(CH, one.at, row.time)?,
            };
            if let Some(ix) = self.admit(row.s.as_str()) {
                out.events.push(parts.event(ix));
            }
            Ok(())
        })?;
        if strange {
            self.reading.unknown("trade side", frame.text, out);
        }
        Ok(CH)
    }

    fn book(
        &mut self,
        message: Message<'_>,
        data: Piece<'_>,
        out: &mut Out,
    ) -> Result<Option<&'static str>, ProtocolError> {
        const CH: &str = "orderbook";
        let row: BookRow<'_> = data.parse(CH)?;
        let Some(action) = sequence::action(message.kind, row.u) else { return Ok(None) };
        self.scratch.clear();
        for LevelText(price, size) in row.b.iter().chain(&row.a) {
            self.scratch.push((decimal(CH, "price", price)?, decimal(CH, "size", size)?));
        }
        let Some(ix) = self.admit(row.s.as_str()) else { return Ok(Some(CH)) };
        let (scales, bids, asks) = levels::store_levels(&mut out.arena, &self.scratch, row.b.len())
            .map_err(|(field, source)| ProtocolError::Number { channel: CH, field, source })?;
        levels::book(&mut out.events, ix, action, sequence::ids(row.u), message.engine, scales, bids, asks);
        Ok(Some(CH))
    }

    /// `orderbook.1`: snapshots alone, so each is the best level of both sides. Recordings of 2023 have changes of it as well.
    fn best(
        &mut self,
        message: Message<'_>,
        data: Piece<'_>,
        out: &mut Out,
    ) -> Result<Option<&'static str>, ProtocolError> {
        const CH: &str = "orderbook";
        let row: BookRow<'_> = data.parse(CH)?;
        let whole = match sequence::action(message.kind, row.u) {
            Some(action) => action == wholetape_model::BookAction::Snapshot,
            None => return Ok(None),
        };
        let level = |LevelText(price, size): &LevelText<'_>| -> Result<Best, ProtocolError> {
            Ok([decimal(CH, "price", price)?, decimal(CH, "size", size)?])
        };
        let first = |side: &[LevelText<'_>]| side.first().map_or(Ok(NONE), level);
        let changed = |mut best: Best, side: &[LevelText<'_>]| {
            for one in side {
                let [price, size] = level(one)?;
                if !size.is_zero() {
                    best = [price, size];
                } else if best[0].cmp_value(price).is_eq() {
                    best = NONE;
                }
            }
            Ok::<_, ProtocolError>(best)
        };
        let Some(ix) = self.admit(row.s.as_str()) else { return Ok(Some(CH)) };
        let top = if whole {
            Top { bid: first(&row.b)?, ask: first(&row.a)? }
        } else {
            let Some(before) = self.top(ix) else {
                // A change of what was never told.
                self.reading.stats.filtered += 1;
                return Ok(Some(CH));
            };
            Top { bid: changed(before.bid, &row.b)?, ask: changed(before.ask, &row.a)? }
        };
        self.quote(ix, top, row.u, message.engine, out).map(|()| Some(CH)).map_err(|source| ProtocolError::Number {
            channel: CH,
            field: "scale",
            source,
        })
    }

    fn top(&self, ix: InstrumentIx) -> Option<Top> {
        *self.tops.get(ix as usize)?
    }

    /// Tells best prices, and remembers them for changes.
    #[inline]
    pub(super) fn quote(
        &mut self,
        ix: InstrumentIx,
        top: Top,
        u: u64,
        ts: Ts,
        out: &mut Out,
    ) -> Result<(), wholetape_model::DecimalError> {
        levels::quote(&mut out.events, ix, &top.quote(u, ts))?;
        if self.tops.len() <= ix as usize {
            self.tops.resize(ix as usize + 1, None);
        }
        self.tops[ix as usize] = Some(top);
        Ok(())
    }
}

pub(super) const NO_ID: &str = "a trade id is neither a number nor a UUID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_a_parameter_or_none() {
        let parts = |topic| {
            let Subject { channel, parameter, symbol } = Subject::of(topic);
            (channel, parameter, symbol)
        };
        assert_eq!(parts("orderbook.200.BTCUSDT"), ("orderbook", "200", "BTCUSDT"));
        assert_eq!(parts("publicTrade.BTC-26DEC25"), ("publicTrade", "", "BTC-26DEC25"));
        assert_eq!(parts("strange"), ("strange", "", ""));
    }

    #[test]
    fn only_depths_of_levels_are_books() {
        assert_eq!(
            ["1", "50", "1000", "rpi", "full", "", "01000"].map(is_best),
            [Some(true), Some(false), Some(false), None, None, None, None]
        );
    }
}
