//! The files of one member, laid out as `--root` finds them, and the authority's own.
//! Never writes over a file: every directory it fills was free.

use crate::authority::{AuthorityError, write_error};
use crate::config::files::{self, make_directory, sync_directory};
use crate::config::{Config, Paths};
use std::path::Path;

/// Only its owner reads it.
const SECRET: u32 = 0o600;
/// Everybody reads it.
const PUBLIC: u32 = 0o644;

/// What all members of a cluster have.
pub(super) struct Shared<'a> {
    pub(super) cluster_key: &'a str,
    pub(super) id_key: &'a str,
    pub(super) authority_certificate: &'a str,
    pub(super) roster: &'a str,
}

/// What one member has.
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    pub(super) certificate: &'a str,
    pub(super) key: &'a str,
}

/// Writes a member's files below `root`. Durable when it returns.
pub(super) fn write_member(
    root: &Path,
    shared: &Shared<'_>,
    own: &Own<'_>,
) -> Result<(), AuthorityError> {
    let paths = Paths::under(Some(root));
    let pki = paths.authority_certificate();
    let pki_dir = pki.parent().expect("a file has a directory");
    for (directory, mode) in [
        (paths.config_dir().as_path(), 0o755),
        (pki_dir, 0o755),
        (&paths.data_dir(), 0o700),
        (&paths.run_dir(), 0o755),
    ] {
        make_directory(directory, mode).map_err(write_error(directory))?;
    }
    let config = Config::text_for(own.name);
    for (file, text, mode) in [
        // Hashes of tokens may come to stand in the settings.
        (paths.config_file(), config.as_str(), 0o640),
        (paths.cluster_key(), shared.cluster_key, SECRET),
        (paths.id_key(), shared.id_key, SECRET),
        (paths.member_key(), own.key, SECRET),
        (paths.member_certificate(), own.certificate, PUBLIC),
        (paths.roster(), shared.roster, PUBLIC),
        (pki.clone(), shared.authority_certificate, PUBLIC),
    ] {
        write(&file, text, mode)?;
    }
    for directory in [&paths.config_dir(), pki_dir] {
        sync_directory(directory).map_err(write_error(directory))?;
    }
    Ok(())
}

/// Writes the authority's files. Durable when it returns.
pub(super) fn write_authority(
    directory: &Path,
    shared: &Shared<'_>,
    key: &str,
) -> Result<(), AuthorityError> {
    make_directory(directory, 0o700).map_err(write_error(directory))?;
    let files = AuthorityFiles::in_directory(directory);
    for (file, text, mode) in [
        (&files.key, key, SECRET),
        (&files.cluster_key, shared.cluster_key, SECRET),
        (&files.id_key, shared.id_key, SECRET),
        (&files.certificate, shared.authority_certificate, PUBLIC),
        // Last: where a roster is, everything is.
        (&files.roster, shared.roster, PUBLIC),
    ] {
        write(file, text, mode)?;
    }
    sync_directory(directory).map_err(write_error(directory))
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    files::write_new(file, text.as_bytes(), mode).map_err(write_error(file))
}

/// Where the authority's files lie.
pub(super) struct AuthorityFiles {
    pub(super) key: std::path::PathBuf,
    pub(super) certificate: std::path::PathBuf,
    pub(super) roster: std::path::PathBuf,
    pub(super) cluster_key: std::path::PathBuf,
    pub(super) id_key: std::path::PathBuf,
}

impl AuthorityFiles {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            key: directory.join("authority.key"),
            certificate: directory.join("BaruwaCA.pem"),
            roster: directory.join("roster.toml"),
            cluster_key: directory.join("cluster.key"),
            id_key: directory.join("id.key"),
        }
    }
}
