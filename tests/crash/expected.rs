//! What a node must have: what it acknowledged, and nothing that nobody sent.
//! Never forgives: a mail whose 250 was heard is there byte for byte, a deleted one is not.

use crate::support::Node;
use bytes::Bytes;
use quar_base::rng::Rng;
use quard::api::{DeleteReply, HoldReply, MessagePage, PutReply, UnholdReply};
use quard::client::{Client, Refused};
use quard::demo::feed::{FeedError, Feeder};
use std::collections::{BTreeMap, BTreeSet};

/// What the mail server heard, or did not hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Taken(String),
    /// The code of the refusal, and its text.
    Refused(u16, String),
    /// The connection died first.
    Nothing,
}

#[derive(Clone, Default)]
pub struct Expected {
    /// Acknowledged.
    pub kept: BTreeMap<String, Bytes>,
    /// Acknowledged, and its deletion too.
    pub gone: BTreeSet<String>,
    /// Acknowledged, and nobody knows whether it was deleted.
    pub unsure: BTreeMap<String, Bytes>,
    /// Sent and not acknowledged: may be there.
    pub unanswered: BTreeSet<Bytes>,
}

/// A mail of about this many bytes that does not compress.
pub fn mail(number: u64, bytes: usize) -> Bytes {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let mut rng = Rng::from_seed(seed);
    let mut text = format!("From: a@example.org\r\nSubject: mail {number}\r\n\r\n").into_bytes();
    while text.len() < bytes {
        text.extend((0..76).map(|_| DIGITS[rng.below(64) as usize]));
        text.extend(b"\r\n");
    }
    text.into()
}

/// Sends a mail to a recipient of this class; a connection that ended is made again.
pub async fn send(node: &Node, feeder: &mut Option<Feeder>, class: &str, body: &Bytes) -> Heard {
    if feeder.is_none() {
        *feeder = Feeder::connect(node.lmtp).await.ok();
    }
    let Some(open) = feeder else { return Heard::Nothing };
    let recipients = [format!("user+{class}@example.net")];
    match open.send("sender@example.org", &recipients, body).await {
        Ok(replies) if replies[0].code == 250 => {
            Heard::Taken(replies[0].text.split_whitespace().last().unwrap().to_owned())
        }
        Ok(replies) => Heard::Refused(replies[0].code, replies[0].text.clone()),
        Err(FeedError::Client(_) | FeedError::Unwelcome(_)) => {
            *feeder = None;
            Heard::Nothing
        }
        Err(error @ FeedError::Lacks(_)) => panic!("{error}"),
    }
}

/// Starts a node, its clock behind, on a store with a day that expires once the clock is right: its
/// files then go, and the index hands all it has to sled.
pub async fn start_before_a_day_expires(node: &mut Node) {
    // From now the mail is two days away at least, from the second start one day at most; and no
    // step is 48 hours long, which would be a clock that jumped, by which nothing is unlinked.
    node.hours_behind = 66;
    node.start_well().await;
    let heard = send(node, &mut None, "policy", &mail(77, 4000)).await;
    assert!(matches!(heard, Heard::Taken(_)), "{heard:?}");
    assert!(node.stop().await.success());
    let before = std::fs::read(node.data().join("last-seen")).unwrap();
    node.hours_behind = 44;
    node.start_well().await;
    let last_seen = || std::fs::read(node.data().join("last-seen")).unwrap();
    let saved = async {
        while last_seen() == before {
            tokio::task::yield_now().await;
        }
    };
    node.watched("the time of the node", saved).await;
    node.hours_behind = 0;
}

impl Expected {
    /// Takes down what was heard of a mail.
    pub fn note(&mut self, body: &Bytes, heard: &Heard) {
        match heard {
            Heard::Taken(id) => {
                assert!(!self.gone.contains(id));
                self.kept.insert(id.clone(), body.clone());
            }
            Heard::Refused(code, text) => {
                assert!((400..500).contains(code), "a mail server gives up on {code} {text}");
                self.unanswered.insert(body.clone());
            }
            Heard::Nothing => drop(self.unanswered.insert(body.clone())),
        }
    }

    /// Deletes a kept message; returns the status of a refusal.
    pub async fn delete(&mut self, client: anyhow::Result<Client>, id: &str) -> Option<u16> {
        let body = self.kept.remove(id).unwrap();
        // From here on it may be gone.
        self.unsure.insert(id.to_owned(), body);
        let mut client = client.ok()?;
        match client.delete::<DeleteReply>(&format!("/v1/messages/{id}")).await {
            Ok(reply) => {
                assert!(reply.gone);
                self.unsure.remove(id);
                self.gone.insert(id.to_owned());
                None
            }
            Err(error) => status_of(&error),
        }
    }

    /// Imports a mail of an earlier day; returns the status of a refusal.
    pub async fn import(
        &mut self,
        client: anyhow::Result<Client>,
        received: &str,
        body: &Bytes,
    ) -> Option<u16> {
        // From here on it may be there.
        self.unanswered.insert(body.clone());
        let path = "/v1/messages?class=nonspam&recipient=user@example.net&imported=true";
        let path = format!("{path}&received={received}");
        match client.ok()?.upload::<PutReply>(&path, body.clone()).await {
            Ok(reply) => {
                self.kept.insert(reply.id, body.clone());
                None
            }
            Err(error) => status_of(&error),
        }
    }

    /// Holds a kept message; returns the held copy's id, or the status of a refusal.
    pub async fn hold(
        &mut self,
        client: anyhow::Result<Client>,
        id: &str,
    ) -> Result<String, Option<u16>> {
        let body = self.kept[id].clone();
        self.unanswered.insert(body.clone());
        let mut client = client.map_err(|_| None)?;
        let reply = client.post::<HoldReply>(&format!("/v1/messages/{id}/hold"), &()).await;
        let held = reply.map_err(|error| status_of(&error))?.id;
        assert!(held.starts_with("held-"), "{held}");
        self.kept.insert(held.clone(), body);
        Ok(held)
    }

    /// Lets go of a held copy; returns the status of a refusal.
    pub async fn unhold(&mut self, client: anyhow::Result<Client>, held: &str) -> Option<u16> {
        let body = self.kept.remove(held).unwrap();
        self.unsure.insert(held.to_owned(), body);
        let mut client = client.ok()?;
        match client.delete::<UnholdReply>(&format!("/v1/messages/{held}/hold")).await {
            Ok(_) => {
                self.unsure.remove(held);
                self.gone.insert(held.to_owned());
                None
            }
            Err(error) => status_of(&error),
        }
    }

    /// Checks everything against a node that runs undisturbed.
    pub async fn check(&self, node: &Node, what: &str) {
        let mut client = node.client().await.unwrap();
        for (id, body) in &self.kept {
            match body_of(&mut client, id).await {
                Ok(read) => assert_eq!(read, *body, "{what}: {id} has other bytes"),
                Err(error) => panic!("{what}: lost {id}: {error:#}\n{}", node.report()),
            }
        }
        for id in &self.gone {
            let error = body_of(&mut client, id).await.expect_err("a deleted mail came back");
            assert_eq!(status_of(&error), Some(404), "{what}: {id}: {error:#}");
        }
        self.check_listing(&mut client, what).await;
    }

    async fn check_listing(&self, client: &mut Client, what: &str) {
        let mut listed = BTreeSet::new();
        let mut before = String::new();
        loop {
            let path = format!("/v1/messages?limit=200{before}");
            let page: MessagePage = client.get(&path).await.unwrap();
            assert_eq!(page.damaged, 0, "{what}");
            listed.extend(page.messages.into_iter().map(|message| message.id));
            let Some(next) = page.next else { break };
            before = format!("&before={next}");
        }
        for id in self.kept.keys() {
            assert!(listed.contains(id), "{what}: {id} is not listed");
        }
        for id in listed.iter().filter(|id| !self.kept.contains_key(*id)) {
            assert!(!self.gone.contains(id), "{what}: {id} was deleted and is listed");
            let body = body_of(client, id).await;
            let body = body.unwrap_or_else(|error| panic!("{what}: {id} is listed: {error:#}"));
            let is_sent = match self.unsure.get(id) {
                Some(sent) => *sent == body,
                None => self.unanswered.contains(&body),
            };
            assert!(is_sent, "{what}: nobody sent {id}");
        }
    }
}

fn status_of(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref::<Refused>().map(|refused| refused.status)
}

pub async fn body_of(client: &mut Client, id: &str) -> anyhow::Result<Bytes> {
    client.bytes(&format!("/v1/messages/{id}/body")).await
}
