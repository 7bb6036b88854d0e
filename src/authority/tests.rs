//! Plans, new clusters and changed rosters, seen as a node and as TLS see them.
//! Never a clock: instants are handed in.

use super::{AuthorityError, Extended, PlannedMember, StaticPlan, create_cluster, extend_roster};
use crate::config::{Config, Identity, Paths};
use quar_base::ids::MemberId;
use quar_base::time::UnixMillis;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const YEAR_MS: u64 = 31_557_600_000;

fn member(number: u8) -> PlannedMember {
    PlannedMember {
        name: format!("mx{number}"),
        node_number: number.into(),
        addresses: vec![format!("127.0.0.{number}:1027")],
        location: "Cape Town".into(),
    }
}

fn plan(numbers: &[u8]) -> StaticPlan {
    StaticPlan { members: numbers.iter().copied().map(member).collect() }
}

/// A cluster in a directory of its own.
fn cluster(numbers: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    create_cluster(&plan(numbers), [7; 32], NOW, directory.path()).unwrap();
    directory
}

fn extend(out: &Path, plan: &StaticPlan) -> Result<Extended, AuthorityError> {
    extend_roster(&out.join("authority"), plan, [8; 32], NOW)
}

fn identity(out: &Path, name: &str) -> Identity {
    Identity::load(&Paths::under(Some(&out.join(name)))).unwrap()
}

#[test]
fn a_new_cluster_has_every_file_with_its_mode() {
    let out = cluster(&[1, 2, 3]);
    for (file, mode) in [
        ("authority", 0o700),
        ("authority/authority.key", 0o600),
        ("authority/cluster.key", 0o600),
        ("authority/id.key", 0o600),
        ("authority/BaruwaCA.pem", 0o644),
        ("authority/roster.toml", 0o644),
        ("mx2/etc/quard/quard.toml", 0o640),
        ("mx2/etc/quard/cluster.key", 0o600),
        ("mx2/etc/quard/id.key", 0o600),
        ("mx2/etc/quard/member.key", 0o600),
        ("mx2/etc/quard/member.crt", 0o644),
        ("mx2/etc/quard/roster.toml", 0o644),
        ("mx2/etc/pki/BaruwaCA/certs/BaruwaCA.pem", 0o644),
        ("mx2/var/lib/quard", 0o700),
        ("mx2/run/quard", 0o755),
    ] {
        let found = std::fs::metadata(out.path().join(file)).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{file}");
    }
    for number in 1..=3u8 {
        let name = format!("mx{number}");
        let identity = identity(out.path(), &name);
        let config = Config::load(&Paths::under(Some(&out.path().join(&name)))).unwrap();
        config.check_node(identity.this_member()).unwrap();
        assert_eq!(identity.this_member().addresses, member(number).addresses);
    }
}

#[test]
fn what_is_created_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("not/there/yet");
    let created = create_cluster(&plan(&[1, 2]), [7; 32], NOW, &out).unwrap();
    assert_eq!(created.authority, out.join("authority"));
    let names: Vec<&str> = created.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["mx1", "mx2"]);
    let identity = identity(&out, "mx2");
    assert_eq!((created.members[1].id, created.cluster), (identity.member, identity.cluster()));
    assert_eq!(created.members[1].root, out.join("mx2"));
    let kept = std::fs::read_to_string(out.join("mx1/etc/quard/cluster.key")).unwrap();
    assert!(kept.contains(created.encryption_key_text.as_str()));
    let uuid = uuid_version(created.cluster.0);
    assert_eq!(uuid, (4, 0b10));
}

fn uuid_version(bytes: [u8; 16]) -> (u8, u8) {
    (bytes[6] >> 4, bytes[8] >> 6)
}

#[test]
fn one_seed_gives_one_cluster_key_and_another_gives_another() {
    let key = |seed: u8| {
        let out = tempfile::tempdir().unwrap();
        let created = create_cluster(&plan(&[1]), [seed; 32], NOW, out.path()).unwrap();
        (created.cluster, created.encryption_key_text.to_string())
    };
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}

#[test]
fn a_second_init_against_a_cluster_is_refused_and_changes_nothing() {
    let out = cluster(&[1]);
    let before = std::fs::read(out.path().join("authority/roster.toml")).unwrap();
    let again = |directory: &Path| create_cluster(&plan(&[1]), [9; 32], NOW, directory).err();
    for directory in [out.path().to_owned(), out.path().join("mx1")] {
        let error = again(&directory);
        assert!(matches!(error, Some(AuthorityError::ClusterExists { .. })), "{error:?}");
    }
    let after = std::fs::read(out.path().join("authority/roster.toml")).unwrap();
    assert_eq!(before, after);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("notes"), "mine").unwrap();
    assert!(matches!(again(other.path()), Some(AuthorityError::NotEmpty { .. })));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn a_plan_that_was_not_read_from_a_file_is_checked_too() {
    let out = tempfile::tempdir().unwrap();
    let error = create_cluster(&plan(&[1, 1]), [1; 32], NOW, out.path()).err();
    assert!(matches!(error, Some(AuthorityError::Plan(_))), "{error:?}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn a_cluster_that_could_not_be_written_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut out = directory.path().to_owned();
    // So deep that a member's directories still fit into a path, and its files do not.
    while out.as_os_str().len() < 4050 {
        let left = 4060 - out.as_os_str().len();
        out.push("x".repeat(left.min(200)));
    }
    let error = create_cluster(&plan(&[1]), [1; 32], NOW, &out).err();
    assert!(matches!(error, Some(AuthorityError::Write { .. })), "{error:?}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn a_clock_that_cannot_be_right_is_refused() {
    for now in [UnixMillis(0), UnixMillis(1_700_000_000_000), UnixMillis(u64::MAX)] {
        let out = tempfile::tempdir().unwrap();
        let error = create_cluster(&plan(&[1]), [1; 32], now, out.path()).err();
        assert!(matches!(error, Some(AuthorityError::Clock { .. })), "{error:?}");
    }
}

fn pem(file: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(file).unwrap().to_vec()
}

#[test]
fn the_authority_is_one_and_says_which_cluster() {
    let out = cluster(&[1]);
    let der = pem(&out.path().join("authority/BaruwaCA.pem"));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let cluster = identity(out.path(), "mx1").cluster().to_string();
    assert!(certificate.subject().to_string().contains(&cluster));
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.digital_signature());
    certificate.verify_signature(None).unwrap();
    check_years(&certificate, 20);
}

#[test]
fn a_members_certificate_names_the_member_for_both_sides() {
    let out = cluster(&[1]);
    let identity = identity(out.path(), "mx1");
    let (_, certificate) = X509Certificate::from_der(&identity.certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value;
    let name = format!("{}.member.quard.internal", identity.member);
    let shown: Vec<String> = names.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("DNSName({name})")]);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(!certificate.is_ca());
    check_years(&certificate, 10);
    assert_ne!(identity.member, MemberId::IMPORT);
}

/// From a day before `NOW` to that many years after it.
fn check_years(certificate: &X509Certificate<'_>, years: u64) {
    let valid = certificate.validity();
    let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap();
    assert_eq!(valid.not_before.timestamp(), seconds(NOW.0 - 86_400_000));
    assert_eq!(valid.not_after.timestamp(), seconds(NOW.0 + years * YEAR_MS));
}

#[test]
fn a_member_joins_and_a_member_leaves_under_the_next_epoch() {
    let out = cluster(&[1, 2]);
    let before = identity(out.path(), "mx1");
    let left = identity(out.path(), "mx2");
    let mut next = plan(&[1, 3]);
    next.members[0].addresses = vec!["mx1.example:1027".into()];
    let extended = extend(out.path(), &next).unwrap();
    assert_eq!(
        (extended.epoch, extended.removed, extended.changed),
        (2, vec!["mx2".into()], vec!["mx1".into()])
    );
    assert_eq!(extended.roster, out.path().join("authority/roster.toml"));
    let added: Vec<&PathBuf> = extended.added.iter().map(|member| &member.root).collect();
    assert_eq!(added, [&out.path().join("mx3")]);

    let new = identity(out.path(), "mx3");
    assert_eq!((new.cluster(), new.authority_key), (before.cluster(), before.authority_key));
    assert_eq!(new.id_key.body_id(b"mail"), before.id_key.body_id(b"mail"));
    let roster = new.roster.roster();
    assert_eq!(roster.member(before.member).unwrap().public_key, before.signing.public());
    assert_eq!(roster.member(before.member).unwrap().addresses, ["mx1.example:1027"]);
    assert_eq!(roster.member(left.member), None);
    assert_eq!(roster.keys_of(left.member).next(), Some(left.signing.public()));

    let again = extend(out.path(), &plan(&[1, 3])).unwrap();
    assert_eq!((again.epoch, again.changed), (3, vec!["mx1".into()]));
    let text = std::fs::read_to_string(&again.roster).unwrap();
    let roster = quar_base::roster::SignedRoster::parse(&text, &before.authority_key).unwrap();
    assert_eq!(roster.roster().past_members.len(), 1);
}

#[test]
fn a_roster_is_not_changed_for_nothing_nor_over_something() {
    let out = cluster(&[1, 2]);
    let roster = out.path().join("authority/roster.toml");
    let before = std::fs::read(&roster).unwrap();
    let error = extend(out.path(), &plan(&[1, 2])).expect_err("nothing to do");
    assert!(matches!(error, AuthorityError::NothingChanged { epoch: 1 }), "{error}");
    let mut renumbered = plan(&[1, 2]);
    renumbered.members[1].node_number = 9;
    let error = extend(out.path(), &renumbered).expect_err("numbers stay");
    assert!(matches!(error, AuthorityError::NodeNumberChanged { present: 2, planned: 9, .. }));
    std::fs::create_dir_all(out.path().join("mx3/etc")).unwrap();
    let error = extend(out.path(), &plan(&[1, 2, 3])).expect_err("mx3 is somebody's");
    assert!(matches!(error, AuthorityError::NotEmpty { .. }), "{error}");
    let held = std::fs::File::open(out.path().join("authority")).unwrap();
    held.lock().unwrap();
    let error = extend(out.path(), &plan(&[1])).expect_err("somebody else is at it");
    assert!(matches!(error, AuthorityError::Busy { .. }), "{error}");
    assert_eq!(std::fs::read(&roster).unwrap(), before);
}

#[test]
fn an_authority_of_two_clusters_is_refused() {
    let [one, other] = [cluster(&[1]), cluster(&[1])];
    let file = "authority/authority.key";
    std::fs::copy(other.path().join(file), one.path().join(file)).unwrap();
    let error = extend(one.path(), &plan(&[1, 2])).expect_err("key and certificate differ");
    assert!(matches!(error, AuthorityError::AuthorityMismatch { .. }), "{error}");
}

#[test]
fn a_certificate_made_while_the_clock_is_behind_or_the_authority_is_old_is_still_accepted() {
    let late = UnixMillis(NOW.0 + 15 * YEAR_MS);
    for now in [UnixMillis(NOW.0 - 30 * 86_400_000), late] {
        let out = cluster(&[1]);
        extend_roster(&out.path().join("authority"), &plan(&[1, 2]), [8; 32], now).unwrap();
        let identity = identity(out.path(), "mx2");
        let (_, certificate) = X509Certificate::from_der(&identity.certificate).unwrap();
        let (_, authority) = X509Certificate::from_der(&identity.authority).unwrap();
        let [own, whole] = [certificate.validity(), authority.validity()];
        assert!(own.not_before >= whole.not_before && own.not_after <= whole.not_after);
        assert!(own.not_before < own.not_after);
    }
}
