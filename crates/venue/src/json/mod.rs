//! Reading JSON the way a feed must: numbers exactly from their text, nothing copied, no tree.
//!
//! [`cursor`] and [`scan`] are the fast way (one pass, declines whatever is not expected), [`text`] the typed one (serde).

pub(crate) mod columns;
pub(crate) mod cursor;
pub(crate) mod scan;
pub(crate) mod text;
