//! Trades of a venue whose ids do not follow each other: repeats vanish within a window, holes are bounded by time, and what
//! fills them is proven by overlap.
//!
//! Ids cannot show what is missing, so every stretch without the stream is a hole: from the last trade before it to the first
//! after. Its pages are asked for by time, from a little before the hole. The first must show the trade at the left edge, each
//! further one the last trade of the one before, and some page the trade at the right edge; then nothing can be missing
//! between, and the verdict is *healed, proven by overlap*. Where a page does not meet its neighbour the hole is lost, and
//! says where. Unique ids are merged: a row that is held is not written again.
//!
//! A hole is on the tape as soon as it is known, for a process may go at any moment: a doubt that reaches back behind the last trade
//! becomes one at once, up to that trade ([`Overlap::open_doubt`]). What is behind the last trade needs no mark: every start doubts that.
//!
//! A venue that answers with the newest rows up to a time (dYdX) is asked from the newer end, a little above the hole: some page must show
//! the trade at the right edge, each further one the *oldest* trade of the one before, down to the trade at the left edge and past its
//! moment, since an answer may cut the trades of one moment (a block's) in two.

use std::time::Duration;

use wholetape_model::{GapCause, GapState, HealSource, TradeId, Ts};
use wholetape_venue::ByTime;

use super::hole::{GapMark, Hole};
use super::trades::{FAILURES_MAX, Live};
use super::window::Window;

#[derive(Debug)]
struct TimeHole {
    /// Number, cause, times for marks, failures and the next attempt; its ids stay 0.
    mark: Hole,
    from: Ts,
    to: Ts,
    /// The trades at its edges, where known.
    left: Option<TradeId>,
    right: Option<TradeId>,
    /// Where the next page begins, and the trade of the last page that it must show.
    cursor: Ts,
    bridge: Option<TradeId>,
    /// Some page has shown the trade at the left edge, and some the one at the right edge.
    seen_left: bool,
    seen_right: bool,
    rows: u64,
}

/// A trade that the tape holds, of an id that does not count: when it happened and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    pub id: TradeId,
    pub event: Ts,
    pub recv: Ts,
}

/// What the page that is being read has shown.
#[derive(Debug, Default)]
struct Page {
    gap: u64,
    rows: u64,
    first: Option<(TradeId, Ts)>,
    last: Option<(TradeId, Ts)>,
    met_left: bool,
    met_bridge: bool,
    met_right: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Overlap {
    by: ByTime,
    span: Duration,
    known: Window,
    last: Option<(TradeId, Ts)>,
    last_recv: Ts,
    /// Why trades may be missing, and since when: what is later than the last trade says nothing.
    doubt: Option<(GapCause, Ts)>,
    holes: Vec<TimeHole>,
    page: Page,
}

impl Overlap {
    /// `held` is what the tape has of the last hours, in its order; `newest` the venue time of the newest.
    pub fn new(by: ByTime, span: Duration, held: &[Named], newest: Ts, open: &[GapMark]) -> Self {
        let mut this = Self {
            by,
            span,
            known: Window::default(),
            last: None,
            last_recv: newest,
            doubt: None,
            holes: Vec::new(),
            page: Page::default(),
        };
        for named in held {
            this.known.learn(named.id, named.recv);
            if this.last.is_none_or(|last| named.event >= last.1) {
                this.last = Some((named.id, named.event));
            }
        }
        for mark in open {
            let mark = Hole::resumed(mark);
            let (from, to) = (mark.from_ts, mark.to_ts);
            this.holes.push(TimeHole {
                cursor: this.first_cursor(from, to),
                mark,
                from,
                to,
                left: None,
                right: None,
                bridge: None,
                seen_left: false,
                seen_right: false,
                rows: 0,
            });
        }
        this
    }

    /// Where the first page of a hole begins.
    fn first_cursor(&self, from: Ts, to: Ts) -> Ts {
        if self.by.downwards { to + self.by.overlap } else { from - self.by.overlap }
    }

    /// The trade that came last.
    pub fn newest(&self) -> Option<TradeId> {
        self.last.map(|last| last.0)
    }

    /// Ids that were forgotten before their time, for there were too many.
    pub fn forgotten(&self) -> u64 {
        self.known.cut
    }

    /// Trades may be missing from `since` on; from the last trade on, where that is earlier, or where all that came is `in_order`.
    pub fn doubt(&mut self, cause: GapCause, since: Ts, in_order: bool) {
        let since = if in_order && self.last.is_some() { Ts::MAX } else { since };
        match &mut self.doubt {
            Some((_, from)) => *from = since.min(*from),
            None => self.doubt = Some((cause, since)),
        }
    }

    /// What of a doubt lies before the last trade, as a hole.
    pub fn open_doubt(&mut self, gap: u64, now: Ts) -> Option<GapMark> {
        let (id, at) = self.last?;
        let (cause, since) = self.doubt.filter(|(_, since)| *since < at)?;
        // From the last trade on there is doubt as before.
        self.doubt = Some((cause, Ts::MAX));
        Some(self.open(gap, cause, (since, at), (None, Some(id)), (since, now)))
    }

    /// `span`: venue times of its edges, `edges`: the trades there, `told`: the times of its marks.
    fn open(
        &mut self,
        gap: u64,
        cause: GapCause,
        (from, to): (Ts, Ts),
        (left, right): (Option<TradeId>, Option<TradeId>),
        told: (Ts, Ts),
    ) -> GapMark {
        let mark = Hole::new(gap, (0, 0), cause, told, told.1 + Duration::from_millis(200));
        let open = mark.mark(GapState::Open, HealSource::None, 0, "ids do not tell how many".into());
        let cursor = self.first_cursor(from, to);
        let (bridge, seen_left, seen_right) = (None, false, false);
        self.holes.push(TimeHole { mark, from, to, left, right, cursor, bridge, seen_left, seen_right, rows: 0 });
        open
    }

    /// The trade is on the tape by another way. False when it was known.
    pub fn learn(&mut self, id: TradeId, now: Ts) -> bool {
        self.known.learn(id, now)
    }

    pub fn is_known(&self, id: TradeId) -> bool {
        self.known.has(id)
    }

    /// Holes whose verdict another gave.
    pub fn settled(&mut self, gap: u64) {
        self.holes.retain(|h| h.mark.gap != gap);
    }

    pub fn open_gaps(&self) -> usize {
        self.holes.len()
    }

    pub fn on_live(&mut self, id: TradeId, event: Ts, now: Ts, gap: u64) -> Live {
        if !self.known.learn(id, now) {
            return Live::Repeat;
        }
        let before = std::mem::replace(&mut self.last_recv, now);
        let last = self.last.replace((id, event));
        let (cause, from, left) = match (self.doubt.take(), last) {
            (_, None) if !self.span.is_zero() => (GapCause::Backlog, event - self.span, None),
            (Some((cause, since)), Some((left, at))) if since >= at => (cause, at, Some(left)),
            // Another socket brought the last trade, and what is missing is from before it.
            (Some((cause, since)), _) if since < Ts::MAX => (cause, since, None),
            _ => return Live::Row,
        };
        let is_earlier = last.is_some() && left.is_none();
        // A trade may come that is older than the last one, by another socket or in a list: the hole reaches around both.
        let from = from.min(event);
        let (right, to) = last.filter(|last| last.1 > event).unwrap_or((id, event));
        // A process after this one knows the mark alone: it reaches from the earlier of both clocks to the later, for what came late was made
        // before it came, and so was what did not come.
        let began = if before > Ts::ZERO && !is_earlier { before.min(from) } else { from };
        Live::AfterGap(self.open(gap, cause, (from, to), (left, Some(right)), (began, now.max(to))))
    }

    /// The newest hole that is due: its number and the time to ask from.
    pub fn poll(&self, backlog: bool, now: Ts) -> Option<(u64, Ts)> {
        let due = self.holes.iter().filter(|h| h.mark.is_backlog() == backlog && h.mark.next_at <= now);
        due.max_by_key(|h| h.to).map(|h| (h.mark.gap, h.cursor))
    }

    pub fn next(&self, backlog: bool) -> Ts {
        let of = self.holes.iter().filter(|h| h.mark.is_backlog() == backlog);
        of.map(|h| h.mark.next_at).min().unwrap_or(Ts::MAX)
    }

    /// A page for this hole is about to be read.
    pub fn begin(&mut self, gap: u64) {
        self.page = Page { gap, ..Page::default() };
    }

    /// One trade of the page: is it new?
    pub fn on_late(&mut self, id: TradeId, event: Ts, now: Ts) -> bool {
        let page = &mut self.page;
        let Some(at) = self.holes.iter().position(|h| h.mark.gap == page.gap) else { return false };
        let h = &mut self.holes[at];
        page.rows += 1;
        page.first.get_or_insert((id, event));
        page.last = Some((id, event));
        page.met_left |= h.left == Some(id);
        page.met_bridge |= h.bridge == Some(id);
        page.met_right |= h.right == Some(id) || h.right.is_none() && event > h.to;
        if event < h.from || event > h.to || !self.known.learn(id, now) {
            return false;
        }
        self.holes[at].rows += 1;
        true
    }

    /// The page is read: on, whole, or lost.
    pub fn after_page(&mut self, now: Ts) -> Vec<GapMark> {
        let page = std::mem::take(&mut self.page);
        let Some(at) = self.holes.iter().position(|h| h.mark.gap == page.gap) else { return Vec::new() };
        let (Some(last), Some(first)) = (page.last, page.first) else {
            return self.fail(page.gap, "the venue answered without any trade", now);
        };
        if self.by.downwards {
            self.after_page_down(at, &page, first, now)
        } else {
            self.after_page_up(at, &page, first, last, now)
        }
    }

    fn after_page_up(
        &mut self,
        at: usize,
        page: &Page,
        (_, first): (TradeId, Ts),
        last: (TradeId, Ts),
        now: Ts,
    ) -> Vec<GapMark> {
        let h = &self.holes[at];
        let began = h.bridge.is_some();
        let met = if began { page.met_bridge } else { h.left.is_none() || page.met_left };
        if !met {
            let why = match self.by.reach {
                _ if began => "two pages do not overlap".to_owned(),
                Some(reach) if now.since(h.from) > reach => {
                    format!("beyond the venue's reach: its history begins {} ms later", first.since(h.from).as_millis())
                }
                _ => "the first page does not show the trade at the left edge".to_owned(),
            };
            return self.lose(at, why);
        }
        if page.met_right {
            return self.whole(at);
        }
        if page.rows < self.by.page_max {
            return self.fail(page.gap, "the venue's history does not reach the right edge yet", now);
        }
        self.go_on(at, last, last.1 > h.cursor, page.rows, now)
    }

    fn after_page_down(&mut self, at: usize, page: &Page, first: (TradeId, Ts), now: Ts) -> Vec<GapMark> {
        let h = &mut self.holes[at];
        h.seen_left |= page.met_left;
        h.seen_right |= page.met_right;
        if h.bridge.is_some() && !page.met_bridge {
            return self.lose(at, "two pages do not overlap".to_owned());
        }
        let all = page.rows < self.by.page_max;
        // More than a page may have been traded between the right edge and the moment from which was asked: it is further down.
        let above = !all && first.1 >= h.to;
        if h.right.is_some() && !h.seen_right && !above {
            return self.fail(page.gap, "the venue's history does not reach the right edge yet", now);
        }
        // All of the left edge's own moment is shown only where something older is, or nothing is left out.
        if (h.left.is_none() || h.seen_left) && (all || first.1 < h.from) {
            return self.whole(at);
        }
        if all || first.1 < h.from {
            let why = match self.by.reach {
                Some(reach) if now.since(h.from) > reach => "beyond the venue's reach".to_owned(),
                _ => "no page shows the trade at the left edge".to_owned(),
            };
            return self.lose(at, why);
        }
        let moved = first.1 < h.cursor;
        self.go_on(at, first, moved, page.rows, now)
    }

    /// The next page begins at the last trade of this one.
    fn go_on(&mut self, at: usize, (id, ts): (TradeId, Ts), moved: bool, rows: u64, now: Ts) -> Vec<GapMark> {
        let h = &mut self.holes[at];
        if !moved || super::trades::millis(ts) == super::trades::millis(h.cursor) {
            return self.lose(at, format!("{rows} trades and more in one moment"));
        }
        (h.cursor, h.bridge) = (ts, Some(id));
        (h.mark.failures, h.mark.next_at) = (0, now);
        Vec::new()
    }

    fn whole(&mut self, at: usize) -> Vec<GapMark> {
        let h = self.holes.remove(at);
        let left = h.left.map_or("the left edge by time".into(), |id| format!("id {id}"));
        let right = h.right.map_or("what followed".into(), |id| format!("id {id}"));
        let why = format!("{} rows, proven by overlap: pages meet {left} and {right}", h.rows);
        vec![h.mark.mark(GapState::Healed, HealSource::Rest, 0, why)]
    }

    fn lose(&mut self, at: usize, why: String) -> Vec<GapMark> {
        let h = self.holes.remove(at);
        vec![h.mark.mark(GapState::Lost, HealSource::Rest, 0, why)]
    }

    /// No usable answer.
    pub fn fail(&mut self, gap: u64, why: &str, now: Ts) -> Vec<GapMark> {
        let Some(at) = self.holes.iter().position(|h| h.mark.gap == gap) else { return Vec::new() };
        let mark = &mut self.holes[at].mark;
        mark.failures += 1;
        mark.back_off(now);
        if mark.failures < FAILURES_MAX {
            return Vec::new();
        }
        self.lose(at, format!("asked {FAILURES_MAX} times: {why}"))
    }

    /// Our own budget said no.
    pub fn wait(&mut self, gap: u64, until: Ts) {
        if let Some(h) = self.holes.iter_mut().find(|h| h.mark.gap == gap) {
            h.mark.next_at = h.mark.next_at.max(until);
        }
    }

    /// Nothing can be asked: holes older than a moment are lost.
    pub fn give_up(&mut self, why: &str, now: Ts) -> Vec<GapMark> {
        let mut lost = Vec::new();
        while let Some(at) = self.holes.iter().position(|h| h.mark.next_at <= now) {
            lost.extend(self.lose(at, why.to_owned()));
        }
        lost
    }
}
