//! Days whose time is over go, on a disk that dies at any step of it: each is whole afterwards, or gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wholetape_store::retain::{Keep, Kinds, Rule, Rules};
use wholetape_store::writer::Pace;

use crate::store_world::{EAGER, TOPICS, World, support::DAY};
use crate::{HOUR, number, repeat, survives};

/// Rows that all stories let go.
static GONE: AtomicU64 = AtomicU64::new(0);

/// Everything for some days, one kind longer or shorter, one perhaps for ever.
fn rules(w: &mut World) -> Rules {
    let keep = |w: &mut World| match w.dice.between(0, 5) {
        4 => Keep::Forever,
        n => Keep::For(Duration::from_secs(n * 86_400)),
    };
    let (general, other) = (keep(w), keep(w));
    let kind = TOPICS[w.dice.between(0, TOPICS.len() as u64) as usize];
    let rule = Rule { kinds: Kinds::parse(kind).expect("a kind"), venue: None, keep: other };
    Rules::new(general, vec![rule]).expect("one rule")
}

/// Some days are written, sealed and certified; late rows may have come in between, and more wait in memory.
fn days(w: &mut World) {
    w.process().follower.set_retention(Rules::default());
    for _ in 0..w.dice.clone().between(1, 3) {
        let (rows, ns) = (w.dice.between(10, 50), w.dice.between(10, 50) as i64 * HOUR);
        w.write(rows, ns);
        if w.dice.one_in(2) {
            w.heal(3);
        }
        let done = w.poll().and_then(|()| w.flush()).and_then(|()| w.tend());
        w.well(done);
    }
    if w.dice.one_in(3) {
        w.heal(2);
    }
}

fn story(seed: u64) -> u64 {
    let mut w = World::new(seed, Pace { seal_after: Duration::ZERO, ..EAGER });
    w.start_checked();
    let (mut typical, mut died, mut gone) = (30, 0, 0_u64);
    for _ in 0..7 {
        days(&mut w);
        w.note();
        w.rules = rules(&mut w);
        let with_late_rows = w.dice.one_in(2);
        let survived = survives(&mut w, &mut typical, |w| {
            w.process.as_mut().expect("it runs").follower.set_retention(w.rules.clone());
            if with_late_rows { w.poll().and_then(|()| w.tend()) } else { w.tend() }
        });
        died += u64::from(!survived);
        // Undisturbed, what was begun comes to its end.
        let done = w.poll().and_then(|()| w.flush()).and_then(|()| w.tend());
        w.well(done);
        w.check();
        if !survived {
            w.verify();
        }
        w.note();
        let state = w.process().follower.catalog.state();
        gone = state.let_go.values().map(|g| g.rows).sum();
    }
    w.process().follower.set_retention(Rules::default());
    w.finish();
    w.verify();
    GONE.fetch_add(gone, Ordering::Relaxed);
    died
}

#[test]
fn retention_survives_crashes() {
    repeat("retention", story);
    println!("{} rows were let go", GONE.load(Ordering::Relaxed));
    assert!(number("WHOLETAPE_SEED").is_some() || GONE.load(Ordering::Relaxed) > 1_000);
}

/// Every step at which a day may be on its way out.
#[test]
fn every_step_of_letting_go_may_be_the_last() {
    let mut base = World::new(3, Pace { seal_after: Duration::ZERO, ..EAGER });
    base.start_checked();
    for _ in 0..3 {
        base.write(40, DAY);
        let done = base.poll().and_then(|()| base.flush()).and_then(|()| base.tend());
        base.well(done);
    }
    base.process().tape.sync_now().unwrap();
    base.rules = Rules::new(Keep::For(Duration::from_secs(86_400)), Vec::new()).expect("no rule");
    let (mut step, mut before, mut after) = (1, 0, 0);
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
            let is_gone = !w.process().follower.catalog.state().let_go.is_empty();
            (before, after) = (before + u64::from(!is_gone), after + u64::from(is_gone));
            let done = w.poll().and_then(|()| w.tend());
            w.well(done);
            w.check();
            w.verify();
        }
        if ended {
            break;
        }
        // The manifest's line comes early.
        step += if number("WHOLETAPE_CRASHES").is_some() || step < 12 { 1 } else { 7 };
    }
    println!("{step} steps, {before} times the days were there, {after} times gone");
    assert!(before > 3 && after > 3, "{before} {after}");
}
