//! New keys and revocations, written to the file.
//!
//! The file is replaced whole (written beside it, synced, renamed), so whoever follows it never reads half of one. Entries are only
//! added, and what people wrote in it stays as it is.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::keyring::{Keyring, KeysError, hashed, text_of};
use crate::ws::secret;

/// A key that was just made. The secret is nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub id: String,
    pub secret: String,
}

/// Whom a revocation names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// An API key, with the tokens that it signed.
    Key(String),
    /// An issuer's key, with all its tokens.
    Issuer(String),
    /// One token, by its `jti`.
    Token(String),
}

/// 256 random bits in 68 bytes: longer than HMAC-SHA-256's block.
pub(super) fn new_secret() -> String {
    secret::bearer("wts_")
}

/// Adds an API key; makes the file if there is none. `created` is a note for people.
///
/// # Errors
/// [`KeysError`]; the file is then as it was.
pub fn new_key(
    path: &Path,
    name: &str,
    read: &[String],
    (publish, prio): (&[String], Option<&str>),
    created: &str,
) -> Result<NewKey, KeysError> {
    let key = NewKey { id: secret::name("k_"), secret: new_secret() };
    let hash: String = hashed(&key.secret).iter().map(|b| format!("{b:02x}")).collect();
    let list = |all: &[String]| toml::Value::Array(all.iter().map(|p| toml::Value::String(p.clone())).collect());
    let mut entry = toml::Table::new();
    for (field, text) in [("id", key.id.as_str()), ("name", name), ("created", created), ("sha256", &hash)] {
        entry.insert(field.to_owned(), toml::Value::String(text.to_owned()));
    }
    entry.insert("sub".to_owned(), list(read));
    entry.insert("pub".to_owned(), list(publish));
    if let Some(class) = prio {
        entry.insert("prio".to_owned(), toml::Value::String(class.to_owned()));
    }
    add(path, "key", &entry)?;
    Ok(key)
}

/// Adds a revocation. A running gateway ends its connections within a second.
///
/// # Errors
/// [`KeysError`], also where no such key is in the file; it is then as it was.
pub fn revoke(path: &Path, whom: &Revoked, at: &str) -> Result<(), KeysError> {
    let (field, name) = match whom {
        Revoked::Key(name) => ("key", name),
        Revoked::Issuer(name) => ("kid", name),
        Revoked::Token(name) => ("jti", name),
    };
    let ring = Keyring::read(path)?;
    if field != "jti" && !ring.listed().iter().any(|l| l.id == *name) {
        let why = format!("holds no key {name:?}: `wholetape gateway key ls` shows those that it holds");
        return Err(KeysError::Content { path: path.to_owned(), why });
    }
    let mut entry = toml::Table::new();
    entry.insert(field.to_owned(), toml::Value::String(name.clone()));
    entry.insert("at".to_owned(), toml::Value::String(at.to_owned()));
    add(path, "revoked", &entry)
}

fn add(path: &Path, list: &str, entry: &toml::Table) -> Result<(), KeysError> {
    let mut text = if path.exists() { text_of(path)? } else { String::new() };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("\n[[{list}]]\n{entry}"));
    let text = text.trim_start_matches('\n');
    Keyring::parse(text).map_err(|why| KeysError::Content { path: path.to_owned(), why })?;
    replace(path, text).map_err(|source| KeysError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_added_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let may = ["trade.*".to_owned()];
        let key = new_key(&path, "a \"name\"", &may, (&[], None), "2026-11-23T00:00:00Z").unwrap();
        assert!(key.secret.len() > 64 && key.id.starts_with("k_"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&key.secret) && !text.contains(&key.secret[4..]));
        // What people add stays.
        let text = format!("# ours\n{text}");
        std::fs::write(&path, &text).unwrap();
        let other = new_key(&path, "b", &may, (&may, Some("book")), "").unwrap();
        assert_ne!((&key.id, &key.secret), (&other.id, &other.secret));
        revoke(&path, &Revoked::Key(key.id.clone()), "2026-11-23T00:00:01Z").unwrap();
        revoke(&path, &Revoked::Token("t1".into()), "").unwrap();
        let ring = Keyring::read(&path).unwrap();
        assert_eq!(
            ring.listed().iter().map(|l| (l.id.as_str(), l.revoked)).collect::<Vec<_>>(),
            [(key.id.as_str(), true), (other.id.as_str(), false)]
        );
        assert!(ring.is_revoked("t1"));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&text));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_is_refused_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        assert!(revoke(&path, &Revoked::Token("t".into()), "").is_err());
        assert!(new_key(&path, "", &["a b".to_owned()], (&[], None), "").is_err() && !path.exists());
        new_key(&path, "", &["*".to_owned()], (&[], None), "").unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        let why = revoke(&path, &Revoked::Key("k_9".into()), "").unwrap_err().to_string();
        assert!(why.contains("k_9") && why.contains("key ls"), "{why}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }
}
