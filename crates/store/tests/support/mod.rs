//! Topics of every kind with rows that are all different, on a real tape.
#![allow(dead_code)]

pub mod days;
pub mod golden;

use wholetape_model::*;
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

pub const DAY: i64 = 86_400_000_000_000;
/// 2026-01-02, 23:50.
pub const T0: i64 = 20_455 * DAY + 85_800_000_000_000;
pub const ID: &str = "BTCUSDT-PERP.BINANCE";

pub const KINDS: [&str; 17] = [
    "trade",
    "trade-raw",
    "quote",
    "book",
    "bar-1m",
    "mark",
    "index",
    "funding",
    "status",
    "instrument",
    "ticker",
    "open_interest",
    "liquidation",
    "quality",
    "link",
    "alert",
    "signal",
];

/// A small generator: the same numbers for the same seed.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn dec(&mut self) -> Decimal {
        Decimal { raw: self.below(1_000_000) as i64 - 1_000, scale: self.below(9) as u8 }
    }
}

pub struct Owned {
    levels: Vec<Level>,
    text: String,
}

pub fn owned(dice: &mut Dice) -> Owned {
    let n = dice.below(5);
    let level = |d: &mut Dice| Level { price: Price(d.below(100_000) as i64), size: Size(d.below(4) as i64) };
    Owned { levels: (0..n).map(|_| level(dice)).collect(), text: format!("why \"{}\" \u{20bf}", dice.below(100)) }
}

/// The `i`-th body of a topic.
pub fn body<'a>(kind: &str, i: u64, d: &mut Dice, o: &'a Owned) -> View<'a> {
    let half = o.levels.len() / 2;
    let text = o.text.as_str();
    match kind {
        "trade" | "trade-raw" => Body::Trade(Trade {
            id: i.into(),
            first_id: i * 10,
            last_id: i * 10 + d.below(9),
            price: Price(d.below(10_000_000) as i64),
            size: Size(d.below(50_000) as i64),
            aggressor: [None, Some(Side::Buy), Some(Side::Sell)][d.below(3) as usize],
            condition: TradeCondition::from_u8(d.below(6) as u8),
        }),
        "quote" => Body::Quote(Quote {
            bid: Price(d.below(1_000_000) as i64),
            bid_size: Size(d.below(500) as i64),
            ask: Price(d.below(1_000_000) as i64),
            ask_size: Size(d.below(500) as i64),
            update_id: i,
        }),
        "book" => Body::Book(Book {
            action: if i == 1 {
                BookAction::Snapshot
            } else {
                [BookAction::Delta, BookAction::Delta, BookAction::Checkpoint][d.below(3) as usize]
            },
            first_id: i * 3,
            last_id: i * 3 + 2,
            prev_id: i * 3 - 1,
            bids: Levels::Native(&o.levels[..half]),
            asks: Levels::Native(&o.levels[half..]),
        }),
        "bar-1m" => Body::Bar(Bar {
            open_ts: Ts(T0),
            close_ts: Ts(T0 + 60_000),
            open: d.dec(),
            high: d.dec(),
            low: d.dec(),
            close: d.dec(),
            volume: d.dec(),
            quote_volume: d.dec(),
            taker_volume: d.dec(),
            taker_quote_volume: d.dec(),
            trades: d.below(100),
            first_id: i,
            last_id: i + 9,
            closed: i.is_multiple_of(3),
            period: Period::parse("1m").unwrap(),
        }),
        "mark" => Body::MarkPrice(d.dec()),
        "index" => Body::IndexPrice(d.dec()),
        "funding" => {
            Body::Funding(Funding { rate: d.dec(), next_ts: if i.is_multiple_of(4) { Ts::ZERO } else { Ts(T0) } })
        }
        "status" => {
            Body::Status(Status { status: TradingStatus::from_u8([1, 2, 3, 4, 5, 6, 255][d.below(7) as usize]), text })
        }
        "instrument" => Body::Instrument(InstrumentDef {
            kind: InstrumentKind::Perpetual,
            status: TradingStatus::Trading,
            tick: Decimal { raw: 10, scale: 2 },
            step: Decimal { raw: 1, scale: 3 },
            size_min: Decimal { raw: 1, scale: 3 },
            size_max: Decimal { raw: 1_000 + (i / 4) as i64, scale: 0 },
            notional_min: Decimal { raw: 5, scale: 0 },
            multiplier: Decimal { raw: 1, scale: 0 },
            onboard: Ts(1_569_398_400_000_000_000),
            expiry: Ts(4_133_404_800_000_000_000),
            symbol: "BTCUSDT",
            base: "BTC",
            quote: "USDT",
            settle: "USDT",
            status_text: "TRADING",
        }),
        "ticker" => Body::Ticker(Ticker {
            last: d.dec(),
            open: d.dec(),
            high: d.dec(),
            low: d.dec(),
            volume: d.dec(),
            quote_volume: d.dec(),
            change: d.dec(),
            trades: i,
            open_ts: Ts(T0 - DAY),
            close_ts: Ts(T0),
        }),
        "open_interest" => Body::OpenInterest(d.dec()),
        "liquidation" => Body::Liquidation(Liquidation {
            side: [None, Some(Side::Buy), Some(Side::Sell)][d.below(3) as usize],
            price: d.dec(),
            average_price: d.dec(),
            size: d.dec(),
            order_size: d.dec(),
        }),
        "quality" if i.is_multiple_of(2) => Body::Raw(Raw { channel: "cadence", text }),
        "quality" => Body::Finding(Finding {
            check: Check::ALL[d.below(9) as usize],
            observed: d.dec(),
            bound: d.dec(),
            count: i,
            why: text,
        }),
        "link" => Body::Link(Link {
            state: LinkState::ALL[d.below(8) as usize],
            cause: LinkCause::ALL[d.below(18) as usize],
            attempt: i as u32,
            delay_ns: d.below(1 << 40),
            endpoint: "wss://x/ws",
            correlation: text,
            why: text,
        }),
        "alert" => Body::Alert(Alert { severity: Severity::Warning, code: "odd", text }),
        "signal" => Body::Publication(Publication {
            principal: "k1",
            mid: text,
            event: "entry",
            cid: "",
            data: r#"{"side": "buy"}"#,
        }),
        other => panic!("{other}"),
    }
}

pub fn topic(kind: &str) -> Topic {
    Topic::parse(&format!("{kind}.{ID}")).unwrap()
}

/// A mark for one row in twenty.
pub fn mark<'a>(i: u64, d: &mut Dice, text: &'a str) -> View<'a> {
    match d.below(3) {
        0 => Body::Gap(Gap {
            gap: i,
            state: GapState::ALL[d.below(4) as usize],
            cause: GapCause::ALL[d.below(13) as usize],
            source: HealSource::ALL[d.below(4) as usize],
            from_id: i,
            to_id: i + 3,
            from_ts: Ts(T0),
            to_ts: Ts(T0 + 5),
            missing: 4,
            why: text,
        }),
        1 => Body::Validity(Validity { state: ValidityState::Live, cause: GapCause::Resync, update_id: i, why: text }),
        _ => Body::Retract(i),
    }
}

/// What a topic holds, by seq: records with the topic's number taken out.
pub fn held(tape: &Tape, topic: &Topic) -> Vec<Vec<u8>> {
    let mut reader = tape.reader(topic, From::Earliest, ReaderOptions::default()).unwrap();
    let (mut batch, mut all) = (Vec::new(), Vec::new());
    while reader.poll_next(&mut batch, 1_000) > 0 {
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Record(r) => all.push(r.record().bytes().to_vec()),
                other => panic!("{other:?}"),
            }
        }
    }
    all
}
