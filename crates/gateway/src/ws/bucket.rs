//! The rate of a client's ops: a token bucket in thousandths of an op.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Bucket {
    level: i64,
    burst: i64,
    per_s: i64,
    /// Time of the last refill, since the connection's start.
    at: Duration,
}

impl Bucket {
    pub fn new(per_s: u64, burst: u64) -> Self {
        let milli = |n: u64| i64::try_from(n.saturating_mul(1_000)).unwrap_or(i64::MAX / 4);
        Self { level: milli(burst), burst: milli(burst), per_s: milli(per_s), at: Duration::ZERO }
    }

    /// Takes `cost` thousandths, or says how long to wait.
    pub fn take(&mut self, now: Duration, cost: i64) -> Result<(), Duration> {
        let passed = i64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(i64::MAX);
        let refill = self.per_s.saturating_mul(passed) / 1_000_000;
        if refill > 0 {
            self.level = self.level.saturating_add(refill).min(self.burst);
            self.at = now;
        }
        if self.level >= cost {
            self.level -= cost;
            return Ok(());
        }
        let wait = (cost - self.level).saturating_mul(1_000) / self.per_s.max(1);
        Err(Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1)))
    }

    /// Takes without asking: a wildcard costs what it turned out to name. The debt delays what follows.
    pub fn owe(&mut self, cost: i64) {
        self.level = self.level.saturating_sub(cost).max(-self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut b = Bucket::new(20, 60);
        let t = Duration::from_millis;
        for _ in 0..60 {
            b.take(t(0), 1_000).unwrap();
        }
        assert_eq!(b.take(t(0), 1_000), Err(t(50)));
        assert_eq!(b.take(t(50), 1_000), Ok(()));
        assert!(b.take(t(50), 100).is_err());
        assert_eq!(b.take(t(55), 100), Ok(()));
        b.owe(200_000);
        assert_eq!(b.take(t(55), 1_000), Err(t(3_050)));
    }
}
