//! Exact sums over the line's rows, in the words of the truth files.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use wholetape_feed::line::ledger::{Arrival, Ledger};
use wholetape_model::{Decimal, RowFlags, Scales, Trade, TradeId, Ts};

/// A sum of decimals: 128-bit mantissa, scale grows to the largest seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    raw: i128,
    scale: u32,
}

impl Sum {
    pub fn add(&mut self, raw: i128, scale: u32) {
        if scale > self.scale {
            self.raw *= 10_i128.pow(scale - self.scale);
            self.scale = scale;
        }
        self.raw += raw * 10_i128.pow(self.scale - scale);
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.raw < 0 { "-" } else { "" };
        let abs = self.raw.unsigned_abs();
        if self.scale == 0 {
            return write!(f, "{sign}{abs}");
        }
        let unit = 10_u128.pow(self.scale);
        write!(f, "{sign}{}.{:0width$}", abs / unit, abs % unit, width = self.scale as usize)
    }
}

/// One symbol's trades of one source.
#[derive(Debug, Default)]
pub struct Trades {
    held: Ledger,
    /// Ids that do not count.
    named: HashSet<TradeId>,
    last: Option<u64>,
    count: u64,
    sum_size: Sum,
    sum_value: Sum,
    first_id: Option<u64>,
    id_gaps: u64,
    id_repeats: u64,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct TradesReport {
    pub count: u64,
    pub sum_size: String,
    pub sum_price_x_size: String,
    pub first_id: Option<u64>,
    pub last_id: Option<u64>,
    /// Ids that are not the previous one plus 1.
    pub id_gaps: u64,
    pub id_repeats: u64,
}

impl Trades {
    pub fn add(&mut self, trade: &Trade, flags: RowFlags, scales: Scales) {
        let is_new = match trade.counted(flags) {
            Some(id) => self.count(id),
            None => self.named.insert(trade.id),
        };
        if !is_new {
            // Another connection's copy.
            return;
        }
        self.count += 1;
        self.sum_size.add(trade.size.0.into(), scales.size.into());
        let value = i128::from(trade.price.0) * i128::from(trade.size.0);
        self.sum_value.add(value, u32::from(scales.price) + u32::from(scales.size));
    }

    /// An id that counts: false when it was there already.
    fn count(&mut self, id: u64) -> bool {
        if self.held.arrive(id) == Arrival::Repeat {
            return false;
        }
        self.id_gaps += u64::from(self.last.is_some_and(|last| id != last.wrapping_add(1)));
        self.last = Some(id);
        self.first_id.get_or_insert(id);
        true
    }

    /// Repeats that the line removed before a row was made.
    pub fn repeats(&mut self, n: u64) {
        self.id_repeats += n;
    }

    pub fn report(&self) -> TradesReport {
        TradesReport {
            count: self.count,
            sum_size: self.sum_size.to_string(),
            sum_price_x_size: self.sum_value.to_string(),
            first_id: self.first_id,
            last_id: self.last,
            id_gaps: self.id_gaps,
            id_repeats: self.id_repeats,
        }
    }
}

/// One symbol's funding and mark price.
#[derive(Debug, Default, Serialize, Clone, PartialEq, Eq)]
pub struct Funding {
    pub updates: u64,
    pub first_rate: Option<String>,
    pub last_rate: Option<String>,
    pub rate_changes: u64,
    /// Milliseconds, in order of appearance.
    pub next_funding_times: Vec<i64>,
    pub first_mark: Option<String>,
    pub last_mark: Option<String>,
}

impl Funding {
    pub fn rate(&mut self, rate: Decimal, next: Ts) {
        self.updates += 1;
        let text = rate.to_string();
        self.first_rate.get_or_insert_with(|| text.clone());
        if self.last_rate.as_ref().is_some_and(|last| *last != text) {
            self.rate_changes += 1;
        }
        self.last_rate = Some(text);
        let next = next.millis();
        if !self.next_funding_times.contains(&next) {
            self.next_funding_times.push(next);
        }
    }

    pub fn mark(&mut self, mark: Decimal) {
        let text = mark.to_string();
        self.first_mark.get_or_insert_with(|| text.clone());
        self.last_mark = Some(text);
    }
}

/// One symbol's liquidations.
#[derive(Debug, Default)]
pub struct Liquidations {
    count: u64,
    sum_size: Sum,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct LiquidationsReport {
    pub count: u64,
    pub sum_size: String,
}

impl Liquidations {
    pub fn add(&mut self, size: Decimal) {
        self.count += 1;
        self.sum_size.add(size.raw.into(), size.scale.into());
    }

    pub fn report(&self) -> LiquidationsReport {
        LiquidationsReport { count: self.count, sum_size: self.sum_size.to_string() }
    }
}

/// Counters by name, in the order of their names.
pub type Counts = BTreeMap<String, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_the_largest_scale() {
        let mut s = Sum::default();
        s.add(15, 1);
        s.add(25, 3);
        s.add(-1, 0);
        assert_eq!(s.to_string(), "0.525");
        s.add(-1_000, 3);
        assert_eq!(s.to_string(), "-0.475");
    }
}
