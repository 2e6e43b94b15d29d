//! One WebSocket: opened with TLS where the address says so, and its end as a close code.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use wholetape_wire::form::msgpack;
use wholetape_wire::{Form, Former, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, Subject};

use crate::shell::OpenError;

/// A frame of ours is small; a server that does not take one for so long is gone.
const SEND_MAX: Duration = Duration::from_secs(10);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Ws = WebSocketStream<Box<dyn Stream>>;

/// What happened on a socket.
pub enum Happened {
    Opened,
    Text(String),
    Alive,
    /// The close code, where one came.
    Ended(Option<u16>),
}

/// Deeper than any message: a publication's data in a row of history in a batch.
const DEPTH: usize = 32;

pub enum Socket {
    None,
    Opening(Pin<Box<dyn Future<Output = Result<Ws, Option<u16>>> + Send>>),
    Open(Box<Ws>),
}

impl Socket {
    /// Begins to open it.
    pub fn open(request: Request<()>, tls: Arc<ClientConfig>) -> Self {
        Self::Opening(Box::pin(connect(request, tls)))
    }

    /// The next thing that happens; never, where there is no socket.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was opened or read is returned at once.
    pub async fn next(&mut self) -> Happened {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(opening) => match opening.await {
                Ok(ws) => {
                    *self = Self::Open(Box::new(ws));
                    Happened::Opened
                }
                Err(code) => self.ended(code),
            },
            Self::Open(ws) => match ws.next().await {
                Some(Ok(Message::Text(text))) => Happened::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => match msgpack::to_json(&bytes, DEPTH) {
                    Ok(text) => Happened::Text(text),
                    // As a text that is no JSON: the core tells it.
                    Err(why) => Happened::Text(why),
                },
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map(|frame| frame.code.into());
                    self.ended(code)
                }
                Some(Ok(_)) => Happened::Alive,
                Some(Err(error)) => {
                    tracing::debug!(%error, "the connection failed");
                    self.ended(None)
                }
                None => self.ended(None),
            },
        }
    }

    fn ended(&mut self, code: Option<u16>) -> Happened {
        *self = Self::None;
        Happened::Ended(code)
    }

    /// Whether it was taken.
    pub async fn send(&mut self, text: String, form: Form) -> bool {
        let Self::Open(ws) = self else { return true };
        let mut bytes = Vec::new();
        let message = match form == Form::PLAIN {
            false if Former::default().write(&mut bytes, form, &Subject::default(), text.as_bytes()) => {
                Message::binary(bytes)
            }
            _ => Message::text(text),
        };
        matches!(timeout(SEND_MAX, ws.send(message)).await, Ok(Ok(())))
    }

    pub async fn close(&mut self, code: u16) {
        if let Self::Open(ws) = self {
            let frame = CloseFrame { code: code.into(), reason: "".into() };
            let _ = timeout(Duration::from_secs(1), (**ws).close(Some(frame))).await;
        }
        *self = Self::None;
    }
}

/// The upgrade request for an address, checked before anything is opened.
///
/// # Errors
/// [`OpenError::Address`].
pub fn request(url: &str, form: Form) -> Result<Request<()>, OpenError> {
    let wrong = |why: String| OpenError::Address { url: url.to_owned(), why };
    let mut request = url.into_client_request().map_err(|e| wrong(e.to_string()))?;
    if !matches!(request.uri().scheme_str(), Some("ws" | "wss")) {
        return Err(wrong("it begins with neither ws:// nor wss://".into()));
    }
    let name = if form.msgpack { SUBPROTOCOL_MSGPACK } else { SUBPROTOCOL_JSON };
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(name));
    Ok(request)
}

/// rustls on ring, with Mozilla's roots compiled in.
///
/// # Errors
/// [`OpenError::Tls`].
pub fn tls() -> Result<Arc<ClientConfig>, OpenError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// `Err` holds the close code that the refusal amounts to.
async fn connect(request: Request<()>, tls: Arc<ClientConfig>) -> Result<Ws, Option<u16>> {
    let secure = request.uri().scheme_str() == Some("wss");
    let host = request.uri().host().unwrap_or("").trim_matches(['[', ']']).to_owned();
    let port = request.uri().port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|_| None)?;
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = if secure {
        let name = ServerName::try_from(host).map_err(|_| None)?;
        Box::new(tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await.map_err(|_| None)?)
    } else {
        Box::new(tcp)
    };
    match client_async(request, stream).await {
        Ok((ws, _)) => Ok(ws),
        Err(WsError::Http(answer)) => Err(refusal(answer.status())),
        Err(_) => Err(None),
    }
}

/// What a refused upgrade means, in the words of close codes.
fn refusal(status: StatusCode) -> Option<u16> {
    match status {
        StatusCode::UNAUTHORIZED => Some(4101),
        StatusCode::FORBIDDEN => Some(4301),
        StatusCode::BAD_REQUEST | StatusCode::UPGRADE_REQUIRED => Some(1002),
        _ => None,
    }
}
