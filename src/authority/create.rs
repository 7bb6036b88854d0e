//! Makes a cluster: authority, keys, first roster, and a root directory for each member.
//! Never touches a cluster that is there already.
//!
//! ```text
//! OUT/authority/   authority.key BaruwaCA.pem roster.toml cluster.key id.key   the administrator's
//! OUT/mx1/         etc/quard/... etc/pki/BaruwaCA/... var/lib/quard run/quard  goes to mx1's root
//! OUT/mx2/         ...
//! ```

use crate::authority::certificates::{Authority, Issued};
use crate::authority::plan::{PlannedMember, StaticPlan};
use crate::authority::tree::{self, AuthorityFiles, Own, Shared};
use crate::authority::{AUTHORITY_DIRECTORY, AuthorityError, check_clock, is_free, write_error};
use crate::config::files::make_directory;
use crate::config::{Paths, id_key, key_text};
use quar_base::ids::{ClusterId, MemberId};
use quar_base::rng::Rng;
use quar_base::roster::{Member, Roster};
use quar_base::time::UnixMillis;
use quar_store::{EncryptionKey, IdKey};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The epoch of a new cluster's encryption key.
const KEY_EPOCH: u32 = 1;
/// The epoch of a new cluster's roster.
const ROSTER_EPOCH: u64 = 1;

/// A cluster that was made.
pub struct Created {
    /// Its uuid.
    pub cluster: ClusterId,
    /// The encryption key, to be shown once to whoever keeps it; wiped when dropped.
    pub encryption_key_text: Zeroizing<String>,
    /// The directory of the authority's files.
    pub authority: PathBuf,
    /// Its members, in the plan's order.
    pub members: Vec<CreatedMember>,
}

/// A member whose files were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedMember {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: MemberId,
    /// The root directory with its files.
    pub root: PathBuf,
}

/// A member with its certificate, not yet on disk.
pub(super) struct NewMember {
    pub(super) member: Member,
    pub(super) issued: Issued,
}

/// Makes a cluster as planned, below `out_dir`, which must be empty or not there.
///
/// `seed` must be 32 bytes of entropy: uuid, ids and the keys that seal mail come from it. Keys of
/// certificates come from the crypto library's own generator.
///
/// *Durable when* it returns. After an error nothing that it made is left.
///
/// # Errors
/// [`AuthorityError`]: [`ClusterExists`](AuthorityError::ClusterExists) and
/// [`NotEmpty`](AuthorityError::NotEmpty) before anything is written.
pub fn create_cluster(
    plan: &StaticPlan,
    seed: [u8; 32],
    now: UnixMillis,
    out_dir: &Path,
) -> Result<Created, AuthorityError> {
    plan.check()?;
    check_clock(now)?;
    refuse_what_is_there(out_dir)?;
    let result = make_directory(out_dir, 0o755)
        .map_err(write_error(out_dir))
        .and_then(|()| create_in(plan, seed, now, out_dir));
    if result.is_err() {
        // It was empty: what is there now is ours, and half of a cluster. The first error counts.
        let ours = plan.members.iter().map(|member| member.name.as_str());
        for name in ours.chain([AUTHORITY_DIRECTORY]) {
            let _ = std::fs::remove_dir_all(out_dir.join(name));
        }
    }
    result
}

fn create_in(
    plan: &StaticPlan,
    seed: [u8; 32],
    now: UnixMillis,
    out_dir: &Path,
) -> Result<Created, AuthorityError> {
    let mut rng = Rng::from_seed(seed);
    let cluster = cluster_id(&mut rng);
    let key = Zeroizing::new(rng.bytes::<32>());
    let id_key_bytes = Zeroizing::new(rng.bytes::<32>());
    let encryption_key = EncryptionKey::new(KEY_EPOCH, *key);
    let sealed = IdKey::new(*id_key_bytes).wrap(&encryption_key, rng.bytes());
    let made = Authority::create(cluster, now, &mut rng)?;
    let members = plan.members.iter();
    let members = members.map(|planned| new_member(planned, &made.authority, now, &mut rng));
    let members = members.collect::<Result<Vec<NewMember>, _>>()?;
    let roster = made.authority.sign(Roster {
        cluster,
        epoch: ROSTER_EPOCH,
        members: members.iter().map(|new| new.member.clone()).collect(),
        past_members: Vec::new(),
    })?;
    let cluster_key = key_text::format_file(KEY_EPOCH, &key);
    let shared = Shared {
        cluster_key: &cluster_key,
        id_key: &id_key::format_file(&sealed),
        authority_certificate: &made.certificate_pem,
        roster: roster.text(),
    };
    let created = write_members(&members, &shared, out_dir)?;
    let authority = out_dir.join(AUTHORITY_DIRECTORY);
    // Last: where an authority is, all members are.
    tree::write_authority(&authority, &shared, &made.key_pem)?;
    Ok(Created {
        cluster,
        encryption_key_text: key_text::format(KEY_EPOCH, &key),
        authority,
        members: created,
    })
}

/// Gives a planned member an id, a key and a certificate.
pub(super) fn new_member(
    planned: &PlannedMember,
    authority: &Authority,
    now: UnixMillis,
    rng: &mut Rng,
) -> Result<NewMember, AuthorityError> {
    let id = MemberId(rng.bytes());
    let issued = authority.issue(id, &planned.name, now, rng)?;
    let member = Member {
        id,
        node_number: planned.node_number,
        name: planned.name.clone(),
        location: planned.location.clone(),
        addresses: planned.addresses.clone(),
        public_key: issued.public_key,
    };
    Ok(NewMember { member, issued })
}

/// Writes the members' root directories.
pub(super) fn write_members(
    members: &[NewMember],
    shared: &Shared<'_>,
    out_dir: &Path,
) -> Result<Vec<CreatedMember>, AuthorityError> {
    let write = |new: &NewMember| {
        let name = &new.member.name;
        let root = out_dir.join(name);
        let own = Own { name, certificate: &new.issued.certificate_pem, key: &new.issued.key_pem };
        tree::write_member(&root, shared, &own)?;
        Ok(CreatedMember { name: name.clone(), id: new.member.id, root })
    };
    members.iter().map(write).collect()
}

fn refuse_what_is_there(out_dir: &Path) -> Result<(), AuthorityError> {
    if is_free(out_dir)? {
        return Ok(());
    }
    let directory = out_dir.to_owned();
    let authority = AuthorityFiles::in_directory(&out_dir.join(AUTHORITY_DIRECTORY));
    let node = Paths::under(Some(out_dir));
    let signs = [authority.key, authority.roster, node.roster(), node.cluster_key()];
    if signs.iter().any(|file| file.exists()) {
        Err(AuthorityError::ClusterExists { directory })
    } else {
        Err(AuthorityError::NotEmpty { directory })
    }
}

/// A version 4 UUID.
fn cluster_id(rng: &mut Rng) -> ClusterId {
    let mut bytes = rng.bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    ClusterId(bytes)
}
