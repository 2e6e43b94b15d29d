//! Books whose updates have no number of the venue's: each is known by its place among all.
//!
//! The only number that dYdX prints counts the messages of one connection; Kraken prints none. So what a reader was told of a book is laid beside what
//! the venue published, update by update in order: one must follow the other, and only where a mark says `lost` and a snapshot follows it
//! may the reader go on further down. What lies between is confessed by that mark. A snapshot without such a mark (REST's, now and then)
//! moves nobody.

use wholetape_sim::truth::InstrumentTruth;

use super::compare::{Count, base, same};
use super::facts;
use super::seen::{Told, TopicSeen};

/// How a reader may have come to a later place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leap {
    No,
    /// The book's beginning, or a snapshot that a client was given: it stands for what was before.
    Snapshot,
    /// Said to be lost.
    Lost,
}

/// Snapshots that a reader was told.
pub fn wholes(topic: &TopicSeen) -> u32 {
    topic.book.told.iter().filter(|one| **one == Told::Whole).count() as u32
}

/// What was told against what was published.
pub fn updates(truth: &InstrumentTruth, topic: &TopicSeen) -> Count {
    let published: Vec<u64> =
        truth.depth.iter().map(|e| facts::digest(&facts::levels(&e.bids), &facts::levels(&e.asks))).collect();
    let clients = !topic.book.jumps.is_empty();
    // Numbers of messages come again with every connection.
    let mut count = Count { twice: 0, ..base(topic) };
    count.truth = published.len() as u64;
    let (mut place, mut leap, mut lost) = (0, Leap::No, false);
    let mut began = false;
    let told = &topic.book.told;
    for (at, one) in told.iter().enumerate() {
        match one {
            Told::Lost => lost = true,
            Told::Whole => {
                leap = match (began, lost) {
                    (true, true) => Leap::Lost,
                    (false, _) => Leap::Snapshot,
                    (true, false) if clients => Leap::Snapshot,
                    (true, false) => leap,
                };
                (began, lost) = (true, false);
            }
            Told::Update(digest) => {
                let next = if leap == Leap::No {
                    published[place..].iter().position(|one| one == digest)
                } else {
                    let run: Vec<u64> =
                        told[at..].iter().take_while(|one| goes_on(**one, clients)).filter_map(digest_of).collect();
                    let whole = published[place..].windows(run.len()).position(|some| some == run);
                    whole.or_else(|| published[place..].iter().position(|one| one == digest))
                };
                let Some(skipped) = next else {
                    count.held += 1;
                    count.invent(|| format!("an update that does not follow place {place}"));
                    continue;
                };
                pass(&mut count, leap, place, skipped);
                count.held += 1;
                (place, leap) = (place + skipped + 1, Leap::No);
            }
        }
    }
    pass(&mut count, leap, place, published.len() - place);
    count
}

/// The updates from this place on that were not told.
fn pass(count: &mut Count, leap: Leap, place: usize, skipped: usize) {
    match leap {
        Leap::Snapshot => count.held += skipped as u64,
        Leap::Lost => count.confessed += skipped as u64,
        Leap::No => (place..place + skipped).for_each(|at| count.miss(|| format!("the update at place {at}"))),
    }
}

/// Still the same unbroken run.
fn goes_on(one: Told, clients: bool) -> bool {
    match one {
        Told::Update(_) => true,
        Told::Whole => !clients,
        Told::Lost => false,
    }
}

fn digest_of(one: &Told) -> Option<u64> {
    if let Told::Update(digest) = one { Some(*digest) } else { None }
}

/// Whether the reader's book is the venue's in the end.
pub fn book(truth: &InstrumentTruth, topic: &TopicSeen, deepest: &TopicSeen) -> Result<(), String> {
    if !topic.book.live {
        return Err("the book ends without being live".into());
    }
    let last = truth.final_book.as_ref().ok_or("the venue has no book")?;
    let deepest = &deepest.book;
    same(&topic.book.ladder, last, [deepest.deepest_bid.or(deepest.deep[0]), deepest.deepest_ask.or(deepest.deep[1])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_sim::truth::DepthEvent;

    fn truth(sizes: &[u64]) -> InstrumentTruth {
        let mut truth = InstrumentTruth::default();
        truth.depth = sizes.iter().map(|size| event(*size)).collect();
        truth
    }

    fn event(size: u64) -> DepthEvent {
        DepthEvent {
            event_ms: 0,
            time_ms: 0,
            first: 1,
            last: 1,
            previous: 0,
            bids: vec![("9".into(), size.to_string())],
            asks: Vec::new(),
            wall_ns: 0,
        }
    }

    /// `s`: a snapshot, `l`: lost, a digit: an update.
    fn topic(text: &str) -> TopicSeen {
        let mut topic = TopicSeen::default();
        topic.book.told = text
            .chars()
            .map(|c| match c {
                's' => Told::Whole,
                'l' => Told::Lost,
                c => {
                    let one = event(c.to_digit(10).unwrap().into());
                    Told::Update(facts::digest(&facts::levels(&one.bids), &[]))
                }
            })
            .collect();
        topic
    }

    /// Held, confessed, missing, invented of the updates 1 2 3 1 2 4 5.
    #[track_caller]
    fn check(told: &str, expected: (u64, u64, u64, u64)) {
        let count = updates(&truth(&[1, 2, 3, 1, 2, 4, 5]), &topic(told));
        assert_eq!((count.held, count.confessed, count.missing, count.invented), expected, "{told}");
    }

    #[test]
    fn updates_follow_each_other_but_for_what_a_mark_confesses() {
        check("s1231245", (7, 0, 0, 0));
        check("s12s31245", (7, 0, 0, 0));
        check("s245", (7, 0, 0, 0));
        check("s12ls45", (4, 3, 0, 0));
        // The run tells which of two equal ones it is.
        check("s12ls1245", (6, 1, 0, 0));
        check("s12ls", (2, 5, 0, 0));
        check("s12lsls5", (3, 4, 0, 0));
    }

    #[test]
    fn what_no_mark_confesses_is_missing_and_what_is_nowhere_invented() {
        check("s1345", (4, 0, 3, 0));
        check("s123s45", (5, 0, 2, 0));
        check("s12", (2, 0, 5, 0));
        check("s123l1245", (7, 0, 0, 0));
        check("s12931245", (8, 0, 0, 1));
        check("", (0, 0, 7, 0));
        let mut client = topic("s12s45");
        client.book.jumps.push((1, 2));
        assert!(updates(&truth(&[1, 2, 3, 1, 2, 4, 5]), &client).whole(), "a client was given a snapshot");
    }
}
