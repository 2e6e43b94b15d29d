//! The server as a process that can be killed: this test binary once more. It opens tape and catalog, takes orders of how many rows
//! there shall be of each topic on its input, and serves. Every row's id is its seq, and it bears the number of the process that wrote
//! it, so that a seq that were given to another row after a kill would show.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wholetape_gateway::clients::Clients;
use wholetape_gateway::{Deps, Gateway, GatewayConfig};
use wholetape_model::{BookAction, Row, RowFlags, Scales, Size, Topic, Ts, ValidityState, View};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::file::Codec;
use wholetape_store::history::{AskWriter, CatalogHistory};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Retention, Tape, TapeConfig};
use wholetape_wire::reply::Limits;

use super::rig::{self, BOOK, level, snapshot, t, validity};
use super::{ACKED, BEGIN, MARK_EVERY, SINCE, VIEW};

const DIR: &str = "WHOLETAPE_GATEWAY_CHAOS_DIR";
/// The number of the process.
const LIFE: &str = "WHOLETAPE_GATEWAY_CHAOS_LIFE";

/// How many rows of each topic there shall be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Market {
    pub trades: u64,
    pub raw: u64,
    pub book: u64,
}

/// A running server, seen from the one that kills it.
pub struct Server {
    child: Child,
    orders: ChildStdin,
    killed: bool,
    pub at: SocketAddr,
    /// Newest seqs when it began.
    pub heads: BTreeMap<String, u64>,
}

impl Server {
    /// Starts the `life`th process on this data, with what it shall have.
    pub fn start(dir: &Path, life: u32, market: Market) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server_process", "--nocapture"])
            .env(DIR, dir)
            .env(LIFE, life.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find(|line| line.starts_with('{')).expect("it begins to serve");
        // Else it would wait for a reader some day.
        thread::spawn(move || lines.for_each(drop));
        let said: Value = serde_json::from_str(&said).unwrap();
        let heads = serde_json::from_value(said["heads"].clone()).unwrap();
        let mut server =
            Self { child, orders, killed: false, at: said["at"].as_str().unwrap().parse().unwrap(), heads };
        server.order(market);
        server
    }

    /// Whether it was heard is not known: it may just be dying.
    pub fn order(&mut self, market: Market) {
        let _ = writeln!(self.orders, "{} {} {}", market.trades, market.raw, market.book);
    }

    /// SIGKILL, once.
    pub fn kill(&mut self) {
        assert!(self.killed || self.is_alive(), "it ended by itself");
        self.killed = true;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn config() -> GatewayConfig {
    let limits = Limits { inflight: 120, ops_s: 10_000, ops_burst: 10_000, ..Limits::default() };
    let mut config = GatewayConfig { limits, ..GatewayConfig::default() };
    config.publish.anonymous = vec!["c4.*".into()];
    config
}

/// What the process does that [`Server`] stands for; `None` in any other.
pub fn run() -> Option<()> {
    let dir = std::path::PathBuf::from(std::env::var_os(DIR)?);
    let life = std::env::var(LIFE).unwrap().parse().unwrap();
    // None of its threads fails unseen.
    std::panic::set_hook(Box::new(|why| {
        eprintln!("the server: {why}");
        std::process::exit(101);
    }));
    // Little is in memory and on the tape: much of what is asked for comes from the catalog.
    let tape = Tape::open(
        &dir.join("tape"),
        TapeConfig {
            segment_bytes: 128 << 10,
            memory_bytes: 64 << 10,
            retention: Retention { age_max: None, bytes_max: Some(1 << 20) },
            stored_elsewhere: Some(|_: &Topic| true),
            ..TapeConfig::default()
        },
    )
    .unwrap();
    let heads: BTreeMap<String, u64> =
        tape.topics().into_iter().map(|t| (t.topic.as_str().to_owned(), t.head)).collect();
    let keeper = Arc::new(Keeper::open(&dir, &tape));
    let history = CatalogHistory::new(Arc::new(RealDisk), &dir).with_writer(keeper.clone());
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(2));
            keeper.keep();
        }
    });
    let mut writer = Writer { lane: tape.lane("w0").unwrap(), heads: heads.clone(), life };
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let n: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
            writer.obey(Market { trades: n[0], raw: n[1], book: n[2] });
        }
        // Nobody is there who would kill it.
        std::process::exit(0);
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\n{}", json!({"at": listener.local_addr().unwrap(), "heads": heads}));
        let deps =
            Deps { tape, history: Some(Arc::new(history)), surface: Arc::new(rig::App), clients: Clients::default() };
        Gateway::serve(config(), deps, listener, CancellationToken::new()).await.unwrap();
    });
    Some(())
}

/// When row `n` of any topic is received.
fn at(n: u64) -> Ts {
    Ts(BEGIN + n as i64 * 1_000_000)
}

struct Writer {
    lane: Lane,
    heads: BTreeMap<String, u64>,
    life: i64,
}

impl Writer {
    /// A kill may have come between two topics: each is brought to where it shall be.
    fn obey(&mut self, market: Market) {
        for topic in ACKED {
            self.upto(topic, market.trades, Self::trade);
        }
        self.upto(SINCE, market.raw, Self::trade);
        self.upto(BOOK, market.book, Self::delta);
        self.upto(VIEW, market.book, |life, n| {
            if n.is_multiple_of(MARK_EVERY) { validity(ValidityState::Live) } else { Self::delta(life, n) }
        });
        self.lane.commit().unwrap();
    }

    fn upto(&mut self, topic: &str, wanted: u64, body: fn(i64, u64) -> View<'static>) {
        let head = self.heads.entry(topic.to_owned()).or_default();
        let no = self.lane.topic(&t(topic)).unwrap();
        let scales = Scales { price: 2, size: 3 };
        for n in *head + 1..=wanted {
            let (body, ts_event) = (body(self.life, n), Ts(at(n).0 - 1_000));
            let row = Row { ts_event, ts_recv: at(n), conn: 1, frame: 1, flags: RowFlags::default(), scales, body };
            assert_eq!(self.lane.append(no, &row).unwrap(), n, "{topic}");
        }
        *head = wanted.max(*head);
    }

    fn trade(life: i64, id: u64) -> View<'static> {
        match rig::trade(id) {
            View::Trade(trade) => View::Trade(wholetape_model::Trade { size: Size(life), ..trade }),
            _ => unreachable!(),
        }
    }

    fn delta(life: i64, n: u64) -> View<'static> {
        let i = n as i64;
        match n {
            1 => snapshot(1),
            n => rig::book(
                BookAction::Delta,
                n,
                &[level(1_000 - i % 20, 1 + (i + 3 * life) % 7)],
                &[level(1_001 + i % 20, (i + life) % 5)],
            ),
        }
    }
}

/// Keeps the catalog.
struct Keeper {
    tape: Tape,
    follower: Mutex<Follower>,
}

impl Keeper {
    fn open(dir: &Path, tape: &Tape) -> Self {
        let config = CatalogConfig { codec: Codec::None, depth: false, ..CatalogConfig::default() };
        let catalog = Catalog::open(Arc::new(RealDisk), dir, config).unwrap();
        Self { tape: tape.clone(), follower: Mutex::new(Follower::new(catalog, Pace::default())) }
    }

    fn keep(&self) {
        let mut follower = self.follower.lock().unwrap();
        while follower.poll(&self.tape, at(0)).unwrap() {}
        follower.flush(at(0)).unwrap();
        self.tape.hold(follower.stored());
    }
}

impl AskWriter for Keeper {
    fn store(&self, topic: &Topic) -> bool {
        let mut follower = self.follower.lock().unwrap();
        follower.store_topic(&self.tape, topic, at(0)).unwrap();
        true
    }
}
