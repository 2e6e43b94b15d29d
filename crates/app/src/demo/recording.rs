//! What a recording holds, so that only that is subscribed: a channel that was not recorded would stay silent for ever.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

/// Our channels by the mark that a frame of theirs bears.
const MARKS: [(&str, &str); 9] = [
    (r#"\"e\":\"aggTrade\""#, "trade"),
    (r#"\"e\":\"trade\""#, "trade-raw"),
    (r#"\"e\":\"depthUpdate\""#, "book"),
    ("@bookTicker", "quote"),
    (r#"\"e\":\"24hrTicker\""#, "ticker"),
    ("@kline_1m", "bar-1m"),
    (r#"\"e\":\"markPriceUpdate\""#, "mark"),
    (r#"\"e\":\"forceOrder\""#, "liquidation"),
    (r#"\"e\":\"contractInfo\""#, "instrument"),
];

/// Channels that occur.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    found: BTreeSet<&'static str>,
    snapshot: bool,
}

impl Contents {
    pub fn channels(&self) -> Vec<&'static str> {
        // A book without a recorded snapshot never becomes valid: nothing to compare.
        self.found.iter().copied().filter(|c| *c != "book" || self.snapshot).collect()
    }
}

/// # Errors
/// When the file cannot be read.
pub fn contents(file: &Path) -> anyhow::Result<Contents> {
    let open = || -> anyhow::Result<_> { Ok(BufReader::new(zstd::Decoder::new(File::open(file)?)?)) };
    let reader = open().with_context(|| format!("cannot read the recording {}", file.display()))?;
    let mut contents = Contents::default();
    for line in reader.lines() {
        let line = line.with_context(|| format!("the recording {} breaks off", file.display()))?;
        for (mark, channel) in MARKS {
            // Frames lie in the file as text within JSON, or as JSON itself.
            if !contents.found.contains(channel) && (line.contains(mark) || line.contains(&mark.replace('\\', ""))) {
                contents.found.insert(channel);
            }
        }
        contents.snapshot |= line.contains("lastUpdateId");
    }
    anyhow::ensure!(
        !contents.found.is_empty(),
        "the recording {} holds no channel that the demo knows",
        file.display()
    );
    Ok(contents)
}
