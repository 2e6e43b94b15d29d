//! Recorded messages, and what a new subscriber of a recording is told.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Bybit;
use super::category::Category;
use crate::event::{Event, Kind};
use crate::protocol::Protocol as _;
use crate::world::{Change, Frame, Row, Standing};

#[derive(Deserialize)]
struct Message<'a> {
    topic: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    ts: i64,
    #[serde(default)]
    cts: Option<i64>,
    #[serde(default)]
    cs: Option<u64>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Book {
    b: Vec<(String, String)>,
    a: Vec<(String, String)>,
    u: u64,
    #[serde(default)]
    seq: u64,
}

fn rows(levels: Vec<(String, String)>) -> Vec<Row> {
    let row = |(price, size): (String, String)| Row { text: format!(r#"["{price}","{size}"]"#), price, size };
    levels.into_iter().map(row).collect()
}

fn interval(minutes: &str) -> String {
    match minutes {
        "60" => "1h".into(),
        minutes if minutes.parse::<u32>().is_ok() => format!("{minutes}m"),
        other => other.to_owned(),
    }
}

/// A recorded frame of this category; none where it is an answer, or of another one.
pub(super) fn frame(bybit: &Bybit, url: &str, text: &str) -> Option<Frame> {
    let category = Category::of(bybit.0).as_str();
    if !url.ends_with(&format!("/v5/public/{category}")) {
        return None;
    }
    let message: Message<'_> = serde_json::from_str(text).ok()?;
    let topic = message.topic;
    let kind = bybit.kind_of(topic);
    let whole = message.kind == "snapshot";
    let change = match kind {
        Kind::Depth => {
            let Book { b, a, u, .. } = serde_json::from_str(message.data.get()).ok()?;
            Change::Book { whole, id: Some(u), bids: rows(b), asks: rows(a) }
        }
        Kind::Ticker => Change::Fields { whole, fields: serde_json::from_str(message.data.get()).ok()? },
        _ => Change::Nothing,
    };
    let symbol = topic.rsplit_once('.').map_or("", |(_, symbol)| symbol);
    let variant = match topic.split('.').collect::<Vec<_>>()[..] {
        ["kline", minutes, _] => interval(minutes),
        _ => String::new(),
    };
    let event = Event {
        kind,
        symbol: symbol.into(),
        variant: variant.as_str().into(),
        streams: vec![topic.to_owned()],
        payload: text.to_owned(),
        logged: None,
    };
    Some(Frame { event, change })
}

/// The truth has tickers whole, with the names of what the message brought.
pub(super) fn truth(frame: &Frame, standing: &Standing) -> Option<String> {
    let Change::Fields { fields, .. } = &frame.change else { return None };
    let message: Message<'_> = serde_json::from_str(&frame.event.payload).ok()?;
    let told: Vec<&String> = fields.keys().collect();
    let (data, told) = (Value::Object(standing.fields.clone()), serde_json::to_string(&told).ok()?);
    let Message { topic, kind, ts, .. } = message;
    Some(format!(r#"{{"topic":"{topic}","type":"{kind}","data":{data},"ts":{ts},"told":{told}}}"#))
}

/// What a new subscriber begins with: books and tickers.
pub(super) fn state(standing: &Standing) -> Option<String> {
    let Message { topic, ts, cts, cs, data, .. } = serde_json::from_str(&standing.last).ok()?;
    if topic.starts_with("orderbook.") {
        let Book { u, seq, .. } = serde_json::from_str(data.get()).ok()?;
        let side = |rows: Vec<&Row>| rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join(",");
        let [bids, asks] = standing.levels().map(side);
        let symbol = topic.rsplit_once('.').map_or("", |(_, symbol)| symbol);
        let cts = cts.map_or(String::new(), |cts| format!(r#","cts":{cts}"#));
        return Some(format!(
            r#"{{"topic":"{topic}","type":"snapshot","ts":{ts},"data":{{"s":"{symbol}","b":[{bids}],"a":[{asks}],"u":{u},"seq":{seq}}}{cts}}}"#
        ));
    }
    let fields: &Map<String, Value> = &standing.fields;
    if fields.is_empty() {
        return None;
    }
    let cs = cs.map_or(String::new(), |cs| format!(r#""cs":{cs},"#));
    let data = Value::Object(fields.clone());
    Some(format!(r#"{{"topic":"{topic}","type":"snapshot","data":{data},{cs}"ts":{ts}}}"#))
}

/// Rows of a recorded `instruments-info` of this category, by symbol.
pub(super) fn list(bybit: &Bybit, url: &str, body: &str) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: List<'a>,
    }
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        list: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Named {
        symbol: String,
    }
    let category = format!("category={}", Category::of(bybit.0).as_str());
    if !url.contains("/instruments-info") || !url.split(['?', '&']).any(|part| part == category) {
        return Vec::new();
    }
    let Ok(answer) = serde_json::from_str::<Answer<'_>>(body) else { return Vec::new() };
    let named = |row: &&RawValue| Some((serde_json::from_str::<Named>(row.get()).ok()?.symbol, row.get().to_owned()));
    answer.result.list.iter().filter_map(named).collect()
}
