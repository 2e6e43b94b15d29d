//! What an instrument is, by its spelling.

/// OKX's `instType`, as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Spot,
    Swap,
    /// In recordings alone.
    Futures,
}

impl Product {
    pub fn of(symbol: &str) -> Self {
        match symbol.split('-').collect::<Vec<_>>()[..] {
            [_, _, "SWAP"] => Self::Swap,
            [_, _, date] if date.bytes().all(|b| b.is_ascii_digit()) => Self::Futures,
            _ => Self::Spot,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "SPOT",
            Self::Swap => "SWAP",
            Self::Futures => "FUTURES",
        }
    }
}

/// The index that a swap stands on: `BTC-USDT` of `BTC-USDT-SWAP`.
pub fn index_of(symbol: &str) -> &str {
    symbol.strip_suffix("-SWAP").unwrap_or(symbol)
}
