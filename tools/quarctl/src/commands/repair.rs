//! `repair`: a stopped node's index is built anew, and what is missing is listed.
//! Never changes a segment that is there; what is missing comes from other members, once the daemon runs.

use super::disk::{Summary, check_in_threads};
use super::opened::Opened;
use crate::arguments::Arguments;
use crate::backend::Offline;
use crate::failure::Ending;
use crate::output::{Output, count, plain};
use anyhow::Context;
use quar_base::key::Bucket;
use quar_store::{Disk, File, Finding, OpenReport, RealDisk, Store};
use quard::config::Paths;
use quard::daemon::opening::IndexStart;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where copies of what is damaged are put, below the data directory.
const ASIDE: &str = "damaged";
/// Most bytes of one copy.
const COPY_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What `repair` says at its end.
#[derive(Serialize)]
struct Repaired {
    /// In the set, once each.
    records: u64,
    opened: Opened,
    findings: Vec<String>,
    /// Copies of what is damaged, below the data directory.
    aside: Vec<String>,
    /// Messages whose bodies are missing here.
    without_body: Vec<String>,
    /// Records that are damaged here, by the ids that are known of them.
    broken_records: Vec<String>,
    /// The other members, by their names: any of them may have what is missing.
    members: Vec<String>,
}

impl Repaired {
    fn is_whole(&self) -> bool {
        self.findings.is_empty()
            && !self.opened.has_damage()
            && self.without_body.is_empty()
            && self.broken_records.is_empty()
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        let besides = self.opened.damaged_besides(&self.findings);
        for (what, items) in [
            ("damaged", &self.findings),
            ("damaged", &besides),
            ("a copy of what is damaged", &self.aside),
            ("its body is missing", &self.without_body),
            ("its record is damaged", &self.broken_records),
        ] {
            for item in items {
                output.line(plain(&format!("{what}: {item}")))?;
            }
        }
        if let Some(line) = self.opened.torn_line() {
            output.line(line)?;
        }
        output.line(format!("the index is built anew over {} records", count(self.records)))?;
        if !self.is_whole() {
            output.line(plain(&self.what_to_do()))?;
        }
        Ok(())
    }

    /// A stopped node does not know which of the others has what.
    fn what_to_do(&self) -> String {
        match &self.members[..] {
            [] => "this node is the only member: what is missing cannot be had from anybody"
                .to_owned(),
            [one] => format!(
                "what is missing comes from {one}, if it has it: start quard here, and see that {one} runs; \
                 `quarctl status` tells what is still missing then"
            ),
            members => format!(
                "what is missing comes from the members that have it, of {}: start quard here, and see that they \
                 run; `quarctl status` tells what is still missing then, `quarctl show ID` who has a message",
                members.join(", ")
            ),
        }
    }
}

/// Builds the index anew, and lists what is missing.
pub fn repair(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Ending> {
    let paths = Paths::under(arguments.root.as_deref());
    let asked = match keep_names(&paths) {
        Err(error) if error.is::<Unsaid>() => return Err(error),
        asked => asked,
    };
    let opened = Offline::open(&paths, IndexStart::Anew);
    let offline = opened.context("repair is for a stopped node, and its store cannot be opened")?;
    let known = asked.unwrap_or_else(|error| {
        output.remark(format!("what only the old index knew cannot be told: {error:#}"));
        Vec::new()
    });
    let store = offline.store();
    let mut summary = Summary::default();
    let mut findings = check_in_threads(store, &mut summary)?;
    store.mark_broken(&findings)?;
    let unknown = known.into_iter().filter(is_in_files);
    let unknown: Vec<Finding> = unknown.filter(|finding| !findings.contains(finding)).collect();
    summary.findings.extend(unknown.iter().map(ToString::to_string));
    findings.extend(unknown);
    let wanted = store.wanted(usize::MAX);
    let without_body =
        wanted.iter().flat_map(|(bucket, body)| store.messages_without(*bucket, body));
    let without_body = without_body.map(|id| id.to_string()).collect();
    let broken_records = store.broken_records().iter().map(ToString::to_string).collect();
    store.checkpoint()?;
    // The index is whole by now, whatever becomes of the copies.
    let disk = RealDisk::new(offline.data());
    let aside = put_aside(&disk, &stretches(store, &findings)?)?;
    let repaired = Repaired {
        records: store.counts().records,
        opened: Opened::of(&offline),
        findings: summary.findings,
        aside,
        without_body,
        broken_records,
        members: others(store),
    };
    store.close();
    repaired.show(output)?;
    Ok(if repaired.is_whole() { Ending::Done } else { Ending::Warnings })
}

/// What only the index that is there knows: the names of records that are damaged, and that the last
/// block of a segment which cannot be read is no write that was never finished. The names are saved, and what
/// damaged deletes said is said again.
fn keep_names(paths: &Paths) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let offline = Offline::open(paths, IndexStart::AsItIs)?;
    let OpenReport { rebuilt, was_index_empty, .. } = offline.opened();
    if rebuilt.is_none() && !was_index_empty {
        findings = check_in_threads(offline.store(), &mut Summary::default())?;
        offline.store().mark_broken(&findings)?;
        delete_again(offline.store())?;
        offline.store().checkpoint()?;
    }
    offline.store().close();
    Ok(findings)
}

fn delete_again(store: &Store) -> anyhow::Result<()> {
    let mut left = store.lost_deletes();
    while !left.is_empty() {
        store.delete_again(&left);
        store.commit();
        let still = store.lost_deletes();
        if still.len() == left.len() {
            return Err(Unsaid(left.len()).into());
        }
        left = still;
    }
    Ok(())
}

/// Deletes of which nothing but the index that is to go knows.
#[derive(Debug)]
struct Unsaid(usize);

impl std::fmt::Display for Unsaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(count) = self;
        write!(
            f,
            "{count} deletes whose records are damaged cannot be made again, and without them what they \
             delete would be shown: the index stays as it is; make room on the disk, or look at its log, \
             and repair again"
        )
    }
}

impl std::error::Error for Unsaid {}

/// Whether something is wrong with a file, whatever an index says.
fn is_in_files(finding: &Finding) -> bool {
    matches!(finding, Finding::Block { .. } | Finding::Body { .. } | Finding::Segment { .. })
}

/// Names of the other members.
fn others(store: &Store) -> Vec<String> {
    let me = store.settings().member;
    let roster = store.roster();
    let others = roster.members.iter().filter(|member| member.id != me);
    others.map(|member| member.name.clone()).collect()
}

/// Bytes of a file that cannot be read as they should.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stretch {
    path: PathBuf,
    /// The first byte, and the first behind; `None` for the whole file.
    bytes: Option<(u64, u64)>,
}

/// Where damage lies: stretches that are no blocks, blocks with a damaged body, files that cannot be opened.
fn stretches(store: &Store, findings: &[Finding]) -> anyhow::Result<BTreeSet<Stretch>> {
    let mut stretches = BTreeSet::new();
    for finding in findings {
        let (path, bytes) = match finding {
            Finding::Block { path, from, to } => (path, Some((*from, *to))),
            Finding::Body { path, block, .. } => match end_of_block(store, path, *block)? {
                Some(end) => (path, Some(((*block).into(), end))),
                None => continue,
            },
            Finding::Segment { path, .. } => (path, None),
            _ => continue,
        };
        stretches.insert(Stretch { path: path.clone(), bytes });
    }
    Ok(stretches)
}

/// Where the block at this offset of a segment ends.
fn end_of_block(store: &Store, path: &Path, offset: u32) -> anyhow::Result<Option<u64>> {
    let Some((bucket, number)) = segment_of(path) else { return Ok(None) };
    let blocks = store.block_reports(bucket, number)?.unwrap_or_default();
    let block = blocks.iter().find(|block| block.offset == u64::from(offset));
    Ok(block.map(|block| block.offset + block.bytes))
}

/// The bucket and number in a segment's path.
fn segment_of(path: &Path) -> Option<(Bucket, u32)> {
    let day = path.parent()?.strip_prefix("segments").ok()?;
    let number = path.file_stem()?.to_str()?.parse().ok()?;
    Some((day.to_str()?.parse().ok()?, number))
}

/// Copies damaged stretches, for whoever wants to look into them; returns where the copies are.
///
/// *Durable when* this returns: the copies and their names.
fn put_aside(disk: &dyn Disk, stretches: &BTreeSet<Stretch>) -> anyhow::Result<Vec<String>> {
    let directory = Path::new(ASIDE);
    let mut aside = Vec::new();
    for Stretch { path, bytes } in stretches {
        let source = match disk.open(path) {
            Ok(source) => source,
            // A file that is missing has nothing to copy.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let plain_name = path.display().to_string().replace('/', "_");
        let name = match bytes {
            Some((from, to)) => directory.join(format!("{plain_name}.{from}-{to}")),
            None => directory.join(plain_name),
        };
        let (from, to) = bytes.unwrap_or((0, u64::MAX));
        let copied =
            disk.create_dir(directory).and_then(|()| copy(disk, &*source, (from, to), &name));
        copied.with_context(|| format!("cannot write {}", name.display()))?;
        aside.push(name.display().to_string());
    }
    if !aside.is_empty() {
        disk.sync_dir(directory).with_context(|| format!("cannot sync {}", directory.display()))?;
    }
    Ok(aside)
}

/// Copies a file's bytes into a new one, in place of one of an earlier repair.
fn copy(disk: &dyn Disk, source: &dyn File, bytes: (u64, u64), name: &Path) -> io::Result<()> {
    let target = match disk.create(name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let earlier = disk.open(name)?;
            earlier.truncate(0)?;
            earlier
        }
        created => created?,
    };
    let (from, to) = bytes;
    let to = to.min(from.saturating_add(COPY_BYTES_MAX));
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let wanted = usize::try_from(to - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let read = source.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            break;
        }
        target.write_at(&chunk[..read], at - from)?;
        at += read as u64;
    }
    target.sync_data()
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, Stretch, put_aside, segment_of, stretches};
    use crate::backend::Backend;
    use crate::testing::Nodes;
    use quar_base::ids::BodyId;
    use quar_store::{Disk, Finding, MemoryDisk};
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn copies_survive_a_power_cut() {
        let disk = MemoryDisk::new();
        let path = Path::new("segments/spam/2026-11-23/00000001.seg");
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 5000).map(|at| (at % 251) as u8).collect();
        disk.create_dir(path.parent().unwrap()).unwrap();
        let file = disk.create(path).unwrap();
        file.write_at(&bytes, 0).unwrap();
        let stretch = |path: &Path, bytes| Stretch { path: path.into(), bytes };
        let all = [
            stretch(path, None),
            stretch(path, Some((256, CHUNK_BYTES as u64 + 300))),
            stretch(Path::new("segments/spam/2026-11-23/00000002.seg"), None),
        ];
        let all = BTreeSet::from(all);
        let whole = "damaged/segments_spam_2026-11-23_00000001.seg";
        let part = format!("{whole}.256-{}", CHUNK_BYTES + 300);
        for _ in 0..2 {
            assert_eq!(put_aside(&disk, &all).unwrap(), [whole, &part]);
            let left = disk.crash();
            let is_copy = |name: &str, wanted: &[u8]| {
                left.read(name.as_ref()).unwrap().is_some_and(|copied| copied == wanted)
            };
            assert!(is_copy(whole, &bytes), "the whole file");
            assert!(is_copy(&part, &bytes[256..CHUNK_BYTES + 300]), "a part of it");
        }
    }

    #[test]
    fn of_a_damaged_body_the_whole_block_is_copied_and_once() {
        let nodes = Nodes::create();
        let file = nodes.scratch().join("mail.eml");
        std::fs::write(&file, "Subject: x\r\n\r\n").unwrap();
        nodes.run(1, &["put", file.to_str().unwrap()]).unwrap();
        let day = nodes.json(1, &["inspect"])["days"][0]["bucket"].as_str().unwrap().to_owned();
        let blocks = nodes.json(1, &["inspect", &format!("{day}/1")]);
        let bytes = blocks["blocks"][0]["bytes"].as_u64().unwrap();
        let Backend::Offline(offline) = nodes.open(1).unwrap() else { panic!("no daemon runs") };
        let path = Path::new("segments").join(day).join("00000001.seg");
        let body =
            |number, block| Finding::Body { path: path.clone(), block, body: BodyId([number; 32]) };
        let findings = [body(1, 256), body(2, 256), body(3, 257)];
        let wanted = Stretch { path: path.clone(), bytes: Some((256, 256 + bytes)) };
        assert_eq!(stretches(offline.store(), &findings).unwrap(), BTreeSet::from([wanted]));
    }

    #[test]
    fn a_segments_path_says_which_it_is() {
        let path = Path::new("segments/spam/2026-11-23/00000012.seg");
        assert_eq!(segment_of(path), Some(("spam/2026-11-23".parse().unwrap(), 12)));
        assert_eq!(segment_of("segments/spam/x.seg".as_ref()), None);
    }
}
