//! The parser of clients' messages and the shipped JSON Schema take the same messages.

use proptest::prelude::*;
use serde_json::{Value, json};
use wholetape_wire::op;
use wholetape_wire::schema::inbound;

/// What the schema uses of draft 2020-12, and nothing else: an unknown word is a panic, so that none is passed over.
fn fits(root: &Value, schema: &Value, v: &Value) -> bool {
    let of = |s: &Value, v: &Value| fits(root, s, v);
    schema.as_object().expect("a schema is an object").iter().all(|(word, want)| match word.as_str() {
        "$schema" | "title" | "$defs" => true,
        "$ref" => of(root.pointer(want.as_str().unwrap().trim_start_matches('#')).unwrap(), v),
        "anyOf" => want.as_array().unwrap().iter().any(|s| of(s, v)),
        "const" => v == want,
        "not" => !of(want, v),
        "enum" => want.as_array().unwrap().contains(v),
        "type" => match want.as_str().unwrap() {
            "object" => v.is_object(),
            "array" => v.is_array(),
            "string" => v.is_string(),
            "boolean" => v.is_boolean(),
            "null" => v.is_null(),
            "integer" => v.is_u64() || v.is_i64(),
            other => panic!("{other}"),
        },
        "minimum" => v.as_i64().is_none_or(|n| n >= want.as_i64().unwrap()) && v.as_f64().is_none_or(|n| n >= 0.0),
        "maximum" => v.as_u64().is_none_or(|n| n <= want.as_u64().unwrap()),
        "minLength" => v.as_str().is_none_or(|s| s.chars().count() >= want.as_u64().unwrap() as usize),
        "maxLength" => v.as_str().is_none_or(|s| s.chars().count() <= want.as_u64().unwrap() as usize),
        "pattern" => v.as_str().is_none_or(|s| in_class(want.as_str().unwrap(), s)),
        "minItems" => v.as_array().is_none_or(|a| a.len() >= want.as_u64().unwrap() as usize),
        "maxItems" => v.as_array().is_none_or(|a| a.len() <= want.as_u64().unwrap() as usize),
        "minProperties" => v.as_object().is_none_or(|o| o.len() >= want.as_u64().unwrap() as usize),
        "maxProperties" => v.as_object().is_none_or(|o| o.len() <= want.as_u64().unwrap() as usize),
        "items" => v.as_array().is_none_or(|a| a.iter().all(|v| of(want, v))),
        "prefixItems" => v.as_array().is_none_or(|a| a.iter().zip(want.as_array().unwrap()).all(|(v, s)| of(s, v))),
        "required" => {
            v.as_object().is_none_or(|o| want.as_array().unwrap().iter().all(|k| o.contains_key(k.as_str().unwrap())))
        }
        "properties" => v
            .as_object()
            .is_none_or(|o| want.as_object().unwrap().iter().all(|(k, s)| o.get(k).is_none_or(|v| of(s, v)))),
        "additionalProperties" => v.as_object().is_none_or(|o| {
            let known = schema.get("properties").and_then(Value::as_object);
            let mut others = o.iter().filter(|(k, _)| known.is_none_or(|known| !known.contains_key(*k)));
            if *want == json!(false) { others.next().is_none() } else { others.all(|(_, v)| of(want, v)) }
        }),
        other => panic!("the schema uses {other}"),
    })
}

/// `^[class]+$`.
fn in_class(pattern: &str, text: &str) -> bool {
    let class: Vec<char> =
        pattern.strip_prefix("^[").and_then(|p| p.strip_suffix("]+$")).expect(pattern).chars().collect();
    let within = |c: char| {
        let mut rest = class.as_slice();
        while let Some(first) = rest.first() {
            match rest {
                [from, '-', to, tail @ ..] => {
                    if (*from..=*to).contains(&c) {
                        return true;
                    }
                    rest = tail;
                }
                _ if *first == c => return true,
                _ => rest = &rest[1..],
            }
        }
        false
    };
    !text.is_empty() && text.chars().all(within)
}

/// Whether the parser takes the message, or all of the batch.
fn parsed(text: &str) -> bool {
    op::parse(text).is_ok_and(|all| all.iter().all(Result::is_ok))
}

#[track_caller]
fn same(v: &Value) {
    let schema = inbound();
    assert_eq!(parsed(&v.to_string()), fits(&schema, &schema, v), "parser, schema: {v}");
}

/// Values that are right somewhere, and others.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "live|earliest|full|none|100ms|1s|all|clean|cum|text|scaled|catch_up|conflate|drop_oldest|drop_lowest|disconnect",
        "[a-zA-Z0-9._%*-]{0,6}",
        "[ -~]{0,6}",
        Just("x".repeat(64)),
        Just("x".repeat(65)),
        Just("x".repeat(128)),
        Just("x".repeat(129)),
    ];
    let number = prop_oneof![
        Just(0_i64),
        Just(1),
        Just(10),
        Just(50),
        Just(100),
        Just(101),
        Just(200),
        Just((1 << 53) - 1),
        Just(1 << 53),
        Just(-1),
        any::<i64>()
    ];
    let leaf = prop_oneof![
        3 => text.prop_map(Value::from),
        3 => number.prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!(1.5)),
    ];
    let key = "last|ts|asof|i|epoch|seq|event|ts_recv|trade.A.B|x";
    leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

const KEYS: &str = "id|topic|from|conflate|depth|policy|lag|view|ack|short|pos|a|batch|linger_ms|num|agent|session|resume|token|key|ts|nonce|sig|mid|event|if_seq|cid|data|x";

/// One right message of each form, to be bent.
fn right() -> Vec<Value> {
    vec![
        json!({"op": "hello", "batch": true, "linger_ms": 100, "num": "text", "agent": "a"}),
        json!({"op": "sub", "id": 1, "topic": "trade.*", "from": {"ts": 1, "asof": 2, "i": 3, "epoch": "e"}, "conflate": "none", "depth": "full",
            "policy": "catch_up", "lag": 1, "view": "all", "ack": "cum", "short": false}),
        json!({"op": "sub", "topic": "t", "from": {"last": 3}}),
        json!({"op": "sub", "topic": "t", "from": {"ts": 3}, "depth": 50}),
        json!({"op": "sub", "topic": "t", "from": {"epoch": "e", "seq": 3}}),
        json!({"op": "unsub", "topic": "*"}),
        json!({"op": "resync", "topic": "t", "pos": ["e", 3]}),
        json!({"op": "resync", "topic": "t", "pos": null}),
        json!({"op": "resume", "session": "s", "resume": "r", "pos": {"t": null, "u": ["e", 1]}}),
        json!({"op": "ack", "a": {"t": 1}}),
        json!({"op": "flow", "topic": "t", "credit": 1_000_000}),
        json!({"op": "ping"}),
        json!({"op": "pub", "topic": "c4.g", "mid": "m", "event": "e", "if_seq": 3, "cid": "c", "data": {"col": 3, "deep": [{"event": 1}]}}),
        json!({"op": "pub", "topic": "c4.g", "mid": "m", "event": "e"}),
        json!({"op": "auth", "token": "a.b.c"}),
        json!({"op": "auth", "key": "k", "ts": 1, "nonce": "n", "sig": "00"}),
    ]
}

#[test]
fn each_op_is_in_both() {
    for message in right() {
        assert!(parsed(&message.to_string()), "{message}");
        same(&message);
        same(&json!([message, {"op": "ping"}]));
    }
    let all = |n: usize| Value::from(vec![json!({"op": "ping"}); n]);
    [0, 1, 256, 257].into_iter().for_each(|n| same(&all(n)));
    let acks = |n: usize| json!({"op": "ack", "a": (0..n).map(|i| (i.to_string(), json!(i))).collect::<serde_json::Map<_, _>>()});
    [0, 1, 256, 257].into_iter().for_each(|n| same(&acks(n)));
    [json!(7), json!({}), json!({"op": "pub"}), json!({"op": 3}), json!([[{"op": "ping"}]])].iter().for_each(same);
}

/// Each key of each form with each value at a bound, and beside it.
#[test]
fn bounds_are_the_same() {
    let numbers = [0, 1, 10, 11, 50, 100, 101, 200, (1_u64 << 53) - 1, 1 << 53].map(Value::from);
    let words = "live earliest full none 100ms 1s all clean cum text scaled catch_up conflate drop_oldest drop_lowest disconnect x a|b a*b ä";
    let lengths = [0, 64, 65, 128, 129, 8 << 10, (8 << 10) + 1].map(|n| Value::from("x".repeat(n)));
    let others = [
        json!(-1),
        json!(1.5),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(["e", 1]),
        json!(["e", -1]),
        json!(["e"]),
    ];
    let froms = [
        json!({"last": 1}),
        json!({"last": 1, "x": 1}),
        json!({"ts": 1, "i": 1}),
        json!({"ts": 1, "asof": 1}),
        json!({"seq": 1}),
        json!({"ts_event": 1}),
    ];
    let words = words.split(' ').map(Value::from);
    let values: Vec<Value> = numbers.into_iter().chain(words).chain(lengths).chain(others).chain(froms).collect();
    let schema = inbound();
    for message in right() {
        for key in message.as_object().unwrap().keys().chain([&"id".to_owned()]) {
            for value in &values {
                let mut bent = message.clone();
                bent[key.as_str()] = value.clone();
                assert_eq!(parsed(&bent.to_string()), fits(&schema, &schema, &bent), "parser, schema: {bent}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A right message with keys taken out, put in, and changed.
    #[test]
    fn bent_messages_are_judged_alike(
        which in 0_usize..15, out in prop::option::of(0_usize..10), changes in prop::collection::vec((KEYS, value()), 0..3),
    ) {
        let mut message = right().swap_remove(which);
        let map = message.as_object_mut().unwrap();
        if let Some(key) = out.and_then(|n| map.keys().nth(n).cloned()) {
            map.remove(&key);
        }
        map.extend(changes);
        same(&message);
    }

    /// A right message with the value of one of its own keys changed.
    #[test]
    fn bent_values_are_judged_alike(which in 0_usize..15, key in 0_usize..10, to in value()) {
        let mut message = right().swap_remove(which);
        let map = message.as_object_mut().unwrap();
        let key = map.keys().nth(key % map.len()).cloned().unwrap();
        map.insert(key, to);
        same(&message);
    }
}

#[test]
fn the_document_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api/websocket.schema.json");
    if std::env::var_os("WHOLETAPE_BLESS").is_some() {
        std::fs::write(path, format!("{:#}\n", inbound())).unwrap();
    }
    let found: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_default()).unwrap_or_default();
    assert_eq!(
        found,
        inbound(),
        "stale: WHOLETAPE_BLESS=1 cargo test -p wholetape-wire --test schema the_document_is_fresh"
    );
}
