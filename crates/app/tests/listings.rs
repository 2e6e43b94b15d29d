//! What a venue lists changes while the feed runs: patterns follow, and a delisting costs nobody else anything.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wholetape_feed::{Feed, FeedConfig, Hub, LineConfig};
use wholetape_model::{Body, LinkCause, Record, Topic, TradingStatus};
use wholetape_sim::{Sim, SimConfig, VenueConfig};
use wholetape_tape::{From, ReaderOptions, Tape, TapeConfig};

const S: Duration = Duration::from_secs(1);
const STAYS: &str = "BTC-USDT";
const GOES: &str = "ETH-USDT-SWAP";
const COMES: &str = "BTC-USD-SWAP";

fn read<T>(tape: &Tape, topic: &str, f: impl Fn(&Record<'_>) -> Option<T>) -> Vec<T> {
    let topic = Topic::parse(topic).unwrap();
    let mut all = Vec::new();
    let Ok(mut reader) = tape.reader(&topic, From::Earliest, ReaderOptions::default()) else { return all };
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, 1_000) > 0 {
        all.extend(batch.drain(..).filter_map(|d| f(&d.record().expect("nothing is missed"))));
    }
    all
}

fn trades(tape: &Tape, symbol: &str) -> Vec<u64> {
    let mut ids = read(tape, &format!("trade.{symbol}.OKX"), |r| match r.view().unwrap() {
        Body::Trade(t) => t.id.number(),
        _ => None,
    });
    ids.sort_unstable();
    ids
}

/// From the venue's first trade on, nothing missing and nothing twice.
fn whole(ids: &[u64]) -> bool {
    ids.iter().enumerate().all(|(i, id)| *id == i as u64 + 1)
}

async fn until(patience: Duration, what: &str, done: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + patience;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_joins_and_what_is_delisted_leaves_its_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        SimConfig { data_dir: dir.path().join("sim"), venues: vec![VenueConfig::okx()], ..SimConfig::default() };
    let sim = Sim::start(config).await.unwrap();
    assert!(sim.list("okx", COMES, false));
    let addr = sim.addrs()[0].clone();
    assert!([STAYS, GOES, COMES].iter().all(|s| addr.symbols.iter().any(|known| known == s)), "{:?}", addr.symbols);
    let line = LineConfig {
        venue: "okx".into(),
        instruments: vec!["*".into()],
        channels: ["trade", "book", "quote", "instrument"].map(String::from).to_vec(),
        ws: vec![addr.ws.clone()],
        rest: vec![addr.rest.clone()],
        approved: Some("tests, today, loopback".into()),
        backoff: Duration::from_millis(50),
        backoff_max: Duration::from_millis(200),
        open_timeout: S,
        ..LineConfig::default()
    };
    let config = FeedConfig { workers: 1, listings_every: S, line: vec![line] };
    let listed = wholetape_feed::symbols::fetch(
        "okx",
        vec![wholetape_feed::endpoint::Endpoint::parse(&addr.rest, wholetape_feed::endpoint::Scheme::Http).unwrap()],
    );
    let listed = listed.await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let plan = config.plan(&|_| listed.clone()).expect("a good plan");
    assert_eq!(plan.lines.len(), 1);
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let hub = Hub::new();
    let feed = Feed::start(plan, &tape, &hub, CancellationToken::new()).unwrap();
    let counted = |change| hub.value("feed_listings_total", &[("venue", "okx"), ("change", change)]);

    until(30 * S, "both are recorded", || [STAYS, GOES].iter().all(|s| trades(&tape, s).len() > 20)).await;
    assert!(trades(&tape, COMES).is_empty() && counted("listed") == Some(0.0));

    // One joins: a line of its own, and its trades are whole from the very first.
    assert!(sim.list("okx", COMES, true));
    until(30 * S, "the listing is recorded", || trades(&tape, COMES).len() > 50 && whole(&trades(&tape, COMES))).await;
    assert_eq!(feed.lines(), ["okx", "okx-listed-1"]);
    assert_eq!(counted("listed"), Some(1.0));
    assert_eq!(feed.asker().line_of(&format!("{COMES}.OKX")).as_deref(), Some("okx-listed-1"));

    // One goes: that is said once, and when the connection begins anew nobody else misses anything.
    assert!(sim.list("okx", GOES, false));
    let closed = || {
        read(&tape, &format!("status.{GOES}.OKX"), |r| match r.view().unwrap() {
            Body::Status(status) => Some(status.status),
            _ => None,
        })
    };
    until(30 * S, "the delisting is told", || closed().last() == Some(&TradingStatus::Closed)).await;
    let held = trades(&tape, GOES).len();
    let before = trades(&tape, STAYS).len();
    sim.close_all();
    until(30 * S, "the neighbours go on", || {
        let ids = trades(&tape, STAYS);
        ids.len() > before + 50 && whole(&ids)
    })
    .await;
    let links = read(&tape, "link.okx", |r| match r.view().unwrap() {
        Body::Link(link) => Some((link.cause, link.why.to_owned())),
        _ => None,
    });
    assert!(links.iter().all(|(cause, _)| *cause != LinkCause::SubscribeRefused), "{links:?}");
    assert_eq!(counted("delisted"), Some(1.0));
    assert_eq!(trades(&tape, GOES).len(), held);
    tokio::time::sleep(3 * S).await;
    assert_eq!(closed().iter().filter(|s| **s == TradingStatus::Closed).count(), 1, "told once");

    tokio::task::block_in_place(|| feed.join(10 * S).expect("ends in time"));
    sim.stop().await;
}
