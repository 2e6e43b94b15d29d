//! Tokens (JWT, RFC 7519, as a compact JWS): read, checked, turned into claims.
//!
//! The header says which key it is by (`kid`) and nothing else that is believed: the algorithm is the key's own, and a header that
//! names another is refused. Keys within tokens (`jwk`, `jku`, `x5c`) are not looked at, extensions (`crit`) are refused. Nothing of the claims
//! is read before the signature holds. Time is an argument.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::grants::Patterns;
use super::keyring::{Keyring, Signer};
use super::{LEEWAY_S, Refused};

/// A longer token is refused unread.
const LEN_MAX: usize = 8 << 10;

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Who, where the token says it.
    pub subject: Option<String>,
    pub jti: Option<String>,
    pub may: Arc<Patterns>,
    /// Seconds since 1970.
    pub exp: i64,
}

/// Checks a token at `now` (seconds since 1970).
///
/// # Errors
/// [`Refused::Expired`] for one that was good, [`Refused::Invalid`] for everything else.
pub(crate) fn verify(ring: &Keyring, token: &str, now: i64) -> Result<(Arc<Signer>, Claims), Refused> {
    const NONE: Refused = Refused::Invalid("no token");
    if token.len() > LEN_MAX {
        return Err(Refused::Invalid("the token is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(NONE)?;
    let (header, claims) = signed.split_once('.').ok_or(NONE)?;
    if claims.contains('.') {
        return Err(NONE);
    }
    let header = object(header).ok_or(NONE)?;
    if header.contains_key("crit") {
        return Err(Refused::Invalid("the token has extensions"));
    }
    let kid = text(&header, "kid").ok_or(Refused::Invalid("the token names no key (kid)"))?;
    let signer = ring.signer(kid).ok_or(Refused::Invalid("the token's key is not known"))?;
    if text(&header, "alg") != Some(signer.material.alg()) {
        return Err(Refused::Invalid("the token's algorithm is not its key's"));
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| NONE)?;
    if !signer.material.verifies(signed.as_bytes(), &signature) {
        return Err(Refused::Invalid("the token's signature is not its key's"));
    }
    let claims = read(&object(claims).ok_or(NONE)?, signer, now)?;
    if claims.jti.as_deref().is_some_and(|jti| ring.is_revoked(jti)) {
        return Err(Refused::Invalid("the token is revoked"));
    }
    Ok((signer.clone(), claims))
}

fn read(claims: &Map<String, Value>, signer: &Signer, now: i64) -> Result<Claims, Refused> {
    if text(claims, "iss") != Some(&signer.iss) {
        return Err(Refused::Invalid("the token is by another issuer (iss)"));
    }
    let meant = match claims.get("aud") {
        Some(Value::String(one)) => *one == signer.aud,
        Some(Value::Array(all)) => all.iter().any(|a| a.as_str() == Some(&signer.aud)),
        _ => false,
    };
    if !meant {
        return Err(Refused::Invalid("the token is for somebody else (aud)"));
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        // Seconds may have a fraction, and no sense beyond what a date can be.
        Some(v) => match v.as_f64() {
            Some(s) if (0.0..1e12).contains(&s) => Ok(Some(s as i64)),
            _ => Err(Refused::Invalid("a time of the token is none")),
        },
    };
    let exp = time("exp")?.ok_or(Refused::Invalid("the token has no end (exp)"))?;
    if time("nbf")?.is_some_and(|nbf| nbf > now + LEEWAY_S) {
        return Err(Refused::Invalid("the token is not yet good (nbf)"));
    }
    if exp <= now {
        return Err(Refused::Expired);
    }
    let may = Patterns::new(patterns(claims, "sub")?, patterns(claims, "pub")?);
    let may = may.map_err(|_| Refused::Invalid("a pattern of the token is none"))?;
    let prio = match own(claims, "prio") {
        None => None,
        Some(Value::String(class)) => Some(class.as_str()),
        Some(_) => Some(""),
    };
    let may = may.first(prio).map_err(|_| Refused::Invalid("the token's prio is no class"))?;
    let may = Arc::new(may);
    let owned = |name| text(claims, name).map(|t| t.chars().take(128).collect());
    Ok(Claims { subject: owned("sub"), jti: text(claims, "jti").map(str::to_owned), may, exp })
}

/// A claim of ours, within `wholetape` or beside it.
fn own<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get("wholetape").and_then(|w| w.get(name)).or_else(|| claims.get(name))
}

/// Patterns are the claims `sub` and `pub`. Issuers whose `sub` must be a name give them within `wholetape`.
fn patterns(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, Refused> {
    let own = claims.get("wholetape").and_then(|w| w.get(name));
    match own.or_else(|| claims.get(name)) {
        Some(Value::Array(all)) => {
            let all: Option<Vec<String>> = all.iter().map(|p| p.as_str().map(str::to_owned)).collect();
            all.ok_or(Refused::Invalid("a pattern of the token is none"))
        }
        Some(Value::String(_)) if own.is_none() => Ok(Vec::new()),
        None => Ok(Vec::new()),
        Some(_) => Err(Refused::Invalid("the token's patterns are no list")),
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn text<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    map.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    const SECRET: &str = "wts_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NOW: i64 = 1_790_000_000;

    fn pair() -> Ed25519KeyPair {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
    }

    fn ring_of(pair: &Ed25519KeyPair) -> Keyring {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let hash: String = super::super::keyring::hashed(SECRET).iter().map(|b| format!("{b:02x}")).collect();
        Keyring::parse(&format!(
            "[[key]]\nid = \"k_1\"\nsha256 = \"{hash}\"\nsub = [\"trade.*\"]\n\
             [[issuer]]\nkid = \"e1\"\nalg = \"EdDSA\"\niss = \"https://i\"\naud = \"wholetape\"\n\
             jwk = {{ kty = \"OKP\", crv = \"Ed25519\", x = \"{x}\" }}\n[[revoked]]\njti = \"gone\"\n"
        ))
        .unwrap()
    }

    fn parts(header: &Value, claims: &Value) -> String {
        let [h, c] = [header, claims].map(|v| URL_SAFE_NO_PAD.encode(v.to_string()));
        format!("{h}.{c}")
    }

    fn token(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let signed = parts(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn by_secret(key: &[u8], header: &Value, claims: &Value) -> String {
        let signed = parts(header, claims);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "e1"})
    }

    fn claims() -> Value {
        json!({"iss": "https://i", "aud": "wholetape", "exp": NOW + 60, "sub": ["trade.*"], "jti": "t1"})
    }

    fn with(mut base: Value, key: &str, value: Value) -> Value {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            base[key] = value;
        }
        base
    }

    #[test]
    fn a_good_token_is_read() {
        let pair = pair();
        let ring = ring_of(&pair);
        let (signer, read) = verify(&ring, &token(&pair, &header(), &claims()), NOW).unwrap();
        assert_eq!((signer.id.as_str(), read.jti.as_deref(), read.exp), ("e1", Some("t1"), NOW + 60));
        assert_eq!((read.may.read.as_slice(), read.subject), (&["trade.*".to_owned()][..], None));
        // A name as `sub`, the patterns beside it; an audience among others; a time with a fraction.
        let named = with(claims(), "sub", json!("ada"));
        let named = with(named, "wholetape", json!({"sub": ["book.*"], "pub": ["x"]}));
        let named = with(with(named, "aud", json!(["else", "wholetape"])), "exp", json!(NOW as f64 + 1.5));
        let (_, read) = verify(&ring, &token(&pair, &header(), &named), NOW).unwrap();
        assert_eq!((read.subject.as_deref(), read.exp), (Some("ada"), NOW + 1));
        assert_eq!((read.may.read.len(), read.may.publish.len()), (1, 1));
        for claims in [with(claims(), "prio", json!("book")), with(claims(), "wholetape", json!({"prio": "book"}))] {
            let (_, read) = verify(&ring, &token(&pair, &header(), &claims), NOW).unwrap();
            assert_eq!(read.may.prio, Some(wholetape_model::Class::Book));
        }
        // An API key's secret signs as well.
        let head = json!({"alg": "HS256", "kid": "k_1"});
        let own = with(claims(), "iss", json!("k_1"));
        assert_eq!(verify(&ring, &by_secret(SECRET.as_bytes(), &head, &own), NOW).unwrap().0.id, "k_1");
    }

    #[test]
    fn every_other_token_is_refused() {
        let (pair, stranger) = (pair(), pair());
        let ring = ring_of(&pair);
        let good = token(&pair, &header(), &claims());
        let refused = |token: &str, why: &str| match verify(&ring, token, NOW) {
            Err(Refused::Invalid(found)) => assert!(found.contains(why), "{why}: {found}: {token}"),
            other => panic!("{why}: {other:?}: {token}"),
        };
        let head = |key: &str, value: Value| token(&pair, &with(header(), key, value), &claims());
        let claim = |key: &str, value: Value| token(&pair, &header(), &with(claims(), key, value));
        refused("", "no token");
        refused(&claim("prio", json!("high")), "prio");
        refused(&claim("prio", json!(1)), "prio");
        refused("a.b", "no token");
        refused("a.b.c.d", "no token");
        refused(&format!("{good}.x"), "no token");
        refused(&"a".repeat(9_000), "too long");
        refused(&format!("{}.", parts(&with(header(), "alg", json!("none")), &claims())), "algorithm");
        refused(&format!("{}.", parts(&header(), &claims())), "signature");
        refused(&head("alg", json!("None")), "algorithm");
        refused(&head("alg", json!("HS256")), "algorithm");
        refused(&head("alg", Value::Null), "algorithm");
        refused(&head("kid", Value::Null), "kid");
        refused(&head("kid", json!("k_1")), "algorithm");
        refused(&head("kid", json!("../e1")), "not known");
        refused(&head("crit", json!(["exp"])), "extensions");
        // Key confusion: the public key as an HMAC secret, and the stored hash as one.
        let confused = with(header(), "alg", json!("HS256"));
        refused(&by_secret(pair.public_key().as_ref(), &confused, &claims()), "algorithm");
        let (head_1, own) = (json!({"alg": "HS256", "kid": "k_1"}), with(claims(), "iss", json!("k_1")));
        refused(&by_secret(b"other", &head_1, &own), "signature");
        refused(&token(&stranger, &header(), &claims()), "signature");
        // A key within the token is not looked at.
        let x = URL_SAFE_NO_PAD.encode(stranger.public_key().as_ref());
        let inside = with(header(), "jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
        refused(&token(&stranger, &inside, &claims()), "signature");
        let mut cut = good.clone();
        cut.truncate(good.len() - 2);
        refused(&cut, "");
        refused(&claim("iss", json!("https://j")), "iss");
        refused(&claim("iss", Value::Null), "iss");
        refused(&claim("aud", json!("else")), "aud");
        refused(&claim("aud", Value::Null), "aud");
        refused(&claim("exp", Value::Null), "exp");
        refused(&claim("exp", json!("9999999999")), "time");
        refused(&claim("exp", json!(-1)), "time");
        refused(&claim("nbf", json!("0")), "time");
        refused(&claim("nbf", json!(NOW + 6)), "nbf");
        refused(&claim("jti", json!("gone")), "revoked");
        refused(&claim("sub", json!([3])), "pattern");
        refused(&claim("sub", json!(["a b"])), "pattern");
        refused(&claim("sub", json!({"a": 1})), "no list");
        assert!(verify(&ring, &claim("nbf", json!(NOW + 5)), NOW).is_ok());
        assert!(matches!(verify(&ring, &claim("exp", json!(NOW)), NOW), Err(Refused::Expired)));
        assert!(matches!(verify(&ring, &good, NOW + 60), Err(Refused::Expired)));
        // Who cannot sign is not told that a token had expired.
        let old = token(&stranger, &header(), &with(claims(), "exp", json!(1)));
        refused(&old, "signature");
    }

    proptest::proptest! {
        /// No byte of a token may be another.
        #[test]
        fn a_changed_token_is_refused(at in 0_usize..10_000, to in proptest::char::range('!', '~')) {
            let document = [7; 32];
            let pair = Ed25519KeyPair::from_seed_unchecked(&document).unwrap();
            let ring = ring_of(&pair);
            let good = token(&pair, &header(), &claims());
            let mut bytes: Vec<char> = good.chars().collect();
            let at = at % bytes.len();
            let was = std::mem::replace(&mut bytes[at], to);
            let changed: String = bytes.into_iter().collect();
            proptest::prop_assert_eq!(verify(&ring, &changed, NOW).is_ok(), was == to);
        }

        #[test]
        fn any_text_is_refused(text in "[ -~]{0,200}") {
            proptest::prop_assert!(verify(&ring_of(&pair()), &text, NOW).is_err());
        }
    }
}
