//! Requests and what their replies mean.
//!
//! `docs/v5/market/*.mdx` (state 2026-07-24, read 2026-11-20). Every body is `{"retCode":0,"retMsg":"OK","result":{…}}`, at status 200 also
//! where it is an error. Lists are newest first and come out oldest first.
//!
//! Past trades cannot be asked for: `recent-trade` has the newest alone (60 of spot, 1000 elsewhere), without cursor, id or time. What a
//! stream missed is lost, and said to be ([`TradeHistory::Impossible`]). Ids are UUIDs, those of spot numbers that nobody promises to follow
//! each other.

use wholetape_model::{Body, Kind, NO_INSTRUMENT, TradeId};

use super::Bybit;
use super::decode::{NO_ID, TradeParts, side, time};
use super::frame::{Answer, Listing, Named, OpenInterestRow, PastTradeRow, ServerTime};
use super::limits::{DEFINITIONS_PAGE, Market, PAGES_MAX};
use crate::error::ProtocolError;
use crate::history::TradeHistory;
use crate::json::text::{Piece, Text, decimal, offset};
use crate::rows::{each, number, push};
use crate::session::{Action, FetchId, FetchKind, Out, Request, Want};
use crate::symbols::{percent_decode, percent_encode};

/// By which `status` definitions are asked for, by the argument of the request; the venue's own choice is what trades. Those that are
/// closed are left to it: they are thousands.
pub(super) const LISTINGS: [Option<&str>; 3] = [None, Some("PreLaunch"), Some("Delivering")];

/// What a market is asked for of [`LISTINGS`]: spot knows what trades, and nothing else.
pub(super) const fn listings(market: Market) -> &'static [u64] {
    if market.is_derivative() { &[0, 1, 2] } else { &[0] }
}

/// The argument of a request for definitions: which listing, and which page of it.
const fn page_of(arg: u64) -> (u64, u64) {
    (arg % LISTINGS.len() as u64, arg / LISTINGS.len() as u64)
}

fn definitions_path(market: Market, arg: u64) -> Option<String> {
    let category = market.category();
    if market == Market::Spot {
        // It has no pages.
        return (arg == 0).then(|| format!("/v5/market/instruments-info?category={category}"));
    }
    let status = match LISTINGS.get(usize::try_from(arg).ok()?)? {
        Some(status) => format!("&status={status}"),
        None => String::new(),
    };
    Some(format!("/v5/market/instruments-info?category={category}&limit={DEFINITIONS_PAGE}{status}"))
}

fn free(path: String) -> Request {
    Request { path, weight: 1 }
}

/// What follows a page of definitions; `None` behind the last.
fn next_page(market: Market, arg: u64, cursor: Option<&Text<'_>>) -> Option<(u64, Request)> {
    let cursor = cursor.map(Text::as_str).filter(|c| !c.is_empty())?;
    let (listing, page) = page_of(arg);
    if page + 1 >= PAGES_MAX {
        return None;
    }
    let path = format!("{}&cursor={}", definitions_path(market, listing)?, percent_encode(&unescaped(cursor)));
    Some((arg + LISTINGS.len() as u64, free(path)))
}

/// Cursors are printed as they stand in an address already.
fn unescaped(cursor: &str) -> String {
    percent_decode(cursor).unwrap_or_else(|| cursor.to_owned())
}

impl Bybit {
    pub(super) fn make_request(&self, want: Want) -> Option<Request> {
        let category = self.market.category();
        let named = || self.symbols.symbol(want.instrument).map(percent_encode);
        let path = match want.kind {
            FetchKind::NewestTrades => {
                let limit = want.arg.clamp(1, self.market.newest_page());
                format!("/v5/market/recent-trade?category={category}&symbol={}&limit={limit}", named()?)
            }
            FetchKind::OpenInterest if self.market.is_derivative() => {
                let symbol = named()?;
                format!("/v5/market/open-interest?category={category}&symbol={symbol}&intervalTime=5min&limit=1")
            }
            FetchKind::Instruments => definitions_path(self.market, want.arg)?,
            FetchKind::ServerTime => "/v5/market/time".to_owned(),
            // A book begins with the stream's own snapshot; older trades are not to be had; spot has no open interest.
            FetchKind::BookSnapshot | FetchKind::TradesFrom | FetchKind::TradesAt | FetchKind::OpenInterest => {
                return None;
            }
        };
        Some(free(path))
    }

    pub(super) fn past_trades(&self) -> TradeHistory {
        TradeHistory::Impossible { consecutive: false }
    }

    pub(super) fn recorded(&mut self, url: &str) -> Option<FetchId> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let param = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        let (kind, arg) = match path.trim_end_matches('/').split_once("/v5/market/")?.1 {
            "recent-trade" => (
                FetchKind::NewestTrades,
                param("limit").and_then(|v| v.parse().ok()).unwrap_or(self.market.newest_page()),
            ),
            "open-interest" => (FetchKind::OpenInterest, 0),
            "instruments-info" => {
                let status = param("status").filter(|status| *status != "Trading");
                (FetchKind::Instruments, LISTINGS.iter().position(|l| *l == status)? as u64)
            }
            "time" => return Some(FetchId { kind: FetchKind::ServerTime, instrument: NO_INSTRUMENT, arg: 0 }),
            _ => return None,
        };
        // The same name is another instrument in another market.
        if param("category")? != self.market.category() {
            return None;
        }
        let instrument = match kind {
            FetchKind::Instruments => NO_INSTRUMENT,
            _ => {
                let symbol = percent_decode(param("symbol")?)?;
                if self.discover { self.symbols.find_or_add(&symbol)? } else { self.symbols.find(&symbol)? }
            }
        };
        Some(FetchId { kind, instrument, arg })
    }

    /// The meaning of one reply with status 200.
    pub(super) fn reply(&mut self, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let what = name(id.kind);
        let done = text_of(what, body).and_then(|text| {
            let raw = result(what, text)?;
            let result = Piece { text: &raw, at: offset(text, &raw) };
            if id.kind == FetchKind::ServerTime {
                let time: ServerTime<'_> = result.parse(what)?;
                return number(&time.time_nano).map(drop).ok_or(ProtocolError::BadReply { what, why: "no time" });
            }
            let listing: Listing<'_> = result.parse(what)?;
            let raw = listing.list.as_raw_cow();
            let rows = Piece { text: &raw, at: result.at + offset(result.text, &raw) };
            match id.kind {
                FetchKind::NewestTrades => self.fetched_trades(what, id, rows, out),
                FetchKind::OpenInterest => self.fetched_open_interest(what, id, &listing, rows, out),
                FetchKind::Instruments => {
                    self.definitions(what, rows, out)?;
                    if let Some((arg, request)) = next_page(self.market, id.arg, listing.next_page_cursor.as_ref()) {
                        out.actions.push(Action::Fetch(FetchId { arg, ..id }, request));
                    }
                    Ok(())
                }
                _ => Err(ProtocolError::BadReply { what, why: "there is no such request" }),
            }
        });
        done.map_err(|e| bad_reply(what, e))?;
        self.reading.stats.count(what);
        Ok(())
    }

    fn fetched_trades(
        &mut self,
        what: &'static str,
        id: FetchId,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let mut strange = false;
        let malformed = |why| ProtocolError::Malformed { channel: what, at: rows.at, why };
        for row in rows.parse::<Vec<PastTradeRow<'_>>>(what)?.iter().rev() {
            if self.symbols.symbol(id.instrument) != Some(row.symbol.as_str()) {
                return Err(ProtocolError::BadReply { what, why: "trades of another instrument" });
            }
            let aggressor = side(row.side.as_str());
            strange |= aggressor.is_none();
            let parts = TradeParts {
                id: TradeId::parse(row.exec_id.bytes()).ok_or_else(|| malformed(NO_ID))?,
                price: decimal(what, "price", &row.price)?,
                size: decimal(what, "size", &row.size)?,
                aggressor,
                block: row.is_block_trade.unwrap_or(false),
                rpi: row.is_rpi_trade.unwrap_or(false),
                time: time(what, rows.at, number(&row.time).ok_or_else(|| malformed("a time is no whole number"))?)?,
            };
            out.events.push(parts.event(id.instrument));
        }
        if strange {
            self.reading.unknown("trade side", rows.text, out);
        }
        Ok(())
    }

    fn fetched_open_interest(
        &mut self,
        what: &'static str,
        id: FetchId,
        listing: &Listing<'_>,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        if self.symbols.symbol(id.instrument) != listing.symbol.as_ref().map(Text::as_str) {
            return Err(ProtocolError::BadReply { what, why: "open interest of another instrument" });
        }
        let before = out.events.len();
        each(what, rows, |one| {
            let row: OpenInterestRow<'_> = one.parse(what)?;
            let size = row.single_open_interest.as_ref().unwrap_or(&row.open_interest);
            let why = "a time is no whole number";
            let ms = number(&row.timestamp).ok_or(ProtocolError::Malformed { channel: what, at: one.at, why })?;
            let body = Body::OpenInterest(decimal(what, "openInterest", size)?);
            push(out, id.instrument, Kind::OpenInterest, time(what, one.at, ms)?, body);
            Ok(())
        })?;
        out.events[before..].reverse();
        Ok(())
    }
}

fn text_of<'a>(what: &'static str, body: &'a [u8]) -> Result<&'a str, ProtocolError> {
    std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })
}

/// `result` of an answer; an error code is an error.
fn result<'a>(what: &'static str, text: &'a str) -> Result<std::borrow::Cow<'a, str>, ProtocolError> {
    let answer: Answer<'a> = Piece { text, at: 0 }.parse(what)?;
    if answer.ret_code != 0 {
        let text = answer.ret_msg.as_ref().map_or("", Text::as_str).to_owned();
        return Err(ProtocolError::Venue { code: answer.ret_code, text });
    }
    Ok(answer.result.as_raw_cow().into_owned().into())
}

/// Of a reply only that much is of interest: it is asked for again.
fn bad_reply(what: &'static str, error: ProtocolError) -> ProtocolError {
    match error {
        ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
        ProtocolError::Venue { .. } => ProtocolError::BadReply { what, why: "the venue answers with an error code" },
        other => other,
    }
}

/// Every symbol that an answer of `instruments-info` lists, in its order, and the request for what follows.
pub fn listed(market: Market, arg: u64, body: &[u8]) -> Result<(Vec<String>, Option<(u64, Request)>), ProtocolError> {
    let what = name(FetchKind::Instruments);
    let read = || {
        let raw = result(what, text_of(what, body)?)?;
        let listing: Listing<'_> = Piece { text: &raw, at: 0 }.parse(what)?;
        let rows = listing.list.as_raw_cow();
        let named = Piece { text: &rows, at: 0 }.parse::<Vec<Named<'_>>>(what)?;
        let symbols = named.iter().map(|n| n.symbol.as_str().to_owned()).collect();
        Ok((symbols, next_page(market, arg, listing.next_page_cursor.as_ref())))
    };
    read().map_err(|e| bad_reply(what, e))
}

/// Reply names double as the counters' channel names.
pub(super) const fn name(kind: FetchKind) -> &'static str {
    match kind {
        FetchKind::BookSnapshot => "depth_snapshot",
        FetchKind::TradesFrom => "trades_page",
        FetchKind::NewestTrades => "newest_trades",
        FetchKind::TradesAt => "trades_at",
        FetchKind::OpenInterest => "openInterest",
        FetchKind::Instruments => "instruments_page",
        FetchKind::ServerTime => "time",
    }
}
