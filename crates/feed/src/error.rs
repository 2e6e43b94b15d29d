//! What can go wrong in the shell.

use std::io;

use wholetape_tape::TapeError;
use wholetape_venue::PlanError;

use crate::endpoint::EndpointError;

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Tape(#[from] TapeError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("cannot start worker {worker}")]
    Spawn {
        worker: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("the list of symbols of {venue} could not be read: {why}")]
    Symbols { venue: String, why: String },
    #[error("line {line} needs a worker and there is none")]
    NoWorker { line: String },
}

/// Why an open did not come about.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot reach {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: io::Error,
    },
    #[error("no answer from {endpoint} within {seconds} s")]
    Timeout { endpoint: String, seconds: u64 },
    #[error("`{0}` is no name that a certificate can hold")]
    ServerName(String),
    #[error("{endpoint} refused the WebSocket handshake")]
    Handshake {
        endpoint: String,
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    #[error("{host} had {used} connection attempts in its window")]
    Budget { host: String, used: u32 },
}

/// Sending was asked for while the connection cannot take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("connection is {}, not active", .0.as_str())]
    NotActive(wholetape_model::LinkState),
    #[error("{0} messages wait to be sent already")]
    Full(usize),
}

/// An error with its causes, for a `why` on the tape.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
