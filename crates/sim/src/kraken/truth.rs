//! The truth's payloads read back: rows as they went on the wire, their numbers in quotes. Updates of the book have a number there that
//! the wire lacks, and say what they pushed out.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::Kind;
use crate::iso::parse_iso;
use crate::protocol::Read;
use crate::truth::{DepthEvent, Quote, RawTrade};

/// The text of a number, in quotes or not.
fn text(number: &RawValue) -> String {
    number.get().trim_matches('"').to_owned()
}

#[derive(Deserialize)]
struct TradeRow<'a> {
    side: &'a str,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
    trade_id: u64,
    timestamp: &'a str,
}

/// A message of trades, of the truth or the wire.
#[derive(Deserialize)]
struct TradeRows<'a> {
    #[serde(borrow)]
    data: Vec<TradeRow<'a>>,
}

#[derive(Deserialize)]
struct Best<'a> {
    #[serde(borrow)]
    bid: &'a RawValue,
    #[serde(borrow)]
    bid_qty: &'a RawValue,
    #[serde(borrow)]
    ask: &'a RawValue,
    #[serde(borrow)]
    ask_qty: &'a RawValue,
    timestamp: &'a str,
}

type Level = (String, String);

#[derive(Deserialize)]
struct Update {
    n: u64,
    bids: Vec<Level>,
    asks: Vec<Level>,
    timestamp: String,
}

fn of<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    serde_json::from_str(payload).map_err(|error| error.to_string())
}

fn ms(time: &str) -> Result<i64, String> {
    parse_iso(time).ok_or_else(|| format!("`{time}` is no time"))
}

fn trade(row: &TradeRow<'_>) -> Result<RawTrade, String> {
    let time_ms = ms(row.timestamp)?;
    Ok(RawTrade {
        event_ms: time_ms,
        id: row.trade_id,
        name: None,
        price: text(row.price),
        size: text(row.qty),
        time_ms,
        buyer_is_maker: row.side == "sell",
        source: None,
        wall_ns: 0,
    })
}

pub(super) fn read(kind: Kind, payload: &str) -> Result<Read, String> {
    Ok(match kind {
        Kind::Trade => {
            Read::Trades(of::<TradeRows<'_>>(payload)?.data.iter().map(trade).collect::<Result<_, String>>()?)
        }
        Kind::BookTicker => {
            let row: Best<'_> = of(payload)?;
            let at_ms = ms(row.timestamp)?;
            let [bid, bid_size, ask, ask_size] = [row.bid, row.bid_qty, row.ask, row.ask_qty].map(text);
            Read::Quote(Quote {
                update_id: 0,
                bid,
                bid_size,
                ask,
                ask_size,
                event_ms: at_ms,
                time_ms: at_ms,
                wall_ns: 0,
            })
        }
        Kind::Depth => {
            let Update { n, bids, asks, timestamp } = of(payload)?;
            let at_ms = ms(&timestamp)?;
            let previous = n.saturating_sub(1);
            let (event_ms, time_ms) = (at_ms, at_ms);
            Read::Depth(DepthEvent { event_ms, time_ms, first: n, last: n, previous, bids, asks, wall_ns: 0 })
        }
        _ => Read::Stated,
    })
}

/// A row's `timestamp`: of a ticker when it was made, of a bar its end.
pub(super) fn time_of(payload: &str) -> i64 {
    let value: Value = serde_json::from_str(payload).unwrap_or_default();
    match value.get("interval_begin") {
        // Its message has another time, which the row does not know.
        Some(_) => 0,
        None => value["timestamp"].as_str().and_then(parse_iso).unwrap_or(0),
    }
}

/// A bar's beginning, ms.
pub(super) fn begin_of(row: &str) -> Option<i64> {
    let value: Value = serde_json::from_str(row).ok()?;
    parse_iso(value["interval_begin"].as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_are_read_of_the_wire_and_of_the_truth_digit_for_digit() {
        for (price, qty) in [("61837.6", "0.10000000"), ("\"61837.6\"", "\"0.10000000\"")] {
            let text = format!(
                r#"{{"channel":"trade","type":"update","data":[{{"symbol":"A/B","side":"sell","price":{price},"qty":{qty},"ord_type":"limit","trade_id":7,"timestamp":"2024-08-08T23:54:16.322987Z"}}]}}"#
            );
            let Ok(Read::Trades(all)) = read(Kind::Trade, &text) else { panic!("trades") };
            assert_eq!((all[0].id, all[0].price.as_str(), all[0].size.as_str()), (7, "61837.6", "0.10000000"));
            assert_eq!((all[0].time_ms, all[0].buyer_is_maker), (1_723_161_256_322, true));
        }
    }

    #[test]
    fn updates_have_their_place_and_bars_no_time() {
        let text = r#"{"n":9,"symbol":"A/B","bids":[["1.0","0.00000000"]],"asks":[],"timestamp":"2024-08-08T23:54:16.322987Z"}"#;
        let Ok(Read::Depth(event)) = read(Kind::Depth, text) else { panic!("an update") };
        assert_eq!((event.previous, event.last, event.event_ms), (8, 9, 1_723_161_256_322));
        let bar = r#"{"interval_begin":"2024-08-08T23:54:00.000000000Z","timestamp":"2024-08-08T23:55:00.000000Z"}"#;
        assert_eq!((time_of(bar), begin_of(bar)), (0, Some(1_723_161_240_000)));
    }
}
