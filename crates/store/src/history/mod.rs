//! Positions older than the tape, and history by time: what the catalog holds, told as one log.
//!
//! ```text
//! manifest.log ─► Tail: what is new ─► Stock: one topic's parts ─┬► BySeq: order of arrival, up to the first seq that waits
//! (the writer's)   (manifest/tail.rs)   (here)                   └► ByTime: corrected order, as of P
//! ```
//!
//! It works on the files alone, beside the writer, in its process or another. What it stands on: a seq is in one part, or was let go
//! on purpose, or it waits in the writer's memory; late rows wait longer than the live ones behind them. So what is stored
//! ends before the first seq that is nowhere ([`Held::stored`]), and no row with such a seq or a lower one comes to the catalog any more:
//! an answer as of P stays what it is, and following from P misses and repeats nothing.
//!
//! Files are replaced while they are read (late rows, seals, retention). Whoever finds one gone looks at the manifest again and goes
//! on behind what was given.

mod by_seq;
mod by_time;
mod pending;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wholetape_model::{Topic, Ts};
use wholetape_tape::Disk;
use wholetape_tape::history::{Held, History, HistoryError, PastReader};

pub use by_seq::{BySeq, Effort};
pub use by_time::ByTime;

use crate::StoreError;
use crate::columns::Dialect;
use crate::manifest::{Part, State, Tail};
use crate::scan::may_have_been_replaced;
use crate::seqs::Seqs;

/// Records, and bytes, that a batch is filled up to.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of rows that were decoded before it is their turn.
const MEMORY: usize = 32 << 20;

/// How often files that are gone are looked for anew before it is an error; the wait doubles from the second time on.
const LOOKS_MAX: u32 = 8;
const LOOK_WAIT: Duration = Duration::from_millis(20);

/// Reaches whoever writes the catalog.
pub trait AskWriter: Send + Sync {
    /// Has all stored that the tape holds of a topic now, late rows too. False: not this time (nobody writes, it was done a moment
    /// ago, no answer in time); then history ends where it ended.
    fn store(&self, topic: &Topic) -> bool;
}

/// The catalog of a data directory as history.
#[derive(Clone)]
pub struct CatalogHistory {
    files: Arc<Files>,
    writer: Option<Arc<dyn AskWriter>>,
    memory: usize,
}

/// The catalog as readers see it.
struct Files {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    log: Mutex<Tail>,
}

impl CatalogHistory {
    /// Of the catalog below `data`, which need not be there yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, data: &Path) -> Self {
        let log = Mutex::new(Tail::new(disk.clone(), &data.join(Dialect::V2.root())));
        Self { files: Arc::new(Files { disk, data: data.to_owned(), log }), writer: None, memory: MEMORY }
    }

    /// Asked to store what waits before history is read by time.
    #[must_use]
    pub fn with_writer(mut self, writer: Arc<dyn AskWriter>) -> Self {
        self.writer = Some(writer);
        self
    }

    /// Each reader by seq takes at most so many bytes for rows that were decoded before it is their turn; 32 MiB otherwise.
    #[must_use]
    pub const fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// What is held of a topic.
    ///
    /// # Errors
    /// A damaged manifest, or one that cannot be read.
    pub fn held(&self, topic: &Topic) -> Result<Option<Held>, StoreError> {
        Ok(self.files.stock(topic.as_str())?.held())
    }

    /// As [`History::by_seq`].
    ///
    /// # Errors
    /// As [`CatalogHistory::held`].
    pub fn by_seq(&self, topic: &Topic, after: u64) -> Result<BySeq, StoreError> {
        BySeq::open(self.files.clone(), topic, after, self.memory)
    }

    /// As [`History::by_time`].
    ///
    /// # Errors
    /// As [`CatalogHistory::held`]; a file that cannot be read; [`StoreError::Beyond`].
    pub fn by_time(&self, topic: &Topic, from: Ts, asof: Option<u64>) -> Result<(u64, ByTime), StoreError> {
        if let (None, Some(writer)) = (asof, &self.writer) {
            writer.store(topic);
        }
        let stored = self.files.stock(topic.as_str())?.stored;
        let upto = asof.unwrap_or(stored);
        if upto > stored {
            return Err(StoreError::Beyond { topic: topic.as_str().to_owned(), asof: upto, stored });
        }
        Ok((upto, ByTime::open(&self.files, topic, from, upto)?))
    }
}

impl History for CatalogHistory {
    fn held(&self, topic: &Topic) -> Result<Option<Held>, HistoryError> {
        Ok(Self::held(self, topic)?)
    }

    fn by_seq(&self, topic: &Topic, after: u64) -> Result<Box<dyn PastReader>, HistoryError> {
        Ok(Box::new(Self::by_seq(self, topic, after)?))
    }

    fn by_time(&self, topic: &Topic, from: Ts, asof: Option<u64>) -> Result<(u64, Box<dyn PastReader>), HistoryError> {
        let (upto, reader) = Self::by_time(self, topic, from, asof)?;
        Ok((upto, Box::new(reader)))
    }
}

impl Files {
    /// What is stored of a topic now; nothing where there is no catalog.
    fn stock(&self, topic: &str) -> Result<Stock, StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.look() {
            Ok(state) => Ok(Stock::of(state, topic)),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Stock::default()),
            Err(e) => Err(e),
        }
    }
}

/// Does what reads files, and where one is gone does it again. `again` goes before each time but the first.
fn persist<C, T>(
    it: &mut C,
    mut again: impl FnMut(&mut C) -> Result<(), StoreError>,
    mut work: impl FnMut(&mut C) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut looks = 0;
    loop {
        match work(it) {
            Err(e) if may_have_been_replaced(&e) && looks < LOOKS_MAX => {
                if looks > 0 {
                    std::thread::sleep(LOOK_WAIT * (1 << (looks - 1)));
                }
                looks += 1;
                again(it)?;
            }
            done => return done,
        }
    }
}

/// What is stored of one topic.
#[derive(Debug, Clone, Default)]
struct Stock {
    /// By time.
    parts: Vec<Part>,
    /// Seqs that are in a part.
    held: Seqs,
    /// No seq up to here waits to be stored: it is in a part, was let go, or was gone before there was a catalog.
    stored: u64,
}

impl Stock {
    fn of(state: &State, topic: &str) -> Self {
        let mut parts: Vec<Part> = state.parts.of_topic(topic).cloned().collect();
        parts.sort_unstable_by_key(|p| (p.from, p.part));
        let mut held = Seqs::default();
        for part in &parts {
            held.add_all(&part.seqs);
        }
        let mut known = held.clone();
        if let Some(retired) = state.retired.get(topic) {
            known.add_all(retired);
        }
        // What was gone before the catalog began is let go in its first commit. Older builds did not say so: there the first seq
        // that was stored is where it began.
        let stored = known.intervals().first().map_or(0, |run| run.1);
        Self { parts, held, stored }
    }

    fn held(&self) -> Option<Held> {
        let (first, _) = self.held.ends()?;
        // The first rows of a topic may be late ones that wait, with others stored behind them.
        Some(Held { earliest: (first - 1).min(self.stored), stored: self.stored })
    }
}
