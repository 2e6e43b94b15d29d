//! What a venue bears, as data: the words in which a venue's folder tells the shell's budgets, clocks and sockets.
//!
//! The figures themselves stand in each venue's `limits.rs`, with source and date read. Nothing here does anything; who obeys
//! is named at each part.

use std::time::Duration;

/// Everything about one venue that the shell must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueLimits {
    pub rest: RestLimits,
    /// Connection attempts per address.
    pub connects: Rate,
    /// Streams (subscriptions) on one connection.
    pub streams_max: usize,
    pub subscribe: SubscribeLimits,
    pub heartbeat: Heartbeat,
    /// The venue closes every connection after this long; `None`: it does not say.
    pub life_max: Option<Duration>,
}

/// So many in any stretch of so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

impl Rate {
    #[must_use]
    pub const fn new(count: u32, per: Duration) -> Self {
        Self { count, per }
    }
}

/// What a REST host bears, for `feed::rest`. A venue that counts requests has requests of weight 1; one that limits each
/// endpoint apart gives each request the weight that fills the window at that endpoint's own rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestLimits {
    /// Weight per window and address, in the units of [`Request::weight`](crate::Request::weight).
    pub weight: Rate,
    /// The reply header that tells how much of the window is used or left.
    pub meter: Option<Meter>,
    /// In which unit `Retry-After` is written.
    pub retry_after: RetryAfter,
    /// The answers by which the venue says that it was too much.
    pub refusals: &'static [Refusal],
}

/// A reply header (lower case) that counts the present window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    /// The weight used so far.
    Used(&'static str),
    /// The weight left.
    Left(&'static str),
}

impl Meter {
    #[must_use]
    pub const fn header(&self) -> &'static str {
        match self {
            Self::Used(header) | Self::Left(header) => header,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// As HTTP defines it.
    #[default]
    Seconds,
    /// dYdX.
    Millis,
}

impl RetryAfter {
    /// The length that `n` means.
    #[must_use]
    pub const fn wait(self, n: u64) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(n),
            Self::Millis => Duration::from_millis(n),
        }
    }
}

/// An answer that means "too much": nothing goes to that host before `wait` is over, or what `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Of this status only answers that begin with something that holds this text: some venues say it at status 200.
    pub marker: Option<&'static str>,
    /// Where no header says how long.
    pub wait: Duration,
}

/// Of an answer's beginning so many bytes are searched for a [`Refusal::marker`].
pub const MARKER_WITHIN: usize = 256;

impl Refusal {
    /// A status that always means it.
    #[must_use]
    pub const fn status(status: u16, wait: Duration) -> Self {
        Self { status, marker: None, wait }
    }

    /// A text in the body that means it.
    #[must_use]
    pub const fn text(status: u16, marker: &'static str, wait: Duration) -> Self {
        Self { status, marker: Some(marker), wait }
    }

    /// Whether this answer is one.
    #[must_use]
    pub fn is(&self, status: u16, body: &[u8]) -> bool {
        let head = &body[..body.len().min(MARKER_WITHIN)];
        status == self.status
            && self.marker.is_none_or(|marker| head.windows(marker.len()).any(|w| w == marker.as_bytes()))
    }
}

/// How subscriptions may be asked for, for [`crate::subscriptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeLimits {
    /// Streams named in one request.
    pub args_max: usize,
    /// Bytes of their names together.
    pub bytes_max: usize,
    /// Between two requests.
    pub spacing: Duration,
    /// Requests per connection, subscriptions and their ends alike.
    pub operations: Option<Rate>,
}

/// Who keeps a connection alive, for `feed::ws`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The server pings by WebSocket frame, which the library answers; it closes when no pong came `within`.
    Server { every: Duration, within: Duration },
    /// We send a text message every so often, whatever else comes or goes; without it the server closes after `cut`.
    Client {
        /// The message, plain or JSON.
        ping: &'static str,
        /// A message that is the answer, word for word, and nothing else: it is no frame for the session. Answers with changing
        /// parts are the session's to know.
        pong: Option<&'static str>,
        every: Duration,
        cut: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_status_and_text() {
        let plain = Refusal::status(429, Duration::from_secs(1));
        assert!(plain.is(429, b"") && !plain.is(418, b""));
        let text = Refusal::text(200, "\"retCode\":10006", Duration::from_secs(5));
        assert!(text.is(200, br#"{"retCode":10006,"retMsg":"Too many visits!"}"#));
        assert!(!text.is(200, br#"{"retCode":0,"result":{}}"#) && !text.is(403, br#"{"retCode":10006}"#));
        let mut late = vec![b' '; MARKER_WITHIN];
        late.extend(br#"{"retCode":10006}"#);
        assert!(!text.is(200, &late), "data may hold any text");
    }

    #[test]
    fn retry_after_has_a_unit() {
        assert_eq!(RetryAfter::Seconds.wait(3), Duration::from_secs(3));
        assert_eq!(RetryAfter::Millis.wait(1_500), Duration::from_millis(1_500));
    }
}
