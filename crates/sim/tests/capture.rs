//! A real recording served again: frames untouched, snapshots that fit at any time, history from the recorded trades.

mod support;

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::Value;
use support::{Client, NaiveBook, SPOT, USDM, captures, get, start, sync};
use wholetape_sim::{FaultConfig, FaultLevel, SimConfig, VenueKind, truth};

fn recording(file: &std::path::Path) -> String {
    let mut text = String::new();
    let mut decoder = zstd::Decoder::new(std::fs::File::open(file).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    decoder.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_told_untouched_and_snapshots_fit_at_any_time() {
    let Some(root) = captures() else { return };
    let file = root.join("binance-usdm/btcusdt_20240808.jsonl.zst");
    let dir = tempfile::tempdir().unwrap();
    let mut config = SimConfig::capture(VenueKind::BinanceUsdm, file.clone(), 60.0);
    (config.data_dir, config.start_frozen) = (dir.path().to_path_buf(), true);
    let sim = start(config).await;
    let addr = sim.addr(USDM).unwrap().clone();
    assert_eq!(addr.symbols, ["BTCUSDT"]);
    let streams = "btcusdt@depth@0ms/btcusdt@bookTicker/btcusdt@trade";
    let mut early = Client::open(&format!("{}/public/stream?streams={streams}", addr.ws)).await;
    let snapshot = get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    sim.resume();
    let listening = tokio::spawn(async move {
        // As long as this machine takes: until a second brings nothing.
        early.listen(7_500).await;
        for before in 0.. {
            let told = early.frames.len();
            early.listen(1_000).await;
            if early.frames.len() == told || before > 60 {
                break;
            }
        }
        early
    });
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    // Another cadence's name, joined in the middle.
    let mut late = Client::open(&format!("{}/public/stream?streams=btcusdt@depth@100ms", addr.ws)).await;
    late.listen(300).await;
    let midway = get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    late.listen(4_600).await;
    let early = listening.await.unwrap();
    late.listen(300).await;
    assert!(sim.is_over(), "a minute tells it all");
    sim.finish().unwrap();

    let sent: BTreeSet<&str> = early.frames.iter().map(String::as_str).collect();
    let text = recording(&file);
    let recorded = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut frames = 0;
    for line in recorded.filter(|line| line["kind"] == "ws_in") {
        assert!(sent.contains(line["data"].as_str().unwrap()), "a recorded frame was not sent as it is");
        frames += 1;
    }
    assert_eq!(early.frames.len(), frames);

    let book = sync(false, &snapshot, &early.of("btcusdt@depth@0ms")).unwrap();
    let truth = truth::load(dir.path()).unwrap();
    let btc = &truth.venues[USDM].instruments["BTCUSDT"];
    assert_eq!(NaiveBook::of(btc.final_book.as_ref().unwrap()), book);
    let joined = sync(false, &midway, &late.of("btcusdt@depth@100ms")).unwrap();
    assert_eq!(joined.id, book.id);
    // It knows less depth, but nothing else.
    assert!(joined.bids.iter().all(|(p, q)| book.bids.get(p) == Some(q)) && joined.bids.len() >= 900);

    let trades = early.of("btcusdt@trade");
    assert_eq!(btc.trades.len(), trades.len());
    let from = trades[100]["t"].as_u64().unwrap();
    let rows =
        get(&addr.rest, &format!("/fapi/v1/historicalTrades?symbol=BTCUSDT&fromId={from}&limit=1000")).await.body;
    let rows = rows.as_array().unwrap();
    assert_eq!((rows[0]["id"].as_u64(), rows.len()), (Some(from), 1000));
    for (row, trade) in rows.iter().zip(&trades[100..]) {
        assert_eq!(
            (&row["id"], &row["price"], &row["qty"], &row["time"]),
            (&trade["t"], &trade["p"], &trade["q"], &trade["T"])
        );
    }
    let info = get(&addr.rest, "/fapi/v1/exchangeInfo").await.body;
    assert_eq!(
        (&info["symbols"][0]["baseAsset"], &info["symbols"][0]["filters"][1]["stepSize"]),
        (&"BTC".into(), &"0.001".into())
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_killed_recording_goes_on_where_it_was_and_faults_strike_it_too() {
    let Some(root) = captures() else { return };
    let file = root.join("binance-spot/btcusdt_20240808.jsonl.zst");
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for run in 0..2 {
        let mut config = SimConfig::capture(VenueKind::BinanceSpot, file.clone(), 20.0);
        config.data_dir = dir.path().to_path_buf();
        config.faults = FaultConfig::level(FaultLevel::None);
        config.faults.per_minute.insert(wholetape_sim::FaultKind::Duplicate, 120.0);
        let sim = start(config).await;
        let addr = sim.addr(SPOT).unwrap().clone();
        let mut client = Client::open(&format!("{}/stream?streams=btcusdt@trade/btcusdt@depth", addr.ws)).await;
        client.listen(1_500).await;
        let snapshot = get(&addr.rest, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await.body;
        client.listen(300).await;
        let trades = client.of("btcusdt@trade");
        assert!(trades[0]["t"].as_u64().unwrap() > last, "run {run}");
        last = trades.last().unwrap()["t"].as_u64().unwrap();
        // A doubled diff is old news to a book.
        sync(true, &snapshot, &dedup(client.of("btcusdt@depth"))).unwrap();
        assert!(sim.fault_counts().values().sum::<u64>() > 0);
        drop(sim);
    }
    let truth = truth::load(dir.path()).unwrap();
    let ids: Vec<u64> = truth.venues[SPOT].instruments["BTCUSDT"].trades.keys().copied().collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "the recording has no hole, nor has its telling");
}

fn dedup(mut events: Vec<Value>) -> Vec<Value> {
    events.dedup();
    events
}

#[tokio::test]
async fn recordings_of_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.jsonl");
    for text in [
        "",
        "nonsense\n",
        "{\"recv_ns\":1,\"conn\":\"c\",\"kind\":\"ws_in\",\"url\":\"wss://elsewhere/\",\"data\":\"{}\"}\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let mut config = SimConfig::capture(VenueKind::BinanceSpot, file.clone(), 1.0);
        config.data_dir = dir.path().join("data");
        assert!(wholetape_sim::Sim::start(config).await.is_err(), "{text}");
    }
}
