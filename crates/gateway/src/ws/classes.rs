//! Which subscription of a connection is served next: by class, highest first, with a share for each lower class that waits.

use std::collections::VecDeque;

use wholetape_model::Class;

/// Of so many turns in a row each lower class that waits has one: 5 %.
const ROUND: u32 = 20;

/// Subscriptions that have something, by class.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    queues: [VecDeque<u64>; 4],
    turns: u32,
}

impl Classes {
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// `token` has something, unless that is known.
    pub fn push(&mut self, class: Class, token: u64) {
        let queue = &mut self.queues[class as usize];
        if !queue.contains(&token) {
            queue.push_back(token);
        }
    }

    /// Whose turn it is; `first` goes before all classes. The first turns of a round are the lower classes', lowest last; one that does not
    /// wait gives its turn away.
    pub fn pick(&mut self, first: Option<Class>) -> Option<u64> {
        self.turns = self.turns.wrapping_add(1);
        let order = order(first);
        let highest = order.iter().position(|c| !self.queues[*c as usize].is_empty())?;
        let waits = |c: &&Class| !self.queues[**c as usize].is_empty();
        let shared = order.get(highest + 1 + (self.turns % ROUND) as usize).filter(waits);
        self.queues[*shared.unwrap_or(&order[highest]) as usize].pop_front()
    }
}

/// The classes as a connection serves them, most urgent first.
fn order(first: Option<Class>) -> [Class; 4] {
    let mut order = Class::ALL;
    order.sort_by_key(|class| Some(*class) != first);
    order
}

/// Where a class stands in that order.
pub(crate) fn rank(class: Class, first: Option<Class>) -> usize {
    order(first).iter().position(|one| *one == class).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of each class in 1 000, where those in `busy` always have something.
    fn turns(busy: &[Class], first: Option<Class>) -> [u32; 4] {
        let (mut classes, mut got) = (Classes::default(), [0; 4]);
        for _ in 0..1_000 {
            busy.iter().for_each(|c| classes.push(*c, *c as u64));
            got[classes.pick(first).unwrap() as usize] += 1;
        }
        got
    }

    #[test]
    fn strict_priority_with_a_share_for_each_lower_class() {
        assert_eq!(turns(&Class::ALL, None), [850, 50, 50, 50]);
        assert_eq!(turns(&[Class::Trade, Class::Ticker], None), [0, 950, 0, 50]);
        assert_eq!(turns(&[Class::Book], None), [0, 0, 1_000, 0]);
    }

    #[test]
    fn the_class_of_a_principal_goes_first_and_the_others_keep_their_share() {
        assert_eq!(turns(&Class::ALL, Some(Class::Ticker)), [50, 50, 50, 850]);
        assert_eq!(turns(&Class::ALL, Some(Class::Critical)), [850, 50, 50, 50]);
        assert_eq!(turns(&[Class::Critical, Class::Book], Some(Class::Book)), [50, 0, 950, 0]);
        assert_eq!(Class::ALL.map(|class| rank(class, Some(Class::Book))), [1, 2, 0, 3]);
    }

    #[test]
    fn within_a_class_in_turn_and_each_once() {
        let mut classes = Classes::default();
        for token in [1, 2, 1, 3] {
            classes.push(Class::Trade, token);
        }
        assert_eq!([(); 4].map(|()| classes.pick(None)), [Some(1), Some(2), Some(3), None]);
        assert!(classes.is_empty());
    }
}
