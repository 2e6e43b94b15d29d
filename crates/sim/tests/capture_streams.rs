//! Recordings of venues whose books begin in the stream, served again: frames untouched, and whoever comes in the middle begins with what stands.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Client, captures, get, start};
use wholetape_sim::{SimConfig, recorded_venues, truth};

/// Incoming messages of one address, and of one connection of it.
fn recorded(file: &Path, url: &str, conn: &str) -> Vec<String> {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(file).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let text = std::io::read_to_string(decoder).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mine = |l: &Value| l["kind"] == "ws_in" && l["url"].as_str().unwrap().ends_with(url);
    let of = |l: &Value| conn.is_empty() || l["conn"] == conn;
    lines.filter(|l| mine(l) && of(l)).map(|l| l["data"].as_str().unwrap().to_owned()).collect()
}

fn config(dir: &Path, file: PathBuf, speed: f64) -> SimConfig {
    let venues = recorded_venues(&file).unwrap();
    let all = venues.into_iter().flat_map(|kind| SimConfig::capture(kind, file.clone(), speed).venues);
    SimConfig { data_dir: dir.to_path_buf(), start_frozen: true, venues: all.collect(), ..SimConfig::default() }
}

/// Exact texts by price.
type Side = BTreeMap<u64, (String, String)>;

/// A price as a whole number of 10^-9.
fn key(price: &str) -> u64 {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{part:0<9}").parse().unwrap()
}

#[derive(Default)]
struct Book {
    bids: Side,
    asks: Side,
}

impl Book {
    fn take(&mut self, whole: bool, bids: &Value, asks: &Value) {
        if whole {
            *self = Self::default();
        }
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels.as_array().unwrap() {
                let [price, size] = [0, 1].map(|at| level[at].as_str().unwrap().to_owned());
                if size.bytes().all(|b| b == b'0' || b == b'.') {
                    side.remove(&key(&price));
                } else {
                    side.insert(key(&price), (price, size));
                }
            }
        }
    }

    fn best(&self, n: usize) -> [Vec<(String, String)>; 2] {
        [self.bids.values().rev().take(n).cloned().collect(), self.asks.values().take(n).cloned().collect()]
    }

    /// Against what another program made of the same recording, and against the truth.
    fn is_that_of(&self, file: &Path, name: &str, truth: &wholetape_sim::BookText) {
        let path = file.to_str().unwrap().replace(".jsonl.zst", ".truth.json");
        let known: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let of =
            |key: &str| serde_json::from_value::<Vec<(String, String)>>(known["books"][name][key].clone()).unwrap();
        assert_eq!(self.best(10), [of("final_bids_top10"), of("final_asks_top10")], "{name}");
        assert_eq!(self.best(usize::MAX), [truth.bids.clone(), truth.asks.clone()], "{name}");
    }
}

fn json(client: &Client, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    client.frames.iter().map(|text| serde_json::from_str(text).unwrap()).filter(|f| fits(f)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bybits_recording_is_told_untouched_and_begins_anew_for_whoever_comes_later() {
    let Some(root) = captures() else { return };
    let file = root.join("bybit/linear_btc_doge_spot_btc_20260809.jsonl.zst");
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), file.clone(), 10.0)).await;
    let names: Vec<_> = sim.addrs().iter().map(|addr| (addr.name.as_str(), addr.symbols.clone())).collect();
    let btc = || vec!["BTCUSDT".to_owned()];
    assert_eq!(names, [("bybit-spot", btc()), ("bybit-linear", vec!["BTCUSDT".into(), "DOGEUSDT".into()])]);
    let addr = sim.addr("bybit-linear").unwrap().clone();
    let topics = |symbol: &str| {
        ["orderbook.200", "tickers", "publicTrade", "kline.1"].map(|name| format!("\"{name}.{symbol}\"")).join(",")
    };
    let url = format!("{}/v5/public/linear", addr.ws);
    let subscribe = format!(r#"{{"op":"subscribe","args":[{},{}]}}"#, topics("BTCUSDT"), topics("DOGEUSDT"));
    let mut early = Client::open(&url).await;
    early.send(&subscribe).await;
    early.until(|text| text.contains("conn_id")).await;
    sim.resume();
    early.listen(2_000).await;
    let mut late = Client::open(&url).await;
    late.send(&subscribe).await;
    tokio::join!(early.listen(4_000), late.listen(4_000));
    assert!(sim.is_over());
    let defined = get(&addr.rest, "/v5/market/instruments-info?category=linear").await.body;
    let listed: Vec<_> = defined["result"]["list"].as_array().unwrap().iter().map(|row| &row["symbol"]).collect();
    assert_eq!(listed, ["BTCUSDT", "DOGEUSDT"]);
    sim.finish().unwrap();
    let all = recorded(&file, "/v5/public/linear", "");
    let told: Vec<String> = all.into_iter().filter(|text| text.contains("\"topic\"")).collect();
    assert_eq!(early.frames, told);

    let known = truth::load(dir.path()).unwrap();
    for symbol in ["BTCUSDT", "DOGEUSDT"] {
        let topic = format!("orderbook.200.{symbol}");
        let one = &known.venues["bybit-linear"].instruments[symbol];
        for client in [&early, &late] {
            let frames = json(client, |f| f["topic"] == topic.as_str());
            let (mut book, mut u) = (Book::default(), None);
            assert_eq!(frames[0]["type"], "snapshot");
            for f in &frames {
                let next = f["data"]["u"].as_u64().unwrap();
                assert!(f["type"] == "snapshot" || Some(next) == u.map(|u| u + 1));
                u = Some(next);
                book.take(f["type"] == "snapshot", &f["data"]["b"], &f["data"]["a"]);
            }
            book.is_that_of(&file, &topic, one.final_book.as_ref().unwrap());
        }
        // Statistics are told by what changed: together they come to the same.
        let topic = format!("tickers.{symbol}");
        let merged = |client: &Client| {
            let frames = json(client, |f| f["topic"] == topic.as_str());
            assert_eq!(frames[0]["type"], "snapshot");
            frames.iter().flat_map(|f| f["data"].as_object().unwrap().clone()).collect::<BTreeMap<_, _>>()
        };
        assert!(merged(&early).len() > 15 && merged(&early) == merged(&late));
        let rows = json(&early, |f| f["topic"] == format!("publicTrade.{symbol}"));
        let count: usize = rows.iter().map(|f| f["data"].as_array().unwrap().len()).sum();
        assert!(count > 40 && one.trades.len() == count);
    }
}

/// CRC-32, signed, of the 25 best levels in turns.
fn checksum(book: &Book) -> i64 {
    let [bids, asks] = book.best(25);
    let mut parts = Vec::new();
    for at in 0..25 {
        for (price, size) in [bids.get(at), asks.get(at)].into_iter().flatten() {
            parts.extend([price.as_str(), size.as_str()]);
        }
    }
    i64::from(crc32fast::hash(parts.join(":").as_bytes()).cast_signed())
}

fn prove(client: &Client, channel: &str, symbol: &str) -> (Book, usize) {
    let frames =
        json(client, |f| f["arg"]["channel"] == channel && f["arg"]["instId"] == symbol && f["data"].is_array());
    let mut book = Book::default();
    assert_eq!(frames[0]["action"], "snapshot");
    for f in &frames {
        let row = &f["data"][0];
        book.take(f["action"] == "snapshot", &row["bids"], &row["asks"]);
        assert_eq!(row["checksum"].as_i64().unwrap(), checksum(&book), "{symbol}: {}", f["action"]);
    }
    (book, frames.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn okxs_recording_proves_right_by_its_checksums_from_any_moment_on() {
    let Some(root) = captures() else { return };
    let file = root.join("okx/multi_20220513.jsonl.zst");
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), file.clone(), 4.0)).await;
    let addr = sim.addr("okx").unwrap().clone();
    let symbols = ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT"];
    let arg = |channel: &str, symbol: &str| format!(r#"{{"channel":"{channel}","instId":"{symbol}"}}"#);
    let args: Vec<_> = symbols.iter().flat_map(|s| ["books", "trades", "tickers"].map(|c| arg(c, s))).collect();
    let subscribe = format!(r#"{{"id":"1","op":"subscribe","args":[{}]}}"#, args.join(","));
    let url = format!("{}/ws/v5/public", addr.ws);
    let mut early = Client::open(&url).await;
    early.send(&subscribe).await;
    early.listen(300).await;
    assert_eq!(early.frames.len(), 9, "answers alone: nothing stands yet");
    early.frames.clear();
    sim.resume();
    early.listen(1_000).await;
    let mut late = Client::open(&url).await;
    late.send(&subscribe).await;
    tokio::join!(early.listen(4_000), late.listen(4_000));
    assert!(sim.is_over());
    let futures = get(&addr.rest, "/api/v5/public/instruments?instType=FUTURES").await.body;
    assert_eq!(futures["data"].as_array().unwrap().len(), 1);
    assert_eq!(futures["data"][0]["instId"], symbols[0]);
    sim.finish().unwrap();
    let all = recorded(&file, "/ws/v5/public", "");
    let told: Vec<String> = all.into_iter().filter(|text| text.contains("\"data\"")).collect();
    assert_eq!(early.frames, told);
    let known = truth::load(dir.path()).unwrap();
    for symbol in symbols {
        let one = &known.venues["okx"].instruments[symbol];
        for client in [&early, &late] {
            let (book, messages) = prove(client, "books", symbol);
            assert!(messages > 10, "{messages}");
            book.is_that_of(&file, &format!("books:{symbol}"), one.final_book.as_ref().unwrap());
        }
        assert_eq!(
            one.agg_trades.len(),
            json(&early, |f| f["arg"]["channel"] == "trades" && f["arg"]["instId"] == symbol).len()
        );
    }
}

#[tokio::test]
async fn of_redundant_connections_one_is_told_and_a_killed_telling_goes_on() {
    let Some(root) = captures() else { return };
    let file = root.join("okx/multi_tbt_20210722.jsonl.zst");
    let dir = tempfile::tempdir().unwrap();
    let symbol = "XMR-USDT-SWAP";
    let mut whole = 0;
    for run in 0..2 {
        let mut config = config(dir.path(), file.clone(), 8.0);
        config.start_frozen = run == 0;
        let sim = start(config).await;
        let mut client = Client::open(&format!("{}/ws/v5/public", sim.addr("okx").unwrap().ws)).await;
        let arg = format!(r#"{{"channel":"books-l2-tbt","instId":"{symbol}"}}"#);
        client.send(&format!(r#"{{"op":"subscribe","args":[{arg}]}}"#)).await;
        client.until(|text| text.contains("subscribe")).await;
        sim.resume();
        client.listen(1_300).await;
        let (book, messages) = prove(&client, "books-l2-tbt", symbol);
        assert!(messages > 20, "run {run}: {messages}");
        whole += messages;
        if run == 0 {
            drop(sim);
            continue;
        }
        while !sim.is_over() {
            client.listen(200).await;
        }
        client.listen(200).await;
        let (last, _) = prove(&client, "books-l2-tbt", symbol);
        assert!(last.best(1) != book.best(1) || messages > 0);
        sim.finish().unwrap();
        let known = truth::load(dir.path()).unwrap();
        let one = &known.venues["okx"].instruments[symbol];
        last.is_that_of(&file, &format!("OKX.ws.1|books-l2-tbt:{symbol}"), one.final_book.as_ref().unwrap());
        let recorded = recorded(&file, "/ws/v5/public", "OKX.ws.1");
        let mine = recorded.iter().filter(|t| t.contains("\"action\":\"update\"") && t.contains(symbol)).count();
        assert_eq!(one.depth.len(), mine, "each once");
    }
    assert!(whole > 40);
}
