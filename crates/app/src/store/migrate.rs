//! `wholetape catalog migrate`: files of older layouts become files of the newest.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::json;
use wholetape_model::Ts;
use wholetape_store::catalog::Catalog;
use wholetape_store::migrate::{self, Due};
use wholetape_store::names;
use wholetape_tape::RealDisk;

use crate::cli;
use crate::config;

pub fn run(args: &cli::CatalogMigrate) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    if args.dry_run {
        let due = migrate::due(&Catalog::look(&RealDisk, &config.data)?);
        tell(args, &due, 0);
        return Ok(ExitCode::SUCCESS);
    }
    let mut problems = Vec::new();
    let signer = config.store.plan(&config.data, &mut problems).and_then(|plan| plan.signer);
    let mut catalog = Catalog::open(Arc::new(RealDisk), &config.data, config.store.catalog())
        .context("a running `wholetape run` reads older files as they are; stop it before they are written anew")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = names::day_of(Ts(i64::try_from(since.as_nanos())?) - config.store.seal_after);
    let (done, certificates) = migrate::all(&mut catalog, signer.as_ref(), until, &mut |due| {
        if !args.json {
            eprintln!("{} {} {}", due.topic, due.table, due.day);
        }
    })?;
    tell(args, &done, certificates);
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &cli::CatalogMigrate, all: &[Due], certificates: u64) {
    let (rows, bytes) = (all.iter().map(|d| d.rows).sum::<u64>(), all.iter().map(|d| d.bytes).sum::<u64>());
    let files = all.iter().map(|d| d.older.len()).sum::<usize>();
    if args.json {
        say!(
            "{}",
            json!({
                "dry_run": args.dry_run, "days": all, "files": files, "rows": rows, "bytes": bytes,
                "certificates": certificates,
            })
        );
        return;
    }
    if args.dry_run {
        for file in all.iter().flat_map(|d| &d.older) {
            say!("{}: version {}, the newest is {}", file.path, file.format, file.newest);
        }
    }
    let did = if args.dry_run { "would be written anew" } else { "written anew" };
    say!(
        "{files} files of older layouts in {} days {did}: {rows} rows, {:.1} MiB; {certificates} certificates",
        all.len(),
        bytes as f64 / f64::from(1 << 20)
    );
}
