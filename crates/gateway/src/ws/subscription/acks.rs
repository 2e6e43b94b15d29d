//! What a client was given and has not acknowledged (`ack: "cum"`, PROTOCOL §5).
//!
//! The topic pauses at `most` messages; where it stands then is the cursor's place in the log, so nothing waits in memory but their seqs.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Acks {
    /// Seqs of messages that were given and not acknowledged, ascending.
    waiting: VecDeque<u64>,
    most: usize,
    /// It waits for the client, and that was counted.
    paused: bool,
}

impl Acks {
    pub const fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most, paused: false }
    }

    /// So many more messages may be given.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.waiting.len())
    }

    /// A message up to `seq` was given.
    pub fn gave(&mut self, seq: u64) {
        self.waiting.push_back(seq);
    }

    /// Everything up to `seq` was processed. Whether what was paused may go on.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        let n = self.waiting.partition_point(|given| *given <= seq);
        self.waiting.drain(..n);
        n > 0 && std::mem::take(&mut self.paused)
    }

    /// Whether this is the moment at which it begins to wait.
    pub fn pauses(&mut self) -> bool {
        !std::mem::replace(&mut self.paused, true)
    }

    /// The client begins anew elsewhere: what it was given does not count.
    pub fn forget(&mut self) {
        (self.waiting, self.paused) = (VecDeque::new(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_cumulative_and_monotone() {
        let mut acks = Acks::new(3);
        for seq in [5, 9, 12] {
            acks.gave(seq);
        }
        assert_eq!((acks.room(), acks.pauses(), acks.pauses()), (0, true, false));
        assert!(!acks.acknowledge(4), "nothing of it was waited for");
        assert_eq!((acks.acknowledge(10), acks.room()), (true, 2), "between two messages lies the first");
        assert_eq!((acks.acknowledge(9), acks.room()), (false, 2), "a lower one is nothing new");
        acks.gave(13);
        acks.forget();
        assert_eq!(acks.room(), 3);
    }
}
