//! A fuzzing corpus made of recorded exchange traffic: a few hundred different frames of each channel.
//!
//! Recordings are zstd-compressed JSON lines `{"recv_ns", "conn", "kind", "url", "data"}`; a seed is one line's `data`. They are read
//! where they lie and belong to others, so the corpus is never committed (`fuzz/corpus` is ignored by git).

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Seeds kept per channel and file.
const PER_CHANNEL: usize = 300;
/// What libFuzzer takes at most from a seed by default is far less; whole snapshots only slow it down.
const SEED_BYTES_MAX: usize = 64 * 1024;
/// Recordings use windows up to 2^24; room is left, since a larger one is no error.
const WINDOW_LOG_MAX: u32 = 27;

#[derive(Deserialize)]
struct Line {
    kind: String,
    data: String,
}

/// Sampled frames of every Binance recording under `captures`, in no particular order, each once.
///
/// # Errors
/// When a recording cannot be read.
pub fn frames(captures: &Path) -> Result<BTreeSet<String>> {
    let mut frames = BTreeSet::new();
    for file in crate::tree::files_under(captures, "zst")? {
        let venue = file.strip_prefix(captures).unwrap_or(&file);
        if venue.to_string_lossy().starts_with("binance") {
            let open = File::open(&file).with_context(|| file.display().to_string())?;
            let mut decoder = zstd::Decoder::new(open)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            let sampled = sample(BufReader::new(decoder)).with_context(|| file.display().to_string())?;
            frames.extend(sampled);
        }
    }
    Ok(frames)
}

/// Keeps an even spread of each channel: when its share is full, every second one goes and the stride doubles.
fn sample(lines: impl BufRead) -> Result<Vec<String>> {
    struct Channel {
        seen: usize,
        stride: usize,
        kept: Vec<String>,
    }
    let mut channels: BTreeMap<String, Channel> = BTreeMap::new();
    for line in lines.lines() {
        let line: Line = serde_json::from_str(&line?).context("a recorded line")?;
        if line.data.len() > SEED_BYTES_MAX {
            continue;
        }
        let channel = channels.entry(channel(&line)).or_insert(Channel { seen: 0, stride: 1, kept: Vec::new() });
        if channel.seen.is_multiple_of(channel.stride) {
            channel.kept.push(line.data);
            if channel.kept.len() > PER_CHANNEL {
                let mut nth = 0;
                channel.kept.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                channel.stride *= 2;
            }
        }
        channel.seen += 1;
    }
    Ok(channels.into_values().flat_map(|channel| channel.kept).collect())
}

/// The venue's name for the kind of frame, as far as a seed's variety needs it.
fn channel(line: &Line) -> String {
    let between =
        |before: &str| line.data.split_once(before).and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
    let stream = between("\"stream\":\"").and_then(|stream| stream.split_once('@')).map(|(_, channel)| channel);
    format!("{} {}", line.kind, stream.or_else(|| between("\"e\":\"")).unwrap_or_default())
}

/// Writes the frames that `dir` does not hold yet; returns how many that were.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(dir: &Path, frames: &BTreeSet<String>) -> Result<usize> {
    fs::create_dir_all(dir)?;
    let mut added = 0;
    for frame in frames {
        let mut hasher = DefaultHasher::new();
        frame.hash(&mut hasher);
        let file = dir.join(format!("recorded-{:016x}", hasher.finish()));
        if !file.exists() {
            fs::write(file, frame)?;
            added += 1;
        }
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(data: &str) -> String {
        format!("{}\n", serde_json::json!({"recv_ns": 1, "conn": "a", "kind": "ws_in", "url": "x", "data": data}))
    }

    #[test]
    fn each_channel_gets_its_share() {
        let mut text = line(r#"{"stream":"btcusdt@trade","data":{"e":"trade"}}"#);
        for n in 0..5_000 {
            text += &line(&format!(r#"{{"stream":"btcusdt@depth@0ms","data":{{"u":{n}}}}}"#));
        }
        let kept = sample(text.as_bytes()).expect("sample");
        let depths = kept.iter().filter(|frame| frame.contains("@depth")).count();
        assert!((PER_CHANNEL / 2..=PER_CHANNEL).contains(&depths), "{depths} depth frames kept");
        assert!(kept.iter().any(|frame| frame.contains("@trade")), "the one trade is kept");
    }

    #[test]
    fn recordings_become_files_once() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let venue = dir.path().join("binance-spot");
        fs::create_dir(&venue).expect("folder");
        let mut encoder =
            zstd::Encoder::new(File::create(venue.join("a.jsonl.zst")).expect("file"), 1).expect("encoder");
        encoder.write_all((line("one") + &line("two") + &line("one")).as_bytes()).expect("write");
        encoder.finish().expect("finish");
        let frames = frames(dir.path()).expect("frames");
        assert_eq!(frames.iter().collect::<Vec<_>>(), ["one", "two"]);
        let corpus = dir.path().join("corpus");
        assert_eq!(write(&corpus, &frames).expect("first"), 2);
        assert_eq!(write(&corpus, &frames).expect("second"), 0);
        assert_eq!(fs::read_dir(&corpus).expect("folder").count(), 2);
    }

    #[test]
    fn a_broken_recording_is_an_error() {
        assert!(sample("{\"kind\":1}\n".as_bytes()).is_err());
    }
}
