//! `fsck`, `erasure-check`: what lies on disk, and whether it is as it should be.
//! Never mends a segment: what is damaged is named, and taken from peers by the daemon.

use super::opened::Opened;
use crate::arguments::{ErasureCheck, Fsck};
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, count, plain, size};
use crate::progress::Progress;
use anyhow::Context;
use quar_base::key::Bucket;
use quar_store::{Finding, Store};
use quard::api::{CheckReply, ErasureReply};
use serde::Serialize;
use std::sync::Mutex;

/// Messages of which is told who has them.
const HOLDERS_SHOWN: usize = 100;

/// What `fsck` says at its end.
#[derive(Serialize, Default)]
pub struct Summary {
    buckets: u64,
    segments: u64,
    blocks: u64,
    bytes: u64,
    records: u64,
    bodies: u64,
    pub findings: Vec<String>,
    /// Messages and actions that are damaged, by their ids.
    damaged: Vec<String>,
    /// Files that the store does not use.
    strays: Vec<String>,
    /// Which members have a message that is damaged here, in words; on a running node only.
    holders: Vec<Holder>,
    /// What opening found; `null` on a running node.
    opened: Option<Opened>,
}

/// Who has a message.
#[derive(Serialize)]
struct Holder {
    id: String,
    copies: String,
}

impl Summary {
    pub fn add(&mut self, reply: CheckReply) {
        self.buckets += 1;
        self.segments += reply.segments;
        self.blocks += reply.blocks;
        self.bytes += reply.bytes;
        self.records += reply.records;
        self.bodies += reply.bodies;
        self.findings.extend(reply.findings);
        self.damaged.extend(reply.damaged);
    }

    /// Everything that is not as it should be, a line each.
    fn wrongs(&self) -> Vec<String> {
        let mut wrongs = self.findings.clone();
        if let Some(opened) = &self.opened {
            wrongs.extend(opened.damaged_besides(&self.findings));
        }
        let stray = |path| format!("{path}: the store does not use this file");
        wrongs.extend(self.strays.iter().map(stray));
        wrongs
    }

    fn ending(&self) -> Ending {
        let has_damage = self.opened.as_ref().is_some_and(Opened::has_damage);
        if self.wrongs().is_empty() && !has_damage { Ending::Done } else { Ending::Warnings }
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        for line in self.opened.iter().flat_map(Opened::lines) {
            output.line(line)?;
        }
        let wrongs = self.wrongs();
        for wrong in &wrongs {
            output.line(plain(wrong))?;
        }
        for Holder { id, copies } in &self.holders {
            output.line(plain(&format!("{id} is on {copies}")))?;
        }
        output.line(format!(
            "{} days, {} segments, {} blocks, {}: {} records, {} bodies; {}",
            count(self.buckets),
            count(self.segments),
            count(self.blocks),
            size(self.bytes),
            count(self.records),
            count(self.bodies),
            match (wrongs.len(), self.ending()) {
                (0, Ending::Done) => "all is well".to_owned(),
                (0, _) => "all is well now".to_owned(),
                (1, _) => "1 finding".to_owned(),
                (found, _) => format!("{} findings", count(found as u64)),
            }
        ))?;
        Ok(())
    }
}

/// Checks everything, or the days that are named.
pub fn fsck(backend: &mut Backend, fsck: &Fsck, output: &mut Output) -> anyhow::Result<Ending> {
    let mut summary = Summary::default();
    if let Backend::Offline(offline) = &*backend {
        summary.opened = Some(Opened::of(offline));
    }
    if let (Backend::Offline(offline), true) = (&*backend, fsck.buckets.is_empty()) {
        check_in_threads(offline.store(), &mut summary)?;
    } else {
        let buckets = match &fsck.buckets[..] {
            [] => backend.buckets()?,
            named => named.iter().map(ToString::to_string).collect(),
        };
        let total = buckets.len();
        let mut progress = Progress::start();
        for (done, bucket) in buckets.iter().enumerate() {
            progress.tell(&format!("{done} of {total} days, now {bucket}"));
            summary.add(backend.check(bucket)?);
        }
        progress.end();
    }
    summary.strays = strays(backend, &fsck.buckets)?;
    summary.holders = holders(backend, &summary.damaged);
    summary.show(output)?;
    Ok(summary.ending())
}

/// Files that the store does not use, of these days or of all.
fn strays(backend: &mut Backend, buckets: &[Bucket]) -> anyhow::Result<Vec<String>> {
    let mut strays = backend.strays()?;
    let is_of = |path: &String, bucket: &Bucket| {
        let directory = format!("segments/{bucket}");
        path.strip_prefix(&directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    strays.retain(|path| buckets.is_empty() || buckets.iter().any(|bucket| is_of(path, bucket)));
    Ok(strays)
}

/// Who has the messages that are damaged here, as far as this node was told.
fn holders(backend: &mut Backend, damaged: &[String]) -> Vec<Holder> {
    let Backend::Daemon(_) = backend else { return Vec::new() };
    let mut holders = Vec::new();
    for id in damaged.iter().take(HOLDERS_SHOWN) {
        // Of an action, and of a message whose record is not back yet, nobody can say.
        let copies = backend.show(id).ok().and_then(|message| message.summary.copies);
        holders.extend(copies.map(|copies| Holder { id: id.clone(), copies: copies.text() }));
    }
    holders
}

pub fn check_in_threads(store: &Store, summary: &mut Summary) -> anyhow::Result<Vec<Finding>> {
    let total = store.buckets().len();
    let shared = Mutex::new((summary, Progress::start(), Vec::new(), 0_u64));
    let locked = || shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let step = |bytes| {
        let mut shared = locked();
        shared.3 += bytes;
        let text = format!("{} of {total} days, {}", shared.0.buckets, size(shared.3));
        shared.1.tell(&text);
        std::ops::ControlFlow::Continue(())
    };
    let checked = store.check_all(&step, &|bucket, checked, findings| {
        let mut shared = locked();
        shared.0.add(CheckReply::new(bucket, &checked, &findings));
        shared.2.extend(findings);
    });
    checked.context("the check could not be ended")?;
    let (_, mut progress, findings, _) =
        shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    progress.end();
    Ok(findings)
}

/// Says what is left of a deleted message.
pub fn erasure_check(
    backend: &mut Backend,
    one: &ErasureCheck,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    let reply = backend.erasure_check(one.id)?;
    if output.is_json() {
        output.json(&reply)?;
    } else {
        for line in erasure_lines(&reply) {
            output.line(plain(&line))?;
        }
    }
    let is_gone = reply.remains.is_empty() && reply.unsure.is_empty();
    Ok(if is_gone { Ending::Done } else { Ending::Warnings })
}

fn erasure_lines(reply: &ErasureReply) -> Vec<String> {
    let ErasureReply { id, deleted, remains, unsure } = reply;
    let mut lines = remains.clone();
    lines.extend(unsure.iter().map(|place| format!("perhaps of it: {place}")));
    lines.extend(match (remains.is_empty(), unsure.is_empty()) {
        (true, true) => Some(format!("nothing of {id} is left in this node's files")),
        (true, false) => Some(format!(
            "nothing of {id} was found, but what is named above cannot be told from it: ask again when the node has \
             taken from its peers what is damaged and has written the day anew"
        )),
        (false, _) => None,
    });
    lines.extend((!deleted).then(|| {
        format!("{id} is not deleted for all its recipients, as far as this node knows: nothing of it is to go")
    }));
    lines
}

#[cfg(test)]
mod tests;
