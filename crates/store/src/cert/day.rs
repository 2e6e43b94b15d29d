//! One instrument-day put together: what its parts' rows say, with the verdicts that later days brought.

use std::collections::BTreeMap;
use std::path::Path;

use wholetape_model::{Kind, Topic, Ts};
use wholetape_tape::Disk;

use super::book::BookFigures;
use super::delay::Delays;
use super::figures::{Mark, PartFigures};
use super::{Certificate, GapFigures, IdFigures, NameFigures, Summary, TopicFigures};
use crate::StoreError;
use crate::manifest::{Part, State};
use crate::names;
use crate::table::Table;

/// Gap marks by topic, in the order of their seqs.
pub type Marks = BTreeMap<String, Vec<Mark>>;

/// What a day's figures follow from.
pub struct Day<'a> {
    pub day: i64,
    pub parts: &'a [(&'a Part, PartFigures)],
    /// Marks stored on later days, up to the one that the certificate names.
    pub later: Marks,
    /// The certified day before this one, and its newest certificate.
    pub before: Option<(i64, &'a Certificate)>,
}

impl Day<'_> {
    /// Everything that a certificate says of the day.
    #[must_use]
    pub fn figures(self) -> (Summary, BTreeMap<String, TopicFigures>) {
        let mut topics: BTreeMap<String, TopicFigures> = BTreeMap::new();
        let (mut sum, mut delays) = (Summary::default(), Delays::default());
        for topic in self.parts.chunk_by(|a, b| a.0.topic == b.0.topic) {
            let name = &topic[0].0.topic;
            let figures = self.topic(name, topic);
            for (_, part) in topic {
                sum.rows += part.table.rows;
                sum.flagged += part.flagged_rows;
                delays.add_all(&part.delays);
            }
            sum.hole_ns = sum.hole_ns.max(figures.gaps.hole_ns);
            if let Some(book) = &figures.book {
                sum.book_invalid_ns = Some(sum.book_invalid_ns.unwrap_or(0) + book.invalid_ns);
            }
            topics.insert(name.clone(), figures);
        }
        sum.accuracy_ppm = ppm(sum.rows - sum.flagged, sum.rows);
        let ids = || topics.values().filter_map(|t| t.ids.as_ref());
        if ids().next().is_some() {
            let held: u64 = ids().map(|i| i.held).sum();
            let gone: u64 = ids().map(|i| i.missing - i.never_published).sum();
            sum.completeness_ppm = Some(ppm(held, held + gone));
        }
        sum.delay = delays.figures();
        (sum, topics)
    }

    fn topic(&self, name: &str, parts: &[(&Part, PartFigures)]) -> TopicFigures {
        let mut out = TopicFigures::default();
        let (mut marks, mut turns, mut rows) = (Vec::new(), &[][..], None::<(i64, i64)>);
        for (part, figures) in parts {
            let mut table = figures.table.clone();
            table.files.clone_from(&part.files);
            out.retracted += figures.retracted;
            if !figures.marks.is_empty() {
                marks.clone_from(&figures.marks);
            }
            if !figures.turns.is_empty() {
                turns = &figures.turns;
            }
            rows = Some(rows.map_or((table.from, table.to), |(a, b)| (a.min(table.from), b.max(table.to))));
            out.tables.insert(part.table.clone(), table);
        }
        marks.sort_by_key(|m| m.seq);
        let own = marks.len();
        marks.extend(self.later.get(name).into_iter().flatten().cloned());
        let day = (names::day_start(self.day), names::day_start(self.day + 1));
        out.gaps = GapFigures::of(&marks, own, day);
        let earlier = self.before.and_then(|(_, cert)| cert.topics.get(name));
        if let Some((_, trades)) = parts.iter().find(|p| matches!(p.0.table.as_str(), "trades" | "trades_raw")) {
            let after = earlier.and_then(|t| t.ids.as_ref()).map(|ids| ids.last);
            out.ids = IdFigures::of(&trades.ids, trades.repeats, after, &marks);
            out.names = (trades.named > 0)
                .then(|| NameFigures { held: trades.named.saturating_sub(trades.repeats), repeats: trades.repeats });
        }
        if Topic::parse(name).is_ok_and(|t| t.kind() == Kind::Book) {
            let follows = self.before.is_some_and(|(day, _)| day + 1 == self.day);
            let start = earlier.filter(|_| follows).and_then(|t| t.book.as_ref()?.end.as_deref());
            let (from, to) = rows.unwrap_or_default();
            out.book = Some(BookFigures::of(start, turns, (Ts(from), Ts(to)), day));
        }
        out
    }
}

/// `part` of `whole` in a million, rounded down.
fn ppm(part: u64, whole: u64) -> u64 {
    if whole == 0 { 1_000_000 } else { u64::try_from(u128::from(part) * 1_000_000 / u128::from(whole)).unwrap_or(0) }
}

/// The parts of one instrument and day, by topic and table.
#[must_use]
pub fn parts<'a>(state: &'a State, subject_: &str, day: i64) -> Vec<&'a Part> {
    let mut parts: Vec<&Part> =
        state.parts.topics_about(subject_).flat_map(|topic| state.parts.of_day(topic, day)).collect();
    parts.sort_by(|a, b| (&a.topic, &a.table, a.from).cmp(&(&b.topic, &b.table, b.from)));
    parts
}

/// The marks that are stored of an instrument on days `from..=to`.
///
/// # Errors
/// A file that is damaged or not there.
pub fn marks(
    disk: &dyn Disk,
    data: &Path,
    state: &State,
    subject_: &str,
    (from, to): (i64, i64),
) -> Result<Marks, StoreError> {
    let mut all = Marks::new();
    let of = |p: &&Part| p.table == Table::Gap.as_str() && (from..=to).contains(&p.day);
    for part in state.parts.topics_about(subject_).flat_map(|topic| state.parts.of_topic(topic)).filter(of) {
        let read = PartFigures::read(disk, data, part)?;
        all.entry(part.topic.clone()).or_default().extend(read.marks);
    }
    for marks in all.values_mut() {
        marks.sort_by_key(|m| m.seq);
    }
    Ok(all)
}
