//! `wholetape demo`: simulated venues, feed, tape, gateway and page in one process, and a verdict from outside.
//!
//! The venues wait until the lines have subscribed, make events for N seconds, then stop but go on serving. The pipeline
//! has [`WHOLE_WITHIN`] to become whole. Then everything is stopped, the tape is read again by a fresh reader, and both
//! that and what a client of the public protocol received are compared with what the venues wrote down.

pub mod client;
mod load;
mod recording;
mod spoil;
mod status;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wholetape_feed::config::{FeedConfig, LineConfig, TradeSource};
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::publish::PublishConfig;
use wholetape_sim::truth::{self, Truth};
use wholetape_sim::{FaultConfig, RestTally, Sim, SimConfig, SimHandle, VenueAddr};
use wholetape_tape::TapeConfig;

use crate::cli::{self, Break, OnOff};
use crate::config::{Problem, Problems};
use crate::pipeline::{Pipeline, Plan};
use crate::signals;
use crate::verdict::{self, Verdict, Wanted, report, seen};
use client::Received;
use status::Status;

/// How long the pipeline has to become whole after the last event, beside what the venues' budgets make of its backlog.
pub const WHOLE_WITHIN: Duration = Duration::from_secs(15);
/// And what a venue that fell silent makes of that: a socket is left, and for some seconds nobody vouches for its streams.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
/// Lines get this long to subscribe before the venues begin anyway.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(20);
/// Trades from before the start, so that there is a backlog to make whole.
const HISTORY_S: u32 = 120;
/// Of OKX, which shows 100 matches a request and ten requests a second, and of Bybit, where they are gone.
const SHORT_HISTORY_S: u32 = 30;
const HISTORY_INSTRUMENTS: usize = 12;
/// A stream is called silent after four times what its hour taught, in which the market moved: 15 s at first, and 33 s where half an hour of
/// rough faults was the teacher. Then its connection is made anew.
const SILENCE_TOLD_S: u64 = 45;
const TICK: Duration = Duration::from_millis(200);
/// What is shown when nothing is named, in the words of [`crate::sim::venues`].
const SIDE_BY_SIDE: [&str; 6] = ["binance-spot", "binance-usdm", "bybit", "dydx", "kraken", "okx"];

pub fn run(args: &cli::Demo) -> anyhow::Result<ExitCode> {
    let folder = Folder::of(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let verdict = runtime.block_on(play(args, &folder.path))?;
    runtime.shutdown_timeout(Duration::from_secs(2));
    let paint =
        report::Paint(std::io::IsTerminal::is_terminal(&std::io::stdout()) && std::env::var_os("NO_COLOR").is_none());
    if args.json {
        eprint!("{}", report::table(&verdict, report::Paint(false)));
        say!("{}", serde_json::to_string(&verdict)?);
    } else {
        say!("\n{}\n{}", report::table(&verdict, paint), report::last_line(&verdict, paint));
    }
    Ok(ExitCode::from(u8::from(!verdict.complete)))
}

/// The data folder: kept when it was named, removed at the end otherwise.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn of(args: &cli::Demo) -> anyhow::Result<Self> {
        let (path, temporary) = match &args.data {
            Some(path) => (path.clone(), false),
            None => (std::env::temp_dir().join(format!("wholetape-demo-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}: choose a folder with --data", path.display()))?;
        Ok(Self { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// What is simulated, and what is listened to there.
struct Scene {
    sim: SimConfig,
    recording: Option<recording::Contents>,
}

fn scene(args: &cli::Demo, dir: &Path) -> anyhow::Result<Scene> {
    let mut recording = None;
    let mut sim = match &args.capture {
        Some(file) => {
            recording = Some(recording::contents(file)?);
            crate::sim::capture(file, args.speed)?
        }
        // Both of these are about Binance's budgets.
        None if args.cuts.is_some() || args.instruments.is_some() => SimConfig::default(),
        None => {
            let named = args.venues.iter().map(String::as_str);
            let venues = crate::sim::venues(named.chain(SIDE_BY_SIDE.into_iter().filter(|_| args.venues.is_empty())))?;
            SimConfig { venues, ..SimConfig::default() }
        }
    };
    sim.seed = args.seed;
    sim.data_dir = dir.join("sim");
    let silences_for_ms = args.seconds.map(|seconds| (seconds.saturating_sub(SILENCE_TOLD_S)).max(seconds / 2) * 1_000);
    sim.faults = FaultConfig { silences_for_ms, ..FaultConfig::level(args.faults.level()) };
    sim.start_frozen = true;
    load::venues(args, &mut sim);
    for venue in &mut sim.venues {
        // Hundreds of instruments are for other questions.
        let most = if venue.kind.is_binance() { HISTORY_S } else { SHORT_HISTORY_S };
        venue.history_s = if venue.instruments.len() <= HISTORY_INSTRUMENTS { most } else { 0 };
        venue.faults_per_minute = load::cuts(args, venue.kind);
    }
    Ok(Scene { sim, recording })
}

/// Everything a generated venue offers; of a recording what it holds.
fn channels(addr: &VenueAddr, recording: Option<&recording::Contents>) -> Vec<&'static str> {
    recording.map_or_else(|| crate::config::channels(addr.kind), recording::Contents::channels)
}

fn line(addr: &VenueAddr, args: &cli::Demo, recording: Option<&recording::Contents>) -> LineConfig {
    let channels = channels(addr, recording);
    let trade_source = if channels.contains(&"trade") || !channels.contains(&"trade-raw") {
        TradeSource::AggTrade
    } else {
        TradeSource::Trade
    };
    let mut line = LineConfig {
        name: addr.name.clone(),
        venue: addr.kind.name().to_owned(),
        instruments: addr.symbols.clone(),
        channels: channels.into_iter().map(str::to_owned).collect(),
        trade_source,
        heal: args.heal == OnOff::On,
        sockets: usize::from(args.sockets),
        ws: vec![addr.ws.clone()],
        rest: vec![addr.rest.clone()],
        approved: Some("wholetape demo, at every start, its own simulated venues".into()),
        // Minutes are short here: a demo shows in a minute what otherwise happens in a day.
        backoff: Duration::from_millis(200),
        backoff_max: Duration::from_secs(2),
        rest_timeout: Duration::from_secs(4),
        open_timeout: Duration::from_secs(2),
        open_interest_every: Duration::from_secs(5),
        // Binance's invented books have some hundred levels a side. 5000 would cost five times the weight, and a rough minute of
        // resyncs would spend the venue's budget.
        book_depth: if recording.is_none() && addr.kind.is_binance() { 1000 } else { 0 },
        ..LineConfig::default()
    };
    load::line(args, &mut line);
    line
}

fn wanted(addrs: &[VenueAddr], lines: &[LineConfig]) -> anyhow::Result<Vec<Wanted>> {
    let each = addrs.iter().zip(lines).flat_map(|(addr, line)| addr.symbols.iter().map(move |s| (addr, line, s)));
    each.map(|(addr, line, symbol)| verdict::wanted::of_line(line, &addr.name, symbol)).collect()
}

/// One performance, and what came of it.
async fn play(args: &cli::Demo, dir: &Path) -> anyhow::Result<Verdict> {
    let mut stop = signals::Stop::new()?;
    let mut status = Status::new(false);
    let since_ns = verdict::figures::wall_ns();
    let Scene { sim, recording } = scene(args, dir)?;
    let recorded = recording.is_some();
    let sim = Sim::start(sim).await.context("the simulated venues do not start")?;
    let lines: Vec<LineConfig> = sim.addrs().iter().map(|addr| line(addr, args, recording.as_ref())).collect();
    let wanted = wanted(sim.addrs(), &lines)?;
    let mut feed = FeedConfig { line: lines, ..FeedConfig::default() }.plan(&|_| Vec::new()).map_err(|all| {
        Problems(all.into_iter().map(|p| Problem::new(p.key, p.value, "cannot be used", p.remedy)).collect())
    })?;
    for said in load::plan(args, &mut feed) {
        status.say(&said);
    }
    let patience = load::patience(args, &feed, WHOLE_WITHIN);
    let mut streams: BTreeMap<String, usize> = BTreeMap::new();
    for line in &feed.lines {
        // Many instruments are many lines of one venue.
        *streams.entry(line.venue.clone()).or_default() +=
            line.connections.iter().map(|c| c.streams.len()).sum::<usize>();
    }
    let plan = Plan {
        dir: dir.join("tape"),
        tape: TapeConfig::default(),
        feed,
        // On loopback, with simulated venues: there is something to play with.
        gateway: GatewayConfig {
            publish: PublishConfig { anonymous: vec!["c4.*".into()], ..PublishConfig::default() },
            ..GatewayConfig::default()
        },
        listen: format!("127.0.0.1:{}", args.port),
        control: Some(crate::control::socket_of(dir)),
        store: Some(store::plan(dir)),
    };
    let pipeline = Pipeline::start(plan).await?;
    status.say(&format!("page    http://{}/", pipeline.addr));
    status.say(&format!("client  ws://{}/v1/ws", pipeline.addr));
    let received = Received::default();
    let listening = CancellationToken::new();
    let mut clients = tokio::task::JoinSet::new();
    for (nth, topics) in topics(&wanted).chunks(load::TOPICS_MAX).enumerate() {
        let plan = client::Plan {
            url: format!("ws://{}/v1/ws", pipeline.addr),
            topics: topics.to_vec(),
            spoil: nth == 0 && args.spoil == Some(Break::ServedRow),
        };
        clients.spawn(client::listen(plan, received.clone(), listening.clone()));
    }
    let mut stage = Stage { sim: &sim, pipeline: &pipeline, received: &received, status: &mut status };
    let interrupted = stage.subscribe(&streams, &mut stop).await;
    if !interrupted {
        sim.resume();
        let acts = Acts {
            length: args.seconds.map(Duration::from_secs),
            recorded,
            cuts: args.cuts,
            close_all: args.close_all.map(Duration::from_secs),
        };
        stage.perform(acts, &pipeline, &mut stop).await;
    }
    sim.finish().context("the truth cannot be finished")?;
    let truth = Arc::new(truth::load(sim.data_dir()).context("the truth cannot be read")?);
    if stage.become_whole(&truth, &wanted, patience).await {
        // Whoever is not whole by then gets no more time.
        stage.settle(SETTLED_WITHIN).await;
    }
    if let Some(why) = pipeline.fatal() {
        stage.status.say(&format!("the feed gave up: {why}"));
    }
    let rest = sim.rest_tallies();
    let faults = sim.fault_counts().into_iter().map(|(kind, n)| (kind.name().to_owned(), n)).collect();
    let available = crate::availability::line(&pipeline.availability());
    shut_down(pipeline, sim, clients, &listening, &received).await?;
    status.clear();
    status.say(&available);
    let tape_dir = dir.join("tape");
    status.say(&store::stored(dir).context("the catalog")?);
    if args.spoil == Some(Break::TapeRecord) {
        let what = spoil::tape_record(&tape_dir).context("--break tape-record")?;
        status.say(&format!("one byte of {what} was turned on disk"));
    }
    judge(truth, wanted, tape_dir, received, faults, Account { rest, since_ns }).await
}

fn topics(wanted: &[Wanted]) -> Vec<String> {
    // The urgent ones first, as anybody would.
    let mut all: Vec<(wholetape_model::Class, String)> = wanted
        .iter()
        .flat_map(|one| one.kinds.iter().map(|kind| (kind.class(), seen::topic_name(*kind, &one.id))))
        .collect();
    all.sort();
    all.dedup();
    all.into_iter().map(|(_, name)| name).collect()
}

/// What this run alone did.
struct Account {
    rest: BTreeMap<String, RestTally>,
    since_ns: i64,
}

async fn judge(
    truth: Arc<Truth>,
    wanted: Vec<Wanted>,
    tape_dir: PathBuf,
    received: Received,
    faults: BTreeMap<String, u64>,
    account: Account,
) -> anyhow::Result<Verdict> {
    tokio::task::spawn_blocking(move || {
        let tape = seen::read_tape(&tape_dir).context("the tape cannot be read again")?;
        let client = received.seen();
        let verdict = verdict::judge(&truth, &wanted, &tape, &client, faults);
        let Account { rest, since_ns } = account;
        let figures = verdict::figures::figures(&truth, &wanted, &tape, &client, &verdict, rest, since_ns);
        Ok(verdict.with_figures(figures))
    })
    .await?
}

/// Feeds stop; the client reads what is still on its way; then goodbye.
async fn shut_down(
    pipeline: Pipeline,
    sim: SimHandle,
    mut clients: tokio::task::JoinSet<()>,
    listening: &CancellationToken,
    received: &Received,
) -> anyhow::Result<()> {
    pipeline.stop_feed().await?;
    let (mut rows, mut quiet) = (received.figures().rows, Instant::now());
    let end = Instant::now() + Duration::from_secs(5);
    while quiet.elapsed() < Duration::from_millis(400) && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
        let now = received.figures().rows;
        if now != rows {
            (rows, quiet) = (now, Instant::now());
        }
    }
    listening.cancel();
    pipeline.stop().await?;
    while let Some(ended) = clients.join_next().await {
        ended.context("the verdict's client failed")?;
    }
    sim.stop().await;
    Ok(())
}

/// What happens, and until when.
struct Acts {
    length: Option<Duration>,
    recorded: bool,
    cuts: Option<u64>,
    close_all: Option<Duration>,
}

/// What the audience sees while it plays.
struct Stage<'a> {
    sim: &'a SimHandle,
    pipeline: &'a Pipeline,
    received: &'a Received,
    status: &'a mut Status,
}

impl Stage<'_> {
    fn cuts(&self) -> u64 {
        self.sim.fault_counts().into_iter().filter(|(kind, _)| verdict::figures::is_cut(*kind)).map(|(_, n)| n).sum()
    }

    fn show(&mut self, phase: &str, clock: &str) {
        let faults = self.sim.fault_counts().values().sum();
        // Said only while something is given up.
        let level = self.pipeline.shed_level();
        let clock = if level > 0.0 { format!("{clock}  OVERLOAD level {level}") } else { clock.to_owned() };
        self.status.show(phase, &clock, &self.received.figures(), faults);
    }

    /// Waits until every stream is subscribed. True when somebody wants to stop.
    async fn subscribe(&mut self, streams: &BTreeMap<String, usize>, stop: &mut signals::Stop) -> bool {
        let begin = Instant::now();
        loop {
            let there = |name: &str| self.sim.subscriptions(name).into_iter().collect::<BTreeSet<_>>().len();
            if streams.iter().all(|(name, n): (&String, &usize)| there(name) >= *n)
                || begin.elapsed() > SUBSCRIBE_WITHIN
            {
                // The last acknowledgements are still under way.
                sleep(Duration::from_millis(300)).await;
                return false;
            }
            self.show("subscribing", &format!("{:>4.1} s", begin.elapsed().as_secs_f64()));
            tokio::select! {
                () = stop.asked() => return true,
                () = sleep(TICK / 4) => {}
            }
        }
    }

    /// Lets the venues play until the time is over, the recording ends, or somebody wants to stop.
    async fn perform(&mut self, acts: Acts, pipeline: &Pipeline, stop: &mut signals::Stop) {
        let begin = Instant::now();
        let Acts { length, recorded, cuts, mut close_all } = acts;
        loop {
            let passed = begin.elapsed();
            let cut = self.cuts();
            if cuts.is_some_and(|wanted| cut >= wanted) {
                return;
            }
            if close_all.is_some_and(|at| passed >= at) {
                close_all = None;
                let closed = self.sim.close_all();
                self.status.say(&format!("all {closed} connections were closed at once"));
            }
            if length.is_some_and(|length| passed >= length) || recorded && self.sim.is_over() {
                return;
            }
            let clock = match length {
                _ if cuts.is_some() => format!("{cut}/{} cuts", cuts.unwrap_or(0)),
                Some(length) => format!("{:>4.0}/{} s", passed.as_secs_f64(), length.as_secs()),
                None => format!("{:>4.0} s", passed.as_secs_f64()),
            };
            self.show("running", &clock);
            let rest = length.map_or(TICK, |length| TICK.min(length.saturating_sub(passed)));
            tokio::select! {
                () = stop.asked() => return,
                () = pipeline.feed_ended() => return,
                () = sleep(rest) => {}
            }
        }
    }

    /// Waits for a moment in which no gap goes on: comparing a long run takes longer than the silence after which sockets are
    /// left.
    async fn settle(&mut self, within: Duration) {
        let begin = Instant::now();
        while self.received.faults().0 > 0 && begin.elapsed() < within {
            self.show("settling", &format!("{:>4.1}/{} s", begin.elapsed().as_secs_f64(), within.as_secs()));
            sleep(TICK).await;
        }
    }

    /// Waits until the client holds everything, at most so long; whether it does.
    async fn become_whole(&mut self, truth: &Arc<Truth>, wanted: &[Wanted], within: Duration) -> bool {
        let begin = Instant::now();
        let wanted = Arc::new(wanted.to_vec());
        while begin.elapsed() < within {
            let (truth, wanted, seen) = (truth.clone(), wanted.clone(), self.received.seen());
            let looked = tokio::task::spawn_blocking(move || {
                verdict::judge(&truth, &wanted, &seen, &seen, BTreeMap::new()).complete
            });
            if looked.await.unwrap_or(false) {
                return true;
            }
            for _ in 0..3 {
                self.show("becoming whole", &format!("{:>4.1}/{} s", begin.elapsed().as_secs_f64(), within.as_secs()));
                sleep(TICK).await;
            }
        }
        false
    }
}
