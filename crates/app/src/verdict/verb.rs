//! `wholetape verdict`: the same judgement as the demo's, over a tape that another process recorded from simulated venues.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use wholetape_sim::RestTally;
use wholetape_sim::truth::{self, REST_FILE};

use super::{figures, report, seen, wanted};
use crate::cli;
use crate::config;

pub fn run(args: &cli::Verdict) -> anyhow::Result<ExitCode> {
    let (config, problems) = config::load(&args.layers)?;
    anyhow::ensure!(problems.is_empty(), "{}", config::Problems(problems));
    if let Some(url) = &args.follow {
        return super::follow::run(args, &config.feed, url);
    }
    let truth = truth::load(&args.truth).context("the truth cannot be read")?;
    let wanted = wanted::of_config(&config.feed, &wanted::symbols(&truth))?;
    let dir = config.data.join("tape");
    let tape = seen::read_tape(&dir).with_context(|| format!("the tape in {} cannot be read", dir.display()))?;
    let mut faults = BTreeMap::new();
    for fault in &truth.faults {
        *faults.entry(fault.kind.name().to_owned()).or_default() += 1;
    }
    // There is one reader only, so it stands for both.
    let verdict = super::judge(&truth, &wanted, &tape, &tape, faults);
    let figures = figures::figures(&truth, &wanted, &tape, &tape, &verdict, rest(&args.truth), 0);
    let verdict = verdict.with_figures(figures);
    if args.json {
        eprint!("{}", report::table(&verdict, report::Paint(false)));
        say!("{}", serde_json::to_string(&verdict)?);
    } else {
        say!(
            "{}\n{}",
            report::table(&verdict, report::Paint(false)),
            report::last_line(&verdict, report::Paint(false))
        );
    }
    Ok(ExitCode::from(u8::from(!verdict.complete)))
}

/// What the venues were asked, if they have finished.
fn rest(dir: &Path) -> BTreeMap<String, RestTally> {
    std::fs::read(dir.join(REST_FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
