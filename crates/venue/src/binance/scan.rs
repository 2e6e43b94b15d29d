//! The fast way for the four hot channels: one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the documented keys of each channel, in any order, written without spaces, as
//! Binance writes them; whatever else it meets – an escape, a space, a sign, an exponent, a doubled or unknown key, a
//! second scale – it declines, and the typed decoder reads the frame instead (counted `fallbacks`). So every meaning is
//! defined in one place, [`super::decode`], and `tests/differential.rs` and the fuzzer hold the two equal.
//!
//! Order-free because key order differs between recordings (`bookTicker` begins `e,u,s` on USD-M and `u,e,s` on COIN-M)
//! and new optional keys (`nq`, `st`, `ps`) come at places that the documents do not promise.

use wholetape_model::{BookAction, Decimal, Kind, Level, Price, Scales, Size, Span, TradeCondition};

use super::Binance;
use super::digits::Cursor;
use super::emit::{self, QuoteParts, TradeParts, venue_time};
use super::sequence::Ids;
use crate::session::Out;

#[derive(Clone, Copy)]
enum Hot {
    Trade,
    AggTrade,
    BookTicker,
    Depth,
}

const QUOTE: u64 = b'"' as u64;
const COLON: u64 = b':' as u64;

/// A key of one or two characters, as a number to match on.
#[inline(always)]
fn key(c: &mut Cursor<'_>) -> Option<u16> {
    let w = c.word(0);
    // "k":
    if w & 0xFFFF_00FF == QUOTE | QUOTE << 16 | COLON << 24 {
        c.i += 4;
        return Some((w >> 8 & 0xFF) as u16);
    }
    // "kk":
    if w & 0xFF_FF00_00FF == QUOTE | QUOTE << 24 | COLON << 32 {
        c.i += 5;
        return Some((w >> 8 & 0xFFFF) as u16);
    }
    None
}

/// `"kk"` as [`key`] gives it.
const fn two(text: [u8; 2]) -> u16 {
    u16::from_le_bytes(text)
}

const PS: u16 = two(*b"ps");
const PU: u16 = two(*b"pu");
const ST: u16 = two(*b"st");
const NQ: u16 = two(*b"nq");

/// Behind a value: `true` when another key follows.
#[inline(always)]
fn more(c: &mut Cursor<'_>) -> Option<bool> {
    let b = c.byte();
    c.i += 1;
    match b {
        b',' => Some(true),
        b'}' => Some(false),
        _ => None,
    }
}

#[inline(always)]
fn quoted_decimal(c: &mut Cursor<'_>) -> Option<Decimal> {
    c.eat(b"\"")?;
    c.decimal()
}

#[inline(always)]
fn quoted<'a>(c: &mut Cursor<'a>) -> Option<&'a str> {
    c.eat(b"\"")?;
    c.plain()
}

#[inline(always)]
fn time(c: &mut Cursor<'_>) -> Option<i64> {
    i64::try_from(c.uint()?).ok()
}

#[inline(always)]
fn flag(c: &mut Cursor<'_>) -> Option<bool> {
    if c.eat(b"true").is_some() { Some(true) } else { c.eat(b"false").map(|()| false) }
}

/// Which keys were met; a second meeting declines.
#[derive(Clone, Copy, Default)]
struct Seen(u32);

impl Seen {
    #[inline(always)]
    fn once(&mut self, bit: u32) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << bit;
        (before != self.0).then_some(())
    }

    #[inline(always)]
    const fn has(self, needed: u32) -> bool {
        self.0 & needed == needed
    }
}

impl Binance {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
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
            time: None,
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
                    q.time = Some(time(&mut c)?);
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
            emit::quote(&mut out.events, ix, &q).ok()?;
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
        let ids = Ids::delta(self.variant, first, last, prev).ok()?;
        let Some(ix) = self.admit(symbol, st) else {
            out.arena.levels.truncate(start);
            return Some("depth");
        };
        let (price, size) = scales.0.unwrap_or((0, 0));
        let bids = Span { start: start as u32, len: (asks_at - start) as u32 };
        let asks = Span { start: asks_at as u32, len: (out.arena.levels.len() - asks_at) as u32 };
        let ts = venue_time(engine_time.unwrap_or(event_time));
        emit::book(&mut out.events, ix, BookAction::Delta, ids, ts, Scales { price, size }, bids, asks);
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

/// The scales of the first level, which all others must have.
struct Expect(Option<(u8, u8)>);

/// `[["61733.10","0.072"],…]`
#[inline(always)]
fn levels(c: &mut Cursor<'_>, scales: &mut Expect, to: &mut Vec<Level>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        c.eat(b"[\"")?;
        let price = c.decimal()?;
        c.eat(b",\"")?;
        let size = c.decimal()?;
        let expected = *scales.0.get_or_insert((price.scale, size.scale));
        // A deletion may print fewer places: zero has no scale of its own.
        if price.scale != expected.0 || (size.scale != expected.1 && (size.raw != 0 || size.scale > expected.1)) {
            return None;
        }
        to.push(Level { price: Price(price.raw), size: Size(size.raw) });
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
