//! Planned replacement: a venue ends every connection after a day, and says so. The spare of the set opens and subscribes
//! first; when both have carried the streams for [`OVERLAP`] the old one goes and becomes the spare. Nothing is missed, and
//! the line sees two deliveries of the same for a moment, which it knows how to tell apart.
//!
//! Where the old one goes early (the venue closed it, it broke), the spare takes its place as it is.

use std::time::Duration;

use wholetape_model::{LinkCause, Ts};

use super::Shell;
use super::slot::Phase;
use crate::line::{ConnIx, OVERLAP};

impl Shell {
    /// The path of the streams that `conn` carries.
    pub(super) fn path(&self, conn: ConnIx) -> &'static str {
        self.spec.connections[conn / self.line.members()].path
    }

    fn set(&self, conn: ConnIx) -> std::ops::Range<ConnIx> {
        let members = self.line.members();
        let first = conn - conn % members;
        first..first + members
    }

    /// Wants the spare of the set beside `conn`. Where it is busy already, it is looked at again later.
    pub(super) fn replace(&mut self, conn: ConnIx, now: Ts) {
        self.slots[conn].replace_at = Ts::MAX;
        let mut set = self.set(conn);
        if set.clone().any(|c| self.slots[c].replaces == Some(conn)) {
            return;
        }
        let Some(spare) = set.find(|c| !self.slots[*c].wanted) else {
            // The one before has not finished yet.
            self.slots[conn].replace_at = now + Duration::from_secs(1);
            return;
        };
        let slot = &mut self.slots[spare];
        slot.wanted = true;
        slot.replaces = Some(conn);
        slot.phase = Phase::Waiting(now);
    }

    /// Nothing is left that `conn` could bring.
    pub(super) fn retire(&mut self, conn: ConnIx, why: &str) {
        if matches!(self.slots[conn].phase, Phase::Open(_)) {
            self.give_up(conn, LinkCause::Stop, why);
        }
        let slot = &mut self.slots[conn];
        slot.wanted = false;
        slot.replaces = None;
        slot.relieves_at = Ts::MAX;
        slot.replace_at = Ts::MAX;
        slot.phase = Phase::Waiting(Ts::MAX);
    }

    /// All streams of `conn` are acknowledged.
    pub(super) fn subscribed(&mut self, conn: ConnIx) {
        if let Some(old) = self.slots[conn].replaces {
            let why = "another socket carries the same streams and takes over";
            self.put_link(old, LinkCause::Planned, Duration::ZERO, why);
            // A little longer than the line asks for, so that it agrees.
            self.slots[conn].relieves_at = self.now() + OVERLAP + Duration::from_millis(200);
        }
    }

    /// Both have carried long enough: the old one goes.
    pub(super) fn relieve(&mut self, conn: ConnIx, now: Ts) {
        let slot = &mut self.slots[conn];
        slot.relieves_at = Ts::MAX;
        let Some(old) = slot.replaces.take() else { return };
        let old_slot = &mut self.slots[old];
        old_slot.wanted = false;
        if matches!(old_slot.phase, Phase::Open(_)) {
            self.line.on_closed(old, now, LinkCause::Planned, &mut self.out);
            self.end_socket(old);
            self.put_link(old, LinkCause::Closed, Duration::ZERO, "replaced");
        } else {
            old_slot.phase = Phase::Waiting(Ts::MAX);
        }
        self.metrics.replacements += 1;
    }

    /// `conn` is gone: if another socket was to take over, it has, and this one rests.
    pub(super) fn hand_over(&mut self, conn: ConnIx) {
        let successor = self.set(conn).find(|c| self.slots[*c].replaces == Some(conn));
        if let Some(successor) = successor {
            self.slots[successor].replaces = None;
            self.slots[successor].relieves_at = Ts::MAX;
            self.slots[conn].wanted = false;
        }
        // Should `conn` itself have been on its way to replace another, that one goes on and is replaced later.
        if let Some(old) = self.slots[conn].replaces.take() {
            self.slots[conn].wanted = false;
            self.slots[old].replace_at = self.now() + Duration::from_secs(5);
        }
    }
}
