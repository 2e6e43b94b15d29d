//! The shell's part in an overload: it measures, the control decides, the line gives up, and everybody is told.

use std::time::{Duration, Instant};

use wholetape_model::LinkCause;

use super::Shell;
use crate::line::shed::ShedLevel;
use crate::worker::Level;

impl Shell {
    /// A burst was read: how far behind are we, and what follows from it?
    pub(super) fn on_load(&mut self, full: bool) {
        let now = self.now();
        self.lag.burst(full, now);
        for conn in 0..self.slots.len() {
            let (event, recv) = self.line.heard(conn);
            self.lag.heard(conn, event, recv);
        }
        let lag = self.lag.lag(now);
        self.metrics.load.measured(lag);
        let line = &self.line;
        let before = self.load.level();
        let Some(level) = self.load.judge(lag, now, |level| line.has_to_shed(level)) else { return };
        let why = match level {
            ShedLevel::Normal => format!("has caught up: {:.3} s behind", lag.as_secs_f64()),
            level => format!("lagging {:.3} s; shed: {}", lag.as_secs_f64(), level.sheds()),
        };
        self.line.on_load(level, &why, now, &mut self.out);
        self.put_link(0, LinkCause::Lagging, Duration::ZERO, &why);
        let loud = if level > before { Level::Failure } else { Level::Recoverable };
        self.handle.log(loud, &self.spec.name, "load", || why);
    }
}

/// Spends the time that a frame is said to cost, see [`crate::LineSpec::brake`].
#[cold]
pub(super) fn brake(cost: Duration) {
    let end = Instant::now() + cost;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}
