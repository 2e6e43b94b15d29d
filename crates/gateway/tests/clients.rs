//! What an operator sees of clients, and their states in `/metrics`.

mod rig;

use std::time::{Duration, Instant};

use rig::{Rig, TRADE, delta, patient, snapshot};
use serde_json::json;
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::clients::{Client, ClientState, TopicState};
use wholetape_model::RowFlags;
use wholetape_tape::TapeConfig;
use wholetape_wire::reply::Limits;

async fn state_of(rig: &Rig, session: &str, want: ClientState) -> Client {
    let began = Instant::now();
    loop {
        let all = rig.clients.list().await;
        match all.iter().find(|c| c.session == session) {
            Some(c) if c.state == want => return c.clone(),
            other => assert!(began.elapsed() < Duration::from_secs(60), "never {want:?}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_is_shown_with_what_it_does() {
    let limits = Limits { inflight: 5, ..Limits::default() };
    let mut rig = Rig::with(GatewayConfig { limits, ..GatewayConfig::default() }, TapeConfig::default()).await;
    rig.trades(1..=20);
    rig.append(rig::BOOK, snapshot(1));
    let mut ws = rig.client().await;
    let mut other = rig.client().await;
    let listed = rig.clients.list().await;
    assert_eq!((listed.len(), listed[0].state, listed[0].sent_messages), (2, ClientState::Live, 1), "{listed:?}");
    let (session, second) = (listed[0].session.clone(), listed[1].session.clone());
    assert!(listed[0].since <= listed[1].since && session != second);
    ws.send(json!({"op": "hello", "id": 3, "agent": "test/2"})).await;
    ws.said("ok").await;
    ws.sub(rig::BOOK, json!("live")).await;
    ws.send(json!({"op": "sub", "id": 1, "topic": TRADE, "from": "earliest", "ack": "cum"})).await;
    ws.said("subd").await;
    let c = state_of(&rig, &session, ClientState::Unacknowledged).await;
    assert_eq!((c.agent.as_str(), c.ops, c.violations, c.principal.as_deref()), ("test/2", 3, 0, None));
    let topics: Vec<_> = c.topics.iter().map(|t| (t.topic.as_str(), t.class, t.state, t.behind)).collect();
    assert_eq!(topics, [(rig::BOOK, "book", TopicState::Live, 0), (TRADE, "trade", TopicState::Unacknowledged, 15)]);
    assert_eq!((c.behind, c.by_class[1], c.by_class[2]), (15, (1, 15), (1, 0)));
    let (_, metrics) = rig.get("/metrics").await;
    for line in [
        "gateway_clients{state=\"unacknowledged\"} 1",
        "gateway_clients{state=\"live\"} 1",
        "gateway_client_topics{class=\"trade\"} 1",
        "gateway_client_topic_states{state=\"live\"} 1",
        "gateway_client_topic_states{state=\"unacknowledged\"} 1",
        "gateway_client_topic_states{state=\"behind\"} 0",
        "gateway_client_behind_records{class=\"trade\"} 15",
        "gateway_class_messages_total{class=\"trade\"} 6",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
    ws.send(json!({"op": "ack", "a": {TRADE: 5}})).await;
    drop(other.socket.close(None).await);
    let began = Instant::now();
    while rig.clients.list().await.len() > 1 {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    // An operator's close is one to come back from, with a pause.
    assert!(rig.clients.kick("nobody").await.is_empty());
    assert_eq!(rig.clients.kick(&session).await.len(), 1);
    assert_eq!(ws.closed().await, 4013);
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("gateway_closes_total{code=\"4013\"} 1"), "{metrics}");
}

#[tokio::test]
async fn whoever_does_not_read_is_stalled_and_all_of_an_address_can_be_sent_away() {
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    rig.append(rig::BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(rig::BOOK, json!("live")).await;
    let session = rig.clients.list().await[0].session.clone();
    // More than the sockets of both sides hold.
    let mut n = 1;
    let began = Instant::now();
    while !rig.clients.list().await.iter().any(|c| c.queued_messages > 0 && c.behind > 0) {
        for _ in 0..20_000 {
            n += 1;
            rig.append_only(rig::BOOK, delta(n), RowFlags::default());
        }
        rig.lane.commit().unwrap();
        assert!(began.elapsed() < Duration::from_secs(120));
    }
    let stalled = state_of(&rig, &session, ClientState::Stalled).await;
    assert!(stalled.queued_bytes > 0 && stalled.behind > 0, "{stalled:?}");
    assert_eq!(rig.clients.kick(&stalled.address.ip().to_string()).await.len(), 1);
}
