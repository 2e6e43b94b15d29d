//! The view `clean`: rows that a quality check flagged are left out, and the next message says so.
//!
//! A reader stands at its last message (`position`) and has come as far as the last row that was left out behind it. Marks are
//! never left out. What is `missed`, or stands for everything before it (`snap`), covers what was left out in front of it.

use wholetape_model::Record;

/// Whether the view leaves `record` out.
pub(crate) fn is_left_out(record: &Record<'_>) -> bool {
    !record.is_mark() && record.flags().is_flagged()
}

/// What a reader was not given since its last message. One that reads everything never has any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Omission {
    on: bool,
    n: u64,
    /// The last of them; not beyond the reader's position: they were told.
    to: u64,
}

impl Omission {
    /// `on`: flagged rows are left out.
    pub const fn new(on: bool) -> Self {
        Self { on, n: 0, to: 0 }
    }

    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Whether a reader at `position` is not given `record`.
    pub fn takes(&mut self, position: u64, record: &Record<'_>) -> bool {
        let left_out = self.on && is_left_out(record);
        if left_out {
            self.take(position, record.seq());
        }
        left_out
    }

    /// A reader at `position` is not given the row `seq`.
    pub const fn take(&mut self, position: u64, seq: u64) {
        self.n = self.behind(position) + 1;
        self.to = seq;
    }

    /// How many rows were left out behind `position`.
    pub const fn behind(&self, position: u64) -> u64 {
        if self.to > position { self.n } else { 0 }
    }

    /// How far a reader at `position` has come.
    pub const fn reached(&self, position: u64) -> u64 {
        if self.to > position { self.to } else { position }
    }

    /// The reader begins anew elsewhere.
    pub const fn forget(&mut self) {
        (self.n, self.to) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_what_was_left_out_behind_the_one_before() {
        let mut left = Omission::new(true);
        assert_eq!((left.behind(10), left.reached(10)), (0, 10));
        for seq in [11, 12, 14] {
            left.take(10, seq);
        }
        assert_eq!((left.behind(10), left.reached(10)), (3, 14));
        // Told by the message 15, or by a `missed` up to there.
        assert_eq!((left.behind(15), left.reached(15)), (0, 15));
        left.take(15, 16);
        assert_eq!((left.behind(15), left.reached(15)), (1, 16));
        // Back to 3, to read it all again.
        left.forget();
        left.take(3, 11);
        assert_eq!((left.behind(3), left.reached(3)), (1, 11));
    }
}
