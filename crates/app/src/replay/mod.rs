//! `wholetape replay`: stored rows once more, onto a tape of their own (which the gateway serves like a live one) or as JSON lines.
//!
//! The player runs on this thread; the gateway, when asked for, on a runtime beside it. Commands (stdin) and signals come
//! through one channel, on which the player waits until the next row is due.

mod control;
mod lines;
mod serve;

use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use wholetape_model::{Topic, Ts};
use wholetape_store::StoreError;
use wholetape_store::catalog::Catalog;
use wholetape_store::manifest::State;
use wholetape_store::replay::{self as store, Next, OntoTape, Order, Out, Player, Range, Speed};
use wholetape_tape::{Disk, Filter, RealDisk, Tape};

use crate::cli;
use crate::config;
use crate::heal::time;
use control::Command;
use lines::Lines;
use serve::{Seen, Served};

/// Rows given before commands are looked at: some tenths of a millisecond.
const ROWS: usize = 4_096;
/// Holes named in an error; the number tells of the rest.
const NAMED_MAX: usize = 20;

pub fn run(args: &cli::Replay) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let data = config.data;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let state = Catalog::look(&*disk, &data)
        .with_context(|| format!("no catalog in {}: name the data directory with --data", data.display()))?;
    let range = range(args, &state)?;
    let speed = Speed::parse(&args.speed)
        .with_context(|| format!("--speed {}: use max, or a number above 0 (1 is the original pace)", args.speed))?;
    let order = match args.order {
        cli::ReplayOrder::TsInit => Order::Init,
        cli::ReplayOrder::TsEvent => Order::Event { window: args.window.into() },
    };
    let holes = store::holes(&disk, &data, &state, &range)?;
    if args.require_complete && !holes.is_empty() {
        let named: Vec<String> = holes.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = holes.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        eprintln!("wholetape: the range is not complete, {} holes\n  {}{rest}", holes.len(), named.join("\n  "));
        return Ok(ExitCode::from(1));
    }
    let catalog = state.catalog.clone();
    let topics = range.topics.clone();
    let begin = json!({
        "event": "started", "topics": topics.len(), "from": range.from.0.to_string(), "to": range.to.0.to_string(),
        "speed": speed.to_string(), "holes": holes.len(),
    });
    let plan = store::Plan {
        disk,
        data: data.clone(),
        range,
        order,
        speed,
        paused: args.paused,
        ahead: std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
    };
    let player = Player::open(plan)?;
    let (tx, commands) = mpsc::channel();
    control::listen(args.control, &tx)?;
    match &args.into {
        Some(into) => onto(args, player, into, &data, begin, &commands),
        None => {
            let mut tell = Tell { json: args.json, to_stderr: true };
            tell.say(&begin);
            let mut out = Lines::new(&topics, &catalog);
            let seen = Arc::new(Seen::default());
            match play(player, &mut out, &commands, &seen, false, &mut tell) {
                // Whoever read it has gone: no fault of ours.
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
                done => {
                    let mut last = done?;
                    last["unreadable"] = out.unreadable.into();
                    tell.say(&last);
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
    }
}

/// The range that the flags ask for.
fn range(args: &cli::Replay, state: &State) -> anyhow::Result<Range> {
    let now = wholetape_feed::clock::wall();
    let from = args.from.as_deref().map_or(Ok(Ts(0)), |text| time(text, now).context("--from"))?;
    let to = args.to.as_deref().map_or(Ok(Ts::MAX), |text| time(text, now).context("--to"))?;
    anyhow::ensure!(from < to, "--from must be before --to");
    for kind in &args.kinds {
        wholetape_model::Kind::parse(kind).map_err(|e| anyhow::anyhow!("--kinds {kind}: {e}"))?;
    }
    let matches = |topic: &Topic, pattern: &String| {
        let pattern = Some(format!("{}.{pattern}", topic.kind()));
        Filter { kinds: Vec::new(), pattern }.matches(topic)
    };
    let mut topics = store::topics(state);
    topics.retain(|t| {
        (args.kinds.is_empty() || args.kinds.contains(&t.kind().to_string()))
            && (args.instruments.is_empty() || args.instruments.iter().any(|p| matches(t, p)))
    });
    anyhow::ensure!(!topics.is_empty(), "the catalog holds nothing of these instruments and kinds");
    let held = |p: &wholetape_store::manifest::Part| {
        p.to >= from.0 && p.from < to.0 && topics.iter().any(|t| t.as_str() == p.topic)
    };
    let of: Vec<_> = state.parts.values().filter(|p| held(p)).collect();
    let ends = of.iter().map(|p| p.from).min().zip(of.iter().map(|p| p.to).max());
    let (first, last) = ends.context("the catalog holds nothing of that time")?;
    Ok(Range { topics, from: from.max(Ts(first)), to: to.min(Ts(last + 1)) })
}

/// Onto a tape of its own, served or not.
fn onto(
    args: &cli::Replay,
    player: Player,
    into: &Path,
    data: &Path,
    mut begin: Value,
    commands: &mpsc::Receiver<Command>,
) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    anyhow::ensure!(
        into.canonicalize()? != data.canonicalize()?,
        "--into {}: that is the data directory; a replay makes a tape of its own",
        into.display()
    );
    let dir = into.join("tape");
    anyhow::ensure!(
        !dir.join("epoch").exists(),
        "--into {}: there is a tape already; name a new folder, or remove it",
        into.display()
    );
    let tape = Tape::open(&dir, store::tape_config())?;
    let mut out = OntoTape::new(&tape, player.topics())?;
    let seen = Arc::new(Seen::default());
    let served = args.serve.map(|port| Served::start(port, &tape, &seen)).transpose()?;
    let mut tell = Tell { json: args.json, to_stderr: false };
    begin["tape"] = dir.display().to_string().into();
    begin["epoch"] = tape.epoch().into();
    if let Some(served) = &served {
        begin["page"] = format!("http://{}/", served.addr).into();
        begin["client"] = format!("ws://{}/v1/ws", served.addr).into();
    }
    tell.say(&begin);
    let last = play(player, &mut out, commands, &seen, served.is_some(), &mut tell);
    drop(out);
    if let Some(served) = served {
        served.stop()?;
    }
    tape.close()?;
    force(&dir)?;
    tell.say(&last?);
    Ok(ExitCode::SUCCESS)
}

/// Plays to the end, or until told to stop. `stay`: the end is not the end, for commands may lead back.
fn play(
    mut player: Player,
    out: &mut impl Out,
    commands: &mpsc::Receiver<Command>,
    seen: &Seen,
    stay: bool,
    tell: &mut Tell,
) -> Result<Value, StoreError> {
    let begun = Instant::now();
    let now = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (mut next, mut told) = (Next::More, false);
    loop {
        let command = match next {
            Next::More => commands.try_recv().ok(),
            Next::At(at) => {
                let wait = Duration::from_nanos(at.saturating_sub(now()));
                commands.recv_timeout(wait).ok()
            }
            Next::Paused => commands.recv().ok(),
            Next::Done if stay => {
                if !told {
                    told = true;
                    tell.say(&summary("replayed", &player, begun));
                }
                commands.recv().ok()
            }
            Next::Done => break,
        };
        match command {
            Some(Command::Stop) => break,
            Some(command) => {
                let answer = command.obey(&mut player, now(), out)?;
                told = false;
                tell.say(&answer);
            }
            None => {}
        }
        next = player.play(now(), out, ROWS)?;
        seen.note(&player.status());
    }
    Ok(summary("finished", &player, begun))
}

fn summary(event: &str, player: &Player, begun: Instant) -> Value {
    let (status, seconds) = (player.status(), begun.elapsed().as_secs_f64());
    json!({
        "event": event, "rows": status.rows, "out_of_order": status.late, "complete": status.at.is_none(),
        "seconds": (seconds * 1e3).round() / 1e3, "rows_per_s": (status.rows as f64 / seconds.max(1e-6)).round(),
    })
}

/// A replay's tape is written without waiting for the disk; at its end it is there.
fn force(dir: &Path) -> anyhow::Result<()> {
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                std::fs::File::open(&path)?.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
            }
        }
        std::fs::File::open(&dir)?.sync_all()?;
    }
    Ok(())
}

/// What is told beside the rows: JSON for programs, a line for people.
struct Tell {
    json: bool,
    /// Stdout carries the rows.
    to_stderr: bool,
}

impl Tell {
    fn say(&mut self, value: &Value) {
        let text = if self.json { value.to_string() } else { sentence(value) };
        if self.to_stderr {
            // People who look at the rows do not want these between them.
            if self.json || !std::io::stdout().is_terminal() {
                eprintln!("{text}");
            }
        } else {
            say!("{text}");
        }
    }
}

fn sentence(value: &Value) -> String {
    let mut text = value["event"].as_str().unwrap_or_default().to_owned();
    for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "event") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("  {key} {value}"));
    }
    text
}
