//! What a frame carries, told from its head and its last bytes: so that an overloaded line can drop a frame without reading it.
//!
//! Every data frame begins with its channel (`{"arg":{"channel":"books","instId":…`) and has its time near its end. Whatever is not
//! recognised at once is `None` and is read as ever: answers, errors, definitions, liquidations and snapshots are never dropped unread.

use wholetape_model::{Kind, Ts};

use crate::json::cursor::Cursor;
use crate::rows::millis;
use crate::session::Peek;

/// The time stands behind the levels, and little follows it.
const TAIL: usize = 128;

/// See the module. `Kind::Ticker` stands for everything that describes rather than records: statistics, bars, prices of mark and index.
/// Open interest is rare, and read.
#[inline]
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    let mut c = Cursor { b: bytes, i: 0 };
    c.eat(b"{\"arg\":{\"channel\":\"")?;
    let kind = match c.plain()? {
        "trades" => Kind::TradeRaw,
        "trades-all" => Kind::Trade,
        "bbo-tbt" => Kind::Quote,
        // A snapshot makes a book whole again: there is no other way to one.
        "books" | "books-l2-tbt" | "books50-l2-tbt" => {
            c.eat(b",\"instId\":\"")?;
            c.plain()?;
            c.eat(b"},\"action\":\"update\"")?;
            Kind::Book
        }
        "tickers" | "mark-price" | "index-tickers" | "funding-rate" => Kind::Ticker,
        other if other.starts_with("candle") => Kind::Ticker,
        _ => return None,
    };
    Some(Peek { kind, ts_event: last_time(bytes).unwrap_or(Ts::ZERO) })
}

fn last_time(bytes: &[u8]) -> Option<Ts> {
    const MARK: &[u8] = b"\"ts\":\"";
    let tail = bytes.len().saturating_sub(TAIL);
    let at = tail + bytes[tail..].windows(MARK.len()).rposition(|w| w == MARK)?;
    millis(Cursor { b: bytes, i: at + MARK.len() }.uint()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &str, expected: Option<(Kind, i64)>) {
        let got = peek(frame.as_bytes()).map(|p| (p.kind, p.ts_event.millis()));
        assert_eq!(got, expected, "{frame}");
    }

    #[test]
    fn heads_name_their_channel() {
        for (channel, kind) in [
            ("trades", Kind::TradeRaw),
            ("trades-all", Kind::Trade),
            ("bbo-tbt", Kind::Quote),
            ("tickers", Kind::Ticker),
            ("mark-price", Kind::Ticker),
            ("candle1Dutc", Kind::Ticker),
        ] {
            let frame = format!(
                r#"{{"arg":{{"channel":"{channel}","instId":"AAA-BBB"}},"data":[{{"x":"1","ts":"1790000000123","seqId":7}}]}}"#
            );
            check(&frame, Some((kind, 1_790_000_000_123)));
        }
    }

    #[test]
    fn updates_may_be_dropped_and_snapshots_never() {
        let frame = |action: &str| {
            format!(
                r#"{{"arg":{{"channel":"books","instId":"AAA-BBB"}},"action":"{action}","data":[{{"asks":[],"bids":[],"ts":"1790000000123","checksum":0,"prevSeqId":1,"seqId":2}}]}}"#
            )
        };
        check(&frame("update"), Some((Kind::Book, 1_790_000_000_123)));
        check(&frame("snapshot"), None);
    }

    #[test]
    fn a_frame_without_time_has_none() {
        check(
            r#"{"arg":{"channel":"candle1m","instId":"AAA-BBB"},"data":[["1790000000000","1"]]}"#,
            Some((Kind::Ticker, 0)),
        );
    }

    #[test]
    fn what_is_rare_or_strange_is_never_recognised() {
        for frame in [
            "",
            "pong",
            "{",
            "[]",
            r#"{"event":"subscribe","arg":{"channel":"trades","instId":"AAA-BBB"}}"#,
            r#"{"event":"error","code":"60012","msg":"no"}"#,
            r#"{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[]}"#,
            r#"{"arg":{"channel":"instruments","instType":"SWAP"},"data":[]}"#,
            r#"{"arg":{"channel":"open-interest","instId":"AAA-BBB"},"data":[{"oi":"5","ts":"1790000000123"}]}"#,
            r#"{"arg":{"channel":"tr\u0061des","instId":"AAA-BBB"},"data":[]}"#,
            r#"{"arg":{"instId":"AAA-BBB","channel":"trades"},"data":[]}"#,
        ] {
            check(frame, None);
        }
    }
}
