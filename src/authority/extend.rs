//! Changes who belongs to a cluster: a roster under the next epoch, and files for new members.
//! Never gives a member another id or key, and never forgets a past member's.
//!
//! ```text
//! in roster and plan   stays, with the plan's addresses and location
//! in the plan only     new id, key, certificate and root directory
//! in the roster only   becomes a past member: what it signed stays valid
//! ```

use crate::authority::certificates::Authority;
use crate::authority::create::{CreatedMember, NewMember, new_member, write_members};
use crate::authority::plan::{PlannedMember, StaticPlan};
use crate::authority::tree::{AuthorityFiles, Shared};
use crate::authority::{AuthorityError, check_clock, is_free, write_error};
use crate::config::files;
use crate::config::identity::{
    load_authority_key, load_certificate, load_encryption_key, load_id_key, load_private_key,
    load_roster, load_secret,
};
use quar_base::rng::Rng;
use quar_base::roster::{Member, Roster, SignedRoster};
use quar_base::time::UnixMillis;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A roster that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// Its epoch.
    pub epoch: u64,
    /// Its file: put it in place of one running member's roster, and the others adopt it.
    pub roster: PathBuf,
    /// New members, whose root directories lie beside the authority's directory.
    pub added: Vec<CreatedMember>,
    /// Names of members that were removed.
    pub removed: Vec<String>,
    /// Names of members that stay, at another address or location.
    pub changed: Vec<String>,
}

/// An authority's directory, read and checked.
struct Opened {
    authority: Authority,
    roster: SignedRoster,
    cluster_key: Zeroizing<String>,
    id_key: String,
    certificate_pem: String,
    files: AuthorityFiles,
    /// Held while the roster is changed.
    _lock: File,
}

/// Makes the cluster's roster what `plan` says. Members are told apart by their names.
///
/// `seed` must be 32 bytes of entropy, never used before.
///
/// *Durable when* it returns. The roster is replaced last: after an error it is the old one, and
/// new members' directories, if any were made, are to be moved away.
///
/// # Errors
/// [`AuthorityError`].
pub fn extend_roster(
    authority_dir: &Path,
    plan: &StaticPlan,
    seed: [u8; 32],
    now: UnixMillis,
) -> Result<Extended, AuthorityError> {
    plan.check()?;
    check_clock(now)?;
    let opened = Opened::open(authority_dir)?;
    let mut rng = Rng::from_seed(seed);
    let old = opened.roster.roster();
    let beside = authority_dir.join("..");
    let out_dir = authority_dir.parent().filter(|path| !path.as_os_str().is_empty());
    let out_dir = out_dir.unwrap_or(&beside);
    let new_members = opened.new_members(plan, out_dir, now, &mut rng)?;
    let changed = changed_members(old, plan)?;
    let roster = next_roster(old, plan, &new_members);
    let removed = roster.past_members[old.past_members.len()..].iter();
    let removed: Vec<String> = removed.map(|member| member.name.clone()).collect();
    if new_members.is_empty() && removed.is_empty() && changed.is_empty() {
        return Err(AuthorityError::NothingChanged { epoch: old.epoch });
    }
    let roster = opened.authority.sign(roster)?;
    let shared = Shared {
        cluster_key: &opened.cluster_key,
        id_key: &opened.id_key,
        authority_certificate: &opened.certificate_pem,
        roster: roster.text(),
    };
    let added = write_members(&new_members, &shared, out_dir)?;
    let file = opened.files.roster;
    files::write_atomically(&file, roster.text().as_bytes(), 0o644).map_err(write_error(&file))?;
    Ok(Extended { epoch: roster.roster().epoch, roster: file, added, removed, changed })
}

impl Opened {
    fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let files = AuthorityFiles::in_directory(directory);
        let lock = lock(directory)?;
        let cluster_key = load_secret(&files.cluster_key)?;
        let encryption_key = load_encryption_key(&files.cluster_key)?;
        load_id_key(&files.id_key, &encryption_key, &files.cluster_key)?;
        let certificate = load_certificate(&files.certificate)?;
        let public_key = load_authority_key(&certificate, &files.certificate)?;
        let key = load_private_key(&files.key)?;
        let authority = Authority::open(&key, &certificate, public_key)?;
        let authority = authority.ok_or_else(|| AuthorityError::AuthorityMismatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        })?;
        Ok(Self {
            authority,
            roster: load_roster(&files.roster, &public_key)?,
            cluster_key,
            id_key: read(&files.id_key)?,
            certificate_pem: read(&files.certificate)?,
            files,
            _lock: lock,
        })
    }

    /// Makes what the plan has and the roster has not, in memory.
    fn new_members(
        &self,
        plan: &StaticPlan,
        out_dir: &Path,
        now: UnixMillis,
        rng: &mut Rng,
    ) -> Result<Vec<NewMember>, AuthorityError> {
        let old = self.roster.roster();
        let is_new = |planned: &&PlannedMember| member_named(old, &planned.name).is_none();
        let make = |planned: &PlannedMember| {
            let directory = out_dir.join(&planned.name);
            if !is_free(&directory)? {
                return Err(AuthorityError::NotEmpty { directory });
            }
            new_member(planned, &self.authority, now, rng)
        };
        plan.members.iter().filter(is_new).map(make).collect()
    }
}

/// Names of members that stay with other addresses or another location.
fn changed_members(old: &Roster, plan: &StaticPlan) -> Result<Vec<String>, AuthorityError> {
    let mut changed = Vec::new();
    for planned in &plan.members {
        let Some(member) = member_named(old, &planned.name) else {
            continue;
        };
        if member.node_number != planned.node_number {
            return Err(AuthorityError::NodeNumberChanged {
                name: planned.name.clone(),
                present: member.node_number,
                planned: planned.node_number,
            });
        }
        if member.addresses != planned.addresses || member.location != planned.location {
            changed.push(planned.name.clone());
        }
    }
    Ok(changed)
}

/// The roster of the next epoch, its members in the plan's order.
fn next_roster(old: &Roster, plan: &StaticPlan, new: &[NewMember]) -> Roster {
    let new_named = |name: &str| new.iter().find(|new| new.member.name == name);
    let members = plan.members.iter().filter_map(|planned| {
        let member = new_named(&planned.name)
            .map(|new| &new.member)
            .or_else(|| member_named(old, &planned.name))?;
        Some(Member {
            addresses: planned.addresses.clone(),
            location: planned.location.clone(),
            ..member.clone()
        })
    });
    let is_planned = |member: &&Member| plan.members.iter().any(|to| to.name == member.name);
    let removed = old.members.iter().filter(|member| !is_planned(member));
    Roster {
        cluster: old.cluster,
        epoch: old.epoch + 1,
        members: members.collect(),
        past_members: old.past_members.iter().chain(removed).cloned().collect(),
    }
}

fn member_named<'a>(roster: &'a Roster, name: &str) -> Option<&'a Member> {
    roster.members.iter().find(|member| member.name == name)
}

fn lock(directory: &Path) -> Result<File, AuthorityError> {
    let read_error = |source| AuthorityError::Read { file: directory.to_owned(), source };
    let lock = File::open(directory).map_err(read_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(AuthorityError::Busy { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(read_error(source)),
    }
}

fn read(file: &Path) -> Result<String, AuthorityError> {
    files::read_text(file)
        .map_err(|source: io::Error| AuthorityError::Read { file: file.to_owned(), source })
}
