//! Prices that are no multiple of the tick that was valid when they were made.
//!
//! The venue's definition is known late: it is polled. So a price off the tick is at first a *doubt*, which has the
//! definitions asked for anew; if the rule still stands [`DOUBT`] later, the price was wrong, and so are those that follow.
//! Nothing is lost by waiting: the finding tells how many there were, only the rows of the doubt itself stay without a flag.
//!
//! Rules overlap. Where the venue does not say since when a rule holds, it may have held since the rule before was told; and
//! the orders that rest when a tick changes stay, so the former tick is good for [`RESTING`] longer. A price must fit one rule
//! that may have been valid at its time; before the first known rule nothing is judged.

use std::time::Duration;

use wholetape_model::{Decimal, Ts};

use crate::finding::Failure;

/// How long a definition may take to be asked for and answered: sessions ask at most once a minute.
pub const DOUBT: Duration = Duration::from_secs(120);
/// A doubt so long ago is none any more: the next one is new, and asks again.
const FORGET: Duration = Duration::from_secs(600);
/// Orders made by the former tick are filled for so long.
const RESTING: Duration = Duration::from_secs(24 * 3_600);
/// Rules that are remembered: the one that holds and those before it.
const RULES: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Rule {
    tick: Decimal,
    /// The earliest time at which it may have held.
    from: Ts,
    /// The latest time at which a price may have been made by it; `Ts::MAX` while it holds.
    until: Ts,
    told: Ts,
}

#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Ts,
    last: Ts,
}

/// What is to be done about a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Fits,
    /// The rule may have changed: ask the venue.
    Doubtful,
    Off(Failure),
}

/// The ticks of one instrument, point in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tick {
    /// The newest first.
    rules: [Option<Rule>; RULES],
    doubt: Option<Doubt>,
}

impl Tick {
    /// A definition received at `now` says so; `since`: from when it holds, where the venue tells. A tick of 0: there is none.
    pub fn set(&mut self, tick: Decimal, since: Option<Ts>, now: Ts) {
        let newest = &mut self.rules[0];
        if let Some(rule) = newest
            && rule.until == Ts::MAX
        {
            if rule.tick.cmp_value(tick).is_eq() {
                rule.told = now;
                return;
            }
            rule.until = since.unwrap_or(now).max(rule.told) + RESTING;
        }
        self.doubt = None;
        if tick.raw <= 0 {
            return;
        }
        let before = newest.map_or(now, |rule| rule.told);
        let rule = Rule { tick, from: since.unwrap_or(before), until: Ts::MAX, told: now };
        self.rules.copy_within(..RULES - 1, 1);
        self.rules[0] = Some(rule);
    }

    /// A price that was made at `at`, looked at at `now`.
    #[inline]
    pub fn on_price(&mut self, price: Decimal, at: Ts, now: Ts) -> Judged {
        if self.rules[0].is_none_or(|newest| newest.from <= at && price.is_multiple_of(newest.tick)) {
            return Judged::Fits;
        }
        self.on_misfit(price, at, now)
    }

    #[cold]
    fn on_misfit(&mut self, price: Decimal, at: Ts, now: Ts) -> Judged {
        let mut valid = self.rules.iter().flatten().filter(|rule| rule.from <= at && at <= rule.until).peekable();
        let Some(newest) = valid.peek().copied().copied() else { return Judged::Fits };
        if valid.any(|rule| price.is_multiple_of(rule.tick)) {
            return Judged::Fits;
        }
        let known = self.doubt.filter(|doubt| now.since(doubt.last) < FORGET);
        let since = known.map_or(now, |doubt| doubt.since);
        self.doubt = Some(Doubt { since, last: now });
        if now.since(since) < DOUBT {
            return Judged::Doubtful;
        }
        Judged::Off(Failure { observed: price, bound: newest.tick, why: "price is no multiple of the tick valid then" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(s: i64) -> Ts {
        Ts::from_millis(1_700_000_000_000 + s * 1_000)
    }

    fn d(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    /// How prices made and looked at so many seconds after the start are judged: `.` fits, `?` doubtful, `!` off.
    #[track_caller]
    fn check(tick: &mut Tick, prices: &[(&str, i64)], judged: &str) {
        let word = |judged| match judged {
            Judged::Fits => '.',
            Judged::Doubtful => '?',
            Judged::Off(_) => '!',
        };
        let got: String = prices.iter().map(|(price, s)| word(tick.on_price(d(price), at(*s), at(*s)))).collect();
        assert_eq!(got, judged, "{prices:?}");
    }

    #[test]
    fn prices_by_the_rule_pass_and_others_fail_once_the_rule_had_time_to_be_told() {
        let mut tick = Tick::default();
        check(&mut tick, &[("1.23456", -1)], ".");
        tick.set(d("0.05"), None, at(0));
        check(&mut tick, &[("100", 1), ("100.05", 2), ("100.1", 3)], "...");
        check(&mut tick, &[("100.01", 10), ("100.05", 11), ("100.02", 129), ("100.01", 130), ("100.10", 131)], "?.?!.");
        // Long after the last one the venue is asked again.
        check(&mut tick, &[("100.01", 730), ("100.01", 851)], "?!");
    }

    /// T15.
    #[test]
    fn a_tick_that_changes_within_the_day_makes_no_price_wrong() {
        let mut tick = Tick::default();
        tick.set(d("0.1"), None, at(0));
        // The finer tick is traded by before the poll tells of it.
        check(&mut tick, &[("100.1", 590), ("100.15", 595)], ".?");
        tick.set(d("0.01"), None, at(600));
        check(&mut tick, &[("100.15", 601), ("100.157", 602), ("100.157", 730)], ".?!");
        // Coarser: what rests by the finer one is still filled, for a day.
        tick.set(d("0.5"), None, at(1_000));
        check(&mut tick, &[("100.5", 1_001), ("100.16", 1_002), ("100.157", 1_003)], "..?");
        let day = 24 * 3_600;
        check(&mut tick, &[("100.16", 999 + day), ("100.16", 1_002 + day), ("100.16", 1_200 + day)], ".?!");
    }

    #[test]
    fn late_prices_are_judged_by_what_was_valid_at_their_time() {
        let mut tick = Tick::default();
        tick.set(d("1"), Some(at(0)), at(5));
        tick.set(d("0.1"), Some(at(2 * 86_400)), at(2 * 86_400 + 300));
        let now = at(3 * 86_400);
        let mut judge = |price: &str, s: i64| tick.on_price(d(price), at(s), now) == Judged::Fits;
        assert!(judge("5", 10) && judge("5.1", 2 * 86_400 + 1));
        assert!(!judge("5.1", 86_400), "the finer tick did not hold yet");
        assert!(judge("5.1", -1), "nothing is known of the time before the first rule");
    }

    #[test]
    fn a_venue_that_states_no_tick_any_more_is_not_held_to_one() {
        let mut tick = Tick::default();
        tick.set(d("0.1"), None, at(0));
        tick.set(Decimal::ZERO, None, at(10));
        check(&mut tick, &[("0.15", 20 + 24 * 3_600)], ".");
        tick.set(d("0.5"), None, at(30 + 24 * 3_600));
        check(&mut tick, &[("0.15", 100_000), ("0.15", 100_121)], "?!");
    }

    proptest! {
        /// A multiple of a rule that holds always fits, whatever else came before.
        #[test]
        fn what_fits_the_rule_of_its_time_is_never_doubted(
            steps in proptest::collection::vec((1_i64..1_000, 0_u8..6, 0_i64..400_000, 0_i64..1_000_000), 1..40)
        ) {
            let mut tick = Tick::default();
            let mut now = 0;
            for (raw, scale, pause, times) in steps {
                now += pause;
                let rule = Decimal::new(raw, scale);
                tick.set(rule, None, at(now));
                prop_assert_eq!(tick.on_price(Decimal::new(raw * times, scale), at(now), at(now)), Judged::Fits);
                let _ = tick.on_price(Decimal::new(raw * times + 1, scale + 1), at(now), at(now + 1));
            }
        }
    }
}
