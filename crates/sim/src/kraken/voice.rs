//! What Kraken says about one market.
//!
//! Invariants: each message of the deepest book takes the next number of the truth, which the wire does not have; ids of trades grow by one, and
//! no trade has an earlier time than the one before, whatever the venue's clock does; a taker's matches are one message of one time; a
//! bar is told as it runs, and no message closes it; what a subscription begins with is what was last told.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::payload::{self, Digits, Match};
use super::top::{Changed, Moved, Top};
use super::{DEPTHS, truth};
use crate::config::{Spec, VenueConfig};
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;
use crate::world::{BookText, Candle, Day, Every, Floor, Print, Side, Voice, interval_ms};

/// Trades that a new subscriber is told.
const TRADES: usize = 50;
/// Bars that a new subscriber is told.
const BARS: usize = 100;
/// Numbers that a restart leaves unused.
const RESTART_GAP: u64 = 100_000_000;

/// One interval's bar, and those told, oldest first: begin and row.
#[derive(Debug)]
struct Bars {
    minutes: u32,
    now: Candle,
    told: VecDeque<(i64, String)>,
    told_ms: i64,
}

/// See the module.
#[derive(Debug)]
pub struct KrakenVoice {
    symbol: Arc<str>,
    n: u64,
    /// Deepest last: the truth's.
    tops: Vec<Top>,
    changed: Changed,
    booked_ms: i64,
    trade_id: u64,
    traded_ms: i64,
    /// Matches of the taker at work.
    taken: Vec<Match>,
    recent: VecDeque<String>,
    quoted: Option<[(i64, i64); 2]>,
    /// Rows of both tickers as last told.
    tickers: [Option<String>; 2],
    /// How many trades each of them knew of.
    counted: [Option<u64>; 2],
    day: Day,
    bars: Vec<Bars>,
    position_limit: u32,
    books: Every,
    bests: Every,
    definitions: Every,
}

impl KrakenVoice {
    pub fn new(config: &VenueConfig, floor: &mut Floor, before: Option<&InstrumentTruth>, now: Now) -> Self {
        let (symbol, start) = (floor.spec.config.symbol.clone(), floor.spec.start_ticks);
        let bars = |interval: &String| {
            let now = Candle::new(interval, interval_ms(interval)?, now.exchange_ms, start);
            Some(Bars { minutes: payload::minutes(interval)?, now, told: VecDeque::new(), told_ms: 0 })
        };
        let mut voice = Self {
            symbol: symbol.as_str().into(),
            n: 10_000_000_000,
            tops: DEPTHS.map(Top::new).into(),
            changed: Changed::default(),
            booked_ms: now.exchange_ms,
            trade_id: floor.dice.range(1_000, 1_000_000) as u64,
            traded_ms: 0,
            taken: Vec::new(),
            recent: VecDeque::new(),
            quoted: None,
            tickers: [None, None],
            counted: [None, None],
            day: Day::new(start),
            bars: config.kline_intervals.iter().filter_map(bars).collect(),
            position_limit: 300,
            books: Every::new(10),
            bests: Every::new(10),
            definitions: Every::new(30_000),
        };
        if let Some(truth) = before {
            voice.resume(&floor.spec, truth);
        }
        voice
    }

    /// Goes on where the truth of earlier runs ends.
    fn resume(&mut self, spec: &Spec, known: &InstrumentTruth) {
        self.n = known.last_update_id + RESTART_GAP;
        let units = |text: &str, scale, unit| crate::decimal::parse(text, scale).unwrap_or(0) / unit;
        for trade in known.trades.values() {
            let one = Match {
                id: trade.id,
                ticks: units(&trade.price, spec.price_scale, spec.tick_units),
                steps: units(&trade.size, spec.size_scale, spec.step_units),
                seller_took: trade.buyer_is_maker,
                at_ms: trade.time_ms,
            };
            (self.trade_id, self.traded_ms) = (one.id, one.at_ms);
            self.count(one);
            self.remember(payload::trade(spec, one, Digits::Bare));
        }
        for stated in &known.klines {
            let bars = self.bars.iter_mut().find(|bars| bars.now.interval == stated.variant);
            if let (Some(bars), Some(open_ms)) = (bars, truth::begin_of(&stated.payload)) {
                bars.tell(open_ms, (stated.wall_ns / 1_000_000) as i64, payload::bare(&stated.payload));
            }
        }
    }

    fn event(&self, kind: Kind, variant: &str, stream: String, payload: String, logged: String) -> Event {
        let streams = if stream.is_empty() { Vec::new() } else { vec![stream] };
        Event { kind, symbol: self.symbol.clone(), variant: variant.into(), streams, payload, logged: Some(logged) }
    }

    fn mine(&self, channel: &str) -> String {
        format!("{channel}:{}", self.symbol)
    }

    /// The day and the bars know of a match.
    fn count(&mut self, one: Match) {
        self.day.add(one.id, one.ticks, one.steps);
        for bars in &mut self.bars {
            if one.at_ms > bars.now.close_ms() {
                let Candle { interval, interval_ms, close, .. } = &bars.now;
                bars.now = Candle::new(interval, *interval_ms, one.at_ms, *close);
            }
            bars.now.add(one.id, one.ticks, one.steps, one.seller_took);
        }
    }

    fn remember(&mut self, row: String) {
        self.recent.push_back(row);
        if self.recent.len() > TRADES {
            self.recent.pop_front();
        }
    }

    fn tell_books(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let changed = std::mem::take(&mut self.changed);
        if changed.iter().all(|side| side.is_empty()) {
            return;
        }
        let spec = &floor.spec;
        let moved: Vec<Moved> = self.tops.iter_mut().map(|top| top.next(floor, &changed)).collect();
        // What changes a shallow book changes the deepest.
        if moved.last().is_none_or(Moved::is_empty) {
            return;
        }
        self.n += 1;
        self.booked_ms = now.exchange_ms;
        let checksum = self.tops[0].checksum(spec);
        let text = |(p, q): &(i64, i64)| (spec.price(*p), spec.size(*q));
        let none: &[(String, String)] = &[];
        let mut told: BTreeSet<usize> = BTreeSet::new();
        // The deepest first: where others are told the same, it is the same message.
        for at in (0..moved.len()).rev().filter(|at| !moved[*at].is_empty()) {
            if told.contains(&at) {
                continue;
            }
            let is_same = |other: &usize| moved[*other].told == moved[at].told && !told.contains(other);
            let same: Vec<usize> = (0..=at).filter(is_same).collect();
            told.extend(&same);
            let deepest = at + 1 == moved.len();
            let [mut bids, mut asks] = [0, 1].map(|side| moved[at].told[side].iter().map(text).collect::<Vec<_>>());
            let row = payload::book(spec, [&bids, &asks], checksum, now.exchange_ms);
            for (side, levels) in [&mut bids, &mut asks].into_iter().enumerate() {
                levels.extend(moved[at].gone[side].iter().map(|p| (spec.price(*p), spec.size(0))));
            }
            let levels: [&[(String, String)]; 2] = if deepest { [&bids, &asks] } else { [none; 2] };
            let logged = payload::placed(spec, self.n, levels, now.exchange_ms);
            let variant = if deepest { String::new() } else { self.tops[at].depth.to_string() };
            let wire = payload::message("book", "update", &row);
            let mut event = self.event(Kind::Depth, &variant, String::new(), wire, logged);
            event.streams = same.iter().map(|at| self.mine(&format!("book-{}", self.tops[*at].depth))).collect();
            out.push(event);
        }
    }

    /// Best prices, with the statistics of the moment; these are told by nobody else, and so are an event of their own in the truth.
    fn tell_best(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let best = floor.book.best();
        if best == self.quoted {
            return;
        }
        self.quoted = best;
        let Some(best) = best else { return };
        let row = |digits| payload::ticker(&floor.spec, &self.day, best, now.exchange_ms, digits);
        let (wire, logged) = (row(Digits::Bare), row(Digits::Quoted));
        self.tickers[0] = Some(wire.clone());
        let news = self.counted[0].replace(self.day.count) != Some(self.day.count);
        let message = payload::message("ticker", "update", &wire);
        out.push(self.event(Kind::BookTicker, "", self.mine("ticker-bbo"), message, logged.clone()));
        let logged = format!(r#"{{"told":{news},{}"#, &logged[1..]);
        out.push(self.event(Kind::Ticker, "bbo", String::new(), String::new(), logged));
    }

    /// The statistics after trades.
    fn tell_statistics(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        let Some(best) = floor.book.best() else { return };
        if self.counted[1].replace(self.day.count) == Some(self.day.count) {
            return;
        }
        let row = |digits| payload::ticker(&floor.spec, &self.day, best, now.exchange_ms, digits);
        let (wire, logged) = (row(Digits::Bare), row(Digits::Quoted));
        let message = payload::message("ticker", "update", &wire);
        self.tickers[1] = Some(wire);
        let logged = format!(r#"{{"told":true,{}"#, &logged[1..]);
        out.push(self.event(Kind::Ticker, "trades", self.mine("ticker"), message, logged));
    }

    fn tell_bars(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        for at in 0..self.bars.len() {
            let bars = &mut self.bars[at];
            if !std::mem::take(&mut bars.now.changed) {
                continue;
            }
            let row = |digits| payload::candle(&floor.spec, &bars.now, bars.minutes, digits);
            let (wire, logged) = (row(Digits::Bare), row(Digits::Quoted));
            let message = payload::bars("update", now.exchange_ms, &wire);
            bars.tell(bars.now.open_ms, now.exchange_ms, wire);
            let (interval, stream) = (bars.now.interval.clone(), format!("ohlc-{}", bars.minutes));
            out.push(self.event(Kind::Kline, &interval, self.mine(&stream), message, logged));
        }
    }

    /// Something of a definition changes that is no rule of trading.
    fn tell_definition(&mut self, floor: &Floor, out: &mut Vec<Event>) {
        self.position_limit = 300 + (self.position_limit + 1) % 50;
        let row = self.definition(floor);
        let message = payload::instruments("update", &[], &row);
        out.push(self.event(Kind::Other, "", "instrument:".into(), message, row));
    }
}

impl Bars {
    fn tell(&mut self, open_ms: i64, at_ms: i64, row: String) {
        self.told_ms = at_ms;
        match self.told.back_mut() {
            Some((last, told)) if *last == open_ms => *told = row,
            _ => self.told.push_back((open_ms, row)),
        }
        if self.told.len() > BARS {
            self.told.pop_front();
        }
    }
}

impl Voice for KrakenVoice {
    /// The listing's book is what the venue has told: the truth begins with it.
    fn listed(&mut self, floor: &Floor, _now: Now) {
        self.tops.iter_mut().for_each(|top| top.listed(floor));
    }

    /// Of the past the trades alone are known.
    fn begins(&mut self) {
        (self.quoted, self.tickers, self.counted) = (None, [None, None], [None, None]);
        self.bars.iter_mut().for_each(|bars| bars.told.clear());
    }

    fn changed(&mut self, _floor: &mut Floor, side: Side, ticks: i64) {
        self.changed[side as usize].insert(ticks);
    }

    fn printed(&mut self, floor: &mut Floor, now: Now, print: Print, _out: &mut Vec<Event>) {
        let Print { ticks, steps, seller_took } = print;
        self.traded_ms = self.traded_ms.max(now.exchange_ms);
        let makers = floor.dice.range(1, 4).min(steps);
        let mut left = steps;
        for maker in 0..makers {
            let part = if maker == makers - 1 { left } else { (left / (makers - maker)).max(1) };
            left -= part;
            self.trade_id += 1;
            let one = Match { id: self.trade_id, ticks, steps: part, seller_took, at_ms: self.traded_ms };
            self.count(one);
            self.taken.push(one);
        }
    }

    fn took(&mut self, floor: &mut Floor, _now: Now, _all: Print, out: &mut Vec<Event>) {
        let taken = std::mem::take(&mut self.taken);
        let rows = |digits| taken.iter().map(|one| payload::trade(&floor.spec, *one, digits)).collect::<Vec<_>>();
        let [wire, logged] = [Digits::Bare, Digits::Quoted].map(rows);
        let message = |rows: &[String]| payload::message("trade", "update", &rows.join(","));
        let event = self.event(Kind::Trade, "", self.mine("trade"), message(&wire), message(&logged));
        wire.into_iter().for_each(|row| self.remember(row));
        out.push(event);
    }

    fn ordered(&mut self, _floor: &mut Floor, _now: Now, _out: &mut Vec<Event>) {}

    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        if self.bests.due(now.run_ms) {
            self.tell_best(floor, now, out);
        }
        if self.books.due(now.run_ms) {
            self.tell_books(floor, now, out);
        }
        self.tell_statistics(floor, now, out);
        self.tell_bars(floor, now, out);
        if self.definitions.due(now.run_ms) {
            self.tell_definition(floor, out);
        }
    }

    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.tell_best(floor, now, out);
        self.tell_books(floor, now, out);
    }

    fn book(&self, floor: &Floor, limit: usize) -> BookText {
        self.tops.last().map_or(BookText::default(), |top| top.text(&floor.spec, self.n, limit))
    }

    fn welcome(&self, floor: &Floor, stream: &str) -> Vec<String> {
        let (name, symbol) = stream.split_once(':').unwrap_or((stream, ""));
        if name == "instrument" {
            return vec![self.definition(floor)];
        }
        if symbol != &*self.symbol {
            return Vec::new();
        }
        let (channel, parameter) = name.split_once('-').unwrap_or((name, ""));
        let said = match channel {
            "trade" if !self.recent.is_empty() => {
                let rows: Vec<&str> = self.recent.iter().map(String::as_str).collect();
                Some(payload::message("trade", "snapshot", &rows.join(",")))
            }
            "book" => self.tops.iter().find(|top| parameter.parse() == Ok(top.depth)).map(|top| {
                let BookText { bids, asks, .. } = top.text(&floor.spec, 0, top.depth);
                let row = payload::book(&floor.spec, [&bids, &asks], top.checksum(&floor.spec), self.booked_ms);
                payload::message("book", "snapshot", &row)
            }),
            "ticker" => {
                let row = self.tickers[usize::from(parameter != "bbo")].as_ref();
                row.map(|row| payload::message("ticker", "snapshot", row))
            }
            "ohlc" => {
                let found = self.bars.iter().find(|bars| parameter.parse() == Ok(bars.minutes));
                found.filter(|bars| !bars.told.is_empty()).map(|bars| {
                    let rows: Vec<&str> = bars.told.iter().map(|(_, row)| row.as_str()).collect();
                    payload::bars("snapshot", bars.told_ms, &rows.join(","))
                })
            }
            _ => None,
        };
        said.into_iter().collect()
    }

    fn definition(&self, floor: &Floor) -> String {
        payload::pair(&floor.spec, self.position_limit)
    }
}
