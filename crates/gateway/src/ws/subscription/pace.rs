//! How far a subscription goes ahead of its client: so far that `inflight` messages are not acknowledged (`ack`, PROTOCOL §5), and as
//! far as its credit goes (`flow`, §7). The smaller holds; whoever waits for either is not slow.
//!
//! Messages are `data`, `mark` and `snap`. Batches of history are not counted: there is nothing to be acknowledged of them, and a client
//! that does not read them holds them up by itself.

use std::sync::atomic::Ordering;

use wholetape_wire::CREDIT_MAX;

use super::{Acks, Phase, Subscription};
use crate::clients::TopicState;
use crate::stats::GatewayStats;

/// What a client said it takes, and has not been given yet.
#[derive(Debug, Default)]
struct Credit {
    left: u64,
    /// It waits for more, and that was counted.
    paused: bool,
}

#[derive(Debug)]
pub(super) struct Pace {
    acks: Option<Acks>,
    /// `None`: without bound.
    credit: Option<Credit>,
}

impl Pace {
    /// `inflight`: so many messages may be under way; `None`: they are not acknowledged.
    pub fn new(inflight: Option<usize>) -> Self {
        Self { acks: inflight.map(Acks::new), credit: None }
    }

    /// Messages that may still be given.
    pub fn room(&self) -> usize {
        let acks = self.acks.as_ref().map_or(usize::MAX, Acks::room);
        let credit = self.credit.as_ref().map_or(usize::MAX, |c| usize::try_from(c.left).unwrap_or(usize::MAX));
        acks.min(credit)
    }

    /// A message up to `seq` was given.
    pub fn gave(&mut self, seq: u64) {
        if let Some(acks) = &mut self.acks {
            acks.gave(seq);
        }
        if let Some(credit) = &mut self.credit {
            credit.left = credit.left.saturating_sub(1);
        }
    }

    /// The client begins anew elsewhere: what it was given does not count, nor what it said before that it takes.
    pub fn forget(&mut self) {
        if let Some(acks) = &mut self.acks {
            acks.forget();
        }
        self.credit = None;
    }

    /// There is no room.
    pub fn pause(&mut self, stats: &GatewayStats) {
        if let Some(acks) = self.acks.as_mut().filter(|acks| acks.room() == 0) {
            stats.ack_pauses_total.fetch_add(u64::from(acks.pauses()), Ordering::Relaxed);
        }
        if let Some(credit) = self.credit.as_mut().filter(|credit| credit.left == 0) {
            let begins = !std::mem::replace(&mut credit.paused, true);
            stats.flow_pauses_total.fetch_add(u64::from(begins), Ordering::Relaxed);
        }
    }

    /// What it waits for.
    pub fn waits(&self) -> Option<TopicState> {
        if self.acks.as_ref().is_some_and(|acks| acks.room() == 0) {
            return Some(TopicState::Unacknowledged);
        }
        self.credit.as_ref().is_some_and(|credit| credit.left == 0).then_some(TopicState::Uncredited)
    }

    /// So many more are taken. Whether what was paused may go on; `None`: that would be more than [`CREDIT_MAX`].
    fn grant(&mut self, more: u64) -> Option<bool> {
        let credit = self.credit.get_or_insert_default();
        credit.left = credit.left.checked_add(more).filter(|sum| *sum <= CREDIT_MAX)?;
        Some(std::mem::take(&mut credit.paused))
    }
}

impl Subscription {
    /// The client has processed everything up to `seq`. Whether the subscription may go on where it waited for that.
    ///
    /// # Errors
    /// Why it cannot be, for people.
    pub fn acknowledge(&mut self, seq: u64) -> Result<bool, String> {
        let Some(acks) = &mut self.pace.acks else { return Err("subscribed without `ack`".to_owned()) };
        if !matches!(self.phase, Phase::Opening(..) | Phase::Resuming(_)) && seq > self.position {
            return Err(format!("nothing beyond {} was sent", self.position));
        }
        Ok(acks.acknowledge(seq))
    }

    /// The client takes so many messages more than it has said. Whether the subscription may go on where it waited for that.
    ///
    /// # Errors
    /// Why it cannot be, for people.
    pub fn grant(&mut self, more: u64) -> Result<bool, String> {
        self.pace.grant(more).ok_or_else(|| format!("credit: at most {CREDIT_MAX} that are not used"))
    }

    /// The message up to `seq` is on its way.
    pub(super) fn gave(&mut self, seq: u64) {
        self.position = seq;
        self.pace.gave(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_holds() {
        let (stats, mut pace) = (GatewayStats::default(), Pace::new(Some(3)));
        let paused = || [&stats.ack_pauses_total, &stats.flow_pauses_total].map(|n| n.load(Ordering::Relaxed));
        assert_eq!((pace.room(), pace.grant(2), pace.room()), (3, Some(false), 2));
        [1, 2].into_iter().for_each(|seq| pace.gave(seq));
        assert_eq!((pace.room(), pace.waits()), (0, Some(TopicState::Uncredited)));
        [(); 2].into_iter().for_each(|()| pace.pause(&stats));
        assert_eq!((paused(), pace.grant(9), pace.room()), ([0, 1], Some(true), 1));
        pace.gave(3);
        pace.pause(&stats);
        assert_eq!((paused(), pace.room(), pace.waits()), ([1, 1], 0, Some(TopicState::Unacknowledged)));
        // It was not the credit that it waited for.
        assert_eq!((pace.grant(1), pace.room()), (Some(false), 0));
        pace.forget();
        assert_eq!((pace.room(), pace.waits()), (3, None), "credit is forgotten, not nothing");
    }

    #[test]
    fn credit_is_bounded() {
        let mut pace = Pace::new(None);
        assert_eq!((pace.room(), pace.grant(CREDIT_MAX - 1), pace.grant(2)), (usize::MAX, Some(false), None));
        assert_eq!(pace.room() as u64, CREDIT_MAX - 1, "what was refused changed nothing");
        assert_eq!((pace.grant(1), pace.grant(u64::MAX)), (Some(false), None));
        pace.gave(1);
        assert_eq!(pace.grant(1), Some(false));
    }
}
