//! The feed's section of the configuration file: read with defaults, then planned, all problems at once.
//!
//! ```toml
//! [feed]
//! workers = 0                      # 0 = cores − 1
//!
//! [[feed.line]]
//! name = "spot"
//! venue = "binance-spot"
//! instruments = ["BTCUSDT", "ETH*"]
//! channels = ["trade", "book", "quote"]
//! ```
//!
//! Past [`FeedConfig::plan`] nothing validates again.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wholetape_model::{InstrumentId, Kind};
use wholetape_quality::CheckConfig;
use wholetape_venue::{Channel, Rate, SplitLimits, Venue, names, venue};

use crate::backoff::{BackoffShape, Jitter};
use crate::endpoint::{self, Approval, Endpoint, Scheme};
use crate::feed::{FeedPlan, VenueDoor};
use crate::follow::FollowPlan;
use crate::line::SOCKETS_MAX;
use crate::rest::HostPlan;
use crate::shell::lag::LagLimits;
use crate::spec::LineSpec;
use crate::ws::{Beat, WsLimits};

/// Something wrong with the configuration, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `feed.line[0].venue`
    pub key: String,
    pub value: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.remedy)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// Threads for lines; 0 = one less than there are cores, at least one.
    pub workers: usize,
    /// How often the venues are asked what they list: what a pattern matches joins, what is not listed any more is not
    /// subscribed again; "0s" = never.
    #[serde(with = "humantime_serde")]
    pub listings_every: Duration,
    pub line: Vec<LineConfig>,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { workers: 0, listings_every: Duration::from_secs(600), line: Vec::new() }
    }
}

/// Which ids fill the topic `trade`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TradeSource {
    #[default]
    #[serde(rename = "aggTrade")]
    AggTrade,
    #[serde(rename = "trade")]
    Trade,
}

/// One group of instruments of one venue. It becomes one line for each `instruments_per_line` of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LineConfig {
    /// Empty = the venue's name.
    pub name: String,
    pub venue: String,
    /// The venue's own symbols; `*` stands for anything where a list of the venue's symbols is at hand.
    pub instruments: Vec<String>,
    pub channels: Vec<String>,
    pub trade_source: TradeSource,
    /// Ask for missed trades by id.
    pub heal: bool,
    /// How far back trades are made whole at a start; "0s" = not at all.
    #[serde(with = "humantime_serde")]
    pub backlog: Duration,
    /// Keep every frame as it came, in a lane of its own.
    pub raw: bool,
    /// WebSocket and REST bases in order of preference; empty = the venue's own.
    pub ws: Vec<String>,
    pub rest: Vec<String>,
    /// `"who, when, why"`: needed for any address that is not the venue's own.
    pub approved: Option<String>,
    pub instruments_per_line: usize,
    pub streams_per_connection: usize,
    /// Sockets that carry the same streams at the same time: the first delivery wins, and one of them may die unnoticed.
    pub sockets: usize,
    /// Levels a side of a book snapshot; 0 = the venue's default.
    pub book_depth: u16,
    #[serde(with = "humantime_serde")]
    pub open_interest_every: Duration,
    #[serde(with = "humantime_serde")]
    pub instruments_every: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    pub jitter: Jitter,
    #[serde(with = "humantime_serde")]
    pub open_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub ping: Duration,
    #[serde(with = "humantime_serde")]
    pub pong: Duration,
    #[serde(with = "humantime_serde")]
    pub close: Duration,
    #[serde(with = "humantime_serde")]
    pub rest_timeout: Duration,
    /// This far behind its sockets the line says so: its books are stale.
    #[serde(with = "humantime_serde")]
    pub lag_max: Duration,
    /// So long behind without catching up, the line gives up one thing more: ticker, then depth, trades last.
    #[serde(with = "humantime_serde")]
    pub shed_after: Duration,
    /// REST weight per minute that we allow ourselves; 0 = the venue's limit.
    pub weight_per_minute: u32,
}

impl Default for LineConfig {
    fn default() -> Self {
        let (ws, backoff, lag) = (WsLimits::default(), BackoffShape::default(), LagLimits::default());
        Self {
            name: String::new(),
            venue: String::new(),
            instruments: Vec::new(),
            channels: ["trade", "book", "quote"].map(String::from).to_vec(),
            trade_source: TradeSource::AggTrade,
            heal: true,
            backlog: Duration::from_secs(6_000),
            raw: false,
            ws: Vec::new(),
            rest: Vec::new(),
            approved: None,
            instruments_per_line: 50,
            streams_per_connection: 200,
            sockets: 1,
            book_depth: 0,
            open_interest_every: Duration::from_secs(30),
            instruments_every: Duration::from_secs(600),
            backoff: backoff.first,
            backoff_max: backoff.max,
            jitter: backoff.jitter,
            open_timeout: ws.open,
            ping: ws.ping,
            pong: ws.pong,
            close: ws.close,
            rest_timeout: Duration::from_secs(10),
            lag_max: lag.lag_max,
            shed_after: lag.shed_after,
            weight_per_minute: 0,
        }
    }
}

struct Problems {
    list: Vec<Problem>,
    at: String,
}

impl Problems {
    fn add(&mut self, key: &str, value: impl fmt::Display, remedy: impl fmt::Display) {
        let key = if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) };
        self.list.push(Problem { key, value: value.to_string(), remedy: remedy.to_string() });
    }
}

impl FeedConfig {
    /// Instrument patterns that need the venue's list of symbols: (venue, pattern). Empty when none does.
    #[must_use]
    pub fn patterns(&self) -> Vec<(String, String)> {
        let of = |l: &LineConfig| {
            let venue = l.venue.clone();
            let patterns = l.instruments.iter().filter(|i| i.contains('*')).cloned();
            patterns.map(move |p| (venue.clone(), p)).collect::<Vec<_>>()
        };
        self.line.iter().flat_map(of).collect()
    }

    /// Checks everything. `symbols` are the venue's own symbols where known, asked for patterns alone.
    ///
    /// # Errors
    /// All problems, in the order of the file.
    pub fn plan(&self, symbols: &dyn Fn(&str) -> Vec<String>) -> Result<FeedPlan, Vec<Problem>> {
        let mut problems = Problems { list: Vec::new(), at: "feed".into() };
        if self.line.is_empty() {
            problems.add("line", "[]", "name at least one group of instruments: [[feed.line]]");
        }
        if self.workers > 256 {
            problems.add("workers", self.workers, "at most 256; 0 chooses by cores");
        }
        let (every, day) = (self.listings_every, Duration::from_secs(86_400));
        if !every.is_zero() && !(Duration::from_secs(1)..=day).contains(&every) {
            let value = format!("\"{}\"", humantime::format_duration(every));
            problems.add("listings_every", value, "between 1s and 1day, or 0s: what was there at the start stays");
        }
        let follow = (!every.is_zero()).then(|| FollowPlan { every, lines: self.line.clone() });
        let mut plan = FeedPlan { workers: self.workers, follow, ..FeedPlan::default() };
        let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for (i, line) in self.line.iter().enumerate() {
            problems.at = format!("feed.line[{i}]");
            let name = line.name();
            if !names.insert(name.to_owned()) {
                problems.add("name", name, "is taken by another line; give each its own");
            }
            if let Some((specs, door)) = line.plan(name, symbols, &mut taken, &mut problems) {
                plan.lines.extend(specs);
                match plan.doors.iter().find(|d| d.name == door.name) {
                    None => plan.doors.push(door),
                    Some(other) if other.host.endpoints == door.host.endpoints => {}
                    Some(_) => problems.add(
                        "rest",
                        format!("{:?}", line.rest),
                        "lines of one venue share its REST host: name the same",
                    ),
                }
            }
        }
        if problems.list.is_empty() { Ok(plan) } else { Err(problems.list) }
    }
}

impl LineConfig {
    /// What its lines are called where nothing else is said.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.name.is_empty() { &self.venue } else { &self.name }
    }

    /// Whether one of its patterns chooses `symbol`: the venue's spelling or our id, whichever the pattern is written for.
    pub(crate) fn chooses(&self, venue: &dyn Venue, symbol: &str) -> bool {
        let patterns = self.instruments.iter().filter(|text| text.contains('*'));
        let mut patterns = patterns.filter(|text| fits(text, venue, symbol));
        patterns.next().is_some() && venue.is_symbol(symbol)
    }

    /// Lines for these symbols alone, configured like this one.
    ///
    /// # Errors
    /// All problems.
    pub(crate) fn lines_for(&self, name: &str, symbols: Vec<String>) -> Result<Vec<LineSpec>, Vec<Problem>> {
        let mut problems = Problems { list: Vec::new(), at: "feed.line".into() };
        let these = Self { instruments: symbols, ..self.clone() };
        let planned = these.plan(name, &|_| Vec::new(), &mut BTreeSet::new(), &mut problems);
        planned.map(|(specs, _)| specs).ok_or(problems.list)
    }

    fn plan(
        &self,
        name: &str,
        symbols: &dyn Fn(&str) -> Vec<String>,
        taken: &mut BTreeSet<InstrumentId>,
        problems: &mut Problems,
    ) -> Option<(Vec<LineSpec>, VenueDoor)> {
        let before = problems.list.len();
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !name.is_empty() && (name.len() > 48 || !name.chars().all(good)) {
            problems.add("name", name, "use 1 to 48 of a-z, A-Z, 0-9, '.', '_', '-'");
        }
        let Ok(known) = venue(&self.venue) else {
            problems.add("venue", format!("{:?}", self.venue), format!("choose one of {}", names()));
            return None;
        };
        let (own, bears) = (known.endpoints(), known.limits());
        let (ws, ws_approval) = self.addresses("ws", Scheme::WebSocket, own.ws, &self.ws, problems);
        let (rest, rest_approval) = self.addresses("rest", Scheme::Http, own.rest, &self.rest, problems);
        self.check_times(problems);
        let channels = self.channels(problems);
        let chosen = self.choose(known, symbols, taken, problems);
        if problems.list.len() > before {
            return None;
        }
        let mut host = HostPlan::new(known.door(), rest, bears.rest);
        host.bears.weight = self.weight(bears.rest.weight);
        host.timeout = self.rest_timeout;
        let door = VenueDoor {
            name: known.door().to_owned(),
            host,
            connects: bears.connects.count,
            connects_window: bears.connects.per,
        };
        let split = SplitLimits { streams_max: self.streams_per_connection };
        let approvals: Vec<Approval> = ws_approval.into_iter().chain(rest_approval).collect();
        let parts = chosen.chunks(self.instruments_per_line);
        let many = parts.len() > 1;
        let mut specs = Vec::new();
        for (i, part) in parts.enumerate() {
            let numbered: Vec<(u32, String)> = (0_u32..).zip(part.iter().map(|(_, s)| s.clone())).collect();
            match known.connections(&numbered, &channels, &split) {
                Ok(connections) => specs.push(LineSpec {
                    name: if many { format!("{name}-{i}") } else { name.to_owned() },
                    venue: self.venue.clone(),
                    door: known.door().to_owned(),
                    ws: ws.clone(),
                    instruments: part.iter().map(|(id, _)| id.clone()).collect(),
                    connections,
                    sockets: self.sockets,
                    trade_source: match self.trade_source {
                        TradeSource::AggTrade => Kind::Trade,
                        TradeSource::Trade => Kind::TradeRaw,
                    },
                    heal: self.heal,
                    raw: self.raw,
                    backlog: self.backlog,
                    checks: CheckConfig::default(),
                    book_depth: (self.book_depth > 0).then_some(self.book_depth),
                    open_interest_every: self.open_interest_every,
                    instruments_every: self.instruments_every,
                    limits: WsLimits {
                        open: self.open_timeout,
                        ping: self.ping,
                        pong: self.pong,
                        close: self.close,
                        beat: Beat::of(&bears.heartbeat),
                        ..WsLimits::default()
                    },
                    backoff: BackoffShape {
                        first: self.backoff,
                        max: self.backoff_max,
                        jitter: self.jitter,
                        ..BackoffShape::default()
                    },
                    lag: LagLimits { lag_max: self.lag_max, shed_after: self.shed_after },
                    brake: Duration::ZERO,
                    life_max: bears.life_max,
                    approvals: approvals.clone(),
                }),
                Err(error) => {
                    problems.add("channels", self.channels.join(" "), error);
                    return None;
                }
            }
        }
        Some((specs, door))
    }

    /// What we allow ourselves, in the venue's window.
    fn weight(&self, bears: Rate) -> Rate {
        match self.weight_per_minute {
            0 => bears,
            n => {
                let part = bears.per.as_secs_f64() / 60.0;
                Rate::new(((f64::from(n) * part) as u32).max(1), bears.per)
            }
        }
    }

    fn addresses(
        &self,
        key: &str,
        scheme: Scheme,
        own: &[&str],
        configured: &[String],
        problems: &mut Problems,
    ) -> (Vec<Endpoint>, Option<Approval>) {
        match endpoint::choose(&self.venue, scheme, own, configured, self.approved.as_deref()) {
            Ok(chosen) => chosen,
            Err(errors) => {
                for error in errors {
                    let remedy = match &error {
                        endpoint::EndpointError::NotApproved(..) => {
                            format!("{error}: add it, or remove `{key}` to use the venue's own")
                        }
                        _ => error.to_string(),
                    };
                    problems.add(key, format!("{configured:?}"), remedy);
                }
                (Vec::new(), None)
            }
        }
    }

    fn check_times(&self, problems: &mut Problems) {
        let second = Duration::from_secs(1);
        let bounds = [
            ("backlog", self.backlog, Duration::ZERO, second * 86_400 * 30),
            ("open_interest_every", self.open_interest_every, second, second * 86_400),
            ("instruments_every", self.instruments_every, second * 10, second * 86_400),
            ("backoff", self.backoff, second / 20, second * 600),
            ("backoff_max", self.backoff_max, self.backoff, second * 3_600),
            ("open_timeout", self.open_timeout, second / 10, second * 300),
            ("ping", self.ping, second / 10, second * 600),
            ("pong", self.pong, second / 10, second * 600),
            ("close", self.close, second / 100, second * 60),
            ("rest_timeout", self.rest_timeout, second / 10, second * 300),
            ("lag_max", self.lag_max, second / 20, second * 3_600),
            ("shed_after", self.shed_after, second / 20, second * 86_400),
        ];
        for (key, value, min, max) in bounds {
            if value < min || value > max {
                let say = |d| humantime::format_duration(d).to_string();
                problems.add(key, format!("\"{}\"", say(value)), format!("between {} and {}", say(min), say(max)));
            }
        }
        if self.instruments_per_line == 0 {
            problems.add("instruments_per_line", 0, "at least 1");
        }
        if self.streams_per_connection == 0 {
            problems.add("streams_per_connection", 0, "at least 1");
        }
        if self.sockets == 0 || self.sockets > SOCKETS_MAX {
            problems.add("sockets", self.sockets, format!("between 1 and {SOCKETS_MAX}"));
        }
    }

    fn channels(&self, problems: &mut Problems) -> Vec<Channel> {
        let mut channels = Vec::new();
        for text in &self.channels {
            match Channel::parse(text) {
                Ok(channel) => channels.push(channel),
                Err(error) => problems.add(
                    "channels",
                    format!("{text:?}"),
                    format!("{error}; known are trade trade-raw book quote ticker bar-<period> mark funding index liquidation open_interest instrument status"),
                ),
            }
        }
        if self.channels.is_empty() {
            problems.add("channels", "[]", "name at least one, e.g. [\"trade\", \"book\"]");
        }
        // The chosen source of trades is recorded whenever trades are. Aggregates beside it are left out: a session that
        // carries both heals by the aggregates' ids, and holes of single matches would stay open for ever.
        if self.trade_source == TradeSource::Trade && channels.contains(&Channel::Trade) {
            channels.retain(|c| *c != Channel::Trade);
            if !channels.contains(&Channel::TradeRaw) {
                channels.push(Channel::TradeRaw);
            }
        }
        if self.trade_source == TradeSource::AggTrade
            && channels.contains(&Channel::TradeRaw)
            && !channels.contains(&Channel::Trade)
        {
            problems.add(
                "trade_source",
                "\"aggTrade\"",
                "add the channel \"trade\", or choose trade_source = \"trade\"",
            );
        }
        channels
    }

    /// Our id and the venue's symbol of each instrument, in the order given.
    fn choose(
        &self,
        venue: &dyn Venue,
        symbols: &dyn Fn(&str) -> Vec<String>,
        taken: &mut BTreeSet<InstrumentId>,
        problems: &mut Problems,
    ) -> Vec<(InstrumentId, String)> {
        if self.instruments.is_empty() {
            problems.add("instruments", "[]", "name at least one, by the venue's symbol, e.g. [\"BTCUSDT\"]");
        }
        let mut chosen: Vec<(InstrumentId, String)> = Vec::new();
        for text in &self.instruments {
            let matching: Vec<String> = if text.contains('*') {
                let matching: Vec<String> =
                    symbols(&self.venue).into_iter().filter(|symbol| fits(text, venue, symbol)).collect();
                if matching.is_empty() {
                    problems.add(
                        "instruments",
                        format!("{text:?}"),
                        "no symbol of this venue matches (or its list could not be read)",
                    );
                }
                matching
            } else {
                // A full id of ours is welcome too.
                let own = InstrumentId::parse(text).ok().and_then(|id| venue.symbol_of(&id));
                vec![own.unwrap_or_else(|| text.clone())]
            };
            for symbol in matching {
                if !venue.is_symbol(&symbol) {
                    problems.add(
                        "instruments",
                        format!("{symbol:?}"),
                        "write it as the venue does, in capitals, e.g. \"BTCUSDT\"",
                    );
                    continue;
                }
                let id = venue.instrument_id(&symbol, None);
                if chosen.iter().any(|(known, _)| *known == id) {
                    // Named and matched by a pattern: one is enough.
                    continue;
                }
                if !taken.insert(id.clone()) {
                    problems.add("instruments", format!("{symbol:?}"), format!("{id} belongs to another line already"));
                    continue;
                }
                chosen.push((id, symbol));
            }
        }
        chosen
    }
}

fn fits(pattern: &str, venue: &dyn Venue, symbol: &str) -> bool {
    matches_pattern(pattern, symbol) || matches_pattern(pattern, venue.instrument_id(symbol, None).as_str())
}

/// `*` stands for any run of characters.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
