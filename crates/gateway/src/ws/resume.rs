//! A connection that takes a session over (`op: "resume"`, PROTOCOL §6).
//!
//! ```text
//! resume ─► take (whoever held it is fenced) ─► claim, once that one's goodbye is on its way ─► join the streams
//!        ─► where each goes on, once all are built ─► one `resumed` ─► the subscriptions' turns
//! ```
//!
//! Meanwhile the connection reads no further ops and serves no subscription.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use wholetape_model::Topic;
use wholetape_wire::reply::{self, Resumed};
use wholetape_wire::{Close, Code, Form, From, Position, Resume, Subject};

use crate::ws::connection::Session;
use crate::ws::sessions::{Claim, Kept};
use crate::ws::start::COUNTED_MAX;
use crate::ws::subscription::Subscription;

/// A resume that is under way.
pub(crate) struct Resuming {
    id: Option<u64>,
    /// The session's new secret.
    secret: String,
    /// Where the client stands, until the session is claimed.
    pos: Vec<(String, Position)>,
    claimed: bool,
    /// Topics that are answered: by name, with the subscription that goes on.
    answers: Vec<(String, Option<Subject>, Resumed<'static>)>,
    /// Subscriptions that wait for their streams.
    open: Vec<u64>,
}

impl Session {
    pub fn on_resume(&mut self, id: Option<u64>, resume: Resume) {
        if self.subscribed {
            let msg = "resume comes before any `sub` of its connection";
            return self.unserved(id, "op", msg, None);
        }
        let Some((hold, secret)) = self.hub.sessions.take(&resume.session, &resume.resume, &self.set) else {
            self.hub.stats.resumes_refused_total.fetch_add(1, Ordering::Relaxed);
            let (code, msg) = (Code::SessionUnknown, "no such session (any more): send `sub` with your positions");
            return self.error(&reply::Error { id, code, msg, path: None, topic: None, retry_ms: None });
        };
        // The session that came with the connection kept nothing.
        self.leave();
        self.goodbye();
        tracing::debug!(session = &*hold.name, generation = hold.generation, "resumes");
        (self.hold, self.left) = (hold, false);
        let (claimed, answers, open) = (false, Vec::new(), Vec::new());
        self.resuming = Some(Resuming { id, secret, pos: resume.pos, claimed, answers, open });
        self.resume_step();
    }

    /// Goes as far as it can. True when the session is whole again.
    pub fn resume_step(&mut self) -> bool {
        let Some(mut resuming) = self.resuming.take() else { return false };
        if !resuming.claimed {
            match self.hub.sessions.claim(&self.hold) {
                Claim::Wait => {
                    self.resuming = Some(resuming);
                    return false;
                }
                Claim::Fenced => {
                    self.closing = Some(Close::TakenOver);
                    return false;
                }
                Claim::Taken(kept) => {
                    resuming.claimed = true;
                    self.join_kept(&mut resuming, kept);
                }
            }
        }
        let count = (COUNTED_MAX / (self.subs.len().max(1) as u64)).max(16);
        let Self { subs, hub, .. } = self;
        let Resuming { answers, open, .. } = &mut resuming;
        open.retain(|token| {
            let Some(sub) = subs.get_mut(token) else { return false };
            let Some(how) = sub.resume(count, &hub.stats) else { return true };
            let goes_on = !matches!(how, Resumed::Denied(_));
            answers.push((sub.stream.topic.to_string(), goes_on.then(|| sub.subject()), how));
            false
        });
        if !open.is_empty() {
            self.resuming = Some(resuming);
            return false;
        }
        let Resuming { id, secret, answers, .. } = resuming;
        let generation = self.hold.generation;
        let epoch = self.hub.epoch.clone();
        let topics = answers.iter().map(|(topic, subject, how)| (topic.as_str(), *subject, *how));
        self.out.write(|o| reply::session(o, id, (generation, &secret), &epoch, topics));
        for (topic, ..) in answers.iter().filter(|(.., how)| matches!(how, Resumed::Denied(_))) {
            if let Some(token) = Topic::parse(topic).ok().and_then(|t| self.by_topic.get(&t).copied()) {
                self.end(token);
            }
        }
        for token in self.subs.keys() {
            self.set.push(*token);
        }
        self.unconfirmed = true;
        self.hub.stats.resumes_total.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Subscribes again to what the session kept and the client names. What it does not name ends.
    fn join_kept(&mut self, resuming: &mut Resuming, kept: Vec<Kept>) {
        let mut kept: HashMap<Topic, _> = kept.into_iter().collect();
        for (name, pos) in std::mem::take(&mut resuming.pos) {
            let known = Topic::parse(&name).ok().and_then(|t| kept.remove(&t).map(|terms| (t, terms)));
            let Some((topic, mut terms)) = known else {
                resuming.answers.push((name, None, Resumed::Denied(Code::NotSubscribed)));
                continue;
            };
            if !self.standing.may_read(&topic) {
                resuming.answers.push((name, None, Resumed::Denied(Code::Forbidden)));
                continue;
            }
            let token = self.hub.next_token();
            match self.hub.join(&topic, &self.set, token, terms.view) {
                Ok(stream) => {
                    self.subscribed = true;
                    terms.scaled = self.out.form.scaled;
                    stream.wanted.note(Form { short: terms.short, ..self.out.form });
                    let from = pos.map_or(From::Live, |(epoch, seq)| From::Position { epoch, seq });
                    let (past, set) = (self.hub.past.clone(), self.set.clone());
                    self.keep(topic, token, Subscription::resuming(stream, token, terms, past, set, from));
                    resuming.open.push(token);
                }
                Err(e) => {
                    tracing::warn!(topic = %topic, error = %e, "cannot follow a topic");
                    resuming.answers.push((name, None, Resumed::Denied(Code::Internal)));
                }
            }
        }
    }

    /// Ends all subscriptions and leaves them with the session, for the connection that comes next.
    pub fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let had = self.resuming.as_ref().is_none_or(|r| r.claimed);
        let mut kept = Vec::new();
        for sub in self.subs.values() {
            kept.push((sub.stream.topic.clone(), sub.terms()));
        }
        let tokens: Vec<u64> = self.subs.keys().copied().collect();
        tokens.into_iter().for_each(|t| self.end(t));
        self.hub.sessions.hand_over(&self.hold, had.then_some(kept));
    }

    /// The client's goodbye is on its way, or cannot be: whoever took the session may go on.
    pub fn goodbye(&self) {
        self.hub.sessions.goodbye(&self.hold);
    }
}
