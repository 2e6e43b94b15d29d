//! A byte stream to an endpoint: TCP with `TCP_NODELAY`, and TLS unless the endpoint is loopback (checked where the
//! [`Endpoint`] was read). WebSockets and REST both stand on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::error::OpenError;

/// TCP with or without TLS around it.
#[derive(Debug)]
pub enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects. Without a time limit: the caller has one for all it does.
///
/// # Errors
/// [`OpenError`].
pub async fn dial(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Result<Transport, OpenError> {
    let failed = |source| OpenError::Connect { endpoint: endpoint.to_string(), source };
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    if !endpoint.tls {
        return Ok(Transport::Plain(tcp));
    }
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| OpenError::ServerName(endpoint.host.clone()))?;
    Ok(Transport::Tls(Box::new(TlsConnector::from(tls).connect(name, tcp).await.map_err(failed)?)))
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
