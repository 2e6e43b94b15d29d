//! A connection's publications: who may, on the way to the writer, and the answers on the way back ([`crate::publish`]).

use std::sync::atomic::Ordering;

use wholetape_model::Topic;
use wholetape_wire::reply::{self, Error, Published, Unpublished};
use wholetape_wire::{Code, Pub};

use crate::publish::{Done, Refusal, Request};
use crate::ws::connection::{ANSWERS_MAX, Session};

impl Session {
    pub fn on_pub(&mut self, id: Option<u64>, said: Pub) {
        let refused = |code, msg| (code, msg, None, None);
        let Ok(topic) = Topic::parse(&said.topic) else {
            return self.unpublished(id, &said, refused(Code::NoSuchTopic, "no topic has such a name"));
        };
        if !topic.kind().is_published() {
            let msg = "clients publish to topics of order, fill, signal and c4 only";
            return self.unpublished(id, &said, refused(Code::PubRejected, msg));
        }
        let Some(principal) = self.standing.publisher(&topic, &self.hub.config.publish.anonymous) else {
            return self.unpublished(id, &said, refused(Code::Forbidden, "these credentials may not publish to it"));
        };
        let request = Request { desk: self.desk.clone(), id, principal, topic, said: said.clone() };
        match self.hub.publisher.submit(request) {
            Ok(()) => self.publishing += 1,
            Err(refusal) => self.refuse_pub(id, &said, refusal),
        }
    }

    /// Writes the answers that came. True when ops may be read again that waited for them.
    pub fn take_answers(&mut self) -> bool {
        if self.publishing == 0 || self.hold.is_fenced() {
            return false;
        }
        let waited = self.publishing >= ANSWERS_MAX;
        for answer in self.desk.take() {
            self.publishing -= 1;
            let (id, said) = (answer.id, &answer.said);
            match answer.outcome {
                Ok(Done { seq, dup }) => {
                    let (mid, topic, cid) = (said.mid.as_str(), said.topic.as_str(), said.cid.as_deref());
                    self.out.write(|o| reply::published(o, &Published { id, mid, topic, seq, cid, dup }));
                }
                Err(refusal) => self.refuse_pub(id, said, refusal),
            }
        }
        waited && self.publishing < ANSWERS_MAX
    }

    fn refuse_pub(&mut self, id: Option<u64>, said: &Pub, refusal: Refusal) {
        let (code, msg, retry_ms) = refusal.says();
        let head = if let Refusal::Conflict { head } = refusal { Some(head) } else { None };
        self.unpublished(id, said, (code, msg, retry_ms, head));
    }

    fn unpublished(
        &mut self,
        id: Option<u64>,
        said: &Pub,
        (code, msg, retry_ms, head): (Code, &str, Option<u64>, Option<u64>),
    ) {
        self.hub.stats.errors_total.fetch_add(1, Ordering::Relaxed);
        let (session, topic, mid) = (&*self.hold.name, said.topic.as_str(), said.mid.as_str());
        tracing::debug!(session, topic, mid, cid = said.cid.as_deref(), code = code.code(), msg, "publication refused");
        let error = Error { id, code, msg, path: None, topic: Some(&said.topic), retry_ms };
        self.out
            .write(|o| reply::unpublished(o, &error, &Unpublished { mid: &said.mid, cid: said.cid.as_deref(), head }));
    }
}
