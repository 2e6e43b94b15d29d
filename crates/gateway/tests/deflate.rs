//! permessage-deflate, and the echo endpoint.

mod rig;

use std::io::Write;
use std::time::Duration;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use futures_util::{SinkExt, StreamExt};
use rig::{BOOK, Rig, Ws, book, level, snapshot};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, Level, View};
use wholetape_tape::TapeConfig;

const BROWSER: &str = "permessage-deflate; client_max_window_bits";

/// A client with its own reading of frames and streams: nothing of the codec that is judged.
struct Raw {
    socket: TcpStream,
    head: String,
    bytes: Vec<u8>,
    /// Frames that came compressed.
    compressed: usize,
}

impl Raw {
    async fn open(rig: &Rig, path: &str, offer: &str) -> Self {
        let mut socket = TcpStream::connect(rig.at).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n",
            rig.at
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Self { socket, head: String::new(), bytes: Vec::new(), compressed: 0 };
        while !raw.bytes.ends_with(b"\r\n\r\n") {
            let byte = raw.socket.read_u8().await.unwrap();
            raw.bytes.push(byte);
        }
        raw.head = String::from_utf8(std::mem::take(&mut raw.bytes)).unwrap().to_lowercase();
        raw
    }

    /// Writes one masked frame.
    async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut out = vec![first];
        match payload.len() {
            n @ 0..126 => out.push(0x80 | n as u8),
            n => {
                out.push(0x80 | 126);
                out.extend((n as u16).to_be_bytes());
            }
        }
        out.extend([1, 2, 3, 4]);
        out.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(b, m)| b ^ m));
        self.socket.write_all(&out).await.unwrap();
    }

    async fn need(&mut self, n: usize) {
        while self.bytes.len() < n {
            let more = timeout(Duration::from_secs(20), self.socket.read_buf(&mut self.bytes)).await;
            assert!(more.expect("bytes in 20 s").unwrap() > 0, "the server is gone");
        }
    }

    /// The next frame: its first byte, its payload inflated.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        self.need(2).await;
        let (first, short) = (self.bytes[0], self.bytes[1]);
        let at = match short {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        self.need(at).await;
        let len = match at {
            2 => usize::from(short),
            _ => self.bytes[2..at].iter().fold(0, |n, b| n << 8 | usize::from(*b)),
        };
        self.need(at + len).await;
        let payload = self.bytes[at..at + len].to_vec();
        self.bytes.drain(..at + len);
        if first & 0x40 == 0 {
            return (first, payload);
        }
        self.compressed += 1;
        let mut out = Vec::with_capacity(4 << 20);
        let whole = [&payload[..], &[0, 0, 0xff, 0xff]].concat();
        let mut machine = Decompress::new(false);
        machine.decompress_vec(&whole, &mut out, FlushDecompress::Sync).unwrap();
        assert!(machine.total_in() as usize == whole.len() && out.len() < out.capacity());
        (first & !0x40, out)
    }

    /// The next text message.
    async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                (0x81, text) => return serde_json::from_slice(&text).unwrap(),
                (0x89 | 0x8a, _) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The close code, after whatever comes before it.
    async fn closed(&mut self) -> u16 {
        loop {
            if let (0x88, code) = self.next().await {
                return u16::from_be_bytes([code[0], code[1]]);
            }
        }
    }
}

/// As a client compresses a message: a stream of its own, without the end of its last block.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.flush().unwrap();
    let mut out = encoder.get_ref().clone();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// A delta that takes some kilobytes as JSON.
fn large(n: u64) -> View<'static> {
    let levels: Vec<Level> = (0..80).map(|i| level(1_000 - i, 1 + (i * 7 + n as i64) % 900)).collect();
    let asks: Vec<Level> = (0..80).map(|i| level(1_001 + i, 1 + (i * 3 + n as i64) % 900)).collect();
    book(BookAction::Delta, n, &levels, &asks)
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, text) = rig.get("/metrics").await;
    let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn subscribe(raw: &mut Raw) -> Value {
    assert_eq!(raw.message().await["op"], "welcome");
    raw.frame(0x81, json!({"op": "sub", "id": 1, "topic": BOOK}).to_string().as_bytes()).await;
    assert_eq!(raw.message().await["op"], "subd");
    raw.message().await
}

#[tokio::test]
async fn one_compression_serves_all_who_offered_it() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    let mut plain = rig.client().await;
    plain.sub(BOOK, json!("live")).await;
    let snap = plain.apply(1).await.remove(0);
    let mut clients = Vec::new();
    for offer in [BROWSER, BROWSER, "permessage-deflate; server_max_window_bits=10"] {
        let mut raw = Raw::open(&rig, "/v1/ws", offer).await;
        assert!(raw.head.contains("permessage-deflate; server_no_context_takeover; client_no_context_takeover"));
        assert_eq!(raw.head.contains("server_max_window_bits=9"), offer != BROWSER, "{}", raw.head);
        assert_eq!(subscribe(&mut raw).await, snap, "short ones come as they are");
        assert_eq!(raw.compressed, 0);
        clients.push(raw);
    }
    let n = 20;
    for i in 0..n {
        rig.append(BOOK, large(2 + i));
    }
    let expected = plain.apply(n as usize).await;
    for raw in &mut clients {
        for message in &expected {
            assert_eq!(&raw.message().await, message);
        }
        assert_eq!(raw.compressed, n as usize);
    }
    assert_eq!(metric(&rig, "gateway_compressed_frames_total").await, 3 * n);
    assert_eq!(metric(&rig, "gateway_compressed_messages_total").await, 2 * n, "once for each window");
    let (sent, saved) = (
        metric(&rig, "gateway_compressed_bytes_total").await,
        metric(&rig, "gateway_compressed_saved_bytes_total").await,
    );
    assert!(sent > 0 && saved > 2 * sent, "{saved} of {}", sent + saved);
}

#[tokio::test]
async fn batches_are_compressed_too() {
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    let mut raw = Raw::open(&rig, "/v1/ws?batch=1", BROWSER).await;
    assert_eq!(raw.message().await["op"], "welcome");
    raw.frame(0x81, json!({"op": "hello", "batch": true, "linger_ms": 100}).to_string().as_bytes()).await;
    raw.frame(0x81, json!({"op": "sub", "topic": BOOK}).to_string().as_bytes()).await;
    let mut seq = 0;
    while seq < 11 {
        let message = raw.message().await;
        for m in message.as_array().map_or(std::slice::from_ref(&message), Vec::as_slice) {
            if m["op"] == "snap" {
                seq = 1;
                for i in 0..10 {
                    rig.append(BOOK, large(2 + i));
                }
            } else if m["op"] == "data" {
                assert_eq!(m["seq"], seq + 1);
                seq += 1;
            }
        }
    }
    assert!(raw.compressed > 0);
}

#[tokio::test]
async fn it_may_be_off_and_needs_an_offer() {
    let rig = Rig::with(GatewayConfig { deflate: false, ..GatewayConfig::default() }, TapeConfig::default()).await;
    let raw = Raw::open(&rig, "/v1/ws", BROWSER).await;
    assert!(!raw.head.contains("sec-websocket-extensions"), "{}", raw.head);
    let rig = Rig::new().await;
    for offer in ["permessage-bzip2", "permessage-deflate; server_max_window_bits=8"] {
        let mut raw = Raw::open(&rig, "/v1/ws", offer).await;
        assert!(!raw.head.contains("sec-websocket-extensions"), "{}", raw.head);
        // What was not agreed on is a reserved bit.
        raw.frame(0xc1, &packed(b"{}")).await;
        assert_eq!(raw.closed().await, 1002);
    }
}

#[tokio::test]
async fn compressed_ops_are_heard_and_bombs_are_not() {
    let rig = Rig::new().await;
    let mut raw = Raw::open(&rig, "/v1/ws", BROWSER).await;
    raw.message().await;
    for id in [7, 8] {
        raw.frame(0xc1, &packed(json!({"op": "ping", "id": id}).to_string().as_bytes())).await;
        assert_eq!(raw.message().await["id"], id);
    }
    // 64 KiB inflated may be; one byte more is not.
    let longest = format!("{{\"op\":\"ping\"{}}}", " ".repeat((64 << 10) - 13));
    raw.frame(0xc1, &packed(longest.as_bytes())).await;
    assert_eq!(raw.message().await["op"], "pong");
    raw.frame(0xc1, &packed(format!("{longest} ").as_bytes())).await;
    assert_eq!(raw.closed().await, 1009);
    let check = async |payload: &[u8], code: u16| {
        let mut raw = Raw::open(&rig, "/v1/ws", BROWSER).await;
        raw.frame(0xc1, payload).await;
        assert_eq!(raw.closed().await, code, "{payload:x?}");
    };
    check(&packed(&vec![b' '; 20 << 20]), 1009).await;
    check(&packed(&[0xff; 40]), 1007).await;
    check(&[0x07; 20], 1007).await;
    let whole = packed(&b"{\"op\":\"ping\",\"id\":1234567}"[..]);
    check(&whole[..whole.len() - 5], 1007).await;
}

#[tokio::test]
async fn echo_is_there_where_it_is_asked_for() {
    let rig = Rig::new().await;
    assert!(rig.get("/echo").await.0.starts_with("HTTP/1.1 404"));
    let rig = Rig::with(GatewayConfig { echo: true, ..GatewayConfig::default() }, TapeConfig::default()).await;
    let limits = WebSocketConfig::default().max_message_size(Some(32 << 20)).max_frame_size(Some(32 << 20));
    let url = format!("ws://{}/echo", rig.at);
    let (socket, _) = connect_async_with_config(&url, Some(limits), false).await.unwrap();
    let mut ws = Ws { socket, rule: wholetape_wire::client::Client::new() };
    let longest = "x".repeat(16 << 20);
    for message in
        [Message::text("é"), Message::binary(vec![0, 255]), Message::text(""), Message::text(longest.clone())]
    {
        ws.socket.send(message.clone()).await.unwrap();
        let back = timeout(Duration::from_secs(60), ws.socket.next()).await.unwrap().unwrap().unwrap();
        assert!(back == message);
    }
    ws.socket.send(Message::text(longest + "x")).await.unwrap();
    assert_eq!(ws.closed().await, 1009);
    let mut raw = Raw::open(&rig, "/echo", BROWSER).await;
    let text = "wholetape ".repeat(100);
    raw.frame(0xc1, &packed(text.as_bytes())).await;
    assert_eq!(raw.next().await, (0x81, text.into_bytes()));
    assert_eq!(raw.compressed, 1);
    raw.frame(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(raw.closed().await, 1000);
}
