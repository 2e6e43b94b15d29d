//! What one delivered message costs the gateway's process, beside other servers that send one message to many clients.
//!
//! `cargo bench -p wholetape-gateway --bench fanout [-- SECONDS]`; `cargo xtask fanout` brings the others along (`nats-server`, and Node with
//! `ws` and `socket.io`), which this program finds through `WHOLETAPE_NATS` (the program) and `WHOLETAPE_NODE` (the folder of `servers.mjs`).
//!
//! Each server is a process of its own; its clients live in this one, on one thread, and do nothing but count. All get the same
//! load by turns: 500 clients × 80 messages a second, and 20 clients × 10 000. Counted is the processor time of all of the server's
//! threads over the messages that arrived, both between two instants while the load runs. Into the gateway's own figure goes making,
//! encoding and keeping each message (the tape is in its process); NATS is given its messages ready over a socket by this process; the
//! servers on Node make theirs.

mod support;

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Fail, Process, Quiet, Talk, connect, trade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig};
use wholetape_model::Topic;
use wholetape_tape::{Tape, TapeConfig};

const TOPIC: &str = "trade.BTCUSDT.BINANCE";
/// Clients, and messages a second to each.
const LOADS: [(usize, u64); 2] = [(500, 80), (20, 10_000)];
/// Once in each message, whoever sends it.
const MARKER: &[u8] = b"\"op\":\"data\"";
/// From the first message to the first instant that counts.
const WARM: Duration = Duration::from_secs(2);

/// This program as the gateway: says its port, waits for a line, then appends `rate` trades a second.
fn serve(rate: u64) -> Result<(), Fail> {
    let dir = tempfile::tempdir()?;
    let tape = Tape::open(dir.path(), TapeConfig::default())?;
    let mut lane = tape.lane("w0")?;
    let no = lane.topic(&Topic::parse(TOPIC)?)?;
    lane.append(no, &trade(0, 1))?;
    lane.commit()?;
    let deps = Deps { tape, history: None, surface: Arc::new(Quiet), clients: Default::default() };
    thread::spawn(move || -> Result<(), Fail> {
        std::io::stdin().lock().read_line(&mut String::new())?;
        let (begin, mut sent) = (Instant::now(), 0);
        loop {
            let due = begin.elapsed().as_nanos() as u64 * rate / 1_000_000_000;
            if sent == due {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            while sent < due {
                sent += 1;
                lane.append(no, &trade(sent, 1_790_000_000_000_000_000 + sent as i64))?;
            }
            lane.commit()?;
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        Ok(Gateway::serve(GatewayConfig::default(), deps, listener, CancellationToken::new()).await?)
    })
}

/// One of those compared.
struct Server {
    name: &'static str,
    process: Process,
    /// Where NATS takes messages.
    publish: Option<SocketAddr>,
    talk: Talk,
}

impl Server {
    fn gateway(rate: u64) -> Result<Self, Fail> {
        let process =
            Process::printing(Command::new(std::env::current_exe()?).env("WHOLETAPE_SERVE", rate.to_string()))?;
        let hello = format!("{{\"op\":\"sub\",\"topic\":\"{TOPIC}\"}}");
        let talk = Talk { path: "/v1/ws", hello, is_text: true, ready: b"\"subd\"" };
        Ok(Self { name: "wholetape", process, publish: None, talk })
    }

    fn node(name: &'static str, dir: &str, kind: &str, rate: u64) -> Result<Self, Fail> {
        let script = Path::new(dir).join("servers.mjs");
        let process = Process::printing(Command::new("node").arg(script).args([kind, &rate.to_string()]))?;
        let path = "/socket.io/?EIO=4&transport=websocket";
        let socketio = Talk { path, hello: "40".into(), is_text: true, ready: b"40{" };
        let plain = Talk { path: "/", hello: "hello".into(), is_text: true, ready: b"" };
        Ok(Self { name, process, publish: None, talk: if kind == "ws" { plain } else { socketio } })
    }

    fn nats(program: &str, dir: &Path) -> Result<Self, Fail> {
        let free = || Ok::<_, Fail>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?);
        let (at, publish) = (free()?, free()?);
        let config = dir.join("nats.conf");
        let text = "host: 127.0.0.1\nport: PUB\nwebsocket { host: 127.0.0.1, port: WS, no_tls: true }\n";
        std::fs::write(
            &config,
            text.replace("PUB", &publish.port().to_string()).replace("WS", &at.port().to_string()),
        )?;
        let process = Process::listening(Command::new(program).arg("-c").arg(&config), at)?;
        let hello = "CONNECT {\"verbose\":false}\r\nSUB t 1\r\nPING\r\n".to_owned();
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(at).is_err() {
            if Instant::now() > end {
                return Err("nats-server does not listen".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let talk = Talk { path: "/", hello, is_text: false, ready: b"PONG" };
        Ok(Self { name: "nats-server", process, publish: Some(publish), talk })
    }
}

/// How often the needle is in what comes, cut anywhere.
struct Count {
    needle: &'static [u8],
    kept: Vec<u8>,
}

impl Count {
    fn see(&mut self, bytes: &[u8]) -> usize {
        let n = self.needle.len();
        self.kept.extend_from_slice(bytes);
        let (mut found, mut at) = (0, 0);
        while at + n <= self.kept.len() {
            if self.kept[at] == self.needle[0] && self.kept[at..at + n] == *self.needle {
                (found, at) = (found + 1, at + n);
            } else {
                at += 1;
            }
        }
        self.kept.drain(..at);
        found
    }
}

async fn client(at: SocketAddr, talk: Arc<Talk>, ready: Arc<AtomicUsize>, seen: Arc<AtomicU64>) -> Result<(), Fail> {
    let (mut socket, _) = connect(at, &talk).await?;
    ready.fetch_add(1, Ordering::Release);
    let (mut count, mut buffer) = (Count { needle: MARKER, kept: Vec::new() }, vec![0; 64 << 10]);
    loop {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            return Err("closed".into());
        }
        seen.fetch_add(count.see(&buffer[..n]) as u64, Ordering::Relaxed);
    }
}

/// Gives NATS its messages.
async fn publish(to: SocketAddr, rate: u64) -> Result<(), Fail> {
    let mut socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    socket.write_all(b"CONNECT {\"verbose\":false}\r\n").await?;
    let (begin, mut sent, mut out) = (Instant::now(), 0_u64, Vec::new());
    loop {
        let due = begin.elapsed().as_nanos() as u64 * rate / 1_000_000_000;
        out.clear();
        while sent < due {
            sent += 1;
            let at = 1_790_000_000_000_000_000 + sent;
            let text = format!(
                "{{\"op\":\"data\",\"topic\":\"{TOPIC}\",\"seq\":{sent},\"ts\":{},\"data\":{{\"id\":{},\"px\":\"61800.3\",\"size\":\"0.006\",\
                 \"side\":\"buy\",\"ts_event\":\"{at}\",\"ts_recv\":\"{at}\"}}}}",
                at / 1_000,
                5_266_583_935 + sent
            );
            write!(out, "PUB t {}\r\n{text}\r\n", text.len())?;
        }
        if !out.is_empty() {
            socket.write_all(&out).await?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What one server did under one load.
struct Figure {
    name: &'static str,
    delivered: u64,
    ns: u64,
    memory: u64,
}

fn measure(mut server: Server, (clients, rate): (usize, u64), time: Duration) -> Result<Figure, Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (talk, ready, seen) =
        (Arc::new(server.talk.clone()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    runtime.block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..clients {
            all.spawn(client(server.process.at, talk.clone(), ready.clone(), seen.clone()));
        }
        let end = Instant::now() + Duration::from_secs(30);
        while ready.load(Ordering::Acquire) < clients {
            if let Some(ended) = all.try_join_next() {
                ended??;
            }
            if Instant::now() > end {
                return Err(format!(
                    "{}: {} of {clients} clients are ready",
                    server.name,
                    ready.load(Ordering::Acquire)
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match (&mut server.process.stdin, server.publish) {
            (Some(stdin), _) => stdin.write_all(b"go\n")?,
            (None, Some(to)) => drop(all.spawn(publish(to, rate))),
            (None, None) => {}
        }
        tokio::time::sleep(WARM).await;
        let (spent, before) = (server.process.spent()?, seen.load(Ordering::Relaxed));
        tokio::time::sleep(time).await;
        let (spent, delivered) = (server.process.spent()? - spent, seen.load(Ordering::Relaxed) - before);
        if let Some(ended) = all.try_join_next() {
            ended??;
        }
        Ok(Figure { name: server.name, delivered, ns: spent, memory: server.process.memory()? >> 10 })
    })
}

fn main() -> Result<(), Fail> {
    if let Ok(rate) = std::env::var("WHOLETAPE_SERVE") {
        return serve(rate.parse()?);
    }
    // `cargo bench` says `--bench`; run by `cargo test`, it only shows that it works.
    let measured = std::env::args().any(|a| a == "--bench");
    let given = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let seconds = given.map_or(Ok(if measured { 10.0 } else { 0.2 }), |s| s.parse::<f64>())?;
    let time = Duration::from_secs_f64(seconds);
    let dir = tempfile::tempdir()?;
    println!(
        "{:>7} {:>8} {:>12} {:>10} {:>12} {:>9}",
        "clients", "each/s", "server", "arrived", "us/message", "RSS MiB"
    );
    for load in if measured { &LOADS[..] } else { &[(3, 80)] } {
        let mut servers = vec![Server::gateway(load.1)?];
        if let Ok(program) = std::env::var("WHOLETAPE_NATS") {
            servers.push(Server::nats(&program, dir.path())?);
        }
        if let Ok(node) = std::env::var("WHOLETAPE_NODE") {
            servers.push(Server::node("ws", &node, "ws", load.1)?);
            servers.push(Server::node("Socket.IO", &node, "socketio", load.1)?);
        }
        for server in servers {
            let f = measure(server, *load, time)?;
            let due = load.0 as f64 * load.1 as f64 * seconds;
            let each = f.ns as f64 / 1_000.0 / (f.delivered.max(1) as f64);
            let share = 100.0 * f.delivered as f64 / due;
            println!("{:>7} {:>8} {:>12} {share:>9.1}% {each:>12.2} {:>9}", load.0, load.1, f.name, f.memory);
            if f.delivered == 0 {
                return Err(format!("{} delivered nothing", f.name).into());
            }
        }
    }
    Ok(())
}
