//! `wholetape sim`: simulated venues as a process of their own, with a configuration for `run` ready to paste.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use wholetape_sim::{FaultConfig, Injection, Sim, SimConfig, SimHandle, VenueAddr, VenueConfig, VenueKind};

use crate::cli;
use crate::signals;

/// What the flags ask for.
pub fn config(args: &cli::Sim) -> anyhow::Result<SimConfig> {
    let mut config = match &args.capture {
        Some(file) => capture(file, args.speed)?,
        None => SimConfig::default(),
    };
    if args.capture.is_none() && !args.venues.is_empty() {
        config.venues = args.venues.iter().map(|name| venue(name)).collect::<anyhow::Result<_>>()?;
    }
    for (at, venue) in config.venues.iter_mut().enumerate() {
        venue.port = if args.port == 0 { 0 } else { args.port.saturating_add(at as u16) };
    }
    config.seed = args.seed;
    config.data_dir = args.data.clone();
    config.faults = FaultConfig::level(args.faults.level());
    Ok(config)
}

fn venue(name: &str) -> anyhow::Result<VenueConfig> {
    Ok(match name {
        "binance-spot" => VenueConfig::spot(),
        "binance-usdm" => VenueConfig::usdm(),
        other => anyhow::bail!("`{other}` cannot be simulated: use binance-spot or binance-usdm"),
    })
}

/// A recording as the only venue; which one it is, its addresses tell.
pub fn capture(file: &Path, speed: f64) -> anyhow::Result<SimConfig> {
    anyhow::ensure!(file.is_file(), "no recording {}: give a .jsonl.zst file", file.display());
    anyhow::ensure!(speed.is_finite() && speed > 0.0, "--speed {speed} is no pace: use 1, or 10 for ten times as fast");
    Ok(SimConfig::capture(VenueKind::BinanceSpot, file.to_owned(), speed))
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
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = ticks.tick() => {}
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
    let summary = handle.finish().context("the truth cannot be finished")?;
    let truth = handle.data_dir().display().to_string();
    handle.stop().await;
    if args.json {
        println!("{}", json!({"event": "finished", "truth": truth, "faults": counts, "venues": summary.venues}));
    } else {
        let events: u64 = summary.venues.values().flat_map(|v| v.values()).map(|i| i.agg_trades + i.depth_events).sum();
        println!("stopped; {events} trades and depth events in {truth}; faults that happened: {counts:?}");
    }
    Ok(ExitCode::SUCCESS)
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
        println!("{}", json!({"event": "started", "venues": venues, "config": snippet}));
    } else {
        for addr in handle.addrs() {
            println!("{:14} {}  {}  {}", addr.name, addr.ws, addr.rest, addr.symbols.join(" "));
        }
        println!("\n# for `wholetape run -c FILE`:\n{snippet}");
    }
}
