//! Makes a cluster, and changes who belongs to it, with the authority's key in a directory.
//! Never runs in the daemon: the directory stays with whoever administers the cluster.
//!
//! ```text
//! plan          what the administrator writes: names, node numbers, addresses
//! create        a new cluster: authority/, and one root directory for each member
//! extend        another roster under a higher epoch; root directories for new members
//! certificates  the authority: its key, its certificate, the members' certificates
//! tree          the files of one member, where quard looks for them
//! ```

mod certificates;
mod create;
mod extend;
mod plan;
mod tree;

pub use create::{Created, CreatedMember, create_cluster};
pub use extend::{Extended, extend_roster};
pub use plan::{PlannedMember, StaticPlan};

use crate::config::{IdentityError, Problems};
use quar_base::roster::RosterError;
use quar_base::time::{Day, UnixMillis};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the directory that the authority's files lie in.
pub const AUTHORITY_DIRECTORY: &str = "authority";

/// Why a cluster was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The plan says what it must not.
    #[error(transparent)]
    Plan(#[from] Problems),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// Which one.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A cluster lives here already.
    #[error(
        "{} holds a cluster already, and a second init would cut its members off from each other: \
         choose another directory, or change that cluster's roster instead", directory.display()
    )]
    ClusterExists {
        /// Where.
        directory: PathBuf,
    },
    /// Something lies where a new directory is to be.
    #[error(
        "{} is not empty: choose another directory, or move away what is there",
        directory.display()
    )]
    NotEmpty {
        /// Where.
        directory: PathBuf,
    },
    /// Another process changes the same cluster.
    #[error("another process is changing the roster in {}", directory.display())]
    Busy {
        /// The authority's directory.
        directory: PathBuf,
    },
    /// The clock cannot be right, and certificates would bear its dates.
    #[error("this machine's clock says {day}: set it, or no certificate made now will be valid")]
    Clock {
        /// What it says.
        day: Day,
    },
    /// A file of the authority's cannot be used.
    #[error(transparent)]
    Authority(#[from] IdentityError),
    /// The authority's key and certificate are of two clusters.
    #[error("{} and {} do not belong together", key.display(), certificate.display())]
    AuthorityMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The certificate library refused.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The roster would not be one.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// A present member would get another node number.
    #[error(
        "{name} has node number {present}, and the plan says {planned}: a node number stays with \
         its member, because file names carry it"
    )]
    NodeNumberChanged {
        /// Which member.
        name: String,
        /// Its node number.
        present: u16,
        /// The plan's.
        planned: u16,
    },
    /// The plan is what the roster says already.
    #[error("the roster of epoch {epoch} says what the plan says: nothing is changed")]
    NothingChanged {
        /// The roster's epoch.
        epoch: u64,
    },
}

/// Years in which certificates can be made.
const YEARS: std::ops::Range<u32> = 2025..9900;

fn check_clock(now: UnixMillis) -> Result<(), AuthorityError> {
    let day = now.day();
    if YEARS.contains(&day.civil().0) { Ok(()) } else { Err(AuthorityError::Clock { day }) }
}

fn write_error(file: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    |source| AuthorityError::Write { file: file.to_owned(), source }
}

/// Whether nothing is there, or an empty directory.
fn is_free(directory: &Path) -> Result<bool, AuthorityError> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(AuthorityError::Read { file: directory.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
