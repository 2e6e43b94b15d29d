//! The truth's payloads read back: rows as they went on the wire.

use serde::Deserialize;
use serde_json::Value;

use crate::event::Kind;
use crate::protocol::Read;
use crate::truth::{AggTrade, DepthEvent, Quote, RawTrade};
use crate::world::BookText;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow {
    trade_id: String,
    px: String,
    sz: String,
    side: String,
    ts: String,
    #[serde(default)]
    count: Option<String>,
}

/// Price, size, a deprecated column, orders.
type LevelRow = (String, String, String, String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookRow {
    asks: Vec<LevelRow>,
    bids: Vec<LevelRow>,
    ts: String,
    seq_id: u64,
    #[serde(default)]
    prev_seq_id: i64,
    /// Of a recording: what the row does.
    #[serde(default)]
    action: Option<String>,
}

fn of<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    serde_json::from_str(payload).map_err(|error| error.to_string())
}

fn whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number"))
}

fn pairs(levels: Vec<LevelRow>) -> Vec<(String, String)> {
    levels.into_iter().map(|(price, size, ..)| (price, size)).collect()
}

pub(super) fn read(kind: Kind, payload: &str) -> Result<Read, String> {
    Ok(match kind {
        Kind::Trade | Kind::AggTrade => {
            let row: TradeRow = of(payload)?;
            let (id, time_ms) = (whole(&row.trade_id)?, whole(&row.ts)?);
            let (price, size, buyer_is_maker) = (row.px, row.sz, row.side == "sell");
            if kind == Kind::Trade {
                let (event_ms, source, wall_ns) = (time_ms, None, 0);
                return Ok(Read::Trade(RawTrade {
                    event_ms,
                    id,
                    name: None,
                    price,
                    size,
                    time_ms,
                    buyer_is_maker,
                    source,
                    wall_ns,
                }));
            }
            let count: u64 = row.count.as_deref().map_or(Ok(1), whole)?;
            Read::Group(AggTrade {
                event_ms: time_ms,
                id,
                price,
                size,
                normal_size: None,
                first_id: (id + 1).saturating_sub(count),
                last_id: id,
                time_ms,
                buyer_is_maker,
                wall_ns: 0,
            })
        }
        Kind::BookTicker => {
            let row: BookRow = of(payload)?;
            let best = |levels: &[LevelRow]| {
                levels.first().map_or(("0".to_owned(), "0".to_owned()), |(p, q, ..)| (p.clone(), q.clone()))
            };
            let ((bid, bid_size), (ask, ask_size), ms) = (best(&row.bids), best(&row.asks), whole(&row.ts)?);
            let (update_id, event_ms, time_ms) = (row.seq_id, ms, ms);
            Read::Quote(Quote { update_id, bid, bid_size, ask, ask_size, event_ms, time_ms, wall_ns: 0 })
        }
        Kind::Depth => {
            let row: BookRow = of(payload)?;
            let (last, ms) = (row.seq_id, whole(&row.ts)?);
            if row.action.as_deref() == Some("snapshot") {
                let (bids, asks) = (pairs(row.bids), pairs(row.asks));
                return Ok(Read::Whole(BookText { last_update_id: last, bids, asks }));
            }
            Read::Depth(DepthEvent {
                event_ms: ms,
                time_ms: ms,
                first: last,
                last,
                previous: u64::try_from(row.prev_seq_id).unwrap_or(0),
                bids: pairs(row.bids),
                asks: pairs(row.asks),
                wall_ns: 0,
            })
        }
        _ => Read::Stated,
    })
}

/// `ts`, wherever the channel has it.
pub(super) fn time_of(payload: &str) -> i64 {
    let value: Value = serde_json::from_str(payload).unwrap_or_default();
    let ts = value["ts"].as_str().or_else(|| value["details"][0]["ts"].as_str());
    ts.and_then(|ts| ts.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_covers_the_ids_that_end_with_its_own() {
        let row = r#"{"instId":"A-B","tradeId":"1004","px":"2.5","sz":"3","side":"sell","ts":"1790000000123","count":"3","source":"0","seqId":7}"#;
        let Ok(Read::Group(group)) = read(Kind::AggTrade, row) else { panic!("a group") };
        assert_eq!((group.first_id, group.last_id, group.buyer_is_maker), (1002, 1004, true));
        let Ok(Read::Trade(one)) = read(Kind::Trade, row) else { panic!("a match") };
        assert_eq!((one.id, one.time_ms), (1004, 1_790_000_000_123));
    }

    #[test]
    fn times_are_found_in_rows_and_details() {
        assert_eq!(time_of(r#"{"ts":"12"}"#), 12);
        assert_eq!(time_of(r#"{"details":[{"ts":"13"}]}"#), 13);
        assert_eq!(time_of(r#"["14","1"]"#), 0);
    }
}
