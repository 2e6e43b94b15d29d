//! What goes wrong, and how often: drawn from the seed, each present or not.

use crate::dice::Dice;
use crate::disk::DiskFaults;

/// Rates per frame, request or opening: "once in n", 0 = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames of sequenced channels (trade, depth) that never arrive. Others are not dropped singly: no real TCP connection
    /// loses one frame, and nothing could tell.
    pub drop: u64,
    pub duplicate: u64,
    /// Swapped with the next frame of its connection.
    pub swap: u64,
    /// A frame cut in the middle comes beside the whole one.
    pub garbage: u64,
    /// A frame with an event type nobody knows.
    pub unknown: u64,
    /// A subscription is acknowledged and one of its streams stays silent.
    pub silent: u64,
    /// The handshake fails, or never answers.
    pub refused: u64,
    pub blackhole: u64,
    /// No answer; an answer 5xx; 429 with `Retry-After`; a snapshot as it was some time ago; an answer seconds late.
    pub rest_fails: u64,
    pub rest_5xx: u64,
    pub rest_429: u64,
    pub rest_stale: u64,
    pub rest_late: u64,
    /// Trade ids that the venue skips.
    pub skipped_ids: u64,
    pub disk: DiskFaults,
    pub timed: Timed,
    /// Of a book's updates one in so many finds the venue's ids begun anew, where they can.
    pub resets: u64,
}

/// Things that happen at a moment: the mean time between two, ms; 0 = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timed {
    /// A connection breaks.
    pub cut: u64,
    /// A connection brings nothing for some seconds, then all of it.
    pub stall: u64,
    /// A connection brings nothing more, without a word.
    pub vanish: u64,
    /// The wall clock is set, by up to 2 s.
    pub clock: u64,
    /// The disk is full for some seconds.
    pub full: u64,
    /// `kill -9`, between two events and within a step of the disk.
    pub crash: u64,
    pub die: u64,
    pub power: u64,
}

impl Faults {
    /// Each fault present or not, and how often, as the seed says.
    pub fn drawn_from(dice: &mut Dice) -> Self {
        let mut rate = |one_in: u64, lo, hi| if dice.one_in(one_in) { dice.between(lo, hi) } else { 0 };
        Self {
            drop: rate(2, 20, 400),
            duplicate: rate(2, 20, 400),
            swap: rate(2, 20, 400),
            garbage: rate(3, 200, 4_000),
            unknown: rate(3, 100, 2_000),
            silent: rate(3, 2, 8),
            refused: rate(3, 2, 6),
            blackhole: rate(4, 3, 8),
            rest_fails: rate(3, 3, 10),
            rest_5xx: rate(3, 3, 10),
            rest_429: rate(4, 5, 15),
            rest_stale: rate(3, 2, 6),
            rest_late: rate(3, 2, 6),
            skipped_ids: rate(2, 30, 300),
            disk: DiskFaults { short_write: rate(2, 3, 50), failed_sync: rate(5, 60, 400), lies: 0 },
            timed: Timed {
                cut: rate(2, 4_000, 30_000),
                stall: rate(3, 8_000, 40_000),
                vanish: rate(4, 15_000, 60_000),
                clock: rate(3, 10_000, 60_000),
                full: rate(6, 15_000, 60_000),
                crash: rate(3, 10_000, 50_000),
                die: rate(3, 10_000, 50_000),
                power: rate(3, 10_000, 50_000),
            },
            // The last draw: what was drawn before there were such venues is drawn as ever.
            resets: rate(2, 100, 800),
        }
    }

    /// What remains when the market goes on and nothing goes wrong any more.
    #[must_use]
    pub fn ended(&self) -> Self {
        Self { skipped_ids: self.skipped_ids, ..Self::default() }
    }
}
