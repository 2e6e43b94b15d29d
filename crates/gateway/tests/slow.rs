//! Clients that hardly read beside others: what those see of it (issue 6, T20). A measurement, so by request:
//! `cargo test --release -p wholetape-gateway --test slow -- --ignored --nocapture`; `WHOLETAPE_CLIENTS`, `WHOLETAPE_SECONDS` and
//! `WHOLETAPE_RATE` (messages a second, of one topic that all follow) scale it.

mod rig;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use rig::{Rig, TRADE, patient, trade};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{RowFlags, Ts};
use wholetape_tape::TapeConfig;

fn now() -> Ts {
    Ts(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |n| n.parse().expect("a number"))
}

/// Reads about a kilobyte a second.
async fn slow(at: std::net::SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(at).await.unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = json!({"op": "sub", "topic": TRADE}).to_string();
    // A mask of zeros.
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).await.unwrap();
    let mut bytes = [0; 256];
    while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
        sleep(Duration::from_millis(250)).await;
    }
}

/// Reads all, and notes how old each message is, in microseconds.
async fn quick(rig_at: std::net::SocketAddr, ages: Arc<Mutex<Vec<u32>>>) {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{rig_at}/v1/ws")).await.unwrap();
    socket.send(Message::text(json!({"op": "sub", "topic": TRADE}).to_string())).await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        let Message::Text(text) = frame else { continue };
        let Some(ts) = text.split("\"ts\":").nth(1).filter(|_| text.starts_with("{\"op\":\"data\"")) else { continue };
        let ts: i64 = ts.split(',').next().unwrap().parse().unwrap();
        let age = (now().0 / 1_000 - ts).max(0);
        ages.lock().unwrap().push(u32::try_from(age).unwrap_or(u32::MAX));
    }
}

/// Ages of all messages that quick clients took, ascending, beside so many slow ones; and how many messages were published.
async fn run(clients: u64, slow_ones: u64, seconds: u64, rate: u64) -> (Vec<u32>, u64) {
    let config = GatewayConfig { connections_per_ip: 100_000, ..GatewayConfig::default() };
    let mut rig = Rig::with(patient(config), TapeConfig::default()).await;
    rig.trades(1..=1);
    let ages = Arc::new(Mutex::new(Vec::new()));
    // Clients have a thread of their own.
    let (stop, at, theirs) = (CancellationToken::new(), rig.at, ages.clone());
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for i in 0..clients {
                if i < slow_ones {
                    tasks.spawn(slow(at));
                } else {
                    tasks.spawn(quick(at, theirs.clone()));
                }
            }
            stopped.cancelled().await;
            tasks.shutdown().await;
        });
    });
    let (_, mut metrics) = rig.get("/metrics").await;
    while !metrics.contains(&format!("\ngateway_subscriptions {clients}\n")) {
        sleep(Duration::from_millis(50)).await;
        metrics = rig.get("/metrics").await.1;
    }
    // Each begins with its turn.
    sleep(Duration::from_millis(500)).await;
    let (begin, mut id, mut tick) = (Instant::now(), 1, interval(Duration::from_millis(5)));
    while begin.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        while id < begin.elapsed().as_millis() as u64 * rate / 1_000 {
            id += 1;
            rig.append_at(TRADE, trade(id), RowFlags::default(), now());
            rig.lane.commit().unwrap();
        }
    }
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    thread.join().unwrap();
    let mut ages = std::mem::take(&mut *ages.lock().unwrap());
    ages.sort_unstable();
    (ages, id - 1)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn slow_clients_harm_only_themselves() {
    let (clients, seconds) = (setting("WHOLETAPE_CLIENTS", 1_000), setting("WHOLETAPE_SECONDS", 60));
    let rate = setting("WHOLETAPE_RATE", 20);
    let slow_ones = clients / 10;
    let at = |ages: &[u32], share: f64| ages[((ages.len() - 1) as f64 * share) as usize];
    let mut p99 = Vec::new();
    let (fewer, none) = (clients - slow_ones, 0);
    for (all, slow_ones) in [(fewer, none), (clients, slow_ones), (fewer, none)] {
        let (ages, published) = run(all, slow_ones, seconds, rate).await;
        let whole = published * (all - slow_ones);
        println!(
            "{all} clients, {slow_ones} of them slow, {rate}/s, {seconds} s: {} of {whole} messages; us p50 {} p99 {} p99.9 {}",
            ages.len(),
            at(&ages, 0.5),
            at(&ages, 0.99),
            at(&ages, 0.999)
        );
        assert_eq!(ages.len() as u64, whole, "the others have all of it");
        p99.push(f64::from(at(&ages, 0.99)));
    }
    println!("p99 with slow clients / without: {:.2} and {:.2}", p99[1] / p99[0], p99[1] / p99[2]);
}
