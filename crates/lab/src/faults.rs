//! What goes wrong, and how often: each rate is "once in n", 0 = never.

use crate::dice::Dice;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames of sequenced channels (trade, depth) that never arrive. Others are not dropped singly: no real TCP connection
    /// loses one frame, and nothing could tell.
    pub drop: u64,
    pub duplicate: u64,
    /// Swapped with the next frame.
    pub swap: u64,
    pub garbage: u64,
    /// The connection breaks (per millisecond).
    pub cut: u64,
    /// A subscription is acknowledged and one of its streams stays silent (per opening).
    pub silent: u64,
    pub rest_fails: u64,
    pub rest_budget: u64,
    /// A snapshot as it was some time ago.
    pub rest_stale: u64,
    /// Trade ids that the venue skips.
    pub skipped_ids: u64,
}

impl Faults {
    pub const NONE: Self = Self {
        drop: 0,
        duplicate: 0,
        swap: 0,
        garbage: 0,
        cut: 0,
        silent: 0,
        rest_fails: 0,
        rest_budget: 0,
        rest_stale: 0,
        skipped_ids: 0,
    };

    /// Each fault present or not, and how often, as the seed says.
    pub fn drawn_from(dice: &mut Dice) -> Self {
        let mut rate = |lo, hi| if dice.one_in(3) { 0 } else { dice.between(lo, hi) };
        Self {
            drop: rate(20, 200),
            duplicate: rate(20, 200),
            swap: rate(20, 200),
            garbage: rate(100, 2_000),
            cut: rate(5_000, 40_000),
            silent: rate(2, 6),
            rest_fails: rate(3, 10),
            rest_budget: rate(3, 10),
            rest_stale: rate(2, 6),
            skipped_ids: rate(50, 500),
        }
    }
}
