//! What somebody may: patterns of topic names.
//!
//! Grants are layers, and a topic must pass each: a token never gives more than the key that signed it has.

use std::sync::Arc;

use wholetape_model::Class;
use wholetape_wire::TOPIC_LEN_MAX;

use crate::ws::ops::matches;

/// Patterns of one key, token or configuration, at most.
const PATTERNS_MAX: usize = 256;

/// Topics by verb. `*` stands for any text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    pub read: Vec<String>,
    pub publish: Vec<String>,
    /// The class that a connection serves before all others.
    pub prio: Option<Class>,
}

impl Patterns {
    /// # Errors
    /// One line: which pattern is none.
    pub fn new(read: Vec<String>, publish: Vec<String>) -> Result<Self, String> {
        if read.len() + publish.len() > PATTERNS_MAX {
            return Err(format!("more than {PATTERNS_MAX} patterns"));
        }
        for pattern in read.iter().chain(&publish) {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"._%-*".contains(&b);
            if pattern.is_empty() || pattern.len() > TOPIC_LEN_MAX || !pattern.bytes().all(fits) {
                let start: String = pattern.chars().take(64).collect();
                return Err(format!("{start:?} is no topic, nor a pattern like trade.* or *.BINANCE"));
            }
        }
        Ok(Self { read, publish, prio: None })
    }

    /// The same, with the name of a class to be served first.
    ///
    /// # Errors
    /// One line: no such class.
    pub fn first(mut self, class: Option<&str>) -> Result<Self, String> {
        let none = |name: &str| {
            let start: String = name.chars().take(64).collect();
            format!("prio is none of critical, trade, book, ticker: {start:?}")
        };
        self.prio = class.map(|name| Class::parse(name).ok_or_else(|| none(name))).transpose()?;
        Ok(self)
    }
}

/// What a principal may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants(Vec<Arc<Patterns>>);

impl Grants {
    pub fn of(layers: impl IntoIterator<Item = Arc<Patterns>>) -> Self {
        Self(layers.into_iter().collect())
    }

    pub fn may_read(&self, topic: &str) -> bool {
        !self.0.is_empty() && self.0.iter().all(|layer| layer.read.iter().any(|p| matches(p, topic)))
    }

    pub fn may_publish(&self, topic: &str) -> bool {
        !self.0.is_empty() && self.0.iter().all(|layer| layer.publish.iter().any(|p| matches(p, topic)))
    }

    /// The class to be served first: what a token says goes before what its key does.
    pub fn prio(&self) -> Option<Class> {
        self.0.iter().rev().find_map(|layer| layer.prio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(read: &[&str]) -> Arc<Patterns> {
        Arc::new(Patterns::new(read.iter().map(|p| (*p).to_owned()).collect(), Vec::new()).unwrap())
    }

    #[test]
    fn every_layer_must_allow() {
        let key = layer(&["trade.*", "book.*.BINANCE"]);
        let token = layer(&["*.BINANCE"]);
        let both = Grants::of([key.clone(), token]);
        for (topic, alone, narrowed) in [
            ("trade.A.BINANCE", true, true),
            ("trade.A.OKX", true, false),
            ("book.A.BINANCE", true, true),
            ("book.A.OKX", false, false),
            ("trade-raw.A.BINANCE", false, false),
        ] {
            assert_eq!(Grants::of([key.clone()]).may_read(topic), alone, "{topic}");
            assert_eq!(both.may_read(topic), narrowed, "{topic}");
        }
        assert!(!Grants::default().may_read("trade.A.BINANCE"), "nobody may nothing");
    }

    #[test]
    fn reading_is_not_publishing() {
        let layer = |publish: &[&str]| {
            let publish = publish.iter().map(|p| (*p).to_owned()).collect();
            Arc::new(Patterns::new(vec!["*".to_owned()], publish).unwrap())
        };
        let may = |layers: Vec<Arc<Patterns>>, topic| Grants::of(layers).may_publish(topic);
        assert!(!may(vec![layer(&[])], "c4.game.1"));
        assert!(may(vec![layer(&["c4.*"])], "c4.game.1"));
        assert!(!may(vec![layer(&["c4.*"]), layer(&["c4.game.2"])], "c4.game.1"), "a token narrows its key");
        assert!(!may(Vec::new(), "c4.game.1"));
    }

    #[test]
    fn patterns_are_checked() {
        for bad in ["", "a b", "trade.ä", "trade.*\n"] {
            assert!(Patterns::new(vec![bad.to_owned()], Vec::new()).unwrap_err().contains("no topic"), "{bad:?}");
        }
        assert!(Patterns::new(vec!["*".into(); 257], Vec::new()).is_err());
    }

    #[test]
    fn a_token_says_before_its_key_which_class_goes_first() {
        let layer = |prio| Arc::new(Patterns::default().first(prio).unwrap());
        assert_eq!(Grants::of([layer(None), layer(None)]).prio(), None);
        assert_eq!(Grants::of([layer(Some("book")), layer(None)]).prio(), Some(Class::Book));
        assert_eq!(Grants::of([layer(Some("book")), layer(Some("ticker"))]).prio(), Some(Class::Ticker));
        assert!(Patterns::default().first(Some("high")).unwrap_err().contains("\"high\""));
    }

    proptest::proptest! {
        /// A layer more never allows more.
        #[test]
        fn layers_only_narrow(a in "[ab*.]{1,4}", b in "[ab*.]{1,4}", topic in "[ab.]{1,6}") {
            let (a, b) = (layer(&[a.as_str()]), layer(&[b.as_str()]));
            let both = Grants::of([a.clone(), b.clone()]).may_read(&topic);
            proptest::prop_assert_eq!(both, Grants::of([a]).may_read(&topic) && Grants::of([b]).may_read(&topic));
        }
    }
}
