//! One simulated venue: its world, its truth, its past, its connections and its faults, under one lock.
//!
//! The lock makes "write before serve" hold: a batch of events is appended to the truth log, then taken into the REST
//! history, then handed to the connections, all before anybody else can look. Nothing awaits while it is held.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::binance::Replay;
use crate::config::{SimConfig, VenueConfig};
use crate::dice::Dice;
use crate::error::SimError;
use crate::event::{Event, Kind, Now};
use crate::faults::{FaultKind, FaultLog, FrameFate, Gate, Injection, Schedule};
use crate::history::History;
use crate::protocol::{self, Protocol, Route, Target, Unknown};
use crate::serve::Weight;
use crate::truth::TruthLog;
use crate::world::{Generator, Recorded, World, recorded_venues};

/// What a connection's task is told to do.
#[derive(Debug)]
pub(crate) enum Out {
    Text(String),
    /// Send nothing for so long; keep listening.
    Stall(u64),
    /// Half a frame, then a reset.
    CutReset(String),
    CutClose,
    /// Closed for a reason, with its code.
    Close(u16, &'static str),
    PlannedClose(String),
}

/// One stream of one connection.
#[derive(Debug, Clone, Copy, Default)]
struct Sub {
    silent: Option<FaultKind>,
    met: bool,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub route: Route,
    pub combined: bool,
    /// When it subscribed and unsubscribed, by the machine's clock, ms; as far as the protocol counts that.
    pub operations: Vec<u64>,
    /// What it asked for of late, by the machine's clock, ms; as far as the protocol counts that.
    pub lately: Vec<(u64, String)>,
    /// Messages that were said to it.
    said: u64,
    subs: BTreeMap<String, Sub>,
    tx: mpsc::Sender<Out>,
    kill: CancellationToken,
}

/// A venue that is being served.
#[derive(Debug)]
pub(crate) struct Venue {
    pub config: VenueConfig,
    pub protocol: &'static dyn Protocol,
    pub name: String,
    pub stop: CancellationToken,
    offset_ms: i64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    protocol: &'static dyn Protocol,
    pub world: World,
    pub history: History,
    /// Shared by the venues of a house.
    pub weight: Arc<Mutex<Weight>>,
    pub gate: Gate,
    pub conns: BTreeMap<u64, Conn>,
    truth: TruthLog,
    faults: Arc<Mutex<FaultLog>>,
    name: String,
    next_conn: u64,
    run_ms: u64,
    ticked: Instant,
    pub frozen: bool,
    /// The log could not be written: nothing new may be served.
    failed: Option<String>,
    step_ms: i64,
    step_back_at_ms: Option<u64>,
    blackhole_until: Option<Instant>,
    offset_ms: i64,
    last_text: String,
    batch: Vec<Event>,
    /// Events since this start.
    pub created: u64,
}

impl Venue {
    /// Opens the truth, makes the world or goes on with it.
    pub fn open(
        mut config: VenueConfig,
        sim: &SimConfig,
        faults: &Arc<Mutex<FaultLog>>,
        stop: CancellationToken,
    ) -> Result<Self, SimError> {
        let recorded = match &config.capture {
            // The recording decides which venue it is of; its name follows unless one was given.
            Some(capture) => {
                let venues = recorded_venues(&capture.file)?;
                // Of a house's several venues the one that is meant.
                match venues.iter().find(|kind| **kind == config.kind).or(venues.first()) {
                    Some(kind) => {
                        config.kind = *kind;
                        Some(World::Streamed(Recorded::open(capture, *kind)?))
                    }
                    None => {
                        let replay = Replay::open(capture)?;
                        config.kind = replay.kind;
                        Some(World::Recorded(replay))
                    }
                }
            }
            None => None,
        };
        let protocol = protocol::of(config.kind);
        let name = config.id();
        let (mut truth, before) = TruthLog::open(Path::new(&sim.data_dir), &name, sim.rotate_bytes)?;
        let run = before.as_ref().map_or(0, |truth| truth.runs) + 1;
        let run_ms = before.as_ref().map_or(0, |truth| truth.run_ms);
        let wall = wall_ns();
        let mut now = Now { run_ms, exchange_ms: (wall / 1_000_000) as i64 + sim.clock.offset_ms, wall_ns: wall };
        // What was before the first start: run time begins with it.
        let past_ms = if before.is_none() { u64::from(config.history_s) * 1_000 } else { 0 };
        let mut past = Vec::new();
        let (world, mode) = match recorded {
            Some(mut world) => {
                let position = before.as_ref().map_or(0, |truth| truth.position);
                match &mut world {
                    World::Recorded(replay) => replay.skip(position),
                    World::Streamed(recorded) => recorded.skip(position),
                    World::Generated(_) => {}
                }
                (world, "capture")
            }
            None if config.kind.is_generated() => {
                let began = Now {
                    run_ms,
                    exchange_ms: now.exchange_ms - past_ms as i64,
                    wall_ns: now.wall_ns - past_ms * 1_000_000,
                };
                let mut generator = Generator::new(&config, sim.seed, before.as_ref(), began)?;
                past = generator.past(began, past_ms);
                (World::Generated(generator), "generate")
            }
            None => return Err(SimError::config(name, "this venue is served from recordings only")),
        };
        if matches!(world, World::Generated(_)) {
            now.run_ms += past_ms;
        }
        let run_ms = now.run_ms;
        truth.header(config.kind.name(), mode, sim.seed, run, wall);
        let symbols = world.symbols();
        symbols.iter().for_each(|symbol| truth.instrument(symbol));
        past.iter().for_each(|(wall_ns, event)| truth.event(*wall_ns, event));
        for symbol in symbols {
            if let Some(book) = world.book(&symbol, usize::MAX) {
                truth.book(&symbol, wall, &book);
            }
        }
        truth.commit(world.position(), run_ms)?;
        lock(faults).set_run(run);
        let mut history = History::new(protocol, &world.symbols(), before, config.limits.history_rows);
        past.iter().for_each(|(_, event)| history.take(event));
        history.keep_snapshots(now, |symbol| world.book(symbol, 5000));
        let mut trouble = sim.faults.clone();
        trouble.per_minute.extend(config.faults_per_minute.iter().map(|(kind, rate)| (*kind, *rate)));
        let schedule = Schedule::new(&trouble, sim.seed.wrapping_add(u64::from(run) - 1), &name, run_ms);
        let inner = Inner {
            protocol,
            world,
            history,
            weight: Arc::new(Mutex::new(Weight::new(protocol.budget(&config)))),
            gate: Gate::new(Dice::new(sim.seed.wrapping_add(u64::from(run)), &format!("{name}/gate")), Some(schedule)),
            conns: BTreeMap::new(),
            truth,
            faults: faults.clone(),
            name: name.clone(),
            next_conn: 1,
            run_ms,
            ticked: Instant::now(),
            frozen: sim.start_frozen,
            failed: None,
            step_ms: 0,
            step_back_at_ms: None,
            blackhole_until: None,
            offset_ms: sim.clock.offset_ms,
            last_text: String::new(),
            batch: Vec::new(),
            created: 0,
        };
        Ok(Self { config, protocol, name, stop, offset_ms: sim.clock.offset_ms, inner: Mutex::new(inner) })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The machine's clock plus the configured offset; steps excluded.
    pub fn wall_ms(&self) -> u64 {
        ((wall_ns() / 1_000_000) as i64 + self.offset_ms).max(0) as u64
    }
}

impl Inner {
    pub fn now(&self) -> Now {
        let wall = wall_ns();
        let exchange_ms = match &self.world {
            World::Generated(_) => (wall / 1_000_000) as i64 + self.offset_ms,
            World::Recorded(replay) => replay.recorded_ms(self.run_ms),
            World::Streamed(recorded) => recorded.recorded_ms(self.run_ms),
        };
        Now { run_ms: self.run_ms, exchange_ms: exchange_ms + self.step_ms, wall_ns: wall }
    }

    /// Lets time pass: new events are made, logged, remembered and handed out.
    pub fn tick(&mut self) {
        let passed = self.ticked.elapsed().as_millis() as u64;
        if passed == 0 {
            return;
        }
        self.ticked += std::time::Duration::from_millis(passed);
        if self.frozen || self.failed.is_some() {
            return;
        }
        self.run_ms += passed;
        self.gate.poll(self.run_ms);
        self.step_clock();
        let now = self.now();
        let mut batch = std::mem::take(&mut self.batch);
        self.world.advance(now, &mut batch);
        self.tell(now, &mut batch);
        self.batch = batch;
        let world = &self.world;
        self.history.keep_snapshots(now, |symbol| world.book(symbol, 5000));
        self.trouble_connections(now);
    }

    /// Log, remember, hand out; in this order.
    fn tell(&mut self, now: Now, batch: &mut Vec<Event>) {
        batch.iter().for_each(|event| self.truth.event(now.wall_ns, event));
        if let Err(error) = self.truth.commit(self.world.position(), self.run_ms) {
            tracing::error!(%error, venue = self.name, "truth not written, so nothing more is served");
            self.failed = Some(error.to_string());
            batch.clear();
            return;
        }
        self.created += batch.len() as u64;
        for event in batch.drain(..) {
            self.history.take(&event);
            self.publish(now, &event);
        }
    }

    /// Stops making events; what is collected is told, what is held is delivered, faults end.
    pub fn freeze(&mut self) {
        if self.frozen {
            return;
        }
        self.tick();
        self.frozen = true;
        for ((conn, _), text) in self.gate.calm() {
            self.push(conn, Out::Text(text));
        }
        lock(&self.weight).forgive();
        self.blackhole_until = None;
        (self.step_ms, self.step_back_at_ms) = (0, None);
        let now = self.now();
        let mut batch = Vec::new();
        self.world.flush(now, &mut batch);
        self.tell(now, &mut batch);
    }

    /// Makes nothing more, and tells nothing of what is collected: like a kill.
    pub fn halt(&mut self) {
        self.frozen = true;
    }

    pub fn resume(&mut self) {
        self.ticked = Instant::now();
        self.frozen = false;
    }

    /// Writes the books as they are now into the truth.
    pub fn write_books(&mut self) -> Result<(), SimError> {
        let wall = wall_ns();
        for symbol in self.world.symbols() {
            if let Some(book) = self.world.book(&symbol, usize::MAX) {
                self.truth.book(&symbol, wall, &book);
            }
        }
        self.truth.commit(self.world.position(), self.run_ms)
    }

    fn publish(&mut self, now: Now, event: &Event) {
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for stream in &event.streams {
            for id in &ids {
                let Some(conn) = self.conns.get_mut(id) else { continue };
                let Some(sub) = conn.subs.get_mut(stream) else { continue };
                if !self.protocol.delivers(conn.route, stream) {
                    continue;
                }
                if let Some(kind) = sub.silent {
                    if !std::mem::replace(&mut sub.met, true) && !self.frozen {
                        self.happened(kind, now, Some(*id), Some(stream), String::new());
                    }
                    continue;
                }
                let text = self.protocol.frame(conn.combined, stream, event);
                let text = self.stamped(*id, text);
                self.deliver(now, *id, stream, event.kind, text);
            }
        }
    }

    fn deliver(&mut self, now: Now, id: u64, stream: &str, kind: Kind, text: String) {
        let fate = if self.frozen {
            FrameFate::Deliver
        } else {
            self.gate.on_frame(id, stream, self.protocol.shows(kind), &text)
        };
        let protocol = self.protocol;
        let ids_of = |text: &str| protocol.ids_of(text);
        match fate {
            FrameFate::Deliver => self.push(id, Out::Text(text)),
            FrameFate::Drop => self.happened(FaultKind::Drop, now, Some(id), Some(stream), ids_of(&text)),
            FrameFate::Twice => {
                self.happened(FaultKind::Duplicate, now, Some(id), Some(stream), ids_of(&text));
                self.push(id, Out::Text(text.clone()));
                self.push(id, Out::Text(text));
            }
            FrameFate::Hold => {}
            FrameFate::ThenHeld(held) => {
                let what = format!("{} after {}", ids_of(&held), ids_of(&text));
                self.happened(FaultKind::Reorder, now, Some(id), Some(stream), what);
                self.push(id, Out::Text(text));
                self.push(id, Out::Text(held));
            }
            FrameFate::AfterGarbage(extra) => {
                self.happened(FaultKind::Garbage, now, Some(id), Some(stream), extra.clone());
                self.push(id, Out::Text(extra));
                self.push(id, Out::Text(text));
            }
            FrameFate::Spoiled => {
                self.happened(FaultKind::BadChecksum, now, Some(id), Some(stream), ids_of(&text));
                self.push(id, Out::Text(protocol.spoiled(&text)));
            }
            FrameFate::Unknown { asked } => match protocol.unknown(stream, &text, asked) {
                Unknown::Instead(other) => {
                    self.happened(FaultKind::UnknownEnum, now, Some(id), Some(stream), ids_of(&text));
                    self.push(id, Out::Text(other));
                }
                Unknown::Before(extra) => {
                    self.happened(FaultKind::UnknownEnum, now, Some(id), Some(stream), extra.clone());
                    self.push(id, Out::Text(extra));
                    self.push(id, Out::Text(text));
                }
                Unknown::After(extra) => {
                    let extra = self.stamped(id, extra);
                    self.happened(FaultKind::UnknownEnum, now, Some(id), Some(stream), extra.clone());
                    self.push(id, Out::Text(text));
                    self.push(id, Out::Text(extra));
                }
            },
        }
    }

    /// The text as it goes to a connection now; from here on it counts as said, whatever becomes of it.
    fn stamped(&mut self, id: u64, text: String) -> String {
        let Some(conn) = self.conns.get_mut(&id) else { return text };
        conn.said += 1;
        self.protocol.stamp(text, id, conn.said - 1)
    }

    /// Says something to a connection, behind all that waits to be sent to it.
    pub fn say(&mut self, id: u64, text: String) {
        let text = self.stamped(id, text);
        self.push(id, Out::Text(text));
    }

    /// Hands a connection something; one that cannot keep up is cut off, as the venue does.
    pub fn push(&mut self, id: u64, out: Out) {
        if let Some(conn) = self.conns.get(&id) {
            if let Out::Text(text) = &out
                && self.last_text.is_empty()
            {
                self.last_text.clone_from(text);
            }
            if conn.tx.try_send(out).is_err() {
                conn.kill.cancel();
                self.forget(id);
            }
        }
    }

    pub fn happened(&self, kind: FaultKind, now: Now, conn: Option<u64>, stream: Option<&str>, what: String) {
        lock(&self.faults).happened(kind, &self.name, now, conn, stream, what);
    }

    fn step_clock(&mut self) {
        if self.step_back_at_ms.is_some_and(|at| self.run_ms >= at) {
            (self.step_ms, self.step_back_at_ms) = (0, None);
        }
        // A step that nobody is connected to see is no fault yet.
        if self.step_back_at_ms.is_none()
            && self.conns.values().any(|conn| !conn.subs.is_empty())
            && let Some(armed) = self.gate.take(FaultKind::ClockStep)
        {
            let size = 500 + self.gate.dice().range(0, 2_500);
            let drawn = if self.gate.dice().chance(0.5) { size } else { -size };
            let step = armed.step_ms.unwrap_or(drawn);
            let before = self.now();
            self.step_ms = step;
            self.step_back_at_ms = Some(self.run_ms + armed.millis.unwrap_or(4_000));
            self.happened(FaultKind::ClockStep, before, None, None, format!("{step} ms"));
        }
    }

    /// Faults that strike a connection as a whole.
    fn trouble_connections(&mut self, now: Now) {
        use FaultKind as K;
        for kind in [K::CutReset, K::CutClose, K::Stall, K::PlannedClose, K::GoSilent] {
            let live: Vec<u64> =
                self.conns.iter().filter(|(_, conn)| !conn.subs.is_empty()).map(|(id, _)| *id).collect();
            if live.is_empty() {
                return;
            }
            let Some(armed) = self.gate.take(kind) else { continue };
            let wanted = |id: &u64| {
                armed.conn.is_none_or(|conn| conn == *id)
                    && armed.stream.as_ref().is_none_or(|stream| self.conns[id].subs.contains_key(stream))
            };
            let fitting: Vec<u64> = live.into_iter().filter(wanted).collect();
            if fitting.is_empty() {
                continue;
            }
            let at = self.gate.dice().index(fitting.len());
            let id = fitting[at];
            match kind {
                K::GoSilent => {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        for (stream, sub) in &mut conn.subs {
                            if armed.stream.as_ref().is_none_or(|wanted| wanted == stream) {
                                *sub = Sub { silent: Some(K::GoSilent), met: false };
                            }
                        }
                    }
                    continue;
                }
                K::Stall => {
                    let millis = armed.millis.unwrap_or(2_000);
                    self.happened(kind, now, Some(id), None, format!("{millis} ms"));
                    self.push(id, Out::Stall(millis));
                    continue;
                }
                K::CutReset => {
                    let text =
                        if self.last_text.is_empty() { "{\"e\":\"half\"}".to_owned() } else { self.last_text.clone() };
                    self.push(id, Out::CutReset(text));
                }
                K::CutClose => self.push(id, Out::CutClose),
                _ => {
                    let text = self.farewell(id);
                    self.push(id, Out::PlannedClose(text));
                }
            }
            self.happened(kind, now, Some(id), None, self.streams_of(id).join(" "));
            // What is created from here on is for nobody on this connection.
            self.forget(id);
        }
    }

    /// The last words before a planned end, in the framing of the connection.
    pub fn farewell(&self, id: u64) -> String {
        let combined = self.conns.get(&id).is_some_and(|conn| conn.combined);
        self.protocol.farewell(combined, self.now().exchange_ms)
    }

    /// True while new connections are to be left hanging; begins when an armed blackhole meets its first one.
    pub fn swallows_connection(&mut self) -> Option<Instant> {
        if self.frozen {
            return None;
        }
        if let Some(until) = self.blackhole_until.filter(|until| Instant::now() < *until) {
            return Some(until);
        }
        let armed = self.gate.take(FaultKind::Blackhole)?;
        let millis = armed.millis.unwrap_or(1_200);
        let until = Instant::now() + std::time::Duration::from_millis(millis);
        self.blackhole_until = Some(until);
        self.happened(FaultKind::Blackhole, self.now(), None, None, format!("{millis} ms"));
        Some(until)
    }

    pub fn connect(&mut self, target: &Target, tx: mpsc::Sender<Out>, kill: CancellationToken) -> u64 {
        let id = self.next_conn;
        self.next_conn += 1;
        let &Target { route, combined, .. } = target;
        let (operations, lately, subs) = (Vec::new(), Vec::new(), BTreeMap::new());
        self.conns.insert(id, Conn { route, combined, operations, lately, said: 0, subs, tx, kill });
        if let Some(text) = self.protocol.greeting() {
            self.say(id, text);
        }
        id
    }

    /// Closes every connection in good order.
    pub fn close_all(&mut self) -> usize {
        let now = self.now();
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for id in &ids {
            self.push(*id, Out::CutClose);
            self.happened(FaultKind::CutClose, now, Some(*id), None, self.streams_of(*id).join(" "));
            self.forget(*id);
        }
        ids.len()
    }

    pub fn forget(&mut self, id: u64) {
        self.conns.remove(&id);
        self.gate.forget(id);
    }

    pub fn subscribe(&mut self, id: u64, stream: &str) {
        let kind = self.protocol.kind_of(stream);
        let silent = (!self.frozen && self.gate.on_subscribe(id, stream, kind)).then_some(FaultKind::AckSilence);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.subs.insert(stream.to_owned(), Sub { silent, met: false });
        }
        let told = silent.is_none() || self.protocol.answers_with_state();
        let rows = if told { self.world.welcome(stream) } else { Vec::new() };
        if !rows.is_empty() {
            self.say(id, self.protocol.welcome(stream, &rows));
        }
    }

    pub fn unsubscribe(&mut self, id: u64, stream: &str) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.subs.remove(stream);
        }
    }

    pub fn streams_of(&self, id: u64) -> Vec<String> {
        self.conns.get(&id).map(|conn| conn.subs.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn inject(&mut self, injection: &Injection) {
        self.gate.inject(injection);
        if injection.kind == FaultKind::ClockStep {
            self.step_clock();
        }
        if injection.kind == FaultKind::IdReset
            && self.gate.take(FaultKind::IdReset).is_some()
            && self.world.reset_ids()
        {
            self.happened(FaultKind::IdReset, self.now(), None, None, String::new());
        }
        self.trouble_connections(self.now());
    }
}

pub(crate) fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A panic elsewhere must not make the venue unreachable: the data behind the lock is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
