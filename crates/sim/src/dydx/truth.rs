//! The truth's payloads read back: contents as they went on the wire. Updates of the book have a number there that the wire lacks.

use serde::Deserialize;
use serde_json::Value;

use super::chain::place_of;
use super::payload::Fill;
use crate::event::Kind;
use crate::iso::parse_iso;
use crate::protocol::Read;
use crate::truth::{DepthEvent, Quote, RawTrade};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow {
    id: String,
    side: String,
    size: String,
    price: String,
    #[serde(rename = "type")]
    kind: String,
    created_at: String,
}

#[derive(Deserialize)]
struct TradeRows {
    trades: Vec<TradeRow>,
}

type Level = (String, String);

#[derive(Deserialize)]
struct Update {
    n: u64,
    #[serde(default)]
    bids: Vec<Level>,
    #[serde(default)]
    asks: Vec<Level>,
}

#[derive(Deserialize)]
struct Best {
    bid: Level,
    ask: Level,
}

fn of<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    serde_json::from_str(payload).map_err(|error| error.to_string())
}

impl TradeRow {
    fn trade(self) -> Result<RawTrade, String> {
        let time_ms = parse_iso(&self.created_at).ok_or_else(|| format!("`{}` is no time", self.created_at))?;
        let id = place_of(&self.id).ok_or_else(|| format!("`{}` is no event's name", self.id))?;
        Ok(RawTrade {
            event_ms: time_ms,
            id,
            price: self.price,
            size: self.size,
            time_ms,
            buyer_is_maker: self.side == "SELL",
            source: Some(self.kind),
            name: Some(self.id),
            wall_ns: 0,
        })
    }
}

impl Fill {
    /// A fill of the truth.
    pub fn of(trade: &RawTrade) -> Self {
        Self {
            place: trade.id,
            price: trade.price.clone(),
            size: trade.size.clone(),
            seller_took: trade.buyer_is_maker,
            kind: trade.source.clone().unwrap_or_default(),
            at_ms: trade.time_ms,
        }
    }
}

pub(super) fn read(kind: Kind, payload: &str) -> Result<Read, String> {
    Ok(match kind {
        Kind::Trade => {
            let rows: TradeRows = of(payload)?;
            Read::Trades(rows.trades.into_iter().map(TradeRow::trade).collect::<Result<_, _>>()?)
        }
        Kind::BookTicker => {
            let Best { bid: (bid, bid_size), ask: (ask, ask_size) } = of(payload)?;
            Read::Quote(Quote { update_id: 0, bid, bid_size, ask, ask_size, event_ms: 0, time_ms: 0, wall_ns: 0 })
        }
        Kind::Depth => {
            let Update { n, bids, asks } = of(payload)?;
            Read::Depth(DepthEvent {
                event_ms: 0,
                time_ms: 0,
                first: n,
                last: n,
                previous: n.saturating_sub(1),
                bids,
                asks,
                wall_ns: 0,
            })
        }
        _ => Read::Stated,
    })
}

/// A candle's start and its row.
pub(super) fn candle(payload: &str) -> Option<(i64, String)> {
    let row: Value = serde_json::from_str(payload).ok()?;
    Some((parse_iso(row["startedAt"].as_str()?)?, payload.to_owned()))
}

/// The oracle's time; nothing else that is stated has one.
pub(super) fn time_of(payload: &str) -> i64 {
    let value: Value = serde_json::from_str(payload).unwrap_or_default();
    let prices = value["oraclePrices"].as_object().and_then(|all| all.values().next());
    prices.and_then(|one| parse_iso(one["effectiveAt"].as_str()?)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_holds_the_trades_of_a_block() {
        let row = |event: &str| {
            format!(
                r#"{{"id":"0151a2b3000000020000000{event}","side":"SELL","size":"1.5","price":"7","type":"LIQUIDATED","createdAt":"2024-08-08T23:54:16.322Z"}}"#
            )
        };
        let Ok(Read::Trades(all)) = read(Kind::Trade, &format!(r#"{{"trades":[{},{}]}}"#, row("2"), row("5"))) else {
            panic!("trades")
        };
        assert_eq!(all.len(), 2);
        assert!(all[0].id < all[1].id && all[0].time_ms == 1_723_161_256_322 && all[0].buyer_is_maker);
        assert_eq!(payload_of(&all[1]), row("5"));
    }

    fn payload_of(trade: &RawTrade) -> String {
        super::super::payload::trade(&Fill::of(trade), false)
    }

    #[test]
    fn the_oracles_time_is_found() {
        let text = super::super::payload::oracle("A-USD", "1", 1_723_161_256_322, 9, 1);
        assert_eq!(time_of(&text), 1_723_161_256_322);
        assert_eq!(time_of(r#"{"trading":{"A-USD":{"openInterest":"1"}}}"#), 0);
    }
}
