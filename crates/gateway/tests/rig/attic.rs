//! A history in memory: takes what is on the tape when told to, loses ranges, waits and fails when told to. It is also the model of
//! what clients may be given.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{Record, RowFlags, Topic, Ts, View};
use wholetape_tape::history::{Held, History, HistoryError, PastBatch, PastReader};
use wholetape_tape::{Delivery, From, ReaderOptions, Retention, Tape, TapeConfig};

use super::{BOOK, Rig, TRADE, t};

/// Entries of a batch.
const BATCH: usize = 50;

#[derive(Default)]
pub struct Shelf {
    /// By seq: `ts_init` and the record.
    pub rows: BTreeMap<u64, (Ts, Vec<u8>)>,
    pub stored: u64,
}

pub struct Attic {
    tape: Tape,
    shelves: Mutex<HashMap<Topic, Shelf>>,
    /// Readers that are open.
    pub readers: AtomicUsize,
    /// How often one was opened.
    pub opened: AtomicUsize,
    /// Rows given by all of them.
    pub given: AtomicUsize,
    /// Before each batch.
    pub wait: Mutex<Duration>,
    /// No record of this seq or behind it can be read.
    pub fails_from: AtomicU64,
}

impl Attic {
    pub fn new(tape: &Tape) -> Arc<Self> {
        Arc::new(Self {
            tape: tape.clone(),
            shelves: Mutex::default(),
            readers: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            wait: Mutex::default(),
            fails_from: AtomicU64::new(u64::MAX),
        })
    }

    /// Takes what the tape holds up to `upto`, and lets the tape have its way with that.
    pub fn store(&self, topic: &Topic, upto: u64) {
        let mut shelves = self.shelves.lock().unwrap();
        let shelf = shelves.entry(topic.clone()).or_default();
        let mut reader = self.tape.reader(topic, From::Seq(shelf.stored), ReaderOptions::default()).unwrap();
        let mut batch = Vec::new();
        while shelf.stored < upto && reader.poll_next(&mut batch, 1) > 0 {
            for delivery in batch.drain(..) {
                match delivery {
                    Delivery::Record(shared) => {
                        let r = shared.record();
                        // A late row stands at its event's time.
                        let ts_init = if r.flags().is_late() { r.ts_event() } else { r.ts_recv() };
                        shelf.rows.insert(r.seq(), (ts_init, r.bytes().to_vec()));
                        shelf.stored = r.seq();
                    }
                    Delivery::Missed { to, .. } => shelf.stored = to,
                    Delivery::Disconnected { .. } => unreachable!(),
                }
            }
        }
        let stored: Vec<_> = shelves.iter().map(|(t, s)| (t.clone(), s.stored)).collect();
        self.tape.hold(stored);
    }

    /// Loses what it holds of a range.
    pub fn lose(&self, topic: &Topic, range: std::ops::RangeInclusive<u64>) {
        let mut shelves = self.shelves.lock().unwrap();
        shelves.get_mut(topic).unwrap().rows.retain(|seq, _| !range.contains(seq));
    }

    pub fn look<T>(&self, topic: &Topic, f: impl FnOnce(&Shelf) -> T) -> T {
        f(self.shelves.lock().unwrap().entry(topic.clone()).or_default())
    }

    fn pause(&self) {
        let wait = *self.wait.lock().unwrap();
        std::thread::sleep(wait);
    }

    fn open(this: &Arc<Self>) -> Arc<Self> {
        this.opened.fetch_add(1, Ordering::SeqCst);
        this.readers.fetch_add(1, Ordering::SeqCst);
        this.clone()
    }
}

fn parse(bytes: &[u8]) -> Record<'_> {
    Record::parse(bytes, false).unwrap()
}

/// What the gateway is given: readers need the attic itself.
pub struct Seam(pub Arc<Attic>);

impl History for Seam {
    fn held(&self, topic: &Topic) -> Result<Option<Held>, HistoryError> {
        self.0.pause();
        Ok(self.0.look(topic, |shelf| {
            let (_, (_, first)) = shelf.rows.first_key_value()?;
            Some(Held { earliest: parse(first).prev(), stored: shelf.stored })
        }))
    }

    fn by_seq(&self, topic: &Topic, after: u64) -> Result<Box<dyn PastReader>, HistoryError> {
        let until = self.0.look(topic, |shelf| if shelf.rows.is_empty() { 0 } else { shelf.stored });
        let attic = Attic::open(&self.0);
        Ok(Box::new(BySeq { attic, topic: topic.clone(), at: after, until }))
    }

    fn by_time(&self, topic: &Topic, from: Ts, asof: Option<u64>) -> Result<(u64, Box<dyn PastReader>), HistoryError> {
        self.0.pause();
        // Also one that came after P was told (a server that died) has what the tape has up to there.
        self.0.store(topic, asof.unwrap_or(u64::MAX));
        let stored = self.0.look(topic, |shelf| shelf.stored);
        let p = asof.unwrap_or(stored);
        if p > stored {
            return Err(format!("{p} is beyond what is stored, {stored}").into());
        }
        let mut rows: Vec<(Ts, u64, Vec<u8>)> = self.0.look(topic, |shelf| {
            let all = shelf.rows.iter().filter(|(seq, (ts, _))| **seq <= p && *ts >= from);
            all.map(|(seq, (ts, bytes))| (*ts, *seq, bytes.clone())).collect()
        });
        rows.sort();
        Ok((p, Box::new(ByTime { attic: Attic::open(&self.0), rows, at: 0 })))
    }
}

struct BySeq {
    attic: Arc<Attic>,
    topic: Topic,
    at: u64,
    until: u64,
}

impl PastReader for BySeq {
    fn next(&mut self, batch: &mut PastBatch) -> Result<bool, HistoryError> {
        self.attic.pause();
        batch.clear();
        let fails_from = self.attic.fails_from.load(Ordering::SeqCst);
        let (at, until) = (&mut self.at, self.until);
        self.attic.look(&self.topic, |shelf| {
            for (seq, (ts_init, bytes)) in shelf.rows.range(*at + 1..) {
                if *seq > until || batch.len() >= BATCH || *seq >= fails_from {
                    break;
                }
                let record = parse(bytes);
                if record.prev() > *at {
                    batch.push_missed(*at + 1, record.prev());
                }
                batch.push(*ts_init, record);
                *at = *seq;
            }
            if batch.len() < BATCH && *at < until && fails_from > until {
                batch.push_missed(*at + 1, until);
                *at = until;
            }
        });
        self.attic.given.fetch_add(batch.len(), Ordering::SeqCst);
        if batch.is_empty() && *at < until {
            return Err("the attic burns".into());
        }
        Ok(!batch.is_empty())
    }
}

struct ByTime {
    attic: Arc<Attic>,
    rows: Vec<(Ts, u64, Vec<u8>)>,
    at: usize,
}

impl PastReader for ByTime {
    fn next(&mut self, batch: &mut PastBatch) -> Result<bool, HistoryError> {
        self.attic.pause();
        batch.clear();
        let fails_from = self.attic.fails_from.load(Ordering::SeqCst);
        for (ts_init, seq, bytes) in self.rows.iter().skip(self.at).take(BATCH) {
            if *seq >= fails_from {
                if batch.is_empty() {
                    return Err("the attic burns".into());
                }
                break;
            }
            batch.push(*ts_init, parse(bytes));
            self.at += 1;
        }
        self.attic.given.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(!batch.is_empty())
    }
}

impl Drop for BySeq {
    fn drop(&mut self) {
        self.attic.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for ByTime {
    fn drop(&mut self) {
        self.attic.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A tape that keeps what is not stored, and about 64 KiB.
fn small() -> TapeConfig {
    let retention = Retention { age_max: None, bytes_max: Some(64 << 10) };
    TapeConfig { segment_bytes: 32 << 10, memory_bytes: 64 << 10, retention, ..TapeConfig::default() }
}

pub async fn rig_with(config: GatewayConfig) -> (Rig, Arc<Attic>) {
    let mut attic = None;
    let rig = Rig::open_with(TempDir::new().unwrap(), config, small(), |tape| {
        let made = attic.insert(Attic::new(tape)).clone();
        // Nothing goes that is not in the attic.
        made.store(&t(TRADE), 0);
        made.store(&t(BOOK), 0);
        Some(Arc::new(Seam(made)))
    })
    .await;
    (rig, attic.unwrap())
}

/// Rows of the trades' topic in small batches: a segment ends between two.
pub fn fill_with(
    rig: &mut Rig,
    ids: std::ops::RangeInclusive<u64>,
    mut row: impl FnMut(u64) -> (View<'static>, RowFlags),
) {
    let first = *ids.start();
    for id in ids {
        let (view, flags) = row(id);
        rig.append_only(TRADE, view, flags);
        if (id - first) % 50 == 49 {
            rig.lane.commit().unwrap();
        }
    }
    rig.lane.commit().unwrap();
}

/// Trades in small batches: a segment ends between two.
pub fn fill(rig: &mut Rig, ids: std::ops::RangeInclusive<u64>) {
    let last = *ids.end();
    for first in ids.step_by(50) {
        rig.trades(first..=last.min(first + 49));
    }
}
