//! Clients that hardly read, and what the others notice of them.
//!
//! `cargo bench -p wholetape-gateway --bench slow [-- SECONDS [CLIENTS]]`
//!
//! The gateway is a process of its own: 50 topics, each of which gets 20 trades a second, and 1 000 clients, each of which follows one of
//! them: 20 000 messages a second in all. First all of them read; then one in ten reads a kilobyte a second (a quarter of what it
//! is sent), with as small a receive buffer as the system gives. Latency is from the instant at which a trade was due to be
//! appended to that at which a client that reads has it; both runs in this order, and the first once more at the end.

mod support;

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use support::{Fail, Process, Quiet, Talk, number, speak, trade, whole};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig};
use wholetape_model::Topic;
use wholetape_tape::{Tape, TapeConfig};

const TOPICS: usize = 50;
/// Messages a second of each topic.
const RATE: u64 = 20;
/// One client in so many reads slowly.
const SLOW: usize = 10;
/// What that one reads in a tenth of a second, bytes.
const SIP: usize = 100;
/// These clients say nothing, not even a pong: it is not their heartbeat that is tried.
const PATIENCE: Duration = Duration::from_secs(300);
/// Before anything counts.
const WARM: Duration = Duration::from_secs(3);

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

fn topic(n: usize) -> String {
    format!("trade.X{:03}USDT-PERP.BINANCE", n % TOPICS)
}

/// This program as the gateway: says its port, waits for a line, appends.
fn serve(dir: &str) -> Result<(), Fail> {
    let tape = Tape::open(Path::new(dir), TapeConfig::default())?;
    let mut lane = tape.lane("w0")?;
    let nos = (0..TOPICS).map(|n| Ok(lane.topic(&Topic::parse(&topic(n))?)?)).collect::<Result<Vec<_>, Fail>>()?;
    for no in &nos {
        lane.append(*no, &trade(0, 1))?;
    }
    lane.commit()?;
    thread::spawn(move || -> Result<(), Fail> {
        std::io::stdin().lock().read_line(&mut String::new())?;
        let (begin, gap, mut sent) = (now(), 1_000_000_000 / (RATE as i64 * TOPICS as i64), 0);
        loop {
            let mut due = begin + sent * gap;
            while due <= now() {
                sent += 1;
                lane.append(nos[sent as usize % TOPICS], &trade(sent as u64, due))?;
                due = begin + sent * gap;
            }
            lane.commit()?;
            thread::sleep(Duration::from_nanos((due - now()).clamp(0, gap) as u64));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let config =
            GatewayConfig { connections_max: 1 << 20, hb: PATIENCE, stall: PATIENCE, ..GatewayConfig::default() };
        let deps = Deps { tape, history: None, surface: Arc::new(Quiet), clients: Default::default() };
        Ok(Gateway::serve(config, deps, listener, CancellationToken::new()).await?)
    })
}

struct Shared {
    seats: Semaphore,
    ready: AtomicU64,
    counts: AtomicBool,
    seen: Mutex<Histogram<u64>>,
    /// Of those that read slowly.
    slow_bytes: AtomicU64,
}

async fn client(nth: usize, at: std::net::SocketAddr, is_slow: bool, shared: Arc<Shared>) -> Result<(), Fail> {
    let hello = format!("{{\"op\":\"sub\",\"topic\":\"{}\"}}", topic(nth));
    let talk = Arc::new(Talk { path: "/v1/ws", hello, is_text: true, ready: b"\"subd\"" });
    let seat = shared.seats.acquire().await?;
    let socket = TcpSocket::new_v4()?;
    if is_slow {
        socket.set_recv_buffer_size(2 << 10)?;
    }
    let (mut socket, mut bytes) = speak(socket.connect(at).await?, at, &talk).await?;
    drop(seat);
    shared.ready.fetch_add(1, Ordering::Relaxed);
    if is_slow {
        let mut sip = [0; SIP];
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let n = socket.read(&mut sip).await?;
            shared.slow_bytes.fetch_add(n as u64, Ordering::Relaxed);
            if n == 0 {
                return Err("a client that reads slowly was closed".into());
            }
        }
    }
    loop {
        while let Some((head, len)) = whole(&bytes) {
            let text = &bytes[head..head + len];
            if let Some(due) = number(text, b"\"ts_event\":\"").filter(|_| shared.counts.load(Ordering::Relaxed)) {
                let took = now().saturating_sub(due as i64).max(0) as u64;
                shared.seen.lock().map_err(|_| "poisoned")?.record(took)?;
            }
            bytes.drain(..head + len);
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err("closed".into());
        }
    }
}

/// p50, p99 and p99.9 of those that read, ms; the server's memory, KiB.
fn run(clients: usize, slow: bool, time: Duration) -> Result<[f64; 4], Fail> {
    let dir = tempfile::tempdir()?;
    let mut server = Process::printing(Command::new(std::env::current_exe()?).env("WHOLETAPE_SERVE", dir.path()))?;
    let at = server.at;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shared = Arc::new(Shared {
            seats: Semaphore::new(64),
            ready: AtomicU64::new(0),
            counts: AtomicBool::new(false),
            seen: Mutex::new(Histogram::new(3)?),
            slow_bytes: AtomicU64::new(0),
        });
        let mut all = tokio::task::JoinSet::new();
        for nth in 0..clients {
            all.spawn(client(nth, at, slow && nth % SLOW == 0, shared.clone()));
        }
        while shared.ready.load(Ordering::Relaxed) < clients as u64 {
            if let Some(ended) = all.try_join_next() {
                ended??;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.stdin.as_mut().ok_or("no input")?.write_all(b"go\n")?;
        tokio::time::sleep(WARM).await;
        shared.counts.store(true, Ordering::Relaxed);
        tokio::time::sleep(time).await;
        shared.counts.store(false, Ordering::Relaxed);
        if let Some(ended) = all.try_join_next() {
            ended??;
        }
        let seen = shared.seen.lock().map_err(|_| "poisoned")?;
        let ms = |q: f64| seen.value_at_quantile(q) as f64 / 1e6;
        let memory = server.memory()? as f64;
        let what = if slow { "one in ten reads 1 kB/s" } else { "all read" };
        println!(
            "{clients} clients, {what}: {} messages, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms; server {:.1} MiB; read slowly {} kB",
            seen.len(),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            memory / 1_024.0,
            shared.slow_bytes.load(Ordering::Relaxed) / 1_000
        );
        Ok([ms(0.5), ms(0.99), ms(0.999), memory])
    })
}

fn main() -> Result<(), Fail> {
    if let Ok(dir) = std::env::var("WHOLETAPE_SERVE") {
        return serve(&dir);
    }
    // `cargo bench` says `--bench`; run by `cargo test`, it only shows that it works.
    let measured = std::env::args().any(|a| a == "--bench");
    let mut given = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds: f64 = given.next().map_or(Ok(if measured { 60.0 } else { 0.2 }), |s| s.parse())?;
    let clients: usize = given.next().map_or(Ok(if measured { 1_000 } else { 20 }), |n| n.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let (first, with, again) = (run(clients, false, time)?, run(clients, true, time)?, run(clients, false, time)?);
    let without = first[1].midpoint(again[1]);
    println!("p99 with over without: {:.3} (the two without differ by {:.3})", with[1] / without, again[1] / first[1]);
    Ok(())
}
