//! `wholetape catalog compact` and `catalog export`: work on a catalog that no process writes.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::json;
use wholetape_model::Ts;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::{compact, export};
use wholetape_tape::RealDisk;

use crate::cli;
use crate::config;

pub fn compact(args: &cli::CatalogCompact) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let plan = config.store.catalog();
    let mut catalog = Catalog::open(Arc::new(RealDisk), &config.data, plan)
        .context("a running `wholetape run` compacts by itself once a day is over; stop it, or let it")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let today = wholetape_store::names::day_of(Ts(i64::try_from(since.as_nanos())?));
    let before = catalog.state().parts.len();
    let done = compact::all(&mut catalog, today, &mut |topic, table, day| {
        if !args.json {
            eprintln!("{topic} {} {}", table.as_str(), wholetape_store::names::day_name(day));
        }
    })?;
    let after = catalog.state().parts.len();
    if args.json {
        say!("{}", json!({"compacted": done, "parts_before": before, "parts_after": after}));
    } else {
        say!("{done} days compacted: {before} parts became {after}");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn export(args: &cli::CatalogExport) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let Some(dialect) = Dialect::parse(&args.dialect) else {
        anyhow::bail!("--dialect {}: use v1 or v2", args.dialect);
    };
    let into = CatalogConfig { dialects: vec![Dialect::V2, dialect], ..config.store.catalog() };
    let done = export::export(&RealDisk, &config.data, &args.into, dialect, into.codec, &mut |topic, table| {
        if !args.json {
            eprintln!("{topic} {table}");
        }
    })?;
    if args.json {
        say!("{}", json!({"files": done.files, "rows": done.rows, "bytes": done.bytes, "into": args.into}));
    } else {
        say!(
            "{} files, {} rows, {:.1} MiB in {}",
            done.files,
            done.rows,
            done.bytes as f64 / f64::from(1 << 20),
            args.into.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
