//! Rows of our own making, in the form that the venue's documents give.

use super::*;
use crate::archive::same_time;
use wholetape_model::{Price, Side, Size, Trade};

fn rows(file: &str, market: Variant) -> Rows {
    Rows::new(&crate::binance::archive::parse(file).unwrap(), market)
}

fn all(file: &str, market: Variant, text: &str) -> Result<Vec<Row>, ArchiveError> {
    let mut rows = rows(file, market);
    text.split_inclusive('\n').filter_map(|line| rows.read(line.as_bytes()).transpose()).collect()
}

#[track_caller]
fn one(file: &str, market: Variant, text: &str) -> Row {
    let rows = all(file, market, text).unwrap();
    assert_eq!(rows.len(), 1);
    rows[0]
}

fn trade(row: &Row) -> Trade {
    let Body::Trade(trade) = row.event.body else { panic!("{row:?}") };
    trade
}

const MS: i64 = 1_735_776_000_123; // 2025-01-02 00:00:00.123
const DAY: &str = "2025-01-02";

#[test]
fn a_spot_aggregate_is_the_event_of_the_stream() {
    let row = one(
        &format!("BTCUSDT-aggTrades-{DAY}.zip"),
        Variant::Spot,
        "3358127,60000.10000000,0.00200000,4000,4002,1735776000123456,True,True\n",
    );
    assert_eq!((row.line, row.key, row.event.kind), (1, 3_358_127, Kind::Trade));
    assert_eq!(row.event.ts_event, Ts::from_micros(1_735_776_000_123_456));
    assert_eq!(row.event.scales, Scales { price: 8, size: 8 });
    let t = trade(&row);
    assert_eq!((t.price, t.size), (Price(6_000_010_000_000), Size(200_000)));
    assert_eq!((t.first_id, t.last_id, t.aggressor), (4_000, 4_002, Some(Side::Sell)));
}

#[test]
fn units_headers_line_ends_and_markets() {
    let agg = format!("BTCUSDT-aggTrades-{DAY}.zip");
    let futures = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\r\n\
                   7,60000.1,0.002,9,9,1735776000123,false\r\n8,60000.1,0.002,12,12,1735776000124,true\r\n\r\n";
    let rows = all(&agg, Variant::UsdM, futures).unwrap();
    assert_eq!(rows.iter().map(|r| (r.line, r.key)).collect::<Vec<_>>(), [(2, 7), (3, 8)]);
    assert_eq!((rows[0].event.ts_event, trade(&rows[0]).aggressor), (Ts::from_millis(MS), Some(Side::Buy)));
    let raw =
        one(&format!("BTCUSDT-trades-{DAY}.csv"), Variant::Spot, &format!("5,60000.1,0.002,120.0002,{MS},false,true"));
    assert_eq!((raw.event.kind, trade(&raw).first_id, trade(&raw).last_id), (Kind::TradeRaw, 5, 5));
    let coin = one(
        &format!("BTCUSD_PERP-trades-{DAY}.csv"),
        Variant::CoinM,
        &format!("id,price,qty,base_qty,time,is_buyer_maker\n5,60000.1,3,0.0005,{MS},true\n"),
    );
    assert_eq!(trade(&coin).size, Size(3));
    let placeholder = one(&agg, Variant::Spot, &format!("5,0.00000000,0.00000000,-1,-1,{MS},true,true\n"));
    assert_eq!((trade(&placeholder).first_id, trade(&placeholder).last_id), (0, 0));
}

#[test]
fn a_bar_is_the_closed_bar_of_the_stream() {
    let text = "1735776000000000,1.0,2.50,0.5,2.0,10,1735776059999999,15.5,42,4,6.5,0\n";
    let row = one(&format!("BTCUSDT-1m-{DAY}.zip"), Variant::Spot, text);
    let Body::Bar(bar) = row.event.body else { panic!("{row:?}") };
    assert_eq!(row.key, 1_735_776_000_000_000_000);
    assert_eq!((bar.high, bar.trades, bar.closed), (Decimal::new(250, 2), 42, true));
    assert_eq!(bar.close_ts, Ts::from_micros(1_735_776_059_999_999));
    assert!(same_time(bar.close_ts, Ts::from_millis(1_735_776_059_999)));
}

#[test]
fn a_moment_is_the_same_in_ms_and_in_micros_and_nothing_else() {
    let (ms, us) = (Ts::from_millis(MS), Ts::from_micros(MS * 1_000 + 456));
    assert!(same_time(ms, us) && same_time(us, ms) && same_time(us, us));
    assert!(!same_time(us, Ts::from_micros(MS * 1_000 + 457)), "both are exact");
    assert!(!same_time(ms, Ts::from_millis(MS + 1)));
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_column() {
    let good = format!("7,60000.1,0.002,9,9,{MS},false,true\n");
    let agg = format!("BTCUSDT-aggTrades-{DAY}.zip");
    for (text, want) in [
        (format!("{good}8,60000.1,0.002,9,9,{MS},false\n"), ":2: 7 columns, where 8"),
        (format!("{good}7,60000.1,0.002,9,9,{MS},false,true\n"), ":2: id 7 does not follow 7, which stands on line 1"),
        (format!("{good}6,60000.1,0.002,9,9,{MS},false,true\n"), ":2: id 6 does not follow 7"),
        (format!("{good}8,6e999,0.002,9,9,{MS},false,true\n"), ":2: column 2 (price) is `6e999`: "),
        (format!("{good}8,-1,0.002,9,9,{MS},false,true\n"), "column 2 (price) is `-1`: it is negative"),
        (format!("{good}8,1,0.002,9,8,{MS},false,true\n"), "column 5 (last id) is `8`: it is below the first id"),
        (format!("{good}x,1,0.002,9,9,{MS},false,true\n"), "column 1 (id) is `x`: a whole number"),
        (format!("{good}8,1,0.002,9,9,{MS},maybe,true\n"), "column 7 (buyer is maker) is `maybe`"),
        (format!("{good}8,1,0.002,9,9,{MS},true,\n"), "column 8 (best match) is ``"),
        (
            format!("{good}8,1,0.002,9,9,{MS}456,true,true\n"),
            ":2: column 6 (time) is in µs, and the rows before are in ms",
        ),
        (format!("{good}8,1,0.002,9,9,1735862400000,true,true\n"), "neither in ms nor in µs a time within 2025-01-02"),
        (format!("{good}8,1,0.002,9,9,1735775999999,true,true\n"), "neither in ms nor in µs"),
        (format!("{good}8,1,0.002,9,9,1735776000,true,true\n"), "neither in ms nor in µs"),
        (format!("{good}\n{good}"), ":3: a row after a blank line"),
        ("agg_trade_id,quantity,price,f,l,time,m,x\n".into(), ":1: column 2 is called `quantity`, where price"),
        (format!("{good}agg_trade_id,price,quantity,f,l,time,m,x\n"), "column 1 (id) is `agg_trade_id`"),
    ] {
        let error = all(&agg, Variant::Spot, &text).unwrap_err().to_string();
        assert!(error.starts_with(&agg) && error.contains(want), "{text}: {error}");
    }
    let bar = format!("BTCUSDT-1m-{DAY}.zip");
    let error = all(&bar, Variant::Spot, "1735776000000,1,2,1,2,10,1735775999999,15,42,4,6,0\n").unwrap_err();
    assert!(error.to_string().contains("column 7 (close time)"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_line_is_a_row_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
        let mut rows = rows("BTCUSDT-aggTrades-2025-01-02.zip", Variant::Spot);
        let _ = rows.read(&bytes);
        let _ = rows.read(&bytes);
    }
}
