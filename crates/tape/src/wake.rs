//! Waking readers: only those that sleep, once each, by whatever a `Waker` wakes.
//!
//! A reader that found nothing puts its [`Watch`] on its topic's list under the topic's lock, after looking at the head
//! once more; the writer takes the list under the same lock after it moved the head. So no wake is lost, and a reader
//! that is awake costs the writer nothing.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use wholetape_model::Class;

use crate::lock;
use crate::reader::Policy;
use crate::topic::TopicShared;

/// What writer, statistics and group know of one reader.
#[derive(Debug)]
pub(crate) struct Watch {
    pub topic: Arc<TopicShared>,
    pub class: Class,
    pub policy: Policy,
    pub lag: u64,
    /// Everything up to here was delivered or named as missed.
    pub position: AtomicU64,
    pub processed: AtomicU64,
    pub dropped: AtomicU64,
    /// On the topic's list; changed under the topic's lock only.
    pub asleep: AtomicBool,
    /// Its reader is gone.
    pub closed: AtomicBool,
    /// When the commit that woke it began (ns, `clock::mono`); 0 = it was not.
    pub woken: AtomicU64,
    pub waker: Mutex<Option<Waker>>,
    /// The set that it belongs to, and its name there.
    pub set: Mutex<Option<(WakeSet, u64)>>,
}

impl Watch {
    pub fn behind(&self) -> u64 {
        self.topic.head.load(Ordering::Acquire).saturating_sub(self.position.load(Ordering::Relaxed))
    }

    /// Called by the writer, without any lock held.
    pub fn wake(&self, began: u64) {
        self.woken.store(began, Ordering::Relaxed);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        let set = lock(&self.set).clone();
        if let Some((set, token)) = set {
            set.push(token);
        }
    }
}

#[derive(Debug, Default)]
struct SetState {
    ready: Vec<u64>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct SetShared {
    state: Mutex<SetState>,
    members: Mutex<Vec<Weak<Watch>>>,
}

/// One place to sleep for many readers: a connection's task with 200 cursors waits here and learns which have news.
///
/// A member arms itself whenever its `poll_next` comes to the head of its topic; its token is then pushed once, with the
/// next batch. So: take the tokens, call `poll_next` of each until it gives fewer than asked, wait again. Other things
/// that the task waits for may [`push`](WakeSet::push) tokens of their own.
#[derive(Debug, Clone, Default)]
pub struct WakeSet(Arc<SetShared>);

impl WakeSet {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `token` ready and wakes the sleeper, if any.
    pub fn push(&self, token: u64) {
        let waker = {
            let mut s = lock(&self.0.state);
            s.ready.push(token);
            s.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves the ready tokens to `out` without waiting; how many.
    pub fn take_ready(&self, out: &mut Vec<u64>) -> usize {
        let mut s = lock(&self.0.state);
        let n = s.ready.len();
        out.append(&mut s.ready);
        n
    }

    /// Ready when at least one token was moved to `out`.
    pub fn poll_ready(&self, cx: &mut Context<'_>, out: &mut Vec<u64>) -> Poll<()> {
        let mut s = lock(&self.0.state);
        if s.ready.is_empty() {
            match &s.waker {
                Some(w) if w.will_wake(cx.waker()) => {}
                _ => s.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        out.append(&mut s.ready);
        Poll::Ready(())
    }

    /// Waits for tokens. Cancel-safe: a token is taken only when this returns.
    pub async fn ready(&self, out: &mut Vec<u64>) {
        poll_fn(|cx| self.poll_ready(cx, out)).await;
    }

    /// Waits on this thread; false when `timeout` passed without a token.
    pub fn wait_blocking(&self, timeout: Duration, out: &mut Vec<u64>) -> bool {
        block_until(timeout, |cx| self.poll_ready(cx, out))
    }

    pub(crate) fn enter(&self, watch: &Arc<Watch>) {
        let mut members = lock(&self.0.members);
        members.retain(|m| m.strong_count() > 0);
        members.push(Arc::downgrade(watch));
    }

    /// How far behind the members are: (all together, those of a lower class than `class`).
    pub(crate) fn backlog(&self, class: Class) -> (u64, u64) {
        let members = lock(&self.0.members);
        members.iter().filter_map(Weak::upgrade).fold((0, 0), |(all, lower), m| {
            let behind = m.behind();
            (all + behind, lower + if m.class > class { behind } else { 0 })
        })
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls on this thread until ready (true) or until `timeout` passed (false).
pub(crate) fn block_until(timeout: Duration, mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>) -> bool {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let end = Instant::now().checked_add(timeout);
    loop {
        if poll(&mut cx).is_ready() {
            return true;
        }
        match end.map(|e| e.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) if left.is_zero() => return false,
            Some(left) => thread::park_timeout(left),
        }
    }
}

/// Wakes all of `sleepers` and empties it. `began`: when the commit that wakes them began.
pub(crate) fn wake_all(sleepers: &mut Vec<Arc<Watch>>, began: u64) {
    for watch in sleepers.drain(..) {
        watch.wake(began);
    }
}
