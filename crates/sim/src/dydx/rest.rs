//! The REST side: 100 requests in ten seconds, candles ten times as many; unknown parameters are ignored.
//!
//! Trades come newest first, down from a height or a time that is included; with `page` in the order of their events. Plurals differ:
//! `trades/perpetualMarket/`, `candles/perpetualMarkets/`.

use super::chain::{self, height_of};
use super::payload::{self, Fill};
use super::voice::DEPTH;
use crate::config::VenueConfig;
use crate::iso::{iso, parse_iso};
use crate::serve::{Answer, Asked, Query, unescape};
use crate::truth::RawTrade;
use crate::venue::Inner;

/// Rows of one answer, where the deployment says nothing else.
const ROWS_MAX: usize = 1_000;
/// Of one window; a request costs ten of them, one for candles one.
pub const WINDOW: u32 = 1_000;
const COST: u32 = 10;

/// Endpoints and what comes behind them in the path.
const ENDPOINTS: [(&str, bool); 7] = [
    ("time", false),
    ("height", false),
    ("perpetualMarkets", false),
    ("trades/perpetualMarket", true),
    ("orderbooks/perpetualMarket", true),
    ("candles/perpetualMarkets", true),
    ("ping", false),
];

pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    let rest = path.strip_prefix("/v4/")?;
    let (endpoint, subject) = ENDPOINTS.into_iter().find_map(|(name, has_subject)| match has_subject {
        true => rest.strip_prefix(name)?.strip_prefix('/').map(|subject| (name, subject)),
        false => (rest == name).then_some((name, "")),
    })?;
    let (bucket, cost) = if endpoint.starts_with("candles") { ("candles", 1) } else { ("", COST) };
    Some(Asked { endpoint, subject, bucket, cost, snapshot: endpoint.starts_with("orderbooks"), has_key: false })
}

/// Requests that are left of the window.
pub(super) fn left(bucket: &str, used: u32) -> u32 {
    WINDOW.saturating_sub(used) / if bucket == "candles" { 1 } else { COST }
}

pub(super) fn error(status: u16, msg: &str) -> Answer {
    (status, format!(r#"{{"errors":[{{"msg":"{msg}"}}]}}"#))
}

pub(super) fn serve(
    config: &VenueConfig,
    inner: &Inner,
    asked: &Asked<'_>,
    query: &Query,
    stale: bool,
) -> Result<Answer, Answer> {
    let now = inner.now();
    let body = match asked.endpoint {
        "time" => format!(
            r#"{{"iso":"{}","epoch":{}.{:03}}}"#,
            iso(now.exchange_ms),
            now.exchange_ms / 1_000,
            now.exchange_ms % 1_000
        ),
        "height" => format!(r#"{{"height":"{}","time":"{}"}}"#, chain::height(now.run_ms), iso(now.exchange_ms)),
        "perpetualMarkets" => markets(inner, query)?,
        "trades/perpetualMarket" => trades(config, inner, &market(inner, asked)?, query)?,
        "orderbooks/perpetualMarket" => book(inner, &market(inner, asked)?, stale)?,
        "candles/perpetualMarkets" => candles(config, inner, &market(inner, asked)?, query)?,
        _ => "{}".to_owned(),
    };
    Ok((200, body))
}

fn market(inner: &Inner, asked: &Asked<'_>) -> Result<String, Answer> {
    let name = unescape(asked.subject);
    if inner.history.by_symbol.contains_key(&name) {
        Ok(name)
    } else {
        Err(error(400, "ticker must be a valid ticker (BTC-USD, etc)"))
    }
}

fn number(query: &Query, key: &str) -> Result<Option<u64>, Answer> {
    let wrong = || error(400, &format!("{key} must be a non-negative integer"));
    query.text(key).map(|text| text.parse().map_err(|_| wrong())).transpose()
}

fn time(query: &Query, key: &str) -> Result<Option<i64>, Answer> {
    let wrong = || error(400, &format!("{key} must be a valid ISO 8601 string"));
    query.text(key).map(|text| parse_iso(text).ok_or_else(wrong)).transpose()
}

/// Rows of an answer: as many as are asked for, as long as the deployment gives so many.
fn limit(config: &VenueConfig, query: &Query) -> Result<usize, Answer> {
    let most = config.limits.page_rows.unwrap_or(ROWS_MAX);
    match number(query, "limit")? {
        None => Ok(most),
        Some(rows) if (1..=most as u64).contains(&rows) => Ok(rows as usize),
        Some(_) => Err(error(400, &format!("limit must be a positive integer that is not greater than max: {most}"))),
    }
}

fn markets(inner: &Inner, query: &Query) -> Result<String, Answer> {
    let wanted = query.text("ticker");
    let rows = inner.world.definitions(&|symbol| wanted.is_none_or(|wanted| wanted == symbol));
    if rows.is_empty() {
        return Err(error(400, "ticker must be a valid ticker (BTC-USD, etc)"));
    }
    Ok(format!(r#"{{"markets":{{{}}}}}"#, rows.join(",")))
}

fn trades(config: &VenueConfig, inner: &Inner, name: &str, query: &Query) -> Result<String, Answer> {
    let mut rows: &[RawTrade] = &inner.history.by_symbol[name].trades;
    if let Some(height) = number(query, "createdBeforeOrAtHeight")? {
        rows = &rows[..rows.partition_point(|row| height_of(row.id) <= height)];
    }
    if let Some(at) = time(query, "createdBeforeOrAt")? {
        rows = &rows[..rows.partition_point(|row| row.time_ms <= at)];
    }
    let limit = limit(config, query)?;
    let row = |trade: &RawTrade| payload::trade(&Fill::of(trade), true);
    let Some(page) = number(query, "page")? else {
        let newest: Vec<String> = rows.iter().rev().take(limit).map(row).collect();
        return Ok(payload::trades(&newest));
    };
    let offset = (page.max(1) as usize - 1).saturating_mul(limit);
    let some: Vec<String> = rows.iter().skip(offset).take(limit).map(row).collect();
    let list = payload::trades(&some);
    Ok(format!(r#"{},"pageSize":{limit},"totalResults":{},"offset":{offset}}}"#, &list[..list.len() - 1], rows.len()))
}

fn book(inner: &Inner, name: &str, stale: bool) -> Result<String, Answer> {
    let old = stale.then(|| inner.history.by_symbol[name].snapshots.front().cloned()).flatten();
    let book = old.or_else(|| inner.world.book(name, DEPTH)).ok_or_else(|| error(404, "no book"))?;
    let cut = |levels: &'_ [(String, String)]| levels[..DEPTH.min(levels.len())].to_vec();
    Ok(payload::book([&cut(&book.bids), &cut(&book.asks)]))
}

fn candles(config: &VenueConfig, inner: &Inner, name: &str, query: &Query) -> Result<String, Answer> {
    let wanted = query.text("resolution").unwrap_or_default();
    let (from, to) = (time(query, "fromISO")?, time(query, "toISO")?);
    let told = inner.history.by_symbol[name].klines.iter();
    let fits = |interval: &str, at: i64| {
        payload::resolution(interval) == Some(wanted)
            && from.is_none_or(|from| at >= from)
            && to.is_none_or(|to| at < to)
    };
    let rows: Vec<&str> = told.filter(|((i, at), _)| fits(i, *at)).map(|(_, row)| row.as_str()).collect();
    let limit = limit(config, query)?;
    let newest: Vec<&str> = rows.into_iter().rev().take(limit).collect();
    Ok(format!(r#"{{"candles":[{}]}}"#, newest.join(",")))
}
