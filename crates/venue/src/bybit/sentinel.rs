//! Which channel a frame or answer is of, for the sentinel of shapes ([`crate::sentinel`]).
//!
//! The shapes are those of single rows, a table made of our own (`frames/bybit/shapes.txt`, from the documents) by the test beside this
//! file. Words that are enum-like here are named in [`ENUMS`].

use std::sync::OnceLock;

use super::decode::{Subject, is_best};
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::FetchKind;
use crate::shape::{self, Shapes, bytes_hash};

/// Rows of one message that are looked at: all are made of one mould.
const ROWS_MAX: usize = 2;

/// Paths whose words are listed in the table.
#[cfg(test)]
pub(super) const ENUMS: [&str; 7] = ["op", "S", "L", "side", "status", "contractType", "tickDirection"];

const TABLE: &str = include_str!("shapes.txt");

pub(super) fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| Shapes::parse(TABLE, "bybit"))
}

/// Looks at a whole frame.
pub(super) fn look(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
    let (mut topic, mut data, mut answer, mut strange) = (None, None, false, None);
    shape::members(frame, |key, value| match key {
        b"topic" => topic = shape::unquoted(value),
        b"data" => data = Some(value),
        b"op" => answer = true,
        b"type" | b"ts" | b"cts" | b"cs" => {}
        other => strange = Some(other),
    })?;
    if answer {
        return sentinel.held_against("ack", frame);
    }
    let (topic, data) = (topic?, data?);
    if let Some(key) = strange {
        let what = || format!("unknown key `{}` beside `topic` and `data`", String::from_utf8_lossy(key));
        return Some(sentinel.odd("wrapper", bytes_hash(key), what));
    }
    rows(sentinel, channel_of(std::str::from_utf8(topic).ok()?)?, data)
}

/// Looks at an answer of REST with status 200.
pub(super) fn look_at_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
    let channel = match kind {
        FetchKind::NewestTrades => "restTrades",
        FetchKind::OpenInterest => "restOpenInterest",
        FetchKind::Instruments => "contractInfo",
        _ => return None,
    };
    let member = |json, name: &[u8]| {
        let mut found = None;
        shape::members(json, |key, value| {
            if key == name {
                found = Some(value);
            }
        });
        found
    };
    rows(sentinel, channel, member(member(body, b"result")?, b"list")?)
}

/// One object, or a list of them.
fn rows(sentinel: &mut Sentinel, channel: &'static str, data: &[u8]) -> Option<OddFrame> {
    let (mut seen, mut odd) = (0, None);
    let list = shape::elements(data, |row| {
        seen += 1;
        if seen <= ROWS_MAX && odd.is_none() {
            odd = sentinel.held_against(channel, row);
        }
    });
    match list {
        Some(()) => odd,
        None => sentinel.held_against(channel, data),
    }
}

/// Under which of [`shape::CHANNELS`] rows of a topic are counted; `None` for what nobody reads.
fn channel_of(topic: &str) -> Option<&'static str> {
    let subject = Subject::of(topic);
    Some(match subject.channel {
        "publicTrade" => "trade",
        "orderbook" if is_best(subject.parameter)? => "bookTicker",
        "orderbook" => "depth",
        "tickers" => "ticker",
        "kline" => "kline",
        "allLiquidation" => "forceOrder",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::CHANNELS;

    const FRAMES: &str = include_str!("../../frames/bybit/shapes.txt");

    fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
        FRAMES.lines().map(|line| line.strip_prefix("bybit ").unwrap().split_once(' ').unwrap())
    }

    /// `WRITE_SHAPES=1` makes the table anew.
    #[test]
    fn the_table_is_that_of_our_frames() {
        shape::check_table("bybit", FRAMES, TABLE, &ENUMS);
        let read: Vec<&str> = shapes().channels().collect();
        assert_eq!(read.len(), TABLE.lines().count(), "a channel of too many paths has no shape: {read:?}");
    }

    const NAMES: [(&str, &str); 6] = [
        ("trade", "publicTrade.AAABBB"),
        ("depth", "orderbook.200.AAABBB"),
        ("bookTicker", "orderbook.1.AAABBB"),
        ("ticker", "tickers.AAABBB"),
        ("kline", "kline.1.AAABBB"),
        ("forceOrder", "allLiquidation.AAABBB"),
    ];

    #[test]
    fn every_documented_row_is_known_and_an_odd_one_told() {
        let mut sentinel = Sentinel::new(shapes());
        for (channel, row) in lines() {
            assert!(CHANNELS.contains(&channel), "{channel}");
            if channel == "ack" {
                assert!(look(&mut sentinel, row.as_bytes()).is_none(), "{row}");
            }
            let Some((_, topic)) = NAMES.iter().find(|(c, _)| *c == channel) else { continue };
            let listed = matches!(channel, "trade" | "kline" | "forceOrder");
            let frame = |row: &str| {
                let data = if listed { format!("[{row},{row}]") } else { row.to_owned() };
                format!(r#"{{"topic":"{topic}","type":"snapshot","ts":1790000000000,"data":{data}}}"#)
            };
            assert!(look(&mut sentinel, frame(row).as_bytes()).is_none(), "{row}");
            let odd = look(&mut sentinel, frame(&row.replacen('{', r#"{"zz":"new","#, 1)).as_bytes()).expect(row);
            assert_eq!(odd.channel, channel);
            assert!(odd.news.is_none_or(|news| news == "unknown key `zz` (text)"));
        }
        let frame = r#"{"topic":"orderbook.200.AAABBB","data":{},"v":2}"#;
        assert_eq!(look(&mut sentinel, frame.as_bytes()).unwrap().channel, "wrapper");
    }

    #[test]
    fn every_documented_answer_is_known_and_an_odd_one_told() {
        for (channel, kind) in [
            ("restTrades", FetchKind::NewestTrades),
            ("restOpenInterest", FetchKind::OpenInterest),
            ("contractInfo", FetchKind::Instruments),
        ] {
            for (_, row) in lines().filter(|line| line.0 == channel) {
                let mut sentinel = Sentinel::new(shapes());
                let page = |row: &str| format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"list":[{row},{row}]}}}}"#);
                assert!(look_at_answer(&mut sentinel, kind, page(row).as_bytes()).is_none(), "{row}");
                let odd = page(&row.replacen('{', r#"{"zz":"new","#, 1));
                let odd = look_at_answer(&mut sentinel, kind, odd.as_bytes()).expect(row);
                assert_eq!((odd.channel, odd.news.as_deref()), (channel, Some("unknown key `zz` (text)")));
            }
        }
        let mut sentinel = Sentinel::new(shapes());
        let nothing = br#"{"retCode":0,"retMsg":"OK","result":{"list":[]}}"#;
        assert!(look_at_answer(&mut sentinel, FetchKind::NewestTrades, nothing).is_none(), "nothing newer");
    }
}
