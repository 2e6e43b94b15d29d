//! After warm-up an event costs no allocation: counted, not believed.
//!
//! `unsafe` stands here because `GlobalAlloc` is an unsafe trait; the allocator only counts and passes on.

#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use wholetape_model::Ts;
use wholetape_venue::{Channel, Frame, Out, Session, SessionPlan, of_address, open};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(session: &mut dyn Session, out: &mut Out, frames: &[&[u8]]) -> (u64, u64) {
    let before = ALLOCATIONS.get();
    let mut events = 0;
    for frame in frames {
        out.clear();
        session.on_frame(Ts(1), Frame::Text(frame), out).unwrap();
        events += out.events.len() as u64;
    }
    (ALLOCATIONS.get() - before, events)
}

#[track_caller]
fn check(venue: &str, frames: &[&[u8]]) {
    let mut session = open(&SessionPlan::capture(venue)).unwrap();
    let mut out = Out::default();
    allocations(session.as_mut(), &mut out, frames);
    let (allocated, events) = allocations(session.as_mut(), &mut out, frames);
    assert!(events > 0);
    assert_eq!(allocated, 0, "{venue}: {allocated} allocations for {events} events");
}

#[test]
fn recorded_frames_cost_no_allocation() {
    for capture in support::binance() {
        let frames: Vec<&[u8]> =
            capture.lines.iter().filter(|l| l.kind == "ws_in").take(20_000).map(|l| l.data.as_bytes()).collect();
        check(&capture.venue, &frames);
    }
}

/// What answers say costs a text; data costs nothing.
#[test]
fn recorded_okx_data_costs_no_allocation() {
    for capture in support::okx() {
        let data = capture.lines.iter().filter(|l| l.kind == "ws_in" && l.data.contains("\"data\""));
        let frames: Vec<&[u8]> = data.map(|l| l.data.as_bytes()).collect();
        check(&capture.venue, &frames);
    }
}

#[test]
fn recorded_bybit_data_costs_no_allocation() {
    for capture in support::bybit() {
        for market in ["bybit-spot", "bybit-linear"] {
            let data = capture.lines.iter().filter(|l| l.kind == "ws_in" && l.data.contains("\"data\""));
            let mine = data.filter(|l| of_address(&l.url).is_some_and(|v| v.name() == market));
            let frames: Vec<&[u8]> = mine.map(|l| l.data.as_bytes()).collect();
            if !frames.is_empty() {
                check(market, &frames);
            }
        }
    }
}

/// Every channel with a stream of its own, the slow ones of the typed decoder among them.
#[test]
fn our_own_frames_cost_no_allocation() {
    for (venue, file) in [
        ("binance-spot", include_str!("../frames/binance/spot.jsonl")),
        ("binance-usdm", include_str!("../frames/binance/usdm.jsonl")),
        ("okx", include_str!("../frames/okx/okx.jsonl")),
        ("bybit-linear", include_str!("../frames/bybit/linear.jsonl")),
        ("bybit-spot", include_str!("../frames/bybit/spot.jsonl")),
        ("kraken", include_str!("../frames/kraken/v2.jsonl")),
    ] {
        let known = [
            "@aggTrade",
            "@bookTicker\"",
            "@depth@100ms",
            "@kline_",
            "@ticker",
            "@markPrice@1s\"",
            "@forceOrder",
            "\"trades",
            "\"books\"",
            "\"bbo-tbt\"",
            "\"tickers\"",
            "\"candle1",
            "\"mark-price\"",
            "\"index-tickers\"",
            "\"funding-rate\"",
            "\"open-interest\"",
            "\"publicTrade.",
            "\"orderbook.",
            "\"tickers.",
            "\"kline.",
            "\"allLiquidation.",
            "\"channel\":\"trade\"",
            "\"channel\":\"book\"",
            "\"channel\":\"ticker\"",
            "\"channel\":\"ohlc\"",
        ];
        let mut out = Out::default();
        let frames: Vec<&[u8]> = file
            .lines()
            .filter(|l| known.iter().any(|k| l.contains(k)) && !l.contains("\"event\"") && !l.contains("\"method\""))
            .map(str::as_bytes)
            // Without those that are wrong or unknown on purpose, and those of a second scale (the typed book decoder collects).
            .filter(|l| {
                out.clear();
                let mut session = open(&SessionPlan::capture(venue)).unwrap();
                let read = session.on_frame(Ts(1), Frame::Text(l), &mut out).is_ok();
                read && session.stats().fallbacks + session.stats().unknown_frames == 0
            })
            .collect();
        assert!(frames.len() >= 5, "{}", frames.len());
        check(venue, &frames);
    }
}

/// Messages are counted, so a second round is a second connection.
#[test]
fn dydx_data_costs_no_allocation() {
    const CONNECTION: &str = "7d0f6c9e-0000-4000-8000-000000000001";
    let channels = ["trade", "book", "quote", "bar-1m", "mark"].map(|c| Channel::parse(c).unwrap()).to_vec();
    let instruments = vec![(0, "AAA-USD".to_owned())];
    let mut session = open(&SessionPlan { channels, instruments, ..SessionPlan::new("dydx") }).unwrap();
    let data = |n: u64, channel: &str, contents: &str| {
        format!(
            r#"{{"type":"channel_data","connection_id":"{CONNECTION}","message_id":{n},"id":"AAA-USD","channel":"{channel}","version":"1.0.0","contents":{contents}}}"#
        )
    };
    let mut frames = vec![format!(r#"{{"type":"connected","connection_id":"{CONNECTION}","message_id":0}}"#)];
    for n in 1..2_000_u64 {
        let (price, size) = (100 + n * 7 % 90, n % 4);
        frames.push(match n % 4 {
            0 => data(n, "v4_trades", &format!(
                r#"{{"trades":[{{"id":"0151a2b1{n:016x}","side":"BUY","size":"1","price":"{price}.5","type":"LIMIT","createdAt":"2026-09-01T12:00:00.125Z"}}]}}"#
            )),
            1 => data(n, "v4_orderbook", &format!(r#"{{"bids":[["{price}.5","{size}"]]}}"#)),
            2 => data(n, "v4_orderbook", &format!(r#"{{"asks":[["{price}","{size}.25"],["{price}.75","0"]]}}"#)),
            _ => data(n, "v4_candles", &format!(
                r#"{{"startedAt":"2026-09-01T12:{:02}:00.000Z","ticker":"AAA-USD","resolution":"1MIN","low":"1","high":"9","open":"2","close":"{price}","baseTokenVolume":"3","usdVolume":"6","trades":2,"startingOpenInterest":"1"}}"#,
                n / 40
            )),
        });
    }
    let snapshot = r#"{"bids":[{"price":"100","size":"1"}],"asks":[{"price":"101","size":"3"}]}"#;
    frames.insert(1, data(1, "v4_orderbook", snapshot).replace("channel_data", "subscribed"));
    frames.remove(2);
    let frames: Vec<&[u8]> = frames.iter().map(|f| f.as_bytes()).collect();
    let mut out = Out::default();
    let mut round = || {
        session.on_open(Ts(1), &mut out);
        out.clear();
        // The greeting asks for the streams, which is text.
        session.on_frame(Ts(1), Frame::Text(frames[0]), &mut out).unwrap();
        session.on_frame(Ts(1), Frame::Text(frames[1]), &mut out).unwrap();
        allocations(session.as_mut(), &mut out, &frames[2..])
    };
    round();
    let (allocated, events) = round();
    assert!(events > 2_000, "{events}");
    assert_eq!(allocated, 0, "{allocated} allocations for {events} events");
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    std::hint::black_box(Box::new(7));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
