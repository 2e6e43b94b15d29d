//! The venue's three spellings and our instruments.
//!
//! Sockets v2 write `BTC/USD`. Sockets v1 and REST's `wsname` write `XBT/USD`, REST's parameter is the same without the stroke
//! (`altname`, held against all 293 named pairs of a recorded answer). Only two assets have another name there: `XBT` and `XDG`. Our id is of
//! the v2 name, percent-encoded: `BTC%2FUSD.KRAKEN`.

use wholetape_model::InstrumentId;

use super::limits::ID_VENUE;
use crate::symbols::percent_decode;

/// Ours (v2), and that of REST and v1.
const NAMES: [(&str, &str); 2] = [("BTC", "XBT"), ("DOGE", "XDG")];

fn renamed(symbol: &str, name: impl Fn(&str) -> Option<&'static str>) -> String {
    let asset = |part| name(part).unwrap_or(part).to_owned();
    symbol.split('/').map(asset).collect::<Vec<_>>().join("/")
}

/// The v2 name of a pair that v1 or REST's `wsname` spells.
#[must_use]
pub fn modern(symbol: &str) -> String {
    renamed(symbol, |asset| NAMES.iter().find(|(_, old)| *old == asset).map(|(new, _)| *new))
}

/// REST's parameter for a pair in either spelling.
#[must_use]
pub fn pair(symbol: &str) -> String {
    renamed(symbol, |asset| NAMES.iter().find(|(new, _)| *new == asset).map(|(_, old)| *old)).replace('/', "")
}

/// Two assets and a stroke; tokenised stocks have small letters (`AAPLx/USD`).
#[must_use]
pub fn is_symbol(text: &str) -> bool {
    let asset = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    text.split_once('/').is_some_and(|(base, quote)| asset(base) && asset(quote))
}

#[must_use]
pub fn instrument_id(symbol: &str) -> InstrumentId {
    InstrumentId::new(&modern(symbol), ID_VENUE)
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

    #[test]
    fn two_assets_have_two_names() {
        assert_eq!((modern("XBT/USD"), pair("BTC/USD")), ("BTC/USD".into(), "XBTUSD".into()));
        assert_eq!((modern("ADA/XBT"), pair("ADA/BTC")), ("ADA/BTC".into(), "ADAXBT".into()));
        assert_eq!((modern("XDG/EUR"), pair("XDG/EUR")), ("DOGE/EUR".into(), "XDGEUR".into()));
        assert_eq!(pair("AAPLx/USD"), "AAPLxUSD");
    }

    #[test]
    fn either_spelling_is_one_instrument() {
        for symbol in ["XBT/USD", "BTC/USD"] {
            let id = instrument_id(symbol);
            assert_eq!(id.as_str(), "BTC%2FUSD.KRAKEN");
            assert_eq!(symbol_of(&id).as_deref(), Some("BTC/USD"));
        }
        assert_eq!(symbol_of(&InstrumentId::parse("BTC-USDT.OKX").unwrap()), None);
    }

    #[test]
    fn symbols_have_a_stroke() {
        assert!(["BTC/USD", "AAPLx/USD", "1INCH/EUR"].iter().all(|s| is_symbol(s)));
        assert!(["BTCUSD", "/USD", "BTC/", "BTC/U SD", "A/B/C", ""].iter().all(|s| !is_symbol(s)));
    }
}
