//! Where a node's files lie: the usual places, or the same below another root.
//! Never touches the disk.

use std::path::{Component, Path, PathBuf};

/// The places of one node's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Places below `root`; below `/` without one.
    #[must_use]
    pub fn under(root: Option<&Path>) -> Self {
        Self { root: root.unwrap_or(Path::new("/")).to_owned() }
    }

    /// The settings.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.root.join("etc/quard/quard.toml")
    }

    /// Keys, certificate and roster.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("etc/quard")
    }

    /// The cluster encryption key.
    #[must_use]
    pub fn cluster_key(&self) -> PathBuf {
        self.root.join("etc/quard/cluster.key")
    }

    /// The key of body ids, sealed under the cluster encryption key.
    #[must_use]
    pub fn id_key(&self) -> PathBuf {
        self.root.join("etc/quard/id.key")
    }

    /// This member's certificate.
    #[must_use]
    pub fn member_certificate(&self) -> PathBuf {
        self.root.join("etc/quard/member.crt")
    }

    /// This member's private key.
    #[must_use]
    pub fn member_key(&self) -> PathBuf {
        self.root.join("etc/quard/member.key")
    }

    /// The signed roster.
    #[must_use]
    pub fn roster(&self) -> PathBuf {
        self.root.join("etc/quard/roster.toml")
    }

    /// The certificate of the cluster's authority.
    #[must_use]
    pub fn authority_certificate(&self) -> PathBuf {
        self.root.join("etc/pki/BaruwaCA/certs/BaruwaCA.pem")
    }

    /// The store's directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("var/lib/quard")
    }

    /// The directory of the control socket.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run/quard")
    }

    /// Where the daemon takes an operator's orders.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("run/quard/control.sock")
    }

    /// Where a path that stands in the settings lies: moved below the root as well.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        let parts = path.components();
        let parts =
            parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        self.root.join(parts.collect::<PathBuf>())
    }
}

#[cfg(test)]
mod tests {
    use super::Paths;
    use std::path::Path;

    #[test]
    fn places_are_the_usual_ones_without_a_root() {
        let paths = Paths::under(None);
        let places = [
            (paths.config_file(), "/etc/quard/quard.toml"),
            (paths.cluster_key(), "/etc/quard/cluster.key"),
            (paths.authority_certificate(), "/etc/pki/BaruwaCA/certs/BaruwaCA.pem"),
            (paths.data_dir(), "/var/lib/quard"),
            (paths.control_socket(), "/run/quard/control.sock"),
        ];
        for (place, wanted) in places {
            assert_eq!(place, Path::new(wanted));
        }
        assert_eq!(paths.place(Path::new("/a/b")), Path::new("/a/b"));
    }

    #[test]
    fn a_root_moves_every_place() {
        let paths = Paths::under(Some(Path::new("/tmp/n1")));
        for place in [
            paths.config_dir(),
            paths.config_file(),
            paths.cluster_key(),
            paths.id_key(),
            paths.member_certificate(),
            paths.member_key(),
            paths.roster(),
            paths.authority_certificate(),
            paths.data_dir(),
            paths.run_dir(),
            paths.control_socket(),
            paths.place(Path::new("/run/quard/lmtp.sock")),
        ] {
            assert!(place.starts_with("/tmp/n1/"), "{}", place.display());
        }
    }
}
