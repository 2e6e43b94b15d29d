//! What we say: in order, below the server's limits, and again where it must be.

use serde_json::{Map, Value, json};

use super::{Core, Link, Up, message};
use crate::ladder::{LIGHT, OP};
use crate::words::{Action, Publication};

/// What was processed is acknowledged after so long, or so many messages of a topic.
pub const ACK_MS: u64 = 1_000;
pub const ACK_EVERY: u32 = 100;
/// Topics in one `ack`.
const ACK_TOPICS: usize = 256;

/// Something to say. Positions are looked up when it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Hello,
    Resume,
    Sub(String),
    Unsub(String),
    Resync {
        topic: String,
        whole: bool,
    },
    Pub(String),
    /// `credit` is what was said, once it was.
    Flow {
        topic: String,
        credit: i64,
    },
}

#[derive(Debug)]
pub struct Pub {
    pub publication: Publication,
    /// On its way.
    pub id: Option<u64>,
}

impl Core {
    /// Something waits that may be said.
    pub(super) fn has_to_say(&self, up: &Up) -> bool {
        up.resume.is_none() && !up.draining && (!self.queue.is_empty() || self.next_pub().is_some())
    }

    /// The first publication that waits, of a topic in which none is on its way: within a topic their order holds.
    fn next_pub(&self) -> Option<usize> {
        (0..self.pubs.len()).find(|&i| {
            let topic = &self.pubs[i].publication.topic;
            self.pubs[i].id.is_none() && !self.pubs.iter().take(i).any(|before| before.publication.topic == *topic)
        })
    }

    /// Says what may be said now.
    pub(super) fn pump(&mut self, now: u64) {
        loop {
            let Link::Up(up) = &self.link else { return };
            if !self.has_to_say(up) || now < up.hold {
                return;
            }
            let Some((said, ask)) = self.compose() else { continue };
            let cost = self.cost(&ask);
            let Link::Up(up) = &mut self.link else { return };
            if let Err(at) = up.bucket.take(now, cost) {
                up.hold = at;
                return;
            }
            self.say(ask, said);
        }
    }

    /// What the server reckons it costs, with the `flow` beside it.
    fn cost(&self, ask: &Ask) -> u64 {
        match ask {
            Ask::Flow { .. } => LIGHT,
            Ask::Sub(name) | Ask::Resync { topic: name, .. } if self.has_credit(name) => OP + LIGHT,
            _ => OP,
        }
    }

    /// The next message; `None` where it has become needless (it is then gone from the queue).
    fn compose(&mut self) -> Option<(Value, Ask)> {
        let Some(ask) = self.queue.front().cloned() else {
            let p = &self.pubs[self.next_pub()?].publication;
            let (mid, topic, event) = (json!(p.mid), json!(p.topic), json!(p.event));
            let said =
                [("op", json!("pub")), ("mid", mid), ("topic", topic), ("event", event), ("if_seq", json!(p.if_seq))];
            let said = said.into_iter().chain([("data", p.data.clone())]);
            return Some((message(said), Ask::Pub(p.mid.clone())));
        };
        let said = match &ask {
            Ask::Hello => Some(json!({"op": "hello", "batch": true, "agent": self.config.agent})),
            Ask::Resume => self.session.as_ref().map(|session| {
                let pos: Map<String, Value> = self.resumable().map(|(name, pos)| (name.to_owned(), pos)).collect();
                json!({"op": "resume", "session": session.name, "resume": session.secret, "pos": pos})
            }),
            Ask::Sub(name) if self.holds(name) => {
                self.answered(name);
                None
            }
            Ask::Sub(name) => self.sub(name),
            Ask::Unsub(name) => Some(json!({"op": "unsub", "topic": name})),
            Ask::Resync { topic, whole } => self.topics.get_mut(topic).filter(|t| t.open).and_then(|t| {
                let rule = t.rule()?;
                let pos = if *whole { Value::Null } else { json!([rule.epoch, rule.last]) };
                Some(json!({"op": "resync", "topic": topic, "pos": pos}))
            }),
            // Its message is made when it is said.
            Ask::Flow { topic, .. } => self.owes_flow(topic).then_some(Value::Null),
            Ask::Pub(_) => None,
        };
        if said.is_none() {
            self.queue.pop_front();
        }
        Some((said?, ask))
    }

    fn sub(&self, name: &str) -> Option<Value> {
        let topic = self.topics.get(name);
        let want = self.wants.get(topic.map_or(name, |t| &t.want))?;
        let from = topic.map_or_else(|| want.from.clone(), |t| t.go_on());
        let mut said = want.keys.clone();
        said.extend([("op".into(), json!("sub")), ("topic".into(), json!(name)), ("from".into(), from)]);
        Some(Value::Object(said))
    }

    /// Topics with a position, for `resume`; those with credit are asked for by `sub`, which says it.
    pub(super) fn resumable(&self) -> impl Iterator<Item = (&str, Value)> {
        self.topics.iter().filter_map(|(name, t)| match &t.place {
            super::topic::Place::At(rule) if t.credit.is_none() && self.wants.contains_key(&t.want) => {
                Some((name.as_str(), json!([rule.epoch, rule.last])))
            }
            _ => None,
        })
    }

    fn say(&mut self, ask: Ask, mut said: Value) {
        if !matches!(ask, Ask::Hello | Ask::Flow { .. }) {
            self.id += 1;
            said["id"] = json!(self.id);
            self.open.insert(self.id, ask.clone());
        }
        if let Some((topic, credit)) = self.credit_of(&ask) {
            let flow = self.flow_message(topic, credit);
            // In one frame: nothing is sent between.
            said = if said.is_null() { flow } else { json!([said, flow]) };
        }
        let Link::Up(up) = &mut self.link else { return };
        match &ask {
            Ask::Sub(name) => {
                let topic = self.topics.get_mut(name);
                up.asked.insert(
                    topic
                        .map_or(name, |t| {
                            t.said = true;
                            &t.want
                        })
                        .clone(),
                );
            }
            Ask::Resume => up.resume = Some(self.id),
            Ask::Pub(mid) => {
                let id = self.id;
                self.pubs.iter_mut().filter(|p| p.publication.mid == *mid).for_each(|p| p.id = Some(id));
            }
            _ => {}
        }
        if !matches!(ask, Ask::Pub(_)) {
            self.queue.pop_front();
        }
        self.out.push(Action::Send(said));
    }

    /// Says what was processed, in every topic that wants to know.
    pub(super) fn acknowledge(&mut self, now: u64) {
        let Link::Up(up) = &mut self.link else { return };
        up.ack_at = None;
        let all: Vec<(String, u64)> =
            self.topics.iter().filter_map(|(name, t)| Some((name.clone(), t.to_ack()?))).collect();
        for part in all.chunks(ACK_TOPICS) {
            if let Err(at) = up.bucket.take(now, LIGHT) {
                up.ack_at = Some(at);
                return;
            }
            for (name, seq) in part {
                if let Some(t) = self.topics.get_mut(name) {
                    (t.ack, t.unacked) = (*seq, 0);
                }
            }
            let a: Map<String, Value> = part.iter().map(|(name, seq)| (name.clone(), json!(seq))).collect();
            self.out.push(Action::Send(json!({"op": "ack", "a": a})));
        }
    }
}
