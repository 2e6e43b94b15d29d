//! Queues that keep about a minute grow by steps, not by doubling: each new maximum of a busy minute would else take twice the memory
//! for good, and a process that runs for weeks meets ever new maxima.

use std::collections::VecDeque;

/// Appends; where there is no room, makes room for an eighth more.
pub fn push_by_steps<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact((queue.len() / 8).max(16));
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_maximum_costs_an_eighth() {
        let mut queue = VecDeque::new();
        let mut grown = 0;
        for n in 0..20_000_usize {
            let before = queue.capacity();
            push_by_steps(&mut queue, n);
            grown += usize::from(queue.capacity() != before);
            assert!(queue.capacity() <= (n + n / 8 + 1).max(n + 16), "{} for {n}", queue.capacity());
        }
        assert!(grown < 70, "{grown} times");
        assert!(queue.into_iter().eq(0..20_000));
    }
}
