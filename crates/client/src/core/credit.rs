//! Credit (`flow`): what the user said it takes of a topic, over any number of connections.
//!
//! The server's credit is of one connection and ends with `resync`. Ours goes on: what is left is said in the frame of the `sub` or `resync`
//! that asks for the topic again, so that nothing is sent between. Such topics are left out of `resume`, behind which it could be; and one
//! of which nothing may come is not asked for before the next credit.

use serde_json::{Value, json};
use wholetape_wire::CREDIT_MAX;

use super::Core;
use super::outbound::Ask;
use crate::words::TopicState;

/// Why credit was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCredit {
    #[error("not subscribed, or denied: a credit is of a topic, by its name")]
    NotSubscribed,
    #[error("credit is at least 1, and at most {CREDIT_MAX} with what is left of it")]
    Bounds,
}

/// Messages of one topic that may come.
#[derive(Debug, Clone, Copy)]
pub struct Credit {
    /// Below zero: one was taken in advance, since no message of credit can say none.
    left: i64,
    /// Of these the server does not know.
    unsaid: i64,
}

impl Credit {
    pub const fn new(credit: u64) -> Self {
        Self { left: credit as i64, unsaid: 0 }
    }

    /// A message came.
    pub const fn spend(&mut self) {
        self.left -= 1;
    }

    pub const fn is_spent(self) -> bool {
        self.left <= 0
    }

    const fn add(&mut self, more: i64) {
        let owed = if self.left < 0 { self.left } else { 0 };
        self.left += more;
        self.unsaid += if more + owed > 0 { more + owed } else { 0 };
    }

    /// All that is left, for a server that knows of none.
    const fn whole(&mut self) -> i64 {
        self.unsaid = 0;
        if self.left > 0 { self.left } else { 1 }
    }
}

impl Core {
    /// So many messages (`data`, `mark`, `snap`) more of a topic may come; then it pauses. A topic without credit is unlimited.
    ///
    /// # Errors
    /// [`NoCredit`]; nothing has changed then.
    pub fn flow(&mut self, now: u64, topic: &str, credit: u64) -> Result<(), NoCredit> {
        let denied = TopicState::Denied;
        let t = self.topics.get_mut(topic).filter(|t| t.state != denied).ok_or(NoCredit::NotSubscribed)?;
        let had = t.credit.map_or(0, |c| c.left);
        let more = i64::try_from(credit).ok().filter(|more| (1..=CREDIT_MAX as i64 - had.max(0)).contains(more));
        let more = more.ok_or(NoCredit::Bounds)?;
        t.credit.get_or_insert(Credit::new(0)).add(more);
        let ask = if t.said {
            Ask::Flow { topic: topic.to_owned(), credit: 0 }
        } else if std::mem::take(&mut t.held) {
            Ask::Sub(topic.to_owned())
        } else {
            return Ok(());
        };
        self.queue.push_back(ask);
        self.pump(now);
        Ok(())
    }

    /// Whether a `sub` waits for credit: the topic stays as it is. Not one that a pattern means too, which would bring it without a bound, and
    /// not from where it stands.
    pub(super) fn holds(&mut self, name: &str) -> bool {
        let patterned = self.wants.keys().any(|want| want.contains('*') && super::matches(want, name));
        let Some(t) = self.topics.get_mut(name).filter(|_| !patterned) else { return false };
        t.held = t.credit.is_some_and(Credit::is_spent);
        t.held
    }

    /// What a message says of credit, with the topic: of a `flow` all that is unsaid, beside a `sub` or `resync` all that is left.
    pub(super) fn credit_of(&mut self, ask: &Ask) -> Option<(String, i64)> {
        let (Ask::Sub(name) | Ask::Resync { topic: name, .. } | Ask::Flow { topic: name, .. }) = ask else {
            return None;
        };
        let t = self.topics.get_mut(name)?;
        let credit = t.credit.as_mut()?;
        if let Ask::Flow { .. } = ask {
            let unsaid = if t.said { std::mem::take(&mut credit.unsaid) } else { 0 };
            return (unsaid > 0).then(|| (name.clone(), unsaid));
        }
        Some((name.clone(), credit.whole()))
    }

    /// A message of credit, under an id of its own.
    pub(super) fn flow_message(&mut self, topic: String, credit: i64) -> Value {
        self.id += 1;
        let said = json!({"op": "flow", "id": self.id, "topic": topic, "credit": credit});
        self.open.insert(self.id, Ask::Flow { topic, credit });
        said
    }

    /// The server has no `sub` of the topic any more; the next one says all.
    pub(super) fn unsaid(&mut self, topic: &str) {
        if let Some(t) = self.topics.get_mut(topic) {
            t.said = false;
        }
    }

    /// A `flow` was refused for now: it is said again, unless a `sub` does.
    pub(super) fn unsay(&mut self, topic: &str, credit: i64) {
        if let Some(c) = self.topics.get_mut(topic).and_then(|t| t.credit.as_mut()) {
            c.unsaid += credit;
        }
    }

    /// Whether a `flow` has anything to say: where the server has no `sub` of the topic, the next one says it.
    pub(super) fn owes_flow(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|t| t.said && t.credit.is_some_and(|c| c.unsaid > 0))
    }

    pub(super) fn has_credit(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|t| t.credit.is_some())
    }

    /// A pattern brought a topic, without what is left for it.
    pub(super) fn credit_behind(&mut self, topic: &str) {
        if let Some(c) = self.topics.get_mut(topic).and_then(|t| t.credit.as_mut()) {
            c.unsaid = c.whole();
            self.queue.push_back(Ask::Flow { topic: topic.to_owned(), credit: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_in_advance_is_taken_off_the_next() {
        let mut credit = Credit::new(1);
        credit.spend();
        assert!(credit.is_spent());
        assert_eq!(credit.whole(), 1, "none cannot be said");
        credit.spend();
        credit.add(1);
        assert_eq!((credit.left, credit.unsaid), (0, 0), "it was given already");
        credit.add(5);
        assert_eq!((credit.left, credit.unsaid, credit.whole(), credit.unsaid), (5, 5, 5, 0));
    }
}
