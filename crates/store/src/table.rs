//! The catalog's tables: which there are, what their folders are called, and which of them NautilusTrader reads.

use crate::columns::Dialect;

/// One table of the catalog. An instrument has a folder in each that it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Trade,
    Quote,
    Delta,
    Depth,
    Bar,
    MarkPrice,
    IndexPrice,
    Funding,
    Status,
    Close,
    CurrencyPair,
    CryptoPerpetual,
    CryptoFuture,
}

impl Table {
    pub const ALL: [Self; 13] = [
        Self::Trade,
        Self::Quote,
        Self::Delta,
        Self::Depth,
        Self::Bar,
        Self::MarkPrice,
        Self::IndexPrice,
        Self::Funding,
        Self::Status,
        Self::Close,
        Self::CurrencyPair,
        Self::CryptoPerpetual,
        Self::CryptoFuture,
    ];

    /// The folder below `data/`.
    #[must_use]
    pub const fn folder(self, dialect: Dialect) -> &'static str {
        use Dialect::{V1, V2};
        match (self, dialect) {
            (Self::Trade, V2) => "trades",
            (Self::Trade, V1) => "trade_tick",
            (Self::Quote, V2) => "quotes",
            (Self::Quote, V1) => "quote_tick",
            (Self::Delta, _) => "order_book_deltas",
            (Self::Depth, _) => "order_book_depths",
            (Self::Bar, V2) => "bars",
            (Self::Bar, V1) => "bar",
            (Self::MarkPrice, V2) => "mark_prices",
            (Self::MarkPrice, V1) => "mark_price_update",
            (Self::IndexPrice, V2) => "index_prices",
            (Self::IndexPrice, V1) => "index_price_update",
            (Self::Funding, V2) => "funding_rates",
            (Self::Funding, V1) => "funding_rate_update",
            (Self::Status, _) => "instrument_status",
            (Self::Close, V2) => "instrument_closes",
            (Self::Close, V1) => "instrument_close",
            (Self::CurrencyPair, _) => "currency_pair",
            (Self::CryptoPerpetual, _) => "crypto_perpetual",
            (Self::CryptoFuture, _) => "crypto_future",
        }
    }

    /// What NautilusTrader calls the type: `type_name` in dialect C's metadata, `class` or `type` in dialect A's.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Trade => "TradeTick",
            Self::Quote => "QuoteTick",
            Self::Delta => "OrderBookDelta",
            Self::Depth => "OrderBookDepth10",
            Self::Bar => "Bar",
            Self::MarkPrice => "MarkPriceUpdate",
            Self::IndexPrice => "IndexPriceUpdate",
            Self::Funding => "FundingRateUpdate",
            Self::Status => "InstrumentStatus",
            Self::Close => "InstrumentClose",
            Self::CurrencyPair => "CurrencyPair",
            Self::CryptoPerpetual => "CryptoPerpetual",
            Self::CryptoFuture => "CryptoFuture",
        }
    }
}
