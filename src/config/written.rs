//! quard.toml as written: every key may be left out.
//! Never fills in a default and never judges a value.

use crate::config::document::{Naming, Shape};
use quar_base::class::Class;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// A value with its place in the file.
pub(crate) type Key<T> = Option<Spanned<T>>;

/// Every key there is, with its type.
pub(crate) const KEYS: &[(&str, Shape)] = &[
    ("node", Shape::Table(&[("name", Shape::Text)])),
    (
        "sync",
        Shape::Table(&[
            ("listen", Shape::Text),
            ("tcp", Shape::Switch),
            ("quic", Shape::Switch),
            ("copies", Shape::Number),
            ("copies_timeout_ms", Shape::Number),
            ("push_bytes_max", Shape::Number),
            ("rate", Shape::Number),
        ]),
    ),
    (
        "lmtp",
        Shape::Table(&[
            ("listen", Shape::Texts),
            ("class", Shape::Text),
            ("class_from_extension", Shape::Switch),
            ("message_bytes_max", Shape::Number),
        ]),
    ),
    (
        "http",
        Shape::Table(&[
            ("listen", Shape::Text),
            (
                "token",
                Shape::Tables(&[
                    ("name", Shape::Text),
                    ("role", Shape::Text),
                    ("hash", Shape::Text),
                ]),
            ),
        ]),
    ),
    (
        "release",
        Shape::Table(&[
            ("host", Shape::Text),
            ("helo", Shape::Text),
            ("connect_timeout_ms", Shape::Number),
            ("reply_timeout_ms", Shape::Number),
            ("data_timeout_ms", Shape::Number),
        ]),
    ),
    ("delete", Shape::Table(&[("brake_per_minute", Shape::Number)])),
    ("retention", Shape::Named(&CLASSES)),
    ("pressure", Shape::Named(&PRESSURES)),
    ("disk", Shape::Table(&[("min_free_mb", Shape::Number), ("reserve_mb", Shape::Number)])),
    (
        "upkeep",
        Shape::Table(&[
            ("pack", Shape::Switch),
            ("pack_mb_per_s", Shape::Number),
            ("check_mb_per_s", Shape::Number),
            ("erase_after_s", Shape::Number),
        ]),
    ),
    ("log", Shape::Table(&[("format", Shape::Text), ("level", Shape::Text)])),
    ("runtime", Shape::Table(&[("worker_threads", Shape::Number)])),
];

const CLASSES: Naming = Naming {
    accepts: |name| name.parse::<Class>().is_ok(),
    usual: || Class::known().map(|class| class.to_string()).collect(),
    value: Shape::NumberOrWord,
};

const PRESSURES: Naming = Naming { value: Shape::Text, ..CLASSES };

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Written {
    pub(crate) node: Node,
    pub(crate) sync: Sync,
    pub(crate) lmtp: Lmtp,
    pub(crate) http: Http,
    pub(crate) release: Release,
    pub(crate) delete: Delete,
    pub(crate) retention: BTreeMap<String, Spanned<Days>>,
    pub(crate) pressure: BTreeMap<String, Spanned<String>>,
    pub(crate) disk: Disk,
    pub(crate) upkeep: Upkeep,
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) name: Key<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sync {
    pub(crate) listen: Key<String>,
    pub(crate) tcp: Key<bool>,
    pub(crate) quic: Key<bool>,
    pub(crate) copies: Key<i64>,
    pub(crate) copies_timeout_ms: Key<i64>,
    pub(crate) push_bytes_max: Key<i64>,
    pub(crate) rate: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lmtp {
    pub(crate) listen: Key<OneOrMore>,
    pub(crate) class: Key<String>,
    pub(crate) class_from_extension: Key<bool>,
    pub(crate) message_bytes_max: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) listen: Key<String>,
    #[serde(rename = "token")]
    pub(crate) tokens: Vec<Spanned<Token>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Token {
    pub(crate) name: Key<String>,
    pub(crate) role: Key<String>,
    pub(crate) hash: Key<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) host: Key<String>,
    pub(crate) helo: Key<String>,
    pub(crate) connect_timeout_ms: Key<i64>,
    pub(crate) reply_timeout_ms: Key<i64>,
    pub(crate) data_timeout_ms: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delete {
    pub(crate) brake_per_minute: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Disk {
    pub(crate) min_free_mb: Key<i64>,
    pub(crate) reserve_mb: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Upkeep {
    pub(crate) pack: Key<bool>,
    pub(crate) pack_mb_per_s: Key<i64>,
    pub(crate) check_mb_per_s: Key<i64>,
    pub(crate) erase_after_s: Key<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: Key<String>,
    pub(crate) level: Key<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runtime {
    pub(crate) worker_threads: Key<i64>,
}

/// One text, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

/// A number of days, or a word.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Days {
    Number(i64),
    Word(String),
}
