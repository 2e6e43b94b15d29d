//! Books whose snapshot comes by the stream: three of the four machines (the fourth, anchored over REST, is in
//! [`crate::synced`]).
//!
//! ```text
//!            a snapshot                      link or count breaks, checksum differs, update refused
//! syncing ───────────────► live ───────────────────────────────────────────────────────────────► syncing
//!    ▲ drops what comes       │ a snapshot, at any time: replaces
//!    └────────────────────────┘ (`Whole`: every push is one)
//! ```
//!
//! - **Linked, counted**: an update is taken if its ids say that it follows; levels of a break are not touched.
//! - **Checked**: whatever comes is taken, and the book that it leads to must have the venue's checksum. A mismatch shows after
//!   the levels changed: the book then waits for a snapshot and is nobody's to read, and the update that showed it is not handed
//!   on. It says nothing of other books.
//! - **Whole**: each push is the book; older ones are dropped.
//!
//! Of a book that the venue cuts to its best levels ([`BookRule::depth`](wholetape_model::BookRule)) every update cuts ours as well. The
//! venue says nothing of a level that is pushed out; we do ([`SyncedOrderBook::cut`]), so that whoever applies our updates alone
//! has the same book.

use wholetape_model::book_rule::{Chain, Checksum};
use wholetape_model::{Book, BookAction, GapCause, Level, Levels, Scales, Side};

use crate::error::BookError;
use crate::rule::{Ids, Link, follow};
use crate::synced::{Phase, Stamp, Step, SyncedOrderBook, check_head};

impl SyncedOrderBook {
    /// An update came by the stream: a delta, or where the rule has them there a snapshot. `checksum` is the venue's for the book
    /// that it leads to, where it printed one.
    #[inline]
    pub fn on_update(
        &mut self,
        stamp: Stamp,
        scales: Scales,
        update: &Book<Levels<'_>>,
        checksum: Option<u32>,
    ) -> Step {
        if self.rule.chain.is_anchored() {
            return self.on_delta(stamp, scales, update);
        }
        self.cut.clear();
        self.cut_bids = 0;
        match update.action {
            BookAction::Snapshot => self.take_whole(stamp, scales, update, checksum),
            _ => self.take_delta(scales, update, checksum),
        }
    }

    /// The levels that the last update pushed out of a book of limited depth, as deletions: bids, asks.
    #[must_use]
    pub fn cut(&self) -> (&[Level], &[Level]) {
        self.cut.split_at(self.cut_bids)
    }

    fn take_delta(&mut self, scales: Scales, delta: &Book<Levels<'_>>, checksum: Option<u32>) -> Step {
        self.stats.deltas_seen += 1;
        let ids = Ids { first: delta.first_id, last: delta.last_id, prev: delta.prev_id };
        let refused = if self.rule.chain == Chain::Whole { Err(BookError::Action(delta.action)) } else { Ok(()) };
        if let Err(error) = refused.and_then(|()| check_head(delta, ids)) {
            return self.refuse(error);
        }
        self.follow_chain(ids);
        let Phase::Live { at } = self.phase else {
            self.stats.deltas_unsynced += 1;
            return Step::Unsynced;
        };
        match follow(self.rule.chain, at, ids) {
            Link::Old => {
                self.stats.deltas_discarded_old += 1;
                Step::Old
            }
            Link::Breaks { expected, got } => {
                self.stats.deltas_unsynced += 1;
                self.resync(GapCause::Sequence);
                Step::Gap { expected, got }
            }
            Link::Follows if ids.last == at && self.rule.chain == Chain::Linked && is_empty(delta) => {
                self.stats.beats += 1;
                Step::Beat
            }
            Link::Follows => {
                if let Err(error) = self.book.apply(delta.bids, delta.asks, scales) {
                    return self.refuse(error);
                }
                match self.settle(checksum) {
                    Ok(()) => {
                        self.phase = Phase::Live { at: ids.last };
                        self.stats.deltas_applied += 1;
                        Step::Applied
                    }
                    Err(mismatch) => {
                        self.stats.deltas_rejected += 1;
                        mismatch
                    }
                }
            }
        }
    }

    fn take_whole(&mut self, stamp: Stamp, scales: Scales, snapshot: &Book<Levels<'_>>, checksum: Option<u32>) -> Step {
        let at = snapshot.last_id;
        // A venue that began anew counts from 1 again, so its time decides first.
        let moment = (stamp.ts_event, at);
        if self.rule.chain == Chain::Whole
            && matches!(self.phase, Phase::Live { .. })
            && self.moment.is_some_and(|last| moment <= last)
        {
            self.stats.snapshots_not_needed += 1;
            return Step::Old;
        }
        if let Err(error) = self.book.replace(snapshot.bids, snapshot.asks, scales) {
            self.stats.snapshots_rejected += 1;
            self.resync(GapCause::Malformed);
            return Step::Rejected(error);
        }
        self.newest = Some(at);
        self.moment = Some(moment);
        match self.settle(checksum) {
            Ok(()) => {
                self.stats.snapshots += 1;
                self.phase = Phase::Live { at };
                self.stale = false;
                Step::Replaced
            }
            Err(mismatch) => {
                self.stats.snapshots_rejected += 1;
                mismatch
            }
        }
    }

    fn refuse(&mut self, error: BookError) -> Step {
        self.stats.deltas_rejected += 1;
        // What it said is missing from now on, and not every chain would show that.
        self.resync(GapCause::Malformed);
        Step::Rejected(error)
    }

    /// Cuts the book as the venue does, and holds it against the venue's checksum.
    fn settle(&mut self, checksum: Option<u32>) -> Result<(), Step> {
        if let Some(depth) = self.rule.depth {
            for side in [Side::Buy, Side::Sell] {
                self.book.cut(side, depth as usize, &mut self.cut);
                if side == Side::Buy {
                    self.cut_bids = self.cut.len();
                }
            }
        }
        match (self.rule.checksum, checksum) {
            (Some(rule), Some(expected)) => self.verify(rule, expected),
            _ => Ok(()),
        }
    }

    fn verify(&mut self, rule: Checksum, expected: u32) -> Result<(), Step> {
        let got = self.scratch.checksum(rule, &self.book);
        self.stats.checksums_checked += 1;
        if got == expected {
            return Ok(());
        }
        self.stats.checksums_failed += 1;
        self.resync(GapCause::Resync);
        Err(Step::Mismatch { expected, got })
    }
}

const fn is_empty(update: &Book<Levels<'_>>) -> bool {
    update.bids.is_empty() && update.asks.is_empty()
}
