//! One writer: rows are gathered into a batch, a batch is one write, then readers see it.
//!
//! Invariants:
//! - A seq that a reader has seen is in the file, and `head` never runs ahead of the file.
//! - The bytes behind the last good batch are never left half written: a failed write is cut back before anything else.
//! - What stays from call to call is in [`LaneCore`], which goes back to the lane when the [`Lane`] is dropped, so a line
//!   that restarts goes on exactly where the last commit ended.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use wholetape_model::{Body, BookAction, Record, Row, Topic};

use crate::block::Block;
use crate::chunks::ChunkQueue;
use crate::disk::DiskFile;
use crate::error::TapeError;
use crate::format::{self, TableRow};
use crate::lock;
use crate::owed::Debt;
use crate::segment::{Directory, Segment};
use crate::tape::{Handle, Inner};
use crate::topic::TopicShared;
use crate::wake::Watch;

/// Segments per lane whose directories and files stay open.
const WARM_MAX: usize = 16;

/// A topic's number in its lane. Only the lane that gave it understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicNo(pub(crate) u32);

/// What all threads share about one lane.
#[derive(Debug)]
pub(crate) struct LaneShared {
    pub name: String,
    pub ix: usize,
    pub dir: PathBuf,
    /// Oldest first; the last one may be the one that is written.
    pub segments: RwLock<Vec<Arc<Segment>>>,
    /// The writer's state while nobody writes.
    pub idle: Mutex<Option<Box<LaneCore>>>,
    /// Topics that are, or were, of this lane, by number.
    pub topics: RwLock<Vec<Option<Arc<TopicShared>>>>,
    /// A segment file was made and its name is not yet durable.
    pub dir_dirty: AtomicBool,
    /// Records and bytes written, and how many of them are on the disk.
    pub written: AtomicU64,
    pub written_bytes: AtomicU64,
    pub synced: AtomicU64,
    pub synced_bytes: AtomicU64,
    /// Batches that readers see, and how many of them the last sync knew of: one that was written and not yet seen when a sync
    /// looked for heads has its bytes on the disk and its heads unnoted, until the next.
    pub published: AtomicU64,
    pub noted: AtomicU64,
    /// What the sync under way, or the last one, covers: beyond it is the next group.
    pub syncing_bytes: AtomicU64,
    /// Where the next open reads how far the lane is on the disk (`known.rs`).
    pub synced_note: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Sealed segments whose last bytes await fsync.
    pub to_sync: Mutex<Vec<Arc<Segment>>>,
    /// Marks that the tape wants written, by the topic they are for.
    pub wanted: Mutex<Vec<Wanted>>,
    pub wants: AtomicBool,
    /// Segments whose directories are in memory, for reuse.
    pub warm: Mutex<VecDeque<u64>>,
    pub batches: AtomicU64,
    pub memory: AtomicU64,
}

/// A mark that a removed segment leaves behind.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub topic: Arc<TopicShared>,
    pub from: u64,
    pub to: u64,
    pub from_ts: i64,
    pub to_ts: i64,
    pub why: &'static str,
    /// The segment's, until this and its other marks are on the disk.
    pub debt: Option<Arc<Debt>>,
    /// The mark's own, once it is in a batch.
    pub seq: u64,
}

#[derive(Debug)]
pub(crate) struct LaneTopic {
    pub shared: Arc<TopicShared>,
    pub generation: u32,
    pub start: u64,
    /// The newest seq given, committed or not.
    pub head: u64,
    pub committed: u64,
    pub last_ts: i64,
    pub committed_ts: i64,
    pub book_start: u64,
    pub committed_book: u64,
    /// Its control record is in the file.
    pub logged: bool,
    /// This writer has taken it into use.
    pub in_use: bool,
    /// In the current batch: how many records, where the next goes, seq of a mark with a span.
    pub count: u32,
    pub cursor: u32,
    /// First ts in this segment; 0 = no record in it yet.
    pub segment_first_ts: i64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub no: u32,
    pub at: u32,
    pub special: Special,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    Mark,
    BookStart,
    /// A mark that covers more than one seq.
    Span(u32),
}

/// The writer's own state.
#[derive(Debug, Default)]
pub(crate) struct LaneCore {
    pub buf: Vec<u8>,
    pub entries: Vec<Entry>,
    pub touched: Vec<u32>,
    pub topics: Vec<LaneTopic>,
    pub by_name: HashMap<Topic, u32>,
    pub segment: Option<Arc<Segment>>,
    pub next_number: u64,
    /// What was written when the last segment was sealed.
    pub sealed_bytes: u64,
    /// A failed write may have left bytes behind `offset`.
    pub tail_dirty: bool,
    /// Where the next batch goes.
    pub offset: u64,
    /// Records in the segment.
    pub segment_records: u64,
    pub blocks: ChunkQueue<(Arc<Block>, Vec<u32>)>,
    pub blocks_bytes: u64,
    /// The batch registers a topic, so it is served only when it is on the disk.
    pub registers: bool,
    pub sleepers: Vec<Arc<Watch>>,
    /// Topics in use only for the marks in the batch.
    pub visited: Vec<u32>,
    /// Marks in the batch that the tape owes: an abort must not forget them.
    pub owed: Vec<Wanted>,
}

/// The writer of one lane. Dropping it frees the lane; what was not committed is gone, as with [`Lane::abort`].
#[derive(Debug)]
pub struct Lane {
    pub(crate) tape: Arc<Inner>,
    pub(crate) shared: Arc<LaneShared>,
    pub(crate) core: Box<LaneCore>,
    /// Keeps the sync thread alive; the tape's own short visits have none.
    _alive: Option<Arc<Handle>>,
}

impl LaneShared {
    pub fn new(name: String, ix: usize, dir: PathBuf) -> Self {
        Self {
            name,
            ix,
            dir,
            segments: RwLock::default(),
            idle: Mutex::new(None),
            topics: RwLock::default(),
            dir_dirty: AtomicBool::new(false),
            written: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            published: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            syncing_bytes: AtomicU64::new(0),
            synced_note: Mutex::default(),
            to_sync: Mutex::default(),
            wanted: Mutex::default(),
            wants: AtomicBool::new(false),
            warm: Mutex::default(),
            batches: AtomicU64::new(0),
            memory: AtomicU64::new(0),
        }
    }

    pub fn set_topic(&self, no: u32, topic: &Arc<TopicShared>) {
        let mut topics = crate::write(&self.topics);
        if topics.len() <= no as usize {
            topics.resize(no as usize + 1, None);
        }
        topics[no as usize] = Some(topic.clone());
    }

    /// Remembers that a segment's directory is in memory, and forgets those that were so longest.
    pub fn warmed(&self, number: u64) {
        let mut warm = lock(&self.warm);
        if warm.back() == Some(&number) {
            return;
        }
        warm.retain(|n| *n != number);
        warm.push_back(number);
        if warm.len() > WARM_MAX
            && let Some(cold) = warm.pop_front()
        {
            drop(warm);
            if let Some(segment) = crate::read(&self.segments).iter().find(|s| s.number == cold) {
                segment.cool();
            }
        }
    }

    /// The directory of a segment; its predecessors tell the topics when its header is gone.
    pub fn directory(&self, segment: &Segment) -> std::io::Result<Arc<Directory>> {
        let directory = segment.directory(|| self.table_before(segment))?;
        self.warmed(segment.number);
        Ok(directory)
    }

    /// The lane's topics before `segment`, as the one before it tells them.
    pub fn table_before(&self, segment: &Segment) -> Vec<TableRow> {
        let list = crate::read(&self.segments).clone();
        let previous = list.iter().rev().find(|s| s.number < segment.number);
        previous.and_then(|s| self.directory(s).ok()).map_or_else(Vec::new, |d| d.table.clone())
    }
}

impl Lane {
    /// The lane's writer, unless somebody has it.
    pub(crate) fn take(tape: &Arc<Inner>, shared: &Arc<LaneShared>, alive: Option<Arc<Handle>>) -> Option<Self> {
        let core = lock(&shared.idle).take()?;
        let mut lane = Self { tape: tape.clone(), shared: shared.clone(), core, _alive: alive };
        lane.abort();
        Some(lane)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Takes a topic for this lane, and gives its number here: the same number again while the lane keeps it.
    ///
    /// A topic that another lane owned is handed over, unless that lane has a writer which took the topic and did not
    /// [`release`](Lane::release) it. The control record of the hand-over names the topic's last seq; the batch that
    /// holds it is served only when it is on the disk, so no power loss can make the topic start anew.
    ///
    /// # Errors
    /// [`TapeError::Owned`]; [`TapeError::SyncFailed`] when what the former lane wrote cannot be made durable.
    pub fn topic(&mut self, topic: &Topic) -> Result<TopicNo, TapeError> {
        if let Some(no) = self.core.by_name.get(topic).copied() {
            let t = &mut self.core.topics[no as usize];
            t.in_use = t.in_use || self.tape.resume(&t.shared, &self.shared, no);
            if t.in_use {
                return Ok(TopicNo(no));
            }
        }
        let no = self.core.topics.len() as u32;
        let shared = self.tape.claim(topic, &self.shared, no)?;
        let (head, generation) = (shared.head(), lock(&shared.core).places.last().map_or(0, |p| p.generation));
        let (last_ts, book) = (shared.last_ts.load(Ordering::Relaxed), shared.book_start.load(Ordering::Relaxed));
        self.core.topics.push(LaneTopic {
            shared,
            generation,
            start: head,
            head,
            committed: head,
            last_ts,
            committed_ts: last_ts,
            book_start: book,
            committed_book: book,
            logged: false,
            in_use: true,
            count: 0,
            cursor: 0,
            segment_first_ts: 0,
        });
        self.core.by_name.insert(topic.clone(), no);
        self.put_registration(no);
        Ok(TopicNo(no))
    }

    /// Lets another lane take the topic while this one goes on writing others. Commits first.
    ///
    /// # Errors
    /// As [`Lane::commit`].
    pub fn release(&mut self, topic: TopicNo) -> Result<(), TapeError> {
        self.commit()?;
        let t = self.core.topics.get_mut(topic.0 as usize).ok_or(TapeError::TopicNo(topic.0))?;
        t.let_go();
        Ok(())
    }

    pub(crate) fn put_registration(&mut self, no: u32) {
        let t = &self.core.topics[no as usize];
        let row = t.row(no);
        format::put_topic_record(&row, self.tape.wall(), &mut self.core.buf);
        self.core.registers = true;
    }

    /// Adds a row to the batch and returns its seq, which is final once the batch is committed.
    ///
    /// A batch that reaches `batch_bytes_max` is written at once, as by [`Lane::commit`].
    ///
    /// # Errors
    /// [`TapeError::TopicNo`], [`TapeError::TooLarge`]: the batch is as it was. Those of [`Lane::commit`] when a full
    /// batch could not be written: then this row was **not** added.
    pub fn append(&mut self, topic: TopicNo, row: &Row<'_>) -> Result<u64, TapeError> {
        if self.core.buf.len() >= self.tape.config.batch_bytes_max
            || (self.core.entries.is_empty() && self.shared.wants.load(Ordering::Relaxed))
        {
            self.commit()?;
        }
        if !self.core.topics.get(topic.0 as usize).is_some_and(|t| t.in_use) {
            return Err(TapeError::TopicNo(topic.0));
        }
        self.put(topic, row, 1)
    }

    /// As [`Lane::append`], for a record that was read from elsewhere (replay): its body is copied, not read. It takes the
    /// next seq of its topic here.
    ///
    /// # Errors
    /// As [`Lane::append`].
    pub fn append_record(&mut self, topic: TopicNo, record: Record<'_>) -> Result<u64, TapeError> {
        if self.core.buf.len() >= self.tape.config.batch_bytes_max
            || (self.core.entries.is_empty() && self.shared.wants.load(Ordering::Relaxed))
        {
            self.commit()?;
        }
        let core = &mut *self.core;
        let t = core.topics.get_mut(topic.0 as usize).filter(|t| t.in_use).ok_or(TapeError::TopicNo(topic.0))?;
        let special = match () {
            () if record.is_book_start() => Special::BookStart,
            () if record.is_mark() => Special::Mark,
            () => Special::None,
        };
        let seq = t.head + 1;
        let at = core.buf.len() as u32;
        wholetape_model::record::copy(&record, topic.0, seq, 1, &mut core.buf);
        if t.count == 0 {
            core.touched.push(topic.0);
        }
        t.count += 1;
        t.head = seq;
        t.last_ts = t.last_ts.max(record.ts_recv().0);
        if special == Special::BookStart {
            t.book_start = seq;
        }
        core.entries.push(Entry { no: topic.0, at, special });
        Ok(seq)
    }

    pub(crate) fn put(&mut self, topic: TopicNo, row: &Row<'_>, span: u32) -> Result<u64, TapeError> {
        let core = &mut *self.core;
        let t = core.topics.get_mut(topic.0 as usize).ok_or(TapeError::TopicNo(topic.0))?;
        let special = match &row.body {
            _ if span > 1 => Special::Span(span),
            Body::Book(b) if !matches!(b.action, BookAction::Delta) => Special::BookStart,
            body if body.is_mark() => Special::Mark,
            _ => Special::None,
        };
        if body_bytes(row) > wholetape_model::record::LEN_MAX - 4096 {
            return Err(TapeError::TooLarge { topic: t.shared.topic.clone() });
        }
        let seq = t.head + u64::from(span);
        let at = core.buf.len() as u32;
        wholetape_model::record::encode(row, topic.0, seq, span, &mut core.buf);
        if t.count == 0 {
            core.touched.push(topic.0);
        }
        t.count += 1;
        t.head = seq;
        t.last_ts = t.last_ts.max(row.ts_recv.0);
        if special == Special::BookStart {
            t.book_start = seq;
        }
        core.entries.push(Entry { no: topic.0, at, special });
        Ok(seq)
    }

    /// Drops the batch. Its seqs were seen by nobody and are given again to the next rows.
    pub fn abort(&mut self) {
        let core = &mut *self.core;
        core.buf.clear();
        core.entries.clear();
        for no in core.touched.drain(..) {
            let t = &mut core.topics[no as usize];
            t.count = 0;
            t.head = t.committed;
            t.last_ts = t.committed_ts;
            t.book_start = t.committed_book;
        }
        core.registers = false;
        for no in core.visited.drain(..) {
            core.topics[no as usize].let_go();
        }
        if !core.owed.is_empty() {
            lock(&self.shared.wanted).append(&mut core.owed);
            self.shared.wants.store(true, Ordering::Release);
        }
        // Topics stay ours: their control records belong to the next batch.
        for no in 0..self.core.topics.len() as u32 {
            let t = &self.core.topics[no as usize];
            if !t.logged && t.shared.is_at(self.shared.ix, no) {
                self.put_registration(no);
            }
        }
    }

    /// The newest seq given to the topic, whether committed or not.
    ///
    /// # Panics
    /// When the number is of another lane.
    #[must_use]
    pub fn head(&self, topic: TopicNo) -> u64 {
        self.core.topics[topic.0 as usize].head
    }

    /// The number of the segment that is written. When it changes, books append checkpoints.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.core.segment.as_ref().map_or(0, |s| s.number)
    }

    /// Rows in the batch.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.core.entries.len()
    }
}

impl LaneTopic {
    /// Another lane may take it.
    pub fn let_go(&mut self) {
        if std::mem::take(&mut self.in_use) {
            self.shared.in_use.store(false, Ordering::Release);
        }
    }

    /// The topic as headers name it: as committed.
    pub fn row(&self, no: u32) -> TableRow {
        TableRow {
            no,
            generation: self.generation,
            start: self.start,
            last_seq: self.committed,
            last_ts: self.committed_ts,
            book_start: self.committed_book,
            name: self.shared.topic.as_str().to_owned(),
        }
    }
}

/// An upper bound of what a row's variable parts take in a record.
fn body_bytes(row: &Row<'_>) -> usize {
    match &row.body {
        Body::Book(b) => (b.bids.len() + b.asks.len()) * 16,
        Body::Instrument(i) => i.symbol.len() + i.base.len() + i.quote.len() + i.settle.len() + i.status_text.len(),
        Body::Status(s) => s.text.len(),
        Body::Link(l) => l.endpoint.len() + l.correlation.len() + l.why.len(),
        Body::Gap(g) => g.why.len(),
        Body::Validity(v) => v.why.len(),
        Body::Finding(f) => f.why.len(),
        Body::Coverage(c) => c.of.len() + c.hours.len(),
        Body::Raw(r) => r.channel.len() + r.text.len(),
        Body::Alert(a) => a.code.len() + a.text.len(),
        Body::Publication(p) => [p.principal, p.mid, p.event, p.cid, p.data].iter().map(|t| t.len()).sum(),
        _ => 0,
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.abort();
        let mut core = std::mem::take(&mut self.core);
        core.sleepers.clear();
        core.topics.iter_mut().for_each(LaneTopic::let_go);
        *lock(&self.shared.idle) = Some(core);
    }
}
