//! What a client asked: checked against the limits, turned into subscriptions and answers.

use std::sync::atomic::Ordering;

use wholetape_model::{Kind, Topic};
use wholetape_wire::form::msgpack;
use wholetape_wire::op::{self, OpError, Sub};
use wholetape_wire::reply::{self, Error};
use wholetape_wire::{Close, Code, DEPTH_MAX, Form, From, Op};

use crate::ws::connection::Session;
use crate::ws::subscription::{Asked, Slow, Subscription, Terms};
use crate::ws::view::{Key, conflatable};

/// Costs in thousandths of an op.
const OP: i64 = 1_000;
const LIGHT: i64 = 100;
/// A client behind by more than this is told so, unless it said otherwise.
const LAG: u64 = 10_000;

impl Session {
    /// Takes one text frame.
    pub fn on_text(&mut self, text: &str) {
        if self.out.form.msgpack {
            return self.on_strange("this connection speaks MessagePack: send binary frames");
        }
        if self.hears(text.len()) {
            self.on_frame(text);
        }
    }

    /// Takes one binary frame.
    pub fn on_binary(&mut self, bytes: &[u8]) {
        if !self.out.form.msgpack {
            return self.on_strange("this connection speaks JSON: send text frames");
        }
        if !self.hears(bytes.len()) {
            return;
        }
        match msgpack::to_json(bytes, DEPTH_MAX) {
            Ok(text) => self.on_frame(&text),
            Err(why) => {
                let (code, msg) = (Code::BadJson, format!("not the MessagePack of a message: {why}"));
                self.refuse(&OpError { code, msg, path: None, id: None });
            }
        }
    }

    /// An encoding that this connection did not choose.
    fn on_strange(&mut self, msg: &str) {
        self.error(&Error { id: None, code: Code::Schema, msg, path: None, topic: None, retry_ms: None });
        self.closing = Some(Close::Type);
    }

    fn on_frame(&mut self, text: &str) {
        match op::parse(text) {
            Err(e) => self.refuse(&e),
            Ok(all) => {
                for parsed in all {
                    if self.closing.is_some() || self.hold.is_fenced() {
                        return;
                    }
                    self.hub.stats.ops_total.fetch_add(1, Ordering::Relaxed);
                    self.ops += 1;
                    match parsed {
                        Err(e) => self.refuse(&e),
                        Ok((id, op)) => self.on_op(id, op),
                    }
                }
            }
        }
    }

    fn on_op(&mut self, id: Option<u64>, op: Op) {
        let cost = match op {
            Op::Ping | Op::Ack(_) | Op::Flow { .. } => LIGHT,
            _ => OP,
        };
        if let Err(wait) = self.bucket.take(self.started.elapsed(), cost) {
            let (path, topic, retry_ms) = (None, None, Some(wait.as_millis() as u64));
            self.error(&Error { id, code: Code::RateLimited, msg: "too many ops", path, topic, retry_ms });
            return self.violation(Code::RateLimited);
        }
        if !self.admits(id, &op) {
            return;
        }
        match op {
            Op::Hello { batch, linger_ms, num, agent } => {
                if let Some(agent) = agent {
                    self.place.set_agent(&agent);
                }
                if let Some(num) = num {
                    let scaled = num == "scaled";
                    if scaled != self.out.form.scaled && self.subscribed {
                        return self.unserved(id, "num", "only before the first `sub` or `resume`", None);
                    }
                    self.out.form.scaled = scaled;
                    self.out.of_connection();
                }
                self.batch = batch.unwrap_or(self.batch);
                self.linger = std::time::Duration::from_millis(linger_ms.unwrap_or(0));
                if id.is_some() {
                    self.out.write(|o| reply::ok(o, id));
                }
            }
            Op::Ping => {
                let now = crate::ws::connection::wall_clock();
                self.out.write(|o| reply::pong(o, id, now));
            }
            Op::Sub(sub) => self.on_sub(id, &sub),
            Op::Unsub { topic } => self.on_unsub(id, &topic),
            Op::Resync { topic, pos } => self.on_resync(id, &topic, pos),
            Op::Resume(resume) => self.on_resume(id, *resume),
            Op::Ack(all) => self.on_ack(id, &all),
            Op::Auth(auth) => self.on_auth(id, auth),
            Op::Pub(publication) => self.on_pub(id, *publication),
            Op::Flow { topic, credit } => self.on_flow(id, &topic, credit),
        }
    }

    fn on_sub(&mut self, id: Option<u64>, sub: &Sub) {
        if let Some((path, msg)) = unserved_option(sub, self.hub.past.is_some()) {
            return self.unserved(id, path, msg, Some(&sub.topic));
        }
        let slow = match sub.policy.as_deref() {
            None | Some("catch_up") => Slow::CatchUp,
            Some("conflate") => Slow::Conflate,
            Some("drop_oldest") => Slow::DropOldest,
            Some("drop_lowest") => Slow::DropLowest,
            _ => Slow::Disconnect,
        };
        let view = Key::asked(sub.conflate.as_deref(), sub.depth);
        let named: Vec<Topic> = Topic::parse(&sub.topic).into_iter().collect();
        if let Some((code, path, msg)) = unconflatable(sub, &named, slow, view) {
            return self.error(&Error { id, code, msg, path, topic: Some(&sub.topic), retry_ms: None });
        }
        let topics = match self.expand(&sub.topic) {
            Ok(topics) => topics,
            Err((code, msg)) => {
                let (path, topic) = (None, Some(sub.topic.as_str()));
                // A topic is born with its first record: ask again.
                let retry_ms = (code == Code::NoSuchTopic).then_some(1_000);
                return self.error(&Error { id, code, msg, path, topic, retry_ms });
            }
        };
        // A pattern may name what cannot be seen so.
        if let Some((code, path, msg)) = unconflatable(sub, &topics, slow, view) {
            return self.error(&Error { id, code, msg, path, topic: Some(&sub.topic), retry_ms: None });
        }
        let most = usize::try_from(self.hub.config.limits.subs).unwrap_or(usize::MAX);
        if self.subs.len() + topics.len() > most {
            return self.error_of(id, Code::TooManySubs, "more topics than `limits.subs`", &sub.topic);
        }
        self.bucket.owe(OP * (topics.len() as i64 - 1));
        let inflight = usize::try_from(self.hub.config.limits.inflight).unwrap_or(usize::MAX).max(1);
        for topic in topics {
            let critical = topic.class() == wholetape_model::Class::Critical;
            let slow = if critical { Slow::CatchUp } else { slow };
            let token = self.hub.next_token();
            self.subscribed = true;
            match self.hub.join(&topic, &self.set, token, view) {
                Ok(stream) => {
                    let clean = sub.view.as_deref() == Some("clean");
                    let inflight = (sub.ack.as_deref() == Some("cum")).then_some(inflight);
                    let (lag, short, scaled) = (sub.lag.unwrap_or(LAG), sub.short, self.out.form.scaled);
                    stream.wanted.note(Form { short, ..self.out.form });
                    let terms = Terms { slow, lag, inflight, view, clean, short, scaled };
                    let (past, set) = (self.hub.past.clone(), self.set.clone());
                    let s = Subscription::new(stream, token, terms, past, set, Asked::Sub(id), sub.from.clone());
                    self.keep(topic, token, s);
                }
                Err(e) => {
                    tracing::warn!(topic = %topic, error = %e, "cannot follow a topic");
                    self.error_of(id, Code::Internal, "the tape cannot be read", topic.as_str());
                }
            }
        }
    }

    /// The topics that a name or pattern means, without those subscribed already.
    fn expand(&self, name: &str) -> Result<Vec<Topic>, (Code, &'static str)> {
        const NONE: (Code, &str) = (Code::NoSuchTopic, "no such topic on the tape (yet)");
        const FORBIDDEN: (Code, &str) = (Code::Forbidden, "these credentials may not read it");
        const TWICE: (Code, &str) = (Code::AlreadySubscribed, "already subscribed: unsub or resync");
        if !name.contains('*') {
            let topic = Topic::parse(name).map_err(|_| NONE)?;
            if self.by_topic.contains_key(&topic) {
                return Err(TWICE);
            }
            // Before it is looked for: whether there is such a topic is not told either.
            if !self.standing.may_read(&topic) {
                return Err(FORBIDDEN);
            }
            return if self.hub.tape.head(&topic).is_some() { Ok(vec![topic]) } else { Err(NONE) };
        }
        let mut found: Vec<Topic> =
            self.hub.tape.topics().into_iter().map(|t| t.topic).filter(|t| matches(name, t.as_str())).collect();
        // What may not be read is as if it were not there.
        found.retain(|t| self.standing.may_read(t));
        if found.is_empty() {
            return Err(NONE);
        }
        found.sort();
        found.retain(|t| !self.by_topic.contains_key(t));
        if found.is_empty() { Err(TWICE) } else { Ok(found) }
    }

    fn on_unsub(&mut self, id: Option<u64>, name: &str) {
        let topics: Vec<Topic> = self.by_topic.keys().filter(|t| matches(name, t.as_str())).cloned().collect();
        if topics.is_empty() {
            return self.error_of(id, Code::NotSubscribed, "not subscribed", name);
        }
        for topic in topics {
            if let Some(token) = self.by_topic.get(&topic).copied() {
                self.end(token);
            }
        }
        self.out.write(|o| reply::ok(o, id));
    }

    fn on_resync(&mut self, id: Option<u64>, name: &str, pos: Option<(String, u64)>) {
        let token = Topic::parse(name).ok().and_then(|t| self.by_topic.get(&t).copied());
        let Some(sub) = token.and_then(|t| self.subs.get_mut(&t)) else {
            return self.error_of(id, Code::NotSubscribed, "not subscribed", name);
        };
        let from = pos.map_or(From::Live, |(epoch, seq)| From::Position { epoch, seq });
        sub.resync(id, from);
        self.set.push(sub.token);
    }

    fn on_ack(&mut self, id: Option<u64>, all: &[(String, u64)]) {
        for (name, seq) in all {
            let token = Topic::parse(name).ok().and_then(|t| self.by_topic.get(&t).copied());
            let Some(sub) = token.and_then(|t| self.subs.get_mut(&t)) else {
                return self.error_of(id, Code::NotSubscribed, "not subscribed", name);
            };
            match sub.acknowledge(*seq) {
                Ok(true) => self.set.push(sub.token),
                Ok(false) => {}
                Err(why) => return self.error_of(id, Code::BadAck, &why, name),
            }
        }
        if id.is_some() {
            self.out.write(|o| reply::ok(o, id));
        }
    }

    fn on_flow(&mut self, id: Option<u64>, name: &str, credit: u64) {
        let token = Topic::parse(name).ok().and_then(|t| self.by_topic.get(&t).copied());
        let Some(sub) = token.and_then(|t| self.subs.get_mut(&t)) else {
            return self.error_of(id, Code::NotSubscribed, "not subscribed", name);
        };
        match sub.grant(credit) {
            Ok(true) => self.set.push(sub.token),
            Ok(false) => {}
            Err(why) => return self.unserved(id, "credit", &why, Some(name)),
        }
        if id.is_some() {
            self.out.write(|o| reply::ok(o, id));
        }
    }

    pub fn error(&mut self, e: &Error<'_>) {
        self.hub.stats.errors_total.fetch_add(1, Ordering::Relaxed);
        self.out.write(|o| reply::err(o, e));
    }

    pub fn error_of(&mut self, id: Option<u64>, code: Code, msg: &str, topic: &str) {
        self.error(&Error { id, code, msg, path: None, topic: Some(topic), retry_ms: None });
    }

    pub fn unserved(&mut self, id: Option<u64>, path: &str, msg: &str, topic: Option<&str>) {
        self.error(&Error { id, code: Code::Schema, msg, path: Some(path), topic, retry_ms: None });
    }

    fn refuse(&mut self, e: &OpError) {
        let (msg, path) = (e.msg.as_str(), e.path.as_deref());
        self.error(&Error { id: e.id, code: e.code, msg, path, topic: None, retry_ms: None });
        self.violation(e.code);
    }

    fn violation(&mut self, code: Code) {
        self.violations += 1;
        if self.violations >= self.hub.config.violations_max {
            self.closing = Some(Close::Abuse);
            self.ban();
            self.log_abuse(code);
        }
    }
}

/// Options of the protocol that this build does not serve are refused by name, never quietly replaced.
fn unserved_option(sub: &Sub, history: bool) -> Option<(&'static str, &'static str)> {
    match &sub.from {
        From::Ts { .. } if !history => {
            Some(("from.ts", "no history is kept here (`[store]` is off): use live, earliest, last or a position"))
        }
        From::Ts { asof: Some(_), .. } if sub.topic.contains('*') => {
            Some(("from.asof", "speaks of one topic: name it"))
        }
        _ => None,
    }
}

/// Why these topics cannot be seen as the client asked.
fn unconflatable(
    sub: &Sub,
    topics: &[Topic],
    slow: Slow,
    view: Option<Key>,
) -> Option<(Code, Option<&'static str>, &'static str)> {
    let conflates = view.is_some_and(Key::ticks) || slow == Slow::Conflate;
    if conflates && topics.iter().any(|t| !conflatable(t.kind())) {
        return Some((Code::NotConflatable, None, "only book, quote and ticker can be conflated"));
    }
    if sub.depth.is_some() && topics.iter().any(|t| t.kind() != Kind::Book) {
        return Some((Code::Schema, Some("depth"), "only a book has a depth"));
    }
    if sub.view.as_deref() == Some("clean") && (view.is_some() || slow == Slow::Conflate) {
        let msg = "`clean` is told message by message: without `conflate` and `depth`";
        return Some((Code::Schema, Some("view"), msg));
    }
    let of_changes = |t: &Topic| matches!(t.kind(), Kind::Book | Kind::Consolidated);
    if sub.view.as_deref() == Some("clean") && topics.iter().any(of_changes) {
        let msg = "a book without some of its changes would be another book";
        return Some((Code::Schema, Some("view"), msg));
    }
    if view.is_some() && !matches!(sub.from, From::Live | From::Position { .. }) {
        let msg = "with `conflate` or `depth`: \"live\" or a position (history is told message by message)";
        return Some((Code::Schema, Some("from"), msg));
    }
    None
}

/// `*` stands for any text, also none.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(i) => rest = &rest[i + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("trade.*", "trade.BTCUSDT.BINANCE", true),
            ("trade.*", "trade-raw.BTCUSDT.BINANCE", false),
            ("*", "x", true),
            ("*.BINANCE", "book.A.BINANCE", true),
            ("*.BINANCE", "book.A.BINANCE_US", false),
            ("book.*.BINANCE", "book.A.BINANCE", true),
            ("a*a", "a", false),
            ("a*b*c", "axxbyyc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
