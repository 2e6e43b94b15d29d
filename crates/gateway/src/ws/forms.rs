//! One message in the forms that somebody wants, each made once for all who share it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use wholetape_wire::{Form, Former, Subject};
use wholetape_ws::{Block, Opcode};

/// The forms of one message beside its text.
#[derive(Debug, Default)]
pub(crate) struct Forms(OnceLock<Box<[OnceLock<Block>; Form::COUNT]>>);

impl Forms {
    /// `text` in `form`; true beside it where it was made just now.
    pub fn of(&self, text: &Block, form: Form, subject: &Subject, former: &mut Former) -> (Block, bool) {
        if form == Form::PLAIN {
            return (text.clone(), false);
        }
        let mut made = false;
        let block = self.0.get_or_init(Box::default)[form.index()].get_or_init(|| {
            made = true;
            block(text.payload(), form, subject, former)
        });
        (block.clone(), made)
    }
}

/// A message of ours, `json`, in `form`.
pub(crate) fn block(json: &[u8], form: Form, subject: &Subject, former: &mut Former) -> Block {
    let mut out = Vec::with_capacity(json.len());
    // Whoever wrote `json` writes JSON, and UTF-8; were it not so, the message would be empty, and not the process gone.
    if form != Form::PLAIN && !former.write(&mut out, form, subject, json) {
        out.clear();
    }
    let payload = if form == Form::PLAIN { json } else { &out };
    match form.msgpack {
        true => Block::new(Opcode::Binary, payload),
        false => Block::text(payload).unwrap_or_else(|| Block::new(Opcode::Text, b"")),
    }
}

/// Which forms of a topic's messages somebody wanted so far: what a message of a ring is reckoned to cost.
#[derive(Debug, Default)]
pub(crate) struct Wanted(AtomicU8);

impl Wanted {
    pub fn note(&self, form: Form) {
        if form != Form::PLAIN {
            self.0.fetch_or(1 << form.index(), Ordering::Relaxed);
        }
    }

    /// How often a message is held, at most.
    pub fn copies(&self) -> usize {
        1 + self.0.load(Ordering::Relaxed).count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_made_once() {
        let (forms, mut former, subject) = (Forms::default(), Former::default(), Subject { ch: 7, places: None });
        let text = Block::text(br#"{"op":"data","topic":"t","seq":1}"#).unwrap();
        let short = Form { short: true, ..Form::PLAIN };
        let (plain, made) = forms.of(&text, Form::PLAIN, &subject, &mut former);
        assert!(!made && plain.payload().as_ptr() == text.payload().as_ptr());
        let (one, made) = forms.of(&text, short, &subject, &mut former);
        assert!(made && one.payload() == br#"{"op":"data","ch":7,"seq":1}"#);
        let (two, made) = forms.of(&text, short, &subject, &mut former);
        assert!(!made && one.payload().as_ptr() == two.payload().as_ptr());
        let wanted = Wanted::default();
        [Form::PLAIN, short, short].into_iter().for_each(|f| wanted.note(f));
        assert_eq!(wanted.copies(), 2);
    }
}
