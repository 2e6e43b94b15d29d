//! Views: depth and conflation, shared by all who follow them, over a real gateway.

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{BOOK, QUOTE, Rig, TRADE, Ws, book, level, patient, quote, validity};
use serde_json::{Value, json};
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, Level, RowFlags, ValidityState};
use wholetape_tape::TapeConfig;
use wholetape_wire::BookView;
use wholetape_wire::client::{Happening, apply_book};

/// What was published, and the book after each seq: bids by falling, asks by rising price.
#[derive(Default)]
struct Model {
    now: [BTreeMap<i64, (i64, i64)>; 2],
    after: BTreeMap<u64, Vec<Vec<(i64, i64)>>>,
    marks: Vec<u64>,
}

impl Model {
    fn take(&mut self, seq: u64, bids: &[Level], asks: &[Level]) {
        for (side, levels) in self.now.iter_mut().zip([bids, asks]) {
            for l in levels {
                let key = if l.price.0 <= 1_000 { -l.price.0 } else { l.price.0 };
                if l.size.0 == 0 {
                    side.remove(&key);
                } else {
                    side.insert(key, (l.price.0, l.size.0));
                }
            }
        }
        self.keep(seq);
    }

    fn keep(&mut self, seq: u64) {
        self.after.insert(seq, self.now.iter().map(|side| side.values().copied().collect()).collect());
    }

    /// Publishes one record: mostly a delta, now and then a mark, a checkpoint or the venue's own snapshot.
    fn publish(&mut self, rig: &mut Rig, rng: &mut StdRng, snapshots: bool) {
        let id = self.after.len() as u64 + 1;
        let levels = |side: &BTreeMap<i64, (i64, i64)>| side.values().map(|(p, s)| level(*p, *s)).collect::<Vec<_>>();
        match rng.random_range(0..60) {
            0 => self.mark(rig),
            1 => {
                let (bids, asks) = (levels(&self.now[0]), levels(&self.now[1]));
                let at = rig.append_only(BOOK, book(BookAction::Checkpoint, id, &bids, &asks), RowFlags::default());
                self.keep(at);
            }
            2 if snapshots => {
                self.now = Default::default();
                let (bids, asks) = ([level(1_000, 5), level(990, 7)], [level(1_001, 3)]);
                let seq = rig.append_only(BOOK, book(BookAction::Snapshot, id, &bids, &asks), RowFlags::default());
                self.take(seq, &bids, &asks);
            }
            _ => {
                let bids = [level(1_000 - rng.random_range(0..40), rng.random_range(0..4))];
                let asks = [level(1_001 + rng.random_range(0..40), rng.random_range(0..4))];
                let seq = rig.append_only(BOOK, book(BookAction::Delta, id, &bids, &asks), RowFlags::default());
                self.take(seq, &bids, &asks);
            }
        }
    }

    fn mark(&mut self, rig: &mut Rig) {
        let seq = rig.append_only(BOOK, validity(ValidityState::Live), RowFlags::default());
        self.marks.push(seq);
        self.keep(seq);
    }

    fn begin(&mut self, rig: &mut Rig) {
        let (bids, asks) = ([level(1_000, 5), level(999, 7)], [level(1_001, 3)]);
        let seq = rig.append(BOOK, book(BookAction::Snapshot, 1, &bids, &asks));
        self.take(seq, &bids, &asks);
    }

    fn book(&self, seq: u64, depth: usize) -> Vec<Vec<(i64, i64)>> {
        self.after[&seq].iter().map(|side| side.iter().take(depth).copied().collect()).collect()
    }
}

fn held(view: &BookView) -> Vec<Vec<(i64, i64)>> {
    let raw = |(price, size): (wholetape_model::Decimal, wholetape_model::Decimal)| {
        (price.rescale(2).unwrap().raw, size.rescale(3).unwrap().raw)
    };
    vec![view.bids().map(raw).collect(), view.asks().map(raw).collect()]
}

/// A client of one view of the book.
struct Follower {
    ws: Ws,
    depth: usize,
    view: BookView,
    /// Where its first state was.
    began: u64,
    marks: Vec<u64>,
    missed: Vec<(u64, u64, String)>,
    texts: Vec<String>,
    snaps: usize,
    checked: usize,
    notices: Vec<Value>,
}

impl Follower {
    async fn new(rig: &Rig, keys: Value, depth: usize) -> Self {
        let mut ws = rig.client().await;
        let mut sub = json!({"op": "sub", "id": 1, "topic": BOOK});
        sub.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        ws.send(sub).await;
        Self {
            ws,
            depth,
            view: BookView::new(),
            began: 0,
            marks: vec![],
            missed: vec![],
            texts: vec![],
            snaps: 0,
            checked: 0,
            notices: vec![],
        }
    }

    /// Takes one frame; with a model, the book must be the model's at that seq.
    async fn step(&mut self, model: Option<&Model>) {
        let frame = self.ws.next().await.to_string();
        let mut out = Vec::new();
        self.ws.rule.on_text(&frame, &mut out);
        for h in out {
            match h {
                Happening::Apply { to, message, .. } => {
                    self.texts.push(message.to_string());
                    if message["op"] == "mark" {
                        self.marks.push(to);
                        continue;
                    }
                    if message["op"] == "snap" {
                        self.snaps += 1;
                        self.began = if self.began == 0 { to } else { self.began };
                        assert!(message["data"]["crc"].is_u64(), "{message}");
                    }
                    assert!(self.began > 0, "state before changes: {message}");
                    apply_book(&mut self.view, &message).unwrap();
                    assert_eq!((&message["state"], message["vid"].is_u64()), (&json!("live"), true), "{message}");
                    if let Some(model) = model {
                        assert_eq!(held(&self.view), model.book(to, self.depth), "{message}");
                        self.checked += 1;
                    }
                }
                Happening::Missed { from, to, why, .. } => self.missed.push((from, to, why)),
                Happening::Said(m) if m["op"] == "notice" => self.notices.push(m),
                Happening::Said(_) | Happening::Subscribed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn at(&self) -> u64 {
        self.ws.rule.state(BOOK).map_or(0, |s| s.last)
    }

    async fn upto(&mut self, seq: u64, model: Option<&Model>) {
        while self.at() < seq || self.snaps == 0 {
            self.step(model).await;
        }
    }
}

#[tokio::test]
async fn each_view_is_the_book_cut_to_its_depth_at_every_seq() {
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    let (mut model, mut rng) = (Model::default(), StdRng::seed_from_u64(7));
    model.begin(&mut rig);
    let mut all = Vec::new();
    for (conflate, depth) in [("none", 10), ("none", 50), ("100ms", 10), ("100ms", 0), ("1s", 200), ("1s", 0)] {
        let mut keys = json!({"conflate": conflate});
        if depth > 0 {
            keys["depth"] = json!(depth);
        }
        all.push(Follower::new(&rig, keys, if depth == 0 { usize::MAX } else { depth }).await);
    }
    for f in &mut all {
        f.upto(1, None).await;
    }
    for round in 0..120 {
        for _ in 0..rng.random_range(1..12) {
            model.publish(&mut rig, &mut rng, round < 60);
        }
        rig.lane.commit().unwrap();
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    // What is not seen in a view's depth is told before a mark.
    model.mark(&mut rig);
    rig.lane.commit().unwrap();
    let head = *model.marks.last().unwrap();
    for f in &mut all {
        f.upto(head, Some(&model)).await;
        assert_eq!((&f.marks, &f.missed), (&model.marks, &vec![]), "marks are never conflated away");
        assert!(f.checked > 2, "{}", f.checked);
    }
    let messages = |f: &Follower| f.texts.iter().filter(|t| t.contains("\"op\":\"data\"")).count();
    assert!(
        messages(&all[4]) < messages(&all[2]) && messages(&all[2]) < messages(&all[0]),
        "longer periods, fewer messages"
    );
    let crc = |f: &Follower| f.texts.iter().filter(|t| t.contains("\"op\":\"data\"") && t.contains("\"crc\"")).count();
    assert!(crc(&all[0]) > 0, "every hundredth of a view's own updates");
    // Merged messages say of how many.
    let merged = all[3].texts.iter().map(|t| serde_json::from_str::<Value>(t).unwrap());
    assert!(merged.filter(|m| m["op"] == "data").all(|m| m["n"].as_u64().unwrap_or(1)
        <= m["seq"].as_u64().unwrap() - m["prev"].as_u64().unwrap_or(m["seq"].as_u64().unwrap() - 1)));
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, text) = rig.get("/metrics").await;
    let line = text.lines().find(|l| l.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn until_metric(rig: &Rig, name: &str, want: u64) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while metric(rig, name).await != want {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{name} is never {want}"));
}

#[tokio::test]
async fn one_encode_serves_all_and_a_view_ends_with_its_last_reader() {
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    let (mut model, mut rng) = (Model::default(), StdRng::seed_from_u64(8));
    model.begin(&mut rig);
    let mut all = Vec::new();
    for _ in 0..12 {
        let mut f = Follower::new(&rig, json!({"conflate": "100ms", "depth": 10}), 10).await;
        f.upto(1, None).await;
        all.push(f);
    }
    until_metric(&rig, "gateway_views", 1).await;
    assert_eq!(metric(&rig, "gateway_view_encoded_messages_total").await, 1, "one state for all who came at one tick");
    for _ in 0..5 {
        for _ in 0..20 {
            model.publish(&mut rig, &mut rng, true);
        }
        rig.lane.commit().unwrap();
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    model.mark(&mut rig);
    rig.lane.commit().unwrap();
    let head = *model.marks.last().unwrap();
    for f in &mut all {
        f.upto(head, Some(&model)).await;
    }
    for f in &all[1..] {
        assert_eq!(f.texts, all[0].texts, "the same messages for everybody");
    }
    let encoded = metric(&rig, "gateway_view_encoded_messages_total").await;
    assert_eq!(encoded, all[0].texts.len() as u64, "each encoded once");
    assert_eq!(metric(&rig, "gateway_encoded_messages_total").await, 0, "nobody follows the stream itself");
    for f in &mut all {
        f.ws.send(json!({"op": "unsub", "topic": BOOK})).await;
    }
    until_metric(&rig, "gateway_views", 0).await;
}

#[tokio::test]
async fn the_latest_quote_stands_for_those_before_it() {
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    rig.append(QUOTE, quote(1));
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "id": 1, "topic": QUOTE, "conflate": "1s"})).await;
    let subd = ws.next().await;
    assert_eq!((&subd["conflate"], &subd["seq"], &subd["depth"]), (&json!("1s"), &json!(1), &Value::Null));
    ws.rule.on_text(&subd.to_string(), &mut Vec::new());
    assert_eq!(ws.apply(1).await[0]["op"], "snap");
    for id in 2..=41 {
        rig.append_only(QUOTE, quote(id), RowFlags::default());
    }
    rig.lane.commit().unwrap();
    let merged = ws.apply(1).await.remove(0);
    let (prev, seq, n) = (&merged["prev"], &merged["seq"], &merged["n"]);
    assert_eq!((prev, seq, n, &merged["data"]["update_id"]), (&json!(1), &json!(41), &json!(40), &json!(41)));
    // A mark comes in its place, behind what was before it.
    rig.append_only(QUOTE, quote(42), RowFlags::default());
    rig.append_only(QUOTE, validity(ValidityState::Stale), RowFlags::default());
    rig.append_only(QUOTE, quote(43), RowFlags::default());
    rig.lane.commit().unwrap();
    let ops: Vec<_> = ws.apply(3).await.iter().map(|m| (m["op"].clone(), m["seq"].clone())).collect();
    assert_eq!(ops, [(json!("data"), json!(42)), (json!("mark"), json!(43)), (json!("data"), json!(44))]);
}

#[tokio::test]
async fn what_cannot_be_conflated_is_refused() {
    let mut rig = Rig::new().await;
    rig.trades(1..=1);
    rig.append(QUOTE, quote(1));
    Model::default().begin(&mut rig);
    let mut ws = rig.client().await;
    for (keys, code, path) in [
        (json!({"topic": TRADE, "conflate": "1s"}), 2004, Value::Null),
        (json!({"topic": "*", "conflate": "100ms"}), 2004, Value::Null),
        (json!({"topic": TRADE, "policy": "conflate"}), 2004, Value::Null),
        (json!({"topic": TRADE, "depth": 10}), 1003, json!("depth")),
        (json!({"topic": QUOTE, "depth": 10}), 1003, json!("depth")),
        (json!({"topic": BOOK, "depth": 10, "from": {"last": 3}}), 1003, json!("from")),
        (json!({"topic": BOOK, "conflate": "1s", "from": "earliest"}), 1003, json!("from")),
        (json!({"topic": BOOK, "conflate": "1s", "from": {"epoch": rig.tape.epoch(), "seq": 99}}), 2007, Value::Null),
    ] {
        let mut op = keys.clone();
        op["op"] = json!("sub");
        ws.send(op).await;
        let e = ws.next().await;
        assert_eq!((&e["op"], &e["code"], &e["path"]), (&json!("err"), &json!(code), &path), "{keys}: {e}");
    }
}

/// Deltas that all are seen in the best ten levels, and a mark now and then.
fn flood(rig: &mut Rig, model: &mut Model, n: u64) {
    for i in 0..n {
        if i % 4_000 == 3_999 {
            model.marks.push(rig.append_only(BOOK, validity(ValidityState::Live), RowFlags::default()));
        }
        let change = [level(1_000, 1 + (i % 7) as i64)];
        let seq = rig.append_only(BOOK, book(BookAction::Delta, i + 2, &change, &change[..0]), RowFlags::default());
        if i % 500 == 499 {
            rig.lane.commit().unwrap();
        }
        if i + 1 == n {
            model.take(seq, &change, &[]);
        } else {
            model.now[0].insert(-1_000, (1_000, change[0].size.0));
        }
    }
    rig.lane.commit().unwrap();
}

/// A client that does not read for a while: afterwards its book is right, and of what it passed every mark came.
async fn falls_behind(keys: Value, depth: usize, notice: &str) -> Follower {
    let config = GatewayConfig { ring_bytes: 64 << 10, ..GatewayConfig::default() };
    let mut rig = Rig::with(patient(config), TapeConfig::default()).await;
    let mut model = Model::default();
    model.begin(&mut rig);
    let mut slow = Follower::new(&rig, keys, depth).await;
    slow.upto(1, None).await;
    for _ in 0..6 {
        flood(&mut rig, &mut model, 10_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    model.mark(&mut rig);
    rig.lane.commit().unwrap();
    let head = *model.marks.last().unwrap();
    slow.upto(head, None).await;
    assert_eq!(held(&slow.view), model.book(head, depth));
    assert!(slow.notices.iter().any(|n| n["name"] == notice && n["behind"].as_u64() > Some(0)), "{:?}", slow.notices);
    assert_eq!(slow.marks, model.marks, "every mark came");
    assert!(slow.missed.iter().all(|(from, to, why)| from <= to && why == "conflated"), "{:?}", slow.missed);
    slow
}

#[tokio::test]
async fn who_falls_off_a_view_is_given_its_state_and_every_mark() {
    let slow = falls_behind(json!({"depth": 10}), 10, "lagging").await;
    assert!(slow.snaps > 1 && !slow.missed.is_empty(), "{} {:?}", slow.snaps, slow.missed);
}

#[tokio::test]
async fn the_policy_conflate_moves_a_slow_reader_into_the_view() {
    let slow = falls_behind(json!({"policy": "conflate", "lag": 200}), usize::MAX, "conflated").await;
    assert!(slow.snaps > 1, "{}", slow.snaps);
}

#[tokio::test]
async fn a_position_enters_with_its_marks_and_a_session_keeps_its_view() {
    let mut rig = Rig::with(patient(GatewayConfig::default()), TapeConfig::default()).await;
    let (mut model, mut rng) = (Model::default(), StdRng::seed_from_u64(9));
    model.begin(&mut rig);
    for _ in 0..300 {
        model.publish(&mut rig, &mut rng, true);
    }
    model.mark(&mut rig);
    rig.lane.commit().unwrap();
    let (head, epoch) = (*model.marks.last().unwrap(), rig.tape.epoch().to_owned());
    let from = json!({"conflate": "100ms", "depth": 10, "from": {"epoch": epoch, "seq": 50}});
    let mut f = Follower::new(&rig, from, 10).await;
    f.upto(head, Some(&model)).await;
    let behind = |seq: u64| model.marks.iter().copied().filter(|m| *m > seq).collect::<Vec<_>>();
    assert_eq!(f.marks, behind(50));
    assert_eq!(held(&f.view), model.book(head, 10));
    drop(f);
    // By the session: the terms are kept, and the state comes at the view's depth.
    let mut ws = rig.client().await;
    ws.send(json!({"op": "ping"})).await;
    drop(ws);
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/v1/ws", rig.at)).await.unwrap();
    let mut ws = Ws { socket, rule: wholetape_wire::client::Client::new() };
    let welcome = ws.next().await;
    ws.send(json!({"op": "sub", "topic": BOOK, "conflate": "1s", "depth": 10})).await;
    let subd = ws.next().await;
    assert_eq!((&subd["conflate"], &subd["depth"]), (&json!("1s"), &json!(10)));
    let snap = ws.next().await;
    assert_eq!(snap["op"], "snap");
    drop(ws);
    let mut again = rig.client().await;
    let pos = json!({BOOK: [epoch, snap["seq"]]});
    again.send(json!({"op": "resume", "session": welcome["session"], "resume": welcome["resume"], "pos": pos})).await;
    let resumed = again.said("resumed").await;
    assert_eq!(resumed["topics"][BOOK]["r"], "snap", "{resumed}");
    let state = again.said("snap").await;
    let side = |m: &Value| m["data"]["b"].as_array().unwrap().len();
    assert_eq!((side(&state), &state["data"]), (side(&snap), &snap["data"]));
    assert!(side(&state) <= 10);
}

/// Of two topics that share an allowance, the quotes (class `book`) give before the trades do.
#[tokio::test]
async fn drop_lowest_takes_from_the_lowest_class() {
    let config = GatewayConfig { ring_bytes: 64 << 10, ..GatewayConfig::default() };
    let mut rig = Rig::with(patient(config), TapeConfig::default()).await;
    rig.trades(1..=1);
    rig.append(QUOTE, quote(1));
    let mut ws = rig.client().await;
    for topic in [TRADE, QUOTE] {
        ws.send(json!({"op": "sub", "topic": topic, "policy": "drop_lowest", "lag": 2_000, "from": "earliest"})).await;
    }
    let mut out = Vec::new();
    while ws.rule.state(TRADE).is_none_or(|s| s.last < 1) || ws.rule.state(QUOTE).is_none_or(|s| s.last < 1) {
        let frame = ws.next().await.to_string();
        ws.rule.on_text(&frame, &mut out);
    }
    out.clear();
    for round in 0..80 {
        for id in 0..1_000 {
            rig.append_only(QUOTE, quote(2 + round * 1_000 + id), RowFlags::default());
        }
        rig.trades(2 + round * 10..=11 + round * 10);
        tokio::task::yield_now().await;
    }
    let head = |topic: &str| rig.tape.head(&rig::t(topic)).unwrap();
    let (mut given, mut missed) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    while ws.rule.state(TRADE).unwrap().last < head(TRADE) || ws.rule.state(QUOTE).unwrap().last < head(QUOTE) {
        let frame = ws.next().await.to_string();
        ws.rule.on_text(&frame, &mut out);
        for h in out.drain(..) {
            match h {
                Happening::Apply { topic, message, .. } if message["op"] == "data" => {
                    *given.entry(topic).or_default() += 1
                }
                Happening::Missed { topic, from, to, why } => {
                    assert_eq!(why, "slow");
                    *missed.entry(topic).or_default() += to + 1 - from;
                }
                Happening::Send(text) => panic!("a hole: {text}"),
                _ => {}
            }
        }
    }
    assert!(missed.contains_key(QUOTE), "something was dropped: {given:?}");
    assert!(!missed.contains_key(TRADE), "800 trades are within what they share: {missed:?}");
    for topic in [TRADE, QUOTE] {
        let sum = given.get(topic).unwrap_or(&0) + missed.get(topic).unwrap_or(&0);
        assert_eq!(sum, head(topic) - 1, "{topic}: given and confessed make the whole");
    }
}
