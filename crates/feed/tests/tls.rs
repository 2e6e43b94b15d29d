//! `wss` and `https` against servers with a certificate of our own: trusted when its root is known, refused when not.

mod common;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use wholetape_feed::endpoint::{Endpoint, Scheme};
use wholetape_feed::error::{OpenError, chain};
use wholetape_feed::ws::{WsLimits, open};

#[tokio::test]
async fn trusts_whom_it_should_and_nobody_else() {
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let root = cert.cert.der().clone();
    let key = PrivateKeyDer::try_from(cert.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![root.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let Ok(mut ws) = tokio_tungstenite::accept_async(tls).await else { return };
                ws.send(Message::text("hello")).await.ok();
                while ws.next().await.is_some() {}
            });
        }
    });
    let endpoint = Endpoint::parse(&format!("wss://localhost:{port}"), Scheme::WebSocket).unwrap();
    let limits = WsLimits { open: Duration::from_secs(5), ..WsLimits::default() };
    let trusting = wholetape_feed::tls::config(&[root]).unwrap();
    let mut ws = open(&endpoint, "/stream", limits, trusting.clone()).await.expect("its root is known");
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::text("hello"));
    let strict = wholetape_feed::tls::config(&[]).unwrap();
    let refused = open(&endpoint, "/stream", limits, strict).await.unwrap_err();
    assert!(matches!(refused, OpenError::Connect { .. }), "{refused:?}");
    assert!(chain(&refused).contains("certificate"), "{}", chain(&refused));
    let other = Endpoint::parse(&format!("wss://127.0.0.1:{port}"), Scheme::WebSocket).unwrap();
    assert!(open(&other, "/stream", limits, trusting).await.is_err(), "another name than the certificate's");
}
