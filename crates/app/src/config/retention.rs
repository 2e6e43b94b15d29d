//! `[store.retention]`: how long stored days are kept.

use std::time::Duration;

use serde::Deserialize;
use wholetape_store::retain::{Keep, Kinds, Rule, Rules};

use super::problem::Problem;

/// A day is over before it can go, and the calendar of nanoseconds has an end.
const LEAST: Duration = Duration::from_secs(86_400);
const MOST: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSection {
    pub keep: String,
    pub rule: Vec<RuleSection>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSection {
    pub kind: Option<String>,
    pub venue: Option<String>,
    pub keep: String,
}

impl Default for RetentionSection {
    fn default() -> Self {
        Self { keep: "forever".into(), rule: Vec::new() }
    }
}

impl RetentionSection {
    /// With any problem nothing goes.
    pub fn plan(&self, problems: &mut Vec<Problem>) -> Rules {
        let before = problems.len();
        let mut wrong = |key: &str, value: &str, why: String, remedy: &str| {
            let value = if value.is_empty() { String::new() } else { format!("{value:?}") };
            problems.push(Problem::new(format!("store.retention.{key}"), value, why, remedy));
        };
        let general = keep(&self.keep).unwrap_or_else(|why| {
            wrong("keep", &self.keep, why, "write \"90d\", or \"forever\"");
            Keep::Forever
        });
        let mut rules = Vec::new();
        for (i, rule) in self.rule.iter().enumerate() {
            let at = |key: &str| format!("rule[{i}]{key}");
            let kept = keep(&rule.keep).unwrap_or_else(|why| {
                wrong(&at(".keep"), &rule.keep, why, "write \"90d\", or \"forever\"");
                Keep::Forever
            });
            let kinds = match &rule.kind {
                None => Kinds::Any,
                Some(text) => Kinds::parse(text).unwrap_or_else(|| {
                    let remedy =
                        "write a topic's first word: trade, book, quote, bar-1m, instrument …, or bar for all periods";
                    wrong(&at(".kind"), text, "is no kind that is stored".into(), remedy);
                    Kinds::Any
                }),
            };
            if let Some(venue) = &rule.venue
                && (venue.is_empty()
                    || !venue.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'))
            {
                let remedy = "write what topics end with, as in trade.BTCUSDT.BINANCE";
                wrong(&at(".venue"), venue, "is no venue".into(), remedy);
            }
            if rule.kind.is_none() && rule.venue.is_none() {
                let remedy = "what holds for all topics is store.retention.keep";
                wrong(&at(""), &rule.keep, "names neither kind nor venue".into(), remedy);
            }
            rules.push(Rule { kinds, venue: rule.venue.clone(), keep: kept });
        }
        if problems.len() > before {
            return Rules::default();
        }
        Rules::new(general, rules.clone()).unwrap_or_else(|(first, second)| {
            problems.push(Problem::new(
                format!("store.retention.rule[{second}]"),
                rules[second].to_string(),
                format!("is what rule[{first}] is for as well"),
                "keep one of the two",
            ));
            Rules::default()
        })
    }
}

fn keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep::Forever);
    }
    match humantime::parse_duration(text) {
        Ok(time) if (LEAST..=MOST).contains(&time) => Ok(Keep::For(time)),
        Ok(_) => Err("is not between 1day and 100years".into()),
        Err(_) => Err("is no time".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Topic;

    fn plan(text: &str) -> (Rules, Vec<String>) {
        let section: RetentionSection = toml::from_str(text).unwrap();
        let mut problems = Vec::new();
        let rules = section.plan(&mut problems);
        (rules, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_read() {
        assert_eq!(plan(""), (Rules::default(), Vec::new()));
        let text = r#"
            keep = "90d"
            rule = [
                { kind = "book", venue = "BINANCE", keep = "30d" },
                { kind = "bar", keep = "forever" },
                { venue = "BINANCE_US", keep = "1 week" },
            ]
        "#;
        let (rules, problems) = plan(text);
        assert!(problems.is_empty(), "{problems:?}");
        let days = |topic: &str| match rules.of(&Topic::parse(topic).unwrap()).keep {
            Keep::Forever => 0,
            Keep::For(time) => time.as_secs() / 86_400,
        };
        assert_eq!(days("book.BTCUSDT.BINANCE"), 30);
        assert_eq!(days("book.BTCUSDT.BINANCE_US"), 7);
        assert_eq!(days("bar-1m.BTCUSDT.BINANCE_US"), 0);
        assert_eq!(days("trade.BTCUSDT.BINANCE"), 90);
    }

    #[test]
    fn each_mistake_names_key_and_value_and_then_nothing_goes() {
        for (text, said) in [
            ("keep = \"soon\"", "store.retention.keep = \"soon\": is no time"),
            ("keep = \"3h\"", "store.retention.keep = \"3h\": is not between 1day and 100years"),
            (
                "keep = \"2d\"\n[[rule]]\nkind = \"trades\"\nkeep = \"9d\"",
                "store.retention.rule[0].kind = \"trades\": is no kind that is stored",
            ),
            (
                "[[rule]]\nvenue = \"Binance\"\nkeep = \"9d\"",
                "store.retention.rule[0].venue = \"Binance\": is no venue",
            ),
            ("[[rule]]\nkeep = \"9d\"", "store.retention.rule[0] = \"9d\": names neither kind nor venue"),
            (
                "[[rule]]\nkind = \"book\"\nkeep = \"9d\"\n[[rule]]\nkind = \"book\"\nkeep = \"8d\"",
                "store.retention.rule[1] = kind book: is what rule[0] is for as well",
            ),
        ] {
            let (rules, problems) = plan(text);
            assert!(problems.len() == 1 && problems[0].starts_with(said), "{problems:?}");
            assert!(rules.is_forever());
        }
    }
}
