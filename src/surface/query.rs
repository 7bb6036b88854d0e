//! Query strings: parameters by name, and the listing that they ask for.
//! Never passes over a parameter that it does not know: a misspelt filter would show too much.

use super::failure::Failure;
use crate::api;
use axum::extract::Query as QueryString;
use axum::http::Uri;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::time::Day;
use quar_store::Query;
use std::fmt::Display;
use std::str::FromStr;

/// Parameters that say which messages are meant.
pub(crate) const FILTERS: [&str; 7] =
    ["class", "day", "from", "to", "sender", "recipient", "subject"];

/// Parameters that a listing has besides.
const LISTING: [&str; 3] = ["before", "limit", "under_replicated"];

/// The parameters of one request.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes a query string apart; each name must be one of `known`.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Failure> {
        let pairs = QueryString::<Vec<(String, String)>>::try_from_uri(uri);
        let QueryString(pairs) =
            pairs.map_err(|_| Failure::invalid("the query string cannot be read"))?;
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(40).collect();
                let known = match known {
                    [] => "there are none".to_owned(),
                    known => format!("there are {}", known.join(", ")),
                };
                return Err(Failure::invalid(format!("unknown parameter {name:?}; {known}")));
            }
        }
        Ok(Self(pairs))
    }

    /// All values of a parameter, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Failure> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(Failure::invalid(format!("{name} may be given once"))),
        }
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let text = self.one(name)?;
        text.map(|text| parse(name, text)).transpose()
    }
}

fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Failure> {
    let parsed = text.parse();
    parsed.map_err(|error| Failure::invalid(format!("{name}: {error}")))
}

/// Whether a listing is to hold only what is on too few disks.
pub(crate) fn is_under_replicated(uri: &Uri) -> Result<bool, Failure> {
    let parameters = Parameters::read(uri, &[&FILTERS[..], &LISTING[..]].concat())?;
    Ok(parameters.parsed("under_replicated")?.unwrap_or(false))
}

/// The listing that a query string asks for.
pub(crate) fn listing(uri: &Uri) -> Result<Query, Failure> {
    let parameters = Parameters::read(uri, &[&FILTERS[..], &LISTING[..]].concat())?;
    let limit: usize = parameters.parsed("limit")?.unwrap_or(api::PAGE_DEFAULT);
    if !(1..=api::PAGE_MAX).contains(&limit) {
        let error = format!("limit: {limit} is not a number from 1 to {}", api::PAGE_MAX);
        return Err(Failure::invalid(error));
    }
    let before: Option<MessageId> = parameters.parsed("before")?;
    Ok(Query { before, limit, ..filters(&parameters)? })
}

/// Which messages the parameters mean; all, when none of [`FILTERS`] is given.
pub(crate) fn filters(parameters: &Parameters) -> Result<Query, Failure> {
    let classes = parameters.all("class").map(|text| parse::<Class>("class", text));
    let classes = classes.collect::<Result<Vec<_>, _>>()?;
    let day: Option<Day> = parameters.parsed("day")?;
    let (from, to) = (parameters.parsed("from")?, parameters.parsed("to")?);
    if day.is_some() && (from.is_some() || to.is_some()) {
        return Err(Failure::invalid("day goes without from and to"));
    }
    let words = parameters.all("subject").flat_map(str::split_whitespace);
    Ok(Query {
        classes,
        from: day.or(from),
        to: day.or(to),
        sender: parameters.one("sender")?.map(str::to_owned),
        recipient: parameters.one("recipient")?.map(str::to_owned),
        subject_words: words.map(str::to_owned).collect(),
        ..Query::default()
    })
}

#[cfg(test)]
mod tests {
    use super::{Parameters, is_under_replicated, listing};
    use axum::http::Uri;
    use quar_base::class::Class;
    use quar_base::time::Day;

    fn uri(query: &str) -> Uri {
        format!("/v1/messages?{query}").parse().unwrap()
    }

    #[test]
    fn a_listing_says_what_was_asked() {
        let query = "class=spam&class=virus&day=2026-11-23&sender=a%2Bb%40x&subject=one+two\
                     &subject=three&limit=7&recipient=";
        let query = listing(&uri(query)).unwrap();
        assert_eq!(query.classes, [Class::SPAM, Class::VIRUS]);
        assert_eq!((query.from, query.to), (Some(Day(20_780)), Some(Day(20_780))));
        assert_eq!(query.sender.as_deref(), Some("a+b@x"));
        assert_eq!(query.subject_words, ["one", "two", "three"]);
        assert_eq!(query.limit, 7);
        assert_eq!(listing(&uri("")).unwrap().limit, 50);
    }

    #[test]
    fn refuses_each_parameter_that_is_wrong_by_its_name() {
        for (query, named) in [
            ("colour=red", "colour"),
            ("class=ham", "class"),
            ("day=yesterday", "day"),
            ("day=2026-11-23&from=2026-11-22", "day"),
            ("from=2026-02-30", "from"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("limit=5&limit=6", "limit"),
            ("before=spam", "before"),
        ] {
            let failure = listing(&uri(query)).expect_err(query);
            assert_eq!(failure.kind(), "invalid");
            assert!(format!("{failure:?}").contains(named), "{failure:?}");
        }
    }

    #[test]
    fn a_listing_is_of_what_is_on_too_few_disks_only_when_that_is_asked_for() {
        assert!(is_under_replicated(&uri("under_replicated=some")).is_err());
        assert!(!is_under_replicated(&uri("limit=7")).unwrap());
        assert!(is_under_replicated(&uri("class=spam&under_replicated=true")).unwrap());
    }

    #[test]
    fn a_request_without_parameters_takes_none() {
        assert!(Parameters::read(&uri("x=1"), &[]).is_err());
        assert!(Parameters::read(&uri(""), &[]).is_ok());
    }
}
