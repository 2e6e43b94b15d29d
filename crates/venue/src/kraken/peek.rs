//! What a frame carries, told from its head and its last bytes: so that an overloaded line can drop a frame without reading it.
//!
//! Every data frame begins with channel and type. A first message (`snapshot`) is never dropped: a book has no other way to be whole, and trades
//! that were missed are in it. Whatever is not recognised at once is `None` and is read as ever.

use wholetape_model::{Kind, Ts};

use crate::json::cursor::Cursor;
use crate::session::Peek;

/// The time stands at the end of the last row.
const TAIL: usize = 64;

/// See the module.
#[inline]
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    let mut c = Cursor { b: bytes, i: 0 };
    c.eat(b"{\"channel\":\"")?;
    let kind = match c.plain()? {
        "trade" => Kind::Trade,
        "book" => Kind::Book,
        // Best prices and statistics; the first are dropped before the others anyway.
        "ticker" => Kind::Quote,
        "ohlc" => Kind::Ticker,
        _ => return None,
    };
    c.eat(b",\"type\":\"update\"")?;
    Some(Peek { kind, ts_event: last_time(bytes).unwrap_or(Ts::ZERO) })
}

fn last_time(bytes: &[u8]) -> Option<Ts> {
    const MARK: &[u8] = b"\"timestamp\":\"";
    let tail = bytes.len().saturating_sub(TAIL);
    let at = tail + bytes[tail..].windows(MARK.len()).rposition(|w| w == MARK)?;
    Ts::parse_utc(Cursor { b: bytes, i: at + MARK.len() }.plain()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &str, expected: Option<(Kind, i64)>) {
        let got = peek(frame.as_bytes()).map(|p| (p.kind, p.ts_event.millis()));
        assert_eq!(got, expected, "{frame}");
    }

    #[test]
    fn updates_may_be_dropped_and_first_messages_never() {
        let frame = |channel: &str, kind: &str| {
            format!(
                r#"{{"channel":"{channel}","type":"{kind}","data":[{{"symbol":"AAA/USD","x":1,"timestamp":"2026-09-21T14:13:20.123456Z"}}]}}"#
            )
        };
        for (channel, kind) in
            [("trade", Kind::Trade), ("book", Kind::Book), ("ticker", Kind::Quote), ("ohlc", Kind::Ticker)]
        {
            check(&frame(channel, "update"), Some((kind, 1_790_000_000_123)));
            check(&frame(channel, "snapshot"), None);
        }
        check(&frame("book", "update").replace("timestamp", "other"), Some((Kind::Book, 0)));
    }

    #[test]
    fn what_is_rare_or_strange_is_never_recognised() {
        for frame in [
            "",
            "{",
            "[]",
            r#"{"channel":"heartbeat"}"#,
            r#"{"channel":"instrument","type":"update","data":{}}"#,
            r#"{"channel":"status","type":"update","data":[]}"#,
            r#"{"method":"subscribe","success":true}"#,
            r#"{"channel":"tr\u0061de","type":"update","data":[]}"#,
            r#"{"type":"update","channel":"trade","data":[]}"#,
        ] {
            check(frame, None);
        }
    }
}
