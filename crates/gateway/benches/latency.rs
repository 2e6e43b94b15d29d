//! Socket → tape → gateway → client, beside a bare pipeline: socket → append → wake → socket.
//!
//! `cargo bench -p wholetape-gateway --bench latency [-- SECONDS [INSTRUMENTS]]`
//!
//! With INSTRUMENTS the frames go round as many topics, an instrument of each venue in turn, and the client subscribes to all of them; the
//! bare pipeline knows no topics.
//!
//! Both pipelines get the same frames over TCP from the same generator, at the same rate, in the same run, and end in a
//! client on loopback. Each frame carries the time at which it was *due*, and latency is counted from there, so that a
//! pipeline (or generator) that holds up frames is charged for it (no coordinated omission). Not in it: the venue's WebSocket
//! and decoding, which `wholetape-venue` and `wholetape-feed` measure.
//!
//! Four threads each: generator, ingest (reads, appends), server (wakes, writes), client.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{Message, client};
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};
use wholetape_model::{Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition, Ts, View};
use wholetape_tape::{Tape, TapeConfig};

type Fail = Box<dyn Error + Send + Sync>;

/// A frame: due time (ns since the run began) and a number, little-endian.
const FRAME: usize = 16;
/// What the bare pipeline forwards per frame: as long as our message for such a trade, and the due time at its start.
const MESSAGE: usize = 232;
const TOPIC: &str = "trade.BTCUSDT.BINANCE";

/// What one client may follow, and how often it may ask for a topic (docs/api/websocket.md, limits).
const TOPICS_A_CLIENT: usize = 200;
const ASK_EVERY: Duration = Duration::from_millis(52);

/// One, or as many as are asked for.
fn topics(instruments: usize) -> Vec<String> {
    let venue = |at: usize| match at % 5 {
        0 => format!("trade.X{at:03}USDT-PERP.BINANCE"),
        1 => format!("trade.X{at:03}USDT-LINEAR.BYBIT"),
        2 => format!("trade.X{at:03}-USDT-SWAP.OKX"),
        3 => format!("trade.X{at:03}-USD-PERP.DYDX"),
        _ => format!("trade.X{at:03}%2FUSD.KRAKEN"),
    };
    if instruments > 1 { (0..instruments).map(venue).collect() } else { vec![TOPIC.to_owned()] }
}

struct Quiet;

impl Surface for Quiet {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

/// Sends `rate` frames a second for `time`, each at its due time or as soon after as the scheduler lets it.
fn generate(to: SocketAddr, rate: u64, time: Duration, epoch: Instant) -> Result<u64, Fail> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    let (total, gap) = (rate * time.as_millis() as u64 / 1_000, 1_000_000_000 / rate);
    let begin = epoch.elapsed().as_nanos() as u64 + 1_000_000;
    let (mut sent, mut out) = (0, Vec::new());
    while sent < total {
        let now = epoch.elapsed().as_nanos() as u64;
        out.clear();
        while sent < total && begin + sent * gap <= now {
            out.extend_from_slice(&(begin + sent * gap).to_le_bytes());
            out.extend_from_slice(&sent.to_le_bytes());
            sent += 1;
        }
        if out.is_empty() {
            thread::sleep(Duration::from_nanos((begin + sent * gap).saturating_sub(now).min(1_000_000)));
        } else {
            socket.write_all(&out)?;
        }
    }
    Ok(total)
}

/// Reads what is there and gives it frame by frame; `done` after each read.
fn ingest(
    listener: &TcpListener,
    mut frame: impl FnMut(u64, u64) -> Result<(), Fail>,
    mut done: impl FnMut() -> Result<(), Fail>,
) -> Result<(), Fail> {
    let (mut socket, _) = listener.accept()?;
    let (mut buffer, mut held) = (vec![0; 64 << 10], 0);
    loop {
        let n = socket.read(&mut buffer[held..])?;
        if n == 0 {
            return Ok(());
        }
        held += n;
        let whole = held - held % FRAME;
        for f in buffer[..whole].chunks_exact(FRAME) {
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| f[at + i]));
            frame(word(0), word(8))?;
        }
        buffer.copy_within(whole..held, 0);
        held -= whole;
        done()?;
    }
}

/// Socket → one write to a file per read → wake another thread → socket.
fn bare(rate: u64, time: Duration) -> Result<Histogram<u64>, Fail> {
    let epoch = Instant::now();
    let dir = tempfile::tempdir()?;
    let mut file = File::create(dir.path().join("log"))?;
    let (inward, outward) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (to, at) = (inward.local_addr()?, outward.local_addr()?);
    let pending = Arc::new((Mutex::new(Vec::<u8>::new()), Notify::new()));
    let stop = CancellationToken::new();
    let (sink, ended) = (pending.clone(), stop.clone());
    let server = thread::spawn(move || -> Result<(), Fail> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            outward.set_nonblocking(true)?;
            let (mut socket, _) = tokio::net::TcpListener::from_std(outward)?.accept().await?;
            socket.set_nodelay(true)?;
            let mut batch = Vec::new();
            loop {
                tokio::select! {
                    () = sink.1.notified() => {}
                    () = ended.cancelled() => return Ok(()),
                }
                std::mem::swap(&mut batch, &mut *sink.0.lock().map_err(|_| "poisoned")?);
                socket.write_all(&batch).await?;
                batch.clear();
            }
        })
    });
    let reader = thread::spawn(move || -> Result<Histogram<u64>, Fail> {
        let mut lines = BufReader::with_capacity(64 << 10, TcpStream::connect(at)?);
        let (mut seen, mut line) = (Histogram::new(3)?, Vec::new());
        for _ in 0..rate * time.as_millis() as u64 / 1_000 {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            let due: u64 = std::str::from_utf8(&line[..20])?.trim_start_matches('0').parse().unwrap_or(0);
            seen.record((epoch.elapsed().as_nanos() as u64).saturating_sub(due))?;
        }
        Ok(seen)
    });
    let appender = thread::spawn(move || -> Result<(), Fail> {
        let batch = std::cell::RefCell::new(Vec::new());
        let frame = |due: u64, _: u64| {
            let mut b = batch.borrow_mut();
            let start = b.len();
            write!(b, "{due:020}")?;
            b.resize(start + MESSAGE - 1, b'x');
            b.push(b'\n');
            Ok(())
        };
        let done = || {
            let mut b = batch.borrow_mut();
            file.write_all(&b)?;
            pending.0.lock().map_err(|_| "poisoned")?.append(&mut b);
            pending.1.notify_one();
            Ok(())
        };
        ingest(&inward, frame, done)
    });
    thread::sleep(Duration::from_millis(100));
    generate(to, rate, time, epoch)?;
    let seen = reader.join().map_err(|_| "client")??;
    appender.join().map_err(|_| "ingest")??;
    stop.cancel();
    server.join().map_err(|_| "server")??;
    Ok(seen)
}

fn trade(due: u64, id: u64) -> Row<'static> {
    let body = View::Trade(Trade {
        id: (5_266_583_935 + id).into(),
        first_id: 5_266_583_935 + id,
        last_id: 5_266_583_935 + id,
        price: Price(6_180_030),
        size: Size(600_000),
        aggressor: Some(Side::Buy),
        condition: TradeCondition::Regular,
    });
    let (ts_event, ts_recv) = (Ts(due as i64), Ts(1_790_000_000_000_456_789));
    Row {
        ts_event,
        ts_recv,
        conn: 1,
        frame: id as u32,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 8 },
        body,
    }
}

/// A client: subscribes, says so, and reads until `due` rows have come.
fn read(
    at: SocketAddr,
    topics: &[String],
    due: u64,
    epoch: Instant,
    ready: &Sender<()>,
) -> Result<Histogram<u64>, Fail> {
    let socket = TcpStream::connect(at)?;
    socket.set_nodelay(true)?;
    let (mut ws, _) = client(format!("ws://{at}/v1/ws"), socket).map_err(|e| e.to_string())?;
    let (mut seen, mut subscribed) = (Histogram::new(3)?, 0);
    while seen.len() < due {
        if subscribed < topics.len() {
            if subscribed > 0 {
                thread::sleep(ASK_EVERY);
            }
            ws.send(Message::text(format!("{{\"op\":\"sub\",\"topic\":\"{}\"}}", topics[subscribed])))?;
        }
        // One answer to each: nothing else is said before all are ready.
        let Message::Text(text) = ws.read()? else { continue };
        if let Some((_, rest)) = text.split_once("\"ts_event\":\"") {
            let due: u64 = rest.split('"').next().unwrap_or("0").parse()?;
            seen.record((epoch.elapsed().as_nanos() as u64).saturating_sub(due))?;
        } else if text.contains("\"subd\"") {
            subscribed += 1;
            if subscribed == topics.len() {
                ready.send(())?;
            }
        } else if text.contains("\"error\"") {
            return Err(text.as_str().into());
        }
    }
    Ok(seen)
}

/// The same through the tape and the gateway.
fn whole(rate: u64, time: Duration, instruments: usize) -> Result<Histogram<u64>, Fail> {
    let epoch = Instant::now();
    let dir = tempfile::tempdir()?;
    let tape = Tape::open(dir.path(), TapeConfig::default())?;
    let mut lane = tape.lane("w0")?;
    let topics = topics(instruments);
    let mut nos = Vec::with_capacity(topics.len());
    for topic in &topics {
        let no = lane.topic(&Topic::parse(topic)?)?;
        lane.append(no, &trade(0, 0))?;
        nos.push(no);
    }
    lane.commit()?;
    let inward = TcpListener::bind("127.0.0.1:0")?;
    let to = inward.local_addr()?;
    let stop = CancellationToken::new();
    let (tell, told): (_, Receiver<SocketAddr>) = channel();
    let (served, deps) = (
        stop.clone(),
        Deps { tape: tape.clone(), history: None, surface: Arc::new(Quiet), clients: Default::default() },
    );
    let server = thread::spawn(move || -> Result<(), Fail> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            tell.send(listener.local_addr()?)?;
            Ok(Gateway::serve(GatewayConfig::default(), deps, listener, served).await?)
        })
    });
    let at = told.recv()?;
    let total = rate * time.as_millis() as u64 / 1_000;
    let all = topics.len() as u64;
    let (ready, is_ready) = channel();
    let readers: Vec<_> = topics
        .chunks(TOPICS_A_CLIENT)
        .enumerate()
        .map(|(nth, mine)| {
            // Frame `n` is of topic `n % all`.
            let first = (nth * TOPICS_A_CLIENT) as u64;
            let due = (first..first + mine.len() as u64).map(|at| (total + all - 1 - at) / all).sum();
            let (mine, ready) = (mine.to_vec(), ready.clone());
            thread::spawn(move || read(at, &mine, due, epoch, &ready))
        })
        .collect();
    drop(ready);
    let subscribed = is_ready.iter().take(readers.len()).count();
    let join = |readers: Vec<thread::JoinHandle<Result<Histogram<u64>, Fail>>>| -> Result<Histogram<u64>, Fail> {
        let mut seen = Histogram::new(3)?;
        for reader in readers {
            seen.add(reader.join().map_err(|_| "client")??)?;
        }
        Ok(seen)
    };
    if subscribed < readers.len() {
        return join(readers);
    }
    let appender = thread::spawn(move || -> Result<(), Fail> {
        let lane = std::cell::RefCell::new(lane);
        ingest(
            &inward,
            |due, id| {
                let no = nos[id as usize % nos.len()];
                Ok(lane.borrow_mut().append(no, &trade(due, id)).map(|_| ())?)
            },
            || Ok(lane.borrow_mut().commit()?),
        )
    });
    thread::sleep(Duration::from_millis(100));
    generate(to, rate, time, epoch)?;
    let seen = join(readers)?;
    appender.join().map_err(|_| "ingest")??;
    stop.cancel();
    server.join().map_err(|_| "server")??;
    Ok(seen)
}

fn main() -> Result<(), Fail> {
    // `cargo bench` says `--bench`; run by `cargo test`, it only shows that it works.
    let measured = std::env::args().any(|a| a == "--bench");
    let mut given = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds: f64 = match given.next() {
        Some(s) => s.parse()?,
        None => {
            if measured {
                5.0
            } else {
                0.2
            }
        }
    };
    let time = Duration::from_secs_f64(seconds);
    let instruments: usize = given.next().map_or(Ok(1), |n| n.parse())?;
    let rates = if instruments > 1 { [20_000, 50_000] } else { [10_000, 50_000] };
    println!("{:>9} {:>10} {:>10} {:>10} {:>10}", "frames/s", "pipeline", "p50 us", "p99 us", "p99.9 us");
    for rate in rates {
        let (b, w) = (bare(rate, time)?, whole(rate, time, instruments)?);
        let us = |h: &Histogram<u64>, q: f64| h.value_at_quantile(q) as f64 / 1_000.0;
        for (name, h) in [("bare", &b), ("wholetape", &w)] {
            println!("{rate:>9} {name:>10} {:>10.1} {:>10.1} {:>10.1}", us(h, 0.5), us(h, 0.99), us(h, 0.999));
        }
        println!(
            "{rate:>9} {:>10} {:>10.2} {:>10.2} {:>10.2}",
            "ratio",
            us(&w, 0.5) / us(&b, 0.5),
            us(&w, 0.99) / us(&b, 0.99),
            us(&w, 0.999) / us(&b, 0.999)
        );
    }
    Ok(())
}
