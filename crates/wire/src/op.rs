//! What clients say, read against a closed schema: an unknown key or a wrong type is an error that names its path.
//!
//! Inbound traffic is small (64 KiB, 20 messages a second), so a generic tree is fine here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::code::Code;
use crate::{CREDIT_MAX, DEPTH_MAX, TOPIC_LEN_MAX};

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Live,
    Earliest,
    /// This many messages back.
    Last(u64),
    /// Rows of history since `ts` (microseconds since the Unix epoch, UTC), then live.
    Ts {
        ts: i64,
        asof: Option<AsOf>,
    },
    /// After this seq.
    Position {
        epoch: String,
        seq: u64,
    },
}

/// How far a client came in a history that broke off, in the words of the last `hist` that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOf {
    pub seq: u64,
    /// Rows that it has.
    pub i: u64,
    /// Of which epoch `seq` is, where the client says.
    pub epoch: Option<String>,
}

/// A `sub` message. Optional keys that the client left out are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sub {
    pub topic: String,
    pub from: From,
    /// `none`, `100ms`, `1s`.
    pub conflate: Option<String>,
    /// 10, 50, 200; `None` = full.
    pub depth: Option<u64>,
    /// `catch_up`, `conflate`, `drop_oldest`, `drop_lowest`, `disconnect`.
    pub policy: Option<String>,
    pub lag: Option<u64>,
    /// `all`, `clean`.
    pub view: Option<String>,
    /// `none`, `cum`.
    pub ack: Option<String>,
    pub short: bool,
}

/// Where a client stands in a topic: epoch and seq, or nothing.
pub type Position = Option<(String, u64)>;

/// A `resume` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub session: String,
    pub resume: String,
    /// Each topic that is to go on.
    pub pos: Vec<(String, Position)>,
}

/// A `pub` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pub {
    pub topic: String,
    /// The principal's own name for it.
    pub mid: String,
    pub event: String,
    /// Only if this is the topic's head.
    pub if_seq: Option<u64>,
    pub cid: Option<String>,
    /// A JSON object, byte for byte as the client wrote it.
    pub data: String,
}

/// Credentials of an `auth` message. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// A JWT.
    Token(String),
    /// An API key: `sig` is the HMAC-SHA-256 of `key|ts|nonce` in hex, `ts` microseconds since the Unix epoch.
    Signed { key: String, ts: u64, nonce: String, sig: String },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// One message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Hello {
        batch: Option<bool>,
        linger_ms: Option<u64>,
        num: Option<String>,
        /// What the client says it is.
        agent: Option<String>,
    },
    Sub(Box<Sub>),
    Unsub {
        topic: String,
    },
    /// `pos`: `None` for a client that has nothing.
    Resync {
        topic: String,
        pos: Position,
    },
    Resume(Box<Resume>),
    /// Everything up to these seqs was processed, topic by topic.
    Ack(Vec<(String, u64)>),
    Ping,
    Auth(Auth),
    Pub(Box<Pub>),
    /// So many more messages of the topic are taken.
    Flow {
        topic: String,
        credit: u64,
    },
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}")]
pub struct OpError {
    pub code: Code,
    pub msg: String,
    pub path: Option<String>,
    /// The message's id, when it could be read.
    pub id: Option<u64>,
}

/// A message or its refusal, with the id to answer to.
pub type Parsed = Result<(Option<u64>, Op), OpError>;

/// Reads one text frame: a message, or an array of them.
///
/// # Errors
/// `BAD_JSON`, or `SCHEMA` for nesting and batches beyond the bounds; then nothing of the frame is believed.
pub fn parse(text: &str) -> Result<Vec<Parsed>, OpError> {
    if depth(text) > DEPTH_MAX {
        return Err(refuse(Code::Schema, format!("nested deeper than {DEPTH_MAX}"), None));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|e| refuse(Code::BadJson, format!("not json at line {} column {}", e.line(), e.column()), None))?;
    let raw = || serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default();
    match value {
        Value::Array(all) if all.is_empty() || all.len() > crate::BATCH_MESSAGES_MAX => {
            let why = format!("a batch holds 1 to {} messages", crate::BATCH_MESSAGES_MAX);
            Err(refuse(Code::Schema, why, None))
        }
        Value::Array(all) if all.iter().any(is_pub) => {
            Ok(all.into_iter().zip(raw()).map(|(value, raw)| one(value, raw.get())).collect())
        }
        Value::Array(all) => Ok(all.into_iter().map(|value| one(value, "")).collect()),
        other => Ok(vec![one(other, text)]),
    }
}

fn is_pub(value: &Value) -> bool {
    value["op"] == "pub"
}

/// How deep brackets nest outside strings.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn refuse(code: Code, msg: impl Into<String>, path: Option<String>) -> OpError {
    OpError { code, msg: msg.into(), path, id: None }
}

/// `text`: the message as it came, where it is a `pub`.
fn one(value: Value, text: &str) -> Parsed {
    let Value::Object(map) = value else {
        return Err(refuse(Code::Schema, "a message is an object", None));
    };
    let mut keys = Keys { map, id: None };
    keys.id = keys.integer("id")?;
    let op = keys.text("op")?.ok_or_else(|| keys.error("op", "missing"))?;
    let parsed = match op.as_str() {
        "hello" => Op::Hello {
            batch: keys.bool("batch")?,
            linger_ms: keys.bounded("linger_ms", 0, 100)?,
            num: keys.word("num", &["text", "scaled"])?,
            agent: keys.text("agent")?,
        },
        "sub" => Op::Sub(Box::new(Sub {
            topic: keys.topic(true)?,
            from: keys.from()?,
            conflate: keys.word("conflate", &["none", "100ms", "1s"])?,
            depth: keys.depth()?,
            policy: keys.word("policy", &["catch_up", "conflate", "drop_oldest", "drop_lowest", "disconnect"])?,
            lag: keys.bounded("lag", 1, u64::MAX)?,
            view: keys.word("view", &["all", "clean"])?,
            ack: keys.word("ack", &["none", "cum"])?,
            short: keys.bool("short")?.unwrap_or(false),
        })),
        "unsub" => Op::Unsub { topic: keys.topic(true)? },
        "resync" => Op::Resync { topic: keys.topic(false)?, pos: keys.position()? },
        "resume" => Op::Resume(Box::new(Resume {
            session: keys.token("session")?,
            resume: keys.token("resume")?,
            pos: keys.positions()?,
        })),
        "ack" => Op::Ack(keys.acks()?),
        "ping" => Op::Ping,
        "auth" => Op::Auth(keys.auth()?),
        "pub" => Op::Pub(Box::new(Pub {
            topic: keys.topic(false)?,
            mid: keys.name("mid")?,
            event: keys.name("event")?,
            if_seq: keys.integer("if_seq")?,
            cid: keys.bytes("cid", NAME_MAX)?,
            data: keys.data(text)?,
        })),
        "flow" => Op::Flow {
            topic: keys.topic(false)?,
            credit: keys.bounded("credit", 1, CREDIT_MAX)?.ok_or_else(|| keys.error("credit", "missing"))?,
        },
        other => {
            let msg = format!("unknown op `{}`", clip(other));
            return Err(OpError { code: Code::UnknownOp, msg, path: Some("op".into()), id: keys.id });
        }
    };
    match keys.map.keys().next() {
        Some(key) => Err(keys.error(clip(key), "unknown key")),
        None => Ok((keys.id, parsed)),
    }
}

/// Strangers' text in our answers stays short.
fn clip(text: &str) -> &str {
    let end = (0..=text.len().min(64)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

/// The keys that are not yet accounted for.
struct Keys {
    map: Map<String, Value>,
    id: Option<u64>,
}

impl Keys {
    fn error(&self, path: &str, why: &str) -> OpError {
        OpError { code: Code::Schema, msg: format!("{path}: {why}"), path: Some(path.into()), id: self.id }
    }

    fn integer(&mut self, key: &str) -> Result<Option<u64>, OpError> {
        match self.map.remove(key) {
            None => Ok(None),
            Some(v) => {
                let v = v.as_u64().filter(|v| *v < crate::NUMBER_MAX);
                v.map(Some).ok_or_else(|| self.error(key, "must be an integer of 0 to 2^53"))
            }
        }
    }

    fn bounded(&mut self, key: &str, min: u64, max: u64) -> Result<Option<u64>, OpError> {
        match self.integer(key)? {
            Some(v) if v < min || v > max => Err(self.error(key, &format!("must be {min} to {max}"))),
            v => Ok(v),
        }
    }

    fn bool(&mut self, key: &str) -> Result<Option<bool>, OpError> {
        match self.map.remove(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(v)),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, OpError> {
        match self.map.remove(key) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(_) => Err(self.error(key, "must be a string")),
        }
    }

    fn word(&mut self, key: &str, of: &[&str]) -> Result<Option<String>, OpError> {
        match self.text(key)? {
            Some(v) if !of.contains(&v.as_str()) => Err(self.error(key, &format!("must be one of {}", of.join(", ")))),
            v => Ok(v),
        }
    }

    fn topic(&mut self, wildcard: bool) -> Result<String, OpError> {
        let Some(topic) = self.text("topic")? else { return Err(self.error("topic", "missing")) };
        if topic.is_empty() || topic.len() > TOPIC_LEN_MAX {
            return Err(self.error("topic", "must be 1 to 128 bytes"));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._%-".contains(&b) || (wildcard && b == b'*');
        if !topic.bytes().all(fits) {
            return Err(self.error("topic", "may hold letters, digits and . _ % - (others percent-encoded)"));
        }
        Ok(topic)
    }

    fn auth(&mut self) -> Result<Auth, OpError> {
        if let Some(token) = self.bytes("token", 8 << 10)? {
            return Ok(Auth::Token(token));
        }
        let missing = |keys: &Self, name: &str| keys.error(name, "missing (or a `token`)");
        let key = self.bytes("key", 128)?.ok_or_else(|| missing(self, "key"))?;
        let ts = self.integer("ts")?.ok_or_else(|| missing(self, "ts"))?;
        let nonce = self.bytes("nonce", 64)?.ok_or_else(|| missing(self, "nonce"))?;
        let sig = self.bytes("sig", 64)?.ok_or_else(|| missing(self, "sig"))?;
        if [&key, &nonce].iter().any(|part| part.contains('|')) {
            return Err(self.error("nonce", "neither key nor nonce holds a |"));
        }
        Ok(Auth::Signed { key, ts, nonce, sig })
    }

    /// 1 to `most` visible ASCII characters.
    fn bytes(&mut self, key: &str, most: usize) -> Result<Option<String>, OpError> {
        match self.text(key)? {
            Some(v) if v.is_empty() || v.len() > most || !v.bytes().all(|b| b.is_ascii_graphic()) => {
                Err(self.error(key, &format!("must be 1 to {most} visible ASCII characters")))
            }
            v => Ok(v),
        }
    }

    fn name(&mut self, key: &str) -> Result<String, OpError> {
        self.bytes(key, NAME_MAX)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// What is published, as it stands in the message's text: a number that we would read is not always the one that was written.
    fn data(&mut self, text: &str) -> Result<String, OpError> {
        let map = match self.map.remove("data") {
            None => return Ok("{}".into()),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(self.error("data", "must be an object")),
        };
        if let Some(key) = OURS.iter().find(|key| map.contains_key(**key)) {
            return Err(self.error(&format!("data.{key}"), "is written by the server"));
        }
        let raw: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).unwrap_or_default();
        raw.get("data").map(|data| data.get().to_owned()).ok_or_else(|| self.error("data", "must be an object"))
    }

    fn acks(&mut self) -> Result<Vec<(String, u64)>, OpError> {
        let Some(Value::Object(map)) = self.map.remove("a") else {
            return Err(self.error("a", "must be an object of topics and seqs"));
        };
        if map.is_empty() || map.len() > crate::BATCH_MESSAGES_MAX {
            return Err(self.error("a", &format!("must name 1 to {} topics", crate::BATCH_MESSAGES_MAX)));
        }
        let one = |(topic, seq): (String, Value)| {
            let seq = seq.as_u64().filter(|seq| *seq < crate::NUMBER_MAX);
            let path = format!("a.{}", clip(&topic));
            seq.map(|seq| (topic, seq)).ok_or_else(|| self.error(&path, "must be an integer of 0 to 2^53"))
        };
        map.into_iter().map(one).collect()
    }

    fn depth(&mut self) -> Result<Option<u64>, OpError> {
        match self.map.remove("depth") {
            None => Ok(None),
            Some(Value::String(s)) if s == "full" => Ok(None),
            Some(v) => match v.as_u64() {
                Some(n @ (10 | 50 | 200)) => Ok(Some(n)),
                _ => Err(self.error("depth", "must be 10, 50, 200 or \"full\"")),
            },
        }
    }

    fn from(&mut self) -> Result<From, OpError> {
        match self.map.remove("from") {
            None => Ok(From::Live),
            Some(Value::String(s)) if s == "live" => Ok(From::Live),
            Some(Value::String(s)) if s == "earliest" => Ok(From::Earliest),
            Some(Value::Object(map)) => {
                let mut keys = Keys { map, id: self.id };
                let nested = |mut e: OpError| {
                    e.path = e.path.map(|p| format!("from.{p}"));
                    e.msg = format!("from.{}", e.msg);
                    e
                };
                let last = keys.integer("last").map_err(nested)?;
                let ts = keys.integer("ts").map_err(nested)?;
                let asof = keys.integer("asof").map_err(nested)?;
                let i = keys.integer("i").map_err(nested)?;
                let seq = keys.integer("seq").map_err(nested)?;
                let epoch = keys.text("epoch").map_err(nested)?;
                if let Some(key) = keys.map.keys().next() {
                    return Err(nested(keys.error(clip(key), "unknown key")));
                }
                if asof.is_some() && ts.is_none() {
                    return Err(nested(keys.error("asof", "only beside ts, as the last `hist` says it")));
                }
                if i.is_some() && asof.is_none() {
                    return Err(nested(keys.error("i", "only beside ts and asof, as the last `hist` says them")));
                }
                match (last, ts, asof, epoch, seq) {
                    (Some(n), None, None, None, None) => Ok(From::Last(n)),
                    (None, Some(ts), None, None, None) => Ok(From::Ts { ts: ts as i64, asof: None }),
                    (None, Some(ts), Some(seq), epoch, None) => {
                        Ok(From::Ts { ts: ts as i64, asof: Some(AsOf { seq, i: i.unwrap_or(0), epoch }) })
                    }
                    (None, None, None, Some(epoch), Some(seq)) => Ok(From::Position { epoch, seq }),
                    _ => Err(self.error("from", "must be {last}, {ts}, {ts, asof, i} or {epoch, seq}")),
                }
            }
            Some(_) => Err(self.error("from", "must be \"live\", \"earliest\" or an object")),
        }
    }

    /// Text that we made and the client gives back.
    fn token(&mut self, key: &str) -> Result<String, OpError> {
        match self.text(key)? {
            Some(v) if !v.is_empty() && v.len() <= TOPIC_LEN_MAX => Ok(v),
            Some(_) => Err(self.error(key, "must be 1 to 128 bytes")),
            None => Err(self.error(key, "missing")),
        }
    }

    fn position(&mut self) -> Result<Position, OpError> {
        let pos = self.map.remove("pos");
        position(pos.as_ref().unwrap_or(&Value::Null)).ok_or_else(|| self.error("pos", POSITION))
    }

    fn positions(&mut self) -> Result<Vec<(String, Position)>, OpError> {
        let Some(Value::Object(map)) = self.map.remove("pos") else {
            return Err(self.error("pos", "must be an object of topics and positions"));
        };
        let one = |(topic, value): (String, Value)| {
            let path = format!("pos.{}", clip(&topic));
            position(&value).map(|pos| (topic, pos)).ok_or_else(|| self.error(&path, POSITION))
        };
        map.into_iter().map(one).collect()
    }
}

/// Longest `mid`, `event` and `cid`.
pub(crate) const NAME_MAX: usize = 64;
/// Keys of a message's `data` that are not the publisher's to write.
pub(crate) const OURS: [&str; 3] = ["event", "ts_event", "ts_recv"];

const POSITION: &str = "must be [epoch, seq] or null";

/// `[epoch, seq]` or null.
fn position(value: &Value) -> Option<Position> {
    match value {
        Value::Null => Some(None),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(epoch), seq] => {
                let seq = seq.as_u64().filter(|seq| *seq < crate::NUMBER_MAX)?;
                Some(Some((epoch.clone(), seq)))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn good(text: &str, op: Op) {
        assert_eq!(parse(text).unwrap(), vec![Ok((Some(1), op))], "{text}");
    }

    #[track_caller]
    fn bad(text: &str, code: Code, path: Option<&str>) {
        let e = match parse(text) {
            Err(e) => e,
            Ok(mut all) => all.remove(0).expect_err(text),
        };
        assert_eq!((e.code, e.path.as_deref()), (code, path), "{text}: {e}");
    }

    fn sub(topic: &str, from: From) -> Op {
        Op::Sub(Box::new(Sub {
            topic: topic.into(),
            from,
            conflate: None,
            depth: None,
            policy: None,
            lag: None,
            view: None,
            ack: None,
            short: false,
        }))
    }

    #[test]
    fn reads_what_the_document_says() {
        let t = "trade.BTCUSDT-PERP.BINANCE";
        good(&format!(r#"{{"op":"sub","id":1,"topic":"{t}"}}"#), sub(t, From::Live));
        good(&format!(r#"{{"op":"sub","id":1,"topic":"{t}","from":{{"last":3}}}}"#), sub(t, From::Last(3)));
        good(
            &format!(r#"{{"op":"sub","id":1,"topic":"{t}","from":{{"ts":5}}}}"#),
            sub(t, From::Ts { ts: 5, asof: None }),
        );
        let asof = |i, epoch| From::Ts { ts: 5, asof: Some(AsOf { seq: 9, i, epoch }) };
        good(&format!(r#"{{"op":"sub","id":1,"topic":"{t}","from":{{"ts":5,"asof":9}}}}"#), sub(t, asof(0, None)));
        good(
            &format!(r#"{{"op":"sub","id":1,"topic":"{t}","from":{{"ts":5,"asof":9,"i":300,"epoch":"k3f9"}}}}"#),
            sub(t, asof(300, Some("k3f9".into()))),
        );
        let position = From::Position { epoch: "k3f9".into(), seq: 1041 };
        good(&format!(r#"{{"op":"sub","id":1,"topic":"{t}","from":{{"epoch":"k3f9","seq":1041}}}}"#), sub(t, position));
        good(r#"{"op":"ping","id":1}"#, Op::Ping);
        let acks = vec![("fill.acct1".to_owned(), 1_041), ("order.acct1".to_owned(), 88)];
        good(r#"{"op":"ack","id":1,"a":{"fill.acct1":1041,"order.acct1":88}}"#, Op::Ack(acks));
        let pos = Some(("k3f9".into(), 7));
        good(
            &format!(r#"{{"op":"resync","id":1,"topic":"{t}","pos":["k3f9",7]}}"#),
            Op::Resync { topic: t.into(), pos },
        );
        let pos = vec![("book.A.B".to_owned(), None), ("trade.A.B".to_owned(), Some(("k3f9".to_owned(), 7)))];
        good(
            r#"{"op":"resume","id":1,"session":"s","resume":"r","pos":{"trade.A.B":["k3f9",7],"book.A.B":null}}"#,
            Op::Resume(Box::new(Resume { session: "s".into(), resume: "r".into(), pos })),
        );
        good(r#"{"op":"auth","id":1,"token":"a.b.c"}"#, Op::Auth(Auth::Token("a.b.c".into())));
        let signed = Auth::Signed { key: "k1".into(), ts: 5, nonce: "n".into(), sig: "00ff".into() };
        good(r#"{"op":"auth","id":1,"key":"k1","ts":5,"nonce":"n","sig":"00ff"}"#, Op::Auth(signed));
        let publication = Pub {
            topic: "c4.game.42".into(),
            mid: "01JC".into(),
            event: "dropDisc".into(),
            if_seq: Some(17),
            cid: Some("c-1".into()),
            data: r#"{"col": 3.10, "n": 123456789012345678901}"#.into(),
        };
        let text = r#"{"op":"pub","id":1,"mid":"01JC","topic":"c4.game.42","event":"dropDisc","if_seq":17,"cid":"c-1","data":{"col": 3.10, "n": 123456789012345678901}}"#;
        good(text, Op::Pub(Box::new(publication.clone())));
        let batch = parse(&format!(r#"[{{"op":"ping"}},{text}]"#)).unwrap();
        assert_eq!(batch[1], Ok((Some(1), Op::Pub(Box::new(publication.clone())))));
        let least = Pub { if_seq: None, cid: None, data: "{}".into(), ..publication };
        let text = r#"{"op":"pub","id":1,"mid":"01JC","topic":"c4.game.42","event":"dropDisc"}"#;
        good(text, Op::Pub(Box::new(least)));
        assert_eq!(parse(r#"[{"op":"ping"},{"op":"ping"}]"#).unwrap().len(), 2);
    }

    #[test]
    fn refuses_with_a_path() {
        bad("{", Code::BadJson, None);
        bad("[]", Code::Schema, None);
        bad("7", Code::Schema, None);
        bad(r#"{"id":1}"#, Code::Schema, Some("op"));
        bad(r#"{"op":"subscribe"}"#, Code::UnknownOp, Some("op"));
        bad(r#"{"op":"ping","extra":1}"#, Code::Schema, Some("extra"));
        bad(r#"{"op":"ping","id":-1}"#, Code::Schema, Some("id"));
        bad(r#"{"op":"ping","id":9007199254740992}"#, Code::Schema, Some("id"));
        bad(r#"{"op":"sub"}"#, Code::Schema, Some("topic"));
        bad(r#"{"op":"ack","id":1}"#, Code::Schema, Some("a"));
        bad(r#"{"op":"ack","id":1,"a":{}}"#, Code::Schema, Some("a"));
        bad(r#"{"op":"ack","id":1,"a":{"trade.X":1.5}}"#, Code::Schema, Some("a.trade.X"));
        bad(r#"{"op":"ack","id":1,"a":{"trade.X":1},"b":1}"#, Code::Schema, Some("b"));
        bad(r#"{"op":"sub","topic":"trade.a b"}"#, Code::Schema, Some("topic"));
        bad(&format!(r#"{{"op":"sub","topic":"trade.{}"}}"#, "x".repeat(130)), Code::Schema, Some("topic"));
        bad(r#"{"op":"sub","topic":"t","from":{"last":"3"}}"#, Code::Schema, Some("from.last"));
        bad(r#"{"op":"sub","topic":"t","from":{"last":3,"x":1}}"#, Code::Schema, Some("from.x"));
        bad(r#"{"op":"sub","topic":"t","from":{"seq":3}}"#, Code::Schema, Some("from"));
        bad(r#"{"op":"sub","topic":"t","from":{"asof":3}}"#, Code::Schema, Some("from.asof"));
        bad(r#"{"op":"sub","topic":"t","from":{"ts":5,"i":3}}"#, Code::Schema, Some("from.i"));
        bad(r#"{"op":"sub","topic":"t","from":{"ts":5,"asof":"3"}}"#, Code::Schema, Some("from.asof"));
        bad(r#"{"op":"sub","topic":"t","from":{"ts":5,"epoch":"e"}}"#, Code::Schema, Some("from"));
        bad(r#"{"op":"sub","topic":"t","from":{"ts":5,"last":3}}"#, Code::Schema, Some("from"));
        bad(r#"{"op":"sub","topic":"t","depth":11}"#, Code::Schema, Some("depth"));
        bad(r#"{"op":"sub","topic":"t","conflate":"5s"}"#, Code::Schema, Some("conflate"));
        bad(r#"{"op":"auth"}"#, Code::Schema, Some("key"));
        bad(r#"{"op":"auth","key":"k1","ts":5,"nonce":"n"}"#, Code::Schema, Some("sig"));
        bad(r#"{"op":"auth","key":"k1","ts":"5","nonce":"n","sig":"00"}"#, Code::Schema, Some("ts"));
        bad(r#"{"op":"auth","key":"k1","ts":5,"nonce":"n|m","sig":"00"}"#, Code::Schema, Some("nonce"));
        bad(r#"{"op":"auth","token":"a b"}"#, Code::Schema, Some("token"));
        bad(r#"{"op":"auth","token":"a","key":"k"}"#, Code::Schema, Some("key"));
        bad(r#"{"op":"hello","linger_ms":101}"#, Code::Schema, Some("linger_ms"));
        bad(r#"{"op":"resync","topic":"t","pos":["e"]}"#, Code::Schema, Some("pos"));
        bad(r#"{"op":"resume","session":"s","resume":"r"}"#, Code::Schema, Some("pos"));
        bad(r#"{"op":"resume","session":"s","resume":"","pos":{}}"#, Code::Schema, Some("resume"));
        bad(r#"{"op":"resume","session":"s","resume":"r","pos":{"t":7}}"#, Code::Schema, Some("pos.t"));
        bad(r#"{"op":"pub","topic":"c4.*","mid":"m","event":"e"}"#, Code::Schema, Some("topic"));
        bad(r#"{"op":"pub","topic":"c4.g","event":"e"}"#, Code::Schema, Some("mid"));
        bad(r#"{"op":"pub","topic":"c4.g","mid":"m m","event":"e"}"#, Code::Schema, Some("mid"));
        bad(r#"{"op":"pub","topic":"c4.g","mid":"m","event":7}"#, Code::Schema, Some("event"));
        bad(r#"{"op":"pub","topic":"c4.g","mid":"m","event":"e","data":[]}"#, Code::Schema, Some("data"));
        bad(
            r#"{"op":"pub","topic":"c4.g","mid":"m","event":"e","data":{"event":1}}"#,
            Code::Schema,
            Some("data.event"),
        );
        bad(r#"{"op":"pub","topic":"c4.g","mid":"m","event":"e","if_seq":-1}"#, Code::Schema, Some("if_seq"));
        bad(r#"{"op":"pub","topic":"c4.g","mid":"m","event":"e","cid":""}"#, Code::Schema, Some("cid"));
        bad(&format!("{}{}", "[".repeat(9), "]".repeat(9)), Code::Schema, None);
        bad(&"[".repeat(60_000), Code::Schema, None);
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(depth(r#"{"a":"[[[[[[\"[[["}"#), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }

        /// Near misses: valid messages with keys and values thrown together.
        #[test]
        fn shuffled_messages_are_read_or_refused(
            op in "sub|unsub|resync|ping|hello|auth|pub",
            pairs in proptest::collection::vec(("id|topic|from|pos|depth|lag|batch|zz", "[0-9]{1,20}|null|true|\"[a-z.*]{0,9}\"|\\{\"(last|ts|asof|i)\":[0-9-]{1,3}\\}|\\[\"e\",[0-9]\\]|-1e9"), 0..5),
        ) {
            let rest: String = pairs.iter().map(|(k, v)| format!(",\"{k}\":{v}")).collect();
            let _ = parse(&format!("{{\"op\":\"{op}\"{rest}}}"));
        }
    }
}
