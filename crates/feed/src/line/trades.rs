//! One instrument's trades: redelivered ones vanish, missing ones are named, asked for by id, and get a verdict.
//!
//! The simplest honest form of the warm healer (the full one, with backlog and coverage, comes on top): one request at a
//! time per instrument, newest hole first; a stream that falls silent is probed for its newest id, so that a lost tail is
//! found too. REST may lag the stream by a moment, so an id is "never published" only after [`DENIALS`] answers, each
//! later than the last, that show higher ids and not this one.

use std::time::Duration;

use wholetape_model::{Gap, GapCause, GapState, HealSource, Ts};

use super::ledger::{Arrival, Ledger};

/// Answers without an id, beside higher ones, before it counts as never published.
pub const DENIALS: u32 = 3;
/// Failed or empty answers in a row before a hole counts as lost.
pub const FAILURES_MAX: u32 = 40;
/// Silence after which the newest id is asked for; doubles up to [`PROBE_MAX`] while nothing new is found.
pub const PROBE_FIRST: Duration = Duration::from_secs(2);
pub const PROBE_MAX: Duration = Duration::from_secs(900);
/// No answer within this long counts as none; the shell's own timeout is shorter.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A trade this much older than now that only REST knew of shows that the stream is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);

/// A gap mark to be written.
pub type GapMark = Gap<String>;

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
    From { id: u64, hole: bool },
    Newest,
}

#[derive(Debug, Clone)]
struct Hole {
    gap: u64,
    from: u64,
    to: u64,
    cause: GapCause,
    from_ts: Ts,
    to_ts: Ts,
    denials: u32,
    failures: u32,
    /// Ids that the venue was found not to have published, and the evidence of the last.
    unpublished: u64,
    evidence: String,
    next_at: Ts,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    ask: Ask,
    at: Ts,
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
}

#[derive(Debug)]
pub struct TradeFlow {
    ledger: Ledger,
    holes: Vec<Hole>,
    asked: Option<Asked>,
    heal: bool,
    /// Why the next skip happened, where something explains it.
    cause: Option<GapCause>,
    last_live: Ts,
    last_recv: Ts,
    /// The first question after a trade: later where trades are rare at this hour.
    probe_first: Duration,
    probe_after: Duration,
    probe_at: Ts,
    pub stats: TradeStats,
}

impl TradeFlow {
    /// `held` and `open` come from the tape; empty on a first start.
    pub fn new(heal: bool, held: Ledger, open: &[GapMark], last_recv: Ts) -> Self {
        let cause = held.head().map(|_| GapCause::Down);
        let holes = open
            .iter()
            .map(|g| Hole {
                gap: g.gap,
                from: g.from_id,
                to: g.to_id,
                cause: g.cause,
                from_ts: g.from_ts,
                to_ts: g.to_ts,
                denials: 0,
                failures: 0,
                unpublished: 0,
                evidence: String::new(),
                next_at: Ts::ZERO,
            })
            .collect();
        Self {
            ledger: held,
            holes,
            asked: None,
            heal,
            cause,
            last_live: Ts::ZERO,
            last_recv,
            probe_first: PROBE_FIRST,
            probe_after: PROBE_FIRST,
            probe_at: Ts::MAX,
            stats: TradeStats::default(),
        }
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

    /// The stream is (again) subscribed.
    pub fn on_open(&mut self, now: Ts) {
        self.probe_after = PROBE_FIRST;
        self.probe_at = now + PROBE_FIRST;
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

    /// One live trade. `gap` names a hole, should it open one.
    #[inline]
    pub fn on_live(&mut self, id: u64, now: Ts, gap: u64) -> Live {
        let before = self.last_recv;
        self.last_live = now;
        self.last_recv = now;
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
        self.stats.gaps += 1;
        let count = to - from + 1;
        self.holes.push(Hole {
            gap,
            from,
            to,
            cause,
            from_ts,
            to_ts,
            denials: 0,
            failures: 0,
            unpublished: 0,
            evidence: String::new(),
            // A neighbour that was swapped with this one arrives within moments: do not ask at once.
            next_at: to_ts + Duration::from_millis(200),
        });
        mark(self.holes.last().expect("just pushed"), GapState::Open, HealSource::None, count, format!("{count} ids"))
    }

    /// Verdicts for the holes that are whole now.
    fn close_whole(&mut self, source: HealSource) -> Vec<GapMark> {
        let (ledger, stats) = (&self.ledger, &mut self.stats);
        let mut done = Vec::new();
        self.holes.retain_mut(|h| {
            if ledger.missing_count(h.from, h.to) > 0 {
                return true;
            }
            let ids = h.to - h.from + 1;
            if h.unpublished == 0 {
                stats.healed += 1;
                done.push(mark(h, GapState::Healed, source, 0, format!("{ids} ids")));
            } else {
                stats.never_published += 1;
                let why = format!("{} of {ids} ids; {}", h.unpublished, h.evidence);
                done.push(mark(h, GapState::NeverPublished, HealSource::Rest, h.unpublished, why));
            }
            false
        });
        done
    }

    /// The next request, if one is due and none is under way.
    pub fn poll_ask(&mut self, now: Ts) -> Option<Ask> {
        if !self.heal {
            return None;
        }
        if let Some(asked) = self.asked {
            if now.since(asked.at) < ANSWER_MAX {
                return None;
            }
            self.asked = None;
        }
        let ask = if let Some(hole) = self.holes.iter().rev().find(|h| h.next_at <= now) {
            let from = self.ledger.missing(hole.from, hole.to).first()?.0;
            Ask::From { id: from, hole: true }
        } else if self.probe_at <= now {
            self.stats.probes += 1;
            self.probe_after = (self.probe_after * 2).min(PROBE_MAX);
            self.probe_at = now + self.probe_after;
            self.ledger.head().map_or(Ask::Newest, |head| Ask::From { id: head.saturating_add(1), hole: false })
        } else {
            return None;
        };
        self.asked = Some(Asked { ask, at: now });
        Some(ask)
    }

    /// The stream has just fallen silent, or was just opened: its tail belongs to the live edge. A long quiet is no hurry.
    pub fn is_probe_urgent(&self) -> bool {
        self.probe_after <= PROBE_FIRST * 4
    }

    /// When `poll_ask` may have something.
    pub fn next_ask(&self) -> Option<Ts> {
        if !self.heal {
            return None;
        }
        let due = self.holes.iter().map(|h| h.next_at).min().unwrap_or(Ts::MAX).min(self.probe_at);
        let due = self.asked.map_or(due, |asked| due.max(asked.at + ANSWER_MAX));
        (due < Ts::MAX).then_some(due)
    }

    /// With healing switched off every hole is lost at once, and says so.
    pub fn give_up_all(&mut self) -> Vec<GapMark> {
        if self.heal {
            return Vec::new();
        }
        self.give_up_older(Duration::ZERO, Ts::MAX, "healing is off")
    }

    /// Holes that were opened at least `patience` ago are lost, because of `why`.
    pub fn give_up_older(&mut self, patience: Duration, now: Ts, why: &str) -> Vec<GapMark> {
        let ledger = &self.ledger;
        let mut lost = Vec::new();
        self.holes.retain(|h| {
            let young = now.since(h.to_ts) < patience;
            if !young {
                let missing = ledger.missing_count(h.from, h.to);
                lost.push(mark(h, GapState::Lost, HealSource::None, missing, why.to_owned()));
            }
            young
        });
        self.stats.lost += lost.len() as u64;
        lost
    }

    /// One trade of an answer: is it new? `gap` names the hole that a found tail is. The mark, if any, comes before the
    /// row.
    pub fn on_late(&mut self, id: u64, now: Ts, gap: u64) -> (bool, Option<GapMark>) {
        let expected = self.ledger.head().map_or(id, |head| head.saturating_add(1));
        let asked_for_hole = matches!(self.asked.map(|a| a.ask), Some(Ask::From { hole: true, .. }));
        if asked_for_hole && self.ledger.head().is_some_and(|head| id > head) {
            // The page runs past the hole into what the stream is about to bring: leave that to the stream.
            return (false, None);
        }
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
                let mark = self.open(gap, expected, id, cause, self.last_recv, now);
                (true, Some(mark))
            }
        }
    }

    /// The answer is read: `first` and `last` are its ids, `None` when it was empty. Verdicts follow.
    pub fn after_answer(&mut self, ids: Option<(u64, u64)>, now: Ts) -> Vec<GapMark> {
        let Some(Asked { ask, .. }) = self.asked.take() else { return self.close_whole(HealSource::Rest) };
        let Ask::From { id: from, hole } = ask else { return self.close_whole(HealSource::Rest) };
        let mut verdicts = Vec::new();
        match ids {
            // A denial is an answer that reaches beyond an id without having it.
            Some((_, last)) => {
                let mut settled = Vec::new();
                for h in self.holes.iter_mut().filter(|h| h.from <= last && h.to >= from) {
                    let missing = self.ledger.missing(h.from.max(from), h.to.min(last));
                    if missing.is_empty() {
                        // The page ended inside this hole: the next page at once.
                        h.next_at = now;
                        continue;
                    }
                    h.denials += 1;
                    h.next_at = now + Duration::from_millis(700) * h.denials;
                    if h.denials >= DENIALS {
                        h.unpublished += missing.iter().map(|(lo, hi)| hi - lo + 1).sum::<u64>();
                        h.evidence =
                            format!("{DENIALS} answers from id {from} to {last} without ids {}", ranges(&missing));
                        h.denials = 0;
                        h.next_at = now;
                        settled.extend(missing);
                    }
                }
                for (lo, hi) in settled {
                    self.ledger.settle(lo, hi);
                }
            }
            None if hole => verdicts.extend(self.fail(from, now, "the venue answered without any trade")),
            None => {}
        }
        verdicts.extend(self.close_whole(HealSource::Rest));
        verdicts
    }

    /// No usable answer.
    pub fn on_failed(&mut self, retry_after: Option<Duration>, why: &str, now: Ts) -> Vec<GapMark> {
        let Some(Asked { ask, .. }) = self.asked.take() else { return Vec::new() };
        if let Some(wait) = retry_after {
            // Our own budget said no: that is no failure of the venue.
            for h in &mut self.holes {
                h.next_at = h.next_at.max(now + wait);
            }
            self.probe_at = self.probe_at.max(now + wait);
            return Vec::new();
        }
        match ask {
            Ask::From { id, hole: true } => self.fail(id, now, why),
            // A probe without an answer has told nothing: soon again, while the stream is silent.
            _ => {
                self.probe_at = self.probe_at.min(now + PROBE_FIRST);
                Vec::new()
            }
        }
    }

    fn fail(&mut self, id: u64, now: Ts, why: &str) -> Vec<GapMark> {
        let mut lost = Vec::new();
        let ledger = &mut self.ledger;
        self.holes.retain_mut(|h| {
            if id < h.from || id > h.to {
                return true;
            }
            h.failures += 1;
            h.next_at = now + (Duration::from_millis(250) * 2_u32.pow(h.failures.min(7))).min(Duration::from_secs(15));
            if h.failures < FAILURES_MAX {
                return true;
            }
            let missing = ledger.missing_count(h.from, h.to);
            ledger.settle(h.from, h.to);
            lost.push(mark(h, GapState::Lost, HealSource::Rest, missing, format!("asked {} times: {why}", h.failures)));
            false
        });
        self.stats.lost += lost.len() as u64;
        lost
    }
}

/// `3, 5–9`
fn ranges(ids: &[(u64, u64)]) -> String {
    let one = |(lo, hi): &(u64, u64)| if lo == hi { lo.to_string() } else { format!("{lo}–{hi}") };
    let mut text = ids.iter().take(5).map(one).collect::<Vec<_>>().join(", ");
    if ids.len() > 5 {
        text.push_str(" …");
    }
    text
}

fn mark(h: &Hole, state: GapState, source: HealSource, missing: u64, why: String) -> GapMark {
    Gap {
        gap: h.gap,
        state,
        cause: h.cause,
        source,
        from_id: h.from,
        to_id: h.to,
        from_ts: h.from_ts,
        to_ts: h.to_ts,
        missing,
        why,
    }
}

#[cfg(test)]
#[path = "trades_tests.rs"]
mod tests;
