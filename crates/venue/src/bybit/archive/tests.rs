//! Rows of our own making, in the form that readers of the venue's files tell.

use wholetape_model::{Body, Kind, Price, Scales, Size, Trade, TradeCondition, Ts};

use super::*;
use crate::archive::{ReadRows, Row};

const CONTRACT: &str = "BTCUSDT2026-09-01.csv.gz";
const PAIR: &str = "BTCUSDT_2026-09-01.csv.gz";
const HEAD: &str =
    "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,RPI\n";
/// 2026-09-01, UTC, in s.
const DAY: i64 = 1_788_220_800;

fn all(file: &str, text: &str) -> Result<Vec<Row>, ArchiveError> {
    let named = parse(file).unwrap();
    let mut rows = Rows::new(&named, market(&named, &[], None).unwrap());
    text.split_inclusive('\n').filter_map(|line| rows.read(line.as_bytes()).transpose()).collect()
}

fn line(second: &str, id: &str) -> String {
    format!("{DAY}{second},BTCUSDT,Sell,0.010,60000.50,ZeroMinusTick,{id},6.00005e+10,0.01,600.005,0\n")
}

const ID: &str = "5f0d6b1e-8f2c-5c57-9a3d-0d5f6f2b7a10";

fn trade(row: &Row) -> Trade {
    let Body::Trade(trade) = row.event.body else { panic!("{row:?}") };
    trade
}

#[test]
fn a_contracts_row_is_the_event_of_the_stream() {
    let rows = all(CONTRACT, &format!("{HEAD}{}\n", line(".1234", ID).trim_end())).unwrap();
    let row = &rows[0];
    assert_eq!((rows.len(), row.line, row.key, row.event.kind), (1, 2, 2, Kind::Trade));
    assert_eq!(row.event.ts_event, Ts(DAY * 1_000_000_000 + 123_400_000));
    assert_eq!(row.event.scales, Scales { price: 2, size: 3 });
    let t = trade(row);
    assert_eq!((t.id.to_string().as_str(), t.price, t.size), (ID, Price(6_000_050), Size(10)));
    assert_eq!((t.aggressor.unwrap().as_str(), t.condition, t.first_id), ("sell", TradeCondition::Regular, 0));
}

#[test]
fn columns_are_found_by_the_header_wherever_they_stand() {
    let text = format!("trdMatchID,price,size,symbol,side,timestamp\r\n{ID},7,5e-3,BTCUSDT,Buy,{DAY}\r\n\r\n");
    let rows = all(CONTRACT, &text).unwrap();
    assert_eq!((trade(&rows[0]).size, trade(&rows[0]).price), (Size(5), Price(7)));
    let rpi = HEAD.to_owned() + &line("", ID).replace(",0\n", ",true\n");
    assert_eq!(trade(&all(CONTRACT, &rpi).unwrap()[0]).condition, TradeCondition::Rpi);
    let old = HEAD.replace(",RPI", "") + &line("", ID).replace(",0\n", "\n");
    assert_eq!(trade(&all(CONTRACT, &old).unwrap()[0]).condition, TradeCondition::Regular);
}

#[test]
fn a_pairs_rows_are_named_by_what_they_say_and_twins_by_their_number() {
    let text = format!(
        "id,timestamp,price,volume,side,rpi\n1,{DAY}005,60000.1,0.5,buy,0\n2,{DAY}005,60000.10,0.50,buy,0\n\
         3,{DAY}005,60000.1,0.5,sell,1\n4,{DAY}006,60000.1,0.5,buy,0\n"
    );
    let rows = all(PAIR, &text).unwrap();
    let ids: Vec<_> = rows.iter().map(|r| trade(r).id).collect();
    assert!(ids.iter().all(|id| id.is_custom()), "{ids:?}");
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), 4);
    assert_eq!(trade(&rows[2]).condition, TradeCondition::Rpi);
    // Other numbers in the file, and a row that was not there before: the names stay.
    let later = text.replace("\n1,", "\n11,").replace("\n4,", "\n9,");
    let later = later.replacen("\n11,", &format!("\n10,{DAY}004,1,1,buy,0\n11,"), 1);
    assert_eq!(all(PAIR, &later).unwrap()[1..].iter().map(|r| trade(r).id).collect::<Vec<_>>(), ids);
    let old = "id,timestamp,price,volume,side\n1,1788220800005,60000.1,0.5,buy\n";
    assert_eq!(trade(&all(PAIR, old).unwrap()[0]).id, ids[0], "the column came later");
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_column() {
    let good = line(".5", ID);
    for (text, want) in [
        (good.clone(), ":1: no column is called timestamp"),
        (HEAD.replace("trdMatchID", "matchID"), ":1: no column is called trdMatchID"),
        (HEAD.replace("homeNotional", "size"), ":1: column 9 is called `size`, where a name that no other column has"),
        (format!("{HEAD}{}", good.replace(",0\n", "\n")), ":2: 10 columns, where 11"),
        (format!("{HEAD}{}", good.replace("BTCUSDT", "ETHUSDT")), "column 2 (symbol) is `ETHUSDT`: it is of another"),
        (format!("{HEAD}{}", good.replace("Sell", "SELL")), "column 3 (side) is `SELL`"),
        (format!("{HEAD}{}", good.replace("0.010", "-0.010")), "column 4 (size) is `-0.010`: it is negative"),
        (format!("{HEAD}{}", good.replace("60000.50", "60e999")), "column 5 (price) is `60e999`"),
        (format!("{HEAD}{}", good.replace(ID, "77")), "column 7 (trdMatchID) is `77`: a UUID is expected"),
        (format!("{HEAD}{}", good.replace(ID, &ID.to_uppercase())), "(trdMatchID)"),
        (format!("{HEAD}{}", good.replace(",0\n", ",maybe\n")), "column 11 (RPI) is `maybe`"),
        (format!("{HEAD}{}", line("000.5", ID)), "column 1 (timestamp) is `1788220800000.5`: no time within the day"),
        (format!("{HEAD}{good}{}", line(".4", ID)), ":3: time (ns) 1788220800400000000 does not follow"),
        (format!("{HEAD}{good}\n{good}"), ":4: a row after a blank line"),
    ] {
        let error = all(CONTRACT, &text).unwrap_err().to_string();
        assert!(error.starts_with(CONTRACT) && error.contains(want), "{text}: {error}");
    }
    let pair = "id,timestamp,price,volume,side\nx,1788220800005,60000.1,0.5,buy\n";
    assert!(all(PAIR, pair).unwrap_err().to_string().contains("column 1 (id) is `x`"));
}

#[test]
fn names_and_markets() {
    let of = |file: &str, dirs: &[&str], said| market(&parse(file).unwrap(), dirs, said);
    for (file, symbol, want) in [
        (CONTRACT, "BTCUSDT", Market::Linear),
        ("BTCPERP2026-09-01.csv", "BTCPERP", Market::Linear),
        ("BTC-26DEC252026-09-01.csv.gz", "BTC-26DEC25", Market::Linear),
        ("BTCUSD2026-09-01.csv.gz", "BTCUSD", Market::Inverse),
        ("BTCUSDZ262026-09-01.csv.gz", "BTCUSDZ26", Market::Inverse),
        (PAIR, "BTCUSDT", Market::Spot),
    ] {
        let named = parse(file).unwrap();
        assert_eq!((named.symbol.as_str(), named.span.to_string().as_str()), (symbol, "2026-09-01"), "{file}");
        assert_eq!(of(file, &["trading"][..usize::from(want != Market::Spot)], None), Ok(want), "{file}");
    }
    let strange = "NEWCOIN2026-09-01.csv.gz";
    assert!(of(strange, &["trading", "NEWCOIN"], None).unwrap_err().to_string().contains("linear or inverse"));
    assert_eq!(of(strange, &[], Some(Market::Inverse)), Ok(Market::Inverse));
    for error in [
        of(strange, &[], Some(Market::Spot)),
        of(CONTRACT, &[], Some(Market::Inverse)),
        of(CONTRACT, &["spot", "BTCUSDT"], None),
        of(PAIR, &["trading", "BTCUSDT"], None),
    ] {
        assert!(matches!(error, Err(ArchiveError::OtherMarket { .. })), "{error:?}");
    }
    for (file, part) in [
        ("BTCUSDT2026-09-01.zip", "neither in .csv.gz nor in .csv"),
        ("BTCUSDT_2022-11.csv.gz", "no day ends it"),
        ("BTCUSDT2026-09-31.csv.gz", "no day of the calendar"),
        ("2026-09-01.csv.gz", "no symbol"),
        ("B/T2026-09-01.csv.gz", "no symbol"),
        ("äöü-09-01.csv", "no day ends it"),
    ] {
        let error = parse(file).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(file), "{file}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_line_is_a_row_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
        for file in [CONTRACT, PAIR] {
            let named = parse(file).unwrap();
            let mut rows = Rows::new(&named, market(&named, &[], None).unwrap());
            let _ = rows.read(&bytes);
            let _ = rows.read(HEAD.as_bytes());
            let _ = rows.read(&bytes);
        }
    }
}
