//! Credentials as a request brings them: header, subprotocol, and where allowed the query. The first match wins.

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

/// What somebody shows. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A JWT.
    Token(String),
    /// `X-Api-Key`: `<id>.<secret>`.
    Secret { key: String, secret: String },
    /// The op `auth` of an API key.
    Signed { key: String, ts: u64, nonce: String, sig: String },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Secret { .. } => "Secret",
            Self::Signed { .. } => "Signed",
        })
    }
}

impl From<wholetape_wire::Auth> for Credentials {
    fn from(auth: wholetape_wire::Auth) -> Self {
        match auth {
            wholetape_wire::Auth::Token(token) => Self::Token(token),
            wholetape_wire::Auth::Signed { key, ts, nonce, sig } => Self::Signed { key, ts, nonce, sig },
        }
    }
}

/// What headers and query show.
///
/// # Errors
/// One line, when something is shown that is no credential, or in a place where none is taken.
pub(crate) fn of_request(
    headers: &HeaderMap,
    query: Option<&str>,
    query_tokens: bool,
) -> Result<Option<Credentials>, &'static str> {
    let mut parts = query.unwrap_or("").split('&').filter_map(|p| p.split_once('='));
    let in_query = parts.find(|(name, _)| ["token", "access_token"].contains(name)).map(|(_, token)| token);
    if in_query.is_some() && !query_tokens {
        return Err("tokens in the address are not taken here: use the Authorization header\n");
    }
    if let Some(value) = headers.get(AUTHORIZATION) {
        const NONE: &str = "Authorization: Bearer and a token are expected\n";
        let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(NONE)?;
        let good = scheme.eq_ignore_ascii_case("bearer");
        return if good { Ok(Some(Credentials::Token(token.trim().to_owned()))) } else { Err(NONE) };
    }
    if let Some(value) = headers.get("x-api-key") {
        let pair = value.to_str().ok().and_then(|v| v.split_once('.'));
        let (key, secret) = pair.ok_or("X-Api-Key: <id>.<secret> is expected\n")?;
        return Ok(Some(Credentials::Secret { key: key.to_owned(), secret: secret.to_owned() }));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let bearer = offered.flat_map(|v| v.split(',')).find_map(|p| p.trim().strip_prefix("bearer."));
    Ok(bearer.or(in_query).map(|token| Credentials::Token(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn of(
        headers: &[(&'static str, &'static str)],
        query: Option<&str>,
        allowed: bool,
    ) -> Result<String, &'static str> {
        let headers: HeaderMap =
            headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect();
        of_request(&headers, query, allowed).map(|c| match c {
            None => "nothing".to_owned(),
            Some(Credentials::Token(t)) => t,
            Some(Credentials::Secret { key, secret }) => format!("{key}/{secret}"),
            Some(Credentials::Signed { .. }) => unreachable!(),
        })
    }

    #[test]
    fn the_first_match_wins() {
        let (bearer, key) = (("authorization", "Bearer a.b.c"), ("x-api-key", "k_1.wts_2"));
        let protocol = ("sec-websocket-protocol", "wholetape.v1.json, bearer.x.y.z");
        assert_eq!(of(&[], None, true).unwrap(), "nothing");
        assert_eq!(of(&[protocol, key, bearer], Some("token=q"), true).unwrap(), "a.b.c");
        assert_eq!(of(&[protocol, key], Some("token=q"), true).unwrap(), "k_1/wts_2");
        assert_eq!(of(&[protocol], Some("batch=1&token=q"), true).unwrap(), "x.y.z");
        assert_eq!(of(&[], Some("batch=1&token=q"), true).unwrap(), "q");
        assert_eq!(of(&[("sec-websocket-protocol", "wholetape.v1.json")], None, false).unwrap(), "nothing");
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(of(&[], Some("token=q"), false).unwrap_err().contains("address"));
        assert!(of(&[("authorization", "Bearer a.b.c")], Some("access_token=q"), false).is_err());
        assert!(of(&[("authorization", "Basic dTpw")], None, true).unwrap_err().contains("Bearer"));
        assert!(of(&[("authorization", "Bearer")], None, true).is_err());
        assert!(of(&[("x-api-key", "k_1")], None, true).unwrap_err().contains("X-Api-Key"));
    }

    #[test]
    fn credentials_are_never_printed() {
        let all = [
            Credentials::Token("hidden".into()),
            Credentials::Secret { key: "k".into(), secret: "hidden".into() },
            Credentials::Signed { key: "k".into(), ts: 1, nonce: "hidden".into(), sig: "hidden".into() },
        ];
        assert!(!format!("{all:?}").contains("hidden"));
    }
}
