//! Order books and the splice of snapshot and deltas; pure
