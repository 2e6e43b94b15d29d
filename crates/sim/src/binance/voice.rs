//! What Binance says about one market: trades and aggregates, depth in its cadences, quotes, candles, figures, and on futures marks,
//! forced orders and open interest.
//!
//! Invariants: every change of a level takes a new update id of the same space that quotes and depth events carry; a depth
//! event holds the sizes after its last id; raw ids and `a` grow by one (USDⓈ-M spends a raw id without an aggregate on
//! insurance-fund prints, so `f` may exceed `prev.l + 1` there).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::payload::{self, Agg, Mark};
use crate::config::{Spec, VenueKind};
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;
use crate::world::{BookText, Candle, Day, Every, Floor, Print, Side, Voice, interval_ms};

/// Update ids a restart leaves unused: more than could have been handed out over REST without reaching the log.
const RESTART_GAP: u64 = 100_000_000;

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

/// See the module.
#[derive(Debug)]
pub struct BinanceVoice {
    kind: VenueKind,
    symbol: Arc<str>,
    stream: String,
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
}

impl BinanceVoice {
    pub fn new(
        kind: VenueKind,
        floor: &mut Floor,
        intervals: &[String],
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Self {
        let (spec, start) = (&floor.spec, floor.spec.start_ticks);
        let candles = intervals.iter().filter_map(|i| Some(Candle::new(i, interval_ms(i)?, now.exchange_ms, start)));
        let mut market = Self {
            kind,
            symbol: spec.config.symbol.as_str().into(),
            stream: spec.config.symbol.to_lowercase(),
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
        };
        match before {
            Some(truth) => market.resume(floor, truth),
            None => {
                // A new listing: ids of a plausible size, unlike between instruments.
                let base = if kind.is_spot() { 50_000_000_000 } else { 5_000_000_000_000 };
                market.update_id = base + floor.dice.range(0, 1_000_000_000) as u64;
                market.new_ids(floor);
            }
        }
        market.cadences = cadences(kind, market.update_id);
        market
    }

    fn new_ids(&mut self, floor: &mut Floor) {
        self.agg_id = 1_000_000_000 + floor.dice.range(0, 1_000_000_000) as u64;
        self.trade_id = 3_000_000_000 + floor.dice.range(0, 1_000_000_000) as u64;
    }

    /// Goes on where the truth of earlier runs ends: ids past all that were ever used.
    fn resume(&mut self, floor: &mut Floor, truth: &InstrumentTruth) {
        self.update_id = truth.last_update_id + RESTART_GAP;
        self.agg_id = truth.agg_trades.keys().next_back().copied().unwrap_or(0);
        self.trade_id = truth.trades.keys().next_back().copied().unwrap_or(0);
        if self.agg_id == 0 || self.trade_id == 0 {
            // The earlier run told no trade, so any ids are new ones.
            self.new_ids(floor);
        }
        let spec = &floor.spec;
        let mut last = spec.start_ticks;
        for trade in truth.trades.values() {
            let ticks = crate::decimal::parse(&trade.price, spec.price_scale).unwrap_or(0) / spec.tick_units;
            let steps = crate::decimal::parse(&trade.size, spec.size_scale).unwrap_or(0) / spec.step_units;
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

    fn mark(&self, floor: &Floor, exchange_ms: i64) -> Mark {
        let (spec, mid) = (&floor.spec, floor.mid());
        let eight = |ticks: i64, shift: i128| {
            let units = i128::from(ticks) * i128::from(spec.tick_units);
            let units = if spec.price_scale > 8 {
                units / 10i128.pow(spec.price_scale - 8)
            } else {
                units * 10i128.pow(8 - spec.price_scale)
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

    /// An off-book print: takes a raw id, makes no aggregate, leaves the book alone.
    fn insurance(&mut self, floor: &mut Floor, now: Now, ticks: i64, out: &mut Vec<Event>) {
        self.flush_agg(&floor.spec, now, out);
        self.trade_id += 1;
        let source = if floor.dice.chance(0.5) { "INSURANCE_FUND" } else { "ADL" };
        let text = payload::trade(self.kind, &floor.spec, now.exchange_ms, self.trade_id, ticks, 1, true, source);
        out.push(self.event(Kind::Trade, "trade", text));
    }

    fn flush_agg(&mut self, spec: &Spec, now: Now, out: &mut Vec<Event>) {
        if let Some(mut agg) = self.agg.take() {
            self.agg_id += 1;
            agg.id = self.agg_id;
            let text = payload::agg_trade(self.kind, spec, now.exchange_ms, &agg);
            out.push(self.event(Kind::AggTrade, "aggTrade", text));
        }
    }

    fn tell_depth(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>, all: bool) {
        for at in 0..self.cadences.len() {
            let due = self.cadences[at].rhythm.due(now.run_ms) || all;
            let Some(first) = self.cadences[at].first.filter(|_| due) else { continue };
            let cadence = &mut self.cadences[at];
            let (bids, asks) = (std::mem::take(&mut cadence.bids), std::mem::take(&mut cadence.asks));
            let ids = [first, self.update_id, cadence.previous];
            (cadence.first, cadence.previous) = (None, self.update_id);
            let (variant, suffixes) = (cadence.variant, cadence.suffixes);
            let text = |side, prices: BTreeSet<i64>| -> Vec<(String, String)> {
                prices.into_iter().map(|p| (floor.spec.price(p), floor.spec.size(floor.book.get(side, p)))).collect()
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

    fn tell_times(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        let tell = self.kline_rhythm.due(now.run_ms);
        for at in 0..self.candles.len() {
            if now.exchange_ms > self.candles[at].close_ms() {
                let candle = &self.candles[at];
                let next = Candle::new(&candle.interval, candle.interval_ms, now.exchange_ms, candle.close);
                let closed = std::mem::replace(&mut self.candles[at], next);
                self.tell_candle(&floor.spec, now, &closed, true, out);
            } else if tell && self.candles[at].changed {
                self.candles[at].changed = false;
                let candle = self.candles[at].clone();
                self.tell_candle(&floor.spec, now, &candle, false, out);
            }
        }
        if self.second.due(now.run_ms) {
            if let Some(best) = floor.book.best() {
                let text = payload::ticker(self.kind, &floor.spec, now.exchange_ms, &self.day, best);
                out.push(self.event(Kind::Ticker, "ticker", text));
            }
            if !self.kind.is_spot() {
                self.tell_mark(floor, now, out);
            }
        }
        if !self.kind.is_spot() && self.interest_rhythm.due(now.run_ms) {
            let usual = floor.spec.usual_steps;
            self.interest_steps = (self.interest_steps + floor.dice.range(-20 * usual, 20 * usual)).max(usual);
            let text = payload::open_interest(&self.symbol, &floor.spec.size(self.interest_steps), now.exchange_ms);
            let mut event = self.event(Kind::OpenInterest, "", text);
            event.streams.clear();
            out.push(event);
        }
    }

    fn tell_mark(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.funding += (floor.dice.unit() - 0.5) * 1e-6;
        let text = payload::mark_price(&self.symbol, now.exchange_ms, &self.mark(floor, now.exchange_ms));
        let mut event = self.event(Kind::MarkPrice, "markPrice@1s", text);
        // The slow form of the same stream takes every third.
        if (now.run_ms / 1000).is_multiple_of(3) {
            event.streams.push(format!("{}@markPrice", self.stream));
        }
        out.push(event);
    }

    fn tell_candle(&self, spec: &Spec, now: Now, candle: &Candle, closed: bool, out: &mut Vec<Event>) {
        let text = payload::kline(self.kind, spec, now.exchange_ms, candle, closed);
        let mut event = self.event(Kind::Kline, &format!("kline_{}", candle.interval), text);
        event.variant = candle.interval.as_str().into();
        out.push(event);
    }

    fn event(&self, kind: Kind, suffix: &str, payload: String) -> Event {
        let streams = vec![format!("{}@{suffix}", self.stream)];
        Event { kind, symbol: self.symbol.clone(), variant: "".into(), streams, payload, logged: None }
    }
}

impl Voice for BinanceVoice {
    fn changed(&mut self, floor: &mut Floor, side: Side, ticks: i64) {
        // Futures ids are shared by all symbols of an engine, so one symbol's jump.
        self.update_id += if self.kind.is_spot() { 1 } else { floor.dice.range(1, 40) as u64 };
        for cadence in &mut self.cadences {
            cadence.first.get_or_insert(self.update_id);
            match side {
                Side::Bid => cadence.bids.insert(ticks),
                Side::Ask => cadence.asks.insert(ticks),
            };
        }
    }

    fn printed(&mut self, floor: &mut Floor, now: Now, print: Print, out: &mut Vec<Event>) {
        let Print { ticks, steps, seller_took: buyer_is_maker } = print;
        let makers = floor.dice.range(1, 4).min(steps);
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
                payload::trade(self.kind, &floor.spec, now.exchange_ms, id, ticks, part, buyer_is_maker, "MARKET");
            out.push(self.event(Kind::Trade, "trade", text));
        }
        let time_ms = now.exchange_ms;
        match &mut self.agg {
            Some(agg) if !self.kind.is_spot() && agg.ticks == ticks && agg.buyer_is_maker == buyer_is_maker => {
                (agg.steps, agg.last, agg.time_ms) = (agg.steps + steps, self.trade_id, time_ms);
            }
            _ => {
                self.flush_agg(&floor.spec, now, out);
                self.agg = Some(Agg { id: 0, ticks, steps, first, last: self.trade_id, time_ms, buyer_is_maker });
            }
        }
        if self.kind.is_spot() {
            self.flush_agg(&floor.spec, now, out);
        }
    }

    fn took(&mut self, floor: &mut Floor, now: Now, Print { ticks, steps, seller_took }: Print, out: &mut Vec<Event>) {
        if self.kind.is_spot() {
            return;
        }
        if now.run_ms >= self.force_after_ms && floor.dice.chance(0.04) {
            // At most one a second and symbol, as the stream's sheet says.
            self.force_after_ms = now.run_ms + 1000;
            let side = if seller_took { "SELL" } else { "BUY" };
            let payload = payload::force_order(&floor.spec, now.exchange_ms, side, ticks, steps, steps);
            let mut event = self.event(Kind::ForceOrder, "forceOrder", payload);
            event.streams.push("!forceOrder@arr".into());
            out.push(event);
        } else if floor.dice.chance(0.004) {
            self.insurance(floor, now, ticks, out);
        }
    }

    fn ordered(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        let best = floor.book.best();
        if best == self.quoted {
            return;
        }
        self.quoted = best;
        if let Some(best) = best {
            let text = payload::book_ticker(self.kind, &floor.spec, now.exchange_ms, self.update_id, best);
            out.push(self.event(Kind::BookTicker, "bookTicker", text));
        }
    }

    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.flush_agg(&floor.spec, now, out);
        self.tell_times(floor, now, out);
        self.tell_depth(floor, now, out, false);
    }

    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.flush_agg(&floor.spec, now, out);
        self.tell_depth(floor, now, out, true);
    }

    fn book(&self, floor: &Floor, limit: usize) -> BookText {
        floor.book.text(&floor.spec, self.update_id, limit)
    }
}
