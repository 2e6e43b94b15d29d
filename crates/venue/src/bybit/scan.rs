//! The fast way for the hot channels: trades, books and best prices in one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the documented keys of a message and of its rows, in any order, written without spaces, as Bybit writes
//! them; whatever else it meets (an escape, a space, a sign, an exponent, a doubled or unknown key) it declines, and the typed decoder
//! reads the frame instead (counted `fallbacks`). So every meaning is defined in one place, [`super::decode`], and
//! `tests/differential.rs` and the fuzzer hold the two equal.
//!
//! A message begins with its topic; times and type stand before or behind the data, by market.

use wholetape_model::{BookAction, Decimal, NO_INSTRUMENT, Side, Span, TradeId, Ts};

use super::decode::{NONE, Subject, Top, TradeParts, is_best};
use super::{Bybit, sequence};
use crate::json::columns::{Columns, best, levels_of};
use crate::json::cursor::Cursor;
use crate::json::scan::{Seen, any_key, flag, more, quoted, quoted_decimal};
use crate::levels;
use crate::rows::millis;
use crate::session::Out;

/// What stands beside the data.
#[derive(Default)]
struct Envelope<'a> {
    seen: Seen,
    kind: &'a str,
    ts: Ts,
    cts: Option<Ts>,
}

impl<'a> Envelope<'a> {
    /// One key but `data`.
    #[inline(always)]
    fn key(&mut self, key: &[u8], c: &mut Cursor<'a>) -> Option<()> {
        match key {
            b"type" => {
                self.seen.once(0)?;
                self.kind = quoted(c)?;
            }
            b"ts" => {
                self.seen.once(1)?;
                self.ts = millis(c.uint()?)?;
            }
            b"cts" => {
                self.seen.once(2)?;
                self.cts = Some(millis(c.uint()?)?);
            }
            _ => return None,
        }
        Some(())
    }

    fn engine(&self) -> Ts {
        self.cts.unwrap_or(self.ts)
    }
}

/// The data of a book.
struct BookData<'a> {
    symbol: &'a str,
    u: u64,
}

impl Bybit {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan_hot(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
        let mut c = Cursor { b: bytes, i: 0 };
        c.eat(b"{\"topic\":\"")?;
        let subject = Subject::of(c.plain()?);
        c.eat(b",")?;
        match subject.channel {
            "publicTrade" => self.scan_trades(c, subject.symbol, out),
            "orderbook" if is_best(subject.parameter)? => self.scan_best(c, out),
            "orderbook" => self.scan_book(c, out),
            _ => None,
        }
    }

    fn scan_trades(&mut self, mut c: Cursor<'_>, symbol: &str, out: &mut Out) -> Option<&'static str> {
        let (mut envelope, start) = (Envelope::default(), out.events.len());
        loop {
            match any_key(&mut c)? {
                b"data" => {
                    envelope.seen.once(3)?;
                    c.eat(b"[{")?;
                    loop {
                        out.events.push(trade(&mut c, symbol)?.event(NO_INSTRUMENT));
                        let w = c.word(0) & 0xFFFF;
                        if w == NEXT_ROW {
                            c.i += 2;
                            continue;
                        }
                        c.eat(b"]")?;
                        break;
                    }
                }
                key => envelope.key(key, &mut c)?,
            }
            if !more(&mut c)? {
                break;
            }
        }
        // The message's own time is of no use here, and may be missing.
        if c.i != c.b.len() || !envelope.seen.has(0b1000) {
            return None;
        }
        // Only now: a frame that is declined names nobody.
        match self.admit(symbol) {
            Some(ix) => out.events[start..].iter_mut().for_each(|event| event.instrument = ix),
            None => {
                self.reading.stats.filtered += (out.events.len() - start - 1) as u64;
                out.events.truncate(start);
            }
        }
        Some("publicTrade")
    }

    fn scan_best(&mut self, mut c: Cursor<'_>, out: &mut Out) -> Option<&'static str> {
        let (mut envelope, mut top) = (Envelope::default(), Top { bid: NONE, ask: NONE });
        let mut data = BookData { symbol: "", u: 0 };
        loop {
            match any_key(&mut c)? {
                b"data" => {
                    envelope.seen.once(3)?;
                    c.eat(b"{")?;
                    data = book_data(&mut c, |c, side| {
                        *(if side == Side::Buy { &mut top.bid } else { &mut top.ask }) = best(c)?;
                        Some(())
                    })?;
                }
                key => envelope.key(key, &mut c)?,
            }
            if !more(&mut c)? {
                break;
            }
        }
        // Changes of best prices are for the typed decoder: they were last seen in 2023.
        let whole = sequence::action(envelope.kind, data.u)? == BookAction::Snapshot;
        if c.i != c.b.len() || !envelope.seen.has(0b1011) || !whole {
            return None;
        }
        if let Some(ix) = self.admit(data.symbol) {
            self.quote(ix, top, data.u, envelope.engine(), out).ok()?;
        }
        Some("orderbook")
    }

    fn scan_book(&mut self, mut c: Cursor<'_>, out: &mut Out) -> Option<&'static str> {
        let mut envelope = Envelope::default();
        let start = out.arena.levels.len();
        let (mut asks_at, mut columns) = (start, Columns::from(start));
        let mut data = BookData { symbol: "", u: 0 };
        loop {
            match any_key(&mut c)? {
                b"data" => {
                    envelope.seen.once(3)?;
                    c.eat(b"{")?;
                    let levels = &mut out.arena.levels;
                    data = book_data(&mut c, |c, side| {
                        if side == Side::Sell {
                            asks_at = levels.len();
                        }
                        levels_of(c, &mut columns, levels)
                    })?;
                }
                key => envelope.key(key, &mut c)?,
            }
            if !more(&mut c)? {
                break;
            }
        }
        if c.i != c.b.len() || !envelope.seen.has(0b1011) {
            return None;
        }
        let action = sequence::action(envelope.kind, data.u)?;
        let Some(ix) = self.admit(data.symbol) else {
            out.arena.levels.truncate(start);
            return Some("orderbook");
        };
        let span = |from: usize, to: usize| Span { start: from as u32, len: (to - from) as u32 };
        let (bids, asks) = (span(start, asks_at), span(asks_at, out.arena.levels.len()));
        let ids = sequence::ids(data.u);
        levels::book(&mut out.events, ix, action, ids, envelope.engine(), columns.scales(), bids, asks);
        Some("orderbook")
    }
}

/// One row, its brace behind us.
#[inline(always)]
fn trade(c: &mut Cursor<'_>, symbol: &str) -> Option<TradeParts> {
    let mut seen = Seen::default();
    let mut t = TradeParts {
        id: TradeId::default(),
        price: Decimal::ZERO,
        size: Decimal::ZERO,
        aggressor: None,
        block: false,
        rpi: false,
        time: Ts::ZERO,
    };
    loop {
        match any_key(c)? {
            b"T" => {
                seen.once(0)?;
                t.time = millis(c.uint()?)?;
            }
            b"s" => {
                seen.once(1)?;
                // The topic's own: all rows are of one instrument.
                (quoted(c)? == symbol).then_some(())?;
            }
            b"S" => {
                seen.once(2)?;
                // Any other word is the typed decoder's to judge.
                t.aggressor = Some(if c.eat(b"\"Buy\"").is_some() {
                    Side::Buy
                } else {
                    c.eat(b"\"Sell\"")?;
                    Side::Sell
                });
            }
            b"v" => {
                seen.once(3)?;
                t.size = quoted_decimal(c)?;
            }
            b"p" => {
                seen.once(4)?;
                t.price = quoted_decimal(c)?;
            }
            b"i" => {
                seen.once(5)?;
                t.id = TradeId::parse(quoted(c)?.as_bytes())?;
            }
            b"BT" => {
                seen.once(6)?;
                t.block = flag(c)?;
            }
            b"RPI" => {
                seen.once(7)?;
                t.rpi = flag(c)?;
            }
            b"L" => {
                seen.once(8)?;
                quoted(c)?;
            }
            b"seq" => {
                seen.once(9)?;
                c.uint()?;
            }
            _ => return None,
        }
        if !more(c)? {
            break;
        }
    }
    seen.has(0b11_1111).then_some(t)
}

/// The rest of `{"s":…,"b":[…],"a":[…],"u":…,"seq":…}`; `side` reads the levels of one side, bids first.
#[inline(always)]
fn book_data<'a>(
    c: &mut Cursor<'a>,
    mut side: impl FnMut(&mut Cursor<'a>, Side) -> Option<()>,
) -> Option<BookData<'a>> {
    let mut seen = Seen::default();
    let mut data = BookData { symbol: "", u: 0 };
    loop {
        match any_key(c)? {
            b"s" => {
                seen.once(0)?;
                data.symbol = quoted(c)?;
            }
            b"b" => {
                seen.once(1)?;
                side(c, Side::Buy)?;
            }
            b"a" => {
                // Bids stand first in the frame, and so they do in the arena.
                seen.once(2)?;
                seen.has(0b10).then_some(())?;
                side(c, Side::Sell)?;
            }
            b"u" => {
                seen.once(3)?;
                data.u = c.uint()?;
            }
            b"seq" => {
                seen.once(4)?;
                c.uint()?;
            }
            _ => return None,
        }
        if !more(c)? {
            break;
        }
    }
    seen.has(0b1111).then_some(data)
}

const NEXT_ROW: u64 = b',' as u64 | (b'{' as u64) << 8;
