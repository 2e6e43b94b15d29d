//! Public keys of issuers, as they publish them (JWK, RFC 7517), and what they signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// A key with the one algorithm that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Ed25519(Vec<u8>),
    /// Points, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// Modulus and exponent, big-endian; `pss` or PKCS #1 v1.5, with SHA-256.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
        pss: bool,
    },
}

impl PublicKey {
    /// # Errors
    /// One line: what is wrong with it.
    pub fn of_jwk(alg: &str, jwk: &toml::Table) -> Result<Self, String> {
        if ["d", "k"].iter().any(|private| jwk.contains_key(*private)) {
            return Err("jwk: holds a private key; only the public part belongs here".into());
        }
        let text = |name: &str| jwk.get(name).and_then(toml::Value::as_str).unwrap_or_default();
        let bytes = |name: &str, len: Option<usize>| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)).unwrap_or_default();
            let good = len.map_or(!bytes.is_empty(), |len| bytes.len() == len);
            if good { Ok(bytes) } else { Err(format!("jwk.{name}: is no base64url of the length that {alg} has")) }
        };
        let kind = |kty: &str, crv: &str| match (text("kty"), text("crv")) {
            (a, b) if a == kty && b == crv => Ok(()),
            _ if crv.is_empty() => Err(format!("jwk: {alg} wants kty {kty:?}")),
            _ => Err(format!("jwk: {alg} wants kty {kty:?} and crv {crv:?}")),
        };
        let point =
            |len| -> Result<Vec<u8>, String> { Ok([vec![4], bytes("x", Some(len))?, bytes("y", Some(len))?].concat()) };
        match alg {
            "EdDSA" => kind("OKP", "Ed25519").and_then(|()| Ok(Self::Ed25519(bytes("x", Some(32))?))),
            "ES256" => kind("EC", "P-256").and_then(|()| Ok(Self::P256(point(32)?))),
            "ES384" => kind("EC", "P-384").and_then(|()| Ok(Self::P384(point(48)?))),
            "RS256" | "PS256" => {
                kind("RSA", "")?;
                let (n, e) = (bytes("n", None)?, bytes("e", None)?);
                if n.len() < 256 {
                    return Err("jwk.n: an RSA key of 2048 bits or more is expected".into());
                }
                Ok(Self::Rsa { n, e, pss: alg == "PS256" })
            }
            _ => Err(format!("alg {alg:?}: EdDSA, ES256, ES384, RS256 and PS256 are taken")),
        }
    }

    pub const fn alg(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Rsa { pss: false, .. } => "RS256",
            Self::Rsa { pss: true, .. } => "PS256",
        }
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match self {
            Self::Ed25519(key) => by(&ED25519, key),
            Self::P256(key) => by(&ECDSA_P256_SHA256_FIXED, key),
            Self::P384(key) => by(&ECDSA_P384_SHA384_FIXED, key),
            Self::Rsa { n, e, pss } => {
                let how = if *pss { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
                RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };

    fn jwk(text: &str) -> toml::Table {
        toml::from_str(text).unwrap()
    }

    fn ecdsa(alg: &str, crv: &str, how: &'static EcdsaSigningAlgorithm) {
        let rng = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(how, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(how, document.as_ref(), &rng).unwrap();
        let point = &pair.public_key().as_ref()[1..];
        let [x, y] = [&point[..point.len() / 2], &point[point.len() / 2..]].map(|b| URL_SAFE_NO_PAD.encode(b));
        let table = jwk(&format!("kty = \"EC\"\ncrv = \"{crv}\"\nx = \"{x}\"\ny = \"{y}\"\nuse = \"sig\""));
        let key = PublicKey::of_jwk(alg, &table).unwrap();
        let signature = pair.sign(&rng, b"message").unwrap();
        assert_eq!(key.alg(), alg);
        assert!(key.verifies(b"message", signature.as_ref()));
        assert!(!key.verifies(b"messagE", signature.as_ref()) && !key.verifies(b"message", b""));
        let other = if alg == "ES256" { "ES384" } else { "ES256" };
        assert!(PublicKey::of_jwk(other, &table).unwrap_err().contains(other));
    }

    #[test]
    fn curves() {
        ecdsa("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
        ecdsa("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING);
    }

    /// The example of RFC 8037, appendix A.4.
    #[test]
    fn the_rfcs_ed25519_example_is_taken() {
        let key = "kty = \"OKP\"\ncrv = \"Ed25519\"\nx = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"";
        let key = PublicKey::of_jwk("EdDSA", &jwk(key)).unwrap();
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert!(key.verifies(message, &signature));
        assert!(!key.verifies(&message[1..], &signature));
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (alg, text, says) in [
            ("none", "kty = \"OKP\"", "EdDSA, ES256"),
            ("HS256", "kty = \"oct\"", "EdDSA, ES256"),
            ("EdDSA", "kty = \"OKP\"\ncrv = \"Ed25519\"\nx = \"AAAA\"", "jwk.x"),
            ("EdDSA", "kty = \"OKP\"\ncrv = \"X25519\"\nx = \"AAAA\"", "crv"),
            ("EdDSA", "kty = \"OKP\"\ncrv = \"Ed25519\"\nd = \"AAAA\"", "private"),
            ("RS256", "kty = \"RSA\"\nn = \"AQAB\"\ne = \"AQAB\"", "2048 bits"),
            ("RS256", "kty = \"RSA\"\ne = \"AQAB\"", "jwk.n"),
        ] {
            let why = PublicKey::of_jwk(alg, &jwk(text)).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
