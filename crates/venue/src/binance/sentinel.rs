//! Which channel a frame or answer is of, for the sentinel of shapes ([`crate::sentinel`]).
//!
//! The shapes are a table made of our own frames (`frames/binance/shapes.txt`, from the documents) by the test beside this file.
//! Words that are enum-like here are named in [`ENUMS`].

use std::sync::OnceLock;

use super::limits::Variant;
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::FetchKind;
use crate::shape::{self, Shapes, bytes_hash};

/// Items of one REST answer that are looked at: a page is made of one mould.
const ITEMS_MAX: usize = 2;

/// Paths whose words are listed in the table.
#[cfg(test)]
pub(super) const ENUMS: [&str; 9] = ["X", "st", "cs", "ct", "o.S", "o.o", "o.f", "o.X", "o.st"];

const TABLE: &str = include_str!("shapes.txt");

pub(super) fn shapes(variant: Variant) -> &'static Shapes {
    static SPOT: OnceLock<Shapes> = OnceLock::new();
    static FUTURES: OnceLock<Shapes> = OnceLock::new();
    if variant.is_futures() {
        FUTURES.get_or_init(|| Shapes::parse(TABLE, "futures"))
    } else {
        SPOT.get_or_init(|| Shapes::parse(TABLE, "spot"))
    }
}

/// Looks at a whole frame, wrapped or not.
pub(super) fn look(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
    let (mut stream, mut data, mut strange) = (false, None, None);
    shape::members(frame, |key, value| match key {
        b"stream" => stream = true,
        b"data" => data = Some(value),
        other => strange = Some(other),
    });
    let Some(payload) = data.filter(|_| stream) else { return payloads(sentinel, frame) };
    if let Some(key) = strange {
        let what = || format!("unknown key `{}` beside `stream` and `data`", String::from_utf8_lossy(key));
        return Some(sentinel.odd("wrapper", bytes_hash(key), what));
    }
    payloads(sentinel, payload)
}

/// Looks at an answer of REST with status 200. Definitions are held against what their decoder knows instead.
pub(super) fn look_at_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
    let channel = |item: &[u8]| match kind {
        FetchKind::BookSnapshot => Some("restDepth"),
        FetchKind::OpenInterest => Some("restOpenInterest"),
        // Aggregates and single trades, whichever source was asked.
        FetchKind::TradesFrom | FetchKind::NewestTrades | FetchKind::TradesAt => {
            let mut aggregate = false;
            shape::members(item, |key, _| aggregate |= key == b"a");
            Some(if aggregate { "restAggTrades" } else { "restTrades" })
        }
        FetchKind::Instruments | FetchKind::ServerTime => None,
    };
    let (mut items, mut odd) = (0, None);
    let many = shape::elements(body, |item| {
        items += 1;
        if items <= ITEMS_MAX && odd.is_none() {
            odd = channel(item).and_then(|channel| sentinel.held_against(channel, item));
        }
    });
    if many.is_some() { odd } else { channel(body).and_then(|channel| sentinel.held_against(channel, body)) }
}

fn payloads(sentinel: &mut Sentinel, json: &[u8]) -> Option<OddFrame> {
    let mut first = None;
    if shape::elements(json, |one| {
        if first.is_none() {
            first = payload(sentinel, one);
        }
    })
    .is_some()
    {
        return first;
    }
    payload(sentinel, json)
}

fn payload(sentinel: &mut Sentinel, payload: &[u8]) -> Option<OddFrame> {
    sentinel.held_against(channel_of(payload)?, payload)
}

/// The channel of a payload, by what tells it to the decoder too; `None` for errors and what nobody knows.
fn channel_of(payload: &[u8]) -> Option<&'static str> {
    let (mut event, mut u, mut bid_size, mut snapshot, mut id, mut result) = (None, false, false, false, false, false);
    shape::members(payload, |key, value| match key {
        b"e" => event = shape::unquoted(value),
        b"u" => u = true,
        b"B" => bid_size = true,
        b"lastUpdateId" => snapshot = true,
        b"id" => id = true,
        b"result" => result = true,
        _ => {}
    })?;
    Some(match event {
        Some(b"trade") => "trade",
        Some(b"aggTrade") => "aggTrade",
        Some(b"depthUpdate") => "depth",
        Some(b"bookTicker") => "bookTicker",
        Some(b"24hrTicker") => "ticker",
        Some(b"kline") => "kline",
        Some(b"markPriceUpdate") => "markPrice",
        Some(b"forceOrder") => "forceOrder",
        Some(b"contractInfo") => "contractInfo",
        Some(b"serverShutdown") => "serverShutdown",
        Some(_) => return None,
        None if snapshot => "partialDepth",
        None if u && bid_size => "bookTicker",
        None if id && result => "ack",
        None => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentinel::KEPT_MAX;
    use crate::shape::CHANNELS;

    const FRAMES: &str = include_str!("../../frames/binance/shapes.txt");

    fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        FRAMES.lines().map(|line| {
            let (family, rest) = line.split_once(' ').unwrap();
            let (channel, frame) = rest.split_once(' ').unwrap();
            (family, channel, frame)
        })
    }

    /// `WRITE_SHAPES=1` makes the table anew.
    #[test]
    fn the_table_is_that_of_our_frames() {
        shape::check_table("binance", FRAMES, TABLE, &ENUMS);
    }

    #[test]
    fn every_documented_frame_is_known_and_named_by_its_channel() {
        for (family, channel, frame) in lines().filter(|line| !line.1.starts_with("rest")) {
            assert_eq!(channel_of(frame.as_bytes()), Some(channel), "{frame}");
            assert!(CHANNELS.contains(&channel));
            let variant = if family == "spot" { Variant::Spot } else { Variant::UsdM };
            let mut sentinel = Sentinel::new(shapes(variant));
            for text in
                [frame.to_owned(), format!(r#"{{"stream":"x@y","data":{frame}}}"#), format!("[{frame}, {frame}]")]
            {
                assert!(look(&mut sentinel, text.as_bytes()).is_none(), "{text}");
            }
        }
    }

    #[test]
    fn every_documented_answer_is_known_and_an_odd_one_told() {
        for (family, channel, frame) in lines().filter(|line| line.1.starts_with("rest")) {
            assert!(CHANNELS.contains(&channel));
            let variant = if family == "spot" { Variant::Spot } else { Variant::UsdM };
            let kind = match channel {
                "restDepth" => FetchKind::BookSnapshot,
                "restOpenInterest" => FetchKind::OpenInterest,
                _ => FetchKind::TradesFrom,
            };
            let mut sentinel = Sentinel::new(shapes(variant));
            let page = |item: &str| match kind {
                FetchKind::TradesFrom => format!("[{item},{item},{item}]"),
                _ => item.to_owned(),
            };
            assert!(look_at_answer(&mut sentinel, kind, page(frame).as_bytes()).is_none(), "{frame}");
            let odd = page(&frame.replacen('{', r#"{"zz":"new","#, 1));
            let odd = look_at_answer(&mut sentinel, kind, odd.as_bytes()).expect(frame);
            assert_eq!((odd.channel, odd.news.as_deref()), (channel, Some("unknown key `zz` (text)")));
        }
        let mut sentinel = Sentinel::new(shapes(Variant::Spot));
        assert!(look_at_answer(&mut sentinel, FetchKind::TradesFrom, b"[]").is_none(), "nothing newer");
    }

    #[test]
    fn an_odd_shape_is_told_once_and_kept_and_counted_always() {
        let mut sentinel = Sentinel::new(shapes(Variant::Spot));
        let frame =
            r#"{"stream":"a@trade","data":{"e":"trade","E":1,"s":"A","t":1,"p":"1","q":"1","T":1,"m":true,"zz":7}}"#;
        let first = look(&mut sentinel, frame.as_bytes()).unwrap();
        assert_eq!((first.channel, first.news.as_deref()), ("trade", Some("unknown key `zz` (number)")));
        for i in 1..400 {
            let again = look(&mut sentinel, frame.replace(":7", &format!(":{i}")).as_bytes()).unwrap();
            assert!(again.news.is_none() && again.fingerprint == first.fingerprint);
            assert_eq!(again.keep, i < KEPT_MAX);
        }
        assert_eq!(sentinel.counts[shape::channel_index("trade")], 400);
        let wrapper = look(&mut sentinel, br#"{"stream":"a","data":{},"v":2}"#).unwrap();
        assert_eq!(wrapper.channel, "wrapper");
    }
}
