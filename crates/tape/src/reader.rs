//! A cursor `(topic, seq)`: the newest records from shared memory, older ones from the files, everything else a receipt.
//!
//! Invariant: `position` only grows, and each step from one position to the next is either a record that covers it or a
//! [`Delivery::Missed`] that names it. Policies (`policy.rs` of this folder) move the position the same way.

mod disk;
mod policy;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use wholetape_model::{Class, Record, Topic, Ts};

use crate::block::{Run, Shared};
use crate::error::TapeError;
use crate::lock;
use crate::tape::Inner;
use crate::topic::TopicShared;
use crate::wake::{WakeSet, Watch, block_until};

pub(crate) use disk::read_upto;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Behind the newest record.
    Live,
    /// At the oldest record held, without a receipt for what was before.
    Earliest,
    /// With the last n records.
    Last(u64),
    /// Behind this seq (exclusive).
    Seq(u64),
    /// With the first record received at this time or later.
    Time(Ts),
}

/// What happens to a reader that is more than `lag` seqs behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Nothing: it reads on at its own pace, from the files if need be.
    #[default]
    CatchUp,
    /// State kinds jump to the newest state: the newest snapshot or checkpoint of a book, the newest record of others.
    /// Marks on the way are delivered. Other kinds, and a book without a newer snapshot, catch up.
    Conflate,
    /// The oldest go, so that `lag` remain.
    DropOldest,
    /// As `DropOldest`, but `lag` is what all members of the reader's [`WakeSet`] may be behind together, and those of
    /// the lowest class drop first. Critical topics never drop.
    DropLowest,
    /// The reader ends with [`Delivery::Disconnected`]; its position stays, so it can be resumed.
    Disconnect,
    /// The writer waits. Only on tapes opened with `allow_block`.
    Block,
}

#[derive(Debug, Clone, Copy)]
pub struct ReaderOptions {
    pub policy: Policy,
    /// Seqs that it may be behind before the policy acts.
    pub lag: u64,
    /// The class it counts as; `None` = the topic's.
    pub class: Option<Class>,
    /// Check checksums of records in memory too; those from disk always are.
    pub verify: bool,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { policy: Policy::CatchUp, lag: 10_000, class: None, verify: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MissedWhy {
    /// Removed by retention, or with a mark `lost(disk)`.
    Retention,
    /// Damaged on disk.
    Corrupt,
    /// The reader was too slow for its policy.
    Slow,
    /// Jumped over by the policy `Conflate`.
    Conflated,
}

impl MissedWhy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Corrupt => "corrupt",
            Self::Slow => "slow",
            Self::Conflated => "conflated",
        }
    }
}

#[derive(Debug, Clone)]
pub enum Delivery {
    /// A record. It covers `(prev, seq]`; `prev` may lie before the reader's last position after a power loss.
    Record(Shared),
    /// Seqs `from..=to` are not delivered.
    Missed { from: u64, to: u64, why: MissedWhy },
    /// Policy `Disconnect`: the last delivery. Nothing was skipped; resume at `position`.
    Disconnected { position: u64, head: u64 },
}

impl Delivery {
    #[must_use]
    pub fn record(&self) -> Option<Record<'_>> {
        match self {
            Self::Record(r) => Some(r.record()),
            _ => None,
        }
    }
}

/// One consumer of one topic.
#[derive(Debug)]
pub struct Reader {
    inner: Arc<Inner>,
    topic: Arc<TopicShared>,
    watch: Arc<Watch>,
    position: u64,
    verify: bool,
    ended: bool,
    runs: Vec<Run>,
    cursor: Option<disk::DiskCursor>,
    /// The last read from disk failed in a way that may pass.
    stuck: bool,
}

impl Reader {
    pub(crate) fn open(inner: &Arc<Inner>, topic: &Topic, from: From, o: ReaderOptions) -> Result<Self, TapeError> {
        if o.policy == Policy::Block && !inner.config.allow_block {
            return Err(TapeError::BlockRefused(topic.clone()));
        }
        let shared = inner.topic_shared(topic);
        let position = inner.locate(&shared, from)?;
        let watch = Arc::new(Watch {
            class: o.class.unwrap_or(topic.class()),
            policy: o.policy,
            lag: o.lag,
            position: AtomicU64::new(position),
            processed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            woken: AtomicU64::new(0),
            waker: Mutex::new(None),
            set: Mutex::new(None),
            topic: shared.clone(),
        });
        inner.watch(&watch);
        if o.policy == Policy::Block {
            lock(&shared.core).blockers.push(watch.clone());
        }
        Ok(Self {
            inner: inner.clone(),
            topic: shared,
            watch,
            position,
            verify: o.verify,
            ended: false,
            runs: Vec::new(),
            cursor: None,
            stuck: false,
        })
    }

    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic.topic
    }

    /// Everything up to here was delivered or named as missed. With it, `From::Seq` goes on where this reader stands.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The topic's newest seq.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.topic.head()
    }

    /// Waits until everything that this reader delivered is on the disk, so that no power loss takes back what the caller makes
    /// of it; asks for the sync at once. False when `timeout` passed first.
    ///
    /// # Errors
    /// [`crate::TapeError::SyncFailed`].
    pub fn wait_synced(&self, timeout: std::time::Duration) -> Result<bool, TapeError> {
        let reached = || self.topic.synced_seq() >= self.position;
        if self.inner.read_only { Ok(true) } else { self.inner.wait_requesting(Some(timeout), reached) }
    }

    /// It was disconnected by its policy.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether checksums of records from memory are checked too.
    pub const fn verify(&mut self, on: bool) {
        self.verify = on;
    }

    /// Appends up to `max` deliveries to `out` and returns how many; 0 = nothing new. Never waits for a writer; reads
    /// files when behind.
    pub fn poll_next(&mut self, out: &mut Vec<Delivery>, max: usize) -> usize {
        let before = out.len();
        if self.ended || max == 0 {
            return 0;
        }
        let start = self.position;
        if start < self.topic.head() {
            self.note_wake();
            self.apply_policy(out);
        }
        self.stuck = false;
        while out.len() - before < max && !self.ended {
            if self.position >= self.topic.head() {
                if self.arm() {
                    break;
                }
                continue;
            }
            let room = max - (out.len() - before);
            if !self.step(out, room) {
                break;
            }
        }
        self.account(&out[before..], start);
        out.len() - before
    }

    fn account(&self, new: &[Delivery], start: u64) {
        if self.position == start {
            return;
        }
        let (mut records, mut missed) = (0, 0);
        for d in new {
            match d {
                Delivery::Record(_) => records += 1,
                Delivery::Missed { from, to, .. } => missed += to - from + 1,
                Delivery::Disconnected { .. } => {}
            }
        }
        self.watch.processed.fetch_add(records, Ordering::Relaxed);
        self.watch.dropped.fetch_add(missed, Ordering::Relaxed);
        self.watch.position.store(self.position, Ordering::Release);
        if self.watch.policy == Policy::Block {
            self.inner.progress.moved();
        }
    }

    /// One stretch of deliveries; false when it must be tried again later.
    fn step(&mut self, out: &mut Vec<Delivery>, max: usize) -> bool {
        self.runs.clear();
        {
            let core = lock(&self.topic.core);
            if let Some(i) = core.run_after(self.position) {
                let (mut want, mut last) = (max as u64, None);
                for run in core.ring.iter_from(i) {
                    if want == 0 || last.is_some_and(|l| run.prev != l) {
                        break;
                    }
                    want = want.saturating_sub(u64::from(run.count));
                    last = Some(run.last);
                    self.runs.push(run.clone());
                }
            }
        }
        if self.runs.is_empty() {
            return match self.read_disk(out, max) {
                Ok(()) => true,
                Err(_) => {
                    self.inner.counts.read_errors.fetch_add(1, Ordering::Relaxed);
                    self.cursor = None;
                    self.stuck = true;
                    false
                }
            };
        }
        let mut runs = std::mem::take(&mut self.runs);
        let end = out.len() + max;
        for run in runs.drain(..) {
            self.emit_run(&run, out, end);
        }
        self.runs = runs;
        true
    }

    fn emit_run(&mut self, run: &Run, out: &mut Vec<Delivery>, end: usize) {
        let plain = run.last - run.prev == u64::from(run.count);
        // In a plain run the n-th record has the n-th seq, so a reader in its middle need not look at those before.
        let skip = if plain { self.position.saturating_sub(run.prev).min(u64::from(run.count)) as u32 } else { 0 };
        for i in skip..run.count {
            if out.len() >= end {
                return;
            }
            let at = run.block.offsets[(run.at + i) as usize];
            let bytes = &run.block.bytes[at as usize..];
            match Record::parse(bytes, self.verify) {
                Ok(record) if record.seq() <= self.position => {}
                Ok(record) => {
                    let shared = Shared { block: run.block.clone(), at, len: record.bytes().len() as u32 };
                    self.position = record.seq();
                    out.push(Delivery::Record(shared));
                }
                Err(_) => {
                    // Memory that changed under us: told like damage on disk.
                    let to = if plain { run.prev + 1 + u64::from(i) } else { self.position + 1 };
                    self.missed(out, to, MissedWhy::Corrupt);
                }
            }
        }
    }

    /// Names everything up to `to` as missed.
    fn missed(&mut self, out: &mut Vec<Delivery>, to: u64, why: MissedWhy) {
        if to <= self.position {
            return;
        }
        let from = self.position + 1;
        if why == MissedWhy::Corrupt {
            self.inner.counts.corrupt.fetch_add(to - from + 1, Ordering::Relaxed);
        }
        self.position = to;
        out.push(Delivery::Missed { from, to, why });
    }

    /// Goes to sleep in its set, if it has one and there is nothing new. False when there is.
    fn arm(&self) -> bool {
        let set = lock(&self.watch.set).is_some();
        let mut core = lock(&self.topic.core);
        if self.topic.head() > self.position {
            return false;
        }
        if set && !self.watch.asleep.swap(true, Ordering::Relaxed) {
            core.sleeping.push(self.watch.clone());
        }
        true
    }

    fn note_wake(&self) {
        if self.watch.woken.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken = self.watch.woken.swap(0, Ordering::Relaxed);
        self.inner.wake_latency.note_ns(self.inner.mono().saturating_sub(woken));
    }

    /// Ready when `poll_next` has something (or the reader has ended).
    pub fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended || self.topic.head() > self.position {
            return Poll::Ready(());
        }
        {
            let mut waker = lock(&self.watch.waker);
            match &*waker {
                Some(w) if w.will_wake(cx.waker()) => {}
                _ => *waker = Some(cx.waker().clone()),
            }
        }
        let mut core = lock(&self.topic.core);
        if self.topic.head() > self.position {
            return Poll::Ready(());
        }
        if !self.watch.asleep.swap(true, Ordering::Relaxed) {
            core.sleeping.push(self.watch.clone());
        }
        Poll::Pending
    }

    /// Waits until `poll_next` has something. Cancel-safe.
    pub async fn changed(&mut self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// Waits on this thread; false when `timeout` passed without anything new.
    pub fn wait_blocking(&mut self, timeout: Duration) -> bool {
        if self.stuck {
            // A read failed (too many open files, say): do not spin on it.
            std::thread::sleep(timeout.min(Duration::from_millis(10)));
        }
        block_until(timeout, |cx| self.poll_wait(cx))
    }

    /// Makes `token` ready in `set` whenever there is something new, from now on. A reader is in one set at most.
    pub fn join(&mut self, set: &WakeSet, token: u64) {
        *lock(&self.watch.set) = Some((set.clone(), token));
        set.enter(&self.watch);
        if !self.arm() {
            set.push(token);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.watch.closed.store(true, Ordering::Release);
        {
            let mut core = lock(&self.topic.core);
            core.sleeping.retain(|w| !Arc::ptr_eq(w, &self.watch));
            core.blockers.retain(|w| !Arc::ptr_eq(w, &self.watch));
        }
        *lock(&self.watch.set) = None;
        self.inner.forget(&self.topic);
        if self.watch.policy == Policy::Block {
            self.inner.progress.moved();
        }
    }
}
