//! What the tape let go, for one subscription: read and encoded by a worker, taken by the connection as its client takes it.
//!
//! ```text
//! History ─► cursor ─► job: seq.rs (by position), time.rs (by time) ─► items ─► subscription
//!                      └─────────────── a worker's turn ──────────┘   bounded
//! ```
//!
//! Invariants:
//! - No history is called on the gateway's own thread: its files, and whatever it waits for, delay those alone who read it.
//! - A worker's turn ends when the client's items are full, when its time is over, or when the client is gone. A slow client
//!   holds no worker, and whoever waits for one gets it in the order of asking.
//! - Memory is bounded: items per subscription; over all of them the workers' readers and as many that wait.

mod cursor;
mod item;
mod last;
mod seq;
mod time;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use wholetape_tape::WakeSet;
use wholetape_tape::history::{History, HistoryError};

use crate::config::GatewayConfig;
use crate::lock;
use crate::stats::GatewayStats;

pub(crate) use item::Item;
pub(crate) use seq::{Begin, SeqJob};
pub(crate) use time::TimeJob;

/// A worker's turn, about: long enough for a reader to be worth opening, short for whoever waits.
const TURN: Duration = Duration::from_millis(50);

/// What is read, a stretch at a time.
pub(crate) enum Job {
    Seq(Box<SeqJob>),
    Time(Box<TimeJob>),
}

impl Job {
    /// Reads on, up to about `room` bytes of items. False when that was all.
    fn step(&mut self, out: &mut Vec<Item>, room: usize) -> Result<bool, HistoryError> {
        match self {
            Self::Seq(job) => job.step(out, room),
            Self::Time(job) => job.step(out, room),
        }
    }

    /// Names what was not given because the history failed.
    fn fail(&mut self, out: &mut Vec<Item>) {
        match self {
            Self::Seq(job) => job.end(out, true),
            Self::Time(_) => out.push(Item::failed()),
        }
    }

    /// Lets its reader go, to be opened again where it is.
    fn release(&mut self) {
        match self {
            Self::Seq(job) => job.release(),
            Self::Time(job) => job.release(),
        }
    }
}

/// The workers, and who waits for them.
pub(crate) struct Readers {
    pub history: Arc<dyn History>,
    stats: Arc<GatewayStats>,
    /// Bytes of items per subscription.
    room: usize,
    workers: Semaphore,
    tasks: TaskTracker,
    /// Who waits for a worker or for its client, and keeps its reader's files and rows meanwhile; longest first.
    kept: Mutex<VecDeque<Weak<Shared>>>,
    kept_max: usize,
}

/// What subscription and worker share.
struct Shared {
    set: WakeSet,
    token: u64,
    gone: AtomicBool,
    state: Mutex<State>,
}

struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// `None` while a worker has it, and when it is over.
    job: Option<Job>,
    /// A worker has it, or it waits for one.
    turn: bool,
}

/// A subscription's hold on what is read for it. Dropped, the reading ends.
pub(crate) struct Reading {
    readers: Arc<Readers>,
    shared: Arc<Shared>,
}

impl Readers {
    pub fn new(history: Arc<dyn History>, config: &GatewayConfig, stats: Arc<GatewayStats>) -> Self {
        Self {
            history,
            stats,
            room: config.history_bytes,
            workers: Semaphore::new(config.history_workers),
            tasks: TaskTracker::new(),
            kept: Mutex::default(),
            kept_max: config.history_workers,
        }
    }

    /// Begins `job`; `set` is told under `token` whenever there are items again.
    pub fn read(self: &Arc<Self>, set: &WakeSet, token: u64, job: Job) -> Reading {
        let state = State { items: VecDeque::new(), bytes: 0, job: Some(job), turn: true };
        let (set, gone) = (set.clone(), AtomicBool::new(false));
        let shared = Arc::new(Shared { set, token, gone, state: Mutex::new(state) });
        self.stats.history_subscriptions.fetch_add(1, Ordering::Relaxed);
        self.queue(&shared);
        Reading { readers: self.clone(), shared }
    }

    /// Waits for those that still read. Theirs who asked are gone by then.
    pub async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Turns for `shared` until its items are full or it is over. The semaphore is fair.
    fn queue(self: &Arc<Self>, shared: &Arc<Shared>) {
        let (readers, shared) = (self.clone(), shared.clone());
        self.tasks.spawn(async move {
            loop {
                let Ok(_worker) = readers.workers.acquire().await else { return };
                let (own, turn) = (readers.clone(), shared.clone());
                match tokio::task::spawn_blocking(move || own.turn(&turn)).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(%error, "reading a history panicked");
                        readers.stats.history_failures_total.fetch_add(1, Ordering::Relaxed);
                        return shared.give(&mut vec![Item::failed()]);
                    }
                }
            }
        });
    }

    /// One turn on a worker's thread. True when another should follow at once.
    fn turn(&self, shared: &Arc<Shared>) -> bool {
        lock(&self.kept).retain(|k| !std::ptr::eq(k.as_ptr(), Arc::as_ptr(shared)));
        let Some(mut job) = lock(&shared.state).job.take() else { return false };
        let until = Instant::now() + TURN;
        let mut items = Vec::new();
        loop {
            if shared.gone.load(Ordering::Acquire) {
                return false;
            }
            let used = lock(&shared.state).bytes;
            if used >= self.room || Instant::now() >= until {
                break;
            }
            let more = job.step(&mut items, self.room - used).unwrap_or_else(|error| {
                tracing::warn!(%error, "the history cannot be read for a client");
                self.stats.history_failures_total.fetch_add(1, Ordering::Relaxed);
                job.fail(&mut items);
                false
            });
            shared.give(&mut items);
            if !more {
                return false;
            }
        }
        let again = {
            let mut s = lock(&shared.state);
            s.job = Some(job);
            s.turn = s.bytes <= self.room / 2;
            s.turn
        };
        self.keep(shared);
        again
    }

    /// `shared` waits with its reader; where too many do, the one that has waited longest lets its own go, to open it again.
    fn keep(&self, shared: &Arc<Shared>) {
        let longest = {
            let mut kept = lock(&self.kept);
            kept.push_back(Arc::downgrade(shared));
            if kept.len() > self.kept_max { kept.pop_front() } else { None }
        };
        if let Some(other) = longest.and_then(|l| l.upgrade())
            && let Some(job) = &mut lock(&other.state).job
        {
            job.release();
        }
    }
}

impl Shared {
    fn give(&self, items: &mut Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let idle = {
            let mut s = lock(&self.state);
            let idle = s.items.is_empty();
            s.bytes += items.iter().map(Item::bytes).sum::<usize>();
            s.items.extend(items.drain(..));
            idle
        };
        if idle {
            self.set.push(self.token);
        }
    }
}

impl Reading {
    /// The next item; with `None` the set is told when there is one.
    pub fn take(&self) -> Option<Item> {
        let mut s = lock(&self.shared.state);
        let item = s.items.pop_front()?;
        s.bytes -= item.bytes();
        if !s.turn && s.job.is_some() && s.bytes <= self.readers.room / 2 {
            s.turn = true;
            drop(s);
            self.readers.queue(&self.shared);
        }
        Some(item)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        self.readers.stats.history_subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}
