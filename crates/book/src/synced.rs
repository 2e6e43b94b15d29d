//! A book and the proof that it is right: snapshot and deltas spliced by the venue's rule, every update's place in the chain
//! checked before its levels are. Here is the machine whose snapshot is fetched over REST; those that get it by the stream are in
//! `stream.rs`, on the same state.
//!
//! ```text
//!            snapshot joins the queue                 chain breaks, resync()
//! syncing ───────────────────────────► live ─────────────────────────────────► syncing
//!    ▲ queues deltas, needs a snapshot   ▲│ mark_stale / clear_stale
//!    └── snapshot too old: keeps waiting │▼
//!                                       stale (right as far as it goes, but late)
//! ```
//!
//! A snapshot newer than every queued delta makes the book live at once: its state at that id is exact. The first delta that
//! is not older must then join it by the rule; if it does not, that is a gap like any other.

use wholetape_model::{
    Arena, Book, BookAction, BookRule, Chain, Decimal, GapCause, Level, Levels, Scales, Side, Span, Ts, ValidityState,
};

use crate::checksum::Scratch;
use crate::error::BookError;
use crate::order_book::{OrderBook, validate};
use crate::queue::Queue;
use crate::rule::{Ids, Link, follow, join};
use crate::stats::SpliceStats;

/// Bounds of one book's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookConfig {
    /// Deltas that may wait for a snapshot.
    pub queue_len_max: usize,
    /// Levels in all queued deltas together (16 bytes each).
    pub queue_levels_max: usize,
    /// Levels on one side.
    pub levels_max: usize,
}

impl Default for BookConfig {
    /// At most 1 MiB of queue, which is 48 s of the busiest recorded stream, and 100 000 levels a side.
    fn default() -> Self {
        Self { queue_len_max: 8_192, queue_levels_max: 65_536, levels_max: 100_000 }
    }
}

/// So many deltas in a row that are all older than the book are no late repeats: the venue's ids started anew, or the book
/// stands at an id that never was. After a snapshot that is ahead of its stream some dozens are normal (42 in
/// `binance-coinm/multi_20210722`).
const OLD_RUN_MAX: u32 = 1_000;

/// Where and when an update came from; handed back with it when a queued one is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    pub ts_event: Ts,
    pub ts_recv: Ts,
    pub conn: u32,
    pub frame: u32,
}

/// What became of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Applied,
    /// Waits for a snapshot.
    Queued,
    /// Everything in it is in the book (or the queue) already: superseded.
    Old,
    /// It does not follow the newest one. It is the first of a new queue; a snapshot is needed.
    Gap {
        expected: u64,
        got: u64,
    },
    /// The queue was full: `dropped` deltas are gone for good, and this one is the first of a new queue.
    Overflow {
        dropped: usize,
    },
    /// Validation failed and no level changed. The next delta will be a gap; where the snapshot comes by the stream, the book
    /// waits for one.
    Rejected(BookError),
    /// By the stream only: a snapshot became the book.
    Replaced,
    /// By the stream only: no change, a sign of life.
    Beat,
    /// By the stream only: a snapshot must come first.
    Unsynced,
    /// By the stream only: the book that it led to has not the venue's checksum. A snapshot is needed.
    Mismatch {
        expected: u32,
        got: u32,
    },
}

/// What [`SyncedOrderBook::place`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Everything in it is in the book or the queue already.
    Old,
    Follows,
    /// Something between is missing.
    Ahead,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// The book is live: `applied` queued deltas followed the snapshot, `discarded` were older.
    Live { applied: usize, discarded: usize },
    /// Older than the first queued delta allows. The queue is kept; ask again until `last_id >= first_needed`.
    TooOld { first_needed: u64 },
    /// The book is live already, or the snapshot is not newer than what it stands at. Nothing changed.
    NotNeeded,
    /// Validation failed. Where the snapshot itself was refused nothing changed (`applied` is `None`); where a queued delta
    /// was, the snapshot and `applied` deltas were handed out, the queue is gone and the book waits for another snapshot.
    Rejected { error: BookError, applied: Option<usize> },
}

/// A snapshot or delta at the moment it has become part of the book.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'a> {
    pub stamp: Stamp,
    pub scales: Scales,
    /// `Snapshot` first, then the queued `Delta`s in order.
    pub update: Book<Levels<'a>>,
    /// The book with this update and nothing after it.
    pub book: &'a OrderBook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Syncing,
    /// Snapshot applied at `at`, no delta yet: the rule's join decides about the first.
    Joining {
        at: u64,
    },
    Live {
        at: u64,
    },
}

/// One instrument's book, fed by one connection. Single writer.
#[derive(Debug, Clone)]
pub struct SyncedOrderBook {
    pub(crate) rule: BookRule,
    config: BookConfig,
    pub(crate) book: OrderBook,
    pub(crate) phase: Phase,
    /// Why it is not live, or late.
    cause: GapCause,
    pub(crate) stale: bool,
    /// The newest id of all deltas received: the venue's own chain.
    pub(crate) newest: Option<u64>,
    /// Old deltas since the last one that was not.
    old_run: u32,
    queue: Queue,
    pub(crate) stats: SpliceStats,
    /// Time and id of the last whole push.
    pub(crate) moment: Option<(Ts, u64)>,
    /// What the last update pushed out of a book of limited depth, with size 0; bids first.
    pub(crate) cut: Vec<Level>,
    pub(crate) cut_bids: usize,
    pub(crate) scratch: Scratch,
}

impl SyncedOrderBook {
    #[must_use]
    pub fn new(rule: impl Into<BookRule>, config: BookConfig) -> Self {
        Self {
            rule: rule.into(),
            config,
            book: OrderBook::new(config.levels_max),
            phase: Phase::Syncing,
            cause: GapCause::Resync,
            stale: false,
            newest: None,
            old_run: 0,
            queue: Queue::default(),
            stats: SpliceStats::default(),
            moment: None,
            cut: Vec::new(),
            cut_bids: 0,
            scratch: Scratch::default(),
        }
    }

    /// A delta arrived. Its ids are judged first, its levels next, and only then does anything change.
    #[inline]
    pub fn on_delta(&mut self, stamp: Stamp, scales: Scales, delta: &Book<Levels<'_>>) -> Step {
        self.stats.deltas_seen += 1;
        let ids = Ids { first: delta.first_id, last: delta.last_id, prev: delta.prev_id };
        if let Err(error) = check_head(delta, ids) {
            self.stats.deltas_rejected += 1;
            return Step::Rejected(error);
        }
        self.follow_chain(ids);
        let link = match self.phase {
            Phase::Live { at } => follow(self.rule.chain, at, ids),
            Phase::Joining { at } => join(self.rule.chain, at, ids),
            Phase::Syncing => return self.enqueue(stamp, scales, delta, ids),
        };
        match link {
            Link::Old => self.on_old(stamp, scales, delta, ids),
            Link::Follows => match self.book.apply(delta.bids, delta.asks, scales) {
                Ok(()) => {
                    self.phase = Phase::Live { at: ids.last };
                    self.old_run = 0;
                    self.stats.deltas_applied += 1;
                    Step::Applied
                }
                Err(error) => {
                    self.stats.deltas_rejected += 1;
                    Step::Rejected(error)
                }
            },
            Link::Breaks { expected, got } => self.on_break(stamp, scales, delta, ids, Step::Gap { expected, got }),
        }
    }

    /// Where a delta with these ids would go, without taking it: for those who have it from elsewhere too and may wait.
    #[must_use]
    pub fn place(&self, first: u64, last: u64, prev: u64) -> Place {
        let ids = Ids { first, last, prev };
        let link = match (self.phase, self.queue.last()) {
            (Phase::Live { at }, _) => follow(self.rule.chain, at, ids),
            (Phase::Joining { at }, _) => join(self.rule.chain, at, ids),
            (Phase::Syncing, Some(queued)) => follow(self.rule.chain, queued.last, ids),
            (Phase::Syncing, None) => return Place::Follows,
        };
        match link {
            Link::Old => Place::Old,
            Link::Follows => Place::Follows,
            Link::Breaks { .. } => Place::Ahead,
        }
    }

    #[cold]
    fn on_break(&mut self, stamp: Stamp, scales: Scales, delta: &Book<Levels<'_>>, ids: Ids, gap: Step) -> Step {
        self.resync(GapCause::Sequence);
        match self.enqueue(stamp, scales, delta, ids) {
            Step::Rejected(error) => Step::Rejected(error),
            _ => gap,
        }
    }

    /// Old deltas are normal after a snapshot and after a repeat, but not for ever: then the book is frozen at a wrong id.
    #[cold]
    fn on_old(&mut self, stamp: Stamp, scales: Scales, delta: &Book<Levels<'_>>, ids: Ids) -> Step {
        self.old_run += 1;
        if self.old_run < OLD_RUN_MAX {
            self.stats.deltas_discarded_old += 1;
            return Step::Old;
        }
        let expected = self.last_update_id().or(self.newest).unwrap_or(0);
        self.old_run = 0;
        self.stats.sequence_gaps += 1;
        self.newest = Some(ids.last);
        self.drop_queue();
        self.on_break(stamp, scales, delta, ids, Step::Gap { expected, got: ids.last })
    }

    /// Counts breaks of the venue's own chain, whatever the book's state.
    #[inline]
    pub(crate) fn follow_chain(&mut self, ids: Ids) {
        match self.newest {
            Some(newest) => match follow(self.rule.chain, newest, ids) {
                Link::Follows => self.newest = Some(ids.last),
                Link::Old => {}
                Link::Breaks { .. } => {
                    self.stats.sequence_gaps += 1;
                    self.newest = Some(ids.last);
                }
            },
            None => self.newest = Some(ids.last),
        }
    }

    #[cold]
    fn enqueue(&mut self, stamp: Stamp, scales: Scales, delta: &Book<Levels<'_>>, ids: Ids) -> Step {
        if let Err(error) = validate(delta.bids).and_then(|()| validate(delta.asks)) {
            self.stats.deltas_rejected += 1;
            return Step::Rejected(error);
        }
        let mut step = Step::Queued;
        if let Some(last) = self.queue.last() {
            match follow(self.rule.chain, last.last, ids) {
                Link::Old => return self.on_old(stamp, scales, delta, ids),
                Link::Follows => self.old_run = 0,
                Link::Breaks { expected, got } => {
                    self.drop_queue();
                    step = Step::Gap { expected, got };
                }
            }
        }
        let more = delta.bids.len() + delta.asks.len();
        let full = self.queue.len() >= self.config.queue_len_max
            || self.queue.levels().saturating_add(more) > self.config.queue_levels_max;
        if full && self.queue.len() > 0 {
            step = Step::Overflow { dropped: self.queue.len() };
            self.stats.queue_overflows += 1;
            self.drop_queue();
        }
        if more > self.config.queue_levels_max {
            self.stats.deltas_rejected += 1;
            return Step::Rejected(BookError::TooManyLevels(more));
        }
        self.queue.push(ids, scales, stamp, delta);
        self.stats.buffered = self.queue.len() as u64;
        step
    }

    fn drop_queue(&mut self) {
        self.stats.deltas_unsynced += self.queue.len() as u64;
        self.queue.clear();
        self.stats.buffered = 0;
    }

    /// A snapshot arrived. If it joins the queue, the snapshot and the queued deltas that follow it are handed to `applied`
    /// in order, each with the book as it then is.
    ///
    /// A snapshot on a book that is live changes nothing: call [`SyncedOrderBook::resync`] first to force it. Not for books whose
    /// snapshot comes by the stream: those take it by [`SyncedOrderBook::on_update`].
    pub fn on_snapshot(
        &mut self,
        stamp: Stamp,
        scales: Scales,
        snapshot: &Book<Levels<'_>>,
        applied: &mut impl FnMut(Applied<'_>),
    ) -> Splice {
        let at = snapshot.last_id;
        if snapshot.action != BookAction::Snapshot {
            self.stats.snapshots_rejected += 1;
            return Splice::Rejected { error: BookError::Action(snapshot.action), applied: None };
        }
        if self.phase != Phase::Syncing {
            self.stats.snapshots_not_needed += 1;
            return Splice::NotNeeded;
        }
        let discarded = self.queue.iter().take_while(|q| join(self.rule.chain, at, q.ids) == Link::Old).count();
        if let Some(first) = self.queue.iter().nth(discarded)
            && matches!(join(self.rule.chain, at, first.ids), Link::Breaks { .. })
        {
            self.stats.snapshots_too_old += 1;
            return Splice::TooOld { first_needed: first_needed(self.rule.chain, first.ids) };
        }
        if let Err(error) = self.book.replace(snapshot.bids, snapshot.asks, scales) {
            self.stats.snapshots_rejected += 1;
            return Splice::Rejected { error, applied: None };
        }
        self.stats.snapshots += 1;
        self.old_run = 0;
        applied(Applied { stamp, scales, update: *snapshot, book: &self.book });
        self.splice_queue(at, discarded, applied)
    }

    fn splice_queue(&mut self, at: u64, discarded: usize, applied: &mut impl FnMut(Applied<'_>)) -> Splice {
        self.stats.deltas_discarded_old += discarded as u64;
        let mut count = 0;
        let mut failed = None;
        for queued in self.queue.iter().skip(discarded) {
            if let Err(error) = self.book.apply(queued.delta.bids, queued.delta.asks, queued.scales) {
                failed = Some(error);
                break;
            }
            count += 1;
            applied(Applied { stamp: queued.stamp, scales: queued.scales, update: queued.delta, book: &self.book });
        }
        self.stats.deltas_applied += count as u64;
        if let Some(error) = failed {
            self.stats.deltas_rejected += 1;
            self.stats.deltas_unsynced += (self.queue.len() - discarded - count - 1) as u64;
            self.queue.clear();
            self.stats.buffered = 0;
            return Splice::Rejected { error, applied: Some(count) };
        }
        self.phase = match self.queue.last() {
            Some(last) if count > 0 => Phase::Live { at: last.last },
            _ => Phase::Joining { at },
        };
        self.stale = false;
        self.queue.clear();
        self.stats.buffered = 0;
        Splice::Live { applied: count, discarded }
    }

    /// The connection went away, or something else says that the chain cannot be trusted: build the book anew. What is queued
    /// stays only if the book was not live; its chain is checked again at the next delta.
    pub fn resync(&mut self, cause: GapCause) {
        if self.phase != Phase::Syncing {
            self.stats.resyncs += 1;
        }
        self.phase = Phase::Syncing;
        self.cause = cause;
        self.stale = false;
    }

    /// Forgets queue and chain too: for a new connection, whose first delta follows nothing that was heard before.
    pub fn restart(&mut self, cause: GapCause) {
        self.resync(cause);
        self.drop_queue();
        self.newest = None;
        self.moment = None;
    }

    /// The book is right up to its id but too late to be served as live (a lagging line, a silent connection). Deltas go on
    /// being applied. No effect on a book that is not live.
    pub fn mark_stale(&mut self, cause: GapCause) {
        if self.phase != Phase::Syncing {
            self.stale = true;
            self.cause = cause;
        }
    }

    /// The reason for [`SyncedOrderBook::mark_stale`] is gone.
    pub fn clear_stale(&mut self) {
        self.stale = false;
    }

    #[inline]
    #[must_use]
    pub const fn validity(&self) -> ValidityState {
        match self.phase {
            Phase::Syncing => ValidityState::Syncing,
            _ if self.stale => ValidityState::Stale,
            _ => ValidityState::Live,
        }
    }

    /// Why it is not live; `None` when it is.
    #[must_use]
    pub const fn cause(&self) -> Option<GapCause> {
        match self.validity() {
            ValidityState::Live => None,
            _ => Some(self.cause),
        }
    }

    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.validity(), ValidityState::Live)
    }

    #[must_use]
    pub const fn needs_snapshot(&self) -> bool {
        matches!(self.phase, Phase::Syncing)
    }

    #[must_use]
    pub const fn rule(&self) -> BookRule {
        self.rule
    }

    /// The venue's id at which the book stands; `None` while syncing.
    #[must_use]
    pub const fn last_update_id(&self) -> Option<u64> {
        match self.phase {
            Phase::Syncing => None,
            Phase::Joining { at } | Phase::Live { at } => Some(at),
        }
    }

    /// The smallest snapshot id that would join what is queued; `None` when nothing is, or none is needed.
    #[must_use]
    pub fn first_needed(&self) -> Option<u64> {
        if !self.needs_snapshot() {
            return None;
        }
        self.queue.first().map(|ids| first_needed(self.rule.chain, ids))
    }

    #[must_use]
    pub const fn stats(&self) -> &SpliceStats {
        &self.stats
    }

    /// The book, if it is live.
    #[inline]
    #[must_use]
    pub const fn verified(&self) -> Option<&OrderBook> {
        if self.is_live() { Some(&self.book) } else { None }
    }

    /// The book as it was last, whatever its validity. Ask for this only to show it with its validity beside it.
    #[must_use]
    pub const fn unverified(&self) -> &OrderBook {
        &self.book
    }

    /// Of a live book only, as all shortcuts below.
    #[must_use]
    pub fn best_bid(&self) -> Option<Level> {
        self.verified()?.best_bid()
    }

    #[must_use]
    pub fn best_ask(&self) -> Option<Level> {
        self.verified()?.best_ask()
    }

    #[must_use]
    pub fn mid(&self) -> Option<Decimal> {
        self.verified()?.mid()
    }

    #[must_use]
    pub fn spread(&self) -> Option<Decimal> {
        self.verified()?.spread()
    }

    /// Appends the best `n` levels of one side, best first; nothing of a book that is not live.
    pub fn top(&self, side: Side, n: usize, out: &mut Vec<Level>) {
        if let Some(book) = self.verified() {
            book.top(side, n, out);
        }
    }

    /// The full book for a checkpoint record, levels best first, at [`OrderBook::scales`] of the same book.
    /// `None` while syncing: there is no id at which the levels would be right.
    pub fn checkpoint(&self, arena: &mut Arena) -> Option<Book<Span>> {
        let at = self.last_update_id()?;
        let mut side = |side| {
            let start = arena.levels.len();
            self.book.all(side, &mut arena.levels);
            Span { start: start as u32, len: (arena.levels.len() - start) as u32 }
        };
        let bids = side(Side::Buy);
        let asks = side(Side::Sell);
        Some(Book { action: BookAction::Checkpoint, first_id: at, last_id: at, prev_id: 0, bids, asks })
    }

    /// Heap bytes of book and queue.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.book.heap_bytes() + self.queue.heap_bytes()
    }
}

#[inline]
pub(crate) fn check_head(delta: &Book<Levels<'_>>, ids: Ids) -> Result<(), BookError> {
    if delta.action != BookAction::Delta {
        return Err(BookError::Action(delta.action));
    }
    if ids.first > ids.last {
        return Err(BookError::Ids { first: ids.first, last: ids.last });
    }
    Ok(())
}

const fn first_needed(chain: Chain, ids: Ids) -> u64 {
    match chain {
        Chain::LinkedPrev => ids.first,
        _ => ids.first.saturating_sub(1),
    }
}
