//! Which channel a frame or answer is of, for the sentinel of shapes ([`crate::sentinel`]).
//!
//! The shapes are those of single rows, a table made of our own (`frames/kraken/shapes.txt`, from the documents) by the test beside this
//! file. Words that are enum-like here are named in [`ENUMS`]. Frames of the first version come in recordings alone and are not looked at.

use std::sync::OnceLock;

use crate::sentinel::{OddFrame, Sentinel};
use crate::session::FetchKind;
use crate::shape::{self, Shapes, bytes_hash};

/// Rows of one message that are looked at: all are made of one mould.
const ROWS_MAX: usize = 2;

/// Paths whose words are listed in the table.
#[cfg(test)]
pub(super) const ENUMS: [&str; 6] = ["method", "side", "ord_type", "status", "system", "result.channel"];

const TABLE: &str = include_str!("shapes.txt");

pub(super) fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| Shapes::parse(TABLE, "kraken"))
}

/// Looks at a whole frame.
pub(super) fn look(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
    let (mut channel, mut data, mut method, mut old, mut strange) = (None, None, false, false, None);
    shape::members(frame, |key, value| match key {
        b"channel" => channel = shape::unquoted(value),
        b"data" => data = Some(value),
        b"method" => method = true,
        b"event" => old = true,
        b"type" | b"timestamp" => {}
        other => strange = Some(other),
    })?;
    if old {
        return None;
    }
    if method {
        return sentinel.held_against("ack", frame);
    }
    let (name, data) = (channel_of(channel?)?, data?);
    if let Some(key) = strange {
        let what = || format!("unknown key `{}` beside `channel`, `type` and `data`", String::from_utf8_lossy(key));
        return Some(sentinel.odd("wrapper", bytes_hash(key), what));
    }
    if name != "contractInfo" {
        return rows(sentinel, name, data);
    }
    let mut pairs = None;
    shape::members(data, |key, value| {
        if key == b"pairs" {
            pairs = Some(value);
        }
    });
    rows(sentinel, name, pairs?)
}

/// Looks at an answer of REST with status 200. `AssetPairs` is taken names from.
pub(super) fn look_at_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
    if !matches!(kind, FetchKind::TradesFrom | FetchKind::NewestTrades | FetchKind::TradesAt) {
        return None;
    }
    let (mut result, mut odd) = (None, None);
    shape::members(body, |key, value| {
        if key == b"result" {
            result = Some(value);
        }
    });
    shape::members(result?, |key, value| {
        if key != b"last" && odd.is_none() {
            odd = rows(sentinel, "restTrades", value);
        }
    });
    odd
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
        b"trade" => "trade",
        b"book" => "depth",
        b"ticker" => "ticker",
        b"ohlc" => "kline",
        b"instrument" => "contractInfo",
        b"status" => "maintenance",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::CHANNELS;

    const FRAMES: &str = include_str!("../../frames/kraken/shapes.txt");

    fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
        FRAMES.lines().map(|line| line.strip_prefix("kraken ").unwrap().split_once(' ').unwrap())
    }

    /// `WRITE_SHAPES=1` makes the table anew.
    #[test]
    fn the_table_is_that_of_our_frames() {
        shape::check_table("kraken", FRAMES, TABLE, &ENUMS);
    }

    const NAMES: [(&str, &str); 5] =
        [("trade", "trade"), ("depth", "book"), ("ticker", "ticker"), ("kline", "ohlc"), ("maintenance", "status")];

    #[test]
    fn every_documented_row_is_known_and_an_odd_one_told() {
        let mut sentinel = Sentinel::new(shapes());
        for (channel, row) in lines() {
            assert!(CHANNELS.contains(&channel), "{channel}");
            let frame = match NAMES.iter().find(|(c, _)| *c == channel) {
                Some((_, name)) => format!(r#"{{"channel":"{name}","type":"update","data":[{row},{row}]}}"#),
                None if channel == "contractInfo" => {
                    format!(r#"{{"channel":"instrument","type":"snapshot","data":{{"assets":[],"pairs":[{row}]}}}}"#)
                }
                None if channel == "ack" => row.to_owned(),
                None => continue,
            };
            assert!(look(&mut sentinel, frame.as_bytes()).is_none(), "{frame}");
            let odd = frame.replacen(row, &row.replacen('{', r#"{"zz":"new","#, 1), 1);
            let odd = look(&mut sentinel, odd.as_bytes()).expect(row);
            assert_eq!(odd.channel, channel);
            assert!(odd.news.is_none_or(|news| news == "unknown key `zz` (text)"));
        }
        let frame = r#"{"channel":"book","type":"update","data":[],"v":2}"#;
        assert_eq!(look(&mut sentinel, frame.as_bytes()).unwrap().channel, "wrapper");
        let heartbeat = look(&mut sentinel, br#"{"channel":"heartbeat"}"#);
        assert!(heartbeat.is_none() && look(&mut sentinel, br#"{"event":"heartbeat"}"#).is_none());
    }

    #[test]
    fn every_documented_answer_is_known_and_an_odd_one_told() {
        for (_, row) in lines().filter(|line| line.0 == "restTrades") {
            let mut sentinel = Sentinel::new(shapes());
            let page = |row: &str| format!(r#"{{"error":[],"result":{{"AAAUSD":[{row},{row}],"last":"1"}}}}"#);
            assert!(look_at_answer(&mut sentinel, FetchKind::TradesFrom, page(row).as_bytes()).is_none(), "{row}");
            let odd = page(&row.replace("\"b\"", "true").replace("\"s\"", "true"));
            let odd = look_at_answer(&mut sentinel, FetchKind::TradesFrom, odd.as_bytes()).expect(row);
            assert_eq!(odd.channel, "restTrades");
        }
        let mut sentinel = Sentinel::new(shapes());
        let nothing = br#"{"error":[],"result":{"AAAUSD":[],"last":"1"}}"#;
        assert!(look_at_answer(&mut sentinel, FetchKind::TradesFrom, nothing).is_none(), "nothing newer");
    }
}
