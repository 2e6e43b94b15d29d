//! `wholetape heal import binance-archive` and `bybit-archive`: a venue's daily files held against the tape, and what is missing healed from them.
//!
//! The way of a file: `find` (what it is) → `file` (checksum, unpacked, lines) → the venue's `archive` (rows as events) →
//! `survey` and `compare` (against `held`, what the tape has) → `gaps` (verdicts) → `write` (the line, or a lane of ours). Where ids are
//! names `named` stands in the place of `survey`. `job` leads it; `bulk` is where days go that the tape never saw.

pub mod bulk;
pub mod compare;
pub mod file;
pub mod find;
pub mod gaps;
pub mod held;
pub mod job;
pub mod named;
pub mod report;
pub mod survey;
pub mod write;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wholetape_feed::worker::Asker;
use wholetape_tape::Tape;

use crate::cli;
use crate::config;
use crate::control::{self, Request, client};
use crate::signals;
use job::{Job, Order};

/// Carries out an order on a thread of its own. `lines`: those of the process that owns the tape; `bulk`: where days go that the tape
/// never saw. When nobody listens to `tell` any
/// more, and when `stop` is cancelled, it ends after the batch at hand.
///
/// # Errors
/// What cannot be done, for people.
pub async fn run(
    tape: Tape,
    lines: Option<Asker>,
    bulk: Box<dyn bulk::Bulk>,
    order: Order,
    tell: mpsc::Sender<Value>,
    stop: CancellationToken,
) -> Result<Value, String> {
    let lines = lines.map(|asker| (asker, tokio::runtime::Handle::current()));
    let working = tokio::task::spawn_blocking(move || {
        let stop = || stop.is_cancelled() || tell.is_closed();
        // A listener that is slow misses progress, and nothing else.
        let mut say = |value| drop(tell.try_send(value));
        let writer = write::Writer::new(&tape, lines);
        Job { tape, writer, bulk, tell: &mut say, stop: &stop }.run(&order).map_err(|e| format!("{e:#}"))
    });
    working.await.map_err(|e| e.to_string())?
}

pub fn verb(archive: &str, args: &cli::ArchiveFiles) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let last = runtime.block_on(order(archive, args));
    runtime.shutdown_timeout(Duration::from_secs(2));
    let last = last?;
    if args.json {
        say!("{last}")
    } else {
        say!("{}", report::sentence(&last))
    }
    let n = |key: &str| last[key].as_u64().unwrap_or(0);
    Ok(match () {
        () if n("failed") > 0 && n("failed") == n("files") => ExitCode::from(2),
        () if last["complete"] != true || (args.strict && n("not_held") + n("skipped") > 0) => ExitCode::from(1),
        () => ExitCode::SUCCESS,
    })
}

async fn order(archive: &str, args: &cli::ArchiveFiles) -> anyhow::Result<Value> {
    let mut stop = signals::Stop::new()?;
    let (config, _) = config::load(&args.layers)?;
    let wanted = find::Wanted::parse(archive, args.market.as_deref()).context("--market")?;
    let mut show = Show { live: std::io::stderr().is_terminal(), shown: false };
    if let Some(stream) = client::connect(&control::socket_of(&config.data)).await {
        let paths = args.paths.iter().map(|p| {
            let path = std::path::absolute(p).with_context(|| p.display().to_string())?;
            path.into_os_string().into_string().map_err(|p| anyhow::anyhow!("{} is not UTF-8", p.display()))
        });
        let (paths, market) = (paths.collect::<anyhow::Result<_>>()?, args.market.clone());
        let request = Request::Import { paths, market, archive: archive.to_owned() };
        let size = serde_json::to_string(&request)?.len() as u64;
        anyhow::ensure!(size < control::LINE_MAX, "too many paths for one order: name their directory");
        let last = client::ask(stream, &request, |value| show.line(value), stop.asked()).await?;
        show.end();
        return Ok(last.unwrap_or_else(|| json!({"event": "done", "complete": false, "cancelled": true})));
    }
    let dir = config.data.join("tape");
    anyhow::ensure!(
        dir.join("epoch").exists() || config.data.join("catalog").join("manifest.log").exists(),
        "neither tape nor catalog in {}: name the data directory with --data, or the configuration with -c",
        config.data.display()
    );
    let mut problems = Vec::new();
    let tape_config = crate::store::left_until_stored(config.tape.plan(&mut problems), config.store.enabled);
    let store = config.store.plan(&config.data, &mut problems);
    anyhow::ensure!(problems.is_empty(), config::Problems(problems));
    let tape = tokio::task::spawn_blocking(move || Tape::open(&dir, tape_config)).await??;
    let bulk: Box<dyn bulk::Bulk> = match store {
        Some(plan) => Box::new(bulk::Store::new(plan)),
        None => Box::new(bulk::NoCatalog::OFF),
    };
    let wish = CancellationToken::new();
    let (tell, mut told) = mpsc::channel(4);
    let last = {
        let order = Order { paths: args.paths.clone(), wanted };
        let mut running = std::pin::pin!(run(tape.clone(), None, bulk, order, tell, wish.clone()));
        loop {
            tokio::select! {
                last = &mut running => break last,
                Some(value) = told.recv() => show.line(&value),
                () = stop.asked(), if !wish.is_cancelled() => wish.cancel(),
            }
        }
    };
    show.end();
    tokio::task::spawn_blocking(move || tape.close()).await?.context("the tape does not close")?;
    last.map_err(|why| anyhow::anyhow!(why))
}

/// Progress on stderr: one line that is written over, or one line a file where nobody looks.
struct Show {
    live: bool,
    shown: bool,
}

impl Show {
    fn line(&mut self, value: &Value) {
        let n = |key: &str| value[key].as_u64().unwrap_or(0);
        let of = value["of"].as_u64().map_or(String::new(), |of| format!(" of {of}"));
        let healed = value["healed"].as_u64().map_or(String::new(), |n| format!(", {n} healed"));
        let (stage, name) = (value["stage"].as_str().unwrap_or(""), value["name"].as_str().unwrap_or(""));
        let text = format!("[{}/{}] {stage} {name}: {}{of} rows{healed}", n("file"), n("files"), n("rows"));
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.shown = true;
        } else if n("rows") == 0 {
            let _ = writeln!(std::io::stderr(), "[{}/{}] {name}", n("file"), n("files"));
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = writeln!(std::io::stderr());
        }
    }
}
