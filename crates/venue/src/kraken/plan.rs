//! From channels to streams and connections.
//!
//! A stream is written `channel:symbol`, with what is asked for of a channel in its name (`book-1000:BTC/USD`, `ohlc-1:BTC/USD`,
//! `ticker-bbo:BTC/USD`); definitions have no symbol (`instrument:`). A request is of one channel, so streams stand channel by channel.
//!
//! Best prices and statistics come by one stream, once per change of what was asked for: best prices where both are wanted.

use wholetape_model::InstrumentIx;

use super::limits::{DEPTHS, LIMITS, NAME, PATH};
use super::state::INTERVALS;
use crate::plan::{Channel, ConnectionPlan, PlanError, Route, SplitLimits};
use crate::symbols::SymbolTable;

/// The depth of a book: the least on offer that is deep enough, by default the greatest.
#[must_use]
pub(super) fn depth(limit: Option<u16>) -> u32 {
    let most = DEPTHS[DEPTHS.len() - 1];
    limit.map_or(most, |limit| DEPTHS.into_iter().find(|d| *d >= u32::from(limit)).unwrap_or(most))
}

/// The channel as a stream names it; `None` where another one brings it.
fn name(channel: Channel, channels: &[Channel], depth: u32) -> Result<Option<String>, PlanError> {
    Ok(Some(match channel {
        Channel::Trade => "trade".to_owned(),
        Channel::Book => format!("book-{depth}"),
        Channel::Quote => "ticker-bbo".to_owned(),
        Channel::Ticker if channels.contains(&Channel::Quote) => return Ok(None),
        Channel::Ticker => "ticker".to_owned(),
        Channel::Bar(period) => {
            let found = INTERVALS.iter().find(|(_, offered)| *offered == period);
            let (minutes, _) = found.ok_or(PlanError::NoSuchBar { venue: NAME, period })?;
            format!("ohlc-{minutes}")
        }
        Channel::Instrument => "instrument".to_owned(),
        // Spot has none of them, and trades have one source.
        Channel::TradeRaw | Channel::Mark | Channel::Liquidation | Channel::OpenInterest => {
            return Err(PlanError::NotOffered { venue: NAME, channel });
        }
    }))
}

/// The streams of one session, channel by channel.
///
/// # Errors
/// `NoSuchBar`, `NotOffered`.
pub fn streams(
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    depth: u32,
) -> Result<Vec<String>, PlanError> {
    let mut names = Vec::new();
    for channel in channels {
        let Some(name) = name(*channel, channels, depth)? else { continue };
        if *channel == Channel::Instrument {
            if !instruments.is_empty() {
                names.push(format!("{name}:"));
            }
            continue;
        }
        names.extend(instruments.iter().map(|(_, symbol)| format!("{name}:{symbol}")));
    }
    Ok(names)
}

/// Splits `instruments` × `channels` over as few connections as the limits allow.
///
/// # Errors
/// Every [`PlanError`] but those of names.
pub fn connections(
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    limits: &SplitLimits,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    SymbolTable::new(instruments)?;
    let mut channels = channels.to_vec();
    channels.sort_unstable();
    channels.dedup();
    let allowed = limits.streams_max.min(LIMITS.streams_max).max(1);
    let depth = depth(None);
    let Some(one) = instruments.get(..1) else { return Ok(Vec::new()) };
    let needed = streams(one, &channels, depth)?.len();
    let shared = usize::from(channels.contains(&Channel::Instrument));
    if needed > allowed {
        return Err(PlanError::TooManyStreams { needed, allowed });
    }
    let room = if needed > shared { (allowed - shared) / (needed - shared) } else { instruments.len() };
    let plan = |of: &[(InstrumentIx, String)]| {
        Ok(ConnectionPlan {
            venue: NAME.into(),
            route: Route::Any,
            path: PATH,
            streams: streams(of, &channels, depth)?,
            instruments: of.to_vec(),
            channels: channels.clone(),
            polled: Vec::new(),
        })
    };
    instruments.chunks(room.max(1)).map(plan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Period;

    fn many(n: u32) -> Vec<(InstrumentIx, String)> {
        (0..n).map(|i| (i, format!("AA{i}/USD"))).collect()
    }

    fn bar(text: &str) -> Channel {
        Channel::Bar(Period::parse(text).unwrap())
    }

    #[test]
    fn streams_stand_channel_by_channel_and_best_prices_bring_statistics() {
        let channels = [Channel::Ticker, Channel::Quote, Channel::Book, Channel::Trade, bar("1d"), Channel::Instrument];
        let plans = connections(&many(2), &channels, &SplitLimits::default()).unwrap();
        let expected = "trade:AA0/USD trade:AA1/USD book-1000:AA0/USD book-1000:AA1/USD ticker-bbo:AA0/USD \
                        ticker-bbo:AA1/USD ohlc-1440:AA0/USD ohlc-1440:AA1/USD instrument:";
        assert_eq!((plans.len(), plans[0].streams.join(" ").as_str(), plans[0].path), (1, expected, "/v2"));
        let alone = connections(&many(1), &[Channel::Ticker], &SplitLimits::default()).unwrap();
        assert_eq!(alone[0].streams, ["ticker:AA0/USD"]);
    }

    #[test]
    fn no_connection_carries_too_many() {
        let channels = [Channel::Trade, Channel::Book, Channel::Instrument];
        let plans = connections(&many(250), &channels, &SplitLimits::default()).unwrap();
        assert_eq!(plans.iter().map(|p| p.instruments.len()).collect::<Vec<_>>(), [99, 99, 52]);
        assert!(plans.iter().all(|p| p.streams.len() <= 200));
        let few = connections(&many(1), &channels, &SplitLimits { streams_max: 2 });
        assert_eq!(few, Err(PlanError::TooManyStreams { needed: 3, allowed: 2 }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |channel| connections(&many(1), &[channel], &SplitLimits::default());
        assert!(matches!(of(bar("7m")), Err(PlanError::NoSuchBar { venue: "kraken", .. })));
        for channel in [Channel::TradeRaw, Channel::Mark, Channel::Liquidation, Channel::OpenInterest] {
            assert_eq!(of(channel), Err(PlanError::NotOffered { venue: "kraken", channel }));
        }
    }

    #[test]
    fn a_depth_is_one_of_those_on_offer() {
        assert_eq!(
            [None, Some(5), Some(10), Some(11), Some(600), Some(5_000)].map(depth),
            [1_000, 10, 10, 25, 1_000, 1_000]
        );
    }
}
