//! Positions older than the tape: messages in the order of seqs, by the one rule.
//!
//! It ends where the tape began when it was asked for: what both hold is read there, and a history need not hold it any more.
//!
//! Invariants: each message's range begins where the one before ended; what is held nowhere is named between them; a book is
//! never continued over a hole, but from the next whole state. Nothing is answered before the first record is known, so that
//! `subd` can name what lies before it.

use std::sync::Arc;

use wholetape_model::{Kind, Record, ValidityState, View};
use wholetape_tape::history::{History, HistoryError, Past};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::reply::Missed;
use wholetape_wire::tell_omitted;
use wholetape_ws::Block;

use super::cursor::Cursor;
use super::item::Item;
use super::last::Seek;
use crate::ws::book::{Whole, is_checkpoint};
use crate::ws::clean::Omission;
use crate::ws::stream::Stream;

const RETENTION: &str = "retention";

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// A client that holds everything up to `prev` goes on; `after` may lie behind that by what is no message. With `answer`
    /// it waits for an answer that names what is missing.
    Behind { after: u64, prev: u64, answer: bool },
    /// With the oldest record held.
    Earliest,
    /// So many messages back.
    Last(u64),
}

pub(crate) struct SeqJob {
    history: Arc<dyn History>,
    begin: Begin,
    /// The tape holds what lies behind this.
    until: u64,
    seek: Option<Seek>,
    cursor: Option<Cursor>,
    teller: Teller,
}

impl SeqJob {
    /// `left`: what the reader was not given behind where it stands.
    pub fn new(history: Arc<dyn History>, stream: Arc<Stream>, begin: Begin, until: u64, left: Omission) -> Self {
        let is_book = stream.topic.kind() == Kind::Book;
        let (at, prev, begun, tell) = match begin {
            Begin::Behind { after, prev, answer } => (after, prev, !answer, true),
            Begin::Earliest | Begin::Last(_) => (0, 0, false, false),
        };
        // Who has a state goes on with it; who has none needs a whole one.
        let whole = (is_book && !tell).then(Whole::default);
        let state = is_book.then_some(ValidityState::Live);
        let (skip, hole, scratch) = (0, None, Vec::new());
        let teller = Teller { stream, at, prev, left, begun, tell, skip, hole, whole, state, scratch };
        Self { history, begin, until, seek: None, cursor: None, teller }
    }

    pub fn step(&mut self, out: &mut Vec<Item>, room: usize) -> Result<bool, HistoryError> {
        let Some(cursor) = &mut self.cursor else {
            match self.locate()? {
                Some((at, skip)) => self.start(at, skip),
                None if self.seek.is_some() => {}
                None => return Ok(self.over(out)),
            }
            return Ok(true);
        };
        let (first, mut used) = (out.len(), 0);
        while used < room {
            let before = out.len();
            if self.teller.at >= self.until || !cursor.advance()? {
                return Ok(self.over(out));
            }
            match cursor.entry()? {
                Past::Record { record, .. } => self.teller.record(&record, out),
                Past::Missed { to, .. } => self.teller.lose(to.min(self.until), RETENTION),
            }
            used += out[before..].iter().map(Item::bytes).sum::<usize>();
            if cursor.is_drained() {
                break;
            }
        }
        count(&mut out[first..]);
        Ok(true)
    }

    /// Where it begins, and how many messages are left out there; `None` when that is not known yet, or nowhere.
    fn locate(&mut self) -> Result<Option<(u64, u64)>, HistoryError> {
        let (topic, tape) = (&self.teller.stream.topic, &self.teller.stream.tape);
        match self.begin {
            Begin::Behind { after, .. } => Ok(Some((after, 0))),
            Begin::Earliest => {
                Ok(self.history.held(topic)?.filter(|h| h.earliest < self.until).map(|h| (h.earliest, 0)))
            }
            Begin::Last(n) => {
                if self.seek.is_none() {
                    self.seek = Seek::start(&self.history, tape, topic, n)?;
                }
                self.seek.as_mut().map_or(Ok(None), Seek::step)
            }
        }
    }

    fn start(&mut self, at: u64, skip: u64) {
        self.seek = None;
        self.cursor = Some(Cursor::by_seq(self.history.clone(), self.teller.stream.topic.clone(), at));
        if !matches!(self.begin, Begin::Behind { .. }) {
            (self.teller.at, self.teller.prev, self.teller.skip) = (at, at, skip);
        }
    }

    fn over(&mut self, out: &mut Vec<Item>) -> bool {
        self.end(out, false);
        false
    }

    pub fn end(&mut self, out: &mut Vec<Item>, failed: bool) {
        self.teller.end(out, failed);
        count(out);
    }

    pub fn release(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.release();
        }
        if let Some(seek) = &mut self.seek {
            seek.release();
        }
    }
}

/// How many messages stand behind a beginning.
fn count(items: &mut [Item]) {
    let messages = items.iter().filter(|i| matches!(i, Item::Message { .. })).count() as u64;
    if let Some(Item::Begin { n, .. }) = items.iter_mut().find(|i| matches!(i, Item::Begin { .. })) {
        *n = messages;
    }
}

/// Makes items of records.
struct Teller {
    stream: Arc<Stream>,
    /// Up to here everything is given, named, left out, or no message.
    at: u64,
    /// The seq of the last message, or what the client began with: where the next range begins.
    prev: u64,
    left: Omission,
    begun: bool,
    /// A hole at the beginning is named: the client said that it stands there.
    tell: bool,
    /// Messages still to be left out.
    skip: u64,
    /// A hole that is not named yet: where it ends, and why.
    hole: Option<(u64, &'static str)>,
    /// Looks for a whole state.
    whole: Option<Whole>,
    state: Option<ValidityState>,
    scratch: Vec<u8>,
}

impl Teller {
    fn record(&mut self, record: &Record<'_>, out: &mut Vec<Item>) {
        self.at = record.seq();
        if self.skip > 0 {
            if !is_checkpoint(record) {
                self.skip -= 1;
                self.prev = record.seq();
            }
            return;
        }
        if let Some(mut whole) = self.whole.take() {
            match whole.take(record) {
                true => self.snap(&whole, record.seq(), out),
                false => self.whole = Some(whole),
            }
            return;
        }
        self.name_hole(out);
        if self.left.takes(self.prev, record) {
            return;
        }
        if let Ok(View::Validity(v)) = record.view() {
            self.state = Some(v.state);
        }
        let stream = &self.stream;
        let cx = Context { topic: &stream.topic, epoch: &stream.epoch, prev: self.prev, state: self.state, crc: None };
        self.scratch.clear();
        match message::record(&mut self.scratch, &cx, record) {
            Ok(Written::Message) => self.push(record.seq(), out),
            Ok(Written::Nothing) => {}
            Err(_) => self.lose(record.seq(), "corrupt"),
        }
    }

    /// What lies before `to` cannot be given.
    fn lose(&mut self, to: u64, why: &'static str) {
        self.at = to;
        self.hole = Some((to, self.hole.map_or(why, |(_, first)| first)));
        if self.skip == 0 && self.stream.topic.kind() == Kind::Book {
            self.whole.get_or_insert_default();
        }
    }

    /// Answers or goes on in front of a message that begins where the hole, if there is one, ends.
    fn name_hole(&mut self, out: &mut Vec<Item>) {
        let hole = self.hole.take().filter(|(to, _)| *to > self.prev);
        let (to, why) = hole.unwrap_or((self.prev, RETENTION));
        match (self.begun, hole) {
            (true, Some(_)) => out.push(Item::Missed { to, why }),
            (true, None) => {}
            (false, _) => {
                let missed = hole.filter(|_| self.tell).map(|_| Missed { from: self.prev + 1, to, why });
                out.push(Item::Begin { seq: to, missed, n: 0 });
            }
        }
        (self.begun, self.prev) = (true, to);
    }

    /// The book is whole again at `seq`: what the client cannot use lies before it.
    fn snap(&mut self, whole: &Whole, seq: u64, out: &mut Vec<Item>) {
        if self.begun || self.tell {
            let why = self.hole.map_or(RETENTION, |(_, why)| why);
            self.hole = Some((seq - 1, why));
            self.name_hole(out);
        } else {
            out.push(Item::Begin { seq, missed: None, n: 0 });
            (self.begun, self.hole) = (true, None);
        }
        self.state = whole.book.state;
        self.scratch.clear();
        whole.book.snap(&mut self.scratch, &self.stream.topic, &self.stream.epoch, seq);
        self.push(seq, out);
    }

    fn push(&mut self, seq: u64, out: &mut Vec<Item>) {
        let omitted = self.left.behind(self.prev);
        if omitted > 0 {
            tell_omitted(&mut self.scratch, self.prev, omitted);
        }
        if let Some(text) = Block::text(&self.scratch) {
            self.prev = seq;
            out.push(Item::Message { seq, text, omitted });
        }
    }

    fn end(&mut self, out: &mut Vec<Item>, failed: bool) {
        let broken = self.whole.is_some();
        if self.begun && !broken && self.hole.is_some() {
            self.name_hole(out);
        }
        out.push(Item::End { at: self.at, broken, failed, state: self.state, left: self.left });
    }
}
