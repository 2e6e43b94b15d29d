//! What the ring has for one who stands at a position.

use super::{Frame, Inner};
use crate::ws::view::Key;

/// What the ring has for a cursor.
pub(crate) enum Next {
    /// Nothing new; the member was armed.
    Idle,
    /// Messages were appended.
    Took,
    /// The cursor is not at the start of a ring message.
    Behind,
}

impl Inner {
    /// As [`Inner::next`], of a view.
    pub fn next_of(
        &mut self,
        key: Key,
        position: u64,
        token: u64,
        max: usize,
        out: impl FnMut(&Frame) -> bool,
    ) -> Next {
        let Some(view) = self.view_of(key) else { return Next::Behind };
        let next = view.next(position, max, out);
        if matches!(next, Next::Idle) {
            self.arm(token);
        }
        next
    }

    /// `token` is told when there is more.
    pub fn arm(&mut self, token: u64) {
        if let Some(m) = self.members.iter_mut().find(|m| m.token == token) {
            m.armed = true;
        }
    }

    /// Appends up to `max` messages behind `position` to `out`. Arms `token` when there is nothing.
    pub fn next(&mut self, position: u64, token: u64, max: usize, mut out: impl FnMut(&Frame) -> bool) -> Next {
        if position >= self.at {
            self.arm(token);
            return Next::Idle;
        }
        if position < self.ring_start {
            return Next::Behind;
        }
        let i = self.ring.partition_point(|f| f.seq <= position);
        match self.ring.get(i) {
            Some(f) if f.prev == position => {}
            _ => return Next::Behind,
        }
        for frame in self.ring.iter_from(i).take(max) {
            if !out(frame) {
                break;
            }
        }
        Next::Took
    }

    /// Messages behind `position`, where the ring holds them all.
    pub fn messages_behind(&self, position: u64) -> Option<u64> {
        self.can_follow(position).then(|| (self.ring.len() - self.ring.partition_point(|f| f.seq <= position)) as u64)
    }

    /// Whether a cursor at `position` can go on from the ring.
    pub fn can_follow(&self, position: u64) -> bool {
        if position >= self.at {
            return true;
        }
        let i = self.ring.partition_point(|f| f.seq <= position);
        position >= self.ring_start && self.ring.get(i).is_some_and(|f| f.prev == position)
    }
}
