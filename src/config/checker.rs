//! The mechanics of checking: take a value or its default, and note what was refused.
//! Never knows a key: `checks` does.

use crate::config::checked::ByteCount;
use crate::config::document::{Document, Fault, Problem};
use crate::config::paths::Paths;
use crate::config::written::Key;
use quar_base::time::Millis;
use std::ops::{Range, RangeInclusive};

/// Collects what is wrong with one file.
pub(crate) struct Checker<'a> {
    pub(crate) document: Document<'a>,
    pub(crate) paths: &'a Paths,
    pub(crate) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// The value as `check` makes it; the default when it is left out or refused.
    pub(crate) fn take<T, U>(
        &mut self,
        key: &str,
        written: Key<T>,
        default: U,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> U {
        let Some(written) = written else {
            return default;
        };
        let place = written.span();
        check(written.into_inner()).unwrap_or_else(|allowed| {
            self.refuse(key, &place, allowed);
            default
        })
    }

    /// A value that has no default.
    pub(crate) fn need<T, U>(
        &mut self,
        key: &str,
        written: Key<T>,
        section: &Range<usize>,
        allowed: &str,
        check: impl FnOnce(T) -> Option<U>,
    ) -> Option<U> {
        let Some(written) = written else {
            self.miss(key, section, allowed);
            return None;
        };
        let place = written.span();
        let checked = check(written.into_inner());
        if checked.is_none() {
            self.refuse(key, &place, allowed.to_owned());
        }
        checked
    }

    /// A number within a range; `None` when it is left out or refused.
    pub(crate) fn number(
        &mut self,
        key: &str,
        written: &Key<i64>,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let written = written.as_ref()?;
        let number = *written.get_ref();
        if range.contains(&number) {
            return Some(number);
        }
        let allowed = format!("from {} to {}", range.start(), range.end());
        self.refuse(key, &written.span(), allowed);
        None
    }

    /// Notes a value that is not allowed.
    pub(crate) fn refuse(&mut self, key: &str, place: &Range<usize>, allowed: String) {
        let fault =
            Fault::Value { key: key.to_owned(), value: self.document.shown(place), allowed };
        self.problems.push(self.document.problem(place, fault));
    }

    /// Notes a value that was left out and has no default.
    pub(crate) fn miss(&mut self, key: &str, section: &Range<usize>, allowed: &str) {
        let fault = Fault::Missing { key: key.to_owned(), allowed: allowed.to_owned() };
        self.problems.push(self.document.problem(section, fault));
    }
}

/// For numbers that a range has checked not to be negative.
pub(crate) fn to_usize(number: i64) -> usize {
    usize::try_from(number).expect("the range was checked")
}

/// See [`to_usize`].
pub(crate) fn to_bytes(number: i64) -> ByteCount {
    ByteCount(u64::try_from(number).expect("the range was checked"))
}

/// See [`to_usize`].
pub(crate) fn to_millis(number: i64) -> Millis {
    Millis(u64::try_from(number).expect("the range was checked"))
}
