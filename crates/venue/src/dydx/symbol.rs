//! The venue's spelling and our instruments.
//!
//! Every market is a linear perpetual in USDC. Our id is the ticker with `-PERP` behind it, as NautilusTrader has it. Tickers of
//! permissionless markets hold commas and the address of a coin (`AAA,RAYDIUM,9BB6NF…pump-USD`).

use wholetape_model::InstrumentId;

use super::limits::ID_VENUE;
use crate::symbols::percent_decode;

const SUFFIX: &str = "-PERP";

#[must_use]
pub fn instrument_id(symbol: &str) -> InstrumentId {
    InstrumentId::new(&format!("{symbol}{SUFFIX}"), ID_VENUE)
}

/// The reverse of [`instrument_id`].
#[must_use]
pub fn symbol_of(id: &InstrumentId) -> Option<String> {
    if id.venue() != ID_VENUE {
        return None;
    }
    percent_decode(id.symbol().strip_suffix(SUFFIX)?)
}

/// Base and quote, which no definition names: `BTC-USD`.
#[must_use]
pub fn parts(symbol: &str) -> (&str, &str) {
    symbol.rsplit_once('-').unwrap_or((symbol, ""))
}

#[must_use]
pub fn is_symbol(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/@?&\"\\".contains(c);
    !text.is_empty() && !text.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(symbol: &str, id: &str, base: &str) {
        let ours = instrument_id(symbol);
        assert_eq!(ours.as_str(), id);
        assert_eq!(symbol_of(&ours).as_deref(), Some(symbol));
        assert_eq!(parts(symbol), (base, "USD"));
        assert!(is_symbol(symbol));
    }

    #[test]
    fn ids_read_back() {
        check("BTC-USD", "BTC-USD-PERP.DYDX", "BTC");
        let long = "AAA,RAYDIUM,9BB6NFEcjBCtnNLFko2FqVQBq8HHM13kCyYcdQbgpump-USD";
        check(long, &format!("{}-PERP.DYDX", long.replace(',', "%2C")), long.trim_end_matches("-USD"));
    }

    #[test]
    fn other_ids_are_not_ours() {
        for id in ["BTCUSDT.BINANCE", "BTC-USDT-SWAP.OKX", "BTC-USD.DYDX"] {
            assert_eq!(symbol_of(&InstrumentId::parse(id).unwrap()), None);
        }
        assert!(!is_symbol("BTC/USD") && !is_symbol("") && !is_symbol("A B"));
    }
}
