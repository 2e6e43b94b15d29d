//! The fast way for the hot channels: trades, books and best prices in one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the documented keys of a row, in any order, written without spaces, as OKX writes them; whatever
//! else it meets (an escape, a space, a sign, an exponent, a doubled or unknown key, several books in one message) it declines, and the
//! typed decoder reads the frame instead (counted `fallbacks`). So every meaning is defined in one place, [`super::decode`], and
//! `tests/differential.rs` and the fuzzer hold the two equal.

use wholetape_model::{BookAction, Decimal, Kind, Side, Span, TradeCondition, Ts};

use super::decode::{TradeParts, book_channel};
use super::{Okx, sequence};
use crate::json::columns::{Columns, best, levels_of};
use crate::json::cursor::Cursor;
use crate::json::scan::{Seen, any_key, more, quoted, quoted_decimal};
use crate::levels::{self, QuoteParts};
use crate::rows::millis;
use crate::session::Out;

/// A whole number in quotes.
#[inline(always)]
fn quoted_uint(c: &mut Cursor<'_>) -> Option<u64> {
    c.eat(b"\"")?;
    let n = c.uint()?;
    c.eat(b"\"")?;
    Some(n)
}

#[inline(always)]
fn time(c: &mut Cursor<'_>) -> Option<Ts> {
    millis(quoted_uint(c)?)
}

/// A whole number that may be negative.
#[inline(always)]
fn int(c: &mut Cursor<'_>) -> Option<i64> {
    let negative = c.eat(b"-").is_some();
    let n = i64::try_from(c.uint()?).ok()?;
    match negative {
        // A parser takes it for a fraction.
        true if n == 0 => None,
        true => Some(-n),
        false => Some(n),
    }
}

impl Okx {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan_hot(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
        let mut c = Cursor { b: bytes, i: 0 };
        c.eat(b"{\"arg\":{\"channel\":\"")?;
        let channel = c.plain()?;
        c.eat(b",\"instId\":\"")?;
        let symbol = c.plain()?;
        c.eat(b"},")?;
        match channel {
            "trades" => self.scan_trades(c, "trades", Kind::TradeRaw, out),
            "trades-all" => self.scan_trades(c, "trades-all", Kind::Trade, out),
            "bbo-tbt" => self.scan_best(c, symbol, out),
            "books5" => None,
            name => self.scan_book(c, book_channel(name)?, symbol, out),
        }
    }

    fn scan_trades(
        &mut self,
        mut c: Cursor<'_>,
        name: &'static str,
        kind: Kind,
        out: &mut Out,
    ) -> Option<&'static str> {
        let (mut seen, mut symbol) = (Seen::default(), "");
        let mut t = TradeParts {
            id: 0,
            count: 1,
            price: Decimal::ZERO,
            size: Decimal::ZERO,
            aggressor: None,
            condition: TradeCondition::Regular,
            time: Ts::ZERO,
        };
        // One trade: whatever comes in numbers is rare, and the typed decoder reads it.
        c.eat(b"\"data\":[{")?;
        loop {
            match any_key(&mut c)? {
                b"instId" => {
                    seen.once(0)?;
                    symbol = quoted(&mut c)?;
                }
                b"tradeId" => {
                    seen.once(1)?;
                    t.id = quoted_uint(&mut c)?;
                }
                b"px" => {
                    seen.once(2)?;
                    t.price = quoted_decimal(&mut c)?;
                }
                b"sz" => {
                    seen.once(3)?;
                    t.size = quoted_decimal(&mut c)?;
                }
                b"side" => {
                    seen.once(4)?;
                    // Any other word is the typed decoder's to judge.
                    t.aggressor = Some(if c.eat(b"\"buy\"").is_some() {
                        Side::Buy
                    } else {
                        c.eat(b"\"sell\"")?;
                        Side::Sell
                    });
                }
                b"ts" => {
                    seen.once(5)?;
                    t.time = time(&mut c)?;
                }
                b"count" => {
                    seen.once(6)?;
                    t.count = quoted_uint(&mut c)?;
                }
                b"source" => {
                    seen.once(7)?;
                    if c.eat(b"\"1\"").is_some() {
                        t.condition = TradeCondition::Rpi;
                    } else {
                        c.eat(b"\"0\"")?;
                    }
                }
                b"seqId" => {
                    seen.once(8)?;
                    c.uint()?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        c.eat(b"]}")?;
        if c.i != c.b.len() || !seen.has(0b11_1111) {
            return None;
        }
        if let Some(ix) = self.admit(symbol) {
            out.events.push(t.event(ix, kind)?);
        }
        Some(name)
    }

    fn scan_best(&mut self, mut c: Cursor<'_>, symbol: &str, out: &mut Out) -> Option<&'static str> {
        let mut seen = Seen::default();
        let (mut bid, mut ask) = ([Decimal::ZERO; 2], [Decimal::ZERO; 2]);
        let (mut update_id, mut ts_event) = (0, Ts::ZERO);
        c.eat(b"\"data\":[{")?;
        loop {
            match any_key(&mut c)? {
                b"asks" => {
                    seen.once(0)?;
                    ask = best(&mut c)?;
                }
                b"bids" => {
                    seen.once(1)?;
                    bid = best(&mut c)?;
                }
                b"ts" => {
                    seen.once(2)?;
                    ts_event = time(&mut c)?;
                }
                b"seqId" => {
                    seen.once(3)?;
                    update_id = c.uint()?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        c.eat(b"]}")?;
        if c.i != c.b.len() || !seen.has(0b111) {
            return None;
        }
        let parts = QuoteParts { bid: bid[0], bid_size: bid[1], ask: ask[0], ask_size: ask[1], update_id, ts_event };
        if let Some(ix) = self.admit(symbol) {
            levels::quote(&mut out.events, ix, &parts).ok()?;
        }
        Some("bbo-tbt")
    }

    fn scan_book(
        &mut self,
        mut c: Cursor<'_>,
        name: &'static str,
        symbol: &str,
        out: &mut Out,
    ) -> Option<&'static str> {
        let action = if c.eat(b"\"action\":\"update\",").is_some() {
            BookAction::Delta
        } else {
            c.eat(b"\"action\":\"snapshot\",")?;
            BookAction::Snapshot
        };
        c.eat(b"\"data\":[{")?;
        let mut seen = Seen::default();
        let (mut seq, mut prev, mut ts, mut checksum) = (None, None, Ts::ZERO, None);
        let start = out.arena.levels.len();
        let mut bids_at = start;
        let mut columns = Columns::from(start);
        loop {
            match any_key(&mut c)? {
                b"asks" => {
                    seen.once(0)?;
                    levels_of(&mut c, &mut columns, &mut out.arena.levels)?;
                    bids_at = out.arena.levels.len();
                }
                b"bids" => {
                    // Asks stand first in the frame, and so they do in the arena.
                    seen.once(1)?;
                    seen.has(1).then_some(())?;
                    levels_of(&mut c, &mut columns, &mut out.arena.levels)?;
                }
                b"ts" => {
                    seen.once(2)?;
                    ts = time(&mut c)?;
                }
                b"checksum" => {
                    seen.once(3)?;
                    checksum = sequence::checksum(int(&mut c)?).ok()?;
                }
                b"seqId" => {
                    seen.once(4)?;
                    seq = Some(c.uint()?);
                }
                b"prevSeqId" => {
                    seen.once(5)?;
                    prev = Some(int(&mut c)?);
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        c.eat(b"]}")?;
        if c.i != c.b.len() || !seen.has(0b111) {
            return None;
        }
        let ids = sequence::ids(action, seq, prev).ok()?;
        let Some(ix) = self.admit(symbol) else {
            out.arena.levels.truncate(start);
            return Some(name);
        };
        let span = |from: usize, to: usize| Span { start: from as u32, len: (to - from) as u32 };
        let (asks, bids) = (span(start, bids_at), span(bids_at, out.arena.levels.len()));
        levels::book(&mut out.events, ix, action, ids, ts, columns.scales(), bids, asks);
        self.prove(seq, checksum, out);
        Some(name)
    }
}
