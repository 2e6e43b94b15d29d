//! All checks of one instrument, called by the line for every event and now and then by its timer.

use wholetape_book::OrderBook;
use wholetape_model::{
    Body, Check, Decimal, Event, InstrumentDef, Kind, Quote, RowFlags, Scales, Span, Trade, TradeCondition, Ts,
};

use crate::config::CheckConfig;
use crate::finding::{Failure, Findings, Fold};
use crate::price_range::PriceRange;
use crate::size_range::SizeRange;
use crate::stale::Stale;
use crate::sums::{Compared, Sums};
use crate::tick::{Judged, Tick};
use crate::time_order::TimeOrder;
use crate::{crossed, spread};

/// The kinds that have a time order and a cadence of their own.
const KINDS: usize = 5;

const fn slot(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Trade => Some(0),
        Kind::TradeRaw => Some(1),
        Kind::Quote => Some(2),
        Kind::Book => Some(3),
        Kind::Mark => Some(4),
        _ => None,
    }
}

/// The state of all checks of one instrument. No allocation, ever.
#[derive(Debug, Clone)]
pub struct Checks {
    config: CheckConfig,
    /// Trades and raw trades are one market but two id spaces in two paces: each has its own reference.
    prices: [PriceRange; 2],
    sizes: SizeRange,
    tick: Tick,
    /// A price made us doubt the definition, and the venue was not asked yet.
    doubtful: bool,
    times: [TimeOrder; KINDS],
    cadence: [Stale; KINDS],
    folds: [Fold; 8],
    /// Where trade ids prove nothing.
    sums: Option<Sums>,
}

/// What the checks say of one event, while they run.
struct Verdict<'a> {
    flags: RowFlags,
    findings: &'a mut Findings,
}

/// Where a failure goes: the fold, and the row's flag.
const PRICE: (usize, RowFlags) = (0, RowFlags::BAD_PRICE);
const SIZE: (usize, RowFlags) = (1, RowFlags::BAD_SIZE);
const TIME: (usize, RowFlags) = (2, RowFlags::BAD_TIME);
const CROSSED: (usize, RowFlags) = (3, RowFlags::CROSSED);
const SPREAD: (usize, RowFlags) = (4, RowFlags::WIDE_SPREAD);
const OFF_TICK: (usize, RowFlags) = (5, RowFlags::OFF_TICK);
const STALE: usize = 6;
const BAR_SUM: usize = 7;

impl Checks {
    #[must_use]
    pub fn for_instrument(config: CheckConfig) -> Self {
        let fold = |check| Fold::new(check, config.fold_every);
        Self {
            prices: [PriceRange::new(config.price_band_bps, config.price_age_max); 2],
            sizes: SizeRange::new(config.size_max),
            tick: Tick::default(),
            doubtful: false,
            times: [TimeOrder::new(config.time_backwards_max, config.time_ahead_max); KINDS],
            cadence: [Stale::new(config.stale_factor, config.stale_floor); KINDS],
            folds: [
                fold(Check::PriceRange),
                fold(Check::SizeRange),
                fold(Check::TimeOrder),
                fold(Check::Crossed),
                fold(Check::Spread),
                fold(Check::OffTick),
                fold(Check::Stale),
                fold(Check::BarSum),
            ],
            sums: None,
            config,
        }
    }

    /// Holds each minute's trades against the venue's own bar: for trades whose ids do not count.
    #[must_use]
    pub fn with_sums(mut self) -> Self {
        self.sums = Some(Sums::default());
        self
    }

    /// What the venue says of the instrument, told at `since` (`Ts::ZERO`: it does not say since when it holds): its largest order and
    /// its tick, 0 where it sets none.
    pub fn define(&mut self, def: &InstrumentDef<Span>, since: Ts, now: Ts) {
        if def.size_max.raw > 0 {
            self.sizes = SizeRange::new(def.size_max);
        }
        self.tick.set(def.tick, (since > Ts::ZERO).then_some(since), now);
    }

    /// Whether the definition is to be asked for anew, since a price does not fit it. Told once for each such price.
    pub const fn take_doubt(&mut self) -> bool {
        std::mem::replace(&mut self.doubtful, false)
    }

    /// A live event. `book` is the instrument's book as it stands after a book event, if it is live; otherwise `None`.
    /// Returns the flags for its row; what is to be told goes to `findings` (for the instrument's `quality` topic).
    #[inline]
    pub fn on_event(
        &mut self,
        event: &Event,
        ts_recv: Ts,
        book: Option<&OrderBook>,
        findings: &mut Findings,
    ) -> RowFlags {
        let mut verdict = Verdict { flags: RowFlags::default(), findings };
        if let Some(slot) = slot(event.kind) {
            self.cadence[slot].on_event(ts_recv);
            let failure = self.times[slot].on_event(event.ts_event, ts_recv);
            self.judge(TIME, ts_recv, failure, &mut verdict);
        }
        match &event.body {
            Body::Trade(trade) => {
                self.sum(trade, event, ts_recv);
                self.judge_tick(trade, event, ts_recv, &mut verdict);
                let at = usize::from(event.kind == Kind::TradeRaw);
                let price = event.scales.price(trade.price);
                let failure = match trade.condition {
                    TradeCondition::Regular => self.prices[at].on_price(ts_recv, price),
                    // Insurance fund, ADL and the like print away from the market by design (204 bps in
                    // `binance-usdm/btcusdt_20230404`): neither judged by it nor a measure for it.
                    _ => PriceRange::positive(price),
                };
                self.judge(PRICE, ts_recv, failure, &mut verdict);
                self.judge_size(trade, event.scales, ts_recv, &mut verdict);
            }
            Body::Quote(quote) => self.on_quote(quote, event, ts_recv, &mut verdict),
            Body::Book(_) => {
                if let Some(book) = book {
                    self.on_book(book, event.ts_event, ts_recv, &mut verdict);
                }
            }
            Body::Bar(bar) => {
                if let Some(sums) = &mut self.sums {
                    sums.on_bar(bar, ts_recv);
                }
            }
            Body::MarkPrice(price) | Body::IndexPrice(price) => {
                self.judge(PRICE, ts_recv, PriceRange::positive(*price), &mut verdict);
            }
            Body::Liquidation(l) => {
                self.judge(PRICE, ts_recv, PriceRange::positive(l.price), &mut verdict);
                self.judge(SIZE, ts_recv, self.sizes.traded(l.order_size), &mut verdict);
            }
            _ => {}
        }
        verdict.flags
    }

    /// A healed event: its ranges are checked; order, cadence and references belong to the live stream.
    pub fn on_late_event(&mut self, event: &Event, ts_recv: Ts, findings: &mut Findings) -> RowFlags {
        let mut verdict = Verdict { flags: RowFlags::default(), findings };
        if let Body::Trade(trade) = &event.body {
            self.sum(trade, event, ts_recv);
            self.judge(PRICE, ts_recv, PriceRange::positive(event.scales.price(trade.price)), &mut verdict);
            self.judge_size(trade, event.scales, ts_recv, &mut verdict);
            self.judge_tick(trade, event, ts_recv, &mut verdict);
        }
        verdict.flags
    }

    /// Time passed: silences, and failures that were held back. Once a second is enough.
    pub fn on_timer(&mut self, now: Ts, findings: &mut Findings) {
        for cadence in &mut self.cadence {
            if let Some(failure) = cadence.on_timer(now) {
                findings.push(self.folds[STALE].on_failure(now, failure));
            }
        }
        for fold in &mut self.folds {
            findings.push(fold.on_timer(now));
        }
    }

    /// Trades may be missing until then, and that was told: no minute before is judged by its sum.
    pub fn trades_broken(&mut self, until: Ts) {
        if let Some(sums) = &mut self.sums {
            sums.broken(until);
        }
    }

    /// The next minute whose trades can be held against the venue's bar; `open_since`: since when the trades are followed.
    pub fn poll_minute(&mut self, now: Ts, open_since: Ts, findings: &mut Findings) -> Option<Compared> {
        let compared = self.sums.as_mut()?.poll(now, open_since)?;
        if let Some(failure) = compared.failure {
            findings.push(self.folds[BAR_SUM].on_failure(now, failure));
        }
        Some(compared)
    }

    /// This kind of event has fallen silent ([`crate::stale`]).
    #[must_use]
    pub fn is_stale(&self, kind: Kind) -> bool {
        slot(kind).is_some_and(|s| self.cadence[s].is_stale())
    }

    fn on_quote(&mut self, quote: &Quote, event: &Event, now: Ts, verdict: &mut Verdict<'_>) {
        let scales = event.scales;
        let (bid, ask) = (scales.price(quote.bid), scales.price(quote.ask));
        let (bid_size, ask_size) = (scales.size(quote.bid_size), scales.size(quote.ask_size));
        self.judge(SIZE, now, self.sizes.displayed(bid_size).or(self.sizes.displayed(ask_size)), verdict);
        let there = |price, size: Decimal| if size.is_zero() { None } else { PriceRange::positive(price) };
        self.judge(PRICE, now, there(bid, bid_size).or(there(ask, ask_size)), verdict);
        if !bid_size.is_zero() && !ask_size.is_zero() {
            self.on_best(bid, ask, event.ts_event, now, verdict);
        }
    }

    fn on_book(&mut self, book: &OrderBook, at: Ts, now: Ts, verdict: &mut Verdict<'_>) {
        if let (Some(bid), Some(ask)) = (book.best_bid(), book.best_ask()) {
            let scales = book.scales();
            self.on_best(scales.price(bid.price), scales.price(ask.price), at, now, verdict);
        }
    }

    #[inline]
    fn on_best(&mut self, bid: Decimal, ask: Decimal, at: Ts, now: Ts, verdict: &mut Verdict<'_>) {
        self.judge(CROSSED, now, crossed::check(bid, ask), verdict);
        self.judge(SPREAD, now, spread::check(bid, ask, self.config.spread_bps_max), verdict);
        let failure = self.off_tick(bid, at, now).or(self.off_tick(ask, at, now));
        self.judge(OFF_TICK, now, failure, verdict);
    }

    /// `at`: when the price was made; `Ts::ZERO` where the venue prints no time.
    #[inline]
    fn off_tick(&mut self, price: Decimal, at: Ts, now: Ts) -> Option<Failure> {
        match self.tick.on_price(price, if at > Ts::ZERO { at } else { now }, now) {
            Judged::Fits => None,
            Judged::Doubtful => {
                self.doubtful = true;
                None
            }
            Judged::Off(failure) => Some(failure),
        }
    }

    /// Of the one source of trades: the other counts the same again.
    #[inline]
    fn sum(&mut self, trade: &Trade, event: &Event, now: Ts) {
        if let Some(sums) = &mut self.sums
            && event.kind == Kind::Trade
        {
            let regular = trade.condition == TradeCondition::Regular;
            sums.on_trade(event.scales.size(trade.size), event.ts_event, regular, now);
        }
    }

    /// What prints away from the market by design is made by no order.
    #[inline]
    fn judge_tick(&mut self, trade: &Trade, event: &Event, now: Ts, verdict: &mut Verdict<'_>) {
        if trade.condition == TradeCondition::Regular {
            let failure = self.off_tick(event.scales.price(trade.price), event.ts_event, now);
            self.judge(OFF_TICK, now, failure, verdict);
        }
    }

    /// An off-market print may be empty: some venues use such rows to tell of a transfer.
    fn judge_size(&mut self, trade: &Trade, scales: Scales, now: Ts, verdict: &mut Verdict<'_>) {
        let size = scales.size(trade.size);
        let failure = match trade.condition {
            TradeCondition::Regular => self.sizes.traded(size),
            _ => self.sizes.displayed(size),
        };
        self.judge(SIZE, now, failure, verdict);
    }

    #[inline]
    fn judge(&mut self, to: (usize, RowFlags), now: Ts, failure: Option<Failure>, verdict: &mut Verdict<'_>) {
        if let Some(failure) = failure {
            verdict.flags = verdict.flags.with(to.1);
            verdict.findings.push(self.folds[to.0].on_failure(now, failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::{NO_INSTRUMENT, Pending, Price, Size};

    const NOW: Ts = Ts::from_millis(1_700_000_000_000);

    fn event(kind: Kind, body: Pending) -> Event {
        Event { instrument: NO_INSTRUMENT, kind, ts_event: NOW, scales: Scales { price: 2, size: 3 }, body }
    }

    fn trade(price: i64, size: i64, condition: TradeCondition) -> Event {
        let (price, size) = (Price(price), Size(size));
        let body = Trade { id: 1.into(), first_id: 1, last_id: 1, price, size, aggressor: None, condition };
        event(Kind::Trade, Body::Trade(body))
    }

    fn quote(bid: (i64, i64), ask: (i64, i64)) -> Event {
        let (price, size) = (|l: (i64, i64)| Price(l.0), |l: (i64, i64)| Size(l.1));
        let body = Quote { bid: price(bid), bid_size: size(bid), ask: price(ask), ask_size: size(ask), update_id: 0 };
        event(Kind::Quote, Body::Quote(body))
    }

    fn checks() -> Checks {
        Checks::for_instrument(CheckConfig::default())
    }

    #[track_caller]
    fn check(checks: &mut Checks, event: &Event, flags: RowFlags, told: usize) {
        let mut findings = Findings::default();
        assert_eq!(checks.on_event(event, NOW, None, &mut findings), flags);
        assert_eq!(findings.len(), told);
    }

    #[test]
    fn an_empty_side_is_no_error() {
        let mut c = checks();
        check(&mut c, &quote((0, 0), (100, 1)), RowFlags::default(), 0);
        check(&mut c, &quote((0, 1), (100, 1)), RowFlags::BAD_PRICE, 1);
        check(&mut c, &quote((101, 1), (100, 1)), RowFlags::CROSSED, 1);
        check(&mut c, &quote((101, 1), (100, 1)), RowFlags::CROSSED, 0);
        check(&mut c, &quote((50, 1), (100, 1)), RowFlags::WIDE_SPREAD, 1);
        check(&mut c, &quote((99, -1), (100, 1)), RowFlags::BAD_SIZE, 1);
    }

    #[test]
    fn prints_off_the_market_are_not_judged_by_it() {
        let mut c = checks();
        check(&mut c, &trade(10_000, 1, TradeCondition::Regular), RowFlags::default(), 0);
        check(&mut c, &trade(50_000, 0, TradeCondition::InsuranceFund), RowFlags::default(), 0);
        check(&mut c, &trade(10_001, 1, TradeCondition::Regular), RowFlags::default(), 0);
        check(&mut c, &trade(50_000, 0, TradeCondition::Regular), RowFlags::BAD_PRICE.with(RowFlags::BAD_SIZE), 2);
    }

    #[test]
    fn late_rows_do_not_move_the_measures() {
        let mut c = checks();
        let mut findings = Findings::default();
        check(&mut c, &trade(10_000, 1, TradeCondition::Regular), RowFlags::default(), 0);
        let mut late = trade(90_000, 1, TradeCondition::Regular);
        late.ts_event = Ts::from_millis(1);
        assert_eq!(c.on_late_event(&late, NOW, &mut findings), RowFlags::default());
        late = trade(-1, 1, TradeCondition::Regular);
        assert_eq!(c.on_late_event(&late, NOW, &mut findings), RowFlags::BAD_PRICE);
        check(&mut c, &trade(10_000, 1, TradeCondition::Regular), RowFlags::default(), 0);
    }

    fn definition(tick: Decimal, size_max: Decimal) -> InstrumentDef<Span> {
        let text = Span::default();
        InstrumentDef {
            kind: wholetape_model::InstrumentKind::Spot,
            status: wholetape_model::TradingStatus::Trading,
            tick,
            step: Decimal::ZERO,
            size_min: Decimal::ZERO,
            size_max,
            notional_min: Decimal::ZERO,
            multiplier: Decimal::new(1, 0),
            onboard: Ts::ZERO,
            expiry: Ts::ZERO,
            symbol: text,
            base: text,
            quote: text,
            settle: text,
            status_text: text,
        }
    }

    #[test]
    fn the_venues_own_bound_replaces_ours() {
        let mut c = checks();
        c.define(&definition(Decimal::ZERO, Decimal::ZERO), Ts::ZERO, NOW);
        check(&mut c, &trade(10_000, 5_000, TradeCondition::Regular), RowFlags::default(), 0);
        c.define(&definition(Decimal::ZERO, Decimal::new(4, 0)), Ts::ZERO, NOW);
        check(&mut c, &trade(10_000, 5_000, TradeCondition::Regular), RowFlags::BAD_SIZE, 1);
    }

    #[test]
    fn a_price_off_the_tick_has_the_venue_asked_and_is_told_if_the_rule_stands() {
        let mut c = checks();
        c.define(&definition(Decimal::new(5, 2), Decimal::ZERO), Ts::ZERO, NOW);
        let mut told = Findings::default();
        let mut flags = |c: &mut Checks, event: &Event, s: u64| {
            told.clear();
            let now = NOW + std::time::Duration::from_secs(s);
            (c.on_event(&Event { ts_event: now, ..*event }, now, None, &mut told), told.len())
        };
        let (good, bad) = (quote((10_000, 1), (10_005, 1)), quote((10_000, 1), (10_004, 1)));
        assert_eq!(flags(&mut c, &good, 0), (RowFlags::default(), 0));
        assert!(!c.take_doubt());
        assert_eq!(flags(&mut c, &bad, 1), (RowFlags::default(), 0));
        assert!(c.take_doubt() && !c.take_doubt());
        assert_eq!(flags(&mut c, &bad, 121), (RowFlags::OFF_TICK, 1));
        let off_market = trade(10_001, 1, TradeCondition::InsuranceFund);
        assert_eq!(flags(&mut c, &off_market, 122), (RowFlags::default(), 0));
        assert_eq!(flags(&mut c, &trade(10_001, 1, TradeCondition::Regular), 123), (RowFlags::OFF_TICK, 0));
        c.define(&definition(Decimal::new(1, 2), Decimal::ZERO), Ts::ZERO, NOW);
        assert_eq!(flags(&mut c, &bad, 124), (RowFlags::default(), 0));
    }
}
