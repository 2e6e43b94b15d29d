//! `pub`: each publication once, on the disk before it is confirmed, over reconnects, restarts, and a disk that fails.

mod rig;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future::join_all};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{Rig, TRADE, Ws, t};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{client_async, connect_async};
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::auth::write::new_key;
use wholetape_model::Body;
use wholetape_tape::{Delivery, Disk, DiskFile, From, ReaderOptions, Tape, TapeConfig};
use wholetape_wire::client::Client;
use wholetape_wire::reply::Limits;

const GAME: &str = "c4.game.42";

fn config() -> GatewayConfig {
    let limits = Limits { ops_s: 100_000, ops_burst: 100_000, ..Limits::default() };
    let mut config = rig::patient(GatewayConfig { limits, ..GatewayConfig::default() });
    config.publish.anonymous = vec!["c4.*".into(), "order.*".into()];
    config
}

async fn rig() -> Rig {
    Rig::with(config(), TapeConfig::default()).await
}

fn publication(mid: &str, topic: &str, col: u64) -> Value {
    json!({"op": "pub", "id": 9, "mid": mid, "topic": topic, "event": "dropDisc", "data": {"col": col}})
}

/// Sends one, and its answer.
async fn publish(ws: &mut Ws, message: Value) -> Value {
    ws.send(message).await;
    answer(ws).await
}

async fn answer(ws: &mut Ws) -> Value {
    loop {
        let m = timeout(Duration::from_secs(60), ws.next_patiently()).await.expect("an answer in a minute");
        if m["op"] == "ok" || m["op"] == "err" {
            return m;
        }
    }
}

trait Patient {
    async fn next_patiently(&mut self) -> Value;
}

impl Patient for Ws {
    /// As `next`, for as long as the disk takes.
    async fn next_patiently(&mut self) -> Value {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Principal and mid of all that is in a topic's log, with what `data` says.
fn log(tape: &Tape, topic: &str) -> Vec<(String, String, String)> {
    let mut reader = tape.reader(&t(topic), From::Earliest, ReaderOptions::default()).unwrap();
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    while reader.poll_next(&mut batch, 100) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("a hole") };
            if let Body::Publication(p) = shared.record().view().unwrap() {
                all.push((p.principal.to_owned(), p.mid.to_owned(), p.data.to_owned()));
            }
        }
    }
    all
}

fn mids(tape: &Tape, topic: &str) -> Vec<String> {
    log(tape, topic).into_iter().map(|(_, mid, _)| mid).collect()
}

#[tokio::test]
async fn what_is_published_is_on_the_disk_in_the_log_and_at_its_subscribers() {
    let rig = rig().await;
    let mut ws = rig.client().await;
    let first = json!({"op": "pub", "id": 2, "mid": "m1", "topic": GAME, "event": "dropDisc", "if_seq": 0, "cid": "c1", "data": {"col": 3}});
    let ok = publish(&mut ws, first).await;
    assert_eq!(ok, json!({"op": "ok", "id": 2, "mid": "m1", "topic": GAME, "seq": 1, "cid": "c1"}));
    assert!(rig.tape.synced_seq(&t(GAME)).unwrap() >= 1, "confirmed before the disk has it");
    let mut other = rig.client().await;
    other.send(json!({"op": "sub", "id": 1, "topic": GAME, "from": "earliest", "ack": "cum"})).await;
    let subd = other.next().await;
    assert_eq!((&subd["class"], &subd["ack"]), (&json!("critical"), &json!("cum")));
    other.rule.on_text(&subd.to_string(), &mut Vec::new());
    let applied = other.apply(1).await.remove(0);
    let data = applied["data"].as_object().unwrap();
    assert_eq!((&data["event"], &data["col"], &applied["cid"]), (&json!("dropDisc"), &json!(3), &json!("c1")));
    assert_eq!(data["ts_event"], data["ts_recv"]);
    // Live, of another client, without a cid; numbers stay as they were written.
    let text = r#"{"op":"pub","mid":"m2","topic":"c4.game.42","event":"e","data":{"n": 1.50, "big": 12345678901234567890123}}"#;
    ws.send_text(text).await;
    assert_eq!(answer(&mut ws).await, json!({"op": "ok", "mid": "m2", "topic": GAME, "seq": 2}));
    let message = other.socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(
        message.contains(r#""data":{"event":"e","n": 1.50, "big": 12345678901234567890123,"ts_event""#),
        "{message}"
    );
    assert!(!message.contains("cid"));
    other.send(json!({"op": "ack", "id": 7, "a": {GAME: 2}})).await;
    assert_eq!(other.said("ok").await["id"], 7);
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_publications_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn sent_again_it_is_answered_as_the_first_time() {
    let mut rig = rig().await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m1", GAME, 3)).await["seq"], 1);
    assert_eq!(publish(&mut ws, publication("m2", GAME, 4)).await["seq"], 2);
    let dup = json!({"op": "ok", "id": 9, "mid": "m1", "topic": GAME, "seq": 1, "dup": true});
    assert_eq!(publish(&mut ws, publication("m1", GAME, 3)).await, dup);
    // Over another connection, also where the condition would fail now.
    drop(ws);
    let mut ws = rig.client().await;
    let mut again = publication("m1", GAME, 3);
    again["if_seq"] = json!(0);
    assert_eq!(publish(&mut ws, again).await, dup);
    // Over a server that died.
    for _ in 0..2 {
        rig = Rig::open(rig.crash().await, config(), TapeConfig::default()).await;
        let mut ws = rig.client().await;
        assert_eq!(publish(&mut ws, publication("m1", GAME, 3)).await, dup);
        let other = publish(&mut ws, publication("m1", GAME, 5)).await;
        assert_eq!((&other["code"], &other["mid"]), (&json!(3001), &json!("m1")), "{other}");
        let other = publish(&mut ws, publication("m2", "c4.game.43", 4)).await;
        assert_eq!(other["code"], 3001, "{other}");
    }
    assert_eq!(mids(&rig.tape, GAME), ["m1", "m2"]);
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m3", GAME, 5)).await["seq"], 3);
}

#[tokio::test]
async fn a_name_from_before_the_window_is_refused_also_by_another_server() {
    let mut config = config();
    config.publish.names = 2;
    let rig = Rig::with(config.clone(), TapeConfig::default()).await;
    let mut ws = rig.client().await;
    for (i, mid) in ["m1", "m2", "m3"].into_iter().enumerate() {
        assert_eq!(publish(&mut ws, publication(mid, GAME, i as u64)).await["op"], "ok");
    }
    let old = publish(&mut ws, publication("m1", GAME, 0)).await;
    assert_eq!((&old["code"], &old["name"], &old["retry"]), (&json!(3006), &json!("MID_EXPIRED"), &json!(false)));
    assert_eq!(publish(&mut ws, publication("m2", GAME, 1)).await["dup"], true);
    let rig = Rig::open(rig.crash().await, config.clone(), TapeConfig::default()).await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m1", GAME, 0)).await["code"], 3006);
    assert_eq!(publish(&mut ws, publication("m3", GAME, 2)).await["dup"], true);
    // By age, where the log alone remembers.
    let dir = rig.crash().await;
    sleep(Duration::from_millis(1_100)).await;
    config.publish.window = Duration::from_secs(1);
    let rig = Rig::open(dir, config, TapeConfig::default()).await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m3", GAME, 2)).await["code"], 3006);
    assert_eq!(mids(&rig.tape, GAME), ["m1", "m2", "m3"]);
}

#[tokio::test]
async fn of_two_that_build_on_the_same_head_one_wins() {
    let rig = rig().await;
    let mut clients = [rig.client().await, rig.client().await, rig.client().await];
    for round in 0..40_u64 {
        let [a, b, c] = &mut clients;
        let said = |who: &str| {
            let mut m = publication(&format!("{who}{round}"), GAME, round);
            m["if_seq"] = json!(round);
            m
        };
        let (a, b, c) = tokio::join!(publish(a, said("a")), publish(b, said("b")), publish(c, said("c")));
        let answers = [a, b, c];
        let won: Vec<&Value> = answers.iter().filter(|m| m["op"] == "ok").collect();
        assert_eq!((won.len(), &won[0]["seq"]), (1, &json!(round + 1)), "{answers:?}");
        for lost in answers.iter().filter(|m| m["op"] == "err") {
            assert_eq!((&lost["code"], &lost["head"], &lost["topic"]), (&json!(3009), &json!(round + 1), &json!(GAME)));
        }
    }
    assert_eq!(mids(&rig.tape, GAME).len(), 40);
}

#[tokio::test]
async fn what_may_not_be_published_is_refused_and_says_why() {
    let mut rig = rig().await;
    rig.trades(1..=1);
    let mut ws = rig.client().await;
    let mut long = publication("m", GAME, 1);
    long["data"] = json!({"text": "x".repeat(70_000)});
    let with = |key: &str, value: Value| {
        let mut m = publication("m", GAME, 1);
        m[key] = value;
        m
    };
    for (message, code, path) in [
        (with("topic", json!(TRADE)), 3001, Value::Null),
        (with("topic", json!("alert.x")), 3001, Value::Null),
        (with("topic", json!("nonsense")), 2001, Value::Null),
        (with("topic", json!("signal.x")), 2003, Value::Null),
        (with("mid", json!("two words")), 1003, json!("mid")),
        (with("data", json!({"ts_recv": 1})), 1003, json!("data.ts_recv")),
        (with("extra", json!(1)), 1003, json!("extra")),
    ] {
        let e = publish(&mut ws, message.clone()).await;
        assert_eq!((&e["op"], &e["code"], &e["path"]), (&json!("err"), &json!(code), &path), "{message}: {e}");
    }
    assert_eq!(rig.tape.head(&t(GAME)), None, "nothing of it came to life");
    ws.send(long).await;
    assert_eq!(ws.closed().await, 1009);

    let mut config = config();
    config.publish.topics = 1;
    let rig = Rig::open(rig.stop().await, config, TapeConfig::default()).await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("a", GAME, 1)).await["op"], "ok");
    let e = publish(&mut ws, publication("b", "c4.game.43", 1)).await;
    assert_eq!((&e["code"], rig.tape.head(&t("c4.game.43"))), (&json!(3001), None), "{e}");
    assert_eq!(publish(&mut ws, publication("c", GAME, 2)).await["seq"], 2);
}

#[tokio::test]
async fn by_default_nobody_publishes() {
    let rig = Rig::new().await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m", GAME, 1)).await["code"], 2003);
}

#[tokio::test]
async fn keys_publish_what_they_may_and_their_names_are_their_own() {
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("keys.toml");
    let all = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let a = new_key(&keys, "a", &all(&["*"]), (&all(&["c4.*"]), None), "").unwrap();
    let b = new_key(&keys, "b", &all(&["*"]), (&all(&["c4.game.42"]), None), "").unwrap();
    let reader = new_key(&keys, "reader", &all(&["*"]), (&[], None), "").unwrap();
    let mut config = config();
    config.publish.anonymous.clear();
    config.auth.keys = Some(keys);
    let rig = Rig::with(config, TapeConfig::default()).await;
    let mut clients = Vec::new();
    for key in [&a, &b, &reader] {
        let mut request = format!("ws://{}/v1/ws", rig.at).into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", format!("{}.{}", key.id, key.secret).parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut ws = Ws { socket, rule: Client::new() };
        assert_eq!(ws.next().await["op"], "welcome");
        clients.push(ws);
    }
    assert_eq!(publish(&mut clients[0], publication("m", GAME, 1)).await["seq"], 1);
    assert_eq!(publish(&mut clients[1], publication("m", GAME, 1)).await["seq"], 2, "another's name");
    assert_eq!(publish(&mut clients[1], publication("n", "c4.game.7", 1)).await["code"], 2003);
    assert_eq!(publish(&mut clients[2], publication("m", GAME, 1)).await["code"], 2003);
    let principals: Vec<String> = log(&rig.tape, GAME).into_iter().map(|(principal, ..)| principal).collect();
    assert_eq!(principals, [a.id, b.id]);
}

/// A disk that is full, slow to sync, or fails to, when told.
#[derive(Debug, Default)]
struct Faulty {
    full: AtomicBool,
    fails: AtomicBool,
    sync_ms: AtomicU64,
    syncs: AtomicU64,
}

impl Disk for Faulty {
    fn write_at(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_at(bytes, offset)
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.sync_ms.load(Ordering::SeqCst)));
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        file.sync()
    }
}

fn on(disk: &Arc<Faulty>) -> TapeConfig {
    TapeConfig { disk: disk.clone(), ..TapeConfig::default() }
}

#[tokio::test]
async fn without_an_fsync_there_is_no_ok() {
    let disk = Arc::new(Faulty::default());
    let rig = Rig::with(config(), on(&disk)).await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m1", GAME, 1)).await["seq"], 1);
    disk.fails.store(true, Ordering::SeqCst);
    for mid in ["m2", "m3", "m2"] {
        let e = publish(&mut ws, publication(mid, GAME, 2)).await;
        assert_eq!(
            (&e["op"], &e["code"], &e["retry"], &e["mid"]),
            (&json!("err"), &json!(5000), &json!(true), &json!(mid)),
            "{e}"
        );
        let written = e["msg"].as_str().unwrap().starts_with("written");
        assert!(!written || mid == "m2", "{mid} was never written: {e}");
    }
    // What was confirmed before stays so.
    assert_eq!(publish(&mut ws, publication("m1", GAME, 1)).await["dup"], true);
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\ngateway_publish_failures_total 1\n"), "{metrics}");
    let dir = rig.crash().await;
    // A new process on a good disk: whatever became of them, sent again they are there once.
    let rig = Rig::open(dir, config(), TapeConfig::default()).await;
    let mut ws = rig.client().await;
    for mid in ["m1", "m2", "m3"] {
        let col = if mid == "m1" { 1 } else { 2 };
        assert_eq!(publish(&mut ws, publication(mid, GAME, col)).await["op"], "ok", "{mid}");
    }
    assert_eq!(mids(&rig.tape, GAME), ["m1", "m2", "m3"]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_when_there_is_room_again_it_goes_on() {
    let disk = Arc::new(Faulty::default());
    let rig = Rig::with(config(), on(&disk)).await;
    let mut ws = rig.client().await;
    assert_eq!(publish(&mut ws, publication("m1", GAME, 1)).await["seq"], 1);
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let e = publish(&mut ws, publication("m2", GAME, 2)).await;
        assert_eq!((&e["code"], &e["retry"]), (&json!(5003), &json!(true)), "{e}");
    }
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(
        publish(&mut ws, publication("m2", GAME, 2)).await,
        json!({"op": "ok", "id": 9, "mid": "m2", "topic": GAME, "seq": 2})
    );
    assert_eq!(mids(&rig.tape, GAME), ["m1", "m2"]);
}

#[tokio::test]
async fn while_the_disk_works_others_are_served_and_the_next_group_gathers() {
    let disk = Arc::new(Faulty::default());
    let rig = Rig::with(config(), on(&disk)).await;
    let mut clients = join_all((0..20).map(|_| rig.client())).await;
    assert_eq!(publish(&mut clients[0], publication("first", GAME, 0)).await["op"], "ok");
    disk.sync_ms.store(400, Ordering::SeqCst);
    for (i, ws) in clients.iter_mut().enumerate() {
        for n in 0..10 {
            ws.send(publication(&format!("{i}-{n}"), GAME, n)).await;
        }
    }
    let mut other = rig.client().await;
    let began = std::time::Instant::now();
    other.send(json!({"op": "ping", "id": 5})).await;
    assert_eq!(other.next().await["op"], "pong");
    let took = began.elapsed();
    for ws in &mut clients {
        for _ in 0..10 {
            assert_eq!(answer(ws).await["op"], "ok");
        }
    }
    let all = began.elapsed();
    assert!(took < all / 2, "a ping took {took:?} of {all:?}");
    let mut names = mids(&rig.tape, GAME);
    assert_eq!(names.len(), 201);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 201);
    let (_, metrics) = rig.get("/metrics").await;
    let line = metrics.lines().find(|l| l.starts_with("gateway_publication_groups_total ")).unwrap();
    let groups: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(groups < 40, "{groups} groups for 201 publications");
}

/// Passes bytes on until so many went one way, then breaks off.
async fn proxy(server: std::net::SocketAddr, listener: TcpListener, down: usize, up: usize) {
    let Ok((client, _)) = listener.accept().await else { return };
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = pass(&mut from_server, &mut to_client, down) => {}
        () = pass(&mut from_client, &mut to_server, up) => {}
    }
}

async fn pass(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin), mut left: usize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = left.min(buffer.len());
        let Ok(n @ 1..) = from.read(&mut buffer[..room]).await else { return };
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        left -= n;
    }
}

/// Publishes `queue` in order over one connection that breaks: sends all that is not confirmed, and stops when it breaks.
async fn some(
    at: std::net::SocketAddr,
    queue: &mut Vec<(String, Value)>,
    seqs: &mut Vec<(String, u64)>,
    dups: &mut u64,
) {
    let Ok(stream) = TcpStream::connect(at).await else { return };
    let Ok(Ok((mut socket, _))) = timeout(Duration::from_secs(5), client_async("ws://gateway/v1/ws", stream)).await
    else {
        return;
    };
    for (_, message) in queue.iter() {
        if socket.send(Message::text(message.to_string())).await.is_err() {
            return;
        }
    }
    while !queue.is_empty() {
        let Ok(Some(Ok(frame))) = timeout(Duration::from_secs(60), socket.next()).await else { return };
        let Ok(text) = frame.into_text() else { continue };
        let Ok(m) = serde_json::from_str::<Value>(&text) else { continue };
        match m["op"].as_str().unwrap() {
            "ok" => {
                let mid = m["mid"].as_str().unwrap().to_owned();
                queue.retain(|(name, _)| *name != mid);
                *dups += u64::from(m["dup"] == true);
                seqs.push((mid, m["seq"].as_u64().unwrap()));
            }
            "welcome" | "hb" => {}
            "drain" => return,
            _ => panic!("{m}"),
        }
    }
}

/// `WHOLETAPE_CUTS=2000` for the long one; `WHOLETAPE_SEED` reruns one.
#[tokio::test]
async fn publishers_that_send_again_after_each_cut_have_each_effect_once() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (cuts, seed) = (number("WHOLETAPE_CUTS").unwrap_or(150), number("WHOLETAPE_SEED").unwrap_or(7));
    println!("WHOLETAPE_CUTS={cuts} WHOLETAPE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rig = rig().await;
    let (mut made, mut deaths, mut dups) = (0, 0, 0);
    let (mut queue, mut seqs): (Vec<(String, Value)>, Vec<(String, u64)>) = (Vec::new(), Vec::new());
    for cut in 0..=cuts {
        if rng.random_range(0..15) == 0 {
            rig = Rig::open(rig.crash().await, config(), TapeConfig::default()).await;
            deaths += 1;
        }
        for _ in 0..rng.random_range(0..10) {
            made += 1;
            let mid = format!("p{made}");
            queue.push((mid.clone(), publication(&mid, GAME, made)));
        }
        if cut == cuts {
            some(rig.at, &mut queue, &mut seqs, &mut dups).await;
            break;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (down, up) = (rng.random_range(0..3_000), rng.random_range(0..4_000));
        let broken = tokio::spawn(proxy(rig.at, listener, down, up));
        some(at, &mut queue, &mut seqs, &mut dups).await;
        broken.abort();
    }
    assert!(queue.is_empty(), "{} without an answer", queue.len());
    let names: Vec<String> = (1..=made).map(|n| format!("p{n}")).collect();
    assert_eq!(mids(&rig.tape, GAME), names, "lost, doubled or out of order");
    for (mid, seq) in seqs {
        assert_eq!(format!("p{seq}"), mid, "confirmed with another's place");
    }
    println!("{cuts} cuts, {deaths} deaths, {made} publications, {dups} confirmed again");
    assert!(dups > 0 && deaths > 0, "nothing was tried: {dups} {deaths}");
}
