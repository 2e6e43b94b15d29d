//! The shape of a JSON frame: which keys it has, of which types, and which words its enum-like keys take.
//!
//! A venue adds keys, drops keys and invents words without notice. [`Shapes`] holds the documented shape of each channel and
//! [`Shape::judge`] holds a payload against it: what deviates makes a [`Odd`] with a fingerprint, equal for equal deviations
//! whatever the values are, so that each new shape is told once.
//!
//! Paths are written with dots, elements of arrays are merged under `[]`: `k.o`, `b[][]`. Of an array the first
//! [`ELEMENTS_MAX`] elements are looked at. Types are one letter each: `s` text, `n` a number in quotes, `i` a number, `b`
//! a boolean, `z` null, `o` an object, `a` an array. A line of the table is
//!
//! ```text
//! futures trade E:i T:i X?:s=ADL|INSURANCE_FUND|MARKET|NA e:s m:b p:n …
//! ```
//!
//! `?` marks a key that not every frame has, `=` the words that are known. [`describe`] makes such a line of example frames;
//! a venue's folder ships the table and a test makes it anew from its frames.
//!
//! Invariants: no allocation where nothing deviates; any bytes are safe; nothing is looked at twice that was not odd.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of longer arrays the rest is believed.
pub const ELEMENTS_MAX: usize = 32;
/// Deeper nesting is no market data.
const DEPTH_MAX: usize = 16;
/// Deviations of one frame that make its fingerprint.
const DEVIATIONS_MAX: usize = 8;

/// What odd frames are counted under: a small closed set. The last stands for all that no table names.
pub const CHANNELS: [&str; 22] = [
    "trade",
    "aggTrade",
    "depth",
    "bookTicker",
    "ticker",
    "kline",
    "markPrice",
    "forceOrder",
    "contractInfo",
    "partialDepth",
    "serverShutdown",
    "ack",
    "restDepth",
    "restAggTrades",
    "restTrades",
    "restOpenInterest",
    "indexPrice",
    "funding",
    "openInterest",
    "maintenance",
    "wrapper",
    "other",
];

/// The place of a channel in [`CHANNELS`].
#[must_use]
pub fn channel_index(channel: &str) -> usize {
    CHANNELS.iter().position(|c| *c == channel).unwrap_or(CHANNELS.len() - 1)
}

/// One deviating payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Odd {
    /// Equal for the same set of deviations of the same channel.
    pub fingerprint: u64,
    pub deviations: usize,
}

const TEXT: u8 = 1;
const QUOTED: u8 = 2;
const NUMBER: u8 = 4;
const BOOL: u8 = 8;
const NULL: u8 = 16;
const OBJECT: u8 = 32;
const ARRAY: u8 = 64;
const LETTERS: [(u8, char); 7] =
    [(TEXT, 's'), (QUOTED, 'n'), (NUMBER, 'i'), (BOOL, 'b'), (NULL, 'z'), (OBJECT, 'o'), (ARRAY, 'a')];

#[derive(Debug, Clone)]
struct Path {
    hash: u64,
    name: Box<str>,
    types: u8,
    required: bool,
    words: Vec<Box<str>>,
}

/// The documented shape of one channel: its paths, sorted by hash.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    paths: Vec<Path>,
}

/// The documented shapes of one family of a venue's channels.
#[derive(Debug, Clone, Default)]
pub struct Shapes {
    channels: Vec<(Box<str>, Shape)>,
}

impl Shapes {
    /// Reads the lines of `family` of a table. What cannot be read is left out: its channel then has no known shape.
    #[must_use]
    pub fn parse(table: &str, family: &str) -> Self {
        let mut shapes = Self::default();
        for line in table.lines() {
            let mut parts = line.split(' ');
            if parts.next() != Some(family) {
                continue;
            }
            if let (Some(channel), Some(mut paths)) =
                (parts.next(), parts.map(path_of).collect::<Option<Vec<_>>>().filter(|p| p.len() <= 64))
            {
                paths.sort_unstable_by_key(|p| p.hash);
                shapes.channels.push((channel.into(), Shape { paths }));
            }
        }
        shapes
    }

    #[must_use]
    pub fn get(&self, channel: &str) -> Option<&Shape> {
        self.channels.iter().find(|(name, _)| &**name == channel).map(|(_, shape)| shape)
    }

    /// The channels that have a shape.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|(name, _)| &**name)
    }
}

fn path_of(text: &str) -> Option<Path> {
    let (name, rest) = text.split_once(':')?;
    let (letters, words) = rest.split_once('=').map_or((rest, None), |(letters, words)| (letters, Some(words)));
    let types = letters.chars().try_fold(0, |all, c| Some(all | LETTERS.iter().find(|l| l.1 == c)?.0))?;
    let required = !name.ends_with('?');
    let name = name.trim_end_matches('?');
    // The empty text may be a word.
    let words = words.into_iter().flat_map(|w| w.split('|')).map(Into::into).collect();
    Some(Path { hash: path_hash(name), name: name.into(), types, required, words })
}

impl Shape {
    /// Holds a payload against this shape; `None` where it fits, or is no JSON at all (that is for the decoder to say).
    #[must_use]
    pub fn judge(&self, payload: &[u8]) -> Option<Odd> {
        let mut deviations = [0_u64; DEVIATIONS_MAX];
        let mut count = 0;
        self.deviations(payload, |hash, _, _| {
            if !deviations[..count.min(DEVIATIONS_MAX)].contains(&hash) {
                if count < DEVIATIONS_MAX {
                    deviations[count] = hash;
                }
                count += 1;
            }
        })?;
        if count == 0 {
            return None;
        }
        let known = &mut deviations[..count.min(DEVIATIONS_MAX)];
        known.sort_unstable();
        Some(Odd { fingerprint: known.iter().fold(1, |h, d| mix(h, *d)), deviations: count })
    }

    /// What deviates, in words; for people, once per shape.
    #[must_use]
    pub fn explain(&self, payload: &[u8]) -> String {
        let mut told: BTreeMap<u64, String> = BTreeMap::new();
        let names = names(payload);
        let name = |hash: u64| {
            let own = self.paths.iter().find(|p| p.hash == hash).map(|p| &*p.name);
            own.or_else(|| names.get(&hash).map(String::as_str)).unwrap_or("?").to_owned()
        };
        let _ = self.deviations(payload, |hash, path, what| {
            told.entry(hash).or_insert_with(|| {
                let path = name(path);
                match what {
                    What::Unknown(kind) => format!("unknown key `{path}` ({})", type_name(kind)),
                    What::Type(kind) => format!("`{path}` is {} now", type_name(kind)),
                    What::Word(word) => format!("`{path}` has the unknown value `{}`", String::from_utf8_lossy(word)),
                    What::Missing => format!("`{path}` is missing"),
                }
            });
        });
        told.into_values().collect::<Vec<_>>().join(", ")
    }

    /// Calls `f` with (deviation's hash, path's hash, what) for each; `None` where the payload is no JSON.
    fn deviations(&self, payload: &[u8], mut f: impl FnMut(u64, u64, What<'_>)) -> Option<()> {
        let mut seen = 0_u64;
        let mut walk = Walk { bytes: payload, i: 0 };
        walk.value(ROOT, 0, &mut |hash, kind, raw| {
            if hash == ROOT {
                return;
            }
            let Ok(at) = self.paths.binary_search_by_key(&hash, |p| p.hash) else {
                return f(mix(mix(hash, 1), u64::from(kind)), hash, What::Unknown(kind));
            };
            seen |= 1 << at;
            let path = &self.paths[at];
            // A text may look like a number, but not the other way round.
            let fits = path.types & kind != 0 || (kind == QUOTED && path.types & TEXT != 0);
            if !fits {
                f(mix(mix(hash, 2), u64::from(kind)), hash, What::Type(kind));
            } else if !path.words.is_empty() && !raw.contains(&b'\\') && !path.words.iter().any(|w| w.as_bytes() == raw)
            {
                f(mix(mix(hash, 3), bytes_hash(raw)), hash, What::Word(raw));
            }
        })?;
        walk.end()?;
        for (at, path) in self.paths.iter().enumerate() {
            if path.required && seen & (1 << at) == 0 {
                f(mix(path.hash, 4), path.hash, What::Missing);
            }
        }
        Some(())
    }
}

enum What<'a> {
    Unknown(u8),
    Type(u8),
    Word(&'a [u8]),
    Missing,
}

fn type_name(kind: u8) -> &'static str {
    match kind {
        QUOTED => "number in quotes",
        NUMBER => "number",
        BOOL => "boolean",
        NULL => "null",
        OBJECT => "object",
        ARRAY => "array",
        _ => "text",
    }
}

/// Holds a venue's table against its own example frames (`family channel frame` a line). `WRITE_SHAPES=1` makes the table anew.
#[cfg(test)]
pub(crate) fn check_table(folder: &str, frames: &str, table: &str, enums: &[&str]) {
    let mut by_channel = std::collections::BTreeMap::<(&str, &str), Vec<&str>>::new();
    for line in frames.lines() {
        let (family, rest) = line.split_once(' ').unwrap();
        let (channel, frame) = rest.split_once(' ').unwrap();
        by_channel.entry((family, channel)).or_default().push(frame);
    }
    let made: String = by_channel
        .into_iter()
        .map(|((family, channel), frames)| format!("{family} {channel}{}\n", describe(&frames, enums)))
        .collect();
    if std::env::var_os("WRITE_SHAPES").is_some() {
        let path = format!("{}/src/{folder}/shapes.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &made).unwrap();
    }
    assert_eq!(made, table, "run with WRITE_SHAPES=1 and look at the difference");
}

/// The line of the table for payloads of one channel. `enums` names the paths whose words are listed.
#[must_use]
pub fn describe(payloads: &[&str], enums: &[&str]) -> String {
    #[derive(Default)]
    struct Found {
        types: u8,
        frames: usize,
        words: std::collections::BTreeSet<String>,
    }
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for payload in payloads {
        let names = names(payload.as_bytes());
        let mut once = std::collections::BTreeSet::new();
        let mut walk = Walk { bytes: payload.as_bytes(), i: 0 };
        let _ = walk.value(ROOT, 0, &mut |hash, kind, raw| {
            let Some(name) = names.get(&hash).filter(|n| !n.is_empty()) else { return };
            let entry = found.entry(name.clone()).or_default();
            entry.types |= kind;
            entry.frames += usize::from(once.insert(hash));
            if enums.contains(&name.as_str()) {
                entry.words.insert(String::from_utf8_lossy(raw).into_owned());
            }
        });
    }
    let mut line = String::new();
    for (name, entry) in &found {
        // What is inside an array may be missing with it.
        let optional = if entry.frames < payloads.len() || name.contains("[]") { "?" } else { "" };
        let letters: String = LETTERS.iter().filter(|l| entry.types & l.0 != 0).map(|l| l.1).collect();
        let _ = write!(line, " {name}{optional}:{letters}");
        for (i, word) in entry.words.iter().enumerate() {
            let _ = write!(line, "{}{word}", if i == 0 { "=" } else { "|" });
        }
    }
    line
}

/// Every path of a payload by its hash.
fn names(payload: &[u8]) -> BTreeMap<u64, String> {
    fn go(walk: &mut Walk<'_>, name: &str, depth: usize, all: &mut BTreeMap<u64, String>) -> Option<()> {
        all.insert(path_hash(name), name.to_owned());
        walk.children(depth, |walk, key| {
            let name = match key {
                Some(key) if name.is_empty() => String::from_utf8_lossy(key).into_owned(),
                Some(key) => format!("{name}.{}", String::from_utf8_lossy(key)),
                None => format!("{name}[]"),
            };
            go(walk, &name, depth + 1, all)
        })
        .map(|_| ())
    }
    let mut all = BTreeMap::new();
    let _ = go(&mut Walk { bytes: payload, i: 0 }, "", 0, &mut all);
    all
}

/// Calls `f` with every key of the top-level object and the bytes of its value. `None` where it is no JSON object.
pub fn members<'a>(json: &'a [u8], mut f: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    let mut walk = Walk { bytes: json, i: 0 };
    walk.space();
    if walk.peek()? != b'{' {
        return None;
    }
    walk.children(0, |walk, key| {
        walk.space();
        let from = walk.i;
        walk.skip(1)?;
        f(key?, json.get(from..walk.i)?);
        Some(())
    })?;
    Some(())
}

/// Calls `f` with the bytes of each of the first [`ELEMENTS_MAX`] elements of a top-level array.
pub fn elements<'a>(json: &'a [u8], mut f: impl FnMut(&'a [u8])) -> Option<()> {
    let mut walk = Walk { bytes: json, i: 0 };
    let mut n = 0;
    walk.space();
    if walk.peek()? != b'[' {
        return None;
    }
    walk.children(0, |walk, _| {
        walk.space();
        let from = walk.i;
        walk.skip(1)?;
        n += 1;
        if n <= ELEMENTS_MAX {
            f(json.get(from..walk.i)?);
        }
        Some(())
    })?;
    Some(())
}

/// A text without its quotes.
#[must_use]
pub fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// One pass over JSON, without a tree. Numbers and literals are taken as they come: whether they are well written is for
/// the decoder to say.
struct Walk<'a> {
    bytes: &'a [u8],
    i: usize,
}

impl<'a> Walk<'a> {
    fn space(&mut self) {
        while self.bytes.get(self.i).is_some_and(u8::is_ascii_whitespace) {
            self.i += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.i).copied()
    }

    fn end(&mut self) -> Option<()> {
        self.space();
        (self.i == self.bytes.len()).then_some(())
    }

    /// The bytes of a text, quotes left out, and whether it holds an escape.
    fn text(&mut self) -> Option<(&'a [u8], bool)> {
        if self.peek()? != b'"' {
            return None;
        }
        self.i += 1;
        let (from, mut escaped) = (self.i, false);
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.i += 2;
                }
                _ => self.i += 1,
            }
        }
        let text = self.bytes.get(from..self.i)?;
        self.i += 1;
        Some((text, escaped))
    }

    /// Reads a value and calls `child` where each member or element begins; returns its type and raw bytes.
    fn children(
        &mut self,
        depth: usize,
        mut child: impl FnMut(&mut Self, Option<&'a [u8]>) -> Option<()>,
    ) -> Option<(u8, &'a [u8])> {
        self.space();
        if depth > DEPTH_MAX {
            return None;
        }
        let from = self.i;
        let kind = match self.peek()? {
            b'"' => {
                let (text, escaped) = self.text()?;
                let kind = match escaped {
                    // Written with an escape it may be either; the decoder reads it.
                    true => TEXT | QUOTED,
                    false if is_number(text) => QUOTED,
                    false => TEXT,
                };
                return Some((kind, text));
            }
            open @ (b'{' | b'[') => {
                let (close, object) = if open == b'{' { (b'}', true) } else { (b']', false) };
                self.i += 1;
                self.space();
                if self.peek()? == close {
                    self.i += 1;
                } else {
                    loop {
                        let key = if object {
                            self.space();
                            let (key, _) = self.text()?;
                            self.space();
                            (self.peek()? == b':').then_some(())?;
                            self.i += 1;
                            Some(key)
                        } else {
                            None
                        };
                        child(self, key)?;
                        self.space();
                        let b = self.peek()?;
                        self.i += 1;
                        match b {
                            b',' => {}
                            b if b == close => break,
                            _ => return None,
                        }
                    }
                }
                if object { OBJECT } else { ARRAY }
            }
            b't' | b'f' => BOOL,
            b'n' => NULL,
            b'-' | b'0'..=b'9' => NUMBER,
            _ => return None,
        };
        if kind & (OBJECT | ARRAY) == 0 {
            while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                self.i += 1;
            }
        }
        let raw = self.bytes.get(from..self.i)?;
        let literal = kind & (BOOL | NULL) != 0;
        (!literal || matches!(raw, b"true" | b"false" | b"null")).then_some((kind, raw))
    }

    /// Walks a value and calls `f` with (path's hash, type, raw bytes) of it and of everything in it.
    fn value(&mut self, path: u64, depth: usize, f: &mut impl FnMut(u64, u8, &'a [u8])) -> Option<()> {
        let mut n = 0;
        let (kind, raw) = self.children(depth, |walk, key| match key {
            Some(key) => walk.value(member(path, key), depth + 1, f),
            None => {
                n += 1;
                if n > ELEMENTS_MAX { walk.skip(depth + 1) } else { walk.value(element(path), depth + 1, f) }
            }
        })?;
        f(path, kind, raw);
        Some(())
    }

    fn skip(&mut self, depth: usize) -> Option<()> {
        self.children(depth, |walk, _| walk.skip(depth + 1)).map(|_| ())
    }
}

fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    digits.first().is_some_and(u8::is_ascii_digit) && digits.iter().all(|b| b.is_ascii_digit() || b"+-.eE".contains(b))
}

const ROOT: u64 = 0;

fn mix(h: u64, v: u64) -> u64 {
    let h = (h.rotate_left(5) ^ v).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    h ^ h >> 29
}

/// A fingerprint of any bytes.
#[must_use]
pub fn bytes_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3))
}

fn member(parent: u64, key: &[u8]) -> u64 {
    mix(parent, bytes_hash(key))
}

fn element(parent: u64) -> u64 {
    mix(parent, 7)
}

/// The hash of a path as the table writes it.
fn path_hash(name: &str) -> u64 {
    let mut hash = ROOT;
    for part in name.split('.').filter(|p| !p.is_empty()) {
        let key = part.trim_end_matches("[]");
        if !key.is_empty() {
            hash = member(hash, key.as_bytes());
        }
        for _ in 0..(part.len() - key.len()) / 2 {
            hash = element(hash);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "x t E:i X?:s=A|B b:a b[]?:a b[][]?:n k:o k.o:n m:b r?:sn";
    const FRAME: &str = r#"{"E":1,"X":"A","b":[["1.5","2"],["3","0"]],"k":{"o":"1"},"m":true,"r":""}"#;

    fn shape() -> Shape {
        Shapes::parse(TABLE, "x").get("t").unwrap().clone()
    }

    #[track_caller]
    fn check(frame: &str, words: &str) {
        assert_eq!(shape().explain(frame.as_bytes()), words, "{frame}");
        assert_eq!(shape().judge(frame.as_bytes()).is_some(), !words.is_empty());
    }

    #[test]
    fn what_fits_is_not_odd() {
        check(FRAME, "");
        check(&FRAME.replace("1.5", r"1.\u0035").replace("\"A\"", r#""\u0041""#), "");
        check(r#" { "m" : false , "k":{"o":"-1e-7"},"b":[] ,"E":12 } "#, "");
    }

    #[test]
    fn each_kind_of_deviation_is_named() {
        check(&FRAME.replace("\"m\"", "\"zz\":5,\"m\""), "unknown key `zz` (number)");
        check(&FRAME.replace("\"E\":1", "\"E\":\"1\""), "`E` is number in quotes now");
        check(&FRAME.replace("\"A\"", "\"NEW\""), "`X` has the unknown value `NEW`");
        check(&FRAME.replace(",\"m\":true", ""), "`m` is missing");
        check(&FRAME.replace("\"o\":\"1\"", "\"o\":\"1\",\"p\":null"), "unknown key `k.p` (null)");
        let nested = FRAME.replace(r#""3","0""#, r#""3",{"x":1}"#);
        let told = shape().explain(nested.as_bytes());
        assert!(told.contains("`b[][]` is object now") && told.contains("unknown key `b[][].x`"), "{told}");
    }

    #[test]
    fn a_fingerprint_is_the_deviations_and_not_the_values() {
        let odd = |extra: &str| shape().judge(FRAME.replace("\"m\"", &format!("{extra}\"m\"")).as_bytes()).unwrap();
        assert_eq!(odd("\"zz\":5,"), odd("\"zz\":77,"));
        assert_ne!(odd("\"zz\":5,"), odd("\"zz\":\"a\","));
        assert_ne!(odd("\"zz\":5,"), odd("\"yy\":5,"));
        assert_eq!(odd("\"zz\":5,\"yy\":1,").fingerprint, odd("\"yy\":1,\"zz\":5,").fingerprint, "in any order");
    }

    #[test]
    fn what_is_no_json_is_not_judged() {
        for text in ["", "{", "{\"a\"", "{\"a\":}", "[1,", "nonsense", "{\"a\":1}}", "\"", "{\"a\\"] {
            assert_eq!(shape().judge(text.as_bytes()), None, "{text}");
        }
        let deep = "[".repeat(5_000);
        assert_eq!(shape().judge(deep.as_bytes()), None);
    }

    #[test]
    fn a_table_is_made_of_frames_and_reads_back() {
        let frames =
            [FRAME, r#"{"E":1,"X":"B","b":[],"k":{"o":"1"},"m":true}"#, r#"{"E":1,"b":[],"k":{"o":"1"},"m":true}"#];
        let line = describe(&frames, &["X"]);
        assert_eq!(line, " E:i X?:s=A|B b:a b[]?:a b[][]?:n k:o k.o:n m:b r?:s");
        let shapes = Shapes::parse(&format!("x t{line}"), "x");
        for frame in frames {
            assert_eq!(shapes.get("t").unwrap().judge(frame.as_bytes()), None);
        }
        assert!(Shapes::parse("x t E:q", "x").get("t").is_none(), "an unknown letter");
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..80) {
            let _ = shape().judge(&bytes);
            let _ = shape().explain(&bytes);
            let _ = shape().judge(&FRAME.as_bytes()[..cut.min(FRAME.len())]);
            let _ = members(&bytes, |_, _| {});
            let _ = elements(&bytes, |_| {});
        }
    }
}
