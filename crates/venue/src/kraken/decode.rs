//! The typed decoder: any documented shape, in any key order, by serde. It is the meaning of the protocol; the fast
//! scanner ([`super::scan`]) must agree with it on every frame that it does not decline.
//!
//! Here are frames as wholes, trades and books of v2; [`super::state`] reads the slower channels, [`super::old`] what v1 sent.

use wholetape_model::{
    Body, BookAction, Decimal, Event, InstrumentIx, Kind, Price, Scales, Side, Size, Trade, TradeCondition, TradeId, Ts,
};

use super::frame::{BookRow, Head, TradeRow};
use super::{Kraken, sequence};
use crate::error::ProtocolError;
use crate::json::text::{Piece, Printed, PrintedLevel, Text, decimal, offset};
use crate::levels;
use crate::rows::each;
use crate::session::Out;

/// What a data frame says beside its rows.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// The first of a subscription: what is there already.
    pub snapshot: bool,
    /// Of the whole message; most channels have one in each row instead.
    pub ts: Ts,
    pub rows: Piece<'a>,
    pub frame: Piece<'a>,
}

/// A time as text.
pub(super) fn time(channel: &'static str, at: usize, text: &Text<'_>) -> Result<Ts, ProtocolError> {
    let why = "a time is not as RFC 3339 has it";
    Ts::parse_utc(text.bytes()).ok_or(ProtocolError::Malformed { channel, at, why })
}

/// A time that may be missing.
pub(super) fn time_if(channel: &'static str, at: usize, text: Option<&Text<'_>>) -> Result<Ts, ProtocolError> {
    text.map_or(Ok(Ts::ZERO), |text| time(channel, at, text))
}

pub(super) fn number(channel: &'static str, field: &'static str, text: &Printed<'_>) -> Result<Decimal, ProtocolError> {
    decimal(channel, field, &text.0)
}

pub(super) fn side(word: &str) -> Option<Side> {
    match word {
        "buy" | "b" => Some(Side::Buy),
        "sell" | "s" => Some(Side::Sell),
        _ => None,
    }
}

/// One trade, read and checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct TradeParts {
    pub id: TradeId,
    pub price: Decimal,
    pub size: Decimal,
    pub aggressor: Option<Side>,
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
                condition: TradeCondition::Regular,
            }),
        }
    }
}

impl Kraken {
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
            return self.old_data(frame, out);
        }
        let head: Head<'_> = frame.parse("unknown")?;
        if let Some(event) = &head.event {
            return self.old_event(event.as_str(), &head, frame, out);
        }
        if let Some(method) = &head.method {
            return self.answer_to(method.as_str(), &head, frame, out);
        }
        let Some(channel) = &head.channel else { return self.not_ours("", frame, out) };
        if channel.as_str() == "heartbeat" {
            self.reading.stats.count("heartbeat");
            return Ok(());
        }
        let snapshot = match head.kind.as_ref().map(Text::as_str) {
            Some("snapshot") => true,
            Some("update") => false,
            _ => return self.not_ours(channel.as_str(), frame, out),
        };
        let Some(data) = &head.data else { return self.not_ours(channel.as_str(), frame, out) };
        let raw = data.as_raw_cow();
        let rows = Piece { text: &raw, at: offset(text, &raw) };
        let ts = time_if("message", 0, head.timestamp.as_ref())?;
        let message = Message { snapshot, ts, rows, frame };
        let name = match channel.as_str() {
            "trade" => self.trades(message, out)?,
            "book" => self.books(message, out)?,
            "ticker" => self.tickers(message, out)?,
            "ohlc" => self.candles(message, out)?,
            "instrument" => self.instrument_data(message, out)?,
            "status" => self.system(message, out)?,
            other => return self.not_ours(other, frame, out),
        };
        self.reading.stats.count(name);
        if self.reading.fast && super::is_hot(name) {
            self.reading.stats.fallbacks += 1;
        }
        Ok(())
    }

    pub(super) fn not_ours(&mut self, channel: &str, frame: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.reading.unknown(channel, frame.text, out);
        self.reading.stats.count("unknown");
        Ok(())
    }

    /// A subscription begins with the last fifty; whoever holds them knows them by their ids.
    fn trades(&mut self, message: Message<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "trade";
        let mut strange = false;
        each(CH, message.rows, |one| {
            let row: TradeRow<'_> = one.parse(CH)?;
            let aggressor = side(row.side.as_str());
            strange |= aggressor.is_none();
            let parts = TradeParts {
                id: row.trade_id.into(),
                price: number(CH, "price", &row.price)?,
                size: number(CH, "qty", &row.qty)?,
                aggressor,
                time: time(CH, one.at, &row.timestamp)?,
            };
            if let Some(ix) = self.admit(row.symbol.as_str()) {
                out.events.push(parts.event(ix));
            }
            Ok(())
        })?;
        if strange {
            self.reading.unknown("trade side", message.frame.text, out);
        }
        Ok(CH)
    }

    fn books(&mut self, message: Message<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "book";
        each(CH, message.rows, |one| {
            let row: BookRow<'_> = one.parse(CH)?;
            let malformed = |why| ProtocolError::Malformed { channel: CH, at: one.at, why };
            let checksum = row.checksum.as_ref().map(sequence::checksum).transpose().map_err(malformed)?;
            let ts = time_if(CH, one.at, row.timestamp.as_ref())?;
            self.scratch.clear();
            for PrintedLevel { price, qty } in row.bids.iter().chain(&row.asks) {
                self.scratch.push((number(CH, "price", price)?, number(CH, "qty", qty)?));
            }
            let Some(ix) = self.admit(row.symbol.as_str()) else { return Ok(()) };
            if message.snapshot {
                self.begins(ix, row.bids.len(), row.asks.len());
            }
            self.tell_book(CH, ix, message.snapshot, row.bids.len(), ts, checksum, out)
        })?;
        Ok(CH)
    }

    /// Tells the book whose levels lie in `scratch`, bids first.
    pub(super) fn tell_book(
        &mut self,
        channel: &'static str,
        ix: InstrumentIx,
        snapshot: bool,
        bids: usize,
        ts: Ts,
        checksum: Option<u32>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let action = if snapshot { BookAction::Snapshot } else { BookAction::Delta };
        let (scales, bids, asks) = levels::store_levels(&mut out.arena, &self.scratch, bids)
            .map_err(|(field, source)| ProtocolError::Number { channel, field, source })?;
        levels::book(&mut out.events, ix, action, sequence::NO_IDS, ts, scales, bids, asks);
        prove(checksum, out);
        Ok(())
    }
}

/// What the venue printed to prove the book that the last event leads to.
#[inline]
pub(super) fn prove(checksum: Option<u32>, out: &mut Out) {
    if let Some(checksum) = checksum {
        out.checksums.push((out.events.len() - 1, checksum));
    }
}
