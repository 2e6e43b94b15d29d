//! Reads a recording: one JSON object a line, zstd-compressed with a window of up to 24 bits.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The largest compression window that we accept: 128 MiB of memory for a hostile file, not more.
const WINDOW_LOG_MAX: u32 = 27;

/// One recorded message.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// Receive time, ns since the epoch.
    pub recv_ns: i64,
    pub conn: String,
    pub kind: String,
    #[serde(default)]
    pub url: String,
    pub data: String,
}

/// Calls `f` for each entry, in the file's order. Plain `.jsonl` is read as well.
pub fn for_each(path: &Path, mut f: impl FnMut(Entry) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader: Box<dyn BufRead> = if path.extension().is_some_and(|e| e == "zst") {
        let mut decoder = zstd::Decoder::new(file).with_context(|| format!("{} is not zstd", path.display()))?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Box::new(BufReader::with_capacity(1 << 20, decoder))
    } else {
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let n = reader
            .read_until(b'\n', &mut line)
            .with_context(|| format!("{} breaks off after line {number}", path.display()))?;
        if n == 0 {
            break;
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Entry>(&line) {
            Ok(entry) => f(entry)?,
            Err(e) => bail!("{} line {number} is no recorded message: {e}", path.display()),
        }
    }
    Ok(number)
}
