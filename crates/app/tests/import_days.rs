//! Whole days of the archive straight into the catalog, as a stranger meets it: files of our own making, then `catalog ls`, `verify`,
//! `replay` and `trace` over what came of them.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{last_json, wholetape};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wholetape_model::{Body, Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{RealDisk, Tape, TapeConfig};
use zip::write::SimpleFileOptions;

/// 2025-01-01, UTC, in ms.
const YEAR: i64 = 1_735_689_600_000;
const DAY: i64 = 86_400_000;
const A_DAY: u64 = 400;
const TOPIC: &str = "trade.BTCUSDT.BINANCE";

fn date(day: u64) -> String {
    format!("2025-01-{:02}", day + 1)
}

/// Ids of a day; three trades share a millisecond.
fn ids(day: u64) -> std::ops::Range<u64> {
    day * A_DAY..(day + 1) * A_DAY
}

fn time(id: u64) -> i64 {
    YEAR + (id / A_DAY) as i64 * DAY + (id % A_DAY / 3) as i64 * 200_000
}

fn agg_line(id: u64, micros: bool) -> String {
    let time = if micros { time(id) * 1_000 } else { time(id) };
    format!("{id},{}.50000000,0.02500000,{},{},{time},{},True", 60_000 + id, id * 2, id * 2 + 1, id.is_multiple_of(2))
}

fn archive(dir: &Path, path: &str, lines: &[String], header: Option<&str>) -> PathBuf {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text: Vec<&str> = header.into_iter().chain(lines.iter().map(String::as_str)).collect();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file(name.replace(".zip", ".csv"), options).unwrap();
    zip.write_all((text.join("\n") + "\n").as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(path.with_file_name(format!("{name}.CHECKSUM")), format!("{hash}  {name}\n")).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn daily(dir: &Path, day: u64, of: impl Iterator<Item = u64>) -> PathBuf {
    let lines: Vec<String> = of.map(|id| agg_line(id, day.is_multiple_of(2))).collect();
    let header = day.is_multiple_of(3).then_some(
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match",
    );
    archive(dir, &format!("spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-{}.zip", date(day)), &lines, header)
}

/// A data directory with a tape that saw another instrument.
fn begin(data: &Path) {
    let tape = Tape::open(&data.join("tape"), TapeConfig::default()).unwrap();
    tape.close().unwrap();
}

fn run(data: &Path, args: &[&str]) -> Output {
    wholetape().args(args).arg("--data").arg(data).output().unwrap()
}

fn import(data: &Path, args: &[&str], path: &Path) -> Value {
    let mut command = wholetape();
    command.args(["heal", "import", "binance-archive", "--json", "--data"]).arg(data).args(args).arg(path);
    let output = command.output().unwrap();
    assert!(output.status.code() != Some(2), "{output:?}");
    last_json(&output)
}

fn verified(data: &Path) -> Value {
    let report = last_json(&wholetape().args(["verify", "--json"]).arg(data).output().unwrap());
    assert_eq!(report["clean"], true, "{report}");
    report
}

/// `ts_init`-ordered rows as `replay` gives them: id and venue time.
fn replayed(data: &Path) -> Vec<(u64, i64)> {
    let output = run(data, &["replay", "--stdout", "--speed", "max", "--kinds", "trade"]);
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).filter(|v| v["op"] == "data");
    rows.map(|v| (v["data"]["id"].as_u64().unwrap(), v["ts"].as_i64().unwrap())).collect()
}

#[test]
fn a_month_goes_to_the_catalog_and_reads_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    begin(&data);
    for day in 0..31 {
        daily(dir.path(), day, ids(day));
    }
    let files = dir.path().join("spot");
    let done = import(&data, &[], &files);
    assert_eq!(
        (&done["complete"], &done["imported"], &done["not_held"]),
        (&true.into(), &31.into(), &0.into()),
        "{done}"
    );
    assert_eq!(done["imported_rows"], 31 * A_DAY);
    assert_eq!(done["details"][0]["status"], "imported");
    assert_eq!(done["details"][0]["checksum"], "verified");

    let ls = last_json(&run(&data, &["catalog", "ls", "--json"]));
    let parts = ls["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 31, "{ls}");
    for part in parts {
        assert_eq!((&part["topic"], &part["table"], &part["rows"]), (&TOPIC.into(), &"trades".into(), &A_DAY.into()));
        assert_eq!((&part["sealed"], &part["certificate"]), (&true.into(), &1.into()), "{part}");
        assert_eq!(part["seqs"].as_array().unwrap().len(), 0, "the tape never saw them");
    }
    let report = verified(&data);
    assert_eq!((&report["rows"], &report["days"]), (&(31 * A_DAY).into(), &31.into()), "{report}");
    let certificate = data.join("catalog/certificates/BTCUSDT.BINANCE/2025-01-17.r1.json");
    let certificate: Value = serde_json::from_slice(&std::fs::read(certificate).unwrap()).unwrap();
    let table = &certificate["topics"][TOPIC]["tables"]["trades"];
    assert_eq!((&table["late"]["archive"], &table["seqs"]), (&A_DAY.into(), &Value::Array(Vec::new())), "{table}");
    assert_eq!(certificate["summary"]["completeness_ppm"], 1_000_000);

    let rows = replayed(&data);
    assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), (0..31 * A_DAY).collect::<Vec<_>>());

    let again = import(&data, &[], &files);
    assert_eq!((&again["imported_rows"], &again["equal"]), (&0.into(), &(31 * A_DAY).into()), "{again}");
    assert_eq!(again["details"][5]["status"], "compared");
    assert_eq!(last_json(&run(&data, &["catalog", "ls", "--json"])), ls, "nothing was touched");

    let told = last_json(&run(&data, &["trace", TOPIC, "4321", "--json"]));
    let row = &told["rows"][0];
    assert_eq!((&row["source"], &row["seq"], &row["tape"]), (&"archive".into(), &0.into(), &Value::Null), "{told}");
    assert_eq!(row["stored"]["certificate"]["covers"], true);
}

#[test]
fn one_file_of_a_month_is_one_commit_a_day_and_bars_go_as_trades_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    begin(&data);
    let lines: Vec<String> = (0..31 * A_DAY).map(|id| agg_line(id, true)).collect();
    let month = "spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01.zip";
    let month = archive(dir.path(), month, &lines, None);
    let bars: Vec<String> = (0..24)
        .map(|hour: i64| {
            let open = YEAR + 4 * DAY + hour * 3_600_000;
            format!("{open},10.0,12.0,9.0,11.5,100.25,{},1150.0,42,50.0,575.0,0", open + 3_599_999)
        })
        .collect();
    let bars = archive(dir.path(), "futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-05.zip", &bars, None);
    // Single matches in an id space of their own.
    let single = |id: u64| format!("{id},{}.25,0.5,1.0,{},true,true", 60_000 + id, time(id) * 1_000);
    let single: Vec<String> = ids(3).map(single).collect();
    let single = archive(dir.path(), "spot/daily/trades/BTCUSDT/BTCUSDT-trades-2025-01-04.zip", &single, None);
    assert_eq!(import(&data, &[], &month)["imported_rows"], 31 * A_DAY);
    let done = import(&data, &[], &bars);
    assert_eq!(
        (&done["imported_rows"], &done["details"][0]["topic"]),
        (&24.into(), &"bar-1h.BTCUSDT-PERP.BINANCE".into())
    );
    let done = import(&data, &[], &single);
    assert_eq!(done["details"][0]["topic"], "trade-raw.BTCUSDT.BINANCE", "{done}");
    let report = verified(&data);
    assert_eq!((&report["rows"], &report["days_open"]), (&(32 * A_DAY + 24).into(), &0.into()), "{report}");
    let ls = last_json(&run(&data, &["catalog", "ls", "--json"]));
    let of = |table: &str| ls["parts"].as_array().unwrap().iter().filter(|p| p["table"] == table).count();
    assert_eq!((of("trades"), of("trades_raw"), of("bar_updates")), (31, 1, 1));
    let views = std::fs::read_dir(data.join("catalog/data/bars/BTCUSDT-PERP.BINANCE-1-HOUR-LAST-EXTERNAL")).unwrap();
    assert_eq!(views.count(), 1, "bars are shown in NautilusTrader's layout as well");
    let certificate = data.join("catalog/certificates/BTCUSDT.BINANCE/2025-01-04.r2.json");
    assert!(certificate.exists(), "another table of the same day: its next revision");
    for path in [&month, &bars, &single] {
        let again = import(&data, &[], path);
        assert_eq!((&again["imported_rows"], &again["different"]), (&0.into(), &0.into()), "{again}");
    }
}

#[test]
fn a_day_that_is_there_in_part_is_completed_by_a_new_revision() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    begin(&data);
    let some = |id: &u64| id % 7 != 3 && !(100..140).contains(id);
    let file = daily(dir.path(), 0, ids(0).filter(some));
    let few = ids(0).filter(some).count() as u64;
    assert_eq!(import(&data, &[], &file)["imported_rows"], few);
    let whole = daily(dir.path(), 0, ids(0));
    let done = import(&data, &[], &whole);
    assert_eq!((&done["imported_rows"], &done["equal"]), (&(A_DAY - few).into(), &few.into()), "{done}");
    assert_eq!(done["details"][0]["status"], "compared");
    let rows = replayed(&data);
    assert_eq!(
        rows.iter().map(|r| r.0).collect::<Vec<_>>(),
        ids(0).collect::<Vec<_>>(),
        "by id, as the venue had them"
    );
    verified(&data);
    assert!(data.join("catalog/certificates/BTCUSDT.BINANCE/2025-01-01.r2.json").exists());

    // What is held and differs is told, and never overwritten; what only the catalog has, too.
    let mut lines: Vec<String> = ids(0).filter(|id| *id != 50).map(|id| agg_line(id, true)).collect();
    lines[10] = lines[10].replace("60010.5", "60010.6");
    let other = archive(dir.path(), "other/spot/daily/BTCUSDT-aggTrades-2025-01-01.zip", &lines, None);
    let done = import(&data, &[], &other);
    assert_eq!((&done["complete"], &done["different"], &done["archive_errors"]), (&false.into(), &1.into(), &1.into()));
    let detail = &done["details"][0];
    assert_eq!(detail["differences"][0]["fields"][0]["archive"], "60010.60000000", "{detail}");
    assert_eq!(detail["archive_error_keys"][0], serde_json::json!([50, 50]));
    assert_eq!(done["imported_rows"], 0);
}

/// Rows that came over the tape, were stored, and went from the tape: the day is held in Parquet alone.
#[test]
fn a_day_held_in_parquet_alone_is_compared_and_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let tape = Tape::open(&data.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("w0").unwrap();
    let no = lane.topic(&Topic::parse(TOPIC).unwrap()).unwrap();
    for id in ids(1).filter(|id| id % 10 != 4) {
        let (ts, flags, scales) = (Ts(time(id) * 1_000_000), RowFlags::default(), Scales { price: 2, size: 3 });
        let (price, size) = (Price((60_000 + id as i64) * 100 + 50), Size(25));
        let aggressor = Some(if id.is_multiple_of(2) { Side::Sell } else { Side::Buy });
        let (first_id, last_id, condition) = (id * 2, id * 2 + 1, TradeCondition::Regular);
        let body = Body::Trade(Trade { id: id.into(), first_id, last_id, price, size, aggressor, condition });
        let ts_recv = Ts(ts.0 + 4_000_000);
        lane.append(no, &Row { ts_event: ts, ts_recv, conn: 1, frame: 1, flags, scales, body }).unwrap();
    }
    lane.commit().unwrap();
    let catalog = Catalog::open(std::sync::Arc::new(RealDisk), &data, CatalogConfig::default()).unwrap();
    let mut follower = Follower::new(catalog, Pace::default());
    let later = Ts((YEAR + 3 * DAY) * 1_000_000);
    while follower.poll(&tape, later).unwrap() {}
    follower.flush(later).unwrap();
    follower.tend(later).unwrap();
    drop((follower, lane));
    tape.close().unwrap();
    std::fs::remove_dir_all(data.join("tape")).unwrap();
    begin(&data);

    let done = import(&data, &[], &daily(dir.path(), 1, ids(1)));
    let missing = ids(1).filter(|id| id % 10 == 4).count() as u64;
    assert_eq!((&done["imported_rows"], &done["equal"]), (&missing.into(), &(A_DAY - missing).into()), "{done}");
    assert_eq!(done["complete"], true, "{done}");
    let rows = replayed(&data);
    assert_eq!(rows.len() as u64, A_DAY);
    let mut sorted: Vec<u64> = rows.iter().map(|r| r.0).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, ids(1).collect::<Vec<_>>());
    verified(&data);
    let table = data.join("catalog/certificates/BTCUSDT.BINANCE/2025-01-02.r2.json");
    let certificate: Value = serde_json::from_slice(&std::fs::read(table).unwrap()).unwrap();
    assert_eq!(certificate["topics"][TOPIC]["tables"]["trades"]["late"]["archive"], missing, "{certificate}");
    assert_eq!(certificate["topics"][TOPIC]["ids"]["missing"], 0, "{certificate}");
}
