//! What answers mean: rows that are new, edges of stretches, proof that ids were never published, failures.

use std::time::Duration;

use wholetape_model::{GapCause, GapState, HealSource, TradeId, Ts};
use wholetape_venue::FetchKind;

use super::super::backlog::Found;
use super::super::hole::{GapMark, Hole, count, ranges};
use super::super::ledger::Arrival;
use super::{Ask, Asked, DENIALS, FAILURES_MAX, GAPS_AT_ONCE, PROBE_FIRST, SETTLED_AFTER, TradeFlow};

impl TradeFlow {
    /// An answer is about to be read. True when it is for the backlog.
    pub fn begin(&mut self, kind: FetchKind, arg: u64) -> bool {
        self.gained = 0;
        self.reading = [&mut self.asked, &mut self.asked_old]
            .into_iter()
            .find(|slot| slot.is_some_and(|asked| asked.ask.is(kind, arg)))
            .and_then(Option::take);
        self.stats.pages += u64::from(self.reading.is_some_and(|r| r.backlog));
        if let (Some(overlap), Some(reading)) = (&mut self.overlap, self.reading.filter(|r| r.ask != Ask::Newest)) {
            overlap.begin(reading.gap);
        }
        self.reading.is_some_and(|r| r.backlog)
    }

    /// The answer being read is about the edge of a stretch: its first trade. Gaps that are known now come before the rows.
    pub fn on_edge(&mut self, first: Option<(u64, Ts)>, now: Ts, gap: u64) -> Vec<GapMark> {
        if self.overlap.is_some() || !self.reading.is_some_and(|r| r.is_edge()) {
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
    pub fn on_late(&mut self, id: impl Into<TradeId>, event: Ts, now: Ts, gap: u64) -> (bool, Option<GapMark>) {
        let id = id.into();
        if let Some(overlap) = &mut self.overlap {
            let new = self.reading.is_some_and(|r| r.ask != Ask::Newest) && overlap.on_late(id, event, now);
            self.stats.late += u64::from(new);
            return (new, None);
        }
        let Some(id) = id.number() else { return (false, None) };
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
        self.overlap.is_none() && self.backlog.is_waiting() && self.ledger.head().is_some()
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
        if let Some(overlap) = &mut self.overlap {
            if asked.ask == Ask::Newest {
                return Vec::new();
            }
            let marks = overlap.after_page(now);
            self.count(&marks);
            return marks;
        }
        if asked.backlog
            && let Some(hole) = self.holes.iter().find(|h| h.gap == asked.gap)
            && let Some(job) = self.backlog.job(hole.job)
        {
            job.pages += 1;
        }
        let mut verdicts = Vec::new();
        // A page by time may show what is known alone.
        if let (Ask::From { id, hole: false }, Some((_, last))) = (asked.ask, shown)
            && last >= id
        {
            self.found_news(id, last, now);
        }
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

    /// A probe from `from` on showed trades: their like is looked for again soon, and at once where the page was full, since a venue of
    /// small pages would else be followed at a page a probe.
    fn found_news(&mut self, from: u64, last: u64, now: Ts) {
        let page = self.by.map_or(u64::MAX, |by| by.page_max);
        self.probe_after = self.probe_first;
        let is_full = last.saturating_sub(from) + 2 >= page;
        self.probe_at = if is_full { now } else { now + self.probe_first };
        if is_full {
            self.urgent_left = self.urgent_left.max(1);
        }
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
        if let Some(overlap) = self.overlap.as_mut().filter(|_| asked.ask != Ask::Newest) {
            if let Some(wait) = retry_after {
                overlap.wait(asked.gap, now + wait);
                return Vec::new();
            }
            let marks = overlap.fail(asked.gap, why, now);
            self.count(&marks);
            return marks;
        }
        if asked.is_edge() {
            let found = self.backlog.on_failed(why, retry_after, now);
            return self.found(found, now, gap);
        }
        if let Some(wait) = retry_after {
            // Our own budget said no: that is no failure of the venue.
            for h in self.holes.iter_mut().filter(|h| h.is_backlog() == asked.backlog) {
                h.next_at = h.next_at.max(now + wait);
            }
            // A probe that was not let through has told nothing either.
            if matches!(asked.ask, Ask::From { hole: false, .. } | Ask::Newest) {
                self.probe_at = self.probe_at.min(now + wait.max(PROBE_FIRST));
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
        if self.overlap.is_some() && ask == Ask::Newest {
            (self.reading, self.newest_unknown) = (None, true);
            return Vec::new();
        }
        if self.overlap.is_some() {
            (self.reading, self.pages) = (None, false);
            return self.give_up_impossible(now);
        }
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

    fn count(&mut self, marks: &[GapMark]) {
        let of = |state| marks.iter().filter(|m| m.state == state).count() as u64;
        self.stats.healed += of(GapState::Healed);
        self.stats.lost += of(GapState::Lost);
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
}
