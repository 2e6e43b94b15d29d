//! In which words a venue's recordings are told: the names of depth channels, books and counts in the truth files.

use wholetape_model::Kind;

/// One venue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Binance,
    Okx,
    Dydx,
}

impl Words {
    pub fn of(venue: &str) -> Self {
        match venue {
            "okx" => Self::Okx,
            "dydx" => Self::Dydx,
            _ => Self::Binance,
        }
    }

    /// Which depth channel a message is of; empty for all else. Binance: `depth@100ms` of `{"stream":"btcusdt@depth@100ms",…`, `depth` of
    /// an unwrapped depth update. OKX: `books` of `{"arg":{"channel":"books",…`. dYdX has one such channel, and its messages are counted with
    /// all others of the connection: they stay together.
    pub fn depth_channel(self, data: &str) -> &str {
        let (head, is_depth): (_, fn(&str) -> bool) = match self {
            Self::Okx => ("{\"arg\":{\"channel\":\"", |channel| channel.starts_with("books")),
            Self::Binance => ("{\"stream\":\"", |channel| channel.starts_with("depth")),
            Self::Dydx => return "",
        };
        let Some(rest) = data.strip_prefix(head) else {
            return if data.contains("\"e\":\"depthUpdate\"") { "depth" } else { "" };
        };
        let stream = rest.split('"').next().unwrap_or("");
        let channel = match self {
            Self::Okx | Self::Dydx => stream,
            Self::Binance => stream.split_once('@').map_or("", |(_, channel)| channel),
        };
        if is_depth(channel) { channel } else { "" }
    }

    /// The name of a book.
    pub fn book(self, depth: &str, symbol: String) -> String {
        match self {
            Self::Binance | Self::Dydx => symbol,
            Self::Okx => format!("{depth}:{symbol}"),
        }
    }

    /// Whether aggregates and single matches are counted apart; elsewhere they are one id space.
    pub fn has_aggregates(self) -> bool {
        self == Self::Binance
    }

    /// What `ticker_updates` counts.
    pub fn ticker(self) -> Kind {
        match self {
            Self::Binance => Kind::Quote,
            Self::Okx | Self::Dydx => Kind::Ticker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_channels_are_told_apart() {
        let binance = Words::of("binance-spot");
        assert_eq!(binance.depth_channel(r#"{"stream":"btcusdt@depth@0ms","data":{}}"#), "depth@0ms");
        assert_eq!(binance.depth_channel(r#"{"stream":"btcusdt@trade","data":{}}"#), "");
        assert_eq!(binance.depth_channel(r#"{"e":"depthUpdate","E":1}"#), "depth");
        let okx = Words::of("okx");
        assert_eq!(
            okx.depth_channel(r#"{"arg":{"channel":"books-l2-tbt","instId":"A-B"},"action":"update"}"#),
            "books-l2-tbt"
        );
        assert_eq!(okx.depth_channel(r#"{"arg":{"channel":"trades","instId":"A-B"},"data":[]}"#), "");
        assert_eq!(okx.depth_channel(r#"{"event":"subscribe","arg":{"channel":"books","instId":"A-B"}}"#), "");
        let dydx = Words::of("dydx");
        assert_eq!(dydx.depth_channel(r#"{"type":"channel_data","channel":"v4_orderbook","contents":{}}"#), "");
    }

    #[test]
    fn books_are_named_as_in_the_truth() {
        assert_eq!(Words::of("binance-usdm").book("depth", "BTCUSDT".into()), "BTCUSDT");
        assert_eq!(Words::of("okx").book("books", "BTC-USDT".into()), "books:BTC-USDT");
    }
}
