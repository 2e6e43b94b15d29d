//! Accepts connections, speaks HTTP on them, and hands WebSockets to their tasks.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::USER_AGENT;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wholetape_wire::{Close, Form};
use wholetape_ws::{Deflate, Limits, Settings, Socket};

use crate::auth::authority::Authority;
use crate::auth::present;
use crate::http::{Body, answer, text};
use crate::peers::Peers;
use crate::stats::GatewayStats;
use crate::tls::Tls;
use crate::ws::hub::Hub;
use crate::ws::{connection, echo, upgrade};
use crate::{Deps, GatewayConfig, GatewayError, Surface, lock};

/// PROTOCOL §10: headers of a request within this time and size.
const HEADERS_WAIT: Duration = Duration::from_secs(5);
const HEADERS_BYTES: usize = 8 << 10;

pub(crate) struct Server {
    pub hub: Arc<Hub>,
    pub surface: Arc<dyn Surface>,
    sockets: TaskTracker,
    stop: CancellationToken,
    peers: Mutex<Peers>,
    tls: Option<Arc<Tls>>,
}

pub(crate) async fn serve(
    config: GatewayConfig,
    deps: Deps,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    let drain = config.drain;
    let stats = Arc::new(GatewayStats::default());
    let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let auth = Authority::open(&config.auth, stats.clone())?;
    let hub = Arc::new(Hub::new(deps.tape, deps.history, config, auth, stats, deps.clients));
    let server = Arc::new(Server {
        hub: hub.clone(),
        surface: deps.surface,
        sockets: TaskTracker::new(),
        stop: stop.clone(),
        peers: Mutex::default(),
        tls: tls.clone(),
    });
    let mut requests = JoinSet::new();
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = hub.run() => Ok(()),
        () = follow_files(&hub, tls.as_ref()) => Ok(()),
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
        hub.publisher.end().await;
    });
    if ended.await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    requests.shutdown().await;
    result
}

/// Keys and certificate, as long as the server runs.
async fn follow_files(hub: &Hub, tls: Option<&Arc<Tls>>) {
    let keys = async {
        match &hub.auth {
            Some(auth) => auth.follow().await,
            None => std::future::pending().await,
        }
    };
    let certificate = async {
        match tls {
            Some(tls) => tls.follow().await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(keys, certificate);
}

async fn accept(server: &Arc<Server>, listener: &TcpListener, requests: &mut JoinSet<()>) -> GatewayError {
    let mut failures = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    let server = server.clone();
                    requests.spawn(async move { server.connection(stream, peer).await });
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
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "no TCP_NODELAY");
        }
        let Some(tls) = &self.tls else { return self.speak(stream, peer).await };
        let handshake = timeout(HEADERS_WAIT, tls.acceptor().accept(stream));
        tokio::select! {
            () = self.stop.cancelled() => {}
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => self.speak(stream, peer).await,
                refused => {
                    self.hub.stats.refused_handshakes_total.fetch_add(1, Ordering::Relaxed);
                    let why = refused.map_or_else(|_| "timeout".to_owned(), |r| r.err().map_or_else(String::new, |e| e.to_string()));
                    tracing::debug!(why, "no TLS");
                }
            },
        }
    }

    /// HTTP over whatever the bytes come through.
    async fn speak(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.request(request, peer)) }
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

    fn request(self: Arc<Self>, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let echo = match request.uri().path() {
            "/v1/ws" => false,
            "/echo" if self.hub.config.echo => true,
            _ => return answer(&self, &request),
        };
        let refused = |status, why| {
            self.hub.stats.refused_upgrades_total.fetch_add(1, Ordering::Relaxed);
            text(status, why)
        };
        let mut response = match upgrade::accept(&request, &self.hub.config.origins) {
            Ok(response) => response,
            Err((status, why)) => return refused(status, why),
        };
        let shown = match &self.hub.auth {
            Some(auth) => present::of_request(request.headers(), request.uri().query(), auth.config.query_tokens),
            None => Ok(None),
        };
        let shown = match shown {
            Ok(shown) => shown,
            Err(why) => return refused(StatusCode::BAD_REQUEST, why),
        };
        let ip = peer.ip();
        if let Err((status, why)) = self.enter(ip) {
            return refused(status, why);
        }
        let deflate = if self.hub.config.deflate { upgrade::agree(&request, &mut response) } else { None };
        let form = Form { msgpack: upgrade::speaks_msgpack(&response), ..Form::PLAIN };
        let batch = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "batch=1"));
        let agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let upgraded = hyper::upgrade::on(&mut request);
        let server = self.clone();
        self.sockets.spawn(async move {
            match timeout(HEADERS_WAIT, upgraded).await {
                Ok(Ok(io)) if echo => {
                    let socket = server.socket(io, echo::LIMITS, deflate);
                    echo::run(socket, server.stop.clone()).await;
                }
                Ok(Ok(io)) => {
                    let socket = server.socket(io, server.limits(), deflate);
                    let (hub, stop) = (server.hub.clone(), server.stop.clone());
                    if connection::run(hub, socket, (form, batch), shown, (peer, &agent), stop).await
                        == Some(Close::Abuse)
                    {
                        server.ban(ip);
                    }
                }
                Ok(Err(e)) => tracing::debug!(error = %e, "upgrade failed"),
                Err(_) => tracing::debug!("upgrade timed out"),
            }
            server.leave(ip);
        });
        response.map(|()| Body::default())
    }

    /// Of what clients send.
    fn limits(&self) -> Limits {
        let config = &self.hub.config;
        let message = usize::try_from(config.limits.max_msg).unwrap_or(usize::MAX);
        Limits { message, fragments: config.fragments_max }
    }

    fn socket(&self, io: Upgraded, limits: Limits, deflate: Option<Deflate>) -> connection::Socket {
        let settings = Settings { limits, deflate, write_bytes: self.hub.config.write_bytes };
        Socket::server(TokioIo::new(io), settings)
    }

    /// Counts a connection of `ip` in, or refuses it.
    fn enter(&self, ip: IpAddr) -> Result<(), (StatusCode, &'static str)> {
        lock(&self.peers).enter(ip, Instant::now(), &self.hub.config)?;
        self.hub.stats.connections.fetch_add(1, Ordering::Relaxed);
        self.hub.stats.connections_total.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn ban(&self, ip: IpAddr) {
        tracing::warn!(%ip, ban_s = self.hub.config.ban.as_secs(), "closed for abuse");
        lock(&self.peers).ban(ip, Instant::now() + self.hub.config.ban);
    }

    fn leave(&self, ip: IpAddr) {
        lock(&self.peers).leave(ip);
        self.hub.stats.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
