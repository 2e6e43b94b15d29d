//! What can go wrong in the store, and where.

use std::io;
use std::path::{Path, PathBuf};

use wholetape_model::{RecordError, Topic};
use wholetape_tape::TapeError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: no Parquet file that can be read: {source}")]
    Parquet { path: PathBuf, source: parquet::errors::ParquetError },
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error("column {column} of {table} is {what}")]
    Column { table: &'static str, column: String, what: &'static str },
    #[error("{path}: line {line} of the manifest is damaged: {why}")]
    Manifest { path: PathBuf, line: usize, why: String },
    #[error("{0}: a write failed before; nothing is committed until the catalog is opened anew")]
    LogFailed(PathBuf),
    #[error("{path}: written by a newer wholetape (format {format}; this one reads up to {newest}): update wholetape")]
    Newer { path: PathBuf, format: u32, newest: u32 },
    #[error("{path}: the manifest lists it, and it is not there or not what it was: {why}")]
    Changed { path: PathBuf, why: String },
    #[error("the ids of {0} do not count its trades: no file of numbered trades can be held against them")]
    Loose(Topic),
    #[error("another process ({0}) writes this catalog: stop it, or send the command to it")]
    Taken(String),
    #[error("{path}: no certificate that can be read: {why}")]
    Certificate { path: PathBuf, why: String },
    #[error("{0}: it is of dialect v1, and would go: name v1 in `store.dialects`, with which the catalog is kept")]
    NoDialect(PathBuf),
    #[error("no Ed25519 key: {0}")]
    Key(String),
    #[error("storing failed ({0}) and begins anew from the tape: what was committed holds")]
    Stopped(String),
    #[error("{0}: the tape did not come on to the disk in time; its rows are stored later")]
    Unsynced(String),
    #[error("a stored row is no record: {0}")]
    Record(#[from] RecordError),
    #[error("{topic}: as of seq {asof} is asked for, and up to seq {stored} is stored: ask as of that, or of none")]
    Beyond { topic: String, asof: u64, stored: u64 },
    #[error("the thread that reads ahead is gone")]
    Ahead,
    #[error(transparent)]
    Tape(#[from] TapeError),
}

impl StoreError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self + '_ {
        move |source| Self::Parquet { path: path.to_owned(), source }
    }
}
