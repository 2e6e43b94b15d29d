//! What clients may say, as JSON Schema (draft 2020-12): `docs/api/websocket.schema.json`.
//!
//! The bounds are the parser's own constants, and `tests/schema.rs` holds parser ([`crate::op`]) and schema against each other with generated
//! messages: what one takes the other takes, so neither can change alone. Integers are written without fraction or exponent.

use serde_json::{Value, json};

use crate::op::{NAME_MAX, OURS};
use crate::{BATCH_MESSAGES_MAX, CREDIT_MAX, NUMBER_MAX, TOPIC_LEN_MAX};

/// One message, or a batch of them. Closed: a key that is not named is refused.
#[must_use]
pub fn inbound() -> Value {
    let ops = [
        op(
            "hello",
            &[],
            json!({
                "batch": {"type": "boolean"}, "linger_ms": integer(0, 100), "num": {"enum": ["text", "scaled"]},
                "agent": {"type": "string"},
            }),
        ),
        op(
            "sub",
            &["topic"],
            json!({
                "topic": topic("*"), "from": from(), "conflate": {"enum": ["none", "100ms", "1s"]},
                "depth": {"enum": [10, 50, 200, "full"]},
                "policy": {"enum": ["catch_up", "conflate", "drop_oldest", "drop_lowest", "disconnect"]},
                "lag": integer(1, NUMBER_MAX - 1), "view": {"enum": ["all", "clean"]}, "ack": {"enum": ["none", "cum"]},
                "short": {"type": "boolean"},
            }),
        ),
        op("unsub", &["topic"], json!({"topic": topic("*")})),
        op("resync", &["topic"], json!({"topic": topic(""), "pos": position()})),
        op(
            "resume",
            &["session", "resume", "pos"],
            json!({
                "session": made(), "resume": made(), "pos": {"type": "object", "additionalProperties": position()},
            }),
        ),
        op(
            "ack",
            &["a"],
            json!({
                "a": {"type": "object", "minProperties": 1, "maxProperties": BATCH_MESSAGES_MAX, "additionalProperties": number()},
            }),
        ),
        op("flow", &["topic", "credit"], json!({"topic": topic(""), "credit": integer(1, CREDIT_MAX)})),
        op("ping", &[], json!({})),
        op(
            "pub",
            &["topic", "mid", "event"],
            json!({
                "topic": topic(""), "mid": visible(NAME_MAX as u64), "event": visible(NAME_MAX as u64), "if_seq": number(),
                "cid": visible(NAME_MAX as u64), "data": published(),
            }),
        ),
        op("auth", &["token"], json!({"token": visible(8 << 10)})),
        op(
            "auth",
            &["key", "ts", "nonce", "sig"],
            json!({
                "key": named(128), "ts": number(), "nonce": named(64), "sig": visible(64),
            }),
        ),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wholetape WebSocket protocol, version 1: messages of clients",
        "anyOf": [
            {"$ref": "#/$defs/message"},
            {"type": "array", "minItems": 1, "maxItems": BATCH_MESSAGES_MAX, "items": {"$ref": "#/$defs/message"}},
        ],
        "$defs": {"message": {"anyOf": ops}},
    })
}

/// Every message may have an `id`.
fn op(name: &str, required: &[&str], mut keys: Value) -> Value {
    keys["op"] = json!({"const": name});
    keys["id"] = number();
    let required: Vec<&str> = ["op"].iter().chain(required).copied().collect();
    json!({"type": "object", "required": required, "properties": keys, "additionalProperties": false})
}

fn integer(min: u64, max: u64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

fn number() -> Value {
    integer(0, NUMBER_MAX - 1)
}

fn topic(more: &str) -> Value {
    json!({"type": "string", "maxLength": TOPIC_LEN_MAX, "pattern": format!("^[a-zA-Z0-9._%{more}-]+$")})
}

/// Text that the server made and the client gives back.
fn made() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": TOPIC_LEN_MAX})
}

fn visible(most: u64) -> Value {
    json!({"type": "string", "maxLength": most, "pattern": "^[!-~]+$"})
}

/// Visible, without the `|` that parts what is signed.
fn named(most: u64) -> Value {
    json!({"type": "string", "maxLength": most, "pattern": "^[!-{}~]+$"})
}

/// What is published: any object without the keys that the server adds.
fn published() -> Value {
    let ours: serde_json::Map<_, _> = OURS.iter().map(|key| ((*key).to_owned(), json!({"not": {}}))).collect();
    json!({"type": "object", "properties": ours})
}

fn position() -> Value {
    json!({"anyOf": [
        {"type": "null"},
        {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "string"}, number()]},
    ]})
}

fn from() -> Value {
    let object = |required: &[&str], keys: Value| json!({"type": "object", "required": required, "properties": keys, "additionalProperties": false});
    json!({"anyOf": [
        {"enum": ["live", "earliest"]},
        object(&["last"], json!({"last": number()})),
        object(&["ts"], json!({"ts": number()})),
        object(&["ts", "asof"], json!({"ts": number(), "asof": number(), "i": number(), "epoch": {"type": "string"}})),
        object(&["epoch", "seq"], json!({"epoch": {"type": "string"}, "seq": number()})),
    ]})
}
