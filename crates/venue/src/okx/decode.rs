//! The typed decoder: any documented shape, in any key order, by serde. It is the meaning of the protocol; the fast
//! scanner ([`super::scan`]) must agree with it on every frame that it does not decline.
//!
//! Here are frames as wholes, trades, books and best prices; [`super::state`] reads the slower channels.

use wholetape_model::{
    Body, BookAction, Decimal, Event, InstrumentIx, Kind, Price, Scales, Side, Size, Trade, TradeCondition, Ts,
};

use super::Okx;
use super::frame::{Arg, BookRow, Head, TradeRow};
use super::sequence;
use crate::error::ProtocolError;
use crate::json::text::{self, LevelText, Piece, Text, decimal, offset};
use crate::levels::{self, QuoteParts};
use crate::rows::{each, millis, number};
use crate::session::Out;

/// What a frame's `arg` says: its channel, and the instrument that it is about where it is about one.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub channel: &'a str,
    pub symbol: &'a str,
}

/// Milliseconds, as text.
pub(super) fn time(channel: &'static str, at: usize, text: &Text<'_>) -> Result<Ts, ProtocolError> {
    let why = "a time is no whole number";
    number(text).and_then(millis).ok_or(ProtocolError::Malformed { channel, at, why })
}

/// `source` of a trade, and whether we know the word: `0` an ordinary order, `1` retail price improvement (ELP until 2026-07).
pub(super) fn condition(source: Option<&str>) -> (TradeCondition, bool) {
    match source {
        None | Some("0" | "") => (TradeCondition::Regular, true),
        Some("1") => (TradeCondition::Rpi, true),
        Some(_) => (TradeCondition::Unknown, false),
    }
}

pub(super) fn side(word: &str) -> Option<Side> {
    match word {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

/// One trade, read and checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct TradeParts {
    pub id: u64,
    /// Matches in the group; the group's id is that of the last.
    pub count: u64,
    pub price: Decimal,
    pub size: Decimal,
    pub aggressor: Option<Side>,
    pub condition: TradeCondition,
    pub time: Ts,
}

impl TradeParts {
    /// `None` where the group would begin before the first id.
    #[inline]
    pub fn event(&self, instrument: InstrumentIx, kind: Kind) -> Option<Event> {
        let first_id = self.id.checked_sub(self.count.checked_sub(1)?)?;
        Some(Event {
            instrument,
            kind,
            ts_event: self.time,
            scales: Scales { price: self.price.scale, size: self.size.scale },
            body: Body::Trade(Trade {
                id: self.id.into(),
                first_id,
                last_id: self.id,
                price: Price(self.price.raw),
                size: Size(self.size.raw),
                aggressor: self.aggressor,
                condition: self.condition,
            }),
        })
    }
}

/// Counters need names that live for ever.
pub(super) fn book_channel(channel: &str) -> Option<&'static str> {
    ["books", "books-l2-tbt", "books50-l2-tbt", "books5"].into_iter().find(|c| *c == channel)
}

impl Okx {
    /// Decodes one whole frame.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let at = e.valid_up_to();
                return Err(ProtocolError::Malformed { channel: "unknown", at, why: "not utf-8" });
            }
        };
        if text == "pong" {
            self.reading.stats.count("pong");
            return Ok(());
        }
        let frame = Piece { text, at: 0 };
        if text.trim_ascii_start().starts_with('[') {
            // No message of the venue is a bare array.
            return self.not_ours("", frame, out);
        }
        let head: Head<'_> = frame.parse("unknown")?;
        if let Some(event) = &head.event {
            return self.control(event.as_str(), &head, frame, out);
        }
        let (Some(arg), Some(data)) = (&head.arg, &head.data) else { return self.not_ours("", frame, out) };
        let raw = data.as_raw_cow();
        let rows = Piece { text: &raw, at: offset(text, &raw) };
        let channel = self.payload(arg, head.action.as_ref().map(Text::as_str), rows, frame, out)?;
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
        arg: &Arg<'_>,
        action: Option<&str>,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        let symbol = arg.inst_id.as_ref().map_or("", Text::as_str);
        let subject = Subject { channel: arg.channel.as_str(), symbol };
        let known = match (subject.channel, action) {
            ("trades", _) => Some(self.trades("trades", Kind::TradeRaw, rows, frame, out)?),
            ("trades-all", _) => Some(self.trades("trades-all", Kind::Trade, rows, frame, out)?),
            ("bbo-tbt", _) => Some(self.best(subject, rows, out)?),
            ("books5", _) => Some(self.books("books5", BookAction::Snapshot, subject, rows, out)?),
            (name, action) => match (book_channel(name), action) {
                (Some(name), Some("snapshot")) => Some(self.books(name, BookAction::Snapshot, subject, rows, out)?),
                (Some(name), Some("update")) => Some(self.books(name, BookAction::Delta, subject, rows, out)?),
                (Some(_), _) => None,
                (None, _) => self.state(subject, rows, frame, out)?,
            },
        };
        Ok(known.unwrap_or_else(|| {
            self.reading.unknown(subject.channel, frame.text, out);
            "unknown"
        }))
    }

    fn trades(
        &mut self,
        name: &'static str,
        kind: Kind,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        let mut strange = false;
        each(name, rows, |one| {
            let row: TradeRow<'_> = one.parse(name)?;
            let (parts, known) = trade_parts(name, one.at, &row)?;
            strange |= !known;
            if let Some(ix) = self.admit(row.inst_id.as_str()) {
                out.events.push(parts.event(ix, kind).ok_or_else(|| too_many(name, one.at))?);
            }
            Ok(())
        })?;
        if strange {
            self.reading.unknown("trade side or source", frame.text, out);
        }
        Ok(name)
    }

    fn books(
        &mut self,
        name: &'static str,
        action: BookAction,
        subject: Subject<'_>,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        each(name, rows, |one| {
            let row: BookRow<'_> = one.parse(name)?;
            let malformed = |why| ProtocolError::Malformed { channel: name, at: one.at, why };
            let ids = sequence::ids(action, row.seq_id, row.prev_seq_id).map_err(malformed)?;
            let checksum = row.checksum.map_or(Ok(None), sequence::checksum).map_err(malformed)?;
            let ts = time(name, one.at, &row.ts)?;
            text::levels(name, &row.asks, &row.bids, &mut self.scratch)?;
            let Some(ix) = self.admit(subject.symbol) else { return Ok(()) };
            // Asks stand first in the frame, and so they do in the arena.
            let (scales, asks, bids) = levels::store_levels(&mut out.arena, &self.scratch, row.asks.len())
                .map_err(|(field, source)| ProtocolError::Number { channel: name, field, source })?;
            levels::book(&mut out.events, ix, action, ids, ts, scales, bids, asks);
            self.prove(row.seq_id, checksum, out);
            Ok(())
        })?;
        Ok(name)
    }

    /// `bbo-tbt`: at most one level on each side.
    fn best(&mut self, subject: Subject<'_>, rows: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "bbo-tbt";
        each(CH, rows, |one| {
            let row: BookRow<'_> = one.parse(CH)?;
            let level = |levels: &[LevelText<'_>]| match levels.first() {
                Some(LevelText(price, size)) => Ok((decimal(CH, "price", price)?, decimal(CH, "size", size)?)),
                None => Ok((Decimal::ZERO, Decimal::ZERO)),
            };
            let ((bid, bid_size), (ask, ask_size)) = (level(&row.bids)?, level(&row.asks)?);
            let update_id = row.seq_id.unwrap_or(0);
            let parts = QuoteParts { bid, bid_size, ask, ask_size, update_id, ts_event: time(CH, one.at, &row.ts)? };
            let Some(ix) = self.admit(subject.symbol) else { return Ok(()) };
            levels::quote(&mut out.events, ix, &parts).map_err(|source| ProtocolError::Number {
                channel: CH,
                field: "scale",
                source,
            })
        })?;
        Ok(CH)
    }

    /// What the venue printed to prove the book that the last event leads to.
    #[inline]
    pub(super) fn prove(&mut self, seq: Option<u64>, checksum: Option<u32>, out: &mut Out) {
        self.numbered = seq.is_some();
        if let Some(checksum) = checksum {
            out.checksums.push((out.events.len() - 1, checksum));
        }
    }
}

fn too_many(channel: &'static str, at: usize) -> ProtocolError {
    ProtocolError::Malformed { channel, at, why: "a group of no trades, or of more than there are ids" }
}

/// A trade's row, and whether we know its words.
pub(super) fn trade_parts(
    channel: &'static str,
    at: usize,
    row: &TradeRow<'_>,
) -> Result<(TradeParts, bool), ProtocolError> {
    let malformed = |why| ProtocolError::Malformed { channel, at, why };
    let (condition, known) = condition(row.source.as_ref().map(Text::as_str));
    let aggressor = side(row.side.as_str());
    let parts = TradeParts {
        id: number(&row.trade_id).ok_or_else(|| malformed("a trade id is no whole number"))?,
        count: match &row.count {
            Some(count) => number(count).ok_or_else(|| malformed("a count is no whole number"))?,
            None => 1,
        },
        price: decimal(channel, "px", &row.px)?,
        size: decimal(channel, "sz", &row.sz)?,
        aggressor,
        condition,
        time: time(channel, at, &row.ts)?,
    };
    Ok((parts, known && aggressor.is_some()))
}
