//! Sessions: a client comes back over another connection, goes on where it says, and nobody else can be it.

mod rig;

use std::time::Duration;

use futures_util::StreamExt;
use rig::attic::{fill, rig_with};
use rig::ticket::{Ticket, client, resume};
use rig::{BOOK, QUOTE, Rig, TRADE, Ws, delta, ids, quote, snapshot, t, trade};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use wholetape_gateway::GatewayConfig;
use wholetape_tape::TapeConfig;
use wholetape_wire::client::{Client, Happening};

async fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, text) = rig.get("/metrics").await;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn a_client_that_was_away_goes_on_where_it_was() {
    let mut rig = Rig::new().await;
    rig.trades(1..=5);
    rig.append(BOOK, snapshot(1));
    rig.append(QUOTE, quote(1));
    let (mut ws, mut ticket) = client(&rig).await;
    for topic in [TRADE, BOOK, QUOTE] {
        ws.send(json!({"op": "sub", "topic": topic, "from": "live", "ack": "cum"})).await;
    }
    ws.apply(2).await;
    rig.trades(6..=8);
    assert_eq!(ids(&ws.apply(3).await), [6, 7, 8]);
    let rule = std::mem::take(&mut ws.rule);
    drop(ws);
    // While it is away.
    rig.trades(9..=20);
    for n in 2..=4 {
        rig.append(BOOK, delta(n));
    }
    let (mut ws, m) = resume(&rig, rule, &mut ticket).await;
    assert_eq!((&m["op"], &m["id"], &m["gen"]), (&json!("resumed"), &json!(1), &json!(2)), "{m}");
    assert_eq!(m["topics"][TRADE], json!({"r": "replay", "n": 12, "ch": m["topics"][TRADE]["ch"]}), "{m}");
    assert_eq!((&m["topics"][BOOK]["r"], &m["topics"][BOOK]["n"]), (&json!("replay"), &json!(3)));
    assert_eq!((&m["topics"][QUOTE]["r"], &m["topics"][QUOTE]["n"]), (&json!("replay"), &json!(0)));
    let got = ws.apply(15).await;
    let trades: Vec<u64> = ids(&got);
    assert_eq!(trades, (9..=20).collect::<Vec<_>>());
    // The terms are the session's: these topics are acknowledged.
    ws.send(json!({"op": "ack", "id": 3, "a": {TRADE: 20, BOOK: 4}})).await;
    assert_eq!(ws.said("ok").await["id"], 3);
    rig.trades(21..=22);
    assert_eq!(ids(&ws.apply(2).await), [21, 22]);
    assert_eq!((metric(&rig, "gateway_resumes_total").await, metric(&rig, "gateway_sessions_alone").await), (1, 0));
}

#[tokio::test]
async fn the_connection_before_is_closed_before_the_answer_and_says_nothing_more() {
    let mut rig = Rig::new().await;
    rig.trades(1..=3);
    let (mut old, mut ticket) = client(&rig).await;
    old.sub(TRADE, json!("earliest")).await;
    old.apply(3).await;
    let rule = std::mem::take(&mut old.rule);
    // It half lives: its client is somewhere else by now.
    let (mut new, m) = resume(&rig, rule, &mut ticket).await;
    assert_eq!((&m["op"], &m["gen"]), (&json!("resumed"), &json!(2)), "{m}");
    rig.trades(4..=9);
    assert_eq!(ids(&new.apply(6).await), (4..=9).collect::<Vec<_>>());
    let code = old.closed_at_once().await;
    assert_eq!(code, 4009, "nothing came before its close");
    // An instance that holds the old secret and was overtaken cannot take it back.
    new.send(json!({"op": "ping", "id": 1})).await;
    assert_eq!(new.said("pong").await["id"], 1);
    let stale = Ticket { secret: "r_00".into(), ..ticket.clone() };
    for mut known in [stale, Ticket { session: "s_00".into(), ..ticket.clone() }] {
        let (_, m) = resume(&rig, Client::new(), &mut known).await;
        assert_eq!((&m["op"], &m["code"]), (&json!("err"), &json!(1010)), "{m}");
    }
    assert_eq!(metric(&rig, "gateway_resumes_refused_total").await, 2);
    rig.trades(10..=10);
    assert_eq!(ids(&new.apply(1).await), [10], "the refused ones disturbed nobody");
}

trait ClosedAtOnce {
    async fn closed_at_once(&mut self) -> u16;
}

impl ClosedAtOnce for Ws {
    /// The close code; anything else before it is an error.
    async fn closed_at_once(&mut self) -> u16 {
        match timeout(Duration::from_secs(5), self.socket.next()).await.expect("a close in 5 s") {
            Some(Ok(Message::Close(Some(c)))) => c.code.into(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_answer_locks_nobody_out_and_an_old_secret_ends_with_the_first_word() {
    let mut rig = Rig::new().await;
    rig.trades(1..=3);
    let (mut ws, first) = client(&rig).await;
    ws.sub(TRADE, json!("earliest")).await;
    ws.apply(3).await;
    let mut ticket = first.clone();
    for generation in 2..=4 {
        // The answer is lost each time: the client knows the first secret only.
        let mut lost = first.clone();
        let rule = std::mem::take(&mut ws.rule);
        let (next, m) = resume(&rig, rule, &mut lost).await;
        assert_eq!((&m["op"], &m["gen"]), (&json!("resumed"), &json!(generation)), "{m}");
        assert_ne!(lost.secret, first.secret);
        (ws, ticket) = (next, lost);
    }
    // A word of the client: it has the answer.
    ws.send(json!({"op": "ping", "id": 1})).await;
    ws.said("pong").await;
    let rule = std::mem::take(&mut ws.rule);
    drop(ws);
    let (_, m) = resume(&rig, Client::new(), &mut first.clone()).await;
    assert_eq!(m["code"], 1010, "{m}");
    let (_, m) = resume(&rig, rule, &mut ticket).await;
    assert_eq!((&m["op"], &m["gen"]), (&json!("resumed"), &json!(5)), "{m}");
}

#[tokio::test]
async fn positions_are_answered_topic_by_topic() {
    let mut rig = Rig::new().await;
    rig.trades(1..=3);
    rig.append(BOOK, snapshot(1));
    rig.append(QUOTE, quote(1));
    let raw = "trade-raw.BTCUSDT.BINANCE";
    rig.append(raw, trade(1));
    let epoch = rig.tape.epoch().to_owned();
    let (mut ws, ticket) = client(&rig).await;
    for topic in [TRADE, BOOK, QUOTE, raw] {
        ws.send(json!({"op": "sub", "topic": topic, "from": "live"})).await;
        ws.said("subd").await;
    }
    drop(ws);
    let (mut ws, _) = client(&rig).await;
    let pos = json!({
        TRADE: [epoch, 99], // beyond the head
        BOOK: ["other", 1], // of another epoch
        QUOTE: null,        // without state
        "trade.NEVER.BINANCE": null,
        raw: null,
    });
    ws.send(json!({"op": "resume", "id": 5, "session": ticket.session, "resume": ticket.secret, "pos": pos})).await;
    let m = ws.next().await;
    let topics = &m["topics"];
    assert_eq!(topics[TRADE], json!({"r": "denied", "code": 2007, "name": "BAD_POSITION"}), "{m}");
    let missed = json!({"r": "missed", "epoch": epoch, "from": 1, "to": 1, "why": "epoch", "ch": topics[BOOK]["ch"]});
    assert_eq!(topics[BOOK], missed);
    assert_eq!(topics[QUOTE]["r"], "snap");
    assert_eq!(topics["trade.NEVER.BINANCE"]["code"], 2008);
    assert_eq!((&topics[raw]["r"], &topics[raw]["seq"]), (&json!("replay"), &json!(1)), "where it begins is told");
    let snaps = [ws.next().await, ws.next().await];
    assert!(snaps.iter().all(|m| m["op"] == "snap" && m["seq"] == 1), "{snaps:?}");
    // What was refused may be asked for anew.
    assert_eq!(ws.sub(TRADE, json!("live")).await["op"], "subd");
    // A session is taken before anything else, or not at all.
    ws.send(json!({"op": "resume", "id": 6, "session": "s", "resume": "r", "pos": {}})).await;
    let m = ws.next().await;
    assert_eq!((&m["code"], &m["path"]), (&json!(1003), &json!("op")), "{m}");
}

#[tokio::test]
async fn what_the_tape_let_go_comes_from_the_history() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=3_000);
    let (mut ws, mut ticket) = client(&rig).await;
    ws.sub(TRADE, json!("earliest")).await;
    let had = ws.apply(64).await.len() as u64;
    let rule = std::mem::take(&mut ws.rule);
    let had = rule.state(TRADE).unwrap().last.max(had);
    drop(ws);
    attic.store(&t(TRADE), 2_900);
    rig.tape.check_space();
    let (mut ws, m) = resume(&rig, rule, &mut ticket).await;
    assert_eq!(m["topics"][TRADE]["r"], "replay", "{m}");
    let got = ids(&ws.apply(3_000 - had as usize).await);
    assert_eq!(got, (had + 1..=3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn sessions_end_after_their_time_and_none_is_kept_that_had_nothing() {
    let config = GatewayConfig { session_ttl: Duration::from_secs(1), sessions_max: 2, ..GatewayConfig::default() };
    let mut rig = Rig::with(config, TapeConfig::default()).await;
    rig.trades(1..=1);
    let (ws, mut nothing) = client(&rig).await;
    drop(ws);
    let mut tickets = Vec::new();
    for _ in 0..3 {
        let (mut ws, ticket) = client(&rig).await;
        ws.sub(TRADE, json!("live")).await;
        ws.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = ws.socket.next().await {}
        tickets.push(ticket);
    }
    while metric(&rig, "gateway_connections").await > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(metric(&rig, "gateway_sessions_alone").await, 2, "at most");
    for (ticket, op) in [(&mut nothing, "err"), (&mut tickets[0].clone(), "err"), (&mut tickets[2], "resumed")] {
        assert_eq!(resume(&rig, Client::new(), ticket).await.1["op"], op);
    }
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(resume(&rig, Client::new(), &mut tickets[1]).await.1["code"], 1010);
    assert_eq!(metric(&rig, "gateway_sessions_alone").await, 0);
}

#[tokio::test]
async fn a_client_cut_a_hundred_times_has_all_of_it_once() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1);
    let (mut ws, mut ticket) = client(&rig).await;
    ws.send(json!({"op": "sub", "topic": TRADE, "from": "earliest", "ack": "cum"})).await;
    let subd = ws.next().await;
    ws.rule.on_text(&subd.to_string(), &mut Vec::new());
    let (mut got, mut next) = (Vec::new(), 2);
    for cut in 0..100_u64 {
        rig.trades(next..=next + 6);
        next += 7;
        // Some of it, none of it, all of it.
        let most = [0, 1, 3, 7, 20][cut as usize % 5];
        let mut out = Vec::new();
        while out.iter().filter(|h| matches!(h, Happening::Apply { .. })).count() < most {
            match timeout(Duration::from_millis(if most == 20 { 30 } else { 5_000 }), ws.next()).await {
                Ok(m) => ws.rule.on_text(&m.to_string(), &mut out),
                Err(_) => break,
            }
        }
        for h in out {
            match h {
                Happening::Apply { message, .. } => got.extend(message["data"]["id"].as_u64()),
                Happening::Said(_) | Happening::Subscribed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let rule = std::mem::take(&mut ws.rule);
        // Where it does not say goodbye the old one is still there when the new one comes.
        if cut % 3 == 0 {
            let _ = ws.socket.close(None).await;
        }
        let (new, m) = resume(&rig, rule, &mut ticket).await;
        assert_eq!(m["op"], "resumed", "cut {cut}: {m}");
        let _old = std::mem::replace(&mut ws, new);
    }
    let left = next - 1 - *got.last().unwrap_or(&0);
    got.extend(ids(&ws.apply(left as usize).await));
    assert_eq!(got, (1..next).collect::<Vec<_>>());
}
