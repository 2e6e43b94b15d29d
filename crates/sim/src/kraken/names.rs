//! The venue's spellings of a pair: `BTC/USD` on the sockets, `XBTUSD` and `XXBTZUSD` over REST.

/// Assets that REST calls otherwise.
const OLD: [(&str, &str); 2] = [("BTC", "XBT"), ("DOGE", "XDG")];
/// Those of the first years bear an `X` in REST's keys, money a `Z`.
const FIRST: [&str; 8] = ["XBT", "ETH", "ETC", "LTC", "XRP", "XLM", "XMR", "ZEC"];
const MONEY: [&str; 5] = ["USD", "EUR", "GBP", "CAD", "JPY"];

/// REST's words for a pair.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// Of answers: `XXBTZUSD`.
    pub key: String,
    /// `XBTUSD`.
    pub altname: String,
    /// As the first version of the sockets wrote it: `XBT/USD`.
    pub wsname: String,
    /// Asset names: `XXBT`, `ZUSD`.
    pub assets: [String; 2],
}

impl Names {
    /// Of a pair in the sockets' spelling.
    pub fn of(symbol: &str) -> Self {
        let (base, quote) = symbol.split_once('/').unwrap_or((symbol, ""));
        let old =
            |asset: &'_ str| OLD.iter().find(|(new, _)| *new == asset).map_or(asset.to_owned(), |(_, o)| (*o).into());
        let (base, quote) = (old(base), old(quote));
        let asset = |name: &str| {
            let mark = match name {
                name if FIRST.contains(&name) || name == "XDG" => "X",
                name if MONEY.contains(&name) => "Z",
                _ => "",
            };
            format!("{mark}{name}")
        };
        let assets = [asset(&base), asset(&quote)];
        let altname = format!("{base}{quote}");
        let marked = FIRST.contains(&base.as_str()) && MONEY.contains(&quote.as_str());
        let key = if marked { assets.concat() } else { altname.clone() };
        Self { key, altname, wsname: format!("{base}/{quote}"), assets }
    }

    /// Whether a request may mean it by this word.
    pub fn is(&self, pair: &str) -> bool {
        [&self.key, &self.altname, &self.wsname].into_iter().any(|name| name == pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_spells_a_pair_in_its_own_ways() {
        let names = |symbol| {
            let Names { key, altname, wsname, assets } = Names::of(symbol);
            [key, altname, wsname, assets.join(" ")]
        };
        assert_eq!(names("BTC/USD"), ["XXBTZUSD", "XBTUSD", "XBT/USD", "XXBT ZUSD"]);
        assert_eq!(names("DOGE/USD"), ["XDGUSD", "XDGUSD", "XDG/USD", "XXDG ZUSD"]);
        assert_eq!(names("SOL/BTC"), ["SOLXBT", "SOLXBT", "SOL/XBT", "SOL XXBT"]);
        assert!(["XXBTZUSD", "XBTUSD", "XBT/USD"].iter().all(|pair| Names::of("BTC/USD").is(pair)));
        assert!(!Names::of("BTC/USD").is("BTC/USD"));
    }
}
