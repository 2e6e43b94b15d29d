//! Names and bearer secrets of sessions. Only a hash of a secret is ever held.

use std::fmt::Write;

fn random<const N: usize>(prefix: &str) -> String {
    let mut text = String::with_capacity(prefix.len() + 2 * N);
    text.push_str(prefix);
    // The thread's generator is a cryptographic one, seeded by the system.
    for byte in rand::random::<[u8; N]>() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A name that nobody else has: 96 random bits.
pub(crate) fn name(prefix: &str) -> String {
    random::<12>(prefix)
}

/// A secret of 256 bits.
pub(crate) fn bearer(prefix: &str) -> String {
    random::<32>(prefix)
}

/// What of a secret may be held.
pub(crate) fn hash(secret: &str) -> blake3::Hash {
    blake3::hash(secret.as_bytes())
}
