//! From channels to streams, polls and connections.
//!
//! Stream names and routes: `web-socket-streams.md` (spot) and the USD-M change notice of 2026-03-06, read 2026-11-20.
//! One instrument's streams of a route stay on one connection, so that its book and quote share an order of arrival.

use wholetape_model::InstrumentIx;

use super::decode::KLINES;
use super::limits::Variant;
use super::symbol::table;
use crate::plan::{Channel, ConnectionPlan, PlanError, Route, SplitLimits};

/// Where a channel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A stream per instrument, on this route.
    Stream(Route),
    /// One stream for the whole venue.
    Global(Route, &'static str),
    /// REST polls only.
    Poll,
}

fn source(variant: Variant, channel: Channel) -> Result<Source, PlanError> {
    use Channel as C;
    let venue = variant.facts().name;
    if let C::Bar(period) = channel {
        let offered = KLINES.iter().any(|(i, _)| *i == period.to_string());
        // Bars of a second are spot's alone.
        if !offered || (variant.is_futures() && period.unit == b's') {
            return Err(PlanError::NoSuchBar { venue, period });
        }
    }
    if !variant.is_futures() {
        return match channel {
            C::Mark | C::Liquidation | C::OpenInterest => Err(PlanError::NotOffered { venue, channel }),
            // Status of spot has no stream.
            C::Instrument => Ok(Source::Poll),
            _ => Ok(Source::Stream(Route::Any)),
        };
    }
    let (public, market) =
        if variant == Variant::UsdM { (Route::Public, Route::Market) } else { (Route::Any, Route::Any) };
    Ok(match channel {
        // `@trade` is undocumented; it was seen on the public path (binance-futures-connector-python#261).
        C::Book | C::Quote | C::TradeRaw => Source::Stream(public),
        C::Trade | C::Ticker | C::Bar(_) | C::Mark | C::Liquidation => Source::Stream(market),
        C::Instrument => Source::Global(market, "!contractInfo"),
        C::OpenInterest => Source::Poll,
    })
}

fn stream_name(symbol: &str, channel: Channel) -> String {
    // Only ASCII is cased: a venue's name for 币 is itself.
    let s = symbol.to_ascii_lowercase();
    match channel {
        Channel::Trade => format!("{s}@aggTrade"),
        Channel::TradeRaw => format!("{s}@trade"),
        Channel::Book => format!("{s}@depth@100ms"),
        Channel::Quote => format!("{s}@bookTicker"),
        Channel::Ticker => format!("{s}@ticker"),
        Channel::Bar(period) => format!("{s}@kline_{period}"),
        Channel::Mark => format!("{s}@markPrice@1s"),
        Channel::Liquidation => format!("{s}@forceOrder"),
        Channel::OpenInterest | Channel::Instrument => String::new(),
    }
}

/// The streams of one session, instrument by instrument.
///
/// # Errors
/// `NotOffered`, `NoSuchBar`.
pub fn streams(
    variant: Variant,
    route: Route,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
) -> Result<Vec<String>, PlanError> {
    let here = |r: Route| route == Route::Any || r == Route::Any || r == route;
    let mut names = Vec::new();
    for channel in channels {
        if let Source::Global(r, name) = source(variant, *channel)?
            && here(r)
            && !instruments.is_empty()
        {
            names.push(name.to_owned());
        }
    }
    for (_, symbol) in instruments {
        for channel in channels {
            if let Source::Stream(r) = source(variant, *channel)?
                && here(r)
            {
                names.push(stream_name(symbol, *channel));
            }
        }
    }
    names.dedup();
    Ok(names)
}

/// Splits `instruments` × `channels` over as few connections as the limits allow.
///
/// # Errors
/// Every [`PlanError`] but those of names.
pub fn connections(
    variant: Variant,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    limits: &SplitLimits,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    let facts = variant.facts();
    table(instruments)?;
    let mut channels = channels.to_vec();
    channels.sort_unstable();
    channels.dedup();
    let mut routes: Vec<(Route, &'static str, Vec<Channel>, usize, usize)> = Vec::new();
    let mut polls = Vec::new();
    for (route, path) in facts.routes {
        let (mut mine, mut each, mut global) = (Vec::new(), 0, 0);
        for channel in &channels {
            match source(variant, *channel)? {
                Source::Stream(r) if r == *route => {
                    mine.push(*channel);
                    each += 1;
                }
                Source::Global(r, _) if r == *route => {
                    mine.push(*channel);
                    global += 1;
                }
                _ => {}
            }
        }
        if !mine.is_empty() {
            routes.push((*route, path, mine, each, global));
        }
    }
    for channel in &channels {
        if source(variant, *channel)? == Source::Poll {
            polls.push(*channel);
        }
    }
    if routes.is_empty() && !polls.is_empty() {
        // Nothing but polls: they still need a session, and a session has a connection.
        let (route, path) = facts.routes[facts.routes.len() - 1];
        routes.push((route, path, Vec::new(), 0, 0));
    }
    // Polls go with the route that carries what else is slow: the last.
    if let Some(last) = routes.last_mut() {
        last.2.extend(&polls);
    }
    let allowed = limits.streams_max.min(facts.limits.streams_max).max(1);
    let mut plans = Vec::new();
    for (route, path, mine, each, global) in routes {
        let room = allowed.saturating_sub(global);
        if each > room {
            return Err(PlanError::TooManyStreams { needed: each + global, allowed });
        }
        let chunk = room.checked_div(each).unwrap_or(instruments.len()).max(1);
        for part in instruments.chunks(chunk) {
            plans.push(ConnectionPlan {
                venue: facts.name.into(),
                route,
                path,
                streams: streams(variant, route, part, &mine)?,
                instruments: part.to_vec(),
                polled: mine.iter().copied().filter(|c| polls.contains(c)).collect(),
                channels: mine.clone(),
            });
        }
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Period;

    fn named(n: u32) -> Vec<(InstrumentIx, String)> {
        (0..n).map(|i| (i, format!("SYM{i}USDT"))).collect()
    }

    const MIN: Channel = Channel::Bar(Period { count: 1, unit: b'm' });

    #[test]
    fn usdm_is_routed_and_split_under_the_limit() {
        let all = [Channel::Trade, Channel::Book, Channel::Quote, Channel::Mark, Channel::OpenInterest, MIN];
        let plans = connections(Variant::UsdM, &named(150), &all, &SplitLimits::default()).unwrap();
        assert_eq!(plans.len(), 2 + 3);
        let mut books = 0;
        for plan in &plans {
            assert!(plan.streams.len() <= 200);
            match plan.route {
                Route::Public => {
                    assert_eq!(plan.path, "/public/stream");
                    assert!(plan.streams.iter().all(|s| s.ends_with("@depth@100ms") || s.ends_with("@bookTicker")));
                    books += plan.instruments.len();
                }
                Route::Market => {
                    assert_eq!(plan.path, "/market/stream");
                    assert!(plan.streams.iter().all(|s| !s.contains("depth") && !s.contains("bookTicker")));
                    assert!(plan.channels.contains(&Channel::OpenInterest));
                }
                other => panic!("usd-m has no path for {other:?}"),
            }
        }
        assert_eq!(books, 150);
    }

    #[test]
    fn spot_has_one_path_and_no_funding() {
        let plans = connections(
            Variant::Spot,
            &named(2),
            &[Channel::Book, Channel::Trade, Channel::Instrument],
            &SplitLimits::default(),
        )
        .unwrap();
        assert_eq!(plans.len(), 1);
        assert_eq!(
            plans[0].streams,
            ["sym0usdt@aggTrade", "sym0usdt@depth@100ms", "sym1usdt@aggTrade", "sym1usdt@depth@100ms"]
        );
        assert_eq!(plans[0].path, "/stream");
        let refused = connections(Variant::Spot, &named(1), &[Channel::Mark], &SplitLimits::default());
        assert_eq!(refused, Err(PlanError::NotOffered { venue: "binance-spot", channel: Channel::Mark }));
        let odd = Channel::Bar(Period { count: 7, unit: b'm' });
        assert!(matches!(
            connections(Variant::Us, &named(1), &[odd], &SplitLimits::default()),
            Err(PlanError::NoSuchBar { .. })
        ));
    }

    #[test]
    fn a_limit_too_small_for_one_instrument_is_refused() {
        let limits = SplitLimits { streams_max: 1 };
        assert_eq!(
            connections(Variant::Spot, &named(1), &[Channel::Book, Channel::Trade], &limits),
            Err(PlanError::TooManyStreams { needed: 2, allowed: 1 })
        );
        assert_eq!(connections(Variant::Spot, &named(3), &[Channel::Book], &limits).unwrap().len(), 3);
    }

    #[test]
    fn polls_alone_still_get_a_session() {
        let plans = connections(Variant::UsdM, &named(1), &[Channel::OpenInterest], &SplitLimits::default()).unwrap();
        assert_eq!((plans.len(), plans[0].streams.len()), (1, 0));
        let plans =
            connections(Variant::UsdM, &named(1), &[Channel::Book, Channel::Instrument], &SplitLimits::default())
                .unwrap();
        assert_eq!(plans[1].streams, ["!contractInfo"]);
    }
}
