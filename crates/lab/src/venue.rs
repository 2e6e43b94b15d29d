//! A simulated Binance spot market: one instrument, its whole truth, and its frames and answers as the documents spell them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::dice::Dice;

pub const SYMBOL: &str = "BTCUSDT";

/// Ticks of 0.01; sizes of 0.001.
type Side = BTreeMap<i64, i64>;

/// A trade as the venue knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrueTrade {
    pub id: u64,
    pub price: i64,
    pub size: i64,
    pub time_ms: i64,
    pub buyer_is_maker: bool,
}

/// A quote as published: update id, bid, bid size, ask, ask size.
pub type TrueQuote = (u64, i64, i64, i64, i64);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub id: u64,
    pub bids: Side,
    pub asks: Side,
}

pub struct Venue {
    pub state: State,
    pub trades: Vec<TrueTrade>,
    /// With the time of publication, ms.
    pub quotes: Vec<(i64, TrueQuote)>,
    /// The state after each published depth update, by its last id.
    pub history: BTreeMap<u64, State>,
    /// Ids of published updates: first and last.
    pub updates: Vec<(u64, u64)>,
    pub skipped: Vec<u64>,
    /// Some older states, for stale snapshots.
    older: VecDeque<State>,
    changed: (Side, Side),
    first_pending: u64,
    next_trade: u64,
    best: Option<(i64, i64, i64, i64)>,
}

/// What one millisecond brings, by stream.
pub type Frame = (&'static str, Value);

fn price(ticks: i64) -> String {
    format!("{}.{:02}", ticks / 100, ticks % 100)
}

fn size(steps: i64) -> String {
    format!("{}.{:03}", steps / 1_000, steps % 1_000)
}

fn levels(side: &Side, best_first: bool) -> Vec<[String; 2]> {
    let level = |(p, s): (&i64, &i64)| [price(*p), size(*s)];
    if best_first { side.iter().rev().map(level).collect() } else { side.iter().map(level).collect() }
}

impl Venue {
    pub fn new(dice: &mut Dice) -> Self {
        let mut state = State { id: dice.between(1_000, 1_000_000), ..State::default() };
        for i in 1..=40 {
            state.bids.insert(6_000_000 - i * 3, dice.between(1, 5_000) as i64);
            state.asks.insert(6_000_000 + i * 3, dice.between(1, 5_000) as i64);
        }
        Self {
            first_pending: state.id + 1,
            next_trade: dice.between(1, 1_000_000),
            state,
            trades: Vec::new(),
            quotes: Vec::new(),
            history: BTreeMap::new(),
            updates: Vec::new(),
            skipped: Vec::new(),
            older: VecDeque::new(),
            changed: (Side::new(), Side::new()),
            best: None,
        }
    }

    /// One millisecond of the market.
    pub fn tick(&mut self, ms: i64, dice: &mut Dice, skipped_ids: u64, out: &mut Vec<Frame>) {
        if dice.one_in(4) {
            self.change(dice);
        }
        if dice.one_in(12) {
            self.trade(ms, dice, skipped_ids, out);
        }
        self.quote(ms, out);
        if ms % 100 == 0 {
            self.flush(ms, out);
        }
        if ms % 1_000 == 0 {
            self.older.push_back(self.state.clone());
            if self.older.len() > 5 {
                self.older.pop_front();
            }
        }
    }

    fn change(&mut self, dice: &mut Dice) {
        let buy = dice.one_in(2);
        let offset = dice.between(1, 60) as i64;
        let new = if dice.one_in(3) { 0 } else { dice.between(1, 9_000) as i64 };
        let (side, changed, at) = if buy {
            let top = *self.state.asks.keys().next().unwrap_or(&6_000_000);
            (&mut self.state.bids, &mut self.changed.0, top - offset)
        } else {
            let top = *self.state.bids.keys().next_back().unwrap_or(&6_000_000);
            (&mut self.state.asks, &mut self.changed.1, top + offset)
        };
        if new == 0 && (side.len() < 10 || side.remove(&at).is_none()) {
            return;
        }
        if new > 0 {
            side.insert(at, new);
        }
        changed.insert(at, new);
        self.state.id += 1;
    }

    fn trade(&mut self, ms: i64, dice: &mut Dice, skipped_ids: u64, out: &mut Vec<Frame>) {
        if dice.one_in(skipped_ids) {
            self.skipped.push(self.next_trade);
            self.next_trade += 1;
        }
        let sell = dice.one_in(2);
        let best = if sell { self.state.bids.iter().next_back() } else { self.state.asks.iter().next() };
        let Some((&at, &have)) = best else { return };
        let taken = (dice.between(1, 2_000) as i64).min(have);
        let (side, changed) = if sell {
            (&mut self.state.bids, &mut self.changed.0)
        } else {
            (&mut self.state.asks, &mut self.changed.1)
        };
        if side.len() <= 10 && taken == have {
            return;
        }
        let left = have - taken;
        if left == 0 {
            side.remove(&at);
        } else {
            side.insert(at, left);
        }
        changed.insert(at, left);
        self.state.id += 1;
        let trade = TrueTrade { id: self.next_trade, price: at, size: taken, time_ms: ms, buyer_is_maker: sell };
        self.next_trade += 1;
        self.trades.push(trade);
        out.push(("btcusdt@aggTrade", trade_event(&trade)));
    }

    fn quote(&mut self, ms: i64, out: &mut Vec<Frame>) {
        let (Some((&bid, &bid_size)), Some((&ask, &ask_size))) =
            (self.state.bids.iter().next_back(), self.state.asks.iter().next())
        else {
            return;
        };
        if self.best == Some((bid, bid_size, ask, ask_size)) {
            return;
        }
        self.best = Some((bid, bid_size, ask, ask_size));
        let id = self.state.id;
        self.quotes.push((ms, (id, bid, bid_size, ask, ask_size)));
        out.push((
            "btcusdt@bookTicker",
            json!({"u": id, "s": SYMBOL, "b": price(bid), "B": size(bid_size), "a": price(ask), "A": size(ask_size)}),
        ));
    }

    fn flush(&mut self, ms: i64, out: &mut Vec<Frame>) {
        if self.first_pending > self.state.id {
            return;
        }
        let (bids, asks) = std::mem::take(&mut self.changed);
        let (first, last) = (self.first_pending, self.state.id);
        self.first_pending = last + 1;
        self.history.insert(last, self.state.clone());
        self.updates.push((first, last));
        out.push((
            "btcusdt@depth@100ms",
            json!({"e": "depthUpdate", "E": ms, "s": SYMBOL, "U": first, "u": last,
                   "b": levels(&bids, true), "a": levels(&asks, false)}),
        ));
    }

    /// `GET /api/v3/depth`; `stale` answers with the oldest state remembered.
    pub fn depth(&self, stale: bool) -> Value {
        let state = if stale { self.older.front().unwrap_or(&self.state) } else { &self.state };
        json!({"lastUpdateId": state.id, "bids": levels(&state.bids, true), "asks": levels(&state.asks, false)})
    }

    /// `GET /api/v3/aggTrades?fromId=…`
    pub fn trades_from(&self, from: u64) -> Value {
        let start = self.trades.partition_point(|t| t.id < from);
        self.trades[start..].iter().take(1_000).map(trade_row).collect()
    }

    pub fn newest_trades(&self, n: usize) -> Value {
        self.trades[self.trades.len().saturating_sub(n)..].iter().map(trade_row).collect()
    }
}

fn trade_event(t: &TrueTrade) -> Value {
    json!({"e": "aggTrade", "E": t.time_ms, "s": SYMBOL, "a": t.id, "p": price(t.price), "q": size(t.size), "f": t.id, "l": t.id,
           "T": t.time_ms, "m": t.buyer_is_maker, "M": true})
}

fn trade_row(t: &TrueTrade) -> Value {
    json!({"a": t.id, "p": price(t.price), "q": size(t.size), "f": t.id, "l": t.id, "T": t.time_ms, "m": t.buyer_is_maker, "M": true})
}
