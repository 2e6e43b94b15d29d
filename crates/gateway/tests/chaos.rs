//! A client behind a line that breaks at random bytes, and a server that dies now and then: what it asked to be lossless comes
//! whole, once and in order; whatever else it misses it is told.
//!
//! `WHOLETAPE_CUTS=10000 cargo test -p wholetape-gateway --test chaos` for the long one; `WHOLETAPE_SEED` reruns one.

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::attic::{Attic, Seam};
use rig::{BOOK, Rig, TRADE, delta, snapshot, trade, validity};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{RowFlags, Ts, ValidityState};
use wholetape_tape::TapeConfig;
use wholetape_tape::history::History;
use wholetape_wire::BookView;
use wholetape_wire::client::{Client, Happening, apply_book};
use wholetape_wire::reply::Limits;

const ACKED: [&str; 3] = [TRADE, "trade.ETHUSDT.BINANCE", "trade.SOLUSDT.BINANCE"];
/// Asked for since a time, and followed from there into the present.
const SINCE: &str = "trade-raw.BTCUSDT.BINANCE";
/// Followed as a view: ten levels, ten times a second. Every [`MARK_EVERY`]th record is a mark.
const VIEW: &str = "book.ETHUSDT.BINANCE";
const MARK_EVERY: u64 = 17;
/// Messages of each topic before the client first comes.
const BEFORE: u64 = 400;
/// The first row of [`SINCE`] was received then; each one a millisecond after the one before.
const BEGIN: i64 = 1_790_000_000_000_000_000;

/// Passes bytes on until so many went one way, then breaks off without a word.
async fn proxy(server: SocketAddr, listener: TcpListener, down: usize, up: usize) {
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

type Ticket = (String, String);

/// What the application behind the client has.
#[derive(Default)]
struct App {
    rule: Client,
    /// The session that it wants back, and the one that came with this connection.
    ticket: Option<Ticket>,
    fresh: Option<Ticket>,
    /// Newest id of each topic of trades.
    ids: BTreeMap<String, u64>,
    /// How far the history came: epoch, P and rows.
    history: Option<(String, u64, u64)>,
    book: BookView,
    view: BookView,
    /// Of [`VIEW`]: behind which seq it was first subscribed, and the marks that came since.
    viewed: Option<u64>,
    marks: Vec<u64>,
    /// Stretches of it that a state stands for.
    conflated: u64,
    /// To be acknowledged: topics with news.
    owed: BTreeMap<String, u64>,
    resumed: u64,
    refused: u64,
    missed: Vec<String>,
}

fn ticket(m: &Value) -> Ticket {
    let text = |key: &str| m[key].as_str().unwrap().to_owned();
    (text("session"), text("resume"))
}

impl App {
    fn row(&mut self, topic: &str, message: &Value) {
        let id = message["data"]["id"].as_u64().unwrap();
        let last = self.ids.entry(topic.to_owned()).or_default();
        assert_eq!(id, *last + 1, "{topic}: lost, repeated or out of order: {message}");
        *last = id;
    }

    /// Takes one frame; what is to be sent then.
    fn frame(&mut self, text: &str) -> Vec<String> {
        let (mut out, mut send) = (Vec::new(), Vec::new());
        self.rule.on_text(text, &mut out);
        for h in out {
            match h {
                // Its checksum says whether it is right.
                Happening::Apply { topic, message, .. } if topic == BOOK => {
                    apply_book(&mut self.book, &message).unwrap()
                }
                Happening::Apply { topic, to, message, .. } if topic == VIEW => {
                    if message["op"] == "mark" {
                        self.marks.push(to);
                    } else {
                        apply_book(&mut self.view, &message).unwrap();
                    }
                }
                Happening::Apply { topic, to, message, .. } => {
                    self.row(&topic, &message);
                    if topic != SINCE {
                        self.owed.insert(topic, to);
                    }
                }
                Happening::Send(text) => send.push(text),
                Happening::Missed { topic, why, .. } if topic == VIEW && why == "conflated" => self.conflated += 1,
                Happening::Missed { topic, from, to, why } => self.missed.push(format!("{topic} {from}..={to} {why}")),
                Happening::Subscribed { topic, seq } if topic == VIEW => _ = self.viewed.get_or_insert(seq),
                Happening::Subscribed { .. } => {}
                Happening::Duplicate { topic, seq } => panic!("{topic} {seq} came twice"),
                Happening::Malformed(text) => panic!("{text}"),
                Happening::Said(m) => self.said(&m, &mut send),
            }
        }
        if self.owed.values().any(|seq| seq % 50 == 0) {
            send.push(json!({"op": "ack", "a": std::mem::take(&mut self.owed)}).to_string());
        }
        send
    }

    fn said(&mut self, m: &Value, send: &mut Vec<String>) {
        match m["op"].as_str().unwrap() {
            "welcome" => {
                self.owed.clear();
                self.fresh = Some(ticket(m));
                let known = self.rule.positions().next().is_some();
                match self.ticket.clone().filter(|_| known) {
                    Some((session, secret)) => send.push(self.rule.resume(&session, &secret)),
                    None => self.anew(send),
                }
            }
            "resumed" => {
                self.resumed += 1;
                // A `sub` that the line swallowed: the session never had that topic.
                let topics = m["topics"].as_object().unwrap();
                let goes_on = |topic: &str| topics.get(topic).is_some_and(|how| how["r"] != "denied");
                assert!(topics.values().all(|how| how["r"] != "denied" || how["code"] == 2008), "{m}");
                if let (Some((_, secret)), Some(new)) = (&mut self.ticket, m["resume"].as_str()) {
                    new.clone_into(secret);
                }
                self.subscribe(goes_on, send);
            }
            "hist" => {
                for row in m["data"].as_array().unwrap() {
                    self.row(SINCE, row);
                }
                let number = |key: &str| m[key].as_u64().unwrap();
                self.history = Some((m["epoch"].as_str().unwrap().to_owned(), number("asof"), number("i")));
            }
            "err" if m["code"] == 1010 => {
                // The server died since, and its sessions with it. Positions do as well.
                self.refused += 1;
                self.anew(send);
            }
            "hb" | "ok" | "pong" | "notice" => {}
            _ => panic!("{m}"),
        }
    }

    fn anew(&mut self, send: &mut Vec<String>) {
        self.ticket.clone_from(&self.fresh);
        self.subscribe(|_| false, send);
    }

    /// Asks for what does not go on with the session, from where it stands.
    fn subscribe(&mut self, goes_on: impl Fn(&str) -> bool, send: &mut Vec<String>) {
        for topic in ACKED.into_iter().chain([BOOK, VIEW, SINCE]) {
            let from = match self.rule.state(topic) {
                Some(_) if goes_on(topic) => continue,
                Some(state) => json!({"epoch": state.epoch, "seq": state.last}),
                None if topic == BOOK || topic == VIEW => json!("live"),
                None if topic == SINCE => match &self.history {
                    Some((epoch, asof, i)) => json!({"ts": BEGIN / 1_000, "asof": asof, "i": i, "epoch": epoch}),
                    None => json!({"ts": BEGIN / 1_000}),
                },
                None => json!("earliest"),
            };
            let ack = if ACKED.contains(&topic) { "cum" } else { "none" };
            let mut sub = json!({"op": "sub", "id": 1, "topic": topic, "from": from, "ack": ack});
            if topic == VIEW {
                (sub["conflate"], sub["depth"]) = (json!("100ms"), json!(10));
            }
            send.push(sub.to_string());
        }
    }

    fn behind(&self, all: &Market) -> u64 {
        let of = |topic: &str, n: u64| n - self.ids.get(topic).copied().unwrap_or(0);
        ACKED.iter().map(|topic| of(topic, all.trades)).chain([of(SINCE, all.raw)]).max().unwrap_or(0)
    }
}

/// What was published.
#[derive(Default)]
struct Market {
    trades: u64,
    raw: u64,
    book: u64,
}

impl Market {
    fn publish(&mut self, rig: &mut Rig, trades: u64, raw: u64, book: u64) {
        for _ in 0..trades {
            self.trades += 1;
            for topic in ACKED {
                rig.append_only(topic, trade(self.trades), RowFlags::default());
            }
        }
        for _ in 0..raw {
            self.raw += 1;
            let at = Ts(BEGIN + self.raw as i64 * 1_000_000);
            rig.append_at(SINCE, trade(self.raw), RowFlags::default(), at);
        }
        for _ in 0..book {
            self.book += 1;
            let view = if self.book == 1 { snapshot(1) } else { delta(self.book) };
            rig.append_only(BOOK, view, RowFlags::default());
            let view = match self.book {
                1 => snapshot(1),
                n if n % MARK_EVERY == 0 => validity(ValidityState::Live),
                n => delta(n),
            };
            rig.append_only(VIEW, view, RowFlags::default());
        }
        rig.lane.commit().unwrap();
    }
}

fn config() -> GatewayConfig {
    GatewayConfig { limits: Limits { inflight: 120, ..Limits::default() }, ..GatewayConfig::default() }
}

async fn server(dir: tempfile::TempDir) -> Rig {
    let history = |tape: &wholetape_tape::Tape| Some(Arc::new(Seam(Attic::new(tape))) as Arc<dyn History>);
    Rig::open_with(dir, config(), TapeConfig::default(), history).await
}

/// One connection, until it breaks or, behind a whole line, until all of it came.
async fn connection(at: SocketAddr, app: &mut App, rig: &mut Rig, market: &mut Market, rng: &mut StdRng, last: bool) {
    let Ok(stream) = TcpStream::connect(at).await else { return };
    let Ok(Ok((mut socket, _))) = timeout(Duration::from_secs(5), client_async("ws://gateway/v1/ws", stream)).await
    else {
        return;
    };
    let mut quiet = 0;
    // Trades go first: behind a backlog of them the books would never have their turn.
    let busy = [30, 600][rng.random_range(0..2)];
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    quiet = 0;
                    for text in app.frame(&text) {
                        if socket.send(Message::text(text)).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Ok(Message::Close(c))) => panic!("the server had a reason: {c:?}"),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = sleep(Duration::from_millis(1)) => {
                quiet += 1;
                assert!(quiet < 10_000, "nothing for ten seconds, {} behind", app.behind(market));
                let whole = |topic: &str| app.rule.state(topic).is_some_and(|s| s.last >= market.book);
                if last && app.behind(market) == 0 && whole(BOOK) && whole(VIEW) {
                    return;
                }
                if !last && app.behind(market) < busy {
                    market.publish(rig, rng.random_range(0..12), rng.random_range(0..4), rng.random_range(0..8));
                }
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_repeated_or_out_of_order_however_often_the_line_breaks() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (cuts, seed) = (number("WHOLETAPE_CUTS").unwrap_or(400), number("WHOLETAPE_SEED").unwrap_or(6));
    println!("WHOLETAPE_CUTS={cuts} WHOLETAPE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rig = server(tempfile::tempdir().unwrap()).await;
    let (mut market, mut app, mut deaths) = (Market::default(), App::default(), 0_u64);
    market.publish(&mut rig, BEFORE, BEFORE * 5, BEFORE);
    for _ in 0..cuts {
        if rng.random_range(0..20) == 0 {
            rig = server(rig.crash().await).await;
            deaths += 1;
        }
        market.publish(&mut rig, rng.random_range(0..20), rng.random_range(0..4), rng.random_range(0..20));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        // Within the handshake, the first messages, or some time later.
        let most = [400, 3_000, 20_000, 60_000, 400_000][rng.random_range(0..5)];
        let (down, up) = (rng.random_range(0..most), rng.random_range(0..6_000));
        let broken = tokio::spawn(proxy(rig.at, listener, down, up));
        connection(at, &mut app, &mut rig, &mut market, &mut rng, false).await;
        broken.abort();
    }
    let at = rig.at;
    connection(at, &mut app, &mut rig, &mut market, &mut rng, true).await;
    assert_eq!((app.behind(&market), &app.missed), (0, &Vec::new()), "lost or missed");
    // Whoever comes anew sees the same book.
    let mut other = rig.client().await;
    other.sub(BOOK, json!("live")).await;
    let mut whole = BookView::new();
    apply_book(&mut whole, &other.apply(1).await[0]).unwrap();
    assert_eq!((app.book.crc(), &app.book), (whole.crc(), &whole));
    let mut other = rig.client().await;
    other.send(json!({"op": "sub", "topic": VIEW, "depth": 10})).await;
    other.said("subd").await;
    let mut cut = BookView::new();
    apply_book(&mut cut, &other.said("snap").await).unwrap();
    assert_eq!((app.view.crc(), &app.view), (cut.crc(), &cut), "the view of ten levels");
    let viewed = app.viewed.unwrap();
    let marks: Vec<u64> = (viewed + 1..=market.book).filter(|n| n % MARK_EVERY == 0).collect();
    assert_eq!(app.marks, marks, "each mark once and in order");
    assert!(marks.len() > 20 && app.conflated > 0, "{} marks since {viewed} of {}", marks.len(), market.book);
    println!(
        "{cuts} cuts, {deaths} deaths, {} of 3 topics and {} since a time, {} updates of a book, {} marks of a view, {} stretches of it conflated, {} resumes, {} refused",
        market.trades,
        market.raw,
        market.book,
        marks.len(),
        app.conflated,
        app.resumed,
        app.refused
    );
    assert!(
        app.resumed > cuts / 10 && (deaths == 0 || app.refused > 0),
        "{} resumes, {} refused",
        app.resumed,
        app.refused
    );
}
