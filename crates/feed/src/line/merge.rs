//! Streams that no id protects, delivered by several sockets: the first delivery of an event is its row, every further one
//! is a repeat.
//!
//! Each socket of a set brings the same sequence in the same order, somewhat earlier or later. The window keeps what at
//! least one socket brought and another has not brought yet; a socket that brings an event has passed everything before it.
//! Two equal events of one socket are two events (two quotes may be equal), so equality alone decides nothing: it is asked
//! which socket brought which. Equal events stand side by side in their stream, since their venue time is the same.
//!
//! Invariant: the window is as long as the slowest open socket is behind, and never longer than [`LEN_MAX`]; a socket that
//! is further behind must be given up by the caller, since its repeats could not be told from news.

use std::collections::VecDeque;
use std::time::Duration;

use wholetape_model::Ts;

/// Events that a socket may be behind its siblings in one stream: at a thousand a second a quarter of a minute.
pub const LEN_MAX: usize = 16_384;
/// No socket is further behind in time: its pings would have failed.
const AGE_MAX: Duration = Duration::from_secs(60);
/// A repeat on one socket comes within so many of its events.
const RECENT: usize = 4;
/// Events that all sockets passed are remembered for so many more: see [`Merge::offer`].
const LEFT: usize = 16;
/// Sockets of one set, the one that opens for a planned replacement included.
pub const MEMBERS_MAX: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Entry {
    print: u64,
    at: Ts,
    /// Which sockets brought it or passed it.
    passed: u8,
}

/// What an event is to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Nobody brought it before.
    First,
    /// A sibling brought it at that time.
    Repeat { first: Ts },
    /// It was here a moment ago, and this socket has brought it twice.
    Again,
    /// Nobody brought it before, and the socket at this place has fallen too far behind to be understood.
    Overrun { slowest: usize },
}

/// One stream's window.
#[derive(Debug)]
pub struct Merge {
    window: VecDeque<Entry>,
    /// What each socket brought last: it may bring one twice.
    recent: [[u64; RECENT]; MEMBERS_MAX],
    at: [u8; MEMBERS_MAX],
    /// With what each socket may begin: see [`Merge::joined`].
    begins: [Option<u64>; MEMBERS_MAX],
    /// What went from the window last.
    left: [u64; LEFT],
    left_at: usize,
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            window: VecDeque::new(),
            recent: [[0; RECENT]; MEMBERS_MAX],
            at: [0; MEMBERS_MAX],
            begins: [None; MEMBERS_MAX],
            left: [0; LEFT],
            left_at: 0,
        }
    }
}

impl Merge {
    /// `replica` brought an event whose content is `print`; `open` has a bit for each socket that is subscribed.
    ///
    /// `once`: the event names itself by id or time, so that the same once more is a repeat even on the same socket. (A socket that begins
    /// with a newer event than its siblings are at puts the window out of order: who brings an older one then has not passed the newer.)
    pub fn offer(&mut self, replica: usize, open: u8, print: u64, once: bool, now: Ts) -> Offer {
        let r = replica % MEMBERS_MAX;
        if once && self.recent[r].contains(&print) {
            return Offer::Again;
        }
        self.recent[r][usize::from(self.at[r]) % RECENT] = print;
        self.at[r] = self.at[r].wrapping_add(1);
        let own = 1_u8 << r;
        let begins = self.begins[r].take();
        let found = self.window.iter().position(|e| e.print == print && (once || e.passed & own == 0));
        if let Some(found) = found {
            let first = self.window[found].at;
            // In order: what stands before it will not come from this socket any more.
            for entry in self.window.range_mut(..=found) {
                entry.passed |= own;
            }
            self.let_go(open);
            return Offer::Repeat { first };
        }
        if once && (begins == Some(print) || self.left.contains(&print)) {
            return Offer::Again;
        }
        self.forget(now);
        self.let_go(open);
        self.window.push_back(Entry { print, at: now, passed: own });
        if self.window.len() > LEN_MAX {
            let missing = self.window.front().map_or(0, |e| open & !e.passed);
            self.window.pop_front();
            if missing != 0 {
                return Offer::Overrun { slowest: missing.trailing_zeros() as usize };
            }
        }
        Offer::First
    }

    /// The event just offered is no event after all (the same socket sent it twice).
    pub fn take_back(&mut self) {
        self.window.pop_back();
    }

    /// An event that the process before had, at `at`: each socket may begin with it.
    pub fn resume(&mut self, print: u64, at: Ts) {
        self.window.push_back(Entry { print, at, passed: 0 });
    }

    /// What no socket asked for so long is no socket's to bring.
    fn forget(&mut self, now: Ts) {
        while self.window.front().is_some_and(|e| now.since(e.at) > AGE_MAX) {
            self.window.pop_front();
        }
    }

    /// Entries that every open socket has passed are done with.
    fn let_go(&mut self, open: u8) {
        while self.window.front().is_some_and(|e| open & !e.passed == 0) {
            if let Some(entry) = self.window.pop_front() {
                self.left[self.left_at % LEFT] = entry.print;
                self.left_at = self.left_at.wrapping_add(1);
            }
        }
    }

    /// `replica` begins anew now: what its siblings brought before may come from it or not, and is not waited for longer than
    /// the next event that matches.
    ///
    /// Some venues begin a subscription with the state as it is (Bybit's best prices), which is the `last` event or a later one: what
    /// all that were open then have passed is no longer in the window, though this one may bring it before anything else.
    pub fn joined(&mut self, replica: usize, last: Option<u64>) {
        let own = 1_u8 << (replica % MEMBERS_MAX);
        self.begins[replica % MEMBERS_MAX] = last;
        // What was brought before it subscribed may still be in its first frames: such entries stay open for it.
        for entry in &mut self.window {
            entry.passed &= !own;
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.window.len()
    }

    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: u8 = 0b11;

    #[test]
    fn equal_events_of_one_socket_are_two_events() {
        let mut m = Merge::default();
        assert_eq!(m.offer(0, BOTH, 7, false, Ts(1)), Offer::First);
        assert_eq!(m.offer(0, BOTH, 7, false, Ts(2)), Offer::First);
        assert_eq!(m.offer(1, BOTH, 7, false, Ts(3)), Offer::Repeat { first: Ts(1) });
        assert_eq!(m.offer(1, BOTH, 7, false, Ts(4)), Offer::Repeat { first: Ts(2) });
        assert_eq!(m.offer(1, BOTH, 7, false, Ts(5)), Offer::First);
        assert_eq!(m.len(), 1, "what both brought is forgotten");
    }

    #[test]
    fn a_socket_that_repeats_itself_is_not_believed() {
        let mut m = Merge::default();
        assert_eq!(m.offer(0, BOTH, 7, true, Ts(1)), Offer::First);
        assert_eq!(m.offer(1, BOTH, 7, true, Ts(2)), Offer::Repeat { first: Ts(1) });
        assert_eq!(m.offer(1, BOTH, 8, true, Ts(3)), Offer::First);
        assert_eq!(m.offer(0, BOTH, 7, true, Ts(4)), Offer::Again);
        assert_eq!(m.offer(0, BOTH, 8, true, Ts(5)), Offer::Repeat { first: Ts(3) });
    }

    #[test]
    fn a_socket_that_outlives_its_sibling_is_still_behind_it() {
        let mut m = Merge::default();
        for print in [5, 6] {
            assert_eq!(m.offer(0, BOTH, print, false, Ts(1)), Offer::First);
        }
        // The first closes; the second brings the same late, then goes on.
        assert_eq!(m.offer(1, 0b10, 5, false, Ts(2)), Offer::Repeat { first: Ts(1) });
        assert_eq!(m.offer(1, 0b10, 6, false, Ts(3)), Offer::Repeat { first: Ts(1) });
        assert_eq!(m.offer(1, 0b10, 7, false, Ts(4)), Offer::First);
        assert_eq!(m.offer(1, 0b10, 8, false, Ts(4) + AGE_MAX * 2), Offer::First);
        assert_eq!(m.len(), 1);
    }

    #[test]
    fn a_socket_that_is_too_far_behind_is_named() {
        let mut m = Merge::default();
        for i in 0..LEN_MAX as u64 {
            assert_eq!(m.offer(1, BOTH, i, false, Ts(1)), Offer::First);
        }
        assert_eq!(m.offer(1, BOTH, u64::MAX, false, Ts(1)), Offer::Overrun { slowest: 0 });
        assert!(m.len() <= LEN_MAX);
        // Closed, it is not waited for.
        assert_eq!(m.offer(1, 0b10, u64::MAX - 1, false, Ts(1)), Offer::First);
        assert_eq!(m.len(), 1);
    }

    /// The third socket begins with 9 while the first two are at 7: it is ahead of them, and the window out of order.
    #[test]
    fn a_socket_that_begins_ahead_of_its_siblings_brings_nothing_twice() {
        // By socket, in the order in which they bring them; the first was alone until then.
        for story in [
            &[(2, 9), (0, 8), (1, 8), (1, 9), (0, 9), (2, 10)][..],
            &[(2, 9), (0, 8), (0, 9), (1, 8), (1, 9), (0, 10)],
            &[(2, 9), (1, 8), (1, 9), (2, 10), (0, 8), (0, 9), (0, 10), (1, 10)],
        ] {
            let mut m = Merge::default();
            (1..3).for_each(|socket| m.joined(socket, Some(7)));
            let offers = story.iter().map(|(socket, event)| (*event, m.offer(*socket, 0b111, *event, true, Ts(1))));
            let mut news: Vec<u64> = offers.filter(|(_, o)| *o == Offer::First).map(|(event, _)| event).collect();
            news.sort_unstable();
            assert_eq!(news, [8, 9, 10], "{story:?}");
        }
    }

    proptest! {
        /// Whatever the interleaving of two sockets and wherever one of them begins late or ends early: the union comes
        /// out, each event as often as the stream has it.
        #[test]
        fn the_union_comes_out_once(
            stream in proptest::collection::vec(0_u64..40, 1..60),
            picks in proptest::collection::vec(any::<bool>(), 0..200),
            late in 0_usize..30, ends in 0_usize..60,
        ) {
            let mut stream = stream;
            stream.sort_unstable();
            let late = late.min(stream.len());
            let ends = ends.max(late).min(stream.len());
            let mut m = Merge::default();
            let (mut a, mut b) = (0, late);
            // The second socket begins with what comes next on the first.
            let mut out = Vec::new();
            let mut picks = picks.into_iter();
            while a < late {
                if m.offer(0, 0b01, stream[a], false, Ts(1)) == Offer::First { out.push(stream[a]); }
                a += 1;
            }
            m.joined(1, None);
            while a < stream.len() || b < ends {
                let first = if a >= stream.len() { false } else if b >= ends { true } else { picks.next().unwrap_or(true) };
                let (replica, event) = if first { a += 1; (0, stream[a - 1]) } else { b += 1; (1, stream[b - 1]) };
                if m.offer(replica, BOTH, event, false, Ts(1)) == Offer::First { out.push(event); }
            }
            out.sort_unstable();
            let mut truth = stream.clone();
            truth.sort_unstable();
            prop_assert_eq!(out, truth);
        }

        /// A socket may begin with the event that was the last when it joined, whatever its sibling has brought since: events that name
        /// themselves come out once, in their order, and none is thrown away though the first socket ends.
        #[test]
        fn a_socket_may_begin_with_what_came_last(
            len in 1_usize..60, late in 1_usize..60, ends in 0_usize..60, welcome in 0_usize..3,
            picks in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let late = late.min(len);
            let ends = ends.clamp(late, len);
            let mut m = Merge::default();
            let mut out = Vec::new();
            // Alone, the first socket is not asked: nothing is in the window.
            out.extend(1..=late as u64);
            m.joined(1, Some(late as u64));
            let (mut a, mut b) = (late, (late - 1 + welcome).min(len));
            let mut picks = picks.into_iter();
            while a < ends || b < len {
                let open = if a < ends { BOTH } else { 0b10 };
                let first = if a >= ends { false } else if b >= len { true } else { picks.next().unwrap_or(true) };
                let (replica, event) = if first { a += 1; (0, a) } else { b += 1; (1, b) };
                if m.offer(replica, open, event as u64, true, Ts(1)) == Offer::First { out.push(event as u64); }
            }
            // What was under way on the first socket alone when it ended went with it.
            let truth: Vec<u64> = (1..=len as u64).filter(|e| *e <= ends as u64 || *e > (late - 1 + welcome) as u64).collect();
            out.sort_unstable();
            prop_assert_eq!(out, truth);
        }
    }
}
