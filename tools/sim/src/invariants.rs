//! What must hold, each statement of the design in a file of its own.
//! Never changes anything in the cluster.

pub mod acknowledged_is_readable;
pub mod bodies_follow;
pub mod bytes_match;
pub mod converges;
pub mod deleted_stays_deleted;
pub mod equal_when_quiet;
pub mod held_is_kept;
pub mod index_equals_rebuild;
pub mod merging;
pub mod no_quorum;
pub mod release_once;
pub mod removed_changes_nothing;
pub mod unlinked_late_enough;
pub mod within_caps;
