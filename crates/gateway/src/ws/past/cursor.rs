//! A place in the history that outlives the reader which came to it: readers hold open files and decoded rows, so they are let go
//! where a client is slow, and opened again where they were.

use std::sync::Arc;

use wholetape_model::{RecordError, Topic, Ts};
use wholetape_tape::history::{History, HistoryError, Past, PastBatch, PastReader};

enum Order {
    /// Ascending by seq; everything up to `after` was given.
    Seq { after: u64 },
    /// The corrected order since `from` as of P; `last` was given.
    Time { from: Ts, asof: Option<u64>, last: Option<(Ts, u64)> },
}

/// Invariant: a record is given once, however often the reader is let go.
pub(super) struct Cursor {
    history: Arc<dyn History>,
    topic: Topic,
    order: Order,
    reader: Option<Box<dyn PastReader>>,
    batch: PastBatch,
    /// Entries of the batch that were given.
    taken: usize,
    ended: bool,
}

impl Cursor {
    pub fn by_seq(history: Arc<dyn History>, topic: Topic, after: u64) -> Self {
        Self::new(history, topic, Order::Seq { after })
    }

    pub fn by_time(history: Arc<dyn History>, topic: Topic, from: Ts, asof: Option<u64>) -> Self {
        Self::new(history, topic, Order::Time { from, asof, last: None })
    }

    fn new(history: Arc<dyn History>, topic: Topic, order: Order) -> Self {
        Self { history, topic, order, reader: None, batch: PastBatch::default(), taken: 0, ended: false }
    }

    /// The P of a cursor by time, once it has been asked for.
    pub const fn asof(&self) -> Option<u64> {
        match self.order {
            Order::Seq { .. } => None,
            Order::Time { asof, .. } => asof,
        }
    }

    /// Whether `advance` would have to read.
    pub fn is_drained(&self) -> bool {
        self.taken >= self.batch.len()
    }

    /// Lets the reader go.
    pub fn release(&mut self) {
        self.reader = None;
        (self.batch, self.taken) = (PastBatch::default(), 0);
    }

    /// Goes to the next entry; false at the end.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn advance(&mut self) -> Result<bool, HistoryError> {
        loop {
            while self.taken < self.batch.len() {
                self.taken += 1;
                if self.order.step(&self.batch.get(self.taken - 1)?) {
                    return Ok(true);
                }
            }
            if self.ended {
                return Ok(false);
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                slot => slot.insert(self.order.open(&*self.history, &self.topic)?),
            };
            self.taken = 0;
            self.ended = !reader.next(&mut self.batch)?;
        }
    }

    /// The entry that `advance` went to.
    ///
    /// # Errors
    /// None that `advance` did not have.
    pub fn entry(&self) -> Result<Past<'_>, RecordError> {
        self.batch.get(self.taken - 1)
    }
}

impl Order {
    fn open(&mut self, history: &dyn History, topic: &Topic) -> Result<Box<dyn PastReader>, HistoryError> {
        match self {
            Self::Seq { after } => history.by_seq(topic, *after),
            Self::Time { from, asof, last } => {
                let (p, reader) = history.by_time(topic, last.map_or(*from, |(ts, _)| ts), *asof)?;
                *asof = Some(p);
                Ok(reader)
            }
        }
    }

    /// Steps over an entry. False when it was given before.
    fn step(&mut self, past: &Past<'_>) -> bool {
        match (self, past) {
            (Self::Seq { after }, Past::Record { record, .. }) => reaches(after, record.seq()),
            (Self::Seq { after }, Past::Missed { to, .. }) => reaches(after, *to),
            (Self::Time { last, .. }, Past::Record { ts_init, record }) => {
                let here = (*ts_init, record.seq());
                let new = last.is_none_or(|last| here > last);
                if new {
                    *last = Some(here);
                }
                new
            }
            // Has no place in time: told again by a reader that was opened again.
            (Self::Time { .. }, Past::Missed { .. }) => true,
        }
    }
}

fn reaches(after: &mut u64, to: u64) -> bool {
    let new = to > *after;
    *after = (*after).max(to);
    new
}
