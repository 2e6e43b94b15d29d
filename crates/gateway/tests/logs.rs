//! Log lines about clients: one for each episode of slowness, one for each ban, with what an operator needs to act on them.

mod rig;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rig::{BOOK, QUOTE, Rig, TRADE, Ws, delta, patient, quote, snapshot};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::clients::{Client, ClientState, TopicState};
use wholetape_model::RowFlags;
use wholetape_tape::TapeConfig;

/// Every event of this thread, one line each: `name=value`, the message as `message=…`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wholetape")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Lines {
    fn of(&self, message: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|l| l.contains(&format!("message={message} "))).cloned().collect()
    }
}

async fn client_is(rig: &Rig, what: &str, f: impl Fn(&Client) -> bool) -> Client {
    let began = Instant::now();
    loop {
        let all = rig.clients.list().await;
        if let Some(c) = all.iter().find(|c| f(c)) {
            return c.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never {what}: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Appends more than a socket that is not read takes (tens of MB), and reads until there is room for the turn that finds how far it is behind.
async fn overrun(rig: &mut Rig, ws: &mut Ws, lines: &Lines, want: usize, next: &mut u64) {
    for _ in 0..60 {
        for _ in 0..5_000 {
            rig.append_only(TRADE, rig::trade(*next), RowFlags::default());
            *next += 1;
        }
        rig.lane.commit().unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    while lines.of("a client is slow").len() < want {
        let m = ws.next().await;
        ws.rule.on_text(&m.to_string(), &mut Vec::new());
        assert!(began.elapsed() < Duration::from_secs(120), "never slow");
    }
}

async fn read_to(ws: &mut Ws, seq: u64) {
    while ws.rule.state(TRADE).is_none_or(|s| s.last < seq) {
        let m = ws.next().await;
        ws.rule.on_text(&m.to_string(), &mut Vec::new());
    }
}

#[tokio::test]
async fn an_episode_of_slowness_is_one_line() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "id": 1, "topic": TRADE, "policy": "drop_oldest", "lag": 1_000})).await;
    let subd = ws.next().await;
    ws.rule.on_text(&subd.to_string(), &mut Vec::new());
    let session = rig.clients.list().await[0].session.clone();
    let mut next = 2;
    for episode in 1..=2 {
        overrun(&mut rig, &mut ws, &lines, episode, &mut next).await;
        // While it stays slow there is nothing new to tell.
        for _ in 0..3 {
            for _ in 0..3_000 {
                rig.append_only(TRADE, rig::trade(next), RowFlags::default());
                next += 1;
            }
            rig.lane.commit().unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let told = lines.of("a client is slow");
        assert_eq!(told.len(), episode, "{told:?}");
        let line = &told[episode - 1];
        for part in [
            format!("session={session:?}"),
            "address=127.0.0.1:".to_owned(),
            format!("topic={TRADE}"),
            "class=\"trade\"".to_owned(),
            "policy=\"drop_oldest\"".to_owned(),
        ] {
            assert!(line.contains(&part), "{part} in {line}");
        }
        let behind = line.split("behind=").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
        assert!(behind > 1_000, "{line}");
        read_to(&mut ws, next - 1).await;
        client_is(&rig, "live", |c| c.topics.iter().all(|t| t.state == TopicState::Live && t.behind == 0)).await;
    }
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_slow_total{policy=\"drop_oldest\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn a_ban_is_one_line_with_its_reason() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let config = GatewayConfig { ban: Duration::from_secs(77), ..GatewayConfig::default() };
    let rig = Rig::with(config, TapeConfig::default()).await;
    let mut ws = rig.client().await;
    let session = rig.clients.list().await[0].session.clone();
    for _ in 0..4 {
        ws.send(json!({"op": "nonsense"})).await;
    }
    ws.send_text("{").await;
    assert_eq!(ws.closed().await, 4303);
    let told = lines.of("a client is banned");
    assert_eq!(told.len(), 1, "{told:?}");
    for part in
        [&format!("session={session:?}"), "address=127.0.0.1:", "reason=\"BAD_JSON\"", "violations=5", "ban_s=77"]
    {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
}

#[tokio::test]
async fn subscriptions_are_counted_by_how_they_do() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.append(QUOTE, quote(1));
    rig.trades(1..=20);
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "topic": BOOK, "depth": 10})).await;
    ws.send(json!({"op": "sub", "topic": QUOTE})).await;
    ws.send(json!([{"op": "sub", "topic": TRADE, "from": "earliest"}, {"op": "flow", "topic": TRADE, "credit": 5}]))
        .await;
    rig.append(BOOK, delta(2));
    let c = client_is(&rig, "all three", |c| c.state == ClientState::Uncredited && c.by_state[0] == 0).await;
    let states: Vec<_> = c.topics.iter().map(|t| (t.topic.as_str(), t.state)).collect();
    let want = [(BOOK, TopicState::Viewing), (QUOTE, TopicState::Live), (TRADE, TopicState::Uncredited)];
    assert_eq!((states.as_slice(), c.by_state.iter().sum::<u64>()), (want.as_slice(), 3));
    let (_, metrics) = rig.get("/metrics").await;
    for (state, n) in [("viewing", 1), ("live", 1), ("uncredited", 1), ("behind", 0)] {
        let line = format!("gateway_client_topic_states{{state=\"{state}\"}} {n}");
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
}
