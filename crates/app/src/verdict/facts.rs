//! One spelling for what was published, so that the venue's truth, a tape record and a client's message can be compared.
//!
//! The three arrive by different ways: the truth as the simulator's own wire text, records through the tape's reader,
//! messages through the gateway's JSON. Each is brought to a [`Trade`], a set of levels, or a line of text (a *fact*);
//! numbers are exact decimals in canonical form, times are the venue's milliseconds. Nothing here comes from the
//! pipeline's decoder: what it reads wrongly must show.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use wholetape_model::{Decimal, Kind, Levels, Record, Scales, Side, TradeId, Ts, View};

/// A trade with all its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    pub id: TradeId,
    pub first_id: u64,
    pub last_id: u64,
    pub price: Decimal,
    pub size: Decimal,
    /// True when the seller took.
    pub seller_took: Option<bool>,
    pub time_ms: i64,
}

/// What a gap mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub gap: u64,
    pub state: String,
    pub cause: String,
    pub from_id: u64,
    pub to_id: u64,
    pub from_ns: i64,
    pub to_ns: i64,
}

pub type Level = (Decimal, Decimal);

/// One record or message, as far as the verdict cares.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Trade(Trade),
    Snapshot {
        id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
    },
    Delta {
        id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
    },
    Fact(String),
    Gap(Gap),
    Validity {
        live: bool,
    },
    Retract(u64),
    /// Checkpoints and whatever the truth does not speak of.
    Other,
}

fn canon(d: Decimal) -> Decimal {
    d.canonical()
}

/// A decimal from venue text; `None` where it is none.
pub fn number(text: &str) -> Option<Decimal> {
    Decimal::parse(text.as_bytes()).ok().map(canon)
}

/// The same levels in the same order have the same digest.
pub fn digest(bids: &[Level], asks: &[Level]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (side, levels) in [(0_u8, bids), (1, asks)] {
        for (price, size) in levels {
            // A removed level is printed as 0, 0.000 or 0.00000000.
            (side, price.raw, price.scale, size.raw, size.scale).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The levels of venue text.
pub fn levels(text: &[(String, String)]) -> Vec<Level> {
    text.iter().filter_map(|(p, s)| Some((number(p)?, number(s)?))).collect()
}

// ---- facts: `name value value …`, alike from all three sides ----

fn quote(id: u64, n: [Decimal; 4]) -> String {
    let [bid, bid_size, ask, ask_size] = n.map(canon);
    format!("quote {id} {bid} {bid_size} {ask} {ask_size}")
}

fn ms(ts: Ts) -> i64 {
    ts.0.div_euclid(1_000_000)
}

pub(super) fn list(name: &str, at_ms: i64, numbers: &[Decimal], rest: &[i64]) -> String {
    let mut text = format!("{name} @{at_ms}");
    for n in numbers {
        text.push(' ');
        text.push_str(&canon(*n).to_string());
    }
    for n in rest {
        text.push(' ');
        text.push_str(&n.to_string());
    }
    text
}

/// The difference, exactly.
pub(super) fn minus(a: Decimal, b: Decimal) -> Option<Decimal> {
    let scale = a.scale.max(b.scale);
    let raw = a.rescale(scale).ok()?.raw.checked_sub(b.rescale(scale).ok()?.raw)?;
    Some(Decimal { raw, scale })
}

/// The fact without its time, for what a venue does not date: `bar-1m @0 …`.
pub fn untimed(fact: &str) -> String {
    match fact.split_once('@') {
        Some((name, rest)) => format!("{name}@0{}", rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')),
        None => fact.to_owned(),
    }
}

// ---- from the tape ----

fn record_levels(levels: Levels<'_>, scales: Scales) -> Vec<Level> {
    levels.iter().map(|l| (canon(scales.price(l.price)), canon(scales.size(l.size)))).collect()
}

/// What a record says. `None` when it cannot be read.
pub fn of_record(record: &Record<'_>) -> Option<Item> {
    use wholetape_model::BookAction as A;
    let scales = record.scales();
    let at = ms(record.ts_event());
    Some(match record.view().ok()? {
        View::Trade(t) => Item::Trade(Trade {
            id: t.id,
            first_id: t.first_id,
            last_id: t.last_id,
            price: canon(scales.price(t.price)),
            size: canon(scales.size(t.size)),
            seller_took: t.aggressor.map(|side| side == Side::Sell),
            time_ms: at,
        }),
        View::Book(b) => {
            let (bids, asks) = (record_levels(b.bids, scales), record_levels(b.asks, scales));
            match b.action {
                A::Snapshot => Item::Snapshot { id: b.last_id, bids, asks },
                A::Delta => Item::Delta { id: b.last_id, bids, asks },
                A::Checkpoint => Item::Other,
            }
        }
        View::Quote(q) => Item::Fact(quote(
            q.update_id,
            [scales.price(q.bid), scales.size(q.bid_size), scales.price(q.ask), scales.size(q.ask_size)],
        )),
        View::Ticker(t) => Item::Fact(list(
            "ticker",
            at,
            &[t.last, t.open, t.high, t.low, t.volume, t.quote_volume, t.change],
            &[t.trades as i64, ms(t.open_ts), ms(t.close_ts)],
        )),
        View::Bar(b) => Item::Fact(list(
            &format!("bar-{}", b.period),
            at,
            &[b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.taker_volume, b.taker_quote_volume],
            &[b.trades as i64, b.first_id as i64, b.last_id as i64, ms(b.open_ts), ms(b.close_ts), i64::from(b.closed)],
        )),
        View::MarkPrice(d) => Item::Fact(list("mark", at, &[d], &[])),
        View::IndexPrice(d) => Item::Fact(list("index", at, &[d], &[])),
        View::Funding(f) => Item::Fact(list("funding", at, &[f.rate], &[ms(f.next_ts)])),
        View::OpenInterest(d) => Item::Fact(list("open_interest", at, &[d], &[])),
        View::Liquidation(l) => Item::Fact(list(
            &format!("liquidation {}", l.side.map_or("", Side::as_str)),
            at,
            &[l.price, l.average_price, l.size, l.order_size],
            &[],
        )),
        View::Status(s) => Item::Fact(format!("status @{at} {}", s.text)),
        View::Gap(g) => Item::Gap(Gap {
            gap: g.gap,
            state: g.state.as_str().into(),
            cause: g.cause.as_str().into(),
            from_id: g.from_id,
            to_id: g.to_id,
            from_ns: g.from_ts.0,
            to_ns: g.to_ts.0,
        }),
        View::Validity(v) => Item::Validity { live: v.state == wholetape_model::ValidityState::Live },
        View::Retract(of) => Item::Retract(of),
        View::Instrument(_)
        | View::Link(_)
        | View::Finding(_)
        | View::Raw(_)
        | View::Coverage(_)
        | View::Alert(_)
        | View::Publication(_) => Item::Other,
    })
}

// ---- from a client's messages ----

/// A whole number that may be printed as text.
pub fn int(v: &Value, key: &str) -> Option<i64> {
    match v.get(key)? {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

/// A number, or a text where it is large or a UUID.
fn trade_id(v: &Value) -> Option<TradeId> {
    match v.get("id")? {
        Value::Number(n) => n.as_u64().map(TradeId::from),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

fn dec(v: &Value, key: &str) -> Option<Decimal> {
    number(v.get(key)?.as_str()?)
}

pub(super) fn decs<const N: usize>(v: &Value, keys: [&str; N]) -> Option<[Decimal; N]> {
    let mut out = [Decimal::ZERO; N];
    for (slot, key) in out.iter_mut().zip(keys) {
        *slot = dec(v, key)?;
    }
    Some(out)
}

fn json_levels(v: &Value, key: &str) -> Option<Vec<Level>> {
    v.get(key)?.as_array()?.iter().map(|l| Some((number(l.get(0)?.as_str()?)?, number(l.get(1)?.as_str()?)?))).collect()
}

/// What a `data`, `mark` or `snap` message says. `None` when it is not as the protocol describes.
pub fn of_message(kind: Kind, message: &Value) -> Option<Item> {
    let op = message.get("op")?.as_str()?;
    if op == "mark" {
        return Some(match message.get("mark")?.as_str()? {
            "gap" => Item::Gap(gap_of(message)?),
            "validity" => Item::Validity { live: message.get("state")?.as_str()? == "live" },
            "retract" => Item::Retract(int(message, "of")? as u64),
            _ => return None,
        });
    }
    let d = message.get("data")?;
    let at = int(d, "ts_event").map(|ns| ns.div_euclid(1_000_000));
    Some(match kind {
        Kind::Trade | Kind::TradeRaw => {
            let id = trade_id(d)?;
            // Left out where it covers itself alone; a UUID covers no numbers.
            let own = id.number().unwrap_or(0);
            Item::Trade(Trade {
                id,
                first_id: int(d, "first_id").map_or(own, |v| v as u64),
                last_id: int(d, "last_id").map_or(own, |v| v as u64),
                price: dec(d, "price")?,
                size: dec(d, "size")?,
                seller_took: d.get("side").and_then(Value::as_str).map(|side| side == "sell"),
                time_ms: at?,
            })
        }
        Kind::Book => {
            let (bids, asks) = (json_levels(d, "b")?, json_levels(d, "a")?);
            let id = int(message, "vid")? as u64;
            if op == "snap" { Item::Snapshot { id, bids, asks } } else { Item::Delta { id, bids, asks } }
        }
        Kind::Quote => Item::Fact(quote(int(d, "update_id")? as u64, decs(d, ["bid", "bid_size", "ask", "ask_size"])?)),
        Kind::Ticker => Item::Fact(list(
            "ticker",
            at?,
            &decs(d, ["last", "open", "high", "low", "volume", "quote_volume", "change"])?,
            &[int(d, "trades")?, int(d, "open_ts")? / 1_000_000, int(d, "close_ts")? / 1_000_000],
        )),
        Kind::Bar(period) => Item::Fact(list(
            &format!("bar-{period}"),
            at?,
            &decs(d, ["open", "high", "low", "close", "volume", "quote_volume", "taker_volume", "taker_quote_volume"])?,
            &[
                int(d, "trades")?,
                int(d, "first_id")?,
                int(d, "last_id")?,
                int(d, "open_ts")? / 1_000_000,
                int(d, "close_ts")? / 1_000_000,
                i64::from(d.get("closed")?.as_bool()?),
            ],
        )),
        Kind::Mark => Item::Fact(list("mark", at?, &decs(d, ["price"])?, &[])),
        Kind::Index => Item::Fact(list("index", at?, &decs(d, ["price"])?, &[])),
        Kind::Funding => Item::Fact(list("funding", at?, &decs(d, ["rate"])?, &[int(d, "next_ts")? / 1_000_000])),
        Kind::OpenInterest => Item::Fact(list("open_interest", at?, &decs(d, ["size"])?, &[])),
        Kind::Liquidation => Item::Fact(list(
            &format!("liquidation {}", d.get("side").and_then(Value::as_str).unwrap_or("")),
            at?,
            &decs(d, ["price", "average_price", "size", "order_size"])?,
            &[],
        )),
        Kind::Status => Item::Fact(format!("status @{} {}", at?, d.get("text")?.as_str()?)),
        _ => Item::Other,
    })
}

fn gap_of(m: &Value) -> Option<Gap> {
    Some(Gap {
        gap: int(m, "gap")? as u64,
        state: m.get("state")?.as_str()?.to_owned(),
        cause: m.get("cause")?.as_str()?.to_owned(),
        from_id: int(m, "from_id")? as u64,
        to_id: int(m, "to_id")? as u64,
        from_ns: int(m, "from_ts")?,
        to_ns: int(m, "to_ts")?,
    })
}

// ---- from the venue's own text ----

/// What one payload of the truth says: `(kind, fact)` for each topic that it fills. `None` when it cannot be read.
pub fn of_truth(kind: wholetape_sim::Kind, variant: &str, payload: &Value) -> Option<Vec<(Kind, String)>> {
    use wholetape_sim::Kind as K;
    let p = payload;
    if ["startedAt", "oraclePrices", "trading"].iter().any(|key| p.get(*key).is_some()) {
        return super::dydx::of_truth(kind, variant, p);
    }
    if ["interval_begin", "bid_qty"].iter().any(|key| p.get(*key).is_some()) {
        return super::kraken::of_truth(kind, variant, p);
    }
    // OKX's rows name their instrument in a key of its own, or are bare rows of columns.
    if p.is_array() || p.get("instId").is_some() {
        return super::okx::of_truth(kind, variant, p);
    }
    // Bybit's are whole messages.
    if p.get("topic").is_some() {
        return super::bybit::of_truth(kind, variant, p);
    }
    let event = || int(p, "E");
    let count = |v: &Value, key: &str| int(v, key).map(|n| n.max(0));
    Some(match kind {
        K::Kline => {
            let k = p.get("k")?;
            let period = wholetape_model::Period::parse(k.get("i").and_then(Value::as_str).unwrap_or(variant))?;
            let numbers = decs(k, ["o", "h", "l", "c", "v", "q", "V", "Q"])?;
            let rest = [
                int(k, "n")?,
                count(k, "f")?,
                count(k, "L")?,
                int(k, "t")?,
                int(k, "T")?,
                i64::from(k.get("x")?.as_bool()?),
            ];
            vec![(Kind::Bar(period), list(&format!("bar-{period}"), event()?, &numbers, &rest))]
        }
        K::Ticker => {
            let numbers = decs(p, ["c", "o", "h", "l", "v", "q", "p"])?;
            let rest = [int(p, "n")?, int(p, "O")?, int(p, "C")?];
            vec![(Kind::Ticker, list("ticker", event()?, &numbers, &rest))]
        }
        K::MarkPrice => {
            let at = event()?;
            let mut facts = vec![(Kind::Mark, list("mark", at, &decs(p, ["p"])?, &[]))];
            if let Some(index) = dec(p, "i") {
                facts.push((Kind::Index, list("index", at, &[index], &[])));
            }
            if let (Some(rate), Some(next)) = (dec(p, "r"), int(p, "T").filter(|next| *next > 0)) {
                facts.push((Kind::Funding, list("funding", at, &[rate], &[next])));
            }
            facts
        }
        K::ForceOrder => {
            let o = p.get("o")?;
            let side = match o.get("S")?.as_str()? {
                "BUY" => "buy",
                "SELL" => "sell",
                _ => "",
            };
            let numbers = [dec(o, "p")?, dec(o, "ap").unwrap_or(Decimal::ZERO), dec(o, "z")?, dec(o, "q")?];
            vec![(Kind::Liquidation, list(&format!("liquidation {side}"), int(o, "T")?, &numbers, &[]))]
        }
        K::ContractInfo => vec![(Kind::Status, format!("status @{} {}", event()?, p.get("cs")?.as_str()?))],
        K::OpenInterest => {
            let at = int(p, "time")?;
            vec![(Kind::OpenInterest, list("open_interest", at, &decs(p, ["openInterest"])?, &[]))]
        }
        _ => Vec::new(),
    })
}

/// What stood when a ticker was told, all of it. Of Bybit's and Kraken's alone: elsewhere a message says all that it means.
pub fn standing(payload: &Value) -> Vec<String> {
    let stood = match payload.get("bid_qty") {
        Some(_) => super::kraken::statistics(payload),
        None => super::bybit::standing(payload),
    };
    stood.unwrap_or_default().into_iter().map(|(_, fact)| fact).collect()
}

/// A quote of the truth.
pub fn quote_of_truth(q: &wholetape_sim::truth::Quote) -> Option<String> {
    Some(quote(q.update_id, [number(&q.bid)?, number(&q.bid_size)?, number(&q.ask)?, number(&q.ask_size)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        assert_eq!(number("1.500"), number("1.5"));
        assert_eq!(
            digest(&levels(&[("1.0".into(), "0.000".into())]), &[]),
            digest(&levels(&[("1".into(), "0".into())]), &[])
        );
        let (bid, ask) = (levels(&[("1".into(), "2".into())]), Vec::new());
        assert_ne!(digest(&bid, &ask), digest(&ask, &bid));
    }

    /// Whatever names it, a trade on the tape and the message of it are the same trade.
    #[test]
    fn a_trade_is_itself_on_tape_and_wire_whatever_its_id_is() {
        use wholetape_model::record::encode;
        use wholetape_model::{Price, Row, RowFlags, Size, Topic, TradeCondition};
        use wholetape_wire::message::{self, Context};
        let topic = Topic::parse("trade.BTCUSDT-LINEAR.BYBIT").unwrap();
        let mut seen = Vec::new();
        for text in ["7", "2290000000061666327", "18446744073709551615", "20f43950-d8dd-5b31-9112-a178eb6023af"] {
            let id: TradeId = text.parse().unwrap();
            let own = id.number().unwrap_or(0);
            let (aggressor, condition) = (Some(Side::Sell), TradeCondition::Regular);
            let trade = wholetape_model::Trade {
                id,
                first_id: own,
                last_id: own,
                price: Price(12_345),
                size: Size(5),
                aggressor,
                condition,
            };
            let (ts, scales, flags) = (Ts(1_700_000_000_123_000_000), Scales { price: 2, size: 0 }, RowFlags::LOOSE_ID);
            let row = Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body: View::Trade(trade) };
            let (mut bytes, mut text_of) = (Vec::new(), Vec::new());
            encode(&row, 0, 5, 1, &mut bytes);
            let record = Record::parse(&bytes, true).unwrap();
            let cx = Context { topic: &topic, epoch: "e", prev: 4, state: None, crc: None };
            message::record(&mut text_of, &cx, &record).unwrap();
            let on_tape = of_record(&record).unwrap();
            assert_eq!(of_message(Kind::Trade, &serde_json::from_slice(&text_of).unwrap()), Some(on_tape.clone()));
            let Item::Trade(trade) = on_tape else { panic!("{on_tape:?}") };
            assert_eq!(trade.id.to_string(), text);
            seen.push(trade.id);
        }
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_fact_can_do_without_its_time() {
        assert_eq!(untimed("bar-1m @1790000000123 1 2"), "bar-1m @0 1 2");
        assert_eq!(untimed("status @1790000000123 live"), "status @0 live");
        assert_eq!(untimed("quote 7"), "quote 7");
    }

    #[test]
    fn a_message_and_the_venues_text_say_the_same() {
        let venue: Value = serde_json::from_str(
            r#"{"e":"markPriceUpdate","E":1700000000123,"s":"X","p":"10.50","i":"10.4","r":"0.0001","T":1700000100000}"#,
        )
        .unwrap();
        let facts = of_truth(wholetape_sim::Kind::MarkPrice, "", &venue).unwrap();
        let message: Value = serde_json::from_str(
            r#"{"op":"data","topic":"mark.X.Y","seq":1,"ts":1,"data":{"price":"10.50","ts_event":"1700000000123000000","ts_recv":"1"}}"#,
        )
        .unwrap();
        assert_eq!(of_message(Kind::Mark, &message), Some(Item::Fact(facts[0].1.clone())));
        assert_eq!(facts.len(), 3);
    }
}
