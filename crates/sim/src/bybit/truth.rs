//! The truth's payloads read back: messages as they went on the wire, tickers whole.

use serde::Deserialize;
use serde_json::Value;

use super::ids;
use crate::event::Kind;
use crate::protocol::Read;
use crate::truth::{DepthEvent, Quote, RawTrade};
use crate::world::BookText;

#[derive(Deserialize)]
struct Message<T> {
    #[serde(rename = "type", default)]
    kind: String,
    ts: i64,
    #[serde(default)]
    cts: i64,
    data: T,
    /// The id before a count that began anew.
    #[serde(default)]
    after: Option<u64>,
}

#[derive(Deserialize)]
struct TradeRow {
    #[serde(rename = "T")]
    time_ms: i64,
    #[serde(rename = "S")]
    side: String,
    v: String,
    p: String,
    i: String,
}

#[derive(Deserialize)]
struct BookRow {
    b: Vec<(String, String)>,
    a: Vec<(String, String)>,
    u: u64,
}

fn of<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<Message<T>, String> {
    serde_json::from_str(payload).map_err(|error| error.to_string())
}

fn trade(row: TradeRow) -> Result<RawTrade, String> {
    let id = ids::number(&row.i).ok_or_else(|| format!("`{}` is no trade id", row.i))?;
    Ok(RawTrade {
        event_ms: row.time_ms,
        id,
        name: row.i.contains('-').then_some(row.i),
        price: row.p,
        size: row.v,
        time_ms: row.time_ms,
        buyer_is_maker: row.side == "Sell",
        source: None,
        wall_ns: 0,
    })
}

pub(super) fn read(kind: Kind, payload: &str) -> Result<Read, String> {
    Ok(match kind {
        Kind::Trade => {
            Read::Trades(of::<Vec<TradeRow>>(payload)?.data.into_iter().map(trade).collect::<Result<_, _>>()?)
        }
        Kind::BookTicker => {
            let Message { cts, data, .. } = of::<BookRow>(payload)?;
            let best = |levels: Vec<(String, String)>| levels.into_iter().next().unwrap_or(("0".into(), "0".into()));
            let ((bid, bid_size), (ask, ask_size)) = (best(data.b), best(data.a));
            let (update_id, event_ms, time_ms) = (data.u, cts, cts);
            Read::Quote(Quote { update_id, bid, bid_size, ask, ask_size, event_ms, time_ms, wall_ns: 0 })
        }
        Kind::Depth => {
            let Message { kind, ts, cts, data, after } = of::<BookRow>(payload)?;
            if kind == "snapshot" {
                return Ok(Read::Whole(BookText { last_update_id: data.u, bids: data.b, asks: data.a }));
            }
            Read::Depth(DepthEvent {
                event_ms: ts,
                time_ms: cts,
                first: data.u,
                last: data.u,
                previous: after.unwrap_or(data.u.saturating_sub(1)),
                bids: data.b,
                asks: data.a,
                wall_ns: 0,
            })
        }
        _ => Read::Stated,
    })
}

/// When the message was made.
pub(super) fn time_of(payload: &str) -> i64 {
    let value: Value = serde_json::from_str(payload).unwrap_or_default();
    value["ts"].as_i64().unwrap_or(0)
}

/// The opening time, and `[start,open,high,low,close,volume,turnover]`.
pub(super) fn candle(payload: &str) -> Option<(i64, String)> {
    let value: Value = serde_json::from_str(payload).ok()?;
    let row = &value["data"][0];
    let start = row["start"].as_i64()?;
    let columns: Vec<&str> = ["open", "high", "low", "close", "volume", "turnover"]
        .into_iter()
        .map(|key| row[key].as_str())
        .collect::<Option<_>>()?;
    Some((start, format!(r#"["{start}","{}"]"#, columns.join("\",\""))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_trades_is_read_whole_with_both_ways_to_call_them() {
        let uuid = ids::uuid("AB", 41);
        let text = format!(
            r#"{{"topic":"publicTrade.AB","type":"snapshot","ts":9,"data":[{{"T":7,"s":"AB","S":"Sell","v":"2","p":"1.5","i":"{uuid}"}},{{"T":7,"s":"AB","S":"Buy","v":"3","p":"1.5","i":"42"}}]}}"#
        );
        let Ok(Read::Trades(all)) = read(Kind::Trade, &text) else { panic!("trades") };
        assert_eq!((all[0].id, all[0].name.as_deref(), all[0].buyer_is_maker), (41, Some(uuid.as_str()), true));
        assert_eq!((all[1].id, all[1].name.as_deref(), all[1].time_ms), (42, None, 7));
    }

    #[test]
    fn a_count_that_began_anew_follows_what_was_before() {
        let text = r#"{"topic":"orderbook.200.AB","type":"delta","ts":9,"data":{"s":"AB","b":[["1","0"]],"a":[],"u":1,"seq":3},"cts":8,"after":77}"#;
        let Ok(Read::Depth(event)) = read(Kind::Depth, text) else { panic!("a change") };
        assert_eq!((event.previous, event.last, event.time_ms), (77, 1, 8));
    }
}
