//! A client that is further behind than it allowed: what its policy does, and what is told of it, to it and to operators.
//!
//! An episode begins when that is seen first and ends when the client has everything; it is one line in the log.

use wholetape_model::Kind;
use wholetape_tape::{From as TapeFrom, ReaderOptions, TapeError};
use wholetape_wire::reply;

use super::{Phase, Slow, Subscription, Turn};
use crate::stats::GatewayStats;
use crate::ws::outbox::Outbox;
use crate::ws::stream::Stream;
use crate::ws::view::Key;

/// Where a subscription is in an episode of slowness.
#[derive(Debug, Default)]
pub(super) struct Episode {
    on: bool,
    /// It began, so many seqs behind, and was not logged yet.
    began: Option<u64>,
}

impl Subscription {
    /// Acts on a client that is more than `lag` behind.
    pub(super) fn apply_policy(&mut self, out: &mut Outbox, stats: &GatewayStats) -> Option<Turn> {
        if self.terms.slow == Slow::CatchUp {
            return None;
        }
        let stream = self.stream.clone();
        let (head, lag) = (stream.lock().at, self.allowance.unwrap_or(self.terms.lag));
        let reached = self.left.reached(self.position);
        if head.saturating_sub(reached) <= lag {
            return None;
        }
        let allowed = match allowed(&stream, lag) {
            Ok(at) if reached >= at => return None,
            Ok(at) => at.min(head),
            Err(e) => return Some(self.failed(&e, None)),
        };
        self.slows(head.saturating_sub(reached));
        match self.terms.slow {
            Slow::Disconnect => return Some(Turn::TooSlow),
            Slow::Conflate => {
                let head = stream.tape.head(&stream.topic).unwrap_or(head);
                self.enter_view(Key::POLICY, head.saturating_sub(self.position), out, stats);
                return Some(Turn::More);
            }
            _ => {}
        }
        if stream.topic.kind() == Kind::Book {
            let inner = stream.lock();
            self.skip_to(inner.at, "slow", out, stats);
            self.snap(&inner, &stream, out);
        } else {
            self.skip_to(allowed, "slow", out, stats);
        }
        self.phase = Phase::Live;
        Some(Turn::More)
    }

    /// Tells a client once that it lags, if it does by more than it allowed.
    pub(super) fn notice(&mut self, out: &mut Outbox) {
        let stream = self.stream.clone();
        let reached = self.left.reached(self.position);
        let lag = stream.tape.head(&stream.topic).unwrap_or(0).saturating_sub(reached);
        let far = !self.noticed && lag > self.terms.lag;
        if far && matches!(allowed(&stream, self.terms.lag), Ok(at) if reached < at) {
            self.noticed = true;
            self.slows(lag);
            out.write(|o| reply::lagging(o, &stream.topic, lag));
        }
    }

    /// It is slow, `behind` seqs.
    pub(super) const fn slows(&mut self, behind: u64) {
        if !self.episode.on {
            self.episode = Episode { on: true, began: Some(behind) };
        }
    }

    /// It has everything there is.
    pub(super) const fn recovers(&mut self) {
        self.episode.on = false;
    }

    /// How many seqs it was behind when it became slow, where it did since this was asked last.
    pub const fn slowed(&mut self) -> Option<u64> {
        self.episode.began.take()
    }
}

/// Where a client with `lag` records still to come stands. Records, not seqs: a mark over a power loss covers a million of those,
/// and nobody is slow because of it.
pub(super) fn allowed(stream: &Stream, lag: u64) -> Result<u64, TapeError> {
    Ok(stream.tape.reader(&stream.topic, TapeFrom::Last(lag), ReaderOptions::default())?.position())
}
