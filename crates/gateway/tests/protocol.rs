//! One test per rule of the protocol, over a real tape and a real socket.

mod rig;

use rig::{BOOK, QUOTE, Rig, TRADE, delta, ids, quote, snapshot, trade, validity};
use serde_json::json;
use wholetape_model::{BookAction, RowFlags, ValidityState};
use wholetape_wire::BookView;
use wholetape_wire::client::apply_book;

#[tokio::test]
async fn live_starts_behind_the_head_and_follows() {
    let mut rig = Rig::new().await;
    rig.trades(1..=5);
    let mut ws = rig.client().await;
    let subd = ws.sub(TRADE, json!("live")).await;
    assert_eq!((&subd["op"], &subd["seq"], &subd["class"]), (&json!("subd"), &json!(5), &json!("trade")));
    assert_eq!((&subd["epoch"], &subd["id"]), (&json!(rig.tape.epoch()), &json!(1)));
    rig.trades(6..=9);
    assert_eq!(ids(&ws.apply(4).await), [6, 7, 8, 9]);
    rig.append_only(TRADE, trade(10), RowFlags::LATE_REST);
    rig.lane.commit().unwrap();
    let m = ws.apply(1).await.remove(0);
    assert_eq!(
        (&m["late"], &m["data"]["price"], &m["data"]["ts_recv"]),
        (&json!("rest"), &json!("60000.10"), &json!("1790000000000001000"))
    );
}

#[tokio::test]
async fn earliest_last_and_position_read_the_log() {
    let mut rig = Rig::new().await;
    rig.trades(1..=2_000);
    let mut ws = rig.client().await;
    assert_eq!(ws.sub(TRADE, json!("earliest")).await["seq"], 0);
    assert_eq!(ids(&ws.apply(2_000).await), (1..=2_000).collect::<Vec<_>>());
    let mut ws = rig.client().await;
    assert_eq!(ws.sub(TRADE, json!({"last": 3})).await["seq"], 1_997);
    rig.trades(2_001..=2_001);
    assert_eq!(ids(&ws.apply(4).await), [1_998, 1_999, 2_000, 2_001]);
    let mut ws = rig.client().await;
    let epoch = rig.tape.epoch().to_owned();
    assert_eq!(ws.sub(TRADE, json!({"epoch": epoch, "seq": 1_500})).await["seq"], 1_500);
    assert_eq!(ids(&ws.apply(501).await), (1_501..=2_001).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_position_beyond_the_head_is_an_error_and_another_epoch_is_missed() {
    let mut rig = Rig::new().await;
    rig.trades(1..=5);
    let mut ws = rig.client().await;
    let epoch = rig.tape.epoch().to_owned();
    let err = ws.sub(TRADE, json!({"epoch": epoch, "seq": 6})).await;
    assert_eq!((&err["code"], &err["name"]), (&json!(2007), &json!("BAD_POSITION")));
    let subd = ws.sub(TRADE, json!({"epoch": "other", "seq": 3})).await;
    assert_eq!(subd["seq"], 5);
    assert_eq!(subd["missed"], json!({"from": 1, "to": 5, "why": "epoch"}));
    rig.trades(6..=6);
    assert_eq!(ids(&ws.apply(1).await), [6]);
}

#[tokio::test]
async fn a_book_starts_with_a_snapshot_and_stays_equal() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, validity(ValidityState::Syncing));
    rig.append(BOOK, snapshot(1));
    rig.append(BOOK, validity(ValidityState::Live));
    for n in 2..=50 {
        rig.append(BOOK, delta(n));
    }
    let mut ws = rig.client().await;
    assert_eq!(ws.sub(BOOK, json!("live")).await["seq"], 52);
    for n in 51..=350 {
        rig.append(BOOK, delta(n));
    }
    let messages = ws.apply(301).await;
    let snap = &messages[0];
    assert_eq!(
        (&snap["op"], &snap["seq"], &snap["state"], &snap["vid"]),
        (&json!("snap"), &json!(52), &json!("live"), &json!(50))
    );
    let mut view = BookView::new();
    let mut checked = 0;
    for m in &messages {
        apply_book(&mut view, m).unwrap();
        checked += u32::from(m["data"].get("crc").is_some());
    }
    assert!(checked >= 4, "a checksum in the snapshot and in every 100th update: {checked}");
    // A second client gets the same book at once.
    let mut other = rig.client().await;
    other.sub(BOOK, json!("live")).await;
    let mut theirs = BookView::new();
    apply_book(&mut theirs, &other.apply(1).await[0]).unwrap();
    assert_eq!(theirs.crc(), view.crc());
}

#[tokio::test]
async fn checkpoints_are_covered_by_the_next_range() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(BOOK, json!("live")).await;
    ws.apply(1).await;
    rig.append(BOOK, delta(2));
    rig.append(BOOK, rig::book(BookAction::Checkpoint, 2, &[], &[]));
    let mut late = rig.client().await;
    late.sub(BOOK, json!("live")).await;
    late.apply(1).await;
    rig.append(BOOK, delta(3));
    let m = ws.apply(2).await;
    assert_eq!((&m[1]["prev"], &m[1]["seq"]), (&json!(2), &json!(4)));
    let m = late.apply(1).await;
    assert_eq!((m[0]["seq"].clone(), late.rule.resyncs()), (json!(4), 0));
}

#[tokio::test]
async fn marks_and_snapshots_travel_in_their_topic() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(BOOK, json!("live")).await;
    ws.apply(1).await;
    rig.append(BOOK, validity(ValidityState::Syncing));
    rig.append(BOOK, snapshot(9));
    rig.append(BOOK, validity(ValidityState::Live));
    rig.append(BOOK, delta(10));
    let m = ws.apply(4).await;
    assert_eq!((&m[0]["op"], &m[0]["mark"], &m[0]["state"]), (&json!("mark"), &json!("validity"), &json!("syncing")));
    assert_eq!((&m[1]["op"], &m[1]["state"], &m[1]["vid"]), (&json!("snap"), &json!("syncing"), &json!(9)));
    assert_eq!((&m[3]["op"], &m[3]["state"]), (&json!("data"), &json!("live")));
}

#[tokio::test]
async fn a_book_read_from_the_past_begins_with_a_whole_state() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, validity(ValidityState::Syncing));
    rig.append(BOOK, snapshot(1));
    for n in 2..=300 {
        rig.append(BOOK, delta(n));
    }
    let mut live = rig.client().await;
    live.sub(BOOK, json!("live")).await;
    let mut want = BookView::new();
    apply_book(&mut want, &live.apply(1).await[0]).unwrap();
    for from in [json!("earliest"), json!({"last": 10}), json!({"last": 1_000})] {
        let mut ws = rig.client().await;
        let start = ws.sub(BOOK, from.clone()).await["seq"].as_u64().unwrap();
        let messages = ws.apply((301 - start) as usize + 1).await;
        assert_eq!((&messages[0]["op"], &messages[0]["seq"]), (&json!("snap"), &json!(start)), "{from}");
        let mut view = BookView::new();
        messages.iter().for_each(|m| apply_book(&mut view, m).unwrap());
        assert_eq!(view.crc(), want.crc(), "{from}");
    }
}

/// Updates before the first whole state say nothing, and must not stand in for it.
#[tokio::test]
async fn a_book_begins_with_the_checkpoint_that_comes_next() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    for n in 2..=10 {
        rig.append(BOOK, delta(n));
    }
    let mut live = rig.client().await;
    live.sub(BOOK, json!("live")).await;
    let mut want = BookView::new();
    apply_book(&mut want, &live.apply(1).await[0]).unwrap();
    let levels = |side: &mut dyn Iterator<Item = (wholetape_model::Decimal, wholetape_model::Decimal)>| {
        side.map(|(price, size)| rig::level(price.raw, size.raw)).collect::<Vec<_>>()
    };
    let (bids, asks) = (levels(&mut want.bids()), levels(&mut want.asks()));
    rig.append(BOOK, rig::book(BookAction::Checkpoint, 10, &bids, &asks));
    rig.append(BOOK, delta(11));
    apply_book(&mut want, &live.apply(1).await[0]).unwrap();
    let mut ws = rig.client().await;
    assert_eq!(ws.sub(BOOK, json!({"last": 5})).await["seq"], 11);
    let mut view = BookView::new();
    ws.apply(2).await.iter().for_each(|m| apply_book(&mut view, m).unwrap());
    assert_eq!(view.crc(), want.crc());
}

#[tokio::test]
async fn a_quote_starts_with_its_newest_value() {
    let mut rig = Rig::new().await;
    rig.append(QUOTE, quote(1));
    rig.append(QUOTE, quote(2));
    let mut ws = rig.client().await;
    ws.sub(QUOTE, json!("live")).await;
    let m = ws.apply(1).await;
    assert_eq!((&m[0]["op"], &m[0]["seq"], &m[0]["data"]["update_id"]), (&json!("snap"), &json!(2), &json!(2)));
    rig.append(QUOTE, quote(3));
    assert_eq!(ws.apply(1).await[0]["data"]["update_id"], 3);
}

#[tokio::test]
async fn resync_replays_or_snaps() {
    let mut rig = Rig::new().await;
    rig.trades(1..=100);
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!({"last": 1})).await;
    ws.apply(1).await;
    let epoch = rig.tape.epoch().to_owned();
    ws.send(json!({"op": "resync", "id": 7, "topic": TRADE, "pos": [epoch, 90]})).await;
    let m = ws.next().await;
    assert_eq!((&m["op"], &m["id"]), (&json!("resumed"), &json!(7)));
    assert_eq!(m["topics"][TRADE], json!({"r": "replay", "n": 10}));
    let mut rows = Vec::new();
    for _ in 0..10 {
        rows.push(ws.next().await);
    }
    assert_eq!(ids(&rows), (91..=100).collect::<Vec<_>>());
    ws.sub(BOOK, json!("live")).await;
    ws.apply(1).await;
    ws.send(json!({"op": "resync", "topic": BOOK, "pos": null})).await;
    assert_eq!(ws.next().await["topics"][BOOK], json!({"r": "snap"}));
    assert_eq!(ws.next().await["op"], "snap");
    ws.send(json!({"op": "resync", "id": 8, "topic": QUOTE, "pos": null})).await;
    assert_eq!(ws.next().await["code"], 2008);
    ws.send(json!({"op": "resync", "id": 9, "topic": TRADE, "pos": [epoch, 1_000]})).await;
    assert_eq!(ws.next().await["code"], 2007);
}

#[tokio::test]
async fn unsub_ends_delivery() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    ws.send(json!({"op": "unsub", "id": 2, "topic": TRADE})).await;
    assert_eq!(ws.next().await, json!({"op": "ok", "id": 2}));
    rig.trades(2..=9);
    ws.send(json!({"op": "ping", "id": 3})).await;
    let m = ws.next().await;
    assert_eq!((&m["op"], &m["id"]), (&json!("pong"), &json!(3)));
    assert_eq!(ws.sub(TRADE, json!("live")).await["seq"], 9);
}

#[tokio::test]
async fn wildcards_expand_to_one_subd_each() {
    let mut rig = Rig::new().await;
    for i in 0..200 {
        rig.append_only(&format!("trade.S{i}.BINANCE"), trade(1), RowFlags::default());
    }
    rig.append_only(QUOTE, quote(1), RowFlags::default());
    rig.lane.commit().unwrap();
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "id": 1, "topic": "trade.*"})).await;
    for _ in 0..200 {
        let m = ws.next().await;
        assert_eq!((&m["op"], &m["seq"]), (&json!("subd"), &json!(1)));
    }
    // The 201st.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let mut other = rig.client().await;
    other.send(json!({"op": "sub", "id": 1, "topic": "*"})).await;
    assert_eq!(other.next().await["code"], 2005);
    for i in 0..200 {
        rig.append_only(&format!("trade.S{i}.BINANCE"), trade(2), RowFlags::default());
    }
    rig.lane.commit().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let m = ws.next().await;
        assert_eq!((&m["op"], &m["seq"]), (&json!("data"), &json!(2)));
        seen.insert(m["topic"].to_string());
    }
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn batches_are_ordered_arrays() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1_000);
    let mut ws = rig.client_at("/v1/ws?batch=1").await;
    ws.send(json!({"op": "hello", "id": 1, "batch": true, "linger_ms": 20, "agent": "test"})).await;
    assert_eq!(ws.next().await["op"], "ok");
    ws.send(json!({"op": "sub", "topic": TRADE, "from": "earliest"})).await;
    let (mut all, mut frames) = (Vec::new(), 0);
    while ids(&all).len() < 1_000 {
        frames += 1;
        match ws.next().await {
            serde_json::Value::Array(batch) => {
                assert!((2..=256).contains(&batch.len()));
                all.extend(batch);
            }
            one => all.push(one),
        }
    }
    assert_eq!(ids(&all), (1..=1_000).collect::<Vec<_>>());
    assert!(frames < 100, "{frames} frames");
}

#[tokio::test]
async fn positions_outlive_the_server() {
    let mut rig = Rig::new().await;
    rig.trades(1..=10);
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("earliest")).await;
    ws.apply(10).await;
    let state = ws.rule.state(TRADE).unwrap().clone();
    let dir = rig.stop().await;
    assert_eq!(ws.closed().await, 1012);
    let mut rig = Rig::open(dir, Default::default(), Default::default()).await;
    rig.trades(11..=20);
    let mut ws = rig.client().await;
    let subd = ws.sub(TRADE, json!({"epoch": state.epoch, "seq": state.last})).await;
    assert_eq!((&subd["op"], &subd["seq"]), (&json!("subd"), &json!(10)));
    assert_eq!(ids(&ws.apply(10).await), (11..=20).collect::<Vec<_>>());
}

/// The head is a checkpoint: a client that resumes before it is whole, and must neither starve nor see a hole.
#[tokio::test]
async fn a_position_before_a_checkpoint_goes_on() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.append(BOOK, delta(2));
    rig.append(BOOK, rig::book(BookAction::Checkpoint, 2, &[rig::level(1_000, 5)], &[rig::level(1_001, 3)]));
    let epoch = rig.tape.epoch().to_owned();
    let mut clients = Vec::new();
    for seq in [2, 3] {
        let mut ws = rig.client().await;
        assert_eq!(ws.sub(BOOK, json!({"epoch": epoch, "seq": seq})).await["seq"], seq);
        ws.send(json!({"op": "ping"})).await;
        assert_eq!(ws.next().await["op"], "pong");
        clients.push(ws);
    }
    let mut fresh = rig.client().await;
    assert_eq!(fresh.sub(BOOK, json!("live")).await["seq"], 2);
    fresh.apply(1).await;
    clients.push(fresh);
    rig.append(BOOK, delta(3));
    rig.append(BOOK, delta(4));
    for ws in &mut clients {
        let m = ws.apply(2).await;
        assert_eq!((m[1]["seq"].clone(), ws.rule.resyncs()), (json!(5), 0));
    }
}
