//! One connection of the line: its session, its number and what it last brought.

use wholetape_model::{InstrumentIx, Kind, Ts};
use wholetape_venue::Session;

use super::plan::ConnPlan;
use super::sockets::Lag;

pub(super) struct Conn {
    pub session: Box<dyn Session>,
    /// What its streams bring, known before the first frame: a stream that never speaks must be missed.
    pub expects: Vec<(InstrumentIx, Kind)>,
    polled: Vec<Kind>,
    pub streams: usize,
    pub acknowledged: usize,
    /// The number in rows; 0 while closed.
    pub number: u32,
    pub frame: u32,
    pub last_frame: Ts,
    pub last_event: Ts,
    /// When `last_event` was read.
    pub heard_at: Ts,
    /// How far the venue's clock was seen ahead of ours, ns: a step back leaves `last_event` in what is yet to come.
    pub ahead_ns: i64,
    /// The least that receive time less event time ever was, and how far above it the newest reading stood, ns: what was read
    /// last had been under way for so long, and what was published meanwhile may not have come at all.
    least_ns: i64,
    pub late_ns: i64,
    pub opened_at: Ts,
    open: bool,
    spoke: bool,
    /// Garbage came between these two times; confessed at the next tick.
    pub garbled: Option<(Ts, Ts)>,
    pub next_resync: Ts,
    pub next_resubscription: Ts,
    /// All its streams are acknowledged, since then.
    pub carrying_since: Ts,
    carrying: bool,
    /// Too far behind its sibling to be understood: what it brings is not read until it is closed.
    pub ejected: bool,
    pub lag: Lag,
}

/// A venue time further ahead of ours is a mistake and no clock.
const AHEAD_MAX_NS: i64 = 10_000_000_000;
/// Events that are later than this are old ones, served again.
const LATE_MAX_NS: i64 = 60_000_000_000;
/// Clocks that were set find each other again: the least rises by one part in so many.
const DRIFT: i64 = 1_000;

impl Conn {
    pub fn new(plan: ConnPlan) -> Self {
        Self {
            session: plan.session,
            expects: plan.expects,
            polled: plan.polled,
            streams: plan.streams,
            acknowledged: 0,
            number: 0,
            frame: 0,
            last_frame: Ts::ZERO,
            last_event: Ts::ZERO,
            heard_at: Ts::ZERO,
            ahead_ns: 0,
            least_ns: i64::MAX,
            late_ns: 0,
            opened_at: Ts::ZERO,
            open: false,
            spoke: false,
            garbled: None,
            next_resync: Ts::ZERO,
            next_resubscription: Ts::ZERO,
            carrying_since: Ts::ZERO,
            carrying: false,
            ejected: false,
            lag: Lag::default(),
        }
    }

    /// Whether a stream of this connection brings the topic.
    pub fn streams(&self, ix: InstrumentIx, kind: Kind) -> bool {
        self.expects.contains(&(ix, kind)) && !self.polled.contains(&kind)
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Open, and all its streams acknowledged.
    pub fn is_carrying(&self) -> bool {
        self.carrying
    }

    pub fn carries(&mut self, now: Ts) {
        self.carrying = true;
        self.carrying_since = now;
    }

    pub fn opened(&mut self, number: u32, now: Ts) {
        self.number = number;
        self.frame = 0;
        self.acknowledged = 0;
        self.open = true;
        self.carrying = false;
        self.ejected = false;
        self.spoke = false;
        self.opened_at = now;
        self.garbled = None;
    }

    /// The newest venue time on this connection.
    #[inline]
    pub fn heard_of(&mut self, ts_event: Ts, now: Ts) {
        let d = now.0.saturating_sub(ts_event.0);
        let drift = if self.heard_at > Ts::ZERO { now.0.saturating_sub(self.heard_at.0) / DRIFT } else { 0 };
        self.least_ns = self.least_ns.saturating_add(drift).min(d);
        self.late_ns = d.saturating_sub(self.least_ns).min(LATE_MAX_NS);
        self.last_event = ts_event;
        self.heard_at = now;
        self.ahead_ns = self.ahead_ns.max((ts_event.0 - now.0).min(AHEAD_MAX_NS));
    }

    /// The earlier of receive time and event time of the last frame: what the venue created after that event may be on its way.
    pub fn heard_until(&self, now: Ts) -> Ts {
        let heard = if self.last_frame > Ts::ZERO { self.last_frame } else { now };
        if self.last_event > Ts::ZERO { heard.min(self.last_event) } else { heard }
    }

    /// Closes, and says since when things may be missing; `None` if it was not open.
    pub fn closed(&mut self, now: Ts) -> Option<Ts> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        self.carrying = false;
        Some(self.heard_until(now))
    }

    /// True once per opening: at the first frame with data.
    pub fn first_data(&mut self) -> bool {
        !std::mem::replace(&mut self.spoke, true)
    }
}
