//! `[store]`: what of the tape is kept as Parquet, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use wholetape_store::catalog::CatalogConfig;
use wholetape_store::cert::sign::Signer;
use wholetape_store::columns::Dialect;
use wholetape_store::file::Codec;
use wholetape_store::writer::Pace;

use super::problem::Problem;
use super::retention::RetentionSection;
use super::size::Size;
use crate::store::keeper::StorePlan;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    pub enabled: bool,
    pub dialects: Vec<String>,
    pub codec: String,
    pub depth: bool,
    pub budget: Size,
    #[serde(with = "humantime_serde")]
    pub flush_every: Duration,
    #[serde(with = "humantime_serde")]
    pub rewrite_every: Duration,
    #[serde(with = "humantime_serde")]
    pub seal_after: Duration,
    pub certificate_key: Option<PathBuf>,
    pub retention: RetentionSection,
}

impl Default for StoreSection {
    fn default() -> Self {
        let pace = Pace::default();
        Self {
            enabled: true,
            dialects: vec!["v2".into()],
            codec: "zstd".into(),
            depth: true,
            budget: Size(pace.budget as u64),
            flush_every: pace.flush_every,
            rewrite_every: pace.rewrite_every,
            seal_after: pace.seal_after,
            certificate_key: None,
            retention: RetentionSection::default(),
        }
    }
}

impl StoreSection {
    /// The catalog's own part; what cannot be read is as by default.
    pub fn catalog(&self) -> CatalogConfig {
        let own = CatalogConfig::default();
        let mut dialects = vec![Dialect::V2];
        dialects.extend(self.dialects.iter().filter_map(|d| Dialect::parse(d)).filter(|d| *d != Dialect::V2));
        CatalogConfig { dialects, codec: Codec::parse(&self.codec).unwrap_or(own.codec), depth: self.depth }
    }

    pub fn plan(&self, data: &Path, problems: &mut Vec<Problem>) -> Option<StorePlan> {
        let mut wrong = |key: &str, value: String, why: &str, remedy: &str| {
            problems.push(Problem::new(format!("store.{key}"), value, why, remedy));
        };
        for dialect in self.dialects.iter().filter(|d| Dialect::parse(d).is_none()) {
            wrong("dialects", format!("{dialect:?}"), "is no dialect", "write [\"v2\"], or [\"v2\", \"v1\"]");
        }
        if !self.dialects.iter().any(|d| d == "v2") {
            wrong(
                "dialects",
                format!("{:?}", self.dialects),
                "lacks v2, from which rows are read back",
                "write [\"v2\", \"v1\"]",
            );
        }
        if Codec::parse(&self.codec).is_none() {
            wrong("codec", format!("{:?}", self.codec), "is no codec", "write zstd, zstd-3, snappy, lz4 or none");
        }
        if !((16 << 20)..=(1 << 40)).contains(&self.budget.0) {
            wrong("budget", format!("{}B", self.budget.0), "is not between 16MiB and 1TiB", "write \"256MiB\"");
        }
        let signer = self.certificate_key.as_ref().and_then(|path| {
            let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
            match read.and_then(|text| Signer::parse(&text).map_err(|e| e.to_string())) {
                Ok(signer) => Some(signer),
                Err(e) => {
                    let why = format!("holds no key that can be read: {e}");
                    let remedy = "make one with `openssl genpkey -algorithm ed25519`";
                    wrong("certificate_key", path.display().to_string(), &why, remedy);
                    None
                }
            }
        });
        let mut span = |key: &str, value: Duration, least: Duration, most: Duration| {
            if !(least..=most).contains(&value) {
                let range = format!(
                    "is not between {} and {}",
                    humantime::format_duration(least),
                    humantime::format_duration(most)
                );
                wrong(key, humantime::format_duration(value).to_string(), &range, "choose a time within");
            }
        };
        let (second, hour, day) = (Duration::from_secs(1), Duration::from_secs(3_600), Duration::from_secs(86_400));
        span("flush_every", self.flush_every, second, day);
        span("rewrite_every", self.rewrite_every, second, day);
        span("seal_after", self.seal_after, second, 12 * hour);
        let retention = self.retention.plan(problems);
        let pace = Pace {
            budget: usize::try_from(self.budget.0).unwrap_or(usize::MAX),
            flush_every: self.flush_every,
            rewrite_every: self.rewrite_every,
            seal_after: self.seal_after,
        };
        self.enabled.then(|| StorePlan { data: data.to_owned(), catalog: self.catalog(), pace, signer, retention })
    }
}
