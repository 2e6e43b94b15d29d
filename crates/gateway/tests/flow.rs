//! `flow`: a topic goes as far as its credit, wherever it is read from, and the others go on beside it.

mod rig;

use std::time::Duration;

use rig::attic::{fill, rig_with};
use rig::ticket::{client, resume};
use rig::{BOOK, Rig, TRADE, Ws, delta, ids, snapshot, t};
use serde_json::{Value, json};
use tokio::time::timeout;
use wholetape_gateway::GatewayConfig;
use wholetape_tape::TapeConfig;
use wholetape_wire::reply::Limits;

async fn flow(ws: &mut Ws, topic: &str, credit: u64) {
    ws.send(json!({"op": "flow", "topic": topic, "credit": credit})).await;
}

/// `sub`, and its credit in the same frame: nothing is sent between.
async fn sub(ws: &mut Ws, sub: Value, credit: u64) -> Value {
    let flow = json!({"op": "flow", "topic": sub["topic"], "credit": credit});
    ws.send(json!([sub, flow])).await;
    let m = ws.next().await;
    ws.rule.on_text(&m.to_string(), &mut Vec::new());
    m
}

/// Nothing but what `ping` is answered with.
async fn is_silent(ws: &mut Ws) {
    assert!(timeout(Duration::from_millis(150), ws.next()).await.is_err(), "it waits for credit");
    ws.send(json!({"op": "ping", "id": 9})).await;
    assert_eq!(ws.next().await["op"], "pong");
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, text) = rig.get("/metrics").await;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn the_history_the_log_and_the_ring_go_as_far_as_their_credit() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=1_500);
    attic.store(&t(TRADE), 1_400);
    rig.tape.check_space();
    let mut ws = rig.client().await;
    assert_eq!(sub(&mut ws, json!({"op": "sub", "topic": TRADE, "from": "earliest"}), 400).await["seq"], 0);
    let mut got = Vec::new();
    for _ in 0..2 {
        got.extend(ids(&ws.apply(400).await));
        is_silent(&mut ws).await;
        // In two parts: they add up.
        flow(&mut ws, TRADE, 150).await;
        flow(&mut ws, TRADE, 250).await;
    }
    got.extend(ids(&ws.apply(400).await));
    is_silent(&mut ws).await;
    flow(&mut ws, TRADE, 305).await;
    got.extend(ids(&ws.apply(300).await));
    // The rest of the credit is for what comes.
    rig.trades(1_501..=1_510);
    got.extend(ids(&ws.apply(5).await));
    is_silent(&mut ws).await;
    flow(&mut ws, TRADE, 5).await;
    got.extend(ids(&ws.apply(5).await));
    assert_eq!(got, (1..=1_510).collect::<Vec<_>>());
    assert!(metric(&rig, "gateway_flow_pauses_total").await >= 4);
    assert_eq!(metric(&rig, "gateway_ack_pauses_total").await, 0);
}

#[tokio::test]
async fn a_state_counts_others_go_on_and_who_gives_no_credit_is_not_slow() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    let book = json!({"op": "sub", "id": 2, "topic": BOOK, "policy": "disconnect", "lag": 10});
    assert_eq!(sub(&mut ws, book, 1).await["op"], "subd");
    assert_eq!(ws.apply(1).await[0]["op"], "snap");
    for n in 2..=50 {
        rig.append(BOOK, delta(n));
    }
    rig.trades(2..=40);
    assert_eq!(ids(&ws.apply(39).await), (2..=40).collect::<Vec<_>>(), "trades, without bound");
    is_silent(&mut ws).await;
    // Looked at as soon as it goes on: it is behind by more than it allowed.
    flow(&mut ws, BOOK, 1).await;
    assert_eq!(ws.closed().await, 4008);
}

#[tokio::test]
async fn with_acknowledgements_the_smaller_holds() {
    let limits = Limits { inflight: 5, ..Limits::default() };
    let mut rig = Rig::with(GatewayConfig { limits, ..GatewayConfig::default() }, TapeConfig::default()).await;
    rig.trades(1..=30);
    let mut ws = rig.client().await;
    sub(&mut ws, json!({"op": "sub", "topic": TRADE, "from": "earliest", "ack": "cum"}), 3).await;
    assert_eq!(ids(&ws.apply(3).await), [1, 2, 3]);
    is_silent(&mut ws).await;
    flow(&mut ws, TRADE, 100).await;
    assert_eq!(ids(&ws.apply(2).await), [4, 5], "five are not acknowledged");
    is_silent(&mut ws).await;
    ws.send(json!({"op": "ack", "a": {TRADE: 4}})).await;
    assert_eq!(ids(&ws.apply(4).await), [6, 7, 8, 9]);
    is_silent(&mut ws).await;
    let pauses = [metric(&rig, "gateway_flow_pauses_total").await, metric(&rig, "gateway_ack_pauses_total").await];
    assert_eq!(pauses, [1, 2]);
}

/// Credit is the connection's: who comes back, or asks anew, says again what it takes.
#[tokio::test]
async fn resync_and_resume_forget_it() {
    let mut rig = Rig::new().await;
    rig.trades(1..=30);
    let (mut ws, mut ticket) = client(&rig).await;
    sub(&mut ws, json!({"op": "sub", "topic": TRADE, "from": "earliest"}), 4).await;
    assert_eq!(ids(&ws.apply(4).await), [1, 2, 3, 4]);
    is_silent(&mut ws).await;
    let rule = std::mem::take(&mut ws.rule);
    drop(ws);
    let (mut ws, m) = resume(&rig, rule, &mut ticket).await;
    assert_eq!(m["topics"][TRADE]["n"], 26);
    assert_eq!(ids(&ws.apply(26).await), (5..=30).collect::<Vec<_>>());
    // From here on two more.
    flow(&mut ws, TRADE, 2).await;
    ws.send(json!({"op": "ping"})).await;
    ws.said("pong").await;
    rig.trades(31..=40);
    assert_eq!(ids(&ws.apply(2).await), [31, 32]);
    is_silent(&mut ws).await;
    let text = ws.rule.request_resync(TRADE).unwrap();
    ws.send_text(&text).await;
    assert_eq!(ids(&ws.apply(8).await), (33..=40).collect::<Vec<_>>());
}

/// Rows of history need no credit: what follows them does.
#[tokio::test]
async fn rows_of_history_are_not_counted() {
    let (mut rig, _attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=600);
    let mut ws = rig.client().await;
    let ask = json!({"op": "sub", "topic": TRADE, "from": {"ts": 0}});
    ws.send(json!([ask, {"op": "flow", "topic": TRADE, "credit": 1}])).await;
    let (mut rows, mut m) = (0, ws.next().await);
    while m["op"] == "hist" {
        rows += m["data"].as_array().unwrap().len();
        m = ws.next().await;
    }
    assert_eq!((rows, &m["op"], &m["seq"]), (600, &json!("subd"), &json!(600)));
    ws.rule.on_text(&m.to_string(), &mut Vec::new());
    rig.trades(601..=602);
    assert_eq!(ids(&ws.apply(1).await), [601]);
    is_silent(&mut ws).await;
}

#[tokio::test]
async fn what_is_no_credit_is_refused() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    for (more, code, path) in [
        (json!({"topic": BOOK, "credit": 1}), 2008, Value::Null),
        (json!({"topic": TRADE}), 1003, json!("credit")),
        (json!({"topic": TRADE, "credit": 0}), 1003, json!("credit")),
        (json!({"topic": TRADE, "credit": 1_000_001}), 1003, json!("credit")),
    ] {
        let mut ask = json!({"op": "flow", "id": 3});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ws.send(ask).await;
        let e = ws.next().await;
        assert_eq!(
            (&e["op"], &e["id"], &e["code"], &e["path"]),
            (&json!("err"), &json!(3), &json!(code), &path),
            "{more}"
        );
    }
    for (credit, op) in [(999_999, "ok"), (2, "err"), (1, "ok"), (1, "err")] {
        ws.send(json!({"op": "flow", "id": 4, "topic": TRADE, "credit": credit})).await;
        let m = ws.next().await;
        assert_eq!((&m["op"], &m["id"]), (&json!(op), &json!(4)), "{m}");
    }
    rig.trades(2..=2);
    assert_eq!(ids(&ws.apply(1).await), [2]);
}
