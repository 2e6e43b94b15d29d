//! What it costs to give one message to many connections: ours beside tokio-tungstenite, fastwebsockets, and the least that a writer by hand can do.
//!
//! `cargo bench -p wholetape-ws --bench fanout [-- ROUNDS]`
//!
//! In each round every one of 200 connections gets the same 8 messages and is flushed. The transport takes everything and counts it, so that the
//! codecs are compared and not the kernel; `loopback` puts real sockets there, which another thread empties. The writer by hand puts header
//! and payload into one buffer for each connection, without any state: what sharing saves is beside it. Sides take turns, the best of five is told.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use fastwebsockets::{Frame, Payload, WebSocket as Fast};
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
use wholetape_ws::{Block, Limits, Opcode, Settings, Socket, answer, header};

const CLIENTS: usize = 200;
const MESSAGES: usize = 8;
const WRITE_BYTES: usize = 64 << 10;

/// Takes everything.
struct Hole(Arc<AtomicU64>);

impl AsyncRead for Hole {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Hole {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(buf.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let n = bufs.iter().map(|b| b.len()).sum();
        self.0.fetch_add(n as u64, Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

enum Side<S> {
    Ours(Vec<Socket<S>>),
    Tungstenite(Vec<WebSocketStream<S>>),
    Fast(Vec<Fast<S>>),
    Hand(Vec<S>),
}

/// The sides, by name.
const SIDES: [&str; 5] = ["ours", "ours, compressed", "tokio-tungstenite", "fastwebsockets", "by hand"];

async fn side<S: Io>(name: &str, ios: Vec<S>) -> Side<S> {
    let limits = Limits { message: 64 << 10, fragments: 64 };
    let deflate = if name == "ours, compressed" { answer(["permessage-deflate"]) } else { None };
    let settings = Settings { limits, deflate, write_bytes: WRITE_BYTES };
    match name {
        "tokio-tungstenite" => {
            let config = WebSocketConfig::default().write_buffer_size(WRITE_BYTES);
            let mut all = Vec::new();
            for io in ios {
                all.push(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await);
            }
            Side::Tungstenite(all)
        }
        "fastwebsockets" => {
            Side::Fast(ios.into_iter().map(|io| Fast::after_handshake(io, fastwebsockets::Role::Server)).collect())
        }
        "by hand" => Side::Hand(ios),
        _ => Side::Ours(ios.into_iter().map(|io| Socket::server(io, settings)).collect()),
    }
}

/// One round; the message is made for it, as a live one is.
async fn round<S: Io>(side: &mut Side<S>, text: &[u8]) {
    match side {
        Side::Ours(all) => {
            let blocks: Vec<Block> = (0..MESSAGES).map(|_| Block::new(Opcode::Text, text)).collect();
            for socket in all {
                for block in &blocks {
                    socket.send(block);
                }
                socket.flush().await.expect("flush");
            }
        }
        Side::Tungstenite(all) => {
            let made = || Utf8Bytes::try_from(Bytes::copy_from_slice(text)).expect("UTF-8");
            let messages: Vec<Utf8Bytes> = (0..MESSAGES).map(|_| made()).collect();
            for socket in all {
                for message in &messages {
                    socket.feed(Message::Text(message.clone())).await.expect("feed");
                }
                socket.flush().await.expect("flush");
            }
        }
        Side::Fast(all) => {
            for socket in all {
                for _ in 0..MESSAGES {
                    socket.write_frame(Frame::text(Payload::Borrowed(text))).await.expect("write");
                }
            }
        }
        Side::Hand(all) => {
            for io in all {
                let mut out = Vec::with_capacity(MESSAGES * (text.len() + 10));
                for _ in 0..MESSAGES {
                    let (head, n) = header(0x81, text.len(), None);
                    out.extend_from_slice(&head[..n]);
                    out.extend_from_slice(text);
                }
                io.write_all(&out).await.expect("write");
            }
        }
    }
}

async fn measure<S: Io>(name: &str, ios: Vec<S>, text: &[u8], rounds: usize) -> f64 {
    let mut side = side(name, ios).await;
    round(&mut side, text).await;
    let began = Instant::now();
    for _ in 0..rounds {
        round(&mut side, text).await;
    }
    began.elapsed().as_nanos() as f64 / (rounds * CLIENTS * MESSAGES) as f64
}

/// JSON as the gateway sends it, of about `len` bytes: levels of a book.
fn text(len: usize) -> Vec<u8> {
    let mut text = String::from(
        r#"{"op":"data","topic":"book.BTCUSDT-PERP.BINANCE","seq":1042,"ts":1790000000000456,"data":{"b":["#,
    );
    let mut i = 0_u64;
    while text.len() + 30 < len {
        i += 1;
        let size = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        text.push_str(&format!(r#"["{}.{}","{}.{:03}"],"#, 61_800 - i, i % 10, size % 40, size % 1_000));
    }
    text.push_str(r#"["1","1"]],"a":[]}}"#);
    text.into_bytes()
}

/// Connections to a thread that empties them.
async fn loopback() -> Vec<TcpStream> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let at = listener.local_addr().expect("address");
    let mut ours = Vec::new();
    for _ in 0..CLIENTS {
        let (theirs, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
        let mut theirs = theirs.expect("connect").into_std().expect("std");
        theirs.set_nonblocking(false).expect("blocking");
        thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(1..) = theirs.read(&mut bytes) {}
            })
            .expect("thread");
        ours.push(accepted.expect("accept").0);
    }
    ours
}

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    println!(
        "ns for each delivered message, best of 5; {CLIENTS} connections, {MESSAGES} messages a flush, {rounds} rounds"
    );
    for (place, rounds) in [("nowhere", rounds), ("loopback", (rounds / 8).max(1))] {
        for len in [200, 1_500, 16_000] {
            let text = text(len);
            let mut best = [f64::INFINITY; SIDES.len()];
            for _ in 0..5 {
                for (name, best) in SIDES.iter().zip(&mut best) {
                    let took = runtime.block_on(async {
                        if place == "nowhere" {
                            let count = Arc::new(AtomicU64::new(0));
                            let ios = (0..CLIENTS).map(|_| Hole(count.clone())).collect();
                            measure(name, ios, &text, rounds).await
                        } else {
                            measure(name, loopback().await, &text, rounds).await
                        }
                    });
                    *best = best.min(took);
                }
            }
            let told: Vec<String> = SIDES.iter().zip(best).map(|(name, ns)| format!("{name} {ns:.0}")).collect();
            println!("{place}, {} B: {}", text.len(), told.join(", "));
        }
    }
}
