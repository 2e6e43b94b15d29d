//! The REST side. Every body is `{"retCode":0,"retMsg":"OK","result":{…}}`, most errors at status 200; lists are newest first.
//!
//! Of past trades there are the newest alone, without cursor, id or time: what a stream missed is gone.

use super::category::Category;
use crate::serve::{Answer, Asked, Query};
use crate::truth::RawTrade;
use crate::venue::Inner;

const ENDPOINTS: [&str; 5] =
    ["market/time", "market/instruments-info", "market/recent-trade", "market/orderbook", "market/kline"];

/// Whatever is asked, an address has one account.
pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    let endpoint = path.strip_prefix("/v5/").filter(|endpoint| ENDPOINTS.contains(endpoint))?;
    Some(Asked { endpoint, subject: "", bucket: "", cost: 1, snapshot: endpoint == "market/orderbook", has_key: false })
}

pub(super) fn error(status: u16, code: u32, msg: &str) -> Answer {
    (status, format!(r#"{{"retCode":{code},"retMsg":"{msg}","result":{{}},"retExtInfo":{{}},"time":0}}"#))
}

fn invalid(what: &str) -> Answer {
    error(200, 10_001, &format!("params error: {what} invalid"))
}

pub(super) fn serve(
    category: Category,
    inner: &Inner,
    endpoint: &str,
    query: &Query,
    stale: bool,
) -> Result<Answer, Answer> {
    let now = inner.now();
    let result = match endpoint {
        "market/time" => {
            format!(r#"{{"timeSecond":"{}","timeNano":"{}000000"}}"#, now.exchange_ms / 1_000, now.exchange_ms)
        }
        _ if query.text("category") != Some(category.as_str()) => return Err(invalid("Category")),
        "market/instruments-info" => definitions(category, inner, query)?,
        "market/recent-trade" => newest(category, inner, query)?,
        "market/orderbook" => book(category, inner, query, stale)?,
        _ => candles(category, inner, query)?,
    };
    let at = now.exchange_ms;
    Ok((200, format!(r#"{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{at}}}"#)))
}

fn list(category: Category, more: &str, rows: &[String]) -> String {
    format!(r#"{{"category":"{}",{more}"list":[{}]}}"#, category.as_str(), rows.join(","))
}

/// A whole number, where it is given.
fn number(query: &Query, key: &str) -> Result<Option<u64>, Answer> {
    query.text(key).map(|text| text.parse().map_err(|_| invalid(key))).transpose()
}

fn limit(query: &Query, (most, default): (u64, u64)) -> Result<usize, Answer> {
    match number(query, "limit")?.unwrap_or(default) {
        0 => Err(invalid("limit")),
        n => Ok(n.min(most) as usize),
    }
}

fn symbol<'a>(inner: &Inner, query: &'a Query) -> Result<&'a str, Answer> {
    query.text("symbol").filter(|name| inner.history.by_symbol.contains_key(*name)).ok_or_else(|| invalid("symbol"))
}

/// What trades, unless another status is asked for: there is none of those. Spot has no pages.
fn definitions(category: Category, inner: &Inner, query: &Query) -> Result<String, Answer> {
    let trades = query.text("status").is_none_or(|status| status == "Trading");
    let wanted = |name: &str| trades && query.text("symbol").is_none_or(|one| one == name);
    let rows = inner.world.definitions(&wanted);
    if category == Category::Spot {
        return Ok(list(category, "", &rows));
    }
    let from = match query.text("cursor") {
        Some(cursor) => cursor
            .strip_prefix("page_token=")
            .and_then(|rest| rest.strip_suffix('&')?.parse().ok())
            .filter(|from| *from <= rows.len())
            .ok_or_else(|| invalid("cursor"))?,
        None => 0,
    };
    let to = (from + limit(query, (1_000, 500))?).min(rows.len());
    // Printed as it stands in an address.
    let cursor = if to < rows.len() { format!("page_token%3D{to}%26") } else { String::new() };
    Ok(list(category, &format!(r#""nextPageCursor":"{cursor}","#), &rows[from..to]))
}

fn row(symbol: &str, trade: &RawTrade) -> String {
    let RawTrade { id, name, price, size, time_ms, buyer_is_maker, .. } = trade;
    let id = name.clone().unwrap_or_else(|| id.to_string());
    let side = if *buyer_is_maker { "Sell" } else { "Buy" };
    format!(
        r#"{{"execId":"{id}","symbol":"{symbol}","price":"{price}","size":"{size}","side":"{side}","time":"{time_ms}","isBlockTrade":false,"isRPITrade":false}}"#
    )
}

fn newest(category: Category, inner: &Inner, query: &Query) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let limit = limit(query, category.recent())?;
    let mut trades: Vec<&RawTrade> = inner.history.by_symbol[name].trades.iter().collect();
    // Ids of a recording's derivatives say nothing of the order.
    trades.sort_by_key(|trade| trade.time_ms);
    Ok(list(category, "", &trades.into_iter().rev().take(limit).map(|trade| row(name, trade)).collect::<Vec<_>>()))
}

/// As deep as the stream of 200 levels, whose `u` it has here.
fn book(category: Category, inner: &Inner, query: &Query, stale: bool) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let depth = limit(query, (1_000, if category.is_derivative() { 25 } else { 1 }))?;
    let old = stale.then(|| inner.history.by_symbol[name].snapshots.front().cloned()).flatten();
    let book = old.or_else(|| inner.world.book(name, depth)).ok_or_else(|| invalid("symbol"))?;
    let side = |levels: &[(String, String)]| {
        let mut text = String::new();
        crate::world::push_levels(&mut text, &levels[..depth.min(levels.len())]);
        text
    };
    let (u, at) = (book.last_update_id, inner.now().exchange_ms);
    Ok(format!(
        r#"{{"s":"{name}","b":{},"a":{},"ts":{at},"u":{u},"seq":{u},"cts":{at}}}"#,
        side(&book.bids),
        side(&book.asks)
    ))
}

fn candles(category: Category, inner: &Inner, query: &Query) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let interval = match query.text("interval") {
        Some("60") => "1h".to_owned(),
        Some(minutes) => format!("{minutes}m"),
        None => return Err(invalid("interval")),
    };
    let (start, end) = (number(query, "start")?.unwrap_or(0), number(query, "end")?.unwrap_or(i64::MAX as u64));
    let all = inner.history.by_symbol[name].klines.range((interval.clone(), start as i64)..=(interval, end as i64));
    let rows: Vec<String> = all.rev().take(limit(query, (1_000, 200))?).map(|(_, row)| row.clone()).collect();
    Ok(list(category, &format!(r#""symbol":"{name}","#), &rows))
}
