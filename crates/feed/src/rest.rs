//! REST: one keep-alive pool, one weight budget, one breaker per host, shared by all lines that speak to it.
//!
//! A host is a task of its own on the REST worker; lines hand it requests over a bounded channel and wait for the answer.
//! So a line that is busy or panics neither holds a connection nor a lock that others need, and priorities hold across
//! lines: the most urgent request that waits goes first, and none overtakes it while it waits for weight.
//!
//! Full-policy: a full channel or a wait longer than `wait_max` is answered at once with
//! [`FetchFailure::Budget`] and the time after which to ask again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wholetape_model::Ts;
use wholetape_venue::limits::{Meter, RestLimits};
use wholetape_venue::{FetchFailure, FetchKind, Request};

use crate::breaker::{BreakerShape, CircuitBreaker};
use crate::budget::{TokenBucket, WeightBudget};
use crate::clock::{self, Clock};
use crate::endpoint::Endpoint;
use crate::error::chain;
use crate::line::Priority;
use crate::metrics::{FLUSH_EVERY, Hub, Local, MetricId};
use crate::queue::{Next, Order, QUEUE_MAX, Queue};
use crate::transport;

/// One host and what it bears.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// For metrics and logs, e.g. the venue's name.
    pub name: String,
    /// In order of preference.
    pub endpoints: Vec<Endpoint>,
    /// Its budget, and how it says that it was too much.
    pub bears: RestLimits,
    pub breaker: BreakerShape,
    /// From sending to the last byte of the body.
    pub timeout: Duration,
    pub body_bytes_max: usize,
    /// Connections at a time.
    pub connections_max: usize,
    /// Snapshots at once, and the time until one more: a resync of everything is a queue and not a storm.
    pub snapshot_burst: u32,
    pub snapshot_every: Duration,
    /// A request that must wait longer is refused.
    pub wait_max: Duration,
}

impl HostPlan {
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<Endpoint>, bears: RestLimits) -> Self {
        Self {
            name: name.into(),
            endpoints,
            bears,
            breaker: BreakerShape::default(),
            timeout: Duration::from_secs(10),
            body_bytes_max: 64 << 20,
            connections_max: 2,
            snapshot_burst: 4,
            snapshot_every: Duration::from_millis(250),
            wait_max: Duration::from_secs(5),
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    Answer { status: u16, body: Bytes },
    Failed(FetchFailure),
}

struct Job {
    request: Request,
    reply: oneshot::Sender<Fetched>,
}

type Asked = Order<Job>;

/// What a line holds of a host.
#[derive(Debug, Clone)]
pub struct HostHandle {
    name: Arc<str>,
    jobs: mpsc::Sender<Asked>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.request.path)
    }
}

impl HostHandle {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks. The future may be dropped; the answer is then thrown away.
    pub async fn fetch(&self, kind: FetchKind, request: Request, priority: Priority) -> Fetched {
        let (reply, answer) = oneshot::channel();
        let job = Order::new(kind, request.weight, priority, Job { request, reply });
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Fetched::Failed(FetchFailure::Budget { retry_after: Duration::from_secs(1) });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Fetched::Failed(FetchFailure::Transport("the REST worker has stopped".into()));
            }
        }
        answer.await.unwrap_or_else(|_| Fetched::Failed(FetchFailure::Transport("the REST worker has stopped".into())))
    }
}

/// A keep-alive connection and the endpoint that it leads to.
struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    endpoint: usize,
}

type Running = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>>;

struct Metrics {
    local: Local,
    requests: MetricId,
    failures: MetricId,
    refused: MetricId,
    used: MetricId,
    open: MetricId,
    opened: MetricId,
    seconds: MetricId,
}

struct Host {
    plan: HostPlan,
    tls: Arc<ClientConfig>,
    /// Idle connections. Never more than `connections_max` with those in use, so no request ever opens one too many.
    idle: Vec<Kept>,
    /// Its own, and never set to the wall again: what a venue tells us to wait is a length, which a step of the wall clock must
    /// not shorten.
    clock: Clock,
    queue: Queue<Job>,
    endpoint: usize,
    metrics: Metrics,
}

struct Outcome {
    job: Asked,
    endpoint: usize,
    started: Ts,
    result: Result<Answer, FetchFailure>,
    kept: Option<Kept>,
}

struct Answer {
    status: u16,
    /// What the venue's meter says of the present window.
    meter: Option<u32>,
    retry_after: Option<Duration>,
    body: Bytes,
}

/// Makes a host and the task that serves it; the task runs until `stop`, then answers what waits with a failure.
#[must_use]
pub fn host(plan: HostPlan, tls: Arc<ClientConfig>, hub: &Hub, stop: CancellationToken) -> (HostHandle, HostTask) {
    let (jobs, inbox) = mpsc::channel(QUEUE_MAX);
    let handle = HostHandle { name: plan.name.as_str().into(), jobs };
    let hub = hub.clone();
    (handle, HostTask { plan, tls, hub, inbox, stop })
}

/// A host that is about to run.
pub struct HostTask {
    plan: HostPlan,
    tls: Arc<ClientConfig>,
    hub: Hub,
    inbox: mpsc::Receiver<Asked>,
    stop: CancellationToken,
}

impl HostTask {
    pub async fn run(self) {
        let Self { plan, tls, hub, mut inbox, stop } = self;
        let mut host = Host::new(plan, &tls, &hub);
        let mut running = Running::new();
        let mut flush = tokio::time::interval(FLUSH_EVERY);
        loop {
            let wait = host.start(&mut running);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(outcome) = running.next() => host.finish(outcome),
                job = inbox.recv() => match job {
                    Some(job) => host.take(job),
                    // Nobody can ask any more; what runs is finished.
                    None if running.is_empty() && host.queue.is_empty() => break,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                _ = flush.tick() => host.flush(),
                () = tokio::time::sleep(wait.unwrap_or(FLUSH_EVERY)), if wait.is_some() => {}
            }
        }
    }
}

impl Host {
    fn new(plan: HostPlan, tls: &Arc<ClientConfig>, hub: &Hub) -> Self {
        let mut local = hub.local();
        let labels = [("host", plan.name.as_str())];
        let metrics = Metrics {
            requests: local.counter("feed_rest_requests_total", "REST requests sent", &labels),
            failures: local.counter(
                "feed_rest_failures_total",
                "REST requests that failed or were answered 5xx",
                &labels,
            ),
            refused: local.counter(
                "feed_rest_refused_total",
                "REST requests refused by our own budget or breaker",
                &labels,
            ),
            used: local.gauge("feed_rest_weight_used", "REST weight used in the present window", &labels),
            open: local.gauge("feed_breaker_open", "1 while the host's circuit breaker is open", &labels),
            opened: local.counter("feed_breaker_opened_total", "times that the circuit breaker opened", &labels),
            seconds: local.histogram("feed_rest_seconds", "time from sending a request to its last byte", &labels),
            local,
        };
        Self {
            queue: Queue::new(
                WeightBudget::new(plan.bears.weight),
                CircuitBreaker::new(plan.breaker),
                TokenBucket::new(plan.snapshot_burst, plan.snapshot_every),
                plan.connections_max,
                plan.wait_max,
            ),
            clock: Clock::new(clock::wall(), Ts::ZERO),
            endpoint: 0,
            tls: tls.clone(),
            idle: Vec::new(),
            metrics,
            plan,
        }
    }

    fn take(&mut self, job: Asked) {
        if let Err(job) = self.queue.push(job, self.clock.now()) {
            self.refuse(job, Duration::from_secs(1));
        }
    }

    fn refuse(&mut self, job: Asked, retry_after: Duration) {
        self.metrics.local.add(self.metrics.refused, 1);
        let _ = job.job.reply.send(Fetched::Failed(FetchFailure::Budget { retry_after }));
    }

    /// Starts what may start. Returns how long to wait before looking again.
    fn start(&mut self, running: &mut Running) -> Option<Duration> {
        loop {
            let now = self.clock.now();
            match self.queue.next(now, |job| job.reply.is_closed()) {
                Next::Send(job) => running.push(Box::pin(self.send(job, now))),
                Next::Refuse(job, wait) => self.refuse(job, wait),
                Next::Wait(wait) => return wait,
            }
        }
    }

    fn send(&mut self, job: Asked, now: Ts) -> impl Future<Output = Outcome> + Send + use<> {
        self.metrics.local.add(self.metrics.requests, 1);
        let endpoint = self.endpoint;
        let base = self.plan.endpoints[endpoint].clone();
        self.idle.retain(|kept| kept.endpoint == endpoint && !kept.sender.is_closed());
        let kept = self.idle.pop();
        let (tls, limit, body_max) = (self.tls.clone(), self.plan.timeout, self.plan.body_bytes_max);
        let bears = self.plan.bears;
        async move {
            let asking = ask(&base, endpoint, kept, tls, &job.job.request.path, bears, body_max);
            let (result, kept) = match tokio::time::timeout(limit, asking).await {
                Ok(Ok((answer, kept))) => (Ok(answer), kept),
                Ok(Err(why)) => (Err(FetchFailure::Transport(why)), None),
                Err(_) => (Err(FetchFailure::Timeout), None),
            };
            Outcome { job, endpoint, started: now, result, kept }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        let now = self.clock.now();
        let Outcome { job, endpoint, started, result, kept } = outcome;
        self.idle.extend(kept);
        self.queue.ended(job.priority);
        self.metrics.local.observe(self.metrics.seconds, now.since(started).as_nanos() as u64);
        let fetched = match result {
            Ok(Answer { status, meter, retry_after, body }) => {
                self.queue.heard();
                match (self.plan.bears.meter, meter) {
                    (Some(Meter::Used(_)), Some(used)) => self.queue.budget.on_used(now, used),
                    (Some(Meter::Left(_)), Some(left)) => self.queue.budget.on_left(now, left),
                    _ => {}
                }
                let refusal = self.plan.bears.refusals.iter().find(|r| r.is(status, &body));
                if let Some(refusal) = refusal {
                    let wait = retry_after.unwrap_or(refusal.wait);
                    self.queue.budget.on_retry_after(now, wait);
                    tracing::warn!(host = %self.plan.name, status, wait = ?wait, "venue asks us to wait");
                    self.succeeded();
                    Fetched::Failed(FetchFailure::Budget { retry_after: wait })
                } else {
                    if status >= 500 {
                        self.failed(now, endpoint, &format!("status {status}"));
                    } else {
                        self.succeeded();
                    }
                    Fetched::Answer { status, body }
                }
            }
            Err(failure) => {
                let why = match &failure {
                    FetchFailure::Transport(why) => why.clone(),
                    _ => "timeout".into(),
                };
                self.failed(now, endpoint, &why);
                Fetched::Failed(failure)
            }
        };
        let _ = job.job.reply.send(fetched);
    }

    fn succeeded(&mut self) {
        if self.queue.breaker.on_success() {
            tracing::info!(host = %self.plan.name, "REST host is back");
        }
    }

    fn failed(&mut self, now: Ts, endpoint: usize, why: &str) {
        self.metrics.local.add(self.metrics.failures, 1);
        // The next one may live, unless another request found out first.
        if endpoint == self.endpoint {
            self.endpoint = (self.endpoint + 1) % self.plan.endpoints.len().max(1);
        }
        if self.queue.breaker.on_failure(now) {
            self.metrics.local.add(self.metrics.opened, 1);
            tracing::warn!(host = %self.plan.name, why, "REST host fails, breaker opens");
        }
    }

    fn flush(&mut self) {
        let now = self.clock.now();
        let m = &mut self.metrics;
        m.local.set(m.used, f64::from(self.queue.budget.used(now)));
        m.local.set(m.open, f64::from(u8::from(self.queue.breaker.is_open())));
        m.local.flush();
    }
}

/// One request and its whole body, over a kept connection if it still works, else over a new one.
async fn ask(
    base: &Endpoint,
    endpoint: usize,
    kept: Option<Kept>,
    tls: Arc<ClientConfig>,
    path: &str,
    bears: RestLimits,
    body_max: usize,
) -> Result<(Answer, Option<Kept>), String> {
    let request = || {
        http::Request::get(format!("{}{path}", base.path))
            .header(http::header::HOST, base.authority())
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, concat!("wholetape/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|e| chain(&e))
    };
    let mut answered = None;
    if let Some(mut kept) = kept
        && kept.sender.ready().await.is_ok()
    {
        // A server may close an idle connection just now; a GET is asked again, once, over a new one.
        if let Ok(response) = kept.sender.send_request(request()?).await {
            answered = Some((response, kept));
        }
    }
    let (response, mut kept) = match answered {
        Some(answered) => answered,
        None => {
            let transport = transport::dial(base, tls).await.map_err(|e| chain(&e))?;
            let (sender, connection) = http1::handshake(TokioIo::new(transport)).await.map_err(|e| chain(&e))?;
            // Ends when its sender is dropped, which the host owns.
            tokio::spawn(connection);
            let mut kept = Kept { sender, endpoint };
            let response = kept.sender.send_request(request()?).await.map_err(|e| chain(&e))?;
            (response, kept)
        }
    };
    let number = |name: &str| -> Option<u64> { response.headers().get(name)?.to_str().ok()?.trim().parse().ok() };
    let meter = bears.meter.and_then(|m| number(m.header())).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    // At most three days, the longest ban that is documented.
    let ban_max = Duration::from_secs(3 * 86_400);
    let retry_after = number("retry-after").map(|n| bears.retry_after.wait(n).min(ban_max));
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), body_max).collect().await.map_err(|e| chain(e.as_ref()))?;
    let kept = kept.sender.ready().await.is_ok().then_some(kept);
    Ok((Answer { status, meter, retry_after, body: body.to_bytes() }, kept))
}
