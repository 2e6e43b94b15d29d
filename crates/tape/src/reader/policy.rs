//! What a reader does when it is further behind than it allows.

use std::sync::atomic::Ordering;

use wholetape_model::Class;

use super::{Delivery, MissedWhy, Policy, Reader};
use crate::lock;

impl Reader {
    /// Acts when the reader is behind by more than its lag; what it skips it names.
    pub(super) fn apply_policy(&mut self, out: &mut Vec<Delivery>) {
        let head = self.topic.head();
        let behind = head.saturating_sub(self.position);
        match self.watch.policy {
            Policy::CatchUp | Policy::Block => {}
            Policy::DropLowest => self.drop_lowest(behind, out),
            _ if behind <= self.watch.lag => {}
            Policy::DropOldest => self.missed(out, head - self.watch.lag, MissedWhy::Slow),
            Policy::Conflate => self.conflate(head, out),
            Policy::Disconnect => {
                self.ended = true;
                out.push(Delivery::Disconnected { position: self.position, head });
            }
        }
    }

    /// The members of a set share one allowance; the lowest classes give first.
    fn drop_lowest(&mut self, behind: u64, out: &mut Vec<Delivery>) {
        if self.watch.class == Class::Critical {
            return;
        }
        let set = lock(&self.watch.set).as_ref().map(|(set, _)| set.clone());
        self.watch.position.store(self.position, Ordering::Release);
        let (all, lower) = set.map_or((behind, 0), |s| s.backlog(self.watch.class));
        let excess = all.saturating_sub(self.watch.lag).saturating_sub(lower).min(behind);
        self.missed(out, self.position + excess, MissedWhy::Slow);
    }

    /// Jumps to the newest state. Marks are never conflated away: those on the way that are remembered are delivered.
    fn conflate(&mut self, head: u64, out: &mut Vec<Delivery>) {
        let kind = self.topic.topic.kind();
        if !kind.is_state() {
            return;
        }
        let books = matches!(kind, wholetape_model::Kind::Book | wholetape_model::Kind::Consolidated);
        let target = if books { self.topic.book_start.load(Ordering::Acquire).min(head) } else { head };
        if target <= self.position + 1 {
            return;
        }
        let marks: Vec<u64> =
            lock(&self.topic.core).marks.iter().copied().filter(|m| *m > self.position && *m < target).collect();
        for mark in marks {
            self.skip_to(mark, out);
            if !self.step(out, 1) {
                return;
            }
        }
        self.skip_to(target, out);
    }

    /// Names what lies before the record `seq`, so that it comes next.
    fn skip_to(&mut self, seq: u64, out: &mut Vec<Delivery>) {
        self.missed(out, seq - 1, MissedWhy::Conflated);
        self.cursor = None;
    }
}
