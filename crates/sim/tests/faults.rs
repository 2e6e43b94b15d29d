//! Every fault is seen by the client it strikes, and counted only then.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Client, SPOT, config, get, start, sync};
use tokio_tungstenite::tungstenite::Error;
use wholetape_sim::{FaultConfig, FaultKind, FaultLevel, Injection, SimHandle, VenueConfig, truth};

async fn one(dir: &std::path::Path) -> (SimHandle, String, String) {
    let sim = start(config(dir, vec![VenueConfig::spot()])).await;
    let addr = sim.addr(SPOT).unwrap().clone();
    (sim, addr.ws, addr.rest)
}

fn count(sim: &SimHandle, kind: FaultKind) -> u64 {
    sim.fault_counts().get(&kind).copied().unwrap_or(0)
}

fn ids(events: &[Value], key: &str) -> Vec<u64> {
    events.iter().map(|event| event[key].as_u64().unwrap()).collect()
}

const STREAMS: &str = "/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker";

#[tokio::test]
async fn lost_doubled_and_swapped_frames_show_in_the_ids() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, ws, _) = one(dir.path()).await;
    let trade = "btcusdt@trade";
    for kind in [FaultKind::Drop, FaultKind::Duplicate, FaultKind::Reorder] {
        let mut client = Client::open(&format!("{ws}{STREAMS}")).await;
        client.listen(200).await;
        sim.inject(&Injection::new(kind).stream(trade)).unwrap();
        client.listen(700).await;
        let seen = ids(&client.of(trade), "t");
        let steps: Vec<i64> =
            seen.windows(2).map(|pair| pair[1] as i64 - pair[0] as i64).filter(|step| *step != 1).collect();
        let wanted: &[i64] = match kind {
            FaultKind::Drop => &[2],
            FaultKind::Duplicate => &[0],
            _ => &[2, -1, 2],
        };
        assert_eq!((steps.as_slice(), count(&sim, kind)), (wanted, 1), "{kind}");
        drop(client);
    }
    let told = truth::load(dir.path()).unwrap().faults;
    assert_eq!(told.len(), 3);
    assert!(told[0].what.starts_with("t=") && told[0].stream.as_deref() == Some(trade) && told[0].conn.is_some());
    // A lost depth event breaks the venue's own rule.
    let mut client = Client::open(&format!("{ws}{STREAMS}")).await;
    client.listen(250).await;
    sim.inject(&Injection::new(FaultKind::Drop).stream("btcusdt@depth@100ms")).unwrap();
    client.listen(500).await;
    let events = client.of("btcusdt@depth@100ms");
    assert!(events.windows(2).any(|pair| pair[1]["U"].as_u64() != pair[0]["u"].as_u64().map(|u| u + 1)));
    sim.stop().await;
}

#[tokio::test]
async fn connections_are_cut_closed_stalled_and_told_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, ws, _) = one(dir.path()).await;
    let url = format!("{ws}{STREAMS}");

    let mut client = Client::open(&url).await;
    client.listen(150).await;
    sim.inject(&Injection::new(FaultKind::CutReset)).unwrap();
    let end = loop {
        if let Err(end) = client.next().await {
            break end;
        }
    };
    assert!(matches!(end, Some(Error::Io(_) | Error::Protocol(_))), "{end:?}");

    let mut client = Client::open(&url).await;
    client.listen(150).await;
    sim.inject(&Injection::new(FaultKind::CutClose)).unwrap();
    assert!(client.listen(2000).await.is_none());

    let mut client = Client::open(&url).await;
    client.listen(150).await;
    sim.inject(&Injection::new(FaultKind::PlannedClose)).unwrap();
    client.until(|text| text.contains("serverShutdown")).await;
    assert!(client.listen(2000).await.is_none());

    let mut client = Client::open(&url).await;
    client.listen(150).await;
    sim.inject(&Injection { millis: Some(600), ..Injection::new(FaultKind::Stall) }).unwrap();
    client.listen(100).await;
    let before = client.frames.len();
    client.listen(300).await;
    assert_eq!(client.frames.len(), before, "held");
    client.listen(600).await;
    let seen = ids(&client.of("btcusdt@trade"), "t");
    assert!(client.frames.len() > before && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "late, but whole");
    for kind in [FaultKind::CutReset, FaultKind::CutClose, FaultKind::PlannedClose, FaultKind::Stall] {
        assert_eq!(count(&sim, kind), 1, "{kind}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn silence_garbage_and_unknown_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, ws, _) = one(dir.path()).await;
    sim.inject(&Injection::new(FaultKind::AckSilence).stream("btcusdt@trade")).unwrap();
    let mut client = Client::open(&format!("{ws}/stream")).await;
    client.send(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker"],"id":1}"#).await;
    assert!(client.until(|text| text.contains("result")).await.contains("null"));
    client.listen(500).await;
    assert!(client.of("btcusdt@trade").is_empty() && !client.of("btcusdt@bookTicker").is_empty());
    assert_eq!(count(&sim, FaultKind::AckSilence), 1);
    client.send(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":2}"#).await;
    client.listen(400).await;
    assert!(!client.of("btcusdt@trade").is_empty(), "a new subscription speaks again");

    sim.inject(&Injection::new(FaultKind::GoSilent).stream("btcusdt@trade")).unwrap();
    client.listen(50).await;
    let before = client.of("btcusdt@trade").len();
    client.listen(300).await;
    assert_eq!(client.of("btcusdt@trade").len(), before);

    sim.inject(&Injection { count: 4, ..Injection::new(FaultKind::Garbage) }).unwrap();
    sim.inject(&Injection::new(FaultKind::UnknownEnum)).unwrap();
    client.listen(500).await;
    assert!(client.frames.iter().filter(|text| serde_json::from_str::<Value>(text).is_err()).count() >= 3);
    assert!(client.frames.iter().any(|text| text.contains("NEW_KIND")));
    assert_eq!((count(&sim, FaultKind::Garbage), count(&sim, FaultKind::UnknownEnum)), (4, 1));

    let flood = Injection { per_second: Some(10_000), millis: Some(300), ..Injection::new(FaultKind::Garbage) };
    client.frames.clear();
    sim.inject(&flood).unwrap();
    client.listen(900).await;
    assert!(client.frames.len() > 2_900, "{} frames", client.frames.len());
    assert!(sim.inject(&Injection::new(FaultKind::Drop).on("nowhere")).is_err());
    sim.stop().await;
}

#[tokio::test]
async fn rest_is_refused_slow_late_and_stale() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, ws, rest) = one(dir.path()).await;
    let mut client = Client::open(&format!("{ws}{STREAMS}")).await;
    let path = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
    client.listen(300).await;

    sim.inject(&Injection::new(FaultKind::StaleSnapshot)).unwrap();
    let stale = get(&rest, path).await.body["lastUpdateId"].as_u64().unwrap();
    assert!(stale < client.of("btcusdt@depth@100ms")[0]["U"].as_u64().unwrap(), "older than the first buffered event");

    sim.inject(&Injection { millis: Some(400), ..Injection::new(FaultKind::LateSnapshot) }).unwrap();
    let asked = Instant::now();
    let late = get(&rest, path).await.body;
    assert!(asked.elapsed() > Duration::from_millis(390));
    client.listen(300).await;
    assert!(sync(true, &late, &client.of("btcusdt@depth@100ms")).is_ok(), "late, but consistent");

    sim.inject(&Injection { millis: Some(300), ..Injection::new(FaultKind::SlowRest) }).unwrap();
    let asked = Instant::now();
    assert_eq!(get(&rest, "/api/v3/ping").await.status, 200);
    assert!(asked.elapsed() > Duration::from_millis(290));

    for (kind, status) in [(FaultKind::Http429, 429), (FaultKind::Http418, 418)] {
        sim.inject(&Injection { millis: Some(300), ..Injection::new(kind) }).unwrap();
        let refused = get(&rest, "/api/v3/ping").await;
        assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (status, "1"));
        assert_eq!(get(&rest, "/api/v3/ping").await.status, status, "until it is over");
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert_eq!(get(&rest, "/api/v3/ping").await.status, 200);
        assert_eq!(count(&sim, kind), 1);
    }

    sim.inject(&Injection { millis: Some(300), ..Injection::new(FaultKind::Blackhole) }).unwrap();
    assert_eq!(count(&sim, FaultKind::Blackhole), 0, "nobody has met it yet");
    assert!(tokio_tungstenite::connect_async(format!("{ws}{STREAMS}")).await.is_err());
    assert_eq!(count(&sim, FaultKind::Blackhole), 1);
    assert_eq!(get(&rest, "/api/v3/ping").await.status, 200);

    let time = async || get(&rest, "/api/v3/time").await.body["serverTime"].as_i64().unwrap();
    let before = time().await;
    sim.inject(&Injection { millis: Some(300), ..Injection::new(FaultKind::ClockStep) }).unwrap();
    assert!((time().await - before).abs() > 400, "the clock stepped");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!((time().await - before - 400).abs() < 350, "and back");
    sim.stop().await;
}

#[tokio::test]
async fn a_futures_trade_may_have_a_source_that_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::usdm()])).await;
    let mut client = Client::open(&format!("{}/public/stream?streams=btcusdt@trade", sim.addrs()[0].ws)).await;
    sim.inject(&Injection::new(FaultKind::UnknownEnum)).unwrap();
    client.listen(600).await;
    let trades = client.of("btcusdt@trade");
    assert_eq!(trades.iter().filter(|trade| trade["X"] == "NEW_KIND").count(), 1);
    assert!(ids(&trades, "t").windows(2).all(|pair| pair[1] == pair[0] + 1));
    sim.stop().await;
}

/// A client that does what any client does: connects again, asks for snapshots, subscribes again when a stream is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rough_brings_each_kind_to_a_client_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), vec![VenueConfig::spot(), VenueConfig::usdm()]);
    config.faults = FaultConfig::level(FaultLevel::Rough);
    let sim = start(config).await;
    let end = Instant::now() + Duration::from_secs(18);
    let run = |ws: String, rest: String, api: &'static str| {
        tokio::spawn(async move {
            while Instant::now() < end {
                let Ok(Ok((socket, _))) =
                    tokio::time::timeout(Duration::from_secs(2), tokio_tungstenite::connect_async(&ws)).await
                else {
                    continue;
                };
                let mut client = Client { ws: socket, frames: Vec::new() };
                let rest = rest.clone();
                let asking = tokio::spawn(async move {
                    for _ in 0..2 {
                        // A blackhole may swallow it.
                        let _ = tokio::spawn({
                            let rest = rest.clone();
                            async move { get(&rest, &format!("{api}depth?symbol=BTCUSDT&limit=100")).await }
                        })
                        .await;
                    }
                });
                client.listen(1500).await;
                asking.abort();
            }
        })
    };
    let (spot, usdm) = (sim.addrs()[0].clone(), sim.addrs()[1].clone());
    let one = run(format!("{}{STREAMS}", spot.ws), spot.rest, "/api/v3/");
    let two = run(format!("{}/public{STREAMS}", usdm.ws), usdm.rest, "/fapi/v1/");
    let _ = tokio::join!(one, two);
    sim.freeze();
    let counts = sim.fault_counts();
    for kind in FaultKind::SCHEDULED {
        assert!(counts.get(&kind).is_some_and(|n| *n > 0), "{kind} never happened: {counts:?}");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sim.fault_counts(), counts, "frozen venues are faultless");
    let summary = sim.finish().unwrap();
    assert_eq!(summary.faults.values().sum::<u64>(), counts.values().sum::<u64>(), "each is in the log");
    sim.stop().await;
}
