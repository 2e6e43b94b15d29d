//! One file of the archive as a stream of rows: hashed, unpacked and cut into lines, in bounded memory.
//!
//! A `.gz` is one text, packed. What a zip claims is not believed: it must hold one plain `.csv` file, whose unpacked bytes are counted as they come and whose
//! name never becomes a path. Lines are bounded, so what unpacks to anything but rows ends at once.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use wholetape_venue::archive::Row;
use wholetape_venue::binance;

use super::find::Found;

/// No row of the archive is nearly so long.
const LINE_MAX: usize = 1 << 10;
/// The largest monthly files unpack to some ten GiB.
const UNPACKED_MAX: u64 = 64 << 30;
/// A checksum file is one short line.
const CHECKSUM_MAX: u64 = 4 << 10;
const CHUNK: usize = 256 << 10;

/// How a file was read, to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub rows: u64,
    /// In what its times are: `ms`, `µs` or `s`; empty without a row.
    pub unit: &'static str,
    pub header: bool,
}

/// Hashes the file and holds it against the checksum file beside it. False when there is none.
///
/// # Errors
/// Where they differ (both are named), or cannot be read.
pub fn verify(found: &Found, stop: &dyn Fn() -> bool) -> anyhow::Result<bool> {
    let mut beside = found.path.as_os_str().to_owned();
    beside.push(".CHECKSUM");
    let beside = PathBuf::from(beside);
    let Ok(file) = File::open(&beside) else { return Ok(false) };
    let mut text = String::new();
    file.take(CHECKSUM_MAX).read_to_string(&mut text).with_context(|| beside.display().to_string())?;
    let mut words = text.split_whitespace();
    let wanted = words.next().unwrap_or_default().to_ascii_lowercase();
    let good = wanted.len() == 64 && wanted.bytes().all(|b| b.is_ascii_hexdigit());
    anyhow::ensure!(good, "{} does not begin with a sha256 in hex", beside.display());
    if let Some(of) = words.next().map(|w| w.trim_start_matches('*')) {
        anyhow::ensure!(of == found.name(), "{} speaks of {of}", beside.display());
    }
    let got = sha256(&found.path, stop)?;
    anyhow::ensure!(
        got == wanted,
        "{} has sha256 {got}, and {} says {wanted}: fetch it again",
        found.name(),
        beside.file_name().unwrap_or_default().to_string_lossy()
    );
    Ok(true)
}

fn sha256(path: &Path, stop: &dyn Fn() -> bool) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let n = file.read(&mut chunk).with_context(|| path.display().to_string())?;
        if n == 0 {
            return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        anyhow::ensure!(!stop(), "stopped");
        hash.update(&chunk[..n]);
    }
}

/// Hands every row to `take`, in order; `take` ends it by an error.
///
/// # Errors
/// A file that is torn, or holds anything but what its name says.
pub fn each_row(found: &Found, take: &mut dyn FnMut(&Row) -> anyhow::Result<()>) -> anyhow::Result<Shape> {
    let file = File::open(&found.path).with_context(|| found.path.display().to_string())?;
    if found.name().ends_with(".gz") {
        let unpacked = MultiGzDecoder::new(BufReader::with_capacity(CHUNK, file));
        return lines(found, BufReader::with_capacity(CHUNK, unpacked), take);
    }
    if !found.name().ends_with(".zip") {
        return lines(found, BufReader::with_capacity(CHUNK, file), take);
    }
    let torn = || format!("{} is no whole zip", found.name());
    let mut zip = zip::ZipArchive::new(BufReader::with_capacity(CHUNK, file)).with_context(torn)?;
    anyhow::ensure!(zip.len() <= 16, "{} holds {} files, where one is expected", found.name(), zip.len());
    let mut only = None;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).with_context(torn)?;
        if !entry.is_dir() {
            anyhow::ensure!(only.is_none(), "{} holds more than one file", found.name());
            check_entry(found, &entry.name().with_context(torn)?, entry.size())?;
            only = Some(i);
        }
    }
    let only = only.with_context(|| format!("{} holds no file", found.name()))?;
    let entry = zip.by_index(only).with_context(torn)?;
    lines(found, BufReader::with_capacity(CHUNK, entry), take)
}

/// One plain `.csv` that is of the same symbol, data and day as the zip.
fn check_entry(found: &Found, name: &str, size: u64) -> anyhow::Result<()> {
    let zip = found.name();
    let plain = name.ends_with(".csv") && !name.contains(['/', '\\', ':']) && !name.contains("..");
    let shown: String = name.chars().take(128).collect();
    anyhow::ensure!(plain, "{zip} holds {shown:?}, where one plain .csv file is expected");
    let other = binance::archive::parse(name).is_ok_and(|inner| {
        (&inner.symbol, inner.data, inner.span) != (&found.named.symbol, found.named.data, found.named.span)
    });
    anyhow::ensure!(!other, "{zip} holds {shown}, which is another file");
    anyhow::ensure!(size <= UNPACKED_MAX, "{zip} unpacks to {size} bytes, more than any file of the archive");
    Ok(())
}

fn lines(
    found: &Found,
    mut from: impl BufRead,
    take: &mut dyn FnMut(&Row) -> anyhow::Result<()>,
) -> anyhow::Result<Shape> {
    let mut rows = found.market.rows(&found.named);
    let (mut line, mut bytes, mut number, mut count) = (Vec::with_capacity(LINE_MAX), 0_u64, 0_u64, 0_u64);
    loop {
        line.clear();
        number += 1;
        let n = (&mut from).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line);
        let n = n.with_context(|| format!("{}:{number}: cannot be unpacked or read on", found.name()))?;
        if n == 0 {
            return Ok(Shape { rows: count, unit: rows.unit(), header: rows.has_header() });
        }
        bytes += n as u64;
        anyhow::ensure!(n <= LINE_MAX, "{}:{number}: a line of more than {LINE_MAX} bytes", found.name());
        anyhow::ensure!(bytes <= UNPACKED_MAX, "{} unpacks to more than any file of the archive", found.name());
        if let Some(row) = rows.read(&line)? {
            count += 1;
            take(&row)?;
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
