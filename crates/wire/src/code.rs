//! Error and close codes (PROTOCOL §9). Numbers and names never change meaning.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)+ }
            }

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

codes!(
    /// The code of an `err` message.
    Code {
        BadJson = 1001 "BAD_JSON",
        UnknownOp = 1002 "UNKNOWN_OP",
        Schema = 1003 "SCHEMA",
        TooLarge = 1004 "TOO_LARGE",
        BadAck = 1005 "BAD_ACK",
        RateLimited = 1006 "RATE_LIMITED",
        Unauthenticated = 1007 "UNAUTHENTICATED",
        TokenInvalid = 1008 "TOKEN_INVALID",
        TokenExpired = 1009 "TOKEN_EXPIRED",
        SessionUnknown = 1010 "SESSION_UNKNOWN",
        NoSuchTopic = 2001 "NO_SUCH_TOPIC",
        Forbidden = 2003 "FORBIDDEN",
        NotConflatable = 2004 "NOT_CONFLATABLE",
        TooManySubs = 2005 "TOO_MANY_SUBS",
        AlreadySubscribed = 2006 "ALREADY_SUBSCRIBED",
        BadPosition = 2007 "BAD_POSITION",
        NotSubscribed = 2008 "NOT_SUBSCRIBED",
        PubRejected = 3001 "PUB_REJECTED",
        MidExpired = 3006 "MID_EXPIRED",
        Conflict = 3009 "CONFLICT",
        Internal = 5000 "INTERNAL",
        Overloaded = 5003 "OVERLOADED",
        Draining = 5004 "DRAINING",
    }
);

codes!(
    /// The code of a WebSocket close frame.
    Close {
        Normal = 1000 "normal",
        GoingAway = 1001 "going away",
        Protocol = 1002 "protocol error",
        Type = 1003 "unsupported frame type",
        Utf8 = 1007 "text is not UTF-8",
        TooLarge = 1009 "message too large",
        Restart = 1012 "restart",
        HeartbeatMissed = 4006 "heartbeat missed",
        TooSlow = 4008 "too slow",
        TakenOver = 4009 "session taken over",
        Overloaded = 4013 "overloaded",
        /// An operator sent it away, to make room: as when overloaded.
        Kicked = 4013 "closed by the operator",
        AuthExpired = 4101 "authentication timed out or expired",
        Refused = 4301 "credentials refused",
        Abuse = 4303 "abuse",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_documents() {
        assert_eq!((Code::Schema.code(), Code::Schema.name()), (1003, "SCHEMA"));
        assert_eq!((Code::BadPosition.code(), Code::BadPosition.name()), (2007, "BAD_POSITION"));
        assert_eq!(Close::Abuse.code(), 4303);
        let mut codes: Vec<_> = Code::ALL.iter().map(|c| c.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
