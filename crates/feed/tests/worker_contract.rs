//! What every kind of worker promises, asked of each kind by the same tests: the workers of lines (with a tape lane) and
//! the worker of REST hosts and other helpers (without).

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::RestServer;
use tokio_util::sync::CancellationToken;
use wholetape_feed::backoff::BackoffShape;
use wholetape_feed::endpoint::{Endpoint, Scheme};
use wholetape_feed::line::Priority;
use wholetape_feed::rest::{Fetched, HostHandle, HostPlan, host};
use wholetape_feed::worker::{
    Command, ControlError, Controls, Level, Task, TaskError, TaskFuture, Worker, WorkerHandle, WorkerParts, watchdog,
};
use wholetape_feed::{Hub, LatencyTracker};
use wholetape_model::{Body, Kind, Raw, Row, RowFlags, Scales, Topic};
use wholetape_tape::{Tape, TapeConfig};
use wholetape_venue::{FetchFailure, FetchKind, Request};

const MS: Duration = Duration::from_millis(1);

/// A kind of worker: how it is made. The contract knows nothing else.
trait WorkerKind {
    const NAME: &'static str;
    fn parts(&self, name: &str, hub: &Hub, stop: &CancellationToken) -> WorkerParts;
    /// What a task of this kind does per event, so that "leaves the others alone" means something.
    fn act(handle: &WorkerHandle, topic: &Topic, n: u64) -> Result<u64, String>;
}

/// Runs lines: has a lane of the tape.
struct LineWorker {
    tape: Tape,
    _dir: tempfile::TempDir,
}

impl LineWorker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { tape: Tape::open(dir.path(), TapeConfig::default()).unwrap(), _dir: dir }
    }
}

impl WorkerKind for LineWorker {
    const NAME: &'static str = "line worker";

    fn parts(&self, name: &str, hub: &Hub, stop: &CancellationToken) -> WorkerParts {
        WorkerParts { lane: Some(self.tape.lane(name).unwrap()), ..WorkerParts::new(name, hub, stop) }
    }

    fn act(handle: &WorkerHandle, topic: &Topic, n: u64) -> Result<u64, String> {
        let now = handle.clock().now();
        let text = n.to_string();
        let body = Body::Raw(Raw { channel: "", text: &text });
        let row = Row {
            ts_event: now,
            ts_recv: now,
            conn: 1,
            frame: 0,
            flags: RowFlags::default(),
            scales: Scales::default(),
            body,
        };
        let mut lane = handle.lane();
        let no = lane.topic(topic).map_err(|e| e.to_string())?;
        let seq = lane.append(no, &row).map_err(|e| e.to_string())?;
        lane.commit().map_err(|e| e.to_string())?;
        Ok(seq)
    }
}

/// Runs hosts and helpers: no lane.
struct PlainWorker(AtomicU64);

impl WorkerKind for PlainWorker {
    const NAME: &'static str = "plain worker";

    fn parts(&self, name: &str, hub: &Hub, stop: &CancellationToken) -> WorkerParts {
        self.0.fetch_add(1, Ordering::Relaxed);
        WorkerParts::new(name, hub, stop)
    }

    fn act(_handle: &WorkerHandle, _topic: &Topic, n: u64) -> Result<u64, String> {
        Ok(n)
    }
}

type Act = fn(&WorkerHandle, &Topic, u64) -> Result<u64, String>;

/// Counts events at a steady pace, and notes seqs and how late each turn was.
struct Steady {
    name: String,
    act: Act,
    seen: Arc<Mutex<(Vec<u64>, LatencyTracker)>>,
}

impl Task for Steady {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, handle: WorkerHandle, controls: Controls) -> TaskFuture {
        let (act, seen, topic) = (self.act, self.seen.clone(), Topic::about(Kind::Raw, &self.name));
        let name = self.name.clone();
        Box::pin(async move {
            let id = handle.metrics().counter("contract_events_total", "events", &[("task", &name)]);
            let mut n = 0;
            let mut tick = tokio::time::interval(2 * MS);
            loop {
                tokio::select! {
                    biased;
                    () = handle.stop().cancelled() => return Ok(()),
                    control = controls.recv() => control.answer(Ok(format!("{n} events"))),
                    due = tick.tick() => {
                        n += 1;
                        let seq = act(&handle, &topic, n).map_err(TaskError::Failed)?;
                        handle.metrics().add(id, 1);
                        let mut seen = seen.lock().unwrap();
                        seen.0.push(seq);
                        seen.1.record(due.elapsed().as_nanos() as u64);
                    }
                }
            }
        })
    }
}

/// Misbehaves when told.
struct Bad {
    name: String,
    act: Act,
    starts: Arc<AtomicU64>,
    panic: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
}

impl Task for Bad {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, handle: WorkerHandle, _controls: Controls) -> TaskFuture {
        self.starts.fetch_add(1, Ordering::SeqCst);
        let (act, panic, busy) = (self.act, self.panic.clone(), self.busy.clone());
        let topic = Topic::about(Kind::Raw, &self.name);
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = handle.stop().cancelled() => return Ok(()),
                    () = tokio::time::sleep(MS) => {}
                }
                act(&handle, &topic, 1).map_err(TaskError::Failed)?;
                handle.log(Level::Flow, "bad", "turn", String::new);
                assert!(!panic.swap(false, Ordering::SeqCst), "told to panic");
                while busy.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            }
        })
    }
}

struct Stage {
    hub: Hub,
    stop: CancellationToken,
    workers: Vec<Worker>,
    seen: Vec<Arc<Mutex<(Vec<u64>, LatencyTracker)>>>,
    starts: Arc<AtomicU64>,
    panic: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
}

/// Worker 0 runs a steady and a bad task, worker 1 a steady one.
fn stage<K: WorkerKind>(kind: &K, hosts: BTreeMap<String, HostHandle>) -> Stage {
    let (hub, stop) = (Hub::new(), CancellationToken::new());
    let flag = || Arc::new(AtomicBool::new(false));
    let (starts, panic, busy) = (Arc::new(AtomicU64::new(0)), flag(), flag());
    let seen: Vec<Arc<Mutex<(Vec<u64>, LatencyTracker)>>> = vec![Arc::default(), Arc::default()];
    let steady = |i: usize| -> Box<dyn Task> {
        Box::new(Steady { name: format!("steady-{i}"), act: K::act, seen: seen[i].clone() })
    };
    let bad = Bad { name: "bad".into(), act: K::act, starts: starts.clone(), panic: panic.clone(), busy: busy.clone() };
    let tasks: [Vec<Box<dyn Task>>; 2] = [vec![steady(0), Box::new(bad)], vec![steady(1)]];
    let restart = BackoffShape { first: 20 * MS, max: 100 * MS, ..BackoffShape::default() };
    let workers = (0..).zip(tasks).map(|(i, tasks)| {
        let parts = kind.parts(&format!("w-{i}"), &hub, &stop);
        Worker::spawn(WorkerParts { tasks, restart, hosts: hosts.clone(), ..parts }).unwrap()
    });
    let workers = workers.collect();
    Stage { hub, stop, workers, seen, starts, panic, busy }
}

impl Stage {
    fn end(self) {
        self.stop.cancel();
        self.workers.into_iter().for_each(Worker::join);
    }

    fn events(&self, i: usize) -> u64 {
        self.seen[i].lock().unwrap().0.len() as u64
    }

    /// Forgets what was seen, and says what is seen in `time` from now.
    async fn watch(&self, i: usize, time: Duration) -> (Vec<u64>, LatencyTracker) {
        *self.seen[i].lock().unwrap() = Default::default();
        tokio::time::sleep(time).await;
        self.seen[i].lock().unwrap().clone()
    }
}

fn consecutive(seqs: &[u64]) -> bool {
    seqs.windows(2).all(|w| w[0] + 1 == w[1])
}

async fn metrics_come_in_batches<K: WorkerKind>(kind: &K) {
    let stage = stage(kind, BTreeMap::new());
    tokio::time::sleep(200 * MS).await;
    let (batches, began) = (stage.hub.batches(), Instant::now());
    let before = stage.events(1);
    tokio::time::sleep(1_000 * MS).await;
    let (batches, events) = (stage.hub.batches() - batches, stage.events(1) - before);
    let most = 2 * (began.elapsed().as_millis() as u64 / 100 + 2);
    assert!(batches <= most, "{}: {batches} batches of two workers, {most} expected at most", K::NAME);
    assert!(batches >= 6, "{}: {batches} batches", K::NAME);
    assert!(events > 3 * batches, "{}: {events} events make {batches} batches", K::NAME);
    let counted = || stage.hub.value("contract_events_total", &[("task", "steady-1")]).unwrap_or(0.0) as u64;
    let now = stage.events(1);
    assert!(common::until(Duration::from_secs(2), || counted() >= now).await, "{}: {} of {now}", K::NAME, counted());
    stage.end();
}

async fn the_breaker_opens_and_closes<K: WorkerKind>(kind: &K) {
    /// Asks its host over and over and notes the answers.
    struct Asker(Arc<Mutex<Vec<Fetched>>>);
    impl Task for Asker {
        fn name(&self) -> &str {
            "asker"
        }
        fn start(&mut self, handle: WorkerHandle, _controls: Controls) -> TaskFuture {
            let answers = self.0.clone();
            Box::pin(async move {
                let host = handle.host("test").expect("the worker has this host").clone();
                loop {
                    let request = Request { path: "/".into(), weight: 1 };
                    tokio::select! {
                        () = handle.stop().cancelled() => return Ok(()),
                        f = host.fetch(FetchKind::ServerTime, request, Priority::Poll) => answers.lock().unwrap().push(f),
                    }
                    tokio::time::sleep(10 * MS).await;
                }
            })
        }
    }
    let broken = Arc::new(AtomicBool::new(true));
    let b = broken.clone();
    let server = RestServer::start(move |_| {
        let status = if b.load(Ordering::SeqCst) { 500 } else { 200 };
        async move { (status, String::new(), String::new()) }
    })
    .await;
    let (hub, stop) = (Hub::new(), CancellationToken::new());
    let endpoint = Endpoint::parse(&format!("http://{}", server.addr), Scheme::Http).unwrap();
    let mut plan = HostPlan::new("test", vec![endpoint], wholetape_venue::limits("binance-spot").unwrap().rest);
    plan.wait_max = Duration::ZERO;
    plan.breaker.open_for = 200 * MS;
    let (handle, task) = host(plan, wholetape_feed::tls::config(&[]).unwrap(), &hub, stop.clone());
    tokio::spawn(task.run());
    let answers: Arc<Mutex<Vec<Fetched>>> = Arc::default();
    let parts = kind.parts("asking", &hub, &stop);
    let hosts = BTreeMap::from([("test".to_owned(), handle)]);
    let worker = Worker::spawn(WorkerParts { hosts, tasks: vec![Box::new(Asker(answers.clone()))], ..parts }).unwrap();
    let last = |wanted: fn(&Fetched) -> bool| answers.lock().unwrap().last().is_some_and(wanted);
    let open = |f: &Fetched| matches!(f, Fetched::Failed(FetchFailure::Budget { .. }));
    assert!(common::until(Duration::from_secs(5), || last(open)).await, "{}: never opened", K::NAME);
    broken.store(false, Ordering::SeqCst);
    let fine = |f: &Fetched| matches!(f, Fetched::Answer { status: 200, .. });
    assert!(common::until(Duration::from_secs(5), || last(fine)).await, "{}: never closed", K::NAME);
    stop.cancel();
    tokio::task::spawn_blocking(|| worker.join()).await.unwrap();
}

async fn a_question_with_an_id_is_answered<K: WorkerKind>(kind: &K) {
    let stage = stage(kind, BTreeMap::new());
    let worker = &stage.workers[1];
    for id in ["a", "b-2", "c"] {
        let answer = worker.asker().ask("steady-1", id, Command::Status, Duration::from_secs(2)).await.unwrap();
        assert_eq!(answer.correlation, id, "{}", K::NAME);
        assert!(answer.result.unwrap().ends_with(" events"));
    }
    let unknown = worker.asker().ask("nobody", "d", Command::Status, Duration::from_secs(2)).await;
    assert_eq!(unknown, Err(ControlError::Unknown("nobody".into())));
    stage.end();
}

/// Our own panic is not worth a backtrace, which takes its thread half a second to write.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload_as_str().is_some_and(|text| text.contains("told to panic")) {
                usual(info);
            }
        }));
    });
}

async fn a_panic_harms_nobody_else<K: WorkerKind>(kind: &K) {
    quiet_panics();
    let stage = stage(kind, BTreeMap::new());
    let (_, calm) = stage.watch(0, 500 * MS).await;
    let before = stage.events(0);
    stage.panic.store(true, Ordering::SeqCst);
    let (same, other) = tokio::join!(stage.watch(0, 1_000 * MS), stage.watch(1, 1_000 * MS));
    assert!(before > 0);
    assert!(stage.starts.load(Ordering::SeqCst) >= 2, "{}: it began anew", K::NAME);
    for (who, (seqs, late)) in [("the same worker", same), ("another worker", other)] {
        assert!(consecutive(&seqs), "{}: {who} lost its sequence", K::NAME);
        assert!(seqs.len() > 100, "{}: {who} made {} events", K::NAME, seqs.len());
        // The median: who is held up is late at every tick, and a stall of the machine at some.
        let bound = calm.quantile(0.5) * 4 + 50 * MS;
        assert!(
            late.quantile(0.5) < bound,
            "{}: {who} p50 {:?}, calm {:?}",
            K::NAME,
            late.quantile(0.5),
            calm.quantile(0.5)
        );
    }
    assert!(stage.workers.iter().all(|w| w.fatal().is_none()));
    let restarts = || stage.hub.value("feed_task_restarts_total", &[("task", "bad")]);
    assert!(common::until(Duration::from_secs(2), || restarts() == Some(1.0)).await, "{}: {:?}", K::NAME, restarts());
    stage.end();
}

async fn a_busy_loop_harms_no_other_worker<K: WorkerKind>(kind: &K) {
    let stage = stage(kind, BTreeMap::new());
    let pulses = stage.workers.iter().map(|w| (w.name().to_owned(), w.pulse().clone())).collect();
    let dog = watchdog(pulses, &stage.hub).unwrap();
    let (_, calm) = stage.watch(1, 500 * MS).await;
    stage.busy.store(true, Ordering::SeqCst);
    let (seqs, late) = stage.watch(1, 2_000 * MS).await;
    assert!(stage.workers[0].pulse().is_stuck(), "{}: nobody noticed", K::NAME);
    assert!(!stage.workers[1].pulse().is_stuck());
    assert!(consecutive(&seqs) && seqs.len() > 300, "{}: {} events", K::NAME, seqs.len());
    let bound = calm.quantile(0.5) * 4 + 50 * MS;
    assert!(late.quantile(0.5) < bound, "{}: p50 {:?}, calm {:?}", K::NAME, late.quantile(0.5), calm.quantile(0.5));
    stage.busy.store(false, Ordering::SeqCst);
    assert!(
        common::until(Duration::from_secs(3), || !stage.workers[0].pulse().is_stuck()).await,
        "{}: back again",
        K::NAME
    );
    stage.end();
    dog.join().unwrap();
}

macro_rules! contract {
    ($module:ident, $make:expr) => {
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn metrics_come_in_batches() {
                super::metrics_come_in_batches(&$make).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_breaker_opens_and_closes() {
                super::the_breaker_opens_and_closes(&$make).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_question_with_an_id_is_answered() {
                super::a_question_with_an_id_is_answered(&$make).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_panic_harms_nobody_else() {
                super::a_panic_harms_nobody_else(&$make).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_busy_loop_harms_no_other_worker() {
                super::a_busy_loop_harms_no_other_worker(&$make).await;
            }
        }
    };
}

contract!(line_worker, LineWorker::new());
contract!(plain_worker, PlainWorker(AtomicU64::new(0)));
