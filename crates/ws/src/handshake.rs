//! The one computation of the opening handshake (RFC 6455 §4.2.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. SHA-1 proves here that the server speaks WebSocket, nothing more.
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rfc_example() {
        assert_eq!(super::accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
