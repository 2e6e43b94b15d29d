//! Rows of the archive on their way to the line: what the tape got since their giver looked is read first.
//!
//! It is read here, where the line's lane is: between this look and the line's own append nobody writes the topic, so what is not on
//! the tape now will not come between.

use wholetape_model::Body;
use wholetape_tape::{From, ReaderOptions, Tape};

use super::Shell;
use crate::error::chain;
use crate::line::late::{Late, Since, key};

/// The answer to a giver that looked too long ago: look again.
pub const BEHIND: &str = "behind";
/// The answer of a line that does not record the topic.
pub const UNKNOWN: &str = "unknown";
/// Records that are read here at most, in the midst of a turn.
const LOOK_MAX: u64 = 8_192;

impl Shell {
    pub(super) fn take_late(&mut self, late: &Late) -> Result<String, String> {
        let Some(since) = since(&self.shared.tape, late)? else { return Ok(BEHIND.into()) };
        let now = self.now();
        let Ok(done) = self.line.take_late(late, &since, now, &mut self.out) else { return Ok(UNKNOWN.into()) };
        Ok(format!("{{\"rows\":{},\"repeats\":{},\"marks\":{}}}", done.rows, done.repeats, done.marks))
    }
}

/// What came since; `None` when that is too much to read in a turn.
fn since(tape: &Tape, late: &Late) -> Result<Option<Since>, String> {
    let mut since = Since::default();
    let head = tape.head(&late.topic).unwrap_or(0);
    if head.saturating_sub(late.seen) > LOOK_MAX {
        return Ok(None);
    }
    let reader = tape.reader(&late.topic, From::Seq(late.seen), ReaderOptions::default());
    let mut reader = reader.map_err(|e| chain(&e))?;
    let mut batch = Vec::new();
    while reader.position() < head && reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Some(record) = delivery.record() else { return Ok(None) };
            let Ok(body) = record.view() else { continue };
            match body {
                Body::Gap(gap) if gap.state != wholetape_model::GapState::Open => _ = since.settled.insert(gap.gap),
                body => since.keys.extend(key(&body)),
            }
        }
    }
    Ok(Some(since))
}
