//! What a reader must find: made from the tape's records alone, by the rules of docs/catalog.md and not by the store's code.
//!
//! A line is an array; the last five of each are `ts_event, ts_init, seq, ts_recv, row_flags`. Numbers are decimal strings, times ns.
//! `index.json` tells the rows of each table and identifier, ours included.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use wholetape_model::*;
use wholetape_store::table::Table;
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

/// A record and its time in the corrected order.
struct Placed {
    bytes: Vec<u8>,
    ts_init: i64,
}

impl Placed {
    fn record(&self) -> Record<'_> {
        Record::parse(&self.bytes, true).unwrap()
    }
}

/// Rows by table and identifier.
type Out = BTreeMap<(&'static str, String), Vec<Value>>;

pub fn write(data: &Path, out: &Path) {
    let tape = Tape::open_reader(&data.join("tape")).unwrap();
    let mut tables: Out = BTreeMap::new();
    let mut own: BTreeMap<String, u64> = BTreeMap::new();
    for state in tape.topics() {
        let topic = state.topic;
        if matches!(topic.kind(), Kind::Gap | Kind::Coverage | Kind::Raw | Kind::Consolidated) {
            continue;
        }
        for (table, rows) in placed(&tape, &topic) {
            for row in &rows {
                count(table, &topic, &row.record(), &mut own);
            }
            tell(table, &topic, &rows, &mut tables);
        }
    }
    let mut index = serde_json::Map::new();
    for ((table, identifier), rows) in tables {
        let dir = out.join(table);
        fs::create_dir_all(&dir).unwrap();
        let name = format!("{}.jsonl", identifier.replace('/', ""));
        let mut file = std::io::BufWriter::new(fs::File::create(dir.join(name)).unwrap());
        for row in &rows {
            writeln!(file, "{row}").unwrap();
        }
        file.flush().unwrap();
        index.entry(table).or_insert_with(|| json!({}))[identifier] = json!(rows.len());
    }
    fs::write(out.join("index.json"), format!("{:#}\n", json!({ "nautilus": index, "own": own }))).unwrap();
}

/// Rows that our own tables have, companions included.
fn count(table: Table, topic: &Topic, record: &Record<'_>, own: &mut BTreeMap<String, u64>) {
    let main = table.is_nautilus().then_some(table);
    for table in [Some(table).filter(|_| main.is_none()), table.companion()].into_iter().flatten() {
        *own.entry(format!("{}/{topic}", table.as_str())).or_default() += 1;
    }
    debug_assert!(record.seq() > 0);
}

/// A topic's records by table, in the corrected order.
fn placed(tape: &Tape, topic: &Topic) -> BTreeMap<Table, Vec<Placed>> {
    let mut reader = tape.reader(topic, From::Earliest, ReaderOptions::default()).unwrap();
    let (mut batch, mut live, mut late) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut last = 0;
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("{topic}: the tape is not whole: {delivery:?}") };
            let record = shared.record();
            let table = Table::of(topic.kind(), &record, &record.view().unwrap());
            let bytes = record.bytes().to_vec();
            if record.flags().is_late() && !record.is_mark() && table != Table::Record {
                late.entry(table).or_insert_with(Vec::new).push(Placed { bytes, ts_init: 0 });
            } else {
                last = record.ts_recv().0.max(last);
                live.entry(table).or_insert_with(Vec::new).push(Placed { bytes, ts_init: last });
            }
        }
    }
    for (table, late) in late {
        live.entry(table).or_default().extend(late);
    }
    for (table, rows) in &mut live {
        place(*table, rows);
    }
    live
}

/// Gives late rows their times and brings all into the order of `(ts_init, seq)`.
fn place(table: Table, rows: &mut [Placed]) {
    let is_trade = matches!(table, Table::Trade | Table::TradeRaw);
    let key = |row: &Placed| match row.record().view() {
        Ok(Body::Trade(Trade { id, .. })) if is_trade && !row.record().flags().has(RowFlags::LOOSE_ID) => {
            (id.number().expect("it counts") as i64, 0)
        }
        // What has no id, or one that does not count, stands by time: its own, or that of its receipt.
        _ if row.ts_init == 0 => (row.record().ts_event().0, row.record().seq()),
        _ => (row.ts_init, row.record().seq()),
    };
    rows.sort_by_key(key);
    let mut next = i64::MAX;
    let mut bounds = vec![i64::MAX; rows.len()];
    for (bound, row) in bounds.iter_mut().zip(rows.iter()).rev() {
        if row.ts_init > 0 {
            next = row.ts_init;
        }
        *bound = next;
    }
    let mut last = 0;
    for (row, next) in rows.iter_mut().zip(bounds) {
        if row.ts_init == 0 {
            // Strictly before the next row, unless that has the time of the one before.
            row.ts_init = row.record().ts_event().0.min(next - 1).max(last);
        }
        last = row.ts_init;
    }
    rows.sort_by_key(|row| (row.ts_init, row.record().seq()));
}

fn tell(table: Table, topic: &Topic, rows: &[Placed], out: &mut Out) {
    let id = topic.as_str().split_once('.').map_or("", |(_, id)| id).replace("%2F", "/");
    let mut said = String::new();
    for row in rows {
        let (record, ts_init) = (row.record(), row.ts_init);
        let scales = record.scales();
        let (price, size) = (|p| scales.price(p).to_string(), |s| scales.size(s).to_string());
        let mut put = |table: &'static str, identifier: &str, mut cells: Vec<Value>| {
            cells.extend([
                json!(record.ts_event().0),
                json!(ts_init),
                json!(record.seq()),
                json!(record.ts_recv().0),
                json!(record.flags().0),
            ]);
            out.entry((table, identifier.to_owned())).or_default().push(Value::Array(cells));
        };
        match (table, record.view().unwrap()) {
            (Table::Trade, Body::Trade(t)) => {
                let side = t.aggressor.map_or("", Side::as_str);
                put(
                    "trades",
                    &id,
                    vec![json!(price(t.price)), json!(size(t.size)), json!(side), json!(t.id.to_string())],
                );
            }
            (Table::Quote, Body::Quote(q)) => {
                let cells = [price(q.bid), price(q.ask), size(q.bid_size), size(q.ask_size)];
                put("quotes", &id, cells.into_iter().map(Value::String).collect());
            }
            (Table::Delta, Body::Book(book)) => {
                let full = book.action != BookAction::Delta;
                let mut cells = Vec::new();
                if full {
                    cells.push(("clear", "", "0".to_owned(), "0".to_owned(), 32_u8));
                }
                for (side, levels) in [("buy", book.bids), ("sell", book.asks)] {
                    for level in levels.iter() {
                        let (action, flags) = match (full, level.size.0) {
                            (true, _) => ("add", 32),
                            (false, 0) => ("delete", 0),
                            (false, _) => ("update", 0),
                        };
                        cells.push((action, side, price(level.price), size(level.size), flags));
                    }
                }
                let n = cells.len();
                for (k, (action, side, price, size, flags)) in cells.into_iter().enumerate() {
                    let flags = if k + 1 == n { flags | 128 } else { flags };
                    let cells =
                        [json!(action), json!(side), json!(price), json!(size), json!(flags), json!(book.last_id)];
                    put("order_book_deltas", &id, cells.into());
                }
            }
            (Table::BarUpdate, Body::Bar(b)) if b.closed => {
                let Kind::Bar(period) = topic.kind() else { continue };
                let unit = match period.unit {
                    b's' => "SECOND",
                    b'm' => "MINUTE",
                    b'h' => "HOUR",
                    b'd' => "DAY",
                    b'w' => "WEEK",
                    _ => "MONTH",
                };
                let series = format!("{id}-{}-{unit}-LAST-EXTERNAL", period.count);
                let cells = [b.open, b.high, b.low, b.close, b.volume].map(|d| json!(d.to_string()));
                put("bars", &series, cells.into());
            }
            (Table::MarkPrice, Body::MarkPrice(d)) => put("mark_prices", &id, vec![json!(d.to_string())]),
            (Table::IndexPrice, Body::IndexPrice(d)) => put("index_prices", &id, vec![json!(d.to_string())]),
            (Table::Funding, Body::Funding(f)) => {
                let next = if f.next_ts.0 == 0 { Value::Null } else { json!(f.next_ts.0) };
                put("funding_rates", &id, vec![json!(f.rate.to_string()), next]);
            }
            (Table::Status, Body::Status(s)) => {
                let action = match s.status {
                    TradingStatus::Trading => "TRADING",
                    TradingStatus::Halted => "HALT",
                    TradingStatus::PreTrading => "PRE_OPEN",
                    TradingStatus::Settling => "PRE_CLOSE",
                    TradingStatus::Closed => "CLOSE",
                    TradingStatus::CancelOnly => "PAUSE",
                    TradingStatus::Unknown => "NOT_AVAILABLE_FOR_TRADING",
                };
                put("instrument_status", &id, vec![json!(action), json!(s.text), json!(action == "TRADING")]);
            }
            (Table::Definition, Body::Instrument(d)) => {
                let class = match d.kind {
                    InstrumentKind::Spot => "currency_pair",
                    InstrumentKind::Perpetual | InstrumentKind::InversePerpetual => "crypto_perpetual",
                    InstrumentKind::Future | InstrumentKind::InverseFuture => "crypto_future",
                    InstrumentKind::Other => continue,
                };
                let inverse = matches!(d.kind, InstrumentKind::InversePerpetual | InstrumentKind::InverseFuture);
                let some = |d: Decimal| if d.raw == 0 { Value::Null } else { json!(plain(d)) };
                let cells = vec![
                    json!(d.symbol),
                    json!(d.base),
                    json!(d.quote),
                    json!(if d.settle.is_empty() { d.quote } else { d.settle }),
                    json!(inverse),
                    json!(plain(d.tick)),
                    json!(plain(d.step)),
                    json!(plain(d.multiplier)),
                    some(d.size_max),
                    some(d.size_min),
                    some(d.notional_min),
                    json!(d.onboard.0),
                    json!(d.expiry.0),
                ];
                // A poll that says what the last one said is no news.
                let now = format!("{class} {cells:?}");
                if now != said {
                    said = now;
                    put(class, &id, cells);
                }
            }
            _ => {}
        }
    }
}

/// As few decimals as the number needs.
fn plain(d: Decimal) -> String {
    let text = d.to_string();
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
