//! Certificates: what is held of one instrument (or line) on one UTC day, so that anyone can derive it again.
//!
//! A certificate is a JSON file, `catalog/certificates/<instrument>/<day>.r<revision>.json`. Every figure in it follows from stored
//! rows, from the certificate of the day before, or from the manifest's list of files; there is no clock in it and no chance, so a
//! certificate that a crash kept from being committed is issued again byte for byte. Each names the BLAKE3 of the one that was issued
//! before it for the same instrument: days and revisions form one chain. What the fields mean: docs/certificates.md.
//!
//! `figures.rs` reads one part's rows, `day.rs` puts a day together, `issue.rs` writes what is due, `sign.rs` knows keys;
//! `crate::verify` does the same again and compares.

pub mod book;
pub mod day;
pub mod delay;
pub mod figures;
pub mod holes;
pub mod issue;
pub mod sign;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::Dialect;
use crate::manifest::FileRef;
use crate::names;
use crate::seqs::Seqs;

pub use book::BookFigures;
pub use delay::Delay;
pub use holes::{GapFigures, IdFigures, NameFigures};

/// Version of the certificates that this build issues. Newer ones are named, not misread.
pub const FORMAT: u32 = 1;

/// One instrument-day. The order of the fields is the order in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub format: u32,
    /// The catalog's own name, drawn when it was begun.
    pub catalog: String,
    /// The instrument, or the line that topics like `link.<line>` are about.
    pub instrument: String,
    /// UTC.
    pub day: String,
    /// 1, and one more each time the day was rewritten or a verdict came later.
    pub revision: u32,
    /// Place in the instrument's chain, from 1.
    pub number: u64,
    /// BLAKE3 of the file of certificate `number - 1`.
    pub previous: Option<String>,
    /// Verdicts are taken from gap marks stored on this day and the days after it, up to this one.
    pub marks_to: String,
    /// The public key that signed, if one did: the signature lies beside the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    pub summary: Summary,
    pub topics: BTreeMap<String, TopicFigures>,
}

/// The day in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub rows: u64,
    /// Rows with a failed check.
    pub flagged: u64,
    /// Rows without one, in a million, rounded down: 1 000 000 says all.
    pub accuracy_ppm: u64,
    /// Ids held in a million of those held and missing (what the venue never published is not missing), rounded down; absent
    /// where no topic has ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness_ppm: Option<u64>,
    /// Of all topics, the longest time in holes that are open or lost.
    pub hole_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_invalid_ns: Option<u64>,
    /// Timeliness over all topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
}

/// What is held of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFigures {
    pub tables: BTreeMap<String, TableFigures>,
    /// Of trades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdFigures>,
    /// Of trades whose ids name them and do not count: no id tells what is missing, gaps are told by time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NameFigures>,
    pub gaps: GapFigures,
    /// Of a book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book: Option<BookFigures>,
    /// Rows withdrawn by marks of this day.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retracted: u64,
}

/// Rows of a topic in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFigures {
    pub rows: u64,
    /// `ts_init` of the first and last row, ns.
    pub from: i64,
    pub to: i64,
    /// Seqs that the rows cover, as closed intervals.
    pub seqs: Seqs,
    /// Of all rows in the corrected order, in their canonical bytes (`canon.rs`): the same after any recompression.
    pub blake3: String,
    /// How many canonical bytes there are.
    pub bytes: u64,
    /// Rows that came late, by where they came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub late: BTreeMap<String, u64>,
    /// Failed checks, by which: a row may have several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flagged: BTreeMap<String, u64>,
    /// Rows received while their line lagged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lagging: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    pub files: Vec<FileRef>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Certificate {
    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain data");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// No certificate, or one of a newer format.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let no = |e: serde_json::Error| StoreError::Certificate { path: path.to_owned(), why: e.to_string() };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(no)?;
        match value["format"].as_u64() {
            Some(n) if n > u64::from(FORMAT) => {
                let format = u32::try_from(n).unwrap_or(u32::MAX);
                Err(StoreError::Newer { path: path.to_owned(), format, newest: FORMAT })
            }
            _ => serde_json::from_value(value).map_err(no),
        }
    }

    #[must_use]
    pub fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex().to_string()
    }
}

/// The folder of all certificates.
#[must_use]
pub fn root(data: &Path) -> PathBuf {
    data.join(Dialect::V2.root()).join("certificates")
}

/// The folder of an instrument's certificates.
#[must_use]
pub fn folder(data: &Path, subject: &str) -> PathBuf {
    root(data).join(names::identifier(subject))
}

/// `2026-01-02.r1.json`.
#[must_use]
pub fn file_name(day: i64, revision: u32) -> String {
    format!("{}.r{revision}.json", names::day_name(day))
}

/// Day's name and revision that a file's name tells.
#[must_use]
pub fn parse_name(name: &str) -> Option<(&str, u32)> {
    let (day, revision) = name.strip_suffix(".json")?.split_once(".r")?;
    Some((day, revision.parse().ok()?))
}
