//! Silences against the simulated venue: each is found within seconds, named on the tape, and costs no trade.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wholetape_feed::{Feed, FeedConfig, FeedHandle, Hub, LineConfig};
use wholetape_model::{Body, Check, LinkCause, LinkState, Topic};
use wholetape_sim::{FaultKind, Injection, Sim, SimConfig, SimHandle, VenueConfig};
use wholetape_tape::{From, ReaderOptions, Tape, TapeConfig};

const S: Duration = Duration::from_secs(1);
const TRADES: &str = "btcusdt@aggTrade";

struct World {
    sim: SimHandle,
    tape: Tape,
    feed: Option<FeedHandle>,
    hub: Hub,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start(before: Option<Injection>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let venue = VenueConfig::spot();
        let sim =
            Sim::start(SimConfig { data_dir: dir.path().join("sim"), venues: vec![venue], ..SimConfig::default() });
        let sim = sim.await.unwrap();
        if let Some(injection) = before {
            sim.inject(&injection).unwrap();
        }
        let addr = sim.addrs()[0].clone();
        let line = LineConfig {
            name: "spot".into(),
            venue: "binance-spot".into(),
            instruments: vec!["BTCUSDT".into()],
            channels: vec!["trade".into(), "book".into(), "quote".into()],
            ws: vec![addr.ws.clone()],
            rest: vec![addr.rest.clone()],
            approved: Some("tests, today, loopback".into()),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_millis(200),
            open_timeout: S,
            ..LineConfig::default()
        };
        let plan = FeedConfig { workers: 1, line: vec![line], ..FeedConfig::default() }
            .plan(&|_| Vec::new())
            .expect("a good plan");
        let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
        let hub = Hub::new();
        let feed = Feed::start(plan, &tape, &hub, CancellationToken::new()).unwrap();
        Self { sim, tape, feed: Some(feed), hub, _dir: dir }
    }

    fn read<T>(&self, topic: &str, f: impl Fn(&wholetape_model::Record<'_>) -> Option<T>) -> Vec<T> {
        let topic = Topic::parse(topic).unwrap();
        let mut all = Vec::new();
        let Ok(mut reader) = self.tape.reader(&topic, From::Earliest, ReaderOptions::default()) else { return all };
        let mut batch = Vec::new();
        while reader.poll_next(&mut batch, 1_000) > 0 {
            all.extend(batch.drain(..).filter_map(|d| f(&d.record().expect("nothing is missed"))));
        }
        all
    }

    /// How many trades are held without a hole from the first on.
    fn whole_trades(&self) -> Option<usize> {
        let mut ids = self.trades();
        ids.sort_unstable();
        ids.windows(2).all(|pair| pair[1] == pair[0] + 1).then_some(ids.len())
    }

    fn trades(&self) -> Vec<u64> {
        self.read("trade.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
            Body::Trade(t) => t.id.number(),
            _ => None,
        })
    }

    fn links(&self) -> Vec<(LinkState, LinkCause, String)> {
        self.read("link.spot", |r| match r.view().unwrap() {
            Body::Link(l) => Some((l.state, l.cause, l.why.to_owned())),
            _ => None,
        })
    }

    fn silences(&self) -> Vec<String> {
        self.read("quality.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
            Body::Finding(f) if f.check == Check::Silence => Some(f.why.to_owned()),
            _ => None,
        })
    }

    fn was_left(&self) -> bool {
        self.links().iter().any(|(_, cause, why)| *cause == LinkCause::Silent && why.contains("trade.BTCUSDT.BINANCE"))
    }

    fn is_active(&self) -> bool {
        self.links().last().is_some_and(|l| l.0 == LinkState::Active)
    }

    async fn end(mut self) {
        let feed = self.feed.take().unwrap();
        tokio::task::block_in_place(|| feed.join(10 * S).expect("ends in time"));
        self.sim.stop().await;
    }
}

async fn until(patience: Duration, what: impl Fn() -> bool) -> bool {
    let end = tokio::time::Instant::now() + patience;
    while !what() {
        if tokio::time::Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_a_stream_that_is_acknowledged_and_silent_is_named_and_tried_again() {
    let world = World::start(Some(Injection::new(FaultKind::AckSilence).stream(TRADES))).await;
    assert!(until(15 * S, || world.was_left()).await, "{:?}", world.links());
    assert!(until(5 * S, || world.is_active()).await, "{:?}", world.links());
    assert!(until(10 * S, || world.silences().iter().any(|w| w.starts_with("trade is live"))).await);
    assert!(world.silences()[0].starts_with("trade is stalled: REST has newer"), "{:?}", world.silences());
    let labels = [("venue", "binance-spot"), ("line", "spot"), ("verdict", "stalled")];
    assert!(until(S, || world.hub.value("feed_silences_total", &labels) >= Some(1.0)).await);
    world.sim.freeze();
    assert!(until(10 * S, || world.whole_trades().is_some_and(|n| n > 20)).await, "no trade is lost");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_a_live_stream_that_goes_silent_is_left_within_seconds() {
    let world = World::start(None).await;
    assert!(until(10 * S, || world.is_active() && world.whole_trades().is_some_and(|n| n > 5)).await);
    world.sim.inject(&Injection::new(FaultKind::GoSilent).stream(TRADES)).unwrap();
    let struck = || world.sim.fault_counts().contains_key(&FaultKind::GoSilent);
    assert!(until(5 * S, struck).await);
    let since = tokio::time::Instant::now();
    assert!(until(10 * S, || world.was_left()).await, "{:?}", world.links());
    let after = since.elapsed();
    // Within five, and some for a machine that is busy with other tests.
    assert!(after <= 8 * S, "left after {after:?}");
    world.sim.freeze();
    assert!(until(10 * S, || world.whole_trades().is_some_and(|n| n > 20)).await, "no trade is lost");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackholed_host_is_left_and_tried_until_it_answers() {
    let world = World::start(None).await;
    assert!(until(10 * S, || world.is_active() && world.whole_trades().is_some_and(|n| n > 5)).await);
    world.sim.inject(&Injection { millis: Some(3_000), ..Injection::new(FaultKind::Blackhole) }).unwrap();
    world.sim.inject(&Injection::new(FaultKind::CutReset)).unwrap();
    let hung = || world.links().iter().any(|l| l.1 == LinkCause::OpenFailed);
    assert!(until(5 * S, hung).await, "{:?}", world.links());
    assert!(until(15 * S, || world.is_active()).await, "{:?}", world.links());
    assert!(until(15 * S, || world.whole_trades().is_some_and(|n| n > 30)).await, "{:?}", world.trades());
    world.end().await;
}
