//! Each checker can fail: a world that was right is broken in one place, or a bug is planted before it runs, and the checker
//! whose business it is says so.

use std::path::Path;

use wholetape_lab::disk::DiskFaults;
use wholetape_lab::faults::Timed;
use wholetape_lab::process::DIR;
use wholetape_lab::witness::{End, Kept};
use wholetape_lab::{Faults, Plan, World, check};
use wholetape_model::{BookAction, Gap, GapCause, GapState, HealSource, Size, Ts};
use wholetape_tape::Tape;

fn right() -> World {
    let mut world = World::new(Plan { seconds: 10, ..Plan::without_faults(5) });
    world.run().unwrap();
    world
}

/// Breaks the rows of one topic and expects `says`.
fn broken(topic: &str, says: &str, break_it: impl FnOnce(&mut Vec<wholetape_lab::witness::Row>)) {
    let mut world = right();
    break_it(&mut world.held.get_mut(topic).unwrap().rows);
    let why = check::all(&mut world).unwrap_err();
    assert!(why.contains(says), "{why}");
}

fn nth(rows: &[wholetape_lab::witness::Row], n: usize, is: impl Fn(&Kept) -> bool) -> usize {
    (0..rows.len()).filter(|i| is(&rows[*i].kept)).nth(n).unwrap()
}

#[test]
fn p1_a_trade_that_is_not_there() {
    broken("trade.BTCUSDT.BINANCE", "P1: trade", |rows| {
        rows.remove(nth(rows, 20, |k| matches!(k, Kept::Trade(..))));
    });
}

#[test]
fn p2_a_trade_twice() {
    broken("trade.BTCUSDT-PERP.BINANCE", "P2: trade", |rows| {
        let i = nth(rows, 20, |k| matches!(k, Kept::Trade(..)));
        rows.push(rows[i].clone());
    });
}

#[test]
fn p2_a_trade_that_is_not_the_venues() {
    broken("trade.ETHUSDT.BINANCE", "differs", |rows| {
        let i = nth(rows, 20, |k| matches!(k, Kept::Trade(..)));
        let Kept::Trade(t, _) = &mut rows[i].kept else { unreachable!() };
        t.size = Size(t.size.0 + 1);
    });
}

#[test]
fn p1_a_quote_that_is_not_there() {
    broken("quote.BTCUSDT.BINANCE", "P1: quote", |rows| {
        rows.remove(nth(rows, 20, |k| matches!(k, Kept::Quote(..))));
    });
}

#[test]
fn p3_a_book_that_is_not_the_venues() {
    broken("book.BTCUSDT-PERP.BINANCE", "P3: the book differs", |rows| {
        let delta = |k: &Kept| matches!(k, Kept::Book { action: BookAction::Delta, bids, .. } if !bids.is_empty());
        let i = nth(rows, 5, delta);
        let Kept::Book { bids, .. } = &mut rows[i].kept else { unreachable!() };
        bids[0].size = Size(bids[0].size.0 + 1);
    });
}

#[test]
fn p3_a_book_that_is_not_live_in_the_end() {
    broken("book.BTCUSDT.BINANCE", "P3: the book ends not live", |rows| {
        let mut row = rows.last().unwrap().clone();
        row.kept = Kept::Validity(wholetape_model::ValidityState::Syncing, 0);
        rows.push(row);
    });
}

#[test]
fn p1_a_gap_without_a_verdict() {
    broken("book.BTCUSDT.BINANCE", "no verdict", |rows| {
        let mut row = rows.last().unwrap().clone();
        row.kept = Kept::Gap(Gap {
            gap: 1,
            state: GapState::Open,
            cause: GapCause::Sequence,
            source: HealSource::None,
            from_id: 1,
            to_id: 2,
            from_ts: Ts(1),
            to_ts: Ts(2),
            missing: 2,
            why: String::new(),
        });
        rows.push(row);
    });
}

#[test]
fn p4_a_record_that_was_shown_and_is_damaged() {
    let mut world = right();
    let lane = Path::new(DIR).join("lanes/feed-0");
    let disk = world.setup.disk.clone();
    let files = wholetape_tape::Disk::list(&disk, &lane).unwrap();
    disk.flip(&files[0].path, 4_000, 0x10);
    let tape = Tape::open(Path::new(DIR), world.setup.tape_config(1)).unwrap();
    let why = world.witness.compare(&tape, End::Kill).unwrap_err();
    assert!(why.starts_with("P4: ") && why.contains("was shown and is gone"), "{why}");
}

#[test]
fn p5_a_seq_that_is_another_record_now() {
    let mut world = right();
    let log = world.witness.topics.get_mut("trade.BTCUSDT.BINANCE").unwrap();
    log.rows.values_mut().nth(10).unwrap().hash ^= 1;
    let tape = Tape::open(Path::new(DIR), world.setup.tape_config(1)).unwrap();
    let why = world.witness.compare(&tape, End::Kill).unwrap_err();
    assert!(why.starts_with("P5: ") && why.contains("another record"), "{why}");
}

#[test]
fn p5_a_reader_that_got_something_else() {
    let mut world = right();
    for log in world.witness.topics.values_mut() {
        log.rows.values_mut().for_each(|r| r.hash ^= 1);
    }
    let why = check::all(&mut world).unwrap_err();
    assert!(why.starts_with("P5: "), "{why}");
}

#[test]
fn p4_a_disk_that_lies_about_its_syncs_is_found_out() {
    let faults = Faults {
        disk: DiskFaults { lies: 1, ..DiskFaults::default() },
        timed: Timed { power: 6_000, ..Timed::default() },
        ..Faults::default()
    };
    let found = (0..5).any(|seed| {
        let result = World::new(Plan { faults, seconds: 30, ..Plan::without_faults(seed) }).run();
        result.is_err_and(|why| why.starts_with("P4: "))
    });
    assert!(found);
}

#[test]
fn rest_a_venue_that_bears_less_than_we_believe_is_overrun() {
    let faults = Faults { timed: Timed { cut: 1_000, ..Timed::default() }, ..Faults::default() };
    let mut world = World::new(Plan { faults, seconds: 10, ..Plan::without_faults(2) });
    // The planted bug: the process is told another limit than the venue has.
    world.o.hosts[0].limit = 60;
    let why = world.run().unwrap_err();
    assert!(why.starts_with("REST: host 0 was overrun"), "{why}");
}
