use super::*;
use crate::event::{
    Bar, Body, Book, BookAction, Funding, Level, Levels, Liquidation, Price, Publication, Quote, Raw, Side, Size,
};
use crate::event::{Status, Ticker, Trade, TradeCondition, TradingStatus};
use crate::mark::*;
use crate::topic::Period;
use crate::{Decimal, InstrumentDef, InstrumentKind, TradeId};
use proptest::prelude::*;

const BIDS: [Level; 2] =
    [Level { price: Price(6_000_010), size: Size(2_000) }, Level { price: Price(5_999_990), size: Size(0) }];

fn d(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

/// One body of every kind, in the order of their numbers.
fn one_of_each() -> Vec<View<'static>> {
    let trade = Trade {
        id: 5_266_583_935.into(),
        first_id: 1,
        last_id: u64::MAX,
        price: Price(6_180_030),
        size: Size(6),
        aggressor: Some(Side::Buy),
        condition: TradeCondition::InsuranceFund,
    };
    let gap = Gap {
        gap: 7,
        state: GapState::Healed,
        cause: GapCause::Disconnected,
        source: HealSource::Rest,
        from_id: 10,
        to_id: 19,
        from_ts: Ts(1),
        to_ts: Ts(2),
        missing: 0,
        why: "10 of 10 rows from aggTrades",
    };
    let link = Link {
        state: LinkState::Active,
        cause: LinkCause::FirstData,
        attempt: 3,
        delay_ns: 9,
        endpoint: "wss://x/ws",
        correlation: "c-1",
        why: "",
    };
    vec![
        Body::Trade(trade),
        Body::Quote(Quote { bid: Price(1), bid_size: Size(2), ask: Price(3), ask_size: Size(4), update_id: 5 }),
        Body::Ticker(Ticker {
            last: d("1.5"),
            open: d("1.4"),
            high: d("1.6"),
            low: d("1.3"),
            volume: d("1000.000"),
            quote_volume: d("1500.00"),
            change: d("-0.1"),
            trades: 12,
            open_ts: Ts(5),
            close_ts: Ts(6),
        }),
        Body::Book(Book {
            action: BookAction::Delta,
            first_id: 100,
            last_id: 110,
            prev_id: 99,
            bids: Levels::Native(&BIDS),
            asks: Levels::Native(&[]),
        }),
        Body::Bar(Bar {
            open_ts: Ts(60),
            close_ts: Ts(119),
            open: d("1"),
            high: d("2"),
            low: d("0.5"),
            close: d("1.50"),
            volume: d("10"),
            quote_volume: d("15.0"),
            taker_volume: d("4"),
            taker_quote_volume: d("6"),
            trades: 3,
            first_id: 1,
            last_id: 3,
            closed: true,
            period: Period { count: 1, unit: b'm' },
        }),
        Body::Funding(Funding { rate: d("-0.00010000"), next_ts: Ts(77) }),
        Body::MarkPrice(d("61800.12345678")),
        Body::IndexPrice(d("61799.9")),
        Body::OpenInterest(d("10659.509")),
        Body::Liquidation(Liquidation {
            side: Some(Side::Sell),
            price: d("9910"),
            average_price: d("9909.5"),
            size: d("0.014"),
            order_size: d("0.014"),
        }),
        Body::Instrument(InstrumentDef {
            kind: InstrumentKind::Perpetual,
            status: TradingStatus::Trading,
            tick: d("0.10"),
            step: d("0.001"),
            size_min: d("0.001"),
            size_max: d("1000"),
            notional_min: d("5"),
            multiplier: d("1"),
            onboard: Ts(1),
            expiry: Ts::ZERO,
            symbol: "BTCUSDT",
            base: "BTC",
            quote: "USDT",
            settle: "USDT",
            status_text: "TRADING",
        }),
        Body::Status(Status { status: TradingStatus::Halted, text: "BREAK" }),
        Body::Link(link),
        Body::Finding(Finding { check: Check::Spread, observed: d("12.5"), bound: d("10"), count: 4, why: "bps" }),
        Body::Raw(Raw { channel: "", text: "{\"e\":\"new\"}" }),
        Body::Gap(gap),
        Body::Validity(Validity { state: ValidityState::Syncing, cause: GapCause::Resync, update_id: 42, why: "pu" }),
        Body::Retract(41),
    ]
}

fn row(body: View<'_>) -> Row<'_> {
    Row {
        ts_event: Ts::from_millis(1_723_161_256_322),
        ts_recv: Ts(1_723_161_255_088_176_367),
        conn: 65_537,
        frame: 12,
        flags: RowFlags::LATE_REST.with(RowFlags::BAD_TIME),
        scales: Scales { price: 2, size: 3 },
        body,
    }
}

fn encode_all() -> Vec<u8> {
    let mut out = Vec::new();
    for (i, body) in one_of_each().into_iter().enumerate() {
        encode(&row(body), 9, 1_000 + i as u64, 1 + (i == 15) as u32 * 1_048_576, &mut out);
    }
    out
}

#[test]
fn encode_then_decode_is_identity() {
    let bytes = encode_all();
    let mut at = 0;
    for (i, body) in one_of_each().into_iter().enumerate() {
        let record = Record::parse(&bytes[at..], true).unwrap();
        assert_eq!(record.row().unwrap(), row(body));
        assert_eq!((record.topic(), record.seq()), (9, 1_000 + i as u64));
        assert_eq!(record.is_mark(), body.is_mark());
        at += record.bytes().len();
    }
    assert_eq!(at, bytes.len());
}

#[test]
fn golden_v1_reads_and_writes_the_same_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/records-v1.bin");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path, encode_all()).unwrap();
    }
    let golden = std::fs::read(path).expect("golden/records-v1.bin is part of the repository and never rewritten");
    assert!(golden == encode_all(), "version 1 as written today differs from the golden file: make it version 2");
}

fn coverage() -> Row<'static> {
    row(Body::Coverage(Coverage {
        of: "trade",
        proof: Proof::Hole,
        seq: 900,
        from_id: 10,
        to_id: 5_266_583_935,
        held: 5_266_583_924,
        missing: 2,
        never_published: 1,
        from_ts: Ts(1_723_161_256_322_000_000),
        to_ts: Ts(1_723_168_456_322_000_000),
        hole_ns: 1_500_000_000,
        open: 1,
        healed: 7,
        lost: 3,
        hours_from: Ts(1_723_158_000_000_000_000),
        hours: "pPHl-",
    }))
}

#[test]
fn golden_coverage_reads_and_writes_the_same_bytes() {
    let mut bytes = Vec::new();
    encode(&coverage(), 9, 77, 1, &mut bytes);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/coverage-v1.bin");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let golden = std::fs::read(path).expect("golden/coverage-v1.bin is part of the repository and never rewritten");
    assert!(golden == bytes, "version 1 as written today differs from the golden file: make it version 2");
    let record = Record::parse(&golden, true).unwrap();
    assert_eq!(record.row().unwrap(), coverage());
    assert!(!record.is_mark());
}

/// Kinds that came after the first golden file was sealed have files of their own.
#[test]
fn golden_alert_reads_and_writes_the_same_bytes() {
    let mut bytes = Vec::new();
    for (i, severity) in Severity::ALL.iter().enumerate() {
        let text = "aggTrade: unknown key `zz` (number)";
        let body = Body::Alert(Alert { severity: *severity, code: "shape", text });
        encode(&row(body), 9, 1 + i as u64, 1, &mut bytes);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/records-v1-alert.bin");
    if std::env::var_os("WRITE_GOLDEN_ALERT").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let golden = std::fs::read(path).expect("golden/records-v1-alert.bin is part of the repository");
    assert!(golden == bytes, "an alert as written today differs from the golden file");
    let record = Record::parse(&golden, true).unwrap();
    assert!(matches!(record.view().unwrap(), Body::Alert(Alert { severity: Severity::Info, code: "shape", .. })));
}

#[test]
fn golden_publication_reads_and_writes_the_same_bytes() {
    let full = Publication { principal: "k1", mid: "01JC", event: "dropDisc", cid: "c-1", data: r#"{"col": 3}"# };
    let least = Publication { principal: "", mid: "m", event: "e", cid: "", data: "{}" };
    let mut bytes = Vec::new();
    for (i, body) in [full, least].into_iter().enumerate() {
        encode(&row(Body::Publication(body)), 9, 1 + i as u64, 1, &mut bytes);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/records-v1-publication.bin");
    if std::env::var_os("WRITE_GOLDEN_PUBLICATION").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let golden = std::fs::read(path).expect("golden/records-v1-publication.bin is part of the repository");
    assert!(golden == bytes, "a publication as written today differs from the golden file");
    let record = Record::parse(&golden, true).unwrap();
    assert_eq!(record.view().unwrap(), Body::Publication(full));
    assert!(!record.is_mark());
}

fn named_trade() -> Row<'static> {
    let id = TradeId::parse(b"20f43950-d8dd-5b31-9112-a178eb6023af").unwrap();
    let (price, size, condition) = (Price(1_657_850), Size(1), TradeCondition::Rpi);
    let body = Trade { id, first_id: 0, last_id: 0, price, size, aggressor: Some(Side::Sell), condition };
    Row { flags: RowFlags::LOOSE_ID, ..row(Body::Trade(body)) }
}

#[test]
fn golden_trade_with_a_uuid_reads_and_writes_the_same_bytes() {
    let mut bytes = Vec::new();
    encode(&named_trade(), 9, 78, 1, &mut bytes);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/records-v1-trade-uuid.bin");
    if std::env::var_os("WRITE_GOLDEN_TRADE_UUID").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    let golden = std::fs::read(path).expect("golden/records-v1-trade-uuid.bin is part of the repository");
    assert!(golden == bytes, "a trade with a UUID as written today differs from the golden file");
    let record = Record::parse(&golden, true).unwrap();
    assert_eq!(record.row().unwrap(), named_trade());
    assert_eq!(golden.len(), 88, "no longer than one with a number");
}

#[test]
fn only_a_number_that_is_not_loose_counts() {
    let Body::Trade(named) = named_trade().body else { unreachable!() };
    let numbered = Trade { id: 7.into(), ..named };
    assert_eq!(named.counted(RowFlags::default()), None);
    assert_eq!(numbered.counted(RowFlags::LOOSE_ID.with(RowFlags::LATE_REST)), None);
    assert_eq!(numbered.counted(RowFlags::LATE_REST), Some(7));
}

#[test]
fn a_span_covers_what_power_took() {
    let mut out = Vec::new();
    encode(&row(Body::Retract(1)), 0, 2_000_000, 1_048_577, &mut out);
    assert_eq!(Record::parse(&out, true).unwrap().prev(), 951_423);
}

#[test]
fn every_flipped_bit_is_caught() {
    let bytes = encode_all();
    let len = Record::parse(&bytes, true).unwrap().bytes().len();
    for bit in 0..len * 8 {
        let mut broken = bytes[..len].to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::parse(&broken, true).is_err(), "bit {bit}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut out = Vec::new();
    encode(&row(Body::Retract(1)), 0, 1, 1, &mut out);
    out[8] = 2;
    assert_eq!(Record::parse(&out, false).unwrap_err(), RecordError::Version(2));
    out[8] = 1;
    out[9] = 200;
    assert_eq!(Record::parse(&out, false).unwrap().view().unwrap_err(), RecordError::Kind(200));
}

proptest! {
    #[test]
    fn strange_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 56..400), kind in 0_u8..40) {
        let len = bytes.len() / 8 * 8;
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[8] = 1;
        bytes[9] = kind;
        if let Ok(record) = Record::parse(&bytes, false) {
            let _ = record.row();
        }
    }
}
