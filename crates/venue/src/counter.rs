//! A connection's message counter made into links between the updates of one book.
//!
//! Where a venue numbers nothing but the messages of a connection (dYdX: `message_id`, +1 each, whatever they carry), a hole in
//! that count is the only sign that something was lost, and it is a sign for every book of the connection. So each book update
//! names as its predecessor the message that brought the book's last update, as long as nothing was lost in between; else a
//! message that nobody has. The book's rule then finds the break itself, at the very update that shows it.

/// What a message's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Follows,
    /// Messages from `expected` up to this one were lost.
    Hole {
        expected: u64,
    },
    /// Not newer than what came before.
    Repeat,
}

/// See the module. One per connection and life.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter {
    last: Option<u64>,
    /// The newest message that is known to be lost.
    lost: Option<u64>,
}

impl Counter {
    /// A new connection counts from its own first message, whatever its number is.
    pub const fn restart(&mut self) {
        *self = Self { last: None, lost: None };
    }

    /// The number that the next message should have; `None` before the first.
    #[must_use]
    pub const fn next(&self) -> Option<u64> {
        match self.last {
            Some(last) => last.checked_add(1),
            None => None,
        }
    }

    /// The next message is number `n`.
    pub const fn arrive(&mut self, n: u64) -> Arrival {
        let arrival = match self.last {
            None => Arrival::Follows,
            Some(last) if n <= last => return Arrival::Repeat,
            Some(last) if n == last + 1 => Arrival::Follows,
            Some(last) => {
                self.lost = Some(n - 1);
                Arrival::Hole { expected: last + 1 }
            }
        };
        self.last = Some(n);
        arrival
    }

    /// The predecessor to name for an update of a book whose last update came in message `before`.
    #[must_use]
    pub const fn link(&self, before: u64) -> u64 {
        match self.lost {
            Some(lost) if lost > before => lost,
            _ => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_breaks_every_book_once() {
        let mut c = Counter::default();
        for n in 0..=4 {
            assert_eq!(c.arrive(n), Arrival::Follows);
            assert_eq!(c.next(), Some(n + 1));
        }
        // Message 2 was of this book, 3 and 4 of others.
        assert_eq!(c.link(2), 2);
        assert_eq!(c.arrive(7), Arrival::Hole { expected: 5 });
        assert_eq!((c.link(2), c.link(4)), (6, 6), "whoever was last heard of before the hole");
        // A snapshot in message 7 begins anew.
        assert_eq!(c.arrive(8), Arrival::Follows);
        assert_eq!((c.link(7), c.link(4)), (7, 6));
        assert_eq!(c.arrive(8), Arrival::Repeat);
        c.restart();
        assert_eq!((c.arrive(0), c.link(0)), (Arrival::Follows, 0));
    }

    #[test]
    fn the_greatest_number_is_no_trap() {
        let mut c = Counter::default();
        assert_eq!(c.arrive(u64::MAX - 1), Arrival::Follows);
        assert_eq!(c.arrive(u64::MAX), Arrival::Follows);
        assert_eq!(c.arrive(u64::MAX), Arrival::Repeat);
    }
}
