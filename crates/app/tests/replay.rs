//! `wholetape replay` as a stranger meets it: rows as lines, rows through the gateway of a replay's tape, commands, refusals.

mod common;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Running, SOON, wholetape};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message};
use wholetape_model::*;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{RealDisk, Tape, TapeConfig};

const T0: i64 = 1_767_322_800_000_000_000;
const SECOND: i64 = 1_000_000_000;
const ROWS: u64 = 400;

/// 400 trades and as many quotes, ten a second; trade 101 came late, and a gap was lost at second 30.
fn catalog(data: &Path) {
    let tape = Tape::open(&data.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let topics =
        ["trade.BTCUSDT.BINANCE", "quote.BTCUSDT.BINANCE"].map(|t| lane.topic(&Topic::parse(t).unwrap()).unwrap());
    let trade = |id: u64| {
        Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(6_000_000 + id as i64 % 7),
            size: Size(1 + id as i64 % 5),
            aggressor: Some(Side::Buy),
            condition: TradeCondition::Regular,
        })
    };
    for i in 0..ROWS {
        let at = T0 + i as i64 * SECOND / 10;
        let row = |event: i64, flags: RowFlags, body| Row {
            ts_event: Ts(event),
            ts_recv: Ts(at),
            conn: 1,
            frame: i as u32,
            flags,
            scales: Scales { price: 2, size: 3 },
            body,
        };
        let quote = Quote { bid: Price(10), bid_size: Size(1), ask: Price(11), ask_size: Size(2), update_id: i };
        lane.append(topics[1], &row(at, RowFlags::default(), Body::Quote(quote))).unwrap();
        if i != 100 {
            lane.append(topics[0], &row(at, RowFlags::default(), trade(i + 1))).unwrap();
        }
        if i == 120 {
            lane.append(topics[0], &row(T0 + 10 * SECOND, RowFlags::LATE_REST, trade(101))).unwrap();
        }
        if i == 300 {
            let gap = Gap {
                gap: 1,
                state: GapState::Lost,
                cause: GapCause::Disconnected,
                source: HealSource::None,
                from_id: 0,
                to_id: 0,
                from_ts: Ts(at - SECOND),
                to_ts: Ts(at),
                missing: 0,
                why: "told by a test",
            };
            lane.append(topics[1], &row(at, RowFlags::default(), Body::Gap(gap))).unwrap();
        }
    }
    lane.commit().unwrap();
    let now = Ts(T0 + 100 * SECOND);
    let open = Catalog::open(Arc::new(RealDisk), data, CatalogConfig::default()).unwrap();
    let mut follower = Follower::new(open, Pace::default());
    while follower.poll(&tape, now).unwrap() {}
    follower.flush(now).unwrap();
    drop(lane);
    tape.close().unwrap();
}

fn replay(data: &Path, args: &[&str]) -> Output {
    wholetape().args(["replay", "--json", "--data"]).arg(data).args(args).output().expect("the binary starts")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON a line")).collect()
}

/// What a gateway serves of a topic from its beginning, `n` messages.
fn served(addr: &str, topic: &str, n: usize) -> Vec<Value> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{addr}/v1/ws"), stream).expect("it speaks the protocol");
    let sub = format!(r#"{{"op":"sub","topic":"{topic}","from":"earliest"}}"#);
    socket.send(Message::text(sub)).unwrap();
    let mut all = Vec::new();
    while all.len() < n {
        let message = socket.read().expect("rows in time");
        let Ok(text) = message.to_text() else { continue };
        let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
        let each = if let Value::Array(each) = value { each } else { vec![value] };
        assert!(each.iter().all(|m| m["op"] != "missed" && m["op"] != "err"), "{each:?}");
        all.extend(each.into_iter().filter(|m| m["op"] == "data" || m["op"] == "mark"));
    }
    all
}

#[test]
fn a_replay_as_lines_and_through_the_gateway_is_the_catalog_row_for_row() {
    let dir = tempfile::tempdir().unwrap();
    catalog(dir.path());
    let all = lines(&replay(dir.path(), &["--stdout", "--speed", "max"]));
    assert_eq!(all.len(), 2 * ROWS as usize + 1);
    let trades: Vec<&Value> = all.iter().filter(|m| m["topic"] == "trade.BTCUSDT.BINANCE").collect();
    let ids: Vec<u64> = trades.iter().map(|m| m["data"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=ROWS).collect::<Vec<_>>(), "the late one stands in its place");
    assert_eq!(trades[100]["late"], "rest");
    let some = lines(&replay(
        dir.path(),
        &[
            "--stdout",
            "--speed",
            "max",
            "--kinds",
            "trade",
            "--instruments",
            "ETH*,BTC*.BINANCE",
            "--from",
            "2026-01-02T03:00:10Z",
            "--to",
            "2026-01-02T03:00:20Z",
        ],
    ));
    assert_eq!(some.len(), 100);
    assert_eq!(some[0]["data"]["id"], 101);
    // Onto a tape that is served: the same messages, with the new tape's seqs.
    let into = dir.path().join("again");
    let mut command = wholetape();
    command.args(["replay", "--json", "--speed", "max", "--serve", "0", "--control", "--data"]).arg(dir.path());
    let mut running = Running::start(command.arg("--into").arg(&into).stdin(Stdio::piped()));
    let started = running.json(SOON);
    assert_eq!((&started["event"], &started["topics"]), (&"started".into(), &2.into()), "{started}");
    assert_eq!(running.json(SOON)["rows"], all.len());
    let addr = started["client"].as_str().unwrap().trim_start_matches("ws://").trim_end_matches("/v1/ws").to_owned();
    for topic in ["trade.BTCUSDT.BINANCE", "quote.BTCUSDT.BINANCE"] {
        let rows: Vec<&Value> = all.iter().filter(|m| m["topic"] == topic).collect();
        let got = served(&addr, topic, rows.len());
        for (i, (got, row)) in got.iter().zip(&rows).enumerate() {
            assert_eq!(got["seq"], i as u64 + 1, "{got}");
            for key in ["op", "data", "late", "ts", "mark", "state", "why"] {
                assert_eq!(got[key], row[key], "{key}: {got} is not {row}");
            }
        }
    }
    running.tell("stop");
    let last = running.json(SOON);
    assert_eq!((&last["event"], &last["complete"]), (&"finished".into(), &true.into()), "{last}");
    assert!(running.child.wait().unwrap().success());
    // It is a tape of its own; no replay goes onto one that is there.
    assert_eq!(common_held(&into), 2 * ROWS + 1);
    for into in [&into, dir.path()] {
        let again = replay(dir.path(), &["--into", into.to_str().unwrap(), "--speed", "max"]);
        assert_eq!(again.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&again.stderr).contains("--into"));
    }
}

/// Records of a data directory's tape.
fn common_held(data: &Path) -> u64 {
    Tape::open_reader(&data.join("tape")).unwrap().topics().iter().map(|t| t.head).sum()
}

#[test]
fn commands_lead_through_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    catalog(dir.path());
    let mut command = wholetape();
    command
        .args(["replay", "--json", "--speed", "1", "--paused", "--control", "--serve", "0", "--data"])
        .arg(dir.path());
    let mut running = Running::start(command.arg("--into").arg(dir.path().join("again")).stdin(Stdio::piped()));
    assert_eq!(running.json(SOON)["event"], "started");
    let mut ask = |line: &str| {
        running.tell(line);
        running.json(SOON)
    };
    let stood = ask("status");
    assert_eq!((&stood["rows"], &stood["paused"]), (&0.into(), &true.into()), "{stood}");
    assert_eq!(ask("step 5")["rows"], 5);
    let at = T0 + 20 * SECOND;
    assert_eq!(ask(&format!("seek {at}"))["at"], at.to_string());
    assert_eq!(ask("step")["rows"], 6);
    assert_eq!(ask("seek 2026-01-02T03:00:39Z")["at"], (T0 + 39 * SECOND).to_string());
    assert!(ask("fly")["why"].as_str().unwrap().contains("known are"));
    assert_eq!(ask("speed 4")["speed"], "4");
    // The last second, at speed 4: the last row is due 0.9 s after the place it went to.
    let begun = std::time::Instant::now();
    assert_eq!(ask("resume")["paused"], false);
    let done = running.json(SOON);
    assert_eq!((&done["event"], &done["rows"]), (&"replayed".into(), &26.into()), "{done}");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    running.terminate();
    assert_eq!(running.json(SOON)["event"], "finished");
    assert!(running.child.wait().unwrap().success());
}

#[test]
fn an_incomplete_range_is_refused_and_what_it_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    catalog(dir.path());
    let asked =
        |args: &[&str]| replay(dir.path(), &[&["--stdout", "--speed", "max", "--require-complete"], args].concat());
    let refused = asked(&[]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{text}");
    assert!(
        text.contains("quote.BTCUSDT.BINANCE: lost 2026-01-02T03-00-29-000000000Z to 2026-01-02T03-00-30"),
        "{text}"
    );
    assert!(text.contains("disconnected, told by a test"), "{text}");
    assert_eq!(lines(&asked(&["--kinds", "trade"])).len(), ROWS as usize);
    assert_eq!(lines(&asked(&["--to", "2026-01-02T03:00:20Z"])).len(), 400);
    for (args, part) in [
        (&["--kinds", "liquidation"][..], "holds nothing of these"),
        (&["--from", "2027-01-01"], "holds nothing of that time"),
        (&["--speed", "0"], "--speed 0"),
        (&["--kinds", "nonsense"], "--kinds nonsense"),
    ] {
        let refused = replay(dir.path(), &[&["--stdout"], args].concat());
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && text.contains(part), "{args:?}: {text}");
    }
    let nowhere = replay(&dir.path().join("nowhere"), &["--stdout"]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no catalog in"));
}
