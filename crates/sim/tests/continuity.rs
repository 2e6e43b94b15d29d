//! The same folder again: nothing that was told is forgotten, no id comes twice.

mod support;

use std::time::Duration;

use support::{Client, NaiveBook, SPOT, USDM, config, get, start, sync};
use wholetape_sim::{VenueConfig, truth};

#[tokio::test]
async fn killed_venues_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let venues = || vec![VenueConfig::spot(), VenueConfig::usdm()];
    let mut last_seen: Vec<(u64, u64)> = Vec::new();
    for run in 0..3 {
        let sim = start(config(dir.path(), venues())).await;
        let (spot, usdm) = (sim.addr(SPOT).unwrap().clone(), sim.addr(USDM).unwrap().clone());
        let mut client =
            Client::open(&format!("{}/stream?streams=btcusdt@aggTrade/btcusdt@depth@100ms", spot.ws)).await;
        client.listen(300).await;
        let snapshot = get(&spot.rest, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await.body;
        client.listen(500).await;
        let events = client.of("btcusdt@depth@100ms");
        assert!(sync(true, &snapshot, &events).is_ok(), "run {run}");
        let aggs = client.of("btcusdt@aggTrade");
        let id = |i: usize| aggs[i]["a"].as_u64().unwrap();
        if let Some((a, u)) = last_seen.last() {
            assert!(id(0) > *a && snapshot["lastUpdateId"].as_u64().unwrap() > *u, "run {run}: ids go on");
            // What an earlier run told, REST still tells, without a hole up to now.
            let path = format!("/api/v3/aggTrades?symbol=BTCUSDT&fromId={a}&limit=1000");
            let rows = get(&spot.rest, &path).await.body;
            let rows = rows.as_array().unwrap();
            assert_eq!(rows[0]["a"].as_u64(), Some(*a));
            assert!(rows.windows(2).all(|p| p[1]["a"].as_u64() == p[0]["a"].as_u64().map(|a| a + 1)));
            assert!(rows.windows(2).all(|p| p[1]["f"].as_u64() == p[0]["l"].as_u64().map(|l| l + 1)));
            assert!(rows.iter().any(|row| row["a"].as_u64() == Some(id(0))));
        }
        last_seen.push((id(aggs.len() - 1), events.last().unwrap()["u"].as_u64().unwrap()));
        assert_eq!(
            get(&usdm.rest, "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=5").await.body.as_array().unwrap().len(),
            5
        );
        // No finish and no goodbye: like a kill.
        drop(sim);
    }
    let truth = truth::load(dir.path()).unwrap();
    assert_eq!(truth.venues[SPOT].runs, 3);
    for (a, _) in last_seen {
        assert!(
            truth.venues[SPOT].instruments["BTCUSDT"].agg_trades.contains_key(&a),
            "what was served is in the truth"
        );
    }
    for (name, venue) in &truth.venues {
        for (symbol, one) in &venue.instruments {
            let ids: Vec<u64> = one.agg_trades.keys().copied().collect();
            assert!(ids.windows(2).all(|p| p[1] == p[0] + 1), "{name} {symbol}: one unbroken run of ids");
        }
    }
}

#[tokio::test]
async fn frozen_venues_serve_but_create_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), vec![VenueConfig::usdm()]);
    config.start_frozen = true;
    let sim = start(config).await;
    let addr = sim.addr(USDM).unwrap().clone();
    let mut client =
        Client::open(&format!("{}/public/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker", addr.ws)).await;
    client.listen(300).await;
    assert!(client.frames.is_empty());
    assert_eq!(sim.subscriptions(USDM).len(), 2);
    let before = get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    sim.resume();
    client.listen(600).await;
    let summary = sim.finish().unwrap();
    client.listen(100).await;
    let told = client.frames.len();
    client.listen(300).await;
    assert!(told > 10 && client.frames.len() == told);
    let book = sync(false, &before, &client.of("btcusdt@depth@100ms")).unwrap();
    let after = get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    assert_eq!(book, NaiveBook::snapshot(&after));
    assert_eq!(summary.venues[USDM]["BTCUSDT"].final_update_id, Some(book.id));
    let truth = truth::load(dir.path()).unwrap();
    let btc = &truth.venues[USDM].instruments["BTCUSDT"];
    // The recorded final book, and the one rebuilt from the diffs, are one.
    assert_eq!(btc.book_at(book.id).map(|text| NaiveBook::of(&text)), Some(book));
    assert!(dir.path().join("truth.json").exists());
    sim.stop().await;
}

#[tokio::test]
async fn the_same_seed_founds_the_same_venue() {
    let mut found = Vec::new();
    for seed in [5, 5, 6] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), vec![VenueConfig::spot()]);
        (config.seed, config.start_frozen) = (seed, true);
        let sim = start(config).await;
        found.push(get(&sim.addrs()[0].rest, "/api/v3/depth?symbol=ETHUSDT&limit=50").await.body);
        sim.stop().await;
    }
    assert_eq!(found[0], found[1]);
    assert_ne!(found[0], found[2]);
}

#[tokio::test]
async fn what_is_dropped_tells_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let named = |at: usize| VenueConfig { name: format!("venue{at}"), ..VenueConfig::spot() };
    let sim = start(config(dir.path(), (0..8).map(named).collect())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A tick is due at every venue when the end comes.
    std::thread::sleep(Duration::from_millis(100));
    drop(sim);
    let lengths = || -> Vec<u64> {
        let file = |at: usize| dir.path().join(format!("truth-venue{at}.jsonl"));
        (0..8).map(|at| std::fs::metadata(file(at)).unwrap().len()).collect()
    };
    let then = lengths();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(lengths(), then);
}
