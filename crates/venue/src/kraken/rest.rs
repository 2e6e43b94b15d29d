//! Requests and what their replies mean.
//!
//! <https://docs.kraken.com/api/docs/rest-api/get-recent-trades> and its neighbours (read 2026-11-20). Every body is `{"error":[],"result":{…}}`;
//! an error comes at status 200 as well. `Trades` pages forwards from `since` (nanoseconds, exclusive), oldest first, and reaches back to the
//! first trade; [`super::past`] finds an id in it.
//!
//! `Depth` is not asked for: it has neither number nor checksum, so nobody can say where it stands in the stream. `OHLC` has the newest 720
//! bars, `SystemStatus` and `Ticker` what the stream has.

use wholetape_model::{Body, Kind, NO_INSTRUMENT, TradeId, Ts};

use super::Kraken;
use super::decode::{TradeParts, number, side};
use super::frame::{Answer, AssetPair, Columns, ServerTime};
use super::limits::{HISTORY_PAGE, HISTORY_USED};
use super::old::seconds;
use super::past::Page;
use super::symbol::{modern, pair};
use crate::error::ProtocolError;
use crate::history::{ById, TradeHistory};
use crate::json::text::{Piece, Text, offset};
use crate::rows::each;
use crate::session::{FetchId, FetchKind, Out, Request, Want};
use crate::symbols::{percent_decode, percent_encode};

const MILLI: u64 = 1_000_000;

impl Kraken {
    pub(super) fn make_request(&self, want: Want) -> Option<Request> {
        let trades = |since: Option<u64>, count: u64| {
            let name = percent_encode(&pair(self.symbols.symbol(want.instrument)?));
            let since = since.map_or_else(String::new, |ns| format!("&since={ns}"));
            Some(format!("/0/public/Trades?pair={name}{since}&count={count}"))
        };
        let path = match want.kind {
            FetchKind::TradesFrom => trades(self.past.since(want.instrument, want.arg), HISTORY_PAGE)?,
            // What happened at this very moment is in it.
            FetchKind::TradesAt => trades(Some(want.arg.saturating_mul(MILLI).saturating_sub(1)), 1)?,
            FetchKind::NewestTrades => trades(None, want.arg.clamp(1, HISTORY_PAGE))?,
            FetchKind::Instruments => "/0/public/AssetPairs".to_owned(),
            FetchKind::ServerTime => "/0/public/Time".to_owned(),
            // A book begins with the stream's own snapshot; there are no derivatives.
            FetchKind::BookSnapshot | FetchKind::OpenInterest => return None,
        };
        Some(Request { path, weight: 1 })
    }

    pub(super) fn past_trades(&self) -> TradeHistory {
        if self.unnumbered {
            return TradeHistory::Impossible { consecutive: false };
        }
        let (reach, window) = (None, None);
        TradeHistory::ById(ById { page_max: HISTORY_USED, reach, window, by_time: true, edge_before: false, omits: "" })
    }

    pub(super) fn recorded(&mut self, url: &str) -> Option<FetchId> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let param = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        let number = |name: &str| param(name).and_then(|v| v.parse::<u64>().ok());
        let (kind, arg) = match path.trim_end_matches('/').split_once("/0/public/")?.1 {
            "Trades" => match number("since") {
                Some(since) => (FetchKind::TradesAt, since.saturating_add(1) / MILLI),
                None => (FetchKind::NewestTrades, number("count").unwrap_or(HISTORY_PAGE)),
            },
            "AssetPairs" => (FetchKind::Instruments, 0),
            "Time" => (FetchKind::ServerTime, 0),
            _ => return None,
        };
        let instrument = match kind {
            FetchKind::Instruments | FetchKind::ServerTime => NO_INSTRUMENT,
            _ => {
                // Which of our symbols it is: the pair's name does not say where the stroke was.
                let asked = percent_decode(param("pair")?)?;
                self.symbols.iter().find(|(_, symbol)| pair(symbol) == pair(&asked)).map(|(ix, _)| ix)?
            }
        };
        Some(FetchId { kind, instrument, arg })
    }

    /// The meaning of one reply with status 200.
    pub(super) fn reply(&mut self, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let what = name(id.kind);
        let bad = |why| ProtocolError::BadReply { what, why };
        let text = std::str::from_utf8(body).map_err(|_| bad("not utf-8"))?;
        let done = result(what, text).and_then(|result| match id.kind {
            FetchKind::BookSnapshot | FetchKind::OpenInterest => Err(bad("there is no such request")),
            FetchKind::TradesFrom | FetchKind::TradesAt | FetchKind::NewestTrades => {
                self.fetched_trades(what, id, result.piece(), out)
            }
            FetchKind::Instruments => members(what, result.piece(), |_, one| self.asset_pair(what, one, out)),
            FetchKind::ServerTime => result.piece().parse::<ServerTime>(what).map(drop),
        });
        done.map_err(|e| bad_reply(what, e))?;
        self.reading.stats.count(what);
        Ok(())
    }

    /// `[price, size, time, "b" or "s", "m" or "l", "", id]`, oldest first; `last` is the cursor of what follows.
    fn fetched_trades(
        &mut self,
        what: &'static str,
        FetchId { kind, instrument: ix, arg }: FetchId,
        result: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let bad = |why| ProtocolError::BadReply { what, why };
        let (mut strange, mut cursor, mut lists) = (false, None, 0);
        let from = out.events.len();
        members(what, result, |key, one| {
            if key == "last" {
                cursor = one.text.trim_matches('"').parse::<u64>().ok();
                return Ok(());
            }
            lists += 1;
            each(what, one, |row| {
                let row: Columns<'_> = row.parse(what)?;
                let [price, size, time, word, _, _, id, ..] = row.all() else {
                    return Err(bad("a trade without an id"));
                };
                let aggressor = side(word.0.as_str());
                strange |= aggressor.is_none();
                let id = id.0.as_str().parse::<u64>().map_err(|_| bad("a trade id is no whole number"))?;
                let parts = TradeParts {
                    id: TradeId::from(id),
                    price: number(what, "price", price)?,
                    size: number(what, "volume", size)?,
                    aggressor,
                    time: seconds(what, "time", time)?,
                };
                out.events.push(parts.event(ix));
                Ok(())
            })
        })?;
        if lists > 1 {
            return Err(bad("trades of several pairs"));
        }
        // Whoever takes them relies on the order.
        let end = |event: Option<&wholetape_model::Event>| match event {
            Some(wholetape_model::Event { body: Body::Trade(t), ts_event, .. }) => Some((t.last_id, *ts_event)),
            _ => None,
        };
        out.events[from..].sort_by_key(|e| end(Some(e)));
        let rows = &out.events[from..];
        let ends: Option<((u64, Ts), (u64, Ts))> = end(rows.first()).zip(end(rows.last()));
        let full = rows.len() as u64 >= HISTORY_PAGE;
        if let (FetchKind::TradesFrom, Some(ends)) = (kind, ends) {
            match self.past.page(ix, arg, ends, cursor, full) {
                Page::Shows => {}
                Page::Misses => return Err(ProtocolError::Beside { what }),
                Page::Nowhere => return Err(bad("dozens of pages lie beside the id that was asked for")),
            }
        }
        if strange {
            self.reading.unknown("trade side", result.text, out);
        }
        Ok(())
    }

    /// Trades that came tell where in time ids are.
    #[inline]
    pub(super) fn remember(&mut self, events: &[wholetape_model::Event]) {
        for event in events {
            if let (Kind::Trade, Body::Trade(t)) = (event.kind, event.body)
                && let Some(id) = t.id.number()
            {
                self.past.learn(event.instrument, id, event.ts_event);
            }
        }
    }
}

/// `result` of an answer, which may be a copy.
struct Found<'a>(std::borrow::Cow<'a, str>, usize);

impl Found<'_> {
    fn piece(&self) -> Piece<'_> {
        Piece { text: &self.0, at: self.1 }
    }
}

fn result<'a>(what: &'static str, text: &'a str) -> Result<Found<'a>, ProtocolError> {
    let answer: Answer<'a> = Piece { text, at: 0 }.parse(what)?;
    if let Some(error) = answer.error.first() {
        return Err(ProtocolError::Venue { code: 0, text: error.as_str().to_owned() });
    }
    let result = answer.result.ok_or(ProtocolError::BadReply { what, why: "neither a result nor an error" })?;
    let raw = result.as_raw_cow();
    let at = offset(text, &raw);
    Ok(Found(raw, at))
}

/// Calls `f` with each key of an object and its value.
fn members(
    what: &'static str,
    object: Piece<'_>,
    mut f: impl FnMut(&str, Piece<'_>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for member in sonic_rs::to_object_iter(object.text) {
        let (key, value) = member.map_err(|_| ProtocolError::BadReply { what, why: "no object" })?;
        let raw = value.as_raw_cow();
        f(&key, Piece { text: &raw, at: object.at + offset(object.text, &raw) })?;
    }
    Ok(())
}

/// Of a reply only that much is of interest: it is asked for again.
fn bad_reply(what: &'static str, error: ProtocolError) -> ProtocolError {
    match error {
        ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
        ProtocolError::Venue { .. } => ProtocolError::BadReply { what, why: "the venue answers with an error" },
        other => other,
    }
}

/// Every pair that has a name on the sockets, in the answer's order.
pub fn listed(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    let what = name(FetchKind::Instruments);
    let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
    let found = result(what, text).map_err(|e| bad_reply(what, e))?;
    let mut symbols = Vec::new();
    let done = members(what, found.piece(), |_, one| {
        let row: AssetPair<'_> = one.parse(what)?;
        symbols.extend(row.wsname.as_ref().map(|name: &Text<'_>| modern(name.as_str())));
        Ok(())
    });
    done.map_err(|e| bad_reply(what, e))?;
    Ok(symbols)
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
