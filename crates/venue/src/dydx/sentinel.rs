//! Which channel a frame or answer is of, for the sentinel of shapes ([`crate::sentinel`]).
//!
//! The shapes are those of single rows, a table made of our own (`frames/dydx/shapes.txt`, from the documents) by the test beside this
//! file. Words that are enum-like here are named in [`ENUMS`].

use std::sync::OnceLock;

use crate::sentinel::{OddFrame, Sentinel};
use crate::session::FetchKind;
use crate::shape::{self, Shapes, bytes_hash};

/// Rows of one message that are looked at: all are made of one mould.
const ROWS_MAX: usize = 2;

/// Paths whose words are listed in the table.
#[cfg(test)]
pub(super) const ENUMS: [&str; 4] = ["type", "side", "status", "marketType"];

const TABLE: &str = include_str!("shapes.txt");

pub(super) fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| Shapes::parse(TABLE, "dydx"))
}

/// Looks at a whole frame.
pub(super) fn look(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
    let (mut kind, mut channel, mut contents, mut strange) = (None, None, None, None);
    shape::members(frame, |key, value| match key {
        b"type" => kind = shape::unquoted(value),
        b"channel" => channel = shape::unquoted(value),
        b"contents" => contents = Some(value),
        b"connection_id" | b"message_id" | b"id" | b"version" | b"message" => {}
        other => strange = Some(other),
    })?;
    match (kind?, contents) {
        (b"subscribed" | b"channel_data" | b"channel_batch_data", Some(contents)) => {
            if let Some(key) = strange {
                let what = || format!("unknown key `{}` beside `contents`", String::from_utf8_lossy(key));
                return Some(sentinel.odd("wrapper", bytes_hash(key), what));
            }
            if contents.starts_with(b"[") {
                return rows(contents, |one| data(sentinel, channel?, one));
            }
            data(sentinel, channel?, contents)
        }
        _ => sentinel.held_against("ack", frame),
    }
}

/// Looks at an answer of REST with status 200.
pub(super) fn look_at_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
    match kind {
        FetchKind::NewestTrades | FetchKind::TradesAt => within(sentinel, "restTrades", "trades", body),
        FetchKind::BookSnapshot => sentinel.held_against("restDepth", body),
        FetchKind::Instruments => within(sentinel, "contractInfo", "markets", body),
        FetchKind::TradesFrom | FetchKind::OpenInterest | FetchKind::ServerTime => None,
    }
}

/// One message's contents.
fn data(sentinel: &mut Sentinel, channel: &[u8], contents: &[u8]) -> Option<OddFrame> {
    match channel {
        b"v4_trades" => within(sentinel, "trade", "trades", contents),
        b"v4_orderbook" => sentinel.held_against("depth", contents),
        b"v4_candles" if is_list(contents, b"candles") => within(sentinel, "kline", "candles", contents),
        b"v4_candles" => sentinel.held_against("kline", contents),
        b"v4_markets" => within(sentinel, "contractInfo", "markets", contents)
            .or_else(|| within(sentinel, "contractInfo", "trading", contents))
            .or_else(|| within(sentinel, "indexPrice", "oraclePrices", contents)),
        _ => None,
    }
}

fn is_list(contents: &[u8], key: &[u8]) -> bool {
    let mut found = false;
    let _ = shape::members(contents, |k, _| found |= k == key);
    found
}

/// The rows under one key: an array's elements, or an object's values.
fn within(sentinel: &mut Sentinel, channel: &'static str, key: &str, contents: &[u8]) -> Option<OddFrame> {
    let mut list = None;
    shape::members(contents, |k, value| {
        if k == key.as_bytes() {
            list = Some(value);
        }
    })?;
    rows(list?, |row| sentinel.held_against(channel, row))
}

fn rows<'a>(list: &'a [u8], mut f: impl FnMut(&'a [u8]) -> Option<OddFrame>) -> Option<OddFrame> {
    let (mut seen, mut odd) = (0, None);
    let mut look = |row| {
        seen += 1;
        if seen <= ROWS_MAX && odd.is_none() {
            odd = f(row);
        }
    };
    if list.starts_with(b"[") {
        shape::elements(list, look)?;
    } else {
        shape::members(list, |_, value| look(value))?;
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::CHANNELS;

    const FRAMES: &str = include_str!("../../frames/dydx/shapes.txt");

    fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
        FRAMES.lines().map(|line| line.strip_prefix("dydx ").unwrap().split_once(' ').unwrap())
    }

    /// `WRITE_SHAPES=1` makes the table anew.
    #[test]
    fn the_table_is_that_of_our_frames() {
        shape::check_table("dydx", FRAMES, TABLE, &ENUMS);
    }

    fn frames_of(channel: &str, row: &str) -> Vec<String> {
        let frame = |name: &str, contents: &str| {
            format!(
                r#"{{"type":"channel_data","connection_id":"c","message_id":1,"id":"AAA-USD","channel":"{name}","version":"1.0.0","contents":{contents}}}"#
            )
        };
        match channel {
            "trade" => vec![frame("v4_trades", &format!(r#"{{"trades":[{row},{row}]}}"#))],
            "depth" => vec![frame("v4_orderbook", row), frame("v4_orderbook", &format!("[{row},{row}]"))],
            "kline" => vec![frame("v4_candles", row), frame("v4_candles", &format!(r#"{{"candles":[{row}]}}"#))],
            "contractInfo" => {
                let of = |key: &str| frame("v4_markets", &format!(r#"{{"{key}":{{"AAA-USD":{row}}}}}"#));
                vec![of("markets"), of("trading")]
            }
            "indexPrice" => vec![frame("v4_markets", &format!(r#"{{"oraclePrices":{{"AAA-USD":{row}}}}}"#))],
            "ack" => vec![row.to_owned()],
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_documented_row_is_known_and_an_odd_one_told() {
        let mut told = 0;
        for (channel, row) in lines() {
            assert!(CHANNELS.contains(&channel), "{channel}");
            let odd = row.replacen('{', r#"{"zz":"new","#, 1);
            for (good, bad) in frames_of(channel, row).iter().zip(frames_of(channel, &odd)) {
                let mut sentinel = Sentinel::new(shapes());
                assert!(look(&mut sentinel, good.as_bytes()).is_none(), "{good}");
                let odd = look(&mut sentinel, bad.as_bytes()).expect(&bad);
                assert_eq!((odd.channel, odd.news.as_deref()), (channel, Some("unknown key `zz` (text)")));
                told += 1;
            }
        }
        assert!(told > 20, "{told}");
        let mut sentinel = Sentinel::new(shapes());
        let frame = frames_of("depth", r#"{"bids":[]}"#)[0].replace(r#""version""#, r#""clock":1,"version""#);
        assert_eq!(look(&mut sentinel, frame.as_bytes()).unwrap().channel, "wrapper");
    }

    #[test]
    fn every_documented_answer_is_known_and_an_odd_one_told() {
        for (channel, row) in lines() {
            let (kind, page): (_, fn(&str) -> String) = match channel {
                "restTrades" => (FetchKind::TradesAt, |row| format!(r#"{{"trades":[{row},{row}]}}"#)),
                "restDepth" => (FetchKind::BookSnapshot, |row| row.to_owned()),
                "contractInfo" => (FetchKind::Instruments, |row| format!(r#"{{"markets":{{"AAA-USD":{row}}}}}"#)),
                _ => continue,
            };
            let mut sentinel = Sentinel::new(shapes());
            assert!(look_at_answer(&mut sentinel, kind, page(row).as_bytes()).is_none(), "{row}");
            let odd = page(&row.replacen('{', r#"{"zz":"new","#, 1));
            let odd = look_at_answer(&mut sentinel, kind, odd.as_bytes()).expect(row);
            assert_eq!((odd.channel, odd.news.as_deref()), (channel, Some("unknown key `zz` (text)")));
        }
        let mut sentinel = Sentinel::new(shapes());
        assert!(look_at_answer(&mut sentinel, FetchKind::TradesAt, br#"{"trades":[]}"#).is_none());
    }
}
