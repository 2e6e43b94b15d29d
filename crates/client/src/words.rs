//! The words between the state machine, its shell and the user.

use serde_json::{Map, Value, json};
use wholetape_wire::CREDIT_MAX;

/// Where a reader stands in a topic: what `from` must say to go on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Everything up to `seq` of `epoch`.
    Seq { epoch: String, seq: u64 },
    /// `i` rows of the history since `ts` (microseconds, UTC), as of `asof`.
    Rows { ts: i64, epoch: String, asof: u64, i: u64 },
}

impl Cursor {
    /// As `from` in `sub`, and as it is stored.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Seq { epoch, seq } => json!({"epoch": epoch, "seq": seq}),
            Self::Rows { ts, epoch, asof, i } => json!({"ts": ts, "epoch": epoch, "asof": asof, "i": i}),
        }
    }

    /// `None` where `value` is no cursor (`"live"`, say).
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let epoch = value["epoch"].as_str()?.to_owned();
        if let Some(seq) = value["seq"].as_u64() {
            return Some(Self::Seq { epoch, seq });
        }
        let (ts, asof, i) = (value["ts"].as_i64()?, value["asof"].as_u64()?, value["i"].as_u64()?);
        Some(Self::Rows { ts, epoch, asof, i })
    }
}

/// What to subscribe to, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Sub {
    pub(crate) topic: String,
    pub(crate) from: Value,
    pub(crate) keys: Map<String, Value>,
    pub(crate) credit: Option<u64>,
}

impl Sub {
    /// Of a topic or a pattern with `*`, what comes from now on.
    #[must_use]
    pub fn live(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), from: json!("live"), keys: Map::new(), credit: None }
    }

    /// From the oldest that the server holds.
    #[must_use]
    pub fn earliest(topic: impl Into<String>) -> Self {
        Self { from: json!("earliest"), ..Self::live(topic) }
    }

    /// `n` messages back.
    #[must_use]
    pub fn last(topic: impl Into<String>, n: u64) -> Self {
        Self { from: json!({"last": n}), ..Self::live(topic) }
    }

    /// All rows since `ts` (microseconds, UTC) in corrected order, then live.
    #[must_use]
    pub fn since(topic: impl Into<String>, ts: i64) -> Self {
        Self { from: json!({"ts": ts}), ..Self::live(topic) }
    }

    /// Behind `cursor`. Of a book this says that you hold its state there.
    #[must_use]
    pub fn after(topic: impl Into<String>, cursor: &Cursor) -> Self {
        Self { from: cursor.to_json(), ..Self::live(topic) }
    }

    /// Acknowledge what was processed: the server pauses the topic when that stays out.
    #[must_use]
    pub fn acked(self) -> Self {
        self.with("ack", json!("cum"))
    }

    /// So many messages, at most a million; then the topic pauses until [`crate::Handle::flow`]. Of a pattern: each topic.
    #[must_use]
    pub fn with_credit(mut self, credit: u64) -> Self {
        self.credit = Some(credit.min(CREDIT_MAX));
        self
    }

    /// Any other key of `sub`: `policy`, `lag`, `conflate`, `depth`, `view`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.keys.insert(key.into(), value);
        self
    }
}

/// A message of ours. `mid` is its name, by which the server knows it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    pub mid: String,
    pub topic: String,
    pub event: String,
    pub data: Value,
    /// Only if the topic's head is this.
    pub if_seq: Option<u64>,
}

/// The connection, as the user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Idle,
    Connecting,
    /// Open; `welcome` has not come.
    Authenticating,
    /// Asked for every topic from where it stood; not all have answered.
    Resuming,
    Live,
    /// The server says that we are behind.
    Lagging,
    /// The server says that it will go.
    Draining,
    /// The `tries`-th connection in a row begins in `delay_ms`.
    Waiting {
        tries: u32,
        delay_ms: u64,
        code: Option<u16>,
    },
    /// Over: we stopped, or coming again would change nothing.
    Closed {
        code: Option<u16>,
    },
    /// Over: the credentials are refused.
    Denied {
        code: u16,
    },
}

impl State {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Authenticating => "authenticating",
            Self::Resuming => "resuming",
            Self::Live => "live",
            Self::Lagging => "lagging",
            Self::Draining => "draining",
            Self::Waiting { .. } => "waiting",
            Self::Closed { .. } => "closed",
            Self::Denied { .. } => "denied",
        }
    }

    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Denied { .. })
    }
}

/// A topic, as the user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicState {
    Subscribing,
    /// What comes is of the past.
    Replaying,
    Live,
    /// The connection is gone, or a hole is being asked for: the state held is the last one known.
    Stale,
    /// A range was not delivered, and nothing has come since.
    Missed,
    /// The subscription is over; the error said why.
    Denied,
}

impl TopicState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribing => "subscribing",
            Self::Replaying => "replaying",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Missed => "missed",
            Self::Denied => "denied",
        }
    }
}

/// What the user is told. Values are messages as received.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    State(State),
    Topic {
        topic: String,
        state: TopicState,
    },
    /// A `data`, `mark` or `snap` to apply.
    Message {
        topic: String,
        cursor: Cursor,
        message: Value,
    },
    /// A batch of history: messages in corrected order, and `missed` for what cannot be read.
    Rows {
        topic: String,
        cursor: Cursor,
        rows: Vec<Value>,
    },
    /// `from..=to` was not delivered, and will not be.
    Missed {
        topic: String,
        cursor: Cursor,
        from: u64,
        to: u64,
        why: String,
    },
    /// A publication is in its topic's log.
    Published {
        mid: String,
        answer: Value,
    },
    /// A publication was refused for good.
    Unpublished {
        mid: String,
        error: Value,
    },
    Error(Value),
    Notice(Value),
    /// A frame that is no message of the protocol.
    Malformed(String),
}

impl Event {
    /// Topic and cursor of what is to be processed.
    #[must_use]
    pub fn place(&self) -> Option<(&str, &Cursor)> {
        match self {
            Self::Message { topic, cursor, .. }
            | Self::Rows { topic, cursor, .. }
            | Self::Missed { topic, cursor, .. } => Some((topic, cursor)),
            _ => None,
        }
    }
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Connect,
    Send(Value),
    /// Close the socket with this code, and report the end.
    Close(u16),
    Tell(Event),
}
