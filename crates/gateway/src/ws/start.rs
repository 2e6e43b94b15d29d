//! Where a subscription begins: `from` (or the position of a `resync`) against what the tape holds.

use wholetape_model::{Kind, Topic};
use wholetape_tape::{Delivery, From as TapeFrom, ReaderOptions, Tape, TapeError};
use wholetape_wire::From;

use crate::ws::stream::{BookState, is_checkpoint};

/// A longer replay is announced as this many messages: counting is not worth more.
const COUNTED_MAX: u64 = 1_024;

/// The book at some seq, built for one subscription.
pub(crate) type Built = Box<BookState>;

/// How delivery begins.
pub(crate) enum Start {
    /// At the stream's present place, with a snapshot of it where the topic has state.
    Now,
    /// Behind `seq`, from the log.
    Log { seq: u64, snap: Option<Built> },
    /// A range is gone. With `then_log` the rest follows from the log, else the stream's present state.
    Missed { from: u64, why: &'static str, then_log: Option<u64> },
    /// The position does not exist.
    Beyond { head: u64 },
}

/// Resolves `from`. [`From::Ts`] is refused before it comes here.
///
/// # Errors
/// When the tape cannot be read.
pub(crate) fn resolve(tape: &Tape, epoch: &str, topic: &Topic, from: &From) -> Result<Start, TapeError> {
    let position = |from| Ok::<u64, TapeError>(tape.reader(topic, from, ReaderOptions::default())?.position());
    match from {
        From::Live | From::Ts(_) => Ok(Start::Now),
        From::Earliest => from_log(tape, topic, position(TapeFrom::Earliest)?),
        From::Last(n) => from_log(tape, topic, position(TapeFrom::Last(*n))?),
        From::Position { epoch: theirs, .. } if theirs != epoch => {
            Ok(Start::Missed { from: 1, why: "epoch", then_log: None })
        }
        From::Position { seq, .. } => {
            let head = tape.head(topic).unwrap_or(0);
            let earliest = position(TapeFrom::Earliest)?;
            if *seq > head {
                return Ok(Start::Beyond { head });
            }
            if *seq < earliest {
                let then_log = (topic.kind() != Kind::Book).then_some(earliest);
                return Ok(Start::Missed { from: seq + 1, why: "retention", then_log });
            }
            Ok(Start::Log { seq: *seq, snap: None })
        }
    }
}

/// Messages in the log behind `seq`, counted up to [`COUNTED_MAX`]. Seqs would not do: a mark over a power loss covers a million
/// of them, a checkpoint is no message, and PROTOCOL §6 promises that at least as many follow.
///
/// # Errors
/// When the tape cannot be read.
pub(crate) fn messages_behind(tape: &Tape, topic: &Topic, seq: u64) -> Result<u64, TapeError> {
    let mut reader = tape.reader(topic, TapeFrom::Seq(seq), ReaderOptions::default())?;
    let (mut n, mut batch) = (0, Vec::new());
    while n < COUNTED_MAX && reader.poll_next(&mut batch, 256) > 0 {
        let all_read = batch.iter().all(|d| matches!(d, Delivery::Record(_)));
        n += batch.drain(..).filter(|d| matches!(d, Delivery::Record(r) if !is_checkpoint(&r.record()))).count() as u64;
        if !all_read {
            break; // What follows a hole may be a snapshot instead.
        }
    }
    Ok(n.min(COUNTED_MAX))
}

/// A client without state joins the log behind `seq`. A book needs a whole state first: the one at `seq` where the newest
/// start lies before it, else the first one held behind it.
fn from_log(tape: &Tape, topic: &Topic, seq: u64) -> Result<Start, TapeError> {
    if topic.kind() != Kind::Book {
        return Ok(Start::Log { seq, snap: None });
    }
    let Some(newest) = tape.last_book_start(topic).filter(|s| *s > 0) else { return Ok(Start::Now) };
    let (begin, exact) = if newest <= seq { (newest - 1, true) } else { (seq, false) };
    let mut reader = tape.reader(topic, TapeFrom::Seq(begin), ReaderOptions::default())?;
    let (mut book, mut started, mut batch) = (BookState::default(), false, Vec::new());
    loop {
        if exact && reader.position() >= seq {
            return Ok(Start::Log { seq, snap: Some(Box::new(book)) });
        }
        let room = if exact { (seq - reader.position()).min(256) as usize } else { 256 };
        if reader.poll_next(&mut batch, room) == 0 {
            return Ok(Start::Now);
        }
        for delivery in batch.drain(..) {
            match &delivery {
                Delivery::Record(shared) => {
                    let record = shared.record();
                    started |= record.is_book_start();
                    book.apply(&record);
                    if !exact && started {
                        return Ok(Start::Log { seq: record.seq(), snap: Some(Box::new(book)) });
                    }
                }
                // A hole on the way: this state cannot be built.
                _ if exact => return Ok(Start::Now),
                _ => {}
            }
        }
    }
}
