//! What the tape says about its own data: gaps with verdicts, book validity, connection states, quality findings.
//!
//! A gap is opened once and gets further marks with the same `gap` number until one of them is a verdict
//! (`healed`, `never_published`, `lost`). No gap leaves without one (P1).

use crate::decimal::Decimal;
use crate::time::Ts;

/// An enum with a fixed byte and a fixed name: both are contracts (tape, wire) and never change meaning.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            #[must_use]
            pub const fn from_u8(v: u8) -> Option<Self> {
                match v { $($code => Some(Self::$variant),)+ _ => None }
            }

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

coded!(GapState {
    Open = 1 "open",
    Healed = 2 "healed",
    NeverPublished = 3 "never_published",
    Lost = 4 "lost",
});

coded!(
    /// Why something is missing.
    GapCause {
        /// The connection was away.
        Disconnected = 1 "disconnected",
        /// A venue id is not the one that follows.
        Sequence = 2 "sequence",
        /// We were not running.
        Down = 3 "down",
        /// The machine lost power, or an fsync failed; the range may have been seen by readers.
        Power = 4 "power",
        /// Space ran out.
        Disk = 5 "disk",
        /// A frame could not be read.
        Malformed = 6 "malformed",
        /// Subscribed, acknowledged, and nothing came.
        Silent = 7 "silent",
        /// We were too slow and said so.
        Shed = 8 "shed",
        /// The book left its sequence; until the next snapshot its deltas are unusable.
        Resync = 9 "resync",
        /// The tape's retention removed it.
        Retention = 10 "retention",
        /// A record on disk failed its checksum.
        Corrupt = 11 "corrupt",
        /// From before the first live row: asked for after the fact.
        Backlog = 12 "backlog",
        /// We are behind the venue by more than we allow ourselves: right, but late. A cause of `stale`, never of a gap.
        Lagging = 13 "lagging",
    }
);

coded!(
    /// Where missing rows came from, or were looked for in vain.
    HealSource {
        None = 0 "none",
        Rest = 1 "rest",
        Archive = 2 "archive",
        Redundant = 3 "redundant",
    }
);

coded!(ValidityState {
    Live = 1 "live",
    Syncing = 2 "syncing",
    Stale = 3 "stale",
});

coded!(
    /// DESIGN §4.
    LinkState {
        Disconnected = 1 "disconnected",
        Connecting = 2 "connecting",
        Connected = 3 "connected",
        Authenticated = 4 "authenticated",
        Subscribed = 5 "subscribed",
        Active = 6 "active",
        Draining = 7 "draining",
        Blocked = 8 "blocked",
    }
);

coded!(
    /// Why a connection changed its state.
    LinkCause {
        Start = 1 "start",
        Opened = 2 "opened",
        OpenFailed = 3 "open_failed",
        AuthFailed = 4 "auth_failed",
        Acknowledged = 5 "acknowledged",
        SubscribeRefused = 6 "subscribe_refused",
        FirstData = 7 "first_data",
        Closed = 8 "closed",
        Error = 9 "error",
        Silent = 10 "silent",
        PingTimeout = 11 "ping_timeout",
        BudgetSpent = 12 "budget_spent",
        Planned = 13 "planned",
        Stop = 14 "stop",
        Breaker = 15 "breaker",
        Restarted = 16 "restarted",
        ClockStep = 17 "clock_step",
        Resync = 18 "resync",
        /// The line fell behind its sockets, sheds more or less, or has caught up; no change of state.
        Lagging = 20 "lagging",
        /// It is behind the other socket of its streams.
        Slow = 19 "slow",
    }
);

coded!(
    /// The quality checks.
    Check {
        PriceRange = 1 "price_range",
        SizeRange = 2 "size_range",
        TimeOrder = 3 "time_order",
        Crossed = 4 "crossed",
        Spread = 5 "spread",
        Stale = 6 "stale",
        Schema = 7 "schema",
        QuoteBook = 8 "quote_book",
        /// A frame of no known shape.
        Shape = 9 "shape",
        /// A stream changed its [`StreamState`].
        Silence = 10 "silence",
        /// A price is no multiple of the tick that was valid then.
        OffTick = 11 "off_tick",
        /// A minute's trades are not what the venue's own bar counts.
        BarSum = 12 "bar_sum",
    }
);

coded!(
    /// What a stream that was subscribed is just now: "no trades" and "no data" are different (P7).
    StreamState {
        /// Speaks as often as it usually does.
        Live = 1 "live",
        /// Silent because nothing happens, and that is proven.
        Quiet = 2 "quiet",
        /// Something happens that the stream does not bring.
        Stalled = 3 "stalled",
        /// The venue says that the instrument does not trade.
        Halted = 4 "halted",
        /// Frames come, and none is understood any more.
        ApiChanged = 5 "api_changed",
    }
);

coded!(
    /// How much an alert wants to be read.
    Severity {
        Info = 1 "info",
        Warning = 2 "warning",
        Critical = 3 "critical",
    }
);

coded!(
    /// How sure it is that a range holds everything that the venue published; the strongest first.
    Proof {
        /// The venue's ids are consecutive, and none is missing.
        ById = 1 "proven_by_id",
        /// Pages of the venue's history overlap at each edge.
        ByOverlap = 2 "proven_by_overlap",
        /// An unbroken connection is the only witness.
        LiveOnly = 3 "live_only",
        /// Something is known to be missing.
        Hole = 4 "hole",
    }
);

/// Numbers of gaps that the tape itself tells (of rows that it lost): by their seq from here on, where no counter (too low) and
/// no clock in ns (too high) numbers gaps. They collide with nobody's in the topic, and stay below 2^53.
pub const TAPES_OWN_GAPS: std::ops::Range<u64> = 1 << 52..1 << 53;

/// A hole in the market's data. Ids are inclusive; 0 and 0 where the venue has none, then the times bound the hole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Gap<T> {
    /// Names the gap within its topic; verdicts repeat it.
    pub gap: u64,
    pub state: GapState,
    pub cause: GapCause,
    pub source: HealSource,
    pub from_id: u64,
    pub to_id: u64,
    /// Receive time of the last record before and the first after the hole; events of the hole lie between.
    pub from_ts: Ts,
    pub to_ts: Ts,
    /// How many ids this mark leaves without a row (0 when healed whole or not countable).
    pub missing: u64,
    /// The evidence, in words.
    pub why: T,
}

/// From this record on the book is …
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Validity<T> {
    pub state: ValidityState,
    pub cause: GapCause,
    /// The venue's last update id applied; 0 = none.
    pub update_id: u64,
    pub why: T,
}

/// A connection changed its state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Link<T> {
    pub state: LinkState,
    pub cause: LinkCause,
    pub attempt: u32,
    /// The delay before the next try, ns; 0 = none.
    pub delay_ns: u64,
    pub endpoint: T,
    pub correlation: T,
    pub why: T,
}

/// A failed check. The row itself carries the flag; this tells value and bound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Finding<T> {
    pub check: Check,
    pub observed: Decimal,
    pub bound: Decimal,
    /// How many like it were folded into this one.
    pub count: u64,
    pub why: T,
}

/// What the coverage ledger knows of one topic, when it was written. The whole of it: `/v1/coverage`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Coverage<T> {
    /// The topic's kind; its instrument is that of the coverage topic.
    pub of: T,
    /// The weakest level in the whole range.
    pub proof: Proof,
    /// The seq of that topic up to which this speaks.
    pub seq: u64,
    /// First and last venue id held or known to be missing; 0 where the venue has none.
    pub from_id: u64,
    pub to_id: u64,
    /// Ids held, missing, and found never to have been published; 0 where they cannot be counted.
    pub held: u64,
    pub missing: u64,
    pub never_published: u64,
    pub from_ts: Ts,
    pub to_ts: Ts,
    /// Time that lies in holes, ns.
    pub hole_ns: u64,
    /// Gaps without a verdict.
    pub open: u64,
    pub healed: u64,
    pub lost: u64,
    /// The hour that the first letter of `hours` speaks of.
    pub hours_from: Ts,
    /// One letter per hour, oldest first: `P` proven, `L` live only (small: part of the hour recorded), `H` a hole in
    /// it, `-` nothing.
    pub hours: T,
}

impl<T> Coverage<T> {
    pub fn map<U>(self, mut text: impl FnMut(T) -> U) -> Coverage<U> {
        Coverage {
            of: text(self.of),
            proof: self.proof,
            seq: self.seq,
            from_id: self.from_id,
            to_id: self.to_id,
            held: self.held,
            missing: self.missing,
            never_published: self.never_published,
            from_ts: self.from_ts,
            to_ts: self.to_ts,
            hole_ns: self.hole_ns,
            open: self.open,
            healed: self.healed,
            lost: self.lost,
            hours_from: self.hours_from,
            hours: text(self.hours),
        }
    }
}

/// Something that people should know of a line, said once: its topic is `alert.<line>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Alert<T> {
    pub severity: Severity,
    /// What kind of thing it is, for machines: `shape`, `api_changed` …
    pub code: T,
    /// In words.
    pub text: T,
}

impl<T> Gap<T> {
    /// Whether the tape tells it, of rows that it lost itself.
    #[must_use]
    pub fn is_tapes_own(&self) -> bool {
        TAPES_OWN_GAPS.contains(&self.gap)
    }

    pub fn map<U>(self, text: impl FnOnce(T) -> U) -> Gap<U> {
        Gap {
            gap: self.gap,
            state: self.state,
            cause: self.cause,
            source: self.source,
            from_id: self.from_id,
            to_id: self.to_id,
            from_ts: self.from_ts,
            to_ts: self.to_ts,
            missing: self.missing,
            why: text(self.why),
        }
    }
}

impl<T> Validity<T> {
    pub fn map<U>(self, text: impl FnOnce(T) -> U) -> Validity<U> {
        Validity { state: self.state, cause: self.cause, update_id: self.update_id, why: text(self.why) }
    }
}

impl<T> Link<T> {
    pub fn map<U>(self, mut text: impl FnMut(T) -> U) -> Link<U> {
        Link {
            state: self.state,
            cause: self.cause,
            attempt: self.attempt,
            delay_ns: self.delay_ns,
            endpoint: text(self.endpoint),
            correlation: text(self.correlation),
            why: text(self.why),
        }
    }
}

impl<T> Alert<T> {
    pub fn map<U>(self, mut text: impl FnMut(T) -> U) -> Alert<U> {
        Alert { severity: self.severity, code: text(self.code), text: text(self.text) }
    }
}

impl<T> Finding<T> {
    pub fn map<U>(self, text: impl FnOnce(T) -> U) -> Finding<U> {
        Finding {
            check: self.check,
            observed: self.observed,
            bound: self.bound,
            count: self.count,
            why: text(self.why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for s in GapCause::ALL {
            assert_eq!(GapCause::from_u8(*s as u8), Some(*s));
        }
        for s in LinkCause::ALL {
            assert_eq!(LinkCause::from_u8(*s as u8), Some(*s));
        }
        assert_eq!(GapState::from_u8(0), None);
    }
}
