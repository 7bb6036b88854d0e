//! Opens a node's store with the node's keys and settings: for the daemon, and for tools while it is stopped.
//! Never takes the lock of the data directory: whoever opens holds it.

use crate::config::{Config, Identity, Paths};
use crate::daemon::clock::{Clock, entropy};
use anyhow::Context;
use quar_base::signing::SigningKey;
use quar_store::{
    FreshSledHome, IndexHome, OpenProgress, OpenReport, Opening, RealDisk, Settings, SledHome,
    Store,
};
use std::sync::Arc;

/// Which index a store is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexStart {
    /// The one that is there, as far as the segments bear it out.
    AsItIs,
    /// An empty one, filled from the segments; the one that is there is set aside.
    Anew,
}

/// Opens the store.
///
/// # Errors
/// When keys do not fit, or the data directory cannot be read; it is then as it was.
pub fn open_store(
    paths: &Paths,
    config: &Config,
    identity: &Identity,
    clock: &Clock,
    index: IndexStart,
    progress: &mut dyn FnMut(OpenProgress),
) -> anyhow::Result<(Store, OpenReport)> {
    let roster = identity.roster.roster();
    let settings = Settings {
        cluster: roster.cluster,
        member: identity.member,
        node_number: identity.this_member().node_number,
        signing: Arc::new(SigningKey::from_pkcs8(&identity.private_key)?),
        keys: vec![identity.encryption_key.clone()],
        id_key: identity.id_key.clone(),
        retention: config.retention.clone(),
        min_free_bytes: config.disk.min_free.0,
        reserve_bytes: config.disk.reserve.0,
    };
    let data = paths.data_dir();
    let directory = data.join("index");
    let mut home: Box<dyn IndexHome> = match index {
        IndexStart::AsItIs => Box::new(SledHome(directory)),
        IndexStart::Anew => Box::new(FreshSledHome::new(directory)),
    };
    let opening = Opening {
        settings,
        disk: Arc::new(RealDisk::new(&data)),
        index: &mut *home,
        roster: Arc::new(roster.clone()),
        now: clock.now(),
        seed: entropy()?,
        progress,
    };
    Store::open(opening).with_context(|| format!("cannot open the store in {}", data.display()))
}
