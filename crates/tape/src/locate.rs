//! From what a reader asks for to a position.

use std::io;
use std::sync::Arc;

use wholetape_model::Ts;
use wholetape_model::record::HEADER;

use crate::error::TapeError;
use crate::format::u64_at;
use crate::index::TopicIndex;
use crate::lane::LaneShared;
use crate::lock;
use crate::reader::From;
use crate::segment::Segment;
use crate::tape::Inner;
use crate::topic::{Place, TopicShared};

impl Inner {
    /// The position behind which a reader begins.
    pub fn locate(&self, topic: &TopicShared, from: From) -> Result<u64, TapeError> {
        let found = match from {
            From::Live => return Ok(topic.head()),
            From::Earliest => return Ok(earliest(topic)),
            From::Seq(seq) => {
                let head = topic.head();
                return if seq <= head {
                    Ok(seq)
                } else {
                    Err(TapeError::Position { topic: topic.topic.clone(), seq, head })
                };
            }
            From::Last(0) => return Ok(topic.head()),
            From::Last(n) => self.locate_last(topic, n),
            From::Time(ts) => self.locate_time(topic, ts),
        };
        found
            .map(|p| p.max(earliest(topic).min(topic.head())))
            .map_err(|e| TapeError::io("look up a position in", &self.dir, e))
    }

    fn locate_last(&self, topic: &TopicShared, mut n: u64) -> io::Result<u64> {
        for place in places(topic).iter().rev() {
            let active = &place.active;
            if let Some(skip) = (active.len() as u64).checked_sub(n) {
                return Ok(before(active, skip as usize));
            }
            n -= active.len() as u64;
            let Some(lane) = self.lane_at(place.lane) else { continue };
            for segment in sealed(&lane).iter().rev() {
                let directory = lane.directory(segment)?;
                // Sealed since we looked: its records were counted as active.
                let Some(entry) = directory.entry(place.no).filter(|e| e.end <= active.start()) else { continue };
                if let Some(skip) = u64::from(entry.count).checked_sub(n) {
                    let index = segment.topic_index(&directory, place.no)?;
                    return Ok(index.map_or(entry.start, |ix| before(&ix, skip as usize)));
                }
                n -= u64::from(entry.count);
            }
        }
        Ok(earliest(topic))
    }

    /// Behind the last record received before `ts`. `ts_recv` never falls within a lane, so halving finds it.
    fn locate_time(&self, topic: &TopicShared, ts: Ts) -> io::Result<u64> {
        for place in places(topic) {
            let Some(lane) = self.lane_at(place.lane) else { continue };
            // Before `sealed`: what is sealed meanwhile is then found as sealed.
            let last = crate::read(&lane.segments).last().filter(|s| !s.is_sealed()).cloned();
            for segment in sealed(&lane) {
                let directory = lane.directory(&segment)?;
                if directory.entry(place.no).is_some_and(|e| e.last_ts >= ts.0)
                    && let Some(index) = segment.topic_index(&directory, place.no)?
                    && let Some(position) = first_since(&segment, &index, ts)?
                {
                    return Ok(position);
                }
            }
            if let Some(segment) = last
                && let Some(position) = first_since(&segment, &place.active, ts)?
            {
                return Ok(position);
            }
        }
        Ok(topic.head())
    }
}

fn earliest(topic: &TopicShared) -> u64 {
    topic.oldest().saturating_sub(1)
}

fn places(topic: &TopicShared) -> Vec<Place> {
    lock(&topic.core).places.clone()
}

fn sealed(lane: &LaneShared) -> Vec<Arc<Segment>> {
    crate::read(&lane.segments).iter().filter(|s| s.is_sealed()).cloned().collect()
}

/// The position before record `i`.
fn before(index: &TopicIndex, i: usize) -> u64 {
    if i == 0 { index.start() } else { index.seq(i - 1) }
}

fn first_since(segment: &Segment, index: &TopicIndex, ts: Ts) -> io::Result<Option<u64>> {
    let file = segment.file()?;
    let ts_at = |i: usize| -> io::Result<i64> {
        let header = crate::reader::read_upto(&*file, index.offset(i).unwrap_or(0), HEADER)?;
        Ok(u64_at(&header, 32).map_or(i64::MAX, |t| t as i64))
    };
    let (mut low, mut high) = (0, index.len());
    while low < high {
        let mid = usize::midpoint(low, high);
        if ts_at(mid)? < ts.0 { low = mid + 1 } else { high = mid }
    }
    Ok((low < index.len()).then(|| before(index, low)))
}
