//! TOML that people write, and complaints about it that name file, line, key and what is allowed.
//! Never decides what a value means: it knows keys and types only.

use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Longest value repeated in a complaint, in characters.
const SHOWN_MAX: usize = 60;

/// What may stand under a key.
pub(crate) enum Shape {
    /// Text in quotes.
    Text,
    /// Text, or a list of texts.
    Texts,
    /// An integer.
    Number,
    /// An integer, or a word in quotes.
    NumberOrWord,
    /// A boolean.
    Switch,
    /// A table with these keys.
    Table(&'static [(&'static str, Shape)]),
    /// An array of tables with these keys.
    Tables(&'static [(&'static str, Shape)]),
    /// A table whose keys are names of one kind.
    Named(&'static Naming),
}

/// Keys that are no fixed list.
pub(crate) struct Naming {
    /// Whether a key is such a name.
    pub(crate) accepts: fn(&str) -> bool,
    /// The usual names.
    pub(crate) usual: fn() -> Vec<String>,
    /// What stands under each.
    pub(crate) value: Shape,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file; none for what was not read from one.
    pub file: Option<PathBuf>,
    /// On which line, from 1.
    pub line: Option<usize>,
    /// What it is.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// A key that means nothing here.
    #[error("unknown key {key:?}; {advice}")]
    UnknownKey {
        /// The whole key, with its sections.
        key: String,
        /// What was probably meant, or what there is.
        advice: Advice,
    },
    /// A value of another type.
    #[error("{key} must be {allowed}, not {found}")]
    Type {
        /// The whole key.
        key: String,
        /// Which type was found.
        found: &'static str,
        /// Which type is needed.
        allowed: &'static str,
    },
    /// A value that is not allowed.
    #[error("{key} = {value} is not allowed: it must be {allowed}")]
    Value {
        /// The whole key.
        key: String,
        /// The value as written.
        value: String,
        /// What is.
        allowed: String,
    },
    /// A key that has no default was left out.
    #[error("{key} is missing: it must be {allowed}")]
    Missing {
        /// The whole key.
        key: String,
        /// What it must be.
        allowed: String,
    },
}

/// What to write instead of an unknown key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A known key is spelt nearly so.
    Nearest(String),
    /// The key exists, in another section.
    Section(String),
    /// Nothing is near: these there are.
    Known(Vec<String>),
}

/// Everything that is wrong, in the order of the lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(key) => write!(f, "did you mean {key:?}?"),
            Self::Section(section) => write!(f, "it belongs under [{section}]"),
            Self::Known(keys) => write!(f, "known here: {}", keys.join(", ")),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, _) => {}
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file's text, and where it came from.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl Document<'_> {
    /// Reads the text as `T`, all of whose keys and types `keys` lists.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        keys: &'static [(&'static str, Shape)],
    ) -> Result<T, Problems> {
        let table = DeTable::parse(self.text).map_err(|error| self.syntax(&error))?;
        let mut problems = Vec::new();
        self.check_table(table.get_ref(), keys, keys, "", &mut problems);
        if !problems.is_empty() {
            return Err(in_order(problems));
        }
        toml::from_str(self.text).map_err(|error| self.syntax(&error))
    }

    /// A complaint about the text at `span`.
    pub(crate) fn problem(&self, span: &Range<usize>, fault: Fault) -> Problem {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Problem { file: Some(self.file.to_owned()), line: Some(line), fault }
    }

    /// The text at `span`, as written.
    pub(crate) fn shown(&self, span: &Range<usize>) -> String {
        let text = self.text.get(span.clone()).unwrap_or_default();
        let mut shown: String = text.chars().take(SHOWN_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }

    fn syntax(&self, error: &toml::de::Error) -> Problems {
        let fault = Fault::Syntax(error.message().to_owned());
        let whole =
            || Problem { file: Some(self.file.to_owned()), line: None, fault: fault.clone() };
        let problem = error.span().map(|span| self.problem(&span, fault.clone()));
        Problems(vec![problem.unwrap_or_else(whole)])
    }

    fn check_table(
        &self,
        table: &DeTable<'_>,
        keys: &'static [(&'static str, Shape)],
        all: &'static [(&'static str, Shape)],
        section: &str,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let whole = format!("{section}{name}");
            let Some((_, shape)) = keys.iter().find(|(known, _)| *known == name) else {
                let known = keys.iter().map(|(known, _)| (*known).to_owned()).collect();
                let advice = advice(name, known, all);
                let fault = Fault::UnknownKey { key: whole, advice };
                problems.push(self.problem(&key.span(), fault));
                continue;
            };
            self.check_value((value.get_ref(), value.span()), shape, all, &whole, problems);
        }
    }

    fn check_value(
        &self,
        (value, span): (&DeValue<'_>, Range<usize>),
        shape: &'static Shape,
        all: &'static [(&'static str, Shape)],
        key: &str,
        problems: &mut Vec<Problem>,
    ) {
        let section = format!("{key}.");
        match (shape, value) {
            (Shape::Table(keys), DeValue::Table(table)) => {
                self.check_table(table, keys, all, &section, problems);
            }
            (Shape::Tables(keys), DeValue::Array(items)) if items.iter().all(is_table) => {
                for table in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    self.check_table(table, keys, all, &section, problems);
                }
            }
            (Shape::Named(naming), DeValue::Table(table)) => {
                self.check_names(table, naming, all, &section, problems);
            }
            (shape, value) if shape.takes(value) => {}
            (shape, value) => {
                let fault = Fault::Type {
                    key: key.to_owned(),
                    found: value.type_str(),
                    allowed: shape.words(),
                };
                problems.push(self.problem(&span, fault));
            }
        }
    }

    fn check_names(
        &self,
        table: &DeTable<'_>,
        naming: &'static Naming,
        all: &'static [(&'static str, Shape)],
        section: &str,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let whole = format!("{section}{name}");
            if (naming.accepts)(name) {
                let value = (value.get_ref(), value.span());
                self.check_value(value, &naming.value, all, &whole, problems);
            } else {
                let advice = advice(name, (naming.usual)(), all);
                let fault = Fault::UnknownKey { key: whole, advice };
                problems.push(self.problem(&key.span(), fault));
            }
        }
    }
}

impl Shape {
    /// Whether a value is of this type; tables are looked into elsewhere.
    fn takes(&self, value: &DeValue<'_>) -> bool {
        match self {
            Self::Text => value.is_str(),
            Self::Texts => {
                let all_texts = |items: &toml::de::DeArray<'_>| {
                    items.iter().all(|item| item.get_ref().is_str())
                };
                value.is_str() || value.as_array().is_some_and(all_texts)
            }
            Self::Number => value.is_integer(),
            Self::NumberOrWord => value.is_integer() || value.is_str(),
            Self::Switch => value.is_bool(),
            Self::Table(_) | Self::Tables(_) | Self::Named(_) => false,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Text => "text in quotes",
            Self::Texts => "text in quotes, or a list of such texts",
            Self::Number => "a whole number",
            Self::NumberOrWord => "a whole number, or a word in quotes",
            Self::Switch => "true or false",
            Self::Table(_) | Self::Named(_) => "a section in [brackets]",
            Self::Tables(_) => "sections in [[double brackets]]",
        }
    }
}

fn is_table(item: &toml::Spanned<DeValue<'_>>) -> bool {
    item.get_ref().is_table()
}

/// Sorts problems by their lines.
pub(crate) fn in_order(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|problem| problem.line);
    Problems(problems)
}

fn advice(name: &str, known: Vec<String>, all: &'static [(&'static str, Shape)]) -> Advice {
    let distance_max = (name.chars().count() / 3).clamp(1, 3);
    let distance = |key: &String| strsim::osa_distance(&name.to_lowercase(), key);
    let nearest = known.iter().min_by_key(|key| distance(key));
    if let Some(nearest) = nearest.filter(|key| distance(key) <= distance_max) {
        return Advice::Nearest(nearest.clone());
    }
    match section_of(name, all) {
        Some(section) => Advice::Section(section.to_owned()),
        None => Advice::Known(known),
    }
}

/// The section that has a key of this name.
fn section_of(name: &str, all: &'static [(&'static str, Shape)]) -> Option<&'static str> {
    let is_it = |(key, shape): &(&str, Shape)| *key == name && !matches!(shape, Shape::Tables(_));
    let has_it = |shape: &Shape| match shape {
        Shape::Table(keys) => keys.iter().any(is_it),
        _ => false,
    };
    let section = all.iter().find(|(_, shape)| has_it(shape));
    section.map(|(section, _)| *section)
}
