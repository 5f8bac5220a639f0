//! A TCP proxy between two peers that holds bytes up, stalls, and cuts connections, at given moments
//! or at moments drawn from a seed.
//!
//! What it cannot do: reorder or lose parts of a stream. TCP would put them right below us; a packet
//! that is lost on the way shows as a *stall* until it is sent again, and so it does here. Peers
//! identify each other by keys, so a proxy in between is to them just another address.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::chance::Chance;

/// Bytes taken at a time; each of them is held up on its own.
const CHUNK: usize = 4096;
/// Chunks on their way in one direction before the sender has to wait.
const IN_FLIGHT: usize = 1024;
/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(10);

/// What is done to the bytes that pass.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Each chunk arrives this much later, each way.
    pub delay: Duration,
    /// Once so many bytes have passed, counted over both ways and all connections, this happens.
    pub moments: Vec<(u64, Fault)>,
}

/// Something that goes wrong at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The direction in which it happens stands still for so long, as after a lost packet.
    Stall(Duration),
    /// The connection is cut without a word.
    Cut,
}

impl Weather {
    /// This delay and `count` faults within the first `bytes`, as chance will have it: stalls of up
    /// to `longest`, and every fourth time a cut.
    pub fn of(
        chance: &mut Chance,
        delay: Duration,
        count: u64,
        bytes: u64,
        longest: Duration,
    ) -> Self {
        let mut moments: Vec<_> = (0..count)
            .map(|_| {
                let most = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
                let stall = Fault::Stall(Duration::from_millis(chance.pick(0..most)));
                let fault = if chance.pick(0..4) == 0 { Fault::Cut } else { stall };
                (chance.pick(0..bytes.max(1)), fault)
            })
            .collect();
        moments.sort_by_key(|(at, _)| *at);
        Self { delay, moments }
    }
}

/// A running proxy. Dropping it cuts every connection and ends its threads.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    delay: Duration,
    /// Moments to come, the next one last.
    moments: Mutex<Vec<(u64, Fault)>>,
    passed: AtomicU64,
    cuts: AtomicU64,
    ends: AtomicBool,
    /// Both halves of every connection, to be cut.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port of `listen` and passes connections on to `target`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn start(
        listen: std::net::IpAddr,
        target: SocketAddr,
        weather: Weather,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((listen, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let mut moments = weather.moments;
        moments.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let shared = Arc::new(Shared {
            delay: weather.delay,
            moments: Mutex::new(moments),
            passed: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let listener = thread::spawn(move || serving.listen(&listener, target));
        Ok(Self { address, shared, listener: Some(listener) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that have passed, both ways.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// Connections that it has cut at their moments.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Cuts every connection now; new ones are taken.
    pub fn cut(&self) {
        self.shared.cut_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.shared.cut_all();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.shared.cut_all();
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener, target: SocketAddr) {
        while !self.ends.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((near, _)) => {
                    let shared = Arc::clone(self);
                    // A target that is not there is a connection that ends at once.
                    thread::spawn(move || drop(shared.serve(near, target)));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn serve(self: &Arc<Self>, near: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        near.set_nonblocking(false)?;
        let far = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        self.open().extend([near.try_clone()?, far.try_clone()?]);
        for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
            let (tell, chunks) = mpsc::sync_channel(IN_FLIGHT);
            let shared = Arc::clone(self);
            thread::spawn(move || shared.read(from, &tell));
            thread::spawn(move || write(to, &chunks));
        }
        Ok(())
    }

    /// Takes bytes from one side and gives each chunk the time at which it arrives.
    fn read(&self, mut from: TcpStream, tell: &mpsc::SyncSender<(Instant, Vec<u8>)>) {
        let mut held = Instant::now();
        let mut buffer = [0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let passed = self.passed.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
            match self.fault(passed) {
                Some(Fault::Cut) => {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                Some(Fault::Stall(long)) => held = held.max(Instant::now() + long),
                None => {}
            }
            let due = held.max(Instant::now() + self.delay);
            if tell.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    }

    /// What is to happen now that so many bytes have passed.
    fn fault(&self, passed: u64) -> Option<Fault> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let due = moments.last().is_some_and(|(at, _)| *at <= passed);
        if due { moments.pop().map(|(_, fault)| fault) } else { None }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self) {
        for stream in self.open().drain(..) {
            // One that has ended by itself cannot be cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Gives one side its bytes, each chunk at its time. Ends both ways when the other side has.
fn write(mut to: TcpStream, chunks: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    for (due, chunk) in chunks {
        // The delay itself: nothing is waited for here.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
