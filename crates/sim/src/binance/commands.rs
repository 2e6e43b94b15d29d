//! The commands of a connection, and the addresses that open one.
//!
//! From `binance-spot` §1, §3 and `binance-usdm` §1 of the venue sheets (written 2026-11-20): `/ws` sends raw payloads,
//! `/stream` wraps them; a misspelt stream is acknowledged and stays silent; on USDⓈ-M the wrong route does the same.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::protocol::{Route, Target};
use crate::serve::unescape;
use crate::venue::Venue;

/// Reads a handshake's address; the error is the HTTP status of the refusal.
pub(super) fn target(routed: bool, path: &str, query: &str) -> Result<Target, u16> {
    let (route, rest) = match path {
        _ if !routed => (Route::Any, path),
        _ if path.starts_with("/private") => return Err(403),
        _ => match (path.strip_prefix("/public"), path.strip_prefix("/market")) {
            (Some(rest), _) => (Route::Public, rest),
            (_, Some(rest)) => (Route::Market, rest),
            _ => (Route::Unrouted, path),
        },
    };
    let named = |list: &str| list.split('/').filter(|name| !name.is_empty()).map(unescape).collect::<Vec<_>>();
    match rest.trim_end_matches('/') {
        "/stream" => {
            let list = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or_default();
            if list.contains(',') {
                return Err(400);
            }
            Ok(Target { route, combined: true, streams: named(list) })
        }
        rest => match rest.strip_prefix("/ws") {
            Some(list) if list.is_empty() || list.starts_with('/') => {
                Ok(Target { route, combined: false, streams: named(list) })
            }
            _ => Err(404),
        },
    }
}

/// Whether a connection that came by this route gets a stream.
pub(super) fn delivers(route: Route, stream: &str) -> bool {
    let channel = stream.split_once('@').map_or(stream, |(_, channel)| channel);
    let public = stream == "!bookTicker"
        || ["bookTicker", "depth", "rpiDepth", "trade"].iter().any(|name| channel.starts_with(name));
    match route {
        Route::Any => true,
        // Without a route, since 2026-04-23: public streams only.
        Route::Public | Route::Unrouted => public,
        Route::Market => !public,
        Route::Business => false,
    }
}

#[derive(Deserialize)]
struct Command<'a> {
    method: String,
    #[serde(default)]
    params: Option<Vec<Value>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Does what a message asks for, and answers it.
pub(super) fn command(venue: &Venue, conn: u64, text: &str) -> String {
    let command: Command<'_> = match serde_json::from_str(text) {
        Ok(command) => command,
        Err(error) => {
            let why = if error.is_data() { "Invalid request" } else { "Invalid JSON" };
            let code = if error.is_data() { 2 } else { 3 };
            return format!(r#"{{"code":{code},"msg":{}}}"#, Value::from(format!("{why}: {error}")));
        }
    };
    let id = command.id.map_or("null", RawValue::get);
    let fail = |code: i32, msg: &str| format!(r#"{{"code":{code},"msg":{},"id":{id}}}"#, Value::from(msg));
    let params = command.params.unwrap_or_default();
    let streams = || params.iter().map(|p| p.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let mut inner = venue.lock();
    match command.method.as_str() {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            let Some(streams) = streams() else { return fail(2, "Invalid request: params must be strings") };
            if streams.is_empty() {
                return fail(2, "Invalid request: params are missing");
            }
            if command.method == "UNSUBSCRIBE" {
                streams.iter().for_each(|stream| inner.unsubscribe(conn, stream));
            } else {
                let held = inner.streams_of(conn);
                let new = streams.iter().filter(|stream| !held.contains(stream)).count();
                if held.len() + new > venue.config.limits.streams {
                    return fail(2, "Invalid request: too many streams");
                }
                streams.iter().for_each(|stream| inner.subscribe(conn, stream));
            }
            format!(r#"{{"result":null,"id":{id}}}"#)
        }
        "LIST_SUBSCRIPTIONS" => format!(r#"{{"result":{},"id":{id}}}"#, Value::from(inner.streams_of(conn))),
        "SET_PROPERTY" | "GET_PROPERTY" if params.first().and_then(Value::as_str) == Some("combined") => {
            let Some(conn) = inner.conns.get_mut(&conn) else { return fail(2, "Invalid request: closing") };
            if command.method == "GET_PROPERTY" {
                return format!(r#"{{"result":{},"id":{id}}}"#, conn.combined);
            }
            match params.get(1).and_then(Value::as_bool) {
                Some(combined) => conn.combined = combined,
                None => return fail(2, "Invalid request: combined is a boolean"),
            }
            format!(r#"{{"result":null,"id":{id}}}"#)
        }
        "SET_PROPERTY" | "GET_PROPERTY" => fail(2, "Invalid request: unknown property"),
        method => fail(2, &format!("Invalid request: unknown variant `{method}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_decides_framing_and_route() {
        let of = |routed, path, query| target(routed, path, query);
        let spot = of(false, "/stream", "streams=btcusdt@trade/btcusdt%40depth").unwrap();
        assert_eq!((spot.combined, spot.streams), (true, vec!["btcusdt@trade".to_owned(), "btcusdt@depth".to_owned()]));
        assert_eq!(of(true, "/market/ws/btcusdt@aggTrade", "").unwrap().route, Route::Market);
        assert_eq!(of(true, "/ws", "").unwrap().route, Route::Unrouted);
        assert_eq!(of(true, "/private/ws/key", ""), Err(403));
        assert_eq!(of(true, "/public/stream", "streams=a,b"), Err(400));
        assert_eq!(of(false, "/wss", ""), Err(404));
    }

    #[test]
    fn the_wrong_route_is_silent() {
        assert!(delivers(Route::Public, "btcusdt@depth@100ms") && !delivers(Route::Public, "btcusdt@aggTrade"));
        assert!(delivers(Route::Market, "btcusdt@aggTrade") && !delivers(Route::Market, "btcusdt@bookTicker"));
        assert!(delivers(Route::Unrouted, "btcusdt@bookTicker") && !delivers(Route::Unrouted, "!contractInfo"));
    }
}
