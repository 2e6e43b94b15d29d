//! The seam between a venue's folder and everything else: what a folder exports, and the list of folders.

use wholetape_model::{InstrumentId, InstrumentIx, InstrumentKind};

use crate::error::ProtocolError;
use crate::limits::VenueLimits;
use crate::plan::{Channel, ConnectionPlan, PlanError, SessionPlan, SplitLimits};
use crate::session::{Request, Session};

/// Production addresses, in order of preference. A WebSocket base is followed by a connection plan's path, a REST base by
/// a request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    pub ws: &'static [&'static str],
    pub rest: &'static [&'static str],
}

/// The symbols of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub symbols: Vec<String>,
    /// What follows this page, and its [`arg`](crate::FetchId::arg).
    pub next: Option<(u64, Request)>,
}

/// One venue as configurations name it. Binance's spot and USD-M markets are two: own addresses, own limits, own symbols.
///
/// A folder implements this for its own type and exports `VENUES`, a list of them. The trait is used where plans are made and
/// connections opened, never per frame.
pub trait Venue: Sync {
    /// By which configurations, metrics and logs name it: `binance-spot`. Unique.
    fn name(&self) -> &'static str;

    /// The venue part of our instrument ids: `BINANCE`. Venues that share it must tell their ids apart.
    fn id_venue(&self) -> &'static str;

    /// Which venues share addresses and what these bear: the REST budget and the count of connection attempts are one for all
    /// venues of a door. By default each has its own.
    fn door(&self) -> &'static str {
        self.name()
    }

    fn endpoints(&self) -> Endpoints;

    fn limits(&self) -> &'static VenueLimits;

    /// The session of one connection.
    ///
    /// # Errors
    /// [`PlanError`]: a name given twice, a channel that is not offered.
    fn open(&self, plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError>;

    /// Splits instruments × channels over connections, under the venue's limits and by its paths.
    ///
    /// # Errors
    /// [`PlanError`].
    fn connections(
        &self,
        instruments: &[(InstrumentIx, String)],
        channels: &[Channel],
        limits: &SplitLimits,
    ) -> Result<Vec<ConnectionPlan>, PlanError>;

    /// Our id of a symbol; the kind, where a definition tells it, settles what the text leaves open.
    fn instrument_id(&self, symbol: &str, kind: Option<InstrumentKind>) -> InstrumentId;

    /// The symbol that `id` has here, or `None` where it is no instrument of this venue. The reverse of
    /// [`Venue::instrument_id`].
    fn symbol_of(&self, id: &InstrumentId) -> Option<String>;

    /// Whether `text` can be a symbol of this venue, for configurations. Most write capitals without `/`.
    fn is_symbol(&self, text: &str) -> bool {
        let bad = |c: char| c.is_ascii_lowercase() || c.is_whitespace() || c.is_control() || "/@.?".contains(c);
        !text.is_empty() && !text.contains(bad)
    }

    /// The [`arg`](crate::FetchId::arg)s of the [`FetchKind::Instruments`](crate::FetchKind::Instruments) requests whose answers list every
    /// symbol together.
    fn listings(&self) -> &'static [u64] {
        &[0]
    }

    /// Every symbol in the answer to [`FetchKind::Instruments`](crate::FetchKind::Instruments), in the venue's spelling: for
    /// instruments chosen by pattern.
    ///
    /// # Errors
    /// `BadReply`.
    fn listed(&self, body: &[u8]) -> Result<Vec<String>, ProtocolError>;

    /// As [`Venue::listed`] of the answer to the request with `arg`, where one is a page of several.
    ///
    /// # Errors
    /// `BadReply`.
    fn listed_page(&self, _arg: u64, body: &[u8]) -> Result<Listed, ProtocolError> {
        Ok(Listed { symbols: self.listed(body)?, next: None })
    }

    /// Whether a recorded address is this venue's, by host and path (`fstream.binance.com`, `/public/stream`): recordings hold
    /// hosts and paths of their time, not only today's.
    fn owns_address(&self, host: &str, path: &str) -> bool;
}

/// Every venue of every folder, in the order of the list in [`crate`].
pub fn venues() -> impl Iterator<Item = &'static dyn Venue> {
    crate::FOLDERS.iter().flat_map(|folder| folder.iter().copied())
}

/// The venue that configurations name so.
///
/// # Errors
/// `UnknownVenue`.
pub fn venue(name: &str) -> Result<&'static dyn Venue, PlanError> {
    venues().find(|v| v.name() == name).ok_or_else(|| PlanError::UnknownVenue(name.into()))
}

/// The names of all venues, for people: `binance-spot, binance-usdm, …`.
#[must_use]
pub fn names() -> String {
    venues().map(Venue::name).collect::<Vec<_>>().join(", ")
}

/// The venue that a recorded address belongs to, e.g. of `wss://fstream.binance.com/stream?streams=…`.
#[must_use]
pub fn of_address(url: &str) -> Option<&'static dyn Venue> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.split(':').next().unwrap_or(host);
    let path = path.split('?').next().unwrap_or(path);
    venues().find(|v| v.owns_address(host, path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::time::Duration;

    use wholetape_model::Ts;

    use super::*;
    use crate::{Action, Channel, FetchKind, Out};

    #[test]
    fn names_are_unique_and_lead_back() {
        let mut seen = BTreeSet::new();
        for v in venues() {
            assert!(seen.insert(v.name()), "{} twice", v.name());
            assert_eq!(venue(v.name()).unwrap().name(), v.name());
            assert!(names().contains(v.name()));
        }
        let error = venue("binance").err().unwrap();
        assert_eq!(error, PlanError::UnknownVenue("binance".into()));
        assert!(error.to_string().contains("binance-coinm, binance-us"), "{error}");
    }

    #[test]
    fn every_venue_tells_what_it_bears() {
        for v in venues() {
            let (limits, endpoints) = (v.limits(), v.endpoints());
            assert!(limits.rest.weight.count > 0 && !limits.rest.weight.per.is_zero(), "{}", v.name());
            assert!(limits.connects.count > 0 && limits.streams_max > 0, "{}", v.name());
            assert!(limits.subscribe.args_max > 0 && limits.subscribe.bytes_max > 0, "{}", v.name());
            assert!(!limits.rest.refusals.is_empty(), "{}: how does it say that it was too much?", v.name());
            if let crate::limits::Heartbeat::Client { every, cut, .. } = limits.heartbeat {
                assert!(every * 2 <= cut || every.as_secs() <= 25, "{}: one lost ping must not cut", v.name());
            }
            assert!(endpoints.ws.iter().all(|a| a.starts_with("wss://") && !a.ends_with('/')), "{}", v.name());
            assert!(endpoints.rest.iter().all(|a| a.starts_with("https://") && !a.ends_with('/')), "{}", v.name());
        }
    }

    #[test]
    fn definitions_in_doubt_are_asked_for_within_a_minute() {
        for v in venues() {
            let plan = SessionPlan {
                instruments: vec![(0, "BTC-USD".into())],
                channels: vec![Channel::Instrument],
                instruments_every: Duration::from_secs(3_600),
                ..SessionPlan::new(v.name())
            };
            let mut session = v.open(&plan).unwrap();
            let (mut out, mut now) = (Out::default(), Ts::from_millis(1_700_000_000_000));
            let asks = |out: &Out| {
                let wanted = |a: &&Action| matches!(a, Action::Fetch(id, _) if id.kind == FetchKind::Instruments);
                out.actions.iter().filter(wanted).count()
            };
            session.on_open(now, &mut out);
            session.on_timer(now, &mut out);
            let first = asks(&out);
            if first == 0 {
                // A stream tells every change by itself.
                let plans = v.connections(&plan.instruments, &plan.channels, &SplitLimits { streams_max: 10 }).unwrap();
                assert!(plans.iter().any(|p| !p.streams.is_empty() && p.polled.is_empty()), "{}", v.name());
                continue;
            }
            now = now + Duration::from_secs(100);
            out.clear();
            session.on_timer(now, &mut out);
            assert_eq!(asks(&out), 0, "{}: an hour has not passed", v.name());
            session.definitions_soon(now);
            now = now + Duration::from_secs(60);
            assert!(session.next_timer().is_some_and(|at| at <= now), "{}", v.name());
            session.on_timer(now, &mut out);
            assert_eq!(asks(&out), first, "{}", v.name());
        }
    }

    #[test]
    fn an_id_and_an_address_belong_to_one_house() {
        for v in venues() {
            let perpetual = v.instrument_id("BTCUSDT", Some(InstrumentKind::Perpetual));
            assert_eq!(perpetual.venue(), v.id_venue());
            for other in venues().filter(|o| o.id_venue() != v.id_venue()) {
                assert_eq!(other.symbol_of(&perpetual), None, "{} takes {perpetual}", other.name());
            }
            let endpoints = v.endpoints();
            for base in endpoints.ws.iter().chain(endpoints.rest) {
                let found = of_address(base).map(Venue::id_venue);
                assert!(found.is_none() || found == Some(v.id_venue()), "{base} is taken for {found:?}");
            }
        }
        assert!(of_address("wss://example.org/ws").is_none() && of_address("nonsense").is_none());
    }
}
