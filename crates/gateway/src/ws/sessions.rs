//! Sessions: what a client had subscribed to and how, kept for a while after its connection ended (PROTOCOL §6).
//!
//! A session is held by one connection at a time. Taking it raises its generation: whoever held it is fenced (it sends nothing
//! more and is closed), hands over what it had subscribed to, and only when its goodbye is on its way does the new holder go on.
//! Positions are not in it: those are the client's.
//!
//! The secret is a bearer token of 256 bits, held as its hash. Each resume makes a new one; the one that was used stays valid until
//! the client is heard on the new connection, so that a lost reply locks nobody out.

#[cfg(test)]
mod model;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wholetape_model::Topic;
use wholetape_tape::WakeSet;

use crate::lock;
use crate::ws::secret;
use crate::ws::subscription::Terms;

/// Wakes a connection for what is not a subscription.
pub(crate) const WAKE: u64 = u64::MAX;

/// What a session keeps of a subscription.
pub(crate) type Kept = (Topic, Terms);

/// A connection's hold on a session.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub name: Arc<str>,
    pub generation: u64,
    fenced: Arc<AtomicBool>,
}

impl Hold {
    /// Another connection took the session: nothing more may be sent, and what still comes in is nobody's.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }
}

struct Holder {
    generation: u64,
    fenced: Arc<AtomicBool>,
    set: WakeSet,
}

struct Entry {
    generation: u64,
    /// Hash of the newest secret, and of the one before while that may still be all that the client has.
    secret: blake3::Hash,
    before: Option<blake3::Hash>,
    holder: Option<Holder>,
    /// Generations of the fenced holders whose goodbye is not yet on its way.
    leaving: Vec<u64>,
    /// What the last holder had; `None` while a holder has it.
    kept: Option<Vec<Kept>>,
}

/// How far a connection is in taking a session over.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The one before has not left yet; woken when it has.
    Wait,
    Taken(Vec<Kept>),
    /// Yet another connection came meanwhile.
    Fenced,
}

pub(crate) struct Sessions {
    ttl: Duration,
    /// Sessions without a connection, at most: the oldest go first.
    most: usize,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    by_name: HashMap<Arc<str>, Entry>,
    /// Those that were left, in that order; by their generation one sees whether they were taken since.
    left: VecDeque<(Instant, Arc<str>, u64)>,
    alone: usize,
}

impl Sessions {
    pub fn new(ttl: Duration, most: usize) -> Self {
        Self { ttl, most, all: Mutex::default() }
    }

    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Sessions without a connection.
    pub fn alone(&self) -> usize {
        let mut all = lock(&self.all);
        all.expire(Instant::now(), self.ttl);
        all.alone
    }

    /// A session for a new connection, which is woken through `set`, and its secret.
    pub fn begin(&self, set: &WakeSet) -> (Hold, String) {
        let (name, secret): (Arc<str>, String) = (secret::name("s_").into(), secret::bearer("r_"));
        let hold = Hold { name: name.clone(), generation: 1, fenced: Arc::default() };
        let holder = Holder { generation: 1, fenced: hold.fenced.clone(), set: set.clone() };
        let entry = Entry {
            generation: 1,
            secret: secret::hash(&secret),
            before: None,
            holder: Some(holder),
            leaving: Vec::new(),
            kept: None,
        };
        let mut all = lock(&self.all);
        all.expire(Instant::now(), self.ttl);
        all.by_name.insert(name, entry);
        (hold, secret)
    }

    /// Takes session `name` for the connection that is woken through `set`: its hold and its new secret. `None`: there is no such
    /// session, or not with this secret. Whoever held it is fenced from here on.
    pub fn take(&self, name: &str, secret: &str, set: &WakeSet) -> Option<(Hold, String)> {
        let mut all = lock(&self.all);
        all.expire(Instant::now(), self.ttl);
        let session = all.by_name.get_mut(name)?;
        let given = secret::hash(secret);
        // `blake3::Hash` compares in constant time.
        if session.secret != given && session.before != Some(given) {
            return None;
        }
        let fresh = secret::bearer("r_");
        (session.secret, session.before) = (secret::hash(&fresh), Some(given));
        session.generation += 1;
        let generation = session.generation;
        let fenced = Arc::<AtomicBool>::default();
        let holder = Holder { generation, fenced: fenced.clone(), set: set.clone() };
        let name = all.by_name.get_key_value(name)?.0.clone();
        let session = all.by_name.get_mut(&name)?;
        match session.holder.replace(holder) {
            Some(old) => {
                old.fenced.store(true, Ordering::Release);
                session.leaving.push(old.generation);
                old.set.push(WAKE);
            }
            None => all.alone -= 1,
        }
        Some((Hold { name, generation, fenced }, fresh))
    }

    /// What the session kept, once nobody else is in it.
    pub fn claim(&self, hold: &Hold) -> Claim {
        let mut all = lock(&self.all);
        match all.by_name.get_mut(&hold.name) {
            Some(s) if s.generation == hold.generation => match s.kept.take_if(|_| s.leaving.is_empty()) {
                Some(kept) => Claim::Taken(kept),
                None => Claim::Wait,
            },
            _ => Claim::Fenced,
        }
    }

    /// The client was heard behind the reply: it has the newest secret.
    pub fn confirm(&self, hold: &Hold) {
        if let Some(s) = lock(&self.all).by_name.get_mut(&hold.name)
            && s.generation == hold.generation
        {
            s.before = None;
        }
    }

    /// The connection hands back what it had; `None` when it never had it. Its subscriptions have ended.
    pub fn hand_over(&self, hold: &Hold, kept: Option<Vec<Kept>>) {
        let mut all = lock(&self.all);
        let Some(session) = all.by_name.get_mut(&hold.name) else { return };
        if let Some(kept) = kept {
            session.kept = Some(kept);
        }
        if session.generation != hold.generation {
            return;
        }
        // It was not taken: it waits for its client. One that subscribed to nothing has nothing to wait for.
        session.holder = None;
        if session.kept.as_ref().is_none_or(Vec::is_empty) && session.leaving.is_empty() {
            all.by_name.remove(&hold.name);
            return;
        }
        all.alone += 1;
        all.left.push_back((Instant::now(), hold.name.clone(), hold.generation));
        while all.alone > self.most {
            all.drop_oldest();
        }
    }

    /// A fenced connection's goodbye is on its way (or cannot be): whoever waits for that may go on.
    pub fn goodbye(&self, hold: &Hold) {
        let mut all = lock(&self.all);
        let Some(session) = all.by_name.get_mut(&hold.name) else { return };
        let before = session.leaving.len();
        session.leaving.retain(|generation| *generation != hold.generation);
        if let Some(holder) = session.holder.as_ref().filter(|_| session.leaving.len() < before) {
            holder.set.push(WAKE);
        }
    }
}

impl All {
    fn expire(&mut self, now: Instant, ttl: Duration) {
        while self.left.front().is_some_and(|(at, ..)| now.duration_since(*at) >= ttl) {
            self.drop_oldest();
        }
    }

    /// Ends the session that was left first, if it is still alone.
    fn drop_oldest(&mut self) {
        let Some((_, name, generation)) = self.left.pop_front() else { return };
        let alone = |s: &Entry| s.generation == generation && s.holder.is_none();
        if self.by_name.get(&name).is_some_and(alone) {
            self.by_name.remove(&name);
            self.alone -= 1;
        }
    }
}
