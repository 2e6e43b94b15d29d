//! Several sockets for the same streams: who carries them, who is behind, and what it means that one of them goes.
//!
//! The connections of a line stand in *sets* of equal size: neighbours in the plan that subscribe the same streams at
//! different addresses. First delivery wins; what a sibling brought already is a repeat. As long as one socket of a set
//! carries its streams, another one's end costs nothing: no gap, no resync. One member of each set is usually closed: it
//! opens for a planned replacement, and the old one goes when both have carried for [`OVERLAP`].
//!
//! Invariant: a socket vouches for a dying sibling only when it has been subscribed for [`OVERLAP`], and since before the last
//! event that the sibling brought: what that one still had on its way was published later, so this one has it too. (A socket that
//! stalls has minutes on its way.)

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wholetape_model::{Body, Event, GapCause, InstrumentIx, TradeId, Ts, ValidityState};

use super::Line;
use super::merge::{MEMBERS_MAX, Offer};
use super::out::{ConnIx, LineAction, LineOut, LineTopic};

/// Both sockets must have been subscribed for so long before one may go unnoticed.
pub const OVERLAP: Duration = Duration::from_secs(2);
/// How often lags are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// Fewer repeats than this say nothing of a socket.
const SAMPLES_MIN: u64 = 100;
/// Behind by less is no reason to disturb a socket.
const LAG_MIN: Duration = Duration::from_millis(250);
/// At most one socket of a set is recycled for its lag in this time.
const RECYCLE_EVERY: Duration = Duration::from_secs(600);
/// Rows of its siblings that a socket may owe, and for how long, before it counts as silent.
const OWED_MAX: u32 = 20;
const OWED_FOR: Duration = Duration::from_secs(5);

/// How far a socket is behind the first delivery, in powers of two of a microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    buckets: [u32; 32],
    /// Events that this socket brought first, while it had siblings.
    pub firsts: u64,
    /// Events that a sibling had brought before.
    pub repeats: u64,
}

impl Lag {
    fn repeat(&mut self, behind: Duration) {
        self.repeats += 1;
        let us = u64::try_from(behind.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - us.leading_zeros() as usize).min(31);
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
    }

    /// The lag that a share `q` (0 to 1) of its repeats does not exceed, rounded up to a power of two of a microsecond.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().map(|b| u64::from(*b)).sum();
        let mut left = (all as f64 * q).ceil().max(1.0) as u64;
        for (i, n) in self.buckets.iter().enumerate() {
            let n = u64::from(*n);
            if n >= left && n > 0 {
                return Some(Duration::from_micros(if i == 0 { 0 } else { 1 << i }));
            }
            left -= n.min(left);
        }
        None
    }

    /// What came since `before`.
    fn since(&self, before: &Self) -> Self {
        let mut now = *self;
        for (n, b) in now.buckets.iter_mut().zip(before.buckets) {
            *n = n.saturating_sub(b);
        }
        now.firsts -= before.firsts;
        now.repeats -= before.repeats;
        now
    }
}

/// What each socket of a set owes in one topic.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owed {
    /// Events that others brought since this one brought any.
    pub count: [u32; MEMBERS_MAX],
    pub heard: [Ts; MEMBERS_MAX],
}

/// One set: what is remembered between comparisons.
#[derive(Debug, Default)]
pub(super) struct Watch {
    before: Vec<Lag>,
    next: Ts,
    recycled: Ts,
    pub behind: Option<super::behind::Behind>,
    /// What the process before left of it has been taken back.
    pub told: bool,
}

impl Line {
    /// Connections per set; 1 = no redundancy.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Which set a connection belongs to.
    pub(super) fn set_of(&self, conn: ConnIx) -> usize {
        conn / self.members
    }

    pub(super) fn replica_of(&self, conn: ConnIx) -> usize {
        conn % self.members
    }

    pub(super) fn members_of(&self, set: usize) -> std::ops::Range<ConnIx> {
        let first = set * self.members;
        first..first + self.members
    }

    pub(super) fn siblings(&self, conn: ConnIx) -> impl Iterator<Item = ConnIx> + use<> {
        self.members_of(self.set_of(conn)).filter(move |c| *c != conn)
    }

    pub(super) fn is_sibling_open(&self, conn: ConnIx) -> bool {
        self.siblings(conn).any(|c| self.conns[c].is_open())
    }

    /// The set of `conn` has an open socket.
    pub(super) fn is_set_open(&self, conn: ConnIx) -> bool {
        self.members_of(self.set_of(conn)).any(|c| self.conns[c].is_open())
    }

    /// Another socket of the set is subscribed.
    pub(super) fn is_sibling_subscribed(&self, conn: ConnIx) -> bool {
        self.siblings(conn).any(|c| self.conns[c].is_carrying())
    }

    /// Another socket of the set has carried the same streams for long enough: nothing is lost with `conn`, which was heard up
    /// to `heard`.
    pub(super) fn is_carried_elsewhere(&self, conn: ConnIx, heard: Ts, now: Ts) -> bool {
        // A venue time further back than any stall is another clock.
        let heard = if now.since(heard) < super::topics::LAG_MAX { heard } else { now };
        self.siblings(conn)
            .map(|c| &self.conns[c])
            .any(|c| c.is_carrying() && now.since(c.carrying_since) >= OVERLAP && c.carrying_since <= heard)
    }

    /// The poll of a session is everybody's: the first open socket of the set makes it.
    pub(super) fn is_poller(&self, conn: ConnIx) -> bool {
        self.members_of(self.set_of(conn)).find(|c| self.conns[*c].is_open()).is_none_or(|c| c == conn)
    }

    pub(super) fn open_mask(&self, conn: ConnIx) -> u8 {
        let mut mask = 0;
        for c in self.members_of(self.set_of(conn)) {
            mask |= u8::from(self.conns[c].is_open()) << self.replica_of(c);
        }
        mask
    }

    /// True when `event` of a stream without ids was brought by a sibling before; so many like it came before it in its frame.
    pub(super) fn is_siblings(
        &mut self,
        conn: ConnIx,
        topic: LineTopic,
        (event, twins): (&Event, u32),
        now: Ts,
        out: &mut LineOut,
    ) -> bool {
        let open = self.open_mask(conn);
        let replica = self.replica_of(conn);
        let state = self.topics.get(topic);
        // A socket that is alone now may still be behind one that has gone.
        if open.count_ones() < 2 && state.merge.is_empty() {
            return false;
        }
        match state.merge.offer(replica, open, print(event, twins, out), names_itself(event), now) {
            Offer::First => {
                self.led(conn, topic, now);
                false
            }
            Offer::Repeat { first } => {
                self.lagged(conn, topic, Some(first), now);
                true
            }
            Offer::Again => {
                self.lagged(conn, topic, None, now);
                true
            }
            Offer::Overrun { slowest } => {
                let slow = self.members_of(self.set_of(conn)).start + slowest;
                let why = format!("{} is too far behind its sibling", self.topics.get(topic).topic);
                self.give_up_slow(slow, why, out);
                false
            }
        }
    }

    /// `conn` brought something of `topic` first: its siblings owe it.
    #[inline]
    pub(super) fn led(&mut self, conn: ConnIx, topic: LineTopic, now: Ts) {
        if self.members == 1 {
            return;
        }
        self.conns[conn].lag.firsts += 1;
        let replica = self.replica_of(conn);
        let owed = &mut self.topics.get(topic).owed;
        for (r, n) in owed.count.iter_mut().enumerate() {
            *n = if r == replica { 0 } else { n.saturating_add(1) };
        }
        owed.heard[replica] = now;
    }

    /// `conn` brought what a sibling had brought at `first`, where that is known.
    #[inline]
    pub(super) fn lagged(&mut self, conn: ConnIx, topic: LineTopic, first: Option<Ts>, now: Ts) {
        if self.members == 1 {
            return;
        }
        if let Some(first) = first {
            self.conns[conn].lag.repeat(now.since(first));
        }
        let replica = self.replica_of(conn);
        let owed = &mut self.topics.get(topic).owed;
        owed.count[replica] = 0;
        owed.heard[replica] = now;
    }

    /// `conn` was subscribed to `topic` and brought nothing of it although others did: as long as it carried alone, nobody did.
    fn confess_deaf(&mut self, conn: ConnIx, topic: LineTopic, now: Ts, out: &mut LineOut) {
        let (replica, since) = (self.replica_of(conn), self.conns[conn].carrying_since);
        let state = &self.topics.list[topic as usize];
        if !state.is_unprotected() || state.owed.count[replica] == 0 || state.owed.heard[replica] >= since {
            return;
        }
        let others = self.siblings(conn).filter(|c| self.conns[*c].is_carrying());
        let Some(first) = others.map(|c| self.conns[c].carrying_since).min() else { return };
        if since < first {
            let why = "the only socket that was subscribed then brought nothing of this stream";
            self.confess(topic, GapCause::Silent, since, first, why, now, out);
        }
    }

    /// `conn` brings a trade, where ids do not count. The first since it opened is an old one (dYdX begins with a list of them); where all
    /// that it knows is newer than what its siblings brought, they may have been deaf meanwhile.
    #[inline]
    pub(super) fn begins_with(&mut self, conn: ConnIx, topic: LineTopic, id: TradeId, event: Ts) {
        if self.members == 1 || !self.from_socket {
            return;
        }
        let state = &self.topics.list[topic as usize];
        if state.owed.heard[self.replica_of(conn)] >= self.conns[conn].opened_at {
            return;
        }
        let trades = &mut self.instruments[state.instrument as usize].trades;
        if trades.is_beyond(id, event) {
            trades.doubt(GapCause::Silent, Ts::MAX, true);
        }
    }

    /// As [`Line::confess_deaf`], for every stream of a socket that goes.
    pub(super) fn confess_all_deaf(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        if self.members == 1 {
            return;
        }
        let set = self.set_of(conn);
        for topic in 0..self.topics.list.len() {
            if self.topics.list[topic].conn.is_some_and(|c| self.set_of(c) == set) {
                self.confess_deaf(conn, topic as LineTopic, now, out);
            }
        }
    }

    /// Streams of several sockets that are subscribed and have not spoken since: nothing speaks against them any more.
    pub(super) fn end_quiet_losses(&mut self, now: Ts, out: &mut LineOut) {
        if self.members <= 2 {
            return;
        }
        for topic in 0..self.topics.list.len() as LineTopic {
            let state = &self.topics.list[topic as usize];
            let (Some(conn), Some(loss)) = (state.conn, state.losing.filter(|_| state.is_unprotected())) else {
                continue;
            };
            // Where a sibling carries on, the stream is subscribed since long before it was doubted.
            // (A beginning that lies ahead is of another clock.)
            let doubted = if loss.since <= now { loss.since } else { Ts::ZERO };
            let quiet = state.open_since > Ts::ZERO && now.since(state.open_since.max(doubted)) >= OWED_FOR;
            if quiet
                && !self.is_derived(topic)
                && !self.shed.covers(state.kind)
                && self.members_of(self.set_of(conn)).any(|c| self.conns[c].is_carrying())
            {
                self.end_loss(topic, conn, now, out);
            }
        }
    }

    /// `conn` is open again: its streams begin anew.
    pub(super) fn socket_joined(&mut self, conn: ConnIx, out: &LineOut) {
        if self.members == 1 {
            return;
        }
        let (set, replica) = (self.set_of(conn), self.replica_of(conn));
        for t in 0..self.topics.list.len() {
            if self.topics.list[t].conn.is_some_and(|c| c / self.members == set) {
                let state = &mut self.topics.list[t];
                state.merge.joined(replica, state.last_named().map(|event| print(&event, 0, out)));
                state.owed.count[replica] = 0;
            }
        }
    }

    /// `conn` went, others of its set stay: updates that waited for it wait no longer.
    pub(super) fn settle_held(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let set = self.set_of(conn);
        let alone = self.members_of(set).filter(|c| self.conns[*c].is_open()).count() < 2;
        for ix in 0..self.instruments.len() {
            if alone && self.set_of(self.instruments[ix].book_conn) == set {
                self.release(ix as InstrumentIx, now, out);
            }
        }
    }

    /// A socket went. A sibling that is subscribed, and has brought nothing of a stream although this one has, may be deaf there:
    /// such a stream is not carried by anybody until one of them speaks.
    pub(super) fn unproven_siblings(&mut self, conn: ConnIx, since: Ts, now: Ts, out: &mut LineOut) {
        let set = self.set_of(conn);
        for t in 0..self.topics.list.len() {
            let topic = &self.topics.list[t];
            let elsewhere = topic.conn.is_none_or(|c| self.set_of(c) != set) || self.is_derived(t as LineTopic);
            if elsewhere || !topic.is_unprotected() || topic.losing.is_some() {
                continue;
            }
            let owed = topic.owed;
            let proven = self.siblings(conn).any(|c| {
                let replica = self.replica_of(c);
                let (carries, since) = (self.conns[c].is_carrying(), self.conns[c].carrying_since);
                carries && (owed.count[replica] == 0 || owed.heard[replica] >= since)
            });
            if !proven {
                self.begin_loss(t as LineTopic, since, GapCause::Disconnected, now, out);
            }
        }
    }

    /// A socket went whose sibling has not carried for long: what was on its way here alone is confessed. A sibling that has
    /// brought nothing of the stream yet may be deaf there: then the loss goes on until one of them speaks.
    pub(super) fn young_sibling(&mut self, conn: ConnIx, topic: LineTopic, since: Ts, now: Ts, out: &mut LineOut) {
        let owed = self.topics.get(topic).owed;
        let heard = |c: ConnIx| owed.heard[self.replica_of(c)] >= self.conns[c].carrying_since;
        if !self.siblings(conn).any(|c| self.conns[c].is_carrying() && heard(c)) {
            return self.begin_loss(topic, since, GapCause::Disconnected, now, out);
        }
        let late = self.under_way(conn);
        let since = self.topics.list[topic as usize].whole_until(self.heard_at_source(topic, since, now), late);
        let why = "the other socket was subscribed too short a while ago to have everything";
        self.confess(topic, GapCause::Disconnected, since, now, why, now, out);
    }

    /// `conn` went while `topic` was being lost already, since a younger socket went: what lay between this one's last event, `since`,
    /// and what the younger brought was on its way here alone.
    pub(super) fn reach_back(&mut self, conn: ConnIx, topic: LineTopic, since: Ts, now: Ts, out: &mut LineOut) {
        let Some(begun) = self.topics.get(topic).losing.map(|loss| loss.since) else { return };
        let since = since - self.under_way(conn);
        // From another clock: see `is_carried_elsewhere`.
        let is_near = begun.since(since) < super::topics::LAG_MAX;
        let has_all = |c: ConnIx| self.conns[c].carrying_since > Ts::ZERO && self.conns[c].carrying_since <= since;
        if since >= begun || !is_near || self.siblings(conn).any(|c| has_all(c) && self.conns[c].last_event >= begun) {
            return;
        }
        let why = "an older socket had more on its way than the one that went before it";
        self.confess(topic, GapCause::Disconnected, since, begun, why, now, out);
    }

    pub(super) fn give_up_slow(&mut self, conn: ConnIx, why: String, out: &mut LineOut) {
        if !self.conns[conn].is_open() || std::mem::replace(&mut self.conns[conn].ejected, true) {
            return;
        }
        self.stats.recycled += 1;
        out.actions.push(LineAction::Reconnect(conn, wholetape_model::LinkCause::Slow, why));
    }

    /// Sockets that bring nothing while their siblings do, and sockets that are always behind.
    pub(super) fn watch_sockets(&mut self, now: Ts, out: &mut LineOut) {
        if self.members == 1 {
            return;
        }
        for topic in 0..self.topics.list.len() {
            let Some(conn) = self.topics.list[topic].conn else { continue };
            for sibling in self.siblings(conn) {
                let (owed, c) = (&self.topics.list[topic].owed, &self.conns[sibling]);
                let replica = sibling % self.members;
                let silent = c.is_carrying()
                    && owed.count[replica] >= OWED_MAX
                    && now.since(owed.heard[replica].max(c.carrying_since)) >= OWED_FOR;
                if silent && self.is_sibling_subscribed(sibling) {
                    let (name, n) = (&self.topics.list[topic].topic, owed.count[replica]);
                    let why = format!("{n} events of {name} came on the other socket, none on this one");
                    self.silent_socket(sibling, why, out);
                }
            }
        }
        for set in 0..self.conns.len() / self.members {
            self.compare_lags(set, now, out);
        }
        self.settle_behind(now, out);
    }

    fn compare_lags(&mut self, set: usize, now: Ts, out: &mut LineOut) {
        let members = self.members_of(set);
        let watch = &mut self.socket_watches[set];
        if now < watch.next {
            return;
        }
        watch.next = now + COMPARE_EVERY;
        let lags: Vec<Lag> = members.clone().map(|c| self.conns[c].lag).collect();
        let before = std::mem::replace(&mut watch.before, lags.clone());
        if before.len() != lags.len() || now.since(watch.recycled) < RECYCLE_EVERY && watch.recycled > Ts::ZERO {
            return;
        }
        let medians: Vec<Option<Duration>> = lags
            .iter()
            .zip(&before)
            .map(|(n, b)| n.since(b))
            .map(|w| if w.repeats >= SAMPLES_MIN && w.repeats > w.firsts { w.quantile(0.5) } else { None })
            .collect();
        let Some((slowest, lag)) =
            medians.iter().enumerate().filter_map(|(i, m)| m.map(|m| (i, m))).max_by_key(|m| m.1)
        else {
            return;
        };
        let conn = members.start + slowest;
        if lag >= LAG_MIN && self.is_carried_elsewhere(conn, now, now) {
            self.socket_watches[set].recycled = now;
            self.give_up_slow(conn, format!("half of its events are {lag:?} or more behind the other socket"), out);
        }
    }

    /// Lead and lag of each connection, and whether it carries its streams.
    pub fn sockets(&self) -> impl Iterator<Item = (ConnIx, &Lag, bool)> {
        self.conns.iter().enumerate().map(|(ix, c)| (ix, &c.lag, c.is_carrying()))
    }

    /// Books that are live, of all: for whoever waits until all are whole again.
    pub fn books_live(&self) -> (usize, usize) {
        let books = self.instruments.iter().filter_map(|i| i.book.as_ref());
        let (mut live, mut all) = (0, 0);
        for book in books {
            all += 1;
            live += usize::from(book.book().validity() == ValidityState::Live);
        }
        (live, all)
    }
}

/// By an id of its own or the venue's time: the same once more is the same event.
fn names_itself(event: &Event) -> bool {
    match &event.body {
        Body::Quote(q) if q.update_id != 0 => true,
        Body::Instrument(_) | Body::Status(_) | Body::Raw(_) => false,
        _ => event.ts_event > Ts::ZERO,
    }
}

/// What an event says, in 64 bits: equal for equal events, whoever brought them.
fn print(event: &Event, twins: u32, out: &LineOut) -> u64 {
    match &event.body {
        // Their texts stand in the arena, where each frame puts its own.
        body @ (Body::Instrument(_) | Body::Status(_) | Body::Raw(_)) => {
            hash(event, twins, format!("{:?}", out.scratch.arena.view(body)))
        }
        _ => print_of(event, twins),
    }
}

/// As `print`, of an event without texts.
pub(super) fn print_of(event: &Event, twins: u32) -> u64 {
    hash(event, twins, event.body)
}

fn hash(event: &Event, twins: u32, body: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.ts_event, event.scales, twins).hash(&mut hasher);
    body.hash(&mut hasher);
    hasher.finish()
}

/// Sockets that a line can be told to keep for the same streams: one place is left for a replacement.
pub const SOCKETS_MAX: usize = MEMBERS_MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_lag() {
        let mut lag = Lag::default();
        assert_eq!(lag.quantile(0.5), None);
        for us in [1, 3, 3, 3, 900] {
            lag.repeat(Duration::from_micros(us));
        }
        assert_eq!(lag.quantile(0.5), Some(Duration::from_micros(4)));
        assert_eq!(lag.quantile(1.0), Some(Duration::from_micros(1024)));
        let later = lag;
        assert_eq!(later.since(&lag).quantile(0.5), None);
    }
}
