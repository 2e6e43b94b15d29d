//! What can go wrong in a conversation with a venue, and what to do next: asked of the variant, never of the text.

/// What the line does after a [`ProtocolError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recovery {
    /// Count it and go on.
    Skip,
    /// Something that mattered may have been in it: resync what the connection carries.
    Resync,
    /// The connection is of no more use.
    Reconnect,
    /// Trying again would fail the same way: stop and tell the user.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are not what the venue documents.
    #[error("malformed {channel} frame at byte {at}: {why}")]
    Malformed { channel: &'static str, at: usize, why: &'static str },
    /// A number that we cannot keep exactly.
    #[error("{channel} frame: {field} {source}")]
    Number { channel: &'static str, field: &'static str, source: wholetape_model::DecimalError },
    #[error("subscription refused: code {code}: {text}")]
    Refused { code: i64, text: String },
    /// The connection numbers its messages, and they do not follow each other.
    #[error("message {got} of the connection came where {expected} was due")]
    Lost { expected: u64, got: u64 },
    /// An error that answers no request of ours: overload, maintenance and the like.
    #[error("venue reports error {code}: {text}")]
    Venue { code: i64, text: String },
    #[error("reply to {what} has status {status}")]
    Status { what: &'static str, status: u16 },
    #[error("reply to {what} malformed: {why}")]
    BadReply { what: &'static str, why: &'static str },
    /// A good page of a history that is asked by time for what is known by id: it lies beside. What it showed is remembered, and the
    /// next request begins elsewhere.
    #[error("the page of {what} lies beside the id that was asked for")]
    Beside { what: &'static str },
}

impl ProtocolError {
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        match self {
            // It may have been a delta or a trade.
            Self::Malformed { .. } | Self::Number { .. } => Recovery::Resync,
            Self::Refused { .. } => Recovery::Stop,
            // What was lost may have been of any stream of the connection.
            Self::Venue { .. } | Self::Lost { .. } => Recovery::Reconnect,
            Self::Status { .. } | Self::BadReply { .. } | Self::Beside { .. } => Recovery::Skip,
        }
    }
}
