//! Fuzzing with cargo-fuzz on the stable toolchain, seeded from the recordings.
//!
//! libFuzzer needs compiler switches that are only offered on nightly; `RUSTC_BOOTSTRAP=1` offers them on the pinned stable compiler,
//! so that what is fuzzed is built by the compiler that ships it. The address sanitizer stays on: our code is safe, but parsers below
//! it are not.

use crate::corpus;
use crate::run::{command, root, run, target_dir};
use crate::steps::{Proof, Steps};
use crate::tools::CARGO_FUZZ;
use anyhow::{Result, ensure};
use std::path::Path;

/// One step per target.
///
/// # Errors
/// When there is no such target, or cargo-fuzz or the corpus cannot be had.
pub fn steps(steps: &mut Steps, seconds: u32, only: Option<&str>, captures: Option<&Path>) -> Result<()> {
    let fuzz = root().join("fuzz");
    let targets = targets(&fuzz, only)?;
    let program = CARGO_FUZZ.program()?;
    match captures {
        Some(dir) => {
            let frames = corpus::frames(dir)?;
            for target in &targets {
                let added = corpus::write(&fuzz.join("corpus").join(target), &frames)?;
                println!("corpus of {target}: {added} of {} recorded frames added", frames.len());
            }
        }
        None => println!("no recordings here (WHOLETAPE_CAPTURES): fuzzing starts from what fuzz/corpus holds"),
    }
    for target in &targets {
        steps.step(&format!("fuzz {target} for {seconds} s"), || {
            let limit = format!("-max_total_time={seconds}");
            let args =
                ["fuzz", "run", "--fuzz-dir", "fuzz", target, "--", &limit, "-timeout=10", "-print_final_stats=1"];
            let mut cargo_fuzz = command(&program, &args);
            cargo_fuzz.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
            run(&mut cargo_fuzz)?;
            Ok(Proof::Proven)
        });
    }
    Ok(())
}

fn targets(fuzz: &Path, only: Option<&str>) -> Result<Vec<String>> {
    let files = crate::tree::files_under(&fuzz.join("fuzz_targets"), "rs")?;
    let mut targets: Vec<String> =
        files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    let all = targets.join(", ");
    targets.retain(|target| only.is_none_or(|only| only == target));
    ensure!(!targets.is_empty(), "no such fuzz target; there are: {all}");
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_files_there() {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir(dir.path().join("fuzz_targets")).expect("folder");
        for name in ["book.rs", "session.rs", "notes.md"] {
            std::fs::write(dir.path().join("fuzz_targets").join(name), "").expect("file");
        }
        assert_eq!(targets(dir.path(), None).expect("targets"), ["book", "session"]);
        assert_eq!(targets(dir.path(), Some("book")).expect("target"), ["book"]);
        let error = targets(dir.path(), Some("x")).expect_err("no such target");
        assert_eq!(error.to_string(), "no such fuzz target; there are: book, session");
    }
}
