//! The shell around the pure line: moves bytes, keeps time, decides nothing.
//!
//! One task per line. A turn is: wait for one thing (stop, timer, question, answer, socket – in this order), then drain
//! what else is ready up to a bound, hand all of it to the line, append what it judged, commit **once**, then carry out what
//! it asked for. So the first queue an event meets is the tape, and the lane's batch is empty at every `.await`.
//!
//! Time is read once per frame, when the socket gave it. A burst is bounded, and a line that had a full one yields, so
//! that no line can starve its siblings on the worker.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::time::Instant;
use wholetape_model::{Body, LinkCause, LinkState, Raw, Row, RowFlags, Scales, Ts};
use wholetape_tape::{Tape, TapeError, TopicNo};
use wholetape_venue::{FetchId, Frame, Reply};

use crate::error::chain;
use crate::gate::Gate;
use crate::line::{CHECKPOINT_EVERY, ConnIx, ConnMeta, Line, LineOut};
use crate::link::Transition;
use crate::rest::Fetched;
use crate::shell::lag::{LagMeter, LoadControl};
use crate::shell::slot::{Phase, Slot, SlotEvent};
use crate::shell::stats::LineMetrics;
use crate::spec::LineSpec;
use crate::worker::{Control, Controls, Level, Task, TaskError, TaskFuture, WorkerHandle};
use crate::ws::{self, Socket, SocketEvent};

mod act;
pub mod lag;
pub mod late;
mod load;
mod replace;
mod slot;
mod stats;

/// Frames and bytes of one burst: what one commit may hold up. A frame that is shed unread counts for an eighth.
const BURST_FRAMES: usize = 256;
const FRAME: usize = 8;
const BURST_BYTES: usize = 1 << 20;
/// After a refusal that no retry mends, people may mend it.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// A raw frame longer than this is cut.
const RAW_MAX: usize = 1 << 20;

/// What all lines of a feed share.
#[derive(Debug)]
pub struct FeedShared {
    pub tape: Tape,
    pub tls: Arc<ClientConfig>,
    /// The last connection number given; unique in the epoch.
    pub numbers: AtomicU32,
    /// No socket is opened.
    pub rest_only: bool,
}

/// A line as a worker's task.
pub struct LineTask {
    pub spec: Arc<LineSpec>,
    pub shared: Arc<FeedShared>,
    pub gate: Gate,
}

impl Task for LineTask {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn start(&mut self, handle: WorkerHandle, controls: Controls) -> TaskFuture {
        let (spec, shared, gate) = (self.spec.clone(), self.shared.clone(), self.gate.clone());
        Box::pin(async move {
            let failed = |e: crate::error::FeedError| match e {
                crate::error::FeedError::Tape(e) => tape_failed(e),
                e => TaskError::Failed(chain(&e)),
            };
            // Reading the tape may take a while; the siblings on this worker need not wait for it.
            let (plan, tape) = (spec.clone(), shared.tape.clone());
            let line = tokio::task::spawn_blocking(move || plan.line(&tape)).await;
            let line = line.map_err(|e| TaskError::Failed(e.to_string()))?.map_err(failed)?;
            let mut shell = Shell::new(line, spec, shared, gate, handle).map_err(tape_failed)?;
            shell.run(&controls).await.map_err(tape_failed)
        })
    }

    /// The restart is a link event like any other.
    fn on_restart(&mut self, handle: &WorkerHandle, why: &str, attempt: u32, delay: Duration) {
        let now = handle.clock().now();
        let transition = Transition {
            state: LinkState::Disconnected,
            cause: LinkCause::Restarted,
            attempt,
            delay,
            endpoint: String::new(),
            correlation: format!("{}#restart-{attempt}", self.spec.name),
            why: why.to_owned(),
        };
        let mut lane = handle.lane();
        let written = lane.topic(&self.spec.link_topic()).and_then(|topic| {
            lane.append(topic, &link_row(&transition, now, 0))?;
            lane.commit()
        });
        if let Err(error) = written {
            lane.abort();
            handle.log(Level::Failure, &self.spec.name, "tape", || chain(&error));
        }
    }
}

fn tape_failed(error: TapeError) -> TaskError {
    match error {
        TapeError::SyncFailed | TapeError::ReadOnly => TaskError::Fatal(chain(&error)),
        error => TaskError::Failed(chain(&error)),
    }
}

fn link_row(transition: &Transition, now: Ts, number: u32) -> Row<'_> {
    Row {
        ts_event: now,
        ts_recv: now,
        conn: number,
        frame: 0,
        flags: RowFlags::TS_LOCAL,
        scales: Scales::default(),
        body: Body::Link(transition.body()),
    }
}

type Fetching = FuturesUnordered<Pin<Box<dyn Future<Output = (ConnIx, FetchId, Fetched)>>>>;

struct Shell {
    line: Line,
    out: LineOut,
    spec: Arc<LineSpec>,
    shared: Arc<FeedShared>,
    gate: Gate,
    handle: WorkerHandle,
    slots: Vec<Slot>,
    /// The lane's numbers of the line's topics, by the line's.
    topics: Vec<TopicNo>,
    link_topic: TopicNo,
    raw_topic: Option<TopicNo>,
    fetches: Fetching,
    /// Sockets that are saying goodbye.
    closing: tokio::task::JoinSet<()>,
    metrics: LineMetrics,
    segment: u64,
    checkpoint_at: Ts,
    steps: u64,
    paused: bool,
    /// Which socket is asked first: taken in turns.
    turn: usize,
    /// When the first frame of this turn came.
    first: Option<Ts>,
    lag: LagMeter,
    load: LoadControl,
    /// Frames shed unread.
    dropped: u64,
}

enum Wake {
    Stop,
    Timer,
    Asked(Control),
    Fetched(ConnIx, FetchId, Fetched),
    Socket(ConnIx, SlotEvent),
}

impl Shell {
    fn new(
        line: Line,
        spec: Arc<LineSpec>,
        shared: Arc<FeedShared>,
        gate: Gate,
        handle: WorkerHandle,
    ) -> Result<Self, TapeError> {
        let now = handle.clock().now();
        let (link_topic, segment) = {
            let mut lane = handle.lane();
            (lane.topic(&spec.link_topic())?, lane.segment())
        };
        let raw_topic = match handle.raw() {
            Some(mut raw) if spec.raw => Some(raw.topic(&spec.raw_topic())?),
            _ => None,
        };
        let metrics = LineMetrics::new(&mut handle.metrics(), &line, &spec.venue);
        let (members, endpoints) = (line.members(), spec.ws.len().max(1));
        // Siblings begin at different addresses; the last of each set is the spare.
        let slot = |c| {
            let replica = c % members;
            Slot::new(spec.backoff, now, replica % endpoints, members == 1 || replica + 1 < members)
        };
        let slots = (0..line.connections()).map(slot).collect();
        Ok(Self {
            out: LineOut::default(),
            slots,
            topics: Vec::new(),
            link_topic,
            raw_topic,
            fetches: Fetching::new(),
            closing: tokio::task::JoinSet::new(),
            metrics,
            segment,
            checkpoint_at: now + CHECKPOINT_EVERY,
            steps: handle.clock_steps().0,
            paused: shared.rest_only,
            turn: 0,
            first: None,
            lag: LagMeter::new(line.connections(), now),
            load: LoadControl::new(spec.lag),
            dropped: 0,
            line,
            spec,
            shared,
            gate,
            handle,
        })
    }

    async fn run(&mut self, controls: &Controls) -> Result<(), TapeError> {
        for approval in &self.spec.approvals {
            let (who, what) = (&approval.approved, approval.addresses.join(" "));
            tracing::warn!(line = %self.spec.name, approved = %who, addresses = %what, "addresses are not the venue's own");
        }
        let stop = self.handle.stop().clone();
        let sleep = tokio::time::sleep_until(Instant::now());
        tokio::pin!(sleep);
        loop {
            let at = self.handle.clock().instant(self.deadline());
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            let wake = {
                let Self { slots, fetches, turn, handle, closing, .. } = self;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Wake::Stop,
                    () = sleep.as_mut() => Wake::Timer,
                    control = controls.recv() => Wake::Asked(control),
                    Some((conn, id, fetched)) = fetches.next() => Wake::Fetched(conn, id, fetched),
                    Some(_) = closing.join_next() => continue,
                    (conn, event) = poll_fn(|cx| poll_slots(slots, turn, handle, cx)) => Wake::Socket(conn, event),
                }
            };
            if matches!(wake, Wake::Stop) {
                return self.stop().await;
            }
            self.lag.woken(Instant::now().saturating_duration_since(at));
            self.take(wake);
            let full = self.drain();
            self.on_load(full);
            self.on_time();
            self.end_turn()?;
            if full {
                tokio::task::yield_now().await;
            }
        }
    }

    fn now(&self) -> Ts {
        self.handle.clock().now()
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Stop | Wake::Timer => {}
            Wake::Asked(control) => self.answer(control),
            Wake::Fetched(conn, id, fetched) => {
                let now = self.now();
                let reply = match &fetched {
                    Fetched::Answer { status, body } => Reply::Answer { status: *status, body },
                    Fetched::Failed(failure) => Reply::Failed(failure),
                };
                self.line.on_fetched(conn, now, id, reply, &mut self.out);
            }
            Wake::Socket(conn, event) => {
                self.on_socket(conn, event);
            }
        }
    }

    /// Takes what is ready without waiting. True when there may be more.
    fn drain(&mut self) -> bool {
        let (mut cost, mut bytes) = (0, 0);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while cost < BURST_FRAMES * FRAME && bytes < BURST_BYTES {
            let Self { slots, turn, handle, .. } = self;
            match poll_slots(slots, turn, handle, &mut cx) {
                Poll::Ready((conn, event)) => {
                    let shed = self.dropped;
                    bytes += self.on_socket(conn, event);
                    cost += if self.dropped > shed { 1 } else { FRAME };
                }
                Poll::Pending => return false,
            }
        }
        // The next burst begins at another socket: one that is never empty must not silence its siblings.
        self.turn = (self.turn + 1) % self.slots.len().max(1);
        true
    }

    /// Returns the size of what came.
    fn on_socket(&mut self, conn: ConnIx, event: SlotEvent) -> usize {
        match event {
            SlotEvent::Opened(stream) => self.on_opened(conn, *stream),
            SlotEvent::OpenFailed(why) => self.on_open_failed(conn, &why),
            SlotEvent::Socket(now, SocketEvent::Text(text)) => {
                return self.on_frame(conn, now, Frame::Text(text.as_bytes()));
            }
            SlotEvent::Socket(now, SocketEvent::Binary(bytes)) => {
                return self.on_frame(conn, now, Frame::Binary(&bytes));
            }
            SlotEvent::Socket(_, SocketEvent::Closed(why)) => self.give_up(conn, LinkCause::Closed, &why),
            SlotEvent::Socket(_, SocketEvent::Failed(why)) => self.give_up(conn, LinkCause::Error, &why),
        }
        0
    }

    fn on_frame(&mut self, conn: ConnIx, now: Ts, frame: Frame<'_>) -> usize {
        self.first.get_or_insert(now);
        let len = frame.bytes().len();
        let slot = &mut self.slots[conn];
        slot.frames = slot.frames.wrapping_add(1);
        if let Some(peek) = self.line.sheds(conn, frame) {
            self.dropped += 1;
            self.line.on_shed(conn, now, peek);
            return len;
        }
        if !self.spec.brake.is_zero() {
            load::brake(self.spec.brake);
        }
        if let Some(topic) = self.raw_topic {
            let text = String::from_utf8_lossy(&frame.bytes()[..len.min(RAW_MAX)]);
            let body = Body::Raw(Raw { channel: "", text: text.as_ref() });
            let (number, frame) = (slot.number, slot.frames);
            let flags = RowFlags::TS_LOCAL;
            let row = Row { ts_event: now, ts_recv: now, conn: number, frame, flags, scales: Scales::default(), body };
            if let Some(mut raw) = self.handle.raw()
                && let Err(error) = raw.append(topic, &row)
            {
                self.handle.log(Level::Failure, &self.spec.name, "raw", || chain(&error));
            }
        }
        self.line.on_frame(conn, now, frame, &mut self.out);
        len
    }

    fn on_opened(&mut self, conn: ConnIx, stream: slot::Stream) {
        let now = self.now();
        self.gate.on_opened();
        let life = self.spec.life_max.map(|max| max.mul_f64(0.94 + 0.03 * rand::random::<f64>()));
        let slot = &mut self.slots[conn];
        slot.opened(Socket::new(stream, self.spec.limits, now), life.map_or(Ts::MAX, |life| now + life));
        let meta = ConnMeta { number: slot.number };
        self.put_link(conn, LinkCause::Opened, Duration::ZERO, "handshake done");
        self.line.on_open(conn, meta, now, &mut self.out);
    }

    fn on_open_failed(&mut self, conn: ConnIx, why: &str) {
        let now = self.now();
        let door_closed = self.gate.on_failed(now);
        let endpoints = self.spec.ws.len().max(1);
        let slot = &mut self.slots[conn];
        slot.endpoint = (slot.endpoint + 1) % endpoints;
        let delay = slot.backoff.on_down(now, rand::random());
        slot.phase = Phase::Waiting(now + delay);
        self.put_link(conn, LinkCause::OpenFailed, delay, why);
        let level = if door_closed { Level::Failure } else { Level::Recoverable };
        self.handle.log(level, &self.slots[conn].correlation(), "open failed", || why.to_owned());
    }

    /// Ends a connection and plans the next one.
    fn give_up(&mut self, conn: ConnIx, cause: LinkCause, why: &str) {
        if !matches!(self.slots[conn].phase, Phase::Open(_)) {
            return;
        }
        let now = self.now();
        self.line.on_closed(conn, now, cause, &mut self.out);
        self.end_socket(conn);
        let endpoints = self.spec.ws.len().max(1);
        let slot = &mut self.slots[conn];
        if matches!(cause, LinkCause::Silent | LinkCause::PingTimeout) {
            // A host that swallows everything may go on doing so: another address first.
            slot.endpoint = (slot.endpoint + 1) % endpoints;
        }
        let delay = match cause {
            LinkCause::SubscribeRefused | LinkCause::AuthFailed => REFUSED_WAIT,
            _ => slot.backoff.on_down(now, rand::random()),
        };
        slot.phase = Phase::Waiting(now + delay);
        // Whoever was to take over does so now, and this slot becomes the spare.
        self.hand_over(conn);
        self.metrics.reconnects += 1;
        self.put_link(conn, cause, delay, why);
        let level = if cause == LinkCause::SubscribeRefused { Level::Failure } else { Level::Recoverable };
        self.handle
            .log(level, &self.slots[conn].correlation(), cause.as_str(), || format!("{why}; next try in {delay:?}"));
    }

    /// Lets the socket say goodbye by itself.
    fn end_socket(&mut self, conn: ConnIx) {
        if let Some(socket) = self.slots[conn].take_socket() {
            self.closing.spawn_local(socket.close());
        }
    }

    fn begin_life(&mut self, conn: ConnIx) {
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let slot = &mut self.slots[conn];
        slot.number = number;
        slot.frames = 0;
        slot.state.set_correlation(format!("{}/{conn}#{number}", self.spec.name));
    }

    /// What the clock brings: openings, pings, ends of lives, the line's own timers.
    fn on_time(&mut self) {
        let now = self.now();
        for conn in 0..self.slots.len() {
            let slot = &mut self.slots[conn];
            match &mut slot.phase {
                Phase::Waiting(until) if *until <= now && slot.wanted && !self.paused => self.start(conn, now),
                Phase::Open(socket) => {
                    if socket.next_timer() <= now && !socket.on_timer(now) {
                        self.give_up(conn, LinkCause::PingTimeout, "no pong came");
                    } else if slot.replace_at <= now {
                        self.replace(conn, now);
                    } else if slot.relieves_at <= now {
                        self.relieve(conn, now);
                    }
                }
                Phase::Waiting(_) | Phase::Opening(_) => {}
            }
        }
        if self.line.next_timer().is_some_and(|at| at <= now) {
            self.line.on_timer(now, &mut self.out);
        }
        let (steps, by) = self.handle.clock_steps();
        if steps != self.steps {
            self.steps = steps;
            self.lag.clock_set(now);
            let why = format!("wall clock moved by {by} ns");
            if !self.slots.is_empty() {
                self.put_link(0, LinkCause::ClockStep, Duration::ZERO, &why);
            }
        }
    }

    fn start(&mut self, conn: ConnIx, now: Ts) {
        if let Err((cause, wait)) = self.gate.pass(now) {
            // Not all at once when the door opens again.
            let wait = wait.min(Duration::from_secs(300)) + Duration::from_millis(250).mul_f64(rand::random());
            self.slots[conn].phase = Phase::Waiting(now + wait);
            self.put_link(conn, cause, wait, "this host is left alone for a while");
            return;
        }
        self.begin_life(conn);
        self.slots[conn].phase = Phase::Opening(self.opening(conn));
        let why = match self.spec.approvals.first() {
            Some(a) => format!("address approved by: {}", a.approved),
            None => String::new(),
        };
        self.put_link(conn, LinkCause::Start, Duration::ZERO, &why);
    }

    fn opening(&self, conn: ConnIx) -> slot::Opening {
        let endpoint = self.spec.ws[self.slots[conn].endpoint].clone();
        let path = self.path(conn);
        let (limits, tls) = (self.spec.limits, self.shared.tls.clone());
        Box::pin(async move { ws::open(&endpoint, path, limits, tls).await })
    }

    /// Appends, carries out, and commits once.
    fn end_turn(&mut self) -> Result<(), TapeError> {
        loop {
            self.append_rows()?;
            let actions = std::mem::take(&mut self.out.actions);
            self.out.clear();
            if actions.is_empty() {
                // Give the buffer back: no allocation per turn.
                self.out.actions = actions;
                break;
            }
            for action in actions {
                self.carry_out(action);
            }
        }
        let (segment, head) = {
            let mut lane = self.handle.lane();
            lane.commit()?;
            (lane.segment(), self.first.take())
        };
        if let Some(mut raw) = self.handle.raw() {
            raw.commit()?;
        }
        let now = self.now();
        self.metrics.turn(&mut self.handle.metrics(), now, head, &self.line, &self.slots);
        if segment != self.segment || now >= self.checkpoint_at {
            self.segment = segment;
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            self.line.on_segment(now, &mut self.out);
            return self.end_turn();
        }
        Ok(())
    }

    fn append_rows(&mut self) -> Result<(), TapeError> {
        if self.out.rows.is_empty() {
            return Ok(());
        }
        let mut lane = self.handle.lane();
        for topic in &self.line.topics()[self.topics.len()..] {
            self.topics.push(lane.topic(&topic.topic)?);
        }
        for judged in &self.out.rows {
            match lane.append(self.topics[judged.topic as usize], &judged.row(self.out.arena())) {
                Ok(_) => {}
                Err(error @ TapeError::TooLarge { .. }) => {
                    self.handle.log(Level::Failure, &self.spec.name, "too large", || chain(&error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When something falls due.
    fn deadline(&self) -> Ts {
        let slots = self.slots.iter().map(|s| s.next_timer(self.paused));
        let looks = [self.metrics.next(), self.load.next_look(self.now())];
        slots.chain(self.line.next_timer()).chain(looks).min().unwrap_or(Ts::MAX)
    }

    /// Everything read is on the tape, then the sockets say goodbye. The line is not told: what follows its last row
    /// while nobody listens is confessed at the next start, from what the tape holds.
    async fn stop(&mut self) -> Result<(), TapeError> {
        self.drain();
        self.end_turn()?;
        for conn in 0..self.slots.len() {
            if !self.slots[conn].wanted {
                continue;
            }
            self.put_link(conn, LinkCause::Stop, Duration::ZERO, "asked to stop");
            self.end_socket(conn);
        }
        self.end_turn()?;
        let now = self.now();
        self.metrics.last(&mut self.handle.metrics(), now, &self.line, &self.slots);
        while self.closing.join_next().await.is_some() {}
        Ok(())
    }
}

/// The next event of any slot; whoever was asked first last time is asked last now.
fn poll_slots(
    slots: &mut [Slot],
    turn: &mut usize,
    handle: &WorkerHandle,
    cx: &mut Context<'_>,
) -> Poll<(ConnIx, SlotEvent)> {
    let n = slots.len();
    for i in 0..n {
        let conn = (*turn + i) % n;
        if let Poll::Ready(event) = slots[conn].poll_event(cx, || handle.clock().now()) {
            // A socket with a burst keeps its turn, so that its frames stay together.
            *turn = conn;
            return Poll::Ready((conn, event));
        }
    }
    *turn = (*turn + 1) % n.max(1);
    Poll::Pending
}
