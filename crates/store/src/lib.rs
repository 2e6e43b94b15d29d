//! The Parquet catalog: what the tape held, stored where NautilusTrader, SQL engines and Spark read it.
//!
//! Start with `rows.rs` (what a row is), `table.rs` (where it goes), `encode.rs` and `decode.rs` (columns), then `manifest.rs`
//! (what is stored), `catalog.rs` (files), `writer.rs` (from the tape), `compact.rs`, `retain/` (what goes again), `migrate.rs`, `cert/` and `verify/` (what a day
//! holds, and whether that is so). docs/catalog.md is for whoever reads the files.

pub mod canon;
pub mod catalog;
pub mod cert;
pub mod columns;
pub mod compact;
pub mod decode;
pub mod depth;
pub mod dictionary;
pub mod digits;
pub mod encode;
mod error;
pub mod export;
pub mod file;
pub mod history;
mod hot;
pub mod import;
pub mod manifest;
pub mod merge;
pub mod migrate;
pub mod names;
pub mod part;
pub mod read;
mod repeats;
pub mod replay;
pub mod retain;
pub mod rows;
pub mod scan;
pub mod seqs;
pub mod spec;
mod spec_market;
mod spec_own;
mod stream;
pub mod table;
pub mod trace;
pub mod verify;
pub mod writer;

pub use error::StoreError;
