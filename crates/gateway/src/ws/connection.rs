//! One client's socket: reads ops, keeps the clocks, writes what its subscriptions have.
//!
//! One task, one `poll`: inbound (bounded by what is still to be written), timers, ready subscriptions by class, then one
//! flush. Nothing is queued beyond one batch: when the socket blocks, cursors simply stay where they are.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use wholetape_model::{Topic, Ts};
use wholetape_tape::WakeSet;
use wholetape_wire::reply::{self, Error, Welcome};
use wholetape_wire::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Close, Form};
use wholetape_ws::{Block, Event, Fault, SocketError};

use crate::auth::present::Credentials;
use crate::auth::standing::Standing;
use crate::clients::Place;
use crate::publish::Desk;
use crate::ws::bucket::Bucket;
use crate::ws::classes::{Classes, rank};
use crate::ws::hub::Hub;
use crate::ws::outbox::Outbox;
use crate::ws::resume::Resuming;
use crate::ws::sessions::Hold;
use crate::ws::subscription::{Asked, Ending, Slow, Subscription, Turn};

pub(crate) type Socket = wholetape_ws::Socket<TokioIo<Upgraded>>;

/// Written in one poll at most, so that one busy client does not hold the thread.
const POLL_BYTES: usize = 1 << 20;
/// Answers that may wait before no more ops are read.
pub(crate) const ANSWERS_MAX: usize = 64;
/// How long the goodbye of a connection whose session was taken may keep the new one waiting.
const FENCE_WAIT: Duration = Duration::from_millis(500);
/// How long a closing handshake may take.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Everything of a connection but its socket.
pub(crate) struct Session {
    pub hub: Arc<Hub>,
    pub set: WakeSet,
    /// The session that it holds, until it is fenced.
    pub hold: Hold,
    /// It has handed that over.
    pub left: bool,
    pub resuming: Option<Resuming>,
    /// The client was told a new secret and was not heard since.
    pub unconfirmed: bool,
    pub subs: HashMap<u64, Subscription>,
    pub by_topic: HashMap<Topic, u64>,
    pub out: Outbox,
    pub bucket: Bucket,
    pub started: Instant,
    pub batch: bool,
    pub linger: Duration,
    pub violations: u32,
    /// Something was subscribed to.
    pub subscribed: bool,
    pub closing: Option<Close>,
    /// Where what it publishes is answered, and how much is not yet.
    pub desk: Arc<Desk>,
    pub publishing: usize,
    /// Where an operator sees it, and when it last said how it stands.
    pub place: Place,
    pub looked: Instant,
    /// Messages and bytes handed to the socket.
    pub sent: (u64, u64),
    pub ops: u64,
    /// Who it speaks for.
    pub standing: Standing,
    /// Subscriptions that have something.
    ready: Classes,
    tokens: Vec<u64>,
}

pub(crate) fn wall_clock() -> Ts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

impl Session {
    /// With the secret of its session.
    pub fn new(hub: Arc<Hub>, (form, batch): (Form, bool), (address, agent): (SocketAddr, &str)) -> (Self, String) {
        let limits = hub.config.limits;
        let set = WakeSet::new();
        let standing = Standing::new(hub.auth.as_ref(), hub.next_token(), &set);
        let (hold, secret) = hub.sessions.begin(&set);
        let desk = Desk::new(&set);
        let place = hub.clients.enter(&set, address, agent, &hold.name, wall_clock().micros());
        let session = Self {
            hub,
            set,
            hold,
            left: false,
            resuming: None,
            unconfirmed: false,
            subs: HashMap::new(),
            by_topic: HashMap::new(),
            out: Outbox::new(form),
            bucket: Bucket::new(limits.ops_s, limits.ops_burst),
            started: Instant::now(),
            batch,
            linger: Duration::ZERO,
            violations: 0,
            subscribed: false,
            closing: None,
            desk,
            publishing: 0,
            place,
            looked: Instant::now(),
            sent: (0, 0),
            ops: 0,
            standing,
            ready: Classes::default(),
            tokens: Vec::new(),
        };
        (session, secret)
    }

    /// One more subscription.
    pub fn keep(&mut self, topic: Topic, token: u64, sub: Subscription) {
        self.subs.insert(token, sub);
        self.by_topic.insert(topic, token);
        self.hub.stats.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one subscription.
    pub fn end(&mut self, token: u64) {
        if let Some(sub) = self.subs.remove(&token) {
            self.by_topic.remove(&sub.stream.topic);
            self.hub.leave(&sub.stream, token);
            self.hub.stats.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn heartbeat(&mut self) {
        let heads: Vec<(&str, u64)> =
            self.subs.values().filter(|s| s.is_open()).map(|s| (s.stream.topic.as_str(), s.head())).collect();
        let (now, epoch) = (wall_clock(), &*self.hub.epoch);
        self.out.write(|o| reply::hb(o, now, epoch, heads.into_iter()));
    }

    fn note_ready(&mut self, cx: &mut Context<'_>) {
        self.tokens.clear();
        while self.set.poll_ready(cx, &mut self.tokens).is_ready() {}
        for token in self.tokens.drain(..) {
            if let Some(sub) = self.subs.get(&token) {
                self.ready.push(sub.class(), token);
            }
        }
    }

    /// Fills the outbox up to a batch. True when something is left.
    fn fill(&mut self) -> bool {
        let (budget, prio) = (self.hub.config.write_bytes, self.standing.prio());
        if self.resuming.is_some() {
            return false;
        }
        while self.out.bytes < budget && self.out.queue.len() < 4 * BATCH_MESSAGES_MAX && self.closing.is_none() {
            let Some(token) = self.ready.pick(prio) else { return false };
            let allowance = self.allowance(token);
            let Some(sub) = self.subs.get_mut(&token) else { continue };
            sub.allow(allowance);
            let before = self.out.queue.len();
            self.out.of_topic(sub.subject(), sub.terms().short);
            let turn = sub.turn(&mut self.out, budget, &self.hub.stats);
            self.out.of_connection();
            let class = sub.class();
            let gave = (self.out.queue.len() - before) as u64;
            self.hub.stats.sent_by_class[class as usize].fetch_add(gave, Ordering::Relaxed);
            let topic = sub.stream.topic.clone();
            if let Some(behind) = sub.slowed() {
                let policy = sub.terms().slow;
                self.log_slow(&topic, policy, behind);
            }
            match turn {
                Turn::Idle => {}
                Turn::More => self.ready.push(class, token),
                Turn::TooSlow => self.closing = Some(Close::TooSlow),
                Turn::Ends(Ending { asked, code, msg, retry_ms }) => {
                    let id = asked.and_then(Asked::id);
                    self.error(&Error { id, code, msg: &msg, path: None, topic: Some(topic.as_str()), retry_ms });
                    self.end(token);
                }
            }
        }
        !self.ready.is_empty()
    }

    /// What a subscription of policy `drop_lowest` may be behind: what is left of its `lag` when all of that policy in this connection are
    /// counted that are of its class or a higher one. So the lowest class gives first.
    fn allowance(&self, token: u64) -> Option<u64> {
        let sub = self.subs.get(&token).filter(|s| s.terms().slow == Slow::DropLowest)?;
        let place = |s: &Subscription| rank(s.class(), self.standing.prio());
        let shares =
            |s: &&Subscription| s.terms().slow == Slow::DropLowest && s.token != token && place(s) <= place(sub);
        let others: u64 = self.subs.values().filter(shares).map(Subscription::behind).sum();
        Some(sub.terms().lag.saturating_sub(others))
    }

    /// The next frame to send: one message, or a batch of them.
    fn next_frame(&mut self) -> Option<Block> {
        let (frame, messages) = self.out.next_frame(self.batch)?;
        self.sent = (self.sent.0 + messages as u64, self.sent.1 + frame.len() as u64);
        self.hub.stats.sent_messages_total.fetch_add(messages as u64, Ordering::Relaxed);
        self.hub.stats.sent_bytes_total.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Some(frame)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // However it ended: who waits for the session is not left waiting.
        self.leave();
        self.goodbye();
    }
}

/// The clocks of a connection.
struct Clocks {
    timer: Pin<Box<Sleep>>,
    next_hb: Instant,
    last_in: Instant,
    /// Bytes that the socket had accepted, and when that last changed or nothing was waiting.
    written: u64,
    moved: Instant,
    /// Whole frames that had come, and when that last changed, none was begun, or we did not read.
    frames: u64,
    begun: Instant,
    /// A batch waits for more until then.
    linger: Option<Instant>,
}

struct Connection {
    session: Session,
    socket: Socket,
    clocks: Clocks,
}

/// Serves one client until it leaves or must go: how it ended, where we ended it. `speaks`: its form, and whether it takes batches.
pub(crate) async fn run(
    hub: Arc<Hub>,
    socket: Socket,
    speaks: (Form, bool),
    shown: Option<Credentials>,
    from: (SocketAddr, &str),
    stop: CancellationToken,
) -> Option<Close> {
    let now = Instant::now();
    let (mut session, secret) = Session::new(hub.clone(), speaks, from);
    let name = session.hold.name.clone();
    let welcome = Welcome {
        session: &name,
        resume: Some(&secret),
        ttl_s: hub.sessions.ttl().as_secs(),
        hb_s: hub.config.hb.as_secs(),
        anon: hub.auth.as_ref().is_none_or(|a| a.has_anonymous()),
        limits: &hub.config.limits,
    };
    session.out.write(|o| reply::welcome(o, &welcome));
    if let Some(shown) = shown {
        session.show(None, &shown);
    }
    let next_hb = now + hub.config.hb;
    let clocks = Clocks {
        timer: Box::pin(sleep_until(next_hb)),
        next_hb,
        last_in: now,
        written: 0,
        moved: now,
        frames: 0,
        begun: now,
        linger: None,
    };
    let mut connection = Connection { session, socket, clocks };
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => Some(Close::Restart),
        end = poll_fn(|cx| connection.poll(cx)) => end,
    };
    let code = end.map_or(1005, Close::code);
    hub.stats.closed(code);
    connection.session.last_words(end);
    connection.session.leave();
    let _ = timeout(CLOSE_WAIT, connection.goodbye(end)).await;
    end
}

impl Connection {
    /// Ready when the connection ends: with a close code of ours, or `None` when the client is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        self.session.review(Instant::now());
        if self.read(cx) {
            return Poll::Ready(None);
        }
        self.session.note_ready(cx);
        if self.session.take_answers() {
            // For the ops that were not read meanwhile.
            cx.waker().wake_by_ref();
        }
        self.session.look(Instant::now(), self.clocks.moved);
        if self.session.hold.is_fenced() {
            self.session.closing = Some(Close::TakenOver);
        }
        if self.session.resuming.is_some() && self.session.resume_step() {
            // For the ops that were not read meanwhile, and for its subscriptions.
            cx.waker().wake_by_ref();
        }
        let mut handed = 0;
        let now = Instant::now();
        loop {
            let more = self.session.fill();
            if self.lingers(now, more) {
                break;
            }
            match self.send(cx, &mut handed) {
                Poll::Ready(Ok(())) if handed >= POLL_BYTES => {
                    cx.waker().wake_by_ref();
                    break;
                }
                Poll::Ready(Ok(())) if more && self.session.closing.is_none() => {}
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        if !self.socket.is_flushed() {
            match self.socket.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    // Room again: what waited may go on.
                    if !self.session.out.queue.is_empty() && self.clocks.linger.is_none() {
                        cx.waker().wake_by_ref();
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => {}
            }
        }
        if let Some(close) = self.session.closing {
            return Poll::Ready(Some(close));
        }
        self.time(cx)
    }

    /// Reads ops. True when the client is gone.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        while self.session.out.queue.len() < ANSWERS_MAX
            && self.session.closing.is_none()
            && self.session.resuming.is_none()
            && self.session.publishing < ANSWERS_MAX
            && !self.session.hold.is_fenced()
        {
            let Poll::Ready(event) = self.socket.poll_event(cx) else { return false };
            self.clocks.last_in = Instant::now();
            if std::mem::take(&mut self.session.unconfirmed) {
                self.session.hub.sessions.confirm(&self.session.hold);
            }
            match event {
                None | Some(Ok(Event::Close(_)) | Err(SocketError::Io(_))) => return true,
                Some(Ok(Event::Text(text))) => self.session.on_text(&text),
                Some(Ok(Event::Binary(bytes))) => self.session.on_binary(&bytes),
                Some(Ok(Event::Ping(_) | Event::Pong(_))) => {}
                Some(Err(SocketError::Fault(fault))) => self.session.closing = Some(close_of(fault)),
            }
        }
        false
    }

    /// A batch that is not full waits for more, where the client allowed it.
    fn lingers(&mut self, now: Instant, more: bool) -> bool {
        let out = &self.session.out;
        let full = more || out.bytes >= BATCH_BYTES_MAX || out.queue.len() >= BATCH_MESSAGES_MAX;
        if self.session.linger.is_zero() || !self.session.batch || out.queue.is_empty() || full {
            self.clocks.linger = None;
            return false;
        }
        let until = *self.clocks.linger.get_or_insert(now + self.session.linger);
        if now >= until {
            self.clocks.linger = None;
        }
        now < until
    }

    /// Hands the outbox to the socket while it takes.
    fn send(&mut self, cx: &mut Context<'_>, handed: &mut usize) -> Poll<io::Result<()>> {
        while !self.session.out.queue.is_empty() {
            ready!(self.socket.poll_ready(cx))?;
            let Some(frame) = self.session.next_frame() else { break };
            *handed += frame.len();
            let sent = self.socket.send(&frame);
            self.session.hub.stats.sent(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Heartbeats, silence, stalls; registers the next time.
    fn time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        let config = &self.session.hub.config;
        let (hb, stall, frame) = (config.hb, config.stall, config.frame);
        loop {
            let now = Instant::now();
            let c = &mut self.clocks;
            let written = self.socket.written();
            let waiting = !self.socket.is_flushed() || !self.session.out.queue.is_empty();
            if written != c.written || !waiting {
                (c.written, c.moved) = (written, now);
            }
            if now >= c.moved + stall {
                return Poll::Ready(Some(Close::TooSlow));
            }
            let inbound = self.socket.inbound();
            let unread = self.session.out.queue.len() >= ANSWERS_MAX || self.session.publishing >= ANSWERS_MAX;
            if inbound.frames() != c.frames || !inbound.within_frame() || unread {
                (c.frames, c.begun) = (inbound.frames(), now);
            }
            if now >= c.begun + frame {
                return Poll::Ready(Some(Close::TooSlow));
            }
            if now >= c.last_in + 2 * hb {
                return Poll::Ready(Some(Close::HeartbeatMissed));
            }
            if now >= c.next_hb {
                c.next_hb = now + hb;
                // A blocked socket gets no heartbeats piled up for it.
                if self.session.out.queue.len() < ANSWERS_MAX {
                    self.session.heartbeat();
                    self.socket.ping();
                    cx.waker().wake_by_ref();
                }
            }
            let look = self.session.standing.next();
            if look.is_some_and(|at| now >= at) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let c = &mut self.clocks;
            let mut next = c.next_hb.min(c.last_in + 2 * hb);
            if let Some(look) = look {
                next = next.min(look);
            }
            if waiting {
                next = next.min(c.moved + stall);
            }
            if self.socket.inbound().within_frame() {
                next = next.min(c.begun + frame);
            }
            if let Some(linger) = c.linger {
                next = next.min(linger);
            }
            if c.timer.deadline() != next {
                c.timer.as_mut().reset(next);
            }
            match c.timer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if c.linger.is_some_and(|l| Instant::now() >= l) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(()) => {}
            }
        }
    }

    /// Sends what is queued, then the close frame, and waits for the client's; `None`: it said goodbye first, or is gone.
    async fn goodbye(&mut self, close: Option<Close>) {
        let Some(close) = close else {
            let _ = self.socket.finish().await;
            return;
        };
        if close == Close::TakenOver {
            // Nothing more of it: the new connection goes on where its client says.
            self.session.out.clear();
            self.socket.close(close.code(), close.name());
            let sent = timeout(FENCE_WAIT, self.socket.flush()).await;
            self.session.goodbye();
            if matches!(sent, Ok(Ok(()))) {
                self.part().await;
            }
            return;
        }
        if close == Close::Restart {
            let deadline = self.session.hub.config.drain.as_millis() as u64;
            self.session.out.write(|o| reply::drain(o, deadline, (0, 8_000)));
        }
        while !self.session.out.queue.is_empty() {
            let Ok(()) = poll_fn(|cx| self.send(cx, &mut 0)).await else { return };
        }
        self.socket.close(close.code(), close.name());
        if self.socket.flush().await.is_ok() {
            self.part().await;
        }
    }

    /// Until the client's close frame, or the end of what can be read; then both directions end. The caller's patience bounds it.
    async fn part(&mut self) {
        while let Some(Ok(event)) = self.socket.event().await
            && !matches!(event, Event::Close(_))
        {}
        let _ = self.socket.finish().await;
    }
}

/// What a client is told that sent something impossible.
const fn close_of(fault: Fault) -> Close {
    match fault {
        Fault::Protocol(_) => Close::Protocol,
        Fault::Utf8 | Fault::Deflate => Close::Utf8,
        Fault::TooLarge | Fault::TooManyFragments => Close::TooLarge,
    }
}
