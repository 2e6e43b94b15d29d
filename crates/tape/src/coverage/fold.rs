//! From the tape into the ledger: reading on from where it stands, for the live keeper and for a look from outside alike.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use wholetape_model::{Body, Topic};

use super::checkpoint::{self, CheckpointError};
use super::{Coverage, Folded, Rule, TopicLedger};
use crate::disk::RealDisk;
use crate::error::TapeError;
use crate::reader::{Delivery, From, ReaderOptions};
use crate::tape::Tape;

/// Records per turn: so long the ledger is locked.
const BATCH: usize = 4_096;

/// A ledger as it was found.
#[derive(Debug)]
pub struct Opened {
    pub coverage: Coverage,
    /// Why there was none to go on from, where there should have been one.
    pub problem: Option<CheckpointError>,
}

/// What a turn did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caught {
    pub records: u64,
    /// Topics of which the ledger knew more than the tape: they were folded anew from what the tape holds.
    pub rebuilt: Vec<Topic>,
}

impl Coverage {
    /// The ledger of the tape's last checkpoint, or an empty one; [`Coverage::catch_up`] does the rest. Nothing is changed.
    #[must_use]
    pub fn open(tape: &Tape) -> Opened {
        let found = checkpoint::bytes(&*tape.inner().config.disk, tape.dir());
        Self::opened(tape, found)
    }

    /// Tape and ledger of a directory, also beside the process that owns it: nothing is changed, and it shows what was there when it
    /// was opened.
    ///
    /// # Errors
    /// As [`Tape::open_reader`].
    pub fn open_beside(dir: &Path) -> Result<(Tape, Opened), TapeError> {
        // The checkpoint first: the tape must not be older than it.
        let found = checkpoint::bytes(&RealDisk, dir);
        let tape = Tape::open_reader(dir)?;
        let opened = Self::opened(&tape, found);
        Ok((tape, opened))
    }

    fn opened(tape: &Tape, found: Result<Option<Vec<u8>>, CheckpointError>) -> Opened {
        let read = found.and_then(|b| b.map(|b| checkpoint::read(tape.dir(), &b, tape.epoch())).transpose());
        match read {
            Ok(found) => Opened { coverage: found.unwrap_or_else(|| Self::new(tape.epoch())), problem: None },
            Err(problem) => Opened { coverage: Self::new(tape.epoch()), problem: Some(problem) },
        }
    }

    /// Folds everything that the tape holds now and the ledger does not know. The lock is held for a few thousand records at a
    /// time; `stop` is asked in between.
    ///
    /// # Errors
    /// [`TapeError::Io`] when a topic cannot be looked up.
    pub fn catch_up(cell: &Mutex<Self>, tape: &Tape, stop: &dyn Fn() -> bool) -> Result<Caught, TapeError> {
        let lock = || cell.lock().unwrap_or_else(PoisonError::into_inner);
        let mut caught = Caught::default();
        let mut batch = Vec::new();
        for state in tape.topics() {
            let Some(rule) = Rule::of(state.topic.kind()) else { continue };
            let mut seq = lock().topic(&state.topic).map_or(0, |t| t.seq);
            if seq > state.head {
                lock().topics.insert(state.topic.clone(), TopicLedger::new(rule));
                caught.rebuilt.push(state.topic.clone());
                seq = 0;
            }
            while seq < state.head && !stop() {
                let mut reader = tape.reader(&state.topic, From::Seq(seq), ReaderOptions::default())?;
                let mut rewound = false;
                while !rewound && reader.position() < state.head && reader.poll_next(&mut batch, BATCH) > 0 {
                    caught.records += batch.len() as u64;
                    rewound = lock().take(tape, &state.topic, &batch) == Folded::Rewound;
                    batch.clear();
                    if stop() {
                        return Ok(caught);
                    }
                }
                if rewound {
                    lock().topics.insert(state.topic.clone(), TopicLedger::new(rule));
                    caught.rebuilt.push(state.topic.clone());
                    seq = 0;
                } else {
                    break;
                }
            }
        }
        Ok(caught)
    }

    /// Takes what a reader of `topic` delivered.
    fn take(&mut self, tape: &Tape, topic: &Topic, batch: &[Delivery]) -> Folded {
        let mut find = |seq| id_of(tape, topic, seq);
        for delivery in batch {
            match delivery {
                Delivery::Record(shared) => {
                    if self.apply(topic, &shared.record(), &mut find) == Folded::Rewound {
                        return Folded::Rewound;
                    }
                }
                Delivery::Missed { to, why, .. } => self.missed(topic, *to, *why),
                Delivery::Disconnected { .. } => {}
            }
        }
        Folded::Yes
    }
}

/// The id of the row with this seq, while the tape has it.
fn id_of(tape: &Tape, topic: &Topic, seq: u64) -> Option<u64> {
    let mut reader = tape.reader(topic, From::Seq(seq.checked_sub(1)?), ReaderOptions::default()).ok()?;
    let mut out = Vec::new();
    reader.poll_next(&mut out, 1);
    let record = out.first()?.record()?;
    match record.view().ok()? {
        Body::Trade(t) => t.counted(record.flags()),
        _ => None,
    }
}
