//! How a node starts and how it stops.
//! Never leaves anything acknowledged behind that is not durable.
//!
//! ```text
//! start  config, keys, roster ─► lock ─► store opens ─► peers ─► node task ─► intakes and surfaces
//! stop   intakes and surfaces end ─► what waits is committed, answered, pushed ─► index flushed ─► peers told
//! ```

use crate::config::{Config, Identity, ListenAddress, Paths};
use crate::daemon::brake::Brake;
use crate::daemon::clock::Clock;
use crate::daemon::driver::{Driver, Event, Parts};
use crate::daemon::handle::NodeHandle;
use crate::daemon::links::Links;
use crate::daemon::opening::{IndexStart, open_store};
use crate::daemon::prove::Prover;
use crate::daemon::release;
use crate::daemon::room::Room;
use crate::daemon::roster_file;
use crate::daemon::upkeep::Upkeep;
use crate::delivery::Timeouts;
use crate::intake::lmtp::{self, Listener};
use crate::lock::DataLock;
use crate::surface;
use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use quar_node::{CopyRule, Node, NodeSettings};
use quar_store::{OpenReport, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};

/// Events that wait for the node task before their senders wait too.
const EVENTS_QUEUED: usize = 4096;

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, with what to do about it.
pub fn run_until_stopped(paths: &Paths) -> anyhow::Result<()> {
    let config = Config::load(paths)?;
    start_log(&config);
    raise_open_files();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let threads = config.runtime.worker_threads.map_or_else(default_worker_threads, usize::from);
    let runtime = builder.worker_threads(threads).enable_all().build()?;
    runtime.block_on(run(paths, &config))
}

/// As many open files as the system lets this process have: one for each segment that is written to or read, one for
/// each connection. 1024, where many begin, is for programs that count on it (select).
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        false => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Half of the processors: the other half is for the commit thread and the mail filter. On two,
/// one thread takes in a quarter more mail than two that wake each other (docs/benchmarks.md).
fn default_worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

fn start_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::new(config.log.level.as_str());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start within one process keeps the first one's log.
    let _ = match config.log.format {
        crate::config::LogFormat::Text => log.with_ansi(false).try_init(),
        crate::config::LogFormat::Json => log.json().try_init(),
    };
}

async fn run(paths: &Paths, config: &Config) -> anyhow::Result<()> {
    let clock = Clock::start();
    let identity = Identity::load(paths)?;
    let _lock = DataLock::acquire(&paths.data_dir())?;
    let store = Arc::new(open(paths, config, &identity, &clock)?);
    let (events, queue) = mpsc::channel(EVENTS_QUEUED);
    let links = connect(config, &identity, &store, events.clone(), &clock)?;
    let mut node = Node::new(
        &NodeSettings {
            member: identity.member,
            copies: CopyRule { copies: config.sync.copies, timeout: config.sync.copies_timeout },
            push_bytes_max: config.sync.push_bytes_max.0,
        },
        store.clone(),
        identity.roster.clone(),
        identity.authority_key,
        store.last_seen().with_context(|| {
            format!("cannot read when this node ran last from {}", paths.data_dir().display())
        })?,
    );
    node.limit_bulk(config.sync.rate);
    let roster_paths = paths.clone();
    let upkeep = Upkeep::new(store.clone(), clock.clone(), config.upkeep);
    let room = Room::new(store.clone(), clock.clone(), config.expire_oldest.clone());
    let parts = Parts {
        upkeep: upkeep.clone(),
        room: room.clone(),
        node,
        store: store.clone(),
        links: links.clone(),
        clock: clock.clone(),
        save_roster: Box::new(move |signed| Ok(crate::config::save_roster(&roster_paths, signed)?)),
    };
    let driver = Driver::new(parts, events.clone())?;
    let running = tokio::spawn(driver.run(queue));
    links.start();
    let handle = NodeHandle::new(
        store.clone(),
        events.clone(),
        release_settings(config, &identity),
        Brake::new(config.delete.brake_per_minute),
        Prover::new(&identity),
        clock.clone(),
    );
    let (stop, stopping) = watch::channel(false);
    let surfaces = serve(paths, config, &handle, &stopping).await?;
    let room = tokio::spawn(room.keep(stopping.clone()));
    let authority = identity.authority_key;
    tokio::spawn(roster_file::follow(paths.clone(), authority, events.clone(), stopping.clone()));
    let upkeep = tokio::spawn(upkeep.run(stopping));
    tracing::info!(member = %identity.member, "running");

    stopped_by_signal().await?;
    tracing::info!("stopping");
    stop.send_replace(true);
    for surface in surfaces {
        if let Err(error) = surface.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
    upkeep.await?;
    room.await?;
    let (done, answered) = oneshot::channel();
    events.send(Event::Stop(done)).await.ok().context("the node task ended before the daemon")?;
    answered.await?;
    running.await?;
    links.shutdown().await;
    Ok(())
}

fn open(
    paths: &Paths,
    config: &Config,
    identity: &Identity,
    clock: &Clock,
) -> anyhow::Result<Store> {
    let mut shown = 0;
    let index = IndexStart::AsItIs;
    let (store, report) = open_store(paths, config, identity, clock, index, &mut |progress| {
        let percent = progress.segments_done * 10 / progress.segments_total.max(1);
        if progress.is_rebuilding && percent > shown {
            shown = percent;
            tracing::info!("rebuilding the index: {}%", percent * 10);
        }
    })?;
    tell(&report);
    Ok(store)
}

fn tell(report: &OpenReport) {
    if let Some(why) = &report.rebuilt {
        tracing::warn!(why, "the index was built again from the segments; nothing is lost by that");
    }
    for place in &report.damaged {
        tracing::error!(place, "damaged on disk; what it held is fetched from the peers");
    }
    let (records, torn) = (report.replayed_records, report.torn_tails);
    tracing::info!(records, torn, "opened; records replayed, unfinished writes skipped");
}

fn connect(
    config: &Config,
    identity: &Identity,
    store: &Arc<Store>,
    events: mpsc::Sender<Event>,
    clock: &Clock,
) -> anyhow::Result<Arc<Links>> {
    let admitting = store.clone();
    let admission: quar_net::Admission = Arc::new(move |member, key| {
        let roster = admitting.roster();
        roster.member(member).is_some_and(|known| known.public_key == *key)
    });
    let mut settings = quar_net::Settings::new(config.sync.listen, identity.network(), admission);
    settings.tcp = config.sync.tcp;
    settings.quic = config.sync.quic;
    let endpoint = quar_net::Endpoint::bind(settings)?;
    let roster = store.roster();
    let me = identity.member;
    Ok(Links::new(me, endpoint, roster, events, clock.clone()))
}

fn release_settings(config: &Config, identity: &Identity) -> release::Settings {
    let time = |millis: quar_base::time::Millis| Duration::from_millis(millis.0);
    release::Settings {
        host: config.release.host.clone(),
        helo: config.release.helo.clone().unwrap_or_else(|| identity.this_member().name.clone()),
        timeouts: Timeouts {
            connect: time(config.release.connect_timeout),
            command: time(config.release.reply_timeout),
            block: time(config.release.data_timeout),
            // A server may take its time over the whole message: hasty means unknown.
            end: time(config.release.data_timeout).max(Duration::from_secs(600)),
        },
    }
}

type Surfaces = Vec<tokio::task::JoinHandle<()>>;

async fn serve(
    paths: &Paths,
    config: &Config,
    handle: &NodeHandle,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<Surfaces> {
    let mut surfaces = surface::start(paths, config, handle, stopping).await?;
    surfaces.extend(take_mail(config, handle, stopping).await?);
    Ok(surfaces)
}

/// Starts the LMTP listeners.
async fn take_mail(
    config: &Config,
    handle: &NodeHandle,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<Surfaces> {
    let name = handle.name();
    let mut settings = lmtp::Settings::new(&name, config.lmtp.class);
    settings.class_from_extension = config.lmtp.class_from_extension;
    settings.message_bytes_max = usize::try_from(config.lmtp.message_bytes_max.0)?;
    let mut listeners = Vec::new();
    for address in &config.lmtp.listen {
        let listener = match address {
            ListenAddress::Tcp(address) => {
                let bound = TcpListener::bind(address).await;
                Listener::from(bound.with_context(|| format!("cannot take mail on {address}"))?)
            }
            ListenAddress::Unix(path) => {
                let bound = bind_unix(path);
                let shown = path.display();
                Listener::from(bound.with_context(|| format!("cannot take mail on {shown}"))?)
            }
        };
        let serving = lmtp::serve(listener, settings.clone(), handle.clone(), stopping.clone());
        listeners.push(tokio::spawn(serving));
    }
    Ok(listeners)
}

/// Binds a Unix socket that its group may use, in place of what a daemon that died left.
///
/// The lock on the data directory is held: no living daemon loses its socket.
fn bind_unix(path: &std::path::Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn stopped_by_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
