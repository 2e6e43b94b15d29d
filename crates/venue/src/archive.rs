//! Venues' daily archives: what is the same in all of them.
//!
//! A venue's folder says what a file's name means and reads its lines; [`Named`] and [`ReadRows`] are what it gives. Pure: names and
//! lines come in, [`Event`]s go out; whoever reads files, unpacks and hashes them is elsewhere. A row becomes the very event that the
//! stream would have brought, so the two can be compared field by field.
//!
//! Invariants: a row that is not exactly what its file's name and header promise is an error that names file, line and column, never
//! a guess.

pub mod lines;
pub mod name;

use wholetape_model::{DecimalError, Event, Ts};

pub use name::{Data, Named, Span};

/// One row of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub line: u64,
    /// What names it within the file, growing from row to row: a trade's id that counts, the open time in ns of a bar, the line where
    /// ids are names.
    pub key: u64,
    /// Of instrument 0.
    pub event: Event,
}

/// Reads a file's lines, in order.
pub trait ReadRows {
    /// The next line, with or without its end. `None`: a header, or a blank line (which only the end of a file has).
    ///
    /// # Errors
    /// [`ArchiveError`]: nothing of that line was taken.
    fn read(&mut self, line: &[u8]) -> Result<Option<Row>, ArchiveError>;

    /// In what times are, once a row was read.
    fn unit(&self) -> &'static str;

    fn has_header(&self) -> bool;
}

/// Whether two readings of one moment agree: a stream may print ms where its archive is finer.
#[must_use]
pub const fn same_time(a: Ts, b: Ts) -> bool {
    const MS: i64 = 1_000_000;
    a.0 == b.0 || (a.millis() == b.millis() && (a.0 % MS == 0 || b.0 % MS == 0))
}

/// Why a file of an archive cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("{file} is no name of the archive: {why}; they are like {like}")]
    Name { file: String, why: &'static str, like: &'static str },
    #[error("{file} holds {what}, which is not imported: trades, aggTrades and klines are")]
    Unsupported { file: String, what: String },
    #[error("{file}: its path does not tell the market: name it ({known})")]
    Market { file: String, known: &'static str },
    #[error("{file}: its path says {path}, and {said} was named")]
    OtherMarket { file: String, path: &'static str, said: &'static str },
    #[error("{file}:{line}: {got} columns, where {want} are expected")]
    Columns { file: String, line: u64, got: usize, want: usize },
    #[error("{file}:{line}: column {column} is called `{got}`, where {want} is expected")]
    Header { file: String, line: u64, column: usize, got: String, want: &'static str },
    #[error("{file}:{line}: no column is called {name}")]
    NoColumn { file: String, line: u64, name: &'static str },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`: {why}")]
    Value { file: String, line: u64, column: usize, name: &'static str, got: String, why: &'static str },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`: {source}")]
    Number { file: String, line: u64, column: usize, name: &'static str, got: String, source: DecimalError },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`, neither in ms nor in µs a time within {period}")]
    Time { file: String, line: u64, column: usize, name: &'static str, got: String, period: String },
    #[error("{file}:{line}: column {column} ({name}) is in {got}, and the rows before are in {want}")]
    MixedUnits { file: String, line: u64, column: usize, name: &'static str, got: &'static str, want: &'static str },
    #[error("{file}:{line}: {name} {got} does not follow {before}, which stands on line {before_line}")]
    Order { file: String, line: u64, name: &'static str, got: u64, before: u64, before_line: u64 },
    #[error("{file}:{line}: a row after a blank line")]
    Blank { file: String, line: u64 },
}
