//! Classes of quarantined mail: the one list of their numbers, names and default retentions.
//! Never builds a path or a name from a number that it does not know, other than `class-N`.

use std::fmt;
use std::str::FromStr;

/// A class of mail, each with a retention of its own.
///
/// Numbers that this version does not know are kept and forwarded, and shown as `class-N`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

/// Number, name, default retention in days (`None`: kept until deleted).
const KNOWN: [(u8, &str, Option<u32>); 6] = [
    (1, "spam", Some(30)),
    (2, "nonspam", Some(30)),
    (3, "virus", Some(30)),
    (4, "policy", Some(30)),
    (5, "archive", Some(365)),
    (6, "held", None),
];

impl Class {
    /// Unsolicited mail.
    pub const SPAM: Self = Self(1);
    /// Mail that was put aside although it is no spam.
    pub const NONSPAM: Self = Self(2);
    /// Mail with malware.
    pub const VIRUS: Self = Self(3);
    /// Mail that a site's own rules stopped.
    pub const POLICY: Self = Self(4);
    /// Mail kept for the record.
    pub const ARCHIVE: Self = Self(5);
    /// Copies that an operator holds, until unheld.
    pub const HELD: Self = Self(6);

    /// All classes that this version names.
    pub fn known() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|(number, _, _)| Self(*number))
    }

    /// The classes that mail is put into: held messages are made by holding one, and never taken
    /// from outside.
    pub fn of_mail() -> impl Iterator<Item = Self> {
        Self::known().filter(|class| *class != Self::HELD)
    }

    /// Days that a class keeps its mail unless settings say otherwise; `None` keeps it.
    #[must_use]
    pub fn default_retention_days(self) -> Option<u32> {
        match KNOWN.iter().find(|known| known.0 == self.0) {
            Some((_, _, days)) => *days,
            None => Some(30),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|known| known.0 == self.0) {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "class-{}", self.0),
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A class name that is not in the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a class; there are spam, nonspam, virus, policy, archive, held and class-N (N from 0 to 255)"
)]
pub struct ClassNameError(pub String);

impl FromStr for Class {
    type Err = ClassNameError;

    fn from_str(text: &str) -> Result<Self, ClassNameError> {
        if let Some((number, _, _)) = KNOWN.iter().find(|known| known.1 == text) {
            return Ok(Self(*number));
        }
        text.strip_prefix("class-")
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ClassNameError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn every_number_has_a_name_that_parses_back() {
        for number in 0..=255 {
            let class = Class(number);
            assert_eq!(class.to_string().parse(), Ok(class));
        }
    }

    #[test]
    fn refuses_a_name_that_could_be_a_path() {
        assert!("../spam".parse::<Class>().is_err());
        assert!("class-+1".parse::<Class>().is_err());
        assert!("class-256".parse::<Class>().is_err());
    }
}
