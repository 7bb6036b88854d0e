//! The plan of a static cluster: who its members are, as the administrator writes it.
//! Never holds an id or a key: those are made.
//!
//! ```toml
//! [[member]]
//! name = "mx1"                      # letters, digits, '.', '-' and '_'
//! node_number = 1                   # 0 to 65535; Baruwa's Cluster id
//! addresses = ["mx1.example:1027"]  # one or a list, in order of preference
//! location = "Cape Town"            # may be left out
//! ```

use crate::authority::{AUTHORITY_DIRECTORY, AuthorityError};
use crate::config::address::is_host_port;
use crate::config::document::{Document, Fault, Problem, Problems, Shape, in_order};
use crate::config::files;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Most members of a cluster: every one speaks with every other and holds everything.
const MEMBERS_MAX: usize = 15;
const ADDRESSES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 64;
const LOCATION_BYTES_MAX: usize = 64;

const KEYS: &[(&str, Shape)] = &[(
    "member",
    Shape::Tables(&[
        ("name", Shape::Text),
        ("node_number", Shape::Number),
        ("addresses", Shape::Texts),
        ("location", Shape::Text),
    ]),
)];

/// Who is to be in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPlan {
    /// All members.
    pub members: Vec<PlannedMember>,
}

/// One member to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMember {
    /// Its name; also its directory's.
    pub name: String,
    /// What Baruwa calls the node's Cluster id.
    pub node_number: u16,
    /// `host:port` under which its peers reach it, in order of preference.
    pub addresses: Vec<String>,
    /// Where it stands; empty when unknown.
    pub location: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanText {
    #[serde(default, rename = "member")]
    members: Vec<Spanned<MemberText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberText {
    name: Option<Spanned<String>>,
    node_number: Option<Spanned<i64>>,
    addresses: Option<Spanned<Addresses>>,
    location: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(String),
    More(Vec<String>),
}

/// What is wrong with a member, and with which of its keys.
struct Wrong {
    member: usize,
    key: &'static str,
    value: String,
    allowed: String,
}

/// Where a member's keys stand in the file; its section for keys that were left out.
struct Places {
    section: Range<usize>,
    keys: BTreeMap<&'static str, Range<usize>>,
}

impl StaticPlan {
    /// Reads and checks a plan's file.
    ///
    /// # Errors
    /// [`AuthorityError::Read`], [`AuthorityError::Plan`].
    pub fn load(file: &Path) -> Result<Self, AuthorityError> {
        let text = files::read_text(file)
            .map_err(|source| AuthorityError::Read { file: file.to_owned(), source })?;
        Ok(Self::parse(&text, file)?)
    }

    /// Checks a plan that was read from `file`.
    ///
    /// # Errors
    /// All [`Problems`], each with its line.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        let document = Document { file, text };
        let written: PlanText = document.read(KEYS)?;
        let mut problems = Vec::new();
        let mut members = Vec::new();
        let mut places = Vec::new();
        for section in written.members {
            let span = section.span();
            let (member, keys) = section.into_inner().read(document, &span, &mut problems);
            members.extend(member);
            places.push(Places { section: span, keys });
        }
        if !problems.is_empty() {
            return Err(in_order(problems));
        }
        let plan = Self { members };
        let wrong = plan.faults().into_iter().map(|wrong| {
            let place = places
                .get(wrong.member)
                .map(|member| member.keys.get(wrong.key).unwrap_or(&member.section));
            match place {
                Some(place) => document.problem(place, wrong.fault()),
                None => Problem { file: Some(file.to_owned()), line: None, fault: wrong.fault() },
            }
        });
        let problems: Vec<Problem> = wrong.collect();
        if problems.is_empty() { Ok(plan) } else { Err(in_order(problems)) }
    }

    /// Checks a plan that was not read from a file.
    ///
    /// # Errors
    /// All [`Problems`].
    pub fn check(&self) -> Result<(), Problems> {
        let faults = self.faults();
        let problems =
            faults.iter().map(|wrong| Problem { file: None, line: None, fault: wrong.fault() });
        let problems: Vec<Problem> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    fn faults(&self) -> Vec<Wrong> {
        let mut faults = Vec::new();
        if !(1..=MEMBERS_MAX).contains(&self.members.len()) {
            faults.push(Wrong {
                member: usize::MAX,
                key: "",
                value: format!("{} sections", self.members.len()),
                allowed: format!("1 to {MEMBERS_MAX} sections [[member]]"),
            });
        }
        for (at, member) in self.members.iter().enumerate() {
            let earlier = &self.members[..at];
            let wrong = member.faults(earlier).into_iter();
            faults.extend(wrong.map(|(key, value, allowed)| Wrong {
                member: at,
                key,
                value,
                allowed,
            }));
        }
        faults
    }
}

impl PlannedMember {
    /// Key, value, and what is allowed, of everything that is wrong.
    fn faults(&self, earlier: &[Self]) -> Vec<(&'static str, String, String)> {
        let mut faults = Vec::new();
        let mut refuse = |key, value: String, allowed: String| faults.push((key, value, allowed));
        if !is_directory_name(&self.name) {
            let allowed = format!(
                "1 to {NAME_BYTES_MAX} letters, digits, '.', '-' or '_', beginning with a letter \
                 or digit, and not {AUTHORITY_DIRECTORY:?}: a directory is named like it"
            );
            refuse("name", format!("{:?}", self.name), allowed);
        }
        if earlier.iter().any(|other| other.name == self.name) {
            let allowed = "a name that no other member has".to_owned();
            refuse("name", format!("{:?}", self.name), allowed);
        }
        let number = self.node_number;
        if let Some(other) = earlier.iter().find(|other| other.node_number == number) {
            let allowed = format!("a number that no other member has; {} has it", other.name);
            refuse("node_number", number.to_string(), allowed);
        }
        if !(1..=ADDRESSES_MAX).contains(&self.addresses.len()) {
            let value = format!("{} addresses", self.addresses.len());
            refuse("addresses", value, format!("1 to {ADDRESSES_MAX} addresses"));
        }
        for (at, address) in self.addresses.iter().enumerate() {
            let shown = format!("{address:?}");
            let all = earlier.iter().flat_map(|other| &other.addresses);
            if !is_host_port(address) {
                let allowed = "host:port, such as \"mx1.example:1027\" or \"[2001:db8::1]:1027\"";
                refuse("addresses", shown, allowed.to_owned());
            } else if all.chain(&self.addresses[..at]).any(|other| other == address) {
                let allowed = "an address that stands nowhere else in the plan".to_owned();
                refuse("addresses", shown, allowed);
            }
        }
        let location = &self.location;
        if location.len() > LOCATION_BYTES_MAX || location.chars().any(char::is_control) {
            let allowed = format!("at most {LOCATION_BYTES_MAX} bytes of text on one line");
            refuse("location", format!("{location:?}"), allowed);
        }
        faults
    }
}

impl Wrong {
    fn fault(&self) -> Fault {
        let key =
            if self.key.is_empty() { "member".to_owned() } else { format!("member.{}", self.key) };
        Fault::Value { key, value: self.value.clone(), allowed: self.allowed.clone() }
    }
}

impl MemberText {
    /// The member, when no key is missing and the number is one, and where its keys stand.
    fn read(
        self,
        document: Document<'_>,
        section: &Range<usize>,
        problems: &mut Vec<Problem>,
    ) -> (Option<PlannedMember>, BTreeMap<&'static str, Range<usize>>) {
        let mut places = BTreeMap::new();
        let mut miss = |key: &str, allowed: &str| {
            let fault = Fault::Missing { key: key.to_owned(), allowed: allowed.to_owned() };
            problems.push(document.problem(section, fault));
        };
        let name = placed("name", self.name, &mut places);
        if name.is_none() {
            miss("member.name", "a name");
        }
        let addresses = placed("addresses", self.addresses, &mut places);
        if addresses.is_none() {
            miss("member.addresses", "host:port, or a list of these");
        }
        let number = placed("node_number", self.node_number, &mut places);
        if number.is_none() {
            miss("member.node_number", NUMBER);
        }
        let location = placed("location", self.location, &mut places).unwrap_or_default();
        let node_number = number.and_then(|number| u16::try_from(number).ok());
        if let (Some(number), None) = (number, node_number) {
            let fault = Fault::Value {
                key: "member.node_number".to_owned(),
                value: number.to_string(),
                allowed: NUMBER.to_owned(),
            };
            problems.push(document.problem(&places["node_number"], fault));
        }
        let member = name.zip(addresses).zip(node_number);
        let member = member.map(|((name, addresses), node_number)| PlannedMember {
            name,
            node_number,
            addresses: match addresses {
                Addresses::One(address) => vec![address],
                Addresses::More(addresses) => addresses,
            },
            location,
        });
        (member, places)
    }
}

const NUMBER: &str = "a number from 0 to 65535 that no other member has";

fn placed<T>(
    key: &'static str,
    written: Option<Spanned<T>>,
    places: &mut BTreeMap<&'static str, Range<usize>>,
) -> Option<T> {
    let written = written?;
    places.insert(key, written.span());
    Some(written.into_inner())
}

/// A name that is a plain directory's wherever it is put.
fn is_directory_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(is_plain)
        && name != AUTHORITY_DIRECTORY
}

#[cfg(test)]
mod tests;
