//! A client behind a line that breaks at random bytes, and a server, a process of its own, that is killed with SIGKILL now and then:
//! what it asked to be lossless comes whole, once and in order; whatever else it misses it is told; what it publishes is in the log
//! once; and no seq that it was given ever becomes another record's.
//!
//! `WHOLETAPE_CUTS=10000 cargo test -p wholetape-gateway --test chaos` for the long one; `WHOLETAPE_SEED` reruns one.

#[path = "chaos/app.rs"]
mod app;
mod rig;
#[path = "chaos/server.rs"]
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use app::App;
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{BOOK, TRADE, Ws};
use serde_json::json;
use server::{Market, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use wholetape_wire::BookView;
use wholetape_wire::client::{Happening, apply_book};

const ACKED: [&str; 3] = [TRADE, "trade.ETHUSDT.BINANCE", "trade.SOLUSDT.BINANCE"];
/// Asked for since a time, and followed from there into the present.
const SINCE: &str = "trade-raw.BTCUSDT.BINANCE";
/// Followed as a view: ten levels, ten times a second. Every [`MARK_EVERY`]th record is a mark.
const VIEW: &str = "book.ETHUSDT.BINANCE";
const MARK_EVERY: u64 = 17;
/// One cut of so many kills the server, whichever.
const KILL_EVERY: u64 = 20;
/// Where the client publishes.
const GAME: &str = "c4.game.1";
/// Messages of each topic before the client first comes.
const BEFORE: u64 = 400;
/// Row `n` of each topic was received `n` milliseconds later.
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

/// The process that is killed, when it is one; no test by itself.
#[test]
fn server_process() {
    server::run();
}

/// How one connection ends.
struct Fate {
    /// Bytes that pass from the server, and to it.
    down: usize,
    up: usize,
    /// The server is killed so long after it begins.
    kill: Option<Duration>,
}

impl Fate {
    fn draw(rng: &mut StdRng, kill: bool) -> Self {
        // Within the handshake, the first messages, or some time later.
        let most = [400, 3_000, 20_000, 60_000, 400_000][rng.random_range(0..5)];
        let (down, up) = (rng.random_range(0..most), rng.random_range(0..6_000));
        if kill {
            let after = Duration::from_millis(rng.random_range(0..400));
            return Self { down: usize::MAX, up: usize::MAX, kill: Some(after) };
        }
        Self { down, up, kill: None }
    }
}

/// Both sides, and what there shall be on the tape.
struct World {
    /// Ends before its folder does.
    server: Server,
    dir: tempfile::TempDir,
    lives: u32,
    market: Market,
    app: App,
    rng: StdRng,
}

impl World {
    fn publish(&mut self, trades: u64, raw: u64, book: u64) {
        self.market.trades += trades;
        self.market.raw += raw;
        self.market.book += book;
        self.server.order(self.market);
    }

    /// Until there is something of each topic: what is not on the tape yet cannot be asked for.
    async fn begun(&self) {
        for topic in ACKED.into_iter().chain([SINCE, BOOK, VIEW]) {
            let mut other = client(self.server.at).await;
            while other.sub(topic, json!("live")).await["op"] == "err" {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Starts what was killed. All that the client was given is there still.
    fn revive(&mut self) {
        self.lives += 1;
        self.server = Server::start(self.dir.path(), self.lives, self.market);
        let heads = &self.server.heads;
        for (topic, state) in self.app.rule.positions() {
            assert!(heads[topic] >= state.last, "{topic}: {} after it had given {}", heads[topic], state.last);
        }
        assert!(self.app.confirmed <= heads.get(GAME).copied().unwrap_or(0), "{heads:?}: confirmed is on the disk");
    }

    fn is_whole(&self) -> bool {
        let app = &self.app;
        let whole = |topic: &str| app.rule.state(topic).is_some_and(|s| s.last >= self.market.book);
        app.behind(self.market) == 0 && whole(BOOK) && whole(VIEW) && app.confirmed == app.asked
    }

    /// One connection, until it breaks or, behind a whole line, until all of it came.
    async fn connection(&mut self, at: SocketAddr, kill: Option<Duration>, last: bool) {
        self.app.welcome = false;
        let Ok(stream) = TcpStream::connect(at).await else { return };
        let Ok(Ok((mut socket, _))) = timeout(Duration::from_secs(5), client_async("ws://gateway/v1/ws", stream)).await
        else {
            return;
        };
        let killed = sleep(kill.unwrap_or(Duration::MAX));
        tokio::pin!(killed);
        let mut quiet = 0;
        // Trades go first: behind a backlog of them the books would never have their turn.
        let busy = [30, 600][self.rng.random_range(0..2)];
        loop {
            let mut send = Vec::new();
            tokio::select! {
                // What it had written to the socket is still read.
                () = &mut killed, if self.server.is_alive() => self.server.kill(),
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        quiet = 0;
                        send = self.app.frame(&text);
                    }
                    Some(Ok(Message::Close(c))) => panic!("the server had a reason: {c:?}"),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                () = sleep(Duration::from_millis(1)) => {
                    quiet += 1;
                    assert!(quiet < 15_000, "nothing for fifteen seconds, {} behind", self.app.behind(self.market));
                    if last && self.is_whole() {
                        return;
                    }
                    if !last && self.app.behind(self.market) < busy {
                        let (trades, raw) = (self.rng.random_range(0..12), self.rng.random_range(0..4));
                        let book = self.rng.random_range(0..8);
                        self.publish(trades, raw, book);
                        send.extend(self.app.publish());
                    }
                }
            }
            for text in send {
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The log, read by somebody else without a cut, is what the client was given and has what it published.
    async fn compare(&mut self) {
        let mut other = client(self.server.at).await;
        other.sub(BOOK, json!("live")).await;
        let mut whole = BookView::new();
        apply_book(&mut whole, &other.apply(1).await[0]).unwrap();
        assert_eq!((self.app.book.crc(), &self.app.book), (whole.crc(), &whole));
        let mut other = client(self.server.at).await;
        other.send(json!({"op": "sub", "topic": VIEW, "depth": 10})).await;
        other.said("subd").await;
        let mut cut = BookView::new();
        apply_book(&mut cut, &other.said("snap").await).unwrap();
        assert_eq!((self.app.view.crc(), &self.app.view), (cut.crc(), &cut), "the view of ten levels");
        for topic in ACKED.into_iter().chain([SINCE]) {
            let writers = log(self.server.at, topic, self.app.ids[topic], app::writer).await;
            assert!(writers == self.app.writers[topic], "{topic}: a row became another one");
            assert!(writers.is_sorted() && *writers.last().unwrap() > u64::from(self.lives) / 2, "{topic}");
        }
        let published = log(self.server.at, GAME, self.app.asked, |m| m["data"]["n"].as_u64().unwrap()).await;
        assert_eq!(published, (1..=self.app.asked).collect::<Vec<_>>(), "each publication once and in order");
    }
}

async fn client(at: SocketAddr) -> Ws {
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{at}/v1/ws")).await.unwrap();
    let mut ws = Ws { socket, rule: wholetape_wire::client::Client::new() };
    assert_eq!(ws.next().await["op"], "welcome");
    ws
}

/// Something of each of all messages of a topic; their seqs are 1, 2, 3 …
async fn log(at: SocketAddr, topic: &str, head: u64, of: impl Fn(&serde_json::Value) -> u64) -> Vec<u64> {
    let (mut ws, mut all) = (client(at).await, Vec::new());
    ws.sub(topic, json!("earliest")).await;
    while (all.len() as u64) < head {
        let (frame, mut out) = (ws.next().await.to_string(), Vec::new());
        ws.rule.on_text(&frame, &mut out);
        for happening in out {
            match happening {
                Happening::Apply { to, message, .. } => {
                    all.push(of(&message));
                    assert_eq!(to, all.len() as u64, "{topic}");
                }
                Happening::Said(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    all
}

#[tokio::test]
async fn nothing_is_lost_repeated_or_out_of_order_however_often_the_line_breaks() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (cuts, seed) = (number("WHOLETAPE_CUTS").unwrap_or(160), number("WHOLETAPE_SEED").unwrap_or(6));
    println!("WHOLETAPE_CUTS={cuts} WHOLETAPE_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 1, Market::default());
    let (market, app, rng) = (Market::default(), App::default(), StdRng::seed_from_u64(seed));
    let mut world = World { server, dir, lives: 1, market, app, rng };
    world.publish(BEFORE, BEFORE * 5, BEFORE);
    world.begun().await;
    let (mut fates, mut kills, mut next_kill) = (StdRng::seed_from_u64(seed), 0, 0);
    for cut in 1..=cuts {
        assert!(world.server.is_alive(), "the server ended by itself");
        if cut % KILL_EVERY == 1 {
            next_kill = cut + fates.random_range(0..KILL_EVERY);
        }
        if cut % (cuts / 3).clamp(1, 1_000) == 0 {
            world.app.since_anew();
        }
        let (trades, raw, book) = (fates.random_range(0..20), fates.random_range(0..4), fates.random_range(0..20));
        world.publish(trades, raw, book);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let fate = Fate::draw(&mut fates, cut == next_kill);
        let broken = tokio::spawn(proxy(world.server.at, listener, fate.down, fate.up));
        world.connection(at, fate.kill, false).await;
        broken.abort();
        if fate.kill.is_some() {
            // Perhaps it was not even connected to by then.
            world.server.kill();
            world.revive();
            kills += 1;
        }
        if cut % 500 == 0 {
            println!("{cut} cuts, {kills} kills, {:?}", world.market);
        }
    }
    let at = world.server.at;
    world.connection(at, None, true).await;
    let (app, market) = (&world.app, world.market);
    assert_eq!((app.behind(market), &app.missed), (0, &Vec::new()), "lost or missed");
    world.compare().await;
    let app = &world.app;
    let viewed = app.viewed.unwrap();
    let marks: Vec<u64> = (viewed + 1..=market.book).filter(|n| n % MARK_EVERY == 0).collect();
    assert_eq!(app.marks, marks, "each mark once and in order");
    assert!(marks.len() > 20 && app.conflated > 0, "{} marks since {viewed} of {}", marks.len(), market.book);
    println!(
        "{cuts} cuts, {kills} of them kills of the server, {} of 3 topics and {} since a time, read {} times, {} updates of a book, {} marks of a view, {} stretches of it conflated, {} published, {} resumes, {} refused",
        market.trades,
        market.raw,
        app.histories + 1,
        market.book,
        marks.len(),
        app.conflated,
        app.confirmed,
        app.resumed,
        app.refused
    );
    assert!(app.resumed > cuts / 10 && app.refused > 0, "{} resumes, {} refused", app.resumed, app.refused);
    assert!(kills >= cuts / KILL_EVERY && app.asked > cuts, "{kills} kills, {} published", app.asked);
}
