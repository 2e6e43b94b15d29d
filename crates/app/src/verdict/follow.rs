//! `wholetape verdict --follow`: a client of the public protocol judged against a truth that is still being written.
//!
//! Made for runs of hours: neither the truth nor what was received is kept once both have met. Ends when the venues have
//! finished (their `rest.json` is there) and nothing waits any more, or when it is told to.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wholetape_feed::config::FeedConfig;
use wholetape_model::Kind;
use wholetape_sim::truth::{REST_FILE, TruthTail};

use super::matching::{Matcher, Sums};
use super::seen::topic_name;
use super::{figures, wanted};
use crate::cli;
use crate::demo::client::{self, Received};
use crate::signals;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Topics of one connection: well within what a gateway allows, and soon subscribed.
const TOPICS_MAX: usize = 60;
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Lines of truth taken in at a time.
const LINES: usize = 100_000;
/// After the venues have finished, the reader gets this long for what is still on its way.
const LAST_WITHIN: Duration = Duration::from_secs(60);
/// The truth must begin within this long.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);

pub fn run(args: &cli::Verdict, feed: &FeedConfig, url: &str) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(args, feed, url))
}

async fn follow(args: &cli::Verdict, feed: &FeedConfig, url: &str) -> anyhow::Result<ExitCode> {
    let mut stop = signals::Stop::new()?;
    let mut tails = BTreeMap::new();
    let mut matchers = begin(args, feed, &mut tails).await?;
    if let Some(one) = matchers.iter().map(Matcher::wanted).find(|one| one.by_connection) {
        // Without a number of the venue's an update is known by its place among all.
        anyhow::bail!("{}: books without numbers cannot be followed; use `verdict` without --follow", one.id);
    }
    let topics = matchers.iter().flat_map(|m| {
        let one = m.wanted();
        let streamed = one.interest_streamed;
        let kinds = one.kinds.iter().filter(move |kind| streamed || **kind != Kind::OpenInterest);
        kinds.map(|kind| topic_name(*kind, &one.id))
    });
    let topics: Vec<String> = topics.collect();
    let received = Received::default();
    let listening = CancellationToken::new();
    let mut clients = tokio::task::JoinSet::new();
    for topics in topics.chunks(TOPICS_MAX) {
        let plan = client::Plan { url: url.to_owned(), topics: topics.to_vec(), spoil: false };
        clients.spawn(client::listen(plan, received.clone(), listening.clone()));
    }
    let (mut sums, started, mut said) = (Sums::default(), Instant::now(), Instant::now());
    let mut finished: Option<Instant> = None;
    loop {
        let asked = tokio::select! {
            () = stop.asked() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let over = args.truth.join(REST_FILE).exists();
        look(&mut matchers, &mut tails, &received, &mut sums)?;
        let now = figures::wall_ns();
        matchers.iter_mut().for_each(|m| m.expire(now, false, &mut sums));
        tally(&matchers, &received, &mut sums);
        if over && finished.is_none() {
            finished = Some(Instant::now());
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say("followed", &sums, started);
        }
        let whole = sums.waiting + sums.gaps_open == 0;
        if asked || finished.is_some_and(|at| whole && at.elapsed() > LOOK_EVERY * 4 || at.elapsed() > LAST_WITHIN) {
            break;
        }
    }
    listening.cancel();
    clients.abort_all();
    look(&mut matchers, &mut tails, &received, &mut sums)?;
    let now = figures::wall_ns();
    matchers.iter_mut().for_each(|m| m.expire(now, true, &mut sums));
    tally(&matchers, &received, &mut sums);
    sums.examples.extend(received.complaints());
    say("verdict", &sums, started);
    Ok(ExitCode::from(u8::from(!sums.whole())))
}

/// Waits for the truth to begin, and makes a matcher for each instrument that is recorded.
async fn begin(
    args: &cli::Verdict,
    feed: &FeedConfig,
    tails: &mut BTreeMap<String, TruthTail>,
) -> anyhow::Result<Vec<Matcher>> {
    let started = Instant::now();
    loop {
        let mut symbols = Vec::new();
        for line in &feed.line {
            let name = [&line.name, &line.venue]
                .into_iter()
                .find(|name| !name.is_empty() && args.truth.join(format!("truth-{name}.jsonl")).exists());
            if let Some(name) = name {
                // Instruments and their first books are in the first batch, which the tail that stays reads again.
                let told = TruthTail::new(&args.truth, name, false).poll(10_000)?;
                symbols.push((name.clone(), told.instruments.keys().cloned().collect::<Vec<_>>()));
                tails.insert(name.clone(), TruthTail::new(&args.truth, name, args.consume));
            }
        }
        match wanted::of_config(feed, &symbols) {
            Ok(all) => return Ok(all.into_iter().map(Matcher::new).collect()),
            Err(error) if started.elapsed() > BEGIN_WITHIN => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Takes in what came on both sides; the rows first, so that their truth is there.
fn look(
    matchers: &mut [Matcher],
    tails: &mut BTreeMap<String, TruthTail>,
    received: &Received,
    sums: &mut Sums,
) -> anyhow::Result<()> {
    let mut seen = received.drain();
    let now = figures::wall_ns();
    for (venue, tail) in tails {
        loop {
            let told = tail.poll(LINES)?;
            let mut lines = 0;
            for matcher in matchers.iter_mut().filter(|m| m.wanted().venue == *venue) {
                if let Some(one) = told.instruments.get(&matcher.wanted().symbol) {
                    lines += one.depth.len() + one.quotes.len() + one.trades.len() + one.agg_trades.len();
                    matcher.published(one, sums);
                }
            }
            if lines == 0 {
                break;
            }
        }
    }
    for matcher in matchers {
        for kind in matcher.wanted().kinds.clone() {
            if let Some(topic) = seen.topics.remove(&topic_name(kind, &matcher.wanted().id)) {
                matcher.received(kind, topic, now, sums);
            }
        }
    }
    Ok(())
}

fn tally(matchers: &[Matcher], received: &Received, sums: &mut Sums) {
    sums.waiting = matchers.iter().map(Matcher::waiting).sum();
    (sums.gaps_open, sums.seq_faults) = received.faults();
}

fn say(event: &str, sums: &Sums, started: Instant) {
    let mut line = serde_json::to_value(sums).unwrap_or_default();
    line["event"] = json!(event);
    line["seconds"] = json!(started.elapsed().as_secs());
    line["complete"] = json!(sums.whole());
    say!("{line}");
}
