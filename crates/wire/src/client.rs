//! The client's side of PROTOCOL §0, without I/O: the reference for everyone who writes a client.
//!
//! Give [`Client::on_text`] what the socket received and send what it asks to send. Per topic it keeps `(epoch, seq)` and
//! lets nothing move it but what the one rule allows, so applied ranges are contiguous, disjoint and increasing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wholetape_model::{Decimal, DecimalError};

use crate::book::{BookSide, BookView};

/// A client's position in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub epoch: String,
    pub last: u64,
    /// A `resync` is under way: everything of the topic is ignored until its reply.
    pub waiting: bool,
}

/// What the one rule says about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Apply it: it covers `(from, to]`.
    Apply { from: u64, to: u64 },
    /// Had it already.
    Duplicate,
    /// Waiting for the answer to `resync`.
    Ignore,
    /// A hole: send `resync`.
    Resync,
}

impl TopicState {
    /// From `subd`.
    #[must_use]
    pub fn new(epoch: &str, seq: u64) -> Self {
        Self { epoch: epoch.into(), last: seq, waiting: false }
    }

    /// A `data` or `mark` of `(prev, seq]`.
    pub const fn on_range(&mut self, prev: u64, seq: u64) -> Step {
        if self.waiting {
            return Step::Ignore;
        }
        if seq <= self.last {
            return Step::Duplicate;
        }
        if prev != self.last {
            self.waiting = true;
            return Step::Resync;
        }
        self.last = seq;
        Step::Apply { from: prev, to: seq }
    }

    /// A `snap`: replaces the state, whatever was before.
    pub fn on_snap(&mut self, epoch: &str, seq: u64) -> Step {
        if self.waiting {
            return Step::Ignore;
        }
        if epoch != self.epoch {
            self.waiting = true;
            return Step::Resync;
        }
        let from = self.last;
        self.last = seq;
        Step::Apply { from, to: seq }
    }

    /// A `missed`: the range is the reader's hole.
    pub const fn on_missed(&mut self, to: u64) {
        if !self.waiting {
            self.last = to;
        }
    }
}

/// What a received message meant. Values are the messages as received.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// `welcome`, `resumed`, `ok`, `pong`, `hb`, `err`, `notice`.
    Said(Value),
    Subscribed {
        topic: String,
        seq: u64,
    },
    /// Apply this `data`, `mark` or `snap`.
    Apply {
        topic: String,
        from: u64,
        to: u64,
        message: Value,
    },
    Duplicate {
        topic: String,
        seq: u64,
    },
    /// Tell the application: `from..=to` was not delivered.
    Missed {
        topic: String,
        from: u64,
        to: u64,
        why: String,
    },
    /// Send this text.
    Send(String),
    /// No message of the protocol.
    Malformed(String),
}

/// All topics of one connection.
#[derive(Debug, Default)]
pub struct Client {
    topics: BTreeMap<String, TopicState>,
    resyncs: u64,
}

impl Client {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where every topic stands; with it, `sub` on a new connection goes on.
    pub fn positions(&self) -> impl Iterator<Item = (&str, &TopicState)> {
        self.topics.iter().map(|(t, s)| (t.as_str(), s))
    }

    #[must_use]
    pub fn state(&self, topic: &str) -> Option<&TopicState> {
        self.topics.get(topic)
    }

    /// How often a hole made it ask again.
    #[must_use]
    pub const fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Forgets the position: `resync` then asks for everything anew.
    pub fn request_resync(&mut self, topic: &str) -> Option<String> {
        let state = self.topics.get_mut(topic)?;
        state.waiting = true;
        self.resyncs += 1;
        Some(json!({"op": "resync", "topic": topic, "pos": [state.epoch, state.last]}).to_string())
    }

    /// Reads one text frame (a message or a batch) and appends what it meant.
    pub fn on_text(&mut self, text: &str, out: &mut Vec<Happening>) {
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(batch)) => batch.into_iter().for_each(|m| self.on_message(m, out)),
            Ok(message) => self.on_message(message, out),
            Err(e) => out.push(Happening::Malformed(e.to_string())),
        }
    }

    fn on_message(&mut self, m: Value, out: &mut Vec<Happening>) {
        let op = m["op"].as_str().unwrap_or("").to_owned();
        let topic = m["topic"].as_str().unwrap_or("").to_owned();
        match op.as_str() {
            "subd" => {
                let (Some(epoch), Some(seq)) = (m["epoch"].as_str(), m["seq"].as_u64()) else {
                    return out.push(Happening::Malformed(m.to_string()));
                };
                self.topics.insert(topic.clone(), TopicState::new(epoch, seq));
                missed(&topic, &m["missed"], out);
                out.push(Happening::Subscribed { topic, seq });
            }
            "data" | "mark" | "snap" => self.on_data(&op, topic, m, out),
            "missed" => {
                if let (Some(state), Some(to)) = (self.topics.get_mut(&topic), m["to"].as_u64()) {
                    state.on_missed(to);
                    missed(&topic, &m, out);
                }
            }
            "resumed" => {
                self.on_resumed(&m, out);
                out.push(Happening::Said(m));
            }
            "hb" => {
                self.on_heads(&m, out);
                out.push(Happening::Said(m));
            }
            "" => out.push(Happening::Malformed(m.to_string())),
            _ => out.push(Happening::Said(m)),
        }
    }

    fn on_data(&mut self, op: &str, topic: String, m: Value, out: &mut Vec<Happening>) {
        let Some(seq) = m["seq"].as_u64() else { return out.push(Happening::Malformed(m.to_string())) };
        // Unsubscribed meanwhile: what was on its way is nobody's.
        let Some(state) = self.topics.get_mut(&topic) else { return };
        let step = match op {
            "snap" => state.on_snap(m["epoch"].as_str().unwrap_or(""), seq),
            _ => state.on_range(m["prev"].as_u64().unwrap_or(seq.saturating_sub(1)), seq),
        };
        match step {
            Step::Apply { from, to } => out.push(Happening::Apply { topic, from, to, message: m }),
            Step::Duplicate => out.push(Happening::Duplicate { topic, seq }),
            Step::Ignore => {}
            Step::Resync => out.extend(self.request_resync(&topic).map(Happening::Send)),
        }
    }

    fn on_resumed(&mut self, m: &Value, out: &mut Vec<Happening>) {
        let Some(topics) = m["topics"].as_object() else { return };
        for (topic, how) in topics {
            let Some(state) = self.topics.get_mut(topic) else { continue };
            state.waiting = false;
            if let Some(epoch) = how["epoch"].as_str().or(m["epoch"].as_str()) {
                state.epoch = epoch.into();
            }
            match (how["r"].as_str(), how["to"].as_u64(), how["seq"].as_u64()) {
                (Some("missed"), Some(to), _) => {
                    state.on_missed(to);
                    missed(topic, how, out);
                }
                (Some("replay"), _, Some(seq)) => state.last = seq,
                // The position is kept: `sub` with it may do, where the session did not know the topic (2008).
                (Some("denied"), ..) => state.waiting = true,
                _ => {}
            }
        }
    }

    /// The epoch never changes within a connection; where a server says otherwise, ask anew.
    fn on_heads(&mut self, m: &Value, out: &mut Vec<Happening>) {
        let Some(heads) = m["heads"].as_object() else { return };
        for (topic, head) in heads {
            let Some(state) = self.topics.get(topic) else { continue };
            if !state.waiting && head[0].as_str().is_some_and(|e| e != state.epoch) {
                out.extend(self.request_resync(topic).map(Happening::Send));
            }
        }
    }

    /// What a new connection says to take session `session` over with the secret that was given last.
    #[must_use]
    pub fn resume(&mut self, session: &str, secret: &str) -> String {
        for state in self.topics.values_mut() {
            state.waiting = true;
        }
        let pos: BTreeMap<&str, Value> = self.positions().map(|(t, s)| (t, json!([s.epoch, s.last]))).collect();
        json!({"op": "resume", "id": 1, "session": session, "resume": secret, "pos": pos}).to_string()
    }

    /// No longer subscribed.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

fn missed(topic: &str, m: &Value, out: &mut Vec<Happening>) {
    if let (Some(from), Some(to)) = (m["from"].as_u64(), m["to"].as_u64()) {
        let why = m["why"].as_str().unwrap_or("").to_owned();
        out.push(Happening::Missed { topic: topic.into(), from, to, why });
    }
}

/// Why a book message could not be applied. The client then asks for a `resync` without a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    #[error("the levels are not [[price, size], …] in decimal text")]
    Malformed,
    #[error(transparent)]
    Number(#[from] DecimalError),
    #[error("checksum {ours} differs from the server's {theirs}")]
    Checksum { ours: u32, theirs: u32 },
}

/// Applies an accepted book `data` or `snap` to the client's view and checks the checksum where there is one.
///
/// # Errors
/// Every [`BookError`].
pub fn apply_book(view: &mut BookView, message: &Value) -> Result<(), BookError> {
    if message["op"] == "snap" {
        view.clear();
    }
    for (side, key) in [(BookSide::Bid, "b"), (BookSide::Ask, "a")] {
        for level in message["data"][key].as_array().ok_or(BookError::Malformed)? {
            let number = |i: usize| {
                let text = level[i].as_str().ok_or(BookError::Malformed)?;
                Ok::<_, BookError>(Decimal::parse(text.as_bytes())?)
            };
            view.set(side, number(0)?, number(1)?)?;
        }
    }
    match message["data"]["crc"].as_u64() {
        Some(theirs) if theirs != u64::from(view.crc()) => {
            Err(BookError::Checksum { ours: view.crc(), theirs: theirs as u32 })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_one_rule() {
        let mut s = TopicState::new("e", 10);
        assert_eq!(s.on_range(10, 11), Step::Apply { from: 10, to: 11 });
        assert_eq!(s.on_range(10, 11), Step::Duplicate);
        assert_eq!(s.on_range(11, 20), Step::Apply { from: 11, to: 20 });
        assert_eq!(s.on_range(21, 22), Step::Resync);
        assert_eq!(s.on_range(20, 21), Step::Ignore);
        assert_eq!(s.last, 20);
        s.waiting = false;
        s.on_missed(30);
        assert_eq!(s.on_range(30, 31), Step::Apply { from: 30, to: 31 });
        assert_eq!(s.on_snap("other", 40), Step::Resync);
    }

    #[test]
    fn a_hole_asks_once_and_goes_on_after_the_reply() {
        let mut c = Client::new();
        let mut out = Vec::new();
        c.on_text(r#"{"op":"subd","id":1,"topic":"trade.A.B","epoch":"e","seq":5}"#, &mut out);
        c.on_text(r#"[{"op":"data","topic":"trade.A.B","seq":6},{"op":"data","topic":"trade.A.B","seq":8}]"#, &mut out);
        c.on_text(r#"{"op":"data","topic":"trade.A.B","seq":9}"#, &mut out);
        let sent: Vec<_> = out.iter().filter(|h| matches!(h, Happening::Send(_))).collect();
        assert_eq!(sent, [&Happening::Send(r#"{"op":"resync","pos":["e",6],"topic":"trade.A.B"}"#.into())]);
        out.clear();
        c.on_text(r#"{"op":"resumed","epoch":"e","topics":{"trade.A.B":{"r":"replay","n":3}}}"#, &mut out);
        c.on_text(r#"{"op":"data","topic":"trade.A.B","seq":7}"#, &mut out);
        assert!(matches!(out[..], [Happening::Said(_), Happening::Apply { from: 6, to: 7, .. }]));
        assert_eq!(c.resyncs(), 1);
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let mut view = BookView::new();
        let snap = json!({"op":"snap","data":{"b":[["1.0","2"]],"a":[["1.1","3"]]}});
        apply_book(&mut view, &snap).unwrap();
        let crc = view.crc();
        apply_book(&mut view, &json!({"op":"data","data":{"b":[],"a":[],"crc":crc}})).unwrap();
        let wrong = json!({"op":"data","data":{"b":[],"a":[],"crc":crc ^ 1}});
        assert_eq!(apply_book(&mut view, &wrong), Err(BookError::Checksum { ours: crc, theirs: crc ^ 1 }));
        assert_eq!(apply_book(&mut view, &json!({"data":{"b":7,"a":[]}})), Err(BookError::Malformed));
    }

    proptest! {
        /// Whatever the network repeats or drops, applied ranges partition (start, last].
        #[test]
        fn applied_ranges_partition(order in proptest::collection::vec(0_u64..40, 0..200)) {
            let mut s = TopicState::new("e", 0);
            let mut end = 0;
            for n in order {
                match s.on_range(n, n + 1) {
                    Step::Apply { from, to } => { prop_assert_eq!(from, end); end = to; }
                    Step::Resync => s.waiting = false,
                    _ => {}
                }
            }
            prop_assert_eq!(end, s.last);
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            Client::new().on_text(&text, &mut Vec::new());
        }
    }
}
