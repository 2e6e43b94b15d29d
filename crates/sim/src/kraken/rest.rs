//! The REST side. Every body is `{"error":[],"result":{…}}`; errors come at HTTP 200.
//!
//! `Trades` pages forwards from `since` (nanoseconds, exclusive), oldest first; without it the newest come. Trades of one moment may stand on
//! both sides of a page's edge.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::Names;
use super::payload::{self, PairNumbers, nanos};
use crate::iso;
use crate::serve::{Answer, Asked, Query};
use crate::truth::RawTrade;
use crate::venue::Inner;

/// Requests in ten seconds: about one a second; no document has a figure.
pub const WINDOW: u32 = 10;
pub const WINDOW_MS: u64 = 10_000;

const ENDPOINTS: [&str; 5] = ["Time", "SystemStatus", "AssetPairs", "Trades", "Depth"];
/// Rows of one `Trades` answer.
const ROWS_MAX: usize = 1_000;
const DEPTH_MAX: usize = 500;

pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    let endpoint = path.strip_prefix("/0/public/")?;
    ENDPOINTS.contains(&endpoint).then_some(Asked {
        endpoint,
        subject: "",
        bucket: "",
        cost: 1,
        snapshot: endpoint == "Depth",
        has_key: false,
    })
}

pub(super) fn error(text: &str) -> Answer {
    (200, format!(r#"{{"error":["{text}"]}}"#))
}

fn result(inside: &str) -> String {
    format!(r#"{{"error":[],"result":{{{inside}}}}}"#)
}

pub(super) fn serve(inner: &Inner, endpoint: &str, query: &Query, stale: bool) -> Result<Answer, Answer> {
    let now_ms = inner.now().exchange_ms;
    let inside = match endpoint {
        "Time" => format!(r#""unixtime":{},"rfc1123":"{}""#, now_ms / 1_000, iso::iso(now_ms)),
        "SystemStatus" => format!(r#""status":"online","timestamp":"{}Z""#, iso::seconds(now_ms)),
        "AssetPairs" => pairs(inner, query)?,
        "Trades" => trades(inner, query)?,
        "Depth" => {
            let (symbol, names) = pair(inner, query)?;
            let limit = number(query, "count")?.unwrap_or(100).clamp(1, DEPTH_MAX as u64) as usize;
            let old = stale.then(|| inner.history.by_symbol[&symbol].snapshots.front().cloned()).flatten();
            let book = old.or_else(|| inner.world.book(&symbol, limit)).ok_or_else(unknown_pair)?;
            payload::rest_book(&names.key, &book, limit, now_ms)
        }
        _ => return Err(error("EGeneral:Unknown method")),
    };
    Ok((200, result(&inside)))
}

fn unknown_pair() -> Answer {
    error("EQuery:Unknown asset pair")
}

/// A whole number, where it is given.
fn number(query: &Query, key: &str) -> Result<Option<u64>, Answer> {
    let wrong = |_| error(&format!("EGeneral:Invalid arguments:{key}"));
    query.text(key).map(|text| text.parse().map_err(wrong)).transpose()
}

/// The pair that is asked for.
fn pair(inner: &Inner, query: &Query) -> Result<(String, Names), Answer> {
    let asked = query.text("pair").ok_or_else(|| error("EGeneral:Invalid arguments"))?;
    let all = inner.world.listed().into_iter().map(|symbol| (Names::of(&symbol), symbol));
    all.map(|(names, symbol)| (symbol, names)).find(|(_, names)| names.is(asked)).ok_or_else(unknown_pair)
}

/// Of a definition what `AssetPairs` says of it.
#[derive(Deserialize)]
struct PairRow<'a> {
    symbol: &'a str,
    status: &'a str,
    price_precision: u32,
    qty_precision: u32,
    #[serde(borrow)]
    price_increment: &'a RawValue,
    #[serde(borrow)]
    qty_min: &'a RawValue,
    #[serde(borrow)]
    cost_min: &'a RawValue,
}

fn pairs(inner: &Inner, query: &Query) -> Result<String, Answer> {
    let fits = |symbol: &str, words: &str| words.split(',').any(|word| Names::of(symbol).is(word));
    let rows = inner.world.definitions(&|symbol| query.text("pair").is_none_or(|words| fits(symbol, words)));
    if rows.is_empty() {
        return Err(unknown_pair());
    }
    let member = |row: &String| {
        let row: PairRow<'_> = serde_json::from_str(row).map_err(|_| error("EService:Unavailable"))?;
        Ok(payload::asset_pair(PairNumbers {
            symbol: row.symbol,
            price_precision: row.price_precision,
            qty_precision: row.qty_precision,
            tick: row.price_increment.get(),
            qty_min: row.qty_min.get(),
            cost_min: row.cost_min.get(),
            status: row.status,
        }))
    };
    Ok(rows.iter().map(member).collect::<Result<Vec<_>, Answer>>()?.join(","))
}

fn trades(inner: &Inner, query: &Query) -> Result<String, Answer> {
    let (symbol, names) = pair(inner, query)?;
    let all: &[RawTrade] = &inner.history.by_symbol[&symbol].trades;
    let count = number(query, "count")?.unwrap_or(ROWS_MAX as u64).clamp(1, ROWS_MAX as u64) as usize;
    let since = number(query, "since")?;
    let from = match since {
        Some(since) => all.partition_point(|trade| nanos(trade.time_ms) <= since),
        None => all.len().saturating_sub(count),
    };
    let page = &all[from..all.len().min(from + count)];
    let last = page.last().map_or(since.unwrap_or(0), |trade| nanos(trade.time_ms));
    let row = |t: &RawTrade| payload::rest_trade(t.id, &t.price, &t.size, t.time_ms, t.buyer_is_maker);
    let rows: Vec<String> = page.iter().map(row).collect();
    Ok(format!(r#""{}":[{}],"last":"{last}""#, names.key, rows.join(",")))
}
