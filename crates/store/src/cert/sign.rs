//! Ed25519: whoever holds the key vouches for certificates, and whoever has the public key can tell.
//!
//! Keys are read from files that the configuration names: PEM as OpenSSL writes it (`openssl genpkey -algorithm ed25519`), or 64 hex
//! digits. A signature is of the certificate file's bytes, as 128 hex digits in a file beside it.

use std::fmt;

use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::pkcs8::spki::DecodePublicKey;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::StoreError;

/// A private key. Never printed.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public_hex())
    }
}

impl Signer {
    /// A key file's text.
    ///
    /// # Errors
    /// No key in it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let text = text.trim();
        if text.starts_with("-----") {
            let key = SigningKey::from_pkcs8_pem(text);
            return key.map(Self).map_err(|e| StoreError::Key(format!("not a PKCS#8 private key: {e}")));
        }
        let bytes = unhex(text).ok_or_else(|| StoreError::Key("neither PEM nor 64 hex digits".into()))?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }

    /// The signature, 128 hex digits; the same key and bytes always give the same.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        hex(&self.0.sign(bytes).to_bytes())
    }
}

/// Public keys that are believed.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<VerifyingKey>);

impl Keys {
    /// A file's text: one key or several, each as PEM or as a line of 64 hex digits.
    ///
    /// # Errors
    /// Something in it that is no public key; nothing in it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (mut keys, mut pem) = (Vec::new(), String::new());
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if pem.is_empty() && !line.starts_with("-----BEGIN") {
                keys.push(public(line)?);
                continue;
            }
            pem.push_str(line);
            pem.push('\n');
            if line.starts_with("-----END") {
                let key = VerifyingKey::from_public_key_pem(&pem);
                keys.push(key.map_err(|e| StoreError::Key(format!("not an Ed25519 public key: {e}")))?);
                pem.clear();
            }
        }
        if keys.is_empty() || !pem.is_empty() {
            return Err(StoreError::Key("no public key in the file".into()));
        }
        Ok(Self(keys))
    }

    /// Whether the key of 64 hex digits is one of these.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|k| hex(k.as_bytes()) == key)
    }
}

fn public(text: &str) -> Result<VerifyingKey, StoreError> {
    let bytes = unhex(text).ok_or_else(|| StoreError::Key("a public key is PEM or 64 hex digits".into()))?;
    VerifyingKey::from_bytes(&bytes).map_err(|e| StoreError::Key(e.to_string()))
}

/// Whether `signature` (128 hex digits) is `key`'s (64) of these bytes.
#[must_use]
pub fn is_signed(bytes: &[u8], signature: &str, key: &str) -> bool {
    let Some(signature) = unhex::<64>(signature.trim()) else { return false };
    public(key).is_ok_and(|key| key.verify_strict(bytes, &Signature::from_bytes(&signature)).is_ok())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 2: key, public key, message, signature.
    const SECRET: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNED: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                          085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn signs_as_the_rfc_says() {
        let signer = Signer::parse(SECRET).unwrap();
        assert_eq!(signer.public_hex(), PUBLIC);
        assert_eq!(signer.sign(&[0x72]), SIGNED);
        assert!(is_signed(&[0x72], SIGNED, PUBLIC));
        assert!(!is_signed(&[0x73], SIGNED, PUBLIC));
        assert!(!is_signed(&[0x72], &SIGNED.replace('9', "8"), PUBLIC));
        assert!(!is_signed(&[0x72], "", PUBLIC) && !is_signed(&[0x72], SIGNED, "x"));
        assert!(!format!("{signer:?}").contains(SECRET));
    }

    #[test]
    fn reads_what_openssl_writes() {
        // RFC 8410, 10.1 and 10.3.
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let signer = Signer::parse(private).unwrap();
        let keys = Keys::parse(&format!("# ours\n{PUBLIC}\n{public}")).unwrap();
        assert!(keys.has(&signer.public_hex()) && keys.has(PUBLIC));
        for bad in ["", "-----BEGIN PUBLIC KEY-----\n", "abc", &format!("{PUBLIC}0")] {
            assert!(Keys::parse(bad).is_err(), "{bad}");
            assert!(Signer::parse(bad).is_err(), "{bad}");
        }
        assert!(Signer::parse(public).is_err());
    }
}
