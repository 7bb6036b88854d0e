//! What 100 messages a second ask of a store of many: bytes handed to the index, time for the tries.

use crate::grow::put;
use crate::machine::{ms, percentile, timed};
use crate::support::{NOW, open_in};
use quar_base::time::{CUTOFF_STEP_MS, DAY_SECONDS, UnixMillis};
use quar_index::{Index, IndexError};
use quar_store::{IndexHome, Retention, SledHome, Which};
use std::io;
use std::sync::Arc;
use std::time::Instant;

const DAYS: usize = 10;
/// Messages that came in between two cutoffs, at 100 a second.
const PER_CUTOFF: usize = 1000;
const CUTOFFS: usize = 30;

/// A home that keeps hold of the index.
struct Watched {
    home: SledHome,
    index: Option<Arc<dyn Index>>,
}

impl IndexHome for Watched {
    fn open(&mut self) -> Result<Arc<dyn Index>, IndexError> {
        let index = self.home.open()?;
        self.index = Some(index.clone());
        Ok(index)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.index = None;
        self.home.reset()
    }
}

/// Fills open days, then puts as a busy node does, and prints the figures.
pub fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path();
    let mut watched = Watched { home: SledHome(path.join("index")), index: None };
    let store = open_in(path, Retention::default(), &mut watched).0;
    let index = watched.index.take().expect("the store opened it");
    let span_ms = (DAYS as u64 * DAY_SECONDS - 60) * 1000;
    let before = |number: usize| {
        UnixMillis(NOW.0 - 60_000 - span_ms + number as u64 * span_ms / count as u64)
    };
    put(&store, 0..count, before);
    store.checkpoint().expect("the index can be flushed");
    let _ = store.view(Which::Current).state_root();
    let written = index.written_bytes();
    let mut upkeep_ms = Vec::new();
    let start = Instant::now();
    for step in 0..CUTOFFS {
        let first = count + step * PER_CUTOFF;
        let at = NOW.0 + step as u64 * CUTOFF_STEP_MS;
        let received = |number: usize| {
            UnixMillis(at + (number - first) as u64 * CUTOFF_STEP_MS / PER_CUTOFF as u64)
        };
        put(&store, first..first + PER_CUTOFF, received);
        let cutoff = UnixMillis(at + CUTOFF_STEP_MS).cutoff();
        let (took, _) = timed(|| {
            store.advance(cutoff);
            store.view(Which::Current).state_root()
        });
        upkeep_ms.push(took);
    }
    let seconds = ms(start.elapsed()) / 1000.0;
    let inserts = CUTOFFS * PER_CUTOFF;
    let bytes = (index.written_bytes() - written) as f64 / inserts as f64;
    println!(
        "{{\"part\":\"upkeep\",\"messages\":{count},\"inserts\":{inserts},\
         \"index_bytes_per_insert\":{bytes:.1},\"inserts_per_second\":{:.0},\
         \"cutoff_ms\":{:.3},\"cutoff_worst_ms\":{:.3}}}",
        inserts as f64 / seconds,
        percentile(&mut upkeep_ms, 50),
        percentile(&mut upkeep_ms, 100),
    );
}
