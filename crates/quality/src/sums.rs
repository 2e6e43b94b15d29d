//! A minute's trades beside the venue's own bar of it: where ids prove nothing, the sums do.
//!
//! A closed one-minute bar names the volume and, on some venues, the number of trades. [`GRACE`] after it came, the trades of that minute
//! are summed and compared. Judged are only minutes for which the stream claims to be whole: those that begin after it was
//! opened, and after the last gap that was told. Prints off the market may be part of the venue's bar or not: a bar between
//! the two sums agrees.

use std::time::Duration;

use wholetape_model::{Bar, Decimal, Ts};

use crate::finding::Failure;

/// For trades that come after their bar.
pub const GRACE: Duration = Duration::from_secs(15);
const MINUTE_NS: i64 = 60_000_000_000;
/// Minutes that are summed at a time: the one at hand, one that waits for its bar or for [`GRACE`], and one for clocks that differ.
const MINUTES: usize = 4;
/// A trade further from our own time belongs to no minute that is still judged.
const APART: Duration = Duration::from_secs(180);
/// Sums are kept with so many decimal places: the most that a [`Decimal`] has.
const PLACES: u32 = 18;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    volume: i128,
    trades: u64,
}

impl Sum {
    fn add(&mut self, volume: i128) {
        self.volume = self.volume.saturating_add(volume);
        self.trades += 1;
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    /// ns; 0: none.
    start: i64,
    regular: Sum,
    all: Sum,
}

/// A bar that waits.
#[derive(Debug, Clone, Copy)]
struct Expected {
    start: i64,
    volume: Decimal,
    /// 0 where the venue prints none.
    trades: u64,
    came: Ts,
}

/// What a minute came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub start: Ts,
    /// `None`: they agree.
    pub failure: Option<Failure>,
    /// Less came than the venue counts.
    pub short: bool,
}

/// See the module. No allocation, ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    minutes: [Minute; MINUTES],
    expected: [Option<Expected>; MINUTES],
    /// The end of the last gap.
    whole_from: Ts,
}

fn minute_of(at: Ts) -> i64 {
    at.0 - at.0.rem_euclid(MINUTE_NS)
}

fn widened(d: Decimal) -> i128 {
    i128::from(d.raw) * 10_i128.pow(PLACES - u32::from(d.scale).min(PLACES))
}

/// For people: as many places as 64 bits hold.
fn narrowed(mut sum: i128) -> Decimal {
    let mut scale = PLACES as u8;
    while scale > 0 && (sum % 10 == 0 || i64::try_from(sum).is_err()) {
        sum /= 10;
        scale -= 1;
    }
    Decimal::new(i64::try_from(sum).unwrap_or(i64::MAX), scale)
}

impl Sums {
    /// A trade that was not seen before, made at `at`.
    pub fn on_trade(&mut self, size: Decimal, at: Ts, regular: bool, now: Ts) {
        if at.since(now).max(now.since(at)) > APART {
            return;
        }
        let start = minute_of(at);
        let known = self.minutes.iter().position(|m| m.start == start);
        let place = known.or_else(|| {
            let oldest = (0..MINUTES).min_by_key(|i| self.minutes[*i].start)?;
            // Older than all that are kept: its bar was judged.
            (self.minutes[oldest].start < start).then_some(oldest)
        });
        let Some(place) = place else { return };
        if known.is_none() {
            self.minutes[place] = Minute { start, ..Minute::default() };
        }
        let minute = &mut self.minutes[place];
        let volume = widened(size);
        minute.all.add(volume);
        if regular {
            minute.regular.add(volume);
        }
    }

    /// A bar. Open ones and those of other periods are none of ours.
    pub fn on_bar(&mut self, bar: &Bar, now: Ts) {
        let minute = bar.period.unit == b'm' && bar.period.count == 1 && minute_of(bar.open_ts) == bar.open_ts.0;
        let far = now.since(bar.open_ts) > APART;
        if !bar.closed || !minute || far || self.expected.iter().flatten().any(|e| e.start == bar.open_ts.0) {
            return;
        }
        let waiting = Expected { start: bar.open_ts.0, volume: bar.volume, trades: bar.trades, came: now };
        if let Some(free) = self.expected.iter_mut().find(|e| e.is_none()) {
            *free = Some(waiting);
        }
    }

    /// Trades were missing until then: the minute of that time is not judged.
    pub fn broken(&mut self, until: Ts) {
        self.whole_from = self.whole_from.max(until);
    }

    /// The next minute whose time has come. `open_since`: since when the stream is followed; `Ts::ZERO`: it is not.
    pub fn poll(&mut self, now: Ts, open_since: Ts) -> Option<Compared> {
        for i in 0..MINUTES {
            let Some(bar) = self.expected[i].filter(|bar| now.since(bar.came) >= GRACE) else { continue };
            self.expected[i] = None;
            let whole = open_since > Ts::ZERO && bar.start >= open_since.0.max(self.whole_from.0);
            if whole {
                return Some(self.compare(&bar));
            }
        }
        None
    }

    fn compare(&self, bar: &Expected) -> Compared {
        let none = Minute::default();
        let minute = self.minutes.iter().find(|m| m.start == bar.start).unwrap_or(&none);
        let start = Ts(bar.start);
        let (least, most, volume) = (minute.regular, minute.all, widened(bar.volume));
        let counted = bar.trades > 0;
        let short = volume > most.volume || counted && bar.trades > most.trades;
        let long = volume < least.volume || counted && bar.trades < least.trades;
        let why = match (short, long) {
            (false, false) => return Compared { start, failure: None, short },
            (true, _) => "the venue's bar has more than the trades of its minute",
            (false, true) => "the venue's bar has less than the trades of its minute",
        };
        let sum = if short { most } else { least };
        // Where the volume agrees it is the number of trades that does not.
        let (observed, bound) = if volume == sum.volume {
            let number = |n| Decimal::new(i64::try_from(n).unwrap_or(i64::MAX), 0);
            (number(sum.trades), number(bar.trades))
        } else {
            (narrowed(sum.volume), bar.volume)
        };
        Compared { start, failure: Some(Failure { observed, bound, why }), short }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wholetape_model::Period;

    /// A full minute.
    const T0: i64 = 1_700_000_040;

    const fn at(s: i64) -> Ts {
        Ts::from_millis((T0 + s) * 1_000)
    }

    fn bar(start: i64, volume: &str, trades: u64) -> Bar {
        let zero = Decimal::ZERO;
        Bar {
            open_ts: at(start),
            close_ts: at(start + 60),
            open: zero,
            high: zero,
            low: zero,
            close: zero,
            volume: Decimal::parse(volume.as_bytes()).unwrap(),
            quote_volume: zero,
            taker_volume: zero,
            taker_quote_volume: zero,
            trades,
            first_id: 0,
            last_id: 0,
            closed: true,
            period: Period { count: 1, unit: b'm' },
        }
    }

    /// Trades of 0.5 at these seconds, a bar at 60, and what is said at 75.
    fn said(trades: &[i64], volume: &str, count: u64) -> Option<(String, String)> {
        let mut sums = Sums::default();
        for s in trades {
            sums.on_trade(Decimal::new(5, 1), at(*s), true, at(*s));
        }
        sums.on_bar(&bar(0, volume, count), at(60));
        assert_eq!(sums.poll(at(74), at(-10)), None, "too early");
        let compared = sums.poll(at(75), at(-10)).expect("judged");
        assert_eq!((compared.start, sums.poll(at(300), at(-10))), (at(0), None), "once");
        compared.failure.map(|f| (f.observed.to_string(), f.bound.to_string()))
    }

    #[test]
    fn equal_sums_agree_whatever_the_venue_prints_of_them() {
        assert_eq!(said(&[0, 30, 59], "1.5", 0), None);
        assert_eq!(said(&[0, 30, 59], "1.500", 3), None);
        assert_eq!(said(&[], "0", 0), None);
        assert_eq!(said(&[-1, 0, 60], "0.5", 1), None, "the neighbours' trades are the neighbours'");
    }

    #[test]
    fn what_is_missing_or_too_much_is_told_with_both_sums() {
        let text = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(said(&[0, 30], "1.5", 0), text("1", "1.5"));
        assert_eq!(said(&[], "0.001", 0), text("0", "0.001"));
        assert_eq!(said(&[0, 1, 2], "1", 0), text("1.5", "1"));
        assert_eq!(said(&[0, 1], "1", 3), text("2", "3"), "a trade of nothing, or two told as one");
    }

    #[test]
    fn only_minutes_that_claim_to_be_whole_are_judged() {
        let mut sums = Sums::default();
        let poll = |open: Ts, broken: Option<Ts>| {
            let mut minute = sums;
            minute.on_bar(&bar(0, "1", 0), at(60));
            if let Some(until) = broken {
                minute.broken(until);
            }
            minute.poll(at(75), open).is_some()
        };
        assert!(poll(at(0), None) && poll(at(-5), Some(at(0))));
        assert!(!poll(at(1), None), "opened within the minute");
        assert!(!poll(Ts::ZERO, None), "not followed");
        assert!(!poll(at(-5), Some(at(10))), "a gap within the minute");
        sums.on_bar(&Bar { closed: false, ..bar(0, "1", 0) }, at(30));
        sums.on_bar(&Bar { period: Period { count: 5, unit: b'm' }, ..bar(0, "1", 0) }, at(60));
        sums.on_bar(&bar(0, "1", 0), at(600));
        assert_eq!(sums.poll(at(900), at(-5)), None, "open, of five minutes, or long past");
    }

    #[test]
    fn prints_off_the_market_may_be_counted_or_not() {
        for volume in ["1", "3"] {
            let mut sums = Sums::default();
            sums.on_trade(Decimal::new(1, 0), at(5), true, at(5));
            sums.on_trade(Decimal::new(2, 0), at(6), false, at(6));
            sums.on_bar(&bar(0, volume, 0), at(60));
            assert_eq!(sums.poll(at(80), at(0)).unwrap().failure, None);
        }
    }

    proptest! {
        /// Over many minutes, late trades within the grace among them: a bar of exactly these trades always agrees, one of any more never does.
        #[test]
        fn bars_made_of_the_trades_agree(
            minutes in proptest::collection::vec(proptest::collection::vec((0_i64..60, 1_i64..1_000_000, 0_u8..9), 0..20), 1..12),
            wrong in any::<bool>(),
        ) {
            let mut sums = Sums::default();
            for (m, trades) in minutes.iter().enumerate() {
                let start = m as i64 * 60;
                let mut total = 0_i128;
                for (s, raw, scale) in trades {
                    let size = Decimal::new(*raw, *scale);
                    sums.on_trade(size, at(start + s), true, at(start + s));
                    total += widened(size);
                }
                let count = trades.len() as u64 + u64::from(wrong);
                let told = Bar { volume: narrowed(total), ..bar(start, "0", count) };
                sums.on_bar(&told, at(start + 61));
                let compared = sums.poll(at(start + 61) + GRACE, at(-1)).expect("judged");
                prop_assert_eq!(compared.failure.is_some(), wrong);
                prop_assert_eq!(compared.short, wrong);
            }
        }
    }
}
