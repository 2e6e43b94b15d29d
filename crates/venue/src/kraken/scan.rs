//! The fast way for the hot channels: trades, books and best prices of v2 in one pass over the bytes, straight into the event.
//!
//! The scanner is no parser. It knows the head of a message in the order in which the venue writes it and the keys of a row in any order,
//! written without spaces; whatever else it meets (an escape, a space, an exponent, a doubled or unknown key, several books in one message)
//! it declines, and the typed decoder reads the frame instead (counted `fallbacks`). So every meaning is defined in one place,
//! [`super::decode`], and `tests/differential.rs` and the fuzzer hold the two equal.

use wholetape_model::{BookAction, Decimal, NO_INSTRUMENT, Side, Span, Ts};

use super::decode::{TradeParts, prove};
use super::state::{Statistics, TickerParts, opened};
use super::{Kraken, sequence};
use crate::json::columns::{Columns, objects_of};
use crate::json::cursor::Cursor;
use crate::json::scan::{Seen, any_key, more, quoted};
use crate::levels::{self, QuoteParts};
use crate::session::Out;

/// Rows follow each other: `},{`, of which the first is behind us.
const NEXT_ROW: &[u8] = b",{";

#[inline(always)]
fn time(c: &mut Cursor<'_>) -> Option<Ts> {
    Ts::parse_utc(quoted(c)?.as_bytes())
}

/// A number that may be negative.
#[inline(always)]
fn signed(c: &mut Cursor<'_>) -> Option<Decimal> {
    let negative = c.eat(b"-").is_some();
    let d = c.bare()?;
    Some(if negative { Decimal { raw: -d.raw, ..d } } else { d })
}

/// One row of trades, its brace behind us, and whose it is.
#[inline(always)]
fn trade<'a>(c: &mut Cursor<'a>) -> Option<(&'a str, TradeParts)> {
    let (mut seen, mut symbol, mut id) = (Seen::default(), "", 0_u64);
    let (mut price, mut size, mut aggressor, mut at) = (Decimal::ZERO, Decimal::ZERO, None, Ts::ZERO);
    loop {
        match any_key(c)? {
            b"symbol" => {
                seen.once(0)?;
                symbol = quoted(c)?;
            }
            b"side" => {
                seen.once(1)?;
                // Any other word is the typed decoder's to judge.
                aggressor = Some(if c.eat(b"\"buy\"").is_some() {
                    Side::Buy
                } else {
                    c.eat(b"\"sell\"")?;
                    Side::Sell
                });
            }
            b"price" => {
                seen.once(2)?;
                price = c.bare()?;
            }
            b"qty" => {
                seen.once(3)?;
                size = c.bare()?;
            }
            b"trade_id" => {
                seen.once(4)?;
                id = c.uint()?;
            }
            b"timestamp" => {
                seen.once(5)?;
                at = time(c)?;
            }
            b"ord_type" => {
                seen.once(6)?;
                quoted(c)?;
            }
            _ => return None,
        }
        if !more(c)? {
            break;
        }
    }
    seen.has(0b11_1111).then_some((symbol, TradeParts { id: id.into(), price, size, aggressor, time: at }))
}

impl Kraken {
    /// Reads one frame and returns its channel's name, or declines; on declining, `out` may hold remains that the caller
    /// takes back.
    #[inline]
    pub(super) fn scan_hot(&mut self, bytes: &[u8], out: &mut Out) -> Option<&'static str> {
        let mut c = Cursor { b: bytes, i: 0 };
        c.eat(b"{\"channel\":\"")?;
        let channel = c.plain()?;
        c.eat(b",\"type\":\"")?;
        let snapshot = match c.plain()? {
            "update" => false,
            "snapshot" => true,
            _ => return None,
        };
        c.eat(b",\"data\":[{")?;
        match channel {
            "trade" => self.scan_trades(c, out),
            "book" => self.scan_book(c, snapshot, out),
            "ticker" => self.scan_ticker(c, out),
            _ => None,
        }
    }

    fn scan_trades(&mut self, mut c: Cursor<'_>, out: &mut Out) -> Option<&'static str> {
        let (start, mut symbol) = (out.events.len(), None);
        loop {
            let (of, parts) = trade(&mut c)?;
            // A message is of one symbol, so far as was seen.
            if *symbol.get_or_insert(of) != of {
                return None;
            }
            out.events.push(parts.event(NO_INSTRUMENT));
            if c.eat(NEXT_ROW).is_none() {
                break;
            }
        }
        c.eat(b"]}")?;
        if c.i != c.b.len() {
            return None;
        }
        // Only now: a frame that is declined names nobody.
        match self.admit(symbol?) {
            Some(ix) => out.events[start..].iter_mut().for_each(|event| event.instrument = ix),
            None => {
                self.reading.stats.filtered += (out.events.len() - start - 1) as u64;
                out.events.truncate(start);
            }
        }
        Some("trade")
    }

    fn scan_book(&mut self, mut c: Cursor<'_>, snapshot: bool, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut ts, mut checksum) = (Seen::default(), "", Ts::ZERO, None);
        let start = out.arena.levels.len();
        let mut columns = Columns::from(start);
        let (mut asks_at, mut end) = (start, start);
        loop {
            match any_key(&mut c)? {
                b"symbol" => {
                    seen.once(0)?;
                    symbol = quoted(&mut c)?;
                }
                b"bids" => {
                    // Bids stand first in the frame, and so they do in the arena.
                    seen.once(1)?;
                    (!seen.has(0b100)).then_some(())?;
                    objects_of(&mut c, &mut columns, &mut out.arena.levels)?;
                    (asks_at, end) = (out.arena.levels.len(), out.arena.levels.len());
                }
                b"asks" => {
                    seen.once(2)?;
                    objects_of(&mut c, &mut columns, &mut out.arena.levels)?;
                    end = out.arena.levels.len();
                }
                b"checksum" => {
                    seen.once(3)?;
                    checksum = Some(u32::try_from(c.uint()?).ok()?);
                }
                b"timestamp" => {
                    seen.once(4)?;
                    ts = time(&mut c)?;
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
        let Some(ix) = self.admit(symbol) else {
            out.arena.levels.truncate(start);
            return Some("book");
        };
        let span = |from: usize, to: usize| Span { start: from as u32, len: (to - from) as u32 };
        let (bids, asks) = (span(start, asks_at), span(asks_at, end));
        if snapshot {
            self.begins(ix, bids.len as usize, asks.len as usize);
        }
        let action = if snapshot { BookAction::Snapshot } else { BookAction::Delta };
        levels::book(&mut out.events, ix, action, sequence::NO_IDS, ts, columns.scales(), bids, asks);
        prove(checksum, out);
        Some("book")
    }

    fn scan_ticker(&mut self, mut c: Cursor<'_>, out: &mut Out) -> Option<&'static str> {
        let (mut seen, mut symbol, mut ts) = (Seen::default(), "", Ts::ZERO);
        let mut figures = [Decimal::ZERO; 9];
        loop {
            let place = match any_key(&mut c)? {
                b"symbol" => {
                    seen.once(9)?;
                    symbol = quoted(&mut c)?;
                    None
                }
                b"timestamp" => {
                    seen.once(10)?;
                    ts = time(&mut c)?;
                    None
                }
                b"vwap" => {
                    seen.once(11)?;
                    c.bare()?;
                    None
                }
                b"change_pct" => {
                    seen.once(12)?;
                    signed(&mut c)?;
                    None
                }
                b"bid" => Some(0),
                b"bid_qty" => Some(1),
                b"ask" => Some(2),
                b"ask_qty" => Some(3),
                b"last" => Some(4),
                b"high" => Some(5),
                b"low" => Some(6),
                b"volume" => Some(7),
                b"change" => Some(8),
                _ => return None,
            };
            if let Some(place) = place {
                seen.once(place)?;
                figures[place as usize] = signed(&mut c)?;
            }
            if !more(&mut c)? {
                break;
            }
        }
        c.eat(b"]}")?;
        // Whatever lacks a part is the typed decoder's.
        if c.i != c.b.len() || !seen.has(0b10_1111_1111 | 0b1000_0000_0000) {
            return None;
        }
        let [bid, bid_size, ask, ask_size, last, high, low, volume, change] = figures;
        let open = opened(last, Some(change)).ok()?;
        let parts = TickerParts {
            quote: QuoteParts { bid, bid_size, ask, ask_size, update_id: 0, ts_event: ts },
            statistics: Some(Statistics { last, open, high, low, volume, change, trades: 0 }),
        };
        if let Some(ix) = self.admit(symbol) {
            self.tell_ticker(ix, &parts, out).ok()?;
        }
        Some("ticker")
    }
}
