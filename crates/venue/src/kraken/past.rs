//! Where in time a trade's id is: past trades are healed by id, and the venue is asked by time.
//!
//! `Trades` pages forwards from a nanosecond, exclusive, a thousand rows at a time. Ids are consecutive, so the page that shows an id is found
//! from what is known: trades that came by stream, and the ends of pages that were read. Nearby an id, the page begins at the known trade
//! before it. Further away its time is guessed between two known ones (half way after a guess that missed), or before the oldest by
//! the pace of what is known, eight times as far after each miss. After a few of these the venue's first trade is asked for: a pair that was
//! listed lately has none before, and elsewhere there is then a known one on either side.
//!
//! Invariants: a page begins a little before what it is asked from, since printed times are rounded and trades of one nanosecond
//! may stand on both sides of a page; what is remembered is bounded.

use wholetape_model::{InstrumentIx, Ts};

use super::limits::HISTORY_USED;

/// Known trades of an instrument at most.
const POINTS_MAX: usize = 256;
/// Of a run of trades one in so many is remembered, and the newest.
const SPARSE: u64 = 256;
/// Sockets print microseconds, REST what is left of a nanosecond in a floating point number.
const ROUNDING: u64 = 1_000;
/// Guesses before the oldest known trade that may miss.
const GUESSES: u32 = 5;
/// Pages in a row that may miss. What there is, is found within forty.
const MISSES_MAX: u32 = 64;
/// Where nothing is known of the pace.
const PACE: u64 = 1_000_000_000;

/// A trade that is known, and the cursor of a page that begins with it at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    id: u64,
    since: u64,
}

/// What a page came to, for the id that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// It shows the id, or where it would be.
    Shows,
    /// It lies elsewhere: asked again it begins elsewhere.
    Misses,
    /// So have many before it: either the venue's ids do not rise with time, or it answers something else.
    Nowhere,
}

/// One instrument's.
#[derive(Debug, Default)]
struct Known {
    /// By id.
    points: Vec<Point>,
    /// Pages in a row that did not show what they were asked for.
    misses: u32,
    /// Of these the newest that began behind it.
    late: u32,
}

impl Known {
    fn learn(&mut self, id: u64, since: u64) {
        let n = self.points.len();
        if self.points.capacity() == 0 {
            self.points.reserve_exact(POINTS_MAX + 1);
        }
        // A run of trades that follow each other is known by its ends.
        if let [.., before, last] = &mut self.points[..]
            && id == last.id.wrapping_add(1)
            && last.id - before.id < SPARSE
        {
            *last = Point { id, since };
            return;
        }
        let at = self.points.partition_point(|p| p.id < id);
        if self.points.get(at).is_some_and(|p| p.id == id) {
            return;
        }
        self.points.insert(at, Point { id, since });
        if n + 1 > POINTS_MAX {
            // Of the older half every second one goes; the oldest stays.
            let mut i = 0;
            self.points.retain(|_| {
                i += 1;
                i > POINTS_MAX / 2 || i % 2 == 1
            });
        }
    }

    /// The cursor of a page that should show `id`; `None` where nothing is known.
    fn since(&self, id: u64) -> Option<u64> {
        let at = self.points.partition_point(|p| p.id <= id);
        let (below, above) = (at.checked_sub(1).map(|i| self.points[i]), self.points.get(at));
        Some(match (below, above) {
            (Some(below), _) if id - below.id < HISTORY_USED => {
                // Where sockets and REST disagree by more than rounding, the page begins earlier and earlier.
                let earlier = (ROUNDING << (4 * self.late.min(10))) - ROUNDING;
                below.since.saturating_sub(earlier)
            }
            (Some(below), None) => below.since,
            (Some(below), Some(above)) => {
                let span = u128::from(above.since.saturating_sub(below.since));
                let ids = u128::from(above.id - below.id);
                let aim = u128::from(id - below.id - (HISTORY_USED / 4).min(id - below.id));
                let part = if self.misses.is_multiple_of(2) { span * aim / ids } else { span / 2 };
                below.since + u64::try_from(part).unwrap_or(0)
            }
            (None, Some(_)) if self.misses >= GUESSES => 0,
            (None, Some(above)) => {
                let next = self.points.get(at + 1);
                let pace = next.map_or(PACE, |n| n.since.saturating_sub(above.since) / (n.id - above.id).max(1)).max(1);
                let ids = (above.id - id).saturating_add(HISTORY_USED / 4);
                let factor = 1_u64 << (3 * self.misses);
                above.since.saturating_sub(ids.saturating_mul(pace).saturating_mul(factor))
            }
            (None, None) => return None,
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Past {
    of: Vec<Known>,
}

impl Past {
    fn known(&mut self, ix: InstrumentIx) -> &mut Known {
        if self.of.len() <= ix as usize {
            self.of.resize_with(ix as usize + 1, Known::default);
        }
        &mut self.of[ix as usize]
    }

    /// A trade came.
    #[inline]
    pub fn learn(&mut self, ix: InstrumentIx, id: u64, ts: Ts) {
        let since = u64::try_from(ts.0).unwrap_or(0).saturating_sub(ROUNDING);
        self.known(ix).learn(id, since);
    }

    /// The cursor of a page that should show `id`; 0 is the venue's first trade, `None` its newest ones.
    pub fn since(&self, ix: InstrumentIx, id: u64) -> Option<u64> {
        self.of.get(ix as usize)?.since(id)
    }

    /// A page came that was asked for `id`: `first` and `last` trade, the venue's cursor behind it, and whether there is more.
    pub fn page(
        &mut self,
        ix: InstrumentIx,
        id: u64,
        (first, last): ((u64, Ts), (u64, Ts)),
        cursor: Option<u64>,
        full: bool,
    ) -> Page {
        let from_the_first = self.since(ix, id) == Some(0);
        self.learn(ix, first.0, first.1);
        if let Some(cursor) = cursor {
            // Begun anew before the last row, so that no other of its nanosecond is left out; of a whole page of one, behind it.
            let since = if first.1 == last.1 { cursor } else { cursor.saturating_sub(1) };
            self.known(ix).learn(last.0, since);
        }
        let known = self.known(ix);
        // The venue has none before its first and none behind its newest.
        if (first.0 > id && !from_the_first) || (last.0 < id && full) {
            known.misses += 1;
            known.late = if first.0 > id { known.late + 1 } else { 0 };
            if known.misses < MISSES_MAX {
                return Page::Misses;
            }
            (known.misses, known.late) = (0, 0);
            return Page::Nowhere;
        }
        (known.misses, known.late) = (0, 0);
        Page::Shows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 1_000;

    /// A venue whose trade `i` has id `i + 1` and happened at `times[i]`.
    struct Venue {
        times: Vec<u64>,
    }

    impl Venue {
        fn page(&self, since: Option<u64>) -> std::ops::Range<usize> {
            let from = match since {
                Some(since) => self.times.partition_point(|t| *t <= since),
                None => self.times.len().saturating_sub(PAGE),
            };
            from..(from + PAGE).min(self.times.len())
        }

        /// As REST and sockets print it.
        fn printed(&self, i: usize) -> Ts {
            Ts((self.times[i] / 1_000 * 1_000) as i64)
        }

        /// Asks until a page shows `id`; returns it and how often that took.
        fn find(&self, past: &mut Past, id: u64) -> (std::ops::Range<usize>, u32) {
            for asked in 1..=40 {
                let page = self.page(past.since(0, id));
                assert!(!page.is_empty(), "there is something at or behind every id");
                let ends = [page.start, page.end - 1].map(|i| (i as u64 + 1, self.printed(i)));
                let cursor = self.times[page.end - 1];
                if past.page(0, id, (ends[0], ends[1]), Some(cursor), page.len() == PAGE) == Page::Shows {
                    assert!(page.contains(&(id as usize - 1)), "{id} in {page:?}");
                    return (page, asked);
                }
            }
            panic!("{id} was not found");
        }
    }

    fn venue(gaps: &[u64], n: usize) -> Venue {
        let mut t = 1_600_000_000_000_000_000;
        let times = (0..n).map(|i| {
            t += gaps[i % gaps.len()];
            t
        });
        Venue { times: times.collect() }
    }

    proptest! {
        /// However trades are spread over time, bursts of one nanosecond included, every id is found from wherever something is known.
        #[test]
        fn every_id_is_found(
            gaps in proptest::collection::vec(prop_oneof![4 => Just(0_u64), 4 => 1_u64..5_000_000, 2 => 1_000_000_u64..90_000_000_000], 1..400),
            known in proptest::collection::vec(0_usize..40_000, 0..4),
            wanted in proptest::collection::vec(0_usize..40_000, 1..6),
        ) {
            // No nanosecond has more than a page holds.
            prop_assume!(gaps.iter().any(|g| *g > 0));
            let venue = venue(&gaps, 40_000);
            let mut past = Past::default();
            for i in known {
                past.learn(0, i as u64 + 1, venue.printed(i));
            }
            for i in wanted {
                let (_, asked) = venue.find(&mut past, i as u64 + 1);
                prop_assert!(asked <= 40);
            }
            prop_assert!(past.of[0].points.len() <= POINTS_MAX + 1);
        }
    }

    /// T9: a hole is filled page by page, with trades of one nanosecond at every page's edge.
    #[test]
    fn pages_with_an_exclusive_cursor_leave_nothing_out() {
        // Seven of one nanosecond, then a pause: 1000 is no multiple of 7.
        let venue = venue(&[0, 0, 0, 0, 0, 0, 40_000_000], 20_000);
        let mut past = Past::default();
        past.learn(0, 1_000, venue.printed(999));
        past.learn(0, 19_000, venue.printed(18_999));
        let mut held = vec![false; 20_000];
        let mut pages = 0;
        for id in 1_001..19_000_u64 {
            if !held[id as usize - 1] {
                let (page, asked) = venue.find(&mut past, id);
                held[page].fill(true);
                pages += asked;
            }
        }
        assert!(held[1_000..19_000].iter().all(|h| *h));
        assert!(pages <= 25, "{pages}");
    }

    #[test]
    fn sockets_whose_clock_is_ahead_of_rest_are_seen_through() {
        let venue = venue(&[3_000_000], 3_000);
        let mut past = Past::default();
        let ahead = |i: usize| Ts(venue.printed(i).0 + 40_000_000);
        past.learn(0, 1_500, ahead(1_499));
        past.learn(0, 1_700, ahead(1_699));
        let (page, asked) = venue.find(&mut past, 1_500);
        assert!(page.contains(&1_499) && asked <= 6, "{asked}");
    }

    #[test]
    fn next_to_a_known_trade_the_page_begins_there() {
        let mut past = Past::default();
        past.learn(3, 500, Ts(9_000_000));
        assert_eq!([500, 501, 1_399].map(|id| past.since(3, id)), [Some(8_999_000); 3]);
        assert_eq!((past.since(3, 499), past.since(2, 500)), (Some(0), None));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_keeps_both_ends_of_a_hole() {
        let mut past = Past::default();
        for id in (0..200_000_u64).filter(|id| !(100_000..100_500).contains(id)) {
            past.learn(0, id, Ts(id as i64 * 1_000_000));
        }
        let points = &past.of[0].points;
        assert!(points.len() <= POINTS_MAX + 1 && points.is_sorted_by_key(|p| p.id));
        assert_eq!((points[0].id, points[points.len() - 1].id), (0, 199_999));
    }

    /// A hole's first page may reach back to ids that a new listing never had: that costs a few requests, not one for each doubling
    /// since 1970. (Found by the simulated venue under rough faults.)
    #[test]
    fn a_pair_that_was_listed_lately_is_soon_known_to_have_no_earlier_trades() {
        let (first, known) = (5_000_u64, 5_400_u64);
        let at = |id: u64| 1_790_000_000_000_000_000 + id * 20_000_000;
        let mut past = Past::default();
        for id in known..known + 300 {
            past.learn(0, id, Ts(at(id) as i64));
        }
        let ends = |from: u64| [from, from + 999].map(|id| (id, Ts(at(id) as i64)));
        for asked in 1..=7 {
            let since = past.since(0, 4_900).unwrap();
            let from = (first..).find(|id| at(*id) > since).unwrap();
            let [a, b] = ends(from);
            if past.page(0, 4_900, (a, b), Some(at(b.0)), true) == Page::Shows {
                assert_eq!((since, from), (0, first), "after {asked}");
                return;
            }
        }
        panic!("still looking");
    }

    /// A venue that shows the same page to whatever is asked.
    #[test]
    fn a_search_that_leads_nowhere_is_told_and_begins_anew() {
        let mut past = Past::default();
        past.learn(0, 500_000, Ts(60_000_000_000_000));
        let ends = ((10, Ts(1_000_000_000)), (1_009, Ts(2_000_000_000)));
        let told: Vec<_> =
            (1..=2 * MISSES_MAX).filter(|_| past.page(0, 90_000, ends, None, true) == Page::Nowhere).collect();
        assert_eq!(told, [MISSES_MAX, 2 * MISSES_MAX]);
    }

    #[test]
    fn the_venues_first_trade_ends_the_search() {
        let mut past = Past::default();
        past.learn(0, 50, Ts(60_000_000_000));
        let ends = ((10, Ts(1_000_000_000)), (50, Ts(60_000_000_000)));
        assert_eq!(past.since(0, 5), Some(0), "at a trade a second that is before 1970");
        assert_eq!(past.page(0, 5, ends, None, false), Page::Shows, "there are none before 10");
    }
}
