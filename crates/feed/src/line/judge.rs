//! Quality: what the checks say of an event becomes flags of its row, and findings in a topic of their own.

use wholetape_model::{Event, RowFlags, Ts};

use super::Line;
use super::out::LineOut;

impl Line {
    pub(super) fn judge(&mut self, _event: &Event, _now: Ts, _out: &mut LineOut) -> RowFlags {
        RowFlags::default()
    }
}
