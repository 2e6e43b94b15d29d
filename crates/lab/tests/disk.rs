//! The disk in memory, and the tape on it: what a crash keeps, what a power loss takes, what a failed fsync leaves behind.

use std::path::Path;
use std::sync::Arc;

use wholetape_lab::dice::Dice;
use wholetape_lab::disk::{DiskFaults, MemDisk};
use wholetape_model::{Body, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts};
use wholetape_tape::{Access, Delivery, Disk, From, ReaderOptions, Tape, TapeConfig, TapeError, TapeTime};

const DIR: &str = "/tape";

#[derive(Debug)]
struct Still;

impl TapeTime for Still {
    fn wall(&self) -> i64 {
        1_700_000_000_000_000_000
    }

    fn mono(&self) -> u64 {
        1
    }
}

fn config(disk: &MemDisk, boot: u32) -> TapeConfig {
    TapeConfig {
        disk: Arc::new(disk.clone()),
        driven: Some(Arc::new(Still)),
        boot_id: Some(format!("boot-{boot}")),
        segment_bytes: 8_192,
        memory_bytes: 1,
        ..TapeConfig::default()
    }
}

fn topic() -> Topic {
    Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"))
}

fn row(id: u64) -> Row<'static> {
    Row {
        ts_event: Ts(id as i64),
        ts_recv: Ts(id as i64),
        conn: 1,
        frame: 1,
        flags: RowFlags::default(),
        scales: Scales::default(),
        body: Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(1),
            size: Size(1),
            aggressor: None,
            condition: TradeCondition::Regular,
        }),
    }
}

/// Ids held (id = seq here); what marks and receipts cover.
fn held(tape: &Tape) -> (Vec<u64>, Vec<(u64, u64)>) {
    let mut reader = tape.reader(&topic(), From::Earliest, ReaderOptions::default()).unwrap();
    let (mut ids, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
    while reader.poll_next(&mut out, 1_000) > 0 {
        for d in out.drain(..) {
            match d {
                Delivery::Record(r) => match r.record().view().unwrap() {
                    Body::Trade(t) => ids.extend(t.id.number()),
                    _ => spans.push((r.record().prev(), r.record().seq())),
                },
                Delivery::Missed { from, to, .. } => spans.push((from - 1, to)),
                other => panic!("{other:?}"),
            }
        }
    }
    (ids, spans)
}

#[test]
fn a_failed_fsync_takes_the_pages_and_only_a_new_write_brings_them_back() {
    let disk = MemDisk::new(Path::new(DIR), 1);
    let path = Path::new("/tape/f");
    let file = disk.open(path, Access::Create).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"two", 3).unwrap();
    disk.set_faults(DiskFaults { failed_sync: 1, ..DiskFaults::default() });
    assert!(file.sync().is_err());
    disk.set_faults(DiskFaults::default());
    file.sync().unwrap();
    assert_eq!(disk.read(path).unwrap(), b"onetwo", "the page cache shows it");
    disk.power_loss(&mut Dice::new(3));
    assert_ne!(disk.read(path).unwrap(), b"onetwo", "the disk never had it");
    assert!(file.sync().is_err(), "handles of the former life are void");
}

#[test]
fn names_that_were_not_synced_may_go() {
    let outcomes: Vec<bool> = (0..40)
        .map(|seed| {
            let disk = MemDisk::new(Path::new(DIR), seed);
            disk.replace(Path::new("/tape/state"), b"old").unwrap();
            let part = disk.open(Path::new("/tape/state.part"), Access::Create).unwrap();
            part.write_at(b"new", 0).unwrap();
            part.sync().unwrap();
            disk.rename(Path::new("/tape/state.part"), Path::new("/tape/state")).unwrap();
            disk.power_loss(&mut Dice::new(seed));
            let now = disk.read(Path::new("/tape/state")).unwrap();
            assert!(now == b"old" || now == b"new", "either, never neither");
            now == b"new"
        })
        .collect();
    assert!(outcomes.contains(&true) && outcomes.contains(&false));
}

#[test]
fn the_tape_on_it_survives_death_at_every_step() {
    // How many steps the whole story has.
    let story = |disk: &MemDisk| -> Result<u64, TapeError> {
        let mut committed = 0;
        let tape = Tape::open(Path::new(DIR), config(disk, 1))?;
        let mut lane = tape.lane("w")?;
        let no = lane.topic(&topic())?;
        for id in 1..=120 {
            if let Err(e) = lane.append(no, &row(id)) {
                return if disk.is_dead() { Ok(committed) } else { Err(e) };
            }
            if id % 5 == 0 {
                if lane.commit().is_err() {
                    return Ok(committed);
                }
                committed = id;
            }
            if id % 30 == 0 && tape.sync_now().is_err() {
                return Ok(committed);
            }
        }
        drop(lane);
        tape.close().map(|()| committed).or(Ok(committed))
    };
    let steps = {
        let disk = MemDisk::new(Path::new(DIR), 0);
        assert_eq!(story(&disk).unwrap(), 120);
        disk.steps()
    };
    assert!(steps > 50, "{steps}");
    for at in 1..=steps {
        let disk = MemDisk::new(Path::new(DIR), at);
        disk.die_at(Some(at));
        let committed = story(&disk).unwrap_or(0);
        disk.crash();
        let tape = Tape::open(Path::new(DIR), config(&disk, 1)).unwrap_or_else(|e| panic!("step {at}: {e}"));
        let (ids, spans) = held(&tape);
        assert!(ids.iter().copied().eq(1..=ids.len() as u64), "step {at}: {ids:?}");
        assert!(ids.len() as u64 >= committed, "step {at}: {committed} committed, {} there", ids.len());
        assert!(spans.is_empty(), "step {at}: a kill is no power loss: {spans:?}");
    }
}

#[test]
fn a_power_loss_at_every_step_costs_only_what_was_not_synced_and_says_so() {
    let mut lost_some = 0;
    for at in 1..140 {
        let disk = MemDisk::new(Path::new(DIR), at);
        disk.die_at(Some(at));
        let (mut synced, mut seen) = (0, 0);
        let mut story = || -> Result<(), TapeError> {
            let tape = Tape::open(Path::new(DIR), config(&disk, 1))?;
            let mut lane = tape.lane("w")?;
            let no = lane.topic(&topic())?;
            for id in 1..=200 {
                lane.append(no, &row(id))?;
                if id % 5 == 0 {
                    let done = lane.commit();
                    synced = tape.synced_seq(&topic()).unwrap_or(0);
                    done?;
                    seen = id;
                }
                if id % 30 == 0 {
                    tape.sync_now()?;
                    synced = tape.synced_seq(&topic()).unwrap_or(0);
                }
            }
            Ok(())
        };
        let _ = story();
        disk.power_loss(&mut Dice::new(at));
        let tape = Tape::open(Path::new(DIR), config(&disk, 2)).unwrap_or_else(|e| panic!("step {at}: {e}"));
        if tape.head(&topic()).is_none() {
            assert_eq!((synced, seen), (0, 0), "step {at}: a topic that was served is gone");
            continue;
        }
        let (ids, spans) = held(&tape);
        assert!((1..=synced).all(|id| ids.contains(&id)), "step {at}: {synced} synced, there are {ids:?}");
        lost_some += u64::from((1..=seen).any(|id| !ids.contains(&id)));
        let named = |id: u64| ids.contains(&id) || spans.iter().any(|(prev, to)| *prev < id && id <= *to);
        assert!((1..=seen).all(named), "step {at}: {seen} seen, {ids:?} held, {spans:?}");
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&topic()).unwrap();
        assert!(lane.append(no, &row(999)).unwrap() > seen, "step {at}: no seq twice");
    }
    assert!(lost_some > 10, "the disk must take something, else this proves nothing: {lost_some}");
}
