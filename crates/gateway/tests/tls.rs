//! TLS on the listener.

mod rig;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rig::{Rig, TRADE};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::tls::TlsConfig;
use wholetape_tape::TapeConfig;

/// Makes a certificate of its own, writes the pair, gives the certificate.
fn pair(dir: &Path) -> CertificateDer<'static> {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(dir.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn config(dir: &Path) -> TlsConfig {
    TlsConfig { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
}

async fn rig(dir: &Path) -> Rig {
    let config = GatewayConfig { tls: Some(config(dir)), ..GatewayConfig::default() };
    Rig::with(config, TapeConfig::default()).await
}

/// Connects as somebody who trusts `root` alone.
async fn dial(rig: &Rig, root: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(rig.at).await?;
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

#[tokio::test]
async fn https_and_wss_are_served_and_plain_is_not() {
    let dir = TempDir::new().unwrap();
    let root = pair(dir.path());
    let mut rig = rig(dir.path()).await;
    rig.trades(1..=3);
    let mut tls = dial(&rig, &root).await.unwrap();
    tls.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    tls.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    let stream = dial(&rig, &root).await.unwrap();
    let (mut ws, _) = client_async("wss://localhost/v1/ws", stream).await.unwrap();
    let mut said = async |text: &str| {
        use futures_util::{SinkExt, StreamExt};
        if !text.is_empty() {
            ws.send(tokio_tungstenite::tungstenite::Message::text(text)).await.unwrap();
        }
        let m = ws.next().await.unwrap().unwrap().into_text().unwrap();
        serde_json::from_str::<serde_json::Value>(&m).unwrap()
    };
    assert_eq!(said("").await["op"], "welcome");
    let sub = json!({"op": "sub", "topic": TRADE, "from": "earliest"}).to_string();
    assert_eq!(said(&sub).await["op"], "subd");
    assert_eq!(said("").await["data"]["id"], 1);
    // Somebody who trusts another certificate does not come in; somebody without TLS is answered nothing.
    let other = TempDir::new().unwrap();
    assert!(dial(&rig, &pair(other.path())).await.is_err());
    let mut plain = TcpStream::connect(rig.at).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let _ = plain.read_to_end(&mut all).await;
    assert!(!all.starts_with(b"HTTP"), "{all:?}");
}

#[tokio::test]
async fn a_handshake_that_takes_its_time_is_cut() {
    let dir = TempDir::new().unwrap();
    let root = pair(dir.path());
    let rig = rig(dir.path()).await;
    let began = Instant::now();
    let mut slow = TcpStream::connect(rig.at).await.unwrap();
    let mut silent = TcpStream::connect(rig.at).await.unwrap();
    // The start of a hello, byte by byte.
    let drip = async {
        for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("it was never cut");
    };
    let cut = async {
        let mut all = Vec::new();
        let _ = silent.read_to_end(&mut all).await;
        began.elapsed()
    };
    let both = async { tokio::join!(drip, cut).1 };
    let took = tokio::time::timeout(Duration::from_secs(9), both).await.expect("both cut");
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    assert!(dial(&rig, &root).await.is_ok(), "others were served meanwhile");
}

#[tokio::test]
async fn a_new_certificate_is_met_by_those_who_come_after() {
    let dir = TempDir::new().unwrap();
    let first = pair(dir.path());
    let mut rig = rig(dir.path()).await;
    rig.trades(1..=1);
    assert!(dial(&rig, &first).await.is_ok());
    // One that cannot be used changes nothing.
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    let mut open = dial(&rig, &first).await.unwrap();
    let second = pair(dir.path());
    let met = async {
        while dial(&rig, &second).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), met).await.expect("the new certificate is met");
    assert!(dial(&rig, &first).await.is_err());
    open.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    open.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
}

#[test]
fn what_cannot_be_served_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let why = |config: &TlsConfig| config.load().unwrap_err().to_string();
    assert!(why(&config(dir.path())).contains("cert.pem"));
    pair(dir.path());
    pair(other.path());
    assert!(config(dir.path()).load().is_ok());
    let mixed = TlsConfig { cert: dir.path().join("cert.pem"), key: other.path().join("key.pem") };
    assert!(why(&mixed).contains("together"));
    std::fs::write(dir.path().join("cert.pem"), "").unwrap();
    assert!(why(&config(dir.path())).contains("no certificate"));
    std::fs::set_permissions(other.path().join("key.pem"), std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(why(&config(other.path())).contains("chmod 600"));
}
