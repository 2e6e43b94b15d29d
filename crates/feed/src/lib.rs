//! Live lines: sockets, clock, rate limits, healing; the pure line inside.
//!
//! [`mod@line`] is the logic: pure, sans-IO. Everything else here is its shell, which moves bytes, keeps time and decides
//! nothing. Read [`shell`] first, then [`worker`] (where it runs) and [`feed`] (what starts and stops it all).

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod clock;
pub mod config;
pub mod crew;
pub mod endpoint;
pub mod error;
pub mod feed;
pub mod fold;
pub mod follow;
pub mod gate;
pub mod known;
pub mod line;
pub mod link;
pub mod metrics;
pub mod queue;
pub mod rest;
pub mod resume;
pub mod shell;
pub mod spec;
pub mod symbols;
pub mod tls;
pub mod transport;
pub mod worker;
pub mod ws;

pub use config::{FeedConfig, LineConfig, Problem};
pub use error::FeedError;
pub use feed::{Feed, FeedHandle, FeedPlan, VenueDoor};
pub use metrics::{Hub, LatencyTracker};
pub use spec::LineSpec;
