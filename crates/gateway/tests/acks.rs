//! `ack: "cum"`: a topic pauses at `inflight` messages without an acknowledgement and goes on with the next one, wherever it is read from.

mod rig;

use std::time::Duration;

use rig::attic::{fill, rig_with};
use rig::{BOOK, Rig, TRADE, Ws, delta, ids, snapshot, t};
use serde_json::{Value, json};
use tokio::time::timeout;
use wholetape_gateway::GatewayConfig;
use wholetape_tape::TapeConfig;
use wholetape_wire::reply::Limits;

fn config(inflight: u64) -> GatewayConfig {
    GatewayConfig { limits: Limits { inflight, ..Limits::default() }, ..GatewayConfig::default() }
}

async fn sub(ws: &mut Ws, topic: &str, from: Value) -> Value {
    ws.send(json!({"op": "sub", "id": 1, "topic": topic, "from": from, "ack": "cum"})).await;
    let m = ws.next().await;
    assert_eq!((&m["op"], &m["ack"]), (&json!("subd"), &json!("cum")), "{m}");
    ws.rule.on_text(&m.to_string(), &mut Vec::new());
    m
}

async fn ack(ws: &mut Ws, topic: &str, seq: u64) {
    ws.send(json!({"op": "ack", "a": {topic: seq}})).await;
}

/// Nothing but what `ping` is answered with.
async fn is_silent(ws: &mut Ws) {
    assert!(timeout(Duration::from_millis(150), ws.next()).await.is_err(), "it waits for an acknowledgement");
    ws.send(json!({"op": "ping", "id": 9})).await;
    assert_eq!(ws.next().await["op"], "pong");
}

#[tokio::test]
async fn a_live_topic_pauses_at_the_bound_and_goes_on_without_a_hole() {
    let mut rig = Rig::with(config(10), TapeConfig::default()).await;
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    sub(&mut ws, TRADE, json!("live")).await;
    for first in (2..=61).step_by(4) {
        rig.trades(first..=first + 3);
    }
    assert_eq!(ids(&ws.apply(10).await), (2..=11).collect::<Vec<_>>());
    is_silent(&mut ws).await;
    // A lower one, and one between: that many more come.
    ack(&mut ws, TRADE, 1).await;
    is_silent(&mut ws).await;
    ack(&mut ws, TRADE, 4).await;
    assert_eq!(ids(&ws.apply(3).await), [12, 13, 14]);
    ack(&mut ws, TRADE, 3).await;
    is_silent(&mut ws).await;
    ack(&mut ws, TRADE, 14).await;
    assert_eq!(ids(&ws.apply(10).await), (15..=24).collect::<Vec<_>>());
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_ack_pauses_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn the_log_and_the_history_are_read_no_faster_than_they_are_acknowledged() {
    // Positions at which the history, the tape and the ring are read from.
    let (mut rig, attic) = rig_with(config(7)).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 2_900);
    rig.tape.check_space();
    let mut ws = rig.client().await;
    sub(&mut ws, TRADE, json!("earliest")).await;
    let (mut got, mut step) = (Vec::new(), 0);
    while got.len() < 3_000 {
        // As many as may be under way, acknowledged by another number each time.
        let room = 7.min(3_000 - got.len());
        got.extend(ids(&ws.apply(room).await));
        if step % 100 == 0 && got.len() < 3_000 {
            is_silent(&mut ws).await;
        }
        step += 1;
        let last = *got.last().unwrap();
        ack(&mut ws, TRADE, last).await;
    }
    assert_eq!(got, (1..=3_000).collect::<Vec<_>>());
    rig.trades(3_001..=3_005);
    assert_eq!(ids(&ws.apply(5).await), (3_001..=3_005).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_books_state_counts_and_others_go_on_beside_what_waits() {
    let mut rig = Rig::with(config(3), TapeConfig::default()).await;
    rig.append(BOOK, snapshot(1));
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    sub(&mut ws, BOOK, json!("live")).await;
    assert_eq!(ws.apply(1).await[0]["op"], "snap");
    ws.sub(TRADE, json!("live")).await;
    for n in 2..=6 {
        rig.append(BOOK, delta(n));
    }
    let book = ws.apply(2).await;
    assert_eq!((&book[0]["seq"], &book[1]["seq"]), (&json!(2), &json!(3)));
    rig.trades(2..=40);
    assert_eq!(ids(&ws.apply(39).await), (2..=40).collect::<Vec<_>>(), "trades without acknowledgement");
    ack(&mut ws, BOOK, 1).await;
    assert_eq!(ws.apply(1).await[0]["seq"], 4);
    // Whoever asks anew owes nothing of before.
    ws.send(json!({"op": "resync", "id": 2, "topic": BOOK, "pos": null})).await;
    let resumed = ws.said("resumed").await;
    assert_eq!(resumed["topics"][BOOK]["r"], "snap");
    ws.rule.on_text(&resumed.to_string(), &mut Vec::new());
    assert_eq!(ws.next().await["seq"], 6);
    for n in 7..=9 {
        rig.append(BOOK, delta(n));
    }
    assert_eq!([ws.next().await["seq"].clone(), ws.next().await["seq"].clone()], [json!(7), json!(8)]);
    is_silent(&mut ws).await;
}

#[tokio::test]
async fn what_was_never_sent_cannot_be_acknowledged() {
    let mut rig = Rig::with(config(5), TapeConfig::default()).await;
    rig.trades(1..=20);
    let mut ws = rig.client().await;
    sub(&mut ws, TRADE, json!("earliest")).await;
    ws.apply(5).await;
    ws.send(json!({"op": "ack", "id": 4, "a": {TRADE: 6}})).await;
    let e = ws.next().await;
    assert_eq!((&e["code"], &e["id"], &e["topic"]), (&json!(1005), &json!(4), &json!(TRADE)), "{e}");
    is_silent(&mut ws).await;
    ws.send(json!({"op": "ack", "id": 5, "a": {TRADE: 5}})).await;
    assert_eq!(ws.said("ok").await["id"], 5);
    assert_eq!(ids(&ws.apply(5).await), [6, 7, 8, 9, 10]);
}
