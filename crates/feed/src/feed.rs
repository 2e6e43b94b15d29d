//! The whole of it: lines spread over workers, hosts on a worker of their own, one start and one stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use wholetape_model::{Kind, Ts};
use wholetape_tape::{Lane, Tape, TapeError};

use crate::backoff::BackoffShape;
use crate::breaker::BreakerShape;
use crate::crew::Crew;
use crate::error::FeedError;
use crate::follow::{FollowPlan, Follower};
use crate::gate::Gate;
use crate::metrics::Hub;
use crate::rest::{self, HostPlan, HostTask};
use crate::shell::{FeedShared, LineTask};
use crate::spec::LineSpec;
use crate::worker::{
    self, Answer, Asker, Command, ControlError, Controls, Task, TaskError, TaskFuture, Worker, WorkerHandle,
    WorkerParts,
};

/// What is known of a venue's doors: sockets here, REST in `host`.
#[derive(Debug, Clone)]
pub struct VenueDoor {
    /// As in [`LineSpec::door`]: the venue's name, or that of the house whose markets share it.
    pub name: String,
    pub host: HostPlan,
    /// Connection attempts per window.
    pub connects: u32,
    pub connects_window: Duration,
}

/// Everything to run.
#[derive(Debug, Clone, Default)]
pub struct FeedPlan {
    pub lines: Vec<LineSpec>,
    pub doors: Vec<VenueDoor>,
    /// Threads for lines; 0 = one less than there are cores, at least one.
    pub workers: usize,
    /// Between a failed line and its next start.
    pub restart: Option<BackoffShape>,
    /// No socket is opened: lines answer questions and ask over REST alone (`wholetape heal` without a running process).
    pub rest_only: bool,
    /// What the venues list is followed; `None`: what was there at the start stays.
    pub follow: Option<FollowPlan>,
}

impl FeedPlan {
    /// How many workers there will be: never more than lines.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let wanted = if self.workers > 0 { self.workers } else { cores.saturating_sub(1).max(1) };
        wanted.min(self.lines.len()).max(1)
    }
}

pub struct Feed;

/// A running feed.
#[derive(Debug)]
pub struct FeedHandle {
    workers: Vec<Worker>,
    crew: Crew,
    rest: Worker,
    watchdog: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Feed {
    /// Starts all lines. They run until `stop`; then [`FeedHandle::join`].
    ///
    /// Blocks for as long as reading the tape takes, so call it before serving, or from a blocking thread.
    ///
    /// # Errors
    /// [`FeedError`]. Nothing runs then.
    pub fn start(plan: FeedPlan, tape: &Tape, hub: &Hub, stop: CancellationToken) -> Result<FeedHandle, FeedError> {
        Self::start_with(plan, tape, hub, stop, crate::tls::config(&[])?)
    }

    /// As [`Feed::start`], with a TLS configuration of the caller's (tests, private gateways).
    ///
    /// # Errors
    /// As [`Feed::start`].
    pub fn start_with(
        plan: FeedPlan,
        tape: &Tape,
        hub: &Hub,
        stop: CancellationToken,
        tls: Arc<ClientConfig>,
    ) -> Result<FeedHandle, FeedError> {
        for spec in &plan.lines {
            // What cannot be built now could not be built later either; said here, where somebody listens.
            spec.check()?;
        }
        let count = plan.worker_count();
        let homes: Vec<usize> = (0..plan.lines.len()).map(|i| i % count).collect();
        move_topics(tape, &plan.lines, &homes)?;
        let stop = stop.child_token();
        let shared = Arc::new(FeedShared {
            tape: tape.clone(),
            tls: tls.clone(),
            numbers: AtomicU32::new(last_number(tape)?),
            rest_only: plan.rest_only,
        });

        let mut hosts = BTreeMap::new();
        let mut gates = BTreeMap::new();
        let mut host_tasks: Vec<Box<dyn Task>> = Vec::new();
        // Requests of a stopping line may still be answered, so hosts stop after the lines.
        let rest_stop = CancellationToken::new();
        for door in plan.doors {
            let (handle, task) = rest::host(door.host, tls.clone(), hub, rest_stop.clone());
            hosts.insert(door.name.clone(), handle);
            host_tasks.push(Box::new(HostRunner { name: format!("rest-{}", door.name), task: Some(task) }));
            gates.insert(door.name, Gate::new(door.connects, door.connects_window, BreakerShape::default()));
        }
        let rest = Worker::spawn(WorkerParts { tasks: host_tasks, ..WorkerParts::new("rest", hub, &rest_stop) })?;

        let floor = tape.topics().iter().map(|t| t.last_ts_recv).max().unwrap_or(Ts::ZERO);
        let mut workers: Vec<Worker> = Vec::new();
        let asker = Asker::default();
        let mut recorded = Vec::new();
        let raw = plan.lines.iter().any(|l| l.raw);
        let mut tasks: Vec<Vec<Box<dyn Task>>> = (0..count).map(|_| Vec::new()).collect();
        for (spec, home) in plan.lines.into_iter().zip(&homes) {
            let Some(gate) = gates.get(&spec.door).cloned() else {
                return Err(abandon(workers, rest, &stop, &rest_stop, FeedError::NoWorker { line: spec.name }));
            };
            recorded.push((spec.name.clone(), spec.instruments.clone(), *home));
            tasks[*home].push(Box::new(LineTask { spec: Arc::new(spec), shared: shared.clone(), gate }));
        }
        for (i, tasks) in tasks.into_iter().enumerate() {
            let started = lanes(tape, i, raw).map_err(FeedError::from).and_then(|(lane, raw)| {
                let parts = WorkerParts::new(&lane_name(i), hub, &stop);
                let restart = plan.restart.unwrap_or(parts.restart);
                Worker::spawn(WorkerParts {
                    lane: Some(lane),
                    raw,
                    hosts: hosts.clone(),
                    tasks,
                    restart,
                    floor,
                    ..parts
                })
            });
            match started {
                Ok(worker) => workers.push(worker),
                Err(error) => return Err(abandon(workers, rest, &stop, &rest_stop, error)),
            }
        }
        let pulses = workers.iter().chain([&rest]).map(|w| (w.name().to_owned(), w.pulse().clone())).collect();
        let watchdog = match worker::watchdog(pulses, hub) {
            Ok(thread) => thread,
            Err(source) => {
                let error = FeedError::Spawn { worker: "watchdog".into(), source };
                return Err(abandon(workers, rest, &stop, &rest_stop, error));
            }
        };
        for (line, instruments, home) in recorded {
            if let Some(controls) = workers[home].controls(&line) {
                asker.learn(&line, controls, &instruments);
            }
        }
        let hiring = workers.iter().map(Worker::hiring).collect();
        let crew = Crew::new(asker, hiring, shared, gates, hosts);
        if let Some(follow) = plan.follow.filter(|_| !plan.rest_only) {
            // Beside the hosts: a list of thousands is read without a line having to wait for it.
            if let Err(error) = rest.hiring().join(Box::new(Follower::new(follow, crew.clone()))) {
                return Err(abandon(workers, rest, &stop, &rest_stop, error));
            }
        }
        Ok(FeedHandle { workers, crew, rest, watchdog: Some(watchdog), stop })
    }
}

fn abandon(
    workers: Vec<Worker>,
    rest: Worker,
    stop: &CancellationToken,
    rest_stop: &CancellationToken,
    error: FeedError,
) -> FeedError {
    stop.cancel();
    rest_stop.cancel();
    workers.into_iter().chain([rest]).for_each(Worker::join);
    error
}

fn lane_name(worker: usize) -> String {
    format!("feed-{worker}")
}

fn lanes(tape: &Tape, worker: usize, raw: bool) -> Result<(Lane, Option<Lane>), TapeError> {
    let lane = tape.lane(&lane_name(worker))?;
    let raw = if raw { Some(tape.lane(&format!("raw-{worker}"))?) } else { None };
    Ok((lane, raw))
}

/// Lines may have moved to other workers since the last run: their topics move to the new lane, one lane at a time, while
/// no other has a writer that would hold on to them.
fn move_topics(tape: &Tape, lines: &[LineSpec], homes: &[usize]) -> Result<(), FeedError> {
    for (spec, home) in lines.iter().zip(homes) {
        let mut subjects: BTreeSet<String> = spec.instruments.iter().map(|i| i.as_str().to_owned()).collect();
        subjects.insert(spec.name.clone());
        subjects.insert(format!("{}.frames", spec.name));
        let mut moved: BTreeMap<String, Vec<wholetape_model::Topic>> = BTreeMap::new();
        for state in tape.topics() {
            let subject = state.topic.as_str().split_once('.').map_or("", |(_, s)| s);
            if !subjects.contains(subject) {
                continue;
            }
            // Only what feeds write: a gateway's or a derived topic of the same instrument stays where it is.
            let prefix = match () {
                () if state.lane.starts_with("feed-") => "feed",
                () if state.lane.starts_with("raw-") => "raw",
                () => continue,
            };
            let wanted = format!("{prefix}-{home}");
            if state.lane != wanted {
                moved.entry(wanted).or_default().push(state.topic);
            }
        }
        for (name, topics) in moved {
            let mut lane = tape.lane(&name)?;
            for topic in &topics {
                lane.topic(topic)?;
            }
            lane.commit()?;
        }
    }
    Ok(())
}

/// The highest connection number that the tape has seen, so that none is given twice in an epoch.
fn last_number(tape: &Tape) -> Result<u32, TapeError> {
    let mut last = 0;
    for state in tape.topics().into_iter().filter(|t| t.topic.kind() == Kind::Link) {
        // Numbers rise, but connections of one line interleave: a few records back is enough to meet the highest.
        for record in tape.last_records(&state.topic, 64)? {
            last = last.max(record.record().conn());
        }
    }
    // A number that was given and whose rows all were lost with a crash is not met above.
    Ok(if last == 0 { 0 } else { last.saturating_add(16) })
}

impl FeedHandle {
    /// The names of all lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.crew.asker().lines()
    }

    /// Asks a line; the answer repeats `correlation`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ask(&self, line: &str, correlation: &str, command: Command) -> Result<Answer, ControlError> {
        self.crew.asker().ask(line, correlation, command, Duration::from_secs(5)).await
    }

    /// Asks lines without holding this handle.
    #[must_use]
    pub fn asker(&self) -> Asker {
        self.crew.asker().clone()
    }

    /// Workers that give no sign of life just now.
    #[must_use]
    pub fn stuck(&self) -> Vec<&str> {
        self.workers.iter().chain([&self.rest]).filter(|w| w.pulse().is_stuck()).map(Worker::name).collect()
    }

    /// Why a worker gave up for good. The feed stops then.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.workers.iter().chain([&self.rest]).find_map(Worker::fatal)
    }

    /// Told when the feed stops, by whoever: the caller, or a worker that cannot go on.
    #[must_use]
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops all lines and waits for them, `grace` at most. Lanes are committed then and free again.
    ///
    /// Blocks; call it from a blocking thread when on a runtime.
    ///
    /// # Errors
    /// The names of workers that did not end in time; their threads are left to themselves.
    pub fn join(mut self, grace: Duration) -> Result<(), Vec<String>> {
        self.stop.cancel();
        let until = Instant::now() + grace;
        let mut late = Vec::new();
        for worker in std::mem::take(&mut self.workers) {
            late.extend(end(worker, until));
        }
        self.rest.tell_stop();
        late.extend(end(self.rest, until.max(Instant::now() + Duration::from_secs(1))));
        if let Some(watchdog) = self.watchdog.take()
            && late.is_empty()
        {
            let _ = watchdog.join();
        }
        if late.is_empty() { Ok(()) } else { Err(late) }
    }
}

fn end(worker: Worker, until: Instant) -> Option<String> {
    while !worker.is_done() {
        if Instant::now() >= until {
            return Some(worker.name().to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.join();
    None
}

/// A host as a task of the REST worker.
struct HostRunner {
    name: String,
    task: Option<HostTask>,
}

impl Task for HostRunner {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, _handle: WorkerHandle, controls: Controls) -> TaskFuture {
        let task = self.task.take();
        let name = self.name.clone();
        Box::pin(async move {
            // Its queue went with the panic; nothing can be asked any more, and that is said.
            let Some(task) = task else { return Err(TaskError::Fatal(format!("{name} lost its queue"))) };
            let mut running = std::pin::pin!(task.run());
            loop {
                tokio::select! {
                    () = &mut running => return Ok(()),
                    control = controls.recv() => control.answer(Ok(format!("{{\"host\":\"{name}\"}}"))),
                }
            }
        })
    }
}
