//! TLS on the listener: https and wss.
//!
//! Certificate and key are two PEM files. They are looked at every few seconds; whoever connects after a change meets the new
//! certificate, and connections that are open stay as they are. A pair that cannot be used changes nothing and is logged.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::lock;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// `[gateway.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, and behind it those that lead to a root.
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} holds no certificate (PEM)", path.display())]
    Empty { path: PathBuf },
    #[error("{} may be read by everybody (mode {mode:03o}): chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

impl TlsConfig {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(&self) -> Result<ServerConfig, TlsError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.cert).map_err(read(&self.cert))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(read(&self.cert))?;
        if chain.is_empty() {
            return Err(TlsError::Empty { path: self.cert.clone() });
        }
        let mode = std::fs::metadata(&self.key).map_or(0, |m| m.mode() & 0o777);
        if mode & 0o007 != 0 {
            return Err(TlsError::Mode { path: self.key.clone(), mode });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(read(&self.key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What tells one pair of files from the next.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

pub(crate) struct Tls {
    config: TlsConfig,
    present: Mutex<(Stamp, Arc<ServerConfig>)>,
}

impl Tls {
    /// # Errors
    /// As [`TlsConfig::load`].
    pub fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let seen = stamp(config);
        let present = Mutex::new((seen, Arc::new(config.load()?)));
        Ok(Self { config: config.clone(), present })
    }

    /// For one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(lock(&self.present).1.clone())
    }

    /// Follows the files until dropped.
    pub async fn follow(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let this = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(error = %e, "the certificate was not looked at");
            }
        }
    }

    fn look(&self) {
        let now = stamp(&self.config);
        if std::mem::replace(&mut lock(&self.present).0, now) == now {
            return;
        }
        match self.config.load() {
            Ok(config) => {
                lock(&self.present).1 = Arc::new(config);
                tracing::info!(cert = %self.config.cert.display(), "certificate read anew");
            }
            Err(e) => tracing::error!(error = %e, "the changed certificate cannot be used: the one before stays"),
        }
    }
}

fn stamp(config: &TlsConfig) -> Stamp {
    [&config.cert, &config.key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    })
}
