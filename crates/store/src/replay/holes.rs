//! What a range lacks, for replays that must be complete: gaps that were lost or have no verdict yet, and rows that the catalog does
//! not hold although the topic had them.
//!
//! A gap's verdict may have come long after the gap, so the gap tables are read from the range's beginning to the end of the catalog;
//! the verdict with the highest seq counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use wholetape_model::{Body, Gap, GapState, Kind, Topic, Ts};
use wholetape_tape::Disk;

use super::merge::{Merge, Range};
use crate::StoreError;
use crate::manifest::{Part, State};
use crate::names;
use crate::seqs::Seqs;
use crate::table::Table;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub topic: String,
    pub from: Ts,
    /// `Ts::MAX`: it is not known how long.
    pub to: Ts,
    /// `lost`, `open` or `not_stored`.
    pub what: &'static str,
    /// Ids of a gap, or seqs of rows that are not stored; both ends inclusive, 0 where there are none.
    pub ids: (u64, u64),
    pub why: String,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = if self.to == Ts::MAX { "?".to_owned() } else { names::stamp(self.to) };
        write!(f, "{}: {} {} to {to}", self.topic, self.what, names::stamp(self.from))?;
        if self.ids != (0, 0) {
            write!(f, ", {} {} to {}", if self.what == "not_stored" { "seqs" } else { "ids" }, self.ids.0, self.ids.1)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Everything missing of a range, by topic and time.
///
/// # Errors
/// A file that cannot be read.
pub fn holes(disk: &Arc<dyn Disk>, data: &Path, state: &State, range: &Range) -> Result<Vec<Hole>, StoreError> {
    let mut all = Vec::new();
    for topic in &range.topics {
        let parts: Vec<&Part> = state.parts.of_topic(topic.as_str()).collect();
        if parts.iter().any(|p| p.table == Table::Gap.as_str()) {
            let gaps = State::of_parts(gap_parts(&parts));
            let mut newest: BTreeMap<u64, (u64, Hole, GapState)> = BTreeMap::new();
            let every = Range { topics: vec![topic.clone()], from: range.from, to: Ts::MAX };
            let mut merge = Merge::open(disk, data, &gaps, &every, false)?;
            while let Some((_, _, record)) = merge.row() {
                if let Body::Gap(gap) = record.view()? {
                    let at = newest.entry(gap.gap).or_insert_with(|| (0, hole(topic.as_str(), &gap), gap.state));
                    if record.seq() >= at.0 {
                        *at = (record.seq(), hole(topic.as_str(), &gap), gap.state);
                    }
                }
                merge.advance()?;
            }
            let bad = newest.into_values().filter(|(_, hole, state)| {
                matches!(state, GapState::Lost | GapState::Open) && hole.from < range.to && hole.to >= range.from
            });
            all.extend(bad.map(|(_, hole, _)| hole));
        }
        let_go(state, topic, range, &mut all);
        not_stored(topic.as_str(), &parts, state.retired.get(topic.as_str()), range, &mut all);
    }
    all.sort_by(|a, b| (&a.topic, a.from, a.to).cmp(&(&b.topic, b.from, b.to)));
    Ok(all)
}

fn gap_parts<'a>(parts: &'a [&Part]) -> impl Iterator<Item = Part> + 'a {
    parts.iter().filter(|p| p.table == Table::Gap.as_str()).map(|p| (*p).clone())
}

fn hole(topic: &str, gap: &Gap<&str>) -> Hole {
    let to = if gap.to_ts == Ts::ZERO { Ts::MAX } else { gap.to_ts };
    let why =
        if gap.why.is_empty() { gap.cause.as_str().to_owned() } else { format!("{}, {}", gap.cause.as_str(), gap.why) };
    let ids = (gap.from_id, gap.to_id);
    Hole { topic: topic.to_owned(), from: gap.from_ts, to, what: gap.state.as_str(), ids, why }
}

/// Days of the range that retention let go. Of definitions only repetitions go.
fn let_go(state: &State, topic: &Topic, range: &Range, all: &mut Vec<Hole>) {
    let Some(gone) = state.let_go.get(topic.as_str()).filter(|_| topic.kind() != Kind::Instrument) else { return };
    let end = names::day_start(gone.until + 1);
    if range.from < end {
        all.push(Hole {
            topic: topic.as_str().to_owned(),
            from: range.from,
            to: Ts(end.min(range.to).0 - 1),
            what: "not_stored",
            ids: (0, 0),
            why: format!("retention let the topic's days up to {} go", names::day_name(gone.until)),
        });
    }
}

/// Seqs between stored ones that no part holds, and that retention did not let go: of what day those were is known. Where they were
/// is told by the parts on either side.
fn not_stored(topic: &str, parts: &[&Part], retired: Option<&Seqs>, range: &Range, all: &mut Vec<Hole>) {
    let mut seqs = retired.cloned().unwrap_or_default();
    for part in parts {
        seqs.add_all(&part.seqs);
    }
    for pair in seqs.intervals().windows(2) {
        let (lo, hi) = (pair[0].1 + 1, pair[1].0 - 1);
        let with = |seq: u64| parts.iter().filter(move |p| p.seqs.has(seq));
        let from = with(lo - 1).map(|p| p.from).min().unwrap_or(i64::MIN);
        let to = with(hi + 1).map(|p| p.to).max().unwrap_or(i64::MAX);
        if from < range.to.0 && to >= range.from.0 {
            all.push(Hole {
                topic: topic.to_owned(),
                from: Ts(from),
                to: Ts(to),
                what: "not_stored",
                ids: (lo, hi),
                why: "between rows that are stored: not stored yet, or let go".to_owned(),
            });
        }
    }
}
