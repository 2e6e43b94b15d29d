//! Which files are meant, and what they are: by their names and the directories that they lie in.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wholetape_model::InstrumentId;
use wholetape_venue::binance::archive::{ArchiveError, Data, Named};
use wholetape_venue::binance::limits::Variant;

/// Directories deeper than this are not entered.
const DEPTH_MAX: usize = 16;

/// A file of the archive.
#[derive(Debug, Clone)]
pub struct Found {
    pub path: PathBuf,
    pub named: Named,
    pub market: Variant,
    pub instrument: InstrumentId,
}

impl Found {
    pub fn name(&self) -> &str {
        &self.named.file
    }
}

/// A file that cannot be one, and why.
#[derive(Debug, Clone)]
pub struct Refused {
    pub path: PathBuf,
    pub why: String,
    /// It lay in a directory and is of another kind: passed over.
    pub passed: bool,
}

/// All files of one instrument and kind of data, oldest first.
pub type Group = Vec<Found>;

/// Files, and directories searched to their ends. Files of other formats in directories are passed over.
///
/// # Errors
/// A path that does not exist, a directory that cannot be read.
pub fn find(paths: &[PathBuf], market: Option<Variant>) -> anyhow::Result<(Vec<Group>, Vec<Refused>)> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        let whole = path.canonicalize().with_context(|| path.display().to_string())?;
        let mut files = Vec::new();
        let listed = whole.is_dir();
        if listed {
            walk(&whole, 0, &mut files)?;
        } else {
            // A link keeps its own name and place: they say what the file is.
            files.push(std::path::absolute(path).with_context(|| path.display().to_string())?);
        }
        for path in files {
            match identify(&path, market) {
                Ok(one) => found.push(one),
                Err(error) => {
                    let other = matches!(
                        error,
                        Unusable::Archive(ArchiveError::Unsupported { .. } | ArchiveError::Name { .. })
                    );
                    refused.push(Refused { path, why: error.to_string(), passed: listed && other });
                }
            }
        }
    }
    let order = |f: &Found| (f.instrument.as_str().to_owned(), f.named.data, f.named.span, f.path.clone());
    found.sort_by_cached_key(order);
    found.dedup_by(|a, b| a.path == b.path);
    let same = |a: &Found, b: &Found| (&a.instrument, a.named.data) == (&b.instrument, b.named.data);
    Ok((found.chunk_by(same).map(<[Found]>::to_vec).collect(), refused))
}

fn walk(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    anyhow::ensure!(depth <= DEPTH_MAX, "{} lies deeper than {DEPTH_MAX} directories", dir.display());
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let entry = entry.with_context(|| dir.display().to_string())?;
        // What a link names may be anywhere, also above: links are not followed.
        let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && (name.ends_with(".zip") || name.ends_with(".csv")) {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Why a file is none.
#[derive(Debug)]
enum Unusable {
    Archive(ArchiveError),
    Instrument(String),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Archive(error) => error.fmt(f),
            Self::Instrument(why) => f.write_str(why),
        }
    }
}

fn identify(path: &Path, market: Option<Variant>) -> Result<Found, Unusable> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dirs = path.parent().map(|p| p.iter().map(|c| c.to_string_lossy().into_owned()).collect::<Vec<_>>());
    let dirs = dirs.unwrap_or_default();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let named = Named::parse(&name).map_err(Unusable::Archive)?;
    let market = named.market(&dirs, market).map_err(Unusable::Archive)?;
    let instrument = wholetape_venue::instrument_id::<()>(market.facts().name, &named.symbol, None);
    let instrument = instrument.map_err(|e| Unusable::Instrument(e.to_string()))?;
    Ok(Found { path: path.to_owned(), named, market, instrument })
}

/// What a group holds.
pub fn data_of(group: &Group) -> Option<Data> {
    group.first().map(|f| f.named.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_searched_and_grouped_by_instrument_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        put("data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-03.zip");
        put("data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-02.zip");
        put("data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-02.zip.CHECKSUM");
        put("data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01-02.zip");
        put("data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2025-01-02.zip");
        put("loose/BTCUSDT-trades-2025-01-02.csv");
        put("loose/notes.txt");
        let (groups, refused) = find(&[dir.path().to_owned()], None).unwrap();
        let all: Vec<_> = groups.iter().map(|g| (g[0].instrument.as_str(), g.len())).collect();
        assert_eq!(all, [("BTCUSDT-PERP.BINANCE", 1), ("BTCUSDT.BINANCE", 2)]);
        assert_eq!(groups[1][0].named.span.to_string(), "2025-01-02");
        let why = |part: &str| refused.iter().find(|r| r.why.contains(part)).map(|r| r.passed);
        assert_eq!((why("markPriceKlines"), why("does not tell the market")), (Some(true), Some(false)), "{refused:?}");
        let file = dir.path().join("loose/BTCUSDT-trades-2025-01-02.csv");
        let (groups, refused) = find(&[file.clone(), file], Some(Variant::UsdM)).unwrap();
        assert!(groups.len() == 1 && groups[0].len() == 1 && refused.is_empty(), "named twice, read once");
        assert!(find(&[dir.path().join("gone")], None).unwrap_err().to_string().contains("gone"));
    }
}
