//! Quality: what the checks say of an event becomes flags of its row, and findings in a topic of their own.

use wholetape_model::{Body, Event, Finding, GapCause, InstrumentIx, Kind, RowFlags, Span, Ts};

use super::Line;
use super::out::{ConnIx, LineOut};

impl Line {
    /// Flags for the row of a live event. A book event is judged after it was applied.
    #[inline]
    pub(super) fn judge(&mut self, conn: ConnIx, event: &Event, now: Ts, out: &mut LineOut) -> RowFlags {
        let instrument = &mut self.instruments[event.instrument as usize];
        let book = instrument.book.as_ref().and_then(|b| b.book().verified());
        let flags = instrument.checks.on_event(event, now, book, &mut self.findings);
        if let Body::Instrument(def) = &event.body {
            instrument.checks.define(def, event.ts_event, now);
        }
        self.ask_definition(event.instrument, now);
        if !self.findings.is_empty() {
            self.report_findings(event.instrument, conn, now, out);
        }
        flags
    }

    /// Flags for the row of a healed event.
    pub(super) fn judge_late(&mut self, conn: ConnIx, event: &Event, now: Ts, out: &mut LineOut) -> RowFlags {
        let instrument = &mut self.instruments[event.instrument as usize];
        let flags = instrument.checks.on_late_event(event, now, &mut self.findings);
        self.ask_definition(event.instrument, now);
        self.report_findings(event.instrument, conn, now, out);
        flags
    }

    /// A price does not fit what the venue last said of the instrument: perhaps the rule changed.
    #[inline]
    fn ask_definition(&mut self, ix: InstrumentIx, now: Ts) {
        let instrument = &mut self.instruments[ix as usize];
        if instrument.checks.take_doubt() {
            for conn in &mut self.conns {
                conn.session.definitions_soon(now);
            }
            self.wake_at(now);
        }
    }

    pub(super) fn judge_silences(&mut self, now: Ts, out: &mut LineOut) {
        for ix in 0..self.instruments.len() {
            let conn = self.instruments[ix].trade_conn;
            // What is not connected is not stale but away, and its gaps say so.
            if self.is_set_open(conn) {
                self.judge_minute(ix as InstrumentIx, conn, now, out);
                self.instruments[ix].checks.on_timer(now, &mut self.findings);
                self.report_findings(ix as InstrumentIx, conn, now, out);
            }
        }
    }

    /// Holds a minute's trades against the venue's bar. Where there are too few, they are asked for.
    fn judge_minute(&mut self, ix: InstrumentIx, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let Some(topic) = self.topics.find(ix, Kind::Trade) else { return };
        let open_since = self.topics.list[topic as usize].open_since;
        let checks = &mut self.instruments[ix as usize].checks;
        let Some(compared) = checks.poll_minute(now, open_since, &mut self.findings) else { return };
        match compared.failure {
            None => self.stats.minutes_equal += 1,
            Some(_) => self.stats.minutes_differing += 1,
        }
        self.report_findings(ix, conn, now, out);
        if compared.short && self.instruments[ix as usize].trades.doubt(GapCause::Silent, compared.start, false) {
            self.open_doubt(ix as usize, now, out);
        }
    }

    #[cold]
    fn report_findings(&mut self, ix: InstrumentIx, conn: ConnIx, now: Ts, out: &mut LineOut) {
        if self.findings.is_empty() {
            return;
        }
        let findings = std::mem::take(&mut self.findings);
        let topic = self.topic_of(ix, Kind::Quality);
        for finding in findings.iter() {
            self.stats.findings += 1;
            let why = out.scratch.arena.text(finding.why);
            let finding: Finding<Span> = finding.map(|_| why);
            self.push_mark(topic, Body::Finding(finding), conn, now, out);
        }
    }
}
