//! The truth in figures: small enough to read, enough to see at once whether a comparison makes sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::types::{InstrumentTruth, Truth};

/// `truth.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub venues: BTreeMap<String, BTreeMap<String, InstrumentSummary>>,
    /// How often each fault happened, over all runs.
    pub faults: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstrumentSummary {
    pub agg_trades: u64,
    pub first_agg_id: Option<u64>,
    pub last_agg_id: Option<u64>,
    pub trades: u64,
    pub first_trade_id: Option<u64>,
    pub last_trade_id: Option<u64>,
    pub depth_events: u64,
    pub final_update_id: Option<u64>,
    pub final_bid_levels: u64,
    pub final_ask_levels: u64,
    pub quotes: u64,
    pub klines: u64,
    pub tickers: u64,
    pub marks: u64,
    pub force_orders: u64,
    pub open_interest: u64,
    pub status: u64,
}

/// Counts a truth.
pub fn summarise(truth: &Truth) -> Summary {
    let mut summary = Summary::default();
    for (name, venue) in &truth.venues {
        let instruments = venue.instruments.iter().map(|(symbol, one)| (symbol.clone(), count(one))).collect();
        summary.venues.insert(name.clone(), instruments);
    }
    for fault in &truth.faults {
        *summary.faults.entry(fault.kind.name().to_owned()).or_default() += 1;
    }
    summary
}

fn count(one: &InstrumentTruth) -> InstrumentSummary {
    let edge = |id: Option<&u64>| id.copied();
    InstrumentSummary {
        agg_trades: one.agg_trades.len() as u64,
        first_agg_id: edge(one.agg_trades.keys().next()),
        last_agg_id: edge(one.agg_trades.keys().next_back()),
        trades: one.trades.len() as u64,
        first_trade_id: edge(one.trades.keys().next()),
        last_trade_id: edge(one.trades.keys().next_back()),
        depth_events: one.depth.len() as u64,
        final_update_id: one.final_book.as_ref().map(|book| book.last_update_id),
        final_bid_levels: one.final_book.as_ref().map_or(0, |book| book.bids.len() as u64),
        final_ask_levels: one.final_book.as_ref().map_or(0, |book| book.asks.len() as u64),
        quotes: one.quotes.len() as u64,
        klines: one.klines.len() as u64,
        tickers: one.tickers.len() as u64,
        marks: one.marks.len() as u64,
        force_orders: one.force_orders.len() as u64,
        open_interest: one.open_interest.len() as u64,
        status: one.status.len() as u64,
    }
}
