//! The verbs and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wholetape_model::TradeId;

/// The market's whole tape: every trade, every book update, provably complete, in order, and never silently wrong.
#[derive(Parser)]
#[command(name = "wholetape", version, about, propagate_version = true)]
#[command(after_help = "Start with `wholetape demo`: the whole pipeline against simulated venues, with a verdict.")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// The whole pipeline against simulated venues, with a page and a verdict on exit.
    Demo(Demo),
    /// The pipeline against the configured venues.
    Run(Run),
    /// Reads a configuration and tells everything that is wrong with it.
    Check(Check),
    /// Prints a commented configuration; its addresses are the real Binance's.
    Defaults {
        #[arg(long)]
        json: bool,
    },
    /// Looks at this machine: clock, disk, open files, port, data directory.
    Doctor(Doctor),
    /// Holds a tape, or what a gateway serves, against the truth of simulated venues.
    Verdict(Verdict),
    /// What the tape holds and how sure that is: a table and an hour-by-hour strip per instrument.
    Coverage(Coverage),
    /// What is stored as Parquet, and work on it.
    #[command(subcommand)]
    Catalog(Catalog),
    /// Derives every figure of the catalog's certificates again from the stored rows, offline, and tells each difference.
    Verify(Verify),
    /// The story of one row: which connection and frame brought it, or what healed it; where it is stored, and which certificate
    /// covers it. Of a row that is not there: what is known of it.
    Trace(Trace),
    /// The venues' rules point in time: tick, step, status and the rest as they held at a time, and as they were known at one.
    Instruments(Instruments),
    /// Simulated venues alone, for `run` and for other feed handlers.
    Sim(Sim),
    /// Stored rows once more, in their order: onto a tape of their own, served like a live one, or as JSON lines.
    Replay(Replay),
    /// Makes recorded data whole after the fact.
    #[command(subcommand)]
    Heal(Heal),
    /// Who may read what is served.
    #[command(subcommand)]
    Gateway(Gateway),
    /// Shows what a recording holds, as the pipeline's own line reads it.
    Inspect {
        /// One JSON object a line, zstd-compressed.
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

/// Where a configuration comes from. Later layers win: file, environment (`WHOLETAPE__TAPE__FSYNC`), flags.
#[derive(Args, Debug, Clone, Default)]
pub struct Layers {
    /// The configuration file; without it, defaults.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key over file and environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where everything is kept; overrides `data`.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Gateway {
    /// The file of keys (gateway.auth.keys).
    #[command(subcommand)]
    Key(GatewayKey),
    /// Who is connected to the running process, and how they do.
    Clients(GatewayClients),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct GatewayClients {
    #[command(flatten)]
    pub layers: Layers,
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    pub order: Option<ClientsOrder>,
}

#[derive(Subcommand)]
pub enum ClientsOrder {
    /// Closes a connection (4013): its client may come back, after a pause, and goes on where it was.
    Kick {
        /// A session, or an address with or without its port.
        #[arg(value_name = "SESSION|ADDRESS")]
        whom: String,
    },
}

/// A running gateway follows the file: what is done here holds within a second.
#[derive(Subcommand)]
pub enum GatewayKey {
    /// Makes an API key and prints its secret, once: it is kept nowhere.
    New(GatewayKeyNew),
    /// Takes a key, an issuer or one token back. Their live connections end (4301).
    Revoke(GatewayKeyRevoke),
    /// The keys and issuers of the file, revoked ones too.
    Ls(GatewayKeyLs),
}

/// Which file of keys.
#[derive(Args)]
pub struct KeyFile {
    #[command(flatten)]
    pub layers: Layers,
    /// The file; overrides `gateway.auth.keys`.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

#[derive(Args)]
pub struct GatewayKeyNew {
    #[command(flatten)]
    pub file: KeyFile,
    /// For people.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Topics that it may read; `*` stands for any text: trade.*, *.BINANCE. May be given often.
    #[arg(long, value_name = "PATTERN", required = true)]
    pub sub: Vec<String>,
    /// Topics that it may publish to.
    #[arg(long = "pub", value_name = "PATTERN")]
    pub publish: Vec<String>,
    /// The class of topics that its connections serve first: critical (as without it), trade, book or ticker.
    #[arg(long, value_name = "CLASS")]
    pub prio: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct GatewayKeyRevoke {
    #[command(flatten)]
    pub file: KeyFile,
    /// An API key, with the tokens that it signed.
    #[arg(value_name = "ID", required_unless_present_any = ["kid", "jti"])]
    pub id: Option<String>,
    /// An issuer's key, with all its tokens.
    #[arg(long, value_name = "KID", conflicts_with = "id")]
    pub kid: Option<String>,
    /// One token, by its claim `jti`.
    #[arg(long, value_name = "JTI", conflicts_with_all = ["id", "kid"])]
    pub jti: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct GatewayKeyLs {
    #[command(flatten)]
    pub file: KeyFile,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    pub layers: Layers,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Port of the page and the protocol; 0 picks a free one. Overrides `gateway.listen`'s.
    #[arg(long)]
    pub port: Option<u16>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Catalog {
    /// What is stored, by topic, table and day.
    Ls(CatalogLs),
    /// Makes one file of each topic, table and day. A running process does it by itself once a day is over.
    Compact(CatalogCompact),
    /// Writes files of older layouts anew in the newest one, checks that the rows are the same, and issues the certificates that
    /// follow. Older files are read as they are: this is for whoever wants one layout everywhere. Stop the running process first.
    Migrate(CatalogMigrate),
    /// Lets days go whose time is over ([store.retention]). A running process does it by itself.
    Retain(CatalogRetain),
    /// Writes the catalog into a folder of its own, in the dialect of NautilusTrader 1.x (v1) or 2.x (v2).
    Export(CatalogExport),
}

#[derive(Args)]
pub struct CatalogLs {
    #[command(flatten)]
    pub layers: Layers,
    /// Only topics whose name contains this, or one table.
    #[arg(value_name = "TOPIC|TABLE")]
    pub of: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CatalogCompact {
    #[command(flatten)]
    pub layers: Layers,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CatalogMigrate {
    #[command(flatten)]
    pub layers: Layers,
    /// Tells what would be written anew, and writes nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CatalogRetain {
    #[command(flatten)]
    pub layers: Layers,
    /// Only tells what would go, of the tape as well; beside a running process, too.
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CatalogExport {
    #[command(flatten)]
    pub layers: Layers,
    #[arg(long, default_value = "v1")]
    pub dialect: String,
    /// A folder that is empty or not there yet.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Heal {
    /// Asks the venue for the trades of one stretch of time that the tape lacks. Goes through the running process when one
    /// owns the data directory; Ctrl-C stops cleanly, and the same command goes on.
    Backfill(Backfill),
    /// Compares files of a venue's archive with what is held, and heals from them what is missing.
    #[command(subcommand)]
    Import(Import),
}

#[derive(Subcommand)]
pub enum Import {
    /// Binance's daily files (trades, aggTrades, klines). Goes through the running process when one owns the data directory;
    /// nothing is fetched. Ctrl-C stops cleanly, and the same command goes on.
    BinanceArchive(ArchiveFiles),
    /// Bybit's daily trades (public.bybit.com, of spot and of contracts), as `binance-archive`.
    BybitArchive(ArchiveFiles),
}

#[derive(Args)]
pub struct ArchiveFiles {
    #[command(flatten)]
    pub layers: Layers,
    /// Files (.zip, .csv.gz or .csv, named as the archive names them), or directories of them. A `.CHECKSUM` beside a file is verified.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// For files whose name and path do not tell (…/futures/um/daily/…): Binance's spot, um or cm; Bybit's linear or inverse
    #[arg(long, value_name = "MARKET")]
    pub market: Option<String>,
    /// Exit status 1 also when a file was passed over because nothing is held of its day.
    #[arg(long)]
    pub strict: bool,
    /// The outcome as one JSON object on stdout; progress stays on stderr.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Backfill {
    #[command(flatten)]
    pub layers: Layers,
    /// As topics spell it: BTCUSDT.BINANCE
    #[arg(long, value_name = "ID")]
    pub instrument: String,
    /// 2026-11-21T10:00:00Z (UTC), or how long ago: 2h
    #[arg(long, value_name = "TIME")]
    pub from: String,
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub to: String,
    /// One JSON object a line: progress, then the outcome.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub layers: Layers,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    pub layers: Layers,
    /// Also try the configured venues' REST hosts.
    #[arg(long)]
    pub reach: bool,
    #[arg(long)]
    pub json: bool,
}

/// Works beside the process that owns the data directory, and when none runs.
#[derive(Args)]
pub struct Coverage {
    #[command(flatten)]
    pub layers: Layers,
    /// Only these; `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    pub instrument: Option<String>,
    /// Only this kind: trade, book, quote …
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Hours in the strip, up to the newest record's.
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub hours: usize,
    /// Exit status 1 when anything shown has a hole or an open gap.
    #[arg(long)]
    pub fail_on_hole: bool,
    #[arg(long)]
    pub json: bool,
}

/// Works beside the process that owns the data directory, and when none runs. Exit status 1 when anything differs.
#[derive(Args)]
pub struct Verify {
    /// The data directory: the folder that holds `catalog`.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Certificates must be signed by an Ed25519 key of this file (PEM, or 64 hex digits a line).
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
}

/// Works beside the process that owns the data directory, and when none runs. Exit status 1 when there is no such row.
#[derive(Args)]
pub struct Trace {
    #[command(flatten)]
    pub layers: Layers,
    /// As `catalog ls` and `coverage` spell it: trade.BTCUSDT-PERP.BINANCE
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// The venue's id of a trade: a number, or a UUID as it prints it.
    #[arg(value_name = "ID", required_unless_present = "seq")]
    pub id: Option<TradeId>,
    /// A row or mark of any topic, by its place there.
    #[arg(long, value_name = "N", conflicts_with = "id")]
    pub seq: Option<u64>,
    /// The whole raw frame, where frames are kept.
    #[arg(long)]
    pub raw: bool,
    #[arg(long)]
    pub json: bool,
}

/// Works beside the process that owns the data directory, and when none runs. Exit status 1 when nothing is shown.
#[derive(Args)]
pub struct Instruments {
    #[command(flatten)]
    pub layers: Layers,
    /// Only these; `*` stands for any text: *USDT-PERP.BINANCE
    #[arg(value_name = "PATTERN")]
    pub instruments: Vec<String>,
    /// Only this venue's: the text behind an instrument's last dot.
    #[arg(long, value_name = "NAME")]
    pub venue: Option<String>,
    /// What held then: 2026-11-21T10:00:00Z, or how long ago (2h). Without it: now.
    #[arg(long, value_name = "TIME", conflicts_with = "changes")]
    pub at: Option<String>,
    /// As it was known then: without what was received later.
    #[arg(long, value_name = "TIME")]
    pub known_at: Option<String>,
    /// Every version, and what it changed.
    #[arg(long)]
    pub changes: bool,
    /// Also what was not listed yet, or had expired.
    #[arg(long)]
    pub all: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayOrder {
    /// As received; late rows between their neighbours.
    #[value(name = "ts_init")]
    TsInit,
    /// By the venue's time, exact for rows that came within `--window` of it.
    #[value(name = "ts_event")]
    TsEvent,
}

#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    pub layers: Layers,
    /// 2026-11-21T10:00:00Z (UTC), or how long ago: 2h. Without it: the oldest row.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Up to, but not including. Without it: the newest row.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Only these, separated by commas; `*` stands for any text.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub instruments: Vec<String>,
    /// Only these, separated by commas: trade,book,quote …
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// 1 is the original pace, 10 ten times as fast, max as fast as it goes.
    #[arg(long, value_name = "X|max", default_value = "1")]
    pub speed: String,
    #[arg(long, value_enum, default_value = "ts_init")]
    pub order: ReplayOrder,
    /// With `--order ts_event`: how late a row may come and still find its place.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub window: humantime::Duration,
    /// Refuse (exit status 1) a range of which something was lost, and name it.
    #[arg(long)]
    pub require_complete: bool,
    /// A new folder for the replay's own tape.
    #[arg(long, value_name = "DIR", required_unless_present = "stdout")]
    pub into: Option<PathBuf>,
    /// JSON lines on stdout instead; whatever else is told goes to stderr.
    #[arg(long, conflicts_with = "into")]
    pub stdout: bool,
    /// Serve the replay's tape on this port of 127.0.0.1, until Ctrl-C; 0 picks a free one.
    #[arg(long, value_name = "PORT", requires = "into")]
    pub serve: Option<u16>,
    /// Read commands from stdin, one a line: `pause`, `resume`, `speed X`, `seek TIME`, `step [N]`, `status`, `stop`.
    #[arg(long)]
    pub control: bool,
    /// Begin paused.
    #[arg(long)]
    pub paused: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Faults {
    None,
    Mild,
    Rough,
}

impl Faults {
    pub const fn level(self) -> wholetape_sim::FaultLevel {
        match self {
            Self::None => wholetape_sim::FaultLevel::None,
            Self::Mild => wholetape_sim::FaultLevel::Mild,
            Self::Rough => wholetape_sim::FaultLevel::Rough,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Break {
    /// One byte of one trade on disk, before the tape is read again.
    TapeRecord,
    /// The price of one trade in what the client receives.
    ServedRow,
}

#[derive(Args)]
pub struct Demo {
    /// How long the venues make events; then up to 15 s to become whole (45 s with Kraken, which is asked once a second). Without it: until Ctrl-C.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// What goes wrong: cuts, drops, repeats, stale snapshots, refusals, garbage …
    #[arg(long, value_enum, default_value = "mild")]
    pub faults: Faults,
    /// Simulated venues, as `wholetape sim` names them; repeat for several. Without it: Binance's two, Bybit's three and OKX side by side.
    #[arg(long = "venue", value_name = "NAME", conflicts_with_all = ["capture", "cuts", "instruments"])]
    pub venues: Vec<String>,
    /// End once connections were cut so often, several times a second: what takes a year elsewhere. Beside `--faults`.
    #[arg(long, value_name = "N", conflicts_with = "capture")]
    pub cuts: Option<u64>,
    /// So many invented instruments of Binance in all.
    #[arg(long, value_name = "N", conflicts_with = "capture")]
    pub instruments: Option<usize>,
    /// Close every connection at once, so many seconds in, as venues do once a day.
    #[arg(long, value_name = "N")]
    pub close_all: Option<u64>,
    /// The same seed invents the same markets and the same faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// `off` never asks for missed trades again: the verdict must then say so.
    #[arg(long, value_enum, default_value = "on")]
    pub heal: OnOff,
    /// Sockets that carry the same streams at the same time: the first delivery wins.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub sockets: u8,
    /// Port of the page and the protocol; 0 picks a free one.
    #[arg(long, default_value_t = 9100)]
    pub port: u16,
    /// Where everything is kept; the same folder again goes on. Without it: a temporary folder, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Serve this recording (Binance) instead of generated markets.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    /// The recording's pace: 1 is its own.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub speed: f64,
    /// Self-test of the verdict: spoils one thing, which must be found.
    #[arg(long = "break", value_enum, hide = true, value_name = "WHAT")]
    pub spoil: Option<Break>,
    /// The verdict as one JSON object on the last line of stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Verdict {
    /// The configuration that the tape was recorded with.
    #[command(flatten)]
    pub layers: Layers,
    /// The data folder of the simulated venues.
    #[arg(long, value_name = "DIR")]
    pub truth: PathBuf,
    /// Follow a running gateway (`ws://…/v1/ws`) instead of reading the tape, until the venues have finished; figures each 10 s.
    #[arg(long, value_name = "URL")]
    pub follow: Option<String>,
    /// With `--follow`: take pieces of the truth away once they were compared.
    #[arg(long, requires = "follow")]
    pub consume: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Sim {
    /// binance-spot, binance-usdm, okx, dydx, kraken, bybit-spot, bybit-linear, bybit-inverse, or bybit for all three of its; repeat for several.
    /// Without it: the first two.
    #[arg(long = "venue", value_name = "NAME")]
    pub venues: Vec<String>,
    /// Port of the first venue, the next ones follow; 0 picks free ones.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Serve this recording; its venue is told from its addresses.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub speed: f64,
    #[arg(long, value_enum, default_value = "none")]
    pub faults: Faults,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// So many seconds of trades from before the first start, known to REST alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub history: u32,
    /// Where the truth is written; the same folder again goes on.
    #[arg(long, value_name = "DIR", default_value = "wholetape-sim")]
    pub data: PathBuf,
    /// Stop after so many seconds: events end, the truth is finished.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// After `--seconds`, serve so long without new events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub linger: u64,
    /// So many invented instruments a venue instead of the usual three.
    #[arg(long, value_name = "N")]
    pub instruments: Option<usize>,
    /// About so many frames a second over all venues, if everything is subscribed to; without it each instrument's own pace.
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Make no events until somebody has subscribed.
    #[arg(long)]
    pub wait: bool,
    /// Read commands from stdin, one a line: `freeze`, `resume`, `close-all`, `finish`, `status`, or an injection as JSON.
    #[arg(long)]
    pub control: bool,
    /// Write the truth in pieces of so many MiB, which may be taken away while it runs; REST then remembers less.
    #[arg(long, value_name = "MIB")]
    pub rotate: Option<u64>,
    /// One fault on demand, as JSON: `{"kind":"ack_silence","stream":"btcusdt@trade"}`. At the start, or `@N` seconds in.
    #[arg(long, value_name = "JSON[@N]")]
    pub inject: Vec<String>,
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound_and_the_issues_commands_parse() {
        Cli::command().debug_assert();
        for line in [
            "wholetape demo --seconds 60 --faults rough --seed 7 --heal off --port 0 --data d --json",
            "wholetape demo --break served-row",
            "wholetape demo --cuts 1000 --faults none",
            "wholetape demo --instruments 500 --close-all 20 --seconds 60 --faults none",
            "wholetape run -c wholetape.toml --seconds 5 --set tape.fsync=10ms",
            "wholetape sim --venue binance-spot --venue binance-usdm --faults mild",
            "wholetape check -c x.toml --json",
            "wholetape doctor",
            "wholetape sim --instruments 20 --rate 10000 --wait --control --rotate 64",
            "wholetape verdict --truth sim -c wholetape.toml --json",
            "wholetape heal backfill --instrument BTCUSDT.BINANCE --from 2h --to now --data d --json",
            "wholetape heal import binance-archive data/spot/daily x.zip --market um --strict --data d --json",
            "wholetape heal import bybit-archive trading/BTCUSD BTCUSDT_2026-09-01.csv.gz --market inverse -c x.toml",
            "wholetape replay --data d --from 2h --to 1h --instruments BTC*,ETH* --kinds trade,book --speed max --into r --serve 0",
            "wholetape replay --data d --order ts_event --window 5s --require-complete --stdout --speed 10",
            "wholetape defaults",
            "wholetape gateway key new --keys k.toml --name dashboards --sub trade.* --sub book.*.BINANCE --json",
            "wholetape gateway key revoke -c wholetape.toml k_1",
            "wholetape gateway key revoke --keys k.toml --jti 7f3a",
            "wholetape gateway key ls --keys k.toml --json",
            "wholetape gateway clients --data d --json",
            "wholetape gateway clients -c wholetape.toml kick s_7b1f",
            "wholetape gateway clients --json kick 10.0.0.7",
            "wholetape verify data --public-key certificates.pub --json",
            "wholetape coverage --data d --instrument *.BINANCE --kind trade --hours 48 --fail-on-hole --json",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
