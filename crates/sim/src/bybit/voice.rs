//! What Bybit says about one market.
//!
//! Invariants: one taker is one message of trades, whose ids nobody can count; each depth is a stream of its own with a `u` of its own, and all
//! share `seq`; the first message of every stream is whole, and so is what a new subscriber gets: as last told, with the times of then.

use std::sync::Arc;

use super::category::Category;
use super::payload::{self, Match};
use super::stream::Stream;
use super::ticker::{self, Fields, Figures};
use crate::config::VenueConfig;
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;
use crate::world::{BookText, Candle, Day, Every, Floor, Print, Side, Voice, interval_ms};

/// Streams of books: levels a side, and how often. The truth holds the second, which is what clients take where they are not told.
const STREAMS: [(usize, u64); 3] = [(50, 20), (200, 100), (1_000, 200)];
pub const TRUTH: usize = 1;
/// Best prices that do not change are told again after so long, unless the configuration says otherwise.
const IDLE_PUSH_MS: u64 = 3_000;
/// Ids that a restart of the simulation leaves unused.
const RESTART_GAP: u64 = 100_000_000;
/// Spot's ids are numbers of this size.
const SPOT_IDS: u64 = 2_290_000_000_000_000_000;
const EIGHT_HOURS_MS: i64 = 8 * 3_600_000;

/// `orderbook.1` as last told.
#[derive(Debug)]
struct Best {
    u: u64,
    told: Option<[(i64, i64); 2]>,
    seq: u64,
    cts: i64,
    at_run_ms: u64,
    anew: bool,
}

/// The ticker as last told.
#[derive(Debug)]
struct Ticker {
    fields: Fields,
    at_ms: i64,
    seq: u64,
}

/// See the module.
#[derive(Debug)]
pub struct BybitVoice {
    category: Category,
    symbol: Arc<str>,
    seq: u64,
    trade_id: u64,
    /// Of the taker at hand.
    printed: Vec<Match>,
    rose: bool,
    books: [Stream; 3],
    best: Best,
    idle_push_ms: u64,
    restarted: bool,
    candles: Vec<Candle>,
    day: Day,
    ticker: Option<Ticker>,
    mark: i64,
    rate: f64,
    interest: i64,
    forced: Vec<String>,
    bests: Every,
    tickers: Every,
    seconds: Every,
    forces: Every,
    interests: Every,
    rates: Every,
}

/// `1m` → `1`: how Bybit calls it.
fn interval(name: &str) -> Option<&'static str> {
    Some(match name {
        "1m" => "1",
        "3m" => "3",
        "5m" => "5",
        "15m" => "15",
        "30m" => "30",
        "1h" => "60",
        _ => return None,
    })
}

impl BybitVoice {
    pub fn new(config: &VenueConfig, floor: &mut Floor, before: Option<&InstrumentTruth>, now: Now) -> Self {
        let (symbol, start) = (floor.spec.config.symbol.clone(), floor.spec.start_ticks);
        let category = Category::of(config.kind);
        let candles = config
            .kline_intervals
            .iter()
            .filter_map(|i| interval(i).and(Some(Candle::new(i, interval_ms(i)?, now.exchange_ms, start))));
        let first = 10_000_000 + floor.dice.range(0, 50_000_000) as u64;
        let mut voice = Self {
            category,
            seq: 66_000_000_000 + floor.dice.range(0, 1_000_000_000) as u64,
            trade_id: if category.is_derivative() { 0 } else { SPOT_IDS },
            printed: Vec::new(),
            rose: true,
            books: STREAMS.map(|(depth, every_ms)| Stream::new(&symbol, depth, every_ms, first)),
            best: Best { u: first, told: None, seq: 0, cts: 0, at_run_ms: 0, anew: false },
            idle_push_ms: config.limits.idle_push_ms.unwrap_or(IDLE_PUSH_MS),
            restarted: false,
            candles: candles.collect(),
            day: Day::new(start),
            ticker: None,
            mark: start,
            rate: 0.0001,
            interest: floor.spec.usual_steps * 40_000,
            forced: Vec::new(),
            bests: Every::new(10),
            tickers: Every::new(if category.is_derivative() { 100 } else { 50 }),
            seconds: Every::new(1_000),
            forces: Every::new(500),
            interests: Every::new(3_000),
            rates: Every::new(30_000),
            symbol: symbol.as_str().into(),
        };
        if let Some(truth) = before {
            voice.resume(floor, truth);
        }
        voice
    }

    /// Goes on where the truth of earlier runs ends: ids past all that were ever used.
    fn resume(&mut self, floor: &Floor, truth: &InstrumentTruth) {
        let spec = &floor.spec;
        let first = truth.last_update_id + RESTART_GAP;
        self.books.iter_mut().for_each(|stream| stream.u = first);
        self.best.u = first;
        self.seq += truth.last_update_id + RESTART_GAP;
        let units = |text: &str, scale, unit| crate::decimal::parse(text, scale).unwrap_or(0) / unit;
        for trade in truth.trades.values() {
            self.trade_id = trade.id;
            let ticks = units(&trade.price, spec.price_scale, spec.tick_units);
            let steps = units(&trade.size, spec.size_scale, spec.step_units);
            self.day.add(trade.id, ticks, steps);
            for candle in self.candles.iter_mut().filter(|candle| trade.time_ms >= candle.open_ms) {
                candle.add(trade.id, ticks, steps, trade.buyer_is_maker);
            }
        }
        let last = self.day.last;
        for candle in self.candles.iter_mut().filter(|candle| candle.count == 0) {
            (candle.open, candle.high, candle.low, candle.close) = (last, last, last, last);
        }
    }

    fn event(&self, kind: Kind, topic: &str, payload: String) -> Event {
        let streams = vec![topic.to_owned()];
        Event { kind, symbol: self.symbol.clone(), variant: "".into(), streams, payload, logged: None }
    }

    fn topic(&self, channel: &str) -> String {
        format!("{channel}.{}", self.symbol)
    }

    fn tell_books(&mut self, floor: &Floor, now: Now, all: bool, out: &mut Vec<Event>) {
        for at in 0..self.books.len() {
            let stream = &mut self.books[at];
            if !(stream.every.due(now.run_ms) || all) {
                continue;
            }
            let Some(said) = stream.next(floor, self.category, now, self.seq) else { continue };
            let (topic, depth) = (self.books[at].topic.clone(), self.books[at].depth);
            let mut event = self.event(Kind::Depth, &topic, said.wire);
            event.logged = said.truth;
            if at != TRUTH {
                // Its levels are those of the others: ids are enough.
                let stream = &self.books[at];
                let (ts, u, seq) = (now.exchange_ms, stream.u, self.seq);
                let ids = payload::Book { topic: &topic, kind: "delta", ts, cts: ts, u, seq };
                event.variant = depth.to_string().as_str().into();
                event.logged = Some(payload::book(&floor.spec, self.category, ids, [&[], &[]], None));
            }
            out.push(event);
        }
    }

    fn best_message(&self, floor: &Floor, best: [(i64, i64); 2], ts: i64) -> String {
        let spec = &floor.spec;
        let [bid, ask] = best.map(|(p, q)| [(spec.price(p), spec.size(q))]);
        let topic = self.topic("orderbook.1");
        let (cts, u, seq) = (self.best.cts, self.best.u, self.best.seq);
        let message = payload::Book { topic: &topic, kind: "snapshot", ts, cts, u, seq };
        payload::book(spec, self.category, message, [&bid, &ask], None)
    }

    fn tell_best(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let Some(best) = floor.book.best() else { return };
        let still = self.best.told == Some(best) && !self.best.anew;
        if still && now.run_ms < self.best.at_run_ms + self.idle_push_ms {
            return;
        }
        self.best.at_run_ms = now.run_ms;
        if !still {
            self.best.u = if std::mem::take(&mut self.best.anew) { 1 } else { self.best.u + 1 };
            (self.best.told, self.best.seq, self.best.cts) = (Some(best), self.seq, now.exchange_ms);
        }
        let text = self.best_message(floor, best, now.exchange_ms);
        // One that repeats its id says nothing new, and its loss leaves no trace.
        let kind = if still { Kind::Other } else { Kind::BookTicker };
        out.push(self.event(kind, &self.topic("orderbook.1"), text));
    }

    fn tell_ticker(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        let Some(best) = floor.book.best() else { return };
        let prices = [self.mark + 1, self.mark + 3];
        let next_funding_ms = now.exchange_ms - now.exchange_ms.rem_euclid(EIGHT_HOURS_MS) + EIGHT_HOURS_MS;
        let (interest, rate) = (self.interest, self.rate);
        let figures = Figures { day: &self.day, best, prices, interest, rate, next_funding_ms };
        let (category, at) = (self.category, (now.exchange_ms, self.seq));
        let fields = ticker::fields(&floor.spec, category, &figures);
        let before = self.ticker.as_ref().map(|told| &told.fields);
        let told = before.map_or_else(|| fields.iter().collect(), |before| ticker::changed(before, &fields));
        if told.is_empty() {
            return;
        }
        // Deltas are for derivatives, and for those who have the whole.
        let whole = before.is_none() || category == Category::Spot;
        let kind = if whole { "snapshot" } else { "delta" };
        let wire = match whole {
            true => ticker::message(category, &self.symbol, kind, at, &fields, None),
            false => ticker::message(category, &self.symbol, kind, at, told.iter().copied(), None),
        };
        let kept = ticker::message(category, &self.symbol, kind, at, &fields, Some(&told));
        let mut event = self.event(Kind::Ticker, &self.topic("tickers"), wire);
        event.logged = Some(kept);
        out.push(event);
        self.ticker = Some(Ticker { fields, at_ms: at.0, seq: at.1 });
    }

    fn tell_candles(&mut self, floor: &Floor, now: Now, tell: bool, out: &mut Vec<Event>) {
        for at in 0..self.candles.len() {
            let candle = &mut self.candles[at];
            let closed = now.exchange_ms > candle.close_ms();
            if !(closed || tell && candle.changed) {
                continue;
            }
            candle.changed = false;
            let Some(name) = interval(&candle.interval) else { continue };
            let text = payload::candle(&floor.spec, self.category, name, now.exchange_ms, candle, closed);
            let variant = candle.interval.clone();
            if closed {
                *candle = Candle::new(&variant, candle.interval_ms, now.exchange_ms, candle.close);
            }
            let mut event = self.event(Kind::Kline, &self.topic(&format!("kline.{name}")), text);
            event.variant = variant.as_str().into();
            out.push(event);
        }
    }

    fn tell_forced(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        if !self.forced.is_empty() {
            let rows = std::mem::take(&mut self.forced);
            let text = payload::liquidations(&floor.spec, self.category, now.exchange_ms, &rows);
            out.push(self.event(Kind::ForceOrder, &self.topic("allLiquidation"), text));
        }
    }
}

impl Voice for BybitVoice {
    /// The listing's book is what the venue has told: the truth begins with it.
    fn listed(&mut self, floor: &Floor, now: Now) {
        let seq = self.seq;
        self.books.iter_mut().for_each(|stream| stream.listed(floor, now, seq));
    }

    /// What was said in the past was heard by nobody.
    fn begins(&mut self) {
        self.forced.clear();
        (self.ticker, self.best.told) = (None, None);
    }

    fn changed(&mut self, floor: &mut Floor, _side: Side, _ticks: i64) {
        self.seq += floor.dice.range(1, 8) as u64;
        self.books.iter_mut().for_each(|stream| stream.moved = true);
    }

    fn printed(&mut self, floor: &mut Floor, now: Now, print: Print, out: &mut Vec<Event>) {
        // A minute that is over has ended before the first match of the next one.
        self.tell_candles(floor, now, false, out);
        let Print { ticks, steps, seller_took } = print;
        let makers = floor.dice.range(1, 4).min(steps);
        let mut left = steps;
        for maker in 0..makers {
            let part = if maker == makers - 1 { left } else { (left / (makers - maker)).max(1) };
            left -= part;
            self.trade_id += 1;
            let direction = payload::direction(self.day.last, ticks, self.rose);
            self.rose = matches!(direction, "PlusTick" | "ZeroPlusTick");
            self.printed.push(Match { id: self.trade_id, ticks, steps: part, seller_took, direction });
            self.day.add(self.trade_id, ticks, part);
            self.candles.iter_mut().for_each(|candle| candle.add(self.trade_id, ticks, part, seller_took));
        }
    }

    fn took(&mut self, floor: &mut Floor, now: Now, all: Print, out: &mut Vec<Event>) {
        let matches = std::mem::take(&mut self.printed);
        let text = payload::trades(&floor.spec, self.category, now.exchange_ms, &matches, self.seq);
        out.push(self.event(Kind::Trade, &self.topic("publicTrade"), text));
        if self.category.is_derivative() && floor.dice.chance(0.06) {
            let Print { ticks, steps, seller_took } = all;
            self.forced.push(payload::liquidated(&floor.spec, now.exchange_ms, ticks, steps, seller_took));
        }
    }

    fn ordered(&mut self, _floor: &mut Floor, _now: Now, _out: &mut Vec<Event>) {}

    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        if self.bests.due(now.run_ms) {
            self.tell_best(floor, now, out);
        }
        self.tell_books(floor, now, false, out);
        let second = self.seconds.due(now.run_ms);
        if second {
            self.mark = floor.mid();
        }
        if self.category.is_derivative() {
            if self.interests.due(now.run_ms) {
                let usual = floor.spec.usual_steps;
                self.interest = (self.interest + floor.dice.range(-20 * usual, 20 * usual)).max(usual);
            }
            if self.rates.due(now.run_ms) {
                self.rate += (floor.dice.unit() - 0.5) * 1e-5;
            }
        }
        if self.tickers.due(now.run_ms) {
            self.tell_ticker(floor, now, out);
        }
        self.tell_candles(floor, now, second, out);
        if self.forces.due(now.run_ms) {
            self.tell_forced(floor, now, out);
        }
    }

    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.tell_best(floor, now, out);
        self.tell_books(floor, now, true, out);
        self.tell_forced(floor, now, out);
    }

    fn book(&self, floor: &Floor, limit: usize) -> BookText {
        self.books[TRUTH].text(&floor.spec, limit)
    }

    fn welcome(&self, floor: &Floor, stream: &str) -> Vec<String> {
        if let Some(book) = self.books.iter().find(|book| book.topic == stream) {
            return vec![book.snapshot(&floor.spec, self.category)];
        }
        let channel = stream.strip_suffix(&*self.symbol).unwrap_or_default();
        match (channel, self.best.told, &self.ticker) {
            ("orderbook.1.", Some(best), _) => vec![self.best_message(floor, best, self.best.cts)],
            ("tickers.", _, Some(told)) => {
                let at = (told.at_ms, told.seq);
                vec![ticker::message(self.category, &self.symbol, "snapshot", at, &told.fields, None)]
            }
            _ => Vec::new(),
        }
    }

    fn definition(&self, floor: &Floor) -> String {
        payload::instrument(&floor.spec, self.category)
    }

    /// A restart of the service: every book begins anew at 1. Once: a second time its ids would be those of the first.
    fn reset_ids(&mut self) -> bool {
        if std::mem::replace(&mut self.restarted, true) {
            return false;
        }
        self.books.iter_mut().for_each(Stream::restart);
        self.best.anew = true;
        true
    }
}
