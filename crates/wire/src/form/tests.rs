use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const GOLDEN: &str = include_str!("../../golden/v1.jsonl");
const EVERY: [Form; Form::COUNT] = {
    let mut all = [Form::PLAIN; Form::COUNT];
    let mut i = 0;
    while i < Form::COUNT {
        all[i] = Form { msgpack: i & 1 > 0, scaled: i & 2 > 0, short: i & 4 > 0 };
        i += 1;
    }
    all
};

fn written(form: Form, subject: &Subject, json: &str) -> Vec<u8> {
    let mut out = b"before".to_vec();
    assert!(Former::default().write(&mut out, form, subject, json.as_bytes()), "{json}");
    out.split_off(6)
}

/// As a client reads it.
fn read(form: Form, bytes: &[u8]) -> Value {
    if form.msgpack { rmp_serde::from_slice(bytes).unwrap() } else { serde_json::from_slice(bytes).unwrap() }
}

#[test]
fn forms_are_numbered() {
    for (i, form) in EVERY.into_iter().enumerate() {
        assert_eq!(form.index(), i);
    }
}

#[test]
fn msgpack_says_what_json_says() {
    for line in GOLDEN.lines() {
        let form = Form { msgpack: true, ..Form::PLAIN };
        let bytes = written(form, &Subject::default(), line);
        assert_eq!(read(form, &bytes), serde_json::from_str::<Value>(line).unwrap(), "{line}");
        assert!(bytes.len() < line.len());
        let back: Value = serde_json::from_str(&msgpack::to_json(&bytes, 64).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(line).unwrap(), "{line}");
        assert_eq!(
            written(Form::PLAIN, &Subject::default(), line),
            line.as_bytes(),
            "the plain form is the line itself"
        );
    }
}

#[test]
fn a_number_stands_for_the_name_between_subd_and_the_end() {
    let subject = Subject { ch: 7, places: None };
    for line in GOLDEN.lines() {
        for form in EVERY.into_iter().filter(|f| f.short) {
            let plain: Value = serde_json::from_str(line).unwrap();
            let mut want = plain.clone();
            if ["data", "mark", "snap", "missed", "notice"].iter().any(|op| plain["op"] == *op)
                && plain["topic"].is_string()
            {
                want.as_object_mut().unwrap().remove("topic");
                want["ch"] = 7.into();
            }
            assert_eq!(read(form, &written(form, &subject, line)), want, "{line}");
        }
    }
}

#[test]
fn prices_and_sizes_are_integers_of_the_topics_places() {
    let subject = Subject { ch: 1, places: Some(Places { price: 2, size: 3 }) };
    let cases = [
        (
            r#"{"op":"data","topic":"t","seq":1,"data":{"id":5,"price":"61800.30","size":"0.006","side":"sell","ts_event":"17"}}"#,
            json!({"op":"data","topic":"t","seq":1,"data":{"id":5,"price":6_180_030,"size":6,"side":"sell","ts_event":"17"}}),
        ),
        (
            r#"{"op":"snap","data":{"b":[["60000.1000","2"],["59999.9","0.000"]],"a":[],"crc":7}}"#,
            json!({"op":"snap","data":{"b":[[6_000_010,2_000],[5_999_990,0]],"a":[],"crc":7}}),
        ),
        // More places than the topic's: it says its own, for itself.
        (
            r#"{"op":"data","data":{"price":"0.00001","size":"5"}}"#,
            json!({"op":"data","px_exp":-5,"data":{"price":1,"size":5_000}}),
        ),
        (
            r#"{"op":"data","data":{"b":[["1","0.00005"],["2","3"]],"a":[["3.125","1"]]}}"#,
            json!({"op":"data","px_exp":-3,"size_exp":-5,"data":{"b":[[1_000,5],[2_000,300_000]],"a":[[3_125,100_000]]}}),
        ),
        // What is neither stays as it is, and so does a price that is no decimal.
        (
            r#"{"op":"data","data":{"last":"1.5","quote_volume":"1500.00","change":"-0.1","trades":12,"price":null}}"#,
            json!({"op":"data","data":{"last":150,"quote_volume":"1500.00","change":"-0.1","trades":12,"price":null}}),
        ),
        // An integer that a double would not keep.
        (
            r#"{"op":"data","data":{"size":"9007199254740.992","price":"-9007199254740.99"}}"#,
            json!({"op":"data","data":{"size":"9007199254740992","price":-900_719_925_474_099_i64}}),
        ),
        (
            r#"{"op":"hist","asof":9,"data":[{"op":"data","data":{"price":"1.001"}},{"op":"mark","mark":"gap"}]}"#,
            json!({"op":"hist","asof":9,"px_exp":-2,"size_exp":-3,"data":[{"op":"data","px_exp":-3,"data":{"price":1_001}},{"op":"mark","mark":"gap"}]}),
        ),
    ];
    for (line, want) in cases {
        for msgpack in [false, true] {
            let form = Form { msgpack, scaled: true, short: false };
            assert_eq!(read(form, &written(form, &subject, line)), want, "{line}");
        }
        let none = Subject { ch: 1, places: None };
        let form = Form { scaled: true, ..Form::PLAIN };
        assert_eq!(written(form, &none, line), line.as_bytes(), "a topic without prices has no scaled form");
    }
}

#[test]
fn what_is_no_json_is_not_written() {
    for bad in ["", "{", "{\"a\":1}}", "nonsense"] {
        let mut out = b"before".to_vec();
        assert!(!Former::default().write(&mut out, EVERY[7], &Subject::default(), bad.as_bytes()));
        assert_eq!(out, b"before");
    }
}

#[test]
fn what_clients_may_not_send_is_refused_by_place() {
    for (bytes, why) in [
        (&b""[..], "ends within a value, at byte 0"),
        (&[0x81, 0xa2, b'o'], "ends within a value, at byte 3"),
        (&[0x01, 0x02], "bytes behind the message, from 1"),
        (&[0xc4, 0x01, 0x00], "type 0xc4 at byte 0 is none of nil, bool, number, string, array and map"),
        (&[0x91, 0xc1], "type 0xc1 at byte 1 is none of nil, bool, number, string, array and map"),
        (&[0xd6, 0, 0, 0, 0, 0], "type 0xd6 at byte 0 is none of nil, bool, number, string, array and map"),
        (&[0x81, 0x01, 0x02], "the key at byte 1 is no string"),
        (&[0x81], "ends within a map, at byte 1"),
        (&[0xa1, 0xff], "the string at byte 1 is not UTF-8"),
        (&[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], "inf at byte 0 is no number"),
        (&[0xdd, 0xff, 0xff, 0xff, 0xff], "ends within a value, at byte 5"),
        (&[0xdb, 0xff, 0xff, 0xff, 0xff], "ends within a value, at byte 5"),
        (&[0x91; 9], "nested deeper than 8"),
    ] {
        assert_eq!(msgpack::to_json(bytes, 8).unwrap_err(), why, "{bytes:x?}");
    }
}

/// JSON of everything that our messages are made of.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Few digits: the judge itself reads many of them a bit beside the nearest double.
        any::<i16>().prop_map(|v| Value::from(f64::from(v) / 16.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_message_reads_back(value in any_json()) {
        let json = value.to_string();
        let form = Form { msgpack: true, ..Form::PLAIN };
        let bytes = written(form, &Subject::default(), &json);
        prop_assert_eq!(&read(form, &bytes), &value);
        // As another library writes it, too.
        for bytes in [bytes, rmp_serde::to_vec(&value).unwrap()] {
            let back = serde_json::from_str::<Value>(&msgpack::to_json(&bytes, 64).unwrap()).unwrap();
            prop_assert_eq!(&back, &value);
        }
    }

    #[test]
    fn any_bytes_are_json_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(json) = msgpack::to_json(&bytes, 64) {
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{}", json);
        }
    }

    #[test]
    fn an_integer_is_its_decimal(raw in any::<i64>(), scale in 0_u8..=18, base in 0_u8..=18) {
        let price = wholetape_model::Decimal { raw, scale };
        let json = format!("{{\"op\":\"data\",\"data\":{{\"price\":\"{price}\"}}}}");
        let subject = Subject { ch: 1, places: Some(Places { price: base, size: 0 }) };
        for msgpack in [false, true] {
            let form = Form { msgpack, scaled: true, short: false };
            let told = read(form, &written(form, &subject, &json));
            let places = told["px_exp"].as_i64().map_or(base, |exp| (-exp) as u8);
            prop_assert!(places >= base);
            let integer: i128 = match &told["data"]["price"] {
                Value::Number(n) => n.as_i64().unwrap().into(),
                text => text.as_str().unwrap().parse().unwrap(),
            };
            // raw × 10^-scale = integer × 10^-places
            let (left, right) = if scale >= places {
                (i128::from(raw), integer * 10_i128.pow(u32::from(scale - places)))
            } else {
                (i128::from(raw) * 10_i128.pow(u32::from(places - scale)), integer)
            };
            prop_assert_eq!(left, right);
        }
    }
}
