//! The Parquet catalog: what the tape held, stored where NautilusTrader, SQL engines and Spark read it.
//!
//! Start with `rows.rs` (what a row is), `table.rs` (where it goes), `encode.rs` and `decode.rs` (columns), then `manifest.rs`
//! (what is stored), `catalog.rs` (files), `writer.rs` (from the tape) and `compact.rs`. docs/catalog.md is for whoever reads the files.

pub mod columns;
pub mod decode;
pub mod encode;
mod error;
mod hot;
pub mod names;
pub mod read;
pub mod rows;
pub mod seqs;
pub mod spec;
mod spec_market;
mod spec_own;
pub mod table;

pub use error::StoreError;
