//! The seam between the simulation and its venues: a venue is a folder, and a [`Protocol`] is what the rest knows of it.
//!
//! The simulation owns time, truth, history, connections and faults; a protocol says how all of it is spelled: what a market
//! says when its book moves ([`Voice`]), how frames are wrapped, what commands and requests mean, what they cost, and how the
//! venue refuses. Nothing of a venue stands outside of its folder but its name and its line in [`of`].

use std::fmt;
use std::time::Duration;

use crate::binance::Binance;
use crate::bybit::Bybit;
use crate::config::{VenueConfig, VenueKind};
use crate::dydx::Dydx;
use crate::event::{Event, Kind, Now};
use crate::faults::Shows;
use crate::kraken::Kraken;
use crate::okx::Okx;
use crate::serve::{Answer, Asked, Query};
use crate::truth::{AggTrade, DepthEvent, InstrumentTruth, Quote, RawTrade};
use crate::venue::{Inner, Venue};
use crate::world::{BookText, Floor, Frame, Standing, Voice};

/// Which part of a venue a connection reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Not split: everything.
    Any,
    Public,
    Market,
    Business,
    /// Where the venue wants a route and none was given.
    Unrouted,
}

/// What the path of a handshake asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub route: Route,
    /// Frames are wrapped and name their stream.
    pub combined: bool,
    pub streams: Vec<String>,
}

/// What a connection must keep to, and what the venue does to know that it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Incoming messages a second, pings and pongs included; beyond it the connection is closed.
    pub messages_per_s: Option<u32>,
    /// The server pings so often and cuts where no pong came for so long.
    pub ping: Option<(Duration, Duration)>,
    /// The server cuts where it had nothing to send for so long.
    pub quiet_max: Option<Duration>,
}

/// The account of REST requests: so much in each window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub window_ms: u64,
    pub limit: u32,
    /// Refusals in one window before the address is banned; `None`: never.
    pub refusals_before_ban: Option<u32>,
    pub ban_s: u32,
}

/// How a refused request is told.
pub(crate) struct Refusal {
    pub answer: Answer,
    pub retry_after: Option<u64>,
}

/// What a payload of the truth says.
pub(crate) enum Read {
    Group(AggTrade),
    Trade(RawTrade),
    /// Of one message.
    Trades(Vec<RawTrade>),
    Quote(Quote),
    Depth(DepthEvent),
    /// A book as a whole, by the stream of a recording.
    Whole(BookText),
    /// Kept as its text.
    Stated,
}

/// What a venue does with a frame that shall hold something nobody has documented.
pub(crate) enum Unknown {
    /// This text in its place.
    Instead(String),
    /// This text before it.
    Before(String),
    /// This text behind it.
    After(String),
}

/// What a venue says beside its markets.
pub(crate) trait Herald: fmt::Debug + Send {
    fn advance(&mut self, now: Now, symbols: &[&str], out: &mut Vec<Event>);
}

/// One venue's way of speaking. See the module.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// What a market of this venue says, at its listing or after the truth of earlier runs.
    fn voice(
        &self,
        config: &VenueConfig,
        floor: &mut Floor,
        before: Option<&InstrumentTruth>,
        now: Now,
    ) -> Box<dyn Voice>;

    /// What the venue says beside its markets.
    fn herald(&self, _config: &VenueConfig, _seed: u64, _now: Now) -> Option<Box<dyn Herald>> {
        None
    }

    /// The house whose venues share one address and one account of requests; `None`: the venue has its own.
    fn house(&self) -> Option<&'static str> {
        None
    }

    /// Whether a request is for this venue of its house.
    fn owns(&self, _query: &Query) -> bool {
        true
    }

    /// Reads a handshake's address; the error is the HTTP status of the refusal.
    fn target(&self, path: &str, query: &str) -> Result<Target, u16>;

    fn manners(&self, config: &VenueConfig) -> Manners;

    /// The kind that a stream brings.
    fn kind_of(&self, stream: &str) -> Kind;

    /// Whether a connection that came by `route` gets a stream that it subscribed to.
    fn delivers(&self, _route: Route, _stream: &str) -> bool {
        true
    }

    /// What of a frame of the kind its neighbours show.
    fn shows(&self, kind: Kind) -> Shows {
        let numbered = kind.is_sequenced();
        Shows { loss: numbered, order: numbered, checksum: false }
    }

    /// The frame with another checksum than its book has.
    fn spoiled(&self, text: &str) -> String {
        text.to_owned()
    }

    /// The text of an event on one of its streams.
    fn frame(&self, combined: bool, stream: &str, event: &Event) -> String;

    /// What a new subscriber gets before any other frame, of the rows that the markets have for it.
    fn welcome(&self, _stream: &str, rows: &[String]) -> String {
        rows.join("")
    }

    /// The first words on a connection.
    fn greeting(&self) -> Option<String> {
        None
    }

    /// The text as it goes out on a connection that has said `said` messages before it.
    fn stamp(&self, text: String, _conn: u64, _said: u64) -> String {
        text
    }

    /// The answer to a subscription is its state so far ([`Protocol::welcome`]), also where the stream then stays silent.
    fn answers_with_state(&self) -> bool {
        false
    }

    /// Does what a client's message asks for; what is to be answered at once.
    fn hear(&self, venue: &Venue, conn: u64, text: &str) -> Vec<String>;

    /// The last words before a planned end; empty: none.
    fn farewell(&self, combined: bool, exchange_ms: i64) -> String;

    /// The close code of a planned end.
    fn farewell_code(&self) -> u16 {
        1001
    }

    /// The ids that say which frame this was.
    fn ids_of(&self, text: &str) -> String;

    /// `asked`: by injection, so a real print may be changed; the truth keeps the known words.
    fn unknown(&self, stream: &str, text: &str, asked: bool) -> Unknown;

    fn budget(&self, config: &VenueConfig) -> Budget;

    /// What a request is, and what it costs; `None` where there is no such path.
    fn asked<'a>(&self, config: &VenueConfig, path: &'a str, query: &Query) -> Option<Asked<'a>>;

    /// Answers a request that may be answered; `stale`: with an old book. A complaint is an answer too.
    fn serve(
        &self,
        venue: &Venue,
        inner: &Inner,
        asked: &Asked<'_>,
        query: &Query,
        stale: bool,
    ) -> Result<Answer, Answer>;

    fn refused(&self, status: u16, seconds: u64) -> Refusal;

    /// The header that tells of the account: its name, and what it says where so much was used.
    fn meter(&self, _bucket: &str, _used: u32) -> Option<(&'static str, u32)> {
        None
    }

    /// Reads a payload of the truth.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(&self, kind: Kind, payload: &str) -> Result<Read, String>;

    /// The venue's time of a payload that is kept as text, ms; 0 where it names none.
    fn time_of(&self, payload: &str) -> i64;

    /// A recorded message as the events it tells; none for answers and what is of another venue.
    fn recorded(&self, _url: &str, _text: &str) -> Vec<Frame> {
        Vec::new()
    }

    /// What the truth keeps of a recorded frame in place of its text, its stream standing as it does after it.
    fn recorded_truth(&self, _frame: &Frame, _standing: &Standing) -> Option<String> {
        None
    }

    /// What a new subscriber of a recorded stream begins with, where the venue has him begin with anything.
    fn recorded_state(&self, _stream: &str, _standing: &Standing) -> Option<String> {
        None
    }

    /// Definitions of a recorded answer, by symbol.
    fn recorded_list(&self, _url: &str, _body: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    /// A candle's opening time, and what REST keeps of it.
    fn candle(&self, _payload: &str) -> Option<(i64, String)> {
        None
    }
}

/// The protocol of a venue.
pub(crate) fn of(kind: VenueKind) -> &'static dyn Protocol {
    match kind {
        VenueKind::BinanceSpot => &Binance(VenueKind::BinanceSpot),
        VenueKind::BinanceUsdm => &Binance(VenueKind::BinanceUsdm),
        VenueKind::BinanceCoinm => &Binance(VenueKind::BinanceCoinm),
        VenueKind::BinanceUs => &Binance(VenueKind::BinanceUs),
        VenueKind::Okx => &Okx,
        VenueKind::BybitSpot => &Bybit(VenueKind::BybitSpot),
        VenueKind::BybitLinear => &Bybit(VenueKind::BybitLinear),
        VenueKind::BybitInverse => &Bybit(VenueKind::BybitInverse),
        VenueKind::Dydx => &Dydx,
        VenueKind::Kraken => &Kraken,
    }
}
