//! Kraken spot, by the second version of its socket protocol (`/v2`). After the documents' sheet `kraken` (written 2026-11-20).
//!
//! Streams are called `channel:symbol` here, with what is asked for of a channel in its name: `book-1000:BTC/USD`, `ohlc-1:BTC/USD`,
//! `ticker-bbo:BTC/USD`; `instrument:` has no symbol. An event's payload is the whole message.
//!
//! Nothing numbers the updates of a book. A lost or doubled one may leave no trace (the next one of the same level hides it, and what lies below
//! the tenth level is in no checksum), so books are never lost, doubled or swapped message by message; the fault `bad_checksum` is theirs.

mod commands;
mod names;
mod payload;
mod rest;
mod top;
mod truth;
mod voice;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::VenueConfig;
use crate::event::{Event, Kind, Now};
use crate::faults::Shows;
use crate::protocol::{Budget, Herald, Manners, Protocol, Read, Refusal, Route, Target, Unknown};
use crate::serve::{Answer, Asked, Query};
use crate::truth::InstrumentTruth;
use crate::venue::{Inner, Venue};
use crate::world::{Every, Floor, Voice};

/// See the module.
#[derive(Debug)]
pub(crate) struct Kraken;

/// Levels a side that a book may be asked for.
const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1_000];
/// Minutes that a bar may be asked for.
const INTERVALS: [u32; 9] = [1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600];
/// What every connection with a subscription has as well.
const BEAT: &str = "heartbeat:";

const LIMIT: &str = r#""ord_type":"limit""#;
const CHECKSUM: &str = r#""checksum":"#;

fn status(system: &str) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":14723418653472354827}}]}}"#
    )
}

impl Protocol for Kraken {
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice> {
        Box::new(voice::KrakenVoice::new(config, floor, before, now))
    }

    fn herald(&self, _config: &VenueConfig, _seed: u64, _now: Now) -> Option<Box<dyn Herald>> {
        Some(Box::new(Beats(Every::new(1_000))))
    }

    /// The first version, at the root, is not spoken.
    fn target(&self, path: &str, _query: &str) -> Result<Target, u16> {
        match path {
            "/v2" => Ok(Target { route: Route::Any, combined: true, streams: Vec::new() }),
            _ => Err(404),
        }
    }

    /// Who has no subscription hears no heartbeat, and is cut after a minute.
    fn manners(&self, config: &VenueConfig) -> Manners {
        let quiet_max = Duration::from_millis(config.limits.pong_within_ms.unwrap_or(60_000));
        Manners { messages_per_s: None, ping: None, quiet_max: Some(quiet_max) }
    }

    fn kind_of(&self, stream: &str) -> Kind {
        let name = stream.split(':').next().unwrap_or_default();
        match name.split('-').next().unwrap_or_default() {
            "trade" => Kind::Trade,
            "book" => Kind::Depth,
            "ticker" if name == "ticker-bbo" => Kind::BookTicker,
            "ticker" => Kind::Ticker,
            "ohlc" => Kind::Kline,
            _ => Kind::Other,
        }
    }

    fn shows(&self, kind: Kind) -> Shows {
        let numbered = kind == Kind::Trade;
        Shows { loss: numbered, order: numbered, checksum: kind == Kind::Depth }
    }

    fn spoiled(&self, text: &str) -> String {
        let Some((head, rest)) = text.split_once(CHECKSUM) else { return text.to_owned() };
        let (digits, rest) = rest.split_at(rest.find(',').unwrap_or(0));
        let other = digits.parse::<u32>().unwrap_or(0) ^ 1;
        format!("{head}{CHECKSUM}{other}{rest}")
    }

    fn frame(&self, _combined: bool, _stream: &str, event: &Event) -> String {
        event.payload.clone()
    }

    /// One market's message, or the definitions of all.
    fn welcome(&self, stream: &str, rows: &[String]) -> String {
        if !stream.starts_with("instrument:") {
            return rows.concat();
        }
        let of = |row: &String| -> Option<[String; 2]> {
            let row: serde_json::Value = serde_json::from_str(row).ok()?;
            Some([row["base"].as_str()?.to_owned(), row["quote"].as_str()?.to_owned()])
        };
        let assets: BTreeSet<String> = rows.iter().filter_map(of).flatten().collect();
        payload::instruments("snapshot", &assets.into_iter().collect::<Vec<_>>(), &rows.join(","))
    }

    fn greeting(&self) -> Option<String> {
        Some(status("online"))
    }

    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
        commands::hear(venue, conn, text)
    }

    fn farewell(&self, _combined: bool, _exchange_ms: i64) -> String {
        status("maintenance")
    }

    fn ids_of(&self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let Some(rows) = value["data"].as_array() else { return String::new() };
        let id = |row: Option<&serde_json::Value>| row.and_then(|row| row["trade_id"].as_u64());
        match (id(rows.first()), id(rows.last()), rows.first().and_then(|row| row["checksum"].as_u64())) {
            (Some(first), Some(last), _) => format!("trade_id={first} to {last}"),
            (.., Some(checksum)) => format!("checksum={checksum}"),
            _ => String::new(),
        }
    }

    /// A channel that nobody has documented, or a trade of an unknown kind of order.
    fn unknown(&self, stream: &str, text: &str, asked: bool) -> Unknown {
        if asked && text.contains(LIMIT) {
            return Unknown::Instead(text.replace(LIMIT, r#""ord_type":"auction""#));
        }
        let symbol = stream.split_once(':').map_or("", |(_, symbol)| symbol);
        Unknown::Before(payload::message("new_kind", "update", &format!(r#"{{"symbol":"{symbol}","z":[1,"2",null]}}"#)))
    }

    fn budget(&self, _config: &VenueConfig) -> Budget {
        Budget { window_ms: rest::WINDOW_MS, limit: rest::WINDOW, refusals_before_ban: None, ban_s: 0 }
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

    /// At status 200, and nothing says how long to wait.
    fn refused(&self, status: u16, _seconds: u64) -> Refusal {
        let text = if status == 418 { "EService:Throttled" } else { "EAPI:Rate limit exceeded" };
        Refusal { answer: rest::error(text), retry_after: None }
    }

    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String> {
        truth::read(kind, payload)
    }

    fn time_of(&self, payload: &str) -> i64 {
        truth::time_of(payload)
    }
}

/// A sign of life each second.
#[derive(Debug)]
struct Beats(Every);

impl Herald for Beats {
    fn advance(&mut self, now: Now, _symbols: &[&str], out: &mut Vec<Event>) {
        if self.0.due(now.run_ms) {
            let (streams, payload) = (vec![BEAT.to_owned()], r#"{"channel":"heartbeat"}"#.to_owned());
            out.push(Event {
                kind: Kind::Other,
                symbol: "".into(),
                variant: "".into(),
                streams,
                payload,
                logged: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_named_by_its_ids_and_spoiled_in_its_checksum_alone() {
        let trades = payload::message("trade", "update", r#"{"trade_id":7},{"trade_id":9}"#);
        assert_eq!(Kraken.ids_of(&trades), "trade_id=7 to 9");
        let book = payload::message("book", "update", r#"{"symbol":"A/B","checksum":4294967295,"timestamp":"x"}"#);
        assert_eq!(Kraken.ids_of(&book), "checksum=4294967295");
        assert_eq!(Kraken.spoiled(&book), book.replace("4294967295", "4294967294"));
        assert_eq!(Kraken.spoiled(&trades), trades);
    }

    #[test]
    fn streams_bring_their_kinds_and_one_path_leads_to_them() {
        let kinds = ["trade:A/B", "book-1000:A/B", "ticker-bbo:A/B", "ticker:A/B", "ohlc-1:A/B", "instrument:", BEAT]
            .map(|stream| Kraken.kind_of(stream));
        use Kind as K;
        assert_eq!(kinds, [K::Trade, K::Depth, K::BookTicker, K::Ticker, K::Kline, K::Other, K::Other]);
        assert!(Kraken.target("/v2", "").is_ok() && Kraken.target("/", "") == Err(404));
    }

    #[test]
    fn all_definitions_are_one_message_with_their_assets() {
        let row = |base: &str| format!(r#"{{"symbol":"{base}/USD","base":"{base}","quote":"USD"}}"#);
        let text = Kraken.welcome("instrument:", &[row("A"), row("B")]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["type"], "snapshot");
        let ids: Vec<&str> =
            value["data"]["assets"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap()).collect();
        assert_eq!((ids, value["data"]["pairs"].as_array().unwrap().len()), (vec!["A", "B", "USD"], 2));
    }
}
