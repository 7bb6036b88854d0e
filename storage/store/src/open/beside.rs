//! Work beside the caller's: on a thread of its own, or at once where the system gives no thread.
//! Never fails for want of a thread: that says nothing against what was to be read.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// What the work makes of each of these, on all processors; begun in their order, ended in any.
pub(super) fn all<I: Send, T: Send>(items: Vec<I>, work: &(dyn Fn(I) -> T + Sync)) -> Vec<T> {
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || -> Vec<T> { std::iter::from_fn(next).map(work).collect() };
    let others = thread::available_parallelism().map_or(0, |count| count.get() - 1);
    thread::scope(|scope| {
        let running: Vec<_> = (0..others).map(|_| Beside::start(scope, drain)).collect();
        let mut done = drain();
        running.into_iter().for_each(|thread| done.extend(thread.end()));
        done
    })
}

/// Work that was begun.
pub(super) enum Beside<'scope, T> {
    Running(ScopedJoinHandle<'scope, T>),
    Done(T),
}

impl<'scope, T: Send + 'scope> Beside<'scope, T> {
    pub(super) fn start(
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
    pub(super) fn end(self) -> T {
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
    use super::{Beside, all};
    use std::thread::{self, Builder};

    #[test]
    fn all_of_them_are_worked_on_once() {
        let mut done = all((0..1000).collect(), &|number: u64| number * 2);
        done.sort_unstable();
        assert_eq!(done, (0..1000).map(|number| number * 2).collect::<Vec<_>>());
        assert!(all(Vec::<u64>::new(), &|number| number).is_empty());
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
