//! Seeded chance: every random choice of a simulation comes from here, so a seed tells the whole story.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One stream of random numbers, named by what it is for so that two uses never share one.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a: any fixed mixing does, it only has to be the same in every build.
        let mix = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self(ChaCha8Rng::seed_from_u64(seed ^ mix))
    }

    /// `low ≤ n < high`; `low` when the range is empty.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { self.0.random_range(low..high) }
    }

    /// An index below `len`; 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        if len == 0 { 0 } else { self.0.random_range(0..len) }
    }

    /// `0.0 ≤ x < 1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Number of failures before a success of probability `p`, at most `max`.
    pub fn geometric(&mut self, p: f64, max: i64) -> i64 {
        let mut n = 0;
        while n < max && !self.chance(p) {
            n += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story_and_purposes_differ() {
        let draw = |seed, purpose| {
            let mut dice = Dice::new(seed, purpose);
            (0..8).map(|_| dice.range(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "flow"), draw(7, "flow"));
        assert_ne!(draw(7, "flow"), draw(8, "flow"));
        assert_ne!(draw(7, "flow"), draw(7, "faults"));
    }
}
