//! `wholetape coverage`: what the tape holds and how sure that is; beside a running process, or when none runs.

mod keeper;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use wholetape_gateway::coverage::{Query, document};
use wholetape_tape::coverage::Coverage;

pub use keeper::Keeper;

use crate::cli;
use crate::config;
use crate::verdict::report::Paint;

pub fn run(args: &cli::Coverage) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let mut query = Query::default();
    let parsed = [
        args.instrument.as_deref().map_or(Ok(()), |v| query.instrument(v)),
        args.kind.as_deref().map_or(Ok(()), |v| query.kind(v)),
        query.hours(&args.hours.to_string()),
    ];
    if let Some(why) = parsed.into_iter().find_map(Result::err) {
        anyhow::bail!("--{why}");
    }
    let dir = config.data.join("tape");
    if !dir.join("epoch").exists() {
        anyhow::bail!(
            "no tape in {}: name the data directory with --data, or the configuration with -c",
            dir.display()
        );
    }
    let (tape, opened) = Coverage::open_beside(&dir)?;
    if let Some(problem) = opened.problem {
        eprintln!("wholetape: {problem}; folded anew from what the tape holds, so what retention took is not known");
    }
    let cell = Mutex::new(opened.coverage);
    Coverage::catch_up(&cell, &tape, &|| false)?;
    let coverage = cell.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.json {
        say!("{}", document(&coverage, &query));
    } else {
        let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        say!("{}", table::table(&coverage, &query, &dir, paint).trim_end());
    }
    let hole = args.fail_on_hole && query.select(&coverage).any(|s| !s.is_whole());
    Ok(ExitCode::from(u8::from(hole)))
}
