//! When a row is due: market time against our clock. Pure: whoever plays says what time it is.
//!
//! An anchor says which market time was reached at which moment of ours; from there market time goes on `speed` times as fast.
//! A pause keeps the market time that was reached, so the spacing of what follows stays the original one.

use wholetape_model::Ts;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// 1 is the original pace.
    Times(f64),
    /// As fast as it goes.
    Max,
}

impl Speed {
    /// `max`, or a number above 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "max" {
            return Some(Self::Max);
        }
        let x: f64 = text.parse().ok()?;
        (x.is_finite() && x > 0.0).then_some(Self::Times(x))
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(x) => write!(f, "{x}"),
            Self::Max => f.write_str("max"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// Not before this moment of our clock.
    At(u64),
    Paused,
}

/// See the module. `now` is a monotonic clock in ns.
#[derive(Debug)]
pub(super) struct Pace {
    speed: Speed,
    paused: bool,
    steps: u64,
    /// Our moment and the market time that belongs to it.
    anchor: Option<(u64, i64)>,
}

impl Pace {
    pub const fn new(speed: Speed, paused: bool) -> Self {
        Self { speed, paused, steps: 0, anchor: None }
    }

    pub const fn speed(&self) -> Speed {
        self.speed
    }

    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn due(&mut self, ts: Ts, now: u64) -> Due {
        if self.paused {
            return if self.steps > 0 { Due::Now } else { Due::Paused };
        }
        let Speed::Times(x) = self.speed else { return Due::Now };
        let (then, market) = *self.anchor.get_or_insert((now, ts.0));
        let wait = ts.0.saturating_sub(market).max(0) as f64 / x;
        let at = then.saturating_add(wait as u64);
        if at <= now { Due::Now } else { Due::At(at) }
    }

    /// A row was given.
    pub fn gave(&mut self, ts: Ts, now: u64) {
        if self.paused {
            self.steps = self.steps.saturating_sub(1);
            self.anchor = Some((now, ts.0));
        }
    }

    /// Market time goes on from where it is.
    fn re_anchor(&mut self, now: u64) {
        if let (Some((then, market)), Speed::Times(x), false) = (self.anchor, self.speed, self.paused) {
            let gone = now.saturating_sub(then) as f64 * x;
            self.anchor = Some((now, market.saturating_add(gone as i64)));
        } else if let Some((then, _)) = &mut self.anchor {
            *then = now;
        }
    }

    pub fn pause(&mut self, now: u64) {
        self.re_anchor(now);
        self.paused = true;
        self.steps = 0;
    }

    pub fn resume(&mut self, now: u64) {
        self.re_anchor(now);
        self.paused = false;
    }

    pub fn set_speed(&mut self, speed: Speed, now: u64) {
        self.re_anchor(now);
        if self.speed == Speed::Max {
            // Max has no market time: it begins with the next row.
            self.anchor = None;
        }
        self.speed = speed;
    }

    /// Rows to give while paused.
    pub const fn step(&mut self, rows: u64) {
        self.steps = self.steps.saturating_add(rows);
    }

    /// Market time is elsewhere now.
    pub const fn jump(&mut self, to: Ts, now: u64) {
        self.anchor = Some((now, to.0));
    }
}
