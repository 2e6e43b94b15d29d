//! Topics: `<kind>.<instrument>`, the first dot ends the kind. A topic is one log with its own `seq`.

use std::fmt;
use std::sync::Arc;

use crate::instrument::{InstrumentId, NameError};

/// How urgent a topic is; lower is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    Critical = 0,
    Trade = 1,
    Book = 2,
    Ticker = 3,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Critical, Self::Trade, Self::Book, Self::Ticker];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Trade => "trade",
            Self::Book => "book",
            Self::Ticker => "ticker",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// The length of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    pub count: u16,
    /// `s`, `m`, `h`, `d`, `w` or `M`.
    pub unit: u8,
}

impl Period {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = *text.as_bytes().last()?;
        let count = text[..text.len().checked_sub(1)?].parse().ok()?;
        (b"smhdwM".contains(&unit) && count > 0).then_some(Self { count, unit })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, char::from(self.unit))
    }
}

/// What a topic carries (DESIGN §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Trade,
    TradeRaw,
    Quote,
    Ticker,
    Book,
    Bar(Period),
    Funding,
    Mark,
    Index,
    OpenInterest,
    Liquidation,
    Instrument,
    Status,
    Consolidated,
    Link,
    Gap,
    Coverage,
    Quality,
    Alert,
    Incident,
    Order,
    Fill,
    Balance,
    Position,
    Pnl,
    Signal,
    /// Raw frames, in lanes of their own.
    Raw,
    /// Connect Four, the protocol's worked example of a game.
    Game,
}

const NAMES: [(&str, Kind); 26] = [
    ("trade", Kind::Trade),
    ("trade-raw", Kind::TradeRaw),
    ("quote", Kind::Quote),
    ("ticker", Kind::Ticker),
    ("book", Kind::Book),
    ("funding", Kind::Funding),
    ("mark", Kind::Mark),
    ("index", Kind::Index),
    ("open_interest", Kind::OpenInterest),
    ("liquidation", Kind::Liquidation),
    ("instrument", Kind::Instrument),
    ("status", Kind::Status),
    ("consolidated", Kind::Consolidated),
    ("link", Kind::Link),
    ("gap", Kind::Gap),
    ("coverage", Kind::Coverage),
    ("quality", Kind::Quality),
    ("alert", Kind::Alert),
    ("incident", Kind::Incident),
    ("order", Kind::Order),
    ("fill", Kind::Fill),
    ("balance", Kind::Balance),
    ("position", Kind::Position),
    ("pnl", Kind::Pnl),
    ("signal", Kind::Signal),
    ("raw", Kind::Raw),
];

impl Kind {
    /// # Errors
    /// [`NameError::UnknownKind`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*kind);
        }
        if text == "c4" {
            return Ok(Self::Game);
        }
        text.strip_prefix("bar-")
            .and_then(Period::parse)
            .map(Self::Bar)
            .ok_or_else(|| NameError::UnknownKind(text.into()))
    }

    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Order
            | Self::Fill
            | Self::Balance
            | Self::Position
            | Self::Pnl
            | Self::Signal
            | Self::Alert
            | Self::Incident
            | Self::Game => Class::Critical,
            Self::Trade | Self::TradeRaw | Self::Liquidation | Self::Gap | Self::Link | Self::Status => Class::Trade,
            Self::Book | Self::Quote | Self::Consolidated => Class::Book,
            _ => Class::Ticker,
        }
    }

    /// The newest value stands for all before it: such topics start with a snapshot, and may be conflated.
    #[must_use]
    pub const fn is_state(self) -> bool {
        matches!(self, Self::Book | Self::Quote | Self::Ticker | Self::Consolidated)
    }

    /// Clients publish to topics of this kind, where they may (`pub`); all others are ours alone to write.
    #[must_use]
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Order | Self::Fill | Self::Signal | Self::Game)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar(period) => write!(f, "bar-{period}"),
            Self::Game => f.write_str("c4"),
            kind => f.write_str(NAMES.iter().find(|(_, k)| k == kind).map_or("", |(name, _)| name)),
        }
    }
}

/// The name of one log. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    name: Arc<str>,
    kind: Kind,
}

impl Topic {
    #[must_use]
    pub fn new(kind: Kind, instrument: &InstrumentId) -> Self {
        Self { name: format!("{kind}.{instrument}").into(), kind }
    }

    /// A topic about ourselves: `link.<line>`, `quality.<line>`. Odd characters of `subject` are replaced by `-`.
    #[must_use]
    pub fn about(kind: Kind, subject: &str) -> Self {
        let subject: String =
            subject.chars().map(|c| if c.is_ascii_alphanumeric() || "._%-".contains(c) { c } else { '-' }).collect();
        Self { name: format!("{kind}.{subject}").into(), kind }
    }

    /// # Errors
    /// [`NameError`] when there is no dot, the kind is unknown, or the name is over 128 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > 128 {
            return Err(NameError::TooLong(text.into()));
        }
        let (kind, rest) = text.split_once('.').ok_or_else(|| NameError::NoKind(text.into()))?;
        if rest.is_empty() {
            return Err(NameError::NoVenue(text.into()));
        }
        Ok(Self { kind: Kind::parse(kind)?, name: text.into() })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub const fn class(&self) -> Class {
        self.kind.class()
    }

    /// What follows the first dot: the instrument, or the line.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.name.split_once('.').map_or("", |(_, s)| s)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_dot_ends_the_kind() {
        let t = Topic::parse("bar-1m.BTC-USDT-SWAP.OKX").unwrap();
        assert_eq!(t.kind(), Kind::Bar(Period { count: 1, unit: b'm' }));
        assert_eq!(t.subject(), "BTC-USDT-SWAP.OKX");
        assert_eq!(Topic::parse("trade"), Err(NameError::NoKind("trade".into())));
        assert_eq!(Topic::parse("tread.X.Y"), Err(NameError::UnknownKind("tread".into())));
        assert_eq!(Topic::parse("bar-0m.X.Y"), Err(NameError::UnknownKind("bar-0m".into())));
    }

    #[test]
    fn every_name_reads_back() {
        for (name, kind) in NAMES {
            assert_eq!(Kind::parse(name), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
    }

    #[test]
    fn classes_are_the_designs() {
        assert_eq!(Kind::Signal.class(), Class::Critical);
        assert_eq!(Kind::Liquidation.class(), Class::Trade);
        assert_eq!(Kind::Quote.class(), Class::Book);
        assert_eq!(Kind::Funding.class(), Class::Ticker);
    }

    #[test]
    fn what_clients_publish_is_critical_and_never_replaced_by_a_newer_one() {
        let published = ["order", "fill", "signal", "c4"].map(|name| Kind::parse(name).unwrap());
        assert!(published.iter().all(|k| k.is_published() && k.class() == Class::Critical && !k.is_state()));
        assert!(NAMES.iter().filter(|(_, k)| !published.contains(k)).all(|(_, k)| !k.is_published()));
    }
}
