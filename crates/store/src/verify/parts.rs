//! Parts against their files, and certificates against parts: figures are derived from the rows, then compared.

use std::collections::{BTreeMap, BTreeSet};

use wholetape_model::Ts;

use super::certificates::{Newest, Read};
use super::diff::diff;
use super::{Report, Verify, named};
use crate::cert::Certificate;
use crate::cert::day::{self, Day, Marks};
use crate::cert::figures::PartFigures;
use crate::file::{self, Reader};
use crate::manifest::{Part, Role, State};
use crate::names;
use crate::seqs::Seqs;
use crate::table::Table;

impl Verify<'_> {
    /// Every part of an instrument, day by day, and the day's certificate.
    pub(super) fn days(&self, state: &State, about: &str, newest: &Newest, sums: &mut Report) {
        let days: BTreeSet<i64> = state
            .parts
            .topics_about(about)
            .flat_map(|topic| state.parts.of_topic(topic))
            .map(|p| p.day)
            .chain(newest.keys().copied())
            .collect();
        let mut seqs: BTreeMap<&str, Seqs> = BTreeMap::new();
        for day in days {
            let parts = day::parts(state, about, day);
            let mut read: Vec<(&Part, PartFigures)> = Vec::new();
            for part in &parts {
                let held = seqs.entry(&part.topic).or_default();
                if let Some(twice) = common(held, &part.seqs) {
                    sums.differs(&main(part), "seqs", "stored once", format!("{}–{} stored twice", twice.0, twice.1));
                }
                held.add_all(&part.seqs);
                read.extend(self.part(part, sums).map(|figures| (*part, figures)));
            }
            match newest.get(&day) {
                Some(certificate) => {
                    sums.days += 1;
                    self.certified(state, (about, day), certificate, newest, (&parts, &read), sums);
                }
                None if !parts.is_empty() => sums.days_open += 1,
                None => {}
            }
        }
    }

    /// A part's files and rows against what the manifest says. `None`: its rows cannot be read.
    fn part(&self, part: &Part, sums: &mut Report) -> Option<PartFigures> {
        for f in &part.files {
            let path = self.data.join(&f.path);
            match file::hash(self.disk, &path) {
                Ok((bytes, blake3)) => {
                    sums.files += 1;
                    sums.bytes += bytes;
                    sums.differs(&f.path, "bytes", f.bytes, bytes);
                    sums.differs(&f.path, "blake3", &f.blake3, blake3);
                }
                Err(_) if self.disk.meta(&path).is_err() => {
                    sums.differs(&f.path, "file", "there", "missing");
                    continue;
                }
                Err(e) => {
                    sums.differs(&f.path, "file", "can be read", e);
                    continue;
                }
            }
            match Reader::open(self.disk, &path) {
                Ok(reader) => sums.differs(&f.path, "rows", f.rows, reader.rows()),
                Err(e) => sums.differs(&f.path, "file", "a Parquet file", e),
            }
            let name = f.path.rsplit('/').next().unwrap_or_default();
            if names::interval(name).is_none_or(|(from, to)| Ts(part.from) < from || Ts(part.to) > to) {
                let rows = format!("{} to {}", names::stamp(Ts(part.from)), names::stamp(Ts(part.to)));
                sums.differs(&f.path, "interval of the name", rows, name);
            }
        }
        let path = main(part);
        let figures = match PartFigures::read(self.disk, self.data, part) {
            Ok(figures) => figures,
            Err(e) => {
                // Said already where a file is missing.
                if part.files.iter().all(|f| self.disk.meta(&self.data.join(&f.path)).is_ok()) {
                    sums.differs(&path, "rows", "can be read", e);
                }
                return None;
            }
        };
        let found = &figures.table;
        sums.rows += found.rows;
        sums.differs(&path, "rows", part.rows, found.rows);
        sums.differs(&path, "first ts_init", part.from, found.from);
        sums.differs(&path, "last ts_init", part.to, found.to);
        sums.differs(&path, "day", names::day_name(part.day), names::day_name(names::day_of(Ts(found.from))));
        sums.differs(&path, "day", names::day_name(part.day), names::day_name(names::day_of(Ts(found.to))));
        sums.differs(&path, "seqs", text(&part.seqs), text(&found.seqs));
        if let Some(table) = Table::parse(&part.table) {
            let ids = |ids: Option<(u64, u64)>| ids.map_or_else(|| "none".into(), |(lo, hi)| format!("{lo}–{hi}"));
            sums.differs(&path, "ids", ids(part.ids), ids(figures.id_ends(table)));
        }
        if let Some((n, seq)) = figures.disordered {
            let found = format!("{n} not behind the row before, the first is seq {seq}");
            sums.differs(&path, "order", "every row behind the one before, by ts_init and seq", found);
        }
        Some(figures)
    }

    /// A day's newest certificate against what is stored.
    fn certified(
        &self,
        state: &State,
        (about, day): (&str, i64),
        read: &Read,
        newest: &Newest,
        (parts, figures): (&[&Part], &[(&Part, PartFigures)]),
        sums: &mut Report,
    ) {
        let certificate = &read.certificate;
        let listed = state.issued.get(about).and_then(|d| d.get(&day)).map(|i| i.parts.as_slice()).unwrap_or_default();
        let whole = held(state, day, read, parts, sums);
        if figures.len() < parts.len() {
            // What cannot be read was named already.
            return;
        }
        if parts.iter().any(|p| !listed.contains(&p.part)) {
            sums.notes.push(format!("{}: written anew since; a new revision is due", named(about, day)));
            return;
        }
        let Some(marks_to) = (day..=day + 100_000).find(|d| names::day_name(*d) == certificate.marks_to) else {
            sums.differs(&read.path, "marks_to", "this day or a later one", &certificate.marks_to);
            return;
        };
        // A file of another day that cannot be read is named there.
        let Ok(later) = day::marks(self.disk, self.data, state, about, (day + 1, marks_to)) else { return };
        let topics = derived(day, figures, later, newest, certificate);
        let found = &read.value;
        if whole {
            let expected = serde_json::to_value(&topics).unwrap_or_default();
            diff("", &expected, found, &mut |figure, e, f| sums.differs(&read.path, figure, e, f));
        } else if parts.is_empty() {
            sums.days_let_go += 1;
        } else {
            sums.days_reduced += 1;
            for (name, topic) in &topics.topics {
                // A topic's day goes as a whole, so what is left of one can be derived again.
                let expected = serde_json::to_value(topic).unwrap_or_default();
                let at = format!("topics/{name}");
                diff(&at, &expected, &found["topics"][name], &mut |figure, e, f| {
                    sums.differs(&read.path, figure, e, f)
                });
            }
        }
    }
}

/// The certificate that should be there: identity and place in the chain are looked at with the chain.
fn derived(
    day: i64,
    figures: &[(&Part, PartFigures)],
    later: Marks,
    newest: &Newest,
    said: &Certificate,
) -> Certificate {
    let before = newest.range(..day).next_back().map(|(day, read)| (*day, &read.certificate));
    let (summary, topics) = Day { day, parts: figures, later, before }.figures();
    Certificate { summary, topics, ..said.clone() }
}

/// Whether everything that a certificate speaks of is there; what is not must have been let go on purpose.
fn held(state: &State, day: i64, read: &Read, parts: &[&Part], sums: &mut Report) -> bool {
    let mut whole = true;
    for (topic, figures) in &read.certificate.topics {
        for (table, said) in &figures.tables {
            let (mut there, mut gone) = (Seqs::default(), false);
            let mut is_there = false;
            for part in parts.iter().filter(|p| p.topic == *topic && p.table == *table) {
                is_there = true;
                there.add_all(&part.seqs);
            }
            gone |= !is_there;
            if let Some(retired) = state.retired.get(topic).filter(|_| state.is_let_go(topic, day)) {
                there.add_all(retired);
            }
            let missing: u64 = said.seqs.intervals().iter().map(|i| lacking(&there, *i)).sum();
            if missing > 0 {
                let figure = format!("topics/{topic}/tables/{table}/seqs");
                sums.differs(&read.path, &figure, "all stored", format!("{missing} are not"));
            }
            // Rows of an archive have no seqs.
            if !is_there && said.seqs.is_empty() && !state.is_let_go(topic, day) {
                sums.differs(&read.path, &format!("topics/{topic}/tables/{table}/rows"), said.rows, 0);
            }
            whole &= !gone;
        }
    }
    whole
}

/// How many of `lo..=hi` are not in the set.
fn lacking(set: &Seqs, (lo, hi): (u64, u64)) -> u64 {
    let all = set.intervals().iter().filter(|(a, b)| *a <= hi && *b >= lo);
    hi - lo + 1 - all.map(|(a, b)| b.min(&hi) - a.max(&lo) + 1).sum::<u64>()
}

/// An interval that both sets have.
fn common(a: &Seqs, b: &Seqs) -> Option<(u64, u64)> {
    let both = b.intervals().iter().map(|(lo, hi)| {
        let at = a.intervals().partition_point(|(_, end)| end < lo);
        a.intervals().get(at).filter(|(from, _)| from <= hi).map(|(from, to)| (*from.max(lo), *to.min(hi)))
    });
    both.flatten().next()
}

/// The file that a part's rows are read from.
fn main(part: &Part) -> String {
    part.files.iter().find(|f| f.role == Role::Main).map_or_else(|| part.topic.clone(), |f| f.path.clone())
}

fn text(seqs: &Seqs) -> String {
    let all: Vec<String> = seqs.intervals().iter().take(20).map(|(lo, hi)| format!("{lo}–{hi}")).collect();
    let more =
        if seqs.intervals().len() > 20 { format!(" … {} intervals", seqs.intervals().len()) } else { String::new() };
    format!("{}{more} ({} in all)", all.join(" "), seqs.count())
}
