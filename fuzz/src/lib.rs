//! What the session targets share: bytes in, whatever they are, and what must hold of the session after them.

use wholetape_model::Ts;
use wholetape_venue::{FetchId, FetchKind, Frame, Out, Reply, SessionPlan, open};

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

/// Every event names a known instrument and points into the arena.
fn check(out: &Out, instruments: usize) {
    for event in &out.events {
        assert!(event.instrument == wholetape_model::NO_INSTRUMENT || (event.instrument as usize) < instruments);
        assert!(event.scales.price <= 18 && event.scales.size <= 18);
        let _ = out.arena.view(&event.body);
    }
}
