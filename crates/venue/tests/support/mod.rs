//! Recordings, where they are there: read from `$WHOLETAPE_CAPTURES` or `../shared/captures` beside the workspace.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wholetape_model::Kind;
use wholetape_venue::{Frame, Out, Session};

#[derive(Deserialize)]
pub struct Line {
    pub recv_ns: i64,
    pub conn: String,
    pub kind: String,
    pub url: String,
    pub data: String,
}

pub struct Capture {
    pub name: String,
    pub venue: String,
    pub lines: Vec<Line>,
    pub truth: serde_json::Value,
}

pub fn root() -> Option<PathBuf> {
    let set = std::env::var_os("WHOLETAPE_CAPTURES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let root = set.unwrap_or(beside);
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: no captures");
    None
}

/// Every Binance recording with its truth, in order of name; empty (and said so) where there are none.
pub fn binance() -> impl Iterator<Item = Capture> {
    of(&["binance-coinm", "binance-spot", "binance-us", "binance-usdm"])
}

/// Every OKX recording.
pub fn okx() -> impl Iterator<Item = Capture> {
    of(&["okx"])
}

/// Every Bybit recording; its lines belong to the market that their address names.
pub fn bybit() -> impl Iterator<Item = Capture> {
    of(&["bybit"])
}

/// Every Kraken recording.
pub fn kraken() -> impl Iterator<Item = Capture> {
    of(&["kraken"])
}

/// Messages that are no recording: `schema_examples`, `rest_examples` of a venue.
pub fn examples(venue: &str, name: &str) -> Option<Vec<Line>> {
    let text = std::fs::read_to_string(root()?.join(venue).join(format!("{name}.jsonl"))).ok()?;
    Some(text.lines().map(|l| sonic_rs::from_str(l).unwrap()).collect())
}

fn of(venues: &[&'static str]) -> impl Iterator<Item = Capture> + use<> {
    let mut paths = Vec::new();
    if let Some(root) = root() {
        for venue in venues.iter().copied() {
            let Ok(dir) = root.join(venue).read_dir() else { continue };
            paths.extend(
                dir.flatten().map(|e| (venue, e.path())).filter(|(_, p)| p.to_string_lossy().ends_with(".jsonl.zst")),
            );
        }
    }
    paths.sort();
    paths.into_iter().map(|(venue, path)| read(venue, &path))
}

fn read(venue: &str, path: &Path) -> Capture {
    let file = std::fs::File::open(path).unwrap();
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
    let lines = text.lines().map(|l| sonic_rs::from_str(l).unwrap()).collect();
    let truth = path.to_string_lossy().replace(".jsonl.zst", ".truth.json");
    Capture {
        name: format!("{venue}/{}", path.file_name().unwrap().to_string_lossy()),
        venue: venue.into(),
        lines,
        truth: serde_json::from_str(&std::fs::read_to_string(truth).unwrap()).unwrap(),
    }
}

/// What a frame brought is what its head told: a line that drops it unread confesses no more than that.
#[track_caller]
pub fn is_as_peeked(session: &dyn Session, frame: &str, out: &Out) {
    let Some(peek) = session.peek(Frame::Text(frame.as_bytes())) else { return };
    // An odd frame that is kept as it came is a record of ours.
    for event in out.events.iter().filter(|event| event.kind != Kind::Raw) {
        assert!(peek.stands_for(event.kind), "{} in a frame of {}: {frame:.300}", event.kind, peek.kind);
    }
}
