//! Work beside the caller's: on a thread of its own, or at once where the system gives no thread.
//! Never fails for want of a thread: that says nothing against what was to be read.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

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
    use super::Beside;
    use std::thread::{self, Builder};

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
