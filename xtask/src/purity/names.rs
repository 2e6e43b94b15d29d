//! From tokens to names: every path, `use` leaf and macro that a source file mentions outside its tests.
//!
//! `use` groups are opened, so `use std::{collections::HashMap, fs};` yields `std::fs` on the line of `fs`.
//! Code under `#[cfg(test)]` is left out; files that only tests include are named in [`Names::test_modules`].

use super::lexer::{Kind, Token, lex};

/// One mentioned name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Segments without leading `::`; a glob import ends in `*`, `use a::{self}` is `a`.
    pub path: Vec<String>,
    pub line: usize,
    pub role: Role,
}

/// How the name is mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A path in an expression, type or attribute.
    Path,
    /// A leaf of a `use` declaration, under its own name.
    Use,
    /// A leaf of a `use` declaration under another name (`as`).
    Renamed,
    /// A macro call: the path before `!`.
    Macro,
}

/// What one source file mentions.
#[derive(Debug, Default)]
pub struct Names {
    pub names: Vec<Name>,
    /// Modules declared as `#[cfg(test)] mod x;`: their files belong to tests.
    pub test_modules: Vec<String>,
}

/// Reads the names out of `source`.
pub fn names_of(source: &str) -> Names {
    let mut found = Names::default();
    let tokens = without_tests(&lex(source), &mut found.test_modules);
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.is("use") && !next_is(&tokens, at, "<") {
            at = use_tree(&tokens, at + 1, &[], &mut found.names);
        } else if token.kind == Kind::Word && (at == 0 || !tokens[at - 1].is(".") || token.is("await")) {
            at = path(&tokens, at, &mut found.names);
        } else if token.is("#") && next_is(&tokens, at, "[") && next_is(&tokens, at + 1, "path") {
            found.names.push(Name { path: vec!["#[path]".into()], line: token.line, role: Role::Path });
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

fn next_is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at + 1).is_some_and(|t| t.is(text))
}

/// Reads `a::b::c` (and a `!` after it) starting at `at`; returns where to go on.
fn path(tokens: &[Token], mut at: usize, names: &mut Vec<Name>) -> usize {
    let line = tokens[at].line;
    let mut path = vec![tokens[at].text.clone()];
    while next_is(tokens, at, "::") && tokens.get(at + 2).is_some_and(|t| t.kind == Kind::Word) {
        at += 2;
        path.push(tokens[at].text.clone());
    }
    if next_is(tokens, at, "::") && next_is(tokens, at + 1, "$") {
        path.push("$".into()); // a segment that a macro fills in
    }
    // `a != b` is no macro call.
    let macro_call = next_is(tokens, at, "!") && !next_is(tokens, at + 1, "=");
    names.push(Name { path, line, role: if macro_call { Role::Macro } else { Role::Path } });
    at + 1
}

/// Reads one `use` tree under `prefix` and returns the index of the token that ends it (`,`, `}` or `;`).
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], names: &mut Vec<Name>) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |t| t.line);
    let mut role = Role::Use;
    let mut group = false;
    while let Some(token) = tokens.get(at) {
        if token.is("{") {
            group = true;
            at += 1;
            while tokens.get(at).is_some_and(|t| !t.is("}") && !t.is(";")) {
                at = use_tree(tokens, at, &path, names);
                if tokens.get(at).is_some_and(|t| t.is(",")) {
                    at += 1;
                }
            }
        } else if token.is(",") || token.is("}") || token.is(";") {
            break;
        } else if token.is("as") {
            role = Role::Renamed;
            at += 1; // the new name is not a path
        } else if !token.is("::") {
            line = token.line;
            if !token.is("self") || path.is_empty() {
                path.push(token.text.clone());
            }
        }
        at += 1;
    }
    if !group {
        names.push(Name { path, line, role });
    }
    at
}

/// The tokens outside items that only exist under `cfg(test)`.
fn without_tests(tokens: &[Token], test_modules: &mut Vec<String>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute) = Attribute::at(tokens, at) else {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        };
        if !attribute.test_only {
            // An attribute may name paths too (`#[serde(with = …)]` is a literal, `#[cfg_attr(…, tokio::main)]` is not).
            kept.extend_from_slice(&tokens[at..attribute.end]);
            at = attribute.end;
        } else if attribute.inner {
            return Vec::new(); // `#![cfg(test)]`: the whole file
        } else {
            at = after_item(tokens, attribute.end, test_modules).unwrap_or(attribute.end);
        }
    }
    kept
}

struct Attribute {
    end: usize,
    inner: bool,
    test_only: bool,
}

impl Attribute {
    fn at(tokens: &[Token], at: usize) -> Option<Self> {
        if !tokens[at].is("#") {
            return None;
        }
        let inner = next_is(tokens, at, "!");
        let open = at + 1 + usize::from(inner);
        if !tokens.get(open)?.is("[") {
            return None;
        }
        let end = after_group(tokens, open)?;
        let words: Vec<&str> = tokens[open + 1..end - 1].iter().map(|t| t.text.as_str()).collect();
        // `all(test, …)` never exists without tests; `any(test, …)` and `not(test)` do, so they are checked.
        let test_only =
            matches!(words.as_slice(), ["cfg", "(", "test", ")"] | ["cfg", "(", "all", "(", "test", ",", ..]);
        Some(Self { end, inner, test_only })
    }
}

/// The index after the bracket group that opens at `open`.
fn after_group(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Punct {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

const ITEMS: &[&str] =
    &["mod", "fn", "use", "impl", "struct", "enum", "const", "static", "trait", "type", "async", "macro_rules"];

/// The index after the item that starts at `at`, or `None` when no item starts there (then nothing is left out).
fn after_item(tokens: &[Token], mut at: usize, test_modules: &mut Vec<String>) -> Option<usize> {
    while let Some(attribute) = tokens.get(at).and_then(|_| Attribute::at(tokens, at)) {
        at = attribute.end;
    }
    if tokens.get(at)?.is("pub") {
        at += 1;
        if tokens.get(at)?.is("(") {
            at = after_group(tokens, at)?;
        }
    }
    if !ITEMS.contains(&tokens.get(at)?.text.as_str()) {
        return None;
    }
    if tokens[at].is("mod") && next_is(tokens, at + 1, ";") {
        test_modules.push(tokens[at + 1].text.clone());
    }
    while let Some(token) = tokens.get(at) {
        if token.is(";") {
            return Some(at + 1);
        }
        if token.is("{") {
            return after_group(tokens, at);
        }
        at = if token.is("(") || token.is("[") { after_group(tokens, at)? } else { at + 1 };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let names: Vec<String> = names_of(source)
            .names
            .iter()
            .filter(|n| n.path.len() > 1 || n.role != Role::Path)
            .map(|n| {
                let mark = match n.role {
                    Role::Path => "",
                    Role::Use => "use ",
                    Role::Renamed => "as ",
                    Role::Macro => "macro ",
                };
                format!("{}:{mark}{}", n.line, n.path.join("::"))
            })
            .collect();
        assert_eq!(names, expected, "of {source:?}");
    }

    #[test]
    fn use_groups_are_opened() {
        check("use std::{collections::HashMap,\n fs};", &["1:use std::collections::HashMap", "2:use std::fs"]);
        check("use ::std::{self, io::{self, Read as R}};", &["1:use std", "1:use std::io", "1:as std::io::Read"]);
        check("use std::time::*; use std as s;", &["1:use std::time::*", "1:as std"]);
    }

    #[test]
    fn paths_and_macros_are_found_in_code() {
        check(
            "fn f() { let x = std :: fs\n::read(p); println!(\"{}\", a.b()); x != y }",
            &["1:std::fs::read", "2:macro println"],
        );
        check("fn f() -> impl A + use<'a> { <std::fs::File>::open() }", &["1:std::fs::File"]);
    }

    #[test]
    fn test_code_is_left_out_and_nothing_else() {
        check("#[cfg(test)] mod tests { use std::fs; fn f() { a::b() } } use x::y;", &["1:use x::y"]);
        check("#[cfg(test)]\n#[allow(x)]\npub(crate) fn f(a: [u8; 3]) { std::fs::x() }\nuse a::b;", &["4:use a::b"]);
        check("#[cfg(not(test))] use std::fs;", &["1:use std::fs"]);
        check("#[cfg(any(test, feature = \"x\"))] use std::fs;", &["1:use std::fs"]);
        check("#[cfg(all(test, feature = \"x\"))] use std::fs;", &[]);
        check("struct S { #[cfg(test)] a: std::fs::File }", &["1:std::fs::File"]);
        check("#![cfg(test)] use std::fs;", &[]);
    }

    #[test]
    fn test_files_are_named() {
        assert_eq!(names_of("#[cfg(test)]\nmod tests;\nmod real;").test_modules, ["tests"]);
    }
}
