//! Stores what the tape holds, in the running process: one thread that follows the tape with ordinary cursors.
//!
//! Writers and lines know nothing of it. When storing fails (a full disk, a catalog that another process has) the tape keeps what
//! is not stored, health says so, and the catalog is opened anew after a while: nothing is lost, and nothing is stored twice.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wholetape_model::Ts;
use wholetape_store::StoreError;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::cert::sign::Signer;
use wholetape_store::history::CatalogHistory;
use wholetape_store::retain::Rules;
use wholetape_store::writer::{Counts, Follower, Pace};
use wholetape_tape::{RealDisk, Tape};

use super::asks::Asks;

/// How often the tape is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often what is due is stored, and the tape told what it may let go.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What the store is told.
#[derive(Debug, Clone)]
pub struct StorePlan {
    /// The data directory.
    pub data: PathBuf,
    pub catalog: CatalogConfig,
    pub pace: Pace,
    /// Signs certificates.
    pub signer: Option<Signer>,
    /// How long days are kept.
    pub retention: Rules,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    failures: AtomicU64,
    behind: AtomicU64,
    buffered: AtomicU64,
    parts: AtomicU64,
    counts: Mutex<Counts>,
    problem: Mutex<Option<String>>,
    asks: Asks,
}

/// The store of this process.
pub struct Keeper {
    shared: Arc<Shared>,
    data: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Begins to store.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(tape: &Tape, plan: StorePlan) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let data = plan.data.clone();
        let work = Work { shared: shared.clone(), tape: tape.clone(), plan, before: Counts::default() };
        let thread = thread::Builder::new().name("store".into()).spawn(move || work.run())?;
        Ok(Self { shared, data, thread: Mutex::new(Some(thread)) })
    }

    /// The catalog as history. Read by time, it has stored first what the tape holds of the topic.
    pub fn history(&self) -> CatalogHistory {
        CatalogHistory::new(Arc::new(RealDisk), &self.data).with_writer(Arc::new(self.shared.asks.clone()))
    }

    /// Stores everything that is on the tape and ends. Once the lines have ended.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the store ended in a panic; the tape holds what it did not store");
            }
        }
    }

    /// Why nothing is stored just now.
    pub fn problem(&self) -> Option<String> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = thread.as_ref().is_some_and(JoinHandle::is_finished) && !self.shared.stop.load(Ordering::Acquire);
        if gone {
            return Some("the store does not run any more".into());
        }
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its figures in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let s = &self.shared;
        let counts = *s.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let mut out = String::new();
        let mut put = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        put("store_rows_total", "counter", "Records stored in the catalog.", counts.rows);
        put("store_late_rows_total", "counter", "Late records stored between their neighbours.", counts.late_rows);
        put("store_parts_total", "counter", "Parts written.", counts.parts);
        put("store_rewritten_total", "counter", "Days written anew for late rows.", counts.rewritten);
        put("store_sealed_total", "counter", "Days sealed, by topic and table.", counts.sealed);
        put(
            "store_missed_records_total",
            "counter",
            "Records that the tape let go before they were stored; confessed as gaps.",
            counts.missed,
        );
        put("store_certificates_total", "counter", "Certificates issued, revisions too.", counts.certificates);
        put(
            "store_certificate_failures_total",
            "counter",
            "Certificates that could not be issued; tried again after the next commit.",
            counts.certificates_failed,
        );
        put("store_retired_rows_total", "counter", "Rows that retention let go.", counts.retired_rows);
        put("store_retired_bytes_total", "counter", "Bytes of files that retention let go.", counts.retired_bytes);
        put(
            "store_too_late_rows_total",
            "counter",
            "Late rows of days that retention had let go; not stored.",
            counts.too_late,
        );
        put(
            "store_repeats_removed_total",
            "counter",
            "Trades whose ids do not count, removed when their day was sealed: another row has them.",
            counts.repeats,
        );
        put("store_parts", "gauge", "Parts in the catalog.", get(&s.parts));
        put("store_behind_records", "gauge", "Records on the tape that the store has not read yet.", get(&s.behind));
        put("store_buffered_bytes", "gauge", "Memory of rows that wait to be stored.", get(&s.buffered));
        let asked = get(&s.asks.stored);
        put("store_requests_total", "counter", "Topics stored because history was read by time.", asked);
        put("store_failures_total", "counter", "Times that storing failed and was begun anew.", get(&s.failures));
        out
    }
}

struct Work {
    shared: Arc<Shared>,
    tape: Tape,
    plan: StorePlan,
    /// Of followers that ended.
    before: Counts,
}

impl Work {
    fn run(mut self) {
        loop {
            let failed = match self.follow() {
                Ok(()) => return,
                Err(error) => error,
            };
            self.shared.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(error = %failed, "nothing is stored; the tape keeps it, and it is tried again");
            self.tell(Some(format!("nothing is stored in the catalog: {failed}")));
            self.before = *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let again = Instant::now() + AGAIN_AFTER;
            while Instant::now() < again {
                if self.shared.stop.load(Ordering::Acquire) {
                    return;
                }
                thread::park_timeout(LOOK_EVERY);
            }
        }
    }

    fn tell(&self, problem: Option<String>) {
        *self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Until it is stopped, or storing fails.
    fn follow(&mut self) -> Result<(), StoreError> {
        let catalog = Catalog::open(Arc::new(RealDisk), &self.plan.data, self.plan.catalog.clone())?;
        let mut follower = Follower::new(catalog, self.plan.pace)
            .with_signer(self.plan.signer.clone())
            .with_retention(self.plan.retention.clone());
        let mut tended = Instant::now();
        // From the first look on nothing goes unstored.
        while follower.poll(&self.tape, now())? {}
        self.tape.hold(follower.stored());
        self.tell(None);
        let _answers = self.shared.asks.open();
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            while follower.poll(&self.tape, now())? {}
            if stop {
                follower.flush(now())?;
                follower.tend(now())?;
                self.note(&follower);
                return Ok(());
            }
            self.shared.asks.serve(|topic| follower.store_topic(&self.tape, topic, now()))?;
            if tended.elapsed() >= TEND_EVERY {
                tended = Instant::now();
                follower.tend(now())?;
                self.tape.hold(follower.stored());
            }
            self.note(&follower);
            thread::park_timeout(LOOK_EVERY);
        }
    }

    fn note(&self, follower: &Follower) {
        let (c, b) = (follower.counts, self.before);
        let told = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).certificates_failed;
        if b.certificates_failed + c.certificates_failed > told {
            for (what, error) in follower.uncertified() {
                tracing::warn!(%what, %error, "no certificate; rows are stored, and it is tried again");
            }
        }
        let counts = Counts {
            rows: b.rows + c.rows,
            late_rows: b.late_rows + c.late_rows,
            parts: b.parts + c.parts,
            rewritten: b.rewritten + c.rewritten,
            sealed: b.sealed + c.sealed,
            missed: b.missed + c.missed,
            certificates: b.certificates + c.certificates,
            certificates_failed: b.certificates_failed + c.certificates_failed,
            retired_rows: b.retired_rows + c.retired_rows,
            retired_bytes: b.retired_bytes + c.retired_bytes,
            too_late: b.too_late + c.too_late,
            repeats: b.repeats + c.repeats,
        };
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.shared.behind.store(follower.behind(), Ordering::Relaxed);
        self.shared.buffered.store(follower.bytes() as u64, Ordering::Relaxed);
        self.shared.parts.store(follower.catalog.state().parts.len() as u64, Ordering::Relaxed);
    }
}

fn now() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
