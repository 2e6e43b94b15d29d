//! One instrument's trades: redelivered ones vanish, missing ones are named, asked for by id, and get a verdict.
//!
//! Two requests at most are under way per instrument, one for its live edge (a hole of the last moments, or a probe for
//! the newest id of a stream that fell silent) and one for its backlog. A hole is asked for from its newest end, a page at
//! a time, so the newest part is whole first; each page shows the ids at both sides of what it fills.
//!
//! An id is *never published* when an answer shows ids on both sides and not it, provided that the request went out
//! [`SETTLED_AFTER`] after the hole was seen: REST may lag the stream by a moment, so a younger hole is asked for once more.
//! Ids that we hold a neighbour of, and the venue no longer shows that neighbour, are *lost beyond its reach*.

use std::time::Duration;

use wholetape_model::{GapCause, GapState, HealSource, TradeId, Ts};
use wholetape_venue::{ById, ByTime, FetchKind, TradeHistory};

use super::backlog::{Backlog, Edge};
use super::heal::{Order, Progress};
use super::hole::Hole;
pub use super::hole::{GapMark, LIVE_IDS_MAX};
use super::ledger::{Arrival, Ledger};
use super::overlap::{Named, Overlap};

/// A request this long after a hole was seen may prove that its ids were never published.
pub const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Answers that begin beyond a hole's left edge before what they leave out counts as settled.
pub const DENIALS: u32 = 3;
/// Failed or useless answers in a row before a hole counts as lost.
pub const FAILURES_MAX: u32 = 40;
/// Silence after which the newest id is asked for; doubles up to [`PROBE_MAX`] while nothing new is found.
pub const PROBE_FIRST: Duration = Duration::from_secs(2);
pub const PROBE_MAX: Duration = Duration::from_secs(900);
/// No answer within this long counts as none; the shell's own timeout is shorter.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A trade this much older than now that only REST knew of shows that the stream is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
/// More separate holes than this in one stretch become one gap, whose held ids are simply held.
const GAPS_AT_ONCE: usize = 64;

/// What a live trade is.
#[derive(Debug, PartialEq)]
pub enum Live {
    /// Append it.
    Row,
    /// Append the mark, then the trade.
    AfterGap(GapMark),
    /// Append the trade, then the verdicts it completed.
    Filled(Vec<GapMark>),
    /// Held already.
    Repeat,
}

/// What to ask of the venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    From {
        id: u64,
        hole: bool,
    },
    Newest,
    /// The first trade at or after a venue time.
    At(Ts),
}

impl Ask {
    /// Whether a fetch of this kind and argument is this question.
    fn is(self, kind: FetchKind, arg: u64) -> bool {
        match self {
            Self::From { id, .. } => kind == FetchKind::TradesFrom && arg == id,
            Self::Newest => kind == FetchKind::NewestTrades,
            Self::At(at) => kind == FetchKind::TradesAt && arg == millis(at),
        }
    }
}

/// The argument of [`FetchKind::TradesAt`].
pub fn millis(at: Ts) -> u64 {
    u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or(0)
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    ask: Ask,
    at: Ts,
    /// The hole that it is for.
    gap: u64,
    /// It began at the hole's left neighbour.
    left: bool,
    backlog: bool,
}

impl Asked {
    /// It looks for the edge of a stretch.
    fn is_edge(&self) -> bool {
        self.backlog && matches!(self.ask, Ask::At(_) | Ask::Newest)
    }
}

/// Counters of one instrument's trades.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TradeStats {
    pub live: u64,
    pub repeats: u64,
    pub late: u64,
    pub gaps: u64,
    pub healed: u64,
    pub never_published: u64,
    pub lost: u64,
    pub probes: u64,
    pub pages: u64,
}

#[derive(Debug)]
pub struct TradeFlow {
    ledger: Ledger,
    holes: Vec<Hole>,
    /// For the live edge, and for the backlog.
    asked: Option<Asked>,
    asked_old: Option<Asked>,
    /// The question whose answer is being read, and how many of its rows were new.
    reading: Option<Asked>,
    gained: u64,
    heal: bool,
    by: Option<ById>,
    /// Where ids do not follow each other, this does all the work.
    overlap: Option<Box<Overlap>>,
    /// … and whether it may ask by time.
    pages: bool,
    backlog: Backlog,
    /// Why the next skip happened, where something explains it.
    cause: Option<GapCause>,
    last_live: Ts,
    last_recv: Ts,
    /// The first question after a trade: later where trades are rare at this hour.
    probe_first: Duration,
    /// Gaps from the tape, some of which may be whole already: a crash came between row and verdict.
    unjudged: bool,
    /// A stream brings what is new; false before the first subscription.
    live: bool,
    /// The newest venue time of a row held.
    last_event: Ts,
    probe_after: Duration,
    probe_at: Ts,
    /// The venue does not tell its newest trades.
    newest_unknown: bool,
    /// Probes that much depends on: what a new subscription missed, whether a connection is dead. And whether the last was one.
    urgent_left: u8,
    urgent: bool,
    pub stats: TradeStats,
}

impl TradeFlow {
    /// `held` and `open` come from the tape; empty on a first start.
    pub fn new(heal: bool, held: Ledger, open: &[GapMark], last_recv: Ts) -> Self {
        let cause = held.head().map(|_| GapCause::Down);
        Self {
            ledger: held,
            holes: open.iter().map(Hole::resumed).collect(),
            asked: None,
            asked_old: None,
            reading: None,
            gained: 0,
            heal,
            by: Some(ById::default()),
            overlap: None,
            pages: false,
            backlog: Backlog::off(),
            cause,
            last_live: Ts::ZERO,
            last_recv,
            probe_first: PROBE_FIRST,
            unjudged: !open.is_empty(),
            live: false,
            last_event: Ts::ZERO,
            probe_after: PROBE_FIRST,
            probe_at: Ts::MAX,
            newest_unknown: false,
            urgent_left: 0,
            urgent: false,
            stats: TradeStats::default(),
        }
    }

    /// How the venue can be asked, how far back the trades are to be whole, the oldest and newest venue time on the tape, and
    /// what it holds of ids that do not count.
    #[must_use]
    pub fn with_history(
        mut self,
        history: TradeHistory,
        backlog: Duration,
        (oldest, newest): (Ts, Ts),
        named: &[Named],
    ) -> Self {
        self.by = match history {
            TradeHistory::ById(by) => Some(by),
            TradeHistory::ByTimeWithOverlap(_) | TradeHistory::Impossible { .. } => None,
        };
        self.last_event = newest;
        let loose = match history {
            TradeHistory::ByTimeWithOverlap(by) => Some(by),
            TradeHistory::Impossible { consecutive: false } => {
                Some(ByTime { page_max: 1, reach: None, overlap: Duration::ZERO, downwards: false })
            }
            _ => None,
        };
        if let Some(way) = loose {
            let open: Vec<GapMark> =
                self.holes.drain(..).map(|h| h.mark(GapState::Open, HealSource::None, 0, String::new())).collect();
            self.pages = self.heal && matches!(history, TradeHistory::ByTimeWithOverlap(_));
            let span = if self.pages { backlog } else { Duration::ZERO };
            // Where nothing can be asked the newest of them is the topic's loss, which goes on.
            let open = if self.pages { &open[..] } else { &open[..open.len().saturating_sub(1)] };
            let mut overlap = Overlap::new(way, span, named, newest, open);
            if self.pages && !named.is_empty() {
                overlap.doubt(GapCause::Down, Ts::MAX, true);
            }
            self.overlap = Some(Box::new(overlap));
        }
        if let Some(by) = self.by.filter(|_| self.heal) {
            self.backlog = Backlog::new(by, backlog, oldest);
        }
        self
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn open_gaps(&self) -> usize {
        self.holes.len() + self.overlap.as_ref().map_or(0, |o| o.open_gaps())
    }

    /// Ids name trades here, and do not count them.
    pub fn is_loose(&self) -> bool {
        self.overlap.is_some()
    }

    /// … and what is missing is asked for by time.
    pub fn is_asked(&self) -> bool {
        self.pages
    }

    /// It is the newest trade held.
    pub fn is_newest(&self, id: TradeId) -> bool {
        match &self.overlap {
            Some(overlap) => overlap.newest() == Some(id),
            None => self.ledger.head().is_some_and(|head| id == head),
        }
    }

    /// It is newer than all that is held.
    pub fn is_beyond(&self, id: TradeId, event: Ts) -> bool {
        match id.number().filter(|_| self.overlap.is_none()) {
            Some(id) => self.ledger.head().is_none_or(|head| id > head),
            None => event > self.last_event,
        }
    }

    /// Ids that were forgotten before their time, for there were too many.
    pub fn forgotten(&self) -> u64 {
        self.overlap.as_ref().map_or(0, |overlap| overlap.forgotten())
    }

    /// When the newest id came.
    pub fn newest_at(&self) -> Ts {
        self.last_recv
    }

    /// The last time a live trade came.
    pub fn last_live(&self) -> Ts {
        self.last_live
    }

    /// Ids of old or large holes that are still missing.
    pub fn backlog_missing(&self) -> u64 {
        let old = self.holes.iter().filter(|h| h.is_backlog());
        old.map(|h| self.ledger.missing_count(h.from, h.to)).sum()
    }

    /// The stream is (again) subscribed.
    pub fn on_open(&mut self, now: Ts) {
        self.probe_after = PROBE_FIRST;
        self.probe_at = now + PROBE_FIRST;
        self.urgent_left = 2;
        self.live = true;
        self.backlog.again();
    }

    /// How long trades are usually apart: asking sooner is no use.
    pub fn expect(&mut self, apart: Duration) {
        self.probe_first = apart.max(PROBE_FIRST);
    }

    /// The connection fell silent as a whole: asked at once, unless an answer is under way.
    pub fn probe_now(&mut self, now: Ts) {
        self.probe_at = self.probe_at.min(now);
        self.urgent_left = self.urgent_left.max(1);
    }

    /// Where ids do not count, trades may be missing from `since` on; `in_order`: and none that is older than the last. False where
    /// nothing can be asked: then it is a loss like that of any stream without ids.
    pub fn doubt(&mut self, cause: GapCause, since: Ts, in_order: bool) -> bool {
        let Some(overlap) = self.overlap.as_mut().filter(|_| self.pages) else { return false };
        overlap.doubt(cause, since, in_order);
        true
    }

    /// What of a doubt lies before the last trade becomes a hole, whose mark this is: another process may be the one to get the next.
    pub fn open_doubt(&mut self, gap: u64, now: Ts) -> Option<GapMark> {
        let mark = self.overlap.as_mut().filter(|_| self.pages)?.open_doubt(gap, now)?;
        self.stats.gaps += 1;
        Some(mark)
    }

    pub fn on_closed(&mut self) {
        if let Some(overlap) = self.overlap.as_mut().filter(|o| self.pages && o.newest().is_some()) {
            overlap.doubt(GapCause::Disconnected, Ts::MAX, true);
        }
        if self.ledger.head().is_some() {
            self.cause.get_or_insert(GapCause::Disconnected);
        }
    }

    /// Live trades are dropped unread from here on. What is missing shows by id when they are read again ([`Self::on_open`]
    /// probes for a tail); until then REST is left alone: it would only add to the load.
    pub fn begin_shed(&mut self) {
        if self.ledger.head().is_some() {
            self.cause = Some(GapCause::Shed);
        }
        self.probe_at = Ts::MAX;
    }

    /// One live trade of venue time `event`. `gap` names a hole, should it open one.
    #[inline]
    pub fn on_live(&mut self, id: impl Into<TradeId>, event: Ts, now: Ts, gap: u64) -> Live {
        let id = id.into();
        let before = self.last_recv;
        self.last_live = now;
        self.last_recv = now;
        self.last_event = self.last_event.max(event);
        self.probe_after = self.probe_first;
        self.probe_at = now + self.probe_first;
        self.urgent_left = 0;
        if let Some(overlap) = &mut self.overlap {
            let live = overlap.on_live(id, event, now, gap);
            *if live == Live::Repeat { &mut self.stats.repeats } else { &mut self.stats.live } += 1;
            self.stats.gaps += u64::from(matches!(live, Live::AfterGap(_)));
            return live;
        }
        let Some(id) = id.number() else {
            // Of a venue whose ids are said to count: kept, and nothing follows from it.
            self.stats.live += 1;
            return Live::Row;
        };
        match self.ledger.arrive(id) {
            Arrival::First | Arrival::Next => {
                self.stats.live += 1;
                // The stream goes on where it was: nothing was missed.
                self.cause = None;
                Live::Row
            }
            Arrival::Repeat => {
                self.stats.repeats += 1;
                Live::Repeat
            }
            Arrival::Skips { from, to } => {
                self.stats.live += 1;
                let cause = self.cause.take().unwrap_or(GapCause::Sequence);
                Live::AfterGap(self.open(gap, from, to, cause, before, now))
            }
            Arrival::Fills => {
                self.stats.live += 1;
                Live::Filled(self.close_whole(HealSource::Redundant))
            }
        }
    }

    fn open(&mut self, gap: u64, from: u64, to: u64, cause: GapCause, from_ts: Ts, to_ts: Ts) -> GapMark {
        // A neighbour that was swapped with this one arrives within moments: do not ask at once.
        let soon = to_ts + Duration::from_millis(200);
        self.open_hole(Hole::new(gap, (from, to), cause, (from_ts, to_ts), soon))
    }

    fn open_hole(&mut self, hole: Hole) -> GapMark {
        self.stats.gaps += 1;
        let missing = self.ledger.missing_count(hole.from, hole.to);
        let mark = hole.mark(GapState::Open, HealSource::None, missing, format!("{missing} ids"));
        self.holes.push(hole);
        mark
    }

    /// Verdicts for the holes that are whole now.
    fn close_whole(&mut self, source: HealSource) -> Vec<GapMark> {
        let (ledger, stats, backlog) = (&self.ledger, &mut self.stats, &mut self.backlog);
        let mut done = Vec::new();
        self.holes.retain_mut(|h| {
            if ledger.missing_count(h.from, h.to) > 0 {
                return true;
            }
            let verdict = h.verdict(source);
            match verdict.state {
                GapState::Healed => stats.healed += 1,
                GapState::NeverPublished => stats.never_published += 1,
                _ => stats.lost += 1,
            }
            if let Some(job) = backlog.job(h.job) {
                job.never_published += h.unpublished;
                job.lost += h.beyond;
            }
            done.push(verdict);
            false
        });
        done
    }

    /// Verdicts that the tape did not get before a crash.
    pub fn judge_resumed(&mut self) -> Vec<GapMark> {
        if std::mem::take(&mut self.unjudged) { self.close_whole(HealSource::Rest) } else { Vec::new() }
    }

    // ---- what to ask ----

    /// The next request for the live edge, if one is due and none is under way.
    pub fn poll_ask(&mut self, now: Ts) -> Option<Ask> {
        if self.overlap.is_some() {
            return self.poll_overlap(false, now).or_else(|| self.poll_newest(now));
        }
        let by = self.by.filter(|_| self.heal)?;
        if self.asked.is_some_and(|asked| now.since(asked.at) < ANSWER_MAX) {
            return None;
        }
        self.asked = self.ask_hole(false, &by, now).or_else(|| self.ask_probe(now));
        self.asked.map(|asked| asked.ask)
    }

    /// The next request for the backlog. The caller bounds how many instruments have one under way.
    pub fn poll_backlog(&mut self, now: Ts) -> Option<Ask> {
        if self.overlap.is_some() {
            return self.poll_overlap(true, now);
        }
        let by = self.by.filter(|_| self.heal)?;
        if self.is_backlog_asked(now) {
            return None;
        }
        let edge = self.backlog.poll(now).map(|edge| {
            let ask = match edge {
                Edge::At(at) => Ask::At(at),
                Edge::Newest => Ask::Newest,
            };
            Asked { ask, at: now, gap: 0, left: false, backlog: true }
        });
        self.asked_old = edge.or_else(|| self.ask_hole(true, &by, now));
        self.asked_old.map(|asked| asked.ask)
    }

    fn poll_overlap(&mut self, backlog: bool, now: Ts) -> Option<Ask> {
        let overlap = self.overlap.as_ref().filter(|_| self.pages)?;
        let slot = if backlog { &mut self.asked_old } else { &mut self.asked };
        // A hole does not wait for a probe's answer.
        if slot.is_some_and(|asked| asked.ask != Ask::Newest && now.since(asked.at) < ANSWER_MAX) {
            return None;
        }
        let (gap, at) = overlap.poll(backlog, now)?;
        *slot = Some(Asked { ask: Ask::At(at), at: now, gap, left: false, backlog });
        slot.map(|asked| asked.ask)
    }

    /// Where ids do not count, a quiet stream's next trade does not tell what was missed: the venue's newest tell whether it is dead.
    fn poll_newest(&mut self, now: Ts) -> Option<Ask> {
        if !self.probes() || self.asked.is_some_and(|asked| now.since(asked.at) < ANSWER_MAX) {
            return None;
        }
        self.asked = self.ask_probe(now);
        self.asked.map(|asked| asked.ask)
    }

    fn probes(&self) -> bool {
        self.heal && !self.newest_unknown
    }

    /// What is read answers such a probe: it shows whether the stream is alive, and heals nothing.
    pub fn is_sign_of_life(&self, id: TradeId) -> Option<bool> {
        let overlap = self.overlap.as_ref()?;
        self.reading.is_some_and(|r| r.ask == Ask::Newest).then(|| !overlap.is_known(id))
    }

    /// A backlog request is under way.
    pub fn is_backlog_asked(&self, now: Ts) -> bool {
        self.asked_old.is_some_and(|asked| now.since(asked.at) < ANSWER_MAX)
    }

    /// The newest hole that is due, its newest page first: and where that page has room, the holes before it are in it too.
    fn ask_hole(&self, backlog: bool, by: &ById, now: Ts) -> Option<Asked> {
        let due = || self.holes.iter().filter(|h| h.is_backlog() == backlog && h.next_at <= now);
        let hole = due().max_by_key(|h| h.to)?;
        let (lo, hi) = *self.ledger.missing(hole.from, hole.to).last()?;
        // One row is the neighbour above.
        let from_newest = hi.saturating_add(2).saturating_sub(by.page_max);
        let fresh = |h: &&Hole| h.failures == 0 && h.denials == 0 && !h.left_first;
        let others = due().filter(|h| h.gap != hole.gap).filter(fresh);
        let before = others.map(|h| h.from.saturating_sub(1)).filter(|id| *id >= from_newest).min();
        let (id, left) = match before.filter(|id| fresh(&hole) && *id < lo.saturating_sub(1)) {
            _ if from_newest >= lo && !hole.left_first => (from_newest, false),
            Some(id) => (id, false),
            // What we hold below shows that nothing lies between. A backlog begins where we hold nothing, and may be the venue's first trade:
            // where ids are found by time, the one before that would be looked for in vain.
            None => (if self.ledger.holds(lo.saturating_sub(1)) { lo - 1 } else { lo }, true),
        };
        Some(Asked { ask: Ask::From { id, hole: true }, at: now, gap: hole.gap, left, backlog })
    }

    fn ask_probe(&mut self, now: Ts) -> Option<Asked> {
        if self.probe_at > now {
            return None;
        }
        self.stats.probes += 1;
        self.urgent = self.urgent_left > 0;
        self.urgent_left = self.urgent_left.saturating_sub(1);
        self.probe_after = (self.probe_after * 2).min(PROBE_MAX);
        self.probe_at = now + self.probe_after;
        let ask = self.ledger.head().map_or(Ask::Newest, |head| Ask::From { id: head.saturating_add(1), hole: false });
        Some(Asked { ask, at: now, gap: 0, left: false, backlog: false })
    }

    /// The last probe belongs to the live edge. One for any other quiet is no hurry: the next trade's id tells as much.
    pub fn is_probe_urgent(&self) -> bool {
        self.urgent
    }

    /// When `poll_ask` may have something.
    pub fn next_ask(&self) -> Option<Ts> {
        let is_loose = self.overlap.is_some();
        if !is_loose {
            self.by.filter(|_| self.heal)?;
        }
        let probe = if is_loose && !self.probes() { Ts::MAX } else { self.probe_at };
        let (hole, answered) = (self.next_hole(false), self.asked.map_or(Ts::ZERO, |asked| asked.at + ANSWER_MAX));
        let is_probing = is_loose && self.asked.is_some_and(|asked| asked.ask == Ask::Newest);
        let due = if is_probing { hole.min(probe.max(answered)) } else { hole.min(probe).max(answered) };
        (due < Ts::MAX).then_some(due)
    }

    /// When `poll_backlog` may have something.
    pub fn next_backlog(&self) -> Option<Ts> {
        if !self.pages {
            self.by.filter(|_| self.heal)?;
        }
        let due = self.next_hole(true).min(self.backlog.next().unwrap_or(Ts::MAX));
        let due = self.asked_old.map_or(due, |asked| due.max(asked.at + ANSWER_MAX));
        (due < Ts::MAX).then_some(due)
    }

    fn next_hole(&self, backlog: bool) -> Ts {
        if let Some(overlap) = &self.overlap {
            return overlap.next(backlog);
        }
        self.holes.iter().filter(|h| h.is_backlog() == backlog).map(|h| h.next_at).min().unwrap_or(Ts::MAX)
    }

    // ---- what is given up ----

    /// Where nothing can be asked, every hole is lost at once, and says so.
    pub fn give_up_all(&mut self) -> Vec<GapMark> {
        if !self.heal {
            return self.give_up_older(Duration::ZERO, Ts::MAX, "healing is off");
        }
        Vec::new()
    }

    /// Where the venue answers nothing, a hole that does not fill itself in a moment is lost.
    pub fn give_up_impossible(&mut self, now: Ts) -> Vec<GapMark> {
        if let Some(overlap) = self.overlap.as_mut().filter(|_| !self.pages) {
            let why = if self.heal { "impossible over REST" } else { "healing is off" };
            let lost = overlap.give_up(why, now);
            self.stats.lost += lost.len() as u64;
            return lost;
        }
        if self.by.is_some() || !self.heal || self.holes.is_empty() {
            return Vec::new();
        }
        self.give_up_older(Duration::from_secs(1), now, "impossible over REST")
    }

    /// Holes that were opened at least `patience` ago are lost, because of `why`.
    pub fn give_up_older(&mut self, patience: Duration, now: Ts, why: &str) -> Vec<GapMark> {
        let ledger = &self.ledger;
        let mut lost = Vec::new();
        self.holes.retain(|h| {
            let young = now.since(h.to_ts) < patience;
            if !young {
                let missing = ledger.missing_count(h.from, h.to);
                lost.push(h.mark(GapState::Lost, HealSource::None, missing, why.to_owned()));
            }
            young
        });
        self.stats.lost += lost.len() as u64;
        lost
    }

    // ---- orders of people ----

    /// Takes an order of people.
    ///
    /// # Errors
    /// Where nothing can be asked, or too many orders wait.
    pub fn order(&mut self, order: &Order, now: Ts) -> Result<(), String> {
        match self.by.filter(|_| self.heal) {
            _ if self.overlap.is_some() => return Err("this venue's trades have no consecutive ids to fill by".into()),
            None if !self.heal => return Err("healing is off for this line".into()),
            None => return Err("this venue's past trades cannot be asked for by id".into()),
            Some(by) if !by.by_time => return Err("this venue's past trades cannot be found by time".into()),
            Some(_) => {}
        }
        self.backlog.order(order.job, order.from, order.to, now)?;
        self.ledger = Ledger::from_runs(self.ledger.runs().iter().chain(&order.held).copied().collect());
        self.last_event = self.last_event.max(order.newest);
        // Gaps that the tape holds open, older than what was read at the start, go on under their numbers.
        for mark in order.open.iter().filter(|m| m.from_id > 0 && m.from_id <= m.to_id) {
            if !self.holes.iter().any(|h| h.gap == mark.gap) {
                self.holes.push(Hole::resumed(mark));
                self.unjudged = true;
            }
        }
        Ok(())
    }

    /// Stops working on an order; what is open stays open, on the tape as well, and a later order goes on.
    pub fn cancel(&mut self, job: u64) {
        self.backlog.cancel(job);
        for h in self.holes.iter_mut().filter(|h| h.job == job && job > 0) {
            h.next_at = Ts::MAX;
        }
    }

    /// How far an order is.
    pub fn progress(&mut self, id: u64) -> Option<Progress> {
        let job = self.backlog.job(id)?.clone();
        let (lo, hi) = job.ids.filter(|ids| *ids != (0, 0)).unwrap_or((1, 0));
        let missing = if lo <= hi { self.ledger.missing_count(lo, hi) } else { 0 };
        let open = |h: &Hole| h.from <= hi && h.to >= lo && self.ledger.missing_count(h.from.max(lo), h.to.min(hi)) > 0;
        let working = lo <= hi && self.holes.iter().any(open);
        let done = job.cancelled || job.failed.is_some() || (job.ids.is_some() && !working);
        Some(Progress { job, missing, done })
    }
}

mod answers;
mod archive;

#[cfg(test)]
#[path = "trades_tests.rs"]
mod tests;
