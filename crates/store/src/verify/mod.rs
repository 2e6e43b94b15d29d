//! Is the catalog what it says it is? Everything is derived again from the stored rows, offline, and compared.
//!
//! Three witnesses are held against each other: the files, the manifest that lists them, and the certificates of days. A file that
//! one of them knows and another does not, a hash, a count, an interval, a figure, a link of the chain: each difference is a
//! [`Finding`] that names the file, the figure, what was expected and what was found.
//!
//! Nothing is written, and no lock is taken: beside a running process, what looks wrong because it changed meanwhile is looked at again.

mod certificates;
mod diff;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use wholetape_tape::Disk;

use crate::StoreError;
use crate::cert::{self, sign::Keys};
use crate::columns::Dialect;
use crate::manifest::{Manifest, State, subject};
use crate::names;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Below the data directory.
    pub path: String,
    /// What differs: `blake3`, `rows`, `previous`, `topics/trade.…/ids/held` …
    pub figure: String,
    pub expected: String,
    pub found: String,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub catalog: String,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    pub certificates: u64,
    pub signed: u64,
    /// Instrument-days under a certificate, and those that have none yet.
    pub days: u64,
    pub days_open: u64,
    /// Certified days of which retention let something go: what is left was compared topic by topic.
    pub days_reduced: u64,
    /// Certified days of which nothing is left, by retention.
    pub days_let_go: u64,
    /// Worth knowing, and no difference.
    pub notes: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Report {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What is looked at.
pub struct Verify<'a> {
    pub disk: &'a dyn Disk,
    /// The data directory.
    pub data: &'a Path,
    /// Whoever must have signed; without it, each signature is held against the key that its certificate names.
    pub keys: Option<&'a Keys>,
    /// Told before each instrument: how many are done, of how many, and which comes.
    pub progress: &'a dyn Fn(usize, usize, &str),
    /// Waits until a process that is just writing is further on.
    pub wait: &'a dyn Fn(Duration),
}

/// How often what changed meanwhile is looked at again.
const ROUNDS: usize = 5;

/// What was found about one instrument.
#[derive(Default)]
struct About {
    sums: Report,
}

impl Verify<'_> {
    /// Looks at everything.
    ///
    /// # Errors
    /// No catalog there; a manifest that cannot be read; folders that cannot be listed.
    pub fn run(&self) -> Result<Report, StoreError> {
        let root = self.data.join(Dialect::V2.root());
        let (mut state, mut torn) = self.settled(&root)?;
        let mut done: BTreeMap<String, About> = BTreeMap::new();
        for round in 0.. {
            let all: BTreeSet<&str> = state
                .parts
                .values()
                .map(|p| subject(&p.topic))
                .chain(state.issued.keys().map(String::as_str))
                .collect();
            done.retain(|about, found| all.contains(about.as_str()) && (round == 0 || found.sums.is_clean()));
            for (i, about) in all.iter().enumerate() {
                if !done.contains_key(*about) {
                    (self.progress)(i, all.len(), about);
                    done.insert((*about).to_owned(), self.about(&state, about));
                }
            }
            let strange = self.unlisted(&state)?;
            if round + 1 < ROUNDS && !(strange.is_empty() && done.values().all(|a| a.sums.is_clean())) {
                // Perhaps it changed while we looked.
                (self.wait)(Duration::from_millis(200));
                let (now, tail) = self.settled(&root)?;
                if now.commits != state.commits || now.pending.is_some() != state.pending.is_some() {
                    (state, torn) = (now, tail);
                    continue;
                }
            }
            return Ok(sum(&state, torn, done, strange));
        }
        unreachable!("the loop returns in its last round")
    }

    /// The manifest, outside of a write and of a change of places.
    fn settled(&self, root: &Path) -> Result<(State, u64), StoreError> {
        let mut read = Manifest::read_whole(self.disk, root)?;
        for _ in 0..10 {
            if read.0.pending.is_none() && read.1 == 0 {
                break;
            }
            (self.wait)(Duration::from_millis(100));
            read = Manifest::read_whole(self.disk, root)?;
        }
        Ok(read)
    }

    /// Files that nothing lists.
    fn unlisted(&self, state: &State) -> Result<Vec<Finding>, StoreError> {
        let mut known: BTreeSet<PathBuf> =
            state.parts.values().flat_map(|p| &p.files).map(|f| self.data.join(&f.path)).collect();
        let own = self.data.join(Dialect::V2.root());
        known.extend(["manifest.log", "manifest.part", ".lock"].map(|name| own.join(name)));
        let mut found = Vec::new();
        for dialect in Dialect::ALL {
            self.walk(&self.data.join(dialect.root()), &own.join(".staging"), &known, &mut found)?;
        }
        // An instrument's folder is looked at with the instrument.
        let folders: BTreeSet<PathBuf> = state.issued.keys().map(|about| cert::folder(self.data, about)).collect();
        found.retain(|path| path.parent().is_none_or(|dir| !folders.contains(dir)));
        let finding = |path: &PathBuf| Finding {
            path: self.short(path),
            figure: "file".into(),
            expected: "listed by the manifest".into(),
            found: "not listed: left by a crash (then the next start removes it), or put there by somebody".into(),
        };
        Ok(found.iter().map(finding).collect())
    }

    fn walk(
        &self,
        dir: &Path,
        skip: &Path,
        known: &BTreeSet<PathBuf>,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        let listed = match self.disk.list(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(StoreError::io(dir))?,
        };
        for one in listed {
            if one.is_dir && one.path != skip {
                self.walk(&one.path, skip, known, found)?;
            } else if !one.is_dir && !known.contains(&one.path) {
                found.push(one.path);
            }
        }
        Ok(())
    }

    /// Everything about one instrument.
    fn about(&self, state: &State, about: &str) -> About {
        let mut found = About::default();
        let chain = self.chain(state, about, &mut found.sums);
        self.days(state, about, &chain, &mut found.sums);
        found
    }

    fn short(&self, path: &Path) -> String {
        path.strip_prefix(self.data).unwrap_or(path).display().to_string()
    }
}

fn sum(state: &State, torn: u64, done: BTreeMap<String, About>, strange: Vec<Finding>) -> Report {
    let mut all = Report { catalog: state.catalog.clone(), findings: strange, ..Report::default() };
    let manifest = format!("{}/manifest.log", Dialect::V2.root());
    if torn > 0 {
        all.findings.push(Finding {
            path: manifest.clone(),
            figure: "bytes behind the last whole line".into(),
            expected: "0".into(),
            found: format!("{torn}: a write that a crash cut off (then the next start removes it), or damage"),
        });
    }
    if state.pending.is_some() {
        all.findings.push(Finding {
            path: manifest,
            figure: "change of places".into(),
            expected: "done".into(),
            found: "begun, and cut off by a crash: the next start finishes it".into(),
        });
    }
    for (_, about) in done {
        let s = about.sums;
        all.files += s.files;
        all.bytes += s.bytes;
        all.rows += s.rows;
        all.certificates += s.certificates;
        all.signed += s.signed;
        all.days += s.days;
        all.days_open += s.days_open;
        all.days_reduced += s.days_reduced;
        all.days_let_go += s.days_let_go;
        all.notes.extend(s.notes);
        all.findings.extend(s.findings);
    }
    all.findings.sort();
    all.findings.dedup();
    all
}

impl Report {
    fn differs(&mut self, path: &str, figure: &str, expected: impl ToString, found: impl ToString) {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            self.findings.push(Finding { path: path.to_owned(), figure: figure.to_owned(), expected, found });
        }
    }
}

/// A day and what it is about, for notes.
fn named(about: &str, day: i64) -> String {
    format!("{about} {}", names::day_name(day))
}
