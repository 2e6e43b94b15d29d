//! Where the last n messages begin, when the tape holds fewer: seqs say about how far back that is, counting says where.

use std::sync::Arc;

use wholetape_model::Topic;
use wholetape_tape::history::{History, HistoryError, Past};
use wholetape_tape::{From, ReaderOptions, Tape, TapeError};

use super::cursor::Cursor;
use crate::ws::book::is_checkpoint;

/// Goes back by stretches until they hold enough messages. Seqs without a message (a range lost with the power, checkpoints,
/// holes) make a stretch hold fewer than it is long: each one that comes short is followed by a longer one before it.
pub(super) struct Seek {
    history: Arc<dyn History>,
    topic: Topic,
    /// Messages to find before the tape's.
    want: u64,
    /// Messages behind `high`.
    counted: u64,
    /// The stretch that is counted: behind `low`, up to `high`.
    low: u64,
    high: u64,
    /// Nothing older is held.
    floor: u64,
    stride: u64,
    cursor: Cursor,
}

impl Seek {
    /// `None` when the tape holds what there is.
    pub fn start(history: &Arc<dyn History>, tape: &Tape, topic: &Topic, n: u64) -> Result<Option<Self>, HistoryError> {
        let Some(held) = history.held(topic)? else { return Ok(None) };
        let (high, have) = on_tape(tape, topic, n)?;
        let want = n.saturating_sub(have);
        if want == 0 || held.earliest >= high {
            return Ok(None);
        }
        let low = high.saturating_sub(want).max(held.earliest);
        let cursor = Cursor::by_seq(history.clone(), topic.clone(), low);
        let (history, topic) = (history.clone(), topic.clone());
        Ok(Some(Self { history, topic, want, counted: 0, low, high, floor: held.earliest, stride: want, cursor }))
    }

    /// Counts on. The position, and how many messages behind it are too many, once found.
    pub fn step(&mut self) -> Result<Option<(u64, u64)>, HistoryError> {
        while self.cursor.advance()? {
            match self.cursor.entry()? {
                Past::Record { record, .. } if record.seq() <= self.high => {
                    self.counted += u64::from(!is_checkpoint(&record));
                }
                Past::Missed { from, .. } if from <= self.high => {}
                _ => break,
            }
            if self.cursor.is_drained() {
                return Ok(None);
            }
        }
        if self.counted >= self.want || self.low <= self.floor {
            return Ok(Some((self.low, self.counted.saturating_sub(self.want))));
        }
        self.stride = self.stride.saturating_mul(2);
        self.high = self.low;
        self.low = self.low.saturating_sub(self.stride).max(self.floor);
        self.cursor = Cursor::by_seq(self.history.clone(), self.topic.clone(), self.low);
        Ok(None)
    }

    pub fn release(&mut self) {
        self.cursor.release();
    }
}

/// The tape's earliest position, and how many records lie behind it, counted up to `most`.
fn on_tape(tape: &Tape, topic: &Topic, most: u64) -> Result<(u64, u64), TapeError> {
    let at = |from| Ok::<_, TapeError>(tape.reader(topic, from, ReaderOptions::default())?.position());
    loop {
        let earliest = at(From::Earliest)?;
        let (mut low, mut high) = (0, most.min(tape.head(topic).unwrap_or(0).saturating_sub(earliest)));
        while low < high {
            let mid = low.midpoint(high);
            if at(From::Last(mid))? <= earliest { high = mid } else { low = mid + 1 }
        }
        // Retention may have moved it meanwhile.
        if at(From::Earliest)? == earliest {
            return Ok((earliest, low));
        }
    }
}
