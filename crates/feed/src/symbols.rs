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
    let failed = |why: String| FeedError::Symbols { venue: venue.into(), why };
    let known = wholetape_venue::venue(venue)?;
    let session = wholetape_venue::open(&SessionPlan::capture(venue))?;
    let tries = endpoints.len().max(1);
    let mut plan = HostPlan::new(venue, endpoints, known.limits().rest);
    // exchangeInfo of spot is several megabytes.
    plan.timeout = Duration::from_secs(20);
    let stop = CancellationToken::new();
    let (host, task) = rest::host(plan, crate::tls::config(&[])?, &Hub::new(), stop.clone());
    let _stop = stop.drop_guard();
    let running = tokio::spawn(task.run());
    let all = async {
        let mut symbols = Vec::new();
        for arg in known.listings() {
            let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg: *arg };
            let mut next = Some((*arg, session.request(id).ok_or("it offers no list")?));
            while let Some((arg, request)) = next {
                let page = list(known, &host, arg, &request, tries).await?;
                symbols.extend(page.symbols);
                next = page.next;
            }
        }
        Ok::<_, String>(symbols)
    };
    let listed = all.await;
    running.abort();
    listed.map_err(failed)
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
