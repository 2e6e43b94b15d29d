//! Looks from outside: a thread of its own asks page, REST and WebSocket over loopback as a client would, and reads of tape and
//! lines what they say of themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_util::sync::CancellationToken;
use wholetape_feed::metrics::Hub;
use wholetape_tape::Tape;

use super::{Availability, State};

const HTTP_EVERY: Duration = Duration::from_secs(1);
const SOCKET_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// No answer within this long is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// What a look may be late without anything being wrong.
const SLACK: Duration = Duration::from_secs(1);
/// Asked in turns.
const PATHS: [&str; 4] = ["/health/live", "/", "/v1/topics", "/metrics"];

/// What is looked at.
pub struct Watched {
    pub door: Door,
    pub tape: Tape,
    pub hub: Hub,
    /// The names of the lines just now: some join later.
    pub lines: Box<dyn Fn() -> Vec<String> + Send>,
}

/// Looks until `stop`, then writes the account for the last time.
///
/// # Errors
/// No thread could be started.
pub fn start(
    watched: Watched,
    account: Arc<Availability>,
    stop: CancellationToken,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("wt-availability".into()).spawn(move || {
        let looking = async {
            tokio::join!(
                http(&watched, &account),
                socket(&watched, &account),
                within(&watched, &account),
                keep(&account)
            );
        };
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = looking => {}
            }
        });
        if let Err(error) = account.save(true) {
            tracing::warn!(%error, "availability cannot be kept");
        }
    })
}

async fn keep(account: &Availability) {
    loop {
        if let Err(error) = account.save(false) {
            tracing::warn!(%error, "availability cannot be kept");
        }
        sleep(SAVE_EVERY).await;
    }
}

async fn http(watched: &Watched, account: &Availability) {
    let (mut last, usual) = (Instant::now(), HTTP_EVERY + ANSWER_WITHIN + SLACK);
    for path in PATHS.iter().cycle() {
        let answer = timeout(ANSWER_WITHIN, get(&watched.door, path)).await.unwrap_or_else(|_| Err("timeout".into()));
        tell(account, "http", answer.map_err(|why| format!("{path}: {why}")), &mut last, usual);
        sleep(HTTP_EVERY).await;
    }
}

async fn socket(watched: &Watched, account: &Availability) {
    let (mut last, usual) = (Instant::now(), SOCKET_EVERY + ANSWER_WITHIN + SLACK);
    loop {
        let topic = watched.tape.topics().first().map(|t| t.topic.to_string());
        let talk = talk(&watched.door, topic.as_deref());
        let answer = timeout(ANSWER_WITHIN, talk).await.unwrap_or_else(|_| Err("timeout".into()));
        tell(account, "websocket", answer, &mut last, usual);
        sleep(SOCKET_EVERY).await;
    }
}

fn tell(account: &Availability, name: &str, answer: Result<(), String>, last: &mut Instant, usual: Duration) {
    let now = Instant::now();
    let span = now - std::mem::replace(last, now);
    match answer {
        Ok(()) => account.looked(name, State::Able, "", span, usual),
        Err(why) => account.looked(name, State::Unable, &why, span, usual),
    }
}

/// Where a client on this machine finds it.
fn near(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port()) } else { addr }
}

/// How a process comes to its own gateway.
#[derive(Clone)]
pub struct Door {
    pub addr: SocketAddr,
    /// Its own `X-Api-Key`, where the gateway wants credentials.
    pub api_key: Option<String>,
    pub tls: bool,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Door {
    async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let addr = near(self.addr);
        let stream = TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Ourselves))
            .with_no_client_auth();
        let name = ServerName::IpAddress(addr.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
        Ok(Box::new(stream))
    }
}

/// Whatever answers on the port that this process listens on is this process: its certificate, made for other names, proves nothing
/// that the port does not.
#[derive(Debug)]
struct Ourselves;

impl ServerCertVerifier for Ourselves {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A whole answer with status 200.
pub(super) async fn get(door: &Door, path: &str) -> Result<(), String> {
    let (mut stream, addr) = (door.open().await?, door.addr);
    let key = door.api_key.as_ref().map(|key| format!("x-api-key: {key}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n{key}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream.take(64 << 20).read_to_end(&mut answer).await.map_err(|e| e.to_string())?;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    let head = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    Err(format!("answered {:?}", String::from_utf8_lossy(&head[..head.len().min(60)])))
}

/// Connects, subscribes, hears a sign of life.
pub(super) async fn talk(door: &Door, topic: Option<&str>) -> Result<(), String> {
    let request = format!("ws://{}/v1/ws", door.addr).into_client_request();
    let mut request = request.map_err(|e| e.to_string())?;
    if let Some(key) = &door.api_key {
        let key = HeaderValue::from_str(key).map_err(|e| e.to_string())?;
        request.headers_mut().insert("x-api-key", key);
    }
    let (mut socket, _) = client_async(request, door.open().await?).await.map_err(|e| e.to_string())?;
    let mut asks = vec![json!({"op": "ping", "id": 2})];
    let mut awaited = vec!["welcome", "pong"];
    if let Some(topic) = topic {
        asks.insert(0, json!({"op": "sub", "id": 1, "topic": topic}));
        awaited.push("subd");
    }
    for ask in asks {
        socket.send(Message::text(ask.to_string())).await.map_err(|e| e.to_string())?;
    }
    while !awaited.is_empty() {
        let message = socket.next().await.ok_or("closed")?.map_err(|e| e.to_string())?;
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let op = message["op"].as_str().unwrap_or_default();
        if op == "err" {
            return Err(format!("answered {message}"));
        }
        awaited.retain(|wanted| *wanted != op);
    }
    drop(socket.close(None).await);
    Ok(())
}

/// What tape and lines say of themselves.
async fn within(watched: &Watched, account: &Availability) {
    let mut last = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let now = Instant::now();
        let span = now - std::mem::replace(&mut last, now);
        let usual = LOOK_EVERY + SLACK;
        let stats = watched.tape.stats();
        let (state, why) = match () {
            () if stats.sync_failed => (State::Unable, "an fsync failed"),
            () if stats.is_red() => (State::Unable, "no space is left"),
            () => (State::Able, ""),
        };
        account.looked("tape", state, why, span, usual);
        for line in &(watched.lines)() {
            let (state, why) = judge(|name| watched.hub.value(name, &[("line", line)]));
            account.looked(&format!("line:{line}"), state, why, span, usual);
        }
    }
}

/// A line is able when every stream is subscribed, every book is live and nothing lags.
pub(super) fn judge(value: impl Fn(&str) -> Option<f64>) -> (State, &'static str) {
    let get = |name| value(name).unwrap_or(0.0);
    if get("feed_shed_level") >= 1.0 {
        (State::Unable, "it lags")
    } else if get("feed_streams") == 0.0 || get("feed_streams_open") < get("feed_streams") {
        (State::Excluded, "the venue is away")
    } else if get("feed_books_live") < get("feed_books") {
        (State::Unable, "a book is not live")
    } else {
        (State::Able, "")
    }
}
