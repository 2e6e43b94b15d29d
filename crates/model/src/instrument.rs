//! Instrument ids (NautilusTrader's spelling) and point-in-time definitions.

use std::fmt;
use std::sync::Arc;

use crate::Decimal;
use crate::event::TradingStatus;

/// The position of an instrument in its line's table; meaningless outside that line.
pub type InstrumentIx = u32;
/// Stands where an event speaks of no single instrument.
pub const NO_INSTRUMENT: InstrumentIx = u32::MAX;

/// `BTCUSDT-PERP.BINANCE`: symbol, then the last dot, then the venue. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(Arc<str>);

/// Why a text is no name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{0}` has no venue: write SYMBOL.VENUE")]
    NoVenue(String),
    #[error("`{0}` has no kind: write KIND.SYMBOL.VENUE")]
    NoKind(String),
    #[error("`{0}` is no event kind")]
    UnknownKind(String),
    #[error("`{0}` is longer than 128 bytes")]
    TooLong(String),
}

impl InstrumentId {
    /// Builds the id of `symbol` at `venue`; characters outside `[A-Za-z0-9_-]` are percent-encoded (as UTF-8).
    #[must_use]
    pub fn new(symbol: &str, venue: &str) -> Self {
        let mut s = String::with_capacity(symbol.len() + venue.len() + 1);
        percent_encode(symbol, &mut s);
        s.push('.');
        percent_encode(venue, &mut s);
        Self(s.into())
    }

    /// Reads an id that is already in our spelling.
    ///
    /// # Errors
    /// [`NameError::NoVenue`], [`NameError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > 120 {
            return Err(NameError::TooLong(text.into()));
        }
        match text.rsplit_once('.') {
            Some((symbol, venue)) if !symbol.is_empty() && !venue.is_empty() => Ok(Self(text.into())),
            _ => Err(NameError::NoVenue(text.into())),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn symbol(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(s, _)| s)
    }

    #[must_use]
    pub fn venue(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, v)| v)
    }
}

fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// What was percent-encoded; `None` for what is no UTF-8 text.
#[must_use]
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'%' {
            let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok())?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(b);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for InstrumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstrumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InstrumentKind {
    Spot = 1,
    Perpetual = 2,
    Future = 3,
    InversePerpetual = 4,
    InverseFuture = 5,
    Other = 255,
}

impl InstrumentKind {
    #[must_use]
    pub const fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Spot,
            2 => Self::Perpetual,
            3 => Self::Future,
            4 => Self::InversePerpetual,
            5 => Self::InverseFuture,
            _ => Self::Other,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perpetual => "perpetual",
            Self::Future => "future",
            Self::InversePerpetual => "inverse_perpetual",
            Self::InverseFuture => "inverse_future",
            Self::Other => "other",
        }
    }
}

/// A definition as the venue stated it at the event's time. A rule of `0` means that the venue states none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstrumentDef<T> {
    pub kind: InstrumentKind,
    pub status: TradingStatus,
    /// Price step, quote units.
    pub tick: Decimal,
    /// Size step, the instrument's size unit.
    pub step: Decimal,
    pub size_min: Decimal,
    pub size_max: Decimal,
    /// Smallest `price × size` of an order, quote units.
    pub notional_min: Decimal,
    /// Size of one contract in its unit (base; USD for inverse); 1 where size is in base.
    pub multiplier: Decimal,
    /// Listing and expiry, ns; `Ts::ZERO` = none.
    pub onboard: crate::Ts,
    pub expiry: crate::Ts,
    /// The venue's own spelling, then base, quote and settlement assets.
    pub symbol: T,
    pub base: T,
    pub quote: T,
    pub settle: T,
    /// The venue's own word for the status.
    pub status_text: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_last_dot() {
        let id = InstrumentId::parse("BTCUSDT-PERP.BINANCE").unwrap();
        assert_eq!((id.symbol(), id.venue()), ("BTCUSDT-PERP", "BINANCE"));
        assert_eq!(InstrumentId::parse("BTCUSDT"), Err(NameError::NoVenue("BTCUSDT".into())));
        assert_eq!(InstrumentId::parse(".X"), Err(NameError::NoVenue(".X".into())));
    }

    #[test]
    fn odd_characters_are_percent_encoded() {
        assert_eq!(InstrumentId::new("PURR/USDC", "HYPERLIQUID").as_str(), "PURR%2FUSDC.HYPERLIQUID");
        assert_eq!(InstrumentId::new("币A", "BINANCE").as_str(), "%E5%B8%81A.BINANCE");
        assert_eq!(InstrumentId::new("A.B", "V").as_str(), "A%2EB.V");
        assert_eq!(percent_decode("PURR%2FUSDC.HYPERLIQUID").as_deref(), Some("PURR/USDC.HYPERLIQUID"));
        assert_eq!(percent_decode("%E5%B8%81A.BINANCE").as_deref(), Some("币A.BINANCE"));
        assert_eq!((percent_decode("%FF"), percent_decode("%2"), percent_decode("%zz")), (None, None, None));
    }
}
