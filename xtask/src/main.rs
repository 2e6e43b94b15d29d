//! The project's chores, run as `cargo xtask <chore>`.
//!
//! `test` proves the tree and is what the README names; `ci` is `test` behind the quick checks (format, lints, levels, purity,
//! licences). Each chore installs what it needs by itself, into the user's cache, and says aloud what it could not prove.

mod autobahn;
mod bench;
mod catalog;
mod clients;
mod corpus;
mod deny;
mod docs;
mod fanout;
mod fuzz;
mod graph;
mod hand;
mod live;
mod npm;
mod page;
mod purity;
mod python;
mod run;
mod running;
mod sim;
mod soak;
mod steps;
mod system;
mod tools;
mod tree;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use run::{cargo_command, root, run};
use std::path::PathBuf;
use std::process::ExitCode;
use steps::{Proof, Steps};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every test and the documentation checks.
    Test,
    /// Run what CI runs: format, lints, crate levels, purity, licences, then `test`.
    Ci {
        /// Leave `test` out.
        #[arg(long)]
        fast: bool,
    },
    /// Check the crates' levels and the pure crates' purity.
    Graph,
    /// Check licences, bans and sources of dependencies, and known advisories.
    Deny {
        /// Fail when the advisory database cannot be fetched.
        #[arg(long)]
        require_advisories: bool,
    },
    /// Check the documentation: rustdoc without warnings, links that lead somewhere.
    Docs,
    /// Look at the page with a real browser, over a demo.
    Page {
        /// What goes wrong in the demo: none, mild or rough.
        #[arg(long, default_value = "none")]
        faults: String,
        /// Where a picture goes.
        #[arg(long, value_name = "FILE")]
        shot: Option<PathBuf>,
    },
    /// Hold the catalog against the wheels and engines that read it.
    Catalog {
        /// A data directory whose tape is still whole, instead of a market made for it.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Hold the Python client and the examples against the conformance vectors, mypy and a running gateway.
    Clients,
    /// Take the README's tour by hand, with wscat: live trades, then an hour of past, within two minutes.
    Hand,
    /// Hold the gateway's WebSocket codec against Autobahn's test suite (an hour of one core).
    Autobahn {
        /// Groups of cases: 1 to 7, 9, 10, 12.1 to 12.5, 13.1 to 13.7, or 12, 13; all by default.
        groups: Vec<String>,
        /// Where reports go and stay; a group that has one there is not run again.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Run against a real venue for a minute and print the channels seen; the only chore that talks to one.
    Live {
        #[arg(long, value_enum)]
        venue: live::Venue,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Run the benchmarks, by default a quick look at each.
    Bench {
        /// Take criterion's full time for figures to be quoted.
        #[arg(long)]
        full: bool,
        /// Only benchmarks whose name holds this.
        filter: Option<String>,
    },
    /// Measure what a delivered message costs the gateway, beside nats-server, `ws` and Socket.IO.
    Fanout {
        /// Seconds that count, for each server and load.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Run the release binary against simulated venues for hours, with trouble, and judge memory, handles, disk and truth.
    Soak(soak::Soak),
    /// Run seeds of the deterministic world, each a history of faults with its checkers.
    Sim {
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// This seed alone, with everything that it drew.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
        /// Threads; by default one for each core.
        #[arg(long)]
        jobs: Option<usize>,
        /// Sockets that carry the same streams of a line.
        #[arg(long, default_value_t = 1)]
        sockets: usize,
        /// The venues of the worlds: binance, okx, bybit, kraken, dydx, or others (by turns all but Binance).
        #[arg(long, default_value = "binance")]
        class: String,
        /// Use the ordinary build: slower, but there after the tests.
        #[arg(long)]
        dev: bool,
    },
    /// Fuzz every target, or one, from a corpus made of the recordings.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// A file name in fuzz/fuzz_targets, without `.rs`.
        target: Option<String>,
    },
}

fn main() -> ExitCode {
    match chore(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: Chore) -> Result<()> {
    let mut steps = Steps::from_env();
    match chore {
        Chore::Test => test(&mut steps),
        Chore::Ci { fast } => {
            steps.step("format", || proven(run(&mut cargo_command(&["fmt", "--all", "--check"]))));
            levels(&mut steps);
            steps.step("lock file", || proven(lock_file()));
            deny::steps(&mut steps, false);
            steps.step("lints", || proven(lints()));
            if fast {
                docs::steps(&mut steps);
            } else {
                test(&mut steps);
            }
        }
        Chore::Graph => levels(&mut steps),
        Chore::Deny { require_advisories } => deny::steps(&mut steps, require_advisories),
        Chore::Docs => docs::steps(&mut steps),
        Chore::Page { faults, shot } => {
            let shot = shot.map(std::path::absolute).transpose()?;
            page::step(&mut steps, &faults, shot.as_deref());
        }
        Chore::Catalog { data } => {
            let data = data.map(std::path::absolute).transpose()?;
            catalog::steps(&mut steps, data.as_deref());
        }
        Chore::Clients => clients::step(&mut steps),
        Chore::Hand => hand::step(&mut steps),
        Chore::Autobahn { groups, out } => {
            let out = out.map(std::path::absolute).transpose()?;
            autobahn::step(&mut steps, &groups, out.as_deref());
        }
        Chore::Live { venue, seconds } => return live::live(venue, seconds),
        Chore::Fanout { seconds } => return fanout::fanout(seconds),
        Chore::Soak(args) => return soak::soak(&args),
        Chore::Bench { full, filter } => return bench::run_benches(full, filter.as_deref()),
        Chore::Sim { seeds, from, seed, jobs, sockets, class, dev } => {
            return sim::run_seeds(&sim::Seeds { seeds, from, seed, jobs, sockets, class, dev });
        }
        Chore::Fuzz { seconds, target } => fuzz::steps(&mut steps, seconds, target.as_deref(), captures().as_deref())?,
    }
    steps.finish()
}

/// Everything that `cargo xtask test` proves.
fn test(steps: &mut Steps) {
    let captures = captures();
    steps.step("recordings", || {
        Ok(match &captures {
            Some(dir) => {
                println!("recorded exchange traffic in {}", dir.display());
                Proof::Proven
            }
            None => Proof::NotProven(
                "that real recordings decode to their truth (set WHOLETAPE_CAPTURES to a folder of them)".into(),
            ),
        })
    });
    steps.step("tests", || {
        let mut cargo = cargo_command(&["test", "--workspace", "--no-fail-fast"]);
        if let Some(dir) = &captures {
            cargo.env("WHOLETAPE_CAPTURES", dir);
        }
        proven(run(&mut cargo))
    });
    for (class, seeds) in [("binance", 200), ("okx", 100), ("bybit", 100), ("kraken", 100), ("dydx", 100)] {
        steps.step(&format!("simulation, {class}"), || {
            sim::run_seeds(&sim::Seeds::some(seeds, class))?;
            sim::run_seeds(&sim::Seeds { sockets: 2, ..sim::Seeds::some(60, class) })?;
            proven(sim::run_failed(class))
        });
    }
    page::step(steps, "none", None);
    clients::step(steps);
    hand::step(steps);
    catalog::steps(steps, None);
    docs::steps(steps);
}

fn levels(steps: &mut Steps) {
    steps.step("crate levels", || none_found(graph::check(&tree::Tree::load(root())?)));
    steps.step("purity", || none_found(purity::check(&tree::Tree::load(root())?)?));
}

fn lints() -> Result<()> {
    run(&mut cargo_command(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// A lock file that cargo would rewrite makes every clone build something else than what was tested.
fn lock_file() -> Result<()> {
    let mut cargo = cargo_command(&["metadata", "--locked", "--format-version", "1"]);
    run(cargo.stdout(std::process::Stdio::null()))
}

/// The folder of recordings: `WHOLETAPE_CAPTURES`, else the one beside the tree. A folder without any counts as none.
fn captures() -> Option<PathBuf> {
    let dir = match std::env::var_os("WHOLETAPE_CAPTURES") {
        Some(dir) => PathBuf::from(dir),
        None => root().parent()?.join("shared").join("captures"),
    };
    tree::files_under(&dir, "zst").is_ok_and(|files| !files.is_empty()).then_some(dir)
}

fn proven(result: Result<()>) -> Result<Proof> {
    result.map(|()| Proof::Proven)
}

fn none_found<T: std::fmt::Display>(found: Vec<T>) -> Result<Proof> {
    for breach in &found {
        println!("{breach}");
    }
    match found.len() {
        0 => Ok(Proof::Proven),
        1 => bail!("{}", found[0]),
        many => bail!("{many} breaches, the first: {}", found[0]),
    }
}
