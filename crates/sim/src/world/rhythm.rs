//! Rhythms in running time.

/// A rhythm in running time.
#[derive(Debug, Clone)]
pub struct Every {
    every_ms: u64,
    next_ms: u64,
}

impl Every {
    pub const fn new(every_ms: u64) -> Self {
        Self { every_ms, next_ms: 0 }
    }
    /// Whether it is time; the next one is counted from the beginning, not from now.
    pub fn due(&mut self, run_ms: u64) -> bool {
        let due = run_ms >= self.next_ms;
        if due {
            self.next_ms = run_ms - run_ms % self.every_ms + self.every_ms;
        }
        due
    }
}
