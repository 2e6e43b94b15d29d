//! What the process holds of the machine's memory, and what of it nobody needs any more.
//!
//! When the machine stalls, batches and answers meet sizes that they never had; afterwards their memory is free, but lies between what
//! is kept for a minute, and glibc's allocator gives back only what lies at the end of an arena. So each stall would stay in the
//! resident size until the next start. Asked once a minute, it gives back every free page. Other allocators do that by themselves.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// Looks until `stop`.
pub async fn keep_small(stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let before = resident_bytes();
        let begin = Instant::now();
        // It goes through every arena, and each is locked meanwhile: milliseconds.
        if tokio::task::spawn_blocking(give_back).await.unwrap_or(false) {
            let (after, took) = (resident_bytes(), begin.elapsed());
            tracing::debug!(before, after, ?took, "free memory was given back");
        }
    }
}

/// Gives free pages back; whether there were any.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() -> bool {
    #[allow(
        unsafe_code,
        reason = "no safe crate offers it; any number and any moment is allowed, see malloc_trim(3): MT-Safe"
    )]
    unsafe extern "C" {
        /// Bytes to leave at the end of the main arena; 1 when something was given back.
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0) == 1
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() -> bool {
    false
}

/// The resident size, where the system tells it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Of blocks that came in a stall every other one is kept: nothing is free at an arena's end, and still half goes back.
    #[test]
    fn what_a_stall_left_between_kept_blocks_is_given_back() {
        const BLOCK: usize = 64 << 10;
        const COUNT: usize = 2_000;
        let mut blocks: Vec<Vec<u8>> = (0..COUNT).map(|_| vec![1; BLOCK]).collect();
        let mut nth = 0;
        blocks.retain(|_| {
            nth += 1;
            nth % 2 == 0
        });
        let before = resident_bytes().unwrap();
        assert!(give_back());
        let given = before.saturating_sub(resident_bytes().unwrap());
        assert!(given > (COUNT * BLOCK / 4) as u64, "{given} of {} bytes", COUNT * BLOCK / 2);
        assert!(blocks.iter().all(|b| b.iter().all(|x| *x == 1)));
    }
}
