//! One instrument's truth: its book, trades and quotes as the venue has them, and the frames that tell of them, spelled as the
//! venue's documents do (spot `web-socket-streams.md`; USD-M diff book, book ticker, aggregate trades).
//!
//! Spot depth chains by `U`/`u`; on USD-M ids skip and `pu` links, so that a first update with `pu == lastUpdateId` occurs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use crate::dice::Dice;

/// Which venue an instrument is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Spot,
    UsdM,
}

/// Ticks of 0.01; sizes of 0.001.
type Side = BTreeMap<i64, i64>;

/// Levels of a side, best first.
pub type Flat = Vec<(i64, i64)>;

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

/// A published depth update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrueUpdate {
    pub first: u64,
    pub last: u64,
    pub ms: i64,
}

#[derive(Debug, Clone, Default)]
struct State {
    id: u64,
    bids: Side,
    asks: Side,
}

/// What a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Trade,
    Quote,
    Depth,
}

impl Stream {
    pub fn name(self, symbol: &str) -> String {
        let symbol = symbol.to_ascii_lowercase();
        match self {
            Self::Trade => format!("{symbol}@aggTrade"),
            Self::Quote => format!("{symbol}@bookTicker"),
            Self::Depth => format!("{symbol}@depth@100ms"),
        }
    }
}

/// What the market publishes: the stream and the event's JSON.
pub type Frame = (Stream, String);

pub struct Market {
    pub symbol: String,
    pub variant: Variant,
    pub trades: Vec<TrueTrade>,
    /// With the time of publication, ms.
    pub quotes: Vec<(i64, TrueQuote)>,
    pub updates: Vec<TrueUpdate>,
    /// The book after each published update, by its last id.
    pub history: BTreeMap<u64, (Flat, Flat)>,
    pub skipped: Vec<u64>,
    state: State,
    /// Some older states, for stale snapshots.
    older: VecDeque<State>,
    changed: (Side, Side),
    first_pending: Option<u64>,
    last_flushed: u64,
    next_trade: u64,
    best: Option<(i64, i64, i64, i64)>,
}

fn price(ticks: i64) -> String {
    format!("{}.{:02}", ticks / 100, ticks % 100)
}

fn size(steps: i64) -> String {
    format!("{}.{:03}", steps / 1_000, steps % 1_000)
}

fn levels(side: &Side, best_first: bool) -> String {
    let mut text = String::from("[");
    let mut one = |(p, s): (&i64, &i64)| {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, r#"{comma}["{}","{}"]"#, price(*p), size(*s));
    };
    if best_first {
        side.iter().rev().for_each(&mut one)
    } else {
        side.iter().for_each(&mut one)
    }
    text.push(']');
    text
}

impl Market {
    pub fn new(symbol: &str, variant: Variant, dice: &mut Dice) -> Self {
        let mut state = State { id: dice.between(1_000, 1_000_000), ..State::default() };
        for i in 1..=30 {
            state.bids.insert(6_000_000 - i * 3, dice.between(1, 5_000) as i64);
            state.asks.insert(6_000_000 + i * 3, dice.between(1, 5_000) as i64);
        }
        Self {
            symbol: symbol.to_owned(),
            variant,
            trades: Vec::new(),
            quotes: Vec::new(),
            updates: Vec::new(),
            history: BTreeMap::new(),
            skipped: Vec::new(),
            last_flushed: state.id,
            next_trade: dice.between(1, 1_000_000),
            state,
            older: VecDeque::new(),
            changed: (Side::new(), Side::new()),
            first_pending: None,
            best: None,
        }
    }

    /// The highest id of a trade published so far; 0 before the first.
    pub fn last_trade(&self) -> u64 {
        self.trades.last().map_or(0, |t| t.id)
    }

    /// Something happens: the book changes, and now and then somebody trades.
    pub fn happen(&mut self, ms: i64, dice: &mut Dice, skipped_ids: u64, out: &mut Vec<Frame>) {
        if dice.one_in(3) {
            self.trade(ms, dice, skipped_ids, out);
        } else {
            self.change(dice);
        }
        self.quote(ms, out);
    }

    fn next_id(&mut self, dice: &mut Dice) {
        self.state.id += match self.variant {
            Variant::Spot => 1,
            Variant::UsdM => dice.between(1, 5),
        };
        self.first_pending.get_or_insert(self.state.id);
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
        self.next_id(dice);
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
        self.next_id(dice);
        let trade = TrueTrade { id: self.next_trade, price: at, size: taken, time_ms: ms, buyer_is_maker: sell };
        self.next_trade += 1;
        self.trades.push(trade);
        let (symbol, fields) = (&self.symbol, trade_fields(&trade));
        out.push((Stream::Trade, format!(r#"{{"e":"aggTrade","E":{ms},"s":"{symbol}",{fields}}}"#)));
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
        let (id, symbol) = (self.state.id, &self.symbol);
        self.quotes.push((ms, (id, bid, bid_size, ask, ask_size)));
        let (b, bs, a, az) = (price(bid), size(bid_size), price(ask), size(ask_size));
        let core = format!(r#""u":{id},"s":"{symbol}","b":"{b}","B":"{bs}","a":"{a}","A":"{az}""#);
        out.push((
            Stream::Quote,
            match self.variant {
                Variant::Spot => format!("{{{core}}}"),
                Variant::UsdM => format!(r#"{{"e":"bookTicker","E":{ms},"T":{ms},{core}}}"#),
            },
        ));
    }

    /// The depth update of the last 100 ms, if anything changed.
    pub fn flush(&mut self, ms: i64, out: &mut Vec<Frame>) {
        if ms % 1_000 == 0 {
            self.older.push_back(self.state.clone());
            if self.older.len() > 5 {
                self.older.pop_front();
            }
        }
        let Some(first) = self.first_pending.take() else { return };
        let (bids, asks) = std::mem::take(&mut self.changed);
        let (last, pu) = (self.state.id, self.last_flushed);
        self.last_flushed = last;
        let level = |(p, s): (&i64, &i64)| (*p, *s);
        let bids_now: Flat = self.state.bids.iter().rev().map(level).collect();
        let asks_now: Flat = self.state.asks.iter().map(level).collect();
        self.history.insert(last, (bids_now, asks_now));
        self.updates.push(TrueUpdate { first, last, ms });
        let link = match self.variant {
            Variant::Spot => String::new(),
            Variant::UsdM => format!(r#""T":{ms},"pu":{pu},"#),
        };
        let (symbol, b, a) = (&self.symbol, levels(&bids, true), levels(&asks, false));
        out.push((
            Stream::Depth,
            format!(r#"{{"e":"depthUpdate","E":{ms},"s":"{symbol}",{link}"U":{first},"u":{last},"b":{b},"a":{a}}}"#),
        ));
    }

    /// The REST depth; `stale` answers with the oldest state remembered.
    pub fn depth(&self, stale: bool, ms: i64) -> String {
        let state = if stale { self.older.front().unwrap_or(&self.state) } else { &self.state };
        let times = match self.variant {
            Variant::Spot => String::new(),
            Variant::UsdM => format!(r#""E":{ms},"T":{ms},"#),
        };
        let (id, b, a) = (state.id, levels(&state.bids, true), levels(&state.asks, false));
        format!(r#"{{"lastUpdateId":{id},{times}"bids":{b},"asks":{a}}}"#)
    }

    /// REST `aggTrades?fromId=…`
    pub fn trades_from(&self, from: u64) -> String {
        let start = self.trades.partition_point(|t| t.id < from);
        page(self.trades[start..].iter().take(1_000))
    }

    /// REST `aggTrades?startTime=…`
    pub fn trades_at(&self, ms: i64) -> String {
        let start = self.trades.partition_point(|t| t.time_ms < ms);
        page(self.trades[start..].iter().take(1_000))
    }

    pub fn newest_trades(&self, n: usize) -> String {
        page(self.trades[self.trades.len().saturating_sub(n)..].iter())
    }
}

fn page<'a>(trades: impl Iterator<Item = &'a TrueTrade>) -> String {
    let rows: Vec<String> = trades.map(|t| format!("{{{}}}", trade_fields(t))).collect();
    format!("[{}]", rows.join(","))
}

fn trade_fields(t: &TrueTrade) -> String {
    let TrueTrade { id, time_ms, buyer_is_maker, .. } = t;
    let (p, q) = (price(t.price), size(t.size));
    format!(r#""a":{id},"p":"{p}","q":"{q}","f":{id},"l":{id},"T":{time_ms},"m":{buyer_is_maker}"#)
}
