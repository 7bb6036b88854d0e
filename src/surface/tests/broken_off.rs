//! What is asked about the disk while the daemon stops or nobody waits any more.

use super::refusal;
use super::served::Served;
use crate::api::CheckReply;
use crate::client::Client;
use quar_store::{Disk, Entry, File, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A real disk that takes its time over each read of a file, once it is slow.
#[derive(Clone)]
struct SlowDisk {
    disk: Arc<RealDisk>,
    slowness: Arc<Slowness>,
}

#[derive(Default)]
struct Slowness {
    is_slow: AtomicBool,
    reads: AtomicUsize,
    begun: Notify,
}

struct SlowFile(Arc<dyn File>, Arc<Slowness>);

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.1.is_slow.load(Ordering::SeqCst) {
            self.1.reads.fetch_add(1, Ordering::SeqCst);
            self.1.begun.notify_one();
            std::thread::sleep(Duration::from_millis(2));
        }
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

impl Disk for SlowDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_dir(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile(self.disk.create(path)?, self.slowness.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile(self.disk.open(path)?, self.slowness.clone())))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.allocate(path, bytes)
    }

    fn used_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.disk.used_bytes(directory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

struct Slow {
    served: Served,
    slowness: Arc<Slowness>,
    /// Of a whole check.
    reads: usize,
    bucket: String,
    _directory: tempfile::TempDir,
}

/// A node on a real disk with a day of some megabytes.
async fn slow() -> Slow {
    let directory = tempfile::tempdir().unwrap();
    let slowness = Arc::new(Slowness::default());
    let disk = Arc::new(RealDisk::new(directory.path()));
    let disk = SlowDisk { disk, slowness: slowness.clone() };
    let served = Served::start_on(Arc::new(disk)).await;
    let mut noise = blake3::Hasher::new().finalize_xof();
    for _ in 0..100 {
        let mut body = vec![0; 80_000];
        noise.fill(&mut body);
        served.put("class=spam&recipient=a@x", &body).await;
    }
    let bucket = served.store.buckets()[0].to_string();
    slowness.is_slow.store(true, Ordering::SeqCst);
    let mut client = served.client().await;
    let path = format!("/v1/store/check?bucket={bucket}");
    let whole: CheckReply = client.get(&path).await.unwrap();
    assert_eq!(whole.findings, Vec::<String>::new());
    let reads = slowness.reads.swap(0, Ordering::SeqCst);
    // That of the check which is over.
    slowness.begun.notified().await;
    Slow { served, slowness, reads, bucket, _directory: directory }
}

impl Slow {
    async fn begin(&self, path: &str) -> tokio::task::JoinHandle<anyhow::Result<CheckReply>> {
        let mut client: Client = self.served.client().await;
        let path = path.to_owned();
        let asked = tokio::spawn(async move { client.get(&path).await });
        self.slowness.begun.notified().await;
        asked
    }

    fn reads(&self) -> usize {
        self.slowness.reads.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_breaks_off_a_check_of_a_slow_disk() {
    let mut slow = slow().await;
    let asked = slow.begin(&format!("/v1/store/check?bucket={}", slow.bucket)).await;
    slow.served.stop.send_replace(true);
    assert_eq!(refusal(asked.await.unwrap()), (503, "stopping".into()));
    for task in slow.served.tasks.drain(..) {
        task.await.unwrap();
    }
    let reads = slow.reads();
    assert!(reads * 2 < slow.reads, "{reads} of {} reads", slow.reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_nobody_waits_for_any_more_is_broken_off() {
    let slow = slow().await;
    let holders = Arc::strong_count(&slow.served.store);
    let asked = slow.begin(&format!("/v1/store/check?bucket={}", slow.bucket)).await;
    assert!(Arc::strong_count(&slow.served.store) > holders, "who reads has the store in hand");
    asked.abort();
    while Arc::strong_count(&slow.served.store) > holders {
        tokio::task::yield_now().await;
    }
    let reads = slow.reads();
    assert!(reads * 2 < slow.reads, "{reads} of {} reads", slow.reads);
}
