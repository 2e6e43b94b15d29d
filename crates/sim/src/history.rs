//! What REST can be asked about: trades by id, candles, last values, old snapshots. Fed by the same events as the sockets.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{Event, Kind, Now};
use crate::protocol::{Protocol, Read};
use crate::truth::{AggTrade, InstrumentTruth, RawTrade, VenueTruth};
use crate::world::BookText;

/// How often a snapshot is put aside, and how many are kept: the stale one served is 3 to 6 s old.
const SNAPSHOT_EVERY_MS: u64 = 3_000;
const SNAPSHOTS: usize = 2;

/// One instrument's past.
#[derive(Debug, Default)]
pub struct Past {
    pub agg_trades: Vec<AggTrade>,
    pub trades: Vec<RawTrade>,
    /// `(interval, open ms)` → the last `k` object told.
    pub klines: BTreeMap<(String, i64), String>,
    pub ticker: Option<String>,
    pub mark: Option<String>,
    pub open_interest: Option<String>,
    /// Oldest first.
    pub snapshots: VecDeque<BookText>,
}

/// All instruments' past.
#[derive(Debug)]
pub struct History {
    protocol: &'static dyn Protocol,
    pub by_symbol: BTreeMap<String, Past>,
    snapshot_at_ms: u64,
    rows: usize,
}

impl History {
    /// Takes over what earlier runs told.
    /// `rows`: trades of each kind that an instrument keeps; 0 = all.
    pub(crate) fn new(
        protocol: &'static dyn Protocol,
        symbols: &[String],
        before: Option<VenueTruth>,
        rows: usize,
    ) -> Self {
        let mut history = Self { protocol, by_symbol: BTreeMap::new(), snapshot_at_ms: 0, rows };
        for symbol in symbols {
            history.by_symbol.insert(symbol.clone(), Past::default());
        }
        for (symbol, truth) in before.map(|truth| truth.instruments).unwrap_or_default() {
            history.by_symbol.insert(symbol, Past::of(protocol, truth));
        }
        history
    }

    pub fn take(&mut self, event: &Event) {
        let Some(past) = self.by_symbol.get_mut(&*event.symbol) else { return };
        past.take(self.protocol, event.kind, &event.variant, event.logged.as_deref().unwrap_or(&event.payload));
        if self.rows > 0 {
            // Half as many again before anything goes: moving the rest is then rare.
            let most = self.rows + self.rows / 2;
            let (agg, raw) = (past.agg_trades.len(), past.trades.len());
            if agg > most {
                past.agg_trades.drain(..agg - self.rows);
            }
            if raw > most {
                past.trades.drain(..raw - self.rows);
            }
        }
    }

    /// Puts snapshots aside when it is time; `book` gives the present ones.
    pub fn keep_snapshots(&mut self, now: Now, book: impl Fn(&str) -> Option<BookText>) {
        if now.run_ms < self.snapshot_at_ms {
            return;
        }
        self.snapshot_at_ms = now.run_ms + SNAPSHOT_EVERY_MS;
        for (symbol, past) in &mut self.by_symbol {
            if let Some(text) = book(symbol) {
                past.snapshots.push_back(text);
                while past.snapshots.len() > SNAPSHOTS {
                    past.snapshots.pop_front();
                }
            }
        }
    }
}

impl Past {
    fn of(protocol: &dyn Protocol, truth: InstrumentTruth) -> Self {
        let mut past = Self {
            agg_trades: truth.agg_trades.into_values().collect(),
            trades: truth.trades.into_values().collect(),
            ..Self::default()
        };
        for stated in &truth.klines {
            past.take(protocol, Kind::Kline, &stated.variant, &stated.payload);
        }
        for (kind, last) in [
            (Kind::Ticker, truth.tickers.last()),
            (Kind::MarkPrice, truth.marks.last()),
            (Kind::OpenInterest, truth.open_interest.last()),
        ] {
            if let Some(stated) = last {
                past.take(protocol, kind, "", &stated.payload);
            }
        }
        past
    }

    fn take(&mut self, protocol: &dyn Protocol, kind: Kind, variant: &str, payload: &str) {
        match kind {
            // A recording may repeat a trade or tell two out of order; history has each once, by id.
            Kind::AggTrade | Kind::Trade => match protocol.read(kind, payload) {
                Ok(Read::Group(trade)) => insert(&mut self.agg_trades, trade, |trade| trade.id),
                Ok(Read::Trade(trade)) => insert(&mut self.trades, trade, |trade| trade.id),
                Ok(Read::Trades(all)) => all.into_iter().for_each(|one| insert(&mut self.trades, one, |one| one.id)),
                _ => {}
            },
            Kind::Kline => {
                if let Some((open_ms, kept)) = protocol.candle(payload) {
                    self.klines.insert((variant.to_owned(), open_ms), kept);
                }
            }
            Kind::Ticker => self.ticker = Some(payload.to_owned()),
            Kind::MarkPrice => self.mark = Some(payload.to_owned()),
            Kind::OpenInterest => self.open_interest = Some(payload.to_owned()),
            _ => {}
        }
    }
}

fn insert<T>(rows: &mut Vec<T>, row: T, id: impl Fn(&T) -> u64) {
    match rows.last() {
        Some(last) if id(last) >= id(&row) => {
            if let Err(at) = rows.binary_search_by_key(&id(&row), &id) {
                rows.insert(at, row);
            }
        }
        _ => rows.push(row),
    }
}
