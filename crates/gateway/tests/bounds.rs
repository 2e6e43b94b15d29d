//! Limits, errors, closes, heartbeats, slow clients, retention, HTTP.

mod rig;

use std::time::Duration;

use futures_util::SinkExt;
use proptest::test_runner::{Config, TestRunner};
use rig::{BOOK, QUOTE, Rig, TRADE, delta, ids, patient, snapshot};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wholetape_gateway::GatewayConfig;
use wholetape_tape::{Retention, TapeConfig};
use wholetape_wire::BookView;
use wholetape_wire::client::{Happening, apply_book};

fn config(f: impl FnOnce(&mut GatewayConfig)) -> GatewayConfig {
    let mut c = GatewayConfig::default();
    f(&mut c);
    c
}

#[tokio::test]
async fn errors_have_their_codes() {
    let mut rig = Rig::with(config(|c| c.violations_max = 100), TapeConfig::default()).await;
    rig.trades(1..=3);
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    for (text, code, path) in [
        ("{", 1001, Value::Null),
        (r#"{"op":"dance","id":4}"#, 1002, json!("op")),
        (r#"{"op":"ping","x":1}"#, 1003, json!("x")),
        (r#"{"op":"sub","topic":"trade.X.Y"}"#, 2001, Value::Null),
        (r#"{"op":"sub","topic":"nonsense"}"#, 2001, Value::Null),
        (r#"{"op":"sub","topic":"bar-1m.*"}"#, 2001, Value::Null),
        (r#"{"op":"sub","topic":"trade.BTCUSDT.BINANCE"}"#, 2006, Value::Null),
        (r#"{"op":"sub","topic":"trade.BTCUSDT.BINANCE","conflate":"1s"}"#, 2004, Value::Null),
        (r#"{"op":"sub","topic":"book.BTCUSDT.BINANCE","from":{"ts":5}}"#, 1003, json!("from.ts")),
        (r#"{"op":"sub","topic":"book.BTCUSDT.BINANCE","view":"clean"}"#, 1003, json!("view")),
        (r#"{"op":"sub","topic":"book.BTCUSDT.BINANCE","short":1}"#, 1003, json!("short")),
        (r#"{"op":"hello","num":"scaled"}"#, 1003, json!("num")),
        (r#"{"op":"unsub","topic":"quote.X.Y"}"#, 2008, Value::Null),
        (r#"{"op":"resume","session":"s","resume":"r","pos":{}}"#, 1003, json!("op")),
        (r#"{"op":"ack","a":{"trade.BTCUSDT.BINANCE":1}}"#, 1005, Value::Null),
        (r#"{"op":"ack","a":{"quote.X.Y":1}}"#, 2008, Value::Null),
        (r#"{"op":"ack","a":{"quote.X.Y":"1"}}"#, 1003, json!("a.quote.X.Y")),
        (r#"{"op":"pub","topic":"c4.game.1","mid":"m"}"#, 1003, json!("event")),
        (r#"{"op":"pub","topic":"trade.X.Y","mid":"m","event":"e"}"#, 3001, Value::Null),
        (r#"{"op":"flow","topic":"c4.game.1"}"#, 1003, json!("credit")),
        (r#"{"op":"auth","key":"k"}"#, 1003, json!("ts")),
        (r#"{"op":"auth","key":"k","ts":1,"nonce":"n","sig":"00"}"#, 1008, Value::Null),
        (r#"{"op":"auth","token":"a.b.c"}"#, 1008, Value::Null),
    ] {
        ws.send_text(text).await;
        let e = ws.next().await;
        assert_eq!((&e["op"], &e["code"], &e["path"]), (&json!("err"), &json!(code), &path), "{text}: {e}");
    }
}

#[tokio::test]
async fn five_violations_end_the_connection() {
    let rig = Rig::new().await;
    let mut ws = rig.client().await;
    for _ in 0..5 {
        ws.send_text("no json").await;
    }
    for _ in 0..5 {
        assert_eq!(ws.next().await["code"], 1001);
    }
    assert_eq!(ws.closed().await, 4303);
}

#[tokio::test]
async fn too_many_ops_are_refused_with_a_wait() {
    let rig = Rig::new().await;
    let mut ws = rig.client().await;
    for i in 0..70 {
        ws.send(json!({"op": "hello", "id": i})).await;
    }
    let mut refused = 0;
    loop {
        let m = ws.next().await;
        if m["op"] == "err" {
            assert_eq!((&m["code"], &m["retry"]), (&json!(1006), &json!(true)));
            assert!(m["retry_ms"].as_u64().unwrap() > 0);
            refused += 1;
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(ws.closed().await, 4303);
}

#[tokio::test]
async fn strange_frames_close_with_their_code() {
    let rig = Rig::new().await;
    let mut ws = rig.client().await;
    ws.socket.send(Message::binary(vec![0x81, 0xa2])).await.unwrap();
    assert_eq!(ws.next().await["code"], 1003);
    assert_eq!(ws.closed().await, 1003);
    let mut ws = rig.client().await;
    ws.socket.send(Message::text("x".repeat(65 * 1024))).await.unwrap();
    assert_eq!(ws.closed().await, 1009);
}

/// The answer to bytes written after a bare handshake: whether the server closed with `code`.
async fn closes_with(rig: &Rig, sent: &[Vec<u8>], code: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut raw = tokio::net::TcpStream::connect(rig.at).await.unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        rig.at
    );
    raw.write_all(request.as_bytes()).await.unwrap();
    for bytes in sent {
        raw.write_all(bytes).await.unwrap();
    }
    let mut all = Vec::new();
    let read = async {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = raw.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..n]);
            // A close frame: its opcode, a length, the code.
            let close = |w: &[u8]| w[0] == 0x88 && w[2..4] == code.to_be_bytes();
            if all.windows(4).any(close) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(Duration::from_secs(5), read).await.unwrap_or(false)
}

#[tokio::test]
async fn a_message_of_endless_fragments_is_closed() {
    let rig = Rig::new().await;
    // Unmasked payloads of nothing: a mask of zeros. The first is text, the others go on.
    let fragment = |first: u8| vec![first, 0x81, 0, 0, 0, 0, b' '];
    let pieces = |n: usize| -> Vec<Vec<u8>> { (0..n).map(|i| fragment(u8::from(i == 0))).collect() };
    assert!(closes_with(&rig, &pieces(65), 1009).await);
    // 64 are a message, here one of blanks, which is no JSON and no reason to close.
    let mut whole = pieces(63);
    whole.push(fragment(0x80));
    whole.push(vec![0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
    assert!(!closes_with(&rig, &whole, 1009).await);
}

#[tokio::test]
async fn slow_and_endless_headers_are_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::new().await;
    let began = tokio::time::Instant::now();
    let mut slow = tokio::net::TcpStream::connect(rig.at).await.unwrap();
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\n").await.unwrap();
    let drip = async {
        // Until the other side is gone.
        while slow.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        began.elapsed()
    };
    let took = tokio::time::timeout(Duration::from_secs(9), drip).await.expect("cut");
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    let mut long = tokio::net::TcpStream::connect(rig.at).await.unwrap();
    let request = format!("GET /v1/ws HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9 << 10));
    let _ = long.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = long.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_closed() {
    let rig = Rig::with(config(|c| c.frame = Duration::from_millis(300)), TapeConfig::default()).await;
    let ping = || vec![0x89, 0x80, 0, 0, 0, 0];
    for begun in [vec![0x81], vec![0x81, 0x85, 0, 0, 0, 0, b'{']] {
        assert!(closes_with(&rig, &[ping(), begun], 4008).await);
    }
    // Whole frames are no reason, however long nothing follows.
    let mut ws = rig.client().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    ws.send(json!({"op": "ping"})).await;
    assert_eq!(ws.next().await["op"], "pong");
}

#[tokio::test]
async fn heartbeats_name_every_head_and_silence_ends() {
    let mut rig = Rig::with(config(|c| c.hb = Duration::from_secs(1)), TapeConfig::default()).await;
    rig.trades(1..=3);
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    ws.sub(TRADE, json!("live")).await;
    ws.sub(BOOK, json!("live")).await;
    let hb = ws.said("hb").await;
    let epoch = rig.tape.epoch();
    assert_eq!(hb["heads"], json!({TRADE: [epoch, 3], BOOK: [epoch, 1]}));
    assert!(hb["ts"].as_u64().unwrap() > 1_600_000_000_000_000);
    // A client that reads nothing answers no ping.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut silent = tokio::net::TcpStream::connect(rig.at).await.unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        rig.at
    );
    silent.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(12), async {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = silent.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..n]);
            if all.windows(2).any(|w| w == 4006_u16.to_be_bytes()) {
                return true;
            }
        }
        false
    });
    assert!(read.await.unwrap(), "closed with 4006");
}

#[tokio::test]
async fn what_retention_removed_is_named() {
    let tape = TapeConfig {
        segment_bytes: 64 << 10,
        retention: Retention { age_max: None, bytes_max: Some(128 << 10) },
        ..TapeConfig::default()
    };
    let mut rig = Rig::with(GatewayConfig::default(), tape).await;
    rig.append(BOOK, snapshot(1));
    for first in 0..60 {
        rig.trades(first * 100 + 1..=first * 100 + 100);
        rig.append(BOOK, if first % 10 == 9 { snapshot(first + 2) } else { delta(first + 2) });
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        while rig.tape.topics().iter().any(|t| t.oldest <= 5) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let id = rig.tape.head(&rig::t(TRADE)).unwrap() + 1;
            rig.trades(id..=id + 99);
            rig.append(BOOK, delta(id));
        }
    })
    .await
    .expect("retention removes old segments");
    // Whoever removes now is done with it.
    rig.tape.check_space();
    let epoch = rig.tape.epoch().to_owned();
    let head = rig.tape.head(&rig::t(TRADE)).unwrap();
    let mut ws = rig.client().await;
    let subd = ws.sub(TRADE, json!({"epoch": epoch, "seq": 3})).await;
    let (from, to) = (subd["missed"]["from"].as_u64().unwrap(), subd["missed"]["to"].as_u64().unwrap());
    assert_eq!((from, &subd["missed"]["why"], &subd["seq"]), (4, &json!("retention"), &json!(to)));
    let rows = ws.apply((head - to) as usize).await;
    assert_eq!(rows[0]["seq"].as_u64(), Some(to + 1));
    assert_eq!(rows.last().unwrap()["seq"].as_u64(), Some(head));
    // A book needs a whole state after it.
    let subd = ws.sub(BOOK, json!({"epoch": epoch, "seq": 1})).await;
    assert_eq!((&subd["missed"]["from"], &subd["missed"]["to"]), (&json!(2), &subd["seq"]));
    let snap = ws.apply(1).await.remove(0);
    assert_eq!((&snap["op"], &snap["seq"]), (&json!("snap"), &subd["seq"]));
}

#[tokio::test]
async fn a_slow_client_catches_up_and_harms_nobody() {
    let mut rig = Rig::with(patient(config(|c| c.ring_bytes = 64 << 10)), TapeConfig::default()).await;
    rig.trades(1..=1);
    let mut slow = rig.client().await;
    slow.sub(TRADE, json!("live")).await;
    let mut quick = rig.client().await;
    quick.sub(TRADE, json!("live")).await;
    // Far more than kernel buffers and ring hold, while `slow` does not read.
    let total: u64 = 60_000;
    for first in (2..=total).step_by(1_000) {
        let last = (first + 999).min(total);
        rig.trades(first..=last);
        quick.apply((last - first + 1) as usize).await;
    }
    assert_eq!(quick.rule.state(TRADE).unwrap().last, total);
    let rows = slow.apply(total as usize - 1).await;
    assert_eq!(ids(&rows), (2..=total).collect::<Vec<_>>());
    assert_eq!(slow.rule.resyncs(), 0);
}

#[tokio::test]
async fn drop_oldest_says_what_was_dropped() {
    let mut rig = Rig::with(config(|c| c.ring_bytes = 64 << 10), TapeConfig::default()).await;
    rig.trades(1..=1);
    rig.append(BOOK, snapshot(1));
    let mut ws = rig.client().await;
    for topic in [TRADE, BOOK] {
        ws.send(json!({"op": "sub", "topic": topic, "policy": "drop_oldest", "lag": 100})).await;
    }
    for first in (2..=60_000).step_by(1_000) {
        rig.trades(first..=first + 999);
        for n in 0..200 {
            rig.append_only(BOOK, delta(first * 1_000 + n), Default::default());
        }
        rig.lane.commit().unwrap();
        tokio::task::yield_now().await;
    }
    let heads = [rig.tape.head(&rig::t(TRADE)).unwrap(), rig.tape.head(&rig::t(BOOK)).unwrap()];
    let (mut out, mut start, mut held, mut dropped, mut view) = (Vec::new(), 0, 0, 0, BookView::new());
    while ws.rule.state(TRADE).is_none_or(|s| s.last < heads[0])
        || ws.rule.state(BOOK).is_none_or(|s| s.last < heads[1])
    {
        let frame = ws.next().await.to_string();
        ws.rule.on_text(&frame, &mut out);
        for h in out.drain(..) {
            match h {
                Happening::Apply { topic, message, .. } if topic == TRADE => {
                    held += u64::from(message["op"] == "data");
                }
                Happening::Apply { message, .. } => apply_book(&mut view, &message).unwrap(),
                Happening::Missed { topic, from, to, why } => {
                    assert_eq!(why, "slow");
                    dropped += if topic == TRADE { to - from + 1 } else { 0 };
                }
                Happening::Send(text) => panic!("a hole: {text}"),
                Happening::Subscribed { topic, seq } if topic == TRADE => start = seq,
                _ => {}
            }
        }
    }
    assert!(dropped > 0, "something was dropped");
    assert_eq!(held + dropped, heads[0] - start, "held and confessed make the whole");
    let mut fresh = rig.client().await;
    fresh.sub(BOOK, json!("live")).await;
    let mut theirs = BookView::new();
    apply_book(&mut theirs, &fresh.apply(1).await[0]).unwrap();
    assert_eq!(theirs.crc(), view.crc());
}

#[tokio::test]
async fn disconnect_and_stalls_close() {
    let f = |c: &mut GatewayConfig| {
        c.stall = Duration::from_secs(1);
        c.ring_bytes = 64 << 10;
    };
    let mut rig = Rig::with(config(f), TapeConfig::default()).await;
    rig.trades(1..=60_000);
    let mut ws = rig.client().await;
    ws.send(json!({"op": "sub", "topic": TRADE, "from": "earliest", "policy": "disconnect", "lag": 50})).await;
    assert_eq!(ws.closed().await, 4008);
    // A client that never reads is let go; the server's metrics tell.
    let mut stuck = rig.client().await;
    stuck.send(json!({"op": "sub", "topic": TRADE, "from": "earliest"})).await;
    tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            let (_, metrics) = rig.get("/metrics").await;
            if metrics.contains("gateway_closes_total{code=\"4008\"} 2") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("closed for lack of progress");
}

#[tokio::test]
async fn plain_http() {
    let mut rig = Rig::new().await;
    rig.trades(1..=7);
    let (head, body) = rig.get("/").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(body.contains("/page/main.js") && !body.contains("http://") && !body.contains("https://"));
    for path in ["/page/main.js", "/page/client.js", "/page/book.js", "/page/style.css", "/page/icon.svg"] {
        assert!(rig.get(path).await.0.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(rig.get("/nowhere").await.0.starts_with("HTTP/1.1 404"));
    let (_, topics) = rig.get("/v1/topics").await;
    let topics: Value = serde_json::from_str(&topics).unwrap();
    assert_eq!((&topics["topics"][0]["topic"], &topics["topics"][0]["head"]), (&json!(TRADE), &json!(7)));
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.starts_with("feed_up 1\n") && metrics.contains("\ngateway_connections 0\n"), "{metrics}");
    assert!(rig.get("/health/live").await.0.starts_with("HTTP/1.1 200"));
    let (head, body) = rig.get("/health/ready").await;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("no line is active"), "{head} {body}");
    assert!(rig.get("/v1/ws").await.0.starts_with("HTTP/1.1 426"));
    assert_eq!(rig.tape.head(&rig::t(QUOTE)), None);
}

/// Whatever text arrives, the connection answers or closes; the server lives.
#[test]
fn any_text_is_answered_or_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rig = runtime.block_on(Rig::with(config(|c| c.violations_max = u32::MAX), TapeConfig::default()));
    runtime.block_on(async { rig.trades(1..=3) });
    let strategy = r#"\PC{0,40}|\{"op":"(sub|unsub|resync|ping|hello)"(,"(id|topic|from|pos|lag)":([0-9]{1,18}|null|"[a-z.*]{0,8}"|\["x",1\]|\{"last":[0-9]{1,19}\})){0,4}\}"#;
    let mut runner = TestRunner::new(Config::with_cases(150));
    runner
        .run(&proptest::string::string_regex(strategy).unwrap(), |text| {
            runtime.block_on(async {
                let mut ws = rig.client().await;
                ws.send_text(&text).await;
                ws.send(json!({"op": "ping", "id": 77})).await;
                ws.said("pong").await;
            });
            Ok(())
        })
        .unwrap();
}
