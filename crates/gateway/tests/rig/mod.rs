//! A real tape in a temporary directory, a gateway on loopback, and clients.

#![allow(dead_code)]

pub mod attic;
pub mod ticket;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use wholetape_gateway::clients::Clients;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, GatewayError, Health, Surface};
use wholetape_model::mark::Validity;
use wholetape_model::{
    Book, BookAction, GapCause, Level, Levels, Price, Quote, Row, RowFlags, Scales, Side, Size, Topic, Trade,
    TradeCondition, Ts, ValidityState, View,
};
use wholetape_tape::history::History;
use wholetape_tape::{Lane, Tape, TapeConfig};
use wholetape_wire::client::{Client, Happening};

pub const TRADE: &str = "trade.BTCUSDT.BINANCE";
pub const BOOK: &str = "book.BTCUSDT.BINANCE";
pub const QUOTE: &str = "quote.BTCUSDT.BINANCE";

pub struct App;

impl Surface for App {
    fn metrics(&self) -> String {
        "feed_up 1\n".into()
    }

    fn health(&self) -> Health {
        Health { live: true, ready: false, reasons: vec!["no line is active".into()] }
    }
}

pub struct Rig {
    pub dir: TempDir,
    pub tape: Tape,
    pub lane: Lane,
    pub at: std::net::SocketAddr,
    pub clients: Clients,
    stop: CancellationToken,
    served: JoinHandle<Result<(), GatewayError>>,
}

pub fn t(name: &str) -> Topic {
    Topic::parse(name).unwrap()
}

pub fn trade(id: u64) -> View<'static> {
    View::Trade(Trade {
        id: id.into(),
        first_id: id,
        last_id: id,
        price: Price(6_000_000 + (id % 100) as i64),
        size: Size(1 + id as i64),
        aggressor: Some(Side::Buy),
        condition: TradeCondition::Regular,
    })
}

pub fn quote(id: u64) -> View<'static> {
    View::Quote(Quote {
        bid: Price(id as i64),
        bid_size: Size(1),
        ask: Price(id as i64 + 1),
        ask_size: Size(2),
        update_id: id,
    })
}

pub fn book(action: BookAction, id: u64, bids: &[Level], asks: &[Level]) -> View<'static> {
    let keep = |l: &[Level]| Levels::Native(Box::leak(l.to_vec().into_boxed_slice()));
    View::Book(Book { action, first_id: id, last_id: id, prev_id: id - 1, bids: keep(bids), asks: keep(asks) })
}

pub fn validity(state: ValidityState) -> View<'static> {
    View::Validity(Validity { state, cause: GapCause::Resync, update_id: 1, why: "test" })
}

pub const fn level(price: i64, size: i64) -> Level {
    Level { price: Price(price), size: Size(size) }
}

/// Delta n of a made-up book: moves one level a side.
pub fn delta(n: u64) -> View<'static> {
    let i = n as i64;
    book(BookAction::Delta, n, &[level(1_000 - i % 20, 1 + i % 7)], &[level(1_001 + i % 20, i % 5)])
}

pub fn snapshot(n: u64) -> View<'static> {
    book(BookAction::Snapshot, n, &[level(1_000, 5), level(999, 7)], &[level(1_001, 3)])
}

/// For clients that do not read for as long as the machine takes: it is not their heartbeat that is tried.
pub fn patient(config: GatewayConfig) -> GatewayConfig {
    GatewayConfig { hb: Duration::from_secs(150), stall: Duration::from_secs(300), ..config }
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(GatewayConfig::default(), TapeConfig::default()).await
    }

    pub async fn with(config: GatewayConfig, tape: TapeConfig) -> Self {
        Self::open(TempDir::new().unwrap(), config, tape).await
    }

    pub async fn open(dir: TempDir, config: GatewayConfig, tape: TapeConfig) -> Self {
        Self::open_with(dir, config, tape, |_| None).await
    }

    /// With whoever keeps what the tape lets go.
    pub async fn open_with(
        dir: TempDir,
        config: GatewayConfig,
        tape: TapeConfig,
        history: impl FnOnce(&Tape) -> Option<Arc<dyn History>>,
    ) -> Self {
        let tape = Tape::open(dir.path(), tape).unwrap();
        let lane = tape.lane("w0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let clients = Clients::default();
        let deps =
            Deps { tape: tape.clone(), history: history(&tape), surface: Arc::new(App), clients: clients.clone() };
        let served = tokio::spawn(Gateway::serve(config, deps, listener, stop.clone()));
        Self { dir, tape, lane, at, clients, stop, served }
    }

    pub fn append(&mut self, topic: &str, view: View<'_>) -> u64 {
        let seq = self.append_only(topic, view, RowFlags::default());
        self.lane.commit().unwrap();
        seq
    }

    pub fn append_only(&mut self, topic: &str, view: View<'_>, flags: RowFlags) -> u64 {
        self.append_at(topic, view, flags, Ts(1_790_000_000_000_001_000))
    }

    /// Received at `ts_recv`; not committed.
    pub fn append_at(&mut self, topic: &str, view: View<'_>, flags: RowFlags, ts_recv: Ts) -> u64 {
        self.append_row(topic, view, flags, Ts(ts_recv.0 - 1_000), ts_recv)
    }

    /// Healed at `ts_recv`; not committed.
    pub fn append_late(&mut self, topic: &str, view: View<'_>, ts_event: Ts, ts_recv: Ts) -> u64 {
        self.append_row(topic, view, RowFlags::LATE_REST, ts_event, ts_recv)
    }

    fn append_row(&mut self, topic: &str, view: View<'_>, flags: RowFlags, ts_event: Ts, ts_recv: Ts) -> u64 {
        let no = self.lane.topic(&t(topic)).unwrap();
        let scales = Scales { price: 2, size: 3 };
        let row = Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales, body: view };
        self.lane.append(no, &row).unwrap()
    }

    pub fn trades(&mut self, ids: std::ops::RangeInclusive<u64>) {
        for id in ids {
            self.append_only(TRADE, trade(id), RowFlags::default());
        }
        self.lane.commit().unwrap();
    }

    pub async fn client(&self) -> Ws {
        self.client_at("/v1/ws").await
    }

    pub async fn client_at(&self, path: &str) -> Ws {
        let (socket, _) = connect_async(format!("ws://{}{path}", self.at)).await.unwrap();
        let mut ws = Ws { socket, rule: Client::new() };
        let welcome = ws.next().await;
        assert_eq!((&welcome["op"], &welcome["v"]), (&json!("welcome"), &json!(1)));
        ws
    }

    /// Plain HTTP: status line and body.
    pub async fn get(&self, path: &str) -> (String, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut s = TcpStream::connect(self.at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.at);
        s.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        s.read_to_string(&mut all).await.unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Ends without closing the tape, as a kill does, and gives back the directory.
    pub async fn crash(self) -> TempDir {
        let Self { dir, tape, lane, stop, served, .. } = self;
        stop.cancel();
        timeout(Duration::from_secs(10), served).await.expect("stops in time").unwrap().unwrap();
        drop((lane, tape));
        dir
    }

    /// Stops the server and gives back the directory.
    pub async fn stop(self) -> TempDir {
        let Self { dir, tape, lane, stop, served, .. } = self;
        stop.cancel();
        timeout(Duration::from_secs(10), served).await.expect("stops in time").unwrap().unwrap();
        drop(lane);
        tape.close().unwrap();
        dir
    }
}

/// A client that follows the one rule and checks it.
pub struct Ws {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub rule: Client,
}

impl Ws {
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text frame.
    pub async fn next(&mut self) -> Value {
        loop {
            match timeout(Duration::from_secs(20), self.socket.next()).await.expect("a message in 20 s") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Close(c))) => panic!("closed: {c:?}"),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The close code, after whatever comes before it.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match timeout(Duration::from_secs(10), self.socket.next()).await.expect("a close in 10 s") {
                Some(Ok(Message::Close(Some(c)))) => return c.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    pub async fn sub(&mut self, topic: &str, from: Value) -> Value {
        self.send(json!({"op": "sub", "id": 1, "topic": topic, "from": from})).await;
        let m = self.next().await;
        self.rule.on_text(&m.to_string(), &mut Vec::new());
        m
    }

    /// Follows the rule until `n` messages were applied; the ranges must join.
    pub async fn apply(&mut self, n: usize) -> Vec<Value> {
        let mut applied = Vec::new();
        while applied.len() < n {
            let frame = self.next().await.to_string();
            let mut out = Vec::new();
            self.rule.on_text(&frame, &mut out);
            for h in out {
                match h {
                    Happening::Apply { message, .. } => applied.push(message),
                    Happening::Said(_) | Happening::Missed { .. } | Happening::Subscribed { .. } => {}
                    Happening::Send(text) => self.send_text(&text).await,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(applied.len(), n);
        applied
    }

    /// An answer that is no data.
    pub async fn said(&mut self, op: &str) -> Value {
        loop {
            let m = self.next().await;
            if m["op"] == op {
                return m;
            }
        }
    }
}

pub fn ids(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|m| m["data"]["id"].as_u64()).collect()
}
