//! What the tape holds of one topic, by key: where each row stands, and every gap's newest mark.
//!
//! Rows whose ids are names have no such keys: they are read again by who compares them ([`Held::each`]), and of those that came
//! since, the names are kept.
//!
//! Rows are not kept: consecutive ids on consecutive seqs are one entry, so a day of millions of trades is a few thousand entries.
//! The rows themselves are read again, a stretch at a time, when they are compared.
//!
//! Invariant: it holds what the tape held at `seen`, from its start on; [`Held::catch_up`] moves `seen` and forgets nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use anyhow::Context;
use wholetape_feed::line::late;
use wholetape_feed::line::trades::GapMark;
use wholetape_model::{Body, Event, Record, RowFlags, Topic, TradeId, Ts};
use wholetape_tape::{Delivery, From, MissedWhy, Reader, ReaderOptions, Tape};
use wholetape_venue::archive::Span;

/// Rows are looked for from this much before their venue time: clocks differ.
const MARGIN: Duration = Duration::from_secs(3_600);
/// Entries; beyond it the file is refused. Rows that lie apart on the tape take one each.
const ENTRIES_MAX: usize = 8 << 20;
const BATCH: usize = 4_096;
/// A row this close behind the last one read is read up to; one further away is looked up.
const NEAR: u64 = 256;
/// Readers that stand where the last rows were read: live rows, and those that were healed once or twice, go on there.
const READERS: usize = 4;

/// A row as the tape holds it.
#[derive(Debug, Clone, Copy)]
pub struct HeldRow {
    pub key: u64,
    pub seq: u64,
    pub event: Event,
}

/// What rows are held by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Ids that count.
    Ids,
    /// Open times. Of bars only those that open in the span: between two open times there are no keys.
    Opens,
    /// Ids that name.
    Names,
}

pub struct Held {
    tape: Tape,
    topic: Topic,
    reader: Reader,
    /// The one used last at the end.
    readers: Vec<Reader>,
    /// What is asked about.
    span: Span,
    keys: Keys,
    from: Ts,
    /// It was scanned up to here.
    scanned: u64,
    /// First key → last key, seq of the first.
    runs: BTreeMap<u64, (u64, u64)>,
    /// The newest run, which grows.
    last: Option<(u64, u64, u64)>,
    pub gaps: BTreeMap<u64, GapMark>,
    /// Rows whose covered ids are not their own id, and rows in all: aggregates, or single matches?
    pub aggregated: u64,
    pub rows: u64,
    /// Rows whose venue time lies in the span.
    pub within: u64,
    /// Rows may have been here once: retention took some.
    pub retained: bool,
    /// Ids that do not count: between two of them nothing is known to be missing.
    pub loose: bool,
    /// Names of rows of the span that came since the scan.
    came: HashSet<TradeId>,
    /// Rows that were withdrawn by then.
    withdrawn: BTreeSet<u64>,
}

impl Held {
    /// Everything that may concern what happened in `span` or later.
    ///
    /// # Errors
    /// When the tape cannot be read.
    pub fn scan(tape: &Tape, topic: &Topic, span: Span, keys: Keys, stop: &dyn Fn() -> bool) -> anyhow::Result<Self> {
        Self::scan_from(tape, topic, span.from, (span, keys), stop)
    }

    fn scan_from(
        tape: &Tape,
        topic: &Topic,
        from: Ts,
        (span, keys): (Span, Keys),
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let reader = tape.reader(topic, From::Time(from - MARGIN), ReaderOptions::default())?;
        let mut held = Self {
            tape: tape.clone(),
            topic: topic.clone(),
            reader,
            readers: Vec::new(),
            span,
            keys,
            from,
            scanned: 0,
            runs: BTreeMap::new(),
            last: None,
            gaps: BTreeMap::new(),
            aggregated: 0,
            rows: 0,
            within: 0,
            retained: false,
            loose: false,
            came: HashSet::new(),
            withdrawn: BTreeSet::new(),
        };
        let before = held.reader.position();
        held.read(stop)?;
        held.came.clear();
        held.scanned = held.seen();
        // Rows that came at `from` or later may be gone only where none from before is left.
        let state = tape.topics().into_iter().find(|t| t.topic == *topic);
        held.retained |= state.is_some_and(|t| {
            t.oldest > 1 && before < t.oldest && (t.oldest <= t.head || t.last_ts_recv >= from - MARGIN)
        });
        Ok(held)
    }

    /// The same from an earlier time on.
    ///
    /// # Errors
    /// As [`Held::scan`].
    pub fn rescan(&mut self, from: Ts, stop: &dyn Fn() -> bool) -> anyhow::Result<()> {
        if from < self.from {
            *self = Self::scan_from(&self.tape, &self.topic, from, (self.span, self.keys), stop)?;
        }
        Ok(())
    }

    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The tape is known up to here.
    pub fn seen(&self) -> u64 {
        self.reader.position()
    }

    /// Takes what was appended since.
    ///
    /// # Errors
    /// When there is more than can be remembered.
    pub fn catch_up(&mut self) -> anyhow::Result<()> {
        self.read(&|| false)
    }

    fn read(&mut self, stop: &dyn Fn() -> bool) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        while self.reader.poll_next(&mut batch, BATCH) > 0 {
            anyhow::ensure!(!stop(), "stopped");
            for delivery in batch.drain(..) {
                match delivery {
                    Delivery::Record(shared) => self.take(&shared.record())?,
                    Delivery::Missed { why, .. } => self.retained |= why == MissedWhy::Retention,
                    Delivery::Disconnected { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        // Damaged in a way that its checksum does not show, or written by a newer version: it serves nobody.
        let Ok(body) = record.view() else { return Ok(()) };
        match body {
            Body::Gap(gap) => {
                let mark: GapMark = gap.map(str::to_owned);
                self.gaps.insert(mark.gap, mark);
                return Ok(());
            }
            Body::Retract(seq) if self.keys == Keys::Names => {
                self.withdrawn.insert(seq);
                return Ok(());
            }
            Body::Retract(seq) => {
                self.withdraw(seq);
                return Ok(());
            }
            Body::Trade(trade) => {
                self.rows += 1;
                self.loose |= trade.counted(record.flags()).is_none();
                self.aggregated += u64::from(trade.id != trade.first_id || trade.id != trade.last_id);
            }
            Body::Bar(bar) if self.keys == Keys::Opens && self.span.has(bar.open_ts) => {
                self.rows += u64::from(bar.closed)
            }
            _ => return Ok(()),
        }
        let within = self.keys == Keys::Opens || self.span.has(record.ts_event());
        self.within += u64::from(within);
        match (self.keys, key(&body)) {
            (Keys::Names, _) => self.come(&body, within),
            (_, Some(key)) => self.hold(key, record.seq()),
            (_, None) => Ok(()),
        }
    }

    fn hold(&mut self, key: u64, seq: u64) -> anyhow::Result<()> {
        if let Some((lo, hi, first)) = &mut self.last
            && hi.checked_add(1) == Some(key)
            && *first + (*hi - *lo) + 1 == seq
            && self.keys == Keys::Ids
        {
            *hi = key;
            return Ok(());
        }
        if self.has(key) {
            return Ok(());
        }
        if let Some((lo, hi, first)) = self.last.replace((key, key, seq)) {
            self.runs.insert(lo, (hi, first));
        }
        anyhow::ensure!(self.runs.len() < ENTRIES_MAX, "{} has too many rows apart for one file", self.topic);
        Ok(())
    }

    fn come<L, T>(&mut self, body: &Body<L, T>, within: bool) -> anyhow::Result<()> {
        // While it is scanned they are none yet.
        if let Some(id) = late::key(body).filter(|_| within && self.scanned > 0) {
            self.came.insert(id);
            anyhow::ensure!(self.came.len() < ENTRIES_MAX, "{} gets too many rows of that day meanwhile", self.topic);
        }
        Ok(())
    }

    /// A row that is held by its key; one with a name, that came since the scan.
    pub fn holds<L, T>(&self, body: &Body<L, T>) -> bool {
        match (self.keys, late::key(body)) {
            (Keys::Names, Some(id)) => self.came.contains(&id),
            (_, id) => id.and_then(TradeId::number).is_some_and(|key| self.has(key)),
        }
    }

    /// These rows are ours: nobody asks for their names any more.
    pub fn forget(&mut self, rows: &[Event]) {
        for id in rows.iter().filter_map(|event| late::key(&event.body)) {
            self.came.remove(&id);
        }
    }

    /// Whether rows of the span came since the scan that nobody forgot.
    pub fn grew(&self) -> bool {
        !self.came.is_empty()
    }

    /// Every trade of the span that was held when it was scanned, read once more.
    ///
    /// # Errors
    /// When the tape cannot be read; those of `take`; `stop`.
    pub fn each(
        &self,
        stop: &dyn Fn() -> bool,
        take: &mut dyn FnMut(&Record<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let options = ReaderOptions::default();
        let mut reader = self.tape.reader(&self.topic, From::Time(self.from - MARGIN), options)?;
        let mut batch = Vec::new();
        while reader.position() < self.scanned && reader.poll_next(&mut batch, BATCH) > 0 {
            anyhow::ensure!(!stop(), "stopped");
            for delivery in batch.drain(..) {
                let Some(record) = delivery.record() else {
                    // What went before the scan was not among what it found.
                    anyhow::ensure!(self.retained, "{} loses rows while they are compared", self.topic);
                    continue;
                };
                let is_trade = matches!(record.view(), Ok(Body::Trade(_)));
                let known = record.seq() <= self.scanned && !self.withdrawn.contains(&record.seq());
                if is_trade && known && self.span.has(record.ts_event()) {
                    take(&record)?;
                }
            }
        }
        Ok(())
    }

    fn withdraw(&mut self, seq: u64) {
        if let Some((lo, hi, first)) = self.last.take() {
            self.runs.insert(lo, (hi, first));
        }
        let found = self.runs.iter().find(|(lo, (hi, first))| (*first..=*first + (*hi - **lo)).contains(&seq));
        let Some((lo, hi, first)) = found.map(|(lo, (hi, first))| (*lo, *hi, *first)) else { return };
        let key = lo + (seq - first);
        self.runs.remove(&lo);
        if lo < key {
            self.runs.insert(lo, (key - 1, first));
        }
        if key < hi {
            self.runs.insert(key + 1, (hi, seq + 1));
        }
    }

    pub fn has(&self, key: u64) -> bool {
        self.last.is_some_and(|(lo, hi, _)| (lo..=hi).contains(&key))
            || self.runs.range(..=key).next_back().is_some_and(|(_, (hi, _))| *hi >= key)
    }

    /// Runs that touch `[lo, hi]`, cut to it: first key, last key, seq of the first.
    fn within(&self, lo: u64, hi: u64) -> Vec<(u64, u64, u64)> {
        let from = self.runs.range(..=lo).next_back().map_or(lo, |(first, _)| *first);
        let all = self.runs.range(from..=hi).map(|(a, (b, seq))| (*a, *b, *seq)).chain(self.last);
        let cut = |(a, b, seq): (u64, u64, u64)| {
            let (start, end) = (a.max(lo), b.min(hi));
            (start <= end).then(|| (start, end, seq + (start - a)))
        };
        let mut cut: Vec<_> = all.filter_map(cut).collect();
        cut.sort_unstable();
        cut
    }

    /// The keys of `[lo, hi]` that are held, as intervals.
    pub fn held(&self, lo: u64, hi: u64) -> Vec<(u64, u64)> {
        if lo > hi {
            return Vec::new();
        }
        self.within(lo, hi).into_iter().map(|(a, b, _)| (a, b)).collect()
    }

    /// The keys of `[lo, hi]` that are not held, as intervals.
    pub fn missing(&self, lo: u64, hi: u64) -> Vec<(u64, u64)> {
        let (mut holes, mut next) = (Vec::new(), Some(lo));
        for (a, b) in self.held(lo, hi) {
            if let Some(start) = next.filter(|n| *n < a) {
                holes.push((start, a - 1));
            }
            next = b.checked_add(1);
        }
        holes.extend(next.filter(|n| *n <= hi).map(|n| (n, hi)));
        holes
    }

    /// A reader that stands at this seq or little before.
    fn reader_at(&mut self, seq: u64) -> anyhow::Result<Reader> {
        let near = |r: &Reader| r.position() < seq && seq - r.position() <= NEAR;
        if let Some(at) = self.readers.iter().position(near) {
            return Ok(self.readers.remove(at));
        }
        if self.readers.len() >= READERS {
            self.readers.remove(0);
        }
        let reader = self.tape.reader(&self.topic, From::Seq(seq.saturating_sub(1)), ReaderOptions::default());
        reader.with_context(|| format!("{} from seq {seq}", self.topic))
    }

    /// The rows with keys in `[lo, hi]`, by key. What cannot be read any more is not among them.
    ///
    /// # Errors
    /// When the tape cannot be read.
    pub fn rows(&mut self, lo: u64, hi: u64) -> anyhow::Result<Vec<HeldRow>> {
        let mut wanted: Vec<(u64, u64, u64)> = self.within(lo, hi).into_iter().map(|(a, b, seq)| (seq, a, b)).collect();
        wanted.sort_unstable();
        let mut out = Vec::new();
        let mut batch = Vec::new();
        for (seq, a, b) in wanted {
            let end = seq + (b - a);
            let mut reader = self.reader_at(seq)?;
            while reader.position() < end {
                let n = usize::try_from(end - reader.position()).unwrap_or(BATCH).min(BATCH);
                if reader.poll_next(&mut batch, n) == 0 {
                    break;
                }
                for delivery in batch.drain(..) {
                    if let Some(record) = delivery.record().filter(|r| (seq..=end).contains(&r.seq())) {
                        out.extend(row_of(&record).filter(|row| (a..=b).contains(&row.key)));
                    }
                }
            }
            self.readers.push(reader);
        }
        out.sort_unstable_by_key(|row| row.key);
        Ok(out)
    }
}

/// What tells a row from the others of its topic: an id that counts, the open time of a closed bar.
pub fn key<L, T>(body: &Body<L, T>) -> Option<u64> {
    late::key(body)?.number()
}

/// The flags of a row from an archive.
pub fn flags<L, T>(body: &Body<L, T>) -> RowFlags {
    match body {
        Body::Trade(trade) if trade.id.is_uuid() => RowFlags::LATE_ARCHIVE.with(RowFlags::LOOSE_ID),
        _ => RowFlags::LATE_ARCHIVE,
    }
}

/// A record as rows are compared.
pub fn row_of(record: &Record<'_>) -> Option<HeldRow> {
    let (ts_event, scales) = (record.ts_event(), record.scales());
    let (key, body) = match record.view().ok()? {
        body @ Body::Trade(trade) => (key(&body)?, Body::Trade(trade)),
        body @ Body::Bar(bar) => (key(&body)?, Body::Bar(bar)),
        _ => return None,
    };
    let kind = wholetape_model::Kind::Trade;
    Some(HeldRow { key, seq: record.seq(), event: Event { instrument: 0, kind, ts_event, scales, body } })
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
