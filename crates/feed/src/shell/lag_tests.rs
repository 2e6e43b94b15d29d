//! Virtual time: a queue with a capacity, a venue with a clock, and what meter and control make of them.

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const T0: Ts = Ts(1_700_000_000_000_000_000);

fn limits() -> LagLimits {
    LagLimits::default()
}

/// Ticker, depth, raw trades, trades, quotes: frames a second, in this order.
const MIX: [f64; 5] = [300.0, 500.0, 200.0, 300.0, 400.0];
const LEVELS: [ShedLevel; 4] = [ShedLevel::Ticker, ShedLevel::Depth, ShedLevel::RawTrades, ShedLevel::Trades];

/// A line that reads `capacity` frames a second in order of arrival, shed ones at a tenth of the cost.
struct Model {
    meter: LagMeter,
    control: LoadControl,
    now: Ts,
    /// Waiting frames by class, and when the oldest of them was made.
    queue: std::collections::VecDeque<(Ts, [f64; 5])>,
    /// The venue's clock less ours.
    offset_ms: i64,
    changes: Vec<(Duration, ShedLevel)>,
    longest: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            meter: LagMeter::new(1, T0),
            control: LoadControl::new(limits()),
            now: T0,
            queue: std::collections::VecDeque::new(),
            offset_ms: 0,
            changes: Vec::new(),
            longest: 0,
        }
    }

    fn sheds(&self, class: usize) -> bool {
        LEVELS.get(class).is_some_and(|from| self.control.level() >= *from)
    }

    /// `load` times the mix against a capacity of `capacity` times the mix, for a while, in steps of 10 ms.
    fn run(&mut self, length: Duration, load: f64, capacity: f64) {
        let total: f64 = MIX.iter().sum();
        let end = self.now + length;
        while self.now < end {
            self.now = self.now + 10 * MS;
            self.queue.push_back((self.now, MIX.map(|n| n * load / 100.0)));
            let mut budget = total * capacity / 100.0;
            let mut newest = None;
            while let Some((made, frames)) = self.queue.front().copied() {
                let cost: f64 = (0..5).map(|c| frames[c] * if self.sheds(c) { 0.1 } else { 1.0 }).sum();
                if cost > budget {
                    // A part of it is read.
                    let left = 1.0 - budget / cost;
                    self.queue.front_mut().unwrap().1 = frames.map(|n| n * left);
                    newest = Some(made);
                    break;
                }
                budget -= cost;
                newest = Some(made);
                self.queue.pop_front();
            }
            self.longest = self.longest.max(self.queue.len());
            self.meter.burst(!self.queue.is_empty(), self.now);
            if let Some(made) = newest {
                let event = Ts(made.0 + self.offset_ms * 1_000_000);
                self.meter.heard(0, event, self.now);
            }
            if let Some(level) = self.control.judge(self.meter.lag(self.now), self.now, |_| true) {
                self.changes.push((self.now.since(T0), level));
            }
        }
    }

    fn levels(&self) -> Vec<ShedLevel> {
        self.changes.iter().map(|c| c.1).collect()
    }
}

#[test]
fn twice_the_capacity_sheds_in_order_settles_and_comes_back() {
    use ShedLevel::*;
    let mut m = Model::new();
    m.run(20 * S, 0.8, 1.0);
    assert_eq!(m.levels(), [], "at 80 % nothing is given up");
    m.run(12 * S, 2.2, 1.0);
    assert_eq!(
        m.levels(),
        [Lagging, Ticker, Depth, RawTrades, Trades][..m.changes.len()],
        "in order, none passed over"
    );
    assert!(m.levels().len() >= 3, "{:?}", m.changes);
    assert!(m.changes[0].0 >= 20 * S + 500 * MS, "not before it is late: {:?}", m.changes);
    m.run(60 * S, 0.5, 1.0);
    assert_eq!(m.control.level(), Normal, "{:?}", m.changes);
    let falling: Vec<_> = m.levels().into_iter().skip_while(|l| *l != *m.levels().iter().max().unwrap()).collect();
    assert!(falling.windows(2).all(|w| w[0] > w[1]), "back the way it came: {falling:?}");
    assert!(m.queue.is_empty());
}

#[test]
fn a_steady_overload_is_borne_without_flapping() {
    let mut m = Model::new();
    m.run(10 * S, 0.8, 1.0);
    m.run(600 * S, 2.0, 1.0);
    let before = m.changes.len();
    m.run(600 * S, 2.0, 1.0);
    let more = m.changes.len() - before;
    assert!(more <= 24, "{more} changes in ten minutes: {:?}", &m.changes[before..]);
    assert!(m.longest < 1_500, "the backlog is bounded: {} ms", m.longest * 10);
}

#[test]
fn a_burst_that_is_caught_up_sheds_nothing() {
    let mut m = Model::new();
    m.run(10 * S, 0.5, 1.0);
    m.run(900 * MS, 2.5, 1.0);
    m.run(20 * S, 0.3, 1.0);
    assert_eq!(m.levels(), [ShedLevel::Lagging, ShedLevel::Normal]);
}

#[test]
fn full_bursts_without_lateness_are_no_lag() {
    let mut meter = LagMeter::new(1, T0);
    for i in 0..10_000_u32 {
        let now = T0 + MS * i;
        meter.burst(i % 5_000 != 0, now);
        meter.heard(0, Ts(now.0 - 7_000_000), now);
        assert!(i < 5_000 || meter.lag(now) < 10 * MS, "busy, and on time: {:?}", meter.lag(now));
    }
}

#[test]
fn a_late_venue_is_not_our_lag() {
    let mut meter = LagMeter::new(1, T0);
    for i in 0..10_000_u32 {
        let now = T0 + MS * i;
        meter.burst(false, now);
        let late = if i < 5_000 { 5 } else { 4_000 };
        meter.heard(0, Ts(now.0 - late * 1_000_000), now);
        assert_eq!(meter.lag(now), Duration::ZERO);
    }
}

#[test]
fn the_offset_of_the_clocks_is_out_of_it() {
    for offset_ms in [-86_400_000, -3_000, 0, 3_000] {
        let mut m = Model { offset_ms, ..Model::new() };
        m.run(10 * S, 0.8, 1.0);
        m.run(4 * S, 2.0, 1.0);
        assert_eq!(m.levels().first(), Some(&ShedLevel::Lagging), "{offset_ms}");
    }
}

#[test]
fn a_venue_clock_that_runs_fast_is_not_believed() {
    let mut m = Model::new();
    for _ in 0..1_400 {
        m.run(10 * MS, 2.2, 1.0);
        m.offset_ms += 100;
    }
    assert!(m.control.level() >= ShedLevel::Depth, "{:?}", m.changes);
}

#[test]
fn held_up_by_a_sibling_counts_as_late() {
    let mut meter = LagMeter::new(1, T0);
    meter.burst(false, T0);
    meter.woken(3 * S);
    assert_eq!(meter.lag(T0 + 3 * S), 3 * S);
    meter.woken(Duration::ZERO);
    assert_eq!(meter.lag(T0 + 4 * S), Duration::ZERO);
}

#[test]
fn the_slowest_connection_counts() {
    let mut meter = LagMeter::new(2, T0);
    for i in 0..5_000_u32 {
        let now = T0 + MS * i;
        meter.burst(i > 0, now);
        meter.heard(0, now, now);
        // Falls behind by half a second each second.
        meter.heard(1, T0 + MS * i / 2, now);
    }
    let lag = meter.lag(T0 + 5 * S);
    assert!(lag > 2 * S && lag < 3 * S, "{lag:?}");
}

#[test]
fn our_clock_being_set_is_not_a_lag() {
    let mut meter = LagMeter::new(1, T0);
    for i in 0..5_000_u32 {
        let step = if i < 2_500 { Duration::ZERO } else { 2 * S };
        let now = T0 + MS * i + step;
        if i == 2_500 {
            meter.clock_set(now);
        }
        meter.burst(true, now);
        meter.heard(0, T0 + MS * i, now);
        assert!(i < 4_600 || meter.lag(now) < 50 * MS, "{i}: {:?}", meter.lag(now));
    }
}

#[test]
fn levels_that_save_nothing_are_passed_over() {
    let mut control = LoadControl::new(limits());
    let mut levels = Vec::new();
    for i in 0..200_u32 {
        let lag = 100 * MS * i;
        levels.extend(control.judge(lag, T0 + 100 * MS * i, |l| l == ShedLevel::Trades || l == ShedLevel::Depth));
    }
    assert_eq!(levels, [ShedLevel::Lagging, ShedLevel::Depth, ShedLevel::Trades]);
    for i in 200..2_000_u32 {
        levels.extend(
            control.judge(Duration::ZERO, T0 + 100 * MS * i, |l| l == ShedLevel::Trades || l == ShedLevel::Depth),
        );
    }
    assert_eq!(levels[3..], [ShedLevel::Depth, ShedLevel::Lagging, ShedLevel::Normal]);
}
