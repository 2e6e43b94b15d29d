//! The connection that brought a row: which it was, since when, until when; and the frame itself, where frames are kept.

use wholetape_model::{Body, Kind, Link, LinkState, Record, Ts};
use wholetape_tape::{Delivery, From, ReaderOptions};

use super::{Kept, Trace, stored};
use crate::StoreError;

/// Raw frames of one receive time that are looked at.
const FRAMES_MAX: usize = 65_536;
const BATCH: usize = 512;

/// One change of a connection's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub seq: u64,
    pub at: Ts,
    pub link: Link<String>,
}

/// One life of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Whose it was, and the topic that tells of it.
    pub line: String,
    pub topic: String,
    /// When it stood; where that is not known any more, what is known first.
    pub opened: Turn,
    pub closed: Option<Turn>,
}

/// What is known of a connection number so far.
#[derive(Default)]
struct Known {
    topic: String,
    opened: Option<Turn>,
    closed: Option<Turn>,
}

impl Known {
    /// Takes a row about that connection. Numbers count anew after a restore, so the life nearest before `ts` is meant.
    fn take(&mut self, topic: &str, record: &Record<'_>, ts: Ts) {
        let Ok(Body::Link(link)) = record.view() else { return };
        let turn = Turn { seq: record.seq(), at: record.ts_recv(), link: link.map(str::to_owned) };
        if turn.at > ts {
            let ends = turn.link.state == LinkState::Disconnected && topic == self.topic;
            if ends && self.closed.as_ref().is_none_or(|c| turn.at < c.at) {
                self.closed = Some(turn);
            }
            return;
        }
        let stands = |t: &Turn| t.link.state == LinkState::Connected;
        let better = match &self.opened {
            None => turn.link.state != LinkState::Disconnected,
            Some(old) => stands(&turn) && (!stands(old) || turn.at > old.at),
        };
        if better {
            topic.clone_into(&mut self.topic);
            self.opened = Some(turn);
        }
    }

    fn stands(&self) -> bool {
        self.opened.as_ref().is_some_and(|t| t.link.state == LinkState::Connected)
    }
}

impl Trace<'_> {
    /// The life of connection `conn` at `ts`. `None`: the row came by none, or nothing is known of it.
    pub(super) fn life(&self, conn: u32, ts: Ts) -> Result<Option<Life>, StoreError> {
        if conn == 0 {
            return Ok(None);
        }
        let mut known = Known::default();
        let tape = self.tape_links(conn)?;
        tape.iter().for_each(|(topic, row)| known.take(topic, &row.record(), ts));
        let (before, after) = self.link_parts(ts);
        for part in before {
            if known.stands() && known.opened.as_ref().is_some_and(|t| t.at.0 > part.to) {
                continue;
            }
            self.each(part, &mut |_, record| {
                if record.conn() == conn {
                    known.take(&part.topic, &record, ts);
                }
            })?;
        }
        // Its end, now that its topic is known.
        let topic = known.topic.clone();
        tape.iter().filter(|(t, _)| *t == topic).for_each(|(t, row)| known.take(t, &row.record(), ts));
        for part in after.into_iter().filter(|p| p.topic == topic) {
            if known.closed.as_ref().is_some_and(|c| c.at.0 < part.from) {
                break;
            }
            self.each(part, &mut |_, record| {
                if record.conn() == conn {
                    known.take(&part.topic, &record, ts);
                }
            })?;
        }
        let Known { topic, opened, closed } = known;
        Ok(opened.map(|opened| Life { line: stored::line(&topic), topic, opened, closed }))
    }

    /// What the tape tells of a connection.
    fn tape_links(&self, conn: u32) -> Result<Vec<(String, Kept)>, StoreError> {
        let (mut all, mut batch) = (Vec::new(), Vec::new());
        let Some(tape) = self.tape else { return Ok(all) };
        for state in tape.topics().into_iter().filter(|t| t.topic.kind() == Kind::Link) {
            let mut reader = tape.reader(&state.topic, From::Earliest, ReaderOptions::default())?;
            while reader.poll_next(&mut batch, BATCH) > 0 {
                for delivery in batch.drain(..) {
                    if let Delivery::Record(shared) = delivery
                        && shared.record().conn() == conn
                    {
                        all.push((state.topic.to_string(), Kept::of(&shared.record())));
                    }
                }
            }
        }
        Ok(all)
    }

    /// The frame that a row stood in, where the line kept its frames: it was received at the same moment.
    pub(super) fn raw(&self, line: &str, row: &Record<'_>) -> Option<Kept> {
        let tape = self.tape?;
        let frames = format!("{line}.frames");
        let of = |t: &wholetape_tape::TopicState| t.topic.kind() == Kind::Raw && t.topic.subject() == frames;
        let topic = tape.topics().into_iter().find(of)?.topic;
        let mut reader = tape.reader(&topic, From::Time(row.ts_recv()), ReaderOptions::default()).ok()?;
        let (mut batch, mut looked) = (Vec::new(), 0);
        while looked < FRAMES_MAX && reader.poll_next(&mut batch, BATCH) > 0 {
            looked += batch.len();
            for delivery in batch.drain(..) {
                let Delivery::Record(shared) = delivery else { continue };
                let raw = shared.record();
                if raw.ts_recv() > row.ts_recv() {
                    return None;
                }
                if (raw.conn(), raw.frame()) == (row.conn(), row.frame()) {
                    return Some(Kept::of(&raw));
                }
            }
        }
        None
    }
}
