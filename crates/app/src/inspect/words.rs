//! In which words a venue's recordings are told: the names of depth channels, books and counts in the truth files.

use wholetape_model::{Decimal, Kind, Period, Ts};

/// One venue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Binance,
    Okx,
    Dydx,
    Kraken,
    /// Names are by topic, and one recording may hold several markets: what is spot's says so.
    Bybit {
        spot: bool,
    },
}

impl Words {
    pub fn of(venue: &str) -> Self {
        match venue {
            "okx" => Self::Okx,
            "dydx" => Self::Dydx,
            "kraken" => Self::Kraken,
            "bybit-spot" => Self::Bybit { spot: true },
            "bybit-linear" | "bybit-inverse" => Self::Bybit { spot: false },
            _ => Self::Binance,
        }
    }

    /// The name of an instrument: unique over the markets that a recording may hold.
    pub fn instrument(self, symbol: &str) -> String {
        let prefix = if self == (Self::Bybit { spot: true }) { "spot:" } else { "" };
        format!("{prefix}{symbol}")
    }

    /// The name of what is counted of bars.
    pub fn bars(self, symbol: &str, period: Period) -> String {
        match self {
            Self::Bybit { .. } => self.instrument(&format!("kline.{}.{symbol}", interval(period))),
            _ => format!("{symbol}:{period}"),
        }
    }

    /// Which depth channel a message is of; empty for all else. Binance: `depth@100ms` of `{"stream":"btcusdt@depth@100ms",…`, `depth` of
    /// an unwrapped depth update. OKX: `books` of `{"arg":{"channel":"books",…`. Bybit: `orderbook.200` of `{"topic":"orderbook.200.BTCUSDT",…`.
    /// Kraken: `book` of `{"channel":"book",…`, and of its first version `book-1000` of `[336,…,"book-1000","XBT/USD"]`.
    /// dYdX has one such channel, and its messages are counted with all others of the connection: they stay together.
    pub fn depth_channel(self, data: &str) -> &str {
        if self == Self::Kraken && data.starts_with('[') {
            // From the end: symbol, comma, channel.
            return data.rsplit('"').nth(3).filter(|channel| channel.starts_with("book-")).unwrap_or("");
        }
        let (head, is_depth): (_, fn(&str) -> bool) = match self {
            Self::Okx => ("{\"arg\":{\"channel\":\"", |channel| channel.starts_with("books")),
            Self::Binance => ("{\"stream\":\"", |channel| channel.starts_with("depth")),
            Self::Dydx => return "",
            Self::Kraken => ("{\"channel\":\"", |channel| channel == "book"),
            // One level is a quote.
            Self::Bybit { .. } => ("{\"topic\":\"", |c| c.starts_with("orderbook.") && c != "orderbook.1"),
        };
        let Some(rest) = data.strip_prefix(head) else {
            return if data.contains("\"e\":\"depthUpdate\"") { "depth" } else { "" };
        };
        let stream = rest.split('"').next().unwrap_or("");
        let channel = match self {
            Self::Okx | Self::Dydx | Self::Kraken => stream,
            Self::Binance => stream.split_once('@').map_or("", |(_, channel)| channel),
            Self::Bybit { .. } => stream.rsplit_once('.').map_or("", |(channel, _)| channel),
        };
        if is_depth(channel) { channel } else { "" }
    }

    /// The name of a book.
    pub fn book(self, depth: &str, symbol: String) -> String {
        match self {
            Self::Binance | Self::Dydx => symbol,
            Self::Okx | Self::Kraken => format!("{depth}:{symbol}"),
            Self::Bybit { .. } => self.instrument(&format!("{depth}.{symbol}")),
        }
    }

    /// Whether a venue prints every level of a book with as many digits; elsewhere each has as many as it needs.
    pub fn prints_zeros(self) -> bool {
        !matches!(self, Self::Okx | Self::Bybit { spot: true })
    }

    /// Open interest as the venue's own field of that name counts. Ours is of one side; Bybit's older field counts both since
    /// 2026-06-11, when the other one came.
    pub fn open_interest(self, one_side: Decimal, ts_event: Ts) -> Decimal {
        let both = matches!(self, Self::Bybit { .. }) && ts_event >= BYBIT_COUNTS_BOTH;
        match one_side.raw.checked_mul(2) {
            Some(raw) if both => Decimal { raw, ..one_side },
            _ => one_side,
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
            Self::Okx | Self::Dydx | Self::Kraken | Self::Bybit { .. } => Kind::Ticker,
        }
    }
}

/// 2026-06-11, a day given by the venue's changelog.
const BYBIT_COUNTS_BOTH: Ts = Ts(20_615 * 86_400_000_000_000);

/// A period in the words of Bybit's topics.
fn interval(period: Period) -> String {
    match period.unit {
        b'm' => period.count.to_string(),
        b'h' => (u32::from(period.count) * 60).to_string(),
        unit => char::from(unit).to_ascii_uppercase().to_string(),
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
        let kraken = Words::of("kraken");
        assert_eq!(kraken.depth_channel(r#"[336,{"a":[["1","2","3"]],"c":"4"},"book-25","XBT/USD"]"#), "book-25");
        assert_eq!(kraken.depth_channel(r#"[337,[["1","2","3","b","l",""]],"trade","XBT/USD"]"#), "");
        assert_eq!(kraken.depth_channel(r#"{"channel":"book","type":"update","data":[]}"#), "book");
        assert_eq!(kraken.depth_channel(r#"{"channelName":"book-25","event":"subscriptionStatus"}"#), "");
        let bybit = Words::of("bybit-linear");
        assert_eq!(bybit.depth_channel(r#"{"topic":"orderbook.200.AB","type":"delta"}"#), "orderbook.200");
        assert_eq!(bybit.depth_channel(r#"{"topic":"orderbook.1.AB","type":"snapshot"}"#), "");
        assert_eq!(bybit.depth_channel(r#"{"topic":"publicTrade.AB","data":[]}"#), "");
    }

    #[test]
    fn open_interest_is_counted_as_the_venue_does() {
        let one = Decimal { raw: 29_947_994, scale: 3 };
        let (before, since) = (Ts(BYBIT_COUNTS_BOTH.0 - 1), BYBIT_COUNTS_BOTH);
        assert_eq!(since.to_string(), "2026-06-11T00:00:00.000000000Z");
        assert_eq!(Words::of("bybit-linear").open_interest(one, since).to_string(), "59895.988");
        assert_eq!(Words::of("bybit-linear").open_interest(one, before), one);
        assert_eq!(Words::of("okx").open_interest(one, since), one);
    }

    #[test]
    fn books_are_named_as_in_the_truth() {
        assert_eq!(Words::of("binance-usdm").book("depth", "BTCUSDT".into()), "BTCUSDT");
        assert_eq!(Words::of("okx").book("books", "BTC-USDT".into()), "books:BTC-USDT");
        assert_eq!(Words::of("kraken").book("book-1000", "XBT/USD".into()), "book-1000:XBT/USD");
        assert_eq!(Words::of("bybit-linear").book("orderbook.200", "AB".into()), "orderbook.200.AB");
        assert_eq!(Words::of("bybit-spot").book("orderbook.200", "AB".into()), "spot:orderbook.200.AB");
    }

    #[test]
    fn bars_are_named_as_in_the_truth() {
        let of = |venue, period| Words::of(venue).bars("AB", Period::parse(period).unwrap());
        assert_eq!(of("binance-spot", "1m"), "AB:1m");
        assert_eq!(of("bybit-spot", "1m"), "spot:kline.1.AB");
        assert_eq!(["4h", "1d", "1M"].map(|p| of("bybit-linear", p)), ["kline.240.AB", "kline.D.AB", "kline.M.AB"]);
    }
}
