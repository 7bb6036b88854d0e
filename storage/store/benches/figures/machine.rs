//! What the figures need of the machine: memory, cold caches, places in an order of times.

use std::time::{Duration, Instant};

/// Resident memory of this process and its peak, in MB.
pub fn memory_mb() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Seconds that processors worked for this process so far.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: state, 10 fields, then user and system time.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>());
    // A tick is a hundredth of a second on every Linux of today.
    ticks.map(|ticks| ticks.unwrap_or(f64::NAN) / 100.0).sum()
}

/// Seconds that the machine's processors had nothing to do so far, all added up.
pub fn idle_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // cpu, user, nice, system, idle, iowait.
    let fields = stat.lines().next().map_or("", |line| line.trim_start_matches("cpu"));
    let ticks = fields.split_whitespace().skip(3).take(2).map(|field| field.parse::<f64>());
    ticks.map(|ticks| ticks.unwrap_or(f64::NAN) / 100.0).sum()
}

/// Has the kernel forget what it cached of all files; says how, or why it could not.
pub fn drop_caches() -> &'static str {
    // What is dirty cannot be dropped.
    nix::unistd::sync();
    match std::fs::write("/proc/sys/vm/drop_caches", "3") {
        Ok(()) => "drop_caches",
        Err(_) => "warm, not root",
    }
}

/// Milliseconds that something takes, and its result.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (ms(start.elapsed()), result)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The value below which so many percent lie.
pub fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or(f64::NAN)
}
