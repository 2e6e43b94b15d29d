//! How a subscription stands, for operators.

use super::{Phase, Subscription};

impl Subscription {
    /// A word for where it reads, and the seqs from there to the head.
    pub fn stands(&self) -> (&'static str, u64) {
        let word = match &self.phase {
            Phase::Opening(..) | Phase::Resuming(_) => "opening",
            _ if self.pace.waits().is_some() => self.pace.waits().unwrap_or_default(),
            Phase::Past(_) => "history",
            Phase::Behind(_) => "behind",
            // A view is at its last tick: that is its present.
            Phase::Live | Phase::Viewing(_) => "live",
        };
        (word, self.behind())
    }

    /// It was told so, and has not caught up since.
    pub const fn lags(&self) -> bool {
        self.noticed
    }
}
