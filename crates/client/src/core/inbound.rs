//! What the server says.

use std::collections::BTreeSet;

use serde_json::Value;
use wholetape_wire::client::{Step, TopicState as Rule};

use super::outbound::Ask;
use super::topic::{Place, Topic};
use super::{Core, Link, Session, Up};
use crate::ladder::Bucket;
use crate::words::{Event, TopicState};

/// Until `retry_ms` says otherwise.
const RETRY_MS: u64 = 1_000;

impl Core {
    /// One text frame: a message or a batch.
    pub fn on_text(&mut self, now: u64, text: &str) {
        if matches!(self.link, Link::Over | Link::Idle | Link::Waiting { .. } | Link::Closing { .. }) {
            return;
        }
        self.on_alive(now);
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(batch)) => batch.into_iter().for_each(|m| self.on_message(now, m)),
            Ok(m) => self.on_message(now, m),
            Err(e) => self.tell(Event::Malformed(e.to_string())),
        }
        self.pump(now);
        self.settle_link(now);
    }

    fn on_message(&mut self, now: u64, m: Value) {
        let op = m["op"].as_str().unwrap_or("").to_owned();
        let topic = m["topic"].as_str().unwrap_or("").to_owned();
        if !matches!(self.link, Link::Up(_)) {
            return match op.as_str() {
                "welcome" => self.on_welcome(now, &m),
                "err" => self.on_err(now, m),
                _ => {}
            };
        }
        match op.as_str() {
            "subd" => self.on_subd(topic, &m),
            "hist" => self.on_hist(topic, &m),
            "data" | "mark" | "snap" => self.on_data(&op, topic, m),
            "missed" => self.on_missed(&topic, &m),
            "resumed" => self.on_resumed(&m),
            "hb" => self.on_heartbeat(&m),
            "ok" => self.on_ok(m),
            "err" => self.on_err(now, m),
            "notice" => self.on_notice(topic, m),
            "drain" => {
                let after = |i: usize| m["after_ms"][i].as_u64();
                self.after_ms = after(0).zip(after(1));
                if let Link::Up(up) = &mut self.link {
                    up.draining = true;
                }
            }
            "pong" | "welcome" => {}
            _ => self.tell(Event::Malformed(m.to_string())),
        }
    }

    fn on_welcome(&mut self, now: u64, m: &Value) {
        let limit = |key: &str, default: u64| m["limits"][key].as_u64().unwrap_or(default);
        let text = |key: &str| m[key].as_str().unwrap_or("").to_owned();
        let fresh = Session { name: text("session"), secret: text("resume") };
        let heartbeat_ms = m["hb_s"].as_u64().unwrap_or(15).saturating_mul(1_000);
        let pending: BTreeSet<String> = self
            .topics
            .iter()
            .filter(|(_, t)| t.state != TopicState::Denied && t.cursor().is_some())
            .map(|(n, _)| n.clone())
            .collect();
        self.link = Link::Up(Box::new(Up {
            heartbeat_ms,
            heard: now,
            bucket: Bucket::new(now, limit("ops_s", 20), limit("ops_burst", 60)),
            hold: now,
            resume: None,
            fresh,
            pending,
            live_since: None,
            draining: false,
            ack_at: None,
            asked: BTreeSet::new(),
            retries: Vec::new(),
        }));
        self.queue.clear();
        self.queue.push_back(Ask::Hello);
        if self.session.is_some() && self.resumable().next().is_some() {
            self.queue.push_back(Ask::Resume);
        } else {
            self.adopt_session();
            self.ask_for_all();
        }
    }

    /// The connection's own session, where the server keeps any.
    fn adopt_session(&mut self) {
        let Link::Up(up) = &self.link else { return };
        self.session = (!up.fresh.secret.is_empty()).then(|| up.fresh.clone());
    }

    /// `sub` for everything that is wanted and not open: topics from where they stand, then the patterns.
    fn ask_for_all(&mut self) {
        let topics = self.topics.iter().filter(|(_, t)| !t.open && t.state != TopicState::Denied).map(|(name, _)| name);
        let patterns = self.wants.keys().filter(|name| name.contains('*'));
        self.queue.extend(topics.chain(patterns).cloned().map(Ask::Sub));
    }

    pub(super) fn answered(&mut self, topic: &str) {
        if let Link::Up(up) = &mut self.link {
            up.pending.remove(topic);
        }
    }

    fn on_subd(&mut self, name: String, m: &Value) {
        let (Some(epoch), Some(seq)) = (m["epoch"].as_str(), m["seq"].as_u64()) else {
            return self.tell(Event::Malformed(m.to_string()));
        };
        let ask = m["id"].as_u64().and_then(|id| match self.open.get(&id) {
            Some(Ask::Sub(want)) => Some(want.clone()),
            _ => None,
        });
        if !self.topics.contains_key(&name) {
            // One of a pattern's; unsubscribed meanwhile, it is nobody's.
            let Some(sub) = ask.as_ref().and_then(|want| self.wants.get(want)) else { return };
            let topic = Topic::new(sub, &name, None);
            self.topics.insert(name.clone(), topic);
            self.credit_behind(&name);
        }
        let Some(t) = self.topics.get_mut(&name) else { return };
        let live = t.cursor().is_none() && t.from == "live";
        t.place = Place::At(Rule::new(epoch, seq));
        (t.open, t.said) = (true, true);
        // Acknowledgements are counted from here.
        (t.ack, t.unacked) = (seq, 0);
        t.until = if live { 0 } else { u64::MAX };
        if t.settle() {
            self.tell_topic(&name);
        }
        self.tell_missed(&name, &m["missed"]);
        self.answered(&name);
    }

    fn on_hist(&mut self, name: String, m: &Value) {
        let Some(t) = self.topics.get_mut(&name) else { return };
        let (Some(epoch), Some(asof), Some(i)) = (m["epoch"].as_str(), m["asof"].as_u64(), m["i"].as_u64()) else {
            return self.tell(Event::Malformed(m.to_string()));
        };
        let rows = m["data"].as_array().cloned().unwrap_or_default();
        let counted = rows.iter().filter(|row| row["op"] != "missed").count() as u64;
        let (ts, had) = match &t.place {
            Place::Rows { ts, i, .. } => (*ts, *i),
            _ => (t.from["ts"].as_i64().unwrap_or(0), 0),
        };
        // Exactly the rows behind those that we have; anything else is asked for again.
        if i < counted || i - counted != had {
            if !std::mem::replace(&mut t.anew, true) {
                self.ask_anew(&name);
            }
            return;
        }
        t.anew = false;
        t.place = Place::Rows { ts, epoch: epoch.into(), asof, i };
        let cursor = t.cursor();
        if t.enter(TopicState::Replaying) {
            self.tell_topic(&name);
        }
        self.answered(&name);
        if let Some(cursor) = cursor {
            self.tell(Event::Rows { topic: name, cursor, rows });
        }
    }

    /// Ends a subscription and begins it again from where it stands.
    fn ask_anew(&mut self, name: &str) {
        self.queue.push_back(Ask::Unsub(name.to_owned()));
        self.queue.push_back(Ask::Sub(name.to_owned()));
        self.unsaid(name);
    }

    fn on_data(&mut self, op: &str, name: String, m: Value) {
        let Some(seq) = m["seq"].as_u64() else { return self.tell(Event::Malformed(m.to_string())) };
        let Some(t) = self.topics.get_mut(&name).filter(|t| t.open) else { return };
        let Some(rule) = t.rule() else { return };
        let step = match op {
            "snap" => rule.on_snap(m["epoch"].as_str().unwrap_or(""), seq),
            _ => rule.on_range(m["prev"].as_u64().unwrap_or(seq.saturating_sub(1)), seq),
        };
        if let (Step::Apply { .. } | Step::Duplicate, Some(credit)) = (&step, &mut t.credit) {
            credit.spend();
        }
        match step {
            Step::Apply { .. } => {
                if op == "snap" && t.until == SNAP {
                    t.until = 0;
                }
                let cursor = t.cursor();
                if t.settle() {
                    self.tell_topic(&name);
                }
                if let Some(cursor) = cursor {
                    self.tell(Event::Message { topic: name, cursor, message: m });
                }
            }
            Step::Duplicate | Step::Ignore => {}
            Step::Resync => self.hole(&name),
        }
    }

    fn hole(&mut self, name: &str) {
        if let Some(t) = self.topics.get_mut(name) {
            // The rule has said so already where the message was of a hole.
            if let Some(rule) = t.rule() {
                rule.waiting = true;
            }
            self.queue.push_back(Ask::Resync { topic: name.to_owned(), whole: false });
            if t.enter(TopicState::Stale) {
                self.tell_topic(name);
            }
        }
    }

    fn on_missed(&mut self, name: &str, m: &Value) {
        let Some(rule) = self.topics.get_mut(name).filter(|t| t.open).and_then(Topic::rule) else { return };
        if let (Some(to), false) = (m["to"].as_u64(), rule.waiting) {
            rule.on_missed(to);
            self.tell_missed(name, m);
        }
    }

    fn tell_missed(&mut self, name: &str, m: &Value) {
        let (Some(from), Some(to)) = (m["from"].as_u64(), m["to"].as_u64()) else { return };
        let Some(t) = self.topics.get_mut(name) else { return };
        let Some(cursor) = t.cursor() else { return };
        if t.enter(TopicState::Missed) {
            self.tell_topic(name);
        }
        let why = m["why"].as_str().unwrap_or("").to_owned();
        self.tell(Event::Missed { topic: name.to_owned(), cursor, from, to, why });
    }

    /// The answer to `resync`, or to `resume`.
    fn on_resumed(&mut self, m: &Value) {
        let mut whole = false;
        if let (Link::Up(up), Some(id)) = (&mut self.link, m["id"].as_u64()) {
            self.open.remove(&id);
            if up.resume == Some(id) {
                (up.resume, whole) = (None, true);
                if let (Some(session), Some(secret)) = (&mut self.session, m["resume"].as_str()) {
                    session.secret = secret.to_owned();
                }
            }
        }
        for (name, how) in m["topics"].as_object().into_iter().flatten() {
            self.topic_resumed(name, how, m["epoch"].as_str());
        }
        if whole {
            self.ask_for_all();
        }
    }

    fn topic_resumed(&mut self, name: &str, how: &Value, epoch: Option<&str>) {
        let Some(t) = self.topics.get_mut(name) else { return };
        if how["r"] == "denied" && how["code"] == 2008 {
            // The session did not have it: `sub` follows.
            return;
        }
        self.link.answered(name);
        if how["r"] == "denied" {
            return self.deny(name);
        }
        let Some(rule) = t.rule() else { return };
        rule.waiting = false;
        if let Some(epoch) = how["epoch"].as_str().or(epoch) {
            rule.epoch = epoch.into();
        }
        let last = rule.last;
        (t.open, t.said) = (true, true);
        (t.ack, t.unacked) = (last, 0);
        let replay = how["n"].as_u64().map_or(u64::MAX, |n| last.saturating_add(n));
        match how["r"].as_str() {
            Some("missed") => {
                if let (Some(to), Some(rule)) = (how["to"].as_u64(), t.rule()) {
                    rule.on_missed(to);
                }
                t.until = u64::MAX;
                return self.tell_missed(name, how);
            }
            Some("snap") => t.until = SNAP,
            _ => t.until = replay,
        }
        if t.settle() {
            self.tell_topic(name);
        }
    }

    fn on_heartbeat(&mut self, m: &Value) {
        for (name, head) in m["heads"].as_object().into_iter().flatten() {
            let Some(t) = self.topics.get_mut(name).filter(|t| t.open) else { continue };
            let Some(rule) = t.rule().filter(|rule| !rule.waiting) else { continue };
            if head[0].as_str().is_some_and(|epoch| epoch != rule.epoch) {
                self.hole(name);
                continue;
            }
            let Some(head) = head[1].as_u64() else { continue };
            if t.last() >= head {
                t.until = 0;
                if t.settle() {
                    self.tell_topic(name);
                }
            }
            if self.topics.get_mut(name).is_some_and(|t| t.on_head(head)) {
                self.hole(name);
            }
        }
    }

    fn on_ok(&mut self, m: Value) {
        let Some(ask) = m["id"].as_u64().and_then(|id| self.open.remove(&id)) else { return };
        if let Ask::Pub(mid) = ask {
            self.pubs.retain(|p| p.publication.mid != mid);
            self.tell(Event::Published { mid, answer: m });
        }
    }

    fn on_notice(&mut self, name: String, m: Value) {
        if let (Some(t), Some(behind)) = (self.topics.get_mut(&name), m["behind"].as_u64())
            && m["name"] == "lagging"
        {
            t.lag_until = t.last().saturating_add(behind);
        }
        self.tell(Event::Notice(m));
    }

    fn on_err(&mut self, now: u64, m: Value) {
        let code = m["code"].as_u64().unwrap_or(0);
        let retry_ms = m["retry_ms"].as_u64().filter(|ms| *ms > 0).unwrap_or(RETRY_MS);
        let retry = m["retry"].as_bool().unwrap_or(false);
        let ask = m["id"].as_u64().and_then(|id| self.open.remove(&id));
        if code == 5003 {
            self.retry_ms = retry_ms;
        }
        // Refused for now, whatever it was: the same again after a pause, before anything else.
        if matches!(code, 1006 | 5003) {
            if let Link::Up(up) = &mut self.link {
                up.hold = up.hold.max(now + retry_ms);
                match &ask {
                    Some(Ask::Pub(mid)) => {
                        self.pubs.iter_mut().filter(|p| p.publication.mid == *mid).for_each(|p| p.id = None)
                    }
                    Some(Ask::Resume) => {
                        up.resume = None;
                        self.queue.push_front(Ask::Resume);
                    }
                    Some(Ask::Flow { topic, credit }) => {
                        self.unsay(topic, *credit);
                        self.queue.push_front(Ask::Flow { topic: topic.clone(), credit: 0 });
                    }
                    Some(ask) => {
                        self.queue.push_front(ask.clone());
                        if let Ask::Sub(name) = ask {
                            self.unsaid(name);
                        }
                    }
                    None => {}
                }
            }
            return self.tell(Event::Error(m));
        }
        match ask {
            Some(Ask::Pub(mid)) => {
                self.pubs.retain(|p| p.publication.mid != mid);
                return self.tell(Event::Unpublished { mid, error: m });
            }
            Some(Ask::Resume) => {
                if let Link::Up(up) = &mut self.link {
                    up.resume = None;
                }
                // Positions are the guarantee; a session was a convenience.
                self.adopt_session();
                self.ask_for_all();
                if code != 1010 {
                    self.tell(Event::Error(m));
                }
                return;
            }
            // All that the pattern means is subscribed by name.
            Some(Ask::Sub(name)) if code == 2006 && name.contains('*') => return,
            Some(Ask::Sub(_)) if code == 2006 => {}
            Some(Ask::Resync { topic, .. }) if code == 2008 => {
                self.unsaid(&topic);
                self.queue.push_back(Ask::Sub(topic));
            }
            // Beside a `sub` that was refused: the next one says it.
            Some(Ask::Flow { topic, .. }) if code == 2008 && !self.topics.get(&topic).is_some_and(|t| t.said) => return,
            Some(Ask::Resync { topic, .. }) => self.ended(now, &topic, retry.then_some(retry_ms)),
            Some(Ask::Sub(name)) => self.ended(now, &name, retry.then_some(retry_ms)),
            // A history that failed, or a start that was refused: it carries the id that `sub` had.
            _ if matches!(code, 2007 | 5000) => {
                let name = m["topic"].as_str().unwrap_or("").to_owned();
                self.ended(now, &name, retry.then_some(retry_ms));
            }
            _ => {}
        }
        self.tell(Event::Error(m));
    }

    /// The server has let go of a subscription, for `retry_ms` or for good.
    fn ended(&mut self, now: u64, name: &str, retry_ms: Option<u64>) {
        if let Some(t) = self.topics.get_mut(name) {
            (t.open, t.said) = (false, false);
            if let Some(rule) = t.rule() {
                rule.waiting = false;
            }
        }
        match (retry_ms, &mut self.link) {
            (Some(ms), Link::Up(up)) => up.retries.push((now + ms, name.to_owned())),
            _ => self.deny(name),
        }
    }

    fn deny(&mut self, name: &str) {
        self.answered(name);
        if let Some(t) = self.topics.get_mut(name) {
            (t.open, t.said) = (false, false);
            if t.enter(TopicState::Denied) {
                self.tell_topic(name);
            }
        }
    }
}

impl Link {
    fn answered(&mut self, topic: &str) {
        if let Self::Up(up) = self {
            up.pending.remove(topic);
        }
    }
}

/// A replay that ends with a `snap`.
const SNAP: u64 = u64::MAX - 1;
