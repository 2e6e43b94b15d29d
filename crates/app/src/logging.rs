//! The log: flow at debug, what mends itself at warn, failure at error. Always on stderr, so stdout stays for results.
//!
//! Repeated lines are folded where they arise (`wholetape_feed`), with a count.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts the log. `WHOLETAPE_LOG` overrides the level. A second call changes nothing.
pub fn start(config: &LogConfig) {
    let level = std::env::var("WHOLETAPE_LOG").unwrap_or_else(|_| config.level.clone());
    let filter = EnvFilter::try_new(&level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    };
    drop(started);
}
