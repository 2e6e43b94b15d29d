//! How long a book was right: the stored validity marks as stretches of time.
//!
//! A book's state holds until the next mark. What is `live` counts only between rows of the topic (nobody knows of a book that says
//! nothing any more); what is not counts from and to the ends of the day, until a mark says otherwise. The state at the day's begin
//! is the one at the end of the day before, if that has a certificate; before the first mark ever it is unknown.

use serde::{Deserialize, Serialize};
use wholetape_model::{Ts, ValidityState};

use super::figures::Turn;

/// Stretches told one by one; the rest are only summed.
pub const STRETCHES_MAX: usize = 1_000;

/// One book, one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookFigures {
    /// The state at the begin and at the end of the day; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    pub live_ns: u64,
    pub syncing_ns: u64,
    pub stale_ns: u64,
    /// Before the first mark.
    pub unknown_ns: u64,
    /// All but `live`.
    pub invalid_ns: u64,
    /// How often it stopped being live, and when (the first 1 000).
    pub invalid_stretches: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<Stretch>,
}

/// The book was not live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// ns, the end exclusive.
    pub from: i64,
    pub to: i64,
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
}

impl BookFigures {
    /// `turns` in their order; `rows`: times of the topic's first and last row; `day`: its first instant and that of the next.
    #[must_use]
    pub fn of(start: Option<&str>, turns: &[Turn], rows: (Ts, Ts), day: (Ts, Ts)) -> Self {
        let mut out = Self { start: start.map(str::to_owned), ..Self::default() };
        let live = ValidityState::Live.as_str();
        let carried_invalid = start.is_some_and(|s| s != live);
        let mut at = if carried_invalid { day.0 } else { rows.0 };
        let (mut state, mut cause) = (start, "");
        for turn in turns {
            out.stretch(state, cause, at, turn.at);
            (at, state, cause) = (turn.at.max(at), Some(turn.state.as_str()), turn.cause.as_str());
        }
        let end = if state.is_some_and(|s| s != live) { day.1 } else { rows.1 };
        out.stretch(state, cause, at, end);
        out.end = state.map(str::to_owned);
        out
    }

    fn stretch(&mut self, state: Option<&str>, cause: &str, from: Ts, to: Ts) {
        let ns = u64::try_from(to.0 - from.0).unwrap_or(0);
        let sum = match state {
            Some("live") => &mut self.live_ns,
            Some("syncing") => &mut self.syncing_ns,
            Some(_) => &mut self.stale_ns,
            None => &mut self.unknown_ns,
        };
        *sum += ns;
        if state == Some("live") || ns == 0 {
            return;
        }
        self.invalid_ns += ns;
        self.invalid_stretches += 1;
        if self.invalid.len() < STRETCHES_MAX {
            let state = state.unwrap_or("unknown").to_owned();
            self.invalid.push(Stretch { from: from.0, to: to.0, state, cause: cause.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::GapCause;

    fn turn(at: i64, state: ValidityState) -> Turn {
        Turn { at: Ts(at), state, cause: GapCause::Resync }
    }

    #[test]
    fn a_day_of_a_book() {
        use ValidityState::{Live, Stale, Syncing};
        let day = (Ts(0), Ts(1_000));
        let turns = [turn(110, Live), turn(300, Stale), turn(310, Syncing), turn(330, Live)];
        let f = BookFigures::of(None, &turns, (Ts(100), Ts(900)), day);
        assert_eq!((f.live_ns, f.stale_ns, f.syncing_ns, f.unknown_ns), (190 + 570, 10, 20, 10));
        assert_eq!((f.invalid_ns, f.invalid_stretches, f.end.as_deref()), (40, 3, Some("live")));
        // What was not live yesterday is not until a mark says so; and it stays so to the day's end.
        let f = BookFigures::of(Some("stale"), &[turn(50, Live), turn(600, Syncing)], (Ts(20), Ts(700)), day);
        assert_eq!((f.live_ns, f.stale_ns, f.syncing_ns), (550, 50, 400));
        // A live one counts between its rows.
        let f = BookFigures::of(Some("live"), &[], (Ts(100), Ts(900)), day);
        assert_eq!((f.live_ns, f.invalid_ns, f.end.as_deref()), (800, 0, Some("live")));
    }
}
