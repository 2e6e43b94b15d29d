//! `wholetape catalog ls`: what is stored, by topic, table and day.

use std::process::ExitCode;

use serde_json::json;
use wholetape_model::Ts;
use wholetape_store::catalog::Catalog;
use wholetape_store::manifest::{Part, subject};
use wholetape_store::{migrate, names};
use wholetape_tape::RealDisk;

use crate::cli;
use crate::config;

pub fn run(args: &cli::CatalogLs) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let state = Catalog::look(&RealDisk, &config.data)?;
    let wanted = |p: &&Part| args.of.as_ref().is_none_or(|of| p.topic.contains(of.as_str()) || p.table == *of);
    let mut parts: Vec<&Part> = state.parts.values().filter(wanted).collect();
    parts.sort_by(|a, b| (&a.topic, &a.table, a.from).cmp(&(&b.topic, &b.table, b.from)));
    let let_go: Vec<_> =
        state.let_go.iter().filter(|(t, _)| args.of.as_ref().is_none_or(|of| t.contains(of.as_str()))).collect();
    let certified = |p: &Part| {
        let issued = state.issued.get(subject(&p.topic))?.get(&p.day)?;
        issued.parts.contains(&p.part).then_some(issued.revision)
    };
    let older = parts.iter().flat_map(|p| &p.files).filter(|f| migrate::older(f).is_some()).count();
    if args.json {
        let rows: Vec<_> = parts
            .iter()
            .map(|p| {
                json!({
                    "topic": p.topic, "table": p.table, "day": names::day_name(p.day), "sealed": p.sealed, "rows": p.rows,
                    "bytes": p.bytes(), "from": names::stamp(Ts(p.from)), "to": names::stamp(Ts(p.to)),
                    "seqs": p.seqs, "files": p.files, "certificate": certified(p),
                })
            })
            .collect();
        let let_go: Vec<_> = let_go
            .iter()
            .map(|(topic, gone)| {
                json!({"topic": topic, "until": names::day_name(gone.until), "rows": gone.rows, "bytes": gone.bytes})
            })
            .collect();
        say!("{}", json!({"catalog": state.catalog, "parts": rows, "let_go": let_go, "older_files": older}));
        return Ok(ExitCode::SUCCESS);
    }
    let wide = parts.iter().map(|p| p.topic.len()).max().unwrap_or(5).max(5);
    say!("{:wide$}  {:18} {:10} {:>6} {:>12} {:>10}", "topic", "table", "day", "state", "rows", "KiB");
    for p in &parts {
        let state = match (certified(p), p.sealed) {
            (Some(revision), _) => format!("cert.{revision}"),
            (None, true) => "sealed".to_owned(),
            (None, false) => "open".to_owned(),
        };
        let day = names::day_name(p.day);
        say!("{:wide$}  {:18} {day:10} {state:>6} {:>12} {:>10}", p.topic, p.table, p.rows, p.bytes().div_ceil(1024));
    }
    for (topic, gone) in let_go {
        let (day, mib) = (names::day_name(gone.until), gone.bytes as f64 / f64::from(1 << 20));
        say!("{topic}: let go by retention up to {day}: {} rows, {mib:.1} MiB", gone.rows);
    }
    let (rows, size) = (parts.iter().map(|p| p.rows).sum::<u64>(), parts.iter().map(|p| p.bytes()).sum::<u64>());
    say!("{} parts, {rows} rows, {:.1} MiB", parts.len(), size as f64 / f64::from(1 << 20));
    if older > 0 {
        say!(
            "{older} files have an older layout, and are read as they are; `wholetape catalog migrate` writes them anew"
        );
    }
    Ok(ExitCode::SUCCESS)
}
