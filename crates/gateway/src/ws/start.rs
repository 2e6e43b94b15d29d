//! Where a subscription begins: `from` (or the position of a `resync`) against what the tape holds, and whether what it holds
//! no more must be asked for.

use wholetape_model::{Kind, Record, Topic};
use wholetape_tape::{Delivery, From as TapeFrom, ReaderOptions, Tape, TapeError};
use wholetape_wire::{AsOf, From};

use crate::ws::book::{BookState, Whole, is_checkpoint};
use crate::ws::clean::is_left_out;
use crate::ws::past::Begin;

/// A longer replay is announced as this many messages: counting is not worth more.
pub(crate) const COUNTED_MAX: u64 = 1_024;

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
    /// The tape holds nothing of it up to `earliest`: the history may.
    Past { begin: Begin, earliest: u64 },
    /// With rows since `ts`, from the history.
    Rows { ts: i64, asof: Option<AsOf> },
    /// The position does not exist, and why.
    Refused(String),
}

/// Who may have what is older than the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Older {
    Nobody,
    /// A history, which was not asked yet.
    Ask,
    /// It was asked and has nothing of what is older than this position, where the tape began then.
    Gone(u64),
}

/// The position before the oldest record that `tape` holds.
///
/// # Errors
/// When the tape cannot be read.
pub(crate) fn earliest(tape: &Tape, topic: &Topic) -> Result<u64, TapeError> {
    Ok(tape.reader(topic, TapeFrom::Earliest, ReaderOptions::default())?.position())
}

/// Resolves `from`.
///
/// # Errors
/// When the tape cannot be read.
pub(crate) fn resolve(tape: &Tape, epoch: &str, topic: &Topic, from: &From, older: Older) -> Result<Start, TapeError> {
    let head = || tape.head(topic).unwrap_or(0);
    match from {
        From::Live => Ok(Start::Now),
        From::Ts { asof: Some(a), .. } if a.epoch.as_deref().is_some_and(|theirs| theirs != epoch) => {
            Ok(Start::Refused("from.asof: another epoch began since: ask by `ts` alone".into()))
        }
        From::Ts { asof: Some(a), .. } if a.seq > head() => Ok(beyond(head())),
        From::Ts { ts, asof } => Ok(Start::Rows { ts: *ts, asof: asof.clone() }),
        From::Earliest => {
            let seq = earliest(tape, topic)?;
            match older {
                Older::Ask if seq > 0 => Ok(Start::Past { begin: Begin::Earliest, earliest: seq }),
                _ => from_log(tape, topic, seq),
            }
        }
        From::Last(n) => {
            let seq = tape.reader(topic, TapeFrom::Last(*n), ReaderOptions::default())?.position();
            match older {
                Older::Ask if seq > 0 && seq <= earliest(tape, topic)? => {
                    Ok(Start::Past { begin: Begin::Last(*n), earliest: seq })
                }
                _ => from_log(tape, topic, seq),
            }
        }
        From::Position { epoch: theirs, .. } if theirs != epoch => {
            Ok(Start::Missed { from: 1, why: "epoch", then_log: None })
        }
        From::Position { seq, .. } => {
            let (seq, head) = (*seq, head());
            let earliest = if let Older::Gone(earliest) = older { earliest } else { earliest(tape, topic)? };
            if seq > head {
                return Ok(beyond(head));
            }
            if seq >= earliest {
                return Ok(Start::Log { seq, snap: None });
            }
            if older == Older::Ask {
                let begin = Begin::Behind { after: seq, prev: seq, answer: true };
                return Ok(Start::Past { begin, earliest });
            }
            let then_log = (topic.kind() != Kind::Book).then_some(earliest);
            Ok(Start::Missed { from: seq + 1, why: "retention", then_log })
        }
    }
}

fn beyond(head: u64) -> Start {
    Start::Refused(format!("the position is beyond the head {head}"))
}

/// Messages in the log behind `seq`, with `clean` those that are not flagged, counted up to `most` ([`COUNTED_MAX`] at most). Seqs would not do: a mark over a power loss covers a million
/// of them, a checkpoint is no message, and PROTOCOL §6 promises that at least as many follow.
///
/// # Errors
/// When the tape cannot be read.
pub(crate) fn messages_behind(
    tape: &Tape,
    topic: &Topic,
    seq: u64,
    (most, clean): (u64, bool),
) -> Result<u64, TapeError> {
    let most = most.min(COUNTED_MAX);
    let mut reader = tape.reader(topic, TapeFrom::Seq(seq), ReaderOptions::default())?;
    let (mut n, mut batch) = (0, Vec::new());
    while n < most && reader.poll_next(&mut batch, 256) > 0 {
        let all_read = batch.iter().all(|d| matches!(d, Delivery::Record(_)));
        let counts = |r: &Record<'_>| !(is_checkpoint(r) || clean && is_left_out(r));
        n += batch.drain(..).filter(|d| matches!(d, Delivery::Record(r) if counts(&r.record()))).count() as u64;
        if !all_read {
            break; // What follows a hole may be a snapshot instead.
        }
    }
    Ok(n.min(most))
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
    let (mut whole, mut batch) = (Whole::default(), Vec::new());
    loop {
        if exact && reader.position() >= seq {
            return Ok(Start::Log { seq, snap: Some(Box::new(whole.book)) });
        }
        let room = if exact { (seq - reader.position()).min(256) as usize } else { 256 };
        if reader.poll_next(&mut batch, room) == 0 {
            return Ok(Start::Now);
        }
        for delivery in batch.drain(..) {
            match &delivery {
                Delivery::Record(shared) => {
                    let record = shared.record();
                    if whole.take(&record) && !exact {
                        return Ok(Start::Log { seq: record.seq(), snap: Some(Box::new(whole.book)) });
                    }
                }
                // A hole on the way: this state cannot be built.
                _ if exact => return Ok(Start::Now),
                _ => {}
            }
        }
    }
}
