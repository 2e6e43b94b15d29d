//! What to listen to, and over which connections: the words in which the line asks a venue's folder.
//!
//! A [`Channel`] is our name of a thing to record; the venue's folder turns it into streams and polls. Splitting is
//! done once, before anything is opened: a plan that cannot be fulfilled is refused here and not at 3 a.m.

use std::fmt;
use std::time::Duration;

use wholetape_model::{InstrumentIx, Period};

/// One thing to record of an instrument, as configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The venue's default trade source (Binance: `aggTrade`).
    Trade,
    /// The second trade source, its own topic (Binance: `@trade`).
    TradeRaw,
    Book,
    Quote,
    Ticker,
    Bar(Period),
    /// Mark and index price, funding rate: one stream on Binance, three topics here.
    Mark,
    Liquidation,
    OpenInterest,
    /// Definitions and trading status.
    Instrument,
}

impl Channel {
    /// Reads a configuration name: `trade trade-raw book quote ticker bar-1m mark liquidation open_interest instrument`.
    ///
    /// # Errors
    /// [`PlanError::UnknownChannel`].
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        Ok(match text {
            "trade" => Self::Trade,
            "trade-raw" => Self::TradeRaw,
            "book" => Self::Book,
            "quote" => Self::Quote,
            "ticker" => Self::Ticker,
            // One stream carries the three.
            "mark" | "index" | "funding" => Self::Mark,
            "liquidation" => Self::Liquidation,
            "open_interest" => Self::OpenInterest,
            "instrument" | "status" => Self::Instrument,
            other => other
                .strip_prefix("bar-")
                .and_then(Period::parse)
                .map(Self::Bar)
                .ok_or_else(|| PlanError::UnknownChannel(text.into()))?,
        })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trade => f.write_str("trade"),
            Self::TradeRaw => f.write_str("trade-raw"),
            Self::Book => f.write_str("book"),
            Self::Quote => f.write_str("quote"),
            Self::Ticker => f.write_str("ticker"),
            Self::Bar(period) => write!(f, "bar-{period}"),
            Self::Mark => f.write_str("mark"),
            Self::Liquidation => f.write_str("liquidation"),
            Self::OpenInterest => f.write_str("open_interest"),
            Self::Instrument => f.write_str("instrument"),
        }
    }
}

/// Which of a venue's socket paths a connection uses, where it has two kinds. Binance USD-M serves books and other data apart,
/// and is silent (after a good ack) about a stream asked for on the wrong path; OKX answers with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Route {
    /// The venue has one path for everything; also right for captures, where nothing is subscribed.
    #[default]
    Any,
    /// Binance USD-M `/public`: books and quotes. OKX `/public`: most channels.
    Public,
    /// Binance USD-M `/market`: everything else.
    Market,
    /// OKX `/business`: single matches and candles.
    Business,
}

/// What one session is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlan {
    /// A [`Venue::name`](crate::Venue::name).
    pub venue: String,
    pub route: Route,
    /// Position in the line's table, and the venue's own spelling.
    pub instruments: Vec<(InstrumentIx, String)>,
    /// Channels of other routes are left out.
    pub channels: Vec<Channel>,
    /// Add symbols as they appear (captures). Otherwise frames of other symbols are counted `filtered`.
    pub discover: bool,
    /// Levels a side of a book snapshot; `None` = the venue's default.
    pub book_depth_limit: Option<u16>,
    pub open_interest_every: Duration,
    pub instruments_every: Duration,
}

impl SessionPlan {
    /// A plan for `venue` with nothing in it yet.
    #[must_use]
    pub fn new(venue: &str) -> Self {
        Self {
            venue: venue.into(),
            route: Route::Any,
            instruments: Vec::new(),
            channels: Vec::new(),
            discover: false,
            book_depth_limit: None,
            open_interest_every: Duration::from_secs(30),
            instruments_every: Duration::from_secs(600),
        }
    }

    /// Reads a recording: nothing is asked for, whatever comes is decoded, symbols are learnt as they appear.
    #[must_use]
    pub fn capture(venue: &str) -> Self {
        Self { discover: true, ..Self::new(venue) }
    }
}

/// One connection to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPlan {
    pub venue: String,
    pub route: Route,
    /// Appended to a WebSocket base address, e.g. `/public/stream`.
    pub path: &'static str,
    /// What the session will subscribe, for display and for silence detection.
    pub streams: Vec<String>,
    pub instruments: Vec<(InstrumentIx, String)>,
    pub channels: Vec<Channel>,
    /// Those of them that no stream brings: REST is asked.
    pub polled: Vec<Channel>,
}

impl ConnectionPlan {
    /// The session of this connection.
    #[must_use]
    pub fn session(&self) -> SessionPlan {
        SessionPlan {
            route: self.route,
            instruments: self.instruments.clone(),
            channels: self.channels.clone(),
            ..SessionPlan::new(&self.venue)
        }
    }
}

/// How to split. The default is what every venue takes; those that take fewer say so in their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimits {
    /// Streams on one connection; never more than the venue allows.
    pub streams_max: usize,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self { streams_max: 200 }
    }
}

/// A plan that cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("`{0}` is no venue; known are {names}", names = crate::names())]
    UnknownVenue(String),
    #[error("`{0}` is no channel")]
    UnknownChannel(String),
    #[error("{venue} has no channel {channel}")]
    NotOffered { venue: &'static str, channel: Channel },
    #[error("{venue} offers no bar of {period}")]
    NoSuchBar { venue: &'static str, period: Period },
    #[error("instrument {ix} named twice, as `{first}` and `{second}`")]
    IndexTwice { ix: InstrumentIx, first: String, second: String },
    #[error("symbol `{0}` named twice")]
    SymbolTwice(String),
    #[error("symbol `{0}` is empty or has characters that no stream name can hold")]
    BadSymbol(String),
    #[error("instrument index {0} is out of range")]
    BadIndex(InstrumentIx),
    #[error("one instrument needs {needed} streams, a connection may carry {allowed}")]
    TooManyStreams { needed: usize, allowed: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_read_back() {
        for name in ["trade", "trade-raw", "book", "quote", "ticker", "bar-5m", "mark", "liquidation", "open_interest"]
        {
            assert_eq!(Channel::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(Channel::parse("funding"), Ok(Channel::Mark));
        assert_eq!(Channel::parse("status"), Ok(Channel::Instrument));
        assert_eq!(Channel::parse("bar-x"), Err(PlanError::UnknownChannel("bar-x".into())));
    }
}
