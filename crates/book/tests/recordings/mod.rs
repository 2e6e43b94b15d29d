//! Reads the depth channel of recorded Binance traffic with a plain JSON parser: deliberately not our decoders, so that
//! books are judged by themselves. Shared by tests and benches.

#![allow(dead_code, reason = "each test and bench uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use wholetape_book::{OrderBook, Stamp};
use wholetape_model::{Book, BookAction, Chain, Decimal, Level, Levels, Price, Scales, Side, Size, Ts};

/// One snapshot or delta, decoded into memory.
#[derive(Debug, Clone)]
pub struct Update {
    pub stamp: Stamp,
    pub scales: Scales,
    pub action: BookAction,
    pub first_id: u64,
    pub last_id: u64,
    pub prev_id: u64,
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
}

impl Update {
    pub fn book(&self) -> Book<Levels<'_>> {
        Book {
            action: self.action,
            first_id: self.first_id,
            last_id: self.last_id,
            prev_id: self.prev_id,
            bids: Levels::Native(&self.bids),
            asks: Levels::Native(&self.asks),
        }
    }

    pub fn levels(&self) -> usize {
        self.bids.len() + self.asks.len()
    }
}

/// One recording: updates by symbol, in the order received.
pub struct Recording {
    pub name: String,
    pub rule: Chain,
    pub books: BTreeMap<String, Vec<Update>>,
    pub truth: Value,
}

/// The folder of recordings, or `None` (said on stdout) where there is none.
pub fn folder() -> Option<PathBuf> {
    let path = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no captures");
    None
}

/// Every Binance recording, one at a time (`visit` drops it before the next is read).
pub fn each(mut visit: impl FnMut(Recording)) {
    let Some(folder) = folder() else { return };
    for venue in ["binance-usdm", "binance-spot", "binance-coinm", "binance-us"] {
        let Ok(entries) = std::fs::read_dir(folder.join(venue)) else { continue };
        let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|p| p.to_string_lossy().ends_with(".jsonl.zst"));
        files.sort();
        for file in files {
            visit(read(venue, &file));
        }
    }
}

fn read(venue: &str, file: &Path) -> Recording {
    let truth = file.to_string_lossy().replace(".jsonl.zst", ".truth.json");
    let truth = serde_json::from_slice(&std::fs::read(truth).expect("truth file")).expect("truth is JSON");
    let mut books: BTreeMap<String, Vec<Update>> = BTreeMap::new();
    lines(file, |line| {
        if let Some((symbol, update)) = update(line) {
            books.entry(symbol).or_default().push(update);
        }
    });
    let rule =
        if venue == "binance-usdm" || venue == "binance-coinm" { Chain::LinkedPrev } else { Chain::SpotAnchored };
    let name = format!("{venue}/{}", file.file_name().unwrap_or_default().to_string_lossy());
    Recording { name, rule, books, truth }
}

/// Calls `visit` with each line of a recording.
pub fn lines(file: &Path, mut visit: impl FnMut(&Value)) {
    let mut decoder = zstd::Decoder::new(File::open(file).expect("recording")).expect("zstd");
    decoder.window_log_max(27).expect("window");
    for line in BufReader::new(decoder).lines() {
        let line = line.expect("line");
        visit(&serde_json::from_str(&line).expect("line is JSON"));
    }
}

fn update(line: &Value) -> Option<(String, Update)> {
    // Most lines are of other channels: they need no second parse.
    if !line["data"].as_str()?.contains("epth") && !line["url"].as_str()?.contains("/depth?") {
        return None;
    }
    let mut body: Value = serde_json::from_str(line["data"].as_str()?).ok()?;
    let stamp = Stamp { ts_recv: Ts(line["recv_ns"].as_i64()?), ..Stamp::default() };
    if line["kind"] == "http_resp" {
        let (_, query) = line["url"].as_str()?.split_once("/depth?")?;
        let symbol = query.split('&').find_map(|p| p.strip_prefix("symbol="))?;
        let at = body["lastUpdateId"].as_u64()?;
        return Some((symbol.to_owned(), make(stamp, BookAction::Snapshot, (at, at, 0), &body["bids"], &body["asks"])));
    }
    if body.get("stream").is_some() {
        body = body["data"].take();
    }
    if body["e"] != "depthUpdate" {
        return None;
    }
    let ids = (body["U"].as_u64()?, body["u"].as_u64()?, body["pu"].as_u64().unwrap_or(0));
    let stamp = Stamp { ts_event: Ts::from_millis(body["E"].as_i64()?), ..stamp };
    Some((body["s"].as_str()?.to_owned(), make(stamp, BookAction::Delta, ids, &body["b"], &body["a"])))
}

pub fn make(stamp: Stamp, action: BookAction, ids: (u64, u64, u64), bids: &Value, asks: &Value) -> Update {
    let texts = |side: &Value| -> Vec<(Decimal, Decimal)> {
        let number = |v: &Value| Decimal::parse(v.as_str().expect("text").as_bytes()).expect("number");
        side.as_array().expect("levels").iter().map(|l| (number(&l[0]), number(&l[1]))).collect()
    };
    let (bids, asks) = (texts(bids), texts(asks));
    let all = || bids.iter().chain(&asks);
    let scales = Scales {
        price: all().map(|l| l.0.scale).max().unwrap_or(0),
        size: all().map(|l| l.1.scale).max().unwrap_or(0),
    };
    let levels = |side: &[(Decimal, Decimal)]| {
        let level = |l: &(Decimal, Decimal)| Level {
            price: Price(l.0.rescale(scales.price).expect("fits").raw),
            size: Size(l.1.rescale(scales.size).expect("fits").raw),
        };
        side.iter().map(level).collect::<Vec<_>>()
    };
    Update {
        stamp,
        scales,
        action,
        first_id: ids.0,
        last_id: ids.1,
        prev_id: ids.2,
        bids: levels(&bids),
        asks: levels(&asks),
    }
}

/// Hex digits, as the truth files have them.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// The hash of all levels that the truth files give: `b|price|size` of each bid, then the asks, without trailing zeros.
pub fn final_hash(book: &OrderBook) -> String {
    let mut hash = Sha256::new();
    for (side, tag) in [(Side::Buy, 'b'), (Side::Sell, 'a')] {
        let mut levels = Vec::new();
        book.all(side, &mut levels);
        for l in levels {
            let (price, size) = (book.scales().price(l.price).canonical(), book.scales().size(l.size).canonical());
            hash.update(format!("{tag}|{price}|{size}\n"));
        }
    }
    hex(hash)
}
