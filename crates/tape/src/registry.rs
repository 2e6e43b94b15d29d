//! Which lanes and topics there are, and which lane has which topic.
//!
//! Ownership changes under the `claims` lock alone; who only asks reads it without.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wholetape_model::Topic;

use crate::error::TapeError;
use crate::index::TopicIndex;
use crate::lane::{LaneShared, Wanted};
use crate::lock;
use crate::tape::Inner;
use crate::topic::{Place, TopicShared};

impl Inner {
    pub fn lanes(&self) -> Vec<Arc<LaneShared>> {
        crate::read(&self.lanes).clone()
    }

    pub fn lane_at(&self, ix: usize) -> Option<Arc<LaneShared>> {
        crate::read(&self.lanes).get(ix).cloned()
    }

    pub fn add_lane(&self, make: impl FnOnce(usize) -> LaneShared) -> Arc<LaneShared> {
        let mut lanes = crate::write(&self.lanes);
        let lane = Arc::new(make(lanes.len()));
        lanes.push(lane.clone());
        lane
    }

    pub fn lane_shared(&self, name: &str) -> Result<Arc<LaneShared>, TapeError> {
        let _guard = lock(&self.claims);
        if let Some(lane) = crate::read(&self.lanes).iter().find(|l| l.name == name) {
            return Ok(lane.clone());
        }
        let dir = self.dir.join("lanes").join(name);
        let disk = &self.config.disk;
        disk.create_dir(&dir).map_err(|e| TapeError::io("create", &dir, e))?;
        disk.sync_dir(&self.dir.join("lanes")).map_err(|e| TapeError::io("sync", &dir, e))?;
        let lane = self.add_lane(|ix| LaneShared::new(name.to_owned(), ix, dir));
        *lock(&lane.idle) = Some(Box::default());
        Ok(lane)
    }

    /// The topic, known or not.
    pub fn topic_shared(&self, topic: &Topic) -> Arc<TopicShared> {
        if let Some(shared) = crate::read(&self.topics).get(topic) {
            return shared.clone();
        }
        let mut topics = crate::write(&self.topics);
        topics.entry(topic.clone()).or_insert_with(|| Arc::new(TopicShared::new(topic.clone()))).clone()
    }

    pub fn known(&self, topic: &Topic) -> Option<Arc<TopicShared>> {
        crate::read(&self.topics).get(topic).filter(|t| t.placed.load(Ordering::Acquire)).cloned()
    }

    pub fn placed_topics(&self) -> Vec<Arc<TopicShared>> {
        crate::read(&self.topics).values().filter(|t| t.placed.load(Ordering::Acquire)).cloned().collect()
    }

    /// Gives `topic` to `lane` under the number `no`: a new place behind those it had.
    pub fn claim(&self, topic: &Topic, lane: &Arc<LaneShared>, no: u32) -> Result<Arc<TopicShared>, TapeError> {
        let _guard = lock(&self.claims);
        let shared = self.topic_shared(topic);
        let owner = shared.placed.load(Ordering::Acquire).then(|| self.lane_at(shared.lane()));
        if let Some(owner) = owner.flatten() {
            if shared.in_use.load(Ordering::Acquire) {
                return Err(TapeError::Owned { topic: topic.clone(), lane: owner.name.clone() });
            }
            // Its last seq must not be taken back by a power loss once the new lane has named it.
            let upto = owner.written_bytes.load(Ordering::Acquire);
            self.wait_bytes_requesting(&owner, upto)?;
        }
        let head = shared.head();
        {
            let mut core = lock(&shared.core);
            let generation = core.places.last().map_or(0, |p| p.generation + 1);
            core.places.push(Place { lane: lane.ix, no, generation, start: head, active: TopicIndex::new(head) });
        }
        self.place(&shared, lane, no);
        shared.in_use.store(true, Ordering::Release);
        Ok(shared)
    }

    /// Takes a topic into use again that is the lane's still; false when another lane has it, or the writer itself.
    pub fn resume(&self, shared: &TopicShared, lane: &LaneShared, no: u32) -> bool {
        let _guard = lock(&self.claims);
        shared.is_at(lane.ix, no) && !shared.in_use.swap(true, Ordering::AcqRel)
    }

    /// Makes `lane` the owner in the registry.
    pub fn place(&self, shared: &Arc<TopicShared>, lane: &LaneShared, no: u32) {
        let former = if shared.placed.load(Ordering::Acquire) { self.lane_at(shared.lane()) } else { None };
        shared.owner.store((lane.ix as u64) << 32 | u64::from(no), Ordering::Release);
        shared.placed.store(true, Ordering::Release);
        lane.set_topic(no, shared);
        self.topics_changed.fetch_add(1, Ordering::Release);
        // The former lane's writer may never write again.
        if let Some(former) = former.filter(|f| f.ix != lane.ix) {
            let is_its = |w: &mut Wanted| Arc::ptr_eq(&w.topic, shared);
            let owed: Vec<Wanted> = lock(&former.wanted).extract_if(.., is_its).collect();
            owed.into_iter().for_each(|w| self.want(w));
        }
    }

    /// Queues a mark for the lane that owns the topic.
    pub fn want(&self, wanted: Wanted) {
        while let Some(lane) = self.lane_at(wanted.topic.lane()) {
            let mut queue = lock(&lane.wanted);
            // Handed over meanwhile: who did so has looked through this queue, or waits for it.
            if wanted.topic.lane() == lane.ix {
                queue.push(wanted);
                lane.wants.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// Forgets a topic that was only asked for, with its last reader.
    pub fn forget(&self, topic: &Arc<TopicShared>) {
        if !topic.placed.load(Ordering::Acquire) {
            let mut topics = crate::write(&self.topics);
            // The registry's, the reader's and its watch's: nobody else knows it.
            if !topic.placed.load(Ordering::Acquire) && Arc::strong_count(topic) <= 3 {
                topics.remove(&topic.topic);
            }
        }
    }
}
