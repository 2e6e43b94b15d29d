//! Onto a tape of its own: the same topics, rows as they were, seqs of the new tape's.
//!
//! The new tape numbers each topic from 1, in the order of the replay: late rows stand where they belong. So a retract, which names
//! a seq, gets the new one's (0 where the row it withdraws is not on the new tape). After a seek the book that readers hold is no
//! longer what the next delta stands on: a mark `syncing` says so, until the next snapshot or checkpoint.
//!
//! A replay can be had again, so nothing of it is forced to the disk before its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use wholetape_model::{Body, GapCause, Kind, Record, Row, RowFlags, Scales, Topic, Ts, Validity, ValidityState};
use wholetape_tape::{Access, Disk, DiskFile, Lane, RealDisk, Tape, TapeConfig, TopicNo};

use super::Out;
use crate::StoreError;

/// Stretches of seqs remembered per topic, for retracts.
const STRETCHES_MAX: usize = 1 << 16;

/// Settings of a replay's tape: its readers may make it wait.
#[must_use]
pub fn tape_config() -> TapeConfig {
    TapeConfig { allow_block: true, disk: Arc::new(Lazy), ..TapeConfig::default() }
}

/// A disk that forces nothing to the platter: a power loss costs a replay, which is begun anew.
struct Lazy;

#[derive(Debug)]
struct LazyFile(Arc<dyn DiskFile>);

impl DiskFile for LazyFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for Lazy {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LazyFile(RealDisk.open(path, access)?)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Where the seqs of the catalog are on the new tape, as stretches.
#[derive(Debug, Default)]
struct Seqs(BTreeMap<u64, (u64, u64)>);

impl Seqs {
    fn put(&mut self, old: u64, new: u64) {
        if let Some((from, (to, len))) = self.0.range_mut(..=old).next_back()
            && *from + *len == old
            && *to + *len == new
        {
            *len += 1;
            return;
        }
        if self.0.len() >= STRETCHES_MAX {
            self.0.pop_first();
        }
        self.0.insert(old, (new, 1));
    }

    fn find(&self, old: u64) -> u64 {
        let found = self.0.range(..=old).next_back();
        found.filter(|(from, (_, len))| old - **from < *len).map_or(0, |(from, (to, _))| to + (old - from))
    }
}

struct Seat {
    no: TopicNo,
    topic: Topic,
    seqs: Seqs,
    last_recv: Ts,
}

/// See the module.
pub struct OntoTape {
    lane: Lane,
    seats: Vec<Seat>,
}

impl fmt::Debug for OntoTape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OntoTape").field("topics", &self.seats.len()).finish_non_exhaustive()
    }
}

impl OntoTape {
    /// Takes the topics on a new tape.
    ///
    /// # Errors
    /// A tape that has rows already; one that cannot be written.
    pub fn new(tape: &Tape, topics: &[Topic]) -> Result<Self, StoreError> {
        if tape.topics().iter().any(|t| t.head > 0) {
            let why = "it holds a tape already: a replay makes one of its own".to_owned();
            return Err(StoreError::Changed { path: tape.dir().to_owned(), why });
        }
        let mut lane = tape.lane("replay")?;
        let mut seats = Vec::with_capacity(topics.len());
        for topic in topics {
            let no = lane.topic(topic)?;
            seats.push(Seat { no, topic: topic.clone(), seqs: Seqs::default(), last_recv: Ts::ZERO });
        }
        lane.commit()?;
        Ok(Self { lane, seats })
    }
}

impl Out for OntoTape {
    #[inline]
    fn row(&mut self, topic: usize, _: Ts, record: Record<'_>) -> Result<(), StoreError> {
        let seat = &mut self.seats[topic];
        let new = if record.is_mark()
            && let Ok(Body::Retract(old)) = record.view()
        {
            let row = Row { body: Body::Retract(seat.seqs.find(old)), ..record.row()? };
            self.lane.append(seat.no, &row)?
        } else {
            self.lane.append_record(seat.no, record)?
        };
        seat.seqs.put(record.seq(), new);
        seat.last_recv = record.ts_recv();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(self.lane.commit()?)
    }

    fn jumped(&mut self, to: Ts) -> Result<(), StoreError> {
        for seat in &self.seats {
            if seat.topic.kind() != Kind::Book || self.lane.head(seat.no) == 0 {
                continue;
            }
            let body = Body::Validity(Validity {
                state: ValidityState::Syncing,
                cause: GapCause::Resync,
                update_id: 0,
                why: "the replay was told to go elsewhere",
            });
            let row = Row {
                ts_event: to,
                ts_recv: to,
                conn: 0,
                frame: 0,
                flags: RowFlags::TS_LOCAL,
                scales: Scales::default(),
                body,
            };
            self.lane.append(seat.no, &row)?;
        }
        Ok(self.lane.commit()?)
    }
}
