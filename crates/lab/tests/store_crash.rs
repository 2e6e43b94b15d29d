//! The catalog on a disk that dies: at any step of a flush, a late rewrite, a seal, a recovery; with and without the power.
//!
//! `WHOLETAPE_CRASHES=500` makes so many crashes of each sort (the default is for CI), `WHOLETAPE_SEED=n` runs one story alone.

#[path = "store_crash/certificates.rs"]
mod certificates;
#[path = "store_crash/retention.rs"]
mod retention;
mod store_world;

use std::time::Duration;

use store_world::{EAGER, SECOND, World, support::DAY};
use wholetape_lab::disk::DiskFaults;
use wholetape_store::StoreError;
use wholetape_store::writer::Pace;

const HOUR: i64 = 3_600 * SECOND;

/// What the process is at when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Flush,
    Late,
    Seal,
    Any,
}

impl At {
    fn pace(self) -> Pace {
        let day_ends = Pace { seal_after: Duration::ZERO, ..EAGER };
        match self {
            Self::Flush => Pace { budget: 24 << 10, rewrite_every: Duration::from_secs(86_400 * 365), ..EAGER },
            Self::Late => EAGER,
            Self::Seal => day_ends,
            Self::Any => Pace { budget: 48 << 10, flush_every: Duration::from_secs(7_200), ..day_ends },
        }
    }

    /// What is done before, and undisturbed. False: there will be nothing to do.
    fn before(self, w: &mut World) -> bool {
        let (rows, ns) = (w.dice.between(10, 60), w.dice.between(1, 8) as i64 * HOUR);
        w.write(rows, ns);
        let stored = |w: &mut World| {
            let done = w.poll().and_then(|()| w.tend());
            w.well(done);
        };
        match self {
            Self::Flush => true,
            Self::Late => {
                stored(w);
                w.heal(2) && {
                    let done = w.poll();
                    w.well(done);
                    true
                }
            }
            Self::Seal => {
                if w.dice.one_in(2) {
                    w.heal(3);
                }
                stored(w);
                let midnight = (w.now / DAY + 1) * DAY;
                w.go_on(midnight - w.now + w.dice.clone().between(0, 100) as i64);
                true
            }
            Self::Any => {
                if w.dice.one_in(3) {
                    w.heal(3);
                }
                if w.dice.one_in(3) {
                    w.process().tape.sync_now().unwrap();
                }
                true
            }
        }
    }

    fn step(self, w: &mut World) -> Result<(), StoreError> {
        match self {
            Self::Flush if w.dice.one_in(3) => w.poll().and_then(|()| w.flush()),
            Self::Any if w.dice.one_in(4) => w.poll().and_then(|()| w.flush()),
            Self::Flush | Self::Any => w.poll().and_then(|()| w.tend()),
            Self::Late | Self::Seal => w.tend(),
        }
    }
}

/// One story. Returns how often it died at what was asked for.
fn story(seed: u64, at: At) -> u64 {
    let mut w = World::new(seed, at.pace());
    w.start_checked();
    // How many steps it usually takes.
    let (mut typical, mut crashes) = (30, 0);
    for _ in 0..9 {
        if at.before(&mut w) && !survives(&mut w, &mut typical, |w| at.step(w)) {
            crashes += 1;
        }
    }
    w.finish();
    crashes
}

/// Does something on a disk that dies at one of its next steps, of which it `typical`ly takes so many. False: it died of it, and was
/// started again, at times after more deaths.
fn survives(w: &mut World, typical: &mut u64, step: impl FnOnce(&mut World) -> Result<(), StoreError>) -> bool {
    let before = w.disk.steps();
    w.disk.die_at(Some(before + w.dice.between(1, *typical + 1)));
    let done = step(w);
    if !w.disk.is_dead() {
        w.disk.die_at(None);
        w.well(done);
        *typical = (w.disk.steps() - before).max(1);
        w.note();
        return true;
    }
    let power = w.dice.one_in(2);
    w.kill(power);
    while w.dice.one_in(3) {
        // It dies again before it is up.
        w.disk.die_at(Some(w.disk.steps() + w.dice.between(1, 25)));
        let started = w.start();
        let died = w.disk.is_dead();
        w.disk.die_at(None);
        if !died {
            w.well(started);
        }
        let power = w.dice.one_in(2);
        w.kill(power);
    }
    w.start_checked();
    w.note();
    false
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn crashes(at: At) {
    repeat(&format!("{at:?}"), |seed| story(seed, at));
}

/// Stories until so many crashes are done.
fn repeat(what: &str, story: impl Fn(u64) -> u64 + std::panic::RefUnwindSafe) {
    if let Some(seed) = number("WHOLETAPE_SEED") {
        story(seed);
        return;
    }
    let (want, mut done, mut seed) = (number("WHOLETAPE_CRASHES").unwrap_or(60), 0, 0);
    while done < want {
        seed += 1;
        assert!(seed <= 3 * want, "{done} crashes in {seed} stories: they do not die");
        done += std::panic::catch_unwind(|| story(seed)).unwrap_or_else(|e| {
            println!("{what}: seed {seed} fails; WHOLETAPE_SEED={seed} runs it alone");
            std::panic::resume_unwind(e)
        });
    }
    println!("{what}: {done} crashes in {seed} stories");
}

#[test]
fn flushes_survive_crashes() {
    crashes(At::Flush);
}

#[test]
fn late_rewrites_survive_crashes() {
    crashes(At::Late);
}

#[test]
fn seals_survive_crashes() {
    crashes(At::Seal);
}

#[test]
fn migrations_survive_crashes() {
    repeat("Migrate", store_world::migrate::story);
}

#[test]
fn days_of_everything_survive_crashes_anywhere() {
    crashes(At::Any);
}

/// A disk that writes in pieces, whose fsync fails, or that is full: storing says so, nothing that was committed goes, and once the
/// disk is well the follower goes on from the tape. Now and then the power goes as well: what a failed fsync dropped is gone then.
fn sick_disk(seed: u64) -> (u64, u64) {
    let mut w = World::on_two_disks(seed, At::Any.pace());
    w.start_checked();
    let (mut errors, mut full) = (0, 0);
    for _ in 0..10 {
        At::Any.before(&mut w);
        let failed_sync = if w.dice.one_in(2) { w.dice.between(4, 40) } else { 0 };
        w.disk.set_faults(DiskFaults { short_write: w.dice.between(0, 4), failed_sync, lies: 0 });
        if w.dice.one_in(3) {
            w.disk.set_room(Some(w.dice.between(0, 20_000)));
        }
        let done = w.poll().and_then(|()| w.tend());
        let is_well = done.is_ok();
        if let Err(e) = done {
            errors += 1;
            // A certificate that could not be issued stops nothing but the log that its line was to stand in.
            let typed = matches!(e, StoreError::Io { .. } | StoreError::Parquet { .. } | StoreError::LogFailed(_));
            assert!(typed, "seed {seed}: {e:?}");
            assert!(w.process().follower.failed().is_some());
            assert!(matches!(w.tend(), Err(StoreError::Stopped(_))), "it goes on with half of its rows");
            // Perhaps too early.
            if w.dice.one_in(2) && !w.reopen() {
                errors += 1;
            }
        }
        w.disk.set_faults(DiskFaults::default());
        w.disk.set_room(None);
        full = w.disk.counts().full;
        if w.process.is_some() && w.dice.one_in(3) {
            w.kill(w.dice.clone().one_in(2));
        }
        if w.process.is_none() {
            w.start_checked();
        } else if !is_well && w.process().follower.failed().is_some() {
            assert!(w.reopen(), "seed {seed}: the disk is well again");
            w.check();
        }
        w.note();
    }
    w.finish();
    (errors, full)
}

#[test]
fn a_sick_disk_costs_nothing_that_was_committed() {
    if let Some(seed) = number("WHOLETAPE_SEED") {
        sick_disk(seed);
        return;
    }
    let (mut errors, mut full) = (0, 0);
    for seed in 1..=number("WHOLETAPE_CRASHES").map_or(8, |n| n / 6) {
        let (e, f) = std::panic::catch_unwind(|| sick_disk(seed)).unwrap_or_else(|e| {
            println!("sick disk: seed {seed} fails; WHOLETAPE_SEED={seed} runs it alone");
            std::panic::resume_unwind(e)
        });
        (errors, full) = (errors + e, full + f);
    }
    println!("sick disk: {errors} errors, {full} writes refused for want of room");
    assert!(errors > 10 && full > 3, "{errors} {full}");
}

/// Every single step, and both ends: what a crash between write and rename leaves is taken away (T14).
#[test]
fn every_step_of_a_flush_a_rewrite_and_a_seal_may_be_the_last() {
    let mut base = World::new(7, Pace { seal_after: Duration::ZERO, ..EAGER });
    base.dialects.truncate(1);
    base.start_checked();
    base.write(40, HOUR / 12);
    let done = base.poll().and_then(|()| base.flush());
    base.well(done);
    base.write(20, HOUR);
    base.heal(2);
    base.go_on(HOUR);
    base.process().tape.sync_now().unwrap();
    let mut step = 1;
    loop {
        let mut ended = false;
        for power in [false, true] {
            let mut w = base.fork();
            w.seed = step;
            w.start_checked();
            w.note();
            w.disk.die_at(Some(w.disk.steps() + step));
            let done = w.poll().and_then(|()| w.tend());
            ended = !w.disk.is_dead();
            if ended {
                w.disk.die_at(None);
                w.well(done);
            }
            w.kill(power);
            w.start_checked();
            if step % 3 == 0 || ended {
                w.finish();
            }
        }
        if ended {
            break;
        }
        step += if number("WHOLETAPE_CRASHES").is_some() { 1 } else { 11 };
    }
    assert!(step > 60, "{step}");
    println!("{step} steps");
}
