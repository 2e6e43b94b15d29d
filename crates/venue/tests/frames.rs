//! Our own frames (`frames/`, written from the documents) and the events they give, one line each.

mod support;

use std::fmt::Write as _;

use wholetape_model::{Ts, View};
use wholetape_venue::{Action, Channel, Frame, Out, Session, SessionPlan, open};

fn session(venue: &str, symbols: &[&str]) -> Box<dyn Session> {
    let instruments = symbols.iter().enumerate().map(|(i, s)| (i as u32, (*s).to_owned())).collect();
    open(&SessionPlan { instruments, ..SessionPlan::new(venue) }).unwrap()
}

fn describe(session: &dyn Session, out: &Out, text: &mut String) {
    for event in &out.events {
        let symbol = session.symbol(event.instrument).unwrap_or("-");
        let scales = (event.scales.price, event.scales.size);
        let view: View<'_> = out.arena.view(&event.body);
        let body = match view {
            View::Book(book) => {
                let levels = |l: wholetape_model::Levels<'_>| {
                    let text = |l: wholetape_model::Level| {
                        format!("{}x{}", event.scales.price(l.price), event.scales.size(l.size))
                    };
                    l.iter().map(text).collect::<Vec<_>>().join(" ")
                };
                format!(
                    "{:?} {}..{} prev {} bids [{}] asks [{}]",
                    book.action,
                    book.first_id,
                    book.last_id,
                    book.prev_id,
                    levels(book.bids),
                    levels(book.asks)
                )
            }
            other => format!("{other:?}"),
        };
        writeln!(text, "  {} {symbol} at {:?} scales {scales:?}: {body}", event.kind, event.ts_event).unwrap();
    }
    for action in &out.actions {
        match action {
            Action::Note(note) => writeln!(text, "  note {note:?}").unwrap(),
            other => writeln!(text, "  {other:?}").unwrap(),
        }
    }
}

fn play(session: &mut dyn Session, file: &str) -> String {
    let mut text = String::new();
    for line in file.lines() {
        let mut out = Out::default();
        let done = session.on_frame(Ts(1), Frame::Text(line.as_bytes()), &mut out);
        let shown: String = line.chars().take(110).collect();
        writeln!(text, "{shown}").unwrap();
        if let Err(e) = done {
            assert!(out.events.is_empty() && out.actions.is_empty() && out.arena.levels.is_empty());
            writeln!(text, "  error {e} -> {:?}", e.recovery()).unwrap();
        }
        support::is_as_peeked(session, line, &out);
        describe(session, &out, &mut text);
    }
    writeln!(text, "{:#?}", session.stats()).unwrap();
    text
}

#[test]
fn spot_frames_give_these_events() {
    let mut session = session("binance-spot", &["AAABBB"]);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/binance/spot.jsonl")));
}

#[test]
fn usdm_frames_give_these_events() {
    let mut session = session("binance-usdm", &["AAABBB", "AAABBB_270326"]);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/binance/usdm.jsonl")));
}

#[test]
fn okx_frames_give_these_events() {
    let mut session = session("okx", &["AAA-BBB", "AAA-BBB-SWAP", "AAA-CCC-270326"]);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/okx/okx.jsonl")));
}

#[test]
fn dydx_frames_give_these_events() {
    let symbols = ["AAA-USD", "BBB,RAYDIUM,9BB6NFEcjBCtnNLFko2FqVQBq8HHM13kCyYcdQbgpump-USD"];
    let mut session = session("dydx", &symbols);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/dydx/dydx.jsonl")));
}

#[test]
fn kraken_frames_give_these_events() {
    let mut session = session("kraken", &["AAA/USD"]);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/kraken/v2.jsonl")));
}

#[test]
fn old_kraken_frames_give_these_events() {
    let mut session = session("kraken", &["AAA/XBT"]);
    insta::assert_snapshot!(play(session.as_mut(), include_str!("../frames/kraken/v1.jsonl")));
}

/// The ticker is told in the parts that were asked for.
fn bybit(market: &str, symbols: &[&str], file: &str) -> String {
    let instruments = symbols.iter().enumerate().map(|(i, s)| (i as u32, (*s).to_owned())).collect();
    let channels = ["ticker", "mark", "open_interest"].map(|c| Channel::parse(c).unwrap());
    let channels = if market == "bybit-spot" { channels[..1].to_vec() } else { channels.to_vec() };
    let mut session = open(&SessionPlan { instruments, channels, ..SessionPlan::new(market) }).unwrap();
    play(session.as_mut(), file)
}

#[test]
fn bybit_linear_frames_give_these_events() {
    let file = include_str!("../frames/bybit/linear.jsonl");
    insta::assert_snapshot!(bybit("bybit-linear", &["AAABBB", "AAABBB-26MAR27"], file));
}

#[test]
fn bybit_spot_frames_give_these_events() {
    insta::assert_snapshot!(bybit("bybit-spot", &["AAABBB"], include_str!("../frames/bybit/spot.jsonl")));
}

#[test]
fn bybit_inverse_frames_give_these_events() {
    insta::assert_snapshot!(bybit("bybit-inverse", &["AAAUSD"], include_str!("../frames/bybit/inverse.jsonl")));
}
