//! Certificates that are due are written: days that are sealed, sealed days that a late heal rewrote, and days about which a later
//! day brought a verdict.
//!
//! The files come first (each forced to the disk under its name), then one line of the manifest that names their hashes. A crash
//! in between leaves files that no manifest knows; they are removed, and issued again with the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::day::{self, Day, parts};
use super::figures::PartFigures;
use super::sign::Signer;
use super::{Certificate, FORMAT, Summary, TopicFigures, file_name, folder, parse_name, root};
use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::{Change, Issued, Part, State, subject};
use crate::names;

/// Instrument-days before `until` (a day) that are sealed and have no certificate of what is stored now.
#[must_use]
pub fn due(state: &State, until: i64) -> Vec<(String, i64)> {
    let is_whole = |about: &str, day: i64| {
        let mut tables: BTreeSet<(&str, &str)> = BTreeSet::new();
        parts(state, about, day).iter().all(|p| p.sealed && tables.insert((&p.topic, &p.table)))
    };
    let mut due: Vec<(String, i64)> = state
        .uncertified_before(until)
        .filter(|(about, day)| is_whole(about, *day))
        .map(|(a, d)| (a.to_owned(), d))
        .collect();
    due.sort();
    due
}

/// What the last look for certificates found.
#[derive(Debug, Default)]
pub struct Looked {
    /// The commit and day up to which was looked; none yet after a start.
    at: Option<(u64, i64)>,
    /// What is due still, and why.
    pub failures: Vec<(String, StoreError)>,
    /// How many failures there were in all.
    pub failed: u64,
}

/// Issues all certificates that are due, unless nothing was committed since the last look. `waiting`: instruments of which rows are
/// still in memory, and the oldest one's day. Returns how many; one that fails keeps no other from being issued.
pub fn all<'a>(
    catalog: &mut Catalog,
    signer: Option<&Signer>,
    looked: &mut Looked,
    until: i64,
    waiting: impl Iterator<Item = (&'a str, i64)>,
) -> u64 {
    if looked.at == Some((catalog.state().commits, until)) {
        return 0;
    }
    looked.failures.clear();
    if looked.at.is_none()
        && let Err(e) = sweep(catalog)
    {
        looked.failures.push(("certificates".into(), e));
    }
    let mut oldest: BTreeMap<&str, i64> = BTreeMap::new();
    for (about, day) in waiting {
        let first = oldest.entry(about).or_insert(day);
        *first = (*first).min(day);
    }
    let mut n = 0;
    for (about, day) in due(catalog.state(), until) {
        if oldest.get(about.as_str()).is_none_or(|first| *first > day) {
            match issue(catalog, signer, &about, day) {
                Ok(issued) => n += issued,
                Err(e) => looked.failures.push((format!("{about} {}", names::day_name(day)), e)),
            }
        }
    }
    looked.at = Some((catalog.state().commits, until));
    looked.failed += looked.failures.len() as u64;
    n
}

/// Issues the certificate of one instrument-day, and new revisions of other days that it bears on. Returns how many.
///
/// # Errors
/// A file that is damaged or not there; a full disk.
pub fn issue(catalog: &mut Catalog, signer: Option<&Signer>, about: &str, day: i64) -> Result<u64, StoreError> {
    let mut batch = Batch { catalog, signer, about, new: Vec::new() };
    let (summary, topics, touched) = batch.derive(day, day)?;
    batch.push(day, day, summary, topics);
    for other in touched {
        // A day that is due itself is not looked at here. One of which something was let go has a new revision for what is left,
        // and never for its summary, which is of less by then.
        let state = batch.catalog.state();
        let Some(issued) = state.issued.get(about).and_then(|d| d.get(&other)).cloned() else { continue };
        let held: Vec<u64> = parts(state, about, other).iter().map(|p| p.part).collect();
        if !held.iter().all(|part| issued.parts.contains(part)) {
            continue;
        }
        let is_whole = held.len() == issued.parts.len();
        let old = load(batch.catalog, &issued)?;
        let (summary, topics, _) = batch.derive(other, day)?;
        if old.topics != topics || is_whole && old.summary != summary {
            batch.push(other, day, summary, topics);
        }
    }
    batch.commit()
}

/// A certificate that the manifest lists.
///
/// # Errors
/// It is not there, or is not what it was.
pub fn load(catalog: &Catalog, issued: &Issued) -> Result<Certificate, StoreError> {
    let path = folder(catalog.data(), &issued.subject).join(file_name(issued.day, issued.revision));
    let bytes = catalog.disk.read(&path).map_err(StoreError::io(&path))?;
    if Certificate::hash(&bytes) != issued.blake3 {
        return Err(StoreError::Certificate { path, why: "it is not the one that was issued".into() });
    }
    Certificate::parse(&path, &bytes)
}

/// Removes certificates that the manifest does not know: a crash came between them and its line.
///
/// # Errors
/// A file system that fails.
pub fn sweep(catalog: &Catalog) -> Result<(), StoreError> {
    let state = catalog.state();
    let known: BTreeMap<String, BTreeMap<String, u32>> = state
        .issued
        .iter()
        .map(|(about, days)| {
            let days = days.iter().map(|(day, i)| (names::day_name(*day), i.revision)).collect();
            (names::identifier(about), days)
        })
        .collect();
    let Ok(folders) = catalog.disk.list(&root(catalog.data())) else { return Ok(()) };
    for dir in folders.into_iter().filter(|f| f.is_dir) {
        let days = dir.path.file_name().and_then(|n| known.get(n.to_str()?));
        for file in catalog.disk.list(&dir.path).map_err(StoreError::io(&dir.path))? {
            let Some(name) = file.path.file_name().and_then(|n| n.to_str()) else { continue };
            let of = name.strip_suffix(".sig").map_or_else(|| name.to_owned(), |n| format!("{n}.json"));
            let Some((day, revision)) = parse_name(&of) else { continue };
            if days.and_then(|d| d.get(day)).is_none_or(|newest| revision > *newest) {
                catalog.disk.remove(&file.path).map_err(StoreError::io(&file.path))?;
            }
        }
    }
    Ok(())
}

struct Batch<'a> {
    catalog: &'a mut Catalog,
    signer: Option<&'a Signer>,
    about: &'a str,
    new: Vec<(Issued, Certificate)>,
}

type Derived = (Summary, BTreeMap<String, TopicFigures>, BTreeSet<i64>);

impl Batch<'_> {
    /// The last day whose marks are looked at.
    fn marks_to(&self, day: i64, with: i64) -> i64 {
        let certified = self.catalog.state().issued.get(self.about).and_then(|d| d.keys().next_back().copied());
        day.max(with).max(certified.unwrap_or(day))
    }

    /// The figures of a day, and the certified days that its rows may bear on.
    fn derive(&self, day: i64, with: i64) -> Result<Derived, StoreError> {
        let (state, disk, data) = (self.catalog.state(), &*self.catalog.disk, self.catalog.data());
        let mut read: Vec<(&Part, PartFigures)> = Vec::new();
        for part in parts(state, self.about, day) {
            read.push((part, PartFigures::read(disk, data, part)?));
        }
        let certified = state.issued.get(self.about);
        let before = certified.and_then(|d| d.range(..day).next_back()).map(|(day, issued)| (*day, issued));
        // Of this commit, if it has a newer one.
        let new = before.and_then(|(day, _)| self.new.iter().find(|n| n.0.day == day)).map(|n| n.1.clone());
        let before = match (before, new) {
            (Some((day, _)), Some(cert)) => Some((day, cert)),
            (Some((day, issued)), None) => Some((day, load(self.catalog, issued)?)),
            (None, _) => None,
        };
        let mut touched: BTreeSet<i64> = BTreeSet::new();
        for mark in read.iter().flat_map(|(_, p)| &p.marks) {
            let (from, to) = (names::day_of(mark.gap.from_ts), names::day_of(mark.gap.to_ts.max(mark.gap.from_ts)));
            touched
                .extend(certified.into_iter().flat_map(|d| d.range(from.min(day)..day.min(to + 1))).map(|(d, _)| *d));
        }
        touched.extend(certified.and_then(|d| d.range(day + 1..).next()).map(|(d, _)| *d));
        let later = day::marks(disk, data, state, self.about, (day + 1, self.marks_to(day, with)))?;
        let before = before.as_ref().map(|(day, cert)| (*day, cert));
        let (summary, mut topics) = Day { day, parts: &read, later, before }.figures();
        // Retention takes nothing back of what was certified: a topic that it let go is told as it was.
        let has_gone = state.let_go.iter().any(|(name, gone)| day <= gone.until && subject(name) == self.about);
        if let Some(issued) = certified.and_then(|d| d.get(&day)).filter(|_| has_gone) {
            let gone = load(self.catalog, issued)?.topics.into_iter().filter(|(name, _)| state.is_let_go(name, day));
            for (name, figures) in gone {
                topics.entry(name).or_insert(figures);
            }
        }
        Ok((summary, topics, touched))
    }

    fn push(&mut self, day: i64, with: i64, summary: Summary, topics: BTreeMap<String, TopicFigures>) {
        let state = self.catalog.state();
        let last = self.new.last().map(|n| &n.0).or_else(|| state.last_issued(self.about));
        let (number, previous) = last.map_or((1, None), |l| (l.number + 1, Some(l.blake3.clone())));
        let revision = state.issued.get(self.about).and_then(|d| d.get(&day)).map_or(0, |i| i.revision) + 1;
        let certificate = Certificate {
            format: FORMAT,
            catalog: state.catalog.clone(),
            instrument: self.about.to_owned(),
            day: names::day_name(day),
            revision,
            number,
            previous,
            marks_to: names::day_name(self.marks_to(day, with)),
            signer: self.signer.map(Signer::public_hex),
            summary,
            topics,
        };
        let mut listed: Vec<u64> = parts(state, self.about, day).iter().map(|p| p.part).collect();
        listed.sort_unstable();
        let blake3 = Certificate::hash(&certificate.bytes());
        let subject = self.about.to_owned();
        let issued = Issued { subject, day, revision, number, blake3, parts: listed, format: FORMAT };
        self.new.push((issued, certificate));
    }

    fn commit(self) -> Result<u64, StoreError> {
        let dir = folder(self.catalog.data(), self.about);
        self.catalog.make_dir(&dir)?;
        for (issued, certificate) in &self.new {
            let (path, bytes) = (dir.join(file_name(issued.day, issued.revision)), certificate.bytes());
            if let Some(signer) = self.signer {
                let path = path.with_extension("sig");
                let text = signer.sign(&bytes) + "\n";
                self.catalog.disk.replace(&path, text.as_bytes()).map_err(StoreError::io(&path))?;
            }
            self.catalog.disk.replace(&path, &bytes).map_err(StoreError::io(&path))?;
        }
        let n = self.new.len() as u64;
        let issued = self.new.into_iter().map(|n| n.0).collect();
        self.catalog.manifest.commit(Change { issued, ..Change::default() })?;
        Ok(n)
    }
}
