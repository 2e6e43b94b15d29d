//! Worlds of the venues beside Binance: seeds of each, what must hold of their truth, and that their checkers can fail.

use wholetape_lab::witness::{Kept, Row};
use wholetape_lab::{Class, Faults, Plan, World, check, run};
use wholetape_model::{BookAction, Size};

fn others() -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|class| *class != Class::Binance)
}

fn quiet(class: Class, seconds: i64) -> World {
    let mut world = World::new(Plan { class, seconds, ..Plan::without_faults(5) });
    world.run().unwrap_or_else(|why| panic!("{}: {why}", class.name()));
    world
}

#[test]
fn every_class_heals_or_confesses() {
    for class in others() {
        for seed in 0..2 {
            let name = class.name();
            run(Plan { class, ..Plan::of(seed) })
                .unwrap_or_else(|why| panic!("cargo xtask sim --seed {seed} --class {name} reruns this alone: {why}"));
        }
    }
}

#[test]
fn without_faults_nothing_is_confessed() {
    for class in others() {
        let f = quiet(class, 20).figures;
        let lost = (f.trades_lost, f.updates_lost, f.quotes_lost);
        assert_eq!(lost, (0, 0, 0), "{}: {f}", class.name());
        assert!(f.trades > 500 && f.quotes > 500 && f.rows > 1_500, "{}: {f}", class.name());
    }
}

#[test]
fn two_runs_of_a_seed_are_equal() {
    let trace = |class| run(Plan { class, seconds: 10, ..Plan::of(12) }).unwrap().1;
    let traces: Vec<u64> = Class::ALL.map(trace).to_vec();
    assert_eq!(traces, Class::ALL.map(trace));
    assert!(traces.windows(2).all(|two| two[0] != two[1]), "the venues differ");
}

/// Ids that begin anew are met, by every venue that does so.
#[test]
fn books_whose_ids_begin_anew_go_on() {
    let faults = Faults { resets: 40, ..Faults::default() };
    for class in [Class::Okx, Class::Bybit] {
        let mut world = World::new(Plan { class, faults, seconds: 20, ..Plan::without_faults(4) });
        world.run().unwrap_or_else(|why| panic!("{}: {why}", class.name()));
        assert!(world.o.markets.iter().all(|m| !m.resets.is_empty()), "{}", class.name());
        assert_eq!(world.figures.updates_lost, 0, "{}: a new beginning is no loss", class.name());
    }
}

/// Nothing brings a trade of Bybit back: what a cut took is confessed, and what was not taken is held.
#[test]
fn trades_that_nothing_brings_back_are_confessed() {
    let timed = wholetape_lab::faults::Timed { cut: 3_000, ..Default::default() };
    let faults = Faults { timed, ..Faults::default() };
    let mut world = World::new(Plan { class: Class::Bybit, faults, seconds: 30, ..Plan::without_faults(8) });
    world.run().unwrap();
    let f = &world.figures;
    assert!(f.cuts > 3 && f.trades_lost > 0 && f.trades_lost < f.trades / 4, "{f}");
}

/// A book that is behind the chain's crosses now and then, and the best prices of its view are none that cross.
#[test]
fn books_that_cross_are_held_as_they_were_told() {
    let world = quiet(Class::Dydx, 20);
    let crossed = |m: &wholetape_lab::market::Market| {
        let best = |(bids, asks): &(Vec<(i64, i64)>, Vec<(i64, i64)>)| bids[0].0 >= asks[0].0;
        m.history.values().filter(|book| best(book)).count()
    };
    assert!(world.o.markets.iter().all(|m| crossed(m) > 5));
    let is_whole = |(_, quote): &(i64, wholetape_lab::market::TrueQuote)| quote.1 < quote.3;
    assert!(world.o.markets.iter().all(|m| m.quotes.iter().all(is_whole)));
}

/// What a cut took of trades without counting ids is asked for by time, and proven by overlap.
#[test]
fn trades_that_overlap_proves_are_healed() {
    let timed = wholetape_lab::faults::Timed { cut: 3_000, ..Default::default() };
    let faults = Faults { timed, ..Faults::default() };
    let mut world = World::new(Plan { class: Class::Dydx, faults, seconds: 30, ..Plan::without_faults(8) });
    world.run().unwrap();
    let f = &world.figures;
    assert!(f.cuts > 3 && f.trades > 1_000 && f.trades_lost == 0, "{f}");
}

/// Breaks the rows of one topic and expects `says`.
fn broken(class: Class, topic: &str, says: &str, break_it: impl FnOnce(&mut Vec<Row>)) {
    let mut world = quiet(class, 10);
    let known: Vec<String> = world.held.keys().cloned().collect();
    let held = world.held.get_mut(topic).unwrap_or_else(|| panic!("{topic} is none of {known:?}"));
    break_it(&mut held.rows);
    let why = check::all(&mut world).unwrap_err();
    assert!(why.contains(says), "{why}");
}

fn nth(rows: &[Row], n: usize, is: impl Fn(&Kept) -> bool) -> usize {
    (0..rows.len()).filter(|i| is(&rows[*i].kept)).nth(n).unwrap()
}

fn is_trade(kept: &Kept) -> bool {
    matches!(kept, Kept::Trade(..))
}

fn is_book(kept: &Kept) -> bool {
    matches!(kept, Kept::Book { .. })
}

fn is_bid(kept: &Kept) -> bool {
    // Of dYdX's there is always one, which numbers the update.
    matches!(kept, Kept::Book { action: BookAction::Delta, bids, .. } if bids.len() > 1)
}

#[test]
fn p1_and_p2_of_trades_without_consecutive_ids() {
    for (class, topic) in [(Class::Bybit, "trade.ETHUSDT-SPOT.BYBIT"), (Class::Dydx, "trade.ETH-USD-PERP.DYDX")] {
        broken(class, topic, "P1: trade", |rows| {
            rows.remove(nth(rows, 20, is_trade));
        });
        broken(class, topic, "P2: trade", |rows| {
            let i = nth(rows, 20, is_trade);
            rows.push(rows[i].clone());
        });
        broken(class, topic, "differs", |rows| {
            let i = nth(rows, 20, is_trade);
            let Kept::Trade(t, _) = &mut rows[i].kept else { unreachable!() };
            t.size = Size(t.size.0 + 1);
        });
    }
}

#[test]
fn p1_of_books_and_quotes() {
    for (class, name) in
        [(Class::Okx, "ETH-USDT.OKX"), (Class::Kraken, "ETH%2FUSD.KRAKEN"), (Class::Dydx, "ETH-USD-PERP.DYDX")]
    {
        broken(class, &format!("book.{name}"), "P1: update", |rows| {
            // Behind it the book is unknown, so nothing but the missing row can be found.
            let i = nth(rows, 5, is_bid);
            let (gone, next) = (rows.remove(i), nth(&rows[i..], 0, is_book) + i);
            rows[next].prev = gone.seq - 1;
        });
        broken(class, &format!("quote.{name}"), "P1: quote", |rows| {
            rows.remove(nth(rows, 20, |k| matches!(k, Kept::Quote(..))));
        });
    }
}

#[test]
fn p3_of_books_whose_snapshot_comes_by_the_stream() {
    for (class, name) in [
        (Class::Okx, "BTC-USDT.OKX"),
        (Class::Bybit, "ETHUSDT-SPOT.BYBIT"),
        (Class::Kraken, "SOL%2FUSD.KRAKEN"),
        (Class::Dydx, "SOL-USD-PERP.DYDX"),
    ] {
        broken(class, &format!("book.{name}"), "P3: the book differs", |rows| {
            let i = nth(rows, 5, is_bid);
            let Kept::Book { bids, .. } = &mut rows[i].kept else { unreachable!() };
            bids[0].size = Size(bids[0].size.0 + 1);
        });
    }
}
