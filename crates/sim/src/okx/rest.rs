//! The REST side. Every body is `{"code":"0","msg":"","data":[…]}`; most errors come at HTTP 200.
//!
//! Lists are newest first. `history-trades` pages downwards: `after` gives what is older, exclusive; `before` alone gives the newest
//! rows, as long as they are newer than it.

use super::payload;
use super::product::Product;
use crate::serve::{Answer, Asked, Query};
use crate::truth::RawTrade;
use crate::venue::Inner;

/// Each endpoint's own rate, in 200ths of two seconds.
const ENDPOINTS: [(&str, u32); 6] = [
    ("market/history-trades", 10),
    ("market/trades", 2),
    ("market/books", 5),
    ("public/instruments", 10),
    ("public/open-interest", 10),
    ("public/time", 20),
];

pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    let endpoint = path.strip_prefix("/api/v5/")?;
    let (bucket, cost) = ENDPOINTS.into_iter().find(|(name, _)| *name == endpoint)?;
    Some(Asked { endpoint, subject: "", bucket, cost, snapshot: endpoint == "market/books", has_key: false })
}

pub(super) fn error(status: u16, code: u32, msg: &str) -> Answer {
    (status, format!(r#"{{"code":"{code}","msg":"{msg}","data":[]}}"#))
}

fn missing(key: &str) -> Answer {
    error(400, 50_014, &format!("Parameter {key} can not be empty."))
}

fn data(rows: &[String]) -> String {
    format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
}

pub(super) fn serve(inner: &Inner, endpoint: &str, query: &Query, stale: bool) -> Result<Answer, Answer> {
    let rows = match endpoint {
        "public/time" => vec![format!(r#"{{"ts":"{}"}}"#, inner.now().exchange_ms)],
        "public/instruments" => definitions(inner, query)?,
        "public/open-interest" => interests(inner, query)?,
        "market/trades" => newest(inner, query)?,
        "market/history-trades" => history(inner, query)?,
        "market/books" => vec![book(inner, query, stale)?],
        _ => return Err(error(404, 50_000, "not found")),
    };
    Ok((200, data(&rows)))
}

fn instrument<'a>(inner: &Inner, query: &'a Query) -> Result<&'a str, Answer> {
    let name = query.text("instId").ok_or_else(|| missing("instId"))?;
    if inner.world.listed().iter().any(|symbol| symbol == name) {
        Ok(name)
    } else {
        Err(error(200, 51_001, "Instrument ID doesn't exist."))
    }
}

/// A whole number, where it is given.
fn number(query: &Query, key: &str) -> Result<Option<u64>, Answer> {
    query
        .text(key)
        .map(|text| text.parse().map_err(|_| error(400, 51_000, &format!("Parameter {key} error"))))
        .transpose()
}

fn limit(query: &Query, default: u64, most: u64) -> Result<usize, Answer> {
    Ok(number(query, "limit")?.unwrap_or(default).clamp(1, most) as usize)
}

fn definitions(inner: &Inner, query: &Query) -> Result<Vec<String>, Answer> {
    let kind = query.text("instType").ok_or_else(|| missing("instType"))?;
    if !["SPOT", "SWAP", "FUTURES", "MARGIN"].contains(&kind) {
        return Err(error(400, 51_000, "Parameter instType error"));
    }
    let wanted = |symbol: &str| {
        Product::of(symbol).as_str() == kind && query.text("instId").is_none_or(|wanted| wanted == symbol)
    };
    Ok(inner.world.definitions(&wanted))
}

fn interests(inner: &Inner, query: &Query) -> Result<Vec<String>, Answer> {
    let kind = query.text("instType").ok_or_else(|| missing("instType"))?;
    let all = inner.history.by_symbol.iter();
    let wanted = all.filter(|(symbol, _)| {
        Product::of(symbol).as_str() == kind && query.text("instId").is_none_or(|wanted| wanted == symbol.as_str())
    });
    Ok(wanted.filter_map(|(_, past)| past.open_interest.clone()).collect())
}

fn row(symbol: &str, trade: &RawTrade) -> String {
    let RawTrade { id, price, size, time_ms, buyer_is_maker, .. } = trade;
    let side = if *buyer_is_maker { "sell" } else { "buy" };
    format!(
        r#"{{"instId":"{symbol}","side":"{side}","sz":"{size}","source":"0","px":"{price}","tradeId":"{id}","ts":"{time_ms}"}}"#
    )
}

/// The last `limit` of these, newest first.
fn last(symbol: &str, trades: &[RawTrade], limit: usize) -> Vec<String> {
    trades.iter().rev().take(limit).map(|trade| row(symbol, trade)).collect()
}

fn newest(inner: &Inner, query: &Query) -> Result<Vec<String>, Answer> {
    let name = instrument(inner, query)?;
    Ok(last(name, &inner.history.by_symbol[name].trades, limit(query, 100, 500)?))
}

fn history(inner: &Inner, query: &Query) -> Result<Vec<String>, Answer> {
    let name = instrument(inner, query)?;
    let mut rows: &[RawTrade] = &inner.history.by_symbol[name].trades;
    let (after, before) = (number(query, "after")?, number(query, "before")?);
    match query.text("type").unwrap_or("1") {
        "1" => {
            if let Some(after) = after {
                rows = &rows[..rows.partition_point(|row| row.id < after)];
            }
            if let Some(before) = before {
                rows = &rows[rows.partition_point(|row| row.id <= before)..];
            }
        }
        // By time there is `after` alone.
        "2" => {
            if let Some(after) = after {
                rows = &rows[..rows.partition_point(|row| (row.time_ms as u64) < after)];
            }
        }
        _ => return Err(error(400, 51_000, "Parameter type error")),
    }
    Ok(last(name, rows, limit(query, 100, 100)?))
}

fn book(inner: &Inner, query: &Query, stale: bool) -> Result<String, Answer> {
    let name = instrument(inner, query)?;
    let depth = number(query, "sz")?.unwrap_or(1).clamp(1, 400) as usize;
    let old = stale.then(|| inner.history.by_symbol[name].snapshots.front().cloned()).flatten();
    let book = old.or_else(|| inner.world.book(name, depth)).ok_or_else(|| error(200, 51_001, "no book"))?;
    let cut = |levels: &'_ [(String, String)]| levels[..depth.min(levels.len())].to_vec();
    let (bids, asks) = (cut(&book.bids), cut(&book.asks));
    Ok(payload::rest_book([&bids, &asks], inner.now().exchange_ms, book.last_update_id))
}
