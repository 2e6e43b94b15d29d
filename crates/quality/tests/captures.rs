//! Recorded traffic through the checks: clean recordings pass the defaults without a flag, and planted errors are found.
//! Decoded with a plain JSON parser; absent recordings are said and skipped.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wholetape_book::{BookConfig, Stamp, Step, SyncedOrderBook};
use wholetape_model::{
    Body, Book, BookAction, Chain, Decimal, Event, Kind, Level, Levels, Price, Quote, RowFlags, Scales, Size, Span,
    Trade, TradeCondition, Ts,
};
use wholetape_quality::{CheckConfig, Checks, Findings};

fn recordings() -> Vec<PathBuf> {
    let folder = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no captures");
        return Vec::new();
    }
    let venues = ["binance-usdm", "binance-spot", "binance-coinm", "binance-us"];
    let files = venues.iter().filter_map(|v| std::fs::read_dir(folder.join(v)).ok()).flatten();
    let mut files: Vec<_> = files.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|p| p.to_string_lossy().ends_with(".jsonl.zst"));
    files.sort();
    files
}

fn number(v: &Value) -> Decimal {
    Decimal::parse(v.as_str().expect("text").as_bytes()).expect("number")
}

fn event(kind: Kind, ms: Option<i64>, scales: Scales, body: Body<Span, Span>) -> Event {
    Event {
        instrument: wholetape_model::NO_INSTRUMENT,
        kind,
        ts_event: ms.map_or(Ts::ZERO, Ts::from_millis),
        scales,
        body,
    }
}

fn trade(v: &Value, kind: Kind, id: &str) -> Event {
    let (price, size) = (number(&v["p"]), number(&v["q"]));
    let id = v[id].as_u64().expect("id");
    let condition = match v["X"].as_str() {
        None | Some("MARKET") => TradeCondition::Regular,
        Some(_) => TradeCondition::InsuranceFund,
    };
    let (price_raw, size_raw) = (Price(price.raw), Size(size.raw));
    let body = Trade {
        id: id.into(),
        first_id: id,
        last_id: id,
        price: price_raw,
        size: size_raw,
        aggressor: None,
        condition,
    };
    event(kind, v["T"].as_i64(), Scales { price: price.scale, size: size.scale }, Body::Trade(body))
}

fn quote(v: &Value) -> Event {
    let (bid, ask, bid_size, ask_size) = (number(&v["b"]), number(&v["a"]), number(&v["B"]), number(&v["A"]));
    let scales = Scales { price: bid.scale.max(ask.scale), size: bid_size.scale.max(ask_size.scale) };
    let price = |d: Decimal| Price(d.rescale(scales.price).expect("fits").raw);
    let size = |d: Decimal| Size(d.rescale(scales.size).expect("fits").raw);
    let body = Quote {
        bid: price(bid),
        bid_size: size(bid_size),
        ask: price(ask),
        ask_size: size(ask_size),
        update_id: v["u"].as_u64().expect("id"),
    };
    event(Kind::Quote, v["T"].as_i64(), scales, Body::Quote(body))
}

/// Levels of both sides at the scale of the first, which all recordings keep.
fn levels(bids: &Value, asks: &Value) -> (Scales, Vec<Level>, usize) {
    let all = |v: &Value| v.as_array().expect("levels").clone();
    let bids = all(bids);
    let count = bids.len();
    let texts: Vec<_> = bids.into_iter().chain(all(asks)).map(|l| (number(&l[0]), number(&l[1]))).collect();
    let scales = texts.first().map_or(Scales::default(), |l| Scales { price: l.0.scale, size: l.1.scale });
    let level = |l: &(Decimal, Decimal)| {
        assert_eq!((l.0.scale, l.1.scale), (scales.price, scales.size));
        Level { price: Price(l.0.raw), size: Size(l.1.raw) }
    };
    (scales, texts.iter().map(level).collect(), count)
}

/// The checks look at the book and not at the levels of its update.
fn no_levels() -> Body<Span, Span> {
    let none = Span::default();
    Body::Book(Book { action: BookAction::Delta, first_id: 0, last_id: 0, prev_id: 0, bids: none, asks: none })
}

struct Instrument {
    book: SyncedOrderBook,
    checks: Checks,
}

/// Feeds one recording; `tamper` may change an event before it is checked. Returns flags by kind, events and findings.
fn run(file: &Path, mut tamper: impl FnMut(&mut Event)) -> (BTreeMap<String, u64>, u64, u64) {
    let futures = file.to_string_lossy().contains("usdm") || file.to_string_lossy().contains("coinm");
    let rule = if futures { Chain::LinkedPrev } else { Chain::SpotAnchored };
    let mut decoder = zstd::Decoder::new(File::open(file).expect("recording")).expect("zstd");
    decoder.window_log_max(27).expect("window");
    let (mut flagged, mut events, mut told) = (BTreeMap::new(), 0, 0);
    let mut instruments: HashMap<String, Instrument> = HashMap::new();
    let mut findings = Findings::default();
    let mut next_timer = Ts::ZERO;
    for line in BufReader::new(decoder).lines() {
        let line: Value = serde_json::from_str(&line.expect("line")).expect("line is JSON");
        let Ok(mut body) = serde_json::from_str::<Value>(line["data"].as_str().expect("data")) else { continue };
        let now = Ts(line["recv_ns"].as_i64().expect("time"));
        if body.get("stream").is_some() {
            body = body["data"].take();
        }
        let from_url = line["url"].as_str().and_then(|u| u.split_once("/depth?")?.1.split_once("symbol="));
        let symbol = match (body["s"].as_str(), from_url) {
            (Some(symbol), _) => symbol.to_owned(),
            (None, Some((_, rest))) => rest.split('&').next().unwrap_or_default().to_owned(),
            (None, None) => continue,
        };
        let instrument = instruments.entry(symbol).or_insert_with(|| Instrument {
            book: SyncedOrderBook::new(rule, BookConfig::default()),
            checks: Checks::for_instrument(CheckConfig::default()),
        });
        let kind = body["e"].as_str().unwrap_or(if body.get("lastUpdateId").is_some() { "snapshot" } else { "quote" });
        let mut event = match kind {
            "trade" => trade(&body, Kind::TradeRaw, "t"),
            "aggTrade" => trade(&body, Kind::Trade, "a"),
            "bookTicker" | "quote" if body.get("B").is_some() => quote(&body),
            "depthUpdate" | "snapshot" => {
                let snapshot = kind == "snapshot";
                let (b, a) = if snapshot { ("bids", "asks") } else { ("b", "a") };
                let (scales, levels, bids) = levels(&body[b], &body[a]);
                let id = |key: &str| body[key].as_u64().unwrap_or(0);
                let (bids, asks) = levels.split_at(bids);
                let (bids, asks) = (Levels::Native(bids), Levels::Native(asks));
                let event = event(Kind::Book, body["E"].as_i64(), scales, no_levels());
                let stamp = Stamp { ts_event: event.ts_event, ts_recv: now, ..Stamp::default() };
                if snapshot {
                    let at = id("lastUpdateId");
                    let book = Book { action: BookAction::Snapshot, first_id: at, last_id: at, prev_id: 0, bids, asks };
                    instrument.book.on_snapshot(stamp, scales, &book, &mut |_| {});
                    continue;
                }
                let (first_id, last_id, prev_id) = (id("U"), id("u"), id("pu"));
                let book = Book { action: BookAction::Delta, first_id, last_id, prev_id, bids, asks };
                if instrument.book.on_delta(stamp, scales, &book) != Step::Applied {
                    continue;
                }
                event
            }
            _ => continue,
        };
        tamper(&mut event);
        findings.clear();
        let book = instrument.book.verified().filter(|_| event.kind == Kind::Book);
        let flags = instrument.checks.on_event(&event, now, book, &mut findings);
        events += 1;
        told += findings.iter().map(|f| f.count).sum::<u64>();
        if flags != RowFlags::default() {
            *flagged.entry(format!("{:?} {flags:?}", event.kind)).or_default() += 1;
        }
        if now >= next_timer {
            next_timer = now + std::time::Duration::from_secs(1);
            for i in instruments.values_mut() {
                findings.clear();
                i.checks.on_timer(now, &mut findings);
                told += findings.iter().map(|f| f.count).sum::<u64>();
            }
        }
    }
    (flagged, events, told)
}

#[test]
fn clean_recordings_pass() {
    for file in recordings() {
        let (flagged, events, told) = run(&file, |_| {});
        assert!(events > 100, "{}: {events} events", file.display());
        assert_eq!((flagged, told), (BTreeMap::new(), 0), "{}", file.display());
    }
}

/// Every thousandth trade at ten times its price, every thousandth quote crossed: each is flagged, no other is.
#[test]
fn planted_errors_are_found() {
    for file in recordings().into_iter().filter(|f| f.to_string_lossy().contains("btcusdt_2023")) {
        let (mut trades, mut quotes, mut planted) = (0_u64, 0_u64, 0_u64);
        let (flagged, _, told) = run(&file, |event| match &mut event.body {
            Body::Trade(t) if t.condition == TradeCondition::Regular => {
                trades += 1;
                if trades.is_multiple_of(1_000) {
                    t.price.0 *= 10;
                    planted += 1;
                }
            }
            Body::Quote(q) => {
                quotes += 1;
                if quotes.is_multiple_of(1_000) {
                    std::mem::swap(&mut q.bid, &mut q.ask);
                    planted += 1;
                }
            }
            _ => {}
        });
        assert!(planted > 10);
        assert_eq!(flagged.values().sum::<u64>(), planted, "{}: {flagged:?}", file.display());
        assert!(flagged.len() == 2 && told > 0 && told <= planted, "{told} of {planted} told");
    }
}
