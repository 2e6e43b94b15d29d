//! Who follows a stream or one of its views, and is woken when there is more.

use std::sync::atomic::Ordering;

use wholetape_tape::WakeSet;

use super::{Inner, Stream};
use crate::ws::connection::wall_clock;
use crate::ws::view::{Key, View};

/// Who is told when there is more.
pub(super) struct Member {
    pub(super) set: WakeSet,
    pub(super) token: u64,
    /// It follows this view; `None`: the stream itself.
    pub(super) view: Option<Key>,
    /// It took everything and waits.
    pub(super) armed: bool,
}

impl Stream {
    /// One more member: of `view`, or of the stream itself.
    pub fn join(&self, set: &WakeSet, token: u64, view: Option<Key>) {
        let mut inner = self.lock();
        inner.members.push(Member { set: set.clone(), token, view, armed: false });
        self.enter(&mut inner, view);
        set.push(token);
    }

    /// Whether nobody is left.
    pub fn leave(&self, token: u64) -> bool {
        let mut inner = self.lock();
        if let Some(i) = inner.members.iter().position(|m| m.token == token) {
            let view = inner.members.remove(i).view;
            self.exit(&mut inner, view);
        }
        inner.members.is_empty()
    }

    /// The member follows `view` from now on.
    pub fn follow(&self, token: u64, view: Option<Key>) {
        let mut inner = self.lock();
        let Some(member) = inner.members.iter_mut().find(|m| m.token == token) else { return };
        member.armed = false;
        let before = std::mem::replace(&mut member.view, view);
        if before != view {
            self.enter(&mut inner, view);
            self.exit(&mut inner, before);
        }
    }

    fn enter(&self, inner: &mut Inner, view: Option<Key>) {
        let Some(key) = view else {
            inner.whole += 1;
            return;
        };
        if inner.view_of(key).is_none() {
            let view = View::new(key, inner.at, inner.book.as_ref(), wall_clock().0 / 1_000_000);
            inner.views.push(view);
            self.rings.views.fetch_add(1, Ordering::Relaxed);
            if key.ticks() {
                self.rings.ticking.fetch_add(1, Ordering::Relaxed);
                self.hub.0.push(self.hub.1);
            }
        }
        if let Some(view) = inner.view_of(key) {
            view.members += 1;
        }
    }

    fn exit(&self, inner: &mut Inner, view: Option<Key>) {
        let Some(key) = view else {
            inner.whole -= 1;
            if inner.whole == 0 {
                (inner.ring_start, inner.ring_bytes) = (inner.at, 0);
                inner.ring.clear();
            }
            return;
        };
        if let Some(view) = inner.view_of(key) {
            view.members -= 1;
            if view.members == 0 {
                inner.views.retain(|v| v.key != key);
                self.rings.views.fetch_sub(1, Ordering::Relaxed);
                self.rings.ticking.fetch_sub(usize::from(key.ticks()), Ordering::Relaxed);
            }
        }
    }
}

impl Inner {
    /// Wakes members that wait: of views that have something, and those of the stream itself.
    pub(super) fn wake(&mut self, whole: bool) {
        let Self { members, views, .. } = self;
        for member in members.iter_mut().filter(|m| m.armed) {
            let has = match member.view {
                None => whole,
                Some(key) => views.iter().any(|v| v.key == key && v.fresh),
            };
            if has {
                member.armed = false;
                member.set.push(member.token);
            }
        }
        views.iter_mut().for_each(|view| view.fresh = false);
    }
}
