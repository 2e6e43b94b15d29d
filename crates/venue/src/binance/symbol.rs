//! The venue's spelling and our instruments.
//!
//! Native ids are upper-case without separator (`BTCUSDT`), lower-case inside stream names, and cannot be split by rule.
//! The text alone is ambiguous (`BTCUSDT` is spot and perpetual), so ids belong to one variant. Symbols are UTF-8:
//! the testnet has had `这是测试币456` (`web-socket-streams.md`, read 2026-11-20).

use wholetape_model::{InstrumentId, InstrumentIx, InstrumentKind};

use super::limits::Variant;
use crate::plan::PlanError;
use crate::symbols::{SymbolTable, percent_decode};

/// NautilusTrader's spelling of one instrument: USD-M perpetuals get `-PERP`, everything else keeps its symbol
/// (<https://nautilustrader.io/docs/latest/integrations/binance>, symbology, state 2026-07-02, read 2026-11-20).
/// Without a definition a USD-M symbol with a `_YYMMDD` tail counts as delivery contract.
#[must_use]
pub fn instrument_id(variant: Variant, symbol: &str, kind: Option<InstrumentKind>) -> InstrumentId {
    let venue = variant.facts().id_venue;
    let perpetual = variant == Variant::UsdM
        && match kind {
            Some(InstrumentKind::Perpetual) => true,
            Some(InstrumentKind::Future) => false,
            _ => !has_expiry(symbol),
        };
    if perpetual { InstrumentId::new(&format!("{symbol}-PERP"), venue) } else { InstrumentId::new(symbol, venue) }
}

/// The venue's spelling of one of our ids of this variant; the reverse of [`instrument_id`].
#[must_use]
pub fn symbol_of(variant: Variant, id: &InstrumentId) -> Option<String> {
    if id.venue() != variant.facts().id_venue {
        return None;
    }
    let symbol = percent_decode(id.symbol())?;
    match variant {
        Variant::UsdM => match symbol.strip_suffix("-PERP") {
            Some(native) => Some(native.to_owned()),
            None => has_expiry(&symbol).then_some(symbol),
        },
        // Every COIN-M contract has an underscore, and no spot pair has.
        Variant::CoinM => symbol.contains('_').then_some(symbol),
        Variant::Spot | Variant::Us => (!symbol.ends_with("-PERP") && !symbol.contains('_')).then_some(symbol),
    }
}

fn has_expiry(symbol: &str) -> bool {
    symbol.rsplit_once('_').is_some_and(|(_, tail)| tail.len() == 6 && tail.bytes().all(|b| b.is_ascii_digit()))
}

/// The table of a plan's symbols. A `/` separates stream names here, so no symbol holds one.
///
/// # Errors
/// [`PlanError`]: a symbol or index named twice, or none that a stream name could hold.
pub fn table(instruments: &[(InstrumentIx, String)]) -> Result<SymbolTable, PlanError> {
    match instruments.iter().find(|(_, symbol)| symbol.contains('/')) {
        Some((_, symbol)) => Err(PlanError::BadSymbol(symbol.clone())),
        None => SymbolTable::new(instruments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variant: Variant, symbol: &str, id: &str) {
        let ours = instrument_id(variant, symbol, None);
        assert_eq!(ours.as_str(), id);
        assert_eq!(symbol_of(variant, &ours).as_deref(), Some(symbol));
    }

    #[test]
    fn ids_are_nautilus_and_read_back() {
        check(Variant::Spot, "BTCUSDT", "BTCUSDT.BINANCE");
        check(Variant::UsdM, "BTCUSDT", "BTCUSDT-PERP.BINANCE");
        check(Variant::UsdM, "BTCUSDT_260626", "BTCUSDT_260626.BINANCE");
        check(Variant::CoinM, "BTCUSD_PERP", "BTCUSD_PERP.BINANCE");
        check(Variant::Us, "BTCUSDT", "BTCUSDT.BINANCE_US");
        check(Variant::Spot, "币456", "%E5%B8%81456.BINANCE");
    }

    #[test]
    fn what_separates_stream_names_is_no_symbol() {
        let refused = table(&[(0, "A".into()), (1, "A/B".into())]);
        assert_eq!(refused.err(), Some(PlanError::BadSymbol("A/B".into())));
    }

    #[test]
    fn an_id_belongs_to_one_variant() {
        let perp = InstrumentId::parse("BTCUSDT-PERP.BINANCE").unwrap();
        assert_eq!(symbol_of(Variant::Spot, &perp), None);
        assert_eq!(symbol_of(Variant::CoinM, &perp), None);
        assert_eq!(symbol_of(Variant::Us, &perp), None);
        assert_eq!(symbol_of(Variant::UsdM, &InstrumentId::parse("BTCUSDT.BINANCE").unwrap()), None);
    }
}
