//! The fast way for the hot channels: trades, books and best prices in one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the documented keys of a row, in any order, written without spaces, as OKX writes them; whatever
//! else it meets (an escape, a space, a sign, an exponent, a doubled or unknown key, several books in one message) it declines, and the
//! typed decoder reads the frame instead (counted `fallbacks`). So every meaning is defined in one place, [`super::decode`], and
//! `tests/differential.rs` and the fuzzer hold the two equal.
//!
//! OKX prints numbers without trailing zeros, so nearly every book mixes scales: levels are brought to the largest one while they are
//! read.

use wholetape_model::{BookAction, Decimal, Kind, Level, Price, Scales, Side, Size, Span, TradeCondition, Ts};

use super::decode::{TradeParts, book_channel, millis};
use super::{Okx, sequence};
use crate::json::cursor::Cursor;
use crate::json::scan::{Seen, more, quoted, quoted_decimal};
use crate::levels::{self, QuoteParts};
use crate::session::Out;

const POW10: [i64; 19] = {
    let mut t = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// A key of any length, its colon behind us.
#[inline(always)]
fn key<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let key = quoted(c)?;
    c.eat(b":")?;
    Some(key.as_bytes())
}

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
    pub(super) fn scan(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
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
            match key(&mut c)? {
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
            match key(&mut c)? {
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
        let mut common = Common { start, price: Column::default(), size: Column::default() };
        loop {
            match key(&mut c)? {
                b"asks" => {
                    seen.once(0)?;
                    levels_of(&mut c, &mut common, &mut out.arena.levels)?;
                    bids_at = out.arena.levels.len();
                }
                b"bids" => {
                    // Asks stand first in the frame, and so they do in the arena.
                    seen.once(1)?;
                    seen.has(1).then_some(())?;
                    levels_of(&mut c, &mut common, &mut out.arena.levels)?;
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
        let scales = Scales { price: common.price.scale(), size: common.size.scale() };
        levels::book(&mut out.events, ix, action, ids, ts, scales, bids, asks);
        self.prove(seq, checksum, out);
        Some(name)
    }
}

/// `[]` or `[["8476.98","415","0","13"]]`: price and size.
#[inline(always)]
fn best(c: &mut Cursor<'_>) -> Option<[Decimal; 2]> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some([Decimal::ZERO; 2]);
    }
    let found = level(c)?;
    // A second one would be no best price.
    c.eat(b"]]")?;
    Some(found)
}

/// `["8476.98","415","0","13"`: the third column is deprecated, the fourth counts orders.
#[inline(always)]
fn level(c: &mut Cursor<'_>) -> Option<[Decimal; 2]> {
    c.eat(b"[\"")?;
    let price = c.decimal()?;
    c.eat(b",\"")?;
    let size = c.decimal()?;
    while c.eat(b",\"").is_some() {
        c.plain()?;
    }
    Some([price, size])
}

#[inline(always)]
fn levels_of(c: &mut Cursor<'_>, common: &mut Common, to: &mut Vec<Level>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        let [price, size] = level(c)?;
        common.push(price, size, to)?;
        let w = c.word(0) & 0xFFFF;
        c.i += 2;
        if w == COMMA_NEXT {
            continue;
        }
        return (w == END).then_some(());
    }
}

const COMMA_NEXT: u64 = b']' as u64 | (b',' as u64) << 8;
const END: u64 = b']' as u64 | (b']' as u64) << 8;

/// One column's scale so far: the largest of the numbers that are not zero; of all while every one is.
#[derive(Default)]
struct Column {
    real: Option<u8>,
    any: u8,
}

impl Column {
    #[inline(always)]
    fn scale(&self) -> u8 {
        self.real.unwrap_or(self.any)
    }

    /// The mantissa at the column's scale, and by what those before must grow first. `None` where 64 bits do not hold it.
    #[inline(always)]
    fn take(&mut self, d: Decimal) -> Option<(i64, u8)> {
        if d.raw == 0 {
            self.any = self.any.max(d.scale);
            return Some((0, 0));
        }
        let scale = *self.real.get_or_insert(d.scale);
        if d.scale <= scale {
            return Some((d.raw.checked_mul(POW10[usize::from(scale - d.scale) % 19])?, 0));
        }
        self.real = Some(d.scale);
        Some((d.raw, d.scale - scale))
    }
}

/// The scales of a book's levels, which begin at `start` of the arena.
struct Common {
    start: usize,
    price: Column,
    size: Column,
}

impl Common {
    #[inline(always)]
    fn push(&mut self, price: Decimal, size: Decimal, to: &mut Vec<Level>) -> Option<()> {
        let (price, prices_grow) = self.price.take(price)?;
        let (size, sizes_grow) = self.size.take(size)?;
        if prices_grow | sizes_grow != 0 {
            grow(&mut to[self.start..], prices_grow, sizes_grow)?;
        }
        to.push(Level { price: Price(price), size: Size(size) });
        Some(())
    }
}

/// A finer scale came: at most once per place, so a book costs few of these.
#[inline(never)]
fn grow(levels: &mut [Level], prices: u8, sizes: u8) -> Option<()> {
    let (price, size) = (POW10.get(usize::from(prices))?, POW10.get(usize::from(sizes))?);
    for level in levels {
        level.price.0 = level.price.0.checked_mul(*price)?;
        level.size.0 = level.size.0.checked_mul(*size)?;
    }
    Some(())
}
