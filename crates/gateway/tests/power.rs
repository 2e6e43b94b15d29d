//! After a power loss a client that had seen more than the disk kept goes on: the mark over the lost range is its next
//! message and joins its own position, wherever in the range that lies (PROTOCOL §0: apply when `prev == last`).

mod rig;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rig::{BOOK, Rig, TRADE, delta, ids, snapshot, t, trade, validity};
use serde_json::{Value, json};
use wholetape_model::{RowFlags, ValidityState};
use wholetape_tape::{POWER_SPAN, TapeConfig};

const SPAN: u64 = POWER_SPAN as u64;

fn booted(boot: &str) -> TapeConfig {
    TapeConfig { boot_id: Some(boot.into()), ..TapeConfig::default() }
}

/// The segment that was written last.
fn newest_segment(dir: &Path) -> PathBuf {
    let (mut folders, mut newest) = (vec![dir.to_owned()], None);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "seg") {
                newest = newest.max(Some(entry));
            }
        }
    }
    newest.expect("a segment")
}

/// Trades and deltas of which the disk kept 20 and clients saw 40, on the next boot.
async fn after_power_loss() -> Rig {
    let mut rig = Rig::with(Default::default(), booted("one")).await;
    rig.append(BOOK, snapshot(1));
    for id in 1..=20 {
        rig.append(TRADE, trade(id));
        rig.append(BOOK, delta(id + 1));
    }
    for (topic, head) in [(TRADE, 20), (BOOK, 21)] {
        assert!(rig.tape.wait_synced(&t(topic), head, Duration::from_secs(5)).unwrap());
    }
    let kept = newest_segment(rig.dir.path());
    let bytes = std::fs::metadata(&kept).unwrap().len();
    for id in 21..=40 {
        rig.append(TRADE, trade(id));
        rig.append(BOOK, delta(id + 1));
    }
    let mut seen = rig.client().await;
    assert_eq!(seen.sub(TRADE, json!({"last": 20})).await["seq"], 20);
    assert_eq!(ids(&seen.apply(20).await), (21..=40).collect::<Vec<_>>());
    drop(seen);
    let dir = rig.crash().await;
    OpenOptions::new().write(true).open(kept).unwrap().set_len(bytes).unwrap();
    Rig::open(dir, Default::default(), booted("two")).await
}

fn check_mark(m: &Value, prev: u64, seq: u64) {
    assert_eq!((&m["op"], &m["mark"]), (&json!("mark"), &json!("gap")), "{m}");
    // Left out where it is the seq before.
    assert_eq!((m["prev"].as_u64().unwrap_or(seq - 1), m["seq"].as_u64()), (prev, Some(seq)), "{m}");
    assert!(m.to_string().contains("power"), "{m}");
}

#[tokio::test]
async fn every_position_in_the_lost_range_is_joined() {
    let mut rig = after_power_loss().await;
    let epoch = rig.tape.epoch().to_owned();
    let mut clients = Vec::new();
    for position in [20, 21, 30, 40, 19 + SPAN] {
        let mut ws = rig.client().await;
        let subd = ws.sub(TRADE, json!({"epoch": epoch, "seq": position})).await;
        assert_eq!((&subd["op"], &subd["seq"], &subd["missed"]), (&json!("subd"), &json!(position), &Value::Null));
        check_mark(&ws.apply(1).await[0], position, 20 + SPAN);
        clients.push(ws);
    }
    for id in 41..=43 {
        rig.append(TRADE, trade(id));
    }
    for ws in &mut clients {
        let rows = ws.apply(3).await;
        assert_eq!(ids(&rows), [41, 42, 43]);
        assert_eq!((rows[2]["seq"].as_u64(), ws.rule.resyncs()), (Some(23 + SPAN), 0));
    }
    // The shared messages hold the mark's own `prev` for those who stand there, and nobody else's.
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("earliest")).await;
    let all = ws.apply(24).await;
    assert_eq!(ids(&all), (1..=20).chain(41..=43).collect::<Vec<_>>());
    check_mark(&all[20], 20, 20 + SPAN);
}

#[tokio::test]
async fn a_resync_from_the_lost_range_is_joined_and_counted() {
    let mut rig = after_power_loss().await;
    rig.append(TRADE, trade(41));
    let epoch = rig.tape.epoch().to_owned();
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    ws.send(json!({"op": "resync", "id": 7, "topic": TRADE, "pos": [epoch, 33]})).await;
    let m = ws.next().await;
    // Two messages follow, however many seqs they cover.
    assert_eq!(m["topics"][TRADE], json!({"r": "replay", "n": 2}), "{m}");
    check_mark(&ws.next().await, 33, 20 + SPAN);
    assert_eq!(ws.next().await["data"]["id"], 41);
}

#[tokio::test]
async fn nobody_is_slow_because_of_a_lost_range() {
    let mut rig = after_power_loss().await;
    let epoch = rig.tape.epoch().to_owned();
    rig.append(TRADE, trade(41));
    for policy in ["disconnect", "drop_oldest", "catch_up"] {
        let mut ws = rig.client().await;
        let from = json!({"epoch": epoch, "seq": 25});
        ws.send(json!({"op": "sub", "id": 1, "topic": TRADE, "from": from, "policy": policy, "lag": 2})).await;
        assert_eq!(ws.next().await["op"], "subd");
        check_mark(&ws.next().await, 25, 20 + SPAN);
        assert_eq!(ws.next().await["data"]["id"], 41, "{policy}");
    }
}

#[tokio::test]
async fn a_book_behind_a_lost_range_is_not_called_live() {
    let mut rig = after_power_loss().await;
    let epoch = rig.tape.epoch().to_owned();
    let mut behind = rig.client().await;
    behind.sub(BOOK, json!({"epoch": epoch, "seq": 35})).await;
    check_mark(&behind.apply(1).await[0], 35, 21 + SPAN);
    let mut fresh = rig.client().await;
    assert_eq!(fresh.sub(BOOK, json!("live")).await["seq"], 21 + SPAN);
    let snap = fresh.apply(1).await.remove(0);
    assert_eq!((&snap["op"], &snap["state"]), (&json!("snap"), &json!("stale")), "{snap}");
    // The line splices anew.
    rig.append_only(BOOK, snapshot(50), RowFlags::default());
    rig.append_only(BOOK, validity(ValidityState::Live), RowFlags::default());
    rig.append_only(BOOK, delta(51), RowFlags::default());
    rig.lane.commit().unwrap();
    for ws in [&mut behind, &mut fresh] {
        let m = ws.apply(3).await;
        assert_eq!((&m[0]["op"], &m[2]["op"], &m[2]["state"]), (&json!("snap"), &json!("data"), &json!("live")));
        assert_eq!(ws.rule.resyncs(), 0);
    }
    let mut late = rig.client().await;
    late.sub(BOOK, json!("live")).await;
    assert_eq!(late.apply(1).await[0]["state"], "live");
}
