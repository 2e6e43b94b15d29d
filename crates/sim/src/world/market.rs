//! One generated instrument: a full order book, the flow that moves it, and everything the venue says about it.
//!
//! Invariants: every change of a level takes a new update id of the same space that quotes and depth events carry; a depth
//! event holds the sizes after its last id; trades take what they print from the book; raw ids and `a` grow by one (USDⓈ-M
//! spends a raw id without an aggregate on insurance-fund prints, so `f` may exceed `prev.l + 1` there).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::book::{Book, BookText, Side};
use super::payload::{self, Agg, Mark};
use super::stats::{Candle, Day, interval_ms};
use crate::config::{Spec, VenueKind};
use crate::dice::Dice;
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;

/// Update ids a restart leaves unused: more than could have been handed out over REST without reaching the log.
const RESTART_GAP: u64 = 100_000_000;
/// What one advance may at most create: after a long stall of the machine the flow is thinned, not replayed.
const STEPS_MAX: f64 = 20_000.0;

/// A rhythm in running time.
#[derive(Debug, Clone)]
struct Every {
    every_ms: u64,
    next_ms: u64,
}

impl Every {
    const fn new(every_ms: u64) -> Self {
        Self { every_ms, next_ms: 0 }
    }
    fn due(&mut self, run_ms: u64) -> bool {
        let due = run_ms >= self.next_ms;
        if due {
            self.next_ms = run_ms - run_ms % self.every_ms + self.every_ms;
        }
        due
    }
}

/// One depth stream's collected changes.
#[derive(Debug, Clone)]
struct Cadence {
    /// Empty for the fastest, whose events the truth keeps whole.
    variant: &'static str,
    suffixes: &'static [&'static str],
    rhythm: Every,
    first: Option<u64>,
    previous: u64,
    bids: BTreeSet<i64>,
    asks: BTreeSet<i64>,
}

fn cadences(kind: VenueKind, last: u64) -> Vec<Cadence> {
    let table: &[(&str, &[&str], u64)] = if kind.is_spot() {
        &[("", &["depth@100ms"], 100), ("1000ms", &["depth"], 1000)]
    } else {
        &[("", &["depth@100ms"], 100), ("250ms", &["depth", "depth@250ms"], 250), ("500ms", &["depth@500ms"], 500)]
    };
    let one = |&(variant, suffixes, every): &(&'static str, &'static [&'static str], u64)| Cadence {
        variant,
        suffixes,
        rhythm: Every::new(every),
        first: None,
        previous: last,
        bids: BTreeSet::new(),
        asks: BTreeSet::new(),
    };
    table.iter().map(one).collect()
}

/// A generated instrument.
#[derive(Debug)]
pub struct Market {
    pub spec: Spec,
    kind: VenueKind,
    symbol: Arc<str>,
    stream: String,
    dice: Dice,
    book: Book,
    update_id: u64,
    agg_id: u64,
    trade_id: u64,
    quoted: Option<[(i64, i64); 2]>,
    cadences: Vec<Cadence>,
    /// USDⓈ-M merges prints of one price and side; flushed at the end of each advance.
    agg: Option<Agg>,
    candles: Vec<Candle>,
    kline_rhythm: Every,
    day: Day,
    second: Every,
    force_after_ms: u64,
    interest_steps: i64,
    interest_rhythm: Every,
    funding: f64,
    owed: f64,
    ran_ms: u64,
}

impl Market {
    pub fn new(
        kind: VenueKind,
        spec: Spec,
        intervals: &[String],
        seed: u64,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Self {
        let run = before.map_or(0, |truth| truth.books.len());
        let dice = Dice::new(seed, &format!("{}/{}/{run}", kind.name(), spec.config.symbol));
        let start = spec.start_ticks;
        let candles = intervals.iter().filter_map(|i| Some(Candle::new(i, interval_ms(i)?, now.exchange_ms, start)));
        let mut market = Self {
            kind,
            symbol: spec.config.symbol.as_str().into(),
            stream: spec.config.symbol.to_lowercase(),
            dice,
            book: Book::default(),
            update_id: 0,
            agg_id: 0,
            trade_id: 0,
            quoted: None,
            cadences: Vec::new(),
            agg: None,
            candles: candles.collect(),
            kline_rhythm: Every::new(if kind.is_spot() { 1000 } else { 250 }),
            day: Day::new(start),
            second: Every::new(1000),
            force_after_ms: 0,
            interest_steps: spec.usual_steps * 40_000,
            interest_rhythm: Every::new(2000),
            funding: 0.0001,
            owed: 0.0,
            ran_ms: now.run_ms,
            spec,
        };
        match before {
            Some(truth) if truth.final_book.is_some() => market.resume(truth),
            _ => market.found(),
        }
        market.cadences = cadences(kind, market.update_id);
        market
    }

    /// A new listing: ids of a plausible size, unlike between instruments, and a full book.
    fn found(&mut self) {
        let base = if self.kind.is_spot() { 50_000_000_000 } else { 5_000_000_000_000 };
        self.update_id = base + self.dice.range(0, 1_000_000_000) as u64;
        self.agg_id = 1_000_000_000 + self.dice.range(0, 1_000_000_000) as u64;
        self.trade_id = 3_000_000_000 + self.dice.range(0, 1_000_000_000) as u64;
        for (side, sign) in [(Side::Bid, -1), (Side::Ask, 1)] {
            let mut ticks = self.spec.start_ticks + if sign > 0 { 1 } else { 0 };
            for _ in 0..self.spec.config.levels {
                let steps = self.usual_size();
                self.book.set(side, ticks, steps);
                ticks += sign * (1 + self.dice.geometric(0.5, 5));
            }
        }
    }

    /// Goes on where the truth of earlier runs ends: ids past all that were ever used, the book as last told.
    fn resume(&mut self, truth: &InstrumentTruth) {
        self.update_id = truth.last_update_id + RESTART_GAP;
        self.agg_id = truth.agg_trades.keys().next_back().copied().unwrap_or(0);
        self.trade_id = truth.trades.keys().next_back().copied().unwrap_or(0);
        if self.agg_id == 0 || self.trade_id == 0 {
            // The earlier run told no trade, so any ids are new ones.
            self.agg_id = 1_000_000_000 + self.dice.range(0, 1_000_000_000) as u64;
            self.trade_id = 3_000_000_000 + self.dice.range(0, 1_000_000_000) as u64;
        }
        if let Some(text) = &truth.final_book {
            self.book = Book::from_text(&self.spec, text);
        }
        let mut last = self.spec.start_ticks;
        for trade in truth.trades.values() {
            let ticks = crate::decimal::parse(&trade.price, self.spec.price_scale).unwrap_or(0) / self.spec.tick_units;
            let steps = crate::decimal::parse(&trade.size, self.spec.size_scale).unwrap_or(0) / self.spec.step_units;
            if trade.source.as_deref().is_none_or(|source| source == "MARKET") {
                last = ticks;
                self.day.add(trade.id, ticks, steps);
                for candle in &mut self.candles {
                    if trade.time_ms >= candle.open_ms {
                        candle.add(trade.id, ticks, steps, trade.buyer_is_maker);
                    }
                }
            }
        }
        for candle in self.candles.iter_mut().filter(|candle| candle.count == 0) {
            (candle.open, candle.high, candle.low, candle.close) = (last, last, last, last);
        }
    }

    pub fn text(&self, limit: usize) -> BookText {
        self.book.text(&self.spec, self.update_id, limit)
    }

    pub fn mark(&self, exchange_ms: i64) -> Mark {
        let mid = self.book.best().map_or(self.spec.start_ticks, |[(b, _), (a, _)]| (a + b) / 2);
        let eight = |ticks: i64, shift: i128| {
            let units = i128::from(ticks) * i128::from(self.spec.tick_units);
            let units = if self.spec.price_scale > 8 {
                units / 10i128.pow(self.spec.price_scale - 8)
            } else {
                units * 10i128.pow(8 - self.spec.price_scale)
            };
            crate::decimal::fixed(units + units * shift / 1_000_000, 8)
        };
        let eight_hours = 8 * 3_600_000;
        Mark {
            mark: eight(mid, 11),
            settle: eight(mid, 7),
            index: eight(mid, 130),
            rate: crate::decimal::fixed((self.funding * 1e8) as i128, 8),
            next_ms: exchange_ms - exchange_ms.rem_euclid(eight_hours) + eight_hours,
        }
    }

    pub fn interest(&self) -> String {
        self.spec.size(self.interest_steps)
    }

    /// Moves on to `now`.
    pub fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        let passed = now.run_ms.saturating_sub(self.ran_ms) as f64 / 1000.0;
        self.ran_ms = now.run_ms;
        self.owed = (self.owed + passed * self.spec.config.events_per_s).min(STEPS_MAX);
        while self.owed >= 1.0 {
            // Exponential gaps make the flow Poisson; the sum of them is what time owes us.
            self.owed -= (-(1.0 - self.dice.unit()).ln()).clamp(0.05, 8.0);
            self.order(now, out);
        }
        self.flush_agg(now, out);
        self.tell_times(now, out);
        self.tell_depth(now, out, false);
    }

    /// Tells what has been collected: after it, every stream ends at the same update id.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Event>) {
        self.ran_ms = now.run_ms;
        self.flush_agg(now, out);
        self.tell_depth(now, out, true);
    }

    fn usual_size(&mut self) -> i64 {
        let usual = self.spec.usual_steps;
        self.dice.range(1, usual * 2).max(1)
    }

    fn order(&mut self, now: Now, out: &mut Vec<Event>) {
        match self.dice.range(0, 100) {
            0..=19 => self.take(now, out),
            20..=44 => self.cancel(),
            _ => self.place(),
        }
        self.tell_quote(now, out);
    }

    fn change(&mut self, side: Side, ticks: i64, steps: i64) {
        // Futures ids are shared by all symbols of an engine, so one symbol's jump.
        self.update_id += if self.kind.is_spot() { 1 } else { self.dice.range(1, 40) as u64 };
        let id = self.update_id;
        self.book.set(side, ticks, steps);
        for cadence in &mut self.cadences {
            cadence.first.get_or_insert(id);
            match side {
                Side::Bid => cadence.bids.insert(ticks),
                Side::Ask => cadence.asks.insert(ticks),
            };
        }
    }

    fn place(&mut self) {
        let side = if self.dice.chance(0.5) { Side::Bid } else { Side::Ask };
        let sign = if side == Side::Bid { -1 } else { 1 };
        let levels = self.spec.config.levels;
        if self.book.len(side) > levels + levels / 4
            && let Some((ticks, _)) = self.book.worst(side)
        {
            self.change(side, ticks, 0);
        }
        let Some([(bid, _), (ask, _)]) = self.book.best() else { return };
        let best = if side == Side::Bid { bid } else { ask };
        let ticks = if self.book.len(side) < levels {
            // Refill from behind, so that the book stays as deep as it was made.
            let (worst, _) = self.book.worst(side).unwrap_or((best, 0));
            worst + sign * (1 + self.dice.geometric(0.5, 5))
        } else if ask - bid > 1 && self.dice.chance(if ask - bid > 8 { 0.8 } else { 0.3 }) {
            best - sign
        } else {
            best + sign * self.dice.geometric(0.2, 60)
        };
        let steps = self.usual_size();
        if ticks > 0 {
            self.change(side, ticks, steps);
        }
    }

    fn cancel(&mut self) {
        let side = if self.dice.chance(0.5) { Side::Bid } else { Side::Ask };
        if self.book.len(side) < 10 {
            return;
        }
        let depth = self.dice.geometric(0.2, 40) as usize;
        let Some((ticks, steps)) = self.book.level(side, depth) else { return };
        let left = if self.dice.chance(0.4) { 0 } else { self.dice.range(0, steps) };
        self.change(side, ticks, left);
    }

    /// A taker order: walks the opposite side, one aggregate a price (spot), raw prints a maker.
    fn take(&mut self, now: Now, out: &mut Vec<Event>) {
        let Some([(bid, _), (ask, _)]) = self.book.best() else { return };
        // Drawn back to where it started, the stronger the further off.
        let off = ((bid + ask) / 2 - self.spec.start_ticks) as f64 / self.spec.start_ticks as f64;
        let buys = self.dice.chance((0.5 - off * 10.0).clamp(0.1, 0.9));
        let resting = if buys { Side::Ask } else { Side::Bid };
        let sweep = if self.dice.chance(0.15) { 3 } else { 1 };
        let wanted = (self.usual_size() * sweep / 2).max(1);
        let mut left = wanted;
        let mut last_price = 0;
        while left > 0 && self.book.len(resting) > 10 {
            let Some((ticks, steps)) = self.book.level(resting, 0) else { break };
            let fill = left.min(steps);
            self.change(resting, ticks, steps - fill);
            self.print(now, ticks, fill, !buys, out);
            left -= fill;
            last_price = ticks;
        }
        let filled = wanted - left;
        if filled > 0 && !self.kind.is_spot() {
            if now.run_ms >= self.force_after_ms && self.dice.chance(0.04) {
                // At most one a second and symbol, as the stream's sheet says.
                self.force_after_ms = now.run_ms + 1000;
                let side = if buys { "BUY" } else { "SELL" };
                let payload = payload::force_order(&self.spec, now.exchange_ms, side, last_price, filled, filled);
                let mut event = self.event(Kind::ForceOrder, "forceOrder", payload);
                event.streams.push("!forceOrder@arr".into());
                out.push(event);
            } else if self.dice.chance(0.004) {
                self.insurance(now, last_price, out);
            }
        }
    }

    fn print(&mut self, now: Now, ticks: i64, steps: i64, buyer_is_maker: bool, out: &mut Vec<Event>) {
        let makers = self.dice.range(1, 4).min(steps);
        let first = self.trade_id + 1;
        let mut left = steps;
        for maker in 0..makers {
            let part = if maker == makers - 1 { left } else { (left / (makers - maker)).max(1) };
            left -= part;
            self.trade_id += 1;
            let id = self.trade_id;
            self.day.add(id, ticks, part);
            for candle in &mut self.candles {
                candle.add(id, ticks, part, buyer_is_maker);
            }
            let text =
                payload::trade(self.kind, &self.spec, now.exchange_ms, id, ticks, part, buyer_is_maker, "MARKET");
            out.push(self.event(Kind::Trade, "trade", text));
        }
        let time_ms = now.exchange_ms;
        match &mut self.agg {
            Some(agg) if !self.kind.is_spot() && agg.ticks == ticks && agg.buyer_is_maker == buyer_is_maker => {
                (agg.steps, agg.last, agg.time_ms) = (agg.steps + steps, self.trade_id, time_ms);
            }
            _ => {
                self.flush_agg(now, out);
                self.agg = Some(Agg { id: 0, ticks, steps, first, last: self.trade_id, time_ms, buyer_is_maker });
            }
        }
        if self.kind.is_spot() {
            self.flush_agg(now, out);
        }
    }

    /// An off-book print: takes a raw id, makes no aggregate, leaves the book alone.
    fn insurance(&mut self, now: Now, ticks: i64, out: &mut Vec<Event>) {
        self.flush_agg(now, out);
        self.trade_id += 1;
        let source = if self.dice.chance(0.5) { "INSURANCE_FUND" } else { "ADL" };
        let text = payload::trade(self.kind, &self.spec, now.exchange_ms, self.trade_id, ticks, 1, true, source);
        out.push(self.event(Kind::Trade, "trade", text));
    }

    fn flush_agg(&mut self, now: Now, out: &mut Vec<Event>) {
        if let Some(mut agg) = self.agg.take() {
            self.agg_id += 1;
            agg.id = self.agg_id;
            let text = payload::agg_trade(self.kind, &self.spec, now.exchange_ms, &agg);
            out.push(self.event(Kind::AggTrade, "aggTrade", text));
        }
    }

    fn tell_quote(&mut self, now: Now, out: &mut Vec<Event>) {
        let best = self.book.best();
        if best == self.quoted {
            return;
        }
        self.quoted = best;
        if let Some(best) = best {
            let text = payload::book_ticker(self.kind, &self.spec, now.exchange_ms, self.update_id, best);
            out.push(self.event(Kind::BookTicker, "bookTicker", text));
        }
    }

    fn tell_depth(&mut self, now: Now, out: &mut Vec<Event>, all: bool) {
        for at in 0..self.cadences.len() {
            let due = self.cadences[at].rhythm.due(now.run_ms) || all;
            let Some(first) = self.cadences[at].first.filter(|_| due) else { continue };
            let cadence = &mut self.cadences[at];
            let (bids, asks) = (std::mem::take(&mut cadence.bids), std::mem::take(&mut cadence.asks));
            let ids = [first, self.update_id, cadence.previous];
            (cadence.first, cadence.previous) = (None, self.update_id);
            let (variant, suffixes) = (cadence.variant, cadence.suffixes);
            let text = |side, prices: BTreeSet<i64>| -> Vec<(String, String)> {
                prices.into_iter().map(|p| (self.spec.price(p), self.spec.size(self.book.get(side, p)))).collect()
            };
            let levels = [text(Side::Bid, bids), text(Side::Ask, asks)];
            let payload = payload::depth(self.kind, &self.symbol, now.exchange_ms, ids, [&levels[0], &levels[1]]);
            let mut event = self.event(Kind::Depth, suffixes[0], payload);
            event.streams.extend(suffixes[1..].iter().map(|suffix| format!("{}@{suffix}", self.stream)));
            event.variant = variant.into();
            if !variant.is_empty() {
                event.logged = Some(payload::depth_ids(self.kind, &self.symbol, now.exchange_ms, ids));
            }
            out.push(event);
        }
    }

    fn tell_times(&mut self, now: Now, out: &mut Vec<Event>) {
        let tell = self.kline_rhythm.due(now.run_ms);
        for at in 0..self.candles.len() {
            if now.exchange_ms > self.candles[at].close_ms() {
                let candle = &self.candles[at];
                let next = Candle::new(&candle.interval, candle.interval_ms, now.exchange_ms, candle.close);
                let closed = std::mem::replace(&mut self.candles[at], next);
                self.tell_candle(now, &closed, true, out);
            } else if tell && self.candles[at].changed {
                self.candles[at].changed = false;
                let candle = self.candles[at].clone();
                self.tell_candle(now, &candle, false, out);
            }
        }
        if self.second.due(now.run_ms) {
            if let Some(best) = self.book.best() {
                let text = payload::ticker(self.kind, &self.spec, now.exchange_ms, &self.day, best);
                out.push(self.event(Kind::Ticker, "ticker", text));
            }
            if !self.kind.is_spot() {
                self.tell_mark(now, out);
            }
        }
        if !self.kind.is_spot() && self.interest_rhythm.due(now.run_ms) {
            let usual = self.spec.usual_steps;
            self.interest_steps = (self.interest_steps + self.dice.range(-20 * usual, 20 * usual)).max(usual);
            let text = payload::open_interest(&self.symbol, &self.interest(), now.exchange_ms);
            let mut event = self.event(Kind::OpenInterest, "", text);
            event.streams.clear();
            out.push(event);
        }
    }

    fn tell_mark(&mut self, now: Now, out: &mut Vec<Event>) {
        self.funding += (self.dice.unit() - 0.5) * 1e-6;
        let text = payload::mark_price(&self.symbol, now.exchange_ms, &self.mark(now.exchange_ms));
        let mut event = self.event(Kind::MarkPrice, "markPrice@1s", text);
        // The slow form of the same stream takes every third.
        if (now.run_ms / 1000).is_multiple_of(3) {
            event.streams.push(format!("{}@markPrice", self.stream));
        }
        out.push(event);
    }

    fn tell_candle(&self, now: Now, candle: &Candle, closed: bool, out: &mut Vec<Event>) {
        let text = payload::kline(self.kind, &self.spec, now.exchange_ms, candle, closed);
        let mut event = self.event(Kind::Kline, &format!("kline_{}", candle.interval), text);
        event.variant = candle.interval.as_str().into();
        out.push(event);
    }

    fn event(&self, kind: Kind, suffix: &str, payload: String) -> Event {
        let streams = vec![format!("{}@{suffix}", self.stream)];
        Event { kind, symbol: self.symbol.clone(), variant: "".into(), streams, payload, logged: None }
    }
}
