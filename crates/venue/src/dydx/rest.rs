//! Requests, their weights, and what their replies mean.
//!
//! <https://github.com/dydxprotocol/v4-chain> `indexer/services/comlink/src/controllers/api/v4` (state 2026-03-04, read 2026-11-20). Every
//! request counts one. `trades/perpetualMarket/`, `orderbooks/perpetualMarket/` and `perpetualMarkets` differ in their plurals.
//!
//! Past trades come newest first, downwards from a block's height or a time, both inclusive, so that a block that an answer cut in two is
//! whole in the next one. The parameters are `createdBeforeOrAtHeight` and `createdBeforeOrAt`: pages of the documents call the first
//! `startingBeforeOrAtHeight`, which the server does not know, and it ignores what it does not know. Where the last answer told the height at
//! which the next page begins it is asked for by that, else by time. Without `limit` an answer is as long as the deployment allows.

use wholetape_model::{Body, BookAction, NO_INSTRUMENT, TradeId, Ts};

use super::Dydx;
use super::decode::{read_levels, time, trade_parts};
use super::frame::{AllMarkets, BookContents, ServerTime, TradeRow, Trades};
use super::limits::{OVERLAP, PAGE_FULL, SNAPSHOT_DEPTH};
use crate::error::ProtocolError;
use crate::history::{ByTime, TradeHistory};
use crate::json::text::{Piece, Text, offset};
use crate::levels::{self, Ids};
use crate::session::{FetchId, FetchKind, Out, Request, Want};
use crate::symbols::{percent_decode, percent_encode};

/// Ends of pages whose height is known, at most.
const ENDS_MAX: usize = 256;

/// Where an answer ended: the oldest row's instrument, time in ms, and block.
pub(super) type End = (u32, u64, u64);

/// A time as the venue writes it.
fn iso(ms: u64) -> String {
    let text = Ts::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)).to_string();
    format!("{}Z", &text[..23])
}

impl Dydx {
    pub(super) fn make_request(&self, want: Want) -> Option<Request> {
        let name = || self.symbols.symbol(want.instrument).map(percent_encode);
        let path = match want.kind {
            FetchKind::BookSnapshot => format!("/v4/orderbooks/perpetualMarket/{}", name()?),
            FetchKind::TradesAt => {
                let end = self.ends.iter().find(|(ix, ms, _)| (*ix, *ms) == (want.instrument, want.arg));
                let bound = match end {
                    Some((_, _, height)) => format!("createdBeforeOrAtHeight={height}"),
                    // Should a row's time have more places than are printed, it is still in.
                    None => format!("createdBeforeOrAt={}", percent_encode(&iso(want.arg.saturating_add(1)))),
                };
                format!("/v4/trades/perpetualMarket/{}?{bound}", name()?)
            }
            FetchKind::NewestTrades => {
                format!("/v4/trades/perpetualMarket/{}?limit={}", name()?, want.arg.clamp(1, PAGE_FULL))
            }
            FetchKind::Instruments => "/v4/perpetualMarkets".to_owned(),
            FetchKind::ServerTime => "/v4/time".to_owned(),
            // Ids name trades and do not count them; the stream of markets brings open interest.
            FetchKind::TradesFrom | FetchKind::OpenInterest => return None,
        };
        Some(Request { path, weight: 1 })
    }

    pub(super) fn past_trades(&self) -> TradeHistory {
        TradeHistory::ByTimeWithOverlap(ByTime { page_max: PAGE_FULL, reach: None, overlap: OVERLAP, downwards: true })
    }

    pub(super) fn recorded(&mut self, url: &str) -> Option<FetchId> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let param = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        let mut parts = path.trim_end_matches('/').split_once("/v4/")?.1.split('/');
        let (what, ticker) = (parts.next()?, parts.nth(1));
        let at = || {
            let at = percent_decode(param("createdBeforeOrAt")?)?;
            u64::try_from(Ts::parse_utc(at.as_bytes())?.millis()).ok()
        };
        let (kind, arg) = match what {
            "orderbooks" => (FetchKind::BookSnapshot, 0),
            "trades" => match (param("createdBeforeOrAtHeight"), at()) {
                (None, None) => {
                    (FetchKind::NewestTrades, param("limit").and_then(|n| n.parse().ok()).unwrap_or(PAGE_FULL))
                }
                (_, at) => (FetchKind::TradesAt, at.unwrap_or(0)),
            },
            "perpetualMarkets" => (FetchKind::Instruments, 0),
            "time" => (FetchKind::ServerTime, 0),
            _ => return None,
        };
        let instrument = match kind {
            FetchKind::Instruments | FetchKind::ServerTime => NO_INSTRUMENT,
            _ => {
                let symbol = percent_decode(ticker?)?;
                if self.discover { self.symbols.find_or_add(&symbol)? } else { self.symbols.find(&symbol)? }
            }
        };
        Some(FetchId { kind, instrument, arg })
    }

    /// The meaning of one reply with status 200.
    pub(super) fn reply(&mut self, now: Ts, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let what = name(id.kind);
        let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
        let answer = Piece { text, at: 0 };
        let done = match id.kind {
            FetchKind::TradesAt | FetchKind::NewestTrades => self.fetched_trades(what, id, answer, out),
            FetchKind::BookSnapshot => self.fetched_book(what, id, answer, now, out),
            FetchKind::Instruments => answer.parse::<AllMarkets<'_>>(what).and_then(|all| {
                let raw = all.markets.as_raw_cow();
                let markets = Piece { text: &raw, at: offset(text, &raw) };
                self.whole_markets(what, markets, false, answer, out)
            }),
            FetchKind::ServerTime => {
                answer.parse::<ServerTime<'_>>(what).and_then(|server| time(what, 0, &server.iso)).map(drop)
            }
            FetchKind::TradesFrom | FetchKind::OpenInterest => {
                Err(ProtocolError::BadReply { what, why: "there is no such request" })
            }
        };
        done.map_err(|e| bad_reply(what, e))?;
        self.reading.stats.count(what);
        Ok(())
    }

    fn fetched_trades(
        &mut self,
        what: &'static str,
        id: FetchId,
        answer: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let ix = id.instrument;
        if self.symbols.symbol(ix).is_none() {
            return Err(ProtocolError::BadReply { what, why: "trades of no instrument of ours" });
        }
        let printed: Trades<'_> = answer.parse(what)?;
        let from = out.events.len();
        let mut strange = false;
        let mut oldest: Option<(Ts, &TradeRow<'_>)> = None;
        for row in &printed.trades {
            let (parts, known) = trade_parts(what, 0, row)?;
            strange |= !known;
            if oldest.is_none_or(|(ts, _)| parts.time < ts) {
                oldest = Some((parts.time, row));
            }
            out.events.push(parts.event(ix));
        }
        // A block's trades have one time, and no order is promised among them; event ids have one.
        out.events[from..].sort_by_key(|event| match event.body {
            Body::Trade(trade) => (event.ts_event, trade.id),
            _ => (event.ts_event, TradeId::default()),
        });
        if let Some((ts, row)) = oldest {
            self.ended_at(ix, ts, row.created_at_height.as_ref());
        }
        if strange {
            self.reading.unknown("trade type, side or number", answer.text, out);
        }
        Ok(())
    }

    /// The next page begins there, and this is the block.
    fn ended_at(&mut self, ix: u32, ts: Ts, height: Option<&Text<'_>>) {
        let height = height.and_then(|h| h.as_str().parse().ok());
        let (Some(height), Ok(ms)) = (height, u64::try_from(ts.millis())) else { return };
        if self.ends.len() >= ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.retain(|(of, at, _)| (*of, *at) != (ix, ms));
        self.ends.push_back((ix, ms, height));
    }

    /// What REST's book makes of the stream's, as a snapshot at the message at which the stream's stands.
    fn fetched_book(
        &mut self,
        what: &'static str,
        id: FetchId,
        answer: Piece<'_>,
        now: Ts,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let printed: BookContents<'_> = answer.parse(what)?;
        read_levels(what, &mut self.bids, &printed.bids)?;
        read_levels(what, &mut self.asks, &printed.asks)?;
        let book = self.books.get_mut(id.instrument as usize);
        let made = book.and_then(|b| b.refreshed(&self.bids, &self.asks, SNAPSHOT_DEPTH, now, &mut self.scratch));
        let Some((message, bids)) = made else {
            return Err(ProtocolError::BadReply { what, why: "the stream has not told the book" });
        };
        let number = |(field, source)| ProtocolError::Number { channel: what, field, source };
        if self.wants.books {
            let (scales, bids, asks) = levels::store_levels(&mut out.arena, &self.scratch, bids).map_err(number)?;
            let ids = Ids { first: message, last: message, prev: 0 };
            levels::book(&mut out.events, id.instrument, BookAction::Snapshot, ids, Ts::ZERO, scales, bids, asks);
        }
        // The line takes nothing but the book from this answer: best prices that it changes are told by the timer.
        self.mended.push((id.instrument, now));
        Ok(())
    }
}

/// Of a reply only that much is of interest: it is asked for again.
fn bad_reply(what: &'static str, error: ProtocolError) -> ProtocolError {
    match error {
        ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
        other => other,
    }
}

/// Every ticker that an answer of `perpetualMarkets` lists, in its order.
pub fn listed(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    let what = name(FetchKind::Instruments);
    let bad = |why| ProtocolError::BadReply { what, why };
    let text = std::str::from_utf8(body).map_err(|_| bad("not utf-8"))?;
    let all: AllMarkets<'_> = Piece { text, at: 0 }.parse(what).map_err(|e| bad_reply(what, e))?;
    let raw = all.markets.as_raw_cow();
    let keys = sonic_rs::to_object_iter(raw.as_ref()).map(|member| member.map(|(key, _)| key.to_string()));
    keys.collect::<Result<_, _>>().map_err(|_| bad("no object of markets"))
}

/// Reply names double as the counters' channel names.
pub(super) const fn name(kind: FetchKind) -> &'static str {
    match kind {
        FetchKind::BookSnapshot => "depth_snapshot",
        FetchKind::TradesFrom => "trades_page",
        FetchKind::NewestTrades => "newest_trades",
        FetchKind::TradesAt => "trades_at",
        FetchKind::OpenInterest => "openInterest",
        FetchKind::Instruments => "perpetualMarkets",
        FetchKind::ServerTime => "time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_venue_reads_them() {
        assert_eq!(iso(1_723_161_256_322), "2024-08-08T23:54:16.322Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }
}
