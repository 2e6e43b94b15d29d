//! Quiet, stalled, halted, or spoken to in words that we do not know: what a silence of a subscribed stream is (P7).
//!
//! [`judge`] is the decision, a pure function of [`Signs`]; `docs/silence.md` has it as a table. Around it, what the line
//! knows: how often each stream and each connection usually speaks at this hour ([`super::cadence`]), what the instrument's
//! other streams say meanwhile, what REST answered ([`Proof`]), and what the venue says of the instrument's trading.
//!
//! Rules
//! - A silence alone costs nothing: it causes a question. Only an answer that shows newer data, siblings that speak, or a
//!   connection without any frame far beyond what its hour taught, and no proof of quiet, cost the connection.
//! - An answer with newer data is no proof yet, since REST may overtake a stream: what it showed is *owed*, and the stream
//!   has [`GRACE`] to bring it. So no clock but ours is asked.
//! - A proven quiet is never restarted, however long it lasts, and asked about less and less often.
//! - Every change of state is a finding (`check = silence`) in `quality.<instrument>` and is counted.

use std::time::Duration;

use wholetape_model::{
    Alert, Body, Check, Decimal, Finding, InstrumentIx, Kind, Severity, StreamState, TradingStatus, Ts,
};
use wholetape_venue::{FetchId, FetchKind};

use super::Line;
use super::cadence::Cadence;
use super::out::{ConnIx, LineAction, LineOut, LineTopic, Priority};

/// How long a stream may take to bring what REST has shown already.
pub const GRACE: Duration = Duration::from_secs(1);
/// A stream that speaks all the time is asked about after this silence.
pub const SUSPECT_MIN: Duration = Duration::from_secs(2);
/// A connection that speaks all the time is left after this silence, unless quiet is proven.
pub const LEAVE_MIN: Duration = Duration::from_secs(4);
/// Quiet is worth a finding only from here on.
pub const QUIET_AFTER: Duration = Duration::from_secs(60);
/// A shorter silence is not looked at.
const LOOK_FROM: Duration = Duration::from_secs(1);
/// Nothing is expected to be silent for longer.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
/// So many frames that nobody understood, while a stream is silent, tell that its words changed.
const MISREAD: u32 = 20;
/// Time for a venue to acknowledge, and for each batch of streams on top.
const ACK_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions about the same silent connection.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Instruments asked about for one connection.
const ASK_MAX: usize = 3;
/// Streams named in the reason of a restart.
const NAMED_MAX: usize = 5;
/// Marks a request for the newest trades that only wants to know whether there are any: `limit=2`.
pub(super) const PULSE: u64 = 2;
/// A restart that did not help is tried again after this long, then twice as long …
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// What is seen of one silent stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    /// Since its last row, or since it was subscribed.
    pub quiet: Duration,
    /// What is nothing special at this hour.
    pub patience: Duration,
    /// The instrument's other streams, or the venue's clock, say that it should have spoken.
    pub siblings: bool,
    /// REST showed data that the stream still has not brought.
    pub owes: bool,
    /// REST showed, since the stream last spoke, that there is nothing newer.
    pub nothing_new: bool,
    /// Its connection as a whole is beyond hope.
    pub dead: bool,
    /// The venue says that the instrument does not trade.
    pub halted: bool,
    /// Frames came on its connection meanwhile that nobody understood.
    pub misread: bool,
}

/// The decision; `None`: too early to tell, it stays what it is.
#[must_use]
pub fn judge(s: &Signs) -> Option<(StreamState, &'static str)> {
    use StreamState as S;
    if s.quiet < s.patience && !s.owes {
        return Some((S::Live, "it speaks"));
    }
    Some(match s {
        Signs { misread: true, .. } => (S::ApiChanged, "frames come that nobody understands"),
        Signs { owes: true, .. } => (S::Stalled, "REST has newer data"),
        Signs { halted: true, .. } => (S::Halted, "the venue says that it does not trade"),
        Signs { dead: true, .. } => (S::Stalled, "its whole connection is silent beyond what this hour taught"),
        Signs { siblings: true, .. } => (S::Stalled, "its siblings speak"),
        Signs { nothing_new: true, quiet, patience, .. } if *quiet >= QUIET_AFTER.max(*patience) => {
            (S::Quiet, "REST has nothing newer")
        }
        _ => return None,
    })
}

/// What a stream was judged to be.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    pub state: StreamState,
    pub since: Ts,
    /// How many frames its sockets had misread when this stream last spoke.
    misread_at: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { state: StreamState::Live, since: Ts::ZERO, misread_at: 0 }
    }
}

/// What REST and the venue said of one instrument.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// REST had nothing that the streams had not brought: last seen at.
    pub nothing_new: Ts,
    /// REST showed newer trades at this time.
    trades_owed: Option<Ts>,
    /// REST showed another book at this time, so many times in a row without an update between.
    book_owed: Option<(Ts, u32)>,
    pub trading: TradingStatus,
}

impl Default for Proof {
    fn default() -> Self {
        Self { nothing_new: Ts::ZERO, trades_owed: None, book_owed: None, trading: TradingStatus::Unknown }
    }
}

impl Proof {
    /// The venue's word that there is nothing to hear: a market that is shut, not one whose state is unknown.
    fn is_halted(&self) -> bool {
        !matches!(self.trading, TradingStatus::Trading | TradingStatus::Unknown | TradingStatus::CancelOnly)
    }

    /// The stream of `kind` begins anew: it owes nothing.
    pub(super) fn opened(&mut self, kind: Kind) {
        match kind {
            Kind::Trade => self.trades_owed = None,
            Kind::Book => self.book_owed = None,
            _ => {}
        }
    }

    pub(super) fn book_differed(&mut self, last_row: Ts, now: Ts) {
        let times = self.book_owed.filter(|(at, _)| last_row < *at).map_or(0, |(_, n)| n);
        self.book_owed = Some((now, times + 1));
    }
}

/// One connection as a whole.
#[derive(Debug, Default)]
pub struct ConnWatch {
    /// How often anything comes at all.
    pub pace: Cadence,
    last: Ts,
    opened: Ts,
    asked: Ts,
    /// A pulse showed newer data at this time.
    owed: Option<Ts>,
    /// The venue's host answered a request at this time.
    answered: Ts,
    misread: u32,
    restarts: u32,
    next_restart: Ts,
    told_ack: bool,
}

impl ConnWatch {
    #[inline]
    pub fn frame(&mut self, now: Ts) {
        if self.last >= self.opened && self.last > Ts::ZERO {
            self.pace.spoke(now, now.0 - self.last.0);
        }
        self.last = now;
    }

    pub fn opened(&mut self, now: Ts) {
        self.opened = now;
        self.owed = None;
    }

    pub fn host_answered(&mut self, now: Ts) {
        self.answered = now;
    }

    pub fn misread(&mut self) {
        self.misread = self.misread.wrapping_add(1);
    }

    fn heard(&self) -> Ts {
        self.last.max(self.opened)
    }

    /// One restart after another helps nobody: each waits twice as long as the last, until it has helped for a while.
    fn may_restart(&mut self, now: Ts) -> bool {
        if now < self.next_restart {
            return false;
        }
        if now.since(self.next_restart) > Duration::from_secs(600) {
            self.restarts = 0;
        }
        self.next_restart = now + RESTART_AFTER * 2_u32.pow(self.restarts.min(7));
        self.restarts += 1;
        true
    }
}

struct Verdict {
    topic: LineTopic,
    conn: ConnIx,
    state: StreamState,
    signs: Signs,
    why: &'static str,
}

impl Line {
    /// Looks at every subscribed stream, tells what changed, and leaves connections that stalled.
    ///
    /// `speaking` is what the line's instruments said since the last look.
    pub(super) fn judge_streams(&mut self, now: Ts, speaking: u64, out: &mut LineOut) {
        let dead: Vec<bool> = (0..self.conns.len()).map(|conn| self.is_dead(conn, now, out)).collect();
        // A stream has died with its connection only when every socket that carries it has.
        let members = self.members;
        let dead_set: Vec<bool> = (0..self.conns.len())
            .map(|conn| {
                let mut set = self.members_of(self.set_of(conn)).filter(|c| self.conns[*c].is_open()).peekable();
                set.peek().is_some() && set.all(|c| dead[c])
            })
            .collect();
        // Of all sockets that carry a stream: which of them spoke last says nothing of what nobody understood.
        let misread_of = |set| self.members_of(set).map(|c| self.watches[c].misread).fold(0, u32::wrapping_add);
        let misread: Vec<u32> = (0..self.conns.len() / members).map(misread_of).collect();
        let mut changed = Vec::new();
        let mut restart: Vec<(ConnIx, String)> = Vec::new();
        let mut states = [0_u32; STATES];
        for at in 0..self.topics.list.len() {
            let state = &mut self.topics.list[at];
            let (Some(conn), true) = (state.conn, is_watched(state.kind) && !state.by_change) else { continue };
            let Some(instrument) = self.instruments.get_mut(state.instrument as usize) else { continue };
            let first = conn - conn % members;
            if !self.conns[first..first + members].iter().any(super::conn::Conn::is_open)
                || state.open_since == Ts::ZERO
            {
                continue;
            }
            let heard = state.last_recv.max(state.open_since);
            let misread = misread[conn / members];
            if state.watch.state == StreamState::Live && now.since(heard) < LOOK_FROM {
                // Nearly all of them, nearly always: not worth a quantile.
                state.watch.misread_at = misread;
                states[StreamState::Live as usize] += 1;
                continue;
            }
            let patience = state.patience_at(now);
            if state.kind == Kind::Trade {
                instrument.trades.expect(state.suspicion(now));
                if instrument.proof.trades_owed.is_some_and(|at| instrument.trades.last_live() > at) {
                    instrument.proof.trades_owed = None;
                }
            }
            if now.since(heard) < LOOK_FROM {
                state.watch.misread_at = misread;
            }
            let quiet = now.since(heard);
            let fell = state.fell_silent(now, instrument.evidence(state.kind), speaking).is_some();
            let signs = Signs {
                quiet,
                patience,
                siblings: fell,
                owes: match state.kind {
                    Kind::Trade => instrument.proof.trades_owed.is_some_and(|at| now.since(at) >= GRACE),
                    Kind::Book => instrument.proof.book_owed.is_some_and(|(at, times)| {
                        let usual = state.pace.expected(heard).is_some_and(|e| quiet >= e.p99 * 4);
                        state.last_recv < at && now.since(at) >= GRACE && (times >= 2 || usual)
                    }),
                    _ => false,
                },
                nothing_new: instrument.proof.nothing_new > heard,
                dead: dead_set[conn],
                halted: instrument.proof.is_halted(),
                misread: misread.wrapping_sub(state.watch.misread_at) >= MISREAD && quiet >= super::topics::SILENT_MIN,
            };
            let verdict = judge(&signs).filter(|(to, _)| {
                // What stalled has to speak again before it counts as live, or to be proven quiet.
                *to != StreamState::Live || state.last_recv > state.watch.since || state.watch.since == Ts::ZERO
            });
            if let Some((to, why)) = verdict {
                if matches!(to, StreamState::Stalled | StreamState::ApiChanged)
                    && (fell || signs.owes || signs.dead || signs.misread)
                {
                    if fell {
                        state.mark_silent();
                    }
                    let text = format!("{} is {} for {:.1} s: {why}", state.topic, word(to), quiet.as_secs_f64());
                    restart.push((conn, text));
                }
                if to != state.watch.state {
                    changed.push(Verdict { topic: at as LineTopic, conn, state: to, signs, why });
                }
            }
            states[state.watch.state as usize] += 1;
        }
        for verdict in changed {
            states[self.topics.list[verdict.topic as usize].watch.state as usize] -= 1;
            states[verdict.state as usize] += 1;
            self.tell(&verdict, now, out);
        }
        self.stats.streams = states;
        for (conn, dead) in dead.into_iter().enumerate() {
            let mut whys: Vec<String> = restart.iter().filter(|s| s.0 == conn).map(|s| s.1.clone()).collect();
            let watch = &mut self.watches[conn];
            if (whys.is_empty() && !dead) || !watch.may_restart(now) {
                continue;
            }
            if whys.len() > NAMED_MAX {
                let more = whys.len() - NAMED_MAX;
                whys.truncate(NAMED_MAX);
                whys.push(format!("and {more} more"));
            }
            let alone = whys.is_empty();
            if dead {
                let host = if watch.answered > watch.heard() { "answers" } else { "does not answer" };
                let quiet = now.since(watch.heard()).as_secs_f64();
                whys.push(format!("nothing at all comes for {quiet:.1} s, its host {host} over REST"));
            }
            if alone && self.is_sibling_open(conn) {
                self.silent_socket(conn, whys.join("; "), out);
            } else {
                self.silent(conn, whys.join("; "), out);
            }
        }
    }

    /// REST knows trades that the open stream should have brought seconds ago.
    pub(super) fn trades_stalled(&mut self, topic: LineTopic, conn: ConnIx, now: Ts, out: &mut LineOut) {
        // Without ids that count, what is lost reaches back to its own last trade.
        self.topics.get(topic).mark_silent();
        let state = &self.topics.list[topic as usize];
        let quiet = now.since(state.last_recv.max(state.open_since));
        let signs = Signs { quiet, patience: state.patience_at(now), owes: true, ..Signs::default() };
        let why = format!("{} is subscribed and silent, while the venue's REST has newer trades", state.topic);
        if state.watch.state != StreamState::Stalled {
            self.tell(
                &Verdict { topic, conn, state: StreamState::Stalled, signs, why: "REST has newer trades" },
                now,
                out,
            );
        }
        if self.watches[conn].may_restart(now) {
            self.silent(conn, why, out);
        }
    }

    /// A change of state, on the tape.
    fn tell(&mut self, verdict: &Verdict, now: Ts, out: &mut LineOut) {
        let state = &mut self.topics.list[verdict.topic as usize];
        state.watch.state = verdict.state;
        state.watch.since = now;
        self.stats.verdicts[verdict.state as usize] += 1;
        let (ix, kind, name) = (state.instrument, state.kind, state.topic.clone());
        let text = format!("{kind} is {}: {}", word(verdict.state), verdict.why);
        let why = out.scratch.arena.text(&text);
        let finding = Finding {
            check: Check::Silence,
            observed: seconds(verdict.signs.quiet),
            bound: seconds(verdict.signs.patience),
            count: 1,
            why,
        };
        let topic = self.topic_of(ix, Kind::Quality);
        self.push_mark(topic, Body::Finding(finding), verdict.conn, now, out);
        if verdict.state == StreamState::ApiChanged {
            let text = format!("{name}: {}", verdict.why);
            self.alert(Severity::Critical, "api_changed", &text, verdict.conn, now, out);
        }
    }

    /// Something that people should know, said once by the caller's care.
    pub(super) fn alert(
        &mut self,
        severity: Severity,
        code: &str,
        text: &str,
        conn: ConnIx,
        now: Ts,
        out: &mut LineOut,
    ) {
        self.stats.alerts += 1;
        let topic = self.topics.own(Kind::Alert, &self.plan.name);
        let body = Alert { severity, code: out.scratch.arena.text(code), text: out.scratch.arena.text(text) };
        self.push_mark(topic, Body::Alert(body), conn, now, out);
        out.actions.push(LineAction::Odd(conn, format!("alert {code}: {text}")));
    }

    /// Whether nothing comes on a connection for far longer than its hour taught, and nothing proves that nothing happened.
    /// On the way there REST is asked.
    fn is_dead(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) -> bool {
        if !self.conns[conn].is_open() {
            return false;
        }
        self.await_acks(conn, now, out);
        let watch = &mut self.watches[conn];
        let heard = watch.heard();
        let quiet = now.since(heard);
        if watch.last < watch.opened {
            // It has not said anything yet: `await_acks` and the probes after subscribing take care of that.
            return false;
        }
        if watch.owed.is_some_and(|at| at > heard && now.since(at) >= GRACE) {
            return true;
        }
        let Some(expected) = watch.pace.expected(now) else { return false };
        if quiet < (expected.p99 * 8).max(SUSPECT_MIN) {
            return false;
        }
        if watch.asked <= heard || now.since(watch.asked) >= ASK_EVERY.max(quiet / 4) {
            watch.asked = now;
            self.ask_about(conn, now, out);
        }
        if quiet < (expected.p99 * 20).max(LEAVE_MIN) {
            return false;
        }
        let (mut quiet_proven, mut halted, mut by_clock) = (false, true, false);
        for state in self.topics.list.iter().filter(|t| t.conn.is_some_and(|c| self.set_of(c) == self.set_of(conn))) {
            let Some(instrument) = self.instruments.get(state.instrument as usize) else { continue };
            quiet_proven |= instrument.proof.nothing_new > heard;
            halted &= instrument.proof.is_halted();
            by_clock |= matches!(state.kind, Kind::Mark | Kind::Index | Kind::Funding) && !state.by_change;
        }
        !halted && (by_clock || !quiet_proven)
    }

    /// Asks REST about the busiest instruments of a connection that fell silent as a whole.
    fn ask_about(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let mut busiest: Vec<(Duration, InstrumentIx, Kind)> = Vec::new();
        let of_set = |t: &&super::topics::TopicState| t.conn.is_some_and(|c| self.set_of(c) == self.set_of(conn));
        for state in self.topics.list.iter().filter(of_set).filter(|t| is_watched(t.kind)) {
            let p99 = state.pace.expected(now).map_or(PATIENCE_MAX, |e| e.p99);
            match busiest.iter_mut().find(|b| b.1 == state.instrument) {
                // Trades are the cheapest proof, then books.
                Some(b) if rank(state.kind) < rank(b.2) => *b = (b.0.min(p99), b.1, state.kind),
                Some(b) => b.0 = b.0.min(p99),
                None => busiest.push((p99, state.instrument, state.kind)),
            }
        }
        busiest.sort_unstable_by_key(|b| (b.0, b.1));
        for (_, ix, kind) in busiest.into_iter().take(ASK_MAX) {
            let instrument = &mut self.instruments[ix as usize];
            let want = match kind {
                // Without healing trades are not asked for by id; whether there are newer ones is asked all the same.
                Kind::Trade if self.plan.heal => {
                    instrument.trades.probe_now(now);
                    continue;
                }
                Kind::Book if instrument.book.as_ref().is_some_and(|b| b.book().is_live()) => {
                    if let Some(book) = &mut instrument.book {
                        book.quiet.hurry(now);
                    }
                    continue;
                }
                Kind::Mark | Kind::Index | Kind::Funding => FetchId {
                    kind: FetchKind::ServerTime,
                    instrument: wholetape_model::NO_INSTRUMENT,
                    arg: conn as u64,
                },
                _ => FetchId { kind: FetchKind::NewestTrades, instrument: ix, arg: PULSE },
            };
            if let Some(request) = self.conns[conn].session.request(want) {
                self.stats.fetches += 1;
                out.actions.push(LineAction::Fetch(conn, want, request, Priority::LiveHole));
            }
        }
        self.wake_at(now);
    }

    /// The answer to a pulse: is there a trade younger than anything that the connection brought? By the venue's own times.
    pub(super) fn take_pulse(&mut self, conn: ConnIx, id: FetchId, now: Ts, out: &mut LineOut) {
        let newest = out.scratch.events.iter().map(|e| e.ts_event).max();
        out.scratch.clear_events();
        let newer = newest.is_some_and(|ts| ts > self.conns[conn].last_event);
        if newer && self.conns[conn].last_event > Ts::ZERO {
            self.watches[conn].owed = Some(now);
            self.wake_at(now + GRACE);
        } else if let Some(instrument) = self.instruments.get_mut(id.instrument as usize) {
            instrument.proof.nothing_new = now;
        }
    }

    /// What a page of trades tells of the stream. `head` is the newest id held before it, where ids count, `beyond` whether it had a newer
    /// one that the stream should have brought.
    pub(super) fn trades_told(&mut self, id: FetchId, head: Option<u64>, beyond: bool, now: Ts) {
        let Some(instrument) = self.instruments.get_mut(id.instrument as usize) else { return };
        let probe = id.kind == FetchKind::NewestTrades || head.is_some_and(|h| id.arg == h.saturating_add(1));
        if beyond && (head.is_some() || instrument.trades.is_loose()) {
            instrument.proof.trades_owed.get_or_insert(now);
            self.wake_at(now + GRACE);
        } else if probe && !beyond {
            instrument.proof.nothing_new = now;
        }
    }

    /// A subscription that is never answered: where data flows the venue's answer changed, where none does it is asked again.
    fn await_acks(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let c = &self.conns[conn];
        let batches = u32::try_from(c.streams / 50).unwrap_or(u32::MAX).min(1_000);
        let due = c.opened_at + ACK_WITHIN + Duration::from_millis(500) * batches;
        if c.acknowledged >= c.streams || now < due {
            return;
        }
        let (missing, opened) = (c.streams - c.acknowledged, c.opened_at);
        let (set, replica) = (self.set_of(conn), self.replica_of(conn));
        let flows = self.topics.list.iter().any(|t| {
            let heard = if self.members == 1 { t.last_recv } else { t.owed.heard[replica] };
            t.conn.is_some_and(|c| self.set_of(c) == set) && heard > opened
        });
        if flows {
            self.subscribed(conn, missing, now, out);
            if !std::mem::replace(&mut self.watches[conn].told_ack, true) {
                let text = format!("{missing} streams were never acknowledged, though data flows");
                self.alert(Severity::Warning, "ack", &text, conn, now, out);
            }
        } else if self.watches[conn].may_restart(now) {
            self.stats.verdicts[StreamState::Stalled as usize] += 1;
            self.silent(conn, format!("{missing} streams were asked for and neither acknowledged nor sent"), out);
        }
    }
}

/// Indexed by the codes of [`StreamState`].
pub const STATES: usize = StreamState::ALL.len() + 1;

/// Streams that are expected to speak by themselves. Liquidations, status and definitions come when they come.
pub(super) fn is_watched(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Trade
            | Kind::TradeRaw
            | Kind::Book
            | Kind::Quote
            | Kind::Ticker
            | Kind::Bar(_)
            | Kind::Mark
            | Kind::Index
            | Kind::Funding
    )
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Trade => 0,
        Kind::Book => 1,
        Kind::Mark | Kind::Index | Kind::Funding => 3,
        _ => 2,
    }
}

fn word(state: StreamState) -> &'static str {
    state.as_str()
}

fn seconds(d: Duration) -> Decimal {
    Decimal::new(i64::try_from(d.as_millis()).unwrap_or(i64::MAX), 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[track_caller]
    fn check(signs: Signs, expected: Option<StreamState>) {
        assert_eq!(judge(&signs).map(|v| v.0), expected, "{signs:?}");
    }

    #[test]
    fn the_decision_table() {
        use StreamState as T;
        let silent = Signs { quiet: S * 90, patience: S * 5, ..Signs::default() };
        check(Signs { quiet: S * 4, siblings: true, ..silent }, Some(T::Live));
        check(silent, None);
        check(Signs { nothing_new: true, ..silent }, Some(T::Quiet));
        check(Signs { nothing_new: true, quiet: S * 59, ..silent }, None);
        check(Signs { nothing_new: true, patience: S * 91, ..silent }, Some(T::Live));
        check(Signs { siblings: true, nothing_new: true, ..silent }, Some(T::Stalled));
        check(Signs { owes: true, ..silent }, Some(T::Stalled));
        check(Signs { owes: true, quiet: S, ..silent }, Some(T::Stalled));
        check(Signs { dead: true, ..silent }, Some(T::Stalled));
        check(Signs { halted: true, siblings: true, dead: true, ..silent }, Some(T::Halted));
        check(Signs { halted: true, owes: true, ..silent }, Some(T::Stalled));
        check(Signs { misread: true, owes: true, siblings: true, ..silent }, Some(T::ApiChanged));
    }

    #[test]
    fn restarts_that_do_not_help_become_rare() {
        let mut w = ConnWatch::default();
        let restarts = (0..3_600).filter(|s| w.may_restart(Ts(1) + S * *s)).count();
        assert!((6..=12).contains(&restarts), "{restarts}");
        assert!(w.may_restart(Ts(1) + S * 9_000) && w.may_restart(Ts(1) + S * 9_006), "long well: soon again");
    }
}
