//! Which files are meant, and what they are: by their names and the directories that they lie in.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wholetape_model::InstrumentId;
use wholetape_venue::archive::{ArchiveError, Data, Named, ReadRows};
use wholetape_venue::binance::{self, limits::Variant};
use wholetape_venue::bybit::{self, limits as bybit_limits};

/// Directories deeper than this are not entered.
const DEPTH_MAX: usize = 16;

/// Whose archive, and the market that people named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Binance(Option<Variant>),
    Bybit(Option<bybit_limits::Market>),
}

impl Wanted {
    /// `archive`: `binance` or `bybit`.
    ///
    /// # Errors
    /// Another archive; no market of it.
    pub fn parse(archive: &str, market: Option<&str>) -> anyhow::Result<Self> {
        Ok(match archive {
            "binance" => Self::Binance(market.map(variant).transpose()?),
            "bybit" => Self::Bybit(market.map(bybit_market).transpose()?),
            _ => anyhow::bail!("`{archive}` is no archive: binance or bybit"),
        })
    }

    /// How its files end.
    const fn ends(self) -> [&'static str; 2] {
        match self {
            Self::Binance(_) => [".zip", ".csv"],
            Self::Bybit(_) => [".csv.gz", ".csv"],
        }
    }

    fn identify(self, file: &str, dirs: &[&str]) -> Result<(Named, Market), ArchiveError> {
        match self {
            Self::Binance(said) => {
                let named = binance::archive::parse(file)?;
                let market = binance::archive::market(&named, dirs, said)?;
                Ok((named, Market::Binance(market)))
            }
            Self::Bybit(said) => {
                let named = bybit::archive::parse(file)?;
                let market = bybit::archive::market(&named, dirs, said)?;
                Ok((named, Market::Bybit(market)))
            }
        }
    }
}

fn variant(word: &str) -> anyhow::Result<Variant> {
    match word {
        "spot" | "binance-spot" => Some(Variant::Spot),
        "um" | "binance-usdm" => Some(Variant::UsdM),
        "cm" | "binance-coinm" => Some(Variant::CoinM),
        _ => None,
    }
    .with_context(|| format!("`{word}` is no market: spot, um or cm"))
}

fn bybit_market(word: &str) -> anyhow::Result<bybit_limits::Market> {
    let mut all = bybit_limits::Market::ALL.into_iter();
    let found = all.find(|m| [m.category(), m.name()].contains(&word));
    found.with_context(|| format!("`{word}` is no market: spot, linear or inverse"))
}

/// What rows of a file and rows that are held are told to be the same by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Ids that count, or open times.
    Number,
    /// Ids that name.
    Name,
    /// Time, price, size and side: the file's ids are not the stream's.
    Value,
}

/// The market that a file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    Binance(Variant),
    Bybit(bybit_limits::Market),
}

impl Market {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Binance(market) => binance::archive::name::short(market),
            Self::Bybit(market) => market.category(),
        }
    }

    pub const fn by(self) -> By {
        match self {
            Self::Binance(_) => By::Number,
            Self::Bybit(bybit_limits::Market::Spot) => By::Value,
            Self::Bybit(_) => By::Name,
        }
    }

    pub fn rows(self, named: &Named) -> Box<dyn ReadRows> {
        match self {
            Self::Binance(market) => Box::new(binance::archive::Rows::new(named, market)),
            Self::Bybit(market) => Box::new(bybit::archive::Rows::new(named, market)),
        }
    }

    /// As configurations call it.
    fn venue(self) -> &'static str {
        match self {
            Self::Binance(market) => market.facts().name,
            Self::Bybit(market) => market.name(),
        }
    }
}

/// A file of the archive.
#[derive(Debug, Clone)]
pub struct Found {
    pub path: PathBuf,
    pub named: Named,
    pub market: Market,
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
pub fn find(paths: &[PathBuf], wanted: Wanted) -> anyhow::Result<(Vec<Group>, Vec<Refused>)> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        let whole = path.canonicalize().with_context(|| path.display().to_string())?;
        let mut files = Vec::new();
        let listed = whole.is_dir();
        if listed {
            walk(&whole, 0, wanted, &mut files)?;
        } else {
            // A link keeps its own name and place: they say what the file is.
            files.push(std::path::absolute(path).with_context(|| path.display().to_string())?);
        }
        for path in files {
            match identify(&path, wanted) {
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

fn walk(dir: &Path, depth: usize, wanted: Wanted, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    anyhow::ensure!(depth <= DEPTH_MAX, "{} lies deeper than {DEPTH_MAX} directories", dir.display());
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let entry = entry.with_context(|| dir.display().to_string())?;
        // What a link names may be anywhere, also above: links are not followed.
        let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, wanted, files)?;
        } else if kind.is_file() && wanted.ends().iter().any(|end| name.ends_with(end)) {
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

fn identify(path: &Path, wanted: Wanted) -> Result<Found, Unusable> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dirs = path.parent().map(|p| p.iter().map(|c| c.to_string_lossy().into_owned()).collect::<Vec<_>>());
    let dirs = dirs.unwrap_or_default();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let (named, market) = wanted.identify(&name, &dirs).map_err(Unusable::Archive)?;
    let instrument = wholetape_venue::instrument_id::<()>(market.venue(), &named.symbol, None);
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
        let (groups, refused) = find(&[dir.path().to_owned()], Wanted::Binance(None)).unwrap();
        let all: Vec<_> = groups.iter().map(|g| (g[0].instrument.as_str(), g.len())).collect();
        assert_eq!(all, [("BTCUSDT-PERP.BINANCE", 1), ("BTCUSDT.BINANCE", 2)]);
        assert_eq!(groups[1][0].named.span.to_string(), "2025-01-02");
        let why = |part: &str| refused.iter().find(|r| r.why.contains(part)).map(|r| r.passed);
        assert_eq!((why("markPriceKlines"), why("does not tell the market")), (Some(true), Some(false)), "{refused:?}");
        let file = dir.path().join("loose/BTCUSDT-trades-2025-01-02.csv");
        let (groups, refused) = find(&[file.clone(), file], Wanted::Binance(Some(Variant::UsdM))).unwrap();
        assert!(groups.len() == 1 && groups[0].len() == 1 && refused.is_empty(), "named twice, read once");
        assert!(find(&[dir.path().join("gone")], Wanted::Bybit(None)).unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn each_archive_takes_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["trading/BTCUSD/BTCUSD2026-09-01.csv.gz", "spot/BTCUSDT/BTCUSDT_2026-09-01.csv.gz", "x/notes.csv"]
        {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let (groups, refused) = find(&[dir.path().to_owned()], Wanted::Bybit(None)).unwrap();
        let all: Vec<_> = groups.iter().map(|g| (g[0].instrument.as_str(), g[0].market.by())).collect();
        assert_eq!(all, [("BTCUSD-INVERSE.BYBIT", By::Name), ("BTCUSDT-SPOT.BYBIT", By::Value)]);
        assert_eq!(refused.iter().map(|r| r.passed).collect::<Vec<_>>(), [true], "{refused:?}");
        let (groups, refused) = find(&[dir.path().to_owned()], Wanted::Binance(None)).unwrap();
        assert_eq!((groups.len(), refused.len()), (0, 1), "files that end otherwise are not looked at");
        for (archive, market, part) in [
            ("bybit", Some("um"), "spot, linear or inverse"),
            ("binance", Some("linear"), "spot, um or cm"),
            ("okx", None, "`okx` is no archive"),
        ] {
            let error = Wanted::parse(archive, market).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let linear = Wanted::Bybit(Some(bybit_limits::Market::Linear));
        assert_eq!(Wanted::parse("bybit", Some("bybit-linear")).unwrap(), linear);
    }
}
