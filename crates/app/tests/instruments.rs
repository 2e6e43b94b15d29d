//! `wholetape instruments` as a stranger meets it: rules of days that are stored, and of today that is on the tape alone.

mod common;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use common::{last_json, wholetape};
use serde_json::Value;
use wholetape_model::{Body, Decimal, InstrumentDef, InstrumentKind, Row, RowFlags, Scales, Topic, TradingStatus, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig};

const HOUR: i64 = 3_600_000_000_000;
/// 2026-01-02.
const DAY: i64 = 20_455 * 24 * HOUR;

fn put(lane: &mut Lane, id: &str, hour: i64, tick: &str, status: TradingStatus, expiry: i64) {
    let no = lane.topic(&Topic::parse(&format!("instrument.{id}")).unwrap()).unwrap();
    let number = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    let def = InstrumentDef {
        kind: if expiry > 0 { InstrumentKind::Future } else { InstrumentKind::Spot },
        status,
        tick: number(tick),
        step: number("0.001"),
        size_min: number("0.001"),
        size_max: number("9000"),
        notional_min: number("5"),
        multiplier: number("1"),
        onboard: Ts(DAY - HOUR),
        expiry: Ts(expiry),
        symbol: "BTCUSDT",
        base: "BTC",
        quote: "USDT",
        settle: "USDT",
        status_text: "AS_THE_VENUE_SAYS",
    };
    let at = Ts(DAY + hour * HOUR);
    let (flags, scales) = (RowFlags::TS_LOCAL, Scales::default());
    lane.append(no, &Row { ts_event: at, ts_recv: at, conn: 1, frame: 1, flags, scales, body: Body::Instrument(def) })
        .unwrap();
}

/// A spot market whose tick changes at 30 h, told again each six hours; a future that expires at 40 h; a market that came at 50 h. The
/// first 36 hours are stored and let go from the tape where `store`.
fn make(dir: &Path, store: bool) {
    use TradingStatus::{Halted, Trading};
    let tape = Tape::open(&dir.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("w0").unwrap();
    for hour in [1, 6, 12, 18, 24, 30, 36] {
        let tick = if hour < 30 { "0.10" } else { "0.01" };
        put(&mut lane, "BTCUSDT.BINANCE", hour, tick, Trading, 0);
        put(&mut lane, "BTC-USD-260103.OKX", hour, "0.5", Trading, DAY + 40 * HOUR);
    }
    lane.commit().unwrap();
    if store {
        let catalog = Catalog::open(Arc::new(RealDisk), dir, CatalogConfig::default()).unwrap();
        let mut follower = Follower::new(catalog, Pace::default());
        let later = Ts(DAY + 37 * HOUR);
        while follower.poll(&tape, later).unwrap() {}
        follower.flush(later).unwrap();
    }
    put(&mut lane, "BTCUSDT.BINANCE", 42, "0.01", Trading, 0);
    put(&mut lane, "BTCUSDT.BINANCE", 48, "0.01", Halted, 0);
    put(&mut lane, "NEWUSDT.BINANCE", 50, "0.0001", Trading, 0);
    lane.commit().unwrap();
    drop(lane);
    tape.close().unwrap();
}

fn ask(dir: &Path, args: &[&str]) -> Output {
    wholetape().arg("instruments").args(args).arg("--data").arg(dir).output().unwrap()
}

fn told(dir: &Path, args: &[&str]) -> Value {
    let output = ask(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    last_json(&output)
}

/// Instrument, tick and status of each that is shown.
fn rules(value: &Value) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let all = value["instruments"].as_array().unwrap().iter();
    all.map(|v| (text(&v["instrument"]), text(&v["data"]["tick"]), text(&v["data"]["status"]))).collect()
}

fn rule(id: &str, tick: &str, status: &str) -> (String, String, String) {
    (id.to_owned(), tick.to_owned(), status.to_owned())
}

#[test]
fn rules_are_those_of_the_time_wherever_they_are_kept() {
    for store in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), store);
        if store {
            // What is stored is told without the tape too.
            std::fs::rename(dir.path().join("tape"), dir.path().join("aside")).unwrap();
            let value = told(dir.path(), &["--at", "2026-01-03T01:00:00Z", "BTCUSDT.*"]);
            assert_eq!(rules(&value), [rule("BTCUSDT.BINANCE", "0.1", "trading")]);
            std::fs::rename(dir.path().join("aside"), dir.path().join("tape")).unwrap();
        }
        let value = told(dir.path(), &["--at", "2026-01-03T01:00:00Z"]);
        assert_eq!(
            rules(&value),
            [rule("BTC-USD-260103.OKX", "0.5", "trading"), rule("BTCUSDT.BINANCE", "0.1", "trading")]
        );
        assert_eq!((&value["not_known_then"], &value["not_listed_then"]), (&1.into(), &0.into()));
        let spot = &value["instruments"][1];
        assert_eq!(spot["until"], (DAY + 30 * HOUR).to_string());
        assert_eq!(spot["confirmed"], (DAY + 24 * HOUR).to_string());
        // Now the future has expired, one market is halted and one is new.
        let value = told(dir.path(), &[]);
        assert_eq!(
            rules(&value),
            [rule("BTCUSDT.BINANCE", "0.01", "halted"), rule("NEWUSDT.BINANCE", "0.0001", "trading")]
        );
        assert_eq!((&value["not_known_then"], &value["not_listed_then"]), (&0.into(), &1.into()));
        assert_eq!(
            rules(&told(dir.path(), &["--all", "--venue", "okx"])),
            [rule("BTC-USD-260103.OKX", "0.5", "trading")]
        );
        // As it was known before the tick changed.
        let value = told(dir.path(), &["--known-at", "2026-01-03T05:00:00Z", "BTCUSDT.BINANCE"]);
        assert_eq!(rules(&value), [rule("BTCUSDT.BINANCE", "0.1", "trading")]);
    }
}

#[test]
fn changes_are_told_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), true);
    let value = told(dir.path(), &["--changes", "BTCUSDT.BINANCE"]);
    let all = value["instruments"].as_array().unwrap();
    assert_eq!(all.len(), 3, "{value}");
    let change = |i: usize| &all[i]["changes"][0];
    assert_eq!(
        (&change(1)["field"], &change(1)["old"], &change(1)["new"]),
        (&"tick".into(), &"0.1".into(), &"0.01".into())
    );
    assert_eq!((&change(2)["field"], &change(2)["new"]), (&"status".into(), &"halted".into()));
    let output = ask(dir.path(), &["--changes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|l| l.contains("tick 0.1 → 0.01")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.starts_with("2026-01-03 06:00:00  2026-01-03 06:00:00  BTCUSDT.BINANCE"), "{text}");
}

#[test]
fn what_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = ask(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither tape nor catalog in"), "{output:?}");
    make(dir.path(), false);
    let output = ask(dir.path(), &["NOTHING.*"]);
    assert_eq!(output.status.code(), Some(1), "nothing is shown: {output:?}");
    let output = ask(dir.path(), &["--at", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`yesterday` is no time"), "{output:?}");
}
