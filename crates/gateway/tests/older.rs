//! Positions older than the tape: whoever follows the one rule gets each seq once, or `missed` for exactly what nobody holds.

mod rig;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, TestRunner};
use rig::attic::{Attic, fill, rig_with};
use rig::{BOOK, QUOTE, Rig, TRADE, Ws, delta, ids, patient, quote, snapshot, t, validity};
use serde_json::{Value, json};
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, RowFlags, ValidityState};
use wholetape_wire::BookView;
use wholetape_wire::client::{Happening, apply_book};

/// The position before the tape's oldest record.
fn earliest(rig: &Rig, topic: &str) -> u64 {
    rig.tape.topics().iter().find(|s| s.topic == t(topic)).map_or(0, |s| s.oldest - 1)
}

/// What a client was given of one topic: seqs of messages, the seqs missed, and everything as received.
#[derive(Default)]
struct Got {
    seqs: Vec<u64>,
    missed: BTreeSet<u64>,
    all: Vec<Value>,
}

/// Seqs as ranges: what a failing test prints.
fn runs(seqs: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for seq in seqs {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == seq => *to = seq,
            _ => runs.push((seq, seq)),
        }
    }
    runs
}

/// Follows the one rule until the client stands at `head`.
async fn follow(ws: &mut Ws, topic: &str, head: u64) -> Got {
    let mut got = Got::default();
    read_on(ws, topic, head, &mut got).await;
    got
}

async fn read_on(ws: &mut Ws, topic: &str, head: u64, got: &mut Got) {
    while ws.rule.state(topic).is_none_or(|s| s.last < head) {
        let mut out = Vec::new();
        let frame = ws.next().await;
        ws.rule.on_text(&frame.to_string(), &mut out);
        got.take(out);
    }
}

impl Got {
    fn take(&mut self, happenings: Vec<Happening>) {
        for h in happenings {
            match h {
                Happening::Apply { to, message, .. } => {
                    self.seqs.push(to);
                    self.all.push(message);
                }
                Happening::Missed { from, to, .. } => self.missed.extend(from..=to),
                Happening::Said(m) => assert_ne!(m["op"], "err", "{m}"),
                Happening::Subscribed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn sub(ws: &mut Ws, topic: &str, from: Value, got: &mut Got) -> Value {
    ws.send(json!({"op": "sub", "id": 1, "topic": topic, "from": from})).await;
    let m = ws.next().await;
    let mut out = Vec::new();
    ws.rule.on_text(&m.to_string(), &mut out);
    got.take(out);
    m
}

#[tokio::test]
async fn every_position_is_served_across_the_seam() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 2_900);
    rig.tape.check_space();
    let begin = earliest(&rig, TRADE);
    assert!((1_000..2_900).contains(&begin), "the tape let go of {begin}");
    let epoch = rig.tape.epoch().to_owned();
    for position in [0, 1, 49, 50, 51, begin - 1, begin, begin + 1, 2_899, 2_900, 2_901, 3_000] {
        let mut ws = rig.client().await;
        let mut got = Got::default();
        let subd = sub(&mut ws, TRADE, json!({"epoch": epoch, "seq": position}), &mut got).await;
        assert_eq!((&subd["seq"], &subd["missed"]), (&json!(position), &Value::Null), "{subd}");
        read_on(&mut ws, TRADE, 3_000, &mut got).await;
        assert_eq!(runs(got.seqs), runs(position + 1..=3_000), "from {position}");
    }
    // Live goes on behind it.
    let mut ws = rig.client().await;
    assert_eq!(ws.sub(TRADE, json!("earliest")).await["seq"], 0);
    rig.trades(3_001..=3_050);
    assert_eq!(runs(ids(&ws.apply(3_050).await)), runs(1..=3_050));
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_history_failures_total 0\n"), "{metrics}");
    assert!(!metrics.contains("\ngateway_history_messages_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn last_counts_messages_into_the_history() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 3_000);
    rig.tape.check_space();
    let begin = earliest(&rig, TRADE);
    attic.lose(&t(TRADE), 801..=900);
    for (n, seq) in [(10, 2_990), (3_000 - begin, begin), (3_001 - begin, begin - 1), (2_000, 1_000), (2_100, 900)] {
        let mut ws = rig.client().await;
        assert_eq!(ws.sub(TRADE, json!({"last": n})).await["seq"], seq, "last {n}");
        assert_eq!(runs(ids(&ws.apply(n as usize).await)), runs(seq + 1..=3_000));
    }
    // Over the hole: as many messages, and the hole is told. More than there are: all of them.
    for (n, seq) in [(2_110, 790), (2_899, 1), (2_900, 0), (1_000_000, 0)] {
        let (mut ws, mut got) = (rig.client().await, Got::default());
        assert_eq!(sub(&mut ws, TRADE, json!({"last": n}), &mut got).await["seq"], seq, "last {n}");
        read_on(&mut ws, TRADE, 3_000, &mut got).await;
        assert_eq!(runs(got.seqs), runs((seq + 1..=800).chain(901..=3_000)), "last {n}");
        assert_eq!(runs(got.missed), runs(801..=900), "last {n}");
    }
}

#[tokio::test]
async fn what_nobody_holds_is_told() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 3_000);
    rig.tape.check_space();
    for range in [1..=100, 500..=600] {
        attic.lose(&t(TRADE), range);
    }
    let epoch = rig.tape.epoch().to_owned();
    let (mut ws, mut got) = (rig.client().await, Got::default());
    let subd = sub(&mut ws, TRADE, json!({"epoch": epoch, "seq": 20}), &mut got).await;
    assert_eq!((&subd["seq"], &subd["missed"]), (&json!(100), &json!({"from": 21, "to": 100, "why": "retention"})));
    read_on(&mut ws, TRADE, 3_000, &mut got).await;
    assert_eq!(runs(got.seqs), runs((101..500).chain(601..=3_000)));
    assert_eq!(runs(got.missed), runs((21..=100).chain(500..=600)));
    // The oldest held begins without a word.
    let mut ws = rig.client().await;
    let subd = ws.sub(TRADE, json!("earliest")).await;
    assert_eq!((&subd["seq"], &subd["missed"]), (&json!(100), &Value::Null));
    // A resync is answered alike.
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    ws.send(json!({"op": "resync", "id": 5, "topic": TRADE, "pos": [epoch, 20]})).await;
    let missed = json!({"r": "missed", "epoch": epoch, "from": 21, "to": 100, "why": "retention"});
    assert_eq!(ws.next().await["topics"][TRADE], missed);
    assert_eq!(ws.next().await["seq"], 101);
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    ws.send(json!({"op": "resync", "id": 5, "topic": TRADE, "pos": [epoch, 200]})).await;
    let how = ws.next().await["topics"][TRADE].clone();
    assert_eq!(how["r"], "replay", "{how}");
    assert!((1..=2_700).contains(&how["n"].as_u64().unwrap()), "{how}");
    assert_eq!(ws.next().await["seq"], 201);
}

/// Whatever was stored, lost and let go, and wherever a client stands: each seq once, or missed where the model has none.
#[test]
fn any_position_in_any_past_is_made_whole() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let strategy = (
        50_u64..2_500,
        0.0..=1.0,
        proptest::collection::vec((0_u64..2_500, 1_u64..200), 0..4),
        proptest::collection::vec(0.0..=1.0, 1..6),
    );
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |(head, stored, lost, positions)| {
            runtime.block_on(async {
                let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
                fill(&mut rig, 1..=head);
                attic.store(&t(TRADE), (head as f64 * stored) as u64);
                rig.tape.check_space();
                for (from, n) in lost {
                    attic.lose(&t(TRADE), from..=from + n);
                }
                let held: BTreeSet<u64> = attic.look(&t(TRADE), |s| s.rows.keys().copied().collect());
                let epoch = rig.tape.epoch().to_owned();
                for position in positions {
                    let position = (head as f64 * position) as u64;
                    let (mut ws, mut got) = (rig.client().await, Got::default());
                    let before = earliest(&rig, TRADE);
                    sub(&mut ws, TRADE, json!({"epoch": epoch, "seq": position}), &mut got).await;
                    read_on(&mut ws, TRADE, head, &mut got).await;
                    let after = earliest(&rig, TRADE);
                    assert_eq!(before, after, "the tape is at rest");
                    let want = |seq: &u64| *seq > after || held.contains(seq);
                    assert_eq!(runs(got.seqs), runs((position + 1..=head).filter(want)));
                    assert_eq!(runs(got.missed), runs((position + 1..=head).filter(|s| !want(s))));
                }
                rig.stop().await;
            });
            Ok(())
        })
        .unwrap();
}

/// The client reads, the tape lets go, and what was read from the tape a moment ago is read from the history: more than once.
#[tokio::test]
async fn retention_overtakes_a_reader_again_and_again() {
    let config = patient(GatewayConfig { ring_bytes: 64 << 10, ..GatewayConfig::default() });
    let (mut rig, attic) = rig_with(config).await;
    fill(&mut rig, 1..=1);
    let mut live = rig.client().await;
    live.sub(TRADE, json!("live")).await;
    let (mut old, mut got) = (rig.client().await, Got::default());
    let epoch = rig.tape.epoch().to_owned();
    let mut head = 1;
    let mut add = |rig: &mut Rig, n: u64| {
        fill(rig, head + 1..=head + n);
        head += n;
        attic.store(&t(TRADE), head);
        rig.tape.check_space();
        head
    };
    add(&mut rig, 20_000);
    sub(&mut old, TRADE, json!({"epoch": epoch, "seq": 0}), &mut got).await;
    for round in 1..=12 {
        let head = add(&mut rig, 5_000);
        assert!(earliest(&rig, TRADE) > head - 2_000, "the tape is short");
        read_on(&mut old, TRADE, round * 3_000, &mut got).await;
    }
    let head = add(&mut rig, 10);
    read_on(&mut old, TRADE, head, &mut got).await;
    assert_eq!(runs(got.seqs), runs(1..=head));
    // Who was live and did not read fell off the tape as well.
    let rows = follow(&mut live, TRADE, head).await;
    assert_eq!(runs(rows.seqs), runs(2..=head));
    assert!(got.missed.is_empty() && rows.missed.is_empty());
    assert_eq!(old.rule.resyncs() + live.rule.resyncs(), 0);
}

#[tokio::test]
async fn a_slow_client_holds_no_worker_and_little_memory() {
    let config = patient(GatewayConfig { history_workers: 1, ..GatewayConfig::default() });
    let (mut rig, attic) = rig_with(config).await;
    let total = 60_000;
    fill(&mut rig, 1..=total);
    attic.store(&t(TRADE), total);
    rig.tape.check_space();
    let epoch = rig.tape.epoch().to_owned();
    let mut slow = rig.client().await;
    slow.send(json!({"op": "sub", "topic": TRADE, "from": {"epoch": epoch, "seq": 0}})).await;
    // Until nothing moves any more: socket buffers are full, then what may be read ahead.
    let mut before = usize::MAX;
    while attic.given.load(Ordering::SeqCst) != before {
        before = attic.given.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(before < total as usize, "{before} rows were read for a client that takes none");
    let (mut quick, mut got) = (rig.client().await, Got::default());
    sub(&mut quick, TRADE, json!({"epoch": epoch, "seq": 0}), &mut got).await;
    read_on(&mut quick, TRADE, total, &mut got).await;
    assert_eq!(runs(got.seqs), runs(1..=total));
    let got = follow(&mut slow, TRADE, total).await;
    assert_eq!(runs(got.seqs), runs(1..=total));
}

#[tokio::test]
async fn a_history_that_waits_delays_nobody_else() {
    let (mut rig, attic) = rig_with(GatewayConfig { history_workers: 2, ..GatewayConfig::default() }).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 3_000);
    rig.tape.check_space();
    rig.append(QUOTE, quote(1));
    *attic.wait.lock().unwrap() = Duration::from_secs(15);
    let epoch = rig.tape.epoch().to_owned();
    // More than there are workers, one of them on the connection that is looked at.
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut ws = rig.client().await;
        ws.send(json!({"op": "sub", "topic": TRADE, "from": {"epoch": epoch, "seq": 0}})).await;
        waiting.push(ws);
    }
    let mut ws = waiting.pop().unwrap();
    ws.sub(QUOTE, json!("live")).await;
    ws.apply(1).await;
    let begun = Instant::now();
    let mut delays = Vec::new();
    for id in 2..=100 {
        let at = Instant::now();
        rig.append(QUOTE, quote(id));
        assert_eq!(ws.apply(1).await[0]["data"]["update_id"], id);
        delays.push(at.elapsed());
    }
    delays.sort();
    println!("p50 {:?}, p99 {:?} while the history waits", delays[49], delays[97]);
    assert!(begun.elapsed() < Duration::from_secs(15), "the history still waits");
    assert!(delays[49] < Duration::from_secs(1), "{delays:?}");
    *attic.wait.lock().unwrap() = Duration::ZERO;
    for ws in &mut waiting {
        assert_eq!(runs(follow(ws, TRADE, 3_000).await.seqs), runs(1..=3_000));
    }
}

#[tokio::test]
async fn a_history_that_fails_is_missed_and_counted() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=3_000);
    attic.store(&t(TRADE), 3_000);
    rig.tape.check_space();
    let (begin, epoch) = (earliest(&rig, TRADE), rig.tape.epoch().to_owned());
    for fails_from in [0, 700] {
        attic.fails_from.store(fails_from, Ordering::SeqCst);
        let (mut ws, mut got) = (rig.client().await, Got::default());
        let subd = sub(&mut ws, TRADE, json!({"epoch": epoch, "seq": 10}), &mut got).await;
        assert_eq!(subd["missed"].is_null(), fails_from > 0, "{subd}");
        read_on(&mut ws, TRADE, 3_000, &mut got).await;
        assert_eq!(runs(got.seqs), runs((11..fails_from).chain(begin + 1..=3_000)));
        assert_eq!(runs(got.missed), runs(fails_from.max(11)..=begin));
    }
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_history_failures_total 2\n"), "{metrics}");
    // A history without the topic is no failure: as if there were none.
    attic.fails_from.store(u64::MAX, Ordering::SeqCst);
    attic.lose(&t(TRADE), 0..=u64::MAX);
    for (from, seq, missed) in [
        (json!({"epoch": epoch, "seq": 10}), begin, json!({"from": 11, "to": begin, "why": "retention"})),
        (json!("earliest"), begin, Value::Null),
        (json!({"last": 2_999}), begin, Value::Null),
    ] {
        let mut ws = rig.client().await;
        let subd = ws.sub(TRADE, from).await;
        assert_eq!((&subd["seq"], &subd["missed"]), (&json!(seq), &missed));
        assert_eq!(ws.apply(1).await[0]["seq"], begin + 1);
    }
}

#[tokio::test]
async fn who_leaves_is_read_for_no_more() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    fill(&mut rig, 1..=20_000);
    attic.store(&t(TRADE), 20_000);
    rig.tape.check_space();
    *attic.wait.lock().unwrap() = Duration::from_millis(5);
    let from = json!({"epoch": rig.tape.epoch(), "seq": 0});
    let mut ws = rig.client().await;
    ws.sub(TRADE, from.clone()).await;
    ws.apply(500).await;
    assert!(attic.readers.load(Ordering::SeqCst) > 0);
    ws.send(json!({"op": "unsub", "id": 2, "topic": TRADE})).await;
    assert_eq!(ws.said("ok").await["id"], 2);
    let mut gone = rig.client().await;
    gone.sub(TRADE, from).await;
    gone.apply(500).await;
    drop(gone);
    let ended = async {
        loop {
            let (_, metrics) = rig.get("/metrics").await;
            let open = attic.readers.load(Ordering::SeqCst);
            if open == 0 && metrics.contains("\ngateway_history_subscriptions 0\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("workers end with their clients");
    let given = attic.given.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(attic.given.load(Ordering::SeqCst), given);
    assert!(given < 20_000, "{given}");
}

/// Far more readers than are kept: those that wait let go and open again, and nothing is told twice.
#[tokio::test]
async fn many_readers_share_few() {
    let config = patient(GatewayConfig { history_workers: 2, history_bytes: 64 << 10, ..GatewayConfig::default() });
    let (mut rig, attic) = rig_with(config).await;
    fill(&mut rig, 1..=6_000);
    attic.store(&t(TRADE), 6_000);
    rig.tape.check_space();
    *attic.wait.lock().unwrap() = Duration::from_millis(1);
    let from = json!({"epoch": rig.tape.epoch(), "seq": 0});
    let mut all = Vec::new();
    for _ in 0..12 {
        let mut ws = rig.client().await;
        ws.send(json!({"op": "sub", "topic": TRADE, "from": from})).await;
        all.push(ws);
    }
    let mut most = 0;
    let mut read = Vec::new();
    for ws in &mut all {
        read.push(follow(ws, TRADE, 6_000).await);
        most = most.max(attic.readers.load(Ordering::SeqCst));
    }
    for got in read {
        assert_eq!(runs(got.seqs), runs(1..=6_000));
    }
    assert!(most <= 4, "{most} readers are open at once");
    assert!(attic.opened.load(Ordering::SeqCst) > 12, "some were opened again");
}

fn view_of(messages: &[Value]) -> BookView {
    let mut view = BookView::new();
    messages.iter().filter(|m| m["op"] != "mark").for_each(|m| apply_book(&mut view, m).unwrap());
    view
}

/// 1 500 updates of a book in three stays, each begun by the venue's snapshot or a checkpoint.
async fn book_rig() -> (Rig, Arc<Attic>, BookView) {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    rig.append(BOOK, validity(ValidityState::Syncing));
    rig.append(BOOK, snapshot(1));
    rig.append(BOOK, validity(ValidityState::Live));
    let mut held = BookView::new();
    held.apply(
        wholetape_model::Scales { price: 2, size: 3 },
        wholetape_model::Levels::Native(&[rig::level(1_000, 5), rig::level(999, 7)]),
        wholetape_model::Levels::Native(&[rig::level(1_001, 3)]),
    )
    .unwrap();
    for n in 2..=1_500 {
        rig.append_only(BOOK, delta(n), RowFlags::default());
        if n % 50 == 0 {
            rig.lane.commit().unwrap();
        }
        let wholetape_model::View::Book(b) = delta(n) else { unreachable!() };
        held.apply(wholetape_model::Scales { price: 2, size: 3 }, b.bids, b.asks).unwrap();
        if n % 400 == 0 {
            let levels = |side: &mut dyn Iterator<Item = (wholetape_model::Decimal, wholetape_model::Decimal)>| {
                side.map(|(p, s)| rig::level(p.raw, s.raw)).collect::<Vec<_>>()
            };
            let (bids, asks) = (levels(&mut held.bids()), levels(&mut held.asks()));
            rig.append_only(BOOK, rig::book(BookAction::Checkpoint, n, &bids, &asks), RowFlags::CHECKPOINT);
        }
    }
    rig.lane.commit().unwrap();
    let head = rig.tape.head(&t(BOOK)).unwrap();
    attic.store(&t(BOOK), head);
    rig.tape.check_space();
    assert!(earliest(&rig, BOOK) > 800, "{}", earliest(&rig, BOOK));
    (rig, attic, held)
}

#[tokio::test]
async fn a_book_from_the_past_begins_whole() {
    let (rig, _attic, held) = book_rig().await;
    let head = rig.tape.head(&t(BOOK)).unwrap();
    // The second record is the snapshot. 400 and 800 updates on, checkpoints.
    for (from, seq) in [(json!("earliest"), 2), (json!({"last": 1_300}), 403), (json!({"last": 1_000_000}), 2)] {
        let (mut ws, mut got) = (rig.client().await, Got::default());
        let subd = sub(&mut ws, BOOK, from.clone(), &mut got).await;
        assert_eq!((&subd["seq"], &subd["missed"]), (&json!(seq), &Value::Null), "{from}");
        read_on(&mut ws, BOOK, head, &mut got).await;
        assert_eq!((&got.all[0]["op"], &got.all[0]["seq"]), (&json!("snap"), &json!(seq)));
        assert_eq!(view_of(&got.all).crc(), held.crc(), "{from}");
        assert_eq!(got.missed.len() as u64 + ws.rule.resyncs(), 0);
    }
    // Who has the state goes on with the next update.
    let (mut ws, mut got) = (rig.client().await, Got::default());
    let from = json!({"epoch": rig.tape.epoch(), "seq": 0});
    sub(&mut ws, BOOK, from, &mut got).await;
    read_on(&mut ws, BOOK, head, &mut got).await;
    assert_eq!((&got.all[0]["op"], &got.all[1]["op"]), (&json!("mark"), &json!("snap")));
    assert_eq!(got.all.iter().filter(|m| m["op"] == "snap").count(), 1);
    // Checkpoints are covered by what follows.
    assert_eq!(got.seqs.len() as u64, head - 3);
    assert_eq!(view_of(&got.all[1..]).crc(), held.crc());
}

#[tokio::test]
async fn a_hole_in_a_book_ends_with_a_whole_state() {
    let (rig, attic, held) = book_rig().await;
    let head = rig.tape.head(&t(BOOK)).unwrap();
    // The first checkpoint behind it is record 403.
    attic.lose(&t(BOOK), 100..=120);
    let from = |seq: u64| json!({"epoch": rig.tape.epoch(), "seq": seq});
    for (position, first) in [(50, 100), (105, 106)] {
        let (mut ws, mut got) = (rig.client().await, Got::default());
        sub(&mut ws, BOOK, from(position), &mut got).await;
        read_on(&mut ws, BOOK, head, &mut got).await;
        assert_eq!(runs(got.missed), runs(first..=402), "from {position}");
        let snap = got.all.iter().position(|m| m["op"] == "snap").unwrap();
        assert_eq!(got.all[snap]["seq"], 403);
        assert_eq!(view_of(&got.all[snap..]).crc(), held.crc());
    }
    // Where none follows in the history, the present one is given.
    attic.lose(&t(BOOK), 130..=head);
    let (mut ws, mut got) = (rig.client().await, Got::default());
    sub(&mut ws, BOOK, from(125), &mut got).await;
    read_on(&mut ws, BOOK, head, &mut got).await;
    got.all.push(ws.next().await);
    assert_eq!(got.seqs[..], [126, 127, 128, 129]);
    let snap = got.all.last().unwrap();
    assert_eq!((&snap["op"], &snap["seq"]), (&json!("snap"), &json!(head)));
    assert_eq!(runs(got.missed), runs(130..=head));
    assert_eq!(view_of(&got.all[4..]).crc(), held.crc());
}
