//! What the tape already holds of a line's topics: read once, before the line starts, so that a restart neither repeats a
//! trade (P2) nor forgets a gap (P1).
//!
//! Trade topics are read whole within `backlog` of their newest record: ids from before that are settled (a redelivery of
//! them would be older than any venue's stream goes back). Where ids do not count, as far back as the window that removes their
//! repeats reaches (`line::window`). Of other topics the newest records are enough.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::{Body, BookAction, GapCause, GapState, Kind, Record, RowFlags, Topic, Ts, View};
use wholetape_tape::{From, Policy, ReaderOptions, Tape, TapeError};

use crate::line::overlap::Named;
use crate::line::trades::GapMark;
use crate::line::window::{KEPT, WINDOW};
use crate::line::{Resume, TopicResume};

const BATCH: usize = 4_096;
/// How far back the second trade source is read: far longer than a hole there waits for its verdict.
const RAW_BACK: Duration = Duration::from_secs(60);
/// Records read of a topic of which only the newest matter, and how many at most where they are all marks.
const LAST: u64 = 64;
const LAST_MAX: u64 = LAST << 16;
/// Read beyond the backlog: the venue's clock, by which its edge is found, and ours may differ.
const MARGIN: Duration = Duration::from_secs(600);

/// Reads what a line called `names` needs to go on.
///
/// # Errors
/// [`TapeError`] when a topic cannot be looked up.
pub fn read(tape: &Tape, topics: &[Topic], backlog: Duration) -> Result<Resume, TapeError> {
    let mut resume = Resume { backlog, ..Resume::default() };
    for topic in topics {
        if tape.head(topic).is_none_or(|head| head == 0) {
            continue;
        }
        let from = match topic.kind() {
            Kind::Trade => match newest(tape, topic)? {
                Some((ts, true)) => From::Time(ts - backlog.max(WINDOW) - MARGIN),
                Some((ts, false)) => From::Time(ts - backlog - MARGIN),
                None => From::Earliest,
            },
            // A hole that waits for its verdict may lie behind many rows that came since.
            Kind::TradeRaw => match newest(tape, topic)? {
                Some((ts, true)) => From::Time(ts - WINDOW - MARGIN),
                Some((ts, false)) => From::Time(ts - RAW_BACK),
                None => From::Earliest,
            },
            // What a line wrote down for itself: see `line::memory`.
            Kind::Quality => From::Last(256),
            // By records, not by seqs: a mark of a power loss spans 2^20 of them.
            _ => From::Last(LAST),
        };
        let (mut state, mut late) = read_from(tape, topic, from)?;
        if (1..KEPT).contains(&state.named.len()) {
            // Where trades are rare the window is as many as that, however old they are. Many marks may stand between them.
            let more = read_from(tape, topic, From::Last(2 * KEPT as u64))?;
            if more.0.named.len() > state.named.len() {
                (state, late) = more;
            }
        }
        let mut last = LAST;
        // Marks alone: a process that dies again and again before its streams are back leaves one each time. Or rows of an import.
        while (state.lost_since.is_some() || late) && last < LAST_MAX {
            last *= 16;
            (state, late) = read_from(tape, topic, From::Last(last))?;
        }
        resume.topics.insert(topic.as_str().to_owned(), state);
    }
    crate::known::add(tape, &mut resume);
    Ok(resume)
}

/// What a trade topic holds since `from` (our receive time), however far back: for an order of people.
///
/// # Errors
/// [`TapeError`] when the topic cannot be looked up.
pub fn since(tape: &Tape, topic: &Topic, from: Ts) -> Result<TopicResume, TapeError> {
    if tape.head(topic).is_none_or(|head| head == 0) {
        return Ok(TopicResume::default());
    }
    Ok(read_from(tape, topic, From::Time(from - MARGIN))?.0)
}

/// What the topic holds from there on; and whether of all rows none came when it happened.
fn read_from(tape: &Tape, topic: &Topic, from: From) -> Result<(TopicResume, bool), TapeError> {
    let mut late = false;
    let mut state = TopicResume::default();
    let mut open = BTreeMap::new();
    let mut lost_since: Option<Ts> = None;
    let mut checkpoint: Option<Ts> = None;
    let mut reader = tape.reader(topic, from, ReaderOptions { policy: Policy::CatchUp, ..ReaderOptions::default() })?;
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, BATCH) > 0 {
        for delivery in batch.drain(..) {
            let Some(record) = delivery.record() else { continue };
            match record.view() {
                // Says what the tape lost, not that the stream was back.
                Ok(Body::Gap(gap)) if gap.is_tapes_own() => {
                    // What a full disk took may have been such a mark itself: since when, nobody knows any more.
                    let since = if gap.cause == GapCause::Disk { Ts::ZERO } else { gap.from_ts };
                    lost_since = Some(lost_since.map_or(since, |before| before.min(since)));
                }
                // Our own copy of a book that may have been silent for long, or an answer of REST, which has no frame and may be older than what
                // came before it: where it stands, and nothing of when its stream was followed.
                Ok(Body::Book(book)) if book.action == BookAction::Checkpoint || record.frame() == 0 => {
                    let is_copy = book.action == BookAction::Checkpoint;
                    state.last_update_id = if is_copy { book.last_id } else { state.last_update_id.max(book.last_id) };
                    checkpoint.get_or_insert(record.ts_recv());
                }
                // Best prices of a book that REST mended.
                Ok(Body::Quote(_)) if record.frame() == 0 && !is_imported(&record) => {
                    checkpoint.get_or_insert(record.ts_recv());
                }
                Ok(body) => {
                    late |= record.flags().has(RowFlags::LATE_ARCHIVE);
                    take(&record, body, &mut state, &mut open);
                }
                Err(_) => {}
            }
        }
    }
    state.open_gaps = open.into_values().collect();
    if state.last_recv == Ts::ZERO {
        // Nothing else came for all the time that they tell of.
        state.last_recv = checkpoint.unwrap_or_default();
    }
    if state.last_recv == Ts::ZERO {
        state.lost_since = lost_since;
    }
    let late = late && state.last_recv == Ts::ZERO;
    Ok((state, late))
}

/// When the newest record came that no import brought: before it, and not before that, the stream was followed. And whether ids are
/// loose among the newest.
fn newest(tape: &Tape, topic: &Topic) -> Result<Option<(Ts, bool)>, TapeError> {
    let mut n = LAST as usize;
    loop {
        let last = tape.last_records(topic, n)?;
        if let Some(live) = last.iter().rev().map(|r| r.record()).find(|r| !is_imported(r)) {
            let is_loose = last.iter().any(|r| r.record().flags().has(RowFlags::LOOSE_ID));
            return Ok(Some((live.ts_recv(), is_loose)));
        }
        if last.len() < n || n as u64 >= LAST_MAX {
            return Ok(None);
        }
        n *= 16;
    }
}

/// A row of the archive, or a mark about one: of no connection, and as late as the import.
fn is_imported(record: &Record<'_>) -> bool {
    record.flags().has(RowFlags::LATE_ARCHIVE) || (record.is_mark() && record.conn() == 0)
}

fn take(record: &Record<'_>, body: View<'_>, state: &mut TopicResume, open: &mut BTreeMap<u64, GapMark>) {
    match body {
        Body::Gap(gap) => {
            let mark: GapMark = gap.map(str::to_owned);
            if mark.state == GapState::Open {
                open.insert(mark.gap, mark);
            } else {
                // A verdict settles its ids: they are held, or never will be.
                if mark.from_id > 0 && mark.from_id <= mark.to_id {
                    settle(state, mark.from_id, mark.to_id);
                }
                open.remove(&mark.gap);
                // The stream was back then, even if it has said nothing since.
                state.last_recv = state.last_recv.max(mark.to_ts.min(record.ts_recv()));
                if mark.from_id == 0 && mark.state == GapState::Lost {
                    state.told = state.told.max(mark.to_ts);
                }
            }
            return;
        }
        Body::Validity(_) | Body::Retract(_) => return,
        Body::Raw(raw) => state.notes.push((raw.channel.to_owned(), raw.text.to_owned())),
        Body::Trade(trade) => {
            match trade.counted(record.flags()) {
                Some(id) => hold(record, id, state, open),
                None => {
                    let (event, recv) = (record.ts_event(), record.ts_recv());
                    state.named.push(Named { id: trade.id, event, recv });
                }
            }
            if record.flags().has(RowFlags::LATE_ARCHIVE) {
                // It tells what is held, and nothing of when the stream was followed.
                return;
            }
            let event = record.ts_event();
            state.oldest = if state.oldest == Ts::ZERO { event } else { state.oldest.min(event) };
        }
        Body::Quote(quote) => {
            // Without a time of the venue's it has the one at which it came.
            let ts = if record.flags().has(RowFlags::TS_LOCAL) { Ts::ZERO } else { record.ts_event() };
            let scales = record.row().map(|row| row.scales);
            let named = quote.update_id != 0 || ts > Ts::ZERO;
            state.last_quote = scales.ok().filter(|_| named).map(|scales| (ts, scales, quote));
        }
        // A bar of the archive: the stream was not there.
        _ if record.flags().has(RowFlags::LATE_ARCHIVE) => return,
        // What came last by the stream says where the book stands, for a venue's ids may begin anew.
        Body::Book(book) => state.last_update_id = book.last_id,
        _ => {}
    }
    state.last_recv = state.last_recv.max(record.ts_recv());
    state.last_event = state.last_event.max(record.ts_event());
    // Answers of REST have no frame, and what a healed row says is when it was to come.
    if record.frame() > 0 && !record.flags().is_late() && !record.flags().has(RowFlags::TS_LOCAL) {
        state.heard = state.heard.max(record.ts_event());
    }
}

fn hold(record: &Record<'_>, id: u64, state: &mut TopicResume, open: &mut BTreeMap<u64, GapMark>) {
    // A late row above all others is of the tail that a probe found: its gap was opened at its first row and grew with the page,
    // so after a crash in between the mark alone knows too little.
    if record.flags().has(RowFlags::LATE_REST)
        && let Some(newest) = state.held.iter().map(|h| h.1).max().filter(|newest| id > *newest)
        && let Some(tail) = open.values_mut().find(|gap| gap.to_id == newest)
    {
        tail.to_id = id;
    }
    settle(state, id, id);
}

/// Trades come in order but for late ones, so the last interval nearly always grows.
fn settle(state: &mut TopicResume, lo: u64, hi: u64) {
    match state.held.last_mut() {
        Some(last) if lo == last.1.wrapping_add(1) => last.1 = hi,
        _ => state.held.push((lo, hi)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::{
        Gap, HealSource, InstrumentId, Price, Quote, Row, RowFlags, Scales, Size, Trade, TradeCondition,
    };
    use wholetape_tape::TapeConfig;

    fn trade(id: u64) -> Body<wholetape_model::Levels<'static>, &'static str> {
        Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(1),
            size: Size(1),
            aggressor: None,
            condition: TradeCondition::Regular,
        })
    }

    fn gap(gap: u64, state: GapState, lo: u64, hi: u64) -> Body<wholetape_model::Levels<'static>, &'static str> {
        Body::Gap(Gap {
            gap,
            state,
            cause: GapCause::Sequence,
            source: HealSource::None,
            from_id: lo,
            to_id: hi,
            from_ts: Ts(1),
            to_ts: Ts(2),
            missing: 0,
            why: "",
        })
    }

    #[test]
    fn held_ids_settled_ids_and_open_gaps_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
        {
            let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
            let mut lane = tape.lane("t").unwrap();
            let no = lane.topic(&topic).unwrap();
            let bodies = [
                trade(1),
                trade(2),
                gap(9, GapState::Open, 3, 4),
                trade(5),
                trade(3),
                gap(10, GapState::Open, 6, 7),
                gap(10, GapState::NeverPublished, 6, 7),
                trade(8),
            ];
            for (i, body) in bodies.into_iter().enumerate() {
                let ts = Ts(1_000 + i as i64);
                let row = Row {
                    ts_event: ts,
                    ts_recv: ts,
                    conn: 1,
                    frame: 1,
                    flags: RowFlags::default(),
                    scales: Scales::default(),
                    body,
                };
                lane.append(no, &row).unwrap();
            }
            lane.commit().unwrap();
            drop(lane);
            tape.close().unwrap();
        }
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(6_000)).unwrap();
        let state = &resume.topics[topic.as_str()];
        let ledger = crate::line::ledger::Ledger::from_runs(state.held.clone());
        assert_eq!(ledger.runs(), &[(1, 3), (5, 8)]);
        assert_eq!(state.open_gaps.iter().map(|g| g.gap).collect::<Vec<_>>(), [9]);
        assert_eq!(state.last_recv, Ts(1_007));
    }

    /// A redelivery after a restart is no new trade: ids that do not count are read back as far as the window reaches, and where
    /// trades are rare as many as it keeps, however old.
    #[test]
    fn ids_that_do_not_count_are_known_again_after_a_restart() {
        use crate::line::ledger::Ledger;
        use crate::line::trades::{Live, TradeFlow};
        use wholetape_venue::{ByTime, TradeHistory};
        let name = |n: u64| wholetape_model::TradeId::uuid(1 << 100 | u128::from(n)).unwrap();
        for step in [Duration::from_millis(500), Duration::from_secs(3_600)] {
            let dir = tempfile::tempdir().unwrap();
            let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT-LINEAR", "BYBIT"));
            let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
            let mut lane = tape.lane("t").unwrap();
            let no = lane.topic(&topic).unwrap();
            let start = Ts(1_790_000_000_000_000_000);
            let ids = if step < MARGIN { 60_000 } else { 900 };
            for n in 0..ids {
                let Body::Trade(numbered) = trade(0) else { unreachable!() };
                let body = Body::Trade(Trade { id: name(n), ..numbered });
                let (ts, flags, scales) = (start + step * n as u32, RowFlags::LOOSE_ID, Scales::default());
                lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body }).unwrap();
            }
            lane.commit().unwrap();
            let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(6_000)).unwrap();
            let state = &resume.topics[topic.as_str()];
            let history = TradeHistory::ByTimeWithOverlap(ByTime {
                page_max: 100,
                reach: None,
                overlap: Duration::ZERO,
                downwards: false,
            });
            let mut flow =
                TradeFlow::new(true, Ledger::from_runs(state.held.clone()), &state.open_gaps, state.last_recv)
                    .with_history(history, Duration::ZERO, (state.oldest, state.last_event), &state.named);
            let (now, window) = (start + step * ids as u32, WINDOW.as_millis() / step.as_millis());
            let known = ids.saturating_sub(window as u64).min(ids.saturating_sub(KEPT as u64));
            for n in (known..ids).rev() {
                assert_eq!(flow.on_live(name(n), now, now, 1), Live::Repeat, "{n} of {ids}");
            }
            // The stream was not followed while the process was down.
            let Live::AfterGap(gap) = flow.on_live(name(ids), now, now, 7) else { panic!("no gap") };
            let last = start + step * (ids as u32 - 1);
            assert_eq!((gap.cause, gap.from_id, gap.from_ts), (GapCause::Down, 0, last));
        }
    }

    /// A connection that flaps leaves more marks than rare trades: reading further back by records must not see less of them.
    #[test]
    fn marks_between_rare_trades_hide_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT-LINEAR", "BYBIT"));
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let rows: Vec<_> = (1..=3)
            .flat_map(|n| {
                let marks = (1..=1_000).map(move |m| (RowFlags::default(), gap(n * 10_000 + m, GapState::Lost, 0, 0)));
                std::iter::once((RowFlags::LOOSE_ID, trade(n))).chain(marks)
            })
            .collect();
        write(&tape, &topic, &rows);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(600)).unwrap();
        let ids: Vec<_> = resume.topics[topic.as_str()].named.iter().filter_map(|n| n.id.number()).collect();
        assert_eq!(ids, [1, 2, 3]);
    }

    fn write(tape: &Tape, topic: &Topic, rows: &[(RowFlags, Body<wholetape_model::Levels<'static>, &'static str>)]) {
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(topic).unwrap();
        for (i, (flags, body)) in rows.iter().enumerate() {
            let ts = Ts(1_000 + i as i64);
            let row = Row {
                ts_event: ts,
                ts_recv: ts,
                conn: 1,
                frame: 1,
                flags: *flags,
                scales: Scales::default(),
                body: *body,
            };
            lane.append(no, &row).unwrap();
        }
        lane.commit().unwrap();
    }

    #[test]
    fn a_mark_that_spans_a_million_seqs_hides_nothing_that_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Book, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let config = |boot: &str| TapeConfig { boot_id: Some(boot.into()), ..TapeConfig::default() };
        let book = Body::Book(wholetape_model::Book {
            action: wholetape_model::BookAction::Delta,
            first_id: 76,
            last_id: 77,
            prev_id: 0,
            bids: wholetape_model::Levels::Native(&[]),
            asks: wholetape_model::Levels::Native(&[]),
        });
        write(&Tape::open(dir.path(), config("one")).unwrap(), &topic, &[(RowFlags::default(), book)]);
        // No clean end, and another boot: the tape marks what a power loss may have cost.
        let tape = Tape::open(dir.path(), config("two")).unwrap();
        assert!(tape.head(&topic).unwrap() > 1 << 20);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let state = &resume.topics[topic.as_str()];
        assert_eq!((state.last_update_id, state.last_event), (77, Ts(1_000)));
    }

    fn book(action: BookAction, id: u64) -> Body<wholetape_model::Levels<'static>, &'static str> {
        let (bids, asks) = (wholetape_model::Levels::Native(&[]), wholetape_model::Levels::Native(&[]));
        Body::Book(wholetape_model::Book { action, first_id: id, last_id: id, prev_id: 0, bids, asks })
    }

    /// The venue's ids began anew, and then the stream stalled while segments went on: the process that died has the book of the last update.
    #[test]
    fn a_book_stands_where_its_last_update_left_it() {
        use BookAction::{Checkpoint, Delta, Snapshot};
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Book, &InstrumentId::new("BTCUSDT-LINEAR", "BYBIT"));
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let live = |action, id| (RowFlags::default(), book(action, id));
        let copy = |id| (RowFlags::CHECKPOINT.with(RowFlags::TS_LOCAL), book(Checkpoint, id));
        let told = |tape: &Tape| {
            let resume = read(tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
            let state = &resume.topics[topic.as_str()];
            (state.last_update_id, state.last_recv, state.last_event)
        };
        write(&tape, &topic, &[copy(300_016)]);
        assert_eq!(told(&tape), (300_016, Ts(1_000), Ts::ZERO), "a checkpoint alone: it was known then");
        write(&tape, &topic, &[live(Delta, 300_017), live(Snapshot, 1), live(Delta, 2), copy(2), copy(2)]);
        assert_eq!(told(&tape), (2, Ts(1_002), Ts(1_002)));
    }

    #[test]
    fn a_mark_alone_tells_until_when_the_stream_was_followed() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Book, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        write(&tape, &topic, &[(RowFlags::default(), gap(1 << 52, GapState::Lost, 0, 0))]);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let state = &resume.topics[topic.as_str()];
        assert_eq!((state.last_update_id, state.last_recv, state.lost_since), (0, Ts::ZERO, Some(Ts(1))));
        let Body::Gap(mut disk) = gap((1 << 52) + 1, GapState::Lost, 0, 0) else { unreachable!() };
        disk.cause = GapCause::Disk;
        write(&tape, &topic, &[(RowFlags::default(), Body::Gap(disk))]);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        assert_eq!(resume.topics[topic.as_str()].lost_since, Some(Ts::ZERO));
    }

    #[test]
    fn rows_are_found_behind_any_number_of_marks() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Quote, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let mut rows = vec![(RowFlags::default(), trade(1))];
        rows.extend((0..3_000).map(|i| (RowFlags::default(), gap((1 << 52) + i, GapState::Lost, 0, 0))));
        write(&tape, &topic, &rows);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let state = &resume.topics[topic.as_str()];
        assert_eq!((state.last_recv, state.lost_since), (Ts(1_000), None));
    }

    #[test]
    fn an_import_does_not_move_when_a_stream_was_followed() {
        let dir = tempfile::tempdir().unwrap();
        let trades = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let bars = Topic::parse("bar-1m.BTCUSDT.BINANCE").unwrap();
        let (live, late) = (RowFlags::default(), RowFlags::LATE_ARCHIVE);
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        // 3 000 rows of an import, hours later, behind a stream that ended with a gap without a verdict.
        let hours = Duration::from_secs(5 * 3_600);
        for topic in [&trades, &bars] {
            write(
                &tape,
                topic,
                &[(live, trade(5_001)), (live, gap(9, GapState::Open, 5_002, 5_003)), (live, trade(5_004))],
            );
            let mut lane = tape.lane("t").unwrap();
            let no = lane.topic(topic).unwrap();
            for id in 1..=3_000 {
                let (ts_event, ts_recv, scales) = (Ts(500 + id as i64), Ts(1_000) + hours, Scales::default());
                lane.append(no, &Row { ts_event, ts_recv, conn: 0, frame: 0, flags: late, scales, body: trade(id) })
                    .unwrap();
            }
            lane.commit().unwrap();
        }
        let resume = read(&tape, &[trades.clone(), bars.clone()], Duration::from_secs(60)).unwrap();
        let state = &resume.topics[trades.as_str()];
        assert_eq!((state.last_recv, state.oldest, state.open_gaps.len()), (Ts(1_002), Ts(1_000), 1));
        let ledger = crate::line::ledger::Ledger::from_runs(state.held.clone());
        assert_eq!(ledger.runs(), &[(1, 3_000), (5_001, 5_001), (5_004, 5_004)]);
        let state = &resume.topics[bars.as_str()];
        assert_eq!((state.last_recv, state.last_event), (Ts(1_002), Ts(1_002)));
    }

    #[test]
    fn a_stream_is_heard_by_its_own_rows_alone() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let (live, local) = (RowFlags::default(), RowFlags::TS_LOCAL);
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        write(&tape, &topic, &[(live, trade(1)), (RowFlags::LATE_REST, trade(2)), (local, trade(3))]);
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(&topic).unwrap();
        let mut add = |ts: i64, body| {
            let (ts, scales) = (Ts(ts), Scales::default());
            lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 0, flags: live, scales, body }).unwrap();
        };
        add(5_000, trade(4));
        let lost = |state, from_ts, to_ts| match gap(9, state, 0, 0) {
            Body::Gap(g) => Body::Gap(Gap { from_ts: Ts(from_ts), to_ts: Ts(to_ts), ..g }),
            other => other,
        };
        add(6_000, lost(GapState::Lost, 1_500, 4_500));
        add(6_001, lost(GapState::Open, 5_000, 5_500));
        lane.commit().unwrap();
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let state = &resume.topics[topic.as_str()];
        assert_eq!((state.last_recv, state.heard, state.told), (Ts(5_000), Ts(1_000), Ts(4_500)));
    }

    /// Its stream may have been silent all the while.
    #[test]
    fn best_prices_of_a_book_that_rest_mended_tell_nothing_of_their_stream() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Quote, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(&topic).unwrap();
        for (ts, frame) in [(1_000, 7), (1_100, 8), (61_000, 0), (121_000, 0)] {
            let quote = Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: 0 };
            let (ts, flags, body) = (Ts(ts), RowFlags::TS_LOCAL, Body::Quote(quote));
            let scales = Scales::default();
            lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame, flags, scales, body }).unwrap();
        }
        lane.commit().unwrap();
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let state = &resume.topics[topic.as_str()];
        assert_eq!((state.last_recv, state.last_quote), (Ts(1_100), None), "and nothing names them");

        // With an id, or a time of the venue's, they are known again.
        for (id, flags, time) in [(9, RowFlags::TS_LOCAL, Ts::ZERO), (0, RowFlags::default(), Ts(130_000))] {
            let quote = Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: id };
            let (ts, body, scales) = (Ts(130_000), Body::Quote(quote), Scales::default());
            lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 9, flags, scales, body }).unwrap();
            lane.commit().unwrap();
            let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
            assert_eq!(resume.topics[topic.as_str()].last_quote, Some((time, scales, quote)));
        }
    }

    #[test]
    fn a_tail_whose_mark_was_cut_off_from_its_page_is_known_as_far_as_its_rows_go() {
        let dir = tempfile::tempdir().unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let (live, late) = (RowFlags::default(), RowFlags::LATE_REST);
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let rows = [(live, trade(10)), (live, gap(1, GapState::Open, 11, 11)), (late, trade(11)), (late, trade(13))];
        write(&tape, &topic, &rows);
        let resume = read(&tape, std::slice::from_ref(&topic), Duration::from_secs(60)).unwrap();
        let open = &resume.topics[topic.as_str()].open_gaps;
        assert_eq!(
            open.iter().map(|g| (g.from_id, g.to_id)).collect::<Vec<_>>(),
            [(11, 13)],
            "12 is still to be asked for"
        );
    }
}
