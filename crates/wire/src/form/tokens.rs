//! Our own JSON as a flat list of tokens, so that it can be written again in another form.

/// What stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    /// Without its quotes, still escaped.
    Text,
    Number,
    True,
    False,
    Null,
}

/// One value or key, and where it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub kind: Kind,
    /// Bytes of the text: of a string without its quotes, of a container from its bracket on.
    pub from: usize,
    pub to: usize,
    /// Members of an object, elements of an array.
    pub len: usize,
    /// The token behind it and everything in it.
    pub next: usize,
}

/// Reads the whole of `text` into `out`: each object is followed by key, value, key, value …; false when it is not one JSON value.
pub(super) fn read(text: &[u8], out: &mut Vec<Token>) -> bool {
    out.clear();
    let mut reader = Reader { text, at: 0, out, depth: 0 };
    reader.value().is_some() && {
        reader.blank();
        reader.at == text.len()
    }
}

/// Deeper than anything that we write: publications are at most [`crate::DEPTH_MAX`] deep.
const DEPTH: usize = 64;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<Token>,
    depth: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn push(&mut self, kind: Kind, from: usize, to: usize) -> usize {
        let i = self.out.len();
        self.out.push(Token { kind, from, to, len: 0, next: i + 1 });
        i
    }

    fn value(&mut self) -> Option<()> {
        self.blank();
        match *self.text.get(self.at)? {
            b'{' => self.container(Kind::Object, b'}'),
            b'[' => self.container(Kind::Array, b']'),
            b'"' => self.string(),
            b't' => self.word(b"true", Kind::True),
            b'f' => self.word(b"false", Kind::False),
            b'n' => self.word(b"null", Kind::Null),
            _ => self.number(),
        }
    }

    fn container(&mut self, kind: Kind, end: u8) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let i = self.push(kind, self.at, self.at);
        self.at += 1;
        self.blank();
        let mut len = 0;
        if self.eat(end).is_none() {
            loop {
                if kind == Kind::Object {
                    self.blank();
                    self.string()?;
                    self.blank();
                    self.eat(b':')?;
                }
                self.value()?;
                len += 1;
                self.blank();
                if self.eat(b',').is_none() {
                    self.eat(end)?;
                    break;
                }
            }
        }
        self.depth -= 1;
        let (to, next) = (self.at, self.out.len());
        let token = &mut self.out[i];
        (token.to, token.len, token.next) = (to, len, next);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.eat(b'"')?;
        let from = self.at;
        loop {
            match *self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.push(Kind::Text, from, self.at);
        self.at += 1;
        Some(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| {
            self.push(kind, self.at, self.at + word.len());
            self.at += word.len();
        })
    }

    fn number(&mut self) -> Option<()> {
        let from = self.at;
        while matches!(self.text.get(self.at), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        (self.at > from).then(|| _ = self.push(Kind::Number, from, self.at))
    }
}

/// The string between quotes, unescaped; as it is where nothing was escaped.
pub(super) fn unescape(escaped: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !escaped.contains(&b'\\') {
        return escaped.into();
    }
    let quoted = [b"\"", escaped, b"\""].concat();
    // What cannot be read is left as it is: we wrote it, or a client whose text was read as JSON before.
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| escaped.into(), |text| text.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_value_is_refused() {
        let mut out = Vec::new();
        for good in ["{}", "[]", "[1, 2]", " {\"a\" : [true,false , null]} ", "\"\\\"\"", "-1.5e3"] {
            assert!(read(good.as_bytes(), &mut out), "{good}");
        }
        for bad in
            ["", "{", "{]", "[1", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "\"", "\"\\", "nul", "1 2", "{}x", "[,]"]
        {
            assert!(!read(bad.as_bytes(), &mut out), "{bad}");
        }
        assert!(!read("[".repeat(5_000).as_bytes(), &mut out), "no end to it");
    }

    #[test]
    fn a_token_knows_its_end() {
        let (text, mut out) = (br#"{"a":[1,{"b":2}],"c":"d"}"#, Vec::new());
        assert!(read(text, &mut out));
        let all: Vec<_> = out.iter().map(|t| (t.kind, t.len, t.next)).collect();
        use Kind::{Array, Number, Object, Text};
        let want = [
            (Object, 2, 9),
            (Text, 0, 2),
            (Array, 2, 7),
            (Number, 0, 4),
            (Object, 1, 7),
            (Text, 0, 6),
            (Number, 0, 7),
            (Text, 0, 8),
            (Text, 0, 9),
        ];
        assert_eq!(all, want);
        assert_eq!((out[0].from, out[0].to), (0, text.len()));
    }
}
