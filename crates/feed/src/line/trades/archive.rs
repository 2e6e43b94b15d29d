//! What the venue's archive brought: ids that are held now, and verdicts that were written without asking this flow.

use wholetape_model::{GapState, HealSource, TradeId, Ts};

use super::super::window::WINDOW;
use super::{GapMark, TradeFlow};

impl TradeFlow {
    /// A row of the archive was appended, which the tape did not hold.
    pub fn on_archive(&mut self, id: TradeId, event: Ts, now: Ts) {
        match (&mut self.overlap, id.number()) {
            // What is older does not come again by a stream.
            (Some(overlap), _) if now.since(event) <= WINDOW => _ = overlap.learn(id, now),
            (Some(_), _) => {}
            (None, Some(id)) => {
                self.ledger.arrive(id);
                self.last_event = self.last_event.max(event);
            }
            (None, None) => {}
        }
    }

    /// Known by its name alone, and to be on the tape: a stream or a page brought it within the window.
    pub fn knows(&self, id: TradeId) -> bool {
        self.overlap.as_ref().is_some_and(|overlap| overlap.is_known(id))
    }

    /// A gap got this verdict: nothing is asked for it any more. (A gap that is merely stated anew is none of ours.)
    pub fn settled_by_archive(&mut self, mark: &GapMark) {
        if mark.state == GapState::Open {
            return;
        }
        if let Some(overlap) = &mut self.overlap {
            return overlap.settled(mark.gap);
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
