//! `exchangeInfo`: the generator's instruments, or what a recording holds or lets us infer.

use std::fmt::Write as _;

use crate::binance::Replay;
use crate::config::{Spec, VenueKind};
use crate::decimal;
use crate::event::Kind;
use crate::venue::Inner;
use crate::world::World;

/// One symbol's entry.
struct Entry {
    symbol: String,
    base: String,
    quote: String,
    tick: String,
    step: String,
}

/// The whole body; `only` asks for one symbol.
pub(super) fn body(inner: &Inner, kind: VenueKind, limit: u32, exchange_ms: i64, only: Option<&str>) -> String {
    let entries: Vec<Entry> = match &inner.world {
        World::Generated(generator) => {
            generator.markets.iter().filter(|m| m.listed).map(|market| generated(market.spec())).collect()
        }
        World::Streamed(_) => Vec::new(),
        World::Recorded(replay) => {
            if let (Some(body), None) = (&replay.exchange_info, only) {
                return body.clone();
            }
            replay.symbols().into_iter().map(|symbol| inferred(replay, symbol)).collect()
        }
    };
    let mut text = format!(
        r#"{{"timezone":"UTC","serverTime":{exchange_ms},"rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{limit}}}],"exchangeFilters":[],"symbols":["#
    );
    let wanted = entries.iter().filter(|entry| only.is_none_or(|symbol| symbol == entry.symbol));
    for (at, entry) in wanted.enumerate() {
        if at > 0 {
            text.push(',');
        }
        push(&mut text, kind, entry);
    }
    text.push_str("]}");
    text
}

fn generated(spec: &Spec) -> Entry {
    Entry {
        symbol: spec.config.symbol.clone(),
        base: spec.config.base.clone(),
        quote: spec.config.quote.clone(),
        tick: decimal::fixed(spec.tick_units.into(), spec.price_scale),
        step: decimal::fixed(spec.step_units.into(), spec.size_scale),
    }
}

/// Grid and assets of a recorded symbol that no recorded `exchangeInfo` describes: the finest decimals it ever used, and the
/// split that the usual quote assets suggest.
fn inferred(replay: &Replay, symbol: String) -> Entry {
    let (mut price, mut size) = (0, 0);
    if let Some(book) = replay.book(&symbol, usize::MAX) {
        for (p, q) in book.bids.iter().chain(&book.asks) {
            price = price.max(decimals_of(p));
            size = size.max(decimals_of(q));
        }
    }
    for payload in replay.payloads(&symbol, Kind::Trade).chain(replay.payloads(&symbol, Kind::AggTrade)).take(2_000) {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(payload) {
            price = price.max(value["p"].as_str().map_or(0, decimals_of));
            size = size.max(value["q"].as_str().map_or(0, decimals_of));
        }
    }
    let pair = symbol.split('_').next().unwrap_or_default().to_owned();
    let quotes = ["USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "BTC", "ETH", "BNB"];
    let quote =
        quotes.iter().find(|quote| pair.len() > quote.len() && pair.ends_with(**quote)).copied().unwrap_or_default();
    let base = pair[..pair.len() - quote.len()].to_owned();
    Entry { symbol, base, quote: quote.to_owned(), tick: decimal::fixed(1, price), step: decimal::fixed(1, size) }
}

fn decimals_of(text: &str) -> u32 {
    decimal::decimals(text)
}

fn push(text: &mut String, kind: VenueKind, entry: &Entry) {
    let Entry { symbol, base, quote, tick, step } = entry;
    let price_filter = format!(
        r#"{{"filterType":"PRICE_FILTER","minPrice":"{tick}","maxPrice":"1000000.00000000","tickSize":"{tick}"}}"#
    );
    let lot_filter =
        format!(r#"{{"filterType":"LOT_SIZE","minQty":"{step}","maxQty":"9000000.00000000","stepSize":"{step}"}}"#);
    let _ = if kind.is_spot() {
        write!(
            text,
            r#"{{"symbol":"{symbol}","status":"TRADING","baseAsset":"{base}","baseAssetPrecision":8,"quoteAsset":"{quote}","quotePrecision":8,"quoteAssetPrecision":8,"orderTypes":["LIMIT","LIMIT_MAKER","MARKET"],"isSpotTradingAllowed":true,"filters":[{price_filter},{lot_filter},{{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5}}],"permissions":[],"permissionSets":[["SPOT"]]}}"#
        )
    } else {
        // COIN-M says `contractStatus` and gives the contract's worth.
        let coinm = kind == VenueKind::BinanceCoinm;
        let (status, margin) = if coinm { ("contractStatus", base) } else { ("status", quote) };
        let size = if coinm { r#""contractSize":100,"# } else { "" };
        let contract = if symbol.contains('_') && !symbol.ends_with("_PERP") { "CURRENT_QUARTER" } else { "PERPETUAL" };
        write!(
            text,
            r#"{{"symbol":"{symbol}","pair":"{base}{quote}","contractType":"{contract}","deliveryDate":4133404800000,"onboardDate":1569398400000,"{status}":"TRADING",{size}"baseAsset":"{base}","quoteAsset":"{quote}","marginAsset":"{margin}","pricePrecision":8,"quantityPrecision":8,"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"COIN","underlyingSubType":[],"triggerProtect":"0.0500","liquidationFee":"0.012500","marketTakeBound":"0.05","filters":[{price_filter},{lot_filter},{{"filterType":"MIN_NOTIONAL","notional":"5"}}],"orderTypes":["LIMIT","MARKET"],"timeInForce":["GTC","IOC","FOK","GTX"]}}"#
        )
    };
}
