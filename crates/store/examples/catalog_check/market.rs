//! Forty minutes around midnight of a perpetual, a spot pair and a perpetual whose trades are named by UUIDs, and, with fewer rows, of
//! an instrument of every other venue and kind (inverse, dated, a symbol with a slash), with the troubles that a real tape has: trades and a bar that came late (some of them for a day that was stored already), checkpoints, marks, a tick that changes, a trade without a side.
//!
//! The first day ends sealed, the second with several small files, so that readers meet both.

use std::path::Path;
use std::sync::Arc;

use wholetape_model::*;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig};

const SECOND: i64 = 1_000_000_000;
/// 2026-01-02, 23:40.
const T0: i64 = 20_455 * 86_400 * SECOND + 85_200 * SECOND;
/// 2026-03-27, 08:00.
const EXPIRY: i64 = 1_774_598_400;
const STEPS: i64 = 40 * 60 * 5;
const STEP: i64 = SECOND / 5;
const LEVELS: usize = 12;

/// A small generator: the same market every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n) as i64
    }
}

/// One instrument, with the digits that its venue prints.
struct Instrument {
    id: &'static str,
    kind: InstrumentKind,
    /// As the venue spells it, then base, quote and what it is settled in.
    names: [&'static str; 4],
    /// What one contract is worth.
    multiplier: i64,
    /// Its trades have UUIDs.
    named: bool,
    /// One step in so many says something.
    every: i64,
    scales: Scales,
    /// What the venue prints of one tick and one step.
    tick: Decimal,
    step: Decimal,
    /// The middle, in ticks.
    mid: i64,
    trade: u64,
    update: u64,
    minute: Option<[i64; 5]>,
    bar: u64,
    /// Trades that did not come in time.
    missed: Vec<(Trade, i64)>,
    missed_bars: Vec<(Bar, i64)>,
}

impl Instrument {
    fn is_perpetual(&self) -> bool {
        matches!(self.kind, InstrumentKind::Perpetual | InstrumentKind::InversePerpetual)
    }

    fn id_flags(&self) -> RowFlags {
        if self.named { RowFlags::LOOSE_ID } else { RowFlags::default() }
    }
}

/// In no order, as a venue prints them.
fn uuid(n: u64) -> TradeId {
    TradeId::uuid(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | 0x9112_a178_eb60_23af).unwrap()
}

struct Market {
    dice: Dice,
    lane: Lane,
    now: i64,
}

impl Market {
    fn put(&mut self, kind: &str, id: &str, event: i64, flags: RowFlags, scales: Scales, body: View<'_>) {
        let topic = self.lane.topic(&Topic::parse(&format!("{kind}.{id}")).unwrap()).unwrap();
        let row = Row { ts_event: Ts(event), ts_recv: Ts(self.now), conn: 3, frame: 7, flags, scales, body };
        self.lane.append(topic, &row).unwrap();
    }

    fn define(&mut self, i: &Instrument, status: TradingStatus) {
        let def = InstrumentDef {
            kind: i.kind,
            status,
            tick: i.tick,
            step: i.step,
            size_min: i.step,
            size_max: Decimal { raw: 9_000, scale: 0 },
            notional_min: Decimal { raw: 500_000_000, scale: 8 },
            multiplier: Decimal { raw: i.multiplier, scale: 0 },
            onboard: Ts(1_569_398_400 * SECOND),
            expiry: Ts(if i.kind == InstrumentKind::InverseFuture { EXPIRY } else { 4_133_404_800 } * SECOND),
            symbol: i.names[0],
            base: i.names[1],
            quote: i.names[2],
            settle: i.names[3],
            status_text: "TRADING",
        };
        self.put("instrument", i.id, self.now, RowFlags::TS_LOCAL, i.scales, Body::Instrument(def));
    }

    fn status(&mut self, i: &Instrument, status: TradingStatus, text: &str) {
        self.put(
            "status",
            i.id,
            self.now - SECOND / 100,
            RowFlags::default(),
            i.scales,
            Body::Status(Status { status, text }),
        );
    }

    fn trade(&mut self, i: &mut Instrument) {
        i.trade += 1;
        let at = i.mid + self.dice.below(3) - 1;
        let price = at * i.tick.raw * 10_i64.pow(u32::from(i.scales.price - i.tick.scale));
        let steps = 1 + self.dice.below(4_000);
        let size = steps * i.step.raw * 10_i64.pow(u32::from(i.scales.size - i.step.scale));
        let (id, covers) = match i.named {
            true => (uuid(i.trade), (0, 0)),
            false => (i.trade.into(), (i.trade * 2, i.trade * 2 + 1)),
        };
        let trade = Trade {
            id,
            first_id: covers.0,
            last_id: covers.1,
            price: Price(price),
            size: Size(size),
            aggressor: [Some(Side::Buy), Some(Side::Sell), Some(Side::Sell), None][self.dice.below(4) as usize],
            condition: TradeCondition::Regular,
        };
        let bar = i.minute.get_or_insert([price, price, price, price, 0]);
        (bar[1], bar[2], bar[3]) = (bar[1].max(price), bar[2].min(price), price);
        bar[4] += size;
        let event = self.now - self.dice.below(4_000_000);
        match self.dice.below(14) {
            // A late row between two files takes the end of one of them, which what is expected knows nothing of: it is made of the
            // tape alone. Few rows meet such an end, and none of these.
            0 if i.every == 1 => i.missed.push((trade, event)),
            _ => self.put("trade", i.id, event, i.id_flags(), i.scales, Body::Trade(trade)),
        }
        if self.dice.below(3) == 0 {
            self.put("trade-raw", i.id, event, i.id_flags(), i.scales, Body::Trade(trade));
        }
    }

    /// What was missed comes, newest first, as a healer that reads backwards finds it.
    fn heal(&mut self, i: &mut Instrument) {
        for (trade, event) in std::mem::take(&mut i.missed).into_iter().rev() {
            self.put("trade", i.id, event, RowFlags::LATE_REST.with(i.id_flags()), i.scales, Body::Trade(trade));
        }
        for (bar, event) in std::mem::take(&mut i.missed_bars) {
            self.put("bar-1m", i.id, event, RowFlags::LATE_REST, i.scales, Body::Bar(bar));
        }
    }

    fn levels(&mut self, i: &Instrument, n: usize, some: bool) -> (Vec<Level>, Vec<Level>) {
        let price = |at: i64| Price(at * i.tick.raw * 10_i64.pow(u32::from(i.scales.price - i.tick.scale)));
        let mut sides = [Vec::new(), Vec::new()];
        for (side, levels) in sides.iter_mut().enumerate() {
            for k in 1..=n as i64 {
                if some && self.dice.below(3) > 0 {
                    continue;
                }
                let steps = if some && k > 2 { self.dice.below(4) } else { 1 + self.dice.below(5_000) };
                let size = Size(steps * i.step.raw * 10_i64.pow(u32::from(i.scales.size - i.step.scale)));
                levels.push(Level { price: price(if side == 0 { i.mid - k } else { i.mid + k }), size });
            }
        }
        let [bids, asks] = sides;
        (bids, asks)
    }

    fn book(&mut self, i: &mut Instrument, action: BookAction, flags: RowFlags) {
        let (bids, asks) = self.levels(i, LEVELS, action == BookAction::Delta);
        if action == BookAction::Delta && bids.is_empty() && asks.is_empty() {
            return;
        }
        let first = i.update + 1;
        i.update += if action == BookAction::Checkpoint { 0 } else { 1 + self.dice.below(4) as u64 };
        let book = Book {
            action,
            first_id: first,
            last_id: i.update,
            prev_id: first - 1,
            bids: Levels::Native(&bids),
            asks: Levels::Native(&asks),
        };
        self.put("book", i.id, self.now - 3_000_000, flags, i.scales, Body::Book(book));
    }

    fn quote(&mut self, i: &Instrument) {
        let (bids, asks) = self.levels(i, 1, false);
        let quote = Quote {
            bid: bids[0].price,
            bid_size: bids[0].size,
            ask: asks[0].price,
            ask_size: asks[0].size,
            update_id: i.update,
        };
        self.put("quote", i.id, self.now - 1_000_000, RowFlags::default(), i.scales, Body::Quote(quote));
    }

    fn bar(&mut self, i: &mut Instrument, closed: bool) {
        let Some([open, high, low, close, volume]) = i.minute else { return };
        i.bar += u64::from(closed);
        let start = self.now.div_euclid(60 * SECOND) * 60 * SECOND - if closed { 60 * SECOND } else { 0 };
        let (price, size) =
            (|p| Decimal { raw: p, scale: i.scales.price }, |s| Decimal { raw: s, scale: i.scales.size });
        let bar = Bar {
            open_ts: Ts(start),
            close_ts: Ts(start + 60 * SECOND - SECOND / 1_000),
            open: price(open),
            high: price(high),
            low: price(low),
            close: price(close),
            volume: size(volume),
            quote_volume: Decimal { raw: volume * 7, scale: 8 },
            taker_volume: size(volume / 2),
            taker_quote_volume: Decimal { raw: volume * 3, scale: 8 },
            trades: 40,
            first_id: 1,
            last_id: i.trade,
            closed,
            period: Period::parse("1m").unwrap(),
        };
        if closed {
            i.minute = None;
            if i.bar % 9 == 4 {
                i.missed_bars.push((bar, self.now - SECOND / 500));
                return;
            }
        }
        self.put("bar-1m", i.id, self.now - SECOND / 500, RowFlags::default(), i.scales, Body::Bar(bar));
    }

    fn prices(&mut self, i: &Instrument) {
        let price = |dice: &mut Dice| Decimal { raw: 9_000_000_000_000 + dice.below(1_000_000_000), scale: 8 };
        let (event, none) = (self.now - SECOND / 50, RowFlags::default());
        let mark = price(&mut self.dice);
        self.put("mark", i.id, event, none, i.scales, Body::MarkPrice(mark));
        let index = price(&mut self.dice);
        self.put("index", i.id, event, none, i.scales, Body::IndexPrice(index));
        let rate = Decimal { raw: self.dice.below(20_000) - 10_000, scale: 8 };
        let next_ts = Ts((T0 / (28_800 * SECOND) + 1) * 28_800 * SECOND);
        self.put("funding", i.id, event, none, i.scales, Body::Funding(Funding { rate, next_ts }));
        let interest = Decimal { raw: 80_000_000 + self.dice.below(1_000), scale: 3 };
        self.put("open_interest", i.id, event, none, i.scales, Body::OpenInterest(interest));
    }

    fn gap(&mut self, i: &Instrument, state: GapState) {
        let (from_id, to_id) = if i.named { (0, 0) } else { (i.trade + 1, i.trade + 4) };
        let gap = Gap {
            gap: i.trade,
            state,
            cause: GapCause::Disconnected,
            source: HealSource::None,
            from_id,
            to_id,
            from_ts: Ts(self.now - SECOND),
            to_ts: Ts(self.now),
            missing: if i.named { 0 } else { 4 },
            why: "connection closed",
        };
        self.put("trade", i.id, self.now, RowFlags::default(), i.scales, Body::Gap(gap));
    }
}

/// Makes `dir` a data directory with a tape and a catalog in both dialects.
pub fn make(dir: &Path) {
    let tape = Tape::open(&dir.join("tape"), TapeConfig::default()).unwrap();
    let mut market = Market { dice: Dice(11), lane: tape.lane("market").unwrap(), now: T0 };
    let new = |id, (kind, names, named), scales, tick, step, mid| Instrument {
        id,
        kind,
        names,
        multiplier: 1,
        named,
        every: 1,
        scales,
        tick,
        step,
        mid,
        trade: 5_266_000_000,
        update: 9_100_000_000,
        minute: None,
        bar: 0,
        missed: Vec::new(),
        missed_bars: Vec::new(),
    };
    let dec = |raw, scale| Decimal { raw, scale };
    use InstrumentKind as K;
    let (linear, spot) = (["BTCUSDT", "BTC", "USDT", "USDT"], ["BTCUSDT", "BTC", "USDT", ""]);
    let usual = Scales { price: 2, size: 3 };
    let thin = |i: Instrument, multiplier| Instrument { every: 10, multiplier, ..i };
    let inverse = |id, kind, symbol| {
        let names = [symbol, "BTC", "USD", "BTC"];
        thin(new(id, (kind, names, false), Scales { price: 1, size: 0 }, dec(1, 1), dec(1, 0), 900_000), 100)
    };
    let (dydx, kraken) = (["BTC-USD", "BTC", "USD", "USDC"], ["BTC/USD", "BTC", "USD", ""]);
    let mut instruments = [
        new("BTCUSDT-PERP.BINANCE", (K::Perpetual, linear, false), usual, dec(10, 2), dec(1, 3), 900_000),
        new(
            "BTCUSDT.BINANCE",
            (K::Spot, spot, false),
            Scales { price: 8, size: 8 },
            dec(1_000_000, 8),
            dec(1_000, 8),
            9_000_000,
        ),
        new("BTCUSDT-LINEAR.BYBIT", (K::Perpetual, linear, true), usual, dec(10, 2), dec(1, 3), 900_000),
        inverse("BTC-USD-SWAP.OKX", K::InversePerpetual, "BTC-USD-SWAP"),
        inverse("BTC-USD-260327.OKX", K::InverseFuture, "BTC-USD-260327"),
        thin(new("BTC-USD-PERP.DYDX", (K::Perpetual, dydx, true), usual, dec(10, 2), dec(1, 3), 900_000), 1),
        thin(new("BTC%2FUSD.KRAKEN", (K::Spot, kraken, false), usual, dec(10, 2), dec(1, 3), 900_000), 1),
    ];
    let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
    let pace = Pace { budget: 8_000_000, flush_every: std::time::Duration::from_secs(400), ..Pace::default() };
    let mut others = Dice(12);
    let mut follower = Follower::new(Catalog::open(Arc::new(RealDisk), dir, config).unwrap(), pace);
    for step in 0..STEPS {
        market.now = T0 + step * STEP + market.dice.below(STEP as u64 / 2);
        for i in instruments.iter_mut().filter(|i| i.every == 1) {
            one(&mut market, i, step);
        }
        // By a dice of their own: the others' market is what it was without them.
        std::mem::swap(&mut market.dice, &mut others);
        for i in instruments.iter_mut().filter(|i| i.every > 1 && step % i.every == 0) {
            one(&mut market, i, step);
        }
        std::mem::swap(&mut market.dice, &mut others);
        market.lane.commit().unwrap();
        if step % 250 == 249 {
            let now = Ts(market.now);
            while follower.poll(&tape, now).unwrap() {}
            follower.tend(now).unwrap();
        }
    }
    let now = Ts(market.now);
    while follower.poll(&tape, now).unwrap() {}
    follower.flush(now).unwrap();
    follower.tend(now).unwrap();
    let counts = follower.counts;
    println!("{counts:?}");
    assert!(counts.rewritten > 0 && counts.sealed > 0, "the market is not what it shall be");
    drop(market);
    tape.close().unwrap();
}

fn one(market: &mut Market, i: &mut Instrument, step: i64) {
    i.mid += market.dice.below(3) - 1;
    if step == 0 {
        market.define(i, TradingStatus::Trading);
        market.status(i, TradingStatus::Trading, "TRADING");
        market.book(i, BookAction::Snapshot, RowFlags::default());
    }
    for _ in 0..market.dice.below(3) {
        market.trade(i);
    }
    market.book(i, BookAction::Delta, RowFlags::default());
    market.quote(i);
    if step % 10 == 5 {
        market.bar(i, false);
    }
    if step > 0 && step % 300 == 0 {
        market.bar(i, true);
    }
    if i.is_perpetual() && step % 15 == 0 {
        market.prices(i);
    }
    // Soon enough for rows in memory, and too late for those of a file.
    if step % 700 == 650 {
        market.gap(i, GapState::Open);
        market.heal(i);
        market.gap(i, GapState::Healed);
    }
    match step {
        2_000 | 8_000 => market.book(i, BookAction::Checkpoint, RowFlags::CHECKPOINT),
        4_000 => market.define(i, TradingStatus::Trading),
        5_000 => market.status(i, TradingStatus::Halted, "HALT"),
        5_100 => market.status(i, TradingStatus::Trading, "TRADING"),
        // A definition that says something new: larger steps.
        9_000 => {
            i.step = Decimal { raw: i.step.raw * 10, scale: i.step.scale };
            market.define(i, TradingStatus::Trading);
        }
        9_500 => market.book(i, BookAction::Snapshot, RowFlags::default()),
        _ => {}
    }
}
