//! The file of keys: who may sign, what they may, and who may no longer.
//!
//! ```toml
//! [[key]]                      # an API key; `wholetape gateway key new` writes it
//! id = "k_1f2e3d4c5b6a7988"
//! name = "dashboards"
//! sha256 = "…"                 # of its secret, which is kept nowhere
//! sub = ["trade.*"]
//! prio = "trade"               # the class that is served first, if it is not `critical`
//!
//! [[issuer]]                   # whose tokens (JWT) are taken
//! kid = "2026-11"
//! alg = "EdDSA"
//! iss = "https://login.example"
//! aud = "wholetape"
//! jwk = { kty = "OKP", crv = "Ed25519", x = "…" }
//!
//! [[revoked]]                  # `wholetape gateway key revoke` adds it
//! key = "k_0011223344556677"
//! ```
//!
//! A secret is longer than 64 bytes. HMAC-SHA-256 replaces such a key by its SHA-256 (RFC 2104 §2), so what is stored is all that
//! checking needs, and is not the secret. Each signer has one algorithm, by its kind: a header cannot choose another.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::{digest, hmac};
use serde::Deserialize;

use super::grants::Patterns;
use super::public::PublicKey;

/// A file of more bytes is none of ours.
const BYTES_MAX: u64 = 4 << 20;
/// What tokens that an API key signed must name as their audience.
pub(crate) const AUDIENCE: &str = "wholetape";

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read {}: make one with `wholetape gateway key new`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} may be read or written by others (mode {mode:03o}): chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    key: Vec<KeyEntry>,
    issuer: Vec<IssuerEntry>,
    revoked: Vec<RevokedEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    #[serde(default)]
    name: String,
    sha256: String,
    sub: Vec<String>,
    #[serde(default, rename = "pub")]
    publish: Vec<String>,
    #[serde(default)]
    prio: Option<String>,
    #[serde(default)]
    created: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    kid: String,
    alg: String,
    iss: String,
    aud: String,
    jwk: toml::Table,
    #[serde(default = "everything")]
    sub: Vec<String>,
    #[serde(default = "everything", rename = "pub")]
    publish: Vec<String>,
    #[serde(default)]
    prio: Option<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// One of the three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedEntry {
    key: Option<String>,
    kid: Option<String>,
    jti: Option<String>,
    #[serde(default, rename = "at")]
    _at: String,
}

/// Who signs, and with what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signer {
    pub id: String,
    pub material: Material,
    pub iss: String,
    pub aud: String,
    pub may: Arc<Patterns>,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Material {
    /// The SHA-256 of an API key's secret: its HMAC key.
    Secret([u8; 32]),
    Public(PublicKey),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.alg())
    }
}

impl Material {
    /// The one `alg` that a token of this signer may name.
    pub const fn alg(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Public(key) => key.alg(),
        }
    }

    /// In constant time where a secret is involved.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(hash) => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, hash), message, signature).is_ok(),
            Self::Public(key) => key.verifies(message, signature),
        }
    }
}

/// The stored form of a secret.
pub(crate) fn hashed(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether `secret` is the one of which `hash` is kept, in constant time.
pub(crate) fn is_secret_of(hash: &[u8; 32], secret: &str) -> bool {
    let [kept, shown] = [*hash, hashed(secret)].map(|h| hmac::Key::new(hmac::HMAC_SHA256, &h));
    hmac::verify(&kept, b"same", hmac::sign(&shown, b"same").as_ref()).is_ok()
}

/// A line of `wholetape gateway key ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    /// The algorithm by which it signs.
    pub alg: &'static str,
    /// A key's name, an issuer's `iss`.
    pub name: String,
    pub created: String,
    pub may: Patterns,
    pub revoked: bool,
}

/// A file of keys, checked.
#[derive(Debug, Default)]
pub struct Keyring {
    signers: BTreeMap<String, Arc<Signer>>,
    revoked_tokens: HashSet<String>,
    listed: Vec<Listed>,
}

impl Keyring {
    /// # Errors
    /// [`KeysError`]: unreadable, readable by others, or not of the form above.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        Self::parse(&text_of(path)?).map_err(|why| KeysError::Content { path: path.to_owned(), why })
    }

    /// # Errors
    /// One line: which entry is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |s| text[..s.start].matches('\n').count() + 1);
            format!("line {line}: {}", e.message().lines().next().unwrap_or_default())
        })?;
        let mut ring = Self::default();
        let mut gone: HashSet<String> = HashSet::new();
        for (i, entry) in file.revoked.into_iter().enumerate() {
            match (entry.key.or(entry.kid), entry.jti) {
                (Some(id), None) => _ = gone.insert(id),
                (None, Some(jti)) => _ = ring.revoked_tokens.insert(jti),
                _ => return Err(format!("revoked[{i}]: names one of key, kid or jti")),
            }
        }
        for entry in file.key {
            let (id, created) = (entry.id.clone(), entry.created.clone());
            let (name, signer) = entry.signer().map_err(|why| format!("key {id:?}: {why}"))?;
            ring.admit(signer, name, created, &gone)?;
        }
        for entry in file.issuer {
            let kid = entry.kid.clone();
            let signer = entry.signer().map_err(|why| format!("issuer {kid:?}: {why}"))?;
            ring.admit(signer, String::new(), String::new(), &gone)?;
        }
        Ok(ring)
    }

    fn admit(&mut self, signer: Signer, name: String, created: String, gone: &HashSet<String>) -> Result<(), String> {
        let id = signer.id.clone();
        if self.listed.iter().any(|l| l.id == id) {
            return Err(format!("{id:?} stands twice"));
        }
        let name = if name.is_empty() { signer.iss.clone() } else { name };
        let (alg, may, revoked) = (signer.material.alg(), (*signer.may).clone(), gone.contains(&id));
        self.listed.push(Listed { id: id.clone(), alg, name, created, may, revoked });
        if !revoked {
            self.signers.insert(id, Arc::new(signer));
        }
        Ok(())
    }

    /// In the order of the file, keys first, revoked ones too.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    pub(crate) fn signer(&self, id: &str) -> Option<&Arc<Signer>> {
        self.signers.get(id)
    }

    pub(crate) fn is_revoked(&self, jti: &str) -> bool {
        self.revoked_tokens.contains(jti)
    }
}

impl KeyEntry {
    fn signer(self) -> Result<(String, Signer), String> {
        checked_id(&self.id)?;
        let hash = unhex(&self.sha256).ok_or("sha256: 64 hex digits are expected")?;
        let may = Arc::new(Patterns::new(self.sub, self.publish)?.first(self.prio.as_deref())?);
        let (material, aud) = (Material::Secret(hash), AUDIENCE.to_owned());
        Ok((self.name, Signer { iss: self.id.clone(), id: self.id, material, aud, may }))
    }
}

impl IssuerEntry {
    fn signer(self) -> Result<Signer, String> {
        checked_id(&self.kid)?;
        if self.iss.is_empty() || self.aud.is_empty() {
            return Err("iss and aud are what its tokens must say: neither is empty".into());
        }
        let material = Material::Public(PublicKey::of_jwk(&self.alg, &self.jwk)?);
        let may = Arc::new(Patterns::new(self.sub, self.publish)?.first(self.prio.as_deref())?);
        Ok(Signer { id: self.kid, material, iss: self.iss, aud: self.aud, may })
    }
}

fn checked_id(id: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_graphic() && !b"|.\"".contains(&b);
    let good = !id.is_empty() && id.len() <= 128 && id.bytes().all(fits);
    if good { Ok(()) } else { Err("a name is 1 to 128 visible characters without . and |".into()) }
}

/// 32 bytes of hex.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// The text of a file that nobody else may read.
pub(super) fn text_of(path: &Path) -> Result<String, KeysError> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| KeysError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(KeysError::Content { path: path.to_owned(), why: "larger than 4 MiB".into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "[[key]]\nid = \"k_1\"\nname = \"n\"\nsha256 = \"aa\"\nsub = [\"trade.*\"]\n";

    fn key(id: &str) -> String {
        KEY.replace("k_1", id).replace("\"aa\"", &format!("\"{}\"", "ab".repeat(32)))
    }

    #[test]
    fn what_is_stored_is_the_hmac_key_of_a_long_secret() {
        let secret = format!("wts_{}", "5a".repeat(32));
        assert!(secret.len() > 64);
        let by_secret = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"k|1|n");
        assert!(Material::Secret(hashed(&secret)).verifies(b"k|1|n", by_secret.as_ref()));
        assert!(!Material::Secret(hashed("other")).verifies(b"k|1|n", by_secret.as_ref()));
        assert!(is_secret_of(&hashed(&secret), &secret) && !is_secret_of(&hashed(&secret), "wts_"));
    }

    #[test]
    fn a_revoked_signer_is_listed_and_signs_no_more() {
        let text = format!(
            "{}{}[[revoked]]\nkey = \"k_2\"\nat = \"2026\"\n[[revoked]]\njti = \"t\"\n",
            key("k_1"),
            key("k_2")
        );
        let ring = Keyring::parse(&text).unwrap();
        assert!(ring.signer("k_1").is_some() && ring.signer("k_2").is_none());
        assert_eq!(ring.listed().iter().map(|l| l.revoked).collect::<Vec<_>>(), [false, true]);
        assert!(ring.is_revoked("t") && !ring.is_revoked("u"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let twice = key("k_1") + &key("k_1");
        for (text, says) in [
            (KEY, "key \"k_1\": sha256"),
            (twice.as_str(), "\"k_1\" stands twice"),
            ("[[key]]\nid = 3\n", "line 2"),
            ("[[revoked]]\nat = \"x\"\n", "revoked[0]"),
            ("[[keys]]\n", "unknown field"),
            (&key("a.b"), "visible characters"),
            (&key("k_1").replace("trade.*", "a b"), "no topic"),
            ("[[issuer]]\nkid=\"k\"\nalg=\"none\"\niss=\"i\"\naud=\"a\"\njwk={}\n", "issuer \"k\""),
            (
                "[[issuer]]\nkid=\"k\"\nalg=\"HS256\"\niss=\"i\"\naud=\"a\"\njwk={kty=\"oct\",k=\"AAAA\"}\n",
                "issuer \"k\"",
            ),
        ] {
            let why = Keyring::parse(text).unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{text}: {why}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        assert!(matches!(Keyring::read(&path), Err(KeysError::Read { .. })));
        std::fs::write(&path, key("k_1")).unwrap();
        for (mode, good) in [(0o644, false), (0o640, false), (0o602, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Keyring::read(&path).is_ok(), good, "{mode:o}");
        }
    }
}
