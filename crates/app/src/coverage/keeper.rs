//! Keeps the coverage ledger of a running process: folds the tape, writes checkpoints, publishes what changed.
//!
//! One thread that looks at the tape twice a second with ordinary cursors: writers and lines know nothing of it, and when it is
//! behind or gone, only the ledger is. What it publishes goes to a lane of its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wholetape_model::{Body, Kind, Proof, Row, RowFlags, Scales, Topic, Ts};
use wholetape_tape::coverage::{Coverage, GapCounts, Rule, Summary};
use wholetape_tape::{Lane, Tape, TapeError};

/// How often the tape is looked at.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// How often changes are published and the checkpoint is written.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// A topic that merely went on is published this often …
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// … or less often when there are more topics than this: the ledger must not become the tape's main guest.
const REFRESH_TOPICS: usize = 500;
/// Hours in a published strip.
const HOURS: usize = 24;
/// At the end, what is still unread after this long waits for the next start.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What the thread and its askers share.
struct Shared {
    tape: Tape,
    coverage: Mutex<Coverage>,
    stop: AtomicBool,
    failed: AtomicBool,
    checkpoints: AtomicU64,
    checkpoint_failures: AtomicU64,
    checkpoint_bytes: AtomicU64,
    /// When the last checkpoint was written, ns since the Unix epoch.
    checkpoint_at: AtomicU64,
    published: AtomicU64,
}

/// The ledger of this process.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Reads the checkpoint and begins. A checkpoint that cannot be believed is named, kept aside, and folded anew.
    ///
    /// # Errors
    /// [`TapeError`] when the lane is taken or the thread cannot be started.
    pub fn start(tape: &Tape) -> Result<Self, TapeError> {
        let opened = Coverage::open(tape);
        if let Some(problem) = opened.problem {
            let aside = Coverage::set_aside(tape).map_or_else(|e| e.to_string(), |p| p.display().to_string());
            tracing::warn!(%problem, aside, "the coverage ledger is folded anew from what the tape holds");
        }
        let lane = tape.lane("coverage")?;
        let shared = Arc::new(Shared {
            tape: tape.clone(),
            coverage: Mutex::new(opened.coverage),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            checkpoints: AtomicU64::new(0),
            checkpoint_failures: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            checkpoint_at: AtomicU64::new(0),
            published: AtomicU64::new(0),
        });
        let work = Work { shared: shared.clone(), lane, published: HashMap::new() };
        let thread = thread::Builder::new().name("coverage".into()).spawn(move || work.run());
        let thread = thread.map_err(|source| TapeError::Io {
            what: "start the coverage thread of",
            path: tape.dir().to_owned(),
            source,
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Folds what is left, publishes and writes the last checkpoint. Once the lines have ended.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                self.shared.failed.store(true, Ordering::Release);
            }
        }
    }

    /// The ledger as it is now.
    pub fn coverage(&self) -> MutexGuard<'_, Coverage> {
        self.shared.coverage()
    }

    /// Why the ledger cannot be trusted to be up to date, if so.
    pub fn problem(&self) -> Option<&'static str> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = thread.as_ref().is_some_and(JoinHandle::is_finished);
        (gone || self.shared.failed.load(Ordering::Acquire)).then_some("the coverage ledger is not kept any more")
    }

    /// The ledger's figures in the Prometheus text format.
    pub fn metrics(&self) -> String {
        let s = &self.shared;
        let (totals, folded) = {
            let coverage = self.coverage();
            let folded: BTreeMap<Topic, u64> = coverage.topics().map(|(t, l)| (t.clone(), l.seq)).collect();
            (coverage.totals(), folded)
        };
        let behind: u64 = s
            .tape
            .topics()
            .iter()
            .filter(|t| Rule::of(t.topic.kind()).is_some())
            .map(|t| t.head.saturating_sub(folded.get(&t.topic).copied().unwrap_or(0)))
            .sum();
        let mut out = String::new();
        let per_kind: [(&str, &str, fn(&wholetape_tape::coverage::Totals) -> f64); 5] = [
            ("tape_coverage_topics", "Topics in the coverage ledger.", |t| t.topics as f64),
            ("tape_coverage_missing_ids", "Venue ids known to be missing.", |t| t.missing as f64),
            ("tape_coverage_unexplained_ids", "Missing ids that no gap speaks of.", |t| t.unexplained as f64),
            ("tape_coverage_open_gaps", "Gaps without a verdict.", |t| t.open as f64),
            ("tape_coverage_hole_seconds", "Time that lies in holes.", |t| t.hole_ns as f64 / 1e9),
        ];
        for (name, help, of) in per_kind {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (kind, t) in &totals {
                let _ = writeln!(out, "{name}{{kind=\"{kind}\"}} {}", of(t));
            }
        }
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        let mut put = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        put(
            "tape_coverage_behind_records",
            "gauge",
            "Records on the tape that are not in the ledger yet.",
            behind as f64,
        );
        put("tape_coverage_published_total", "counter", "Coverage records appended.", get(&s.published));
        put("tape_coverage_checkpoints_total", "counter", "Checkpoints written.", get(&s.checkpoints));
        put(
            "tape_coverage_checkpoint_failures_total",
            "counter",
            "Checkpoints that could not be written.",
            get(&s.checkpoint_failures),
        );
        put("tape_coverage_checkpoint_bytes", "gauge", "Size of the last checkpoint.", get(&s.checkpoint_bytes));
        let at = s.checkpoint_at.load(Ordering::Relaxed);
        let age = if at == 0 { 0.0 } else { (wall().0 as u64).saturating_sub(at) as f64 / 1e9 };
        put("tape_coverage_checkpoint_age_seconds", "gauge", "Since the last checkpoint.", age);
        out
    }
}

impl Drop for Keeper {
    /// A process that could not start leaves no thread behind.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn coverage(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What subscribers are told about at once: everything but the plain going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judgement {
    proof: Proof,
    missing: Option<u64>,
    unexplained: u64,
    never_published: u64,
    gaps: GapCounts,
}

impl Judgement {
    fn of(s: &Summary<'_>) -> Self {
        let (proof, missing) = (s.proof, s.missing);
        Self { proof, missing, unexplained: s.unexplained, never_published: s.never_published, gaps: s.gaps }
    }
}

struct Published {
    judgement: Judgement,
    seq: u64,
    at: Instant,
}

/// The thread.
struct Work {
    shared: Arc<Shared>,
    lane: Lane,
    published: HashMap<Topic, Published>,
}

impl Work {
    fn run(mut self) {
        let mut kept = Instant::now();
        // What a long absence or a lost checkpoint left to do comes first.
        self.fold(&|| self.shared.stopping());
        self.publish();
        while !self.shared.stopping() {
            thread::park_timeout(FOLD_EVERY);
            self.fold(&|| self.shared.stopping());
            if kept.elapsed() >= KEEP_EVERY {
                kept = Instant::now();
                self.publish();
                self.checkpoint();
            }
        }
        let end = Instant::now() + LAST_LOOK;
        self.fold(&|| Instant::now() >= end);
        self.publish();
        self.checkpoint();
    }

    fn fold(&self, stop: &dyn Fn() -> bool) {
        match Coverage::catch_up(&self.shared.coverage, &self.shared.tape, stop) {
            Ok(caught) => {
                for topic in caught.rebuilt {
                    tracing::warn!(%topic, "the coverage ledger knew more than the tape: folded anew");
                }
            }
            Err(error) => tracing::warn!(%error, "the coverage ledger cannot read the tape"),
        }
    }

    /// Appends a record for each topic whose judgement changed, and now and then for each that went on.
    fn publish(&mut self) {
        let Self { shared, lane, published } = self;
        let coverage = shared.coverage();
        let factor = coverage.topics().count().div_ceil(REFRESH_TOPICS).max(1);
        let refresh = REFRESH_EVERY * u32::try_from(factor).unwrap_or(u32::MAX);
        let last_words = shared.stopping();
        let now = wall().max(coverage.as_of());
        let mut n = 0;
        for s in coverage.summaries(HOURS) {
            let judgement = Judgement::of(&s);
            let due = published.get(s.topic).is_none_or(|p| {
                p.judgement != judgement || (p.seq < s.ledger.seq && (last_words || p.at.elapsed() >= refresh))
            });
            if !due {
                continue;
            }
            if let Err(error) = append(lane, &s, now) {
                tracing::warn!(%error, topic = %s.topic, "coverage cannot be published");
                lane.abort();
                return;
            }
            n += 1;
            let told = Published { judgement, seq: s.ledger.seq, at: Instant::now() };
            published.insert(s.topic.clone(), told);
        }
        drop(coverage);
        match lane.commit() {
            Ok(_) => _ = shared.published.fetch_add(n, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, "coverage cannot be published");
                lane.abort();
                published.clear();
            }
        }
    }

    fn checkpoint(&self) {
        let s = &self.shared;
        let mut copy = s.coverage().clone();
        let written = match copy.wait_synced(&s.tape) {
            Ok(true) => copy.write(&s.tape).map_err(anyhow::Error::new),
            Ok(false) => Err(anyhow::anyhow!("the tape was not synced in time")),
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(bytes) => {
                s.checkpoints.fetch_add(1, Ordering::Relaxed);
                s.checkpoint_bytes.store(bytes, Ordering::Relaxed);
                s.checkpoint_at.store(wall().0 as u64, Ordering::Relaxed);
            }
            Err(error) => {
                s.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "no checkpoint of the coverage ledger: the last one stays");
            }
        }
    }
}

fn append(lane: &mut Lane, s: &Summary<'_>, now: Ts) -> Result<(), TapeError> {
    let no = lane.topic(&Topic::about(Kind::Coverage, s.topic.subject()))?;
    let (kind, hours) = (s.topic.kind().to_string(), s.strip());
    let (from_id, to_id) = s.ids.unwrap_or((0, 0));
    let body = Body::Coverage(wholetape_model::Coverage {
        of: kind.as_str(),
        proof: s.proof,
        seq: s.ledger.seq,
        from_id,
        to_id,
        held: s.held,
        missing: s.missing.unwrap_or(0),
        never_published: s.never_published,
        from_ts: s.from,
        to_ts: s.to,
        hole_ns: s.hole_ns,
        open: s.gaps.open,
        healed: s.gaps.healed,
        lost: s.gaps.lost,
        hours_from: s.hours_from,
        hours: hours.as_str(),
    });
    let row = Row {
        ts_event: now,
        ts_recv: now,
        conn: 0,
        frame: 0,
        flags: RowFlags::TS_LOCAL,
        scales: Scales::default(),
        body,
    };
    lane.append(no, &row).map(|_| ())
}

fn wall() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
