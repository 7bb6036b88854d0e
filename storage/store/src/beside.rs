//! Work beside the caller's: on a thread of its own, or at once where the system gives no thread.
//! Never fails for want of a thread: that says nothing against what was to be read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Processors that this process may use. Asked once: the system reads files to tell it.
pub(crate) fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// What the work makes of each of these, on all processors; begun in their order, ended in any.
pub(crate) fn all<I: Send, T: Send>(items: Vec<I>, work: &(dyn Fn(I) -> T + Sync)) -> Vec<T> {
    let others = processors().min(items.len()).saturating_sub(1);
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || -> Vec<T> { std::iter::from_fn(next).map(work).collect() };
    thread::scope(|scope| {
        let running: Vec<_> = (0..others).map(|_| Beside::start(scope, drain)).collect();
        let mut done = drain();
        running.into_iter().for_each(|thread| done.extend(thread.end()));
        done
    })
}

/// Does the work for each of these, on all processors, until one fails.
///
/// # Errors
/// What one of them failed with; what was under way is ended, and nothing more begun.
pub(crate) fn try_each<I: Send, E: Send>(
    items: Vec<I>,
    work: &(dyn Fn(I) -> Result<(), E> + Sync),
) -> Result<(), E> {
    let has_failed = AtomicBool::new(false);
    let one = |item| {
        if has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        work(item).inspect_err(|_| has_failed.store(true, Ordering::Relaxed))
    };
    all(items, &one).into_iter().collect()
}

/// Work that was begun.
pub(crate) enum Beside<'scope, T> {
    Running(ScopedJoinHandle<'scope, T>),
    Done(T),
}

impl<'scope, T: Send + 'scope> Beside<'scope, T> {
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> Self {
        Self::start_on(Builder::new(), scope, work)
    }

    fn start_on(
        builder: Builder,
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> Self {
        // What a thread was to run goes with it when it cannot be started: so it only takes it.
        let offered = Arc::new(Mutex::new(Some(work)));
        let taken = offered.clone();
        let take = |work: &Mutex<Option<_>>| {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.expect("taken once: by the thread, or here when there is none")
        };
        match builder.spawn_scoped(scope, move || take(&taken)()) {
            Ok(thread) => Self::Running(thread),
            Err(_) => Self::Done(take(&offered)()),
        }
    }

    /// What the work returned. A panic of it goes on here.
    pub(crate) fn end(self) -> T {
        match self {
            Self::Running(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Done(result) => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Beside, all, try_each};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::{self, Builder};
    use std::time::Duration;

    #[test]
    fn all_of_them_are_worked_on_once() {
        let mut done = all((0..1000).collect(), &|number: u64| number * 2);
        done.sort_unstable();
        assert_eq!(done, (0..1000).map(|number| number * 2).collect::<Vec<_>>());
        assert!(all(Vec::<u64>::new(), &|number| number).is_empty());
    }

    #[test]
    fn what_fails_is_told_and_the_rest_is_not_begun() {
        let begun = AtomicUsize::new(0);
        let work = |number: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            // The other threads do not come to the end before this one had its turn.
            thread::sleep(Duration::from_millis(1));
            if number == 100 { Err(number) } else { Ok(()) }
        };
        assert_eq!(try_each((0..100).collect(), &work), Ok(()));
        assert_eq!(begun.swap(0, Ordering::Relaxed), 100);
        assert_eq!(try_each((100..100_000).collect(), &work), Err(100));
        assert!(begun.load(Ordering::Relaxed) < 99_900);
    }

    #[test]
    fn work_is_done_here_when_no_thread_can_be_started() {
        let here = thread::current().id();
        let work = || thread::current().id();
        thread::scope(|scope| {
            // No machine has so much address space.
            let none = Builder::new().stack_size(1 << 60);
            assert_eq!(Beside::start_on(none, scope, work).end(), here);
            assert_ne!(Beside::start(scope, work).end(), here);
        });
    }
}
