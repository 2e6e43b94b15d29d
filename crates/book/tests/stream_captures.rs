//! Books whose snapshot comes by the stream, against the truth of every recorded one: OKX and Kraken with their checksums, Bybit and
//! Deribit with their ids, Hyperliquid's whole pushes.
//!
//! Messages are read with a plain JSON parser: deliberately not our decoders, so that books are judged by themselves.

mod recordings;

use std::collections::BTreeMap;

use recordings::{Update, folder};
use serde_json::Value;
use wholetape_book::{BookConfig, Stamp, Step, SyncedOrderBook};
use wholetape_model::book_rule::{BookRule, Chain, Checksum};
use wholetape_model::{BookAction, Side, Ts};

/// One update with what its venue proves it by.
struct One {
    update: Update,
    checksum: Option<u32>,
}

type Books = BTreeMap<String, Vec<One>>;

struct Reader {
    folder: &'static str,
    rule: fn(&str) -> BookRule,
    read: fn(&str, &str, &str, &mut Books),
}

const READERS: [Reader; 5] = [
    Reader {
        folder: "okx",
        // These recordings are older than the ids; links are made of the times, and the checksums prove the rest.
        rule: |_| BookRule::new(Chain::Unlinked).with_checksum(Checksum::Turns25),
        read: okx,
    },
    Reader {
        folder: "kraken",
        rule: |_| BookRule::new(Chain::Unlinked).with_checksum(Checksum::AsksBids10).with_depth(1_000),
        read: kraken,
    },
    Reader { folder: "bybit", rule: |_| Chain::Counted.into(), read: bybit },
    Reader { folder: "deribit", rule: |_| Chain::Linked.into(), read: deribit },
    Reader { folder: "hyperliquid", rule: |_| Chain::Whole.into(), read: hyperliquid },
];

fn put(books: &mut Books, name: String, one: One) {
    books.entry(name).or_default().push(one);
}

fn stamp(ts: i64) -> Stamp {
    Stamp { ts_event: Ts::from_millis(ts), ..Stamp::default() }
}

fn okx(conn: &str, data: &str, file: &str, books: &mut Books) {
    let Ok(message) = serde_json::from_str::<Value>(data) else { return };
    let (Some(channel), Some(action)) = (message["arg"]["channel"].as_str(), message["action"].as_str()) else {
        return;
    };
    let symbol = message["arg"]["instId"].as_str().unwrap_or("");
    // Three connections of one recording carry the same: three books.
    let name = if file.contains("tbt") { format!("{conn}|{channel}:{symbol}") } else { format!("{channel}:{symbol}") };
    let data = &message["data"][0];
    let ts: i64 = data["ts"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
    let action = if action == "snapshot" { BookAction::Snapshot } else { BookAction::Delta };
    let id = ts.unsigned_abs();
    let update = recordings::make(stamp(ts), action, (id, id, 0), &data["bids"], &data["asks"]);
    let checksum = data["checksum"].as_i64().map(|c| c as i32 as u32);
    put(books, name, One { update, checksum });
}

/// The old format: `[channel, {"as":…,"bs":…}, "book-1000", "XBT/USD"]`, updates `{"a":…,"c":"…"}` and `{"b":…,"c":"…"}`, or one of each.
fn kraken(_: &str, data: &str, _: &str, books: &mut Books) {
    let Ok(Value::Array(parts)) = serde_json::from_str::<Value>(data) else { return };
    let n = parts.len();
    let (Some(channel), Some(pair)) = (parts.get(n.wrapping_sub(2)), parts.last()) else { return };
    let (Some(channel), Some(pair)) = (channel.as_str(), pair.as_str()) else { return };
    if !channel.starts_with("book") {
        return;
    }
    let mut sides = [Value::Array(Vec::new()), Value::Array(Vec::new())];
    let (mut action, mut checksum) = (BookAction::Delta, None);
    for part in &parts[1..n - 2] {
        for (key, value) in part.as_object().into_iter().flatten() {
            match key.as_str() {
                "bs" | "as" => {
                    action = BookAction::Snapshot;
                    sides[usize::from(key == "as")] = value.clone();
                }
                "b" | "a" => sides[usize::from(key == "a")] = value.clone(),
                _ => checksum = value.as_str().and_then(|c| c.parse().ok()),
            }
        }
    }
    let update = recordings::make(Stamp::default(), action, (1, 1, 0), &sides[0], &sides[1]);
    put(books, format!("{channel}:{pair}"), One { update, checksum });
}

fn bybit(_: &str, data: &str, file: &str, books: &mut Books) {
    let Ok(message) = serde_json::from_str::<Value>(data) else { return };
    let Some(topic) = message["topic"].as_str().filter(|t| t.starts_with("orderbook.")) else { return };
    let (kind, data) = (message["type"].as_str().unwrap_or(""), &message["data"]);
    let action = if kind == "snapshot" { BookAction::Snapshot } else { BookAction::Delta };
    let id = data["u"].as_u64().unwrap_or(0);
    let ts = message["cts"].as_i64().unwrap_or(0);
    let update = recordings::make(stamp(ts), action, (id, id, 0), &data["b"], &data["a"]);
    put(books, format!("{file}{topic}"), One { update, checksum: None });
}

/// JSON numbers with an action before them: `["change", 0.583, 9.0]`.
fn deribit(_: &str, data: &str, _: &str, books: &mut Books) {
    let Ok(message) = serde_json::from_str::<Value>(data) else { return };
    let params = &message["params"];
    let Some(channel) = params["channel"].as_str().filter(|c| c.starts_with("book.")) else { return };
    let data = &params["data"];
    let levels = |side: &Value| -> Value {
        let level = |l: &Value| Value::from(vec![l[1].to_string(), l[2].to_string()]);
        side.as_array().expect("levels").iter().map(level).collect()
    };
    let id = data["change_id"].as_u64().unwrap_or(0);
    let prev = data["prev_change_id"].as_u64();
    let action = if prev.is_some() { BookAction::Delta } else { BookAction::Snapshot };
    let ids = (id, id, prev.unwrap_or(0));
    let (bids, asks) = (levels(&data["bids"]), levels(&data["asks"]));
    let update = recordings::make(stamp(data["timestamp"].as_i64().unwrap_or(0)), action, ids, &bids, &asks);
    let name = channel.split('.').nth(1).unwrap_or("").to_owned();
    put(books, name, One { update, checksum: None });
}

fn hyperliquid(_: &str, data: &str, _: &str, books: &mut Books) {
    let Ok(message) = serde_json::from_str::<Value>(data) else { return };
    if message["channel"] != "l2Book" {
        return;
    }
    let data = &message["data"];
    let levels = |side: &Value| -> Value {
        let level = |l: &Value| Value::from(vec![l["px"].clone(), l["sz"].clone()]);
        side.as_array().expect("levels").iter().map(level).collect()
    };
    let time = data["time"].as_i64().unwrap_or(0);
    let id = time.unsigned_abs();
    let (bids, asks) = (levels(&data["levels"][0]), levels(&data["levels"][1]));
    let update = recordings::make(stamp(time), BookAction::Snapshot, (id, id, 0), &bids, &asks);
    put(books, data["coin"].as_str().unwrap_or("").to_owned(), One { update, checksum: None });
}

/// Calls `visit` with each recorded book: its rule, its updates and its truth.
fn each(mut visit: impl FnMut(&str, BookRule, &[One], &Value)) {
    let Some(folder) = folder() else { return };
    for reader in &READERS {
        let Ok(entries) = std::fs::read_dir(folder.join(reader.folder)) else { continue };
        let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|p| p.to_string_lossy().ends_with(".jsonl.zst"));
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let truth = file.to_string_lossy().replace(".jsonl.zst", ".truth.json");
            let truth: Value = serde_json::from_slice(&std::fs::read(truth).expect("truth")).expect("JSON");
            let mut books = Books::new();
            recordings::lines(&file, |line| {
                if line["kind"] == "ws_in" {
                    // Spot and linear of Bybit share their topics.
                    let spot = line["url"].as_str().is_some_and(|u| u.ends_with("/public/spot"));
                    let hint = if reader.folder == "bybit" { if spot { "spot:" } else { "" } } else { &name };
                    let (conn, data) = (line["conn"].as_str().unwrap_or(""), line["data"].as_str().unwrap_or(""));
                    (reader.read)(conn, data, hint, &mut books);
                }
            });
            let known = truth["books"].as_object().expect("books");
            assert_eq!(books.len(), known.len(), "{name}");
            for (book, updates) in &books {
                let truth = known.get(book).unwrap_or_else(|| panic!("{name} has no truth of {book}"));
                visit(&format!("{name} {book}"), (reader.rule)(book), updates, truth);
            }
        }
    }
}

fn play(book: &mut SyncedOrderBook, one: &One) -> Step {
    book.on_update(one.update.stamp, one.update.scales, &one.update.book(), one.checksum)
}

#[test]
fn books_equal_the_truth() {
    let (mut books, mut checksums) = (0, BTreeMap::<String, u64>::new());
    each(|name, rule, updates, truth| {
        let mut book = SyncedOrderBook::new(rule, BookConfig::default());
        for one in updates {
            let step = play(&mut book, one);
            let fine = matches!(step, Step::Applied | Step::Replaced | Step::Beat)
                || (rule.chain == Chain::Whole && step == Step::Old);
            assert!(fine, "{name}: {step:?}");
        }
        let s = book.stats();
        for (key, ours) in [
            ("deltas_seen", s.deltas_seen),
            ("deltas_applied", s.deltas_applied + s.beats),
            ("sequence_gaps", s.sequence_gaps),
            ("snapshots", s.snapshots + s.snapshots_not_needed),
            ("checksums_checked", s.checksums_checked),
            ("checksums_failed", s.checksums_failed),
            ("bid_levels", book.verified().map_or(0, |b| b.len(Side::Buy)) as u64),
            ("ask_levels", book.verified().map_or(0, |b| b.len(Side::Sell)) as u64),
        ] {
            assert_eq!(Some(ours), truth[key].as_u64(), "{name} {key}");
        }
        if let Some(id) = truth["final_update_id"].as_u64() {
            assert_eq!(book.last_update_id(), Some(id), "{name}");
        }
        assert_eq!(truth["final_book_sha256"], recordings::final_hash(book.unverified()), "{name} final book");
        books += 1;
        *checksums.entry(name.split(' ').next().unwrap_or("").to_owned()).or_default() += s.checksums_checked;
    });
    println!("{books} recorded books equal their truth; checksums: {checksums:?}");
}

/// Trap T5: one bad checksum takes that book's validity at that update, and no other book's.
#[test]
fn one_bad_checksum_touches_no_other_book() {
    each(|name, rule, updates, _| {
        let Some(at) = updates.iter().skip(1).position(|one| one.checksum.is_some()).map(|at| at + 1) else { return };
        let mut book = SyncedOrderBook::new(rule, BookConfig::default());
        for (i, one) in updates.iter().enumerate() {
            let one = One { update: one.update.clone(), checksum: one.checksum.map(|c| if i == at { !c } else { c }) };
            let step = play(&mut book, &one);
            assert_eq!(matches!(step, Step::Mismatch { .. }), i == at, "{name} {i}: {step:?}");
            assert_eq!(book.is_live(), i < at, "{name} {i}");
        }
        assert_eq!((book.stats().checksums_failed, book.stats().resyncs), (1, 1), "{name}");
    });
}

/// A delta left out: where ids link it shows at the next, where a checksum proves the best levels it shows as soon as they differ.
#[test]
fn a_dropped_delta_is_found() {
    let (mut found, mut unseen) = (0, 0);
    each(|name, rule, updates, _| {
        if rule.chain == Chain::Whole || updates.len() < 20 {
            return;
        }
        let cut = updates.len() / 2;
        let mut book = SyncedOrderBook::new(rule, BookConfig::default());
        let mut broke = None;
        for (i, one) in updates.iter().enumerate().filter(|(i, _)| *i != cut) {
            if matches!(play(&mut book, one), Step::Gap { .. } | Step::Mismatch { .. }) {
                broke.get_or_insert(i);
            }
        }
        if rule.checksum.is_none() {
            assert_eq!(broke, Some(cut + 1), "{name}");
        }
        match broke {
            Some(_) => {
                assert!(!book.is_live(), "{name}");
                found += 1;
            }
            // It changed levels below the best ones, and they never came up.
            None => unseen += 1,
        }
    });
    println!("{found} books found what was dropped, {unseen} never saw the levels that it changed");
    assert!(found > unseen || found + unseen == 0);
}
