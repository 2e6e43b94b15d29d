//! Request weight: fixed windows, refused beyond with 429, banned with 418 when the client does not listen and the venue bans.
//!
//! A venue has one account for all requests, or one for each endpoint: buckets, each with the same limit. What a request costs is the
//! protocol's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Budget;

/// The account of the one address that loopback is.
#[derive(Debug)]
pub struct Weight {
    budget: Budget,
    window: u64,
    used: BTreeMap<&'static str, u32>,
    refused: u32,
    banned_until_ms: u64,
    refused_until_ms: u64,
    tally: RestTally,
}

/// What a venue was asked over REST since its start, and what that cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestTally {
    /// Requests by endpoint, refused ones included.
    pub requests: BTreeMap<String, u64>,
    /// Weight of all requests.
    pub weight: u64,
    /// The most that one window of the venue's clock was charged, and the limit.
    pub weight_peak: u32,
    pub weight_limit: u32,
    /// Refused since the account was over its limit: the client's own doing.
    pub over_limit: u64,
    /// Asked while an earlier refusal told to wait.
    pub too_early: u64,
    /// Refused by a fault.
    pub by_fault: u64,
}

/// The answer to "may I".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// Status and seconds to wait.
    Stop(u16, u64),
}

impl Weight {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            window: 0,
            used: BTreeMap::new(),
            refused: 0,
            banned_until_ms: 0,
            refused_until_ms: 0,
            tally: RestTally { weight_limit: budget.limit, ..RestTally::default() },
        }
    }

    pub const fn tally(&self) -> &RestTally {
        &self.tally
    }

    /// Counts what was asked for; [`Weight::spend`] charges it.
    pub fn asked(&mut self, endpoint: &str, cost: u32) {
        match self.tally.requests.get_mut(endpoint) {
            Some(n) => *n += 1,
            None => _ = self.tally.requests.insert(endpoint.to_owned(), 1),
        }
        self.tally.weight += u64::from(cost);
    }

    /// Charges a request at `wall_ms`.
    pub fn spend(&mut self, wall_ms: u64, bucket: &'static str, cost: u32) -> Verdict {
        let window = wall_ms / self.budget.window_ms;
        if window != self.window {
            (self.window, self.refused) = (window, 0);
            self.used.clear();
        }
        let wait = |until: u64| (until - wall_ms).div_ceil(1000);
        if wall_ms < self.banned_until_ms {
            self.tally.too_early += 1;
            return Verdict::Stop(418, wait(self.banned_until_ms));
        }
        if wall_ms < self.refused_until_ms {
            self.tally.too_early += 1;
            return Verdict::Stop(429, wait(self.refused_until_ms));
        }
        let used = self.used.entry(bucket).or_default();
        *used = used.saturating_add(cost);
        self.tally.weight_peak = self.tally.weight_peak.max(*used);
        if *used <= self.budget.limit {
            return Verdict::Go;
        }
        self.tally.over_limit += 1;
        self.refused += 1;
        if self.budget.refusals_before_ban.is_some_and(|most| self.refused > most) {
            self.banned_until_ms = wall_ms + u64::from(self.budget.ban_s) * 1000;
            return Verdict::Stop(418, wait(self.banned_until_ms));
        }
        Verdict::Stop(429, wait((window + 1) * self.budget.window_ms))
    }

    /// A fault's refusal: for so long every request gets this status.
    pub fn refuse(&mut self, wall_ms: u64, status: u16, millis: u64) -> Verdict {
        let until = wall_ms + millis;
        self.tally.by_fault += 1;
        if status == 418 {
            self.banned_until_ms = until;
        } else {
            self.refused_until_ms = until;
        }
        Verdict::Stop(status, millis.div_ceil(1000))
    }

    /// Ends refusals that faults began; what the account itself earned ends with them.
    pub fn forgive(&mut self) {
        (self.banned_until_ms, self.refused_until_ms) = (0, 0);
    }

    /// What this window was charged so far.
    pub fn used(&self, bucket: &str) -> u32 {
        self.used.get(bucket).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_limit_is_429_then_418_and_a_new_minute_forgives_429() {
        let budget = Budget { window_ms: 60_000, limit: 100, refusals_before_ban: Some(2), ban_s: 120 };
        let mut weight = Weight::new(budget);
        assert_eq!(weight.spend(60_000, "", 100), Verdict::Go);
        assert_eq!(weight.spend(90_000, "", 1), Verdict::Stop(429, 30));
        assert_eq!(weight.spend(90_000, "", 1), Verdict::Stop(429, 30));
        assert_eq!(weight.spend(90_000, "", 1), Verdict::Stop(418, 120));
        assert_eq!(weight.spend(120_000, "", 1), Verdict::Stop(418, 90));
        assert_eq!(weight.spend(211_000, "", 1), Verdict::Go);
        let tally = weight.tally();
        assert_eq!((tally.over_limit, tally.too_early, tally.weight_peak), (3, 1, 103));
    }

    #[test]
    fn buckets_are_apart_and_who_never_bans_goes_on_with_429() {
        let budget = Budget { window_ms: 2_000, limit: 20, refusals_before_ban: None, ban_s: 0 };
        let mut weight = Weight::new(budget);
        assert_eq!(weight.spend(4_000, "trades", 20), Verdict::Go);
        assert_eq!(weight.spend(4_100, "books", 20), Verdict::Go);
        for _ in 0..100 {
            assert_eq!(weight.spend(4_200, "trades", 1), Verdict::Stop(429, 2));
        }
        assert_eq!((weight.used("books"), weight.spend(6_000, "trades", 1)), (20, Verdict::Go));
    }
}
