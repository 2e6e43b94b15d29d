//! `wholetape heal backfill`: makes a stretch of one instrument's trades whole, through the running process or, when none
//! runs, alone under the tape's lock, over REST and without a socket.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wholetape_feed::config::LineConfig;
use wholetape_feed::feed::{Feed, FeedPlan};
use wholetape_feed::metrics::Hub;
use wholetape_model::{InstrumentId, Ts};
use wholetape_tape::Tape;

use crate::cli;
use crate::config;
use crate::control::{self, Request, client, heal};
use crate::signals;

pub fn run(args: &cli::Heal) -> anyhow::Result<ExitCode> {
    let args = match args {
        cli::Heal::Backfill(args) => args,
        cli::Heal::Import(cli::Import::BinanceArchive(args)) => return crate::import::verb("binance", args),
        cli::Heal::Import(cli::Import::BybitArchive(args)) => return crate::import::verb("bybit", args),
    };
    let now = wholetape_feed::clock::wall();
    let (from, to) = (time(&args.from, now).context("--from")?, time(&args.to, now).context("--to")?);
    anyhow::ensure!(from < to, "--from must be before --to");
    let id = InstrumentId::parse(&args.instrument)
        .map_err(|e| anyhow::anyhow!("--instrument {}: {e}; write it like BTCUSDT.BINANCE", args.instrument))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let last = runtime.block_on(backfill(args, &id, from, to));
    runtime.shutdown_timeout(Duration::from_secs(2));
    let last = last?;
    if args.json {
        say!("{last}");
    } else {
        say!("{}", sentence(&last));
    }
    Ok(ExitCode::from(u8::from(last["complete"] != true)))
}

/// `2026-11-21T10:00:00Z`, `2026-11-21 10:00:00`, `now`, or how long ago: `2h`, `100m`.
pub(crate) fn time(text: &str, now: Ts) -> anyhow::Result<Ts> {
    if text == "now" {
        return Ok(now);
    }
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now - ago);
    }
    let full = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
    let at = humantime::parse_rfc3339_weak(&full)
        .with_context(|| format!("`{text}` is no time: write 2026-11-21T10:00:00Z, now, or how long ago (2h)"))?;
    let since = at.duration_since(std::time::UNIX_EPOCH).context("before 1970")?;
    Ok(Ts(i64::try_from(since.as_nanos())?))
}

async fn backfill(args: &cli::Backfill, id: &InstrumentId, from: Ts, to: Ts) -> anyhow::Result<Value> {
    let mut stop = signals::Stop::new()?;
    let (config, problems) = config::load(&args.layers)?;
    let mut show = Show::new(args.json);
    let socket = control::socket_of(&config.data);
    if let Some(stream) = client::connect(&socket).await {
        let request = Request::Backfill { instrument: id.to_string(), from, to };
        let mut seen = Value::Null;
        let tell = |value: &Value| {
            seen = value.clone();
            show.line(value);
        };
        let last = client::ask(stream, &request, tell, stop.asked()).await?;
        show.end();
        return Ok(last.unwrap_or_else(|| {
            seen["event"] = "done".into();
            seen["complete"] = false.into();
            seen["cancelled"] = true.into();
            seen
        }));
    }
    let plan = plan(&config, &problems, id)?;
    let tape_config = tape_config(&config)?;
    let dir = config.data.join("tape");
    let tape = tokio::task::spawn_blocking(move || Tape::open(&dir, tape_config)).await??;
    let hub = Hub::new();
    let token = CancellationToken::new();
    let feed = {
        let (tape, hub, stop) = (tape.clone(), hub.clone(), token.clone());
        tokio::task::spawn_blocking(move || Feed::start(plan, &tape, &hub, stop)).await??
    };
    let stretch = heal::Stretch { instrument: id.to_string(), from, to };
    let wish = CancellationToken::new();
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let last = {
        let mut running = std::pin::pin!(heal::run(tape.clone(), feed.asker(), stretch, tell, wish.clone()));
        loop {
            tokio::select! {
                last = &mut running => break last,
                Some(value) = told.recv() => show.line(&value),
                () = stop.asked(), if !wish.is_cancelled() => wish.cancel(),
            }
        }
    };
    show.end();
    let joined = tokio::task::spawn_blocking(move || feed.join(Duration::from_secs(10))).await?;
    tokio::task::spawn_blocking(move || tape.close()).await?.context("the tape does not close")?;
    joined.map_err(|late| anyhow::anyhow!("workers that did not stop in time: {}", late.join(" ")))?;
    last.map_err(|why| anyhow::anyhow!(why))
}

fn tape_config(config: &config::Config) -> anyhow::Result<wholetape_tape::TapeConfig> {
    let mut problems = Vec::new();
    let tape = crate::store::left_until_stored(config.tape.plan(&mut problems), config.store.enabled);
    if problems.is_empty() { Ok(tape) } else { Err(config::Problems(problems).into()) }
}

/// The configured line of the instrument, or one with the venue's own addresses where none is configured.
fn plan(config: &config::Config, problems: &[config::Problem], id: &InstrumentId) -> anyhow::Result<FeedPlan> {
    if !config.feed.line.is_empty() {
        anyhow::ensure!(problems.is_empty(), config::Problems(problems.to_vec()));
        let listed = config::planned_feed(config)?;
        let mut plan = listed;
        plan.lines.retain(|line| line.instruments.contains(id));
        anyhow::ensure!(!plan.lines.is_empty(), "the configuration has no line that records {id}");
        let door = plan.lines[0].door.clone();
        plan.doors.retain(|one| one.name == door);
        plan.rest_only = true;
        return Ok(plan);
    }
    let (venue, symbol) = wholetape_venue::venues()
        .find_map(|venue| Some((venue.name(), venue.symbol_of(id)?)))
        .with_context(|| format!("{id} belongs to no venue that is known; name a configuration with -c"))?;
    let line = LineConfig {
        venue: venue.to_owned(),
        instruments: vec![symbol],
        channels: vec!["trade".into()],
        ..LineConfig::default()
    };
    let feed = wholetape_feed::FeedConfig { workers: 1, line: vec![line], ..Default::default() };
    let mut plan = feed.plan(&|_| Vec::new()).map_err(|all| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(all.join("\n"))
    })?;
    plan.rest_only = true;
    Ok(plan)
}

/// Progress for people (one line that is written over) or for programs (one object a line).
struct Show {
    json: bool,
    live: bool,
    shown: bool,
}

impl Show {
    fn new(json: bool) -> Self {
        Self { json, live: std::io::stderr().is_terminal(), shown: false }
    }

    fn line(&mut self, value: &Value) {
        if self.json {
            say!("{value}");
            return;
        }
        let n = |key: &str| value[key].as_u64().unwrap_or(0);
        let text = if value["stage"] == "searching" {
            format!("looking for the edge, {} pages", n("pages"))
        } else {
            let eta = value["eta_s"]
                .as_f64()
                .map_or("?".into(), |s| humantime::format_duration(Duration::from_secs(s as u64)).to_string());
            format!(
                "{} of {} ids, {} pages, {:.0} ids/s, {eta} left",
                n("filled"),
                n("ids"),
                n("pages"),
                value["ids_per_s"].as_f64().unwrap_or(0.0)
            )
        };
        let end = if self.live { "" } else { "\n" };
        let start = if self.live { "\r\x1b[K" } else { "" };
        let _ = write!(std::io::stderr(), "{start}{text}{end}");
        let _ = std::io::stderr().flush();
        self.shown = true;
    }

    fn end(&self) {
        if self.shown && self.live && !self.json {
            eprintln!();
        }
    }
}

fn sentence(last: &Value) -> String {
    let n = |key: &str| last[key].as_u64().unwrap_or(0);
    let rest = format!(
        "{} rows added in {} pages, {} ids never published, {} lost",
        n("rows"),
        n("pages"),
        n("never_published"),
        n("lost")
    );
    if last["cancelled"] == true {
        return format!("stopped with {} ids missing ({rest}); the same command goes on", n("missing"));
    }
    if let Some(why) = last["failed"].as_str() {
        return format!("not done: {why}");
    }
    if last["first_id"].is_null() {
        return "nothing was traded in that stretch".into();
    }
    let whole = if last["complete"] == true { "whole" } else { "not whole" };
    format!("{whole}: ids {} to {}; {rest}", last["first_id"], last["last_id"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = Ts(1_700_000_000_000_000_000);
        assert_eq!(time("now", now).unwrap(), now);
        assert_eq!(time("2h", now).unwrap(), now - Duration::from_secs(7_200));
        assert_eq!(time("2023-11-14T22:13:20Z", now).unwrap(), now);
        assert_eq!(time("2023-11-14", now).unwrap(), now - Duration::from_secs(80_000));
        assert!(time("yesterday", now).unwrap_err().to_string().contains("is no time"));
    }
}
