//! What the first version of the protocol sent, as recordings hold it: data as lists, `[channelID, payload…, "book-1000", "XBT/USD"]`, everything
//! else as objects with an `event`. <https://docs.kraken.com/api/docs/guides/spot-ws-v1/> (read 2026-11-20), a recording of 2021-04. Nothing of it
//! is asked for.
//!
//! Trades had no ids. Each gets a name that is made of what it says (a UUID of version 8), so that another connection's copy has the same;
//! of trades that look alike the second one's name says that it is the second. Such names count nothing.

use wholetape_model::{Decimal, DecimalError, TradeId, Ts};

use super::Kraken;
use super::decode::{TradeParts, number, side};
use super::frame::{Columns, Head, OldBook, OldTicker};
use super::limits::DEPTHS;
use super::sequence;
use super::state::{self, Statistics, TickerParts, given};
use crate::error::ProtocolError;
use crate::json::text::{Piece, Printed, Text};
use crate::levels::{self, QuoteParts};
use crate::rows::{difference, each};
use crate::session::{Action, Note, Out};
use crate::shape::bytes_hash;
use crate::twins::named;

/// Names that live for ever, by the depth.
const BOOKS: [&str; DEPTHS.len()] = ["book-10", "book-25", "book-100", "book-500", "book-1000"];

/// Seconds with a fraction, as text or number.
pub(super) fn seconds(channel: &'static str, field: &'static str, text: &Printed<'_>) -> Result<Ts, ProtocolError> {
    let wrong = |source| ProtocolError::Number { channel, field, source };
    let ns = number(channel, field, text)?.rescale(9).map_err(wrong)?;
    if ns.raw < 0 { Err(wrong(DecimalError::Overflow)) } else { Ok(Ts(ns.raw)) }
}

impl Kraken {
    /// A list: data of a channel.
    pub(super) fn old_data(&mut self, frame: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let mut parts = Vec::new();
        each("unknown", frame, |part| {
            parts.push((part.text.to_owned(), part.at));
            Ok(())
        })?;
        let [_, payload @ .., (channel, _), (symbol, _)] = &parts[..] else { return self.not_ours("", frame, out) };
        let (Ok(channel), Ok(symbol)) =
            (sonic_rs::from_str::<Text<'_>>(channel), sonic_rs::from_str::<Text<'_>>(symbol))
        else {
            return self.not_ours("", frame, out);
        };
        let (channel, symbol) = (channel.as_str(), symbol.as_str());
        let (kind, parameter) = channel.split_once('-').unwrap_or((channel, ""));
        let book = BOOKS.iter().position(|name| *name == channel);
        let payload: Vec<Piece<'_>> = payload.iter().map(|(text, at)| Piece { text, at: *at }).collect();
        let name = match (kind, &payload[..]) {
            ("book", parts) if book.is_some() && !parts.is_empty() => {
                self.old_book(book.unwrap_or_default(), symbol, parts, out)?
            }
            ("trade", [rows]) => self.old_trades(symbol, *rows, frame, out)?,
            ("ticker", [row]) => self.old_ticker(symbol, *row, out)?,
            ("spread", [row]) => self.old_spread(symbol, *row, out)?,
            ("ohlc", [row]) => match parameter.parse() {
                Ok(minutes) => self.old_candle(minutes, symbol, *row, out)?,
                Err(_) => return self.not_ours(channel, frame, out),
            },
            _ => return self.not_ours(channel, frame, out),
        };
        self.unnumbered = true;
        self.reading.stats.count(name);
        Ok(())
    }

    /// A snapshot, or changes of one side or both. Some changes are marked `r`, published again: they are changes like others.
    fn old_book(
        &mut self,
        depth: usize,
        symbol: &str,
        parts: &[Piece<'_>],
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        let name = BOOKS[depth];
        let (mut bids, mut asks, mut ts) = (Vec::new(), Vec::new(), Ts::ZERO);
        let (mut snapshot, mut checksum) = (false, None);
        let mut read = |level: &Columns<'_>, to: &mut Vec<(Decimal, Decimal)>| -> Result<(), ProtocolError> {
            let [price, size, rest @ ..] = level.all() else {
                return Err(ProtocolError::Malformed { channel: name, at: 0, why: "a level without size" });
            };
            to.push((number(name, "price", price)?, number(name, "size", size)?));
            if let Some(time) = rest.first() {
                ts = ts.max(seconds(name, "time", time)?);
            }
            Ok(())
        };
        for part in parts {
            let book: OldBook<'_> = part.parse(name)?;
            snapshot |= book.all_bids.is_some() || book.all_asks.is_some();
            for level in book.all_bids.iter().chain(&book.b).flatten() {
                read(level, &mut bids)?;
            }
            for level in book.all_asks.iter().chain(&book.a).flatten() {
                read(level, &mut asks)?;
            }
            if let Some(printed) = &book.c {
                let malformed = |why| ProtocolError::Malformed { channel: name, at: part.at, why };
                checksum = Some(sequence::checksum(printed).map_err(malformed)?);
            }
        }
        self.scratch.clear();
        self.scratch.extend(bids.iter().chain(&asks));
        let Some(ix) = self.admit(symbol) else { return Ok(name) };
        self.set_depth(ix, DEPTHS[depth]);
        self.tell_book(name, ix, snapshot, bids.len(), ts, checksum, out)?;
        Ok(name)
    }

    /// `[price, size, time, "b" or "s", "l" or "m", ""]`
    fn old_trades(
        &mut self,
        symbol: &str,
        rows: Piece<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "trade";
        let mut strange = false;
        let mut read = Vec::new();
        each(CH, rows, |one| {
            let row: Columns<'_> = one.parse(CH)?;
            let [price, size, time, word, ..] = row.all() else {
                return Err(ProtocolError::Malformed {
                    channel: CH,
                    at: one.at,
                    why: "a trade of less than four columns",
                });
            };
            let aggressor = side(word.0.as_str());
            strange |= aggressor.is_none();
            let (price, size) = (number(CH, "price", price)?, number(CH, "size", size)?);
            let time = seconds(CH, "time", time)?;
            read.push((one.text.to_owned(), TradeParts { id: TradeId::default(), price, size, aggressor, time }));
            Ok(())
        })?;
        for (text, parts) in read {
            let Some(ix) = self.admit(symbol) else { continue };
            let n = self.twins.before(parts.time, bytes_hash(format!("{symbol}{text}").as_bytes()));
            out.events.push(TradeParts { id: named(&text, n), ..parts }.event(ix));
        }
        if strange {
            self.reading.unknown("trade side", frame.text, out);
        }
        Ok(CH)
    }

    /// Of pairs of figures the second is of 24 hours, the first of today.
    fn old_ticker(&mut self, symbol: &str, row: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "ticker";
        let printed: OldTicker<'_> = row.parse(CH)?;
        let malformed = || ProtocolError::Malformed { channel: CH, at: row.at, why: "a list of figures is too short" };
        let inexact = |source| ProtocolError::Number { channel: CH, field: "change", source };
        let at = |columns: &Columns<'_>, n: usize, field: &'static str| {
            number(CH, field, columns.all().get(n).ok_or_else(malformed)?)
        };
        let (last, open) = (at(&printed.c, 0, "c")?, at(&printed.o, 1, "o")?);
        let statistics = Statistics {
            last,
            open,
            high: at(&printed.h, 1, "h")?,
            low: at(&printed.l, 1, "l")?,
            volume: at(&printed.v, 1, "v")?,
            change: difference(last, open).map_err(inexact)?,
            trades: printed.t.all().get(1).and_then(|t| t.0.as_str().parse().ok()).ok_or_else(malformed)?,
        };
        let quote = QuoteParts {
            bid: at(&printed.b, 0, "b")?,
            bid_size: at(&printed.b, 2, "b")?,
            ask: at(&printed.a, 0, "a")?,
            ask_size: at(&printed.a, 2, "a")?,
            update_id: 0,
            ts_event: Ts::ZERO,
        };
        if let Some(ix) = self.admit(symbol) {
            self.tell_ticker(ix, &TickerParts { quote, statistics: Some(statistics) }, out).map_err(inexact)?;
        }
        Ok(CH)
    }

    /// `[bid, ask, time, bid size, ask size]`
    fn old_spread(&mut self, symbol: &str, row: Piece<'_>, out: &mut Out) -> Result<&'static str, ProtocolError> {
        const CH: &str = "spread";
        let columns: Columns<'_> = row.parse(CH)?;
        let [bid, ask, time, rest @ ..] = columns.all() else {
            return Err(ProtocolError::Malformed { channel: CH, at: row.at, why: "less than three columns" });
        };
        let size = |n: usize| rest.get(n).map_or(Ok(Decimal::ZERO), |size| number(CH, "size", size));
        let parts = QuoteParts {
            bid: number(CH, "bid", bid)?,
            bid_size: size(0)?,
            ask: number(CH, "ask", ask)?,
            ask_size: size(1)?,
            update_id: 0,
            ts_event: seconds(CH, "time", time)?,
        };
        if let Some(ix) = self.admit(symbol)
            && self.wants.quotes
        {
            levels::quote(&mut out.events, ix, &parts).map_err(|source| ProtocolError::Number {
                channel: CH,
                field: "scale",
                source,
            })?;
        }
        Ok(CH)
    }

    /// `[time, end, open, high, low, close, vwap, volume, count]`
    fn old_candle(
        &mut self,
        minutes: u32,
        symbol: &str,
        row: Piece<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "ohlc";
        let malformed = |why| ProtocolError::Malformed { channel: CH, at: row.at, why };
        let columns: Columns<'_> = row.parse(CH)?;
        let [time, end, open, high, low, close, _, volume, count, ..] = columns.all() else {
            return Err(malformed("a bar of less than nine columns"));
        };
        let end = seconds(CH, "etime", end)?;
        let open_ts = end.0.checked_sub(i64::from(minutes) * 60_000_000_000).filter(|ns| *ns >= 0);
        let open_ts = Ts(open_ts.ok_or_else(|| malformed("a time out of range"))?);
        let ts = seconds(CH, "time", time)?;
        let prices = [
            number(CH, "open", open)?,
            number(CH, "high", high)?,
            number(CH, "low", low)?,
            number(CH, "close", close)?,
        ];
        let trades = count.0.as_str().parse().map_err(|_| malformed("a count is no whole number"))?;
        let bar = state::bar(minutes, open_ts, prices, number(CH, "volume", volume)?, trades);
        let bar = bar.ok_or_else(|| malformed("an interval that is not on offer, or a time out of range"))?;
        self.running.rows.clear();
        if let Some(ix) = self.admit(symbol) {
            self.running.rows.push((ix, bar));
        }
        self.tell_bars(false, ts, out);
        Ok(CH)
    }

    /// An object with an `event`.
    pub(super) fn old_event(
        &mut self,
        event: &str,
        head: &Head<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let name = match event {
            "heartbeat" => "event:heartbeat",
            "pong" => "event:pong",
            "systemStatus" => {
                self.tell_system(given(head.status.as_ref()), out);
                "event:systemStatus"
            }
            "subscriptionStatus" if given(head.status.as_ref()) != "error" => "event:subscriptionStatus",
            // Nothing of this version was asked for by us: what was refused, a recorder had asked for.
            "subscriptionStatus" | "error" => {
                let text = given(head.error_message.as_ref()).to_owned();
                out.actions.push(Action::Note(Note::Refused { streams: Vec::new(), code: 0, text }));
                if event == "error" { "event:error" } else { "event:subscriptionStatus" }
            }
            other => return self.not_ours(other, frame, out),
        };
        self.unnumbered = true;
        self.reading.stats.count(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_without_ids_get_names_and_twins_two() {
        let row = r#"["0.043040","20000.00000000","1618678158.135041","b","l",""]"#;
        let first = named(row, 0);
        assert_eq!(first, named(row, 0), "another connection's copy is the same");
        assert!(first.is_uuid() && first != named(row, 1) && first != named(&row.replace("\"b\"", "\"s\""), 0));
        let text = first.to_string();
        assert_eq!((text.len(), &text[14..15]), (36, "8"), "{text}");
        assert!(first.is_custom(), "{text}");
        assert_eq!(TradeId::parse(text.as_bytes()), Some(first));
        let mut twins = crate::twins::Twins::default();
        let of = |twins: &mut crate::twins::Twins, ms: i64, hash| twins.before(Ts::from_millis(ms), hash);
        assert_eq!([1, 1, 2, 1].map(|hash| of(&mut twins, 5, hash)), [0, 1, 0, 2]);
        assert_eq!(of(&mut twins, 6, 1), 0, "another moment");
        twins.forget();
        assert_eq!(of(&mut twins, 6, 1), 0, "another connection");
    }

    #[test]
    fn seconds_have_a_fraction() {
        let of = |text: &'static str| seconds("trade", "time", &Printed(Text(text.into())));
        assert_eq!(of("1618678145.920708"), Ok(Ts(1_618_678_145_920_708_000)));
        assert_eq!(of("1762795433.9717445"), Ok(Ts(1_762_795_433_971_744_500)));
        assert_eq!(of("1762820248"), Ok(Ts(1_762_820_248_000_000_000)));
        assert!(of("-1").is_err() && of("99999999999").is_err() && of("x").is_err());
    }
}
