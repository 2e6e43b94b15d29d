//! Addresses, rates and pages of Kraken's spot market, as data.
//!
//! Sources, read 2026-11-20: <https://docs.kraken.com/api/> (spot WebSocket v2: introduction, book, trade, ticker, ohlc, instrument, ping; REST:
//! `Trades`, rate limits; change log of 2025-12). Where it gives no figure the one here is cautious, and says so. Nothing was tried on a live
//! connection from here.

use std::time::Duration;

use crate::limits::{Heartbeat, Rate, Refusal, RestLimits, RetryAfter, SubscribeLimits, VenueLimits};

/// The name in configurations.
pub const NAME: &str = "kraken";
/// The venue part of our instrument ids.
pub const ID_VENUE: &str = "KRAKEN";

pub const WS_BASES: &[&str] = &["wss://ws.kraken.com"];
pub const REST_BASES: &[&str] = &["https://api.kraken.com"];

/// The second version of the protocol; the first one, at the root, is read where a recording holds it.
pub const PATH: &str = "/v2";

/// Levels a side that a book may be asked for.
pub const DEPTHS: [u32; 5] = [10, 25, 100, 500, 1_000];

/// Rows of one `Trades` answer.
pub const HISTORY_PAGE: u64 = 1_000;
/// Rows that the healer counts on: where a page begins is known by time only, so a part of it may lie before what is asked for.
pub const HISTORY_USED: u64 = 900;

pub static LIMITS: VenueLimits = VenueLimits {
    rest: RestLimits {
        // "About one request a second" of an address and pair; no document has a figure for public data.
        weight: Rate::new(10, Duration::from_secs(10)),
        meter: None,
        retry_after: RetryAfter::Seconds,
        // At status 200 as well. Cloudflare's ban is of ten minutes.
        refusals: &[
            Refusal::text(200, "EAPI:Rate limit exceeded", Duration::from_secs(5)),
            Refusal::text(200, "EService:Throttled", Duration::from_secs(5)),
            Refusal::text(200, "EGeneral:Too many requests", Duration::from_secs(5)),
            Refusal::status(429, Duration::from_secs(10)),
            Refusal::status(403, Duration::from_secs(600)),
        ],
    },
    // Cloudflare: about 150 in ten minutes, then a ban of ten; reported, not documented.
    connects: Rate::new(100, Duration::from_secs(600)),
    // No number is documented; this bounds what one lost connection costs.
    streams_max: 600,
    subscribe: SubscribeLimits {
        // Any number of symbols of one channel; a refusal is per symbol.
        args_max: 100,
        bytes_max: 4_000,
        // `Exceeded msg rate` has no documented figure.
        spacing: Duration::from_millis(250),
        operations: None,
    },
    // Without a subscription the server cuts after about a minute; with one it sends `heartbeat` each second.
    heartbeat: Heartbeat::Client {
        ping: r#"{"method":"ping"}"#,
        // It has times in it: the session knows it.
        pong: None,
        every: Duration::from_secs(25),
        cut: Duration::from_secs(60),
    },
    life_max: None,
};
