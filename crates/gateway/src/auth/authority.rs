//! Judges credentials, and follows the file of keys.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wholetape_model::Ts;
use wholetape_tape::WakeSet;

use super::grants::{Grants, Patterns};
use super::keyring::{Keyring, KeysError, Material, Signer, is_secret_of, unhex};
use super::nonces::Nonces;
use super::present::Credentials;
use super::{AuthConfig, LEEWAY_S, Origin, Principal, Refused, jwt};
use crate::lock;
use crate::stats::GatewayStats;

/// How often the file is looked at: a change holds for every live connection within a second.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The name of a process's own key; no file can have it.
pub(super) const OWN: &str = "own|";

/// What tells one file from the next.
type Stamp = (u64, u64, i64, i64);

pub(crate) struct Authority {
    pub config: AuthConfig,
    /// What may be read without credentials.
    pub anonymous: Grants,
    path: PathBuf,
    ring: Mutex<Arc<Keyring>>,
    /// Rises with every change of `ring`.
    generation: AtomicU64,
    seen: Mutex<Option<Stamp>>,
    nonces: Mutex<Nonces>,
    seats: Mutex<HashMap<Arc<str>, usize>>,
    /// Principals that were closed for abuse, and until when they stay out.
    bans: Mutex<HashMap<Arc<str>, Instant>>,
    /// Live connections, to be woken when the ring changes.
    members: Mutex<HashMap<u64, WakeSet>>,
    stats: Arc<GatewayStats>,
}

impl Authority {
    /// # Errors
    /// As [`Keyring::read`].
    pub fn open(config: &AuthConfig, stats: Arc<GatewayStats>) -> Result<Option<Arc<Self>>, KeysError> {
        let Some(path) = config.keys.clone() else { return Ok(None) };
        let seen = stamp(&path);
        let ring = Keyring::read(&path)?;
        let anonymous = match config.anonymous.as_slice() {
            [] => Grants::default(),
            patterns => {
                let patterns = Patterns::new(patterns.to_vec(), Vec::new());
                let patterns = patterns.map_err(|why| KeysError::Content { path: path.clone(), why })?;
                Grants::of([Arc::new(patterns)])
            }
        };
        Ok(Some(Arc::new(Self {
            config: config.clone(),
            anonymous,
            path,
            ring: Mutex::new(Arc::new(ring)),
            generation: AtomicU64::new(1),
            seen: Mutex::new(seen),
            nonces: Mutex::default(),
            seats: Mutex::default(),
            bans: Mutex::default(),
            members: Mutex::default(),
            stats,
        })))
    }

    /// Whether something may be read without credentials.
    pub fn has_anonymous(&self) -> bool {
        self.anonymous != Grants::default()
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn ring(&self) -> Arc<Keyring> {
        lock(&self.ring).clone()
    }

    /// Who shows these credentials at `now`.
    pub fn judge(&self, shown: &Credentials, now: Ts) -> Result<Principal, Refused> {
        let judged = self.find(shown, now);
        let counter = if judged.is_ok() { &self.stats.auth_accepted_total } else { &self.stats.auth_refused_total };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = judged {
            tracing::debug!(how = ?shown, %why, "credentials refused");
        }
        judged
    }

    fn find(&self, shown: &Credentials, now: Ts) -> Result<Principal, Refused> {
        let ring = self.ring();
        let key_of = |id: &str| match ring.signer(id) {
            Some(signer) => match &signer.material {
                Material::Secret(hash) => Ok((signer.clone(), *hash)),
                Material::Public(_) => Err(Refused::Invalid("an issuer is no API key")),
            },
            None => Err(Refused::Invalid("the key is not known")),
        };
        match shown {
            Credentials::Token(token) => {
                let (signer, claims) = jwt::verify(&ring, token, now.0.div_euclid(1_000_000_000))?;
                let who = claims.subject.or_else(|| claims.jti.clone()).unwrap_or_default();
                let origin = Origin::Token { signer: signer.clone(), jti: claims.jti, may: claims.may.clone() };
                let (name, grants) = (format!("{}/{who}", signer.id), Grants::of([signer.may.clone(), claims.may]));
                Ok(Principal { name: name.into(), grants, exp: Some(claims.exp), origin })
            }
            Credentials::Secret { key, secret } if key == OWN => {
                let own = self.config.own.as_ref().ok_or(Refused::Invalid("the key is not known"))?;
                if !is_secret_of(&super::keyring::hashed(&own.0), secret) {
                    return Err(Refused::Invalid("the secret is not the key's"));
                }
                let everything = Patterns { read: vec!["*".to_owned()], ..Patterns::default() };
                let grants = Grants::of([Arc::new(everything)]);
                Ok(Principal { name: OWN.into(), grants, exp: None, origin: Origin::Own })
            }
            Credentials::Secret { key, secret } => {
                let (signer, hash) = key_of(key)?;
                if is_secret_of(&hash, secret) {
                    Ok(by_key(signer))
                } else {
                    Err(Refused::Invalid("the secret is not the key's"))
                }
            }
            Credentials::Signed { key, ts, nonce, sig } => {
                let (signer, _) = key_of(key)?;
                let sig = unhex(sig).ok_or(Refused::Invalid("the signature is not the key's"))?;
                if !signer.material.verifies(format!("{key}|{ts}|{nonce}").as_bytes(), &sig) {
                    return Err(Refused::Invalid("the signature is not the key's"));
                }
                if now.micros().abs_diff(i64::try_from(*ts).unwrap_or(i64::MAX)) > LEEWAY_S.unsigned_abs() * 1_000_000 {
                    return Err(Refused::Invalid("the signature's time is not ours"));
                }
                if !lock(&self.nonces).take(key, nonce, now.0) {
                    return Err(Refused::Invalid("the nonce was used"));
                }
                Ok(by_key(signer))
            }
        }
    }

    /// The same principal by the present file; `None` when it is no more.
    pub fn again(&self, known: &Principal) -> Option<Principal> {
        let ring = self.ring();
        // The same name with another key is another signer.
        let still = |signer: &Arc<Signer>| {
            ring.signer(&signer.id)
                .filter(|now| (&now.material, &now.iss, &now.aud) == (&signer.material, &signer.iss, &signer.aud))
        };
        match &known.origin {
            Origin::Own => Some(known.clone()),
            Origin::Key(signer) => still(signer).map(|signer| by_key(signer.clone())),
            Origin::Token { signer, jti, may } => {
                let signer = still(signer)?;
                if jti.as_deref().is_some_and(|jti| ring.is_revoked(jti)) {
                    return None;
                }
                let grants = Grants::of([signer.may.clone(), may.clone()]);
                let origin = Origin::Token { signer: signer.clone(), jti: jti.clone(), may: may.clone() };
                Some(Principal { grants, origin, ..known.clone() })
            }
        }
    }

    /// A place among the connections of one principal, until it is dropped.
    pub fn seat(self: &Arc<Self>, principal: &Principal) -> Result<Seat, Refused> {
        if lock(&self.bans).get(&principal.name).is_some_and(|until| Instant::now() < *until) {
            return Err(Refused::Banned);
        }
        let mut seats = lock(&self.seats);
        let taken = seats.entry(principal.name.clone()).or_default();
        if *taken >= self.config.connections_per_principal && !matches!(principal.origin, Origin::Own) {
            return Err(Refused::Crowded);
        }
        *taken += 1;
        Ok(Seat { authority: self.clone(), name: principal.name.clone() })
    }

    /// Keeps a principal out until then.
    pub fn ban(&self, principal: &Principal, until: Instant) {
        let mut bans = lock(&self.bans);
        bans.retain(|_, until| Instant::now() < *until);
        bans.insert(principal.name.clone(), until);
    }

    /// From now on a change of the file wakes `set` with `token`.
    pub fn join(&self, token: u64, set: WakeSet) {
        lock(&self.members).insert(token, set);
    }

    pub fn leave(&self, token: u64) {
        lock(&self.members).remove(&token);
    }

    /// Follows the file until dropped.
    pub async fn follow(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let this = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(error = %e, "the file of keys was not looked at");
            }
        }
    }

    /// Reads the file again if it is another.
    fn look(&self) {
        let now = stamp(&self.path);
        if std::mem::replace(&mut *lock(&self.seen), now) == now {
            return;
        }
        match Keyring::read(&self.path) {
            Ok(ring) => {
                *lock(&self.ring) = Arc::new(ring);
                self.generation.fetch_add(1, Ordering::Release);
                tracing::info!(file = %self.path.display(), "keys read anew");
                let members: Vec<(u64, WakeSet)> = lock(&self.members).iter().map(|(t, s)| (*t, s.clone())).collect();
                members.into_iter().for_each(|(token, set)| set.push(token));
            }
            Err(e) => {
                self.stats.keys_failures_total.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %e, "the changed file of keys cannot be used: those read before stay in force");
            }
        }
    }
}

fn by_key(signer: Arc<Signer>) -> Principal {
    let (name, grants) = (signer.id.as_str().into(), Grants::of([signer.may.clone()]));
    Principal { name, grants, exp: None, origin: Origin::Key(signer) }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    // The time of a change of its mode, too.
    Some((meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
}

pub(crate) struct Seat {
    authority: Arc<Authority>,
    name: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.authority.seats);
        if let Some(taken) = seats.get_mut(&self.name) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.name);
            }
        }
    }
}
