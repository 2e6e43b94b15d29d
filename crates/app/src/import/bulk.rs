//! Where days go that the tape never saw: straight to the catalog, as a new revision without seqs.
//!
//! This is the seam for it. Until a catalog stands behind it, [`NoCatalog`] says so, and such files are reported as not imported.

use wholetape_venue::binance::archive::Row;

use super::file;
use super::find::Found;

/// So many rows of a day are in the catalog now; or nothing was done, because of this.
pub type Taken = Result<u64, &'static str>;

/// Hands each row of a day to its argument, in order.
pub type Rows<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&Row) -> anyhow::Result<()>) -> anyhow::Result<()>;

/// Takes whole days. The file has been read once by then, so its rows are good.
pub trait Bulk: Send {
    /// # Errors
    /// When the day cannot be written; nothing of it is visible then.
    fn day(&mut self, found: &Found, rows: Rows<'_>) -> anyhow::Result<Taken>;
}

/// No catalog is kept.
pub struct NoCatalog;

impl Bulk for NoCatalog {
    fn day(&mut self, _found: &Found, _rows: Rows<'_>) -> anyhow::Result<Taken> {
        Ok(Err("nothing is held of that day, and there is no catalog yet that whole days could go to"))
    }
}

/// Gives a day to `bulk`.
///
/// # Errors
/// As [`Bulk::day`].
pub fn give(bulk: &mut dyn Bulk, found: &Found) -> anyhow::Result<Taken> {
    bulk.day(found, &mut |take| file::each_row(found, take).map(drop))
}
