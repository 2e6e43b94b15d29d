//! One topic: what was delivered, what was processed, and how it stands with the server.

use serde_json::Value;
use wholetape_wire::client::TopicState as Rule;

use super::credit::Credit;
use crate::words::{Cursor, Sub, TopicState};

/// What was delivered.
#[derive(Debug)]
pub enum Place {
    Nowhere,
    /// Rows of a history that has not reached its end.
    Rows {
        ts: i64,
        epoch: String,
        asof: u64,
        i: u64,
    },
    At(Rule),
}

#[derive(Debug)]
pub struct Topic {
    /// The name or pattern that asked for it.
    pub want: String,
    /// What `from` says before anything came.
    pub from: Value,
    pub place: Place,
    pub state: TopicState,
    /// Processed by the user.
    pub done: Option<Cursor>,
    /// The server speaks of it on this connection.
    pub open: bool,
    /// The replay ends here; `u64::MAX` where a heartbeat must tell.
    pub until: u64,
    /// It lags until here.
    pub lag_until: u64,
    /// It was asked for again, since a batch did not join.
    pub anew: bool,
    /// The server wants acknowledgements.
    pub acked: bool,
    /// Processed and not acknowledged.
    pub unacked: u32,
    pub ack: u64,
    /// `None`: any number of messages may come.
    pub credit: Option<Credit>,
    /// The server has its `sub`, on this connection.
    pub said: bool,
    /// Its `sub` waits for credit.
    pub held: bool,
    tail: Tail,
}

/// The search for a lost tail: what two heartbeats have seen.
#[derive(Debug)]
struct Tail {
    last: u64,
    head: u64,
    /// Heartbeats without progress, and how many of them are one too many.
    quiet: u32,
    patience: u32,
}

impl Topic {
    pub fn new(sub: &Sub, want: &str, stored: Option<&Cursor>) -> Self {
        // A book's state is not stored with its position; who holds it says so in `from`.
        let stored = stored.filter(|_| !want.starts_with("book.") && Cursor::from_json(&sub.from).is_none());
        let (place, from) = match stored {
            Some(Cursor::Rows { ts, epoch, asof, i }) => {
                (Place::Rows { ts: *ts, epoch: epoch.clone(), asof: *asof, i: *i }, sub.from.clone())
            }
            Some(cursor) => (Place::Nowhere, cursor.to_json()),
            None => (Place::Nowhere, sub.from.clone()),
        };
        let place = match Cursor::from_json(&from) {
            Some(Cursor::Rows { ts, epoch, asof, i }) => Place::Rows { ts, epoch, asof, i },
            _ => place,
        };
        Self {
            want: sub.topic.clone(),
            from,
            place,
            state: TopicState::Subscribing,
            done: None,
            open: false,
            until: u64::MAX,
            lag_until: 0,
            anew: false,
            acked: sub.keys.get("ack").is_some_and(|v| v == "cum"),
            unacked: 0,
            ack: 0,
            credit: sub.credit.map(Credit::new),
            said: false,
            held: false,
            tail: Tail { last: 0, head: 0, quiet: 0, patience: 1 },
        }
    }

    /// The `from` that goes on where we are.
    pub fn go_on(&self) -> Value {
        self.cursor().map_or_else(|| self.from.clone(), |c| c.to_json())
    }

    pub fn cursor(&self) -> Option<Cursor> {
        match &self.place {
            Place::Nowhere => None,
            Place::Rows { ts, epoch, asof, i } => {
                Some(Cursor::Rows { ts: *ts, epoch: epoch.clone(), asof: *asof, i: *i })
            }
            Place::At(rule) => Some(Cursor::Seq { epoch: rule.epoch.clone(), seq: rule.last }),
        }
    }

    pub fn rule(&mut self) -> Option<&mut Rule> {
        match &mut self.place {
            Place::At(rule) => Some(rule),
            _ => None,
        }
    }

    pub fn last(&self) -> u64 {
        match &self.place {
            Place::At(rule) => rule.last,
            _ => 0,
        }
    }

    fn waiting(&self) -> bool {
        matches!(&self.place, Place::At(rule) if rule.waiting)
    }

    /// Ignore everything until the answer to `resync`. `false` where it is not subscribed, or waits already.
    pub fn wait(&mut self) -> bool {
        let open = self.open;
        let Some(rule) = self.rule().filter(|rule| open && !rule.waiting) else { return false };
        rule.waiting = true;
        self.state = TopicState::Stale;
        true
    }

    /// Whether the state changed.
    pub fn enter(&mut self, state: TopicState) -> bool {
        std::mem::replace(&mut self.state, state) != state
    }

    /// After progress: whether the state changed.
    pub fn settle(&mut self) -> bool {
        let last = self.last();
        let state = if last >= self.until { TopicState::Live } else { TopicState::Replaying };
        self.enter(state)
    }

    pub fn lags(&self) -> bool {
        self.open && self.last() < self.lag_until
    }

    /// Whether the state changed.
    pub fn disconnected(&mut self) -> bool {
        (self.open, self.anew, self.lag_until) = (false, false, 0);
        (self.said, self.held) = (false, false);
        self.tail = Tail { last: 0, head: 0, quiet: 0, patience: 1 };
        if let Some(rule) = self.rule() {
            rule.waiting = false;
        }
        match self.state {
            TopicState::Denied | TopicState::Subscribing => false,
            _ => self.enter(TopicState::Stale),
        }
    }

    pub fn processed(&mut self, cursor: Cursor) {
        if let Cursor::Seq { .. } = &cursor
            && self.acked
        {
            self.unacked = self.unacked.saturating_add(1);
        }
        self.done = Some(cursor);
    }

    /// What can be acknowledged.
    pub fn to_ack(&self) -> Option<u64> {
        match (&self.done, &self.place) {
            // What was processed of an epoch that is over is nobody's any more.
            (Some(Cursor::Seq { epoch, seq }), Place::At(rule)) if *epoch == rule.epoch => {
                (self.acked && self.open && *seq > self.ack).then_some(*seq)
            }
            _ => None,
        }
    }

    /// A heartbeat told the head. Whether the tail is lost: a whole heartbeat has passed in which nothing came although the one before
    /// told of more. Each time that this was in vain we wait twice as long.
    pub fn on_head(&mut self, head: u64) -> bool {
        let last = self.last();
        let paused = (self.acked && self.ack < last) || self.credit.is_some_and(Credit::is_spent);
        if self.waiting() || paused {
            return false;
        }
        let lost = last == self.tail.last && self.tail.head > last;
        self.tail.quiet = if lost { self.tail.quiet + 1 } else { 0 };
        if last != self.tail.last {
            self.tail.patience = 1;
        }
        (self.tail.last, self.tail.head) = (last, head);
        if lost && self.tail.quiet >= self.tail.patience {
            self.tail.quiet = 0;
            self.tail.patience = self.tail.patience.saturating_mul(2);
            return true;
        }
        false
    }
}
