//! Demos that are more than a market: a year of cuts in minutes, and hundreds of instruments that reconnect at once.
//!
//! Both bend rules that hold at a real venue, and say which: each change is a line of the demo's output.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_feed::config::LineConfig;
use wholetape_feed::feed::FeedPlan;
use wholetape_sim::{FaultKind, SimConfig, VenueConfig, VenueKind};
use wholetape_venue::Rate;

use crate::cli::{self, OnOff};

/// Cuts a minute and venue, each of two kinds. Futures heal trades at 20 weight a request out of 2400 a minute, so their
/// budget bears fewer of them than spot's.
const SPOT_CUTS: f64 = 120.0;
const USDM_CUTS: f64 = 50.0;
/// Levels of a snapshot: a tenth of the weight of the usual thousand.
const DEPTH: u16 = 100;
/// Connects in five minutes instead of the venue's 300.
const CONNECTS: u32 = 1_000_000;
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(400);
const STREAMS: usize = 8;
/// Orders a second of one of many instruments.
const QUIET: f64 = 2.0;
/// A client of ours follows so many topics: they are asked for ten a second, and a gateway allows 200 to a connection.
pub const TOPICS_MAX: usize = 60;
/// That an instrument's backlog takes in a demo: its edge, three pages, and one that was refused.
const REQUESTS: usize = 5;

/// Changes what is simulated.
pub fn venues(args: &cli::Demo, sim: &mut SimConfig) {
    if let Some(count) = args.instruments {
        let half = count.div_ceil(2).clamp(1, 2_000);
        sim.venues = vec![
            VenueConfig::many(VenueKind::BinanceSpot, half, QUIET),
            VenueConfig::many(VenueKind::BinanceUsdm, half, QUIET),
        ];
        sim.tick_ms = 20;
    }
}

/// The cuts that `--cuts` adds, by venue.
pub fn cuts(args: &cli::Demo, kind: VenueKind) -> BTreeMap<FaultKind, f64> {
    let rate = if kind.is_spot() { SPOT_CUTS } else { USDM_CUTS };
    let kinds = [FaultKind::CutReset, FaultKind::CutClose];
    if args.cuts.is_some() { kinds.map(|kind| (kind, rate)).into() } else { BTreeMap::new() }
}

/// Changes a line.
pub fn line(args: &cli::Demo, line: &mut LineConfig) {
    if args.cuts.is_some() {
        (line.backoff, line.backoff_max) = (BACKOFF, BACKOFF_MAX);
        (line.book_depth, line.streams_per_connection) = (DEPTH, STREAMS);
    }
    if args.instruments.is_some() {
        line.channels.retain(|channel| ["trade", "book", "quote"].contains(&channel.as_str()));
        line.book_depth = DEPTH;
    }
}

/// Changes the plan; says what was bent.
pub fn plan(args: &cli::Demo, feed: &mut FeedPlan) -> Vec<String> {
    let mut said = Vec::new();
    if args.cuts.is_some() {
        feed.doors.iter_mut().for_each(|door| door.connects = CONNECTS);
        said.push(format!(
            "accelerated: about {} cuts a minute; connection limit {CONNECTS} in 5 min instead of the venue's 300, back-off \
             {BACKOFF:?} to {BACKOFF_MAX:?}, at most {STREAMS} streams a connection, snapshots of {DEPTH} levels",
            2.0 * (SPOT_CUTS + USDM_CUTS)
        ));
    }
    if args.instruments.is_some() {
        let sockets: usize = feed.lines.iter().map(|line| line.connections.len()).sum();
        let instruments: usize = feed.lines.iter().map(|line| line.instruments.len()).sum();
        said.push(format!(
            "{instruments} instruments in {} lines over {sockets} connections: trades, books and quotes alone, snapshots of \
             {DEPTH} levels; the venues' own budgets of 6000 and 2400 weight a minute",
            feed.lines.len()
        ));
    }
    said
}

/// How long all of it may take to become whole: the budgets let so many books and trades through. A venue that is asked once a
/// second needs longer for its backlog than others do.
pub fn patience(args: &cli::Demo, feed: &FeedPlan, usual: Duration) -> Duration {
    let backlogs = feed.doors.iter().map(|door| {
        let instruments = feed.lines.iter().filter(|line| line.door == door.name).map(|line| line.instruments.len());
        let Rate { count, per } = door.host.bears.weight;
        // What a backlog may take of the budget is half.
        per * (2 * REQUESTS * instruments.sum::<usize>()) as u32 / count.max(1)
    });
    let backlog = if args.heal == OnOff::On { backlogs.max().unwrap_or_default() } else { Duration::ZERO };
    usual + backlog + Duration::from_millis(600) * args.instruments.unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use wholetape_feed::config::FeedConfig;

    fn patience_for(venue: &str, symbol: &str, heal: &str) -> Duration {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            demo: cli::Demo,
        }
        let args = Line::parse_from(["demo", "--heal", heal]).demo;
        let line = LineConfig { venue: venue.into(), instruments: vec![symbol.into()], ..LineConfig::default() };
        let feed = FeedConfig { line: vec![line], ..FeedConfig::default() }.plan(&|_| Vec::new()).unwrap();
        patience(&args, &feed, Duration::from_secs(15))
    }

    #[test]
    fn who_is_asked_seldom_gets_more_time() {
        let binance = patience_for("binance-spot", "BTCUSDT", "on");
        assert!(binance < Duration::from_secs(16), "{binance:?}");
        // Ten requests in ten seconds, half of them for a backlog.
        assert_eq!(patience_for("kraken", "BTC/USD", "on"), Duration::from_secs(15 + 10));
        assert_eq!(patience_for("kraken", "BTC/USD", "off"), Duration::from_secs(15));
    }
}
