//! `from: {"ts"}`: rows in the corrected order as of P, then `subd` at P, then live, with nothing between and nothing twice.

mod rig;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rig::attic::{Attic, Seam};
use rig::{BOOK, QUOTE, Rig, TRADE, Ws, delta, ids, quote, snapshot, t, trade, validity};
use serde_json::{Value, json};
use tempfile::TempDir;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, RowFlags, Ts, ValidityState};
use wholetape_tape::TapeConfig;
use wholetape_wire::BookView;
use wholetape_wire::client::apply_book;

/// When the first row comes; then one a second.
const BEGIN: i64 = 1_790_000_000;

const fn second(n: u64) -> Ts {
    Ts((BEGIN + n as i64) * 1_000_000_000)
}

const fn micros(n: u64) -> i64 {
    second(n).0 / 1_000
}

async fn rig_with(config: GatewayConfig) -> (Rig, Arc<Attic>) {
    let mut attic = None;
    let rig = Rig::open_with(TempDir::new().unwrap(), config, TapeConfig::default(), |tape| {
        Some(Arc::new(Seam(attic.insert(Attic::new(tape)).clone())))
    })
    .await;
    (rig, attic.unwrap())
}

/// Trades with these ids, each at its second.
fn trades(rig: &mut Rig, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        rig.append_at(TRADE, trade(id), RowFlags::default(), second(id));
    }
    rig.lane.commit().unwrap();
}

async fn ask(ws: &mut Ws, topic: &str, from: Value) {
    ws.send(json!({"op": "sub", "id": 7, "topic": topic, "from": from})).await;
}

/// The rows up to `subd`, and that; or until `most` rows have come.
async fn rows(ws: &mut Ws, most: usize) -> (Vec<Value>, Value) {
    let (mut all, mut last) = (Vec::new(), Value::Null);
    let mut i = None;
    while all.len() < most {
        let m = ws.next().await;
        if m["op"] == "hist" {
            let data = m["data"].as_array().unwrap();
            assert_eq!((&m["id"], data.is_empty(), data.len() > 256), (&json!(7), false, false));
            assert!(m.to_string().len() <= 64 << 10);
            if let Some(i) = i.replace(m["i"].as_u64().unwrap()) {
                assert_eq!(m["i"], i + data.len() as u64);
            }
            assert!(data.iter().all(|row| row.get("topic").is_none() && row.get("epoch").is_none()));
            all.extend(data.iter().cloned());
            last = m;
            continue;
        }
        if m["op"] == "hb" {
            continue;
        }
        assert_eq!((&m["op"], &m["id"]), (&json!("subd"), &json!(7)), "{m}");
        ws.rule.on_text(&m.to_string(), &mut Vec::new());
        return (all, m);
    }
    (all, last)
}

#[tokio::test]
async fn rows_in_corrected_order_then_live() {
    let (mut rig, _) = rig_with(GatewayConfig::default()).await;
    trades(&mut rig, 1..=1_000);
    trades(&mut rig, 1_003..=1_200);
    // Healed later, of the time before.
    for id in [1_001, 1_002, 400] {
        rig.append_late(TRADE, trade(id), second(id), second(1_201));
    }
    rig.lane.commit().unwrap();
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(501)})).await;
    let (all, subd) = rows(&mut ws, usize::MAX).await;
    assert_eq!(subd["seq"], 1_201, "P is the head");
    assert_eq!(ids(&all), (501..=1_200).collect::<Vec<_>>());
    assert!(all.iter().all(|row| row["ts"] == micros(row["data"]["id"].as_u64().unwrap())), "the corrected time");
    assert_eq!((&all[0]["seq"], &all[500]["seq"], &all[500]["late"]), (&json!(501), &json!(1_199), &json!("rest")));
    // What comes now follows P.
    trades(&mut rig, 1_201..=1_210);
    assert_eq!(ids(&ws.apply(10).await), (1_201..=1_210).collect::<Vec<_>>());
    // From a time after everything: no rows, and the position.
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(99_999)})).await;
    let (all, subd) = rows(&mut ws, usize::MAX).await;
    assert_eq!((all.len(), &subd["seq"]), (0, &json!(1_211)));
}

/// P is fixed when it is asked: rows that come while the history is read follow `subd`, late ones too.
#[tokio::test]
async fn nothing_is_missing_or_twice_across_the_seam() {
    let (mut rig, attic) = rig_with(GatewayConfig { hb: Duration::from_secs(1), ..GatewayConfig::default() }).await;
    trades(&mut rig, 1..=2_000);
    *attic.wait.lock().unwrap() = Duration::from_millis(60);
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(1)})).await;
    let (mut all, mut heads, mut next) = (Vec::new(), 0, 2_001);
    let subd = loop {
        let m = ws.next().await;
        match m["op"].as_str().unwrap() {
            "hist" => {
                assert_eq!((&m["asof"], &m["epoch"]), (&json!(2_000), &json!(rig.tape.epoch())));
                all.extend(m["data"].as_array().unwrap().iter().cloned());
                trades(&mut rig, next..=next);
                rig.append_late(TRADE, trade(next + 500_000), second(5), second(next));
                rig.lane.commit().unwrap();
                next += 1;
            }
            "hb" => {
                assert_eq!(m["heads"], json!({}), "it is not open yet");
                heads += 1;
            }
            _ => break m,
        }
    };
    assert_eq!(ids(&all), (1..=2_000).collect::<Vec<_>>());
    assert_eq!((&subd["op"], &subd["seq"]), (&json!("subd"), &json!(2_000)));
    ws.rule.on_text(&subd.to_string(), &mut Vec::new());
    let n = (next - 2_001) as usize;
    assert!(n >= 7 && heads >= 1, "{n} batches, {heads} heartbeats");
    let rows = ws.apply(2 * n).await;
    let want: Vec<u64> = (2_001..next).flat_map(|id| [id, id + 500_000]).collect();
    assert_eq!(ids(&rows), want);
    assert_eq!(ws.rule.resyncs(), 0);
}

#[tokio::test]
async fn a_broken_history_is_taken_up_by_its_number() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    trades(&mut rig, 1..=2_000);
    let epoch = rig.tape.epoch().to_owned();
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(101)})).await;
    let (whole, subd) = rows(&mut ws, usize::MAX).await;
    assert_eq!((whole.len(), &subd["seq"]), (1_900, &json!(2_000)));
    *attic.wait.lock().unwrap() = Duration::from_millis(1);
    for most in [1, 300, 1_000, 1_800] {
        let mut ws = rig.client().await;
        ask(&mut ws, TRADE, json!({"ts": micros(101)})).await;
        let (mut all, last) = rows(&mut ws, most).await;
        drop(ws);
        // The market goes on, and an old row is healed: neither changes what was as of P.
        let head = rig.tape.head(&t(TRADE)).unwrap();
        trades(&mut rig, 3_000..=3_009);
        rig.append_late(TRADE, trade(9_000_000 + head), second(150), second(3_009));
        rig.lane.commit().unwrap();
        let (p, i) = (last["asof"].as_u64().unwrap(), last["i"].as_u64().unwrap());
        assert_eq!((p, i), (head, all.len() as u64));
        let mut ws = rig.client().await;
        ask(&mut ws, TRADE, json!({"ts": micros(101), "asof": p, "i": i, "epoch": epoch})).await;
        let (rest, subd) = rows(&mut ws, usize::MAX).await;
        all.extend(rest);
        assert_eq!(subd["seq"], p);
        assert_eq!(ws.apply(11).await[0]["seq"], p + 1);
        let mut fresh = rig.client().await;
        ask(&mut fresh, TRADE, json!({"ts": micros(101), "asof": p})).await;
        assert_eq!(rows(&mut fresh, usize::MAX).await.0, all, "broken off after {i}");
    }
    // All rows were there: `subd` alone.
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(101), "asof": 2_000, "i": 1_900})).await;
    assert_eq!(rows(&mut ws, usize::MAX).await.0, Vec::<Value>::new());
    for (from, code) in [
        (json!({"ts": micros(101), "asof": 2_000, "i": 1_901}), 2007),
        (json!({"ts": micros(101), "asof": 9_999}), 2007),
        (json!({"ts": micros(101), "asof": 2_000, "epoch": "other"}), 2007),
        (json!({"asof": 2_000}), 1003),
        (json!({"ts": 1, "i": 1}), 1003),
    ] {
        let mut ws = rig.client().await;
        ask(&mut ws, TRADE, from).await;
        let err = ws.next().await;
        assert_eq!((&err["op"], &err["code"], &err["id"]), (&json!("err"), &json!(code), &json!(7)), "{err}");
    }
    let mut ws = rig.client().await;
    ask(&mut ws, "trade.*", json!({"ts": 1, "asof": 1})).await;
    assert_eq!(ws.next().await["path"], "from.asof");
    // Many topics at once, each with its own rows.
    rig.append_at(QUOTE, quote(1), RowFlags::default(), second(1));
    rig.lane.commit().unwrap();
    ask(&mut ws, "*", json!({"ts": micros(1)})).await;
    let mut open = 0;
    while open < 2 {
        let m = ws.next().await;
        open += u32::from(m["op"] == "subd");
        assert!(m["op"] == "hist" || m["op"] == "subd", "{m}");
    }
}

#[tokio::test]
async fn a_history_that_fails_is_an_error_and_can_be_asked_again() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    trades(&mut rig, 1..=2_000);
    attic.fails_from.store(1_200, Ordering::SeqCst);
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(1)})).await;
    let (mut all, mut last) = (Vec::new(), Value::Null);
    let err = loop {
        let m = ws.next().await;
        if m["op"] != "hist" {
            break m;
        }
        all.extend(m["data"].as_array().unwrap().iter().cloned());
        last = m;
    };
    assert_eq!((&err["code"], &err["id"], &err["retry"]), (&json!(5000), &json!(7), &json!(true)), "{err}");
    assert!((1_000..1_200).contains(&all.len()), "{}", all.len());
    attic.fails_from.store(u64::MAX, Ordering::SeqCst);
    ask(&mut ws, TRADE, json!({"ts": micros(1), "asof": last["asof"], "i": last["i"]})).await;
    let (rest, subd) = rows(&mut ws, usize::MAX).await;
    all.extend(rest);
    assert_eq!((ids(&all), &subd["seq"]), ((1..=2_000).collect::<Vec<_>>(), &json!(2_000)));
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_history_failures_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn while_rows_come_the_topic_is_taken_and_can_be_left() {
    let (mut rig, attic) = rig_with(GatewayConfig::default()).await;
    trades(&mut rig, 1..=2_000);
    *attic.wait.lock().unwrap() = Duration::from_secs(3);
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(1)})).await;
    ask(&mut ws, TRADE, json!("live")).await;
    assert_eq!(ws.said("err").await["code"], 2006);
    ws.send(json!({"op": "unsub", "id": 2, "topic": TRADE})).await;
    let left = std::time::Instant::now();
    ws.said("ok").await;
    assert!(left.elapsed() < Duration::from_millis(2_500), "at once: {:?}", left.elapsed());
    assert_eq!(ws.sub(TRADE, json!("live")).await["seq"], 2_000);
    trades(&mut rig, 2_001..=2_001);
    assert_eq!(ids(&ws.apply(1).await), [2_001]);
}

#[tokio::test]
async fn without_a_history_it_is_refused_by_name() {
    let mut rig = Rig::new().await;
    trades(&mut rig, 1..=3);
    let mut ws = rig.client().await;
    ask(&mut ws, TRADE, json!({"ts": micros(1)})).await;
    let err = ws.next().await;
    assert_eq!((&err["code"], &err["path"]), (&json!(1003), &json!("from.ts")));
    assert!(err["msg"].as_str().unwrap().contains("[store]"), "{err}");
}

fn view_of(messages: &[Value]) -> BookView {
    let mut view = BookView::new();
    messages.iter().filter(|m| m["op"] != "mark").for_each(|m| apply_book(&mut view, m).unwrap());
    view
}

#[tokio::test]
async fn a_book_begins_with_its_whole_state_at_that_time() {
    let (mut rig, _) = rig_with(GatewayConfig::default()).await;
    // A snapshot, 19 999 updates (more than five hours), a resync with another snapshot, 100 updates.
    rig.append_at(BOOK, validity(ValidityState::Syncing), RowFlags::default(), second(1));
    rig.append_at(BOOK, snapshot(1), RowFlags::default(), second(1));
    rig.append_at(BOOK, validity(ValidityState::Live), RowFlags::default(), second(1));
    for n in 2..=20_000 {
        rig.append_at(BOOK, delta(n), RowFlags::default(), second(n));
    }
    rig.append_at(BOOK, validity(ValidityState::Syncing), RowFlags::default(), second(20_001));
    rig.append_at(BOOK, snapshot(30_000), RowFlags::default(), second(20_002));
    rig.append_at(BOOK, validity(ValidityState::Live), RowFlags::default(), second(20_002));
    for n in 20_003..=20_103 {
        rig.append_at(BOOK, delta(n + 10_000), RowFlags::default(), second(n));
    }
    rig.append_at(BOOK, rig::book(BookAction::Checkpoint, 30_103, &[], &[]), RowFlags::CHECKPOINT, second(20_103));
    rig.lane.commit().unwrap();
    let mut live = rig.client().await;
    live.sub(BOOK, json!("live")).await;
    let present = view_of(&live.apply(1).await).crc();
    let mut want = BookView::new();
    for (at, seq, state) in
        [(19_000_u64, Some(19_000), "live"), (20_002, Some(20_001 + 2), "syncing"), (99_999, None, "live")]
    {
        let mut ws = rig.client().await;
        ask(&mut ws, BOOK, json!({"ts": micros(at)})).await;
        let (all, subd) = rows(&mut ws, usize::MAX).await;
        assert_eq!((&all[0]["op"], &all[0]["state"]), (&json!("snap"), &json!(state)), "{at}: {}", all[0]);
        if let Some(seq) = seq {
            // The newest message before that second, and its time.
            assert_eq!(all[0]["seq"].as_u64().unwrap() + 1, all[1]["seq"].as_u64().unwrap());
            assert!(
                all[0]["ts"].as_i64().unwrap() < micros(at) && all[1]["ts"].as_i64().unwrap() >= micros(at),
                "{seq}"
            );
        } else {
            assert_eq!(all.len(), 1, "the present state alone");
        }
        assert_eq!(view_of(&all).crc(), present, "{at}");
        assert_eq!(subd["seq"], rig.tape.head(&t(BOOK)).unwrap());
        if at == 19_000 {
            want = view_of(&all[..1]);
            // Taken up in the middle: the state is not repeated.
            let mut ws = rig.client().await;
            ask(&mut ws, BOOK, json!({"ts": micros(at), "asof": subd["seq"], "i": 500})).await;
            assert_eq!(rows(&mut ws, usize::MAX).await.0[..], all[500..]);
        }
    }
    // The state is what the updates before it made.
    let mut ws = rig.client().await;
    ask(&mut ws, BOOK, json!({"ts": 0})).await;
    let (all, _) = rows(&mut ws, usize::MAX).await;
    assert_eq!((&all[0]["op"], &all[0]["seq"]), (&json!("snap"), &json!(2)), "the first whole state there is");
    let before: Vec<Value> = all.iter().take_while(|m| m["ts"].as_i64().unwrap() < micros(19_000)).cloned().collect();
    assert_eq!(view_of(&before).crc(), want.crc());
    // Live goes on behind P.
    rig.append_at(BOOK, delta(40_000), RowFlags::default(), second(20_200));
    rig.lane.commit().unwrap();
    assert_eq!(ws.apply(1).await[0]["vid"], 40_000);
}

#[tokio::test]
async fn a_slow_reader_of_rows_is_read_for_no_further_than_it_takes() {
    let config = rig::patient(GatewayConfig { history_workers: 1, ..GatewayConfig::default() });
    let (mut rig, attic) = rig_with(config).await;
    trades(&mut rig, 1..=60_000);
    let mut slow = rig.client().await;
    ask(&mut slow, TRADE, json!({"ts": micros(1)})).await;
    let mut before = usize::MAX;
    while attic.given.load(Ordering::SeqCst) != before {
        before = attic.given.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(before < 60_000, "{before}");
    // Others use the only worker meanwhile, and what the slow one had open is opened again.
    for _ in 0..2 {
        let mut quick = rig.client().await;
        ask(&mut quick, TRADE, json!({"ts": micros(59_001)})).await;
        assert_eq!(ids(&rows(&mut quick, usize::MAX).await.0), (59_001..=60_000).collect::<Vec<_>>());
    }
    assert_eq!(ids(&rows(&mut slow, usize::MAX).await.0), (1..=60_000).collect::<Vec<_>>());
}
