//! A venue on loopback, as small as it can be: REST by a closure, sockets by a closure, faults by whoever writes them.
//! Our own words after the Binance spot documents (see `docs/venues/`), no recorded data.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Status, extra header lines, body.
pub type RestAnswer = (u16, String, String);

/// An HTTP/1.1 server that keeps connections alive and counts them.
pub struct RestServer {
    pub addr: SocketAddr,
    pub accepts: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
}

impl RestServer {
    pub async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(String) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = RestAnswer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepts, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (a, r) = (accepts.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                a.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer.clone(), r.clone()));
            }
        });
        Self { addr, accepts, requests }
    }
}

async fn serve<F, R>(mut stream: TcpStream, answer: F, requests: Arc<AtomicUsize>)
where
    F: Fn(String) -> R,
    R: Future<Output = RestAnswer>,
{
    let mut buf = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => buf.extend_from_slice(&chunk[..n]),
            }
        };
        let head = String::from_utf8_lossy(&buf[..end]).into_owned();
        buf.drain(..end);
        requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let (status, headers, body) = answer(path).await;
        let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() || status == 599 {
            return;
        }
    }
}

pub type ServerSocket = WebSocketStream<TcpStream>;

/// A WebSocket server; the closure has each connection and its number.
pub async fn ws_server<F, R>(handle: F) -> SocketAddr
where
    F: Fn(ServerSocket, usize) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut n = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let (handle, number) = (handle.clone(), n);
            n += 1;
            tokio::spawn(async move {
                stream.set_nodelay(true).unwrap();
                if let Ok(ws) = tokio_tungstenite::accept_async(stream).await {
                    handle(ws, number).await;
                }
            });
        }
    });
    addr
}

/// Reads the subscription and acknowledges it.
pub async fn acknowledge(ws: &mut ServerSocket) {
    while let Some(Ok(message)) = ws.next().await {
        if let Message::Text(text) = message {
            let id = text.split("\"id\":").nth(1).map_or("1", |t| t.split([',', '}']).next().unwrap_or("1"));
            let ack = format!("{{\"result\":null,\"id\":{id}}}");
            ws.send(Message::text(ack)).await.ok();
            return;
        }
    }
}

/// An aggregate trade as the combined stream wraps it.
pub fn trade(id: u64) -> String {
    let t = 1_700_000_000_000 + id;
    format!(
        "{{\"stream\":\"btcusdt@aggTrade\",\"data\":{{\"e\":\"aggTrade\",\"E\":{t},\"s\":\"BTCUSDT\",\"a\":{id},\"p\":\"100.50000000\",\"q\":\"0.10000000\",\"f\":{id},\"l\":{id},\"T\":{t},\"m\":true,\"M\":true}}}}"
    )
}

pub fn rest_trade(id: u64) -> String {
    let t = 1_700_000_000_000 + id;
    format!(
        "{{\"a\":{id},\"p\":\"100.50000000\",\"q\":\"0.10000000\",\"f\":{id},\"l\":{id},\"T\":{t},\"m\":true,\"M\":true}}"
    )
}

/// `/api/v3/aggTrades` of a venue whose newest trade is `newest()`.
pub fn agg_trades(path: &str, newest: u64) -> RestAnswer {
    let arg = |name: &str| -> Option<u64> {
        path.split(['?', '&']).find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let limit = arg("limit").unwrap_or(500);
    let from = arg("fromId").unwrap_or_else(|| (newest + 1).saturating_sub(limit));
    let body: Vec<String> = (from..=newest).take(usize::try_from(limit).unwrap()).map(rest_trade).collect();
    (200, "x-mbx-used-weight-1m: 4\r\n".into(), format!("[{}]", body.join(",")))
}

/// Waits until `what` holds, `patience` at most.
pub async fn until(patience: Duration, what: impl Fn() -> bool) -> bool {
    let end = tokio::time::Instant::now() + patience;
    while !what() {
        if tokio::time::Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}
