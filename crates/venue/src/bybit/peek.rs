//! What a frame carries, told from its head and its last bytes: so that an overloaded line can drop a frame without reading it.
//!
//! A frame begins with its topic, that of a spot candle with its type. Whatever is not recognised at once is `None` and is read as ever:
//! answers, liquidations and snapshots of books are never dropped unread, and neither are the tickers of derivatives, since a delta that
//! is dropped is a field that stays wrong.

use wholetape_model::{Kind, Ts};

use super::limits::Market;
use crate::json::cursor::Cursor;
use crate::rows::millis;
use crate::session::Peek;

/// Type and times stand within so many bytes of one of the ends.
const END: usize = 128;

/// See the module. `Kind::Ticker` stands for everything that describes rather than records: statistics, bars.
#[inline]
pub(super) fn peek(market: Market, bytes: &[u8]) -> Option<Peek> {
    let mut c = Cursor { b: bytes, i: 0 };
    if c.eat(b"{\"type\":\"snapshot\",\"topic\":\"").is_none() {
        c.eat(b"{\"topic\":\"")?;
    }
    let (channel, rest) = c.plain()?.split_once('.')?;
    let head = &bytes[c.i.min(bytes.len())..bytes.len().min(c.i + END)];
    let tail = &bytes[bytes.len().saturating_sub(END)..];
    let kind = match channel {
        "publicTrade" => Kind::Trade,
        "orderbook" if rest.starts_with("1.") => Kind::Quote,
        // A snapshot makes a book whole again: there is no other way to one. And so does a count that begins anew.
        "orderbook" if holds(head, b"\"type\":\"delta\"") && !holds(tail, b"\"u\":1,") && !holds(tail, b"\"u\":1}") => {
            Kind::Book
        }
        "tickers" if market == Market::Spot => Kind::Ticker,
        "kline" => Kind::Ticker,
        _ => return None,
    };
    let ts = match kind {
        Kind::Trade => number_behind(head, b"\"T\":"),
        Kind::Book | Kind::Quote => number_behind(tail, b"\"cts\":"),
        _ => None,
    };
    let ts = ts.or_else(|| number_behind(head, b"\"ts\":")).or_else(|| number_behind(tail, b"\"ts\":"));
    Some(Peek { kind, ts_event: ts.and_then(millis).unwrap_or(Ts::ZERO) })
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|w| w == text)
}

fn number_behind(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let at = bytes.windows(key.len()).position(|w| w == key)?;
    Cursor { b: bytes, i: at + key.len() }.uint()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(market: Market, frame: &str, expected: Option<(Kind, i64)>) {
        let got = peek(market, frame.as_bytes()).map(|p| (p.kind, p.ts_event.millis()));
        assert_eq!(got, expected, "{frame}");
    }

    fn book(kind: &str, u: u64) -> String {
        let levels = vec![r#"["12.5","1"]"#; 40].join(",");
        format!(
            r#"{{"topic":"orderbook.200.AAABBB","type":"{kind}","ts":1790000000105,"data":{{"s":"AAABBB","b":[{levels}],"a":[],"u":{u},"seq":7}},"cts":1790000000101}}"#
        )
    }

    #[test]
    fn deltas_may_be_dropped_and_what_begins_a_book_never() {
        check(Market::Linear, &book("delta", 15), Some((Kind::Book, 1_790_000_000_101)));
        check(Market::Linear, &book("snapshot", 15), None);
        check(Market::Linear, &book("delta", 1), None);
    }

    #[test]
    fn heads_name_their_channel_and_time() {
        let trade = r#"{"topic":"publicTrade.AAABBB","type":"snapshot","ts":1790000000005,"data":[{"T":1790000000001,"s":"AAABBB"}]}"#;
        check(Market::Linear, trade, Some((Kind::Trade, 1_790_000_000_001)));
        let quote = r#"{"topic":"orderbook.1.AAABBB","ts":1790000000005,"type":"snapshot","data":{"s":"AAABBB"},"cts":1790000000002}"#;
        check(Market::Spot, quote, Some((Kind::Quote, 1_790_000_000_002)));
        let bar = r#"{"type":"snapshot","topic":"kline.1.AAABBB","data":[],"ts":1790000000005}"#;
        check(Market::Spot, bar, Some((Kind::Ticker, 1_790_000_000_005)));
        check(Market::Spot, r#"{"topic":"kline.1.AAABBB"}"#, Some((Kind::Ticker, 0)));
    }

    #[test]
    fn a_dropped_delta_of_a_ticker_would_leave_a_field_wrong() {
        let ticker =
            r#"{"topic":"tickers.AAABBB","type":"delta","data":{"symbol":"AAABBB"},"cs":1,"ts":1790000000005}"#;
        check(Market::Linear, ticker, None);
        check(Market::Spot, &ticker.replace("delta", "snapshot"), Some((Kind::Ticker, 1_790_000_000_005)));
    }

    #[test]
    fn what_is_rare_or_strange_is_never_recognised() {
        for frame in [
            "",
            "{",
            "[]",
            r#"{"success":true,"ret_msg":"","op":"subscribe"}"#,
            r#"{"topic":"allLiquidation.AAABBB","data":[]}"#,
            r#"{"topic":"publicTr\u0061de.AAABBB","data":[]}"#,
            r#"{"topic":"strange"}"#,
        ] {
            check(Market::Linear, frame, None);
        }
    }
}
