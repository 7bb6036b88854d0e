//! What must hold of any bytes that are handed in as the format file.
//! Never touches a file.

use super::{FORMAT, FORMAT_FILE_BYTES, IndexError, MAGIC, check_format, fnv_1a};
use std::path::Path;

/// The bytes as they are; with the right check; and with the right magic and check.
pub(crate) fn format_file(input: &[u8]) {
    check(input);
    let mut bytes = input.to_vec();
    if bytes.len() >= FORMAT_FILE_BYTES {
        for magic in [None, Some(MAGIC)] {
            magic.iter().for_each(|magic| bytes[..8].copy_from_slice(magic));
            let right = fnv_1a(&bytes[..12]).to_le_bytes();
            bytes[12..FORMAT_FILE_BYTES].copy_from_slice(&right);
            check(&bytes);
        }
    }
}

fn check(bytes: &[u8]) {
    let result = check_format(Path::new("index"), bytes);
    let is_ours = bytes.len() >= FORMAT_FILE_BYTES
        && bytes[..8] == MAGIC
        && bytes[8..12] != [0; 4]
        && bytes[12..FORMAT_FILE_BYTES] == fnv_1a(&bytes[..12]).to_le_bytes();
    if !is_ours {
        assert!(matches!(result, Err(IndexError::Damaged { .. })), "{result:?}");
        return;
    }
    let version = bytes[8..12].try_into().map(u32::from_le_bytes).expect("four bytes");
    match result {
        Ok(()) => assert!(version <= FORMAT),
        Err(IndexError::LaterFormat { found, known, .. }) => {
            assert!(found == version && known == FORMAT && found > known);
        }
        Err(error) => panic!("{error:?}"),
    }
}
