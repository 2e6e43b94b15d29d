//! A book that fell quiet is compared with the venue's own, now and then: a lost tail shows nowhere else, since a chain of
//! ids speaks only when the next update comes.
//!
//! The comparison covers the levels near the touch. Levels deeper than the first snapshot are unknown to every diff-fed book
//! until they change, so a difference may also mean that such levels came into view: either way the venue's answer is the
//! better book, and it is taken.

use std::time::Duration;

use wholetape_book::OrderBook;
use wholetape_model::{Body, GapCause, InstrumentIx, Kind, Level, Scales, Side, Ts};
use wholetape_venue::{FetchId, FetchKind};

use super::Line;
use super::out::{LineAction, LineOut, Priority};

/// Marks a snapshot that is asked for comparison.
pub(super) const COMPARE: u64 = 1;
/// Levels a side that must be equal.
const LEVELS: usize = 500;
const FIRST: Duration = Duration::from_secs(4);
const MAX: Duration = Duration::from_secs(3_600);

/// When a book is next compared.
#[derive(Debug)]
pub(super) struct QuietProbe {
    at: Ts,
    delay: Duration,
    /// Typical time between updates, ns.
    pace: i64,
    last: Ts,
    asked: Option<Ts>,
}

impl Default for QuietProbe {
    fn default() -> Self {
        Self { at: Ts::MAX, delay: FIRST, pace: 0, last: Ts::ZERO, asked: None }
    }
}

impl QuietProbe {
    /// The book was updated: quiet counts from here.
    #[inline]
    pub fn moved(&mut self, now: Ts) {
        if self.last > Ts::ZERO {
            self.pace = (now.0 - self.last.0).max(self.pace - self.pace / 16);
        }
        self.last = now;
        // A slow book is given its time.
        self.delay = FIRST.max(Duration::from_nanos(u64::try_from(self.pace).unwrap_or(0)) * 4).min(MAX);
        self.at = now + self.delay;
        self.asked = None;
    }

    /// Its connection fell silent as a whole: compared at once, unless an answer is under way.
    pub fn hurry(&mut self, now: Ts) {
        if self.asked.is_none() {
            self.at = self.at.min(now);
        }
    }

    fn due(&mut self, now: Ts) -> bool {
        if now < self.at {
            return false;
        }
        // Each further look at the same quiet book comes four times later.
        self.delay = (self.delay * 4).min(MAX);
        self.at = now + self.delay;
        self.asked = Some(now);
        true
    }

    /// No answer: soon again.
    pub fn failed(&mut self, retry_after: Option<Duration>, now: Ts) {
        if self.asked.take().is_some() {
            self.delay = (self.delay / 4).max(FIRST);
            self.at = now + retry_after.unwrap_or(FIRST / 2);
        }
    }

    pub fn next(&self) -> Ts {
        self.at
    }

    /// The answer to the question, if nothing moved since it was asked.
    fn answered(&mut self) -> bool {
        self.asked.take().is_some()
    }
}

impl Line {
    /// Asks for a quiet book's snapshot when that is due.
    pub(super) fn probe_quiet_book(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let conn = self.instruments[ix as usize].book_conn;
        if !self.is_set_open(conn) {
            return;
        }
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        // Where the snapshot comes by the stream, REST's has no id to compare with.
        if !flow.book().is_live() || flow.is_streamed() {
            return;
        }
        if flow.quiet.due(now) {
            let want = FetchId { kind: FetchKind::BookSnapshot, instrument: ix, arg: COMPARE };
            if let Some(request) = self.conns[conn].session.request(want) {
                self.stats.fetches += 1;
                out.actions.push(LineAction::Fetch(conn, want, request, Priority::Poll));
            }
        }
        let at = self.instruments[ix as usize].book.as_ref().map_or(Ts::MAX, |b| b.quiet.next());
        self.wake_at(at);
    }

    /// Whether a snapshot asked for comparison shows that the live book missed something. If so the book is given up, and the
    /// snapshot may be spliced.
    pub(super) fn quiet_book_differs(&mut self, id: FetchId, now: Ts, out: &mut LineOut) -> bool {
        let Some(flow) = self.instruments.get_mut(id.instrument as usize).and_then(|i| i.book.as_mut()) else {
            return false;
        };
        if !flow.quiet.answered() {
            return false;
        }
        let Some(book) = flow.book().verified() else { return true };
        let at = flow.book().last_update_id().unwrap_or(0);
        let differs = out.scratch.events.iter().any(|event| match event.body {
            Body::Book(update) if update.last_id > at => {
                let arena = &out.scratch.arena;
                !same(book, Side::Buy, arena.level_slice(update.bids), event.scales)
                    || !same(book, Side::Sell, arena.level_slice(update.asks), event.scales)
            }
            _ => false,
        });
        let last_row =
            self.topics.find(id.instrument, Kind::Book).map_or(Ts::ZERO, |t| self.topics.list[t as usize].last_recv);
        let proof = &mut self.instruments[id.instrument as usize].proof;
        if differs {
            proof.book_differed(last_row, now);
            self.wake_at(now + super::silence::GRACE);
            let why = "quiet, and the venue's own book differs near the touch";
            self.book_lost(id.instrument, GapCause::Silent, why, now, out);
        } else {
            proof.nothing_new = now;
        }
        differs
    }
}

/// The best levels of one side are the same, by value.
fn same(book: &OrderBook, side: Side, truth: &[Level], scales: Scales) -> bool {
    let truth = &truth[..truth.len().min(LEVELS)];
    let mut ours = Vec::with_capacity(truth.len());
    book.top(side, truth.len(), &mut ours);
    let equal = |a: &Level, b: &Level| {
        book.scales().price(a.price).cmp_value(scales.price(b.price)).is_eq()
            && book.scales().size(a.size).cmp_value(scales.size(b.size)).is_eq()
    };
    ours.len() == truth.len() && ours.iter().zip(truth).all(|(a, b)| equal(a, b))
}
