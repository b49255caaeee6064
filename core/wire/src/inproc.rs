//! The in-process transport: a bounded queue of encoded requests one way, and a call with each answer the other way.
//!
//! Nobody stands between the two ends. A client that queues a request runs the task that serves its connection on the spot,
//! where that waits and real time allows it ([`Near`]), and that task hands its answer to whoever awaits it. So a request that
//! is answered at once wakes nobody. Otherwise each side goes on when its executor has its turn, as over a socket.
//!
//! A broker without a TCP listener names itself `ottla-inproc:<id>`; clients in the same process dial that name.
//! Frames pass by reference count, and so do the records in them: the batch that a producer has built is the one that a log
//! in memory keeps, and what a fetch finds there is what the consumer gets. Records of a file are read into memory here.

use crate::frame::FrameError;
use crate::stream::Stream;
use ottla_env::{Env, Near};
use ottla_protocol::Frame;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use tokio::sync::mpsc;

/// The scheme of an in-process address.
const SCHEME: &str = "ottla-inproc:";
/// Requests that may wait on a connection before their sender waits.
const QUEUED_FRAMES_MAX: usize = 16;
/// Connections that may wait to be accepted, as a TCP backlog.
const BACKLOG: usize = 50;

/// Brokers by their world and name, with the way in.
type Directory = BTreeMap<(u64, String), mpsc::Sender<ServerEnd>>;

/// Names of the brokers in this process that accept in-process connections, by the world that they are in: simulations of one
/// seed give their brokers the same names.
static DIRECTORY: LazyLock<Mutex<Directory>> = LazyLock::new(Mutex::default);

/// The address that in-process clients dial for the broker `id`: `ottla-inproc:<id>`.
pub fn inproc_name(id: &str) -> String {
    format!("{SCHEME}{id}")
}

/// Whether `address` names an in-process broker.
pub(crate) fn is_inproc(address: &str) -> bool {
    address.starts_with(SCHEME)
}

/// Accepts in-process connections under one name until dropped.
#[derive(Debug)]
pub struct InProcListener {
    world: u64,
    name: String,
    incoming: mpsc::Receiver<ServerEnd>,
}

impl InProcListener {
    /// Takes the name `ottla-inproc:<id>`; refused when a broker in this process has it.
    pub fn bind(id: &str) -> io::Result<InProcListener> {
        InProcListener::bind_world(0, id)
    }

    /// As [`InProcListener::bind`], in the [world](Env::world) of `env`.
    pub fn bind_in(env: &Env, id: &str) -> io::Result<InProcListener> {
        InProcListener::bind_world(env.world(), id)
    }

    fn bind_world(world: u64, id: &str) -> io::Result<InProcListener> {
        let name = inproc_name(id);
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut directory = DIRECTORY.lock();
        if directory.get(&(world, name.clone())).is_some_and(|existing| !existing.is_closed()) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{name} is taken by another broker")));
        }
        directory.insert((world, name.clone()), sender);
        Ok(InProcListener { world, name, incoming })
    }

    /// The address to dial.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next connection; `None` once the listener is closed.
    pub(crate) async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await.map(Stream::inproc)
    }
}

impl Drop for InProcListener {
    fn drop(&mut self) {
        DIRECTORY.lock().remove(&(self.world, std::mem::take(&mut self.name)));
    }
}

/// Connects to the in-process broker called `address`, in the [world](Env::world) that the client is in.
pub(crate) async fn connect(world: u64, address: &str) -> io::Result<ClientEnd> {
    let refused =
        || io::Error::new(io::ErrorKind::ConnectionRefused, format!("no broker in this process is called {address}"));
    let acceptor = DIRECTORY.lock().get(&(world, address.to_owned())).cloned().ok_or_else(refused)?;
    let (requests, queue) = mpsc::channel(QUEUED_FRAMES_MAX);
    let way = Arc::new(Way::default());
    let server = ServerEnd { requests: Requests(queue), answers: ToClient(way.clone()) };
    acceptor.send(server).await.map_err(|_| refused())?;
    Ok(ClientEnd { requests, way })
}

/// Takes the answers of a connection, on the task that serves it: must not block.
pub(crate) trait Answers: std::fmt::Debug + Send + Sync {
    /// One answer. False: the connection has ended.
    fn answer(&self, frame: Frame) -> bool;
    /// The server has ended the connection.
    fn end(&self);
}

/// What both ends know of each other.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Set by the client before its first request.
    answers: OnceLock<Arc<dyn Answers>>,
    /// The server's end is gone.
    gone: AtomicBool,
    /// The task that serves the connection, once it was accepted.
    server: OnceLock<Near>,
}

impl Way {
    /// Has `answers` take the answers. It is told at once if the server has ended the connection already.
    pub(crate) fn answer_to(&self, answers: Arc<dyn Answers>) {
        let _ = self.answers.set(answers.clone());
        if self.gone.load(Ordering::SeqCst) {
            answers.end();
        }
    }

    /// `server` serves this connection.
    pub(crate) fn served_by(&self, server: Near) {
        let _ = self.server.set(server);
    }

    /// Does `give`, which queues a request, and has it answered at once where that is possible.
    pub(crate) fn feed(&self, give: impl FnOnce()) {
        match self.server.get() {
            Some(server) => drop(server.feed(give)),
            None => give(),
        }
    }
}

/// The client's end of a connection. The server ends it once `requests` is dropped and its queue empty.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    pub(crate) requests: mpsc::Sender<Frame>,
    pub(crate) way: Arc<Way>,
}

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct ServerEnd {
    requests: Requests,
    answers: ToClient,
}

impl ServerEnd {
    pub(crate) fn split(self) -> (ToClient, Requests) {
        (self.answers, self.requests)
    }
}

#[derive(Debug)]
pub(crate) struct ToClient(Arc<Way>);

impl ToClient {
    pub(crate) fn way(&self) -> Arc<Way> {
        self.0.clone()
    }

    /// Records that lie in a file are read into memory here.
    pub(crate) fn write_frame(&mut self, content: Frame) -> io::Result<()> {
        let frame = content.into_memory()?;
        match self.0.answers.get() {
            Some(answers) if answers.answer(frame) => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for ToClient {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::SeqCst);
        if let Some(answers) = self.0.answers.get() {
            answers.end();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Frame>);

impl Requests {
    pub(crate) async fn read_frame(&mut self, limit: usize) -> Result<Frame, FrameError> {
        let frame = self.0.recv().await.ok_or(FrameError::Closed)?;
        if frame.len() > limit {
            let claimed = i32::try_from(frame.len()).unwrap_or(i32::MAX);
            return Err(FrameError::Size { claimed, limit, first_bytes: claimed.to_be_bytes() });
        }
        frame.into_memory().map_err(FrameError::Io)
    }
}
