//! Why a daemon does not run, in one line: what failed, where, and what to do about it.
//! Never guesses: without advice of its own it leaves the error's words as they are.

use quar_store::OpenError;
use std::io;

/// The error with all its causes, each said once, and what an operator does next.
#[must_use]
pub fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors have their cause's words among their own.
        if !line.contains(&cause) {
            let parting = if line.is_empty() { "" } else { ": " };
            line = [&line, parting, &cause].concat();
        }
    }
    if let Some(advice) = error.chain().find_map(io_error).and_then(advice) {
        line = [&line, "; ", advice].concat();
    }
    line.replace('\n', " ")
}

fn io_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    match cause.downcast_ref::<OpenError>() {
        Some(OpenError::Io { error, .. }) => Some(error),
        _ => cause.downcast_ref::<io::Error>(),
    }
}

/// What helps against an error that is the system's, not the configuration's.
fn advice(error: &io::Error) -> Option<&'static str> {
    const INPUT_OUTPUT: i32 = 5;
    const FILES_OF_THE_SYSTEM: i32 = 23;
    const FILES_OF_THE_PROCESS: i32 = 24;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
            Some("make room on this file system, then start it again")
        }
        (_, Some(INPUT_OUTPUT)) => Some("look at the disk first (dmesg), then start it again"),
        (_, Some(FILES_OF_THE_SYSTEM | FILES_OF_THE_PROCESS)) => {
            Some("raise the limit of open files (LimitNOFILE in the unit), then start it again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::in_one_line;
    use anyhow::Context;
    use quar_store::OpenError;
    use std::io;

    #[test]
    fn says_every_cause_once_and_what_to_do() {
        let error =
            OpenError::Io { path: "segments".into(), error: io::Error::from_raw_os_error(5) };
        let error = Err::<(), _>(error).context("cannot open the store in /q").unwrap_err();
        assert_eq!(
            in_one_line(&error),
            "cannot open the store in /q: segments: Input/output error (os error 5); look at the \
             disk first (dmesg), then start it again"
        );
    }

    #[test]
    fn an_error_of_the_configuration_keeps_its_own_advice() {
        let error = anyhow::anyhow!("no key; make one").context("cannot start");
        assert_eq!(in_one_line(&error), "cannot start: no key; make one");
    }
}
