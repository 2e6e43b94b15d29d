//! Names that somebody may have meant.

/// So many are named.
const NAMES_MAX: usize = 5;

/// Those of `all` that are nearest to `name`: the same subject under another kind first, then the fewest letters apart.
pub fn names(name: &str, all: &[String]) -> Vec<String> {
    let subject = |topic: &str| topic.split_once('.').map_or(topic, |(_, s)| s).to_ascii_lowercase();
    let wanted = subject(name);
    let apart = |topic: &String| {
        let (own, whole) = (subject(topic), letters_apart(&name.to_ascii_lowercase(), &topic.to_ascii_lowercase()));
        let within = !wanted.is_empty() && (own.contains(&wanted) || wanted.contains(&own));
        (if own == wanted { 0 } else { 1 }, if within { 0 } else { whole }, whole)
    };
    let far = name.len() / 2;
    let mut near: Vec<_> = all.iter().map(|topic| (apart(topic), topic)).collect();
    near.retain(|((other, part, _), _)| *other == 0 || *part <= far);
    near.sort();
    near.into_iter().take(NAMES_MAX).map(|(_, topic)| topic.clone()).collect()
}

/// Letters to be put in, taken out or changed to get from one to the other (Levenshtein).
fn letters_apart(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, n) in [("", "abc", 3), ("abc", "abc", 0), ("trade", "trad", 1), ("kitten", "sitting", 3)] {
            assert_eq!((letters_apart(a, b), letters_apart(b, a)), (n, n), "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_names_come_first() {
        let all = ["book.BTCUSDT.BINANCE", "trade.BTCUSDT-PERP.BINANCE", "trade.ETHUSDT.BINANCE", "link.w0"];
        let all = all.map(str::to_owned);
        let near = |name: &str| names(name, &all);
        assert_eq!(near("trade.BTCUSDT.BINANCE")[0], "book.BTCUSDT.BINANCE", "its instrument");
        assert_eq!(near("trade.btcusdt-perp.binance")[0], "trade.BTCUSDT-PERP.BINANCE");
        assert_eq!(near("trades.ETHUSDT.BINANC")[0], "trade.ETHUSDT.BINANCE");
        assert!(near("zzz").is_empty());
    }
}
