//! Recorded pushes, and what a new subscriber of a recording is told.
//!
//! Recordings of before 2023 have no `seqId`: their books are numbered here by place, in the truth alone. Their `checksum` is real, and a
//! snapshot that is made up for a new subscriber has a right one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Okx, push};
use crate::event::{Event, Kind};
use crate::protocol::Protocol as _;
use crate::world::{Change, Frame, Row, Standing};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Push<'a> {
    #[serde(borrow)]
    arg: Arg<'a>,
    #[serde(default)]
    action: Option<&'a str>,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arg<'a> {
    channel: &'a str,
    #[serde(default)]
    inst_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Book<'a> {
    #[serde(borrow)]
    asks: Vec<&'a RawValue>,
    #[serde(borrow)]
    bids: Vec<&'a RawValue>,
    ts: &'a str,
    #[serde(default)]
    seq_id: Option<u64>,
}

fn rows(levels: &[&RawValue]) -> Option<Vec<Row>> {
    let row = |level: &&RawValue| {
        let columns: Vec<String> = serde_json::from_str(level.get()).ok()?;
        let [price, size, ..] = columns.as_slice() else { return None };
        Some(Row { price: price.clone(), size: size.clone(), text: level.get().to_owned() })
    };
    levels.iter().map(row).collect()
}

/// Recorded pushes: one event a row, the first of which is the push on the wire.
pub(super) fn frames(url: &str, text: &str) -> Vec<Frame> {
    let Ok(Push { arg, action, data }) = serde_json::from_str::<Push<'_>>(text) else { return Vec::new() };
    if !url.ends_with("/ws/v5/public") {
        return Vec::new();
    }
    let stream = format!("{}:{}", arg.channel, arg.inst_id);
    let kind = Okx.kind_of(&stream);
    let frame = |(at, row): (usize, &&RawValue)| {
        let change = match kind {
            Kind::Depth => {
                let book: Book<'_> = serde_json::from_str(row.get()).ok()?;
                let (bids, asks) = (rows(&book.bids)?, rows(&book.asks)?);
                Change::Book { whole: action == Some("snapshot"), id: book.seq_id, bids, asks }
            }
            _ => Change::Nothing,
        };
        let event = Event {
            kind,
            symbol: arg.inst_id.into(),
            variant: "".into(),
            streams: if at == 0 { vec![stream.clone()] } else { Vec::new() },
            payload: if at == 0 { text.to_owned() } else { row.get().to_owned() },
            logged: Some(row.get().to_owned()),
        };
        Some(Frame { event, change })
    };
    data.iter().enumerate().filter_map(frame).collect()
}

/// The truth has a book's row with what it does and its number.
pub(super) fn truth(frame: &Frame, standing: &Standing) -> Option<String> {
    let Change::Book { whole, id, .. } = &frame.change else { return None };
    let row = frame.event.logged.as_deref()?.trim_start().strip_prefix('{')?;
    let action = if *whole { "snapshot" } else { "update" };
    let numbers = match id {
        Some(_) => String::new(),
        None => format!(r#""seqId":{},"prevSeqId":{},"#, standing.id, standing.id as i64 - 1),
    };
    Some(format!(r#"{{"action":"{action}",{numbers}{row}"#))
}

/// What a new subscriber of a book begins with.
pub(super) fn state(stream: &str, standing: &Standing) -> Option<String> {
    let Push { data, .. } = serde_json::from_str::<Push<'_>>(&standing.last).ok()?;
    let book: Book<'_> = serde_json::from_str(data.first()?.get()).ok()?;
    let [bids, asks] = standing.levels();
    let side = |rows: &[&Row]| rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join(",");
    let seq = book.seq_id.map_or(String::new(), |seq| format!(r#","seqId":{seq},"prevSeqId":-1"#));
    let row = format!(
        r#"{{"asks":[{}],"bids":[{}],"ts":"{}","checksum":{}{seq}}}"#,
        side(&asks),
        side(&bids),
        book.ts,
        checksum(&bids, &asks)
    );
    Some(push(stream, "snapshot", &row))
}

/// CRC-32, signed, of the 25 best levels in turns: `bid:size:ask:size:…`, as printed.
fn checksum(bids: &[&Row], asks: &[&Row]) -> i32 {
    let mut parts = Vec::new();
    for at in 0..25 {
        for row in [bids.get(at), asks.get(at)].into_iter().flatten() {
            parts.extend([row.price.as_str(), row.size.as_str()]);
        }
    }
    crc32fast::hash(parts.join(":").as_bytes()).cast_signed()
}

/// Rows of a recorded list of instruments, by symbol.
pub(super) fn list(url: &str, body: &str) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        inst_id: String,
    }
    if !url.contains("/public/instruments") {
        return Vec::new();
    }
    let Ok(answer) = serde_json::from_str::<Answer<'_>>(body) else { return Vec::new() };
    let named = |row: &&RawValue| Some((serde_json::from_str::<Named>(row.get()).ok()?.inst_id, row.get().to_owned()));
    answer.data.iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_takes_turns_and_goes_on_with_the_longer_side() {
        let row = |price: &str, size: &str| Row { price: price.into(), size: size.into(), text: String::new() };
        let (bid, ask) = ([row("3366.1", "7"), row("3366", "6")], [row("3366.8", "9")]);
        let expected = crc32fast::hash(b"3366.1:7:3366.8:9:3366:6").cast_signed();
        assert_eq!(checksum(&bid.iter().collect::<Vec<_>>(), &ask.iter().collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_push_without_numbers_is_numbered_in_the_truth() {
        let text = r#"{"arg":{"channel":"books","instId":"A-B"},"action":"update","data":[{"asks":[["2","0","0","0"]],"bids":[],"ts":"7","checksum":-5}]}"#;
        let frames = frames("wss://ws.okx.com:8443/ws/v5/public", text);
        assert_eq!((frames.len(), frames[0].event.payload.as_str()), (1, text));
        let mut standing = Standing::default();
        standing.id = 4;
        let truth = truth(&frames[0], &standing).unwrap();
        assert!(truth.starts_with(r#"{"action":"update","seqId":4,"prevSeqId":3,"asks":"#), "{truth}");
    }
}
