//! The loopback servers: one listener a venue, WebSocket and REST by path.

mod rest;
mod weight;
mod ws;

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;

pub(crate) use rest::{Answer, Asked, Query, unescape};
pub use weight::RestTally;
pub(crate) use weight::Weight;

use crate::venue::Venue;

/// Accepts until the venue stops.
pub(crate) async fn listen(venue: Arc<Venue>, listener: TcpListener, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = venue.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles or the like: give others time to end.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let swallowed = venue.lock().swallows_connection();
        if let Some(until) = swallowed {
            let stop = venue.stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
                drop(stream);
            });
            continue;
        }
        tasks.spawn(serve(venue.clone(), stream, tasks.clone()));
    }
}

async fn serve(venue: Arc<Venue>, stream: TcpStream, tasks: TaskTracker) {
    let stop = venue.stop.clone();
    let service = service_fn(move |request| {
        let (venue, tasks) = (venue.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(venue, request, tasks).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        () = stop.cancelled() => {}
        // A client that hangs up or speaks nonsense ends its own connection, nothing else.
        _ = connection => {}
    }
}

async fn answer(venue: Arc<Venue>, mut request: Request<Incoming>, tasks: TaskTracker) -> Response<Full<Bytes>> {
    let wants_upgrade =
        request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !wants_upgrade {
        return rest::answer(&venue, &request).await;
    }
    let uri = request.uri();
    let target = match venue.protocol.target(uri.path(), uri.query().unwrap_or_default()) {
        Ok(target) => target,
        Err(status) => return plain(status),
    };
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else { return plain(400) };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    let serving = venue.clone();
    tasks.spawn(async move {
        let upgraded = tokio::select! {
            () = serving.stop.cancelled() => return,
            upgraded = upgrade => upgraded,
        };
        if let Ok(upgraded) = upgraded {
            ws::serve(serving, upgraded, target).await;
        }
    });
    let mut response = plain(101);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
    if let Ok(value) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, value);
    }
    response
}

fn plain(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}
