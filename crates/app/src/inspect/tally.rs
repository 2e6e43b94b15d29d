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
    first: Option<TradeId>,
    last: Option<TradeId>,
    count: u64,
    sum_size: Sum,
    sum_value: Sum,
    id_gaps: u64,
    id_repeats: u64,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct TradesReport {
    pub count: u64,
    pub sum_size: String,
    pub sum_price_x_size: String,
    /// As the venue printed it.
    pub first_id: Option<Id>,
    pub last_id: Option<Id>,
    /// Ids that are not the previous one plus 1; none where ids do not count.
    pub id_gaps: Option<u64>,
    pub id_repeats: u64,
}

/// A trade's id as clients get it: a number stays one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id {
    Number(u64),
    Text(String),
}

impl From<TradeId> for Id {
    fn from(id: TradeId) -> Self {
        id.number().map_or_else(|| Self::Text(id.to_string()), Self::Number)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
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
        self.first.get_or_insert(trade.id);
        self.last = Some(trade.id);
        self.sum_size.add(trade.size.0.into(), scales.size.into());
        let value = i128::from(trade.price.0) * i128::from(trade.size.0);
        self.sum_value.add(value, u32::from(scales.price) + u32::from(scales.size));
    }

    /// An id that counts: false when it was there already.
    fn count(&mut self, id: u64) -> bool {
        if self.held.arrive(id) == Arrival::Repeat {
            return false;
        }
        let last = self.last.and_then(TradeId::number);
        self.id_gaps += u64::from(last.is_some_and(|last| id != last.wrapping_add(1)));
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
            first_id: self.first.filter(|id| !id.is_custom()).map(Id::from),
            last_id: self.last.filter(|id| !id.is_custom()).map(Id::from),
            id_gaps: self.named.is_empty().then_some(self.id_gaps),
            id_repeats: self.id_repeats,
        }
    }
}

/// One symbol's funding, and the mark price as it was when a rate was printed.
#[derive(Debug, Default, Serialize, Clone, PartialEq, Eq)]
pub struct Funding {
    #[serde(skip)]
    mark: Option<Decimal>,
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
        let mark = self.mark.map(|mark| mark.to_string());
        if self.first_mark.is_none() {
            self.first_mark.clone_from(&mark);
        }
        self.last_mark = mark;
        let next = next.millis();
        if !self.next_funding_times.contains(&next) {
            self.next_funding_times.push(next);
        }
    }

    pub fn mark(&mut self, mark: Decimal) {
        self.mark = Some(mark);
    }
}

/// One symbol's open interest.
#[derive(Debug, Default, Serialize, Clone, PartialEq, Eq)]
pub struct OpenInterest {
    pub updates: u64,
    pub first: String,
    pub last: String,
}

impl OpenInterest {
    pub fn add(&mut self, size: Decimal) {
        self.last = size.to_string();
        if self.updates == 0 {
            self.first.clone_from(&self.last);
        }
        self.updates += 1;
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
