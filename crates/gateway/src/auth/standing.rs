//! One connection's principal: shown, renewed, warned of its end, revoked.
//!
//! A connection looks whenever it is woken; the file's changes wake it, and its timer knows [`Standing::next`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wholetape_model::{Class, Topic};
use wholetape_tape::WakeSet;
use wholetape_wire::reply::{self, Error};
use wholetape_wire::{Auth, Close, Code, Op};

use super::authority::{Authority, Seat};
use super::present::Credentials;
use super::{Principal, Refused};
use crate::ws::connection::{Session, wall_clock};
use crate::ws::ops::matches;

/// `auth_expiring` comes so long before.
const WARN_BEFORE: Duration = Duration::from_secs(60);
/// Longest message of somebody unknown.
const UNKNOWN_MSG_MAX: usize = 4 << 10;
/// No timer is set further than this.
const FAR: Duration = Duration::from_secs(30 * 86_400);

struct Held {
    principal: Principal,
    _seat: Seat,
    ends: Option<Instant>,
    warns: Option<Instant>,
}

impl Held {
    fn new(principal: Principal, seat: Seat) -> Self {
        let (ends, warns) = times(&principal);
        Self { principal, _seat: seat, ends, warns }
    }

    fn renew(&mut self, principal: Principal) {
        (self.ends, self.warns) = times(&principal);
        self.principal = principal;
    }
}

/// When a principal ends, and when that is told.
fn times(principal: &Principal) -> (Option<Instant>, Option<Instant>) {
    let Some(exp) = principal.exp else { return (None, None) };
    let ns = exp.saturating_mul(1_000_000_000).saturating_sub(wall_clock().0);
    let left = Duration::from_nanos(u64::try_from(ns).unwrap_or(0)).min(FAR);
    let now = Instant::now();
    (Some(now + left), Some(now + left.saturating_sub(WARN_BEFORE)))
}

/// Who a connection speaks for.
pub(crate) struct Standing {
    /// `None`: no keys are configured, and everything may be read.
    authority: Option<Arc<Authority>>,
    held: Option<Held>,
    /// Somebody must have authenticated by then.
    by: Option<Instant>,
    generation: u64,
    member: u64,
}

impl Standing {
    pub fn new(authority: Option<&Arc<Authority>>, member: u64, set: &WakeSet) -> Self {
        let (mut by, mut generation) = (None, 0);
        if let Some(authority) = authority {
            // First the membership: a change behind it wakes.
            authority.join(member, set.clone());
            generation = authority.generation();
            by = (!authority.has_anonymous()).then(|| Instant::now() + authority.config.timeout);
        }
        Self { authority: authority.cloned(), held: None, by, generation, member }
    }

    pub fn may_read(&self, topic: &Topic) -> bool {
        match (&self.authority, &self.held) {
            (None, _) => true,
            (Some(_), Some(held)) => held.principal.grants.may_read(topic.as_str()),
            (Some(authority), None) => authority.anonymous.may_read(topic.as_str()),
        }
    }

    /// The class that is served before all others.
    pub fn prio(&self) -> Option<Class> {
        self.held.as_ref().and_then(|held| held.principal.grants.prio())
    }

    /// Whose credentials were shown.
    pub fn name(&self) -> Option<&str> {
        self.held.as_ref().map(|held| &*held.principal.name)
    }

    /// Who publishes to `topic`, if they may.
    pub fn publisher(&self, topic: &Topic, anonymous: &[String]) -> Option<Arc<str>> {
        match &self.held {
            Some(held) if held.principal.grants.may_publish(topic.as_str()) => Some(held.principal.name.clone()),
            Some(_) => None,
            None => anonymous.iter().any(|p| matches(p, topic.as_str())).then(|| "".into()),
        }
    }

    /// Whether topics may be asked for at all.
    pub fn is_known(&self) -> bool {
        self.held.is_some() || self.authority.as_ref().is_none_or(|a| a.has_anonymous())
    }

    /// When it must be looked at again.
    pub fn next(&self) -> Option<Instant> {
        match &self.held {
            Some(held) => held.warns.or(held.ends),
            None => self.by,
        }
    }

    fn has_changed(&self) -> bool {
        self.authority.as_ref().is_some_and(|a| a.generation() != self.generation)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(authority) = &self.authority {
            authority.leave(self.member);
        }
    }
}

impl Session {
    /// Whether an op may be served now; answers where it may not.
    pub fn admits(&mut self, id: Option<u64>, op: &Op) -> bool {
        if self.standing.is_known() || matches!(op, Op::Auth(_) | Op::Ping | Op::Hello { .. }) {
            return true;
        }
        self.error(&Error {
            id,
            code: Code::Unauthenticated,
            msg: "send `auth` first",
            path: None,
            topic: None,
            retry_ms: None,
        });
        false
    }

    /// Whether a message of so many bytes may be read at all: somebody unknown has few words.
    pub fn hears(&mut self, bytes: usize) -> bool {
        if bytes <= UNKNOWN_MSG_MAX || self.standing.is_known() {
            return true;
        }
        let msg = "at most 4096 bytes before `auth`";
        self.error(&Error { id: None, code: Code::TooLarge, msg, path: None, topic: None, retry_ms: None });
        self.closing = Some(Close::TooLarge);
        false
    }

    pub fn on_auth(&mut self, id: Option<u64>, auth: Auth) {
        if self.standing.authority.is_none() {
            let msg = "this server has no credentials: topics are read without";
            return self.error(&Error { id, code: Code::TokenInvalid, msg, path: None, topic: None, retry_ms: None });
        }
        if self.show(id, &auth.into()) {
            self.out.write(|o| reply::ok(o, id));
        }
    }

    /// Takes credentials, or ends the connection. True when they were taken.
    pub fn show(&mut self, id: Option<u64>, shown: &Credentials) -> bool {
        let Some(authority) = self.standing.authority.clone() else { return false };
        let held = &mut self.standing.held;
        let taken = authority.judge(shown, wall_clock()).and_then(|principal| match held {
            Some(held) if held.principal.name == principal.name => {
                held.renew(principal);
                Ok(())
            }
            Some(_) => Err(Refused::Invalid("the connection is another principal's")),
            None => {
                let seat = authority.seat(&principal)?;
                *held = Some(Held::new(principal, seat));
                Ok(())
            }
        });
        match taken {
            Ok(()) => {
                self.end_forbidden();
                true
            }
            Err(why) => {
                self.turn_away(id, why);
                false
            }
        }
    }

    fn turn_away(&mut self, id: Option<u64>, why: Refused) {
        let (code, msg, retry_ms, close) = match why {
            Refused::Invalid(_) => (Code::TokenInvalid, "the credentials are not good", None, Close::Refused),
            Refused::Expired => (Code::TokenExpired, "the token has expired", None, Close::AuthExpired),
            Refused::Banned => (Code::RateLimited, "closed for abuse: come back later", None, Close::Abuse),
            Refused::Crowded => {
                (Code::Overloaded, "too many connections of this principal", Some(1_000), Close::Overloaded)
            }
        };
        self.error(&Error { id, code, msg, path: None, topic: None, retry_ms });
        self.closing = Some(close);
    }

    /// Closed for abuse: its principal stays out for a while.
    pub fn ban(&self) {
        self.hub.stats.bans_total.fetch_add(1, Ordering::Relaxed);
        if let (Some(authority), Some(held)) = (&self.standing.authority, &self.standing.held) {
            authority.ban(&held.principal, Instant::now() + self.hub.config.ban);
        }
    }

    /// Looks at time and file. Called whenever the connection is woken.
    pub fn review(&mut self, now: Instant) {
        if self.standing.has_changed() {
            self.reconsider();
        }
        if self.standing.next().is_none_or(|next| now < next) {
            return;
        }
        match &mut self.standing.held {
            None => self.closing = Some(Close::AuthExpired),
            Some(held) if held.ends.is_some_and(|ends| now >= ends) => {
                self.hub.stats.auth_ended_total.fetch_add(1, Ordering::Relaxed);
                self.turn_away(None, Refused::Expired);
            }
            Some(held) => {
                held.warns = None;
                let left = held.ends.map_or(0, |ends| (ends - now).as_millis().div_ceil(1_000));
                self.out.write(|o| reply::auth_expiring(o, u64::try_from(left).unwrap_or(0)));
            }
        }
    }

    /// The file is another: the principal may be gone, or may less.
    fn reconsider(&mut self) {
        let Some(authority) = self.standing.authority.clone() else { return };
        self.standing.generation = authority.generation();
        let Some(held) = &mut self.standing.held else { return };
        match authority.again(&held.principal) {
            Some(principal) => {
                held.principal = principal;
                self.end_forbidden();
            }
            None => {
                self.hub.stats.auth_ended_total.fetch_add(1, Ordering::Relaxed);
                tracing::info!(principal = &*held.principal.name, "revoked: its connection ends");
                self.turn_away(None, Refused::Invalid("revoked"));
            }
        }
    }

    /// Ends subscriptions of what may not be read any more.
    fn end_forbidden(&mut self) {
        let gone: Vec<(Topic, u64)> =
            self.by_topic.iter().filter(|(t, _)| !self.standing.may_read(t)).map(|(t, n)| (t.clone(), *n)).collect();
        for (topic, token) in gone {
            self.end(token);
            self.error_of(None, Code::Forbidden, "these credentials may not read it any more", topic.as_str());
        }
    }
}
