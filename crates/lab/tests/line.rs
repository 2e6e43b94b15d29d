//! The line in the deterministic world: 60 virtual seconds under faults that the seed draws, then 60 s to become whole.

use wholetape_feed::line::Resume;
use wholetape_lab::{Faults, World, check, seeds};

#[test]
fn heals_or_confesses() {
    for seed in seeds(64) {
        let mut world = World::new(seed);
        world.run(60_000);
        world.settle(60_000);
        if let Err(why) = check::all(&world) {
            panic!("SEED={seed} reruns this alone ({:?}): {why}", world.drawn);
        }
    }
}

#[test]
fn without_faults_nothing_is_confessed() {
    let mut world = World::with(7, Faults::NONE, true, Resume::default());
    world.run(20_000);
    world.settle(5_000);
    check::all(&world).unwrap();
    let stats = world.line.stats();
    assert_eq!((stats.gaps_opened, stats.errors, stats.repeats, stats.resyncs), (0, 0, 0, 0), "{stats:?}");
}

#[test]
fn without_healing_a_dropped_trade_is_found_missing() {
    let faults = Faults { drop: 30, ..Faults::NONE };
    let mut world = World::with(3, faults, false, Resume::default());
    world.run(20_000);
    world.settle(10_000);
    assert!(check::trades_are_the_venues(&world).unwrap_err().contains("missing"));
    check::gaps_have_verdicts(&world).unwrap();
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    let run = || {
        let mut world = World::new(11);
        world.run(10_000);
        world.rows
    };
    assert!(run() == run());
}
