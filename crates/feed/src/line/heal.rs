//! The warm healer's way through the line: what instruments want to ask becomes fetches, answers become late rows and marks.
//!
//! Memory is bounded: an instrument has at most one page for its live edge and one for its backlog under way, a line at
//! most [`BACKLOG_PAGES_MAX`] of the latter, and a host sends few of them at a time (`rest`). So a backlog of hundreds of
//! instruments is a queue of small orders and never of bodies.

use wholetape_model::{Body, InstrumentIx, Kind, RowFlags, TradeCondition, TradeId, Ts};
use wholetape_venue::{FetchId, FetchKind};

use super::Line;
use super::backlog::Job;
use super::out::{ConnIx, LineAction, LineOut, LineTopic, Priority};
use super::trades::{self, Ask, GapMark, millis};

/// Backlog pages that one line waits for at a time.
pub const BACKLOG_PAGES_MAX: usize = 4;
/// Gap numbers that one answer may use.
const GAPS_PER_ANSWER: u64 = 128;

impl Line {
    /// Live edges first, then backlogs while there is room.
    pub(super) fn ask_all_trades(&mut self, now: Ts, out: &mut LineOut) {
        let n = self.instruments.len();
        for ix in 0..n {
            self.ask_live(ix, now, out);
        }
        let under_way = self.instruments.iter().filter(|i| i.trades.is_backlog_asked(now)).count();
        let mut room = BACKLOG_PAGES_MAX.saturating_sub(under_way);
        for step in 0..n {
            let ix = (self.backlog_turn + step) % n;
            if room == 0 {
                // An answer makes room, and wakes us.
                return;
            }
            if let Some(ask) = self.instruments[ix].trades.poll_backlog(now) {
                room -= 1;
                self.backlog_turn = ix + 1;
                self.ask(ix, ask, Priority::Backlog, now, out);
            }
            if let Some(at) = self.instruments[ix].trades.next_backlog() {
                self.wake_at(at.max(now + std::time::Duration::from_millis(10)));
            }
        }
    }

    fn ask_live(&mut self, ix: usize, now: Ts, out: &mut LineOut) {
        if self.topics.find(ix as InstrumentIx, Kind::Trade).is_none() {
            return;
        }
        let judged = self.instruments[ix].trades.judge_resumed();
        self.verdicts(ix, &judged, now, out);
        let lost = self.instruments[ix].trades.give_up_impossible(now);
        self.verdicts(ix, &lost, now, out);
        let flow = &mut self.instruments[ix].trades;
        if let Some(ask) = flow.poll_ask(now) {
            let priority = match ask {
                Ask::From { hole: false, .. } if !flow.is_probe_urgent() => Priority::Probe,
                Ask::From { .. } => Priority::LiveHole,
                Ask::Newest => Priority::Probe,
                Ask::At(_) => Priority::Backlog,
            };
            self.ask(ix, ask, priority, now, out);
        }
        if let Some(at) = self.instruments[ix].trades.next_ask() {
            self.wake_at(at.max(now + std::time::Duration::from_millis(10)));
        }
    }

    fn ask(&mut self, ix: usize, ask: Ask, priority: Priority, now: Ts, out: &mut LineOut) {
        let (kind, arg) = match ask {
            Ask::From { id, .. } => (FetchKind::TradesFrom, id),
            Ask::Newest => (FetchKind::NewestTrades, 1),
            Ask::At(at) => (FetchKind::TradesAt, millis(at)),
        };
        let conn = self.instruments[ix].trade_conn;
        let want = FetchId { kind, instrument: ix as InstrumentIx, arg };
        match self.conns[conn].session.request(want) {
            Some(request) => {
                self.stats.fetches += 1;
                out.actions.push(LineAction::Fetch(conn, want, request, priority));
            }
            None => {
                let gap = self.new_gap(now);
                let marks = self.instruments[ix].trades.on_impossible(ask, now, gap);
                self.verdicts(ix, &marks, now, out);
            }
        }
    }

    /// Writes marks of an instrument's trades, and counts them.
    fn verdicts(&mut self, ix: usize, marks: &[GapMark], now: Ts, out: &mut LineOut) {
        if marks.is_empty() {
            return;
        }
        let topic = self.topic_of(ix as InstrumentIx, Kind::Trade);
        let conn = self.instruments[ix].trade_conn;
        for mark in marks {
            self.count_verdict(mark.state);
            self.gap_mark(topic, mark, conn, now, out);
        }
    }

    /// No usable answer about trades.
    pub(super) fn trades_failed(
        &mut self,
        id: FetchId,
        retry_after: Option<std::time::Duration>,
        why: &str,
        now: Ts,
        out: &mut LineOut,
    ) {
        let ix = id.instrument as usize;
        let gap = self.new_gap(now);
        let flow = &mut self.instruments[ix].trades;
        if retry_after.is_none() && flow.is_backlog_question(id.kind, id.arg) {
            self.stats.backlog_failed += 1;
        }
        let marks = flow.on_failed((id.kind, id.arg), retry_after, why, now, gap);
        self.verdicts(ix, &marks, now, out);
    }

    /// The first row: from its time the span of the backlog is counted.
    pub(super) fn anchor_backlog(
        &mut self,
        ix: usize,
        topic: LineTopic,
        event: Ts,
        conn: ConnIx,
        now: Ts,
        out: &mut LineOut,
    ) {
        let gap = self.new_gap(now);
        if let Some(mark) = self.instruments[ix].trades.anchor(event, now, gap) {
            self.count_verdict(mark.state);
            self.gap_mark(topic, &mark, conn, now, out);
        }
        self.wake_at(now);
    }

    /// A page of trades: rows that are new are late, and say so.
    pub(super) fn take_trades(&mut self, conn: ConnIx, id: FetchId, now: Ts, out: &mut LineOut) {
        let ix = id.instrument as usize;
        if ix >= self.instruments.len() {
            out.scratch.clear_events();
            return;
        }
        let topic = self.topic_of(id.instrument, Kind::Trade);
        let gap = self.next_gap.max(now.0 as u64);
        self.next_gap = gap + GAPS_PER_ANSWER;
        let backlog = self.instruments[ix].trades.begin(id.kind, id.arg);
        let first = out.scratch.events.iter().find_map(|event| match event.body {
            Body::Trade(trade) => Some((trade.id.number()?, event.ts_event)),
            _ => None,
        });
        for mark in self.instruments[ix].trades.on_edge(first, now, gap + 1) {
            self.count_verdict(mark.state);
            self.gap_mark(topic, &mark, conn, now, out);
        }
        let mut page = Page::default();
        let late_before = self.stats.late;
        let head = self.instruments[ix].trades.ledger().head();
        for i in 0..out.scratch.events.len() {
            let event = out.scratch.events[i];
            let Body::Trade(trade) = event.body else { continue };
            page.saw(trade.id, trade.condition);
            let beyond = self.instruments[ix].trades.is_beyond(trade.id, event.ts_event);
            if let Some(unheard) = self.instruments[ix].trades.is_sign_of_life(trade.id) {
                // A market's newest trade may be older than the stream, by hours.
                let since = self.topics.get(topic).open_since + std::time::Duration::from_secs(1);
                if unheard && beyond && event.ts_event > since {
                    // In a busy market it is always of just now: the stream owes it as it owes an older one.
                    page.newer = true;
                    if now.since(event.ts_event) > trades::SILENT_AFTER {
                        page.unheard = page.unheard.max(event.ts_event);
                    }
                }
                continue;
            }
            let (new, mark) = self.instruments[ix].trades.on_late(trade.id, event.ts_event, now, gap);
            if let Some(mark) = mark {
                self.stats.gaps_opened += 1;
                self.gap_mark(topic, &mark, conn, now, out);
            }
            if new {
                self.stats.late += 1;
                page.newest = page.newest.max(event.ts_event);
                page.newer |= beyond && !self.is_before_stream(topic, event.ts_event);
                if beyond && now.since(event.ts_event) > trades::SILENT_AFTER {
                    page.unheard = page.unheard.max(event.ts_event);
                }
                let flags = RowFlags::LATE_REST.with(self.judge_late(conn, &event, now, out));
                self.push(topic, event.ts_event, now, conn, flags, event.scales, event.body, out);
            }
        }
        out.scratch.clear_events();
        if !backlog {
            self.trades_told(id, head, page.newer, now);
        }
        let flow = &mut self.instruments[ix].trades;
        flow.heard_of(page.newest);
        let (wants, last) = (flow.wants_anchor(), flow.last_event());
        let marks = flow.after_answer(page.ids, &page.odd(), now);
        self.verdicts(ix, &marks, now, out);
        if wants && last > Ts::ZERO {
            self.anchor_backlog(ix, topic, last, conn, now, out);
        }
        if backlog {
            let gained = self.stats.late > late_before;
            *if gained { &mut self.stats.backlog_filled } else { &mut self.stats.backlog_empty } += 1;
            self.count_backlog();
        } else if page.unheard > Ts::ZERO {
            self.trade_stream_silent(ix, topic, page.unheard, now, out);
        }
    }

    /// How many ids of backlogs are missing, and how many were forgotten early; asked once a second and after each page.
    pub(super) fn count_backlog(&mut self) {
        let forgotten = |i: &super::plan::Instrument| i.trades.forgotten() + i.raw_trades.forgotten();
        self.stats.ids_forgotten = self.instruments.iter().map(forgotten).sum();
        self.stats.backlog_missing = self.instruments.iter().map(|i| i.trades.backlog_missing()).sum();
    }
}

/// People's order to make a stretch of one instrument's trades whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub job: u64,
    pub instrument: String,
    /// `[from, to)`, in the venue's time.
    pub from: Ts,
    pub to: Ts,
    /// What the tape holds from there on: ids, the newest venue time, gaps without a verdict.
    pub held: Vec<(u64, u64)>,
    pub newest: Ts,
    pub open: Vec<GapMark>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub job: Job,
    /// Ids between its edges that are missing now.
    pub missing: u64,
    pub done: bool,
}

impl Line {
    fn trades_of(&self, instrument: &str) -> Result<usize, String> {
        let at = self.instruments.iter().position(|i| i.id.as_str() == instrument);
        let at = at.filter(|ix| self.topics.find(*ix as InstrumentIx, Kind::Trade).is_some());
        at.ok_or_else(|| format!("{} records no trades of {instrument}", self.plan.name))
    }

    /// # Errors
    /// Why it cannot be done, for people.
    pub fn backfill(&mut self, order: &Order, now: Ts) -> Result<(), String> {
        let ix = self.trades_of(&order.instrument)?;
        self.instruments[ix].trades.order(order, now)?;
        self.wake_at(now);
        Ok(())
    }

    /// # Errors
    /// When there is no such order.
    pub fn backfill_progress(&mut self, instrument: &str, job: u64) -> Result<Progress, String> {
        let ix = self.trades_of(instrument)?;
        let progress = self.instruments[ix].trades.progress(job);
        progress.ok_or_else(|| format!("{instrument} has no order {job}: the line was restarted, order it again"))
    }

    /// What is open stays open; a later order goes on.
    ///
    /// # Errors
    /// As [`Line::backfill`].
    pub fn backfill_cancel(&mut self, instrument: &str, job: u64) -> Result<(), String> {
        let ix = self.trades_of(instrument)?;
        self.instruments[ix].trades.cancel(job);
        Ok(())
    }
}

/// What one answer showed.
#[derive(Default)]
struct Page {
    ids: Option<(u64, u64)>,
    newest: Ts,
    /// A row beyond everything held, which the stream should have brought.
    newer: bool,
    /// The newest that the stream should have brought.
    unheard: Ts,
    insurance: u64,
    adl: u64,
}

impl Page {
    fn saw(&mut self, id: TradeId, condition: TradeCondition) {
        if let Some(id) = id.number() {
            self.ids = Some(self.ids.map_or((id, id), |(a, b)| (a.min(id), b.max(id))));
        }
        self.insurance += u64::from(condition == TradeCondition::InsuranceFund);
        self.adl += u64::from(condition == TradeCondition::Adl);
    }

    /// Off-book prints on the page: what explains ids that it skips.
    fn odd(&self) -> String {
        let mut all = Vec::new();
        for (n, what) in [(self.insurance, "INSURANCE_FUND"), (self.adl, "ADL")] {
            if n > 0 {
                all.push(format!("{n} {what}"));
            }
        }
        all.join(", ")
    }
}
