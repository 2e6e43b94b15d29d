//! The same feed in each form: MessagePack or JSON, integers or decimal text, numbers or names. What a client of any of them holds is what
//! a plain one holds, whatever it is served from.

mod rig;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rig::attic::{Attic, Seam};
use rig::{BOOK, QUOTE, Rig, TRADE, book, delta, level, quote, snapshot, t, trade, validity};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, RowFlags, Ts, ValidityState};
use wholetape_tape::TapeConfig;

const SOON: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default)]
struct Form {
    msgpack: bool,
    scaled: bool,
    short: bool,
    batch: bool,
}

struct Reader {
    form: Form,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Topic and powers of ten, by `ch`.
    known: HashMap<u64, (String, i64, i64)>,
    waiting: std::collections::VecDeque<Value>,
}

impl Reader {
    async fn new(rig: &Rig, form: Form) -> Self {
        let mut request = format!("ws://{}/v1/ws", rig.at).into_client_request().unwrap();
        let name = if form.msgpack { "wholetape.v1.msgpack" } else { "wholetape.v1.json" };
        request.headers_mut().insert("sec-websocket-protocol", name.parse().unwrap());
        let (socket, response) = connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], name);
        let mut reader = Self { form, socket, known: HashMap::new(), waiting: Default::default() };
        assert_eq!(reader.raw().await["op"], "welcome");
        let num = if form.scaled { "scaled" } else { "text" };
        reader.say(json!({"op": "hello", "id": 1, "num": num, "batch": form.batch})).await;
        assert_eq!(reader.raw().await, json!({"op": "ok", "id": 1}));
        reader
    }

    async fn say(&mut self, message: Value) {
        let message = match self.form.msgpack {
            true => Message::binary(rmp_serde::to_vec(&message).unwrap()),
            false => Message::text(message.to_string()),
        };
        self.socket.send(message).await.unwrap();
    }

    /// A message as it came.
    async fn raw(&mut self) -> Value {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return message;
            }
            let frame: Value = match timeout(SOON, self.socket.next()).await.expect("a message soon").unwrap().unwrap()
            {
                Message::Text(text) if !self.form.msgpack => serde_json::from_str(&text).unwrap(),
                Message::Binary(bytes) if self.form.msgpack => rmp_serde::from_slice(&bytes).unwrap(),
                Message::Ping(_) => continue,
                other => panic!("{other:?} in {:?}", self.form),
            };
            match frame {
                Value::Array(all) if self.form.batch => self.waiting.extend(all),
                one => self.waiting.push_back(one),
            }
        }
    }

    /// A message as a plain client would have it, but for zeros at the end of decimals and numbers of topics.
    async fn next(&mut self) -> Value {
        let mut m = self.raw().await;
        if let (Some(ch), "subd") = (m["ch"].as_u64(), m["op"].as_str().unwrap()) {
            assert_eq!(m["px_exp"].is_i64(), self.form.scaled, "{m}");
            let exp = |key: &str| m[key].as_i64().unwrap_or(0);
            self.known.insert(ch, (m["topic"].as_str().unwrap().to_owned(), exp("px_exp"), exp("size_exp")));
        }
        let fields = m.as_object_mut().unwrap();
        let op = fields["op"].as_str().unwrap().to_owned();
        if ["data", "snap", "mark", "missed", "notice"].contains(&op.as_str()) {
            assert_eq!(fields.contains_key("topic"), !self.form.short, "{fields:?}");
            if self.form.short {
                let ch = fields.remove("ch").unwrap().as_u64().unwrap();
                fields.insert("topic".into(), self.known[&ch].0.clone().into());
            }
        } else {
            fields.remove("ch");
        }
        let topic = fields.get("topic").and_then(Value::as_str).unwrap_or_default();
        let known = self.known.values().find(|k| k.0 == topic).map_or((0, 0), |k| (k.1, k.2));
        let known = (exp(fields, "px_exp", known.0), exp(fields, "size_exp", known.1));
        match fields.get_mut("data") {
            Some(Value::Array(rows)) => {
                for row in rows {
                    let row = row.as_object_mut().unwrap();
                    let own = (exp(row, "px_exp", known.0), exp(row, "size_exp", known.1));
                    if let Some(data) = row.get_mut("data") {
                        unscale(data, own);
                    }
                }
            }
            Some(data) => unscale(data, known),
            None => {}
        }
        m
    }

    /// All messages until one fits; with that.
    async fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let m = self.next().await;
            if m["op"] == "hb" {
                continue;
            }
            all.push(m);
            if last(all.last().unwrap()) {
                return all;
            }
        }
    }
}

fn exp(fields: &mut serde_json::Map<String, Value>, key: &str, or: i64) -> i64 {
    fields.remove(key).map_or(or, |v| v.as_i64().unwrap())
}

/// Every price and size as the shortest decimal.
fn unscale(data: &mut Value, (px, size): (i64, i64)) {
    let one = |v: &mut Value, exp: i64| *v = decimal(v, exp).into();
    for (key, v) in data.as_object_mut().unwrap() {
        match key.as_str() {
            "price" | "bid" | "ask" | "last" => one(v, px),
            "size" | "bid_size" | "ask_size" => one(v, size),
            "b" | "a" => v.as_array_mut().unwrap().iter_mut().for_each(|level| {
                one(&mut level[0], px);
                one(&mut level[1], size);
            }),
            _ => {}
        }
    }
}

fn decimal(v: &Value, exp: i64) -> String {
    let text = match v.as_i64() {
        Some(n) => {
            let places = usize::try_from(-exp).unwrap();
            let digits = format!("{:0>1$}", n, places + 1);
            let (whole, rest) = digits.split_at(digits.len() - places);
            format!("{whole}.{rest}")
        }
        None => v.as_str().unwrap().to_owned(),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn every() -> impl Iterator<Item = Form> {
    (0..16).map(|i| Form { msgpack: i & 1 > 0, scaled: i & 2 > 0, short: i & 4 > 0, batch: i & 8 > 0 })
}

/// With 700 trades of which the tape holds only the newest, a book and a quote.
async fn full_rig() -> (Rig, Arc<Attic>) {
    let mut attic = None;
    let tape = TapeConfig::default();
    let mut rig = Rig::open_with(TempDir::new().unwrap(), GatewayConfig::default(), tape, |tape| {
        Some(Arc::new(Seam(attic.insert(Attic::new(tape)).clone())))
    })
    .await;
    let attic = attic.unwrap();
    for id in 1..=700 {
        let ts = Ts((1_790_000_000 + id as i64) * 1_000_000_000);
        rig.append_at(TRADE, trade(id), RowFlags::default(), ts);
    }
    rig.lane.commit().unwrap();
    attic.store(&t(TRADE), 700);
    rig.append(QUOTE, quote(1));
    rig.append(BOOK, snapshot(1));
    for n in 2..=120 {
        rig.append(BOOK, delta(n));
    }
    (rig, attic)
}

#[tokio::test]
async fn a_client_of_any_form_holds_what_a_plain_one_holds() {
    let (mut rig, _attic) = full_rig().await;
    let mut readers = vec![Reader::new(&rig, Form::default()).await];
    for form in every() {
        readers.push(Reader::new(&rig, form).await);
    }
    let since = json!({"ts": (1_790_000_000 + 50) * 1_000_000_i64});
    let mut told: Vec<Vec<Value>> = Vec::new();
    for reader in &mut readers {
        let (mut all, short) = (Vec::new(), reader.form.short);
        for (topic, from, depth) in [
            (TRADE, since.clone(), "full".into()),
            (QUOTE, json!("live"), "full".into()),
            (BOOK, json!("earliest"), json!("full")),
        ] {
            let mut sub = json!({"op": "sub", "id": 3, "topic": topic, "from": from, "short": short});
            if topic == BOOK {
                sub["depth"] = depth;
            }
            reader.say(sub).await;
            all.extend(reader.until(|m| m["op"] == "subd").await);
        }
        told.push(all);
    }
    // Live, shared by all; a price and a size with more places than the topic had, a mark, a whole book.
    rig.trades(701..=720);
    rig.append(TRADE, validity(ValidityState::Stale));
    let fine = |id| {
        let wholetape_model::View::Trade(mut trade) = trade(id) else { unreachable!() };
        trade.price.0 += 1;
        wholetape_model::View::Trade(trade)
    };
    let no = rig.lane.topic(&t(TRADE)).unwrap();
    let scales = wholetape_model::Scales { price: 5, size: 8 };
    let ts = Ts(1_790_000_800_000_000_000);
    let flags = RowFlags::default();
    let row = wholetape_model::Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body: fine(721) };
    rig.lane.append(no, &row).unwrap();
    rig.append(QUOTE, quote(2));
    rig.append(BOOK, validity(ValidityState::Syncing));
    rig.append(BOOK, book(BookAction::Snapshot, 400, &[level(7, 70)], &[level(9, 90)]));
    rig.append(BOOK, validity(ValidityState::Live));
    for n in 401..=500 {
        rig.append(BOOK, delta(n));
    }
    rig.trades(722..=722);
    for (reader, all) in readers.iter_mut().zip(&mut told) {
        let (mut trades, mut books, mut quotes) = (false, false, false);
        while !(trades && books && quotes) {
            let m = reader.next().await;
            match m["topic"].as_str() {
                Some(TRADE) => trades |= m["data"]["id"] == 722,
                Some(QUOTE) => quotes |= m["data"]["update_id"] == 2,
                Some(BOOK) => books |= m["vid"] == 500,
                _ => continue,
            }
            all.push(m);
        }
    }
    let by_topic = |all: &[Value], topic: &str| -> Vec<Value> {
        let rows = |m: &Value| match &m["data"] {
            Value::Array(rows) => rows.clone(),
            _ => vec![m.clone()],
        };
        all.iter().filter(|m| m["topic"] == topic).flat_map(rows).collect()
    };
    for topic in [TRADE, QUOTE, BOOK] {
        let plain: Vec<Value> = by_topic(&told[0], topic).into_iter().map(strip).collect();
        assert!(plain.len() > 2);
        for (reader, all) in readers.iter().zip(&told).skip(1) {
            let ours: Vec<Value> = by_topic(all, topic).into_iter().map(strip).collect();
            assert_eq!(ours.len(), plain.len(), "{topic} in {:?}", reader.form);
            for (ours, plain) in ours.iter().zip(&plain) {
                assert_eq!(ours, plain, "{topic} in {:?}", reader.form);
            }
        }
    }
    assert!(by_topic(&told[0], TRADE).iter().filter(|m| m["data"]["id"].is_u64()).count() >= 670);
    drop(readers);
    let metrics = rig.get("/metrics").await.1;
    let figure = |name: &str| -> u64 {
        let line = metrics.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // Seven forms of about 130 shared messages; were they made for each of the sixteen clients, there would be twice as many.
    let (made, encoded) = (figure("gateway_formed_messages_total"), figure("gateway_encoded_messages_total"));
    assert!(made > 0 && made <= 7 * encoded, "{made} forms of {encoded}");
    rig.stop().await;
}

/// Without what may differ between two that came one after the other: the batches in which rows came.
fn strip(mut m: Value) -> Value {
    m.as_object_mut().unwrap().remove("crc");
    m
}

#[tokio::test]
async fn views_resync_and_resume_keep_the_form() {
    let (mut rig, _attic) = full_rig().await;
    for form in every() {
        let mut reader = Reader::new(&rig, form).await;
        reader
            .say(json!({"op": "sub", "id": 2, "topic": BOOK, "conflate": "100ms", "depth": 10, "short": form.short}))
            .await;
        let m = reader.until(|m| m["op"] == "snap").await.pop().unwrap();
        assert_eq!(m["topic"], BOOK);
        assert!(m["data"]["b"][0][0].as_str().is_some_and(|p| p.starts_with("10") || p.starts_with("9.9")), "{m}");
        reader.say(json!({"op": "sub", "id": 3, "topic": TRADE, "from": {"last": 2}, "short": form.short})).await;
        let all = reader.until(|m| m["data"]["id"] == 700).await;
        assert!(all.iter().any(|m| m["op"] == "data" && m["data"]["id"] == 699));
        let epoch = rig.tape.epoch().to_owned();
        reader.say(json!({"op": "resync", "id": 4, "topic": TRADE, "pos": [epoch, 698]})).await;
        let all = reader.until(|m| m["data"]["id"] == 700).await;
        assert_eq!(all[0]["op"], "resumed");
        // Too late for another kind of numbers.
        let other = if form.scaled { "text" } else { "scaled" };
        reader.say(json!({"op": "hello", "id": 5, "num": other})).await;
        let all = reader.until(|m| m["op"] == "err").await;
        assert_eq!((&all.last().unwrap()["code"], &all.last().unwrap()["path"]), (&json!(1003), &json!("num")));
    }
    // The session keeps `short`; whether numbers are scaled is the new connection's.
    let form = Form { msgpack: true, scaled: true, short: true, batch: false };
    let mut request = format!("ws://{}/v1/ws", rig.at).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "wholetape.v1.msgpack".parse().unwrap());
    let (socket, _) = connect_async(request.clone()).await.unwrap();
    let mut reader = Reader { form, socket, known: HashMap::new(), waiting: Default::default() };
    let welcome = reader.raw().await;
    reader.say(json!({"op": "sub", "id": 1, "topic": TRADE, "from": "live", "short": true})).await;
    let subd = reader.raw().await;
    assert!(subd["px_exp"].is_null() && subd["ch"].is_u64(), "{subd}");
    drop(reader.socket);
    let (socket, _) = connect_async(request).await.unwrap();
    reader.socket = socket;
    reader.raw().await;
    reader.say(json!({"op": "hello", "num": "scaled"})).await;
    let pos = json!({TRADE: [rig.tape.epoch(), 699]});
    reader
        .say(json!({"op": "resume", "id": 2, "session": welcome["session"], "resume": welcome["resume"], "pos": pos}))
        .await;
    let resumed = reader.raw().await;
    let topic = &resumed["topics"][TRADE];
    assert_eq!((&topic["px_exp"], &topic["size_exp"]), (&json!(-2), &json!(-3)), "{resumed}");
    let ch = topic["ch"].as_u64().unwrap();
    let m = reader.raw().await;
    assert_eq!(
        (&m["ch"], &m["data"]["price"], &m["data"]["size"]),
        (&json!(ch), &json!(6_000_000), &json!(701)),
        "{m}"
    );
    rig.trades(701..=701);
    let m = reader.raw().await;
    assert_eq!((&m["ch"], &m["data"]["id"], &m["topic"]), (&json!(ch), &json!(701), &Value::Null));
    drop(reader);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_in_the_clients_own_form() {
    let rig = Rig::new().await;
    let msgpack = Form { msgpack: true, ..Form::default() };
    let mut reader = Reader::new(&rig, msgpack).await;
    for (i, bytes) in
        [&[0xc1][..], &[0x81, 0xa2, b'o', b'p'], &[0x91; 40], &[0xdf, 0xff, 0xff, 0xff, 0xff]].iter().enumerate()
    {
        reader.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
        let err = reader.raw().await;
        assert_eq!((&err["code"], &err["name"]), (&json!(1001), &json!("BAD_JSON")), "{i} {err}");
        assert!(err["msg"].as_str().unwrap().starts_with("not the MessagePack of a message: "), "{err}");
    }
    // An unknown key is named like in JSON; it is the fifth: the connection is closed for abuse.
    reader.say(json!({"op": "ping", "x": 1})).await;
    let err = reader.raw().await;
    assert_eq!((&err["code"], &err["path"]), (&json!(1003), &json!("x")));
    assert!(matches!(reader.socket.next().await, Some(Ok(Message::Close(Some(c)))) if u16::from(c.code) == 4303));

    let mut reader = Reader::new(&Rig::new().await, msgpack).await;
    reader.socket.send(Message::text("{\"op\":\"ping\"}")).await.unwrap();
    assert_eq!(reader.raw().await["code"], 1003);
    assert!(matches!(reader.socket.next().await, Some(Ok(Message::Close(Some(c)))) if u16::from(c.code) == 1003));
    let mut reader = Reader::new(&Rig::new().await, Form::default()).await;
    reader.socket.send(Message::binary(vec![0x80])).await.unwrap();
    assert_eq!(reader.raw().await["code"], 1003);
    assert!(matches!(reader.socket.next().await, Some(Ok(Message::Close(Some(c)))) if u16::from(c.code) == 1003));
}
