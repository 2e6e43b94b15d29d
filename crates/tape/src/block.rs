//! A batch of records in memory, shared by all who read it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use wholetape_model::Record;

/// The bytes of one batch (or of one read from disk). Never changed once shared.
#[derive(Debug)]
pub(crate) struct Block {
    pub bytes: Vec<u8>,
    /// Offsets of the records, grouped by topic.
    pub offsets: Vec<u32>,
    /// When its commit began: ns of the process clock ([`crate::clock::mono`]); 0 for blocks from disk.
    pub published: u64,
}

/// The records of one topic in one block.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub block: Arc<Block>,
    pub at: u32,
    pub count: u32,
    /// The run covers `(prev, last]`.
    pub prev: u64,
    pub last: u64,
}

/// One record, kept alive with the batch it came in.
#[derive(Clone)]
pub struct Shared {
    pub(crate) block: Arc<Block>,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Shared {
    /// The record, parsed.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        Record::parse(self, false).expect("a Shared is made of bytes that were a record")
    }

    /// Whether it came from memory (as it was appended) or was read back from disk.
    #[must_use]
    pub fn from_memory(&self) -> bool {
        self.block.published != 0
    }
}

impl Deref for Shared {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.block.bytes[self.at as usize..(self.at + self.len) as usize]
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record().fmt(f)
    }
}
