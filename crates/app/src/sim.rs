//! `wholetape sim`: simulated venues as a process of their own, with a configuration for `run` ready to paste.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use wholetape_sim::{
    FaultConfig, Injection, Sim, SimConfig, SimHandle, VenueAddr, VenueConfig, VenueKind, recorded_venues,
};

use crate::cli;
use crate::signals;

/// What the flags ask for.
pub fn config(args: &cli::Sim) -> anyhow::Result<SimConfig> {
    let mut config = match &args.capture {
        Some(file) => capture(file, args.speed)?,
        None => SimConfig::default(),
    };
    if args.capture.is_none() && !args.venues.is_empty() {
        config.venues = venues(args.venues.iter().map(String::as_str))?;
    }
    if let Some(count) = args.instruments {
        anyhow::ensure!((1..=2_000).contains(&count), "--instruments {count}: use 1 to 2000");
        config.venues = config.venues.iter().map(|v| VenueConfig::many(v.kind, count, 2.0)).collect();
        config.tick_ms = 10;
    }
    if let Some(rate) = args.rate {
        pace(&mut config.venues, rate)?;
    }
    config.start_frozen = args.wait;
    if let Some(mib) = args.rotate {
        config.rotate_bytes = mib.clamp(1, 4096) << 20;
        config.venues.iter_mut().for_each(|venue| venue.limits.history_rows = HISTORY_ROWS);
    }
    for (at, venue) in config.venues.iter_mut().enumerate() {
        venue.history_s = args.history;
        venue.port = if args.port == 0 { 0 } else { args.port.saturating_add(at as u16) };
    }
    config.seed = args.seed;
    config.data_dir = args.data.clone();
    config.faults = FaultConfig::level(args.faults.level());
    Ok(config)
}

/// Frames that one order makes if trades, single trades, quotes and the book are subscribed to. Measured over the default
/// markets; depth, tickers and candles come with time and not with orders.
const FRAMES_PER_ORDER: f64 = 1.75;
/// Frames a second and instrument that come with time: ten diffs, a candle or so, a ticker, a mark.
const FRAMES_BY_TIME: f64 = 12.0;
/// Trades that REST remembers of an instrument when the truth is in pieces.
const HISTORY_ROWS: usize = 20_000;

/// Sets the pace of all instruments so that about `rate` frames a second are made.
fn pace(venues: &mut [VenueConfig], rate: f64) -> anyhow::Result<()> {
    let count: usize = venues.iter().map(|venue| venue.instruments.len()).sum();
    anyhow::ensure!(rate.is_finite() && rate > 0.0 && count > 0, "--rate {rate}: use a number above 0");
    let each = (rate / count as f64 - FRAMES_BY_TIME) / FRAMES_PER_ORDER;
    let events_per_s = each.clamp(0.5, 50_000.0);
    venues.iter_mut().flat_map(|venue| &mut venue.instruments).for_each(|one| one.events_per_s = events_per_s);
    Ok(())
}

/// Whatever `--venue` takes.
const SIMULATED: &str =
    "binance-spot, binance-usdm, okx, dydx, kraken, bybit-spot, bybit-linear, bybit-inverse, or bybit for these three";

/// What names stand for; `bybit` for three.
pub fn venues<'a>(names: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Vec<VenueConfig>> {
    let each = names.into_iter().flat_map(|name| match name {
        "bybit" => vec!["bybit-spot", "bybit-linear", "bybit-inverse"],
        one => vec![one],
    });
    each.map(venue).collect()
}

fn venue(name: &str) -> anyhow::Result<VenueConfig> {
    Ok(match name {
        "binance-spot" => VenueConfig::spot(),
        "binance-usdm" => VenueConfig::usdm(),
        "okx" => VenueConfig::okx(),
        "bybit-spot" => VenueConfig::bybit_spot(),
        "bybit-linear" => VenueConfig::bybit_linear(),
        "bybit-inverse" => VenueConfig::bybit_inverse(),
        "dydx" => VenueConfig::dydx(),
        "kraken" => VenueConfig::kraken(),
        other => anyhow::bail!("`{other}` cannot be simulated: use {SIMULATED}"),
    })
}

/// A recording as the only venue, or as those of its house; which ones they are, its addresses tell.
pub fn capture(file: &Path, speed: f64) -> anyhow::Result<SimConfig> {
    anyhow::ensure!(file.is_file(), "no recording {}: give a .jsonl.zst file", file.display());
    anyhow::ensure!(speed.is_finite() && speed > 0.0, "--speed {speed} is no pace: use 1, or 10 for ten times as fast");
    let venues = recorded_venues(file)?;
    let one = |kind| SimConfig::capture(kind, file.to_owned(), speed);
    let mut config = one(venues.first().copied().unwrap_or(VenueKind::BinanceSpot));
    config.venues.extend(venues.into_iter().skip(1).flat_map(|kind| one(kind).venues));
    Ok(config)
}

pub fn run(args: &cli::Sim) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &cli::Sim) -> anyhow::Result<ExitCode> {
    let handle = Sim::start(config(args)?).await.context("the simulated venues do not start")?;
    print_addresses(&handle, args);
    let mut pending = injections(&args.inject)?;
    pending.sort_by_key(|(at, _)| *at);
    let begin = tokio::time::Instant::now();
    let end = args.seconds.map(Duration::from_secs);
    let mut stop = signals::Stop::new()?;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut audience = args.wait.then(Audience::default);
    let mut commands = commands(args.control);
    loop {
        let command = tokio::select! {
            () = stop.asked() => break,
            Some(line) = commands.recv() => Some(line),
            _ = ticks.tick() => None,
        };
        if let Some(line) = command {
            if line.trim() == "freeze" {
                // Whoever says so says as well when it begins.
                audience = None;
            }
            match obey(&handle, line.trim()) {
                Ok(answer) => say!("{answer}"),
                Err(error) => say!("{}", json!({"event": "refused", "why": format!("{error:#}")})),
            }
        }
        if audience.as_mut().is_some_and(|audience| audience.is_there(&handle)) {
            audience = None;
            handle.resume();
        }
        while pending.first().is_some_and(|(at, _)| begin.elapsed() >= *at) {
            let (_, injection) = pending.remove(0);
            handle.inject(&injection).context("--inject")?;
        }
        if end.is_some_and(|end| begin.elapsed() >= end) {
            break;
        }
    }
    handle.freeze();
    if args.linger > 0 {
        tokio::select! {
            () = stop.asked() => {}
            () = tokio::time::sleep(Duration::from_secs(args.linger)) => {}
        }
    }
    let counts: std::collections::BTreeMap<_, _> =
        handle.fault_counts().into_iter().map(|(kind, n)| (kind.name(), n)).collect();
    let created = handle.events();
    let summary = handle.finish().context("the truth cannot be finished")?;
    let (truth, rest) = (handle.data_dir().display().to_string(), handle.rest_tallies());
    handle.stop().await;
    if args.json {
        say!(
            "{}",
            json!({"event": "finished", "truth": truth, "faults": counts, "events": created, "rest": rest, "venues": summary.venues})
        );
    } else {
        say!("stopped; {created} events in {truth}; faults that happened: {counts:?}");
        for (venue, tally) in rest {
            let asked: Vec<String> = tally.requests.iter().map(|(name, n)| format!("{name} {n}")).collect();
            say!(
                "{venue}: asked over REST {}; at most {} of {} weight a minute; refused over the limit {}",
                asked.join(", "),
                tally.weight_peak,
                tally.weight_limit,
                tally.over_limit
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody has taken a place: streams are subscribed to, and for a moment no more of them were added.
#[derive(Default)]
struct Audience {
    streams: usize,
    since: Option<tokio::time::Instant>,
}

impl Audience {
    fn is_there(&mut self, handle: &SimHandle) -> bool {
        let streams = handle.addrs().iter().map(|addr| handle.subscriptions(&addr.name).len()).collect::<Vec<_>>();
        let total: usize = streams.iter().sum();
        // Every venue has its listener, so that no venue tells the beginning to nobody.
        if streams.contains(&0) || total != self.streams {
            (self.streams, self.since) = (total, None);
        } else if self.since.get_or_insert_with(tokio::time::Instant::now).elapsed() >= Duration::from_millis(800) {
            return true;
        }
        false
    }
}

/// Lines of stdin. A blocking thread of its own: the process ends without waiting for it.
fn commands(wanted: bool) -> tokio::sync::mpsc::Receiver<String> {
    let (tx, rx) = tokio::sync::mpsc::channel(16);
    if wanted {
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if tx.blocking_send(line).is_err() {
                    return;
                }
            }
        });
    }
    rx
}

/// Does what one line asks for, and answers in one line.
fn obey(handle: &SimHandle, line: &str) -> anyhow::Result<serde_json::Value> {
    match line {
        "freeze" => handle.freeze(),
        "resume" => handle.resume(),
        "close-all" => {
            let closed = handle.close_all();
            return Ok(json!({"event": "close-all", "connections": closed}));
        }
        "finish" => {
            handle.finish()?;
        }
        "status" => {
            let faults: std::collections::BTreeMap<_, _> =
                handle.fault_counts().into_iter().map(|(kind, n)| (kind.name(), n)).collect();
            let subscribed: std::collections::BTreeMap<_, _> =
                handle.addrs().iter().map(|a| (a.name.clone(), handle.subscriptions(&a.name).len())).collect();
            return Ok(json!({
                "event": "status", "events": handle.events(), "faults": faults,
                "rest": handle.rest_tallies(), "subscribed": subscribed,
            }));
        }
        injection => {
            let injection: Injection = serde_json::from_str(injection).context("no command, and no injection")?;
            handle.inject(&injection)?;
            return Ok(json!({"event": "inject", "kind": injection.kind}));
        }
    }
    Ok(json!({"event": line}))
}

/// `JSON` or `JSON@seconds`.
fn injections(texts: &[String]) -> anyhow::Result<Vec<(Duration, Injection)>> {
    texts
        .iter()
        .map(|text| {
            let (json, at) = match text.rsplit_once('@') {
                Some((json, at)) if at.parse::<f64>().is_ok() => (json, at.parse()?),
                _ => (text.as_str(), 0.0),
            };
            let injection = serde_json::from_str(json).with_context(|| format!("--inject {text}"))?;
            Ok((Duration::try_from_secs_f64(at)?, injection))
        })
        .collect()
}

fn print_addresses(handle: &SimHandle, args: &cli::Sim) {
    let snippet = crate::config::snippet(handle.addrs());
    if args.json {
        let venues: Vec<_> = handle
            .addrs()
            .iter()
            .map(|a: &VenueAddr| json!({"name": a.name, "kind": a.kind.name(), "ws": a.ws, "rest": a.rest, "symbols": a.symbols}))
            .collect();
        say!("{}", json!({"event": "started", "venues": venues, "config": snippet}));
    } else {
        for addr in handle.addrs() {
            // Comments, so that all of it can go into a file.
            say!("# {:14} {}  {}  {}", addr.name, addr.ws, addr.rest, addr.symbols.join(" "));
        }
        say!("\n# for `wholetape run -c FILE`:\n{snippet}");
    }
}
