//! What a client asked for, and how it is answered.

use wholetape_wire::Subject;
use wholetape_wire::reply;

use crate::ws::view::Key;

/// What happens to a client that is more than `lag` behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    CatchUp,
    Conflate,
    DropOldest,
    DropLowest,
    Disconnect,
}

impl Slow {
    pub const ALL: [Self; 5] = [Self::CatchUp, Self::Conflate, Self::DropOldest, Self::DropLowest, Self::Disconnect];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchUp => "catch_up",
            Self::Conflate => "conflate",
            Self::DropOldest => "drop_oldest",
            Self::DropLowest => "drop_lowest",
            Self::Disconnect => "disconnect",
        }
    }
}

/// Who asked, and how to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Sub(Option<u64>),
    Resync(Option<u64>),
}

impl Asked {
    pub const fn id(self) -> Option<u64> {
        let (Self::Sub(id) | Self::Resync(id)) = self;
        id
    }
}

/// What a client asked for beside topic and start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub slow: Slow,
    pub lag: u64,
    /// The topic pauses at so many messages without an acknowledgement; `None`: they are not acknowledged.
    pub inflight: Option<usize>,
    /// The view that it asked for; `None`: every message.
    pub view: Option<Key>,
    /// Flagged rows are left out.
    pub clean: bool,
    /// Its messages have `ch` instead of `topic`.
    pub short: bool,
    /// Its prices and sizes are integers.
    pub scaled: bool,
}

impl Terms {
    /// As `subd` repeats them.
    pub(super) fn told(&self, subject: &Subject) -> reply::Terms<'static> {
        let Self { inflight, view, clean, .. } = *self;
        let (conflate, depth) = view.map_or(("none", None), |v| (v.period.as_str(), v.depth));
        reply::Terms { ch: subject.ch, acked: inflight.is_some(), conflate, depth, clean, places: subject.places }
    }
}
