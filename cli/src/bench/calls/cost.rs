//! What processes cost: processor time and memory, as the system counts them (proc(5)).

use std::{fs, time::Duration};

/// The system's ticks a second. Linux shows processor time in hundredths on every machine (`USER_HZ`).
const TICKS: u64 = 100;

/// A process that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// What it does.
    pub(super) role: &'static str,
    /// Its id.
    pub(super) pid: u32,
}

impl Watched {
    /// Processor time that it has used so far, where the system tells it.
    pub(super) fn cpu(self) -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        // utime and stime are fields 14 and 15; what follows the name begins with field 3.
        let ticks: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// The most memory that it has held, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn peak_rss_mb(self) -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib as f64 / 1024.0)
    }
}

/// The processor time of all of them.
pub(super) fn cpu(watched: &[Watched]) -> Duration {
    watched.iter().filter_map(|one| one.cpu()).sum()
}
