//! What a venue lets us ask about past trades: the seam between its REST history and the healer.
//!
//! Three kinds of venues (`docs/healing.md` has the table): those with consecutive ids are paged by id, and completeness is
//! proven by the ids; those without are paged by time, and pages must overlap at each edge; the rest offer nothing, and a
//! hole stays one. The healer in `feed::line` knows these three and no venue.

use std::time::Duration;

/// How past trades can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradeHistory {
    /// Ids are consecutive, and [`TradesFrom`](crate::FetchKind::TradesFrom) answers from any of them.
    ById(ById),
    /// Ids name trades but do not follow each other: [`TradesAt`](crate::FetchKind::TradesAt) pages from a time on, or down to it. A page
    /// is proven by the trades that it shares with its neighbours.
    ByTimeWithOverlap(ByTime),
    /// Nothing can be asked. `consecutive` tells whether ids at least show what is missing.
    Impossible { consecutive: bool },
}

/// See [`TradeHistory::ById`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ById {
    pub page_max: u64,
    /// How far back the venue answers; `None`: no end is documented.
    pub reach: Option<Duration>,
    /// One request by time may span no more than this; `None`: any span.
    pub window: Option<Duration>,
    /// A left edge can be found by time.
    pub by_time: bool,
    /// [`TradesAt`](crate::FetchKind::TradesAt) is answered with the last trade before the time, not with the first one from it on (OKX
    /// pages downwards only): the edge is the id behind it.
    pub edge_before: bool,
    /// What the venue's history leaves out though its stream may show it; named in the evidence of `never published`.
    pub omits: &'static str,
}

/// See [`TradeHistory::ByTimeWithOverlap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByTime {
    /// The most rows of one answer.
    pub page_max: u64,
    /// How far back the venue answers.
    pub reach: Option<Duration>,
    /// A page begins this much beyond the last row known, so that it shares rows with what is held.
    pub overlap: Duration,
    /// An answer holds the newest rows up to and including the time that is asked for, not the oldest from it on: the hole is filled from
    /// its newer end.
    pub downwards: bool,
}

impl Default for ById {
    fn default() -> Self {
        Self { page_max: 1_000, reach: None, window: None, by_time: true, edge_before: false, omits: "" }
    }
}

impl Default for TradeHistory {
    fn default() -> Self {
        Self::ById(ById::default())
    }
}

impl TradeHistory {
    /// Whether ids count trades one by one, so that they show what is missing. Where they do not, they only name them: repeats are
    /// known for a while, and a hole is told by time.
    #[must_use]
    pub const fn is_consecutive(&self) -> bool {
        match self {
            Self::ById(_) => true,
            Self::ByTimeWithOverlap(_) => false,
            Self::Impossible { consecutive } => *consecutive,
        }
    }

    #[must_use]
    pub const fn reach(&self) -> Option<Duration> {
        match self {
            Self::ById(by) => by.reach,
            Self::ByTimeWithOverlap(by) => by.reach,
            Self::Impossible { .. } => None,
        }
    }
}
