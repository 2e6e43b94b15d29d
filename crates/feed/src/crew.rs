//! Lines that join a running feed: on the workers, by the doors and through the hosts that are there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::FeedError;
use crate::gate::Gate;
use crate::rest::HostHandle;
use crate::shell::{FeedShared, LineTask};
use crate::spec::LineSpec;
use crate::worker::{Asker, Hiring};

/// What a running feed's lines share, for one more of them. Keeps nothing alive.
#[derive(Debug, Clone)]
pub struct Crew {
    asker: Asker,
    workers: Vec<Hiring>,
    shared: Arc<FeedShared>,
    gates: BTreeMap<String, Gate>,
    hosts: BTreeMap<String, HostHandle>,
}

impl Crew {
    pub(crate) const fn new(
        asker: Asker,
        workers: Vec<Hiring>,
        shared: Arc<FeedShared>,
        gates: BTreeMap<String, Gate>,
        hosts: BTreeMap<String, HostHandle>,
    ) -> Self {
        Self { asker, workers, shared, gates, hosts }
    }

    #[must_use]
    pub const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The REST host behind a door.
    #[must_use]
    pub fn host(&self, door: &str) -> Option<&HostHandle> {
        self.hosts.get(door)
    }

    /// Starts one more line. Its door must be one of the feed's.
    ///
    /// # Errors
    /// [`FeedError::Plan`], [`FeedError::NoWorker`]. Nothing runs of it then.
    pub fn add(&self, spec: LineSpec) -> Result<(), FeedError> {
        spec.check()?;
        let none = || FeedError::NoWorker { line: spec.name.clone() };
        let gate = self.gates.get(&spec.door).cloned().ok_or_else(none)?;
        let worker = &self.workers[self.home(&spec).ok_or_else(none)?];
        let (name, instruments) = (spec.name.clone(), spec.instruments.clone());
        let controls = worker.join(Box::new(LineTask { spec: Arc::new(spec), shared: self.shared.clone(), gate }))?;
        self.asker.learn(&name, controls, &instruments);
        Ok(())
    }

    /// The worker whose lane holds topics of these instruments from earlier runs, since a topic cannot leave a lane that is
    /// written to; the others take turns.
    fn home(&self, spec: &LineSpec) -> Option<usize> {
        let of_these = |subject: &str| spec.instruments.iter().any(|id| id.as_str() == subject);
        let lanes = self.shared.tape.topics().into_iter().filter(|t| of_these(t.topic.subject())).map(|t| t.lane);
        let known = lanes.filter_map(|lane| self.workers.iter().position(|w| w.worker() == lane)).next();
        known.or_else(|| self.asker.lines().len().checked_rem(self.workers.len()))
    }
}
