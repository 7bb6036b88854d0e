//! A bad line in user space, for UDP and TCP on one port: it delays, drops, throttles and cuts, by a seed.
//!
//! ```text
//! dialer ──► front port ──► pipe: queue ─► rate ─► loss ─► delay ──► the node behind
//!        ◄──            ◄── pipe of its own, for each flow and direction ◄──
//! ```
//! A datagram is dropped when the queue is full, or by chance. A TCP byte is never dropped: who writes waits for the
//! queue, and a segment that chance would drop arrives one round trip later, with all behind it. The dialer's kernel
//! does not see that loss, so that its congestion window stays open: over TCP the line is better than a real one.

use quar_base::rng::Rng;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Where lines stand: no daemon of a test listens there, and none loses its port to a line.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const PORT_TRIES: usize = 64;
const SEGMENT_BYTES: usize = 1460;
const CHUNK_BYTES: usize = 8 * SEGMENT_BYTES;
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// How bad a line is, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// One way.
    pub delay: Duration,
    /// Of a million datagrams or segments, so many are lost.
    pub lost_of_million: u64,
    /// Bytes a second; 0: as many as come.
    pub bytes_per_s: u64,
    /// How long a byte may wait for its turn.
    pub queue: Duration,
}

impl Quality {
    /// A line that changes nothing.
    pub const GOOD: Self = Self {
        delay: Duration::ZERO,
        lost_of_million: 0,
        bytes_per_s: 0,
        queue: Duration::from_secs(3600),
    };
}

/// What all lines of a cluster have in common: how bad they are now, and what they carried.
pub struct Control {
    quality: Mutex<Quality>,
    /// Another quality for all lines of the node at this address.
    of_one: Mutex<Option<(IpAddr, Quality)>>,
    seed: u64,
    flows: AtomicU64,
    passes_udp: AtomicBool,
    passes_tcp: AtomicBool,
    /// Counts cuts: TCP connections of an earlier count end.
    cuts: watch::Sender<u64>,
    is_cut: AtomicBool,
    udp_bytes: AtomicU64,
    tcp_bytes: AtomicU64,
    tcp_open: AtomicU64,
}

impl Control {
    pub fn new(quality: Quality, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            quality: Mutex::new(quality),
            of_one: Mutex::new(None),
            seed,
            flows: AtomicU64::new(0),
            passes_udp: AtomicBool::new(true),
            passes_tcp: AtomicBool::new(true),
            cuts: watch::channel(0).0,
            is_cut: AtomicBool::new(false),
            udp_bytes: AtomicU64::new(0),
            tcp_bytes: AtomicU64::new(0),
            tcp_open: AtomicU64::new(0),
        })
    }

    /// Makes all lines of one node, which listens and dials at this address, better or worse.
    pub fn set_quality_of(&self, node: IpAddr, quality: Quality) {
        *self.of_one.lock().unwrap() = Some((node, quality));
    }

    /// Drops all datagrams from now on, or lets them through again.
    pub fn filter_udp(&self, is_filtered: bool) {
        self.passes_udp.store(!is_filtered, Ordering::Relaxed);
    }

    /// The same for TCP: connections end, and new ones end at once.
    pub fn filter_tcp(&self, is_filtered: bool) {
        self.passes_tcp.store(!is_filtered, Ordering::Relaxed);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Nothing goes through; TCP connections break.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }

    /// Bytes that went in, over UDP and over TCP, in both directions.
    pub fn carried_bytes(&self) -> (u64, u64) {
        (self.udp_bytes.load(Ordering::Relaxed), self.tcp_bytes.load(Ordering::Relaxed))
    }

    /// TCP connections that are open now.
    pub fn tcp_open(&self) -> u64 {
        self.tcp_open.load(Ordering::Relaxed)
    }

    /// Cuts the lines for `length` in every `period`, until the handle is aborted.
    pub fn cut_every(self: &Arc<Self>, period: Duration, length: Duration) -> AbortHandle {
        let control = self.clone();
        let cutting = tokio::spawn(async move {
            loop {
                tokio::time::sleep(period - length).await;
                control.cut();
                tokio::time::sleep(length).await;
                control.mend();
            }
        });
        cutting.abort_handle()
    }

    fn quality(&self, ends: Ends) -> Quality {
        match *self.of_one.lock().unwrap() {
            Some((node, quality)) if ends.contains(&node) => quality,
            _ => *self.quality.lock().unwrap(),
        }
    }

    fn passes(&self, switch: &AtomicBool) -> bool {
        switch.load(Ordering::Relaxed) && !self.is_cut.load(Ordering::Relaxed)
    }

    fn pipe(&self) -> Pipe {
        let number = self.flows.fetch_add(1, Ordering::Relaxed);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&number.to_le_bytes());
        let now = Instant::now();
        Pipe { rng: Rng::from_seed(seed), free_at: now, last_at: now }
    }
}

/// Who speaks over a line: nodes dial from the address at which they listen.
type Ends = [IpAddr; 2];

/// One direction of one flow: when what goes in comes out.
struct Pipe {
    rng: Rng,
    /// When the line has sent what is queued.
    free_at: Instant,
    /// TCP: when the last byte arrives.
    last_at: Instant,
}

impl Pipe {
    fn is_full(&self, quality: &Quality) -> bool {
        self.free_at.saturating_duration_since(Instant::now()) > quality.queue
    }

    fn is_lost(&mut self, quality: &Quality) -> bool {
        self.rng.below(1_000_000) < quality.lost_of_million
    }

    fn enqueue(&mut self, bytes: usize, quality: &Quality) -> Instant {
        let takes = match quality.bytes_per_s {
            0 => Duration::ZERO,
            rate => Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate),
        };
        self.free_at = self.free_at.max(Instant::now()) + takes;
        self.free_at + quality.delay
    }

    /// When a datagram arrives; `None`: it does not.
    fn datagram(&mut self, bytes: usize, quality: &Quality) -> Option<Instant> {
        if self.is_full(quality) {
            return None;
        }
        let at = self.enqueue(bytes, quality);
        (!self.is_lost(quality)).then_some(at)
    }

    /// When bytes of a stream arrive.
    fn stream(&mut self, bytes: usize, quality: &Quality) -> Instant {
        let mut at = self.enqueue(bytes, quality);
        for _ in 0..bytes.div_ceil(SEGMENT_BYTES) {
            if self.is_lost(quality) {
                at += 2 * quality.delay;
            }
        }
        self.last_at = self.last_at.max(at);
        self.last_at
    }
}

/// The line to one node.
pub struct Line {
    pub address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
}

impl Line {
    pub async fn start(control: &Arc<Control>) -> Self {
        let (tcp, udp) = open().await;
        let address = tcp.local_addr().unwrap();
        let (target, to) = watch::channel(None);
        tokio::spawn(take_tcp(tcp, to.clone(), control.clone()));
        tokio::spawn(take_udp(udp, to, control.clone()));
        Self { address, target }
    }

    pub fn lead_to(&self, node: SocketAddr) {
        self.target.send_replace(Some(node));
    }
}

/// One free port of both kinds.
async fn open() -> (TcpListener, UdpSocket) {
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind((HERE, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (tcp, udp);
        }
    }
    panic!("no port is free for both TCP and UDP");
}

async fn take_tcp(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    control: Arc<Control>,
) {
    loop {
        let (near, from) = listener.accept().await.unwrap();
        let to = *target.borrow();
        if let Some(to) = to.filter(|_| control.passes(&control.passes_tcp)) {
            tokio::spawn(carry_tcp(near, [from.ip(), to.ip()], to, control.clone()));
        }
    }
}

async fn carry_tcp(near: TcpStream, ends: Ends, target: SocketAddr, control: Arc<Control>) {
    let mut cuts = control.cuts.subscribe();
    cuts.mark_unchanged();
    // The handshake of TCP itself takes a round trip.
    let round_trip = 2 * control.quality(ends).delay;
    sleep_until(Instant::now() + round_trip).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    let Ok(far) = socket.connect(target).await else { return };
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    control.tcp_open.fetch_add(1, Ordering::Relaxed);
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        _ = async { tokio::join!(
            carry_stream(near_read, far_write, ends, &control),
            carry_stream(far_read, near_write, ends, &control),
        ) } => {}
        _ = cuts.changed() => {}
    }
    control.tcp_open.fetch_sub(1, Ordering::Relaxed);
}

async fn carry_stream(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    ends: Ends,
    control: &Control,
) {
    let mut pipe = control.pipe();
    let (queue, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let deliver = async move {
        while let Some((at, bytes)) = arriving.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let take = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let quality = control.quality(ends);
            if pipe.is_full(&quality) {
                sleep_until(pipe.free_at - quality.queue).await;
                continue;
            }
            let Ok(count @ 1..) = from.read(&mut chunk).await else { return };
            control.tcp_bytes.fetch_add(count as u64, Ordering::Relaxed);
            let at = pipe.stream(count, &quality);
            if queue.send((at, chunk[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    tokio::join!(deliver, take);
}

/// Datagrams on their way in one direction of one flow.
#[derive(Clone)]
struct Lane {
    ends: Ends,
    pipe: Arc<Mutex<Pipe>>,
    queue: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
}

impl Lane {
    fn start(control: &Control, ends: Ends, socket: Arc<UdpSocket>, to: SocketAddr) -> Self {
        let (queue, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        tokio::spawn(async move {
            while let Some((at, bytes)) = arriving.recv().await {
                sleep_until(at).await;
                // When nobody listens there, it is a datagram more that is lost.
                let _ = socket.send_to(&bytes, to).await;
            }
        });
        Self { ends, pipe: Arc::new(Mutex::new(control.pipe())), queue }
    }

    fn send(&self, bytes: &[u8], control: &Control) {
        if !control.passes(&control.passes_udp) {
            return;
        }
        control.udp_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let at = self.pipe.lock().unwrap().datagram(bytes.len(), &control.quality(self.ends));
        if let Some(at) = at {
            let _ = self.queue.send((at, bytes.to_vec()));
        }
    }
}

async fn take_udp(
    front: UdpSocket,
    target: watch::Receiver<Option<SocketAddr>>,
    control: Arc<Control>,
) {
    let front = Arc::new(front);
    let mut flows: HashMap<(SocketAddr, SocketAddr), Lane> = HashMap::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error tells of an earlier datagram that did not arrive.
        let Ok((count, from)) = front.recv_from(&mut datagram).await else { continue };
        let Some(to) = *target.borrow() else { continue };
        if let std::collections::hash_map::Entry::Vacant(vacant) = flows.entry((from, to)) {
            let back = Arc::new(UdpSocket::bind((HERE, 0)).await.unwrap());
            let ends = [from.ip(), to.ip()];
            vacant.insert(Lane::start(&control, ends, back.clone(), to));
            let lane = Lane::start(&control, ends, front.clone(), from);
            tokio::spawn(come_back(back, lane, control.clone()));
        }
        flows[&(from, to)].send(&datagram[..count], &control);
    }
}

async fn come_back(back: Arc<UdpSocket>, lane: Lane, control: Arc<Control>) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if let Ok((count, _)) = back.recv_from(&mut datagram).await {
            lane.send(&datagram[..count], &control);
        }
    }
}
