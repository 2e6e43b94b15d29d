//! How far back an instrument's trades are to be whole, and where that begins: edges are found by time, then ids are
//! what is missing between them.
//!
//! On start the span `backlog` before the first row is searched once; people may order further stretches
//! (`wholetape heal backfill`). A search asks for the first trade at or after a time, the left edge; for a stretch that does
//! not end at the newest id it then asks for its right edge in the same way. Whatever ids between the edges the ledger
//! lacks become gaps of cause `backlog`, and from there on the tape knows them: after a crash the open marks are the ledger.
//!
//! A venue that pages downwards only answers with the last trade before the time; the edge is the id behind it.
//!
//! A venue's first trade ever ends the search by itself: nothing at or after the time is older. Where a request may span
//! only so much time, empty spans are passed over one by one.

use std::collections::VecDeque;
use std::time::Duration;

use wholetape_model::Ts;
use wholetape_venue::ById;

/// Edges that cannot be found after so many failures are given up, and that is said.
pub const EDGE_FAILURES_MAX: u32 = 12;
/// Stretches that may wait in one instrument.
pub const JOBS_MAX: usize = 16;

/// A stretch that people ordered, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: u64,
    pub from: Ts,
    pub to: Ts,
    /// Known once both edges are: first and last id. An empty stretch has none.
    pub ids: Option<(u64, u64)>,
    /// Ids that were missing when the edges were known.
    pub total: u64,
    pub rows: u64,
    pub pages: u64,
    pub never_published: u64,
    pub lost: u64,
    /// Why its edges could not be found.
    pub failed: Option<String>,
    pub cancelled: bool,
}

#[derive(Debug, Clone)]
struct Search {
    job: u64,
    from: Ts,
    /// Up to but not including; `MAX`: to the newest id held.
    to: Ts,
    left: Option<(u64, Ts)>,
    /// Where the next request begins.
    cursor: Ts,
    /// The right edge is the venue's newest trade.
    newest: bool,
    failures: u32,
    next_at: Ts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// For the first row, whose time the span is counted from.
    Waiting,
    Searched,
}

/// How an edge is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    At(Ts),
    Newest,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Ask on.
    More,
    /// From this id, seen with this venue time, to the id before `end` (`None`: the newest held).
    Range { job: u64, left: u64, left_ts: Ts, end: Option<u64> },
    /// There is nothing in that stretch.
    Nothing { job: u64 },
    /// The edges cannot be found: from, to, why.
    GivenUp { job: u64, from: Ts, to: Ts, why: String },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Backlog {
    by: ById,
    span: Duration,
    /// The oldest venue time on the tape; zero: none.
    oldest: Ts,
    state: State,
    /// The search of the start was given up; tried again after a reconnect.
    failed: bool,
    searches: VecDeque<Search>,
    pub jobs: Vec<Job>,
}

impl Backlog {
    pub fn off() -> Self {
        Self::new(ById::default(), Duration::ZERO, Ts::ZERO)
    }

    pub fn new(by: ById, span: Duration, oldest: Ts) -> Self {
        let state = if span.is_zero() { State::Off } else { State::Waiting };
        Self { by, span, oldest, state, failed: false, searches: VecDeque::new(), jobs: Vec::new() }
    }

    /// Whether the next row's time is wanted.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// The first row is there: the span before it is searched, unless the tape reaches back as far. Returns what lies
    /// beyond the venue's reach: from, to.
    pub fn anchor(&mut self, event: Ts, now: Ts) -> Option<(Ts, Ts)> {
        if !self.is_waiting() {
            return None;
        }
        self.state = State::Searched;
        let wanted = event - self.span;
        if self.oldest > Ts::ZERO && self.oldest <= wanted {
            return None;
        }
        let from = self.reachable(wanted, event);
        self.push(0, from, Ts::MAX, now);
        (from > wanted).then_some((wanted, from))
    }

    /// The connection is back: a search that failed is tried again.
    pub fn again(&mut self) {
        if std::mem::take(&mut self.failed) {
            self.state = State::Waiting;
        }
    }

    /// The earliest time from `wanted` on that the venue still answers for, with a minute to spare.
    fn reachable(&self, wanted: Ts, now: Ts) -> Ts {
        match self.by.reach {
            Some(reach) => wanted.max(now - reach.saturating_sub(Duration::from_secs(60))),
            None => wanted,
        }
    }

    /// People want `[from, to)` whole.
    ///
    /// # Errors
    /// When too many orders wait.
    pub fn order(&mut self, job: u64, from: Ts, to: Ts, now: Ts) -> Result<(), String> {
        if self.jobs.len() >= JOBS_MAX
            && let Some(old) = self.jobs.iter().position(|j| j.ids.is_some() || j.failed.is_some() || j.cancelled)
        {
            self.jobs.remove(old);
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(format!("{JOBS_MAX} orders wait for this instrument already"));
        }
        let (ids, failed) = (None, None);
        let (total, rows, pages, never_published, lost, cancelled) = (0, 0, 0, 0, 0, false);
        self.jobs.push(Job { id: job, from, to, ids, total, rows, pages, never_published, lost, failed, cancelled });
        self.push(job, from, to, now);
        Ok(())
    }

    fn push(&mut self, job: u64, from: Ts, to: Ts, now: Ts) {
        self.searches.push_back(Search {
            job,
            from,
            to,
            left: None,
            cursor: from,
            newest: false,
            failures: 0,
            next_at: now,
        });
    }

    pub fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|j| j.id == id)
    }

    /// Stops looking on behalf of `job`.
    pub fn cancel(&mut self, id: u64) {
        self.searches.retain(|s| s.job != id);
        if let Some(job) = self.job(id) {
            job.cancelled = true;
        }
    }

    pub fn is_searching(&self, job: u64) -> bool {
        self.searches.iter().any(|s| s.job == job)
    }

    /// When a request is due.
    pub fn next(&self) -> Option<Ts> {
        self.searches.front().map(|s| s.next_at)
    }

    /// What to ask for, if it is due.
    pub fn poll(&self, now: Ts) -> Option<Edge> {
        let search = self.searches.front().filter(|s| s.next_at <= now)?;
        Some(if search.newest { Edge::Newest } else { Edge::At(search.cursor) })
    }

    /// The answer: its first trade, or none. `newest` is the venue time of the newest row held while the stream is live, so
    /// that nothing younger is looked for; `None` where no stream is open and the venue alone knows.
    pub fn on_edge(&mut self, first: Option<(u64, Ts)>, newest: Option<Ts>, now: Ts) -> Found {
        let window = self.by.window;
        let Some(search) = self.searches.front_mut() else { return Found::More };
        let first = if self.by.edge_before && !search.newest { Some(behind(first, search.cursor)) } else { first };
        search.failures = 0;
        search.next_at = now;
        let limit = newest.unwrap_or(now).min(search.to);
        let next = window.map(|w| search.cursor + w).filter(|next| *next <= limit);
        match (first, search.left) {
            (Some((id, _)), Some((left, left_ts))) => {
                let end = Some(if search.newest { id.saturating_add(1) } else { id });
                self.finish(|job| Found::Range { job, left, left_ts, end })
            }
            (Some((_, ts)), None) if search.to <= ts => self.finish(|job| Found::Nothing { job }),
            (Some((left, left_ts)), None) => {
                search.left = Some((left, left_ts));
                if newest.is_some_and(|newest| search.to > newest) {
                    return self.finish(|job| Found::Range { job, left, left_ts, end: None });
                }
                search.newest = search.to >= now;
                search.cursor = search.to;
                Found::More
            }
            // An empty span is passed over.
            (None, _) if next.is_some() => {
                search.cursor = next.unwrap_or(search.cursor);
                Found::More
            }
            (None, Some(_)) if newest.is_none() && !search.newest => {
                search.newest = true;
                Found::More
            }
            (None, Some((left, left_ts))) => self.finish(|job| Found::Range { job, left, left_ts, end: None }),
            (None, None) if newest.is_none_or(|newest| search.to < newest) => self.finish(|job| Found::Nothing { job }),
            // The row that we hold is younger than that time, so the answer was behind.
            (None, None) => self.on_failed("the venue answered without any trade", None, now),
        }
    }

    fn finish(&mut self, found: impl FnOnce(u64) -> Found) -> Found {
        found(self.searches.pop_front().map_or(0, |s| s.job))
    }

    /// No usable answer. `wait`: our own budget said no, which is no failure.
    pub fn on_failed(&mut self, why: &str, wait: Option<Duration>, now: Ts) -> Found {
        let Some(search) = self.searches.front_mut() else { return Found::More };
        if let Some(wait) = wait {
            search.next_at = now + wait;
            return Found::More;
        }
        search.failures += 1;
        let pause = Duration::from_millis(250) * 2_u32.pow(search.failures.min(6));
        search.next_at = now + pause.min(Duration::from_secs(15));
        if search.failures < EDGE_FAILURES_MAX {
            return Found::More;
        }
        self.give_up(&format!("asked {EDGE_FAILURES_MAX} times: {why}"), now)
    }

    /// The venue cannot be asked.
    pub fn give_up(&mut self, why: &str, now: Ts) -> Found {
        let Some(search) = self.searches.pop_front() else { return Found::More };
        let why = format!("the edge of this stretch cannot be found: {why}");
        match self.job(search.job) {
            Some(job) => job.failed = Some(why.clone()),
            None => self.failed = true,
        }
        Found::GivenUp { job: search.job, from: search.from, to: search.to.min(now), why }
    }
}

/// The edge at `at` behind the last trade before it; where there is none, it is the venue's first trade ever.
fn behind(before: Option<(u64, Ts)>, at: Ts) -> (u64, Ts) {
    (before.map_or(1, |(id, _)| id.saturating_add(1)), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Ts {
        Ts::from_millis(seconds * 1_000)
    }

    fn downwards() -> Backlog {
        Backlog::new(ById { edge_before: true, ..ById::default() }, Duration::from_secs(100), Ts::ZERO)
    }

    #[test]
    fn the_edge_is_behind_the_last_trade_before_the_time() {
        let mut b = downwards();
        b.anchor(at(1_000), at(1_000));
        assert_eq!(b.poll(at(1_000)), Some(Edge::At(at(900))));
        let found = b.on_edge(Some((41, at(899))), Some(at(1_000)), at(1_001));
        assert_eq!(found, Found::Range { job: 0, left: 42, left_ts: at(900), end: None });
    }

    #[test]
    fn the_right_edge_keeps_the_last_trade_of_the_stretch() {
        let mut b = downwards();
        b.order(7, at(100), at(200), at(1_000)).unwrap();
        assert_eq!(b.on_edge(Some((41, at(99))), Some(at(1_000)), at(1_000)), Found::More);
        assert_eq!(b.poll(at(1_000)), Some(Edge::At(at(200))));
        let found = b.on_edge(Some((57, at(199))), Some(at(1_000)), at(1_001));
        // Ids 42 to 57: `end` is the id before which the stretch ends.
        assert_eq!(found, Found::Range { job: 7, left: 42, left_ts: at(100), end: Some(58) });
    }

    #[test]
    fn nothing_before_the_time_is_the_first_trade_ever() {
        let mut b = downwards();
        b.anchor(at(1_000), at(1_000));
        let found = b.on_edge(None, Some(at(1_000)), at(1_001));
        assert_eq!(found, Found::Range { job: 0, left: 1, left_ts: at(900), end: None });
    }
}
