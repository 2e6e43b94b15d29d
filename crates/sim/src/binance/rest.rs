//! The REST side: what the venue sheets list for public market data, weighed and refused as they say.

use std::fmt::Write as _;

use super::info;
use crate::config::{VenueConfig, VenueKind};
use crate::serve::{Answer, Asked, Query};
use crate::truth::{AggTrade, RawTrade};
use crate::venue::{Inner, Venue};
use crate::world::{BookText, World, push_levels};

/// The path in front of every endpoint.
const fn api(kind: VenueKind) -> &'static str {
    match kind {
        VenueKind::BinanceUsdm => "/fapi/v1/",
        VenueKind::BinanceCoinm => "/dapi/v1/",
        _ => "/api/v3/",
    }
}

pub(super) fn asked<'a>(config: &VenueConfig, path: &'a str, query: &Query) -> Option<Asked<'a>> {
    let kind = config.kind;
    let endpoint = path.strip_prefix(api(kind))?;
    let limit = query.text("limit").and_then(|text| text.parse().ok()).unwrap_or(default_limit(kind, endpoint));
    let with_symbol = query.text("symbol").is_some();
    let cost = cost(kind, endpoint, limit, with_symbol);
    Some(Asked {
        endpoint,
        subject: "",
        bucket: "",
        cost,
        snapshot: endpoint == "depth" && with_symbol,
        has_key: false,
    })
}

/// # Errors
/// The venue's complaint when the parameter is there and no number.
fn number(query: &Query, key: &str) -> Result<Option<i64>, Answer> {
    match query.text(key) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| illegal(key)),
    }
}

pub(super) fn error(status: u16, code: i32, msg: &str) -> Answer {
    (status, format!(r#"{{"code":{code},"msg":"{msg}"}}"#))
}

fn illegal(key: &str) -> Answer {
    error(400, -1100, &format!("Illegal characters found in parameter '{key}'."))
}

/// What an endpoint costs. `limit` is the request's own.
fn cost(kind: VenueKind, endpoint: &str, limit: u32, with_symbol: bool) -> u32 {
    match (kind.is_spot(), endpoint) {
        (true, "depth") => match limit {
            0..=100 => 5,
            101..=500 => 25,
            501..=1000 => 50,
            _ => 250,
        },
        (false, "depth") => match limit {
            0..=50 => 2,
            51..=100 => 5,
            101..=500 => 10,
            _ => 20,
        },
        (true, "exchangeInfo") => 20,
        (true, "aggTrades") => 4,
        (true, "historicalTrades" | "trades") => 25,
        (false, "aggTrades" | "historicalTrades") => 20,
        (false, "trades") => 5,
        (true, "klines") => 2,
        (false, "klines") => match limit {
            0..=99 => 1,
            100..=499 => 2,
            500..=1000 => 5,
            _ => 10,
        },
        (true, "ticker/24hr") => {
            if with_symbol {
                2
            } else {
                80
            }
        }
        (false, "ticker/24hr") => {
            if with_symbol {
                1
            } else {
                40
            }
        }
        (false, "premiumIndex") => {
            if with_symbol {
                1
            } else {
                10
            }
        }
        _ => 1,
    }
}

const fn default_limit(kind: VenueKind, endpoint: &str) -> u32 {
    match (kind.is_spot(), endpoint.len()) {
        // "depth"
        (true, 5) => 100,
        _ => 500,
    }
}

pub(super) fn serve(
    venue: &Venue,
    inner: &Inner,
    asked: &Asked<'_>,
    query: &Query,
    stale: bool,
) -> Result<Answer, Answer> {
    let &Asked { endpoint, has_key, .. } = asked;
    let kind = venue.config.kind;
    let now = inner.now();
    let body = match endpoint {
        "ping" => "{}".to_owned(),
        "time" => format!(r#"{{"serverTime":{}}}"#, now.exchange_ms),
        "exchangeInfo" => {
            let only = query.text("symbol");
            if only.is_some() {
                symbol(inner, query)?;
            }
            info::body(inner, kind, super::weight_per_min(&venue.config), now.exchange_ms, only)
        }
        "depth" => depth(kind, inner, query, stale)?,
        "aggTrades" => agg_trades(kind, inner, query)?,
        "trades" | "historicalTrades" => {
            if endpoint == "historicalTrades" && super::key_for_history(&venue.config) && !has_key {
                return Err(error(401, -2014, "API-key format invalid."));
            }
            trades(kind, inner, query, endpoint == "historicalTrades")?
        }
        "klines" => klines(inner, query)?,
        "ticker/24hr" => ticker(inner, query)?,
        "premiumIndex" if !kind.is_spot() => premium(inner, query)?,
        "openInterest" if !kind.is_spot() => {
            let past = &inner.history.by_symbol[symbol(inner, query)?];
            past.open_interest.clone().ok_or_else(|| error(400, -1000, "no open interest yet"))?
        }
        _ => return Err((404, "{}".into())),
    };
    Ok((200, body))
}

fn symbol<'a>(inner: &Inner, query: &'a Query) -> Result<&'a str, Answer> {
    let name = query
        .text("symbol")
        .ok_or_else(|| error(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."))?;
    if inner.history.by_symbol.contains_key(name) { Ok(name) } else { Err(error(400, -1121, "Invalid symbol.")) }
}

/// `limit`, within the endpoint's own.
fn limit(query: &Query, default: usize, max: usize) -> Result<usize, Answer> {
    match number(query, "limit")? {
        None => Ok(default),
        Some(n) if n > 0 => Ok((n as usize).min(max)),
        Some(_) => Err(error(400, -1100, "Illegal parameter 'limit'.")),
    }
}

fn depth(kind: VenueKind, inner: &Inner, query: &Query, stale: bool) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let limit = if kind.is_spot() {
        limit(query, 100, 5000)?
    } else {
        let asked = number(query, "limit")?.unwrap_or(500);
        if ![5, 10, 20, 50, 100, 500, 1000].contains(&asked) {
            let msg = format!("{asked} is not valid depth limit (should be [5, 10, 20, 50, 100, 500, 1000]).");
            return Err(error(400, -4021, &msg));
        }
        asked as usize
    };
    let old = stale.then(|| inner.history.by_symbol[name].snapshots.front().cloned()).flatten();
    let book: BookText =
        old.or_else(|| inner.world.book(name, limit)).ok_or_else(|| error(400, -1000, "no book was recorded"))?;
    let mut text = format!("{{\"lastUpdateId\":{},", book.last_update_id);
    if !kind.is_spot() {
        let at = inner.now().exchange_ms;
        let _ = write!(text, "\"E\":{at},\"T\":{at},");
    }
    text.push_str("\"bids\":");
    push_levels(&mut text, &book.bids[..limit.min(book.bids.len())]);
    text.push_str(",\"asks\":");
    push_levels(&mut text, &book.asks[..limit.min(book.asks.len())]);
    text.push('}');
    Ok(text)
}

/// The rows that a list endpoint's parameters choose: by id, from a time on, up to a time, or the newest.
fn choose<'a, T>(
    rows: &'a [T],
    query: &Query,
    limit: usize,
    id: impl Fn(&T) -> u64,
    time: impl Fn(&T) -> i64,
) -> Result<&'a [T], Answer> {
    let (start, end) = (number(query, "startTime")?, number(query, "endTime")?);
    let newest = |rows: &[T]| rows.len().saturating_sub(limit);
    if let Some(from) = number(query, "fromId")? {
        let at = rows.partition_point(|row| (id(row) as i64) < from);
        return Ok(&rows[at..(at + limit).min(rows.len())]);
    }
    let until = end.map_or(rows.len(), |end| rows.partition_point(|row| time(row) <= end));
    Ok(match start {
        Some(start) => {
            let at = rows.partition_point(|row| time(row) < start).min(until);
            &rows[at..(at + limit).min(until)]
        }
        None => &rows[newest(&rows[..until])..until],
    })
}

fn list<T>(rows: &[T], mut push: impl FnMut(&mut String, &T)) -> String {
    let mut text = String::from("[");
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        push(&mut text, row);
    }
    text.push(']');
    text
}

fn agg_trades(kind: VenueKind, inner: &Inner, query: &Query) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let limit = limit(query, 500, 1000)?;
    let mut rows: &[AggTrade] = &inner.history.by_symbol[name].agg_trades;
    if !kind.is_spot() {
        if let (Some(start), Some(end)) = (number(query, "startTime")?, number(query, "endTime")?)
            && end - start >= 3_600_000
        {
            return Err(error(400, -1127, "More than 1 hours between startTime and endTime."));
        }
        // Only the last day is kept there.
        let oldest = inner.now().exchange_ms - 24 * 3_600_000;
        if matches!(inner.world, World::Generated(_)) {
            rows = &rows[rows.partition_point(|row| row.time_ms < oldest)..];
        }
    }
    let rows = choose(rows, query, limit, |row| row.id, |row| row.time_ms)?;
    Ok(list(rows, |text, row| {
        let AggTrade { id, price, size, first_id, last_id, time_ms, buyer_is_maker, .. } = row;
        let nq = row.normal_size.as_ref().map_or(String::new(), |nq| format!(r#""nq":"{nq}","#));
        let tail = if kind.is_spot() { ",\"M\":true" } else { "" };
        let _ = write!(
            text,
            r#"{{"a":{id},"p":"{price}","q":"{size}",{nq}"f":{first_id},"l":{last_id},"T":{time_ms},"m":{buyer_is_maker}{tail}}}"#
        );
    }))
}

fn trades(kind: VenueKind, inner: &Inner, query: &Query, by_id: bool) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let recorded = matches!(inner.world, World::Recorded(_));
    let max = if by_id && kind == VenueKind::BinanceUsdm && !recorded { 500 } else { 1000 };
    let limit = limit(query, 500, max)?;
    // Off-book prints are not in the futures history; a recording's are, since its stream is all there is to heal from.
    let on_book = |row: &&RawTrade| recorded || row.source.as_deref().is_none_or(|source| source == "MARKET");
    let rows = &inner.history.by_symbol[name].trades;
    let rows: Vec<&RawTrade> = match number(query, "fromId")? {
        Some(from) if by_id => {
            let at = rows.partition_point(|row| (row.id as i64) < from);
            rows[at..].iter().filter(on_book).take(limit).collect()
        }
        _ => {
            let mut newest: Vec<&RawTrade> = rows.iter().rev().filter(on_book).take(limit).collect();
            newest.reverse();
            newest
        }
    };
    Ok(list(&rows, |text, row| {
        let RawTrade { id, price, size, time_ms, buyer_is_maker, .. } = row;
        let tail = if kind.is_spot() { ",\"isBestMatch\":true" } else { ",\"isRPITrade\":false" };
        let quote = quote_amount(price, size);
        let _ = write!(
            text,
            r#"{{"id":{id},"price":"{price}","qty":"{size}","quoteQty":"{quote}","time":{time_ms},"isBuyerMaker":{buyer_is_maker}{tail}}}"#
        );
    }))
}

/// Exact product, cut to eight decimals.
fn quote_amount(price: &str, size: &str) -> String {
    let units = |text: &str| i128::from(crate::decimal::parse(text, 8).unwrap_or(0));
    crate::decimal::fixed(units(price) * units(size) / 100_000_000, 8)
}

fn klines(inner: &Inner, query: &Query) -> Result<String, Answer> {
    let name = symbol(inner, query)?;
    let interval = query.text("interval").ok_or_else(|| {
        error(400, -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
    })?;
    let limit = limit(query, 500, 1500)?;
    let all: Vec<(i64, &String)> = inner.history.by_symbol[name]
        .klines
        .range((interval.to_owned(), i64::MIN)..=(interval.to_owned(), i64::MAX))
        .map(|((_, open), k)| (*open, k))
        .collect();
    let rows = choose(&all, query, limit, |row| row.0 as u64, |row| row.0)?;
    Ok(list(rows, |text, (_, k)| {
        let k: serde_json::Value = serde_json::from_str(k).unwrap_or_default();
        let row = ["t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B"].map(|key| k[key].to_string());
        let _ = write!(text, "[{}]", row.join(","));
    }))
}

/// The last told ticker in the REST spelling.
fn ticker(inner: &Inner, query: &Query) -> Result<String, Answer> {
    const NAMES: [(&str, &str); 20] = [
        ("symbol", "s"),
        ("priceChange", "p"),
        ("priceChangePercent", "P"),
        ("weightedAvgPrice", "w"),
        ("prevClosePrice", "x"),
        ("lastPrice", "c"),
        ("lastQty", "Q"),
        ("bidPrice", "b"),
        ("bidQty", "B"),
        ("askPrice", "a"),
        ("askQty", "A"),
        ("openPrice", "o"),
        ("highPrice", "h"),
        ("lowPrice", "l"),
        ("volume", "v"),
        ("quoteVolume", "q"),
        ("openTime", "O"),
        ("closeTime", "C"),
        ("firstId", "F"),
        ("lastId", "L"),
    ];
    let one = |payload: &str| {
        let event: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
        let fields = NAMES.iter().filter_map(|(name, key)| Some(format!("\"{name}\":{}", event.get(*key)?)));
        let count = format!("\"count\":{}", event["n"]);
        format!("{{{}}}", fields.chain([count]).collect::<Vec<_>>().join(","))
    };
    if query.text("symbol").is_some() {
        let past = &inner.history.by_symbol[symbol(inner, query)?];
        return past.ticker.as_deref().map(one).ok_or_else(|| error(400, -1000, "no ticker yet"));
    }
    let all: Vec<&String> = inner.history.by_symbol.values().filter_map(|past| past.ticker.as_ref()).collect();
    Ok(list(&all, |text, payload| text.push_str(&one(payload))))
}

fn premium(inner: &Inner, query: &Query) -> Result<String, Answer> {
    let one = |payload: &str| {
        let event: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
        format!(
            r#"{{"symbol":{},"markPrice":{},"indexPrice":{},"estimatedSettlePrice":{},"lastFundingRate":{},"interestRate":"0.00010000","nextFundingTime":{},"time":{}}}"#,
            event["s"], event["p"], event["i"], event["P"], event["r"], event["T"], event["E"]
        )
    };
    if query.text("symbol").is_some() {
        let past = &inner.history.by_symbol[symbol(inner, query)?];
        return past.mark.as_deref().map(one).ok_or_else(|| error(400, -1000, "no mark price yet"));
    }
    let all: Vec<&String> = inner.history.by_symbol.values().filter_map(|past| past.mark.as_ref()).collect();
    Ok(list(&all, |text, payload| text.push_str(&one(payload))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_sheets() {
        assert_eq!(cost(VenueKind::BinanceSpot, "depth", 5000, true), 250);
        assert_eq!(cost(VenueKind::BinanceUsdm, "depth", 1000, true), 20);
        assert_eq!(cost(VenueKind::BinanceUsdm, "aggTrades", 1000, true), 20);
        assert_eq!(cost(VenueKind::BinanceSpot, "aggTrades", 1000, true), 4);
    }
}
