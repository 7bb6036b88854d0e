//! Calls into code that may panic or never return, and the answers they leave behind.
//! Never decides what a panic or a stall means: that is the caller's.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

/// Why a guarded call gave no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It panicked, with this message.
    Panicked(String),
    /// It showed no sign of life for this long. Its thread is left behind.
    Stalled(Duration),
    /// No thread could be started for it.
    NoThread(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panic: {message}"),
            Self::Stalled(limit) => write!(f, "no progress for {limit:?}"),
            Self::NoThread(error) => write!(f, "no thread: {error}"),
        }
    }
}

/// A sign of life that a watched call gives while it works.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there was no beat since `heard`, which it brings up to date.
    fn is_still(&self, heard: &mut u64) -> bool {
        let before = std::mem::replace(heard, self.beats());
        before == *heard
    }
}

/// Runs `work` here; a panic becomes [`Trouble::Panicked`] and prints nothing.
///
/// What `work` shares with others must bear that it stops anywhere.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Trouble> {
    silence_caught_panics();
    let outer = CAUGHT_HERE.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT_HERE.set(outer);
    result.map_err(|payload| Trouble::Panicked(message_of(payload.as_ref())))
}

/// Runs `work` on a thread of its own and waits for it as long as it gives signs of life.
///
/// A stalled thread cannot be ended: it is left behind with all that it holds.
pub(crate) fn watched<T: Send + 'static>(
    stall_limit: Duration,
    pulse: &Pulse,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let (answer, answered) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("quar-index".to_owned())
        // Nobody listens any more once the caller gave up; the result is then dropped over there.
        .spawn(move || drop(answer.send(caught(work))))
        .map_err(Trouble::NoThread)?;
    let mut heard = pulse.beats();
    loop {
        match answered.recv_timeout(stall_limit) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Trouble::Panicked("the thread ended without an answer".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) if pulse.is_still(&mut heard) => {
                return Err(Trouble::Stalled(stall_limit));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

thread_local! {
    static CAUGHT_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panic hook from printing what [`caught`] turns into an error anyway.
fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CAUGHT_HERE.get() {
                before(panic);
            }
        }));
    });
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    // sled prints whole pages, keys included, in some of its messages.
    text.split(['\n', '{', '[']).next().unwrap_or_default().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::{Pulse, Trouble, caught, watched};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_panic_becomes_its_message_without_what_follows_a_bracket() {
        let trouble = caught(|| panic!("page 7 lost: [1, 2, 3]")).expect_err("panicked");
        assert_eq!(trouble.to_string(), "panic: page 7 lost: ");
        let trouble =
            watched(Duration::MAX, &Pulse::default(), || panic!("there")).expect_err("panicked");
        assert_eq!(trouble.to_string(), "panic: there");
    }

    #[test]
    fn a_call_that_never_returns_is_given_up() {
        let (release, held) = mpsc::channel::<()>();
        let result = watched(Duration::from_millis(1), &Pulse::default(), move || held.recv());
        assert!(matches!(result, Err(Trouble::Stalled(_))), "{result:?}");
        drop(release);
    }

    #[test]
    fn a_pulse_is_still_when_nothing_beat_since_it_was_last_heard() {
        let pulse = Pulse::default();
        let mut heard = pulse.beats();
        pulse.beat();
        assert!(!pulse.is_still(&mut heard));
        assert!(pulse.is_still(&mut heard));
        pulse.beat();
        assert!(!pulse.is_still(&mut heard));
    }
}
