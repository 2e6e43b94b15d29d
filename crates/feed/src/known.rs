//! What the coverage ledger knows of a line's trades from before the line's own look back, and before the tape's retention.
//!
//! The ids that a restart reads again reach back as far as `backlog`; older ones were held, settled or are being asked for, and only
//! the ledger still knows. Without it, ids that retention took would be asked for once more, and an open gap from before would
//! never get its verdict (P1).

use wholetape_model::{GapState, Kind, Topic};
use wholetape_tape::Tape;
use wholetape_tape::coverage::{Coverage, TopicLedger};

use crate::line::{Resume, TopicResume};

/// Adds the ledger's ids and open gaps to what was read from the tape. Where there is no ledger yet, or one that cannot be believed
/// (its keeper says so), nothing is added.
pub fn add(tape: &Tape, resume: &mut Resume) {
    let coverage = Coverage::open(tape).coverage;
    for (name, state) in &mut resume.topics {
        let Ok(topic) = Topic::parse(name) else { continue };
        if let Some(ledger) = coverage.topic(&topic).filter(|_| topic.kind() == Kind::Trade) {
            extend(ledger, state);
        }
    }
}

fn extend(ledger: &TopicLedger, state: &mut TopicResume) {
    let read = crate::line::ledger::Ledger::from_runs(state.held.clone());
    let open = || ledger.gaps.iter().filter(|g| g.state == GapState::Open && g.from_id > 0 && g.from_id <= g.to_id);
    for run in ledger.runs.list() {
        if run.missing == 0 {
            state.held.push((run.lo, run.hi));
            continue;
        }
        // Of joined runs only the number of missing ids is known: all but those that still await a verdict are settled.
        let mut lo = run.lo;
        let mut gaps: Vec<(u64, u64)> = open().map(|g| (g.from_id, g.to_id)).collect();
        gaps.sort_unstable();
        for (a, b) in gaps.into_iter().filter(|g| g.0 <= run.hi && g.1 >= run.lo) {
            if a > lo {
                state.held.push((lo, a - 1));
            }
            lo = lo.max(b.saturating_add(1));
        }
        if lo <= run.hi {
            state.held.push((lo, run.hi));
        }
    }
    for g in open() {
        // One whose verdict came after the checkpoint was read as settled.
        let settled = read.missing_count(g.from_id, g.to_id) == 0;
        if settled || state.open_gaps.iter().any(|o| o.gap == g.gap) {
            continue;
        }
        state.open_gaps.push(g.mark.clone());
    }
    state.open_gaps.sort_by_key(|g| g.gap);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use wholetape_model::{
        Body, Gap, GapCause, HealSource, InstrumentId, Price, Row, RowFlags, Scales, Size, Trade, TradeCondition, Ts,
        View,
    };
    use wholetape_tape::{Retention, TapeConfig, TapeTime};

    fn trade(id: u64) -> View<'static> {
        let (price, size, condition) = (Price(1), Size(1), TradeCondition::Regular);
        Body::Trade(Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor: None, condition })
    }

    fn gap(gap: u64, state: GapState, lo: u64, hi: u64) -> View<'static> {
        let (cause, source) = (GapCause::Sequence, HealSource::None);
        let (from_ts, to_ts, missing, why) = (Ts(1), Ts(2), hi - lo + 1, "");
        Body::Gap(Gap { gap, state, cause, source, from_id: lo, to_id: hi, from_ts, to_ts, missing, why })
    }

    struct Still;

    impl TapeTime for Still {
        fn wall(&self) -> i64 {
            1_000_000_000
        }

        fn mono(&self) -> u64 {
            1
        }
    }

    /// Ids and open gaps that retention took from the tape are still known after a restart.
    #[test]
    fn what_retention_took_is_not_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let retention = Retention { bytes_max: Some(8_192), ..Retention::default() };
        // Driven: retention takes nothing before the ledger has seen it.
        let driven: Option<Arc<dyn TapeTime>> = Some(Arc::new(Still));
        let config = TapeConfig { segment_bytes: 4_096, memory_bytes: 1, retention, driven, ..TapeConfig::default() };
        let tape = Tape::open(dir.path(), config.clone()).unwrap();
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(&topic).unwrap();
        let mut ts = 1_000;
        let mut put = |lane: &mut wholetape_tape::Lane, body| {
            ts += 1_000_000_000;
            let (ts_event, ts_recv, flags, scales) = (Ts(ts), Ts(ts), RowFlags::default(), Scales::default());
            lane.append(no, &Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales, body }).unwrap();
            lane.commit().unwrap();
        };
        put(&mut lane, trade(1));
        put(&mut lane, gap(7, GapState::Open, 2, 3));
        put(&mut lane, gap(8, GapState::Open, 5, 5));
        put(&mut lane, trade(4));
        for id in 6..200 {
            put(&mut lane, trade(id));
        }
        let cell = Mutex::new(Coverage::open(&tape).coverage);
        Coverage::catch_up(&cell, &tape, &|| false).unwrap();
        let mut coverage = cell.into_inner().unwrap();
        tape.sync_now().unwrap();
        assert!(coverage.wait_synced(&tape).unwrap());
        coverage.write(&tape).unwrap();
        // Both come after the checkpoint: one gap gets its verdict, and the stream goes on.
        put(&mut lane, gap(8, GapState::Lost, 5, 5));
        put(&mut lane, trade(200));
        tape.check_space();
        let oldest = tape.topics().into_iter().find(|t| t.topic == topic).unwrap().oldest;
        assert!(oldest > 20, "retention took the beginning: {oldest}");
        let resume = crate::resume::read(&tape, std::slice::from_ref(&topic), std::time::Duration::from_secs(6_000));
        let state = &resume.unwrap().topics[topic.as_str()];
        let ledger = crate::line::ledger::Ledger::from_runs(state.held.clone());
        assert_eq!(ledger.missing(1, 200), [(2, 3)]);
        assert_eq!(state.open_gaps.iter().map(|g| g.gap).collect::<Vec<_>>(), [7]);
    }
}
