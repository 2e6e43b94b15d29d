//! Request weight: fixed one-minute windows, refused beyond with 429, banned with 418 when the client does not listen.
//!
//! The weights are those of the venue sheets; what a sheet does not name costs 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::VenueKind;

/// The account of the one address that loopback is.
#[derive(Debug)]
pub struct Weight {
    limit: u32,
    refusals_before_ban: u32,
    ban_ms: u64,
    window: u64,
    used: u32,
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
    /// The most that one minute of the venue's clock was charged, and the limit.
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
    pub fn new(limit: u32, refusals_before_ban: u32, ban_s: u32) -> Self {
        Self {
            limit,
            refusals_before_ban,
            ban_ms: ban_s as u64 * 1000,
            window: 0,
            used: 0,
            refused: 0,
            banned_until_ms: 0,
            refused_until_ms: 0,
            tally: RestTally { weight_limit: limit, ..RestTally::default() },
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

    /// Counts a request at `wall_ms`.
    pub fn spend(&mut self, wall_ms: u64, cost: u32) -> Verdict {
        let window = wall_ms / 60_000;
        if window != self.window {
            (self.window, self.used, self.refused) = (window, 0, 0);
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
        self.used = self.used.saturating_add(cost);
        self.tally.weight_peak = self.tally.weight_peak.max(self.used);
        if self.used <= self.limit {
            return Verdict::Go;
        }
        self.tally.over_limit += 1;
        self.refused += 1;
        if self.refused > self.refusals_before_ban {
            self.banned_until_ms = wall_ms + self.ban_ms;
            return Verdict::Stop(418, wait(self.banned_until_ms));
        }
        Verdict::Stop(429, wait((window + 1) * 60_000))
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

    pub const fn used(&self) -> u32 {
        self.used
    }
}

/// What an endpoint costs. `limit` is the request's own.
pub fn cost(kind: VenueKind, endpoint: &str, limit: u32, with_symbol: bool) -> u32 {
    match (kind.is_spot(), endpoint) {
        (true, "depth") => match limit {
            0..=100 => 5,
            101..=500 => 25,
            501..=1000 => 50,
            _ => 250,
        },
        (false, "depth") => match limit {
            0..=50 => 2,
            51..=100 => 5,
            101..=500 => 10,
            _ => 20,
        },
        (true, "exchangeInfo") => 20,
        (true, "aggTrades") => 4,
        (true, "historicalTrades" | "trades") => 25,
        (false, "aggTrades" | "historicalTrades") => 20,
        (false, "trades") => 5,
        (true, "klines") => 2,
        (false, "klines") => match limit {
            0..=99 => 1,
            100..=499 => 2,
            500..=1000 => 5,
            _ => 10,
        },
        (true, "ticker/24hr") => {
            if with_symbol {
                2
            } else {
                80
            }
        }
        (false, "ticker/24hr") => {
            if with_symbol {
                1
            } else {
                40
            }
        }
        (false, "premiumIndex") => {
            if with_symbol {
                1
            } else {
                10
            }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_limit_is_429_then_418_and_a_new_minute_forgives_429() {
        let mut weight = Weight::new(100, 2, 120);
        assert_eq!(weight.spend(60_000, 100), Verdict::Go);
        assert_eq!(weight.spend(90_000, 1), Verdict::Stop(429, 30));
        assert_eq!(weight.spend(90_000, 1), Verdict::Stop(429, 30));
        assert_eq!(weight.spend(90_000, 1), Verdict::Stop(418, 120));
        assert_eq!(weight.spend(120_000, 1), Verdict::Stop(418, 90));
        assert_eq!(weight.spend(211_000, 1), Verdict::Go);
        let tally = weight.tally();
        assert_eq!((tally.over_limit, tally.too_early, tally.weight_peak), (3, 1, 103));
    }

    #[test]
    fn weights_are_the_sheets() {
        assert_eq!(cost(VenueKind::BinanceSpot, "depth", 5000, true), 250);
        assert_eq!(cost(VenueKind::BinanceUsdm, "depth", 1000, true), 20);
        assert_eq!(cost(VenueKind::BinanceUsdm, "aggTrades", 1000, true), 20);
        assert_eq!(cost(VenueKind::BinanceSpot, "aggTrades", 1000, true), 4);
    }
}
