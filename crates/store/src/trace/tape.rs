//! On the tape: the row, and what its topic says about it, in what is not stored yet.
//!
//! Ids of live trades ascend with their seqs, so halving finds where an id was live or missing; a late row and every mark about it
//! come behind that place. Where a venue began to count anew, or its ids do not count at all, that does not hold: what was not found so
//! is looked for from the start.

use wholetape_model::{Record, Topic, Ts};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

use super::{Around, Kept, Said, Trace, Wanted, counted, id};
use crate::StoreError;
use crate::seqs::Seqs;

/// Records read at a time.
const BATCH: usize = 4_096;
/// So many records are looked at for a live trade.
const PROBE: usize = 64;
/// Stored stretches shorter than this are read along.
const NEAR: u64 = 4_096;

impl Trace<'_> {
    /// Oldest and newest seq of the topic on the tape.
    fn on_tape(&self, topic: &Topic) -> Option<(&Tape, u64, u64)> {
        let tape = self.tape?;
        let state = tape.topics().into_iter().find(|t| t.topic == *topic)?;
        (state.oldest <= state.head && state.head > 0).then_some((tape, state.oldest.max(1), state.head))
    }

    /// Lowest and highest seq held.
    pub(super) fn seqs(&self, topic: &Topic, stored: &Seqs) -> Option<(u64, u64)> {
        let tape = self.on_tape(topic).map(|(_, oldest, head)| (oldest, head));
        tape.into_iter().chain(stored.ends()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The lane that holds the record, if the tape has it.
    pub(super) fn lane_of(&self, topic: &Topic, seq: u64) -> Option<String> {
        let (tape, oldest, _) = self.on_tape(topic)?;
        if seq < oldest || at(tape, topic, seq).is_none() {
            return None;
        }
        tape.topics().into_iter().find(|t| t.topic == *topic).map(|t| t.lane)
    }

    /// Rows that are wanted among those that are not in `stored`, and all marks from where they may speak of it. `row`: the catalog has
    /// it already.
    pub(super) fn tape_rows(
        &self,
        topic: &Topic,
        wanted: Wanted,
        row: Option<&Kept>,
        stored: &Seqs,
        (said, around): (&mut Said, &mut Around),
    ) -> Result<Vec<Kept>, StoreError> {
        let Some((tape, oldest, _)) = self.on_tape(topic) else { return Ok(Vec::new()) };
        let mut found: Vec<Kept> = match wanted {
            Wanted::Seq(seq) if row.is_none() => at(tape, topic, seq).into_iter().collect(),
            _ => Vec::new(),
        };
        let known = found.first().or(row);
        let first = oldest - 1;
        let from = match (wanted, known) {
            (Wanted::Id(id), _) => id.number().map_or(Ok(first), |id| begin(tape, topic, id, oldest))?,
            // Of a live row without an id only what follows it speaks.
            (_, Some(row)) => match counted(&row.record()) {
                Some(id) => begin(tape, topic, id, oldest)?,
                None if row.record().flags().is_late() => first,
                None => row.record().seq().saturating_sub(1).max(first),
            },
            (_, None) => first,
        };
        if let (Wanted::Id(wanted), Some(live)) = (wanted, live(tape, topic, first)?) {
            around.see(wanted, live.1, Some(live.2));
        }
        let by_id = if let Wanted::Id(id) = wanted { Some(id) } else { None };
        for from in [from, first] {
            scan(tape, topic, from, stored, &mut |record| {
                said.take(record);
                let Some(wanted) = by_id else { return };
                match counted(record) {
                    Some(own) => around.see(wanted, own, Some(record.ts_recv())),
                    None => around.loose |= id(record).is_some(),
                }
                if id(record) == Some(wanted) {
                    found.push(Kept::of(record));
                }
            })?;
            if !found.is_empty() || row.is_some() || from == first {
                break;
            }
        }
        Ok(found)
    }
}

/// The record that covers `seq`.
fn at(tape: &Tape, topic: &Topic, seq: u64) -> Option<Kept> {
    let mut reader = tape.reader(topic, From::Seq(seq.checked_sub(1)?), ReaderOptions::default()).ok()?;
    let mut batch = Vec::new();
    reader.poll_next(&mut batch, 1);
    let record = batch.first()?.record()?;
    (record.prev() < seq && seq <= record.seq()).then(|| Kept::of(&record))
}

/// The first live trade behind `after`: its seq, id and receive time.
fn live(tape: &Tape, topic: &Topic, after: u64) -> Result<Option<(u64, u64, Ts)>, StoreError> {
    let mut reader = tape.reader(topic, From::Seq(after), ReaderOptions::default())?;
    let mut batch = Vec::new();
    reader.poll_next(&mut batch, PROBE);
    let mut records = batch.iter().filter_map(Delivery::record).filter(|r| !r.flags().is_late());
    Ok(records.find_map(|r| Some((r.seq(), counted(&r)?, r.ts_recv()))))
}

/// The position behind which the id is, and every mark about it: before the last live trade with a smaller one.
fn begin(tape: &Tape, topic: &Topic, wanted: u64, oldest: u64) -> Result<u64, StoreError> {
    let (mut low, mut high) = (oldest - 1, tape.head(topic).unwrap_or(0));
    while high.saturating_sub(low) > PROBE as u64 {
        let middle = u64::midpoint(low, high);
        match live(tape, topic, middle)? {
            Some((seq, id, _)) if id < wanted => low = seq.saturating_sub(1).max(middle),
            Some(_) => high = middle,
            // Nothing live for long: what lies before it is looked through as well.
            None => high = middle,
        }
    }
    Ok(low)
}

/// Hands over every record behind `after` that is not in `stored`.
fn scan(
    tape: &Tape,
    topic: &Topic,
    after: u64,
    stored: &Seqs,
    take: &mut dyn FnMut(&Record<'_>),
) -> Result<(), StoreError> {
    let open = |position| tape.reader(topic, From::Seq(position), ReaderOptions::default());
    let (mut reader, mut batch) = (open(after)?, Vec::new());
    let head = reader.head();
    while reader.position() < head {
        let next = reader.position() + 1;
        let whole = stored.whole_from(next).min(head);
        if whole >= next + NEAR {
            reader = open(whole)?;
            continue;
        }
        if reader.poll_next(&mut batch, BATCH) == 0 {
            break;
        }
        for delivery in batch.drain(..) {
            if let Delivery::Record(shared) = delivery
                && let record = shared.record()
                && !stored.has(record.seq())
            {
                take(&record);
            }
        }
    }
    Ok(())
}
