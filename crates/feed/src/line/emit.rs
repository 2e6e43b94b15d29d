//! Rows out: events, marks and the operators' copies of gaps.

use std::time::Duration;

use wholetape_model::{
    Body, Gap, GapCause, GapState, HealSource, InstrumentIx, Kind, NO_INSTRUMENT, Pending, Raw, RowFlags, Scales, Span,
    Ts,
};
use wholetape_venue::Frame;

use super::Line;
use super::out::{ConnIx, Judged, LineAction, LineOut, LineTopic};
use super::topics::Loss;
use super::trades::GapMark;

/// A neighbour that was swapped arrives within this.
const RAW_PATIENCE: Duration = Duration::from_secs(1);
/// A raw frame longer than this is kept cut off: it is evidence, not data.
const RAW_MAX: usize = 64 << 10;

impl Line {
    #[inline]
    pub(super) fn push(
        &mut self,
        topic: LineTopic,
        ts_event: Ts,
        now: Ts,
        conn: ConnIx,
        flags: RowFlags,
        scales: Scales,
        body: Pending,
        out: &mut LineOut,
    ) {
        self.stats.rows += 1;
        let flags = flags.with(self.shed.flags()).with(self.id_flags(topic, &body));
        let c = &mut self.conns[conn];
        let (ts_event, flags) =
            if ts_event == Ts::ZERO { (now, flags.with(RowFlags::TS_LOCAL)) } else { (ts_event, flags) };
        out.rows.push(Judged { topic, ts_event, ts_recv: now, conn: c.number, frame: c.frame, flags, scales, body });
        self.topics.list[topic as usize].rows += 1;
        if c.first_data() {
            out.actions.push(LineAction::FirstData(conn));
        }
    }

    /// Whether a trade's id counts is told by its row, for whoever reads it without knowing the venue.
    pub(super) fn id_flags(&self, topic: LineTopic, body: &Pending) -> RowFlags {
        let Body::Trade(trade) = body else { return RowFlags::default() };
        let state = &self.topics.list[topic as usize];
        let of = |i: &super::plan::Instrument| {
            if state.kind == Kind::Trade { i.trades.is_loose() } else { i.raw_trades.is_loose() }
        };
        let is_loose = trade.id.is_uuid() || self.instruments.get(state.instrument as usize).is_some_and(of);
        if is_loose { RowFlags::LOOSE_ID } else { RowFlags::default() }
    }

    /// A mark is a row of the topic it speaks of; it has no venue time.
    pub(super) fn push_mark(&mut self, topic: LineTopic, body: Pending, conn: ConnIx, now: Ts, out: &mut LineOut) {
        self.stats.rows += 1;
        let number = self.conns[conn].number;
        let flags = RowFlags::TS_LOCAL;
        let scales = Scales::default();
        out.rows.push(Judged { topic, ts_event: now, ts_recv: now, conn: number, frame: 0, flags, scales, body });
        self.topics.list[topic as usize].rows += 1;
    }

    /// Writes a gap mark into its topic and its copy into `gap.<instrument>`, where operators read all kinds together.
    pub(super) fn gap_mark(&mut self, topic: LineTopic, mark: &GapMark, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let why = out.scratch.arena.text(&mark.why);
        let gap: Gap<Span> = mark.clone().map(|_| why);
        self.push_mark(topic, Body::Gap(gap), conn, now, out);
        let state = &self.topics.list[topic as usize];
        let (instrument, kind) = (state.instrument, state.kind);
        if instrument != NO_INSTRUMENT {
            if kind == Kind::Trade && mark.state == GapState::Open {
                self.instruments[instrument as usize].checks.trades_broken(mark.to_ts.max(now));
            }
            let copy = self.topic_of(instrument, Kind::Gap);
            let why = out.scratch.arena.text(&format!("{kind}: {}", mark.why));
            self.push_mark(copy, Body::Gap(Gap { why, ..gap }), conn, now, out);
        }
    }

    pub(super) fn count_verdict(&mut self, state: GapState) {
        match state {
            GapState::Open => self.stats.gaps_opened += 1,
            GapState::Healed => self.stats.gaps_healed += 1,
            GapState::NeverPublished => self.stats.gaps_never_published += 1,
            GapState::Lost => self.stats.gaps_lost += 1,
        }
    }

    pub(super) fn new_gap(&mut self, now: Ts) -> u64 {
        let gap = self.next_gap.max(now.0 as u64);
        self.next_gap = gap + 1;
        gap
    }

    /// From `since` on, rows of this topic may be missing.
    pub(super) fn begin_loss(&mut self, topic: LineTopic, since: Ts, cause: GapCause, now: Ts, out: &mut LineOut) {
        let state = &self.topics.list[topic as usize];
        if state.rows == 0 && state.last_recv == Ts::ZERO && state.open_since == Ts::ZERO {
            // Never subscribed: nothing was promised.
            return;
        }
        let conn = state.conn.unwrap_or(0);
        let late = self.under_way(conn);
        let since = state.whole_until(self.heard_at_source(topic, since, now), late) - late;
        // One socket brings trades in their order: what is missing is from after the last.
        if self.doubts(topic, cause, since, self.members == 1, now, out) {
            return;
        }
        let gap = self.new_gap(now);
        self.topics.get(topic).losing = Some(Loss { gap, since, cause });
        self.stats.gaps_opened += 1;
        let mark = unprotected(gap, GapState::Open, cause, since, now, "no id protects this stream");
        self.gap_mark(topic, &mark, conn, now, out);
    }

    /// Trades that can be asked for: their flow makes a hole of it, at once up to the last trade, and from there with the next one. False of
    /// everything else.
    fn doubts(
        &mut self,
        topic: LineTopic,
        cause: GapCause,
        since: Ts,
        in_order: bool,
        now: Ts,
        out: &mut LineOut,
    ) -> bool {
        let state = &self.topics.list[topic as usize];
        let (is_loose, ix) = (state.loose, state.instrument as usize);
        if !is_loose || !self.instruments[ix].trades.doubt(cause, since, in_order) {
            return false;
        }
        self.open_doubt(ix, now, out);
        true
    }

    /// What trades are in doubt before the last one is on the tape from here on.
    pub(super) fn open_doubt(&mut self, ix: usize, now: Ts, out: &mut LineOut) {
        let gap = self.next_gap.max(now.0 as u64);
        let Some(mark) = self.instruments[ix].trades.open_doubt(gap, now) else { return };
        self.next_gap = gap + 1;
        self.stats.gaps_opened += 1;
        let topic = self.topic_of(ix as InstrumentIx, Kind::Trade);
        let conn = self.topics.get(topic).conn.unwrap_or(0);
        self.gap_mark(topic, &mark, conn, now, out);
        if let Some(at) = self.instruments[ix].trades.next_ask() {
            self.wake_at(at);
        }
    }

    /// By how much an end of `conn` is further back than it was heard: by a clock that may have been ahead, what is younger than that
    /// reading may have been created before it. And what was read last may have been late: what followed it was under way.
    pub(super) fn under_way(&self, conn: ConnIx) -> Duration {
        let behind = self.conns[conn].ahead_ns.saturating_add(self.conns[conn].late_ns);
        Duration::from_nanos(u64::try_from(behind).unwrap_or(0))
    }

    /// The stream is back: what was published meanwhile is lost.
    pub(super) fn end_loss(&mut self, topic: LineTopic, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let Some(Loss { gap, since, cause }) = self.topics.get(topic).losing.take() else { return };
        let gap = if gap == 0 { self.new_gap(now) } else { gap };
        self.stats.gaps_lost += 1;
        let ahead = now.max(self.conns[conn].last_event);
        let why = "state kinds are not healed after the fact";
        let mark = unprotected(gap, GapState::Lost, cause, since, ahead, why);
        self.gap_mark(topic, &mark, conn, now, out);
    }

    /// A closed hole of an unprotected stream, confessed in one mark.
    pub(super) fn confess(
        &mut self,
        topic: LineTopic,
        cause: GapCause,
        from: Ts,
        to: Ts,
        why: &str,
        now: Ts,
        out: &mut LineOut,
    ) {
        if self.doubts(topic, cause, from, false, now, out) {
            return;
        }
        let gap = self.new_gap(now);
        self.stats.gaps_opened += 1;
        self.stats.gaps_lost += 1;
        let conn = self.topics.get(topic).conn.unwrap_or(0);
        let mark = unprotected(gap, GapState::Lost, cause, from, to, why);
        self.gap_mark(topic, &mark, conn, now, out);
    }

    /// Holes of the second trade source are not asked for (the first source holds the same trades): what its own stream has
    /// not brought after a moment is lost, unless it was never published. Nobody asked, and the mark says so.
    pub(super) fn give_up_raw(&mut self, now: Ts, out: &mut LineOut) {
        for ix in 0..self.instruments.len() {
            let lost = self.instruments[ix].raw_trades.give_up_older(
                RAW_PATIENCE,
                now,
                "the second trade source is not healed; the ids may never have been published",
            );
            for mark in lost {
                let Some(topic) = self.topics.find(ix as InstrumentIx, Kind::TradeRaw) else { continue };
                let conn = self.topics.get(topic).conn.unwrap_or(0);
                self.count_verdict(mark.state);
                self.gap_mark(topic, &mark, conn, now, out);
            }
        }
    }

    /// A frame that nobody understood is kept as it came.
    pub(super) fn keep_raw(&mut self, conn: ConnIx, frame: Frame<'_>, now: Ts, out: &mut LineOut) {
        let bytes = frame.bytes();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(RAW_MAX)]);
        let text = out.scratch.arena.text(&text);
        let channel = out.scratch.arena.text("unreadable");
        let topic = self.topics.own(Kind::Raw, &self.plan.name);
        self.push_mark(topic, Body::Raw(Raw { channel, text }), conn, now, out);
        let last = out.rows.len() - 1;
        out.rows[last].frame = self.conns[conn].frame;
    }
}

fn unprotected(gap: u64, state: GapState, cause: GapCause, from_ts: Ts, to_ts: Ts, why: &str) -> GapMark {
    Gap {
        gap,
        state,
        cause,
        source: HealSource::None,
        from_id: 0,
        to_id: 0,
        from_ts,
        to_ts,
        missing: 0,
        why: why.into(),
    }
}
