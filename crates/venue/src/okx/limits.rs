//! Addresses, rates and pages of OKX v5, as data.
//!
//! Sources, read 2026-11-20: copies of <https://www.okx.com/docs-v5/en/> (overview, websocket, market data, public data) of 2026-07 to
//! 2026-09, its change log <https://www.okx.com/docs-v5/log_en/>, and the help centre's announcement of 2026-09-30 that closed port
//! 8443. Nothing was tried on a live connection from here.

use std::time::Duration;

use wholetape_model::Kind;

use crate::limits::{Heartbeat, Rate, Refusal, RestLimits, RetryAfter, SubscribeLimits, VenueLimits};

/// The name in configurations.
pub const NAME: &str = "okx";
/// The venue part of our instrument ids.
pub const ID_VENUE: &str = "OKX";

/// Port 443: 8443, which nearly every example still shows, stopped on 2026-10-31.
pub const WS_BASES: &[&str] = &["wss://ws.okx.com"];
/// The first is recommended since 2026-05-20; the second still answers.
pub const REST_BASES: &[&str] = &["https://openapi.okx.com", "https://www.okx.com"];

/// Books, trades by taker order, best prices, statistics, mark, funding …
pub const PUBLIC: &str = "/ws/v5/public";
/// Candles and single matches; on `/public` these channels "do not exist".
pub const BUSINESS: &str = "/ws/v5/business";

/// Channels with 400 levels on one connection: "fewer than 30" is the venue's advice.
pub const DEEP_BOOKS_MAX: usize = 29;

/// 20 requests per 2 s and address, of which we use 16: `history-trades`, `instruments`, `open-interest`.
pub const WEIGHT_SLOW: u32 = 12;
/// 10 per 2 s: `time`.
pub const WEIGHT_TIME: u32 = 24;
/// 100 per 2 s: `trades`.
pub const WEIGHT_TRADES: u32 = 2;

/// Rows of one `history-trades` answer.
pub const HISTORY_PAGE: u64 = 100;
/// Rows of one `trades` answer.
pub const NEWEST_PAGE: u64 = 500;
/// How far `history-trades` reaches back: three months, the shortest of which have 89 days.
pub const HISTORY_REACH: Duration = Duration::from_secs(89 * 86_400);

/// Streams that speak on change, and else only so often (`mark-price`, `index-tickers`), or every 30 to 90 s (`funding-rate`).
pub(super) const fn pause_max(kind: Kind) -> Duration {
    Duration::from_secs(match kind {
        Kind::Mark => 10,
        Kind::Index => 60,
        Kind::Funding => 90,
        _ => 0,
    })
}

pub static LIMITS: VenueLimits = VenueLimits {
    rest: RestLimits {
        // OKX has no weights but a rate for each endpoint; each fills the window at its own.
        weight: Rate::new(200, Duration::from_secs(2)),
        meter: None,
        retry_after: RetryAfter::Seconds,
        refusals: &[
            Refusal::status(429, Duration::from_secs(2)),
            Refusal::text(200, "\"50011\"", Duration::from_secs(2)),
        ],
    },
    connects: Rate::new(3, Duration::from_secs(1)),
    // No number is documented; this bounds what one lost connection costs.
    streams_max: 1_000,
    subscribe: SubscribeLimits {
        // A refusal is per argument, so large requests lose nothing; 64 KB is the venue's limit.
        args_max: 500,
        bytes_max: 30_000,
        spacing: Duration::from_millis(350),
        // Subscribe, unsubscribe and login together.
        operations: Some(Rate::new(480, Duration::from_secs(3_600))),
    },
    // The server cuts where nothing was pushed for 30 s.
    heartbeat: Heartbeat::Client {
        ping: "ping",
        pong: Some("pong"),
        every: Duration::from_secs(20),
        cut: Duration::from_secs(30),
    },
    life_max: None,
};
