//! The chain of an instrument's certificates: each file there, each naming the one before, the newest ones those that the manifest
//! lists, the signatures good.

use std::collections::{BTreeMap, BTreeSet};

use wholetape_tape::Listed;

use super::{Finding, Report, Verify};
use crate::cert::{Certificate, file_name, folder, parse_name, sign};
use crate::manifest::State;
use crate::names;

/// A certificate as it lies there.
pub(super) struct Read {
    pub path: String,
    pub certificate: Certificate,
    pub value: serde_json::Value,
    hash: String,
    bytes: Vec<u8>,
}

/// The newest certificate of each day.
pub(super) type Newest = BTreeMap<i64, Read>;

impl Verify<'_> {
    /// Checks the chain and gives the newest certificate of each day that can be read.
    pub(super) fn chain(&self, state: &State, about: &str, sums: &mut Report) -> Newest {
        let Some(days) = state.issued.get(about) else { return Newest::new() };
        let dir = folder(self.data, about);
        let mut signatures: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut all: BTreeMap<u64, (i64, Read)> = BTreeMap::new();
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        let mut there: BTreeSet<String> = BTreeSet::new();
        for (day, issued) in days {
            wanted.extend((1..=issued.revision).map(|r| (file_name(*day, r), *day)));
        }
        for Listed { path, .. } in self.disk.list(&dir).unwrap_or_default() {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let short = self.short(&path);
            let of = name.strip_suffix(".sig").map(|n| format!("{n}.json"));
            let Some(day) = wanted.get(of.as_ref().unwrap_or(&name)).copied() else {
                sums.findings.push(Finding {
                    path: short,
                    figure: "file".into(),
                    expected: "listed by the manifest".into(),
                    found: "not listed: left by a crash (then the next start removes it), or put there by somebody"
                        .into(),
                });
                continue;
            };
            let bytes = match self.disk.read(&path) {
                Ok(bytes) => bytes,
                Err(e) => {
                    sums.differs(&short, "file", "can be read", e);
                    continue;
                }
            };
            sums.files += 1;
            sums.bytes += bytes.len() as u64;
            if let Some(of) = of {
                signatures.insert(of, bytes);
                continue;
            }
            there.insert(name.clone());
            if let Some(read) = self.read(short, &name, about, bytes, state, sums) {
                let number = read.certificate.number;
                if let Some((_, other)) = all.insert(number, (day, read)) {
                    sums.differs(&other.path, "number", "one certificate with each number", number);
                }
            }
        }
        for name in wanted.keys().filter(|name| !there.contains(*name)) {
            sums.differs(&self.short(&dir.join(name)), "file", "there", "missing");
        }
        links(&all, days.values().map(|i| i.number).max().unwrap_or(0), &self.short(&dir), sums);
        self.signatures(&all, &signatures, sums);
        let mut newest = Newest::new();
        for (day, read) in all.into_values() {
            let Some(issued) = days.get(&day) else { continue };
            if read.certificate.revision == issued.revision {
                sums.differs(&read.path, "blake3", &issued.blake3, &read.hash);
                newest.insert(day, read);
            }
        }
        newest
    }

    fn read(
        &self,
        path: String,
        name: &str,
        about: &str,
        bytes: Vec<u8>,
        state: &State,
        sums: &mut Report,
    ) -> Option<Read> {
        let parsed = Certificate::parse(&self.data.join(&path), &bytes);
        let value = serde_json::from_slice(&bytes);
        let (certificate, value) = match (parsed, value) {
            (Ok(certificate), Ok(value)) => (certificate, value),
            (Err(e), _) => {
                sums.differs(&path, "file", "a certificate", e);
                return None;
            }
            (_, Err(e)) => {
                sums.differs(&path, "file", "a certificate", e);
                return None;
            }
        };
        sums.certificates += 1;
        let (day, revision) = parse_name(name).unwrap_or_default();
        sums.differs(&path, "day", day, &certificate.day);
        sums.differs(&path, "revision", revision, certificate.revision);
        sums.differs(&path, "instrument", about, &certificate.instrument);
        sums.differs(&path, "catalog", &state.catalog, &certificate.catalog);
        Some(Read { path, certificate, value, hash: Certificate::hash(&bytes), bytes })
    }

    fn signatures(&self, all: &BTreeMap<u64, (i64, Read)>, files: &BTreeMap<String, Vec<u8>>, sums: &mut Report) {
        let mut used = 0;
        let last = all.keys().next_back().copied();
        for (number, (day, read)) in all {
            let c = &read.certificate;
            let file = files.get(&file_name(*day, c.revision));
            used += usize::from(file.is_some() && c.signer.is_some());
            let Some(key) = &c.signer else {
                if self.keys.is_some() && Some(*number) == last {
                    sums.differs(&read.path, "signature", "of a key that you named", "not signed");
                }
                continue;
            };
            let path = read.path.replace(".json", ".sig");
            let Some(signature) = file else {
                sums.differs(&path, "file", "there", "missing");
                continue;
            };
            if self.keys.is_some_and(|keys| !keys.has(key)) {
                sums.differs(&read.path, "signer", "a key that you named", key);
            } else if sign::is_signed(&read.bytes, &String::from_utf8_lossy(signature), key) {
                sums.signed += 1;
            } else {
                sums.differs(&path, "signature", format!("of these bytes by {key}"), "another");
            }
        }
        if used != files.len() {
            for (name, _) in files.iter().filter(|(name, _)| {
                !all.values()
                    .any(|(day, r)| r.certificate.signer.is_some() && file_name(*day, r.certificate.revision) == **name)
            }) {
                let of = all.values().find(|(day, r)| file_name(*day, r.certificate.revision) == *name);
                let path = of.map_or_else(|| name.clone(), |(_, r)| r.path.clone());
                sums.differs(&path, "signature", "none: the certificate names no signer", "one");
            }
        }
    }
}

/// Numbers 1 to `last`, each naming the hash of the one before.
fn links(all: &BTreeMap<u64, (i64, Read)>, last: u64, dir: &str, sums: &mut Report) {
    let mut before: Option<&Read> = None;
    for number in 1..=last {
        let Some((day, read)) = all.get(&number) else {
            if sums.findings.is_empty() {
                sums.differs(dir, &format!("certificate number {number}"), "there", "missing");
            }
            before = None;
            continue;
        };
        let none = || "none".to_owned();
        let said = read.certificate.previous.clone().unwrap_or_else(none);
        // One that is missing was named already.
        if number == 1 || before.is_some() {
            sums.differs(&read.path, "previous", before.map_or_else(none, |b| b.hash.clone()), said);
        }
        sums.differs(&read.path, "day", names::day_name(*day), &read.certificate.day);
        before = Some(read);
    }
    for (_, (_, read)) in all.range(last + 1..) {
        sums.differs(&read.path, "number", format!("at most {last}"), read.certificate.number);
    }
}
