//! `wholetape trace` as a stranger meets it: rows that came live, late or never, on tape and in the catalog.

mod common;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use common::{last_json, wholetape};
use serde_json::{Value, json};
use wholetape_model::{
    Body, Gap, GapCause, GapState, HealSource, Link, LinkCause, LinkState, Price, Raw, Row, RowFlags, Scales, Side,
    Size, Topic, Trade, TradeCondition, Ts, View,
};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Delivery, From, Lane, ReaderOptions, RealDisk, Tape, TapeConfig};

const DAY: i64 = 86_400_000_000_000;
/// 2026-01-02, noon.
const NOON: i64 = 20_455 * DAY + DAY / 2;
const TOPIC: &str = "trade.BTCUSDT-PERP.BINANCE";

/// A moment so many ms after noon.
fn at(ms: i64) -> Ts {
    Ts(NOON + ms * 1_000_000)
}

fn trade(id: u64) -> View<'static> {
    let (price, size, aggressor) = (Price(600_000 + id as i64), Size(25), Some(Side::Buy));
    let (first_id, last_id, condition) = (id * 2, id * 2 + 1, TradeCondition::Regular);
    Body::Trade(Trade { id: id.into(), first_id, last_id, price, size, aggressor, condition })
}

fn put(
    lane: &mut Lane,
    topic: &str,
    (event, recv): (i64, i64),
    (conn, frame): (u32, u32),
    late: RowFlags,
    body: View<'_>,
) {
    let no = lane.topic(&Topic::parse(topic).unwrap()).unwrap();
    let scales = Scales { price: 1, size: 3 };
    let (ts_event, ts_recv) = (at(event), at(recv));
    lane.append(no, &Row { ts_event, ts_recv, conn, frame, flags: late, scales, body }).unwrap();
}

fn gap(gap: u64, state: GapState, ids: (u64, u64), ms: (i64, i64), why: &'static str) -> View<'static> {
    let source = if state == GapState::Healed { HealSource::Rest } else { HealSource::None };
    let ((from_id, to_id), (from_ts, to_ts), missing) = (ids, (at(ms.0), at(ms.1)), ids.1 - ids.0 + 1);
    let cause = GapCause::Sequence;
    Body::Gap(Gap { gap, state, cause, source, from_id, to_id, from_ts, to_ts, missing, why })
}

fn link(state: LinkState, cause: LinkCause, why: &'static str) -> View<'static> {
    let (endpoint, correlation) = ("wss://venue.example/stream", "bn-0/0#7");
    Body::Link(Link { state, cause, attempt: 1, delay_ns: 0, endpoint, correlation, why })
}

/// Ids 10 to 120, a trade each 10 ms. 50 to 52 came over REST; 80 to 82 are lost; 90 was never published; 30 was withdrawn.
/// What came up to id 100 is stored; the rest is on the tape alone.
fn make(dir: &Path, store: bool) {
    let live = RowFlags::default();
    let tape = Tape::open(&dir.join("tape"), TapeConfig::default()).unwrap();
    let (mut lane, mut raw) = (tape.lane("w0").unwrap(), tape.lane("raw-w0").unwrap());
    put(&mut lane, "link.bn-0", (1, 1), (7, 0), live, link(LinkState::Connecting, LinkCause::Start, "first try"));
    put(&mut lane, "link.bn-0", (2, 2), (7, 0), live, link(LinkState::Connected, LinkCause::Opened, "handshake done"));
    let mut trades = |lane: &mut Lane, ids: std::ops::RangeInclusive<u64>| {
        for id in ids.filter(|id| !matches!(id, 50..=52 | 80..=82 | 90)) {
            let (event, frame) = (id as i64 * 10, id as u32);
            let text = format!("{{\"e\":\"aggTrade\",\"a\":{id},\"pad\":\"{}\"}}", "x".repeat(500));
            let body = Body::Raw(Raw { channel: "", text: text.as_str() });
            put(&mut raw, "raw.bn-0.frames", (event + 5, event + 5), (7, frame), RowFlags::TS_LOCAL, body);
            put(lane, TOPIC, (event, event + 5), (7, frame), live, trade(id));
            let marks = match id {
                53 => vec![gap(1, GapState::Open, (50, 52), (495, 535), "ids are missing")],
                83 => vec![
                    gap(2, GapState::Open, (80, 82), (795, 835), "ids are missing"),
                    gap(2, GapState::Lost, (80, 82), (795, 835), "asked three times"),
                ],
                91 => vec![gap(3, GapState::NeverPublished, (90, 90), (895, 915), "the page skips it")],
                _ => Vec::new(),
            };
            for mark in marks {
                put(lane, TOPIC, (event + 6, event + 6), (7, 0), live, mark);
            }
            if id == 60 {
                for late in 50..=52 {
                    put(lane, TOPIC, (late * 10, 608), (7, frame), RowFlags::LATE_REST, trade(late as u64));
                }
                let healed = gap(1, GapState::Healed, (50, 52), (495, 535), "3 ids, proven by id");
                put(lane, TOPIC, (609, 609), (7, 0), live, healed);
                // Id 30 is the row at seq 21.
                put(lane, TOPIC, (610, 610), (7, 0), live, Body::Retract(21));
            }
        }
        lane.commit().unwrap();
    };
    trades(&mut lane, 10..=100);
    if store {
        let catalog = Catalog::open(Arc::new(RealDisk), dir, CatalogConfig::default()).unwrap();
        let mut follower = Follower::new(catalog, Pace::default());
        let tomorrow = Ts(20_456 * DAY + DAY / 2);
        while follower.poll(&tape, tomorrow).unwrap() {}
        follower.flush(tomorrow).unwrap();
        follower.tend(tomorrow).unwrap();
        assert_eq!(follower.counts.certificates, 2, "the instrument's and the line's");
    }
    trades(&mut lane, 101..=120);
    put(&mut lane, "link.bn-0", (1300, 1300), (7, 0), live, link(LinkState::Disconnected, LinkCause::Closed, "going"));
    lane.commit().unwrap();
    raw.commit().unwrap();
    drop((lane, raw));
    tape.close().unwrap();
}

fn trace(dir: &Path, args: &[&str]) -> Output {
    wholetape().arg("trace").args(args).arg("--data").arg(dir).output().unwrap()
}

fn found(dir: &Path, args: &[&str]) -> Value {
    let output = trace(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    last_json(&output)
}

fn absent(dir: &Path, args: &[&str]) -> Value {
    let output = trace(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let value = last_json(&output);
    assert_eq!(value["found"], false);
    value
}

#[test]
fn a_live_trade_names_its_connection_frame_file_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), true);
    let told = found(dir.path(), &[TOPIC, "20"]);
    let row = &told["rows"][0];
    assert_eq!((&row["id"], &row["seq"], &row["source"]), (&20.into(), &11.into(), &"live".into()));
    assert_eq!(row["ts_event"], "2026-01-02T12:00:00.200000000Z");
    assert_eq!(row["delay_ns"], 5_000_000);
    assert_eq!((&row["conn"], &row["frame"]), (&7.into(), &20.into()));
    let connection = json!({
        "line": "bn-0", "topic": "link.bn-0", "correlation": "bn-0/0#7", "endpoint": "wss://venue.example/stream",
        "opened": {
            "seq": 2, "at": "2026-01-02T12:00:00.002000000Z", "state": "connected", "cause": "opened",
            "why": "handshake done",
        },
        "closed": {
            "seq": 3, "at": "2026-01-02T12:00:01.300000000Z", "state": "disconnected", "cause": "closed", "why": "going",
        },
    });
    assert_eq!(row["connection"], connection);
    let text = row["raw"]["text"].as_str().unwrap();
    assert!(text.starts_with("{\"e\":\"aggTrade\",\"a\":20,") && text.len() == 400, "{text}");
    assert!(row["raw"]["bytes"].as_u64().unwrap() > 500);
    assert_eq!((&row["gaps"], &row["retracted_by"]), (&json!([]), &json!([])));
    assert_eq!(row["tape"]["lane"], "w0");
    let stored = &row["stored"];
    assert_eq!(
        (&stored["table"], &stored["sealed"], &stored["row_group"]),
        (&"trades".into(), &true.into(), &0.into())
    );
    assert!(dir.path().join(stored["file"].as_str().unwrap()).exists());
    let file = "catalog/certificates/BTCUSDT-PERP.BINANCE/2026-01-02.r1.json";
    let certificate = json!({"file": file, "revision": 1, "number": 1, "signer": null, "covers": true});
    assert_eq!(stored["certificate"], certificate);
    let whole = found(dir.path(), &[TOPIC, "20", "--raw"]);
    assert!(whole["rows"][0]["raw"]["text"].as_str().unwrap().ends_with("x\"}"));
    assert_eq!(found(dir.path(), &[TOPIC, "--seq", "11"])["rows"], told["rows"]);
    assert_eq!(found(dir.path(), &[TOPIC, "30"])["rows"][0]["retracted_by"][0]["at"], "2026-01-02T12:00:00.610000000Z");
}

#[test]
fn a_healed_trade_names_its_gap_from_opening_to_verdict() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), true);
    let told = found(dir.path(), &[TOPIC, "51"]);
    let mark = |seq: u64, at: &str, state: &str, source: &str, why: &str| {
        json!({
            "seq": seq, "at": at, "state": state, "cause": "sequence", "source": source, "from_id": 50, "to_id": 52,
            "from_ts": "2026-01-02T12:00:00.495000000Z", "to_ts": "2026-01-02T12:00:00.535000000Z", "missing": 3,
            "why": why,
        })
    };
    let opened = mark(42, "2026-01-02T12:00:00.536000000Z", "open", "none", "ids are missing");
    let healed = mark(53, "2026-01-02T12:00:00.609000000Z", "healed", "rest", "3 ids, proven by id");
    let row = &told["rows"][0];
    assert_eq!(row["gaps"], json!([{"gap": 1, "marks": [opened, healed]}]));
    assert_eq!((&row["source"], &row["delay_ns"], &row["raw"]), (&"rest".into(), &Value::Null, &Value::Null));
    assert_eq!(row["ts_init"], "2026-01-02T12:00:00.510000000Z", "between its neighbours");
    assert_eq!(row["ts_recv"], "2026-01-02T12:00:00.608000000Z");
    let text = String::from_utf8(trace(dir.path(), &[TOPIC, "51"]).stdout).unwrap();
    for part in [
        "trade.BTCUSDT-PERP.BINANCE id 51 · seq 51",
        "0.025 at 60005.1, buy, single trades 102 to 103",
        "late, over REST",
        "open at 2026-01-02T12:00:00.536000000Z (seq 42), sequence: ids 50 to 52; ids are missing",
        "healed by rest at",
        "revision 1, number 1, not signed",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn what_is_not_there_is_told_as_far_as_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), true);
    let dir = dir.path();
    let lost = absent(dir, &[TOPIC, "81"]);
    assert_eq!((&lost["why"], &lost["below"], &lost["above"]), (&"lost".into(), &79.into(), &83.into()));
    let states: Vec<&Value> = lost["gaps"][0]["marks"].as_array().unwrap().iter().map(|m| &m["state"]).collect();
    assert_eq!(states, ["open", "lost"]);
    assert_eq!(absent(dir, &[TOPIC, "90"])["why"], "never_published");
    let never = absent(dir, &[TOPIC, "5266583935"]);
    assert_eq!((&never["why"], &never["gaps"]), (&"outside".into(), &json!([])));
    assert_eq!((&never["held"]["from_id"], &never["held"]["to_id"]), (&10.into(), &120.into()));
    assert_eq!(absent(dir, &[TOPIC, "--seq", "99999"])["why"], "outside");
    let unknown = absent(dir, &["trade.BTCUSDT-PREP.BINANCE", "20"]);
    assert_eq!((&unknown["why"], &unknown["near"][0]), (&"unknown_topic".into(), &TOPIC.into()));
    let text = String::from_utf8(trace(dir, &[TOPIC, "81"]).stdout).unwrap();
    assert!(
        text.contains("id 81: not held; it lies in a gap that is lost") && text.contains("asked three times"),
        "{text}"
    );
    let no_ids = trace(dir, &["link.bn-0", "3"]);
    assert_eq!(no_ids.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&no_ids.stderr).contains("--seq"), "{no_ids:?}");
    let link = found(dir, &["link.bn-0", "--seq", "3"]);
    assert_eq!(link["rows"][0]["data"]["state"], "disconnected");
}

#[test]
fn tape_and_catalog_are_enough_each_alone() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), true);
    let young = found(dir.path(), &[TOPIC, "110"]);
    assert_eq!((&young["rows"][0]["stored"], &young["rows"][0]["ts_init"]), (&Value::Null, &Value::Null));
    assert_eq!(young["rows"][0]["raw"]["seq"].as_u64(), Some(94));
    std::fs::remove_dir_all(dir.path().join("tape")).unwrap();
    let row = &found(dir.path(), &[TOPIC, "51"])["rows"][0];
    assert_eq!((&row["tape"], &row["stored"]["sealed"]), (&Value::Null, &true.into()));
    assert_eq!(row["gaps"][0]["marks"].as_array().unwrap().len(), 2);
    assert_eq!(row["connection"]["opened"]["seq"], 2);
    assert_eq!(absent(dir.path(), &[TOPIC, "81"])["why"], "lost");
    assert_eq!(absent(dir.path(), &[TOPIC, "110"])["why"], "outside", "it was on the tape alone");

    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), false);
    let row = &found(dir.path(), &[TOPIC, "51"])["rows"][0];
    assert_eq!((&row["stored"], &row["seq"], &row["source"]), (&Value::Null, &51.into(), &"rest".into()));
    assert_eq!(row["gaps"][0]["marks"].as_array().unwrap().len(), 2);
    assert_eq!(found(dir.path(), &[TOPIC, "30"])["rows"][0]["retracted_by"][0]["seq"], 54);
    assert_eq!(absent(dir.path(), &[TOPIC, "82"])["why"], "lost");
    let none = tempfile::tempdir().unwrap();
    assert_eq!(trace(none.path(), &[TOPIC, "1"]).status.code(), Some(2));
}

/// What a demo with faults recorded: each late trade names a gap that a verdict closed, each live one its connection; and ids of lost
/// gaps are told as lost.
#[test]
fn every_trade_of_a_demo_has_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let output = common::demo(dir.path(), &["--seconds", "8", "--faults", "rough", "--seed", "11"]);
    assert!(output.status.code().is_some_and(|c| c < 2), "{output:?}");
    let tape = Tape::open_reader(&dir.path().join("tape")).unwrap();
    let (mut late, mut live) = (0, 0);
    for state in tape.topics().into_iter().filter(|t| t.topic.as_str().starts_with("trade.") && t.head > 0) {
        let mut reader = tape.reader(&state.topic, From::Seq(0), ReaderOptions::default()).unwrap();
        let (mut batch, mut ids) = (Vec::new(), Vec::new());
        while reader.poll_next(&mut batch, 4096) > 0 {
            for record in batch.drain(..).filter_map(|d| if let Delivery::Record(r) = d { Some(r) } else { None }) {
                let record = record.record();
                if let Ok(Body::Trade(t)) = record.view() {
                    ids.push((t.id.number().unwrap_or_default(), record.seq(), record.flags().is_late()));
                }
            }
        }
        let lates = ids.iter().filter(|i| i.2).step_by(40).take(3);
        for (id, seq, is_late) in lates.chain(ids.iter().filter(|i| !i.2).step_by(200).take(3)) {
            let told = found(dir.path(), &[state.topic.as_str(), &id.to_string()]);
            let row = told["rows"].as_array().unwrap().iter().find(|r| r["seq"] == *seq).unwrap();
            if *is_late {
                late += 1;
                let marks = row["gaps"][0]["marks"].as_array().unwrap_or_else(|| panic!("{state:?} {id}: {told}"));
                assert!(marks.iter().any(|m| m["state"] == "open"), "{told}");
                assert_eq!(row["source"], "rest");
            } else {
                live += 1;
                assert_eq!(row["source"], "live");
                assert!(row["connection"]["endpoint"].as_str().unwrap().starts_with("ws"), "{told}");
            }
            assert!(row["stored"]["file"].is_string(), "a demo stores what it records: {told}");
        }
    }
    assert!(late > 0 && live > 0, "{late} late and {live} live trades");
}
