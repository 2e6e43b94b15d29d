//! What `wholetape defaults` prints: every key with its default and a word about it.

use wholetape_venue::endpoints;

/// A file that records a few instruments of the real Binance. Addresses and limits come from the venue's folder.
pub fn defaults() -> String {
    let mut text = HEAD.replace("{venues}", &wholetape_venue::names().replace(", ", " "));
    for (name, venue, symbols, channels) in [
        ("spot", "binance-spot", r#"["BTCUSDT", "ETHUSDT"]"#, SPOT),
        ("usdm", "binance-usdm", r#"["BTCUSDT", "ETHUSDT"]"#, FUTURES),
    ] {
        let Ok(own) = endpoints(venue) else { continue };
        let list = |all: &[&str]| all.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "\n[[feed.line]]\nname = \"{name}\"\nvenue = \"{venue}\"\ninstruments = {symbols}\nchannels = {channels}\nws = [{}]\nrest = [{}]\n",
            list(own.ws),
            list(own.rest)
        ));
        if name == "spot" {
            text.push_str(LINE);
        }
    }
    text
}

const SPOT: &str = r#"["trade", "book", "quote", "ticker", "bar-1m", "instrument"]"#;
const FUTURES: &str =
    r#"["trade", "book", "quote", "ticker", "bar-1m", "mark", "liquidation", "open_interest", "instrument"]"#;

const HEAD: &str = r#"# wholetape's configuration: every key, with its default. Later layers win: this file, then the environment
# (WHOLETAPE__TAPE__FSYNC=10ms is tape.fsync), then flags (--set tape.fsync=10ms). `wholetape check -c FILE` tells
# everything that is wrong at once.

# Where the tape is kept; one process owns it.
data = "wholetape-data"

[log]
level = "info"               # error warn info debug trace, or a filter: "info,wholetape_feed=debug"
format = "text"              # text or json

[tape]
fsync = "100ms"              # longest time between write and disk; "batch" serves nothing before the disk has it
segment = "64MiB"            # a lane's files are this large
memory = "64MiB"             # newest records of a lane that readers take from memory
# keep_age = "7d"            # sealed segments older than this go; without it they stay
# keep_size = "20GiB"        # all lanes together; the oldest segment goes first
low_space_soft = "1GiB"      # free space at which health warns
low_space_hard = "256MiB"    # free space at which the oldest segment goes, with a mark lost(disk)

[store]
enabled = true               # keep what the tape holds as a Parquet catalog, in <data>/catalog
dialects = ["v2"]            # v2: NautilusTrader 2.x and SQL engines; "v1" beside it: NautilusTrader 1.x, in <data>/catalog-v1
codec = "zstd"               # zstd, zstd-<level>, snappy, lz4 or none
depth = true                 # order_book_depths: the ten best levels a side, one row a second
budget = "256MiB"            # rows that wait in memory; the largest buffers are stored when it is full
flush_every = "1h"           # a row waits at most so long
rewrite_every = "10m"        # rows that came late go into stored files at most this often
seal_after = "10m"           # so long after midnight (UTC) a day's files become one
# certificate_key = "/etc/wholetape/certificates.pem" # an Ed25519 key (PEM) signs the days' certificates; without it they are not signed

[store.retention]
keep = "forever"             # a day's files go, topic by topic, when its end (UTC) is so long ago: "90d"
# [[store.retention.rule]]   # the most specific rule wins: by kind and venue, then kind, then venue, then the line above
# kind = "book"              # a topic's first word: trade, quote, book, bar-1m (bar: all periods), instrument …
# venue = "BINANCE"
# keep = "30d"               # or "forever"

[gateway]
listen = "127.0.0.1:9100"    # page, protocol (/v1/ws), /metrics, /health/live, /health/ready
heartbeat = "15s"            # a client silent for twice as long is closed
stall = "30s"                # a client's socket that takes no byte for so long is closed
drain = "10s"                # at the end, connections get this long
session_ttl = "2m"           # a client that comes back within this time may resume where it was; "0s" keeps none
sessions = 10000             # sessions without a connection, at most
connections = 10000
connections_per_ip = 50      # loopback is exempt
upgrades_per_s = 10          # new connections per second of one address; loopback is exempt
ban = "15m"                  # who was closed for abuse stays out so long: address (loopback is exempt) and principal
origins = []                 # browser origins allowed beside the page's own host; "*" allows all
deflate = true               # permessage-deflate for clients that offer it: compressed once for all of them
echo = false                 # GET /echo sends everything back: for conformance suites, never where others can reach it
ring = "4MiB"                # encoded messages kept per subscribed topic, at most
rings = "64MiB"              # and for all of them together

[gateway.auth]
# keys = "/etc/wholetape/keys.toml" # who may read what (`wholetape gateway key new`); without it everybody may read everything
anonymous = []               # topics that may be read without credentials: ["trade.*", "*.BINANCE"]
timeout = "5s"               # who may read nothing and has not authenticated by then is closed
connections = 20             # of one principal
query_tokens = false         # take ?token= too: addresses end up in logs
metrics = false              # /metrics wants credentials

[gateway.publish]            # what clients add to the tape (`pub`): order.*, fill.*, signal.*, c4.*; with a key, what its `pub` names
anonymous = []               # topics that may be published without credentials: ["c4.*"]
window = "10m"               # a publication that is sent again within this time is answered as the first time
names = 10000                # unless its principal published more than this since
topics = 10000               # topics that clients may bring to life
waiting = 4096               # publications that wait for the disk, at most

[gateway.tls]                # https and wss instead of http and ws; new files are read without a restart
# cert = "/etc/wholetape/cert.pem" # the certificate and those that lead to a root (PEM)
# key = "/etc/wholetape/key.pem"   # its private key (PEM), mode 600 or 640

[feed]
workers = 0                  # threads for lines; 0 = cores - 1, at least 1
listings_every = "10m"       # patterns follow what the venues list, delisted instruments are let go; "0s" = never

# One group of instruments of one venue. Venues: {venues}.
# Channels: trade trade-raw book quote ticker bar-<period> mark (with index and funding) liquidation open_interest
# instrument (with status). Addresses other than the venue's own need `approved = "who, when, why"`;
# plain ws:// and http:// are for loopback alone.
"#;

const LINE: &str = r#"# approved = "ada, 2026-11-21, our test exchange"
trade_source = "aggTrade"    # which stream fills the topic `trade`: aggTrade or trade
heal = true                  # ask for missed trades by id
backlog = "1h 40m"           # how far back trades are made whole at a start; "0s" = not at all
raw = false                  # keep every frame as it came
instruments_per_line = 50
streams_per_connection = 200
sockets = 1                  # sockets that carry the same streams, at different addresses; first delivery wins
book_depth = 0               # levels a side of a book snapshot; 0 = the venue's default
open_interest_every = "30s"
instruments_every = "10m"
backoff = "1s"               # first delay between attempts to connect, doubled up to:
backoff_max = "1m"
jitter = "full"              # full, or tenth (the delay ± 10 %)
open_timeout = "4s"
ping = "20s"
pong = "10s"
close = "5s"
rest_timeout = "10s"
lag_max = "1s"               # this far behind its sockets a line says so: its books are stale
shed_after = "2s"            # so long behind without catching up, it gives up one thing more: ticker, depth, trades last
weight_per_minute = 0        # REST weight that we allow ourselves; 0 = the venue's limit
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_feed::config::LineConfig;

    /// What is printed is what is true: the printed values are the structs' defaults, and no key is left out.
    #[test]
    fn printed_values_are_the_defaults() {
        let config: crate::config::Config = toml::from_str(&defaults()).unwrap();
        let own = crate::config::Config::default();
        assert_eq!(format!("{:?}", config.tape), format!("{:?}", own.tape));
        assert_eq!(format!("{:?}", config.gateway), format!("{:?}", own.gateway));
        assert_eq!(format!("{:?}", config.log), format!("{:?}", own.log));
        let printed = &config.feed.line[0];
        let like = LineConfig {
            name: printed.name.clone(),
            venue: printed.venue.clone(),
            instruments: printed.instruments.clone(),
            channels: printed.channels.clone(),
            ws: printed.ws.clone(),
            rest: printed.rest.clone(),
            ..LineConfig::default()
        };
        assert_eq!(*printed, like);
        let text = defaults();
        let keys = toml::Table::try_from(LineConfig { approved: Some("x".into()), ..LineConfig::default() }).unwrap();
        for key in keys.keys() {
            assert!(
                text.contains(&format!("\n{key} =")) || text.contains(&format!("\n# {key} =")),
                "{key} is not printed"
            );
        }
    }

    #[test]
    fn the_document_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let wanted = format!("{DOCUMENT}```toml\n{}```\n", defaults());
        if std::env::var_os("WHOLETAPE_BLESS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            found, wanted,
            "docs/configuration.md is stale: WHOLETAPE_BLESS=1 cargo test -p wholetape the_document_is_fresh"
        );
    }

    const DOCUMENT: &str = "# Configuration\n\nGenerated from `wholetape defaults`; a test keeps it fresh. `docs/operations.md` says how to run it.\n\n";
}
