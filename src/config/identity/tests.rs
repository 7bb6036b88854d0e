//! A node's files, whole and damaged, as `create_cluster` makes them.
//! Never a clock: instants are handed in.

use super::{Identity, IdentityError, save_roster};
use crate::authority::{PlannedMember, StaticPlan, create_cluster, extend_roster};
use crate::config::Paths;
use crate::config::key_text::KeyTextError;
use quar_base::roster::RosterError;
use quar_base::time::UnixMillis;
use quar_net::NetError;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A cluster of two nodes in a directory of its own.
struct Cluster {
    directory: tempfile::TempDir,
}

impl Cluster {
    fn new(seed: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        create_cluster(&plan(2), [seed; 32], NOW, directory.path()).unwrap();
        Self { directory }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn paths(&self, number: u8) -> Paths {
        Paths::under(Some(&self.root(&format!("mx{number}"))))
    }

    fn refused(&self) -> IdentityError {
        Identity::load(&self.paths(1)).expect_err("it must be refused")
    }
}

fn plan(members: u8) -> StaticPlan {
    let members = (1..=members).map(|number| PlannedMember {
        name: format!("mx{number}"),
        node_number: number.into(),
        addresses: vec![format!("127.0.0.{number}:1027")],
        location: String::new(),
    });
    StaticPlan { members: members.collect() }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(text)).unwrap();
}

#[test]
fn a_member_knows_who_it_is() {
    let cluster = Cluster::new(1);
    let [one, two] = [1, 2].map(|number| Identity::load(&cluster.paths(number)).unwrap());
    assert_eq!((one.this_member().name.as_str(), one.this_member().node_number), ("mx1", 1));
    assert_eq!(two.this_member().name, "mx2");
    assert_eq!(one.cluster(), two.cluster());
    assert_eq!(one.id_key.body_id(b"mail"), two.id_key.body_id(b"mail"));
    assert_eq!(one.network().member(), one.member);
    assert_eq!(one.network().public_key(), one.signing.public());
    assert_eq!(one.roster.roster().epoch, 1);
}

#[test]
fn a_node_without_files_is_told_how_to_get_them() {
    let empty = tempfile::tempdir().unwrap();
    let error = Identity::load(&Paths::under(Some(empty.path()))).expect_err("nothing there");
    assert!(matches!(error, IdentityError::NoCluster { .. }));
    assert!(error.to_string().contains("quarctl init"), "{error}");
}

#[test]
fn every_missing_file_is_named() {
    let picks: [fn(&Paths) -> PathBuf; 6] = [
        Paths::cluster_key,
        Paths::id_key,
        Paths::member_certificate,
        Paths::member_key,
        Paths::roster,
        Paths::authority_certificate,
    ];
    for pick in picks {
        let cluster = Cluster::new(1);
        let missing = pick(&cluster.paths(1));
        std::fs::remove_file(&missing).unwrap();
        let error = cluster.refused();
        assert!(matches!(&error, IdentityError::Read { file, .. } if *file == missing), "{error}");
    }
}

#[test]
fn secrets_that_others_can_read_are_refused_with_what_to_run() {
    for pick in [Paths::cluster_key, Paths::member_key] {
        let cluster = Cluster::new(1);
        let file = pick(&cluster.paths(1));
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o400);
        Identity::load(&cluster.paths(1)).unwrap();
        mode(0o644);
        let error = cluster.refused();
        assert!(matches!(error, IdentityError::Exposed { mode: 0o644, .. }), "{error}");
        let advice = format!("(mode 0644): run `chmod 600 {}`", file.display());
        assert!(error.to_string().contains(&advice), "{error}");
    }
}

#[test]
fn a_mistyped_and_a_cut_encryption_key_are_told_apart() {
    let cluster = Cluster::new(1);
    let file = cluster.paths(1).cluster_key();
    let whole = std::fs::read_to_string(&file).unwrap();
    let at = whole.find("QCEK1-1-").unwrap() + 8;
    let typed = if &whole[at..=at] == "7" { "8" } else { "7" };
    let mistyped = format!("{}{typed}{}", &whole[..at], &whole[at + 1..]);
    for (text, wanted) in [
        (mistyped.as_str(), KeyTextError::Check),
        (&whole[..whole.len() - 5], KeyTextError::Length { found: 56 }),
        ("", KeyTextError::Count { found: 0 }),
    ] {
        edit(&file, |_| text.to_owned());
        let error = cluster.refused();
        assert!(
            matches!(&error, IdentityError::KeyText { source, .. } if *source == wanted),
            "{error}"
        );
    }
}

#[test]
fn another_clusters_encryption_key_is_recognised_in_one_line() {
    let [one, other] = [1, 2].map(Cluster::new);
    copy(&other.paths(1).cluster_key(), &one.paths(1).cluster_key());
    let error = one.refused();
    assert!(matches!(error, IdentityError::WrongKey { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("is not this cluster's encryption key"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_damaged_id_key_is_not_taken_for_a_wrong_encryption_key() {
    let cluster = Cluster::new(1);
    edit(&cluster.paths(1).id_key(), |text| text[..text.len() - 9].to_owned());
    assert!(matches!(cluster.refused(), IdentityError::IdKeyDamaged { .. }));
}

#[test]
fn cut_certificates_and_keys_are_refused() {
    for pick in [Paths::member_certificate, Paths::member_key, Paths::authority_certificate] {
        let cluster = Cluster::new(1);
        let file = pick(&cluster.paths(1));
        edit(&file, |text| text[..text.len() / 2].to_owned());
        let error = cluster.refused();
        assert!(
            matches!(&error, IdentityError::NotPem { file: named, .. } if *named == file),
            "{error}"
        );
    }
}

#[test]
fn keys_and_certificates_of_others_are_refused() {
    let [one, other] = [1, 2].map(Cluster::new);
    let foreign_key = Cluster::new(1);
    copy(&one.paths(2).member_key(), &foreign_key.paths(1).member_key());
    let error = foreign_key.refused();
    let is_mismatch =
        matches!(&error, IdentityError::Certificate { source: NetError::KeyMismatch, .. });
    assert!(is_mismatch, "{error}");
    copy(&other.paths(1).authority_certificate(), &one.paths(1).authority_certificate());
    let error = one.refused();
    let is_foreign =
        matches!(&error, IdentityError::Certificate { source: NetError::WrongAuthority, .. });
    assert!(is_foreign, "{error}");
}

#[test]
fn an_edited_a_cut_and_a_foreign_roster_are_refused() {
    let cluster = Cluster::new(1);
    let file = cluster.paths(1).roster();
    let whole = std::fs::read_to_string(&file).unwrap();
    let foreign = std::fs::read_to_string(Cluster::new(2).paths(1).roster()).unwrap();
    for (text, wanted) in [
        (whole.replace("127.0.0.2", "127.0.0.9"), RosterError::Signature),
        (whole[..whole.len() - 20].to_owned(), RosterError::Unsigned),
        (foreign, RosterError::Signature),
    ] {
        edit(&file, |_| text);
        let error = cluster.refused();
        assert!(
            matches!(&error, IdentityError::Roster { source, .. } if *source == wanted),
            "{error}"
        );
    }
}

#[test]
fn an_adopted_roster_is_kept_and_a_removed_member_is_told() {
    let cluster = Cluster::new(1);
    let identity = Identity::load(&cluster.paths(1)).unwrap();
    let mut only_two = plan(2);
    only_two.members.remove(0);
    extend_roster(&cluster.root("authority"), &only_two, [3; 32], NOW).unwrap();
    let text = std::fs::read_to_string(cluster.root("authority/roster.toml")).unwrap();
    let roster = quar_base::roster::SignedRoster::parse(&text, &identity.authority_key).unwrap();
    for number in [1, 2] {
        save_roster(&cluster.paths(number), &roster).unwrap();
    }
    assert_eq!(Identity::load(&cluster.paths(2)).unwrap().roster, roster);
    let error = cluster.refused();
    assert!(matches!(error, IdentityError::NotListed { epoch: 2, .. }), "{error}");
}

#[test]
fn a_member_whose_key_the_roster_does_not_list_is_refused() {
    let cluster = Cluster::new(1);
    let identity = Identity::load(&cluster.paths(1)).unwrap();
    let other = Identity::load(&cluster.paths(2)).unwrap();
    let roster = identity.roster.roster();
    let error = super::check_listed(roster, identity.member, other.signing.public());
    assert!(matches!(error, Err(IdentityError::OtherKey { name, epoch: 1 }) if name == "mx1"));
}
