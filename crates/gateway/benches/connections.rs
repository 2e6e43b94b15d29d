//! Ten thousand connections: what each costs in memory, how long they take to come, and a restart of the server that none of them loses
//! a message by.
//!
//! `cargo bench -p wholetape-gateway --bench connections [-- CONNECTIONS]`
//!
//! The gateway is a process of its own, with 500 topics that together get 2 000 trades a second; each connection follows one of them and
//! checks every message by PROTOCOL's one rule (adjacent, in order, once). Then the server drains and ends, another one begins on
//! the same data and port, and each client comes back after a uniform delay within the window that it was told, from its position.

mod support;

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Fail, Process, Quiet, Talk, connect, number, trade, whole};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig};
use wholetape_model::Topic;
use wholetape_tape::{Tape, TapeConfig};

const TOPICS: usize = 500;
/// Messages a second, of all topics together.
const RATE: u64 = 2_000;
/// Handshakes under way at once.
const AT_ONCE: usize = 256;

fn topic(n: usize) -> String {
    format!("trade.X{:03}USDT-PERP.BINANCE", n % TOPICS)
}

/// This program as the gateway: says its port, appends, and drains at a line.
fn serve(dir: &str, port: u16) -> Result<(), Fail> {
    let tape = Tape::open(Path::new(dir), TapeConfig::default())?;
    let mut lane = tape.lane("w0")?;
    let nos = (0..TOPICS).map(|n| Ok(lane.topic(&Topic::parse(&topic(n))?)?)).collect::<Result<Vec<_>, Fail>>()?;
    for no in &nos {
        lane.append(*no, &trade(0, 1))?;
    }
    lane.commit()?;
    let config = GatewayConfig { connections_max: 1 << 20, ..GatewayConfig::default() };
    let deps = Deps { tape, history: None, surface: Arc::new(Quiet), clients: Default::default() };
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let (asked, over) = (stop.clone(), ended.clone());
    thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        asked.cancel();
    });
    let feed = thread::spawn(move || -> Result<(), Fail> {
        let (begin, mut sent) = (Instant::now(), 0);
        while !over.is_cancelled() {
            let due = begin.elapsed().as_millis() as u64 * RATE / 1_000;
            while sent < due {
                sent += 1;
                lane.append(nos[sent as usize % TOPICS], &trade(sent, 1_790_000_000_000_000_000 + sent as i64))?;
            }
            lane.commit()?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("{}", listener.local_addr()?.port());
        Ok::<_, Fail>(Gateway::serve(config, deps, listener, stop).await?)
    })?;
    ended.cancel();
    feed.join().map_err(|_| "feed")?
}

fn start(dir: &Path, port: u16) -> Result<Process, Fail> {
    let mut command = Command::new(std::env::current_exe()?);
    Process::printing(command.env("WHOLETAPE_SERVE", dir).env("WHOLETAPE_PORT", port.to_string()))
}

/// What all clients saw.
#[derive(Default)]
struct Seen {
    open: AtomicU64,
    messages: AtomicU64,
    /// Behind a position that the message does not follow.
    lost: AtomicU64,
    twice: AtomicU64,
    told: AtomicU64,
    drained: AtomicU64,
    back: AtomicU64,
}

/// One client: follows its topic, comes back once.
async fn client(nth: usize, at: SocketAddr, seats: Arc<Semaphore>, seen: Arc<Seen>) -> Result<(), Fail> {
    let (topic, mut last, mut epoch) = (topic(nth), 0, String::new());
    for turn in 0..2 {
        let from =
            if turn == 0 { String::new() } else { format!(",\"from\":{{\"epoch\":\"{epoch}\",\"seq\":{last}}}") };
        let hello = format!("{{\"op\":\"sub\",\"topic\":\"{topic}\"{from}}}");
        let talk = Arc::new(Talk { path: "/v1/ws", hello, is_text: true, ready: b"\"subd\"" });
        let seat = seats.acquire().await?;
        let (mut socket, mut bytes) = loop {
            match connect(at, &talk).await {
                Ok(open) => break open,
                // The new server is not there yet.
                Err(_) if turn > 0 => tokio::time::sleep(Duration::from_millis(500)).await,
                Err(e) => return Err(e),
            }
        };
        drop(seat);
        if turn == 0 { &seen.open } else { &seen.back }.fetch_add(1, Ordering::Relaxed);
        let mut subscribed = false;
        loop {
            while let Some((head, len)) = whole(&bytes) {
                let (is_close, text) = (bytes[0] & 0x0f == 8, &bytes[head..head + len]);
                let is = |op: &[u8]| text.windows(op.len()).any(|w| w == op);
                if is(b"\"op\":\"subd\"") {
                    subscribed = true;
                    seen.told.fetch_add(u64::from(is(b"\"missed\"")), Ordering::Relaxed);
                    last = number(text, b"\"seq\":").ok_or("no seq")?;
                    let name = std::str::from_utf8(text)?.split_once("\"epoch\":\"").ok_or("no epoch")?.1;
                    epoch = name.split('"').next().unwrap_or("").to_owned();
                } else if subscribed && is(b"\"op\":\"data\"") {
                    let seq = number(text, b"\"seq\":").ok_or("no seq")?;
                    let prev = number(text, b"\"prev\":").unwrap_or(seq - 1);
                    seen.messages.fetch_add(1, Ordering::Relaxed);
                    seen.twice.fetch_add(u64::from(seq <= last), Ordering::Relaxed);
                    seen.lost.fetch_add(u64::from(seq > last && prev != last), Ordering::Relaxed);
                    last = last.max(seq);
                } else if is(b"\"op\":\"missed\"") {
                    seen.told.fetch_add(1, Ordering::Relaxed);
                } else if is(b"\"op\":\"drain\"") {
                    seen.drained.fetch_add(1, Ordering::Relaxed);
                }
                bytes.drain(..head + len);
                if is_close {
                    // Answered, masked with zeros.
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, &[0x88, 0x80, 0, 0, 0, 0]).await;
                }
            }
            if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
        }
        // Uniform enough within eight seconds.
        tokio::time::sleep(Duration::from_millis((nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51)).await;
    }
    Ok(())
}

fn run(connections: usize) -> Result<(), Fail> {
    let dir = tempfile::tempdir()?;
    let mut server = start(dir.path(), 0)?;
    let at = server.at;
    thread::sleep(Duration::from_millis(500));
    let bare = server.memory()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (seen, seats) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(AT_ONCE)));
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let mut all = tokio::task::JoinSet::new();
        let began = Instant::now();
        for nth in 0..connections {
            all.spawn(client(nth, at, seats.clone(), seen.clone()));
        }
        let wait = async |done: &dyn Fn() -> bool, all: &mut tokio::task::JoinSet<Result<(), Fail>>| {
            let end = Instant::now() + Duration::from_secs(120);
            while !done() {
                if let Some(ended) = all.try_join_next() {
                    ended??;
                }
                if Instant::now() > end {
                    return Err::<(), Fail>("not all clients came".into());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        wait(&|| count(&seen.open) == connections as u64, &mut all).await?;
        let came = began.elapsed();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let held = server.memory()?;
        let each = (held.saturating_sub(bare)) as f64 / connections as f64;
        println!("{connections} connections in {came:.2?}; {held} KiB resident, {bare} before: {each:.1} KiB each");
        let before = count(&seen.messages);
        let began = Instant::now();
        server.stdin.take().ok_or("no input")?.write_all(b"drain\n")?;
        let ended = tokio::task::spawn_blocking(move || server.ended());
        ended.await??;
        let gone = began.elapsed();
        let next = tokio::task::spawn_blocking({
            let dir = dir.path().to_owned();
            move || start(&dir, at.port())
        });
        let _next = next.await??;
        wait(&|| count(&seen.back) == connections as u64, &mut all).await?;
        let back = began.elapsed();
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!(
            "drained: {} told, the server ended after {gone:.2?}, all back after {back:.2?}; of {} messages ({} since) lost {}, twice {}, \
             missed and told {}",
            count(&seen.drained),
            count(&seen.messages),
            count(&seen.messages) - before,
            count(&seen.lost),
            count(&seen.twice),
            count(&seen.told)
        );
        if count(&seen.lost) + count(&seen.twice) + count(&seen.told) > 0 {
            return Err("messages were lost, repeated or missed".into());
        }
        Ok(())
    })
}

fn main() -> Result<(), Fail> {
    if let Ok(dir) = std::env::var("WHOLETAPE_SERVE") {
        return serve(&dir, std::env::var("WHOLETAPE_PORT")?.parse()?);
    }
    // `cargo bench` says `--bench`; run by `cargo test`, it only shows that it works.
    let measured = std::env::args().any(|a| a == "--bench");
    let given = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    run(given.map_or(Ok(if measured { 9_500 } else { 20 }), |n| n.parse())?)
}
