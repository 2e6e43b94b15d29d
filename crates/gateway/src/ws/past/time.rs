//! History since a time: rows in the corrected order as of a seq P, in `hist` batches; `subd` at P follows them.
//!
//! A row's number is its place behind `ts` as of P, the same for everyone who asks for these two (and for the view `clean`, which
//! leaves out the same rows for all). So a client whose connection broke says how many it has, and is given the rest. Rows `missed`
//! stand outside that count, and those left out: the batch of the row behind them says how many they are.
//!
//! A book's first row is its whole state at `ts`, made from what lies before; where nothing whole is held there, it is the first
//! whole state behind `ts`.

use std::sync::Arc;

use wholetape_model::{Kind, Record, Topic, Ts, ValidityState, View};
use wholetape_tape::history::{History, HistoryError, Past};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::reply::{self, Missed, Upto};
use wholetape_wire::{AsOf, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Code};
use wholetape_ws::Block;

use super::cursor::Cursor;
use super::item::Item;
use crate::ws::book::{Whole, is_checkpoint};
use crate::ws::clean::is_left_out;
use crate::ws::stream::Stream;

/// How far before `ts` a book's whole state is looked for, where the history does not begin with one by itself: there is a
/// checkpoint each hour.
const BACK_NS: i64 = 2 * 3_600 * 1_000_000_000;
/// Where there is none, so many times as far.
const FURTHER: i64 = 8;
/// Left free in a batch for what stands around its rows.
const AROUND: usize = 512;

pub(crate) struct TimeJob {
    history: Arc<dyn History>,
    topic: Topic,
    from: Ts,
    cursor: Cursor,
    look: Look,
    rows: Rows,
}

/// Where a book's whole state is looked for.
enum Look {
    /// It was found, or none is needed.
    No,
    /// In what lies before `from`; `seq` and `ts` are the newest message's.
    Back {
        since: Ts,
        whole: Whole,
        seq: u64,
        ts: Ts,
    },
    Ahead(Whole),
}

impl Look {
    fn back(since: Ts) -> Self {
        Self::Back { since, whole: Whole::default(), seq: 0, ts: since }
    }
}

impl TimeJob {
    /// `id` is the request's, with `clean` flagged rows are left out; `ts` in microseconds.
    pub fn new(
        history: Arc<dyn History>,
        stream: Arc<Stream>,
        (id, clean): (Option<u64>, bool),
        ts: i64,
        asof: Option<&AsOf>,
    ) -> Self {
        let (from, topic) = (Ts(ts.saturating_mul(1_000)), stream.topic.clone());
        let cursor = Cursor::by_time(history.clone(), topic.clone(), from, asof.map(|a| a.seq));
        let look = if topic.kind() == Kind::Book { Look::back(from) } else { Look::No };
        let rows = Rows::new(stream, (id, clean), asof.map_or(0, |a| a.i));
        Self { history, topic, from, cursor, look, rows }
    }

    pub fn step(&mut self, out: &mut Vec<Item>, room: usize) -> Result<bool, HistoryError> {
        let (first, is_book) = (out.len(), self.topic.kind() == Kind::Book);
        loop {
            let more = self.cursor.advance()?;
            self.rows.asof = self.cursor.asof().unwrap_or(0);
            if !more {
                if self.settle(out) {
                    self.rows.end(out);
                    return Ok(false);
                }
                return Ok(true);
            }
            let wanted = matches!(self.cursor.entry()?, Past::Record { ts_init, .. } if ts_init >= self.from);
            if wanted && !self.settle(out) {
                return Ok(true);
            }
            match (self.cursor.entry()?, &mut self.look) {
                (Past::Missed { .. }, Look::Back { since, .. }) => self.look = Look::back(*since),
                (Past::Missed { from, to }, look) => {
                    self.rows.missed(Missed { from, to, why: "retention" }, out);
                    if is_book {
                        *look = Look::Ahead(Whole::default());
                    }
                }
                (Past::Record { ts_init, record }, Look::No) => self.rows.record(&record, ts_init, out),
                (Past::Record { ts_init, record }, Look::Back { whole, seq, ts, .. }) => {
                    whole.take(&record);
                    if *seq == 0 || !is_checkpoint(&record) {
                        (*seq, *ts) = (record.seq(), ts_init);
                    }
                }
                (Past::Record { ts_init, record }, Look::Ahead(whole)) => {
                    if whole.take(&record) {
                        self.rows.book(whole, record.seq(), ts_init, out);
                        self.look = Look::No;
                    }
                }
            }
            let used: usize = out[first..].iter().map(Item::bytes).sum();
            if used >= room || self.cursor.is_drained() {
                return Ok(true);
            }
        }
    }

    /// Ends the looking back. False when it must go further back: what was read comes again.
    fn settle(&mut self, out: &mut Vec<Item>) -> bool {
        let Look::Back { since, whole, seq, ts } = &mut self.look else { return true };
        if whole.found() {
            self.rows.book(whole, *seq, *ts, out);
            self.look = Look::No;
        } else if since.0 == 0 {
            self.look = Look::Ahead(std::mem::take(whole));
        } else {
            let span = (self.from.0 - since.0).saturating_mul(FURTHER).max(BACK_NS);
            let since = Ts(self.from.0.saturating_sub(span).max(0));
            self.look = Look::back(since);
            self.cursor = Cursor::by_time(self.history.clone(), self.topic.clone(), since, self.cursor.asof());
            return false;
        }
        true
    }

    pub fn release(&mut self) {
        self.cursor.release();
    }
}

/// Makes batches of rows.
struct Rows {
    stream: Arc<Stream>,
    id: Option<u64>,
    asof: u64,
    /// Rows that the client has already.
    have: u64,
    /// Rows so far, those included.
    i: u64,
    batch: Vec<u8>,
    /// Rows in it.
    n: usize,
    clean: bool,
    /// Rows left out since the last row, and those in front of the batch's rows.
    left: u64,
    omitted: u64,
    state: Option<ValidityState>,
    row: Vec<u8>,
}

impl Rows {
    fn new(stream: Arc<Stream>, (id, clean): (Option<u64>, bool), have: u64) -> Self {
        let state = (stream.topic.kind() == Kind::Book).then_some(ValidityState::Live);
        let (batch, row) = (Vec::new(), Vec::new());
        Self { stream, id, asof: 0, have, i: 0, batch, n: 0, clean, left: 0, omitted: 0, state, row }
    }

    fn record(&mut self, record: &Record<'_>, ts_init: Ts, out: &mut Vec<Item>) {
        if self.clean && is_left_out(record) {
            // In front of a row that the client has it was told with that.
            self.left += u64::from(self.i >= self.have);
            return;
        }
        if let Ok(View::Validity(v)) = record.view() {
            self.state = Some(v.state);
        }
        let (topic, state) = (&self.stream.topic, self.state);
        let cx = Context { topic, epoch: &self.stream.epoch, prev: record.prev(), state, crc: None };
        self.row.clear();
        match message::row(&mut self.row, &cx, record, ts_init) {
            Ok(Written::Message) => self.push(true, out),
            Ok(Written::Nothing) => {}
            Err(_) => self.missed(Missed { from: record.seq(), to: record.seq(), why: "corrupt" }, out),
        }
    }

    fn book(&mut self, whole: &Whole, seq: u64, ts: Ts, out: &mut Vec<Item>) {
        self.state = whole.book.state;
        self.row.clear();
        whole.book.row(&mut self.row, &self.stream.topic, seq, ts);
        self.push(true, out);
    }

    fn missed(&mut self, hole: Missed<'_>, out: &mut Vec<Item>) {
        self.row.clear();
        reply::missed_row(&mut self.row, hole);
        self.push(false, out);
    }

    /// Puts the row into the batch, unless the client has it.
    fn push(&mut self, counts: bool, out: &mut Vec<Item>) {
        let had = counts && self.i < self.have;
        if !had && (self.n == BATCH_MESSAGES_MAX || self.batch.len() + self.row.len() + AROUND > BATCH_BYTES_MAX) {
            self.flush(out);
        }
        self.i += u64::from(counts);
        if !had {
            if self.n > 0 {
                self.batch.push(b',');
            }
            self.batch.extend_from_slice(&self.row);
            self.n += 1;
            self.omitted += std::mem::take(&mut self.left);
        }
    }

    fn flush(&mut self, out: &mut Vec<Item>) {
        if self.n == 0 && self.omitted == 0 {
            return;
        }
        let (topic, epoch) = (&self.stream.topic, &*self.stream.epoch);
        let mut whole = Vec::with_capacity(self.batch.len() + AROUND);
        let (n, omitted) = (self.n as u64, self.omitted);
        let upto = Upto { asof: self.asof, i: self.i, omitted };
        reply::hist(&mut whole, self.id, topic, epoch, upto, &self.batch);
        out.extend(Block::text(&whole).map(|text| Item::Rows { text, n, omitted }));
        (self.n, self.omitted) = (0, 0);
        self.batch.clear();
    }

    fn end(&mut self, out: &mut Vec<Item>) {
        self.flush(out);
        // Those behind the last row have a batch of their own, without rows.
        self.omitted = std::mem::take(&mut self.left);
        self.flush(out);
        if self.i < self.have {
            let msg = format!("from.i: there are {} rows since `ts` as of {}", self.i, self.asof);
            return out.push(Item::Refused { code: Code::BadPosition, msg });
        }
        out.push(Item::AsOf { seq: self.asof, state: self.state });
    }
}
