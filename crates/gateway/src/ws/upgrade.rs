//! The handshake: who may open a WebSocket, and how.

use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use wholetape_wire::{SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK};
use wholetape_ws::{Deflate, accept_key};

/// Answers a handshake.
///
/// # Errors
/// The status and text of the refusal.
pub(crate) fn accept<B>(request: &Request<B>, origins: &[String]) -> Result<Response<()>, (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET
        || !has_token(headers, &UPGRADE, "websocket")
        || !has_token(headers, &CONNECTION, "upgrade")
    {
        return Err((StatusCode::UPGRADE_REQUIRED, "a WebSocket handshake is expected here"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version 13 is expected"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"));
    };
    if !origin_allowed(headers, origins) {
        return Err((StatusCode::FORBIDDEN, "this origin is not allowed"));
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(value) = HeaderValue::from_str(&accept_key(key.as_bytes())) {
        out.insert(SEC_WEBSOCKET_ACCEPT, value);
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut names = offered.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim);
    // The client's order is its preference.
    let served = names.find_map(|name| [SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK].into_iter().find(|s| *s == name));
    if let Some(served) = served {
        out.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(served));
    } else if offered.iter().next().is_some() {
        return Err((
            StatusCode::BAD_REQUEST,
            "the subprotocols served are wholetape.v1.json and wholetape.v1.msgpack",
        ));
    }
    Ok(response)
}

/// Whether MessagePack was agreed on.
pub(crate) fn speaks_msgpack(response: &Response<()>) -> bool {
    response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_some_and(|name| name == SUBPROTOCOL_MSGPACK)
}

/// Agrees on permessage-deflate, where the request offers what can be met, and says so in the response.
pub(crate) fn agree<B>(request: &Request<B>, response: &mut Response<()>) -> Option<Deflate> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS);
    let agreed = wholetape_ws::answer(offers.iter().filter_map(|v| v.to_str().ok()))?;
    let value = HeaderValue::from_str(&agreed.header()).ok()?;
    response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, value);
    Some(agreed)
}

fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Browsers name the page's origin; other clients send none. By default only the page's own host may.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(HOST).and_then(|h| h.to_str().ok());
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    matches!((host, of_origin), (Some(h), Some(o)) if h.eq_ignore_ascii_case(o))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: &[(&str, &str)]) -> Request<()> {
        let mut r = Request::builder()
            .uri("/v1/ws")
            .header("host", "localhost:8080")
            .header("upgrade", "WebSocket")
            .header("connection", "keep-alive, Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (k, v) in extra {
            r = r.header(*k, *v);
        }
        r.body(()).unwrap()
    }

    #[test]
    fn the_rfc_example_is_accepted() {
        let r = accept(&request(&[]), &[]).unwrap();
        assert_eq!(r.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(r.headers().get("sec-websocket-protocol").is_none());
        let r = accept(&request(&[("sec-websocket-protocol", "x, wholetape.v1.json")]), &[]).unwrap();
        assert_eq!(r.headers()["sec-websocket-protocol"], "wholetape.v1.json");
        let r =
            accept(&request(&[("sec-websocket-protocol", "wholetape.v1.msgpack, wholetape.v1.json")]), &[]).unwrap();
        assert_eq!(r.headers()["sec-websocket-protocol"], "wholetape.v1.msgpack");
        assert!(speaks_msgpack(&r));
        assert!(accept(&request(&[("sec-websocket-protocol", "wholetape.v2.json")]), &[]).is_err());
    }

    #[test]
    fn compression_is_agreed_on_where_it_is_offered() {
        let mut r = Response::new(());
        assert!(agree(&request(&[]), &mut r).is_none() && r.headers().is_empty());
        let offers = [("sec-websocket-extensions", "x"), ("sec-websocket-extensions", "permessage-deflate")];
        assert!(agree(&request(&offers), &mut r).is_some());
        let said = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(r.headers()["sec-websocket-extensions"], said);
    }

    #[test]
    fn strange_origins_are_refused() {
        let ok = |origin: &str, list: &[String]| accept(&request(&[("origin", origin)]), list).is_ok();
        assert!(ok("http://localhost:8080", &[]));
        assert!(!ok("http://localhost:9090", &[]));
        assert!(!ok("https://evil.example", &[]));
        assert!(!ok("null", &[]));
        assert!(ok("https://app.example", &["https://app.example".into()]));
        assert!(ok("https://evil.example", &["*".into()]));
    }
}
