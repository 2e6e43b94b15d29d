//! The venue's spelling and our instruments.
//!
//! OKX names are unique over its products: `BTC-USDT` is spot, `BTC-USDT-SWAP` the perpetual, `BTC-USD-251226` a dated future, so our id
//! is the name with `.OKX` behind it, as NautilusTrader has it. What is what is told by the definition; its spelling only chooses how a
//! channel is asked for, before any definition is there.

use wholetape_model::{InstrumentId, InstrumentKind};

use super::limits::ID_VENUE;
use crate::symbols::percent_decode;

/// OKX's `instType`, by which some channels and the definitions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    Spot,
    Swap,
    Futures,
    Option,
}

impl Product {
    pub const ALL: [Self; 4] = [Self::Spot, Self::Swap, Self::Futures, Self::Option];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "SPOT",
            Self::Swap => "SWAP",
            Self::Futures => "FUTURES",
            Self::Option => "OPTION",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }

    /// By the spelling: `-SWAP` is perpetual, a third part of digits is dated, more parts are an option.
    #[must_use]
    pub fn of(symbol: &str) -> Self {
        let mut parts = symbol.split('-').skip(2);
        match (parts.next(), parts.next()) {
            (None, _) => Self::Spot,
            (Some("SWAP"), None) => Self::Swap,
            (Some(_), None) => Self::Futures,
            (Some(_), Some(_)) => Self::Option,
        }
    }

    /// What is forced or charged there: liquidations, mark prices, open interest.
    #[must_use]
    pub const fn is_derivative(self) -> bool {
        !matches!(self, Self::Spot)
    }

    #[must_use]
    pub const fn kind(self, inverse: bool, dated: bool) -> InstrumentKind {
        match (self, inverse) {
            (Self::Spot, _) => InstrumentKind::Spot,
            (Self::Option, _) => InstrumentKind::Other,
            // A future without expiry is a perpetual (X-Perps).
            (Self::Futures, false) if dated => InstrumentKind::Future,
            (Self::Futures, true) if dated => InstrumentKind::InverseFuture,
            (Self::Swap | Self::Futures, false) => InstrumentKind::Perpetual,
            (Self::Swap | Self::Futures, true) => InstrumentKind::InversePerpetual,
        }
    }
}

/// The index that a derivative's price stands on: `BTC-USDT` of `BTC-USDT-SWAP`.
#[must_use]
pub fn index_of(symbol: &str) -> &str {
    match symbol.match_indices('-').nth(1) {
        Some((at, _)) => &symbol[..at],
        None => symbol,
    }
}

#[must_use]
pub fn instrument_id(symbol: &str) -> InstrumentId {
    InstrumentId::new(symbol, ID_VENUE)
}

/// The reverse of [`instrument_id`].
#[must_use]
pub fn symbol_of(id: &InstrumentId) -> Option<String> {
    if id.venue() != ID_VENUE {
        return None;
    }
    percent_decode(id.symbol())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(symbol: &str, product: Product, index: &str) {
        assert_eq!((Product::of(symbol), index_of(symbol)), (product, index));
        let id = instrument_id(symbol);
        assert_eq!(id.as_str(), format!("{symbol}.OKX"));
        assert_eq!(symbol_of(&id).as_deref(), Some(symbol));
    }

    #[test]
    fn the_spelling_tells_the_product() {
        check("BTC-USDT", Product::Spot, "BTC-USDT");
        check("BTC-USDT-SWAP", Product::Swap, "BTC-USDT");
        check("BTC-USD-251226", Product::Futures, "BTC-USD");
        check("BTC-USD-210924-66000-C", Product::Option, "BTC-USD");
        for product in Product::ALL {
            assert_eq!(Product::parse(product.as_str()), Some(product));
        }
    }

    #[test]
    fn other_venues_ids_are_not_ours() {
        assert_eq!(symbol_of(&InstrumentId::parse("BTCUSDT.BINANCE").unwrap()), None);
    }

    #[test]
    fn a_future_without_expiry_is_a_perpetual() {
        assert_eq!(Product::Futures.kind(false, false), InstrumentKind::Perpetual);
        assert_eq!(Product::Futures.kind(true, true), InstrumentKind::InverseFuture);
        assert_eq!(Product::Swap.kind(true, false), InstrumentKind::InversePerpetual);
    }
}
