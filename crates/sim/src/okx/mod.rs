//! OKX v5: spot and swaps, on `/public` and `/business`. After the documents' sheet `okx` (written 2026-11-20).
//!
//! Streams are called `channel:subject` here: `books:BTC-USDT`, `liquidation-orders:SWAP`.

mod commands;
mod payload;
mod product;
mod recorded;
mod rest;
mod truth;
mod voice;

use std::time::Duration;

use crate::config::VenueConfig;
use crate::event::{Event, Kind, Now};
use crate::protocol::{Budget, Manners, Protocol, Read, Refusal, Route, Target, Unknown};
use crate::serve::{Answer, Asked, Query};
use crate::truth::InstrumentTruth;
use crate::venue::{Inner, Venue};
use crate::world::{Floor, Frame, Standing, Voice};

/// See the module.
#[derive(Debug)]
pub(crate) struct Okx;

/// Requests are counted by endpoint; each fills this at its own rate.
const WINDOW_LIMIT: u32 = 200;

const SOURCE: &str = r#""source":"0""#;

impl Protocol for Okx {
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice> {
        Box::new(voice::OkxVoice::new(config, floor, before, now))
    }

    fn target(&self, path: &str, _query: &str) -> Result<Target, u16> {
        let route = match path {
            "/ws/v5/public" => Route::Public,
            "/ws/v5/business" => Route::Business,
            "/ws/v5/private" => return Err(403),
            _ => return Err(404),
        };
        Ok(Target { route, combined: true, streams: Vec::new() })
    }

    fn manners(&self, config: &VenueConfig) -> Manners {
        let quiet_max = Duration::from_millis(config.limits.pong_within_ms.unwrap_or(30_000));
        Manners { messages_per_s: None, ping: None, quiet_max: Some(quiet_max) }
    }

    fn kind_of(&self, stream: &str) -> Kind {
        match stream.split(':').next().unwrap_or_default() {
            "trades-all" => Kind::Trade,
            "trades" => Kind::AggTrade,
            "books" | "books-l2-tbt" => Kind::Depth,
            "bbo-tbt" => Kind::BookTicker,
            "tickers" => Kind::Ticker,
            "mark-price" | "index-tickers" => Kind::MarkPrice,
            "open-interest" => Kind::OpenInterest,
            "liquidation-orders" => Kind::ForceOrder,
            channel if channel.starts_with("candle") => Kind::Kline,
            _ => Kind::Other,
        }
    }

    fn frame(&self, _combined: bool, stream: &str, event: &Event) -> String {
        // What was recorded goes out as it was.
        if event.payload.starts_with(r#"{"arg""#) {
            event.payload.clone()
        } else {
            push(stream, "update", &event.payload)
        }
    }

    fn welcome(&self, stream: &str, rows: &[String]) -> String {
        match rows {
            [whole] if whole.starts_with(r#"{"arg""#) => whole.clone(),
            rows => push(stream, "snapshot", &rows.join(",")),
        }
    }

    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
        commands::hear(venue, conn, text)
    }

    /// A minute before an upgrade; here the minute is shorter.
    fn farewell(&self, _combined: bool, _exchange_ms: i64) -> String {
        r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#.to_owned()
    }

    fn ids_of(&self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let row = &value["data"][0];
        let text = |key: &str| row[key].as_str();
        match (text("tradeId"), text("count"), row["prevSeqId"].as_i64(), row["seqId"].as_u64()) {
            (Some(id), Some(count), ..) => format!("tradeId={id} count={count}"),
            (Some(id), ..) => format!("tradeId={id}"),
            (_, _, Some(previous), Some(seq)) => format!("prevSeqId={previous} seqId={seq}"),
            _ => String::new(),
        }
    }

    /// A channel that nobody has documented, or a trade of an unknown source.
    fn unknown(&self, stream: &str, text: &str, asked: bool) -> Unknown {
        if asked && text.contains(SOURCE) {
            return Unknown::Instead(text.replace(SOURCE, r#""source":"7""#));
        }
        let subject = stream.split_once(':').map_or("", |(_, subject)| subject);
        Unknown::Before(format!(
            r#"{{"arg":{{"channel":"new-kind","instId":"{subject}"}},"data":[{{"z":[1,"2",null]}}]}}"#
        ))
    }

    fn budget(&self, _config: &VenueConfig) -> Budget {
        Budget { window_ms: 2_000, limit: WINDOW_LIMIT, refusals_before_ban: None, ban_s: 0 }
    }

    fn asked<'a>(&self, _config: &VenueConfig, path: &'a str, _query: &Query) -> Option<Asked<'a>> {
        rest::asked(path)
    }

    fn serve(
        &self,
        _venue: &Venue,
        inner: &Inner,
        asked: &Asked<'_>,
        query: &Query,
        stale: bool,
    ) -> Result<Answer, Answer> {
        rest::serve(inner, asked.endpoint, query, stale)
    }

    /// Nobody is banned, and nothing says how long to wait.
    fn refused(&self, _status: u16, _seconds: u64) -> Refusal {
        Refusal { answer: rest::error(429, 50_011, "Too Many Requests"), retry_after: None }
    }

    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String> {
        truth::read(kind, payload)
    }

    fn time_of(&self, payload: &str) -> i64 {
        truth::time_of(payload)
    }

    fn recorded(&self, url: &str, text: &str) -> Vec<Frame> {
        recorded::frames(url, text)
    }

    fn recorded_truth(&self, frame: &Frame, standing: &Standing) -> Option<String> {
        recorded::truth(frame, standing)
    }

    fn recorded_state(&self, stream: &str, standing: &Standing) -> Option<String> {
        stream.starts_with("books").then(|| recorded::state(stream, standing)).flatten()
    }

    fn recorded_list(&self, url: &str, body: &str) -> Vec<(String, String)> {
        recorded::list(url, body)
    }
}

/// Channels of whole products rather than instruments.
fn is_of_product(channel: &str) -> bool {
    matches!(channel, "liquidation-orders" | "instruments")
}

/// `{"channel":…,"instId":…}` of a stream.
fn arg(stream: &str) -> String {
    let (channel, subject) = stream.split_once(':').unwrap_or((stream, ""));
    let key = if is_of_product(channel) { "instType" } else { "instId" };
    if subject.is_empty() {
        format!(r#"{{"channel":"{channel}"}}"#)
    } else {
        format!(r#"{{"channel":"{channel}","{key}":"{subject}"}}"#)
    }
}

/// A data frame; only `books` says what it does.
fn push(stream: &str, action: &str, rows: &str) -> String {
    let arg = arg(stream);
    let action = if stream.starts_with("books") { format!(r#""action":"{action}","#) } else { String::new() };
    format!(r#"{{"arg":{arg},{action}"data":[{rows}]}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_name_their_argument_and_books_their_action() {
        assert_eq!(
            push("books:A-B", "update", "{}"),
            r#"{"arg":{"channel":"books","instId":"A-B"},"action":"update","data":[{}]}"#
        );
        assert_eq!(
            push("liquidation-orders:SWAP", "update", "{}"),
            r#"{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{}]}"#
        );
        assert_eq!(arg("status:"), r#"{"channel":"status"}"#);
    }

    #[test]
    fn a_frame_is_named_by_its_ids() {
        let book = push("books:A-B", "update", r#"{"asks":[],"bids":[],"seqId":3,"prevSeqId":15}"#);
        assert_eq!(Okx.ids_of(&book), "prevSeqId=15 seqId=3");
        assert_eq!(Okx.ids_of(r#"{"data":[{"tradeId":"9","count":"2"}]}"#), "tradeId=9 count=2");
    }
}
