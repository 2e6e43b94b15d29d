//! What an instrument is, by its spelling.

/// OKX's `instType`, as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Spot,
    Swap,
}

impl Product {
    pub fn of(symbol: &str) -> Self {
        if symbol.ends_with("-SWAP") { Self::Swap } else { Self::Spot }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "SPOT",
            Self::Swap => "SWAP",
        }
    }
}

/// The index that a swap stands on: `BTC-USDT` of `BTC-USDT-SWAP`.
pub fn index_of(symbol: &str) -> &str {
    symbol.strip_suffix("-SWAP").unwrap_or(symbol)
}
