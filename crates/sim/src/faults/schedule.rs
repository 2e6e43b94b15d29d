//! When faults come: for each kind one arming in every period of its rate, at a seeded place of the period.
//!
//! What a client meets only when it connects or asks again (refusals, late and stale snapshots, silent acks, blackholes) is
//! armed before the cuts of the same period, so that the period's reconnects run into it.

use super::{FaultConfig, FaultKind};
use crate::dice::Dice;

/// One kind's rhythm.
#[derive(Debug)]
struct Rhythm {
    kind: FaultKind,
    period_ms: f64,
    /// Start of the current period, running time.
    start_ms: f64,
    next_ms: u64,
}

/// The seeded order of things for one venue.
#[derive(Debug)]
pub struct Schedule {
    dice: Dice,
    rhythms: Vec<Rhythm>,
    /// No subscription falls silent from then on, running time.
    silences_until_ms: u64,
}

impl Schedule {
    pub fn new(config: &FaultConfig, seed: u64, venue: &str, from_ms: u64) -> Self {
        let mut dice = Dice::new(seed, &format!("{venue}/schedule/{from_ms}"));
        let mut rhythms = Vec::new();
        for kind in FaultKind::SCHEDULED {
            let rate = config.rate(kind);
            if rate > 0.0 && rate.is_finite() {
                let mut rhythm = Rhythm { kind, period_ms: 60_000.0 / rate, start_ms: from_ms as f64, next_ms: 0 };
                rhythm.place(&mut dice);
                rhythms.push(rhythm);
            }
        }
        let silences_until_ms = config.silences_for_ms.map_or(u64::MAX, |ms| from_ms.saturating_add(ms));
        Self { dice, rhythms, silences_until_ms }
    }

    /// Whether what is armed of this kind may strike at this running time.
    pub fn allows(&self, kind: FaultKind, run_ms: u64) -> bool {
        kind != FaultKind::AckSilence || run_ms < self.silences_until_ms
    }

    /// Kinds that are due at this running time, at most one arming of a kind a call.
    pub fn due(&mut self, run_ms: u64, out: &mut Vec<FaultKind>) {
        for rhythm in self.rhythms.iter_mut().filter(|rhythm| run_ms >= rhythm.next_ms) {
            out.push(rhythm.kind);
            rhythm.start_ms += rhythm.period_ms;
            rhythm.place(&mut self.dice);
        }
    }
}

impl Rhythm {
    fn place(&mut self, dice: &mut Dice) {
        use FaultKind as K;
        let (from, to) = match self.kind {
            K::SlowRest
            | K::LateSnapshot
            | K::StaleSnapshot
            | K::Http429
            | K::Http418
            | K::AckSilence
            | K::Blackhole => (0.05, 0.30),
            K::CutReset | K::CutClose => (0.32, 0.55),
            _ => (0.08, 0.75),
        };
        self.next_ms = (self.start_ms + self.period_ms * (from + (to - from) * dice.unit())) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FaultLevel;

    fn all(seed: u64, level: FaultLevel, until_ms: u64) -> Vec<(u64, FaultKind)> {
        let mut schedule = Schedule::new(&FaultConfig::level(level), seed, "v", 0);
        let mut told = Vec::new();
        for at in 0..until_ms {
            let mut due = Vec::new();
            schedule.due(at, &mut due);
            told.extend(due.into_iter().map(|kind| (at, kind)));
        }
        told
    }

    #[test]
    fn rough_brings_every_kind_within_fifteen_seconds_and_a_seed_repeats_itself() {
        for seed in 0..20 {
            let first = all(seed, FaultLevel::Rough, 15_000);
            for kind in FaultKind::SCHEDULED {
                assert!(first.iter().any(|(_, k)| *k == kind), "seed {seed}: no {kind}");
            }
            assert_eq!(first, all(seed, FaultLevel::Rough, 15_000));
        }
        assert_ne!(all(1, FaultLevel::Rough, 15_000), all(2, FaultLevel::Rough, 15_000));
        assert!(all(1, FaultLevel::None, 60_000).is_empty());
    }

    #[test]
    fn silences_end_before_the_others() {
        let config = FaultConfig { silences_for_ms: Some(40_000), ..FaultConfig::level(FaultLevel::Rough) };
        let schedule = Schedule::new(&config, 1, "v", 5_000);
        assert!(schedule.allows(FaultKind::AckSilence, 44_999) && !schedule.allows(FaultKind::AckSilence, 45_000));
        assert!(schedule.allows(FaultKind::Drop, 45_000));
        let endless = Schedule::new(&FaultConfig::level(FaultLevel::Rough), 1, "v", 5_000);
        assert!(endless.allows(FaultKind::AckSilence, u64::MAX - 1));
    }

    #[test]
    fn a_rate_of_zero_switches_one_kind_off() {
        let mut config = FaultConfig::level(FaultLevel::Rough);
        config.per_minute.insert(FaultKind::Drop, 0.0);
        let mut schedule = Schedule::new(&config, 1, "v", 0);
        let mut due = Vec::new();
        for at in 0..60_000 {
            schedule.due(at, &mut due);
        }
        assert!(!due.contains(&FaultKind::Drop) && due.contains(&FaultKind::Stall));
    }
}
