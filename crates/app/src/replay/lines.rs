//! Rows as lines of JSON on stdout: the messages that the gateway sends (`docs/api/websocket.md`), in the order of the replay.
//!
//! They carry the seqs of the recording; a late row stands where it belongs, so seqs of a topic do not ascend there. `epoch` is the
//! catalog's name. A checkpoint, which a live client is not sent, is a `snap` here: who reads a range that begins within a day
//! needs it.

use std::io::{BufWriter, Stdout, Write};

use wholetape_model::{Body, Book, BookAction, Record, RecordError, Row, Topic, Ts, record};
use wholetape_store::StoreError;
use wholetape_store::replay::Out;
use wholetape_wire::message::{self, Context};

pub struct Lines {
    out: BufWriter<Stdout>,
    topics: Vec<Topic>,
    epoch: String,
    line: Vec<u8>,
    scratch: Vec<u8>,
    /// Records that this build cannot read.
    pub unreadable: u64,
}

impl Lines {
    pub fn new(topics: &[Topic], epoch: &str) -> Self {
        let out = BufWriter::with_capacity(1 << 18, std::io::stdout());
        let (topics, epoch) = (topics.to_vec(), epoch.to_owned());
        Self { out, topics, epoch, line: Vec::new(), scratch: Vec::new(), unreadable: 0 }
    }

    fn encode(&mut self, topic: usize, record: &Record<'_>) -> Result<(), RecordError> {
        let context =
            Context { topic: &self.topics[topic], epoch: &self.epoch, prev: record.prev(), state: None, crc: None };
        if !record.is_book_start() {
            return message::record(&mut self.line, &context, record).map(|_| ());
        }
        let row = record.row()?;
        let row = match row.body {
            Body::Book(book) => Row { body: Body::Book(Book { action: BookAction::Snapshot, ..book }), ..row },
            _ => row,
        };
        self.scratch.clear();
        record::encode(&row, record.topic(), record.seq(), record.span(), &mut self.scratch);
        message::record(&mut self.line, &context, &Record::parse(&self.scratch, false)?).map(|_| ())
    }
}

fn failed(source: std::io::Error) -> StoreError {
    StoreError::Io { path: "stdout".into(), source }
}

impl Out for Lines {
    fn row(&mut self, topic: usize, _: Ts, record: Record<'_>) -> Result<(), StoreError> {
        self.line.clear();
        match self.encode(topic, &record) {
            Ok(()) => {
                self.line.push(b'\n');
                self.out.write_all(&self.line).map_err(failed)
            }
            Err(_) => {
                self.unreadable += 1;
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.out.flush().map_err(failed)
    }

    fn jumped(&mut self, _: Ts) -> Result<(), StoreError> {
        Ok(())
    }
}
