//! `import`: old mail from files, mboxes and maildirs.
//! Never makes what is stored depend on who imports, when, or how often.
//!
//! ```text
//! walk ─► sources ─► read: one message at a time ─► queue ─► workers ─► backend.put
//!                     time: the file's mtime, or the From line's date
//!                     queue id: the path below PATH, without maildir flags
//! ```

mod maildir;
pub mod mbox;
mod read;
mod tally;
mod walk;

use crate::arguments::Import;
use crate::backend::Backend;
use crate::failure::{Ending, kind};
use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quard::daemon::handle::Arrived;
use read::Found;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tally::{Outcome, Tally};

/// Messages on their way at once.
const WORKERS: usize = 8;
/// How often a message is offered again to a node that has no room for it at the moment.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
const PROOF: &str = "no holder of this lock panics";

/// Imports everything below a path.
pub fn import(backend: &Backend, import: &Import, output: &mut Output) -> anyhow::Result<Ending> {
    let walked = walk::walk(&import.path, import.format)?;
    let bar = progress_bar(walked.bytes(), output);
    let run =
        Run { tally: Mutex::new(Tally::new(walked.skipped)), is_over: AtomicBool::new(false), bar };
    let workers = (0..WORKERS).map(|_| backend.another());
    let workers = workers.collect::<anyhow::Result<Vec<_>>>()?;
    let (queue, taken) = sync_channel(WORKERS);
    let taken = Mutex::new(taken);
    let result = std::thread::scope(|scope| {
        let running: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| run.work(worker, &taken))).collect();
        for source in &walked.sources {
            let read = read::messages(source, &import.cover, &mut |found| {
                match found {
                    Ok(found) => drop(queue.send(found)),
                    Err(unfit) => run.count(&unfit.shown, Outcome::Failed(unfit.error)),
                }
                // Workers that gave up have said why.
                !run.is_over.load(Ordering::Relaxed)
            });
            if let Err(error) = read {
                run.count(&source.shown(), Outcome::Failed(format!("{error:#}")));
            }
            run.bar.inc(source.bytes);
            if run.is_over.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(queue);
        let mut ended = running.into_iter().map(|worker| worker.join());
        ended.try_for_each(|end| end.expect("a worker does not panic"))
    });
    run.bar.finish_and_clear();
    let tally = run.tally.into_inner().expect(PROOF);
    tally.show(output)?;
    result?;
    Ok(tally.ending())
}

/// What the workers share.
struct Run {
    tally: Mutex<Tally>,
    /// Set when going on is of no use.
    is_over: AtomicBool,
    bar: ProgressBar,
}

impl Run {
    fn work(&self, mut backend: Backend, queue: &Mutex<Receiver<Found>>) -> anyhow::Result<()> {
        let mut result = Ok(());
        loop {
            let next = queue.lock().expect(PROOF).recv();
            let Ok(found) = next else {
                return result;
            };
            if self.is_over.load(Ordering::Relaxed) {
                // The queue is emptied, so that the reader does not wait for room in it.
                continue;
            }
            match offer(&mut backend, &found) {
                Ok(outcome) => self.count(&found.shown, outcome),
                Err(error) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    let advice = "the import was broken off; start it again to go on";
                    result = Err(error.context(advice));
                }
            }
        }
    }

    fn count(&self, shown: &str, outcome: Outcome) {
        let mut tally: MutexGuard<'_, Tally> = self.tally.lock().expect(PROOF);
        tally.count(shown, outcome);
        self.bar.set_message(tally.line());
    }
}

/// Stores one message; an error is one that the next message would meet too.
fn offer(backend: &mut Backend, found: &Found) -> anyhow::Result<Outcome> {
    for _ in 0..ATTEMPTS {
        let error = match backend.put(found.mail.clone(), Arrived::Imported(found.received)) {
            Ok(reply) if reply.duplicate => return Ok(Outcome::Duplicate),
            Ok(_) => return Ok(Outcome::Stored),
            Err(error) => error,
        };
        match kind(&error) {
            Some("busy") => std::thread::sleep(PAUSE),
            Some("too_old") => return Ok(Outcome::TooOld),
            Some("deleted") => return Ok(Outcome::Deleted),
            Some("invalid" | "too_large") => return Ok(Outcome::Failed(error.to_string())),
            _ => return Err(error),
        }
    }
    anyhow::bail!("the node has no room for messages; it is too busy")
}

fn progress_bar(bytes: u64, output: &Output) -> ProgressBar {
    if output.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta}";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    bar.with_style(style)
}

#[cfg(test)]
mod tests;
