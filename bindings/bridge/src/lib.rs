//! What all bindings share: everything between a language's own types and the `ottla` crate.
//!
//! A binding unpacks its language's values, calls one of the functions here, and packs what comes back. Calls go down only:
//! nothing here calls the host; what there is to say waits in the [`Queue`] until the host fetches it. The README of this
//! folder is the page that says what crosses.
//!
//! ```
//! use ottla_bridge::{Answer, Event};
//! use std::time::Duration;
//!
//! let queue = ottla_bridge::open_queue()?;
//! ottla_bridge::call(queue, 1, "broker.start", &[])?;
//! let events = ottla_bridge::queue(queue)?.wait(16, Duration::from_secs(30));
//! let Some(Event::Completed { ticket: 1, result: Ok(Answer::Handle(broker)) }) = events.first() else { panic!() };
//! # assert!(broker.0 > 0);
//! ottla_bridge::close(queue)?; // and the broker with it
//! # Ok::<(), ottla_bridge::Error>(())
//! ```

// The clock of waiting hosts, threads and tasks of the bindings: outside of the engine, which has its own door to them.
#![allow(clippy::disallowed_methods)]

mod error;
pub mod frame;
mod guard;
mod log;
mod ops;
mod queue;
mod received;
mod runtime;
mod state;

pub use error::{Error, Kind};
pub use guard::guard;
pub use ops::{Sent, Waited, Waiting};
pub use ottla::client::ProducerRecord;
pub use queue::{Answer, CALLS_MAX, Event, Outstanding, Queue};
pub use state::Handle;

use bytes::Bytes;
use ops::Object;
use std::sync::Arc;

/// Changes when a host of another version could not go on with this library. Hosts compare it when they load it.
pub const ABI: u32 = 1;

/// [`ABI`], as a call.
pub fn abi() -> u32 {
    ABI
}

/// A queue, on which brokers and clients are opened with [`call`].
///
/// # Errors
/// No file descriptor is left.
pub fn open_queue() -> Result<Handle, Error> {
    guard(|| {
        let mut failed = None;
        let handle = state::state()?.insert(|handle| match Queue::new(handle) {
            Ok(queue) => Object::Queue(queue),
            Err(error) => {
                failed = Some(error);
                Object::None
            }
        })?;
        match failed {
            None => Ok(handle),
            Some(error) => {
                state::take(handle)?;
                Err(error)
            }
        }
    })
}

/// The queue of this handle.
///
/// # Errors
/// It is closed, or the handle is of something else.
pub fn queue(handle: Handle) -> Result<Arc<Queue>, Error> {
    match state::find(handle)? {
        Object::Queue(queue) => Ok(queue),
        other => Err(other.is_not("a queue")),
    }
}

/// Begins `method` of an object. Its end comes out of the queue under `ticket`, a number that the host chooses; exactly once
/// if this returns `Ok`, never otherwise. `arguments` are MessagePack, a map by name; nothing at all is an empty map.
///
/// # Errors
/// The handle is closed or of another process, the ticket is taken, too many calls are outstanding. What is wrong with the
/// method or its arguments comes out of the queue.
pub fn call(handle: Handle, ticket: u64, method: &str, arguments: &[u8]) -> Result<(), Error> {
    guard(|| ops::call(handle, ticket, method, arguments))
}

/// Begins a method for a thread that blocks until its end: see [`Waiting::wait`]. The queue hears nothing of it; dropping it
/// takes the call back.
///
/// # Errors
/// The handle is closed or of another process, or what is wrong with the method or its arguments.
pub fn call_and_wait(handle: Handle, method: &str, arguments: &[u8]) -> Result<Waiting, Error> {
    guard(|| Waiting::new(handle, method, arguments))
}

/// The queue that an object was opened on.
///
/// # Errors
/// The handle is closed or of another process.
pub fn queue_of(handle: Handle) -> Result<Arc<Queue>, Error> {
    let object = state::find(handle)?;
    object.queue().cloned().ok_or_else(|| object.is_not("a broker or a client"))
}

/// Ends a call; it completes with `CANCELLED` unless it has ended already. What it did so far stays done.
///
/// # Errors
/// The queue is closed.
pub fn cancel(on: Handle, ticket: u64) -> Result<(), Error> {
    guard(|| {
        queue(on)?.end(ticket, Error::new(Kind::Cancelled, "the caller took the call back"));
        Ok(())
    })
}

/// Appends records to a producer's batches; see [`frame`] for their form. They are numbered from `first` on, each number
/// comes back in one [`Event::Delivered`]. Never waits.
///
/// # Errors
/// The frame is not whole, in which case none of its records are taken; the producer is closed.
pub fn send(producer: Handle, frame: &[u8], first: u64) -> Result<Sent, Error> {
    guard(|| match state::find(producer)? {
        Object::Producer(producer) => producer.send(frame, first),
        other => Err(other.is_not("a producer")),
    })
}

/// Answers an [`Event::Question`] with MessagePack, or with why there is no answer.
///
/// # Errors
/// It was answered before, or its time is over.
pub fn answer(on: Handle, question: u64, answer: Result<&[u8], Error>) -> Result<(), Error> {
    guard(|| queue(on)?.answer(question, answer.map(Bytes::copy_from_slice)))
}

/// Lets go of an object at once: its handle names nothing any more, calls that are on their way end with `CLOSED`. A queue
/// takes all with it that was opened on it. For a good end call the object's method `close` before.
///
/// # Errors
/// The handle is of another process.
pub fn close(handle: Handle) -> Result<(), Error> {
    guard(|| {
        let taken = state::take(handle)?;
        // The queue last: until then ends of calls still come out of it.
        taken.into_iter().rev().for_each(ops::let_go);
        Ok(())
    })
}
