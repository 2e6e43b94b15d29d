//! Traps that belong to running processes: restarts on one day, clocks that step, equal trades, a tick size that changes.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Heads, Running, SOON, heads, judged, last_json, pipeline, venues};
use serde_json::Value;
use wholetape_model::{Body, Kind};
use wholetape_sim::{Sim, SimConfig, VenueConfig};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

const PLAYS: Duration = Duration::from_secs(5);

fn stop(mut run: Running) {
    run.terminate();
    run.json(SOON);
    assert!(run.child.wait().unwrap().success());
}

/// Ends the events, lets the pipeline become whole, ends it, and gives the verdict.
fn finish(dir: &Path, config: &Path, mut sim: Running, run: Running) -> Value {
    sim.tell("freeze");
    sim.json(SOON);
    sim.tell("finish");
    sim.json(SOON);
    whole(dir, config, run)
}

fn whole(dir: &Path, config: &Path, run: Running) -> Value {
    for _ in 0..20 {
        if judged(dir, config).status.success() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    stop(run);
    let output = judged(dir, config);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    last_json(&output)
}

/// Every trade of the topics `trade`: topic, id, price, size, venue time, and the scale that its price was printed with.
fn trades(dir: &Path) -> Vec<(String, u64, i64, i64, i64, u8)> {
    let tape = Tape::open_reader(&dir.join("data/tape")).unwrap();
    let mut all = Vec::new();
    for state in tape.topics().into_iter().filter(|t| t.topic.kind() == Kind::Trade) {
        let mut reader = tape.reader(&state.topic, From::Seq(0), ReaderOptions::default()).unwrap();
        let mut batch = Vec::new();
        while reader.poll_next(&mut batch, 4096) > 0 {
            for delivery in batch.drain(..) {
                let Delivery::Record(shared) = delivery else { panic!("{delivery:?}") };
                let record = shared.record();
                if let Ok(Body::Trade(t)) = record.view() {
                    let price = record.scales().price(t.price);
                    all.push((
                        state.topic.to_string(),
                        t.id.number().unwrap_or_default(),
                        price.raw,
                        t.size.0,
                        record.ts_event().0,
                        price.scale,
                    ));
                }
            }
        }
    }
    all
}

#[test]
fn t19_a_restart_on_the_same_day_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, config) = venues(dir.path(), &[], 19);
    let tape = dir.path().join("data/tape");
    let mut before = Heads::new();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let run = pipeline(dir.path(), &config);
        epochs.push(run.json(SOON)["epoch"].clone());
        std::thread::sleep(PLAYS);
        stop(run);
        // What stood at the old heads still stands there, and no head went back.
        let now = heads(&tape, &before);
        let grown = |topic: &str| now[topic].0 > before.get(topic).map_or(0, |(head, _)| *head);
        assert!(now.keys().filter(|topic| topic.starts_with("trade.")).all(|topic| grown(topic)), "{:?}", now.keys());
        before = now;
    }
    let run = pipeline(dir.path(), &config);
    epochs.push(run.json(SOON)["epoch"].clone());
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0] && epoch.is_string()), "{epochs:?}");
    std::thread::sleep(Duration::from_secs(2));
    let verdict = finish(dir.path(), &config, sim, run);
    assert_eq!((&verdict["complete"], &verdict["figures"]["duplicated"]), (&true.into(), &0.into()));
    heads(&tape, &before);
}

#[test]
fn t21_a_venue_clock_that_steps_by_two_seconds_either_way_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sim, config) = venues(dir.path(), &[], 21);
    let run = pipeline(dir.path(), &config);
    run.json(SOON);
    std::thread::sleep(Duration::from_secs(3));
    for step in [2000, -2000] {
        for venue in ["binance-spot", "binance-usdm"] {
            sim.tell(&format!(r#"{{"kind":"clock_step","venue":"{venue}","step_ms":{step},"millis":2500}}"#));
            assert_eq!(sim.json(SOON)["event"], "inject");
        }
        std::thread::sleep(Duration::from_millis(4_500));
    }
    let verdict = finish(dir.path(), &config, sim, run);
    assert_eq!((&verdict["complete"], &verdict["faults"]["clock_step"]), (&true.into(), &4.into()), "{verdict}");
    // A clock is no reason to leave a connection: nothing had to be confessed or healed.
    for (name, one) in verdict["instruments"].as_object().unwrap() {
        for kind in ["trade", "quote", "book"] {
            let count = &one["tape"]["kinds"][kind];
            assert!(count["truth"].as_u64().unwrap() > 20 && count.get("missing").is_none(), "{name} {kind}: {count}");
        }
    }
    // The times are the venue's own, so its steps are there to be seen.
    let back = trades(dir.path()).windows(2).filter(|p| p[0].0 == p[1].0 && p[1].4 < p[0].4 - 1_000_000_000).count();
    assert!(back >= 4, "{back} steps back");
}

#[test]
fn t22_trades_equal_in_price_size_and_time_with_different_ids_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, config) = venues(dir.path(), &["--venue", "binance-spot"], 22);
    // Single matches: one order that meets several makers prints twins. On spot, where REST gives them to everybody: the kill
    // in the middle leaves a hole that must be healed.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("approved", "trade_source = \"trade\"\napproved")).unwrap();
    let mut run = pipeline(dir.path(), &config);
    run.json(SOON);
    std::thread::sleep(PLAYS);
    run.kill9();
    let run = pipeline(dir.path(), &config);
    run.json(SOON);
    std::thread::sleep(PLAYS);
    let verdict = finish(dir.path(), &config, sim, run);
    assert_eq!(verdict["figures"]["duplicated"], 0);
    let mut all = trades(dir.path());
    all.sort();
    let (mut ids, mut twins) = (all.iter().map(|t| (&t.0, t.1)).collect::<Vec<_>>(), all.clone());
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "an id came twice");
    twins.sort_by(|a, b| (&a.0, a.2, a.3, a.4).cmp(&(&b.0, b.2, b.3, b.4)));
    let twins =
        twins.windows(2).filter(|p| (&p[0].0, p[0].2, p[0].3, p[0].4) == (&p[1].0, p[1].2, p[1].3, p[1].4)).count();
    assert!(twins >= 20, "only {twins} twins among {}", all.len());
}

#[test]
fn t15_a_tick_size_that_changes_within_a_day_needs_no_care() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let venue = |tick: &str, port| {
        let mut venue = VenueConfig::usdm();
        venue.instruments.retain(|one| one.symbol == "ETHUSDT");
        tick.clone_into(&mut venue.instruments[0].tick);
        venue.port = port;
        SimConfig {
            seed: 15,
            data_dir: dir.path().join("sim"),
            venues: vec![venue],
            start_frozen: true,
            ..SimConfig::default()
        }
    };
    let start = |config: SimConfig| runtime.block_on(Sim::start(config)).unwrap();
    let sim = start(venue("0.01", 0));
    let addr = sim.addrs()[0].clone();
    let config = dir.path().join("wholetape.toml");
    let text = format!(
        "data = {:?}\n[[feed.line]]\nname = \"binance-usdm\"\nvenue = \"binance-usdm\"\ninstruments = [\"ETHUSDT\"]\nchannels = [\"trade\", \"book\", \"quote\"]\nws = [{:?}]\nrest = [{:?}]\nbackoff = \"200ms\"\nbackoff_max = \"1s\"\nbook_depth = 1000\napproved = \"test, now, the simulator on this machine\"\n",
        dir.path().join("data"),
        addr.ws,
        addr.rest,
    );
    std::fs::write(&config, text).unwrap();
    let run = pipeline(dir.path(), &config);
    run.json(SOON);
    let subscribed = |sim: &wholetape_sim::SimHandle| {
        for _ in 0..100 {
            if sim.subscriptions("binance-usdm").len() >= 3 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    subscribed(&sim);
    sim.resume();
    std::thread::sleep(PLAYS);
    sim.finish().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    runtime.block_on(sim.stop());
    // The venue comes back, its ticks ten times finer, and prints one more decimal from then on.
    let sim = start(venue("0.001", addr.addr.port()));
    subscribed(&sim);
    sim.resume();
    std::thread::sleep(PLAYS);
    sim.finish().unwrap();
    let verdict = whole(dir.path(), &config, run);
    let one = &verdict["instruments"]["ETHUSDT-PERP.BINANCE"];
    assert!(one["tape"]["book_equal"] == true, "{verdict}");
    let scales: Vec<u8> = trades(dir.path()).into_iter().map(|t| t.5).collect();
    let first = scales.iter().position(|scale| *scale == 3).expect("prices with three decimals");
    assert!(first > 20 && scales.len() - first > 20 && scales[..first].iter().all(|scale| *scale == 2), "{scales:?}");
    assert!(scales[first..].iter().all(|scale| *scale == 3), "{scales:?}");
    runtime.block_on(sim.stop());
}
