//! The same message in another form: MessagePack, prices and sizes as integers, a number in the place of the topic's name.
//!
//! There is one writer of messages ([`crate::message`], [`crate::reply`]), and its JSON is what a form is made of: so no form can say
//! something else, and each is made once for all who want it. What is in none of the forms' rules is taken over as it is.

pub mod msgpack;
mod scaled;
mod tokens;

pub use scaled::Places;

use scaled::Measure;
use tokens::{Kind, Token};

/// How a subscription wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    /// MessagePack instead of JSON.
    pub msgpack: bool,
    /// Prices and sizes as integers (`num: "scaled"`).
    pub scaled: bool,
    /// `ch` instead of `topic`.
    pub short: bool,
}

impl Form {
    /// JSON, decimal text, names: what the writers write.
    pub const PLAIN: Self = Self { msgpack: false, scaled: false, short: false };
    /// So many forms are there.
    pub const COUNT: usize = 8;

    /// Its number, below [`Form::COUNT`]; 0 is [`Form::PLAIN`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.msgpack as usize + 2 * self.scaled as usize + 4 * self.short as usize
    }
}

/// Of what topic a message speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subject {
    /// The number that stands for its name.
    pub ch: u64,
    /// Places of its integers; `None`: its messages hold no prices and sizes, and have no scaled form.
    pub places: Option<Places>,
}

/// Writes messages in other forms; keeps its buffer.
#[derive(Debug, Default)]
pub struct Former {
    tokens: Vec<Token>,
}

impl Former {
    /// Appends `json`, which is one message of ours, in `form`; false when it is no JSON, and `out` is then as it was.
    pub fn write(&mut self, out: &mut Vec<u8>, form: Form, subject: &Subject, json: &[u8]) -> bool {
        if !tokens::read(json, &mut self.tokens) {
            return false;
        }
        let (scaled, short) = (form.scaled.then_some(subject.places).flatten(), form.short.then_some(subject.ch));
        let mut writer = Writer { out, msgpack: form.msgpack, json, all: &self.tokens, scaled, short };
        writer.message(0);
        true
    }
}

/// Messages that have a number instead of the topic's name: those that come between `subd` and the subscription's end. Others say which it is.
fn is_shortened(op: &[u8]) -> bool {
    matches!(op, b"data" | b"mark" | b"snap" | b"missed" | b"notice")
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    msgpack: bool,
    json: &'a [u8],
    all: &'a [Token],
    scaled: Option<Places>,
    short: Option<u64>,
}

impl<'a> Writer<'a> {
    fn bytes(&self, i: usize) -> &'a [u8] {
        &self.json[self.all[i].from..self.all[i].to]
    }

    /// A message, or a row of `hist`.
    fn message(&mut self, at: usize) {
        if self.all[at].kind != Kind::Object {
            return self.value(at);
        }
        let len = self.all[at].len;
        let (mut shortened, mut own, mut rows) = (false, None, false);
        let mut i = at + 1;
        for _ in 0..len {
            let value = i + 1;
            match self.bytes(i) {
                b"op" => shortened = is_shortened(self.bytes(value)),
                b"data" if self.all[value].kind == Kind::Array => rows = true,
                b"data" if self.all[value].kind == Kind::Object => {
                    own = self.scaled.map(|base| scaled::places(self.json, self.all, value, base));
                }
                _ => {}
            }
            i = self.all[value].next;
        }
        // Its own places, where the topic's do not do.
        let told = own.filter(|own| Some(*own) != self.scaled);
        let base = self.scaled.unwrap_or(Places { price: 0, size: 0 });
        // Rows come before the answer that would tell the topic's.
        let first_told = rows.then_some(self.scaled).flatten();
        let price = told.filter(|own| own.price != base.price).or(first_told).map(|own| own.price);
        let size = told.filter(|own| own.size != base.size).or(first_told).map(|own| own.size);
        self.open(Kind::Object, len + usize::from(price.is_some()) + usize::from(size.is_some()));
        let (mut i, mut first) = (at + 1, true);
        for _ in 0..len {
            let value = i + 1;
            match (self.bytes(i), self.short) {
                (b"topic", Some(ch)) if shortened => {
                    self.key(b"ch", &mut first);
                    self.integer(i128::from(ch));
                }
                (b"data", ..) if rows || own.is_some() => {
                    for (key, places) in [(&b"px_exp"[..], price), (b"size_exp", size)] {
                        if let Some(places) = places {
                            self.key(key, &mut first);
                            self.integer(-i128::from(places));
                        }
                    }
                    self.key(b"data", &mut first);
                    match own {
                        Some(own) => self.numbers(value, own),
                        None => self.rows(value),
                    }
                }
                (key, ..) => {
                    self.key(key, &mut first);
                    self.value(value);
                }
            }
            i = self.all[value].next;
        }
        self.close(Kind::Object);
    }

    fn rows(&mut self, at: usize) {
        self.open(Kind::Array, self.all[at].len);
        let mut i = at + 1;
        for n in 0..self.all[at].len {
            self.comma(n > 0);
            self.message(i);
            i = self.all[i].next;
        }
        self.close(Kind::Array);
    }

    /// `data` with its prices and sizes as integers.
    fn numbers(&mut self, at: usize, places: Places) {
        self.open(Kind::Object, self.all[at].len);
        let (mut i, mut first) = (at + 1, true);
        for _ in 0..self.all[at].len {
            let (key, value) = (self.bytes(i), i + 1);
            self.key(key, &mut first);
            if scaled::is_levels(key) && self.all[value].kind == Kind::Array {
                self.levels(value, places);
            } else {
                self.measured(scaled::measure(key), value, places);
            }
            i = self.all[value].next;
        }
        self.close(Kind::Object);
    }

    fn levels(&mut self, at: usize, places: Places) {
        self.open(Kind::Array, self.all[at].len);
        let mut i = at + 1;
        for n in 0..self.all[at].len {
            self.comma(n > 0);
            match scaled::level_at(self.all, i) {
                Some((price, size)) => {
                    self.open(Kind::Array, 2);
                    self.measured(Some(Measure::Price), price, places);
                    self.comma(true);
                    self.measured(Some(Measure::Size), size, places);
                    self.close(Kind::Array);
                }
                None => self.value(i),
            }
            i = self.all[i].next;
        }
        self.close(Kind::Array);
    }

    fn measured(&mut self, measure: Option<Measure>, at: usize, places: Places) {
        let places = match measure {
            Some(Measure::Price) => places.price,
            Some(Measure::Size) => places.size,
            None => return self.value(at),
        };
        let text = self.all[at].kind == Kind::Text;
        match scaled::integer(self.bytes(at), places).filter(|_| text) {
            Some(v) => self.integer(v),
            None => self.value(at),
        }
    }

    /// A number where every reader keeps it exactly, a string beyond.
    fn integer(&mut self, v: i128) {
        use std::io::Write;
        let small = v.unsigned_abs() < u128::from(crate::NUMBER_MAX);
        match (self.msgpack, small) {
            (true, true) => msgpack::integer(self.out, v as i64),
            (true, false) => msgpack::text(self.out, v.to_string().as_bytes()),
            (false, true) => _ = write!(self.out, "{v}"),
            (false, false) => _ = write!(self.out, "\"{v}\""),
        }
    }

    fn value(&mut self, at: usize) {
        let token = self.all[at];
        if !self.msgpack {
            let quote = usize::from(token.kind == Kind::Text);
            return self.out.extend_from_slice(&self.json[token.from - quote..token.to + quote]);
        }
        match token.kind {
            Kind::Null => self.out.push(msgpack::NIL),
            Kind::True => self.out.push(msgpack::TRUE),
            Kind::False => self.out.push(msgpack::FALSE),
            Kind::Number => msgpack::number(self.out, self.bytes(at)),
            Kind::Text => msgpack::text(self.out, &tokens::unescape(self.bytes(at))),
            Kind::Array => {
                msgpack::array(self.out, token.len);
                let mut i = at + 1;
                for _ in 0..token.len {
                    self.value(i);
                    i = self.all[i].next;
                }
            }
            Kind::Object => {
                msgpack::map(self.out, token.len);
                let mut i = at + 1;
                for _ in 0..token.len {
                    self.value(i);
                    self.value(i + 1);
                    i = self.all[i + 1].next;
                }
            }
        }
    }

    /// A member's key, as it is escaped already, with what stands around it.
    fn key(&mut self, key: &[u8], first: &mut bool) {
        if self.msgpack {
            return msgpack::text(self.out, &tokens::unescape(key));
        }
        self.comma(!std::mem::replace(first, false));
        self.out.push(b'"');
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
    }

    fn comma(&mut self, wanted: bool) {
        if wanted && !self.msgpack {
            self.out.push(b',');
        }
    }

    fn open(&mut self, kind: Kind, len: usize) {
        match (self.msgpack, kind) {
            (true, Kind::Object) => msgpack::map(self.out, len),
            (true, _) => msgpack::array(self.out, len),
            (false, Kind::Object) => self.out.push(b'{'),
            (false, _) => self.out.push(b'['),
        }
    }

    fn close(&mut self, kind: Kind) {
        if !self.msgpack {
            self.out.push(if kind == Kind::Object { b'}' } else { b']' });
        }
    }
}

#[cfg(test)]
mod tests;
