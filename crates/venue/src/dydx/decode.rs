//! The typed decoder: any documented shape, in any key order, by serde. It is the meaning of the protocol; the fast
//! scanner ([`super::scan`]) must agree with it on every frame that it does not decline.
//!
//! Here are frames as wholes, the connection's count of messages, trades and books; [`super::state`] reads the slower channels.

use wholetape_model::{
    Body, BookAction, Decimal, DecimalError, Event, InstrumentIx, Kind, Liquidation, Price, Scales, Side, Size, Trade,
    TradeCondition, TradeId, Ts,
};

use super::Dydx;
use super::book::{Pair, Stamp};
use super::frame::{Block, BookContents, BookLevel, Head, TradeRow, Trades};
use crate::counter::Arrival;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text, decimal, offset};
use crate::levels::{self, Ids, QuoteParts};
use crate::session::{Action, Note, Out};

/// What a data frame speaks of.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub channel: &'a str,
    pub id: &'a str,
    /// The answer to the subscription, which holds the state so far.
    pub initial: bool,
    pub stamp: Stamp,
}

pub(super) fn push(out: &mut Out, instrument: InstrumentIx, kind: Kind, ts_event: Ts, body: wholetape_model::Pending) {
    out.events.push(Event { instrument, kind, ts_event, scales: Scales::default(), body });
}

/// A time as text.
pub(super) fn time(channel: &'static str, at: usize, text: &Text<'_>) -> Result<Ts, ProtocolError> {
    let why = "a time is not as ISO 8601 has it";
    Ts::parse_utc(text.bytes()).ok_or(ProtocolError::Malformed { channel, at, why })
}

/// A number, and whether it is exact. Prices of deleveraging and funding rates are quotients, printed with up to twenty places: of those the
/// nearest that 64 bits and 18 places hold is kept.
pub(super) fn nearest(
    channel: &'static str,
    field: &'static str,
    text: &Text<'_>,
) -> Result<(Decimal, bool), ProtocolError> {
    let long = |e: &ProtocolError| {
        matches!(e, ProtocolError::Number { source: DecimalError::Overflow | DecimalError::TooPrecise, .. })
    };
    let failed = match decimal(channel, field, text) {
        Ok(exact) => return Ok((exact, true)),
        Err(e) if !long(&e) => return Err(e),
        Err(e) => e,
    };
    let bytes = text.bytes();
    let Some(point) = bytes.iter().position(|b| *b == b'.').filter(|_| !bytes.iter().any(|b| b"eE".contains(b))) else {
        return Err(failed);
    };
    // No more places than a record holds, though zeros at the end would let more of them be read.
    let most = (point + 2 + usize::from(wholetape_model::decimal::SCALE_MAX)).min(bytes.len());
    for end in (point + 2..most).rev() {
        let Ok(cut) = Decimal::parse(&bytes[..end]) else { continue };
        // Trailing zeros may have been given up already.
        let Ok(cut) = cut.rescale((end - point - 1) as u8) else { continue };
        let away = if bytes[0] == b'-' { -1 } else { 1 };
        let up = if bytes[end] >= b'5' { away } else { 0 };
        let Some(raw) = cut.raw.checked_add(up) else { continue };
        return Ok((Decimal { raw, ..cut }, false));
    }
    Err(failed)
}

/// The type of a trade, and whether we know the word.
pub(super) fn condition(word: Option<&str>) -> (TradeCondition, bool) {
    match word {
        None | Some("LIMIT" | "MARKET" | "TWAP_SUBORDER") => (TradeCondition::Regular, true),
        Some("LIQUIDATED") => (TradeCondition::Liquidation, true),
        Some("DELEVERAGED") => (TradeCondition::Adl, true),
        Some(_) => (TradeCondition::Unknown, false),
    }
}

fn side(word: &str) -> Option<Side> {
    match word {
        "BUY" => Some(Side::Buy),
        "SELL" => Some(Side::Sell),
        _ => None,
    }
}

/// One trade, read and checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct TradeParts {
    pub id: TradeId,
    pub price: Decimal,
    pub size: Decimal,
    /// Of the taker.
    pub side: Option<Side>,
    pub condition: TradeCondition,
    pub time: Ts,
}

impl TradeParts {
    pub fn event(&self, instrument: InstrumentIx) -> Event {
        // The block is not counted, so neither are the ids.
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
                aggressor: self.side,
                condition: self.condition,
            }),
        }
    }
}

/// A trade's row, and whether we know its words and hold its numbers exactly.
pub(super) fn trade_parts(
    channel: &'static str,
    at: usize,
    row: &TradeRow<'_>,
) -> Result<(TradeParts, bool), ProtocolError> {
    let malformed = |why| ProtocolError::Malformed { channel, at, why };
    let (condition, known) = condition(row.kind.as_ref().map(Text::as_str));
    let side = side(row.side.as_str());
    let (price, exact) = nearest(channel, "price", &row.price)?;
    let parts = TradeParts {
        id: TradeId::parse(row.id.bytes()).ok_or_else(|| malformed("a trade id of a form that we do not know"))?,
        price,
        size: decimal(channel, "size", &row.size)?,
        side,
        condition,
        time: time(channel, at, &row.created_at)?,
    };
    Ok((parts, known && exact && side.is_some()))
}

impl Dydx {
    /// Decodes one whole frame.
    pub(super) fn decode(&mut self, bytes: &[u8], now: Ts, out: &mut Out) -> Result<(), ProtocolError> {
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
            self.strange("", frame, out);
            return Ok(());
        }
        let head: Head<'_> = frame.parse("unknown")?;
        let word = |t: &Option<Text<'_>>| t.as_ref().map_or(String::new(), |t| t.as_str().to_owned());
        let Some(n) = self.arrives(&head)? else {
            self.strange(&word(&head.kind), frame, out);
            return Ok(());
        };
        match head.kind.as_ref().map(Text::as_str) {
            Some("subscribed") => {
                self.subscribed(&head, out);
                self.data(&head, n, true, frame, now, out)
            }
            Some("channel_data" | "channel_batch_data") => self.data(&head, n, false, frame, now, out),
            Some(kind) => self.control(kind, &head, frame, now, out),
            None => {
                self.strange("", frame, out);
                Ok(())
            }
        }
    }

    /// A frame that is none of the venue's that we know.
    pub(super) fn strange(&mut self, channel: &str, frame: Piece<'_>, out: &mut Out) {
        self.reading.unknown(channel, frame.text, out);
        self.reading.stats.count("unknown");
    }

    /// Counts a message of the connection; `None` where it has no number.
    fn arrives(&mut self, head: &Head<'_>) -> Result<Option<u64>, ProtocolError> {
        let (Some(connection), Some(n)) = (&head.connection_id, head.message_id) else { return Ok(None) };
        // The greeting is the first message of a connection, whatever was before.
        let greets = head.kind.as_ref().is_some_and(|kind| kind.as_str() == "connected");
        if greets || self.connection != connection.as_str() {
            self.begin(connection.as_str());
        }
        let due = self.counter.next();
        match self.counter.arrive(n) {
            Arrival::Follows => Ok(Some(n)),
            Arrival::Hole { expected } => {
                self.deaf = !self.discover;
                Err(ProtocolError::Lost { expected, got: n })
            }
            Arrival::Repeat => {
                self.deaf = !self.discover;
                Err(ProtocolError::Lost { expected: due.unwrap_or(0), got: n })
            }
        }
    }

    fn data(
        &mut self,
        head: &Head<'_>,
        n: u64,
        initial: bool,
        frame: Piece<'_>,
        now: Ts,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let channel = head.channel.as_ref().map_or("", Text::as_str);
        let Some(contents) = &head.contents else {
            self.strange(channel, frame, out);
            return Ok(());
        };
        let raw = contents.as_raw_cow();
        let contents = Piece { text: &raw, at: offset(frame.text, &raw) };
        let id = head.id.as_ref().map_or("", Text::as_str);
        let mut subject = Subject { channel, id, initial, stamp: Stamp { message: n, place: 0 } };
        let mut name = None;
        if contents.text.starts_with('[') {
            // A batch: what would have been one message each, in the order of their making.
            for one in sonic_rs::to_array_iter(contents.text) {
                let one = one.map_err(|e| {
                    let at = contents.at + e.offset().min(contents.text.len());
                    ProtocolError::Malformed { channel: "unknown", at, why: "no array of messages" }
                })?;
                let raw = one.as_raw_cow();
                let one = Piece { text: &raw, at: contents.at + offset(contents.text, &raw) };
                name = self.payload(subject, one, frame, now, out)?;
                subject.stamp.place += 1;
            }
            name = name.or_else(|| known(channel));
        } else {
            name = self.payload(subject, contents, frame, now, out)?;
        }
        match name {
            Some(name) => {
                self.reading.stats.count(name);
                if self.reading.fast && super::is_hot(name) && !initial {
                    self.reading.stats.fallbacks += 1;
                }
            }
            None => self.strange(channel, frame, out),
        }
        Ok(())
    }

    /// One message's contents; returns the name that it is counted under.
    fn payload(
        &mut self,
        subject: Subject<'_>,
        contents: Piece<'_>,
        frame: Piece<'_>,
        now: Ts,
        out: &mut Out,
    ) -> Result<Option<&'static str>, ProtocolError> {
        match subject.channel {
            "v4_trades" => self.trades(subject, contents, frame, out)?,
            "v4_orderbook" => self.orderbook(subject, contents, now, out)?,
            "v4_candles" => self.candles(subject, contents, frame, out)?,
            "v4_markets" => self.markets(subject, contents, frame, out)?,
            // The chain goes on; and books have no time of their own by which it would show how late a connection is.
            "v4_block_height" => {
                let block = contents.parse::<Block<'_>>("v4_block_height").ok().and_then(|block| block.time);
                let time = block.and_then(|time| Ts::parse_utc(time.bytes()));
                out.actions.extend(time.filter(|_| !subject.initial).map(|time| Action::Note(Note::Time(time))));
            }
            _ => return Ok(None),
        }
        Ok(known(subject.channel))
    }

    fn trades(
        &mut self,
        subject: Subject<'_>,
        contents: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        const CH: &str = "v4_trades";
        let printed: Trades<'_> = contents.parse(CH)?;
        let mut strange = false;
        let Some(ix) = self.admit(subject.id) else { return Ok(()) };
        // The first message holds trades of before, newest first.
        let count = printed.trades.len();
        for at in 0..count {
            let row = &printed.trades[if subject.initial { count - 1 - at } else { at }];
            let (parts, known) = trade_parts(CH, contents.at, row)?;
            strange |= !known;
            self.trade(ix, &parts, !subject.initial, out);
        }
        if strange {
            self.reading.unknown("trade type, side or number", frame.text, out);
        }
        Ok(())
    }

    /// A trade, and where its taker was forced, the liquidation. Those of before the subscription have been told, or were nobody's to
    /// tell: they have no ids by which a repeat would be known.
    #[inline]
    pub(super) fn trade(&self, ix: InstrumentIx, parts: &TradeParts, live: bool, out: &mut Out) {
        if self.wants.trades {
            out.events.push(parts.event(ix));
        }
        if live && self.wants.liquidations && parts.condition == TradeCondition::Liquidation {
            let body = Liquidation {
                side: parts.side,
                price: parts.price,
                average_price: parts.price,
                size: parts.size,
                order_size: Decimal::ZERO,
            };
            push(out, ix, Kind::Liquidation, parts.time, Body::Liquidation(body));
        }
    }

    fn orderbook(
        &mut self,
        subject: Subject<'_>,
        contents: Piece<'_>,
        now: Ts,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        const CH: &str = "v4_orderbook";
        let printed: BookContents<'_> = contents.parse(CH)?;
        read_levels(CH, &mut self.bids, &printed.bids)?;
        read_levels(CH, &mut self.asks, &printed.asks)?;
        let Some(ix) = self.admit(subject.id) else { return Ok(()) };
        let action = if subject.initial { BookAction::Snapshot } else { BookAction::Delta };
        self.book(ix, action, subject.stamp, now, out).map_err(|(field, source)| ProtocolError::Number {
            channel: CH,
            field,
            source,
        })
    }

    /// The levels in `bids` and `asks` as an event: as they came, crossed or not.
    pub(super) fn book(
        &mut self,
        ix: InstrumentIx,
        action: BookAction,
        stamp: Stamp,
        now: Ts,
        out: &mut Out,
    ) -> Result<(), (&'static str, DecimalError)> {
        if self.books.len() <= ix as usize {
            self.books.resize_with(ix as usize + 1, Default::default);
        }
        let book = &mut self.books[ix as usize];
        let prev = match (action, book.last()) {
            // No message has this number but the greeting: the update follows nothing that we had.
            (BookAction::Delta, Some(before)) => self.counter.link(before),
            _ => 0,
        };
        if self.wants.books {
            let ids = Ids { first: stamp.message, last: stamp.message, prev };
            store(&mut self.scratch, &self.bids, &self.asks);
            let (scales, bids, asks) = levels::store_levels(&mut out.arena, &self.scratch, self.bids.len())?;
            levels::book(&mut out.events, ix, action, ids, Ts::ZERO, scales, bids, asks);
        }
        match action {
            BookAction::Delta => book.apply(&self.bids, &self.asks, stamp, now),
            _ => book.replace(&self.bids, &self.asks, stamp.message, now),
        }
        self.quote(ix, out);
        Ok(())
    }

    /// The best prices of the uncrossed view, where they changed.
    pub(super) fn quote(&mut self, ix: InstrumentIx, out: &mut Out) {
        if !self.wants.quotes {
            return;
        }
        let Some(book) = self.books.get_mut(ix as usize) else { return };
        let Some(best) = book.news() else { return };
        let ((bid, bid_size), (ask, ask_size)) = (best.bid, best.ask);
        // A message's number names nothing beyond its connection: redundant sockets tell the same best prices.
        let parts = QuoteParts { bid, bid_size, ask, ask_size, update_id: 0, ts_event: Ts::ZERO };
        // The levels were told; that two of them have no common scale in 64 bits is nothing to lose them for.
        let done = levels::quote(&mut out.events, ix, &parts);
        self.reading.stats.filtered += u64::from(done.is_err());
    }
}

/// Bids, then asks.
fn store(to: &mut Vec<Pair>, bids: &[Pair], asks: &[Pair]) {
    to.clear();
    to.extend_from_slice(bids);
    to.extend_from_slice(asks);
}

pub(super) fn read_levels(
    channel: &'static str,
    to: &mut Vec<Pair>,
    levels: &Option<Vec<BookLevel<'_>>>,
) -> Result<(), ProtocolError> {
    to.clear();
    for level in levels.iter().flatten() {
        to.push((decimal(channel, "price", &level.price)?, decimal(channel, "size", &level.size)?));
    }
    Ok(())
}

/// Counters need names that live for ever.
fn known(channel: &str) -> Option<&'static str> {
    ["v4_trades", "v4_orderbook", "v4_candles", "v4_markets", "v4_block_height"].into_iter().find(|c| *c == channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str, exact: bool) {
        let text = Text(text.into());
        let (number, is_exact) = nearest("x", "y", &text).unwrap();
        assert_eq!((number.to_string().as_str(), is_exact), (expected, exact));
    }

    #[test]
    fn quotients_keep_what_64_bits_hold() {
        check("3392.90", "3392.90", true);
        check("0.00000046646341463415", "0.000000466463414634", false);
        check("0.00000046646341463400", "0.000000466463414634", true);
        check("-0.00000046646341463450", "-0.000000466463414635", false);
        check("-0.00000046646341463455", "-0.000000466463414635", false);
        check("2340.7442700369913687", "2340.744270036991369", false);
        check("0.99999999999999999999", "1.000000000000000000", false);
        // The nineteenth place is a zero.
        check("0.00001250003750025604", "0.000012500037500256", false);
        check("-2340.74427003699136801", "-2340.744270036991368", false);
        for bad in ["", "1e-30", "12345678901234567890", "1.2.3", "x"] {
            assert!(nearest("x", "y", &Text(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn types_are_told_apart() {
        use TradeCondition::{Adl, Liquidation, Regular, Unknown};
        let words = ["LIMIT", "TWAP_SUBORDER", "LIQUIDATED", "DELEVERAGED", "NEW"].map(|w| condition(Some(w)));
        assert_eq!(words, [(Regular, true), (Regular, true), (Liquidation, true), (Adl, true), (Unknown, false)]);
    }
}
