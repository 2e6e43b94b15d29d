//! `heal import bybit-archive` as a stranger meets it: files of our own making, whose ids are names or nothing.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::rig::Rig;
use common::{Running, last_json, wholetape};
use serde_json::Value;
use wholetape_model::{
    Body, Gap, GapCause, GapState, HealSource, Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition,
    TradeId, Ts, View,
};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape, TapeConfig};

/// 2026-09-01, UTC, in ms.
const DAY: i64 = 1_788_220_800_000;
const DAY_MS: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
const MS: i64 = 1_000_000;
const CONTRACT: &str = "trade.BTCUSDT-LINEAR.BYBIT";
const PAIR: &str = "trade.BTCUSDT-SPOT.BYBIT";
const HEALED: (GapState, HealSource) = (GapState::Healed, HealSource::Archive);
const LOST: (GapState, HealSource) = (GapState::Lost, HealSource::None);

/// The `n`-th trade, one a minute from the day's beginning on.
#[derive(Clone, Copy)]
struct One {
    n: u64,
    ms: i64,
}

fn minute(n: u64) -> One {
    One { n, ms: DAY + n as i64 * MINUTE }
}

impl One {
    fn side(self) -> Side {
        if self.n.is_multiple_of(3) { Side::Sell } else { Side::Buy }
    }

    /// What the stream of contracts calls it.
    fn name(self) -> TradeId {
        format!("{:08x}-d8dd-5b31-9112-a178eb6023af", self.n.wrapping_mul(0x9e37_79b9) as u32).parse().unwrap()
    }

    fn named(self, id: TradeId) -> (i64, View<'static>) {
        let number = id.number().unwrap_or(0);
        let trade = Trade {
            id,
            first_id: number,
            last_id: number,
            price: Price(600_000 + self.n as i64),
            size: Size(25),
            aggressor: Some(self.side()),
            condition: TradeCondition::Regular,
        };
        (self.ms, Body::Trade(trade))
    }

    fn live(self) -> (i64, View<'static>) {
        self.named(self.name())
    }

    fn price(self) -> String {
        let raw = 600_000 + self.n;
        format!("{}.{}0", raw / 10, raw % 10)
    }

    /// As the file of a contract prints it: a little finer than the stream.
    fn line(self) -> String {
        let (s, frac) = (self.ms / 1_000, self.ms % 1_000 * 10 + 3);
        let side = if self.side() == Side::Buy { "Buy" } else { "Sell" };
        let (price, name) = (self.price(), self.name());
        format!("{s}.{frac:04},BTCUSDT,{side},0.0250,{price},ZeroPlusTick,{name},1.5e+11,0.025,1500.1,0")
    }

    fn spot_line(self, id: u64) -> String {
        format!("{id},{},{},0.0250,{},0", self.ms, self.price(), self.side().as_str())
    }
}

const HEAD: &str =
    "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,RPI";
const SPOT_HEAD: &str = "id,timestamp,price,volume,side,rpi";

/// A file of the archive, `day` days after the first.
fn file(dir: &Path, day: i64, lines: &[String]) -> PathBuf {
    let date = Ts::from_millis(DAY + day * DAY_MS).to_string();
    pack(&dir.join(format!("trading/BTCUSDT/BTCUSDT{}.csv.gz", &date[..10])), HEAD, lines)
}

fn spot_file(dir: &Path, lines: &[String]) -> PathBuf {
    pack(&dir.join("spot/BTCUSDT/BTCUSDT_2026-09-01.csv.gz"), SPOT_HEAD, lines)
}

fn pack(path: &Path, head: &str, lines: &[String]) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    writeln!(packed, "{head}").unwrap();
    for line in lines {
        writeln!(packed, "{line}").unwrap();
    }
    packed.finish().unwrap();
    path.to_owned()
}

/// What a line without REST says of a break, from one moment to another.
fn lost(gap: u64, from_ms: i64, to_ms: i64) -> (i64, View<'static>) {
    let (from_ts, to_ts) = (Ts(from_ms * MS), Ts(to_ms * MS));
    let (cause, source, why) = (GapCause::Disconnected, HealSource::None, "impossible over REST");
    let (state, from_id, to_id, missing) = (GapState::Lost, 0, 0, 0);
    (to_ms, Body::Gap(Gap { gap, state, cause, source, from_id, to_id, from_ts, to_ts, missing, why }))
}

/// A tape with these records, received 5 ms after their venue time.
fn record(data: &Path, topic: &str, records: &[(i64, View<'_>)]) {
    let tape = Tape::open(&data.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("w0").unwrap();
    let no = lane.topic(&Topic::parse(topic).unwrap()).unwrap();
    for (ms, body) in records {
        let (ts_event, ts_recv, scales) = (Ts(ms * MS), Ts((ms + 5) * MS), Scales { price: 1, size: 3 });
        let flags = if matches!(body, Body::Trade(_)) { RowFlags::LOOSE_ID } else { RowFlags::TS_LOCAL };
        lane.append(no, &Row { ts_event, ts_recv, conn: 3, frame: 1, flags, scales, body: *body }).unwrap();
    }
    lane.commit().unwrap();
    drop(lane);
    tape.close().unwrap();
}

fn import(data: &Path, paths: &[&Path]) -> (Option<i32>, Value) {
    let mut command = wholetape();
    command.args(["heal", "import", "bybit-archive", "--json", "--data"]).arg(data).args(paths);
    let output: Output = command.output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{output:?}");
    (output.status.code(), last_json(&output))
}

fn counts(done: &Value) -> [u64; 4] {
    ["equal", "healed", "different", "archive_errors"].map(|key| done[key].as_u64().unwrap())
}

/// What a topic holds: ids in the tape's order with their times, which of them are late, and of each gap the newest state.
#[derive(Default)]
struct Holds {
    trades: Vec<(TradeId, i64)>,
    late: usize,
    gaps: BTreeMap<u64, (GapState, HealSource)>,
    records: u64,
}

fn holds(data: &Path, topic: &str) -> Holds {
    let tape = Tape::open_reader(&data.join("tape")).unwrap();
    let mut reader = tape.reader(&Topic::parse(topic).unwrap(), From::Seq(0), ReaderOptions::default()).unwrap();
    let (mut out, mut batch) = (Holds::default(), Vec::new());
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("{delivery:?}") };
            let record = shared.record();
            out.records += 1;
            match record.view().unwrap() {
                Body::Trade(t) => {
                    assert!(record.flags().has(RowFlags::LOOSE_ID), "{t:?}");
                    out.late += usize::from(record.flags().has(RowFlags::LATE_ARCHIVE));
                    out.trades.push((t.id, record.ts_event().millis()));
                }
                Body::Gap(g) => _ = out.gaps.insert(g.gap, (g.state, g.source)),
                _ => {}
            }
        }
    }
    out
}

impl Holds {
    /// Each id once.
    fn names(&self) -> Vec<TradeId> {
        let mut names: Vec<_> = self.trades.iter().map(|t| t.0).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "a row is there twice");
        names
    }
}

fn names(ones: impl Iterator<Item = One>) -> Vec<TradeId> {
    let mut names: Vec<_> = ones.map(One::name).collect();
    names.sort_unstable();
    names
}

#[test]
fn lost_trades_come_by_name_differences_are_told_and_a_second_import_finds_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // Published 1–60. Recorded 10–50 without 20–24 (lost) and 30, of which no gap speaks; 41 differs.
    let mut records = Vec::new();
    for n in 10..=50 {
        match n {
            20 => records.push(lost(7, minute(19).ms, minute(25).ms)),
            21..=24 | 30 => {}
            41 => {
                let (ms, Body::Trade(t)) = minute(n).live() else { unreachable!() };
                records.push((ms, Body::Trade(Trade { price: Price(1), ..t })));
            }
            n => records.push(minute(n).live()),
        }
    }
    record(&data, CONTRACT, &records);
    let all: Vec<One> = (1..=60).map(minute).collect();
    let lines: Vec<String> = all.iter().map(|one| one.line()).collect();
    let path = file(dir.path(), 0, &lines);

    let (code, done) = import(&data, &[&path]);
    assert_eq!((code, counts(&done)), (Some(1), [34, 25, 1, 0]), "it differs: {done}");
    let one = &done["details"][0];
    assert_eq!((&one["topic"], &one["time_unit"], &one["market"]), (&CONTRACT.into(), &"s".into(), &"linear".into()));
    let (difference, named) = (&one["differences"][0], minute(41).name().to_string());
    assert_eq!((&difference["key"], &difference["line"]), (&named.into(), &42.into()), "{difference}");
    assert_eq!(
        difference["fields"],
        serde_json::json!([{"field": "price", "archive": minute(41).price().trim_end_matches('0'), "held": "0.1"}])
    );
    let after = holds(&data, CONTRACT);
    assert_eq!((after.names(), after.late), (names(all.iter().copied()), 25));
    assert_eq!(after.gaps.len(), 4, "opened before 10, at 30, behind 50");
    assert!(after.gaps.values().all(|gap| *gap == HEALED), "{:?}", after.gaps);
    assert_eq!((&one["gaps"]["opened"], &one["gaps"]["healed"]), (&3.into(), &4.into()), "{one}");
    let late: Vec<i64> = after.trades.iter().rev().take(25).rev().map(|t| (t.1 - DAY) / MINUTE).collect();
    let want: Vec<i64> = (1..10).chain(20..25).chain(30..31).chain(51..61).collect();
    assert_eq!(late, want, "in the file's order");

    let (_, again) = import(&data, &[&path]);
    assert_eq!((counts(&again), holds(&data, CONTRACT).records), ([59, 0, 1, 0], after.records), "nothing was written");
    // A file without a row that is held: told, by its name.
    let path = file(dir.path(), 0, &[&lines[..44], &lines[45..]].concat());
    let (code, done) = import(&data, &[&path]);
    assert_eq!((code, counts(&done)), (Some(1), [58, 0, 1, 1]), "{done}");
    let keys = &done["details"][0]["archive_error_keys"];
    let gone = minute(45).name().to_string();
    assert_eq!(keys, &serde_json::json!([[gone, gone]]));
    assert_eq!(holds(&data, CONTRACT).records, after.records);

    let coverage = wholetape().args(["coverage", "--json", "--kind", "trade", "--data"]).arg(&data).output().unwrap();
    let text = String::from_utf8(coverage.stdout).unwrap();
    assert!(text.contains("\"open\":0") && text.contains("\"lost\":0"), "{text}");
}

#[test]
fn a_file_that_lacks_what_is_held_proves_no_gap_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let gap = lost(7, minute(3).ms, minute(6).ms);
    record(&data, CONTRACT, &[minute(2).live(), minute(3).live(), gap, minute(6).live()]);
    let lines: Vec<String> = [2, 4, 6].map(|n| minute(n).line()).to_vec();
    let (_, done) = import(&data, &[&file(dir.path(), 0, &lines)]);
    assert_eq!(counts(&done), [2, 1, 0, 1], "what it has is taken: {done}");
    assert_eq!(holds(&data, CONTRACT).gaps[&7], LOST, "3 is not in it, and who knows what else");
    let lines: Vec<String> = (2..=6).map(|n| minute(n).line()).collect();
    let (code, done) = import(&data, &[&file(dir.path(), 0, &lines)]);
    assert_eq!((code, counts(&done)), (Some(0), [4, 1, 0, 0]), "{done}");
    assert_eq!(holds(&data, CONTRACT).gaps[&7], HEALED);
}

#[test]
fn a_file_that_names_its_trades_otherwise_does_not_bring_them_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let other = |n: u64| minute(n).named(minute(n + 1_000).name());
    record(&data, CONTRACT, &[other(1), lost(7, minute(1).ms, minute(4).ms), other(4)]);
    let lines: Vec<String> = (1..6).map(|n| minute(n).line()).collect();
    let (code, done) = import(&data, &[&file(dir.path(), 0, &lines)]);
    assert_eq!((code, counts(&done), &done["not_compared"]), (Some(1), [0, 0, 0, 2], &5.into()), "{done}");
    assert!(done["details"][0]["why"].as_str().unwrap().contains("none of the names"), "{done}");
    assert_eq!((holds(&data, CONTRACT).records, holds(&data, CONTRACT).gaps[&7]), (3, LOST));
}

#[test]
fn a_gap_over_midnight_is_healed_by_two_files_of_one_command() {
    let dir = tempfile::tempdir().unwrap();
    // A trade a minute: midnight is 1440.
    let all: Vec<One> = (1_430..1_450).map(minute).collect();
    let gap = lost(7, minute(1_431).ms, minute(1_448).ms);
    let tape = |data: &Path| {
        record(
            data,
            CONTRACT,
            &[minute(1_430).live(), minute(1_431).live(), gap, minute(1_448).live(), minute(1_449).live()],
        );
    };
    let lines = |of: &[One]| of.iter().map(|one| one.line()).collect::<Vec<_>>();
    let one = file(dir.path(), 0, &lines(&all[..10]));
    let two = file(dir.path(), 1, &lines(&all[10..]));

    let together = dir.path().join("together");
    tape(&together);
    let (code, done) = import(&together, &[&dir.path().join("trading")]);
    assert_eq!((code, counts(&done)), (Some(0), [4, 16, 0, 0]), "{done}");
    let after = holds(&together, CONTRACT);
    assert_eq!((after.names(), after.gaps[&7]), (names(all.iter().copied()), HEALED));

    let apart = dir.path().join("apart");
    tape(&apart);
    assert_eq!(counts(&import(&apart, &[&one]).1), [2, 8, 0, 0]);
    assert_eq!(counts(&import(&apart, &[&two]).1), [2, 8, 0, 0]);
    assert_eq!(holds(&apart, CONTRACT).gaps[&7], LOST, "no command had both");
    let (_, done) = import(&apart, &[&one, &two]);
    assert_eq!(counts(&done), [20, 0, 0, 0]);
    assert_eq!(holds(&apart, CONTRACT).gaps[&7], HEALED);
}

#[test]
fn a_killed_import_goes_on_and_has_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = |n: u64| One { n, ms: DAY + n as i64 * 2_000 };
    let last = 40_000;
    record(&data, CONTRACT, &[at(1).live(), at(2).live(), lost(7, at(2).ms, at(last).ms), at(last).live()]);
    let lines: Vec<String> = (1..=last).map(|n| at(n).line()).collect();
    let path = file(dir.path(), 0, &lines);
    let mut command = wholetape();
    command.args(["heal", "import", "bybit-archive", "--json", "--data"]).arg(&data).arg(&path).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    let began = Instant::now();
    while std::panic::catch_unwind(|| holds(&data, CONTRACT).records).unwrap_or(0) < 2_000 {
        assert!(began.elapsed() < common::SOON, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill9();
    let before = holds(&data, CONTRACT);
    assert!(before.trades.len() < last as usize && before.gaps[&7] == LOST, "killed in its midst");
    let (code, done) = import(&data, &[&path]);
    assert_eq!((code, done["healed"].as_u64()), (Some(0), Some(last - before.trades.len() as u64)), "{done}");
    let after = holds(&data, CONTRACT);
    assert_eq!(after.names(), names((1..=last).map(at)));
    assert!(after.gaps.values().all(|gap| *gap == HEALED), "{:?}", after.gaps);
}

#[test]
fn a_pairs_holes_are_filled_by_what_rows_say_and_only_where_the_file_has_all_that_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let live = |one: One, id: u64| one.named((2_290_000_000_000_000_000 + id).into());
    // The fourth minute has four trades that say the same: two were recorded.
    let records = [
        live(minute(2), 1),
        live(minute(4), 7),
        live(minute(4), 3),
        lost(7, minute(4).ms, minute(8).ms),
        live(minute(8), 9),
    ];
    record(&data, PAIR, &records);
    let published = [1, 2, 4, 4, 4, 4, 5, 6, 8, 9].map(minute);
    let lines: Vec<String> = published.iter().zip(1..).map(|(one, id)| one.spot_line(id)).collect();

    // One of those that are held is not in it, or says otherwise: nothing is proven, and nothing written.
    let mut other = lines.clone();
    other[8] = other[8].replace("0.0250", "0.0251");
    let (code, done) = import(&data, &[&spot_file(dir.path(), &other)]);
    assert_eq!((code, counts(&done)), (Some(1), [3, 0, 0, 1]), "{done}");
    assert_eq!(done["not_compared"], 7, "{done}");
    assert!(done["details"][0]["why"].as_str().unwrap().contains("have no ids"), "{done}");
    assert_eq!(holds(&data, PAIR).records, 5);

    let path = spot_file(dir.path(), &lines);
    let (code, done) = import(&data, &[&path]);
    assert_eq!((code, counts(&done)), (Some(0), [4, 6, 0, 0]), "{done}");
    let after = holds(&data, PAIR);
    assert_eq!(after.names().len(), 10);
    let mut times: Vec<i64> = after.trades.iter().map(|t| t.1).collect();
    times.sort_unstable();
    assert_eq!(times, published.map(|one| one.ms), "each as often as it was published");
    assert!(after.gaps.values().all(|gap| *gap == HEALED) && after.gaps.len() == 3, "{:?}", after.gaps);
    let custom = after.trades.iter().filter(|t| t.0.is_custom()).count();
    assert_eq!((custom, after.late), (6, 6), "whose names are ours");

    // Numbered anew by the venue, and with one more: that one alone comes.
    let published = [1, 2, 3, 4, 4, 4, 4, 5, 6, 8, 9].map(minute);
    let lines: Vec<String> = published.iter().zip(1..).map(|(one, id)| one.spot_line(id)).collect();
    assert_eq!(counts(&import(&data, &[&spot_file(dir.path(), &lines)]).1), [10, 1, 0, 0]);
    let records = holds(&data, PAIR).records;
    assert_eq!(counts(&import(&data, &[&path]).1), [11, 0, 0, 0]);
    assert_eq!((holds(&data, PAIR).records, holds(&data, PAIR).names().len()), (records, 11));
}

#[test]
fn days_that_nobody_recorded_go_to_the_catalog_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    Tape::open(&data.join("tape"), TapeConfig::default()).unwrap().close().unwrap();
    let lines: Vec<String> = (0..1_000).map(|n| minute(n).line()).collect();
    let few: Vec<String> = lines.iter().enumerate().filter(|(n, _)| n % 7 != 3).map(|(_, l)| l.clone()).collect();
    file(dir.path(), 0, &few);
    file(dir.path(), 1, &(1_440..2_000).map(|n| minute(n).line()).collect::<Vec<_>>());
    spot_file(dir.path(), &(0..500).map(|n| minute(n / 2).spot_line(n)).collect::<Vec<_>>());
    let files = [dir.path().join("trading"), dir.path().join("spot")];
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (code, done) = import(&data, &files);
    let rows = few.len() as u64 + 560 + 500;
    assert_eq!((code, &done["imported_rows"], &done["imported"]), (Some(0), &rows.into(), &3.into()), "{done}");
    let ls = || {
        let output = wholetape().args(["catalog", "ls", "--json", "--data"]).arg(&data).output().unwrap();
        last_json(&output)["parts"].as_array().unwrap().clone()
    };
    let parts = ls();
    assert_eq!(parts.len(), 3, "one a day");
    assert!(parts.iter().all(|p| p["sealed"] == true && p["certificate"] == 1), "{parts:?}");
    let (code, again) = import(&data, &files);
    assert_eq!((code, counts(&again), ls()), (Some(0), [rows, 0, 0, 0], parts), "nothing was touched");

    // A file with more rows completes the day; what differs is told; what it lacks as well.
    let mut whole = lines.clone();
    whole[11] = whole[11].replace(",0.0250,", ",0.0260,");
    whole.remove(20);
    let (code, done) = import(&data, &[&file(dir.path(), 0, &whole)]);
    let missing = (lines.len() - few.len()) as u64;
    assert_eq!((code, counts(&done)), (Some(1), [few.len() as u64 - 2, 0, 1, 1]), "{done}");
    assert_eq!(done["imported_rows"], missing, "{done}");
    let report = last_json(&wholetape().args(["verify", "--json"]).arg(&data).output().unwrap());
    assert_eq!((&report["clean"], &report["rows"]), (&true.into(), &(rows + missing).into()), "{report}");
    let replay = ["replay", "--stdout", "--speed", "max", "--instruments", "BTCUSDT-LINEAR.BYBIT", "--data"];
    let replayed = wholetape().args(replay).arg(&data).output().unwrap();
    let rows = String::from_utf8(replayed.stdout).unwrap();
    let rows = rows.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).filter(|v| v["op"] == "data");
    let ids: Vec<String> = rows.map(|v| v["data"]["id"].as_str().unwrap().to_owned()).collect();
    let want: Vec<String> = (0..1_000).chain(1_440..2_000).map(|n| minute(n).name().to_string()).collect();
    assert_eq!(ids, want, "as the venue had them");
}

#[test]
fn files_that_cannot_be_used_are_told_and_heal_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    record(&data, CONTRACT, &[minute(1).live(), lost(7, minute(1).ms, minute(9).ms), minute(9).live()]);
    let good: Vec<String> = (1..10).map(|n| minute(n).line()).collect();
    let check = |lines: &[String], part: &str| {
        let mut command = wholetape();
        command.args(["heal", "import", "bybit-archive", "--json", "--data"]).arg(&data).arg(file(
            dir.path(),
            0,
            lines,
        ));
        let output = command.output().unwrap();
        let done = last_json(&output);
        let why = done["details"][0]["why"].as_str().unwrap().to_owned();
        assert_eq!((output.status.code(), done["healed"].as_u64()), (Some(2), Some(0)), "{done}");
        assert!(why.contains(part), "{part}: {why}");
    };
    let with = |line: String| [&good[..], &[line]].concat();
    let again = minute(3).line().replacen(&(minute(3).ms / 1_000).to_string(), &(minute(12).ms / 1_000).to_string(), 1);
    let named = minute(3).name();
    check(&with(again), &format!("BTCUSDT2026-09-01.csv.gz:11: the trade {named} stands on line 4 as well"));
    check(&with(minute(2).line()), ":11: time (ns)");
    check(&with(minute(1_441).line()), "column 1 (timestamp) is");
    check(&with("1,2".into()), ":11: 2 columns, where 11");
    assert_eq!(holds(&data, CONTRACT).records, 3);
    // An archive of numbers finds no numbers here.
    let output = wholetape()
        .args(["heal", "import", "binance-archive", "--data"])
        .arg(&data)
        .arg(file(dir.path(), 0, &good))
        .output()
        .unwrap();
    assert!(!output.status.success());
}

/// What the simulated venues published, as their archive would print it: one file an instrument and day.
fn published(dir: &Path) -> PathBuf {
    let root = dir.join("archive");
    for (venue, truth) in wholetape_sim::truth::load(&dir.join("sim")).unwrap().venues {
        for (symbol, truth) in truth.instruments {
            let mut days: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (trade, n) in truth.trades.values().zip(1..) {
                let date = Ts::from_millis(trade.time_ms).to_string()[..10].to_owned();
                let (s, ms) = (trade.time_ms / 1_000, trade.time_ms % 1_000);
                let (price, size) = (&trade.price, &trade.size);
                let side = if trade.buyer_is_maker { "Sell" } else { "Buy" };
                days.entry(date).or_default().push(match trade.name.as_deref() {
                    Some(name) => format!("{s}.{ms:03}7,{symbol},{side},{size},{price},PlusTick,{name},1,1,1,0"),
                    None => format!("{n},{},{price},{size},{},0", trade.time_ms, side.to_lowercase()),
                });
            }
            for (date, lines) in days {
                match venue.as_str() {
                    "bybit-spot" => {
                        pack(&root.join(format!("spot/{symbol}/{symbol}_{date}.csv.gz")), SPOT_HEAD, &lines)
                    }
                    _ => pack(&root.join(format!("trading/{symbol}/{symbol}{date}.csv.gz")), HEAD, &lines),
                };
            }
        }
    }
    root
}

/// The lines that record them take the rows, and the verdict finds no trade of a contract to confess any more. (It knows trades by their
/// ids, and those of a pair come without.)
#[test]
fn what_cuts_cost_comes_through_the_running_process() {
    let dir = tempfile::tempdir().unwrap();
    let streams = [("bybit-spot", 10), ("bybit-linear", 12), ("bybit-inverse", 6)];
    let mut rig = Rig::new(dir.path(), &["--venue", "bybit", "--seed", "3"], "", &streams);
    std::thread::sleep(Duration::from_millis(4_000));
    for (venue, _) in streams {
        assert_eq!(rig.ask(&format!(r#"{{"venue":"{venue}","kind":"cut_reset"}}"#))["event"], "inject");
    }
    std::thread::sleep(Duration::from_millis(8_000));
    rig.ask("freeze");
    // Truth, held and confessed, of the pairs or of the contracts.
    let trades = |judged: &Value, pairs: bool| -> [u64; 3] {
        let all = judged["instruments"].as_object().unwrap().iter();
        let all = all.filter(|(id, _)| id.contains("-SPOT") == pairs).map(|(_, one)| &one["tape"]["kinds"]["trade"]);
        all.fold([0; 3], |sums, one| {
            let of = ["truth", "held", "confessed"].map(|key| one[key].as_u64().unwrap_or(0));
            std::array::from_fn(|at| sums[at] + of[at])
        })
    };
    let began = Instant::now();
    let settled = |judged: &Value| [true, false].map(|pairs| trades(judged, pairs)).iter().all(|t| t[1] + t[2] == t[0]);
    let mut before = rig.verdict();
    while !settled(&before) {
        assert!(began.elapsed() < common::SOON, "what was published does not come: {before:#}");
        std::thread::sleep(Duration::from_millis(500));
        before = rig.verdict();
    }
    let files = published(dir.path());
    let import = |what: &str| {
        let mut command = wholetape();
        command.args(["heal", "import", "bybit-archive", "--json", "-c"]).arg(dir.path().join("wholetape.toml"));
        last_json(&command.arg(files.join(what)).output().unwrap())
    };
    for (pairs, what) in [(false, "trading"), (true, "spot")] {
        let [truth, held, confessed] = trades(&before, pairs);
        assert!(truth > 200 && confessed > 0, "{what}: the cuts cost nothing");
        let done = import(what);
        assert_eq!(done["complete"], true, "{done}");
        let n = |key: &str| done[key].as_u64().unwrap();
        assert!(n("healed") >= confessed && n("equal") + n("healed") == n("rows"), "{held} of {truth}: {done}");
        assert!(n("gaps_healed") >= 2, "{done}");
        let again = import(what);
        assert_eq!((&again["complete"], &again["equal"]), (&true.into(), &done["rows"]), "{again}");
        assert_eq!((&again["healed"], &again["gaps_healed"]), (&0.into(), &0.into()), "{again}");
    }
    let [truth, held, confessed] = trades(&rig.verdict(), false);
    assert!(held == truth && confessed == 0, "{held} of {truth}, {confessed} confessed");
}
