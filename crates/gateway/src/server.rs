//! Accepts connections, speaks HTTP on them, and hands WebSockets to their tasks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Body, answer, text};
use crate::stats::GatewayStats;
use crate::ws::counted::Counted;
use crate::ws::hub::Hub;
use crate::ws::{connection, upgrade};
use crate::{Deps, GatewayConfig, GatewayError, Surface, lock};

/// PROTOCOL §10: headers of a request within this time and size.
const HEADERS_WAIT: Duration = Duration::from_secs(5);
const HEADERS_BYTES: usize = 8 << 10;

pub(crate) struct Server {
    pub hub: Arc<Hub>,
    pub surface: Arc<dyn Surface>,
    sockets: TaskTracker,
    stop: CancellationToken,
    sessions: AtomicU64,
    peers: Mutex<HashMap<IpAddr, Peer>>,
}

/// What one address does.
struct Peer {
    open: usize,
    /// Upgrades in the second that began at `since`.
    upgrades: u32,
    since: Instant,
}

pub(crate) async fn serve(
    config: GatewayConfig,
    deps: Deps,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    let drain = config.drain;
    let hub = Arc::new(Hub::new(deps.tape, deps.history, config, Arc::new(GatewayStats::default())));
    let server = Arc::new(Server {
        hub: hub.clone(),
        surface: deps.surface,
        sockets: TaskTracker::new(),
        stop: stop.clone(),
        sessions: AtomicU64::new(0),
        peers: Mutex::default(),
    });
    let mut requests = JoinSet::new();
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = hub.run() => Ok(()),
        failed = accept(&server, &listener, &mut requests) => Err(failed),
    };
    drop(listener);
    stop.cancel();
    server.sockets.close();
    // While connections say goodbye they may still write; the hub has nothing more to tell.
    let ended = timeout(drain, async {
        server.sockets.wait().await;
        while requests.join_next().await.is_some() {}
        if let Some(past) = &hub.past {
            past.end().await;
        }
    });
    if ended.await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    requests.shutdown().await;
    result
}

async fn accept(server: &Arc<Server>, listener: &TcpListener, requests: &mut JoinSet<()>) -> GatewayError {
    let mut failures = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    let server = server.clone();
                    requests.spawn(async move { server.connection(stream, peer.ip()).await });
                }
                // Out of descriptors, or a connection that died in the queue: others may still come.
                Err(e) if failures < 100 => {
                    failures += 1;
                    tracing::warn!(error = %e, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return GatewayError::Accept(e),
            },
            Some(_) = requests.join_next() => {}
        }
    }
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, ip: IpAddr) {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "no TCP_NODELAY");
        }
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.request(request, ip)) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WAIT)
            .max_buf_size(HEADERS_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::select! {
            () = self.stop.cancelled() => {}
            ended = served => if let Err(e) = ended {
                tracing::debug!(error = %e, "request failed");
            },
        }
    }

    fn request(self: Arc<Self>, mut request: Request<Incoming>, ip: IpAddr) -> Response<Body> {
        if request.uri().path() != "/v1/ws" {
            return answer(&self, &request);
        }
        let refused = |status, why| {
            self.hub.stats.refused_upgrades_total.fetch_add(1, Ordering::Relaxed);
            text(status, why)
        };
        let response = match upgrade::accept(&request, &self.hub.config.origins) {
            Ok(response) => response,
            Err((status, why)) => return refused(status, why),
        };
        if let Err((status, why)) = self.enter(ip) {
            return refused(status, why);
        }
        let batch = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "batch=1"));
        let upgraded = hyper::upgrade::on(&mut request);
        let server = self.clone();
        self.sockets.spawn(async move {
            match timeout(HEADERS_WAIT, upgraded).await {
                Ok(Ok(io)) => server.socket(io, batch).await,
                Ok(Err(e)) => tracing::debug!(error = %e, "upgrade failed"),
                Err(_) => tracing::debug!("upgrade timed out"),
            }
            server.leave(ip);
        });
        response.map(|()| Body::default())
    }

    async fn socket(&self, io: hyper::upgrade::Upgraded, batch: bool) {
        let limits = &self.hub.config.limits;
        let max = usize::try_from(limits.max_msg).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .write_buffer_size(self.hub.config.write_bytes)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let io = Counted::new(TokioIo::new(io));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let n = self.sessions.fetch_add(1, Ordering::Relaxed);
        let name = format!("s_{}_{n}", self.hub.epoch);
        connection::run(self.hub.clone(), socket, batch, name, self.stop.clone()).await;
    }

    /// Counts a connection of `ip` in, or refuses it.
    fn enter(&self, ip: IpAddr) -> Result<(), (StatusCode, &'static str)> {
        let config = &self.hub.config;
        let mut peers = lock(&self.peers);
        if peers.values().map(|p| p.open).sum::<usize>() >= config.connections_max {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"));
        }
        let now = Instant::now();
        peers.retain(|_, p| p.open > 0 || now < p.since + Duration::from_secs(1));
        let peer = peers.entry(ip).or_insert(Peer { open: 0, upgrades: 0, since: now });
        if now >= peer.since + Duration::from_secs(1) {
            (peer.upgrades, peer.since) = (0, now);
        }
        let spared = ip.is_loopback();
        if !spared && (peer.open >= config.connections_per_ip || peer.upgrades >= config.upgrades_per_s) {
            return Err((StatusCode::TOO_MANY_REQUESTS, "too many connections of this address\n"));
        }
        peer.open += 1;
        peer.upgrades += 1;
        self.hub.stats.connections.fetch_add(1, Ordering::Relaxed);
        self.hub.stats.connections_total.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn leave(&self, ip: IpAddr) {
        if let Some(peer) = lock(&self.peers).get_mut(&ip) {
            peer.open = peer.open.saturating_sub(1);
        }
        self.hub.stats.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
