//! Addresses, rates and pages of the dYdX v4 indexer, as data.
//!
//! Sources, read 2026-11-20: the indexer's source <https://github.com/dydxprotocol/v4-chain> `84d4664` (2026-03-04;
//! `indexer/services/socks/src/config.ts`, `indexer/services/comlink/src/config.ts`) and the documents
//! <https://github.com/dydxprotocol/v4-documentation> `3e475b7` (2026-04-22). Nothing was tried on a live connection from here.

use std::time::Duration;

use crate::limits::{Heartbeat, Meter, Rate, Refusal, RestLimits, RetryAfter, SubscribeLimits, VenueLimits};

/// The name in configurations.
pub const NAME: &str = "dydx";
/// The venue part of our instrument ids.
pub const ID_VENUE: &str = "DYDX";

/// The public deployment. Whoever runs an indexer of their own names it in the configuration.
pub const WS_BASES: &[&str] = &["wss://indexer.dydx.trade"];
pub const REST_BASES: &[&str] = &["https://indexer.dydx.trade"];
/// The one path of the socket.
pub const PATH: &str = "/v4/ws";

/// Subscriptions of one channel that a connection may have: books, trades and candles each. One more is refused.
pub const PER_CHANNEL_MAX: usize = 32;

/// Rows of one answer of `trades`: the public deployment gives 1 000, some give 100. Fewer than this are all that there are.
pub const PAGE_FULL: u64 = 100;
/// Levels a side of a book that was asked for.
pub const SNAPSHOT_DEPTH: usize = 100;
/// The stream's book may keep levels that are gone, and the venue's own job removes them without a word: so often each is held
/// against REST's. The documents' advice is 30 to 60 s.
pub const RESNAP_EVERY: Duration = Duration::from_secs(60);
/// A trade is known to REST this much after its block at most, and our clock may differ from the chain's.
pub const OVERLAP: Duration = Duration::from_secs(5);

pub static LIMITS: VenueLimits = VenueLimits {
    rest: RestLimits {
        weight: Rate::new(100, Duration::from_secs(10)),
        meter: Some(Meter::Left("ratelimit-remaining")),
        // Not as HTTP defines it.
        retry_after: RetryAfter::Millis,
        refusals: &[Refusal::status(429, Duration::from_secs(10))],
    },
    // No number is documented.
    connects: Rate::new(5, Duration::from_secs(10)),
    // Books, trades and candles, and the two that need no id.
    streams_max: 3 * PER_CHANNEL_MAX + 2,
    subscribe: SubscribeLimits {
        args_max: 1,
        bytes_max: 256,
        // Two subscriptions a second of one stream are borne, else the connection is closed (1008). Between two of a stream lies its
        // end, so twice this is more than half a second.
        spacing: Duration::from_millis(260),
        operations: None,
    },
    heartbeat: Heartbeat::Server { every: Duration::from_secs(30), within: Duration::from_secs(10) },
    life_max: None,
};
