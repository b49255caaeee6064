//! The in-process transport: a bounded queue of encoded frames each way.
//!
//! A broker without a TCP listener names itself `ottla-inproc:<id>`; clients in the same process dial that name.
//! Frames pass by reference count, and so do the records in them: the batch that a producer has built is the one that a log
//! in memory keeps, and what a fetch finds there is what the consumer gets. Records of a file are read into memory here.

use crate::frame::FrameError;
use crate::stream::Stream;
use ottla_env::Env;
use ottla_protocol::Frame;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;
use tokio::sync::mpsc;

/// The scheme of an in-process address.
const SCHEME: &str = "ottla-inproc:";
/// Frames that may wait in one direction of a connection before its writer waits.
const QUEUED_FRAMES_MAX: usize = 16;
/// Connections that may wait to be accepted, as a TCP backlog.
const BACKLOG: usize = 50;

/// Brokers by their world and name, with the way in.
type Directory = BTreeMap<(u64, String), mpsc::Sender<Pipe>>;

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
    incoming: mpsc::Receiver<Pipe>,
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
pub(crate) async fn connect(world: u64, address: &str) -> io::Result<Stream> {
    let refused =
        || io::Error::new(io::ErrorKind::ConnectionRefused, format!("no broker in this process is called {address}"));
    let acceptor = DIRECTORY.lock().get(&(world, address.to_owned())).cloned().ok_or_else(refused)?;
    let (to_server, from_client) = mpsc::channel(QUEUED_FRAMES_MAX);
    let (to_client, from_server) = mpsc::channel(QUEUED_FRAMES_MAX);
    let server = Pipe { sender: FrameSender(to_client), receiver: FrameReceiver(from_client) };
    acceptor.send(server).await.map_err(|_| refused())?;
    Ok(Stream::inproc(Pipe { sender: FrameSender(to_server), receiver: FrameReceiver(from_server) }))
}

/// One end of an in-process connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl Pipe {
    pub(crate) fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }
}

#[derive(Debug)]
pub(crate) struct FrameSender(mpsc::Sender<Frame>);

impl FrameSender {
    pub(crate) async fn write_frame(&mut self, content: Frame) -> io::Result<()> {
        self.0.send(content).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[derive(Debug)]
pub(crate) struct FrameReceiver(mpsc::Receiver<Frame>);

impl FrameReceiver {
    pub(crate) async fn read_frame(&mut self, limit: usize) -> Result<Frame, FrameError> {
        let frame = self.0.recv().await.ok_or(FrameError::Closed)?;
        if frame.len() > limit {
            let claimed = i32::try_from(frame.len()).unwrap_or(i32::MAX);
            return Err(FrameError::Size { claimed, limit, first_bytes: claimed.to_be_bytes() });
        }
        frame.into_memory().map_err(FrameError::Io)
    }
}
