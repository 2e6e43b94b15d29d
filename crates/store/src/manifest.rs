//! What is stored: a log of commits, one line each, in `<catalog>/manifest.log`.
//!
//! A line is the first 16 hex digits of the BLAKE3 of what follows, a space, and one JSON object. A commit adds *parts* and
//! takes others away; once its line is on the disk, it holds. A part is one topic's rows of one table and day, in as many
//! files as the table has (dialects, companion, view). The seqs that the parts of a topic list are all that is stored of it,
//! marks included: what was written and not committed is written again, and nothing twice.
//!
//! Invariants: numbers of commits and parts only grow; a line that is torn can only be the last one, and is cut off.

mod parts;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wholetape_tape::{Access, Disk, DiskFile};

pub use parts::{Parts, subject};
pub use tail::Tail;

use crate::seqs::Seqs;
use crate::{StoreError, cert, names};

/// Version of this log. Newer ones are named, not misread.
pub const FORMAT: u32 = 1;
const NAME: &str = "manifest.log";
/// Hex digits of a line's checksum.
const SUM: usize = 16;
/// The log is written anew when it has so many times more lines than parts.
const SLACK: usize = 8;

/// One file of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Below the data directory.
    pub path: String,
    pub role: Role,
    pub rows: u64,
    pub bytes: u64,
    /// Of the file's bytes.
    pub blake3: String,
    /// Of its table's layout; left out where it is the first.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub format: u32,
}

const fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_first(format: &u32) -> bool {
    *format == 1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Rows are read back from it.
    Main,
    /// … together with this.
    Companion,
    /// The same rows in another layout.
    View,
    /// The main file in dialect A.
    V1,
    /// The view in dialect A.
    ViewV1,
}

/// Rows of one topic, table and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub part: u64,
    pub topic: String,
    pub table: String,
    /// UTC, days since 1970-01-01.
    pub day: i64,
    /// `ts_init` of the first and last row.
    pub from: i64,
    pub to: i64,
    pub rows: u64,
    pub seqs: Seqs,
    /// Lowest and highest trade id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<(u64, u64)>,
    /// The day is over, and this is all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    pub files: Vec<FileRef>,
}

impl Part {
    /// Of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// The newest certificate of one instrument and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub subject: String,
    pub day: i64,
    pub revision: u32,
    /// Its place in the instrument's chain, from 1.
    pub number: u64,
    /// Of the certificate's bytes.
    pub blake3: String,
    /// The parts that it speaks of.
    pub parts: Vec<u64>,
    /// Of the certificate; left out where it is the first.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub format: u32,
}

/// What retention let go of one topic, by now or in one commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetGo {
    /// Everything up to this day went, but for definitions that later days need; rows that come late for such a day are not
    /// stored.
    pub until: i64,
    pub rows: u64,
    pub bytes: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Line {
    /// The first line.
    Head {
        format: u32,
        catalog: String,
    },
    /// Parts come and go. `swap`: folders change places after this line and before `done`.
    Commit {
        n: u64,
        #[serde(default)]
        add: Vec<Part>,
        #[serde(default)]
        remove: Vec<u64>,
        /// Of topics that had live rows: the newest `ts_init` given.
        #[serde(default)]
        live: BTreeMap<String, i64>,
        /// Precisions pinned for an instrument: price and size.
        #[serde(default)]
        digits: BTreeMap<String, (u8, u8)>,
        #[serde(default)]
        swap: bool,
        /// Seqs of removed parts that stay stored: they were let go on purpose.
        #[serde(default)]
        retired: BTreeMap<String, Seqs>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        let_go: BTreeMap<String, LetGo>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        issued: Vec<Issued>,
        /// What is pinned together and has files with other digits still; and what has none any more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repin: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repinned: Vec<String>,
    },
    Done {
        n: u64,
    },
}

/// What a commit changes.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub add: Vec<Part>,
    pub remove: Vec<u64>,
    pub live: BTreeMap<String, i64>,
    pub digits: BTreeMap<String, (u8, u8)>,
    pub swap: bool,
    pub retired: BTreeMap<String, Seqs>,
    pub let_go: BTreeMap<String, LetGo>,
    pub issued: Vec<Issued>,
    pub repin: Vec<String>,
    pub repinned: Vec<String>,
}

/// The state that the log tells.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub catalog: String,
    pub parts: Parts,
    pub live: BTreeMap<String, i64>,
    pub digits: BTreeMap<String, (u8, u8)>,
    pub retired: BTreeMap<String, Seqs>,
    /// By topic.
    pub let_go: BTreeMap<String, LetGo>,
    /// Pins that grew, and whose files are not all written anew yet.
    pub repin: BTreeSet<String>,
    /// By instrument (or line) and day.
    pub issued: BTreeMap<String, BTreeMap<i64, Issued>>,
    /// A commit whose folders may not have changed places yet: its number, what it added, and the paths that it took away.
    pub pending: Option<(u64, Vec<Part>, Vec<Part>)>,
    pub commits: u64,
    /// Day and instrument (or line) of which something is stored that its certificate, if there is one, does not speak of.
    uncertified: BTreeSet<(i64, String)>,
    next_part: u64,
}

impl State {
    fn apply(&mut self, line: Line) {
        match line {
            Line::Head { catalog, .. } => self.catalog = catalog,
            Line::Commit { n, add, remove, live, digits, swap, retired, let_go, issued, repin, repinned } => {
                self.commits = n;
                let gone: Vec<Part> = remove.iter().filter_map(|p| self.parts.remove(*p)).collect();
                let mut touched: BTreeSet<(i64, String)> = BTreeSet::new();
                touched.extend(gone.iter().chain(&add).map(|p| (p.day, subject(&p.topic).to_owned())));
                touched.extend(issued.iter().map(|i| (i.day, i.subject.clone())));
                if swap {
                    self.pending = Some((n, add.clone(), gone));
                }
                for part in add {
                    self.next_part = self.next_part.max(part.part + 1);
                    self.parts.insert(part);
                }
                self.live.extend(live);
                self.digits.extend(digits);
                for (topic, seqs) in retired {
                    self.retired.entry(topic).or_default().add_all(&seqs);
                }
                for (topic, gone) in let_go {
                    let all = self.let_go.entry(topic).or_insert(LetGo { until: gone.until, ..LetGo::default() });
                    all.until = all.until.max(gone.until);
                    (all.rows, all.bytes) = (all.rows + gone.rows, all.bytes + gone.bytes);
                }
                self.repin.extend(repin);
                for key in repinned {
                    self.repin.remove(&key);
                }
                for one in issued {
                    self.issued.entry(one.subject.clone()).or_default().insert(one.day, one);
                }
                for key in touched {
                    self.judge(key);
                }
            }
            Line::Done { n } => {
                if self.pending.as_ref().is_some_and(|p| p.0 == n) {
                    self.pending = None;
                }
            }
        }
    }

    /// Notes whether all that is stored of an instrument-day is in its certificate.
    fn judge(&mut self, key: (i64, String)) {
        let issued = self.issued.get(&key.1).and_then(|days| days.get(&key.0));
        let mut held = self.parts.topics_about(&key.1).flat_map(|topic| self.parts.of_day(topic, key.0));
        let is_new = held.any(|p| issued.is_none_or(|i| !i.parts.contains(&p.part)));
        drop(held);
        if is_new {
            self.uncertified.insert(key);
        } else {
            self.uncertified.remove(&key);
        }
    }

    /// Instrument-days before `until` (a day) of which something is in no certificate; the oldest first.
    pub fn uncertified_before(&self, until: i64) -> impl Iterator<Item = (&str, i64)> {
        self.uncertified.range(..(until, String::new())).map(|(day, about)| (about.as_str(), *day))
    }

    /// The certificate that was issued last for an instrument: the next one names it.
    #[must_use]
    pub fn last_issued(&self, subject: &str) -> Option<&Issued> {
        self.issued.get(subject)?.values().max_by_key(|i| i.number)
    }

    /// Whether retention let this day of a topic go: its rows are not stored any more.
    #[must_use]
    pub fn is_let_go(&self, topic: &str, day: i64) -> bool {
        self.let_go.get(topic).is_some_and(|gone| day <= gone.until)
    }

    /// A state that knows these parts alone, for readers.
    #[must_use]
    pub fn of_parts(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().map(|p| (p.part, p)).collect(), ..Self::default() }
    }

    /// The seqs of each topic that are stored, or were.
    #[must_use]
    pub fn stored(&self) -> BTreeMap<&str, Seqs> {
        let mut all: BTreeMap<&str, Seqs> = BTreeMap::new();
        for part in self.parts.values() {
            all.entry(&part.topic).or_default().add_all(&part.seqs);
        }
        for (topic, seqs) in &self.retired {
            all.entry(topic).or_default().add_all(seqs);
        }
        all
    }

    /// Of one topic.
    #[must_use]
    pub fn stored_of(&self, topic: &str) -> Seqs {
        let mut all = self.retired.get(topic).cloned().unwrap_or_default();
        for part in self.parts.of_topic(topic) {
            all.add_all(&part.seqs);
        }
        all
    }
}

/// The log, open for writing.
pub struct Manifest {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    end: u64,
    lines: usize,
    pub state: State,
    /// A write failed: what is on the disk is not known, and nothing is committed any more.
    broken: bool,
}

impl Manifest {
    /// Opens the log, or begins one.
    ///
    /// # Errors
    /// Damage before the last line; a newer format.
    pub fn open(disk: &Arc<dyn Disk>, root: &Path) -> Result<Self, StoreError> {
        let path = root.join(NAME);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(StoreError::Io { path, source: e }),
        };
        let (state, end, lines) = parse(&path, &bytes)?;
        if lines == 0 {
            let mut name = [0; 8];
            disk.random(&mut name).map_err(StoreError::io(&path))?;
            let name: String = name.iter().map(|b| format!("{b:02x}")).collect();
            let head = line(&Line::Head { format: FORMAT, catalog: name.clone() });
            disk.replace(&path, head.as_bytes()).map_err(StoreError::io(&path))?;
            let file = disk.open(&path, Access::Write).map_err(StoreError::io(&path))?;
            let state = State { catalog: name, ..State::default() };
            let end = head.len() as u64;
            return Ok(Self { path, disk: disk.clone(), file, end, lines: 1, state, broken: false });
        }
        // Written anew: a line that the last process could not force to the disk may be in the page cache alone, where it
        // reads like the others.
        let bytes = &bytes[..usize::try_from(end).unwrap_or(bytes.len())];
        disk.replace(&path, bytes).map_err(StoreError::io(&path))?;
        let file = disk.open(&path, Access::Write).map_err(StoreError::io(&path))?;
        Ok(Self { path, disk: disk.clone(), file, end, lines, state, broken: false })
    }

    /// What the log says, without opening it for writing.
    ///
    /// # Errors
    /// As [`Manifest::open`]; no log there.
    pub fn read(disk: &dyn Disk, root: &Path) -> Result<State, StoreError> {
        Ok(Self::read_whole(disk, root)?.0)
    }

    /// As [`Manifest::read`]; and how many bytes behind the last whole line are none (a crash, or damage).
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn read_whole(disk: &dyn Disk, root: &Path) -> Result<(State, u64), StoreError> {
        let path = root.join(NAME);
        let bytes = disk.read(&path).map_err(StoreError::io(&path))?;
        let (state, end, _) = parse(&path, &bytes)?;
        Ok((state, bytes.len() as u64 - end))
    }

    /// A number for a new part.
    pub fn next_part(&mut self) -> u64 {
        let n = self.state.next_part.max(1);
        self.state.next_part = n + 1;
        n
    }

    /// Makes a change hold. Returns its number.
    ///
    /// # Errors
    /// The log cannot be written; then this log takes no more and must be opened anew.
    pub fn commit(&mut self, change: Change) -> Result<u64, StoreError> {
        let n = self.state.commits + 1;
        let Change { add, remove, live, digits, swap, retired, let_go, issued, repin, repinned } = change;
        self.append(Line::Commit { n, add, remove, live, digits, swap, retired, let_go, issued, repin, repinned })?;
        Ok(n)
    }

    /// The folders of commit `n` have changed places.
    ///
    /// # Errors
    /// As [`Manifest::commit`].
    pub fn done(&mut self, n: u64) -> Result<(), StoreError> {
        self.append(Line::Done { n })?;
        if self.lines > (self.state.parts.len() + 64) * SLACK {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Whether the log takes more.
    ///
    /// # Errors
    /// A write failed before: it must be opened anew.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::LogFailed(self.path.clone()));
        }
        Ok(())
    }

    fn append(&mut self, entry: Line) -> Result<(), StoreError> {
        self.check()?;
        let text = line(&entry);
        self.broken = true;
        let mut done = 0;
        while done < text.len() {
            match self.file.write_at(&text.as_bytes()[done..], self.end + done as u64) {
                Ok(0) => {
                    return Err(StoreError::Io {
                        path: self.path.clone(),
                        source: std::io::ErrorKind::WriteZero.into(),
                    });
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(StoreError::Io { path: self.path.clone(), source: e }),
            }
        }
        self.disk.sync(&*self.file).map_err(StoreError::io(&self.path))?;
        self.broken = false;
        self.end += text.len() as u64;
        self.lines += 1;
        self.state.apply(entry);
        Ok(())
    }

    /// One commit that says all of the state, in the place of the log.
    fn rewrite(&mut self) -> Result<(), StoreError> {
        let s = &self.state;
        let head = line(&Line::Head { format: FORMAT, catalog: s.catalog.clone() });
        let all = line(&Line::Commit {
            n: s.commits,
            add: s.parts.values().cloned().collect(),
            remove: Vec::new(),
            live: s.live.clone(),
            digits: s.digits.clone(),
            swap: false,
            retired: s.retired.clone(),
            let_go: s.let_go.clone(),
            repin: s.repin.iter().cloned().collect(),
            repinned: Vec::new(),
            issued: s.issued.values().flat_map(BTreeMap::values).cloned().collect(),
        });
        let text = head + &all;
        self.broken = true;
        self.disk.replace(&self.path, text.as_bytes()).map_err(StoreError::io(&self.path))?;
        self.file = self.disk.open(&self.path, Access::Write).map_err(StoreError::io(&self.path))?;
        (self.end, self.lines, self.broken) = (text.len() as u64, 2, false);
        Ok(())
    }
}

fn line(entry: &Line) -> String {
    let json = serde_json::to_string(entry).expect("plain data");
    format!("{} {json}\n", &blake3::hash(json.as_bytes()).to_hex()[..SUM])
}

/// The state, where the last whole line ends, and how many there are.
fn parse(path: &Path, bytes: &[u8]) -> Result<(State, u64, usize), StoreError> {
    let (mut state, mut lines) = (State::default(), 0);
    let end = read_on(path, bytes, &mut state, &mut lines)?;
    newer(path, &state)?;
    Ok((state, end as u64, lines))
}

/// Applies the whole lines of `bytes`, which follow `lines` others, to the state. Returns where the last one ends.
fn read_on(path: &Path, bytes: &[u8], state: &mut State, lines: &mut usize) -> Result<usize, StoreError> {
    let mut end = 0_usize;
    while end < bytes.len() {
        let rest = &bytes[end..];
        let torn = |why: &str| StoreError::Manifest { path: path.to_owned(), line: *lines + 1, why: why.to_owned() };
        let (text, next) = match rest.iter().position(|b| *b == b'\n') {
            Some(at) => (&rest[..at], end + at + 1),
            // A line without an end was being written.
            None => break,
        };
        let entry = text.split_at_checked(SUM + 1).and_then(|(sum, json)| {
            let hash = blake3::hash(json).to_hex();
            let whole = sum[SUM] == b' ' && hash.as_bytes()[..SUM] == sum[..SUM];
            whole.then_some(json)
        });
        let Some(json) = entry else {
            if bytes[next..].contains(&b'\n') {
                return Err(torn("its checksum differs"));
            }
            break;
        };
        if *lines == 0 {
            let head: Result<Line, _> = serde_json::from_slice(json);
            let format = serde_json::from_slice::<serde_json::Value>(json).ok().and_then(|v| v["format"].as_u64());
            match (head, format) {
                (_, Some(format)) if format > u64::from(FORMAT) => {
                    let format = u32::try_from(format).unwrap_or(u32::MAX);
                    return Err(StoreError::Newer { path: path.to_owned(), format, newest: FORMAT });
                }
                (Ok(Line::Head { .. }), _) => {}
                _ => return Err(torn("the first line is no head")),
            }
        }
        let entry: Line = serde_json::from_slice(json).map_err(|e| torn(&e.to_string()))?;
        state.apply(entry);
        (end, *lines) = (next, *lines + 1);
    }
    Ok(end)
}

/// Names what a newer build wrote: neither its rows nor what follows from them are for this one.
fn newer(path: &Path, state: &State) -> Result<(), StoreError> {
    let data = path.ancestors().nth(2).unwrap_or(path);
    for file in state.parts.values().flat_map(|p| &p.files).filter(|f| f.format > 1) {
        let newest = names::table_of(&file.path).map_or(0, |(table, _)| table.format());
        if file.format > newest {
            return Err(StoreError::Newer { path: data.join(&file.path), format: file.format, newest });
        }
    }
    if let Some(issued) = state.issued.values().flat_map(BTreeMap::values).find(|i| i.format > cert::FORMAT) {
        let path = cert::folder(data, &issued.subject).join(cert::file_name(issued.day, issued.revision));
        return Err(StoreError::Newer { path, format: issued.format, newest: cert::FORMAT });
    }
    Ok(())
}
