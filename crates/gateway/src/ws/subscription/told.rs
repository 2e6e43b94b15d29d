//! How a subscription stands, for operators.

use super::{Phase, Subscription};
use crate::clients::TopicState;

impl Subscription {
    /// A word for where it reads, and the seqs from there to the head.
    pub fn stands(&self) -> (TopicState, u64) {
        let state = match (&self.phase, self.pace.waits()) {
            (Phase::Opening(..) | Phase::Resuming(_), _) => TopicState::Opening,
            (_, Some(waits)) => waits,
            (Phase::Past(_), None) => TopicState::History,
            (Phase::Behind(_), None) => TopicState::Behind,
            (Phase::Live, None) => TopicState::Live,
            (Phase::Viewing(_), None) => TopicState::Viewing,
        };
        (state, self.behind())
    }

    /// It was told so, and has not caught up since.
    pub const fn lags(&self) -> bool {
        self.noticed
    }
}
