//! The simulated Bybit as a plain client meets it.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Client, Levels, config, get, start};
use wholetape_sim::{FaultKind, Injection, VenueConfig, truth};

const SPOT: &str = "bybit-spot";
const LINEAR: &str = "bybit-linear";
const SYMBOL: &str = "BTCUSDT";

fn subscribe(id: &str, topics: &[&str]) -> String {
    let topics: Vec<String> = topics.iter().map(|topic| format!("\"{topic}\"")).collect();
    format!(r#"{{"req_id":"{id}","op":"subscribe","args":[{}]}}"#, topics.join(","))
}

/// Messages of one topic, as JSON.
fn of(client: &Client, topic: &str) -> Vec<Value> {
    let frames = client.frames.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
    frames.filter(|frame| frame["topic"] == topic).collect()
}

/// A stream of a book by the documents' rule: a snapshot replaces, a delta is one further.
fn follow(frames: &[Value]) -> (u64, [Levels; 2]) {
    let (mut last, mut book) = (None, <[Levels; 2]>::default());
    for frame in frames {
        let data = &frame["data"];
        let u = data["u"].as_u64().unwrap();
        if frame["type"] == "snapshot" {
            book = Default::default();
        } else {
            assert_eq!(last, Some(u - 1), "a delta follows the message before it");
        }
        last = Some(u);
        for (side, levels) in [(0, &data["b"]), (1, &data["a"])] {
            for level in levels.as_array().unwrap() {
                let [price, size] = [0, 1].map(|at| level[at].as_str().unwrap().to_owned());
                if size == "0" {
                    assert!(book[side].remove(&price).is_some(), "{price} is deleted where it is");
                } else {
                    book[side].insert(price, size);
                }
            }
        }
    }
    (last.unwrap(), book)
}

#[tokio::test]
async fn books_begin_whole_count_by_one_restart_at_one_and_end_as_the_truth_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::bybit_linear()])).await;
    let mut client = Client::open(&format!("{}/v5/public/linear", sim.addr(LINEAR).unwrap().ws)).await;
    let topics = [50, 200, 1_000].map(|depth| format!("orderbook.{depth}.{SYMBOL}"));
    client.send(&subscribe("1", &topics.each_ref().map(String::as_str))).await;
    client.send(&subscribe("2", &["orderbook.1.BTCUSDT"])).await;
    client.listen(1_500).await;
    sim.inject(&Injection::new(FaultKind::IdReset)).unwrap();
    client.listen(1_000).await;
    // Once is enough: ids would come twice.
    sim.inject(&Injection::new(FaultKind::IdReset)).unwrap();
    client.send(&format!(r#"{{"req_id":"3","op":"unsubscribe","args":["{}"]}}"#, topics[1])).await;
    client.send(&subscribe("4", &[&topics[1]])).await;
    client.listen(500).await;
    sim.finish().unwrap();
    client.listen(300).await;
    assert_eq!(sim.fault_counts()[&FaultKind::IdReset], 1);
    let truth = truth::load(dir.path()).unwrap();
    let known = &truth.venues[LINEAR].instruments[SYMBOL];
    for (topic, depth) in topics.iter().zip([50, 200, 1_000]) {
        let frames = of(&client, topic);
        let snapshots: Vec<u64> =
            frames.iter().filter(|f| f["type"] == "snapshot").map(|f| f["data"]["u"].as_u64().unwrap()).collect();
        assert_eq!(snapshots.len(), if depth == 200 { 3 } else { 2 }, "{topic}");
        assert!(snapshots[0] > 1_000_000 && snapshots[1] == 1 && frames.len() > 10, "{snapshots:?}");
        let (last, [bids, asks]) = follow(&frames);
        assert!(bids.len() <= depth && asks.len() <= depth && bids.len() >= depth.min(380), "{}", bids.len());
        if depth == 200 {
            let book = known.final_book.clone().unwrap();
            assert_eq!(book.last_update_id, last);
            assert_eq!(book.bids.into_iter().collect::<Levels>(), bids);
            assert_eq!(book.asks.into_iter().collect::<Levels>(), asks);
        }
    }
    assert!(known.depth_other.contains_key("50") && known.depth_other.contains_key("1000"));
    let best = of(&client, "orderbook.1.BTCUSDT");
    assert!(best.iter().all(|f| f["type"] == "snapshot" && f["data"]["b"].as_array().unwrap().len() == 1));
    assert_eq!(best.iter().filter(|f| f["data"]["u"] == 1).count(), 1);
}

#[tokio::test]
async fn best_prices_that_stand_are_repeated_with_their_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::bybit_spot();
    venue.instruments.iter_mut().for_each(|one| one.events_per_s = 0.0);
    venue.limits.idle_push_ms = Some(200);
    let sim = start(config(dir.path(), vec![venue])).await;
    let mut client = Client::open(&format!("{}/v5/public/spot", sim.addr(SPOT).unwrap().ws)).await;
    client.send(&subscribe("1", &["orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT"])).await;
    client.listen(1_000).await;
    let frames = of(&client, "orderbook.1.BTCUSDT");
    assert!(frames.len() >= 3, "{}", frames.len());
    for frame in &frames[1..] {
        assert!(frame["data"] == frames[0]["data"] && frame["cts"] == frames[0]["cts"], "{frame}");
    }
    assert!(frames[2]["ts"].as_i64() > frames[1]["ts"].as_i64());
    assert_eq!(of(&client, "orderbook.50.BTCUSDT").len(), 1, "a book that stands is not repeated");
    sim.finish().unwrap();
    let known = &truth::load(dir.path()).unwrap().venues[SPOT].instruments[SYMBOL];
    assert_eq!((known.quotes.len(), known.depth.len()), (1, 0));
}

#[tokio::test]
async fn a_request_is_answered_once_and_one_bad_topic_fails_it() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::bybit_spot(), VenueConfig::bybit_linear()])).await;
    let spot = format!("{}/v5/public/spot", sim.addr(SPOT).unwrap().ws);
    let mut client = Client::open(&spot).await;
    let mut ask = async |text: &str, id: &str| -> Value {
        client.send(text).await;
        let id = format!(r#""req_id":"{id}""#);
        serde_json::from_str(&client.until(|t| t.contains(&id)).await).unwrap()
    };
    let pong = ask(r#"{"req_id":"p","op":"ping"}"#, "p").await;
    assert_eq!((&pong["op"], &pong["ret_msg"], &pong["success"]), (&"ping".into(), &"pong".into(), &true.into()));
    let ack = ask(&subscribe("1", &["publicTrade.BTCUSDT"]), "1").await;
    assert_eq!((&ack["success"], &ack["ret_msg"]), (&true.into(), &"subscribe".into()));
    for (id, topics, why) in [
        ("2", &["tickers.BTCUSDT", "orderbook.7.BTCUSDT"][..], "error:handler not found,topic:orderbook.7.BTCUSDT"),
        ("3", &["allLiquidation.BTCUSDT"], "error:handler not found,topic:allLiquidation.BTCUSDT"),
        ("4", &["tickers.NONE"], "error:handler not found,topic:tickers.NONE"),
        ("5", &["publicTrade.BTCUSDT"], "error:already subscribed,topic:publicTrade.BTCUSDT"),
        ("6", &["tickers.BTCUSDT"; 11], "args size >10"),
    ] {
        let refused = ask(&subscribe(id, topics), id).await;
        assert_eq!((&refused["success"], &refused["ret_msg"]), (&false.into(), &why.into()));
    }
    let gone = ask(r#"{"req_id":"7","op":"unsubscribe","args":["publicTrade.BTCUSDT"]}"#, "7").await;
    assert_eq!(gone["success"], true);
    assert!(sim.subscriptions(SPOT).is_empty(), "a request that failed did nothing");
    assert_eq!(sim.addr(SPOT).unwrap().addr, sim.addr(LINEAR).unwrap().addr, "one house, one address");
    assert!(tokio_tungstenite::connect_async(spot.replace("spot", "option")).await.is_err(), "another category");
    // Derivatives say nothing when all is well, and take long lists, but not of any length.
    let mut linear = Client::open(&format!("{}/v5/public/linear", sim.addr(LINEAR).unwrap().ws)).await;
    linear.send(&subscribe("8", &["tickers.BTCUSDT"])).await;
    assert!(linear.until(|t| t.contains(r#""req_id":"8""#)).await.contains(r#""success":true,"ret_msg":"","#));
    let long = vec!["kline.1.BTCUSDT"; 1_200];
    linear.send(&subscribe("9", &long)).await;
    assert!(linear.until(|t| t.contains(r#""req_id":"9""#)).await.contains("args characters >21000"));
}

/// What a client knows of a ticker: a snapshot, and what changed.
fn merged(frames: &[Value]) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for (at, frame) in frames.iter().enumerate() {
        assert_eq!(frame["type"], if at == 0 { "snapshot" } else { "delta" });
        for (key, value) in frame["data"].as_object().unwrap() {
            known.insert(key.clone(), value.as_str().unwrap().to_owned());
        }
    }
    known
}

#[tokio::test]
async fn a_ticker_is_a_snapshot_and_deltas_and_the_truth_keeps_it_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::bybit_linear()])).await;
    let url = format!("{}/v5/public/linear", sim.addr(LINEAR).unwrap().ws);
    let (mut early, mut late) = (Client::open(&url).await, Client::open(&url).await);
    early.send(&subscribe("1", &["tickers.BTCUSDT"])).await;
    early.listen(1_500).await;
    late.send(&subscribe("1", &["tickers.BTCUSDT"])).await;
    late.listen(2_500).await;
    sim.finish().unwrap();
    early.listen(200).await;
    late.listen(200).await;
    let frames = of(&early, "tickers.BTCUSDT");
    let known = merged(&frames);
    assert_eq!(merged(&of(&late, "tickers.BTCUSDT")), known);
    let lean = frames.iter().filter(|f| f["data"].get("openInterest").is_none()).count();
    assert!(lean > frames.len() / 2, "what did not change is absent");
    let number = |key: &str| known[key].parse::<f64>().unwrap();
    assert!((number("openInterest") - 2.0 * number("singleOpenInterest")).abs() < 1e-6, "both sides, and one");
    let truth = truth::load(dir.path()).unwrap();
    let last = truth.venues[LINEAR].instruments[SYMBOL].tickers.last().unwrap().payload.clone();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert!(known.iter().all(|(key, text)| last["data"][key] == text.as_str()), "{known:?} {last}");
    assert!(!last["told"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn trades_cannot_be_counted_and_rest_has_the_newest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spot, mut linear) = (VenueConfig::bybit_spot(), VenueConfig::bybit_linear());
    (spot.history_s, linear.history_s) = (60, 60);
    let sim = start(config(dir.path(), vec![spot, linear])).await;
    assert_eq!(sim.rest_tallies()["bybit"].weight_limit, 600, "in five seconds");
    for (name, category, most) in [(SPOT, "spot", 60), (LINEAR, "linear", 1_000)] {
        let addr = sim.addr(name).unwrap().clone();
        let mut client = Client::open(&format!("{}/v5/public/{category}", addr.ws)).await;
        client.send(&subscribe("1", &["publicTrade.BTCUSDT"])).await;
        client.listen(1_500).await;
        let page = |limit: u32| format!("/v5/market/recent-trade?category={category}&symbol={SYMBOL}&limit={limit}");
        let all = get(&addr.rest, &page(5_000)).await.body;
        let rows = all["result"]["list"].as_array().unwrap();
        assert!(rows.len() == most || category == "linear" && rows.len() > 300, "{name}: {}", rows.len());
        assert!(rows[0]["time"].as_str() >= rows[1]["time"].as_str());
        assert_eq!(get(&addr.rest, &page(2)).await.body["result"]["list"].as_array().unwrap().len(), 2);
        let frames = of(&client, "publicTrade.BTCUSDT");
        let live: Vec<&Value> = frames.iter().flat_map(|f| f["data"].as_array().unwrap()).collect();
        assert!(live.len() > 10 && frames.len() < live.len(), "several of one taker in a message");
        assert!(live.iter().all(|row| (row["i"].as_str().unwrap().len() == 36) == (category == "linear")));
        assert!(live.iter().all(|row| row.get("L").is_some() == (category == "linear")));
        let known = truth::load(dir.path()).unwrap();
        let known = &known.venues[name].instruments[SYMBOL].trades;
        for row in live {
            let id = row["i"].as_str().unwrap();
            let one = known.values().find(|one| one.name.as_deref().unwrap_or(&one.id.to_string()) == id).expect(id);
            assert_eq!(
                (one.price.as_str(), one.size.as_str()),
                (row["p"].as_str().unwrap(), row["v"].as_str().unwrap())
            );
            assert_eq!(one.buyer_is_maker, row["S"] == "Sell");
        }
    }
}

#[tokio::test]
async fn definitions_have_pages_candles_a_past_and_too_many_requests_are_a_ban() {
    let dir = tempfile::tempdir().unwrap();
    let mut venues = vec![VenueConfig::bybit_spot(), VenueConfig::bybit_linear()];
    // A hundred in five seconds, not the venue's six: these are asked one by one, on machines that have more to do.
    venues.iter_mut().for_each(|venue| venue.limits.weight_per_min = Some(1_200));
    let sim = start(config(dir.path(), venues)).await;
    let base = sim.addr(LINEAR).unwrap().rest.clone();
    let mut path = "/v5/market/instruments-info?category=linear&limit=1".to_owned();
    let mut symbols = Vec::new();
    loop {
        let result = get(&base, &path).await.body["result"].clone();
        symbols.extend(result["list"].as_array().unwrap().iter().map(|row| row["symbol"].as_str().unwrap().to_owned()));
        match result["nextPageCursor"].as_str().unwrap() {
            "" => break,
            cursor => path = format!("/v5/market/instruments-info?category=linear&limit=1&cursor={cursor}"),
        }
    }
    assert_eq!(symbols, ["BTCUSDT", "SOLUSDT"]);
    let none = get(&base, "/v5/market/instruments-info?category=linear&status=PreLaunch").await.body;
    assert_eq!(none["result"]["list"].as_array().unwrap().len(), 0);
    let spot = sim.addr(SPOT).unwrap().rest.clone();
    let all = get(&spot, "/v5/market/instruments-info?category=spot").await.body;
    assert_eq!(all["result"]["list"].as_array().unwrap().len(), 2);
    assert!(all["result"].get("nextPageCursor").is_none(), "spot has no pages");
    let wrong = get(&base, "/v5/market/recent-trade?category=linear&symbol=NONE").await;
    assert_eq!((wrong.status, &wrong.body["retCode"]), (200, &10_001.into()));
    assert_eq!(get(&base, "/v5/market/recent-trade?category=option&symbol=BTCUSDT").await.body["retCode"], 10_001);
    let sol = "/v5/market/recent-trade?symbol=SOLUSDT&category=";
    assert_eq!(get(&base, &format!("{sol}linear")).await.body["retCode"], 0, "each category has its own symbols");
    assert_eq!(get(&base, &format!("{sol}spot")).await.body["retCode"], 10_001);
    assert_eq!(get(&base, "/v5/market/nothing").await.status, 404);
    let book = get(&base, "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=5").await.body;
    assert_eq!(book["result"]["a"].as_array().unwrap().len(), 5);
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let bars = get(&base, "/v5/market/kline?category=linear&symbol=BTCUSDT&interval=1").await.body;
    assert_eq!(bars["result"]["list"][0].as_array().unwrap().len(), 7);
    sim.inject(&Injection { millis: Some(300), ..Injection::new(FaultKind::Http429).on(SPOT) }).unwrap();
    let often = get(&base, "/v5/market/time").await;
    assert_eq!((often.status, &often.body["retCode"], often.headers.get("retry-after")), (200, &10_006.into(), None));
    // What is asked before the refusal is over is charged to nobody, and a fast machine asks a thousand times before that.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    for asked in 0.. {
        assert!(asked < 1_000, "100 in five seconds are enough: {:?}", sim.rest_tallies());
        if get(&spot, "/v5/market/time").await.status == 403 {
            break;
        }
    }
    assert_eq!(get(&base, "/v5/market/time").await.status, 403, "for all of the house");
    assert!(sim.rest_tallies()["bybit"].over_limit > 0);
}

#[tokio::test]
async fn a_closed_candle_holds_the_trades_of_its_minute_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::bybit_spot();
    venue.instruments.truncate(1);
    // Every moment trades, so one falls on the change of the minute.
    venue.instruments[0].events_per_s = 2_000.0;
    let sim = start(config(dir.path(), vec![venue])).await;
    let closed = |truth: &truth::Truth| -> Vec<Value> {
        let bars = truth.venues[SPOT].instruments[SYMBOL].klines.iter();
        let rows = bars.map(|bar| serde_json::from_str::<Value>(&bar.payload).unwrap()["data"][0].clone());
        rows.filter(|row| row["confirm"] == true).collect()
    };
    // Two ends: the first minute may have begun before the venue did.
    let step = Injection { step_ms: Some(60_000), millis: Some(120_000), ..Injection::new(FaultKind::ClockStep) };
    let mut client = Client::open(&format!("{}/v5/public/spot", sim.addr(SPOT).unwrap().ws)).await;
    client.send(&subscribe("1", &["publicTrade.BTCUSDT"])).await;
    client.listen(1_000).await;
    sim.inject(&step).unwrap();
    client.listen(1_500).await;
    sim.finish().unwrap();
    let truth = truth::load(dir.path()).unwrap();
    let bars = closed(&truth);
    // One by the step of the clock; another where a minute of its own ended meanwhile.
    assert!((1..=2).contains(&bars.len()), "{bars:?}");
    for bar in &bars {
        let (start, end) = (bar["start"].as_i64().unwrap(), bar["end"].as_i64().unwrap());
        let trades = truth.venues[SPOT].instruments[SYMBOL].trades.values();
        let volume: f64 =
            trades.filter(|t| (start..=end).contains(&t.time_ms)).map(|t| t.size.parse::<f64>().unwrap()).sum();
        let told: f64 = bar["volume"].as_str().unwrap().parse().unwrap();
        assert!((volume - told).abs() < 1e-6 && told > 0.0, "{volume} of trades, {told} of the bar");
    }
}

#[tokio::test]
async fn only_what_shows_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::bybit_linear()])).await;
    let mut client = Client::open(&format!("{}/v5/public/linear", sim.addr(LINEAR).unwrap().ws)).await;
    client.send(&subscribe("1", &["publicTrade.BTCUSDT", "orderbook.200.BTCUSDT"])).await;
    client.listen(300).await;
    for kind in [FaultKind::Drop, FaultKind::Duplicate] {
        sim.inject(&Injection { count: 5, every: 2, ..Injection::new(kind) }).unwrap();
    }
    client.listen(3_000).await;
    sim.finish().unwrap();
    let faults = truth::load(dir.path()).unwrap().faults;
    let of = |kind| faults.iter().filter(move |f| f.kind == kind).map(|f| f.stream.clone().unwrap_or_default());
    assert_eq!(of(FaultKind::Drop).count(), 5);
    assert!(of(FaultKind::Drop).all(|stream| stream == "orderbook.200.BTCUSDT"));
    assert_eq!(of(FaultKind::Duplicate).count(), 5);
}

#[tokio::test]
async fn started_again_no_id_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let sim = start(config(dir.path(), vec![VenueConfig::bybit_linear()])).await;
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
        sim.finish().unwrap();
        sim.stop().await;
        let truth = truth::load(dir.path()).unwrap();
        let known = &truth.venues[LINEAR].instruments[SYMBOL];
        ids.push((known.trades.len(), known.depth.len(), known.depth.last().unwrap().last));
        let mut all: Vec<u64> = known.depth.iter().map(|event| event.last).collect();
        all.dedup();
        assert!(all.len() == known.depth.len() && all.is_sorted());
        assert!(known.trades.keys().copied().eq(1..=known.trades.len() as u64), "trades go on by one");
    }
    assert!(ids[1].0 > ids[0].0 && ids[1].1 > ids[0].1 && ids[1].2 > ids[0].2 + 1_000_000);
}
