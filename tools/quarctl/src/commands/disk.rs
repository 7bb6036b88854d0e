//! `fsck`, `repair`, `erasure-check`: what lies on disk, and whether it is as it should be.
//! Never mends a segment: what is damaged is named, and taken from peers by the daemon.

use crate::arguments::{Arguments, ErasureCheck, Fsck};
use crate::backend::{Backend, Offline};
use crate::failure::Ending;
use crate::output::{Output, count, plain, size};
use anyhow::Context;
use quar_store::{Finding, IndexHome, SledHome, Store};
use quard::api::CheckReply;
use quard::config::Paths;
use quard::lock::DataLock;
use serde::Serialize;
use std::fs;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// Most bytes of one damaged stretch that are put aside.
const ASIDE_BYTES_MAX: u64 = 1 << 30;

/// What `fsck` says at its end.
#[derive(Serialize, Default)]
struct Summary {
    buckets: u64,
    segments: u64,
    blocks: u64,
    bytes: u64,
    records: u64,
    bodies: u64,
    findings: Vec<String>,
}

impl Summary {
    fn add(&mut self, reply: CheckReply) {
        self.buckets += 1;
        self.segments += reply.segments;
        self.blocks += reply.blocks;
        self.bytes += reply.bytes;
        self.records += reply.records;
        self.bodies += reply.bodies;
        self.findings.extend(reply.findings);
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        for finding in &self.findings {
            output.line(plain(finding))?;
        }
        output.line(format!(
            "{} days, {} segments, {} blocks, {}: {} records, {} bodies; {}",
            count(self.buckets),
            count(self.segments),
            count(self.blocks),
            size(self.bytes),
            count(self.records),
            count(self.bodies),
            match self.findings.len() {
                0 => "all is well".to_owned(),
                found => format!("{} findings", count(found as u64)),
            }
        ))?;
        Ok(())
    }
}

/// Checks everything, or the days that are named.
pub fn fsck(backend: &mut Backend, fsck: &Fsck, output: &mut Output) -> anyhow::Result<Ending> {
    let mut summary = Summary::default();
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
    summary.show(output)?;
    Ok(if summary.findings.is_empty() { Ending::Done } else { Ending::Warnings })
}

fn check_in_threads(store: &Store, summary: &mut Summary) -> anyhow::Result<Vec<Finding>> {
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
    } else if reply.remains.is_empty() {
        output.line(format!("nothing of {} is left in this node's files", reply.id))?;
    } else {
        for place in &reply.remains {
            output.line(plain(place))?;
        }
    }
    Ok(if reply.remains.is_empty() { Ending::Done } else { Ending::Warnings })
}

/// What `repair` says at its end.
#[derive(Serialize)]
struct Repaired {
    records: u64,
    findings: Vec<String>,
    /// Copies of damaged stretches, below the data directory.
    aside: Vec<String>,
    /// Messages whose bodies are missing here.
    without_body: Vec<String>,
    /// Records that are damaged here.
    broken_records: Vec<String>,
}

/// Builds the index anew, and lists what is missing.
pub fn repair(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Ending> {
    let paths = Paths::under(arguments.root.as_deref());
    let data = paths.data_dir();
    set_index_aside(&data)?;
    let offline = Offline::open(&paths)?;
    let store = offline.store();
    let mut summary = Summary::default();
    let findings = check_in_threads(store, &mut summary)?;
    let aside = put_aside(&data, &findings)?;
    store.mark_broken(&findings)?;
    let wanted = store.wanted(usize::MAX);
    let without_body =
        wanted.iter().flat_map(|(bucket, body)| store.messages_without(*bucket, body));
    let repaired = Repaired {
        records: summary.records,
        findings: summary.findings,
        aside,
        without_body: without_body.map(|id| id.to_string()).collect(),
        broken_records: store.broken_records().iter().map(ToString::to_string).collect(),
    };
    store.checkpoint()?;
    store.close();
    show_repaired(&repaired, output)?;
    let is_whole = repaired.findings.is_empty()
        && repaired.without_body.is_empty()
        && repaired.broken_records.is_empty();
    Ok(if is_whole { Ending::Done } else { Ending::Warnings })
}

/// The old index goes beside; nobody else may have the store meanwhile.
fn set_index_aside(data: &Path) -> anyhow::Result<()> {
    let _lock =
        DataLock::acquire(data).context("repair is for a stopped node: stop the daemon first")?;
    let index = data.join("index");
    if index.exists() {
        SledHome(index.clone())
            .reset()
            .with_context(|| format!("{} cannot be set aside", index.display()))?;
    }
    Ok(())
}

fn show_repaired(repaired: &Repaired, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(repaired);
    }
    for (what, items) in [
        ("damaged", &repaired.findings),
        ("put aside", &repaired.aside),
        ("a peer must give the body of", &repaired.without_body),
        ("a peer must give", &repaired.broken_records),
    ] {
        for item in items {
            output.line(plain(&format!("{what}: {item}")))?;
        }
    }
    output.line(format!("the index is built anew over {} records", count(repaired.records)))?;
    Ok(())
}

/// Copies damaged stretches, for whoever wants to look into them.
fn put_aside(data: &Path, findings: &[Finding]) -> anyhow::Result<Vec<String>> {
    let mut aside = Vec::new();
    for finding in findings {
        let Finding::Block { path, from, to } = finding else { continue };
        let directory = data.join("damaged");
        fs::create_dir_all(&directory)?;
        let plain_name = path.display().to_string().replace('/', "_");
        let name = format!("{plain_name}.{from}-{to}");
        let mut file = fs::File::open(data.join(path))?;
        file.seek(SeekFrom::Start(*from))?;
        let mut bytes = Vec::new();
        file.take((to - from).min(ASIDE_BYTES_MAX)).read_to_end(&mut bytes)?;
        fs::write(directory.join(&name), bytes)
            .with_context(|| format!("cannot write {}", directory.join(&name).display()))?;
        aside.push(format!("damaged/{name}"));
    }
    Ok(aside)
}

/// How far long work is, on a terminal.
struct Progress {
    is_shown: bool,
    last: Instant,
}

impl Progress {
    fn start() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    fn tell(&mut self, text: &str) {
        if self.is_shown && self.last.elapsed().as_millis() >= 200 {
            self.last = Instant::now();
            eprint!("\r\u{1b}[K{text}");
        }
    }

    fn end(&mut self) {
        if self.is_shown {
            eprint!("\r\u{1b}[K");
        }
    }
}
