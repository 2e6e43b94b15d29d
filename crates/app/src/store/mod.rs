//! The catalog in the binary: kept by the running process, looked at and looked after by commands.

mod asks;
pub mod keeper;
pub mod ls;
pub mod migrate;
pub mod retain;
pub mod verbs;

use wholetape_store::writer::is_stored;
use wholetape_tape::TapeConfig;

/// Where a catalog is kept, what it stores stays on the tape until it is stored: for everybody who opens the tape to write.
pub fn left_until_stored(tape: TapeConfig, is_kept: bool) -> TapeConfig {
    TapeConfig { stored_elsewhere: is_kept.then_some(|topic| is_stored(topic.kind())), ..tape }
}
