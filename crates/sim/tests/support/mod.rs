//! A plain client that knows nothing of the simulator: raw frames from a socket, bodies from HTTP, and a naive book.

// Each test file uses its own part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use wholetape_sim::{Sim, SimConfig, SimHandle, VenueConfig};

pub const SPOT: &str = "binance-spot";
pub const USDM: &str = "binance-usdm";

/// A lively simulation in a folder.
pub fn config(dir: &std::path::Path, venues: Vec<VenueConfig>) -> SimConfig {
    SimConfig { seed: 11, data_dir: dir.to_path_buf(), venues, ..SimConfig::default() }
}

pub async fn start(config: SimConfig) -> SimHandle {
    Sim::start(config).await.expect("the simulation starts")
}

pub struct Client {
    pub ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub frames: Vec<String>,
}

impl Client {
    pub async fn open(url: &str) -> Self {
        let (ws, _) = connect_async(url).await.expect("handshake");
        Self { ws, frames: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.expect("sent");
    }

    /// The next text frame, or what ended the connection.
    pub async fn next(&mut self) -> Result<String, Option<Error>> {
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(_))) | None => return Err(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Some(error)),
            }
        }
    }

    /// Collects frames for so long; stops early when the connection ends.
    pub async fn listen(&mut self, millis: u64) -> Option<()> {
        let end = Instant::now() + Duration::from_millis(millis);
        loop {
            match tokio::time::timeout_at(end, self.next()).await {
                Ok(Ok(text)) => self.frames.push(text),
                Ok(Err(_)) => return None,
                Err(_) => return Some(()),
            }
        }
    }

    /// Waits for a frame that fits.
    pub async fn until(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                let text = self.next().await.expect("a frame");
                if fits(&text) {
                    return text;
                }
                self.frames.push(text);
            }
        };
        timeout(Duration::from_secs(10), found).await.expect("the frame comes")
    }

    /// Payloads of one stream among the collected combined frames.
    pub fn of(&self, stream: &str) -> Vec<Value> {
        self.frames
            .iter()
            .filter_map(|text| serde_json::from_str::<Value>(text).ok())
            .filter(|frame| frame["stream"] == stream)
            .map(|frame| frame["data"].clone())
            .collect()
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

/// One GET on a connection of its own.
pub async fn get(base: &str, path: &str) -> Reply {
    get_with(base, path, "").await
}

pub async fn get_with(base: &str, path: &str, header: &str) -> Reply {
    let host = base.strip_prefix("http://").expect("http");
    let mut socket = TcpStream::connect(host).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("asked");
    let mut raw = Vec::new();
    socket.read_to_end(&mut raw).await.expect("answered");
    let text = String::from_utf8(raw).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).expect("a status");
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    Reply { status, headers, body: serde_json::from_str(body).unwrap_or_default() }
}

pub type Levels = BTreeMap<String, String>;

/// A book as a plain map of texts; order does not matter for equality.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct NaiveBook {
    pub id: u64,
    pub bids: Levels,
    pub asks: Levels,
}

impl NaiveBook {
    pub fn snapshot(body: &Value) -> Self {
        let mut book = Self { id: body["lastUpdateId"].as_u64().expect("an id"), ..Self::default() };
        put(&mut book.bids, &body["bids"]);
        put(&mut book.asks, &body["asks"]);
        book
    }

    pub fn apply(&mut self, event: &Value) {
        put(&mut self.bids, &event["b"]);
        put(&mut self.asks, &event["a"]);
        self.id = event["u"].as_u64().expect("an id");
    }

    pub fn of(text: &wholetape_sim::BookText) -> Self {
        let levels = |levels: &[(String, String)]| levels.iter().cloned().collect();
        Self { id: text.last_update_id, bids: levels(&text.bids), asks: levels(&text.asks) }
    }
}

fn put(side: &mut Levels, levels: &Value) {
    for level in levels.as_array().expect("levels") {
        let (price, size) = (level[0].as_str().expect("price"), level[1].as_str().expect("size"));
        if size.bytes().all(|b| b == b'0' || b == b'.') {
            side.remove(price);
        } else {
            side.insert(price.to_owned(), size.to_owned());
        }
    }
}

/// The venues' own procedure over a snapshot and the events around it; `Err` tells where the chain broke.
pub fn sync(spot: bool, snapshot: &Value, events: &[Value]) -> Result<NaiveBook, String> {
    let mut book = NaiveBook::snapshot(snapshot);
    let id = |event: &Value, key: &str| event[key].as_u64().expect("an id");
    let mut joined = false;
    for event in events {
        let (first, last) = (id(event, "U"), id(event, "u"));
        if spot {
            if last <= book.id {
                continue;
            }
            if first > book.id + 1 || (joined && first != book.id + 1) {
                return Err(format!("gap: {first} after {}", book.id));
            }
        } else {
            if last < book.id && !joined {
                continue;
            }
            let previous = id(event, "pu");
            if (joined || first > book.id) && previous != book.id {
                return Err(format!("gap: pu {previous} after {}", book.id));
            }
        }
        joined = true;
        book.apply(event);
    }
    Ok(book)
}

pub fn captures() -> Option<PathBuf> {
    let root = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    if root.is_dir() {
        Some(root)
    } else {
        println!("skipped: no captures");
        None
    }
}
