//! Addresses, rates and pages of Bybit v5, as data.
//!
//! Sources, read 2026-11-20: the official documents <https://github.com/bybit-exchange/docs> (`docs/v5/ws/connect.mdx`, `docs/v5/rate-limit/`,
//! `docs/v5/market/`, `docs/v5/websocket/public/`, `docs/changelog/v5.mdx`), state 2026-07-24. Nothing was tried on a live connection
//! from here.

use std::time::Duration;

use crate::limits::{Heartbeat, Rate, Refusal, RestLimits, RetryAfter, SubscribeLimits, VenueLimits};

/// What a socket and a request are about: the same name means another instrument in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    Spot,
    /// Settled in USDT or USDC.
    Linear,
    /// Settled in the base coin; sizes are in dollars.
    Inverse,
}

impl Market {
    pub const ALL: [Self; 3] = [Self::Spot, Self::Linear, Self::Inverse];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spot => "bybit-spot",
            Self::Linear => "bybit-linear",
            Self::Inverse => "bybit-inverse",
        }
    }

    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// `category` of a request.
    #[must_use]
    pub const fn category(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Linear => "linear",
            Self::Inverse => "inverse",
        }
    }

    /// The socket's path; the topics do not repeat it.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Spot => "/v5/public/spot",
            Self::Linear => "/v5/public/linear",
            Self::Inverse => "/v5/public/inverse",
        }
    }

    /// What is forced or charged there: liquidations, mark prices, funding, open interest.
    #[must_use]
    pub const fn is_derivative(self) -> bool {
        !matches!(self, Self::Spot)
    }

    #[must_use]
    pub const fn limits(self) -> &'static VenueLimits {
        if self.is_derivative() { &DERIVATIVES } else { &SPOT }
    }

    /// Rows of one `recent-trade` answer.
    #[must_use]
    pub const fn newest_page(self) -> u64 {
        if self.is_derivative() { 1_000 } else { 60 }
    }
}

/// The venue part of our instrument ids.
pub const ID_VENUE: &str = "BYBIT";
/// All markets share hosts, and what these bear of one address.
pub const DOOR: &str = "bybit";

pub const WS_BASES: &[&str] = &["wss://stream.bybit.com"];
pub const REST_BASES: &[&str] = &["https://api.bybit.com", "https://api.bytick.com"];

/// Letters of all `args` of one public connection together.
pub const ARGS_LETTERS_MAX: usize = 21_000;
/// What each name costs of them beside its own: two quotes and a comma.
pub const ARG_OVERHEAD: usize = 3;

/// The book's streams, by levels a side: 50 at 20 ms, 200 at 100 ms, 1000 at 200 ms. That of 500 was removed on 2025-09-11.
pub const DEPTHS: [u16; 3] = [50, 200, 1_000];
/// As many as the venue's daily archives hold.
pub const DEPTH_DEFAULT: u16 = 200;

/// Definitions of one answer.
pub const DEFINITIONS_PAGE: u64 = 1_000;
/// Pages of definitions that are followed: there were 800 linear instruments in 2026-08.
pub const PAGES_MAX: u64 = 16;

/// How long an address that asked too often has to be silent: "at least 10 minutes".
const BAN: Duration = Duration::from_secs(600);

const REFUSALS: [Refusal; 3] = [
    // "access too frequent": a ban, not a hint.
    Refusal::status(403, BAN),
    Refusal::status(429, BAN),
    // A rolling second of one endpoint.
    Refusal::text(200, "\"retCode\":10006", Duration::from_secs(5)),
];

/// At most 10 names in one request.
static SPOT: VenueLimits = bears(10);
/// No count is documented for these; a refusal fails the whole request, so it stays small enough to be read.
static DERIVATIVES: VenueLimits = bears(100);

const fn bears(args_max: usize) -> VenueLimits {
    VenueLimits {
        rest: RestLimits {
            // Requests of one address are counted, whatever they ask. Of the 600 we use half: one too many costs ten minutes.
            weight: Rate::new(300, Duration::from_secs(5)),
            meter: None,
            retry_after: RetryAfter::Seconds,
            refusals: &REFUSALS,
        },
        // Of 500: another client behind the same address shall find a door, too.
        connects: Rate::new(400, Duration::from_secs(300)),
        // No number is documented but that of letters; this bounds what one lost connection costs.
        streams_max: 500,
        subscribe: SubscribeLimits {
            args_max,
            bytes_max: 4_000,
            spacing: Duration::from_millis(100),
            operations: None,
        },
        heartbeat: Heartbeat::Client {
            ping: "{\"req_id\":\"ping\",\"op\":\"ping\"}",
            // It names the connection.
            pong: None,
            every: Duration::from_secs(20),
            cut: Duration::from_secs(600),
        },
        life_max: None,
    }
}
