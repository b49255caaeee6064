//! Accepting connections within the broker's limits, and closing all of them at once.

use crate::inproc::InProcListener;
use crate::server::{self, Peer, Service};
use crate::stream::Stream;
use ottla_env::Env;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// The broker's bounds on its connections, under Kafka's names.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many connections at once; shared, because it may change while the broker runs.
    pub connections: Arc<ConnectionLimits>,
    /// `connections.max.idle.ms`: a connection that neither sends nor takes a byte this long is closed.
    pub idle: Duration,
    /// `socket.request.max.bytes`.
    pub request_size_max: usize,
    /// `queued.max.requests`: requests being answered, those that wait for data or for group members apart.
    pub requests_max: usize,
    /// `queued.max.request.bytes`: bytes of requests being answered; `None` is unbounded, Kafka's default (-1).
    pub request_bytes_max: Option<u64>,
}

/// The bounds on connections that may change while the broker runs. A lower one closes nothing that is open.
#[derive(Debug)]
pub struct ConnectionLimits {
    /// `max.connections`: connections over all listeners; a further one is closed at once.
    pub max: AtomicUsize,
    /// `max.connections.per.ip`.
    pub per_ip: AtomicUsize,
}

/// Socket options of one listener.
#[derive(Debug, Clone, Default)]
pub struct ListenerOptions {
    /// `socket.send.buffer.bytes`; `None` leaves it to the operating system.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the operating system.
    pub receive_buffer_bytes: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
}

/// What the listeners have seen, for metrics and tests.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Open connections.
    pub connections: AtomicUsize,
    /// Connections refused by a limit since the start.
    pub refused: AtomicU64,
}

/// State shared by all listeners and connections of one broker.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) env: Env,
    pub(crate) service: S,
    pub(crate) limits: Limits,
    pub(crate) admission: Arc<Semaphore>,
    pub(crate) budget: Arc<ByteBudget>,
    stats: Arc<ListenerStats>,
    /// Guards the connection counts per address.
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    stop: watch::Sender<bool>,
}

/// All listeners of one broker with their connections.
#[derive(Debug)]
pub struct Listener<S> {
    shared: Arc<Shared<S>>,
}

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

impl<S: Service> Listener<S> {
    /// No listener yet; add them with [`Listener::tcp`] and [`Listener::inproc`].
    pub fn new(env: Env, service: S, limits: Limits) -> Listener<S> {
        let admission = Arc::new(Semaphore::new(limits.requests_max.clamp(1, Semaphore::MAX_PERMITS)));
        let budget = Arc::new(ByteBudget::new(limits.request_bytes_max));
        let (stop, _) = watch::channel(false);
        let stats = Arc::new(ListenerStats::default());
        let per_ip = Mutex::default();
        Listener { shared: Arc::new(Shared { env, service, limits, admission, budget, stats, per_ip, stop }) }
    }

    /// The service that answers.
    pub fn service(&self) -> &S {
        &self.shared.service
    }

    /// Connection counts.
    pub fn stats(&self) -> Arc<ListenerStats> {
        self.shared.stats.clone()
    }

    /// Binds a TCP listener without accepting yet, so that its port is known before the broker advertises it.
    pub fn bind(address: SocketAddr, options: &ListenerOptions) -> io::Result<std::net::TcpListener> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted broker takes its port back while old connections linger in TIME_WAIT; two live ones cannot.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(&address.into())?;
        socket.listen(options.backlog.max(1))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// Accepts on `socket` as listener `name` until [`Listener::close`].
    pub fn tcp(&self, name: Arc<str>, socket: std::net::TcpListener) -> io::Result<()> {
        let acceptor = TcpListener::from_std(socket)?;
        let shared = self.shared.clone();
        let mut stopped = shared.stop.subscribe();
        self.shared.env.spawn("acceptor", async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stop| *stop) => return,
                    accepted = acceptor.accept() => accepted,
                };
                match accepted {
                    Ok((socket, peer)) => {
                        // Small answers must not wait for a full segment.
                        if socket.set_nodelay(true).is_ok() {
                            Shared::admit(&shared, Stream::tcp(socket, peer), name.clone());
                        }
                    }
                    Err(error) => {
                        // Out of descriptors: accepting again at once would spin.
                        tracing::warn!(%error, listener = %name, "accepting a connection failed");
                        shared.env.sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Ok(())
    }

    /// Accepts in-process connections as listener `name` until [`Listener::close`].
    pub fn inproc(&self, name: Arc<str>, mut acceptor: InProcListener) {
        let shared = self.shared.clone();
        let mut stopped = shared.stop.subscribe();
        self.shared.env.spawn("in-process acceptor", async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stop| *stop) => return,
                    accepted = acceptor.accept() => accepted,
                };
                let Some(stream) = accepted else { return };
                Shared::admit(&shared, stream, name.clone());
            }
        });
    }

    /// Stops accepting and closes every connection; requests that wait are dropped unanswered, as when a broker dies.
    /// Returns when all are gone.
    pub async fn close(&self) {
        self.stop();
        self.shared.stop.closed().await;
    }

    /// What does as [`Listener::stop`] for as long as there are listeners or connections.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.stop.send_replace(true);
            }
        }
    }

    /// As [`Listener::close`] without waiting for the connections to be gone.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }
}

impl<S: Service> Shared<S> {
    fn admit(shared: &Arc<Shared<S>>, stream: Stream, listener: Arc<str>) {
        let address = stream.peer();
        let Some(seat) = Seat::take(shared, address.map(|peer| peer.ip())) else {
            shared.stats.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let peer = Peer { address, listener, connection_id: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed) };
        let stop = shared.stop.subscribe();
        let shared = shared.clone();
        let env = shared.env.clone();
        let way = stream.way();
        let serve = async move {
            let _seat = seat;
            if let Some(reason) = server::serve(shared, stream, peer, stop).await {
                tracing::info!(peer = ?address, "closed a connection: {reason}");
            }
        };
        match way {
            None => drop(env.spawn("connection", serve)),
            Some(way) => way.served_by(env.spawn_near("connection", serve).1),
        }
    }
}

/// One connection's place under `max.connections` and `max.connections.per.ip`, given back on drop.
struct Seat<S> {
    shared: Arc<Shared<S>>,
    ip: Option<IpAddr>,
}

impl<S> Seat<S> {
    fn take(shared: &Arc<Shared<S>>, ip: Option<IpAddr>) -> Option<Seat<S>> {
        let max = shared.limits.connections.max.load(Ordering::Relaxed);
        let per_ip_max = shared.limits.connections.per_ip.load(Ordering::Relaxed);
        let mut per_ip = shared.per_ip.lock();
        let open = shared.stats.connections.load(Ordering::Relaxed);
        let from_ip = ip.map_or(0, |ip| per_ip.get(&ip).copied().unwrap_or(0));
        if open >= max {
            tracing::warn!(?ip, limit = max, "refused a connection: max.connections is reached");
            return None;
        }
        if ip.is_some() && from_ip >= per_ip_max {
            tracing::warn!(?ip, limit = per_ip_max, "refused a connection: max.connections.per.ip is reached");
            return None;
        }
        if let Some(ip) = ip {
            per_ip.insert(ip, from_ip + 1);
        }
        shared.stats.connections.fetch_add(1, Ordering::Relaxed);
        drop(per_ip);
        Some(Seat { shared: shared.clone(), ip })
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        let mut per_ip = self.shared.per_ip.lock();
        self.shared.stats.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = self.ip
            && let Some(count) = per_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&ip);
            }
        }
    }
}

/// `queued.max.request.bytes`. As Kafka's memory pool it lets a request in whenever anything is left, so that one
/// larger than the whole budget still gets its turn; the overshoot is bounded by one request per connection.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    left: Option<AtomicI64>,
    freed: Notify,
}

impl ByteBudget {
    fn new(limit: Option<u64>) -> ByteBudget {
        let left = limit.map(|bytes| AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)));
        ByteBudget { left, freed: Notify::new() }
    }

    /// Waits until anything is left.
    pub(crate) async fn wait(&self) {
        let Some(left) = &self.left else { return };
        loop {
            // Registered before the check: a release between the two must not be missed.
            let freed = self.freed.notified();
            if left.load(Ordering::Acquire) > 0 {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> HeldBytes {
        if let Some(left) = &self.left {
            left.fetch_sub(bytes as i64, Ordering::AcqRel);
        }
        HeldBytes { budget: self.clone(), bytes }
    }
}

#[derive(Debug)]
pub(crate) struct HeldBytes {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let Some(left) = &self.budget.left {
            left.fetch_add(self.bytes as i64, Ordering::AcqRel);
            self.budget.freed.notify_waiters();
        }
    }
}

/// One request's seat under `queued.max.requests` and its share of `queued.max.request.bytes`, given back on drop.
#[derive(Debug)]
pub struct Admission {
    pub(crate) _seat: OwnedSemaphorePermit,
    pub(crate) _bytes: HeldBytes,
}
