//! `view: "clean"`: flagged rows are left out wherever a topic is read from, and what covers them says how many they are.

mod rig;

use std::time::Duration;

use rig::attic::{Attic, fill_with, rig_with};
use rig::ticket::{client, resume};
use rig::{BOOK, QUOTE, Rig, TRADE, Ws, ids, quote, snapshot, t, trade, validity};
use serde_json::{Value, json};
use wholetape_gateway::GatewayConfig;
use wholetape_model::{RowFlags, ValidityState};
use wholetape_tape::TapeConfig;
use wholetape_wire::client::Happening;

const BAD: RowFlags = RowFlags::BAD_PRICE;

/// What is on the tape, seq by seq: whether it is flagged. Trades have their seq as id.
#[derive(Default)]
struct Model(Vec<bool>);

impl Model {
    fn is_left_out(&self, seq: u64) -> bool {
        self.0[seq as usize - 1]
    }

    fn head(&self) -> u64 {
        self.0.len() as u64
    }

    /// The newest that is given.
    fn clean_head(&self) -> u64 {
        (1..=self.head()).rev().find(|seq| !self.is_left_out(*seq)).unwrap_or(0)
    }

    /// So many of these are left out.
    fn left_out(&self, seqs: std::ops::RangeInclusive<u64>) -> u64 {
        seqs.filter(|seq| self.is_left_out(*seq)).count() as u64
    }

    /// Checks a message against what lies between it and `at`: all of that is left out, it is not, and it says how many.
    fn check(&self, at: u64, m: &Value) -> u64 {
        let seq = m["seq"].as_u64().unwrap();
        assert_eq!(m["prev"].as_u64().unwrap_or(seq - 1), at, "{m}");
        assert_eq!(self.left_out(at + 1..=seq - 1), seq - 1 - at, "nothing else is between: {m}");
        assert!(!self.is_left_out(seq), "{m}");
        assert_eq!(m["omitted"].as_u64().unwrap_or(0), seq - 1 - at, "{m}");
        assert!(m.get("flags").is_none() || m["op"] == "mark", "{m}");
        seq
    }

    /// Appends so many, flagged as `dice` falls, in runs; now and then a mark, which is never left out although it is flagged.
    fn fill(&mut self, rig: &mut Rig, n: u64, dice: &mut Dice) {
        let mut flagged = false;
        let first = self.head() + 1;
        fill_with(rig, first..=first + n - 1, |id| {
            if dice.below(7) == 0 {
                flagged = !flagged;
            }
            let mark = dice.below(40) == 0;
            self.0.push(flagged && !mark);
            let view = if mark { validity(ValidityState::Live) } else { trade(id) };
            (view, if flagged { BAD } else { RowFlags::default() })
        });
    }
}

/// Repeatable chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

async fn ask(ws: &mut Ws, topic: &str, from: Value) {
    ws.send(json!({"op": "sub", "id": 7, "topic": topic, "from": from, "view": "clean"})).await;
}

async fn sub(ws: &mut Ws, topic: &str, from: Value) -> Value {
    ask(ws, topic, from).await;
    let m = ws.next().await;
    assert_eq!((&m["op"], &m["view"]), (&json!("subd"), &json!("clean")), "{m}");
    ws.rule.on_text(&m.to_string(), &mut Vec::new());
    m
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, text) = rig.get("/metrics").await;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Flagged and not, one by one.
fn trades(rig: &mut Rig, all: &[(u64, bool)]) {
    for (id, flagged) in all {
        rig.append_only(TRADE, trade(*id), if *flagged { BAD } else { RowFlags::default() });
    }
    rig.lane.commit().unwrap();
}

#[tokio::test]
async fn live_rows_that_are_flagged_are_covered_by_the_next_message() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1);
    let (mut clean, mut second, mut all) = (rig.client().await, rig.client().await, rig.client().await);
    for ws in [&mut clean, &mut second] {
        assert_eq!(sub(ws, TRADE, json!("live")).await["seq"], 1);
    }
    let subd = all.sub(TRADE, json!("live")).await;
    assert!(subd.get("view").is_none());
    trades(&mut rig, &[(2, false), (3, true), (4, true), (5, false), (6, true)]);
    rig.append_only(TRADE, validity(ValidityState::Live), BAD);
    rig.lane.commit().unwrap();
    trades(&mut rig, &[(8, false), (9, true)]);
    assert_eq!(all.apply(8).await.len(), 8);
    for ws in [&mut clean, &mut second] {
        let got = ws.apply(4).await;
        let told: Vec<[Option<u64>; 3]> =
            got.iter().map(|m| [&m["prev"], &m["seq"], &m["omitted"]].map(Value::as_u64)).collect();
        let whole = |seq| [None, Some(seq), None];
        assert_eq!(told, [whole(2), [Some(2), Some(5), Some(2)], [Some(5), Some(7), Some(1)], whole(8)]);
        assert_eq!((&got[1]["data"]["id"], &got[2]["op"]), (&json!(5), &json!("mark")));
    }
    // What is left out at the end is told by what comes next, whenever that is.
    trades(&mut rig, &[(10, true), (11, false)]);
    assert_eq!((clean.apply(1).await[0]["omitted"].clone(), all.apply(2).await.len()), (json!(2), 2));
    // Each message is encoded once for all; a message that says more is copied, not encoded.
    assert_eq!(metric(&rig, "gateway_encoded_messages_total").await, 10);
    assert_eq!(metric(&rig, "gateway_encoded_behind_messages_total").await, 0);
    second.apply(1).await;
    assert_eq!(metric(&rig, "gateway_omitted_total").await, 2 * 5);
}

/// Whoever waits at a tail of flagged rows has everything there is: no head tells it otherwise.
#[tokio::test]
async fn heads_do_not_speak_of_what_is_left_out() {
    let mut rig =
        Rig::with(GatewayConfig { hb: Duration::from_secs(1), ..GatewayConfig::default() }, TapeConfig::default())
            .await;
    trades(&mut rig, &[(1, false), (2, false), (3, true), (4, true)]);
    let (mut early, mut late, mut all) = (rig.client().await, rig.client().await, rig.client().await);
    sub(&mut early, TRADE, json!("earliest")).await;
    all.sub(TRADE, json!("earliest")).await;
    assert_eq!(sub(&mut late, TRADE, json!("live")).await["seq"], 4);
    early.apply(2).await;
    let head = |m: &Value| m["heads"][TRADE][1].as_u64();
    assert_eq!(head(&early.said("hb").await), Some(2));
    assert_eq!(head(&late.said("hb").await), Some(4));
    assert_eq!(head(&all.said("hb").await), Some(4));
    trades(&mut rig, &[(5, false), (6, true)]);
    assert_eq!((&early.apply(1).await[0]["prev"], &late.apply(1).await[0]["seq"]), (&json!(2), &json!(5)));
    for ws in [&mut early, &mut late] {
        assert_eq!(head(&ws.said("hb").await), Some(5));
    }
}

/// The history, the tape and the ring give the same rows, whose ranges partition the seqs, wherever the reading is cut.
#[tokio::test]
async fn clean_is_the_same_wherever_it_is_read_and_wherever_it_is_cut() {
    for seed in 1..=3 {
        let (mut dice, mut model) = (Dice(seed), Model::default());
        let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
        model.fill(&mut rig, 2_000, &mut dice);
        attic.store(&t(TRADE), 1_900);
        rig.tape.check_space();
        let held = |rig: &Rig| rig.tape.topics().iter().find(|t| t.topic.as_str() == TRADE).unwrap().oldest;
        assert!(held(&rig) > 300, "the tape has let go of much");
        let (mut ws, mut ticket) = client(&rig).await;
        sub(&mut ws, TRADE, json!("earliest")).await;
        let (mut at, mut left_out, mut cuts) = (0, 0, 0);
        while at < 4_000 {
            if model.head() < 4_000 && (at > 1_500 || dice.below(4) == 0) {
                // While it is read; what is stored goes from the tape.
                let n = 1 + dice.below(150);
                let n = n.min(4_000 - model.head());
                model.fill(&mut rig, n, &mut dice);
                if dice.below(3) == 0 {
                    attic.store(&t(TRADE), model.head());
                    rig.tape.check_space();
                }
            }
            let end = model.clean_head();
            let until = if model.head() < 4_000 { end } else { end.max(at) };
            let mut n = dice.below(200);
            while at < until && n > 0 {
                let m = &ws.apply(1).await[0];
                left_out += m["omitted"].as_u64().unwrap_or(0);
                at = model.check(at, m);
                n -= 1;
            }
            if model.head() >= 4_000 && at >= end {
                break;
            }
            cuts += 1;
            match dice.below(4) {
                0 => {
                    let rule = std::mem::take(&mut ws.rule);
                    drop(ws);
                    let (next, m) = resume(&rig, rule, &mut ticket).await;
                    ws = next;
                    let n = m["topics"][TRADE]["n"].as_u64().unwrap();
                    assert!(n <= model.head() - at - model.left_out(at + 1..=model.head()), "as many follow: {m}");
                }
                1 => {
                    let (next, new) = client(&rig).await;
                    (ws, ticket) = (next, new);
                    sub(&mut ws, TRADE, json!({"epoch": rig.tape.epoch(), "seq": at})).await;
                }
                2 => {
                    // Messages on their way are ignored; then from there.
                    let text = ws.rule.request_resync(TRADE).unwrap();
                    ws.send_text(&text).await;
                    loop {
                        let m = ws.next().await;
                        let mut out = Vec::new();
                        ws.rule.on_text(&m.to_string(), &mut out);
                        assert!(!out.iter().any(|h| matches!(h, Happening::Apply { .. })), "{m}");
                        if m["op"] == "resumed" {
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        assert_eq!(left_out, model.left_out(1..=model.clean_head()), "all that was left out was told");
        assert!(cuts > 20 && left_out > 1_000, "{cuts} cuts, {left_out} left out");
        // And live, behind a tail that is told then.
        model.0.extend([true, false]);
        trades(&mut rig, &[(model.head() - 1, true), (model.head(), false)]);
        model.check(at, &ws.apply(1).await[0]);
    }
}

/// Rows by time: numbers count what is given, so that `i` goes on wherever it was broken off.
#[tokio::test]
async fn history_by_time_leaves_out_too_and_goes_on_at_any_row() {
    for seed in 1..=3 {
        let (mut dice, mut model) = (Dice(100 + seed), Model::default());
        let (mut rig, _attic): (Rig, std::sync::Arc<Attic>) = rig_with(GatewayConfig::default()).await;
        model.fill(&mut rig, 2_500, &mut dice);
        let want: Vec<u64> = (1..=2_500).filter(|seq| !model.is_left_out(*seq)).collect();
        let (mut got, mut left_out, mut from) = (Vec::new(), 0, json!({"ts": 0}));
        let mut ws = rig.client().await;
        ask(&mut ws, TRADE, from.clone()).await;
        let mut parts = 0;
        loop {
            let m = ws.next().await;
            if m["op"] == "subd" {
                assert_eq!((&m["seq"], &m["view"]), (&json!(2_500), &json!("clean")));
                ws.rule.on_text(&m.to_string(), &mut Vec::new());
                break;
            }
            assert_eq!(m["op"], "hist", "{m}");
            let rows = m["data"].as_array().unwrap();
            assert!(rows.iter().all(|row| row.get("flags").is_none() || row["op"] == "mark"));
            got.extend(rows.iter().map(|row| row["seq"].as_u64().unwrap()));
            left_out += m["omitted"].as_u64().unwrap_or(0);
            assert_eq!(m["i"], got.len() as u64, "rows that were given");
            parts += 1;
            if dice.below(2) == 0 {
                // From some row of the batch on again, as if the others had been lost on the way.
                let back = dice.below(rows.len() as u64 + 1) as usize;
                got.truncate(got.len() - back);
                left_out = got.last().map_or(0, |last| model.left_out(1..=*last));
                from = json!({"ts": 0, "asof": 2_500, "i": got.len(), "epoch": rig.tape.epoch()});
                ws = rig.client().await;
                ask(&mut ws, TRADE, from.clone()).await;
            }
        }
        assert!(got == want, "{} of {} rows in {parts} parts, from {from}", got.len(), want.len());
        assert_eq!(left_out, model.left_out(1..=2_500), "those behind the last row too");
        // Behind P by the one rule.
        let (mut at, n) = (2_500, model.head());
        model.fill(&mut rig, 200, &mut dice);
        while at < model.clean_head() && at >= n {
            at = model.check(at, &ws.apply(1).await[0]);
        }
        ws.send(json!({"op": "unsub", "topic": TRADE})).await;
        ws.said("ok").await;
        // More rows than there are.
        ask(&mut ws, TRADE, json!({"ts": 0, "asof": 2_500, "i": want.len() + 1})).await;
        assert_eq!(ws.said("err").await["code"], 2007);
    }
}

#[tokio::test]
async fn the_state_of_a_quote_is_the_newest_that_is_not_flagged() {
    let mut rig = Rig::new().await;
    for id in 1..=3 {
        rig.append(QUOTE, quote(id));
    }
    for id in 4..=60 {
        rig.append_only(QUOTE, quote(id), RowFlags::WIDE_SPREAD);
    }
    rig.lane.commit().unwrap();
    let (mut clean, mut all) = (rig.client().await, rig.client().await);
    sub(&mut clean, QUOTE, json!("live")).await;
    all.sub(QUOTE, json!("live")).await;
    let (ours, theirs) = (&clean.apply(1).await[0], &all.apply(1).await[0]);
    let told = |m: &Value| (m["op"].clone(), m["seq"].clone(), m["data"]["update_id"].clone());
    assert_eq!(told(ours), (json!("snap"), json!(60), json!(3)));
    assert_eq!(told(theirs), (json!("snap"), json!(60), json!(60)));
    rig.append_only(QUOTE, quote(61), RowFlags::CROSSED);
    rig.append(QUOTE, quote(62));
    let next = &clean.apply(1).await[0];
    assert_eq!((&next["prev"], &next["seq"], &next["omitted"]), (&json!(60), &json!(62), &json!(1)));
    // A topic of which nothing is clean has no state yet.
    let other = "quote.ETHUSDT.BINANCE";
    rig.append_only(other, quote(1), BAD);
    rig.lane.commit().unwrap();
    sub(&mut clean, other, json!("live")).await;
    rig.append(other, quote(2));
    let first = &clean.apply(1).await[0];
    assert_eq!((&first["op"], &first["seq"]), (&json!("data"), &json!(2)));
}

/// Who was given all there is, is not behind, however much was left out; and that is not counted as given.
#[tokio::test]
async fn what_is_left_out_makes_nobody_slow_and_owes_no_acknowledgement() {
    let limits = wholetape_wire::reply::Limits { inflight: 2, ..Default::default() };
    let mut rig = Rig::with(GatewayConfig { limits, ..GatewayConfig::default() }, TapeConfig::default()).await;
    trades(&mut rig, &[(1, false)]);
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "topic": TRADE, "view": "clean", "ack": "cum", "policy": "disconnect", "lag": 20}))
        .await;
    let subd = ws.next().await;
    ws.rule.on_text(&subd.to_string(), &mut Vec::new());
    for id in 2..=500 {
        trades(&mut rig, &[(id, id != 250)]);
        if id % 10 == 0 {
            // Up to here it has been served.
            ws.send(json!({"op": "ping"})).await;
            loop {
                let m = ws.next().await;
                ws.rule.on_text(&m.to_string(), &mut Vec::new());
                if m["op"] == "pong" {
                    break;
                }
                assert_eq!((&m["seq"], &m["prev"], &m["omitted"]), (&json!(250), &json!(1), &json!(248)));
            }
        }
    }
    trades(&mut rig, &[(501, false), (502, false)]);
    let m = &ws.apply(1).await[0];
    assert_eq!((&m["prev"], &m["seq"], &m["omitted"]), (&json!(250), &json!(501), &json!(250)));
    ws.send(json!({"op": "ack", "a": {TRADE: 501}})).await;
    assert_eq!(ids(&ws.apply(1).await), [502]);
}

#[tokio::test]
async fn what_cannot_be_seen_clean_is_refused() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.append(QUOTE, quote(1));
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    for more in [
        json!({"topic": BOOK}),
        json!({"topic": "*.BTCUSDT.*"}),
        json!({"topic": QUOTE, "conflate": "100ms"}),
        json!({"topic": BOOK, "depth": 10}),
        json!({"topic": QUOTE, "policy": "conflate"}),
    ] {
        let mut ask = json!({"op": "sub", "id": 3, "view": "clean"});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ws.send(ask).await;
        let e = ws.next().await;
        assert_eq!(
            (&e["op"], &e["id"], &e["code"], &e["path"]),
            (&json!("err"), &json!(3), &json!(1003), &json!("view")),
            "{more}"
        );
    }
    let subd = sub(&mut ws, QUOTE, json!("live")).await;
    assert_eq!(subd["seq"], 1);
}
