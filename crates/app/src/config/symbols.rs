//! The venues' own lists of symbols, asked for once when a configuration chooses instruments by pattern.

use std::collections::BTreeMap;

use anyhow::Context;
use wholetape_feed::endpoint::{Endpoint, Scheme};

use super::Config;

/// Symbols by venue; empty where nothing is chosen by pattern, and then nobody is asked.
///
/// # Errors
/// When a venue does not answer: nothing could be recorded, and a start without instruments would only hide that.
pub fn listed(config: &Config) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut listed = BTreeMap::new();
    for (venue, pattern) in config.feed.patterns() {
        if listed.contains_key(&venue) {
            continue;
        }
        let bases = bases(config, &venue);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let symbols = runtime
            .block_on(wholetape_feed::symbols::fetch(&venue, bases))
            .with_context(|| format!("the pattern `{pattern}` needs the list of symbols of {venue}"))?;
        listed.insert(venue, symbols);
    }
    Ok(listed)
}

fn bases(config: &Config, venue: &str) -> Vec<Endpoint> {
    let line = config.feed.line.iter().find(|l| l.venue == venue && !l.rest.is_empty());
    let own = || wholetape_venue::endpoints(venue).map(|e| e.rest.iter().map(|s| (*s).to_owned()).collect());
    let texts: Vec<String> = line.map_or_else(|| own().unwrap_or_default(), |l| l.rest.clone());
    texts.iter().filter_map(|t| Endpoint::parse(t, Scheme::Http).ok()).collect()
}
