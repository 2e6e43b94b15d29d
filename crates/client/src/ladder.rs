//! When to come back (PROTOCOL §8, §9), and how much may be said (§10).

/// What the end of a connection means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Come back after a delay that grows.
    Ladder,
    /// Come back at once, if the connection had been live.
    AtOnce,
    /// Come back with new credentials, if there are any.
    Renew,
    /// Banned for a while.
    Wait(u64),
    Stop,
    Denied,
}

/// 15 minutes.
const BAN_MS: u64 = 15 * 60 * 1_000;

/// The bounds of the first delay and of every later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    pub base_ms: u64,
    pub cap_ms: u64,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { base_ms: 500, cap_ms: 30_000 }
    }
}

impl Ladder {
    /// Full jitter: uniform below a bound that doubles. `tries` counts from 1, `roll` is in [0, 1).
    #[must_use]
    pub fn delay_ms(self, tries: u32, roll: f64) -> u64 {
        part(self.base_ms.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(self.cap_ms), roll)
    }
}

/// After so long a life the ladder begins anew.
pub const RESET_MS: u64 = 30_000;

/// By the close code; `None` where the connection just went.
#[must_use]
pub const fn fate(code: Option<u16>) -> Fate {
    match code {
        Some(1000 | 1002 | 1003 | 1007 | 1009 | 4009) => Fate::Stop,
        Some(4006) => Fate::AtOnce,
        Some(4100..=4199) => Fate::Renew,
        Some(4303) => Fate::Wait(BAN_MS),
        Some(4300..=4399) => Fate::Denied,
        _ => Fate::Ladder,
    }
}

/// `roll` of `bound`, in whole milliseconds.
#[must_use]
pub fn part(bound: u64, roll: f64) -> u64 {
    // Bounds here are minutes: far below 2^53.
    (bound as f64 * roll.clamp(0.0, 1.0)) as u64
}

/// The server's token bucket as we keep it ourselves: nine tenths of what `welcome` allows, so that it never has to refuse.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Ten-thousandths of an op.
    held: u64,
    burst: u64,
    /// Gained per millisecond.
    gain: u64,
    at: u64,
}

pub const OP: u64 = 10_000;
pub const LIGHT: u64 = 1_000;

impl Bucket {
    #[must_use]
    pub fn new(now: u64, ops_s: u64, burst: u64) -> Self {
        let burst = burst.saturating_mul(9_000).max(OP);
        Self { held: burst, burst, gain: ops_s.saturating_mul(9).max(1), at: now }
    }

    /// Takes `cost`, or tells when there will be enough.
    ///
    /// # Errors
    /// The time at which to come again.
    pub fn take(&mut self, now: u64, cost: u64) -> Result<(), u64> {
        let gained = now.saturating_sub(self.at).saturating_mul(self.gain);
        self.held = self.held.saturating_add(gained).min(self.burst);
        self.at = self.at.max(now);
        if self.held >= cost {
            self.held -= cost;
            return Ok(());
        }
        Err(now + (cost - self.held).div_ceil(self.gain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_doubles_to_its_cap() {
        let all: Vec<u64> = (1..=8).map(|n| Ladder::default().delay_ms(n, 1.0)).collect();
        assert_eq!(all, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!((Ladder::default().delay_ms(3, 0.25), Ladder::default().delay_ms(u32::MAX, 0.0)), (500, 0));
    }

    #[test]
    fn the_bucket_says_when() {
        let mut bucket = Bucket::new(0, 20, 2);
        assert_eq!(bucket.take(0, OP), Ok(()));
        // 8 000 are left and 180 come each millisecond.
        assert_eq!(bucket.take(0, OP), Err(12));
        assert_eq!(bucket.take(12, OP), Ok(()));
    }
}
