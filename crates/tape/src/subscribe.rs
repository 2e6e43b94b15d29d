//! In-process handlers: `subscribe(filter, priority, handler)`, served by one thread of the tape.
//!
//! The thread has one [`Reader`] per topic that anybody asked for and gives each delivery to the handlers that match, in
//! order of priority (lower number first, then order of subscription). A handler that returns an error or panics is
//! counted, and the others are served all the same. Handlers share the thread, so a slow one delays the others but never
//! a writer; whatever then falls out of retention comes to all of them as [`Delivery::Missed`].

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wholetape_model::{Kind, Topic};

use crate::error::TapeError;
use crate::lock;
use crate::reader::{Delivery, From, Reader, ReaderOptions};
use crate::tape::{Inner, Tape};
use crate::wake::WakeSet;

/// What a handler may fail with.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;
type Handler = Box<dyn FnMut(&Topic, &Delivery) -> Result<(), HandlerError> + Send>;

/// Which topics a handler wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty = every kind.
    pub kinds: Vec<Kind>,
    /// `*` stands for any text, also none; `None` = every topic. `trade.*.BINANCE`
    pub pattern: Option<String>,
}

impl Filter {
    #[must_use]
    pub fn kinds(kinds: &[Kind]) -> Self {
        Self { kinds: kinds.to_vec(), pattern: None }
    }

    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&topic.kind()))
            && self.pattern.as_deref().is_none_or(|p| glob(p.as_bytes(), topic.as_str().as_bytes()))
    }
}

/// Linear: remembers the last star and falls back to it.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

struct Entry {
    id: u64,
    priority: i32,
    filter: Filter,
    handler: Handler,
    counts: Arc<HandlerCounts>,
}

#[derive(Debug, Default)]
struct HandlerCounts {
    processed: AtomicU64,
    failures: AtomicU64,
    stopped: AtomicBool,
}

/// A subscribed handler; dropping it ends the subscription (a call under way is finished first or goes on alone).
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    counts: Arc<HandlerCounts>,
    dispatch: Weak<Dispatch>,
}

impl Subscription {
    /// Deliveries handled, failures included.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.counts.processed.load(Ordering::Relaxed)
    }

    /// Errors and panics.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.counts.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.counts.stopped.store(true, Ordering::Release);
        if let Some(dispatch) = self.dispatch.upgrade() {
            // Not from within a handler, where the list is in use; the thread then removes it itself.
            if let Ok(mut entries) = dispatch.entries.try_lock() {
                entries.retain(|e| e.id != self.id);
            }
        }
    }
}

/// The thread that serves handlers.
pub(crate) struct Dispatch {
    set: WakeSet,
    stop: AtomicBool,
    entries: Mutex<Vec<Entry>>,
    /// Subscribed, not yet seen by the thread.
    waiting: Mutex<Vec<(Entry, HashMap<Topic, u64>)>>,
    next_id: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

/// The token by which the set is told of anything but a topic.
const CONTROL: u64 = u64::MAX;

impl Tape {
    /// Serves `handler` with everything that is appended from now on to topics that `filter` matches, topics that do
    /// not exist yet included. Lower `priority` is served first. Runs on a thread of the tape.
    ///
    /// # Errors
    /// [`TapeError::Io`] when the thread cannot be started.
    pub fn subscribe(
        &self,
        filter: Filter,
        priority: i32,
        handler: impl FnMut(&Topic, &Delivery) -> Result<(), HandlerError> + Send + 'static,
    ) -> Result<Subscription, TapeError> {
        let mut slot = lock(self.dispatch_slot());
        let dispatch = match &*slot {
            Some(dispatch) => dispatch.clone(),
            None => slot.insert(Dispatch::start(self.inner())?).clone(),
        };
        drop(slot);
        let counts = Arc::new(HandlerCounts::default());
        let id = dispatch.next_id.fetch_add(1, Ordering::Relaxed);
        // "From now on" is fixed here, per topic, not when the thread gets round to it.
        let heads = self.inner().placed_topics().iter().map(|t| (t.topic.clone(), t.head())).collect();
        let entry = Entry { id, priority, filter, handler: Box::new(handler), counts: counts.clone() };
        lock(&dispatch.waiting).push((entry, heads));
        dispatch.set.push(CONTROL);
        Ok(Subscription { id, counts, dispatch: Arc::downgrade(&dispatch) })
    }
}

struct Topics {
    readers: Vec<(Reader, Topic)>,
    by_name: HashMap<Topic, usize>,
    /// Handlers that began later than their reader: (handler, topic) → the first seq that is theirs, exclusive.
    since: HashMap<u64, HashMap<Topic, u64>>,
    seen: u64,
}

impl Dispatch {
    fn start(inner: &Arc<Inner>) -> Result<Arc<Self>, TapeError> {
        let dispatch = Arc::new(Self {
            set: WakeSet::new(),
            stop: AtomicBool::new(false),
            entries: Mutex::default(),
            waiting: Mutex::default(),
            next_id: AtomicU64::new(0),
            thread: Mutex::default(),
        });
        let (inner2, dispatch2) = (inner.clone(), dispatch.clone());
        let thread = thread::Builder::new()
            .name("tape-handlers".into())
            .spawn(move || dispatch2.run(&inner2))
            .map_err(|e| TapeError::io("start the handler thread of", &inner.dir, e))?;
        *lock(&dispatch.thread) = Some(thread);
        Ok(dispatch)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.set.push(CONTROL);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }

    fn run(&self, inner: &Arc<Inner>) {
        let mut topics = Topics { readers: Vec::new(), by_name: HashMap::new(), since: HashMap::new(), seen: 0 };
        let (mut tokens, mut deliveries) = (Vec::new(), Vec::new());
        while !self.stop.load(Ordering::Acquire) {
            self.admit(inner, &mut topics);
            // New topics appear without a wake of ours: their registration waits for an fsync anyway, we for 5 ms.
            self.set.wait_blocking(Duration::from_millis(5), &mut tokens);
            self.admit(inner, &mut topics);
            tokens.sort_unstable();
            tokens.dedup();
            for token in tokens.drain(..) {
                let Some((reader, topic)) = usize::try_from(token).ok().and_then(|t| topics.readers.get_mut(t)) else {
                    continue;
                };
                let got = reader.poll_next(&mut deliveries, 256);
                if got >= 256 {
                    self.set.push(token);
                }
                self.serve(inner, topic, &deliveries, &mut topics.since);
                deliveries.clear();
            }
        }
    }

    /// Takes in new handlers and new topics.
    fn admit(&self, inner: &Arc<Inner>, topics: &mut Topics) {
        let new = std::mem::take(&mut *lock(&self.waiting));
        let changed = inner.topics_changed.load(Ordering::Acquire);
        if new.is_empty() && changed == topics.seen {
            return;
        }
        topics.seen = changed;
        let mut entries = lock(&self.entries);
        for (entry, heads) in new {
            topics.since.insert(entry.id, heads);
            entries.push(entry);
        }
        entries.retain(|e| !e.counts.stopped.load(Ordering::Acquire));
        entries.sort_by_key(|e| (e.priority, e.id));
        topics.since.retain(|id, _| entries.iter().any(|e| e.id == *id));
        for topic in inner.placed_topics() {
            if topics.by_name.contains_key(&topic.topic) {
                continue;
            }
            // The handler that has waited longest decides where the reader begins.
            let from = entries
                .iter()
                .filter(|e| e.filter.matches(&topic.topic))
                .map(|e| topics.since.get(&e.id).and_then(|s| s.get(&topic.topic)).copied().unwrap_or(0))
                .min();
            let Some(from) = from else { continue };
            let from = From::Seq(from.min(topic.head()));
            if let Ok(mut reader) = Reader::open(inner, &topic.topic, from, ReaderOptions::default()) {
                let token = topics.readers.len();
                reader.join(&self.set, token as u64);
                topics.by_name.insert(topic.topic.clone(), token);
                topics.readers.push((reader, topic.topic.clone()));
            }
        }
    }

    fn serve(
        &self,
        inner: &Inner,
        topic: &Topic,
        deliveries: &[Delivery],
        since: &mut HashMap<u64, HashMap<Topic, u64>>,
    ) {
        let mut entries = lock(&self.entries);
        for delivery in deliveries {
            let seq = match delivery {
                Delivery::Record(r) => r.record().seq(),
                Delivery::Missed { to, .. } => *to,
                Delivery::Disconnected { .. } => continue,
            };
            for e in entries.iter_mut() {
                let begun = since.get(&e.id).and_then(|s| s.get(topic)).is_none_or(|from| seq > *from);
                if !begun || e.counts.stopped.load(Ordering::Acquire) || !e.filter.matches(topic) {
                    continue;
                }
                let result = catch_unwind(AssertUnwindSafe(|| (e.handler)(topic, delivery)));
                e.counts.processed.fetch_add(1, Ordering::Relaxed);
                if !matches!(result, Ok(Ok(()))) {
                    e.counts.failures.fetch_add(1, Ordering::Relaxed);
                    inner.counts.handler_failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        entries.retain(|e| !e.counts.stopped.load(Ordering::Acquire));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, topic: &str, want: bool| {
            let f = Filter { kinds: vec![], pattern: Some(pattern.into()) };
            assert_eq!(f.matches(&Topic::parse(topic).unwrap()), want, "{pattern} {topic}");
        };
        check("trade.*", "trade.BTCUSDT.BINANCE", true);
        check("*.BINANCE", "trade.BTCUSDT.BINANCE", true);
        check("trade.*.BINANCE", "trade.BTCUSDT.BINANCE_US", false);
        check("trade.BTCUSDT.BINANCE", "trade.BTCUSDT.BINANCE", true);
        check("*USDT*", "book.BTCUSDT-PERP.BINANCE", true);
        check("", "book.BTCUSDT-PERP.BINANCE", false);
        check("*", "book.BTCUSDT-PERP.BINANCE", true);
    }

    #[test]
    fn kinds() {
        let f = Filter::kinds(&[Kind::Trade]);
        assert!(f.matches(&Topic::parse("trade.BTCUSDT.BINANCE").unwrap()));
        assert!(!f.matches(&Topic::parse("book.BTCUSDT.BINANCE").unwrap()));
    }
}
