//! The `wholetape` binary: one configuration in, running tasks out. It knows all other crates; none knows it.
//!
//! Exit status: 0 as wished (for `demo`: complete), 1 a judgement against (incomplete, problems found), 2 could not be done.

/// A line on standard output. Whoever reads it may have gone (`| head`): that is no fault of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod availability;
mod cli;
mod clients;
mod config;
mod control;
mod coverage;
mod demo;
mod doctor;
mod heal;
mod import;
mod inspect;
mod instruments;
mod keys;
mod logging;
mod memory;
mod metrics;
mod pipeline;
mod replay;
mod run;
mod signals;
mod sim;
mod store;
mod trace;
mod verdict;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use cli::{Catalog, Cli, Verb};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wholetape: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(verb: &Verb) -> anyhow::Result<ExitCode> {
    // `run` starts the log as its configuration says; the others write warnings and failures.
    if !matches!(verb, Verb::Run(_)) {
        let level = if matches!(verb, Verb::Demo(_)) { "error" } else { "warn" };
        logging::start(&config::LogConfig { level: level.into(), ..config::LogConfig::default() });
    }
    match verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => run::check(args),
        Verb::Defaults { json } => {
            let text = config::defaults();
            if *json {
                say!("{}", serde_json::to_string(&toml::from_str::<toml::Table>(&text)?)?);
            } else {
                say!("{}", text.trim_end());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Doctor(args) => doctor::run(args),
        Verb::Coverage(args) => coverage::run(args),
        Verb::Catalog(Catalog::Ls(args)) => store::ls::run(args),
        Verb::Catalog(Catalog::Compact(args)) => store::verbs::compact(args),
        Verb::Catalog(Catalog::Migrate(args)) => store::migrate::run(args),
        Verb::Catalog(Catalog::Retain(args)) => store::retain::run(args),
        Verb::Catalog(Catalog::Export(args)) => store::verbs::export(args),
        Verb::Sim(args) => sim::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Verdict(args) => verdict::verb::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Trace(args) => trace::run(args),
        Verb::Instruments(args) => instruments::run(args),
        Verb::Heal(args) => heal::run(args),
        Verb::Gateway(cli::Gateway::Key(args)) => keys::run(args),
        Verb::Gateway(cli::Gateway::Clients(args)) => clients::run(args),
        Verb::Inspect { file, json } => {
            let report = inspect::inspect(file)?;
            if *json {
                say!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                say!("{}", report.table().trim_end());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
