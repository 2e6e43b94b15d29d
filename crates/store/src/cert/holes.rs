//! Ids that are not there, and what the stored gap marks say about them.
//!
//! A hole is what lies between the ids that are held: from the last one of the certified day before to this day's last. Of the marks that
//! cover an id the newest (by seq) decides; an id that no mark speaks of, or that one calls healed, is *unexplained*.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wholetape_model::{Gap, GapState, Ts};

use super::figures::Mark;
use crate::seqs::Seqs;

/// Holes told one by one; the rest are counted.
pub const HOLES_MAX: usize = 10_000;
/// Gaps told one by one.
pub const GAPS_MAX: usize = 1_000;

/// Trade ids of one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdFigures {
    pub first: u64,
    pub last: u64,
    /// Different ids held.
    pub held: u64,
    /// Rows whose id was there already.
    pub repeats: u64,
    /// The highest id of the certified day before; what is missing behind it belongs to this day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Ids in holes, and what became of them.
    pub missing: u64,
    pub never_published: u64,
    pub lost: u64,
    pub open: u64,
    pub unexplained: u64,
    /// Ids in holes that are not told one by one.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unlisted: u64,
    pub holes: Vec<Hole>,
}

/// Trades of one day whose ids do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFigures {
    /// Different ids held.
    pub held: u64,
    /// Rows whose id another row of the day has: none once the day is sealed.
    pub repeats: u64,
}

/// Ids `from..=to` are not held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    pub from: u64,
    pub to: u64,
    /// `never_published`, `lost`, `open`, or `unexplained`.
    pub verdict: String,
    /// The gap whose newest mark says so, and what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl IdFigures {
    /// `marks` in the order of their seqs. `None` when no id is held.
    #[must_use]
    pub fn of(ids: &Seqs, repeats: u64, after: Option<u64>, marks: &[Mark]) -> Option<Self> {
        let (first, last) = ids.ends()?;
        // An earlier day that ends higher (ids began anew) bounds nothing.
        let after = after.filter(|a| *a < first);
        let mut out = Self { first, last, held: ids.count(), repeats, after, ..Self::default() };
        let lead = after.map(|a| (a + 1, first - 1)).filter(|(lo, hi)| lo <= hi);
        let inner = ids.intervals().windows(2).map(|w| (w[0].1 + 1, w[1].0 - 1));
        for (lo, hi) in lead.into_iter().chain(inner) {
            out.missing += hi - lo + 1;
            if out.holes.len() >= HOLES_MAX {
                out.unlisted += hi - lo + 1;
                continue;
            }
            for (lo, hi, mark) in paint(lo, hi, marks) {
                out.tell(lo, hi, mark);
            }
        }
        Some(out)
    }

    fn tell(&mut self, from: u64, to: u64, mark: Option<&Mark>) {
        let n = to - from + 1;
        let verdict = match mark.map(|m| m.gap.state) {
            Some(GapState::NeverPublished) => {
                self.never_published += n;
                "never_published"
            }
            Some(GapState::Lost) => {
                self.lost += n;
                "lost"
            }
            Some(GapState::Open) => {
                self.open += n;
                "open"
            }
            Some(GapState::Healed) | None => {
                self.unexplained += n;
                "unexplained"
            }
        };
        let text = |of: fn(&Gap<String>) -> &str| mark.map_or_else(String::new, |m| of(&m.gap).to_owned());
        self.holes.push(Hole {
            from,
            to,
            verdict: verdict.to_owned(),
            gap: mark.map(|m| m.gap.gap),
            cause: text(|g| g.cause.as_str()),
            source: text(|g| g.source.as_str()),
            why: text(|g| &g.why),
        });
    }
}

/// Cuts `lo..=hi` into pieces, each with the newest mark that covers it.
fn paint(lo: u64, hi: u64, marks: &[Mark]) -> Vec<(u64, u64, Option<&Mark>)> {
    let about: Vec<&Mark> =
        marks.iter().filter(|m| m.gap.from_id != 0 && m.gap.from_id <= hi && m.gap.to_id >= lo).collect();
    let mut starts = BTreeSet::from([lo]);
    for m in &about {
        starts.insert(m.gap.from_id.max(lo));
        if m.gap.to_id < hi {
            starts.insert(m.gap.to_id + 1);
        }
    }
    let mut out: Vec<(u64, u64, Option<&Mark>)> = Vec::new();
    let mut starts = starts.into_iter().peekable();
    while let Some(from) = starts.next() {
        let to = starts.peek().map_or(hi, |next| next - 1);
        let mark = about.iter().rev().find(|m| m.gap.from_id <= from && m.gap.to_id >= to).copied();
        match out.last_mut() {
            Some(last) if last.2.map(|m| m.seq) == mark.map(|m| m.seq) => last.1 = to,
            _ => out.push((from, to, mark)),
        }
    }
    out
}

/// The gaps that concern one day of a topic, as their newest marks tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapFigures {
    pub open: u64,
    pub healed: u64,
    pub never_published: u64,
    pub lost: u64,
    /// Time of this day that lies in open or lost gaps, ns.
    pub hole_ns: u64,
    /// Open and lost ones, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealed: Vec<Unhealed>,
}

/// One gap that is open or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhealed {
    pub gap: u64,
    pub state: String,
    pub cause: String,
    pub source: String,
    pub from_id: u64,
    pub to_id: u64,
    pub from_ts: i64,
    pub to_ts: i64,
    pub missing: u64,
    pub why: String,
}

impl GapFigures {
    /// `marks` in the order of their seqs, the first `own` of them stored on the day itself. `day`: its first instant and that of the next.
    #[must_use]
    pub fn of(marks: &[Mark], own: usize, day: (Ts, Ts)) -> Self {
        let newest: BTreeMap<u64, &Mark> = marks.iter().map(|m| (m.gap.gap, m)).collect();
        let own: BTreeSet<u64> = marks[..own].iter().map(|m| m.gap.gap).collect();
        let (mut out, mut holes) = (Self::default(), Vec::new());
        for (number, mark) in newest {
            let g = &mark.gap;
            let (from, to) = (g.from_ts, g.to_ts.max(g.from_ts));
            if !own.contains(&number) && (from >= day.1 || to < day.0) {
                continue;
            }
            match g.state {
                GapState::Open => out.open += 1,
                GapState::Healed => out.healed += 1,
                GapState::NeverPublished => out.never_published += 1,
                GapState::Lost => out.lost += 1,
            }
            if matches!(g.state, GapState::Open | GapState::Lost) {
                holes.push((from.max(day.0).0, to.min(day.1).0));
                if out.unhealed.len() < GAPS_MAX {
                    out.unhealed.push(unhealed(g));
                }
            }
        }
        holes.sort_unstable();
        let mut end = i64::MIN;
        for (from, to) in holes {
            out.hole_ns += u64::try_from(to - from.max(end)).unwrap_or(0);
            end = end.max(to);
        }
        out
    }
}

fn unhealed(g: &Gap<String>) -> Unhealed {
    Unhealed {
        gap: g.gap,
        state: g.state.as_str().to_owned(),
        cause: g.cause.as_str().to_owned(),
        source: g.source.as_str().to_owned(),
        from_id: g.from_id,
        to_id: g.to_id,
        from_ts: g.from_ts.0,
        to_ts: g.to_ts.0,
        missing: g.missing,
        why: g.why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::{GapCause, HealSource};

    fn mark(seq: u64, gap: u64, state: GapState, ids: (u64, u64), ts: (i64, i64)) -> Mark {
        let gap = Gap {
            gap,
            state,
            cause: GapCause::Disconnected,
            source: HealSource::Rest,
            from_id: ids.0,
            to_id: ids.1,
            from_ts: Ts(ts.0),
            to_ts: Ts(ts.1),
            missing: 0,
            why: String::new(),
        };
        Mark { seq, gap }
    }

    fn seqs(all: &[(u64, u64)]) -> Seqs {
        let mut s = Seqs::default();
        for (lo, hi) in all {
            s.add(*lo, *hi);
        }
        s
    }

    #[test]
    fn each_missing_id_has_the_newest_verdict_about_it() {
        let marks = [
            mark(1, 7, GapState::Open, (11, 19), (0, 0)),
            mark(2, 7, GapState::Lost, (11, 14), (0, 0)),
            mark(3, 8, GapState::NeverPublished, (14, 15), (0, 0)),
            mark(4, 9, GapState::Healed, (31, 31), (0, 0)),
        ];
        let ids = seqs(&[(5, 10), (20, 30), (32, 40), (42, 42)]);
        let f = IdFigures::of(&ids, 3, Some(2), &marks).unwrap();
        assert_eq!((f.first, f.last, f.held, f.repeats, f.after), (5, 42, 27, 3, Some(2)));
        let told: Vec<(u64, u64, &str)> = f.holes.iter().map(|h| (h.from, h.to, h.verdict.as_str())).collect();
        let want = [
            (3, 4, "unexplained"),
            (11, 13, "lost"),
            (14, 15, "never_published"),
            (16, 19, "open"),
            (31, 31, "unexplained"),
            (41, 41, "unexplained"),
        ];
        assert_eq!(told, want);
        assert_eq!((f.missing, f.lost, f.never_published, f.open, f.unexplained), (13, 3, 2, 4, 4));
        assert_eq!(IdFigures::of(&seqs(&[]), 0, None, &marks), None);
        assert_eq!(IdFigures::of(&ids, 0, Some(9), &[]).unwrap().after, None, "ids began anew");
    }

    #[test]
    fn gaps_count_on_the_days_they_lie_in_and_holes_are_not_counted_twice() {
        let day = (Ts(100), Ts(200));
        let marks = [
            mark(1, 1, GapState::Open, (0, 0), (90, 120)),
            mark(2, 2, GapState::Open, (0, 0), (110, 130)),
            mark(3, 3, GapState::Open, (0, 0), (20, 30)),
            // Of a later day: the verdict on gap 2, and a gap that is none of ours.
            mark(4, 2, GapState::Lost, (0, 0), (110, 130)),
            mark(5, 4, GapState::Lost, (0, 0), (200, 210)),
            mark(6, 5, GapState::Healed, (0, 0), (150, 160)),
            mark(7, 6, GapState::Lost, (0, 0), (190, 900)),
        ];
        let f = GapFigures::of(&marks, 3, day);
        assert_eq!((f.open, f.lost, f.healed), (2, 2, 1), "gap 3 was told on this day");
        assert_eq!(f.hole_ns, 30 + 10);
    }
}
