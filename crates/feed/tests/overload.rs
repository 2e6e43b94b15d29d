//! A line at more than twice its capacity, over real sockets: what it gives up, in which order, what it says of it, and that
//! nobody else notices. The line carries a brake (each frame that is read costs so much), the venue does not.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{RestServer, acknowledge, ws_server};
use futures_util::SinkExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wholetape_feed::worker::Command;
use wholetape_feed::{Feed, FeedConfig, FeedHandle, Hub, LineConfig};
use wholetape_model::{Body, GapCause, GapState, LinkCause, Topic, Ts, ValidityState};
use wholetape_tape::{From, ReaderOptions, Tape, TapeConfig};

const S: Duration = Duration::from_secs(1);
/// What each frame costs that is read: 2 000 a second.
const BRAKE: Duration = Duration::from_micros(500);

/// What the venue has published so far, by its own numbering.
#[derive(Default)]
struct Published {
    trades: AtomicU64,
    raw: AtomicU64,
    tickers: AtomicU64,
    depths: AtomicU64,
    quotes: AtomicU64,
    /// Rounds a second of [`round`].
    rate: AtomicU64,
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// One round: 6 depth, 4 raw trades, 2 trades, 6 tickers, 2 quotes.
fn round(p: &Published, symbol: &str) -> Vec<String> {
    let (lower, t) = (symbol.to_lowercase(), now_ms());
    let next = |n: &AtomicU64| n.fetch_add(1, Ordering::SeqCst) + 1;
    let wrap = |stream: &str, data: String| format!("{{\"stream\":\"{lower}@{stream}\",\"data\":{data}}}");
    let mut frames = Vec::new();
    for i in 0..6 {
        let u = next(&p.depths);
        frames.push(wrap("depth@100ms", format!("{{\"e\":\"depthUpdate\",\"E\":{t},\"s\":\"{symbol}\",\"U\":{u},\"u\":{u},\"b\":[[\"100.00000000\",\"{u}.00000000\"]],\"a\":[[\"101.00000000\",\"1.00000000\"]]}}")));
        let n = next(&p.tickers);
        frames.push(wrap("ticker", format!("{{\"e\":\"24hrTicker\",\"E\":{t},\"s\":\"{symbol}\",\"p\":\"0.1\",\"P\":\"0.1\",\"w\":\"1.0\",\"x\":\"1.0\",\"c\":\"{n}.0\",\"Q\":\"1.0\",\"b\":\"1.0\",\"B\":\"1.0\",\"a\":\"1.0\",\"A\":\"1.0\",\"o\":\"1.0\",\"h\":\"9.0\",\"l\":\"1.0\",\"v\":\"1.0\",\"q\":\"1.0\",\"O\":{t},\"C\":{t},\"F\":0,\"L\":1,\"n\":{n}}}")));
        if i < 4 {
            let id = next(&p.raw);
            frames.push(wrap("trade", format!("{{\"e\":\"trade\",\"E\":{t},\"s\":\"{symbol}\",\"t\":{id},\"p\":\"100.50000000\",\"q\":\"0.10000000\",\"T\":{t},\"m\":true,\"M\":true}}")));
        }
        if i < 2 {
            let id = next(&p.trades);
            frames.push(wrap("aggTrade", format!("{{\"e\":\"aggTrade\",\"E\":{t},\"s\":\"{symbol}\",\"a\":{id},\"p\":\"100.50000000\",\"q\":\"0.10000000\",\"f\":{id},\"l\":{id},\"T\":{t},\"m\":true,\"M\":true}}")));
            let u = next(&p.quotes);
            frames.push(wrap("bookTicker", format!("{{\"u\":{u},\"s\":\"{symbol}\",\"b\":\"100.00000000\",\"B\":\"1.00000000\",\"a\":\"101.00000000\",\"A\":\"1.00000000\"}}")));
        }
    }
    frames
}

/// A venue that sends `rate` rounds a second; whoever reads too slowly pushes back on it.
async fn venue(p: Arc<Published>, symbol: &'static str) -> (SocketAddr, RestServer) {
    let known = p.clone();
    let rest = RestServer::start(move |path| {
        let answer = match path {
            p if p.contains("/depth") => {
                let u = known.depths.load(Ordering::SeqCst);
                let body = format!("{{\"lastUpdateId\":{u},\"bids\":[[\"100.00000000\",\"{u}.00000000\"]],\"asks\":[[\"101.00000000\",\"1.00000000\"]]}}");
                (200, String::new(), body)
            }
            p => common::agg_trades(&p, known.trades.load(Ordering::SeqCst)),
        };
        async move { answer }
    })
    .await;
    let ws = ws_server(move |mut ws, _| {
        let p = p.clone();
        async move {
            acknowledge(&mut ws).await;
            let mut due = Instant::now();
            loop {
                let rate = p.rate.load(Ordering::SeqCst);
                if rate == 0 {
                    tokio::time::sleep(S / 50).await;
                    due = Instant::now();
                    continue;
                }
                for frame in round(&p, symbol) {
                    if ws.feed(Message::text(frame)).await.is_err() {
                        return;
                    }
                }
                if ws.flush().await.is_err() {
                    return;
                }
                due = (due + S / u32::try_from(rate).unwrap()).max(Instant::now() - S);
                tokio::time::sleep_until(due).await;
            }
        }
    })
    .await;
    (ws, rest)
}

fn line(name: &str, venue: &str, symbol: &str, ws: SocketAddr, rest: SocketAddr) -> LineConfig {
    LineConfig {
        name: name.into(),
        venue: venue.into(),
        instruments: vec![symbol.into()],
        channels: ["trade", "trade-raw", "book", "quote", "ticker"].map(String::from).to_vec(),
        ws: vec![format!("ws://{ws}")],
        rest: vec![format!("http://{rest}")],
        approved: Some("tests, today, loopback".into()),
        // Short, and yet longer than a busy machine keeps a thread waiting.
        lag_max: Duration::from_millis(600),
        shed_after: Duration::from_millis(300),
        // The venues here answer any question for trades: what was before the first row is not asked for.
        backlog: Duration::ZERO,
        ..LineConfig::default()
    }
}

struct World {
    tape: Tape,
    _dir: tempfile::TempDir,
    hub: Hub,
    feed: Option<FeedHandle>,
}

impl World {
    fn level(&self, line: &str) -> f64 {
        self.hub.value("feed_shed_level", &[("line", line)]).unwrap_or(0.0)
    }

    /// Every record of a topic as (seq, what `f` makes of it).
    fn read<T>(&self, topic: &str, f: impl Fn(&wholetape_model::Record<'_>) -> Option<T>) -> Vec<T> {
        let topic = Topic::parse(topic).unwrap();
        let mut reader = self.tape.reader(&topic, From::Earliest, ReaderOptions::default()).unwrap();
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        while reader.poll_next(&mut batch, 1_000) > 0 {
            all.extend(batch.drain(..).filter_map(|d| f(&d.record().expect("nothing is missed"))));
        }
        all
    }

    fn ids(&self, topic: &str) -> BTreeSet<u64> {
        let all = self.read(topic, |r| match r.view().unwrap() {
            Body::Trade(t) => t.id.number(),
            _ => None,
        });
        let set: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(set.len(), all.len(), "{topic}: nothing twice");
        set
    }

    /// Gaps by number: cause, ids and the last state.
    fn gaps(&self, topic: &str) -> BTreeMap<u64, (GapCause, u64, u64, Ts, GapState)> {
        let marks = self.read(topic, |r| match r.view().unwrap() {
            Body::Gap(g) => Some((g.gap, (g.cause, g.from_id, g.to_id, r.ts_recv(), g.state))),
            _ => None,
        });
        let mut gaps = BTreeMap::new();
        for (gap, mark) in marks {
            let one = gaps.entry(gap).or_insert(mark);
            // Since when it is told, and how it ended.
            (one.1, one.2, one.4) = (mark.1, mark.2, mark.4);
        }
        gaps
    }

    async fn until(&self, patience: Duration, what: &str, f: impl Fn(&Self) -> bool) {
        let end = Instant::now() + patience;
        while !f(self) {
            assert!(Instant::now() < end, "{what}: not within {patience:?}; level {}", self.level("slow"));
            tokio::time::sleep(S / 50).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_its_capacity_sheds_in_order_and_confesses_all_of_it() {
    let (slow, calm) = (Arc::new(Published::default()), Arc::new(Published::default()));
    let (ws, rest) = venue(slow.clone(), "BTCUSDT").await;
    let (calm_ws, calm_rest) = venue(calm.clone(), "BTCUSD").await;
    let lines = vec![
        line("slow", "binance-spot", "BTCUSDT", ws, rest.addr),
        line("calm", "binance-us", "BTCUSD", calm_ws, calm_rest.addr),
    ];
    let mut plan =
        FeedConfig { workers: 2, line: lines, ..FeedConfig::default() }.plan(&|_| Vec::new()).expect("a good plan");
    plan.lines[0].brake = BRAKE;
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
    let hub = Hub::new();
    let feed = Feed::start(plan, &tape, &hub, CancellationToken::new()).unwrap();
    let mut w = World { tape, _dir: dir, hub, feed: Some(feed) };

    // At a third of what it can do, all is well.
    calm.rate.store(20, Ordering::SeqCst);
    slow.rate.store(30, Ordering::SeqCst);
    let books =
        |w: &World| w.read("book.BTCUSDT.BINANCE", |r| matches!(r.view().unwrap(), Body::Validity(_)).then_some(()));
    w.until(30 * S, "the book is live", |w| books(w).len() == 1).await;
    tokio::time::sleep(S * 2).await;
    w.until(30 * S, "nothing is late", |w| w.level("slow") == 0.0).await;

    // 5 000 frames a second against 2 000.
    slow.rate.store(250, Ordering::SeqCst);
    w.until(60 * S, "depth is shed", |w| w.level("slow") >= 3.0).await;
    let status = w.feed.as_ref().unwrap().ask("slow", "q", Command::Status).await.unwrap().result.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["shed_level"].as_u64().unwrap() >= 3 && status["shed_frames"].as_u64().unwrap() > 0, "{status}");
    tokio::time::sleep(S * 2).await;
    assert!(w.level("calm") < 2.0, "the other worker's line does not notice");

    // And down to a trickle: it comes back by itself.
    slow.rate.store(10, Ordering::SeqCst);
    w.until(120 * S, "it comes back", |w| w.level("slow") == 0.0).await;
    tokio::time::sleep(S).await;
    calm.rate.store(0, Ordering::SeqCst);
    slow.rate.store(0, Ordering::SeqCst);
    let trades = "trade.BTCUSDT.BINANCE";
    let newest = || slow.trades.load(Ordering::SeqCst);
    w.until(60 * S, "trades are whole", |w| w.ids(trades).len() as u64 == newest()).await;
    w.until(60 * S, "verdicts", |w| {
        [trades, "trade-raw.BTCUSDT.BINANCE", "ticker.BTCUSDT.BINANCE", "book.BTCUSDT.BINANCE"]
            .iter()
            .all(|t| w.gaps(t).values().all(|g| g.4 != GapState::Open))
    })
    .await;
    w.feed.take().unwrap().join(10 * S).expect("ends in time");

    // The order, from the link rows: each level tells itself.
    let told = w.read("link.slow", |r| match r.view().unwrap() {
        Body::Link(l) if l.cause == LinkCause::Lagging => Some(l.why.to_owned()),
        _ => None,
    });
    let sheds: Vec<&str> = told.iter().map(|w| w.rsplit_once("shed: ").map_or("caught up", |p| p.1)).collect();
    let begin = sheds.iter().position(|s| *s == "ticker").expect("tickers were shed");
    assert_eq!(sheds[begin - 1..begin + 2], ["nothing", "ticker", "ticker and depth"], "{told:?}");
    assert_eq!(sheds.last(), Some(&"caught up"), "{told:?}");
    let first = |topic: &str| w.gaps(topic).values().filter(|g| g.0 == GapCause::Shed).map(|g| g.3).min();
    let (ticker, depth) = (first("ticker.BTCUSDT.BINANCE").unwrap(), first("book.BTCUSDT.BINANCE").unwrap());
    assert!(ticker < depth);
    for later in [first("trade-raw.BTCUSDT.BINANCE"), first(trades)].into_iter().flatten() {
        assert!(depth < later, "trades last");
    }

    // Books: stale before anything was shed, syncing while it was, live at the end.
    let states = w.read("book.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
        Body::Validity(v) => Some((v.state, v.cause)),
        _ => None,
    });
    let shed = states.iter().position(|s| *s == (ValidityState::Syncing, GapCause::Shed)).expect("the book was shed");
    assert_eq!(states[shed - 1], (ValidityState::Stale, GapCause::Lagging), "{states:?}");
    assert_eq!(states.last().unwrap().0, ValidityState::Live);

    // Held and confessed together are everything that was sent.
    assert_eq!(w.ids(trades), (1..=newest()).collect(), "trades come back by id");
    let raw = w.ids("trade-raw.BTCUSDT.BINANCE");
    let raw_gaps = w.gaps("trade-raw.BTCUSDT.BINANCE");
    for id in 1..=slow.raw.load(Ordering::SeqCst) {
        let confessed = raw_gaps.values().any(|g| g.1 <= id && id <= g.2);
        assert!(raw.contains(&id) != confessed, "raw trade {id}: held or confessed, not both");
    }
    let mut at = None;
    let gaps = w.gaps("book.BTCUSDT.BINANCE");
    let chain = w.read("book.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
        Body::Book(b) => Some((b.action, b.first_id, b.last_id)),
        _ => None,
    });
    for (action, first, last) in chain {
        match (action, at) {
            (wholetape_model::BookAction::Delta, Some(at)) => assert_eq!(first, at + 1, "the chain holds"),
            (wholetape_model::BookAction::Snapshot, Some(at)) if last > at => {
                let confessed = gaps.values().any(|g| g.1 == at + 1 && g.2 >= last && g.0 == GapCause::Shed);
                assert!(confessed, "updates {} to {last}: {gaps:?}", at + 1);
            }
            _ => {}
        }
        at = Some(last);
    }
    let tickers =
        w.read("ticker.BTCUSDT.BINANCE", |r| matches!(r.view().unwrap(), Body::Ticker(_)).then_some(())).len();
    let (sent, shed) = (slow.tickers.load(Ordering::SeqCst), |class| {
        w.hub.value("feed_shed_frames_total", &[("line", "slow"), ("class", class)]).unwrap()
    });
    assert_eq!(tickers as u64 + shed("ticker") as u64, sent, "what is not held was shed, and counted");
    let quotes = w.read("quote.BTCUSDT.BINANCE", |r| matches!(r.view().unwrap(), Body::Quote(_)).then_some(())).len();
    assert_eq!(quotes as u64, slow.quotes.load(Ordering::SeqCst), "the top is never shed");

    // The other line has all of its own, gap-free.
    assert_eq!(w.ids("trade.BTCUSD.BINANCE_US"), (1..=calm.trades.load(Ordering::SeqCst)).collect());
    for topic in ["trade", "trade-raw", "ticker", "book"] {
        assert!(w.gaps(&format!("{topic}.BTCUSD.BINANCE_US")).is_empty(), "{topic}");
    }
}
