//! What OKX says about one market.
//!
//! Invariants: every change of the book takes a new `seqId`, which books, best prices and groups of trades share; what `books` has pushed is
//! kept as [`Told`], and each push is the difference between that and the best 400 levels of now, so a level that leaves them is
//! deleted and one that returns is set; match ids grow by one, a group covers those of one taker at one price.

use std::collections::VecDeque;
use std::sync::Arc;

use super::payload::{self, Match};
use super::product::{Product, index_of};
use crate::config::{Spec, VenueConfig};
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;
use crate::world::{BookText, Candle, Day, Every, Floor, Levels, Print, Side, Voice, difference, interval_ms, top};

/// Levels a side of `books`.
const DEPTH: usize = 400;
/// Ids that a restart leaves unused.
const RESTART_GAP: u64 = 100_000_000;
/// How far a maintenance throws the ids back: no id comes twice.
const RESET_BY: u64 = 1_000_000_000;
/// A book that does not change is repeated so often, unless the configuration says otherwise.
const IDLE_PUSH_MS: u64 = 60_000;
/// Forced orders that a new subscription is told again.
const REPEATED: usize = 5;

/// What the stream has said of the book.
#[derive(Debug, Default)]
struct Told {
    bids: Levels,
    asks: Levels,
    seq: u64,
    at_run_ms: u64,
    at_ms: i64,
}

impl Told {
    fn text(&self, spec: &Spec, limit: usize) -> [Vec<(String, String)>; 2] {
        let text = |(p, q): (&i64, &i64)| (spec.price(*p), spec.size(*q));
        [self.bids.iter().rev().take(limit).map(text).collect(), self.asks.iter().take(limit).map(text).collect()]
    }
}

/// See the module.
#[derive(Debug)]
pub struct OkxVoice {
    product: Product,
    symbol: Arc<str>,
    seq: u64,
    trade_id: u64,
    told: Told,
    idle_push_ms: u64,
    quoted: Option<[(i64, i64); 2]>,
    candles: Vec<Candle>,
    day: Day,
    /// What the ticker said last: trades and best prices.
    ticked: Option<(u64, [(i64, i64); 2])>,
    marked: Option<i64>,
    funding: f64,
    interest_steps: i64,
    force_after_ms: u64,
    forced: VecDeque<String>,
    books: Every,
    bests: Every,
    tickers: Every,
    marks: Every,
    seconds: Every,
    interests: Every,
    fundings: Every,
}

impl OkxVoice {
    pub fn new(config: &VenueConfig, floor: &mut Floor, before: Option<&InstrumentTruth>, now: Now) -> Self {
        let (symbol, start) = (floor.spec.config.symbol.clone(), floor.spec.start_ticks);
        let candles =
            config.kline_intervals.iter().filter_map(|i| Some(Candle::new(i, interval_ms(i)?, now.exchange_ms, start)));
        let mut voice = Self {
            product: Product::of(&symbol),
            seq: 10_000_000_000 + floor.dice.range(0, 1_000_000_000) as u64,
            // A listing's first match is 1.
            trade_id: 0,
            symbol: symbol.as_str().into(),
            told: Told::default(),
            idle_push_ms: config.limits.idle_push_ms.unwrap_or(IDLE_PUSH_MS),
            quoted: None,
            candles: candles.collect(),
            day: Day::new(start),
            ticked: None,
            marked: None,
            funding: 0.0001,
            interest_steps: floor.spec.usual_steps * 40_000,
            force_after_ms: 0,
            forced: VecDeque::new(),
            books: Every::new(100),
            bests: Every::new(10),
            tickers: Every::new(100),
            marks: Every::new(200),
            seconds: Every::new(1_000),
            interests: Every::new(3_000),
            fundings: Every::new(30_000),
        };
        if let Some(truth) = before {
            voice.resume(&floor.spec, truth);
        }
        voice
    }

    /// Goes on where the truth of earlier runs ends: ids past all that were ever used.
    fn resume(&mut self, spec: &Spec, truth: &InstrumentTruth) {
        self.seq = truth.last_update_id + RESTART_GAP;
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

    fn event(&self, kind: Kind, channel: &str, subject: &str, payload: String) -> Event {
        let streams = vec![format!("{channel}:{subject}")];
        Event { kind, symbol: self.symbol.clone(), variant: "".into(), streams, payload, logged: None }
    }

    fn mine(&self, kind: Kind, channel: &str, payload: String) -> Event {
        self.event(kind, channel, &self.symbol, payload)
    }

    fn tell_book(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let (bids, asks) = (top(floor, Side::Bid, DEPTH), top(floor, Side::Ask, DEPTH));
        let spec = &floor.spec;
        let text = |changes: Vec<(i64, i64)>| -> Vec<(String, String)> {
            changes.into_iter().map(|(p, q)| (spec.price(p), spec.size(q))).collect()
        };
        let mut changes = [text(difference(&self.told.bids, &bids)), text(difference(&self.told.asks, &asks))];
        changes[0].reverse();
        let still = changes.iter().all(Vec::is_empty);
        if still && now.run_ms < self.told.at_run_ms + self.idle_push_ms {
            return;
        }
        let previous = self.told.seq;
        // A heartbeat repeats the id. No book is made of it, so the truth keeps it among the rest: its loss leaves no trace.
        let (seq, kind) = if still { (previous, Kind::Other) } else { (self.seq, Kind::Depth) };
        self.told = Told { bids, asks, seq, at_run_ms: now.run_ms, at_ms: now.exchange_ms };
        let payload = payload::book([&changes[0], &changes[1]], now.exchange_ms, previous as i64, seq);
        out.push(self.mine(kind, "books", payload));
    }

    fn tell_best(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let best = floor.book.best();
        if best == self.quoted {
            return;
        }
        self.quoted = best;
        if let Some(best) = best {
            let text = payload::best(&floor.spec, now.exchange_ms, self.seq, best);
            out.push(self.mine(Kind::BookTicker, "bbo-tbt", text));
        }
    }

    fn tell_ticker(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let Some(best) = floor.book.best() else { return };
        if self.ticked.replace((self.day.count, best)) != Some((self.day.count, best)) {
            let text = payload::ticker(&floor.spec, self.product, now.exchange_ms, &self.day, best);
            out.push(self.mine(Kind::Ticker, "tickers", text));
        }
    }

    fn tell_candles(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let tell = self.seconds.due(now.run_ms);
        for at in 0..self.candles.len() {
            let candle = &mut self.candles[at];
            let closed = now.exchange_ms > candle.close_ms();
            if !(closed || tell && candle.changed) {
                continue;
            }
            candle.changed = false;
            let text = payload::candle(&floor.spec, candle, closed);
            let interval = candle.interval.clone();
            if closed {
                *candle = Candle::new(&interval, candle.interval_ms, now.exchange_ms, candle.close);
            }
            let mut event = self.mine(Kind::Kline, &format!("candle{}", interval.replace('h', "H")), text);
            event.variant = interval.as_str().into();
            out.push(event);
        }
    }

    /// Mark, index, funding and open interest: not spot.
    fn tell_derivative(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        let (at, index) = (now.exchange_ms, index_of(&self.symbol).to_owned());
        let mid = floor.mid();
        if self.marks.due(now.run_ms) && self.marked.replace(mid) != Some(mid) {
            let text = payload::mark(&self.symbol, &floor.spec.price(mid + 1), at);
            out.push(self.mine(Kind::MarkPrice, "mark-price", text));
            let text = payload::index(&index, &floor.spec.price(mid + 3), at);
            out.push(self.event(Kind::MarkPrice, "index-tickers", &index, text));
        }
        if self.fundings.due(now.run_ms) {
            self.funding += (floor.dice.unit() - 0.5) * 1e-5;
            let text = payload::funding(&self.symbol, self.funding, at);
            out.push(self.mine(Kind::MarkPrice, "funding-rate", text));
        }
        if self.interests.due(now.run_ms) {
            let usual = floor.spec.usual_steps;
            self.interest_steps = (self.interest_steps + floor.dice.range(-20 * usual, 20 * usual)).max(usual);
            let text = payload::open_interest(&self.symbol, &floor.spec.size(self.interest_steps), at);
            out.push(self.mine(Kind::OpenInterest, "open-interest", text));
        }
    }
}

impl Voice for OkxVoice {
    /// The listing's book is what the venue has told: the truth begins with it.
    fn listed(&mut self, floor: &Floor, now: Now) {
        let (bids, asks) = (top(floor, Side::Bid, DEPTH), top(floor, Side::Ask, DEPTH));
        self.told = Told { bids, asks, seq: self.seq, at_run_ms: now.run_ms, at_ms: now.exchange_ms };
    }

    fn begins(&mut self) {
        self.forced.clear();
    }

    fn changed(&mut self, floor: &mut Floor, _side: Side, _ticks: i64) {
        self.seq += floor.dice.range(1, 8) as u64;
    }

    fn printed(&mut self, floor: &mut Floor, now: Now, print: Print, out: &mut Vec<Event>) {
        let Print { ticks, steps, seller_took } = print;
        let makers = floor.dice.range(1, 4).min(steps);
        let mut left = steps;
        for maker in 0..makers {
            let part = if maker == makers - 1 { left } else { (left / (makers - maker)).max(1) };
            left -= part;
            self.trade_id += 1;
            let one = Match { id: self.trade_id, ticks, steps: part, seller_took };
            self.day.add(one.id, ticks, part);
            self.candles.iter_mut().for_each(|candle| candle.add(one.id, ticks, part, seller_took));
            out.push(self.mine(Kind::Trade, "trades-all", payload::trade(&floor.spec, now.exchange_ms, one)));
        }
        let all = Match { id: self.trade_id, ticks, steps, seller_took };
        let text = payload::group(&floor.spec, now.exchange_ms, all, makers as u64, self.seq);
        out.push(self.mine(Kind::AggTrade, "trades", text));
    }

    fn took(&mut self, floor: &mut Floor, now: Now, all: Print, out: &mut Vec<Event>) {
        // At most one a second and contract.
        if self.product == Product::Spot || now.run_ms < self.force_after_ms || !floor.dice.chance(0.04) {
            return;
        }
        self.force_after_ms = now.run_ms + 1_000;
        let one = Match { id: 0, ticks: all.ticks, steps: all.steps, seller_took: all.seller_took };
        let text = payload::liquidation(&floor.spec, index_of(&self.symbol), now.exchange_ms, one);
        self.forced.push_back(text.clone());
        if self.forced.len() > REPEATED {
            self.forced.pop_front();
        }
        out.push(self.event(Kind::ForceOrder, "liquidation-orders", self.product.as_str(), text));
    }

    fn ordered(&mut self, _floor: &mut Floor, _now: Now, _out: &mut Vec<Event>) {}

    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        // The order in which one connection gets them: best prices first.
        if self.bests.due(now.run_ms) {
            self.tell_best(floor, now, out);
        }
        if self.books.due(now.run_ms) {
            self.tell_book(floor, now, out);
        }
        if self.tickers.due(now.run_ms) {
            self.tell_ticker(floor, now, out);
        }
        self.tell_candles(floor, now, out);
        if self.product == Product::Swap {
            self.tell_derivative(floor, now, out);
        }
    }

    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.tell_best(floor, now, out);
        self.tell_book(floor, now, out);
    }

    fn book(&self, floor: &Floor, limit: usize) -> BookText {
        let [bids, asks] = self.told.text(&floor.spec, limit);
        BookText { last_update_id: self.told.seq, bids, asks }
    }

    fn welcome(&self, floor: &Floor, stream: &str) -> Vec<String> {
        let (channel, subject) = stream.split_once(':').unwrap_or((stream, ""));
        let kind = self.product.as_str();
        match channel {
            "books" if subject == &*self.symbol => {
                let [bids, asks] = self.told.text(&floor.spec, DEPTH);
                vec![payload::book([&bids, &asks], self.told.at_ms, -1, self.told.seq)]
            }
            "instruments" if subject == kind => vec![self.definition(floor)],
            // A new subscription is told some old ones again.
            "liquidation-orders" if subject == kind => self.forced.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn definition(&self, floor: &Floor) -> String {
        payload::instrument(&floor.spec, self.product, index_of(&self.symbol))
    }

    /// Maintenance: the ids begin anew at a smaller number, and the next push says so.
    fn reset_ids(&mut self) -> bool {
        self.seq = self.seq.saturating_sub(RESET_BY);
        true
    }
}
