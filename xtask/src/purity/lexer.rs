//! A small Rust lexer: just enough to look at names without being fooled by comments, strings or spacing.
//!
//! It knows nested block comments, plain, byte, C and raw strings, characters against lifetimes, and raw identifiers.
//! What it yields is a flat list of words and single punctuation characters (`::` is one token), each with its line.
//! Literals come through as [`Kind::Literal`], so that a string can never be taken for code.
//! Rules: The Rust Reference, "Tokens" (read 2026-11-21).

/// What a token is; the checks only ever care for words and punctuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    Punct,
    Literal,
}

/// One token and the line (from 1) where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
}

impl Token {
    /// Whether this is the word or punctuation `text`. A literal never is.
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

/// All tokens of `source`. Never fails: what is not Rust comes out as punctuation.
pub fn lex(source: &str) -> Vec<Token> {
    Lexer { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() }.run()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn run(mut self) -> Vec<Token> {
        while let Some(c) = self.peek(0) {
            match c {
                c if c.is_whitespace() => self.skip(1),
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(0),
                '\'' => self.quote(),
                c if c.is_ascii_digit() => self.number(),
                c if is_word_start(c) => self.word(),
                ':' if self.peek(1) == Some(':') => {
                    self.push(Kind::Punct, "::".into(), self.line);
                    self.skip(2);
                }
                c => {
                    self.push(Kind::Punct, c.to_string(), self.line);
                    self.skip(1);
                }
            }
        }
        self.tokens
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == Some('\n') {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line });
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.skip(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    /// A string whose opening quote stands `prefix` characters ahead, with escapes.
    fn string(&mut self, prefix: usize) {
        let line = self.line;
        self.skip(prefix + 1);
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => self.skip(2),
                '"' => {
                    self.skip(1);
                    break;
                }
                _ => self.skip(1),
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    /// A raw string with `hashes` hashes, whose first hash or quote stands `prefix` characters ahead.
    fn raw_string(&mut self, prefix: usize, hashes: usize) {
        let line = self.line;
        self.skip(prefix + hashes + 1);
        while let Some(c) = self.peek(0) {
            let closes = c == '"' && (1..=hashes).all(|n| self.peek(n) == Some('#'));
            self.skip(if closes { 1 + hashes } else { 1 });
            if closes {
                break;
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    /// A character literal or a lifetime: `'a'`, `'\n'` against `'a`.
    fn quote(&mut self) {
        let line = self.line;
        let lifetime = self.peek(1).is_some_and(is_word_start) && self.peek(2) != Some('\'');
        if lifetime {
            self.skip(2);
            while self.peek(0).is_some_and(is_word) {
                self.skip(1);
            }
            return;
        }
        self.skip(1);
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => self.skip(2),
                '\'' => {
                    self.skip(1);
                    break;
                }
                _ => self.skip(1),
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    fn number(&mut self) {
        let line = self.line;
        // A dot belongs to the number only before a digit: `1.5`, but not `1..n` nor `1.max(2)`.
        while self.peek(0).is_some_and(|c| is_word(c) || (c == '.' && self.peek(1).is_some_and(|n| n.is_ascii_digit())))
        {
            self.skip(1);
        }
        self.push(Kind::Literal, String::new(), line);
    }

    fn word(&mut self) {
        let line = self.line;
        let mut len = 0;
        while self.peek(len).is_some_and(is_word) {
            len += 1;
        }
        let text: String = self.chars[self.at..self.at + len].iter().collect();
        let hashes = (0..).take_while(|n| self.peek(len + n) == Some('#')).count();
        let quoted = self.peek(len + hashes) == Some('"');
        match text.as_str() {
            "r" | "br" | "cr" if quoted => self.raw_string(len, hashes),
            "b" | "c" if quoted && hashes == 0 => self.string(len),
            "b" if self.peek(len) == Some('\'') => {
                self.skip(len);
                self.quote();
            }
            "r" if hashes == 1 && self.peek(len + 1).is_some_and(is_word_start) => {
                self.skip(2); // `r#std` is `std`
                self.word();
            }
            _ => {
                self.skip(len);
                self.push(Kind::Word, text, line);
            }
        }
    }
}

fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let words: Vec<String> =
            lex(source).iter().map(|t| if t.kind == Kind::Literal { "$".into() } else { t.text.clone() }).collect();
        assert_eq!(words.join(" "), expected, "of {source:?}");
    }

    #[test]
    fn comments_and_strings_hold_no_code() {
        check("a // std::fs\nb", "a b");
        check("a /* x /* std::fs */ y */ b", "a b");
        check(r#"f("std::fs \" still", b"x", c"y")"#, "f ( $ , $ , $ )");
        check("r#\"a \" b\"# r\"x\" br##\"\"# \"## z", "$ $ $ z");
    }

    #[test]
    fn quotes_are_characters_or_lifetimes() {
        check("&'a str '\"' '\\'' 'x' b'\"' 'static z", "& str $ $ $ $ z");
    }

    #[test]
    fn paths_survive_spacing_and_raw_identifiers() {
        check("std :: fs r#std::r#fs", "std :: fs std :: fs");
        check("0..n 1.5e3 0x_ff 1.max(2)", "$ . . n $ $ $ . max ( $ )");
    }

    #[test]
    fn lines_are_counted_through_every_literal() {
        let tokens = lex("\"a\nb\" /* \n */ r\"\n\" x");
        assert_eq!(tokens.last().map(|t| (t.text.as_str(), t.line)), Some(("x", 4)));
    }
}
