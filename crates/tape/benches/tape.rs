//! Append and read, in batches and one by one, beside a bare `write` of the same bytes.
//!
//! `cargo bench -p wholetape-tape --bench tape`. Files go to `$WHOLETAPE_BENCH_DIR`, or the system's temporary folder.

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use wholetape_model::{
    Body, Decimal, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts,
};
use wholetape_tape::{From, Reader, ReaderOptions, Retention, Tape, TapeConfig};

fn dir() -> TempDir {
    match std::env::var_os("WHOLETAPE_BENCH_DIR") {
        Some(d) => TempDir::new_in(d).expect("WHOLETAPE_BENCH_DIR is a folder"),
        None => TempDir::new().expect("a temporary folder"),
    }
}

fn trade(id: u64) -> Row<'static> {
    Row {
        ts_event: Ts(id as i64),
        ts_recv: Ts(id as i64),
        conn: 1,
        frame: id as u32,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 3 },
        body: Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(6_000_000),
            size: Size(5),
            aggressor: None,
            condition: TradeCondition::Regular,
        }),
    }
}

/// The smallest body there is: a record of 72 bytes, 64 B and its length and checksum.
fn mark_price(id: u64) -> Row<'static> {
    Row { body: Body::MarkPrice(Decimal { raw: id as i64, scale: 2 }), ..trade(id) }
}

fn topic(i: usize) -> Topic {
    Topic::new(Kind::Trade, &InstrumentId::parse(&format!("T{i}USDT.BINANCE")).expect("a name"))
}

fn config() -> TapeConfig {
    TapeConfig { retention: Retention { age_max: None, bytes_max: Some(512 << 20) }, ..TapeConfig::default() }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    type Make = fn(u64) -> Row<'static>;
    let cases: [(&str, usize, Make); 3] =
        [("64 x 72 B, 1 topic", 1, mark_price), ("64 x 96 B, 1 topic", 1, trade), ("64 x 96 B, 16 topics", 16, trade)];
    for (name, topics, row) in cases {
        let dir = dir();
        let tape = Tape::open(dir.path(), config()).expect("open");
        let mut lane = tape.lane("w").expect("lane");
        let numbers: Vec<_> = (0..topics).map(|i| lane.topic(&topic(i)).expect("topic")).collect();
        let mut id = 0;
        group.throughput(Throughput::Elements(64));
        group.bench_function(name, |b| {
            b.iter(|| {
                for _ in 0..64 {
                    id += 1;
                    lane.append(numbers[id as usize % topics], &row(id)).expect("append");
                }
                lane.commit().expect("commit");
            });
        });
    }
    group.finish();
}

fn one_a_write(c: &mut Criterion) {
    let mut group = c.benchmark_group("one record a write");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(1));
    let folder = dir();
    {
        let mut bytes = Vec::new();
        wholetape_model::record::encode(&trade(1), 0, 1, 1, &mut bytes);
        let mut file = File::create(folder.path().join("bare")).expect("create");
        let mut written = 0;
        group.bench_function("bare write", |b| {
            b.iter(|| {
                file.write_all(black_box(&bytes)).expect("write");
                written += bytes.len();
                if written > 64 << 20 {
                    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).expect("truncate");
                    written = 0;
                }
            });
        });
    }
    let tape = Tape::open(&folder.path().join("tape"), config()).expect("open");
    let mut lane = tape.lane("w").expect("lane");
    let no = lane.topic(&topic(0)).expect("topic");
    let mut id = 0;
    group.bench_function("tape", |b| {
        b.iter(|| {
            id += 1;
            lane.append(no, &trade(id)).expect("append");
            lane.commit().expect("commit");
        });
    });
    group.finish();
}

const HELD: u64 = 200_000;

fn filled(config: TapeConfig) -> (TempDir, Tape) {
    let dir = dir();
    let tape = Tape::open(dir.path(), config).expect("open");
    let mut lane = tape.lane("w").expect("lane");
    let no = lane.topic(&topic(0)).expect("topic");
    for id in 1..=HELD {
        lane.append(no, &trade(id)).expect("append");
        if id % 64 == 0 {
            lane.commit().expect("commit");
        }
    }
    lane.commit().expect("commit");
    drop(lane);
    (dir, tape)
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(HELD));
    let cases = [
        ("from memory", TapeConfig::default()),
        ("from disk", TapeConfig { memory_bytes: 1, segment_bytes: 4 << 20, ..TapeConfig::default() }),
    ];
    for (name, config) in cases {
        let (_dir, tape) = filled(config);
        let open = || tape.reader(&topic(0), From::Seq(0), ReaderOptions::default()).expect("reader");
        group.bench_function(name, |b| {
            b.iter_batched(
                open,
                |mut reader: Reader| {
                    let mut out = Vec::with_capacity(256);
                    let mut n = 0;
                    while reader.poll_next(&mut out, 256) > 0 {
                        n += out.len();
                        out.clear();
                    }
                    assert_eq!(n as u64, HELD);
                    reader
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, append, one_a_write, read);
criterion_main!(benches);
