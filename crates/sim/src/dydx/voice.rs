//! What the indexer says about one market.
//!
//! Invariants: each update of the book takes the next number of the truth, which the wire does not have; trades are told when their block
//! is made, all of a block in one message with one time, and a later block has a later time whatever the venue's clock does; what a
//! subscription is answered with is exactly what the streams have told so far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::book::Shown;
use super::payload::{self, Fill, State};
use super::{BATCHED, chain};
use crate::config::{Spec, VenueConfig};
use crate::event::{Event, Kind, Now};
use crate::truth::InstrumentTruth;
use crate::world::{BookText, Candle, Day, Every, Floor, Print, Side, Voice, interval_ms};

/// Levels a side that a new subscriber and REST are shown.
pub const DEPTH: usize = 100;
/// Trades and candles that a new subscriber is told.
const REMEMBERED: usize = 100;
/// Numbers that a restart leaves unused.
const RESTART_GAP: u64 = 100_000_000;
const BATCH_MS: u64 = 250;

/// A fill that waits for its block.
#[derive(Debug, Clone, Copy)]
struct Matched {
    ticks: i64,
    steps: i64,
    seller_took: bool,
    forced: bool,
}

/// One interval's candle, and those told, oldest first: start and row.
#[derive(Debug)]
struct Candles {
    resolution: &'static str,
    now: Candle,
    interest: String,
    told: VecDeque<(i64, String)>,
}

/// See the module.
#[derive(Debug)]
pub struct DydxVoice {
    symbol: Arc<str>,
    /// The market's number, and the place of its transaction in every block.
    market: u16,
    seq: u64,
    book: Shown,
    quoted: Option<[(i64, i64); 2]>,
    matched: Vec<Matched>,
    /// Where the fills of the taker at work begin.
    taker_from: usize,
    /// The last block with trades of this market, its time and the next event in it.
    block: u64,
    block_ms: i64,
    /// Blocks that are past, and the height and time of the newest.
    blocks: u64,
    newest: (u64, i64),
    recent: VecDeque<String>,
    candles: Vec<Candles>,
    day: Day,
    state: State,
    funding: f64,
    interest_steps: i64,
    force_after_ms: u64,
    /// What stood at the beginning is told.
    began: bool,
    /// What the batches of 250 ms hold, by stream.
    batches: BTreeMap<String, Vec<String>>,
    books: Every,
    oracles: Every,
    fundings: Every,
    interests: Every,
    batch: Every,
}

impl DydxVoice {
    pub fn new(config: &VenueConfig, floor: &mut Floor, before: Option<&InstrumentTruth>, now: Now) -> Self {
        let (symbol, start) = (floor.spec.config.symbol.clone(), floor.spec.start_ticks);
        let candle = |interval: &String| {
            let now = Candle::new(interval, interval_ms(interval)?, now.exchange_ms, start);
            let resolution = payload::resolution(interval)?;
            Some(Candles { resolution, now, interest: "0".into(), told: VecDeque::new() })
        };
        let market = symbol.bytes().fold(7_u16, |mix, b| mix.wrapping_mul(31).wrapping_add(b.into()));
        let interest_steps = floor.spec.usual_steps * 40_000;
        let funding = 0.0000125;
        let state = State {
            oracle: floor.spec.price(start),
            funding: payload::rate(funding),
            interest: floor.spec.size(interest_steps),
        };
        let mut voice = Self {
            symbol: symbol.as_str().into(),
            market,
            seq: 10_000_000_000,
            book: Shown::default(),
            quoted: None,
            matched: Vec::new(),
            taker_from: 0,
            block: 0,
            block_ms: 0,
            blocks: chain::blocks(now.run_ms),
            newest: (chain::height(now.run_ms), now.exchange_ms),
            recent: VecDeque::new(),
            candles: config.kline_intervals.iter().filter_map(candle).collect(),
            day: Day::new(start),
            state,
            funding,
            interest_steps,
            force_after_ms: 0,
            began: false,
            batches: BTreeMap::new(),
            books: Every::new(20),
            oracles: Every::new(500),
            fundings: Every::new(5_000),
            interests: Every::new(3_000),
            batch: Every::new(BATCH_MS),
        };
        if let Some(truth) = before {
            voice.resume(&floor.spec, truth);
        }
        voice
    }

    /// Goes on where the truth of earlier runs ends.
    fn resume(&mut self, spec: &Spec, truth: &InstrumentTruth) {
        self.seq = truth.last_update_id + RESTART_GAP;
        let units = |text: &str, scale, unit| crate::decimal::parse(text, scale).unwrap_or(0) / unit;
        for trade in truth.trades.values() {
            (self.block, self.block_ms) = (chain::height_of(trade.id), trade.time_ms);
            let ticks = units(&trade.price, spec.price_scale, spec.tick_units);
            let steps = units(&trade.size, spec.size_scale, spec.step_units);
            self.count(trade.id, ticks, steps, trade.buyer_is_maker);
            self.remember(payload::trade(&Fill::of(trade), true));
        }
        for stated in &truth.klines {
            let at = self.candles.iter().position(|c| c.now.interval == stated.variant);
            if let (Some(at), Some((open_ms, row))) = (at, super::truth::candle(&stated.payload)) {
                self.candles[at].tell(open_ms, row);
            }
        }
    }

    fn event(&self, kind: Kind, stream: String, payload: String) -> Event {
        let streams = if stream.is_empty() { Vec::new() } else { vec![stream] };
        Event { kind, symbol: self.symbol.clone(), variant: "".into(), streams, payload, logged: None }
    }

    /// An event of one of the streams; those who asked for batches get it with the next one.
    fn say(&mut self, kind: Kind, stream: String, payload: String, out: &mut Vec<Event>) {
        self.batches.entry(format!("{stream}{BATCHED}")).or_default().push(payload.clone());
        out.push(self.event(kind, stream, payload));
    }

    fn mine(&self, channel: &str) -> String {
        format!("{channel}:{}", self.symbol)
    }

    /// What stood before anything was told: the truth has it too.
    fn begin(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        self.tell_best(floor, out);
        let (symbol, state) = (self.symbol.clone(), self.state.clone());
        self.tell_oracle(now, out);
        let funding = payload::changed(&symbol, "nextFundingRate", &state.funding);
        self.say(Kind::MarkPrice, "v4_markets:".into(), funding, out);
        let interest = payload::changed(&symbol, "openInterest", &state.interest);
        self.say(Kind::OpenInterest, "v4_markets:".into(), interest, out);
    }

    fn tell_oracle(&mut self, now: Now, out: &mut Vec<Event>) {
        let (at, height) = (now.exchange_ms, chain::height(now.run_ms));
        let text = payload::oracle(&self.symbol, &self.state.oracle, at, height, self.market.into());
        self.say(Kind::MarkPrice, "v4_markets:".into(), text, out);
    }

    /// The best prices of the view: told by nobody, derived by everybody.
    fn tell_best(&mut self, floor: &Floor, out: &mut Vec<Event>) {
        let best = self.book.best();
        if best != self.quoted
            && let Some(levels) = best
        {
            let [(b, bq), (a, aq)] = levels.map(|(p, q)| (floor.spec.price(p), floor.spec.size(q)));
            let text = format!(r#"{{"bid":["{b}","{bq}"],"ask":["{a}","{aq}"]}}"#);
            out.push(self.event(Kind::BookTicker, String::new(), text));
        }
        self.quoted = best;
    }

    fn tell_book(&mut self, floor: &mut Floor, now: Now, all: bool, out: &mut Vec<Event>) {
        let changes = self.book.tell(floor, now.run_ms, all);
        if changes.iter().all(Vec::is_empty) {
            return;
        }
        self.seq += 1;
        let text = payload::update(&floor.spec, &changes);
        let numbered = format!(r#"{{"n":{},{}"#, self.seq, &text[1..]);
        self.say(Kind::Depth, self.mine("v4_orderbook"), text, out);
        if let Some(event) = out.last_mut() {
            event.logged = Some(numbered);
        }
        self.tell_best(floor, out);
    }

    fn count(&mut self, place: u64, ticks: i64, steps: i64, seller_took: bool) {
        self.day.add(place, ticks, steps);
        let at_ms = self.block_ms;
        for candles in self.candles.iter_mut() {
            if at_ms > candles.now.close_ms() {
                let Candle { interval, interval_ms, close, .. } = &candles.now;
                candles.now = Candle::new(interval, *interval_ms, at_ms, *close);
                candles.interest.clone_from(&self.state.interest);
            }
            candles.now.add(place, ticks, steps, seller_took);
        }
    }

    fn remember(&mut self, row: String) {
        self.recent.push_front(row);
        self.recent.truncate(REMEMBERED);
    }

    /// A block is made: what was matched since the last one is told, and the candles that it changed.
    fn make_block(&mut self, floor: &Floor, now: Now, out: &mut Vec<Event>) {
        self.taker_from = 0;
        let matched = std::mem::take(&mut self.matched);
        if matched.is_empty() {
            return;
        }
        self.block = chain::height(now.run_ms).max(self.block + 1);
        self.block_ms = now.exchange_ms.max(self.block_ms + 1);
        let mut rows = Vec::new();
        for (event, one) in matched.into_iter().enumerate() {
            let Matched { ticks, steps, seller_took, forced } = one;
            // Other events of the transaction lie between two fills.
            let place = chain::place(self.block, self.market, (event * 3 + 2).min(0xffff) as u16);
            self.count(place, ticks, steps, seller_took);
            let (price, size) = (floor.spec.price(ticks), floor.spec.size(steps));
            let kind = if forced { "LIQUIDATED" } else { "LIMIT" }.to_owned();
            let fill = Fill { place, price, size, seller_took, kind, at_ms: self.block_ms };
            rows.push(payload::trade(&fill, false));
            self.remember(payload::trade(&fill, true));
        }
        self.say(Kind::Trade, self.mine("v4_trades"), payload::trades(&rows), out);
        for at in 0..self.candles.len() {
            let candles = &mut self.candles[at];
            let row = payload::candle(&floor.spec, &candles.now, candles.resolution, &candles.interest);
            candles.tell(candles.now.open_ms, row.clone());
            let (stream, interval) = (format!("/{}", candles.resolution), candles.now.interval.clone());
            self.say(Kind::Kline, self.mine("v4_candles") + &stream, row, out);
            if let Some(event) = out.last_mut() {
                event.variant = interval.as_str().into();
            }
        }
    }

    fn tell_state(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        let (symbol, usual) = (self.symbol.clone(), floor.spec.usual_steps);
        if self.oracles.due(now.run_ms) {
            let oracle = floor.spec.price(floor.mid() + 1);
            if oracle != self.state.oracle {
                self.state.oracle = oracle;
                self.tell_oracle(now, out);
            }
        }
        if self.fundings.due(now.run_ms) {
            self.funding += (floor.dice.unit() - 0.5) * 1e-6;
            self.state.funding = payload::rate(self.funding);
            let text = payload::changed(&symbol, "nextFundingRate", &self.state.funding);
            self.say(Kind::MarkPrice, "v4_markets:".into(), text, out);
        }
        if self.interests.due(now.run_ms) {
            self.interest_steps = (self.interest_steps + floor.dice.range(1, 20 * usual)).max(usual);
            self.state.interest = floor.spec.size(self.interest_steps);
            let text = payload::changed(&symbol, "openInterest", &self.state.interest);
            self.say(Kind::OpenInterest, "v4_markets:".into(), text, out);
        }
    }

    /// Batches hold nothing new: in the truth they stand without their contents.
    fn tell_batches(&mut self, out: &mut Vec<Event>) {
        for (stream, messages) in std::mem::take(&mut self.batches) {
            let mut event = self.event(Kind::Other, stream, format!("[{}]", messages.join(",")));
            event.logged = Some(format!(r#"{{"batch":{}}}"#, messages.len()));
            out.push(event);
        }
    }
}

impl Candles {
    fn tell(&mut self, open_ms: i64, row: String) {
        match self.told.back_mut() {
            Some((last, told)) if *last == open_ms => *told = row,
            _ => self.told.push_back((open_ms, row)),
        }
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
    }
}

impl Voice for DydxVoice {
    fn listed(&mut self, floor: &Floor, _now: Now) {
        self.book = Shown::whole(floor);
    }

    /// Of the past the trades alone are known.
    fn begins(&mut self) {
        (self.began, self.quoted) = (false, None);
        self.batches.clear();
        self.candles.iter_mut().for_each(|candles| candles.told.clear());
    }

    fn changed(&mut self, _floor: &mut Floor, side: Side, ticks: i64) {
        self.book.changed(side, ticks);
    }

    fn printed(&mut self, floor: &mut Floor, _now: Now, print: Print, _out: &mut Vec<Event>) {
        let Print { ticks, steps, seller_took } = print;
        self.book.traded(if seller_took { Side::Bid } else { Side::Ask }, ticks);
        let makers = floor.dice.range(1, 4).min(steps);
        let mut left = steps;
        for maker in 0..makers {
            let part = if maker == makers - 1 { left } else { (left / (makers - maker)).max(1) };
            left -= part;
            self.matched.push(Matched { ticks, steps: part, seller_took, forced: false });
        }
    }

    /// A taker may have been forced: then all of its fills say so.
    fn took(&mut self, floor: &mut Floor, now: Now, _all: Print, _out: &mut Vec<Event>) {
        let from = std::mem::replace(&mut self.taker_from, self.matched.len());
        if now.run_ms < self.force_after_ms || !floor.dice.chance(0.04) {
            return;
        }
        self.force_after_ms = now.run_ms + 1_000;
        self.matched[from..].iter_mut().for_each(|one| one.forced = true);
    }

    fn ordered(&mut self, _floor: &mut Floor, _now: Now, _out: &mut Vec<Event>) {}

    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.begin(floor, now, out);
        if self.books.due(now.run_ms) {
            self.tell_book(floor, now, false, out);
        }
        let blocks = chain::blocks(now.run_ms);
        if blocks > self.blocks {
            (self.blocks, self.newest) = (blocks, (chain::height(now.run_ms), now.exchange_ms));
            self.make_block(floor, now, out);
        }
        self.tell_state(floor, now, out);
        if self.batch.due(now.run_ms) {
            self.tell_batches(out);
        }
    }

    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>) {
        self.tell_book(floor, now, true, out);
        self.make_block(floor, now, out);
        self.tell_batches(out);
    }

    fn book(&self, floor: &Floor, limit: usize) -> BookText {
        let [bids, asks] = self.book.text(&floor.spec, limit);
        BookText { last_update_id: self.seq, bids, asks }
    }

    fn welcome(&self, floor: &Floor, stream: &str) -> Vec<String> {
        let stream = stream.strip_suffix(BATCHED).unwrap_or(stream);
        let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
        let mine = |id: &str| id == &*self.symbol;
        match channel {
            "v4_markets" => vec![self.definition(floor)],
            "v4_block_height" => {
                let (height, at_ms) = self.newest;
                vec![format!(r#"{{"height":"{height}","time":"{}"}}"#, crate::iso::iso(at_ms))]
            }
            "v4_orderbook" if mine(id) => {
                let [bids, asks] = self.book.text(&floor.spec, DEPTH);
                vec![payload::book([&bids, &asks])]
            }
            "v4_trades" if mine(id) => vec![payload::trades(&Vec::from(self.recent.clone()))],
            "v4_candles" => {
                let Some((symbol, resolution)) = id.rsplit_once('/') else { return Vec::new() };
                let found = self.candles.iter().filter(|c| mine(symbol) && c.resolution == resolution);
                let rows = |c: &Candles| c.told.iter().rev().map(|(_, row)| row.as_str()).collect::<Vec<_>>().join(",");
                found.map(|c| format!(r#"{{"candles":[{}]}}"#, rows(c))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn definition(&self, floor: &Floor) -> String {
        payload::market(&floor.spec, self.market.into(), &self.state, &self.day)
    }
}
