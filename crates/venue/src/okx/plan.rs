//! From channels to streams and connections.
//!
//! A stream is written `channel:subject`, where the subject is an instrument, an index or a product (`books:BTC-USDT`,
//! `index-tickers:BTC-USDT`, `liquidation-orders:SWAP`) and may be empty (`status:`). Placement: the documents' sections of the channels,
//! copies of 2026-09, read 2026-11-20: candles and single matches are on `/business`, everything else on `/public`.
//!
//! What a product does not have is not asked for: a connection carries instruments of one product, so that nobody waits for the funding of
//! a spot pair.

use wholetape_model::InstrumentIx;

use super::limits::{BUSINESS, DEEP_BOOKS_MAX, LIMITS, NAME, PUBLIC};
use super::state::CANDLES;
use super::symbol::{Product, index_of};
use crate::plan::{Channel, ConnectionPlan, PlanError, Route, SplitLimits};
use crate::symbols::SymbolTable;

/// The socket that carries a channel.
const fn route(channel: Channel) -> Route {
    match channel {
        Channel::Trade | Channel::Bar(_) => Route::Business,
        _ => Route::Public,
    }
}

const fn path(route: Route) -> &'static str {
    if matches!(route, Route::Business) { BUSINESS } else { PUBLIC }
}

/// Whether the product has it. The groups of `trades` are read where a recording holds them, but not asked for: one of them covers
/// several ids, and ledger and certificates count ids one by one.
const fn offers(product: Product, channel: Channel) -> bool {
    match channel {
        Channel::TradeRaw => false,
        Channel::Mark | Channel::Liquidation | Channel::OpenInterest => product.is_derivative(),
        _ => true,
    }
}

/// The candle channel of a bar; of those that open on two kinds of days the one of UTC.
fn candle(channel: Channel) -> Result<&'static str, PlanError> {
    let Channel::Bar(period) = channel else { return Ok("") };
    let name = period.to_string();
    let found = CANDLES.iter().find(|(_, offered)| *offered == name);
    found.map(|(channel, _)| *channel).ok_or(PlanError::NoSuchBar { venue: NAME, period })
}

/// The streams of a channel for one instrument.
fn streams_of(channel: Channel, product: Product, symbol: &str, to: &mut Vec<String>) -> Result<(), PlanError> {
    let mut add = |name: &str, subject: &str| to.push(format!("{name}:{subject}"));
    match channel {
        Channel::Trade => add("trades-all", symbol),
        Channel::TradeRaw => {}
        Channel::Book => add("books", symbol),
        Channel::Quote => add("bbo-tbt", symbol),
        Channel::Ticker => add("tickers", symbol),
        Channel::Bar(_) => add(candle(channel)?, symbol),
        Channel::Mark => {
            add("mark-price", symbol);
            add("index-tickers", index_of(symbol));
            if product == Product::Swap {
                add("funding-rate", symbol);
            }
        }
        Channel::OpenInterest => add("open-interest", symbol),
        Channel::Liquidation => add("liquidation-orders", product.as_str()),
        Channel::Instrument => {
            add("instruments", product.as_str());
            add("status", "");
        }
    }
    Ok(())
}

/// The streams of one session, instrument by instrument, each once.
///
/// # Errors
/// `NoSuchBar`.
pub fn streams(
    on: Route,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
) -> Result<Vec<String>, PlanError> {
    let mut names: Vec<String> = Vec::new();
    let mut shared = std::collections::BTreeSet::new();
    for (_, symbol) in instruments {
        let product = Product::of(symbol);
        for channel in channels {
            if offers(product, *channel) && (on == Route::Any || route(*channel) == on) {
                let from = names.len();
                streams_of(*channel, product, symbol, &mut names)?;
                let later = names.split_off(from);
                // Several instruments share an index, and all of a product its liquidations.
                names.extend(later.into_iter().filter(|name| shared.insert(name.clone())));
            }
        }
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
    let mut products: Vec<(Product, Vec<(InstrumentIx, String)>)> = Vec::new();
    for (ix, symbol) in instruments {
        let product = Product::of(symbol);
        match products.iter_mut().find(|(p, _)| *p == product) {
            Some((_, of)) => of.push((*ix, symbol.clone())),
            None => products.push((product, vec![(*ix, symbol.clone())])),
        }
    }
    for channel in &channels {
        candle(*channel)?;
        if !products.is_empty() && !products.iter().any(|(product, _)| offers(*product, *channel)) {
            return Err(PlanError::NotOffered { venue: NAME, channel: *channel });
        }
    }
    let mut plans = Vec::new();
    for (product, of) in &products {
        for on in [Route::Public, Route::Business] {
            let mine: Vec<Channel> =
                channels.iter().copied().filter(|c| route(*c) == on && offers(*product, *c)).collect();
            if !mine.is_empty() {
                plans.extend(split(on, of, &mine, allowed)?);
            }
        }
    }
    Ok(plans)
}

/// Connections of one product on one route.
fn split(
    on: Route,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    allowed: usize,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    let deep = channels.contains(&Channel::Book);
    let mut plans = Vec::new();
    let mut rest = instruments;
    while !rest.is_empty() {
        let most = if deep { rest.len().min(DEEP_BOOKS_MAX) } else { rest.len() };
        // Shared streams make the count uneven: as many instruments as fit.
        let mut taken = 0;
        let mut names = Vec::new();
        while taken < most {
            let more = streams(on, &rest[..=taken], channels)?;
            if more.len() > allowed {
                break;
            }
            names = more;
            taken += 1;
        }
        if taken == 0 {
            let needed = streams(on, &rest[..1], channels)?.len();
            return Err(PlanError::TooManyStreams { needed, allowed });
        }
        plans.push(ConnectionPlan {
            venue: NAME.into(),
            route: on,
            path: path(on),
            streams: names,
            instruments: rest[..taken].to_vec(),
            channels: channels.to_vec(),
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

    fn named(symbols: &[&str]) -> Vec<(InstrumentIx, String)> {
        (0..).zip(symbols.iter().map(|s| (*s).to_owned())).collect()
    }

    fn many(n: u32, tail: &str) -> Vec<(InstrumentIx, String)> {
        (0..n).map(|i| (i, format!("AA{i}-USDT{tail}"))).collect()
    }

    #[test]
    fn single_matches_and_candles_go_to_business_and_the_rest_to_public() {
        let minute = Channel::Bar(Period { count: 1, unit: b'm' });
        let day = Channel::Bar(Period { count: 1, unit: b'd' });
        let all = [Channel::Trade, Channel::Book, Channel::Quote, Channel::Ticker, minute, day];
        let plans = connections(&named(&["BTC-USDT"]), &all, &SplitLimits::default()).unwrap();
        let seen: Vec<_> = plans.iter().map(|p| (p.path, p.streams.join(" "))).collect();
        assert_eq!(
            seen,
            [
                ("/ws/v5/public", "books:BTC-USDT bbo-tbt:BTC-USDT tickers:BTC-USDT".to_owned()),
                ("/ws/v5/business", "trades-all:BTC-USDT candle1Dutc:BTC-USDT candle1m:BTC-USDT".to_owned()),
            ]
        );
    }

    #[test]
    fn a_product_is_asked_for_what_it_has_and_shared_streams_once() {
        let instruments = named(&["BTC-USDT", "BTC-USDT-SWAP", "BTC-USDT-270326", "BTC-USDT-270625"]);
        let channels = [Channel::Mark, Channel::Liquidation, Channel::Instrument];
        let plans = connections(&instruments, &channels, &SplitLimits::default()).unwrap();
        let seen: Vec<_> = plans.iter().map(|p| p.streams.join(" ")).collect();
        assert_eq!(
            seen,
            [
                "instruments:SPOT status:",
                "mark-price:BTC-USDT-SWAP index-tickers:BTC-USDT funding-rate:BTC-USDT-SWAP liquidation-orders:SWAP \
                 instruments:SWAP status:",
                "mark-price:BTC-USDT-270326 index-tickers:BTC-USDT liquidation-orders:FUTURES instruments:FUTURES \
                 status: mark-price:BTC-USDT-270625",
            ]
        );
        assert_eq!(plans[0].channels, [Channel::Instrument]);
        let refused = connections(&named(&["BTC-USDT"]), &[Channel::Mark], &SplitLimits::default());
        assert_eq!(refused, Err(PlanError::NotOffered { venue: "okx", channel: Channel::Mark }));
    }

    #[test]
    fn deep_books_stay_under_thirty_a_connection() {
        let plans = connections(&many(60, "-SWAP"), &[Channel::Book], &SplitLimits::default()).unwrap();
        assert_eq!(plans.iter().map(|p| p.instruments.len()).collect::<Vec<_>>(), [29, 29, 2]);
        let plans = connections(&many(250, ""), &[Channel::Quote], &SplitLimits::default()).unwrap();
        assert_eq!(plans.iter().map(|p| p.instruments.len()).collect::<Vec<_>>(), [200, 50]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let seven = Channel::Bar(Period { count: 7, unit: b'm' });
        let no_bar = connections(&many(1, ""), &[seven], &SplitLimits::default());
        assert!(matches!(no_bar, Err(PlanError::NoSuchBar { venue: "okx", .. })));
        let groups = connections(&many(1, ""), &[Channel::Trade, Channel::TradeRaw], &SplitLimits::default());
        assert_eq!(groups, Err(PlanError::NotOffered { venue: "okx", channel: Channel::TradeRaw }));
        let one = SplitLimits { streams_max: 1 };
        let too_many = connections(&many(1, ""), &[Channel::Book, Channel::Quote], &one);
        assert_eq!(too_many, Err(PlanError::TooManyStreams { needed: 2, allowed: 1 }));
    }
}
