//! dYdX v4: perpetuals of the indexer, on one socket. After the documents' sheet `dydx` (written 2026-11-20).
//!
//! Streams are called `channel:id` here: `v4_trades:BTC-USD`, `v4_candles:BTC-USD/1MIN`, `v4_markets:`; with [`BATCHED`] behind them
//! they come in batches of 250 ms. Every message of a connection has its number, and one that is lost on the way has had one.

mod book;
mod chain;
mod commands;
mod payload;
mod rest;
mod truth;
mod voice;

use std::time::Duration;

use crate::config::VenueConfig;
use crate::event::{Event, Kind, Now};
use crate::iso::iso;
use crate::protocol::{Budget, Herald, Manners, Protocol, Read, Refusal, Route, Target, Unknown};
use crate::serve::{Answer, Asked, Query};
use crate::truth::InstrumentTruth;
use crate::venue::{Inner, Venue};
use crate::world::{Floor, Voice};

/// See the module.
#[derive(Debug)]
pub(crate) struct Dydx;

const CHANNELS: [&str; 5] = ["v4_trades", "v4_orderbook", "v4_candles", "v4_markets", "v4_block_height"];
/// Behind the name of a stream that comes in batches.
const BATCHED: &str = "#batched";

const LIMIT: &str = r#""type":"LIMIT""#;

impl Protocol for Dydx {
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice> {
        Box::new(voice::DydxVoice::new(config, floor, before, now))
    }

    fn herald(&self, _config: &VenueConfig, _seed: u64, now: Now) -> Option<Box<dyn Herald>> {
        Some(Box::new(Blocks { told: chain::blocks(now.run_ms) }))
    }

    fn target(&self, path: &str, _query: &str) -> Result<Target, u16> {
        match path {
            "/v4/ws" => Ok(Target { route: Route::Any, combined: true, streams: Vec::new() }),
            _ => Err(404),
        }
    }

    fn manners(&self, config: &VenueConfig) -> Manners {
        let every = config.limits.ping_every_ms.unwrap_or(30_000).max(1);
        let within = config.limits.pong_within_ms.unwrap_or(10_000);
        let ping = Some((Duration::from_millis(every), Duration::from_millis(within)));
        Manners { messages_per_s: None, ping, quiet_max: None }
    }

    fn kind_of(&self, stream: &str) -> Kind {
        match stream.split(':').next().unwrap_or_default() {
            "v4_trades" => Kind::Trade,
            "v4_orderbook" => Kind::Depth,
            "v4_candles" => Kind::Kline,
            "v4_markets" => Kind::MarkPrice,
            _ => Kind::Other,
        }
    }

    fn frame(&self, _combined: bool, stream: &str, event: &Event) -> String {
        message(if stream.ends_with(BATCHED) { "channel_batch_data" } else { "channel_data" }, stream, &event.payload)
    }

    fn welcome(&self, stream: &str, rows: &[String]) -> String {
        // Of markets each tells its own; the chain's height all of them would tell alike.
        let contents = match stream.split(':').next() {
            Some("v4_markets") => format!(r#"{{"markets":{{{}}}}}"#, rows.join(",")),
            _ => rows.first().cloned().unwrap_or_else(|| "{}".into()),
        };
        message("subscribed", stream, &contents)
    }

    fn greeting(&self) -> Option<String> {
        Some(r#"{"type":"connected"}"#.to_owned())
    }

    /// Behind the type come the connection and the number of the message.
    fn stamp(&self, text: String, conn: u64, said: u64) -> String {
        let end = text.find(',').unwrap_or(text.len() - 1);
        let (kind, rest) = text.split_at(end);
        format!(r#"{kind},"connection_id":"7d0f6c9e-0000-4000-8000-{conn:012x}","message_id":{said}{rest}"#)
    }

    fn answers_with_state(&self) -> bool {
        true
    }

    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
        commands::hear(venue, conn, text)
    }

    /// A deploy closes without a word.
    fn farewell(&self, _combined: bool, _exchange_ms: i64) -> String {
        String::new()
    }

    fn farewell_code(&self) -> u16 {
        1012
    }

    fn ids_of(&self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        value["message_id"].as_u64().map_or(String::new(), |n| format!("message_id={n}"))
    }

    /// A channel that nobody has documented, or a trade of an unknown type.
    fn unknown(&self, _stream: &str, text: &str, asked: bool) -> Unknown {
        if asked && text.contains(LIMIT) {
            return Unknown::Instead(text.replace(LIMIT, r#""type":"NEW_KIND""#));
        }
        Unknown::After(message("channel_data", "v4_new_kind:BTC-USD", r#"{"z":[1,"2",null]}"#))
    }

    fn budget(&self, _config: &VenueConfig) -> Budget {
        Budget { window_ms: 10_000, limit: rest::WINDOW, refusals_before_ban: None, ban_s: 0 }
    }

    fn asked<'a>(&self, _config: &VenueConfig, path: &'a str, _query: &Query) -> Option<Asked<'a>> {
        rest::asked(path)
    }

    fn serve(
        &self,
        venue: &Venue,
        inner: &Inner,
        asked: &Asked<'_>,
        query: &Query,
        stale: bool,
    ) -> Result<Answer, Answer> {
        rest::serve(&venue.config, inner, asked, query, stale)
    }

    /// Nobody is banned; how long to wait is told in milliseconds.
    fn refused(&self, _status: u16, seconds: u64) -> Refusal {
        Refusal { answer: rest::error(429, "Too many requests"), retry_after: Some(seconds * 1_000) }
    }

    fn meter(&self, bucket: &str, used: u32) -> Option<(&'static str, u32)> {
        Some(("ratelimit-remaining", rest::left(bucket, used)))
    }

    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String> {
        truth::read(kind, payload)
    }

    fn time_of(&self, payload: &str) -> i64 {
        truth::time_of(payload)
    }

    fn candle(&self, payload: &str) -> Option<(i64, String)> {
        truth::candle(payload)
    }
}

/// A message about a stream, without what [`Protocol::stamp`] adds.
fn message(kind: &str, stream: &str, contents: &str) -> String {
    let stream = stream.strip_suffix(BATCHED).unwrap_or(stream);
    let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
    let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
    let version = if channel == "v4_trades" { "2.1.0" } else { "1.0.0" };
    format!(r#"{{"type":"{kind}",{id}"channel":"{channel}","version":"{version}","contents":{contents}}}"#)
}

/// Tells each block.
#[derive(Debug)]
struct Blocks {
    told: u64,
}

impl Herald for Blocks {
    fn advance(&mut self, now: Now, _symbols: &[&str], out: &mut Vec<Event>) {
        let blocks = chain::blocks(now.run_ms);
        if std::mem::replace(&mut self.told, blocks) == blocks {
            return;
        }
        let (height, time) = (chain::height(now.run_ms), iso(now.exchange_ms));
        let payload = format!(r#"{{"blockHeight":"{height}","time":"{time}"}}"#);
        let streams = vec!["v4_block_height:".to_owned()];
        out.push(Event { kind: Kind::Other, symbol: "".into(), variant: "".into(), streams, payload, logged: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_behind_their_type() {
        let id = "7d0f6c9e-0000-4000-8000-00000000000a";
        let stamped = |text: &str| Dydx.stamp(text.to_owned(), 10, 3);
        assert_eq!(
            stamped(r#"{"type":"connected"}"#),
            format!(r#"{{"type":"connected","connection_id":"{id}","message_id":3}}"#)
        );
        let text = stamped(&message("channel_data", "v4_trades:A-USD", "{}"));
        assert_eq!(
            text,
            format!(
                r#"{{"type":"channel_data","connection_id":"{id}","message_id":3,"id":"A-USD","channel":"v4_trades","version":"2.1.0","contents":{{}}}}"#
            )
        );
        assert_eq!(Dydx.ids_of(&text), "message_id=3");
        let all = message("subscribed", "v4_markets:#batched", "{}");
        assert_eq!(all, r#"{"type":"subscribed","channel":"v4_markets","version":"1.0.0","contents":{}}"#);
    }
}
