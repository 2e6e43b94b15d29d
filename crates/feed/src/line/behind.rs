//! A socket that is behind while its sibling is young: what only the older one had on its way is nobody's yet.
//!
//! A set carries on while one of its sockets does, so nothing is confessed when a second one joins. But what the venue
//! published before the young one was subscribed can come through the older alone, and that one may have stalled. When it
//! goes, the line confesses (see [`Line::on_closed`]); when the *process* goes, the newest rows of the tape came from the young
//! socket and hide what was still on its way. So the line writes down until when a set was heard as another socket joins, and
//! takes that back once an older one has been heard beyond it: two rows `behind` of `quality.<line>` for each subscription.
//!
//! Invariant: while a set has a socket that was heard of nothing published after the first of the joins, a restart confesses
//! from the moment written down, not from its newest row.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::{InstrumentIx, Kind, Ts};

use super::Line;
use super::out::{ConnIx, LineOut};
use super::sockets::OVERLAP;

/// Channel of the notes: `<set> <ns>`, 0 when it is over.
pub(super) const CHANNEL: &str = "behind";
/// What was under way when the older socket was last heard.
const UNDER_WAY: Duration = Duration::from_millis(250);

/// Joins of a set that no older socket was heard beyond yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    /// The older sockets were subscribed before this.
    first: Ts,
    /// One of them must be heard beyond this.
    last: Ts,
}

/// What the process before had on its way, by set.
pub(super) fn read(known: &mut BTreeMap<usize, Ts>, text: &str) {
    let Some((set, ns)) = text.split_once(' ') else { return };
    let (Ok(set), Ok(ns)) = (set.parse(), ns.parse()) else { return };
    if ns == 0 {
        known.remove(&set);
    } else {
        known.insert(set, Ts(ns));
    }
}

impl Line {
    /// `conn` is about to carry beside others of its set.
    pub(super) fn joins_others(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let set = self.set_of(conn);
        let others = self.siblings(conn).filter(|c| self.conns[*c].is_carrying());
        let Some(heard) = others.map(|c| self.conns[c].heard_until(now)).max() else { return };
        if let Some(behind) = &mut self.socket_watches[set].behind {
            behind.last = now;
            return;
        }
        self.socket_watches[set].behind = Some(Behind { first: now, last: now });
        let heard = (if now.since(heard) < super::topics::LAG_MAX { heard } else { now }) - UNDER_WAY;
        self.note(CHANNEL, &format!("{set} {}", heard.0), now, out);
    }

    /// What the process before left is told topic by topic; then the note of it is taken back.
    fn forget_behind(&mut self, now: Ts, out: &mut LineOut) {
        for set in self.memory.behind.keys().copied().collect::<Vec<_>>() {
            let Some(watch) = self.socket_watches.get_mut(set) else { continue };
            if watch.told || watch.behind.is_some() {
                continue;
            }
            let mut topics = self.topics.of_conns(self.members_of(set)).map(|t| &self.topics.list[t as usize]);
            let is_told = topics.all(|t| t.losing.is_none() && t.open_since > Ts::ZERO);
            drop(topics);
            if is_told {
                self.socket_watches[set].told = true;
                self.note(CHANNEL, &format!("{set} 0"), now, out);
            }
        }
    }

    /// Older sockets that have been heard beyond the joins, or have gone with what they had on its way confessed.
    pub(super) fn settle_behind(&mut self, now: Ts, out: &mut LineOut) {
        self.forget_behind(now, out);
        for set in 0..self.socket_watches.len() {
            let Some(Behind { first, last }) = self.socket_watches[set].behind else { continue };
            let older = |c: &ConnIx| self.conns[*c].is_carrying() && self.conns[*c].carrying_since < first;
            let mut older = self.members_of(set).filter(older).peekable();
            if older.peek().is_none() || older.any(|c| self.conns[c].heard_until(now) >= last + OVERLAP) {
                self.socket_watches[set].behind = None;
                self.socket_watches[set].told = true;
                self.note(CHANNEL, &format!("{set} 0"), now, out);
            }
        }
    }

    /// Until when the set that brings `kind` was heard, where the process before left it behind.
    pub(super) fn was_behind(&self, ix: InstrumentIx, kind: Kind) -> Option<Ts> {
        if self.memory.behind.is_empty() {
            return None;
        }
        let is_it = |e: &(InstrumentIx, Kind)| e.0 == ix && self.topic_kind(e.1) == kind;
        let conn = self.conns.iter().position(|c| c.expects.iter().any(is_it))?;
        self.memory.behind.get(&self.set_of(conn)).copied()
    }
}
