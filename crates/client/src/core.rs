//! The client without I/O: what happened goes in with its time, what to do comes out.
//!
//! The shell reports (`on_open`, `on_text`, `on_closed`, `on_timer`) and carries out what [`Core::take`] gives it. Time is an
//! argument, in milliseconds of any clock that does not go back; so is chance. `clients/conformance` holds what this machine must
//! do, for clients in every language.
//!
//! - Positions move by PROTOCOL §0 alone ([`wholetape_wire::client::TopicState`]), so applied ranges are contiguous, disjoint and
//!   increasing, over any number of connections.
//! - What the user has processed is a second position, behind the first: that one is acknowledged and saved.
//! - Everything we say is paced below the server's limits, in the order in which it was asked for.

mod credit;
mod inbound;
mod outbound;
mod topic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use crate::ladder::{self, Bucket, Fate, Ladder};
use crate::words::{Action, Cursor, Event, Publication, State, Sub, TopicState};
pub use credit::NoCredit;
use outbound::{Ask, Pub};
use topic::Topic;

/// Socket, handshake and `welcome` together.
const OPEN_MS: u64 = 10_000;

/// What a client is set up with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How we name ourselves.
    pub agent: String,
    /// Publications that may wait for their answer.
    pub publications_max: usize,
    pub ladder: Ladder,
    /// Whether a refused or expired token can be replaced by asking for credentials again.
    pub renewable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { agent: "rs".into(), publications_max: 1_000, ladder: Ladder::default(), renewable: false }
    }
}

/// The queue of publications is full: too much waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} publications wait for their answers: publish again when some have come")]
pub struct Full(pub usize);

/// What `welcome` said, and a session that can be resumed.
#[derive(Debug, Clone, Default)]
struct Session {
    name: String,
    secret: String,
}

#[derive(Debug)]
enum Link {
    Idle,
    Waiting {
        until: u64,
    },
    Opening {
        until: u64,
    },
    Up(Box<Up>),
    /// We have closed; the shell reports the end.
    Closing {
        live_since: Option<u64>,
    },
    Over,
}

/// A connection after `welcome`.
#[derive(Debug)]
struct Up {
    heartbeat_ms: u64,
    heard: u64,
    bucket: Bucket,
    /// Nothing is said before this: the server asked for a pause.
    hold: u64,
    /// The id of a `resume` that is not answered.
    resume: Option<u64>,
    fresh: Session,
    /// Topics that were asked for with a position and have not answered.
    pending: BTreeSet<String>,
    live_since: Option<u64>,
    draining: bool,
    /// When what was processed must be acknowledged.
    ack_at: Option<u64>,
    /// Patterns and names whose `sub` was sent.
    asked: BTreeSet<String>,
    retries: Vec<(u64, String)>,
}

/// The machine.
#[derive(Debug)]
pub struct Core {
    config: Config,
    link: Link,
    state: State,
    wants: BTreeMap<String, Sub>,
    topics: BTreeMap<String, Topic>,
    stored: BTreeMap<String, Cursor>,
    session: Option<Session>,
    queue: VecDeque<Ask>,
    pubs: VecDeque<Pub>,
    /// What each unanswered id was.
    open: BTreeMap<u64, Ask>,
    id: u64,
    tries: u32,
    after_ms: Option<(u64, u64)>,
    retry_ms: u64,
    out: Vec<Action>,
}

impl Core {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            link: Link::Idle,
            state: State::Idle,
            wants: BTreeMap::new(),
            topics: BTreeMap::new(),
            stored: BTreeMap::new(),
            session: None,
            queue: VecDeque::new(),
            pubs: VecDeque::new(),
            open: BTreeMap::new(),
            id: 0,
            tries: 0,
            after_ms: None,
            retry_ms: 0,
            out: Vec::new(),
        }
    }

    /// Topics go on from here, whatever `from` their `sub` says; books do not, since their state is not stored.
    #[must_use]
    pub fn with_positions(mut self, positions: impl IntoIterator<Item = (String, Cursor)>) -> Self {
        self.stored.extend(positions);
        self
    }

    /// Where the user's processing stands in each topic: to be saved with its effects.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<String, Cursor> {
        let mut all = self.stored.clone();
        all.extend(self.topics.iter().filter_map(|(name, t)| Some((name.clone(), t.done.clone()?))));
        all
    }

    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub fn topic_state(&self, topic: &str) -> Option<TopicState> {
        self.topics.get(topic).map(|t| t.state)
    }

    /// Publications without an answer.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.pubs.len()
    }

    /// What is to be done, in this order.
    pub fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    pub fn start(&mut self, now: u64) {
        if matches!(self.link, Link::Idle) {
            self.connect(now);
        }
    }

    /// Ends for good: what was processed is acknowledged first.
    pub fn stop(&mut self, now: u64) {
        if self.state.is_over() {
            return;
        }
        self.acknowledge(now);
        if matches!(self.link, Link::Opening { .. } | Link::Up(_)) {
            self.out.push(Action::Close(1000));
        }
        self.link = Link::Over;
        self.enter(State::Closed { code: None });
    }

    /// A topic that is subscribed already stays as it is; one that was denied begins anew.
    pub fn subscribe(&mut self, now: u64, sub: Sub) {
        let name = sub.topic.clone();
        let denied = |t: &Topic| t.state == TopicState::Denied;
        let mut asks = Vec::new();
        if name.contains('*') {
            // What a pattern meant before goes on where it was; what it means beside that the server knows.
            for (topic, cursor) in self.stored.iter().filter(|(topic, _)| matches(&name, topic)) {
                if !topic.starts_with("book.") && !self.topics.contains_key(topic) {
                    self.topics.insert(topic.clone(), Topic::new(&sub, topic, Some(cursor)));
                    asks.push(topic.clone());
                }
            }
        } else if self.topics.get(&name).is_none_or(denied) {
            self.topics.insert(name.clone(), Topic::new(&sub, &name, self.stored.get(&name)));
            self.tell_topic(&name);
        } else {
            return;
        }
        asks.push(name.clone());
        self.wants.insert(name, sub);
        if matches!(&self.link, Link::Up(up) if up.resume.is_none()) {
            self.queue.extend(asks.into_iter().map(Ask::Sub));
            self.pump(now);
        }
    }

    /// Of a topic, or of a pattern with all that it meant.
    pub fn unsubscribe(&mut self, now: u64, name: &str) {
        self.wants.remove(name);
        self.topics.retain(|_, t| t.want != name);
        if let Link::Up(up) = &mut self.link {
            up.pending.retain(|t| self.topics.contains_key(t));
            up.retries.retain(|(_, t)| t != name);
            if up.asked.remove(name) {
                self.queue.push_back(Ask::Unsub(name.to_owned()));
            }
            self.pump(now);
            self.settle_link(now);
        }
    }

    /// Queued until the server has answered, over any number of connections, in order within a topic.
    ///
    /// # Errors
    /// [`Full`].
    pub fn publish(&mut self, now: u64, publication: Publication) -> Result<(), Full> {
        if self.pubs.len() >= self.config.publications_max {
            return Err(Full(self.pubs.len()));
        }
        self.pubs.push_back(Pub { publication, id: None });
        self.pump(now);
        Ok(())
    }

    /// The user is done with everything up to `cursor`.
    pub fn processed(&mut self, now: u64, topic: &str, cursor: &Cursor) {
        let Some(t) = self.topics.get_mut(topic) else { return };
        t.processed(cursor.clone());
        let due = t.unacked > 0;
        if let Link::Up(up) = &mut self.link
            && due
        {
            let at = if t.unacked >= outbound::ACK_EVERY { now } else { now + outbound::ACK_MS };
            up.ack_at = Some(up.ack_at.map_or(at, |was| was.min(at)));
            if up.ack_at == Some(now) {
                self.acknowledge(now);
            }
        }
    }

    /// Asks for a topic again: with `whole`, without a position, as after a wrong checksum.
    pub fn resync(&mut self, now: u64, topic: &str, whole: bool) {
        if self.topics.get_mut(topic).is_some_and(Topic::wait) {
            self.queue.push_back(Ask::Resync { topic: topic.to_owned(), whole });
            self.tell_topic(topic);
            self.pump(now);
        }
    }

    /// The socket is open.
    pub fn on_open(&mut self, _now: u64) {
        if matches!(self.link, Link::Opening { .. }) {
            self.enter(State::Authenticating);
        }
    }

    /// A ping or pong came.
    pub fn on_alive(&mut self, now: u64) {
        if let Link::Up(up) = &mut self.link {
            up.heard = now;
        }
    }

    /// The socket is gone, or could not be opened. `roll` is drawn from [0, 1).
    pub fn on_closed(&mut self, now: u64, code: Option<u16>, roll: f64) {
        if matches!(self.link, Link::Over | Link::Idle | Link::Waiting { .. }) {
            return;
        }
        let live_since = match &self.link {
            Link::Up(up) => up.live_since,
            Link::Closing { live_since } => *live_since,
            _ => None,
        };
        let lived = live_since.map(|since| now.saturating_sub(since));
        self.forget_connection();
        let (drain, retry_ms) = (self.after_ms.take(), std::mem::take(&mut self.retry_ms));
        if lived.is_some_and(|ms| ms >= ladder::RESET_MS) {
            self.tries = 0;
        }
        self.tries = self.tries.saturating_add(1);
        let climb = self.config.ladder.delay_ms(self.tries, roll).max(retry_ms);
        let delay_ms = match ladder::fate(code) {
            Fate::Stop => return self.end(State::Closed { code }),
            Fate::Denied => return self.end(State::Denied { code: code.unwrap_or(0) }),
            Fate::Renew if !self.config.renewable => return self.end(State::Denied { code: code.unwrap_or(0) }),
            Fate::AtOnce | Fate::Renew if lived.is_some() => 0,
            Fate::Wait(ms) => ms,
            _ => match drain {
                Some((least, most)) => least + ladder::part(most.saturating_sub(least), roll),
                None => climb,
            },
        };
        self.link = Link::Waiting { until: now + delay_ms };
        self.enter(State::Waiting { tries: self.tries, delay_ms, code });
    }

    /// When [`Core::on_timer`] must be called; it moves forward when it was.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        match &self.link {
            Link::Waiting { until } | Link::Opening { until } => Some(*until),
            Link::Up(up) => {
                let dead = up.heard + 2 * up.heartbeat_ms;
                let speak = self.has_to_say(up).then_some(up.hold);
                let retry = up.retries.iter().map(|(at, _)| *at).min();
                [Some(dead), speak, up.ack_at, retry].into_iter().flatten().min()
            }
            Link::Idle | Link::Closing { .. } | Link::Over => None,
        }
    }

    pub fn on_timer(&mut self, now: u64) {
        match &mut self.link {
            Link::Waiting { until } if now >= *until => self.connect(now),
            Link::Opening { until } if now >= *until => self.give_up(),
            Link::Up(up) if now >= up.heard + 2 * up.heartbeat_ms => self.give_up(),
            Link::Up(up) => {
                let due: Vec<String> = up.retries.iter().filter(|(at, _)| *at <= now).map(|(_, t)| t.clone()).collect();
                up.retries.retain(|(at, _)| *at > now);
                self.queue.extend(due.into_iter().map(Ask::Sub));
                if up.ack_at.is_some_and(|at| at <= now) {
                    self.acknowledge(now);
                }
                self.pump(now);
            }
            _ => {}
        }
    }

    fn connect(&mut self, now: u64) {
        self.link = Link::Opening { until: now + OPEN_MS };
        self.enter(State::Connecting);
        self.out.push(Action::Connect);
    }

    /// Nothing was heard for too long.
    fn give_up(&mut self) {
        let live_since = if let Link::Up(up) = &self.link { up.live_since } else { None };
        self.link = Link::Closing { live_since };
        self.out.push(Action::Close(4006));
    }

    /// Positions stay; what was said on this connection does not.
    fn forget_connection(&mut self) {
        self.queue.clear();
        self.open.clear();
        self.pubs.iter_mut().for_each(|p| p.id = None);
        let names: Vec<String> = self.topics.keys().cloned().collect();
        for name in names {
            if self.topics.get_mut(&name).is_some_and(Topic::disconnected) {
                self.tell_topic(&name);
            }
        }
    }

    fn end(&mut self, state: State) {
        self.link = Link::Over;
        self.enter(state);
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.tell(Event::State(state));
        }
    }

    fn tell(&mut self, event: Event) {
        self.out.push(Action::Tell(event));
    }

    fn tell_topic(&mut self, name: &str) {
        if let Some(t) = self.topics.get(name) {
            let (topic, state) = (name.to_owned(), t.state);
            self.tell(Event::Topic { topic, state });
        }
    }

    /// Resuming until every position was answered, lagging while a topic is.
    fn settle_link(&mut self, now: u64) {
        let Link::Up(up) = &mut self.link else { return };
        let state = if up.draining {
            State::Draining
        } else if up.resume.is_some() || !up.pending.is_empty() {
            State::Resuming
        } else if self.topics.values().any(Topic::lags) {
            State::Lagging
        } else {
            State::Live
        };
        if matches!(state, State::Live | State::Lagging) && up.live_since.is_none() {
            up.live_since = Some(now);
        }
        self.enter(state);
    }
}

/// A message without keys that are null.
fn message(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(
        pairs.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>(),
    )
}

/// `*` stands for any text, also none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("trade.*", "trade.A.B", true),
            ("trade.*.B", "trade.A.B", true),
            ("trade.*.B", "trade.A.C", false),
            ("*.A.*", "book.A.", true),
            ("trade.A", "trade.A.B", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
