//! The verdict's self-test: one trade on disk is damaged before the tape is read again. The verdict must find it.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use wholetape_model::Kind;
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

/// Turns one byte in the body of a trade in the middle of the tape. Returns what was damaged.
pub fn tape_record(dir: &Path) -> anyhow::Result<String> {
    let (name, seq, bytes) = {
        let tape = Tape::open_reader(dir)?;
        let topic = tape
            .topics()
            .into_iter()
            .filter(|t| t.topic.kind() == Kind::Trade)
            .max_by_key(|t| t.head)
            .context("no trades on the tape")?;
        let mut reader = tape.reader(&topic.topic, From::Seq(topic.head / 2), ReaderOptions::default())?;
        let mut batch = Vec::new();
        let mut found = None;
        while found.is_none() && reader.poll_next(&mut batch, 64) > 0 {
            found = batch.drain(..).find_map(|delivery| match delivery {
                Delivery::Record(shared) if !shared.record().is_mark() => {
                    Some((shared.record().seq(), shared.record().bytes().to_vec()))
                }
                _ => None,
            });
        }
        let (seq, bytes) = found.context("no trade in the second half of the tape")?;
        (topic.topic.to_string(), seq, bytes)
    };
    for path in files(dir)? {
        let content = fs::read(&path)?;
        let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) else { continue };
        let target = at + wholetape_model::record::HEADER;
        let mut file = fs::OpenOptions::new().write(true).open(&path)?;
        file.seek(SeekFrom::Start(target as u64))?;
        file.write_all(&[content[target] ^ 0x40])?;
        file.sync_all()?;
        return Ok(format!("seq {seq} of {name}"));
    }
    anyhow::bail!("the record of seq {seq} of {name} is in no file")
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
