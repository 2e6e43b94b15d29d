//! A topic's records in the order of arrival, over all of its tables.
//!
//! Parts are in the corrected order, in which late rows stand among those of their time. So it goes on in windows of seqs: the groups
//! that have rows of the window are decoded, and rows of later windows are kept with them, up to a bound (`pending.rs`). Which groups
//! have some is told by the manifest for parts, by statistics for groups, and where it begins in the midst of a group, by the
//! `seq` column alone.
//!
//! Invariants: seqs ascend; every seq behind `at` and up to `until` is told once, by a record that covers it or by `Missed`; an error
//! comes before anything is given, so that nothing is lost with it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use wholetape_model::Topic;
use wholetape_tape::history::{HistoryError, PastBatch, PastReader};

use super::pending::{Origin, Pending};
use super::{BATCH_BYTES, BATCH_RECORDS, Files, Stock, persist};
use crate::StoreError;
use crate::manifest::Part;
use crate::rows::Rows;
use crate::scan::PartReader;
use crate::seqs::Seqs;

/// Seqs that a window has, unless one record covers more.
const WINDOW: u64 = 1 << 16;

/// What reading cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Groups decoded, each as often as it was.
    pub decoded: u64,
    /// Groups of which only the seqs were read.
    pub learnt: u64,
    /// Bytes of all buffers at their highest.
    pub bytes_max: usize,
    /// How often the manifest was read again since files were gone.
    pub looks: u64,
}

/// A part: not looked into yet, or what is known of its groups; open while it is near.
struct Shelf {
    part: Part,
    /// Of each group the lowest seq that may be in it and was not taken from it. Empty: not looked into.
    groups: Vec<u64>,
    open: Option<PartReader>,
}

impl Shelf {
    const fn new(part: Part) -> Self {
        Self { part, groups: Vec::new(), open: None }
    }

    /// The lowest seq behind `at` that may still have to be taken from it.
    fn next(&self, at: u64) -> u64 {
        let told = || self.part.seqs.next_from(at + 1).unwrap_or(u64::MAX);
        self.groups.iter().copied().min().unwrap_or_else(told)
    }

    fn open(&mut self, files: &Files, at: u64) -> Result<(), StoreError> {
        if self.open.is_some() {
            return Ok(());
        }
        let reader = PartReader::find(&*files.disk, &files.data, &self.part)?;
        if self.groups.is_empty() {
            let next = |group| match reader.ends(group, "seq") {
                Some((_, hi)) if hi.cast_unsigned() <= at => u64::MAX,
                Some((lo, _)) => lo.cast_unsigned(),
                None => 0,
            };
            self.groups = (0..reader.groups()).map(next).collect();
        }
        self.open = Some(reader);
        Ok(())
    }

    /// The lowest seq behind `at` that is to be taken from a group. What the statistics do not tell is read: true then.
    fn learn(&mut self, group: usize, at: u64) -> Result<bool, StoreError> {
        let Some(open) = self.open.as_ref().filter(|_| self.groups[group] <= at) else { return Ok(false) };
        let batch = open.columns(group, &["seq"])?;
        let seqs = batch.column_by_name("seq").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let wrong = || StoreError::Column { table: open.table().as_str(), column: "seq".into(), what: "missing" };
        let behind = seqs.ok_or_else(wrong)?.values().iter().copied().filter(|seq| *seq > at);
        self.groups[group] = behind.min().unwrap_or(u64::MAX);
        Ok(true)
    }
}

/// See the module.
pub struct BySeq {
    files: Arc<Files>,
    topic: String,
    /// Told up to here.
    at: u64,
    until: u64,
    held: Seqs,
    shelves: Vec<Shelf>,
    /// Rows of no higher seq than this are all in `pending`, or were given.
    ready: u64,
    pending: Pending,
    /// Rows from this seq on were too many: they are left in their groups for later.
    bound: u64,
    rows: Rows,
    pub effort: Effort,
}

impl BySeq {
    pub(super) fn open(files: Arc<Files>, topic: &Topic, after: u64, memory: usize) -> Result<Self, StoreError> {
        let stock = files.stock(topic.as_str())?;
        let until = stock.held().map_or(0, |held| held.stored);
        let mut this = Self {
            files,
            topic: topic.as_str().to_owned(),
            at: after,
            until,
            held: Seqs::default(),
            shelves: Vec::new(),
            ready: after,
            pending: Pending::new(memory),
            bound: u64::MAX,
            rows: Rows::default(),
            effort: Effort::default(),
        };
        this.begin(stock);
        Ok(this)
    }

    /// Puts what follows into `batch`, which it clears first. False at the end.
    ///
    /// # Errors
    /// A file that cannot be read, or that lacks a record which the manifest says it has.
    pub fn read(&mut self, batch: &mut PastBatch) -> Result<bool, StoreError> {
        batch.clear();
        while self.at < self.until && batch.len() < BATCH_RECORDS && batch.bytes() < BATCH_BYTES {
            let next = self.held.next_from(self.at + 1).unwrap_or(u64::MAX).min(self.until + 1);
            if next > self.at + 1 {
                batch.push_missed(self.at + 1, next - 1);
                self.at = next - 1;
                continue;
            }
            match self.pending.first().filter(|(_, record)| record.seq() <= self.ready) {
                Some((ts_init, record)) if record.prev() <= self.at => {
                    batch.push(ts_init, record);
                    self.at = record.seq();
                    self.pending.remove_first();
                }
                _ if !batch.is_empty() => break,
                Some(_) => return Err(self.lacking()),
                None => persist(self, Self::look, Self::fill)?,
            }
        }
        Ok(!batch.is_empty())
    }

    /// The manifest says that a part has the next seq, and it has not.
    fn lacking(&self) -> StoreError {
        let seq = self.at + 1;
        let of = self.shelves.iter().find(|s| s.part.seqs.has(seq)).and_then(|s| s.part.files.first());
        let path = of.map_or_else(|| self.files.data.clone(), |f| self.files.data.join(&f.path));
        StoreError::Changed { path, why: format!("{}: it has no record for seq {seq}", self.topic) }
    }

    fn begin(&mut self, stock: Stock) {
        self.held = stock.held;
        let wanted = |p: &Part| p.seqs.ends().is_some_and(|(lo, hi)| hi > self.at && lo <= self.until);
        self.shelves = stock.parts.into_iter().filter(wanted).map(Shelf::new).collect();
        self.pending.clear();
        self.ready = self.at;
    }

    /// Begins anew behind what was given, with the files that there are now.
    fn look(&mut self) -> Result<(), StoreError> {
        self.effort.looks += 1;
        let stock = self.files.stock(&self.topic)?;
        self.until = self.until.min(stock.stored);
        self.begin(stock);
        Ok(())
    }

    /// Brings the rows of the next window together.
    fn fill(&mut self) -> Result<(), StoreError> {
        let mut window = WINDOW;
        loop {
            let end = self.until.min(self.at.saturating_add(window));
            let ready = self.gather(end)?;
            if self.pending.first().is_some_and(|(_, record)| record.seq() <= ready) {
                self.ready = ready;
                // What comes much later is opened again then.
                let near = ready.saturating_add(WINDOW);
                for shelf in self.shelves.iter_mut().filter(|s| s.open.is_some() && s.next(ready) > near) {
                    shelf.open = None;
                }
                return Ok(());
            }
            if end == self.until {
                return Err(self.lacking());
            }
            // One record covers all of it.
            window *= 2;
        }
    }

    /// Decodes all groups that have rows up to `end`. Returns up to where all are there: less where there are too many.
    fn gather(&mut self, end: u64) -> Result<u64, StoreError> {
        self.bound = u64::MAX;
        for no in 0..self.shelves.len() {
            let end = |this: &Self| end.min(this.bound - 1);
            if self.shelves[no].next(self.at) > end(self) {
                continue;
            }
            self.shelves[no].open(&self.files, self.at)?;
            for group in 0..self.shelves[no].groups.len() {
                self.effort.learnt += u64::from(self.shelves[no].learn(group, self.at)?);
                if self.shelves[no].groups[group] <= end(self) {
                    self.decode(no, group)?;
                }
            }
        }
        Ok(end.min(self.bound - 1))
    }

    /// Takes a group's rows, but for those that it gave before and those from the bound on.
    fn decode(&mut self, no: usize, group: usize) -> Result<(), StoreError> {
        let Self { shelves, rows, pending, bound, effort, until, .. } = self;
        let Some(open) = &shelves[no].open else { return Ok(()) };
        open.group(group, rows)?;
        effort.decoded += 1;
        let from = std::mem::replace(&mut shelves[no].groups[group], u64::MAX);
        let mut leave = |(no, group): Origin, seq: u64| {
            let next = &mut shelves[no].groups[group];
            *next = seq.min(*next);
        };
        for (ts_init, record) in rows.iter().filter(|(_, r)| (from..=*until).contains(&r.seq())) {
            if record.seq() >= *bound {
                leave((no, group), record.seq());
            } else if let Some(seq) = pending.add(ts_init, &record, (no, group), &mut leave) {
                *bound = seq;
            }
            effort.bytes_max = effort.bytes_max.max(pending.bytes() + rows.bytes());
        }
        Ok(())
    }
}

impl PastReader for BySeq {
    fn next(&mut self, batch: &mut PastBatch) -> Result<bool, HistoryError> {
        Ok(self.read(batch)?)
    }
}
