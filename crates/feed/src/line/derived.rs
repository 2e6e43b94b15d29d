//! Best prices that a session makes of a book's stream, where the venue has no stream of its own for them (dYdX).
//!
//! They are the book's as it goes to the tape: told by the socket that feeds it, while it is right, and by no other. Each socket makes
//! them of the book as *it* was told it, which begins anew with each of its subscriptions, so that two sockets' sequences are not one
//! sequence that comes twice: nothing of [`super::merge`] holds for them. And they are lost exactly when the book is, from the same
//! moment on, until it is whole again and they are told.

use wholetape_model::{GapCause, InstrumentIx, Kind, Ts};
use wholetape_venue::{FetchId, FetchKind};

use super::Line;
use super::out::{ConnIx, LineOut, LineTopic};

impl Line {
    /// Whether a topic is made of a book that is kept here.
    pub(super) fn is_derived(&self, topic: LineTopic) -> bool {
        let state = &self.topics.list[topic as usize];
        state.conn.is_some_and(|conn| self.is_made_of_book(conn, state.instrument, state.kind))
    }

    fn is_made_of_book(&self, conn: ConnIx, ix: InstrumentIx, kind: Kind) -> bool {
        let flow = self.instruments.get(ix as usize).and_then(|i| i.book.as_ref());
        kind == Kind::Quote
            && self.conns[conn].session.quotes_are_of_the_book()
            && flow.is_some_and(super::BookFlow::is_streamed)
    }

    /// Whether `conn` made them of another book than the one kept here, or of one that is not right.
    pub(super) fn is_of_another_book(&self, conn: ConnIx, ix: InstrumentIx, kind: Kind) -> bool {
        self.is_made_of_book(conn, ix, kind)
            && self.instruments[ix as usize].book.as_ref().is_some_and(|flow| !flow.is_fed_by(conn))
    }

    /// They end with the book; the next one behind its snapshot ends the loss.
    pub(super) fn quotes_pause(&mut self, ix: InstrumentIx, cause: GapCause, now: Ts, out: &mut LineOut) {
        let Some(topic) = self.topics.find(ix, Kind::Quote) else { return };
        let state = &self.topics.list[topic as usize];
        if state.losing.is_none() && state.open_since > Ts::ZERO && self.is_derived(topic) {
            self.begin_loss(topic, now, cause, now, out);
        }
    }

    /// A live book is at another place by a snapshot: what they were in between since `since` is as unknown as the book's updates.
    pub(super) fn quotes_passed_over(&mut self, ix: InstrumentIx, since: Ts, now: Ts, out: &mut LineOut) {
        let Some(topic) = self.topics.find(ix, Kind::Quote) else { return };
        let state = &self.topics.list[topic as usize];
        if state.losing.is_none() && state.open_since > Ts::ZERO && self.is_derived(topic) {
            let why = "their book is at another place by a snapshot";
            self.confess(topic, GapCause::Resync, since, now, why, now, out);
        }
    }

    /// Up to when the source of a topic was heard, whose connection was heard until `heard`: best prices made of a book have no stream of
    /// their own, and are whole as far as the book is and no further, however long the connection's other streams spoke on.
    pub(super) fn heard_at_source(&self, topic: LineTopic, heard: Ts, now: Ts) -> Ts {
        let state = &self.topics.list[topic as usize];
        let book = if self.is_derived(topic) { self.book_whole_until(state.instrument, now) } else { None };
        book.map_or(heard, |whole| whole.min(heard))
    }

    /// Whether what the session of `conn` asks for by itself goes out. A poll is everybody's, and one asks; REST's view of a book that the
    /// stream brings mends the one socket's that feeds it.
    pub(super) fn may_ask(&self, conn: ConnIx, id: &FetchId) -> bool {
        let flow = self.instruments.get(id.instrument as usize).and_then(|i| i.book.as_ref());
        let feeder = flow.filter(|flow| id.kind == FetchKind::BookSnapshot && flow.is_streamed());
        match feeder.and_then(|flow| flow.resubscription.feeder) {
            Some(feeder) => feeder == conn,
            None => self.is_poller(conn),
        }
    }
}
