//! Reads every message back from every node and compares every byte.
//! Never trusts what a node says of itself beyond the list of what it shows.

use crate::api::MessagePage;
use crate::client::{Client, Refused};
use crate::demo::cluster::NodeProcess;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many readers ask one node at a time.
const READERS: usize = 4;

/// What a node should show.
#[derive(Default)]
pub struct Expected {
    /// Bodies by message id.
    pub kept: BTreeMap<String, Bytes>,
    /// Ids and bodies of deleted messages.
    pub deleted: BTreeMap<String, Bytes>,
}

/// What was found wrong, over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages that a node should show and does not, or cannot read.
    pub lost: u64,
    /// Messages whose bytes differ or are damaged.
    pub corrupted: u64,
    /// Deleted messages that a node shows, under their own id or with the same bytes under another.
    pub resurrected: u64,
}

/// Checks one node.
///
/// # Errors
/// When the node does not answer.
pub async fn check_node(
    node: &NodeProcess,
    expected: &Arc<Expected>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> anyhow::Result<Findings> {
    let shown = list_all(&mut node.client().await?).await?;
    let mut findings = Findings::default();
    let missing = expected.kept.keys().filter(|id| !shown.contains(*id)).count();
    findings.lost += missing as u64;
    let shown: Vec<String> = shown.into_iter().collect();
    let mut readers = tokio::task::JoinSet::new();
    for part in shown.chunks(shown.len().div_ceil(READERS).max(1)) {
        let mut client = node.client().await?;
        let (part, expected, progress) = (part.to_vec(), expected.clone(), progress.clone());
        readers.spawn(async move {
            let deleted: BTreeSet<&Bytes> = expected.deleted.values().collect();
            let mut findings = Findings::default();
            for id in &part {
                check_message(&mut client, id, &expected, &deleted, &mut findings).await?;
                progress(1);
            }
            anyhow::Ok(findings)
        });
    }
    while let Some(done) = readers.join_next().await {
        let part = done??;
        findings.lost += part.lost;
        findings.corrupted += part.corrupted;
        findings.resurrected += part.resurrected;
    }
    Ok(findings)
}

async fn check_message(
    client: &mut Client,
    id: &str,
    expected: &Expected,
    deleted: &BTreeSet<&Bytes>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let body = match client.bytes(&format!("/v1/messages/{id}/body")).await {
        Ok(body) => body,
        Err(error) => {
            match error.downcast_ref::<Refused>() {
                Some(refused) if refused.reply.kind == "damaged" => findings.corrupted += 1,
                Some(_) => findings.lost += 1,
                None => return Err(error),
            }
            return Ok(());
        }
    };
    if expected.deleted.contains_key(id) || deleted.contains(&body) {
        findings.resurrected += 1;
    } else if expected.kept.get(id).is_some_and(|kept| *kept != body) {
        findings.corrupted += 1;
    }
    Ok(())
}

/// Ids of everything that a node shows.
async fn list_all(client: &mut Client) -> anyhow::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    let mut before = String::new();
    loop {
        let page: MessagePage = client.get(&format!("/v1/messages?limit=1000{before}")).await?;
        ids.extend(page.messages.into_iter().map(|message| message.id));
        match page.next {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(ids),
        }
    }
}
