//! Requests to the store's thread: store now what the tape holds of a topic, so that history as of its head can be read.
//!
//! Whoever asks waits for the answer, and not for long. A topic that was stored by request a moment ago is not stored again: each
//! time makes a file, and late rows may rewrite a day. So it rests for [`REST`], or twenty times as long as storing it took. Where the
//! store does not run, or just failed, the answer is no, at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wholetape_model::Topic;
use wholetape_store::history::AskWriter;

/// So long a topic is not stored by request again.
const REST: Duration = Duration::from_secs(5);
/// … or so many times as long as it took.
const REST_TIMES: u32 = 20;
/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// With more requests waiting the answer is no.
const WAITING_MAX: usize = 1_024;

struct Ask {
    topic: Topic,
    answer: mpsc::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Ask>,
    /// The store's thread, as long as it takes requests.
    thread: Option<Thread>,
    /// Topics that were stored by request, and when each may be again.
    rest: HashMap<Topic, Instant>,
}

/// The requests of one store.
#[derive(Clone, Default)]
pub(super) struct Asks {
    queue: Arc<Mutex<Queue>>,
    pub stored: Arc<AtomicU64>,
}

impl Asks {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this thread answers, until what is returned goes.
    pub fn open(&self) -> Open {
        self.queue().thread = Some(std::thread::current());
        Open(self.clone())
    }

    /// Answers what waits. `store` stores a topic.
    ///
    /// # Errors
    /// Those of `store`.
    pub fn serve<E>(&self, mut store: impl FnMut(&Topic) -> Result<(), E>) -> Result<(), E> {
        let waiting = std::mem::take(&mut self.queue().waiting);
        for ask in waiting {
            let began = Instant::now();
            let rests = {
                let mut queue = self.queue();
                queue.rest.retain(|_, until| *until > began);
                queue.rest.contains_key(&ask.topic)
            };
            if !rests {
                store(&ask.topic)?;
                self.stored.fetch_add(1, Ordering::Relaxed);
                let rest = REST.max(began.elapsed() * REST_TIMES);
                self.queue().rest.insert(ask.topic, Instant::now() + rest);
            }
            // Whoever asked may have gone.
            let _ = ask.answer.send(!rests);
        }
        Ok(())
    }
}

/// Somebody answers. Afterwards nobody does, and whoever waits is told.
pub(super) struct Open(Asks);

impl Drop for Open {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.thread = None;
        queue.waiting.clear();
    }
}

impl AskWriter for Asks {
    fn store(&self, topic: &Topic) -> bool {
        let (answer, come) = mpsc::channel();
        {
            let mut queue = self.queue();
            let Some(thread) = queue.thread.clone().filter(|_| queue.waiting.len() < WAITING_MAX) else { return false };
            if queue.rest.get(topic).is_some_and(|until| *until > Instant::now()) {
                return false;
            }
            queue.waiting.push(Ask { topic: topic.clone(), answer });
            thread.unpark();
        }
        come.recv_timeout(PATIENCE).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wholetape_model::{Body, Decimal, Row, RowFlags, Scales, Ts};
    use wholetape_store::catalog::CatalogConfig;
    use wholetape_store::retain::Rules;
    use wholetape_store::writer::Pace;
    use wholetape_tape::history::{Past, PastBatch};
    use wholetape_tape::{Lane, Tape, TapeConfig};

    use super::super::keeper::{Keeper, StorePlan};
    use super::*;

    fn topic() -> Topic {
        Topic::parse("mark.BTCUSDT-PERP.BINANCE").unwrap()
    }

    fn write(lane: &mut Lane, rows: std::ops::RangeInclusive<i64>) {
        let no = lane.topic(&topic()).unwrap();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = Ts(i64::try_from(since.as_nanos()).unwrap());
        for raw in rows {
            let body = Body::MarkPrice(Decimal { raw, scale: 2 });
            let (flags, scales) = (RowFlags::default(), Scales::default());
            let row = Row { ts_event: now, ts_recv: now, conn: 0, frame: 0, flags, scales, body };
            lane.append(no, &row).unwrap();
        }
        lane.commit().unwrap();
    }

    #[test]
    fn a_topic_is_stored_when_history_is_read_and_not_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
        let mut lane = tape.lane("t").unwrap();
        write(&mut lane, 1..=10);
        let (data, catalog, pace) = (dir.path().to_owned(), CatalogConfig::default(), Pace::default());
        let keeper =
            Keeper::start(&tape, StorePlan { data, catalog, pace, signer: None, retention: Rules::default() }).unwrap();
        let history = keeper.history();
        let seqs = |asof: Option<u64>| -> (u64, Vec<u64>) {
            let (upto, mut reader) = history.by_time(&topic(), Ts::ZERO, asof).unwrap();
            let (mut batch, mut seqs) = (PastBatch::default(), Vec::new());
            while reader.read(&mut batch).unwrap() {
                for i in 0..batch.len() {
                    let Past::Record { record, .. } = batch.get(i).unwrap() else { panic!("nothing is missing") };
                    seqs.push(record.seq());
                }
            }
            (upto, seqs)
        };
        // It takes requests from its first look on.
        let until = Instant::now() + Duration::from_secs(20);
        while seqs(None).0 == 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(seqs(None), (10, (1..=10).collect()), "an hour before it is due");
        write(&mut lane, 11..=12);
        assert_eq!(seqs(None), (10, (1..=10).collect()), "it was stored a moment ago: no second file");
        assert!(keeper.metrics().contains("store_requests_total 1\n"), "{}", keeper.metrics());
        drop(lane);
        keeper.stop();
        // Nobody answers, and what was stored at the end is told.
        let began = Instant::now();
        assert_eq!(seqs(None), (12, (1..=12).collect()));
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(seqs(Some(10)), (10, (1..=10).collect()), "as of a position it stays what it was");
    }
}
