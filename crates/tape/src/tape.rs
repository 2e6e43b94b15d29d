//! The tape itself: opening, the registry of lanes and topics, closing.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wholetape_model::{Topic, Ts};

use crate::block::Shared;
use crate::clock;
use crate::config::TapeConfig;
use crate::error::TapeError;
use crate::identity::{self, State};
use crate::lane::{Lane, LaneShared};
use crate::lock;
use crate::owed::Debt;
use crate::reader::{Delivery, From, Reader, ReaderOptions};
use crate::recover;
use crate::retain;
use crate::stats::{Histogram, LaneStats, ReaderStats, SpaceState, TapeStats};
use crate::subscribe::Dispatch;
use crate::sync::{self, Sync};
use crate::topic::{TopicShared, TopicState};
use crate::wake::Watch;

/// A tape: one data directory. Cheap to clone; the directory is freed when the last clone and the last [`Lane`] are gone.
#[derive(Debug, Clone)]
pub struct Tape {
    handle: Arc<Handle>,
}

#[derive(Debug)]
pub(crate) struct Handle {
    inner: Arc<Inner>,
    sync_thread: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    pub dispatch: Mutex<Option<Arc<Dispatch>>>,
}

/// Counters of rare things.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub retired: AtomicU64,
    pub lost: AtomicU64,
    pub corrupt: AtomicU64,
    pub read_errors: AtomicU64,
    pub power_marks: AtomicU64,
    pub torn_bytes: AtomicU64,
    pub holes: AtomicU64,
    pub handler_failures: AtomicU64,
    pub free_bytes: AtomicU64,
    pub space: AtomicU8,
}

/// Where writers wait for readers with policy `block`.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<()>,
    moved: Condvar,
}

impl Progress {
    pub fn moved(&self) {
        let _guard = lock(&self.state);
        self.moved.notify_all();
    }

    pub fn wait_until(&self, reached: impl Fn() -> bool) {
        let mut guard = lock(&self.state);
        while !reached() {
            guard =
                self.moved.wait_timeout(guard, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub dir: PathBuf,
    pub config: TapeConfig,
    pub epoch: String,
    /// Epochs of segments from before a restore.
    former: Vec<String>,
    run: u32,
    boot: String,
    pub(crate) read_only: bool,
    closed: AtomicBool,
    /// Commits under way, so that `close` knows when the last one is done.
    committing: AtomicUsize,
    pub sync: Sync,
    pub progress: Progress,
    pub counts: Counts,
    pub wake_latency: Histogram,
    pub lanes: RwLock<Vec<Arc<LaneShared>>>,
    pub topics: RwLock<HashMap<Topic, Arc<TopicShared>>>,
    /// Moves when a topic was registered.
    pub topics_changed: AtomicU64,
    pub claims: Mutex<()>,
    /// Held by who looks after age and size: of two at once each would remove for the other as well.
    pub keeping: Mutex<()>,
    /// Segments that went for lack of space and whose marks are not all on the disk.
    pub debts: Mutex<Vec<Arc<Debt>>>,
    /// What retention waits for: topics, and the seq up to which each is stored elsewhere.
    pub held: RwLock<HashMap<Topic, u64>>,
    watches: Mutex<Vec<Weak<Watch>>>,
    synced_wakers: Mutex<Vec<Waker>>,
    lock_file: Mutex<Option<Box<dyn Any + Send + std::marker::Sync>>>,
}

/// A commit under way; see [`Inner::begin_commit`].
pub(crate) struct Committing<'a>(&'a Inner);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.committing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tape {
    /// Opens the tape of `dir`, or makes one. Recovers whatever the last owner left: cuts torn tails, marks what a power
    /// loss may have cost, and syncs the rest, so that everything readers meet is on the disk.
    ///
    /// # Errors
    /// [`TapeError::Locked`] (names the owner), [`TapeError::Format`] when the files are of a newer version or another
    /// epoch (nothing is changed then), [`TapeError::Io`].
    pub fn open(dir: &Path, mut config: TapeConfig) -> Result<Self, TapeError> {
        config.unsynced_records_max = config.unsynced_records_max.clamp(1, crate::POWER_SPAN - 1);
        let disk = config.disk.clone();
        disk.create_dir(&dir.join("lanes")).map_err(|e| TapeError::io("create", dir, e))?;
        let lock_file = identity::lock(&*disk, dir)?;
        let epochs = identity::epochs(&*disk, dir, true)?;
        let before = State::read(&*disk, dir)?;
        let boot = config.boot_id.clone().unwrap_or_else(|| identity::boot_id(&*disk));
        let doubtful = before.as_ref().is_some_and(|s| s.doubtful(&boot));
        let rewrite = before.as_ref().is_some_and(|s| s.sync_failed);
        let run = before.as_ref().map_or(0, |s| s.run) + 1;
        let inner = Arc::new(Inner::new(dir, config, epochs, run, boot, false, Some(lock_file)));
        let plan = recover::Plan { writable: true, rewrite };
        let suspects = recover::load(&inner, plan)?;
        // The doubt stands in the state file until its marks are on the disk.
        let doubt = State {
            run,
            boot: before.map_or_else(|| inner.boot.clone(), |s| s.boot),
            clean: false,
            sync_failed: rewrite,
        };
        doubt.write(&*disk, dir)?;
        let tape = Self { handle: Arc::new(Handle::new(inner.clone())) };
        let driven = inner.config.driven.is_some();
        if !driven {
            let thread = thread::Builder::new().name("tape-sync".into()).spawn(move || sync::run(&inner));
            *lock(&tape.handle.sync_thread) =
                Some(thread.map_err(|e| TapeError::io("start the sync thread of", dir, e))?);
        }
        recover::settle(&tape, doubtful, &suspects)?;
        let inner = tape.inner();
        State { run, boot: inner.boot.clone(), clean: false, sync_failed: false }.write(&*disk, dir)?;
        State::clear_failure(&*disk, dir)?;
        if driven {
            return Ok(tape);
        }
        let keeper = {
            let inner = inner.clone();
            thread::Builder::new().name("tape-keeper".into()).spawn(move || retain::keep(&inner))
        };
        *lock(&tape.handle.keeper) = Some(keeper.map_err(|e| TapeError::io("start the keeper thread of", dir, e))?);
        Ok(tape)
    }

    /// A fresh look at the files, for checkers and queries, also beside a running owner: no lock, no thread, nothing is
    /// changed. It sees what was written when it was opened; heads do not move.
    ///
    /// # Errors
    /// [`TapeError::Io`] (no tape there), [`TapeError::Format`].
    pub fn open_reader(dir: &Path) -> Result<Self, TapeError> {
        Self::open_reader_with(dir, TapeConfig::default())
    }

    /// As [`Tape::open_reader`], on the disk that `config` names.
    ///
    /// # Errors
    /// As [`Tape::open_reader`].
    pub fn open_reader_with(dir: &Path, config: TapeConfig) -> Result<Self, TapeError> {
        let mut tries = 0;
        loop {
            let epochs = identity::epochs(&*config.disk, dir, false)?;
            let run = State::read(&*config.disk, dir)?.map_or(0, |s| s.run);
            let inner = Arc::new(Inner::new(dir, config.clone(), epochs, run, String::new(), true, None));
            match recover::load(&inner, recover::Plan { writable: false, rewrite: false }) {
                Ok(_) => return Ok(Self { handle: Arc::new(Handle::new(inner)) }),
                // Its owner removed a segment while we looked: look again.
                Err(TapeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && tries < 10 => {
                    tries += 1
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Gives the directory a new epoch, for seqs given after a restore from a backup may differ from those given before
    /// with the same numbers. To be called on a restored copy before it is opened; returns the new epoch.
    ///
    /// # Errors
    /// [`TapeError::Locked`], [`TapeError::Format`], [`TapeError::Io`].
    pub fn renew_epoch(dir: &Path) -> Result<String, TapeError> {
        let disk = crate::RealDisk;
        let _lock = identity::lock(&disk, dir)?;
        identity::renew(&disk, dir)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    pub(crate) fn dispatch_slot(&self) -> &Mutex<Option<Arc<Dispatch>>> {
        &self.handle.dispatch
    }

    /// The identity of this directory: seqs are comparable only within one epoch.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.inner().epoch
    }

    /// How often the directory was opened for writing, this time included: 1, 2, 3 …
    #[must_use]
    pub fn run(&self) -> u32 {
        self.inner().run
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner().dir
    }

    /// The writer of a lane, made if it is new. One at a time; again after it was dropped.
    ///
    /// # Errors
    /// [`TapeError::LaneTaken`], [`TapeError::LaneName`], [`TapeError::ReadOnly`], [`TapeError::Io`].
    pub fn lane(&self, name: &str) -> Result<Lane, TapeError> {
        let inner = self.inner();
        inner.check_writable()?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) || name.starts_with(['-', '_', '.']) {
            return Err(TapeError::LaneName(name.to_owned()));
        }
        let shared = inner.lane_shared(name)?;
        let mut lane = Lane::take(inner, &shared, Some(self.handle.clone()))
            .ok_or_else(|| TapeError::LaneTaken(name.to_owned()))?;
        lane.begin_segment().map_err(|e| TapeError::io("begin a segment in", &shared.dir, e))?;
        Ok(lane)
    }

    /// All topics that any lane ever registered, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicState> {
        let inner = self.inner();
        let lanes = inner.lanes();
        let mut all: Vec<TopicState> = crate::read(&inner.topics)
            .values()
            .filter(|t| t.placed.load(Ordering::Acquire))
            .map(|t| TopicState {
                topic: t.topic.clone(),
                lane: lanes.get(t.lane()).map_or_else(String::new, |l| l.name.clone()),
                class: t.topic.class(),
                head: t.head(),
                oldest: t.oldest(),
                synced: t.synced.load(Ordering::Acquire),
                last_ts_recv: Ts(t.last_ts.load(Ordering::Relaxed)),
            })
            .collect();
        all.sort_by(|a, b| a.topic.cmp(&b.topic));
        all
    }

    /// The newest seq of a topic; 0 before its first record, `None` when no lane ever had it.
    #[must_use]
    pub fn head(&self, topic: &Topic) -> Option<u64> {
        self.inner().known(topic).map(|t| t.head())
    }

    /// The newest seq of a topic that is on the disk.
    #[must_use]
    pub fn synced_seq(&self, topic: &Topic) -> Option<u64> {
        self.inner().known(topic).map(|t| t.synced.load(Ordering::Acquire))
    }

    /// A cursor. The topic need not exist yet.
    ///
    /// # Errors
    /// [`TapeError::Position`] beyond the head, [`TapeError::BlockRefused`], [`TapeError::Io`] when looking up
    /// [`From::Last`] or [`From::Time`] fails.
    pub fn reader(&self, topic: &Topic, from: From, options: ReaderOptions) -> Result<Reader, TapeError> {
        Reader::open(self.inner(), topic, from, options)
    }

    /// The seq of the newest book snapshot or checkpoint: where a reader that has nothing can start
    /// (`From::Seq(seq − 1)`).
    #[must_use]
    pub fn last_book_start(&self, topic: &Topic) -> Option<u64> {
        self.inner().known(topic).map(|t| t.book_start.load(Ordering::Acquire)).filter(|s| *s > 0)
    }

    /// The newest `n` records, oldest first (marks included). Fewer when there are fewer, or when some are damaged.
    ///
    /// # Errors
    /// As [`Tape::reader`].
    pub fn last_records(&self, topic: &Topic, n: usize) -> Result<Vec<Shared>, TapeError> {
        let mut reader = self.reader(topic, From::Last(n as u64), ReaderOptions::default())?;
        let mut out = Vec::new();
        while reader.poll_next(&mut out, n.max(1)) > 0 && out.len() < n {}
        let records = out.into_iter().filter_map(|d| match d {
            Delivery::Record(r) => Some(r),
            _ => None,
        });
        Ok(records.take(n).collect())
    }

    /// Waits until `seq` of `topic` is on the disk; asks for it at once. False when `timeout` passed first.
    ///
    /// # Errors
    /// [`TapeError::SyncFailed`].
    pub fn wait_synced(&self, topic: &Topic, seq: u64, timeout: Duration) -> Result<bool, TapeError> {
        let Some(shared) = self.inner().known(topic) else { return Ok(seq == 0) };
        if shared.synced.load(Ordering::Acquire) >= seq {
            return Ok(true);
        }
        self.inner().wait_requesting(Some(timeout), || shared.synced.load(Ordering::Acquire) >= seq)
    }

    /// As [`Tape::wait_synced`], for tasks, and without a bound: `seq` must have been given.
    ///
    /// # Errors
    /// [`TapeError::SyncFailed`]; [`TapeError::Position`] when no lane ever had the topic.
    pub async fn synced(&self, topic: &Topic, seq: u64) -> Result<(), TapeError> {
        let unknown = || TapeError::Position { topic: topic.clone(), seq, head: 0 };
        let shared = self.inner().known(topic).ok_or_else(unknown)?;
        std::future::poll_fn(|cx| self.inner().poll_synced(cx, &shared, seq)).await
    }

    /// Holds back records that are not stored elsewhere: retention by age and size leaves segments with a record of these
    /// topics beyond the seq that stands with it. Of other topics those that [`TapeConfig::stored_elsewhere`] names are held from
    /// their first record on. Space that runs out does not wait.
    pub fn hold(&self, stored: impl IntoIterator<Item = (Topic, u64)>) {
        *crate::write(&self.inner().held) = stored.into_iter().collect();
    }

    /// Looks at age, size and free space now, and pays the marks of lanes that nobody writes, as the keeper thread does
    /// twice a second.
    pub fn check_space(&self) {
        self.inner().tick();
        if self.inner().config.driven.is_some() {
            retain::pay_marks(self.inner());
        }
    }

    /// Makes everything durable on this thread: what the owner of a driven tape does in place of the sync thread.
    ///
    /// # Errors
    /// [`TapeError::SyncFailed`].
    pub fn sync_now(&self) -> Result<(), TapeError> {
        self.inner().sync_now();
        match self.inner().sync.failed.load(Ordering::Acquire) {
            true => Err(TapeError::SyncFailed),
            false => Ok(()),
        }
    }

    /// Whether somebody asked for a sync sooner than the timer's: a driven tape's owner then calls [`Tape::sync_now`].
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        self.inner().sync.is_requested()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> TapeStats {
        self.inner().stats()
    }

    /// Syncs everything and writes the clean-end marker. Lanes that are still held take nothing more.
    ///
    /// # Errors
    /// [`TapeError::SyncFailed`], [`TapeError::Io`]: then the end is not marked clean.
    pub fn close(self) -> Result<(), TapeError> {
        let inner = self.inner().clone();
        if inner.read_only {
            return Ok(());
        }
        if let Some(dispatch) = lock(&self.handle.dispatch).take() {
            dispatch.stop();
        }
        inner.closed.store(true, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(5);
        while inner.committing.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.handle.join();
        if inner.config.driven.is_some() && !inner.sync.failed.load(Ordering::Acquire) {
            inner.sync_now();
        }
        if inner.sync.failed.load(Ordering::Acquire) {
            return Err(TapeError::SyncFailed);
        }
        let clean = inner.committing.load(Ordering::SeqCst) == 0;
        State { run: inner.run, boot: inner.boot.clone(), clean, sync_failed: false }
            .write(&*inner.config.disk, &inner.dir)?;
        *lock(&inner.lock_file) = None;
        Ok(())
    }
}

impl Handle {
    fn new(inner: Arc<Inner>) -> Self {
        Self { inner, sync_thread: Mutex::default(), keeper: Mutex::default(), dispatch: Mutex::default() }
    }

    /// Ends the threads: the keeper first, for it may wait for the other.
    fn join(&self) {
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.thread().unpark();
            let _ = keeper.join();
        }
        self.inner.sync.stop();
        if let Some(thread) = lock(&self.sync_thread).take() {
            // The thread's panic was its own; what it did not sync stays unsynced, and the end is not marked clean.
            if thread.join().is_err() {
                self.inner.sync.failed.store(true, Ordering::Release);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(dispatch) = lock(&self.dispatch).take() {
            dispatch.stop();
        }
        self.inner.closed.store(true, Ordering::SeqCst);
        self.join();
        *lock(&self.inner.lock_file) = None;
    }
}

impl Inner {
    fn new(
        dir: &Path,
        config: TapeConfig,
        mut epochs: Vec<String>,
        run: u32,
        boot: String,
        read_only: bool,
        lock_file: Option<Box<dyn Any + Send + std::marker::Sync>>,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            sync: Sync::new(config.sync_bytes),
            config,
            epoch: epochs.remove(0),
            former: epochs,
            run,
            boot,
            read_only,
            closed: AtomicBool::new(false),
            committing: AtomicUsize::new(0),
            held: RwLock::default(),
            progress: Progress::default(),
            counts: Counts::default(),
            wake_latency: Histogram::default(),
            lanes: RwLock::default(),
            topics: RwLock::default(),
            topics_changed: AtomicU64::new(1),
            claims: Mutex::default(),
            keeping: Mutex::default(),
            debts: Mutex::default(),
            watches: Mutex::default(),
            synced_wakers: Mutex::default(),
            lock_file: Mutex::new(lock_file),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn wall(&self) -> i64 {
        self.config.driven.as_ref().map_or_else(clock::wall, |t| t.wall())
    }

    /// Nanoseconds for latencies; never 0.
    pub fn mono(&self) -> u64 {
        self.config.driven.as_ref().map_or_else(clock::mono, |t| t.mono())
    }

    pub fn knows_epoch(&self, epoch: &str) -> bool {
        self.epoch == epoch || self.former.iter().any(|f| f == epoch)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub fn check_writable(&self) -> Result<(), TapeError> {
        if self.read_only {
            return Err(TapeError::ReadOnly);
        }
        if self.sync.failed.load(Ordering::Acquire) {
            return Err(TapeError::SyncFailed);
        }
        if self.closed.load(Ordering::SeqCst) {
            return Err(TapeError::Closed);
        }
        Ok(())
    }

    /// Says that a commit is under way, unless the tape takes none.
    pub fn begin_commit(&self) -> Result<Committing<'_>, TapeError> {
        self.committing.fetch_add(1, Ordering::SeqCst);
        let guard = Committing(self);
        self.check_writable()?;
        Ok(guard)
    }

    pub fn watch(&self, watch: &Arc<Watch>) {
        let mut watches = lock(&self.watches);
        if watches.len() == watches.capacity() {
            watches.retain(|w| w.strong_count() > 0);
        }
        watches.push(Arc::downgrade(watch));
    }

    /// An fsync failed: nothing more is taken, and the next open doubts what is there.
    pub fn sync_failed(&self) {
        self.sync.failed.store(true, Ordering::Release);
        // First what needs no fsync: a disk that just failed may refuse the next one too.
        State::note_failure(&*self.config.disk, &self.dir);
        let state = State { run: self.run, boot: self.boot.clone(), clean: false, sync_failed: true };
        let _ = state.write(&*self.config.disk, &self.dir);
        self.wake_synced();
    }

    pub fn wake_synced(&self) {
        let wakers = std::mem::take(&mut *lock(&self.synced_wakers));
        for waker in wakers {
            waker.wake();
        }
    }

    fn poll_synced(&self, cx: &mut Context<'_>, topic: &TopicShared, seq: u64) -> Poll<Result<(), TapeError>> {
        let done = || topic.synced.load(Ordering::Acquire) >= seq;
        if done() {
            return Poll::Ready(Ok(()));
        }
        lock(&self.synced_wakers).push(cx.waker().clone());
        if done() {
            return Poll::Ready(Ok(()));
        }
        if self.sync.failed.load(Ordering::Acquire) {
            return Poll::Ready(Err(TapeError::SyncFailed));
        }
        self.sync.request();
        Poll::Pending
    }

    fn stats(&self) -> TapeStats {
        let mut s = TapeStats::default();
        for lane in self.lanes() {
            let written = lane.written.load(Ordering::Acquire);
            let segments = crate::read(&lane.segments);
            let l = LaneStats {
                name: lane.name.clone(),
                records: written,
                bytes: lane.written_bytes.load(Ordering::Acquire),
                batches: lane.batches.load(Ordering::Relaxed),
                unsynced_records: written.saturating_sub(lane.synced.load(Ordering::Acquire)),
                segments: segments.len(),
                disk_bytes: segments.iter().map(|s| s.len()).sum(),
                memory_bytes: lane.memory.load(Ordering::Relaxed),
                writing: lock(&lane.idle).is_none(),
            };
            drop(segments);
            s.records += l.records;
            s.bytes += l.bytes;
            s.batches += l.batches;
            s.lanes.push(l);
        }
        s.readers = lock(&self.watches).iter().filter_map(Weak::upgrade).map(|w| ReaderStats::of(&w)).collect();
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let c = &self.counts;
        s.fsync = self.sync.calls.read();
        s.wake = self.wake_latency.read();
        s.space = SpaceState::from_u8(c.space.load(Ordering::Relaxed));
        s.free_bytes = get(&c.free_bytes);
        s.sync_failed = self.sync.failed.load(Ordering::Acquire);
        (s.segments_retired, s.segments_lost) = (get(&c.retired), get(&c.lost));
        (s.corrupt_records, s.read_errors) = (get(&c.corrupt), get(&c.read_errors));
        (s.power_marks, s.torn_bytes, s.holes) = (get(&c.power_marks), get(&c.torn_bytes), get(&c.holes));
        s.handler_failures = get(&c.handler_failures);
        s
    }
}
