//! The simulated Kraken as a plain client meets it.

mod support;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use support::{Client, config, get, start};
use wholetape_sim::{FaultKind, Injection, VenueConfig, truth};

const KRAKEN: &str = "kraken";
const BTC: &str = "BTC/USD";
const ETH: &str = "ETH/USD";

fn ask(method: &str, id: u64, channel: &str, symbols: &[&str], more: &str) -> String {
    let symbols = symbols.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(",");
    let symbols = if symbols.is_empty() { String::new() } else { format!(r#","symbol":[{symbols}]"#) };
    format!(r#"{{"method":"{method}","params":{{"channel":"{channel}"{symbols}{more}}},"req_id":{id}}}"#)
}

fn subscribe(id: u64, channel: &str, symbols: &[&str], more: &str) -> String {
    ask("subscribe", id, channel, symbols, more)
}

/// Messages of one channel.
fn of(client: &Client, channel: &str) -> Vec<Value> {
    let frames = client.frames.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    frames.filter(|f| f["channel"] == channel).collect()
}

#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct Row<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    #[serde(borrow)]
    asks: Vec<Level<'a>>,
    checksum: u32,
}

#[derive(Deserialize)]
struct Frame<'a> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: Vec<Row<'a>>,
}

/// Texts by their digits, which are of one number of places.
type Side = BTreeMap<u64, (String, String)>;

fn digits(text: &str) -> u64 {
    text.replace('.', "").parse().unwrap()
}

/// The documents' book: update, cut, verify.
#[derive(Default)]
struct Book {
    bids: Side,
    asks: Side,
    messages: u32,
    wrong: u32,
}

impl Book {
    fn take(&mut self, text: &str, symbol: &str, depth: usize) {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else { return };
        let Some(row) = frame.data.first().filter(|row| frame.channel == "book" && row.symbol == symbol) else {
            return;
        };
        if frame.kind == "snapshot" {
            (self.bids, self.asks) = Default::default();
        }
        for (side, levels) in [(&mut self.bids, &row.bids), (&mut self.asks, &row.asks)] {
            for Level { price, qty } in levels {
                if digits(qty.get()) == 0 {
                    assert!(side.remove(&digits(price.get())).is_some(), "{} is deleted where it is", price.get());
                } else {
                    side.insert(digits(price.get()), (price.get().into(), qty.get().into()));
                }
            }
        }
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
        self.messages += 1;
        let best = self.asks.values().take(10).chain(self.bids.values().rev().take(10));
        let text: String = best.map(|(price, qty)| format!("{}{}", digits(price), digits(qty))).collect();
        self.wrong += u32::from(crc32fast::hash(text.as_bytes()) != row.checksum);
    }
}

#[tokio::test]
async fn books_of_every_depth_prove_right_and_end_as_the_truth_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::kraken()])).await;
    let url = format!("{}/v2", sim.addr(KRAKEN).unwrap().ws);
    let mut clients = Vec::new();
    for depth in [10, 25, 100, 500, 1_000] {
        let mut client = Client::open(&url).await;
        client.send(&subscribe(1, "book", &[BTC, ETH], &format!(r#","depth":{depth}"#))).await;
        clients.push((depth, client));
    }
    for _ in 0..4 {
        for (_, client) in &mut clients {
            client.listen(500).await;
        }
    }
    sim.finish().unwrap();
    let known = truth::load(dir.path()).unwrap();
    for (depth, client) in &mut clients {
        client.listen(300).await;
        for symbol in [BTC, ETH] {
            let mut book = Book::default();
            client.frames.iter().for_each(|text| book.take(text, symbol, *depth));
            assert!(book.messages > 30 && book.wrong == 0, "{depth} of {symbol}: {} of {}", book.wrong, book.messages);
            let last = known.venues[KRAKEN].instruments[symbol].final_book.clone().unwrap();
            let ours: Vec<_> = book.bids.into_values().rev().collect();
            assert_eq!(ours, last.bids[..(*depth).min(last.bids.len())], "{depth} of {symbol}");
            let ours: Vec<_> = book.asks.into_values().collect();
            assert_eq!(ours, last.asks[..(*depth).min(last.asks.len())], "{depth} of {symbol}");
        }
    }
    let deep = &known.venues[KRAKEN].instruments[BTC];
    assert_eq!(deep.final_book.as_ref().unwrap().bids.len(), 1_000, "never more than a thousand");
    assert!(deep.depth.windows(2).all(|pair| pair[1].previous == pair[0].last) && deep.depth_other.contains_key("10"));
}

#[tokio::test]
async fn a_spoiled_checksum_is_one_message_and_its_book_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::kraken()])).await;
    let mut client = Client::open(&format!("{}/v2", sim.addr(KRAKEN).unwrap().ws)).await;
    client.send(&subscribe(1, "book", &[BTC, ETH], r#","depth":100"#)).await;
    client.listen(500).await;
    let fault = Injection::new(FaultKind::BadChecksum).stream("book-100:ETH/USD");
    sim.inject(&fault).unwrap();
    // Messages of books are never lost, doubled or swapped: nothing would show it.
    for kind in [FaultKind::Drop, FaultKind::Duplicate, FaultKind::Reorder] {
        sim.inject(&Injection::new(kind)).unwrap();
    }
    client.listen(1_000).await;
    assert_eq!(sim.fault_counts().into_iter().collect::<Vec<_>>(), [(FaultKind::BadChecksum, 1)]);
    for (symbol, wrong) in [(BTC, 0), (ETH, 1)] {
        let mut book = Book::default();
        client.frames.iter().for_each(|text| book.take(text, symbol, 100));
        assert_eq!(book.wrong, wrong, "{symbol}");
    }
}

#[tokio::test]
async fn subscriptions_begin_with_what_stands_and_are_answered_symbol_by_symbol() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::kraken()])).await;
    let mut client = Client::open(&format!("{}/v2", sim.addr(KRAKEN).unwrap().ws)).await;
    let status = client.next().await.unwrap();
    assert!(status.contains(r#""channel":"status""#) && status.contains(r#""system":"online""#), "{status}");
    client.send(r#"{"method":"ping","req_id":42}"#).await;
    let pong: Value = serde_json::from_str(&client.next().await.unwrap()).unwrap();
    assert_eq!((&pong["method"], &pong["req_id"]), (&"pong".into(), &42.into()));
    client.listen(1_500).await;
    assert!(client.frames.is_empty(), "no heartbeat without a subscription");
    client.send(&subscribe(1, "trade", &[BTC, "NO/USD"], "")).await;
    client.send(&subscribe(2, "ticker", &[BTC], r#","event_trigger":"bbo""#)).await;
    client.send(&subscribe(3, "ohlc", &[BTC], r#","interval":1"#)).await;
    client.send(&subscribe(4, "instrument", &[], "")).await;
    client.send(&subscribe(5, "trade", &[BTC], "")).await;
    client.send(&subscribe(6, "book", &[BTC], r#","depth":11"#)).await;
    client.send(&ask("unsubscribe", 7, "book", &[BTC], r#","depth":10"#)).await;
    client.listen(2_500).await;
    let answers: Vec<Value> = client.frames.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let answer = |id: u64, at: usize| answers.iter().filter(|f| f["req_id"] == id).nth(at).unwrap().clone();
    let good = answer(1, 0);
    assert!(good["success"] == true && good["result"]["symbol"] == BTC && good["result"]["snapshot"] == true, "{good}");
    let bad = answer(1, 1);
    assert_eq!((&bad["error"], &bad["symbol"]), (&"Currency pair not supported NO/USD".into(), &"NO/USD".into()));
    assert_eq!(answer(2, 0)["result"]["event_trigger"], "bbo");
    assert_eq!(answer(3, 0)["result"]["interval"], 1);
    let errors = [5, 6, 7].map(|id| answer(id, 0)["error"].as_str().unwrap().to_owned());
    assert_eq!(errors, ["Already subscribed", "Subscription depth not supported", "Subscription Not Found"]);
    let beats = of(&client, "heartbeat").len();
    assert!((1..=4).contains(&beats), "{beats}");
    for channel in ["trade", "ticker", "ohlc", "instrument"] {
        let messages = of(&client, channel);
        assert_eq!(messages[0]["type"], "snapshot", "{channel}");
        assert!(messages[1..].iter().all(|m| m["type"] == "update"), "{channel}");
        assert!(messages.len() > 3 || channel == "instrument", "{channel}: {}", messages.len());
    }
    assert_eq!(of(&client, "instrument")[0]["data"]["pairs"].as_array().unwrap().len(), 3);
    let trades = of(&client, "trade");
    let rows: Vec<u64> =
        trades.iter().flat_map(|m| m["data"].as_array().unwrap()).map(|r| r["trade_id"].as_u64().unwrap()).collect();
    assert!(rows.len() > 50 && rows.windows(2).all(|pair| pair[1] == pair[0] + 1), "the last ones, then each next");
    assert_eq!(trades[0]["data"].as_array().unwrap().len().min(50), trades[0]["data"].as_array().unwrap().len());
    // Ended, nothing comes any more, the heartbeat neither.
    for (id, channel, more) in
        [(11, "trade", ""), (12, "ticker", r#","event_trigger":"bbo""#), (13, "ohlc", r#","interval":1"#)]
    {
        client.send(&ask("unsubscribe", id, channel, &[BTC], more)).await;
    }
    client.send(&ask("unsubscribe", 14, "instrument", &[], "")).await;
    client.until(|text| text.contains(r#""req_id":14"#)).await;
    client.listen(200).await;
    client.frames.clear();
    client.listen(1_200).await;
    assert!(client.frames.is_empty(), "{:?}", client.frames);
}

#[tokio::test]
async fn trades_page_forwards_from_an_exclusive_moment_and_are_what_the_stream_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::kraken();
    venue.history_s = 45;
    let sim = start(config(dir.path(), vec![venue])).await;
    let addr = sim.addr(KRAKEN).unwrap().clone();
    let mut client = Client::open(&format!("{}/v2", addr.ws)).await;
    client.send(&subscribe(1, "trade", &[BTC], "")).await;
    client.listen(1_500).await;
    sim.freeze();
    client.listen(200).await;
    let told = of(&client, "trade");
    let last = told.last().unwrap()["data"].as_array().unwrap().last().unwrap()["trade_id"].as_u64().unwrap();
    let (mut since, mut held, mut pages) = (0_u64, Vec::new(), 0);
    loop {
        let body = get(&addr.rest, &format!("/0/public/Trades?pair=XBTUSD&since={since}")).await.body;
        assert_eq!(body["error"].as_array().unwrap().len(), 0, "{body}");
        let rows = body["result"]["XXBTZUSD"].as_array().unwrap().clone();
        let next: u64 = body["result"]["last"].as_str().unwrap().parse().unwrap();
        if rows.is_empty() {
            assert_eq!(next, since);
            break;
        }
        held.extend(rows.iter().map(|row| row[6].as_u64().unwrap()));
        // Rows of the last moment may stand behind the edge as well.
        since = if rows.len() == 1_000 { next - 1 } else { next };
        pages += 1;
    }
    assert!(pages >= 2, "{pages}");
    held.sort_unstable();
    held.dedup();
    assert!(held.windows(2).all(|pair| pair[1] == pair[0] + 1) && held.last() == Some(&last));
    let newest = get(&addr.rest, "/0/public/Trades?pair=XXBTZUSD&count=7").await.body;
    assert_eq!(newest["result"]["XXBTZUSD"][6][6], last);
    sim.finish().unwrap();
    let known = truth::load(dir.path()).unwrap();
    let trades = &known.venues[KRAKEN].instruments[BTC].trades;
    assert!(trades.keys().eq(held.iter()) && trades.values().map(|t| t.time_ms).is_sorted());
}

#[tokio::test]
async fn rest_complains_at_status_200_and_bears_ten_in_ten_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::kraken()])).await;
    let base = sim.addr(KRAKEN).unwrap().rest.clone();
    let unknown = get(&base, "/0/public/Trades?pair=NONO").await;
    assert_eq!((unknown.status, &unknown.body["error"][0]), (200, &"EQuery:Unknown asset pair".into()));
    assert_eq!(get(&base, "/0/public/Nothing").await.status, 404);
    let pairs = get(&base, "/0/public/AssetPairs").await.body;
    let doge = &pairs["result"]["XDGUSD"];
    assert_eq!(
        (&doge["wsname"], &doge["tick_size"], &doge["pair_decimals"]),
        (&"XDG/USD".into(), &"0.0000001".into(), &7.into())
    );
    let book = get(&base, "/0/public/Depth?pair=ETHUSD&count=5").await.body;
    assert_eq!(book["result"]["XETHZUSD"]["asks"].as_array().unwrap().len(), 5);
    let mut refused = 0;
    for _ in 0..21 {
        let reply = get(&base, "/0/public/Time").await;
        if reply.body["error"][0] == "EAPI:Rate limit exceeded" {
            assert_eq!((reply.status, reply.headers.get("retry-after")), (200, None));
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn who_has_no_subscription_is_cut_and_too_many_messages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::kraken();
    (venue.limits.pong_within_ms, venue.limits.messages_per_s) = (Some(1_800), Some(5));
    let sim = start(config(dir.path(), vec![venue])).await;
    let url = format!("{}/v2", sim.addr(KRAKEN).unwrap().ws);
    let mut quiet = Client::open(&url).await;
    let mut subscribed = Client::open(&url).await;
    subscribed.send(&subscribe(1, "instrument", &[], "")).await;
    assert!(quiet.listen(4_000).await.is_none(), "cut");
    assert!(subscribed.listen(100).await.is_some(), "its heartbeats are words");
    for id in 0..8 {
        subscribed.send(&format!(r#"{{"method":"ping","req_id":{id}}}"#)).await;
    }
    let refusal = subscribed.until(|text| text.contains("error")).await;
    assert!(refusal.contains("Exceeded msg rate"), "{refusal}");
}
