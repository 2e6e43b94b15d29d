//! One instrument's truth: its book, trades and quotes as the venue has them. The generator is the same for all venues; what
//! they make of it on the wire is a [`Tongue`], one file a venue, spelled as the venue's documents do.
//!
//! A venue's class shows in its ids. Binance spot chains by `U`/`u`; on USD-M ids skip and `pu` links, so that a first update with
//! `pu == lastUpdateId` occurs; both push what changed. The others push the difference between what they told last and the best
//! levels of now, and begin with a snapshot in the stream: OKX links by ids that skip and are reset, Bybit counts messages, Kraken
//! numbers nothing and proves its ten best levels by a checksum, dYdX counts the messages of the connection and has books that cross.

mod binance;
mod bybit;
mod crossed;
mod dydx;
mod kraken;
mod okx;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use serde_json::Value;
use wholetape_model::{TradeId, Ts};

use crate::dice::Dice;

/// Which venue an instrument is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Spot,
    UsdM,
    Okx,
    Bybit,
    Kraken,
    Dydx,
}

impl Variant {
    pub fn tongue(self) -> &'static dyn Tongue {
        match self {
            Self::Spot => &binance::Binance { futures: false },
            Self::UsdM => &binance::Binance { futures: true },
            Self::Okx => &okx::Okx,
            Self::Bybit => &bybit::Bybit,
            Self::Kraken => &kraken::Kraken,
            Self::Dydx => &dydx::Dydx,
        }
    }

    /// The book's snapshot is fetched over REST; of the others it comes by the stream.
    pub const fn is_anchored(self) -> bool {
        matches!(self, Self::Spot | Self::UsdM)
    }

    /// Whether books and quotes have ids that mean the same on every connection; else the truth knows them otherwise.
    pub const fn is_numbered(self) -> bool {
        !matches!(self, Self::Kraken | Self::Dydx)
    }

    /// Whether each message of a connection has its number, whatever it is of.
    pub const fn counts_messages(self) -> bool {
        matches!(self, Self::Dydx)
    }

    /// The id that a quote has in the truth, from its own and its time: Kraken's are known by that, in microseconds, dYdX's by their
    /// prices and sizes, of which no two are equal.
    pub const fn quote_id(self, id: u64, at: Ts) -> u64 {
        match self {
            Self::Kraken => at.0 as u64 / 1_000,
            Self::Dydx => 0,
            _ => id,
        }
    }

    /// The id that an update of the book has in the truth, from its own, its time, and its bids.
    pub fn book_id(self, id: u64, at: Ts, bids: impl Iterator<Item = (i64, i64)>) -> u64 {
        match self {
            Self::Kraken => at.0 as u64 / 1_000,
            Self::Dydx => bids.filter(|(price, _)| *price == crossed::MARK).map(|(_, size)| size as u64).sum(),
            _ => id,
        }
    }

    /// The best so many levels of a side are all that its stream shows.
    const fn depth(self) -> usize {
        if matches!(self, Self::Kraken) { kraken::DEPTH } else { usize::MAX }
    }

    /// Whether ids count trades one by one, so that each of them can be asked for.
    pub const fn counts_trades(self) -> bool {
        !matches!(self, Self::Bybit | Self::Dydx)
    }

    /// The id that a trade has in the truth.
    pub fn trade_number(self, id: TradeId) -> Option<u64> {
        match self {
            // The end of a UUID.
            Self::Bybit => Some((id.bits() & 0xffff_ffff_ffff) as u64),
            // … of an event's name.
            Self::Dydx => Some((id.bits() & 0xffff_ffff) as u64),
            _ => id.number(),
        }
    }

    /// Whether something tells that one frame of a stream is missing, or that two were swapped.
    pub const fn is_sequenced(self, stream: Stream) -> bool {
        match stream {
            _ if self.counts_messages() => true,
            Stream::Trade => self.counts_trades(),
            Stream::Quote => false,
            Stream::Depth => true,
        }
    }
}

/// What a text of ours asks a venue for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Subscriptions begin; else they end.
    pub begins: bool,
    /// Streams, by the names that [`Tongue::stream`] gives.
    pub streams: Vec<String>,
    /// Of the request.
    pub id: Value,
}

/// How a venue speaks: names, frames, answers. Stateless; what it speaks of is the [`Market`]'s.
pub trait Tongue: Sync {
    /// The stream's name.
    fn stream(&self, symbol: &str, stream: Stream) -> String;
    fn trade(&self, symbol: &str, ms: i64, trade: &TrueTrade) -> String;
    fn quote(&self, symbol: &str, ms: i64, quote: &TrueQuote) -> String;
    fn depth(&self, symbol: &str, push: &Push<'_>) -> String;
    /// A frame of a kind that nobody knows.
    fn unknown(&self, name: &str, ms: i64) -> String;
    /// What a message of ours says, if it is a subscription or the end of one.
    fn hear(&self, text: &str) -> Option<Asked>;
    /// The answers to it.
    fn acks(&self, asked: &Asked) -> Vec<String>;
    /// What a venue says first on a connection, if anything.
    fn greeting(&self) -> Option<String> {
        None
    }
    /// A text as connection `conn` carries it, on which `said` were said before.
    fn stamp(&self, text: String, _conn: u64, _said: u64) -> String {
        text
    }
    /// What a subscription is told first is its acknowledgement.
    fn answers_with_state(&self) -> bool {
        false
    }
    /// In how many requests a connection asks for its streams, about.
    fn requests(&self) -> u64 {
        1
    }
    /// What a new subscription of the market's stream is told first.
    fn welcome(&self, _market: &Market, _stream: Stream, _ms: i64) -> Option<String> {
        None
    }
    /// The body that answers a GET, from its path and query; `None`: there is no such thing. `stale` answers with an older state
    /// where a state is asked for.
    fn get(&self, market: &Market, path: &str, stale: bool, ms: i64) -> Option<String>;
}

/// The number that a query gives a name.
fn number(path: &str, name: &str) -> Option<u64> {
    let (_, query) = path.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1.parse().ok()
}

/// A push of the book.
pub struct Push<'a> {
    /// The whole book, where the venue says it anew.
    pub whole: bool,
    pub first: u64,
    pub last: u64,
    pub prev: u64,
    pub ms: i64,
    pub bids: &'a Side,
    pub asks: &'a Side,
    /// The book that it leads to.
    pub now: &'a State,
}

/// Ticks of 0.01; sizes of 0.001.
pub type Side = BTreeMap<i64, i64>;

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
    /// The venue told the whole book.
    pub whole: bool,
}

/// A book at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub id: u64,
    pub bids: Side,
    pub asks: Side,
}

impl State {
    /// The best `depth` levels of each side.
    fn best(&self, depth: usize) -> Self {
        let level = |(p, s): (&i64, &i64)| (*p, *s);
        let bids = self.bids.iter().rev().take(depth).map(level).collect();
        Self { id: self.id, bids, asks: self.asks.iter().take(depth).map(level).collect() }
    }

    fn flat(&self) -> (Flat, Flat) {
        let level = |(p, s): (&i64, &i64)| (*p, *s);
        (self.bids.iter().rev().map(level).collect(), self.asks.iter().map(level).collect())
    }
}

/// What a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Trade,
    Quote,
    Depth,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::Trade, Self::Quote, Self::Depth];
}

/// What the market publishes: the stream and the text.
pub type Frame = (Stream, String);

/// OKX: how far a maintenance throws the ids back, so that none comes twice.
const RESET_BY: u64 = 1_000_000_000;
/// OKX repeats the ids of a book that does not change so often, ms; Bybit the best prices.
const BOOK_BEAT: i64 = 60_000;
const QUOTE_AGAIN: i64 = 3_000;

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
    /// Updates that a fault took out of their order or away, alone, where nothing is numbered: no connection does that, and a checksum
    /// does not show it where the next update tells the same levels.
    pub out_of_turn: BTreeSet<u64>,
    /// Times (ms) when the ids of the book began anew.
    pub resets: Vec<i64>,
    state: State,
    /// Some older states, for stale snapshots.
    older: VecDeque<State>,
    changed: (Side, Side),
    first_pending: Option<u64>,
    last_flushed: u64,
    /// What the stream has said of the book, where it begins with a snapshot, and when.
    told: State,
    told_at: i64,
    next_trade: u64,
    best: Option<(i64, i64, i64, i64)>,
    quote_count: u64,
    /// dYdX: levels that are late, what of a book a new subscriber is not told (by update), and the block that is being made.
    crossed: crossed::Crossed,
    hidden: BTreeMap<u64, [BTreeSet<i64>; 2]>,
    matched: Vec<TrueTrade>,
    block: i64,
}

fn price(ticks: i64) -> String {
    format!("{}.{:02}", ticks / 100, ticks % 100)
}

fn size(steps: i64) -> String {
    format!("{}.{:03}", steps / 1_000, steps % 1_000)
}

/// `[one,one,…]`, best first, each as `one` spells price and size.
fn listed(side: &Side, best_first: bool, one: impl Fn(&mut String, i64, i64)) -> String {
    let mut text = String::from("[");
    let mut add = |(p, s): (&i64, &i64)| {
        if text.len() > 1 {
            text.push(',');
        }
        one(&mut text, *p, *s);
    };
    if best_first {
        side.iter().rev().for_each(&mut add)
    } else {
        side.iter().for_each(&mut add)
    }
    text.push(']');
    text
}

/// `[["price","size"],…]`, as Binance and Bybit spell it.
fn pairs(side: &Side, best_first: bool) -> String {
    listed(side, best_first, |text, p, s| {
        let _ = write!(text, r#"["{}","{}"]"#, price(p), size(s));
    })
}

/// Levels whose size is another now; 0 for those that went.
fn difference(before: &Side, now: &Side) -> Side {
    let gone = before.keys().filter(|p| !now.contains_key(*p)).map(|p| (*p, 0));
    let new = now.iter().filter(|(p, s)| before.get(*p) != Some(*s)).map(|(p, s)| (*p, *s));
    gone.chain(new).collect()
}

impl Market {
    pub fn new(symbol: &str, variant: Variant, dice: &mut Dice) -> Self {
        let mut state = State { id: dice.between(1_000, 1_000_000), ..State::default() };
        for i in 1..=30 {
            state.bids.insert(6_000_000 - i * 3, dice.between(1, 5_000) as i64);
            state.asks.insert(6_000_000 + i * 3, dice.between(1, 5_000) as i64);
        }
        match variant {
            Variant::Okx => state.id += 20 * RESET_BY,
            Variant::Kraken => state.id = crate::outside::START as u64 / 1_000,
            _ => {}
        }
        let mut told = state.best(variant.depth());
        let mut crossed = crossed::Crossed::default();
        let mut quotes = Vec::new();
        if variant == Variant::Dydx {
            // The book that a first subscription finds.
            let began = crossed.begin(&mut told);
            quotes.extend(began.map(|(bid, bid_size, ask, ask_size)| (0, (0, bid, bid_size, ask, ask_size))));
        }
        // OKX counts the matches of a listing from 1, and a history that goes back to no trade at all goes back to the listing.
        let next_trade = match (variant, dice.between(1, 1_000_000)) {
            (Variant::Okx, _) => 1,
            (_, drawn) => drawn,
        };
        Self {
            symbol: symbol.to_owned(),
            variant,
            trades: Vec::new(),
            quotes,
            updates: Vec::new(),
            // A subscription may begin with what was there before the first push.
            history: if variant.is_anchored() { BTreeMap::new() } else { [(told.id, told.flat())].into() },
            skipped: Vec::new(),
            out_of_turn: BTreeSet::new(),
            resets: Vec::new(),
            last_flushed: state.id,
            next_trade,
            told,
            told_at: 0,
            quote_count: state.id,
            state,
            older: VecDeque::new(),
            changed: (Side::new(), Side::new()),
            first_pending: None,
            best: None,
            crossed,
            hidden: BTreeMap::new(),
            matched: Vec::new(),
            block: 0,
        }
    }

    /// When an update was told, ms.
    pub fn told_at(&self, id: u64) -> Option<i64> {
        // dYdX's begin with the one after what a first subscription finds, and none is left out.
        let at = self.updates.partition_point(|u| u.last < id);
        self.updates.get(at).filter(|u| u.last == id).map(|u| u.ms)
    }

    /// Prices of a side that a late subscriber was not told at this update.
    pub fn hidden(&self, id: u64, side: usize) -> Option<&BTreeSet<i64>> {
        self.hidden.get(&id).map(|both| &both[side])
    }

    /// The book as a new subscriber and REST are told it.
    fn shown(&self) -> State {
        self.crossed.shown(&self.told)
    }

    /// The highest id of a trade published so far; 0 before the first.
    pub fn last_trade(&self) -> u64 {
        self.trades.last().map_or(0, |t| t.id)
    }

    /// The newest update does not come, or not now.
    pub fn out_of_turn(&mut self) {
        self.out_of_turn.insert(self.told.id);
    }

    /// Whether the book's update `at` is `update` or came after it.
    pub fn is_not_before(&self, at: u64, update: u64) -> bool {
        if self.variant.is_anchored() {
            return at >= update;
        }
        // Ids may have begun anew.
        at == update || self.updates.iter().rev().take_while(|u| u.last != update).any(|u| u.last == at)
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
            Variant::Spot | Variant::Bybit | Variant::Kraken | Variant::Dydx => 1,
            Variant::UsdM => dice.between(1, 5),
            Variant::Okx => dice.between(1, 8),
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
        if self.variant == Variant::Dydx {
            return self.matched.push(trade);
        }
        self.trades.push(trade);
        out.push((Stream::Trade, self.variant.tongue().trade(&self.symbol, ms, &trade)));
    }

    fn quote(&mut self, ms: i64, out: &mut Vec<Frame>) {
        if self.variant == Variant::Dydx {
            // Made of the book's stream.
            return;
        }
        let (Some((&bid, &bid_size)), Some((&ask, &ask_size))) =
            (self.state.bids.iter().next_back(), self.state.asks.iter().next())
        else {
            return;
        };
        if self.best == Some((bid, bid_size, ask, ask_size)) {
            return;
        }
        self.best = Some((bid, bid_size, ask, ask_size));
        self.quote_count += 1;
        let id = match self.variant {
            Variant::Bybit => self.quote_count,
            Variant::Kraken => {
                self.quote_count = self.quote_count.max(ms as u64 * 1_000);
                self.quote_count
            }
            _ => self.state.id,
        };
        let quote = (id, bid, bid_size, ask, ask_size);
        self.quotes.push((ms, quote));
        out.push((Stream::Quote, self.variant.tongue().quote(&self.symbol, ms, &quote)));
    }

    /// The depth update of the last 100 ms, if anything changed. Once in `resets` the book's ids begin anew, where a venue's do.
    pub fn flush(&mut self, ms: i64, dice: &mut Dice, resets: u64, out: &mut Vec<Frame>) {
        if ms % 1_000 == 0 {
            self.older.push_back(self.state.clone());
            if self.older.len() > 5 {
                self.older.pop_front();
            }
        }
        match self.variant {
            Variant::Spot | Variant::UsdM => self.push_changes(ms, out),
            Variant::Dydx => self.push_crossed(ms, dice, out),
            _ => self.push_difference(ms, dice, resets, out),
        }
    }

    fn push_crossed(&mut self, ms: i64, dice: &mut Dice, out: &mut Vec<Frame>) {
        self.make_block(ms, out);
        let Some(update) = self.crossed.update(&self.told, &mut self.state, ms, dice) else { return };
        let crossed::Update { now, bids, asks, best } = update;
        let (last, prev) = (now.id, self.told.id);
        let push = Push { whole: false, first: last, last, prev, ms, bids: &bids, asks: &asks, now: &now };
        out.push((Stream::Depth, self.variant.tongue().depth(&self.symbol, &push)));
        self.quotes.extend(best.map(|(bid, bid_size, ask, ask_size)| (ms, (0, bid, bid_size, ask, ask_size))));
        self.history.insert(last, now.flat());
        self.hidden.insert(last, self.crossed.hidden());
        self.updates.push(TrueUpdate { first: last, last, ms, whole: false });
        (self.told, self.told_at) = (now, ms);
    }

    /// Once a second, with all trades since the last one, which have its time.
    fn make_block(&mut self, ms: i64, out: &mut Vec<Frame>) {
        if dydx::height(ms) == std::mem::replace(&mut self.block, dydx::height(ms)) {
            return;
        }
        out.push((Stream::Quote, dydx::made(ms)));
        let made: Vec<TrueTrade> = self.matched.drain(..).map(|t| TrueTrade { time_ms: ms, ..t }).collect();
        if !made.is_empty() {
            out.push((Stream::Trade, dydx::block(&self.symbol, &made)));
            self.trades.extend(made);
        }
    }

    fn push_changes(&mut self, ms: i64, out: &mut Vec<Frame>) {
        let Some(first) = self.first_pending.take() else { return };
        let (bids, asks) = std::mem::take(&mut self.changed);
        let (last, prev) = (self.state.id, self.last_flushed);
        self.last_flushed = last;
        let push = Push { whole: false, first, last, prev, ms, bids: &bids, asks: &asks, now: &self.state };
        let text = self.variant.tongue().depth(&self.symbol, &push);
        self.history.insert(last, self.state.flat());
        self.updates.push(TrueUpdate { first, last, ms, whole: false });
        out.push((Stream::Depth, text));
    }

    fn push_difference(&mut self, ms: i64, dice: &mut Dice, resets: u64, out: &mut Vec<Frame>) {
        let mut now = self.state.best(self.variant.depth());
        let (mut bids, mut asks) = (difference(&self.told.bids, &now.bids), difference(&self.told.asks, &now.asks));
        // Nothing is said of a level that others pushed out.
        bids.retain(|p, s| *s > 0 || !self.state.bids.contains_key(p));
        asks.retain(|p, s| *s > 0 || !self.state.asks.contains_key(p));
        if bids.is_empty() && asks.is_empty() {
            return self.still(ms, out);
        }
        let prev = self.told.id;
        let reset = dice.one_in(resets);
        let mut whole = false;
        now.id = match self.variant {
            // Maintenance: the next push goes on from a smaller id.
            Variant::Okx => {
                if reset && self.resets.len() < 19 {
                    self.state.id -= RESET_BY;
                    self.resets.push(ms);
                }
                self.state.id
            }
            Variant::Kraken => (prev + 1).max(ms as u64 * 1_000),
            // The service starts again, and tells the whole book as its first message. Once in a world: no count comes twice.
            _ => {
                whole = reset && self.resets.is_empty();
                if whole {
                    self.resets.push(ms);
                    self.quote_count = 0;
                }
                if whole { 1 } else { prev + 1 }
            }
        };
        let last = now.id;
        let (b, a) = if whole { (&now.bids, &now.asks) } else { (&bids, &asks) };
        let push = Push { whole, first: last, last, prev, ms, bids: b, asks: a, now: &now };
        out.push((Stream::Depth, self.variant.tongue().depth(&self.symbol, &push)));
        self.history.insert(last, now.flat());
        self.updates.push(TrueUpdate { first: last, last, ms, whole });
        (self.told, self.told_at) = (now, ms);
    }

    /// What a venue says of a book in which nothing moves.
    pub fn still(&mut self, ms: i64, out: &mut Vec<Frame>) {
        let tongue = self.variant.tongue();
        match self.variant {
            Variant::Okx if ms - self.told_at >= BOOK_BEAT => {
                self.told_at = ms;
                let (id, none) = (self.told.id, &Side::new());
                let now = &self.told;
                let beat = Push { whole: false, first: id, last: id, prev: id, ms, bids: none, asks: none, now };
                out.push((Stream::Depth, tongue.depth(&self.symbol, &beat)));
            }
            Variant::Bybit if (ms - self.told_at) % QUOTE_AGAIN >= QUOTE_AGAIN - 100 => {
                if let Some((at, quote)) = self.quotes.last() {
                    out.push((Stream::Quote, tongue.quote(&self.symbol, *at, quote)));
                }
            }
            Variant::Dydx => self.make_block(ms, out),
            _ => {}
        }
    }
}
