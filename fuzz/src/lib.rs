//! What the session targets share: bytes in, whatever they are, and what must hold of the session after them.

use wholetape_model::{Kind, Ts};
use wholetape_venue::{Action, FetchId, FetchKind, Frame, Note, Out, Reply, Session, SessionPlan, open};

/// Plays `data` to a session of `venue`, line by line as frames and, as a whole, as the body of every reply.
///
/// # Panics
/// When the session breaks one of its promises: that is what is looked for.
pub fn session(venue: &str, data: &[u8]) {
    for discover in [true, false] {
        let plan = SessionPlan { discover, instruments: vec![(0, "BTCUSDT".into())], ..SessionPlan::new(venue) };
        let mut session = open(&plan).expect("a known venue");
        let mut out = Out::default();
        for (n, frame) in data.split(|b| *b == b'\n').enumerate() {
            // Every second frame comes into an `out` that already holds something.
            if n % 2 == 0 {
                out.clear();
            }
            let before = (out.events.len(), out.arena.levels.len(), out.arena.text.len(), out.actions.len());
            let failed = session.on_frame(Ts(n as i64), Frame::Text(frame), &mut out).is_err();
            let after = (out.events.len(), out.arena.levels.len(), out.arena.text.len(), out.actions.len());
            assert!(!failed || before == after, "a failed frame left something");
            check(&out, session.instruments());
        }
        for kind in [
            FetchKind::BookSnapshot,
            FetchKind::TradesFrom,
            FetchKind::NewestTrades,
            FetchKind::TradesAt,
            FetchKind::OpenInterest,
            FetchKind::Instruments,
            FetchKind::ServerTime,
        ] {
            out.clear();
            let id = FetchId { kind, instrument: 0, arg: 1 };
            let _ = session.on_fetched(Ts(1), id, Reply::Answer { status: 200, body: data }, &mut out);
            check(&out, session.instruments());
        }
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = session.fetch_of(text);
        }
    }
}

/// Plays `data` line by line to two sessions that must agree: one with its fast scanner, one without. What the sentinel of shapes makes of
/// a frame is left out: of the scanner's frames it looks at one in a thousand.
///
/// # Panics
/// Where they do not agree.
pub fn equal(fast: &mut dyn Session, typed: &mut dyn Session, data: &[u8]) {
    let (mut a, mut b) = (Out::default(), Out::default());
    for frame in data.split(|b| *b == b'\n') {
        a.clear();
        b.clear();
        let one = fast.on_frame(Ts(1), Frame::Text(frame), &mut a);
        let two = typed.on_frame(Ts(1), Frame::Text(frame), &mut b);
        assert_eq!(one, two);
        let raw = |out: &Out| out.events.iter().filter(|e| e.kind == Kind::Raw).count();
        let odd = raw(&a) != raw(&b);
        for out in [&mut a, &mut b] {
            out.actions.retain(|action| !matches!(action, Action::Note(Note::Shape(_))));
            if odd {
                out.events.retain(|e| e.kind != Kind::Raw);
            }
        }
        assert_eq!(a.events, b.events);
        assert_eq!(a.arena.levels, b.arena.levels);
        assert_eq!(a.checksums, b.checksums);
        assert!(odd || a.arena.text == b.arena.text);
        assert_eq!(a.actions, b.actions);
    }
    let mut stats = fast.stats().clone();
    stats.fallbacks = 0;
    stats.odd_shapes = typed.stats().odd_shapes;
    assert_eq!(&stats, typed.stats());
}

/// Every event names a known instrument and points into the arena.
fn check(out: &Out, instruments: usize) {
    for event in &out.events {
        assert!(event.instrument == wholetape_model::NO_INSTRUMENT || (event.instrument as usize) < instruments);
        assert!(event.scales.price <= 18 && event.scales.size <= 18);
        let _ = out.arena.view(&event.body);
    }
}
