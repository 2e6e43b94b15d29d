//! The loopback servers: one listener a venue, or a house of them, WebSocket and REST by path.

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

/// The venues of one address, at least one.
pub(crate) type House = Arc<[Arc<Venue>]>;

/// Accepts until the venues stop.
pub(crate) async fn listen(house: House, listener: TcpListener, tasks: TaskTracker) {
    let stop = house[0].stop.clone();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file handles or the like: give others time to end.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        // What a connection is for, it says later: what befalls an address is its first venue's doing, as often as any other's.
        let swallowed = house[0].lock().swallows_connection();
        if let Some(until) = swallowed {
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
                drop(stream);
            });
            continue;
        }
        tasks.spawn(serve(house.clone(), stream, tasks.clone()));
    }
}

async fn serve(house: House, stream: TcpStream, tasks: TaskTracker) {
    let stop = house[0].stop.clone();
    let service = service_fn(move |request| {
        let (house, tasks) = (house.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(&house, request, tasks).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        () = stop.cancelled() => {}
        // A client that hangs up or speaks nonsense ends its own connection, nothing else.
        _ = connection => {}
    }
}

async fn answer(house: &House, mut request: Request<Incoming>, tasks: TaskTracker) -> Response<Full<Bytes>> {
    let wants_upgrade =
        request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    if !wants_upgrade {
        let asked = Query::of(query);
        // What none of them owns is for any of them.
        let venue = house.iter().find(|venue| venue.protocol.owns(&asked)).unwrap_or(&house[0]);
        return rest::answer(venue, &request).await;
    }
    let targets = house.iter().map(|venue| venue.protocol.target(uri.path(), query).map(|target| (venue, target)));
    let (venue, target) = match targets.reduce(|found, next| found.or(next)) {
        Some(Ok(found)) => found,
        Some(Err(status)) => return plain(status),
        None => return plain(404),
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
