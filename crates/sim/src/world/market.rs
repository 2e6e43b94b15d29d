//! One generated instrument: a full order book and the flow of orders that moves it. What the venue says of it is its
//! [`Voice`]'s.
//!
//! Invariants: bids are below asks; trades take what they print from the book; the voice hears of every change in its order.
//! Floor and voice share one stream of chance, so a seed tells both.

use std::fmt;

use super::book::{Book, BookText, Side};
use crate::config::{Spec, VenueConfig};
use crate::dice::Dice;
use crate::event::{Event, Now};
use crate::protocol::Protocol;
use crate::truth::InstrumentTruth;

/// What one advance may at most create: after a long stall of the machine the flow is thinned, not replayed.
const STEPS_MAX: f64 = 20_000.0;

/// What a venue's voice can see and use of a market.
#[derive(Debug)]
pub struct Floor {
    pub spec: Spec,
    pub book: Book,
    pub dice: Dice,
}

/// What a venue says about one market.
pub trait Voice: fmt::Debug + Send {
    /// The market's first book stands.
    fn listed(&mut self, _floor: &Floor, _now: Now) {}

    /// The past is over: from here on everything is told.
    fn begins(&mut self) {}

    /// A level has another size now.
    fn changed(&mut self, floor: &mut Floor, side: Side, ticks: i64);

    /// A taker met resting orders at one price.
    fn printed(&mut self, floor: &mut Floor, now: Now, print: Print, out: &mut Vec<Event>);

    /// A taker is done; `print` has the last price and the size of all.
    fn took(&mut self, _floor: &mut Floor, _now: Now, _print: Print, _out: &mut Vec<Event>) {}

    /// An order is done, whatever it did.
    fn ordered(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>);

    /// All orders of a moment are done.
    fn moment(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>);

    /// Tells what has been collected: after it, every stream ends at the same book.
    fn flush(&mut self, floor: &mut Floor, now: Now, out: &mut Vec<Event>);

    /// The book that may be handed out now.
    fn book(&self, floor: &Floor, limit: usize) -> BookText;

    /// Rows that a new subscriber of the stream gets before any other.
    fn welcome(&self, _floor: &Floor, _stream: &str) -> Vec<String> {
        Vec::new()
    }

    /// The instrument's definition, as a row of a list.
    fn definition(&self, _floor: &Floor) -> String {
        String::new()
    }

    /// The ids of the book begin anew, where the venue does such things; whether it does.
    fn reset_ids(&mut self) -> bool {
        false
    }
}

/// So much changed hands at a price.
#[derive(Debug, Clone, Copy)]
pub struct Print {
    pub ticks: i64,
    pub steps: i64,
    pub seller_took: bool,
}

impl Floor {
    pub fn usual_size(&mut self) -> i64 {
        let usual = self.spec.usual_steps;
        self.dice.range(1, usual * 2).max(1)
    }

    /// The middle of the book, in ticks.
    pub fn mid(&self) -> i64 {
        self.book.best().map_or(self.spec.start_ticks, |[(b, _), (a, _)]| (a + b) / 2)
    }

    /// A new listing's book.
    fn fill(&mut self) {
        for (side, sign) in [(Side::Bid, -1), (Side::Ask, 1)] {
            let mut ticks = self.spec.start_ticks + if sign > 0 { 1 } else { 0 };
            for _ in 0..self.spec.config.levels {
                let steps = self.usual_size();
                self.book.set(side, ticks, steps);
                ticks += sign * (1 + self.dice.geometric(0.5, 5));
            }
        }
    }
}

/// A generated instrument.
#[derive(Debug)]
pub struct Market {
    floor: Floor,
    voice: Box<dyn Voice>,
    owed: f64,
    ran_ms: u64,
    /// The venue tells of it and trades it.
    pub listed: bool,
}

impl Market {
    pub(crate) fn new(
        protocol: &dyn Protocol,
        venue: &VenueConfig,
        spec: Spec,
        seed: u64,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Self {
        let run = before.map_or(0, |truth| truth.books.len());
        let dice = Dice::new(seed, &format!("{}/{}/{run}", venue.kind.name(), spec.config.symbol));
        let mut floor = Floor { spec, book: Book::default(), dice };
        let before = before.filter(|truth| truth.final_book.is_some());
        if let Some(text) = before.and_then(|truth| truth.final_book.as_ref()) {
            floor.book = Book::from_text(&floor.spec, text);
        }
        let mut voice = protocol.voice(venue, &mut floor, before, now);
        if before.is_none() {
            floor.fill();
        }
        voice.listed(&floor, now);
        Self { floor, voice, owed: 0.0, ran_ms: now.run_ms, listed: true }
    }

    pub fn spec(&self) -> &Spec {
        &self.floor.spec
    }

    pub fn symbol(&self) -> &str {
        &self.floor.spec.config.symbol
    }

    pub fn book(&self, limit: usize) -> BookText {
        self.voice.book(&self.floor, limit)
    }

    pub fn begins(&mut self) {
        self.voice.begins();
    }

    pub fn welcome(&self, stream: &str) -> Vec<String> {
        self.voice.welcome(&self.floor, stream)
    }

    pub fn definition(&self) -> String {
        self.voice.definition(&self.floor)
    }

    pub fn reset_ids(&mut self) -> bool {
        self.voice.reset_ids()
    }

    /// Moves on to `now`.
    pub fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        let passed = now.run_ms.saturating_sub(self.ran_ms) as f64 / 1000.0;
        self.ran_ms = now.run_ms;
        if !self.listed {
            return;
        }
        self.owed = (self.owed + passed * self.floor.spec.config.events_per_s).min(STEPS_MAX);
        while self.owed >= 1.0 {
            // Exponential gaps make the flow Poisson; the sum of them is what time owes us.
            self.owed -= (-(1.0 - self.floor.dice.unit()).ln()).clamp(0.05, 8.0);
            self.order(now, out);
        }
        self.voice.moment(&mut self.floor, now, out);
    }

    /// See [`Voice::flush`].
    pub fn flush(&mut self, now: Now, out: &mut Vec<Event>) {
        self.ran_ms = now.run_ms;
        self.voice.flush(&mut self.floor, now, out);
    }

    fn order(&mut self, now: Now, out: &mut Vec<Event>) {
        match self.floor.dice.range(0, 100) {
            0..=19 => self.take(now, out),
            20..=44 => self.cancel(),
            _ => self.place(),
        }
        self.voice.ordered(&mut self.floor, now, out);
    }

    fn change(&mut self, side: Side, ticks: i64, steps: i64) {
        self.floor.book.set(side, ticks, steps);
        self.voice.changed(&mut self.floor, side, ticks);
    }

    fn place(&mut self) {
        let side = if self.floor.dice.chance(0.5) { Side::Bid } else { Side::Ask };
        let sign = if side == Side::Bid { -1 } else { 1 };
        let levels = self.floor.spec.config.levels;
        if self.floor.book.len(side) > levels + levels / 4
            && let Some((ticks, _)) = self.floor.book.worst(side)
        {
            self.change(side, ticks, 0);
        }
        let Floor { book, dice, .. } = &mut self.floor;
        let Some([(bid, _), (ask, _)]) = book.best() else { return };
        let best = if side == Side::Bid { bid } else { ask };
        let ticks = if book.len(side) < levels {
            // Refill from behind, so that the book stays as deep as it was made.
            let (worst, _) = book.worst(side).unwrap_or((best, 0));
            worst + sign * (1 + dice.geometric(0.5, 5))
        } else if ask - bid > 1 && dice.chance(if ask - bid > 8 { 0.8 } else { 0.3 }) {
            best - sign
        } else {
            best + sign * dice.geometric(0.2, 60)
        };
        let steps = self.floor.usual_size();
        if ticks > 0 {
            self.change(side, ticks, steps);
        }
    }

    fn cancel(&mut self) {
        let Floor { book, dice, .. } = &mut self.floor;
        let side = if dice.chance(0.5) { Side::Bid } else { Side::Ask };
        if book.len(side) < 10 {
            return;
        }
        let depth = dice.geometric(0.2, 40) as usize;
        let Some((ticks, steps)) = book.level(side, depth) else { return };
        let left = if dice.chance(0.4) { 0 } else { dice.range(0, steps) };
        self.change(side, ticks, left);
    }

    /// A taker order: walks the opposite side, price by price.
    fn take(&mut self, now: Now, out: &mut Vec<Event>) {
        let Some([(bid, _), (ask, _)]) = self.floor.book.best() else { return };
        // Drawn back to where it started, the stronger the further off.
        let start = self.floor.spec.start_ticks;
        let off = ((bid + ask) / 2 - start) as f64 / start as f64;
        let buys = self.floor.dice.chance((0.5 - off * 10.0).clamp(0.1, 0.9));
        let resting = if buys { Side::Ask } else { Side::Bid };
        let sweep = if self.floor.dice.chance(0.15) { 3 } else { 1 };
        let wanted = (self.floor.usual_size() * sweep / 2).max(1);
        let mut left = wanted;
        let mut last_price = 0;
        while left > 0 && self.floor.book.len(resting) > 10 {
            let Some((ticks, steps)) = self.floor.book.level(resting, 0) else { break };
            let fill = left.min(steps);
            self.change(resting, ticks, steps - fill);
            self.voice.printed(&mut self.floor, now, Print { ticks, steps: fill, seller_took: !buys }, out);
            left -= fill;
            last_price = ticks;
        }
        let filled = wanted - left;
        if filled > 0 {
            let all = Print { ticks: last_price, steps: filled, seller_took: !buys };
            self.voice.took(&mut self.floor, now, all, out);
        }
    }
}
