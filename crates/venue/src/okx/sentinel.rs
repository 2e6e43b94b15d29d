//! Which channel a frame or answer is of, for the sentinel of shapes ([`crate::sentinel`]).
//!
//! The shapes are those of single rows, a table made of our own (`frames/okx/shapes.txt`, from the documents) by the test beside this
//! file. Words that are enum-like here are named in [`ENUMS`].

use std::sync::OnceLock;

use crate::sentinel::{OddFrame, Sentinel};
use crate::session::FetchKind;
use crate::shape::{self, Shapes, bytes_hash};

/// Rows of one message that are looked at: all are made of one mould.
const ROWS_MAX: usize = 2;

/// Paths whose words are listed in the table.
#[cfg(test)]
pub(super) const ENUMS: [&str; 8] =
    ["event", "side", "source", "state", "instType", "ctType", "details[].side", "details[].posSide"];

const TABLE: &str = include_str!("shapes.txt");

pub(super) fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| Shapes::parse(TABLE, "okx"))
}

/// Looks at a whole frame.
pub(super) fn look(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
    let (mut arg, mut data, mut event, mut strange) = (None, None, false, None);
    shape::members(frame, |key, value| match key {
        b"arg" => arg = Some(value),
        b"data" => data = Some(value),
        b"event" => event = true,
        b"action" => {}
        other => strange = Some(other),
    })?;
    if event {
        return sentinel.held_against("ack", frame);
    }
    let (arg, data) = (arg?, data?);
    if let Some(key) = strange {
        let what = || format!("unknown key `{}` beside `arg`, `action` and `data`", String::from_utf8_lossy(key));
        return Some(sentinel.odd("wrapper", bytes_hash(key), what));
    }
    let mut channel = None;
    shape::members(arg, |key, value| {
        if key == b"channel" {
            channel = shape::unquoted(value);
        }
    });
    rows(sentinel, channel_of(channel?)?, data)
}

/// Looks at an answer of REST with status 200.
pub(super) fn look_at_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
    let channel = match kind {
        FetchKind::TradesFrom | FetchKind::NewestTrades | FetchKind::TradesAt => "restTrades",
        FetchKind::OpenInterest => "restOpenInterest",
        FetchKind::Instruments => "contractInfo",
        FetchKind::BookSnapshot | FetchKind::ServerTime => return None,
    };
    let mut data = None;
    shape::members(body, |key, value| {
        if key == b"data" {
            data = Some(value);
        }
    });
    rows(sentinel, channel, data?)
}

fn rows(sentinel: &mut Sentinel, channel: &'static str, data: &[u8]) -> Option<OddFrame> {
    let (mut seen, mut odd) = (0, None);
    shape::elements(data, |row| {
        seen += 1;
        if seen <= ROWS_MAX && odd.is_none() {
            odd = sentinel.held_against(channel, row);
        }
    });
    odd
}

/// Under which of [`shape::CHANNELS`] rows of a channel are counted; `None` for what nobody reads.
fn channel_of(channel: &[u8]) -> Option<&'static str> {
    Some(match channel {
        b"trades-all" => "trade",
        b"trades" => "aggTrade",
        b"books" | b"books-l2-tbt" | b"books50-l2-tbt" | b"books5" => "depth",
        b"bbo-tbt" => "bookTicker",
        b"tickers" => "ticker",
        b"mark-price" => "markPrice",
        b"index-tickers" => "indexPrice",
        b"funding-rate" => "funding",
        b"open-interest" => "openInterest",
        b"liquidation-orders" => "forceOrder",
        b"instruments" => "contractInfo",
        b"status" => "maintenance",
        other if other.starts_with(b"candle") => "kline",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::CHANNELS;

    const FRAMES: &str = include_str!("../../frames/okx/shapes.txt");

    fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
        FRAMES.lines().map(|line| line.strip_prefix("okx ").unwrap().split_once(' ').unwrap())
    }

    /// `WRITE_SHAPES=1` makes the table anew.
    #[test]
    fn the_table_is_that_of_our_frames() {
        shape::check_table("okx", FRAMES, TABLE, &ENUMS);
    }

    const NAMES: [(&str, &str); 12] = [
        ("trade", "trades-all"),
        ("aggTrade", "trades"),
        ("depth", "books"),
        ("bookTicker", "bbo-tbt"),
        ("ticker", "tickers"),
        ("kline", "candle1Dutc"),
        ("markPrice", "mark-price"),
        ("indexPrice", "index-tickers"),
        ("funding", "funding-rate"),
        ("openInterest", "open-interest"),
        ("forceOrder", "liquidation-orders"),
        ("maintenance", "status"),
    ];

    #[test]
    fn every_documented_row_is_known_and_an_odd_one_told() {
        let mut sentinel = Sentinel::new(shapes());
        for (channel, row) in lines() {
            assert!(CHANNELS.contains(&channel), "{channel}");
            if channel == "ack" {
                assert!(look(&mut sentinel, row.as_bytes()).is_none(), "{row}");
            }
            let Some((_, name)) = NAMES.iter().find(|(c, _)| *c == channel) else { continue };
            let frame = format!(r#"{{"arg":{{"channel":"{name}","instId":"AAA-BBB"}},"data":[{row},{row}]}}"#);
            assert!(look(&mut sentinel, frame.as_bytes()).is_none(), "{frame}");
            if channel == "kline" {
                continue;
            }
            let odd = frame.replace(&format!("[{row}"), &format!("[{}", row.replacen('{', r#"{"zz":"new","#, 1)));
            let odd = look(&mut sentinel, odd.as_bytes()).expect(row);
            assert_eq!(odd.channel, channel);
            assert!(odd.news.is_none_or(|news| news == "unknown key `zz` (text)"));
        }
        let frame = r#"{"arg":{"channel":"books","instId":"AAA-BBB"},"data":[],"v":2}"#;
        assert_eq!(look(&mut sentinel, frame.as_bytes()).unwrap().channel, "wrapper");
    }

    #[test]
    fn every_documented_answer_is_known_and_an_odd_one_told() {
        for (channel, kind) in [
            ("restTrades", FetchKind::TradesFrom),
            ("restOpenInterest", FetchKind::OpenInterest),
            ("contractInfo", FetchKind::Instruments),
        ] {
            for (_, row) in lines().filter(|line| line.0 == channel) {
                let mut sentinel = Sentinel::new(shapes());
                let page = |row: &str| format!(r#"{{"code":"0","msg":"","data":[{row},{row}]}}"#);
                assert!(look_at_answer(&mut sentinel, kind, page(row).as_bytes()).is_none(), "{row}");
                let odd = page(&row.replacen('{', r#"{"zz":"new","#, 1));
                let odd = look_at_answer(&mut sentinel, kind, odd.as_bytes()).expect(row);
                assert_eq!((odd.channel, odd.news.as_deref()), (channel, Some("unknown key `zz` (text)")));
            }
        }
        let mut sentinel = Sentinel::new(shapes());
        let nothing = br#"{"code":"0","msg":"","data":[]}"#;
        assert!(look_at_answer(&mut sentinel, FetchKind::TradesFrom, nothing).is_none(), "nothing newer");
    }
}
