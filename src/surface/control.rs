//! The control socket: where it lies, and which users of this machine may use it.
//! Never trusts the socket's mode alone: each peer's user is asked of the kernel.

use super::auth::Peer;
use anyhow::Context;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::ffi::CString;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

const MODE: u32 = 0o660;

/// A bound control socket. Dropping it removes its name.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    group: u32,
}

impl ControlSocket {
    /// Binds, in place of what a daemon that died may have left. Whoever calls holds the lock on
    /// the data directory, so no living daemon loses its socket.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        Self::try_bind(path).with_context(|| format!("control socket {}", path.display()))
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755).create(directory)?;
        }
        // Bound under another name first: under its own it never has another mode.
        let beside = path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(MODE))?;
        let group = std::fs::metadata(&beside)?.gid();
        std::fs::rename(&beside, path)?;
        let path = path.to_owned();
        Ok(Self { listener, path, group })
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    /// The socket's group, whose members may use it.
    pub(crate) fn group(&self) -> u32 {
        self.group
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A name that is gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who is at the other end.
///
/// # Errors
/// When the kernel does not say.
pub(crate) async fn peer(stream: &UnixStream, group: u32) -> io::Result<Peer> {
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let is_admitted = if is_admitted_at_once(uid, gid, Uid::effective().as_raw(), group) {
        true
    } else {
        // Looking groups up may read files or ask a directory server.
        let asked = tokio::task::spawn_blocking(move || is_member(uid, group));
        asked.await.unwrap_or(false)
    };
    Ok(Peer::Local { uid, is_admitted })
}

fn is_admitted_at_once(uid: u32, gid: u32, own_uid: u32, group: u32) -> bool {
    uid == 0 || uid == own_uid || gid == group
}

fn is_member(uid: u32, group: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
        return false;
    };
    let Ok(name) = CString::new(user.name) else {
        return false;
    };
    let groups = getgrouplist(&name, user.gid).unwrap_or_default();
    groups.contains(&Gid::from_raw(group))
}

#[cfg(test)]
mod tests {
    use super::{ControlSocket, is_admitted_at_once, is_member, peer};
    use crate::surface::auth::Peer;
    use std::os::unix::fs::PermissionsExt;
    use tokio::net::UnixStream;

    #[test]
    fn root_the_daemons_user_and_the_group_are_admitted() {
        let (own, group) = (900, 901);
        assert!(is_admitted_at_once(0, 0, own, group));
        assert!(is_admitted_at_once(own, 5, own, group));
        assert!(is_admitted_at_once(1000, group, own, group));
        assert!(!is_admitted_at_once(1000, 1000, own, group));
    }

    #[test]
    fn a_user_without_a_name_is_no_member_of_any_group() {
        assert!(is_member(0, 0));
        assert!(!is_member(4_000_000_000, 0));
    }

    #[tokio::test]
    async fn takes_the_place_of_a_dead_socket_and_knows_its_peer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/quard/control.sock");
        let dead = ControlSocket::bind(&path).unwrap();
        std::mem::forget(dead);
        let socket = ControlSocket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let _client = UnixStream::connect(&path).await.unwrap();
        let accepted = socket.accept().await.unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let is_admitted = true;
        assert_eq!(
            peer(&accepted, socket.group()).await.unwrap(),
            Peer::Local { uid, is_admitted }
        );
        drop(socket);
        assert!(!path.exists());
    }
}
