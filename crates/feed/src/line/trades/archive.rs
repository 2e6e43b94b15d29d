//! What the venue's archive brought: ids that are held now, and verdicts that were written without asking this flow.

use wholetape_model::{GapState, HealSource, Ts};

use super::{GapMark, TradeFlow};

impl TradeFlow {
    /// A row of the archive was appended, which the tape did not hold.
    pub fn on_archive(&mut self, id: u64, event: Ts) {
        if self.overlap.is_none() {
            self.ledger.arrive(id);
            self.last_event = self.last_event.max(event);
        }
    }

    /// A gap got this verdict: nothing is asked for it any more. (A gap that is merely stated anew is none of ours.)
    pub fn settled_by_archive(&mut self, mark: &GapMark) {
        if self.overlap.is_some() || mark.state == GapState::Open {
            return;
        }
        self.holes.retain(|h| h.gap != mark.gap);
        let named = mark.from_id > 0 && mark.from_id <= mark.to_id;
        if named && matches!(mark.state, GapState::Healed | GapState::NeverPublished) {
            self.ledger.settle(mark.from_id, mark.to_id);
        }
    }

    /// Verdicts for holes that its rows made whole.
    pub fn closed_by_archive(&mut self) -> Vec<GapMark> {
        if self.holes.is_empty() { Vec::new() } else { self.close_whole(HealSource::Archive) }
    }
}
