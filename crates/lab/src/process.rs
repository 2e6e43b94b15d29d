//! The running program, single-threaded: the real tape (driven), real lines with the tape's resume, and what a shell does
//! around them – openings, backoff, REST within the real budgets – as plain functions of time.
//!
//! It mirrors `feed::shell` and `feed::rest`, which move bytes on a runtime; every decision here is made by the very types that
//! they use (`Line`, `Backoff`, `Gate`, the host's `Queue` with its budgets and breaker).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use wholetape_feed::backoff::{Backoff, BackoffShape};
use wholetape_feed::breaker::{BreakerShape, CircuitBreaker};
use wholetape_feed::budget::{TokenBucket, WeightBudget};
use wholetape_feed::feed::FeedPlan;
use wholetape_feed::gate::Gate;
use wholetape_feed::line::{CHECKPOINT_EVERY, ConnMeta, Line, LineAction, LineOut};
use wholetape_feed::queue::{Next, Order, Queue};
use wholetape_model::{LinkCause, Ts};
use wholetape_tape::{Fsync, Lane, LowSpace, Tape, TapeConfig, TapeError, TapeTime, TopicNo};
use wholetape_venue::limits::{Meter, RetryAfter};
use wholetape_venue::{FetchFailure, FetchId, Frame, Reply};

use crate::disk::MemDisk;
use crate::outside::{Answer, Event, Gone, Outside, RestAsk};

pub const DIR: &str = "/tape";

/// The world's clocks, as the tape reads them.
#[derive(Debug, Default)]
pub struct WorldTime {
    pub wall: AtomicI64,
    pub mono: AtomicI64,
}

impl TapeTime for WorldTime {
    fn wall(&self) -> i64 {
        self.wall.load(Ordering::Relaxed)
    }

    fn mono(&self) -> u64 {
        self.mono.load(Ordering::Relaxed) as u64 + 1
    }
}

/// What every life of the process shares.
pub struct Setup {
    pub plan: FeedPlan,
    pub disk: MemDisk,
    pub time: Arc<WorldTime>,
    pub segment_bytes: u64,
    pub unsynced_records_max: u32,
    /// Records that one batch may bring.
    pub batch_max: usize,
    /// The markets of each line, by the line's instrument numbers.
    pub instruments: Vec<Vec<usize>>,
}

impl Setup {
    pub fn tape_config(&self, boot: u32) -> TapeConfig {
        TapeConfig {
            segment_bytes: self.segment_bytes,
            unsynced_records_max: self.unsynced_records_max,
            fsync: Fsync::Every(Duration::from_millis(100)),
            memory_bytes: 32 << 10,
            low_space: LowSpace { soft_bytes: 64 << 10, hard_bytes: 16 << 10 },
            disk: Arc::new(self.disk.clone()),
            driven: Some(self.time.clone()),
            boot_id: Some(format!("boot-{boot}")),
            ..TapeConfig::default()
        }
    }
}

/// As `feed::clock::Clock`, with the world's time for the monotonic one.
#[derive(Debug)]
struct Clock {
    mono: i64,
    wall: i64,
    last: i64,
    told: i64,
}

impl Clock {
    fn new(mono: i64, wall: i64, floor: i64) -> Self {
        let at = wall.max(floor);
        Self { mono, wall: at, last: at, told: wall - at }
    }

    fn now(&mut self, mono: i64) -> Ts {
        self.last = (self.wall + mono - self.mono).max(self.last);
        Ts(self.last)
    }

    fn check(&mut self, mono: i64, wall: i64) {
        let ahead = wall - self.now(mono).0;
        if (ahead - self.told).abs() < 100_000_000 {
            return;
        }
        if ahead > 0 {
            self.wall += ahead;
            self.told = 0;
        } else {
            self.told = ahead;
        }
    }
}

enum Phase {
    Waiting(Ts),
    Opening(u64),
    Open(u64),
}

struct Slot {
    phase: Phase,
    backoff: Backoff,
    subscribed: bool,
    /// The spare of a set is not wanted: planned replacements are beyond a world's sixty seconds.
    wanted: bool,
}

pub struct Running {
    pub line: Line,
    out: LineOut,
    topics: Vec<TopicNo>,
    segment: u64,
    checkpoint_at: Ts,
    slots: Vec<Slot>,
}

impl Running {
    /// Every connection is open and every stream acknowledged.
    pub fn is_subscribed(&self) -> bool {
        self.slots.iter().filter(|s| s.wanted).all(|s| matches!(s.phase, Phase::Open(_)) && s.subscribed)
    }
}

enum LineState {
    Waiting(Ts),
    Running(Box<Running>),
}

struct LineRun {
    lane: usize,
    host: usize,
    state: LineState,
    restart: Backoff,
    generation: u64,
}

struct Job {
    line: usize,
    conn: usize,
    id: FetchId,
    path: String,
    /// A line that began anew waits for it no more.
    generation: u64,
}

/// As `feed::rest`'s host: the same queue, and a clock of its own that no step of the wall reaches.
struct Host {
    queue: Queue<Job>,
    clock: Clock,
    /// How its answers say what is used of the window, and how long to wait.
    meter: Option<Meter>,
    retry_after: RetryAfter,
    /// In the world's time.
    next_look: i64,
}

impl Host {
    fn heard_used(&mut self, now: Ts, used: u32, limit: u32) {
        match self.meter {
            Some(Meter::Used(_)) => self.queue.budget.on_used(now, used),
            Some(Meter::Left(_)) => self.queue.budget.on_left(now, limit.saturating_sub(used)),
            None => {}
        }
    }

    /// The header has whole units, rounded up so that it is over then.
    fn told_to_wait(&self, after: Duration) -> Duration {
        match self.retry_after {
            RetryAfter::Millis => Duration::from_millis(after.as_millis() as u64 + 1),
            _ => Duration::from_secs(after.as_secs() + 1),
        }
    }
}

/// Why the process ends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    Sync,
}

/// See the module.
pub struct Process {
    pub tape: Tape,
    pub life: u64,
    pub fatal: Option<Fatal>,
    /// Lines whose state changed since somebody looked.
    pub restarts: u64,
    lanes: Vec<Lane>,
    lines: Vec<LineRun>,
    hosts: Vec<Host>,
    gates: Vec<Gate>,
    clock: Clock,
    attempts: u64,
    wake_at: i64,
}

impl Process {
    /// Opens the tape and starts all lines; they read the tape before they open anything.
    pub fn start(o: &mut Outside, setup: &Setup, life: u64, boot: u32) -> Result<Self, TapeError> {
        let tape = Tape::open(Path::new(DIR), setup.tape_config(boot))?;
        let floor = tape.topics().iter().map(|t| t.last_ts_recv.0).max().unwrap_or(0);
        let lanes_count = 1 + o.dice.between(0, 2) as usize;
        let lanes = (0..lanes_count).map(|i| tape.lane(&format!("feed-{i}"))).collect::<Result<Vec<_>, _>>()?;
        let mut clock = Clock::new(o.now, o.wall(), floor);
        let now = clock.now(o.now);
        let doors = &setup.plan.doors;
        let lines = setup.plan.lines.iter().enumerate().map(|(i, spec)| LineRun {
            lane: (i + o.dice.between(0, 2) as usize) % lanes_count,
            host: doors.iter().position(|d| d.name == spec.door).unwrap_or(0),
            state: LineState::Waiting(now),
            restart: Backoff::new(BackoffShape::default()),
            generation: 0,
        });
        let lines = lines.collect();
        let gates = doors.iter().map(|d| Gate::new(d.connects, d.connects_window, BreakerShape::default())).collect();
        let hosts = doors.iter().map(|door| Host {
            queue: Queue::new(
                WeightBudget::new(door.host.bears.weight),
                CircuitBreaker::new(door.host.breaker),
                TokenBucket::new(door.host.snapshot_burst, door.host.snapshot_every),
                door.host.connections_max,
                door.host.wait_max,
            ),
            clock: Clock::new(o.now, o.wall(), 0),
            meter: door.host.bears.meter,
            retry_after: door.host.bears.retry_after,
            next_look: i64::MAX,
        });
        let hosts = hosts.collect();
        Ok(Self {
            tape,
            life,
            fatal: None,
            restarts: 0,
            lanes,
            lines,
            hosts,
            gates,
            clock,
            attempts: life << 32,
            wake_at: i64::MAX,
        })
    }

    pub fn now(&mut self, o: &Outside) -> Ts {
        self.clock.now(o.now)
    }

    pub fn running(&self, line: usize) -> Option<&Running> {
        match &self.lines[line].state {
            LineState::Running(r) => Some(r),
            LineState::Waiting(_) => None,
        }
    }

    /// Topics of all lines, so that a new one is noticed.
    pub fn topics_known(&self) -> u64 {
        let of = |line: usize| self.running(line).map_or(0, |r| r.topics.len() as u64);
        self.life * 1_000 + (0..self.lines.len()).map(of).sum::<u64>()
    }

    /// All lines stop; what remains is the tape.
    pub fn into_tape(self) -> Tape {
        self.tape
    }

    /// Requests that wait for their host's budget.
    pub fn rest_queue_max(&self) -> usize {
        self.hosts.iter().map(|h| h.queue.len()).max().unwrap_or(0)
    }

    /// The slot of a connection, if it is still the one.
    fn slot_of(&self, o: &Outside, id: u64) -> Option<(usize, usize)> {
        let conn = o.conns.get(&id)?;
        let slot = self.running(conn.line)?.slots.get(conn.slot)?;
        matches!(slot.phase, Phase::Open(open) if open == id).then_some((conn.line, conn.slot))
    }

    pub fn on_text(&mut self, o: &mut Outside, id: u64, text: &str) {
        let Some((line, conn)) = self.slot_of(o, id) else { return };
        let now = self.now(o);
        if let LineState::Running(r) = &mut self.lines[line].state {
            r.line.on_frame(conn, now, Frame::Text(text.as_bytes()), &mut r.out);
        }
        self.end_turn(o, line);
    }

    pub fn on_gone(&mut self, o: &mut Outside, id: u64, gone: Gone) {
        if let Some((line, conn)) = self.slot_of(o, id) {
            let cause = match gone {
                Gone::Closed => LinkCause::Closed,
                Gone::NoPong => LinkCause::PingTimeout,
            };
            self.give_up(o, line, conn, cause);
            self.end_turn(o, line);
        }
        o.close(id);
    }

    pub fn on_opened(&mut self, o: &mut Outside, line: usize, conn: usize, attempt: u64, good: bool) {
        let now = self.now(o);
        let draw = fraction(o);
        let gate = self.gates[self.lines[line].host].clone();
        let LineState::Running(r) = &mut self.lines[line].state else { return };
        let slot = &mut r.slots[conn];
        if !matches!(slot.phase, Phase::Opening(a) if a == attempt) {
            return;
        }
        if good {
            gate.on_opened();
            let id = o.opened(line, conn);
            slot.phase = Phase::Open(id);
            slot.subscribed = false;
            r.line.on_open(conn, ConnMeta { number: id as u32 }, now, &mut r.out);
        } else {
            gate.on_failed(now);
            slot.phase = Phase::Waiting(now + slot.backoff.on_down(now, draw));
        }
        self.end_turn(o, line);
    }

    /// Ends a connection and plans the next one.
    fn give_up(&mut self, o: &mut Outside, line: usize, conn: usize, cause: LinkCause) {
        let now = self.now(o);
        let draw = fraction(o);
        let LineState::Running(r) = &mut self.lines[line].state else { return };
        let Phase::Open(id) = r.slots[conn].phase else { return };
        o.cuts += 1;
        r.line.on_closed(conn, now, cause, &mut r.out);
        o.close(id);
        let slot = &mut r.slots[conn];
        let delay = match cause {
            LinkCause::SubscribeRefused => Duration::from_secs(60),
            _ => slot.backoff.on_down(now, draw),
        };
        slot.phase = Phase::Waiting(now + delay);
        slot.subscribed = false;
    }

    pub fn on_answer(&mut self, o: &mut Outside, ask: RestAsk, answer: Answer) {
        if ask.life != self.life {
            return;
        }
        let now = self.now(o);
        let host = &mut self.hosts[ask.host];
        let (host_now, limit) = (host.clock.now(o.now), o.hosts[ask.host].limit);
        host.queue.ended(ask.priority);
        if !matches!(answer, Answer::Timeout) {
            host.queue.heard();
        }
        let failed = FetchFailure::Timeout;
        let later;
        let reply = match &answer {
            Answer::Body { status, body, used } => {
                host.heard_used(host_now, *used, limit);
                if *status >= 500 {
                    host.queue.breaker.on_failure(host_now);
                } else {
                    host.queue.breaker.on_success();
                }
                Reply::Answer { status: *status, body: body.as_bytes() }
            }
            Answer::TryLater { after, used, .. } => {
                host.heard_used(host_now, *used, limit);
                let wait = host.told_to_wait(*after);
                host.queue.budget.on_retry_after(host_now, wait);
                host.queue.breaker.on_success();
                o.told(ask.host, self.life);
                later = FetchFailure::Budget { retry_after: wait };
                Reply::Failed(&later)
            }
            Answer::Timeout => {
                host.queue.breaker.on_failure(host_now);
                Reply::Failed(&failed)
            }
        };
        // A line that began anew asks anew: the answer to its former self goes nowhere.
        if self.lines[ask.line].generation == ask.generation
            && let LineState::Running(r) = &mut self.lines[ask.line].state
        {
            r.line.on_fetched(ask.conn, now, ask.id, reply, &mut r.out);
        }
        self.end_turn(o, ask.line);
        self.start_requests(o, ask.host);
    }

    /// Starts what a host's queue lets go; refuses what would wait too long.
    fn start_requests(&mut self, o: &mut Outside, host_ix: usize) {
        let mut refused = Vec::new();
        let (lines, host) = (&self.lines, &mut self.hosts[host_ix]);
        let now = host.clock.now(o.now);
        host.next_look = i64::MAX;
        loop {
            match host.queue.next(now, |job| lines[job.line].generation != job.generation) {
                Next::Send(Order { weight, priority, job, .. }) => {
                    let Job { line, conn, id, path, generation } = job;
                    let (life, sent) = (self.life, o.now);
                    o.ask(RestAsk { line, conn, id, path, weight, priority, host: host_ix, life, generation, sent });
                }
                Next::Refuse(order, wait) => refused.push((order.job, wait)),
                Next::Wait(wait) => {
                    host.next_look = wait.map_or(i64::MAX, |wait| o.now + wait.as_nanos() as i64);
                    break;
                }
            }
        }
        for (job, retry_after) in refused {
            self.refuse(o, &job, retry_after);
            self.end_turn(o, job.line);
        }
    }

    fn refuse(&mut self, o: &Outside, job: &Job, retry_after: Duration) {
        let now = self.now(o);
        if let LineState::Running(r) = &mut self.lines[job.line].state {
            let failure = FetchFailure::Budget { retry_after };
            r.line.on_fetched(job.conn, now, job.id, Reply::Failed(&failure), &mut r.out);
        }
    }

    /// What the clock brings.
    pub fn on_wake(&mut self, o: &mut Outside, setup: &Setup) {
        if o.now < self.wake_at {
            // Of a moment that was planned before a sooner one was, or of an earlier life.
            return;
        }
        self.look_around(o, setup);
    }

    fn look_around(&mut self, o: &mut Outside, setup: &Setup) {
        self.wake_at = i64::MAX;
        let now = self.now(o);
        for line in 0..self.lines.len() {
            match &mut self.lines[line].state {
                LineState::Waiting(at) if *at <= now => self.start_line(o, setup, line),
                LineState::Waiting(_) => {}
                LineState::Running(r) => {
                    let mut dials = Vec::new();
                    for (conn, slot) in r.slots.iter_mut().enumerate() {
                        if matches!(slot.phase, Phase::Waiting(at) if at <= now) {
                            dials.push(conn);
                        }
                    }
                    let due = r.line.next_timer().is_some_and(|at| at <= now);
                    if due {
                        r.line.on_timer(now, &mut r.out);
                    }
                    let any = due || !dials.is_empty();
                    for conn in dials {
                        self.dial(o, setup, line, conn, now);
                    }
                    if any {
                        self.end_turn(o, line);
                    }
                }
            }
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].next_look <= o.now {
                self.start_requests(o, host);
            }
        }
        self.plan_wake(o);
    }

    fn dial(&mut self, o: &mut Outside, setup: &Setup, line: usize, conn: usize, now: Ts) {
        let passed = self.gates[self.lines[line].host].pass(now);
        let LineState::Running(r) = &mut self.lines[line].state else { return };
        match passed {
            Ok(()) => {
                self.attempts += 1;
                r.slots[conn].phase = Phase::Opening(self.attempts);
                o.dial(line, conn, self.attempts, setup.plan.lines[line].limits.open);
            }
            Err((_, wait)) => {
                let wait = wait.min(Duration::from_secs(300)) + Duration::from_millis(250).mul_f64(fraction(o));
                r.slots[conn].phase = Phase::Waiting(now + wait);
            }
        }
    }

    fn start_line(&mut self, o: &mut Outside, setup: &Setup, line: usize) {
        let now = self.now(o);
        let spec = &setup.plan.lines[line];
        self.lines[line].restart.on_up(now);
        match spec.line(&self.tape) {
            Ok(made) => {
                let members = made.members();
                let slot = |conn: usize| {
                    let wanted = members == 1 || conn % members + 1 < members;
                    let phase = Phase::Waiting(if wanted { now } else { Ts::MAX });
                    Slot { phase, backoff: Backoff::new(spec.backoff), subscribed: false, wanted }
                };
                let slots = (0..made.connections()).map(slot).collect();
                let lane = &self.lanes[self.lines[line].lane];
                self.lines[line].state = LineState::Running(Box::new(Running {
                    line: made,
                    out: LineOut::default(),
                    topics: Vec::new(),
                    segment: lane.segment(),
                    checkpoint_at: now + CHECKPOINT_EVERY,
                    slots,
                }));
                self.on_wake_line(o, setup, line);
            }
            Err(_) => self.line_failed(o, line),
        }
    }

    fn on_wake_line(&mut self, o: &mut Outside, setup: &Setup, line: usize) {
        let now = self.now(o);
        let wanted: Vec<usize> = match self.running(line) {
            Some(r) => (0..r.slots.len()).filter(|c| r.slots[*c].wanted).collect(),
            None => Vec::new(),
        };
        for conn in wanted {
            self.dial(o, setup, line, conn, now);
        }
        self.end_turn(o, line);
    }

    /// The line begins anew from the tape, after a while.
    fn line_failed(&mut self, o: &mut Outside, line: usize) {
        let now = self.now(o);
        let draw = fraction(o);
        self.restarts += 1;
        if let LineState::Running(r) = &self.lines[line].state {
            for slot in &r.slots {
                if let Phase::Open(id) = slot.phase {
                    o.close(id);
                }
            }
        }
        let run = &mut self.lines[line];
        run.generation += 1;
        self.lanes[run.lane].abort();
        let delay = run.restart.on_down(now, draw);
        run.state = LineState::Waiting(now + delay);
    }

    /// The tape's keeper looks; and the workers that have no line in this life turn with their timers, as all do: the tape may
    /// owe marks in their lanes.
    pub fn keep(&mut self) {
        self.tape.check_space();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if !self.lines.iter().any(|l| l.lane == at) && lane.commit().is_err() {
                lane.abort();
            }
        }
    }

    /// Appends, commits once, carries out.
    fn end_turn(&mut self, o: &mut Outside, line: usize) {
        match self.try_turn(o, line) {
            Ok(()) => {}
            Err(TapeError::SyncFailed | TapeError::ReadOnly | TapeError::Closed) => self.fatal = Some(Fatal::Sync),
            Err(_) => self.line_failed(o, line),
        }
        self.plan_wake(o);
    }

    fn try_turn(&mut self, o: &mut Outside, line: usize) -> Result<(), TapeError> {
        loop {
            let now = self.now(o);
            let run = &mut self.lines[line];
            let LineState::Running(r) = &mut run.state else { return Ok(()) };
            let lane = &mut self.lanes[run.lane];
            for topic in &r.line.topics()[r.topics.len()..] {
                r.topics.push(lane.topic(&topic.topic)?);
            }
            for judged in &r.out.rows {
                match lane.append(r.topics[judged.topic as usize], &judged.row(r.out.arena())) {
                    Ok(_) | Err(TapeError::TooLarge { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            let actions = std::mem::take(&mut r.out.actions);
            r.out.clear();
            if actions.is_empty() {
                lane.commit()?;
                let segment = lane.segment();
                if segment == r.segment && now < r.checkpoint_at {
                    return Ok(());
                }
                r.segment = segment;
                r.checkpoint_at = now + CHECKPOINT_EVERY;
                r.line.on_segment(now, &mut r.out);
                continue;
            }
            for action in actions {
                self.carry_out(o, line, action);
            }
        }
    }

    fn carry_out(&mut self, o: &mut Outside, line: usize, action: LineAction) {
        let now = self.now(o);
        let host_ix = self.lines[line].host;
        match action {
            LineAction::Send(conn, text) => {
                if let LineState::Running(r) = &self.lines[line].state
                    && let Phase::Open(id) = r.slots[conn].phase
                {
                    o.send_to_venue(id, text);
                }
            }
            LineAction::Fetch(conn, id, request, priority) => {
                let job = Job { line, conn, id, path: request.path, generation: self.lines[line].generation };
                let host = &mut self.hosts[host_ix];
                let at = host.clock.now(o.now);
                // Looked at when this turn is over.
                host.next_look = o.now;
                if let Err(full) = host.queue.push(Order::new(id.kind, request.weight, priority, job), at) {
                    self.refuse(o, &full.job, Duration::from_secs(1));
                }
            }
            LineAction::Reconnect(conn, cause, _) => self.give_up(o, line, conn, cause),
            LineAction::Stop(conn, _) => self.give_up(o, line, conn, LinkCause::SubscribeRefused),
            LineAction::Subscribed(conn) => {
                if let LineState::Running(r) = &mut self.lines[line].state {
                    r.slots[conn].subscribed = true;
                }
            }
            LineAction::FirstData(conn) => {
                if let LineState::Running(r) = &mut self.lines[line].state {
                    r.slots[conn].backoff.on_up(now);
                }
            }
            _ => {}
        }
    }

    /// Puts the next thing that falls due on the heap.
    fn plan_wake(&mut self, o: &mut Outside) {
        let now = self.now(o);
        let mut due = Ts::MAX;
        for line in &self.lines {
            match &line.state {
                LineState::Waiting(at) => due = due.min(*at),
                LineState::Running(r) => {
                    for slot in &r.slots {
                        if let Phase::Waiting(at) = slot.phase {
                            due = due.min(at);
                        }
                    }
                    due = due.min(r.line.next_timer().unwrap_or(Ts::MAX));
                }
            }
        }
        let due = if due == Ts::MAX { i64::MAX } else { o.now + (due.0 - now.0).max(0) };
        let at = self.hosts.iter().map(|h| h.next_look.max(o.now)).fold(due, i64::min);
        if at < self.wake_at {
            self.wake_at = at;
            o.at(at, Event::Wake);
        }
    }

    /// Begins: everything that waits is looked at.
    pub fn begin(&mut self, o: &mut Outside, setup: &Setup) {
        self.look_around(o, setup);
    }

    pub fn on_sync(&mut self) {
        if self.tape.sync_now().is_err() {
            self.fatal = Some(Fatal::Sync);
        }
    }

    pub fn on_second(&mut self, o: &Outside) {
        self.clock.check(o.now, o.wall());
    }
}

fn fraction(o: &mut Outside) -> f64 {
    o.dice.between(0, 1 << 20) as f64 / f64::from(1 << 20)
}
