//! From channels to streams and connections.
//!
//! A stream is written `channel:id`; the id is a ticker, a ticker and a resolution (`v4_candles:BTC-USD/1MIN`), or empty where a channel is
//! one for all (`v4_markets:`). Every connection listens to `v4_block_height` as well: a thin market may be silent, a chain is not.
//!
//! A connection bears 32 books, 32 trades and 32 candles: instruments are dealt over as few as that allows.

use wholetape_model::InstrumentIx;

use super::limits::{LIMITS, NAME, PATH, PER_CHANNEL_MAX};
use super::state::RESOLUTIONS;
use crate::plan::{Channel, ConnectionPlan, PlanError, Route, SplitLimits};
use crate::symbols::SymbolTable;

/// The resolution of a bar.
fn resolution(channel: Channel) -> Result<&'static str, PlanError> {
    let Channel::Bar(period) = channel else { return Ok("") };
    let name = period.to_string();
    let found = RESOLUTIONS.iter().find(|(_, offered)| *offered == name);
    found.map(|(resolution, _)| *resolution).ok_or(PlanError::NoSuchBar { venue: NAME, period })
}

/// The channel that brings one of ours. Best prices are the book's, liquidations are trades, and what a market is and costs is one stream.
fn source(channel: Channel) -> Result<&'static str, PlanError> {
    Ok(match channel {
        Channel::Trade | Channel::Liquidation => "v4_trades",
        Channel::Book | Channel::Quote => "v4_orderbook",
        Channel::Bar(_) => "v4_candles",
        Channel::Mark | Channel::OpenInterest | Channel::Instrument => "v4_markets",
        Channel::TradeRaw | Channel::Ticker => return Err(PlanError::NotOffered { venue: NAME, channel }),
    })
}

/// The streams of one session, instrument by instrument, each once.
///
/// # Errors
/// `NoSuchBar`, `NotOffered`.
pub fn streams(instruments: &[(InstrumentIx, String)], channels: &[Channel]) -> Result<Vec<String>, PlanError> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    if channels.is_empty() {
        return Ok(names);
    }
    names.push("v4_block_height:".into());
    for (_, symbol) in instruments {
        for channel in channels {
            let source = source(*channel)?;
            let name = match channel {
                Channel::Bar(_) => format!("{source}:{symbol}/{}", resolution(*channel)?),
                _ if source == "v4_markets" => format!("{source}:"),
                _ => format!("{source}:{symbol}"),
            };
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Whether a connection may carry them.
fn fits(streams: &[String], allowed: usize) -> bool {
    let of = |channel: &str| streams.iter().filter(|s| s.split(':').next() == Some(channel)).count();
    let channels = ["v4_trades", "v4_orderbook", "v4_candles"];
    streams.len() <= allowed && channels.iter().all(|channel| of(channel) <= PER_CHANNEL_MAX)
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
    for channel in &channels {
        source(*channel)?;
        resolution(*channel)?;
    }
    if channels.is_empty() {
        return Ok(Vec::new());
    }
    let allowed = limits.streams_max.min(LIMITS.streams_max).max(1);
    let mut plans = Vec::new();
    let mut rest = instruments;
    while !rest.is_empty() {
        let (mut taken, mut names) = (0, Vec::new());
        while taken < rest.len() {
            let more = streams(&rest[..=taken], &channels)?;
            if !fits(&more, allowed) {
                break;
            }
            names = more;
            taken += 1;
        }
        if taken == 0 {
            let needed = streams(&rest[..1], &channels)?.len();
            return Err(PlanError::TooManyStreams { needed, allowed });
        }
        plans.push(ConnectionPlan {
            venue: NAME.into(),
            route: Route::Any,
            path: PATH,
            streams: names,
            instruments: rest[..taken].to_vec(),
            channels: channels.clone(),
            polled: Vec::new(),
        });
        rest = &rest[taken..];
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Period;

    fn many(n: u32) -> Vec<(InstrumentIx, String)> {
        (0..n).map(|i| (i, format!("AA{i}-USD"))).collect()
    }

    fn bar(count: u16, unit: u8) -> Channel {
        Channel::Bar(Period { count, unit })
    }

    #[test]
    fn one_stream_may_bring_several_channels() {
        let channels = [
            Channel::Trade,
            Channel::Liquidation,
            Channel::Book,
            Channel::Quote,
            bar(1, b'm'),
            bar(1, b'd'),
            Channel::Mark,
            Channel::OpenInterest,
            Channel::Instrument,
        ];
        let plans = connections(&many(1), &channels, &SplitLimits::default()).unwrap();
        assert_eq!(plans.len(), 1);
        let mut streams = plans[0].streams.clone();
        streams.sort_unstable();
        assert_eq!(
            streams,
            [
                "v4_block_height:",
                "v4_candles:AA0-USD/1DAY",
                "v4_candles:AA0-USD/1MIN",
                "v4_markets:",
                "v4_orderbook:AA0-USD",
                "v4_trades:AA0-USD",
            ]
        );
    }

    #[test]
    fn a_connection_has_32_of_each_channel() {
        let sizes = |channels: &[Channel], streams_max| {
            let plans = connections(&many(100), channels, &SplitLimits { streams_max }).unwrap();
            plans.iter().map(|p| p.instruments.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[Channel::Book], 200), [32, 32, 32, 4]);
        assert_eq!(sizes(&[Channel::Book, Channel::Trade, bar(1, b'm')], 200), [32, 32, 32, 4]);
        assert_eq!(sizes(&[bar(1, b'm'), bar(5, b'm'), bar(1, b'h')], 200), [10; 10]);
        assert_eq!(sizes(&[Channel::Mark], 200), [100], "one stream has all markets");
        assert_eq!(sizes(&[Channel::Book, Channel::Trade], 21), [10; 10]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |channels: &[Channel], streams_max| connections(&many(1), channels, &SplitLimits { streams_max });
        assert!(matches!(of(&[bar(7, b'm')], 9), Err(PlanError::NoSuchBar { venue: "dydx", .. })));
        for channel in [Channel::Ticker, Channel::TradeRaw] {
            assert_eq!(of(&[Channel::Trade, channel], 9), Err(PlanError::NotOffered { venue: "dydx", channel }));
        }
        let refused = of(&[Channel::Trade, Channel::Book], 2);
        assert_eq!(refused, Err(PlanError::TooManyStreams { needed: 3, allowed: 2 }));
    }
}
