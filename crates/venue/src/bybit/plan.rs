//! From channels to streams and connections.
//!
//! A stream is its topic: `publicTrade.BTCUSDT`, `orderbook.200.BTCUSDT`. The category is in the socket's path and nowhere else, so a
//! connection carries instruments of one market. The ticker's one stream brings statistics, mark price, index price, funding and open
//! interest; definitions are asked for over REST.

use wholetape_model::InstrumentIx;

use super::limits::{ARG_OVERHEAD, ARGS_LETTERS_MAX, DEPTH_DEFAULT, DEPTHS, Market};
use super::state::INTERVALS;
use crate::plan::{Channel, ConnectionPlan, PlanError, Route, SplitLimits};
use crate::symbols::SymbolTable;

/// Whether the market has it.
const fn offers(market: Market, channel: Channel) -> bool {
    match channel {
        // Single matches are all there is, under one name.
        Channel::TradeRaw => false,
        Channel::Mark | Channel::Liquidation | Channel::OpenInterest => market.is_derivative(),
        _ => true,
    }
}

/// The smallest book that has `levels`, or the largest there is.
#[must_use]
pub(super) fn depth(levels: Option<u16>) -> u16 {
    let levels = levels.unwrap_or(DEPTH_DEFAULT);
    DEPTHS.into_iter().find(|d| *d >= levels).unwrap_or(DEPTHS[DEPTHS.len() - 1])
}

/// The stream of a channel for one instrument; `None` where it has none.
fn stream(market: Market, channel: Channel, depth: u16, symbol: &str) -> Result<Option<String>, PlanError> {
    Ok(Some(match channel {
        Channel::Trade => format!("publicTrade.{symbol}"),
        Channel::Book => format!("orderbook.{depth}.{symbol}"),
        Channel::Quote => format!("orderbook.1.{symbol}"),
        Channel::Ticker | Channel::Mark | Channel::OpenInterest => format!("tickers.{symbol}"),
        Channel::Bar(period) => {
            let name = period.to_string();
            let interval = INTERVALS.iter().find(|(_, offered)| *offered == name);
            let (interval, _) = interval.ok_or(PlanError::NoSuchBar { venue: market.name(), period })?;
            format!("kline.{interval}.{symbol}")
        }
        Channel::Liquidation => format!("allLiquidation.{symbol}"),
        Channel::TradeRaw | Channel::Instrument => return Ok(None),
    }))
}

/// The streams of one session, instrument by instrument, each once.
///
/// # Errors
/// `NoSuchBar`.
pub fn streams(
    market: Market,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    depth: u16,
) -> Result<Vec<String>, PlanError> {
    let mut names: Vec<String> = Vec::new();
    for (_, symbol) in instruments {
        let from = names.len();
        for channel in channels.iter().filter(|c| offers(market, **c)) {
            if let Some(name) = stream(market, *channel, depth, symbol)?
                && !names[from..].contains(&name)
            {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// What the names cost of the venue's letters.
fn letters(streams: &[String]) -> usize {
    streams.iter().map(|s| s.len() + ARG_OVERHEAD).sum()
}

/// Splits `instruments` × `channels` over as few connections as the limits allow.
///
/// # Errors
/// Every [`PlanError`] but those of names.
pub fn connections(
    market: Market,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    limits: &SplitLimits,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    SymbolTable::new(instruments)?;
    let mut channels = channels.to_vec();
    channels.sort_unstable();
    channels.dedup();
    if let Some(channel) = channels.iter().find(|c| !offers(market, **c)) {
        return Err(PlanError::NotOffered { venue: market.name(), channel: *channel });
    }
    let polled: Vec<Channel> = channels.iter().copied().filter(|c| *c == Channel::Instrument).collect();
    let allowed = limits.streams_max.min(market.limits().streams_max).max(1);
    // The deepest book has the longest name.
    let deepest = DEPTHS[DEPTHS.len() - 1];
    let mut plans = Vec::new();
    let (mut part, mut count, mut used) = (Vec::new(), 0, 0);
    let mut flush = |part: &mut Vec<(InstrumentIx, String)>| -> Result<(), PlanError> {
        if !part.is_empty() {
            plans.push(ConnectionPlan {
                venue: market.name().into(),
                route: Route::Any,
                path: market.path(),
                streams: streams(market, part, &channels, DEPTH_DEFAULT)?,
                instruments: std::mem::take(part),
                channels: channels.clone(),
                polled: polled.clone(),
            });
        }
        Ok(())
    };
    for one in instruments {
        let names = streams(market, std::slice::from_ref(one), &channels, deepest)?;
        let cost = letters(&names);
        if names.len() > allowed {
            return Err(PlanError::TooManyStreams { needed: names.len(), allowed });
        }
        if count + names.len() > allowed || used + cost > ARGS_LETTERS_MAX {
            flush(&mut part)?;
            (count, used) = (0, 0);
        }
        part.push(one.clone());
        count += names.len();
        used += cost;
    }
    flush(&mut part)?;
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Period;

    fn named(symbols: &[&str]) -> Vec<(InstrumentIx, String)> {
        (0..).zip(symbols.iter().map(|s| (*s).to_owned())).collect()
    }

    fn many(n: u32, name: &str) -> Vec<(InstrumentIx, String)> {
        (0..n).map(|i| (i, format!("{name}{i:04}USDT"))).collect()
    }

    const MINUTE: Channel = Channel::Bar(Period { count: 1, unit: b'm' });
    const EVERYTHING: [Channel; 9] = [
        Channel::Trade,
        Channel::Book,
        Channel::Quote,
        Channel::Ticker,
        MINUTE,
        Channel::Mark,
        Channel::Liquidation,
        Channel::OpenInterest,
        Channel::Instrument,
    ];

    #[test]
    fn one_ticker_brings_five_things_and_definitions_are_polled() {
        let plans = connections(Market::Linear, &named(&["BTCUSDT"]), &EVERYTHING, &SplitLimits::default()).unwrap();
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].path, "/v5/public/linear");
        assert_eq!(
            plans[0].streams,
            [
                "publicTrade.BTCUSDT",
                "orderbook.200.BTCUSDT",
                "orderbook.1.BTCUSDT",
                "tickers.BTCUSDT",
                "kline.1.BTCUSDT",
                "allLiquidation.BTCUSDT",
            ]
        );
        assert_eq!(plans[0].polled, [Channel::Instrument]);
    }

    #[test]
    fn spot_has_nothing_that_is_charged_or_forced() {
        for channel in [Channel::Mark, Channel::Liquidation, Channel::OpenInterest, Channel::TradeRaw] {
            let refused = connections(Market::Spot, &named(&["BTCUSDT"]), &[channel], &SplitLimits::default());
            assert_eq!(refused, Err(PlanError::NotOffered { venue: "bybit-spot", channel }));
        }
    }

    #[test]
    fn no_connection_has_more_letters_than_the_venue_takes() {
        let limits = SplitLimits { streams_max: usize::MAX };
        let instruments = many(400, "1000000LONGNAME");
        let plans = connections(Market::Linear, &instruments, &[Channel::Book, Channel::Quote], &limits).unwrap();
        assert!(plans.len() > 1);
        assert_eq!(plans.iter().map(|p| p.instruments.len()).sum::<usize>(), 400);
        for plan in &plans {
            // As they are when the deepest book is chosen.
            let names = streams(Market::Linear, &plan.instruments, &plan.channels, 1_000).unwrap();
            let list = format!("[{}]", names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(","));
            assert!(list.len() <= 21_001 && plan.streams.len() <= 500, "{} {}", list.len(), plan.streams.len());
        }
    }

    #[test]
    fn streams_are_counted_as_well() {
        let plans = connections(Market::Spot, &many(250, "A"), &[Channel::Quote], &SplitLimits::default()).unwrap();
        assert_eq!(plans.iter().map(|p| p.instruments.len()).collect::<Vec<_>>(), [200, 50]);
        let one = SplitLimits { streams_max: 1 };
        let too_many = connections(Market::Spot, &many(1, "A"), &[Channel::Book, Channel::Quote], &one);
        assert_eq!(too_many, Err(PlanError::TooManyStreams { needed: 2, allowed: 1 }));
        let polls = connections(Market::Spot, &many(3, "A"), &[Channel::Instrument], &one).unwrap();
        assert_eq!((polls.len(), polls[0].streams.len(), polls[0].instruments.len()), (1, 0, 3));
    }

    #[test]
    fn a_book_is_as_deep_as_was_asked_for() {
        assert_eq!(
            [None, Some(1), Some(50), Some(51), Some(500), Some(5_000)].map(depth),
            [200, 50, 50, 200, 1_000, 1_000]
        );
    }

    #[test]
    fn bars_that_are_not_offered_are_refused() {
        let seven = Channel::Bar(Period { count: 7, unit: b'm' });
        let refused = connections(Market::Linear, &named(&["BTCUSDT"]), &[seven], &SplitLimits::default());
        assert!(matches!(refused, Err(PlanError::NoSuchBar { venue: "bybit-linear", .. })));
    }
}
