//! The venue's own list of symbols, asked once before planning, for instruments chosen by pattern.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wholetape_model::NO_INSTRUMENT;
use wholetape_venue::{FetchId, FetchKind, Listed, Request, SessionPlan, Venue};

use crate::endpoint::Endpoint;
use crate::error::FeedError;
use crate::line::Priority;
use crate::metrics::Hub;
use crate::rest::{self, Fetched, HostPlan};

/// Every symbol that the venue lists, in its own spelling and order. Delisted ones that it still lists are among them.
///
/// # Errors
/// [`FeedError::Plan`] for an unknown venue, [`FeedError::Symbols`] when no address answers.
pub async fn fetch(venue: &str, endpoints: Vec<Endpoint>) -> Result<Vec<String>, FeedError> {
    let known = wholetape_venue::venue(venue)?;
    let tries = endpoints.len().max(1);
    let mut plan = HostPlan::new(venue, endpoints, known.limits().rest);
    // exchangeInfo of spot is several megabytes.
    plan.timeout = Duration::from_secs(20);
    let stop = CancellationToken::new();
    let (host, task) = rest::host(plan, crate::tls::config(&[])?, &Hub::new(), stop.clone());
    let _stop = stop.drop_guard();
    let running = tokio::spawn(task.run());
    let listed = through(known, &host, tries).await;
    running.abort();
    listed
}

/// As [`fetch`], through a host that runs already and within its budget.
///
/// # Errors
/// [`FeedError::Plan`], [`FeedError::Symbols`].
pub async fn through(known: &dyn Venue, host: &rest::HostHandle, tries: usize) -> Result<Vec<String>, FeedError> {
    let failed = |why: String| FeedError::Symbols { venue: known.name().into(), why };
    let session = wholetape_venue::open(&SessionPlan::capture(known.name()))?;
    let first = |arg: &u64| {
        let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg: *arg };
        Some((*arg, session.request(id)?))
    };
    let firsts: Option<Vec<_>> = known.listings().iter().map(first).collect();
    let mut symbols = Vec::new();
    for first in firsts.ok_or_else(|| failed("it offers no list".into()))? {
        let mut next = Some(first);
        while let Some((arg, request)) = next {
            let page = list(known, host, arg, &request, tries).await.map_err(failed)?;
            symbols.extend(page.symbols);
            next = page.next;
        }
    }
    Ok(symbols)
}

/// The symbols of one answer, asked for at most `tries` times.
async fn list(
    known: &dyn Venue,
    host: &rest::HostHandle,
    arg: u64,
    request: &Request,
    tries: usize,
) -> Result<Listed, String> {
    let mut last = String::new();
    for _ in 0..tries {
        match host.fetch(FetchKind::Instruments, request.clone(), Priority::Poll).await {
            Fetched::Answer { status, .. } if status != 200 => last = format!("status {status}"),
            Fetched::Answer { body, .. } => match known.listed_page(arg, &body) {
                Ok(listed) => return Ok(listed),
                Err(error) => last = error.to_string(),
            },
            Fetched::Failed(failure) => last = format!("{failure:?}"),
        }
    }
    Err(last)
}
