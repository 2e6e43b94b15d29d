//! What a venue creates: one event, its exact payload text, and the stream names it goes out on.
//!
//! Both worlds (generated and recorded) make these; everything after them — truth log, REST history, sockets, faults —
//! knows events only. The payload is the wire text; nothing is formatted twice, so truth and wire cannot disagree.

use std::fmt;
use std::sync::Arc;

/// What an event tells, spelled as in the truth log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    AggTrade,
    Trade,
    Depth,
    BookTicker,
    Kline,
    Ticker,
    MiniTicker,
    MarkPrice,
    ForceOrder,
    ContractInfo,
    OpenInterest,
    /// A recorded frame of a channel the simulator has no name for: served, never interpreted.
    Other,
}

impl Kind {
    pub const ALL: [Kind; 12] = [
        Kind::AggTrade,
        Kind::Trade,
        Kind::Depth,
        Kind::BookTicker,
        Kind::Kline,
        Kind::Ticker,
        Kind::MiniTicker,
        Kind::MarkPrice,
        Kind::ForceOrder,
        Kind::ContractInfo,
        Kind::OpenInterest,
        Kind::Other,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::AggTrade => "aggTrade",
            Self::Trade => "trade",
            Self::Depth => "depth",
            Self::BookTicker => "bookTicker",
            Self::Kline => "kline",
            Self::Ticker => "ticker",
            Self::MiniTicker => "miniTicker",
            Self::MarkPrice => "markPrice",
            Self::ForceOrder => "forceOrder",
            Self::ContractInfo => "contractInfo",
            Self::OpenInterest => "openInterest",
            Self::Other => "other",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// A lost frame of these can be seen from the ids of its neighbours. Only such frames are dropped, doubled or swapped
    /// one by one: the loss of a single quote or ticker leaves no trace, so no client could ever confess it.
    pub const fn is_sequenced(self) -> bool {
        matches!(self, Self::AggTrade | Self::Trade | Self::Depth)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that a venue says.
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: Kind,
    /// Upper-case venue symbol; empty for a recorded frame that names none.
    pub symbol: Arc<str>,
    /// The depth cadence (`100ms`) or the kline interval (`1m`); empty otherwise.
    pub variant: Arc<str>,
    /// Stream names that deliver it; none for what REST alone tells.
    pub streams: Vec<String>,
    /// The `data` object as it goes on the wire.
    pub payload: String,
    /// What the truth log keeps in place of the payload (slower depth cadences repeat the levels of the fastest).
    pub logged: Option<String>,
}

/// One moment, on the three clocks a simulation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of running time; stands still while frozen; never steps.
    pub run_ms: u64,
    /// The venue's own clock, ms since the epoch; may step.
    pub exchange_ms: i64,
    /// The machine's clock, ns since the epoch: what a client on this machine stamps with.
    pub wall_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }
}
