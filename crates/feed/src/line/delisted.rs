//! An instrument that its venue does not list any more.
//!
//! Its streams fall silent for ever, and a subscription that names it is refused, by some venues together with the rest of the
//! request: without this one delisting would cost its neighbours their connection again and again. So it is not subscribed
//! from the next opening on, its silence is that of a closed market, and its book is no live one.

use wholetape_model::{
    Body, Event, GapCause, InstrumentIx, Kind, RowFlags, Scales, Status, TradingStatus, Ts, Validity, ValidityState,
};

use super::Line;
use super::out::{LineAction, LineOut};

/// What is said of it.
const WHY: &str = "the venue does not list it any more";

impl Line {
    /// The venue's list does not hold `instrument` any more.
    ///
    /// # Errors
    /// It is none of this line's.
    pub fn delist(&mut self, instrument: &str, now: Ts, out: &mut LineOut) -> Result<(), String> {
        let at = self.instruments.iter().position(|i| i.id.as_str() == instrument);
        let at = at.ok_or_else(|| format!("{} does not record {instrument}", self.plan.name))?;
        let ix = at as InstrumentIx;
        let conn = self.instruments[at].trade_conn;
        if self.instruments[at].proof.trading != TradingStatus::Closed {
            let text = out.scratch.arena.text(WHY);
            let body = Body::Status(Status { status: TradingStatus::Closed, text });
            let event =
                Event { instrument: ix, kind: Kind::Status, ts_event: Ts::ZERO, scales: Scales::default(), body };
            self.on_state(conn, &event, now, RowFlags::default(), out);
        }
        self.end_book(ix, now, out);
        for conn in 0..self.conns.len() {
            let c = &mut self.conns[conn];
            let streams = c.session.forget(ix);
            if streams == 0 {
                continue;
            }
            c.streams = c.streams.saturating_sub(streams);
            c.acknowledged = c.acknowledged.min(c.streams);
            if c.streams == 0 {
                out.actions.push(LineAction::Retire(conn, format!("{instrument}: {WHY}, and it was the last")));
            } else if c.is_open() && !c.is_carrying() && c.acknowledged > 0 {
                // It may have been the one stream that was not acknowledged.
                self.subscribed(conn, 0, now, out);
            }
        }
        self.wake_at(now);
        Ok(())
    }

    /// The book ends as it stands; what it lacked stays lost.
    fn end_book(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let conn = self.instruments[ix as usize].book_conn;
        let Some(flow) = self.instruments[ix as usize].book.take() else { return };
        let topic = self.topic_of(ix, Kind::Book);
        let why = out.scratch.arena.text(WHY);
        let update_id = flow.book().last_update_id().unwrap_or(0);
        let validity = Validity { state: ValidityState::Stale, cause: GapCause::Silent, update_id, why };
        self.push_mark(topic, Body::Validity(validity), conn, now, out);
        if let Some(mark) = flow.lost_for_good(now, WHY) {
            self.count_verdict(mark.state);
            self.gap_mark(topic, &mark, conn, now, out);
        }
    }
}
