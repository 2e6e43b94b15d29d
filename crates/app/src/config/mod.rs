//! The one configuration file, its layers, and what it is turned into.
//!
//! Read (serde, unknown keys refused) and plan (checked, all problems at once) are two steps; past [`Planned`] nothing
//! validates again. The feed owns `[feed]`; `[tape]`, `[gateway]` and `[log]` are read here and handed to their crates.

mod defaults;
mod gateway;
mod layers;
mod problem;
mod retention;
mod sections;
mod size;
mod store;
mod symbols;

use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use toml::Table;
use wholetape_feed::config::FeedConfig;
use wholetape_feed::endpoint::{Endpoint, Scheme};
use wholetape_feed::feed::FeedPlan;
use wholetape_gateway::GatewayConfig;
use wholetape_sim::{VenueAddr, VenueKind};
use wholetape_tape::TapeConfig;

pub use defaults::defaults;
pub use gateway::GatewaySection;
pub use problem::{Problem, Problems};
pub use sections::{LogConfig, LogFormat, TapeSection};
pub use store::StoreSection;

use crate::cli::Layers;
use crate::store::keeper::StorePlan;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data: PathBuf,
    pub feed: FeedConfig,
    pub tape: TapeSection,
    pub gateway: GatewaySection,
    pub log: LogConfig,
    pub store: StoreSection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: sections::default_data(),
            feed: FeedConfig::default(),
            tape: TapeSection::default(),
            gateway: GatewaySection::default(),
            log: LogConfig::default(),
            store: StoreSection::default(),
        }
    }
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Planned {
    pub data: PathBuf,
    pub feed: FeedPlan,
    pub tape: TapeConfig,
    pub gateway: GatewayConfig,
    pub listen: String,
    /// `None`: nothing is stored as Parquet.
    pub store: Option<StorePlan>,
}

/// Reads all layers, and tells everything that is wrong; what can be read is.
///
/// # Errors
/// When the file cannot be read at all.
pub fn load(layers: &Layers) -> anyhow::Result<(Config, Vec<Problem>)> {
    let mut problems = Vec::new();
    let mut table = match &layers.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("cannot read {}: make one with `wholetape defaults > wholetape.toml`", path.display())
            })?;
            match toml::from_str::<Table>(&text) {
                Ok(table) => table,
                Err(error) => {
                    problems.push(syntax(&text, &error));
                    Table::new()
                }
            }
        }
        None => Table::new(),
    };
    layers::environment(&mut table, std::env::vars(), &mut problems);
    for text in &layers.set {
        match text.split_once('=') {
            Some((key, value)) => problems.extend(layers::set(&mut table, key.trim(), value.trim()).err()),
            None => problems.push(Problem::new("--set", text, "has no `=`", "write --set tape.fsync=10ms")),
        }
    }
    let mut config: Config = layers::read(&table, &mut problems);
    if let Some(data) = &layers.data {
        config.data.clone_from(data);
    }
    // Without asking the venue a pattern can only be checked for being one: a symbol of that form stands in.
    let planned = plan(&config, &|venue| stand_ins(&config, venue));
    if let Err(more) = planned {
        // A section that could not be read is not blamed twice.
        let known = |p: &Problem| {
            problems.iter().any(|k| k.key.starts_with(&p.key) || p.key.starts_with(&k.key) && !k.key.is_empty())
        };
        let new: Vec<Problem> = more.into_iter().filter(|p| !known(p)).collect();
        problems.extend(new);
    }
    Ok((config, problems))
}

/// Loads and plans in one go.
///
/// # Errors
/// [`Problems`], all of them.
pub fn planned(layers: &Layers) -> anyhow::Result<(Config, Planned)> {
    let (config, problems) = load(layers)?;
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    let listed = symbols::listed(&config)?;
    let planned = plan(&config, &|venue| listed.get(venue).cloned().unwrap_or_default()).map_err(Problems)?;
    Ok((config, planned))
}

/// The feed as configured, patterns resolved; the rest of the file is not looked at.
///
/// # Errors
/// [`Problems`].
pub fn planned_feed(config: &Config) -> anyhow::Result<FeedPlan> {
    let listed = symbols::listed(config)?;
    Ok(plan(config, &|venue| listed.get(venue).cloned().unwrap_or_default()).map_err(Problems)?.feed)
}

/// A symbol that each pattern of this venue matches.
fn stand_ins(config: &Config, venue: &str) -> Vec<String> {
    let of = |pattern: String| {
        let plain = pattern.replace('*', "X");
        let id = wholetape_model::InstrumentId::parse(&plain).ok();
        id.and_then(|id| wholetape_venue::symbol_of(venue, &id).ok().flatten()).unwrap_or(plain)
    };
    config.feed.patterns().into_iter().filter(|(v, _)| v == venue).map(|(_, pattern)| of(pattern)).collect()
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
    let why = error.message().lines().next().unwrap_or_default().to_owned();
    Problem::new(
        format!("line {line}"),
        text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim(),
        why,
        "this is no TOML; mend that line",
    )
}

/// Checks everything. `symbols` is the list of each venue that instrument patterns choose from.
///
/// # Errors
/// All problems.
pub fn plan(config: &Config, symbols: &dyn Fn(&str) -> Vec<String>) -> Result<Planned, Vec<Problem>> {
    let mut problems = Vec::new();
    if config.data.as_os_str().is_empty() {
        problems.push(Problem::new("data", "\"\"", "is empty", "name a folder, e.g. \"wholetape-data\""));
    }
    config.log.plan(&mut problems);
    let tape = config.tape.plan(&mut problems);
    let gateway = config.gateway.plan(&mut problems);
    let store = config.store.plan(&config.data, &mut problems);
    let feed = config.feed.plan(symbols).unwrap_or_else(|all| {
        problems.extend(all.into_iter().map(|p| {
            let value = if p.value == "\"\"" { String::new() } else { p.value };
            Problem::new(p.key, value, "cannot be used", p.remedy)
        }));
        FeedPlan::default()
    });
    if problems.is_empty() {
        Ok(Planned { data: config.data.clone(), feed, tape, gateway, listen: config.gateway.listen.clone(), store })
    } else {
        Err(problems)
    }
}

/// `(line, host:port)` of each REST base that a configuration uses.
pub fn rest_hosts(config: &Config) -> Vec<(String, String)> {
    let own = |venue: &str| {
        wholetape_venue::endpoints(venue).map(|e| e.rest.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    };
    let mut hosts = Vec::new();
    for line in &config.feed.line {
        let bases = if line.rest.is_empty() { own(&line.venue).unwrap_or_default() } else { line.rest.clone() };
        for base in bases {
            if let Ok(endpoint) = Endpoint::parse(&base, Scheme::Http) {
                hosts.push((line.venue.clone(), endpoint.authority()));
            }
        }
    }
    hosts.dedup();
    hosts
}

/// Everything that a generated venue offers.
pub fn channels(kind: VenueKind) -> Vec<&'static str> {
    use VenueKind as V;
    let own: &[&str] = match kind {
        V::BinanceUsdm | V::BinanceCoinm => &["trade-raw", "mark", "liquidation", "open_interest"],
        // Single matches are the one source of trades; what a spot pair has not is not asked for.
        V::Okx | V::Dydx | V::BybitLinear | V::BybitInverse => &["mark", "liquidation", "open_interest"],
        V::BybitSpot | V::Kraken => &[],
        V::BinanceSpot | V::BinanceUs => &["trade-raw"],
    };
    let all = ["trade"].iter().chain(own).chain(&["book", "quote", "ticker", "bar-1m", "instrument"]);
    // Rolling statistics are nothing that dYdX tells.
    all.copied().filter(|channel| kind != V::Dydx || *channel != "ticker").collect()
}

/// The `[[feed.line]]`s that reach simulated venues.
pub fn snippet(addrs: &[VenueAddr]) -> String {
    let mut text = String::new();
    for addr in addrs {
        let quoted = |names: &[String]| names.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        let channels: Vec<String> = channels(addr.kind).into_iter().map(str::to_owned).collect();
        text.push_str(&format!(
            "[[feed.line]]\nname = \"{}\"\nvenue = \"{}\"\ninstruments = [{}]\nchannels = [{}]\nws = [\"{}\"]\nrest = [\"{}\"]\napproved = \"wholetape sim, at every start, this is the simulator on this machine\"\n\n",
            addr.name,
            addr.kind.name(),
            quoted(&addr.symbols),
            quoted(&channels),
            addr.ws,
            addr.rest
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Vec<Problem> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        load(&Layers { config: Some(path), ..Layers::default() }).unwrap().1
    }

    #[test]
    fn the_printed_defaults_are_a_configuration_without_problems() {
        assert_eq!(load_text(&defaults()), []);
    }

    #[test]
    fn all_problems_at_once_each_with_key_value_and_remedy() {
        let problems = load_text(
            r#"
            datta = "x"
            [tape]
            fsync = "soon"
            segment = "64"
            [gateway]
            listen = "nowhere"
            [log]
            level = "=loud="
            [[feed.line]]
            venue = "binance-spot"
            instruments = ["btcusdt"]
            ws = ["wss://example.com"]
            "#,
        );
        let keys: Vec<_> = problems.iter().map(|p| p.key.as_str()).collect();
        for key in [
            "datta",
            "tape.segment",
            "tape.fsync",
            "gateway.listen",
            "log.level",
            "feed.line[0].ws",
            "feed.line[0].instruments",
        ] {
            assert!(keys.contains(&key), "{key} not in {keys:?}");
        }
        for p in &problems {
            assert!(!p.why.is_empty() && !p.remedy.is_empty() && !p.value.is_empty(), "{p}");
        }
    }

    #[test]
    fn no_toml_is_told_with_its_line() {
        let problems = load_text("data = \"x\"\n[tape\n");
        assert_eq!(problems[0].key, "line 2");
    }

    #[test]
    fn lines_are_asked_for() {
        assert!(load_text("").iter().any(|p| p.key == "feed.line"));
    }
}
