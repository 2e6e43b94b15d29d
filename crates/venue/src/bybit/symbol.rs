//! The venue's spelling and our instruments.
//!
//! The same name is another instrument in each market (`BTCUSDT` is a spot pair and a perpetual), so our ids carry the market, as
//! NautilusTrader has it: `BTCUSDT-SPOT.BYBIT`, `BTCUSDT-LINEAR.BYBIT`, `BTCUSD-INVERSE.BYBIT`
//! (<https://nautilustrader.io/docs/latest/integrations/bybit>, symbology, read 2026-11-20). Names are never parsed: what is what is told by
//! the definition (`1000PEPEUSDT`, `BTCPERP`, `BTC-26DEC25`).

use wholetape_model::{InstrumentId, InstrumentKind};

use super::limits::{ID_VENUE, Market};
use crate::symbols::percent_decode;

const fn suffix(market: Market) -> &'static str {
    match market {
        Market::Spot => "-SPOT",
        Market::Linear => "-LINEAR",
        Market::Inverse => "-INVERSE",
    }
}

#[must_use]
pub fn instrument_id(market: Market, symbol: &str) -> InstrumentId {
    InstrumentId::new(&format!("{symbol}{}", suffix(market)), ID_VENUE)
}

/// The reverse of [`instrument_id`].
#[must_use]
pub fn symbol_of(market: Market, id: &InstrumentId) -> Option<String> {
    if id.venue() != ID_VENUE {
        return None;
    }
    percent_decode(id.symbol())?.strip_suffix(suffix(market)).filter(|s| !s.is_empty()).map(str::to_owned)
}

/// `contractType` of a definition; a spot pair has none.
#[must_use]
pub(super) fn kind(market: Market, contract: &str) -> InstrumentKind {
    match (market, contract) {
        (Market::Spot, _) => InstrumentKind::Spot,
        (_, "LinearPerpetual") => InstrumentKind::Perpetual,
        (_, "LinearFutures") => InstrumentKind::Future,
        (_, "InversePerpetual") => InstrumentKind::InversePerpetual,
        (_, "InverseFutures") => InstrumentKind::InverseFuture,
        _ => InstrumentKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_another_instrument_in_each_market() {
        let ids = Market::ALL.map(|m| instrument_id(m, "BTCUSDT"));
        assert_eq!(
            ids.each_ref().map(InstrumentId::as_str),
            ["BTCUSDT-SPOT.BYBIT", "BTCUSDT-LINEAR.BYBIT", "BTCUSDT-INVERSE.BYBIT"]
        );
        for (at, id) in ids.iter().enumerate() {
            for (other, market) in Market::ALL.into_iter().enumerate() {
                assert_eq!(symbol_of(market, id).as_deref(), (at == other).then_some("BTCUSDT"));
            }
        }
    }

    #[test]
    fn dated_names_read_back_and_other_venues_ids_are_not_ours() {
        let id = instrument_id(Market::Linear, "BTC-26DEC25");
        assert_eq!(symbol_of(Market::Linear, &id).as_deref(), Some("BTC-26DEC25"));
        assert_eq!(symbol_of(Market::Spot, &InstrumentId::parse("BTCUSDT.BINANCE").unwrap()), None);
        assert_eq!(symbol_of(Market::Spot, &InstrumentId::parse("-SPOT.BYBIT").unwrap()), None);
    }
}
