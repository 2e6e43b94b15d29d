//! Who a client is, what it may, and for how long.
//!
//! - [`keyring`]: the file of keys;
//! - [`public`], [`jwt`]: issuers' keys and their tokens;
//! - [`grants`]: topic patterns;
//! - [`present`]: credentials as they come with a request;
//! - [`nonces`]: those that were used;
//! - [`authority`]: judges credentials, follows the file;
//! - [`standing`]: one connection's principal, from first message to expiry;
//! - [`mod@write`]: new keys and revocations.
//!
//! Invariants:
//! - Where keys are configured, nothing of a topic is told to anyone who may not read it: not its data, nor its name.
//! - A change of the file reaches every live connection within a second ([`authority::LOOK_EVERY`]). A file that cannot be read changes
//!   nothing and is logged: whoever was refused stays refused.
//! - Secrets and tokens are never logged nor sent back. Why credentials are refused is logged and not told: to a client all
//!   refusals are alike, but for a token that *was* good.

pub(crate) mod authority;
pub mod grants;
pub(crate) mod jwt;
pub mod keyring;
pub(crate) mod nonces;
pub(crate) mod present;
pub(crate) mod public;
pub(crate) mod standing;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grants::{Grants, Patterns};
use keyring::Signer;

/// How far a client's clock may be from ours.
pub(crate) const LEEWAY_S: i64 = 5;

/// `[gateway.auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// The file of keys. Without one everybody may read everything.
    pub keys: Option<PathBuf>,
    /// What may be read without credentials, where there are keys.
    pub anonymous: Vec<String>,
    /// Takes `?token=` too. Addresses end up in logs.
    pub query_tokens: bool,
    /// Who has not authenticated by then, and may read nothing without, is closed (4101).
    pub timeout: Duration,
    /// `/metrics` wants credentials.
    pub metrics: bool,
    /// Connections of one principal; one more is closed (4013).
    pub connections_per_principal: usize,
    /// A secret of this process for its own use: may read everything.
    pub own: Option<OwnKey>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            keys: None,
            anonymous: Vec::new(),
            query_tokens: false,
            timeout: Duration::from_secs(5),
            metrics: false,
            connections_per_principal: 20,
            own: None,
        }
    }
}

/// The `X-Api-Key` by which a process asks its own gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnKey(String);

impl OwnKey {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(write::new_secret())
    }

    /// The header's value.
    #[must_use]
    pub fn api_key(&self) -> String {
        format!("{}.{}", authority::OWN, self.0)
    }
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey")
    }
}

/// Why credentials are not taken. The text is for our log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("too many connections of this principal")]
    Crowded,
    #[error("it was closed for abuse")]
    Banned,
}

/// Somebody who showed credentials.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// For logs, limits and bans; the same whenever the same one comes.
    pub name: Arc<str>,
    pub grants: Grants,
    /// Seconds since 1970; `None`: until it is revoked.
    pub exp: Option<i64>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    Own,
    Key(Arc<Signer>),
    Token { signer: Arc<Signer>, jti: Option<String>, may: Arc<Patterns> },
}
