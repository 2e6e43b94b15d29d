//! What a frame carries, told from its head alone: so that an overloaded line can drop a frame without reading it.
//!
//! A combined stream names itself in the first bytes (`{"stream":"btcusdt@depth@100ms","data":{…`), an unwrapped payload in
//! its first key (`{"e":"depthUpdate",…`); USD-M and spot print the event time next. Whatever is not recognised at once is
//! `None` and is read as ever: answers, errors, rare streams and unknown shapes are never dropped unread.

use wholetape_model::{Kind, Ts};

use super::emit::venue_time;
use crate::json::cursor::Cursor;
use crate::session::Peek;

/// See the module. `Kind::Ticker` stands for everything that describes rather than records: statistics, bars, mark prices.
#[inline]
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    let mut c = Cursor { b: bytes, i: 0 };
    let kind = if c.eat(b"{\"stream\":\"").is_some() {
        let kind = by_stream(c.plain()?.as_bytes())?;
        c.eat(b",\"data\":{")?;
        Some(kind)
    } else {
        c.eat(b"{")?;
        None
    };
    let event = c.eat(b"\"e\":\"").and_then(|()| c.plain());
    let kind = match (kind, event) {
        (Some(kind), _) => kind,
        (None, Some(event)) => by_event(event.as_bytes())?,
        // Spot's best prices have no type: they are never dropped, so nobody needs to know them.
        (None, None) => return None,
    };
    let time = event.and_then(|_| c.eat(b",\"E\":")).and_then(|()| c.uint()).and_then(|ms| i64::try_from(ms).ok());
    Some(Peek { kind, ts_event: time.map_or(Ts::ZERO, venue_time) })
}

#[inline]
fn by_stream(name: &[u8]) -> Option<Kind> {
    let at = name.iter().position(|b| *b == b'@')?;
    let rest = &name[at + 1..];
    let end = rest.iter().position(|b| matches!(b, b'@' | b'_')).unwrap_or(rest.len());
    Some(match &rest[..end] {
        b"aggTrade" => Kind::Trade,
        b"trade" => Kind::TradeRaw,
        b"bookTicker" => Kind::Quote,
        b"depth" => Kind::Book,
        b"ticker" | b"miniTicker" | b"kline" | b"markPrice" => Kind::Ticker,
        _ => return None,
    })
}

#[inline]
fn by_event(name: &[u8]) -> Option<Kind> {
    Some(match name {
        b"aggTrade" => Kind::Trade,
        b"trade" => Kind::TradeRaw,
        b"bookTicker" => Kind::Quote,
        b"depthUpdate" => Kind::Book,
        b"24hrTicker" | b"24hrMiniTicker" | b"kline" | b"markPriceUpdate" => Kind::Ticker,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &str, expected: Option<(Kind, i64)>) {
        let got = peek(frame.as_bytes()).map(|p| (p.kind, p.ts_event.0 / 1_000_000));
        assert_eq!(got, expected, "{frame}");
    }

    #[test]
    fn heads_name_their_channel() {
        let wrapped = |stream: &str, event: &str| {
            format!(r#"{{"stream":"btcusdt@{stream}","data":{{"e":"{event}","E":1700000000123,"s":"BTCUSDT"}}}}"#)
        };
        for (stream, event, kind) in [
            ("aggTrade", "aggTrade", Kind::Trade),
            ("trade", "trade", Kind::TradeRaw),
            ("depth@100ms", "depthUpdate", Kind::Book),
            ("depth", "depthUpdate", Kind::Book),
            ("bookTicker", "bookTicker", Kind::Quote),
            ("ticker", "24hrTicker", Kind::Ticker),
            ("kline_1m", "kline", Kind::Ticker),
            ("markPrice@1s", "markPriceUpdate", Kind::Ticker),
        ] {
            check(&wrapped(stream, event), Some((kind, 1_700_000_000_123)));
            let bare = format!(r#"{{"e":"{event}","E":1700000000123,"s":"BTCUSDT"}}"#);
            check(&bare, Some((kind, 1_700_000_000_123)));
        }
    }

    #[test]
    fn a_frame_without_time_has_none() {
        check(r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}"#, Some((Kind::Quote, 0)));
        check(r#"{"stream":"btcusdt@depth","data":{"U":1,"u":2}}"#, Some((Kind::Book, 0)));
    }

    #[test]
    fn what_is_rare_or_strange_is_never_recognised() {
        for frame in [
            "",
            "{",
            "[]",
            r#"{"result":null,"id":1}"#,
            r#"{"code":2,"msg":"no"}"#,
            r#"{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}"#,
            r#"{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":1}}"#,
            r#"{"stream":"!contractInfo","data":{"e":"contractInfo","E":1}}"#,
            r#"{"stream":"btcusdt@depth20","data":{}}"#,
            r#"{"stream":"btcusdt@rpiDepth","data":{}}"#,
            r#"{"stream":"btcusdt@trade"}"#,
            r#"{"stream":"btc\u0075sdt@trade","data":{"e":"trade"}}"#,
            r#"{"e":"serverShutdown","E":1}"#,
        ] {
            check(frame, None);
        }
    }
}
