//! Rows that people bring after the fact, from the venue's archive: what is new becomes late rows, and gaps get their verdicts.
//!
//! Whoever brings them has looked at the tape up to a seq and found them missing. What came since then (a page of REST, a sibling's
//! delivery) is told to the line with them, so that no id is written twice (P2): the line's own ledger cannot tell, since it counts
//! as held whatever a verdict settled, and may know nothing of ids from long ago. The line takes the rest into that ledger, and
//! its open holes that are whole now close.
//!
//! Nothing of a connection's life follows from such rows: they carry connection 0.

use std::collections::BTreeSet;

use wholetape_model::{
    Body, Event, Gap, GapState, InstrumentIx, Kind, NO_INSTRUMENT, Pending, RowFlags, Scales, Span, Topic, TradeId, Ts,
};

use super::Line;
use super::out::{Judged, LineOut, LineTopic};
use super::trades::GapMark;

/// Rows and marks for one topic, in the order of the tape: gaps that are about to be filled, rows, verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    pub topic: Topic,
    /// The tape was looked at up to here.
    pub seen: u64,
    pub opens: Vec<GapMark>,
    /// Trades or closed bars; their instrument index means nothing.
    pub rows: Vec<Event>,
    pub verdicts: Vec<GapMark>,
}

/// What the topic got since the giver looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    pub keys: BTreeSet<TradeId>,
    /// Gaps that have a verdict now.
    pub settled: BTreeSet<u64>,
}

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LateDone {
    pub rows: u64,
    /// Came by another way in the meantime.
    pub repeats: u64,
    pub marks: u64,
}

/// What names a row in its topic: a trade's id, the open time of a closed bar as a number.
#[must_use]
pub fn key<L, T>(body: &Body<L, T>) -> Option<TradeId> {
    match body {
        Body::Trade(trade) => Some(trade.id),
        Body::Bar(bar) if bar.closed => u64::try_from(bar.open_ts.0).ok().map(TradeId::from),
        _ => None,
    }
}

impl Line {
    /// Takes rows of the archive.
    ///
    /// # Errors
    /// When this line does not record the topic.
    pub fn take_late(&mut self, late: &Late, since: &Since, now: Ts, out: &mut LineOut) -> Result<LateDone, String> {
        let at = self.topics.list.iter().position(|t| t.topic == late.topic && t.instrument != NO_INSTRUMENT);
        let at = at.ok_or_else(|| format!("{} does not record {}", self.plan.name, late.topic))? as LineTopic;
        let (ix, kind) = (self.topics.list[at as usize].instrument, self.topics.list[at as usize].kind);
        let mut done = LateDone::default();
        for mark in &late.opens {
            self.next_gap = self.next_gap.max(mark.gap.saturating_add(1));
            self.late_mark(at, mark, now, out);
            done.marks += 1;
        }
        for event in &late.rows {
            let Some(key) = key(&event.body) else { continue };
            if since.keys.contains(&key) || self.knows(ix, kind, key) {
                done.repeats += 1;
                continue;
            }
            let event = Event { instrument: ix, ..*event };
            let conn = self.instruments[ix as usize].trade_conn;
            let flags = RowFlags::LATE_ARCHIVE.with(self.judge_late(conn, &event, now, out));
            self.push_late(at, event.ts_event, now, flags, event.scales, event.body, out);
            self.held_late(ix, kind, (key, event.ts_event), now);
            self.stats.healed_archive += 1;
            done.rows += 1;
        }
        for mark in late.verdicts.iter().filter(|m| !since.settled.contains(&m.gap)) {
            self.settle_late(ix, kind, mark);
            self.count_verdict(mark.state);
            self.late_mark(at, mark, now, out);
            done.marks += 1;
        }
        let closed = match kind {
            Kind::Trade => self.instruments[ix as usize].trades.closed_by_archive(),
            Kind::TradeRaw => self.instruments[ix as usize].raw_trades.closed_by_archive(),
            _ => Vec::new(),
        };
        for mark in closed {
            self.count_verdict(mark.state);
            self.late_mark(at, &mark, now, out);
            done.marks += 1;
        }
        Ok(done)
    }

    /// By its name, where ids do not count: the giver may not have looked as far back as it came.
    fn knows(&self, ix: InstrumentIx, kind: Kind, key: TradeId) -> bool {
        let instrument = &self.instruments[ix as usize];
        match kind {
            Kind::Trade => instrument.trades.knows(key),
            Kind::TradeRaw => instrument.raw_trades.knows(key),
            _ => false,
        }
    }

    fn held_late(&mut self, ix: InstrumentIx, kind: Kind, (key, event): (TradeId, Ts), now: Ts) {
        let instrument = &mut self.instruments[ix as usize];
        match kind {
            Kind::Trade => instrument.trades.on_archive(key, event, now),
            // After a restart this ledger begins with the next live row: an old id in it would make a hole of all between.
            Kind::TradeRaw if instrument.raw_trades.is_loose() || instrument.raw_trades.ledger().head().is_some() => {
                instrument.raw_trades.on_archive(key, event, now);
            }
            _ => {}
        }
    }

    fn settle_late(&mut self, ix: InstrumentIx, kind: Kind, mark: &GapMark) {
        let instrument = &mut self.instruments[ix as usize];
        match kind {
            Kind::Trade => instrument.trades.settled_by_archive(mark),
            Kind::TradeRaw if instrument.raw_trades.is_loose() || instrument.raw_trades.ledger().head().is_some() => {
                instrument.raw_trades.settled_by_archive(mark);
            }
            _ => {}
        }
    }

    fn push_late(
        &mut self,
        topic: LineTopic,
        ts_event: Ts,
        now: Ts,
        flags: RowFlags,
        scales: Scales,
        body: Pending,
        out: &mut LineOut,
    ) {
        self.stats.rows += 1;
        let flags = flags.with(self.id_flags(topic, &body));
        out.rows.push(Judged { topic, ts_event, ts_recv: now, conn: 0, frame: 0, flags, scales, body });
    }

    /// As `gap_mark`, of no connection: a verdict from the archive is no sign that a stream is back.
    fn late_mark(&mut self, topic: LineTopic, mark: &GapMark, now: Ts, out: &mut LineOut) {
        let (ix, kind) = (self.topics.list[topic as usize].instrument, self.topics.list[topic as usize].kind);
        let why = out.scratch.arena.text(&mark.why);
        let gap: Gap<Span> = mark.clone().map(|_| why);
        self.push_late(topic, now, now, RowFlags::TS_LOCAL, Scales::default(), Body::Gap(gap), out);
        let copy = self.topic_of(ix, Kind::Gap);
        let why = out.scratch.arena.text(&format!("{kind}: {}", mark.why));
        self.push_late(copy, now, now, RowFlags::TS_LOCAL, Scales::default(), Body::Gap(Gap { why, ..gap }), out);
        if mark.state == GapState::Open {
            self.stats.gaps_opened += 1;
        }
    }
}
