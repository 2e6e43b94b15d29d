//! One stream of a book: what it has said, and the next message of it.
//!
//! Invariants: `u` goes up by one with every message; where the service restarted the next message is a snapshot with `u` 1; levels that leave
//! the depth are deleted, those that return are set.

use super::category::Category;
use super::payload;
use crate::config::Spec;
use crate::event::Now;
use crate::world::{BookText, Every, Floor, Levels, Side, difference, top};

/// See the module.
#[derive(Debug)]
pub struct Stream {
    pub depth: usize,
    pub topic: String,
    pub every: Every,
    bids: Levels,
    asks: Levels,
    pub u: u64,
    seq: u64,
    at_ms: i64,
    /// The book has moved since the last message.
    pub moved: bool,
    anew: bool,
}

type Texts = Vec<(String, String)>;

/// What a message says on the wire, and in the truth where that is other words.
pub struct Said {
    pub wire: String,
    pub truth: Option<String>,
}

impl Stream {
    pub fn new(symbol: &str, depth: usize, every_ms: u64, u: u64) -> Self {
        Self {
            depth,
            topic: format!("orderbook.{depth}.{symbol}"),
            every: Every::new(every_ms),
            bids: Levels::new(),
            asks: Levels::new(),
            u,
            seq: 0,
            at_ms: 0,
            moved: false,
            anew: false,
        }
    }

    /// Takes the book as it is for told.
    pub fn listed(&mut self, floor: &Floor, now: Now, seq: u64) {
        (self.bids, self.asks) = (top(floor, Side::Bid, self.depth), top(floor, Side::Ask, self.depth));
        (self.seq, self.at_ms, self.moved) = (seq, now.exchange_ms, false);
    }

    /// The service restarted.
    pub fn restart(&mut self) {
        (self.anew, self.moved) = (true, true);
    }

    fn whole(&self, spec: &Spec, limit: usize) -> [Texts; 2] {
        let text = |(p, q): (&i64, &i64)| (spec.price(*p), spec.size(*q));
        [self.bids.iter().rev().take(limit).map(text).collect(), self.asks.iter().take(limit).map(text).collect()]
    }

    fn said(
        &self,
        kind: &str,
        spec: &Spec,
        category: Category,
        ts: i64,
        sides: &[Texts; 2],
        after: Option<u64>,
    ) -> String {
        let message = payload::Book { topic: &self.topic, kind, ts, cts: self.at_ms, u: self.u, seq: self.seq };
        payload::book(spec, category, message, [&sides[0], &sides[1]], after)
    }

    /// What a new subscriber is told.
    pub fn snapshot(&self, spec: &Spec, category: Category) -> String {
        self.said("snapshot", spec, category, self.at_ms, &self.whole(spec, usize::MAX), None)
    }

    pub fn text(&self, spec: &Spec, limit: usize) -> BookText {
        let [bids, asks] = self.whole(spec, limit);
        BookText { last_update_id: self.u, bids, asks }
    }

    /// The next message, where there is anything to say.
    pub fn next(&mut self, floor: &Floor, category: Category, now: Now, seq: u64) -> Option<Said> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        let spec = &floor.spec;
        let (bids, asks) = (top(floor, Side::Bid, self.depth), top(floor, Side::Ask, self.depth));
        let text = |changes: Vec<(i64, i64)>| -> Texts {
            let size = |q: i64| if q == 0 { "0".to_owned() } else { spec.size(q) };
            changes.into_iter().map(|(p, q)| (spec.price(p), size(q))).collect()
        };
        let mut changes = [text(difference(&self.bids, &bids)), text(difference(&self.asks, &asks))];
        changes[0].reverse();
        if changes.iter().all(Vec::is_empty) && !self.anew {
            return None;
        }
        let before = self.u;
        let anew = std::mem::take(&mut self.anew);
        self.u = if anew { 1 } else { before + 1 };
        (self.bids, self.asks, self.seq, self.at_ms) = (bids, asks, seq, now.exchange_ms);
        let delta = |after| self.said("delta", spec, category, now.exchange_ms, &changes, after);
        Some(match anew {
            // The truth says what changed here as well, and what came before.
            true => Said { wire: self.snapshot(spec, category), truth: Some(delta(Some(before))) },
            false => Said { wire: delta(None), truth: None },
        })
    }
}
