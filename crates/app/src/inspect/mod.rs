//! `wholetape inspect FILE`: what a recording holds, as the pipeline's own line reads it.
//!
//! No second decoder: each (connection, depth channel) of the file becomes one line, the same state machine that runs
//! behind sockets, and the report is made of the rows that it would have appended to the tape. Lines are not merged, so a
//! redundant recording shows each connection's book; trades are counted once per id.

mod books;
mod capture;
mod report;
mod tally;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineOut, LinePlan, Resume};
use wholetape_model::{Body, BookRule, Chain, Kind, NO_INSTRUMENT, Ts};
use wholetape_venue::{Frame, Reply, SessionPlan, Venue};

use books::BookPath;
use capture::Entry;
pub use report::Report;
use tally::{Counts, Funding, Liquidations, OpenInterest, Trades};
use words::Words;

/// Reads the whole recording.
///
/// # Errors
/// When the file cannot be read, or holds no channel of a venue that this build knows.
pub fn inspect(path: &Path) -> anyhow::Result<Report> {
    let keys = find_lines(path)?;
    if keys.is_empty() {
        bail!(
            "{} holds no WebSocket message of a venue that this build reads ({})",
            path.display(),
            wholetape_venue::names()
        );
    }
    let mut inspection = Inspection::new(&keys)?;
    let lines = capture::for_each(path, |entry| {
        inspection.entry(&entry);
        Ok(())
    })?;
    Ok(inspection.report(path, lines))
}

/// One line to be: a connection, and which of its depth channels (the empty name stands for a connection without any).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    conn: String,
    depth: String,
    venue: &'static str,
}

/// First pass: which connections there are, and which depth channels each carries.
fn find_lines(path: &Path) -> anyhow::Result<Vec<Key>> {
    let mut found: BTreeMap<(String, &'static str), Vec<String>> = BTreeMap::new();
    capture::for_each(path, |entry| {
        if entry.kind == "ws_in"
            && let Some(venue) = venue_of(&entry.url)
        {
            let channels = found.entry((entry.conn.clone(), venue)).or_default();
            let depth = Words::of(venue).depth_channel(&entry.data);
            if !depth.is_empty() && !channels.iter().any(|c| c == depth) {
                channels.push(depth.to_owned());
            }
        }
        Ok(())
    })
    .with_context(|| format!("reading {}", path.display()))?;
    let mut keys = Vec::new();
    for ((conn, venue), mut channels) in found {
        if channels.is_empty() {
            channels.push(String::new());
        }
        keys.extend(channels.into_iter().map(|depth| Key { conn: conn.clone(), depth, venue }));
    }
    Ok(keys)
}

/// The venue whose address this is.
fn venue_of(url: &str) -> Option<&'static str> {
    wholetape_venue::of_address(url).map(|venue| venue.name())
}

struct OneLine {
    key: Key,
    line: Line,
    /// By symbol.
    paths: BTreeMap<String, BookPath>,
}

impl OneLine {
    /// How the truth files call the book of an instrument.
    fn book_name(&self, instrument: usize) -> String {
        Words::of(self.key.venue).book(&self.key.depth, symbol_of(&self.line, instrument))
    }
}

struct Inspection {
    lines: Vec<OneLine>,
    out: LineOut,
    trades: BTreeMap<String, Trades>,
    agg_trades: BTreeMap<String, Trades>,
    funding: BTreeMap<String, Funding>,
    liquidations: BTreeMap<String, Liquidations>,
    open_interest: BTreeMap<String, OpenInterest>,
    closed_bars: Counts,
    errors: u64,
}

impl Inspection {
    fn new(keys: &[Key]) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        for (n, key) in keys.iter().enumerate() {
            let session = wholetape_venue::open(&SessionPlan::capture(key.venue))?;
            let plan = LinePlan {
                name: format!("inspect-{n}"),
                instruments: Vec::new(),
                conns: vec![ConnPlan { session, expects: Vec::new(), polled: Vec::new(), streams: usize::MAX }],
                trade_source: Kind::Trade,
                heal: false,
                discover: Some(key.venue.to_uppercase()),
                checks: wholetape_quality::CheckConfig::default(),
                resume: Resume::default(),
            };
            let mut line = Line::new(plan);
            let mut out = LineOut::default();
            line.on_open(0, ConnMeta { number: n as u32 + 1 }, Ts::ZERO, &mut out);
            lines.push(OneLine { key: key.clone(), line, paths: BTreeMap::new() });
        }
        Ok(Self {
            lines,
            out: LineOut::default(),
            trades: BTreeMap::new(),
            agg_trades: BTreeMap::new(),
            funding: BTreeMap::new(),
            liquidations: BTreeMap::new(),
            open_interest: BTreeMap::new(),
            closed_bars: Counts::new(),
            errors: 0,
        })
    }

    fn entry(&mut self, entry: &Entry) {
        let now = Ts(entry.recv_ns);
        match entry.kind.as_str() {
            "ws_in" => {
                let Some(words) = venue_of(&entry.url).map(Words::of) else { return };
                let depth = words.depth_channel(&entry.data);
                let of_conn = |l: &OneLine| l.key.conn == entry.conn;
                let at = match depth {
                    "" => self.lines.iter().position(of_conn),
                    _ => self.lines.iter().position(|l| of_conn(l) && l.key.depth == depth),
                };
                if let Some(at) = at {
                    self.lines[at].line.on_frame(0, now, Frame::Text(entry.data.as_bytes()), &mut self.out);
                    self.take(at);
                }
            }
            "http_resp" => {
                let Some(house) = wholetape_venue::of_address(&entry.url).map(Venue::door) else { return };
                for at in 0..self.lines.len() {
                    // Where markets share an address, the session knows its own answers.
                    if wholetape_venue::venue(self.lines[at].key.venue).map(Venue::door) != Ok(house) {
                        continue;
                    }
                    if let Some((conn, id)) = self.lines[at].line.fetch_of(&entry.url) {
                        let reply = Reply::Answer { status: 200, body: entry.data.as_bytes() };
                        self.lines[at].line.on_fetched(conn, now, id, reply, &mut self.out);
                        self.take(at);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes the rows that the line would have appended.
    fn take(&mut self, at: usize) {
        let OneLine { key, line, paths } = &mut self.lines[at];
        let words = Words::of(key.venue);
        for row in &self.out.rows {
            let state = &line.topics()[row.topic as usize];
            if state.instrument == NO_INSTRUMENT {
                continue;
            }
            let Some(symbol) = line.session(0).symbol(state.instrument) else { continue };
            let name = words.instrument(symbol);
            match self.out.arena().view(&row.body) {
                Body::Trade(t) => {
                    let aggregates = words.has_aggregates() && state.kind == Kind::Trade;
                    let trades = if aggregates { &mut self.agg_trades } else { &mut self.trades };
                    of(trades, &name).add(&t, row.flags, row.scales);
                }
                Body::Book(b) => {
                    let rule = rule_of(line, state.instrument as usize);
                    let path = paths.entry(symbol.to_owned()).or_insert_with(|| BookPath::new(rule));
                    self.errors += u64::from(path.row(&b, row.scales, row.ts_event).is_err());
                }
                Body::Funding(f) => of(&mut self.funding, &name).rate(f.rate, f.next_ts),
                Body::MarkPrice(m) => of(&mut self.funding, &name).mark(m),
                Body::Liquidation(l) => of(&mut self.liquidations, &name).add(l.size),
                Body::OpenInterest(size) => {
                    of(&mut self.open_interest, &name).add(words.open_interest(size, row.ts_event))
                }
                Body::Bar(b) if b.closed => {
                    *self.closed_bars.entry(format!("{}:closed", words.bars(symbol, b.period))).or_default() += 1
                }
                _ => {}
            }
        }
        self.out.clear();
    }

    fn report(mut self, path: &Path, lines_read: u64) -> Report {
        let mut report = Report::new(path, lines_read);
        let mut came: BTreeMap<String, usize> = BTreeMap::new();
        for one in &self.lines {
            for instrument in 0..one.line.instruments().len() {
                if seen(one, instrument) > 0 {
                    *came.entry(one.book_name(instrument)).or_default() += 1;
                }
            }
        }
        for one in &self.lines {
            report.unknown_frames += one.line.stats().unknown;
            report.errors += one.line.stats().errors;
            report.findings += one.line.stats().findings;
            for (instrument, state) in one.line.instruments().iter().enumerate() {
                let symbol = symbol_of(&one.line, instrument);
                let Some(flow) = &state.book else { continue };
                if seen(one, instrument) == 0 && !one.paths.contains_key(&symbol) {
                    continue;
                }
                let empty = BookPath::new(flow.book().rule());
                let path = one.paths.get(&symbol).unwrap_or(&empty);
                debug_assert_eq!(path.book().best_bid(), flow.book().unverified().best_bid());
                let name = one.book_name(instrument);
                let name = match came.get(&name) {
                    Some(n) if *n > 1 => format!("{}|{}:{symbol}", one.key.conn, one.key.depth),
                    _ => name,
                };
                let with_zeros = Words::of(one.key.venue).prints_zeros();
                report.books.insert(name, path.report(flow.book().stats(), with_zeros));
            }
            for state in one.line.topics() {
                if state.instrument == NO_INSTRUMENT || state.received == 0 {
                    continue;
                }
                let words = Words::of(one.key.venue);
                let symbol = symbol_of(&one.line, state.instrument as usize);
                let name = words.instrument(&symbol);
                match state.kind {
                    kind if kind == words.ticker() => *report.ticker_updates.entry(name).or_default() += state.received,
                    Kind::Bar(period) => {
                        *report.candle_updates.entry(words.bars(&symbol, period)).or_default() += state.received
                    }
                    Kind::Trade if words.has_aggregates() => {
                        of(&mut self.agg_trades, &name).repeats(state.repeats);
                    }
                    Kind::Trade | Kind::TradeRaw => of(&mut self.trades, &name).repeats(state.repeats),
                    _ => {}
                }
            }
        }
        report.errors += self.errors;
        report.candle_updates.append(&mut self.closed_bars);
        report.trades = self.trades.iter().map(|(s, t)| (s.clone(), t.report())).collect();
        report.agg_trades = self.agg_trades.iter().map(|(s, t)| (s.clone(), t.report())).collect();
        // Where no rate was printed there is nothing to report but what others print.
        report.funding = self.funding.into_iter().filter(|(_, f)| f.updates > 0).collect();
        report.open_interest = self.open_interest;
        report.liquidations = self.liquidations.iter().map(|(s, l)| (s.clone(), l.report())).collect();
        report
    }
}

fn of<'a, T: Default>(map: &'a mut BTreeMap<String, T>, symbol: &str) -> &'a mut T {
    if !map.contains_key(symbol) {
        map.insert(symbol.to_owned(), T::default());
    }
    map.get_mut(symbol).expect("just inserted")
}

fn symbol_of(line: &Line, instrument: usize) -> String {
    line.session(0).symbol(instrument as u32).unwrap_or("?").to_owned()
}

/// Of an instrument whose book has brought a row.
fn rule_of(line: &Line, instrument: usize) -> BookRule {
    line.instruments()[instrument].book.as_ref().map_or(Chain::Unlinked.into(), |flow| flow.book().rule())
}

fn seen(one: &OneLine, instrument: usize) -> u64 {
    one.line.instruments()[instrument].book.as_ref().map_or(0, |b| b.book().stats().deltas_seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_venue() {
        assert_eq!(venue_of("wss://fstream.binance.com/stream"), Some("binance-usdm"));
        assert_eq!(venue_of("wss://stream.binance.us:9443/stream?streams=a"), Some("binance-us"));
        assert_eq!(venue_of("https://api.binance.com/api/v3/depth"), Some("binance-spot"));
        assert_eq!(venue_of("https://dapi.binance.com/dapi/v1/depth"), Some("binance-coinm"));
        assert_eq!(venue_of("wss://ws.okx.com:8443/ws/v5/public"), Some("okx"));
        assert_eq!(venue_of("wss://example.org/ws"), None);
    }
}
