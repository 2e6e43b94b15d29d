//! Bybit v5: spot, linear and inverse contracts, each a venue of its own as each has a socket of its own; they share one address, told apart by
//! path and `category`. After the documents' sheet `bybit` (written 2026-11-20).
//!
//! Streams are called by their topics: `publicTrade.BTCUSDT`, `orderbook.200.BTCUSDT`. An event's payload is the whole message.

mod category;
mod commands;
mod ids;
mod payload;
mod recorded;
mod rest;
mod stream;
mod ticker;
mod truth;
mod voice;

use std::time::Duration;

use crate::config::{VenueConfig, VenueKind};
use crate::event::{Event, Kind, Now};
use crate::faults::Shows;
use crate::protocol::{Budget, Manners, Protocol, Read, Refusal, Route, Target, Unknown};
use crate::serve::{Answer, Asked, Query};
use crate::truth::InstrumentTruth;
use crate::venue::{Inner, Venue};
use crate::world::{Floor, Frame, Standing, Voice};
use category::Category;

/// See the module.
#[derive(Debug)]
pub(crate) struct Bybit(pub VenueKind);

const DIRECTION: &str = r#""L":"PlusTick""#;

impl Protocol for Bybit {
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice> {
        Box::new(voice::BybitVoice::new(config, floor, before, now))
    }

    fn house(&self) -> Option<&'static str> {
        Some("bybit")
    }

    /// The path is the same for all categories.
    fn owns(&self, query: &Query) -> bool {
        query.text("category") == Some(Category::of(self.0).as_str())
    }

    fn target(&self, path: &str, _query: &str) -> Result<Target, u16> {
        let category = path.strip_prefix("/v5/public/").ok_or(404_u16)?;
        if category != Category::of(self.0).as_str() {
            return Err(404);
        }
        Ok(Target { route: Route::Any, combined: true, streams: Vec::new() })
    }

    /// Who neither pings nor listens is cut after ten minutes.
    fn manners(&self, config: &VenueConfig) -> Manners {
        let quiet_max = Duration::from_millis(config.limits.pong_within_ms.unwrap_or(600_000));
        Manners { messages_per_s: None, ping: None, quiet_max: Some(quiet_max) }
    }

    fn kind_of(&self, stream: &str) -> Kind {
        match stream.split('.').next().unwrap_or_default() {
            "publicTrade" => Kind::Trade,
            "orderbook" if stream.starts_with("orderbook.1.") => Kind::BookTicker,
            "orderbook" => Kind::Depth,
            "tickers" => Kind::Ticker,
            "allLiquidation" => Kind::ForceOrder,
            "kline" => Kind::Kline,
            _ => Kind::Other,
        }
    }

    /// Ids of trades cannot be counted: who misses one message of them sees nothing of it.
    fn shows(&self, kind: Kind) -> Shows {
        Shows { loss: kind == Kind::Depth, order: kind.is_sequenced(), checksum: false }
    }

    fn frame(&self, _combined: bool, _stream: &str, event: &Event) -> String {
        event.payload.clone()
    }

    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
        commands::hear(self, venue, conn, text)
    }

    /// No last words are documented.
    fn farewell(&self, _combined: bool, _exchange_ms: i64) -> String {
        String::new()
    }

    fn ids_of(&self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let data = &value["data"];
        match (data["u"].as_u64(), data[0]["i"].as_str(), data.as_array()) {
            (Some(u), ..) => format!("u={u}"),
            (_, Some(first), Some(all)) => format!("i={first} and {} more", all.len() - 1),
            _ => String::new(),
        }
    }

    /// A topic that nobody has documented, or a trade with an unknown tick direction.
    fn unknown(&self, stream: &str, text: &str, asked: bool) -> Unknown {
        if asked && text.contains(DIRECTION) {
            return Unknown::Instead(text.replace(DIRECTION, r#""L":"SidewaysTick""#));
        }
        let symbol = stream.rsplit_once('.').map_or("", |(_, symbol)| symbol);
        Unknown::Before(format!(
            r#"{{"topic":"newKind.{symbol}","type":"snapshot","ts":1,"data":[{{"z":[1,"2",null]}}]}}"#
        ))
    }

    /// 600 in 5 s for an address; one more is a ban.
    fn budget(&self, config: &VenueConfig) -> Budget {
        let limit = config.limits.weight_per_min.map_or(600, |a_minute| a_minute / 12);
        Budget { window_ms: 5_000, limit, refusals_before_ban: Some(0), ban_s: 600 }
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
        rest::serve(Category::of(self.0), inner, asked.endpoint, query, stale)
    }

    /// Too much of one endpoint is a code at status 200, too much of all a ban; neither says how long.
    fn refused(&self, status: u16, _seconds: u64) -> Refusal {
        let answer = match status {
            418 => (403, "access too frequent".to_owned()),
            _ => rest::error(200, 10_006, "Too many visits. Exceeded the API Rate Limit."),
        };
        Refusal { answer, retry_after: None }
    }

    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String> {
        truth::read(kind, payload)
    }

    fn time_of(&self, payload: &str) -> i64 {
        truth::time_of(payload)
    }

    fn recorded(&self, url: &str, text: &str) -> Vec<Frame> {
        recorded::frame(self, url, text).into_iter().collect()
    }

    fn recorded_truth(&self, frame: &Frame, standing: &Standing) -> Option<String> {
        recorded::truth(frame, standing)
    }

    fn recorded_state(&self, _stream: &str, standing: &Standing) -> Option<String> {
        recorded::state(standing)
    }

    fn recorded_list(&self, url: &str, body: &str) -> Vec<(String, String)> {
        recorded::list(self, url, body)
    }

    fn candle(&self, payload: &str) -> Option<(i64, String)> {
        truth::candle(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_category_has_its_own_path() {
        let linear = Bybit(VenueKind::BybitLinear);
        assert!(linear.target("/v5/public/linear", "").is_ok());
        assert_eq!(linear.target("/v5/public/spot", ""), Err(404));
        assert_eq!(linear.target("/v5/private", ""), Err(404));
    }

    #[test]
    fn a_message_is_named_by_its_ids() {
        let bybit = Bybit(VenueKind::BybitSpot);
        assert_eq!(bybit.ids_of(r#"{"topic":"orderbook.50.AB","data":{"s":"AB","u":7,"seq":9}}"#), "u=7");
        assert_eq!(bybit.ids_of(r#"{"topic":"publicTrade.AB","data":[{"i":"5"},{"i":"6"}]}"#), "i=5 and 1 more");
        assert_eq!(bybit.ids_of(r#"{"topic":"tickers.AB","data":{"symbol":"AB"}}"#), "");
    }
}
