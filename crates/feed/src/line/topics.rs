//! The line's topics: which there are, when each last spoke, and what is confessed about those that no id protects.
//!
//! Trades have their ledger and books their sequence. For everything else (quotes, bars, funding …) the only proof of
//! completeness is an unbroken connection, so a broken one is confessed per topic: a gap from the last thing received to
//! the moment when the stream is subscribed again, verdict `lost` (state kinds are never healed late).

use std::time::Duration;

use wholetape_model::{Event, GapCause, InstrumentIx, Kind, Pending, Quote, Scales, Topic, Ts};

use super::cadence::Cadence;
use super::merge::Merge;
use super::out::{ConnIx, LineTopic};
use super::silence::{SUSPECT_MIN, Watch};
use super::sockets::Owed;

/// A venue time further behind our receive time than this is another clock, and no delay.
pub const LAG_MAX: Duration = Duration::from_secs(60);
/// Silence shorter than this is never remarked on.
pub const SILENT_MIN: Duration = Duration::from_secs(5);
/// What the instrument's other streams must have said meanwhile, before a silence counts as one.
const EVIDENCE: u64 = 20;

/// A stretch that no id protects, from its start to the moment when the stream is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The gap's number; 0 while no mark has named it yet (a loss from before a restart).
    pub gap: u64,
    pub since: Ts,
    pub cause: GapCause,
}

/// The last event of a frame that may hold several which are alike.
#[derive(Debug)]
struct Twin {
    frame: (ConnIx, u32),
    ts_event: Ts,
    body: Pending,
    /// So many like it were before it in its frame.
    nth: u32,
    repeat: bool,
}

#[derive(Debug)]
pub struct TopicState {
    pub topic: Topic,
    pub instrument: InstrumentIx,
    pub kind: Kind,
    /// A stream was planned for it, not only polls.
    pub streamed: bool,
    /// Trades whose ids do not count.
    pub loose: bool,
    /// It speaks when something changed and at no other time: its silence says nothing.
    pub by_change: bool,
    /// The venue's own word for how long it may say nothing.
    pub pause: Duration,
    /// The connection that brought it last; its siblings may carry it as well.
    pub conn: Option<ConnIx>,
    /// Frames received, repeats included.
    pub received: u64,
    pub rows: u64,
    pub repeats: u64,
    /// Of the last row (or, after a restart, of the last one on the tape).
    pub last_recv: Ts,
    pub last_event: Ts,
    /// Subscribed and acknowledged since then.
    pub open_since: Ts,
    /// A loss that goes on.
    pub losing: Option<Loss>,
    /// Typical time between rows, ns: jumps up at once, decays slowly.
    cadence: i64,
    /// The instrument's activity when this topic last spoke.
    activity: u64,
    next_alarm: Ts,
    alarms: u32,
    last_body: Option<(Ts, Pending)>,
    /// Of the last row.
    pub(super) last_scales: Scales,
    twin: Option<Twin>,
    /// Its silence was named; the loss reaches back to when it last spoke.
    silent: bool,
    /// What each hour taught of it.
    pub pace: Cadence,
    pub watch: Watch,
    /// Where several sockets bring it.
    pub(super) merge: Merge,
    pub(super) owed: Owed,
}

impl TopicState {
    pub fn new(topic: Topic, instrument: InstrumentIx, kind: Kind) -> Self {
        Self {
            topic,
            instrument,
            kind,
            streamed: false,
            loose: false,
            by_change: false,
            pause: Duration::ZERO,
            conn: None,
            received: 0,
            rows: 0,
            repeats: 0,
            last_recv: Ts::ZERO,
            last_event: Ts::ZERO,
            open_since: Ts::ZERO,
            losing: None,
            cadence: 0,
            activity: 0,
            next_alarm: Ts::ZERO,
            alarms: 0,
            last_body: None,
            last_scales: Scales::default(),
            twin: None,
            silent: false,
            pace: Cadence::default(),
            watch: Watch::default(),
            merge: Merge::default(),
            owed: Owed::default(),
        }
    }

    /// The stream spoke. `activity` is the instrument's count of trades, quotes and book updates.
    #[inline]
    pub fn spoke(&mut self, now: Ts, ts_event: Ts, activity: u64) {
        if self.open_since > Ts::ZERO && self.last_recv >= self.open_since {
            let gap = now.0 - self.last_recv.0;
            self.cadence = gap.max(self.cadence - self.cadence / 16);
            self.pace.spoke(now, gap);
        }
        self.last_recv = now;
        self.last_event = ts_event;
        self.activity = activity;
        self.alarms = 0;
        self.silent = false;
    }

    pub fn mark_silent(&mut self) {
        self.silent = true;
    }

    /// Up to when this stream is believed whole, given that its connection was heard until `heard`.
    ///
    /// Within the time after which a silence would be remarked on, the stream may have fallen silent unnoticed: then only
    /// its own last row counts, and before the first row only its subscription. A longer quiet had its chance to be noticed, but no
    /// quiet that a stalled connection made: `late` is how far what was heard was behind.
    pub fn whole_until(&self, heard: Ts, late: Duration) -> Ts {
        let last = self.last_recv.max(self.open_since);
        let own = if self.last_event > Ts::ZERO && self.last_recv >= self.open_since {
            last.min(self.last_event)
        } else {
            last
        };
        if self.silent
            || self.last_recv < self.open_since
            || heard.since(last) < self.patience().max(self.patience_at(heard)) + late
        {
            // A row without a venue time may have waited in a stalled connection for as long as its siblings with one have;
            // what the venue created meanwhile was behind it. But `heard` may be a reading of a venue clock that is far behind
            // (a recording served again), and says nothing then.
            let spoke = self.last_recv >= self.open_since;
            if spoke && heard < own && own.since(heard) < LAG_MAX { heard } else { own }
        } else {
            heard
        }
    }

    /// How long this stream may be quiet before it is remarked on.
    fn patience(&self) -> Duration {
        let usual = Duration::from_nanos(u64::try_from(self.cadence).unwrap_or(0)) * 4;
        let slow = if matches!(self.kind, Kind::Bar(_)) { SILENT_MIN * 2 } else { SILENT_MIN };
        slow.max(usual.min(Duration::from_secs(300))).max(self.pause * 2)
    }

    /// What silence is nothing special at this hour; as [`TopicState::patience`] where the hour is not learned yet.
    pub fn patience_at(&self, now: Ts) -> Duration {
        let Some(expected) = self.pace.expected(now) else { return self.patience() };
        let least = if matches!(self.kind, Kind::Bar(_)) { SILENT_MIN * 2 } else { SUSPECT_MIN };
        (expected.p99 * 4).clamp(least, Duration::from_secs(300)).max(self.pause * 2)
    }

    /// After what silence REST is asked whether there is anything newer.
    pub fn suspicion(&self, now: Ts) -> Duration {
        let longest = Duration::from_nanos(u64::try_from(self.cadence).unwrap_or(0));
        let usual = self.pace.expected(now).map_or(longest, |e| e.p99);
        usual.clamp(SUSPECT_MIN, Duration::from_secs(60))
    }

    /// How many events like this one came before it in its frame, without another between. One order's fills may be equal in everything
    /// (dYdX: a liquidation's, all of their block's time), and no id tells them apart.
    pub fn twins(&mut self, frame: (ConnIx, u32), ts_event: Ts, body: &Pending) -> u32 {
        if !matches!(body, Pending::Liquidation(_)) {
            return 0;
        }
        match &mut self.twin {
            Some(twin) if (twin.frame, twin.ts_event, &twin.body) == (frame, ts_event, body) => twin.nth += 1,
            twin => *twin = Some(Twin { frame, ts_event, body: *body, nth: 0, repeat: false }),
        }
        self.twin.as_ref().map_or(0, |twin| twin.nth)
    }

    /// As [`TopicState::is_repeat`], of an event with `twins` before it: it is what the first of them is.
    pub fn is_again(&mut self, ts_event: Ts, body: &Pending, twins: u32) -> bool {
        if twins == 0 {
            let repeat = self.is_repeat(ts_event, body);
            if let Some(twin) = &mut self.twin {
                twin.repeat = repeat;
            }
            return repeat;
        }
        let repeat = self.twin.as_ref().is_some_and(|twin| twin.repeat);
        self.repeats += u64::from(repeat);
        repeat
    }

    /// The same event once more: same venue time and same content.
    ///
    /// Kinds without a venue time are compared by content alone only if that holds an id (a `Quote` may have one).
    pub fn is_repeat(&mut self, ts_event: Ts, body: &Pending) -> bool {
        let comparable = match body {
            Pending::Quote(q) => q.update_id != 0 || ts_event.0 > 0,
            Pending::Instrument(_) | Pending::Status(_) | Pending::Raw(_) => false,
            _ => ts_event.0 > 0,
        };
        if !comparable {
            return false;
        }
        if self.last_body.as_ref() == Some(&(ts_event, *body)) {
            self.repeats += 1;
            return true;
        }
        self.last_body = Some((ts_event, *body));
        false
    }

    /// The process before appended this last, whichever socket brings it again.
    pub(super) fn resume_quote(&mut self, (ts_event, scales, quote): (Ts, Scales, Quote)) {
        let body = Pending::Quote(quote);
        (self.last_body, self.last_scales) = (Some((ts_event, body)), scales);
        if let Some(event) = self.last_named() {
            self.merge.resume(super::sockets::print_of(&event, 0), self.last_recv);
        }
    }

    /// The last event that names itself, by an id of its own or the venue's time.
    pub(super) fn last_named(&self) -> Option<Event> {
        let (ts_event, body) = self.last_body?;
        Some(Event { instrument: self.instrument, kind: self.kind, ts_event, scales: self.last_scales, body })
    }

    /// No id tells whether anything is missing here.
    pub fn is_unprotected(&self) -> bool {
        match self.kind {
            // Where it is polled only, nobody promised what was between two polls.
            Kind::Status | Kind::OpenInterest => self.streamed,
            Kind::Trade => self.loose,
            Kind::Book | Kind::Instrument | Kind::Link | Kind::Gap | Kind::Quality | Kind::Raw => false,
            _ => true,
        }
    }

    /// Subscribed, speaking until a while ago (or never), and silent now although its siblings speak: says so once, then
    /// again after twice as long.
    pub fn fell_silent(&mut self, now: Ts, activity: u64, line_rows: u64) -> Option<Duration> {
        if self.open_since == Ts::ZERO || self.losing.is_some() || now < self.next_alarm {
            return None;
        }
        let evidence = match self.kind {
            Kind::Book | Kind::Quote | Kind::TradeRaw | Kind::Ticker | Kind::Bar(_) => {
                activity.saturating_sub(self.activity) >= EVIDENCE
            }
            // Driven by the venue's clock, not by the market: any life on the line is evidence.
            Kind::Mark | Kind::Index | Kind::Funding => line_rows >= EVIDENCE,
            _ => false,
        };
        let quiet = now.since(self.last_recv.max(self.open_since));
        if !evidence || quiet < self.patience().max(self.patience_at(now)) {
            return None;
        }
        self.alarms += 1;
        self.next_alarm = now + Duration::from_secs(15) * 2_u32.pow(self.alarms.min(6));
        Some(quiet)
    }

    /// (Re)subscribed: silence counts from here.
    pub fn opened(&mut self, now: Ts, activity: u64) {
        self.open_since = now;
        self.activity = activity;
    }
}

/// All topics of the line, found by (instrument, kind) without hashing.
#[derive(Debug, Default)]
pub struct Topics {
    pub list: Vec<TopicState>,
    /// Per instrument, its topics in the order of first use: rarely more than ten.
    by_instrument: Vec<Vec<(Kind, LineTopic)>>,
    /// Topics about the line itself.
    own: Vec<(Kind, LineTopic)>,
}

impl Topics {
    #[inline]
    pub fn find(&self, instrument: InstrumentIx, kind: Kind) -> Option<LineTopic> {
        let table = self.by_instrument.get(instrument as usize)?;
        table.iter().find(|(k, _)| *k == kind).map(|(_, t)| *t)
    }

    pub fn add(&mut self, topic: Topic, instrument: InstrumentIx, kind: Kind) -> LineTopic {
        let at = self.list.len() as LineTopic;
        self.list.push(TopicState::new(topic, instrument, kind));
        let ix = instrument as usize;
        if self.by_instrument.len() <= ix {
            self.by_instrument.resize_with(ix + 1, Vec::new);
        }
        self.by_instrument[ix].push((kind, at));
        at
    }

    /// A topic of the line itself (`gap.<line>`, `raw.<line>`).
    pub fn own(&mut self, kind: Kind, line: &str) -> LineTopic {
        if let Some((_, at)) = self.own.iter().find(|(k, _)| *k == kind) {
            return *at;
        }
        let at = self.list.len() as LineTopic;
        self.list.push(TopicState::new(Topic::about(kind, line), wholetape_model::NO_INSTRUMENT, kind));
        self.own.push((kind, at));
        at
    }

    #[inline]
    pub fn get(&mut self, topic: LineTopic) -> &mut TopicState {
        &mut self.list[topic as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::{InstrumentId, Price, Size};

    fn state(kind: Kind) -> TopicState {
        TopicState::new(Topic::new(kind, &InstrumentId::new("BTCUSDT", "BINANCE")), 0, kind)
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn rows_without_a_venue_time_are_as_late_as_their_siblings() {
        let mut t = state(Kind::Quote);
        t.opened(Ts(1), 0);
        let late = Ts(1) + S * 10;
        t.spoke(late, late, 1);
        // A stall: what came at 10 s was created until 9 s, as the siblings' times tell.
        assert_eq!(t.whole_until(Ts(1) + S * 9, Duration::ZERO), Ts(1) + S * 9);
        assert_eq!(t.whole_until(Ts(1) - S * 90_000, Duration::ZERO), late, "another clock says nothing");
    }

    /// A stream that fell silent just before its connection stalled: the stall is no quiet that anybody could have remarked on.
    #[test]
    fn a_stall_is_no_quiet_of_a_stream() {
        let mut t = state(Kind::Mark);
        t.opened(Ts(1), 0);
        let last = Ts(1) + S;
        t.spoke(last, Ts::ZERO, 1);
        let heard = last + SILENT_MIN + S / 2;
        assert_eq!(t.whole_until(heard, Duration::ZERO), heard, "it had its chance to be noticed");
        assert_eq!(t.whole_until(heard, S * 2), last, "what was heard was two seconds old");
        assert_eq!(t.whole_until(heard + S * 2, S * 2), heard + S * 2);
    }

    #[test]
    fn silence_needs_evidence() {
        let mut t = state(Kind::Quote);
        t.opened(Ts(1), 100);
        assert_eq!(t.fell_silent(Ts(1) + S * 60, 100, 9_999), None, "a quiet market is not broken");
        assert_eq!(t.fell_silent(Ts(1) + S * 4, 500, 0), None, "too early");
        assert_eq!(t.fell_silent(Ts(1) + S * 6, 500, 0), Some(S * 6));
        assert_eq!(t.fell_silent(Ts(1) + S * 7, 900, 0), None, "named once");
        assert!(t.fell_silent(Ts(1) + S * 60, 900, 0).is_some(), "and again later");
    }

    #[test]
    fn a_slow_stream_is_given_its_time() {
        let mut t = state(Kind::Bar(wholetape_model::Period { count: 1, unit: b'm' }));
        t.opened(Ts(1), 0);
        t.spoke(Ts(1) + S * 10, Ts::ZERO, 10);
        t.spoke(Ts(1) + S * 20, Ts::ZERO, 20);
        assert_eq!(t.fell_silent(Ts(1) + S * 59, 9_000, 0), None, "10 s apart: 40 s of patience");
        assert!(t.fell_silent(Ts(1) + S * 61, 9_000, 0).is_some());
    }

    #[test]
    fn a_pause_that_the_venue_announces_is_no_silence() {
        let mut t = state(Kind::Funding);
        t.opened(Ts(1), 0);
        assert!(t.fell_silent(Ts(1) + S * 6, 0, 9_999).is_some());
        let mut t = state(Kind::Funding);
        t.pause = S * 90;
        t.opened(Ts(1), 0);
        assert_eq!(t.fell_silent(Ts(1) + S * 179, 0, 9_999), None);
        assert_eq!(t.patience_at(Ts(1)), S * 180);
        assert!(t.fell_silent(Ts(1) + S * 181, 0, 9_999).is_some());
    }

    #[test]
    fn open_interest_is_owed_where_it_is_streamed() {
        let mut t = state(Kind::OpenInterest);
        assert!(!t.is_unprotected(), "nobody promised what was between two polls");
        t.streamed = true;
        assert!(t.is_unprotected());
    }

    #[test]
    fn twins_of_one_frame_are_two_events_and_repeated_ones_are_none() {
        use wholetape_model::{Decimal, Liquidation, Side};
        let mut t = state(Kind::Liquidation);
        let mut offer = |frame, size| {
            let (price, size) = (Decimal::new(7, 0), Decimal::new(size, 0));
            let (average_price, order_size) = (price, Decimal::ZERO);
            let body =
                Pending::Liquidation(Liquidation { side: Some(Side::Sell), price, average_price, size, order_size });
            let twins = t.twins((0, frame), Ts(5), &body);
            t.is_again(Ts(5), &body, twins)
        };
        let at_once = |frame, sizes: &[i64], offer: &mut dyn FnMut(u32, i64) -> bool| {
            sizes.iter().map(|size| offer(frame, *size)).collect::<Vec<_>>()
        };
        assert_eq!(at_once(1, &[3, 3, 3], &mut offer), [false; 3]);
        assert_eq!(at_once(2, &[3, 3], &mut offer), [true; 2], "the frame came again");
        assert_eq!(at_once(3, &[4, 4], &mut offer), [false; 2]);
    }

    #[test]
    fn repeats_are_told_from_equals() {
        let mut t = state(Kind::Quote);
        let q = |u| {
            Pending::Quote(Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: u })
        };
        assert!(!t.is_repeat(Ts::ZERO, &q(1)));
        assert!(t.is_repeat(Ts::ZERO, &q(1)));
        assert!(!t.is_repeat(Ts::ZERO, &q(2)));
        assert!(!t.is_repeat(Ts::ZERO, &q(0)));
        assert!(!t.is_repeat(Ts::ZERO, &q(0)), "without an id equal quotes are two quotes");
        assert!(!t.is_repeat(Ts(7), &q(0)));
        assert!(t.is_repeat(Ts(7), &q(0)), "but of one venue time they are one: a subscription begins with the last");
    }
}
