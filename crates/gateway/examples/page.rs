//! The page over a made-up tape: `cargo run -p wholetape-gateway --example page [PORT [SECONDS]]`.
//!
//! Trades, books, connection events and gaps of four instruments, so that the page can be looked at without any venue.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};
use wholetape_model::mark::{Gap, GapCause, GapState, HealSource, Link, LinkCause, LinkState, Validity, ValidityState};
use wholetape_model::{
    Book, BookAction, Level, Levels, Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition, Ts, View,
};
use wholetape_tape::{Lane, Tape, TapeConfig};

struct Nothing;

impl Surface for Nothing {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

/// A small seeded generator: the page needs variety, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Market {
    name: &'static str,
    /// In ticks of 0.01 (or 0.0001).
    mid: i64,
    scales: Scales,
    trade_id: u64,
    update: u64,
}

fn now() -> Ts {
    Ts(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64))
}

fn write(lane: &mut Lane, topic: &str, scales: Scales, flags: RowFlags, body: View<'_>) -> Result<(), Box<dyn Error>> {
    let no = lane.topic(&Topic::parse(topic)?)?;
    let ts = now();
    lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 0, flags, scales, body })?;
    Ok(())
}

impl Market {
    fn book(&mut self, lane: &mut Lane, dice: &mut Dice, whole: bool) -> Result<(), Box<dyn Error>> {
        let n = if whole { 60 } else { 1 + dice.roll(5) };
        let mut side = |sign: i64, crossed: i64| -> Vec<Level> {
            let near = (0..n as i64).map(|i| {
                let away = if whole { i } else { dice.roll(40) as i64 };
                let size = if !whole && dice.roll(5) == 0 { 0 } else { 1 + dice.roll(90_000) as i64 };
                Level { price: Price(self.mid + sign * (1 + away)), size: Size(size) }
            });
            // What the middle ran over is gone.
            let gone = (0..crossed).map(|i| Level { price: Price(self.mid - sign * i), size: Size(0) });
            near.chain(gone).collect()
        };
        let (bids, asks) = (side(-1, 4), side(1, 4));
        self.update += 1;
        let action = if whole { BookAction::Snapshot } else { BookAction::Delta };
        let (first_id, prev_id) = (self.update, self.update - 1);
        let (bids, asks) = (Levels::Native(&bids), Levels::Native(&asks));
        let body = View::Book(Book { action, first_id, last_id: first_id, prev_id, bids, asks });
        write(lane, &format!("book.{}", self.name), self.scales, RowFlags::default(), body)
    }

    fn trade(&mut self, lane: &mut Lane, dice: &mut Dice, flags: RowFlags) -> Result<(), Box<dyn Error>> {
        let buy = dice.roll(2) == 0;
        self.trade_id += 1;
        let id = self.trade_id;
        let body = View::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(self.mid + if buy { 1 } else { -1 }),
            size: Size(1 + (dice.roll(300) * dice.roll(300)) as i64),
            aggressor: Some(if buy { Side::Buy } else { Side::Sell }),
            condition: TradeCondition::Regular,
        });
        write(lane, &format!("trade.{}", self.name), self.scales, flags, body)
    }
}

fn link(lane: &mut Lane, name: &str, state: LinkState, cause: LinkCause, why: &str) -> Result<(), Box<dyn Error>> {
    let delay_ns = if state == LinkState::Disconnected { 1_700_000_000 } else { 0 };
    let link = Link { state, cause, attempt: 1, delay_ns, endpoint: "ws://127.0.0.1/ws", correlation: "c-1", why };
    write(lane, &format!("link.{name}"), Scales::default(), RowFlags::TS_LOCAL, View::Link(link))
}

fn gap(
    lane: &mut Lane,
    m: &Market,
    no: u64,
    state: GapState,
    source: HealSource,
    why: &str,
) -> Result<(), Box<dyn Error>> {
    let ts = now();
    let (from_id, to_id) = (m.trade_id - 40, m.trade_id - 12);
    let missing = if state == GapState::Open { 29 } else { 0 };
    let cause = GapCause::Disconnected;
    let body = Gap { gap: no, state, cause, source, from_id, to_id, from_ts: ts, to_ts: ts, missing, why };
    let (topic, copy) = (format!("trade.{}", m.name), format!("gap.{}", m.name));
    write(lane, &topic, Scales::default(), RowFlags::TS_LOCAL, View::Gap(body))?;
    let why = format!("trade: {why}");
    write(lane, &copy, Scales::default(), RowFlags::TS_LOCAL, View::Gap(Gap { why: &why, ..body }))
}

fn start(lane: &mut Lane, markets: &mut [Market], dice: &mut Dice) -> Result<(), Box<dyn Error>> {
    for m in markets.iter_mut() {
        m.book(lane, dice, true)?;
        let body = View::Validity(Validity {
            state: ValidityState::Live,
            cause: GapCause::Resync,
            update_id: m.update,
            why: "",
        });
        write(lane, &format!("book.{}", m.name), m.scales, RowFlags::TS_LOCAL, body)?;
        for _ in 0..60 {
            m.trade(lane, dice, RowFlags::default())?;
        }
    }
    link(lane, "binance-spot-0", LinkState::Active, LinkCause::FirstData, "")?;
    link(lane, "binance-usdm-public-0", LinkState::Active, LinkCause::FirstData, "")?;
    link(lane, "binance-usdm-market-0", LinkState::Connecting, LinkCause::Closed, "the venue closed the socket")?;
    link(lane, "binance-us-0", LinkState::Active, LinkCause::FirstData, "")?;
    gap(lane, &markets[0], 1, GapState::Open, HealSource::None, "closed by the venue")?;
    gap(lane, &markets[0], 1, GapState::Healed, HealSource::Rest, "29 of 29 rows from aggTrades")?;
    gap(lane, &markets[2], 2, GapState::NeverPublished, HealSource::Rest, "the venue's own list skips these ids")?;
    Ok(lane.commit()?)
}

async fn play(mut lane: Lane, mut markets: Vec<Market>, stop: CancellationToken) -> Result<(), Box<dyn Error>> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    start(&mut lane, &mut markets, &mut dice)?;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while tokio::select! { () = stop.cancelled() => false, _ = tick.tick() => true } {
        for m in &mut markets {
            if dice.roll(6) == 0 {
                m.mid += dice.roll(3) as i64 - 1;
            }
            m.book(&mut lane, &mut dice, false)?;
            for _ in 0..dice.roll(3) {
                let flags = if dice.roll(40) == 0 { RowFlags::LATE_REST } else { RowFlags::default() };
                m.trade(&mut lane, &mut dice, flags)?;
            }
        }
        lane.commit()?;
    }
    Ok(())
}

fn market(name: &'static str, mid: i64, price: u8, size: u8) -> Market {
    Market { name, mid, scales: Scales { price, size }, trade_id: 3_184_220_417, update: 48_230_117 }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().map_or(Ok(8787), |p| p.parse())?;
    let seconds: Option<u64> = args.next().map(|s| s.parse()).transpose()?;
    let dir = tempfile::tempdir()?;
    let tape = Tape::open(dir.path(), TapeConfig::default())?;
    let lane = tape.lane("demo")?;
    let markets = vec![
        market("BTCUSDT.BINANCE", 6_712_345, 2, 5),
        market("BTCUSDT-PERP.BINANCE", 671_231, 1, 3),
        market("ETHUSDT.BINANCE", 318_422, 2, 4),
        market("SOLUSDT.BINANCE_US", 17_433, 2, 3),
    ];
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    if let Some(seconds) = seconds {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.cancel();
        });
    }
    let deps = Deps { tape, history: None, surface: Arc::new(Nothing), clients: Default::default() };
    let served = Gateway::serve(GatewayConfig::default(), deps, listener, stop.clone());
    let (served, played) = tokio::join!(served, play(lane, markets, stop));
    played?;
    Ok(served?)
}
