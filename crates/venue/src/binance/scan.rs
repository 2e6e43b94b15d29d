//! The fast way for the four hot channels: one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the documented keys of each channel, in any order, written without spaces, as
//! Binance writes them; whatever else it meets – an escape, a space, a sign, an exponent, a doubled or unknown key, a
//! second scale – it declines, and the typed decoder reads the frame instead (counted `fallbacks`). So every meaning is
//! defined in one place, [`super::decode`], and `tests/differential.rs` and the fuzzer hold the two equal.
//!
//! Order-free because key order differs between recordings (`bookTicker` begins `e,u,s` on USD-M and `u,e,s` on COIN-M)
//! and new optional keys (`nq`, `st`, `ps`) come at places that the documents do not promise.

use wholetape_model::{BookAction, Decimal, Kind, Scales, Span, TradeCondition, Ts};

use super::Binance;
use super::emit::{self, TradeParts, venue_time};
use super::sequence;
use crate::json::cursor::Cursor;
use crate::json::scan::{Expect, Seen, flag, key, levels, more, quoted, quoted_decimal, time, two};
use crate::levels::{self, QuoteParts};
use crate::session::Out;

#[derive(Clone, Copy)]
enum Hot {
    Trade,
    AggTrade,
    BookTicker,
    Depth,
}

const PS: u16 = two(*b"ps");
const PU: u16 = two(*b"pu");
const ST: u16 = two(*b"st");
const NQ: u16 = two(*b"nq");

impl Binance {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan_hot(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
        let mut c = Cursor { b: bytes, i: 0 };
        let (hot, wrapped) = if c.eat(b"{\"stream\":\"").is_some() {
            let hot = by_stream(c.plain()?)?;
            c.eat(b",\"data\":{")?;
            (hot, true)
        } else {
            c.eat(b"{")?;
            (by_event(&c)?, false)
        };
        match hot {
            Hot::Trade => self.scan_trade(c, wrapped, out),
            Hot::AggTrade => self.scan_agg_trade(c, wrapped, out),
            Hot::BookTicker => self.scan_book_ticker(c, wrapped, out),
            Hot::Depth => self.scan_depth(c, wrapped, out),
        }
    }

    fn scan_trade(&mut self, mut c: Cursor<'_>, wrapped: bool, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut st) = (Seen::default(), "", None);
        let mut t = TradeParts::new(Kind::TradeRaw);
        loop {
            match key(&mut c)? {
                E => {
                    seen.once(0)?;
                    c.eat(b"\"trade\"")?;
                }
                EVENT_TIME => {
                    seen.once(1)?;
                    c.uint()?;
                }
                SYMBOL => {
                    seen.once(2)?;
                    symbol = quoted(&mut c)?;
                }
                0x74 => {
                    seen.once(3)?;
                    t.id = c.uint()?;
                }
                PRICE => {
                    seen.once(4)?;
                    t.price = quoted_decimal(&mut c)?;
                }
                SIZE => {
                    seen.once(5)?;
                    t.size = quoted_decimal(&mut c)?;
                }
                TIME => {
                    seen.once(6)?;
                    t.time = time(&mut c)?;
                }
                MAKER => {
                    seen.once(7)?;
                    t.buyer_is_maker = flag(&mut c)?;
                }
                IGNORE => {
                    seen.once(8)?;
                    flag(&mut c)?;
                }
                CONDITION => {
                    seen.once(9)?;
                    // Any other word is the typed decoder's to judge.
                    c.eat(b"\"MARKET\"")?;
                }
                // Order ids of buyer and seller, gone from spot since 2023.
                BIDS => {
                    seen.once(10)?;
                    c.uint()?;
                }
                ASKS => {
                    seen.once(11)?;
                    c.uint()?;
                }
                ST => {
                    seen.once(12)?;
                    st = Some(time(&mut c)?);
                }
                PS => {
                    seen.once(13)?;
                    quoted(&mut c)?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        end(c, wrapped)?;
        if !seen.has(0b1111_1101) {
            return None;
        }
        (t.first_id, t.last_id) = (t.id, t.id);
        if let Some(ix) = self.admit(symbol, st) {
            emit::trade(&mut out.events, ix, &t);
        }
        Some("trade")
    }

    fn scan_agg_trade(&mut self, mut c: Cursor<'_>, wrapped: bool, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut st) = (Seen::default(), "", None);
        let mut t = TradeParts::new(Kind::Trade);
        loop {
            match key(&mut c)? {
                E => {
                    seen.once(0)?;
                    c.eat(b"\"aggTrade\"")?;
                }
                EVENT_TIME => {
                    seen.once(1)?;
                    c.uint()?;
                }
                SYMBOL => {
                    seen.once(2)?;
                    symbol = quoted(&mut c)?;
                }
                ASKS => {
                    seen.once(3)?;
                    t.id = c.uint()?;
                }
                PRICE => {
                    seen.once(4)?;
                    t.price = quoted_decimal(&mut c)?;
                }
                SIZE => {
                    seen.once(5)?;
                    t.size = quoted_decimal(&mut c)?;
                }
                TIME => {
                    seen.once(6)?;
                    t.time = time(&mut c)?;
                }
                MAKER => {
                    seen.once(7)?;
                    t.buyer_is_maker = flag(&mut c)?;
                }
                0x66 => {
                    seen.once(8)?;
                    t.first_id = c.uint()?;
                }
                0x6C => {
                    seen.once(9)?;
                    t.last_id = c.uint()?;
                }
                IGNORE => {
                    seen.once(10)?;
                    flag(&mut c)?;
                }
                NQ => {
                    seen.once(11)?;
                    quoted(&mut c)?;
                }
                ST => {
                    seen.once(12)?;
                    st = Some(time(&mut c)?);
                }
                PS => {
                    seen.once(13)?;
                    quoted(&mut c)?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        end(c, wrapped)?;
        if !seen.has(0b11_1111_1101) {
            return None;
        }
        if let Some(ix) = self.admit(symbol, st) {
            emit::trade(&mut out.events, ix, &t);
        }
        Some("aggTrade")
    }

    fn scan_book_ticker(&mut self, mut c: Cursor<'_>, wrapped: bool, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut st) = (Seen::default(), "", None);
        let mut q = QuoteParts {
            bid: Decimal::ZERO,
            bid_size: Decimal::ZERO,
            ask: Decimal::ZERO,
            ask_size: Decimal::ZERO,
            update_id: 0,
            ts_event: Ts::ZERO,
        };
        loop {
            match key(&mut c)? {
                E => {
                    seen.once(0)?;
                    c.eat(b"\"bookTicker\"")?;
                }
                LAST => {
                    seen.once(1)?;
                    q.update_id = c.uint()?;
                }
                SYMBOL => {
                    seen.once(2)?;
                    symbol = quoted(&mut c)?;
                }
                BIDS => {
                    seen.once(3)?;
                    q.bid = quoted_decimal(&mut c)?;
                }
                0x42 => {
                    seen.once(4)?;
                    q.bid_size = quoted_decimal(&mut c)?;
                }
                ASKS => {
                    seen.once(5)?;
                    q.ask = quoted_decimal(&mut c)?;
                }
                0x41 => {
                    seen.once(6)?;
                    q.ask_size = quoted_decimal(&mut c)?;
                }
                TIME => {
                    seen.once(7)?;
                    q.ts_event = venue_time(time(&mut c)?);
                }
                EVENT_TIME => {
                    seen.once(8)?;
                    c.uint()?;
                }
                ST => {
                    seen.once(12)?;
                    st = Some(time(&mut c)?);
                }
                PS => {
                    seen.once(13)?;
                    quoted(&mut c)?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        end(c, wrapped)?;
        if !seen.has(0b111_1110) {
            return None;
        }
        // Two scales are rare enough to leave them to the typed decoder.
        if q.bid.scale != q.ask.scale || q.bid_size.scale != q.ask_size.scale {
            return None;
        }
        if let Some(ix) = self.admit(symbol, st) {
            levels::quote(&mut out.events, ix, &q).ok()?;
        }
        Some("bookTicker")
    }

    fn scan_depth(&mut self, mut c: Cursor<'_>, wrapped: bool, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut st) = (Seen::default(), "", None);
        let (mut first, mut last, mut prev) = (0, 0, None);
        let (mut event_time, mut engine_time) = (0, None);
        let start = out.arena.levels.len();
        let mut asks_at = start;
        let mut scales = Expect(None);
        loop {
            match key(&mut c)? {
                E => {
                    seen.once(0)?;
                    c.eat(b"\"depthUpdate\"")?;
                }
                EVENT_TIME => {
                    seen.once(1)?;
                    event_time = time(&mut c)?;
                }
                SYMBOL => {
                    seen.once(2)?;
                    symbol = quoted(&mut c)?;
                }
                0x55 => {
                    seen.once(3)?;
                    first = c.uint()?;
                }
                LAST => {
                    seen.once(4)?;
                    last = c.uint()?;
                }
                BIDS => {
                    seen.once(5)?;
                    // Asks come behind bids in the arena.
                    if seen.has(1 << 6) {
                        return None;
                    }
                    levels(&mut c, &mut scales, &mut out.arena.levels)?;
                    asks_at = out.arena.levels.len();
                }
                ASKS => {
                    seen.once(6)?;
                    levels(&mut c, &mut scales, &mut out.arena.levels)?;
                }
                TIME => {
                    seen.once(7)?;
                    engine_time = Some(time(&mut c)?);
                }
                PU => {
                    seen.once(8)?;
                    prev = Some(time(&mut c)?);
                }
                ST => {
                    seen.once(12)?;
                    st = Some(time(&mut c)?);
                }
                PS => {
                    seen.once(13)?;
                    quoted(&mut c)?;
                }
                _ => return None,
            }
            if !more(&mut c)? {
                break;
            }
        }
        end(c, wrapped)?;
        if !seen.has(0b111_1111) {
            return None;
        }
        let ids = sequence::ids(self.variant, first, last, prev).ok()?;
        let Some(ix) = self.admit(symbol, st) else {
            out.arena.levels.truncate(start);
            return Some("depth");
        };
        let (price, size) = scales.0.unwrap_or((0, 0));
        let bids = Span { start: start as u32, len: (asks_at - start) as u32 };
        let asks = Span { start: asks_at as u32, len: (out.arena.levels.len() - asks_at) as u32 };
        let ts = venue_time(engine_time.unwrap_or(event_time));
        levels::book(&mut out.events, ix, BookAction::Delta, ids, ts, Scales { price, size }, bids, asks);
        Some("depth")
    }
}

const E: u16 = b'e' as u16;
const EVENT_TIME: u16 = b'E' as u16;
const SYMBOL: u16 = b's' as u16;
const PRICE: u16 = b'p' as u16;
const SIZE: u16 = b'q' as u16;
const TIME: u16 = b'T' as u16;
const MAKER: u16 = b'm' as u16;
const IGNORE: u16 = b'M' as u16;
const CONDITION: u16 = b'X' as u16;
const BIDS: u16 = b'b' as u16;
const ASKS: u16 = b'a' as u16;
const LAST: u16 = b'u' as u16;

impl TradeParts {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            id: 0,
            first_id: 0,
            last_id: 0,
            price: Decimal::ZERO,
            size: Decimal::ZERO,
            time: 0,
            buyer_is_maker: false,
            condition: TradeCondition::Regular,
        }
    }
}

/// Nothing but the wrapper's brace may follow.
#[inline(always)]
fn end(mut c: Cursor<'_>, wrapped: bool) -> Option<()> {
    if wrapped {
        c.eat(b"}")?;
    }
    (c.i == c.b.len()).then_some(())
}

#[inline(always)]
fn by_stream(name: &str) -> Option<Hot> {
    let name = name.as_bytes();
    if name.ends_with(b"@trade") {
        Some(Hot::Trade)
    } else if name.ends_with(b"@bookTicker") {
        Some(Hot::BookTicker)
    } else if name.ends_with(b"@aggTrade") {
        Some(Hot::AggTrade)
    } else {
        // `depth` with or without a speed; `depth20` and `rpiDepth` are other things.
        let at = name.iter().position(|b| *b == b'@')?;
        let rest = name.get(at + 1..)?.strip_prefix(b"depth")?;
        (rest.is_empty() || rest[0] == b'@').then_some(Hot::Depth)
    }
}

/// An unwrapped payload is known by its first key.
#[inline(always)]
fn by_event(c: &Cursor<'_>) -> Option<Hot> {
    let rest = c.b.get(c.i..)?;
    if rest.starts_with(b"\"u\":") {
        return Some(Hot::BookTicker);
    }
    let rest = rest.strip_prefix(b"\"e\":\"")?;
    if rest.starts_with(b"trade\"") {
        Some(Hot::Trade)
    } else if rest.starts_with(b"aggTrade\"") {
        Some(Hot::AggTrade)
    } else if rest.starts_with(b"bookTicker\"") {
        Some(Hot::BookTicker)
    } else if rest.starts_with(b"depthUpdate\"") {
        Some(Hot::Depth)
    } else {
        None
    }
}
