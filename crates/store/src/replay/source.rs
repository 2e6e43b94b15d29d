//! Rows of one topic and table, part after part, a row group at a time; with a thread, one group ahead.
//!
//! Files may be replaced while they are read: an open one is read on as it was, and where one that was listed is gone the manifest
//! is read again and the rows that were given already are passed over.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use wholetape_model::{Record, Ts};
use wholetape_tape::Disk;

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::{Part, State};
use crate::rows::Rows;
use crate::scan::{PartReader, may_have_been_replaced};

/// How often a source looks for files that are gone, before it can read on.
const LOOKS_MAX: u32 = 5;

/// What one source reads.
#[derive(Clone)]
pub(super) struct Wanted {
    pub disk: Arc<dyn Disk>,
    pub data: PathBuf,
    pub topic: String,
    pub table: String,
    /// `ts_init`, both ends inclusive.
    pub from: i64,
    pub to: i64,
}

impl Wanted {
    fn parts(&self, state: &State) -> VecDeque<Part> {
        let of = |p: &&Part| p.table == self.table && p.to >= self.from && p.from <= self.to;
        let mut parts: Vec<Part> = state.parts.of_topic(&self.topic).filter(of).cloned().collect();
        parts.sort_unstable_by_key(|p| p.from);
        parts.into()
    }
}

/// The reading side: knows files, not rows in memory.
struct Feed {
    wanted: Wanted,
    parts: VecDeque<Part>,
    open: Option<PartReader>,
    /// The last row given.
    given: Option<(i64, u64)>,
    /// Files were looked for again: rows up to `given` come once more.
    again: bool,
    looks: u32,
}

impl Feed {
    /// Puts the next rows into `rows`, and says which of them are wanted. `None` at the end.
    fn next(&mut self, rows: &mut Rows) -> Result<Option<(usize, usize)>, StoreError> {
        loop {
            match self.group(rows) {
                Ok(false) => return Ok(None),
                Ok(true) => {
                    self.looks = 0;
                    let wanted = self.cut(rows);
                    if wanted.0 < wanted.1 {
                        self.again = false;
                        self.given = Some(rows.key(wanted.1 - 1));
                        return Ok(Some(wanted));
                    }
                }
                Err(e) if may_have_been_replaced(&e) && self.looks < LOOKS_MAX => {
                    self.looks += 1;
                    self.open = None;
                    self.again = true;
                    let state = Catalog::look(&*self.wanted.disk, &self.wanted.data)?;
                    let given = self.given.map_or(i64::MIN, |g| g.0);
                    self.parts = self.wanted.parts(&state);
                    self.parts.retain(|p| p.to >= given);
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn group(&mut self, rows: &mut Rows) -> Result<bool, StoreError> {
        loop {
            if let Some(open) = &mut self.open {
                if open.next(rows)? {
                    return Ok(true);
                }
                self.open = None;
                self.parts.pop_front();
            }
            let Some(part) = self.parts.front() else { return Ok(false) };
            let mut reader = PartReader::find(&*self.wanted.disk, &self.wanted.data, part)?;
            reader.skip_to(Ts(self.wanted.from.max(self.given.map_or(i64::MIN, |g| g.0))));
            self.open = Some(reader);
        }
    }

    fn cut(&self, rows: &Rows) -> (usize, usize) {
        let first = |beyond: &dyn Fn((i64, u64)) -> bool| {
            let (mut lo, mut hi) = (0, rows.len());
            while lo < hi {
                let mid = (lo + hi) / 2;
                if beyond(rows.key(mid)) { hi = mid } else { lo = mid + 1 }
            }
            lo
        };
        // Without a seq several rows may have one key.
        let (from, to, given) = (self.wanted.from, self.wanted.to, self.given.filter(|_| self.again));
        let lo = first(&|key| key.0 >= from && given.is_none_or(|g| key > g));
        (lo, first(&|key| key.0 > to).max(lo))
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that reads ahead.
pub(super) struct Ahead {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// `None` where no thread can be had: then nothing is read ahead.
    pub fn start() -> Option<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("replay-ahead".into()).spawn(move || {
            for job in todo {
                job();
            }
        });
        Some(Self { jobs: Some(jobs), thread: Some(thread.ok()?) })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What came of reading ahead: everything that it needed, and its outcome.
struct Come {
    feed: Box<Feed>,
    rows: Rows,
    got: Result<Option<(usize, usize)>, StoreError>,
}

/// See the module.
pub(super) struct Source {
    pub topic: u32,
    rows: Rows,
    at: usize,
    end: usize,
    /// Here, or with the thread.
    feed: Option<(Box<Feed>, Rows)>,
    coming: Option<mpsc::Receiver<Come>>,
}

impl Source {
    pub fn new(topic: u32, wanted: Wanted, state: &State) -> Self {
        let parts = wanted.parts(state);
        let feed = Box::new(Feed { wanted, parts, open: None, given: None, again: false, looks: 0 });
        Self { topic, rows: Rows::default(), at: 0, end: 0, feed: Some((feed, Rows::default())), coming: None }
    }

    /// The row that it stands at. There must be one.
    pub fn key(&self) -> (i64, u64) {
        self.rows.key(self.at)
    }

    pub fn row(&self) -> (Ts, Record<'_>) {
        self.rows.get(self.at)
    }

    /// Goes to the next row; false at the end.
    pub fn step(&mut self, ahead: Option<&Ahead>) -> Result<bool, StoreError> {
        self.at += 1;
        if self.at < self.end { Ok(true) } else { self.refill(ahead) }
    }

    /// Goes to the first row of the next group.
    pub fn refill(&mut self, ahead: Option<&Ahead>) -> Result<bool, StoreError> {
        let (feed, rows, got) = match (self.coming.take(), self.feed.take()) {
            (Some(coming), _) => {
                // The thread ends only with the merge, or in a panic.
                let Ok(come) = coming.recv() else { return Err(StoreError::Ahead) };
                (come.feed, come.rows, come.got)
            }
            (None, Some((mut feed, mut rows))) => {
                let got = feed.next(&mut rows);
                (feed, rows, got)
            }
            (None, None) => return Ok(false),
        };
        let Some((at, end)) = got? else { return Ok(false) };
        let spare = std::mem::replace(&mut self.rows, rows);
        (self.at, self.end) = (at, end);
        match ahead.and_then(|a| a.jobs.as_ref()) {
            Some(jobs) => {
                let (tx, rx) = mpsc::channel();
                let (mut feed, mut rows) = (feed, spare);
                let job = Box::new(move || {
                    let got = feed.next(&mut rows);
                    // Nobody waits any more when the merge was dropped.
                    let _ = tx.send(Come { feed, rows, got });
                });
                if jobs.send(job).is_err() {
                    return Err(StoreError::Ahead);
                }
                self.coming = Some(rx);
            }
            None => self.feed = Some((feed, spare)),
        }
        Ok(true)
    }
}
