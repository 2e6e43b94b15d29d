//! After warm-up an event costs no allocation: a whole recording runs through the line twice, and the second half of it may
//! allocate only where the growing book's tables double.
#![allow(unsafe_code)] // A counting allocator has to implement `GlobalAlloc`; it forwards to the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineOut, LinePlan, Resume};
use wholetape_model::{Kind, Ts};
use wholetape_venue::{Frame, Reply, SessionPlan};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is forwarded unchanged to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn an_event_costs_no_allocation_after_warm_up() {
    let dir = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    let file = dir.join("binance-usdm/btcusdt_20240808.jsonl.zst");
    if !file.is_file() {
        println!("skipped: no captures");
        return;
    }
    let mut decoder = zstd::Decoder::new(std::fs::File::open(file).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let input: Vec<(i64, Option<String>, String)> = BufReader::new(decoder)
        .lines()
        .map(|line| {
            let v: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let url = (v["kind"] != "ws_in").then(|| v["url"].as_str().unwrap().to_owned());
            (v["recv_ns"].as_i64().unwrap(), url, v["data"].as_str().unwrap().to_owned())
        })
        .collect();
    let session = wholetape_venue::open(&SessionPlan::capture("binance-usdm")).unwrap();
    let mut line = Line::new(LinePlan {
        name: "alloc".into(),
        instruments: Vec::new(),
        conns: vec![ConnPlan { session, expects: Vec::new(), polled: Vec::new(), streams: usize::MAX }],
        trade_source: Kind::TradeRaw,
        heal: true,
        discover: Some("BINANCE".into()),
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    });
    let mut out = LineOut::default();
    line.on_open(0, ConnMeta { number: 1 }, Ts::ZERO, &mut out);
    let (warm_up, measured) = input.split_at(input.len() / 2);
    let mut rows = 0;
    let mut run = |part: &[(i64, Option<String>, String)]| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for (ts, url, data) in part {
            match url {
                None => line.on_frame(0, Ts(*ts), Frame::Text(data.as_bytes()), &mut out),
                Some(url) => {
                    let (conn, id) = line.fetch_of(url).unwrap();
                    line.on_fetched(conn, Ts(*ts), id, Reply::Answer { status: 200, body: data.as_bytes() }, &mut out);
                }
            }
            rows += out.rows.len();
            out.clear();
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    run(warm_up);
    let allocations = run(measured);
    assert!(rows > 80_000, "{rows} rows");
    // The book goes on growing in this recording, and a table that is full doubles: a handful in 47 000 frames. One
    // allocation per hundred events of any channel would be hundreds.
    assert!(allocations <= 8, "{allocations} allocations in {} frames after warm-up", measured.len());
}
