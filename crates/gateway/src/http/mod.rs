//! Everything that is plain HTTP: the page, topics, coverage, metrics, health.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use wholetape_model::Topic;

use crate::auth::Refused;
use crate::auth::grants::Grants;
use crate::auth::present;
use crate::coverage::{Query, document_of};
use crate::page;
use crate::server::Server;
use crate::ws::connection::wall_clock;

pub(crate) type Body = Full<Bytes>;

/// What the page may do: its own files and its own WebSocket, nothing else, nowhere else.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn answer<B>(server: &Server, request: &Request<B>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET here\n");
    }
    match request.uri().path() {
        "/metrics" => {
            if server.hub.config.auth.metrics
                && let Err(why) = visitor(server, request)
            {
                return refused(why);
            }
            let mut out = server.surface.metrics();
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            let hub = &server.hub;
            hub.stats.sessions_alone.store(hub.sessions.alone() as u64, Ordering::Relaxed);
            hub.stats.write(&mut out);
            hub.clients.write(&mut out);
            reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
        }
        "/health/live" => health(server, true),
        "/health/ready" => health(server, false),
        "/v1/topics" => visitor(server, request).map_or_else(refused, |grants| topics(server, grants.as_ref())),
        "/v1/coverage" => {
            let query = request.uri().query().unwrap_or("");
            visitor(server, request).map_or_else(refused, |grants| coverage(server, query, grants.as_ref()))
        }
        path => match page::file(path) {
            Some((kind, bytes)) => {
                let mut r = reply(StatusCode::OK, kind, Bytes::from_static(bytes));
                r.headers_mut().insert("content-security-policy", HeaderValue::from_static(CSP));
                r.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
                r
            }
            None => text(StatusCode::NOT_FOUND, "no such page\n"),
        },
    }
}

/// What whoever asks may read: `None` for everything.
fn visitor<B>(server: &Server, request: &Request<B>) -> Result<Option<Grants>, (StatusCode, &'static str)> {
    let Some(auth) = &server.hub.auth else { return Ok(None) };
    let unknown = |why| Err((StatusCode::UNAUTHORIZED, why));
    match present::of_request(request.headers(), request.uri().query(), auth.config.query_tokens) {
        Err(why) => Err((StatusCode::BAD_REQUEST, why)),
        Ok(None) if auth.has_anonymous() => Ok(Some(auth.anonymous.clone())),
        Ok(None) => unknown("credentials are expected: Authorization: Bearer, or X-Api-Key\n"),
        Ok(Some(shown)) => match auth.judge(&shown, wall_clock()) {
            Ok(principal) => Ok(Some(principal.grants)),
            Err(Refused::Expired) => unknown("the token has expired\n"),
            Err(_) => unknown("the credentials are not good\n"),
        },
    }
}

fn refused((status, why): (StatusCode, &'static str)) -> Response<Body> {
    let mut r = text(status, why);
    if status == StatusCode::UNAUTHORIZED {
        r.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    r
}

fn allows(grants: Option<&Grants>, topic: &Topic) -> bool {
    grants.is_none_or(|g| g.may_read(topic.as_str()))
}

fn health(server: &Server, live: bool) -> Response<Body> {
    let h = server.surface.health();
    let good = if live { h.live } else { h.live && h.ready };
    let body = json!({"ok": good, "live": h.live, "ready": h.ready, "reasons": h.reasons});
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply(status, "application/json", body.to_string().into())
}

/// Every topic with the range of seqs that can be read.
fn topics(server: &Server, grants: Option<&Grants>) -> Response<Body> {
    let mut all = server.hub.tape.topics();
    all.retain(|t| allows(grants, &t.topic));
    all.sort_by(|a, b| a.topic.cmp(&b.topic));
    let topics: Vec<_> = all
        .iter()
        .map(|t| {
            json!({
                "topic": t.topic.as_str(), "class": t.class.as_str(), "lane": t.lane, "head": t.head,
                "oldest": t.oldest, "ts": t.last_ts_recv.micros(),
            })
        })
        .collect();
    let body = json!({"epoch": &*server.hub.epoch, "topics": topics});
    reply(StatusCode::OK, "application/json", body.to_string().into())
}

/// What is held and how sure that is, as the ledger of this process has it.
fn coverage(server: &Server, query: &str, grants: Option<&Grants>) -> Response<Body> {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(why) => {
            return reply(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", format!("{why}\n").into());
        }
    };
    let mut body = None;
    server
        .surface
        .coverage(&mut |ledger| body = Some(document_of(ledger, &query, |topic| allows(grants, topic)).to_string()));
    match body {
        Some(body) => reply(StatusCode::OK, "application/json", body.into()),
        None => text(StatusCode::NOT_FOUND, "this process keeps no coverage ledger\n"),
    }
}

pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    reply(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut r = Response::new(Full::new(body));
    *r.status_mut() = status;
    let h = r.headers_mut();
    h.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    h.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    h.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    r
}
