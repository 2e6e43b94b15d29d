//! Readers that come and go: each stops where it is, across restarts of the process too, and goes on there later (P5).
//!
//! What one of them got is compared with what the witness saw: every seq between its first and its last position was delivered
//! to it as that very record, or named to it as missed, or lies in a range that a record covers.

use std::collections::BTreeMap;

use wholetape_model::Topic;
use wholetape_tape::{Delivery, From, Policy, Reader, ReaderOptions, Tape};

use crate::dice::Dice;
use crate::witness::{Hash, Witness};

#[derive(Debug)]
pub struct Cursor {
    topic: Option<Topic>,
    policy: Policy,
    reader: Option<Reader>,
    start: u64,
    position: u64,
    got: BTreeMap<u64, u64>,
    /// `(prev, to]` of records and receipts.
    covered: Vec<(u64, u64)>,
    pub resumed: u64,
    pub wrong: Option<String>,
}

impl Cursor {
    pub fn new(ix: usize) -> Self {
        let policy = [Policy::CatchUp, Policy::CatchUp, Policy::DropOldest, Policy::Conflate][ix % 4];
        Self {
            topic: None,
            policy,
            reader: None,
            start: 0,
            position: 0,
            got: BTreeMap::new(),
            covered: Vec::new(),
            resumed: 0,
            wrong: None,
        }
    }

    /// Opens, reads some, or leaves.
    pub fn turn(&mut self, tape: &Tape, dice: &mut Dice) {
        if self.reader.is_none() {
            self.open(tape, dice);
        }
        let Some(reader) = &mut self.reader else { return };
        let mut out = Vec::new();
        reader.poll_next(&mut out, dice.between(1, 200) as usize);
        for d in out {
            match d {
                Delivery::Record(r) => {
                    let r = r.record();
                    if r.prev() > self.position || r.seq() <= self.position {
                        let why = format!("P5: a reader at {} got ({}, {}]", self.position, r.prev(), r.seq());
                        self.wrong.get_or_insert(why);
                    }
                    if self.got.insert(r.seq(), Hash::of(r.bytes())).is_some() {
                        self.wrong.get_or_insert(format!("P5: a reader got seq {} twice", r.seq()));
                    }
                    self.covered.push((r.prev(), r.seq()));
                    self.position = r.seq();
                }
                Delivery::Missed { from, to, .. } => {
                    if from != self.position + 1 {
                        self.wrong.get_or_insert(format!("P5: at {} missed {from} to {to}", self.position));
                    }
                    self.covered.push((from - 1, to));
                    self.position = to;
                }
                Delivery::Disconnected { .. } => self.reader = None,
            }
        }
        if dice.one_in(15) {
            self.reader = None;
        }
    }

    fn open(&mut self, tape: &Tape, dice: &mut Dice) {
        let options = ReaderOptions { policy: self.policy, lag: 40, ..ReaderOptions::default() };
        let from = match &self.topic {
            Some(_) => From::Seq(self.position),
            None => {
                let topics = tape.topics();
                if topics.is_empty() {
                    return;
                }
                self.topic = Some(topics[dice.between(0, topics.len() as u64) as usize].topic.clone());
                if dice.one_in(2) { From::Earliest } else { From::Live }
            }
        };
        let Some(topic) = &self.topic else { return };
        match tape.reader(topic, from, options) {
            Ok(reader) => {
                if matches!(from, From::Seq(_)) {
                    self.resumed += 1;
                } else {
                    (self.start, self.position) = (reader.position(), reader.position());
                }
                self.reader = Some(reader);
            }
            Err(e) => {
                self.wrong.get_or_insert(format!("P5: a reader cannot resume: {e}"));
            }
        }
    }

    /// The process is gone.
    pub fn let_go(&mut self) {
        self.reader = None;
    }

    /// # Errors
    /// What this reader was not told.
    pub fn check(&self, witness: &Witness) -> Result<(), String> {
        if let Some(why) = &self.wrong {
            return Err(why.clone());
        }
        let Some(topic) = &self.topic else { return Ok(()) };
        let Some(log) = witness.topics.get(topic.as_str()) else { return Ok(()) };
        if self.position <= self.start {
            return Ok(());
        }
        for (seq, row) in log.rows.range(self.start + 1..=self.position) {
            match self.got.get(seq) {
                Some(hash) if *hash == row.hash => {}
                Some(_) => return Err(format!("P5: {topic}: a reader got another record {seq} than others did")),
                None if self.covered.iter().any(|(prev, to)| prev < seq && seq <= to) => {}
                None => return Err(format!("P5: {topic}: a reader that resumed was never told of seq {seq}")),
            }
        }
        Ok(())
    }
}
