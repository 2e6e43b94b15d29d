//! Everything the server says beside records: `welcome`, `subd`, `hist`, `missed`, `resumed`, `hb`, `err`, `ok`, `pong`, `notice`.

use wholetape_model::{Topic, Ts};

use crate::code::Code;
use crate::form::{Places, Subject};
use crate::json::Json;

/// The bounds that `welcome` states (PROTOCOL §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_msg: u64,
    pub subs: u64,
    pub ops_s: u64,
    pub ops_burst: u64,
    pub inflight: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_msg: 64 * 1024, subs: 200, ops_s: 20, ops_burst: 60, inflight: 1_000 }
    }
}

/// Why a reader was not given a range. Both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed<'a> {
    pub from: u64,
    pub to: u64,
    /// `retention`, `epoch`, `slow`, `corrupt`, `conflated`.
    pub why: &'a str,
}

/// The fields of `err`.
#[derive(Debug, Clone, Copy)]
pub struct Error<'a> {
    pub id: Option<u64>,
    pub code: Code,
    pub msg: &'a str,
    /// The key at fault (`from.last`), for [`Code::Schema`].
    pub path: Option<&'a str>,
    pub topic: Option<&'a str>,
    /// After this many milliseconds the same message may be sent again; `None`: it will fail again.
    pub retry_ms: Option<u64>,
}

/// Why a publication was not taken, beside the error: what its client knows it by.
#[derive(Debug, Clone, Copy)]
pub struct Unpublished<'a> {
    pub mid: &'a str,
    pub cid: Option<&'a str>,
    /// The topic's head, for [`Code::Conflict`].
    pub head: Option<u64>,
}

/// The answer to a publication that is in its topic's log, and on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    pub id: Option<u64>,
    pub mid: &'a str,
    pub topic: &'a str,
    pub seq: u64,
    pub cid: Option<&'a str>,
    /// It was there before: this answer repeats that one's.
    pub dup: bool,
}

/// The fields of `welcome`.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a> {
    pub session: &'a str,
    /// The session's bearer secret; `None` where sessions are not kept.
    pub resume: Option<&'a str>,
    /// How long a session outlives its connection.
    pub ttl_s: u64,
    pub hb_s: u64,
    /// Something may be read without credentials.
    pub anon: bool,
    pub limits: &'a Limits,
}

pub fn welcome(out: &mut Vec<u8>, w: &Welcome<'_>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"welcome\",\"v\":").u64(u64::from(crate::VERSION)).raw(",\"session\":").text(w.session);
    if let Some(secret) = w.resume {
        j.raw(",\"resume\":").text(secret);
    }
    j.raw(",\"ttl_s\":").u64(w.ttl_s).raw(",\"hb_s\":").u64(w.hb_s).raw(",\"anon\":").bool(w.anon);
    j.raw(",\"limits\":{\"max_msg\":").u64(w.limits.max_msg);
    j.raw(",\"subs\":").u64(w.limits.subs).raw(",\"ops_s\":").u64(w.limits.ops_s);
    j.raw(",\"ops_burst\":").u64(w.limits.ops_burst).raw(",\"inflight\":").u64(w.limits.inflight).raw("}}");
}

/// What a subscription came to, as `subd` repeats it.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The number that stands for the topic in short messages.
    pub ch: u64,
    /// Messages are to be acknowledged (`ack: "cum"`).
    pub acked: bool,
    /// `none`, `100ms`, `1s`.
    pub conflate: &'a str,
    /// Levels a side; `None`: full, or no book.
    pub depth: Option<u16>,
    /// Flagged rows are left out.
    pub clean: bool,
    /// Of prices and sizes that come as integers.
    pub places: Option<Places>,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { ch: 0, acked: false, conflate: "none", depth: None, clean: false, places: None }
    }
}

/// `seq` is the exclusive start of delivery; with `missed` it is its `to`.
pub fn subd(
    out: &mut Vec<u8>,
    id: Option<u64>,
    topic: &Topic,
    terms: &Terms<'_>,
    epoch: &str,
    seq: u64,
    missed: Option<Missed<'_>>,
) {
    let mut j = Json(out);
    j.raw("{\"op\":\"subd\"");
    optional_id(&mut j, id);
    j.raw(",\"topic\":").text(topic.as_str()).raw(",\"ch\":").u64(terms.ch);
    j.raw(",\"epoch\":").text(epoch).raw(",\"seq\":").u64(seq);
    j.raw(",\"class\":\"").raw(topic.class().as_str());
    j.raw("\",\"ack\":\"").raw(if terms.acked { "cum" } else { "none" });
    j.raw("\",\"conflate\":\"").raw(terms.conflate).raw("\"");
    if let Some(depth) = terms.depth {
        j.raw(",\"depth\":").u64(u64::from(depth));
    }
    if terms.clean {
        j.raw(",\"view\":\"clean\"");
    }
    exps(&mut j, terms.places);
    if let Some(m) = missed {
        j.raw(",\"missed\":{");
        range(&mut j, &m);
        j.raw("}");
    }
    j.raw("}");
}

/// The powers of ten by which a topic's integers are multiplied.
fn exps(j: &mut Json<'_>, places: Option<Places>) {
    if let Some(Places { price, size }) = places {
        j.raw(",\"px_exp\":").i64(-i64::from(price)).raw(",\"size_exp\":").i64(-i64::from(size));
    }
}

/// How one topic goes on after `resync` or `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed<'a> {
    /// All messages after the position follow; `n` are in the log now, at least. `seq`: where that begins, for a client that named no
    /// position.
    Replay { n: u64, seq: Option<u64> },
    /// A `snap` follows.
    Snap,
    /// A range is gone; then `snap` or live.
    Missed(Missed<'a>),
    /// It does not go on, and why.
    Denied(Code),
}

pub fn resumed(out: &mut Vec<u8>, id: Option<u64>, topic: &Topic, epoch: &str, how: Resumed<'_>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"resumed\"");
    optional_id(&mut j, id);
    j.raw(",\"epoch\":").text(epoch).raw(",\"topics\":{");
    goes_on(&mut j, topic.as_str(), None, epoch, how);
    j.raw("}}");
}

/// The answer to `resume`: the session's generation and new secret, and each topic with its number and the places of its integers, where it goes on.
pub fn session<'a>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    (generation, secret): (u64, &str),
    epoch: &str,
    topics: impl Iterator<Item = (&'a str, Option<Subject>, Resumed<'a>)>,
) {
    let mut j = Json(out);
    j.raw("{\"op\":\"resumed\"");
    optional_id(&mut j, id);
    j.raw(",\"gen\":").u64(generation).raw(",\"resume\":").text(secret);
    j.raw(",\"epoch\":").text(epoch).raw(",\"topics\":{");
    for (i, (topic, subject, how)) in topics.enumerate() {
        if i > 0 {
            j.raw(",");
        }
        goes_on(&mut j, topic, subject, epoch, how);
    }
    j.raw("}}");
}

fn goes_on(j: &mut Json<'_>, topic: &str, subject: Option<Subject>, epoch: &str, how: Resumed<'_>) {
    j.text(topic).raw(":{\"r\":");
    match how {
        Resumed::Replay { n, seq } => {
            j.raw("\"replay\",\"n\":").u64(n);
            if let Some(seq) = seq {
                j.raw(",\"seq\":").u64(seq);
            }
        }
        Resumed::Snap => _ = j.raw("\"snap\""),
        Resumed::Missed(m) => {
            j.raw("\"missed\",\"epoch\":").text(epoch).raw(",");
            range(j, &m);
        }
        Resumed::Denied(code) => {
            j.raw("\"denied\",\"code\":").u64(u64::from(code.code())).raw(",\"name\":").text(code.name());
        }
    }
    if let Some(Subject { ch, places }) = subject {
        j.raw(",\"ch\":").u64(ch);
        exps(j, places);
    }
    j.raw("}");
}

pub fn missed(out: &mut Vec<u8>, topic: &Topic, m: Missed<'_>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"missed\",\"topic\":").text(topic.as_str()).raw(",");
    range(&mut j, &m);
    j.raw("}");
}

/// How far a batch of history goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upto {
    pub asof: u64,
    /// Rows given so far, those of the batch included.
    pub i: u64,
    /// Rows left out of the batch, by the view `clean`.
    pub omitted: u64,
}

/// A batch of history: `rows` are whole rows of [`crate::message`], joined by commas.
pub fn hist(out: &mut Vec<u8>, id: Option<u64>, topic: &Topic, epoch: &str, upto: Upto, rows: &[u8]) {
    let mut j = Json(out);
    j.raw("{\"op\":\"hist\"");
    optional_id(&mut j, id);
    j.raw(",\"topic\":").text(topic.as_str()).raw(",\"epoch\":").text(epoch);
    j.raw(",\"asof\":").u64(upto.asof).raw(",\"i\":").u64(upto.i);
    if upto.omitted > 0 {
        j.raw(",\"omitted\":").u64(upto.omitted);
    }
    j.raw(",\"data\":[");
    out.extend_from_slice(rows);
    out.extend_from_slice(b"]}");
}

/// A row of `hist` in the place of those that are held nowhere.
pub fn missed_row(out: &mut Vec<u8>, m: Missed<'_>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"missed\",");
    range(&mut j, &m);
    j.raw("}");
}

fn range(j: &mut Json<'_>, m: &Missed<'_>) {
    j.raw("\"from\":").u64(m.from).raw(",\"to\":").u64(m.to).raw(",\"why\":").text(m.why);
}

/// `heads`: every subscribed topic with the seq that a client which has everything holds.
pub fn hb<'a>(out: &mut Vec<u8>, now: Ts, epoch: &str, heads: impl Iterator<Item = (&'a str, u64)>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"hb\",\"ts\":").i64(now.micros()).raw(",\"heads\":{");
    for (i, (topic, seq)) in heads.enumerate() {
        if i > 0 {
            j.raw(",");
        }
        j.text(topic).raw(":[").text(epoch).raw(",").u64(seq).raw("]");
    }
    j.raw("}}");
}

pub fn err(out: &mut Vec<u8>, e: &Error<'_>) {
    let mut j = Json(out);
    error(&mut j, e);
    j.raw("}");
}

pub fn unpublished(out: &mut Vec<u8>, e: &Error<'_>, p: &Unpublished<'_>) {
    let mut j = Json(out);
    error(&mut j, e);
    j.raw(",\"mid\":").text(p.mid);
    if let Some(head) = p.head {
        j.raw(",\"head\":").u64(head);
    }
    if let Some(cid) = p.cid {
        j.raw(",\"cid\":").text(cid);
    }
    j.raw("}");
}

pub fn published(out: &mut Vec<u8>, p: &Published<'_>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"ok\"");
    optional_id(&mut j, p.id);
    j.raw(",\"mid\":").text(p.mid).raw(",\"topic\":").text(p.topic).raw(",\"seq\":").u64(p.seq);
    if p.dup {
        j.raw(",\"dup\":true");
    }
    if let Some(cid) = p.cid {
        j.raw(",\"cid\":").text(cid);
    }
    j.raw("}");
}

/// All but the closing brace.
fn error(j: &mut Json<'_>, e: &Error<'_>) {
    j.raw("{\"op\":\"err\"");
    optional_id(j, e.id);
    j.raw(",\"code\":").u64(u64::from(e.code.code())).raw(",\"name\":\"").raw(e.code.name()).raw("\",\"msg\":");
    j.text(e.msg);
    if let Some(path) = e.path {
        j.raw(",\"path\":").text(path);
    }
    if let Some(topic) = e.topic {
        j.raw(",\"topic\":").text(topic);
    }
    j.raw(",\"retry\":").bool(e.retry_ms.is_some()).raw(",\"retry_ms\":").u64(e.retry_ms.unwrap_or(0));
}

pub fn ok(out: &mut Vec<u8>, id: Option<u64>) {
    let mut j = Json(out);
    j.raw("{\"op\":\"ok\"");
    optional_id(&mut j, id);
    j.raw("}");
}

pub fn pong(out: &mut Vec<u8>, id: Option<u64>, now: Ts) {
    let mut j = Json(out);
    j.raw("{\"op\":\"pong\"");
    optional_id(&mut j, id);
    j.raw(",\"ts\":").i64(now.micros()).raw("}");
}

pub fn lagging(out: &mut Vec<u8>, topic: &Topic, behind: u64) {
    let mut j = Json(out);
    j.raw("{\"op\":\"notice\",\"name\":\"lagging\",\"topic\":").text(topic.as_str());
    j.raw(",\"behind\":").u64(behind).raw("}");
}

/// A subscription of policy `conflate` was `behind` and goes on in the view of `conflate`.
pub fn conflated(out: &mut Vec<u8>, topic: &Topic, behind: u64, conflate: &str) {
    let mut j = Json(out);
    j.raw("{\"op\":\"notice\",\"name\":\"conflated\",\"topic\":").text(topic.as_str());
    j.raw(",\"behind\":").u64(behind).raw(",\"conflate\":\"").raw(conflate).raw("\"}");
}

/// The credentials of the connection end in so many seconds: `auth` anew.
pub fn auth_expiring(out: &mut Vec<u8>, in_s: u64) {
    let mut j = Json(out);
    j.raw("{\"op\":\"notice\",\"name\":\"auth_expiring\",\"in_s\":").u64(in_s).raw("}");
}

/// The server is about to close (1012); clients come back after a uniform delay within `after_ms`.
pub fn drain(out: &mut Vec<u8>, deadline_ms: u64, after_ms: (u64, u64)) {
    let mut j = Json(out);
    j.raw("{\"op\":\"drain\",\"deadline_ms\":").u64(deadline_ms);
    j.raw(",\"after_ms\":[").u64(after_ms.0).raw(",").u64(after_ms.1).raw("]}");
}

fn optional_id(j: &mut Json<'_>, id: Option<u64>) {
    if let Some(id) = id {
        j.raw(",\"id\":").u64(id);
    }
}
