//! A queue in small pieces, for what is kept about a minute.
//!
//! One ring buffer doubles at each new maximum of a busy minute and keeps that for good, and where it was before stays a hole in the
//! heap: a process that runs for weeks meets ever new maxima. Pieces come and go with what is kept, all of one size.
//!
//! Invariant: between the first and the last piece every piece is full, so a place is found by division.

use std::collections::VecDeque;

/// Items of a piece.
const PIECE: usize = 64;

/// First in, first out.
#[derive(Debug, Clone)]
pub struct ChunkQueue<T> {
    pieces: VecDeque<VecDeque<T>>,
    /// The last one that was emptied: in a steady state nothing is allocated.
    spare: Option<VecDeque<T>>,
    len: usize,
}

impl<T> Default for ChunkQueue<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), spare: None, len: 0 }
    }
}

impl<T> ChunkQueue<T> {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push_back(&mut self, item: T) {
        match self.pieces.back_mut() {
            Some(last) if last.len() < PIECE => last.push_back(item),
            _ => {
                let mut piece = self.spare.take().unwrap_or_else(|| VecDeque::with_capacity(PIECE));
                piece.push_back(item);
                self.pieces.push_back(piece);
            }
        }
        self.len += 1;
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.pieces.front_mut()?;
        let item = first.pop_front();
        if first.is_empty() {
            self.spare = self.pieces.pop_front();
        }
        self.len -= usize::from(item.is_some());
        item
    }

    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.pieces.front()?.front()
    }

    #[must_use]
    pub fn back(&self) -> Option<&T> {
        self.pieces.back()?.back()
    }

    /// Which piece, and where in it.
    fn place(&self, i: usize) -> (usize, usize) {
        let first = self.pieces.front().map_or(0, VecDeque::len);
        match i.checked_sub(first) {
            None => (0, i),
            Some(behind) => (1 + behind / PIECE, behind % PIECE),
        }
    }

    #[must_use]
    pub fn get(&self, i: usize) -> Option<&T> {
        let (piece, at) = self.place(i);
        self.pieces.get(piece)?.get(at)
    }

    /// How many items at the front satisfy `is_before`, which none does behind the first that does not.
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let pieces = self.pieces.partition_point(|p| p.back().is_some_and(&mut is_before));
        let whole =
            self.pieces.iter().take(pieces.min(1)).map(VecDeque::len).sum::<usize>() + pieces.saturating_sub(1) * PIECE;
        match self.pieces.get(pieces) {
            Some(piece) => whole + piece.partition_point(is_before),
            None => self.len,
        }
    }

    /// From item `i` on.
    pub fn iter_from(&self, i: usize) -> impl Iterator<Item = &T> {
        let (piece, at) = self.place(i);
        let pieces = self.pieces.range(piece.min(self.pieces.len())..).enumerate();
        pieces.flat_map(move |(n, p)| p.range(if n == 0 { at.min(p.len()) } else { 0 }..))
    }

    /// Keeps what satisfies `is_kept`.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        let pieces = std::mem::take(&mut self.pieces);
        self.len = 0;
        for item in pieces.into_iter().flatten().filter(|item| is_kept(item)) {
            self.push_back(item);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Push(u8),
        Pop(u8),
        /// Keeps those that leave no rest.
        Retain(u64),
        Clear,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            6 => (0..=255_u8).prop_map(Op::Push),
            6 => (0..=255_u8).prop_map(Op::Pop),
            1 => (2..5_u64).prop_map(Op::Retain),
            1 => Just(Op::Clear),
        ];
        proptest::collection::vec(op, 1..60)
    }

    proptest! {
        #[test]
        fn it_is_a_queue(ops in ops()) {
            let (mut ours, mut model) = (ChunkQueue::default(), VecDeque::new());
            let mut next = 0_u64;
            for op in ops {
                match op {
                    Op::Push(n) => for _ in 0..n {
                        ours.push_back(next);
                        model.push_back(next);
                        next += 1;
                    },
                    Op::Pop(n) => for _ in 0..n {
                        prop_assert_eq!(ours.pop_front(), model.pop_front());
                    },
                    Op::Retain(n) => {
                        ours.retain(|v| v % n > 0);
                        model.retain(|v| v % n > 0);
                    }
                    Op::Clear => {
                        ours.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((ours.front(), ours.back()), (model.front(), model.back()));
                for i in [0, 1, PIECE - 1, PIECE, PIECE + 1, model.len() / 2, model.len().saturating_sub(1), model.len()] {
                    prop_assert_eq!(ours.get(i), model.get(i));
                    prop_assert!(ours.iter_from(i).eq(model.iter().skip(i)), "from {} of {}", i, model.len());
                    let value = model.get(i).copied().unwrap_or(next);
                    prop_assert_eq!(ours.partition_point(|v| *v < value), model.partition_point(|v| *v < value));
                }
                let most = model.len() / PIECE + 2;
                prop_assert!(ours.pieces.len() <= most, "{} pieces for {}", ours.pieces.len(), model.len());
            }
        }
    }

    #[test]
    fn a_steady_state_uses_its_pieces_again() {
        let mut queue = ChunkQueue::default();
        for n in 0..16 * PIECE {
            queue.push_back(n);
        }
        let places: std::collections::BTreeSet<*const usize> = queue.iter_from(0).map(|v| &raw const *v).collect();
        let mut new = 0;
        for n in 16 * PIECE..100_000 {
            queue.push_back(n);
            new += usize::from(!places.contains(&queue.back().map_or(std::ptr::null(), |v| &raw const *v)));
            queue.pop_front();
        }
        // One more piece than at first, for the item that is there twice.
        assert!(new <= 99_000 / 16, "{new} items lie elsewhere");
    }
}
