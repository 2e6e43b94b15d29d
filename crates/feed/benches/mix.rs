//! The recorded mix of all channels through session, rule and book: frames per second on one core, per recording.
//!
//! `cargo bench -p wholetape-feed --bench mix`. Recordings are read from `$WHOLETAPE_CAPTURES` or `../shared/captures`; the
//! whole file is in memory before the clock starts, and rows are made but written nowhere. Best of five passes, each with a
//! line of its own.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineOut, LinePlan, Resume};
use wholetape_model::{Kind, Ts};
use wholetape_venue::{Frame, Reply, SessionPlan};

const PASSES: usize = 5;

enum Input {
    Frame(i64, String),
    Answer(i64, String, String),
}

fn main() {
    let dir = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    if !dir.is_dir() {
        println!("skipped: no captures");
        return;
    }
    println!("{:<44} {:>8} {:>12} {:>10}", "recording", "frames", "M frames/s", "ns/frame");
    for venue in ["binance-usdm", "binance-spot", "binance-coinm", "binance-us"] {
        let Ok(entries) = std::fs::read_dir(dir.join(venue)) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.retain(|f| f.extension().is_some_and(|e| e == "zst"));
        files.sort();
        for file in files {
            let input = load(&file);
            let frames = input.iter().filter(|i| matches!(i, Input::Frame(..))).count();
            let best = (0..PASSES).map(|_| pass(venue, &input)).fold(f64::MAX, f64::min);
            let name = format!("{venue}/{}", file.file_name().unwrap_or_default().to_string_lossy());
            println!(
                "{name:<44} {frames:>8} {:>12.2} {:>10.0}",
                frames as f64 / best / 1e6,
                best * 1e9 / frames as f64
            );
        }
    }
}

fn load(file: &Path) -> Vec<Input> {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(file).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    BufReader::new(decoder)
        .lines()
        .map_while(|line| {
            let v: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            let (ts, data) = (v["recv_ns"].as_i64()?, v["data"].as_str()?.to_owned());
            Some(match v["kind"].as_str()? {
                "ws_in" => Input::Frame(ts, data),
                _ => Input::Answer(ts, v["url"].as_str()?.to_owned(), data),
            })
        })
        .collect()
}

/// Seconds that one pass takes.
fn pass(venue: &str, input: &[Input]) -> f64 {
    let session = wholetape_venue::open(&SessionPlan::capture(venue)).expect("a known venue");
    let mut line = Line::new(LinePlan {
        name: "bench".into(),
        instruments: Vec::new(),
        conns: vec![ConnPlan { session, expects: Vec::new(), polled: Vec::new(), streams: usize::MAX }],
        trade_source: Kind::Trade,
        heal: false,
        discover: Some("BENCH".into()),
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    });
    let mut out = LineOut::default();
    line.on_open(0, ConnMeta { number: 1 }, Ts::ZERO, &mut out);
    out.clear();
    let start = Instant::now();
    for item in input {
        match item {
            Input::Frame(ts, data) => line.on_frame(0, Ts(*ts), Frame::Text(data.as_bytes()), &mut out),
            Input::Answer(ts, url, data) => {
                if let Some((conn, id)) = line.fetch_of(url) {
                    line.on_fetched(conn, Ts(*ts), id, Reply::Answer { status: 200, body: data.as_bytes() }, &mut out);
                }
            }
        }
        black_box(&out.rows);
        out.clear();
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(line.stats().errors, 0, "a clean recording");
    seconds
}
