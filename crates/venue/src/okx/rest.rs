//! Requests, their weights, and what their replies mean.
//!
//! <https://www.okx.com/docs-v5/en/> "Market data", "Public data" (copies of 2026-09, read 2026-11-20). Every body is
//! `{"code":"0","msg":"","data":[…]}`; another code is an error at any status. Pages are newest first and come out oldest first.
//!
//! `history-trades` pages by id with `after`, exclusive and downwards; its `before` alone gives the *newest* rows, so it is of no use.
//! By time (`type=2`) it gives what is *older* than a time: the last of these is the trade before the edge that is looked for.

use wholetape_model::{Event, Kind, NO_INSTRUMENT};

use super::Okx;
use super::decode::trade_parts;
use super::frame::{Answer, Named, ServerTime, TradeRow};
use super::limits::{HISTORY_PAGE, HISTORY_REACH, NEWEST_PAGE, WEIGHT_SLOW, WEIGHT_TIME, WEIGHT_TRADES};
use super::symbol::Product;
use crate::error::ProtocolError;
use crate::history::{ById, TradeHistory};
use crate::json::text::{Piece, Text, offset};
use crate::session::{FetchId, FetchKind, Out, Request, Want};
use crate::symbols::{percent_decode, percent_encode};

impl Okx {
    pub(super) fn make_request(&self, want: Want) -> Option<Request> {
        let symbol = || self.symbols.symbol(want.instrument);
        let history = |query: String| -> Option<(String, u32)> {
            let name = percent_encode(symbol()?);
            Some((format!("/api/v5/market/history-trades?instId={name}&{query}&limit={HISTORY_PAGE}"), WEIGHT_SLOW))
        };
        let (path, weight) = match want.kind {
            // Downwards from the id behind the page, which leaves it out.
            FetchKind::TradesFrom => history(format!("type=1&after={}", want.arg.saturating_add(HISTORY_PAGE)))?,
            FetchKind::TradesAt => history(format!("type=2&after={}", want.arg))?,
            FetchKind::NewestTrades => {
                let limit = want.arg.clamp(1, NEWEST_PAGE);
                let name = percent_encode(symbol()?);
                (format!("/api/v5/market/trades?instId={name}&limit={limit}"), WEIGHT_TRADES)
            }
            FetchKind::OpenInterest => {
                let product = Product::of(symbol()?);
                if !product.is_derivative() {
                    return None;
                }
                let name = percent_encode(symbol()?);
                let product = product.as_str();
                (format!("/api/v5/public/open-interest?instType={product}&instId={name}"), WEIGHT_SLOW)
            }
            FetchKind::Instruments => {
                let product = *Product::ALL.get(usize::try_from(want.arg).ok()?)?;
                // Options are listed by family alone; their stream tells them all.
                if product == Product::Option {
                    return None;
                }
                (format!("/api/v5/public/instruments?instType={}", product.as_str()), WEIGHT_SLOW)
            }
            FetchKind::ServerTime => ("/api/v5/public/time".to_owned(), WEIGHT_TIME),
            // A book begins with the stream's own snapshot.
            FetchKind::BookSnapshot => return None,
        };
        Some(Request { path, weight })
    }

    pub(super) fn past_trades(&self) -> TradeHistory {
        TradeHistory::ById(ById {
            page_max: HISTORY_PAGE,
            reach: Some(HISTORY_REACH),
            window: None,
            by_time: true,
            edge_before: true,
            omits: "",
        })
    }

    pub(super) fn recorded(&mut self, url: &str) -> Option<FetchId> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let param = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        let number = |name: &str| param(name).and_then(|v| v.parse::<u64>().ok());
        let (kind, arg) = match path.trim_end_matches('/').split_once("/api/v5/")?.1 {
            "market/history-trades" => match (param("type").unwrap_or("1"), number("after")) {
                ("2", Some(at)) => (FetchKind::TradesAt, at),
                (_, Some(id)) => (FetchKind::TradesFrom, id.saturating_sub(HISTORY_PAGE)),
                (_, None) => (FetchKind::NewestTrades, HISTORY_PAGE),
            },
            "market/trades" => (FetchKind::NewestTrades, number("limit").unwrap_or(100)),
            "public/open-interest" => (FetchKind::OpenInterest, 0),
            "public/instruments" => {
                let product = Product::parse(param("instType")?)?;
                (FetchKind::Instruments, Product::ALL.iter().position(|p| *p == product)? as u64)
            }
            "public/time" => (FetchKind::ServerTime, 0),
            _ => return None,
        };
        let instrument = match kind {
            FetchKind::Instruments | FetchKind::ServerTime => NO_INSTRUMENT,
            _ => {
                let symbol = percent_decode(param("instId")?)?;
                if self.discover { self.symbols.find_or_add(&symbol)? } else { self.symbols.find(&symbol)? }
            }
        };
        Some(FetchId { kind, instrument, arg })
    }

    /// The meaning of one reply with status 200.
    pub(super) fn reply(&mut self, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let what = name(id.kind);
        let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
        let done = data(what, text).and_then(|rows| match id.kind {
            FetchKind::BookSnapshot => Err(ProtocolError::BadReply { what, why: "there is no such request" }),
            FetchKind::TradesFrom | FetchKind::TradesAt | FetchKind::NewestTrades => {
                self.fetched_trades(what, id, rows.piece(), out)
            }
            FetchKind::OpenInterest => self.open_interest(what, rows.piece(), out).map(drop),
            FetchKind::Instruments => self.definitions(what, rows.piece(), out),
            FetchKind::ServerTime => rows.piece().parse::<Vec<ServerTime<'_>>>(what).map(drop),
        });
        done.map_err(|e| bad_reply(what, e))?;
        self.reading.stats.count(what);
        Ok(())
    }

    fn fetched_trades(
        &mut self,
        what: &'static str,
        FetchId { kind: kind_of, instrument: ix, .. }: FetchId,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let mut strange = false;
        let wrong = || ProtocolError::BadReply { what, why: "a trade of no ids" };
        let mut event = |row: &TradeRow<'_>| -> Result<Event, ProtocolError> {
            let (parts, known) = trade_parts(what, rows.at, row)?;
            strange |= !known;
            parts.event(ix, Kind::Trade).ok_or_else(wrong)
        };
        let printed = rows.parse::<Vec<TradeRow<'_>>>(what)?;
        // Newest first, as printed. Of those before a time the newest tells the edge, and nobody asked for the others.
        let wanted = if kind_of == FetchKind::TradesAt { printed.len().min(1) } else { printed.len() };
        for row in printed[..wanted].iter().rev() {
            if self.symbols.symbol(ix) != Some(row.inst_id.as_str()) {
                return Err(ProtocolError::BadReply { what, why: "trades of another instrument" });
            }
            out.events.push(event(row)?);
        }
        if strange {
            self.reading.unknown("trade side or source", rows.text, out);
        }
        Ok(())
    }
}

/// `data` of an answer, which may be a copy.
struct Rows<'a>(std::borrow::Cow<'a, str>, usize);

impl Rows<'_> {
    fn piece(&self) -> Piece<'_> {
        Piece { text: &self.0, at: self.1 }
    }
}

fn data<'a>(what: &'static str, text: &'a str) -> Result<Rows<'a>, ProtocolError> {
    let answer: Answer<'a> = Piece { text, at: 0 }.parse(what)?;
    if answer.code.as_str() != "0" {
        let code = answer.code.as_str().parse().unwrap_or(-1);
        let text = answer.msg.as_ref().map_or("", Text::as_str).to_owned();
        return Err(ProtocolError::Venue { code, text });
    }
    let raw = answer.data.as_raw_cow();
    let at = offset(text, &raw);
    Ok(Rows(raw.into_owned().into(), at))
}

/// Of a reply only that much is of interest: it is asked for again.
fn bad_reply(what: &'static str, error: ProtocolError) -> ProtocolError {
    match error {
        ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
        ProtocolError::Venue { .. } => ProtocolError::BadReply { what, why: "the venue answers with an error code" },
        other => other,
    }
}

/// Every symbol that an answer of `instruments` lists, in its order.
pub fn listed(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    let what = name(FetchKind::Instruments);
    let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
    let rows = data(what, text).map_err(|e| bad_reply(what, e))?;
    let named = rows.piece().parse::<Vec<Named<'_>>>(what).map_err(|e| bad_reply(what, e))?;
    Ok(named.iter().map(|n| n.inst_id.as_str().to_owned()).collect())
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
