//! What can go wrong before or beside the serving; a client's bad request is an answer, never one of these.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Errors of starting, recording and reading a simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A configuration value that makes no world.
    #[error("configuration: {key}: {why}")]
    Config { key: String, why: String },
    /// A port could not be taken.
    #[error("cannot listen on {addr}")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// A truth file could not be read or written.
    #[error("truth file {path}")]
    Truth {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A line of a truth file is not a record of it.
    #[error("truth file {path}, line {line}: {why}")]
    Record { path: PathBuf, line: usize, why: String },
    /// A recording could not be read.
    #[error("recording {path}")]
    Capture {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A recording that holds nothing which a simulated venue serves.
    #[error("recording {path}: {why}")]
    NotServable { path: PathBuf, why: String },
    /// A venue name that the configuration does not hold.
    #[error("no simulated venue is called {name}")]
    NoVenue { name: String },
}

impl SimError {
    pub(crate) fn config(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config { key: key.into(), why: why.into() }
    }
}
