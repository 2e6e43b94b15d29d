//! The catalog's tables: which there are, what their folders are called, and which of them NautilusTrader reads.
//!
//! A record of the tape is stored once, in the table that its body belongs to ([`Table::of`]); some tables have a companion or a
//! view beside them. *Companion*: columns that NautilusTrader's layout has no place for, row by row in the same order, without
//! which the rows could not be read back whole. *View*: the same rows once more in NautilusTrader's layout; nothing is read
//! back from it.

use wholetape_model::{Body, InstrumentKind, Kind, Record, View};

use crate::columns::{Dialect, SCALE};

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// One table of the catalog. A topic has a folder in each that it fills.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table { $($(#[$doc])* $name,)+ }

        impl Table {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in manifests, certificates and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

tables! {
    Trade = "trades",
    /// Raw ids and condition of each trade: companion of `trades` and `trades_raw`.
    Agg = "agg",
    /// The second trade source.
    TradeRaw = "trades_raw",
    Quote = "quotes",
    Delta = "order_book_deltas",
    /// One row per book record: companion of the deltas.
    BookUpdate = "book_updates",
    Depth = "order_book_depths",
    /// Closed bars, a view.
    Bar = "bars",
    /// Every bar as the venue sent it, open ones too.
    BarUpdate = "bar_updates",
    MarkPrice = "mark_prices",
    IndexPrice = "index_prices",
    Funding = "funding_rates",
    Status = "instrument_status",
    /// Definitions as they were polled.
    Definition = "definitions",
    /// Views of the definitions.
    CurrencyPair = "currency_pair",
    CryptoPerpetual = "crypto_perpetual",
    CryptoFuture = "crypto_future",
    Ticker = "tickers",
    OpenInterest = "open_interest",
    Liquidation = "liquidations",
    Gap = "gaps",
    Validity = "book_validity",
    Retract = "retracts",
    Finding = "quality",
    Link = "links",
    Coverage = "coverage",
    Alert = "alerts",
    /// What clients published.
    Publication = "publications",
    Note = "notes",
    /// What no table has a form for (a scale above 16, an unknown kind): the record itself.
    Record = "records",
}

impl Table {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == text)
    }

    /// The table that a record of a `kind` topic is stored in.
    #[must_use]
    pub fn of(kind: Kind, record: &Record<'_>, view: &View<'_>) -> Self {
        if record.span() != 1 && !matches!(view, Body::Gap(_)) {
            Self::Record
        } else {
            Self::of_body(kind, record, view)
        }
    }

    /// As [`Table::of`], whatever the record's span.
    #[must_use]
    pub fn of_body(kind: Kind, record: &Record<'_>, view: &View<'_>) -> Self {
        if !fits(record, view) {
            return Self::Record;
        }
        match view {
            Body::Trade(_) if kind == Kind::TradeRaw => Self::TradeRaw,
            Body::Trade(_) => Self::Trade,
            Body::Quote(_) => Self::Quote,
            Body::Book(_) if kind == Kind::Book => Self::Delta,
            Body::Bar(_) => Self::BarUpdate,
            Body::MarkPrice(_) => Self::MarkPrice,
            Body::IndexPrice(_) => Self::IndexPrice,
            Body::Funding(_) => Self::Funding,
            Body::Status(_) => Self::Status,
            Body::Instrument(_) => Self::Definition,
            Body::Ticker(_) => Self::Ticker,
            Body::OpenInterest(_) => Self::OpenInterest,
            Body::Liquidation(_) => Self::Liquidation,
            Body::Gap(_) => Self::Gap,
            Body::Validity(_) => Self::Validity,
            Body::Retract(_) => Self::Retract,
            Body::Finding(_) => Self::Finding,
            Body::Link(_) => Self::Link,
            Body::Coverage(_) => Self::Coverage,
            Body::Alert(_) => Self::Alert,
            Body::Publication(_) => Self::Publication,
            Body::Raw(_) => Self::Note,
            Body::Book(_) => Self::Record,
        }
    }

    /// What is written beside it.
    #[must_use]
    pub const fn companion(self) -> Option<Self> {
        match self {
            Self::Trade | Self::TradeRaw => Some(Self::Agg),
            Self::Delta => Some(Self::BookUpdate),
            _ => None,
        }
    }

    /// The view of a definition.
    #[must_use]
    pub const fn of_instrument(kind: InstrumentKind) -> Option<Self> {
        match kind {
            InstrumentKind::Spot => Some(Self::CurrencyPair),
            InstrumentKind::Perpetual | InstrumentKind::InversePerpetual => Some(Self::CryptoPerpetual),
            InstrumentKind::Future | InstrumentKind::InverseFuture => Some(Self::CryptoFuture),
            InstrumentKind::Other => None,
        }
    }

    /// What changed in the table's layout: a sentence for version 2, then 3 … None changed the type or the meaning of a column
    /// that is there (docs/adr/0009), so that files of several versions are one table to whoever reads them.
    #[must_use]
    pub const fn changes(self) -> &'static [&'static str] {
        match self {
            Self::BarUpdate => &["`first_id` and `last_id` are null where the venue prints none; they were 0"],
            Self::Definition => {
                &["`onboard` and `expiry` are null where the venue tells none; they were 0, which reads as 1970"]
            }
            Self::Liquidation => &["`average_price` is null where it is not printed; it was 0"],
            Self::Agg => &["`trade_id` is null where ids do not count trades: the id is in `trades` alone"],
            Self::Gap => &["`from_id` and `to_id` are null of a gap that is told by time; they were 0"],
            _ => &[],
        }
    }

    /// The version of the layout that is written. Files of it and of all before it are read.
    #[must_use]
    pub const fn format(self) -> u32 {
        1 + self.changes().len() as u32
    }

    /// NautilusTrader reads it.
    #[must_use]
    pub const fn is_nautilus(self) -> bool {
        matches!(
            self,
            Self::Trade
                | Self::Quote
                | Self::Delta
                | Self::Depth
                | Self::Bar
                | Self::MarkPrice
                | Self::IndexPrice
                | Self::Funding
                | Self::Status
                | Self::CurrencyPair
                | Self::CryptoPerpetual
                | Self::CryptoFuture
        )
    }

    /// Its files, or the view's beside it, say how many digits prices and sizes have.
    #[must_use]
    pub const fn has_digits(self) -> bool {
        matches!(
            self,
            Self::Trade
                | Self::Quote
                | Self::Delta
                | Self::Depth
                | Self::BarUpdate
                | Self::MarkPrice
                | Self::IndexPrice
                | Self::Definition
        )
    }

    /// The folder of the table below the dialect's root.
    #[must_use]
    pub fn folder(self, dialect: Dialect) -> String {
        use Dialect::V1;
        let name = match (self, dialect) {
            (Self::Trade, V1) => "trade_tick",
            (Self::Quote, V1) => "quote_tick",
            (Self::Bar, V1) => "bar",
            (Self::MarkPrice, V1) => "mark_price_update",
            (Self::IndexPrice, V1) => "index_price_update",
            (Self::Funding, V1) => "funding_rate_update",
            _ => self.as_str(),
        };
        if self.is_nautilus() { format!("data/{name}") } else { format!("wholetape/{name}") }
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
            Self::CurrencyPair => "CurrencyPair",
            Self::CryptoPerpetual => "CryptoPerpetual",
            Self::CryptoFuture => "CryptoFuture",
            _ => "",
        }
    }
}

/// Every number of the record has at most [`SCALE`] decimals, and its times are in the years that a file name can say.
fn fits(record: &Record<'_>, view: &View<'_>) -> bool {
    let scales = record.scales();
    let ok = |d: &wholetape_model::Decimal| d.scale <= SCALE;
    let bodies = match view {
        Body::Trade(_) | Body::Quote(_) | Body::Book(_) => scales.price <= SCALE && scales.size <= SCALE,
        Body::Ticker(t) => [t.last, t.open, t.high, t.low, t.volume, t.quote_volume, t.change].iter().all(ok),
        Body::Bar(b) => {
            let numbers =
                [b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.taker_volume, b.taker_quote_volume];
            numbers.iter().all(ok)
        }
        Body::Funding(f) => ok(&f.rate),
        Body::MarkPrice(d) | Body::IndexPrice(d) | Body::OpenInterest(d) => ok(d),
        Body::Liquidation(l) => [l.price, l.average_price, l.size, l.order_size].iter().all(ok),
        Body::Instrument(d) => [d.tick, d.step, d.size_min, d.size_max, d.notional_min, d.multiplier].iter().all(ok),
        Body::Finding(f) => ok(&f.observed) && ok(&f.bound),
        _ => true,
    };
    bodies && record.ts_event().0 >= 0 && record.ts_recv().0 >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for table in Table::ALL {
            assert_eq!(Table::parse(table.as_str()), Some(*table));
        }
        let mut folders: Vec<String> = Table::ALL.iter().map(|t| t.folder(Dialect::V1)).collect();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), Table::ALL.len());
    }
}
