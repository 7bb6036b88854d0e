//! The running daemon, asked through its control socket.
//! Never retries: a request that broke off may have been done.

use crate::failure::from_client;
use bytes::Bytes;
use quar_store::{Query, UsageBy};
use quard::api::{
    DeleteReply, MessageDetail, MessagePage, PutReply, UnholdReply, UsageReply, usage_by_name,
};
use quard::client::Client;
use quard::daemon::handle::Arrived;
use quard::intake::Mail;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// A connection to a daemon.
pub struct Daemon {
    runtime: Runtime,
    client: Client,
    socket: PathBuf,
}

impl Daemon {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or access is denied.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Client::connect(socket))?;
        Ok(Self { runtime, client, socket: socket.to_owned() })
    }

    /// Connects once more.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn another(&self) -> anyhow::Result<Self> {
        Self::connect(&self.socket)
    }

    pub(super) fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(self.client.get(path));
        answer.map_err(from_client)
    }

    pub(super) fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(self.client.post(path, body));
        answer.map_err(from_client)
    }

    pub(super) fn put(&mut self, mail: Mail, arrived: Arrived) -> anyhow::Result<PutReply> {
        let query = put_query(&mail, arrived);
        let path = format!("/v1/messages?{}", query_string(&query));
        let answer = self.runtime.block_on(self.client.upload(&path, mail.body));
        answer.map_err(from_client)
    }

    pub(super) fn list(&mut self, query: &Query) -> anyhow::Result<MessagePage> {
        let query = list_query(query);
        self.get(&format!("/v1/messages?{}", query_string(&query)))
    }

    pub(super) fn list_under_replicated(&mut self, query: &Query) -> anyhow::Result<MessagePage> {
        let mut query = list_query(query);
        query.push(("under_replicated", "true".to_owned()));
        self.get(&format!("/v1/messages?{}", query_string(&query)))
    }

    pub(super) fn usage(&mut self, query: &Query, by: UsageBy) -> anyhow::Result<UsageReply> {
        let mut pairs = filter_pairs(query);
        pairs.push(("by", usage_by_name(by).to_owned()));
        self.get(&format!("/v1/usage?{}", query_string(&pairs)))
    }

    pub(super) fn show(&mut self, id: &str) -> anyhow::Result<MessageDetail> {
        self.get(&format!("/v1/messages/{id}"))
    }

    pub(super) fn body(&mut self, id: &str) -> anyhow::Result<Bytes> {
        self.bytes(&format!("/v1/messages/{id}/body"))
    }

    pub(super) fn bytes(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let answer = self.runtime.block_on(self.client.bytes(path));
        answer.map_err(from_client)
    }

    pub(super) fn delete(
        &mut self,
        id: &str,
        recipients: &[String],
    ) -> anyhow::Result<DeleteReply> {
        let query: Vec<_> = recipients.iter().map(|one| ("recipient", one.clone())).collect();
        let path = match query.is_empty() {
            true => format!("/v1/messages/{id}"),
            false => format!("/v1/messages/{id}?{}", query_string(&query)),
        };
        self.delete_at(&path)
    }

    pub(super) fn unhold(&mut self, id: &str) -> anyhow::Result<UnholdReply> {
        self.delete_at(&format!("/v1/messages/{id}/hold"))
    }

    fn delete_at<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(self.client.delete(path));
        answer.map_err(from_client)
    }
}

type Pairs = Vec<(&'static str, String)>;

fn put_query(mail: &Mail, arrived: Arrived) -> Pairs {
    let envelope = &mail.envelope;
    let mut query: Pairs = vec![
        ("class", mail.class.to_string()),
        ("sender", envelope.sender.clone()),
        ("queue_id", envelope.queue_id.clone()),
        ("client_address", envelope.client_address.clone()),
        ("helo", envelope.helo.clone()),
        ("reason", mail.reason.clone()),
        ("score", (f64::from(mail.score_milli) / 1000.0).to_string()),
    ];
    query.extend(envelope.recipients.iter().map(|to| ("recipient", to.clone())));
    if let Arrived::Imported(at) = arrived {
        query.push(("imported", "true".to_owned()));
        query.push(("received", at.0.to_string()));
    }
    query
}

fn list_query(query: &Query) -> Pairs {
    let mut pairs: Pairs = vec![("limit", query.limit.to_string())];
    pairs.extend(filter_pairs(query));
    pairs.extend(query.before.map(|id| ("before", id.to_string())));
    pairs
}

fn filter_pairs(query: &Query) -> Pairs {
    let mut pairs = Pairs::new();
    pairs.extend(query.classes.iter().map(|class| ("class", class.to_string())));
    pairs.extend(query.subject_words.iter().map(|word| ("subject", word.clone())));
    let some = [
        ("from", query.from.map(|day| day.to_string())),
        ("to", query.to.map(|day| day.to_string())),
        ("sender", query.sender.clone()),
        ("recipient", query.recipient.clone()),
    ];
    pairs.extend(some.into_iter().filter_map(|(name, value)| Some((name, value?))));
    pairs
}

/// Names and values as they stand in a URL; every byte that could mean something is escaped.
fn query_string(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{list_query, put_query, query_string};
    use quar_base::class::Class;
    use quar_base::time::{Day, UnixMillis};
    use quar_store::Query;
    use quard::daemon::handle::Arrived;
    use quard::intake::Mail;

    #[test]
    fn values_cannot_break_out_of_the_query() {
        let pairs = [("sender", "a+b&c=d#%@\u{fc} \r\n".to_owned()), ("x", String::new())];
        assert_eq!(query_string(&pairs), "sender=a%2Bb%26c%3Dd%23%25%40%C3%BC%20%0D%0A&x=");
    }

    #[test]
    fn an_import_says_so_and_when() {
        let mut mail = Mail {
            class: Class::VIRUS,
            envelope: quar_base::arrival::Envelope::default(),
            body: bytes::Bytes::new(),
            score_milli: -1500,
            reason: String::new(),
        };
        mail.envelope.recipients = vec!["a@x".into(), "b@x".into()];
        let query = query_string(&put_query(&mail, Arrived::Imported(UnixMillis(5000))));
        assert!(query.starts_with("class=virus&sender=&"), "{query}");
        let ending = "score=-1.5&recipient=a%40x&recipient=b%40x&imported=true&received=5000";
        assert!(query.ends_with(ending), "{query}");
        assert!(!query_string(&put_query(&mail, Arrived::Now)).contains("imported"));
    }

    #[test]
    fn a_listing_asks_for_what_is_set_only() {
        let query = Query {
            classes: vec![Class::SPAM, Class::VIRUS],
            from: Some(Day(0)),
            subject_words: vec!["two words".into()],
            limit: 7,
            ..Query::default()
        };
        assert_eq!(
            query_string(&list_query(&query)),
            "limit=7&class=spam&class=virus&subject=two%20words&from=1970-01-01"
        );
    }
}
