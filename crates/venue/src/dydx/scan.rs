//! The fast way for the hot channels: updates of trades and books in one pass over the bytes.
//!
//! The scanner is no parser. It knows the documented head of a message in the order in which the venue writes it, and the keys of what is
//! inside, in any order, written without spaces; whatever else it meets (an escape, a space, a sign, an exponent, a doubled or unknown
//! key, a batch, an answer, a message that does not follow the one before) it declines, and the typed decoder reads the frame instead
//! (counted `fallbacks`). So every meaning is defined in one place, [`super::decode`], and `tests/differential.rs` and the fuzzer
//! hold the two equal.

use wholetape_model::{BookAction, Decimal, InstrumentIx, Side, TradeCondition, TradeId, Ts};

use super::Dydx;
use super::book::{Pair, Stamp};
use super::decode::{TradeParts, condition};
use crate::counter::Arrival;
use crate::json::cursor::Cursor;
use crate::json::scan::{Seen, more, quoted, quoted_decimal};
use crate::session::Out;

/// A key of any length, its colon behind us.
#[inline(always)]
fn key<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let key = quoted(c)?;
    c.eat(b":")?;
    Some(key.as_bytes())
}

impl Dydx {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan_hot(&mut self, bytes: &[u8], now: Ts, out: &mut Out) -> Option<&'static str> {
        let mut c = Cursor { b: bytes, i: 0 };
        c.eat(b"{\"type\":\"channel_data\",\"connection_id\":\"")?;
        if c.plain()? != self.connection {
            return None;
        }
        c.eat(b",\"message_id\":")?;
        let n = c.uint()?;
        let mut counter = self.counter;
        if counter.arrive(n) != Arrival::Follows {
            return None;
        }
        c.eat(b",\"id\":\"")?;
        let symbol = c.plain()?;
        c.eat(b",\"channel\":\"")?;
        let channel = c.plain()?;
        c.eat(b",\"version\":\"")?;
        c.plain()?;
        c.eat(b",\"contents\":{")?;
        match channel {
            "v4_orderbook" => self.scan_book(c, symbol, Stamp { message: n, place: 0 }, now, out),
            "v4_trades" => self.scan_trades(c, symbol, n, out),
            _ => None,
        }
    }

    fn scan_book(
        &mut self,
        mut c: Cursor<'_>,
        symbol: &str,
        stamp: Stamp,
        now: Ts,
        out: &mut Out,
    ) -> Option<&'static str> {
        let mut seen = Seen::default();
        self.bids.clear();
        self.asks.clear();
        loop {
            match key(&mut c)? {
                b"bids" => {
                    seen.once(0)?;
                    levels(&mut c, &mut self.bids)?;
                }
                b"asks" => {
                    seen.once(1)?;
                    levels(&mut c, &mut self.asks)?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        end(c)?;
        let ix = self.admit_scanned(symbol)?;
        let before = self.counter;
        self.counter.arrive(stamp.message);
        if let Some(ix) = ix
            && self.book(ix, BookAction::Delta, stamp, now, out).is_err()
        {
            self.counter = before;
            return None;
        }
        Some("v4_orderbook")
    }

    fn scan_trades(&mut self, mut c: Cursor<'_>, symbol: &str, n: u64, out: &mut Out) -> Option<&'static str> {
        c.eat(b"\"trades\":[")?;
        self.parts.clear();
        loop {
            let one = trade(&mut c)?;
            self.parts.push(one);
            if c.eat(b",").is_none() {
                break;
            }
        }
        c.eat(b"]}")?;
        end(c)?;
        let ix = self.admit_scanned(symbol)?;
        self.counter.arrive(n);
        if let Some(ix) = ix {
            let parts = std::mem::take(&mut self.parts);
            parts.iter().for_each(|one| self.trade(ix, one, true, out));
            self.parts = parts;
        }
        Some("v4_trades")
    }

    /// As [`Dydx::admit`]; a symbol that the table does not know yet is left to the typed decoder.
    #[inline]
    fn admit_scanned(&mut self, symbol: &str) -> Option<Option<InstrumentIx>> {
        match self.symbols.find(symbol) {
            Some(ix) => Some(Some(ix)),
            None if self.discover => None,
            None => Some(self.admit(symbol)),
        }
    }
}

/// The frame's own brace, and nothing behind it.
#[inline(always)]
fn end(mut c: Cursor<'_>) -> Option<()> {
    c.eat(b"}")?;
    (c.i == c.b.len()).then_some(())
}

/// `[]` or `[["12.5","3"],["12.4","0"]]`
#[inline(always)]
fn levels(c: &mut Cursor<'_>, to: &mut Vec<Pair>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        c.eat(b"[\"")?;
        let price = c.decimal()?;
        c.eat(b",\"")?;
        let size = c.decimal()?;
        c.eat(b"]")?;
        to.push((price, size));
        if c.eat(b",").is_none() {
            return c.eat(b"]");
        }
    }
}

/// One trade's object.
#[inline(always)]
fn trade(c: &mut Cursor<'_>) -> Option<TradeParts> {
    let mut t = TradeParts {
        id: TradeId::default(),
        price: Decimal::ZERO,
        size: Decimal::ZERO,
        side: None,
        condition: TradeCondition::Regular,
        time: Ts::ZERO,
    };
    let mut seen = Seen::default();
    c.eat(b"{")?;
    loop {
        match key(c)? {
            b"id" => {
                seen.once(0)?;
                t.id = TradeId::parse(quoted(c)?.as_bytes())?;
            }
            b"side" => {
                seen.once(1)?;
                // Any other word is the typed decoder's to judge.
                t.side = Some(if c.eat(b"\"BUY\"").is_some() {
                    Side::Buy
                } else {
                    c.eat(b"\"SELL\"")?;
                    Side::Sell
                });
            }
            b"size" => {
                seen.once(2)?;
                t.size = quoted_decimal(c)?;
            }
            b"price" => {
                seen.once(3)?;
                t.price = quoted_decimal(c)?;
            }
            b"createdAt" => {
                seen.once(4)?;
                t.time = Ts::parse_utc(quoted(c)?.as_bytes())?;
            }
            b"type" => {
                seen.once(5)?;
                let (condition, known) = condition(Some(quoted(c)?));
                t.condition = known.then_some(condition)?;
            }
            b"createdAtHeight" => {
                seen.once(6)?;
                quoted(c)?;
            }
            _ => return None,
        }
        if !more(c)? {
            break;
        }
    }
    seen.has(0b1_1111).then_some(t)
}
