//! Frame → events through `Session::on_frame`, per channel and recording, beside a typed sonic-rs parse of the same
//! frames in the same run.
//!
//! The comparison is a fair one: the sonic-rs side reads a minimal struct that borrows every string (the fields that our
//! event needs, nothing else), ids and times as integers, prices as text; it makes no decimal, no event, finds no
//! symbol and counts nothing. A book's levels are collected into a `Vec` per side, as serde does.
//!
//! First a table of ratios (best of several rounds, both sides taking turns), then the same through criterion for its
//! statistics. `RATIOS_ONLY=1` stops after the table.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use wholetape_model::Ts;
use wholetape_venue::binance::{Binance, limits::Variant};
use wholetape_venue::bybit::{Bybit, limits::Market};
use wholetape_venue::dydx::Dydx;
use wholetape_venue::kraken::Kraken;
use wholetape_venue::okx::Okx;
use wholetape_venue::{Frame, Out, Session, SessionPlan, of_address, open};

#[derive(Deserialize)]
struct Wrapped<'a, T> {
    #[serde(rename = "stream")]
    _stream: &'a str,
    data: T,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Trade<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct AggTrade<'a> {
    s: &'a str,
    a: u64,
    p: &'a str,
    q: &'a str,
    f: u64,
    l: u64,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BookTicker<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_size: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_size: &'a str,
    #[serde(rename = "T", default)]
    time: u64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Depth<'a> {
    #[serde(rename = "E")]
    event_time: u64,
    s: &'a str,
    #[serde(rename = "U")]
    first: u64,
    u: u64,
    #[serde(default)]
    pu: u64,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
}

/// OKX wraps rows in a list, and prints numbers as text.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Rows<'a, T> {
    #[serde(borrow)]
    arg: Arg<'a>,
    data: Vec<T>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
#[serde(rename_all = "camelCase")]
struct Arg<'a> {
    channel: &'a str,
    inst_id: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
#[serde(rename_all = "camelCase")]
struct OkxTrade<'a> {
    inst_id: &'a str,
    trade_id: &'a str,
    px: &'a str,
    sz: &'a str,
    side: &'a str,
    ts: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
#[serde(rename_all = "camelCase")]
struct OkxBook<'a> {
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a str, &'a str, &'a str)>,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a str, &'a str, &'a str)>,
    ts: &'a str,
    #[serde(default)]
    seq_id: u64,
    #[serde(default)]
    prev_seq_id: i64,
}

/// dYdX numbers the messages of a connection, and wraps what they hold by channel.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Message<'a, T> {
    connection_id: &'a str,
    message_id: u64,
    id: &'a str,
    channel: &'a str,
    contents: T,
}

#[derive(Deserialize)]
struct DydxTrades<'a> {
    #[serde(borrow)]
    #[allow(dead_code)]
    trades: Vec<DydxTrade<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
#[serde(rename_all = "camelCase")]
struct DydxTrade<'a> {
    id: &'a str,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    created_at: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct DydxBook<'a> {
    #[serde(borrow, default)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow, default)]
    asks: Vec<(&'a str, &'a str)>,
}

fn parse_message<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let m: Message<'a, T> = sonic_rs::from_slice(frame).expect("a good frame");
    black_box(&m.contents);
}

fn parse_message_serde<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let m: Message<'a, T> = serde_json::from_slice(frame).expect("a good frame");
    black_box(&m.contents);
}

/// Kraken prints numbers bare: a plain parser makes floats of them.
#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenRows<'a, T> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Vec<T>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenTrade<'a> {
    symbol: &'a str,
    side: &'a str,
    price: f64,
    qty: f64,
    trade_id: u64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenLevel {
    price: f64,
    qty: f64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenBook<'a> {
    symbol: &'a str,
    bids: Vec<KrakenLevel>,
    asks: Vec<KrakenLevel>,
    checksum: u32,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenTicker<'a> {
    symbol: &'a str,
    bid: f64,
    bid_qty: f64,
    ask: f64,
    ask_qty: f64,
    last: f64,
    volume: f64,
    low: f64,
    high: f64,
    change: f64,
    timestamp: &'a str,
}

fn parse_kraken<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let m: KrakenRows<'a, T> = sonic_rs::from_slice(frame).expect("a good frame");
    black_box(&m.data);
}

fn parse_kraken_serde<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let m: KrakenRows<'a, T> = serde_json::from_slice(frame).expect("a good frame");
    black_box(&m.data);
}

/// Bybit puts rows beside their topic, a book as one object.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Topical<'a, T> {
    topic: &'a str,
    ts: u64,
    data: T,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BybitTrade<'a> {
    #[serde(rename = "T")]
    time: u64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BybitBook<'a> {
    s: &'a str,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
    u: u64,
}

fn parse_topical<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Topical<'a, T> = sonic_rs::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
}

fn parse_topical_serde<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Topical<'a, T> = serde_json::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
}

fn parse_rows<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Rows<'a, T> = sonic_rs::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
}

fn parse_rows_serde<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Rows<'a, T> = serde_json::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
}

fn parse<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Wrapped<'a, T> = sonic_rs::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
    black_box(w._stream);
}

fn sonic(channel: &str, frame: &[u8]) {
    match channel {
        "trade" => parse::<Trade<'_>>(frame),
        "aggTrade" => parse::<AggTrade<'_>>(frame),
        "bookTicker" => parse::<BookTicker<'_>>(frame),
        "trades" | "trades-all" => parse_rows::<OkxTrade<'_>>(frame),
        "bbo-tbt" | "books" | "books-l2-tbt" => parse_rows::<OkxBook<'_>>(frame),
        "v4_trades" => parse_message::<DydxTrades<'_>>(frame),
        "v4_orderbook" => parse_message::<DydxBook<'_>>(frame),
        "publicTrade" => parse_topical::<Vec<BybitTrade<'_>>>(frame),
        "orderbook" => parse_topical::<BybitBook<'_>>(frame),
        "kr-trade" => parse_kraken::<KrakenTrade<'_>>(frame),
        "kr-book" => parse_kraken::<KrakenBook<'_>>(frame),
        "kr-ticker" => parse_kraken::<KrakenTicker<'_>>(frame),
        _ => parse::<Depth<'_>>(frame),
    }
}

fn parse_serde<'a, T: Deserialize<'a>>(frame: &'a [u8]) {
    let w: Wrapped<'a, T> = serde_json::from_slice(frame).expect("a recorded frame");
    black_box(&w.data);
}

/// The same structs through serde_json: the choice of the library (docs/adr/0006-libraries.md).
fn serde(channel: &str, frame: &[u8]) {
    match channel {
        "trade" => parse_serde::<Trade<'_>>(frame),
        "aggTrade" => parse_serde::<AggTrade<'_>>(frame),
        "bookTicker" => parse_serde::<BookTicker<'_>>(frame),
        "trades" | "trades-all" => parse_rows_serde::<OkxTrade<'_>>(frame),
        "bbo-tbt" | "books" | "books-l2-tbt" => parse_rows_serde::<OkxBook<'_>>(frame),
        "v4_trades" => parse_message_serde::<DydxTrades<'_>>(frame),
        "v4_orderbook" => parse_message_serde::<DydxBook<'_>>(frame),
        "publicTrade" => parse_topical_serde::<Vec<BybitTrade<'_>>>(frame),
        "orderbook" => parse_topical_serde::<BybitBook<'_>>(frame),
        "kr-trade" => parse_kraken_serde::<KrakenTrade<'_>>(frame),
        "kr-book" => parse_kraken_serde::<KrakenBook<'_>>(frame),
        "kr-ticker" => parse_kraken_serde::<KrakenTicker<'_>>(frame),
        _ => parse_serde::<Depth<'_>>(frame),
    }
}

struct Set {
    name: String,
    venue: String,
    channel: &'static str,
    frames: Vec<Vec<u8>>,
}

impl Set {
    fn session(&self) -> Box<dyn Session> {
        open(&SessionPlan::capture(&self.venue)).expect("a known venue")
    }

    fn decode_all(&self, session: &mut dyn Session, out: &mut Out) {
        if self.venue == DYDX {
            // Messages are counted: the same ones again are another connection's.
            session.on_open(Ts(1), out);
        }
        for frame in &self.frames {
            out.clear();
            session.on_frame(Ts(1), Frame::Text(frame), out).expect("a good frame");
            black_box(&out.events);
        }
    }

    /// As `decode_all`, with every frame through the typed decoder (what a declined frame costs).
    fn typed_session(&self) -> Box<dyn Session> {
        let plan = SessionPlan::capture(&self.venue);
        match (Variant::by_name(&self.venue), Market::by_name(&self.venue)) {
            (Some(variant), _) => Box::new(Binance::new(variant, &plan).expect("an empty plan").typed_only()),
            (_, Some(market)) => Box::new(Bybit::new(market, &plan).expect("an empty plan").typed_only()),
            _ if self.venue == KRAKEN => Box::new(Kraken::new(&plan).expect("an empty plan").typed_only()),
            _ if self.venue == DYDX => Box::new(Dydx::new(&plan).expect("an empty plan").typed_only()),
            _ => Box::new(Okx::new(&plan).expect("an empty plan").typed_only()),
        }
    }

    /// What an overloaded line spends on a frame that it drops.
    fn peek_all(&self, session: &dyn Session) {
        for frame in &self.frames {
            let peeked = black_box(session.peek(Frame::Text(frame)));
            assert!(
                peeked.is_some() || !self.venue.starts_with("binance"),
                "a plain head is recognised (a snapshot is never dropped, and none of dYdX)"
            );
        }
    }

    fn parse_all(&self, parse: fn(&str, &[u8])) {
        for frame in &self.frames {
            parse(self.channel, frame);
        }
    }
}

const DYDX: &str = "dydx";
const KRAKEN: &str = "kraken";

/// Messages of the second version, as many as a set has: the recording is of the first.
fn kraken_sets() -> Vec<Set> {
    const TIME: &str = "2026-09-21T14:13:20.123456Z";
    let level = |n: u64| {
        format!(r#"{{"price":{}.{},"qty":{}.{:08}}}"#, 45_283 + n % 90, n % 10, n % 4, n * 7_919 % 100_000_000)
    };
    let trade = |n: u64| {
        let side = if n.is_multiple_of(2) { "buy" } else { "sell" };
        format!(
            r#"{{"symbol":"BTC/USD","side":"{side}","price":{}.{},"qty":0.{:08},"ord_type":"limit","trade_id":{},"timestamp":"{TIME}"}}"#,
            45_283 + n % 90,
            n % 10,
            n * 7_919 % 100_000_000,
            70_000_000 + n
        )
    };
    let book = |n: u64| {
        let levels = (0..=n % 3).map(|i| level(n + i)).collect::<Vec<_>>().join(",");
        let (bids, asks) = if n.is_multiple_of(2) { (levels, String::new()) } else { (String::new(), levels) };
        format!(
            r#"{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{},"timestamp":"{TIME}"}}"#,
            n * 2_654_435_761 % 4_294_967_296
        )
    };
    let ticker = |n: u64| {
        let price = |by: u64| format!("{}.{}", 45_283 + (n + by) % 90, (n + by) % 10);
        format!(
            r#"{{"symbol":"BTC/USD","bid":{},"bid_qty":0.{:08},"ask":{},"ask_qty":1.50000000,"last":{},"volume":2034.{:08},"vwap":45011.2,"low":44011.1,"high":46011.9,"change":-{}.5,"change_pct":-0.42,"timestamp":"{TIME}"}}"#,
            price(0),
            n * 7_919 % 100_000_000,
            price(1),
            price(2),
            n,
            n % 200
        )
    };
    let made = |label: &'static str, channel: &str, row: &dyn Fn(u64) -> String| Set {
        name: "made".into(),
        venue: KRAKEN.into(),
        channel: label,
        frames: (0..FRAMES_MAX as u64)
            .map(|n| format!(r#"{{"channel":"{channel}","type":"update","data":[{}]}}"#, row(n)).into_bytes())
            .collect(),
    };
    vec![made("kr-trade", "trade", &trade), made("kr-book", "book", &book), made("kr-ticker", "ticker", &ticker)]
}

/// Messages of a connection, as many as a set has: the recordings have none of this venue.
fn dydx_sets() -> Vec<Set> {
    let message = |n: u64, channel: &str, contents: &str| {
        format!(
            r#"{{"type":"channel_data","connection_id":"7d0f6c9e-0000-4000-8000-000000000001","message_id":{n},"id":"AAA-USD","channel":"{channel}","version":"1.0.0","contents":{contents}}}"#
        )
    };
    let book = |n: u64| {
        let side = if n.is_multiple_of(2) { "bids" } else { "asks" };
        format!(r#"{{"{side}":[["{}.{}","{}.{:03}"]]}}"#, 3_300 + n * 7 % 190, n % 10, n % 4, n * 31 % 1_000)
    };
    let trade = |n: u64| {
        let one = |i: u64| {
            format!(
                r#"{{"id":"0151a2b1{:016x}","side":"BUY","size":"{}.25","price":"{}.5","type":"LIMIT","createdAt":"2026-09-01T12:{:02}:{:02}.{:03}Z"}}"#,
                n * 3 + i,
                n % 9,
                3_300 + n % 90,
                n / 60 % 60,
                n % 60,
                n % 1_000
            )
        };
        format!(r#"{{"trades":[{}]}}"#, (0..=n % 3).map(one).collect::<Vec<_>>().join(","))
    };
    let made = |channel: &'static str, contents: &dyn Fn(u64) -> String| Set {
        name: "made".into(),
        venue: DYDX.into(),
        channel,
        frames: (0..FRAMES_MAX as u64).map(|n| message(n, channel, &contents(n)).into_bytes()).collect(),
    };
    vec![made("v4_orderbook", &book), made("v4_trades", &trade)]
}

const HOT: [(&str, &str); 11] = [
    ("@trade\"", "trade"),
    ("@aggTrade\"", "aggTrade"),
    ("@bookTicker\"", "bookTicker"),
    ("@depth", "depth"),
    ("\"channel\":\"trades\"", "trades"),
    ("\"channel\":\"trades-all\"", "trades-all"),
    ("\"channel\":\"bbo-tbt\"", "bbo-tbt"),
    ("\"channel\":\"books\"", "books"),
    ("\"channel\":\"books-l2-tbt\"", "books-l2-tbt"),
    ("\"topic\":\"publicTrade.", "publicTrade"),
    ("\"topic\":\"orderbook.", "orderbook"),
];

fn channel_of(frame: &str) -> Option<&'static str> {
    let head = frame.get(..frame.len().min(60)).filter(|head| !head.contains("\"event\""))?;
    HOT.iter().find(|(mark, _)| head.contains(mark)).map(|(_, name)| *name)
}

/// Our own frames hold many that are wrong or odd on purpose; here only what the scanner takes is compared.
fn is_plain(venue: &str, channel: &str, frame: &str) -> bool {
    let (mut session, mut out) = (open(&SessionPlan::capture(venue)).expect("a known venue"), Out::default());
    let read = session.on_frame(Ts(1), Frame::Text(frame.as_bytes()), &mut out).is_ok();
    read && session.stats().fallbacks == 0 && session.stats().by_channel.contains_key(channel)
}

/// At most this many frames of a set: enough that no branch predictor learns them by heart.
const FRAMES_MAX: usize = 10_000;

fn sets() -> Vec<Set> {
    let mut sets = Vec::new();
    for capture in support::binance().chain(support::okx()).chain(support::bybit()) {
        let mut by: BTreeMap<(String, &'static str), Vec<Vec<u8>>> = BTreeMap::new();
        for line in capture.lines.iter().filter(|l| l.kind == "ws_in") {
            if let Some(channel) = channel_of(&line.data) {
                // Bybit's recording holds two markets.
                let market = of_address(&line.url).filter(|_| capture.venue == "bybit").map(|v| v.name().to_owned());
                let venue = market.unwrap_or_else(|| capture.venue.clone());
                let frames = by.entry((venue, channel)).or_default();
                if frames.len() < FRAMES_MAX {
                    frames.push(line.data.as_bytes().to_vec());
                }
            }
        }
        for ((venue, channel), frames) in by {
            sets.push(Set { name: capture.name.replace(".jsonl.zst", ""), venue, channel, frames });
        }
    }
    if sets.is_empty() {
        for (venue, file) in [
            ("binance-spot", include_str!("../frames/binance/spot.jsonl")),
            ("binance-usdm", include_str!("../frames/binance/usdm.jsonl")),
            ("okx", include_str!("../frames/okx/okx.jsonl")),
            ("bybit-linear", include_str!("../frames/bybit/linear.jsonl")),
            ("bybit-spot", include_str!("../frames/bybit/spot.jsonl")),
        ] {
            for (_, channel) in HOT {
                let frames: Vec<Vec<u8>> = file
                    .lines()
                    .filter(|l| {
                        l.starts_with("{\"stream\"") || l.starts_with("{\"arg\"") || l.starts_with("{\"topic\"")
                    })
                    .filter(|l| channel_of(l) == Some(channel))
                    .filter(|l| is_plain(venue, channel, l))
                    .map(|l| l.as_bytes().to_vec())
                    .collect();
                if !frames.is_empty() {
                    sets.push(Set { name: "own frames".into(), venue: venue.into(), channel, frames });
                }
            }
        }
    }
    sets.extend(dydx_sets());
    sets.extend(kraken_sets());
    sets
}

/// ns per frame of the best of `rounds`: our session, sonic-rs, serde_json, our typed decoder, a peek; all taking turns.
fn measure(set: &Set, rounds: usize) -> [f64; 5] {
    let (mut session, mut typed, mut out) = (set.session(), set.typed_session(), Out::default());
    let repeat = (FRAMES_MAX / set.frames.len()).clamp(1, 2_000);
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..repeat {
            work();
        }
        start.elapsed().as_nanos() as f64 / (repeat * set.frames.len()) as f64
    };
    let peeking = set.session();
    let mut best = [f64::MAX; 5];
    for _ in 0..rounds {
        best[0] = best[0].min(time(&mut || set.decode_all(session.as_mut(), &mut out)));
        best[1] = best[1].min(time(&mut || set.parse_all(sonic)));
        best[2] = best[2].min(time(&mut || set.parse_all(serde)));
        best[3] = best[3].min(time(&mut || set.decode_all(typed.as_mut(), &mut out)));
        best[4] = best[4].min(time(&mut || set.peek_all(peeking.as_ref())));
    }
    best
}

fn decode(c: &mut Criterion) {
    let sets = sets();
    println!(
        "{:<42} {:<11} {:>6} {:>9} {:>9} {:>6} {:>10} {:>9} {:>8}",
        "recording", "channel", "frames", "ours ns", "sonic ns", "ratio", "serde_json", "fallback", "peek ns"
    );
    for set in &sets {
        let [ours, sonic, serde, typed, peek] = measure(set, 5);
        println!(
            "{:<42} {:<11} {:>6} {ours:>9.1} {sonic:>9.1} {:>6.3} {serde:>10.1} {typed:>9.1} {peek:>8.1}",
            set.name,
            set.channel,
            set.frames.len(),
            ours / sonic
        );
    }
    if std::env::var_os("RATIOS_ONLY").is_some() {
        return;
    }
    let mut group = c.benchmark_group("decode");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    for set in sets.iter().filter(|s| s.frames.len() > 50 || s.name == "own frames") {
        group.throughput(Throughput::Elements(set.frames.len() as u64));
        let name = format!("{}/{}", set.name, set.channel);
        let (mut session, mut out) = (set.session(), Out::default());
        group.bench_function(BenchmarkId::new("session", &name), |b| {
            b.iter(|| set.decode_all(session.as_mut(), &mut out));
        });
        group.bench_function(BenchmarkId::new("sonic-rs", &name), |b| b.iter(|| set.parse_all(sonic)));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
