//! What can go wrong with a tape.

use std::io;
use std::path::{Path, PathBuf};

use wholetape_model::Topic;

#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// Another process (or another `Tape` in this one) owns the directory.
    #[error("data directory {dir} is owned by process {}", pid.map_or("unknown".into(), |p| p.to_string()))]
    Locked { dir: PathBuf, pid: Option<u32> },
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The directory holds something that this build does not understand. Nothing was changed.
    #[error("{path} is not a tape this build reads: {why}")]
    Format { path: PathBuf, why: String },
    #[error("lane {0} has a writer already")]
    LaneTaken(String),
    #[error("lane name {0:?} is not 1 to 64 of a-z, A-Z, 0-9, '-', '_', '.' starting with a letter or digit")]
    LaneName(String),
    /// A topic belongs to one lane at a time.
    #[error("topic {topic} belongs to lane {lane}, which has a writer")]
    Owned { topic: Topic, lane: String },
    #[error("topic number {0} is not of this lane")]
    TopicNo(u32),
    /// The tape was opened by `open_reader`.
    #[error("the tape was opened for reading only")]
    ReadOnly,
    #[error("topic {topic} has no position {seq} yet: its head is {head}")]
    Position { topic: Topic, seq: u64, head: u64 },
    /// A live publisher never waits; only tapes made for replay allow `block`.
    #[error("policy block is for replay tapes only (topic {0})")]
    BlockRefused(Topic),
    /// The batch is kept: make room and commit again, or abort.
    #[error("no room for {bytes} bytes in lane {lane} and no sealed segment left to remove")]
    Full { lane: String, bytes: usize },
    /// An fsync failed; what reached the disk is unknown. The tape takes nothing more until it is opened again, and
    /// then marks the doubtful range in every topic.
    #[error("an fsync failed, the tape must be opened again")]
    SyncFailed,
    #[error("the tape was closed")]
    Closed,
    /// A single row is larger than a record can be.
    #[error("a row for topic {topic} is too large for a record")]
    TooLarge { topic: Topic },
}

impl TapeError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}
