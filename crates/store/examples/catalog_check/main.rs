//! Makes catalogs for foreign readers, and tells what they must find in them.
//!
//! `catalog_check make DIR` runs a small market over midnight through tape and follower into `DIR/catalog` (v2) and
//! `DIR/catalog-v1`; `catalog_check expect DIR OUT` writes what `DIR`'s tape says that a reader must find, one file of JSON lines per
//! table and identifier. The second knows nothing of the store's code but which table a record belongs to, and works on any data
//! directory whose tape is still whole: `cargo xtask catalog` holds both against the wheels and engines.

#![allow(clippy::unwrap_used)]

mod expect;
mod market;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", dir] => market::make(Path::new(dir)),
        ["expect", dir, out] => expect::write(Path::new(dir), Path::new(out)),
        _ => {
            eprintln!("usage: catalog_check make DIR | expect DIR OUT");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
