//! File, then environment, then flags; read into one struct, and every mistake found in one go.
//!
//! The layers are merged as TOML and printed again, so that whatever is wrong has a place in one text, wherever it came
//! from. Reading stops at the first mistake; that line is then taken out, noted, and the rest is read again. So three
//! wrong keys are three problems and not three runs of `wholetape check`.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::problem::Problem;

/// Environment variables that set a key: `WHOLETAPE__TAPE__FSYNC=10ms` is `tape.fsync`.
pub const ENV_PREFIX: &str = "WHOLETAPE__";
/// More mistakes than this are not told apart.
const PROBLEMS_MAX: usize = 64;

/// Sets `key` (dotted) to `text`, which is TOML where it parses as such, and a string otherwise.
pub fn set(table: &mut Table, key: &str, text: &str) -> Result<(), Problem> {
    let value = toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let wrong = |why: &str| Problem::new(key, text, why, "name it as in `wholetape defaults`, for example tape.fsync");
    let mut parts = key.split('.').peekable();
    let mut at = table;
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err(wrong("an empty part in a key"));
        }
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return Ok(());
        }
        at = match at.entry(part).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => inner,
            _ => return Err(wrong("a part of this key is no section")),
        };
    }
    Err(wrong("no key"))
}

/// Applies the environment: only names with [`ENV_PREFIX`].
pub fn environment(table: &mut Table, vars: impl Iterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
    let mut ours: Vec<_> = vars.filter_map(|(k, v)| Some((k.strip_prefix(ENV_PREFIX)?.to_owned(), v))).collect();
    ours.sort();
    for (name, text) in ours {
        let key = name.to_lowercase().replace("__", ".");
        if let Err(problem) = set(table, &key, &text) {
            problems.push(problem);
        }
    }
}

/// Reads `table` as `T`. What cannot be read is left out and told.
pub fn read<T: DeserializeOwned + Default>(table: &Table, problems: &mut Vec<Problem>) -> T {
    let mut text = toml::to_string(table).unwrap_or_default();
    for _ in 0..PROBLEMS_MAX {
        let error = match toml::from_str::<T>(&text) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let Some(span) = error.span() else {
            problems.push(Problem::new("", "", first_line(error.message()), "see `wholetape defaults`"));
            return T::default();
        };
        let place = Place::of(&text, span.start);
        let why = first_line(error.message());
        let missing = why.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match missing {
            Some(field) => {
                let key = join(&place.section, field);
                problems.push(Problem::new(key, "", "is missing", "add it; `wholetape defaults` shows one"));
                cut(&mut text, place.section_lines);
            }
            None => {
                let remedy = match &why {
                    w if w.starts_with("unknown field") => "take it out or correct its name",
                    _ => "correct it; `wholetape defaults` shows one that works",
                };
                problems.push(Problem::new(join(&place.section, &place.key), place.value.clone(), why, remedy));
                cut(&mut text, if place.key.is_empty() { place.section_lines } else { place.line });
            }
        }
    }
    T::default()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn join(section: &str, key: &str) -> String {
    match (section.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => section.to_owned(),
        _ => format!("{section}.{key}"),
    }
}

fn cut(text: &mut String, range: std::ops::Range<usize>) {
    text.replace_range(range, "");
}

/// Where a byte of the printed text lies.
struct Place {
    section: String,
    key: String,
    value: String,
    line: std::ops::Range<usize>,
    /// The section's header and its keys.
    section_lines: std::ops::Range<usize>,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let mut place =
            Self { section: String::new(), key: String::new(), value: String::new(), line: 0..0, section_lines: 0..0 };
        let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        let (mut start, mut found) = (0, false);
        for line in text.split_inclusive('\n') {
            let range = start..start + line.len();
            start = range.end;
            let header = line.trim_start().starts_with('[') && !line.contains(" = ");
            if header {
                if found {
                    break;
                }
                place.section = header_name(line, &mut counts);
                place.section_lines = range.clone();
                place.key.clear();
            }
            place.section_lines.end = range.end;
            if range.contains(&at) {
                found = true;
                place.line = range;
                if let Some((key, value)) = line.split_once(" = ").filter(|_| !header) {
                    place.key = key.trim().to_owned();
                    place.value = value.trim().to_owned();
                }
            }
        }
        place
    }
}

/// `[[venues]]` for the second time → `venues[1]`; sections below it keep the number.
fn header_name(line: &str, counts: &mut std::collections::BTreeMap<String, usize>) -> String {
    let line = line.trim();
    if let Some(name) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
        let n = counts.entry(name.to_owned()).or_default();
        *n += 1;
        return format!("{name}[{}]", *n - 1);
    }
    let name = line.trim_start_matches('[').trim_end_matches(']');
    match name.split_once('.') {
        Some((head, rest)) if counts.contains_key(head) => format!("{head}[{}].{rest}", counts[head] - 1),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        top: u32,
        tape: Tape,
        venues: Vec<Venue>,
    }
    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Tape {
        size: u64,
        name: String,
    }
    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Venue {
        name: String,
        #[serde(default)]
        port: u16,
    }

    fn read_text(text: &str) -> (Sample, Vec<Problem>) {
        let mut problems = Vec::new();
        let sample = read(&toml::from_str(text).unwrap(), &mut problems);
        (sample, problems)
    }

    #[test]
    fn every_mistake_is_told_and_the_rest_is_read() {
        let (sample, problems) = read_text(
            "top = 3\nbogus = 1\n[tape]\nsize = \"many\"\nname = \"a\"\n[[venues]]\nname = \"x\"\nport = 99999\n[[venues]]\nport = 1\n",
        );
        let keys: Vec<_> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys.len(), 4, "{problems:?}");
        for key in ["bogus", "tape.size", "venues[0].port", "venues[1].name"] {
            assert!(keys.contains(&key), "{key} in {keys:?}");
        }
        assert_eq!((sample.top, sample.tape.name.as_str()), (3, "a"));
        let value = &problems.iter().find(|p| p.key == "tape.size").unwrap().value;
        assert_eq!(value, "\"many\"");
    }

    #[test]
    fn layers_override_in_order() {
        let mut table: Table = toml::from_str("top = 1\n[tape]\nsize = 2\n").unwrap();
        let mut problems = Vec::new();
        let env = [("WHOLETAPE__TAPE__SIZE", "5"), ("WHOLETAPE__TAPE__NAME", "b c"), ("HOME", "/")];
        environment(&mut table, env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())), &mut problems);
        set(&mut table, "tape.size", "7").unwrap();
        let sample: Sample = read(&table, &mut problems);
        assert_eq!((sample.tape.size, sample.tape.name.as_str(), problems.len()), (7, "b c", 0));
        assert!(set(&mut table, "top.under", "1").is_err());
    }
}
