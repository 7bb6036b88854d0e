//! What in a node's status needs an operator's eye, in words.
//! Never hides a figure: every warning repeats the figures it is about.

use crate::api::{CopiesStatus, DiskStatus, MemberStatus, NodeStatus, duration};

/// How far a peer's clock may be off before it is worth a warning.
const CLOCK_WARN_MS: i64 = 10_000;

/// The warnings of a status.
pub fn list(status: &NodeStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    if status.failed {
        warnings.push("a write to the data directory failed: nothing is taken until the daemon is restarted; check the disk first".to_owned());
    }
    warnings.extend(room(&status.disk));
    warnings.extend(early(status));
    for member in status.members.iter().filter(|member| !member.is_self) {
        let name = &member.name;
        if member.kept_out_seconds > 0 {
            warnings.push(kept_out(member));
        } else if member.state == "down" {
            warnings.push(format!("{name} is down: messages caught now are stored without it"));
        }
        match member.refuses.as_str() {
            "" => {}
            "full" => warnings.push(format!("{name} is full: it takes deletes, but no mail")),
            _ => warnings.push(format!("{name} takes nothing: a write to its disk failed")),
        }
        if member.clock_offset_ms.abs() > CLOCK_WARN_MS {
            let seconds = member.clock_offset_ms / 1000;
            warnings.push(format!(
                "the clock of {name} is {seconds} s off this node's; check NTP on both"
            ));
        }
    }
    let coming = status.wanted.saturating_sub(status.lost);
    if coming > 0 {
        warnings.push(format!("{} not on this node yet", bodies(coming)));
    }
    if status.lost > 0 {
        warnings.push(format!(
            "{} lost: no member that is up has what their messages need; a member that is down may",
            bodies(status.lost)
        ));
    }
    warnings.extend(damage(status));
    let trouble = status.upkeep.trouble.as_ref();
    warnings.extend(trouble.map(|trouble| format!("{trouble}; it is tried again: see the log")));
    let count = status.members.len();
    if count == 1 || count.is_multiple_of(2) {
        let members = if count == 1 { "member" } else { "members" };
        warnings.push(format!(
            "the cluster has {count} {members}; an odd number from 3 on survives more"
        ));
    }
    let mut places = status.members.iter().map(|member| member.location.as_str());
    if let Some(first) = places.next()
        && count > 1
        && !first.is_empty()
        && places.all(|place| place == first)
    {
        warnings
            .push(format!("all members stand in {first}: one power failure there takes them all"));
    }
    warnings
}

/// That a member broke the rules too often.
fn kept_out(member: &MemberStatus) -> String {
    let kinds = member.offences.iter().map(|(kind, times)| format!("{kind} {times}"));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    format!(
        "{} broke the rules too often ({kinds}) and is kept out for {}: if it goes on, take it for \
         compromised and out of the roster",
        member.name,
        duration(member.kept_out_seconds)
    )
}

/// That messages are on too few disks.
pub fn copies(copies: &CopiesStatus) -> Option<String> {
    let oldest = duration(copies.oldest_seconds?);
    let unknown = match copies.unknown.join(", ") {
        names if names.is_empty() => String::new(),
        names => {
            format!("; what {names} had before this node started is not known and not counted")
        }
    };
    let (messages, are) = match copies.messages {
        1 => ("1 message".to_owned(), "is"),
        count => (format!("{count} messages"), "are"),
    };
    Some(format!(
        "{messages} {are} on fewer than {} disks, the oldest for {oldest}{unknown}; \
         `quarctl ls --under-replicated` lists them",
        copies.target
    ))
}

/// That the disk is full, or nearly.
fn room(disk: &DiskStatus) -> Option<String> {
    let free = disk.free_bytes >> 20;
    match (disk.full, disk.reserve_given_up) {
        (true, true) => Some(format!(
            "the disk is full ({free} MiB free, the reserve given up): mail is refused, deletes are \
             taken; make room, or shorten a retention"
        )),
        (true, false) => Some(format!(
            "the disk is nearly full ({free} MiB free): mail is refused, deletes are taken; make \
             room, or shorten a retention"
        )),
        (false, true) => {
            Some(format!("the reserve was given up and waits for room ({free} MiB free)"))
        }
        (false, false) => disk.full_in_days.map(|days| {
            let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
            format!(
                "at the rate of the last days the disk is full in {days} ({free} MiB free): make \
                 room, or shorten a retention"
            )
        }),
    }
}

/// That days went before their time, and what is known of other copies of them: nothing, as every
/// node lets days go by its own room. Which of the two reasons it was, the floors do not say.
fn early(status: &NodeStatus) -> Option<String> {
    let early = status.disk.expired_early.join(", ");
    let elsewhere = match status.members.iter().any(|member| !member.is_self) {
        true => {
            "another member may have them or may have let them go too: look with `quarctl ls` there"
        }
        false => "the cluster has no other member that could have them",
    };
    (!early.is_empty()).then(|| {
        format!(
            "days went from this node before their time, for want of room, or under an earlier, \
             shorter retention: {early}; {elsewhere}; if room was wanting, make some, or shorten a \
             retention"
        )
    })
}

/// What checks of the disk found.
fn damage(status: &NodeStatus) -> Option<String> {
    let upkeep = &status.upkeep;
    let first = upkeep.finding_texts.first()?;
    let still = match upkeep.broken_records {
        0 => String::new(),
        count => format!("; {count} records wait for a peer"),
    };
    Some(format!(
        "the last check of the disk found damage in {} places{still}: {first}; see quarctl fsck",
        upkeep.findings
    ))
}

fn bodies(count: u64) -> String {
    if count == 1 { "1 body is".to_owned() } else { format!("{count} bodies are") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{copies, list};
    use crate::api::{CopiesStatus, DiskStatus, MemberStatus, NodeStatus};

    fn member(name: &str, state: &str, location: &str) -> MemberStatus {
        MemberStatus {
            name: name.into(),
            id: String::new(),
            node_number: 0,
            location: location.into(),
            is_self: name == "me",
            state: state.into(),
            transport: String::new(),
            in_sync: true,
            records: 0,
            wanted: 0,
            comparisons: Default::default(),
            clock_offset_ms: 0,
            queued_bytes: 0,
            refuses: String::new(),
            offences: Default::default(),
            kept_out_seconds: 0,
        }
    }

    pub(crate) fn status(members: Vec<MemberStatus>) -> NodeStatus {
        NodeStatus {
            name: "me".into(),
            member: String::new(),
            cluster: String::new(),
            roster_epoch: 1,
            version: String::new(),
            cutoff: 0,
            state_root: String::new(),
            live_root: String::new(),
            records: 0,
            wanted: 0,
            lost: 0,
            lost_messages: Vec::new(),
            under_replicated: 0,
            copies: CopiesStatus::default(),
            backfill: Default::default(),
            brake: Default::default(),
            upkeep: Default::default(),
            offences: std::collections::BTreeMap::new(),
            sent_bytes: 0,
            received_bytes: 0,
            disk: DiskStatus::default(),
            failed: false,
            warnings: Vec::new(),
            members,
        }
    }

    #[test]
    fn a_healthy_cluster_has_none() {
        let members = vec![member("me", "up", "a"), member("b", "up", "b"), member("c", "up", "b")];
        assert_eq!(list(&status(members)), Vec::<String>::new());
    }

    #[test]
    fn names_a_member_that_is_down_and_a_shared_location() {
        let members = vec![
            member("me", "up", "cellar"),
            member("b", "down", "cellar"),
            member("c", "up", "cellar"),
        ];
        let warnings = list(&status(members));
        assert!(warnings[0].starts_with("b is down"), "{warnings:?}");
        assert!(warnings[1].contains("cellar"), "{warnings:?}");
    }

    #[test]
    fn a_member_that_is_kept_out_is_named_with_what_it_did() {
        let mut members =
            vec![member("me", "up", "a"), member("b", "down", "b"), member("c", "up", "b")];
        members[1].kept_out_seconds = 40;
        members[1].offences = [("wrong-body".to_owned(), 33)].into();
        let warnings = list(&status(members));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("b broke the rules too often (wrong-body 33)"));
        assert!(warnings[0].contains("kept out for 40 s"), "{warnings:?}");
    }

    #[test]
    fn a_member_without_room_is_named() {
        let mut members =
            vec![member("me", "up", "a"), member("b", "up", "b"), member("c", "up", "b")];
        members[1].refuses = "full".into();
        members[2].refuses = "failed".into();
        let warnings = list(&status(members));
        assert!(warnings[0].starts_with("b is full"), "{warnings:?}");
        assert!(warnings[1].starts_with("c takes nothing"), "{warnings:?}");
    }

    #[test]
    fn lost_bodies_are_told_apart_from_those_that_are_on_their_way() {
        let members = vec![member("me", "up", "a"), member("b", "up", "b"), member("c", "up", "b")];
        let mut status = status(members);
        (status.wanted, status.lost) = (3, 1);
        let warnings = list(&status);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("2 bodies are not on this node yet"), "{warnings:?}");
        assert!(warnings[1].starts_with("1 body is lost"), "{warnings:?}");
    }

    #[test]
    fn too_few_copies_are_told_with_the_oldest_and_with_who_is_not_known() {
        let mut status = CopiesStatus { target: 2, ..CopiesStatus::default() };
        assert_eq!(copies(&status), None);
        (status.messages, status.oldest_seconds) = (12, Some(600));
        status.unknown = vec!["c".into()];
        let warning = copies(&status).unwrap();
        assert!(warning.starts_with("12 messages are on fewer than 2 disks"), "{warning}");
        assert!(warning.contains("the oldest for 10 min; what c had before"), "{warning}");
    }

    #[test]
    fn of_days_that_went_early_no_copy_is_promised() {
        let members = vec![member("me", "up", "a"), member("b", "up", "b"), member("c", "up", "b")];
        let mut status_of_three = status(members);
        assert_eq!(list(&status_of_three), Vec::<String>::new());
        status_of_three.disk.expired_early = vec!["spam before 2026-11-20".into()];
        let warnings = list(&status_of_three);
        assert!(
            warnings[0].contains("shorter retention: spam before 2026-11-20; another member may"),
            "{warnings:?}"
        );
        let mut alone = status(vec![member("me", "up", "a")]);
        alone.disk.expired_early = vec!["spam before 2026-11-20".into()];
        let warnings = list(&alone);
        assert!(warnings[0].contains("has no other member that could have them"), "{warnings:?}");
    }

    #[test]
    fn an_even_number_of_members_is_worth_a_word() {
        let members = vec![member("me", "up", ""), member("b", "up", "")];
        assert_eq!(
            list(&status(members)),
            ["the cluster has 2 members; an odd number from 3 on survives more"]
        );
        let alone = list(&status(vec![member("me", "up", "")]));
        assert_eq!(alone, ["the cluster has 1 member; an odd number from 3 on survives more"]);
    }
}
