//! How a connection stands, told to whoever asks ([`crate::clients`]), and its last words in the log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wholetape_model::Topic;
use wholetape_wire::{Close, Code};

use crate::clients::{Client, ClientState, ClientTopic, TopicState};
use crate::ws::connection::Session;
use crate::ws::subscription::{Slow, Subscription};

/// While it is busy it says so without being asked.
const EVERY: Duration = Duration::from_secs(5);
/// A socket that takes nothing for so long is stalled.
const STALLED: Duration = Duration::from_secs(5);

impl Session {
    /// Tells how it stands where that is due. `moved`: when its socket last took a byte, or nothing waited.
    pub fn look(&mut self, now: Instant, moved: Instant) {
        if self.place.is_kicked() {
            self.closing = Some(Close::Kicked);
        }
        let asked = self.place.is_asked();
        if !asked && now < self.looked + EVERY {
            return;
        }
        self.looked = now;
        let (mut by_class, mut by_state, mut topics) = ([(0, 0); 4], [0; 7], Vec::new());
        let mut lags = false;
        for sub in self.subs.values() {
            let (state, behind) = sub.stands();
            let of_class = &mut by_class[sub.class() as usize];
            *of_class = (of_class.0 + 1, of_class.1 + behind);
            by_state[state as usize] += 1;
            lags |= sub.lags();
            if asked {
                topics.push(topic_of(sub, state, behind));
            }
        }
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        let has = |state: TopicState| by_state[state as usize] > 0;
        let state = match () {
            () if self.closing.is_some() || self.hold.is_fenced() => ClientState::Closing,
            () if now.saturating_duration_since(moved) >= STALLED => ClientState::Stalled,
            () if lags => ClientState::Lagging,
            () if has(TopicState::Unacknowledged) => ClientState::Unacknowledged,
            () if has(TopicState::Uncredited) => ClientState::Uncredited,
            () if has(TopicState::Behind) || has(TopicState::History) => ClientState::CatchingUp,
            () if self.resuming.is_some() => ClientState::Resuming,
            () if !self.standing.is_known() => ClientState::Unknown,
            () => ClientState::Live,
        };
        let session = &*self;
        session.place.tell(|client| {
            session.hold.name.as_ref().clone_into(&mut client.session);
            client.principal = session.standing.name().map(str::to_owned);
            (client.state, client.topics, client.by_class, client.by_state) = (state, topics, by_class, by_state);
            client.behind = by_class.iter().map(|c| c.1).sum();
            session.count(client);
        });
    }

    fn count(&self, client: &mut Client) {
        (client.queued_messages, client.queued_bytes) = (self.out.queue.len() as u64, self.out.bytes as u64);
        (client.sent_messages, client.sent_bytes) = self.sent;
        (client.publishing, client.ops, client.violations) = (self.publishing as u64, self.ops, self.violations);
    }

    /// A subscription became slow: once, until it has everything again.
    pub fn log_slow(&self, topic: &Topic, policy: Slow, behind: u64) {
        self.hub.stats.slow_by_policy[policy as usize].fetch_add(1, Ordering::Relaxed);
        let (session, principal, address) = (&*self.hold.name, self.standing.name(), self.place.last().address);
        let (class, policy) = (topic.class().as_str(), policy.as_str());
        tracing::info!(session, principal, %address, %topic, class, policy, behind, "a client is slow");
    }

    /// It is closed for what it sent, and kept out for a while. `reason`: what the last of it was answered.
    pub fn log_abuse(&self, reason: Code) {
        let (session, principal, address) = (&*self.hold.name, self.standing.name(), self.place.last().address);
        let (reason, violations, ban_s) = (reason.name(), self.violations, self.hub.config.ban.as_secs());
        tracing::warn!(session, principal, %address, reason, violations, ban_s, "a client is banned");
    }

    /// Why it was closed, for those who look after slow clients and bad ones.
    pub fn last_words(&self, close: Option<Close>) {
        let c = self.place.last();
        let (session, code) = (&*self.hold.name, close.map_or(1005, Close::code));
        let (principal, why) = (self.standing.name(), close.map(Close::name));
        let ((messages, bytes), ops, violations) = (self.sent, self.ops, self.violations);
        match close {
            Some(Close::Abuse | Close::Refused) => {
                tracing::warn!(session, principal, address = %c.address, agent = c.agent, code, why, ops, violations, "a client was closed");
            }
            Some(Close::TooSlow | Close::HeartbeatMissed | Close::Kicked | Close::Overloaded) => {
                tracing::info!(session, principal, address = %c.address, agent = c.agent, code, why, messages, bytes, behind = c.behind, "a client was closed");
            }
            _ => {
                tracing::debug!(session, principal, address = %c.address, code, why, messages, bytes, "connection ends")
            }
        }
    }
}

fn topic_of(sub: &Subscription, state: TopicState, behind: u64) -> ClientTopic {
    ClientTopic { topic: sub.stream.topic.to_string(), class: sub.class().as_str(), state, behind }
}
