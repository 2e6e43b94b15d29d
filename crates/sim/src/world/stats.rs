//! Candles and the 24-hour figures, from the trades themselves.

use crate::config::Spec;

/// One candle of one interval.
#[derive(Debug, Clone)]
pub struct Candle {
    pub interval: String,
    pub interval_ms: i64,
    pub open_ms: i64,
    pub first_id: i64,
    pub last_id: i64,
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    pub count: u64,
    /// Steps; of them bought by takers.
    pub volume: i128,
    pub taker_volume: i128,
    /// Tick·steps.
    pub notional: i128,
    pub taker_notional: i128,
    pub changed: bool,
}

/// Length of an interval that the generator offers.
pub fn interval_ms(interval: &str) -> Option<i64> {
    Some(match interval {
        "1s" => 1_000,
        "1m" => 60_000,
        "3m" => 180_000,
        "5m" => 300_000,
        "15m" => 900_000,
        "30m" => 1_800_000,
        "1h" => 3_600_000,
        _ => return None,
    })
}

impl Candle {
    pub fn new(interval: &str, interval_ms: i64, at_ms: i64, price: i64) -> Self {
        Self {
            interval: interval.to_owned(),
            interval_ms,
            open_ms: at_ms - at_ms.rem_euclid(interval_ms),
            first_id: -1,
            last_id: -1,
            open: price,
            high: price,
            low: price,
            close: price,
            count: 0,
            volume: 0,
            taker_volume: 0,
            notional: 0,
            taker_notional: 0,
            changed: false,
        }
    }

    pub const fn close_ms(&self) -> i64 {
        self.open_ms + self.interval_ms - 1
    }

    pub fn add(&mut self, id: u64, ticks: i64, steps: i64, buyer_is_maker: bool) {
        if self.count == 0 {
            (self.first_id, self.open, self.high, self.low) = (id as i64, ticks, ticks, ticks);
        }
        self.last_id = id as i64;
        self.high = self.high.max(ticks);
        self.low = self.low.min(ticks);
        self.close = ticks;
        self.count += 1;
        let notional = i128::from(ticks) * i128::from(steps);
        self.volume += i128::from(steps);
        self.notional += notional;
        if !buyer_is_maker {
            self.taker_volume += i128::from(steps);
            self.taker_notional += notional;
        }
        self.changed = true;
    }

    /// The `k` object of the stream.
    pub fn json(&self, spec: &Spec, closed: bool) -> String {
        let steps = |n: i128| crate::decimal::fixed(n * i128::from(spec.step_units), spec.size_scale);
        format!(
            r#"{{"t":{},"T":{},"s":"{}","i":"{}","f":{},"L":{},"o":"{}","c":"{}","h":"{}","l":"{}","v":"{}","n":{},"x":{},"q":"{}","V":"{}","Q":"{}","B":"0"}}"#,
            self.open_ms,
            self.close_ms(),
            spec.config.symbol,
            self.interval,
            self.first_id,
            self.last_id,
            spec.price(self.open),
            spec.price(self.close),
            spec.price(self.high),
            spec.price(self.low),
            steps(self.volume),
            self.count,
            closed,
            spec.quote_amount(self.notional),
            steps(self.taker_volume),
            spec.quote_amount(self.taker_notional),
        )
    }
}

/// The rolling figures. The simulated day starts with the run: nothing is forgotten before 24 h have passed.
#[derive(Debug, Clone)]
pub struct Day {
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub last: i64,
    pub last_steps: i64,
    pub first_id: i64,
    pub last_id: i64,
    pub count: u64,
    pub volume: i128,
    pub notional: i128,
}

impl Day {
    pub const fn new(price: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            last: price,
            last_steps: 0,
            first_id: -1,
            last_id: -1,
            count: 0,
            volume: 0,
            notional: 0,
        }
    }

    pub fn add(&mut self, id: u64, ticks: i64, steps: i64) {
        if self.count == 0 {
            self.first_id = id as i64;
        }
        self.high = self.high.max(ticks);
        self.low = self.low.min(ticks);
        (self.last, self.last_steps, self.last_id) = (ticks, steps, id as i64);
        self.count += 1;
        self.volume += i128::from(steps);
        self.notional += i128::from(ticks) * i128::from(steps);
    }

    /// The weighted average price in ticks; the last price while nothing traded.
    pub fn average(&self) -> i64 {
        if self.volume == 0 { self.last } else { (self.notional / self.volume) as i64 }
    }
}
