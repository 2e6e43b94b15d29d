//! `ConnectionState`: what a connection is just now, and why. Every transition is a row of `link.<line>`.
//!
//! Pure. The table of causes and the states they lead to is `docs/connections.md`; `TABLE` below is the same table and a
//! test compares the two. `authenticated` is part of the chain for venues that need it; public market data does not.

use std::time::Duration;

use wholetape_model::{Link, LinkCause, LinkState};

use crate::error::SendError;

/// What leads to what: every cause, the states in which it may come, and the state after it.
pub const TABLE: &[(LinkCause, &[LinkState], LinkState)] = {
    use LinkCause as C;
    use LinkState as S;
    const DOWN: &[LinkState] = &[S::Disconnected, S::Blocked];
    const UP: &[LinkState] = &[S::Connected, S::Authenticated, S::Subscribed, S::Active, S::Draining];
    const ANY: &[LinkState] = &[
        S::Disconnected,
        S::Connecting,
        S::Connected,
        S::Authenticated,
        S::Subscribed,
        S::Active,
        S::Draining,
        S::Blocked,
    ];
    &[
        (C::Start, DOWN, S::Connecting),
        (C::Opened, &[S::Connecting], S::Connected),
        (C::OpenFailed, &[S::Connecting], S::Disconnected),
        (C::AuthFailed, UP, S::Disconnected),
        (C::Acknowledged, &[S::Connected, S::Authenticated], S::Subscribed),
        (C::FirstData, &[S::Connected, S::Authenticated, S::Subscribed], S::Active),
        (C::SubscribeRefused, UP, S::Disconnected),
        (C::Closed, UP, S::Disconnected),
        (C::Error, UP, S::Disconnected),
        (C::Silent, UP, S::Disconnected),
        (C::PingTimeout, UP, S::Disconnected),
        (C::Resync, UP, S::Disconnected),
        (C::Slow, UP, S::Disconnected),
        (C::BudgetSpent, DOWN, S::Blocked),
        (C::Breaker, DOWN, S::Blocked),
        (C::Planned, UP, S::Draining),
        (C::Stop, ANY, S::Disconnected),
        (C::Restarted, ANY, S::Disconnected),
    ]
};

/// The connection's way through its states.
#[derive(Debug, Clone)]
pub struct ConnectionState {
    state: LinkState,
    attempt: u32,
    /// Names this life of the connection in rows and logs.
    correlation: String,
    last_cause: LinkCause,
}

/// One step, to be written as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub state: LinkState,
    pub cause: LinkCause,
    pub attempt: u32,
    pub delay: Duration,
    pub endpoint: String,
    pub correlation: String,
    pub why: String,
}

impl Transition {
    #[must_use]
    pub fn body(&self) -> Link<&str> {
        Link {
            state: self.state,
            cause: self.cause,
            attempt: self.attempt,
            delay_ns: u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX),
            endpoint: &self.endpoint,
            correlation: &self.correlation,
            why: &self.why,
        }
    }
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnectionState {
    #[must_use]
    pub const fn new() -> Self {
        Self { state: LinkState::Disconnected, attempt: 0, correlation: String::new(), last_cause: LinkCause::Start }
    }

    #[must_use]
    pub const fn state(&self) -> LinkState {
        self.state
    }

    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    #[must_use]
    pub const fn last_cause(&self) -> LinkCause {
        self.last_cause
    }

    #[must_use]
    pub fn correlation(&self) -> &str {
        &self.correlation
    }

    /// The state that `cause` leads to from here, if it may come here.
    #[must_use]
    pub fn after(&self, cause: LinkCause) -> Option<LinkState> {
        TABLE.iter().find(|(c, from, _)| *c == cause && from.contains(&self.state)).map(|(.., to)| *to)
    }

    /// Takes a step. `None` when it changes nothing: an ack after the first data, say.
    ///
    /// `ClockStep` and `Lagging` are events and no change of state: they always give a row.
    pub fn step(&mut self, cause: LinkCause, endpoint: &str, delay: Duration, why: &str) -> Option<Transition> {
        let event = matches!(cause, LinkCause::ClockStep | LinkCause::Lagging);
        let state = if event { self.state } else { self.after(cause)? };
        if cause == LinkCause::Start {
            self.attempt = self.attempt.saturating_add(1);
        }
        self.state = state;
        self.last_cause = cause;
        Some(Transition {
            state,
            cause,
            attempt: self.attempt,
            delay,
            endpoint: endpoint.into(),
            correlation: self.correlation.clone(),
            why: why.into(),
        })
    }

    /// A new life begins: its rows carry this id.
    pub fn set_correlation(&mut self, id: String) {
        self.correlation = id;
    }

    /// Tries are counted since the last time it was well.
    pub fn forget_attempts(&mut self) {
        self.attempt = 0;
    }

    /// May the session's own protocol messages go out (subscribe, pings)?
    ///
    /// # Errors
    /// [`SendError::NotActive`].
    pub const fn may_talk(&self) -> Result<(), SendError> {
        match self.state {
            LinkState::Connected | LinkState::Authenticated | LinkState::Subscribed | LinkState::Active => Ok(()),
            state => Err(SendError::NotActive(state)),
        }
    }

    /// May a user's message go out?
    ///
    /// # Errors
    /// [`SendError::NotActive`].
    pub const fn may_send(&self) -> Result<(), SendError> {
        match self.state {
            LinkState::Subscribed | LinkState::Active => Ok(()),
            state => Err(SendError::NotActive(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(causes: &[LinkCause]) -> Vec<LinkState> {
        let mut c = ConnectionState::new();
        causes.iter().filter_map(|cause| c.step(*cause, "e", Duration::ZERO, "").map(|t| t.state)).collect()
    }

    #[test]
    fn a_good_life() {
        use LinkCause as C;
        use LinkState as S;
        assert_eq!(
            walk(&[C::Start, C::Opened, C::Acknowledged, C::FirstData, C::Planned, C::Closed, C::Start]),
            [S::Connecting, S::Connected, S::Subscribed, S::Active, S::Draining, S::Disconnected, S::Connecting]
        );
        assert_eq!(
            walk(&[C::Start, C::Opened, C::FirstData, C::Acknowledged]).len(),
            3,
            "an ack after data changes nothing"
        );
    }

    #[test]
    fn what_cannot_be_does_not_happen() {
        use LinkCause as C;
        let mut c = ConnectionState::new();
        for cause in [C::Opened, C::FirstData, C::Closed, C::Silent, C::Acknowledged] {
            assert_eq!(c.step(cause, "e", Duration::ZERO, ""), None, "{cause:?}");
        }
        assert!(c.step(C::Stop, "e", Duration::ZERO, "").is_some());
        assert_eq!(c.may_send(), Err(SendError::NotActive(LinkState::Disconnected)));
    }

    #[test]
    fn sending_is_for_the_subscribed() {
        use LinkCause as C;
        let mut c = ConnectionState::new();
        c.step(C::Start, "e", Duration::ZERO, "");
        assert!(c.may_talk().is_err());
        c.step(C::Opened, "e", Duration::ZERO, "");
        assert!(c.may_talk().is_ok() && c.may_send().is_err());
        c.step(C::Acknowledged, "e", Duration::ZERO, "");
        assert!(c.may_send().is_ok());
    }

    #[test]
    fn every_cause_is_in_the_table_and_in_the_document() {
        let document = include_str!("../../../docs/connections.md");
        for cause in LinkCause::ALL {
            assert!(
                matches!(cause, LinkCause::ClockStep | LinkCause::Lagging) || TABLE.iter().any(|(c, ..)| c == cause),
                "{} leads nowhere",
                cause.as_str()
            );
            let row = format!("| `{}` |", cause.as_str());
            let line = document.lines().find(|l| l.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/connections.md has no row for {}", cause.as_str()));
            for (.., to) in TABLE.iter().filter(|(c, ..)| c == cause) {
                assert!(line.contains(&format!("`{}`", to.as_str())), "{}: {line}", cause.as_str());
            }
        }
    }
}
