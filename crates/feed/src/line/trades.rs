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

use wholetape_model::{GapCause, GapState, HealSource, Ts};
use wholetape_venue::{ById, FetchKind, TradeHistory};

use super::backlog::{Backlog, Edge, Found};
use super::heal::{Order, Progress};
pub use super::hole::{GapMark, LIVE_IDS_MAX};
use super::hole::{Hole, count, ranges};
use super::ledger::{Arrival, Ledger};

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
    backlog: Backlog,
    /// Why the next skip happened, where something explains it.
    cause: Option<GapCause>,
    last_live: Ts,
    last_recv: Ts,
    /// The first question after a trade: later where trades are rare at this hour.
    probe_first: Duration,
    /// A stream brings what is new; false before the first subscription.
    live: bool,
    /// The newest venue time of a row held.
    last_event: Ts,
    probe_after: Duration,
    probe_at: Ts,
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
            backlog: Backlog::off(),
            cause,
            last_live: Ts::ZERO,
            last_recv,
            probe_first: PROBE_FIRST,
            live: false,
            last_event: Ts::ZERO,
            probe_after: PROBE_FIRST,
            probe_at: Ts::MAX,
            stats: TradeStats::default(),
        }
    }

    /// How the venue can be asked, how far back the trades are to be whole, and the oldest and newest venue time on the
    /// tape.
    #[must_use]
    pub fn with_history(mut self, history: TradeHistory, backlog: Duration, oldest: Ts, newest: Ts) -> Self {
        self.by = match history {
            TradeHistory::ById(by) => Some(by),
            TradeHistory::ByTimeWithOverlap { .. } | TradeHistory::Impossible { .. } => None,
        };
        self.last_event = newest;
        if let Some(by) = self.by.filter(|_| self.heal) {
            self.backlog = Backlog::new(by, backlog, oldest);
        }
        self
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn open_gaps(&self) -> usize {
        self.holes.len()
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
    }

    pub fn on_closed(&mut self) {
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
    pub fn on_live(&mut self, id: u64, event: Ts, now: Ts, gap: u64) -> Live {
        let before = self.last_recv;
        self.last_live = now;
        self.last_recv = now;
        self.last_event = self.last_event.max(event);
        self.probe_after = self.probe_first;
        self.probe_at = now + self.probe_first;
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

    // ---- what to ask ----

    /// The next request for the live edge, if one is due and none is under way.
    pub fn poll_ask(&mut self, now: Ts) -> Option<Ask> {
        let by = self.by.filter(|_| self.heal)?;
        if self.asked.is_some_and(|asked| now.since(asked.at) < ANSWER_MAX) {
            return None;
        }
        self.asked = self.ask_hole(false, &by, now).or_else(|| self.ask_probe(now));
        self.asked.map(|asked| asked.ask)
    }

    /// The next request for the backlog. The caller bounds how many instruments have one under way.
    pub fn poll_backlog(&mut self, now: Ts) -> Option<Ask> {
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

    /// A backlog request is under way.
    pub fn is_backlog_asked(&self, now: Ts) -> bool {
        self.asked_old.is_some_and(|asked| now.since(asked.at) < ANSWER_MAX)
    }

    /// The newest hole that is due, its newest page first.
    fn ask_hole(&self, backlog: bool, by: &ById, now: Ts) -> Option<Asked> {
        let due = self.holes.iter().filter(|h| h.is_backlog() == backlog && h.next_at <= now);
        let hole = due.max_by_key(|h| h.to)?;
        let (lo, hi) = *self.ledger.missing(hole.from, hole.to).last()?;
        // One row is the neighbour above.
        let from_newest = hi.saturating_add(2).saturating_sub(by.page_max);
        let left = hole.left_first || from_newest < lo;
        let id = if left { lo.saturating_sub(1) } else { from_newest };
        Some(Asked { ask: Ask::From { id, hole: true }, at: now, gap: hole.gap, left, backlog })
    }

    fn ask_probe(&mut self, now: Ts) -> Option<Asked> {
        if self.probe_at > now {
            return None;
        }
        self.stats.probes += 1;
        self.probe_after = (self.probe_after * 2).min(PROBE_MAX);
        self.probe_at = now + self.probe_after;
        let ask = self.ledger.head().map_or(Ask::Newest, |head| Ask::From { id: head.saturating_add(1), hole: false });
        Some(Asked { ask, at: now, gap: 0, left: false, backlog: false })
    }

    /// The stream has just fallen silent, or was just opened: its tail belongs to the live edge. A long quiet is no hurry.
    pub fn is_probe_urgent(&self) -> bool {
        self.probe_after <= PROBE_FIRST * 4
    }

    /// When `poll_ask` may have something.
    pub fn next_ask(&self) -> Option<Ts> {
        self.by.filter(|_| self.heal)?;
        let due = self.next_hole(false).min(self.probe_at);
        let due = self.asked.map_or(due, |asked| due.max(asked.at + ANSWER_MAX));
        (due < Ts::MAX).then_some(due)
    }

    /// When `poll_backlog` may have something.
    pub fn next_backlog(&self) -> Option<Ts> {
        self.by.filter(|_| self.heal)?;
        let due = self.next_hole(true).min(self.backlog.next().unwrap_or(Ts::MAX));
        let due = self.asked_old.map_or(due, |asked| due.max(asked.at + ANSWER_MAX));
        (due < Ts::MAX).then_some(due)
    }

    fn next_hole(&self, backlog: bool) -> Ts {
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

    // ---- answers ----

    /// An answer is about to be read. True when it is for the backlog.
    pub fn begin(&mut self, kind: FetchKind, arg: u64) -> bool {
        self.gained = 0;
        self.reading = [&mut self.asked, &mut self.asked_old]
            .into_iter()
            .find(|slot| slot.is_some_and(|asked| asked.ask.is(kind, arg)))
            .and_then(Option::take);
        self.stats.pages += u64::from(self.reading.is_some_and(|r| r.backlog));
        self.reading.is_some_and(|r| r.backlog)
    }

    /// The answer being read is about the edge of a stretch: its first trade. Gaps that are known now come before the rows.
    pub fn on_edge(&mut self, first: Option<(u64, Ts)>, now: Ts, gap: u64) -> Vec<GapMark> {
        if !self.reading.is_some_and(|r| r.is_edge()) {
            return Vec::new();
        }
        let newest = self.live.then_some(self.last_event);
        let found = self.backlog.on_edge(first, newest, now);
        self.found(found, now, gap)
    }

    /// Whether this question, which is under way, is one for the backlog.
    pub fn is_backlog_question(&self, kind: FetchKind, arg: u64) -> bool {
        self.asked_old.is_some_and(|asked| asked.ask.is(kind, arg))
    }

    fn found(&mut self, found: Found, now: Ts, gap: u64) -> Vec<GapMark> {
        match found {
            Found::More => Vec::new(),
            Found::Nothing { job } => {
                if let Some(job) = self.backlog.job(job) {
                    job.ids = Some((0, 0));
                }
                Vec::new()
            }
            // An order tells whoever gave it; the tape is told what it was promised.
            Found::GivenUp { job, .. } if job > 0 => Vec::new(),
            Found::GivenUp { from, to, why, .. } => {
                let hole = Hole::new(gap, (0, 0), GapCause::Backlog, (from, to), now);
                self.stats.lost += 1;
                vec![hole.mark(GapState::Lost, HealSource::None, 0, why)]
            }
            Found::Range { job, left, left_ts, end } => {
                let newest = end.map(|end| end.saturating_sub(1)).or(self.ledger.head()).unwrap_or(left);
                self.open_stretch(job, (left, newest), left_ts, now, gap)
            }
        }
    }

    /// Opens what is neither held nor open already between two ids.
    fn open_stretch(&mut self, job: u64, (lo, hi): (u64, u64), left_ts: Ts, now: Ts, gap: u64) -> Vec<GapMark> {
        for h in self.holes.iter_mut().filter(|h| h.from <= hi && h.to >= lo && h.next_at == Ts::MAX) {
            h.next_at = now;
        }
        if let Some(of) = self.backlog.job(job) {
            of.ids = Some((lo, hi));
            of.total = self.ledger.missing_count(lo, hi);
        }
        let mut known = self.ledger.clone();
        for h in &self.holes {
            known.settle(h.from, h.to);
        }
        let mut runs = if lo <= hi { known.missing(lo, hi) } else { Vec::new() };
        if runs.len() > GAPS_AT_ONCE {
            runs = vec![(runs[0].0, runs[runs.len() - 1].1)];
        }
        let mut marks = Vec::new();
        for (n, run) in runs.into_iter().enumerate() {
            let mut hole = Hole::new(gap + n as u64, run, GapCause::Backlog, (left_ts, now), now);
            hole.job = job;
            marks.push(self.open_hole(hole));
        }
        marks
    }

    /// One trade of an answer: is it new? `gap` names the hole that a found tail is. The mark, if any, comes before the
    /// row. Rows fill holes, or are beyond what the stream has brought; nothing else is taken.
    pub fn on_late(&mut self, id: u64, now: Ts, gap: u64) -> (bool, Option<GapMark>) {
        if let Some(hole) = self.holes.iter().find(|h| h.has(id) && h.gap != gap) {
            let job = hole.job;
            let new = self.ledger.arrive(id) != Arrival::Repeat;
            if new {
                self.gained += 1;
                self.stats.late += 1;
                if let Some(job) = self.backlog.job(job) {
                    job.rows += 1;
                }
            }
            return (new, None);
        }
        let probing = self.reading.is_some_and(|r| matches!(r.ask, Ask::Newest | Ask::From { hole: false, .. }));
        let probing = probing && !self.reading.is_some_and(|r| r.backlog);
        let beyond = self.ledger.head().is_none_or(|head| id > head);
        if self.heal && !(beyond && probing) {
            // The page runs past the hole, into what is held or what the stream is about to bring.
            return (false, None);
        }
        let expected = self.ledger.head().map_or(id, |head| head.saturating_add(1));
        match self.ledger.arrive(id) {
            Arrival::Repeat => (false, None),
            Arrival::Fills | Arrival::First => {
                self.stats.late += 1;
                (true, None)
            }
            // Newer than anything the stream brought: the tail was lost, or the answer overtook the stream.
            Arrival::Next | Arrival::Skips { .. } => {
                self.stats.late += 1;
                if let Some(tail) = self.holes.last_mut().filter(|h| h.gap == gap) {
                    tail.to = id;
                    return (true, None);
                }
                let cause = self.cause.unwrap_or(GapCause::Silent);
                let mut mark = self.open(gap, expected, id, cause, self.last_recv, now);
                (mark.missing, mark.why) = (id - expected + 1, format!("{} ids", id - expected + 1));
                (true, Some(mark))
            }
        }
    }

    /// A row's venue time, where the span of the backlog waits for one. The mark says what lies beyond the venue's reach.
    pub fn anchor(&mut self, event: Ts, now: Ts, gap: u64) -> Option<GapMark> {
        let (from, to) = self.backlog.anchor(event, now)?;
        let hole = Hole::new(gap, (0, 0), GapCause::Backlog, (from, to), now);
        self.stats.lost += 1;
        Some(hole.mark(
            GapState::Lost,
            HealSource::None,
            0,
            "beyond the venue's reach: it answers no further back".into(),
        ))
    }

    #[inline]
    pub fn wants_anchor(&self) -> bool {
        self.backlog.is_waiting() && self.ledger.head().is_some()
    }

    /// The newest venue time held.
    pub fn last_event(&self) -> Ts {
        self.last_event
    }

    pub fn heard_of(&mut self, event: Ts) {
        self.last_event = self.last_event.max(event);
    }

    /// The answer is read: `first` and `last` are the ids that it showed, `None` when it was empty. `odd` names off-book
    /// prints that it showed. Verdicts follow.
    pub fn after_answer(&mut self, shown: Option<(u64, u64)>, odd: &str, now: Ts) -> Vec<GapMark> {
        let Some(asked) = self.reading.take() else { return self.close_whole(HealSource::Rest) };
        if asked.backlog
            && let Some(hole) = self.holes.iter().find(|h| h.gap == asked.gap)
            && let Some(job) = self.backlog.job(hole.job)
        {
            job.pages += 1;
        }
        let mut verdicts = Vec::new();
        match (asked.ask, shown) {
            (Ask::Newest, _) => {}
            (Ask::From { hole: true, .. }, None) => {
                verdicts.extend(self.fail(asked.gap, now, "the venue answered without any trade"));
            }
            (_, None) => {}
            (Ask::From { id, .. }, Some((first, last))) => self.cover(&asked, id, first, last, odd, now),
            (Ask::At(_), Some((first, last))) => self.cover(&asked, first, first, last, odd, now),
        }
        if let (Ask::From { hole: true, .. }, Some(_)) = (asked.ask, shown) {
            verdicts.extend(self.press_on(&asked, now));
        }
        verdicts.extend(self.close_whole(HealSource::Rest));
        verdicts
    }

    /// What an answer that was asked from `from` and showed `[first, last]` proves about ids that it did not show.
    fn cover(&mut self, asked: &Asked, from: u64, first: u64, last: u64, odd: &str, now: Ts) {
        let omits = self.by.map_or("", |by| by.omits);
        let mut settled: Vec<(u64, u64)> = Vec::new();
        for h in self.holes.iter_mut().filter(|h| h.from <= last && h.to >= from.min(first)) {
            let missing = self.ledger.missing(h.from.max(from.min(first)), h.to.min(last));
            let (before, between): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(lo, _)| *lo < first);
            if !between.is_empty() {
                if asked.at >= h.to_ts + SETTLED_AFTER {
                    h.unpublished += count(&between);
                    h.evidence =
                        format!("one answer from id {first} to {last} shows neighbours and not {}", ranges(&between));
                    for (what, text) in [(omits, "the venue's history leaves out"), (odd, "it shows")] {
                        if !what.is_empty() {
                            h.evidence.push_str(&format!("; {text} {what}"));
                        }
                    }
                    settled.extend(between);
                } else {
                    h.next_at = h.next_at.max(h.to_ts + SETTLED_AFTER);
                }
            }
            // The answer begins beyond the left neighbour that it was asked from.
            if asked.left && asked.gap == h.gap && !before.is_empty() {
                h.denials += 1;
                h.next_at = now + Duration::from_millis(700) * h.denials;
                if h.denials >= DENIALS {
                    h.denials = 0;
                    if self.ledger.holds(from) {
                        h.beyond += count(&before);
                        h.evidence = format!("{DENIALS} answers from id {from}, which we hold, begin at {first}");
                    } else {
                        h.unpublished += count(&before);
                        h.evidence = format!("{DENIALS} answers from id {from} begin at {first}, the venue's first");
                    }
                    settled.extend(before);
                }
            }
        }
        self.gained += count(&settled);
        for (lo, hi) in settled {
            self.ledger.settle(lo, hi);
        }
    }

    /// After a page for a hole: on at once, from its other end, later, or not at all.
    fn press_on(&mut self, asked: &Asked, now: Ts) -> Vec<GapMark> {
        let gained = self.gained > 0;
        let Some(h) = self.holes.iter_mut().find(|h| h.gap == asked.gap) else { return Vec::new() };
        if h.next_at > now {
            // Too young to judge, or denied and asked again in a moment.
            if gained {
                h.failures = 0;
            }
            return Vec::new();
        }
        if gained {
            (h.failures, h.left_first, h.next_at) = (0, false, now);
            return Vec::new();
        }
        if !asked.left {
            h.left_first = true;
            return Vec::new();
        }
        self.fail(asked.gap, now, "the venue's history does not reach these ids yet")
    }

    /// No usable answer to the question of this kind and argument.
    pub fn on_failed(
        &mut self,
        (kind, arg): (FetchKind, u64),
        retry_after: Option<Duration>,
        why: &str,
        now: Ts,
        gap: u64,
    ) -> Vec<GapMark> {
        self.begin(kind, arg);
        let Some(asked) = self.reading.take() else { return Vec::new() };
        if asked.is_edge() {
            let found = self.backlog.on_failed(why, retry_after, now);
            return self.found(found, now, gap);
        }
        if let Some(wait) = retry_after {
            // Our own budget said no: that is no failure of the venue.
            for h in self.holes.iter_mut().filter(|h| h.is_backlog() == asked.backlog) {
                h.next_at = h.next_at.max(now + wait);
            }
            if !asked.backlog {
                self.probe_at = self.probe_at.max(now + wait);
            }
            return Vec::new();
        }
        match asked.ask {
            Ask::From { hole: true, .. } => self.fail(asked.gap, now, why),
            // A probe without an answer has told nothing: soon again, while the stream is silent.
            _ => {
                self.probe_at = self.probe_at.min(now + PROBE_FIRST);
                Vec::new()
            }
        }
    }

    /// The venue offers nothing of what was just asked for.
    pub fn on_impossible(&mut self, ask: Ask, now: Ts, gap: u64) -> Vec<GapMark> {
        self.begin_ask(ask);
        match ask {
            Ask::At(_) => {
                self.reading = None;
                let found = self.backlog.give_up("the venue offers no trades by time", now);
                self.found(found, now, gap)
            }
            Ask::From { .. } | Ask::Newest => {
                self.reading = None;
                self.by = None;
                self.give_up_older(Duration::ZERO, now, "impossible over REST")
            }
        }
    }

    fn begin_ask(&mut self, ask: Ask) {
        for slot in [&mut self.asked, &mut self.asked_old] {
            if slot.is_some_and(|asked| asked.ask == ask) {
                *slot = None;
            }
        }
    }

    fn fail(&mut self, gap: u64, now: Ts, why: &str) -> Vec<GapMark> {
        let mut lost = Vec::new();
        let (ledger, backlog) = (&mut self.ledger, &mut self.backlog);
        self.holes.retain_mut(|h| {
            if h.gap != gap {
                return true;
            }
            h.failures += 1;
            h.back_off(now);
            if h.failures < FAILURES_MAX {
                return true;
            }
            let missing = ledger.missing_count(h.from, h.to);
            ledger.settle(h.from, h.to);
            if let Some(job) = backlog.job(h.job) {
                job.lost += missing;
            }
            let why = format!("asked {} times: {why}", h.failures);
            lost.push(h.mark(GapState::Lost, HealSource::Rest, missing, why));
            false
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
        let (lo, hi) = job.ids.unwrap_or((1, 0));
        let missing = if lo <= hi { self.ledger.missing_count(lo, hi) } else { 0 };
        let open = |h: &Hole| h.from <= hi && h.to >= lo && self.ledger.missing_count(h.from.max(lo), h.to.min(hi)) > 0;
        let working = lo <= hi && self.holes.iter().any(open);
        let done = job.cancelled || job.failed.is_some() || (job.ids.is_some() && !working);
        Some(Progress { job, missing, done })
    }
}

#[cfg(test)]
#[path = "trades_tests.rs"]
mod tests;
