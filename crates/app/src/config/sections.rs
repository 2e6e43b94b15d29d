//! The sections that the app itself owns: `[tape]` and `[log]`. The feed and the gateway own theirs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use wholetape_tape::{Fsync, LowSpace, Retention, TapeConfig};

use super::problem::Problem;
use super::size::Size;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// As `RUST_LOG` spells it: `info`, or `info,wholetape_feed=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl LogConfig {
    pub fn plan(&self, problems: &mut Vec<Problem>) {
        if tracing_subscriber::EnvFilter::try_new(&self.level).is_err() {
            problems.push(Problem::new(
                "log.level",
                &self.level,
                "is no filter",
                "write error, warn, info, debug or trace, or a filter like info,wholetape_feed=debug",
            ));
        }
    }
}

/// `[tape]`, see `wholetape defaults`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TapeSection {
    /// A time like `100ms`, or `batch`.
    pub fsync: String,
    pub segment: Size,
    pub memory: Size,
    #[serde(with = "humantime_serde")]
    pub keep_age: Option<Duration>,
    pub keep_size: Option<Size>,
    pub low_space_soft: Size,
    pub low_space_hard: Size,
}

impl Default for TapeSection {
    fn default() -> Self {
        let tape = TapeConfig::default();
        Self {
            fsync: "100ms".into(),
            segment: Size(tape.segment_bytes),
            memory: Size(tape.memory_bytes),
            keep_age: None,
            keep_size: None,
            low_space_soft: Size(tape.low_space.soft_bytes),
            low_space_hard: Size(tape.low_space.hard_bytes),
        }
    }
}

impl TapeSection {
    pub fn plan(&self, problems: &mut Vec<Problem>) -> TapeConfig {
        let mut wrong = |key: &str, value: String, why: &str, remedy: &str| {
            problems.push(Problem::new(format!("tape.{key}"), value, why, remedy));
        };
        let fsync = if self.fsync == "batch" {
            Fsync::Batch
        } else {
            match humantime::parse_duration(&self.fsync) {
                Ok(every) if (Duration::from_millis(1)..=Duration::from_secs(10)).contains(&every) => {
                    Fsync::Every(every)
                }
                _ => {
                    wrong("fsync", self.fsync.clone(), "is neither `batch` nor 1ms to 10s", "write \"100ms\"");
                    TapeConfig::default().fsync
                }
            }
        };
        let (segment, memory) = (self.segment.0, self.memory.0);
        if !((1 << 20)..=(1 << 32)).contains(&segment) {
            wrong("segment", format!("{segment}B"), "is not between 1MiB and 4GiB", "write \"64MiB\"");
        }
        if !((1 << 20)..=(1 << 40)).contains(&memory) {
            wrong("memory", format!("{memory}B"), "is not between 1MiB and 1TiB", "write \"64MiB\"");
        }
        if self.low_space_hard.0 >= self.low_space_soft.0 {
            let value = format!("{}B", self.low_space_hard.0);
            wrong("low_space_hard", value, "is not below tape.low_space_soft", "warn before acting: 256MiB and 1GiB");
        }
        if let Some(keep) = self.keep_size.filter(|keep| keep.0 < segment.saturating_mul(2)) {
            wrong(
                "keep_size",
                format!("{}B", keep.0),
                "holds less than two segments",
                "keep more, or make tape.segment smaller",
            );
        }
        TapeConfig {
            segment_bytes: segment,
            fsync,
            memory_bytes: memory,
            retention: Retention { age_max: self.keep_age, bytes_max: self.keep_size.map(|s| s.0) },
            low_space: LowSpace { soft_bytes: self.low_space_soft.0, hard_bytes: self.low_space_hard.0 },
            ..TapeConfig::default()
        }
    }
}

/// Where everything is kept when nothing else is said.
pub fn default_data() -> PathBuf {
    PathBuf::from("wholetape-data")
}
