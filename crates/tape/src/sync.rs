//! One thread that makes all lanes durable: group commit.
//!
//! All lanes at the latest when the timer says so or when somebody waits; a lane that has `sync_bytes` unsynced at once,
//! and alone (so that a timer at full speed never meets a pile of dirty pages, and a quiet lane costs a busy one nothing).
//! What arrives during a sync is the next group: it counts towards `sync_bytes` from zero, or each sync would ask for
//! another right behind it.
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
    /// Sync all lanes now.
    requested: AtomicBool,
    /// Some lane has a whole group unsynced.
    loaded: AtomicBool,
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
            loaded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            state: Mutex::new(()),
            wake: Condvar::new(),
            done: Condvar::new(),
            calls: Histogram::default(),
            rounds: AtomicU64::new(0),
        }
    }

    /// A lane wrote: `bytes` in all.
    pub fn wrote(&self, lane: &LaneShared, bytes: u64) {
        if bytes.saturating_sub(lane.syncing_bytes.load(Ordering::Acquire)) >= self.sync_bytes {
            self.raise(&self.loaded);
        }
    }

    /// Sync all lanes now.
    pub fn request(&self) {
        self.raise(&self.requested);
    }

    fn raise(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::AcqRel) {
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
        self.requested.load(Ordering::Acquire) || self.loaded.load(Ordering::Acquire)
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
        self.sync.loaded.store(false, Ordering::Release);
        sync_lanes(self, 1, &mut Vec::new());
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
    let mut last = Instant::now();
    loop {
        {
            let guard = lock(&sync.state);
            let flags = [&sync.requested, &sync.loaded, &sync.stop];
            let left = every.saturating_sub(last.elapsed());
            if !left.is_zero() && !flags.iter().any(|f| f.load(Ordering::Acquire)) {
                drop(sync.wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner));
            }
        }
        let stop = sync.stop.load(Ordering::Acquire);
        // Flags first, files after: what is written from here on may ask anew.
        sync.loaded.store(false, Ordering::Release);
        let all = sync.requested.swap(false, Ordering::AcqRel) || stop || last.elapsed() >= every;
        if all {
            last = Instant::now();
        }
        sync_lanes(inner, if all { 1 } else { sync.sync_bytes }, &mut scratch);
        if stop {
            return;
        }
    }
}

/// Syncs the lanes that have at least `least` bytes unsynced (with 1: or a name that is not durable).
fn sync_lanes(inner: &Inner, least: u64, scratch: &mut Vec<(Arc<TopicShared>, u64)>) {
    let lanes = inner.lanes();
    let mut failed = None;
    if !inner.sync.failed.load(Ordering::Acquire) {
        for lane in lanes {
            if let Err(e) = sync_lane(inner, &lane, least, scratch) {
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

fn sync_lane(
    inner: &Inner,
    lane: &LaneShared,
    least: u64,
    scratch: &mut Vec<(Arc<TopicShared>, u64)>,
) -> std::io::Result<()> {
    // Counters and heads first, files after: whatever these count is in one of those files.
    let (records, bytes) = (lane.written.load(Ordering::Acquire), lane.written_bytes.load(Ordering::Acquire));
    let unsynced = bytes - lane.synced_bytes.load(Ordering::Acquire);
    let published = lane.published.load(Ordering::Acquire);
    let all_noted = published == lane.noted.load(Ordering::Acquire);
    if unsynced < least && (least > 1 || all_noted && !lane.dir_dirty.load(Ordering::Acquire)) {
        return Ok(());
    }
    lane.syncing_bytes.store(bytes, Ordering::Release);
    scratch.clear();
    for topic in crate::read(&lane.topics).iter().flatten() {
        let head = topic.head();
        if head > topic.synced.load(Ordering::Relaxed) && topic.lane() == lane.ix {
            scratch.push((topic.clone(), head));
        }
    }
    let active = crate::read(&lane.segments).last().cloned();
    let active_len = active.as_ref().map_or(0, |a| a.len());
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
    if let Some(active) = active.as_ref().filter(|a| !a.is_sealed()) {
        crate::known::note(&*inner.config.disk, lane, active.number, active_len);
    }
    lane.noted.store(published, Ordering::Release);
    lane.synced.store(records, Ordering::Release);
    lane.synced_bytes.store(bytes, Ordering::Release);
    inner.wake_synced();
    Ok(())
}
