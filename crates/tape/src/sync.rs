//! One thread that makes all lanes durable: group commit.
//!
//! It syncs at the latest when the timer says so, at once when a lane has `sync_bytes` unsynced (so that a timer at full
//! speed never meets a pile of dirty pages) or when somebody waits. What arrives during a sync is the next group.
//! A failed fsync ends the tape's life: the kernel may have dropped the pages, so what is on the disk is unknown.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Fsync;
use crate::error::TapeError;
use crate::lane::LaneShared;
use crate::lock;
use crate::stats::Histogram;
use crate::tape::Inner;
use crate::topic::TopicShared;

/// A waiter looks again at least this often.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Sync {
    sync_bytes: u64,
    requested: AtomicBool,
    stop: AtomicBool,
    pub failed: AtomicBool,
    state: Mutex<()>,
    wake: Condvar,
    done: Condvar,
    /// Durations of fsync calls, ns.
    pub calls: Histogram,
    /// Rounds, for those who wait for one.
    pub rounds: AtomicU64,
}

impl Sync {
    pub fn new(sync_bytes: u64) -> Self {
        Self {
            sync_bytes,
            requested: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            state: Mutex::new(()),
            wake: Condvar::new(),
            done: Condvar::new(),
            calls: Histogram::default(),
            rounds: AtomicU64::new(0),
        }
    }

    /// A lane wrote and has this many bytes unsynced.
    pub fn wrote(&self, unsynced: u64) {
        if unsynced >= self.sync_bytes {
            self.request();
        }
    }

    /// Sync now.
    pub fn request(&self) {
        if !self.requested.swap(true, Ordering::AcqRel) {
            let _guard = lock(&self.state);
            self.wake.notify_one();
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _guard = lock(&self.state);
        self.wake.notify_one();
    }

    /// Waits until `reached`, or until syncing failed.
    pub fn wait(&self, timeout: Option<Duration>, reached: impl Fn() -> bool) -> Result<bool, TapeError> {
        let end = timeout.map(|t| Instant::now() + t);
        let mut guard = lock(&self.state);
        loop {
            if reached() {
                return Ok(true);
            }
            if self.failed.load(Ordering::Acquire) {
                return Err(TapeError::SyncFailed);
            }
            let left = end.map_or(LOOK, |e| e.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            guard = self.done.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether somebody asked for a sync that did not begin yet.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }
}

impl Inner {
    /// Asks for a sync and waits until `reached`; false when `timeout` passed first. On a driven tape there is nobody to
    /// wait for: the caller syncs.
    pub fn wait_requesting(&self, timeout: Option<Duration>, reached: impl Fn() -> bool) -> Result<bool, TapeError> {
        if reached() {
            return Ok(true);
        }
        if self.config.driven.is_some() {
            self.sync_now();
            return match self.sync.failed.load(Ordering::Acquire) {
                true => Err(TapeError::SyncFailed),
                false => Ok(reached()),
            };
        }
        self.sync.request();
        self.sync.wait(timeout, reached)
    }

    pub fn wait_bytes_requesting(&self, lane: &LaneShared, upto: u64) -> Result<(), TapeError> {
        self.wait_requesting(None, || lane.synced_bytes.load(Ordering::Acquire) >= upto).map(|_| ())
    }

    pub fn wait_records_requesting(&self, lane: &LaneShared, upto: u64) -> Result<(), TapeError> {
        self.wait_requesting(None, || lane.synced.load(Ordering::Acquire) >= upto).map(|_| ())
    }

    /// One round over all lanes, on this thread.
    pub fn sync_now(&self) {
        self.sync.requested.store(false, Ordering::Release);
        sync_all(self, &mut Vec::new());
    }
}

/// The thread's body.
pub(crate) fn run(inner: &Inner) {
    let sync = &inner.sync;
    let every = match inner.config.fsync {
        Fsync::Every(d) => d.max(Duration::from_micros(100)),
        Fsync::Batch => Duration::from_millis(100),
    };
    let mut scratch = Vec::new();
    loop {
        {
            let guard = lock(&sync.state);
            if !sync.requested.load(Ordering::Acquire) && !sync.stop.load(Ordering::Acquire) {
                drop(sync.wake.wait_timeout(guard, every).unwrap_or_else(PoisonError::into_inner));
            }
        }
        let stop = sync.stop.load(Ordering::Acquire);
        sync.requested.store(false, Ordering::Release);
        sync_all(inner, &mut scratch);
        if stop {
            return;
        }
    }
}

fn sync_all(inner: &Inner, scratch: &mut Vec<(Arc<TopicShared>, u64)>) {
    let lanes = inner.lanes();
    let mut failed = None;
    if !inner.sync.failed.load(Ordering::Acquire) {
        for lane in lanes {
            if let Err(e) = sync_lane(inner, &lane, scratch) {
                failed = Some(e);
                break;
            }
        }
    }
    if failed.is_some() {
        inner.sync_failed();
    }
    inner.sync.rounds.fetch_add(1, Ordering::Release);
    let _guard = lock(&inner.sync.state);
    inner.sync.done.notify_all();
}

fn sync_lane(inner: &Inner, lane: &LaneShared, scratch: &mut Vec<(Arc<TopicShared>, u64)>) -> std::io::Result<()> {
    // Counters and heads first, files after: whatever these count is in one of those files.
    let (records, bytes) = (lane.written.load(Ordering::Acquire), lane.written_bytes.load(Ordering::Acquire));
    let heads_from = lane.synced_bytes.load(Ordering::Acquire);
    if bytes == heads_from && !lane.dir_dirty.load(Ordering::Acquire) {
        return Ok(());
    }
    scratch.clear();
    for topic in crate::read(&lane.topics).iter().flatten() {
        let head = topic.head();
        if head > topic.synced.load(Ordering::Relaxed) && topic.lane() == lane.ix {
            scratch.push((topic.clone(), head));
        }
    }
    let active = crate::read(&lane.segments).last().cloned();
    let older = lock(&lane.to_sync).clone();
    if lane.dir_dirty.swap(false, Ordering::AcqRel) {
        inner.config.disk.sync_dir(&lane.dir)?;
    }
    for segment in older.iter().chain(active.iter().filter(|a| !older.iter().any(|o| o.number == a.number))) {
        let start = Instant::now();
        inner.config.disk.sync(&*segment.file()?)?;
        inner.sync.calls.note(start.elapsed());
    }
    lock(&lane.to_sync).retain(|s| !older.iter().any(|o| o.number == s.number));
    for (topic, head) in scratch.drain(..) {
        topic.synced.fetch_max(head, Ordering::AcqRel);
    }
    lane.synced.store(records, Ordering::Release);
    lane.synced_bytes.store(bytes, Ordering::Release);
    inner.wake_synced();
    Ok(())
}
