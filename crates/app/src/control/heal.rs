//! One order of `heal backfill`, carried out: the same whether it came through the socket or runs alone under the lock.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wholetape_feed::line::Order;
use wholetape_feed::resume;
use wholetape_feed::worker::{Asker, Command};
use wholetape_model::{InstrumentId, Kind, Topic, Ts};
use wholetape_tape::Tape;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A line answers within this, or is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// A line that restarts is asked again so many times.
const MISSES_MAX: u32 = 20;

/// As the line tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Figures {
    job: u64,
    first_id: Option<u64>,
    last_id: Option<u64>,
    ids: u64,
    missing: u64,
    rows: u64,
    pages: u64,
    never_published: u64,
    lost: u64,
    failed: Option<String>,
    cancelled: bool,
    done: bool,
}

/// What to make whole.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub instrument: String,
    pub from: Ts,
    pub to: Ts,
}

/// Makes a stretch whole. `tell` gets a line of progress now and then. When nobody listens there any more, and when `stop` is
/// cancelled, so is the order: what is open stays open on the tape, and a later order goes on.
///
/// # Errors
/// What cannot be done, for people.
pub async fn run(
    tape: Tape,
    asker: Asker,
    stretch: Stretch,
    tell: mpsc::Sender<Value>,
    stop: CancellationToken,
) -> Result<Value, String> {
    let Stretch { instrument, from, to } = stretch;
    if from >= to {
        return Err("`from` must be before `to`".into());
    }
    let id = InstrumentId::parse(&instrument).map_err(|e| e.to_string())?;
    let line = asker.line_of(&instrument).ok_or_else(|| format!("no line records {instrument}"))?.to_owned();
    let topic = Topic::new(Kind::Trade, &id);
    let held = tokio::task::spawn_blocking(move || resume::since(&tape, &topic, from)).await;
    let held = held.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let job = u64::try_from(wholetape_feed::clock::wall().0).unwrap_or(1);
    let order = Order {
        job,
        instrument: instrument.clone(),
        from,
        to,
        held: held.held,
        newest: held.last_event,
        open: held.open_gaps,
    };
    let ask = Ask { asker, line, correlation: format!("heal-{job}") };
    ask.put(Command::Backfill(Box::new(order))).await?;
    let begun = Instant::now();
    let (mut misses, mut last) = (0, None);
    loop {
        let mut figures = match ask.put(Command::BackfillProgress(instrument.clone(), job)).await {
            Ok(text) => serde_json::from_str::<Figures>(&text).map_err(|e| e.to_string())?,
            Err(why) => {
                misses += 1;
                if misses >= MISSES_MAX {
                    return Err(why);
                }
                tokio::select! {
                    () = stop.cancelled() => return Err(why),
                    () = tokio::time::sleep(LOOK_EVERY) => continue,
                }
            }
        };
        misses = 0;
        let seconds = begun.elapsed().as_secs_f64();
        if figures.done {
            return Ok(done(&instrument, &figures, seconds));
        }
        let told = progress(&figures, seconds);
        if last.as_ref() != Some(&figures) {
            last = Some(figures.clone());
            if tell.send(told).await.is_err() {
                figures.cancelled = true;
            }
        }
        if !figures.cancelled {
            tokio::select! {
                () = stop.cancelled() => figures.cancelled = true,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        if figures.cancelled {
            ask.put(Command::BackfillCancel(instrument.clone(), job)).await?;
            return Ok(done(&instrument, &figures, seconds));
        }
    }
}

/// One line, asked again and again.
struct Ask {
    asker: Asker,
    line: String,
    correlation: String,
}

impl Ask {
    async fn put(&self, command: Command) -> Result<String, String> {
        let answer = self.asker.ask(&self.line, &self.correlation, command, PATIENCE).await;
        answer.map_err(|e| e.to_string())?.result
    }
}

fn progress(f: &Figures, seconds: f64) -> Value {
    let filled = f.ids.saturating_sub(f.missing);
    let rate = filled as f64 / seconds.max(0.001);
    let eta = (f.first_id.is_some() && filled > 0).then(|| (f.missing as f64 / rate).ceil());
    json!({
        "event": "progress",
        "stage": if f.first_id.is_some() { "filling" } else { "searching" },
        "ids": f.ids,
        "filled": filled,
        "missing": f.missing,
        "pages": f.pages,
        "rows": f.rows,
        "ids_per_s": rate.round(),
        "eta_s": eta,
    })
}

fn done(instrument: &str, f: &Figures, seconds: f64) -> Value {
    json!({
        "event": "done",
        "complete": f.done && f.missing == 0 && f.lost == 0 && f.failed.is_none() && !f.cancelled,
        "instrument": instrument,
        "first_id": f.first_id.filter(|id| *id > 0),
        "last_id": f.last_id.filter(|id| *id > 0),
        "ids": f.ids,
        "missing": f.missing,
        "rows": f.rows,
        "pages": f.pages,
        "never_published": f.never_published,
        "lost": f.lost,
        "cancelled": f.cancelled,
        "failed": f.failed,
        "seconds": (seconds * 1e3).round() / 1e3,
    })
}
