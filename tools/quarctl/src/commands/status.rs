//! `status`: this node, and its peers as it sees them.
//! Never judges: what needs an eye is in the node's own warnings.

use crate::failure::Ending;
use crate::output::{Output, count, plain, size};
use quard::api::{
    BackfillStatus, CopiesStatus, DiskStatus, MemberStatus, NodeStatus, UpkeepStatus, duration,
};

/// Shows a node's state; ends as failed when the node takes nothing, with warnings when it has any.
pub fn show(status: &NodeStatus, is_cluster: bool, output: &mut Output) -> anyhow::Result<Ending> {
    if output.is_json() {
        output.json(status)?;
    } else {
        show_node(status, output)?;
        if is_cluster {
            output.line("")?;
            show_members(&status.members, output)?;
        }
        for warning in &status.warnings {
            output.line(plain(&format!("warning: {warning}")))?;
        }
    }
    Ok(match (status.failed, status.warnings.is_empty()) {
        (true, _) => Ending::Failed,
        (false, false) => Ending::Warnings,
        (false, true) => Ending::Done,
    })
}

fn show_node(status: &NodeStatus, output: &mut Output) -> anyhow::Result<()> {
    let up = status.members.iter().filter(|member| member.state == "up").count();
    let roots = match status.members.iter().filter(|member| !member.in_sync).count() {
        0 => "same as every peer's".to_owned(),
        behind => format!("other than that of {behind} peers"),
    };
    let state = if status.failed { "failed: takes no mail" } else { "running" };
    let cluster = format!("{}, roster epoch {}", status.cluster, status.roster_epoch);
    let lines = [
        ("node", format!("{} ({}), quard {}", status.name, status.member, status.version)),
        ("state", state.to_owned()),
        ("cluster", cluster),
        ("members", format!("{up} of {} up", status.members.len())),
        ("records", count(status.records)),
        ("contents", roots),
        ("wanted", format!("{} bodies", count(status.wanted))),
        ("lost", format!("{} bodies", count(status.lost))),
        ("too few copies", copies(&status.copies)),
        ("answered early", format!("{} messages", count(status.under_replicated))),
        ("backfill", backfill(&status.backfill)),
        ("traffic", format!("{} out, {} in", size(status.sent_bytes), size(status.received_bytes))),
        ("disk free", room(&status.disk)),
        ("packed", packed(&status.upkeep)),
        ("checked", checked(&status.upkeep)),
    ];
    for (name, text) in lines {
        output.line(plain(&format!("{name:<16}{text}")))?;
    }
    for early in &status.disk.expired_early {
        output.line(plain(&format!("{:<16}{early}", "gone early")))?;
    }
    for day in &status.upkeep.erasing {
        output.line(plain(&format!("{:<16}{day}", "to be erased")))?;
    }
    for finding in &status.upkeep.finding_texts {
        output.line(plain(&format!("{:<16}{finding}", "damaged")))?;
    }
    for message in &status.lost_messages {
        output.line(plain(&format!("{:<16}{message}", "without body")))?;
    }
    for (kind, times) in &status.offences {
        let by = offenders(kind, &status.members);
        output.line(plain(&format!("{:<16}{kind}: {}{by}", "offences", count(*times))))?;
    }
    Ok(())
}

/// Which members did what is counted under a kind, most of it first.
fn offenders(kind: &str, members: &[MemberStatus]) -> String {
    let its = members.iter().filter_map(|member| Some((*member.offences.get(kind)?, &member.name)));
    let mut its: Vec<_> = its.collect();
    its.sort_unstable_by(|one, other| other.cmp(one));
    match its[..] {
        [] => String::new(),
        [(_, only)] => format!(", by {only}"),
        _ => {
            let each = its.iter().map(|(times, name)| format!("{name} {}", count(*times)));
            format!(", by {}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// How far the node is with what it lacks.
fn backfill(backfill: &BackfillStatus) -> String {
    if !backfill.running {
        return "nothing lacking".to_owned();
    }
    format!(
        "{} messages, {} from {} peers; {} left{}",
        count(backfill.messages),
        size(backfill.bytes),
        backfill.peers,
        count(backfill.messages_left),
        backfill.time_left()
    )
}

/// What is on too few disks.
fn copies(copies: &CopiesStatus) -> String {
    let about = if copies.bytes_estimated { "about " } else { "" };
    let mut text = format!("{} messages, {about}{}", count(copies.messages), size(copies.bytes));
    if let Some(seconds) = copies.oldest_seconds {
        text.push_str(&format!(", the oldest for {}", duration(seconds)));
    }
    for name in &copies.unknown {
        text.push_str(&format!("; {name} not counted: not heard since this node started"));
    }
    text
}

fn room(disk: &DiskStatus) -> String {
    let full = if disk.full { "; full: takes no mail" } else { "" };
    let reserve = if disk.reserve_given_up { "; the reserve is given up" } else { "" };
    let soon = match disk.full_in_days {
        Some(1) => "; full in a day".to_owned(),
        Some(days) => format!("; full in {days} days"),
        None => String::new(),
    };
    format!("{}{full}{reserve}{soon}", size(disk.free_bytes))
}

fn packed(upkeep: &UpkeepStatus) -> String {
    let days = if upkeep.packed_days == 1 { "day" } else { "days" };
    let packed =
        format!("{} {days}, {} records", count(upkeep.packed_days), count(upkeep.packed_records));
    match &upkeep.packing {
        Some(packing) => format!("{packed}; now {packing}"),
        None => packed,
    }
}

/// How long ago the disk was checked, and what came of it.
fn checked(upkeep: &UpkeepStatus) -> String {
    let within = upkeep.oldest_check_s.map(duration);
    let (checked, unchecked) = (count(upkeep.checked_days), count(upkeep.unchecked_days));
    let mut text = match (within, upkeep.unchecked_days) {
        (None, 0) => "nothing to check".to_owned(),
        (None, _) => format!("{unchecked} days not yet"),
        (Some(within), 0) => format!("all {checked} days within {within}"),
        (Some(within), _) => format!("{unchecked} days not yet, {checked} within {within}"),
    };
    if let Some(checking) = &upkeep.checking {
        text.push_str(&format!("; now {checking}"));
    }
    if upkeep.marked_items > 0 {
        let marked = count(upkeep.marked_items);
        text.push_str(&format!("; {marked} items marked as damaged since the start"));
    }
    text
}

fn show_members(members: &[MemberStatus], output: &mut Output) -> anyhow::Result<()> {
    let row = |member: &MemberStatus| {
        let own = if member.is_self { "*" } else { "" };
        vec![
            format!("{}{own}", member.name),
            member.node_number.to_string(),
            member.location.clone(),
            if member.refuses.is_empty() { member.state.clone() } else { member.refuses.clone() },
            member.transport.clone(),
            if member.in_sync { "yes" } else { "no" }.to_owned(),
            count(member.records),
            count(member.wanted),
            clock(member.clock_offset_ms),
            size(member.queued_bytes),
        ]
    };
    let rows = members.iter().map(row).collect();
    let headings = [
        "NAME", "NUMBER", "LOCATION", "STATE", "BY", "IN SYNC", "RECORDS", "WANTED", "CLOCK",
        "QUEUED",
    ];
    output.table(&headings, rows, &[1, 6, 7, 8, 9])?;
    Ok(())
}

fn clock(offset_ms: i64) -> String {
    format!("{:+.1} s", offset_ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::{checked, show};
    use crate::failure::Ending;
    use crate::output::tests::Written;
    use quard::api::{
        BackfillStatus, CopiesStatus, DiskStatus, MemberStatus, NodeStatus, UpkeepStatus,
    };

    fn status(warnings: &[&str]) -> NodeStatus {
        let member = MemberStatus {
            name: "node1".into(),
            id: "11".into(),
            node_number: 1,
            location: "Cape Town".into(),
            is_self: true,
            state: "up".into(),
            transport: String::new(),
            in_sync: true,
            records: 1200,
            wanted: 0,
            comparisons: Default::default(),
            clock_offset_ms: -1500,
            queued_bytes: 0,
            refuses: String::new(),
            offences: Default::default(),
            kept_out_seconds: 0,
        };
        let mut peer = member.clone();
        (peer.name, peer.is_self) = ("node2".into(), false);
        (peer.state, peer.in_sync) = ("down".into(), false);
        peer.offences = [("bad_frame".to_owned(), 2)].into();
        NodeStatus {
            name: "node1".into(),
            member: "11".into(),
            cluster: "22".into(),
            roster_epoch: 1,
            version: "0.1.0".into(),
            cutoff: 0,
            state_root: String::new(),
            live_root: String::new(),
            records: 1200,
            wanted: 3,
            lost: 1,
            lost_messages: vec!["spam-20261123-081512-77".to_owned()],
            under_replicated: 7,
            copies: CopiesStatus {
                target: 2,
                messages: 1500,
                bytes: 3_000_000,
                bytes_estimated: true,
                oldest_seconds: Some(7_300),
                oldest: None,
                unknown: vec!["node3".into()],
            },
            backfill: BackfillStatus {
                running: true,
                messages: 1200,
                bytes: 9_000_000,
                messages_left: 8000,
                seconds_left: Some(150),
                peers: 2,
            },
            brake: Default::default(),
            upkeep: UpkeepStatus {
                checking: Some("spam/2026-11-22".into()),
                checked_days: 29,
                unchecked_days: 1,
                oldest_check_s: Some(7_300),
                marked_items: 4,
                erasing: vec!["spam/2026-11-20".into()],
                ..UpkeepStatus::default()
            },
            offences: [("bad_frame".to_owned(), 2)].into(),
            sent_bytes: 1000,
            received_bytes: 2000,
            disk: DiskStatus {
                free_bytes: 5_000_000_000,
                reserve_given_up: true,
                full_in_days: Some(3),
                expired_early: vec!["spam before 2026-11-20".into()],
                ..DiskStatus::default()
            },
            failed: false,
            warnings: warnings.iter().map(|text| (*text).to_owned()).collect(),
            members: vec![member, peer],
        }
    }

    #[test]
    fn a_status_without_warnings_ends_well() {
        let written = Written::default();
        let ending = show(&status(&[]), false, &mut written.output(false, false)).unwrap();
        assert_eq!(ending, Ending::Done);
        let text = written.text();
        for part in [
            "1 of 2 up",
            "1,200",
            "5.0 GB",
            "bad_frame: 2, by node2",
            "spam-20261123-081512-77",
            "1.0 kB out, 2.0 kB in",
            "1,500 messages, about 3.0 MB, the oldest for 2 h; node3 not counted",
            "7 messages",
            "1 days not yet, 29 within 2 h; now spam/2026-11-22; 4 items marked as damaged",
            "to be erased    spam/2026-11-20",
            "1,200 messages, 9.0 MB from 2 peers; 8,000 left, about 2 min",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("Cape Town"));
    }

    #[test]
    fn a_status_says_within_what_time_all_was_checked() {
        let upkeep = UpkeepStatus {
            checked_days: 30,
            oldest_check_s: Some(10_900),
            ..UpkeepStatus::default()
        };
        assert_eq!(checked(&upkeep), "all 30 days within 3 h");
        assert_eq!(checked(&UpkeepStatus::default()), "nothing to check");
        let fresh = UpkeepStatus { unchecked_days: 3, ..UpkeepStatus::default() };
        assert_eq!(checked(&fresh), "3 days not yet");
    }

    #[test]
    fn a_node_that_takes_nothing_ends_as_failed_whatever_else_it_warns_of() {
        let mut status = status(&["a write failed", "node2 is down"]);
        status.failed = true;
        let written = Written::default();
        let ending = show(&status, false, &mut written.output(false, false)).unwrap();
        assert_eq!(ending, Ending::Failed);
        assert!(written.text().contains("failed: takes no mail"), "{}", written.text());
    }

    #[test]
    fn warnings_end_with_their_own_code_in_both_forms() {
        for is_json in [false, true] {
            let written = Written::default();
            let mut output = written.output(is_json, false);
            let ending = show(&status(&["node2 is down"]), true, &mut output).unwrap();
            assert_eq!(ending, Ending::Warnings);
            assert!(written.text().contains("node2 is down"));
            assert!(written.text().contains("Cape Town"));
        }
    }
}
