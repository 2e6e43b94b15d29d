//! A replay's tape, served like a live one: the same gateway, whose surface tells of a replay instead of a feed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, GatewayError, Health, Surface};
use wholetape_store::replay::Status;
use wholetape_tape::Tape;

/// Where the player stands, for whoever asks the gateway.
#[derive(Debug, Default)]
pub struct Seen {
    rows: AtomicU64,
    late: AtomicU64,
    at: AtomicI64,
    paused: AtomicBool,
    done: AtomicBool,
}

impl Seen {
    pub fn note(&self, s: &Status) {
        self.rows.store(s.rows, Ordering::Relaxed);
        self.late.store(s.late, Ordering::Relaxed);
        if let Some(at) = s.at {
            self.at.store(at.0, Ordering::Relaxed);
        }
        self.paused.store(s.paused, Ordering::Relaxed);
        self.done.store(s.at.is_none(), Ordering::Relaxed);
    }
}

struct Own {
    tape: Tape,
    seen: Arc<Seen>,
}

impl Surface for Own {
    fn metrics(&self) -> String {
        let mut text = crate::metrics::tape(&self.tape.stats());
        let s = &self.seen;
        let mut put = |name: &str, kind: &str, help: &str, value: f64| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        let n = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        let flag = |a: &AtomicBool| f64::from(u8::from(a.load(Ordering::Relaxed)));
        put("replay_rows_total", "counter", "Rows replayed.", n(&s.rows));
        put("replay_late_rows_total", "counter", "Rows given out of the order of ts_event.", n(&s.late));
        let at = s.at.load(Ordering::Relaxed) as f64 / 1e9;
        put("replay_position_seconds", "gauge", "Time of the next row, seconds since 1970.", at);
        put("replay_paused", "gauge", "1 while paused.", flag(&s.paused));
        put("replay_done", "gauge", "1 at the end of the range.", flag(&s.done));
        text
    }

    fn health(&self) -> Health {
        Health { reasons: vec!["a replay: nothing here is live".to_owned()], ..Health::default() }
    }
}

/// The gateway, running.
pub struct Served {
    pub addr: SocketAddr,
    runtime: Runtime,
    gateway: JoinHandle<Result<(), GatewayError>>,
    stop: CancellationToken,
}

impl Served {
    pub fn start(port: u16, tape: &Tape, seen: &Arc<Seen>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).with_context(|| {
            format!("cannot listen on port {port}: choose another with --serve (0 picks a free one)")
        })?;
        let addr = listener.local_addr()?;
        let deps = Deps {
            tape: tape.clone(),
            history: None,
            surface: Arc::new(Own { tape: tape.clone(), seen: seen.clone() }),
            clients: Default::default(),
        };
        let stop = CancellationToken::new();
        let gateway = runtime.spawn(Gateway::serve(GatewayConfig::default(), deps, listener, stop.clone()));
        Ok(Self { addr, runtime, gateway, stop })
    }

    /// Says goodbye to clients.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = self.runtime.block_on(self.gateway);
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        Ok(ended??)
    }
}
