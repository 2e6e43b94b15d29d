//! How fast two WebSocket libraries read the same recorded frames over loopback: `cargo run --release -p wholetape-feed
//! --example ws_libraries`. The figures are in `docs/adr/0006-libraries.md`.
//!
//! One thread sends the frames of a BTCUSDT futures recording, encoded once, over plain TCP; the reader does nothing but
//! read and count. So the ratio is that of the libraries alone. Reads `$WHOLETAPE_CAPTURES` or `../shared/captures`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Instant;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

const FRAMES: usize = 400_000;
const ROUNDS: usize = 3;

fn main() {
    let Some(frames) = recorded() else {
        println!("skipped: no captures");
        return;
    };
    let bytes: usize = frames.iter().map(Vec::len).sum();
    println!("{} recorded frames, {} bytes on average, {FRAMES} sent per round", frames.len(), bytes / frames.len());
    let mut wire = Vec::new();
    for i in 0..FRAMES {
        put_frame(&frames[i % frames.len()], &mut wire);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for round in 0..ROUNDS {
        let a = runtime.block_on(tungstenite(serve(wire.clone())));
        let b = runtime.block_on(fast(serve(wire.clone())));
        println!(
            "round {round}: tokio-tungstenite {a:>9.0} frames/s   fastwebsockets {b:>9.0} frames/s   ratio {:.2}",
            a / b
        );
    }
}

fn recorded() -> Option<Vec<Vec<u8>>> {
    let dir = std::env::var_os("WHOLETAPE_CAPTURES").map_or_else(|| PathBuf::from("../shared/captures"), PathBuf::from);
    let file = std::fs::File::open(dir.join("binance-usdm/btcusdt_20240808.jsonl.zst")).ok()?;
    let reader = BufReader::new(zstd::Decoder::new(file).ok()?);
    let mut frames = Vec::new();
    for line in reader.lines() {
        let value: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
        if value["kind"] == "ws_in" {
            frames.push(value["data"].as_str()?.as_bytes().to_vec());
        }
        if frames.len() >= 50_000 {
            break;
        }
    }
    (!frames.is_empty()).then_some(frames)
}

/// A server's text frame: never masked (RFC 6455 §5.1).
fn put_frame(payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

fn serve(wire: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the reader connects");
        stream.set_nodelay(true).expect("a socket option");
        // The reader leaves once it has counted all.
        let _ = stream.write_all(&wire);
    });
    addr
}

async fn tungstenite(addr: SocketAddr) -> f64 {
    let tcp = TcpStream::connect(addr).await.expect("loopback");
    let mut ws = WebSocketStream::from_raw_socket(tcp, Role::Client, None).await;
    let began = Instant::now();
    for _ in 0..FRAMES {
        match ws.next().await {
            Some(Ok(Message::Text(text))) => drop(std::hint::black_box(text)),
            other => panic!("{other:?}"),
        }
    }
    FRAMES as f64 / began.elapsed().as_secs_f64()
}

async fn fast(addr: SocketAddr) -> f64 {
    let tcp = TcpStream::connect(addr).await.expect("loopback");
    let mut ws = fastwebsockets::WebSocket::after_handshake(tcp, fastwebsockets::Role::Client);
    ws.set_auto_close(false);
    let began = Instant::now();
    for _ in 0..FRAMES {
        let frame = ws.read_frame().await.expect("a frame");
        // Text is UTF-8 or an error with the other library, so it is checked here too.
        std::hint::black_box(std::str::from_utf8(&frame.payload).expect("text"));
    }
    FRAMES as f64 / began.elapsed().as_secs_f64()
}
