//! The simulated OKX as a plain client meets it.

mod support;

use serde_json::Value;
use support::{Client, config, get, start};
use wholetape_sim::{FaultKind, Injection, VenueConfig, truth};

const OKX: &str = "okx";
const SPOT: &str = "BTC-USDT";
const SWAP: &str = "ETH-USDT-SWAP";

fn subscribe(id: &str, args: &[(&str, &str)]) -> String {
    let args: Vec<_> = args
        .iter()
        .map(|(channel, subject)| match *channel {
            "liquidation-orders" | "instruments" => format!(r#"{{"channel":"{channel}","instType":"{subject}"}}"#),
            _ => format!(r#"{{"channel":"{channel}","instId":"{subject}"}}"#),
        })
        .collect();
    format!(r#"{{"id":"{id}","op":"subscribe","args":[{}]}}"#, args.join(","))
}

/// Frames of one channel and subject, as JSON.
fn of(client: &Client, channel: &str, subject: &str) -> Vec<Value> {
    let frames = client.frames.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
    frames
        .filter(|f| f["arg"]["channel"] == channel && f["data"].is_array())
        .filter(|f| f["arg"]["instId"] == subject || f["arg"]["instType"] == subject)
        .collect()
}

fn id_of(row: &Value) -> u64 {
    row["tradeId"].as_str().unwrap().parse().unwrap()
}

/// The chain of `books` by the documents' rule; the book's levels as price → size.
fn follow(frames: &[Value]) -> (u64, [std::collections::BTreeMap<String, String>; 2]) {
    let (mut last, mut book) = (None, <[std::collections::BTreeMap<String, String>; 2]>::default());
    for frame in frames {
        let row = &frame["data"][0];
        let (previous, seq) = (row["prevSeqId"].as_i64().unwrap(), row["seqId"].as_u64().unwrap());
        assert_eq!(row["checksum"], 0);
        if frame["action"] == "snapshot" {
            assert_eq!(previous, -1);
            book = Default::default();
        } else {
            assert_eq!(Some(previous as u64), last, "an update follows the message before it");
        }
        last = Some(seq);
        for (side, levels) in [(0, &row["bids"]), (1, &row["asks"])] {
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
async fn books_begin_with_a_snapshot_link_reset_and_end_as_the_truth_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::okx()])).await;
    let addr = sim.addr(OKX).unwrap().clone();
    let mut client = Client::open(&format!("{}/ws/v5/public", addr.ws)).await;
    client.send(&subscribe("1", &[("books", SPOT), ("bbo-tbt", SPOT), ("trades", SPOT)])).await;
    client.listen(1_500).await;
    sim.inject(&Injection::new(FaultKind::IdReset)).unwrap();
    client.listen(1_000).await;
    // Asked for anew, it begins anew.
    client.send(&subscribe("2", &[("books", SPOT)])).await;
    client.listen(500).await;
    sim.finish().unwrap();
    client.listen(300).await;
    let frames = of(&client, "books", SPOT);
    assert!(frames.iter().filter(|f| f["action"] == "snapshot").count() == 2 && frames.len() > 20);
    let resets = frames.iter().filter(|f| {
        let row = &f["data"][0];
        row["seqId"].as_i64().unwrap() < row["prevSeqId"].as_i64().unwrap()
    });
    assert_eq!(resets.count(), 1, "one push leads to a smaller id");
    let (last, [bids, asks]) = follow(&frames);
    assert!(bids.len() == 400 && asks.len() == 400, "never more than the best 400");
    let truth = truth::load(dir.path()).unwrap();
    let book = truth.venues[OKX].instruments[SPOT].final_book.clone().unwrap();
    assert_eq!(book.last_update_id, last);
    assert_eq!(book.bids.into_iter().collect::<std::collections::BTreeMap<_, _>>(), bids);
    assert_eq!(book.asks.into_iter().collect::<std::collections::BTreeMap<_, _>>(), asks);
    assert!(of(&client, "bbo-tbt", SPOT).len() > 20);
    for group in of(&client, "trades", SPOT) {
        assert!(group["data"][0]["count"].as_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
}

#[tokio::test]
async fn an_idle_book_is_repeated_with_equal_ids() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::okx();
    venue.instruments.iter_mut().for_each(|one| one.events_per_s = 0.0);
    venue.limits.idle_push_ms = Some(300);
    let sim = start(config(dir.path(), vec![venue])).await;
    let mut client = Client::open(&format!("{}/ws/v5/public", sim.addr(OKX).unwrap().ws)).await;
    client.send(&subscribe("1", &[("books", SPOT)])).await;
    client.listen(1_000).await;
    let frames = of(&client, "books", SPOT);
    let (snapshot, rest) = frames.split_first().unwrap();
    let seq = &snapshot["data"][0]["seqId"];
    assert!(rest.len() >= 2, "{}", rest.len());
    for frame in rest {
        let row = &frame["data"][0];
        assert!(row["seqId"] == *seq && row["prevSeqId"] == *seq && row["asks"] == row["bids"]);
    }
    sim.finish().unwrap();
    assert!(truth::load(dir.path()).unwrap().venues[OKX].instruments[SPOT].depth.is_empty());
}

#[tokio::test]
async fn commands_are_answered_one_by_one_and_480_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::okx()])).await;
    let base = sim.addr(OKX).unwrap().ws.clone();
    let mut client = Client::open(&format!("{base}/ws/v5/public")).await;
    client.send("ping").await;
    assert_eq!(client.next().await.unwrap(), "pong");
    let wrong = [("books", "NO-NO"), ("trades-all", SPOT), ("mark-price", SPOT)];
    let mut args = vec![("tickers", SPOT)];
    args.extend(wrong);
    client.send(&subscribe("7", &args)).await;
    let ack: Value = serde_json::from_str(&client.until(|t| t.contains(r#""id":"7""#)).await).unwrap();
    assert_eq!((&ack["event"], &ack["arg"]["channel"]), (&"subscribe".into(), &"tickers".into()));
    for (channel, subject) in wrong {
        let error: Value = serde_json::from_str(&client.until(|t| t.contains(r#""event":"error""#)).await).unwrap();
        assert_eq!((&error["code"], &error["id"]), (&"60018".into(), &"7".into()));
        let text = error["msg"].as_str().unwrap();
        assert!(text.contains(&format!("channel:{channel},instId:{subject} doesn't exist")), "{text}");
    }
    client.send("{").await;
    assert!(client.until(|t| t.contains("60012")).await.contains("Invalid request"));
    let mut business = Client::open(&format!("{base}/ws/v5/business")).await;
    for n in 1..=480 {
        business.send(&subscribe(&n.to_string(), &[("candle1m", SPOT)])).await;
    }
    business.until(|t| t.contains(r#""id":"480""#) && t.contains(r#""event":"subscribe""#)).await;
    business.send(&subscribe("481", &[("candle1m", SPOT)])).await;
    assert!(business.until(|t| t.contains(r#""id":"481""#)).await.contains("60014"));
}

#[tokio::test]
async fn a_connection_that_is_told_nothing_is_cut_and_a_ping_is_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::okx();
    venue.limits.pong_within_ms = Some(600);
    let sim = start(config(dir.path(), vec![venue])).await;
    let mut client = Client::open(&format!("{}/ws/v5/public", sim.addr(OKX).unwrap().ws)).await;
    for _ in 0..4 {
        assert!(client.listen(300).await.is_some(), "alive");
        client.send("ping").await;
    }
    assert!(client.listen(3_000).await.is_none(), "cut");
    assert_eq!(client.frames, ["pong"; 4]);
}

#[tokio::test]
async fn matches_page_downwards_and_are_what_the_stream_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::okx();
    venue.history_s = 60;
    let sim = start(config(dir.path(), vec![venue])).await;
    let addr = sim.addr(OKX).unwrap().clone();
    let mut client = Client::open(&format!("{}/ws/v5/business", addr.ws)).await;
    client.send(&subscribe("1", &[("trades-all", SPOT)])).await;
    client.listen(2_000).await;
    sim.freeze();
    client.listen(200).await;
    let live: Vec<u64> = of(&client, "trades-all", SPOT).iter().map(|f| id_of(&f["data"][0])).collect();
    assert!(live.len() > 10 && live.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let rows = |body: &Value| body["data"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>();
    // `after` is exclusive, and pages are newest first.
    let mut edge = live[live.len() - 1] + 1;
    let mut held = Vec::new();
    for _ in 0..4 {
        let path = format!("/api/v5/market/history-trades?instId={SPOT}&type=1&after={edge}&limit=100");
        let page = rows(&get(&addr.rest, &path).await.body);
        assert_eq!(page, (edge - 100..edge).rev().collect::<Vec<_>>());
        edge = page[99];
        held.extend(page);
    }
    assert!(live.iter().all(|id| held.contains(id)));
    // `before` alone gives the newest.
    let path = format!("/api/v5/market/history-trades?instId={SPOT}&before={}", edge - 200);
    assert_eq!(rows(&get(&addr.rest, &path).await.body)[0], live[live.len() - 1]);
    // By time: what is older, the newest of it first.
    let newest = &get(&addr.rest, &format!("/api/v5/market/trades?instId={SPOT}&limit=500")).await.body;
    let at = newest["data"][50]["ts"].as_str().unwrap();
    let path = format!("/api/v5/market/history-trades?instId={SPOT}&type=2&after={at}&limit=1");
    let before = &get(&addr.rest, &path).await.body["data"][0];
    assert!(before["ts"].as_str().unwrap() < at);
    let next = newest["data"].as_array().unwrap().iter().find(|row| id_of(row) == id_of(before) + 1).unwrap();
    assert!(next["ts"].as_str().unwrap() >= at);
    sim.finish().unwrap();
    let truth = truth::load(dir.path()).unwrap();
    let known = &truth.venues[OKX].instruments[SPOT];
    assert!(held.iter().all(|id| known.trades.contains_key(id)));
    assert!(known.agg_trades.values().all(|group| known.trades.contains_key(&group.first_id)));
}

#[tokio::test]
async fn rest_refuses_at_each_endpoints_own_rate_and_complains_in_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::okx()])).await;
    let base = sim.addr(OKX).unwrap().rest.clone();
    let unknown = get(&base, "/api/v5/market/trades?instId=NO-NO").await;
    assert_eq!((unknown.status, &unknown.body["code"]), (200, &"51001".into()));
    assert_eq!(get(&base, "/api/v5/market/trades").await.status, 400);
    assert_eq!(get(&base, "/api/v5/market/nothing").await.status, 404);
    let listed = get(&base, "/api/v5/public/instruments?instType=SWAP").await.body;
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|row| &row["instId"]).collect();
    assert_eq!(ids, ["ETH-USDT-SWAP", "BTC-USD-SWAP"]);
    let book = get(&base, &format!("/api/v5/market/books?instId={SWAP}&sz=5")).await.body;
    assert_eq!(book["data"][0]["asks"].as_array().unwrap().len(), 5);
    let mut refused = 0;
    for _ in 0..45 {
        let reply = get(&base, "/api/v5/public/time").await;
        if reply.status == 429 {
            assert_eq!((&reply.body["code"], reply.headers.get("retry-after")), (&"50011".into(), None));
            refused += 1;
        }
    }
    assert!(refused > 0, "10 requests in 2 s");
    assert_eq!(get(&base, "/api/v5/public/instruments?instType=SPOT").await.status, 200, "each has its own account");
}
