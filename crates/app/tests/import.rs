//! `heal import binance-archive` as a stranger meets it: files of our own making, a tape with holes, the process's output.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Running, last_json, wholetape};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wholetape_model::{
    Bar, Body, Decimal, Gap, GapCause, GapState, HealSource, InstrumentId, Kind, Period, Price, Row, RowFlags, Scales,
    Side, Size, Topic, Trade, TradeCondition, Ts, View,
};
use wholetape_tape::coverage::Coverage;
use wholetape_tape::{Delivery, From, ReaderOptions, Retention, Tape, TapeConfig, TapeTime};
use zip::write::SimpleFileOptions;

/// 2025-01-02, UTC, in ms.
const DAY: i64 = 1_735_776_000_000;
const DATE: &str = "2025-01-02";
const MS: i64 = 1_000_000;

fn topic(kind: Kind, id: &str) -> Topic {
    Topic::new(kind, &InstrumentId::parse(id).unwrap())
}

/// An aggregate that covers two matches: id `a`, `a` × 10 ms into the day. The stream's time is in ms.
fn agg(a: u64) -> (i64, View<'static>) {
    let side = if a.is_multiple_of(3) { Side::Sell } else { Side::Buy };
    let trade = Trade {
        id: a.into(),
        first_id: a * 2,
        last_id: a * 2 + 1,
        price: Price(600_000 + a as i64),
        size: Size(25),
        aggressor: Some(side),
        condition: TradeCondition::Regular,
    };
    (DAY + a as i64 * 10, Body::Trade(trade))
}

/// The same as the archive prints it.
fn agg_line(a: u64, micros: bool, spot: bool) -> String {
    let time = if micros { (DAY + a as i64 * 10) * 1_000 + 7 } else { DAY + a as i64 * 10 };
    let price = 600_000 + a;
    let (maker, best) = (a.is_multiple_of(3), if spot { ",True" } else { "" });
    format!("{a},{}.{}0000000,0.02500000,{},{},{time},{maker}{best}", price / 10, price % 10, a * 2, a * 2 + 1)
}

fn gap(gap: u64, state: GapState, (from_id, to_id): (u64, u64)) -> (i64, View<'static>) {
    let (from_ts, to_ts) = (Ts((DAY + from_id as i64 * 10) * MS), Ts((DAY + to_id as i64 * 10) * MS));
    let (cause, source, missing, why) =
        (GapCause::Sequence, HealSource::None, to_id - from_id + 1, "as a test wants it");
    (
        DAY + to_id as i64 * 10,
        Body::Gap(Gap { gap, state, cause, source, from_id, to_id, from_ts, to_ts, missing, why }),
    )
}

/// A tape with these records, received 5 ms after their venue time.
fn record(data: &Path, topic: &Topic, records: &[(i64, View<'_>)]) {
    let tape = Tape::open(&data.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("w0").unwrap();
    let no = lane.topic(topic).unwrap();
    let mut recv = 0;
    for (ms, body) in records {
        recv = recv.max((ms + 5) * MS);
        let scales = Scales { price: 1, size: 3 };
        let (ts_event, ts_recv, flags) = (Ts(ms * MS), Ts(recv), RowFlags::default());
        lane.append(no, &Row { ts_event, ts_recv, conn: 3, frame: 1, flags, scales, body: *body }).unwrap();
    }
    lane.commit().unwrap();
    drop(lane);
    tape.close().unwrap();
}

/// Writes a file of the archive, with its checksum, and returns its path.
fn archive(dir: &Path, path: &str, lines: &[String], header: Option<&str>, end: &str) -> PathBuf {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut text = String::new();
    for line in header.map(str::to_owned).iter().chain(lines) {
        text.push_str(line);
        text.push_str(end);
    }
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file(name.replace(".zip", ".csv"), options).unwrap();
    zip.write_all(text.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(path.with_file_name(format!("{name}.CHECKSUM")), format!("{hash}  {name}\n")).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn import(data: &Path, args: &[&str], paths: &[&Path]) -> Output {
    let mut command = wholetape();
    command.args(["heal", "import", "binance-archive", "--json", "--data"]).arg(data).args(args).args(paths);
    command.output().expect("the binary starts")
}

/// Keys of a topic in order of the tape, those that are late, and of each gap the newest state, source and number of missing ids.
struct Holds {
    keys: Vec<u64>,
    late: Vec<u64>,
    prices: BTreeMap<u64, i64>,
    gaps: BTreeMap<u64, (GapState, HealSource, u64)>,
    records: u64,
}

fn holds(data: &Path, topic: &Topic) -> Holds {
    holds_from(data, topic, From::Seq(0))
}

fn holds_from(data: &Path, topic: &Topic, from: From) -> Holds {
    let tape = Tape::open_reader(&data.join("tape")).unwrap();
    let mut reader = tape.reader(topic, from, ReaderOptions::default()).unwrap();
    let mut out = Holds { keys: vec![], late: vec![], prices: BTreeMap::new(), gaps: BTreeMap::new(), records: 0 };
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("{delivery:?}") };
            let record = shared.record();
            out.records += 1;
            let key = match record.view().unwrap() {
                Body::Trade(t) => {
                    let id = t.id.number().unwrap_or_default();
                    out.prices.insert(id, t.price.0);
                    id
                }
                Body::Bar(b) if b.closed => b.open_ts.0 as u64,
                Body::Gap(g) => {
                    out.gaps.insert(g.gap, (g.state, g.source, g.missing));
                    continue;
                }
                _ => continue,
            };
            out.keys.push(key);
            if record.flags().has(RowFlags::LATE_ARCHIVE) {
                assert_eq!(record.conn(), 0);
                out.late.push(key);
            }
        }
    }
    out
}

const SPOT: &str = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-02.zip";

#[test]
fn holes_are_healed_differences_told_and_a_second_import_finds_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (data, trades) = (dir.path().join("data"), topic(Kind::Trade, "BTCUSDT.BINANCE"));
    // The venue published 100–199. Recorded: 110–149 without 120–124 (open), 130–131 (lost), 140 (the venue skips it: lost); 150 is only
    // ours. 145 differs.
    let mut records = Vec::new();
    for a in 110..=150 {
        match a {
            120 => records.push(gap(1, GapState::Open, (120, 124))),
            130 => {
                records.extend([gap(2, GapState::Open, (130, 131)), gap(2, GapState::Lost, (130, 131))]);
            }
            140 => records.extend([gap(3, GapState::Open, (140, 140)), gap(3, GapState::Lost, (140, 140))]),
            121..=124 | 131 => {}
            145 => {
                let (ms, Body::Trade(t)) = agg(a) else { unreachable!() };
                records.push((ms, Body::Trade(Trade { price: Price(1), ..t })));
            }
            a => records.push(agg(a)),
        }
    }
    record(&data, &trades, &records);
    let ids: Vec<u64> = (100..200).filter(|a| ![140, 150].contains(a)).collect();
    let lines: Vec<String> = ids.iter().map(|a| agg_line(*a, true, true)).collect();
    let file = archive(dir.path(), SPOT, &lines, None, "\n");

    let output = import(&data, &[], &[&file]);
    let done = last_json(&output);
    assert_eq!(output.status.code(), Some(1), "it differs: {done}\n{}", String::from_utf8_lossy(&output.stderr));
    let one = &done["details"][0];
    let n = |key: &str| one[key].as_u64().unwrap();
    // Held: 110–149 but 5 + 2 + 1, of which 145 differs; healed: 100–109, 120–124, 130–131, 151–199.
    assert_eq!((n("rows"), n("equal"), n("different"), n("healed")), (98, 31, 1, 66), "{one}");
    assert_eq!((n("archive_errors"), &one["archive_error_keys"]), (1, &serde_json::json!([[150, 150]])), "{one}");
    assert_eq!((one["checksum"].as_str(), one["time_unit"].as_str()), (Some("verified"), Some("us")));
    let difference = &one["differences"][0];
    assert_eq!((difference["key"].as_u64(), difference["line"].as_u64()), (Some(145), Some(45)), "{difference}");
    assert_eq!(
        difference["fields"][0],
        serde_json::json!({"field": "price", "archive": "60014.50000000", "held": "0.1"})
    );
    let after = holds(&data, &trades);
    let mut sorted = after.keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (100..200).filter(|a| *a != 140).collect::<Vec<_>>(), "each once");
    assert_eq!(after.late, (100..110).chain(120..125).chain(130..132).chain(151..200).collect::<Vec<_>>());
    assert_eq!(after.prices[&145], 1, "what differs is not overwritten");
    let states: Vec<_> = after.gaps.values().copied().collect();
    let (healed, archive_source) = (GapState::Healed, HealSource::Archive);
    assert_eq!(
        states[..3],
        [(healed, archive_source, 0), (healed, archive_source, 0), (GapState::NeverPublished, archive_source, 1)]
    );
    assert_eq!(
        states[3..],
        [(healed, archive_source, 0), (healed, archive_source, 0)],
        "what no gap spoke of: before and behind"
    );
    assert_eq!(
        holds(&data, &topic(Kind::Gap, "BTCUSDT.BINANCE")).records,
        7,
        "operators read a copy: 2 opened, 5 verdicts"
    );

    let again = import(&data, &[], &[&file]);
    let done = last_json(&again);
    assert_eq!(
        (done["healed"].as_u64(), done["equal"].as_u64(), done["different"].as_u64()),
        (Some(0), Some(97), Some(1))
    );
    assert_eq!(holds(&data, &trades).records, after.records, "nothing was written");

    // What the ledger makes of it.
    let coverage = wholetape().args(["coverage", "--json", "--kind", "trade", "--data"]).arg(&data).output().unwrap();
    let coverage: Value = serde_json::from_slice(&coverage.stdout).unwrap();
    let text = coverage.to_string();
    for part in ["\"unexplained\":0", "\"open\":0", "\"missing\":0", "\"never_published\":1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn single_matches_find_their_own_id_space_and_futures_skip_ids() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (id, raw, aggregated) = ("BTCUSDT-PERP.BINANCE", Kind::TradeRaw, Kind::Trade);
    let one = |id: u64| {
        let (ms, Body::Trade(t)) = agg(id) else { unreachable!() };
        (ms, Body::Trade(Trade { first_id: id, last_id: id, ..t }))
    };
    // Matches 50–59, where the venue never had 53, 54; 56 was missed. Aggregates have numbers of the same size.
    let lost = |n, ids| [gap(n, GapState::Open, ids), gap(n, GapState::Lost, ids)];
    let mut records = vec![one(50), one(51), one(52)];
    records.extend(lost(1, (53, 54)));
    records.push(one(55));
    records.extend(lost(2, (56, 56)));
    records.extend([one(57), one(58), one(59)]);
    record(&data, &topic(raw, id), &records);
    record(&data, &topic(aggregated, id), &[agg(50), agg(51), agg(52)]);
    let line = |id: u64| {
        let price = 600_000 + id;
        format!("{id},{}.{},0.025,1500.0,{},{}", price / 10, price % 10, DAY + id as i64 * 10, id.is_multiple_of(3))
    };
    let lines: Vec<_> = [50, 51, 52, 55, 56, 57, 58, 59].map(line).to_vec();
    let path = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2025-01-02.zip";
    let file = archive(dir.path(), path, &lines, Some("id,price,qty,quote_qty,time,is_buyer_maker"), "\r\n");
    let output = import(&data, &[], &[&file]);
    let done = last_json(&output);
    assert!(output.status.success(), "{done}");
    let one = &done["details"][0];
    assert_eq!(one["topic"], "trade-raw.BTCUSDT-PERP.BINANCE");
    assert_eq!(
        (one["equal"].as_u64(), one["healed"].as_u64(), one["header"].as_bool()),
        (Some(7), Some(1), Some(true)),
        "{one}"
    );
    let after = holds(&data, &topic(raw, id));
    assert_eq!(after.late, [56]);
    let states: Vec<_> = after.gaps.values().map(|g| (g.0, g.2)).collect();
    assert_eq!(states, [(GapState::NeverPublished, 2), (GapState::Healed, 0)]);
    assert_eq!(holds(&data, &topic(aggregated, id)).records, 3);

    // Aggregates against a topic of single matches: the numbers are others, whatever they look like.
    let only = dir.path().join("only");
    let records: Vec<_> = (100..110)
        .map(|id| {
            let (ms, Body::Trade(t)) = agg(id) else { unreachable!() };
            (ms, Body::Trade(Trade { first_id: id, last_id: id, ..t }))
        })
        .collect();
    record(&only, &topic(Kind::Trade, "BTCUSDT.BINANCE"), &records);
    let lines: Vec<_> = (105..120).map(|a| agg_line(a, false, true)).collect();
    let file = archive(dir.path(), SPOT, &lines, None, "\n");
    let done = last_json(&import(&only, &[], &[&file]));
    assert_eq!((&done["not_held"], &done["healed"]), (&1.into(), &0.into()), "{done}");
}

#[test]
fn closed_bars_are_compared_and_healed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let period = Period { count: 1, unit: b'm' };
    let bars = topic(Kind::Bar(period), "BTCUSDT.BINANCE");
    let d = |raw| Decimal::new(raw, 1);
    let bar = |n: i64, closed: bool| {
        let open = DAY + n * 60_000;
        let bar = Bar {
            open_ts: Ts(open * MS),
            close_ts: Ts((open + 59_999) * MS),
            open: d(10),
            high: d(20),
            low: d(5),
            close: d(if closed { 15 } else { 12 }),
            volume: d(n),
            quote_volume: d(7),
            taker_volume: d(1),
            taker_quote_volume: d(2),
            trades: 4,
            first_id: 1,
            last_id: 4,
            closed,
            period,
        };
        (open + 60_000, Body::Bar(bar))
    };
    let lost = Gap {
        gap: 9,
        state: GapState::Lost,
        cause: GapCause::Disconnected,
        source: HealSource::None,
        from_id: 0,
        to_id: 0,
        from_ts: Ts((DAY + 60_000) * MS),
        to_ts: Ts((DAY + 200_000) * MS),
        missing: 0,
        why: "state kinds are not healed after the fact",
    };
    record(&data, &bars, &[bar(0, false), bar(0, true), (DAY + 200_000, Body::Gap(lost)), bar(3, true), bar(4, false)]);
    let line = |n: i64| {
        let open = (DAY + n * 60_000) * 1_000;
        let high = if n == 3 { "2.1" } else { "2.0" };
        format!("{open},1.0,{high},0.5,1.5,0.{n},{},0.7,4,0.1,0.2,0", open + 59_999_999)
    };
    let path = "spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01-02.zip";
    let lines: Vec<_> = (0..10).map(line).collect();
    let file = archive(dir.path(), path, &lines, None, "\n");
    let done = last_json(&import(&data, &[], &[&file]));
    let one = &done["details"][0];
    assert_eq!(
        (one["equal"].as_u64(), one["different"].as_u64(), one["healed"].as_u64()),
        (Some(1), Some(1), Some(8)),
        "{one}"
    );
    assert_eq!(one["differences"][0]["fields"][0]["field"], "high");
    let after = holds(&data, &bars);
    let minutes: Vec<_> = after.late.iter().map(|k| (*k as i64 / MS - DAY) / 60_000).collect();
    assert_eq!(minutes, [1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(after.gaps[&9].0, GapState::Healed, "every closed bar of that time is held");
    let again = last_json(&import(&data, &[], &[&file]));
    assert_eq!((&again["healed"], &again["equal"]), (&0.into(), &9.into()), "{again}");
}

#[test]
fn without_a_catalog_days_that_the_tape_never_saw_are_passed_over_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let trades = topic(Kind::Trade, "BTCUSDT.BINANCE");
    record(&data, &trades, &[agg(500), agg(501)]);
    let lines: Vec<_> = (100..110).map(|a| agg_line(a, true, true)).collect();
    let file = archive(dir.path(), SPOT, &lines, None, "\n");
    let other = SPOT.replace("BTCUSDT", "ETHUSDT");
    archive(dir.path(), &other, &lines, None, "\n");
    let off = ["--set", "store.enabled=false"];
    let output = import(&data, &off, &[&dir.path().join("data/spot")]);
    let done = last_json(&output);
    assert!(output.status.success(), "{done}");
    assert_eq!((&done["files"], &done["not_held"], &done["healed"]), (&2.into(), &2.into(), &0.into()), "{done}");
    assert!(done["details"][0]["why"].as_str().unwrap().contains("nothing is held of that day"), "{done}");
    assert_eq!(import(&data, &[&off[..], &["--strict"]].concat(), &[&file]).status.code(), Some(1));
    assert_eq!(holds(&data, &trades).records, 2);
    // Other rows of the same day, which the catalog does not have yet: the file cannot stand beside them.
    let done = last_json(&import(&data, &[], &[&file]));
    assert_eq!((&done["not_held"], &done["imported_rows"]), (&1.into(), &0.into()), "{done}");
    assert!(done["details"][0]["why"].as_str().unwrap().contains("other rows of that day"), "{done}");
    assert_eq!(holds(&data, &trades).records, 2);
}

#[test]
fn a_file_that_is_wrong_heals_nothing_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let trades = topic(Kind::Trade, "BTCUSDT.BINANCE");
    record(&data, &trades, &[agg(100), gap(1, GapState::Open, (101, 108)), agg(109)]);
    let good: Vec<_> = (100..110).map(|a| agg_line(a, true, true)).collect();
    let with = |at: usize, line: String| {
        let mut lines = good.clone();
        lines[at] = line;
        lines
    };
    let check = |lines: &[String], spoil: &dyn Fn(&Path), want: &str| {
        let file = archive(dir.path(), SPOT, lines, None, "\n");
        spoil(&file);
        let output = import(&data, &[], &[&file]);
        let done = last_json(&output);
        let why = done["details"][0]["why"].as_str().unwrap_or_default();
        assert!(why.contains(want), "{want}: {done}");
        assert_eq!((output.status.code(), &done["failed"]), (Some(2), &1.into()), "{done}");
        assert_eq!(holds(&data, &trades).records, 3, "{want}");
    };
    let nothing = |_: &Path| {};
    let checksum = |f: &Path| PathBuf::from(format!("{}.CHECKSUM", f.display()));
    let cut = |f: &Path| {
        let bytes = std::fs::read(f).unwrap();
        std::fs::write(f, &bytes[..bytes.len() - 40]).unwrap();
    };
    check(&good, &cut, "sha256");
    check(
        &good,
        &|f| {
            cut(f);
            std::fs::remove_file(checksum(f)).unwrap();
        },
        "is no whole zip",
    );
    check(&good, &|f| std::fs::write(checksum(f), format!("{}  x\n", "0".repeat(64))).unwrap(), "speaks of x");
    let last = good.len() - 1;
    check(&with(last, format!("{},1", good[last])), &nothing, ":10: 9 columns, where 8 are expected");
    check(&with(last, agg_line(103, true, true)), &nothing, ":10: id 103 does not follow 108, which stands on line 9");
    check(&with(last, agg_line(8_640_000, true, true)), &nothing, "neither in ms nor in µs a time within 2025-01-02");
    check(
        &with(4, agg_line(104, false, true)),
        &nothing,
        ":5: column 6 (time) is in ms, and the rows before are in µs",
    );
    check(&with(4, agg_line(104, true, false)), &nothing, ":5: 7 columns");

    // One bad file among others: the others are imported.
    let bad = SPOT.replace(DATE, "2025-01-03");
    archive(dir.path(), &bad, &good, None, "\n");
    archive(dir.path(), SPOT, &good, None, "\n");
    let output = import(&data, &[], &[&dir.path().join("data/spot")]);
    let done = last_json(&output);
    assert_eq!((output.status.code(), &done["failed"], &done["healed"]), (Some(1), &1.into(), &8.into()), "{done}");
    let text = import(&data, &["--market", "moon"], &[&dir.path().join("data/spot")]);
    assert!(String::from_utf8_lossy(&text.stderr).contains("`moon` is no market"), "{text:?}");
}

#[test]
fn a_killed_import_goes_on_where_the_tape_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let trades = topic(Kind::Trade, "BTCUSDT.BINANCE");
    let (first, last) = (1, 120_000_u64);
    record(&data, &trades, &[agg(first), gap(1, GapState::Lost, (first + 1, last - 1)), agg(last)]);
    let lines: Vec<_> = (first..=last).map(|a| agg_line(a, true, true)).collect();
    let file = archive(dir.path(), SPOT, &lines, None, "\n");
    let mut command = wholetape();
    command.args(["heal", "import", "binance-archive", "--json", "--data"]).arg(&data).arg(&file).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    let began = Instant::now();
    loop {
        let records = std::panic::catch_unwind(|| holds(&data, &trades).records).unwrap_or(0);
        assert!(began.elapsed() < common::SOON, "it does not begin");
        if records > 2_000 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill9();
    let before = holds(&data, &trades);
    assert!(before.keys.len() < last as usize, "killed in its midst: {}", before.keys.len());
    let done = last_json(&import(&data, &[], &[&file]));
    assert_eq!(done["complete"], true, "{done}");
    assert_eq!(done["healed"].as_u64(), Some(last - before.keys.len() as u64), "{done}");
    let mut after = holds(&data, &trades);
    after.keys.sort_unstable();
    assert_eq!(after.keys, (first..=last).collect::<Vec<_>>());
    assert!(after.gaps.values().all(|g| g.0 == GapState::Healed), "{:?}", after.gaps);
}

#[test]
fn a_gap_over_midnight_gets_its_verdict_with_the_second_file() {
    let dir = tempfile::tempdir().unwrap();
    let trades = topic(Kind::Trade, "BTCUSDT.BINANCE");
    // 10 ms an id: midnight is at 8 640 000. The venue skips the two ids around it.
    let (first, midnight, last) = (8_639_990, 8_640_000, 8_640_010);
    let lost = [gap(7, GapState::Open, (first + 1, last - 1)), gap(7, GapState::Lost, (first + 1, last - 1))];
    let tape = |data: &Path| record(data, &trades, &[agg(first), lost[0], lost[1], agg(last)]);
    let lines = |ids: std::ops::Range<u64>| ids.map(|a| agg_line(a, true, true)).collect::<Vec<_>>();
    let one = archive(dir.path(), SPOT, &lines(first..midnight), None, "\n");
    let two = archive(dir.path(), &SPOT.replace(DATE, "2025-01-03"), &lines(midnight..last + 1), None, "\n");
    let verdict = |data: &Path| holds(data, &trades).gaps[&7];

    let together = dir.path().join("together");
    tape(&together);
    let done = last_json(&import(&together, &[], &[&dir.path().join("data/spot")]));
    assert_eq!((&done["complete"], &done["healed"], &done["files"]), (&true.into(), &19.into(), &2.into()), "{done}");
    assert_eq!(verdict(&together), (GapState::Healed, HealSource::Archive, 0));

    let apart = dir.path().join("apart");
    tape(&apart);
    assert_eq!(last_json(&import(&apart, &[], &[&one]))["healed"], 9);
    assert_eq!(verdict(&apart), (GapState::Lost, HealSource::Archive, 10), "what is still missing");
    let records = holds(&apart, &trades).records;
    assert_eq!(last_json(&import(&apart, &[], &[&one]))["healed"], 0);
    assert_eq!(holds(&apart, &trades).records, records, "said once");
    assert_eq!(last_json(&import(&apart, &[], &[&two]))["healed"], 10);
    assert_eq!(verdict(&apart), (GapState::Healed, HealSource::Archive, 0));
}

struct Still;

impl TapeTime for Still {
    fn wall(&self) -> i64 {
        DAY * MS
    }

    fn mono(&self) -> u64 {
        1
    }
}

#[test]
fn rows_that_retention_took_do_not_come_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let trades = topic(Kind::Trade, "BTCUSDT.BINANCE");
    // 1–299 were recorded but 20–24 and 280–284; then the tape's beginning went.
    let retention = Retention { bytes_max: Some(8_192), ..Retention::default() };
    let driven: Option<Arc<dyn TapeTime>> = Some(Arc::new(Still));
    let config = TapeConfig { segment_bytes: 4_096, memory_bytes: 1, retention, driven, ..TapeConfig::default() };
    let oldest = {
        let tape = Tape::open(&data.join("tape"), config).unwrap();
        let mut lane = tape.lane("w0").unwrap();
        let no = lane.topic(&trades).unwrap();
        for a in (1..300).filter(|a| !(20..25).contains(a) && !(280..285).contains(a)) {
            let (ms, body) = agg(a);
            let (ts, flags, scales) = (Ts(ms * MS), RowFlags::default(), Scales { price: 1, size: 3 });
            lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 3, frame: 1, flags, scales, body }).unwrap();
            lane.commit().unwrap();
        }
        let cell = std::sync::Mutex::new(Coverage::open(&tape).coverage);
        Coverage::catch_up(&cell, &tape, &|| false).unwrap();
        let mut coverage = cell.into_inner().unwrap();
        tape.sync_now().unwrap();
        assert!(coverage.wait_synced(&tape).unwrap());
        coverage.write(&tape).unwrap();
        tape.check_space();
        let oldest = tape.topics().into_iter().find(|t| t.topic == trades).unwrap().oldest;
        drop(lane);
        tape.close().unwrap();
        oldest
    };
    assert!(oldest > 40, "{oldest}");
    let lines: Vec<_> = (1..310).map(|a| agg_line(a, true, true)).collect();
    let file = archive(dir.path(), SPOT, &lines, None, "\n");
    let output = import(&data, &[], &[&file]);
    let done = last_json(&output);
    // Gone: all before `oldest` (seq n holds id n + 5 there); healed: both holes, and what came after.
    let gone = oldest - 1;
    assert_eq!((&done["healed"], &done["not_compared"]), (&20.into(), &gone.into()), "{done}");
    assert_eq!((output.status.code(), &done["complete"]), (Some(1), &false.into()), "it is said: {done}");
    let after = holds_from(&data, &trades, From::Earliest);
    assert_eq!(after.late, (20..25).chain(280..285).chain(300..310).collect::<Vec<_>>());
    let again = last_json(&import(&data, &[], &[&file]));
    assert_eq!(again["healed"], 0, "{again}");
}

#[test]
fn people_read_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    record(&data, &topic(Kind::Trade, "BTCUSDT.BINANCE"), &[agg(100), agg(101), agg(102)]);
    let line = |a: u64| agg_line(a, true, true).replace("102,60010.2", "102,60010.9");
    let lines: Vec<_> = [100, 102, 103].map(line).to_vec();
    archive(dir.path(), SPOT, &lines, None, "\n");
    std::fs::write(dir.path().join("data/spot/BTCUSDT-bookTicker-2025-01-02.zip"), "").unwrap();
    let mut command = wholetape();
    command.args(["heal", "import", "binance-archive", "--data"]).arg(&data).arg(dir.path().join("data/spot"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "BTCUSDT-bookTicker-2025-01-02.zip: passed over: ",
        "BTCUSDT-aggTrades-2025-01-02.zip: 3 rows, 1 equal, 1 healed, 1 different, 1 held that the archive does not have",
        "line 2 (seq 3): price is 60010.90000000 in the archive and held as 60010.2",
        "not in the archive: 101",
        "done: 2 files, 3 rows: 1 equal, 1 healed (1 gaps settled), 1 different, 1 archive errors, 0 files not imported, 0 failed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let none = import(&dir.path().join("nowhere"), &[], &[&dir.path().join("data/spot")]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("neither tape nor catalog in"), "{none:?}");
    assert_eq!(none.status.code(), Some(2));
}
