//! Requests, their weights, and what their replies mean.
//!
//! Weights are data of [`super::limits`]. A reply is matched by the [`FetchId`] of its request, since most bodies name
//! no symbol.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use wholetape_model::{
    Body, Decimal, InstrumentDef, InstrumentIx, InstrumentKind, Kind, NO_INSTRUMENT, Status, TradeCondition,
    TradingStatus, Ts,
};

use super::Binance;
use super::decode::{agg_parts, push, trading_status};
use super::emit::{self, TradeParts, venue_time};
use super::frame::{AggTradeFrame, ExchangeInfo, OpenInterest, RestTrade, ServerTime, SymbolInfo, SymbolName};
use super::limits::{Facts, Variant};
use crate::error::ProtocolError;
use crate::history::{ById, TradeHistory};
use crate::json::text::{Piece, Text, decimal};
use crate::session::{FetchId, FetchKind, Out, Request, Want};
use crate::symbols::{percent_decode, percent_encode};

/// The largest page of trades at every variant.
const PAGE_MAX: u64 = 1000;
/// More symbols than this are cheaper asked for all together.
const BY_SYMBOLS_MAX: usize = 20;

impl Binance {
    /// Whether trades are fetched as single matches: only where nothing else is recorded.
    fn raw_only(&self) -> bool {
        use crate::plan::Channel;
        self.channels.contains(&Channel::TradeRaw) && !self.channels.contains(&Channel::Trade)
    }

    pub(super) fn make_request(&self, want: Want) -> Option<Request> {
        let facts = self.variant.facts();
        let prefix = facts.rest_prefix;
        let symbol = || self.symbols.symbol(want.instrument).map(percent_encode);
        let (path, weight) = match want.kind {
            FetchKind::BookSnapshot => {
                let (limit, weight) = facts.depth_weight(self.depth_limit);
                (format!("{prefix}/depth?symbol={}&limit={limit}", symbol()?), weight)
            }
            FetchKind::TradesFrom if self.raw_only() => (
                format!(
                    "{prefix}/historicalTrades?symbol={}&fromId={}&limit={}",
                    symbol()?,
                    want.arg,
                    // Futures give at most 500 single matches a page.
                    if self.variant.is_futures() { PAGE_MAX / 2 } else { PAGE_MAX }
                ),
                facts.historical_trades_weight?,
            ),
            FetchKind::TradesFrom => (
                format!("{prefix}/aggTrades?symbol={}&fromId={}&limit={PAGE_MAX}", symbol()?, want.arg),
                facts.agg_trades_weight,
            ),
            // Single matches have no search by time. Futures: a span with both ends must be shorter than an hour.
            FetchKind::TradesAt if self.raw_only() => return None,
            FetchKind::TradesAt => {
                let end = match self.time_window() {
                    Some(window) => {
                        let span = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                        format!("&endTime={}", want.arg.saturating_add(span))
                    }
                    None => String::new(),
                };
                let path =
                    format!("{prefix}/aggTrades?symbol={}&startTime={}{end}&limit={PAGE_MAX}", symbol()?, want.arg);
                (path, facts.agg_trades_weight)
            }
            FetchKind::NewestTrades => {
                let limit = want.arg.clamp(1, PAGE_MAX);
                let (what, weight) = if self.raw_only() {
                    ("trades", facts.trades_weight)
                } else {
                    ("aggTrades", facts.agg_trades_weight)
                };
                (format!("{prefix}/{what}?symbol={}&limit={limit}", symbol()?), weight)
            }
            FetchKind::OpenInterest if self.variant.is_futures() => {
                (format!("{prefix}/openInterest?symbol={}", symbol()?), 1)
            }
            FetchKind::OpenInterest => return None,
            FetchKind::Instruments => (self.exchange_info_path(facts), facts.exchange_info_weight),
            FetchKind::ServerTime => (format!("{prefix}/time"), facts.time_weight),
        };
        Some(Request { path, weight })
    }

    /// Futures refuse a span of an hour or more between `startTime` and `endTime` (error -1127).
    fn time_window(&self) -> Option<Duration> {
        self.variant.is_futures().then_some(Duration::from_secs(59 * 60))
    }

    /// Spot answers from any id that it still has (no end is documented); futures keep aggregates for a day, single
    /// matches for a month, and leave off-book prints out of both.
    pub(super) fn past_trades(&self) -> TradeHistory {
        let (futures, raw) = (self.variant.is_futures(), self.raw_only());
        if raw && self.variant.facts().historical_trades_weight.is_none() {
            return TradeHistory::Impossible { consecutive: true };
        }
        let day = Duration::from_secs(86_400);
        TradeHistory::ById(ById {
            page_max: if raw && futures { PAGE_MAX / 2 } else { PAGE_MAX },
            reach: futures.then_some(if raw { day * 30 } else { day }),
            window: self.time_window(),
            by_time: !raw,
            edge_before: false,
            omits: if futures { "INSURANCE_FUND and ADL prints" } else { "" },
        })
    }

    /// All spot symbols are some 15 MB; a few are asked for by name where the venue takes names.
    fn exchange_info_path(&self, facts: &Facts) -> String {
        let names: Vec<String> =
            self.symbols.iter().map(|(_, symbol)| format!("%22{}%22", percent_encode(symbol))).collect();
        if facts.exchange_info_by_symbols && (1..=BY_SYMBOLS_MAX).contains(&names.len()) {
            format!("{}/exchangeInfo?symbols=%5B{}%5D", facts.rest_prefix, names.join(","))
        } else {
            format!("{}/exchangeInfo", facts.rest_prefix)
        }
    }

    pub(super) fn recorded(&mut self, url: &str) -> Option<FetchId> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let last = path.trim_end_matches('/').rsplit('/').next()?;
        let param = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        let kind = match last {
            "depth" => FetchKind::BookSnapshot,
            "aggTrades" | "historicalTrades" if param("fromId").is_some() => FetchKind::TradesFrom,
            "aggTrades" if param("startTime").is_some() => FetchKind::TradesAt,
            "aggTrades" | "historicalTrades" | "trades" => FetchKind::NewestTrades,
            "openInterest" => FetchKind::OpenInterest,
            "exchangeInfo" => FetchKind::Instruments,
            "time" => FetchKind::ServerTime,
            _ => return None,
        };
        let instrument = match kind {
            FetchKind::Instruments | FetchKind::ServerTime => NO_INSTRUMENT,
            _ => {
                let symbol = percent_decode(param("symbol")?)?;
                if self.discover { self.symbols.find_or_add(&symbol)? } else { self.symbols.find(&symbol)? }
            }
        };
        let arg = param(match kind {
            FetchKind::TradesFrom => "fromId",
            FetchKind::TradesAt => "startTime",
            _ => "limit",
        });
        let arg = match kind {
            FetchKind::TradesFrom | FetchKind::TradesAt | FetchKind::NewestTrades => {
                arg.and_then(|v| v.parse().ok()).unwrap_or(0)
            }
            _ => 0,
        };
        Some(FetchId { kind, instrument, arg })
    }

    /// The meaning of one reply with status 200.
    pub(super) fn reply(&mut self, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        let what = name(id.kind);
        let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
        let piece = Piece { text, at: 0 };
        let done = match id.kind {
            FetchKind::BookSnapshot => self.snapshot(what, id.instrument, piece, out),
            FetchKind::TradesFrom | FetchKind::TradesAt | FetchKind::NewestTrades => {
                trades(what, id.instrument, piece, out)
            }
            FetchKind::OpenInterest => open_interest(what, id.instrument, piece, out),
            FetchKind::Instruments => self.definitions(what, piece, out),
            FetchKind::ServerTime => piece.parse::<ServerTime>(what).map(drop),
        };
        done.map_err(|e| match e {
            ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
            other => other,
        })?;
        self.reading.stats.count(what);
        Ok(())
    }

    /// Definitions of our own instruments, told when they are new or changed. Other symbols are passed over, also where
    /// symbols are discovered: thousands that nobody trades in a recording would be of no use.
    fn definitions(&mut self, what: &'static str, piece: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let info: ExchangeInfo<'_> = piece.parse(what)?;
        let time = info.server_time.map_or(Ts::ZERO, venue_time);
        for raw in &info.symbols {
            let raw = raw.as_raw_cow();
            let one = Piece { text: &raw, at: 0 };
            let named: SymbolName<'_> = one.parse(what)?;
            let Some(ix) = self.symbols.find(named.symbol.as_str()) else { continue };
            let symbol: SymbolInfo<'_> = one.parse(what)?;
            self.definition(what, ix, time, &symbol, &raw, out)?;
        }
        Ok(())
    }

    fn definition(
        &mut self,
        what: &'static str,
        ix: InstrumentIx,
        time: Ts,
        symbol: &SymbolInfo<'_>,
        raw: &str,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let def = define(self.variant, what, symbol)?;
        let status_text = def.status_text;
        let mark = fingerprint(&def);
        if self.seen.len() <= ix as usize {
            self.seen.resize(ix as usize + 1, None);
        }
        let before = self.seen[ix as usize].replace(mark);
        if before.is_none_or(|b| b.whole != mark.whole) {
            let spans = InstrumentDef {
                kind: def.kind,
                status: def.status,
                tick: def.tick,
                step: def.step,
                size_min: def.size_min,
                size_max: def.size_max,
                notional_min: def.notional_min,
                multiplier: def.multiplier,
                onboard: def.onboard,
                expiry: def.expiry,
                symbol: out.arena.text(def.symbol),
                base: out.arena.text(def.base),
                quote: out.arena.text(def.quote),
                settle: out.arena.text(def.settle),
                status_text: out.arena.text(def.status_text),
            };
            push(out, ix, Kind::Instrument, time, Body::Instrument(spans));
        }
        if before.is_none_or(|b| b.status != mark.status) {
            let text = out.arena.text(status_text);
            push(out, ix, Kind::Status, time, Body::Status(Status { status: def.status, text }));
            if def.status == TradingStatus::Unknown {
                self.reading.unknown("exchangeInfo status", raw, out);
            }
        }
        Ok(())
    }
}

/// What was last told of one instrument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    whole: u64,
    status: u64,
}

fn fingerprint(def: &InstrumentDef<&str>) -> Told {
    let mut h = DefaultHasher::new();
    (def.kind, def.tick, def.step, def.size_min, def.size_max, def.notional_min, def.multiplier).hash(&mut h);
    (def.onboard, def.expiry, def.symbol, def.base, def.quote, def.settle, def.status_text).hash(&mut h);
    let mut s = DefaultHasher::new();
    def.status_text.hash(&mut s);
    Told { whole: h.finish(), status: s.finish() }
}

/// Every symbol that an `exchangeInfo` body lists, in its order.
pub fn listed(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    let what = name(FetchKind::Instruments);
    let text = std::str::from_utf8(body).map_err(|_| ProtocolError::BadReply { what, why: "not utf-8" })?;
    let bad = |e| match e {
        ProtocolError::Malformed { why, .. } => ProtocolError::BadReply { what, why },
        other => other,
    };
    let info: ExchangeInfo<'_> = Piece { text, at: 0 }.parse(what).map_err(bad)?;
    let symbol = |raw: &sonic_rs::LazyValue<'_>| -> Result<String, ProtocolError> {
        let raw = raw.as_raw_cow();
        let named: SymbolName<'_> = Piece { text: &raw, at: 0 }.parse(what).map_err(bad)?;
        Ok(named.symbol.as_str().to_owned())
    };
    info.symbols.iter().map(symbol).collect()
}

/// Reply names double as the counters' channel names (`depth_snapshot`, `exchangeInfo` as in the recordings' truth).
pub(super) const fn name(kind: FetchKind) -> &'static str {
    match kind {
        FetchKind::BookSnapshot => "depth_snapshot",
        FetchKind::TradesFrom => "trades_page",
        FetchKind::NewestTrades => "newest_trades",
        FetchKind::TradesAt => "trades_at",
        FetchKind::OpenInterest => "openInterest",
        FetchKind::Instruments => "exchangeInfo",
        FetchKind::ServerTime => "time",
    }
}

#[derive(Deserialize)]
struct TradePeek {
    #[serde(default)]
    a: Option<IgnoredAny>,
}

/// A page of `aggTrades`, or of `trades`/`historicalTrades`: told apart by the elements themselves, since recordings hold
/// either.
fn trades(what: &'static str, ix: InstrumentIx, piece: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
    let peek: Vec<TradePeek> = piece.parse(what)?;
    if peek.first().is_none_or(|p| p.a.is_some()) {
        for f in piece.parse::<Vec<AggTradeFrame<'_>>>(what)? {
            let (price, size) = (decimal(what, "p", &f.p)?, decimal(what, "q", &f.q)?);
            emit::trade(&mut out.events, ix, &agg_parts(&f, price, size));
        }
        return Ok(());
    }
    for f in piece.parse::<Vec<RestTrade<'_>>>(what)? {
        let parts = TradeParts {
            kind: Kind::TradeRaw,
            id: f.id,
            first_id: f.id,
            last_id: f.id,
            price: decimal(what, "price", &f.price)?,
            size: decimal(what, "qty", &f.qty)?,
            time: f.time,
            buyer_is_maker: f.is_buyer_maker,
            condition: if f.is_rpi { TradeCondition::Rpi } else { TradeCondition::Regular },
        };
        emit::trade(&mut out.events, ix, &parts);
    }
    Ok(())
}

/// COIN-M answers with one object like USD-M (size in contracts).
fn open_interest(what: &'static str, ix: InstrumentIx, piece: Piece<'_>, out: &mut Out) -> Result<(), ProtocolError> {
    let f: OpenInterest<'_> = piece.parse(what)?;
    let value = decimal(what, "openInterest", &f.open_interest)?;
    push(out, ix, Kind::OpenInterest, f.time.map_or(Ts::ZERO, venue_time), Body::OpenInterest(value));
    Ok(())
}

/// Tick and step come from the filters: `pricePrecision` and `quantityPrecision` are no tick and step
/// (USD-M exchangeInfo documents, read 2026-11-20).
fn define<'a>(
    variant: Variant,
    what: &'static str,
    s: &'a SymbolInfo<'_>,
) -> Result<InstrumentDef<&'a str>, ProtocolError> {
    let of = |name: &str| s.filters.iter().find(|f| f.filter_type.as_str() == name);
    let number = |text: Option<&Text<'_>>| match text {
        Some(text) => decimal(what, "filter", text).map(Decimal::canonical),
        None => Ok(Decimal::ZERO),
    };
    let (price, lot) = (of("PRICE_FILTER"), of("LOT_SIZE"));
    let notional = of("NOTIONAL").or_else(|| of("MIN_NOTIONAL"));
    let word = s.status.as_ref().or(s.contract_status.as_ref()).map_or("", Text::as_str);
    let future = |perpetual, dated| match s.contract_type.as_ref().map_or("", Text::as_str) {
        "PERPETUAL" | "TRADIFI_PERPETUAL" | "PERPETUAL_DELIVERING" => perpetual,
        t if t.ends_with("QUARTER") || t.starts_with("CURRENT_") || t.starts_with("NEXT_") => dated,
        _ => InstrumentKind::Other,
    };
    let kind = match variant {
        Variant::Spot | Variant::Us => InstrumentKind::Spot,
        Variant::UsdM => future(InstrumentKind::Perpetual, InstrumentKind::Future),
        Variant::CoinM => future(InstrumentKind::InversePerpetual, InstrumentKind::InverseFuture),
    };
    // A perpetual's delivery date is a placeholder in the year 2100.
    let dated = matches!(kind, InstrumentKind::Future | InstrumentKind::InverseFuture);
    Ok(InstrumentDef {
        kind,
        status: trading_status(word),
        tick: number(price.and_then(|f| f.tick_size.as_ref()))?,
        step: number(lot.and_then(|f| f.step_size.as_ref()))?,
        size_min: number(lot.and_then(|f| f.min_qty.as_ref()))?,
        size_max: number(lot.and_then(|f| f.max_qty.as_ref()))?,
        notional_min: number(notional.and_then(|f| f.min_notional.as_ref().or(f.notional.as_ref())))?,
        multiplier: Decimal::new(s.contract_size.unwrap_or(1), 0),
        onboard: s.onboard_date.map_or(Ts::ZERO, venue_time),
        expiry: s.delivery_date.filter(|_| dated).map_or(Ts::ZERO, venue_time),
        symbol: s.symbol.as_str(),
        base: s.base_asset.as_str(),
        quote: s.quote_asset.as_str(),
        settle: s.margin_asset.as_ref().map_or_else(|| s.quote_asset.as_str(), Text::as_str),
        status_text: word,
    })
}
