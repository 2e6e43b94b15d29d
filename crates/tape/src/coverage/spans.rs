//! The ledger over time: stretches with a proof level, without overlap, in order.

use wholetape_model::{GapCause, GapState, HealSource, Proof, Ts};

use super::runs::Run;
use super::topic::{Rule, TopicLedger};

/// A stretch of time and how sure it is that all of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Ts,
    pub to: Ts,
    pub proof: Proof,
    /// Of it missing, ns: all of a hole, less where only the sum of several holes is still known.
    pub hole_ns: i64,
    /// Behind the last id: nothing newer is known to exist, and only the connection vouches for that.
    pub tail: bool,
}

fn span(from: Ts, to: Ts, proof: Proof) -> Span {
    let to = to.max(from);
    let hole_ns = if proof == Proof::Hole { to.0 - from.0 } else { 0 };
    Span { from, to, proof, hole_ns, tail: false }
}

/// All stretches of a topic whose connection lived until `alive`; the newest record of the tape is of `as_of`.
pub(super) fn spans(t: &TopicLedger, alive: Ts, as_of: Ts) -> Vec<Span> {
    let by_ids = !t.runs.is_empty() || !t.runs.past.is_empty();
    let mut base = if by_ids { of_runs(t, alive, as_of) } else { of_time(t, alive, as_of) };
    // Healed over pages that overlapped, where no ids prove it.
    if !by_ids {
        let healed = |g: &&super::GapEntry| g.state == GapState::Healed && g.source != HealSource::None;
        let healed = union(t.gaps.iter().filter(healed).map(|g| span(g.from_ts, g.to_ts, Proof::ByOverlap)).collect());
        base = overlay(&base, &healed);
    }
    overlay(&base, &union(holes(t, by_ids, as_of)))
}

fn of_runs(t: &TopicLedger, alive: Ts, as_of: Ts) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::with_capacity(t.runs.list().len() * 2 + 1);
    let mut last: Option<&Run> = None;
    for (i, run) in t.runs.past.iter().chain(t.runs.list()).enumerate() {
        if let Some(before) = last {
            // Between two id spaces nothing is known to be missing, nor proven.
            let proof = if i == t.runs.past.len() { Proof::LiveOnly } else { Proof::Hole };
            out.push(span(before.to, run.from.max(before.to), proof));
        }
        let proof = if run.missing > 0 { Proof::Hole } else { Proof::ById };
        let from = last.map_or(run.from, |b| run.from.max(b.to));
        out.push(Span { hole_ns: run.hole_ns, ..span(from, run.to.max(from), proof) });
        last = Some(run);
    }
    let end = last.map_or(Ts::ZERO, |r| r.to);
    // A book that is out of its sequence is a hole until it is right again.
    let broken = t.rule == Rule::Chain && t.gaps.iter().any(|g| g.state == GapState::Open);
    if broken {
        out.push(span(end, as_of, Proof::Hole));
    } else if alive > end {
        out.push(Span { tail: true, ..span(end, alive, Proof::LiveOnly) });
    }
    out
}

fn of_time(t: &TopicLedger, alive: Ts, as_of: Ts) -> Vec<Span> {
    if t.first == Ts::ZERO {
        return Vec::new();
    }
    let open = t.gaps.iter().any(|g| g.state == GapState::Open);
    vec![span(t.first, if open { as_of } else { alive }, Proof::LiveOnly)]
}

/// What gaps say about time. Where ids prove, ids speak, and only what was taken away again (space ran out) is left to say.
fn holes(t: &TopicLedger, by_ids: bool, as_of: Ts) -> Vec<Span> {
    let mut out = Vec::new();
    for g in t.gaps.iter().filter(|g| matches!(g.state, GapState::Open | GapState::Lost)) {
        if by_ids && g.cause != GapCause::Disk {
            continue;
        }
        let to = if g.state == GapState::Open { g.to_ts.max(as_of) } else { g.to_ts };
        out.push(span(g.from_ts, to, Proof::Hole));
    }
    if !by_ids {
        out.extend(t.gaps.scars().iter().map(|s| Span { hole_ns: s.hole_ns, ..span(s.from, s.to, Proof::Hole) }));
    }
    out
}

/// Sorted and without overlap.
fn union(mut all: Vec<Span>) -> Vec<Span> {
    all.sort_by_key(|s| (s.from, s.to));
    let mut out: Vec<Span> = Vec::with_capacity(all.len());
    for s in all {
        match out.last_mut() {
            Some(last) if s.from <= last.to => {
                let whole = s.to.max(last.to).0 - last.from.0;
                last.to = last.to.max(s.to);
                last.hole_ns = last.hole_ns.saturating_add(s.hole_ns).min(whole);
            }
            _ => out.push(s),
        }
    }
    out
}

/// `over` painted on `base`; what lies outside of `base` is cut off.
fn overlay(base: &[Span], over: &[Span]) -> Vec<Span> {
    if over.is_empty() {
        return base.to_vec();
    }
    let mut out = Vec::with_capacity(base.len() + over.len() * 2);
    let mut first = 0;
    for b in base {
        while first < over.len() && over[first].to < b.from {
            first += 1;
        }
        let mut from = b.from;
        let mut rest = *b;
        for o in over[first..].iter().take_while(|o| o.from <= b.to) {
            let (lo, hi) = (o.from.max(b.from), o.to.min(b.to));
            if lo > from {
                out.push(Span { from, to: lo, ..rest });
                rest.hole_ns = 0;
            }
            out.push(Span { from: lo, to: hi, proof: o.proof, hole_ns: o.hole_ns.min(hi.0 - lo.0), tail: false });
            from = hi;
        }
        if from < b.to || from == b.from {
            out.push(Span { from, ..rest });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(from: i64, to: i64, proof: Proof) -> Span {
        span(Ts(from), Ts(to), proof)
    }

    #[test]
    fn holes_are_painted_over_what_is_held() {
        let base = [s(0, 10, Proof::LiveOnly), s(10, 30, Proof::LiveOnly)];
        let over = union(vec![s(25, 60, Proof::Hole), s(8, 12, Proof::Hole), s(9, 10, Proof::Hole)]);
        let got: Vec<_> = overlay(&base, &over).iter().map(|s| (s.from.0, s.to.0, s.proof, s.hole_ns)).collect();
        let (l, h) = (Proof::LiveOnly, Proof::Hole);
        assert_eq!(got, [(0, 8, l, 0), (8, 10, h, 2), (10, 12, h, 2), (12, 25, l, 0), (25, 30, h, 5)]);
    }

    #[test]
    fn a_hole_without_length_is_still_one() {
        let got = overlay(&[s(0, 10, Proof::LiveOnly)], &[s(5, 5, Proof::Hole)]);
        assert_eq!(
            got.iter().map(|s| (s.from.0, s.to.0, s.proof)).collect::<Vec<_>>(),
            [(0, 5, Proof::LiveOnly), (5, 5, Proof::Hole), (5, 10, Proof::LiveOnly)]
        );
    }
}
