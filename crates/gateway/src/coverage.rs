//! `GET /v1/coverage`: the coverage ledger as JSON, the same document that `wholetape coverage --json` prints.
//!
//! Ids and sizes are numbers below 2^53 and strings beyond, times are nanoseconds as strings, as everywhere in the protocol.
//! Version 1 may gain keys; none changes its meaning or goes (`docs/api/rest.md`).

use serde_json::{Value, json};
use wholetape_model::{GapState, Kind, Proof, Topic, Ts};
use wholetape_tape::Filter;
use wholetape_tape::coverage::{Coverage, GapEntry, Rule, Summary};

/// Hours of the strip, unless told.
pub const HOURS: usize = 24;
/// Four weeks.
const HOURS_MAX: usize = 672;
/// Intervals and gaps given in full per topic; their numbers tell of the rest.
const DETAIL_MAX: usize = 64;

/// Which part of the ledger is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// `*` stands for any text.
    pub instrument: Option<String>,
    pub kind: Option<Kind>,
    pub hours: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { instrument: None, kind: None, hours: HOURS }
    }
}

impl Query {
    /// From a URL's query.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut this = Self::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| format!("{key}: not percent-encoded UTF-8"))?;
            match key {
                "instrument" => this.instrument(&value)?,
                "kind" => this.kind(&value)?,
                "hours" => this.hours(&value)?,
                _ => return Err(format!("unknown key {key:?}: instrument, kind and hours are known")),
            }
        }
        Ok(this)
    }

    /// # Errors
    /// As [`Query::parse`].
    pub fn instrument(&mut self, value: &str) -> Result<(), String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "._%-*".contains(c);
        if value.is_empty() || value.len() > 128 || !value.chars().all(good) {
            return Err(format!("instrument: {value:?} is no instrument, nor a pattern like *.BINANCE"));
        }
        self.instrument = Some(value.to_owned());
        Ok(())
    }

    /// # Errors
    /// As [`Query::parse`].
    pub fn kind(&mut self, value: &str) -> Result<(), String> {
        match Kind::parse(value) {
            Ok(kind) if Rule::of(kind).is_some() => self.kind = Some(kind),
            _ => {
                return Err(format!(
                    "kind: {value:?} has no coverage: trade, trade-raw, book, quote, ticker, bar-<period>, funding, mark, \
                     index, liquidation and consolidated have"
                ));
            }
        }
        Ok(())
    }

    /// # Errors
    /// As [`Query::parse`].
    pub fn hours(&mut self, value: &str) -> Result<(), String> {
        match value.parse() {
            Ok(n) if (1..=HOURS_MAX).contains(&n) => self.hours = n,
            _ => return Err(format!("hours: {value:?} is not 1 to {HOURS_MAX}")),
        }
        Ok(())
    }

    /// Whether a topic is asked for.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let pattern = self.instrument.as_ref().map(|p| format!("{}.{p}", topic.kind()));
        self.kind.is_none_or(|k| k == topic.kind()) && Filter { kinds: Vec::new(), pattern }.matches(topic)
    }

    /// What is asked for: by instrument, then kind.
    pub fn select<'a>(&'a self, coverage: &'a Coverage) -> impl Iterator<Item = Summary<'a>> {
        coverage.summaries(self.hours).filter(|s| self.matches(s.topic))
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let hex = [bytes.next()?, bytes.next()?];
        out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

/// The document.
#[must_use]
pub fn document(coverage: &Coverage, query: &Query) -> Value {
    document_of(coverage, query, |_| true)
}

/// The document of those topics alone that somebody may read.
pub(crate) fn document_of(coverage: &Coverage, query: &Query, may: impl Fn(&Topic) -> bool) -> Value {
    let topics: Vec<Value> = query.select(coverage).filter(|s| may(s.topic)).map(|s| one(&s)).collect();
    let sum = |key: &str| topics.iter().filter_map(|t| t[key].as_u64()).sum::<u64>();
    let whole = topics.iter().all(|t| t["whole"] == true);
    json!({
        "epoch": coverage.epoch(),
        "as_of": ns(coverage.as_of()),
        "whole": whole,
        "missing": sum("missing"),
        "unexplained": sum("unexplained"),
        "open": sum("open"),
        "hole_ms": sum("hole_ms"),
        "coverage": topics,
    })
}

fn one(s: &Summary<'_>) -> Value {
    let (t, g) = (s.ledger, s.gaps);
    let runs = t.runs.list();
    let ids: Vec<Value> = runs
        .iter()
        .rev()
        .take(DETAIL_MAX)
        .map(|r| {
            let proof = if r.missing > 0 { Proof::Hole } else { Proof::ById };
            json!({"from": id(r.lo), "to": id(r.hi), "from_ts": ns(r.from), "to_ts": ns(r.to), "proof": proof.as_str(), "missing": id(r.missing)})
        })
        .collect();
    let time: Vec<Value> = s
        .spans
        .iter()
        .rev()
        .take(DETAIL_MAX)
        .map(|s| json!({"from": ns(s.from), "to": ns(s.to), "proof": s.proof.as_str(), "hole_ms": s.hole_ns / 1_000_000}))
        .collect();
    json!({
        "instrument": s.topic.subject(),
        "kind": s.topic.kind().to_string(),
        "topic": s.topic.as_str(),
        "seq": t.seq,
        "proof": s.proof.as_str(),
        "whole": s.is_whole(),
        "from_id": s.ids.map(|i| id(i.0)),
        "to_id": s.ids.map(|i| id(i.1)),
        "held": s.ids.filter(|_| s.missing.is_some()).map(|_| id(s.held)),
        "missing": s.missing.map(id),
        "unexplained": id(s.unexplained),
        "never_published": id(s.never_published),
        "from_ts": ns(s.from),
        "to_ts": ns(s.to),
        "hole_ms": s.hole_ns / 1_000_000,
        "open": g.open,
        "healed": g.healed,
        "never": g.never_published,
        "lost": g.lost,
        "contradicted": t.contradicted,
        "repeats": t.repeats,
        "unread_seqs": t.unread,
        "unknown_to_seq": t.unknown_to,
        "id_intervals": runs.len(),
        "ids": ids,
        "time_intervals": s.spans.len(),
        "time": time,
        "gaps": s.newest_gaps().take(DETAIL_MAX).map(gap).collect::<Vec<_>>(),
        "hours_from": ns(s.hours_from),
        "hours": s.strip(),
    })
}

fn gap(g: &GapEntry) -> Value {
    json!({
        "gap": id(g.gap), "state": g.state.as_str(), "cause": g.cause.as_str(), "source": g.source.as_str(),
        "from_id": id(g.from_id), "to_id": id(g.to_id), "from_ts": ns(g.from_ts), "to_ts": ns(g.to_ts),
        "missing": id(g.missing), "opened": ns(g.opened),
        "settled": (g.state != GapState::Open).then(|| ns(g.marked)), "why": g.why,
    })
}

fn ns(ts: Ts) -> String {
    ts.0.to_string()
}

fn id(v: u64) -> Value {
    if v < 1 << 53 { json!(v) } else { json!(v.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused_in_one_line() {
        let q = Query::parse("instrument=*.BINANCE&kind=bar-1m&hours=48").unwrap();
        assert_eq!(q.instrument.as_deref(), Some("*.BINANCE"));
        assert!(q.matches(&Topic::parse("bar-1m.BTCUSDT.BINANCE").unwrap()));
        assert!(!q.matches(&Topic::parse("bar-1m.BTCUSDT.BYBIT").unwrap()));
        assert!(!q.matches(&Topic::parse("trade.BTCUSDT.BINANCE").unwrap()));
        assert_eq!(
            Query::parse("instrument=BTCUSDT%2EBINANCE").unwrap().instrument.as_deref(),
            Some("BTCUSDT.BINANCE")
        );
        for (bad, says) in [
            ("kind=status", "no coverage"),
            ("kind=", "no coverage"),
            ("hours=0", "not 1 to 672"),
            ("hours=9e9", "not 1 to 672"),
            ("instrument=a b", "is no instrument"),
            ("instrument=%zz", "percent"),
            ("instrument=%e", "percent"),
            ("since=1", "unknown key"),
        ] {
            let why = Query::parse(bad).unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{bad}: {why}");
        }
    }
}
