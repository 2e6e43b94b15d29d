//! Workers: one thread, one current-thread runtime, one tape lane each; lines run on them as tasks and reach nothing but
//! their [`WorkerHandle`].
//!
//! Promised: a task that panics or fails drops its uncommitted batch and restarts alone, with jittered backoff, from its
//! lane; its siblings never notice. A task that never yields is found by the [`watchdog`] within a second or so and
//! named; workers are threads of their own, so lines elsewhere keep their sequence and their speed.
//!
//! Not promised: a loop that never yields cannot be taken off its thread from outside (Rust has no safe way to do so), so
//! lines on the *same* worker wait until it ends, and its lane stays taken. Lines bound their work per turn for that reason.
//!
//! Invariant: the lane's batch is empty at every `.await` of every task. So what a panic leaves in it is the panicking
//! task's own, and `Lane::abort` drops nothing of others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wholetape_model::{InstrumentId, Ts};
use wholetape_tape::Lane;

use crate::backoff::{Backoff, BackoffShape};
use crate::clock::{self, Clock};
use crate::error::FeedError;
use crate::fold::{Fold, Folded};
use crate::metrics::{FLUSH_EVERY, Hub, Local};
use crate::rest::HostHandle;

/// Control messages that may wait for one task; a full channel is answered with [`ControlError::Busy`].
const CONTROLS_MAX: usize = 64;
/// Repeated log lines are folded over this long.
const FOLD_EVERY: Duration = Duration::from_secs(10);
/// A worker without a pulse for this long is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How a task ended.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It begins anew.
    #[error("{0}")]
    Failed(String),
    /// Nothing can go on: the tape refuses everything.
    #[error("{0}")]
    Fatal(String),
}

pub type TaskFuture = Pin<Box<dyn Future<Output = Result<(), TaskError>>>>;

/// What a worker runs. `start` is called again after each failure.
pub trait Task: Send + 'static {
    fn name(&self) -> &str;
    fn start(&mut self, handle: WorkerHandle, controls: Controls) -> TaskFuture;
    /// It was restarted, `delay` from now; `why` says what happened.
    fn on_restart(&mut self, _handle: &WorkerHandle, _why: &str, _attempt: u32, _delay: Duration) {}
}

/// What may be asked of a running task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Status,
    /// Give up a connection (`None`: all) and open anew.
    Reconnect(Option<usize>),
    /// Close all connections until `Resume`.
    Pause,
    Resume,
    /// Send a text over a connection, as a user.
    Send(usize, String),
    /// Make a stretch of an instrument's trades whole.
    Backfill(Box<crate::line::Order>),
    /// How far an order (instrument, number) is; one JSON object.
    BackfillProgress(String, u64),
    BackfillCancel(String, u64),
    /// The venue does not list this instrument any more.
    Delist(String),
    /// Rows of the archive for one topic; the answer is one JSON object, or [`BEHIND`](crate::shell::late::BEHIND).
    Late(Box<crate::line::late::Late>),
}

/// A question with its id; the answer repeats the id.
#[derive(Debug)]
pub struct Control {
    pub correlation: String,
    pub command: Command,
    reply: oneshot::Sender<Answer>,
}

impl Control {
    pub fn answer(self, result: Result<String, String>) {
        let _ = self.reply.send(Answer { correlation: self.correlation, result });
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub correlation: String,
    /// Text or JSON for people, or why not.
    pub result: Result<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("no task is called {0}")]
    Unknown(String),
    #[error("{0} has too many questions waiting")]
    Busy(String),
    #[error("{0} has ended")]
    Ended(String),
    #[error("{0} gave no answer in time")]
    Timeout(String),
}

/// A task's questions. Outlives restarts.
#[derive(Debug, Clone)]
pub struct Controls(Rc<RefCell<mpsc::Receiver<Control>>>);

impl Controls {
    /// The next question; pending for ever when nobody can ask any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn recv(&self) -> Control {
        poll_fn(|cx| match self.0.borrow_mut().poll_recv(cx) {
            std::task::Poll::Ready(Some(control)) => std::task::Poll::Ready(control),
            _ => std::task::Poll::Pending,
        })
        .await
    }
}

/// All that a line reaches: lane, hosts, metrics, log, clock. Control comes beside it.
#[derive(Debug, Clone)]
pub struct WorkerHandle(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    worker: String,
    lane: Option<RefCell<Lane>>,
    raw: Option<RefCell<Lane>>,
    hosts: BTreeMap<String, HostHandle>,
    metrics: RefCell<Local>,
    log: RefCell<Fold>,
    clock: Clock,
    /// How many wall clock steps there were, and the last one, ns.
    steps: Cell<(u64, i64)>,
    stop: CancellationToken,
}

/// How loud a line in the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Flow,
    Recoverable,
    Failure,
}

impl WorkerHandle {
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.0.worker
    }

    /// The lane. Not to be held across an `.await`, and its batch is committed before the next one.
    ///
    /// # Panics
    /// When this worker has no lane, or while it is borrowed already.
    #[must_use]
    pub fn lane(&self) -> std::cell::RefMut<'_, Lane> {
        self.0.lane.as_ref().expect("tasks that write run on workers with a lane").borrow_mut()
    }

    /// The sibling lane for raw frames, where kept.
    #[must_use]
    pub fn raw(&self) -> Option<std::cell::RefMut<'_, Lane>> {
        self.0.raw.as_ref().map(RefCell::borrow_mut)
    }

    #[must_use]
    pub fn host(&self, name: &str) -> Option<&HostHandle> {
        self.0.hosts.get(name)
    }

    /// This worker's counters.
    ///
    /// # Panics
    /// While borrowed already.
    #[must_use]
    pub fn metrics(&self) -> std::cell::RefMut<'_, Local> {
        self.0.metrics.borrow_mut()
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// How many steps of the wall clock there were, and by how much the last one went, ns.
    #[must_use]
    pub fn clock_steps(&self) -> (u64, i64) {
        self.0.steps.get()
    }

    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// One line for people; repeats are folded with a count.
    pub fn log(&self, level: Level, target: &str, kind: &'static str, text: impl FnOnce() -> String) {
        let folded = self.0.log.borrow_mut().note(self.0.clock.now(), target, kind, text);
        if let Some(folded) = folded {
            write_log(level, &folded);
        }
    }
}

fn write_log(level: Level, folded: &Folded) {
    let Folded { target, kind, text, count } = folded;
    match level {
        Level::Flow => tracing::debug!(on = %target, kind, count, "{text}"),
        Level::Recoverable => tracing::warn!(on = %target, kind, count, "{text}"),
        Level::Failure => tracing::error!(on = %target, kind, count, "{text}"),
    }
}

/// A worker's sign of life, written by it and read by the watchdog. Once per flush, so it costs nothing.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    stuck: AtomicBool,
    ended: AtomicBool,
}

impl Pulse {
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// What a worker is made of.
pub struct WorkerParts {
    pub name: String,
    pub lane: Option<Lane>,
    pub raw: Option<Lane>,
    pub hosts: BTreeMap<String, HostHandle>,
    pub tasks: Vec<Box<dyn Task>>,
    pub hub: Hub,
    pub stop: CancellationToken,
    /// Between a task's failure and its next start.
    pub restart: BackoffShape,
    /// The newest receive time that the lane holds.
    pub floor: Ts,
}

impl WorkerParts {
    #[must_use]
    pub fn new(name: &str, hub: &Hub, stop: &CancellationToken) -> Self {
        Self {
            name: name.into(),
            lane: None,
            raw: None,
            hosts: BTreeMap::new(),
            tasks: Vec::new(),
            hub: hub.clone(),
            stop: stop.clone(),
            restart: BackoffShape::default(),
            floor: Ts::ZERO,
        }
    }
}

/// Asks lines from anywhere; outlives no worker and keeps none alive. Clones know of lines that come later.
#[derive(Debug, Clone, Default)]
pub struct Asker(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    tasks: BTreeMap<String, mpsc::Sender<Control>>,
    /// Which line records an instrument.
    instruments: BTreeMap<String, String>,
}

impl Asker {
    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task, and the instruments that it records.
    pub(crate) fn learn(&self, task: &str, controls: mpsc::Sender<Control>, instruments: &[InstrumentId]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.tasks.insert(task.to_owned(), controls);
        known.instruments.extend(instruments.iter().map(|id| (id.as_str().to_owned(), task.to_owned())));
    }

    /// The names of all lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.known().tasks.keys().cloned().collect()
    }

    /// The line of an instrument.
    #[must_use]
    pub fn line_of(&self, instrument: &str) -> Option<String> {
        self.known().instruments.get(instrument).cloned()
    }

    /// Asks a line and waits for its answer, `patience` at most.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ask(
        &self,
        task: &str,
        correlation: &str,
        command: Command,
        patience: Duration,
    ) -> Result<Answer, ControlError> {
        let controls = self.known().tasks.get(task).cloned().ok_or_else(|| ControlError::Unknown(task.into()))?;
        let (reply, answer) = oneshot::channel();
        controls.try_send(Control { correlation: correlation.into(), command, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ControlError::Busy(task.into()),
            mpsc::error::TrySendError::Closed(_) => ControlError::Ended(task.into()),
        })?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(ControlError::Ended(task.into())),
            Err(_) => Err(ControlError::Timeout(task.into())),
        }
    }
}

/// A task that joins a running worker, and its questions.
type Joining = (Box<dyn Task>, mpsc::Receiver<Control>);

/// Brings tasks to a running worker; keeps none alive.
#[derive(Debug, Clone)]
pub struct Hiring {
    worker: String,
    joining: mpsc::UnboundedSender<Joining>,
}

impl Hiring {
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Starts `task` beside the worker's others; what may be asked of it goes to the sender.
    ///
    /// # Errors
    /// [`FeedError::NoWorker`]: the worker has ended.
    pub fn join(&self, task: Box<dyn Task>) -> Result<mpsc::Sender<Control>, FeedError> {
        let (controls, inbox) = mpsc::channel(CONTROLS_MAX);
        let name = task.name().to_owned();
        self.joining.send((task, inbox)).map_err(|_| FeedError::NoWorker { line: name })?;
        Ok(controls)
    }
}

/// A running worker, seen from outside.
#[derive(Debug)]
pub struct Worker {
    name: String,
    controls: BTreeMap<String, mpsc::Sender<Control>>,
    hiring: Hiring,
    pulse: Arc<Pulse>,
    fatal: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread and all its tasks.
    ///
    /// # Errors
    /// [`FeedError::Spawn`].
    pub fn spawn(parts: WorkerParts) -> Result<Self, FeedError> {
        let (name, stop) = (parts.name.clone(), parts.stop.clone());
        let failed = |source| FeedError::Spawn { worker: name.clone(), source };
        let mut controls = BTreeMap::new();
        let mut inboxes = Vec::new();
        for task in &parts.tasks {
            let (tx, rx) = mpsc::channel(CONTROLS_MAX);
            controls.insert(task.name().to_owned(), tx);
            inboxes.push(rx);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (pulse, fatal) = (Arc::new(Pulse::default()), Arc::new(Mutex::new(None)));
        let (beat, report) = (pulse.clone(), fatal.clone());
        let (joining, joins) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("wt-{name}"))
            .spawn(move || {
                LocalSet::new().block_on(&runtime, run(parts, inboxes, joins, &beat, &report));
                beat.ended.store(true, Ordering::Relaxed);
            })
            .map_err(failed)?;
        let hiring = Hiring { worker: name.clone(), joining };
        Ok(Self { name, controls, hiring, pulse, fatal, stop, thread: Some(thread) })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Where a task's questions go.
    #[must_use]
    pub(crate) fn controls(&self, task: &str) -> Option<mpsc::Sender<Control>> {
        self.controls.get(task).cloned()
    }

    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.controls.keys().map(String::as_str)
    }

    /// Why the worker gave up for good, if it did.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks its tasks without holding the worker; it knows of no instruments.
    #[must_use]
    pub fn asker(&self) -> Asker {
        let asker = Asker::default();
        for (task, controls) in &self.controls {
            asker.learn(task, controls.clone(), &[]);
        }
        asker
    }

    /// Brings tasks to it without holding it.
    #[must_use]
    pub fn hiring(&self) -> Hiring {
        self.hiring.clone()
    }

    /// Tells all its tasks to stop.
    pub fn tell_stop(&self) {
        self.stop.cancel();
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread, which ends once all its tasks have.
    ///
    /// A worker that is stuck for ever would hold us as long, so the caller bounds the wait with [`Worker::is_done`].
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(worker = %self.name, "worker ended with a panic");
        }
    }
}

/// Watches the pulses of workers from a thread of its own, until `stop` and all have ended.
pub fn watchdog(pulses: Vec<(String, Arc<Pulse>)>, hub: &Hub) -> std::io::Result<JoinHandle<()>> {
    let mut local = hub.local();
    std::thread::Builder::new().name("wt-watchdog".into()).spawn(move || {
        let gauges: Vec<_> = pulses
            .iter()
            .map(|(name, _)| {
                local.gauge("feed_worker_stuck", "1 while a worker gives no sign of life", &[("worker", name)])
            })
            .collect();
        let mut last: Vec<(u64, std::time::Instant)> =
            pulses.iter().map(|(_, p)| (p.beats(), std::time::Instant::now())).collect();
        loop {
            std::thread::sleep(STUCK_AFTER / 4);
            if pulses.iter().all(|(_, p)| p.ended.load(Ordering::Relaxed)) {
                return;
            }
            for (i, (name, pulse)) in pulses.iter().enumerate() {
                let beats = pulse.beats();
                let ended = pulse.ended.load(Ordering::Relaxed);
                if beats != last[i].0 || ended {
                    last[i] = (beats, std::time::Instant::now());
                    if pulse.stuck.swap(false, Ordering::Relaxed) {
                        tracing::warn!(worker = %name, "worker is back");
                    }
                } else if last[i].1.elapsed() > STUCK_AFTER && !pulse.stuck.swap(true, Ordering::Relaxed) {
                    tracing::error!(worker = %name, "worker gives no sign of life: a task on it never yields");
                }
                local.set(gauges[i], f64::from(u8::from(pulse.is_stuck())));
            }
            local.flush();
        }
    })
}

async fn run(
    parts: WorkerParts,
    inboxes: Vec<mpsc::Receiver<Control>>,
    mut joins: mpsc::UnboundedReceiver<Joining>,
    pulse: &Pulse,
    fatal: &Mutex<Option<String>>,
) {
    let WorkerParts { name, lane, raw, hosts, tasks, hub, stop, restart, floor } = parts;
    let handle = WorkerHandle(Rc::new(Shared {
        worker: name.clone(),
        lane: lane.map(RefCell::new),
        raw: raw.map(RefCell::new),
        hosts,
        metrics: RefCell::new(hub.local()),
        log: RefCell::new(Fold::new(FOLD_EVERY)),
        clock: Clock::new(clock::wall(), floor),
        steps: Cell::new((0, 0)),
        stop: stop.clone(),
    }));
    let mut running: tokio::task::JoinSet<Result<(), String>> = tokio::task::JoinSet::new();
    let supervised = |(task, inbox): Joining| {
        let controls = Controls(Rc::new(RefCell::new(inbox)));
        supervise(task, handle.clone(), controls, restart)
    };
    for joining in tasks.into_iter().zip(inboxes) {
        running.spawn_local(supervised(joining));
    }
    let mut beat = tokio::time::interval(FLUSH_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beats = 0_u64;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                pulse.beats.fetch_add(1, Ordering::Relaxed);
                beats += 1;
                on_beat(&handle, beats.is_multiple_of(10));
            }
            Some(joining) = joins.recv() => {
                running.spawn_local(supervised(joining));
            }
            ended = running.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(why))) => {
                    *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    stop.cancel();
                }
                // The supervisor itself holds no outside input.
                Some(Err(error)) => {
                    *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                    stop.cancel();
                }
                None => break,
            },
        }
    }
    on_beat(&handle, false);
    for folded in handle.0.log.borrow_mut().flush(Ts::MAX) {
        write_log(Level::Recoverable, &folded);
    }
}

fn on_beat(handle: &WorkerHandle, second: bool) {
    handle.metrics().flush();
    if !second {
        return;
    }
    for folded in handle.0.log.borrow_mut().flush(handle.clock().now()) {
        write_log(Level::Recoverable, &folded);
    }
    if let Some(step) = handle.clock().check(clock::wall()) {
        let (count, _) = handle.0.steps.get();
        handle.0.steps.set((count + 1, step.by_ns));
        tracing::warn!(worker = handle.worker(), by_ns = step.by_ns, "the wall clock was set");
    }
}

/// Runs one task to its end, again after each failure. `Err` when nothing can go on.
async fn supervise(
    mut task: Box<dyn Task>,
    handle: WorkerHandle,
    controls: Controls,
    restart: BackoffShape,
) -> Result<(), String> {
    let name = task.name().to_owned();
    let mut backoff = Backoff::new(restart);
    loop {
        let starting = (handle.clone(), controls.clone());
        backoff.on_up(handle.clock().now());
        // In a task of its own, so that a panic ends there; `start` is called inside for the same reason.
        let back = Rc::new(RefCell::new(None));
        let slot = back.clone();
        let joined = tokio::task::spawn_local(async move {
            let future = {
                let mut task = Returning { task: Some(task), slot };
                task.start(starting.0, starting.1)
            };
            future.await
        });
        let result = Abort(joined).await;
        task = match back.borrow_mut().take() {
            Some(task) => task,
            None => return Err(format!("{name} was lost")),
        };
        let why = match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(TaskError::Fatal(why))) => return Err(format!("{name}: {why}")),
            Ok(Err(TaskError::Failed(why))) => why,
            Err(error) => panic_text(error),
        };
        if let Some(lane) = &handle.0.lane {
            lane.borrow_mut().abort();
        }
        if let Some(raw) = &handle.0.raw {
            raw.borrow_mut().abort();
        }
        let delay = backoff.on_down(handle.clock().now(), rand::random::<f64>());
        let attempt = backoff.failures();
        {
            let mut metrics = handle.metrics();
            let help = "tasks that failed or panicked and began anew";
            let id = metrics.counter("feed_task_restarts_total", help, &[("task", &name)]);
            metrics.add(id, 1);
        }
        tracing::error!(task = %name, attempt, delay = ?delay, "{why}; begins anew");
        if handle.stop().is_cancelled() {
            return Ok(());
        }
        task.on_restart(&handle, &why, attempt, delay);
        let until = tokio::time::Instant::now() + delay;
        loop {
            tokio::select! {
                biased;
                () = handle.stop().cancelled() => return Ok(()),
                () = tokio::time::sleep_until(until) => break,
                control = controls.recv() => control.answer(Err(format!("{name} restarts: {why}"))),
            }
        }
    }
}

/// Gives the task back to its supervisor, also when `start` panics.
struct Returning {
    task: Option<Box<dyn Task>>,
    slot: Rc<RefCell<Option<Box<dyn Task>>>>,
}

impl Returning {
    fn start(&mut self, handle: WorkerHandle, controls: Controls) -> TaskFuture {
        self.task.as_mut().expect("held until dropped").start(handle, controls)
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        *self.slot.borrow_mut() = self.task.take();
    }
}

/// A join handle whose task goes when the waiter goes.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Future for Abort<T> {
    type Output = Result<T, tokio::task::JoinError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            format!("panicked: {}", text.unwrap_or_else(|| "without words".into()))
        }
        Err(error) => error.to_string(),
    }
}
