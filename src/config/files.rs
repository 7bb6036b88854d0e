//! Files of settings and keys: read under a cap, secrets only when nobody else can, kept durably.
//! Never writes over a file in place: a reader sees the old bytes or the new ones.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file of settings or keys, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a secret was not read.
#[derive(Debug)]
pub(crate) enum SecretError {
    /// Others could read it too.
    Exposed { mode: u32 },
    /// The system's answer.
    Io(io::Error),
}

/// Reads a text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_capped(&File::open(path)?)?;
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// Reads a text that only this user may read: mode 0600 or stricter. The bytes are wiped after use.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let file = File::open(path).map_err(SecretError::Io)?;
    let mode = file.metadata().map_err(SecretError::Io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { mode });
    }
    let bytes = Zeroizing::new(read_capped(&file).map_err(SecretError::Io)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Io(not_text()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_capped(file: &File) -> io::Result<Vec<u8>> {
    // Room for all of it at once: growing would leave copies of a secret behind.
    let expected = file.metadata()?.len().min(FILE_BYTES_MAX) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let why = format!("larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

fn not_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text")
}

/// Puts a file in place, whole or not at all.
///
/// *Durable when* it returns: the bytes and the name are on disk.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "no file name");
    let directory = path.parent().ok_or_else(no_name)?;
    let name = path.file_name().ok_or_else(no_name)?.to_string_lossy();
    let beside = directory.join(format!(".{name}.new"));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let result = write_new(&beside, bytes, mode).and_then(|()| std::fs::rename(&beside, path));
    if result.is_err() {
        // The error that is reported is the first one.
        let _ = std::fs::remove_file(&beside);
    }
    result.and_then(|()| sync_directory(directory))
}

/// Writes a file that must not be there yet, and makes its bytes durable, not its name.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mode asked for, whatever the umask; before a byte is in it.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a directory with this mode, and its parents, if they are missing. Durable when it returns.
pub(crate) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(parent, 0o755)?;
    DirBuilder::new().mode(mode).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    sync_directory(parent)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{SecretError, read_secret, read_text, write_atomically, write_new};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roster.toml");
        std::fs::write(directory.path().join(".roster.toml.new"), "left by a crash").unwrap();
        write_atomically(&file, b"one", 0o644).unwrap();
        write_atomically(&file, b"two", 0o640).unwrap();
        assert_eq!(read_text(&file).unwrap(), "two");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_can_read_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o610, 0o644] {
            let file = directory.path().join(format!("{mode:o}"));
            write_new(&file, b"secret", mode).unwrap();
            let error = read_secret(&file).expect_err("others can read it");
            assert!(matches!(error, SecretError::Exposed { mode: found } if found == mode));
        }
        let file = directory.path().join("mine");
        write_new(&file, b"secret", 0o400).unwrap();
        assert_eq!(read_secret(&file).unwrap().as_str(), "secret");
    }

    #[test]
    fn a_file_that_never_ends_is_not_read() {
        let error = read_text("/dev/zero".as_ref()).expect_err("it has no end");
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    }
}
