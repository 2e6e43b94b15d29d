//! Who remembers everything that any reader was ever shown, beside the process and its disk.
//!
//! After each commit the witness reads what was served, topic by topic. At each start of a process it reads the whole tape again
//! and compares: a seq once shown is that record for ever (P5); after `kill -9` all of it is there (P4); after a power loss what
//! was synced is there, and what is gone lies within a range that the tape names.

use std::collections::{BTreeMap, BTreeSet};

use wholetape_model::{
    Body, BookAction, Gap, GapCause, GapState, Level, Quote, Record, RowFlags, Scales, Topic, Trade, Ts, ValidityState,
};
use wholetape_tape::{Delivery, From, Reader, ReaderOptions, Tape};

/// A row as a reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub seq: u64,
    pub prev: u64,
    pub ts_recv: Ts,
    pub ts_event: Ts,
    /// Of its connection; 0: an answer of REST, or a mark.
    pub frame: u32,
    pub flags: RowFlags,
    pub hash: u64,
    pub kept: Kept,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    Trade(Trade, Scales),
    Quote(Quote, Scales),
    Book { action: BookAction, first: u64, last: u64, scales: Scales, bids: Vec<Level>, asks: Vec<Level> },
    Gap(Gap<String>),
    Validity(ValidityState, u64),
    Other,
}

/// FNV-1a, 64 bits.
#[derive(Debug, Clone, Copy)]
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub fn add(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn of(bytes: &[u8]) -> u64 {
        let mut h = Self::default();
        h.add(bytes);
        h.0
    }
}

impl Row {
    fn of(record: &Record<'_>) -> Result<Self, String> {
        let body = record.view().map_err(|e| e.to_string())?;
        let scales = record.row().map_err(|e| e.to_string())?.scales;
        let kept = match body {
            Body::Trade(t) => Kept::Trade(t, scales),
            Body::Quote(q) => Kept::Quote(q, scales),
            Body::Book(b) => Kept::Book {
                action: b.action,
                first: b.first_id,
                last: b.last_id,
                scales,
                bids: b.bids.iter().collect(),
                asks: b.asks.iter().collect(),
            },
            Body::Gap(g) => Kept::Gap(g.map(str::to_owned)),
            Body::Validity(v) => Kept::Validity(v.state, v.update_id),
            _ => Kept::Other,
        };
        Ok(Self {
            seq: record.seq(),
            prev: record.prev(),
            ts_recv: record.ts_recv(),
            ts_event: record.ts_event(),
            frame: record.frame(),
            flags: record.flags(),
            hash: Hash::of(record.bytes()),
            kept,
        })
    }
}

/// One topic as it was shown.
#[derive(Debug, Default)]
pub struct Log {
    /// By seq.
    pub rows: BTreeMap<u64, Row>,
    /// Rows that were shown and are no longer on the tape, with the reason.
    pub gone: BTreeMap<u64, Gone>,
    pub last: u64,
    /// The highest seq that the tape said is on the disk.
    pub synced: u64,
    reader: Option<Reader>,
}

/// Why a row that was shown is not on the tape any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    Power,
    /// Its segment went for want of space.
    Space,
}

/// What happened to the process before it was started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Kill,
    Power,
}

#[derive(Debug, Default)]
pub struct Witness {
    pub topics: BTreeMap<String, Log>,
    pub trace: Hash,
    pub rows: u64,
    pub wrong: Option<String>,
    /// The disk was full at some time, so whole segments may have gone.
    pub space_ran_out: bool,
    known: u64,
    batch: Vec<Delivery>,
}

/// What the tape gives of one topic from its oldest record on.
#[derive(Debug, Default)]
pub struct Whole {
    pub rows: Vec<Row>,
    /// `(prev, seq]` of receipts.
    pub missed: Vec<(u64, u64)>,
}

/// Whether a gap mark of any topic has no verdict yet.
///
/// # Errors
/// As [`read_whole`].
pub fn has_open_gaps(tape: &Tape) -> Result<bool, String> {
    let mut open = BTreeSet::new();
    for state in tape.topics() {
        for row in read_whole(tape, &state.topic)?.rows {
            match row.kept {
                Kept::Gap(gap) if gap.state == GapState::Open => _ = open.insert(gap.gap),
                Kept::Gap(gap) => _ = open.remove(&gap.gap),
                _ => {}
            }
        }
    }
    Ok(!open.is_empty())
}

/// Reads a topic whole.
///
/// # Errors
/// In words: a record that cannot be read, or whose step does not follow.
pub fn read_whole(tape: &Tape, topic: &Topic) -> Result<Whole, String> {
    let options = ReaderOptions { verify: true, ..ReaderOptions::default() };
    let mut reader = tape.reader(topic, From::Earliest, options).map_err(|e| format!("{topic}: {e}"))?;
    let (mut whole, mut batch) = (Whole::default(), Vec::new());
    let mut at = reader.position();
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for d in batch.drain(..) {
            match d {
                Delivery::Record(r) => {
                    let row = Row::of(&r.record()).map_err(|e| format!("{topic}: {e}"))?;
                    if row.seq <= at || row.prev > at {
                        return Err(format!("{topic}: after {at} comes ({}, {}]", row.prev, row.seq));
                    }
                    at = row.seq;
                    whole.rows.push(row);
                }
                Delivery::Missed { from, to, .. } => {
                    if from != at + 1 {
                        return Err(format!("{topic}: after {at} is missed {from} to {to}"));
                    }
                    at = to;
                    whole.missed.push((from - 1, to));
                }
                Delivery::Disconnected { .. } => return Err(format!("{topic}: disconnected")),
            }
        }
    }
    if at != reader.head() {
        return Err(format!("{topic}: reading ends at {at}, the head is {}", reader.head()));
    }
    Ok(whole)
}

impl Witness {
    fn blame(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    /// Reads what was served since the last look. `topics` counts those that the lines have, so that new ones are noticed.
    pub fn look(&mut self, tape: &Tape, topics: u64) {
        if topics != self.known {
            self.known = topics;
            for state in tape.topics() {
                let log = self.topics.entry(state.topic.as_str().to_owned()).or_default();
                if log.reader.is_none() {
                    match tape.reader(&state.topic, From::Seq(log.last), ReaderOptions::default()) {
                        Ok(reader) => log.reader = Some(reader),
                        Err(e) => self.wrong = Some(format!("P5: the witness cannot resume: {e}")),
                    }
                }
            }
        }
        let mut wrong = None;
        for (name, log) in &mut self.topics {
            let Some(reader) = &mut log.reader else { continue };
            if reader.head() <= reader.position() {
                continue;
            }
            while reader.poll_next(&mut self.batch, 256) > 0 {
                for d in self.batch.drain(..) {
                    let Some(record) = d.record() else {
                        // Removed or damaged before it was read: told, and compared at the next start.
                        log.last = reader.position();
                        continue;
                    };
                    match Row::of(&record) {
                        Ok(row) => {
                            self.rows += 1;
                            self.trace.add(&row.hash.to_le_bytes());
                            log.last = row.seq;
                            if log.rows.insert(row.seq, row).is_some() {
                                wrong = Some(format!("P5: {name}: seq {} was given twice", log.last));
                            }
                        }
                        Err(e) => wrong = Some(format!("{name}: {e}")),
                    }
                }
            }
        }
        if let Some(why) = wrong {
            self.blame(why);
        }
    }

    /// The process is about to be gone: what is durable, as it said itself.
    pub fn note_synced(&mut self, tape: &Tape) {
        for state in tape.topics() {
            let log = self.topics.entry(state.topic.as_str().to_owned()).or_default();
            log.synced = log.synced.max(state.synced);
        }
    }

    pub fn let_go(&mut self) {
        self.known = 0;
        for log in self.topics.values_mut() {
            log.reader = None;
        }
    }

    /// P4: the tape after a start against what was shown before.
    ///
    /// # Errors
    /// What does not hold.
    pub fn compare(&mut self, tape: &Tape, end: End) -> Result<(), String> {
        let states: BTreeMap<String, (Topic, u64)> =
            tape.topics().into_iter().map(|s| (s.topic.as_str().to_owned(), (s.topic, s.oldest))).collect();
        for (name, log) in &mut self.topics {
            let Some((topic, oldest)) = states.get(name) else {
                if log.rows.is_empty() {
                    continue;
                }
                return Err(format!("P4: {name} was shown up to {} and is gone after {end:?}", log.last));
            };
            let whole = read_whole(tape, topic)?;
            let held: BTreeMap<u64, &Row> = whole.rows.iter().map(|r| (r.seq, r)).collect();
            let named = |seq: u64| {
                whole.missed.iter().any(|(prev, to)| *prev < seq && seq <= *to)
                    || held.range(seq..).next().is_some_and(|(_, r)| r.prev < seq && r.seq != seq)
            };
            for (seq, row) in &log.rows {
                match held.get(seq) {
                    Some(now) if now.hash == row.hash => {
                        if log.gone.contains_key(seq) {
                            return Err(format!("P5: {name}: seq {seq} was gone and is back"));
                        }
                    }
                    Some(_) => return Err(format!("P5: {name}: seq {seq} is another record than was shown")),
                    None if log.gone.contains_key(seq) => {}
                    // The segment sealed first goes, of whichever lane: where a topic was handed over that may be its middle.
                    None if self.space_ran_out && (seq < oldest || *seq <= log.synced && named(*seq)) => {
                        log.gone.insert(*seq, Gone::Space);
                    }
                    None if end == End::Power && *seq > log.synced && named(*seq) => {
                        log.gone.insert(*seq, Gone::Power);
                    }
                    None => {
                        let (synced, named) = (log.synced, named(*seq));
                        return Err(format!(
                            "P4: {name}: seq {seq} was shown and is gone after {end:?} (synced {synced}, named {named})"
                        ));
                    }
                }
            }
            // Written in the moment of death and shown to nobody: it stays, and is shown from now on.
        }
        Ok(())
    }

    /// What went for want of space was confessed: a mark of its topic names its seq.
    ///
    /// # Errors
    /// The first that no mark names.
    pub fn removals_are_named(&self) -> Result<(), String> {
        for (name, log) in &self.topics {
            let named: Vec<(u64, u64)> = log
                .rows
                .values()
                .filter_map(|r| match &r.kept {
                    Kept::Gap(g) if g.cause == GapCause::Disk => range_in(&g.why),
                    _ => None,
                })
                .collect();
            let silent = |seq: &u64| !named.iter().any(|(from, to)| from <= seq && seq <= to);
            let mut space = log.gone.iter().filter(|(_, why)| **why == Gone::Space).map(|(seq, _)| *seq);
            if let Some(seq) = space.find(silent) {
                return Err(format!("P1: {name}: seq {seq} went for want of space and no mark says so, but {named:?}"));
            }
        }
        Ok(())
    }

    /// Rows that were shown and went, of one topic.
    pub fn gone<'a>(&'a self, topic: &str) -> impl Iterator<Item = (&'a Row, Gone)> + use<'a> {
        let log = self.topics.get(topic);
        log.into_iter().flat_map(|l| l.gone.iter().filter_map(|(seq, why)| Some((l.rows.get(seq)?, *why))))
    }
}

/// `…: seq 5 to 9`
fn range_in(why: &str) -> Option<(u64, u64)> {
    let (from, to) = why.rsplit_once("seq ")?.1.split_once(" to ")?;
    let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(from)?, digits(to)?))
}
