//! What clients dial: the WebSocket protocol (`GET /v1/ws`, PROTOCOL.md and `docs/api/websocket.md`), `/v1/topics`, `/v1/coverage`,
//! `/metrics`, `/health/live`, `/health/ready` and the page at `/`.
//!
//! ```text
//! tape ─► hub: one reader per subscribed topic ─► stream: encoded once, a short ring ─► connections ─► sockets
//!                       (ws/hub.rs)                       (ws/stream.rs)                 (ws/connection.rs)
//! history (what the tape let go) ─► workers, a few at once ─► one subscription each ─────┘
//!                                        (ws/past)
//! ```
//!
//! Invariants:
//! - Each message is encoded once, however many read it live. A connection that falls behind the ring reads the tape
//!   for itself at its own pace, so a slow client costs nobody else anything. What the tape holds no more is read elsewhere than
//!   on the gateway's thread.
//! - Memory is bounded: per topic the ring, per connection its write buffer and one batch, per subscription that reads the
//!   history what was read ahead. There are no queues.
//! - What a client is not given is named by `missed`; nothing is skipped silently.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use wholetape_gateway::clients::Clients;
//! # use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};
//! # struct App;
//! # impl Surface for App {
//! #     fn metrics(&self) -> String { String::new() }
//! #     fn health(&self) -> Health { Health::default() }
//! # }
//! # async fn run(tape: wholetape_tape::Tape) -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let stop = tokio_util::sync::CancellationToken::new();
//! let deps = Deps { tape, history: None, surface: Arc::new(App), clients: Clients::default() };
//! Gateway::serve(GatewayConfig::default(), deps, listener, stop).await?;
//! # Ok(()) }
//! ```

pub mod auth;
pub mod clients;
mod config;
pub mod coverage;
mod http;
mod page;
mod peers;
pub mod publish;
mod server;
mod stats;
pub mod tls;
mod ws;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wholetape_tape::Tape;
use wholetape_tape::coverage::Coverage;
use wholetape_tape::history::History;

pub use config::{GatewayConfig, Problem};
pub use stats::GatewayStats;

/// What the gateway is given. `Tape` is a cheap handle.
pub struct Deps {
    pub tape: Tape,
    /// Whoever keeps what the tape lets go; `None`: nobody.
    pub history: Option<Arc<dyn History>>,
    pub surface: Arc<dyn Surface>,
    /// Where connections are shown; whoever keeps a clone may ask.
    pub clients: clients::Clients,
}

/// What the process knows about itself, asked per request.
pub trait Surface: Send + Sync {
    /// Prometheus text of everything but the gateway, which adds its own.
    fn metrics(&self) -> String;
    fn health(&self) -> Health;
    /// Shows the coverage ledger to `look`, if the process keeps one.
    fn coverage(&self, look: &mut dyn FnMut(&Coverage)) {
        let _ = look;
    }
}

/// `GET /health/live` and `/health/ready`: 200 or 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub live: bool,
    pub ready: bool,
    /// Why not, for people. May also hold warnings while ready.
    pub reasons: Vec<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { live: true, ready: true, reasons: Vec::new() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot accept connections")]
    Accept(#[source] std::io::Error),
    #[error(transparent)]
    Keys(#[from] auth::keyring::KeysError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// The server.
pub struct Gateway;

impl Gateway {
    /// Serves until `stop`, then says goodbye to every connection (`drain`, close 1012) and returns when all are gone,
    /// at the latest after `config.drain`.
    ///
    /// The future is `Send` and starts its tasks on the runtime that drives it; one thread is enough.
    ///
    /// # Errors
    /// [`GatewayError::Accept`] when the listener fails for good.
    pub async fn serve(
        config: GatewayConfig,
        deps: Deps,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        server::serve(config, deps, listener, stop).await
    }
}

/// Locks are held over plain data changes only, so what a panicking holder left behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
