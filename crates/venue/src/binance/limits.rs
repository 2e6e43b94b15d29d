//! Addresses, weights and rates of the four Binance variants, as data.
//!
//! Sources, each with the date read:
//! - spot: <https://github.com/binance/binance-spot-api-docs> `web-socket-streams.md`, `rest-api.md`, state 2026-07-21,
//!   read 2026-11-20.
//! - USD-M: <https://developers.binance.com/docs/derivatives/usds-margined-futures> (Connect, Important WebSocket Change
//!   Notice) and the official SDK <https://github.com/binance/binance-connector-rust>, state 2026-07-22, read 2026-11-20.
//! - Binance.US: <https://github.com/binance-us/binance-us-api-docs> `rest-api.md` (state 2024-06-17) and `web-socket-streams.md`
//!   (2023-09-06), read 2026-11-21; weight budget from the `exchangeInfo.rateLimits` of its recording of 2021.
//! - COIN-M: addresses, paths and weight budget from its recordings of 2021 and 2024, looked at 2026-11-21. Its documents were
//!   not read: the other figures are those of USD-M and wait for confirmation. The replies' weight header is the
//!   authority at run time.

use std::time::Duration;

use crate::limits::{Heartbeat, Meter, Rate, Refusal, RestLimits, RetryAfter, SubscribeLimits, VenueLimits};
use crate::plan::Route;

/// Which Binance. They share one implementation and differ in data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    Spot,
    UsdM,
    CoinM,
    Us,
}

impl Variant {
    pub const ALL: [Self; 4] = [Self::Spot, Self::UsdM, Self::CoinM, Self::Us];

    /// By the name in configurations: `binance-spot` …
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.facts().name == name)
    }

    #[must_use]
    pub const fn facts(self) -> &'static Facts {
        match self {
            Self::Spot => &SPOT,
            Self::UsdM => &USDM,
            Self::CoinM => &COINM,
            Self::Us => &US,
        }
    }

    /// Futures carry mark price, funding, liquidations and open interest, and link their deltas by `pu`.
    #[must_use]
    pub const fn is_futures(self) -> bool {
        matches!(self, Self::UsdM | Self::CoinM)
    }
}

/// What is true of one variant. Weights are in the venue's own units.
#[derive(Debug)]
pub struct Facts {
    pub variant: Variant,
    pub name: &'static str,
    /// The venue part of our instrument ids.
    pub id_venue: &'static str,
    /// WebSocket bases in order of preference; the connection's path is appended.
    pub ws_bases: &'static [&'static str],
    pub rest_bases: &'static [&'static str],
    /// Socket paths, with the route each serves. All are of the `/stream` kind: frames come wrapped with the stream's
    /// name, without which partial depth has no symbol.
    pub routes: &'static [(Route, &'static str)],
    /// `/api/v3`, `/fapi/v1` …
    pub rest_prefix: &'static str,
    /// Largest `limit` of a step of the depth request, and its weight.
    pub depth_weights: &'static [(u16, u32)],
    pub depth_default: u16,
    pub agg_trades_weight: u32,
    /// `None` where history by id needs an API key.
    pub historical_trades_weight: Option<u32>,
    pub trades_weight: u32,
    pub exchange_info_weight: u32,
    /// `exchangeInfo?symbols=[…]` is understood.
    pub exchange_info_by_symbols: bool,
    pub time_weight: u32,
    pub limits: VenueLimits,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Spot: a ping every 20 s, closed after a minute without pong.
const PING_SPOT: Heartbeat = Heartbeat::Server { every: Duration::from_secs(20), within: MINUTE };
/// The others: every 3 minutes, 10 minutes of patience.
const PING_OTHERS: Heartbeat = Heartbeat::Server { every: Duration::from_secs(180), within: Duration::from_secs(600) };

/// Should the venue forget the header, it still wants to be left alone.
const REFUSALS: [Refusal; 2] =
    [Refusal::status(429, Duration::from_secs(10)), Refusal::status(418, Duration::from_secs(120))];

/// What a variant bears, where they differ. `messages`: incoming ones per second; pings and pongs count, so we send four
/// fifths of them. All print the used weight in the same header, answer 429 and then 418 to those who do not stop, and close
/// after a day. (`rest-api.md` "IP Limits", `web-socket-streams.md` "General WSS information", read 2026-11-20.)
const fn bears(weight: u32, streams_max: usize, messages: u64, heartbeat: Heartbeat) -> VenueLimits {
    VenueLimits {
        rest: RestLimits {
            weight: Rate::new(weight, MINUTE),
            meter: Some(Meter::Used("x-mbx-used-weight-1m")),
            retry_after: RetryAfter::Seconds,
            refusals: &REFUSALS,
        },
        connects: Rate::new(300, Duration::from_secs(300)),
        streams_max,
        subscribe: SubscribeLimits {
            args_max: 50,
            // A message stays under 4 KiB, and a refusal concerns few.
            bytes_max: 3_500,
            spacing: Duration::from_millis(1_250 / messages),
            operations: None,
        },
        heartbeat,
        life_max: Some(DAY),
    }
}

/// `web-socket-streams.md` "General WSS information", `rest-api.md` "Market data endpoints", `faqs/market_data_only.md`.
static SPOT: Facts = Facts {
    variant: Variant::Spot,
    name: "binance-spot",
    id_venue: "BINANCE",
    ws_bases: &["wss://stream.binance.com:9443", "wss://stream.binance.com:443", "wss://data-stream.binance.vision"],
    rest_bases: &[
        "https://api.binance.com",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ],
    routes: &[(Route::Any, "/stream")],
    rest_prefix: "/api/v3",
    depth_weights: &[(100, 5), (500, 25), (1000, 50), (5000, 250)],
    // 5000 is offered, but at weight 250 a minute's budget is 24 books: a resync must stay affordable when many books lose
    // their sequence at once. Configuration may ask for more.
    depth_default: 1000,
    agg_trades_weight: 4,
    historical_trades_weight: Some(25),
    trades_weight: 25,
    exchange_info_weight: 20,
    exchange_info_by_symbols: true,
    time_weight: 1,
    // 1024 are allowed; fewer bounds what one lost connection costs.
    limits: bears(6000, 1024, 5, PING_SPOT),
};

/// The change notice of 2026-03-06 split the paths; since 2026-04-23 a wrong path is acknowledged and silent.
static USDM: Facts = Facts {
    variant: Variant::UsdM,
    name: "binance-usdm",
    id_venue: "BINANCE",
    ws_bases: &["wss://fstream.binance.com"],
    rest_bases: &["https://fapi.binance.com"],
    routes: &[(Route::Public, "/public/stream"), (Route::Market, "/market/stream")],
    rest_prefix: "/fapi/v1",
    depth_weights: &[(50, 2), (100, 5), (500, 10), (1000, 20)],
    depth_default: 1000,
    agg_trades_weight: 20,
    // Wants a key (venue sheet, 2026-11-20), so production refuses it: then the ids are lost, with that reason. Asked only
    // where single matches are the one trade source; recordings served again and other exchanges do answer.
    historical_trades_weight: Some(20),
    trades_weight: 5,
    exchange_info_weight: 1,
    exchange_info_by_symbols: false,
    time_weight: 1,
    // Old official text; the 2026-10 page says 1024.
    limits: bears(2400, 200, 10, PING_OTHERS),
};

/// Not split (change notice of 2026-03-06). Weights assumed as on USD-M.
static COINM: Facts = Facts {
    variant: Variant::CoinM,
    name: "binance-coinm",
    id_venue: "BINANCE",
    ws_bases: &["wss://dstream.binance.com"],
    rest_bases: &["https://dapi.binance.com"],
    routes: &[(Route::Any, "/stream")],
    rest_prefix: "/dapi/v1",
    depth_weights: &[(50, 2), (100, 5), (500, 10), (1000, 20)],
    depth_default: 1000,
    agg_trades_weight: 20,
    // Wants a key (venue sheet, 2026-11-20), so production refuses it: then the ids are lost, with that reason. Asked only
    // where single matches are the one trade source; recordings served again and other exchanges do answer.
    historical_trades_weight: Some(20),
    trades_weight: 5,
    exchange_info_weight: 1,
    exchange_info_by_symbols: false,
    time_weight: 1,
    limits: bears(2400, 200, 10, PING_OTHERS),
};

/// The spot protocol at another house, with weights and clocks of its own.
static US: Facts = Facts {
    variant: Variant::Us,
    name: "binance-us",
    id_venue: "BINANCE_US",
    ws_bases: &["wss://stream.binance.us:9443"],
    rest_bases: &["https://api.binance.us"],
    routes: &[(Route::Any, "/stream")],
    rest_prefix: "/api/v3",
    depth_weights: &[(100, 1), (500, 5), (1000, 10), (5000, 50)],
    depth_default: 1000,
    agg_trades_weight: 1,
    // 5, but of class MARKET_DATA: needs an API key.
    historical_trades_weight: None,
    trades_weight: 1,
    exchange_info_weight: 10,
    exchange_info_by_symbols: true,
    time_weight: 1,
    limits: bears(1200, 1024, 5, PING_OTHERS),
};

impl Facts {
    /// The weight of a depth request, and the limit to print: what is beyond the largest step is clamped by the venue.
    #[must_use]
    pub fn depth_weight(&self, limit: u16) -> (u16, u32) {
        let last = self.depth_weights.len().saturating_sub(1);
        for (i, (max, weight)) in self.depth_weights.iter().enumerate() {
            if limit <= *max || i == last {
                // Futures take only 5, 10, 20, 50, 100, 500, 1000.
                let limit = if self.variant.is_futures() { *max } else { limit.clamp(1, *max) };
                return (limit, *weight);
            }
        }
        (limit, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_steps_cost_what_the_documents_say() {
        assert_eq!(SPOT.depth_weight(100), (100, 5));
        assert_eq!(SPOT.depth_weight(1000), (1000, 50));
        assert_eq!(SPOT.depth_weight(5000), (5000, 250));
        assert_eq!(SPOT.depth_weight(9000), (5000, 250));
        assert_eq!(USDM.depth_weight(1000), (1000, 20));
        assert_eq!(USDM.depth_weight(700), (1000, 20));
        assert_eq!(USDM.depth_weight(5000), (1000, 20));
        assert_eq!(COINM.depth_weight(20), (50, 2));
    }

    #[test]
    fn names_find_their_variant() {
        for v in Variant::ALL {
            assert_eq!(Variant::by_name(v.facts().name), Some(v));
            assert_eq!(v.facts().variant, v);
        }
        assert_eq!(Variant::by_name("binance"), None);
    }

    #[test]
    fn messages_stay_under_the_rate() {
        for (variant, messages) in
            [(Variant::Spot, 5.0), (Variant::UsdM, 10.0), (Variant::CoinM, 10.0), (Variant::Us, 5.0)]
        {
            let per_second = 1.0 / variant.facts().limits.subscribe.spacing.as_secs_f64();
            assert!(per_second <= 0.81 * messages, "{variant:?}");
        }
    }
}
