//! What an import means for gaps: those that must be told before rows come, and the verdicts after.
//!
//! Rules
//! - What is missing and no gap speaks of is opened as a gap (cause `backlog`) before the first row, so that an import that is killed
//!   leaves a hole with a name.
//! - A gap all of whose ids are held is healed by the archive. Ids between two ids of the archive that it does not have were never
//!   published; of a gap that lies in several files, files of the same command count together.
//! - A lost gap of which some ids came is stated anew, with what is still missing.
//! - A lost gap that only its times name is healed when files of the same command cover it, with a margin for clocks, and lack nothing
//!   that is held there.

use std::time::Duration;

use wholetape_feed::line::ledger::Ledger;
use wholetape_feed::line::trades::GapMark;
use wholetape_model::{GapCause, GapState, HealSource, Ts};

use super::held::Held;
use super::survey::{Stretch, Survey};
use wholetape_venue::archive::Span;

/// More gaps than this in one file become one.
const GAPS_AT_ONCE: usize = 64;
/// Receive times bound a gap, and a file's rows have the venue's.
const CLOCKS: Duration = Duration::from_secs(2);

/// What the files of one instrument that were read so far say together.
#[derive(Debug, Default)]
pub struct Carry {
    /// Ids between their ends.
    ids: Ledger,
    /// … that they do not have.
    unpublished: Ledger,
    /// Times that they cover, merged.
    spans: Vec<Span>,
    /// Within them: bars that are not there, and days that lack rows which are held.
    holes: Vec<(Ts, Ts)>,
    file: String,
}

impl Carry {
    /// A file was surveyed. `whole`: all its rows can be held after it.
    pub fn add(&mut self, file: &str, span: Span, survey: &Survey, held: &Held, whole: bool, bars: bool) {
        self.cover(file, span, whole);
        self.holes.extend(&survey.bar_holes);
        let Some(ends) = survey.ends.filter(|_| !bars) else { return };
        let skipped = survey.skipped.iter().flat_map(|(a, b)| held.missing(*a, *b));
        self.unpublished = Ledger::from_runs(self.unpublished.runs().iter().copied().chain(skipped).collect());
        self.ids = Ledger::from_runs(self.ids.runs().iter().copied().chain([ends]).collect());
    }

    /// As [`Carry::add`], of a file of which times alone are known.
    pub fn cover(&mut self, file: &str, span: Span, whole: bool) {
        self.file = file.to_owned();
        if whole {
            match self.spans.last_mut() {
                Some(last) if last.to >= span.from => last.to = last.to.max(span.to),
                _ => self.spans.push(span),
            }
        }
    }

    /// A file lacks rows that are held: it proves nothing of what else may be missing.
    pub fn doubt(&mut self, span: Span) {
        self.holes.push((span.from, span.to));
    }

    fn covers(&self, from: Ts, to: Ts) -> bool {
        self.spans.iter().any(|s| s.from <= from && to <= s.to)
    }

    /// Whether everything is known of what happened in a gap, whose ends are receive times.
    fn proves(&self, from: Ts, to: Ts) -> bool {
        let (from, to) = (from - CLOCKS, to + CLOCKS);
        self.covers(from, to) && !self.holes.iter().any(|(a, b)| *a < to && *b > from)
    }
}

/// Whether ids name a gap.
pub fn is_named(gap: &GapMark) -> bool {
    gap.from_id > 0 && gap.from_id <= gap.to_id
}

fn is_unsettled(gap: &GapMark) -> bool {
    matches!(gap.state, GapState::Open | GapState::Lost)
}

/// The gaps without a verdict, or lost, that ids of `[lo, hi]` belong to.
pub fn named_within(held: &Held, lo: u64, hi: u64) -> impl Iterator<Item = &GapMark> {
    held.gaps.values().filter(move |g| is_unsettled(g) && is_named(g) && g.from_id <= hi && g.to_id >= lo)
}

/// Lost gaps that only their times name, and that touch the span.
pub fn timed_within(held: &Held, span: Span) -> impl Iterator<Item = &GapMark> {
    held.gaps
        .values()
        .filter(move |g| g.state == GapState::Lost && !is_named(g) && g.from_ts < span.to && g.to_ts > span.from)
}

/// Gaps to be opened before the rows of `heal` come.
pub fn opens(held: &Held, missing: &[Stretch], heal: &Ledger, file: &str, now: Ts) -> Vec<GapMark> {
    let known = held.gaps.values().filter(|g| is_unsettled(g) && is_named(g)).map(|g| (g.from_id, g.to_id));
    let known = Ledger::from_runs(known.collect());
    let mut new = Vec::new();
    for stretch in missing {
        let uncovered = known.missing(stretch.lo, stretch.hi);
        new.extend(uncovered.into_iter().filter(|(a, b)| any_held(heal, *a, *b)).map(|ids| (ids, *stretch)));
    }
    if new.len() > GAPS_AT_ONCE
        && let (Some((first, a)), Some((last, b))) = (new.first().copied(), new.last().copied())
    {
        new = vec![((first.0, last.1), Stretch { from: a.from, to: b.to, ..a })];
    }
    let new = new.into_iter().map(|((from_id, to_id), stretch)| {
        let missing = held.missing(from_id, to_id).iter().map(|(a, b)| b - a + 1).sum();
        (
            Stretch { lo: from_id, hi: to_id, rows: missing, ..stretch },
            format!("{missing} ids, from {file} of the archive"),
        )
    });
    open(held, new, now)
}

/// Open gaps for these stretches: ids, times and missing rows of each, and the words.
fn open(held: &Held, new: impl Iterator<Item = (Stretch, String)>, now: Ts) -> Vec<GapMark> {
    let mut number = u64::try_from(now.0).unwrap_or(1);
    let mut marks = Vec::new();
    for (stretch, why) in new {
        while held.gaps.contains_key(&number) {
            number += 1;
        }
        marks.push(GapMark {
            gap: number,
            state: GapState::Open,
            cause: GapCause::Backlog,
            source: HealSource::None,
            from_id: stretch.lo,
            to_id: stretch.hi,
            from_ts: stretch.from,
            to_ts: stretch.to,
            missing: stretch.rows,
            why,
        });
        number += 1;
    }
    marks
}

/// Stretches of missing rows that no id tells, as they are found: those of which a gap speaks are let be, and too many become one.
pub struct InTime {
    known: Vec<(Ts, Ts)>,
    new: Vec<Stretch>,
}

impl InTime {
    pub fn new(held: &Held) -> Self {
        let timed = held.gaps.values().filter(|g| is_unsettled(g) && !is_named(g));
        Self { known: timed.map(|g| (g.from_ts - CLOCKS, g.to_ts + CLOCKS)).collect(), new: Vec::new() }
    }

    pub fn add(&mut self, stretch: Stretch) {
        if self.known.iter().any(|(from, to)| *from <= stretch.from && stretch.to <= *to) {
            return;
        }
        self.new.push(stretch);
        if self.new.len() > GAPS_AT_ONCE
            && let (Some(first), Some(last)) = (self.new.first().copied(), self.new.last().copied())
        {
            let rows = self.new.iter().map(|s| s.rows).sum();
            self.new = vec![Stretch { to: last.to, hi: last.hi, rows, ..first }];
        }
    }

    /// Gaps to be opened before the rows come.
    pub fn opens(&self, held: &Held, file: &str, now: Ts) -> Vec<GapMark> {
        let new = self.new.iter().map(|s| {
            let why = format!("{} trades, from {file} of the archive", s.rows);
            (Stretch { lo: 0, hi: 0, ..*s }, why)
        });
        open(held, new, now)
    }
}

fn any_held(ledger: &Ledger, lo: u64, hi: u64) -> bool {
    ledger.missing_count(lo, hi) < (hi - lo).saturating_add(1)
}

/// Verdicts that what is held now allows.
pub fn verdicts(held: &Held, carry: &Carry) -> Vec<GapMark> {
    held.gaps.values().filter(|g| is_unsettled(g)).filter_map(|g| verdict(g, held, carry)).collect()
}

fn verdict(gap: &GapMark, held: &Held, carry: &Carry) -> Option<GapMark> {
    let file = &carry.file;
    let mark = |state, missing, why| GapMark { state, source: HealSource::Archive, missing, why, ..gap.clone() };
    if !is_named(gap) {
        let healed = match (gap.state, gap.cause) {
            (GapState::Lost, _) => carry.proves(gap.from_ts, gap.to_ts),
            // Of an import's own making ([`InTime`]): from the first missing row to the last.
            (GapState::Open, GapCause::Backlog) => carry.covers(gap.from_ts, gap.to_ts),
            _ => false,
        };
        return healed.then(|| {
            mark(GapState::Healed, 0, format!("the archive covers this time and all of it is held ({file})"))
        });
    }
    if !any_held(&carry.ids, gap.from_id, gap.to_id) {
        return None;
    }
    let ids = (gap.to_id - gap.from_id).saturating_add(1);
    let missing = held.missing(gap.from_id, gap.to_id);
    let count = |runs: &[(u64, u64)]| runs.iter().map(|(a, b)| b - a + 1).sum::<u64>();
    let all = count(&missing);
    let rest: u64 = missing.iter().map(|(a, b)| carry.unpublished.missing_count(*a, *b)).sum();
    match (all, rest) {
        (0, _) => Some(mark(GapState::Healed, 0, format!("{ids} ids, proven by id ({file} of the archive)"))),
        (all, 0) => {
            let first = missing.first().map_or(0, |m| m.0);
            let why = format!("{all} of {ids} ids never published; the archive has ids on both sides and not {first}");
            let more = if all > 1 { format!(" and {} more ({file})", all - 1) } else { format!(" ({file})") };
            Some(mark(GapState::NeverPublished, all, why + &more))
        }
        (all, _) if gap.state == GapState::Lost && all < gap.missing => {
            let why = format!("{} of {ids} ids came from the archive ({file}); before: {}", gap.missing - all, gap.why);
            Some(mark(GapState::Lost, all, why.chars().take(400).collect()))
        }
        _ => None,
    }
}
