//! The REST side of every venue: the account, faults and answers. What a request means is the protocol's.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use super::weight::Verdict;
use crate::faults::{FaultKind, RestFate};
use crate::protocol::Refusal;
use crate::venue::{Inner, Venue, lock};

/// A status and a JSON body.
pub(crate) type Answer = (u16, String);

/// A request as a venue sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub endpoint: &'a str,
    /// What the rest of the path names.
    pub subject: &'a str,
    /// The account that is charged, and how much.
    pub bucket: &'static str,
    pub cost: u32,
    /// It asks for a book.
    pub snapshot: bool,
    /// A header with a key came along.
    pub has_key: bool,
}

/// The parameters of a request.
pub(crate) struct Query {
    params: BTreeMap<String, String>,
}

impl Query {
    pub fn of(text: &str) -> Self {
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (unescape(key), unescape(value)));
        Self { params: text.split('&').filter_map(pair).collect() }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }
}

/// Percent-decoding; what is no valid escape stays as it is.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Answers one request; faults of the moment included.
pub(super) async fn answer(venue: &Venue, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let protocol = venue.protocol;
    let path = request.uri().path().to_owned();
    let query = Query::of(request.uri().query().unwrap_or_default());
    let Some(mut asked) = protocol.asked(&venue.config, &path, &query) else {
        return respond((404, "{}".into()), None, None);
    };
    if request.method() != Method::GET {
        return respond((405, r#"{"code":-1000,"msg":"method not allowed"}"#.into()), None, None);
    }
    asked.has_key = request.headers().contains_key("x-mbx-apikey");
    let meter = |inner: &Inner| protocol.meter(asked.bucket, lock(&inner.weight).used(asked.bucket));

    let fate = {
        let mut inner = venue.lock();
        let verdict = {
            let mut account = lock(&inner.weight);
            account.asked(asked.endpoint, asked.cost);
            account.spend(venue.wall_ms(), asked.bucket, asked.cost)
        };
        let fate = if inner.frozen || matches!(verdict, Verdict::Stop(..)) {
            RestFate::Serve
        } else {
            inner.gate.on_request(asked.snapshot)
        };
        let verdict = match fate {
            RestFate::Refuse(kind, millis) => {
                let status = if kind == FaultKind::Http418 { 418 } else { 429 };
                record(&inner, kind, &path, &format!("{millis} ms"));
                lock(&inner.weight).refuse(venue.wall_ms(), status, millis)
            }
            _ => verdict,
        };
        if let Verdict::Stop(status, seconds) = verdict {
            let Refusal { answer, retry_after } = protocol.refused(status, seconds);
            return respond(answer, meter(&inner), retry_after);
        }
        fate
    };
    if let RestFate::Slow(millis) = fate {
        record(&venue.lock(), FaultKind::SlowRest, &path, &format!("{millis} ms"));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let (answer, used) = {
        let inner = venue.lock();
        let stale = fate == RestFate::Stale;
        let answer = protocol.serve(venue, &inner, &asked, &query, stale).unwrap_or_else(|complaint| complaint);
        if stale && answer.0 == 200 {
            let of = query.text("symbol").or(query.text("instId")).unwrap_or(asked.subject);
            record(&inner, FaultKind::StaleSnapshot, &path, of);
        }
        (answer, meter(&inner))
    };
    if let RestFate::Late(millis) = fate {
        record(&venue.lock(), FaultKind::LateSnapshot, &path, &format!("{millis} ms"));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    respond(answer, used, None)
}

fn record(inner: &Inner, kind: FaultKind, path: &str, what: &str) {
    inner.happened(kind, inner.now(), None, None, format!("{path} {what}"));
}

fn respond(
    (status, body): Answer,
    used: Option<(&'static str, u32)>,
    retry_after: Option<u64>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    if let Some((name, used)) = used {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(used));
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
