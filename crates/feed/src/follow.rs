//! Listings and delistings: the venues are asked now and then what they list.
//!
//! A symbol that a pattern chooses and nobody records yet gets a line of its own, named after its group (`spot-listed-1`), on
//! the workers that run; at the next start it is one of the group. A symbol that is not listed any more is told to its line
//! ([`Line::delist`](crate::line::Line::delist)), however it was chosen.
//!
//! A list may be wrong: one answer without a symbol proves nothing, the second in a row does; and only what this process saw
//! listed can be missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use wholetape_venue::Venue;

use crate::config::LineConfig;
use crate::crew::Crew;
use crate::error::FeedError;
use crate::metrics::MetricId;
use crate::symbols;
use crate::worker::{Command, Controls, Task, TaskFuture, WorkerHandle};

/// The first look follows the start by no more: what is listed then is what can be missed later.
const FIRST: Duration = Duration::from_secs(10);
/// A line's answer to what it is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names of lines are no longer than this, with room for what is appended.
const NAME_MAX: usize = 32;

/// What is followed.
#[derive(Debug, Clone)]
pub struct FollowPlan {
    pub every: Duration,
    pub lines: Vec<LineConfig>,
}

/// What a venue listed before.
#[derive(Debug, Default)]
struct Seen {
    listed: BTreeSet<String>,
    /// Missed by the last answer.
    missed: BTreeSet<String>,
    /// Missed twice.
    gone: BTreeSet<String>,
}

/// What a list says beyond the one before.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    gone: Vec<String>,
    /// Of those that were gone.
    back: Vec<String>,
}

impl Seen {
    fn look(&mut self, list: &BTreeSet<String>) -> Change {
        let absent: BTreeSet<String> = self.listed.difference(list).cloned().collect();
        let gone: Vec<String> = absent.intersection(&self.missed).cloned().collect();
        let back: Vec<String> = self.gone.intersection(list).cloned().collect();
        self.gone.retain(|symbol| !list.contains(symbol));
        self.gone.extend(gone.iter().cloned());
        self.listed.retain(|symbol| !gone.contains(symbol));
        self.listed.extend(list.iter().cloned());
        self.missed = absent;
        Change { gone, back }
    }
}

/// The task that follows; it runs beside the hosts.
#[derive(Debug)]
pub(crate) struct Follower {
    plan: FollowPlan,
    crew: Crew,
}

impl Follower {
    pub(crate) const fn new(plan: FollowPlan, crew: Crew) -> Self {
        Self { plan, crew }
    }
}

impl Task for Follower {
    fn name(&self) -> &'static str {
        "listings"
    }

    fn start(&mut self, handle: WorkerHandle, controls: Controls) -> TaskFuture {
        let mut following = Following::new(self.plan.clone(), self.crew.clone(), handle);
        Box::pin(async move {
            let stop = following.handle.stop().clone();
            let mut next = Instant::now() + following.plan.every.min(FIRST);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    control = controls.recv() => control.answer(Err("listings answers no questions".into())),
                    () = tokio::time::sleep_until(next) => {
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => return Ok(()),
                            () = following.look() => {}
                        }
                        next = Instant::now() + following.plan.every;
                    }
                }
            }
        })
    }
}

/// One venue's counters.
#[derive(Debug, Clone, Copy)]
struct Counters {
    listed: MetricId,
    delisted: MetricId,
    failures: MetricId,
}

struct Following {
    plan: FollowPlan,
    crew: Crew,
    handle: WorkerHandle,
    venues: BTreeMap<&'static str, (&'static dyn Venue, Seen, Counters)>,
}

impl Following {
    fn new(plan: FollowPlan, crew: Crew, handle: WorkerHandle) -> Self {
        let mut venues = BTreeMap::new();
        for venue in plan.lines.iter().filter_map(|line| wholetape_venue::venue(&line.venue).ok()) {
            let mut metrics = handle.metrics();
            let help = "instruments that joined or left while the feed ran";
            let mut changed =
                |change| metrics.counter("feed_listings_total", help, &[("venue", venue.name()), ("change", change)]);
            let (listed, delisted) = (changed("listed"), changed("delisted"));
            let help = "lists of instruments that could not be read or used";
            let failures = metrics.counter("feed_listing_failures_total", help, &[("venue", venue.name())]);
            venues.insert(venue.name(), (venue, Seen::default(), Counters { listed, delisted, failures }));
        }
        Self { plan, crew, handle, venues }
    }

    async fn look(&mut self) {
        for (venue, seen, counters) in self.venues.values_mut() {
            let count = |id, n: usize| self.handle.metrics().add(id, n as u64);
            let list = match list(*venue, &self.crew).await {
                Ok(list) => list,
                Err(error) => {
                    count(counters.failures, 1);
                    tracing::warn!(venue = venue.name(), "{error}; asked again in {:?}", self.plan.every);
                    continue;
                }
            };
            let change = seen.look(&list);
            count(counters.delisted, tell_gone(*venue, &self.crew, &change.gone).await);
            for symbol in change.back {
                if self.crew.asker().line_of(venue.instrument_id(&symbol, None).as_str()).is_some() {
                    tracing::warn!(venue = venue.name(), symbol, "is listed again: start anew to record it");
                }
            }
            for group in self.plan.lines.iter().filter(|line| line.venue == venue.name()) {
                match join(*venue, &self.crew, group, &list) {
                    Ok(joined) => count(counters.listed, joined),
                    Err(why) => {
                        count(counters.failures, 1);
                        tracing::error!(
                            venue = venue.name(),
                            group = group.name(),
                            "what is listed cannot be recorded: {why}"
                        );
                    }
                }
            }
        }
    }
}

async fn list(venue: &dyn Venue, crew: &Crew) -> Result<BTreeSet<String>, FeedError> {
    let failed = |why: &str| FeedError::Symbols { venue: venue.name().into(), why: why.into() };
    let host = crew.host(venue.door()).ok_or_else(|| failed("it has no REST host"))?;
    let list: BTreeSet<String> = symbols::through(venue, host, 1).await?.into_iter().collect();
    if list.is_empty() { Err(failed("it is empty")) } else { Ok(list) }
}

/// Tells the lines of those that are gone; how many there were.
async fn tell_gone(venue: &dyn Venue, crew: &Crew, gone: &[String]) -> usize {
    let mut told = 0;
    for symbol in gone {
        let id = venue.instrument_id(symbol, None);
        let Some(line) = crew.asker().line_of(id.as_str()) else { continue };
        let command = Command::Delist(id.as_str().to_owned());
        match crew.asker().ask(&line, "listings", command, PATIENCE).await.map(|answer| answer.result) {
            Ok(Ok(_)) => {
                told += 1;
                tracing::warn!(line, instrument = id.as_str(), "is not listed any more");
            }
            Ok(Err(why)) => tracing::error!(line, instrument = id.as_str(), "is not listed any more: {why}"),
            Err(error) => tracing::error!(line, instrument = id.as_str(), "is not listed any more: {error}"),
        }
    }
    told
}

/// A line for what `group` chooses and nobody records; how many instruments joined.
fn join(venue: &dyn Venue, crew: &Crew, group: &LineConfig, list: &BTreeSet<String>) -> Result<usize, String> {
    let asker = crew.asker();
    let free = |symbol: &&String| asker.line_of(venue.instrument_id(symbol, None).as_str()).is_none();
    let symbols: Vec<String> = list.iter().filter(|s| group.chooses(venue, s)).filter(free).cloned().collect();
    if symbols.is_empty() {
        return Ok(0);
    }
    let lines: BTreeSet<String> = asker.lines().into_iter().collect();
    let base: String = group.name().chars().take(NAME_MAX).collect();
    let named = |k: usize| format!("{base}-listed-{k}");
    let used = |name: &String| lines.iter().any(|l| l == name || l.starts_with(&format!("{name}-")));
    let name = (1..).map(named).find(|name| !used(name)).unwrap_or(base.clone());
    let specs = group
        .lines_for(&name, symbols)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let mut joined = 0;
    for spec in specs {
        let (line, ids) = (spec.name.clone(), spec.instruments.clone());
        crew.add(spec).map_err(|error| crate::error::chain(&error))?;
        joined += ids.len();
        for id in ids {
            tracing::info!(line, instrument = id.as_str(), "is listed: recording begins");
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(symbols: &[&str]) -> BTreeSet<String> {
        symbols.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn one_list_without_a_symbol_proves_nothing() {
        let mut seen = Seen::default();
        assert_eq!(seen.look(&set(&["A", "B", "C"])), Change::default());
        assert_eq!(seen.look(&set(&["A"])), Change::default());
        assert_eq!(seen.look(&set(&["A", "B"])), Change { gone: vec!["C".into()], ..Change::default() });
        assert_eq!(seen.look(&set(&["A"])), Change::default(), "B was there in between");
        assert_eq!(seen.look(&set(&["A", "C", "D"])), Change { gone: vec!["B".into()], back: vec!["C".into()] });
        assert_eq!(seen.look(&set(&["A", "C", "D"])), Change::default(), "each is told once");
    }

    #[test]
    fn patterns_choose_by_symbol_or_id_and_names_choose_nothing_new() {
        let venue = wholetape_venue::venue("binance-usdm").unwrap();
        let group = |texts: &[&str]| LineConfig {
            venue: "binance-usdm".into(),
            instruments: texts.iter().map(|s| (*s).to_owned()).collect(),
            ..LineConfig::default()
        };
        assert!(group(&["*USDT"]).chooses(venue, "NEWUSDT"));
        assert!(group(&["NEW*-PERP.BINANCE"]).chooses(venue, "NEWUSDT"));
        assert!(!group(&["NEWUSDT", "BTC*"]).chooses(venue, "NEWUSDT"));
        assert!(!group(&["*"]).chooses(venue, "not a symbol"));
        let specs = group(&["*USDT"]).lines_for("usdm-listed-1", vec!["NEWUSDT".into()]).unwrap();
        assert_eq!(specs.len(), 1);
        assert_eq!(
            (specs[0].name.as_str(), specs[0].instruments[0].as_str()),
            ("usdm-listed-1", "NEWUSDT-PERP.BINANCE")
        );
    }
}
