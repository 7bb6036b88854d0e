//! The one place where the daemon reads clocks and the operating system's entropy.
//! Never used below the daemon: time and seeds are handed down as values.

use quar_base::time::UnixMillis;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

/// Environment variable with a number of milliseconds by which this process's clock is off: for
/// tests of what a wrong clock does.
const SKEW: &str = "QUARD_TEST_CLOCK_SKEW_MS";
/// Environment variable with a number of milliseconds after which the index is flushed and deleted
/// messages are erased, again and again: for tests of what happens meanwhile.
const UPKEEP: &str = "QUARD_TEST_UPKEEP_MS";

/// The clocks of this process.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    skew_ms: i64,
    upkeep: Option<Duration>,
    /// How far ahead of the machine's clocks it is, in a test that does not wait.
    ahead: Duration,
}

impl Clock {
    /// Starts the monotonic clock.
    #[must_use]
    pub fn start() -> Self {
        let skew_ms = std::env::var(SKEW).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let upkeep = std::env::var(UPKEEP).ok().and_then(|text| text.parse().ok());
        Self {
            start: Instant::now(),
            skew_ms,
            upkeep: upkeep.map(Duration::from_millis),
            ahead: Duration::ZERO,
        }
    }

    /// The same clock so much later.
    #[cfg(test)]
    pub fn later(&self, by: Duration) -> Self {
        Self { ahead: self.ahead + by, ..self.clone() }
    }

    /// Wall time.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from((since + self.ahead).as_millis()).unwrap_or(u64::MAX);
        UnixMillis(ms.saturating_add_signed(self.skew_ms))
    }

    /// How often upkeep is done: what it is usually, but for tests.
    #[must_use]
    pub fn upkeep_every(&self, usually: Duration) -> Duration {
        self.upkeep.unwrap_or(usually)
    }

    /// Time since the process started; never jumps.
    #[must_use]
    pub fn since_start(&self) -> Duration {
        self.start.elapsed() + self.ahead
    }
}

/// 32 bytes of the operating system's entropy.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn entropy() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
