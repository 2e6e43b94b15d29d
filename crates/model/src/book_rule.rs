//! How a venue's book updates follow each other and what proves them: the words in which a venue names the rule of its book.
//! The rules themselves are in the `book` crate, which alone decides what follows what.

/// The rule of one book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BookRule {
    pub chain: Chain,
    /// What the venue prints beside its updates to prove the book that they lead to; checked where an update carries one.
    pub checksum: Option<Checksum>,
    /// The venue sends the best so many levels of a side and says nothing of one that is pushed out: whoever keeps the book cuts
    /// it to this after each update.
    pub depth: Option<u32>,
}

impl BookRule {
    #[must_use]
    pub const fn new(chain: Chain) -> Self {
        Self { chain, checksum: None, depth: None }
    }

    #[must_use]
    pub const fn with_checksum(self, checksum: Checksum) -> Self {
        Self { checksum: Some(checksum), ..self }
    }

    #[must_use]
    pub const fn with_depth(self, depth: u32) -> Self {
        Self { depth: Some(depth), ..self }
    }
}

impl From<Chain> for BookRule {
    fn from(chain: Chain) -> Self {
        Self::new(chain)
    }
}

/// How updates join a snapshot and each other. The first two get their snapshot over REST and queue what comes before it; of
/// all others it comes by the stream, at the beginning and whenever the venue likes, and what comes before it is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chain {
    /// Binance spot: consecutive ids. `U <= L+1 <= u`, then `U == prev u + 1`.
    SpotAnchored,
    /// Binance futures: `U <= L <= u` (or `pu == L`), then `pu == prev u`.
    LinkedPrev,
    /// Each update names the one before (OKX `prevSeqId`, Deribit, Bitget; dYdX through its connection's counter). Equal ids and no
    /// levels are a heartbeat; a smaller id behind the right link is the venue's own new beginning.
    Linked,
    /// Each update's id is the last one's + 1 (Bybit `u`).
    Counted,
    /// No ids: what follows is what comes (Kraken), and only a checksum can tell.
    Unlinked,
    /// Each push is the whole book (streams of the best N levels, Hyperliquid).
    Whole,
}

impl Chain {
    /// Whether the snapshot is fetched over REST; otherwise it comes by the stream.
    #[must_use]
    pub const fn is_anchored(self) -> bool {
        matches!(self, Self::SpotAnchored | Self::LinkedPrev)
    }
}

/// A CRC-32 over the text of the best levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// OKX (before 2026-06-23): the 25 best of each side in turns, `bid:size:ask:size:…`, where a side is shorter it is left out;
    /// numbers without trailing zeros, as OKX prints them.
    Turns25,
    /// Kraken: the 10 best asks, then the 10 best bids; each number as printed, without its point and its leading zeros.
    AsksBids10,
}
