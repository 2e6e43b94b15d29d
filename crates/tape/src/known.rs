//! How far a lane is known to be on the disk, for the next open: `lanes/<lane>/synced`, 24 bytes that the sync thread
//! writes over after each sync.
//!
//! By this a torn write is told from damage. Bytes behind it that are no record were being written when the end came, and
//! nobody was promised them; bytes before it were there, so whatever is wrong with them happened afterwards, and somebody
//! may have seen their seqs.
//!
//! The note itself is not synced: it says "at least as far", an older one says less and is as true, and a torn one fails
//! its checksum and says nothing. So it costs one small write to the page cache a sync.

use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk, DiskFile};
use crate::format::{seal, sealed, u64_at};
use crate::lane::LaneShared;
use crate::lock;
use crate::reader::read_upto;

const LEN: usize = 24;

fn path_of(lane: &Path) -> PathBuf {
    lane.join("synced")
}

/// Notes that the lane's segment `number` is on the disk up to `offset`. That it cannot is no fault: less is known then.
pub(crate) fn note(disk: &dyn Disk, lane: &LaneShared, number: u64, offset: u64) {
    let mut slot = lock(&lane.synced_note);
    if slot.is_none() {
        *slot = disk.open(&path_of(&lane.dir), Access::Create).ok();
    }
    let Some(file) = slot.as_ref() else { return };
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    seal(&mut bytes, 0, 16);
    if !file.write_at(&bytes, 0).is_ok_and(|n| n == LEN) {
        *slot = None;
    }
}

/// How far segment `number` of the lane in `dir` is known to be synced; 0 when that is not known.
pub(crate) fn upto(disk: &dyn Disk, dir: &Path, number: u64) -> u64 {
    let read = |file: &dyn DiskFile| read_upto(file, 0, LEN).ok();
    let bytes = disk.open(&path_of(dir), Access::Read).ok().and_then(|f| read(&*f)).unwrap_or_default();
    let whole = bytes.len() == LEN && sealed(&bytes, 16);
    if whole && u64_at(&bytes, 0) == Some(number) { u64_at(&bytes, 8).unwrap_or(0) } else { 0 }
}
