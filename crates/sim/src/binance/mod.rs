//! Binance: spot and USDⓈ-M generated, COIN-M and Binance.US from recordings. After the venue sheets `binance-spot` and `binance-usdm`.

mod commands;
mod info;
mod payload;
mod replay;
mod rest;
mod voice;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use replay::Replay;

use crate::config::{VenueConfig, VenueKind};
use crate::dice::Dice;
use crate::event::{Event, Kind, Now};
use crate::protocol::{Budget, Herald, Manners, Protocol, Read, Refusal, Route, Target, Unknown};
use crate::serve::{Answer, Asked, Query};
use crate::truth::InstrumentTruth;
use crate::venue::{Inner, Venue};
use crate::world::{Floor, Voice};

/// One of its markets.
#[derive(Debug)]
pub(crate) struct Binance(pub VenueKind);

fn weight_per_min(config: &VenueConfig) -> u32 {
    config.limits.weight_per_min.unwrap_or(if config.kind.is_spot() { 6000 } else { 2400 })
}

fn key_for_history(config: &VenueConfig) -> bool {
    config.limits.key_for_history.unwrap_or(config.kind == VenueKind::BinanceUsdm && config.capture.is_none())
}

/// The kind a stream name asks for (`btcusdt@depth@100ms` → depth), partial books excepted.
fn kind_of(stream: &str) -> Kind {
    let channel = stream.split_once('@').map_or(stream, |(_, channel)| channel);
    let first = channel.split('@').next().unwrap_or_default();
    match first {
        "aggTrade" => Kind::AggTrade,
        "trade" => Kind::Trade,
        "depth" => Kind::Depth,
        "bookTicker" => Kind::BookTicker,
        "ticker" => Kind::Ticker,
        "miniTicker" => Kind::MiniTicker,
        "markPrice" => Kind::MarkPrice,
        "forceOrder" => Kind::ForceOrder,
        _ if first.starts_with("kline_") => Kind::Kline,
        _ if stream == "!contractInfo" => Kind::ContractInfo,
        _ => Kind::Other,
    }
}

const MARKET: &str = "\"X\":\"MARKET\"";

impl Protocol for Binance {
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice> {
        Box::new(voice::BinanceVoice::new(self.0, floor, &config.kline_intervals, before, now))
    }

    fn herald(&self, config: &VenueConfig, seed: u64, now: Now) -> Option<Box<dyn Herald>> {
        let dice = Dice::new(seed, &format!("{}/info", config.id()));
        (!self.0.is_spot()).then(|| Box::new(ContractInfo { dice, next_ms: now.run_ms + 3_000 }) as Box<dyn Herald>)
    }

    fn target(&self, path: &str, query: &str) -> Result<Target, u16> {
        // Only USDⓈ-M splits its streams between `/public` and `/market`.
        commands::target(self.0 == VenueKind::BinanceUsdm, path, query)
    }

    fn manners(&self, config: &VenueConfig) -> Manners {
        let (spot, limits) = (self.0.is_spot(), &config.limits);
        let every = limits.ping_every_ms.unwrap_or(if spot { 20_000 } else { 180_000 });
        let within = limits.pong_within_ms.unwrap_or(if spot { 60_000 } else { 600_000 });
        Manners {
            messages_per_s: Some(limits.messages_per_s.unwrap_or(if spot { 5 } else { 10 })),
            ping: Some((Duration::from_millis(every.max(1)), Duration::from_millis(within))),
            quiet_max: None,
        }
    }

    fn kind_of(&self, stream: &str) -> Kind {
        kind_of(stream)
    }

    fn delivers(&self, route: Route, stream: &str) -> bool {
        commands::delivers(route, stream)
    }

    fn frame(&self, combined: bool, stream: &str, event: &Event) -> String {
        wrap(combined, stream, event.payload.clone())
    }

    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
        vec![commands::command(venue, conn, text)]
    }

    fn farewell(&self, combined: bool, exchange_ms: i64) -> String {
        wrap(combined, "!serverShutdown", format!(r#"{{"e":"serverShutdown","E":{exchange_ms}}}"#))
    }

    fn ids_of(&self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let data = value.get("data").unwrap_or(&value);
        let id = |key: &str| data.get(key).and_then(serde_json::Value::as_u64);
        match (data.get("e").and_then(serde_json::Value::as_str), id("a"), id("t"), id("U"), id("u")) {
            (Some("aggTrade"), Some(a), ..) => format!("a={a}"),
            (Some("trade"), _, Some(t), ..) => format!("t={t}"),
            (_, _, _, Some(first), Some(last)) => format!("U={first} u={last}"),
            _ => String::new(),
        }
    }

    /// An event type that nobody has documented, on a stream that is.
    fn unknown(&self, stream: &str, text: &str, asked: bool) -> Unknown {
        if asked && text.contains(MARKET) {
            return Unknown::Instead(text.replace(MARKET, "\"X\":\"NEW_KIND\""));
        }
        let (name, _) = stream.split_once('@').unwrap_or((stream, ""));
        let payload =
            format!(r#"{{"e":"NEW_KIND","E":0,"s":"{}","X":"NEW_KIND","z":[1,"2",null]}}"#, name.to_uppercase());
        Unknown::Before(wrap(text.starts_with("{\"stream\":"), stream, payload))
    }

    fn budget(&self, config: &VenueConfig) -> Budget {
        Budget {
            window_ms: 60_000,
            limit: weight_per_min(config),
            refusals_before_ban: Some(config.limits.refusals_before_ban),
            ban_s: config.limits.ban_s,
        }
    }

    fn asked<'a>(&self, config: &VenueConfig, path: &'a str, query: &Query) -> Option<Asked<'a>> {
        rest::asked(config, path, query)
    }

    fn serve(
        &self,
        venue: &Venue,
        inner: &Inner,
        asked: &Asked<'_>,
        query: &Query,
        stale: bool,
    ) -> Result<Answer, Answer> {
        rest::serve(venue, inner, asked, query, stale)
    }

    fn refused(&self, status: u16, seconds: u64) -> Refusal {
        let msg = "Too many requests; current limit of IP is exceeded. Please use the websocket for live updates to avoid polling the API.";
        Refusal { answer: rest::error(status, -1003, msg), retry_after: Some(seconds) }
    }

    fn meter(&self, _bucket: &str, used: u32) -> Option<(&'static str, u32)> {
        Some(("x-mbx-used-weight-1m", used))
    }

    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String> {
        fn of<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
            serde_json::from_str(payload).map_err(|error| error.to_string())
        }
        Ok(match kind {
            Kind::AggTrade => Read::Group(of(payload)?),
            Kind::Trade => Read::Trade(of(payload)?),
            Kind::BookTicker => Read::Quote(of(payload)?),
            Kind::Depth => Read::Depth(of(payload)?),
            _ => Read::Stated,
        })
    }

    fn time_of(&self, payload: &str) -> i64 {
        // Only the time keys, by hand: `E` and `e` differ, and aliases of one field may not both occur.
        #[derive(Deserialize, Default)]
        struct Times {
            #[serde(rename = "E", default)]
            event: Option<i64>,
            #[serde(default)]
            time: Option<i64>,
        }
        let times: Times = serde_json::from_str(payload).unwrap_or_default();
        times.event.or(times.time).unwrap_or(0)
    }

    fn candle(&self, payload: &str) -> Option<(i64, String)> {
        #[derive(Deserialize)]
        struct Told<'a> {
            #[serde(borrow)]
            k: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Open {
            t: i64,
        }
        let told: Told<'_> = serde_json::from_str(payload).ok()?;
        let open: Open = serde_json::from_str(told.k.get()).ok()?;
        Some((open.t, told.k.get().to_owned()))
    }
}

/// `/stream` names the stream of each payload; `/ws` sends it bare.
fn wrap(combined: bool, stream: &str, payload: String) -> String {
    if combined { format!("{{\"stream\":\"{stream}\",\"data\":{payload}}}") } else { payload }
}

/// `!contractInfo` of the futures: now and then one of its own instruments, and one of COIN-M, which speaks on the same all-market
/// stream; a client filters by `st`.
#[derive(Debug)]
struct ContractInfo {
    dice: Dice,
    next_ms: u64,
}

impl Herald for ContractInfo {
    fn advance(&mut self, now: Now, symbols: &[&str], out: &mut Vec<Event>) {
        if now.run_ms < self.next_ms {
            return;
        }
        self.next_ms = now.run_ms + self.dice.range(8_000, 14_000) as u64;
        let symbol = symbols[self.dice.index(symbols.len())];
        out.push(info(symbol.into(), payload::contract_info(symbol, symbol, now.exchange_ms, 1)));
        out.push(info("".into(), payload::contract_info("BTCUSD_PERP", "BTCUSD", now.exchange_ms, 2)));
    }
}

fn info(symbol: Arc<str>, payload: String) -> Event {
    let streams = vec!["!contractInfo".to_owned()];
    Event { kind: Kind::ContractInfo, symbol, variant: "".into(), streams, payload, logged: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_name_their_kinds() {
        for (stream, kind) in [
            ("btcusdt@depth@0ms", Kind::Depth),
            ("btcusdt@depth5", Kind::Other),
            ("btcusdt@markPrice@1s", Kind::MarkPrice),
            ("btcusdt@kline_1m", Kind::Kline),
            ("!contractInfo", Kind::ContractInfo),
            ("btcusdt@agTrade", Kind::Other),
        ] {
            assert_eq!(kind_of(stream), kind, "{stream}");
        }
    }
}
