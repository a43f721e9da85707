//! What processes cost: CPU seconds and peak memory, as Linux tells them (proc(5)). Elsewhere there is no
//! figure, and none is made up.

use std::{collections::HashMap, fs};

/// The system's ticks a second; Linux has said 100 to programs on every machine since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of this process and of those that are gone and were its children.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    Some(Stat::read(pid)?.seconds())
}

/// CPU seconds of all processes of this name that descend from `ancestor`.
pub(crate) fn cpu_seconds_below(ancestor: u32, name: &str) -> f64 {
    let all = every_process();
    let is_below = |mut pid: u32| {
        while let Some(stat) = all.get(&pid) {
            if stat.parent == ancestor {
                return true;
            }
            pid = stat.parent;
        }
        false
    };
    all.iter()
        .filter(|(pid, stat)| stat.name == name && is_below(**pid))
        .map(|(_, stat)| stat.seconds())
        .sum()
}

/// The most memory a process had in use so far, in MB (10^6 bytes).
pub(crate) fn peak_rss_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

struct Stat {
    name: String,
    parent: u32,
    ticks: f64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let (before, after) = (text.find('(')?, text.rfind(')')?);
        let fields: Vec<&str> = text[after + 1..].split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            name: text[before + 1..after].to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            // utime, stime, and those of children that were waited for.
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }

    fn seconds(&self) -> f64 {
        self.ticks / TICKS_PER_SECOND
    }
}

fn every_process() -> HashMap<u32, Stat> {
    let Ok(listed) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect()
}
