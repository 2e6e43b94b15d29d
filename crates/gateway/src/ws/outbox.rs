//! Messages on their way to one socket, in the form that their reader asked for.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use wholetape_wire::form::msgpack;
use wholetape_wire::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Form, Former, Subject};
use wholetape_ws::{Block, Opcode};

use crate::stats::GatewayStats;
use crate::ws::forms;
use crate::ws::stream::Frame;

#[derive(Default)]
pub(crate) struct Outbox {
    pub queue: VecDeque<Block>,
    pub bytes: usize,
    pub scratch: Vec<u8>,
    /// What the connection speaks.
    pub form: Form,
    /// What is written now, and of what: a subscription's, or the connection's own.
    now: Form,
    subject: Subject,
    former: Former,
}

impl Outbox {
    pub fn new(form: Form) -> Self {
        Self { form, now: form, ..Self::default() }
    }

    /// What is written from here on is a subscription's; with `short`: its topic has a number.
    pub fn of_topic(&mut self, subject: Subject, short: bool) {
        (self.now, self.subject) = (Form { short, ..self.form }, subject);
    }

    /// What is written from here on is the connection's own.
    pub fn of_connection(&mut self) {
        (self.now, self.subject) = (self.form, Subject::default());
    }

    /// Nothing that waits is sent any more.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    fn push(&mut self, block: Block) {
        self.bytes += block.len();
        self.queue.push_back(block);
    }

    /// A message that others get too.
    pub fn share(&mut self, frame: &Frame, stats: &GatewayStats) {
        let (block, made) = frame.forms.of(&frame.text, self.now, &self.subject, &mut self.former);
        if made {
            stats.forms_total.fetch_add(1, Ordering::Relaxed);
        }
        self.push(block);
    }

    /// A message of this connection alone, written already.
    pub fn give(&mut self, text: Block) {
        if self.now == Form::PLAIN {
            return self.push(text);
        }
        let block = forms::block(text.payload(), self.now, &self.subject, &mut self.former);
        self.push(block);
    }

    /// Writes one message with `f`.
    pub fn write(&mut self, f: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        f(&mut self.scratch);
        self.push_scratch();
    }

    pub fn push_scratch(&mut self) {
        let block = forms::block(&self.scratch, self.now, &self.subject, &mut self.former);
        self.push(block);
    }

    /// The next frame to send, and how many messages are in it: one, or with `batch` as many as fit.
    pub fn next_frame(&mut self, batch: bool) -> Option<(Block, usize)> {
        let binary = self.form.msgpack;
        let first = self.queue.front()?.len();
        let (mut messages, mut bytes) = (1, first);
        if batch {
            let fits = |n, bytes| n <= BATCH_MESSAGES_MAX && bytes + around(n, binary) <= BATCH_BYTES_MAX;
            while let Some(next) = self.queue.get(messages)
                && fits(messages + 1, bytes + next.len())
            {
                messages += 1;
                bytes += next.len();
            }
        }
        self.bytes -= bytes;
        if messages == 1 {
            return Some((self.queue.pop_front()?, 1));
        }
        let all = self.queue.drain(..messages);
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        let frame = Block::build(opcode, bytes + around(messages, binary), |out| {
            if binary {
                msgpack::array(out, messages);
                all.for_each(|message| out.extend_from_slice(message.payload()));
                return;
            }
            for (i, message) in all.enumerate() {
                out.push(if i == 0 { b'[' } else { b',' });
                out.extend_from_slice(message.payload());
            }
            out.push(b']');
        });
        Some((frame, messages))
    }
}

/// What stands around the messages of a batch: in JSON a bracket or comma before each and a bracket behind all, else an array's head.
const fn around(messages: usize, binary: bool) -> usize {
    match (binary, messages) {
        (false, n) => n + 1,
        (true, 0..=15) => 1,
        (true, _) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_an_array_of_its_messages() {
        for n in [1_usize, 2, 15, 16, 256, 300] {
            for msgpack in [false, true] {
                let mut out = Outbox::new(Form { msgpack, ..Form::PLAIN });
                for i in 0..n {
                    out.write(|o| o.extend_from_slice(format!("{{\"op\":\"data\",\"seq\":{i}}}").as_bytes()));
                }
                let (frame, messages) = out.next_frame(true).unwrap();
                assert_eq!(messages, n.min(BATCH_MESSAGES_MAX));
                let json = if msgpack {
                    wholetape_wire::form::msgpack::to_json(frame.payload(), 8).unwrap()
                } else {
                    String::from_utf8(frame.payload().to_vec()).unwrap()
                };
                let read: serde_json::Value = serde_json::from_str(&json).unwrap();
                match &read {
                    serde_json::Value::Array(all) => {
                        assert_eq!((all.len(), &all[n.min(256) - 1]["seq"]), (messages, &(n.min(256) - 1).into()))
                    }
                    one => assert_eq!((n, &one["seq"]), (1, &0.into())),
                }
                assert_eq!(out.queue.len(), n - messages);
                assert_eq!(out.bytes, out.queue.iter().map(Block::len).sum::<usize>());
            }
        }
    }
}
