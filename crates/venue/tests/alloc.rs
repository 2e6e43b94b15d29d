//! After warm-up an event costs no allocation: counted, not believed.
//!
//! `unsafe` stands here because `GlobalAlloc` is an unsafe trait; the allocator only counts and passes on.

#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use wholetape_model::Ts;
use wholetape_venue::{Frame, Out, Session, SessionPlan, open};

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

/// Every channel with a stream of its own, the slow ones of the typed decoder among them.
#[test]
fn our_own_frames_cost_no_allocation() {
    for (venue, file) in [
        ("binance-spot", include_str!("../frames/binance/spot.jsonl")),
        ("binance-usdm", include_str!("../frames/binance/usdm.jsonl")),
        ("okx", include_str!("../frames/okx/okx.jsonl")),
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
        ];
        let mut out = Out::default();
        let frames: Vec<&[u8]> = file
            .lines()
            .filter(|l| known.iter().any(|k| l.contains(k)) && !l.contains("\"event\""))
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

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    std::hint::black_box(Box::new(7));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
