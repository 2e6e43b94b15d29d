//! Nonces that were used: a signed `auth` is good once.
//!
//! Only what a known key signed is remembered, so that strangers cannot fill it. A signature is good for ±5 s of its time, and its
//! nonce is remembered for a minute, which is longer.

use std::collections::{HashSet, VecDeque};

/// Nanoseconds.
const KEPT: i64 = 60_000_000_000;
/// More within a minute are refused.
const NONCES_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Nonces {
    known: HashSet<(String, String)>,
    /// In the order of their coming.
    aged: VecDeque<(i64, (String, String))>,
}

impl Nonces {
    /// Takes `nonce` of `key` at `now` (ns). False when it was used, or too many were.
    pub fn take(&mut self, key: &str, nonce: &str, now: i64) -> bool {
        while let Some((at, _)) = self.aged.front()
            && now.saturating_sub(*at) > KEPT
        {
            if let Some((_, gone)) = self.aged.pop_front() {
                self.known.remove(&gone);
            }
        }
        let pair = (key.to_owned(), nonce.to_owned());
        if self.aged.len() >= NONCES_MAX || !self.known.insert(pair.clone()) {
            return false;
        }
        self.aged.push_back((now, pair));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_in_a_minute() {
        let (mut nonces, s) = (Nonces::default(), 1_000_000_000);
        assert!(nonces.take("k", "n", 0));
        assert!(!nonces.take("k", "n", 60 * s) && nonces.take("l", "n", 60 * s) && nonces.take("k", "m", 60 * s));
        assert!(nonces.take("k", "n", 61 * s));
        assert_eq!(nonces.known.len(), 3);
        for i in 0..NONCES_MAX + 10 {
            assert_eq!(nonces.take("k", &i.to_string(), 200 * s), i < NONCES_MAX);
        }
        assert!(nonces.take("k", "later", 300 * s));
        assert_eq!((nonces.known.len(), nonces.aged.len()), (1, 1));
    }
}
