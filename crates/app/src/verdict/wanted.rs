//! What a configuration records, in the words of the verdict: instruments, topics, and where their truth stands.

use std::time::Duration;

use wholetape_feed::config::{FeedConfig, LineConfig, TradeSource, matches_pattern};
use wholetape_model::{InstrumentId, Kind};
use wholetape_sim::truth::Truth;
use wholetape_venue::Channel;

/// An instrument by its venue and the venue's spelling.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// As in the truth files.
    pub venue: String,
    pub symbol: String,
    pub id: InstrumentId,
    /// Topics that are recorded.
    pub kinds: Vec<Kind>,
    /// The topic `trade` is filled by single matches.
    pub raw_source: bool,
    /// Open interest is told by a stream, so all of it is to be held; elsewhere it is polled.
    pub interest_streamed: bool,
    /// The venue does not say when a bar's frame was made, nor since when a status holds.
    pub undated: bool,
    /// A new subscription is told again what stands, with the time of the last message: those rows were published in other words.
    pub restated: bool,
    /// Past trades cannot be asked for, so what was missed has to be confessed; elsewhere no confession excuses a missing trade.
    pub trades_confessed: bool,
    /// The venue numbers the messages of a connection at most: its books are judged by place, and each subscription is
    /// answered with a state that was told before.
    pub by_connection: bool,
    /// How far back trades from before the start are to be whole.
    pub backlog: Duration,
}

impl Wanted {
    /// The venue does not say when what it tells of this kind was so.
    pub fn is_untimed(&self, kind: Kind) -> bool {
        match kind {
            Kind::Bar(_) | Kind::Status => self.undated,
            Kind::Funding | Kind::OpenInterest => self.by_connection,
            _ => false,
        }
    }
}

/// Which topics a channel fills.
fn kinds(channel: &str, source: TradeSource) -> Vec<Kind> {
    match Channel::parse(channel) {
        Ok(Channel::Trade) => vec![Kind::Trade],
        Ok(Channel::TradeRaw) if source == TradeSource::Trade => vec![Kind::Trade],
        Ok(Channel::TradeRaw) => vec![Kind::TradeRaw],
        Ok(Channel::Book) => vec![Kind::Book],
        Ok(Channel::Quote) => vec![Kind::Quote],
        Ok(Channel::Ticker) => vec![Kind::Ticker],
        Ok(Channel::Bar(period)) => vec![Kind::Bar(period)],
        Ok(Channel::Mark) => vec![Kind::Mark, Kind::Index, Kind::Funding],
        Ok(Channel::Liquidation) => vec![Kind::Liquidation],
        Ok(Channel::OpenInterest) => vec![Kind::OpenInterest],
        Ok(Channel::Instrument) => vec![Kind::Status],
        Err(_) => Vec::new(),
    }
}

/// One instrument of a line.
///
/// # Errors
/// When the symbol makes no id of ours.
pub fn of_line(line: &LineConfig, truth: &str, symbol: &str) -> anyhow::Result<Wanted> {
    let (is_okx, is_bybit, is_dydx) = (line.venue == "okx", line.venue.starts_with("bybit-"), line.venue == "dydx");
    let is_kraken = line.venue == "kraken";
    Ok(Wanted {
        venue: truth.to_owned(),
        symbol: symbol.to_owned(),
        id: wholetape_venue::instrument_id::<()>(&line.venue, symbol, None)?,
        kinds: line.channels.iter().flat_map(|c| kinds(c, line.trade_source)).collect(),
        raw_source: line.trade_source == TradeSource::Trade || is_okx || is_bybit || is_dydx || is_kraken,
        interest_streamed: is_okx || is_bybit || is_dydx,
        undated: is_okx || is_dydx || is_kraken,
        restated: is_bybit || is_kraken,
        trades_confessed: is_bybit,
        by_connection: is_dydx || is_kraken,
        backlog: if is_bybit { Duration::ZERO } else { line.backlog },
    })
}

/// What a configuration records of the venues in `symbols` (truth name and symbols). Lines find their venue by their own
/// name, else by the venue's.
///
/// # Errors
/// When a line's venue has no truth, or nothing is recorded at all.
pub fn of_config(feed: &FeedConfig, symbols: &[(String, Vec<String>)]) -> anyhow::Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for line in &feed.line {
        let found = symbols
            .iter()
            .find(|(name, _)| *name == line.name)
            .or_else(|| symbols.iter().find(|(n, _)| *n == line.venue));
        let (truth, known) =
            found.ok_or_else(|| anyhow::anyhow!("line {}: no truth of {} there", line.name, line.venue))?;
        let fits = |symbol: &&String| {
            let id = wholetape_venue::instrument_id::<()>(&line.venue, symbol, None);
            line.instruments.iter().any(|wanted| {
                matches_pattern(wanted, symbol) || id.as_ref().is_ok_and(|id| matches_pattern(wanted, id.as_str()))
            })
        };
        for symbol in known.iter().filter(fits) {
            all.push(of_line(line, truth, symbol)?);
        }
    }
    anyhow::ensure!(!all.is_empty(), "the configuration records nothing that the truth speaks of");
    Ok(all)
}

/// The venues of a truth and their symbols.
pub fn symbols(truth: &Truth) -> Vec<(String, Vec<String>)> {
    truth.venues.iter().map(|(name, venue)| (name.clone(), venue.instruments.keys().cloned().collect())).collect()
}
